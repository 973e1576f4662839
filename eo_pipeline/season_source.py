"""[source] of a season file: where the rasters are and how they are read."""

from __future__ import annotations

import difflib
import glob
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Final, Literal, cast, get_args
from urllib.parse import urlsplit

from eo_pipeline.toml_table import MISSING, Table

Layout = Literal["bands", "dates", "safe"]
Kind = Literal["folder", "cdse", "earth-search", "earth-search-c1", "planetary-computer", "stac", "dhus"]
KINDS: Final[tuple[str, ...]] = get_args(Kind)
Detector = Literal["scl", "s2cloudless"]

#: The bands of a season cube where the season file names none.
SENTINEL2_BANDS: Final = ("B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B11", "B12")
#: The bands of Level 1C that s2cloudless looks at, in the order it takes them.
LEVEL1C_BANDS: Final = ("B01", "B02", "B04", "B05", "B08", "B8A", "B09", "B10", "B11", "B12")
SCL: Final = "SCL"
#: Classes of the scene classification that count as clear: vegetation, bare ground, water, unclassified.
SCL_CLEAR: Final = (4, 5, 6, 7)


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
    """Where the season's Sentinel-1 products lie: terrain-corrected ones (RTC), and GRD for what they lack.

    `provider` is who they are fetched from, empty for products that lie there already; `url` is its address
    where it is not the public one.
    """

    root: Path
    provider: str = ""
    url: str = ""


@dataclass(frozen=True, slots=True)
class TerrainSpec:
    """The season's elevation model: the files `dem`, or with a `provider` the cells of Copernicus DEM GLO-30
    that are fetched below `root`. `url` is the provider's address where it is not the public one.
    """

    dem: tuple[Path, ...] = ()
    root: Path = Path()
    provider: str = ""
    url: str = ""


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
    terrain: TerrainSpec | None = None

    @property
    def archives(self) -> bool:
        """Whether anything is fetched, or read at an archive."""
        beside = (self.radar, self.terrain)
        return bool(
            (self.sentinel and self.sentinel.providers) or any(spec and spec.provider for spec in beside)
        )

    @property
    def mask_bands(self) -> tuple[str, ...]:
        """Bands that only say where the others may be used."""
        return tuple(dict.fromkeys(rule.band for rule in self.masks))


_STACK_KEYS = (
    "kind", "root", "pattern", "date_format", "layout", "bands", "dates", "dates_table", "scale", "offset",
    "nodata", "mask", "radar", "terrain",
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
    "terrain",
)
_CLOUD_KEYS = ("clear", "buffer_m", "project_shadow", "detector", "l1c", "threshold")


def read_source(file: Path, values: object) -> SourceSpec:
    """Read and check the table; `file` is the season file, which paths are relative to."""
    given = values if isinstance(values, dict) else {}
    if given.get("layout") == "safe" or given.get("kind", "folder") != "folder":
        return _sentinel(file, values)
    table = Table(file, "source", values, _STACK_KEYS)
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
        terrain=_terrain(file, table),
    )


def _sentinel(file: Path, values: object) -> SourceSpec:
    """A source of Sentinel-2 products: an archive, or a folder of what was fetched."""
    table = Table(file, "source", values, _SENTINEL_KEYS)
    kind = cast(Kind, table.choice("kind", KINDS, "folder"))
    table.choice("layout", ("safe",), "safe")
    url = _url(table)
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
    clouds = Table(file, "source.clouds", table.values.get("clouds", {}), _CLOUD_KEYS)
    clear = clouds.typed("clear", list(SCL_CLEAR), list, "a list of SCL classes")
    if not clear or any(isinstance(c, bool) or not isinstance(c, int) or not 0 < c < 12 for c in clear):
        raise clouds.fail("clear", f"= {clear!r} must list classes of SCL, 1 to 11.")
    detector = cast(Detector, clouds.choice("detector", get_args(Detector), "scl"))
    providers = () if kind == "folder" else (kind, *fallback)
    l1c = clouds.place("l1c", None, must_exist="cdse" not in providers)
    for key in ("l1c", "threshold"):
        if detector == "scl" and key in clouds.values:
            raise clouds.fail(key, 'is for detector = "s2cloudless"; set that, or leave the line out.')
    if detector == "s2cloudless" and (l1c is None or (l1c.exists() and not l1c.is_dir())):
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
            providers=providers,
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
        terrain=_terrain(file, table),
    )


