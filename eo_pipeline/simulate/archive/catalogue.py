"""What the folder holds: every SAFE product with what its own XML tells. No protocol here."""

from __future__ import annotations

import json
import math
import re
import threading
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final, Literal
from xml.etree import ElementTree

import shapely
import shapely.geometry

from eo_pipeline.errors import ArchiveError

Collection = Literal["sentinel-2-l2a", "sentinel-2-l1c", "sentinel-1-grd", "sentinel-1-rtc", "cop-dem-glo-30"]

_SPACE: Final = uuid.UUID("6f1f6f0e-53d5-5d2c-9d0e-5a1f0f0c7a11")
_S2_NAME: Final = re.compile(
    r"S2[A-D]_MSI(?P<level>L2A|L1C)_(?P<start>\d{8}T\d{6})_N(?P<baseline>\d{4})_R(?P<orbit>\d{3})_T(?P<tile>\w{5})_\d{8}T\d{6}\.SAFE"
)
_S1_NAME: Final = re.compile(
    r"(?P<sat>S1[A-D])_(?P<mode>IW|EW|SM)_GRD(?P<resolution>[HFM])_1S(?P<pol>SH|SV|DH|DV)_(?P<start>\d{8}T\d{6})_"
    r"(?P<stop>\d{8}T\d{6})_(?P<absolute>\d{6})_(?P<take>[0-9A-F]{6})_[0-9A-F]{4}\.SAFE"
)
#: The file that makes a folder a product; the first that is there.
_HEADS: Final = ("MTD_MSIL2A.xml", "MTD_MSIL2a.xml", "MTD_MSIL1C.xml", "manifest.safe")
_BAND_FILE: Final = re.compile(r"_(?P<band>B\d[\dA]|SCL|AOT|WVP|TCI)_(?P<metres>\d0)m\.jp2$")
_POLARISATIONS: Final[Mapping[str, tuple[str, ...]]] = {
    "SH": ("HH",), "SV": ("VV",), "DH": ("HH", "HV"), "DV": ("VV", "VH"),
}  # fmt: skip
#: A pixel of a cell of the elevation model in degrees, and the date all cells bear.
CELL_PIXEL: Final = 1 / 3600
_CELLS_MADE: Final = datetime(2021, 4, 22, tzinfo=UTC)
#: How the relative orbit follows from the absolute one: 175 orbits a cycle, one shift a satellite.
_S1_SHIFT: Final = {"S1A": 73, "S1B": 27, "S1C": 172, "S1D": 0}


@dataclass(frozen=True, slots=True)
class Band:
    """One raster of a product: its band, pixel size in metres, and file below the product's folder."""

    name: str
    metres: int
    path: str


@dataclass(frozen=True, slots=True)
class Record:
    """One product of the folder.

    Times are UTC; `footprint` is in longitude and latitude; `corner` is the upper left corner in metres of
    `epsg`, `shapes` rows and columns by pixel size in metres; `shares` are percent by the names of
    Image_Content_QI in lower case. Radar products have no tile, bands, corner or shares.
    """

    path: Path
    name: str
    id: str
    collection: Collection
    platform: str
    start: datetime
    stop: datetime
    sensed: datetime
    made: datetime
    footprint: Any
    orbit: int
    absolute_orbit: int
    direction: str
    tile: str = ""
    baseline: str = ""
    cloud: float | None = None
    sun: tuple[float, float] | None = None
    epsg: int = 0
    corner: tuple[float, float] = (0.0, 0.0)
    shapes: Mapping[int, tuple[int, int]] = field(default_factory=dict)
    shares: Mapping[str, float] = field(default_factory=dict)
    identifiers: Mapping[str, str] = field(default_factory=dict)
    bands: tuple[Band, ...] = ()
    granule: str = ""
    polarisations: tuple[str, ...] = ()
    item: Mapping[str, Any] | None = None

    @property
    def published(self) -> datetime:
        """When the archive offered it: some hours after it was made."""
        return self.made + timedelta(hours=1, minutes=11)

    @property
    def has_offset(self) -> bool:
        """Whether its numbers carry the offset of baseline 04.00 and later."""
        return self.baseline >= "04.00"

    def band(self, name: str) -> Band | None:
        """A band at its finest pixel size."""
        found = sorted((band for band in self.bands if band.name == name), key=lambda band: band.metres)
        return found[0] if found else None


