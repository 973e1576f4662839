"""How arrays are cut into shards, and shards written: whole, in one move, never in place.

A shard is one file: its chunks one after another, and an index at the end. The `zarrs` pipeline reads fastest
by far, but it writes into the file that is there: a process killed meanwhile leaves half a shard that still
opens. So reading goes through `zarrs`, and whole shards are written here. In S3, where a request takes longer
than decoding what it brings, shards are read here, too: zarr would ask for one chunk after the other.
"""

from __future__ import annotations

import functools
import math
from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from itertools import product
from typing import Any, Final

import google_crc32c
import numpy as np
from numcodecs import Blosc  # type: ignore[import-untyped]
from numpy.typing import NDArray

from eo_pipeline.disk import write_file
from eo_pipeline.errors import CubeError

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
#: Shards in S3 that are asked for at once.
_AT_ONCE: Final = 32


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
    """Let zarr read local files through `zarrs` where it is installed, and do all else as it does by itself.

    What lies in S3 stays zarr's: `zarrs` would open connections of its own, and tell its errors without ours.
    """
    import zarr
    from zarr.core.codec_pipeline import BatchedCodecPipeline
    from zarr.registry import register_pipeline
    from zarr.storage import LocalStore

    try:
        fast = import_module("zarrs").ZarrsCodecPipeline
    except ImportError:
        return

    async def write(self: Any, batch_info: Any, value: Any, drop_axes: tuple[int, ...] = ()) -> None:
        # the same shards through zarr's store, whose `set` renames: see the head of this file
        await self.python_impl.write(batch_info, value, drop_axes)

    def from_array(cls: Any, array_metadata: Any, store: Any) -> Any:
        if isinstance(store, LocalStore):
            return fast.from_array_metadata_and_store.__func__(cls, array_metadata, store)
        return BatchedCodecPipeline.from_codecs(array_metadata.codecs)

    own = {"write": write, "from_array_metadata_and_store": classmethod(from_array), "__module__": __name__}
    pipeline = type("ReadFastWriteWhole", (fast,), own)
    globals()["ReadFastWriteWhole"] = pipeline
    register_pipeline(pipeline)
    zarr.config.set({"codec_pipeline.path": f"{__name__}.ReadFastWriteWhole"})


