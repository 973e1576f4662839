"""Shadow and residual cloud that a scene's own mask missed, found by a pixel's neighbours in time.

A mask made from one image cannot know how bright a field should be. Here each clear value is held against the
pixel's own values just before and after it. What lives here: the outlier test per pixel; the verdict on a
scene is in `verdicts`. The mask bands delivered with a scene (SCL, CLM, ...) are read elsewhere (`clouds`)
and come in as NaN.
"""

# ruff: noqa: PLR0917 - compiled functions are called with positional arguments
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any, Final

import numpy as np
from numba import njit
from numpy.typing import NDArray

#: Reflectance bands by what they show, under the names of Sentinel-2 and CBERS-4 and under their common
#: names.
VISIBLE: Final = ("B02", "B03", "B04", "BAND13", "BAND14", "BAND15", "blue", "green", "red")
NEAR_INFRARED: Final = ("B08", "B8A", "BAND16", "nir", "nir08")
SHORTWAVE_INFRARED: Final = ("B11", "B12", "swir16", "swir22")

#: Clear neighbours the cloud test looks at on either side. The median of three stands even where one of them
#: is itself bad.
NEIGHBOURS: Final = 3
#: Rejecting a date changes its neighbours' neighbours, so the test is repeated until nothing changes, at most
#: so often.
PASSES: Final = 3
#: Pixels looked at side by side.
_LANES: Final = 64


@dataclass(frozen=True, slots=True)
class ShadowRule:
    """How far a pixel must leave its neighbours in time to be called shadow or cloud.

    The numbers were set on the three development fields of tum-wheat-2018 and on the physics named here, and
    are meant to be careful: a good image lost costs more than a pixel of penumbra kept, which the robust
    smoother discounts.

    Attributes
    ----------
    visible_ratio, infrared_ratio
        Shadow: every visible band must fall below the first, every infrared band below the second share of
        what its neighbours in time let expect. Shadow is lit by blue sky light only, so the infrared loses
        more.
    end_ratio
        At the first and last date only one side speaks, and ploughing or rain on bare soil may darken a field
        for good (to about half); the infrared share is multiplied by this there.
    cloud_rise
        Cloud: every visible band must exceed the brighter side by so much reflectance ...
    cloud_whiteness
        ... and the rise in blue must be at least this share of the rise in red: cloud is white, soil and ripe
        straw are not.
    end_cloud_rise
        The rise asked for at the first and last date, where plastic film or snow may have come to stay.
    max_gap_days
        Older or later neighbours say nothing of today.
    """

    visible_ratio: float = 0.80
    infrared_ratio: float = 0.62
    end_ratio: float = 0.75
    cloud_rise: float = 0.06
    cloud_whiteness: float = 0.75
    end_cloud_rise: float = 0.15
    max_gap_days: int = 75


@dataclass(frozen=True, slots=True)
class StepRule:
    """How two views of a pixel within one step, at most ten days apart, are held against each other.

    The same physics as `ShadowRule` without its limits for the ends of a series: what is lost is one view of
    several. A wet field (all bands at 0.68 of the dry one) and a cut one stay.

    Attributes
    ----------
    cloud_rise, cloud_whiteness
        Cloud: brighter than another view by so much reflectance in every visible band, and the rise in blue
        at least this share of the rise in red. Snow and plastic film that came between two views are taken
        for cloud; the earlier view then speaks for the step.
    visible_ratio, infrared_ratio
        Shadow: below this share of another view that is no cloud in every visible and every infrared band.
    dark_near, dark_short
        A pixel that lies where a cloud may throw its shadow is shadow if it is darker than this in near and
        in shortwave infrared: in full sun only water and burnt ground are.
    """

    cloud_rise: float = 0.06
    cloud_whiteness: float = 0.75
    visible_ratio: float = 0.80
    infrared_ratio: float = 0.62
    dark_near: float = 0.15
    dark_short: float = 0.12

    @property
    def numbers(self) -> tuple[int, int, int, int, int, int]:
        """The limits as whole numbers: reflectance × 10 000, shares in percent."""
        return (
            round(self.cloud_rise * 10_000),
            round(self.cloud_whiteness * 100),
            round(self.visible_ratio * 100),
            round(self.infrared_ratio * 100),
            round(self.dark_near * 10_000),
            round(self.dark_short * 10_000),
        )


