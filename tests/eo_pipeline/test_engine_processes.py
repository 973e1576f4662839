"""The engine with real processes: workers that die, runs that are killed, and what is told meanwhile."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from engine_tasks import (
    allocate,
    calls,
    environment,
    files,
    kill_worker_always,
    kill_worker_once,
    work_tasks,
)

from eo_pipeline.cluster import SINGLE_THREAD, available_memory, fitting_workers
from eo_pipeline.engine import Engine, Progress, Task, done_results
from eo_pipeline.errors import EngineError
from eo_pipeline.runlog import LOG, read_log

pytestmark = pytest.mark.slow
SCRIPT = Path(__file__).with_name("engine_tasks.py")


@pytest.fixture(scope="module")
def log_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("log")


@pytest.fixture(scope="module")
def told() -> list[str | Progress]:
    return []


@pytest.fixture(scope="module")
def engine(log_folder: Path, told: list[str | Progress]) -> Iterator[Engine]:
    """Two workers that all tests of this module share, dead or replaced."""
    with Engine(workers=2, log=log_folder, on_progress=told.append, on_dashboard=told.append) as one:
        yield one


@pytest.fixture(scope="module")
def right(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The files of a run that nothing disturbed."""
    root = tmp_path_factory.mktemp("right")
    with Engine(workers=0) as one:
        one.run("stage", work_tasks(root, 40))
    return files(root)


def test_a_task_whose_worker_dies_is_done_again(
    engine: Engine, log_folder: Path, tmp_path: Path, right: dict[str, bytes]
) -> None:
    results = engine.run("stage", work_tasks(tmp_path, 12, kill_worker_once))
    assert (tmp_path / "killed").exists()
    expected = [int(np.frombuffer(right[f"b{value}.bin"], np.uint8).sum()) for value in range(12)]
    assert [result["sum"] for result in results] == expected
    assert files(tmp_path) == {f"b{value}.bin": right[f"b{value}.bin"] for value in range(12)}
    counted = Counter(calls(tmp_path))
    assert sorted(counted) == list(range(12)) and counted[3] == 1
    died = [event for event in read_log(log_folder) if event["event"] == "worker_died"]
    assert "b3" in {event["block"] for event in died}
    assert {event["level"] for event in died} == {"warning"}


def test_a_task_that_takes_every_worker_with_it_is_told_by_its_name(engine: Engine, tmp_path: Path) -> None:
    with pytest.raises(EngineError) as error:
        engine.run("stage", work_tasks(tmp_path, 12, kill_worker_always))
    assert "tile t, block b3 failed (3 workers were killed by it" in str(error.value)
    assert "smaller --block" in str(error.value)
    assert (tmp_path / "deaths").read_text() == "xxx"
    # those that had nothing to do with it are done, and kept; a neighbour may be suspected as well
    done = done_results(work_tasks(tmp_path, 12))
    assert 3 not in done and len(done) >= 8
    engine.run("stage", work_tasks(tmp_path, 12))
    assert Counter(calls(tmp_path))[3] == 1 and len(files(tmp_path)) == 12


def test_the_log_tells_every_task_and_the_memory_it_took(
    engine: Engine, log_folder: Path, tmp_path: Path, told: list[str | Progress]
) -> None:
    # one after the other, so that both may be done by the same worker
    for name, megabytes in (("large", 300), ("small", 1), ("small2", 1)):
        task = Task("memory", "t", name, "k", tmp_path / name, allocate, {"megabytes": megabytes})
        engine.run("memory", [task], task_bytes=300_000_000)
    lines = [json.loads(line) for line in (log_folder / LOG).read_text().splitlines()]
    mine = [line for line in lines if line.get("stage") == "memory"]
    assert [line["event"] for line in mine] == ["stage", "task", "stage_done"] * 3
    assert mine[0]["planned_bytes"] == 300_000_000 and mine[0]["skipped"] == 0
    large, small, small2 = (line for line in mine if line["event"] == "task")
    assert {"time", "level", "tile", "block", "seconds", "worker", "skipped"} <= set(large)
    assert 300_000_000 < large["peak_bytes"] < 600_000_000
    # the peak is the task's own, not that of the worker's life
    assert max(small["peak_bytes"], small2["peak_bytes"]) < 300_000_000
    assert engine.peaks["memory"] == large["peak_bytes"]
    progress = [item for item in told if isinstance(item, Progress) and item.stage == "memory"]
    assert progress[1].peak_bytes == large["peak_bytes"]


def test_a_worker_has_one_thread(engine: Engine, tmp_path: Path) -> None:
    task = Task("env", "t", "b", "k", tmp_path / "m", environment, {"names": list(SINGLE_THREAD)})
    (found,) = engine.run("env", [task])
    assert found == {**dict.fromkeys(SINGLE_THREAD, "1"), "numba": 1}


def test_the_dashboard_is_told_and_answers(
    engine: Engine, tmp_path: Path, told: list[str | Progress]
) -> None:
    engine.run("stage", work_tasks(tmp_path, 1))
    assert engine.dashboard is not None and engine.dashboard in told
    with urllib.request.urlopen(engine.dashboard, timeout=30) as answer:
        assert answer.status == 200 and b"Dask" in answer.read()


