"""How well gaps of an index are filled: clear views are left out, the season's own smoother must find them.

Pure measurement on a stack of index images; what the smoother does is in `cube/smoothing.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from eo_pipeline.cube.gaps import GapRule, fill_gaps
from eo_pipeline.cube.smoothing import smooth_index
from eo_pipeline.errors import SourceError

#: Side of the blocks of pixels left out, and the share of clear blocks left out at a time.
BLOCK: Final = 16
SHARE: Final = 0.2
ROUNDS: Final = 5
#: Days between the views on either side of what was left out: upper ends of the classes told apart.
GAPS: Final = (15, 30, 60)
#: A gap of any length is filled by a line, as by the smoother.
_ENDLESS: Final = GapRule(max_gap=100_000)
_RESAMPLED: Final = 2000
_LEAST_DATES: Final = 5
#: A line without any error still divides.
_EXACT: Final = 1e-12

Method = Callable[[NDArray[np.float32], Sequence[date]], NDArray[np.float32]]


@dataclass(frozen=True, slots=True)
class Stack:
    """An index [t, y, x], NaN where not clear, on ascending `dates`."""

    values: NDArray[np.float32]
    dates: tuple[date, ...]


@dataclass(frozen=True, slots=True)
class GapScore:
    """Errors where values were left out.

    `rmse` by method: "ours", "linear", "mean". `below_linear` is 1 − ours / linear, and `interval` its 95 %
    interval over left-out dates. `by_gap` gives the same by days between the views on either side.
    """

    dates: int
    values: int
    rmse: Mapping[str, float]
    below_linear: float
    interval: tuple[float, float]
    by_gap: Mapping[str, Mapping[str, float]]

    def as_dict(self) -> dict[str, Any]:
        return {
            "dates": self.dates,
            "values": self.values,
            "rmse": _rounded(self.rmse),
            "below_linear": round(self.below_linear, 4),
            "below_linear_95": [round(limit, 4) for limit in self.interval],
            "by_gap_days": {name: _rounded(row) for name, row in self.by_gap.items()},
        }


def _rounded(row: Mapping[str, float]) -> dict[str, float]:
    return {key: round(value, 5) for key, value in row.items()}


def score_gaps(
    stack: Stack,
    *,
    index: str = "NDVI",
    clear_share: float = 0.95,
    months: tuple[int, int] = (1, 12),
    blocks: bool = False,
    seed: int = 42,
) -> GapScore:
    """Leave clear dates out in turn, or blocks of pixels of several dates at once; compare what is filled.

    Scored are dates that are clear over `clear_share` of the image and lie in `months`; the other dates still
    help to fill. Nothing of the method is chosen here. A value counts where its pixel has a clear view before
    and after, as no method knows what lies beyond its first or last one.

    Parameters
    ----------
    months
        First and last month of the year that are scored; (10, 3) runs over the turn of the year.
    blocks
        False: one whole date at a time. True: a fifth of the blocks of 16 × 16 pixels of those dates at a
        time, five times, so that a block may lack neighbouring dates at once.

    Raises
    ------
    SourceError
        Fewer than five dates are scored.
    """
    values = stack.values.reshape(len(stack.dates), -1)
    seen = np.isfinite(values)
    ever = max(1, int(seen.any(axis=0).sum()))
    first, last = months
    chosen = [
        t
        for t, day in enumerate(stack.dates)
        if seen[t].sum() >= clear_share * ever
        and ((first <= day.month <= last) if first <= last else (day.month >= first or day.month <= last))
    ]
    methods: dict[str, Method] = {
        "ours": lambda rest, dates: smooth_index(rest, dates, index=index),
        "linear": lambda rest, dates: fill_gaps(rest, dates, rule=_ENDLESS),
        "mean": lambda rest, dates: np.broadcast_to(_mean(rest), rest.shape),
    }
    table = _Table(len(stack.dates), tuple(methods))
    for out in _left_out(seen, chosen, stack.values.shape, blocks=blocks, seed=seed):
        rest = np.where(out, np.nan, values).astype(np.float32)
        days, inside = _gap_days(np.isfinite(rest), stack.dates)
        scored = out & inside
        for name, method in methods.items():
            table.add(name, scored, days, method(rest, stack.dates) - values)
    return table.score(seed)


def _mean(rest: NDArray[np.float32]) -> NDArray[np.float32]:
    known = np.isfinite(rest)
    sums: NDArray[np.float32] = np.where(known, rest, 0).sum(axis=0) / np.maximum(known.sum(axis=0), 1)
    return sums


def _left_out(
    seen: NDArray[np.bool_], chosen: Sequence[int], shape: tuple[int, ...], *, blocks: bool, seed: int
) -> Iterator[NDArray[np.bool_]]:
    """What is left out at a time, bool [t, n]: only what was seen."""
    if not blocks:
        for t in chosen:
            out = np.zeros_like(seen)
            out[t] = seen[t]
            yield out
        return
    rng = np.random.default_rng(seed)
    _, height, width = shape
    rows, cols = -(-height // BLOCK), -(-width // BLOCK)
    for _ in range(ROUNDS if chosen else 0):
        lost = np.zeros(shape, dtype=np.bool_)
        lost[chosen] = np.kron(
            rng.random((len(chosen), rows, cols)) < SHARE, np.ones((1, BLOCK, BLOCK), dtype=np.bool_)
        )[:, :height, :width]
        yield lost.reshape(seen.shape) & seen


def _gap_days(known: NDArray[np.bool_], dates: Sequence[date]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Days from the view before to the view after each value, and whether there are both."""
    days = np.array([day.toordinal() for day in dates], dtype=np.int64)[:, None]
    never = np.int64(-1)
    before = np.maximum.accumulate(np.where(known, days, never), axis=0)
    late = np.int64(10_000_000)
    after = np.minimum.accumulate(np.where(known, days, late)[::-1], axis=0)[::-1]
    return after - before, (before != never) & (after != late)


