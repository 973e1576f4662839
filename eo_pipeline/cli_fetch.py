"""`eo fetch`: the products of a season from archives onto the disk."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from datetime import UTC, datetime
from enum import Enum
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from eo_pipeline.errors import EOPipelineError

if TYPE_CHECKING:
    from eo_pipeline.acquire.accounts import FetchProgress
    from eo_pipeline.acquire.completeness import Completeness, DekadReport
    from eo_pipeline.acquire.fetch import Fetcher, FetchOptions, FetchPlan
    from eo_pipeline.acquire.products import Archive
    from eo_pipeline.acquire.transport import Transport
    from eo_pipeline.season import Season

_EPILOG = (
    "Exit code: 0 when every scene is there or was left out for clouds, 1 when something is missing or "
    "failed (give the command again), 2 for an error to mend, 130 when stopped."
)
_STOPPED = 130
_MOST_TOLD = 10


def register(app: typer.Typer) -> None:
    """Add `eo fetch` to the `eo` command."""
    app.command("fetch", epilog=_EPILOG)(fetch)


def fetch(
    season_file: Annotated[Path, typer.Argument(help="The season file (TOML).", metavar="SEASON.toml")],
    *,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Search only: scenes, bytes, hours, room on the disk.")
    ] = False,
    max_mbps: Annotated[
        float | None, typer.Option("--max-mbps", min=0.01, help="Bandwidth for all transfers, megabit/s.")
    ] = None,
    max_gb: Annotated[
        float | None, typer.Option("--max-gb", min=0.001, help="End this run after so many gigabytes.")
    ] = None,
    workers: Annotated[
        int, typer.Option("--workers", min=1, max=16, help="Products at once; each host has its own limit.")
    ] = 4,
    every: Annotated[
        bool, typer.Option("--all", help="A row for every dekad, also where nothing is wanting.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, and nothing else, on stdout.")] = False,
) -> None:
    """Fetch the scenes of a season (下载影像): scene classification first, cloudy scenes never.

    With [source.radar] kind = "planetary-computer" the passes of Sentinel-1 come too, cut to the region; with
    [source.terrain] kind = "earth-search" or "planetary-computer" the elevation model under it.
    What lies in [source] root is kept and not fetched again; a run may be stopped at any moment and given
    again. In the end a table says for each tile and dekad (旬) what is there, what is missing, and why.

    Examples:

        eo fetch examples/jingning.toml --dry-run

        eo fetch examples/jingning.toml --max-mbps 50
    """
    from eo_pipeline.acquire.fetch import FetchOptions
    from eo_pipeline.acquire.pacing import Limits
    from eo_pipeline.acquire.transport import Transport
    from eo_pipeline.season import read_season

    rate = None if max_mbps is None else max_mbps * 1e6 / 8
    plans: dict[_Words, FetchPlan] = {}
    results: dict[_Words, Completeness] = {}
    with _told():
        from eo_pipeline.acquire.sources.registry import open_archives

        season = read_season(season_file)
        transport = Transport(limits=Limits(bytes_per_s=rate))
        archives, beside = open_archives(season, transport=transport), _beside(season, transport)
        options = FetchOptions(workers=workers, max_bytes=None if max_gb is None else int(max_gb * 1e9))
        if dry_run:
            plans = _plan(season, archives, beside, rate, options)
            results = {words: plan.completeness for words, plan in plans.items()}
        else:
            with bytes_bar(quiet=as_json) as on_progress:
                results = _fetch(season, archives, beside, on_progress, options)
        _need_scenes(season, results.get(_Words.SENTINEL2))
    if as_json:
        typer.echo(json.dumps(_document(plans, results), ensure_ascii=False, indent=2, allow_nan=False))
    elif dry_run:
        for words, plan in plans.items():
            _print_plan(words, plan, every=every)
        if len(plans) > 1:
            _print_sum(list(plans.values()))
    else:
        for words, result in results.items():
            _print_result(words, result, every=every)
    if not dry_run and not all(result.complete for result in results.values()):
        raise typer.Exit(1)


class _Words(Enum):
    """What is fetched: how it is called, what it is counted by, and why some is left out (never, where
    empty).
    """

    SENTINEL2 = ("scenes", "tile", "for clouds")
    LEVEL1C = ("Level-1C products", "tile", "")
    SENTINEL1 = ("passes of Sentinel-1", "direction", "as they show nothing of the region")
    HEIGHTS = ("cells of the elevation model", "cell", "")


_OF_COLLECTION: Final = {
    "sentinel-2-l2a": _Words.SENTINEL2,
    "sentinel-2-l1c": _Words.LEVEL1C,
    "sentinel-1-rtc": _Words.SENTINEL1,
    "cop-dem-glo-30": _Words.HEIGHTS,
}


def _beside(season: Season, transport: Transport) -> dict[_Words, Callable[..., Fetcher]]:
    """What the season fetches beside Sentinel-2, and what makes its fetcher of options."""
    from eo_pipeline.acquire.season_fetch import radar_fetcher, terrain_fetcher
    from eo_pipeline.acquire.sources.registry import open_radar, open_terrain

    found: dict[_Words, Callable[..., Fetcher]] = {}
    if radar := open_radar(season, transport=transport):
        found[_Words.SENTINEL1] = partial(radar_fetcher, season, radar)
    if terrain := open_terrain(season, transport=transport):
        found[_Words.HEIGHTS] = partial(terrain_fetcher, season, terrain)
    return found


def _plan(
    season: Season,
    archives: Sequence[Archive],
    beside: Mapping[_Words, Callable[..., Fetcher]],
    rate: float | None,
    options: FetchOptions,
) -> dict[_Words, FetchPlan]:
    from eo_pipeline.acquire.season_fetch import level1c_fetcher, scene_fetcher

    plans: dict[_Words, FetchPlan] = {}
    if archives or not beside:
        scenes = scene_fetcher(season, archives, options=options).plan(bytes_per_s=rate)
        plans[_Words.SENTINEL2] = scenes
        if level1c := level1c_fetcher(season, archives, scenes.completeness, options=options):
            plans[_Words.LEVEL1C] = level1c.plan(bytes_per_s=rate)
    for words, fetcher in beside.items():
        plans[words] = fetcher(options=options).plan(bytes_per_s=rate)
    return plans


def _fetch(
    season: Season,
    archives: Sequence[Archive],
    beside: Mapping[_Words, Callable[..., Fetcher]],
    on_progress: Callable[[FetchProgress], None],
    options: FetchOptions,
) -> dict[_Words, Completeness]:
    from eo_pipeline.acquire.season_fetch import level1c_fetcher, scene_fetcher
    from eo_pipeline.scenes.proofs import prover

    results: dict[_Words, Completeness] = {}

    def left() -> FetchOptions:
        if options.max_bytes is None:
            return options
        spent = sum(result.fetched_bytes for result in results.values())
        return replace(options, max_bytes=max(0, options.max_bytes - spent))

    if archives or not beside:
        prove = prover(season.source.root)
        scenes = scene_fetcher(season, archives, prove=prove, options=options).run(on_progress)
        results[_Words.SENTINEL2] = scenes
        if level1c := level1c_fetcher(season, archives, scenes, options=left()):
            results[_Words.LEVEL1C] = level1c.run(on_progress)
    for words, fetcher in beside.items():
        results[words] = fetcher(options=left()).run(on_progress)
    return results


def _need_scenes(season: Season, result: Completeness | None) -> None:
    """Refuse a season of which no source has anything, unless it is yet to begin; say who did not answer."""
    if result is None or result.scenes or season.start > datetime.now(UTC).date():
        return
    from eo_pipeline.acquire.screening import read_region
    from eo_pipeline.errors import SeasonFileError

    west, south, east, north = read_region(season.region).bounds
    raise SeasonFileError(
        f"{season.path}: no source has a Sentinel-2 product of {season.start} to {season.end} over [region] "
        f"{season.region.name!r}, which reaches from {west:.2f} to {east:.2f} degrees east and from "
        f"{south:.2f} to {north:.2f} north. "
        + (
            f"Not every source answered: {' '.join(result.notes)}"
            if any(source.state != "answered" for source in result.sources)
            else "Correct its outline, [season] or [source] tiles."
        )
    )


def _document(plans: Mapping[_Words, FetchPlan], results: Mapping[_Words, Completeness]) -> dict[str, object]:
    """For --json: what is told of Sentinel-2, and below `level1c`, `radar` and `terrain` the same of them."""
    told: dict[_Words, dict[str, Any]] = {
        words: result.as_dict() | ({"plan": _plan_facts(plans[words])} if words in plans else {})
        for words, result in results.items()
    }
    document: dict[str, Any] = told.get(_Words.SENTINEL2, {})
    keys = {"level1c": _Words.LEVEL1C, "radar": _Words.SENTINEL1, "terrain": _Words.HEIGHTS}
    for key, words in keys.items():
        if words in told:
            document[key] = told[words]
    return document | {"complete": all(result.complete for result in results.values())}


@contextmanager
def _told() -> Iterator[None]:
    """Print an error a user can mend, and leave with 2; Ctrl-C leaves with what has arrived kept."""
    try:
        yield
    except KeyboardInterrupt:
        typer.secho("Stopped. What has arrived is kept; give the command again to go on.", err=True)
        raise typer.Exit(_STOPPED) from None
    except EOPipelineError as error:
        typer.secho(f"Error: {error}", fg="red", err=True)
        raise typer.Exit(2) from error


@contextmanager
def bytes_bar(*, quiet: bool) -> Iterator[Callable[[FetchProgress], None]]:
    """A bar of bytes on the error stream."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn
    from rich.progress import TransferSpeedColumn as Speed

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        Speed(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True, disable=quiet) as bar:
        task = bar.add_task("searching", total=None)

        def show(step: FetchProgress) -> None:
            bar.update(task, completed=step.bytes_done, total=step.bytes_total, description=step.message)

        yield show


