"""Texts of a Sentinel-2 product, L2A or L1C: MTD_MSIL2A.xml or MTD_MSIL1C.xml, MTD_TL.xml and manifest.safe.

Element names and their order are those of real products of baselines 02.14, 03.01 (L1C) and 05.09; what the
twin does not make (previews, masks, 60 m bands of L2A, auxiliary files) is left out.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final, Literal

import numpy as np

from eo_pipeline.simulate import canopy
from eo_pipeline.simulate.landscape import EPSG
from eo_pipeline.simulate.orbits import MgrsTile, Overpass, offset_of

Level = Literal["L2A", "L1C"]

NOTE: Final = "模拟数据 SIMULATED: made by eo simulate, not an observation"
#: Physical bands in the order of `bandId`, with the sun's irradiance (W/m²/µm) of a real product of 2A.
PHYSICAL: Final = (
    ("B1", 60, 442.7, 1884.69), ("B2", 10, 492.4, 1959.66), ("B3", 10, 559.8, 1823.24),
    ("B4", 10, 664.6, 1512.06), ("B5", 20, 704.1, 1424.64), ("B6", 20, 740.5, 1287.61),
    ("B7", 20, 782.8, 1162.08), ("B8", 10, 832.8, 1041.63), ("B8A", 20, 864.7, 955.32),
    ("B9", 60, 945.1, 812.92), ("B10", 60, 1373.5, 367.15), ("B11", 20, 1613.7, 245.59),
    ("B12", 20, 2202.4, 85.25),
)  # fmt: skip
SCL_TEXT: Final = (
    "NODATA", "SATURATED_DEFECTIVE", "DARK_FEATURE_SHADOW", "CLOUD_SHADOW", "VEGETATION", "NOT_VEGETATED",
    "WATER", "UNCLASSIFIED", "CLOUD_MEDIUM_PROBA", "CLOUD_HIGH_PROBA", "THIN_CIRRUS", "SNOW_ICE",
)  # fmt: skip
#: Names of the shares of `SCL_TEXT` in Image_Content_QI.
_SHARES: Final = (
    "NODATA_PIXEL", "SATURATED_DEFECTIVE_PIXEL", "DARK_FEATURES", "CLOUD_SHADOW", "VEGETATION",
    "NOT_VEGETATED", "WATER", "UNCLASSIFIED", "MEDIUM_PROBA_CLOUDS", "HIGH_PROBA_CLOUDS", "THIN_CIRRUS",
    "SNOW_ICE",
)  # fmt: skip
_QUANTIFICATION_L2A: Final = """\
      <QUANTIFICATION_VALUES_LIST>
        <BOA_QUANTIFICATION_VALUE unit="none">10000</BOA_QUANTIFICATION_VALUE>
        <AOT_QUANTIFICATION_VALUE unit="none">1000.0</AOT_QUANTIFICATION_VALUE>
        <WVP_QUANTIFICATION_VALUE unit="cm">1000.0</WVP_QUANTIFICATION_VALUE>
      </QUANTIFICATION_VALUES_LIST>
