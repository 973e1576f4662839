"""The sky above the twin: sun, clouds and shadows, scene classification with its errors, haze, noise."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import Final

import numpy as np
from numpy.typing import NDArray

from eo_pipeline.simulate import canopy
from eo_pipeline.simulate.landscape import PIXEL_M, smooth_noise

Float = NDArray[np.float32]
Bools = NDArray[np.bool_]

#: Mean cloud cover by month (our assumption: clear winters, rain mostly from July to September).
CLOUD_BY_MONTH: Final = (0.34, 0.40, 0.44, 0.44, 0.46, 0.50, 0.57, 0.57, 0.62, 0.50, 0.36, 0.30)
LATITUDE: Final = 35.43
#: Local solar time of the overpass (03:40 UTC at 105.7 E), hours.
SOLAR_HOUR: Final = 10.7

# Scene classification codes of Sen2Cor.
SCL_SHADOW, SCL_VEGETATION, SCL_BARE, SCL_WATER, SCL_UNCLASSIFIED = 3, 4, 5, 6, 7
SCL_CLOUD_MEDIUM, SCL_CLOUD_HIGH, SCL_CIRRUS, SCL_SNOW = 8, 9, 10, 11
SCL_CLEAR: Final = (SCL_VEGETATION, SCL_BARE, SCL_WATER, SCL_UNCLASSIFIED)
#: In the truth: opacity of a cloudy pixel, of a thick cloud, and the darkening of a shadowed pixel.
THIN, THICK, DARK = 0.06, 0.40, 0.15
#: What the mask misses: share of thin cloud, thick cloud and shadow that SCL calls clear; share of bright
#: ground that SCL calls cloud. Our assumption of the order of Sen2Cor's known omissions.
MISSED_THIN, MISSED_THICK, MISSED_SHADOW, FALSE_BRIGHT = 0.55, 0.01, 0.30, 0.25

# By band of `canopy.BANDS`: path light that haze correction leaves, colour of cloud, strength of shadow.
_HAZE: Final = (0.020, 0.014, 0.010, 0.008, 0.007, 0.006, 0.005, 0.005, 0.002, 0.001)
_CLOUD_COLOUR: Final = (0.78, 0.77, 0.76, 0.76, 0.76, 0.76, 0.75, 0.74, 0.46, 0.36)
_DARKENING: Final = (0.72, 0.82, 0.90, 0.93, 0.96, 0.98, 1.0, 1.0, 1.05, 1.08)


@dataclass(frozen=True, slots=True)
class Sun:
    """Where the sun stands at the overpass, degrees; azimuth from north over east."""

    zenith: float
    azimuth: float


@dataclass(frozen=True, slots=True)
class Clouds:
    """Opacity of cloud, darkening by shadow and thickness of cloud, each 0-1, shape (rows, columns)."""

    opacity: Float
    shadow: Float
    thickness: Float


def cloud_cover(day: date, *, seed: int) -> float:
    """Cloud cover aimed at over the piece: so small a piece is often clear or overcast."""
    rng = np.random.default_rng([seed, 6, day.toordinal()])
    draw = rng.random()
    # Four overpasses in ten are partly cloudy, by half on average; overcast ones make up the month's mean.
    overcast = CLOUD_BY_MONTH[day.month - 1] - 0.2
    if draw < overcast:
        return 1.0
    if draw > overcast + 0.4:
        return 0.0
    return float(rng.beta(1.1, 1.1))


def sun_position(day: date) -> Sun:
    """Sun at the overpass, with Cooper's declination (Cooper 1969)."""
    declination = np.radians(23.45) * np.sin(2 * np.pi * (284 + day.timetuple().tm_yday) / 365)
    hour = np.radians(15 * (SOLAR_HOUR - 12))
    latitude = np.radians(LATITUDE)
    up = np.sin(latitude) * np.sin(declination) + np.cos(latitude) * np.cos(declination) * np.cos(hour)
    east = -np.cos(declination) * np.sin(hour)
    north = np.cos(latitude) * np.sin(declination) - np.sin(latitude) * np.cos(declination) * np.cos(hour)
    return Sun(float(np.degrees(np.arccos(up))), float(np.degrees(np.arctan2(east, north)) % 360))


