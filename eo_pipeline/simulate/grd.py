"""Radar scenes of the twin as Sentinel-1 GRD products: the image as the radar saw it, with its annotation.

Other than in the terrain-corrected product the terrain is in it: slopes that face the radar are bright, and
what lies high is seen nearer to the satellite. The orbit is a circle around the earth's centre, which does
not turn, so that the moment and the distance at which a point is seen have a closed form.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from pyproj import CRS, Transformer

from eo_pipeline.scenes.range_doppler import undulation
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
#: The orbit: metres from the earth's centre, and the angle it turns in a second.
_RADIUS: Final = 7_071_000.0
_TURN: Final = 1.0611e-3
_LIGHT: Final = 299_792_458.0


@dataclass(frozen=True, slots=True)
class _Image:
    """One image: `at` and `ahead` are unit vectors to the satellite and along its flight at the moment it
    passes the middle of the piece. Lines are counted from `first` seconds after that, pixels from `near`
    metres of distance; `incidence` is in the middle, radians. `height` is the mean one, metres above the
    ellipsoid; `lon` and `lat` are those of the knots [line, pixel] at that height.
    """

    at: NDArray[Any]
    ahead: NDArray[Any]
    line_s: float
    incidence: float
    first: float = 0.0
    near: float = 0.0
    shape: tuple[int, int] = (0, 0)
    height: float = 0.0
    lon: NDArray[Any] = field(default_factory=lambda: np.zeros((0, 0)))
    lat: NDArray[Any] = field(default_factory=lambda: np.zeros((0, 0)))

    def see(self, points: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
        """Seconds, and distance in metres, at which geocentric points (…, 3) are passed squarely."""
        a, b = points @ self.at, points @ self.ahead
        squares = (points**2).sum(axis=-1) + _RADIUS**2
        return np.arctan2(b, a) / _TURN, np.sqrt(squares - 2 * _RADIUS * np.hypot(a, b))

    def find(self, points: NDArray[Any]) -> NDArray[Any]:
        """Line and pixel of geocentric points, (…, 2); 0 is the middle of the first."""
        time, distance = self.see(points)
        ground = (distance - self.near) / np.sin(self.incidence)
        return np.stack([(time - self.first) / self.line_s, ground / PIXEL_M], axis=-1)

    @property
    def knots(self) -> tuple[NDArray[Any], NDArray[Any]]:
        """Lines and pixels of the control points."""
        lines, pixels = (np.rint(np.linspace(0, size - 1, _POINTS)).astype(int) for size in self.shape)
        return lines, pixels


def write_grd(scene: RadarScene, overpass: Pass, land: Landscape, folder: Path) -> str:
    """Write the SAFE folder of a pass below `folder`; its name."""
    stop = overpass.start + timedelta(seconds=25)
    take = f"{overpass.absolute * 8 % 0xFFFFFF:06X}"
    times = f"{overpass.start:%Y%m%dT%H%M%S}_{stop:%Y%m%dT%H%M%S}_{overpass.absolute:06d}_{take}"
    name = f"S1A_IW_GRDH_1SDV_{times}_{overpass.absolute * 7919 % 0xFFFF:04X}.SAFE"
    root = folder / name
    for part in ("measurement", "annotation/calibration"):
        (root / part).mkdir(parents=True)
    east, north = _middles(land)
    ground = _geocentric(east, north, _ellipsoidal(land))
    image = _image(overpass, land, ground)
    tables = _calibration_xml(image), _noise_xml(image)
    seen = _seen(image, ground)
    files = []
    for number, (polarisation, gamma) in enumerate((("vv", scene.vv), ("vh", scene.vh)), 1):
        stem = f"s1a-iw-grd-{polarisation}-{times.lower().replace('_', '-')}-{number:03d}"
        _write_image(
            root / "measurement" / f"{stem}.tiff", _numbers(gamma, overpass, land, image, seen), image
        )
        annotation = root / "annotation"
        (annotation / f"{stem}.xml").write_text(_product_xml(overpass, image), encoding="utf-8")
        for kind, text in zip(("calibration", "noise"), tables, strict=True):
            (annotation / "calibration" / f"{kind}-{stem}.xml").write_text(text, encoding="utf-8")
            files.append(f"annotation/calibration/{kind}-{stem}.xml")
        files += [f"annotation/{stem}.xml", f"measurement/{stem}.tiff"]
    manifest = _manifest_xml(root, overpass, stop.strftime("%Y-%m-%dT%H:%M:%S.%f"), image, sorted(files))
    (root / "manifest.safe").write_text(manifest, encoding="utf-8")
    return name


def _middles(land: Landscape) -> tuple[NDArray[Any], NDArray[Any]]:
    """Metres east and north of every pixel's middle."""
    steps = (np.arange(land.grid.size) + 0.5) * PIXEL_M
    east, north = np.meshgrid(land.grid.west + steps, land.grid.north - steps)
    return east, north


