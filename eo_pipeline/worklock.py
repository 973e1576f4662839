"""One run at a time on a season's work folder, local or in S3-compatible storage."""

from __future__ import annotations

import fcntl
import getpass
import json
import os
import secrets
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any, Final

from eo_pipeline.errors import EngineError, StorageError
from eo_pipeline.storage import Folder
from eo_pipeline.tasks import WRITES, Fence, this_process

LOCK: Final = "lock"
#: A remote lock is renewed this often …
BEAT_SECONDS: Final = 15.0
#: … and belongs to a run that ended if it was not for as long as this.
STALE_SECONDS: Final = 120.0
#: Within this time a write that has begun must end.
WRITE_SECONDS: Final = 120.0


@dataclass
class Hold:
    """A held lock; `token` tells it from every other run's."""

    folder: Folder
    token: str
    _lost: threading.Event = field(default_factory=threading.Event)

    @property
    def fence(self) -> Fence:
        """What tasks are given, so that they write nothing when another run has taken the lock."""
        return Fence(self.folder / LOCK, self.token)

    def check(self) -> None:
        """Make sure the lock is still held.

        Raises
        ------
        EngineError
            This run did not renew it in time, and another may have taken it.
        """
        if self._lost.is_set():
            raise EngineError(
                f"The lock of {self.folder} was lost: this machine slept, or could not reach the storage. "
                "What is done is kept; run the same command again to continue."
            )


@contextmanager
def locked(
    folder: Path | Folder, *, beat: float = BEAT_SECONDS, stale: float = STALE_SECONDS
) -> Iterator[Hold]:
    """Hold a work folder alone; a second run of the same season is refused instead of mixed in.

    A local lock ends with its process. One in S3 is an object with its owner that is renewed every `beat`
    seconds; when it was not for `stale` seconds, its owner is taken for dead and the lock is taken over. That
    of a process of this very machine is taken over as soon as the process is gone.

    Raises
    ------
    EngineError
        Another run holds it.
    StorageError
        The storage has no conditional writes, so a lock in it would be none.
    """
    place = Folder.of(folder)
    if place.local_path is None:
        with _remote(place, beat, stale) as hold:
            yield hold
        return
    place.local_path.mkdir(parents=True, exist_ok=True)
    token = secrets.token_hex(8)
    stream: IO[bytes]
    with (place.local_path / LOCK).open("a+b") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            stream.seek(0)
            raise _in_use(place, stream.read()) from None
        stream.truncate(0)
        stream.write(_document(token))
        stream.flush()
        _wait_for_writes(place.local_path)
        # it stays in the file: what workers of a run that has failed are still doing may end
        yield Hold(place, token)


def _wait_for_writes(folder: Path) -> None:
    """Let end what workers of an earlier run are writing; what they begin after this is refused."""
    give_up = time.monotonic() + WRITE_SECONDS
    with (folder / WRITES).open("ab") as stream:
        while True:
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except BlockingIOError:
                if time.monotonic() > give_up:
                    raise EngineError(
                        f"A worker of an earlier `eo` command has been writing in {folder} for "
                        f"{WRITE_SECONDS:.0f} s. Stop that worker, or wait until it ends, and run the same "
                        "command again."
                    ) from None
                time.sleep(0.02)


@contextmanager
def _remote(place: Folder, beat: float, stale: float) -> Iterator[Hold]:
    token = secrets.token_hex(8)
    content = _document(token)
    with place.telling(LOCK):
        tag = _acquire(place, content, token, stale)
    hold, ended = Hold(place, token), threading.Event()
    thread = threading.Thread(
        target=_renew, args=(hold, content, tag, ended, (beat, stale)), name="lock", daemon=True
    )
    thread.start()
    try:
        yield hold
    finally:
        ended.set()
        thread.join()
        if not hold._lost.is_set():
            _release(place, token)


