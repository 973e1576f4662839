"""Commands of water and damage: `eo water`, `eo evaluate water`, `eo evaluate disaster`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from eo_pipeline.cli_telling import print_json, print_table, say, say_note

if TYPE_CHECKING:
    from eo_pipeline.products.map_score import Agreement, Compared
    from eo_pipeline.products.water_map import WaterMap

_WATER_EPILOG = """Examples:

eo water --s2 scene.tif --out water.tif

eo water --s1 radar_db.tif --out water.tif --json

eo water --s1 radar_db.tif --s2 scene.tif --out water.tif --baseline otsu.tif"""

_EVALUATE_WATER_EPILOG = """Examples:

eo evaluate water water.tif reference.tif --json

eo evaluate water water.tif reference.tif --baseline otsu.tif"""

_EVALUATE_DISASTER_EPILOG = """Examples:

eo evaluate disaster events.tif truth.tif --json

eo evaluate disaster events.tif truth.tif --within cropland.tif --smallest 20"""

#: Hazards by their code in rasters of events.
HAZARDS = {1: "drought", 2: "frost", 3: "hail", 4: "flood"}

Json = Annotated[bool, typer.Option("--json", help="Print JSON, and nothing else, on stdout.")]
Predicted = Annotated[Path, typer.Argument(help="The map (GeoTIFF).", metavar="PREDICTED.tif")]
Reference = Annotated[
    Path,
    typer.Argument(
        help="What is true, on the same grid; nodata and values below 0 are left out.",
        metavar="REFERENCE.tif",
    ),
]
Within = Annotated[
    Path | None, typer.Option("--within", help="GeoTIFF on the same grid: count only where it is above 0.")
]


def register(app: typer.Typer) -> None:
    """Add the commands to `eo` and to `eo evaluate`."""
    from eo_pipeline.cli_models import evaluate_app

    app.command("water", epilog=_WATER_EPILOG)(water)
    evaluate_app.command("water", epilog=_EVALUATE_WATER_EPILOG)(evaluate_water)
    evaluate_app.command("disaster", epilog=_EVALUATE_DISASTER_EPILOG)(evaluate_disaster)


def water(
    *,
    s1: Annotated[
        Path | None, typer.Option("--s1", help="Sentinel-1: bands VV and VH in dB.", metavar="VV_VH_dB.tif")
    ] = None,
    s2: Annotated[
        Path | None,
        typer.Option(
            "--s2",
            help="Sentinel-2: 13 bands in the order of Level-1C, or named by the bands' descriptions.",
            metavar="STACK.tif",
        ),
    ] = None,
    out: Annotated[
        Path, typer.Option("--out", help="Map to write: 0 land, 1 water, 255 not seen.", metavar="WATER.tif")
    ],
    baseline: Annotated[
        Path | None,
        typer.Option(
            "--baseline", help="Write the Otsu cut of the green/SWIR index too.", metavar="OTSU.tif"
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Map the open water that a Sentinel-1 or Sentinel-2 image shows, or both together, and tell its km²."""
    from eo_pipeline.products.water_map import map_water

    found = map_water(s1=s1, s2=s2, out=out, baseline=baseline)
    if as_json:
        print_json(_facts(found))
        return
    _show(found)


def evaluate_water(
    predicted: Predicted,
    reference: Reference,
    *,
    within: Within = None,
    baseline: Annotated[
        Path | None, typer.Option("--baseline", help="A simpler map to compare with, on the same grid.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Measure a map of water (anything above 0 is water) against a reference: IoU, precision, recall, km²."""
    from eo_pipeline.products.map_score import compare

    found = compare(predicted, reference, within=within)
    facts = _compared(found) | found.whole.as_dict()
    rows = [("map", found.whole)]
    if baseline is not None:
        simple = compare(baseline, reference, within=within).whole
        facts["baseline"] = simple.as_dict()
        rows.append(("baseline", simple))
    if as_json:
        print_json(facts)
        return
    _print_agreement("Water", rows)
    say(f"{found.pixels:,} pixels compared; {found.unseen:,} of them unseen by the map, taken as no water")


def evaluate_disaster(
    predicted: Predicted,
    reference: Reference,
    *,
    within: Within = None,
    smallest: Annotated[
        int, typer.Option("--smallest", min=1, help="Pixels of the smallest patch that counts as an event.")
    ] = 10,
    as_json: Json = False,
) -> None:
    """Measure a map of damage by hazard (1 drought, 2 frost, 3 hail, 4 flood) against a reference.

    False alarm is what the map shows and the reference has none of, as a share of all pixels compared: with
    --within, of cropland.
    """
    from eo_pipeline.products.map_score import compare

    found = compare(predicted, reference, within=within, smallest=smallest)
    hazards = {
        HAZARDS.get(code, str(code)): item.as_dict()
        | {"false_alarm": round(item.map_only / found.pixels, 6)}
        | {"patches_found": found.events[code][0], "patches": found.events[code][1]}
        for code, item in found.classes.items()
    }
    facts = _compared(found) | {
        "any": found.whole.as_dict() | {"false_alarm": round(found.whole.map_only / found.pixels, 6)},
        "hazards": hazards,
    }
    if as_json:
        print_json(facts)
        return
    rows = [(HAZARDS.get(code, str(code)), item) for code, item in found.classes.items()]
    _print_agreement("Damage", [*rows, ("any", found.whole)])
    for name, item in hazards.items():
        say(f"{name}: {item['patches_found']} of {item['patches']} patches found")
    say(f"False alarm: {facts['any']['false_alarm']:.2%} of {found.pixels:,} pixels")


def _compared(found: Compared) -> dict[str, Any]:
    return {"pixels": found.pixels, "unseen": found.unseen}


def _print_agreement(title: str, rows: list[tuple[str, Agreement]]) -> None:
    def km2(value: float | None) -> str:
        return "—" if value is None else f"{value:,.3f}"

    print_table(
        title,
        ("", "IoU", "precision", "recall", "F1", "map km²", "reference km²"),
        [
            (
                name,
                *(f"{value:.3f}" for value in (item.iou, item.precision, item.recall, item.f1)),
                km2(item.map_km2),
                km2(item.reference_km2),
            )
            for name, item in rows
        ],
    )


def _facts(found: WaterMap) -> dict[str, Any]:
    def rule(item: Any) -> Any:
        return None if item is None else asdict(item)

    return {
        "map": str(found.path),
        "water_km2": found.water_km2,
        "land_km2": found.land_km2,
        "unseen_km2": found.unseen_km2,
        "pixels": dict(found.pixels),
        "radar": rule(found.radar),
        "optical": rule(found.optical),
        "otsu": found.otsu,
        "notes": list(found.notes),
    }


def _show(found: WaterMap) -> None:
    pixels: Mapping[str, int] = found.pixels
    total = max(1, sum(pixels.values()))
    area = "" if found.water_km2 is None else f"{found.water_km2:,.3f} km², "
    say(f"Water: {area}{pixels['water']:,} pixels, {pixels['water'] / total:.2%} of the image")
    if pixels["unseen"]:
        say(f"Not seen: {pixels['unseen'] / total:.2%} of the image")
    if found.otsu:
        simple = found.otsu["water_km2"]
        told = "" if simple is None else f": {simple:,.3f} km² of water"
        say(f"Otsu's cut of the green/SWIR index, to compare with, at {found.otsu['limit']:.3f}{told}")
    say(f"Map: {found.path}")
    for note in found.notes:
        say_note(note)
