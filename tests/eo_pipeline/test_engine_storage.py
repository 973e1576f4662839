"""A season's work folder in S3-compatible storage: markers, the lock, and the log."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from engine_tasks import calls, work_tasks
from loopback_s3 import ENVIRONMENT, SECRET, make_bucket, s3_server

from eo_pipeline.engine import Engine, done_result, done_results, forget, locked
from eo_pipeline.errors import EngineError, StorageError
from eo_pipeline.runlog import LOG, RunLog, read_log
from eo_pipeline.storage import Folder
from eo_pipeline.worklock import LOCK


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with s3_server(tmp_path_factory.mktemp("s3") / "server.log") as url:
        make_bucket(url, "crops")
        yield url


@pytest.fixture
def work(endpoint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Folder]:
    """A season's work folder in a bucket."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name, value in {**ENVIRONMENT, "AWS_ENDPOINT_URL": endpoint}.items():
        monkeypatch.setenv(name, value)
    folder = Folder.of(f"s3://crops/{tmp_path.name}")
    yield folder
    folder.delete_tree()


# ---- markers ----------------------------------------------------------------------------------------
def test_markers_in_a_bucket_say_what_is_done(work: Folder, tmp_path: Path) -> None:
    tasks = work_tasks(tmp_path, 5, markers=work / "tasks")
    with Engine(workers=0) as engine:
        first = engine.run("stage", tasks[:3])
        assert work.names() == ["tasks/b0.json", "tasks/b1.json", "tasks/b2.json"]
        assert engine.run("stage", tasks)[:3] == first
    assert calls(tmp_path) == [0, 1, 2, 3, 4]
    assert done_results(tasks)[1] == first[1] == done_result(tasks[1].marker, tasks[1].key)
    assert done_result(tasks[1].marker, "another key") is None
    (work / "tasks").write("b4.json", b'{"key"')
    forget(tasks[1])
    forget(tasks[1])
    assert sorted(done_results(tasks)) == [0, 2, 3]
    with Engine(workers=0) as engine:
        assert engine.run("stage", tasks)[:3] == first
    assert calls(tmp_path) == [0, 1, 2, 3, 4, 1, 4]


@pytest.mark.slow
def test_workers_write_markers_with_their_own_keys(work: Folder, tmp_path: Path) -> None:
    tasks = work_tasks(tmp_path, 12, markers=work / "tasks")
    with Engine(workers=2, log=work) as engine:
        results = engine.run("stage", tasks)
    assert [done_results(tasks)[number] for number in range(12)] == results
    assert sorted(calls(tmp_path)) == list(range(12))
    events = read_log(work)
    assert [event["event"] for event in events][:2] == ["stage", "cluster"]
    assert sum(event["event"] == "task" for event in events) == 12
    assert SECRET not in json.dumps(events)


def test_a_bucket_that_is_gone_stops_the_run_with_its_name(work: Folder, tmp_path: Path) -> None:
    tasks = work_tasks(tmp_path, 2, markers=Folder.of("s3://no-such-bucket/tasks"))
    with Engine(workers=0) as engine, pytest.raises(StorageError, match="no bucket “no-such-bucket”"):
        engine.run("stage", tasks)
    assert calls(tmp_path) == []


# ---- the lock ---------------------------------------------------------------------------------------
def test_a_second_run_on_a_bucket_is_refused(work: Folder) -> None:
    owner = rf"in use by another .*:{os.getpid()}, since 20"
    with locked(work), pytest.raises(EngineError, match=owner), locked(work):
        pass
    assert work.names() == []
    with locked(work) as hold:
        hold.check()


def test_a_lock_is_renewed_while_it_is_held(work: Folder) -> None:
    with locked(work, beat=0.2, stale=2):
        first = work.read(LOCK)
        time.sleep(3)
        assert work.read(LOCK) != first
        with pytest.raises(EngineError, match="in use by another"), locked(work, beat=0.2, stale=2):
            pass