def _acquire(place: Folder, content: bytes, token: str, stale: float) -> str | None:
    """Write the lock object and give its tag, or say who holds it."""
    from obstore.exceptions import AlreadyExistsError, PreconditionError

    now = _storage_time(place, token)
    store, key = place.entry(LOCK)
    try:
        return _tag(store.put(key, content, mode="create", use_multipart=False))
    except AlreadyExistsError:
        pass
    try:
        found = store.head(key)
        owner = bytes(store.get(key).bytes())
    except FileNotFoundError:
        found, owner = None, b""  # given back at this very moment
    age = (now - found["last_modified"]).total_seconds() if found else stale
    if found and age < stale and not _is_gone(owner):
        raise _in_use(place, owner, f"; the lock of one that was killed ends after {stale:.0f} s")
    try:
        mode: Any = {"e_tag": found["e_tag"]} if found else "create"
        return _tag(store.put(key, content, mode=mode, use_multipart=False))
    except (AlreadyExistsError, PreconditionError):
        raise _in_use(place, b"") from None  # another run took it over first


def _storage_time(place: Folder, token: str) -> datetime:
    """The storage's own time, and proof that it does not overwrite what is to be new."""
    name = f"{LOCK}.{token}"
    try:
        if not place.write_new(name, b"") or place.write_new(name, b""):
            raise StorageError(
                f"{place}: this storage overwrites objects that must be new (no If-None-Match), so two runs "
                "could not be kept apart. Use one with conditional writes, or a local folder."
            )
        store, key = place.entry(name)
        now: datetime = store.head(key)["last_modified"]
        return now
    finally:
        place.delete(name)


def _renew(
    hold: Hold, content: bytes, tag: str | None, ended: threading.Event, times: tuple[float, float]
) -> None:
    """Renew a lock until it ends, or is lost."""
    from obstore.exceptions import BaseError, PreconditionError

    beat, stale = times
    store, key = hold.folder.entry(LOCK)
    renewed = time.monotonic()
    while not ended.wait(beat):
        # content that differs: some stores give equal content an equal tag
        body = json.dumps(json.loads(content) | {"beat": secrets.token_hex(4)}).encode()
        try:
            try:
                tag = _tag(store.put(key, body, mode={"e_tag": tag}, use_multipart=False))
            except PreconditionError:
                # an earlier renewal may have arrived though its answer did not
                found = store.get(key)
                if _token_in(bytes(found.bytes())) != hold.token:
                    raise
                tag = found.meta["e_tag"]
            renewed = time.monotonic()
        except (PreconditionError, FileNotFoundError):
            hold._lost.set()
            return
        except (BaseError, OSError):
            if time.monotonic() - renewed > stale - beat:
                hold._lost.set()
                return


def _release(place: Folder, token: str) -> None:
    try:
        if _token_in(place.read(LOCK)) == token:
            place.delete(LOCK)
    except (OSError, StorageError):
        return  # it goes stale


def _token_in(document: bytes) -> str | None:
    try:
        token: str = json.loads(document)["token"]
    except (ValueError, KeyError, TypeError):
        return None
    return token


def _tag(put: Any) -> str | None:
    tag: str | None = put["e_tag"]
    return tag


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "unknown"


def _document(token: str) -> bytes:
    """What a lock holds."""
    document = {
        "owner": f"{_user()} on {this_process()}",
        "since": datetime.now(UTC).isoformat(timespec="seconds"),
        "token": token,
        "machine": _machine(),
        "pid": os.getpid(),
    }
    return json.dumps(document).encode()


def _machine() -> str:
    """What tells this machine, this start of it and this container from any other; empty if not Linux."""
    try:
        start = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{start} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return ""


def _is_gone(document: bytes) -> bool:
    """Whether the owner of a lock was a process of this machine that is no more."""
    try:
        found = json.loads(document)
        if not found["machine"] or found["machine"] != _machine():
            return False
        os.kill(int(found["pid"]), 0)
    except ProcessLookupError:
        return True
    except (OSError, ValueError, KeyError, TypeError):
        return False
    return False


def _in_use(place: Folder, document: bytes, more: str = "") -> EngineError:
    try:
        found = json.loads(document)
        owner = f" ({found['owner']}, since {found['since']})"
    except (ValueError, KeyError, TypeError):
        owner = ""
    return EngineError(
        f"{place} is in use by another `eo` command for the same season{owner}. Wait until it ends, or "
        f"stop it{more}."
    )