class _Table:
    """Sums of squared errors and counts by method, date and class of gap."""

    def __init__(self, dates: int, methods: tuple[str, ...]) -> None:
        self.squares = {name: np.zeros((dates, len(GAPS) + 1)) for name in methods}
        self.counts = np.zeros((dates, len(GAPS) + 1), dtype=np.int64)

    def add(
        self, name: str, scored: NDArray[np.bool_], days: NDArray[np.int64], errors: NDArray[np.float32]
    ) -> None:
        t, _ = np.nonzero(scored)
        place = t * (len(GAPS) + 1) + np.searchsorted(GAPS, days[scored])
        squares = np.bincount(place, weights=errors[scored] ** 2.0, minlength=self.counts.size)
        self.squares[name] += squares.reshape(self.counts.shape)
        if name == "ours":
            self.counts += np.bincount(place, minlength=self.counts.size).reshape(self.counts.shape)

    def score(self, seed: int) -> GapScore:
        at = np.flatnonzero(self.counts.sum(axis=1))
        if at.size < _LEAST_DATES:
            raise SourceError(
                f"Only {at.size} clear dates can be left out, and {_LEAST_DATES} is the least that says "
                "anything: give a longer stack, more months, or a smaller --clear."
            )
        counts = self.counts[at].sum(axis=1)
        squares = {name: table[at].sum(axis=1) for name, table in self.squares.items()}
        draws = np.random.default_rng(seed).integers(0, at.size, (_RESAMPLED, at.size))
        ours, line = (squares[name][draws].sum(axis=1) for name in ("ours", "linear"))
        ratios = 1 - np.sqrt(ours / np.maximum(line, _EXACT))
        rmse = {name: float(np.sqrt(rows.sum() / counts.sum())) for name, rows in squares.items()}
        by_gap = {}
        for k, name in enumerate(_gap_names()):
            if count := int(self.counts[:, k].sum()):
                errors = {m: float(np.sqrt(t[:, k].sum() / count)) for m, t in self.squares.items()}
                by_gap[name] = {"values": float(count)} | errors
        low, high = np.quantile(ratios, (0.025, 0.975))
        return GapScore(
            dates=int(at.size),
            values=int(counts.sum()),
            rmse=rmse,
            below_linear=1 - rmse["ours"] / max(rmse["linear"], _EXACT),
            interval=(float(low), float(high)),
            by_gap=by_gap,
        )


