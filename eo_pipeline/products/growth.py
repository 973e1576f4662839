"""Growth status (长势): how a crop's index stands against earlier years or, without them, against its peers.

Five classes from the relative anomaly, or against a climatology from the departure in spreads, and their
shares of the area that could be judged. Pure arrays; where blocks are involved, what must be known of the
whole region is summed first (`index_histogram`).
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from statistics import NormalDist
from typing import Final, Literal, cast

import numpy as np
from numpy.typing import NDArray

from eo_pipeline.products.thresholds import thresholds

GrowthMethod = Literal["last_year", "baseline_mean", "climatology", "peers"]

#: Codes of growth.tif.
NODATA: Final = 0
POOR, FAIR, NORMAL, GOOD, VERY_GOOD = 1, 2, 3, 4, 5
NOT_MONITORABLE: Final = 6
#: Class names in code order, as in estimates.parquet.
GROWTH_NAMES: Final = ("poor", "fair", "normal", "good", "very_good")

#: Bins of an index histogram: −0.5 … 1.0 in steps of 0.002, well under what 10 000 pixels can tell apart.
_LOW, _HIGH, _BINS = -0.5, 1.0, 750


@dataclass(frozen=True, slots=True)
class Growth:
    """Growth of a block.

    `classes` uint8 [y, x]: 1 poor … 5 very good, 6 not monitorable, 0 no crop. `anomaly` float32 [y, x]:
    percent of the reference, NaN where not monitorable.
    """

    classes: NDArray[np.uint8]
    anomaly: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class GrowthShares:
    """Shares of one crop in one unit.

    `percent` by class name sums to 100 exactly (one decimal), of the monitorable area; empty where nothing
    could be judged. `monitorable_share` 0-1 is the part of the crop's area that could be judged.
    """

    percent: Mapping[str, float]
    monitorable_share: float
    monitorable_ha: float


def index_histogram(
    index: NDArray[np.float32], crops: NDArray[np.uint8], codes: Sequence[int]
) -> NDArray[np.int64]:
    """Histograms of `index` [t, y, x] by crop and date: int64 [crop, t, bin], additive over blocks."""
    out = np.zeros((len(codes), index.shape[0], _BINS), dtype=np.int64)
    for k, code in enumerate(codes):
        values = index[:, crops == code]
        bins = np.floor((values - _LOW) / (_HIGH - _LOW) * _BINS)
        for t, row in enumerate(bins):
            known = row[np.isfinite(row)].astype(np.int64).clip(0, _BINS - 1)
            out[k, t] = np.bincount(known, minlength=_BINS)
    return out


def histogram_quantile(histogram: NDArray[np.int64], quantile: float) -> NDArray[np.float32]:
    """Quantile of the last axis of an index histogram, NaN where it is empty. Error below one bin (0.002)."""
    total = histogram.sum(axis=-1)
    cumulative = np.cumsum(histogram, axis=-1)
    target = quantile * total
    bin_ = (cumulative < target[..., None]).sum(axis=-1).clip(0, _BINS - 1)
    inside = np.take_along_axis(histogram, bin_[..., None], axis=-1)[..., 0]
    below = np.take_along_axis(cumulative, bin_[..., None], axis=-1)[..., 0] - inside
    part = np.where(inside > 0, (target - below) / np.maximum(inside, 1), 0.5)
    value = _LOW + (bin_ + part) * (_HIGH - _LOW) / _BINS
    return np.where(total > 0, value, np.nan).astype(np.float32)


def growing_period(median: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Dates on which a crop is judged: around its peak, while its median curve is in the upper half of its
    range.

    All False where the curve is unknown.

    >>> growing_period(np.array([0.2, 0.3, 0.6, 0.8, 0.6, 0.2], dtype=np.float32)).tolist()
    [False, False, True, True, True, False]
    """
    period = np.zeros(median.shape, dtype=np.bool_)
    if not np.isfinite(median).any():
        return period
    high = np.nan_to_num(median, nan=-np.inf) >= (np.nanmin(median) + np.nanmax(median)) / 2
    peak = int(np.nanargmax(median))
    first, last = peak, peak
    while first > 0 and high[first - 1]:
        first -= 1
    while last + 1 < high.size and high[last + 1]:
        last += 1
    period[first : last + 1] = True
    return period


