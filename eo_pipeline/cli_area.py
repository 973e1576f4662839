"""Commands of areas from samples: `eo sample design`, `eo sample draw`, `eo evaluate area`."""

# ruff: noqa: PLR0917 - a command's parameters are its options; nobody calls it by position
from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from eo_pipeline.cli_models import evaluate_app
from eo_pipeline.cli_telling import print_json, print_table, say

if TYPE_CHECKING:
    from eo_pipeline.products.class_map import ClassMap
    from eo_pipeline.products.sampling import Allocation

sample_app = typer.Typer(
    name="sample",
    help="Design and draw probability samples of a map, for surveyors or interpreters to answer.",
    no_args_is_help=True,
)

MapFile = Annotated[Path, typer.Argument(help="Class map, a GeoTIFF of one band.", metavar="MAP.tif")]
Classes = Annotated[
    str | None,
    typer.Option(
        "--classes", help="Names of the codes, 1=wheat,2=maize; by default those of the run folder."
    ),
]
Points = Annotated[int | None, typer.Option("--points", min=1, help="Points to draw.")]
TargetSe = Annotated[
    float | None,
    typer.Option(
        "--target-se",
        help="Instead of --points: as many as give overall accuracy this standard error (0.01: one point).",
    ),
]
Allocate = Annotated[
    str,
    typer.Option("--allocation", help="proportional to area, equal, or neyman (area times expected spread)."),
]
Least = Annotated[int, typer.Option("--min", min=2, help="Points each stratum gets at least.")]
Expected = Annotated[
    str | None,
    typer.Option("--accuracy", help="User's accuracy expected, wheat=0.9,maize=0.8; 0.8 for others."),
]
Crops = Annotated[
    str | None, typer.Option("--crops", help="Classes that are crops, wheat,maize; with --buffer-m.")
]
Buffer = Annotated[
    float | None,
    typer.Option("--buffer-m", help="Other land within these metres of --crops is a stratum of its own."),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, and nothing else, on stdout.")]


def register(app: typer.Typer) -> None:
    """Add the commands of samples to the `eo` command."""
    app.add_typer(sample_app, name="sample")
    evaluate_app.command("area")(evaluate_area)


@sample_app.command("design")
def design_sample(
    map_file: MapFile,
    points: Points = None,
    target_se: TargetSe = None,
    allocation: Allocate = "proportional",
    least: Least = 30,
    accuracy: Expected = None,
    crops: Crops = None,
    buffer_m: Buffer = None,
    classes: Classes = None,
    as_json: Json = False,
) -> None:
    """Say how a sample would be shared out over strata, and how sure overall accuracy would be.

    Example: eo sample design crop_type.tif --target-se 0.01 --allocation neyman --accuracy wheat=0.9
    """
    strata, expected, total, rule = _design(
        map_file, classes, crops, buffer_m, accuracy, points, target_se, allocation, least
    )
    from eo_pipeline.products.sampling import allocate

    hectares, _ = strata.hectares()
    pixels = _pixels(strata)
    shared = allocate(
        list(pixels.values()),
        total,
        allocation=rule,
        min_per_class=least,
        user_accuracy=[expected[name] for name in pixels],
    )
    se = _expected_se(pixels, dict(zip(pixels, shared, strict=True)), expected)
    facts = {
        "map": str(map_file),
        "points": total,
        "allocation": rule,
        "expected_overall_se": round(se, 6),
        "strata": [
            {"stratum": name, "pixels": count, "area_ha": round(hectares[name], 2), "points": n,
             "expected_accuracy": expected[name]}
            for (name, count), n in zip(pixels.items(), shared, strict=True)
        ],
    }  # fmt: skip
    if as_json:
        print_json(facts)
        return
    _print_strata(facts["strata"])  # type: ignore[arg-type]
    say(f"{total} points; overall accuracy with a standard error of about {100 * se:.1f} percentage points")


@sample_app.command("draw")
def draw_sample(
    map_file: MapFile,
    out: Annotated[Path, typer.Option("--out", help="Folder for the sheets and the record.")],
    points: Points = None,
    target_se: TargetSe = None,
    allocation: Allocate = "proportional",
    least: Least = 30,
    accuracy: Expected = None,
    crops: Crops = None,
    buffer_m: Buffer = None,
    classes: Classes = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="The same seed draws the same points.")] = 42,
    as_json: Json = False,
) -> None:
    """Draw a stratified random sample of a map: sheets as GPKG, CSV and GeoJSON, strata, and the record.

    Example: eo sample draw crop_type.tif --points 600 --crops wheat,maize --buffer-m 30 --out sample-2026
    """
    strata, expected, total, rule = _design(
        map_file, classes, crops, buffer_m, accuracy, points, target_se, allocation, least
    )
    from eo_pipeline.products.sampling import draw
    from eo_pipeline.products.sheets import write_sheets

    drawn = draw(
        strata.codes,
        total,
        allocation=rule,
        min_per_class=least,
        seed=seed,
        nodata=strata.nodata,
        user_accuracy={code: expected[name] for code, name in strata.names.items()},
        grid=strata.grid,
    )
    labels = {code: name for code, name in strata.names.items() if name != NEAR_CROPS}
    buffer = {} if buffer_m is None else {"crops": _listed(crops), "buffer_m": buffer_m}
    record = write_sheets(out, drawn, strata, classes=labels, facts=buffer)
    if as_json:
        print_json({"folder": str(out), **record})
        return
    _print_strata(record["strata"])
    say(
        f"{record['points']} points, seed {seed}: {out}/sample.gpkg, .csv and .geojson. Fill `label`; then: "
        f"eo evaluate area MAP.tif {out}/sample.gpkg"
    )


