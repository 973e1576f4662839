"""Scenes for the ingest benchmark: files like those of Sentinel-2 L2A, made here, and described as a source
would describe them.

Pixels are smooth fields, parcels and noise in uint16, with about 8 bits a pixel left after lossless
compression, as real bands have. A few scenes are encoded; every date is a file of its own (a hard link), with
clouds of its own.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from eo_pipeline.acquire.sources.base import Asset, Scene
from eo_pipeline.grid import Grid
from eo_pipeline.season_source import SENTINEL2_BANDS

#: Metres of a pixel, by band; SCL has 20 m.
PIXEL = {name: 10 if name in ("B02", "B03", "B04", "B08") else 20 for name in SENTINEL2_BANDS}
ORIGIN = (499_980.0, 4_000_020.0)
OFFSET, SCALE = -0.1, 1e-4  # baseline 04.00 and later
START = date(2026, 4, 1)
#: Reflectance × 10 000 of a green field, by band.
LEVEL = dict(zip(SENTINEL2_BANDS, (450, 750, 650, 1200, 2300, 2700, 2900, 3000, 1900, 1100), strict=True))
FORMATS = {
    "safe": {
        "driver": "JP2OpenJPEG", "QUALITY": "100", "REVERSIBLE": "YES", "YCBCR420": "NO",
        "blockxsize": 1024, "blockysize": 1024,
    },
    # as Element 84 writes them
    "cog": {"driver": "COG", "nodata": 0, "COMPRESS": "DEFLATE", "PREDICTOR": "YES", "BLOCKSIZE": "1024",
            "LEVEL": "6"},
}  # fmt: skip


@dataclass(frozen=True)
class Made:
    """The scenes of one format, by date, and what their files weigh."""

    scenes: tuple[Scene, ...]
    grid: Grid
    bytes: int
    bits_per_pixel: float


def grid_of(side: int) -> Grid:
    """The window as a tile's grid."""
    from rasterio.crs import CRS

    return Grid(CRS.from_epsg(32648).to_wkt(), (10.0, 0.0, ORIGIN[0], 0.0, -10.0, ORIGIN[1]), side, side)