def can_test(bands: Sequence[str]) -> bool:
    """Whether `bands` are enough for the test: at least red or another visible band, and a near infrared one.

    Indices alone (NDVI, EVI) are not: shadow leaves a ratio of bands nearly as it is.

    >>> can_test(("B02", "B04", "B08", "B11")), can_test(("NDVI", "EVI"))
    (True, False)
    """
    return any(b in VISIBLE for b in bands) and any(b in NEAR_INFRARED for b in bands)


def shadow_outliers(
    reflectance: NDArray[np.float32] | NDArray[np.int16],
    bands: Sequence[str],
    dates: Sequence[date],
    *,
    rule: ShadowRule | None = None,
) -> NDArray[np.bool_]:
    """Clear values that are shadow or cloud all the same.

    Shadow darkens *all* bands at once against what the two sides in time let expect. Ripening raises red and
    shortwave infrared while near infrared falls, and green-up does the reverse, so neither is ever taken for
    shadow. Cloud raises all visible bands together and is white. At the ends of the series one side is
    enough, under stricter limits.

    Parameters
    ----------
    reflectance : float32 or int16 [t, band, y, x]
        Surface reflectance 0-1, NaN where the scene's mask says not clear or the source has no data; or the
        same × 10 000 as the cube holds it, −32768 for NaN.
    bands
        Names of the band axis. Bands that are no reflectance (indices) are left aside.
    dates
        Dates of the time axis, ascending. Two images of one day are each other's neighbours.

    Returns
    -------
    bool [t, y, x]
        True = reject. All False where `can_test(bands)` is False: nothing is judged then, see
        `scene_verdicts`.

    Notes
    -----
    Rain on dry bare soil darkens all bands too, to about 0.55-0.7 of the dry value; the limits lie near the
    edge of that, and a rejected wet day is the lesser loss. A pixel with fewer than two clear dates is never
    rejected.
    """
    rule = rule or ShadowRule()
    t, n_bands, height, width = reflectance.shape
    if len(bands) != n_bands or len(dates) != t:
        raise ValueError(
            f"reflectance has shape {reflectance.shape}, but {len(dates)} dates and {len(bands)} bands were "
            "named; give one date a step and one name a band."
        )
    days = np.array([d.toordinal() for d in dates], dtype=np.int64)
    if np.any(np.diff(days) < 0):
        raise ValueError("dates must ascend; sort the series by date before testing it.")
    rejected = np.zeros((t, height, width), dtype=np.bool_)
    if not can_test(bands):
        return rejected

    # VISIBLE lists each sensor's bands from blue to red, and that order is kept.
    visible = [bands.index(b) for b in VISIBLE if b in bands]
    infrared = [i for i, b in enumerate(bands) if b in NEAR_INFRARED + SHORTWAVE_INFRARED]
    numbers = reflectance if reflectance.dtype == np.int16 else reflectance.astype(np.float32, copy=False)
    whole = numbers.dtype == np.int16
    _reject(
        np.ascontiguousarray(numbers),
        (np.float32(10_000 if whole else 1), np.float32(-32768 if whole else np.nan)),
        days,
        np.array(visible, dtype=np.int64),
        np.array(infrared, dtype=np.int64),
        (rule.cloud_rise, rule.end_cloud_rise, rule.cloud_whiteness),
        (rule.visible_ratio, rule.infrared_ratio, rule.end_ratio),
        rule.max_gap_days,
        rejected,
    )
    return rejected


@njit(nogil=True, cache=True)
def _neighbours(
    i: int,
    step: int,
    clear: NDArray[np.bool_],
    days: NDArray[np.int64],
    max_gap_days: int,
    out: NDArray[np.int64],
) -> int:
    """Fill `out` with the clear dates next to `i` in the direction `step`, nearest first, and count them."""
    found = 0
    j = i + step
    while 0 <= j < days.size and found < out.size and abs(days[j] - days[i]) <= max_gap_days:
        if clear[j]:
            out[found] = j
            found += 1
        j += step
    return found


@njit(nogil=True, cache=True)
def _median(series: NDArray[np.float32], dates: NDArray[np.int64], count: int, band: int) -> float:
    """Median of one to three values; written out because it is asked for every pixel, date and band."""
    total, low, high = 0.0, np.inf, -np.inf
    for n in range(count):
        value = series[dates[n], band]
        total += value
        low = min(low, value)
        high = max(high, value)
    return total - low - high if count == 3 else total / count


