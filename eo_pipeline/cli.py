"""The `eo` command. Each command reads its arguments, calls one thing, and prints; heavy imports wait for
their use.
"""

# ruff: noqa: PLR0917 - a command's parameters are its options; nobody calls it by position
from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from eo_pipeline.cli_telling import (
    accuracy_facts,
    plan_facts,
    print_accuracy,
    print_cubes,
    print_json,
    print_plan,
    print_rows,
    print_table,
    progress_bars,
    radar_facts,
    say,
    say_clouds,
    say_dashboard,
    say_note,
    say_passes,
)
from eo_pipeline.disk import disk_full, is_full, telling_full
from eo_pipeline.errors import EOPipelineError
from eo_pipeline.memory import keep_freed_memory

if TYPE_CHECKING:
    from eo_pipeline.plan import Plan
    from eo_pipeline.run import SeasonRun
    from eo_pipeline.season import Season

_HELP = """
Satellite scenes in, crop facts out: maps, areas with intervals, growth, curves, in one run folder.

A season is described by one TOML file; see examples/. What is done is kept: any command may be stopped at any
moment and given again.

**Examples**

    eo plan examples/cbers-bahia.toml          what a run will do, before it does it

    eo run examples/cbers-bahia.toml           the whole season into a run folder

    eo fetch examples/jingning.toml --dry-run  real Sentinel-2: how much, and how long

    eo inspect S2A_MSIL2A_….SAFE               is its reflectance proven?

    eo run season.toml --scheduler tcp://10.0.0.5:8786

    eo area season.toml --json                 one stage, for machines

    eo verify runs/cbers-bahia                 is the folder whole?
"""

app = typer.Typer(
    name="eo",
    help=_HELP,
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    add_completion=False,
)

