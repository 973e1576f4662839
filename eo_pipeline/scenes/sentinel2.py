"""What is in a Sentinel-2 product: metadata and bands, from a SAFE folder, a zip of one, or COGs.

`read_product` parses metadata only. Whether the numbers mean what the metadata says is for `radiometry` to
prove; what a STAC item says is read in `items`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Literal

from eo_pipeline.acquire.products import Direction
from eo_pipeline.errors import SourceError
from eo_pipeline.grid import Grid
from eo_pipeline.mgrs import cut_at_date_line, tile_frame

#: Bands by `band_id` of the metadata.
BAND_IDS: Final = (
    "B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B09", "B10", "B11", "B12",
)  # fmt: skip
#: Metres of a pixel as the instrument measures it (SCL: as Sen2Cor makes it).
NATIVE_METRES: Final[Mapping[str, int]] = {
    "B01": 60, "B02": 10, "B03": 10, "B04": 10, "B05": 20, "B06": 20, "B07": 20, "B08": 10, "B8A": 20,
    "B09": 60, "B10": 60, "B11": 20, "B12": 20, "SCL": 20,
}  # fmt: skip

#: Archives that are known to do one thing with ESA's numbers; see `radiometry.PROVIDERS`.
ARCHIVES: Final = ("cdse", "dhus", "earth-search", "earth-search-c1", "planetary-computer")

_NAME: Final = re.compile(
    r"(?P<platform>S2[A-Z])_MSI(?P<level>L1C|L2A)_(?P<sensed>\d{8}T\d{6})"
    r"_(?:N(?P<baseline>\d{4})_)?R(?P<orbit>\d{3})_T(?P<tile>\d{2}[A-Z]{3})_(?P<made>\w+?)(?:\.SAFE)?"
)
Level = Literal["L2A", "L1C"]
#: Names of the product metadata; the second is that of baseline 02.12 and before.
METADATA_FILES: Final = ("MTD_MSIL2A.xml", "MTD_MSIL2a.xml")
LEVEL1C_FILE: Final = "MTD_MSIL1C.xml"


@dataclass(frozen=True, slots=True)
class BandFile:
    """One raster of a band: `path` as GDAL opens it, and the nominal size of its pixels in metres."""

    band: str
    path: str
    metres: int


@dataclass(frozen=True, slots=True)
class Sentinel2Product:
    """A product, as its metadata tells it: of level L2A, unless L1C was asked for.

    `provider` is who wrote the files: "safe" for ESA's own format (whoever passed it on), or the archive of
    the COGs ("earth-search", "earth-search-c1", "planetary-computer", "cdse", …; "" unknown). `grid` is
    the whole tile at 10 m. `bands` maps a band to its rasters, the finest first. `offsets` is
    BOA_ADD_OFFSET (L1C: RADIO_ADD_OFFSET) by band, empty where the metadata has none (before baseline
    04.00), None where there is no product metadata to ask. `applied` is what the provider says of having
    applied the offset already, and `advertised` the offset its items show, in reflectance. `footprint` is
    WKT in degrees, cut at the date line; `empty_share` and `cloud_cover` are percent; `sun` is zenith and
    azimuth in degrees.
    `simulated` is set where the product says of itself that it is no observation.
    """

    name: str
    path: str
    provider: str
    platform: str
    sensed: datetime
    baseline: str
    orbit: int | None
    direction: Direction
    tile: str
    grid: Grid
    bands: Mapping[str, tuple[BandFile, ...]]
    quantification: float
    offsets: Mapping[str, float] | None
    special: Mapping[str, int] = field(default_factory=dict)
    footprint: str = ""
    cloud_cover: float | None = None
    empty_share: float | None = None
    sun: tuple[float, float] | None = None
    applied: bool | None = None
    simulated: bool = False
    advertised: float | None = None
    strip: str = ""

    @property
    def level(self) -> Level:
        """L1C where the product's name says so."""
        match = _NAME.fullmatch(self.name)
        return "L1C" if match and match["level"] == "L1C" else "L2A"

    @property
    def name_baseline(self) -> str:
        """The processing baseline in the product's name ("05.09"); empty where the name has none."""
        match = _NAME.fullmatch(self.name)
        return _dotted(match["baseline"]) if match and match["baseline"] else ""

    @property
    def made(self) -> str:
        """When it was processed, as its name tells: the younger of two is the greater text."""
        match = _NAME.fullmatch(self.name)
        return match["made"] if match else ""

    @property
    def observation(self) -> tuple[str, str, str]:
        """Platform, minute of sensing and tile; the same for every processing and part of one observation."""
        return self.platform, self.sensed.strftime("%Y%m%dT%H%M"), self.tile

    @property
    def nodata(self) -> int:
        """The number that means nothing was measured."""
        return self.special.get("NODATA", 0)

    def band(self, name: str) -> BandFile:
        """The finest raster of a band.

        Raises
        ------
        SourceError
            The product has no such band.
        """
        if not self.bands.get(name):
            raise SourceError(
                f"{self.path} has no raster of {name}; it holds {', '.join(sorted(self.bands)) or 'none'}. "
                f"Fetch {name} of {self.name}, or leave it out of [source] bands."
            )
        return self.bands[name][0]


@dataclass(frozen=True, slots=True)
class ProductName:
    """What a product's name tells; `baseline` is empty for names before 2016."""

    platform: str
    level: str
    sensed: datetime
    baseline: str
    orbit: int
    tile: str
    made: str