@njit(nogil=True, cache=True)
def _is_cloud(
    i: int,
    series: NDArray[np.float32],
    clear: NDArray[np.bool_],
    days: NDArray[np.int64],
    visible: NDArray[np.int64],
    rises: tuple[float, float, float],
    max_gap_days: int,
    near: NDArray[np.int64],
) -> bool:
    """Brighter and whiter in all visible bands than either side's median. `visible` runs from blue to red."""
    cloud_rise, end_cloud_rise, whiteness = rises
    found = (
        _neighbours(i, -1, clear, days, max_gap_days, near[0]),
        _neighbours(i, 1, clear, days, max_gap_days, near[1]),
    )
    if found[0] + found[1] == 0:
        return False
    needed = cloud_rise if min(found[0], found[1]) > 0 else end_cloud_rise
    rise_blue, rise_red = 0.0, 0.0
    for k in range(visible.size):
        band = visible[k]
        high = -np.inf
        for side in range(2):
            if found[side] > 0:
                high = max(high, _median(series, near[side], found[side], band))
        rise = series[i, band] - high
        if rise < needed:
            return False
        if k == 0:
            rise_blue = rise
        rise_red = rise
    return rise_blue >= whiteness * rise_red


@njit(nogil=True, cache=True)
def _is_shadow(
    i: int,
    series: NDArray[np.float32],
    clear: NDArray[np.bool_],
    days: NDArray[np.int64],
    visible: NDArray[np.int64],
    infrared: NDArray[np.int64],
    ratios: tuple[float, float, float],
    max_gap_days: int,
    near: NDArray[np.int64],
) -> bool:
    """Darker in all bands than what the two sides let expect.

    Each side speaks through the brighter (in the infrared) of its two nearest clear dates, so that two
    shadows in a row do not vouch for each other.
    """
    visible_ratio, infrared_ratio, end_ratio = ratios
    before, after = -1, -1
    for side in range(2):
        found = _neighbours(i, 2 * side - 1, clear, days, max_gap_days, near[side, :2])
        best = -np.inf
        for n in range(found):
            light = 0.0
            for band in infrared:
                light += series[near[side, n], band]
            if light > best:
                best = light
                if side == 0:
                    before = near[side, n]
                else:
                    after = near[side, n]
    if before < 0 and after < 0:
        return False
    weight = 0.0 if before < 0 else 1.0
    tighten = end_ratio
    if before >= 0 and after >= 0:
        tighten = 1.0
        span = days[after] - days[before]
        weight = 0.5 if span == 0 else (days[after] - days[i]) / span
    for k in range(visible.size + infrared.size):
        band = visible[k] if k < visible.size else infrared[k - visible.size]
        expected = 0.0
        if before >= 0:
            expected += weight * series[before, band]
        if after >= 0:
            expected += (1.0 - weight) * series[after, band]
        limit = visible_ratio if k < visible.size else infrared_ratio * tighten
        if series[i, band] >= limit * expected:
            return False
    return True


@njit(nogil=True, cache=True)
def _clear_of(
    series: NDArray[np.float32],
    clear: NDArray[np.bool_],
    asked: NDArray[np.bool_],
    days: NDArray[np.int64],
    visible: NDArray[np.int64],
    infrared: NDArray[np.int64],
    rises: tuple[float, float, float],
    ratios: tuple[float, float, float],
    max_gap_days: int,
    near: NDArray[np.int64],
) -> None:
    """Take what either test rejects out of `clear`, for one pixel's `series` [t, band].

    Clouds go first: a cloud left among the neighbours would make a good date look like shadow. `asked`
    [test, t] says which dates can fail a test at all.
    """
    kept = clear.copy()
    for test in range(2):
        for _ in range(PASSES):
            hits = 0
            for i in range(clear.size):
                if not clear[i] or not asked[test, i]:
                    continue
                if test == 0:
                    hit = _is_cloud(i, series, clear, days, visible, rises, max_gap_days, near)
                else:
                    hit = _is_shadow(i, series, clear, days, visible, infrared, ratios, max_gap_days, near)
                if hit:
                    kept[i] = False
                    hits += 1
            if hits == 0:
                break
            clear[:] = kept


