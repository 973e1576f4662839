"""What weather means for crops: SPI, heat sums, and the minimum of a night over hills.

Functions on arrays of daily values; a missing day makes unknown what cannot be told without it, and nothing
is filled without being counted.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from eo_pipeline.errors import WeatherError
from eo_pipeline.products.thresholds import thresholds
from eo_pipeline.products.weather import Site

Float = NDArray[np.float64]

_MEAN_RADIUS_KM: Final = 6371.0


@dataclass(frozen=True, slots=True)
class NightMinimum:
    """Lowest temperature of a night on a grid, °C, and the standard error of it.

    `lapse` is °C a kilometre, fitted to the stations (`fitted`) or the table's. `stations` took part.
    """

    tmin: NDArray[np.float32]
    error: float
    lapse: float
    fitted: bool
    stations: int


def monthly_totals(days: NDArray[np.datetime64], rain: Float) -> tuple[NDArray[np.datetime64], Float]:
    """Rain by calendar month, [site, month]; NaN for a month that is not whole or misses a day."""
    months = days.astype("datetime64[M]")
    found, start, count = np.unique(months, return_index=True, return_counts=True)
    totals = np.add.reduceat(rain, start, axis=1)
    length = ((found + 1).astype("datetime64[D]") - found.astype("datetime64[D]")).astype(int)
    totals[:, count < length] = np.nan
    return found, totals


def spi(months: NDArray[np.datetime64], totals: Float, *, scale: int) -> Float:
    """Standardised precipitation index (McKee, Doesken & Kleist 1993), float64 [site, month].

    Parameters
    ----------
    months
        Consecutive calendar months.
    totals : [site, month]
        Rain in mm, NaN where unknown.
    scale
        Months that are summed: 1, 3, …; NaN where one of them is.

    Notes
    -----
    For each calendar month a gamma distribution is fitted to the years with rain by Thom's 1958 approximation
    of maximum likelihood; years without rain have their own probability q, so that
    H(x) = q + (1 − q) G(x), and SPI is the standard normal deviate of H. Values are cut at ±3.09 (one year in
    a thousand), as no record is long enough for more.

    Raises
    ------
    WeatherError
        Fewer years than the table's `spi.min_years`.
    """
    from scipy.special import gammainc, ndtri

    if len(months) > 1 and np.any(np.diff(months.astype(int)) != 1):
        raise WeatherError("SPI needs every month of a record; some are missing. Mark them as not measured.")
    padded = np.full((len(totals), scale - 1), np.nan)
    windows = np.lib.stride_tricks.sliding_window_view(
        np.concatenate([padded, totals], axis=1), scale, axis=1
    )
    sums = windows.sum(axis=-1)
    least = int(thresholds()["spi.min_years"].value)
    out = np.full(sums.shape, np.nan)
    calendar = months.astype(int) % 12
    counted = 0
    for month in range(12):
        own = np.flatnonzero(calendar == month)
        for site in range(len(sums)):
            values = sums[site, own]
            known = values[np.isfinite(values)]
            counted = max(counted, known.size)
            wet = known[known > 0]
            if known.size < least or wet.size < 4 or np.ptp(wet) == 0:
                continue
            dry = 1 - wet.size / known.size
            a = np.log(wet.mean()) - np.log(wet).mean()
            shape = (1 + np.sqrt(1 + 4 * a / 3)) / (4 * a)
            chance = dry + (1 - dry) * gammainc(shape, np.maximum(values, 0) / (wet.mean() / shape))
            chance = np.where(values == 0, dry, chance)
            with np.errstate(divide="ignore"):
                out[site, own] = np.clip(ndtri(chance), -3.09, 3.09)
    if counted < least:
        raise WeatherError(
            f"SPI-{scale} needs {least} years of rain, and no month here has more than {counted} whole ones. "
            "Give a longer record (CHIRPS begins in 1981)."
        )
    return out


def degree_days(tmin: Float, tmax: Float, *, base: float, bridge: int = 3) -> tuple[Float, NDArray[np.int64]]:
    """Heat sums from the first day on, [site, day], and days of each site that were bridged.

    Mean of minimum and maximum above `base`, °C. A hole of up to `bridge` days is filled along a line;
    after a longer one the sum is NaN.
    """
    mean = (tmin + tmax) / 2
    bridged = np.zeros(len(mean), dtype=np.int64)
    for number, row in enumerate(mean):
        known = np.isfinite(row)
        place = np.flatnonzero(known)
        if not place.size:
            continue
        near = np.zeros(len(row), dtype=bool)
        for first, last in itertools.pairwise(place):
            if 1 < last - first <= bridge + 1:
                near[first + 1 : last] = True
        row[near] = np.interp(np.flatnonzero(near), place, row[place])
        bridged[number] = near.sum()
    return np.cumsum(np.maximum(mean - base, 0), axis=1), bridged


def hours_below(limit: float, tmin: Float, tmax: Float) -> Float:
    """Hours of a day colder than `limit`, from a cosine between minimum and maximum (Allen 1976).

    >>> hours_below(0.0, np.array([-5.0, 1.0, -9.0]), np.array([5.0, 9.0, -1.0])).round(1).tolist()
    [12.0, 0.0, 24.0]
    """
    middle, half = (tmin + tmax) / 2, np.maximum((tmax - tmin) / 2, 1e-9)
    hours: Float = 24 / np.pi * np.arccos(np.clip((middle - limit) / half, -1, 1))
    return hours


def night_minimum(
    sites: Sequence[Site], tmin: Float, *, lon: Float, lat: Float, elevation: Float
) -> NightMinimum:
    """Minimum temperature of one night over hills, from stations.

    Every station is brought to the pixel's height by the lapse rate, and they are averaged by the inverse
    square of distance. The rate is fitted where at least four stations span 300 m, and is the table's else.
    The error is the root mean square of leaving each station out; the table's where there are too few.

    Parameters
    ----------
    tmin : [site]
        °C, NaN where not measured.
    lon, lat, elevation : [y, x]
        Degrees and metres of the pixels.

    Raises
    ------
    WeatherError
        No station measured that night, or one does not tell its height.
    """
    table = thresholds()
    there = np.flatnonzero(np.isfinite(tmin))
    own = [sites[int(n)] for n in there]
    if not own:
        raise WeatherError("No station measured the minimum of that night; it is not guessed.")
    heights = np.array([site.elevation_m for site in own])
    if not np.isfinite(heights).all():
        lost = own[int(np.argmin(np.isfinite(heights)))].id
        raise WeatherError(f"The station {lost} does not tell its height above the sea. Add elevation.")
    values = tmin[there]
    places = np.array([(site.lon, site.lat) for site in own])
    lapse, fitted = table["weather.lapse"].value, False
    if there.size >= 4 and np.ptp(heights) >= 300:
        slope = float(np.polyfit(heights / 1000, values, 1)[0])
        # warmer air on hills is usual in clear nights, but not without end
        lapse, fitted = float(np.clip(slope, -9.8, 10.0)), True
    at_sea = values - lapse * heights / 1000
    field = _by_distance(places, at_sea, lon, lat) + lapse * elevation / 1000
    error = table["weather.tmin_error"].value
    if there.size >= 3:
        misses = []
        for number in range(there.size):
            others = np.arange(there.size) != number
            guess = _by_distance(
                places[others], at_sea[others], places[number : number + 1, 0], places[number : number + 1, 1]
            )
            misses.append(float(guess[0]) - at_sea[number])
        error = max(float(np.sqrt(np.mean(np.square(misses)))), 0.1)
    return NightMinimum(field.astype(np.float32), error, lapse, fitted, int(there.size))


def _by_distance(places: Float, values: Float, lon: Float, lat: Float) -> Float:
    """Mean of values weighted by the inverse square of the distance in kilometres."""
    total, weights = np.zeros(np.shape(lon)), np.zeros(np.shape(lon))
    for (x, y), value in zip(places, values, strict=True):
        east = np.radians(lon - x) * np.cos(np.radians(lat)) * _MEAN_RADIUS_KM
        north = np.radians(lat - y) * _MEAN_RADIUS_KM
        weight = 1 / np.maximum(east**2 + north**2, 0.25)
        total += weight * value
        weights += weight
    return total / weights
