"""Commands that judge areas: `eo evaluate area` from an answered sample, and `eo evaluate early`, from when
in a season they can be told.
"""

# ruff: noqa: PLR0917 - a command's parameters are its options; nobody calls it by position
from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from eo_pipeline.cli_models import GroupKmOption, SeedOption, TableOption, ThreadsOption, evaluate_app
from eo_pipeline.cli_sample import Classes, Json, MapFile, read_map
from eo_pipeline.cli_telling import print_json, print_table, say

if TYPE_CHECKING:
    from eo_pipeline.products.class_map import ClassMap

#: Units of which the map shows less are told.
FULLY_COVERED: Final = 0.99


def register(_: typer.Typer) -> None:
    """Add `area` and `early` to `eo evaluate`."""
    evaluate_app.command("area")(evaluate_area)
    evaluate_app.command("early")(evaluate_early)


def evaluate_area(
    map_file: MapFile,
    sample: Annotated[Path, typer.Argument(help="Answered sample: GeoJSON, GPKG or CSV.", metavar="SAMPLE")],
    strata: Annotated[
        Path | None,
        typer.Option(
            "--strata", help="Map that the sample was drawn from, where its sheet does not tell it."
        ),
    ] = None,
    units: Annotated[
        Path | None, typer.Option("--units", help="Polygons of counties or townships to estimate, too.")
    ] = None,
    unit_field: Annotated[str, typer.Option("--unit-field", help="Field with the units' codes.")] = "code",
    design: Annotated[
        str | None,
        typer.Option(
            "--design", help="stratified_random or simple_random, where the sample does not say it."
        ),
    ] = None,
    label: Annotated[str, typer.Option("--label", help="Field with the answers.")] = "label",
    quadrats: Annotated[
        Path | None,
        typer.Option("--quadrats", help="Sheet of ground quadrats; SAMPLE then holds the parcels in them."),
    ] = None,
    rest: Annotated[
        str | None, typer.Option("--rest", help="With --quadrats: class of what lies under no parcel.")
    ] = None,
    classes: Classes = None,
    confidence: Annotated[
        float, typer.Option("--confidence", min=0.5, max=0.999, help="Of the intervals.")
    ] = 0.95,
    as_json: Json = False,
) -> None:
    """Areas, and accuracy of a map, from a probability sample: estimates with intervals beside pixel counts.

    Example: eo evaluate area crop_type.tif sample.gpkg --units counties.geojson --json
    """
    import numpy as np

    from eo_pipeline.errors import SampleError
    from eo_pipeline.products.answers import lay_on_map, read_answers
    from eo_pipeline.products.area_facts import accuracy_facts, area_rows, rounded, sample_estimates
    from eo_pipeline.products.zonal import AREA_METHOD, read_units, unit_area_ha

    found = read_map(map_file, classes)
    if quadrats is not None:
        if strata or units or design:
            raise SampleError(
                "--quadrats goes without --strata, --design and --units: quadrats tell their design "
                "themselves, and are too few for counties. Draw points for these (eo sample draw)."
            )
        facts = _judge_quadrats(found, quadrats, sample, label, rest, confidence)
        print_json(facts) if as_json else _print_areas(facts)
        return
    if rest is not None:
        raise SampleError("--rest is for --quadrats: points without an answer are left empty.")
    answers = read_answers(sample, design=design, label=label).named(found.names)
    zones = read_units(units, code_field=unit_field) if units else ()
    labels = tuple(dict.fromkeys((*found.names.values(), *answers.label_names())))
    mapped_ha, unit_ha = found.hectares(zones)
    drawn_from = None
    if strata is not None:
        old = read_map(strata, classes)
        drawn_from = (old.at(sample, answers.points), old.hectares()[0])
    reference = lay_on_map(
        answers, found.at(sample, answers.points), labels, mapped_ha, drawn_from=drawn_from
    )
    missed = len(labels) - len(found.names)
    padded = np.pad(unit_ha, ((0, 0), (0, missed)))  # classes that the map misses have no area in it
    counts = [mapped_ha.get(name, 0.0) for name in labels]
    estimates = sample_estimates(reference, counts, zones, padded, confidence=confidence)
    unit_rows = [
        row
        for zone, area, estimate in zip(zones, padded, estimates.units, strict=True)
        for row in area_rows(estimate, area.tolist(), unit=zone.code)
    ]
    facts = {
        "map": str(map_file),
        "sample": str(sample),
        "area_method": AREA_METHOD,
        "areas": area_rows(estimates.region.area, counts),
        "areas_model_assisted": area_rows(estimates.assisted, counts) if estimates.assisted else [],
        "units": unit_rows,
        "covered": {
            zone.code: round(float(area.sum()) / unit_area_ha(zone), 4)
            for zone, area in zip(zones, unit_ha, strict=True)
        },
        "accuracy": accuracy_facts(reference, estimates.region.accuracy),
        "strata": [
            {"stratum": name, "area_ha": rounded(area, 4), "points": int(n)}
            for name, area, n in zip(
                reference.strata, reference.stratum_ha, reference.counts().sum(axis=(1, 2)), strict=True
            )
        ],
        "not_mapped": list(labels[len(found.names) :]),
    }
    if as_json:
        print_json(facts)
        return
    _print_areas(facts)


