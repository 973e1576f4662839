"""Reads a boundary file (GPKG, GeoJSON, Shapefile, zipped or not) into checked, repaired outlines.

Writes nothing.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, get_args

import numpy as np
import pyogrio
import pyogrio.raw
import pyproj
import shapely

from places.datum import gcj02_to_wgs84
from places.errors import BoundaryFileError
from places.facts import current_code

Datum = Literal["file", "wgs84", "cgcs2000", "gcj02"]
DATUMS: Final = get_args(Datum)
Level = Literal["prefecture", "county", "township"]

CODE_FIELDS: Final = (
    "adcode",
    "code",
    "xzqdm",
    "pac",
    "id",
    "adcode99",
    "gb",
    "行政区划代码",
    "区划代码",
    "代码",
)
NAME_FIELDS: Final = ("name", "xzqmc", "mc", "ext_name", "名称", "行政区名称", "name_1")
#: Where an outline may lie at all: China, degrees.
_CHINA: Final = (73.0, 3.0, 136.0, 54.0)
_GEOD: Final = pyproj.Geod(ellps="WGS84")


@dataclass(frozen=True, slots=True)
class Boundary:
    """One unit's outline as read: WGS 84 degrees, valid.

    Attributes
    ----------
    code, file_code
        The code of today and the one in the file.
    area_km2
        Geodesic area.
    repaired
        Why the polygon was invalid before it was repaired; empty when it was valid.
    """

    code: str
    file_code: str
    name: str
    geometry: shapely.MultiPolygon
    area_km2: float
    repaired: str = ""


def read_boundaries(
    path: Path,
    *,
    level: Level = "county",
    code_field: str = "",
    name_field: str = "",
    datum: Datum = "file",
    where: str = "",
    layer: str = "",
) -> list[Boundary]:
    """Read, check, repair and bring to WGS 84.

    Parameters
    ----------
    datum
        "file": what the file's own CRS says. "gcj02": coordinates are GCJ-02 degrees,
        whatever the file claims
        (AMap, DataV). "wgs84" and "cgcs2000": degrees of that datum where the file carries no CRS.
    where
        An OGR SQL condition that leaves rows out, e.g. ``adcode LIKE '6208%'``.

    Raises
    ------
    BoundaryFileError
        Unreadable, empty, a row without polygon or code, a code twice, coordinates outside China.
    """
    fields, table, geometries, crs = _read(path, where=where, layer=layer)
    if len(geometries) == 0:
        raise BoundaryFileError(
            f"{path} holds no feature{f' where {where}' if where else ''}. Give a file with the "
            f"polygons of the {level} units."
        )
    kinds = sorted({shapely.from_wkb(g).geom_type if g is not None else "no geometry" for g in geometries})
    if not set(kinds) <= {"Polygon", "MultiPolygon"}:
        raise BoundaryFileError(
            f"{path} holds {', '.join(kinds)}; boundaries must be Polygon or MultiPolygon. Export the "
            "areas, not their lines or centres; for a file of several layers name one with --layer."
        )
    codes_at = _field(path, fields, (code_field,) if code_field else CODE_FIELDS, "--code-field")
    codes = [_code_text(value) for value in table[codes_at]]
    names_at = (
        _field(path, fields, (name_field,), "--name-field") if name_field else _find(fields, NAME_FIELDS)
    )
    names = [str(value or "") for value in table[names_at]] if names_at is not None else [""] * len(codes)
    digits = {"prefecture": 6, "county": 6, "township": 9}[level]
    reproject = _to_wgs84(path, crs, datum)
    found: dict[str, Boundary] = {}
    for row, (code, name, wkb) in enumerate(zip(codes, names, geometries, strict=True), start=1):
        where_from = f"{path}, feature {row} ({code} {name})"
        boundary = _boundary(
            where_from, code, name, shapely.from_wkb(wkb), digits=digits, reproject=reproject
        )
        if boundary.code in found:
            other = found[boundary.code].file_code
            raise BoundaryFileError(
                f"{path}, feature {row}: unit {boundary.code} comes twice (codes {other} and {code}). "
                "Merge its parts into one multipolygon, or leave one row out with --where."
            )
        found[boundary.code] = boundary
    return [found[code] for code in sorted(found)]


def _read(path: Path, *, where: str, layer: str) -> tuple[list[str], list[Any], Any, str | None]:
    if not path.exists():
        raise BoundaryFileError(
            f"{path} does not exist. Give the path of a .gpkg, .geojson, .shp or .zip file."
        )
    source = f"/vsizip/{path.resolve()}" if path.suffix.lower() == ".zip" else str(path)
    try:
        meta, _, geometries, table = pyogrio.raw.read(source, layer=layer or None, where=where or None)
    except (pyogrio.errors.DataSourceError, pyogrio.errors.DataLayerError, ValueError) as error:
        raise BoundaryFileError(
            f"{path} cannot be read as a boundary file: {error}. Accepted are GeoPackage, GeoJSON, Shapefile "
            "(.shp beside its .dbf and .shx) and a .zip of one."
        ) from error
    if geometries is None:
        raise BoundaryFileError(f"{path} is a table without geometry. Give the file with the polygons.")
    return [str(name) for name in meta["fields"]], list(table), geometries, meta["crs"]


def _find(fields: list[str], names: tuple[str, ...]) -> int | None:
    """Place of the first of `names` among the fields, whatever its capitals."""
    lower = [name.lower() for name in fields]
    return next((lower.index(name.lower()) for name in names if name.lower() in lower), None)


def _field(path: Path, fields: list[str], names: tuple[str, ...], option: str) -> int:
    found = _find(fields, names)
    if found is None:
        raise BoundaryFileError(
            f"{path} has no field {', '.join(names)}; its fields are {', '.join(fields) or '(none)'}. Name "
            f"the right one with {option}."
        )
    return found


def _code_text(value: Any) -> str:
    """620802, 620802.0, "620802 ", "620802001000" and "156620802" (with the country's number) are all
    met in files.
    """
    if value is None or (isinstance(value, float) and np.isnan(value)):
        return ""
    text = str(value).strip()
    text = re.sub(r"\.0+$", "", text)
    if len(text) in (9, 12) and text.startswith("156"):
        text = text[3:]
    return text


def _boundary(
    where: str, file_code: str, name: str, geometry: shapely.Geometry, *, digits: int, reproject: Any
) -> Boundary:
    code = file_code[:digits] if re.fullmatch(r"\d{12}", file_code) else file_code
    if not re.fullmatch(rf"\d{{{digits}}}", code):
        raise BoundaryFileError(
            f"{where}: code {file_code!r} is not one of {digits} digits. "
            "Correct it, choose another --code-field or --level, or leave the row out with --where."
        )
    if geometry.is_empty:
        raise BoundaryFileError(f"{where}: the polygon is empty. Draw it or leave it out.")
    geometry = shapely.force_2d(geometry)
    west, south, east, north = geometry.bounds
    geometry = shapely.transform(geometry, reproject)
    lon0, lat0, lon1, lat1 = geometry.bounds
    if not (_CHINA[0] <= lon0 <= lon1 <= _CHINA[2] and _CHINA[1] <= lat0 <= lat1 <= _CHINA[3]):
        raise BoundaryFileError(
            f"{where}: its extent {west:.6g}, {south:.6g}, {east:.6g}, {north:.6g} "
            "is not in China once read as degrees. The file's CRS is missing or wrong (for Pingliang often "
            "EPSG:4490, 4544 or 4545), or x and y are swapped; set it with `ogr2ogr -a_srs`."
        )
    reason = ""
    if not geometry.is_valid:
        reason = shapely.is_valid_reason(geometry)
        geometry = shapely.make_valid(geometry)
    polygons = [part for part in _polygons(geometry) if not part.is_empty]
    if not polygons:
        raise BoundaryFileError(f"{where}: the polygon has no area. Draw it or leave it out.")
    multi = shapely.MultiPolygon(polygons)
    area = abs(_GEOD.geometry_area_perimeter(multi)[0]) / 1e6
    return Boundary(current_code(code), file_code, name, multi, area, reason)


def _polygons(geometry: shapely.Geometry) -> list[shapely.Polygon]:
    """Polygons of a repaired geometry; the points and lines that make_valid leaves over have no area."""
    if geometry.geom_type == "Polygon":
        return [geometry]
    if hasattr(geometry, "geoms"):
        return [polygon for part in geometry.geoms for polygon in _polygons(part)]
    return []


def _to_wgs84(path: Path, crs: str | None, datum: Datum) -> Any:
    """A function of an (n, 2) array of file coordinates → WGS 84 degrees."""
    if datum == "gcj02":

        def from_gcj02(points: Any) -> Any:
            return np.stack(gcj02_to_wgs84(points[:, 0], points[:, 1]), axis=1)

        return from_gcj02
    if crs is None:
        if datum == "file":
            raise BoundaryFileError(
                f"{path} says nothing of its coordinate system. If its coordinates are degrees, add "
                "--datum wgs84, cgcs2000 or gcj02 (AMap, DataV); else set it with `ogr2ogr -a_srs EPSG:…`."
            )
        crs = {"wgs84": "EPSG:4326", "cgcs2000": "EPSG:4490"}[datum]
    transformer = pyproj.Transformer.from_crs(crs, "EPSG:4326", always_xy=True)

    def project(points: Any) -> Any:
        return np.stack(transformer.transform(points[:, 0], points[:, 1]), axis=1)

    return project
