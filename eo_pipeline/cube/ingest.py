"""From scenes to the season cube: each step from its own scenes, each file read once.

`ingest_step` composes one step of one block and writes it; nothing of other steps goes in, so that a new
scene touches one dekad. `screen_block` then holds the steps of a (smaller) block against each other and notes
what is believed. A step's verdict over the whole tile comes from the counts of all blocks (`judge_steps`),
and is applied when the cube is read. All are tasks of the engine: pure in their arguments, writing one block.
"""

# ruff: noqa: PLR0917 - compiled functions are called with positional arguments
from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from eo_pipeline.acquire.sources.base import Asset, BlockReader, Scene
from eo_pipeline.cube.composite import CLEAR, NODATA, SUSPECT, Views, age_of_seen, compose
from eo_pipeline.cube.store import SCALE, TileStore
from eo_pipeline.engine import Result
from eo_pipeline.errors import CubeError
from eo_pipeline.grid import Block, TimeStep
from eo_pipeline.scenes.clouds import SceneMask
from eo_pipeline.scenes.outliers import (
    NEAR_INFRARED,
    SHORTWAVE_INFRARED,
    VISIBLE,
    can_test,
    shadow_outliers,
)
from eo_pipeline.scenes.verdicts import SceneVerdict, verdict_of_counts
from eo_pipeline.season_source import MaskRule
from eo_pipeline.storage import Place

Window = tuple[int, int, int, int]


def tested_bands(bands: Sequence[str]) -> tuple[str, ...]:
    """The reflectance bands the shadow test looks at; empty where they are too few for it."""
    if not can_test(bands):
        return ()
    return tuple(name for name in bands if name in VISIBLE + NEAR_INFRARED + SHORTWAVE_INFRARED)


def ingest_bytes(scenes_in_step: int, bands: int, block: Block) -> int:
    """Memory `ingest_step` needs at most: one step's observations in int16 (as if all bands had the grid's
    pixels), one band as it is read, the composite and its compressed form.
    """
    pixels = block.height * block.width
    return pixels * (2 * scenes_in_step * bands + scenes_in_step + 4 * bands + 16)


def screen_bytes(steps: int, bands: int, block: Block) -> int:
    """Memory `screen_block` needs at most: the tested bands of all steps, once more while they are put
    together, masks and ages.
    """
    return block.height * block.width * steps * (2 * 2 * max(1, bands) + 9)


# ---- scenes of one step ---------------------------------------------------------------------------------
def ingest_step(
    *,
    block: Block,
    number: int,
    step: TimeStep,
    scenes: Sequence[Scene],
    mask_files: Sequence[Place],
    bands: Sequence[str],
    masks: Sequence[MaskRule],
    owned: Window | None,
    store: Place,
) -> Result:
    """Compose step `number` of one block from the scenes of that step, and write it to the cube.

    Parameters
    ----------
    scenes
        Those that fall into `step`, and no others. One of which no pixel is usable here is not opened.
    mask_files
        A mask of `scenes.clouds.mask_scene` for each scene. Where there are none, `masks` say which values of
        which bands mean a clear view.
    owned
        The tile's own pixels (first row, first column, end row, end column); the others stay nodata.

    Returns
    -------
    dict
        `clear`: pixels with a clear view; `scenes`: of each scene its `date`, and the pixels that were
        `usable` and `outvoted` by another view of the step.

    Raises
    ------
    CubeError
        A scene of another step, or masks that do not match the scenes.
    SourceError
        A file that cannot be read.
    """
    if strangers := [scene.date for scene in scenes if not step.holds(scene.date)]:
        raise CubeError(
            f"Step {step.start} to {step.end} of tile {block.tile} was given a scene of {strangers[0]}; hand "
            "each scene to the step that holds its date."
        )
    if mask_files and len(mask_files) != len(scenes):
        raise CubeError(
            f"Step {step.start} of tile {block.tile} has {len(scenes)} scenes and {len(mask_files)} masks; "
            "give each scene its mask, or none at all."
        )
    shape = (block.height, block.width)
    codes = np.empty((len(scenes), *shape), dtype=np.uint8)
    own = _owned(block, owned)
    used: list[int] = []
    with _Readers(block) as readers:
        for n, scene in enumerate(scenes):
            if mask_files:
                codes[n] = SceneMask.read(mask_files[n], block)
            else:
                codes[n] = clear_by_masks(readers.whole, scene, masks)
            if own is not None:
                codes[n][~own] = 0
            if ((codes[n] == CLEAR) | (codes[n] == SUSPECT)).any():
                used.append(n)
        views = readers.views([scenes[n] for n in used], bands)
    days = [(scenes[n].date - step.start).days for n in used]
    composite = compose(views, codes if len(used) == len(scenes) else codes[used], days)
    del views, codes
    tile = TileStore(store)
    # an empty step is written too: it replaces what an earlier run with other scenes may have left there
    tile.write("reflectance", block, composite.reflectance, step=number)
    tile.write("clear_count", block, composite.clear_count, step=number)
    tile.write("seen_day", block, composite.seen_day, step=number)
    usable, outvoted = (
        dict(zip(used, composite.usable, strict=True)),
        dict(zip(used, composite.dropped, strict=True)),
    )
    return {
        "clear": int((composite.clear_count > 0).sum()),
        "scenes": [
            {"date": scene.date.isoformat(), "usable": usable.get(n, 0), "outvoted": outvoted.get(n, 0)}
            for n, scene in enumerate(scenes)
        ],
    }