def smooth_field(shape: int, cells: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """Noise of `cells` knots a side, drawn out to `shape` pixels a side, mean 0 and deviation 1."""
    from scipy.ndimage import zoom

    field = zoom(rng.standard_normal((cells, cells)), shape / cells, order=1)[:shape, :shape]
    return np.asarray((field - field.mean()) / field.std(), dtype=np.float32)


def band_numbers(band: str, side: int, seed: int) -> NDArray[np.uint16]:
    """DN of one band at its own pixel size."""
    n = side * 10 // PIXEL[band]
    land, rng = np.random.default_rng(0), np.random.default_rng([seed, SENTINEL2_BANDS.index(band)])
    parcels = land.normal(0, 0.2, (64, 64)).astype(np.float32)
    cell = -(-n // 64)
    relief = parcels.repeat(cell, axis=0).repeat(cell, axis=1)[:n, :n] + 0.1 * smooth_field(n, 24, land)
    # the land is the same on every date, a little greener or drier; noise is the sensor's
    values = LEVEL[band] * (1 + relief) * (1 + 0.02 * seed) + rng.normal(0, 28, (n, n))
    return np.clip(np.rint(values - OFFSET / SCALE), 1, 65_000).astype(np.uint16)


def classes(side: int, seed: int) -> NDArray[np.uint8]:
    """SCL of one date: a fifth to four fifths under cloud, with shadows beside."""
    n = side // 2
    rng = np.random.default_rng([seed, 99])
    field = smooth_field(n, 20, rng) + 0.4 * smooth_field(n, 80, rng)
    cloud = field > np.quantile(field, 1 - rng.uniform(0.2, 0.8))
    shadow = np.roll(cloud, (6, -9), axis=(0, 1)) & ~cloud
    land = np.where(smooth_field(n, 40, rng) > 0, 4, 5)
    return np.where(cloud, 9, np.where(shadow, 3, land)).astype(np.uint8)


def _write(path: Path, values: NDArray[np.generic], pixel: int, kind: str) -> int:
    """Write one raster, whole or not at all; returns its size."""
    import rasterio
    from rasterio.transform import from_origin

    if not path.exists():
        partial = path.with_name(f".{os.getpid()}{path.name}")
        options = dict(FORMATS[kind])
        if values.dtype == np.uint8 and kind == "cog":
            options["PREDICTOR"] = "NO"
        with rasterio.open(
            partial, "w", height=values.shape[0], width=values.shape[1], count=1, dtype=values.dtype,
            crs="EPSG:32648", transform=from_origin(*ORIGIN, pixel, pixel), **options,
        ) as raster:  # fmt: skip
            raster.write(values, 1)
        partial.replace(path)
        for left in path.parent.glob(f"{partial.name}*.aux.xml"):
            left.unlink()
    return path.stat().st_size


def _write_band(folder: Path, kind: str, band: str, side: int, seed: int) -> int:
    suffix = "jp2" if kind == "safe" else "tif"
    path = folder / kind / f"{seed}_{band}.{suffix}"
    if band == "SCL":
        return _write(path, classes(side, seed), 20, kind)
    return _write(path, band_numbers(band, side, seed), PIXEL[band], kind)


def make(folder: Path, kind: str, *, side: int, dates: int, distinct: int, workers: int) -> Made:
    """Make the rasters of `dates` dates, five days apart; `distinct` of them are encoded anew."""
    suffix = "jp2" if kind == "safe" else "tif"
    (folder / kind).mkdir(parents=True, exist_ok=True)
    jobs = [(folder, kind, band, side, seed) for seed in range(distinct) for band in SENTINEL2_BANDS]
    scl = [(folder, kind, "SCL", side, seed) for seed in range(dates)]
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        sizes = list(pool.map(_write_band, *zip(*jobs, strict=True)))
        list(pool.map(_write_band, *zip(*scl, strict=True)))
    pixels = sum((side * 10 // PIXEL[band]) ** 2 for _, _, band, _, _ in jobs)
    scenes = []
    for number in range(dates):
        assets = []
        for band in (*SENTINEL2_BANDS, "SCL"):
            path = folder / kind / f"{number}_{band}.{suffix}"
            if not path.exists():
                path.hardlink_to(folder / kind / f"{number % distinct}_{band}.{suffix}")
            scale, offset = (1.0, 0.0) if band == "SCL" else (SCALE, OFFSET)
            assets.append(
                Asset(band, str(path), 1, scale, offset, 0.0, zoom=2 if band == "SCL" else PIXEL[band] // 10)
            )
        day = START + timedelta(days=5 * number)
        scenes.append(Scene("48SXD", day, tuple(assets), name=f"made-{day}", sun=(38.0, 150.0)))
    total = sum(Path(asset.path).stat().st_size for scene in scenes for asset in scene.assets)
    return Made(tuple(scenes), grid_of(side), total, 8 * sum(sizes) / pixels)


def items_of(scenes: Sequence[Scene], side: int) -> list[object]:
    """The same files as STAC items with the projection extension, as odc-stac wants them."""
    import pystac
    from pyproj import Transformer

    change = Transformer.from_crs(32648, 4326, always_xy=True)
    x0, y1 = ORIGIN
    x1, y0 = x0 + 10 * side, y1 - 10 * side
    corners = [change.transform(x, y) for x, y in ((x0, y0), (x1, y0), (x1, y1), (x0, y1), (x0, y0))]
    lons, lats = [c[0] for c in corners], [c[1] for c in corners]
    items = []
    for scene in scenes:
        item = pystac.Item(
            id=scene.name,
            geometry={"type": "Polygon", "coordinates": [[list(c) for c in corners]]},
            bbox=[min(lons), min(lats), max(lons), max(lats)],
            datetime=datetime(scene.date.year, scene.date.month, scene.date.day, 3, 40),
            properties={"proj:code": "EPSG:32648", "proj:epsg": 32648},
            stac_extensions=["https://stac-extensions.github.io/projection/v2.0.0/schema.json"],
        )
        for asset in scene.assets:
            pixel = 10 * asset.zoom
            fields = {
                "proj:shape": [side * 10 // pixel] * 2,
                "proj:transform": [pixel, 0, x0, 0, -pixel, y1, 0, 0, 1],
                "proj:code": "EPSG:32648",
                "raster:bands": [{"data_type": "uint8" if asset.band == "SCL" else "uint16", "nodata": 0}],
            }
            media = pystac.MediaType.COG
            item.add_asset(
                asset.band, pystac.Asset(asset.path, media_type=media, roles=["data"], extra_fields=fields)
            )
        items.append(item)
    return items