def _ellipsoidal(land: Landscape) -> NDArray[Any]:
    """Heights above the ellipsoid; those of the land are above the sea, as an elevation model's are."""
    lon, lat = Transformer.from_crs(EPSG, 4326, always_xy=True).transform(*_middles(land))
    return np.asarray(land.elevation + undulation(lon, lat))


def _geocentric(east: NDArray[Any], north: NDArray[Any], height: NDArray[Any]) -> NDArray[Any]:
    change = Transformer.from_crs(CRS.from_epsg(EPSG).to_3d(), 4978, always_xy=True)
    return np.stack(change.transform(east, north, height), axis=-1)


def _image(overpass: Pass, land: Landscape, ground: NDArray[Any]) -> _Image:
    """An image around the whole piece, lines along the flight and pixels away from the satellite."""
    side, track = land.grid.size * PIXEL_M, overpass.track
    heights = _ellipsoidal(land)
    height = float(heights.mean())
    middle = np.array([land.grid.west + side / 2, land.grid.north - side / 2])
    around = middle + np.array([[0, 0], [0, 1000], [1000, 0]])
    here, toward_north, toward_east = _geocentric(around[:, 0], around[:, 1], np.full(3, height))
    north, east = ((point - here) / np.linalg.norm(point - here) for point in (toward_north, toward_east))
    look, incidence = np.radians(track.look), np.radians(track.incidence)
    away = np.sin(look) * east + np.cos(look) * north
    beam = np.cos(incidence) * np.cross(east, north) - np.sin(incidence) * away
    along = here @ beam
    distance = -along + np.sqrt(along**2 - here @ here + _RADIUS**2)
    at = (here + distance * beam) / _RADIUS
    ahead = -np.cross(at, beam)  # it looks to the right
    ahead /= np.linalg.norm(ahead)
    line_s = PIXEL_M / (_TURN * float(np.hypot(here @ at, here @ ahead)))
    image = _Image(at, ahead, line_s, float(incidence), height=height)
    # a margin, and the piece as if it were level, so that the control points span it
    corners = side * np.array([[0, 0], [0, 1], [1, 0], [1, 1]]) + (land.grid.west, land.grid.north - side)
    level = _geocentric(corners[:, 0], corners[:, 1], np.full(4, height))
    times, distances = image.see(np.concatenate([ground.reshape(-1, 3), level]))
    image = replace(
        image, first=times.min() - 4 * line_s, near=distances.min() - 4 * PIXEL_M * np.sin(incidence)
    )
    last = image.find(ground).max(axis=(0, 1)), image.find(level).max(axis=0)
    lines, pixels = (int(size) for size in np.ceil(np.maximum(*last)) + 5)
    return _with_knots(replace(image, shape=(lines, pixels)), middle, side)


def _with_knots(image: _Image, middle: NDArray[Any], side: float) -> _Image:
    """Where the knots lie at the mean height: by polynomials through places of which lines and pixels are
    known.
    """
    east, north = np.meshgrid(*(value + side * np.linspace(-1, 1, 7) for value in middle))
    known = image.find(_geocentric(east, north, np.full_like(east, image.height))).reshape(-1, 2)
    scale = known.max(axis=0)

    def terms(places: NDArray[Any]) -> NDArray[Any]:
        row, col = (places / scale).T
        return np.stack([row**i * col**j for i in range(4) for j in range(4 - i)], axis=-1)

    fit, *_ = np.linalg.lstsq(terms(known), np.stack([east.ravel(), north.ravel()], axis=-1), rcond=None)
    lines, pixels = np.meshgrid(*image.knots, indexing="ij")
    placed = terms(np.stack([lines.ravel(), pixels.ravel()], axis=-1)) @ fit
    lon, lat = Transformer.from_crs(EPSG, 4326, always_xy=True).transform(*placed.T)
    return replace(image, lon=lon.reshape(lines.shape), lat=lat.reshape(lines.shape))