"""
_QUANTIFICATION_L1C: Final = '      <QUANTIFICATION_VALUE unit="none">10000</QUANTIFICATION_VALUE>\n'
_HEAD: Final = '<?xml version="1.0" encoding="UTF-8" standalone="no"?>\n'
_PSD: Final = "https://psd-14.sentinel2.eo.esa.int/PSD"
_XSI: Final = 'xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"'


@dataclass(frozen=True, slots=True)
class ProductFacts:
    """What the metadata of one product say.

    `west`, `north` are metres of the raster's upper left corner, `rows` and `columns` pixels of 10 m; `sun`
    is zenith and azimuth in degrees; `footprint` are (lat, lon), closed; `shares` are percent by SCL class:
    nodata of the raster, the others of what is not nodata.
    """

    overpass: Overpass
    tile: MgrsTile
    baseline: str
    west: int
    north: int
    rows: int
    columns: int
    sun: tuple[float, float]
    footprint: Sequence[tuple[float, float]]
    shares: Sequence[float]
    level: Level = "L2A"

    @property
    def word(self) -> str:
        """The level as its metadata write it: "2A", "1C"."""
        return self.level[1:]

    @property
    def satellite(self) -> str:
        """S2A or S2B."""
        return f"S2{self.overpass.satellite}"

    @property
    def start(self) -> str:
        """Start of the data take, as in names."""
        return f"{self.overpass.start:%Y%m%dT%H%M%S}"

    @property
    def generated(self) -> datetime:
        """When the ground segment would have made the product: the same for the same scene, always."""
        return self.overpass.start + timedelta(hours=4, minutes=7, seconds=int(self.tile.north) % 50)

    @property
    def name(self) -> str:
        """Name of the product's folder."""
        number = self.baseline.replace(".", "")
        orbit = f"R{self.overpass.swath.relative:03d}"
        return (
            f"{self.satellite}_MSI{self.level}_{self.start}_N{number}_{orbit}_T{self.tile.name}_"
            f"{self.generated:%Y%m%dT%H%M%S}.SAFE"
        )

    @property
    def datatake(self) -> str:
        """Identifier of the data take."""
        return f"G{self.satellite}_{self.start}_{self.overpass.absolute:06d}_N{self.baseline}"

    @property
    def datastrip_start(self) -> datetime:
        """Start of the data strip."""
        return self.overpass.start + timedelta(seconds=3)

    @property
    def granule(self) -> str:
        """Name of the granule's folder."""
        when = f"{self.datastrip_start:%Y%m%dT%H%M%S}"
        return f"{self.level}_T{self.tile.name}_A{self.overpass.absolute:06d}_{when}"

    @property
    def sensed(self) -> datetime:
        """When the middle of the tile was seen: the southern tile 15 s later."""
        south = (4_000_020 - self.tile.north) / 100_020
        return self.overpass.start + timedelta(seconds=9.25 + 14.5 * south)

    def image(self, band: str, metres: int) -> str:
        """Path of a band's raster below the product's folder, without the ending."""
        file = f"T{self.tile.name}_{self.start}_{band}"
        if self.level == "L1C":
            return f"GRANULE/{self.granule}/IMG_DATA/{file}"
        file = f"{file}_{metres}m"
        return f"GRANULE/{self.granule}/IMG_DATA/R{metres}m/{file}"

    def identifier(self, part: str) -> str:
        """Identifier of the data strip ("DS"), the tile ("TL") or the L1C tile ("L1C")."""
        made = f"{self.generated:%Y%m%dT%H%M%S}"
        level = "L1C" if part == "L1C" else self.level
        head = f"{self.satellite}_OPER_MSI_{level}"
        if part == "DS":
            return f"{head}_DS_2APS_{made}_S{self.datastrip_start:%Y%m%dT%H%M%S}_N{self.baseline}"
        return f"{head}_TL_2APS_{made}_A{self.overpass.absolute:06d}_T{self.tile.name}_N{self.baseline}"

    @property
    def cloudy(self) -> float:
        """Percent of cloud: medium, high and cirrus."""
        return sum(self.shares[8:11])


def images(facts: ProductFacts) -> list[tuple[str, int, str]]:
    """Band, metres and path (without the ending) of every raster, in the order of Granule_List."""
    if facts.level == "L1C":
        named = [(f"B{name.removeprefix('B').zfill(2)}", metres) for name, metres, *_ in PHYSICAL]
        return [(name, metres, facts.image(name, metres)) for name, metres in named]
    bands = [(name, metres) for name, (_, _, metres) in canopy.BANDS.items()]
    fine = [(name, 10) for name, metres in bands if metres == 10]
    coarse = [*((name, 20) for name, metres in bands if metres == 20), ("SCL", 20)]
    return [(name, metres, facts.image(name, metres)) for name, metres in fine + coarse]


