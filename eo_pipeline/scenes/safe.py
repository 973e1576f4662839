"""SAFE, the format of ESA's Sentinel-2 products: its files in a folder or a zip, and what its XML says."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Final, Protocol

from eo_pipeline.acquire.products import Direction, strip_of
from eo_pipeline.errors import SourceError
from eo_pipeline.grid import Grid
from eo_pipeline.mgrs import cut_at_date_line
from eo_pipeline.scenes.safe_xml import find_text, number_of, parse_xml, text_of
from eo_pipeline.scenes.sentinel2 import (
    BAND_IDS,
    LEVEL1C_FILE,
    METADATA_FILES,
    NATIVE_METRES,
    BandFile,
    Level,
    Sentinel2Product,
    finest_first,
    over_tile,
    read_name,
    tile_grid,
    utm_wkt,
)

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

#: L1C has one raster a band and does not name its metres.
_BAND_FILE: Final = re.compile(r".*_(?P<band>B\d\d|B8A|SCL)(?:_(?P<metres>10|20|60)m)?\.(?:jp2|tiff?)", re.I)
#: What products of `eo simulate` say in a comment at their head.
_SIMULATED: Final = b"SIMULATED"


# ---- the files of a SAFE product ---------------------------------------------------------------------
class _Files(Protocol):
    """The files below a product's own folder, in a folder or a zip."""

    @property
    def path(self) -> str: ...
    def names(self) -> tuple[str, ...]: ...
    def read(self, name: str) -> bytes: ...
    def gdal(self, name: str) -> str: ...


@dataclass(frozen=True, slots=True)
class _Folder:
    root: Path

    @property
    def path(self) -> str:
        return str(self.root)

    def names(self) -> tuple[str, ...]:
        files = (item for item in self.root.rglob("*") if item.is_file() and item.suffix != ".partial")
        return tuple(sorted(item.relative_to(self.root).as_posix() for item in files))

    def read(self, name: str) -> bytes:
        try:
            return (self.root / name).read_bytes()
        except OSError as error:
            raise SourceError(
                f"{self.root / name} cannot be read: {error.strerror}. Fetch it again."
            ) from error

    def gdal(self, name: str) -> str:
        return str(self.root / name)


@dataclass(frozen=True, slots=True)
class _Zip:
    archive: Path
    inner: str
    members: tuple[str, ...]

    @classmethod
    def open(cls, archive: Path) -> _Zip:
        try:
            with zipfile.ZipFile(archive) as stream:
                names = [item.filename for item in stream.infolist() if not item.is_dir()]
        except FileNotFoundError:
            raise SourceError(f"{archive} does not exist. Give the zip of a SAFE product.") from None
        except (OSError, zipfile.BadZipFile) as error:
            raise SourceError(
                f"{archive} is no whole zip file ({error}); its download broke off. Fetch it again."
            ) from error
        wanted = (*METADATA_FILES, LEVEL1C_FILE)
        roots = {str(PurePosixPath(name).parent) for name in names if PurePosixPath(name).name in wanted}
        if len(roots) != 1:
            raise SourceError(
                f"{archive} holds {len(roots)} products with MTD_MSIL2A.xml; give the zip of one SAFE "
                "product."
            )
        inner = roots.pop()
        prefix = "" if inner == "." else inner + "/"
        return cls(archive, prefix, tuple(sorted(n[len(prefix) :] for n in names if n.startswith(prefix))))

    @property
    def path(self) -> str:
        return str(self.archive)

    def names(self) -> tuple[str, ...]:
        return self.members

    def read(self, name: str) -> bytes:
        try:
            with zipfile.ZipFile(self.archive) as stream:
                return stream.read(self.inner + name)
        except (OSError, KeyError, zipfile.BadZipFile) as error:
            raise SourceError(
                f"{self.archive}: {name} cannot be read ({error}). Fetch the zip again."
            ) from error

    def gdal(self, name: str) -> str:
        return f"/vsizip/{self.archive.resolve()}/{self.inner}{name}"


# ---- a SAFE product ------------------------------------------------------------------------------------
def read_safe(place: Path, *, provider: str = "", level: Level | None = "L2A") -> Sentinel2Product:
    """Read a SAFE folder or a zip of one; see `sentinel2.read_product`."""
    files = _Zip.open(place) if place.suffix.lower() == ".zip" else _Folder(place)
    return _read_safe(files, provider, level)


