"""Smooth curves from gappy, noisy series: a Whittaker smoother on the real dates.

Pure arrays [t, n] in and out. Compositing, indices and stage dates live in their own files.
"""

# ruff: noqa: PLR0917 - compiled functions are called with positional arguments
from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from typing import Final

import numpy as np
from numba import njit
from numpy.typing import NDArray

#: Time is counted in dekads, so that `lam` on a ten-day series is the lambda of Eilers (2003).
DAYS_OF_UNIT: Final = 10.0
#: Default stiffness: follows a green-up of four weeks, flattens the scatter of single dates.
LAMBDA: Final = 0.5
#: Tukey's constant for the bisquare: 95 % efficiency under normal errors.
BISQUARE: Final = 4.685
#: Residuals under this are never taken for outliers, however well the rest fits (index or reflectance units).
NOISE_FLOOR: Final = 0.02


def smooth(
    values: NDArray[np.float32],
    dates: Sequence[date],
    *,
    lam: float = LAMBDA,
    robust: int = 2,
    lower_weight: float = 1.0,
    noise: float = NOISE_FLOOR,
    min_observations: int = 2,
) -> NDArray[np.float32]:
    """Smooth each column of `values` along time.

    Minimises :math:`\\sum_i w_i (y_i - z_i)^2 + \\lambda \\int z''(t)^2 dt` (Eilers 2003, eq. 4-6,
    second-order differences), where the second derivative is taken by divided differences, so that uneven
    dates are right: a straight line is never bent. Then, `robust` times, residuals are given Tukey bisquare
    weights and the fit is repeated.

    Parameters
    ----------
    values : float32 [t, n]
        NaN marks a gap; gaps are filled by the curve.
    dates
        One date a row, ascending; two rows of one day are given half a day between them.
    lam
        Stiffness. On an even ten-day series it equals the lambda of the paper.
    robust
        Repetitions with outliers weighed down; 0 is the plain smoother.
    lower_weight
        Weight of a value under the curve, from 1 (symmetric) down to above 0: a small value gives the upper
        envelope, for vegetation indices whose errors mostly point down. Needs `robust` > 0.
    noise
        Least scatter of good values, in their units: where the rest fits better than that, a value is still
        held against this, and is not taken for an outlier.
    min_observations
        A column with fewer values than this stays NaN altogether; at least 2, as one value has no curve.

    Returns
    -------
    float32 [t, n]
        Before the first and after the last observation of a column the curve is held level: the smoother
        would run on along its last slope, and there is nothing to say so. A column without values stays NaN.

    References
    ----------
    Eilers, P. H. C. (2003). A perfect smoother. Analytical Chemistry 75(14), 3631-3636. doi:10.1021/ac034173t

    Examples
    --------
    >>> days = [date(2026, 4, 1), date(2026, 4, 11), date(2026, 5, 1)]
    >>> curve = smooth(np.array([[0.2], [np.nan], [0.5]], dtype=np.float32), days)
    >>> [f"{value:.2f}" for value in curve[:, 0]]
    ['0.20', '0.30', '0.50']
    """
    if values.ndim != 2 or len(dates) != values.shape[0]:
        raise ValueError(
            f"values has shape {values.shape} but there are {len(dates)} dates; give an array [t, n] with "
            "one row a date."
        )
    if lam <= 0 or not 0 < lower_weight <= 1 or noise <= 0:
        raise ValueError(
            f"lam and noise must be > 0 and lower_weight in (0, 1]; they are {lam}, {noise} and "
            f"{lower_weight}."
        )
    out = np.full(values.shape, np.nan, dtype=np.float32)
    _smooth(
        np.ascontiguousarray(values, dtype=np.float32),
        _time_axis(dates),
        lam,
        robust,
        lower_weight,
        noise,
        max(2, min_observations),
        out,
    )
    return out


def _time_axis(dates: Sequence[date]) -> NDArray[np.float64]:
    """Dates in dekads from the first one, strictly ascending."""
    days = np.array([day.toordinal() for day in dates], dtype=np.float64)
    if np.any(np.diff(days) < 0):
        raise ValueError("dates must ascend; sort the series by date before smoothing it.")
    for i in range(1, days.size):  # two passes over one day: a zero step would divide by zero
        if days[i] <= days[i - 1]:
            days[i] = days[i - 1] + 0.5
    return (days - days[0]) / DAYS_OF_UNIT if days.size else days


