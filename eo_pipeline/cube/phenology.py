"""Stage dates of a crop from its smoothed index curve: green-up, peak, heading, senescence.

One curve in, dates out. What the stages mean for a named crop (返青, 抽穗) is said where they are published.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Final

import numpy as np
from numpy.typing import NDArray

#: Share of the rise at which the canopy is said to have greened up (start of season, TIMESAT).
GREEN_UP: Final = 0.20
#: Share of the fall that is left when half of the canopy has turned (mid senescence, TIMESAT).
SENESCENCE: Final = 0.50
#: Share of the rise at which the canopy is complete; for a cereal that is about when the ears appear.
HEADING: Final = 0.95
#: A smaller rise and fall is no crop season (bare soil, evergreen, noise).
MIN_AMPLITUDE: Final = 0.15
#: Looked at before and after the peak: long enough for any stage, short enough to leave other crops of the
#: plot out.
SIDE_DAYS: Final = 150


@dataclass(frozen=True, slots=True)
class Stages:
    """Stage dates of one season; None where the curve does not show the stage."""

    green_up: date | None = None
    peak: date | None = None
    heading: date | None = None
    senescence: date | None = None


def stage_dates(
    curve: NDArray[np.float32],
    dates: Sequence[date],
    *,
    heading_curve: NDArray[np.float32] | None = None,
    window: tuple[date, date] | None = None,
    green_up: float = GREEN_UP,
    senescence: float = SENESCENCE,
    min_amplitude: float = MIN_AMPLITUDE,
) -> Stages:
    """Stage dates of the main season of a curve.

    The curve is brought to single days by a natural cubic spline, the smoother's own continuation between
    dates. Around its peak the amplitude is taken on either side for itself, from the lowest value within 150
    days, and the stages are where the curve crosses a share of it (Jönsson & Eklundh 2004, TIMESAT):
    `green_up` on the last rise before the peak, `senescence` on the first fall after it.

    `heading` of a cereal comes with its greenest canopy (Sakamoto et al. 2005 take the peak day). The top is
    flat, and which day of it is highest is decided by noise and gaps, so heading is where the plateau begins:
    at 95 % of the rise. The red-edge index NDRE, given as `heading_curve`, saturates later than NDVI and
    shows it better.

    Parameters
    ----------
    curve : float [t]
        Smoothed index, NaN on dates that are not known.
    dates
        One a value, ascending.
    heading_curve : float [t], optional
        Another smoothed index to read heading from; `curve` by default.
    window
        First and last day in which the peak is looked for; the whole series by default.
    green_up, senescence
        Shares of the amplitude, 0-1.
    min_amplitude
        Least rise of a season, in units of the index.

    Returns
    -------
    Stages
        All None without a season. The peak is None where the curve still rises at its last or falls from its
        first date: that is no peak yet. A crop that has not fallen by half of its rise is held against the
        base it rose from.

    References
    ----------
    Jönsson, P. & Eklundh, L. (2004). TIMESAT. Computers & Geosciences 30, 833-845.
    doi:10.1016/j.cageo.2004.05.006. Sakamoto, T. et al. (2005). Remote Sensing of Environment 96, 366-374.
    doi:10.1016/j.rse.2005.03.008
    """
    daily = _daily(curve, dates)
    if daily is None:
        return Stages()
    first, values = daily
    peak = _peak(first, values, window)
    if peak is None:
        return Stages()

    left = values[max(0, peak - SIDE_DAYS) : peak + 1]
    right = values[peak : peak + SIDE_DAYS + 1]
    top = float(values[peak])
    rise, fall = top - float(left.min()), top - float(right.min())
    if max(rise, fall) < min_amplitude:
        return Stages()
    base = float(right.min()) if fall >= rise / 2 else float(left.min())

    start = _crossing_back(left, top - (1 - green_up) * rise) if rise >= min_amplitude else None
    end = _crossing(right, top - (1 - senescence) * (top - base))
    season_start = peak - (left.size - 1) + (start or 0)
    season_end = peak + (end if end is not None else right.size - 1)

    def on(offset: int | None) -> date | None:
        return None if offset is None else first + timedelta(days=offset)

    heading = None
    if start is not None:
        # Heading lies in the green part of this season, not in another one of the same plot.
        span = (first + timedelta(days=season_start), first + timedelta(days=season_end))
        heading = _plateau_start(_daily(heading_curve, dates) if heading_curve is not None else daily, span)
    return Stages(
        green_up=None if start is None else on(season_start),
        peak=on(peak),
        heading=heading,
        senescence=None if end is None else on(season_end),
    )


def _plateau_start(daily: tuple[date, NDArray[np.float64]] | None, span: tuple[date, date]) -> date | None:
    """First day of `span` from which the curve stays within 5 % of its rise; None without a peak."""
    if daily is None:
        return None
    first, values = daily
    peak = _peak(first, values, span)
    if peak is None:
        return None
    rise = values[max(0, (span[0] - first).days) : peak + 1]
    day = _crossing_back(rise, values[peak] - (1 - HEADING) * (values[peak] - rise.min()))
    return None if day is None else first + timedelta(days=peak - (rise.size - 1) + day)


def _daily(curve: NDArray[np.float32], dates: Sequence[date]) -> tuple[date, NDArray[np.float64]] | None:
    """First known day and a value for every day to the last; None with fewer than four known dates."""
    from scipy.interpolate import CubicSpline

    if len(dates) != len(curve):
        raise ValueError(
            f"curve has {len(curve)} values but there are {len(dates)} dates; give one date a value."
        )
    days = np.array([day.toordinal() for day in dates])
    known = np.isfinite(curve)
    days, first_of_day = np.unique(days[known], return_index=True)
    if days.size < 4:
        return None
    values = np.asarray(curve, dtype=np.float64)[known][first_of_day]
    axis = np.arange(days[0], days[-1] + 1)
    return date.fromordinal(int(days[0])), np.asarray(CubicSpline(days, values, bc_type="natural")(axis))


def _peak(first: date, values: NDArray[np.float64], window: tuple[date, date] | None) -> int | None:
    """Offset of the highest day within the window, None where that is the first or last day known."""
    low, high = 0, values.size - 1
    if window is not None:
        low = max(low, (window[0] - first).days)
        high = min(high, (window[1] - first).days)
    if high <= low:
        return None
    peak = low + int(np.argmax(values[low : high + 1]))
    return None if peak in (0, values.size - 1) else peak


def _crossing_back(values: NDArray[np.float64], level: float) -> int | None:
    """Offset of the day after the last one below `level`; None where the curve is never below."""
    below = np.flatnonzero(values < level)
    return int(below[-1]) + 1 if below.size else None


def _crossing(values: NDArray[np.float64], level: float) -> int | None:
    """Offset of the first day below `level`; None where the curve is never below."""
    below = np.flatnonzero(values < level)
    return int(below[0]) if below.size else None
