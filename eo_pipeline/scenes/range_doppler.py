"""Where Sentinel-1 GRD shows a point of the ground, by the orbit and the timing in its annotation.

A point is seen on the line at whose time the satellite passes it squarely (zero Doppler), at the pixel that
its distance then gives. With the point's height this is where it lies in the image, not only near there.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final
from xml.etree.ElementTree import Element

import numpy as np
from numba import njit
from numpy.typing import NDArray

from eo_pipeline.errors import SourceError
from eo_pipeline.scenes.calibration import LookUpTable
from eo_pipeline.scenes.safe_xml import number_of, parse_xml, text_of

Float = NDArray[np.float64]

#: Metres of distance in a second of the way there and back.
_HALF_LIGHT: Final = 299_792_458.0 / 2
#: Of the polynomial through the orbit's positions: less than a millimetre beside two minutes of them.
_DEGREE: Final = 5
#: Undulation of the geoid EGM96, pixels of 1°; from the 5' grid of the United States' NGA (public domain).
_GEOID: Final = Path(__file__).with_name("egm96.tif")


@dataclass(frozen=True, slots=True)
class Geometry:
    """The timing of one GRD image. Times are seconds after its first line, distances metres.

    `orbit[power, axis]` is the satellite's position (WGS 84, geocentric) as a polynomial in
    (time − `middle`) / `span`. `ground_range[entry, power]` gives the ground range of a distance beyond
    `nearest[entry]`, valid at `times[entry]`. `height` is what the annotation tells of the ground, metres
    above the ellipsoid by line and pixel. `reach` is the least and the greatest distance, `outline` the
    image's border in longitude and latitude, `heading` Ascending or Descending.
    """

    shape: tuple[int, int]
    line_s: float
    pixel_m: float
    orbit: Float
    middle: float
    span: float
    times: Float
    nearest: Float
    ground_range: Float
    height: LookUpTable
    reach: tuple[float, float]
    outline: Float
    heading: str

    def find(self, corners: Float, heights: Float) -> tuple[Float, Float]:
        """Line and pixel (0 is the middle of the first) of a window of ground, float64 (height, width).

        NaN where a height is NaN, or the ground lies nearer or farther than the image reaches.

        Parameters
        ----------
        corners : array of float64, (2, 2, 6)
            At the window's corners (upper, lower; left, right) the geocentric place of the ellipsoid, and
            the unit vector upwards there. Between them they are bilinear: 13 cm beside the truth in a window
            of 2.5 km.
        heights : array of float64, (height, width)
            Metres above the ellipsoid, at the pixels' middles.

        References
        ----------
        Curlander, J. & McDonough, R. (1991). Synthetic Aperture Radar. Wiley, section 8.2.
        """
        lines, pixels, distance = self._place(corners, heights)
        low, high = self.reach
        with np.errstate(invalid="ignore"):
            pixels[~((distance >= low) & (distance <= high))] = np.nan
        return lines, pixels

    def ground_heights(self, corners: Float) -> Float:
        """What the annotation tells of the height at a window's corners, (2, 2), metres above the ellipsoid.

        Place and height hang on each other: a height is looked up where the last one puts the corner.
        """
        heights = np.full((2, 2), float(self.height.values.mean()))
        for _ in range(6):
            for y in range(2):
                for x in range(2):
                    point = np.broadcast_to(corners[y : y + 1, x : x + 1], (2, 2, 6))
                    line, pixel, _ = self._place(point, heights[y : y + 1, x : x + 1])
                    heights[y, x] = self.height.at(line[0], pixel[0])[0, 0]
        return heights

    def _place(self, corners: Float, heights: Float) -> tuple[Float, Float, Float]:
        out = np.full((3, *heights.shape), np.nan)
        conversion = self.times, self.nearest, self.ground_range
        _locate(
            np.ascontiguousarray(corners), heights, self.orbit, (self.middle, self.span), *conversion, out
        )
        return out[0] / self.line_s, out[1] / self.pixel_m, out[2]


@njit(nogil=True, cache=True)
def _locate(  # noqa: PLR0917 - compiled
    corners: Float,
    heights: Float,
    orbit: Float,
    clock: tuple[float, float],
    times: Float,
    nearest: Float,
    ground_range: Float,
    out: Float,
) -> None:  # pragma: no cover - compiled
    """Time, ground range and distance of every pixel of a window."""
    rows, columns = heights.shape
    to, speed, change, point = np.empty(3), np.empty(3), np.empty(3), np.empty(3)
    u = 0.0
    for y in range(rows):
        for x in range(columns):
            if not np.isfinite(heights[y, x]):
                continue
            down, right = (y + 0.5) / rows, (x + 0.5) / columns
            for axis in range(3):
                total = 0.0
                for part in range(2):
                    k = axis + 3 * part
                    upper = corners[0, 0, k] * (1 - right) + corners[0, 1, k] * right
                    lower = corners[1, 0, k] * (1 - right) + corners[1, 1, k] * right
                    total += (upper * (1 - down) + lower * down) * (heights[y, x] if part else 1.0)
                point[axis] = total
            # Newton's method for (point − satellite) · velocity = 0, from where the last pixel was seen
            for _ in range(30):
                along, against = 0.0, 0.0
                for axis in range(3):
                    place, speed[axis], change[axis] = 0.0, 0.0, 0.0
                    for power in range(orbit.shape[0] - 1, -1, -1):
                        change[axis] = change[axis] * u + 2 * speed[axis]
                        speed[axis] = speed[axis] * u + place
                        place = place * u + orbit[power, axis]
                    to[axis] = point[axis] - place
                    along += to[axis] * speed[axis]
                    against += to[axis] * change[axis] - speed[axis] * speed[axis]
                step = along / against
                u -= step
                if abs(step) < 1e-11:
                    break
            far = np.sqrt(to[0] ** 2 + to[1] ** 2 + to[2] ** 2)
            time = clock[0] + clock[1] * u
            entry = 0
            while entry < times.size - 2 and times[entry + 1] <= time:
                entry += 1
            share = min(1.0, max(0.0, (time - times[entry]) / (times[entry + 1] - times[entry])))
            ranges = 0.0
            for part in range(2):
                value = 0.0
                for power in range(ground_range.shape[1] - 1, -1, -1):
                    value = value * (far - nearest[entry + part]) + ground_range[entry + part, power]
                ranges += value * (share if part else 1 - share)
            out[0, y, x], out[1, y, x], out[2, y, x] = time, ranges, far


# ---- reading ---------------------------------------------------------------------------------------------
def read_geometry(data: bytes, where: str) -> Geometry:
    """The geometry that a product's annotation/….xml tells.

    Raises
    ------
    SourceError
        It is damaged, or lacks the orbit, the ground range or the grid of places.
    """
    root = parse_xml(data, where)
    try:
        return _geometry(root, where)
    except (ValueError, TypeError, IndexError, np.linalg.LinAlgError) as error:
        raise SourceError(f"{where}: its geometry cannot be read ({error}). Fetch it again.") from error


def _geometry(root: Element, where: str) -> Geometry:
    first = _time(text_of(root, "productFirstLineUtcTime", where))

    def seconds(element: Element, tag: str) -> float:
        return (_time(element.findtext(tag) or "") - first).total_seconds()

    def numbers(element: Element, tag: str) -> list[float]:
        return [float(text) for text in (element.findtext(tag) or "").split()]

    line_s = number_of(root, "azimuthTimeInterval", where)
    pixel_m = number_of(root, "rangePixelSpacing", where)
    shape = tuple(int(number_of(root, tag, where)) for tag in ("numberOfLines", "numberOfSamples"))
    vectors = [item for item in root.iter("orbit") if item.find("position") is not None]
    positions = np.array(
        [[float(item.findtext(f"position/{axis}") or "") for axis in "xyz"] for item in vectors]
    )
    moments = np.array([seconds(item, "time") for item in vectors])
    entries = [
        item for item in root.iter("coordinateConversion") if item.find("srgrCoefficients") is not None
    ]
    points = list(root.iter("geolocationGridPoint"))
    if len(vectors) <= _DEGREE or not entries or not points or min(line_s, pixel_m, *shape) <= 0:
        raise SourceError(
            f"{where} tells no whole geometry: {len(vectors)} positions of the orbit, {len(entries)} "
            f"conversions to ground range and {len(points)} places. Fetch it again."
        )
    if moments.min() > 0 or moments.max() < shape[0] * line_s:
        raise SourceError(f"{where}: its orbit does not span the image. Fetch it again.")
    entries = entries if len(entries) > 1 else entries * 2
    times = np.array([seconds(item, "azimuthTime") for item in entries])
    if len(set(times)) == 1:
        times[-1] += 1.0
    ground_range = np.array([numbers(item, "srgrCoefficients") for item in entries])
    if (np.diff(times) <= 0).any() or not np.isfinite(ground_range).all() or not np.isfinite(positions).all():
        raise ValueError("its orbit or its conversions to ground range are no numbers in order of time")
    middle, span = (moments.max() + moments.min()) / 2, (moments.max() - moments.min()) / 2
    lines, pixels = ([int(item.findtext(tag) or "") for item in points] for tag in ("line", "pixel"))
    knots = np.unique(lines), np.unique(pixels)
    order = np.lexsort((pixels, lines))
    grid = np.array([[float(item.findtext(tag) or "") for tag in _OF_POINTS] for item in points])[order]
    lon, lat, height, distance = np.moveaxis(
        grid.reshape(knots[0].size, knots[1].size, len(_OF_POINTS)), -1, 0
    )
    lon = lon[0, 0] + (lon - lon[0, 0] + 180) % 360 - 180  # in one piece also over the date line
    ring = [np.concatenate([a[0], a[1:, -1], a[-1, -2::-1], a[-2::-1, 0]]) for a in (lon, lat)]
    return Geometry(
        shape=(shape[0], shape[1]),
        line_s=line_s,
        pixel_m=pixel_m,
        orbit=np.polynomial.polynomial.polyfit((moments - middle) / span, positions, _DEGREE),
        middle=float(middle),
        span=float(span),
        times=times,
        nearest=np.array([number_of(item, "sr0", where) for item in entries]),
        ground_range=ground_range,
        height=LookUpTable(knots[0].astype(float), knots[1].astype(float), height),
        reach=(float(distance.min() * _HALF_LIGHT), float(distance.max() * _HALF_LIGHT)),
        outline=np.stack(ring, axis=-1),
        heading=root.findtext(".//pass") or "",
    )


_OF_POINTS: Final = ("longitude", "latitude", "height", "slantRangeTime")


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text.removesuffix("Z"))


# ---- the ground ------------------------------------------------------------------------------------------
def upright(lon: Any, lat: Any) -> Float:
    """The ellipsoid's geocentric place at a longitude and latitude, and the unit vector upwards: (…, 6)."""
    lon, lat = np.asarray(lon, dtype=np.float64), np.asarray(lat, dtype=np.float64)
    place = np.stack(_to_geocentric().transform(lon, lat, np.zeros_like(lon)), axis=-1)
    east, north = np.radians(lon), np.radians(lat)
    up = np.stack([np.cos(north) * np.cos(east), np.cos(north) * np.sin(east), np.sin(north)], axis=-1)
    return np.concatenate([place, up], axis=-1)


