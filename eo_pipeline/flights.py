"""The tasks of a stage that are on a Dask cluster at once, and those whose worker died."""

from __future__ import annotations

import functools
import queue
import secrets
import time
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from eo_pipeline.tasks import Conditions, Fence, Outcome, Task, done_result, execute

#: A task that died with this many workers, the last time alone on one, is not tried again.
DEATHS: Final = 3
#: Results are small: a worker that does not hand them over in this time is not there any more.
_HAND_OVER_SECONDS: Final = 20.0
#: Results fetched from workers in one go, and the most tasks given out ahead to a thread.
_TOGETHER: Final = 64
#: Tasks as short as this are fetched together.
_SHORT_SECONDS: Final = 0.1
#: Work given out ahead to a thread where tasks are short.
_AHEAD_SECONDS: Final = 0.5


@dataclass(slots=True)
class Flight:
    """A task on the cluster; `alone` while no other is."""

    number: int
    task: Task
    future: Any
    alone: bool


@dataclass
class Flights:
    """The tasks on a cluster: a bounded number at once, and those that lost workers one at a time at the end.

    When a worker dies, Dask suspects every task that waited there. Only a task that was the only one on the
    whole cluster is known to be the cause.
    """

    client: Any
    conditions: Conditions
    fence: Fence | None
    waiting: deque[tuple[int, Task]]
    suspects: deque[tuple[int, Task]] = field(default_factory=deque)
    running: dict[str, Flight] = field(default_factory=dict)
    deaths: Counter[int] = field(default_factory=Counter)
    seconds: float = 0.0
    arrived: queue.SimpleQueue[str] = field(default_factory=queue.SimpleQueue)

    @property
    def left(self) -> bool:
        """Whether any task is not done."""
        return bool(self.waiting or self.suspects or self.running)

    def fill(self, threads: int) -> None:
        """Give out tasks: two a thread and two more, or of short ones as many as last half a second."""
        ahead = 2 * threads + 2
        if self.seconds:
            ahead = max(ahead, min(_TOGETHER * threads, int(threads * _AHEAD_SECONDS / self.seconds)))
        # in batches: a message to the scheduler costs more than a task in it
        if self.waiting and len(self.running) <= max(ahead // 2, ahead - threads):
            count = min(len(self.waiting), ahead - len(self.running))
            self._submit([self.waiting.popleft() for _ in range(count)], alone=False)
        if self.suspects and not self.running:
            self._submit([self.suspects.popleft()], alone=True)

    def _submit(self, batch: Sequence[tuple[int, Task]], *, alone: bool) -> None:
        # a key of its own each time: the marker decides what is done, not the scheduler's memory
        keys = [f"{task.stage}-{task.tile}-{task.block}-{secrets.token_hex(4)}" for _, task in batch]
        futures = self.client.map(
            functools.partial(execute, conditions=self.conditions, fence=self.fence),
            [task for _, task in batch],
            key=keys,
            retries=0,
            pure=False,
        )
        for (number, task), future in zip(batch, futures, strict=True):
            self.running[future.key] = Flight(number, task, future, alone)
            future.add_done_callback(self._arrive)

    def _arrive(self, future: Any) -> None:
        self.arrived.put(future.key)

    def landed(self, timeout: float) -> list[tuple[Flight, Outcome | BaseException]]:
        """The tasks that ended since the last call, with what they gave; waits for the first of them."""
        keys: list[str] = []
        try:
            keys.append(self.arrived.get(timeout=timeout))
            if self.seconds < _SHORT_SECONDS:
                time.sleep(_SHORT_SECONDS / 5)  # others follow at once, and are fetched together
            while len(keys) < _TOGETHER:
                keys.append(self.arrived.get_nowait())
        except queue.Empty:
            pass
        flights = [self.running.pop(key) for key in keys]
        good = [flight for flight in flights if flight.future.status == "finished"]
        outcomes: dict[int, Outcome | BaseException] = {}
        try:
            # not asked of a scheduler that is gone: that would wait for it
            wanted = [flight.future for flight in good]
            found = self.client.sync(self.client._gather, wanted, callback_timeout=_HAND_OVER_SECONDS)
            outcomes = {flight.number: outcome for flight, outcome in zip(good, found, strict=True)}
        except Exception:  # a worker left with the results in its hands: what it did, the markers tell
            outcomes = {flight.number: _from_marker(flight.task) for flight in good}
        landed = []
        for flight in flights:
            outcome = outcomes.get(flight.number)
            if isinstance(outcome, Outcome):
                self.seconds += (max(outcome.seconds, 1e-3) - self.seconds) / (8 if self.seconds else 1)
            landed.append((flight, _ended(flight) if outcome is None else outcome))
            flight.future.release()
        return landed

    def died(self, flight: Flight, deaths: int) -> int:
        """Queue a task again whose workers died; gives how many that are by now."""
        self.deaths[flight.number] += deaths
        again = self.waiting if self.deaths[flight.number] < DEATHS - 1 else self.suspects
        again.append((flight.number, flight.task))
        return self.deaths[flight.number]

    def cancel(self) -> None:
        """Call off what is still under way."""
        if self.running and self.client.status == "running":
            self.client.cancel([flight.future for flight in self.running.values()], force=True)


class WorkerLeftError(Exception):
    """A worker left with the result of a task in its hands."""


def _from_marker(task: Task) -> Outcome | BaseException:
    """What a task gave whose worker is gone: its marker tells it, if it was done."""
    result = done_result(task.marker, task.key)
    return WorkerLeftError(task.block) if result is None else Outcome(result, 0.0, "", 0)


def _ended(flight: Flight) -> Outcome | BaseException:
    future = flight.future
    if future.status == "lost":  # it was done, and its worker has left meanwhile
        return _from_marker(flight.task)
    if future.status == "cancelled":
        from dask.distributed import CancelledError

        return CancelledError(future.key)
    try:
        outcome: Outcome = future.result()
    except Exception as error:
        return error
    return outcome
