"""Tiny Sentinel-2 products in real formats for the tests: SAFE folders with lossless JP2, and COGs."""

from __future__ import annotations

import json
import shutil
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from numpy.typing import NDArray
from pyproj import Transformer
from rasterio.transform import from_origin

BANDS_10 = ("B02", "B03", "B04", "B08")
BANDS_20 = ("B05", "B06", "B07", "B8A", "B11", "B12", "SCL")
#: Reflectance of vegetation; dark in blue, red and short-wave infrared.
REFLECTANCE = {
    "B02": 0.02, "B03": 0.06, "B04": 0.03, "B05": 0.09, "B06": 0.22, "B07": 0.28, "B08": 0.31, "B8A": 0.32,
    "B11": 0.16, "B12": 0.08,
}  # fmt: skip


@dataclass
class TinySafe:
    """A product to write: a window of `size` 10 m pixels of a tile, its corner at `left`, `top` metres.

    `shift` is what is added to the numbers; by default what the baseline asks for. `offset` is what the
    metadata says of it, "" for no list at all.
    """

    tile: str = "48SXE"
    epsg: int = 32648
    left: float = 600_000.0
    top: float = 3_950_020.0
    size: int = 256
    sensed: str = "20260601T033541"
    made: str = "20260601T060000"
    baseline: str = "05.10"
    platform: str = "S2A"
    orbit: int = 61
    cloud: float = 12.5
    shift: int | None = None
    offset: str | None = None
    bands: tuple[str, ...] = (*BANDS_10, *BANDS_20)
    scl: int = 4
    reflectance: dict[str, float] = field(default_factory=lambda: dict(REFLECTANCE))
    seed: int = 1

    @property
    def name(self) -> str:
        number = self.baseline.replace(".", "")
        return (
            f"{self.platform}_MSIL2A_{self.sensed}_N{number}_R{self.orbit:03d}_T{self.tile}_{self.made}.SAFE"
        )

    @property
    def outline(self) -> str:
        """Corners of the window, each as latitude and longitude."""
        to_degrees = Transformer.from_crs(self.epsg, 4326)
        right, bottom = self.left + 10 * self.size, self.top - 10 * self.size
        x, y = (self.left, right, right, self.left, self.left), (self.top, self.top, bottom, bottom, self.top)
        return " ".join(f"{lat:.6f} {lon:.6f}" for lat, lon in zip(*to_degrees.transform(x, y), strict=True))

    @property
    def shifted(self) -> bool:
        return self.baseline >= "04.00"

    def numbers(self, band: str) -> NDArray[np.uint16]:
        """The numbers of a band; the first 16 rows of 10 m are empty."""
        zoom = 1 if band in BANDS_10 else 2
        side = self.size // zoom
        if band == "SCL":
            found = np.full((side, side), self.scl, dtype=np.uint16)
        else:
            noise = np.random.default_rng(self.seed).normal(0.0, 30.0, (side, side))
            shift = (1000 if self.shifted else 0) if self.shift is None else self.shift
            found = np.clip(self.reflectance[band] * 10_000 + noise + shift, 1, 20_000).astype(np.uint16)
        found[: 16 // zoom] = 0
        return found

    def write(self, root: Path) -> Path:
        folder = root / self.name
        granule = folder / "GRANULE" / f"L2A_T{self.tile}_A001234_{self.sensed}"
        for band in self.bands:
            metres = 10 if band in BANDS_10 else 20
            path = granule / "IMG_DATA" / f"R{metres}m" / f"T{self.tile}_{self.sensed}_{band}_{metres}m.jp2"
            path.parent.mkdir(parents=True, exist_ok=True)
            write_jp2(path, self.numbers(band), self.epsg, self.left, self.top, metres)
        granule.mkdir(parents=True, exist_ok=True)
        (folder / "MTD_MSIL2A.xml").write_text(self.product_xml())
        (granule / "MTD_TL.xml").write_text(self.granule_xml())
        return folder

    def product_xml(self) -> str:
        day = f"{self.sensed[:4]}-{self.sensed[4:6]}-{self.sensed[6:8]}"
        time = f"{self.sensed[9:11]}:{self.sensed[11:13]}:{self.sensed[13:15]}"
        offset = ("-1000" if self.shifted else "") if self.offset is None else self.offset
        listed = "".join(
            f'<BOA_ADD_OFFSET band_id="{number}">{offset}</BOA_ADD_OFFSET>' for number in range(13)
        )
        block = f"<BOA_ADD_OFFSET_VALUES_LIST>{listed}</BOA_ADD_OFFSET_VALUES_LIST>" if offset else ""
        return f"""<?xml version="1.0" encoding="UTF-8"?>
<n1:Level-2A_User_Product xmlns:n1="https://psd-14.sentinel2.eo.esa.int/PSD/User_Product_Level-2A.xsd">
<n1:General_Info><Product_Info>
<PRODUCT_START_TIME>{day}T{time}.024Z</PRODUCT_START_TIME><PRODUCT_URI>{self.name}</PRODUCT_URI>
<PROCESSING_LEVEL>Level-2A</PROCESSING_LEVEL><PROCESSING_BASELINE>{self.baseline}</PROCESSING_BASELINE>
<Datatake><SENSING_ORBIT_NUMBER>{self.orbit}</SENSING_ORBIT_NUMBER>
<SENSING_ORBIT_DIRECTION>DESCENDING</SENSING_ORBIT_DIRECTION></Datatake></Product_Info>
<Product_Image_Characteristics>
<Special_Values><SPECIAL_VALUE_TEXT>NODATA</SPECIAL_VALUE_TEXT>
<SPECIAL_VALUE_INDEX>0</SPECIAL_VALUE_INDEX></Special_Values>
<QUANTIFICATION_VALUES_LIST><BOA_QUANTIFICATION_VALUE unit="none">10000</BOA_QUANTIFICATION_VALUE>
</QUANTIFICATION_VALUES_LIST>{block}</Product_Image_Characteristics></n1:General_Info>
<n1:Geometric_Info><EXT_POS_LIST>{self.outline}</EXT_POS_LIST>
</n1:Geometric_Info>
<n1:Quality_Indicators_Info><Cloud_Coverage_Assessment>{self.cloud}</Cloud_Coverage_Assessment>
</n1:Quality_Indicators_Info></n1:Level-2A_User_Product>"""

    def granule_xml(self) -> str:
        place = f"<ULX>{self.left:g}</ULX><ULY>{self.top:.0f}</ULY><XDIM>10</XDIM><YDIM>-10</YDIM>"
        return f"""<?xml version="1.0" encoding="UTF-8"?>
<n1:Level-2A_Tile_ID xmlns:n1="https://psd-14.sentinel2.eo.esa.int/PSD/S2_PDI_Level-2A_Tile_Metadata.xsd">
<n1:Geometric_Info><Tile_Geocoding><HORIZONTAL_CS_CODE>EPSG:{self.epsg}</HORIZONTAL_CS_CODE>
<Size resolution="10"><NROWS>{self.size}</NROWS><NCOLS>{self.size}</NCOLS></Size>
<Geoposition resolution="10">{place}</Geoposition></Tile_Geocoding>
<Tile_Angles><Mean_Sun_Angle><ZENITH_ANGLE unit="deg">21.5</ZENITH_ANGLE>
<AZIMUTH_ANGLE unit="deg">135.25</AZIMUTH_ANGLE></Mean_Sun_Angle></Tile_Angles></n1:Geometric_Info>
<n1:Quality_Indicators_Info><NODATA_PIXEL_PERCENTAGE>6.25</NODATA_PIXEL_PERCENTAGE>
</n1:Quality_Indicators_Info></n1:Level-2A_Tile_ID>"""


def write_jp2(path: Path, numbers: NDArray[Any], epsg: int, left: float, top: float, metres: float) -> None:
    """A lossless JP2 with internal tiles of 64 pixels."""
    options = {
        "driver": "JP2OpenJPEG", "width": numbers.shape[1], "height": numbers.shape[0], "count": 1,
        "dtype": numbers.dtype, "crs": f"EPSG:{epsg}", "transform": from_origin(left, top, metres, metres),
        "REVERSIBLE": "YES", "QUALITY": "100", "BLOCKXSIZE": "64", "BLOCKYSIZE": "64",
    }  # fmt: skip
    with rasterio.open(path, "w", **options) as raster:
        raster.write(numbers, 1)


def zip_safe(folder: Path) -> Path:
    """The product as archives send it: one zip, the SAFE folder at its top. The folder goes."""
    target = folder.parent / f"{folder.name}.zip"
    with zipfile.ZipFile(target, "w") as archive:
        for file in sorted(folder.rglob("*")):
            if file.is_file():
                archive.write(file, f"{folder.name}/{file.relative_to(folder)}")
    shutil.rmtree(folder)
    return target


def write_cogs(tiny: TinySafe, root: Path, item: dict[str, Any]) -> Path:
    """The product as a folder of single GeoTIFFs beside the item that describes them."""
    folder = root / str(item["id"])
    folder.mkdir(parents=True)
    for band in tiny.bands:
        metres = 10 if band in BANDS_10 else 20
        numbers = tiny.numbers(band)
        options = {
            "driver": "GTiff", "width": numbers.shape[1], "height": numbers.shape[0], "count": 1,
            "dtype": "uint16", "crs": f"EPSG:{tiny.epsg}", "nodata": 0, "tiled": True, "blockxsize": 64,
            "blockysize": 64, "compress": "deflate",
            "transform": from_origin(tiny.left, tiny.top, metres, metres),
        }  # fmt: skip
        with rasterio.open(folder / f"{band}.tif", "w", **options) as raster:
            raster.write(numbers, 1)
    (folder / "item.json").write_text(json.dumps(item))
    return folder


NAMES = {
    "B02": "blue", "B03": "green", "B04": "red", "B05": "rededge1", "B06": "rededge2", "B07": "rededge3",
    "B08": "nir", "B8A": "nir08", "B11": "swir16", "B12": "swir22", "SCL": "scl",
}  # fmt: skip


def earth_search_item(
    tiny: TinySafe, *, applied: bool | None, collection: str = "sentinel-2-l2a"
) -> dict[str, Any]:
    """An item as Earth Search words it."""
    day = f"{tiny.sensed[:4]}-{tiny.sensed[4:6]}-{tiny.sensed[6:8]}"
    properties: dict[str, Any] = {
        "datetime": f"{day}T03:48:11.405000Z",
        "platform": "sentinel-2a",
        "eo:cloud_cover": tiny.cloud,
        "proj:epsg": tiny.epsg,
        "grid:code": f"MGRS-{tiny.tile}",
        "view:sun_azimuth": 135.25,
        "view:sun_elevation": 68.5,
        "s2:processing_baseline": tiny.baseline,
        "s2:product_uri": tiny.name,
    }
    if applied is not None:
        properties["earthsearch:boa_offset_applied"] = applied
    base = "https://sentinel-cogs.s3.us-west-2.amazonaws.com/sentinel-s2-l2a-cogs/48/S/XE/2026/6"
    return {
        "type": "Feature",
        "stac_version": "1.0.0",
        "id": f"{tiny.platform}_{tiny.tile}_{tiny.sensed[:8]}_0_L2A",
        "collection": collection,
        "properties": properties,
        "geometry": {
            "type": "Polygon",
            "coordinates": [[[106.1, 35.6], [106.2, 35.6], [106.2, 35.7], [106.1, 35.7], [106.1, 35.6]]],
        },
        "links": [],
        "assets": {
            NAMES[band]: {
                "href": f"{base}/{band}.tif",
                "raster:bands": [{"nodata": 0, "scale": 0.0001, "offset": -0.1}],
            }
            for band in tiny.bands
        },
    }