def product_xml(facts: ProductFacts) -> str:
    """MTD_MSIL2A.xml, MTD_MSIL1C.xml."""
    new = offset_of(facts.baseline) != 0
    start = f"{facts.overpass.start:%Y-%m-%dT%H:%M:%S}.024Z"
    files = "\n".join(f"            <IMAGE_FILE>{path}</IMAGE_FILE>" for _, _, path in images(facts))
    doi = "      <PRODUCT_DOI>https://doi.org/10.5270/S2_-znk9xsj</PRODUCT_DOI>\n" if new else ""
    boa = facts.level == "L2A"
    one, all_ = (
        ("BOA_ADD_OFFSET", "BOA_ADD_OFFSET_VALUES_LIST")
        if boa
        else ("RADIO_ADD_OFFSET", "Radiometric_Offset_List")
    )
    offsets = "".join(
        f'        <{one} band_id="{number}">{offset_of(facts.baseline)}</{one}>\n'
        for number in range(len(PHYSICAL))
    )
    if new:
        offsets = f"      <{all_}>\n{offsets}      </{all_}>\n"
    day = facts.overpass.day.timetuple().tm_yday
    distance = 1 / (1 - 0.01673 * np.cos(np.radians(0.9856 * (day - 4)))) ** 2
    irradiance = "\n".join(
        f'          <SOLAR_IRRADIANCE bandId="{number}" unit="W/m²/µm">{value}</SOLAR_IRRADIANCE>'
        for number, (_, _, _, value) in enumerate(PHYSICAL)
    )
    spectral = "\n".join(
        f'        <Spectral_Information bandId="{number}" physicalBand="{name}">\n'
        f"          <RESOLUTION>{metres}</RESOLUTION>\n          <Wavelength>\n"
        f'            <CENTRAL unit="nm">{centre}</CENTRAL>\n          </Wavelength>\n'
        "        </Spectral_Information>"
        for number, (name, metres, centre, _) in enumerate(PHYSICAL)
    )
    classes = "\n".join(
        "        <Scene_Classification_ID>\n"
        f"          <SCENE_CLASSIFICATION_TEXT>SC_{text}</SCENE_CLASSIFICATION_TEXT>\n"
        f"          <SCENE_CLASSIFICATION_INDEX>{number}</SCENE_CLASSIFICATION_INDEX>\n"
        "        </Scene_Classification_ID>"
        for number, text in enumerate(SCL_TEXT)
    )
    if boa:
        quantification = _QUANTIFICATION_L2A
        classes = f"""      <Scene_Classification_List>
{classes}
      </Scene_Classification_List>
"""
    else:
        quantification, classes = _QUANTIFICATION_L1C, ""
    footprint = " ".join(f"{lat:.9f} {lon:.9f}" for lat, lon in facts.footprint)
    checks = ("FORMAT_CORRECTNESS", "GENERAL_QUALITY", "GEOMETRIC_QUALITY", "RADIOMETRIC_QUALITY")
    passed = "\n".join(
        f'          <quality_check checkType="{name}">PASSED</quality_check>' for name in checks
    )
    return f"""{_HEAD}<!-- {NOTE} -->
<n1:Level-{facts.word}_User_Product xmlns:n1="{_PSD}/User_Product_Level-{facts.word}.xsd" {_XSI}>
  <n1:General_Info>
    <Product_Info>
      <PRODUCT_START_TIME>{start}</PRODUCT_START_TIME>
      <PRODUCT_STOP_TIME>{start}</PRODUCT_STOP_TIME>
      <PRODUCT_URI>{facts.name}</PRODUCT_URI>
      <PROCESSING_LEVEL>Level-{facts.word}</PROCESSING_LEVEL>
      <PRODUCT_TYPE>S2MSI{facts.word}</PRODUCT_TYPE>
      <PROCESSING_BASELINE>{facts.baseline}</PROCESSING_BASELINE>
{doi}      <GENERATION_TIME>{facts.generated:%Y-%m-%dT%H:%M:%S}.000000Z</GENERATION_TIME>
      <PREVIEW_IMAGE_URL>Not applicable</PREVIEW_IMAGE_URL>
      <PREVIEW_GEO_INFO>Not applicable</PREVIEW_GEO_INFO>
      <Datatake datatakeIdentifier="{facts.datatake}">
        <SPACECRAFT_NAME>Sentinel-2{facts.overpass.satellite}</SPACECRAFT_NAME>
        <DATATAKE_TYPE>INS-NOBS</DATATAKE_TYPE>
        <DATATAKE_SENSING_START>{start}</DATATAKE_SENSING_START>
        <SENSING_ORBIT_NUMBER>{facts.overpass.swath.relative}</SENSING_ORBIT_NUMBER>
        <SENSING_ORBIT_DIRECTION>DESCENDING</SENSING_ORBIT_DIRECTION>
      </Datatake>
      <Query_Options completeSingleTile="true">
        <PRODUCT_FORMAT>SAFE_COMPACT</PRODUCT_FORMAT>
      </Query_Options>
      <Product_Organisation>
        <Granule_List>
          <Granule datastripIdentifier="{facts.identifier("DS")}" \
granuleIdentifier="{facts.identifier("TL")}" imageFormat="JPEG2000">
{files}
          </Granule>
        </Granule_List>
      </Product_Organisation>
    </Product_Info>
    <Product_Image_Characteristics>
      <Special_Values>
        <SPECIAL_VALUE_TEXT>NODATA</SPECIAL_VALUE_TEXT>
        <SPECIAL_VALUE_INDEX>0</SPECIAL_VALUE_INDEX>
      </Special_Values>
      <Special_Values>
        <SPECIAL_VALUE_TEXT>SATURATED</SPECIAL_VALUE_TEXT>
        <SPECIAL_VALUE_INDEX>65535</SPECIAL_VALUE_INDEX>
      </Special_Values>
      <Image_Display_Order>
        <RED_CHANNEL>3</RED_CHANNEL>
        <GREEN_CHANNEL>2</GREEN_CHANNEL>
        <BLUE_CHANNEL>1</BLUE_CHANNEL>
      </Image_Display_Order>
{quantification}{offsets if new else ""}      <Reflectance_Conversion>
        <U>{distance:.15f}</U>
        <Solar_Irradiance_List>
{irradiance}
        </Solar_Irradiance_List>
      </Reflectance_Conversion>
      <Spectral_Information_List>
{spectral}
      </Spectral_Information_List>
{classes}    </Product_Image_Characteristics>
  </n1:General_Info>
  <n1:Geometric_Info>
    <Product_Footprint>
      <Product_Footprint>
        <Global_Footprint>
          <EXT_POS_LIST>{footprint} </EXT_POS_LIST>
        </Global_Footprint>
      </Product_Footprint>
      <RASTER_CS_TYPE>POINT</RASTER_CS_TYPE>
      <PIXEL_ORIGIN>1</PIXEL_ORIGIN>
    </Product_Footprint>
    <Coordinate_Reference_System>
      <GEO_TABLES version="1">EPSG</GEO_TABLES>
      <HORIZONTAL_CS_TYPE>GEOGRAPHIC</HORIZONTAL_CS_TYPE>
    </Coordinate_Reference_System>
  </n1:Geometric_Info>
  <n1:Quality_Indicators_Info>
    <Cloud_Coverage_Assessment>{facts.cloudy:.6f}</Cloud_Coverage_Assessment>
    <Technical_Quality_Assessment>
      <DEGRADED_ANC_DATA_PERCENTAGE>0.0</DEGRADED_ANC_DATA_PERCENTAGE>
      <DEGRADED_MSI_DATA_PERCENTAGE>0</DEGRADED_MSI_DATA_PERCENTAGE>
    </Technical_Quality_Assessment>
    <Quality_Control_Checks>
      <Quality_Inspections>
{passed}
      </Quality_Inspections>
      <Failed_Inspections/>
    </Quality_Control_Checks>
{_content(facts, tile=False) if boa else ""}
  </n1:Quality_Indicators_Info>
</n1:Level-{facts.word}_User_Product>
"""