@njit(nogil=True, cache=True)
def _penalty(time: NDArray[np.float64], first: int, last: int, diagonals: NDArray[np.float64]) -> None:
    """Main and two upper diagonals [3, m] of the roughness penalty D'WD over `time[first:last]`.

    With steps h1, h2 around a date, z'' ~ 2 [(z3 - z2)/h2 - (z2 - z1)/h1] / (h1 + h2), and that date stands
    for (h1 + h2)/2 of the integral.
    """
    diagonals[:] = 0.0
    for i in range(first + 1, last - 1):
        h1 = time[i] - time[i - 1]
        h2 = time[i + 1] - time[i]
        span = (h1 + h2) / 2.0
        a, c = 1.0 / (h1 * span), 1.0 / (h2 * span)
        b = -a - c
        j = i - 1 - first
        diagonals[0, j] += span * a * a
        diagonals[0, j + 1] += span * b * b
        diagonals[0, j + 2] += span * c * c
        diagonals[1, j] += span * a * b
        diagonals[1, j + 1] += span * b * c
        diagonals[2, j] += span * a * c


@njit(nogil=True, cache=True)
def _solve(
    diagonals: NDArray[np.float64],
    weights: NDArray[np.float64],
    values: NDArray[np.float64],
    lam: float,
    work: NDArray[np.float64],
    z: NDArray[np.float64],
) -> None:
    """Solve (W + lam P) z = W y for the pentadiagonal P by LDL', in place in `work` [3, m] and `z`."""
    m = values.size
    d, e, f = work[0], work[1], work[2]
    for i in range(m):
        pivot = weights[i] + lam * diagonals[0, i]
        above = lam * diagonals[1, i]
        right = weights[i] * values[i]
        if i >= 1:
            pivot -= d[i - 1] * e[i - 1] * e[i - 1]
            above -= d[i - 1] * e[i - 1] * f[i - 1]
            right -= e[i - 1] * z[i - 1]
        if i >= 2:
            pivot -= d[i - 2] * f[i - 2] * f[i - 2]
            right -= f[i - 2] * z[i - 2]
        d[i] = pivot
        e[i] = above / pivot
        f[i] = lam * diagonals[2, i] / pivot
        z[i] = right
    for i in range(m - 1, -1, -1):
        z[i] /= d[i]
        if i + 1 < m:
            z[i] -= e[i] * z[i + 1]
        if i + 2 < m:
            z[i] -= f[i] * z[i + 2]


@njit(nogil=True, cache=True)
def _reweigh(
    values: NDArray[np.float64],
    z: NDArray[np.float64],
    observed: NDArray[np.bool_],
    lower_weight: float,
    noise: float,
    weights: NDArray[np.float64],
) -> None:
    """Tukey bisquare weights from the residuals, times `lower_weight` under the curve; 0 in gaps."""
    residuals = np.abs(values - z)
    scale = max(1.4826 * np.median(residuals[observed]), noise)
    for i in range(values.size):
        if not observed[i]:
            continue
        u = residuals[i] / (BISQUARE * scale)
        # Never quite 0: with all but one value weighed out the system would have no solution.
        weights[i] = max((1.0 - u * u) ** 2, 1e-3) if u < 1.0 else 1e-3
        if values[i] < z[i]:
            weights[i] *= lower_weight


@njit(nogil=True, cache=True)
def _smooth(
    values: NDArray[np.float32],
    time: NDArray[np.float64],
    lam: float,
    robust: int,
    lower_weight: float,
    noise: float,
    min_observations: int,
    out: NDArray[np.float32],
) -> None:
    """Column by column; the penalty is rebuilt only where the observed span is not the last column's."""
    t, n = values.shape
    y = np.zeros(t)
    z = np.zeros(t)
    weights = np.zeros(t)
    observed = np.zeros(t, dtype=np.bool_)
    diagonals = np.zeros((3, t))
    work = np.zeros((3, t))
    built = (-1, -1)
    for column in range(n):
        first, last, count = t, 0, 0
        for i in range(t):
            observed[i] = np.isfinite(values[i, column])
            y[i] = values[i, column] if observed[i] else 0.0
            weights[i] = 1.0 if observed[i] else 0.0
            if observed[i]:
                first, last, count = min(first, i), i + 1, count + 1
        if count < min_observations:
            continue
        m = last - first
        if (first, last) != built:
            _penalty(time, first, last, diagonals[:, :m])
            built = (first, last)
        for iteration in range(robust + 1):
            if iteration > 0:
                _reweigh(y[first:last], z[:m], observed[first:last], lower_weight, noise, weights[first:last])
            _solve(diagonals[:, :m], weights[first:last], y[first:last], lam, work[:, :m], z[:m])
        for i in range(t):
            out[i, column] = z[min(max(i, first), last - 1) - first]
