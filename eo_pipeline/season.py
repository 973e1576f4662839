"""The season file: one TOML that says what is mapped, from which rasters, with which samples.

`read_season` turns it into frozen dataclasses and refuses everything it does not know, naming file, table,
key and the nearest key it accepts. It looks at the file and at whether the paths in it exist; never at
pixels.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any, Final, Literal, cast, get_args

from eo_pipeline.errors import SeasonFileError
from eo_pipeline.season_source import SourceSpec, read_source
from eo_pipeline.storage import Folder
from eo_pipeline.toml_table import Table

Step = Literal["dekad", "native"]
FillMethod = Literal["linear", "whittaker", "smooth"]

#: Growth classes come from the products; these codes must stay free in a crop map: 0 is nodata, 255 unused.
CLASS_CODES: Final = range(1, 255)
#: Hazards that [disaster] can look for.
HAZARDS: Final = ("flood", "frost", "hail")


@dataclass(frozen=True, slots=True)
class RegionSpec:
    """The area of the season: its name, and optionally polygons of units and of parcels.

    `bbox` (west, south, east, north in degrees) bounds a search where there are no units.
    """

    name: str
    bbox: tuple[float, float, float, float] | None
    units: Path | None
    parcels: Path | None
    parcel_field: str


@dataclass(frozen=True, slots=True)
class ClassSpec:
    """One class of the map. A class that is no crop is counted in the area and left out of growth."""

    code: int
    name: str
    zh: str
    en: str
    colour: str
    crop: bool


@dataclass(frozen=True, slots=True)
class ClassifySpec:
    """What the map is trained on, how its accuracy is measured, and what runs the network on each pixel."""

    samples: Path
    sample_table: Path | None
    features: tuple[str, ...]
    npz_bands: tuple[str, ...]
    folds: int
    group_km: float
    seed: int
    runtime: str


@dataclass(frozen=True, slots=True)
class AreaSpec:
    """The reference sample of the area estimate, if one was drawn, its design where its file does not say it,
    and the confidence of the intervals.
    """

    reference: Path | None
    design: str | None
    confidence: float


@dataclass(frozen=True, slots=True)
class GrowthSpec:
    """The index growth is judged by, the indices curves are drawn of, and what it is compared with: earlier
    runs, or a climatology.
    """

    index: str
    indices: tuple[str, ...]
    baseline: tuple[Path, ...]
    climatology: Path | None = None


@dataclass(frozen=True, slots=True)
class FillSpec:
    """How gaps in the series of the cube's bands are filled, and over how many days; see `cube.gaps`."""

    method: FillMethod
    max_gap: int


@dataclass(frozen=True, slots=True)
class DisasterSpec:
    """The hazards that are looked for, and the weather they are held against, if there is any."""

    hazards: tuple[str, ...]
    weather: Path | None


@dataclass(frozen=True, slots=True)
class Season:
    """A season file, checked. `document` is the TOML as it was read, for the record in run.json.

    Run folders lie in `output_root`, and what lives between runs in `work_root` (where that is None, `.work`
    in `output_root`), each in a folder of the season's id.
    """

    path: Path
    id: str
    title: str
    start: date
    end: date
    step: Step
    simulated: bool
    region: RegionSpec
    source: SourceSpec
    classes: tuple[ClassSpec, ...]
    classify: ClassifySpec | None
    area: AreaSpec
    growth: GrowthSpec
    fill: FillSpec | None
    disaster: DisasterSpec | None
    output_root: Path
    work_root: Folder | None
    document: Mapping[str, Any] = field(repr=False, compare=False)

    @property
    def work(self) -> Folder:
        """Where the season's cube, models and task markers live between runs."""
        return (self.work_root or Folder.of(self.output_root / ".work")) / self.id


_TOP = ("season", "region", "source", "cube", "classes", "classify", "area", "growth", "disaster", "output")


