"""The season cube of one tile: a Zarr v3 group whose arrays are cut as the blocks are.

`reflectance[step, band, y, x]` int16 (value × 10 000, nodata −32768), `clear_count[step, y, x]` uint8 and
`seen_day[step, y, x]` int16 (day of the step's last clear view, from 0, −1 none) come from the scenes: one
shard is one ingest block and step. `usable[step, y, x]` uint8 (1 where the neighbours in time agree) and
`age_days[step, y, x]` int16 (days since the last clear view up to the step's end, −1 before the first) are
made of those, and so are the results that later stages add: there one shard is one product block with all its
steps. Two tasks never write the same file, and a file is replaced whole.

Which steps are being updated is written beside the arrays, so that no reader takes a cube half new and half
old for one.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from typing import Any, Final, Literal

import numpy as np
from numba import njit
from numpy.typing import NDArray

from eo_pipeline.cube.composite import NODATA as _NODATA
from eo_pipeline.cube.composite import age_of_seen
from eo_pipeline.cube.shards import (
    CODEC,
    LEVEL,
    chunk_of,
    read_shards,
    shard_side,
    use_fast_reading,
    write_shards,
)
from eo_pipeline.engine import holding
from eo_pipeline.errors import CubeError
from eo_pipeline.grid import Block, Grid, TimeStep
from eo_pipeline.storage import Folder, Place

SCALE: Final = 10_000
NODATA: Final = _NODATA
#: int16 of an index in a product: the same scale as the cube's.
_LIMIT: Final = 32767 / SCALE


@dataclass(frozen=True, slots=True)
class Layout:
    """Everything that fixes the arrays of a tile's store.

    `block` is the side of the blocks that scenes are read in, `product_block` of those that everything after
    works in; 0 means the same.
    """

    tile: str
    grid: Grid
    bands: tuple[str, ...]
    steps: tuple[TimeStep, ...]
    block: int
    product_block: int = 0

    @property
    def dates(self) -> tuple[date, ...]:
        """The day each step stands for."""
        return tuple(step.day for step in self.steps)

    @property
    def side(self) -> tuple[int, int]:
        """Rows and columns of a shard of what is ingested."""
        return shard_side(self.block, self.grid.height), shard_side(self.block, self.grid.width)

    @property
    def product_side(self) -> tuple[int, int]:
        """Rows and columns of a shard of everything after that."""
        block = self.product_block or self.block
        return shard_side(block, self.grid.height), shard_side(block, self.grid.width)


def encode(values: NDArray[np.floating[Any]]) -> NDArray[np.int16]:
    """Values (reflectance 0–1, index −1–1) as int16 × 10 000; NaN as −32768, beyond ±3.2767 cut.

    >>> encode(np.array([0.25, np.nan], dtype=np.float32)).tolist()
    [2500, -32768]
    """
    missing = np.isnan(values)
    numbers: NDArray[np.int16] = np.rint(
        np.clip(np.where(missing, 0.0, values), -_LIMIT, _LIMIT) * SCALE
    ).astype(np.int16)
    numbers[missing] = NODATA
    return numbers


def decode(numbers: NDArray[np.int16]) -> NDArray[np.float32]:
    """The inverse of `encode`: float32, NaN for −32768."""
    values: NDArray[np.float32] = numbers.astype(np.float32)
    values /= np.float32(SCALE)
    values[numbers == NODATA] = np.nan
    return values


def open_group(path: Place, mode: Literal["r", "r+", "w"]) -> Any:
    """The Zarr group at a place: the only door to a store, whatever it lies on."""
    import zarr

    use_fast_reading()
    store = Folder.of(path).zarr_store(read_only=mode == "r")
    return zarr.open_group(store, mode=mode, zarr_format=3)


@dataclass(frozen=True, slots=True)
class Record:
    """What the store says of its updates: numbers of the `updating` steps, and how often one was `opened`."""

    updating: tuple[int, ...] = ()
    opened: int = 0


class TileStore:
    """A tile's Zarr store, in a local folder or in S3. Cheap to make: opens the group at the first use."""

    _RECORD: Final = "updates.json"

    def __init__(self, path: Place) -> None:
        self.path = path
        self.folder = Folder.of(path)
        self._group: Any = None
        self._arrays: dict[str, Any] = {}

    @property
    def group(self) -> Any:
        """The Zarr group."""
        if self._group is None:
            try:
                with self.folder.telling(""):
                    self._group = open_group(self.folder, "r+")
            except FileNotFoundError as error:
                self.folder.exists("zarr.json")  # to zarr a bucket that is gone is a group that is not there
                raise CubeError(f"There is no cube at {self.path}. Run `eo run` to make it.") from error
        return self._group

    def array(self, name: str) -> Any:
        """One array of the group, opened once."""
        if name not in self._arrays:
            try:
                with self.folder.telling(name):
                    self._arrays[name] = self.group[name]
            except (KeyError, FileNotFoundError) as error:
                raise CubeError(
                    f"{self.path} has no array {name}: the stage that makes it has not run. Run `eo run`."
                ) from error
        return self._arrays[name]

    def matches(self, layout: Layout) -> bool:
        """Whether a store of this very layout is there."""
        if not self.folder.exists("zarr.json"):
            return False
        return bool(self.group.attrs.asdict() == _attributes(layout))

    def create(self, layout: Layout) -> None:
        """Make the store anew, without pixels.

        A local one takes its name when it is complete. In S3 nothing can be renamed: there the attributes
        come last, and until then `matches` says no.
        """
        self._group = None
        self._arrays.clear()
        self.folder.delete_tree()
        path = self.folder.local_path
        partial = path and path.with_name(f".{path.name}.partial")
        if partial is not None:
            shutil.rmtree(partial, ignore_errors=True)
        with self.folder.telling(""):
            self._fill(open_group(partial or self.folder, "w"), layout)
        if partial is not None and path is not None:
            partial.replace(path)

    @staticmethod
    def _fill(group: Any, layout: Layout) -> None:
        times, (height, width) = len(layout.steps), layout.grid.shape
        plane, lead = (times, height, width), (1, *layout.side)
        shape, shard = (times, len(layout.bands), height, width), (1, len(layout.bands), *layout.side)
        make_array(group, "reflectance", shape=shape, shard=shard, dtype="int16", fill=NODATA)
        make_array(group, "clear_count", shape=plane, shard=lead, dtype="uint8", fill=0)
        make_array(group, "seen_day", shape=plane, shard=lead, dtype="int16", fill=-1)
        whole = (times, *layout.product_side)
        make_array(group, "usable", shape=plane, shard=whole, dtype="uint8", fill=0)
        make_array(group, "age_days", shape=plane, shard=whole, dtype="int16", fill=-1)
        group.attrs.update(_attributes(layout))

    def require(self, layout: Layout, name: str, dtype: str, fill: int, *, steps: bool = False) -> None:
        """An array of results, `[y, x]` or with `steps` `[step, y, x]`, made if it is not there."""
        with self.folder.telling(name):
            if name not in self.group:
                lead = (len(layout.steps),) if steps else ()
                shape, shard = (*lead, *layout.grid.shape), (*lead, *layout.product_side)
                make_array(self.group, name, shape=shape, shard=shard, dtype=dtype, fill=fill)

    # ---- pixels -----------------------------------------------------------------------------------------
    def write(self, name: str, block: Block, values: NDArray[Any], *, step: int | None = None) -> None:
        """Write one block of an array: all steps, or the one of that number.

        A block that is made of whole shards replaces their files, each in one move. Any other is mixed into
        the shards it touches, which only one task may do at a time.

        Raises
        ------
        EngineError
            It is for a task whose run is over.
        """
        array = self.array(name)
        values = (values if step is None else values[None]).astype(array.dtype, copy=False)
        start = (*((step or 0, 0)[: array.ndim - 2]), block.row, block.col)
        with holding(), self.folder.telling(name):
            if not write_shards(array, values, start):
                window = [slice(first, first + n) for first, n in zip(start, values.shape, strict=True)]
                array[tuple(window)] = values

    def read(self, name: str, block: Block | None = None, *lead: int | slice) -> NDArray[Any]:
        """Read one block of an array, or all of it; `lead` says what of the axes before y and x, all by
        default. A number drops its axis.
        """
        array = self.array(name)
        window = block.slices if block else (slice(None), slice(None))
        # not by number: zarrs would leave it to zarr, which takes four times as long
        parts = [slice(item, item + 1) if isinstance(item, int) else item for item in lead]
        where = (*parts, *[slice(None)] * (array.ndim - 2 - len(lead)), *window)
        try:
            with self.folder.telling(name):
                found = read_shards(array, where) if self.folder.remote else np.asarray(array[where])
        except RuntimeError as error:  # of zarrs, which does not tell the file
            raise CubeError(
                f"{self.path / name} holds a damaged file ({error}). Remove the folder {self.path} and run "
                "`eo run` again."
            ) from error
        return found[tuple(0 if isinstance(item, int) else slice(None) for item in lead)]

    def read_values(self, name: str, block: Block) -> NDArray[np.float32]:
        """Read one block of an int16 array as float32, NaN where nothing was measured."""
        return decode(self.read(name, block))

    def read_bands(
        self,
        wanted: Sequence[str],
        bands: Sequence[str],
        block: Block,
        steps: slice = slice(None),
        *,
        name: str = "reflectance",
    ) -> NDArray[np.int16]:
        """Some of the cube's `bands` of a block, int16 [step, band, y, x]; no other is decoded."""
        numbers = [bands.index(band) for band in wanted]
        array = self.array(name)
        if self.folder.remote:
            with self.folder.telling(name):
                return read_shards(array, (steps, numbers, *block.slices))
        times = len(range(*steps.indices(array.shape[0])))
        out = np.empty((times, len(wanted), block.height, block.width), dtype=np.int16)
        for n, number in enumerate(numbers):
            out[:, n] = self.read(name, block, steps, number)
        return out

    def read_usable(self, block: Block, kept: Sequence[bool] = ()) -> NDArray[np.bool_]:
        """Where each step was seen and is believed, bool [step, y, x].

        `kept` says of every step whether its verdict keeps it; without it all are kept.
        """
        usable: NDArray[np.bool_] = self.read("usable", block) == 1
        if kept:
            usable &= np.asarray(kept, dtype=np.bool_)[:, None, None]
        return usable

    def read_clear(
        self, block: Block, kept: Sequence[bool] = (), *, bands: Sequence[str] = ()
    ) -> NDArray[np.float32]:
        """Reflectance as products may use it: float32 [step, band, y, x], 0-1.

        NaN where nothing was seen, where the neighbours in time reject it, and throughout the steps that
        `kept` says no to. `bands` picks some of the store's bands, in that order.
        """
        if bands:
            numbers = self.read_bands(bands, list(self.group.attrs["bands"]), block)
        else:
            numbers = self.read("reflectance", block)
        out = np.empty(numbers.shape, dtype=np.float32)
        _clear_values(numbers, self.read_usable(block, kept), out)
        return out

    def read_ages(self, block: Block, kept: Sequence[bool] = ()) -> NDArray[np.int16]:
        """Days since the last believed view up to each step's end, int16 [step, y, x], −1 before the first.

        As the array `age_days`, but steps that `kept` says no to have not been seen.
        """
        return age_of_seen(self.read("seen_day", block), self.read_usable(block, kept), self.steps)

    @property
    def steps(self) -> tuple[TimeStep, ...]:
        """The cube's steps."""
        return tuple(
            TimeStep(date.fromisoformat(start), date.fromisoformat(end))
            for start, end in self.group.attrs["steps"]
        )

    # ---- updates ----------------------------------------------------------------------------------------
    def record(self) -> Record:
        """What is being updated."""
        try:
            document = json.loads(self.folder.read(self._RECORD))
            return Record(tuple(int(n) for n in document["updating"]), int(document["opened"]))
        except FileNotFoundError:
            return Record()
        except (ValueError, KeyError, TypeError) as error:
            raise CubeError(
                f"{self.path / self._RECORD} is damaged ({error}). Remove the folder {self.path} and run "
                "`eo run` again."
            ) from error

    def begin(self, steps: Sequence[int]) -> tuple[int, ...]:
        """Say that these steps are about to be written; returns all that are open, with those of a run that
        was killed.

        One process at a time may update a store (the run's lock sees to that); its workers just write.
        """
        before = self.record()
        if before.updating:
            self._sweep()
        updating = tuple(sorted({*before.updating, *steps}))
        self._note(Record(updating, before.opened + 1))
        return updating

    def commit(self, steps: Sequence[int]) -> None:
        """Say that these steps are whole again."""
        before = self.record()
        left = tuple(n for n in before.updating if n not in steps)
        if left != before.updating:
            self._note(Record(left, before.opened))

    def require_whole(self) -> Record:
        """The record, where nothing is being updated.

        Raises
        ------
        CubeError
            Steps are being updated, or were when a run was stopped.
        """
        record = self.record()
        if record.updating:
            spans = [self.steps[n] for n in record.updating]
            first = f"{spans[0].start} to {spans[0].end}"
            more = f" and {len(spans) - 1} more" if len(spans) > 1 else ""
            raise CubeError(
                f"{self.path}: dekad {first}{more} is being updated. Wait until `eo run` ends; if it was "
                "stopped, run it again to finish."
            )
        return record

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Read within this, in a process that is not the run's own: what was read is of one state.

        Raises
        ------
        CubeError
            Steps were being updated when the reading began, or an update began meanwhile.
        """
        before = self.require_whole()
        yield
        if self.record() != before:
            raise CubeError(
                f"{self.path}: the cube was updated while it was read; what was read is mixed. Read again."
            )

    def _note(self, record: Record) -> None:
        document = {"updating": list(record.updating), "opened": record.opened}
        self.folder.write(self._RECORD, json.dumps(document).encode())

    def _sweep(self) -> None:
        # what a killed process had not yet given its name; in S3 nothing has none
        if (path := self.folder.local_path) is not None:
            for left in path.rglob("*.partial"):
                left.unlink(missing_ok=True)


@njit(nogil=True, cache=True)
def _clear_values(
    numbers: NDArray[np.int16], usable: NDArray[np.bool_], out: NDArray[np.float32]
) -> None:  # pragma: no cover - compiled
    steps, bands, height, width = numbers.shape
    scale, nan = np.float32(SCALE), np.float32(np.nan)
    for t in range(steps):
        for band in range(bands):
            for y in range(height):
                for x in range(width):
                    number = numbers[t, band, y, x]
                    value = np.float32(number) / scale
                    out[t, band, y, x] = value if usable[t, y, x] and number != NODATA else nan


def make_array(
    group: Any, name: str, *, shape: tuple[int, ...], shard: tuple[int, ...], dtype: str, fill: int
) -> None:
    """An array as every store here has it: shards of that shape, 256 × 256 pixels of a step a chunk."""
    from zarr.codecs import BloscCodec

    group.create_array(
        name,
        shape=shape,
        dtype=dtype,
        shards=shard,
        chunks=(*(1 for _ in shard[:-2]), *(chunk_of(side) for side in shard[-2:])),
        compressors=BloscCodec(cname=CODEC, clevel=LEVEL, shuffle="shuffle"),
        fill_value=fill,
    )


def _attributes(layout: Layout) -> Mapping[str, Any]:
    steps: Sequence[Sequence[str]] = [[step.start.isoformat(), step.end.isoformat()] for step in layout.steps]
    return {
        "tile": layout.tile,
        "crs": layout.grid.crs,
        "transform": list(layout.grid.transform),
        "size": [layout.grid.width, layout.grid.height],
        "bands": list(layout.bands),
        "steps": [list(step) for step in steps],
        "block": layout.block,
        "product_block": layout.product_block or layout.block,
        "scale": 1 / SCALE,
        "nodata": NODATA,
    }


def grid_of(tile: TileStore) -> Grid:
    """The grid a store's attributes tell."""
    attributes = tile.group.attrs
    width, height = attributes["size"]
    return Grid(attributes["crs"], tuple(attributes["transform"]), width, height)