SeasonFile = Annotated[Path, typer.Argument(help="The season file (TOML).", metavar="SEASON.toml")]
RunFolder = Annotated[Path, typer.Argument(help="A run folder, as `eo run` prints it.", metavar="RUN")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, and nothing else, on stdout.")]
Out = Annotated[Path | None, typer.Option("--out", help="Folder for run folders, instead of [output] root.")]
Work = Annotated[
    str | None,
    typer.Option("--work", help="Folder or s3://… for cubes and models, instead of [output] work."),
]
Workers = Annotated[
    int | None,
    typer.Option("--workers", min=0, help="Processes; all cores by default, 0 for this process alone."),
]
Scheduler = Annotated[
    str | None,
    typer.Option(
        "--scheduler", help="Existing Dask cluster, tcp://…; also taken from DASK_SCHEDULER_ADDRESS."
    ),
]
BlockSize = Annotated[
    int | None,
    typer.Option(
        "--block",
        min=16,
        max=8192,
        help="Side of a block in pixels (512, or 256); smaller needs less memory.",
    ),
]
Fetch = Annotated[
    bool,
    typer.Option("--fetch/--no-fetch", help="First fetch what an archive has new; or take what is on disk."),
]
_STOPPED = 130  # the shell's code for Ctrl-C


@app.callback()
def _options(
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    if debug:
        os.environ["EO_DEBUG"] = "1"


# ---- plan and run
# -------------------------------------------------------------------------------------------
@app.command()
def plan(
    season: SeasonFile,
    out: Out = None,
    work: Work = None,
    workers: Workers = None,
    block: BlockSize = None,
    as_json: Json = False,
) -> None:
    """Say what a run will do: tiles, blocks, steps, scenes, memory, disk, and what is done already.

    Example: eo plan examples/tum-wheat.toml
    """
    found = _plan(season, out, work, block)
    facts = plan_facts(found, workers)
    if as_json:
        print_json(facts)
        return
    print_plan(facts)


@app.command()
def ingest(
    season: SeasonFile,
    out: Out = None,
    work: Work = None,
    scheduler: Scheduler = None,
    workers: Workers = None,
    block: BlockSize = None,
    fetch: Fetch = True,
    as_json: Json = False,
) -> None:
    """Bring the season cube up to date: new scenes touch their dekad and no other.

    Example: eo ingest season.toml
    """
    with _season_run(season, out, work, scheduler, workers, block, quiet=as_json, fetch=fetch) as job:
        verdicts, filled, terrain = job.verdicts, job.filled, job.terrain
        skipped, clouds, passes = job.plan.skipped, job.plan.clouds, job.plan.passes
        stores = {tile.name: str(job.stages.store(tile)) for tile in job.plan.tiles}
        radar = {tile.name: radar_facts(tile) for tile in job.plan.tiles if tile.passes}
    facts = {
        "cubes": stores,
        "steps": {
            name: [
                {
                    "date": v.date.isoformat(),
                    "clear_share": round(v.clear_share, 4),
                    "rejected": v.rejected,
                    "reason": v.reason,
                }
                for v in found
            ]
            for name, found in verdicts.items()
        },
        "clouds": clouds,
        "passes": passes,
        "radar": radar,
        "terrain": terrain,
        "filled": filled,
        "skipped": [{"name": item.name, "reason": item.reason} for item in skipped],
    }
    if as_json:
        print_json(facts)
        return
    print_cubes(facts)


@app.command()
def run(
    season: SeasonFile,
    out: Out = None,
    work: Work = None,
    scheduler: Scheduler = None,
    workers: Workers = None,
    block: BlockSize = None,
    fetch: Fetch = True,
    as_json: Json = False,
) -> None:
    """Do a season from its rasters to the sealed run folder; from an archive, fetch them first.

    Example: eo run examples/cbers-bahia.toml
    """
    from eo_pipeline.assemble import assemble

    with _season_run(season, out, work, scheduler, workers, block, quiet=as_json, fetch=fetch) as job:
        manifest = assemble(job)
        folder, clouds, passes = job.plan.folder, job.plan.clouds, job.plan.passes
        rejected = [row for row in manifest.inputs if row.get("rejected")]
        accuracy = job.accuracy()
        estimates = job.estimates
        memory = {
            "planned_bytes": job.plan.worker_bytes,
            "peak_bytes": max(job.engine.peaks.values(), default=0),
        }
    facts = {
        "run": str(folder),
        "run_id": manifest.run_id,
        "simulated": manifest.simulated,
        "files": len(manifest.files) + 1,
        "rejected_scenes": rejected,
        "clouds": clouds,
        "passes": passes,
        "accuracy": accuracy_facts(accuracy),
        "estimates": len(estimates),
        "timings": manifest.timings,
        "worker_memory": memory,
        "log": str(job.plan.work / ("log-*.jsonl" if job.plan.work.remote else "log.jsonl")),
    }
    if as_json:
        print_json(facts)
        return
    say(f"Run folder: {folder}" + ("  (模拟数据 simulated data)" if manifest.simulated else ""))
    say_clouds(clouds)
    say_passes(passes)
    for row in rejected:
        what = row["path"] if row["role"] == "skipped" else f"{row['tile']} {row['date']}"
        say(f"Rejected scene: {what}: {row['reason']}")
    print_accuracy(accuracy)
    areas = [row for row in estimates if row["product"] == "area"]
    if areas:
        print_rows(areas, "Areas")
    else:
        stages = [row for row in estimates if row["product"] == "stage"]
        print_rows(stages, "Stage dates", year=job.plan.season.end.year)
    say(f"Report: {folder / 'report.html'}")


@app.command()
def classify(
    season: SeasonFile,
    out: Out = None,
    work: Work = None,
    scheduler: Scheduler = None,
    workers: Workers = None,
    block: BlockSize = None,
    as_json: Json = False,
) -> None:
    """Train the crop map's model, measure it by grouped folds, and map every block.

    Example: eo classify season.toml
    """
    with _season_run(season, out, work, scheduler, workers, block, quiet=as_json) as job:
        _need_map(job)
        accuracy = job.accuracy_of_training()
        pixels = job.class_pixels()
    if as_json:
        print_json({"accuracy": accuracy, "pixels": pixels, "model": str(job.stages.model)})
        return
    print_accuracy(accuracy)
    print_table("Pixels by class", ("class", "pixels"), [(name, f"{n:,}") for name, n in pixels.items()])
    say(f"Model: {job.stages.model}")


@app.command()
def area(
    season: SeasonFile,
    out: Out = None,
    work: Work = None,
    scheduler: Scheduler = None,
    workers: Workers = None,
    block: BlockSize = None,
    as_json: Json = False,
) -> None:
    """Estimate the area of each class in each unit, with its interval.

    Example: eo area season.toml --json
    """
    with _season_run(season, out, work, scheduler, workers, block, quiet=as_json) as job:
        _need_map(job)
        rows = job.area.rows
    print_json(rows) if as_json else print_rows(rows, "Areas")


@app.command()
def growth(
    season: SeasonFile,
    out: Out = None,
    work: Work = None,
    scheduler: Scheduler = None,
    workers: Workers = None,
    block: BlockSize = None,
    as_json: Json = False,
) -> None:
    """Judge growth of each crop in each unit, against earlier seasons, a climatology, or peers.

    Example: eo growth season.toml
    """
    with _season_run(season, out, work, scheduler, workers, block, quiet=as_json) as job:
        rows = job.growth_rows
    print_json(rows) if as_json else print_rows(rows, "Growth")


# ---- run folders
# --------------------------------------------------------------------------------------------
@app.command()
def report(
    folder: RunFolder,
    show: Annotated[bool, typer.Option("--open", help="Open it in the browser.")] = False,
    as_json: Json = False,
) -> None:
    """Check a run folder and make its report anew, with this program's version of the page.

    Example: eo report runs/cbers-bahia --open
    """
    from eo_pipeline.assemble import rebuild_report

    changed = rebuild_report(folder)
    page = folder / "report.html"
    if as_json:
        print_json({"report": str(page), "changed": changed})
    else:
        say(f"{page}: {'made anew' if changed else 'is as this program makes it'}")
    if show:
        typer.launch(str(page))


@app.command()
def verify(folder: RunFolder, as_json: Json = False) -> None:
    """Check every file of a run folder against its SHA-256.

    Example: eo verify runs/cbers-bahia
    """
    from eo_pipeline.publish.contract import verify as check

    manifest = check(folder)
    facts = {"run_id": manifest.run_id, "files": len(manifest.files) + 1, "created_at": manifest.created_at}
    if as_json:
        print_json(facts)
    else:
        say(f"{folder} is whole: {facts['files']} files, run {manifest.run_id} of {manifest.created_at}.")


# ---- shared
# -------------------------------------------------------------------------------------------------
def _plan(season: Path, out: Path | None, work: str | None, block: int | None) -> Plan:
    from eo_pipeline.plan import make_plan
    from eo_pipeline.remote import acquire

    found = _season(season, out, work)
    # windows are of what a search finds; everything else lies on the disk
    return make_plan(found, block=block, products=acquire(found, fetch=False, on_note=say_note))


def _season(path: Path, out: Path | None, work: str | None) -> Season:
    from dataclasses import replace

    from eo_pipeline.season import read_season
    from eo_pipeline.storage import Folder, require_local

    found = read_season(path)
    if work is not None:
        found = replace(found, work_root=Folder.of(work))
    return found if out is None else replace(found, output_root=require_local(out).resolve())


@contextmanager
def _season_run(
    season: Path,
    out: Path | None,
    work: str | None,
    scheduler: str | None,
    workers: int | None,
    block: int | None,
    *,
    quiet: bool,
    fetch: bool = False,
) -> Iterator[SeasonRun]:
    """A run ready to go, alone on its work folder, with progress bars unless `quiet`."""
    found = _season(season, out, work)
    if found.work_root is not None:
        found.work.check()
    products = None
    if found.source.archives:
        from eo_pipeline.cli_fetch import bytes_bar, tell_missing
        from eo_pipeline.remote import acquire

        with bytes_bar(quiet=quiet) as show:
            products = acquire(found, fetch=fetch, on_progress=show, on_result=tell_missing, on_note=say_note)
    from eo_pipeline.plan import make_plan

    planned = make_plan(found, block=block, products=products)
    from eo_pipeline.engine import Engine
    from eo_pipeline.run import SeasonRun

    with (
        telling_full(planned.work.local_path),
        progress_bars(quiet) as tell,
        Engine(
            scheduler=scheduler,
            workers=workers,
            on_progress=tell,
            on_dashboard=None if quiet else say_dashboard,
            log=planned.work,
        ) as engine,
    ):
        job = SeasonRun(planned, engine)
        with job.alone():
            if products is not None:
                from eo_pipeline.remote import with_other_copies

                job = with_other_copies(job, products, block=block, on_note=say_note)
            yield job


def _need_map(job: SeasonRun) -> None:
    from eo_pipeline.errors import SeasonFileError

    if job.plan.season.classify is None:
        raise SeasonFileError(
            f"{job.plan.season.path} has no table [classify], so it makes no crop map. Add the table with "
            "samples."
        )


def _register() -> None:
    from eo_pipeline import (
        cli_archive,
        cli_area,
        cli_cube,
        cli_disaster,
        cli_fetch,
        cli_growth,
        cli_inspect,
        cli_models,
        cli_sample,
        cli_simulate,
        cli_sources,
        cli_yield,
    )

    for group in (
        cli_sources,
        cli_fetch,
        cli_inspect,
        cli_cube,
        cli_models,
        cli_sample,
        cli_area,
        cli_growth,
        cli_disaster,
        cli_yield,
        cli_simulate,
        cli_archive,
    ):
        group.register(app)


_register()


def main() -> None:
    """Entry point: one paragraph and exit code 2 for what a user can mend, 130 when stopped."""
    keep_freed_memory()
    try:
        code = app(standalone_mode=False)
    except (typer.Abort, KeyboardInterrupt):
        code = _STOPPED
    except Exception as error:
        if hasattr(error, "show") and hasattr(
            error, "exit_code"
        ):  # a wrong option: typer's own kind of error
            error.show()
            sys.exit(int(error.exit_code))
        if os.environ.get("EO_DEBUG"):
            raise
        if is_full(error):
            error = disk_full(None, error)
        if not _is_users(error):
            raise
        typer.echo(f"Error: {error}", err=True)
        sys.exit(2)
    if code == _STOPPED:
        typer.echo("Stopped. What was done is kept: give the same command again to continue.", err=True)
    sys.exit(code if isinstance(code, int) else 0)


def _is_users(error: Exception) -> bool:
    """Whether an error is one the user can mend: ours, or one of the models'."""
    if isinstance(error, EOPipelineError):
        return True
    from models.errors import ModelError

    return isinstance(error, ModelError)


if __name__ == "__main__":
    main()
