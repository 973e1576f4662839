"""Geometry and time of a season, before any pixel: a tile's grid, the blocks it is cut into, the steps of a
season.
"""

from __future__ import annotations

import calendar
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from affine import Affine
    from rasterio.windows import Window

#: Side in pixels of a block that products are made of. Its memory is stated by the plan; 512 keeps a season
#: of 36 dekads and 10 bands near 0.5 GB.
BLOCK: Final = 512
#: Side of a block that Sentinel-2 products are read in: 2 × 2 internal tiles of a 10 m band of JP2, one of a
#: 20 m band, so that each is decoded once.
INGEST_BLOCK: Final = 2048
#: In tiles of at most `SMALL_TILE` pixels a side blocks are smaller, so that several cores find work.
SMALL_BLOCK: Final = 256
SMALL_TILE: Final = 1024


@dataclass(frozen=True, slots=True)
class Grid:
    """A raster's place on earth: `crs` as WKT, `transform` as GDAL's six numbers (a, b, c, d, e, f of
    rasterio).
    """

    crs: str
    transform: tuple[float, float, float, float, float, float]
    width: int
    height: int

    @property
    def affine(self) -> Affine:
        """`transform` as rasterio takes it."""
        from affine import Affine

        return Affine(*self.transform)

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.height, self.width

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        """Left, bottom, right, top in the grid's own CRS (of an unrotated grid)."""
        a, _, c, _, e, f = self.transform
        x, y = c + a * self.width, f + e * self.height
        return min(c, x), min(f, y), max(c, x), max(f, y)


@dataclass(frozen=True, slots=True)
class Block:
    """A window of one tile: rows `row` … `row + height`, columns `col` … `col + width`."""

    tile: str
    row: int
    col: int
    height: int
    width: int

    @property
    def id(self) -> str:
        """Its address within the tile, the same for any size of the tile.

        >>> Block("48SXD", 512, 0, 88, 512).id
        'r000512c000000'
        """
        return f"r{self.row:06d}c{self.col:06d}"

    @property
    def slices(self) -> tuple[slice, slice]:
        """Row and column slices of the tile's arrays."""
        return slice(self.row, self.row + self.height), slice(self.col, self.col + self.width)

    @property
    def window(self) -> Window:
        """The window rasterio reads."""
        from rasterio.windows import Window

        return Window(self.col, self.row, self.width, self.height)

    def grid(self, tile_grid: Grid) -> Grid:
        """The block's own grid within that of its tile."""
        a, b, c, d, e, f = tile_grid.transform
        x, y = c + a * self.col + b * self.row, f + d * self.col + e * self.row
        return Grid(tile_grid.crs, (a, b, x, d, e, y), self.width, self.height)


def cut(tile: str, grid: Grid, *, size: int = BLOCK) -> Iterator[Block]:
    """Blocks of `size` × `size` pixels, row after row; those at the right and lower edge are smaller.

    Every pixel of the grid lies in exactly one block, so that sums over blocks are exact.

    >>> grid = Grid("EPSG:32648", (10, 0, 0, 0, -10, 0), width=5, height=3)
    >>> [(b.row, b.col, b.height, b.width) for b in cut("t", grid, size=3)]
    [(0, 0, 3, 3), (0, 3, 3, 2)]
    """
    for row in range(0, grid.height, size):
        for col in range(0, grid.width, size):
            yield Block(tile, row, col, min(size, grid.height - row), min(size, grid.width - col))


@dataclass(frozen=True, slots=True)
class TimeStep:
    """One step of the cube: the first and last day of what goes into it. `day` is the one it stands for."""

    start: date
    end: date

    @property
    def day(self) -> date:
        """The middle day: 5, 15 and 25 or so of a month for a dekad, the day itself for a native date."""
        return self.start + timedelta(days=(self.end - self.start).days // 2)

    def holds(self, day: date) -> bool:
        """Whether an observation of `day` belongs to this step."""
        return self.start <= day <= self.end


def dekads(start: date, end: date) -> tuple[TimeStep, ...]:
    """The dekads (旬) that touch a season: days 1-10, 11-20 and 21 to the end of each month.

    >>> [str(step.start) for step in dekads(date(2026, 2, 12), date(2026, 3, 1))]
    ['2026-02-11', '2026-02-21', '2026-03-01']
    """
    steps = []
    year, month = start.year, start.month
    while date(year, month, 1) <= end:
        last = calendar.monthrange(year, month)[1]
        for first, final in ((1, 10), (11, 20), (21, last)):
            step = TimeStep(date(year, month, first), date(year, month, final))
            if step.end >= start and step.start <= end:
                steps.append(step)
        year, month = (year, month + 1) if month < 12 else (year + 1, 1)
    return tuple(steps)


def native_steps(dates: Sequence[date]) -> tuple[TimeStep, ...]:
    """Each date of the source as a step of its own."""
    return tuple(TimeStep(day, day) for day in sorted(set(dates)))