# ---- reading in S3 ------------------------------------------------------------------------------------
def read_shards(array: Any, where: Sequence[slice | Sequence[int]]) -> NDArray[Any]:
    """Read a part of an array in S3, many shards at once and each in two requests, or a few.

    First comes a shard's index, then what is wanted of it, near ranges in one request; a shard of which all
    is wanted comes whole.

    Parameters
    ----------
    array : zarr.Array
        Sharded and compressed as this module does it.
    where
        For each axis a slice of step 1, or numbers.

    Raises
    ------
    CubeError
        A shard is damaged, or was replaced between its two requests.
    """
    cuts = [_cuts(*axis) for axis in zip(where, array.shape, array.chunks, strict=True)]
    counts = [shard // chunk for shard, chunk in zip(array.shards, array.chunks, strict=True)]
    wanted: dict[tuple[int, ...], list[_Wanted]] = defaultdict(list)
    for numbers, sources, targets in (zip(*part, strict=True) for part in product(*cuts)):
        place = tuple(number // count for number, count in zip(numbers, counts, strict=True))
        inside = tuple(number % count for number, count in zip(numbers, counts, strict=True))
        wanted[place].append((inside, sources, targets))
    size = [sum(target.stop - target.start for _, _, target in axis) for axis in cuts]
    out = np.full(size, array.fill_value, dtype=array.dtype)

    def bring(place: tuple[int, ...]) -> None:
        for source, target, chunk in _fetched(array, place, counts, wanted[place]):
            out[target] = chunk[source]

    with ThreadPoolExecutor(_AT_ONCE) as pool:
        list(pool.map(bring, wanted))
    return out


#: A chunk's place in its shard, what is wanted of it, and where that goes.
_Wanted = tuple[tuple[int, ...], tuple[slice, ...], tuple[slice, ...]]


def _cuts(where: slice | Sequence[int], extent: int, chunk: int) -> list[tuple[int, slice, slice]]:
    """The chunks of one axis that are wanted: their number, what of them, and where that goes.

    >>> _cuts(slice(3, 9), 20, 4)
    [(0, slice(3, 4, None), slice(0, 1, None)), (1, slice(0, 4, None), slice(1, 5, None)), \
(2, slice(0, 1, None), slice(5, 6, None))]
    """
    if not isinstance(where, slice):
        return [(n // chunk, slice(n % chunk, n % chunk + 1), slice(i, i + 1)) for i, n in enumerate(where)]
    first, last, _ = where.indices(extent)
    cuts = []
    for number in range(first // chunk, -(-last // chunk)):
        corner = number * chunk
        low, high = max(first, corner), min(last, corner + chunk)
        cuts.append((number, slice(low - corner, high - corner), slice(low - first, high - first)))
    return cuts


def _fetched(
    array: Any, place: tuple[int, ...], counts: Sequence[int], wanted: Sequence[_Wanted]
) -> list[tuple[tuple[slice, ...], tuple[slice, ...], NDArray[Any]]]:
    """Of one shard the wanted chunks that are not empty: what of each goes where, and its values."""
    store, key = array.store.store, _key(array, place)
    chunks = math.prod(counts)
    whole, tail = len(wanted) == chunks, 16 * chunks + 4
    try:
        answer = store.get(key) if whole else store.get(key, options={"range": {"suffix": tail}})
        content = bytes(answer.bytes())
    except FileNotFoundError as error:
        if "NoSuchBucket" in str(error):
            raise
        return []  # an empty shard is no file
    end = content[-tail:]
    if len(end) != tail or google_crc32c.value(end[:-4]).to_bytes(4, "little") != end[-4:]:
        raise _damaged(key)
    index = np.frombuffer(end[:-4], dtype="<u8").reshape(*counts, 2)
    there = [item for item in wanted if index[item[0]][0] != _EMPTY]
    starts, lengths = ([int(index[item[0]][n]) for item in there] for n in (0, 1))
    if whole:
        parts = [content[start : start + length] for start, length in zip(starts, lengths, strict=True)]
    else:
        parts = [bytes(part) for part in store.get_ranges(key, starts=starts, lengths=lengths)]
    return [
        (source, target, _decoded(part, length, array, key))
        for (_, source, target), length, part in zip(there, lengths, parts, strict=True)
    ]


def _decoded(part: bytes, length: int, array: Any, key: str) -> NDArray[Any]:
    """A chunk's values; its own head must tell the lengths that the index and the array tell."""
    told = [len(part), *(int.from_bytes(part[at : at + 4], "little") for at in (4, 12))]
    if told != [length, array.dtype.itemsize * math.prod(array.chunks), length]:
        raise _damaged(key)
    try:
        return np.frombuffer(Blosc().decode(part), dtype=array.dtype).reshape(array.chunks)
    except RuntimeError as error:
        raise _damaged(key) from error


def _key(array: Any, place: tuple[int, ...]) -> str:
    """Name of a shard within the array's store."""
    return f"{array.path}/{array.metadata.encode_chunk_key(place)}"


def _damaged(key: str) -> CubeError:
    return CubeError(
        f"The cube's file {key} was replaced while it was read, or is damaged. Read again; if this stays, "
        "remove the cube's folder and run `eo run`."
    )


# ---- writing ------------------------------------------------------------------------------------------
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
    from zarr.core.sync import sync
    from zarr.storage import LocalStore

    key = _key(array, place)
    if not content:
        # an empty shard is no file at all, also where an earlier run left one with pixels
        sync(array.store.delete(key))
    elif isinstance(array.store, LocalStore):
        # not zarr's `set`: after a power cut the task's marker would be there, and its shard be empty
        write_file(array.store.root / key, content)
    else:
        # in one piece: of an upload in parts a killed process leaves some that nobody sees, and somebody pays
        array.store.store.put(key, content, use_multipart=False)


def _encoded(values: NDArray[Any], shard: Sequence[int], chunk: Sequence[int], fill: Any) -> bytes:
    """One shard as the sharding codec of Zarr v3 lays it out; nothing where every chunk is empty."""
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
