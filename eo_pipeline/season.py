"""The season file: one TOML that says what is mapped, from which rasters, with which samples.

`read_season` turns it into frozen dataclasses and refuses everything it does not know, naming file, table,
key and the nearest key it accepts. It looks at the file and at whether the paths in it exist; never at
pixels.
"""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from pathlib import Path
from typing import Any, Final, Literal, cast, get_args

from eo_pipeline.errors import SeasonFileError, StorageError
from eo_pipeline.storage import Folder

Step = Literal["dekad", "native"]
Layout = Literal["bands", "dates", "safe"]
Kind = Literal["folder", "cdse", "earth-search", "earth-search-c1", "planetary-computer", "stac", "dhus"]
KINDS: Final[tuple[str, ...]] = get_args(Kind)
Detector = Literal["scl", "s2cloudless"]

#: The bands of a season cube where the season file names none.
SENTINEL2_BANDS: Final = ("B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B11", "B12")
SCL: Final = "SCL"
#: Classes of the scene classification that count as clear: vegetation, bare ground, water, unclassified.
SCL_CLEAR: Final = (4, 5, 6, 7)

#: Growth classes come from the products; these codes must stay free in a crop map: 0 is nodata, 255 unused.
CLASS_CODES: Final = range(1, 255)


@dataclass(frozen=True, slots=True)
class MaskRule:
    """A pixel is usable only where `band` holds one of `clear`."""

    band: str
    clear: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class SentinelSpec:
    """Which Sentinel-2 products a season is made of, and how their cloud mask is read.

    `providers` are tried in order; empty for products that lie in a folder already. `url` is the address of
    the first one where it is not the public one. `tiles` empty means those the region touches. `max_cloud` is
    the highest share of cloud, in percent, by the provider's figure for the whole product, and after the
    scene classification was fetched by what lies over the region. `windows` reads rasters from the provider
    without a download. `clear` are the classes of SCL that count as clear; around clouds and their shadows
    `buffer_m` metres are left out too, and with `project_shadow` dark ground where a cloud may throw its
    shadow. With `detector` "s2cloudless" clouds are those of SCL, and those that this model gives a
    probability above `threshold` in the Level-1C products below `l1c`.
    """

    providers: tuple[str, ...]
    url: str
    tiles: tuple[str, ...]
    max_cloud: float
    windows: bool
    clear: tuple[int, ...]
    buffer_m: float
    project_shadow: bool
    detector: Detector
    l1c: Path | None
    threshold: float


@dataclass(frozen=True, slots=True)
class RadarSpec:
    """Where the season's Sentinel-1 products lie: a folder of terrain-corrected ones (RTC)."""

    root: Path


@dataclass(frozen=True, slots=True)
class SourceSpec:
    """Where the rasters are and how their numbers are to be read: value = DN · `scale` + `offset`.

    `bands` maps a band's name to its 1-based place in a raster (layout "bands"); with layout "dates" the
    names come from the file names and `bands` is empty. With layout "safe" the products say themselves how
    they are to be read; `sentinel` is set then and only then.
    """

    kind: str
    root: Path
    pattern: str
    layout: Layout
    bands: Mapping[str, int]
    date_format: str
    dates: tuple[date, ...]
    dates_table: Path | None
    scale: float
    offset: float
    nodata: float | None
    masks: tuple[MaskRule, ...]
    sentinel: SentinelSpec | None = None
    radar: RadarSpec | None = None

    @property
    def mask_bands(self) -> tuple[str, ...]:
        """Bands that only say where the others may be used."""
        return tuple(dict.fromkeys(rule.band for rule in self.masks))


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
    """What the map is trained on, and how its accuracy is measured."""

    samples: Path
    sample_table: Path | None
    features: tuple[str, ...]
    npz_bands: tuple[str, ...]
    folds: int
    group_km: float
    seed: int


@dataclass(frozen=True, slots=True)
class AreaSpec:
    """The reference sample of the area estimate, if one was drawn, and the confidence of its intervals."""

    reference: Path | None
    design: str
    confidence: float


