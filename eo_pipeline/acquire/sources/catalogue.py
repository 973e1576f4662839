"""What catalogue answers have in common, whoever gives them: product names, times, footprints, checksums,
and where the files of a SAFE product lie. Pure functions; nothing here talks to a network.
"""

from __future__ import annotations

import re
from calendar import monthrange
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, Final

import shapely
import shapely.geometry

from eo_pipeline.acquire.products import Direction, Product, Query, RemoteFile
from eo_pipeline.errors import ArchiveError
from eo_pipeline.mgrs import cut_at_date_line

#: Bands by the resolution they are measured at; archives serve them at coarser ones too.
NATIVE: Final[Mapping[str, int]] = {
    "B01": 60, "B02": 10, "B03": 10, "B04": 10, "B05": 20, "B06": 20, "B07": 20, "B08": 10, "B8A": 20,
    "B09": 60, "B10": 60, "B11": 20, "B12": 20, "SCL": 20,
}  # fmt: skip

_S2_NAME = re.compile(
    r"S2[A-D]_MSI(?P<level>L1C|L2A)_(?P<sensed>\d{8}T\d{6})_(?:N(?P<baseline>\d{4})_)?R(?P<orbit>\d{3})"
    r"_T(?P<tile>\d{2}[A-Z]{3})_(?P<made>\d{8}T\d{6})"
)
_S1_NAME = re.compile(
    r"S1[A-D]_[A-Z0-9]{2}_(?P<level>GRD|SLC|RAW|OCN)[A-Z_]_\w{4}_(?P<sensed>\d{8}T\d{6})_\d{8}T\d{6}_\d{6}_[0-9A-F]{6}"
)


@dataclass(frozen=True, slots=True)
class ProductName:
    """What the name of a Sentinel product says of it; empty and None where it says nothing."""

    level: str
    sensed: datetime | None
    baseline: str
    orbit: int | None
    tile: str


def read_name(name: str) -> ProductName:
    """Read the name of a Sentinel-1 or Sentinel-2 product, with or without ".SAFE".

    Examples
    --------
    >>> read_name("S2B_MSIL2A_20240419T095549_N0510_R122_T47XML_20240419T123458.SAFE").baseline
    '05.10'
    """
    if found := _S2_NAME.match(name):
        baseline = found["baseline"] or ""
        return ProductName(
            level=found["level"],
            sensed=_compact(found["sensed"]),
            baseline=f"{baseline[:2]}.{baseline[2:]}" if baseline else "",
            orbit=int(found["orbit"]),
            tile=found["tile"],
        )
    if found := _S1_NAME.match(name):
        return ProductName(found["level"], _compact(found["sensed"]), "", None, "")
    return ProductName("", None, "", None, "")


def _compact(text: str) -> datetime:
    return datetime.strptime(text, "%Y%m%dT%H%M%S").replace(tzinfo=UTC)


def read_time(text: str, *, source: str) -> datetime:
    """Read a time as catalogues write it (ISO 8601), in UTC.

    Raises
    ------
    ArchiveError
        It is none; the message names the source.
    """
    try:
        found = datetime.fromisoformat(text.replace("Z", "+00:00"))
    except (ValueError, AttributeError) as error:
        raise ArchiveError(
            f"{source} tells the time {text!r}, which cannot be read. Report it: its answers changed."
        ) from error
    return found.astimezone(UTC) if found.tzinfo else found.replace(tzinfo=UTC)


def size_of(value: object) -> int | None:
    """A length in bytes; 0, empty and nonsense mean "unknown"."""
    try:
        size = int(str(value))
    except ValueError:
        return None
    return size if size > 0 else None


def direction_of(value: object) -> Direction:
    """The direction of an orbit, as any catalogue spells it."""
    word = str(value or "").lower()
    if word == "ascending":
        return "ascending"
    return "descending" if word == "descending" else ""


def footprint_of(geometry: object) -> str:
    """WKT of a GeoJSON geometry, cut at the date line; empty where there is none or it cannot be read."""
    if not isinstance(geometry, Mapping):
        return ""
    try:
        return str(cut_at_date_line(shapely.geometry.shape(geometry)).wkt)
    except (ValueError, TypeError, KeyError, AttributeError, shapely.errors.GEOSException):
        return ""


def plain_area(wkt: str, *, longest: int = 60) -> str:
    """The area of a query, short enough for an address: one ring around it of at most `longest` points.

    The ring may be larger than the area and is never smaller; `Asked.wants` looks again at what comes back.

    Raises
    ------
    ArchiveError
        It is no geometry, or an empty one.
    """
    area = _area(wkt)
    if area.geom_type == "Polygon" and not area.interiors and len(area.exterior.coords) <= longest:
        return str(shapely.to_wkt(area, rounding_precision=6, trim=True))
    hull = shapely.convex_hull(area)
    if hull.geom_type != "Polygon" or len(hull.exterior.coords) > longest:
        # a little larger, so that rounding and points on a line never cut anything off
        hull = shapely.box(*shapely.bounds(shapely.buffer(hull, 1e-5)))
    return str(shapely.to_wkt(hull, rounding_precision=6, trim=True))