def clear_by_masks(reader: BlockReader, scene: Scene, masks: Sequence[MaskRule]) -> NDArray[np.bool_]:
    """Where every mask of the season says "clear"."""
    clear = np.ones((reader.block.height, reader.block.width), dtype=np.bool_)
    for rule in masks:
        values = reader.read(scene.asset(rule.band))
        clear &= np.isin(values, np.asarray(rule.clear, dtype=np.float32))
    return clear


def _owned(block: Block, owned: Window | None) -> NDArray[np.bool_] | None:
    """The block's owned pixels; None where that is all of them."""
    if owned is None:
        return None
    top, left, bottom, right = owned
    rows = np.arange(block.row, block.row + block.height)
    cols = np.arange(block.col, block.col + block.width)
    inside: NDArray[np.bool_] = ((rows >= top) & (rows < bottom))[:, None] & ((cols >= left) & (cols < right))
    return None if inside.all() else inside


class _Readers:
    """Reads a block of bands at their own pixel sizes: 20 m pixels are not repeated before they must be."""

    def __init__(self, block: Block) -> None:
        self.block = block
        self._stack = ExitStack()
        self._readers: dict[Block, BlockReader] = {}

    def __enter__(self) -> _Readers:
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def _reader(self, block: Block) -> BlockReader:
        if block not in self._readers:
            self._readers[block] = self._stack.enter_context(BlockReader(block))
        return self._readers[block]

    @property
    def whole(self) -> BlockReader:
        """A reader of the block on the tile's grid."""
        return self._reader(self.block)

    def views(self, scenes: Sequence[Scene], bands: Sequence[str]) -> Views:
        """Every band of every scene."""
        block = self.block
        if not scenes:
            return Views.of(np.empty((0, len(bands), block.height, block.width), dtype=np.int16), bands)
        # bands of one larger pixel size stay as they are; all others are brought to the grid
        readings = [[_reading(scene.asset(band), block) for band in bands] for scene in scenes]
        sizes = [readings[0][b].coarse for b in range(len(bands))]
        coarse = next((size for size in sizes if size is not None), None)
        apart = [b for b, size in enumerate(sizes) if size == coarse is not None]
        apart = [b for b in apart if all(row[b].coarse == coarse for row in readings)]
        near = [b for b in range(len(bands)) if b not in apart]
        window, zoom, start = coarse or (block, 1, (0, 0))
        fine_stack = np.empty((len(scenes), len(near), block.height, block.width), dtype=np.int16)
        shape = (window.height, window.width) if apart else (1, 1)
        coarse_stack = np.empty((len(scenes), len(apart), *shape), dtype=np.int16)
        for n, row in enumerate(readings):
            for b, reading in enumerate(row):
                numbers = self._reader(reading.window).numbers(reading.asset)
                if b in apart:
                    to_reflectance(numbers, reading.asset, coarse_stack[n, apart.index(b)])
                else:
                    asset = replace(reading.asset, zoom=reading.zoom)
                    to_reflectance(numbers, asset, fine_stack[n, near.index(b)], start=reading.start)
        places = tuple((1, apart.index(b)) if b in apart else (0, near.index(b)) for b in range(len(bands)))
        return Views(tuple(bands), fine_stack, coarse_stack, places, zoom, start)