def _read_safe(files: _Files, provider: str, level: Level | None) -> Sentinel2Product:
    names = files.names()
    head = next((name for name in METADATA_FILES if name in names), LEVEL1C_FILE)
    found: Level = "L1C" if head == LEVEL1C_FILE else "L2A"
    if level == "L2A" and found == "L1C":
        raise SourceError(
            f"{files.path} is a product of level L1C (top of atmosphere). Fetch the L2A product of the same "
            "observation, or make it with Sen2Cor; L1C is not mixed with L2A."
        )
    if level == "L1C" and found == "L2A":
        raise SourceError(
            f"{files.path} is a product of level L2A, where one of level L1C is needed. Fetch the L1C "
            "product of the same observation."
        )
    where = f"{files.path}/{head}"
    document = files.read(head)
    facts = read_metadata(document, where, level=found)
    named = read_name(facts.name)
    if named is None:
        raise SourceError(f"{where}: PRODUCT_URI = {facts.name!r} is no name of a Sentinel-2 product.")
    granules = [name for name in names if PurePosixPath(name).name == "MTD_TL.xml"]
    if len(granules) > 1:
        raise SourceError(
            f"{files.path} holds {len(granules)} granules (the format before December 2016). Fetch it anew: "
            "archives have reprocessed it, one tile a product."
        )
    granule = _Granule()
    if granules:
        granule = _read_granule(files.read(granules[0]), f"{files.path}/{granules[0]}", named.tile)
    bands: dict[str, list[BandFile]] = {}
    for name in names:
        if "IMG_DATA" in name and (match := _BAND_FILE.fullmatch(name)):
            band = match["band"].upper()
            metres = int(match["metres"] or NATIVE_METRES[band])
            bands.setdefault(band, []).append(BandFile(band, files.gdal(name), metres))
    return Sentinel2Product(
        name=facts.name,
        simulated=_SIMULATED in document[:4096],
        path=files.path,
        provider=provider or "safe",
        platform=named.platform,
        sensed=facts.sensed,
        baseline=facts.baseline,
        orbit=facts.orbit,
        direction=facts.direction,
        tile=named.tile,
        grid=granule.grid or tile_grid(named.tile),
        bands=finest_first(bands),
        quantification=facts.quantification,
        offsets=facts.offsets,
        special=facts.special,
        footprint=over_tile(facts.footprint, named.tile, files.path),
        cloud_cover=facts.cloud_cover,
        empty_share=granule.empty_share,
        sun=granule.sun,
        strip=facts.strip,
    )


@dataclass(frozen=True, slots=True)
class ProductFacts:
    """What MTD_MSIL2A.xml or MTD_MSIL1C.xml tells; see `Sentinel2Product`."""

    name: str
    sensed: datetime
    baseline: str
    orbit: int
    direction: Direction
    quantification: float
    offsets: Mapping[str, float]
    special: Mapping[str, int]
    footprint: str
    cloud_cover: float | None
    strip: str


@dataclass(frozen=True, slots=True)
class _Words:
    """How the metadata of a level call things."""

    levels: tuple[str, ...]
    offset: str
    quantification: str


_WORDS: Final[Mapping[Level, _Words]] = {
    "L2A": _Words(("LEVEL-2A", "LEVEL-2AP"), "BOA_ADD_OFFSET", "BOA_QUANTIFICATION_VALUE"),
    "L1C": _Words(("LEVEL-1C",), "RADIO_ADD_OFFSET", "QUANTIFICATION_VALUE"),
}