#: Units of which the map shows less are told.
FULLY_COVERED = 0.99
#: The stratum that --buffer-m makes.
NEAR_CROPS = "near_crops"


def _design(
    map_file: Path,
    classes: str | None,
    crops: str | None,
    buffer_m: float | None,
    accuracy: str | None,
    points: int | None,
    target_se: float | None,
    allocation: str,
    least: int,
) -> tuple[ClassMap, dict[str, float], int, Allocation]:
    """Strata, the accuracy expected in each, the number of points, and the rule of allocation."""
    from typing import get_args

    from eo_pipeline.errors import SampleError
    from eo_pipeline.products.sampling import EXPECTED_ACCURACY, Allocation, sample_size

    if allocation not in get_args(Allocation):
        raise SampleError(f"--allocation {allocation!r}: accepted are {', '.join(get_args(Allocation))}.")
    if (points is None) == (target_se is None):
        raise SampleError("Say how many points: either --points or --target-se, exactly one of them.")
    if target_se is not None and not 0 < target_se < 0.5:
        raise SampleError(f"--target-se {target_se}: give a standard error between 0 and 0.5, like 0.01.")
    strata = _with_buffer(_read_map(map_file, classes), crops, buffer_m)
    expected = dict.fromkeys(strata.names.values(), EXPECTED_ACCURACY) | _accuracies(accuracy, strata)
    pixels = _pixels(strata)
    whole = sum(pixels.values())
    if target_se is not None:
        weights = [count / whole for count in pixels.values()]
        needed = sample_size(weights, [expected[name] for name in pixels], target_se=target_se)
        points = min(whole, max(needed, sum(min(least, count) for count in pixels.values())))
    return strata, expected, cast(int, points), cast("Allocation", allocation)


def _with_buffer(found: ClassMap, crops: str | None, buffer_m: float | None) -> ClassMap:
    """The map with the stratum of --buffer-m."""
    from dataclasses import replace

    from eo_pipeline.errors import SampleError
    from eo_pipeline.products.sampling import near_crops
    from eo_pipeline.products.zonal import PixelAreas

    if buffer_m is None:
        return found
    named = _listed(crops)
    codes = {name: code for code, name in found.names.items()}
    if not named or (unknown := [name for name in named if name not in codes]):
        raise SampleError(
            f"--buffer-m needs --crops with classes of {found.path} ({', '.join(codes)})"
            + (f"; {unknown[0]!r} is none." if named else ".")
        )
    side = 100 * float(PixelAreas(found.grid).ha(slice(0, 1), slice(0, 1))[0, 0]) ** 0.5
    pixels = round(buffer_m / side)
    if pixels < 1:
        raise SampleError(f"--buffer-m {buffer_m}: a pixel is {side:.0f} m wide; give at least that.")
    free = next(code for code in range(254, 0, -1) if code not in found.names and code != found.nodata)
    strata = near_crops(
        found.codes, [codes[name] for name in named], pixels=pixels, nodata=found.nodata, code=free
    )
    present = _present(strata)
    names = {code: name for code, name in {**found.names, free: NEAR_CROPS}.items() if code in present}
    return replace(found, codes=strata, names=names)


def _present(codes: Any) -> set[int]:
    import numpy as np

    return set(np.flatnonzero(np.bincount(codes.ravel(), minlength=256)).tolist())


def _pixels(strata: ClassMap) -> dict[str, int]:
    """Pixels of each stratum, in the order of its codes."""
    import numpy as np

    counts = np.bincount(strata.codes.ravel(), minlength=256)
    return {strata.names[code]: int(counts[code]) for code in sorted(strata.names)}