def tell_missing(result: Completeness) -> None:
    """Say on the error stream which products a run goes on without, and why."""
    name, _, _ = _OF_COLLECTION[result.collection].value
    lost = [scene for scene in result.scenes if scene.state in ("failed", "quarantined", "missing")]
    if lost:
        typer.echo(
            f"{len(lost)} of {len(result.scenes)} {name} could not be fetched; going on without them. "
            "The next run asks for them again.",
            err=True,
        )
    for scene in lost[:_MOST_TOLD]:
        typer.echo(f"not fetched: {scene.name}: {scene.reason or 'not asked for yet'}", err=True)
    if len(lost) > _MOST_TOLD:
        typer.echo(f"and {len(lost) - _MOST_TOLD} more: eo fetch --json", err=True)
    for note in result.notes:
        typer.echo(f"Note: {note}", err=True)


def _plan_facts(plan: FetchPlan) -> dict[str, Any]:
    facts = asdict(plan) | {"hours": plan.seconds / 3600, "fits": plan.fits}
    facts.pop("completeness")
    return facts


def _print_plan(words: _Words, plan: FetchPlan, *, every: bool) -> None:
    name, _, why = words.value
    left_out = f"{plan.screened_out} are left out {why}, " if why else ""
    typer.echo(f"{plan.scenes} {name} found; {plan.there} are here, {left_out}{plan.to_fetch} to fetch.")
    typer.echo(
        f"About {plan.bytes / 1e9:.2f} GB, {plan.seconds / 3600:.2f} h at {plan.bytes_per_s / 1e6:.1f} MB/s; "
        f"{plan.free_bytes / 1e9:.1f} GB free on the disk"
        + ("." if plan.fits else ": NOT ENOUGH. Make room, or fetch a part with --max-gb.")
    )
    if words is _Words.SENTINEL2:
        typer.echo("The scene classification may turn out more of them; those bands are not fetched then.")
    _print_table(plan.completeness, words, planned=True, every=every)


