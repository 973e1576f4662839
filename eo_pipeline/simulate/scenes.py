"""Scenes of the twin: what Sentinel-2 would have seen of the land on a day, with clouds, shadows, haze and noise.

A scene is drawn from (seed, date) alone, so any one can be made again, in any order and on any number of threads.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from eo_pipeline.simulate import canopy, crops
from eo_pipeline.simulate.calendar import Cropping, FieldState, field_state
from eo_pipeline.simulate.landscape import EPSG, PIXEL_M, Grid, Landscape, smooth_noise

Float = NDArray[np.float32]

REVISIT_DAYS: Final = 5
NODATA: Final = -32768
#: A scene with more cloud than this is not kept, as an archive search by cloud cover would not return it.
MOST_CLOUD: Final = 0.92
SIMULATED_TAG: Final = "模拟数据 SIMULATED: made by eo simulate, not an observation"
#: Mean cloud cover by month (our assumption: clear winters, rain mostly from July to September).
CLOUD_BY_MONTH: Final = (0.34, 0.40, 0.44, 0.44, 0.46, 0.50, 0.57, 0.57, 0.62, 0.50, 0.36, 0.30)
#: Share of dry soil in the topsoil mixture by month, before the scene's own rain.
DRYNESS_BY_MONTH: Final = (0.80, 0.80, 0.76, 0.74, 0.70, 0.66, 0.56, 0.54, 0.54, 0.62, 0.72, 0.78)
LATITUDE: Final = 35.43
#: Local solar time of the overpass (03:40 UTC at 105.7 E), hours.
SOLAR_HOUR: Final = 10.7

# Scene classification codes of Sen2Cor.
SCL_SHADOW, SCL_VEGETATION, SCL_BARE, SCL_WATER, SCL_UNCLASSIFIED = 3, 4, 5, 6, 7
SCL_CLOUD_MEDIUM, SCL_CLOUD_HIGH, SCL_CIRRUS, SCL_SNOW = 8, 9, 10, 11
SCL_CLEAR: Final = (4, 5, 6, 7)
#: Opacity from which a pixel counts as cloudy in the truth, and from which a cloud is thick.
THIN, THICK = 0.06, 0.40
#: What the mask misses: share of thin cloud, thick cloud and shadow that SCL calls clear; share of bright ground
#: that SCL calls cloud. Sen2Cor's own omissions of thin cloud and shadow are of this order.
MISSED_THIN, MISSED_THICK, MISSED_SHADOW, FALSE_BRIGHT = 0.55, 0.01, 0.30, 0.25


@dataclass(frozen=True, slots=True)
class World:
    """Land, crops by harvest year and the texture within fields, all a scene needs besides its date."""

    land: Landscape
    plan: dict[int, Cropping]
    seed: int
    leaf_texture: Float
    soil_texture: Float
    soil_brightness: Float

    def pixel_vigour(self, year: int) -> Float:
        """Vigour of every pixel in a harvest year, shape (rows, columns)."""
        return np.asarray(self.plan[year].vigour[self.land.segment] * (1 + self.leaf_texture), np.float32)


@dataclass(frozen=True, slots=True)
class Scene:
    """One acquisition.

    `reflectance` int16 × 10 000, shape (bands, rows, columns), bands as `canopy.BAND_NAMES`; `scl` uint8;
    `cloud` and `shadow` are the true opacity and darkening, 0-1.
    """

    day: date
    reflectance: NDArray[np.int16]
    scl: NDArray[np.uint8]
    cloud: Float
    shadow: Float
    sun_zenith: float

    def quality(self) -> dict[str, float]:
        """True cover and the errors of SCL, as shares of the piece (0-1).

        `scl_missed` is the share of cloud or shadow pixels that SCL calls clear, `scl_false` that of clear pixels
        which it calls cloud or shadow.
        """
        bad = (self.cloud > THIN) | (self.shadow > 0.15)
        clear = np.isin(self.scl, SCL_CLEAR)
        snow = self.scl == SCL_SNOW
        return {
            "cloud": float((self.cloud > THIN).mean()),
            "shadow": float(((self.shadow > 0.15) & (self.cloud <= THIN)).mean()),
            "snow": float(snow.mean()),
            "scl_clear": float(clear.mean()),
            "scl_missed": float((clear & bad).sum() / max(int(bad.sum()), 1)),
            "scl_false": float((~clear & ~snow & ~bad).sum() / max(int((~bad).sum()), 1)),
        }


def make_world(land: Landscape, plan: dict[int, Cropping], *, seed: int) -> World:
    """Add what stays over the years within fields: leaf area and soil brightness vary over some 50 m and by pixel."""
    rng = np.random.default_rng([seed, 5])
    size = land.grid.size
    fine = rng.standard_normal((2, size, size), dtype=np.float32)
    rough = np.array(
        [0.05 if crops.VARIANTS[v].name != "village" else 0.45 for v in range(len(crops.VARIANTS))]
    )
    here = rough[plan[min(plan)].variant][land.segment].astype(np.float32)
    leaf = np.clip(0.07 * smooth_noise(size, 5, rng) + here * fine[0], -0.6, 0.6)
    ground = np.clip(0.05 * smooth_noise(size, 6, rng) + 0.6 * here * fine[1], -0.5, 0.5)
    brightness = np.clip(rng.normal(0.78, 0.05, len(land.use)), 0.6, 0.95)
    return World(
        land, plan, seed, leaf.astype(np.float32), ground.astype(np.float32), brightness.astype(np.float32)
    )


def acquisition_days(start: date, end: date) -> list[date]:
    """Every fifth day, counted from a fixed day, so that overlapping seasons share their scenes."""
    first = start + timedelta(days=(2 - start.toordinal()) % REVISIT_DAYS)
    return [first + timedelta(days=k) for k in range(0, (end - first).days + 1, REVISIT_DAYS)]


def cloud_cover(day: date, *, seed: int) -> float:
    """Cloud cover aimed at over the piece: so small a piece is often clear or overcast."""
    rng = np.random.default_rng([seed, 6, day.toordinal()])
    mean = CLOUD_BY_MONTH[day.month - 1]
    draw = rng.random()
    if draw < 0.6 * mean:
        return 1.0
    if draw > 1 - 0.6 * (1 - mean):
        return 0.0
    return float(rng.beta(1.1, 1.1))


def sun_position(day: date) -> tuple[float, float]:
    """Solar zenith and azimuth (degrees, from north over east) at the overpass (Cooper 1969 declination)."""
    declination = np.radians(23.45) * np.sin(2 * np.pi * (284 + day.timetuple().tm_yday) / 365)
    hour = np.radians(15 * (SOLAR_HOUR - 12))
    latitude = np.radians(LATITUDE)
    up = np.sin(latitude) * np.sin(declination) + np.cos(latitude) * np.cos(declination) * np.cos(hour)
    east = -np.cos(declination) * np.sin(hour)
    north = np.cos(latitude) * np.sin(declination) - np.sin(latitude) * np.cos(declination) * np.cos(hour)
    return float(np.degrees(np.arccos(up))), float(np.degrees(np.arctan2(east, north)) % 360)


def segment_reflectance(
    world: World,
    state: FieldState,
    *,
    sun_zenith: float,
    dryness: float,
    leaf: float = 1.0,
    ground: float = 1.0,
) -> Float:
    """Reflectance of every segment, shape (n, bands), with leaf area and soil brightness times `leaf`, `ground`."""
    table = canopy.canopy_table()
    n = len(state.variant)
    kinds = crops.VARIANTS
    angle = np.array([kind.leaf_angle for kind in kinds], np.float32)[state.variant]
    cover = np.array([kind.cover for kind in kinds], np.float32)[state.variant]
    under = np.array([kind.under for kind in kinds], np.float32)[state.variant]
    floor = canopy.soil(world.soil_brightness * np.float32(ground), np.full(n, dryness, np.float32))
    for name, share in (("straw", state.straw), ("film", state.film)):
        floor = (1 - share[:, None]) * floor + share[:, None] * canopy.surface(name)
    for index, kind in enumerate(kinds):
        if kind.ground is not None:
            name, part = kind.ground
            here = state.variant == index
            floor[here] = (1 - part) * floor[here] + part * canopy.surface(name) * ground
    crown = table.reflectance(
        state.lai * np.float32(leaf),
        state.cab,
        state.brown,
        leaf_angle=angle,
        sun_zenith=sun_zenith,
        ground=floor,
    )
    # Grass in orchards follows the season through the trees' own greenness.
    grass = under * np.clip(state.lai / 3, 0, 1) * (1 - 0.6 * state.brown)
    gap = table.reflectance(
        grass.astype(np.float32),
        np.full(n, 36, np.float32),
        np.float32(0.6) * state.brown,
        leaf_angle=np.full(n, 60, np.float32),
        sun_zenith=sun_zenith,
        ground=floor,
    )
    whole = cover[:, None] * crown + (1 - cover[:, None]) * gap
    petals = np.stack([canopy.surface(kind.flowers) for kind in kinds])[state.variant]
    share = np.clip(state.flower, 0, 0.8)[:, None]
    return np.asarray((1 - share) * whole + share * petals, np.float32)


def render(world: World, day: date) -> Scene:
    """Make the scene of `day`. The harvest years of `day` and of the next year must be planned."""
    rng = np.random.default_rng([world.seed, 7, day.toordinal()])
    zenith, azimuth = sun_position(day)
    cover = cloud_cover(day, seed=world.seed)
    dryness = float(np.clip(DRYNESS_BY_MONTH[day.month - 1] + rng.normal(0, 0.09) - 0.06 * cover, 0.3, 0.95))
    image = _surface(world, day, zenith, azimuth, dryness)
    image, snow = _snow(world, image, day, zenith, azimuth, rng)
    image = _blur(image)
    cloud, shadow, thickness = _clouds(world.land.grid.size, cover, zenith, azimuth, rng)
    scl = _classify(image, cloud, shadow, snow, world.land, rng)
    image = _atmosphere(image, cloud, shadow, thickness, world.land.grid.size, rng)
    dn = np.clip(np.rint(image * 10_000), 1, 20_000).astype(np.int16)
    return Scene(day, dn, scl, cloud, shadow, zenith)


def _surface(world: World, day: date, zenith: float, azimuth: float, dryness: float) -> Float:
    """Ground reflectance in the sun of that hour, shape (bands, rows, columns)."""
    state = field_state(world.plan, day)
    options = {"sun_zenith": zenith, "dryness": dryness}
    base = segment_reflectance(world, state, **options)
    # Within a field the spectrum moves along its own derivative to leaf area and to soil brightness.
    by_leaf = (segment_reflectance(world, state, leaf=1.15, **options) - base) / 0.15
    by_soil = (segment_reflectance(world, state, ground=1.10, **options) - base) / 0.10
    segment = world.land.segment
    image = np.empty((len(canopy.BANDS), *segment.shape), np.float32)
    light = _illumination(world.land, zenith, azimuth)
    for band in range(len(canopy.BANDS)):
        field = base[:, band][segment]
        field += by_leaf[:, band][segment] * world.leaf_texture
        field += by_soil[:, band][segment] * world.soil_texture
        image[band] = np.maximum(field * light, 0.002)
    return image


def _illumination(land: Landscape, zenith: float, azimuth: float) -> Float:
    """Light on slopes relative to flat ground; most is corrected by the terrain model, a third is left."""
    z, a = np.radians(zenith), np.radians(azimuth)
    # Normal of the surface: minus its gradient; `aspect_north` grows to the north as rows grow to the south.
    tilt = np.cos(z) + np.sin(z) * (np.sin(a) * land.aspect_east + np.cos(a) * land.aspect_north)
    incidence = tilt / np.sqrt(1 + land.slope**2)
    left = 1 + 0.33 * (incidence / np.cos(z) - 1)
    return np.clip(left, 0.7, 1.25).astype(np.float32)


def _snow(
    world: World, image: Float, day: date, zenith: float, azimuth: float, rng: np.random.Generator
) -> tuple[Float, NDArray[np.bool_]]:
    """Snow on one winter scene in five: everywhere at first, later on shady and high ground."""
    if day.month not in (12, 1, 2) or rng.random() > 0.2:
        return image, np.zeros(image.shape[1:], bool)
    light = _illumination(world.land, zenith, azimuth)
    lasting = (
        (1 - light) * 4
        + (world.land.elevation - 1700) / 300
        + 0.4 * smooth_noise(world.land.grid.size, 6, rng)
    )
    share = np.clip(lasting * 1.5 + rng.uniform(-0.5, 1.2), 0, 0.9).astype(np.float32)
    mixed = (1 - share) * image + share * canopy.surface("snow")[:, None, None]
    return mixed.astype(np.float32), share > 0.4


def _blur(image: Float) -> Float:
    """Point spread of the sensor, and 20 m bands as the mean of 2 × 2 pixels, repeated on the 10 m grid."""
    out = np.empty_like(image)
    for band in canopy.FINE:
        out[band] = _spread(image[band], 0.13)
    size = image.shape[1]
    for band in canopy.COARSE:
        coarse = image[band].reshape(size // 2, 2, size // 2, 2).mean((1, 3))
        out[band] = _spread(coarse, 0.10).repeat(2, 0).repeat(2, 1)
    return out


def _spread(field: Float, side: float) -> Float:
    """Three-point kernel (side, 1 - 2 side, side) along rows and columns; about 0.5 pixel wide."""
    padded = np.pad(field, 1, mode="edge")
    rows = side * (padded[:-2] + padded[2:]) + (1 - 2 * side) * padded[1:-1]
    return np.asarray(side * (rows[:, :-2] + rows[:, 2:]) + (1 - 2 * side) * rows[:, 1:-1], np.float32)


def _clouds(
    size: int, cover: float, zenith: float, azimuth: float, rng: np.random.Generator
) -> tuple[Float, Float, Float]:
    """Opacity of clouds, darkening by their shadows, and cloud thickness, all 0-1 at 10 m."""
    half = size // 2
    height_m = rng.uniform(900, 2600)
    reach = height_m * np.tan(np.radians(zenith)) / (2 * PIXEL_M)
    margin = int(np.ceil(reach)) + 2
    # One field for clouds over the piece and over its surroundings, whose shadows may fall on it.
    wide = half + 2 * margin
    field = (
        0.75 * smooth_noise(wide, 22, rng)
        + 0.45 * smooth_noise(wide, 8, rng)
        + 0.25 * smooth_noise(wide, 3, rng)
    )
    inner = field[margin : margin + half, margin : margin + half]
    if cover <= 0:
        level = np.inf
    elif cover >= 1:
        level = float(field.min()) - 1.2
    else:
        level = float(np.quantile(inner, 1 - cover))
    depth = np.clip(field - level, 0, 3)
    opacity = np.where(depth > 0, 1 - np.exp(-2.6 * depth), 0).astype(np.float32)
    # The shadow lies on the far side from the sun: rows grow to the south, columns to the east.
    down = round(reach * np.cos(np.radians(azimuth)))
    right = round(-reach * np.sin(np.radians(azimuth)))
    top, left = margin - down, margin - right
    cast = opacity[top : top + half, left : left + half]
    here = opacity[margin : margin + half, margin : margin + half]
    veil = 0.0
    if 0 < cover < 1 and rng.random() < 0.4:
        veil = np.clip(0.16 * smooth_noise(half, 30, rng), 0, 0.3)
    cloud = 1 - (1 - here) * (1 - veil)
    shadow = np.where(cast > 0.1, 0.62 * cast, 0)
    thickness = depth[margin : margin + half, margin : margin + half] / 3
    return _fine(cloud), _fine(shadow), _fine(thickness)


def _fine(field: NDArray[np.floating]) -> Float:
    """From 20 m to 10 m, softened."""
    return _spread(np.asarray(field, np.float32).repeat(2, 0).repeat(2, 1), 0.25)


def _classify(
    image: Float,
    cloud: Float,
    shadow: Float,
    snow: NDArray[np.bool_],
    land: Landscape,
    rng: np.random.Generator,
) -> NDArray[np.uint8]:
    """Scene classification at 20 m with the omissions and false alarms stated above, repeated at 10 m."""
    half = land.grid.size // 2

    def at_20m(field: NDArray[np.generic]) -> NDArray[np.generic]:
        return field[::2, ::2]

    red, near, blue = (at_20m(image[canopy.BAND_NAMES.index(name)]) for name in ("B04", "B08", "B02"))
    ndvi = (near - red) / (near + red)
    scl = np.where(ndvi > 0.4, SCL_VEGETATION, np.where(ndvi < 0.27, SCL_BARE, SCL_UNCLASSIFIED))
    scl[(near < 0.09) & (ndvi < 0.1)] = SCL_WATER
    # Errors come in patches: uniform numbers from a smooth field.
    from scipy.special import ndtr

    luck = [ndtr(smooth_noise(half, 6, rng)) for _ in range(3)]
    scl[(blue > 0.17) & ~at_20m(snow) & (luck[2] < FALSE_BRIGHT)] = SCL_CLOUD_MEDIUM
    scl[at_20m(snow)] = SCL_SNOW
    dark = (at_20m(shadow) > 0.15) & (luck[1] > MISSED_SHADOW)
    scl[dark] = SCL_SHADOW
    opacity = at_20m(cloud)
    thin = (opacity > THIN) & (opacity <= THICK) & (luck[0] > MISSED_THIN)
    scl[thin] = np.where(opacity[thin] > 0.25, SCL_CLOUD_MEDIUM, SCL_CIRRUS)
    thick = (opacity > THICK) & (luck[0] > MISSED_THICK)
    scl[thick] = np.where(opacity[thick] > 0.75, SCL_CLOUD_HIGH, SCL_CLOUD_MEDIUM)
    return np.asarray(scl.repeat(2, 0).repeat(2, 1), np.uint8)


_HAZE: Final = (0.020, 0.014, 0.010, 0.008, 0.007, 0.006, 0.005, 0.005, 0.002, 0.001)
_CLOUD_COLOUR: Final = (0.78, 0.77, 0.76, 0.76, 0.76, 0.76, 0.75, 0.74, 0.46, 0.36)
_DARKENING: Final = (0.72, 0.82, 0.90, 0.93, 0.96, 0.98, 1.0, 1.0, 1.05, 1.08)


def _atmosphere(
    image: Float, cloud: Float, shadow: Float, thickness: Float, size: int, rng: np.random.Generator
) -> Float:
    """Shadow, cloud, what haze correction leaves, calibration and noise."""
    haze = float(np.clip(rng.gamma(1.6, 0.35), 0, 2)) * (1 + 0.25 * smooth_noise(size, 40, rng))
    for band in range(len(image)):
        field = image[band] * (1 - np.clip(_DARKENING[band] * shadow, 0, 0.8))
        field = field * (1 - cloud) + cloud * _CLOUD_COLOUR[band] * (0.55 + 0.55 * thickness)
        field = (field + _HAZE[band] * haze) * (1 + rng.normal(0, 0.012))
        coarse = band in canopy.COARSE
        noise = rng.standard_normal((size // 2, size // 2) if coarse else (size, size), dtype=np.float32)
        if coarse:
            noise = noise.repeat(2, 0).repeat(2, 1)
        image[band] = field + noise * (0.0015 + 0.008 * field)
    return image


def write_scene(scene: Scene, grid: Grid, path: Path) -> None:
    """Write a tiled GeoTIFF: bands of `canopy.BAND_NAMES`, then SCL; int16, reflectance × 10 000, labelled simulated."""
    import rasterio
    from rasterio.transform import Affine

    profile = {
        "driver": "GTiff",
        "width": grid.size,
        "height": grid.size,
        "count": len(canopy.BANDS) + 1,
        "dtype": "int16",
        "crs": f"EPSG:{EPSG}",
        "transform": Affine(*grid.transform),
        "nodata": NODATA,
        "tiled": True,
        "blockxsize": 256,
        "blockysize": 256,
        "compress": "ZSTD",
        "zstd_level": 6,
        "predictor": 2,
        "interleave": "band",
    }
    with rasterio.open(path, "w", **profile) as target:
        target.write(scene.reflectance, list(range(1, len(canopy.BANDS) + 1)))
        target.write(scene.scl.astype(np.int16), len(canopy.BANDS) + 1)
        for index, name in enumerate((*canopy.BAND_NAMES, "SCL"), 1):
            target.set_band_description(index, name)
        target.update_tags(
            SIMULATED=SIMULATED_TAG,
            DATE=scene.day.isoformat(),
            SUN_ZENITH=f"{scene.sun_zenith:.2f}",
            SCALE="0.0001",
        )
