"""Tasks for tests of the engine, in a module that workers on any cluster can import; and a run as a process.

`python engine_tasks.py ROOT COUNT WORKERS` does `work_tasks` under the lock of ROOT, after it said "go".
"""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from eo_pipeline.engine import Engine, Task, digest_of, write_atomic
from eo_pipeline.errors import EngineError
from eo_pipeline.storage import Folder
from eo_pipeline.worklock import locked


def work(*, root: Path, value: int, seconds: float = 0.0) -> dict[str, Any]:
    """Write a block's file and note the execution."""
    values = np.random.default_rng(value).integers(0, 255, 20_000, dtype=np.uint8)
    time.sleep(seconds)
    write_atomic(root / "out" / f"b{value}.bin", values.tobytes())
    with (root / "calls").open("a") as stream:
        stream.write(f"{value}\n")
    return {"sum": int(values.sum())}


def kill_worker_once(*, root: Path, value: int) -> dict[str, Any]:
    """Kill the worker the first time block 3 is done."""
    if value == 3 and not (root / "killed").exists():
        (root / "killed").touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return work(root=root, value=value)


def kill_worker_always(*, root: Path, value: int) -> dict[str, Any]:
    """Kill each worker that is given block 3."""
    if value == 3:
        with (root / "deaths").open("a") as stream:
            stream.write("x")
        os.kill(os.getpid(), signal.SIGKILL)
    return work(root=root, value=value)


def write_late(*, root: Path, text: str, wait: bool) -> dict[str, Any]:
    """Write a text, at once or when `root/go` is there; note in `root/refused` if it may not."""
    (root / f"begun-{text}").touch()
    while wait and not (root / "go").exists():
        time.sleep(0.01)
    try:
        write_atomic(root / "text", text.encode())
    except EngineError as error:
        (root / "refused").write_text(str(error))
        raise
    return {"text": text}


def late_task(root: Path, text: str, *, wait: bool) -> Task:
    """One block's task, of a season file that says `text`."""
    arguments = {"root": root, "text": text, "wait": wait}
    return Task("stage", "t", "b", digest_of(text), root / "tasks/b.json", write_late, arguments)


def allocate(*, megabytes: int) -> dict[str, Any]:
    """Hold memory for a moment."""
    return {"sum": int(np.ones(megabytes * 1_000_000, dtype=np.uint8)[::4096].sum())}


def environment(*, names: list[str]) -> dict[str, Any]:
    """The worker's variables and numba's threads."""
    import numba

    found: dict[str, Any] = {name: os.environ.get(name) for name in names}
    return found | {"numba": numba.get_num_threads()}


def square(*, value: int) -> dict[str, Any]:
    """No files at all."""
    return {"square": value * value}


def work_tasks(
    root: Path, count: int, function: Any = work, *, markers: Path | Folder | None = None, **more: Any
) -> list[Task]:
    """Tasks that write `root/out/b….bin`; their keys do not change with the source being worked on."""
    place = markers if markers is not None else root / "tasks"
    return [
        Task(
            "stage",
            "t",
            f"b{value}",
            digest_of("stage", value),
            place / f"b{value}.json",
            function,
            {"root": root, "value": value, **more},
        )
        for value in range(count)
    ]


def files(root: Path) -> dict[str, bytes]:
    """What the tasks wrote."""
    return {path.name: path.read_bytes() for path in (root / "out").iterdir()}


def calls(root: Path) -> list[int]:
    """Every execution, in order."""
    path = root / "calls"
    return [int(line) for line in path.read_text().split()] if path.exists() else []


if __name__ == "__main__":
    here, number, processes = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    with locked(here), Engine(workers=processes, log=here) as engine:
        if processes:
            engine.run("warm", [Task("warm", "t", "w", "k", here / "w.json", square, {"value": 2})])
        print("go", flush=True)
        engine.run("stage", work_tasks(here, number, seconds=0.01))
    print("done", flush=True)