def align_baseline(
    curves: NDArray[np.float32],
    dates: Sequence[date],
    target_dates: Sequence[date],
    *,
    gdd: NDArray[np.float64] | None = None,
    target_gdd: NDArray[np.float64] | None = None,
) -> NDArray[np.float32]:
    """Curves of an earlier season, read at this season's stages.

    By calendar (same month and day), or, given the growing-degree days accumulated by each date of both
    seasons, at the same heat sum, so that an early spring is not mistaken for good growth.

    Parameters
    ----------
    curves : float32 [t, y, x]
        Smoothed index of the earlier season on `dates`.
    gdd, target_gdd : float64 [t], optional
        Cumulative degree days by `dates` and by `target_dates`; both or neither.

    Returns
    -------
    float32 [len(target_dates), y, x]
        Linear between dates, NaN outside of the earlier season.
    """
    if (gdd is None) != (target_gdd is None):
        raise ValueError("give growing-degree days of both seasons, or of neither.")
    if gdd is not None and target_gdd is not None:
        axis, target = np.asarray(gdd, dtype=np.float64), np.asarray(target_gdd, dtype=np.float64)
    else:
        years = round((target_dates[0] - dates[0]).days / 365.25)
        axis = np.array([day.toordinal() for day in dates], dtype=np.float64)
        target = np.array([_years_before(day, years).toordinal() for day in target_dates], dtype=np.float64)
    out = np.full((target.size, *curves.shape[1:]), np.nan, dtype=np.float32)
    for i, position in enumerate(target):
        after = int(np.searchsorted(axis, position))
        if after < axis.size and axis[after] == position:
            out[i] = curves[after]
        elif 0 < after < axis.size:
            weight = (position - axis[after - 1]) / (axis[after] - axis[after - 1])
            out[i] = (1 - weight) * curves[after - 1] + weight * curves[after]
    return out


def _years_before(day: date, years: int) -> date:
    """The same month and day `years` earlier; 29 February becomes the 28th."""
    try:
        return day.replace(year=day.year - years)
    except ValueError:
        return day.replace(year=day.year - years, day=28)


@functools.cache
def _normal_iqr() -> NDArray[np.float32]:
    """By number of draws, 0-255, the interquartile range they show on average where they are normal with
    deviation 1; NaN below two.

    Quartiles are interpolated as in the climatology (Hyndman & Fan 1996, type 7); of n draws the i-th
    smallest lies at Φ⁻¹((i − 0.375) / (n + 0.25)) (Blom 1958, Statistical Estimates and Transformed
    Beta-Variables).
    """
    table = np.full(256, np.nan, dtype=np.float32)
    for n in range(2, 256):
        ordered = [NormalDist().inv_cdf((i - 0.375) / (n + 0.25)) for i in range(1, n + 1)]
        low, high = np.quantile(ordered, (0.25, 0.75))
        table[n] = high - low
    return table


def usual_spread(
    p25: NDArray[np.float32], p75: NDArray[np.float32], count: NDArray[np.uint8]
) -> NDArray[np.float32]:
    """Standard deviation by which a new season may be expected to miss the median of `count` past ones.

    That of the seasons is (p75 − p25) / e, where e is the range that so many normal draws show on average
    (1.35 for many, 0.87 for three). The median of n itself is off by √(π / 2n) of it (Kenney & Keeping 1962,
    for large n), which adds: a few seasons tell little, and less is made of them.

    Returns
    -------
    float32, as the arguments
        NaN where fewer than two seasons were seen.

    >>> quarter, three = np.array([0.02], np.float32), np.array([3], np.uint8)
    >>> round(float(usual_spread(-quarter, quarter, three)[0]), 3)
    0.057
    """
    with np.errstate(divide="ignore"):
        median_too = np.sqrt(1 + np.pi / 2 / count.astype(np.float32))
    spread: NDArray[np.float32] = (p75 - p25) / _normal_iqr()[count] * median_too
    return spread


