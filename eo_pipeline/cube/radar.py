"""Composites of Sentinel-1: one value a channel and step, from linear backscatter on any grid.

Passes of ascending and of descending orbits look from other sides and are never mixed. Power is averaged,
never decibels: the mean of decibels lies below the mean of the power, the more the fewer looks there are.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Final, Literal, get_args

import numpy as np
from numba import njit
from numpy.typing import NDArray

from eo_pipeline.cube.ground_range import GroundRange
from eo_pipeline.cube.store import NODATA, Layout, TileStore, make_array
from eo_pipeline.cube.warped import CELL, Warped
from eo_pipeline.engine import Result
from eo_pipeline.errors import CubeError
from eo_pipeline.grid import Block, Grid, TimeStep
from eo_pipeline.scenes.sentinel1 import POLARISATIONS, Radar
from eo_pipeline.storage import Place

Orbit = Literal["ascending", "descending"]
ORBITS: Final[tuple[Orbit, ...]] = get_args(Orbit)
#: The channel axis of `backscatter`; two a direction, in the order of `ORBITS`.
CHANNELS: Final = ("VV_ASC", "VH_ASC", "VV_DESC", "VH_DESC")
#: `backscatter[step, channel, y, x]` int16, and `backscatter_count[step, orbit, y, x]` uint8.
BACKSCATTER: Final = "backscatter"
COUNT: Final = "backscatter_count"
#: int16 of decibels.
DB_SCALE: Final = 100
#: Backscatter below this is noise.
FLOOR_DB: Final = -50.0
#: Equivalent looks of one GRDH pixel (Sentinel-1 Product Definition, IW GRDH: 4.4).
GRD_LOOKS: Final = 4.4

Window = tuple[int, int, int, int]


@dataclass(frozen=True, slots=True)
class RadarPass:
    """One raster of linear gamma nought (or sigma nought) in each polarisation, of one pass.

    `vv` and `vh` are paths GDAL opens; empty where the product has no such polarisation. Values of 0 and
    below, NaN and the raster's nodata mean nothing was measured. Rasters of one direction and day are slices
    of one pass. `token` changes when a file does. Where the product is not terrain-corrected, `grd` is what
    calibrates and places it, with the heights of `dem` if there are any.
    """

    direction: Orbit
    date: date
    vv: str
    vh: str
    token: str = ""
    grd: Radar | None = None
    dem: tuple[Path, ...] = ()

    @property
    def files(self) -> tuple[str, str]:
        """In the order of a direction's channels."""
        return self.vv, self.vh

    @property
    def all_files(self) -> tuple[str, ...]:
        """Every file it is read from, but for the elevation model."""
        beside = (self.grd.annotation, self.grd.calibration, self.grd.noise) if self.grd else ()
        used = [name for name, file in zip(POLARISATIONS, self.files, strict=False) if file]
        return tuple(filter(None, (*self.files, *(part[n] for part in beside for n in used if n in part))))

    def open(self, channel: int, grid: Grid) -> Warped | GroundRange:
        """One polarisation on a tile's grid, to be entered."""
        if self.grd is None:
            return Warped(self.files[channel], grid, nodata=0)
        return GroundRange(self.grd, POLARISATIONS[channel], grid, self.dem)


def power_to_db(power: NDArray[np.float32]) -> NDArray[np.int16]:
    """Linear backscatter as decibel × 100, int16: at least −50 dB; NaN and what is not above 0 as −32768.

    >>> power_to_db(np.array([1.0, 0.05, 0.0, np.nan], dtype=np.float32)).tolist()
    [0, -1301, -32768, -32768]
    """
    out = np.full(power.shape, NODATA, dtype=np.int16)
    with np.errstate(invalid="ignore"):
        measured = power > 0
    decibel = 10.0 * np.log10(power[measured].astype(np.float64))
    out[measured] = np.rint(np.clip(decibel, FLOOR_DB, 32767 / DB_SCALE) * DB_SCALE)
    return out


