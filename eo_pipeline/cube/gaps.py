"""Filling gaps in the series of a cube's bands: between clear views, never over a long silence.

Pure arrays [t, n] first; the task at the end writes `filled[step, band, y, x]`, which is made only where
the season asks for it ([cube] fill). It is for other programs: our products smooth their own indices
(`cube/smoothing.py`), and the crop map's models know gaps.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any, Final, get_args

import numpy as np
from numba import njit
from numpy.typing import NDArray

from eo_pipeline.cube.series import LAMBDA, smooth
from eo_pipeline.cube.shards import write_shards
from eo_pipeline.cube.store import NODATA, Layout, TileStore, decode, encode, make_array
from eo_pipeline.engine import Result, holding
from eo_pipeline.errors import CubeError
from eo_pipeline.grid import Block
from eo_pipeline.season import FillMethod
from eo_pipeline.storage import Place

METHODS: Final[tuple[str, ...]] = get_args(FillMethod)
#: The array of filled reflectance.
FILLED: Final = "filled"
#: Columns handled side by side, and pixels smoothed at a time: bounds the float copies.
_LANES: Final = 256
_CHUNK: Final = 65_536
#: A day beyond every season.
_NEVER: Final = 1e9


@dataclass(frozen=True, slots=True)
class GapRule:
    """How gaps are filled.

    Attributes
    ----------
    method
        "linear": straight between the clear views on either side. "whittaker": by the robust smoother's
        curve, clear views as they are. "smooth": the curve throughout, also in place of the clear views.
    max_gap
        Days from one clear view to the next; steps in a longer gap stay nodata.
    hold
        Days the first and the last clear view are held outside of them; 0 fills nothing there, as nothing
        lies on the other side.
    lam, robust
        Stiffness and repetitions of the smoother; see `series.smooth`.
    """

    method: FillMethod = "linear"
    max_gap: int = 60
    hold: int = 0
    lam: float = LAMBDA
    robust: int = 2

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise CubeError(f"Gap fill “{self.method}” is unknown; accepted are {', '.join(METHODS)}.")
        if self.max_gap < 1 or self.hold < 0 or self.lam <= 0 or self.robust < 0:
            raise CubeError(
                f"Gap fill: max_gap {self.max_gap} must be at least 1 day, hold {self.hold} and robust "
                f"{self.robust} not negative, lam {self.lam} above 0."
            )


def fill_gaps(values: NDArray[Any], dates: Sequence[date], *, rule: GapRule | None = None) -> NDArray[Any]:
    """Fill each column of `values` along time.

    Parameters
    ----------
    values : int16 or float32 [t, n]
        int16 × 10 000 with nodata −32768, or values with NaN.
    dates
        One a row, ascending.

    Returns
    -------
    int16 or float32 [t, n], as `values`
        Memory: a copy of `values`; the smoother needs 12 bytes more for each number of 65 536 columns.

    Examples
    --------
    >>> days = [date(2026, 5, 5), date(2026, 5, 15), date(2026, 5, 25), date(2026, 9, 5)]
    >>> fill_gaps(np.array([[1000], [-32768], [3000], [4000]], dtype=np.int16), days)[:, 0].tolist()
    [1000, 2000, 3000, 4000]
    """
    rule = rule or GapRule()
    if values.ndim != 2 or len(dates) != values.shape[0]:
        raise ValueError(
            f"values has shape {values.shape} but there are {len(dates)} dates; give an array [t, n] with "
            "one row a date."
        )
    if values.dtype not in (np.dtype(np.int16), np.dtype(np.float32)):
        raise ValueError(f"values are {values.dtype}; give int16 × 10 000 or float32.")
    days = np.array([day.toordinal() for day in dates], dtype=np.int64)
    if np.any(np.diff(days) < 0):
        raise ValueError("dates must ascend; sort the series by date before filling it.")
    whole = values.dtype == np.int16
    if rule.method == "linear":
        out = np.empty_like(values, order="C")
        from_first = (days - days[:1]).astype(np.float32)
        _linear(values, from_first, np.float32(rule.max_gap), np.float32(rule.hold), out)
        return out
    out = np.array(values, order="C")
    for first in range(0, values.shape[1], _CHUNK):
        part = out[:, first : first + _CHUNK]
        curve = smooth(decode(part) if whole else part, dates, lam=rule.lam, robust=rule.robust)
        seen = part != NODATA if whole else ~np.isnan(part)
        take = reach(seen, dates, max_gap=rule.max_gap, hold=rule.hold)
        if rule.method == "whittaker":
            take &= ~seen
        fitted = encode(curve) if whole else curve
        # a column too thin for a curve has none; what was seen of it stays
        take &= fitted != NODATA if whole else ~np.isnan(fitted)
        part[take] = fitted[take]
    return out


def reach(
    observed: NDArray[np.bool_], dates: Sequence[date], *, max_gap: int, hold: int = 0
) -> NDArray[np.bool_]:
    """Where a value may stand: at clear views, and between two no more than `max_gap` days apart.

    Parameters
    ----------
    observed : bool [t, n]
    dates
        One a row, ascending.
    hold
        Days before the first and after the last view that count too.

    Returns
    -------
    bool [t, n]
    """
    days = np.array([day.toordinal() for day in dates], dtype=np.int64)
    out = np.ascontiguousarray(observed).copy()
    _reach(out, days, max_gap, hold)
    return out


@njit(nogil=True, cache=True)
def _reach(
    out: NDArray[np.bool_], days: NDArray[np.int64], max_gap: int, hold: int
) -> None:  # pragma: no cover - compiled
    steps, n = out.shape
    last = np.empty(_LANES, dtype=np.int64)
    for first in range(0, n, _LANES):
        length = min(_LANES, n - first)
        last[:] = -1
        for t in range(steps):
            for x in range(length):
                if not out[t, first + x]:
                    continue
                before = last[x]
                if before < 0 or days[t] - days[before] <= max_gap:
                    for k in range(before + 1, t):
                        if before >= 0 or days[t] - days[k] <= hold:
                            out[k, first + x] = True
                last[x] = t
        for x in range(length):
            if last[x] >= 0:
                for k in range(last[x] + 1, steps):
                    if days[k] - days[last[x]] <= hold:
                        out[k, first + x] = True


@njit(nogil=True, cache=True)
def _linear(
    values: NDArray[Any], days: NDArray[np.float32], max_gap: np.float32, hold: np.float32, out: NDArray[Any]
) -> None:  # pragma: no cover - compiled
    """Runs of `_LANES` columns, so that every step is vector instructions on what lies in the near cache."""
    steps, n = values.shape
    whole = out.itemsize == 2
    missing = np.float32(NODATA)
    lanes = np.full((steps, _LANES), missing, dtype=np.float32)
    after = np.zeros((steps, _LANES), dtype=np.float32)
    when = np.zeros((steps, _LANES), dtype=np.float32)
    value, day = np.zeros(_LANES, dtype=np.float32), np.zeros(_LANES, dtype=np.float32)
    for first in range(0, n, _LANES):
        length = min(_LANES, n - first)
        for t in range(steps):
            line, lane = values[t, first : first + length], lanes[t]
            for x in range(length):
                number = np.float32(line[x])
                lane[x] = number if number == number else missing  # NaN is like nothing else  # noqa: PLR0124
        day[:] = np.float32(_NEVER)
        for t in range(steps - 1, -1, -1):
            _note(lanes[t], days[t], value, day)
            after[t], when[t] = value, day
        day[:] = np.float32(-_NEVER)
        for t in range(steps):
            _note(lanes[t], days[t], value, day)
            _step(lanes[t], days[t], (value, day), (after[t], when[t]), (max_gap, hold))
            line, lane = out[t, first : first + length], lanes[t]
            if whole:
                for x in range(length):
                    line[x] = np.int16(np.rint(lane[x]))
            else:
                for x in range(length):
                    line[x] = np.float32(np.nan) if lane[x] == missing else lane[x]


@njit(nogil=True, cache=True)
def _note(
    lane: NDArray[np.float32], today: np.float32, value: NDArray[np.float32], day: NDArray[np.float32]
) -> None:  # pragma: no cover - compiled
    """Keep the value and the day of the last view met."""
    for x in range(_LANES):
        seen = lane[x] != np.float32(NODATA)
        value[x] = lane[x] if seen else value[x]
        day[x] = today if seen else day[x]


@njit(nogil=True, cache=True)
def _step(
    lane: NDArray[np.float32],
    today: np.float32,
    before: tuple[NDArray[np.float32], NDArray[np.float32]],
    after: tuple[NDArray[np.float32], NDArray[np.float32]],
    limits: tuple[np.float32, np.float32],
) -> None:  # pragma: no cover - compiled
    """One step of a run of columns, from the view before and the view after."""
    (low, start), (high, end) = before, after
    max_gap, hold = limits
    one, missing, never = np.float32(1), np.float32(NODATA), np.float32(_NEVER)
    for x in range(_LANES):
        span, since, ahead = end[x] - start[x], today - start[x], end[x] - today
        share = since / (span if span > one else one)
        between = low[x] + (high[x] - low[x]) * share
        held = low[x] if (since <= hold and end[x] == never) else missing
        held = high[x] if (ahead <= hold and start[x] == -never) else held
        lane[x] = between if span <= max_gap else held


# ---- the task -------------------------------------------------------------------------------------------
def require_filled(tile: TileStore, layout: Layout) -> None:
    """Make the array `filled[step, band, y, x]` if it is not there; one shard is a block's band."""
    with tile.folder.telling(FILLED):
        if FILLED not in tile.group:
            steps, bands = len(layout.steps), len(layout.bands)
            shape, shard = (steps, bands, *layout.grid.shape), (steps, 1, *layout.product_side)
            make_array(tile.group, FILLED, shape=shape, shard=shard, dtype="int16", fill=NODATA)


