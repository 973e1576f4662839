"""What a yield would be in a usual year: lines through the years of each unit, and simpler baselines.

Every baseline is a curve `level + slope · t + bend · exp(-(t - first) / decay)` per unit, t in years from a
common centre, with a pooled curve for units that were never seen. Pure numpy on long arrays: one row a unit
and year.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Final

import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float64]
Int = NDArray[np.int64]

#: A unit of fewer years has no slope of its own.
MIN_YEARS: Final = 3


@dataclass(frozen=True)
class Curves:
    """Curves over the years for q variables of U units.

    Attributes
    ----------
    centre : float
        The year at which t is 0.
    level, slope : (U, q) float
        Value at the centre, and change a year.
    bend : (q,) float
        What all units are off their lines in the first year, and lose by and by; 0 for a straight line.
    first, decay : float
        The first year, and the years in which a bend fades to 1/e.
    pooled_level, pooled_slope : (q,) float
        What stands for a unit that was never seen.
    spread : (q,) float
        Standard deviation of the units' levels: what is not known of a unit that was never seen.
    """

    centre: float
    level: Float
    slope: Float
    bend: Float
    pooled_level: Float
    pooled_slope: Float
    spread: Float
    first: float = 0.0
    decay: float = 1.0

    def at(self, unit: Int, year: Float) -> Float:
        """Values (n, q) of units 0 … U-1 in years; -1 is a unit that was never seen."""
        t = (year - self.centre)[:, None]
        fading = np.exp((self.first - year) / self.decay)[:, None] if self.bend.any() else 0.0
        level = np.vstack([self.level, self.pooled_level])[unit]
        slope = np.vstack([self.slope, self.pooled_slope])[unit]
        return np.asarray(level + slope * t + self.bend * fading)


@dataclass(frozen=True)
class _Lines:
    """Least squares line of each unit and variable, with what is needed to judge it; all (U, q)."""

    count: Float
    mean_t: Float
    mean: Float
    slope: Float
    sxx: Float
    rest: Float

    @property
    def sloped(self) -> NDArray[np.bool_]:
        return (self.count >= MIN_YEARS) & (self.sxx > 0)


def unit_mean(unit: Int, year: Float, values: Float, *, units: int) -> Curves:
    """Each unit's own mean, whatever the year."""
    lines, centre, offset = _lines(unit, year, values, units)
    flat = replace(lines, slope=np.zeros_like(lines.slope))
    return _curves(flat, centre, offset, slope=flat.slope, pooled=np.zeros(values.shape[1]))


def unit_line(unit: Int, year: Float, values: Float, *, units: int) -> Curves:
    """Each unit's own least squares line; units of fewer than three years take the pooled slope."""
    lines, centre, offset = _lines(unit, year, values, units)
    pooled = _pooled_slope(lines)
    return _curves(lines, centre, offset, slope=np.where(lines.sloped, lines.slope, pooled), pooled=pooled)


def unit_trend(unit: Int, year: Float, values: Float, *, units: int) -> Curves:
    """Each unit's line, its slope drawn towards the mean slope of all units.

    A slope counts by `tau² / (tau² + se²)`: se² from the scatter about the lines, tau² the variance of the
    true slopes by the method of moments (DerSimonian & Laird 1986; Efron & Morris 1975 for the shrinkage).
    Where units differ no more than chance makes them differ, all share one slope.
    """
    lines, centre, offset = _lines(unit, year, values, units)
    mean, weight = _shrinkage(lines)
    slope = np.where(lines.sloped, mean + weight * (lines.slope - mean), mean)
    return _curves(lines, centre, offset, slope=slope, pooled=mean)


def unit_robust(unit: Int, year: Float, values: Float, *, units: int) -> Curves:
    """Each unit's Theil-Sen line (Sen 1968), its slope drawn towards their median as in `unit_trend`.

    The slope is the median of the slopes between any two years, the level the median of what is left; a
    single bad year moves neither.
    """
    lines, centre, offset = _lines(unit, year, values, units)
    _, weight = _shrinkage(lines)
    years, column = np.unique(year, return_inverse=True)
    level, slope = np.full_like(lines.mean, np.nan), np.full_like(lines.mean, np.nan)
    pooled = np.zeros(values.shape[1])
    first, second = np.triu_indices(len(years), 1)
    for q in range(values.shape[1]):
        table = np.full((units, len(years)), np.nan)
        table[unit, column] = values[:, q] - offset[q]
        steps = (table[:, second] - table[:, first]) / (years[second] - years[first])
        own = _row_median(steps)
        sloped = lines.sloped[:, q]
        pooled[q] = np.median(own[sloped]) if sloped.any() else 0.0
        slope[:, q] = np.where(sloped, pooled[q] + weight[:, q] * (own - pooled[q]), pooled[q])
        level[:, q] = _row_median(table - slope[:, q, None] * (years - centre))
    return _finished(level, slope, centre, offset, pooled)


