"""The block engine: one Dask task a block and stage, skipped where it was done before.

A run killed at any moment continues where it stopped, and a block written for other parameters is never taken
for done (see `tasks`). Workers that die are replaced and their tasks done again; a task that takes three
workers with it is told by its name, after everything else is done.
"""

from __future__ import annotations

import os
import secrets
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

from eo_pipeline.cluster import (
    available_memory,
    fitting_workers,
    open_local,
    open_remote,
    require_memory,
    threads_of,
)
from eo_pipeline.disk import disk_full, is_full
from eo_pipeline.errors import EngineError, EOPipelineError, RemoteReadError
from eo_pipeline.flights import DEATHS, Flight, Flights, WorkerLeftError
from eo_pipeline.runlog import RunLog
from eo_pipeline.storage import Folder
from eo_pipeline.tasks import (
    Conditions,
    Fence,
    Outcome,
    Result,
    Task,
    code_digest,
    digest_of,
    done_result,
    done_results,
    execute,
    forget,
    holding,
    place,
    read_file,
    shared_folder,
    task_key,
    write_atomic,
)
from eo_pipeline.worklock import Hold, locked

__all__ = [
    "Engine",
    "Hold",
    "Progress",
    "Result",
    "Task",
    "available_memory",
    "code_digest",
    "digest_of",
    "done_result",
    "done_results",
    "execute",
    "forget",
    "holding",
    "locked",
    "read_file",
    "task_key",
    "write_atomic",
]

