"""Small synthetic seasons on disk for the pipeline's tests: two crops in a chequerboard, known to the
pixel.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.transform import from_origin

from eo_pipeline.cube.store import TileStore
from eo_pipeline.engine import Engine
from eo_pipeline.plan import make_plan
from eo_pipeline.run import SeasonRun
from eo_pipeline.season import read_season

ORIGIN = (300_000.0, 3_900_000.0)
PIXEL = 10.0
NODATA = -32768
CLEAR, CLOUD = 4, 9


@dataclass(frozen=True)
class TinySeason:
    """Where a season lies, and what is true in it: `classes` 1 wheat, 2 maize."""

    root: Path
    classes: NDArray[np.uint8]
    dates: tuple[date, ...]

    @property
    def toml(self) -> Path:
        return self.root / "season.toml"

    @property
    def scenes(self) -> Path:
        return self.root / "scenes"

    def rewrite(self, old: str, new: str) -> None:
        """Change the season file; the text must be there."""
        text = self.toml.read_text()
        assert old in text
        self.toml.write_text(text.replace(old, new))


TOML = """\
[season]
id = "tiny-2026"
title = "Tiny 2026"
start = 2026-03-01
end = 2026-08-31
step = "dekad"
simulated = true

[region]
name = "Tiny"

[source]
root = "scenes"
pattern = 'S2_(?P<date>\\d{8})\\.tif'
date_format = "%Y%m%d"
bands = { B02 = 1, B04 = 2, B08 = 3, SCL = 4 }
scale = 0.0001
nodata = -32768

[[source.mask]]
band = "SCL"
clear = [4, 5]

[[classes]]
code = 1
name = "wheat"
zh = "小麦"
en = "wheat"
colour = "#DDCC77"

[[classes]]
code = 2
name = "maize"
zh = "玉米"
en = "maize"
colour = "#CC6677"

[growth]
index = "NDVI"

[output]
root = "runs"
"""

CLASSIFY = """
[classify]
samples = "samples.csv"
features = ["B04", "B08", "NDVI"]
folds = 3
group_km = 0
seed = 1
"""


def write_raster(
    path: Path,
    bands: NDArray[np.int16],
    *,
    crs: str = "EPSG:32648",
    origin: tuple[float, float] = ORIGIN,
) -> None:
    """A GeoTIFF of int16 bands (band, y, x)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with rasterio.open(
        path,
        "w",
        driver="GTiff",
        height=bands.shape[1],
        width=bands.shape[2],
        count=len(bands),
        dtype="int16",
        crs=crs,
        transform=from_origin(*origin, PIXEL, PIXEL),
        nodata=NODATA,
    ) as raster:
        raster.write(bands)


def scene(classes: NDArray[np.uint8], step: int, *, rng: np.random.Generator) -> NDArray[np.int16]:
    """Blue, red, near infrared and SCL of one date: wheat peaks at step 6, maize at 11; a cloud now and
    then.
    """
    early, late = np.exp(-(((step - 6) / 3) ** 2)), np.exp(-(((step - 11) / 3) ** 2))
    green = np.where(classes == 1, early, late) + rng.normal(0, 0.01, classes.shape)
    red, nir = 0.12 - 0.08 * green, 0.20 + 0.30 * green
    scl = np.full(classes.shape, CLEAR, dtype=np.int16)
    if step % 4 == 2:
        scl[: len(scl) // 3] = CLOUD
    numbers = np.rint(np.stack([0.7 * red, red, nir]) * 10_000).astype(np.int16)
    return np.concatenate([numbers, scl[None]])


def make_season(
    root: Path, *, size: int = 64, width: int = 0, dates: int = 18, classify: bool = False
) -> TinySeason:
    """Rasters of `size` rows and as many columns, or `width`; samples and the season file."""
    rng = np.random.default_rng(7)
    yy, xx = np.mgrid[:size, : width or size]
    classes = (((yy // 8 + xx // 8) % 2) + 1).astype(np.uint8)
    days = tuple(date(2026, 3, 5) + timedelta(days=10 * step) for step in range(dates))
    for step, day in enumerate(days):
        write_raster(root / "scenes" / f"S2_{day:%Y%m%d}.tif", scene(classes, step, rng=rng))
    (root / "samples.csv").write_text(samples_csv(classes, rng))
    (root / "season.toml").write_text(TOML + (CLASSIFY if classify else ""))
    return TinySeason(root, classes, days)


def samples_csv(classes: NDArray[np.uint8], rng: np.random.Generator, *, count: int = 80) -> str:
    """Random points with their true label, grouped by field."""
    lines = ["lon,lat,label,group"]
    for _ in range(count):
        row, col = (int(v) for v in rng.integers(0, min(classes.shape), 2))
        lon, lat = lonlat(row, col)
        label = ("wheat", "maize")[classes[row, col] - 1]
        lines.append(f"{lon:.7f},{lat:.7f},{label},f{row // 8}-{col // 8}")
    return "\n".join(lines) + "\n"


def lonlat(row: int, col: int) -> tuple[float, float]:
    """Longitude and latitude of a pixel's centre."""
    from pyproj import Transformer

    change = Transformer.from_crs(32648, 4326, always_xy=True)
    lon, lat = change.transform(ORIGIN[0] + PIXEL * (col + 0.5), ORIGIN[1] - PIXEL * (row + 0.5))
    return float(lon), float(lat)


def map_of(season: TinySeason, out: Path, *, block: int | None = None) -> tuple[SeasonRun, NDArray[Any]]:
    """Run a season of one tile to its crop map below `out`; the run, and the map's codes [y, x]."""
    job = SeasonRun(
        make_plan(replace(read_season(season.toml), output_root=out), block=block), Engine(workers=0)
    )
    _ = job.crop_map
    return job, TileStore(job.stages.store(job.plan.tiles[0])).read("crop_type")
