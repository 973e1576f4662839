"""The engine on a cluster that is already there: real `dask scheduler` and `dask worker` processes."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from dask_hosts import Cluster
from engine_tasks import calls, files, kill_worker_once, late_task, work_tasks

from eo_pipeline.engine import Engine, code_digest, done_results, execute, locked
from eo_pipeline.errors import EngineError
from eo_pipeline.tasks import Conditions

pytestmark = pytest.mark.slow
HERE = Path(__file__).parent


@pytest.fixture(autouse=True)
def _source_as_it_is_now() -> None:
    """Workers read the source when they start; this process read it perhaps minutes before."""
    code_digest.cache_clear()


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    one = Cluster(tmp_path / "cluster", HERE)
    yield one
    one.close()


@pytest.fixture(scope="module")
def right(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, bytes], list[dict[str, int]]]:
    root = tmp_path_factory.mktemp("right")
    with Engine(workers=0) as engine:
        results = engine.run("stage", work_tasks(root, 30))
    return files(root), results


def test_one_and_two_hosts_give_the_same_and_lose_a_worker_unharmed(
    cluster: Cluster, tmp_path: Path, right: tuple[dict[str, bytes], list[dict[str, int]]]
) -> None:
    cluster.worker("one")
    with Engine(scheduler=cluster.address) as engine:
        with pytest.raises(EngineError, match=r"but worker tcp://127\.0\.0\.1:\d+ has [^?]* --memory-limit"):
            engine.run("stage", work_tasks(tmp_path / "one", 30), task_bytes=10**15)
        assert calls(tmp_path / "one") == []
        assert engine.run("stage", work_tasks(tmp_path / "one", 30)) == right[1]
    assert files(tmp_path / "one") == right[0]
    assert sorted(calls(tmp_path / "one")) == list(range(30))
    cluster.worker("two")
    with Engine(scheduler=cluster.address, log=tmp_path) as engine:
        engine._connect(1, 0).wait_for_workers(2, timeout=60)
        assert engine.run("stage", work_tasks(tmp_path / "two", 30, seconds=0.05)) == right[1]
        assert files(tmp_path / "two") == right[0]
        assert sorted(calls(tmp_path / "two")) == list(range(30))
        events = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
        assert len({event["worker"] for event in events if event["event"] == "task"}) == 2
        # a worker of a host is killed in the middle of a task; its nanny starts another
        assert engine.run("stage", work_tasks(tmp_path / "dead", 30, kill_worker_once)) == right[1]
    assert (tmp_path / "dead" / "killed").exists()
    assert files(tmp_path / "dead") == right[0]
    # nothing is left of the file that workers had to see
    assert not list((tmp_path / "two" / "tasks").glob(".*"))


def test_a_scheduler_that_is_killed_in_mid_run(
    cluster: Cluster, tmp_path: Path, right: tuple[dict[str, bytes], list[dict[str, int]]]
) -> None:
    cluster.worker("one")
    root = tmp_path / "data"

    def kill() -> None:
        while len(calls(root)) < 5:
            time.sleep(0.01)
        cluster.scheduler.kill()

    thread = threading.Thread(target=kill)
    thread.start()
    started = time.monotonic()
    with (
        pytest.raises(EngineError) as error,
        Engine(scheduler=cluster.address) as engine,
    ):
        engine.run("stage", work_tasks(root, 30, seconds=0.05))
    thread.join()
    assert f"{cluster.address} was lost or started anew" in str(error.value)
    assert "run the same command again to continue" in str(error.value)
    assert time.monotonic() - started < 60
    cluster.close()
    kept = set(done_results(work_tasks(root, 30)))
    assert 3 <= len(kept) < 30
    code_digest.cache_clear()
    again = Cluster(tmp_path / "again", HERE)
    try:
        again.worker("one")
        with Engine(scheduler=again.address) as engine:
            assert engine.run("stage", work_tasks(root, 30, seconds=0.05)) == right[1]
    finally:
        again.close()
    assert files(root) == right[0]
    counted = Counter(calls(root))
    assert all(counted[value] == 1 for value in kept)


def test_what_a_killed_run_left_with_a_worker_does_not_reach_the_next(
    cluster: Cluster, tmp_path: Path
) -> None:
    root = tmp_path / "data"
    code = """
import sys
from pathlib import Path
from engine_tasks import late_task
from eo_pipeline.engine import Engine, locked
root = Path(sys.argv[1])
with locked(root) as hold, Engine(scheduler=sys.argv[2]) as engine:
    engine.hold = hold
    engine.run("stage", [late_task(root, "old", wait=True)])
"""
    cluster.worker("one")
    first = subprocess.Popen(
        [sys.executable, "-c", code, str(root), cluster.address], env={**os.environ, "PYTHONPATH": str(HERE)}
    )
    await_file(root / "begun-old")
    first.kill()
    first.wait()
    # the worker is still at it when the season's next run makes the same block of another season file
    other = Cluster(tmp_path / "other", HERE)
    try:
        other.worker("two")
        with locked(root) as hold, Engine(scheduler=other.address) as engine:
            engine.hold = hold
            task = late_task(root, "new", wait=False)
            assert engine.run("stage", [task]) == [{"text": "new"}]
            assert not (root / "refused").exists()
            (root / "go").touch()
            await_file(root / "refused")
    finally:
        other.close()
    assert "taken over by a later `eo` command" in (root / "refused").read_text()
    assert (root / "text").read_text() == "new"
    time.sleep(0.5)  # for a marker, if one were to come
    assert done_results([task]) == {0: {"text": "new"}}


def await_file(path: Path) -> None:
    deadline = time.monotonic() + 60
    while not path.exists():
        assert time.monotonic() < deadline, path
        time.sleep(0.02)


def test_a_cluster_whose_workers_all_leave(cluster: Cluster, tmp_path: Path) -> None:
    worker = cluster.worker("one")

    def leave() -> None:
        while len(calls(tmp_path / "data")) < 3:
            time.sleep(0.01)
        worker.send_signal(signal.SIGTERM)

    thread = threading.Thread(target=leave)
    thread.start()
    with (
        pytest.raises(EngineError, match=r"No worker is left on .* since 3 s.*start workers"),
        Engine(scheduler=cluster.address, worker_timeout=3) as engine,
    ):
        engine.run("stage", work_tasks(tmp_path / "data", 200, seconds=0.1))
    thread.join()
    assert len(done_results(work_tasks(tmp_path / "data", 200))) >= 3


def test_a_worker_with_another_version_is_refused(cluster: Cluster, tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(HERE.parents[1] / "eo_pipeline", other / "eo_pipeline")
    with (other / "eo_pipeline" / "grid.py").open("a") as stream:
        stream.write("# a later version\n")
    cluster.worker("one", path=other)
    with (
        Engine(scheduler=cluster.address) as engine,
        pytest.raises(EngineError, match=r"runs another version of this program.*Install the same"),
    ):
        engine.run("stage", work_tasks(tmp_path / "data", 3))
    assert calls(tmp_path / "data") == []


def test_a_worker_that_does_not_see_the_folder_refuses(tmp_path: Path) -> None:
    (task,) = work_tasks(tmp_path, 1)
    with pytest.raises(EngineError, match=r"does not see .*/elsewhere\. Give all hosts the same folder"):
        execute(task, Conditions(probe=str(tmp_path / "elsewhere" / "probe")))
    assert calls(tmp_path) == []