@dataclass(frozen=True, slots=True)
class GrowthSpec:
    """The index growth is judged by, the indices curves are drawn of, and earlier runs to compare with."""

    index: str
    indices: tuple[str, ...]
    baseline: tuple[Path, ...]


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
    output_root: Path
    work_root: Folder | None
    document: Mapping[str, Any] = field(repr=False, compare=False)

    @property
    def work(self) -> Folder:
        """Where the season's cube, models and task markers live between runs."""
        return (self.work_root or Folder.of(self.output_root / ".work")) / self.id


_MISSING: Final = object()


class _Table:
    """A TOML table read key by key; every complaint names file, table and key."""

    def __init__(self, file: Path, name: str, values: object, accepted: Iterable[str]) -> None:
        self.file, self.name = file, name
        if not isinstance(values, dict):
            raise SeasonFileError(
                f"{file}: [{name}] must be a table; write its keys below a line “[{name}]”."
            )
        self.values = cast(dict[str, Any], values)
        known = list(accepted)
        for key in self.values:
            if key not in known:
                near = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
                hint = f" Did you mean “{near[0]}”?" if near else ""
                where = f"[{name}]" if name else "the top level"
                raise SeasonFileError(
                    f"{file}: {where} has the unknown key “{key}”.{hint} Accepted keys: {', '.join(known)}."
                )

    def fail(self, key: str, message: str) -> SeasonFileError:
        return SeasonFileError(f"{self.file}: [{self.name}] {key} {message}")

    def _get(self, key: str, default: object) -> Any:
        if key in self.values:
            return self.values[key]
        if default is _MISSING:
            raise self.fail(key, f"is missing; add “{key} = …” to [{self.name}].")
        return default

    def _typed(self, key: str, default: object, kind: type | tuple[type, ...], what: str) -> Any:
        value = self._get(key, default)
        if key not in self.values:
            return value
        # bool is an int to Python, never to the writer of a season file
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            raise self.fail(key, f"= {value!r} is not {what}.")
        return value

    def text(self, key: str, default: object = _MISSING) -> str:
        value = self._typed(key, default, str, "a text; put it in quotes")
        if key in self.values and not str(value).strip():
            raise self.fail(key, "is empty; give it a value or leave the line out.")
        return cast(str, value)

    def choice(self, key: str, accepted: tuple[str, ...], default: object = _MISSING) -> str:
        value = self.text(key, default)
        if value not in accepted:
            near = difflib.get_close_matches(value, accepted, n=1)
            hint = f" Did you mean “{near[0]}”?" if near else ""
            raise self.fail(key, f"= {value!r} is not accepted.{hint} Accepted: {', '.join(accepted)}.")
        return value

    def flag(self, key: str, default: bool) -> bool:
        return cast(bool, self._typed(key, default, bool, "true or false"))

    def number(
        self, key: str, default: object = _MISSING, *, low: float | None = None, high: float | None = None
    ) -> float:
        value = self._typed(key, default, (int, float), "a number")
        if (low is not None and value < low) or (high is not None and value > high):
            raise self.fail(key, f"= {value} is out of range; accepted: {low} to {high}.")
        return float(value)

    def whole(self, key: str, default: object = _MISSING, *, low: int, high: int) -> int:
        value = self._typed(key, default, int, "a whole number")
        if not low <= value <= high:
            raise self.fail(key, f"= {value} is out of range; accepted: {low} to {high}.")
        return int(value)

    def day(self, key: str) -> date:
        value = self._get(key, _MISSING)
        return self._as_day(key, value)

    def _as_day(self, key: str, value: object) -> date:
        if isinstance(value, datetime) or not isinstance(value, date):
            raise self.fail(key, f"= {value!r} is not a date; write it as 2026-10-31, without quotes.")
        return value

    def days(self, key: str) -> tuple[date, ...]:
        return tuple(self._as_day(key, value) for value in self._typed(key, [], list, "a list of dates"))

    def texts(self, key: str, default: object = _MISSING) -> tuple[str, ...]:
        value = self._typed(key, default, list, "a list of texts")
        for item in value:
            if not isinstance(item, str) or not item:
                raise self.fail(key, f"holds {item!r}, which is not a text; put it in quotes.")
        if len(set(value)) != len(value):
            raise self.fail(key, "names something twice; keep each once.")
        return tuple(value)

    def place(self, key: str, default: object = _MISSING, *, must_exist: bool = True) -> Path | None:
        """A path, relative to the season file; None where the optional key is absent."""
        if key not in self.values and default is None:
            return None
        return self._resolve(key, self.text(key, default), must_exist=must_exist)

    def places(self, key: str) -> tuple[Path, ...]:
        return tuple(self._resolve(key, item, must_exist=True) for item in self.texts(key, []))

    def storage(self, key: str) -> Folder | None:
        """A path, relative to the season file, or an s3:// URL; None where the key is absent."""
        text = self.text(key, "")
        if "://" not in text:
            return Folder.of(self._resolve(key, text, must_exist=False)) if text else None
        try:
            return Folder.of(text)
        except StorageError as error:
            raise self.fail(key, f"= {text!r}: {error}") from None

    def _resolve(self, key: str, text: str, *, must_exist: bool) -> Path:
        path = Path(text).expanduser()
        resolved = (path if path.is_absolute() else self.file.parent / path).resolve()
        if must_exist and not resolved.exists():
            raise self.fail(
                key,
                f"= {text!r}: {resolved} does not exist. Correct the path; it is relative to the season "
                "file.",
            )
        return resolved


