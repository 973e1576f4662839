"""The block engine: what is done is skipped, what fails is told, what is half done is done again."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from eo_pipeline.engine import Engine, Progress, Task, done_result, locked, task_key
from eo_pipeline.errors import EngineError, RemoteReadError, SourceError


def count_call(*, log: Path, value: int) -> dict[str, Any]:
    with log.open("a") as stream:
        stream.write(f"{value}\n")
    return {"square": value * value}


def fail_at(*, log: Path, value: int) -> dict[str, Any]:
    if value == 2:
        raise ZeroDivisionError("of all things")
    return count_call(log=log, value=value)


def bad_input(*, log: Path, value: int) -> dict[str, Any]:
    raise SourceError(f"{log}: fetch it again.")


def gone(*, log: Path, value: int) -> dict[str, Any]:
    if value in (0, 2):
        raise RemoteReadError({f"https://example.org/{value}.tif": f"{value}.tif cannot be read: 404."})
    return count_call(log=log, value=value)


def tasks(root: Path, function: Any = count_call, salt: str = "") -> list[Task]:
    return [
        Task(
            "stage",
            "t",
            f"b{value}",
            task_key("stage", value, salt),
            root / f"b{value}.json",
            function,
            {"log": root / "log", "value": value},
        )
        for value in range(4)
    ]


def calls(root: Path) -> list[int]:
    return sorted(int(line) for line in (root / "log").read_text().split())


def test_done_tasks_are_skipped(tmp_path: Path) -> None:
    told: list[Progress] = []
    with Engine(workers=0, on_progress=told.append) as engine:
        first = engine.run("stage", tasks(tmp_path))
        again = engine.run("stage", tasks(tmp_path))
    assert first == again == [{"square": value * value} for value in range(4)]
    assert calls(tmp_path) == [0, 1, 2, 3]
    assert told[-1] == Progress("stage", 4, 4, 4)


def test_rasters_that_are_gone_are_told_when_all_others_are_done(tmp_path: Path) -> None:
    with Engine(workers=0) as engine:
        with pytest.raises(RemoteReadError) as caught:
            engine.run("stage", tasks(tmp_path, gone))
        assert list(caught.value.reasons) == ["https://example.org/0.tif", "https://example.org/2.tif"]
        assert str(caught.value) == "0.tif cannot be read: 404. Other rasters that cannot be read: 1."
        assert calls(tmp_path) == [1, 3]
        assert len(engine.run("stage", tasks(tmp_path))) == 4
    assert calls(tmp_path) == [0, 1, 2, 3]


def test_the_time_left_follows_the_speed_of_this_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0

    def ten_seconds(*, value: int) -> dict[str, Any]:
        nonlocal now
        now += 10 * value
        return {}

    monkeypatch.setattr("eo_pipeline.engine.time.monotonic", lambda: now)
    told: list[Progress] = []
    todo = [
        Task("s", "t", f"b{value}", "k", tmp_path / f"b{value}", ten_seconds, {"value": value}, weight=value)
        for value in (5, 1, 3)
    ]
    with Engine(workers=0, on_progress=told.append) as engine:
        engine.run("s", todo[:1])
        engine.run("s", todo)
    # the task of weight 5 was done before: it tells nothing about the time of the others
    assert [progress.eta_seconds for progress in told] == [None, 0.0, None, 30.0, 0.0]
    assert [(progress.done, progress.skipped) for progress in told[2:]] == [(1, 1), (2, 1), (3, 1)]
    assert told[0].peak_bytes == 0 and told[-1].peak_bytes > 10_000_000


def test_another_key_does_the_task_again(tmp_path: Path) -> None:
    with Engine(workers=0) as engine:
        engine.run("stage", tasks(tmp_path))
        engine.run("stage", tasks(tmp_path, salt="x"))
        # the block was overwritten: the first key's result is not there any more
        engine.run("stage", tasks(tmp_path))
    assert calls(tmp_path) == [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3]


def test_a_failing_block_is_named_and_the_others_are_kept(tmp_path: Path) -> None:
    with Engine(workers=0) as engine, pytest.raises(EngineError) as error:
        engine.run("stage", tasks(tmp_path, fail_at))
    assert "tile t, block b2 failed (ZeroDivisionError: of all things)" in str(error.value)
    assert "run the same command again" in str(error.value)
    broken = tasks(tmp_path, fail_at)[2]
    assert done_result(broken.marker, broken.key) is None
    with Engine(workers=0) as engine:
        engine.run("stage", tasks(tmp_path, count_call))
    assert calls(tmp_path) == [0, 1, 2, 3]


def test_bad_input_keeps_its_own_message(tmp_path: Path) -> None:
    with Engine(workers=0) as engine, pytest.raises(SourceError, match="fetch it again"):
        engine.run("stage", tasks(tmp_path, bad_input))


def test_a_damaged_marker_is_no_marker(tmp_path: Path) -> None:
    with Engine(workers=0) as engine:
        engine.run("stage", tasks(tmp_path))
        (tmp_path / "b1.json").write_text('{"key": "')
        engine.run("stage", tasks(tmp_path))
    assert calls(tmp_path) == [0, 1, 1, 2, 3]


def test_two_commands_do_not_share_a_work_folder(tmp_path: Path) -> None:
    with locked(tmp_path), pytest.raises(EngineError, match="in use by another"), locked(tmp_path):
        pass
    with locked(tmp_path):
        pass


@pytest.mark.slow
def test_a_run_waits_for_what_a_worker_of_an_earlier_one_writes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with locked(tmp_path) as hold:
        earlier = hold.fence
    begun, go_on = threading.Event(), threading.Event()

    def write() -> None:
        with earlier.held():
            begun.set()
            go_on.wait(20)
            (tmp_path / "block").write_text("earlier")

    def take_over() -> str:
        with locked(tmp_path) as hold:
            found = (tmp_path / "block").read_text()
            with hold.fence.held():
                return found

    with ThreadPoolExecutor(2) as pool:
        writing = pool.submit(write)
        assert begun.wait(20)
        monkeypatch.setattr("eo_pipeline.worklock.WRITE_SECONDS", 0.1)
        with pytest.raises(EngineError, match="A worker of an earlier `eo` command has been writing"):
            take_over()
        monkeypatch.setattr("eo_pipeline.worklock.WRITE_SECONDS", 20.0)
        taking = pool.submit(take_over)
        with pytest.raises(TimeoutError):
            taking.result(0.3)
        go_on.set()
        writing.result(20)
        assert taking.result(20) == "earlier"  # it was done before the next run began
    with pytest.raises(EngineError, match="taken over by a later"), earlier.held():
        pass


def test_processes_give_the_same(tmp_path: Path) -> None:
    with Engine(workers=2) as engine:
        results = engine.run("stage", tasks(tmp_path))
        assert results == [{"square": value * value} for value in range(4)]
        assert engine.run("stage", tasks(tmp_path)) == results
        with pytest.raises(EngineError, match="ZeroDivisionError"):
            engine.run("stage", tasks(tmp_path, fail_at, salt="y"))
    assert calls(tmp_path)[:4] == [0, 0, 1, 1] or calls(tmp_path)[0] == 0


def test_a_block_too_large_for_a_worker_is_refused(tmp_path: Path) -> None:
    with Engine(workers=1) as engine, pytest.raises(EngineError, match="smaller --block"):
        engine.run("stage", tasks(tmp_path), task_bytes=10**15)
    assert not (tmp_path / "log").exists()


def test_a_scheduler_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DASK_DISTRIBUTED__COMM__TIMEOUTS__CONNECT", "1s")
    with Engine(scheduler="tcp://127.0.0.1:9") as engine, pytest.raises(EngineError, match="does not answer"):
        engine.run("stage", tasks(tmp_path))
