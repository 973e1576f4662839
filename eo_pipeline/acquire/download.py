"""One file from one address to one place, whatever happens on the way.

`target` appears whole or not at all. Beside it, while it comes: `.partial` (the bytes so far),
`.partial.json` (whose bytes they are) and `.lock` (who is at it).
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit, urlunsplit

import requests

from eo_pipeline.acquire.answers import BROKEN, AnswerError, refusal, unreached
from eo_pipeline.acquire.auth import Auth
from eo_pipeline.acquire.checks import DamagedError, check_digest, outside_blocks, usable
from eo_pipeline.acquire.pacing import Backoff, tell
from eo_pipeline.acquire.parts import part_in
from eo_pipeline.acquire.secrets import redact
from eo_pipeline.acquire.transport import body, read
from eo_pipeline.disk import disk_full, is_full, sync_file, sync_folder, write_file
from eo_pipeline.errors import ArchiveError

if TYPE_CHECKING:
    from eo_pipeline.acquire.transport import Transport

_CHUNK: Final = 1 << 18
#: A file that arrives damaged this often will not get better at this source.
_DAMAGED_TRIES: Final = 3
#: Progress that lets tries count anew, so that a server that cuts each answer after a byte comes to an end.
_PROGRESS: Final = 1 << 16
_RANGE: Final = re.compile(r"bytes (\d+)-(\d+)/(\d+|\*)")


@dataclass(frozen=True, slots=True)
class _Origin:
    """Whose bytes a partial file holds: enough to know whether the rest still belongs to them."""

    address: str
    etag: str
    modified: str
    length: int | None


def beside(target: Path, ending: str) -> Path:
    """The helper file of a target."""
    return target.with_name(target.name + ending)


@contextmanager
def locked(target: Path) -> Iterator[None]:
    """Hold the right to write `target`; other threads and processes wait until it is free.

    The kernel frees the lock of a process that dies.
    """
    path = beside(target, ".lock")
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            while True:
                try:
                    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    tell(0)
                    time.sleep(0.05)
            if _is_at(handle, path):  # else the one before removed it, and we hold what nobody looks at
                try:
                    yield
                finally:
                    path.unlink(missing_ok=True)
                return
        finally:
            os.close(handle)


def drop_lock(path: Path) -> None:
    """Remove the lock file of a process that was killed just before it did, unless somebody holds it."""
    try:
        handle = os.open(path, os.O_RDWR)
    except FileNotFoundError:
        return
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if _is_at(handle, path):
            path.unlink(missing_ok=True)
    except BlockingIOError:
        pass
    finally:
        os.close(handle)


def _is_at(handle: int, path: Path) -> bool:
    """Whether the file that is open here is the one that has this name now."""
    try:
        return os.fstat(handle).st_ino == path.stat().st_ino
    except FileNotFoundError:
        return False


@contextmanager
def writing(target: Path) -> Iterator[None]:
    """Make the folder of a target, and tell of a disk that is full or cannot be written in our own words.

    Raises
    ------
    DiskFullError
        There is no room.
    ArchiveError
        The target cannot be written.
    """
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        yield
    except OSError as error:
        if is_full(error):
            raise disk_full(target, error.strerror) from None
        raise ArchiveError(f"{target} cannot be written: {error.strerror or error}.") from None


def write_whole(target: Path, text: str) -> None:
    """Write a small file whole or not at all."""
    write_file(target, text.encode())
    sync_folder(target.parent)


class Download:
    """The state of one `Transport.download`."""

    def __init__(
        self,
        transport: Transport,
        url: str,
        target: Path,
        *,
        size: int | None,
        checksums: Mapping[str, str],
        auth: Auth | None,
        on_bytes: Callable[[int], None] | None,
    ) -> None:
        self._transport, self._url, self._target = transport, url, target
        self._size = size or None  # archives say 0 where they do not know
        self._checksums = usable(checksums)
        self._auth, self._on_bytes = auth, on_bytes
        self._partial = beside(target, ".partial")
        self._sidecar = beside(target, ".partial.json")
        # a signature in the query changes from day to day, the file does not
        parts = urlsplit(url)
        self._address = urlunsplit((parts.scheme, parts.netloc, parts.path, "", ""))

    def run(self) -> None:
        """Fetch, check, rename."""
        with writing(self._target), locked(self._target):
            if not self._there():
                self._fetch()

    def _there(self) -> bool:
        """Whether another process brought the file meanwhile; one that does not fit is removed."""
        if not self._target.is_file():
            return False
        actual = self._target.stat().st_size
        try:
            if self._size is not None and actual != self._size:
                raise DamagedError("another size")
            if self._size is None and not self._checksums:
                raise DamagedError("nothing to check it against")
            check_digest(self._target, self._checksums)
        except DamagedError:
            self._target.unlink()
            return False
        self._tell(actual)
        return True

    def _fetch(self) -> None:
        limits = self._transport.limits
        backoff, damaged = Backoff(limits), 0
        counted = self._have()
        self._tell(counted)
        while True:
            before = self._have()
            status: int | None = None
            wait: float | None = None
            try:
                self._continue()
                self._check()
                break
            except DamagedError as error:
                self._forget()
                damaged += 1
                if damaged >= _DAMAGED_TRIES or not backoff.again():
                    raise DamagedError(
                        f"{redact(self._url)} sent {damaged} times something else than the "
                        f"source says: {error}"
                    ) from None
                continue
            except AnswerError as error:
                status, wait, reason = error.status, error.retry_after, error
            except BROKEN as error:
                reason = error  # type: ignore[assignment]
            if self._have() - before >= _PROGRESS:
                backoff.progress()
            if not backoff.again(status, wait, tries=self._transport.tries(self._url, reason)):
                if isinstance(reason, AnswerError):
                    raise reason
                raise unreached(self._url, reason, backoff.failures) from None
        self._finish()

    # ---- the partial file ------------------------------------------------------------------------------
    def _have(self) -> int:
        try:
            return self._partial.stat().st_size
        except FileNotFoundError:
            return 0

    def _origin(self) -> _Origin | None:
        try:
            return _Origin(**json.loads(self._sidecar.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            return None

    def _remember(self, origin: _Origin) -> None:
        draft = beside(self._sidecar, f".{os.getpid()}.partial")
        draft.write_text(json.dumps(asdict(origin)), encoding="utf-8")
        draft.replace(self._sidecar)

    def _forget(self) -> None:
        self._tell(-self._have())
        self._partial.unlink(missing_ok=True)
        self._sidecar.unlink(missing_ok=True)

    def _tell(self, count: int) -> None:
        if count and self._on_bytes is not None:
            self._on_bytes(count)
        tell(count)

    # ---- one answer ------------------------------------------------------------------------------------
    def _continue(self) -> None:
        """Ask for what is missing and append it; returns when the file is as long as it should be."""
        have, origin = self._have(), self._origin()
        if have and (origin is None or origin.address != self._address):
            self._forget()  # of another source, or nobody knows whose
            have, origin = 0, None
        length = self._size or (origin.length if origin else None)
        if length is not None and have > length:
            self._forget()
            have, origin = 0, None
        if have and have == length:
            return
        headers = {"Accept-Encoding": "identity"}
        if have and origin is not None:
            headers["Range"] = f"bytes={have}-"
            if origin.etag and not origin.etag.startswith("W/"):
                headers["If-Range"] = origin.etag
        with self._transport.opened(
            "GET", self._url, auth=self._auth, headers=headers, accept=(416,)
        ) as answer:
            if answer.status_code == 416:
                self._beyond(answer, have)
                return
            if answer.status_code not in (200, 206):  # 202: an offline product is on its way; no file yet
                raise refusal(read(answer, self._transport.limits), self._auth)
            start, total = self._span(answer, have)
            said = _Origin(
                self._address, answer.headers.get("ETag", ""), answer.headers.get("Last-Modified", ""), total
            )
            if start and (origin is None or not _same(origin, said)):
                self._forget()
                raise requests.ConnectionError("the file changed at its source; it starts again")
            if self._size is not None and total is not None and total != self._size:
                raise DamagedError(f"{total} bytes are offered, the source says {self._size}")
            if start == 0:
                if have:
                    self._forget()
                self._partial.unlink(missing_ok=True)
                self._remember(said)
            self._append(answer, total)

    def _beyond(self, answer: requests.Response, have: int) -> None:
        """416: either all is there already, or what is there is of another file."""
        found = re.fullmatch(r"bytes \*/(\d+)", answer.headers.get("Content-Range", ""))
        read(answer, self._transport.limits)
        if found and int(found[1]) == have and self._size in (None, have):
            return
        self._forget()
        raise requests.ConnectionError("416: the part does not fit the file any more; it starts again")

    def _span(self, answer: requests.Response, have: int) -> tuple[int, int | None]:
        """Where the body starts and how long the whole file is."""
        length = answer.headers.get("Content-Length", "")
        if answer.status_code != 206:
            return 0, int(length) if length.isdigit() else None
        found = _RANGE.fullmatch(answer.headers.get("Content-Range", "").strip())
        if not found or int(found[1]) != have:
            self._forget()
            raise requests.ConnectionError(
                f"206 with Content-Range {answer.headers.get('Content-Range')!r} instead of one from {have}"
            )
        return have, None if found[3] == "*" else int(found[3])

    def _append(self, answer: requests.Response, total: int | None) -> None:
        bucket = self._transport.bucket
        with self._partial.open("ab", buffering=0) as file:
            for piece in body(answer, self._transport.limits, decode=False, chunk=bucket.chunk(_CHUNK)):
                view = memoryview(piece)
                while view:
                    view = view[file.write(view) :]
                self._tell(len(piece))
                bucket.take(len(piece))
        have = self._have()
        whole = self._size or total
        if whole is not None and have < whole:
            raise requests.ConnectionError(f"the answer ended after {have} of {whole} bytes")
        if whole is not None and have > whole:
            raise DamagedError(f"{have} bytes arrived, {whole} were announced")

    # ---- the end ---------------------------------------------------------------------------------------
    def _check(self) -> None:
        if not self._partial.exists():  # an empty file is a file too
            self._partial.touch()
        have = self._have()
        if self._size is not None and have != self._size:
            raise DamagedError(f"{have} bytes arrived, the source says {self._size}")
        if not check_digest(self._partial, self._checksums) and self._target.suffix in (".tif", ".tiff"):
            self._check_outside_blocks()

    def _check_outside_blocks(self) -> None:
        """Hold what in a GeoTIFF is no pixels against a second answer: a wrong byte there may well decode.

        Where a server gives no parts, nothing is held against anything.
        """
        for start, stop in outside_blocks(self._partial):
            with self._partial.open("rb") as file:
                file.seek(start)
                have = file.read(stop - start)
            for _ in range(2):  # the second answer may be the wrong one
                headers = {"Accept-Encoding": "identity", "Range": f"bytes={start}-{stop - 1}"}
                with self._transport.opened("GET", self._url, auth=self._auth, headers=headers) as answer:
                    if answer.status_code != 206:
                        return
                    part = part_in(self._transport, answer, start, stop)
                tell(-len(part.data))
                if part.data == have:
                    break
            else:
                raise DamagedError(f"bytes {start} to {stop} are others each time they are sent")

    def _finish(self) -> None:
        sync_file(self._partial)
        # in this order: a file that has its name is not looked at again, nor is what lies beside it
        self._sidecar.unlink(missing_ok=True)
        self._partial.replace(self._target)
        sync_folder(self._target.parent)


def _same(before: _Origin, now: _Origin) -> bool:
    """Whether two answers tell of the same file; what only one of them tells is no contradiction."""
    pairs = ((before.etag, now.etag), (before.modified, now.modified), (before.length, now.length))
    return all(a == b for a, b in pairs if a and b)
