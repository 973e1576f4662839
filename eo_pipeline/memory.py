"""How this process and its children treat freed memory."""

from __future__ import annotations

import ctypes
import os
from typing import Final

#: Bytes that glibc keeps for the next allocation instead of giving them back.
_KEPT: Final = 256 * 1024**2
_M_TRIM_THRESHOLD: Final = -1
_M_MMAP_THRESHOLD: Final = -3


def malloc_settings() -> dict[str, str]:
    """The same as `keep_freed_memory`, as environment variables for processes to be started.

    Dask sets the first one to 64 KB for its workers, which suits many small objects and not arrays.
    """
    return {"MALLOC_TRIM_THRESHOLD_": str(_KEPT), "MALLOC_MMAP_THRESHOLD_": str(_KEPT)}


def keep_freed_memory() -> None:
    """Keep freed memory for the next array of the same size, in this process and in its children.

    Training and block tasks allocate the same few megabytes again and again; by default glibc gives each back
    to the kernel, which has to clear it anew: a fifth of the CPU time of a season was spent there. Does
    nothing where the C library is another.
    """
    for name, value in malloc_settings().items():
        os.environ.setdefault(name, value)
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):  # musl and macOS have none
        return
    mallopt(_M_TRIM_THRESHOLD, _KEPT)
    mallopt(_M_MMAP_THRESHOLD, _KEPT)
