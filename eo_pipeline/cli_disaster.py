"""`eo disaster`: the events of a season, hazard and damage apart."""

# ruff: noqa: PLR0917 - a command's parameters are its options; nobody calls it by position
from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from eo_pipeline.cli_telling import print_json, print_table, say

_EPILOG = """Examples:

eo disaster season.toml

eo disaster season.toml --json"""


def register(app: typer.Typer) -> None:
    """Add `eo disaster`, and what stands beside it: water and weather."""
    from eo_pipeline import cli_water, cli_weather

    cli_water.register(app)
    cli_weather.register(app)
    app.command("disaster", epilog=_EPILOG)(disaster)


def disaster(
    season: Annotated[Path, typer.Argument(help="The season file (TOML).", metavar="SEASON.toml")],
    out: Annotated[Path | None, typer.Option("--out", help="Folder for run folders.")] = None,
    work: Annotated[str | None, typer.Option("--work", help="Folder or s3://… for cubes.")] = None,
    scheduler: Annotated[str | None, typer.Option("--scheduler", help="Dask cluster, tcp://….")] = None,
    workers: Annotated[int | None, typer.Option("--workers", min=0, help="Processes.")] = None,
    block: Annotated[int | None, typer.Option("--block", min=16, max=8192, help="Side of a block.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, and nothing else.")] = False,
) -> None:
    """Find flood, frost and hail in a season that has the table [disaster], with areas by grade of loss."""
    from eo_pipeline.cli import _season_run
    from eo_pipeline.errors import SeasonFileError
    from eo_pipeline.products.disaster_season import lonlat_bbox

    with _season_run(season, out, work, scheduler, workers, block, quiet=as_json) as job:
        if job.plan.season.disaster is None:
            raise SeasonFileError(
                f"{season} has no table [disaster], so no disaster is looked for. Add the "
                "table; it may be empty."
            )
        grids = {tile.name: tile.tile.grid for tile in job.plan.tiles}
        records: list[dict[str, Any]] = [event.record(lonlat_bbox(event, grids)) for event in job.events]
    if as_json:
        print_json(records)
        return
    rows = [
        (
            record["id"],
            record["zh"],
            f"{record['start']} – {record['end']}",
            *(
                f"{area['ha']:,.1f} ({area['low_ha']:,.1f} – {area['high_ha']:,.1f})"
                for area in record["areas"].values()
            ),
        )
        for record in records
    ]
    if not rows:
        say("No event was found.")
        return
    print_table("Disasters, ha (遥感初判)", ("", "", "between", "受灾", "成灾", "绝收"), rows)
    say("Limits of loss are on trial (试行); see products/thresholds.csv")
