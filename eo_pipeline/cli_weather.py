"""`eo weather`: what a weather file holds, in which units, what it lacks, and how dry it was."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from eo_pipeline.cli_telling import print_json, print_table, say, say_note

if TYPE_CHECKING:
    from eo_pipeline.products.weather import Weather

_EPILOG = """Examples:

eo weather stations.csv

eo weather era5_land.nc --bbox 105.3,34.9,107.9,35.8 --json"""


def register(app: typer.Typer) -> None:
    """Add `eo weather` to the `eo` command."""
    app.command("weather", epilog=_EPILOG)(weather)


def weather(
    file: Annotated[
        Path, typer.Argument(help="CSV of stations, NetCDF file or Zarr folder.", metavar="WEATHER")
    ],
    *,
    bbox: Annotated[
        str | None, typer.Option("--bbox", help="Cells of a grid: west,south,east,north in degrees.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, and nothing else, on stdout.")] = False,
) -> None:
    """Check a weather file: its units, the days it lacks, and SPI-1 and SPI-3 of its last months."""
    from eo_pipeline.errors import WeatherError
    from eo_pipeline.products.weather import read_weather

    box = None
    if bbox is not None:
        try:
            west, south, east, north = (float(part) for part in bbox.split(","))
        except ValueError:
            raise WeatherError(f"--bbox {bbox!r} is not west,south,east,north in degrees.") from None
        box = west, south, east, north
    found = read_weather(file, bbox=box)
    facts = _facts(found)
    if as_json:
        print_json(facts)
        return
    say(f"{file}: {len(found.sites)} sites, {facts['from']} to {facts['to']}")
    for name, unit in facts["units"].items():
        say(f"  {name}: {unit}")
    for gap in facts["gaps"][:10]:
        say_note(
            f"{gap['site']}: {gap['variable']} lacks {gap['days']} days, {gap['longest']} in a row at most, "
            f"the first {gap['first']}"
        )
    if len(facts["gaps"]) > 10:
        say_note(f"and {len(facts['gaps']) - 10} more with days missing")
    for note in facts["notes"]:
        say_note(note)
    if facts["spi"]:
        print_table(
            "Standardised precipitation index, mean of sites",
            ("month", "SPI-1", "SPI-3"),
            [(row["month"], *(_number(row[f"spi_{k}"]) for k in (1, 3))) for row in facts["spi"]],
        )


def _number(value: float | None) -> str:
    return "unknown" if value is None else f"{value:+.2f}"


def _facts(found: Weather) -> dict[str, Any]:
    from eo_pipeline.errors import WeatherError

    notes: list[str] = []
    rows: list[dict[str, Any]] = []
    if found.rain is not None:
        try:
            rows = _dryness(found)
        except WeatherError as error:
            notes.append(str(error))
    return {
        "file": found.source,
        "sites": [
            {"id": site.id, "lon": site.lon, "lat": site.lat, "elevation_m": site.elevation_m}
            for site in found.sites
        ],
        "from": str(found.days[0]),
        "to": str(found.days[-1]),
        "units": dict(found.units),
        "gaps": [
            {
                "site": gap.site,
                "variable": gap.variable,
                "days": gap.days,
                "longest": gap.longest,
                "first": gap.first.isoformat(),
            }
            for gap in found.gaps
        ],
        "spi": rows,
        "notes": notes,
    }


def _dryness(found: Weather) -> list[dict[str, Any]]:
    """SPI of the last twelve months, mean of the sites that know it; None where none does."""
    import numpy as np

    from eo_pipeline.products.climate import monthly_totals, spi

    months, totals = monthly_totals(found.days, found.values("rain"))
    series = {scale: spi(months, totals, scale=scale)[:, -12:] for scale in (1, 3)}
    rows = []
    for number, month in enumerate(months[-12:]):
        row: dict[str, Any] = {"month": str(month)}
        for scale, values in series.items():
            known = values[:, number][np.isfinite(values[:, number])]
            row[f"spi_{scale}"] = round(float(known.mean()), 3) if known.size else None
        rows.append(row)
    return rows
