"""Commands of the sources: `eo sources`, `eo search`."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from eo_pipeline.errors import ArchiveError, EOPipelineError

if TYPE_CHECKING:
    from eo_pipeline.acquire.completeness import SourceReport
    from eo_pipeline.acquire.observations import Candidate
    from eo_pipeline.acquire.products import Archive, Health, Product
    from eo_pipeline.acquire.transport import Transport

_SOURCES_EPILOG = """Examples:

eo sources                                   all public archives

eo sources examples/pingliang.toml           those of one season, in the order they are tried

eo sources --json                            for machines

Credentials are never shown. Exit code 0 even where one of them cannot be reached, 2 where none can."""

_SEARCH_EPILOG = """Examples:

eo search examples/jingning.toml

eo search examples/pingliang.toml --all      every provider, not only the first that answers

eo search season.toml --json > products.json"""

JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON, and nothing else, on stdout.")]


@contextmanager
def _told() -> Iterator[None]:
    """Print an error a user can mend, and leave with 2."""
    try:
        yield
    except EOPipelineError as error:
        typer.secho(f"Error: {error}", fg="red", err=True)
        raise typer.Exit(2) from error


def register(app: typer.Typer) -> None:
    """Add the sources' commands to the `eo` command."""
    app.command("sources", epilog=_SOURCES_EPILOG)(sources)
    app.command("search", epilog=_SEARCH_EPILOG)(search)


def sources(
    season: Annotated[
        Path | None, typer.Argument(help="Only the archives of this season file.", metavar="[SEASON.toml]")
    ] = None,
    *,
    as_json: JsonOption = False,
) -> None:
    """Show which archives are set up, where their credentials come from, and whether they answer."""
    with _told():
        from eo_pipeline.acquire.sources.registry import (
            known_sources,
            open_archives,
            open_radar,
            open_terrain,
        )
        from eo_pipeline.acquire.transport import Limits, Transport
        from eo_pipeline.season import read_season

        # a question of health is not worth minutes of patience
        transport = Transport(
            limits=Limits(attempts=2, connect_timeout=5.0, read_timeout=15.0, backoff_s=0.5)
        )
        if season is not None:
            read = read_season(season)
            openers = (open_archives, open_radar, open_terrain)
            archives = [archive for ask in openers for archive in ask(read, transport=transport)]
            if not archives:
                raise ArchiveError(f"{season} reads a folder of rasters; it has no archive to test.")
            rows = _check_all(archives)
        else:
            rows = _public(transport)
    if as_json:
        about = {source.name: source for source in known_sources()}
        typer.echo(
            json.dumps(
                [
                    asdict(row) | {"about": about[row.name].about, "collections": about[row.name].collections}
                    for row in rows
                ],
                ensure_ascii=False,
                indent=1,
            )
        )
    else:
        _print_health(rows)
    if not any(row.reachable for row in rows):
        from eo_pipeline.acquire.answers import NO_NETWORK

        strange = all(NO_NETWORK in row.message for row in rows if row.reachable is False)
        what = NO_NETWORK if strange else "What is wrong stands with each of them."
        typer.secho(f"Error: no archive can be reached. {what}", fg="red", err=True)
        raise typer.Exit(2)


