"""Radar scenes of the twin as Sentinel-1 GRD products: the image as the radar saw it, with its annotation.

Other than in the terrain-corrected product the terrain is in it: slopes that face the radar are bright, and
the image lies in the direction of flight, placed by control points alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from eo_pipeline.simulate.landscape import EPSG, PIXEL_M, Landscape
from eo_pipeline.simulate.radar import NODATA, Float, Pass, RadarScene, local_incidence
from eo_pipeline.simulate.safe_xml import NOTE, digest

COLLECTION: Final = "sentinel-1-grd"
#: DN² = A² · backscatter + noise: A of gamma nought where the swath begins, what it loses to its end, and the
#: noise in DN², of the order of real products.
_SCALE: Final = 620.0
_FALL: Final = 140.0
_NOISE: Final = 900.0
#: Steps of the tables and of the control points, in lines and pixels.
_STEP: Final = 20
_POINTS: Final = 6


@dataclass(frozen=True, slots=True)
class _Image:
    """Where an image lies: pixels a side, metres of its first corner, and the ground (east, north) that one
    line and one pixel go on, metres.
    """

    size: int
    corner: tuple[float, float]
    line: tuple[float, float]
    pixel: tuple[float, float]

    def place(self, rows: NDArray[Any], columns: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
        """Metres east and north of places in the image."""
        return (
            self.corner[0] + rows * self.line[0] + columns * self.pixel[0],
            self.corner[1] + rows * self.line[1] + columns * self.pixel[1],
        )


def write_grd(scene: RadarScene, overpass: Pass, land: Landscape, folder: Path) -> str:
    """Write the SAFE folder of a pass below `folder`; its name."""
    stop = overpass.start + timedelta(seconds=25)
    take = f"{overpass.absolute * 8 % 0xFFFFFF:06X}"
    times = f"{overpass.start:%Y%m%dT%H%M%S}_{stop:%Y%m%dT%H%M%S}_{overpass.absolute:06d}_{take}"
    name = f"S1A_IW_GRDH_1SDV_{times}_{overpass.absolute * 7919 % 0xFFFF:04X}.SAFE"
    root = folder / name
    for part in ("measurement", "annotation/calibration"):
        (root / part).mkdir(parents=True)
    image = _image(overpass, land)
    tables = _calibration_xml(image), _noise_xml(image)
    files = []
    for number, (polarisation, gamma) in enumerate((("vv", scene.vv), ("vh", scene.vh)), 1):
        stem = f"s1a-iw-grd-{polarisation}-{times.lower().replace('_', '-')}-{number:03d}"
        _write_image(root / "measurement" / f"{stem}.tiff", _numbers(gamma, overpass, land, image), image)
        annotation = root / "annotation"
        (annotation / f"{stem}.xml").write_text(_product_xml(overpass, image), encoding="utf-8")
        for kind, text in zip(("calibration", "noise"), tables, strict=True):
            (annotation / "calibration" / f"{kind}-{stem}.xml").write_text(text, encoding="utf-8")
            files.append(f"annotation/calibration/{kind}-{stem}.xml")
        files += [f"annotation/{stem}.xml", f"measurement/{stem}.tiff"]
    manifest = _manifest_xml(root, overpass, stop.strftime("%Y-%m-%dT%H:%M:%S.%f"), image, sorted(files))
    (root / "manifest.safe").write_text(manifest, encoding="utf-8")
    return name


def _image(overpass: Pass, land: Landscape) -> _Image:
    """An image around the whole piece, lines along the flight and pixels away from the satellite."""
    side = land.grid.size * PIXEL_M
    look = np.radians(overpass.track.look)
    across = (float(np.sin(look)), float(np.cos(look)))
    along = (-across[1], across[0])  # it looks to the right
    reach = side * (abs(across[0]) + abs(across[1]))
    size = int(np.ceil(reach / PIXEL_M)) + 4
    middle = (land.grid.west + side / 2, land.grid.north - side / 2)
    half = size * PIXEL_M / 2
    corner = tuple(m - half * (a + b) for m, a, b in zip(middle, along, across, strict=True))
    return _Image(
        size,
        (corner[0], corner[1]),
        (along[0] * PIXEL_M, along[1] * PIXEL_M),
        (across[0] * PIXEL_M, across[1] * PIXEL_M),
    )


def _numbers(gamma: Float, overpass: Pass, land: Landscape, image: _Image) -> NDArray[np.uint16]:
    """Digital numbers; 0 beyond the piece and where the radar saw nothing.

    Gamma nought of the ground becomes that of the ellipsoid. Both are the brightness of the image times the
    tan of the incidence, on the ground or on the ellipsoid.
    """
    place = np.arange(image.size) + 0.5
    east, north = image.place(*np.meshgrid(place, place, indexing="ij"))
    rows = np.floor((land.grid.north - north) / PIXEL_M).astype(int)
    columns = np.floor((east - land.grid.west) / PIXEL_M).astype(int)
    size = land.grid.size
    inside = (rows >= 0) & (rows < size) & (columns >= 0) & (columns < size)
    rows, columns = np.clip(rows, 0, size - 1), np.clip(columns, 0, size - 1)
    local = np.radians(np.clip(local_incidence(land, overpass.track), 5, 80))
    terrain = np.tan(np.radians(overpass.track.incidence)) / np.tan(local)
    seen = inside & (gamma[rows, columns] != NODATA)
    power = np.where(seen, (gamma * terrain)[rows, columns], 0)
    numbers = np.sqrt(_scale(place - 0.5, image) ** 2 * power + _NOISE)
    return np.where(seen, np.clip(np.rint(numbers), 1, 65_535), 0).astype(np.uint16)


def _scale(columns: NDArray[Any], image: _Image) -> NDArray[Any]:
    """A of gamma nought by column."""
    return _SCALE - _FALL * columns / image.size


def _write_image(path: Path, numbers: NDArray[np.uint16], image: _Image) -> None:
    import rasterio
    from pyproj import Transformer
    from rasterio.control import GroundControlPoint
    from rasterio.crs import CRS

    knots = np.linspace(0, image.size, _POINTS)
    rows, columns = (side.ravel() for side in np.meshgrid(knots, knots, indexing="ij"))
    lon, lat = Transformer.from_crs(EPSG, 4326, always_xy=True).transform(*image.place(rows, columns))
    points = [
        GroundControlPoint(row=row, col=column, x=x, y=y, z=0.0)
        for row, column, x, y in zip(rows, columns, lon, lat, strict=True)
    ]
    options = {"driver": "GTiff", "width": image.size, "height": image.size, "count": 1, "dtype": "uint16"}
    with rasterio.Env(GDAL_PAM_ENABLED="NO"), rasterio.open(path, "w", compress="deflate", **options) as out:
        out.gcps = (points, CRS.from_epsg(4326))
        out.write(numbers, 1)
        out.update_tags(SIMULATED=NOTE)


# ---- texts -----------------------------------------------------------------------------------------------
def _product_xml(overpass: Pass, image: _Image) -> str:
    return f"""<?xml version="1.0" encoding="UTF-8"?>