def _seen(image: _Image, ground: NDArray[Any]) -> NDArray[Any]:
    """Which pixel of the land (row · size + column) each pixel of the image shows; −1 beyond the piece."""
    from scipy.spatial import cKDTree

    places = np.stack(np.meshgrid(*map(np.arange, image.shape), indexing="ij"), axis=-1)
    far, number = cKDTree(image.find(ground).reshape(-1, 2)).query(places, distance_upper_bound=1.5)
    return np.where(np.isfinite(far), number, -1)


def _numbers(
    gamma: Float, overpass: Pass, land: Landscape, image: _Image, seen: NDArray[Any]
) -> NDArray[np.uint16]:
    """Digital numbers; 0 beyond the piece and where the radar saw nothing.

    Gamma nought of the ground becomes that of the ellipsoid. Both are the brightness of the image times the
    tan of the incidence, on the ground or on the ellipsoid.
    """
    local = np.radians(np.clip(local_incidence(land, overpass.track), 5, 80))
    terrain = np.tan(np.radians(overpass.track.incidence)) / np.tan(local)
    measured = (seen >= 0) & (gamma.ravel()[seen] != NODATA)
    power = np.where(measured, (gamma * terrain).ravel()[seen], 0)
    numbers = np.sqrt(_scale(np.arange(image.shape[1]), image) ** 2 * power + _NOISE)
    return np.where(measured, np.clip(np.rint(numbers), 1, 65_535), 0).astype(np.uint16)


def _scale(columns: NDArray[Any], image: _Image) -> NDArray[Any]:
    """A of gamma nought by column."""
    return _SCALE - _FALL * columns / image.shape[1]


def _write_image(path: Path, numbers: NDArray[np.uint16], image: _Image) -> None:
    import rasterio
    from rasterio.control import GroundControlPoint

    lines, pixels = np.meshgrid(*image.knots, indexing="ij")
    points = [
        GroundControlPoint(row=row + 0.5, col=column + 0.5, x=x, y=y, z=image.height)
        for row, column, x, y in zip(
            *(side.ravel() for side in (lines, pixels, image.lon, image.lat)), strict=True
        )
    ]
    options = {"driver": "GTiff", "width": image.shape[1], "height": image.shape[0], "count": 1}
    options |= {"dtype": "uint16", "compress": "deflate", "gcps": points, "crs": "EPSG:4326"}
    with rasterio.Env(GDAL_PAM_ENABLED="NO"), rasterio.open(path, "w", **options) as out:
        out.write(numbers, 1)
        out.update_tags(SIMULATED=NOTE)


