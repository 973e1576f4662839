"""Radar scenes on disk: a COG for each polarisation and a STAC item as Planetary Computer writes it."""

from __future__ import annotations

import hashlib
import json
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

from eo_pipeline.simulate.landscape import EPSG, PIXEL_M, Grid
from eo_pipeline.simulate.radar import NODATA, Float, Pass, RadarScene
from eo_pipeline.simulate.scenes import SIMULATED_TAG

COLLECTION: Final = "sentinel-1-rtc"
_EXTENSIONS: Final = ("sar/v1.0.0", "sat/v1.0.0", "projection/v1.1.0", "file/v2.0.0", "raster/v1.1.0")
_TITLES: Final = {
    "vh": ("VH: vertical transmit, horizontal receive", "vertical polarization and received with horizontal"),
    "vv": ("VV: vertical transmit, vertical receive", "vertical polarization and received with vertical"),
}


def write_radar(scene: RadarScene, overpass: Pass, grid: Grid, folder: Path) -> str:
    """Write `<id>/vv.tif`, `vh.tif` and `item.json` below `folder`; the item's id."""
    root = folder / overpass.id
    root.mkdir(parents=True)
    for name, data in (("vv", scene.vv), ("vh", scene.vh)):
        _write_cog(root / f"{name}.tif", data, grid)
    item = _item(overpass, grid, root)
    (root / "item.json").write_text(json.dumps(item, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    return overpass.id


def _write_cog(path: Path, data: Float, grid: Grid) -> None:
    import rasterio
    import rasterio.shutil
    from rasterio.transform import Affine

    profile = {
        "driver": "GTiff",
        "width": grid.size,
        "height": grid.size,
        "count": 1,
        "dtype": "float32",
        "crs": f"EPSG:{EPSG}",
        "transform": Affine(*grid.transform),
        "nodata": NODATA,
    }
    with rasterio.MemoryFile() as memory:
        with memory.open(**profile) as target:
            target.write(data, 1)
            target.update_tags(SIMULATED=SIMULATED_TAG)
        with memory.open() as source:
            rasterio.shutil.copy(
                source, path, driver="COG", COMPRESS="DEFLATE", PREDICTOR="FLOATING_POINT", BLOCKSIZE="512",
                OVERVIEWS="NONE", NUM_THREADS="1",
            )  # fmt: skip


def _item(overpass: Pass, grid: Grid, root: Path) -> dict[str, Any]:
    from pyproj import Transformer

    size_m = grid.size * PIXEL_M
    west, north = grid.west, grid.north
    east, south = west + size_m, north - size_m
    lon, lat = Transformer.from_crs(EPSG, 4326, always_xy=True).transform(
        [west, east, east, west, west], [north, north, south, south, north]
    )
    start, stop = overpass.start, overpass.start + timedelta(seconds=25)
    middle = start + timedelta(seconds=12.5)
    track = overpass.track
    ring = [list(point) for point in zip(lon, lat, strict=True)]
    return {
        "id": overpass.id,
        "bbox": [min(lon), min(lat), max(lon), max(lat)],
        "type": "Feature",
        "links": [],
        "assets": {name: _asset(name, root) for name in ("vh", "vv")},
        "geometry": {
            "type": "Polygon",
            "coordinates": [ring],
        },
        "collection": COLLECTION,
        "properties": {
            "simulated": True,
            "note": SIMULATED_TAG,
            "datetime": f"{middle:%Y-%m-%dT%H:%M:%S.%f}Z",
            "platform": "SENTINEL-1A",
            "s1:shape": [grid.size, grid.size],
            "proj:bbox": [west, south, east, north],
            "proj:epsg": EPSG,
            "proj:shape": [grid.size, grid.size],
            "end_datetime": f"{stop:%Y-%m-%d %H:%M:%S}+00:00",
            "constellation": "Sentinel-1",
            "s1:resolution": "high",
            "proj:transform": [*grid.transform, 0.0, 0.0, 1.0],
            "s1:datatake_id": str(overpass.absolute * 8 % 0xFFFFFF),
            "start_datetime": f"{start:%Y-%m-%d %H:%M:%S}+00:00",
            "s1:orbit_source": "RESORB",
            "sar:looks_range": 5,
            "sat:orbit_state": track.direction,
            "sar:product_type": "GRD",
            "sar:looks_azimuth": 1,
            "sar:polarizations": ["VV", "VH"],
            "sar:frequency_band": "C",
            "sat:absolute_orbit": overpass.absolute,
            "sat:relative_orbit": track.relative,
            "s1:processing_level": "1",
            "sar:instrument_mode": "IW",
            "sar:center_frequency": 5.405,
            "sar:resolution_range": 20,
            "s1:product_timeliness": "Fast-24h",
            "sar:resolution_azimuth": 22,
            "sar:pixel_spacing_range": 10,
            "sar:observation_direction": "right",
            "sar:pixel_spacing_azimuth": 10,
            "sar:looks_equivalent_number": 4.4,
            "sat:platform_international_designator": "2014-016A",
        },
        "stac_extensions": [f"https://stac-extensions.github.io/{name}/schema.json" for name in _EXTENSIONS],
        "stac_version": "1.0.0",
    }


def _asset(name: str, root: Path) -> dict[str, Any]:
    path = root / f"{name}.tif"
    title, how = _TITLES[name]
    data = path.read_bytes()
    return {
        "href": f"./{path.name}",
        "file:size": len(data),
        "file:checksum": hashlib.md5(data, usedforsecurity=False).hexdigest(),
        "type": "image/tiff; application=geotiff; profile=cloud-optimized",
        "roles": ["data"],
        "title": title,
        "description": (
            f"Terrain-corrected gamma naught values of signal transmitted with {how} "
            "polarization with radiometric terrain correction applied."
        ),
        "raster:bands": [{"nodata": NODATA, "data_type": "float32", "spatial_resolution": PIXEL_M}],
    }