def _expected_se(pixels: dict[str, int], points: dict[str, int], expected: dict[str, float]) -> float:
    """Standard error of overall accuracy (Olofsson et al. 2014, eq. 5), were the expectations true."""
    whole = sum(pixels.values())
    terms = sum(
        (pixels[name] / whole) ** 2 * expected[name] * (1 - expected[name]) / max(points[name] - 1, 1)
        for name in pixels
    )
    return math.sqrt(terms)


def _accuracies(text: str | None, strata: ClassMap) -> dict[str, float]:
    from eo_pipeline.errors import SampleError

    out: dict[str, float] = {}
    for part in _listed(text):
        name, _, value = (piece.strip() for piece in part.partition("="))
        try:
            out[name] = float(value)
        except ValueError:
            out[name] = -1.0
        if name not in strata.names.values() or not 0 < out[name] < 1:
            raise SampleError(
                f"--accuracy {part!r}: write class=share like wheat=0.9, with a stratum of the map "
                f"({', '.join(strata.names.values())}) and a number between 0 and 1."
            )
    return out


def _listed(text: str | None) -> list[str]:
    return [part.strip() for part in (text or "").split(",") if part.strip()]


def _read_map(path: Path, classes: str | None) -> ClassMap:
    """A class map with the names given, or those of the run folder that it lies in."""
    from eo_pipeline.errors import RunFolderError
    from eo_pipeline.products.class_map import parse_names, read_class_map
    from eo_pipeline.publish.contract import MANIFEST, read_manifest

    if classes is not None:
        return read_class_map(path, parse_names(classes))
    for folder in path.resolve().parents[:4]:
        if (folder / MANIFEST).is_file():
            try:
                return read_class_map(path, {item.code: item.name for item in read_manifest(folder).crops})
            except RunFolderError:
                break
    return read_class_map(path)


def _print_strata(rows: list[dict[str, Any]]) -> None:
    print_table(
        "Strata",
        ("stratum", "pixels", "ha", "points"),
        [(r["stratum"], f"{r['pixels']:,}", f"{r['area_ha']:,.1f}", r["points"]) for r in rows],
    )


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

    from eo_pipeline.products.answers import lay_on_map, read_answers
    from eo_pipeline.products.area_facts import accuracy_facts, area_rows, rounded, sample_estimates
    from eo_pipeline.products.zonal import AREA_METHOD, read_units, unit_area_ha

    found = _read_map(map_file, classes)
    answers = read_answers(sample, design=design, label=label).named(found.names)
    zones = read_units(units, code_field=unit_field) if units else ()
    labels = tuple(dict.fromkeys((*found.names.values(), *answers.label_names())))
    mapped_ha, unit_ha = found.hectares(zones)
    drawn_from = None
    if strata is not None:
        old = _read_map(strata, classes)
        drawn_from = (old.at(sample, answers.points), old.hectares()[0])
    reference = lay_on_map(
        answers, found.at(sample, answers.points), labels, mapped_ha, drawn_from=drawn_from
    )
    missed = len(labels) - len(found.names)
    padded = np.pad(unit_ha, ((0, 0), (0, missed)))  # classes that the map misses have no area in it
    estimates = sample_estimates(reference, zones, padded, confidence=confidence)
    counts = [mapped_ha.get(name, 0.0) for name in labels]
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


def _print_areas(facts: dict[str, Any]) -> None:
    def area(row: dict[str, Any]) -> tuple[str, ...]:
        cv = "" if row["cv"] is None else f"{row['cv']:.1%}"
        interval = f"{row['ci_low_ha']:,.1f} – {row['ci_high_ha']:,.1f}"
        return row["class"], f"{row['pixel_count_ha']:,.1f}", f"{row['area_ha']:,.1f}", interval, cv

    accuracy = facts["accuracy"]
    head = ("class", "pixel count, ha", "estimate, ha", "interval", "CV")
    title = f"Areas ({accuracy['method'].split(',')[0]}, {accuracy['n']} points, {accuracy['design']})"
    print_table(title, head, [area(row) for row in facts["areas"]])
    if facts["units"]:
        print_table(
            "Units (model_assisted)",
            ("unit", *head, "points"),
            [(row["unit"], *area(row), row["n_samples"]) for row in facts["units"]],
        )

    def share(value: float | None, bounds: list[float | None]) -> str:
        return "" if value is None else f"{value:.3f} ({bounds[0]:.3f} – {bounds[1]:.3f})"

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