# ---- texts -----------------------------------------------------------------------------------------------
def _product_xml(overpass: Pass, image: _Image) -> str:
    lines, pixels = image.shape
    first = overpass.start

    def at(seconds: float) -> str:
        return f"{first + timedelta(seconds=seconds):%Y-%m-%dT%H:%M:%S.%f}"

    orbit = "\n".join(_vector_xml(image, at(moment), moment) for moment in range(-65, 90, 10))
    conversion = "\n".join(
        f"    <coordinateConversion><azimuthTime>{at(moment)}</azimuthTime><sr0>{image.near:.4f}</sr0>"
        f"<srgrCoefficients>0.0 {1 / np.sin(image.incidence):.15f}</srgrCoefficients></coordinateConversion>"
        for moment in (-1, 0, 1)
    )
    places = "\n".join(
        f"    <geolocationGridPoint><azimuthTime>{at(line * image.line_s)}</azimuthTime><slantRangeTime>"
        f"{2 * (image.near + pixel * PIXEL_M * np.sin(image.incidence)) / _LIGHT:.15e}</slantRangeTime>"
        f"<line>{line}</line><pixel>{pixel}</pixel><latitude>{image.lat[i, j]:.9f}</latitude><longitude>"
        f"{image.lon[i, j]:.9f}</longitude><height>{image.height:.3f}</height>"
        f"<incidenceAngle>{overpass.track.incidence}</incidenceAngle></geolocationGridPoint>"
        for i, line in enumerate(image.knots[0])
        for j, pixel in enumerate(image.knots[1])
    )
    return f"""<?xml version="1.0" encoding="UTF-8"?>
<!-- {NOTE} -->
<product>
  <adsHeader><missionId>S1A</missionId><productType>GRD</productType><mode>IW</mode>
    <startTime>{at(0)}</startTime>
    <absoluteOrbitNumber>{overpass.absolute}</absoluteOrbitNumber></adsHeader>
  <generalAnnotation><productInformation><pass>{overpass.track.direction.capitalize()}</pass>
    </productInformation><orbitList>
{orbit}
  </orbitList></generalAnnotation>
  <imageAnnotation><imageInformation><productFirstLineUtcTime>{at(0)}</productFirstLineUtcTime>
    <productLastLineUtcTime>{at((lines - 1) * image.line_s)}</productLastLineUtcTime>
    <rangePixelSpacing>{PIXEL_M}</rangePixelSpacing><azimuthPixelSpacing>{PIXEL_M}</azimuthPixelSpacing>
    <azimuthTimeInterval>{image.line_s:.15e}</azimuthTimeInterval>
    <numberOfSamples>{pixels}</numberOfSamples><numberOfLines>{lines}</numberOfLines>
    <incidenceAngleMidSwath>{overpass.track.incidence}</incidenceAngleMidSwath>
    </imageInformation></imageAnnotation>
  <geolocationGrid><geolocationGridPointList>
{places}
  </geolocationGridPointList></geolocationGrid>
  <coordinateConversion><coordinateConversionList>
{conversion}
  </coordinateConversionList></coordinateConversion>
</product>
"""


def _vector_xml(image: _Image, time: str, seconds: float) -> str:
    """Position and velocity of the satellite some seconds after the first line."""
    angle = _TURN * (image.first + seconds)
    place = _RADIUS * (np.cos(angle) * image.at + np.sin(angle) * image.ahead)
    speed = _RADIUS * _TURN * (np.cos(angle) * image.ahead - np.sin(angle) * image.at)
    parts = [
        "".join(f"<{axis}>{value:.6f}</{axis}>" for axis, value in zip("xyz", vector, strict=True))
        for vector in (place, speed)
    ]
    return (
        f"    <orbit><time>{time}</time><frame>Earth Fixed</frame><position>{parts[0]}</position>"
        f"<velocity>{parts[1]}</velocity></orbit>"
    )


def _knots(image: _Image) -> tuple[list[int], list[int]]:
    """Lines and pixels where the tables give values."""
    lines, pixels = ([*range(0, size - 1, _STEP), size - 1] for size in image.shape)
    return lines, pixels


def _calibration_xml(image: _Image) -> str:
    lines, pixels = _knots(image)
    gamma = _scale(np.array(pixels, dtype=float), image)
    tables = {"sigmaNought": gamma * 1.12, "betaNought": gamma * 0.9, "gamma": gamma}
    told = "".join(
        f'<{name} count="{len(pixels)}">{" ".join(f"{value:.6f}" for value in values)}</{name}>'
        for name, values in tables.items()
    )
    vectors = "\n".join(
        f'    <calibrationVector><line>{line}</line><pixel count="{len(pixels)}">'
        f"{' '.join(map(str, pixels))}</pixel>{told}</calibrationVector>"
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
    values = " ".join([f"{_NOISE:.3f}"] * len(pixels))
    vectors = "\n".join(
        f'    <noiseRangeVector><line>{line}</line><pixel count="{len(pixels)}">'
        f'{" ".join(map(str, pixels))}</pixel><noiseRangeLut count="{len(pixels)}">{values}</noiseRangeLut>'
        "</noiseRangeVector>"
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
    ends = (0, 0), (0, -1), (-1, -1), (-1, 0)
    corners = " ".join(f"{image.lat[end]:.6f},{image.lon[end]:.6f}" for end in ends)
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