def read_metadata(data: bytes, where: str, *, level: Level = "L2A") -> ProductFacts:
    """Read MTD_MSIL2A.xml, or MTD_MSIL1C.xml where `level` says so.

    Raises
    ------
    SourceError
        Damaged, of another level, or without what every such file has.
    """
    root = parse_xml(data, where)
    words = _WORDS[level]
    told = text_of(root, "PROCESSING_LEVEL", where)
    if told.upper() not in words.levels:
        raise SourceError(
            f"{where}: the product is of {told}. Fetch the {level} product of the same observation"
            f"{', or make it with Sen2Cor' if level == 'L2A' else ''}."
        )
    direction = (find_text(root, "SENSING_ORBIT_DIRECTION") or "").lower()
    offsets: dict[str, float] = {}
    for element in root.iter(words.offset):
        try:
            offsets[BAND_IDS[int(element.get("band_id", ""))]] = float(element.text or "")
        except (ValueError, IndexError) as error:
            raise SourceError(f"{where}: a {words.offset} cannot be read. Fetch the file again.") from error
    quantification = number_of(root, words.quantification, where)
    if quantification <= 0:
        raise SourceError(f"{where}: {words.quantification} = {quantification:g}. Fetch the file again.")
    cloud = find_text(root, "Cloud_Coverage_Assessment")
    granule = next(root.iter("Granule"), None)
    return ProductFacts(
        name=text_of(root, "PRODUCT_URI", where).removesuffix(".SAFE") + ".SAFE",
        sensed=_time(text_of(root, "PRODUCT_START_TIME", where), where),
        baseline=text_of(root, "PROCESSING_BASELINE", where),
        orbit=int(number_of(root, "SENSING_ORBIT_NUMBER", where)),
        direction=_direction(direction),
        quantification=quantification,
        offsets=offsets,
        special=_special(root),
        footprint=_footprint(find_text(root, "EXT_POS_LIST") or "", where),
        cloud_cover=float(cloud) if cloud else None,
        strip=strip_of(granule.get("datastripIdentifier", "") if granule is not None else ""),
    )


def _special(root: Element) -> dict[str, int]:
    found = {}
    for element in root.iter("Special_Values"):
        name, value = find_text(element, "SPECIAL_VALUE_TEXT"), find_text(element, "SPECIAL_VALUE_INDEX")
        if name and value and value.isdecimal():
            found[name] = int(value)
    return found


@dataclass(frozen=True, slots=True)
class _Granule:
    grid: Grid | None = None
    empty_share: float | None = None
    sun: tuple[float, float] | None = None


def _read_granule(data: bytes, where: str, tile: str) -> _Granule:
    root = parse_xml(data, where)
    code = text_of(root, "HORIZONTAL_CS_CODE", where)
    wkt = utm_wkt(code, tile, where)
    size = next((item for item in root.iter("Size") if item.get("resolution") == "10"), None)
    place = next((item for item in root.iter("Geoposition") if item.get("resolution") == "10"), None)
    if size is None or place is None:
        raise SourceError(f"{where} does not tell the tile's place at 10 m. Fetch the file again.")
    left, top = number_of(place, "ULX", where), number_of(place, "ULY", where)
    grid = Grid(
        wkt,
        (10.0, 0.0, left, 0.0, -10.0, top),
        int(number_of(size, "NCOLS", where)),
        int(number_of(size, "NROWS", where)),
    )
    sun = next(root.iter("Mean_Sun_Angle"), None)
    empty = find_text(root, "NODATA_PIXEL_PERCENTAGE")
    return _Granule(
        grid,
        float(empty) if empty else None,
        None
        if sun is None
        else (number_of(sun, "ZENITH_ANGLE", where), number_of(sun, "AZIMUTH_ANGLE", where)),
    )


def _footprint(text: str, where: str) -> str:
    import shapely

    if not text:
        return ""
    try:
        numbers = [float(word) for word in text.split()]
        # pairs of latitude and longitude; some baselines add a height
        step = 3 if len(numbers) % 3 == 0 and len(numbers) % 2 else 2
        ring = [(numbers[i + 1], numbers[i]) for i in range(0, len(numbers) - 1, step)]
        polygon = shapely.Polygon(ring)
    except ValueError as error:
        raise SourceError(
            f"{where}: the footprint cannot be read ({error}). Fetch the file again."
        ) from error
    return str(cut_at_date_line(shapely.make_valid(polygon)).wkt)


def _direction(text: str) -> Direction:
    if text == "ascending":
        return "ascending"
    return "descending" if text == "descending" else ""


def _time(text: str, where: str) -> datetime:
    try:
        found = datetime.fromisoformat(text.replace("Z", "+00:00"))
    except ValueError as error:
        raise SourceError(f"{where}: {text!r} is no time. Fetch the file again.") from error
    return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
