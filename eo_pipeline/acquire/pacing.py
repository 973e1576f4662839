"""How fast and how stubbornly archives are asked: limits, waits between tries, connections, bandwidth.

Nothing here knows HTTP; `transport.py` asks these objects before it opens, reads and tries again.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final

from eo_pipeline.errors import ArchiveError

#: Answers worth another try. 404 is one too, at most twice: catalogues are ahead of their stores by minutes.
RETRIED: Final = frozenset({408, 429, 500, 502, 503, 504})
MISSING: Final = 404
MISSING_TRIES: Final = 2

_random = random.SystemRandom()


class StoppedError(ArchiveError):
    """A transfer that was told to stop; what has arrived is kept and the next call goes on from there."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How a transport behaves towards archives.

    `read_timeout` is the longest silence between two packets; a body that drips stays below it, so fewer than
    `stall_bytes` in `stall_s` seconds of reading end a transfer too. `attempts` counts tries without
    progress. Waits are drawn from 0 to `backoff_s` · 2ⁿ, at most `backoff_cap_s` ("full jitter"); a
    Retry-After is obeyed up to `retry_after_cap_s`. `connections` is per host (CDSE allows four), `by_host`
    overrides it.
    `bytes_per_s` bounds the sum of all threads; None is unbounded.
    """

    connect_timeout: float = 15.0
    read_timeout: float = 60.0
    stall_s: float = 60.0
    stall_bytes: int = 16_384
    attempts: int = 8
    backoff_s: float = 1.0
    backoff_cap_s: float = 60.0
    retry_after_cap_s: float = 300.0
    connections: int = 4
    by_host: Mapping[str, int] = field(default_factory=dict)
    bytes_per_s: float | None = None

    def __post_init__(self) -> None:
        if self.bytes_per_s is not None and self.bytes_per_s <= 0:
            raise ArchiveError(
                f"A bandwidth of {self.bytes_per_s} bytes/s lets nothing through; give more than 0."
            )
        if self.connections < 1 or self.attempts < 1:
            raise ArchiveError("connections and attempts must be 1 or more.")


@dataclass(frozen=True, slots=True)
class Watch:
    """Who looks at the transfers of this thread: told of bytes (negative where a file starts again)."""

    on_bytes: Callable[[int], None]
    stop: threading.Event


class _Watching(threading.local):
    watch: Watch | None = None


_watching = _Watching()


@contextmanager
def watched(on_bytes: Callable[[int], None], stop: threading.Event) -> Iterator[None]:
    """Report the bytes this thread transfers, and end its transfers and waits when `stop` is set.

    A source's `fetch` takes a file and a target and nothing more; its transfers are watched from here.
    """
    before = _watching.watch
    _watching.watch = Watch(on_bytes, stop)
    try:
        yield
    finally:
        _watching.watch = before


def tell(count: int) -> None:
    """Tell the watch of this thread of transferred bytes.

    Raises
    ------
    StoppedError
        The watch wants no more.
    """
    if (watch := _watching.watch) is not None:
        watch.on_bytes(count)
        if watch.stop.is_set():
            raise StoppedError("Stopped; what has arrived is kept. Give the command again to go on.")


def pause(seconds: float) -> None:
    """Sleep, unless the watch of this thread wants to stop."""
    watch = _watching.watch
    if watch is None:
        time.sleep(seconds)
    elif watch.stop.wait(seconds):
        raise StoppedError("Stopped; what has arrived is kept. Give the command again to go on.")


class Backoff:
    """Counts the tries of one request and says how long to wait before the next, if there is one."""

    def __init__(self, limits: Limits, attempts: int | None = None) -> None:
        self._limits = limits
        self._attempts = limits.attempts if attempts is None else attempts
        self.failures = 0
        self._missing = 0

    def progress(self) -> None:
        """Something arrived: tries count anew."""
        self.failures = 0

    def again(
        self, status: int | None = None, retry_after: float | None = None, *, tries: int | None = None
    ) -> bool:
        """Wait and return True, or return False where no try is left.

        Parameters
        ----------
        status
            None: no whole answer.
        retry_after
            Seconds the archive asks for.
        tries
            Fewer tries than usual, where more would not help.
        """
        self.failures += 1
        if self.failures >= min(self._attempts, tries or self._attempts):
            return False
        if status == MISSING:
            self._missing += 1
            if self._missing > MISSING_TRIES:
                return False
        elif status is not None and status not in RETRIED:
            return False
        limits = self._limits
        # too many sessions: other sessions have to end first, so the wait starts longer
        slow = 2 if status == 429 else 0
        top = min(limits.backoff_cap_s, limits.backoff_s * 2 ** (self.failures - 1 + slow))
        wait = _random.uniform(0, top)
        if retry_after is not None:
            # jitter on top, or all that were turned away come back in the same moment
            wait = min(retry_after, limits.retry_after_cap_s) + _random.uniform(0, limits.backoff_s / 2)
        pause(wait)
        return True


def retry_after(header: str | None, now: datetime | None = None) -> float | None:
    """Seconds that a Retry-After header asks for: a number of seconds or a date; None where there is none.

    >>> retry_after("7"), retry_after("soon"), retry_after(None)
    (7.0, None, None)
    """
    if not header:
        return None
    try:
        return max(0.0, float(header))
    except ValueError:
        pass
    try:
        then = parsedate_to_datetime(header.strip())
    except (TypeError, ValueError):
        return None
    if then.tzinfo is None:
        then = then.replace(tzinfo=UTC)
    return max(0.0, (then - (now or datetime.now(UTC))).total_seconds())


class Slots:
    """Connections per host: at most so many transfers at once, others wait for their turn."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._lock = threading.Lock()
        self._slots: dict[str, threading.BoundedSemaphore] = {}

    @contextmanager
    def of(self, host: str) -> Iterator[None]:
        """Hold one connection to `host` (name and port)."""
        with self._lock:
            if host not in self._slots:
                bare = host.rsplit(":", 1)[0]
                count = self._limits.by_host.get(
                    host, self._limits.by_host.get(bare, self._limits.connections)
                )
                self._slots[host] = threading.BoundedSemaphore(count)
            slot = self._slots[host]
        while not slot.acquire(timeout=0.5):
            tell(0)  # a thread that waits for its turn can be stopped too
        try:
            yield
        finally:
            slot.release()


class Bucket:
    """Token bucket shared by all threads: what was read too fast is slept off."""

    def __init__(self, rate: float | None) -> None:
        self.rate = rate
        self._lock = threading.Lock()
        self._free_at = 0.0

    def chunk(self, largest: int) -> int:
        """How much to read at a time: at a low rate little, so that the flow is even."""
        return largest if self.rate is None else max(1024, min(largest, int(self.rate / 8)))

    def take(self, count: int) -> None:
        """Account for `count` bytes and wait until they were allowed to pass."""
        if self.rate is None or not count:
            return
        with self._lock:
            now = time.monotonic()
            # an idle quarter of a second may be made up for, not more
            self._free_at = max(self._free_at, now - 0.25) + count / self.rate
            wait = self._free_at - now
        if wait > 0:
            pause(wait)
