"""The block engine: one Dask task a block and stage, skipped where it was done before.

A task is addressed by where it writes (stage, tile, block) and by a key: a hash of its inputs, parameters,
the program's own source and the keys of the tasks it builds on. Its marker, a small JSON file, is removed
before the task writes and put back, atomically, after. So a run killed at any moment continues where it
stopped, and a block written for other parameters is never taken for done.
"""

from __future__ import annotations

import fcntl
import functools
import hashlib
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final, Self

from eo_pipeline.errors import EngineError, EOPipelineError
from eo_pipeline.memory import malloc_settings

#: Packages whose source decides what a task writes.
_CODE: Final = ("acquire", "cube", "products", "scenes", "grid.py")

Result = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Task:
    """One call of `function(**arguments)` for one block; `function` is importable and returns JSON-able
    facts.
    """

    stage: str
    tile: str
    block: str
    key: str
    marker: Path
    function: Callable[..., Result]
    arguments: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a stage is; `skipped` of the `done` were done by an earlier run."""

    stage: str
    done: int
    total: int
    skipped: int


@functools.cache
def code_digest() -> str:
    """Hash of the source that decides what tasks write: another program version does its tasks anew."""
    import models

    here = Path(__file__).parent
    digest = hashlib.sha256()
    for root in (*(here / name for name in _CODE), Path(str(models.__file__)).parent):
        found = (
            [path for path in root.rglob("*") if path.suffix in (".py", ".csv")] if root.is_dir() else [root]
        )
        for path in sorted(found):
            digest.update(path.name.encode())
            digest.update(path.read_bytes())
    return digest.hexdigest()


def digest_of(*parts: object) -> str:
    """SHA-256 of anything JSON can hold; dates and paths by their text."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()


def task_key(stage: str, *parts: object) -> str:
    """The key of a task: its stage, the program's source, and everything its result depends on."""
    return digest_of(stage, code_digest(), *parts)


def write_atomic(path: Path, content: bytes) -> None:
    """Write a file so that a reader sees the old or the new one whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    partial.write_bytes(content)
    partial.replace(path)


def done_result(marker: Path, key: str) -> Result | None:
    """The result a marker holds, if it is of this very key."""
    try:
        document = json.loads(marker.read_bytes())
    except (OSError, ValueError):
        return None
    return document["result"] if document.get("key") == key else None


def execute(task: Task) -> Result:
    """Do one task and mark it done. Runs in a worker."""
    task.marker.unlink(missing_ok=True)
    started = time.perf_counter()
    result = task.function(**task.arguments)
    document = {"key": task.key, "seconds": round(time.perf_counter() - started, 3), "result": result}
    write_atomic(task.marker, json.dumps(document).encode())
    return result


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold a work folder alone; a second run of the same season is refused instead of mixed in."""
    folder.mkdir(parents=True, exist_ok=True)
    stream: IO[str]
    with (folder / "lock").open("w") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise EngineError(
                f"{folder} is in use by another `eo` command for the same season. Wait until it ends, or "
                "stop it."
            ) from None
        yield


def available_memory() -> int:
    """Bytes this machine can still give, as Linux estimates it."""
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return 4 * 1024**3


