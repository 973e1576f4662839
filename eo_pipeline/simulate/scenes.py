"""Scenes of the twin: what Sentinel-2 would have seen of the land on a day.

A scene is drawn from (seed, date) alone, so any one can be made again, in any order and on any number of
threads.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from eo_pipeline.simulate import canopy, crops, events, sky
from eo_pipeline.simulate.calendar import Cropping, FieldState, field_state
from eo_pipeline.simulate.landscape import EPSG, Grid, Landscape, smooth_noise

Float = NDArray[np.float32]

REVISIT_DAYS: Final = 5
NODATA: Final = -32768
#: A scene with more cloud than this is not kept, as an archive search by cloud cover would not return it.
MOST_CLOUD: Final = 0.92
#: Standard deviation of a scene's offset in each direction, in pixels of 10 m: our assumption, near what is
#: stated for Sentinel-2 (better than 0.3 pixel at 95 % once refined; products before that lie further off).
REGISTRATION_PX: Final = 0.25
SIMULATED_TAG: Final = "模拟数据 SIMULATED: made by eo simulate, not an observation"
#: Share of dry soil in the topsoil mixture by month, before the scene's own rain.
DRYNESS_BY_MONTH: Final = (0.80, 0.80, 0.76, 0.74, 0.70, 0.66, 0.56, 0.54, 0.54, 0.62, 0.72, 0.78)


@dataclass(frozen=True, slots=True)
class World:
    """Land, crops by harvest year and what stays over the years: all a scene needs besides its date.

    `leaf_texture` and `soil_texture` vary within fields (rows, columns); `bund` is the share of a pixel under
    the grassy banks between fields (田埂); `soil_brightness` and `leaf_tilt` (degrees) belong to segments.
    `events` are the disasters of these years.
    """

    land: Landscape
    plan: dict[int, Cropping]
    seed: int
    leaf_texture: Float
    soil_texture: Float
    bund: Float
    soil_brightness: Float
    leaf_tilt: Float
    events: tuple[events.Event, ...] = ()

    def pixel_vigour(self, year: int) -> Float:
        """Vigour of every pixel in a harvest year, losses by events included, shape (rows, columns)."""
        vigour = self.plan[year].vigour
        if self.events:
            vigour = vigour * events.leaf_share(self.plan, self.events, year)
        return np.asarray(vigour[self.land.segment] * (1 + self.leaf_texture), np.float32)


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

        `scl_missed` is the share of cloud or shadow pixels that SCL calls clear, `scl_false` that of clear
        pixels which it calls cloud or shadow.
        """
        bad = (self.cloud > sky.THIN) | (self.shadow > sky.DARK)
        clear = np.isin(self.scl, sky.SCL_CLEAR)
        snow = self.scl == sky.SCL_SNOW
        return {
            "cloud": float((self.cloud > sky.THIN).mean()),
            "shadow": float(((self.shadow > sky.DARK) & (self.cloud <= sky.THIN)).mean()),
            "snow": float(snow.mean()),
            "scl_clear": float(clear.mean()),
            "scl_missed": float((clear & bad).sum() / max(int(bad.sum()), 1)),
            "scl_false": float((~clear & ~snow & ~bad).sum() / max(int((~bad).sum()), 1)),
        }


def make_world(land: Landscape, plan: dict[int, Cropping], *, seed: int) -> World:
    """Add what stays: banks between fields, and leaf area and soil brightness that vary within them."""
    rng = np.random.default_rng([seed, 5])
    size = land.grid.size
    fine = rng.standard_normal((2, size, size), dtype=np.float32)
    rough = np.array(
        [0.05 if crops.VARIANTS[v].name != "village" else 0.45 for v in range(len(crops.VARIANTS))]
    )
    here = rough[plan[min(plan)].variant][land.segment].astype(np.float32)
    leaf = np.clip(0.07 * smooth_noise(size, 5, rng) + here * fine[0], -0.6, 0.6)
    ground = np.clip(0.05 * smooth_noise(size, 6, rng) + 0.6 * here * fine[1], -0.5, 0.5)
    brightness = np.clip(rng.normal(0.78, 0.07, len(land.use)), 0.6, 0.95)
    return World(
        land=land,
        plan=plan,
        seed=seed,
        leaf_texture=leaf.astype(np.float32),
        soil_texture=ground.astype(np.float32),
        bund=_banks(land),
        soil_brightness=brightness.astype(np.float32),
        leaf_tilt=np.clip(rng.normal(0, 6, len(land.use)), -12, 12).astype(np.float32),
    )