def assess_growth(
    index: NDArray[np.float32],
    crops: NDArray[np.uint8],
    *,
    references: Mapping[int, NDArray[np.float32]],
    periods: Mapping[int, NDArray[np.bool_]],
    clear: NDArray[np.bool_],
    age_days: NDArray[np.int16] | None = None,
    spread: NDArray[np.float32] | None = None,
) -> Growth:
    """Class and anomaly of each pixel of the crops in `references`.

    The mean of the index over the crop's growing period is held against the mean of its reference on the same
    dates: anomaly = 100 (index − reference) / reference, in percent. The class is that of the anomaly or,
    where the `spread` is known, of z = (index − reference) / spread, the Standardized Vegetation Index with
    median and spread in place of mean and standard deviation. Spreads are averaged as if a departure lasted
    all season, which it does more often than not.

    Parameters
    ----------
    index : float32 [t, y, x]
        Smoothed index.
    crops : uint8 [y, x]
        Crop map.
    references
        By crop code: the crop's own median curve [t] (peers), or a baseline [t, y, x] at the same stages.
    periods
        By crop code: dates judged, bool [t], see `growing_period`.
    clear : bool [t, y, x]
        Steps with a clear observation.
    age_days : int16 [t, y, x], optional
        Days since the last clear observation; judged on the last date of the period.
    spread : float32 [t, y, x], optional
        How far a season may be expected to stray from the reference, see `usual_spread`; dates where it is
        NaN are not judged.

    References
    ----------
    Peters, A. J. et al. (2002). Drought monitoring with NDVI-based Standardized Vegetation Index.
    Photogrammetric Engineering & Remote Sensing 68 (1), 71-75, eq. 1; its five classes end at the percentiles
    5, 25, 75 and 95.
    """
    limits = {key.removeprefix("growth."): row.value for key, row in thresholds().items()}
    classes = np.full(crops.shape, NODATA, dtype=np.uint8)
    anomaly = np.full(crops.shape, np.nan, dtype=np.float32)
    for code, reference in references.items():
        here = crops == code
        period = periods[code]
        if not here.any():
            continue
        if not period.any():
            classes[here] = NOT_MONITORABLE
            continue
        now = index[period][:, here]
        then = reference[period][:, here] if reference.ndim == 3 else reference[period][:, None]
        both = np.isfinite(now) & np.isfinite(then)
        if spread is not None:
            strays = spread[period][:, here]
            both &= np.isfinite(strays)
        days = np.maximum(both.sum(axis=0), 1)
        mean_now = np.where(both, now, 0).sum(axis=0) / days
        mean_then = np.where(both, then, 0).sum(axis=0) / days

        judged = both.any(axis=0) & (mean_then >= limits["min_reference"])
        judged &= clear[period][:, here].sum(axis=0) >= min(limits["min_clear"], int(period.sum()))
        if age_days is not None:
            last = int(np.flatnonzero(period)[-1])
            judged &= age_days[last][here] <= limits["max_age"]
        percent = np.full(judged.shape, np.nan, dtype=np.float32)
        percent[judged] = 100.0 * (mean_now[judged] - mean_then[judged]) / mean_then[judged]
        anomaly[here] = percent
        if spread is None:
            found = classify_anomaly(percent)
        else:
            mean_stray = np.maximum(np.where(both, strays, 0).sum(axis=0) / days, limits["min_spread"])
            found = classify_departure(((mean_now - mean_then) / mean_stray).astype(np.float32))
        classes[here] = np.where(judged, found, NOT_MONITORABLE)
    return Growth(classes, anomaly)


def classify_anomaly(percent: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Growth class of a relative anomaly in percent; a value on a limit belongs to the class farther from
    normal.

    >>> classify_anomaly(np.array([-15, -14.9, -5, 0, 4.9, 5, 15], dtype=np.float32)).tolist()
    [1, 2, 2, 3, 3, 4, 5]
    """
    return _classified(percent, "growth.")


def classify_departure(z: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Growth class of a departure from what is usual, in spreads.

    >>> classify_departure(np.array([-2, -1, 0, 0.67, 0.68, 1.7], dtype=np.float32)).tolist()
    [1, 2, 3, 3, 4, 5]
    """
    return _classified(z, "growth.z_")


def _classified(values: NDArray[np.float32], prefix: str) -> NDArray[np.uint8]:
    limit = {name: thresholds()[prefix + name].value for name in GROWTH_NAMES if name != "normal"}
    classes = np.full(values.shape, NORMAL, dtype=np.uint8)
    classes[values >= limit["good"]] = GOOD
    classes[values >= limit["very_good"]] = VERY_GOOD
    classes[values <= limit["fair"]] = FAIR
    classes[values <= limit["poor"]] = POOR
    return classes


def growth_shares(area_ha: NDArray[np.float64]) -> GrowthShares:
    """Shares from hectares by growth code: float64 [7], codes 0-6 as in growth.tif, of one crop in one unit.

    >>> shares = growth_shares(np.array([0.0, 1.0, 1.0, 1.0, 0.0, 0.0, 1.0]))
    >>> dict(shares.percent), shares.monitorable_share
    ({'poor': 33.4, 'fair': 33.3, 'normal': 33.3, 'good': 0.0, 'very_good': 0.0}, 0.75)
    """
    judged = np.asarray(area_ha[POOR : VERY_GOOD + 1], dtype=np.float64)
    total = float(judged.sum())
    crop = total + float(area_ha[NOT_MONITORABLE])
    if total <= 0:
        return GrowthShares({}, 0.0, 0.0)
    return GrowthShares(dict(zip(GROWTH_NAMES, round_to_100(judged), strict=True)), total / crop, total)


def round_to_100(parts: NDArray[np.float64], *, decimals: int = 1) -> tuple[float, ...]:
    """Percentages of non-negative `parts`, rounded so that they still sum to 100 (largest remainders).

    Raises
    ------
    ValueError
        The parts sum to 0.

    >>> round_to_100(np.array([1.0, 1.0, 1.0]))
    (33.4, 33.3, 33.3)
    """
    total = float(parts.sum())
    if total <= 0:
        raise ValueError("no parts to share out: they sum to 0.")
    whole = 100 * 10**decimals
    exact = parts / total * whole
    units = np.floor(exact).astype(np.int64)
    missing = whole - int(units.sum())
    for i in np.argsort(-(exact - units), kind="stable")[:missing]:
        units[i] += 1
    return tuple(cast("list[float]", (units / 10**decimals).tolist()))