def fill_bytes(steps: int, block: Block) -> int:
    """Memory `fill_block` needs at most: one band read, filled and compressed, the mask of what is believed,
    and a chunk of pixels in floating point.
    """
    pixels = block.height * block.width
    return steps * (pixels * (3 * 2 + 4) + min(pixels, _CHUNK) * 16)


def fill_block(
    *,
    block: Block,
    store: Place,
    bands: Sequence[str],
    dates: Sequence[date],
    kept: Sequence[bool] = (),
    rule: GapRule | None = None,
) -> Result:
    """Fill the gaps of each band of one block and write them; `require_filled` must have made the array.

    Parameters
    ----------
    bands, dates
        The cube's.
    kept
        Of every step, whether its verdict keeps it; without it all are kept.

    Returns
    -------
    dict
        `seen`, `filled`, `left`: numbers of pixels × steps that were seen, were filled, and stay nodata.
    """
    tile = TileStore(store)
    filled = tile.array(FILLED)
    usable = tile.read_usable(block, kept)
    rows, cols = block.slices
    seen = left = 0
    for b, name in enumerate(bands):
        numbers = tile.read_bands((name,), bands, block)[:, 0]
        numbers[~usable] = NODATA
        shape = numbers.shape
        seen += int((numbers != NODATA).sum())
        done = fill_gaps(numbers.reshape(shape[0], -1), dates, rule=rule).reshape(shape)
        left += int((done == NODATA).sum())
        with holding(), tile.folder.telling(FILLED):
            if not write_shards(filled, done[:, None], (0, b, block.row, block.col)):
                filled[:, b, rows, cols] = done
    total = len(bands) * usable.size
    return {"seen": seen, "filled": total - seen - left, "left": left}