def test_workers_are_as_many_as_memory_holds() -> None:
    gigabyte = 10**9
    assert fitting_workers(None, int(available_memory() * 0.8)) == 1
    assert fitting_workers(3, gigabyte // 100) == 3
    with pytest.raises(EngineError, match=r"Run with --workers 1 or with a smaller --block"):
        fitting_workers(2, int(available_memory() * 0.6))
    with pytest.raises(EngineError, match=r"Run with a smaller --block"):
        fitting_workers(None, 10**15)


def test_memory_that_shrinks_while_workers_start_is_no_reason_to_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # what importing Dask takes is gone when the workers are given their share
    free = iter((2_000_000_000, 1_900_000_000))
    monkeypatch.setattr("eo_pipeline.cluster.available_memory", lambda: next(free))
    with Engine() as engine:
        engine.run("stage", work_tasks(tmp_path, 1), task_bytes=1_750_000_000)
    assert calls(tmp_path) == [0]


def test_workers_that_end_before_they_are_ready_are_told(tmp_path: Path) -> None:
    import dask

    script = tmp_path / "ending.py"
    script.write_text("import os\nos._exit(1)\n")
    with (
        dask.config.set({"distributed.worker.preload": [str(script)]}),
        Engine(workers=1) as one,
        pytest.raises(EngineError, match=r"did not start .*Run the same command again, with fewer --workers"),
    ):
        one.run("stage", work_tasks(tmp_path, 2))
    assert calls(tmp_path) == []


# ---- the coordinating process is killed -----------------------------------------
def start(root: Path, count: int, workers: int) -> subprocess.Popen[bytes]:
    process = subprocess.Popen(
        # what a shell starts in its background inherits that Ctrl-C is ignored
        ["env", "--default-signal=INT", sys.executable, str(SCRIPT), str(root), str(count), str(workers)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    assert process.stdout is not None and process.stderr is not None
    said = process.stdout.readline()
    assert said == b"go\n", process.stderr.read().decode()
    return process


def end(process: subprocess.Popen[bytes]) -> str:
    process.wait(timeout=60)
    assert process.stdout is not None and process.stderr is not None
    text = (process.stdout.read() + process.stderr.read()).decode()
    process.stdout.close()
    process.stderr.close()
    return text


def finished(root: Path, count: int) -> set[int]:
    return set(done_results(work_tasks(root, count)))


def test_a_run_killed_at_twenty_moments_ends_with_the_same_bytes(
    tmp_path: Path, right: dict[str, bytes]
) -> None:
    rng = np.random.default_rng(20)
    kills, kept = 0, Counter[int]()
    for moment in rng.uniform(0, 0.06, 20):
        process = start(tmp_path, 40, 0)
        time.sleep(float(moment))
        process.kill()
        kills += process.wait() == -signal.SIGKILL
        end(process)
        counted = Counter(calls(tmp_path))
        # what was done before this start was not done again
        assert {value: counted[value] for value in kept} == kept
        kept = Counter({value: counted[value] for value in finished(tmp_path, 40)})
        assert all(kept.values())
        for name, content in written(tmp_path).items():
            assert content == right[name]  # none is half-written
    assert kills >= 10
    assert end(start(tmp_path, 40, 0)) == "done\n"
    assert written(tmp_path) == right
    assert sum(Counter(calls(tmp_path)).values()) <= 40 + kills  # one task was under way at each kill
    assert all(isinstance(json.loads(line), dict) for line in (tmp_path / LOG).read_text().splitlines())


def test_the_workers_of_a_killed_run_end_with_it(tmp_path: Path, right: dict[str, bytes]) -> None:
    process = start(tmp_path, 40, 2)
    while len(calls(tmp_path)) < 5:
        time.sleep(0.01)
    workers = {int(event["worker"].rpartition(":")[2]) for event in read_log(tmp_path) if "worker" in event}
    assert workers
    process.kill()
    end(process)
    deadline = time.monotonic() + 20
    while any(alive(pid) for pid in workers):
        assert time.monotonic() < deadline, "a worker outlived its run"
        time.sleep(0.05)
    kept = finished(tmp_path, 40)
    assert 3 <= len(kept) <= 40  # all of them on a machine too busy to kill it in time
    with Engine(workers=0) as one:
        one.run("stage", work_tasks(tmp_path, 40, seconds=0.01))
    counted = Counter(calls(tmp_path))
    assert all(counted[value] == 1 for value in kept)
    assert sum(counted.values()) <= 40 + 2
    assert written(tmp_path) == right


def test_an_interrupted_run_keeps_what_is_done(tmp_path: Path) -> None:
    process = start(tmp_path, 400, 2)
    while len(calls(tmp_path)) < 5:
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to the run and to its workers
    text = end(process)
    assert process.returncode == -signal.SIGINT and "KeyboardInterrupt" in text
    assert "done" not in text.split()
    assert 3 <= len(finished(tmp_path, 400)) < 400
    assert read_log(tmp_path)[-1]["event"] == "interrupted"


def test_a_second_run_of_the_same_season_is_refused(tmp_path: Path) -> None:
    process = start(tmp_path, 400, 0)
    second = subprocess.run(
        [sys.executable, str(SCRIPT), str(tmp_path), "400", "0"], capture_output=True, timeout=60, check=False
    )
    process.kill()
    end(process)
    assert second.returncode == 1 and b"in use by another `eo` command" in second.stderr
    assert f":{process.pid}, since 20".encode() in second.stderr
    assert b"go" not in second.stdout
    # a lock ends with its process, however that ended
    again = start(tmp_path, 1, 0)
    assert end(again) == "done\n"


def written(root: Path) -> dict[str, bytes]:
    """The tasks' files, without those a killed writer left under another name."""
    if not (root / "out").exists():
        return {}
    return {name: content for name, content in files(root).items() if not name.endswith(".partial")}


def alive(pid: int) -> bool:
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
