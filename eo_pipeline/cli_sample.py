"""Commands that draw samples: `eo sample design`, `eo sample draw`, `eo sample quadrats`."""

# ruff: noqa: PLR0917 - a command's parameters are its options; nobody calls it by position
from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

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
    """Add the commands that draw samples to the `eo` command."""
    app.add_typer(sample_app, name="sample")


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


@sample_app.command("quadrats")
def draw_quadrats_sample(
    map_file: MapFile,
    crops: Annotated[str, typer.Option("--crops", help="Classes that are crops, wheat,maize.")],
    out: Annotated[Path, typer.Option("--out", help="Folder for the sheets and the record.")],
    quadrats: Annotated[int, typer.Option("--quadrats", min=2, help="Squares to draw.")] = 30,
    side_m: Annotated[float, typer.Option("--side-m", min=1000, help="Their side, metres.")] = 1000,
    classes: Classes = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="The same seed draws the same squares.")] = 42,
    as_json: Json = False,
) -> None:
    """Draw ground quadrats, in which every parcel is surveyed, by strata of how much is cropped.

    Example: eo sample quadrats crop_type.tif --crops wheat,maize --quadrats 40 --out quadrats-2026
    """
    from eo_pipeline.products.quadrats import draw_quadrats
    from eo_pipeline.products.sheets import write_quadrats

    found = read_map(map_file, classes)
    drawn = draw_quadrats(found, _codes_of(found, crops, "--crops"), quadrats, side_m=side_m, seed=seed)
    facts = {"frame": map_file.name, "crops": _listed(crops), "side_m": side_m, "seed": seed}
    record = write_quadrats(out, drawn, facts)
    if as_json:
        print_json({"folder": str(out), **record})
        return
    print_table(
        "Strata",
        ("stratum", "squares", "drawn"),
        [(row["stratum"], row["squares"], row["drawn"]) for row in record["strata"]],
    )
    say(
        f"{quadrats} quadrats, seed {seed}: {out}/quadrats.gpkg. Draw their parcels with `label`; then: "
        f"eo evaluate area MAP.tif PARCELS.gpkg --quadrats {out}/quadrats.gpkg"
    )


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
    strata = _with_buffer(read_map(map_file, classes), crops, buffer_m)
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
    from eo_pipeline.products.sampling import code_counts, near_crops
    from eo_pipeline.products.zonal import PixelAreas

    if buffer_m is None:
        return found
    codes = _codes_of(found, crops, "--buffer-m")
    side = 100 * float(PixelAreas(found.grid).ha(slice(0, 1), slice(0, 1))[0, 0]) ** 0.5
    pixels = round(buffer_m / side)
    if pixels < 1:
        raise SampleError(f"--buffer-m {buffer_m}: a pixel is {side:.0f} m wide; give at least that.")
    free = next(code for code in range(254, 0, -1) if code not in found.names and code != found.nodata)
    strata = near_crops(found.codes, codes, pixels=pixels, nodata=found.nodata, code=free)
    present = code_counts(strata).sum(axis=0)
    names = {code: name for code, name in {**found.names, free: NEAR_CROPS}.items() if present[code]}
    return replace(found, codes=strata, names=names)


def _codes_of(found: ClassMap, crops: str | None, option: str) -> list[int]:
    """Codes of the classes named by --crops."""
    from eo_pipeline.errors import SampleError

    named, codes = _listed(crops), {name: code for code, name in found.names.items()}
    if not named or (unknown := [name for name in named if name not in codes]):
        raise SampleError(
            f"{option} needs --crops with classes of {found.path} ({', '.join(codes)})"
            + (f"; {unknown[0]!r} is none." if named else ".")
        )
    return [codes[name] for name in named]


def _pixels(strata: ClassMap) -> dict[str, int]:
    """Pixels of each stratum, in the order of its codes."""
    from eo_pipeline.products.sampling import code_counts

    counts = code_counts(strata.codes).sum(axis=0)
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


def read_map(path: Path, classes: str | None) -> ClassMap:
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