def unit_levelling(unit: Int, year: Float, values: Float, *, units: int) -> Curves:
    """`unit_trend` with a bend that all units share and that fades: yields that level off, or take off
    slowly.

    The bend fades by 1/e in half the years there are, so that beyond them the curve is nearly a line again.
    It is shrunk by its own certainty, `max(0, 1 - 1 / z²)` (positive-part Stein), z from errors that may be
    common to all units of a year.
    """
    first, decay = float(year.min()), max(float(np.ptp(year)) / 2, 1.0)
    fading = np.exp((first - year) / decay)[:, None]
    lines = unit_line(unit, year, values, units=units)
    seen = np.isfinite(values)
    shape = np.where(seen, fading, np.nan)
    own = unit_line(unit, year, shape, units=units)
    # Frisch-Waugh-Lovell: both sides without the units' lines
    x = np.where(seen, shape - own.at(unit, year), 0.0)
    r = np.where(seen, values - lines.at(unit, year), 0.0)
    sxx = (x * x).sum(axis=0)
    usable = sxx > 1e-9
    bend = np.divide((x * r).sum(axis=0), sxx, out=np.zeros(len(sxx)), where=usable)
    column = np.unique(year, return_inverse=True)[1]
    by_year = _sums(column, x * (r - bend * x), int(column.max()) + 1)
    variance = np.divide((by_year**2).sum(axis=0), sxx**2, out=np.zeros(len(sxx)), where=usable)
    keep = 1 - np.divide(variance, bend**2, out=np.ones_like(bend), where=bend != 0)
    bend *= np.clip(keep, 0.0, 1.0)
    straight = unit_trend(unit, year, values - bend * fading, units=units)
    return replace(straight, bend=bend, first=first, decay=decay)


#: The baselines by the names under which they are printed. The trend is what a model has to beat.
BASELINES: Final[Mapping[str, Callable[..., Curves]]] = MappingProxyType(
    {
        "trend": unit_trend,
        "robust": unit_robust,
        "line": unit_line,
        "mean": unit_mean,
        "levelling": unit_levelling,
    }
)


def _lines(unit: Int, year: Float, values: Float, units: int) -> tuple[_Lines, float, Float]:
    """The lines, the centre of the years, and what was taken off the values to keep sums exact."""
    seen = np.isfinite(values)
    centre = float(year.mean())
    total = seen.sum(axis=0)
    offset = np.where(seen, values, 0.0).sum(axis=0) / np.maximum(total, 1)
    v = np.where(seen, values - offset, 0.0)
    t = np.where(seen, (year - centre)[:, None], 0.0)
    count = _sums(unit, seen.astype(np.float64), units)
    n = np.maximum(count, 1)
    mean_t, mean = _sums(unit, t, units) / n, _sums(unit, v, units) / n
    sxx = np.maximum(_sums(unit, t * t, units) - n * mean_t**2, 0.0)
    sxx = np.where(sxx > 1e-9, sxx, 0.0)
    sxy = _sums(unit, t * v, units) - n * mean_t * mean
    slope = np.divide(sxy, sxx, out=np.zeros_like(sxy), where=sxx > 0)
    rest = np.maximum(_sums(unit, v * v, units) - n * mean**2 - slope * sxy, 0.0)
    return _Lines(count, mean_t, mean, slope, sxx, rest), centre, offset


def _pooled_slope(lines: _Lines) -> Float:
    """The slope all units would have in common, (q,)."""
    total = lines.sxx.sum(axis=0)
    top = (lines.slope * lines.sxx).sum(axis=0)
    return np.asarray(np.divide(top, total, out=np.zeros_like(total), where=total > 0))


def _shrinkage(lines: _Lines) -> tuple[Float, Float]:
    """Mean slope (q,), and how much each unit's own slope counts (U, q)."""
    usable = lines.sloped
    freedom = np.where(usable, lines.count - 2, 0.0).sum(axis=0)
    scatter = np.where(usable, lines.rest, 0.0).sum(axis=0) / np.maximum(freedom, 1)
    scatter = np.maximum(scatter, 1e-12)
    w = np.where(usable, lines.sxx / scatter, 0.0)
    total = w.sum(axis=0)
    mean = np.divide((w * lines.slope).sum(axis=0), total, out=_pooled_slope(lines), where=total > 0)
    q = (w * (lines.slope - mean) ** 2).sum(axis=0)
    scale = total - np.divide((w**2).sum(axis=0), total, out=np.zeros_like(total), where=total > 0)
    excess = q - (usable.sum(axis=0) - 1)
    tau2 = np.maximum(np.divide(excess, scale, out=np.zeros_like(q), where=scale > 0), 0.0)
    return mean, np.where(usable, tau2 * w / (tau2 * w + 1), 0.0)


def _curves(lines: _Lines, centre: float, offset: Float, *, slope: Float, pooled: Float) -> Curves:
    level = np.where(lines.count > 0, lines.mean - slope * lines.mean_t, np.nan)
    return _finished(level, slope, centre, offset, pooled)


def _finished(level: Float, slope: Float, centre: float, offset: Float, pooled: Float) -> Curves:
    """Units without a row get the pooled curve."""
    seen = np.isfinite(level)
    n = np.maximum(seen.sum(axis=0), 1)
    mean = np.where(seen, level, 0.0).sum(axis=0) / n
    spread = np.sqrt(np.where(seen, (level - mean) ** 2, 0.0).sum(axis=0) / n)
    return Curves(
        centre=centre,
        level=np.where(seen, level, mean) + offset,
        slope=np.where(seen, slope, pooled),
        bend=np.zeros(level.shape[1]),
        pooled_level=mean + offset,
        pooled_slope=pooled,
        spread=spread,
    )


def _sums(group: Int, values: Float, groups: int) -> Float:
    """Sum of the rows (n, q) of each group, (groups, q)."""
    return np.stack([np.bincount(group, column, groups) for column in values.T], axis=1)


def _row_median(table: Float) -> Float:
    """Median of each row without NaN; NaN for an empty row."""
    order = np.sort(table, axis=1)  # NaN last
    count = np.isfinite(table).sum(axis=1)
    rows = np.arange(len(table))
    low = order[rows, np.maximum((count - 1) // 2, 0)]
    return np.asarray((low + order[rows, np.minimum(count // 2, table.shape[1] - 1)]) / 2)