_TOP = ("season", "region", "source", "classes", "classify", "area", "growth", "output")


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
    top = _Table(file, "", document, _TOP)
    for name in ("season", "region", "source", "output"):
        if name not in top.values:
            raise SeasonFileError(f"{file}: the table [{name}] is missing; add it.")

    head = _Table(file, "season", document["season"], ("id", "title", "start", "end", "step", "simulated"))
    identity = head.text("id")
    if not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", identity):
        raise head.fail(
            "id", f"= {identity!r} may hold only a-z, 0-9 and single hyphens, like “jingning-2026”."
        )
    start, end = head.day("start"), head.day("end")
    if end < start:
        raise head.fail("end", f"= {end} lies before start = {start}; exchange them.")

    step = cast(Step, head.choice("step", ("dekad", "native"), "dekad"))
    source = _source(file, document["source"])
    if source.radar and step == "native":
        raise head.fail("step", '= "native" has no place for [source.radar]: set step = "dekad".')
    classes = _classes(file, document.get("classes", []))
    classify = _classify(file, document["classify"]) if "classify" in document else None
    if classify and not classes:
        raise SeasonFileError(
            f"{file}: [classify] needs the map's classes; add a [[classes]] table for each."
        )
    output = _Table(file, "output", document["output"], ("root", "work"))
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
        output_root=cast(Path, output.place("root", must_exist=False)),
        work_root=output.storage("work"),
        document=document,
    )


def _region(file: Path, values: object) -> RegionSpec:
    table = _Table(file, "region", values, ("name", "bbox", "units", "parcels", "parcel_field"))
    return RegionSpec(
        name=table.text("name"),
        bbox=_bbox(table),
        units=table.place("units", None),
        parcels=table.place("parcels", None),
        parcel_field=table.text("parcel_field", "id"),
    )


def _bbox(table: _Table) -> tuple[float, float, float, float] | None:
    values = table._typed("bbox", None, list, "a list of four numbers")
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


_STACK_KEYS = (
    "kind", "root", "pattern", "date_format", "layout", "bands", "dates", "dates_table", "scale", "offset",
    "nodata", "mask", "radar",
)  # fmt: skip
_SENTINEL_KEYS = (
    "kind",
    "root",
    "layout",
    "bands",
    "tiles",
    "url",
    "fallback",
    "max_cloud",
    "read",
    "clouds",
    "radar",
)
_CLOUD_KEYS = ("clear", "buffer_m", "project_shadow", "detector", "l1c", "threshold")


