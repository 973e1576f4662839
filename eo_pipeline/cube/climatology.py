"""What is usual: per pixel and dekad of the year, median, quartiles, range and count over past seasons.

A Zarr store a tile, cut and written like the cube. It keeps each season's values beside the statistics, so
that a season that is added, or made anew, touches its own dekads and no season needs to be read again from
its cube. Dekads are counted through the calendar year, 36 of them, so that leap years stay aligned.
"""

from __future__ import annotations

import fcntl
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path
from typing import Any, Final

import numpy as np
from numba import njit
from numpy.typing import NDArray

from eo_pipeline.cube.medians import median_of_numbers
from eo_pipeline.cube.past_seasons import PastSeason
from eo_pipeline.cube.shards import shard_side
from eo_pipeline.cube.store import NODATA, TileStore, decode, grid_of, make_array, open_group
from eo_pipeline.engine import Result
from eo_pipeline.errors import CubeError
from eo_pipeline.grid import BLOCK, Block, Grid, cut
from eo_pipeline.storage import require_local

#: Dekads of a year.
DEKADS: Final = 36
#: Arrays of an index, by what they hold: `<INDEX>_median[dekad, y, x]` int16 × 10 000, and `<INDEX>_count`.
STATISTICS: Final = ("median", "p25", "p75", "low", "high")
#: Calls a function with each of some keyword arguments.
Run = Callable[[Callable[..., Result], Sequence[Mapping[str, Any]]], Iterable[Result]]
_LABEL: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]{0,63}")


