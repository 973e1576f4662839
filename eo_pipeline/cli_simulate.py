"""Commands of the twin: `eo simulate`, `eo answer-sample`, `eo compare-truth`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, cast

import typer

from eo_pipeline.errors import EOPipelineError


@contextmanager
def _told() -> Iterator[None]:
    """Print an error a user can mend, and leave with 2."""
    try:
        yield
    except EOPipelineError as error:
        typer.secho(f"Error: {error}", fg="red", err=True)
        raise typer.Exit(2) from error


def register(app: typer.Typer) -> None:
    """Add the twin's commands to the `eo` command."""
    app.command("simulate")(simulate)
    app.command("answer-sample")(answer_sample)
    app.command("compare-truth")(compare_truth)


def simulate(
    *,
    out: Annotated[Path, typer.Option("--out", help="Folder to make; it appears whole or not at all.")],
    size_km: Annotated[float, typer.Option(help="Side of the square piece of Jingning, km.")] = 5.0,
    seasons: Annotated[int, typer.Option(help="Number of seasons, the last one harvested in --year.")] = 2,
    year: Annotated[int, typer.Option(help="Harvest year of the last season.")] = 2026,
    seed: Annotated[int, typer.Option(help="The same seed gives the same bytes.")] = 42,
    runs: Annotated[
        str,
        typer.Option(
            help="Where the season files send run folders; relative to a season's folder, or absolute."
        ),
    ] = "../runs",
    format_: Annotated[
        str, typer.Option("--format", help="stack: one GeoTIFF a date; safe: Sentinel products.")
    ] = "stack",
    baseline: Annotated[
        str, typer.Option(help="Processing baseline of SAFE products: 02.14, 05.10 or mixed.")
    ] = "mixed",
    events: Annotated[
        str, typer.Option(help="Disasters: none or typical; by default typical with --format safe only.")
    ] = "",
    every: Annotated[int, typer.Option(help="Days between two overpasses of one orbit.")] = 5,
    level1c: Annotated[
        bool, typer.Option("--level1c", help="With --format safe: Level-1C products too, for s2cloudless.")
    ] = False,
    grd: Annotated[
        bool, typer.Option("--grd", help="With --format safe: Sentinel-1 GRD too, terrain left in.")
    ] = False,
    workers: Annotated[int, typer.Option(min=1, max=64, help="Threads that render scenes.")] = 2,
    force: Annotated[bool, typer.Option("--force", help="Replace whatever is in --out.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as JSON.")] = False,
) -> None:
    """Simulate seasons over a piece of Jingning with known truth (模拟数据).

    Example: eo simulate --out var/demo/twin --size-km 5 --seasons 2 --year 2026
    Example: eo simulate --out var/safe --size-km 2 --seasons 1 --every 10 --format safe
    """
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    with _told():
        from eo_pipeline.simulate import twin

        options = twin.TwinOptions(
            size_km=size_km,
            seasons=seasons,
            year=year,
            seed=seed,
            runs=runs,
            format=cast(Any, format_),
            baseline=cast(Any, baseline),
            events=cast(Any, events),
            every=every,
            level1c=level1c,
            grd=grd,
        )
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.percentage:>3.0f} %"),
            TimeRemainingColumn(),
        )
        with Progress(*columns, console=Console(stderr=True), transient=True, disable=as_json) as bar:
            task = bar.add_task("land and crops", total=None)

            def step(done: int, total: int, what: str) -> None:
                bar.update(task, completed=done, total=total, description=what)

            summary = twin.simulate(out, options, force=force, progress=step, workers=workers)
    if as_json:
        typer.echo(json.dumps(asdict(summary), ensure_ascii=False))
        return
    verb = "kept (same options, same code)" if summary.kept else "made"
    typer.echo(f"{verb}: {summary.folder}  模拟数据")
    typer.echo(f"  {summary.area_ha:.0f} ha, {summary.parcels} parcels, {summary.bytes / 1e6:.0f} MB")
    for path, (name, count) in zip(summary.seasons, summary.scenes.items(), strict=True):
        typer.echo(f"  {name}: {count} scenes; next: eo run {path}")


def answer_sample(
    design: Annotated[Path, typer.Argument(help="GeoJSON of the drawn points.")],
    truth: Annotated[Path, typer.Argument(help="Truth folder of the season, DIR/<year>/truth.")],
    out: Annotated[Path, typer.Option("--out", help="GeoJSON to write, with `label`.")],
    error: Annotated[float, typer.Option(help="Chance of a wrong answer, 0 to 0.5.")] = 0.0,
    seed: Annotated[int, typer.Option(help="Seed of the wrong answers.")] = 42,
) -> None:
    """Let the simulated surveyor answer a drawn reference sample from the truth.

    Example: eo answer-sample design.geojson var/demo/twin/2026/truth --out reference.geojson
    """
    with _told():
        from eo_pipeline.simulate.truth import answer_sample as answer

        count = answer(design, truth, out, error=error, seed=seed)
    typer.echo(f"{count} points answered: {out}  模拟数据")


def compare_truth(
    run: Annotated[Path, typer.Argument(help="Run folder made of a simulated season.")],
    truth: Annotated[Path, typer.Argument(help="Truth folder of that season, DIR/<year>/truth.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print everything as JSON.")] = False,
) -> None:
    """Show how a run's estimates compare with the simulated truth.

    Example: eo compare-truth var/demo/twin/runs/jingning-2026 var/demo/twin/2026/truth
    """
    with _told():
        from eo_pipeline.simulate import compare

        comparison = compare.compare(run, truth)
    if as_json:
        typer.echo(json.dumps(compare.as_document(comparison), ensure_ascii=False))
    else:
        compare.show(comparison)
