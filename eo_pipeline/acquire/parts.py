"""Pieces of a raster that lies elsewhere: the blocks over a place, in a copy with holes.

The copy is as long as the original and empty where nothing was fetched, so that GDAL reads from it what it
would read there. Requests go through our own transport: its tries, limits and signatures hold here too, which
GDAL's drivers for the network know nothing of.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import requests

from eo_pipeline.acquire.answers import BROKEN, AnswerError, unreached
from eo_pipeline.acquire.auth import Auth
from eo_pipeline.acquire.checks import DamagedError
from eo_pipeline.acquire.pacing import Backoff, tell
from eo_pipeline.acquire.transport import body
from eo_pipeline.errors import ArchiveError

if TYPE_CHECKING:
    from rasterio.windows import Window

    from eo_pipeline.acquire.transport import Transport

#: What is read first: header, directories and the places of some thousand blocks.
_HEAD: Final = 1 << 16
#: What of a head is not places of blocks.
_TAGS: Final = 1 << 13
#: Bytes of one request at most, and of a gap that is fetched along with its neighbours.
_LONGEST: Final = 1 << 23
_GAP: Final = 1 << 12
#: A block that arrives damaged this often will not get better.
_DAMAGED_TRIES: Final = 4
_RANGE: Final = re.compile(r"bytes (\d+)-(\d+)/(\d+)")


@dataclass(frozen=True, slots=True)
class Part:
    """Bytes of a file from `start` on, the length of the whole, and its ETag (empty where none is told)."""

    start: int
    data: bytes
    length: int
    etag: str


#: Brings the bytes of a file from a first to a last place (not included).
ReadPart = Callable[[int, int], Part]


def read_part(transport: Transport, url: str, start: int, stop: int, *, auth: Auth | None = None) -> Part:
    """Bytes `start` to `stop` (not included) of the file at `url`; fewer where the file ends before.

    Raises
    ------
    ArchiveError
        They cannot be had; the server's words, or what happened on the way.
    """
    backoff = Backoff(transport.limits)
    headers = {"Accept-Encoding": "identity", "Range": f"bytes={start}-{stop - 1}"}
    while True:
        status: int | None = None
        wait: float | None = None
        try:
            with transport.opened("GET", url, auth=auth, headers=headers) as answer:
                return part_in(transport, answer, start, stop)
        except AnswerError as error:
            status, wait, reason = error.status, error.retry_after, error
        except BROKEN as error:
            reason = error  # type: ignore[assignment]
        if not backoff.again(status, wait, tries=transport.tries(url, reason)):
            if isinstance(reason, AnswerError):
                raise reason
            raise unreached(url, reason, backoff.failures) from None


def part_in(transport: Transport, answer: requests.Response, start: int, stop: int) -> Part:
    """What an answer to a request for bytes `start` to `stop` (not included) holds.

    Raises
    ------
    requests.RequestException, urllib3.exceptions.HTTPError
        Something else, or less.
    """
    told = _RANGE.fullmatch(answer.headers.get("Content-Range", "").strip())
    if answer.status_code != 206 or told is None or int(told[1]) != start:
        # a whole scene is never read for the sake of a part
        raise requests.ConnectionError(
            f"{answer.status_code} with Content-Range {answer.headers.get('Content-Range')!r} instead of a "
            "part"
        )
    length = int(told[3])
    wanted, pieces, have = min(stop, length) - start, [], 0
    try:
        for piece in body(answer, transport.limits, decode=False, chunk=transport.bucket.chunk(1 << 18)):
            pieces.append(piece)
            have += len(piece)
            tell(len(piece))
            transport.bucket.take(len(piece))
        if have != wanted:
            raise requests.ConnectionError(f"the answer ended after {have} of {wanted} bytes")
    except BaseException:
        tell(-have)  # a part that breaks is thrown away
        raise
    return Part(start, b"".join(pieces), length, answer.headers.get("ETag", ""))


class OneFile:
    """Bytes of a file at a source, all of one and the same version of it.

    Parameters
    ----------
    read
        Brings bytes.
    name
        How messages call it.
    begun
        A part that was read before, whose version the others must be.
    """

    def __init__(self, read: ReadPart, name: str, begun: Part | None = None) -> None:
        self._read, self._name = read, name
        self.length, self._etag = (begun.length, begun.etag) if begun else (0, "")

    def read(self, start: int, stop: int) -> bytes:
        """Bytes `start` to `stop` (not included); fewer where the file ends before.

        Raises
        ------
        ArchiveError
            They cannot be had, or are of another version.
        """
        part = self._read(start, stop)
        tags = {tag for tag in (part.etag, self._etag) if tag}
        if len(tags) > 1 or (self.length and part.length != self.length):
            raise ArchiveError(f"{self._name} changed at its source while it was read; fetch it again.")
        self.length, self._etag = part.length, part.etag or self._etag
        return part.data


class Copy:
    """The copy with holes of one cloud-optimised GeoTIFF.

    Parameters
    ----------
    read
        Brings bytes of the original.
    path
        Where the copy lies. One that is there already is gone on with: its blocks are looked through, and
        only those that are not whole are fetched.
    name
        How messages call the original.
    """

    def __init__(self, read: ReadPart, path: Path, name: str) -> None:
        self._path, self._name = path, name
        self._file = OneFile(read, name)

    @contextmanager
    def opened(self) -> Iterator[Any]:
        """The raster, as it is described; of its pixels only what `bring` has brought is there.

        Raises
        ------
        ArchiveError
            It cannot be had, or is no GeoTIFF that has its directory in front.
        """
        import rasterio
        from rasterio.errors import RasterioError

        head = self._head(_HEAD)
        self._lay(head)
        try:
            with rasterio.Env(GDAL_DISABLE_READDIR_ON_OPEN="EMPTY_DIR", GDAL_PAM_ENABLED="NO"):
                with rasterio.open(self._path) as raster:
                    need = _TAGS + 16 * _blocks_of(raster)
                if len(head) < min(need, self._file.length):
                    tell(-len(head))  # it comes again with more
                    self._lay(self._head(need))
                with rasterio.open(self._path) as raster:
                    yield raster
        except RasterioError as error:
            raise DamagedError(
                f"{self._name} cannot be read in parts ({error}). It is no cloud-optimised GeoTIFF, or came "
                "damaged; fetch it again."
            ) from None

    def _head(self, count: int) -> bytes:
        """The first bytes, read in one piece and in two until both are the same: no checksum is told of
        them.
        """
        for _ in range(_DAMAGED_TRIES):
            whole = self._file.read(0, count)
            middle = len(whole) // 2
            halves = self._file.read(0, middle) + self._file.read(middle, len(whole))
            tell(-len(halves))
            if whole == halves:
                return whole
            tell(-len(whole))
        raise DamagedError(f"{self._name} begins with other bytes each time it is read. Try again later.")

    def _lay(self, head: bytes) -> None:
        """Lay the head into the copy; what else is in a copy of another file is thrown away."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        mode = "r+b" if self._path.exists() else "w+b"
        with self._path.open(mode) as file:
            known = file.read(len(head))
            if known != head[: len(known)] or self._path.stat().st_size != self._file.length:
                file.truncate(0)
            file.seek(0)
            file.write(head)
            file.truncate(self._file.length)

    def bring(self, raster: Any, window: Window) -> None:
        """Fetch the blocks of a window that are not there yet.

        Raises
        ------
        ArchiveError
            They cannot be had, or come damaged again and again.
        """
        deflated = raster.compression is not None and raster.compression.name == "deflate"
        with self._path.open("r+b") as file:
            missing = [b for b in _blocks_over(raster, window) if not (deflated and _whole(file, b))]
            for _ in range(_DAMAGED_TRIES):
                for start, stop in _joined(missing):
                    data = self._file.read(start, stop)
                    file.seek(start)
                    file.write(data)
                file.flush()
                # of other compressions nothing tells whether a block is whole, but that it can be read
                missing = [block for block in missing if deflated and not _whole(file, block)]
                if not missing:
                    return
                tell(-sum(size for _, size in missing))
        raise DamagedError(
            f"{self._name}: {len(missing)} blocks came damaged {_DAMAGED_TRIES} times. Try again later."
        )

    def remove(self) -> None:
        """Remove the copy."""
        self._path.unlink(missing_ok=True)


