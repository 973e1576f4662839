"""How arrays are cut into shards, and shards written: whole, in one move, never in place.

A shard is one file: its chunks one after another, and an index at the end. The `zarrs` pipeline reads fastest
by far, but it writes into the file that is there: a process killed meanwhile leaves half a shard that still
opens. So reading goes through `zarrs`, and writing through zarr's own store, which writes a file beside and
renames it.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from importlib import import_module
from itertools import product
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

#: Side of the chunks within a shard: 128 KB of int16, small enough for a window and large enough to compress.
CHUNK: Final = 256
#: A smaller divisor of an odd block would make files of crumbs; the chunk is then the whole side.
_LEAST_CHUNK: Final = 32
#: Measured on one core on real Sentinel-2 (ten bands, those of 20 m repeated), MB/s written, read, and the
#: ratio: lz4 5 with byte shuffle 1190, 2000, 1.86; with bit shuffle 1080, 1670, 2.04; zstd 1 with bit shuffle
#: 410, 740, 2.79, which took as long as decoding the images. A third more disk buys thrice the speed.
CODEC: Final = "lz4"
LEVEL: Final = 5
_EMPTY: Final = 2**64 - 1


def chunk_of(side: int) -> int:
    """The chunk within a shard: the largest divisor of its side up to 256, or the side where that is tiny.

    >>> chunk_of(2048), chunk_of(600), chunk_of(509)
    (256, 200, 509)
    """
    largest = next(size for size in range(min(CHUNK, side), 0, -1) if side % size == 0)
    return largest if largest >= min(side, _LEAST_CHUNK) else side


def shard_side(block: int, extent: int) -> int:
    """Side of a shard: the block; where the tile is smaller than that, its extent in whole chunks.

    >>> shard_side(512, 10980), shard_side(512, 300), shard_side(512, 100)
    (512, 512, 100)
    """
    if block <= extent:
        return block
    return extent if extent <= CHUNK else -(-extent // CHUNK) * CHUNK


@functools.cache
def use_fast_reading() -> None:
    """Let zarr read through `zarrs` where it is installed, and write as it does by itself."""
    import zarr
    from zarr.registry import register_pipeline

    try:
        fast = import_module("zarrs").ZarrsCodecPipeline
    except ImportError:
        return

    async def write(self: Any, batch_info: Any, value: Any, drop_axes: tuple[int, ...] = ()) -> None:
        # the same shards through zarr's store, whose `set` renames: see the head of this file
        await self.python_impl.write(batch_info, value, drop_axes)

    pipeline = type("ReadFastWriteWhole", (fast,), {"write": write, "__module__": __name__})
    globals()["ReadFastWriteWhole"] = pipeline
    register_pipeline(pipeline)
    zarr.config.set({"codec_pipeline.path": f"{__name__}.ReadFastWriteWhole"})


def write_shards(array: Any, values: NDArray[Any], start: Sequence[int]) -> bool:
    """Write `values` at `start` as whole shards, each replaced in one move.

    Parameters
    ----------
    array : zarr.Array
        Sharded and compressed as this module does it.
    values
        As many axes as the array. The part must begin at a shard's corner, and end at one or at the array's
        end, on every axis.

    Returns
    -------
    bool
        False where the part is not made of whole shards; nothing was written then.
    """
    shard, shape = array.shards, array.shape
    ends = [first + length for first, length in zip(start, values.shape, strict=True)]
    for first, end, side, extent in zip(start, ends, shard, shape, strict=True):
        if first % side or (end % side and end != extent) or end > extent:
            return False
    fill = values.dtype.type(array.fill_value)
    for place in product(*(range(a // s, -(-e // s)) for a, e, s in zip(start, ends, shard, strict=True))):
        inside = tuple(
            slice(p * s - a, min(p * s + s - a, n))
            for p, s, a, n in zip(place, shard, start, values.shape, strict=True)
        )
        _put(array, place, _encoded(values[inside], shard, array.chunks, fill))
    return True


def _put(array: Any, place: tuple[int, ...], content: bytes) -> None:
    from zarr.core.buffer.cpu import Buffer
    from zarr.core.sync import sync

    target = array.store_path / array.metadata.encode_chunk_key(place)
    # an empty shard is no file at all, also where an earlier run left one with pixels
    sync(target.set(Buffer.from_bytes(content)) if content else target.delete())


def _encoded(values: NDArray[Any], shard: Sequence[int], chunk: Sequence[int], fill: Any) -> bytes:
    """One shard as the sharding codec of Zarr v3 lays it out; nothing where every chunk is empty."""
    import google_crc32c
    from numcodecs import Blosc  # type: ignore[import-untyped]

    codec = Blosc(CODEC, LEVEL, Blosc.SHUFFLE)
    parts: list[bytes] = []
    index = np.full((*(s // c for s, c in zip(shard, chunk, strict=True)), 2), _EMPTY, dtype="<u8")
    offset = 0
    for place, window in _chunks(tuple(shard), tuple(chunk)):
        part = values[window]
        if part.size == 0 or (part.flat[0] == fill and (part == fill).all()):
            continue
        if part.shape != tuple(chunk):
            whole = np.full(chunk, fill, dtype=values.dtype)
            whole[tuple(slice(0, n) for n in part.shape)] = part
            part = whole
        encoded = codec.encode(np.ascontiguousarray(part))
        parts.append(encoded)
        index[place] = offset, len(encoded)
        offset += len(encoded)
    if not parts:
        return b""
    tail = index.tobytes()
    return b"".join((*parts, tail, google_crc32c.value(tail).to_bytes(4, "little")))


@functools.cache
def _chunks(
    shard: tuple[int, ...], chunk: tuple[int, ...]
) -> tuple[tuple[tuple[int, ...], tuple[slice, ...]], ...]:
    """Place and window of every chunk of a shard."""
    counts = [range(s // c) for s, c in zip(shard, chunk, strict=True)]
    return tuple(
        (place, tuple(slice(p * c, p * c + c) for p, c in zip(place, chunk, strict=True)))
        for place in product(*counts)
    )