#: What a task ends with that does not end the stage.
_Ended = Outcome | RemoteReadError
#: How often a quiet cluster is asked whether it is still there.
_POLL_SECONDS: Final = 2.0


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a stage is; `skipped` of the `done` were done by an earlier run.

    `eta_seconds` is the time left by the speed of this run's tasks alone, None before the first of them;
    `peak_bytes` is the most memory a worker of the stage has held so far.
    """

    stage: str
    done: int
    total: int
    skipped: int
    eta_seconds: float | None = None
    peak_bytes: int = 0


class Engine:
    """Runs tasks on a Dask cluster that is started when the first one is needed.

    Parameters
    ----------
    scheduler : str, optional
        Address of an existing cluster, tcp://…; its workers must see the same paths, or the same
        S3-compatible storage. Without it, and without DASK_SCHEDULER_ADDRESS, a LocalCluster of processes
        is started.
    workers : int, optional
        Processes of the local cluster; by default all cores, or fewer where memory holds fewer blocks.
        0 runs everything in this process.
    on_progress : callable, optional
        Told after each task.
    on_dashboard : callable, optional
        Told the address of the Dask dashboard when a cluster is there.
    log : RunLog, Folder or Path, optional
        Where events are logged: a log, or the work folder it is to be in.
    worker_timeout : float
        Seconds a cluster may be without any worker before the run is given up.

    Attributes
    ----------
    dashboard : str or None
        Address of the Dask dashboard, while a cluster is there.
    peaks : dict of str to int
        Of each stage, the most bytes of memory one of its workers held at once.
    hold : Hold or None
        The lock under which the run writes: checked before each task is given out, and by whoever does one.
    """

    def __init__(
        self,
        *,
        scheduler: str | None = None,
        workers: int | None = None,
        on_progress: Callable[[Progress], None] | None = None,
        on_dashboard: Callable[[str], None] | None = None,
        log: RunLog | Folder | Path | None = None,
        worker_timeout: float = 120.0,
    ) -> None:
        self.scheduler = scheduler or os.environ.get("DASK_SCHEDULER_ADDRESS") or None
        self.workers = workers
        self.tell = on_progress or (lambda _: None)
        self.dashboard: str | None = None
        self.peaks: dict[str, int] = {}
        self.hold: Hold | None = None
        self._on_dashboard = on_dashboard or (lambda _: None)
        self._log = log
        self._worker_timeout = worker_timeout
        self._stack = ExitStack()
        self._client: Any = None
        self._threads = 0
        self._most = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._client, self.dashboard = None, None
        self._stack.close()

    def run(self, stage: str, tasks: Sequence[Task], *, task_bytes: int = 0) -> list[Result]:
        """Do the tasks that are not done, and return the results of all, in the order of `tasks`.

        Raises
        ------
        EngineError
            A task failed, lost its worker again and again, or needs more than a worker has (`task_bytes`); or
            the cluster is gone. The tasks done before it stay done.
        RemoteReadError
            Rasters could not be read any more at their source; raised when all other tasks are done.
        DiskFullError
            There was no room for what a task writes.
        """
        results = done_results(tasks)
        skipped = len(results)
        todo = [(number, task) for number, task in enumerate(tasks) if number not in results]
        self.tell(Progress(stage, skipped, len(tasks), skipped))
        if not todo:
            return [results[number] for number in range(len(tasks))]
        with self._logged(stage, len(tasks), skipped, task_bytes):
            if self.workers == 0:
                source = self._in_process(todo)
            else:
                source = self._on_cluster(self._connect(len(todo), task_bytes), todo)
            pace = _Pace(sum(task.weight for _, task in todo))
            unread: dict[str, str] = {}
            for number, outcome in source:
                task = tasks[number]
                if isinstance(outcome, RemoteReadError):
                    unread |= outcome.reasons
                    continue
                results[number] = outcome.result
                self.peaks[stage] = max(self.peaks.get(stage, 0), outcome.peak_bytes)
                pace.add(task.weight)
                self.note(
                    "task",
                    stage=stage,
                    tile=task.tile,
                    block=task.block,
                    seconds=outcome.seconds,
                    worker=outcome.worker,
                    peak_bytes=outcome.peak_bytes,
                    skipped=False,
                )
                progress = Progress(stage, len(results), len(tasks), skipped, pace.eta(), self.peaks[stage])
                self.tell(progress)
            if unread:
                raise RemoteReadError(unread)
        return [results[number] for number in range(len(tasks))]

    def note(self, event: str, **facts: Any) -> None:
        """Write an event to the log, if there is one."""
        if self._log is None:
            return
        if not isinstance(self._log, RunLog):
            self._log = self._stack.enter_context(RunLog(self._log))
        self._log.write(event, **facts)

    @contextmanager
    def _logged(self, stage: str, total: int, skipped: int, task_bytes: int) -> Iterator[None]:
        self.note("stage", stage=stage, total=total, skipped=skipped, planned_bytes=task_bytes or None)
        started = time.perf_counter()
        try:
            yield
        except KeyboardInterrupt:
            self.note("interrupted", level="warning", stage=stage)
            raise
        except EOPipelineError as error:
            self.note("failed", level="error", stage=stage, message=str(error))
            raise
        seconds = round(time.perf_counter() - started, 3)
        self.note("stage_done", stage=stage, seconds=seconds, peak_bytes=self.peaks.get(stage))

    def _in_process(self, todo: Sequence[tuple[int, Task]]) -> Iterator[tuple[int, _Ended]]:
        for number, task in todo:
            self._check_hold()
            ended: _Ended
            try:
                ended = execute(task, fence=self._fence)
            except RemoteReadError as error:
                ended = error
            except EOPipelineError:
                raise
            except Exception as error:
                raise _failure(task, error) from error
            yield number, ended

    def _check_hold(self) -> None:
        if self.hold is not None:
            self.hold.check()

    @property
    def _fence(self) -> Fence | None:
        return None if self.hold is None else self.hold.fence

    # ---- on a cluster -----------------------------------------------------------------------------------
    def _on_cluster(self, client: Any, todo: Sequence[tuple[int, Task]]) -> Iterator[tuple[int, _Ended]]:
        with self._conditions([task for _, task in todo]) as conditions:
            flights = Flights(client, conditions, self._fence, deque(todo))
            asked = time.monotonic()
            seen = asked
            try:
                while flights.left:
                    self._check_hold()
                    flights.fill(max(1, self._threads))
                    landed = flights.landed(_POLL_SECONDS)
                    now = time.monotonic()
                    if now - asked > _POLL_SECONDS:
                        self._ask(client)
                        asked = now
                        seen = now if self._threads or landed else seen
                        if now - seen > self._worker_timeout:
                            raise self._no_worker()
                    for flight, outcome in landed:
                        if isinstance(outcome, _Ended):
                            yield flight.number, outcome
                        else:
                            self._mourn(flights, flight, outcome)
            finally:
                flights.cancel()

    def _mourn(self, flights: Flights, flight: Flight, error: BaseException) -> None:
        """Give a task whose worker died another chance, or say why the run ends."""
        from dask.distributed import CancelledError, KilledWorker

        task = flight.task
        if isinstance(error, WorkerLeftError):
            flights.died(flight, 1)
            return
        if isinstance(error, KilledWorker):
            deaths = flights.died(flight, error.allowed_failures + 1)
            self.note(
                "worker_died",
                level="warning",
                stage=task.stage,
                tile=task.tile,
                block=task.block,
                worker=getattr(error.last_worker, "address", None),
                deaths=deaths,
            )
            if flight.alone and deaths >= DEATHS:
                raise _failure(task, error, deaths) from error
            return
        if isinstance(error, CancelledError | OSError) and not isinstance(error, EOPipelineError):
            self._ask(flights.client)  # raises where the scheduler is gone
        if isinstance(error, CancelledError):
            raise self._lost(error) from error
        if isinstance(error, EOPipelineError):
            raise error
        raise _failure(task, error) from error

    def _connect(self, tasks: int, task_bytes: int) -> Any:
        if self.scheduler is None:
            if self._client is None:
                self._most = fitting_workers(self.workers, task_bytes)
                # idle processes cost memory; a later stage with more tasks gets the others
                start = self._most if self.workers else min(self._most, tasks)
                self._start(open_local(self._stack, self._most, start, task_bytes), start)
            elif self._threads < min(self._most, tasks):
                self._threads = min(self._most, tasks)
                self._client.cluster.scale(self._threads)
        elif self._client is None:
            client = open_remote(self._stack, self.scheduler)
            self._start(client, threads_of(client))
        if task_bytes:
            require_memory(self._client, task_bytes)
        return self._client

    def _start(self, client: Any, threads: int) -> None:
        self._client, self._threads, self.dashboard = client, threads, client.dashboard_link
        self.note("cluster", scheduler=self.scheduler or "local", threads=threads, dashboard=self.dashboard)
        if self.dashboard:
            self._on_dashboard(self.dashboard)

    def _ask(self, client: Any) -> None:
        """Ask the scheduler how many tasks its workers can do; workers come and go."""
        try:
            if client.status != "running":
                raise self._lost(None)
            self._threads = threads_of(client)
        except (OSError, TimeoutError, RuntimeError) as error:
            raise self._lost(error) from error

    @contextmanager
    def _conditions(self, tasks: Sequence[Task]) -> Iterator[Conditions]:
        """What workers of a cluster that is not ours must find; a file only the right folder holds."""
        if self.scheduler is None:
            yield Conditions()
            return
        folder = shared_folder(tasks)
        if folder is None:
            yield Conditions(code_digest())
            return
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / f".seen-{secrets.token_hex(4)}.partial"  # swept like any file of a killed run
        probe.touch()
        try:
            yield Conditions(code_digest(), str(probe))
        finally:
            probe.unlink(missing_ok=True)

    def _lost(self, error: BaseException | None) -> EngineError:
        where = f"The Dask scheduler {self.scheduler}" if self.scheduler else "The local Dask cluster"
        return EngineError(
            f"{where} was lost or started anew in mid-run{f' ({error})' if error else ''}. Everything done "
            "so far is kept: when it runs again, run the same command again to continue."
        )

    def _no_worker(self) -> EngineError:
        where = f"the Dask scheduler {self.scheduler}" if self.scheduler else "the local Dask cluster"
        return EngineError(
            f"No worker is left on {where} since {self._worker_timeout:.0f} s. Everything done so far is "
            "kept: start workers (`dask worker …`) and run the same command again to continue."
        )


class _Pace:
    """The speed of this run's tasks, and the time left at that speed."""

    def __init__(self, weight: float) -> None:
        self._left = weight
        self._done = 0.0
        self._started = time.monotonic()

    def add(self, weight: float) -> None:
        """Count a task as done."""
        self._done += weight
        self._left -= weight

    def eta(self) -> float:
        """Seconds left."""
        return (time.monotonic() - self._started) * max(0.0, self._left) / max(self._done, 1e-9)


def _failure(task: Task, error: BaseException, deaths: int = 0) -> EOPipelineError:
    if is_full(error):
        where = f"{task.stage}, tile {task.tile}, block {task.block}"
        return disk_full(place(task.marker).local_path, f"{error}; stage {where}")
    reason = f"{type(error).__name__}: {error}"
    if deaths:
        reason = (
            f"{deaths} workers were killed by it, most often for want of memory; try --workers 1 or a "
            "smaller --block"
        )
    return EngineError(
        f"Stage {task.stage}, tile {task.tile}, block {task.block} failed ({reason}). "
        "Everything done so far is kept: run the same command again to continue."
    )