def read_season(path: Path | str) -> Season:
    """Read and check a season file.

    Parameters
    ----------
    path : Path or str
        The TOML file; the paths in it are relative to its folder.

    Raises
    ------
    SeasonFileError
        The file is absent, is not TOML, or has a wrong key, value or path. Names the place and the cure.
    """
    file = Path(path)
    try:
        document = tomllib.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise SeasonFileError(f"{file} does not exist. Give the path of a season file (TOML).") from None
    except (OSError, UnicodeDecodeError) as error:
        raise SeasonFileError(
            f"{file} cannot be read: {error}. A season file is TOML text in UTF-8."
        ) from error
    except tomllib.TOMLDecodeError as error:
        raise SeasonFileError(f"{file} is not valid TOML: {error}. Correct that line.") from error
    file = file.resolve()
    top = Table(file, "", document, _TOP)
    for name in ("season", "region", "source", "output"):
        if name not in top.values:
            raise SeasonFileError(f"{file}: the table [{name}] is missing; add it.")

    head = Table(file, "season", document["season"], ("id", "title", "start", "end", "step", "simulated"))
    identity = head.text("id")
    if not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", identity):
        raise head.fail(
            "id", f"= {identity!r} may hold only a-z, 0-9 and single hyphens, like “jingning-2026”."
        )
    start, end = head.day("start"), head.day("end")
    if end < start:
        raise head.fail("end", f"= {end} lies before start = {start}; exchange them.")

    step = cast(Step, head.choice("step", ("dekad", "native"), "dekad"))
    source = read_source(file, document["source"])
    if source.radar and step == "native":
        raise head.fail("step", '= "native" has no place for [source.radar]: set step = "dekad".')
    classes = _classes(file, document.get("classes", []))
    classify = _classify(file, document["classify"]) if "classify" in document else None
    if classify and not classes:
        raise SeasonFileError(
            f"{file}: [classify] needs the map's classes; add a [[classes]] table for each."
        )
    output = Table(file, "output", document["output"], ("root", "work"))
    return Season(
        path=file,
        id=identity,
        title=head.text("title"),
        start=start,
        end=end,
        step=step,
        simulated=head.flag("simulated", False),
        region=_region(file, document["region"]),
        source=source,
        classes=classes,
        classify=classify,
        area=_area(file, document.get("area", {})),
        growth=_growth(file, document.get("growth", {})),
        fill=_fill(file, document.get("cube", {})),
        disaster=_disaster(file, document["disaster"], radar=source.radar is not None)
        if "disaster" in document
        else None,
        output_root=cast(Path, output.place("root", must_exist=False)),
        work_root=output.storage("work"),
        document=document,
    )


def _region(file: Path, values: object) -> RegionSpec:
    table = Table(file, "region", values, ("name", "bbox", "units", "parcels", "parcel_field"))
    return RegionSpec(
        name=table.text("name"),
        bbox=_bbox(table),
        units=table.place("units", None),
        parcels=table.place("parcels", None),
        parcel_field=table.text("parcel_field", "id"),
    )


def _bbox(table: Table) -> tuple[float, float, float, float] | None:
    values = table.typed("bbox", None, list, "a list of four numbers")
    if values is None:
        return None
    if len(values) != 4 or any(isinstance(v, bool) or not isinstance(v, int | float) for v in values):
        raise table.fail("bbox", f"= {values!r} must be [west, south, east, north] in degrees.")
    west, south, east, north = (float(v) for v in values)
    if not (-180 <= west < east <= 180 and -90 <= south < north <= 90):
        raise table.fail(
            "bbox", f"= {values!r} must have west < east and south < north, in degrees of longitude/latitude."
        )
    return west, south, east, north


def _classes(file: Path, values: object) -> tuple[ClassSpec, ...]:
    if not isinstance(values, list):
        raise SeasonFileError(f"{file}: classes must be written as [[classes]] tables, one for each class.")
    classes: list[ClassSpec] = []
    for number, item in enumerate(values, 1):
        table = Table(file, f"classes #{number}", item, ("code", "name", "zh", "en", "colour", "crop"))
        colour = table.text("colour")
        if not re.fullmatch(r"#[0-9A-Fa-f]{6}", colour):
            raise table.fail("colour", f"= {colour!r} is not a colour; write it as #DDCC77.")
        name = table.text("name")
        classes.append(
            ClassSpec(
                code=table.whole("code", low=CLASS_CODES.start, high=CLASS_CODES.stop - 1),
                name=name,
                zh=table.text("zh"),
                en=table.text("en", name.replace("_", " ")),
                colour=colour.upper(),
                crop=table.flag("crop", True),
            )
        )
        if [c.code for c in classes].count(classes[-1].code) > 1:
            raise table.fail("code", f"= {classes[-1].code} is taken by another class; give each its own.")
        if [c.name for c in classes].count(name) > 1:
            raise table.fail("name", f"= {name!r} is taken by another class; give each its own.")
    return tuple(sorted(classes, key=lambda c: c.code))