def _gap_names() -> tuple[str, ...]:
    ends = (0, *GAPS)
    return (*(f"{low + 1}-{high}" for low, high in zip(ends, GAPS, strict=False)), f"over {GAPS[-1]}")


# ---- reading ---------------------------------------------------------------------------------------------
def read_stack(path: Path, *, index: str = "NDVI") -> Stack:
    """A stack of index images, from npz or GeoTIFF.

    npz: the index by its name [t, y, x] or [t, y, x, 1], `CLM` of the same shape (0 clear), `timestamps`
    (ISO, text), and optionally `IS_VALID` (true where there is an image), as eo-learn keeps a patch.
    GeoTIFF: one band a date, described by it (2026-05-01), nodata where not clear; its scale is used.
    Of several images of one day each pixel takes the first clear one.

    Raises
    ------
    SourceError
        Naming the file, what is wrong with it and what it should hold.
    """
    if path.suffix.lower() == ".npz":
        values, texts = _from_npz(path, index)
    else:
        values, texts = _from_raster(path)
    dates = []
    for text in texts:
        try:
            dates.append(date.fromisoformat(text[:10]))
        except ValueError as error:
            raise SourceError(
                f"{path}: {text!r} is no date; each image needs one like 2026-05-01 (npz: timestamps, "
                "GeoTIFF: the bands' descriptions)."
            ) from error
    strange = np.isfinite(values) & (np.abs(values) > 1.5)
    if strange.any():
        raise SourceError(
            f"{path}: values reach {np.abs(values[strange]).max():.5g}, but an index lies between −1 and 1. "
            "Set the scale of the file (GeoTIFF), or divide the values."
        )
    days = sorted(set(dates))
    out = np.full((len(days), *values.shape[1:]), np.nan, dtype=np.float32)
    for t, day in enumerate(dates):
        at = days.index(day)
        out[at] = np.where(np.isfinite(out[at]), out[at], values[t])
    return Stack(out, tuple(days))


def _from_npz(path: Path, index: str) -> tuple[NDArray[np.float32], list[str]]:
    wanted = (index, "CLM", "timestamps")
    try:
        with np.load(path, allow_pickle=False) as document:
            if lost := [name for name in wanted if name not in document.files]:
                raise SourceError(
                    f"{path} has no {', '.join(lost)} (it has {', '.join(document.files)}); it must hold "
                    f"{index} [t, y, x], CLM (0 clear) and timestamps."
                )
            arrays = {name: document[name] for name in (*wanted, "IS_VALID") if name in document.files}
    except (OSError, ValueError) as error:
        raise SourceError(
            f"{path} cannot be read as npz ({error}). Give it as np.savez writes it."
        ) from error
    texts = [str(text) for text in arrays.pop("timestamps")]
    for name, array in arrays.items():
        if array.ndim == 4 and array.shape[3] == 1:
            arrays[name] = array[..., 0]
    shape = arrays[index].shape
    if len(shape) != 3 or any(array.shape != shape for array in arrays.values()) or len(texts) != shape[0]:
        raise SourceError(
            f"{path}: shapes do not fit: "
            + ", ".join(f"{name} {array.shape}" for name, array in arrays.items())
            + f", {len(texts)} timestamps; all must be [t, y, x]."
        )
    clear = arrays["CLM"] == 0
    if "IS_VALID" in arrays:
        # where eo-learn calls what is cloudy invalid, this changes nothing
        clear &= arrays["IS_VALID"].astype(np.bool_)
    values: NDArray[np.float32] = np.where(clear, arrays[index], np.nan).astype(np.float32)
    return values, texts


def _from_raster(path: Path) -> tuple[NDArray[np.float32], list[str]]:
    import rasterio
    from rasterio.errors import RasterioError

    try:
        with rasterio.Env(), rasterio.open(path) as raster:
            read = raster.read(masked=True).astype(np.float32)
            scales, offsets = (np.array(item, dtype=np.float32) for item in (raster.scales, raster.offsets))
            texts = [text or "" for text in raster.descriptions]
    except RasterioError as error:
        raise SourceError(f"{path} cannot be read as a raster: {error}. Give a GeoTIFF or npz.") from error
    values: NDArray[np.float32] = read.filled(np.nan) * scales[:, None, None] + offsets[:, None, None]
    return values, texts
