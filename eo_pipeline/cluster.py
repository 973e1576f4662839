"""The Dask cluster behind the engine: processes of this machine, or a scheduler that is already there."""

from __future__ import annotations

import logging
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

from eo_pipeline.errors import EngineError
from eo_pipeline.memory import malloc_settings

#: A worker is one process with one thread: with as many workers as cores, a library that starts threads of
#: its own in each would only make them wait for one another.
SINGLE_THREAD: Final = dict.fromkeys(
    (
        "OMP_NUM_THREADS",
        "OPENBLAS_NUM_THREADS",
        "MKL_NUM_THREADS",
        "NUMEXPR_NUM_THREADS",
        "NUMBA_NUM_THREADS",
        "GDAL_NUM_THREADS",
        "BLOSC_NTHREADS",
        "RAYON_NUM_THREADS",
    ),
    "1",
)
#: Share of the free memory that workers are given.
_SHARE: Final = 0.9


def available_memory() -> int:
    """Bytes this machine can still give, as Linux estimates it; not more than a container's limit leaves."""
    free = 4 * 1024**3
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable:"):
            free = int(line.split()[1]) * 1024
    group = Path("/sys/fs/cgroup")
    try:
        limit = int((group / "memory.max").read_text())  # "max" where there is none
        used = int((group / "memory.current").read_text())
        for line in (group / "memory.stat").read_text().splitlines():
            if line.startswith("inactive_file "):
                used -= int(line.split()[1])  # given back at need
    except (OSError, ValueError):
        return free
    return max(0, min(free, limit - used))


def fitting_workers(asked: int | None, task_bytes: int) -> int:
    """Worker processes for this machine: as asked, else a core each, but not more than memory holds.

    Raises
    ------
    EngineError
        Not even one has the memory for a block, or not as many as asked for.
    """
    from dask.system import CPU_COUNT

    memory = int(available_memory() * _SHARE)
    fits = memory // task_bytes if task_bytes else CPU_COUNT
    count = asked or max(1, min(int(CPU_COUNT), fits))
    if task_bytes * count > memory:
        cure = f"--workers {fits} or with a smaller --block" if fits else "a smaller --block"
        raise EngineError(
            f"A block needs {task_bytes / 1e9:.1f} GB, but each of {count} workers has "
            f"{memory / count / 1e9:.1f} GB. Run with {cure}."
        )
    return count


def open_local(stack: ExitStack, workers: int, start: int, task_bytes: int) -> Any:
    """A client of a new cluster of single-threaded processes; it ends with `stack`.

    `start` of the `workers` are started, the others when `client.cluster.scale` asks for them; each has its
    share of the memory from the beginning, and what `fitting_workers` found for a block at least: this
    process has grown since.

    Raises
    ------
    EngineError
        A process ended before it was ready.
    """
    import dask
    from dask.distributed import Client, LocalCluster

    environment = malloc_settings() | SINGLE_THREAD
    # stays set while the cluster lives: a worker that died is started again with it
    stack.enter_context(
        dask.config.set(
            {
                "distributed.worker.memory.spill": False,
                "distributed.worker.memory.target": False,
                # the engine itself decides how often a task may lose its worker
                "distributed.scheduler.allowed-failures": 0,
            }
            | {f"distributed.nanny.pre-spawn-environ.{name}": value for name, value in environment.items()}
        )
    )
    try:
        cluster = LocalCluster(
            n_workers=start,
            threads_per_worker=1,
            processes=True,
            memory_limit=max(int(available_memory() * _SHARE / workers), task_bytes),
            dashboard_address="127.0.0.1:0",  # any free port; 8787 may be taken
            host="127.0.0.1",
            silence_logs=logging.CRITICAL,
        )
    except RuntimeError as error:
        raise EngineError(
            f"The worker processes of this machine did not start ({error.__cause__ or error}). Run the same "
            "command again, with fewer --workers if memory is short."
        ) from error
    stack.enter_context(cluster)
    return stack.enter_context(Client(cluster))


def open_remote(stack: ExitStack, address: str) -> Any:
    """A client of a running scheduler with at least one worker; it ends with `stack`.

    Raises
    ------
    EngineError
        It does not answer, or has no worker.
    """
    from dask.distributed import Client

    log = logging.getLogger("distributed.client")
    stack.callback(log.setLevel, log.level)
    log.setLevel(logging.CRITICAL)  # a lost scheduler is told once, as an error of the engine
    try:
        client = stack.enter_context(Client(address, timeout="15s"))
        if not threads_of(client):
            client.wait_for_workers(1, timeout=15)
    except (OSError, TimeoutError, ValueError) as error:
        raise EngineError(
            f"The Dask scheduler {address} does not answer or has no worker ({error}). "
            "Start it (`dask scheduler`, `dask worker …`), or leave --scheduler out to use this machine."
        ) from error
    return client


def require_memory(client: Any, task_bytes: int) -> None:
    """Make sure that every worker of a running cluster has the memory for a block.

    Raises
    ------
    EngineError
        One has not.
    """
    for address, worker in client.scheduler_info(n_workers=-1)["workers"].items():
        has = (worker.get("memory_limit") or 0) / max(1, worker["nthreads"])
        if 0 < has < task_bytes:
            raise EngineError(
                f"A block needs {task_bytes / 1e9:.1f} GB, but worker {address} has {has / 1e9:.1f} GB a "
                "thread. Start it with --nthreads 1 and a higher --memory-limit, or run with a smaller "
                "--block."
            )


def threads_of(client: Any) -> int:
    """Tasks the workers can do at once, now."""
    workers = client.scheduler_info(n_workers=-1)["workers"]
    return sum(worker["nthreads"] for worker in workers.values())