def _source(file: Path, values: object) -> SourceSpec:
    given = values if isinstance(values, dict) else {}
    if given.get("layout") == "safe" or given.get("kind", "folder") != "folder":
        return _sentinel(file, values)
    table = _Table(file, "source", values, _STACK_KEYS)
    layout = cast(Layout, table.choice("layout", ("bands", "dates", "safe"), "bands"))
    pattern = table.text("pattern")
    try:
        groups = set(re.compile(pattern).groupindex)
    except re.error as error:
        raise table.fail("pattern", f"= {pattern!r} is not a regular expression: {error}.") from error
    if unknown := groups - {"date", "tile", "band"}:
        raise table.fail("pattern", f"has the group “{min(unknown)}”; accepted groups: date, tile, band.")

    bands = _bands(table)
    dates, dates_table = table.days("dates"), table.place("dates_table", None)
    if layout == "bands":
        if not bands:
            raise table.fail("bands", "is missing; name the rasters' bands, like { B04 = 1, B08 = 2 }.")
        if ("date" in groups) == bool(dates_table):
            raise table.fail(
                "pattern", "must hold the group (?P<date>…) or dates_table must be given, one of the two."
            )
    else:
        if "band" not in groups:
            raise table.fail("pattern", "must hold the group (?P<band>…) with layout “dates”.")
        if bool(dates) == bool(dates_table):
            raise table.fail(
                "dates", "or dates_table must list one date for each raster band, one of the two."
            )
        if list(dates) != sorted(set(dates)):
            raise table.fail("dates", "must rise from one to the next without repeating.")

    masks = _masks(file, table, bands)
    if bands and not set(bands) - {rule.band for rule in masks}:
        raise table.fail("bands", "holds masks only; name at least one band to measure with.")
    return SourceSpec(
        kind=table.choice("kind", KINDS, "folder"),
        root=cast(Path, table.place("root")),
        pattern=pattern,
        layout=layout,
        bands=bands,
        date_format=table.text("date_format", "%Y-%m-%d"),
        dates=dates,
        dates_table=dates_table,
        scale=table.number("scale", 1.0),
        offset=table.number("offset", 0.0),
        nodata=table.number("nodata") if "nodata" in table.values else None,
        masks=masks,
        radar=_radar(file, table),
    )


def _sentinel(file: Path, values: object) -> SourceSpec:
    """A source of Sentinel-2 products: an archive, or a folder of what was fetched."""
    table = _Table(file, "source", values, _SENTINEL_KEYS)
    kind = cast(Kind, table.choice("kind", KINDS, "folder"))
    table.choice("layout", ("safe",), "safe")
    url = table.text("url", "")
    if kind in ("stac", "dhus") and not url:
        raise table.fail("url", f"is missing; kind “{kind}” needs the address of its service.")
    fallback = table.texts("fallback", [])
    for name in fallback:
        if name not in KINDS or name in ("folder", "stac", "dhus", kind):
            raise table.fail(
                "fallback", f"names {name!r}; accepted are cdse, earth-search, earth-search-c1, "
                "planetary-computer, and not the source itself.",
            )  # fmt: skip
    windows = table.choice("read", ("download", "windows"), "download") == "windows"
    if windows and kind in ("folder", "cdse", "dhus"):
        raise table.fail(
            "read", f'= "windows" needs a source of cloud-optimised rasters; kind “{kind}” is downloaded.'
        )
    bands = table.texts("bands", list(SENTINEL2_BANDS))
    if unknown := [name for name in bands if name not in SENTINEL2_BANDS]:
        raise table.fail("bands", f"names {unknown[0]}; accepted: {', '.join(SENTINEL2_BANDS)}.")
    tiles = table.texts("tiles", [])
    if wrong := [name for name in tiles if not re.fullmatch(r"\d{2}[C-HJ-NP-X][A-HJ-NP-Z][A-HJ-NP-V]", name)]:
        raise table.fail("tiles", f"names {wrong[0]!r}, which is no MGRS tile; write it as 48SWE.")
    clouds = _Table(file, "source.clouds", table.values.get("clouds", {}), _CLOUD_KEYS)
    clear = clouds._typed("clear", list(SCL_CLEAR), list, "a list of SCL classes")
    if not clear or any(isinstance(c, bool) or not isinstance(c, int) or not 0 < c < 12 for c in clear):
        raise clouds.fail("clear", f"= {clear!r} must list classes of SCL, 1 to 11.")
    detector = cast(Detector, clouds.choice("detector", get_args(Detector), "scl"))
    l1c = clouds.place("l1c", None)
    for key in ("l1c", "threshold"):
        if detector == "scl" and key in clouds.values:
            raise clouds.fail(key, 'is for detector = "s2cloudless"; set that, or leave the line out.')
    if detector == "s2cloudless" and (l1c is None or not l1c.is_dir()):
        raise clouds.fail(
            "l1c", 'must name the folder of Level-1C products; detector = "s2cloudless" needs it.'
        )
    return SourceSpec(
        kind=kind,
        root=cast(Path, table.place("root", must_exist=kind == "folder")),
        pattern="",
        layout="safe",
        bands=dict.fromkeys((*bands, SCL), 1),
        date_format="",
        dates=(),
        dates_table=None,
        scale=1.0,
        offset=0.0,
        nodata=None,
        masks=(MaskRule(SCL, tuple(float(code) for code in clear)),),
        sentinel=SentinelSpec(
            providers=() if kind == "folder" else (kind, *fallback),
            url=url,
            tiles=tiles,
            max_cloud=table.number("max_cloud", 90.0, low=0.0, high=100.0),
            windows=windows,
            clear=tuple(clear),
            buffer_m=clouds.number("buffer_m", 60.0, low=0.0, high=2000.0),
            project_shadow=clouds.flag("project_shadow", True),
            detector=detector,
            l1c=l1c,
            threshold=clouds.number("threshold", 0.4, low=0.0, high=1.0),
        ),
        radar=_radar(file, table),
    )


