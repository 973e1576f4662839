"""Rasters and pictures of a cube, for other programs and for people."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from eo_pipeline.cube.radar import CHANNELS, DB_SCALE
from eo_pipeline.cube.store import NODATA, SCALE
from eo_pipeline.cube.terrain import GROUND
from eo_pipeline.cube.view import PLAIN, CubeView, scale_of
from eo_pipeline.grid import Block, Grid
from eo_pipeline.rasters import write_raster

if TYPE_CHECKING:
    from rasterio.io import DatasetWriter
    from rasterio.windows import Window

Format = Literal["cog", "gtiff"]
#: Red, green and blue of a picture; of radar VV, VH and VV of one direction.
COLOURS: Final = {
    "true": ("B04", "B03", "B02"),
    "false": ("B08", "B04", "B03"),
    "ascending": ("VV_ASC", "VH_ASC", "VV_ASC"),
    "descending": ("VV_DESC", "VH_DESC", "VV_DESC"),
}
#: Decibel from which on VV and VH are drawn, and over how many.
_DARK_DB: Final = {"VV": -20.0, "VH": -27.0}
_SPAN_DB: Final = 20.0


# ---- rasters --------------------------------------------------------------------------------------------
def export_dekad(
    view: CubeView,
    number: int,
    out: Path,
    *,
    bands: Sequence[str] = (),
    filled: bool = False,
    window: Block | None = None,
    form: Format = "cog",
    tags: dict[str, str] | None = None,
) -> Path:
    """Write one dekad's believed reflectance, or that with gaps `filled`, a band each; the file appears whole
    or not at all.
    """
    chosen = tuple(bands) or view.bands
    step = view.steps[number]
    names = [f"{band} {step.start}/{step.end}" for band in chosen]
    return _write(
        view,
        out,
        names,
        lambda block: view.dekad(number, chosen, block, filled=filled),
        window=window,
        form=form,
        tags=tags,
    )


def export_series(
    view: CubeView,
    feature: str,
    out: Path,
    *,
    smoothed: bool = False,
    filled: bool = False,
    window: Block | None = None,
    form: Format = "cog",
    tags: dict[str, str] | None = None,
) -> Path:
    """Write a band, an index, a radar channel, `clear_count` or `age_days`: a band a step, with its date; or
    an array of the terrain, one band.
    """
    names = [feature] if feature in GROUND else [f"{feature} {step.day}" for step in view.steps]
    return _write(
        view,
        out,
        names,
        lambda block: view.series(feature, block, smoothed=smoothed, filled=filled),
        window=window,
        form=form,
        tags=tags,
        plain=feature if feature in PLAIN else "",
        scale=scale_of(feature),
    )


def _write(
    view: CubeView,
    out: Path,
    names: Sequence[str],
    read: Callable[[Block], NDArray[Any]],
    *,
    window: Block | None,
    form: Format,
    tags: dict[str, str] | None,
    plain: str = "",
    scale: int = SCALE,
) -> Path:
    window = window or view.window(None)
    here = window.grid(view.grid)

    def parts() -> Iterator[tuple[Window, NDArray[Any]]]:
        with view.tile.reading():
            for block in _pieces(view, window):
                row, col = block.row - window.row, block.col - window.col
                yield Block("", row, col, block.height, block.width).window, read(block)

    def describe(raster: DatasetWriter) -> None:
        raster.descriptions = tuple(names)
        if not plain:
            raster.scales = (1 / scale,) * len(names)
        raster.update_tags(TILE=view.name, SOURCE="eo cube export", **(tags or {}))

    packed = {
        "COMPRESS": "DEFLATE", "PREDICTOR": "YES", "BLOCKSIZE": "512", "OVERVIEW_RESAMPLING": "AVERAGE",
        "NUM_THREADS": "ALL_CPUS", "BIGTIFF": "IF_SAFER",
    }  # fmt: skip
    return write_raster(
        out, parts(), describe=describe, cog=packed if form == "cog" else None, width=here.width,
        height=here.height, count=len(names), dtype="uint8" if plain == "clear_count" else "int16",
        crs=here.crs, transform=here.affine, nodata=PLAIN[plain] if plain else NODATA, tiled=True,
        blockxsize=256, blockysize=256, compress="zstd", zstd_level=1, interleave="band",
        bigtiff="if_safer",
    )  # fmt: skip


def _pieces(view: CubeView, window: Block) -> Iterator[Block]:
    """The parts of the cube's blocks that lie in a window."""
    for block in view.blocks:
        row, col = max(block.row, window.row), max(block.col, window.col)
        end = min(block.row + block.height, window.row + window.height)
        last = min(block.col + block.width, window.col + window.width)
        if row < end and col < last:
            yield Block(view.name, row, col, end - row, last - col)


# ---- pictures -------------------------------------------------------------------------------------------
def quicklook(
    view: CubeView,
    number: int,
    colours: Sequence[str],
    *,
    filled: bool = False,
    window: Block | None = None,
    side: int = 900,
) -> tuple[NDArray[np.uint8], Grid]:
    """A dekad as a picture: uint8 [y, x, 4] with 0 alpha where nothing is believed, and its grid.

    Every n-th pixel is taken, so that the longer side has at most `side` of them. Stretched together from 0
    to the 99th percentile (at least 0.3 for infrared, 0.15 for visible light), so that hues stay true; radar
    over 20 dB.
    """
    window = window or view.window(None)
    step = max(1, -(-max(window.height, window.width) // side))
    shape = -(-window.height // step), -(-window.width // step)
    numbers = np.full((len(colours), *shape), NODATA, dtype=np.int16)
    for block in _pieces(view, window):
        top, left = (block.row - window.row) % step, (block.col - window.col) % step
        y, x = -(-(block.row - window.row) // step), -(-(block.col - window.col) // step)
        part = view.dekad(number, colours, block, filled=filled)
        part = part[:, (-top) % step :: step, (-left) % step :: step]
        numbers[:, y : y + part.shape[1], x : x + part.shape[2]] = part
    seen = (numbers != NODATA).all(axis=0)
    picture = np.zeros((*shape, 4), dtype=np.uint8)
    if seen.any():
        for place, band in enumerate(colours):
            if band in CHANNELS:
                light = np.clip((numbers[place] / DB_SCALE - _DARK_DB[band[:2]]) / _SPAN_DB, 0, 1)
                picture[..., place] = np.where(seen, np.rint(light * 255), 0)
                continue
            floor = 3000 if band in ("B08", "B8A", "B11", "B12") else 1500
            limit = max(float(np.percentile(numbers[place][seen], 99)), floor)
            light = np.clip(numbers[place] / limit, 0, 1) ** 0.8
            picture[..., place] = np.where(seen, np.rint(light * 255), 0)
        picture[..., 3] = np.where(seen, 255, 0)
    a, b, c, d, e, f = window.grid(view.grid).transform
    return picture, Grid(view.grid.crs, (a * step, b, c, d, e * step, f), shape[1], shape[0])
