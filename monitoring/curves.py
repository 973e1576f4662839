"""Season curves as plain data: this year's, last year's moved onto it, and the range of the years
before. No database.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any, Final

import numpy as np

#: A range of fewer earlier seasons would look like a norm and be none.
BAND_LEAST_SEASONS: Final = 3


@dataclass(frozen=True, slots=True)
class CurvePoint:
    """One date: the observation (None without a clear view), the smoothed value, the pixels' quartiles."""

    day: date
    observed: float | None
    smoothed: float | None
    p25: float | None = None
    p75: float | None = None


@dataclass(frozen=True, slots=True)
class BandPoint:
    """Least and greatest value of earlier seasons on a date."""

    day: date
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Curve:
    """A season curve ready to be drawn.

    Attributes
    ----------
    label
        What the curve is of: a parcel's code, a unit's name, a pixel's coordinates.
    index
        Vegetation index, e.g. NDVI (no unit).
    last_year
        The season before, its dates moved to this one.
    band, band_seasons
        Range of the earlier seasons and how many there are; empty below `BAND_LEAST_SEASONS`.
    """

    label: str
    crop: str
    index: str
    run_key: str
    run_title: str
    simulated: bool
    points: tuple[CurvePoint, ...]
    last_year: tuple[CurvePoint, ...] = ()
    band: tuple[BandPoint, ...] = ()
    band_seasons: int = 0


def points_of(rows: Sequence[Sequence[Any]]) -> tuple[CurvePoint, ...]:
    """Stored points, [date, observed, smoothed, p25, p75, clear_share], as `CurvePoint`s."""
    return tuple(
        CurvePoint(date.fromisoformat(day), observed, smoothed, p25, p75)
        for day, observed, smoothed, p25, p75, _clear_share in rows
    )


def moved(points: Sequence[CurvePoint], years: int) -> tuple[CurvePoint, ...]:
    """The same points some years later; 29 February becomes 28 where there is none."""
    return tuple(
        CurvePoint(_move(point.day, years), point.observed, point.smoothed, point.p25, point.p75)
        for point in points
    )


def _move(day: date, years: int) -> date:
    try:
        return day.replace(year=day.year + years)
    except ValueError:
        return day.replace(year=day.year + years, day=28)


def band_of(days: Sequence[date], seasons: Sequence[Sequence[CurvePoint]]) -> tuple[BandPoint, ...]:
    """Range of earlier seasons (already moved) on this season's days; empty below `BAND_LEAST_SEASONS`."""
    usable = [
        [(p.day.toordinal(), p.smoothed) for p in season if p.smoothed is not None] for season in seasons
    ]
    usable = [season for season in usable if len(season) >= 2]
    if len(usable) < BAND_LEAST_SEASONS or not days:
        return ()
    at = np.array([day.toordinal() for day in days], float)
    values = np.stack(
        [
            np.interp(
                at, [day for day, _ in season], [value for _, value in season], left=np.nan, right=np.nan
            )
            for season in usable
        ]
    )
    complete = ~np.isnan(values).any(axis=0)
    return tuple(
        BandPoint(day, float(values[:, i].min()), float(values[:, i].max()))
        for i, day in enumerate(days)
        if complete[i]
    )