@functools.cache
def _to_geocentric() -> Any:
    from pyproj import Transformer

    return Transformer.from_crs(4979, 4978, always_xy=True)


@functools.cache
def to_degrees(crs: str) -> Any:
    """What turns a grid's coordinates into longitude and latitude (WGS 84)."""
    from pyproj import Transformer

    return Transformer.from_crs(crs, 4326, always_xy=True)


def undulation(lon: Any, lat: Any) -> Float:
    """Height of sea level (EGM96) above the ellipsoid, metres: what turns a model's heights into the orbit's.

    Good to 3 m, and 10 m in the highest mountains, as only every degree is kept.
    """
    lon, lat = np.asarray(lon, dtype=np.float64), np.asarray(lat, dtype=np.float64)
    y, x = np.clip(90 - lat, 0, 180), (lon + 180) % 360
    row, col = np.minimum(y.astype(int), 179), np.minimum(x.astype(int), 359)
    down, right, grid = y - row, x - col, _geoid()
    upper = grid[row, col] * (1 - right) + grid[row, col + 1] * right
    lower = grid[row + 1, col] * (1 - right) + grid[row + 1, col + 1] * right
    found: Float = upper * (1 - down) + lower * down
    return found


@functools.cache
def _geoid() -> Float:
    import rasterio

    with rasterio.open(_GEOID) as raster:
        values: Float = raster.read(1) * 0.1
    return values