def read_name(name: str) -> ProductName | None:
    """Take a product's name apart; None where it is no name of a Sentinel-2 product.

    Examples
    --------
    >>> read_name("S2A_MSIL2A_20180721T053721_N0212_R062_T43MDV_20201011T181419.SAFE").baseline
    '02.12'
    """
    match = _NAME.fullmatch(name)
    if not match:
        return None
    return ProductName(
        match["platform"],
        match["level"],
        datetime.strptime(match["sensed"], "%Y%m%dT%H%M%S").replace(tzinfo=UTC),
        _dotted(match["baseline"] or ""),
        int(match["orbit"]),
        match["tile"],
        match["made"],
    )


def read_product(path: Path | str, *, provider: str = "", level: Level | None = "L2A") -> Sentinel2Product:
    """Read the metadata of a product on disk.

    Parameters
    ----------
    path : Path or str
        A SAFE folder, a .zip of one, a folder of rasters with the STAC item that describes them, or that
        item's file.
    provider : str
        Who wrote the files, where that is known better than the files tell.
    level : {"L2A", "L1C"}, optional
        The processing level that is wanted; None: whichever it is.

    Raises
    ------
    SourceError
        Nothing of that kind, another level, metadata that is damaged or does not fit the tile, or no band.
    """
    place = Path(path)
    provider = provider or _fetched_from(place)
    if place.name in (*METADATA_FILES, LEVEL1C_FILE):
        place = place.parent
    if place.suffix.lower() == ".zip":
        return _read_safe(place, provider, level)
    if place.is_dir() and any((place / name).is_file() for name in (*METADATA_FILES, LEVEL1C_FILE)):
        if item := next(iter(sorted(place.glob("item.json"))), None):  # COGs beside ESA's own metadata
            return _read_item(item, provider)
        return _read_safe(place, provider, level)
    if item := item_file(place):
        return _read_item(item, provider)
    if not place.exists():
        raise SourceError(f"{place} does not exist. Give a SAFE folder, a zip of one, or a folder of COGs.")
    raise SourceError(
        f"{place} holds neither MTD_MSIL2A.xml nor a STAC item. Give a SAFE folder, a zip of one, or a "
        "folder of COGs with item.json."
    )


def item_file(place: Path) -> Path | None:
    """The STAC item of a folder: item.json, or its only file that is a GeoJSON feature with assets."""
    if place.is_file() and place.suffix.lower() == ".json":
        return place
    if not place.is_dir():
        return None
    if (place / "item.json").is_file():
        return place / "item.json"
    found = [file for file in sorted(place.glob("*.json")) if _is_item(file)]
    return found[0] if len(found) == 1 else None


def _is_item(file: Path) -> bool:
    with file.open("rb") as stream:
        start = stream.read(4096)
    return b'"stac_version"' in start and b'"Feature"' in start


def _fetched_from(place: Path) -> str:
    """The archive `eo fetch` brought a product from, as its mark says; "" where there is none."""
    try:
        source = json.loads((place / ".complete").read_text(encoding="utf-8"))["source"]
    except (OSError, ValueError, KeyError, TypeError):
        return ""
    # a name given by the season file ("stac") does not tell what was done with the numbers
    return source if source in ARCHIVES else ""


def _read_safe(place: Path, provider: str, level: Level | None) -> Sentinel2Product:
    from eo_pipeline.scenes.safe import read_safe

    return read_safe(place, provider=provider, level=level)


def _read_item(file: Path, provider: str) -> Sentinel2Product:
    from eo_pipeline.scenes.items import load_item, read_item

    return read_item(load_item(file), folder=file.parent, provider=provider)


def utm_wkt(code: str, tile: str, where: str) -> str:
    """The WKT of a product's CRS, which must be the UTM zone of its tile.

    Raises
    ------
    SourceError
        An unknown CRS, or another one than the tile's.
    """
    from rasterio.crs import CRS

    frame = tile_frame(tile)
    if code.upper() != f"EPSG:{frame.epsg}":
        raise SourceError(
            f"{where}: the CRS {code} is not that of tile {tile}, which is EPSG:{frame.epsg}. The product "
            "cannot be placed: fetch it again."
        )
    return str(CRS.from_epsg(frame.epsg).to_wkt())


def tile_grid(tile: str) -> Grid:
    """The 10 m grid of a whole tile."""
    frame = tile_frame(tile)
    wkt = utm_wkt(f"EPSG:{frame.epsg}", tile, tile)
    return Grid(wkt, (10.0, 0.0, float(frame.ulx), 0.0, -10.0, float(frame.uly)), 10980, 10980)


def finest_first(bands: Mapping[str, list[BandFile]]) -> dict[str, tuple[BandFile, ...]]:
    """Rasters of each band, the finest first, bands by name."""
    return {name: tuple(sorted(bands[name], key=lambda f: (f.metres, f.path))) for name in sorted(bands)}


def over_tile(footprint: str, tile: str, where: str) -> str:
    """The footprint of a product (WKT, may be empty), which must touch its tile.

    Raises
    ------
    SourceError
        It lies elsewhere: the metadata are not of this product, or damaged.
    """
    import numpy as np
    import shapely
    from pyproj import Transformer

    frame = tile_frame(tile)
    to_degrees = Transformer.from_crs(frame.epsg, 4326, always_xy=True)
    outline = shapely.segmentize(shapely.box(*frame.bounds), 5000.0)
    outline = shapely.transform(outline, lambda xy: np.column_stack(to_degrees.transform(*xy.T)))
    if footprint and not shapely.intersects(shapely.from_wkt(footprint), cut_at_date_line(outline)):
        west, south, east, north = shapely.from_wkt(footprint).bounds
        raise SourceError(
            f"{where}: the footprint, {west:.2f} {south:.2f} to {east:.2f} {north:.2f}, does not touch tile "
            f"{tile}. The product cannot be placed: fetch it again."
        )
    return footprint


def _dotted(baseline: str) -> str:
    return f"{baseline[:2]}.{baseline[2:]}" if baseline else ""