def _banks(land: Landscape) -> Float:
    """Share of each pixel under banks: 0.7 m (1.7 m on slopes) on every side where a field ends."""
    padded = np.pad(land.segment, 1, mode="edge")
    middle = padded[1:-1, 1:-1]
    sides = np.zeros(middle.shape, np.float32)
    for neighbour in (padded[:-2, 1:-1], padded[2:, 1:-1], padded[1:-1, :-2], padded[1:-1, 2:]):
        # fields are numbered first, so one of two different segments is a field where the smaller is
        sides += (neighbour != middle) & (np.minimum(neighbour, middle) < land.n_parcels)
    return np.asarray(np.clip(sides * (0.07 + 0.25 * np.clip(land.slope, 0, 0.4)), 0, 0.6), np.float32)


def acquisition_days(start: date, end: date, *, every: int = REVISIT_DAYS) -> list[date]:
    """Every fifth day, counted from a fixed day, so that overlapping seasons share their scenes."""
    first = start + timedelta(days=(2 - start.toordinal()) % every)
    return [first + timedelta(days=k) for k in range(0, (end - first).days + 1, every)]


def segment_reflectance(
    world: World,
    state: FieldState,
    *,
    sun_zenith: float,
    dryness: float,
    leaf: float = 1.0,
    ground: float = 1.0,
) -> Float:
    """Reflectance of every segment, shape (n, bands).

    Leaf area is multiplied by `leaf`, soil brightness by `ground`.
    """
    table = canopy.canopy_table()
    n = len(state.variant)
    kinds = crops.VARIANTS
    angle = np.array([kind.leaf_angle for kind in kinds], np.float32)[state.variant] + world.leaf_tilt
    cover = np.array([kind.cover for kind in kinds], np.float32)[state.variant] * state.stand
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
    # PROSPECT's brown leaves are dark; what is dead and dry in a stand has the colour of straw.
    dry = np.asarray(0.75 * state.brown**2 * (1 - np.exp(-0.6 * state.lai)), np.float32)[:, None]
    crown = (1 - dry) * crown + dry * canopy.surface("straw")
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
    sun = sky.sun_position(day)
    cover = sky.cloud_cover(day, seed=world.seed)
    image, snow = _ground(world, day, sun, cover=cover, rng=rng)
    image = _sensor(_misplaced(image, rng.normal(0, REGISTRATION_PX, 2)))
    clouds = sky.draw_clouds(world.land.grid.size, cover=cover, sun=sun, rng=rng)
    scl = sky.classify_scene(image, clouds, snow > 0.4, rng=rng)
    image = sky.through_atmosphere(image, clouds, rng=rng)
    dn = np.clip(np.rint(image * 10_000), 1, 20_000).astype(np.int16)
    return Scene(day, dn, scl, clouds.opacity, clouds.shadow, sun.zenith)


def true_reflectance(world: World, day: date) -> Float:
    """What the ground reflects at the overpass of `day`, (bands, rows, columns), snow and events included.

    Without sensor, clouds, haze, noise and misplacement: what a perfect product of that day would hold.
    `render` begins with the same draws, so both show the same ground.
    """
    rng = np.random.default_rng([world.seed, 7, day.toordinal()])
    cover = sky.cloud_cover(day, seed=world.seed)
    return _ground(world, day, sky.sun_position(day), cover=cover, rng=rng)[0]


def _ground(
    world: World, day: date, sun: sky.Sun, *, cover: float, rng: np.random.Generator
) -> tuple[Float, Float]:
    """Reflectance of the ground under the day's moisture and snow, and the share of snow."""
    wetter = rng.normal(0, 0.09) + 0.06 * cover
    dryness = DRYNESS_BY_MONTH[day.month - 1] - wetter + events.drying(world.events, day)
    dryness = float(np.clip(dryness, 0.3, 0.95))
    image = _surface(world, day, sun, dryness=dryness)
    snow = _snow_share(world, day, sun, rng=rng)
    image = image * (1 - snow) + snow * canopy.surface("snow")[:, None, None]
    return image, snow


