"""Damage block by block: what fell suddenly in spring and in summer, and what was flooded, into the cube."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from typing import Final

import numpy as np
from numpy.typing import NDArray

from eo_pipeline.cube.indices import INDICES, band_of
from eo_pipeline.cube.radar import BACKSCATTER, DB_SCALE, ORBITS
from eo_pipeline.cube.smoothing import observed_index
from eo_pipeline.cube.store import NODATA, Layout, TileStore
from eo_pipeline.engine import Result
from eo_pipeline.grid import Block
from eo_pipeline.products.classify import CLASS_NODATA, CROP_TYPE
from eo_pipeline.products.disaster import EDGE, Drop, new_water, standing_steps, sudden_drop
from eo_pipeline.products.growth_map import WHOLE
from eo_pipeline.products.water import calm
from eo_pipeline.storage import Place

#: Seasons of falls by the first and last month and day they may begin on: late frost, and hail and flood.
WATCHES: Final[Mapping[str, tuple[tuple[int, int], tuple[int, int]]]] = {
    "spring": ((3, 20), (5, 31)),
    "summer": ((6, 1), (9, 30)),
}
#: Array of the step that new water was first seen on.
FLOOD_STEP: Final = "flood_step"
#: Hazards that are looked for.
HAZARDS: Final = ("flood", "frost", "hail")
#: Pixels around a block that its own new water hangs on: the edge of a flood, and the mean of speckle.
_MARGIN: Final = EDGE + 1


def arrays_of(watch: str) -> tuple[str, ...]:
    """Names of a watch's arrays, in the order of a `Drop`."""
    return tuple(f"{watch}_{name}" for name in ("step", "loss", "first", "last"))


def read_drop(tile: TileStore, watch: str, block: Block) -> Drop:
    """What a watch found in a block."""
    return Drop(*(tile.read(name, block) for name in arrays_of(watch)))


def event_array(hazard: str) -> str:
    """Name of the array that holds the number of the event of a hazard a pixel was hit by; 0 none."""
    return f"event_{hazard}"


def require_damage(store: TileStore, layout: Layout) -> None:
    """Make the arrays of damage if they are not there."""
    for watch in WATCHES:
        for name in arrays_of(watch):
            store.require(layout, name, "uint8", 0)
    store.require(layout, FLOOD_STEP, "uint8", 0)
    for hazard in HAZARDS:
        store.require(layout, event_array(hazard), "uint8", 0)


def steps_within(dates: Sequence[date], first: tuple[int, int], last: tuple[int, int]) -> list[int]:
    """Numbers of the steps between two days of the season's last year, without the season's first step."""
    year = dates[-1].year
    return [
        number
        for number, day in enumerate(dates)
        if number and day.year == year and first <= (day.month, day.day) <= last
    ]


def disaster_bytes(steps: int, block: Block) -> int:
    """Memory `disaster_block` needs at most: views of an index, what is expected of them, and backscatter."""
    return block.height * block.width * (steps * (6 * 2 + 4 * 6) + 80)


def disaster_block(
    *,
    block: Block,
    store: Place,
    kept: Sequence[bool],
    bands: Sequence[str],
    index: str,
    dates: Sequence[date],
    medians: Mapping[int, Sequence[float]],
    mapped: bool,
    radar: bool,
) -> Result:
    """Find the falls and the new water of one block, and write them.

    Parameters
    ----------
    medians : by crop code, the median curve of the crop over all tiles.
    mapped : False where the season makes no crop map: everything seen is then one crop.
    radar : whether the cube has backscatter.

    Returns
    -------
    dict
        `fallen`: pixels by watch; `water`: pixels of new water.
    """
    tile = TileStore(store)
    needed = (
        tuple(str(band_of(band, bands)) for band in INDICES[index].bands) if index in INDICES else (index,)
    )
    observed = observed_index(tile.read_clear(block, kept, bands=needed), needed, index)
    if mapped:
        crops: NDArray[np.uint8] = tile.read(CROP_TYPE, block)
    else:
        crops = np.where(np.isfinite(observed).any(axis=0), WHOLE, CLASS_NODATA).astype(np.uint8)
    curves = {code: np.asarray(curve, dtype=np.float32) for code, curve in medians.items()}
    periods = {code: standing_steps(curve) for code, curve in curves.items()}
    fallen: dict[str, int] = {}
    for watch, (first, last) in WATCHES.items():
        window = steps_within(dates, first, last)
        drop = (
            sudden_drop(observed, crops, curves, periods, window=window) if window else Drop.none(crops.shape)
        )
        for name, values in zip(arrays_of(watch), (drop.step, drop.loss, drop.first, drop.last), strict=True):
            tile.write(name, block, values)
        fallen[watch] = int((drop.step > 0).sum())
    water = np.zeros(crops.shape, np.uint8)
    if radar:
        window = steps_within(dates, *WATCHES["summer"])
        for number in range(len(ORBITS)):
            own = new_water(*_calmed(tile, block, number), window=window)
            # the earlier of both directions
            water = np.where((own > 0) & ((water == 0) | (own < water)), own, water)
    tile.write(FLOOD_STEP, block, water)
    return {"fallen": fallen, "water": int((water > 0).sum())}


def _calmed(tile: TileStore, block: Block, orbit: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """VV and VH of one direction, dB [t, y, x]; neighbours across the block's edge take part."""
    height, width = tile.array(CROP_TYPE).shape[-2:]
    top, left = max(0, block.row - _MARGIN), max(0, block.col - _MARGIN)
    end = min(height, block.row + block.height + _MARGIN)
    last = min(width, block.col + block.width + _MARGIN)
    wide = Block(block.tile, top, left, end - top, last - left)
    row, col = block.row - top, block.col - left
    inner = slice(row, row + block.height), slice(col, col + block.width)
    channels = []
    for channel in (2 * orbit, 2 * orbit + 1):
        numbers: NDArray[np.int16] = tile.read(BACKSCATTER, wide, slice(None), channel)
        decibel = np.where(numbers == NODATA, np.nan, numbers / np.float32(DB_SCALE)).astype(np.float32)
        channels.append(np.stack([calm(step)[inner] for step in decibel]))
    return channels[0], channels[1]