def evaluate_early(
    *,
    train: Annotated[Path, typer.Option("--train", help="npz with X (n, t, c), y and optional groups.")],
    dates: Annotated[
        str | None,
        typer.Option("--dates", help="The t dates of X, where the npz has no dates: 2026-03-05,2026-03-15,…"),
    ] = None,
    f1: Annotated[float, typer.Option("--f1", help="F1 from which a crop counts as told apart.")] = 0.8,
    folds: Annotated[int, typer.Option("--folds", min=2, help="Parts of the cross-validation.")] = 5,
    table: TableOption = None,
    group_km: GroupKmOption = None,
    seed: SeedOption = 42,
    threads: ThreadsOption = None,
    as_json: Json = False,
) -> None:
    """From which date of a season each crop is told from the others, and its area may be published.

    Example: eo evaluate early --train samples-2025.npz --f1 0.8 --json
    """
    from eo_pipeline.errors import SampleError
    from eo_pipeline.products.area_facts import rounded
    from models.early import separability
    from models.samples import read_samples

    read = read_samples(train, table=table, group_km=group_km)
    steps = read.data.X.shape[1]
    days = [part.strip() for part in dates.split(",")] if dates else _dates_of(train, steps)
    if len(days) != steps:
        raise SampleError(
            f"--dates names {len(days)} dates, and the series of {train} have {steps}. Give each."
        )
    found = separability(
        read.data.X,
        read.data.y,
        groups=read.data.groups,
        folds=folds,
        seed=seed,
        threshold=f1,
        threads=threads,
    )
    first = {
        name: None if at is None else days[at] for name, at in zip(found.labels, found.first, strict=True)
    }
    if as_json:
        print_json(
            {
                "train": str(train),
                "f1_asked": f1,
                "separable_from": first,
                "dates": days,
                "overall_accuracy": rounded(found.overall),
                "f1": {name: rounded(found.f1[:, k]) for k, name in enumerate(found.labels)},
            }
        )
        return
    print_table(
        f"Told apart (F1 of {f1:g} out of fold, and not below it again)",
        ("class", "from", "F1 then", "F1 at the end"),
        [
            (
                name,
                first[name] or "not in this season",
                "" if at is None else f"{found.f1[at, k]:.2f}",
                f"{found.f1[-1, k]:.2f}",
            )
            for k, (name, at) in enumerate(zip(found.labels, found.first, strict=True))
        ],
    )


def _dates_of(train: Path, steps: int) -> list[str]:
    """The dates that an npz has beside X, else the numbers of the steps."""
    import numpy as np

    with np.load(train, allow_pickle=False) as arrays:
        if "dates" in arrays.files and arrays["dates"].shape == (steps,):
            return [str(day) for day in arrays["dates"]]
    return [str(number) for number in range(1, steps + 1)]


def _judge_quadrats(
    found: ClassMap, sheet: Path, parcels: Path, label: str, rest: str | None, confidence: float
) -> dict[str, Any]:
    """Facts of a map from surveyed quadrats."""
    from eo_pipeline.products.area_facts import area_rows, map_accuracy_facts
    from eo_pipeline.products.quadrats import quadrat_estimates, read_quadrats, survey
    from eo_pipeline.products.samples import read_shapes
    from eo_pipeline.products.sampling import QUADRATS
    from eo_pipeline.products.zonal import AREA_METHOD

    surveyed = survey(found, read_quadrats(sheet), read_shapes(parcels, label=label), parcels, rest=rest)
    estimates = quadrat_estimates(surveyed, confidence=confidence)
    return {
        "map": str(found.path),
        "sample": str(parcels),
        "area_method": AREA_METHOD,
        "areas": area_rows(estimates.area, surveyed.mapped_ha.tolist()),
        "areas_model_assisted": [],
        "units": [],
        "covered": {},
        "accuracy": {
            "design": QUADRATS,
            "n": len(surveyed.hectares),
            "labels": list(surveyed.labels),
            **map_accuracy_facts(estimates.accuracy),
            "method": f"{estimates.area.method}, area-weighted",
            "interval_method": "Student's t; accuracies on the logit scale (Korn & Graubard 1998)",
            "notes": list(surveyed.notes),
        },
    }


def _print_areas(facts: dict[str, Any]) -> None:
    def area(row: dict[str, Any]) -> tuple[str, ...]:
        cv = "" if row["cv"] is None else f"{row['cv']:.1%}"
        interval = f"{row['ci_low_ha']:,.1f} – {row['ci_high_ha']:,.1f}"
        return row["class"], f"{row['pixel_count_ha']:,.1f}", f"{row['area_ha']:,.1f}", interval, cv

    accuracy = facts["accuracy"]
    head = ("class", "pixel count, ha", "estimate, ha", "interval", "CV")
    title = f"Areas ({accuracy['method'].split(',')[0]}, {accuracy['n']} points, {accuracy['design']})"
    print_table(title, head, [area(row) for row in facts["areas"]])
    if facts["areas_model_assisted"]:
        print_table("Areas (model_assisted)", head, [area(row) for row in facts["areas_model_assisted"]])
    if facts["units"]:
        print_table(
            "Units (model_assisted)",
            ("unit", *head, "points"),
            [(row["unit"], *area(row), row["n_samples"]) for row in facts["units"]],
        )

    def share(value: float | None, bounds: list[float | None]) -> str:
        if value is None or None in bounds:
            return "" if value is None else f"{value:.3f}"
        return f"{value:.3f} ({bounds[0]:.3f} – {bounds[1]:.3f})"

    print_table(
        "Accuracy",
        ("class", "user's", "producer's"),
        [
            (
                name,
                share(accuracy["users_accuracy"][k], accuracy["users_interval"][k]),
                share(accuracy["producers_accuracy"][k], accuracy["producers_interval"][k]),
            )
            for k, name in enumerate(accuracy["labels"])
        ],
    )
    say(f"Overall accuracy: {share(accuracy['overall_accuracy'], accuracy['overall_interval'])}")
    for unit, share_of in facts["covered"].items():
        if share_of < FULLY_COVERED:
            say(f"Note: the map shows {share_of:.1%} of {unit}; its areas are of that part.")
    for note in accuracy["notes"]:
        say(f"Note: {note}.")