def _radar(file: Path, source: _Table) -> RadarSpec | None:
    if "radar" not in source.values:
        return None
    table = _Table(file, "source.radar", source.values["radar"], ("root",))
    return RadarSpec(cast(Path, table.place("root")))


def _masks(file: Path, table: _Table, bands: Mapping[str, int]) -> tuple[MaskRule, ...]:
    masks = []
    for number, item in enumerate(table._typed("mask", [], list, "a list of [[source.mask]] tables"), 1):
        rule = _Table(file, f"source.mask #{number}", item, ("band", "clear"))
        band = rule.text("band")
        if bands and band not in bands:
            near = difflib.get_close_matches(band, bands, n=1)
            hint = f" Did you mean “{near[0]}”?" if near else ""
            raise rule.fail("band", f"= {band!r} is not in [source] bands.{hint} Bands: {', '.join(bands)}.")
        clear = rule._typed("clear", _MISSING, list, "a list of values")
        if not clear or any(isinstance(v, bool) or not isinstance(v, int | float) for v in clear):
            raise rule.fail("clear", f"= {clear!r} must list the values that mean a clear view.")
        masks.append(MaskRule(band, tuple(float(v) for v in clear)))
    return tuple(masks)


def _bands(table: _Table) -> dict[str, int]:
    bands = table._typed("bands", {}, dict, "a table of band names, like { B04 = 1 }")
    for name, number in bands.items():
        if isinstance(number, bool) or not isinstance(number, int) or number < 1:
            raise table.fail(
                "bands", f"gives {name} = {number!r}; give the band's place in the raster, from 1."
            )
    return cast(dict[str, int], dict(bands))


def _classes(file: Path, values: object) -> tuple[ClassSpec, ...]:
    if not isinstance(values, list):
        raise SeasonFileError(f"{file}: classes must be written as [[classes]] tables, one for each class.")
    classes: list[ClassSpec] = []
    for number, item in enumerate(values, 1):
        table = _Table(file, f"classes #{number}", item, ("code", "name", "zh", "en", "colour", "crop"))
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
    table = _Table(
        file,
        "classify",
        values,
        ("samples", "sample_table", "features", "npz_bands", "folds", "group_km", "seed"),
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
    )


def _area(file: Path, values: object) -> AreaSpec:
    table = _Table(file, "area", values, ("reference", "design", "confidence"))
    return AreaSpec(
        reference=table.place("reference", None),
        design=table.text("design", "stratified_random"),
        confidence=table.number("confidence", 0.95, low=0.5, high=0.999),
    )


def _growth(file: Path, values: object) -> GrowthSpec:
    table = _Table(file, "growth", values, ("index", "indices", "baseline"))
    index = table.text("index", "NDVI")
    indices = table.texts("indices", [index])
    return GrowthSpec(
        index=index,
        indices=indices if index in indices else (index, *indices),
        baseline=table.places("baseline"),
    )
