"""The season cube of one tile: a Zarr v3 group whose arrays are cut as the blocks are.

`reflectance[step, band, y, x]` int16 (value × 10 000, nodata −32768), `clear_count[step, y, x]` uint8,
`age_days[step, y, x]` int16 (days since the last clear view, −1 before the first), and per-pixel results that
later stages add. One shard is one block and step: two tasks never write the same file.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from eo_pipeline.grid import Block, Grid, TimeStep

SCALE: Final = 10_000
NODATA: Final = -32768
#: int16 of an index in a product: the same scale as the cube's.
_LIMIT: Final = 32767 / SCALE


@dataclass(frozen=True, slots=True)
class Layout:
    """Everything that fixes the arrays of a tile's store."""

    tile: str
    grid: Grid
    bands: tuple[str, ...]
    steps: tuple[TimeStep, ...]
    block: int

    @property
    def dates(self) -> tuple[date, ...]:
        """The day each step stands for."""
        return tuple(step.day for step in self.steps)

    @property
    def side(self) -> tuple[int, int]:
        """Rows and columns of a shard: the block, or the tile where that is smaller."""
        return min(self.block, self.grid.height), min(self.block, self.grid.width)


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


class TileStore:
    """A tile's Zarr store on disk. Cheap to make: opens the group at the first use."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._group: Any = None

    @property
    def group(self) -> Any:
        """The Zarr group."""
        if self._group is None:
            import zarr

            self._group = zarr.open_group(str(self.path), mode="r+")
        return self._group

    def matches(self, layout: Layout) -> bool:
        """Whether a store of this very layout is there."""
        if not (self.path / "zarr.json").is_file():
            return False
        return bool(self.group.attrs.asdict() == _attributes(layout))

    def create(self, layout: Layout) -> None:
        """Make the store anew, without pixels."""
        import zarr

        if self.path.exists():
            shutil.rmtree(self.path)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        partial = self.path.with_name(f".{self.path.name}.partial")
        shutil.rmtree(partial, ignore_errors=True)
        self._group = None
        group = zarr.open_group(str(partial), mode="w", zarr_format=3)
        times, (height, width) = len(layout.steps), layout.grid.shape
        plane, bands = (times, height, width), len(layout.bands)
        shape = (times, bands, height, width)
        self._array(group, layout, "reflectance", shape=shape, dtype="int16", fill=NODATA)
        self._array(group, layout, "clear_count", shape=plane, dtype="uint8", fill=0)
        self._array(group, layout, "age_days", shape=plane, dtype="int16", fill=-1)
        group.attrs.update(_attributes(layout))
        partial.replace(self.path)

    def require(self, layout: Layout, name: str, dtype: str, fill: int, *, steps: bool = False) -> None:
        """An array of results, `[y, x]` or with `steps` `[step, y, x]`, made if it is not there."""
        if name not in self.group:
            shape = ((len(layout.steps),) if steps else ()) + layout.grid.shape
            self._array(self.group, layout, name, shape=shape, dtype=dtype, fill=fill)

    @staticmethod
    def _array(
        group: Any, layout: Layout, name: str, *, shape: tuple[int, ...], dtype: str, fill: int
    ) -> None:
        from zarr.codecs import BloscCodec

        bands = shape[1] if len(shape) == 4 else None
        lead = {2: (), 3: (1,), 4: (1, bands)}[len(shape)]
        inner = tuple(_inner(side) for side in layout.side)
        group.create_array(
            name,
            shape=shape,
            dtype=dtype,
            shards=(*lead, *layout.side),
            chunks=(*lead, *inner),
            compressors=BloscCodec(cname="zstd", clevel=3, shuffle="bitshuffle"),
            fill_value=fill,
        )

    def write(self, name: str, block: Block, values: NDArray[Any]) -> None:
        """Write one block of an array; the leading axes are written whole."""
        rows, cols = block.slices
        self.group[name][..., rows, cols] = values

    def read(self, name: str, block: Block | None = None) -> NDArray[Any]:
        """Read one block of an array, or all of it."""
        rows, cols = block.slices if block else (slice(None), slice(None))
        return np.asarray(self.group[name][..., rows, cols])

    def read_values(self, name: str, block: Block) -> NDArray[np.float32]:
        """Read one block of an int16 array as float32, NaN where nothing was measured."""
        return decode(self.read(name, block))


def _inner(side: int) -> int:
    """The chunk within a shard: 256 where it divides the shard, else the shard itself."""
    return 256 if side % 256 == 0 else side


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
        "scale": 1 / SCALE,
        "nodata": NODATA,
    }
