"""Where and when Sentinel passes over the twin: tiles, relative orbits, satellites, processing baselines.

Days and seconds are invented and regular; tiles, orbit arithmetic and names follow the missions' own rules.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from eo_pipeline.simulate.landscape import PIXEL_M, WEST_M, Grid

Bools = NDArray[np.bool_]
Baseline = Literal["02.14", "05.10", "mixed"]

#: First day whose products carry an offset: processing baseline 04.00 came into use.
OFFSET_SINCE: Final = date(2022, 1, 25)
OLD_BASELINE, NEW_BASELINE = "02.14", "05.10"
TILE_M: Final = 109_800


@dataclass(frozen=True, slots=True)
class MgrsTile:
    """A tile of Sentinel-2's grid by its upper left corner in metres of EPSG:32648."""

    name: str
    west: int
    north: int

    def window(self, grid: Grid) -> tuple[int, int]:
        """First and end row of `grid` that lie inside the tile (columns: all)."""
        size_m = grid.size * PIXEL_M
        top = max(0, round((grid.north - self.north) / PIXEL_M))
        bottom = min(grid.size, round((grid.north - self.north + TILE_M) / PIXEL_M))
        inside = self.west <= grid.west and grid.west + size_m <= self.west + TILE_M
        return (top, bottom) if inside and bottom > top else (0, 0)


#: The two overlap in y 3,890,220 to 3,900,000.
TILES: Final = (MgrsTile("48SWE", 499_980, 4_000_020), MgrsTile("48SWD", 499_980, 3_900_000))


@dataclass(frozen=True, slots=True)
class Swath:
    """One relative orbit of Sentinel-2 over the piece.

    `phase` is the day of the five-day cycle; `edge` is where its western edge crosses the middle row, as a
    share of the width, None where it covers everything. `view_zenith` and `view_azimuth` are degrees.
    """

    relative: int
    phase: int
    second: int
    view_zenith: float
    view_azimuth: float
    edge: float | None


#: 100 orbits later means 6.99 days later and one swath further east: two days in the cycle of five, and a
#: little earlier by the clock.
SWATHS: Final = (
    Swath(18, 2, 3 * 3600 + 45 * 60 + 41, 4.1, 104.2, None),
    Swath(118, 4, 3 * 3600 + 35 * 60 + 39, 9.6, 285.7, 0.38),
)
#: Slope of a swath's edge: the descending track runs 13 degrees west of south.
_TRACK: Final = float(np.tan(np.radians(13)))


@dataclass(frozen=True, slots=True)
class Overpass:
    """Sentinel-2A or 2B in one of `SWATHS` on one day."""

    day: date
    swath: Swath
    satellite: Literal["A", "B"]

    @property
    def start(self) -> datetime:
        """Start of the data take (UTC): the time in the product's name, the same for every tile."""
        # 2B flies the same track two seconds earlier by the clock, as its plan of 2026 would have it
        second = self.swath.second - (2 if self.satellite == "B" else 0)
        return datetime(self.day.year, self.day.month, self.day.day, tzinfo=UTC) + timedelta(seconds=second)

    @property
    def absolute(self) -> int:
        """Number of the orbit since launch: near the real one, and true to relative = f(absolute)."""
        first, reference, shift = (
            (date(2023, 8, 21), 42_640, 2) if self.satellite == "A" else (date(2021, 1, 22), 20_270, -27)
        )
        near = reference + round((self.day - first).days * 14.3)
        return near + (self.swath.relative - 1 - near - shift + 71) % 143 - 71

    def first_column(self, grid: Grid, row: float) -> float:
        """Where the swath begins in a row of the piece, in pixels from its western side."""
        if self.swath.edge is None:
            return 0.0
        return float(np.clip(self.swath.edge * grid.size - (row - grid.size / 2) * _TRACK, 0, grid.size))

    def seen(self, grid: Grid) -> Bools:
        """Pixels inside the swath, shape (rows, columns); decided at 20 m, so that all bands agree."""
        half = grid.size // 2
        edge = np.array([self.first_column(grid, 2 * row + 1) for row in range(half)])
        inside = 2 * np.arange(half)[None, :] + 1 > edge[:, None]
        return np.asarray(inside.repeat(2, 0).repeat(2, 1))


def overpasses(start: date, end: date, *, every: int = 5) -> list[Overpass]:
    """Overpasses of both orbits in time, each orbit every `every` days (a multiple of five)."""
    found: list[Overpass] = []
    for number in range((end - start).days + 1):
        day = start + timedelta(days=number)
        for swath in SWATHS:
            if (day.toordinal() - swath.phase) % every == 0:
                turn = (day.toordinal() - swath.phase) // 5 % 2
                found.append(Overpass(day, swath, "B" if turn else "A"))
    return found


def straddling(size: int) -> Grid:
    """The piece moved to y = 3,900,000, where the two tiles meet, on the 20 m grid of both."""
    return Grid(size, west=WEST_M, north=3_900_000 + 20.0 * round(size * PIXEL_M / 40))


def baseline_of(day: date, wanted: Baseline, windows: Sequence[tuple[date, date]]) -> str:
    """Processing baseline of a scene of `day`.

    "mixed" changes on 25 January 2022 where the seasons span that day, else in the middle of the oldest one,
    so that a twin of any years holds both kinds (later years in the old baseline never existed).
    """
    if wanted != "mixed":
        return wanted
    first, last = windows[0][0], windows[-1][1]
    change = OFFSET_SINCE
    if not first < change <= last:
        change = first + (windows[0][1] - first) // 2
    return OLD_BASELINE if day < change else NEW_BASELINE


def offset_of(baseline: str) -> int:
    """BOA_ADD_OFFSET of a baseline: reflectance = (DN + offset) / 10 000."""
    return -1000 if baseline >= "04.00" else 0