def _area(wkt: str) -> Any:
    try:
        area = shapely.from_wkt(wkt)
    except shapely.errors.GEOSException as error:
        raise ArchiveError(
            f"The area of the search cannot be read: {str(error)[:120]}. Correct [region] of the season file."
        ) from error
    if area is None or area.is_empty:
        raise ArchiveError("The area of the search is empty. Correct [region] of the season file.")
    return area


@dataclass(frozen=True, slots=True)
class Window:
    """A piece of a search's period: `start` belongs to it, `end` does not."""

    start: datetime
    end: datetime

    def halves(self) -> tuple[Window, Window]:
        """Two windows that make up this one, cut at a whole millisecond (catalogues know no finer)."""
        milliseconds = (self.end - self.start) // timedelta(milliseconds=1)
        middle = self.start + timedelta(milliseconds=milliseconds // 2)
        return Window(self.start, middle), Window(middle, self.end)

    @property
    def whole(self) -> bool:
        """Whether it cannot be cut any more."""
        return self.end - self.start < timedelta(milliseconds=2)


def windows(query: Query, *, months: int) -> Iterator[Window]:
    """The period of a query in pieces of so many calendar months, in order and without gaps.

    Examples
    --------
    >>> query = Query("sentinel-2-l2a", "POINT (0 0)", date(2024, 1, 20), date(2024, 2, 10))
    >>> [(w.start.day, w.end.day) for w in windows(query, months=1)]
    [(20, 1), (1, 11)]
    """
    start, end = (datetime.combine(day, time(), UTC) for day in (query.start, query.end))
    end += timedelta(days=1)
    while start < end:
        year, month = divmod(start.year * 12 + start.month - 1 + months - 1, 12)
        last = date(year, month + 1, monthrange(year, month + 1)[1])
        stop = min(datetime.combine(last, time(), UTC) + timedelta(days=1), end)
        yield Window(start, stop)
        start = stop


#: What the names of a collection's products say of their level.
_LEVELS: Final = {"sentinel-2-l2a": "L2A", "sentinel-2-l1c": "L1C", "sentinel-1-grd": "GRD"}


class Asked:
    """Tells whether a product answers a query. Catalogues are not trusted to have filtered.

    Parameters
    ----------
    query
        What was asked.
    orbits
        Keeps only these relative orbits; empty for all. Catalogues disagree about the type of this
        attribute, so that it cannot be asked of them.
    """

    def __init__(self, query: Query, *, orbits: Sequence[int] = ()) -> None:
        self._query, self._orbits = query, tuple(orbits)
        self._area = _area(query.geometry)
        shapely.prepare(self._area)

    def wants(self, product: Product) -> bool:
        """Whether the product is of the query's kind, days, tiles, orbits, clouds and place."""
        query = self._query
        level = read_name(product.name).level
        if level and level != _LEVELS.get(query.collection, level):
            return False
        if not query.timeless and not query.start <= product.sensed.date() <= query.end:
            return False
        if query.tiles and product.tile and product.tile not in query.tiles:
            return False
        if self._orbits and product.orbit is not None and product.orbit not in self._orbits:
            return False
        clouds = product.cloud_cover
        if query.max_cloud is not None and clouds is not None and clouds > query.max_cloud:
            return False
        return self._touches(product.footprint)

    def _touches(self, footprint: str) -> bool:
        if not footprint:
            return True  # nothing to judge by; the catalogue was asked for this place
        try:
            return bool(shapely.intersects(self._area, shapely.from_wkt(footprint)))
        except shapely.errors.GEOSException:
            return True  # an invalid outline; better a product too many than one lost


def in_order(
    batches: Iterable[Sequence[Product]], *, slack: timedelta = timedelta(hours=1)
) -> Iterator[Product]:
    """Products of batches that follow in time, sorted by sensing and name, each once.

    A catalogue's time and the time of sensing in the product's name differ by minutes (the granule, and the
    whole data take); products near the end of a batch wait for the next one.
    """
    held: list[Product] = []
    seen: set[str] = set()
    for batch in batches:
        new = [product for product in batch if product.id not in seen]
        for product in new:
            if product.id not in seen:
                seen.add(product.id)
                held.append(product)
        held.sort(key=_by_time)
        limit = (held[-1].sensed - slack) if held else None
        ready = [product for product in held if limit is not None and product.sensed < limit]
        held = held[len(ready) :]
        yield from ready
    yield from held


def _by_time(product: Product) -> tuple[datetime, str, str]:
    return product.sensed, product.name, product.id


# ---- the files of a SAFE product
# -------------------------------------------------------------------------------------------
#: One entry of a folder at an archive: its name, and its size in bytes (None for folders and where unknown).
Entry = tuple[str, "int | None"]
_BAND_FILE = re.compile(
    r"T\d{2}[A-Z]{3}_\d{8}T\d{6}_(?P<key>B\d[\dA]|SCL|AOT|WVP|TCI)_(?P<metres>\d{2})m\.jp2"
)
_LEVEL1C_FILE = re.compile(r"GRANULE/L1C_\w+/IMG_DATA/T\d{2}[A-Z]{3}_\d{8}T\d{6}_(?P<key>B\d[\dA])\.jp2")
_S1_FILE = re.compile(
    r"(?P<folder>measurement|annotation|annotation/calibration)/"
    r"(?P<kind>calibration-|noise-)?s1[a-d]-\w{2}-grd-(?P<pol>[vh]{2})-[\w-]+\.(?P<end>tiff|xml)"
)


def key_of(path: str) -> str | None:
    """What a file below a SAFE folder is (see `RemoteFile.key`); None for files nobody asks for.

    A band counts at its native resolution only.

    Examples
    --------
    >>> key_of("GRANULE/L2A_T48SWE_A1_20240601T033/IMG_DATA/R20m/T48SWE_20240601T033541_B8A_20m.jp2")
    'B8A'
    >>> key_of("GRANULE/L2A_T48SWE_A1_20240601T033/IMG_DATA/R20m/T48SWE_20240601T033541_B04_20m.jp2") is None
    True
    >>> key_of("GRANULE/L1C_T48SWE_A1_20240601T033/IMG_DATA/T48SWE_20240601T033541_B10.jp2")
    'B10'
    """
    folder, _, name = path.rpartition("/")
    if path in ("MTD_MSIL2A.xml", "MTD_MSIL1C.xml", "manifest.safe") or name == "MTD_TL.xml":
        return name.partition(".")[0]
    if found := _LEVEL1C_FILE.fullmatch(path):
        return found["key"]
    if found := _BAND_FILE.fullmatch(name):
        key, metres = found["key"], int(found["metres"])
        return key if folder.endswith(f"/R{metres}m") and NATIVE.get(key) == metres else None
    if found := _S1_FILE.fullmatch(path):
        if found["folder"] == "measurement":
            return found["pol"] if found["end"] == "tiff" else None
        kind = {"calibration-": "calibration", "noise-": "noise", None: "product"}[found["kind"]]
        return f"schema-{kind}-{found['pol']}" if found["end"] == "xml" else None
    return None


def find_files(
    keys: Sequence[str], listing: Callable[[tuple[str, ...]], Sequence[Entry]]
) -> dict[str, tuple[str, int | None]]:
    """Path below the SAFE folder and size of the files that `keys` name, with as few listings as they need.

    Parameters
    ----------
    keys
        See `RemoteFile.key`.
    listing
        The entries of a folder, given its path below the SAFE folder in parts.
    """
    wanted = set(keys)
    found: dict[str, tuple[str, int | None]] = {}

    def take(*parts: str) -> list[str]:
        names = []
        for name, size in listing(parts):
            path = "/".join((*parts, name))
            key = key_of(path)
            if key in wanted:
                found[key] = (path, size)
            names.append(name)
        return names

    if wanted & {"MTD_MSIL2A", "MTD_MSIL1C", "manifest"}:
        take()
    bands = {NATIVE[key] for key in wanted if key in NATIVE}
    if bands or "MTD_TL" in wanted:
        granules = [name for name in take("GRANULE") if name.startswith(("L2A_", "L1C_"))]
        for granule in granules[:1]:
            if "MTD_TL" in wanted:
                take("GRANULE", granule)
            if bands and granule.startswith("L1C_"):
                take("GRANULE", granule, "IMG_DATA")
                continue
            for metres in sorted(bands):
                take("GRANULE", granule, "IMG_DATA", f"R{metres}m")
    if wanted & {"vv", "vh", "hh", "hv"}:
        take("measurement")
    if any(key.startswith("schema-product") for key in wanted):
        take("annotation")
    if any(key.startswith(("schema-calibration", "schema-noise")) for key in wanted):
        take("annotation", "calibration")
    return found


def in_wanted_order(
    product: Product, keys: Sequence[str], offered: Mapping[str, RemoteFile]
) -> tuple[RemoteFile, ...]:
    """The files that `keys` name, in that order.

    Raises
    ------
    ArchiveError
        The product has no such file; the message says which it has.
    """
    if missing := [key for key in keys if key not in offered]:
        have = ", ".join(sorted(offered)) or "none"
        raise ArchiveError(
            f"{product.source}: {product.name} has no file {', '.join(missing)}; it has {have}. "
            "Leave the band out, or let another provider serve this product ([source] fallback)."
        )
    return tuple(offered[key] for key in keys)
