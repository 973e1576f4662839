"""A task whose run is over writes nothing, wherever in the season it stands."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from drilling import Twin, quick_training

from eo_pipeline.assemble import assemble
from eo_pipeline.engine import Engine, Result, Task
from eo_pipeline.errors import EngineError
from eo_pipeline.plan import make_plan
from eo_pipeline.run import SeasonRun
from eo_pipeline.season import read_season
from eo_pipeline.stages import STAGES
from eo_pipeline.storage import Folder
from eo_pipeline.tasks import _FENCE, Fence, execute

# one process: what its fixtures make takes most of the time
pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("fences")]


class Recorder(Engine):
    """Keeps a task of each stage."""

    def __init__(self) -> None:
        super().__init__(workers=0)
        self.tasks: dict[str, Task] = {}

    def run(self, stage: str, tasks: Sequence[Task], **more: Any) -> list[Result]:
        self.tasks[stage] = tasks[0]
        return super().run(stage, tasks, **more)


@pytest.fixture(scope="module")
def season(twin: Twin, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Task]]:
    """The work folder of a season that was run to its end, and a task of each stage."""
    folder = tmp_path_factory.mktemp("season")
    source = f'kind = "folder"\nlayout = "safe"\nroot = "{twin.products}"'
    more = f'[source.radar]\nroot = "{twin.products / "sentinel-1-rtc"}"\n'
    more += f'[source.terrain]\ndem = "{twin.folder / "dem.tif"}"\n[cube]\nfill = "linear"\n'
    more += twin.mapping(folder) + '[disaster]\nhazards = ["hail"]\n'
    period = {"start": date(2026, 5, 1), "end": date(2026, 7, 31)}
    toml = twin.season(folder, source, region=twin.units, more=more, **period)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("eo_pipeline.products.classify._SETTINGS", None)  # and back at the end
        quick_training()
        with Recorder() as engine:
            job = SeasonRun(make_plan(read_season(toml), block=32), engine)
            with job.alone():
                assemble(job)
                engine.tasks["train"] = job.stages.train(job.kept)[0]
    return Path(job.plan.work.url), engine.tasks


def files(folder: Path) -> dict[str, tuple[int, str]]:
    """Inode and digest of everything."""
    return {
        str(path): (path.stat().st_ino, hashlib.sha256(path.read_bytes()).hexdigest())
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.mark.parametrize("stage", STAGES)
def test_no_stage_writes_for_a_run_that_is_over(season: tuple[Path, dict[str, Task]], stage: str) -> None:
    work, tasks = season
    before = files(work)
    task, over = tasks[stage], Fence(Folder.of(work) / "lock", "of an earlier run")
    with pytest.raises(EngineError, match=r"taken over by a later `eo` command.*run the same command again"):
        execute(task, fence=over)
    # and if the lock was lost while it was reading and computing
    token = _FENCE.set(over)
    try:
        with pytest.raises(EngineError, match="taken over by a later"):
            task.function(**task.arguments)
    finally:
        _FENCE.reset(token)
    assert files(work) == before