@njit(nogil=True, cache=True)
def _candidates(
    lanes: NDArray[np.float32],
    clear: NDArray[np.bool_],
    visible: NDArray[np.int64],
    infrared: NDArray[np.int64],
    least_rise: float,
    ratios: tuple[float, float, float],
    asked: NDArray[np.bool_],
    any_asked: NDArray[np.bool_],
) -> None:
    """Fill `asked` [test, t, x]: dates that could fail a test, by bounds that hold whatever the neighbours
    are.

    Neighbours lie between the pixel's least and greatest value of the season: a date that is no cloud beside
    the least, or no shadow beside the greatest, is none beside any.
    """
    t, n_bands, _ = lanes.shape
    low = np.empty((n_bands, _LANES), dtype=np.float32)
    high = np.empty((n_bands, _LANES), dtype=np.float32)
    low[:] = np.float32(np.inf)
    high[:] = np.float32(0)
    for i in range(t):
        for band in range(n_bands):
            for x in range(_LANES):
                value = lanes[i, band, x]
                low[band, x] = value if clear[i, x] and value < low[band, x] else low[band, x]
                high[band, x] = value if clear[i, x] and value > high[band, x] else high[band, x]
    least, margin = np.float32(least_rise - 1e-5), np.float32(1e-5)
    any_asked[:] = False
    for i in range(t):
        cloud, shadow = asked[0, i], asked[1, i]
        cloud[:] = clear[i]
        shadow[:] = clear[i]
        for k in range(visible.size + infrared.size):
            seen = k < visible.size
            band = visible[k] if seen else infrared[k - visible.size]
            ratio = np.float32(ratios[0] if seen else ratios[1])
            for x in range(_LANES):
                shadow[x] &= lanes[i, band, x] < ratio * high[band, x] + margin
            if seen:
                for x in range(_LANES):
                    cloud[x] &= lanes[i, band, x] - low[band, x] >= least
        for x in range(_LANES):
            any_asked[x] |= cloud[x] | shadow[x]


@njit(nogil=True, cache=True)
def _reject(
    reflectance: NDArray[Any],
    reading: tuple[np.float32, np.float32],
    days: NDArray[np.int64],
    visible: NDArray[np.int64],
    infrared: NDArray[np.int64],
    rises: tuple[float, float, float],
    ratios: tuple[float, float, float],
    max_gap_days: int,
    rejected: NDArray[np.bool_],
) -> None:
    """Both tests over all pixels of `reflectance` [t, band, y, x]; fills `rejected` [t, y, x].

    `reading` is the number that 1.0 stands as, and the one for nothing.
    """
    scale, missing = reading
    nothing = np.float32(np.nan)
    t, n_bands, height, width = reflectance.shape
    lanes = np.empty((t, n_bands, _LANES), dtype=np.float32)
    clear = np.zeros((t, _LANES), dtype=np.bool_)
    asked = np.zeros((2, t, _LANES), dtype=np.bool_)
    any_asked = np.zeros(_LANES, dtype=np.bool_)
    series = np.empty((t, n_bands), dtype=np.float32)
    near = np.empty((2, NEIGHBOURS), dtype=np.int64)
    least_rise = min(rises[0], rises[1])
    for y in range(height):
        for first in range(0, width, _LANES):
            length = min(_LANES, width - first)
            for i in range(t):
                clear[i, :length] = True
                clear[i, length:] = False
                for band in range(n_bands):
                    for x in range(length):
                        value = np.float32(reflectance[i, band, y, first + x])
                        lanes[i, band, x] = nothing if value == missing else value / scale
                for k in range(visible.size + infrared.size):
                    band = visible[k] if k < visible.size else infrared[k - visible.size]
                    for x in range(length):
                        clear[i, x] &= np.isfinite(lanes[i, band, x])
            _candidates(lanes, clear, visible, infrared, least_rise, ratios, asked, any_asked)
            for x in range(length):
                if not any_asked[x]:
                    continue
                for i in range(t):
                    for band in range(n_bands):
                        series[i, band] = lanes[i, band, x]
                before = clear[:, x].copy()
                after = before.copy()
                own = asked[:, :, x].copy()
                _clear_of(series, after, own, days, visible, infrared, rises, ratios, max_gap_days, near)
                rejected[:, y, first + x] = before & ~after
