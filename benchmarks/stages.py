"""What each stage of a run takes beside what `eo plan` says of it, and what both mean for the prefecture.

    .venv/bin/python benchmarks/stages.py [--size-km 10] [--every 15] [--workers 2] [--folder DIR]

A season of SAFE products is simulated and run by worker processes; a stage's time is that of its tasks by the
run's log, divided by the workers. The prefecture is six whole tiles over the same dates: the measured column
multiplies each stage by its work there, the planned one is the estimate of that plan. Training is left out
of both. Nothing is asserted.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from collections import Counter
from dataclasses import replace
from pathlib import Path

from rich.console import Console
from rich.table import Table
from telling import machine

from eo_pipeline.assemble import assemble
from eo_pipeline.engine import Engine
from eo_pipeline.estimate import stage_seconds
from eo_pipeline.grid import BLOCK, INGEST_BLOCK, Grid, cut
from eo_pipeline.plan import Plan, make_plan
from eo_pipeline.products import classify
from eo_pipeline.run import SeasonRun
from eo_pipeline.runlog import read_log
from eo_pipeline.season import read_season
from eo_pipeline.simulate.twin import TwinOptions, simulate
from eo_pipeline.stages import STAGES, Stages
from models.training import TrainingSettings

TILES = ("48SWD", "48SWE", "48SXD", "48SXE", "48SYD", "48SYE")
SIDE = 10_980


def prefecture(plan: Plan) -> Plan:
    """Six whole tiles with the scenes of the tile that has most."""
    most = max(plan.tiles, key=lambda item: len(item.tile.scenes))
    grid = Grid(most.tile.grid.crs, most.tile.grid.transform, SIDE, SIDE)
    tiles = []
    for name in TILES:
        layout = replace(most.layout, tile=name, grid=grid, block=INGEST_BLOCK, product_block=BLOCK)
        tiles.append(
            replace(
                most,
                tile=replace(most.tile, name=name, grid=grid, owned=None),
                layout=layout,
                ingest_blocks=tuple(cut(name, grid, size=INGEST_BLOCK)),
                blocks=tuple(cut(name, grid, size=BLOCK)),
            )
        )
    season = replace(plan.season, id=f"{plan.season.id}-whole")  # of which nothing is done
    return replace(plan, season=season, tiles=tuple(tiles))


def planned(plan: Plan, workers: int) -> dict[str, float]:
    """The estimate, as `eo plan` prints it."""
    left = {stage: tasks for stage, (tasks, _) in Stages(plan).left().items()}
    return stage_seconds(plan, left, workers)


def measured(job: SeasonRun, workers: int) -> dict[str, float]:
    """Seconds of each stage, by its tasks. The first of each worker, which loads and compiles, counts as the
    others do.
    """
    weights = {
        (task.stage, task.tile, task.block): task.weight for stage in STAGES for task in job.stages.of(stage)
    }
    seconds, done, whole = Counter[str](), Counter[str](), Counter[str]()
    met: set[tuple[str, str]] = set()
    for event in read_log(job.plan.work):
        if event["event"] == "task" and (stage := event["stage"]) != "train":
            weight = weights[stage, event["tile"], event["block"]]
            whole[stage] += weight
            if (stage, event["worker"]) in met:
                seconds[stage] += event["seconds"]
                done[stage] += weight
            met.add((stage, event["worker"]))
    found = {stage: seconds[stage] * whole[stage] / done[stage] / workers for stage in whole}
    return {**found, "publish": job.timings["publish"]}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size-km", type=float, default=10.0, help="Side of the simulated piece (10).")
    parser.add_argument("--every", type=int, default=15, help="Days between two overpasses (15).")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--folder", type=Path, help="Keep and reuse the simulated season here.")
    options = parser.parse_args()
    classify._SETTINGS = TrainingSettings(epochs=1, min_steps=40)  # training is not what is measured
    console = Console(width=120)
    folder = options.folder or Path(tempfile.mkdtemp(prefix="eo-stages-"))
    try:
        twin = folder / f"twin-{options.size_km:g}-{options.every}"
        if not twin.is_dir():
            simulate(
                twin,
                TwinOptions(size_km=options.size_km, seasons=1, every=options.every, format="safe"),
            )
        runs = folder / "runs"
        shutil.rmtree(runs, ignore_errors=True)
        season = replace(read_season(next(twin.glob("*/season.toml"))), output_root=runs)
        plan = make_plan(season)
        told = planned(plan, options.workers)
        with Engine(workers=options.workers, log=plan.work) as engine:
            job = SeasonRun(plan, engine)
            with job.alone():
                assemble(job)
        took = measured(job, options.workers)
        whole = planned(prefecture(plan), options.workers)
    finally:
        if options.folder is None:
            shutil.rmtree(folder, ignore_errors=True)
    shown = Table(title=f"{plan.pixels / 1e6:.1f} Mpx, {plan.scenes} scenes, {options.workers} workers")
    for column in ("stage", "plan, s", "took, s", "plan ÷ took", "prefecture, plan, h", "from this run, h"):
        shown.add_column(column, justify="left" if column == "stage" else "right")
    grown = {stage: took[stage] * whole[stage] / told[stage] for stage in told}
    for stage, seconds in told.items():
        ratio = f"{seconds / took[stage]:.2f}"
        hours = (f"{whole[stage] / 3600:.2f}", f"{grown[stage] / 3600:.2f}")
        shown.add_row(stage, f"{seconds:.1f}", f"{took[stage]:.1f}", ratio, *hours)
    ratio = sum(whole.values()) / sum(grown.values())
    sums = [f"{sum(values.values()) / 3600:.1f}" for values in (whole, grown)]
    shown.add_row("all", f"{sum(told.values()):.1f}", f"{sum(took.values()):.1f}", f"{ratio:.2f}", *sums)
    console.print(shown)
    console.print(machine(), highlight=False)


if __name__ == "__main__":
    main()