class Catalogue:
    """The products below a folder, and cells of the elevation model `dem.tif` in it or beside it; looked for
    again when it changes.

    Raises
    ------
    ArchiveError
        The folder does not exist or holds no product, or one whose XML cannot be read.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder.resolve()
        self._lock = threading.Lock()
        self._known: dict[Path, tuple[int, Record]] = {}
        self.refresh()
        if not self._by_id:
            raise ArchiveError(
                f"{folder} holds no Sentinel product (a folder *.SAFE with manifest.safe or MTD_MSI*.xml). "
                "Make some with `eo simulate`, or give another folder."
            )

    def refresh(self) -> None:
        """Look for products anew; what did not change is not read again."""
        if not self.folder.is_dir():
            raise ArchiveError(f"{self.folder} is no folder. Give one that holds *.SAFE products.")
        with self._lock:
            records = []
            for path, head in _products(self.folder):
                stamp = head.stat().st_mtime_ns
                known = self._known.get(path)
                if known is None or known[0] != stamp:
                    known = stamp, read_record(path, head)
                    self._known[path] = known
                records.append(known[1])
            by_id: dict[str, Record] = {}
            for record in records:
                if (twin := by_id.get(record.id)) is not None:
                    raise ArchiveError(
                        f"{record.name} lies twice below {self.folder}: {twin.path} and {record.path}. "
                        "Remove one."
                    )
                by_id[record.id] = record
            self._by_id = by_id
            self._sorted = tuple(sorted(records, key=lambda r: (r.start, r.name)))
            places = (self.folder / "dem.tif", self.folder.parent / "dem.tif")
            dem = next((path for path in places if path.is_file()), None)
            self._cells = tuple(_cells(dem)) if dem else ()

    @property
    def records(self) -> tuple[Record, ...]:
        """All products by time of sensing and name."""
        return self._sorted

    def get(self, product_id: str) -> Record | None:
        """The product of an id."""
        return self._by_id.get(product_id)

    def of(self, collection: Collection) -> tuple[Record, ...]:
        """Products of one collection."""
        return tuple(record for record in (*self._sorted, *self._cells) if record.collection == collection)


def _products(folder: Path) -> Iterator[tuple[Path, Path]]:
    """Folders of products, and the file that makes each one."""
    pending = [folder]
    while pending:
        here = pending.pop()
        if here.name.endswith(".SAFE"):
            if head := next((here / name for name in _HEADS if (here / name).is_file()), None):
                yield here, head
            continue
        if here.parent.name == "sentinel-1-rtc" and (items := sorted(here.glob("*.json"))):
            yield here, items[0]
            continue
        pending += sorted((item for item in here.iterdir() if item.is_dir()), reverse=True)


def read_record(path: Path, head: Path) -> Record:
    """What the XML of a product tells.

    Raises
    ------
    ArchiveError
        Names the file and what it lacks.
    """
    try:
        if head.suffix == ".json":
            return _radar_item(path, head)
        if _S2_NAME.fullmatch(path.name):
            return _optical(path, head)
        if _S1_NAME.fullmatch(path.name):
            return _radar(path)
    except (OSError, ValueError, KeyError, AttributeError, TypeError, ElementTree.ParseError) as error:
        raise ArchiveError(
            f"{path} cannot be served: {head.name} or a file beside it lacks what every product has "
            f"({type(error).__name__}: {error}). Make it again, or move it elsewhere."
        ) from error
    raise ArchiveError(
        f"{path.name} is no name of a Sentinel-2 or Sentinel-1 GRD product. Move {path} elsewhere."
    )


def _tree(path: Path) -> ElementTree.Element:
    return ElementTree.parse(path).getroot()  # noqa: S314 - the user's own folder


def _find(root: ElementTree.Element, name: str) -> ElementTree.Element:
    """The first element of a local name, whatever its namespace."""
    for element in root.iter():
        if element.tag == name or element.tag.endswith("}" + name):
            return element
    raise KeyError(name)


def _text(root: ElementTree.Element, name: str) -> str:
    return (_find(root, name).text or "").strip()


def _time(text: str) -> datetime:
    moment = datetime.fromisoformat(text.strip())
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def _ring(numbers: str) -> Any:
    """Footprint of "lat lon lat lon …" or "lat,lon lat,lon …"; a part beyond the date line is moved back."""
    values = [float(value) for value in re.split(r"[\s,]+", numbers.strip())]
    points = [(lon, lat) for lat, lon in zip(values[::2], values[1::2], strict=False)]
    if max(x for x, _ in points) - min(x for x, _ in points) <= 180:
        return shapely.Polygon(points)
    whole = shapely.Polygon([(x + 360 if x < 0 else x, y) for x, y in points])
    east = whole.intersection(shapely.box(-180, -90, 180, 90))
    west = shapely.transform(whole.intersection(shapely.box(180, -90, 540, 90)), lambda p: p - [360, 0])
    return shapely.MultiPolygon([*_parts(east), *_parts(west)])


def _parts(shape: Any) -> list[Any]:
    return [part for part in getattr(shape, "geoms", [shape]) if part.geom_type == "Polygon" and part.area]


def _optical(path: Path, head: Path) -> Record:
    root = _tree(head)
    granules = sorted(path.glob("GRANULE/*/MTD_TL.xml"))
    if len(granules) != 1:
        raise KeyError(f"GRANULE/*/MTD_TL.xml: {len(granules)} instead of 1")
    tile = _tree(granules[0])
    named = _S2_NAME.fullmatch(path.name)
    assert named is not None
    take = _find(root, "Datatake")
    granule = _find(root, "Granule")
    content = _find(tile, "Image_Content_QI")
    shares = {
        element.tag.removesuffix("_PERCENTAGE").lower(): float(element.text or 0)
        for element in content
        if element.tag.endswith("_PERCENTAGE")
    }
    sun = _find(tile, "Mean_Sun_Angle")
    shapes, corner = {}, (0.0, 0.0)
    for size in tile.iter("Size"):
        shapes[int(size.attrib["resolution"])] = (int(_text(size, "NROWS")), int(_text(size, "NCOLS")))
    for place in tile.iter("Geoposition"):
        if place.attrib["resolution"] == "10":
            corner = (float(_text(place, "ULX")), float(_text(place, "ULY")))
    bands = [
        Band(match["band"], int(match["metres"]), file.relative_to(path).as_posix())
        for file in sorted(path.glob("GRANULE/*/IMG_DATA/**/*.jp2"))
        if (match := _BAND_FILE.search(file.name))
    ]
    return Record(
        path=path,
        name=path.name,
        id=str(uuid.uuid5(_SPACE, path.name)),
        collection="sentinel-2-l1c" if named["level"] == "L1C" else "sentinel-2-l2a",
        platform=path.name[:3],
        start=_time(_text(root, "PRODUCT_START_TIME")),
        stop=_time(_text(root, "PRODUCT_STOP_TIME")),
        sensed=_time(_text(tile, "SENSING_TIME")),
        made=_time(_text(root, "GENERATION_TIME")),
        footprint=_ring(_text(root, "EXT_POS_LIST")),
        orbit=int(_text(root, "SENSING_ORBIT_NUMBER")),
        absolute_orbit=int(take.attrib["datatakeIdentifier"].split("_")[2]),
        direction=_text(root, "SENSING_ORBIT_DIRECTION").upper(),
        tile=named["tile"],
        baseline=_text(root, "PROCESSING_BASELINE"),
        cloud=float(_text(root, "Cloud_Coverage_Assessment")),
        sun=(float(_text(sun, "ZENITH_ANGLE")), float(_text(sun, "AZIMUTH_ANGLE"))),
        epsg=int(_text(tile, "HORIZONTAL_CS_CODE").removeprefix("EPSG:")),
        corner=corner,
        shapes=shapes,
        shares=shares,
        identifiers={
            "datatake": take.attrib["datatakeIdentifier"],
            "datastrip": granule.attrib["datastripIdentifier"],
            "granule": granule.attrib["granuleIdentifier"],
            "datatake_type": _text(root, "DATATAKE_TYPE"),
        },
        bands=tuple(bands),
        granule=granules[0].parent.name,
    )


def _radar(path: Path) -> Record:
    root = _tree(path / "manifest.safe")
    named = _S1_NAME.fullmatch(path.name)
    assert named is not None
    try:
        orbit = int(_text(root, "relativeOrbitNumber"))
    except KeyError:
        orbit = (int(named["absolute"]) - _S1_SHIFT[named["sat"]]) % 175 + 1
    stop = _time(_text(root, "stopTime"))
    return Record(
        path=path,
        name=path.name,
        id=str(uuid.uuid5(_SPACE, path.name)),
        collection="sentinel-1-grd",
        platform=named["sat"],
        start=_time(_text(root, "startTime")),
        stop=stop,
        sensed=_time(_text(root, "startTime")),
        made=stop + timedelta(hours=2),
        footprint=_ring(_text(root, "coordinates")),
        orbit=orbit,
        absolute_orbit=int(named["absolute"]),
        direction=_text(root, "pass").upper(),
        shapes={},
        shares={},
        identifiers={
            "datatake": str(int(named["take"], 16)),
            "product_type": f"{named['mode']}_GRD{named['resolution']}_1S",
            "mode": named["mode"],
        },
        polarisations=_POLARISATIONS[named["pol"]],
    )


def _radar_item(path: Path, head: Path) -> Record:
    """A terrain-corrected radar product: rasters beside a STAC item with relative addresses."""
    item = json.loads(head.read_text(encoding="utf-8"))
    properties = item["properties"]
    when = _time(str(properties.get("datetime") or properties["start_datetime"]))
    return Record(
        path=path,
        name=str(item["id"]),
        id=str(item["id"]),
        collection="sentinel-1-rtc",
        platform=str(item["id"])[:3],
        start=when,
        stop=when,
        sensed=when,
        made=when + timedelta(hours=2),
        footprint=shapely.geometry.shape(item["geometry"]),
        orbit=int(properties.get("sat:relative_orbit", 0)),
        absolute_orbit=int(properties.get("sat:absolute_orbit", 0)),
        direction=str(properties.get("sat:orbit_state", "")).upper(),
        shapes={},
        shares={},
        identifiers={},
        polarisations=tuple(properties.get("sar:polarizations", ())),
        item=item,
    )


def _cells(dem: Path) -> Iterator[Record]:
    """The heights of a file as cells of one degree, named and laid out as those of Copernicus DEM GLO-30."""
    import rasterio
    from rasterio.errors import RasterioError
    from rasterio.warp import transform_bounds

    try:
        with rasterio.Env(), rasterio.open(dem) as raster:
            bounds = transform_bounds(raster.crs, "EPSG:4326", *raster.bounds, densify_pts=21)
    except (RasterioError, AttributeError) as error:
        raise ArchiveError(f"{dem} cannot be served as heights ({error}). Make it again.") from error
    west, south, east, north = (math.floor(value) for value in bounds)
    for lat in range(south, north + 1):
        for lon in range(west, east + 1):
            corner = f"{'S' if lat < 0 else 'N'}{abs(lat):02d}_00_{'W' if lon < 0 else 'E'}{abs(lon):03d}_00"
            name = f"Copernicus_DSM_COG_10_{corner}_DEM"
            # half a pixel aside: heights are those of whole seconds
            left, top = lon - CELL_PIXEL / 2, lat + 1 + CELL_PIXEL / 2
            yield Record(
                path=dem, name=name, id=name, collection="cop-dem-glo-30", platform="TanDEM-X",
                start=_CELLS_MADE, stop=_CELLS_MADE, sensed=_CELLS_MADE, made=_CELLS_MADE,
                footprint=shapely.box(left, top - 1, left + 1, top), orbit=0, absolute_orbit=0, direction="",
                epsg=4326, corner=(left, top),
            )  # fmt: skip