def _print_sum(plans: Sequence[FetchPlan]) -> None:
    size, seconds = sum(plan.bytes for plan in plans), sum(plan.seconds for plan in plans)
    typer.echo(f"Together about {size / 1e9:.2f} GB, {seconds / 3600:.2f} h.")


def _print_result(words: _Words, result: Completeness, *, every: bool) -> None:
    name, _, why = words.value
    left_out = f"{result.count('screened-out')} left out {why}, " if why else ""
    typer.echo(
        f"{result.count('done')} {name} here, {left_out}"
        f"{result.count('failed')} failed, {result.count('quarantined')} quarantined, "
        f"{result.count('missing')} not fetched; "
        f"{result.fetched_bytes / 1e6:.1f} MB came in this run."
    )
    _print_table(result, words, planned=False, every=every)
    for scene in result.scenes:
        if scene.state in ("failed", "quarantined"):
            typer.echo(f"{scene.state}: {scene.name}: {scene.reason}", err=True)


def _print_table(result: Completeness, words: _Words, *, planned: bool, every: bool) -> None:
    from rich.console import Console
    from rich.table import Table

    what, group, _ = words.value
    for note in result.notes:
        typer.echo(f"Note: {note}", err=True)
    if not result.dekads:
        states = ", ".join(f"{s.tile} {'here' if s.state == 'done' else s.state}" for s in result.scenes)
        typer.echo(f"{what[0].upper() + what[1:]}: {states or 'none'}")
        return
    table = Table(title=f"{what[0].upper() + what[1:]} per {group} and dekad (旬)", title_justify="left")
    left_out = "cloudy" if words is _Words.SENTINEL2 else "left out"
    names = ("found", "here", left_out, "failed", "quarantined", "to fetch" if planned else "missing")
    totals = [sum(column) for column in zip(*map(_figures, result.dekads), strict=True)]
    told = [n for n, total in enumerate(totals) if n < 2 or total]  # no empty columns
    for name in (group, "dekad", *(names[n] for n in told), "why not"):
        table.add_column(name, justify="left" if name in (group, "dekad", "why not") else "right")
    for rows in _folded(result.dekads, every=every):
        row = rows[0]
        figures = [str(sum(column) or "·") for column in zip(*map(_figures, rows), strict=True)]
        to_come = planned and row.missing
        style = "bold red" if row.empty and not (to_come or row.ahead) else None
        dekad = str(row.start) if len(rows) == 1 else f"{row.start} … {rows[-1].start}"
        why = _why(row) if len(rows) == 1 else f"{len(rows)} dekads {'yet to come' if row.ahead else 'full'}"
        table.add_row(row.tile, dekad, *(figures[n] for n in told), why, style=style)
    console = Console()
    console.print(table)
    empty = [row for row in result.empty_dekads if not ((planned and row.missing) or row.ahead)]
    for tile, count in Counter(row.tile for row in empty).items():
        days = ", ".join(str(row.start) for row in empty if row.tile == tile)
        console.print(f"{tile}: nothing usable in {count} dekads: {days}", highlight=False, soft_wrap=True)


def _figures(row: DekadReport) -> tuple[int, ...]:
    return row.found, row.usable, row.screened_out, row.failed, row.quarantined, row.missing


def _folded(rows: Sequence[DekadReport], *, every: bool) -> list[list[DekadReport]]:
    """Rows of the table: full dekads of a tile that follow each other, and those yet to come, are one."""
    if every:
        return [[row] for row in rows]
    folded: list[list[DekadReport]] = []
    for (_, full, ahead), group in groupby(rows, key=lambda row: (row.tile, row.full, row.ahead)):
        alike = list(group)
        folded += [alike] if full or ahead else [[row] for row in alike]
    return folded


def _why(row: DekadReport) -> str:
    """The reasons in short; --json has them all."""
    shown = [reason if len(reason) < 100 else f"{reason[:97]}…" for reason in row.reasons[:2]]
    more = len(row.reasons) - len(shown)
    return "\n".join(shown) + (f"\nand {more} more (--json)" if more > 0 else "")
