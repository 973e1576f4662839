"""Rasters that are read where they are, on disk or at an archive; of the latter only the bytes of a window.

GDAL asks for ranges of bytes, and they come through this process's own transport: its tries, connections per
host, signatures and messages hold as they do for downloads. A raster at an archive goes by its address, with
the source that serves it behind a #, so that a worker signs (or signs in) for itself and no secret travels.
"""

from __future__ import annotations

import functools
import io
import threading
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Final, Self, cast

from numpy.typing import NDArray

from eo_pipeline.acquire.parts import OneFile, Part
from eo_pipeline.errors import ArchiveError, RemoteReadError, SourceError

if TYPE_CHECKING:
    from eo_pipeline.acquire.radar import Parted
    from eo_pipeline.acquire.transport import Transport

#: Bytes read first of a file, kept for the next time it is opened: header and directories of most rasters.
_HEAD: Final = 1 << 15
_HEADS_KEPT: Final = 512
#: Bytes read at least where GDAL asks for few.
_AHEAD: Final = 1 << 18
#: A source that failed so often in a row is asked twice and no more, until it answers: a season has thousands
#: of windows, and another source may have them.
_PATIENCE: Final = 3
_failed: Final[Counter[str]] = Counter()
#: Spans of a window that are asked for at the same time; the transport's connections per host bound it, too.
_AT_ONCE: Final = 4
_lock: Final = threading.Lock()


def remote_path(href: str, source: str, api: str) -> str:
    """The path of a raster at an archive.

    >>> remote_path("https://example.org/B04.tif", "stac", "https://example.org/v1")
    'https://example.org/B04.tif#stac=https://example.org/v1'
    """
    return f"{href}#{source}={api}"


def is_remote(path: str) -> bool:
    """Whether a raster lies elsewhere than on disk."""
    return "://" in path


def address(path: str) -> str:
    """A raster's path without its source and without a signature, which changes from hour to hour.

    >>> address("https://example.org/B04.tif?sig=abc#stac=https://example.org/v1")
    'https://example.org/B04.tif'
    """
    return path.partition("#")[0].partition("?")[0] if is_remote(path) else path


class Raster:
    """A raster opened for reading; GDAL's own view of it is `data`.

    Parameters
    ----------
    path
        A file, a path of GDAL's (/vsizip/…), or what `Archive.open` gives.

    Raises
    ------
    SourceError
        It cannot be opened, or (from `read`) not be read.
    RemoteReadError
        The same of one at an archive, after as many tries as the transport's limits allow.
    """

    def __init__(self, path: str) -> None:
        import rasterio
        from rasterio.abc import MultiByteRangeResourceContainer

        self._path = path
        self._remote: _Remote | None = None
        try:
            if is_remote(path):
                MultiByteRangeResourceContainer.register(_Remote)
                self._remote = _Remote(path)
                self.data = rasterio.open(address(path), opener=self._remote)
            else:
                self.data = rasterio.open(path)
        except Exception as error:
            raise self._failure(error) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        self.close()
        if kind is None:
            self._require_bytes()  # of the header GDAL reads what it is asked for

    def close(self) -> None:
        """Close it."""
        self.data.close()

    def read(self, band: int, **how: Any) -> NDArray[Any]:
        """Numbers of a band (1-based); `how` as rasterio takes it: window, out_shape."""
        try:
            found: NDArray[Any] = self.data.read(band, **how)
        except Exception as error:
            raise self._failure(error) from error
        self._require_bytes()
        return found

    def _require_bytes(self) -> None:
        """GDAL takes some bytes that are not there for pixels without a value."""
        if self._remote is not None and self._remote.error is not None:
            raise self._failure(self._remote.error)

    def _failure(self, error: BaseException) -> BaseException:
        """What to raise for an error of GDAL, or one that happened while it asked for bytes."""
        from rasterio.errors import RasterioError

        cause = self._remote.error if self._remote is not None and self._remote.error else error
        if not isinstance(cause, RasterioError | ArchiveError | IndexError):
            return cause
        if is_remote(self._path):
            where = address(self._path)
            return RemoteReadError({where: f"{where} cannot be read: {cause}"})
        return SourceError(
            f"{self._path} cannot be read ({cause}). The file is damaged or incomplete, or was changed "
            "during the run: fetch it again."
        )