<!-- {NOTE} -->
<product>
  <adsHeader><missionId>S1A</missionId><productType>GRD</productType><mode>IW</mode>
    <startTime>{overpass.start:%Y-%m-%dT%H:%M:%S.%f}</startTime>
    <absoluteOrbitNumber>{overpass.absolute}</absoluteOrbitNumber></adsHeader>
  <generalAnnotation><productInformation><pass>{overpass.track.direction.capitalize()}</pass>
    <rangePixelSpacing>{PIXEL_M}</rangePixelSpacing></productInformation></generalAnnotation>
  <imageAnnotation><imageInformation><azimuthPixelSpacing>{PIXEL_M}</azimuthPixelSpacing>
    <numberOfSamples>{image.size}</numberOfSamples><numberOfLines>{image.size}</numberOfLines>
    <incidenceAngleMidSwath>{overpass.track.incidence}</incidenceAngleMidSwath>
    </imageInformation></imageAnnotation>
</product>
"""


def _knots(image: _Image) -> tuple[Sequence[int], str]:
    """Lines and pixels where the tables give values."""
    lines = [*range(0, image.size - 1, _STEP), image.size - 1]
    return lines, " ".join(map(str, lines))


def _calibration_xml(image: _Image) -> str:
    lines, pixels = _knots(image)
    gamma = _scale(np.array(lines, dtype=float), image)
    tables = {"sigmaNought": gamma * 1.12, "betaNought": gamma * 0.9, "gamma": gamma}
    told = "".join(
        f'<{name} count="{len(lines)}">{" ".join(f"{value:.6f}" for value in values)}</{name}>'
        for name, values in tables.items()
    )
    vectors = "\n".join(
        f'    <calibrationVector><line>{line}</line><pixel count="{len(lines)}">{pixels}</pixel>{told}'
        "</calibrationVector>"
        for line in lines
    )
    return f"""<?xml version="1.0" encoding="UTF-8"?>