def standing(world: World, day: date) -> FieldState:
    """What stands on every segment on `day` after what events have done to it."""
    state = field_state(world.plan, day)
    return events.damaged(state, world.plan, world.events, day) if world.events else state


def _surface(world: World, day: date, sun: sky.Sun, *, dryness: float) -> Float:
    """Ground reflectance in the sun of that hour, shape (bands, rows, columns)."""
    state = standing(world, day)
    options = {"sun_zenith": sun.zenith, "dryness": dryness}
    base = segment_reflectance(world, state, **options)
    # Within a field the spectrum moves along its own derivative to leaf area and to soil brightness.
    by_leaf = (segment_reflectance(world, state, leaf=1.15, **options) - base) / 0.15
    by_soil = (segment_reflectance(world, state, ground=1.10, **options) - base) / 0.10
    # Banks are overgrown with grass like that of the slopes.
    grass = state.variant == crops.VARIANT["grass"]
    bank = base[grass].mean(0) if grass.any() else base.mean(0)
    segment = world.land.segment
    image = np.empty((len(canopy.BANDS), *segment.shape), np.float32)
    light = _illumination(world.land, sun)
    water = events.standing_water(world.events, day)
    for band in range(len(canopy.BANDS)):
        field = base[:, band][segment]
        field += by_leaf[:, band][segment] * world.leaf_texture
        field += by_soil[:, band][segment] * world.soil_texture
        field += world.bund * (bank[band] - field)
        if water is not None:
            field += water * (canopy.surface("water")[band] - field)
        image[band] = np.maximum(field * light, 0.002)
    return image


def _illumination(land: Landscape, sun: sky.Sun) -> Float:
    """Light on slopes relative to flat ground; most is corrected by the terrain model, a third is left."""
    z, a = np.radians(sun.zenith), np.radians(sun.azimuth)
    # Normal of the surface: minus its gradient; `aspect_north` grows to the north as rows grow to the south.
    tilt = np.cos(z) + np.sin(z) * (np.sin(a) * land.aspect_east + np.cos(a) * land.aspect_north)
    incidence = tilt / np.sqrt(1 + land.slope**2)
    left = 1 + 0.33 * (incidence / np.cos(z) - 1)
    return np.asarray(np.clip(left, 0.7, 1.25), np.float32)


def _snow_share(world: World, day: date, sun: sky.Sun, *, rng: np.random.Generator) -> Float:
    """Share of snow, 0-1: on one winter scene in five, everywhere or only on shady and high ground."""
    size = world.land.grid.size
    if day.month not in (12, 1, 2) or rng.random() > 0.2:
        return np.zeros((size, size), np.float32)
    shade = 4 * (1 - _illumination(world.land, sun))
    lasting = shade + (world.land.elevation - 1700) / 300 + 0.4 * smooth_noise(size, 6, rng)
    return np.clip(1.5 * lasting + rng.uniform(-0.5, 1.2), 0, 0.9).astype(np.float32)


def _misplaced(image: Float, offset: NDArray[np.float64]) -> Float:
    """The image a fraction of a pixel beside its place, by linear interpolation; edges are repeated."""
    padded = np.pad(image, ((0, 0), (1, 1), (1, 1)), mode="edge")
    for axis, move in zip((1, 2), np.clip(offset, -0.9, 0.9), strict=True):
        padded = padded + np.float32(abs(move)) * (np.roll(padded, int(np.sign(move)), axis) - padded)
    return np.asarray(padded[:, 1:-1, 1:-1], np.float32)


def _sensor(image: Float) -> Float:
    """Point spread of the sensor, and 20 m bands as the mean of 2 × 2 pixels, repeated on the 10 m grid."""
    out = np.empty_like(image)
    for band in canopy.FINE:
        out[band] = sky.spread(image[band], 0.15)
    size = image.shape[1]
    for band in canopy.COARSE:
        coarse = image[band].reshape(size // 2, 2, size // 2, 2).mean((1, 3))
        out[band] = sky.spread(coarse, 0.10).repeat(2, 0).repeat(2, 1)
    return out


def write_scene(scene: Scene, grid: Grid, path: Path) -> None:
    """Write a tiled GeoTIFF labelled simulated: `canopy.BAND_NAMES` and SCL; int16, reflectance × 10 000."""
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
