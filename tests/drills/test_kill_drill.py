"""`kill -9` at twenty moments from the first file fetched to the run folder; then on to the end.

The run is the `eo` command as it is by default: a coordinator and workers of a LocalCluster. Its whole
tree is killed, or the coordinator alone, or one worker, in whose place the run must go on by itself.

The moments are drawn by a fixed seed. A thread of the run's own process waits for them and kills: on a
machine with much to do it is late together with the run, and not after it.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import psutil
import pytest
from drilling import (
    Twin,
    contents,
    digests,
    environment,
    fetched,
    leftovers,
    quick_training,
    whole_files,
)

from eo_pipeline.publish.contract import read_manifest, verify
from eo_pipeline.runlog import read_log
from eo_pipeline.simulate.archive import Archive, serve

pytestmark = pytest.mark.slow

START, END = date(2026, 5, 1), date(2026, 7, 31)  # eight products
SEED = 3
#: Kills while a stage is under way, in the order the stages are done.
KILLS = {
    "fetch": 3, "mask": 1, "ingest": 3, "radar": 1, "screen": 1, "train": 2, "classify": 3, "index": 2,
    "curves": 1, "growth": 1, "publish": 2,
}  # fmt: skip
STAGES = tuple(KILLS)
#: Those that the coordinator does without its workers.
ALONE = ("fetch", "train", "publish")
#: Workers of a coordinator that was killed must be gone after this; they take milliseconds.
ORPHAN_SECONDS = 20.0
#: What a command would load; loaded once in the process that all others are forked from.
_HEAVY = [
    "eo_pipeline.cli", "eo_pipeline.remote", "eo_pipeline.cli_fetch", "eo_pipeline.assemble",
    "eo_pipeline.publish.catalog", "eo_pipeline.publish.report", "rasterio", "pyproj", "pandas", "drilling",
    "dask.distributed", "models.evaluate", "models.crop_type", "sklearn.ensemble", "torch._dynamo",
]  # fmt: skip


@dataclass(frozen=True)
class Moment:
    """When to kill: `stage` has done `count` of its tasks, and some seconds more have passed."""

    stage: str
    count: int
    seconds: float
    victim: str  # tree, coordinator or worker


@dataclass(frozen=True)
class Drill:
    """One season of its own, its processes, and what of it is there."""

    root: Path

    @property
    def data(self) -> Path:
        return self.root / "data"

    @property
    def work(self) -> Path:
        return self.root / "runs/.work/drill"

    @property
    def folder(self) -> Path:
        return self.root / "runs/drill"

    @property
    def log(self) -> Path:
        """What the commands said on stderr."""
        return self.root / "log.txt"

    @property
    def victims(self) -> Path:
        """A line for each kill: what was killed."""
        return self.root / "victims.txt"

    def make(self, twin: Twin, archive: Archive) -> Drill:
        source = f'kind = "cdse"\nurl = "{archive.url}"\nroot = "data"\nmax_cloud = 100'
        radar = f'[source.radar]\nroot = "{twin.products / "sentinel-1-rtc"}"\n'
        more = radar + twin.mapping(self.root)
        twin.season(self.root, source, start=START, end=END, region=twin.units, more=more)
        return self

    def done(self, stage: str) -> list[Path]:
        """What says how far a stage is: fetched files, markers of tasks, files of the run folder."""
        if stage == "fetch":
            found = self.data.glob("sentinel-2-l2a/*/*/**/*")
            return [path for path in found if path.suffix in (".jp2", ".xml", ".safe")]
        if stage == "publish":
            found = (self.root / "runs/.drill.partial").rglob("*")
            return [path for path in found if path.suffix in (".tif", ".parquet")]
        return list((self.work / "tasks" / stage).rglob("*.json"))

    def marks(self) -> dict[str, tuple[int, int]]:
        """Inode and time of everything that is done: it changes when something is done again."""
        found = {}
        for path in (path for stage in STAGES[:-1] for path in self.done(stage)):
            status = path.stat()
            found[str(path)] = (status.st_ino, status.st_mtime_ns)
        return found

    def standing(self, totals: dict[str, int]) -> str:
        """The stage it is in."""
        return next(s for s in STAGES if s == "publish" or len(self.done(s)) < totals[s])


def command(drill: Drill, workers: int, plan: Sequence[Moment], totals: dict[str, int]) -> None:
    """`eo run` in a process that was forked for it, and that kills at the moments of `plan`."""
    os.setsid()  # a process group of its own, which its workers belong to
    os.environ.update(environment())
    with Path(os.devnull).open("w") as nowhere, drill.log.open("a") as log:
        os.dup2(nowhere.fileno(), 1)
        os.dup2(log.fileno(), 2)
        from eo_pipeline.cli import app

        quick_training()
        threading.Thread(target=kill, args=(drill, plan, totals), daemon=True).start()
        options = ["--workers", str(workers), "--block", "32", "--json"]
        sys.argv = ["eo", "run", str(drill.root / "season.toml"), *options]
        app()


def kill(drill: Drill, plan: Sequence[Moment], totals: dict[str, int]) -> None:
    """Wait for each moment of the plan, and kill; ends with the first kill of this very process."""
    before = tasks_done(drill)
    for moment in plan:
        stage, count = moment.stage, moment.count
        if stage == "train":  # begins when what comes before it is done
            stage, count = "screen", totals["screen"]
        while len(drill.done(stage)) < count:
            time.sleep(0.002)
        time.sleep(moment.seconds)
        victim, workers = moment.victim, []
        while victim == "worker" and not workers:
            time.sleep(0.002)
            if tasks_done(drill) > before:  # its cluster is up
                workers = sorted(members(os.getpid(), "spawn_main"))  # none: the last ones are being replaced
        with drill.victims.open("a") as stream:
            stream.write(json.dumps([victim, drill.standing(totals)]) + "\n")
        if victim == "worker":
            os.kill(workers[0], signal.SIGKILL)
        elif victim == "coordinator":
            os.kill(os.getpid(), signal.SIGKILL)
        else:
            os.killpg(os.getpid(), signal.SIGKILL)


def tasks_done(drill: Drill) -> int:
    """Blocks of all stages that workers have done."""
    return sum(len(drill.done(stage)) for stage in STAGES if stage not in ALONE)


def members(group: int, word: str = "") -> set[int]:
    """Processes of a group that live, other than its leader, whose command holds `word`."""
    found = set()
    for process in psutil.process_iter():
        try:
            alive = process.pid != group and process.status() != psutil.STATUS_ZOMBIE
            if alive and os.getpgid(process.pid) == group and word in " ".join(process.cmdline()):
                found.add(process.pid)
        except (psutil.Error, ProcessLookupError):  # it ended meanwhile
            continue
    return found


def moments(totals: dict[str, int], training: float) -> list[Moment]:
    """Twenty, drawn at random: of the stages as `KILLS` says, each with one of its victims."""
    chance = random.Random(SEED)
    found = []
    for stage, kills in KILLS.items():
        kinds = ("tree", "coordinator") * 2 if stage in ALONE else ("tree", "coordinator", "worker")
        victims = chance.sample(kinds, kills)  # of a stage's workers one: a task that loses three is given up
        if stage == "train":  # one task: it is killed on its way
            moments = sorted((0, chance.uniform(0, 0.7 * training)) for _ in range(kills))
        else:
            last = max(1, totals[stage] - 2)
            moments = sorted((chance.randint(1, last), chance.uniform(0, 0.02)) for _ in range(kills))
        found += [Moment(stage, *when, victim) for when, victim in zip(moments, victims, strict=True)]
    return found


@pytest.fixture(scope="module")
def forks() -> Any:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(_HEAVY)
    return context


@pytest.fixture(scope="module")
def archive(twin: Twin) -> Iterator[Archive]:
    with serve(twin.products) as running:
        yield running


def test_killed_twenty_times_it_ends_with_the_same_bytes(
    twin: Twin, archive: Archive, forks: Any, tmp_path: Path
) -> None:
    def start(drill: Drill, workers: int, plan: Sequence[Moment] = ()) -> int:
        """The exit code of a run; nothing of it lives on."""
        process = forks.Process(target=command, args=(drill, workers, plan, totals))
        process.start()
        process.join(300)
        deadline = time.monotonic() + ORPHAN_SECONDS
        while left := members(process.pid):
            if time.monotonic() > deadline:
                os.killpg(process.pid, signal.SIGKILL)
                pytest.fail(f"a worker outlived its run: {left}")
            time.sleep(0.02)
        assert process.exitcode is not None
        return int(process.exitcode)

    # given: the season in a run that nothing disturbs
    totals: dict[str, int] = {}
    calm = Drill(tmp_path / "calm").make(twin, archive)
    assert start(calm, workers=0) == 0, calm.log.read_text()
    served = sum(archive.stats()["downloads"].values())
    totals |= {stage: len(calm.done(stage)) for stage in STAGES[:-1]}
    totals["publish"] = len([path for path in calm.folder.rglob("*") if path.suffix in (".tif", ".parquet")])
    assert totals["fetch"] == served == 8 * 14
    assert all(totals.values()), totals
    good = whole_files(calm.work, calm.data)

    # when: the same is killed twenty times
    drill = Drill(tmp_path / "killed").make(twin, archive)
    plan = moments(totals, read_manifest(calm.folder).timings["train"])
    seen: dict[str, tuple[int, int]] = {}
    killed: list[list[str]] = []
    while len(killed) < len(plan):
        code = start(drill, workers=2, plan=plan[len(killed) :])
        killed = [json.loads(line) for line in drill.victims.read_text().splitlines()]
        if killed[-1][0] == "worker" and len(killed) == len(plan):
            assert code == 0, drill.log.read_text()
            break
        assert code == -signal.SIGKILL, (killed, drill.log.read_text())
        # then: nothing has its name that is not whole; nothing done before is gone, or was done again
        assert whole_files(drill.work, drill.data).items() <= good.items()
        now = drill.marks()
        assert {path: now.get(path) for path in seen} == seen
        seen = now
    assert start(drill, workers=2) == 0, drill.log.read_text()

    victims, stages = (Counter(column) for column in zip(*killed, strict=True))
    print("killed", dict(victims), "in", dict(stages))
    assert sum(victims.values()) == sum(KILLS.values()) == 20
    assert min(victims[kind] for kind in ("tree", "coordinator", "worker")) >= 3, victims
    assert len(stages) >= len(STAGES) - 3, stages

    # then: the end is the same to the last byte
    assert {path: mark for path, mark in drill.marks().items() if path in seen} == seen
    verify(drill.folder)
    assert digests(drill.folder) == digests(calm.folder)
    assert contents(drill.folder) == contents(calm.folder)
    assert whole_files(drill.work, drill.data) == good
    assert fetched(drill.data) == fetched(calm.data)
    assert leftovers(tmp_path) == []
    # the log tells no task twice
    done = Counter(
        (event["stage"], event["tile"], event["block"])
        for event in read_log(drill.work)
        if event["event"] == "task"
    )
    assert set(done.values()) == {1}
    # at most what four connections had under way came twice
    downloads = sum(archive.stats()["downloads"].values()) - served
    assert 8 * 14 <= downloads <= 8 * 14 + 4 * stages["fetch"]
