"""Sheets of a drawn sample for those who answer it: GeoPackage, CSV and GeoJSON, the map of the strata, and
the record of the design.

Every sheet tells all that its answers need to be judged (see `answers` and `quadrats`): strata, their sizes,
and how many points or quadrats were drawn; `label` and `note` are for the answers.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from eo_pipeline.disk import write_file
from eo_pipeline.errors import SampleError
from eo_pipeline.products.class_map import NAMES_TAG, ClassMap
from eo_pipeline.products.quadrats import Quadrats
from eo_pipeline.products.sampling import QUADRATS, SampleDesign
from eo_pipeline.products.zonal import LON_LAT
from eo_pipeline.rasters import windows, write_raster

RECORD: Final = "design.json"


def write_sheets(
    folder: Path,
    design: SampleDesign,
    strata: ClassMap,
    *,
    classes: Mapping[int, str],
    facts: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Write sample.gpkg, sample.csv, sample.geojson, strata.tif and design.json into a folder.

    design.json comes last: where it is, all is. A folder that holds another drawing is left as it is, since
    its sheets may have been answered; the same drawing is written anew only where it was cut short.

    Parameters
    ----------
    strata
        The map that `design` was drawn from.
    classes
        Class names that answers may use, by code.
    facts
        More to note in design.json.

    Returns
    -------
    dict
        What design.json holds.

    Raises
    ------
    SampleError
        The folder holds another drawing.
    """
    import shapely

    hectares, _ = strata.hectares()
    rows = _rows(design, strata, hectares)
    lon, lat = _degrees(design, strata)
    record = {
        "sampling_design": design.design,
        "allocation": design.allocation,
        "seed": design.seed,
        "frame": strata.path.name,
        "frame_sha256": design.frame_hash,
        "points": len(rows),
        "strata": [
            {
                "stratum": strata.names[code],
                "pixels": pixels,
                "area_ha": round(hectares[strata.names[code]], 4),
                "points": points,
                "inclusion_probability": points / pixels,
            }
            for code, pixels, points in zip(design.strata, design.population, design.allocated, strict=True)
        ],
        "labels": list(classes.values()),
        **(facts or {}),
    }
    if _done(folder, record):
        return record
    points = shapely.points(lon, lat)
    write_file(folder / "sample.csv", _csv(rows, lon, lat))
    write_file(folder / "sample.geojson", _geojson(rows, points, record))
    write_file(folder / "sample.gpkg", _geopackage(rows, points, "Point"))
    _write_strata(folder / "strata.tif", strata)
    write_file(folder / RECORD, _text(record))
    return record


def write_quadrats(folder: Path, quadrats: Quadrats, record: dict[str, Any]) -> dict[str, Any]:
    """Write quadrats.gpkg, quadrats.geojson and design.json into a folder, as `write_sheets` does.

    Parameters
    ----------
    record
        What design.json is to say beside the strata.
    """
    record = {
        "sampling_design": QUADRATS,
        **record,
        "quadrats": len(quadrats.ids),
        "strata": [
            {"stratum": name, "squares": squares, "drawn": drawn, "inclusion_probability": drawn / squares}
            for name, squares, drawn in zip(quadrats.strata, quadrats.population, quadrats.drawn, strict=True)
        ],
    }
    if _done(folder, record):
        return record
    polygons = np.array(quadrats.polygons, dtype=object)
    write_file(folder / "quadrats.geojson", _geojson(quadrats.rows(), polygons, record))
    write_file(folder / "quadrats.gpkg", _geopackage(quadrats.rows(), polygons, "Polygon"))
    write_file(folder / RECORD, _text(record))
    return record


def _text(record: Mapping[str, Any]) -> bytes:
    return (json.dumps(record, ensure_ascii=False, indent=1) + "\n").encode()


def _done(folder: Path, record: Mapping[str, Any]) -> bool:
    """Whether this very drawing lies in the folder; another one is not touched."""
    path = folder / RECORD
    if not path.exists():
        return False
    if path.read_bytes() == _text(record):
        return True
    raise SampleError(
        f"{folder} holds another drawn sample ({RECORD}), which may have been answered. Give another folder."
    )


def _rows(design: SampleDesign, strata: ClassMap, hectares: Mapping[str, float]) -> list[dict[str, Any]]:
    """The columns of each point."""
    points = dict(zip(design.strata, design.allocated, strict=True))
    chance = design.inclusion_probability
    place = zip(design.stratum.tolist(), design.row.tolist(), design.col.tolist(), strict=True)
    return [
        {
            "id": number,
            "stratum": strata.names[code],
            "stratum_ha": round(hectares[strata.names[code]], 4),
            "stratum_points": points[code],
            "inclusion_probability": chance[code],
            "sampling_design": design.design,
            "row": row,
            "col": col,
            "label": None,
            "note": None,
        }
        for number, (code, row, col) in enumerate(place, start=1)
    ]


def _degrees(design: SampleDesign, strata: ClassMap) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Longitude and latitude of the pixels' centres."""
    from pyproj import Transformer

    a, b, c, d, e, f = strata.grid.transform
    col, row = design.col + 0.5, design.row + 0.5
    change = Transformer.from_crs(strata.grid.crs, LON_LAT, always_xy=True)
    lon, lat = change.transform(a * col + b * row + c, d * col + e * row + f)
    return np.round(lon, 8), np.round(lat, 8)


def _csv(rows: list[dict[str, Any]], lon: NDArray[np.float64], lat: NDArray[np.float64]) -> bytes:
    stream = io.StringIO()
    writer = csv.DictWriter(stream, ["id", "lon", "lat", *list(rows[0])[1:]], lineterminator="\r\n")
    writer.writeheader()
    for row, x, y in zip(rows, lon.tolist(), lat.tolist(), strict=True):
        writer.writerow({**row, "lon": x, "lat": y})
    return b"\xef\xbb\xbf" + stream.getvalue().encode()  # with its mark Excel shows Chinese names


def _geojson(rows: list[dict[str, Any]], shapes: NDArray[Any], record: Mapping[str, Any]) -> bytes:
    import shapely

    features = [
        {"type": "Feature", "id": row["id"], "properties": row, "geometry": json.loads(shape)}
        for row, shape in zip(rows, shapely.to_geojson(shapes), strict=True)
    ]
    return _text({"type": "FeatureCollection", **record, "features": features})


def _geopackage(rows: list[dict[str, Any]], shapes: NDArray[Any], kind: str) -> bytes:
    import pyogrio
    import shapely

    stream = io.BytesIO()
    pyogrio.raw.write(
        stream,
        shapely.to_wkb(shapes),
        [
            np.array([row[name] for row in rows], dtype=object if name in ("label", "note") else None)
            for name in rows[0]
        ],
        list(rows[0]),
        geometry_type=kind,
        crs="EPSG:4326",
        driver="GPKG",
        layer="sample",
    )
    return stream.getvalue()


def _write_strata(path: Path, strata: ClassMap) -> None:
    grid = strata.grid
    names = json.dumps({str(code): name for code, name in strata.names.items()}, ensure_ascii=False)
    write_raster(
        path,
        ((window, strata.codes[None, *window.toslices()]) for window in windows(grid.height, grid.width)),
        describe=lambda raster: raster.update_tags(**{NAMES_TAG: names}),
        width=grid.width,
        height=grid.height,
        count=1,
        dtype="uint8",
        crs=grid.crs,
        transform=grid.affine,
        nodata=strata.nodata,
        compress="deflate",
        tiled=True,
    )
