"""Sheets of a drawn sample for those who answer it: GeoPackage, CSV and GeoJSON, the map of the strata, and
the record of the design.

Every sheet tells all that its answers need to be judged (see `answers`): strata, their areas, and how many
points were drawn.
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
from eo_pipeline.products.sampling import SampleDesign
from eo_pipeline.products.zonal import LON_LAT
from eo_pipeline.rasters import windows, write_raster

RECORD: Final = "design.json"
#: Columns of a sheet; `label` and `note` are for the answers.
COLUMNS: Final = (
    "id",
    "stratum",
    "stratum_ha",
    "stratum_points",
    "inclusion_probability",
    "sampling_design",
    "row",
    "col",
    "label",
    "note",
)


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
    text = json.dumps(record, ensure_ascii=False, indent=1) + "\n"
    done = folder / RECORD
    if done.exists():
        if done.read_text(encoding="utf-8") == text:
            return record
        raise SampleError(
            f"{folder} holds another drawn sample ({RECORD}), which may have been answered. Give "
            "another folder."
        )
    write_file(folder / "sample.csv", _csv(rows, lon, lat))
    write_file(folder / "sample.geojson", _geojson(rows, lon, lat, record))
    write_file(folder / "sample.gpkg", _geopackage(rows, lon, lat))
    _write_strata(folder / "strata.tif", strata)
    write_file(done, text.encode())
    return record


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
    writer = csv.DictWriter(stream, ("id", "lon", "lat", *COLUMNS[1:]), lineterminator="\r\n")
    writer.writeheader()
    for row, x, y in zip(rows, lon.tolist(), lat.tolist(), strict=True):
        writer.writerow({**row, "lon": x, "lat": y})
    return b"\xef\xbb\xbf" + stream.getvalue().encode()  # with its mark Excel shows Chinese names


def _geojson(
    rows: list[dict[str, Any]],
    lon: NDArray[np.float64],
    lat: NDArray[np.float64],
    record: Mapping[str, Any],
) -> bytes:
    features = [
        {
            "type": "Feature",
            "id": row["id"],
            "properties": row,
            "geometry": {"type": "Point", "coordinates": [x, y]},
        }
        for row, x, y in zip(rows, lon.tolist(), lat.tolist(), strict=True)
    ]
    document = {"type": "FeatureCollection", **record, "features": features}
    return (json.dumps(document, ensure_ascii=False, indent=1) + "\n").encode()


def _geopackage(rows: list[dict[str, Any]], lon: NDArray[np.float64], lat: NDArray[np.float64]) -> bytes:
    import pyogrio
    import shapely

    stream = io.BytesIO()
    pyogrio.raw.write(
        stream,
        shapely.to_wkb(shapely.points(lon, lat)),
        [
            np.array([row[name] for row in rows], dtype=object if name in ("label", "note") else None)
            for name in COLUMNS
        ],
        list(COLUMNS),
        geometry_type="Point",
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