def test_a_renewal_whose_answer_was_lost_is_no_lost_lock(work: Folder) -> None:
    with locked(work, beat=0.3, stale=3) as hold:
        # the storage took a renewal of this run, and the run was not told: the tag is another than it knows
        unanswered = json.dumps(json.loads(work.read(LOCK)) | {"beat": "unanswered"}).encode()
        work.write(LOCK, unanswered)
        deadline = time.monotonic() + 20
        while work.read(LOCK) == unanswered and time.monotonic() < deadline:
            time.sleep(0.1)
        hold.check()
        assert json.loads(work.read(LOCK))["token"] == hold.token and work.read(LOCK) != unanswered
    assert work.names() == []


def test_the_lock_of_a_dead_run_is_taken_over(work: Folder) -> None:
    work.write(LOCK, b'{"owner": "someone on gone:1", "since": "2026-01-01", "token": "x"}')
    with pytest.raises(EngineError, match="someone on gone:1"), locked(work, stale=60):
        pass
    time.sleep(2.1)
    with locked(work, beat=5, stale=1):
        assert b"gone" not in work.read(LOCK)
    assert not work.exists(LOCK)


def test_the_lock_of_a_process_that_is_gone_is_taken_over_at_once(work: Folder) -> None:
    holder = (
        "import os, sys; from eo_pipeline.worklock import locked; from eo_pipeline.storage import Folder\n"
        "with locked(Folder(sys.argv[1])): print('held', flush=True); sys.stdin.read()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", holder, work.url], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdout is not None and process.stdout.readline() == b"held\n"
    with (
        pytest.raises(EngineError, match=rf":{process.pid}, since .* was killed ends after 120 s"),
        locked(work),
    ):
        pass
    process.kill()
    process.communicate()
    held = work.read(LOCK)
    # of another machine, or of another start of this one, nobody knows
    work.write(LOCK, json.dumps(json.loads(held) | {"machine": "another"}).encode())
    with pytest.raises(EngineError, match=rf":{process.pid}, since"), locked(work):
        pass
    work.write(LOCK, held)
    with locked(work):
        assert json.loads(work.read(LOCK))["pid"] == os.getpid()
    assert work.names() == []


def test_a_run_whose_lock_was_taken_stops_before_its_next_task(work: Folder, tmp_path: Path) -> None:
    theirs = b'{"owner": "another", "since": "now", "token": "theirs"}'
    with Engine(workers=0) as engine, locked(work, beat=0.1) as hold:
        engine.hold = hold
        tasks = work_tasks(tmp_path, 3)
        engine.run("stage", tasks[:1])
        work.write(LOCK, theirs)
        time.sleep(1)
        with pytest.raises(EngineError, match=r"lock of s3://.* was lost"):
            engine.run("stage", tasks)
    assert calls(tmp_path) == [0]
    assert work.read(LOCK) == theirs  # and it does not remove the other's lock


# ---- the log ----------------------------------------------------------------------------------------
def test_a_line_cut_off_by_a_kill_spoils_no_other(tmp_path: Path) -> None:
    with RunLog(tmp_path) as log:
        log.write("stage", stage="ingest", total=3, tile=None)
    with (tmp_path / LOG).open("a") as stream:
        stream.write('{"time": "2026-')
    with RunLog(tmp_path) as log:
        log.write("task", level="warning", block="b1", place=tmp_path)
    first, second = read_log(tmp_path)
    assert first["event"] == "stage" and "tile" not in first and first["level"] == "info"
    assert second["block"] == "b1" and second["place"] == str(tmp_path) and second["level"] == "warning"
    assert len((tmp_path / LOG).read_bytes().splitlines()) == 3


def test_a_log_in_a_bucket_keeps_earlier_runs(work: Folder) -> None:
    for number in range(2):
        with RunLog(work) as log:
            log._name = f"log-{number}.jsonl"  # two runs of one process within a second
            log.write("stage", number=number)
            assert len(read_log(work)) == 3 * number  # not sent yet
            log.write("failed", level="error", number=number)
            assert len(read_log(work)) == 3 * number + 2  # trouble is sent at once
            log.write("interrupted", number=number)
    assert [event["number"] for event in read_log(work)] == [0, 0, 0, 1, 1, 1]


def test_no_log_is_written_where_there_is_none(tmp_path: Path) -> None:
    with Engine(workers=0) as engine:
        engine.run("stage", work_tasks(tmp_path, 1))
    assert read_log(tmp_path) == []
