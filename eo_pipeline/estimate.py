"""How long the stages of a season will take, told before they run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from eo_pipeline.plan import Plan
from eo_pipeline.tasks import Task

#: Nanoseconds of one core (AMD EPYC of 2023) for a pixel: of a scene ("mask"), of a band of a scene
#: ("ingest"), of a pass of Sentinel-1 ("radar"), of a band and step ("fill"), of an index and step ("index",
#: "curves", "publish"), of a step, or once ("terrain"). Measured by `benchmarks/stages.py` on the twin.
NANOSECONDS: Final[Mapping[str, float]] = {
    "mask": 5,
    "mask jp2": 22,
    "ingest": 6,
    "ingest jp2": 64,
    "radar": 125,
    "terrain": 180,
    "screen": 70,
    "fill": 18,
    "index": 120,
    "classify": 1650,
    "curves": 440,
    "growth": 43,
    "disaster": 700,
    "publish": 100,
}
#: Handing a task to a worker and hearing of it.
_TASK_SECONDS: Final = 0.01


def stage_seconds(plan: Plan, left: Mapping[str, Sequence[Task]], workers: int) -> dict[str, float]:
    """Seconds of the tasks each stage has still to do (`left`), and of writing the run folder ("publish").

    Training is left out: its time hangs on the samples, not on the pixels. So is what reading over a network
    takes.
    """
    found = {}
    for stage, tasks in left.items():
        if tasks and stage != "train":
            work = sum(task.weight for task in tasks) * _units(stage, plan) * NANOSECONDS[_kind(stage, plan)]
            found[stage] = (work / 1e9 + _TASK_SECONDS * len(tasks)) / min(max(1, workers), len(tasks))
    layers = plan.pixels * _units("publish", plan)
    found["publish"] = layers * NANOSECONDS["publish"] / 1e9
    return found


def _kind(stage: str, plan: Plan) -> str:
    """Decoding JPEG 2000 takes most of the time of what reads it."""
    first = plan.tiles[0].tile.scenes[0].assets[0].path.lower()
    return f"{stage} jp2" if stage in ("mask", "ingest") and first.endswith(".jp2") else stage


def _units(stage: str, plan: Plan) -> int:
    """How often a pixel is worked on, beside what a task's weight counts already."""
    indices = len(plan.season.growth.indices)
    times = {"mask": 1, "ingest": len(plan.bands), "radar": 1, "terrain": 1}
    by_step = {"fill": len(plan.bands), "index": indices, "curves": indices, "publish": indices}
    return times.get(stage, len(plan.steps) * by_step.get(stage, 1))