def db_to_power(numbers: NDArray[np.int16]) -> NDArray[np.float32]:
    """The inverse of `power_to_db`: float32, NaN for −32768."""
    power = (10.0 ** (numbers.astype(np.float64) / (10 * DB_SCALE))).astype(np.float32)
    power[numbers == NODATA] = np.nan
    return power


def speckle_db(count: NDArray[np.uint8], *, looks: float = GRD_LOOKS) -> NDArray[np.float32]:
    """Standard deviation that speckle leaves in a composite, in decibel; NaN where nothing was seen.

    Of N independent looks the mean power has a relative deviation of 1/√N, and 10 log10 turns a relative
    error ε into 10/ln 10 · ε ≈ 4.34 ε dB. `count` is passes, as `radar_step` counts them: slices of one pass
    show the same speckle and count once.

    References
    ----------
    Oliver, C. & Quegan, S. (2004). Understanding Synthetic Aperture Radar Images. SciTech, ch. 4.

    >>> [f"{value:.2f}" for value in speckle_db(np.array([1, 3], dtype=np.uint8))]
    ['2.07', '1.20']
    """
    with np.errstate(divide="ignore"):
        relative = 1.0 / np.sqrt(count.astype(np.float32) * np.float32(looks))
    deviation: NDArray[np.float32] = np.where(count > 0, relative * np.float32(10 / np.log(10)), np.nan)
    return deviation.astype(np.float32)


def require_radar(tile: TileStore, layout: Layout) -> None:
    """Make the arrays of the composites in a tile's cube if they are not there."""
    times, side, shape = len(layout.steps), layout.side, layout.grid.shape
    if BACKSCATTER not in tile.group:
        whole, shard = (times, len(CHANNELS), *shape), (1, len(CHANNELS), *side)
        make_array(tile.group, BACKSCATTER, shape=whole, shard=shard, dtype="int16", fill=NODATA)
    if COUNT not in tile.group:
        whole, shard = (times, len(ORBITS), *shape), (1, len(ORBITS), *side)
        make_array(tile.group, COUNT, shape=whole, shard=shard, dtype="uint8", fill=0)


def radar_bytes(block: Block) -> int:
    """Memory `radar_step` needs at most, whatever the number of passes: channels and counts, their
    compressed form, and strips of rows in floating point.
    """
    pixels, strip = block.height * block.width, min(CELL, block.height) * block.width
    return pixels * 2 * (2 * len(CHANNELS) + len(ORBITS)) + strip * 4 * 12 + 64_000_000


def radar_step(
    *,
    block: Block,
    grid: Grid,
    number: int,
    step: TimeStep,
    passes: Sequence[RadarPass],
    owned: Window | None,
    store: Place,
) -> Result:
    """Compose step `number` of one block from the passes of that step, and write it to the cube.

    `require_radar` must have made the arrays. Rasters on another grid are warped to the tile's: bilinear, or
    the average where their pixels are finer. GRD is calibrated and placed on it (`cube.ground_range`).

    Parameters
    ----------
    grid
        The tile's.
    passes
        Those that fall into `step`, and no others.
    owned
        The tile's own pixels (first row, first column, end row, end column); the others stay nodata.

    Returns
    -------
    dict
        `seen`: of each channel, the pixels with a value; `passes`: days a direction.

    Raises
    ------
    CubeError
        A pass of another step or of no known direction.
    SourceError
        A raster that cannot be read or does not say where it lies.
    """
    _check(passes, step, block.tile)
    numbers = np.full((len(CHANNELS), block.height, block.width), NODATA, dtype=np.int16)
    counts = np.zeros((len(ORBITS), block.height, block.width), dtype=np.uint8)
    days: dict[str, int] = {}
    for place, orbit in enumerate(ORBITS):
        by_day: dict[date, list[RadarPass]] = {}
        for item in passes:
            if item.direction == orbit:
                by_day.setdefault(item.date, []).append(item)
        days[orbit] = len(by_day)
        for channel in range(2):
            rasters = [
                [p.open(channel, grid) for p in by_day[day] if p.files[channel]] for day in sorted(by_day)
            ]
            count = _compose(rasters, block, numbers[2 * place + channel])
            np.maximum(counts[place], count, out=counts[place])
    if owned is not None:
        outside = ~_inside(block, owned)
        numbers[:, outside], counts[:, outside] = NODATA, 0
    tile = TileStore(store)
    # an empty step is written too: it replaces what an earlier run with other passes may have left there
    tile.write(BACKSCATTER, block, numbers, step=number)
    tile.write(COUNT, block, counts, step=number)
    seen = {name: int((numbers[n] != NODATA).sum()) for n, name in enumerate(CHANNELS)}
    return {"seen": seen, "passes": days}