def _classify(file: Path, values: object) -> ClassifySpec:
    table = Table(
        file,
        "classify",
        values,
        ("samples", "sample_table", "features", "npz_bands", "folds", "group_km", "seed", "runtime"),
    )
    samples = cast(Path, table.place("samples"))
    if samples.suffix.lower() not in (".geojson", ".json", ".gpkg", ".csv", ".npz"):
        raise table.fail("samples", f"= {samples.name!r}: accepted are .geojson, .gpkg, .csv and .npz.")
    features, npz_bands = table.texts("features"), table.texts("npz_bands", [])
    if not features:
        raise table.fail("features", "is empty; name cube bands or indices, like [“B04”, “B08”, “NDVI”].")
    if samples.suffix.lower() == ".npz":
        if not npz_bands:
            raise table.fail("npz_bands", f"is missing; name the channels of X in {samples.name}.")
        if lost := [name for name in features if name not in npz_bands]:
            raise table.fail(
                "features", f"names {lost[0]}, which is not in npz_bands: {', '.join(npz_bands)}."
            )
    return ClassifySpec(
        samples=samples,
        sample_table=table.place("sample_table", None),
        features=features,
        npz_bands=npz_bands,
        folds=table.whole("folds", 5, low=2, high=20),
        group_km=table.number("group_km", 5.0, low=0.0, high=1000.0),
        seed=table.whole("seed", 42, low=0, high=2**31 - 1),
        runtime=table.choice("runtime", ("auto", "openvino", "torch"), "torch"),
    )


def _area(file: Path, values: object) -> AreaSpec:
    table = Table(file, "area", values, ("reference", "design", "confidence"))
    return AreaSpec(
        reference=table.place("reference", None),
        design=table.text("design", "") or None,
        confidence=table.number("confidence", 0.95, low=0.5, high=0.999),
    )


def _growth(file: Path, values: object) -> GrowthSpec:
    table = Table(file, "growth", values, ("index", "indices", "baseline", "climatology"))
    index = table.text("index", "NDVI")
    indices = table.texts("indices", [index])
    if table.values.get("baseline") and "climatology" in table.values:
        raise table.fail(
            "climatology", "and baseline are both given; growth is held against one: leave one out."
        )
    return GrowthSpec(
        index=index,
        indices=indices if index in indices else (index, *indices),
        baseline=table.places("baseline"),
        climatology=table.place("climatology", None),
    )


def _fill(file: Path, values: object) -> FillSpec | None:
    table = Table(file, "cube", values, ("fill", "max_gap"))
    if "fill" not in table.values:
        if "max_gap" in table.values:
            raise table.fail("max_gap", 'is for a cube with fill; add fill = "linear", or leave it out.')
        return None
    method = cast(FillMethod, table.choice("fill", get_args(FillMethod)))
    return FillSpec(method, table.whole("max_gap", 60, low=1, high=366))


def _disaster(file: Path, values: object, *, radar: bool) -> DisasterSpec:
    table = Table(file, "disaster", values, ("hazards", "weather"))
    usual = [name for name in HAZARDS if radar or name != "flood"]
    hazards = table.texts("hazards", usual)
    if not hazards:
        raise table.fail("hazards", f"is empty; name some of {', '.join(HAZARDS)}, or leave the table out.")
    for name in hazards:
        if name not in HAZARDS:
            raise table.fail("hazards", f"names {name!r}; accepted are {', '.join(HAZARDS)}.")
    if "flood" in hazards and not radar:
        raise table.fail(
            "hazards", "names flood, which needs Sentinel-1: add [source.radar], or leave it out."
        )
    return DisasterSpec(hazards, table.place("weather", None))