def search(
    season: Annotated[Path, typer.Argument(help="The season file (TOML).", metavar="SEASON.toml")],
    *,
    every: Annotated[
        bool, typer.Option("--all", help="Ask every provider, not only the first that answers.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """List the products archives hold for a season: tile, time, baseline, cloud, size; counts by month."""
    with _told():
        import math
        import threading

        from eo_pipeline.acquire.searching import Search, why_none
        from eo_pipeline.acquire.sources.registry import open_archives, season_query
        from eo_pipeline.acquire.transport import Transport
        from eo_pipeline.season import read_season

        read = read_season(season)
        query = season_query(read)
        archives = open_archives(read, transport=Transport())
        found: list[Candidate] = []
        reports: list[SourceReport] = []
        errors: list[tuple[str, ArchiveError]] = []
        for group in [archives] if every else [[archive] for archive in archives]:
            asked = Search(group, query, threading.Event())
            asked.wait(math.inf)
            found += asked.found()
            reports += asked.reports()
            errors += asked.errors
            if not asked.failure():
                break
        else:
            raise ArchiveError(f"No source answered. {why_none(errors)} `eo sources {season}` tests them.")
        for report in reports:
            if report.state != "answered":
                typer.secho(f"Left out: {report.reason}", fg="yellow", err=True)
    counts = _counts(found)
    if as_json:
        facts = {
            "season": read.id,
            "period": [query.start.isoformat(), query.end.isoformat()],
            "sources": [report.name for report in reports if report.state == "answered"],
            "failures": [report.reason for report in reports if report.state != "answered"],
            "products": [_row(item.product) for item in found],
            "counts": counts,
        }
        typer.echo(json.dumps(facts, ensure_ascii=False, indent=1))
        return
    _print_products([item.product for item in found])
    _print_counts(counts)
    if not found:
        typer.echo("No product. Look at [season] start and end, [region], and [source] tiles and max_cloud.")


def _public(transport: Transport) -> list[Health]:
    """All sources that have an address; the others are shown with what they need."""
    import os

    from eo_pipeline.acquire import credentials
    from eo_pipeline.acquire.products import Health
    from eo_pipeline.acquire.sources.registry import known_sources, open_archive

    archives: list[Archive] = []
    waiting: list[Health] = []
    for source in known_sources():
        if source.address or os.environ.get(f"EO_{source.name.upper()}_URL"):
            archives.append(open_archive(source.name, transport=transport))
        else:
            said = credentials.status(source.credentials)
            message = f"set [source] url in a season file, or EO_{source.name.upper()}_URL"
            waiting.append(Health(source.name, source.name, "", said, None, message))
    return _check_all(archives) + waiting


def _check_all(archives: Sequence[Archive]) -> list[Health]:
    """Test all at once: each waits for its network and not for the others."""
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(max_workers=max(1, len(archives))) as pool:
        # one that serves both missions is told once
        return list(dict.fromkeys(pool.map(lambda archive: archive.check(), archives)))


def _row(product: Product) -> dict[str, Any]:
    return {
        "source": product.source,
        "tile": product.tile,
        "sensed": product.sensed.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "baseline": product.baseline,
        "orbit": product.orbit,
        "cloud_cover": product.cloud_cover,
        "bytes": product.size,
        "online": product.online,
        "name": product.name,
        "id": product.id,
        "checksums": dict(product.checksums),
    }


def _counts(found: Sequence[Candidate]) -> dict[str, dict[str, int]]:
    """Observations by tile and month. A product at two providers, or reprocessed, is one observation; the
    two parts of one that a data strip's end splits are two.
    """
    from eo_pipeline.acquire.observations import choose

    counted = Counter((item.best.tile, item.best.sensed.strftime("%Y-%m")) for item in choose(found))
    tiles: dict[str, dict[str, int]] = {}
    for (tile, month), number in sorted(counted.items()):
        tiles.setdefault(tile, {})[month] = number
    return tiles


def _print_health(rows: Sequence[Health]) -> None:
    from eo_pipeline.acquire.answers import NO_NETWORK

    words = {True: "answers", False: "DOES NOT ANSWER", None: "not set up"}
    for row in rows:
        colour = {True: "green", False: "red", None: None}[row.reachable]
        typer.echo(f"{row.name}: " + typer.style(words[row.reachable], fg=colour))
        # said once for all where it is said of all
        message = row.message.removesuffix(NO_NETWORK).strip()
        for label, text in (("address", row.address), ("credentials", row.credentials), ("", message)):
            if text:
                typer.echo(f"  {label:<12} {text}")


def _print_products(products: Sequence[Product]) -> None:
    rows = [
        (
            product.tile,
            product.sensed.strftime("%Y-%m-%d %H:%M"),
            product.baseline or "?",
            "" if product.cloud_cover is None else f"{product.cloud_cover:.1f} %",
            product.source + ("" if product.online else " (offline)"),
            "?" if product.size is None else f"{product.size / 1e6:,.0f} MB",
            product.name,
        )
        for product in products
    ]
    _print_table(
        f"{len(rows)} products", ("tile", "sensed (UTC)", "baseline", "cloud", "source", "size", "name"), rows
    )


def _print_counts(counts: Mapping[str, Mapping[str, int]]) -> None:
    months = sorted({month for row in counts.values() for month in row})
    rows = [
        (tile, *(str(row.get(month, 0)) for month in months), str(sum(row.values())))
        for tile, row in counts.items()
    ]
    _print_table("Observations by tile and month", ("tile", *months, "sum"), rows)


def _print_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Plain columns, none cut off: names of products are copied from here."""
    widths = [max(map(len, cells)) for cells in zip(columns, *rows, strict=True)]
    typer.echo(title)
    for row in (columns, *rows):
        typer.echo("  " + "  ".join(f"{c:<{w}}" for c, w in zip(row, widths, strict=True)).rstrip())