class Engine:
    """Runs tasks on a Dask cluster that is started when the first one is needed.

    Parameters
    ----------
    scheduler : str, optional
        Address of an existing cluster, tcp://…; its workers must see the same paths. Without it, and without
        DASK_SCHEDULER_ADDRESS, a LocalCluster of processes is started.
    workers : int, optional
        Processes of the local cluster; all cores by default. 0 runs everything in this process.
    on_progress : callable, optional
        Told after each task.
    """

    def __init__(
        self,
        *,
        scheduler: str | None = None,
        workers: int | None = None,
        on_progress: Callable[[Progress], None] | None = None,
    ) -> None:
        self.scheduler = scheduler or os.environ.get("DASK_SCHEDULER_ADDRESS") or None
        self.workers = workers
        self.tell = on_progress or (lambda _: None)
        self._stack = ExitStack()
        self._client: Any = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()
        self._client = None

    def run(self, stage: str, tasks: Sequence[Task], *, task_bytes: int = 0) -> list[Result]:
        """Do the tasks that are not done, and return the results of all, in the order of `tasks`.

        Raises
        ------
        EngineError
            A task failed, or needs more than a worker has (`task_bytes`). The tasks done before it stay done.
        """
        results: dict[int, Result] = {}
        for number, task in enumerate(tasks):
            if (result := done_result(task.marker, task.key)) is not None:
                results[number] = result
        skipped = len(results)
        todo = [(number, task) for number, task in enumerate(tasks) if number not in results]
        self.tell(Progress(stage, skipped, len(tasks), skipped))
        source = self._in_process(todo) if self.workers == 0 else self._on_cluster(todo, task_bytes)
        for number, result in source:
            # through JSON, as a skipped task's result comes: a run and its repetition see the same types
            results[number] = json.loads(json.dumps(result))
            self.tell(Progress(stage, len(results), len(tasks), skipped))
        return [results[number] for number in range(len(tasks))]

    def _in_process(self, todo: Sequence[tuple[int, Task]]) -> Iterator[tuple[int, Result]]:
        for number, task in todo:
            try:
                yield number, execute(task)
            except EOPipelineError:
                raise
            except Exception as error:
                raise _failure(task, error) from error

    def _on_cluster(self, todo: Sequence[tuple[int, Task]], task_bytes: int) -> Iterator[tuple[int, Result]]:
        if not todo:
            return
        from dask.distributed import as_completed

        client = self._connect(len(todo), task_bytes)
        waiting = list(reversed(todo))
        running: dict[str, tuple[int, Task]] = {}

        def submit() -> Any:
            number, task = waiting.pop()
            # a key of its own each time: the marker decides what is done, not the scheduler's memory
            future = client.submit(
                execute, task, key=f"{task.stage}-{task.tile}-{task.block}-{os.urandom(4).hex()}", retries=0
            )
            running[future.key] = (number, task)
            return future

        ahead = 2 * max(1, len(client.scheduler_info(n_workers=-1)["workers"])) + 2
        arriving = as_completed([submit() for _ in range(min(ahead, len(waiting)))])
        try:
            for future in arriving:
                number, task = running.pop(future.key)
                if future.status == "error":
                    error = future.exception()
                    if isinstance(error, EOPipelineError):
                        raise error
                    raise _failure(task, error) from error
                result = future.result()
                future.release()
                if waiting:
                    arriving.add(submit())
                yield number, result
        finally:
            if running:
                client.cancel(list(running), force=True)

    def _connect(self, tasks: int, task_bytes: int) -> Any:
        if self._client is not None:
            return self._client
        import logging

        import dask
        from dask.distributed import Client, LocalCluster

        if self.scheduler:
            try:
                self._client = self._stack.enter_context(Client(self.scheduler, timeout="15s"))
                if not self._client.scheduler_info(n_workers=-1)["workers"]:
                    self._client.wait_for_workers(1, timeout=15)
            except (OSError, TimeoutError, ValueError) as error:
                raise EngineError(
                    f"The Dask scheduler {self.scheduler} does not answer or has no worker ({error}). "
                    "Start it (`dask scheduler`, `dask worker …`), or leave --scheduler out to use this "
                    "machine."
                ) from error
            return self._client
        count = max(1, min(self.workers or os.cpu_count() or 1, tasks if not self.workers else self.workers))
        limit = int(available_memory() * 0.9 / count)
        if task_bytes > limit:
            fits = max(1, int(available_memory() * 0.9 / task_bytes))
            raise EngineError(
                f"A block needs {task_bytes / 1e9:.1f} GB, but each of {count} workers has "
                f"{limit / 1e9:.1f} GB. "
                f"Run with --workers {fits} or with a smaller --block."
            )
        dask.config.set(
            {
                "distributed.worker.memory.spill": False,
                "distributed.worker.memory.target": False,
            }
            | {f"distributed.nanny.pre-spawn-environ.{name}": v for name, v in malloc_settings().items()}
        )
        cluster = self._stack.enter_context(
            LocalCluster(
                n_workers=count,
                threads_per_worker=1,
                processes=True,
                memory_limit=limit,
                dashboard_address="127.0.0.1:0",  # any free port; 8787 may be taken
                host="127.0.0.1",
                silence_logs=logging.CRITICAL,
            )
        )
        self._client = self._stack.enter_context(Client(cluster))
        return self._client


def _failure(task: Task, error: BaseException | None) -> EngineError:
    reason = f"{type(error).__name__}: {error}"
    if type(error).__name__ == "KilledWorker":
        reason = "its worker was killed, most often for want of memory; try --workers 1 or a smaller --block"
    return EngineError(
        f"Stage {task.stage}, tile {task.tile}, block {task.block} failed ({reason}). "
        "Everything done so far is kept: run the same command again to continue."
    )