@dataclass(frozen=True, slots=True)
class _Reading:
    """How a band of a block is read at its own pixel size: `asset` within `window`, in which the block begins
    `start` rows and columns of the grid.
    """

    asset: Asset
    window: Block
    zoom: int
    start: tuple[int, int]

    @property
    def coarse(self) -> tuple[Block, int, tuple[int, int]] | None:
        """Where larger pixels lie; bands of which this is the same can be stacked."""
        return (self.window, self.zoom, self.start) if self.zoom > 1 else None


def _reading(asset: Asset, block: Block) -> _Reading:
    zoom = asset.zoom
    if zoom == 1:
        return _Reading(asset, block, 1, (0, 0))
    row, col = asset.corner[0] + block.row, asset.corner[1] + block.col
    top, left = row // zoom, col // zoom
    height, width = -(-(row + block.height) // zoom) - top, -(-(col + block.width) // zoom) - left
    window = Block(block.tile, top, left, height, width)
    return _Reading(
        replace(asset, corner=(0, 0), zoom=1), window, zoom, (row - top * zoom, col - left * zoom)
    )


def to_reflectance(
    numbers: NDArray[Any], asset: Asset, out: NDArray[np.int16], *, start: tuple[int, int] = (0, 0)
) -> None:
    """Numbers of a raster as reflectance × 10 000: DN · scale · 10 000 + offset · 10 000, cut to ±32 767.

    Parameters
    ----------
    numbers : (rows, columns)
        At the raster's own pixel size.
    asset
        Its scale, offset, nodata and zoom.
    out : int16 (height, width)
        Filled; `NODATA` where nothing was measured.
    start
        Row and column, on the grid, of `out[0, 0]` within `numbers`.
    """
    factor, shift = asset.scale * SCALE, asset.offset * SCALE
    whole = abs(factor - round(factor)) < 1e-6 and abs(shift - round(shift)) < 1e-6
    nodata = asset.nodata
    if numbers.dtype.kind in "iu" and numbers.dtype.itemsize <= 2 and whole and factor < 2**15:
        known = nodata is not None and float(nodata).is_integer() and abs(nodata) < 2**16
        missing = int(nodata) if known and nodata is not None else -(2**20)
        _whole_numbers(numbers, asset.zoom, start, round(factor), round(shift), missing, out)
        return
    values = numbers.astype(np.float32, copy=False)
    missing_value = np.float32(np.nan if nodata is None else nodata)
    scale, offset = np.float32(asset.scale), np.float32(asset.offset)
    _floats(values, asset.zoom, start, scale, offset, missing_value, out)


@njit(nogil=True, cache=True)
def _whole_numbers(
    numbers: NDArray[Any],
    zoom: int,
    start: tuple[int, int],
    factor: int,
    shift: int,
    missing: int,
    out: NDArray[np.int16],
) -> None:
    height = out.shape[0]
    f, s, m = np.int32(factor), np.int32(shift), np.int32(missing)
    low, high = np.int32(-32767), np.int32(32767)
    line = np.empty(numbers.shape[1] if zoom > 1 else 0, dtype=np.int16)
    last = -1
    for y in range(height):
        source = (y + start[0]) // zoom
        if source != last:
            row, target = numbers[source], line
            if zoom == 1:  # straight to its place
                row, target = row[start[1] : start[1] + out.shape[1]], out[y]
            for x in range(target.size):
                number = np.int32(row[x])
                value = min(max(number * f + s, low), high)
                target[x] = np.int16(NODATA) if number == m else np.int16(value)
            last = source
        if zoom > 1:
            _spread(line, zoom, start[1], out[y])


@njit(nogil=True, cache=True)
def _floats(
    values: NDArray[np.float32],
    zoom: int,
    start: tuple[int, int],
    scale: np.float32,
    offset: np.float32,
    missing: np.float32,
    out: NDArray[np.int16],
) -> None:
    height = out.shape[0]
    plain = scale == np.float32(1) and offset == np.float32(0)
    limit, hundredths = np.float32(32767 / SCALE), np.float32(SCALE)
    line = np.empty(values.shape[1], dtype=np.int16)
    last = -1
    for y in range(height):
        source = (y + start[0]) // zoom
        if source != last:
            row = values[source]
            for x in range(line.size):
                value = row[x]
                if np.isnan(value) or value == missing:
                    line[x] = NODATA
                    continue
                if not plain:
                    value = np.float32(value * scale) + offset
                line[x] = np.int16(np.rint(min(max(value, -limit), limit) * hundredths))
            last = source
        _spread(line, zoom, start[1], out[y])


@njit(nogil=True, cache=True)
def _spread(line: NDArray[np.int16], zoom: int, start: int, out: NDArray[np.int16]) -> None:
    """Repeat each pixel of a line `zoom` times."""
    width = out.size
    if zoom == 1:
        for x in range(width):
            out[x] = line[x + start]
    elif zoom == 2 and start == 0 and width % 2 == 0:
        for k in range(width // 2):
            out[2 * k] = line[k]
            out[2 * k + 1] = line[k]
    else:
        for x in range(width):
            out[x] = line[(x + start) // zoom]


# ---- the steps of a block held against each other -------------------------------------------------------
def screen_block(
    *,
    block: Block,
    store: Place,
    bands: Sequence[str],
    steps: Sequence[TimeStep],
    tested: Sequence[str] | None = None,
) -> Result:
    """Find the views that their neighbours in time contradict, and write what is believed.

    Writes `usable` (1 = seen and believed) and `age_days` of the block, all steps.

    Parameters
    ----------
    bands
        The cube's.
    tested
        Those the test looks at; `tested_bands(bands)` by default. Empty: everything seen is believed.

    Returns
    -------
    dict
        `clear` and `outliers`: counts a step; `covered`: pixels with any clear view.
    """
    tile = TileStore(store)
    names = tested_bands(bands) if tested is None else tuple(tested)
    clear = tile.read("clear_count", block) > 0
    outliers = np.zeros(clear.shape, dtype=np.bool_)
    if names and clear.any():
        numbers = tile.read_bands(names, bands, block)
        days = [step.day for step in steps]
        outliers = shadow_outliers(numbers, names, days)
        outliers &= clear
    usable = clear & ~outliers
    tile.write("usable", block, usable.astype(np.uint8))
    tile.write("age_days", block, age_of_seen(tile.read("seen_day", block), usable, steps))
    return {
        "clear": clear.sum(axis=(1, 2)).tolist(),
        "outliers": outliers.sum(axis=(1, 2)).tolist(),
        "covered": int(clear.any(axis=0).sum()),
    }


def judge_steps(
    steps: Sequence[TimeStep], counts: Sequence[Result], *, tested: bool
) -> tuple[SceneVerdict, ...]:
    """Verdicts on the steps over the whole tile, from the counts of its blocks.

    A step most of whose clear pixels are outliers is rejected: what is left of it is penumbra.
    """
    covered = sum(int(count["covered"]) for count in counts)
    return tuple(
        verdict_of_counts(
            step.day,
            total=covered,
            clear=sum(int(count["clear"][number]) for count in counts),
            outliers=sum(int(count["outliers"][number]) for count in counts),
            tested=tested,
        )
        for number, step in enumerate(steps)
    )


def judge_scenes(
    scenes: Sequence[Scene], steps: Sequence[TimeStep], verdicts: Sequence[SceneVerdict]
) -> tuple[SceneVerdict, ...]:
    """Verdict of the step that each scene went into, under the scene's own date."""
    return tuple(
        replace(
            next(v for step, v in zip(steps, verdicts, strict=True) if step.holds(scene.date)),
            date=scene.date,
        )
        for scene in scenes
    )
