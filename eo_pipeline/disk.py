"""Files and folders on a local disk that are there whole or not at all, and what is said when it is full."""

from __future__ import annotations

import ctypes
import errno
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from eo_pipeline.errors import DiskFullError

#: No room, no quota, and a file that may not grow any more.
_FULL: Final = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
#: Of Linux: AT_FDCWD and RENAME_EXCHANGE.
_HERE: Final = -100
_EXCHANGE: Final = 2


def is_full(error: BaseException) -> bool:
    """Whether an error says that there was no room."""
    return isinstance(error, OSError) and error.errno in _FULL


def disk_full(path: Path | None, reason: object) -> DiskFullError:
    """The error for a file or folder that cannot be written; `path` is None where nobody knows which."""
    where = "Something" if path is None else str(path)
    free = "" if path is None else f", {_told(free_bytes(path))} free"
    return DiskFullError(
        f"{where} cannot be written ({reason}). The disk may be full{free}. What was done before is kept: "
        "make room and give the same command again to continue."
    )


@contextmanager
def telling_full(path: Path | None) -> Iterator[None]:
    """Tell of a disk that is full in our own words; `path` is the file or folder that is written, None
    where nobody knows which.

    Raises
    ------
    DiskFullError
        There is no room.
    """
    try:
        yield
    except OSError as error:
        if not is_full(error):
            raise
        raise disk_full(path, error.strerror or error) from error


def free_bytes(path: Path) -> int:
    """Room on the disk that a file or folder is, or will be, on."""
    while not path.exists():
        path = path.parent
    return shutil.disk_usage(path).free


def _told(size: int) -> str:
    """Bytes for people.

    >>> _told(0), _told(123_456), _told(7_890_000_000)
    ('0 kB', '123 kB', '7.9 GB')
    """
    for unit, name in ((1e9, "GB"), (1e6, "MB")):
        if size >= unit:
            return f"{size / unit:.1f} {name}"
    return f"{size / 1e3:.0f} kB"


def partial_of(path: Path) -> Path:
    """A name of one's own beside a file, for what is not whole yet; the folder is made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    return path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}.partial")


def write_file(path: Path, content: bytes) -> None:
    """Write a file so that a reader sees the old or the new one whole, whenever the writer is killed."""
    partial = partial_of(path)
    try:
        with partial.open("xb") as stream:
            stream.write(content)
            stream.flush()
            # the name must not reach the disk before the content does
            os.fsync(stream.fileno())
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def sync_file(path: Path) -> None:
    """Make the bytes of a file survive a power cut."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


#: Make a rename in a folder survive a power cut: to the kernel a folder is a file, too.
sync_folder: Final = sync_file


# ---- folders ---------------------------------------------------------------------------------------------
def double_folder(folder: Path, fresh: Path) -> None:
    """The same folder once more: its files get second names, which take no room, where there are such."""
    fresh.mkdir()
    for path in sorted(folder.rglob("*")):  # a folder before what lies in it
        target = fresh / path.relative_to(folder)
        if path.is_dir():
            target.mkdir()
            continue
        try:
            os.link(path, target)
        except OSError as error:
            if is_full(error):
                raise
            shutil.copy2(path, target)


def replace_folder(fresh: Path, folder: Path) -> None:
    """Put `fresh` in the place of `folder`; what was there before is removed.

    The two are swapped in one move where kernel and file system can: then one whole folder is there at every
    moment. Else, on some network file systems, a kill between two moves leaves none; see `restore_folder`.
    """
    if not folder.exists():
        fresh.rename(folder)
    elif _swap(fresh, folder):
        shutil.rmtree(fresh, ignore_errors=True)
    else:
        folder.rename(_aside(folder))
        fresh.rename(folder)
        shutil.rmtree(_aside(folder), ignore_errors=True)


def _swap(one: Path, other: Path) -> bool:
    """Let two folders change names in one move; False where that is not possible."""
    try:
        rename: Any = ctypes.CDLL(None).renameat2  # Linux 3.15, glibc 2.28
    except (AttributeError, OSError):
        return False
    return bool(rename(_HERE, os.fsencode(one), _HERE, os.fsencode(other), _EXCHANGE) == 0)


def _aside(folder: Path) -> Path:
    """Where `replace_folder` puts a run folder while the next one takes its name."""
    return folder.with_name(f".{folder.name}.old")


def restore_folder(folder: Path) -> None:
    """Give an earlier run folder its name back, if a kill left `folder` without one."""
    if folder.exists():
        shutil.rmtree(_aside(folder), ignore_errors=True)
    elif _aside(folder).exists():
        _aside(folder).rename(folder)