def _content(facts: ProductFacts, *, tile: bool) -> str:
    """Image_Content_QI of the product or of the tile."""
    lines = [f"{name}_PERCENTAGE>{value:.6f}" for name, value in zip(_SHARES, facts.shares, strict=True)]
    if facts.level == "L1C":
        lines = []
    before = [f"CLOUDY_PIXEL_PERCENTAGE>{facts.cloudy:.6f}"] if tile else []
    if offset_of(facts.baseline):
        before.append(f"CLOUDY_PIXEL_OVER_LAND_PERCENTAGE>{facts.cloudy:.6f}")
    if tile:
        before.append("DEGRADED_MSI_DATA_PERCENTAGE>0.000000")
    rows = [f"      <{text}</{text.split('>')[0]}>" for text in before + lines]
    return "\n".join(["    <Image_Content_QI>", *rows, "    </Image_Content_QI>"])


def _grid(name: str, value: float, facts: ProductFacts) -> str:
    """A grid of angles, one value every 5 km."""
    down, right = -(-facts.rows // 500) + 1, -(-facts.columns // 500) + 1
    row = " ".join([f"{value:.4f}"] * right)
    lines = "\n".join(f"            <VALUES>{row}</VALUES>" for _ in range(down))
    return f"""        <{name}>
          <COL_STEP unit="m">5000</COL_STEP>
          <ROW_STEP unit="m">5000</ROW_STEP>
          <Values_List>
{lines}
          </Values_List>
        </{name}>"""


def tile_xml(facts: ProductFacts) -> str:
    """MTD_TL.xml; Size and Geoposition are those of the mini raster, a window of the tile's own grid."""
    sizes, places = "", ""
    for metres in (10, 20) if facts.level == "L2A" else (10, 20, 60):
        step = metres // 10
        sizes += f"""      <Size resolution="{metres}">
        <NROWS>{facts.rows // step}</NROWS>
        <NCOLS>{facts.columns // step}</NCOLS>
      </Size>
"""
        places += f"""      <Geoposition resolution="{metres}">
        <ULX>{facts.west}</ULX>
        <ULY>{facts.north}</ULY>
        <XDIM>{metres}</XDIM>
        <YDIM>-{metres}</YDIM>
      </Geoposition>
"""
    origin = ""
    if facts.level == "L2A":
        origin = f'    <L1C_TILE_ID metadataLevel="Brief">{facts.identifier("L1C")}</L1C_TILE_ID>\n'
    view = (facts.overpass.swath.view_zenith, facts.overpass.swath.view_azimuth)
    grids = "\n".join(
        f'      <Viewing_Incidence_Angles_Grids bandId="{number}" detectorId="6">\n'
        f"{_grid('Zenith', view[0], facts)}\n{_grid('Azimuth', view[1], facts)}\n"
        "      </Viewing_Incidence_Angles_Grids>"
        for number in range(len(PHYSICAL))
    )
    means = "\n".join(
        f'        <Mean_Viewing_Incidence_Angle bandId="{number}">\n'
        f'          <ZENITH_ANGLE unit="deg">{view[0]:.6f}</ZENITH_ANGLE>\n'
        f'          <AZIMUTH_ANGLE unit="deg">{view[1]:.6f}</AZIMUTH_ANGLE>\n'
        "        </Mean_Viewing_Incidence_Angle>"
        for number in range(len(PHYSICAL))
    )
    return f"""{_HEAD}<!-- {NOTE} -->
<n1:Level-{facts.word}_Tile_ID xmlns:n1="{_PSD}/S2_PDI_Level-{facts.word}_Tile_Metadata.xsd" {_XSI}>
  <n1:General_Info>
{origin}    <TILE_ID metadataLevel="Brief">{facts.identifier("TL")}</TILE_ID>
    <DATASTRIP_ID metadataLevel="Standard">{facts.identifier("DS")}</DATASTRIP_ID>
    <DOWNLINK_PRIORITY metadataLevel="Standard">NOMINAL</DOWNLINK_PRIORITY>
    <SENSING_TIME metadataLevel="Standard">{facts.sensed:%Y-%m-%dT%H:%M:%S.%f}Z</SENSING_TIME>
    <Archiving_Info metadataLevel="Expertise">
      <ARCHIVING_CENTRE>2APS</ARCHIVING_CENTRE>
      <ARCHIVING_TIME>{facts.generated:%Y-%m-%dT%H:%M:%S}.000000Z</ARCHIVING_TIME>
    </Archiving_Info>
  </n1:General_Info>
  <n1:Geometric_Info>
    <Tile_Geocoding metadataLevel="Brief">
      <HORIZONTAL_CS_NAME>WGS84 / UTM zone 48N</HORIZONTAL_CS_NAME>
      <HORIZONTAL_CS_CODE>EPSG:{EPSG}</HORIZONTAL_CS_CODE>
{sizes}{places}    </Tile_Geocoding>
    <Tile_Angles metadataLevel="Standard">
      <Sun_Angles_Grid>
{_grid("Zenith", facts.sun[0], facts)}
{_grid("Azimuth", facts.sun[1], facts)}
      </Sun_Angles_Grid>
      <Mean_Sun_Angle>
        <ZENITH_ANGLE unit="deg">{facts.sun[0]:.9f}</ZENITH_ANGLE>
        <AZIMUTH_ANGLE unit="deg">{facts.sun[1]:.9f}</AZIMUTH_ANGLE>
      </Mean_Sun_Angle>
{grids}
      <Mean_Viewing_Incidence_Angle_List>
{means}
      </Mean_Viewing_Incidence_Angle_List>
    </Tile_Angles>
  </n1:Geometric_Info>
  <n1:Quality_Indicators_Info metadataLevel="Standard">
{_content(facts, tile=True)}
  </n1:Quality_Indicators_Info>
</n1:Level-{facts.word}_Tile_ID>
"""


def digest(path: Path, algorithm: str) -> str:
    """Checksum of a file in hexadecimal; `algorithm` as manifests write it: MD5 or SHA3-256."""
    name = {"MD5": "md5", "SHA3-256": "sha3_256"}[algorithm]
    return hashlib.new(name, path.read_bytes(), usedforsecurity=False).hexdigest()


def manifest_xml(folder: Path, files: Mapping[str, str], *, algorithm: str, level: Level = "L2A") -> str:
    """manifest.safe of the `files` in `folder`: data object ID and path of each."""

    def entry(identity: str, path: str) -> str:
        kind = "application/octet-stream" if path.endswith(".jp2") else "text/xml"
        size = (folder / path).stat().st_size
        return f"""    <dataObject ID="{identity}">
      <byteStream mimeType="{kind}" size="{size}">
        <fileLocation href="./{path}" locatorType="URL"/>
        <checksum checksumName="{algorithm}">{digest(folder / path, algorithm)}</checksum>
      </byteStream>
    </dataObject>"""

    def unit(identity: str, kind: str) -> str:
        name = identity.removesuffix("_Data").removesuffix("_Metadata")
        return f"""      <xfdu:contentUnit ID="{name}_Unit" unitType="{kind}">
        <dataObjectPointer dataObjectID="{identity}"/>
      </xfdu:contentUnit>"""

    def lines(items: Iterable[str]) -> str:
        return "\n".join(items)

    word, archive = f"Level-{level[1:]}", f"archive_{level.lower()}_user_product"
    kinds = {
        key: "Metadata Unit" if p.endswith(".xml") else "Measurement Data Unit" for key, p in files.items()
    }
    described = (
        f'    <metadataObject ID="{key}_Information" classification="DESCRIPTION" category="DMD">\n'
        f'      <dataObjectPointer dataObjectID="{key}"/>\n    </metadataObject>'
        for key, path in files.items()
        if path.endswith(".xml")
    )
    return f"""<?xml version="1.0" encoding="UTF-8" standalone="no"?>
<!-- {NOTE} -->
<xfdu:XFDU xmlns:gml="http://www.opengis.net/gml" xmlns:safe="http://www.esa.int/safe/sentinel/1.1" \
xmlns:xfdu="urn:ccsds:schema:xfdu:1" version="esa/safe/sentinel/1.1/sentinel-2/msi/{archive}">
  <informationPackageMap>
    <xfdu:contentUnit textInfo="SENTINEL-2 MSI {word} User Product" unitType="Product_{word}">
{lines(unit(key, kinds[key]) for key in files)}
    </xfdu:contentUnit>
  </informationPackageMap>
  <metadataSection>
{lines(described)}
  </metadataSection>
  <dataObjectSection>
{lines(entry(key, path) for key, path in files.items())}
  </dataObjectSection>
</xfdu:XFDU>
"""