def _check(passes: Sequence[RadarPass], step: TimeStep, tile: str) -> None:
    for item in passes:
        if not step.holds(item.date):
            raise CubeError(
                f"Step {step.start} to {step.end} of tile {tile} was given a Sentinel-1 pass of {item.date}; "
                "hand each pass to the step that holds its date."
            )
        if item.direction not in ORBITS:
            raise CubeError(
                f"The Sentinel-1 pass of {item.date} ({item.vv or item.vh}) has the direction "
                f"“{item.direction}”; accepted are {' and '.join(ORBITS)}. Series of both are never mixed."
            )


def _compose(
    days: Sequence[Sequence[Warped | GroundRange]], block: Block, out: NDArray[np.int16]
) -> NDArray[np.uint8]:
    """Mean power of one channel over days into `out` (decibel × 100); returns days a pixel.

    The slices of a day are averaged first, so that where they overlap the day weighs as anywhere else.
    """
    count = np.zeros(out.shape, dtype=np.uint8)
    with ExitStack() as stack:
        for raster in itertools.chain(*days):
            stack.enter_context(raster)
        for first in range(0, block.height, CELL):
            rows = slice(first, min(first + CELL, block.height))
            shape = (rows.stop - rows.start, block.width)
            total = np.zeros(shape, dtype=np.float32)
            for slices in days:
                day, seen = np.zeros(shape, dtype=np.float32), np.zeros(shape, dtype=np.uint8)
                for raster in slices:
                    _add(raster.read(block, rows), day, seen)
                _finish_day(day, seen, total, count[rows])
            with np.errstate(divide="ignore", invalid="ignore"):
                mean: NDArray[np.float32] = (total / count[rows]).astype(np.float32, copy=False)
            out[rows] = power_to_db(mean)
    return count


@njit(nogil=True, cache=True)
def _add(
    power: NDArray[np.float32], total: NDArray[np.float32], seen: NDArray[np.uint8]
) -> None:  # pragma: no cover - compiled
    for y in range(power.shape[0]):
        for x in range(power.shape[1]):
            value = power[y, x]
            if value > 0 and value < np.inf:  # NaN is neither
                total[y, x] += value
                seen[y, x] += 1


@njit(nogil=True, cache=True)
def _finish_day(
    day: NDArray[np.float32], seen: NDArray[np.uint8], total: NDArray[np.float32], count: NDArray[np.uint8]
) -> None:  # pragma: no cover - compiled
    for y in range(day.shape[0]):
        for x in range(day.shape[1]):
            if seen[y, x] > 0:
                total[y, x] += day[y, x] / seen[y, x]
                count[y, x] += 1


def _inside(block: Block, owned: Window) -> NDArray[np.bool_]:
    top, left, bottom, right = owned
    rows = np.arange(block.row, block.row + block.height)[:, None]
    cols = np.arange(block.col, block.col + block.width)
    inside: NDArray[np.bool_] = (rows >= top) & (rows < bottom) & (cols >= left) & (cols < right)
    return inside


def passes_by_step(
    passes: Sequence[RadarPass], steps: Sequence[TimeStep]
) -> Mapping[int, tuple[RadarPass, ...]]:
    """Passes of each step that has any, by the step's number; those outside the season are left out."""
    found = {n: tuple(item for item in passes if step.holds(item.date)) for n, step in enumerate(steps)}
    return {n: items for n, items in found.items() if items}