class _Remote:
    """A file at an archive as rasterio's plug-in for GDAL takes it: a container that holds this one file.

    GDAL calls from C, where no error of ours gets through: it is kept in `error`, and GDAL gets no bytes.
    """

    def __init__(self, path: str) -> None:
        self.error: BaseException | None = None
        self._name = address(path)
        head = _head(path)
        self._file = OneFile(functools.partial(_part, path), self._name, head)
        self._head = self._last = head

    # ---- the container
    def open(self, path: str, mode: str = "r", **_: Any) -> _Cursor:
        return _Cursor(self)

    def isfile(self, path: str) -> bool:
        return path == self._name

    def isdir(self, path: str) -> bool:
        return False

    def ls(self, path: str) -> list[str]:
        return []

    def mtime(self, path: str) -> int:
        return 0

    def size(self, path: str) -> int:
        return self._head.length

    # ---- its bytes
    def few(self, start: int, count: int) -> bytes:
        """Bytes for GDAL's small readings, with what lies behind them for the next."""
        stop = min(start + count, self.size(""))
        for part in (self._head, self._last):
            if part.start <= start and stop <= part.start + len(part.data):
                return part.data[start - part.start : stop - part.start]
        found = self.read(start, max(stop, min(start + _AHEAD, self.size(""))))
        if self.error is None:
            self._last = Part(start, found, self._head.length, self._head.etag)
        return found[: stop - start]

    def read(self, start: int, stop: int) -> bytes:
        """Bytes `start` to `stop` (not included) as they come; none where they cannot be had."""
        if self.error is None:
            try:
                return self._file.read(start, stop)
            except BaseException as error:
                self.error = error
                _head.cache_clear()  # it may be another file by now
        return b""


class _Cursor:
    """The open file, of which GDAL reads."""

    def __init__(self, remote: _Remote) -> None:
        self._remote, self._place = remote, 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def read(self, count: int = -1) -> bytes:
        found = self._remote.few(self._place, count)
        self._place += len(found)
        return found

    def seek(self, place: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._place, io.SEEK_END: self._remote.size("")}[whence]
        self._place = base + place
        return self._place

    def tell(self) -> int:
        return self._place

    def close(self) -> None:
        """Nothing is held."""

    def get_byte_ranges(self, starts: Sequence[int], sizes: Sequence[int]) -> list[bytes]:
        """The blocks of a window, of which GDAL has joined neighbours; it must get as many bytes as it
        asks for.
        """
        stops = [place + size for place, size in zip(starts, sizes, strict=True)]
        found = [b""] * len(stops)
        try:
            with ThreadPoolExecutor(_AT_ONCE) as pool:
                found = list(pool.map(self._remote.read, starts, stops))
        except KeyboardInterrupt as error:
            self._remote.error = error
        return [data.ljust(size, b"\0") for data, size in zip(found, sizes, strict=True)]


def _part(path: str, start: int, stop: int) -> Part:
    from eo_pipeline.acquire.products import RemoteFile

    href, _, served = path.partition("#")
    source, _, api = served.partition("=")
    with _lock:
        archive = _archive(source, api, _failed[api] < _PATIENCE)
    try:
        part = archive.part(RemoteFile("", "", href), start, stop)
    except ArchiveError:
        _failed[api] += 1
        raise
    _failed[api] = 0
    return part


@functools.lru_cache(_HEADS_KEPT)
def _head(path: str) -> Part:
    return _part(path, 0, _HEAD)


@functools.cache
def _archive(source: str, api: str, patient: bool) -> Parted:
    """The source as this process asks it; all share one transport."""
    from eo_pipeline.acquire.sources.registry import open_archive

    return cast("Parted", open_archive(source, transport=_transport(patient), url=api))


@functools.cache
def _transport(patient: bool) -> Transport:
    from eo_pipeline.acquire.transport import Limits, Transport

    return Transport(limits=Limits() if patient else Limits(attempts=2))