def dekad_of_year(day: date) -> int:
    """0 for 1-10 January … 35 for 21-31 December, in leap years as in others.

    >>> dekad_of_year(date(2024, 2, 29)), dekad_of_year(date(2025, 2, 28)), dekad_of_year(date(2025, 12, 31))
    (5, 5, 35)
    """
    return (day.month - 1) * 3 + min((day.day - 1) // 10, 2)


def in_last_year(dates: Sequence[date]) -> list[int]:
    """Numbers of those dates, by time, that lie in the last 36 dekads.

    A season of winter crops runs from one autumn past the next: its last year alone counts, so that no dekad
    of the year is there twice, and that the autumn which two seasons share is in the one that ends with it.

    >>> in_last_year([date(2024, 9, 5), date(2024, 11, 5), date(2025, 5, 5), date(2025, 10, 25)])
    [1, 2, 3]
    """
    count = [36 * day.year + dekad_of_year(day) for day in dates]
    ordered = sorted(range(len(dates)), key=dates.__getitem__)
    return [number for number in ordered if count[number] > max(count) - DEKADS]


# ---- the store ------------------------------------------------------------------------------------------
@dataclass(frozen=True, slots=True)
class Normals:
    """What is usual on some days: float32 [day, y, x], NaN where no season was seen; `count` uint8."""

    median: NDArray[np.float32]
    p25: NDArray[np.float32]
    p75: NDArray[np.float32]
    low: NDArray[np.float32]
    high: NDArray[np.float32]
    count: NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Entry:
    """A season in the store: the days of its first and last step, and its (year, dekad of the year)."""

    label: str
    start: str
    end: str
    dekads: tuple[tuple[int, int], ...]


class Climatology:
    """The climatology of one tile at a path."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.tile = TileStore(path)

    @property
    def exists(self) -> bool:
        """Whether there is one."""
        return (self.path / "zarr.json").is_file()

    def create(self, tile: str, grid: Grid, indices: Sequence[str], *, block: int = BLOCK) -> None:
        """Make it, without seasons. `indices` may be cube bands too."""
        if self.exists:
            raise CubeError(f"{self.path} is there already. Add seasons to it, or remove it first.")
        self.path.parent.mkdir(parents=True, exist_ok=True)
        partial = self.path.with_name(f".{self.path.name}.partial")
        group = open_group(partial, "w")
        side = shard_side(block, grid.height), shard_side(block, grid.width)
        shape, shard = (DEKADS, *grid.shape), (DEKADS, *side)
        for index in indices:
            for name in STATISTICS:
                make_array(group, f"{index}_{name}", shape=shape, shard=shard, dtype="int16", fill=NODATA)
            make_array(group, f"{index}_count", shape=shape, shard=shard, dtype="uint8", fill=0)
        group.attrs.update(
            {
                "tile": tile,
                "crs": grid.crs,
                "transform": list(grid.transform),
                "size": [grid.width, grid.height],
                "indices": list(indices),
                "block": block,
                "scale": 1e-4,
                "nodata": NODATA,
                "seasons": [],
            }
        )
        partial.replace(self.path)

    @property
    def grid(self) -> Grid:
        """The tile's grid."""
        return grid_of(self.tile)

    @property
    def indices(self) -> tuple[str, ...]:
        """What it holds."""
        return tuple(self.tile.group.attrs["indices"])

    @property
    def seasons(self) -> tuple[Entry, ...]:
        """Seasons that are in it, by their start."""
        # read anew each time: another process may have added one
        attributes = open_group(self.path, "r").attrs.asdict()
        entries = [
            Entry(e["label"], e["start"], e["end"], tuple((y, d) for y, d in e["dekads"]))
            for e in attributes["seasons"]
        ]
        return tuple(sorted(entries, key=lambda entry: (entry.start, entry.label)))

    @property
    def blocks(self) -> tuple[Block, ...]:
        """Blocks it is made in."""
        attributes = self.tile.group.attrs
        return tuple(cut(attributes["tile"], self.grid, size=attributes["block"]))

    def require_whole(self) -> int:
        """How often it was updated, where it is whole.

        Raises
        ------
        CubeError
            A season is being added, or was when that was stopped; or there is none yet.
        """
        self.require_there()
        record = self.tile.record()
        if record.updating:
            raise CubeError(
                f"{self.path}: a season is being added. Wait for `eo cube climatology build` to end; if it "
                "was stopped, give it again."
            )
        return record.opened

    def require_there(self) -> None:
        """Raise a CubeError where there is none."""
        if not self.exists or "seasons" not in self.tile.group.attrs:
            raise CubeError(f"{self.path} is no climatology. Make one with `eo cube climatology build`.")

    @contextmanager
    def reading(self, state: int | None = None) -> Iterator[None]:
        """Read within this: what was read is of one state, or a CubeError says that it is not.

        `state` is what `require_whole` gave before, where all that is read since must be of that.
        """
        before = self.require_whole()
        if state not in (None, before):
            raise CubeError(f"{self.path} was updated since this run began. Run again.")
        yield
        if self.tile.record().updating or self.tile.record().opened != before:
            raise CubeError(f"{self.path} was updated while it was read; what was read is mixed. Read again.")

    def read(self, index: str, block: Block, dates: Sequence[date]) -> Normals:
        """What is usual in a block at the dekads of some days.

        Raises
        ------
        CubeError
            The index is not in it.
        """
        if index not in self.indices:
            raise CubeError(
                f"{self.path} holds {', '.join(self.indices)}, not {index}. Build one with --index {index}."
            )
        at = [dekad_of_year(day) for day in dates]
        first, last = (min(at), max(at) + 1) if at else (0, 0)

        def pick(name: str) -> NDArray[Any]:
            return self.tile.read(f"{index}_{name}", block, slice(first, last))[[n - first for n in at]]

        median, p25, p75, low, high = (decode(pick(name)) for name in STATISTICS)
        return Normals(median, p25, p75, low, high, pick("count"))

    # ---- seasons ----------------------------------------------------------------------------------------
    def add(
        self,
        season: PastSeason,
        *,
        run: Run | None = None,
    ) -> tuple[Result, ...]:
        """Add a season, or put a new one of the same label in its place; only its dekads are touched. Of one
        longer than a year the last year counts, see `in_last_year`.

        Killed at any moment, the store says that it is not whole, and giving the same season again ends with
        the same bytes. One process at a time may add; its workers write blocks of their own.

        Parameters
        ----------
        run
            Calls a function with each of some keyword arguments, and gives its results; in this process by
            default.

        Raises
        ------
        CubeError
            Another grid, an index the season cannot give, a dekad that another season holds already, or
            another process that adds a season meanwhile.
        """
        with self._alone():
            return self._add(season, run or _in_turn)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        self.require_there()
        with (self.path / ".lock").open("w") as stream:
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise CubeError(
                    f"{self.path}: another process is adding a season. Wait until it ends, then try again."
                ) from None
            yield

    def _add(self, season: PastSeason, run: Run) -> tuple[Result, ...]:
        entry = self._entry(season)
        before = {e.label: e for e in self.seasons}
        old = before.pop(season.label, None)
        for other in before.values():
            if both := set(other.dekads) & set(entry.dekads):
                year, dekad = min(both)
                raise CubeError(
                    f"Seasons {other.label} and {season.label} both hold dekad {dekad + 1} of {year}; it "
                    "would count twice. Leave one of them out, or give the same label to put it in the "
                    "other's place."
                )
        for index in self.indices:
            season.read(index, self.blocks[0])  # what it cannot give is refused before anything is touched
        touched = {d for _, d in entry.dekads} | {d for _, d in (old.dekads if old else ())}
        open_dekads = self.tile.begin(sorted(touched))
        # a season that is half rewritten must not be taken for one if this is killed
        self._list(tuple(before.values()))
        for index in self.indices:
            self._require(season.label, index)
        jobs = [
            {
                "block": block,
                "store": self.path,
                "season": season,
                "others": tuple(sorted(before)),
                "dekads": open_dekads,
            }
            for block in self.blocks
        ]
        results = tuple(run(add_season_block, jobs))
        self._list((*before.values(), entry))
        self.tile.commit(open_dekads)
        return results

    def _entry(self, season: PastSeason) -> Entry:
        if not _LABEL.fullmatch(season.label):
            raise CubeError(f"“{season.label}” cannot be a season's label: use letters, digits, . and -.")
        if not same_place(season.grid, self.grid):
            raise CubeError(
                f"Season {season.label} lies on another grid than {self.path}: every season of a climatology "
                "must have the tile's grid. Run that season on it again."
            )
        if not season.dates:
            raise CubeError(f"Season {season.label} has no dates; leave it out.")
        days = [season.dates[number] for number in in_last_year(season.dates)]
        dekads = tuple(sorted({(day.year, dekad_of_year(day)) for day in days}))
        return Entry(season.label, days[0].isoformat(), days[-1].isoformat(), dekads)

    def _list(self, entries: Sequence[Entry]) -> None:
        listed = sorted(entries, key=lambda entry: (entry.start, entry.label))
        self.tile.group.attrs["seasons"] = [asdict(entry) for entry in listed]

    def _require(self, label: str, index: str) -> None:
        name = season_array(label, index)
        if name not in self.tile.group:
            model = self.tile.array(f"{index}_median")
            make_array(
                self.tile.group, name, shape=model.shape, shard=model.shards, dtype="int16", fill=NODATA
            )


def season_array(label: str, index: str) -> str:
    """Name of the array that keeps a season's values."""
    return f"season_{label}_{index}"


def same_place(one: Grid, other: Grid) -> bool:
    """Whether two grids are the same, however their CRS is written."""
    from pyproj import CRS

    alike = one.shape == other.shape and np.allclose(one.transform, other.transform, rtol=0, atol=1e-6)
    return alike and (one.crs == other.crs or CRS.from_user_input(one.crs) == CRS.from_user_input(other.crs))


def _in_turn(function: Callable[..., Result], jobs: Sequence[Mapping[str, Any]]) -> Iterator[Result]:
    return (function(**job) for job in jobs)


def stores_of(folder: Path) -> tuple[Climatology, ...]:
    """The climatology at a path: a .zarr of one tile, or a folder of them.

    Raises
    ------
    CubeError
        There is none.
    """
    require_local(folder)
    paths = [folder] if folder.suffix == ".zarr" else sorted(folder.glob("*.zarr"))
    if not paths:
        raise CubeError(f"{folder} holds no climatology. Make one with `eo cube climatology build`.")
    stores = tuple(Climatology(path) for path in paths)
    for store in stores:
        store.require_there()
    return stores


def store_of(folder: Path, tile: str, grid: Grid) -> Climatology:
    """The climatology of one tile at a path, on its very grid.

    Raises
    ------
    CubeError
        There is none, or it has another grid.
    """
    stores = stores_of(folder)
    named = [store for store in stores if store.tile.group.attrs["tile"] == tile]
    if not named:
        held = ", ".join(store.tile.group.attrs["tile"] for store in stores)
        raise CubeError(f"{folder} has no tile {tile}, only {held}. Build a climatology of seasons of it.")
    for store in named:
        if same_place(store.grid, grid):
            return store
    raise CubeError(
        f"{named[0].path} lies on another grid than tile {tile} of this season; growth compares pixel with "
        "pixel. Build a climatology of seasons on the same grid."
    )


# ---- the task -------------------------------------------------------------------------------------------
def season_bytes(seasons: int, steps: int, block: Block) -> int:
    """Memory `add_season_block` needs at most: three bands of the season as they are read and in floating
    point, its values, the statistics of one index, and one dekad of all seasons.
    """
    pixels = block.height * block.width
    return pixels * (steps * (3 * 6 + 4 + 3) + DEKADS * (2 + 2 * len(STATISTICS) + 1 + 2) + 4 * seasons)


def add_season_block(
    *, block: Block, store: Path, season: PastSeason, others: Sequence[str], dekads: Sequence[int]
) -> Result:
    """Write a season's values of one block, and the statistics of some dekads anew; a task of the engine.

    Parameters
    ----------
    others
        Labels of the seasons that are in the store beside this one.
    dekads
        Of the year, 0-35: those to compute.

    Returns
    -------
    dict
        `seen`: of each index, pixels × dekads in which this season was seen.
    """
    tile = TileStore(store)
    counted = in_last_year(season.dates)
    days = [season.dates[number] for number in counted]
    rows, cols = block.slices
    seen = {}
    for index in tile.group.attrs["indices"]:
        numbers = by_dekad(season.read(index, block)[counted], days)
        tile.write(season_array(season.label, index), block, numbers)
        seen[index] = int((numbers != NODATA).sum())
        arrays = [tile.array(season_array(label, index)) for label in others]
        results = {name: tile.read(f"{index}_{name}", block) for name in (*STATISTICS, "count")}
        for dekad in dekads:
            stack = np.stack([numbers[dekad], *(np.asarray(a[dekad, rows, cols]) for a in arrays)])
            found = statistics_of(stack.reshape(len(stack), -1))
            for name, values in zip((*STATISTICS, "count"), found, strict=True):
                results[name][dekad] = values.reshape(block.height, block.width)
        for name, values in results.items():
            tile.write(f"{index}_{name}", block, values)
    return {"seen": seen}


def by_dekad(numbers: NDArray[np.int16], dates: Sequence[date]) -> NDArray[np.int16]:
    """A season's steps at their dekads of the year, int16 [36, y, x]; of several in one dekad the median."""
    out = np.full((DEKADS, *numbers.shape[1:]), NODATA, dtype=np.int16)
    places: dict[int, list[int]] = {}
    for number, day in enumerate(dates):
        places.setdefault(dekad_of_year(day), []).append(number)
    for dekad, steps in places.items():
        out[dekad] = numbers[steps[0]] if len(steps) == 1 else median_of_numbers(numbers[steps])
    return out


def statistics_of(
    values: NDArray[np.int16],
) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any], NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Median, quartiles, lowest, highest (int16) and count (uint8) over the first axis, `NODATA` left out.

    Quantiles are interpolated between the two nearest values (Hyndman & Fan 1996, type 7, numpy's default),
    halves to the even number.

    >>> parts = statistics_of(np.array([[1], [2], [-32768], [10]], dtype=np.int16))
    >>> [int(part[0]) for part in parts]
    [2, 2, 6, 1, 10, 3]
    """
    n = values.shape[1]
    out = np.full((len(STATISTICS), n), NODATA, dtype=np.int16)
    count = np.zeros(n, dtype=np.uint8)
    _statistics(np.ascontiguousarray(values), out, count)
    return out[0], out[1], out[2], out[3], out[4], count


@njit(nogil=True, cache=True)
def _quantile(ordered: NDArray[np.int16], count: int, share: float) -> float:  # pragma: no cover - compiled
    place = (count - 1) * share
    low = int(place)
    high = min(low + 1, count - 1)
    first = float(ordered[low])
    return float(np.rint(first + (float(ordered[high]) - first) * (place - low)))


@njit(nogil=True, cache=True)
def _statistics(
    values: NDArray[np.int16], out: NDArray[np.int16], counts: NDArray[np.uint8]
) -> None:  # pragma: no cover - compiled
    seasons, n = values.shape
    ordered = np.empty(seasons, dtype=np.int16)
    for x in range(n):
        count = 0
        for s in range(seasons):
            value = values[s, x]
            if value == NODATA:
                continue
            place = count
            while place > 0 and ordered[place - 1] > value:
                ordered[place] = ordered[place - 1]
                place -= 1
            ordered[place] = value
            count += 1
        counts[x] = min(count, 255)
        if count > 0:
            out[0, x] = np.int16(_quantile(ordered, count, 0.5))
            out[1, x] = np.int16(_quantile(ordered, count, 0.25))
            out[2, x] = np.int16(_quantile(ordered, count, 0.75))
            out[3, x], out[4, x] = ordered[0], ordered[count - 1]
