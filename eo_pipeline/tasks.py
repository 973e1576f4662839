"""A task of the block engine: what it is, how it is known to be done, and how a worker does it.

A task is addressed by where it writes (stage, tile, block) and by a key: a hash of its inputs, parameters,
the program's own source and the keys of the tasks it builds on. Its marker, a small JSON file, is removed
before the task writes and put back, atomically, after.
"""

from __future__ import annotations

import fcntl
import functools
import hashlib
import json
import os
import socket
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from eo_pipeline.errors import EngineError
from eo_pipeline.storage import Folder, Place

#: Packages whose source decides what a task writes.
_CODE: Final = ("acquire", "cube", "products", "scenes", "grid.py")

#: The file in a work folder whose lock those share that write.
WRITES: Final = "writes"

Result = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Task:
    """One call of `function(**arguments)` for one block; `function` is importable and returns JSON-able
    facts. `marker` is a path or a `Folder` that names a file; `weight` is the task's share of the stage's
    time, for instance its pixels.
    """

    stage: str
    tile: str
    block: str
    key: str
    marker: Place
    function: Callable[..., Result]
    arguments: Mapping[str, Any]
    weight: float = 1.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """What doing a task gave: its result, its time, who did it, and that process's peak of memory."""

    result: Result
    seconds: float
    worker: str
    peak_bytes: int


@dataclass(frozen=True, slots=True)
class Conditions:
    """What a worker of another host must find before it does a task: the same program, the same files."""

    code: str | None = None
    probe: str | None = None


@dataclass(frozen=True, slots=True)
class Fence:
    """Keeps a task out of the work folder when its run is over: the run's lock, and its `token` in there.

    A run that is killed leaves tasks with the workers of a cluster that lives on. They end what they are
    doing, minutes later perhaps, while the season's next run makes the same block of another season file.
    """

    lock: Folder
    token: str

    @contextmanager
    def held(self) -> Iterator[None]:
        """The time of one write, which a run that takes the folder over waits for; see `worklock.locked`.

        In S3 there is no waiting: a write that has begun may end a moment after the lock has changed hands.

        Raises
        ------
        EngineError
            Another run has taken the folder over.
        """
        if (folder := self.lock.parent.local_path) is None or not folder.is_dir():
            self.check()
            yield
            return
        with (folder / WRITES).open("ab") as stream:
            fcntl.flock(stream, fcntl.LOCK_SH)
            self.check()
            yield

    def check(self) -> None:
        """Make sure the lock holds the token.

        Raises
        ------
        EngineError
            Another run has taken it over.
        """
        try:
            holder = json.loads(read_file(self.lock))["token"]
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            holder = None  # being taken over at this very moment, or given back
        if holder != self.token:
            raise EngineError(
                f"{self.lock.parent} was taken over by a later `eo` command, so this one writes nothing "
                "more. When that one has ended, run the same command again to continue."
            )


#: The fence of the task that this thread does.
_FENCE: ContextVar[Fence | None] = ContextVar("fence", default=None)


@contextmanager
def holding() -> Iterator[None]:
    """While something is written: make sure that the run of this thread's task still holds its folder.

    Raises
    ------
    EngineError
        It does not: see `Fence`.
    """
    fence = _FENCE.get()
    with nullcontext() if fence is None else fence.held():
        yield


# ---- keys ---------------------------------------------------------------------------------------------
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


# ---- markers ------------------------------------------------------------------------------------------
def write_atomic(path: Place, content: bytes) -> None:
    """Write a file so that a reader sees the old or the new one whole.

    Raises
    ------
    EngineError
        It is for a task whose run is over.
    """
    with holding():
        place(path).write(path.name, content)


def read_file(path: Place) -> bytes:
    """What a file holds."""
    return place(path).read(path.name)


def forget(task: Task) -> None:
    """Remove a task's marker, so that it is done again."""
    place(task.marker).delete(task.marker.name)


def done_result(marker: Place, key: str) -> Result | None:
    """The result a marker holds, if it is of this very key."""
    try:
        content = place(marker).read(marker.name)
    except OSError:
        return None
    return _result_in(content, key)