<!-- {NOTE} -->
<calibration>
  <calibrationVectorList count="{len(lines)}">
{vectors}
  </calibrationVectorList>
</calibration>
"""


def _noise_xml(image: _Image) -> str:
    lines, pixels = _knots(image)
    values = " ".join([f"{_NOISE:.3f}"] * len(lines))
    vectors = "\n".join(
        f'    <noiseRangeVector><line>{line}</line><pixel count="{len(lines)}">{pixels}</pixel>'
        f'<noiseRangeLut count="{len(lines)}">{values}</noiseRangeLut></noiseRangeVector>'
        for line in lines
    )
    return f"""<?xml version="1.0" encoding="UTF-8"?>
<!-- {NOTE} -->
<noise>
  <noiseRangeVectorList count="{len(lines)}">
{vectors}
  </noiseRangeVectorList>
</noise>
"""


def _manifest_xml(root: Path, overpass: Pass, stop: str, image: _Image, files: Sequence[str]) -> str:
    from pyproj import Transformer

    ends = np.array([0, 0, image.size, image.size]), np.array([0, image.size, image.size, 0])
    lon, lat = Transformer.from_crs(EPSG, 4326, always_xy=True).transform(*image.place(*ends))
    corners = " ".join(f"{y:.6f},{x:.6f}" for x, y in zip(lon, lat, strict=True))
    rows = "\n".join(
        f'''    <dataObject ID="{Path(path).stem.replace("-", "")}">
      <byteStream size="{(root / path).stat().st_size}"><fileLocation href="./{path}" locatorType="URL"/>
      <checksum checksumName="MD5">{digest(root / path, "MD5")}</checksum></byteStream></dataObject>'''
        for path in files
    )
    return f"""<?xml version="1.0" encoding="UTF-8"?>
<!-- {NOTE} -->
<xfdu:XFDU xmlns:xfdu="urn:ccsds:schema:xfdu:1" xmlns:safe="http://www.esa.int/safe/sentinel-1.0" \
xmlns:s1="http://www.esa.int/safe/sentinel-1.0/sentinel-1" xmlns:gml="http://www.opengis.net/gml" \
version="esa/safe/sentinel-1.0/sentinel-1/sar/level-1/grd/standard/iwdp">
  <metadataSection>
    <safe:acquisitionPeriod><safe:startTime>{overpass.start:%Y-%m-%dT%H:%M:%S.%f}</safe:startTime>
      <safe:stopTime>{stop}</safe:stopTime></safe:acquisitionPeriod>
    <safe:orbitReference><safe:orbitNumber type="start">{overpass.absolute}</safe:orbitNumber>
      <safe:relativeOrbitNumber type="start">{overpass.track.relative}</safe:relativeOrbitNumber>
      <s1:pass>{overpass.track.direction.upper()}</s1:pass></safe:orbitReference>
    <safe:footPrint><gml:coordinates>{corners}</gml:coordinates></safe:footPrint>
  </metadataSection>
  <dataObjectSection>
{rows}
  </dataObjectSection>
</xfdu:XFDU>
"""