def _blocks_of(raster: Any) -> int:
    """Blocks of a raster, overviews included, at most."""
    height, width = raster.block_shapes[0]
    return int(2 * -(-raster.height // height) * -(-raster.width // width) * raster.count)


def _blocks_over(raster: Any, window: Window) -> list[tuple[int, int]]:
    """Start and size of the blocks of the first band that a window touches; blocks of nodata have none."""
    height, width = raster.block_shapes[0]
    found = []
    for row in range(window.row_off // height, -(-(window.row_off + window.height) // height)):
        for col in range(window.col_off // width, -(-(window.col_off + window.width) // width)):
            place = [
                raster.get_tag_item(f"BLOCK_{what}_{col}_{row}", "TIFF", bidx=1)
                for what in ("OFFSET", "SIZE")
            ]
            if all(place):
                found.append((int(place[0]), int(place[1])))
    return sorted(set(found))


def _joined(blocks: Sequence[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """Spans of bytes to ask for: neighbours in one request."""
    start = stop = -1
    for place, size in blocks:
        if start >= 0 and place - stop <= _GAP and place + size - start <= _LONGEST:
            stop = max(stop, place + size)
            continue
        if start >= 0:
            yield start, stop
        start, stop = place, place + size
    if start >= 0:
        yield start, stop


def _whole(file: Any, block: tuple[int, int]) -> bool:
    """Whether a block packed with DEFLATE is there: it ends in a checksum, which GDAL never reads."""
    file.seek(block[0])
    data = file.read(block[1])
    try:
        zlib.decompress(data)
    except zlib.error:
        return False
    return len(data) == block[1]