def done_results(tasks: Sequence[Task]) -> dict[int, Result]:
    """Results of those tasks that are done, by their place in `tasks`.

    Looks folder by folder: where nothing was done yet, not one of thousands of markers is opened.
    """
    by_folder: dict[str, list[int]] = defaultdict(list)
    for number, task in enumerate(tasks):
        by_folder[_folder_url(task.marker)].append(number)
    results: dict[int, Result] = {}
    for url, numbers in by_folder.items():
        folder = Folder(url)
        folder.sweep()
        there = set(folder.names())
        wanted = {tasks[number].marker.name for number in numbers} & there
        contents = folder.read_many(wanted)
        for number in numbers:
            content = contents.get(tasks[number].marker.name)
            if content is not None and (found := _result_in(content, tasks[number].key)) is not None:
                results[number] = found
    return results


def place(file: Place) -> Folder:
    """The folder a file lies in."""
    return Folder(_folder_url(file))


def shared_folder(tasks: Iterable[Task]) -> Path | None:
    """The local folder that holds the markers of all tasks; None where one lies in S3."""
    parents = {_folder_url(task.marker) for task in tasks}
    if not parents or any(Folder(url).remote for url in parents):
        return None
    return Path(os.path.commonpath(parents))


def _folder_url(file: Place) -> str:
    return file.parent.url if isinstance(file, Folder) else os.path.abspath(file.parent)  # noqa: PTH100


def _result_in(content: bytes, key: str) -> Result | None:
    try:
        document = json.loads(content)
        if document["key"] != key:
            return None
        result: Result = document["result"]
    except (ValueError, KeyError, TypeError):
        return None
    return result


# ---- doing --------------------------------------------------------------------------------------------
def execute(task: Task, conditions: Conditions | None = None, fence: Fence | None = None) -> Outcome:
    """Do one task and mark it done. Runs in a worker.

    A task that is done already, by its marker, is not done again: a scheduler that lost a finished result
    with its worker asks for it once more.

    Parameters
    ----------
    conditions : Conditions, optional
        Checked first; None where the worker is the process that made the task.
    fence : Fence, optional
        Asked before anything is written; None where no lock is held.

    Raises
    ------
    EngineError
        The worker runs another version of the program, or does not see the same files; or the task's run is
        over.
    """
    if conditions is not None:
        _require(conditions)
        _reset_peak()
    started = time.perf_counter()
    before = _FENCE.set(fence)
    try:
        with holding():
            result = done_result(task.marker, task.key)
            if result is None:
                forget(task)
        if result is None:
            result = task.function(**task.arguments)
            document = {"key": task.key, "seconds": round(time.perf_counter() - started, 3), "result": result}
            write_atomic(task.marker, json.dumps(document).encode())
            # through JSON, as a skipped task's result comes: a run and its repetition see the same types
            result = json.loads(json.dumps(result))
    finally:
        _FENCE.reset(before)
    return Outcome(result, round(time.perf_counter() - started, 3), this_process(), peak_bytes())


@functools.cache
def _require(conditions: Conditions) -> None:
    """Compared once a process; a refusal is not remembered."""
    if conditions.code not in (None, code_digest()):
        raise EngineError(
            f"The worker {this_process()} runs another version of this program than the `eo` command. "
            "Install the same one there and start the worker again."
        )
    if conditions.probe is not None and not Path(conditions.probe).exists():
        raise EngineError(
            f"The worker {this_process()} does not see {Path(conditions.probe).parent}. Give all hosts the "
            "same folder at the same path, or keep the season in storage all can reach (s3://…)."
        )


def this_process() -> str:
    """Host and number of this process."""
    return f"{socket.gethostname()}:{os.getpid()}"


def peak_bytes() -> int:
    """The most memory this process held at once, since `_reset_peak` where the kernel can reset it.

    Not `getrusage`: its maximum begins with the memory of the process that started this one.
    """
    try:
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _reset_peak() -> None:
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:  # not Linux, or not allowed: the peak is that of the process's life
        return