def _radar(file: Path, source: Table) -> RadarSpec | None:
    if "radar" not in source.values:
        return None
    table = Table(file, "source.radar", source.values["radar"], ("kind", "root", "url"))
    kind = table.choice("kind", ("folder", "planetary-computer"), "folder")
    if kind == "folder" and "url" in table.values:
        raise table.fail("url", 'is for kind = "planetary-computer"; set that, or leave the line out.')
    root = cast(Path, table.place("root", must_exist=kind == "folder"))
    return RadarSpec(root, "" if kind == "folder" else kind, _url(table))


def _url(table: Table) -> str:
    """The address of a source. It stands in messages and in run.json, so that no secret may be in it."""
    url = table.text("url", "")
    try:
        named = "@" in urlsplit(url).netloc
    except ValueError:
        raise table.fail("url", f"= {url!r} is no web address; it begins with https://.") from None
    if named:
        raise table.fail(
            "url", "holds a user name or password; leave them out. `eo sources` says how to give them."
        )
    return url


def _terrain(file: Path, source: Table) -> TerrainSpec | None:
    if "terrain" not in source.values:
        return None
    table = Table(file, "source.terrain", source.values["terrain"], ("kind", "dem", "root", "url"))
    kind = table.choice("kind", ("file", "earth-search", "planetary-computer"), "file")
    for key in ("root", "url") if kind == "file" else ("dem",):
        if key in table.values:
            other = '"earth-search" or "planetary-computer"' if kind == "file" else '"file"'
            raise table.fail(key, f"is for kind = {other}; set that, or leave the line out.")
    if kind != "file":
        root = cast(Path, table.place("root", must_exist=False))
        return TerrainSpec(root=root, provider=kind, url=table.text("url", ""))
    text = table.text("dem")
    if not glob.has_magic(text):
        return TerrainSpec((cast(Path, table.place("dem")),))
    pattern = Path(text).expanduser()
    start = Path(pattern.anchor) if pattern.is_absolute() else file.parent
    try:
        found = sorted(path.resolve() for path in start.glob(str(pattern).removeprefix(pattern.anchor)))
    except ValueError as error:
        raise table.fail("dem", f"= {text!r} is no pattern: {error}. Write dem/**/*.tif.") from None
    if not found:
        raise table.fail("dem", f"= {text!r}: no file below {start} fits. Correct the pattern.")
    return TerrainSpec(tuple(found))


def _masks(file: Path, table: Table, bands: Mapping[str, int]) -> tuple[MaskRule, ...]:
    masks = []
    for number, item in enumerate(table.typed("mask", [], list, "a list of [[source.mask]] tables"), 1):
        rule = Table(file, f"source.mask #{number}", item, ("band", "clear"))
        band = rule.text("band")
        if bands and band not in bands:
            near = difflib.get_close_matches(band, bands, n=1)
            hint = f" Did you mean “{near[0]}”?" if near else ""
            raise rule.fail("band", f"= {band!r} is not in [source] bands.{hint} Bands: {', '.join(bands)}.")
        clear = rule.typed("clear", MISSING, list, "a list of values")
        if not clear or any(isinstance(v, bool) or not isinstance(v, int | float) for v in clear):
            raise rule.fail("clear", f"= {clear!r} must list the values that mean a clear view.")
        masks.append(MaskRule(band, tuple(float(v) for v in clear)))
    return tuple(masks)


def _bands(table: Table) -> dict[str, int]:
    bands = table.typed("bands", {}, dict, "a table of band names, like { B04 = 1 }")
    for name, number in bands.items():
        if isinstance(number, bool) or not isinstance(number, int) or number < 1:
            raise table.fail(
                "bands", f"gives {name} = {number!r}; give the band's place in the raster, from 1."
            )
    return cast(dict[str, int], dict(bands))