def draw_clouds(size: int, *, cover: float, sun: Sun, rng: np.random.Generator) -> Clouds:
    """Clouds over `size` × `size` pixels at `cover` (0-1), and the shadows they and their neighbours cast."""
    half = size // 2
    height_m = rng.uniform(900, 2600)
    reach = height_m * np.tan(np.radians(sun.zenith)) / (2 * PIXEL_M)
    margin = int(np.ceil(reach)) + 2
    # One field for clouds over the piece and over its surroundings, whose shadows may fall on it.
    wide = half + 2 * margin
    field = np.zeros((wide, wide), np.float32)
    for part, scale in ((0.75, 22), (0.45, 8), (0.25, 3)):
        field += np.float32(part) * smooth_noise(wide, scale, rng)
    inside = slice(margin, margin + half)
    if cover <= 0:
        level = np.inf
    elif cover >= 1:
        level = float(field.min()) - 1.2
    else:
        level = float(np.quantile(field[inside, inside], 1 - cover))
    depth = np.clip(field - level, 0, 3)
    opacity = np.where(depth > 0, 1 - np.exp(-2.6 * depth), 0).astype(np.float32)
    # The shadow lies on the far side from the sun: rows grow to the south, columns to the east.
    down = round(reach * np.cos(np.radians(sun.azimuth)))
    right = round(-reach * np.sin(np.radians(sun.azimuth)))
    cast = opacity[margin - down : margin - down + half, margin - right : margin - right + half]
    veil = np.zeros((half, half), np.float32)
    if 0 < cover < 1 and rng.random() < 0.4:
        veil = np.clip(0.16 * smooth_noise(half, 30, rng), 0, 0.3)
    return Clouds(
        opacity=_fine(1 - (1 - opacity[inside, inside]) * (1 - veil)),
        shadow=_fine(np.where(cast > 0.1, 0.62 * cast, 0).astype(np.float32)),
        thickness=_fine((depth[inside, inside] / 3).astype(np.float32)),
    )


def _fine(field: Float) -> Float:
    """From 20 m to 10 m, softened."""
    return spread(field.repeat(2, 0).repeat(2, 1), 0.25)


def spread(field: Float, side: float) -> Float:
    """Three-point kernel (side, 1 - 2 side, side) along rows and columns; edges are repeated."""
    padded = np.pad(field, 1, mode="edge")
    rows = side * (padded[:-2] + padded[2:]) + (1 - 2 * side) * padded[1:-1]
    return np.asarray(side * (rows[:, :-2] + rows[:, 2:]) + (1 - 2 * side) * rows[:, 1:-1], np.float32)


def classify_scene(
    image: Float, clouds: Clouds, snow: Bools, *, rng: np.random.Generator
) -> NDArray[np.uint8]:
    """Scene classification at 20 m, with the omissions and false alarms stated above, repeated at 10 m.

    `image` is the ground's reflectance, shape (bands, rows, columns).
    """
    from scipy.special import ndtr

    near, red, blue = (image[canopy.BAND_NAMES.index(name)][::2, ::2] for name in ("B08", "B04", "B02"))
    opacity, shadow, white = clouds.opacity[::2, ::2], clouds.shadow[::2, ::2], snow[::2, ::2]
    # Errors come in patches: uniform numbers made of smooth fields.
    luck = [ndtr(smooth_noise(len(near), 6, rng)) for _ in range(3)]
    ndvi = (near - red) / (near + red)
    scl = np.where(ndvi > 0.4, SCL_VEGETATION, np.where(ndvi < 0.27, SCL_BARE, SCL_UNCLASSIFIED))
    scl[(near < 0.09) & (ndvi < 0.1)] = SCL_WATER
    scl[(blue > 0.17) & (luck[2] < FALSE_BRIGHT)] = SCL_CLOUD_MEDIUM
    scl[white] = SCL_SNOW
    scl[(shadow > DARK) & (luck[1] > MISSED_SHADOW)] = SCL_SHADOW
    thin = (opacity > THIN) & (opacity <= THICK) & (luck[0] > MISSED_THIN)
    scl[thin] = np.where(opacity[thin] > 0.25, SCL_CLOUD_MEDIUM, SCL_CIRRUS)
    thick = (opacity > THICK) & (luck[0] > MISSED_THICK)
    scl[thick] = np.where(opacity[thick] > 0.75, SCL_CLOUD_HIGH, SCL_CLOUD_MEDIUM)
    return np.asarray(scl.repeat(2, 0).repeat(2, 1), np.uint8)


def through_atmosphere(image: Float, clouds: Clouds, *, rng: np.random.Generator) -> Float:
    """Reflectance as delivered: with shadow, cloud, left-over haze, calibration, noise. Changes `image`."""
    size = image.shape[1]
    haze = float(np.clip(rng.gamma(1.6, 0.35), 0, 2)) * (1 + 0.25 * smooth_noise(size, 40, rng))
    fine = (clouds.opacity, clouds.shadow, clouds.thickness, haze)
    coarse = tuple(layer.reshape(size // 2, 2, size // 2, 2).mean((1, 3)) for layer in fine)
    for band in range(len(image)):
        # A 20 m band is made at 20 m and then repeated.
        step = 2 if band in canopy.COARSE else 1
        opacity, shadow, thickness, veil = coarse if step == 2 else fine
        field = image[band][::step, ::step] * (1 - np.clip(_DARKENING[band] * shadow, 0, 0.8))
        field = field * (1 - opacity) + opacity * _CLOUD_COLOUR[band] * (0.55 + 0.55 * thickness)
        field = (field + _HAZE[band] * veil) * (1 + rng.normal(0, 0.012))
        field = field + rng.standard_normal(field.shape, dtype=np.float32) * (0.0015 + 0.008 * field)
        image[band] = field.repeat(step, 0).repeat(step, 1) if step == 2 else field
    return image
