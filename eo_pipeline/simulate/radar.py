"""Sentinel-1 over the twin: terrain-corrected gamma naught of VV and VH by a water-cloud model.

Attema and Ulaby 1978 (10.1029/RS013i002p00357): backscatter of vegetation plus that of soil seen through it.
Coefficients are our own round numbers of the order published for C band; terrain flattening is taken as
done, so that slopes act on the path through the canopy and on the soil, and no longer on the area.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from eo_pipeline.simulate import crops, events
from eo_pipeline.simulate.landscape import USES, Landscape
from eo_pipeline.simulate.scenes import DRYNESS_BY_MONTH, World, standing

Float = NDArray[np.float32]
Direction = Literal["ascending", "descending"]

NODATA: Final = -32768.0
#: Equivalent number of looks of the speckle.
LOOKS: Final = 4.9
REPEAT_DAYS: Final = 12
#: Steeper than this, degrees of local incidence, a slope lies in radar shadow; below the other in layover.
_SHADOW, _LAYOVER = 80.0, 3.0

#: Water cloud: vegetation's own backscatter A and attenuation B per leaf area; soil in dB, C + D · moisture.
_A: Final = {"vv": 0.125, "vh": 0.038}
_B: Final = {"vv": 0.22, "vh": 0.26}
_C: Final = {"vv": -15.5, "vh": -23.0}
_D: Final = {"vv": 24.0, "vh": 16.0}
#: Gamma naught of walls (double bounce) and of open water, linear.
_BUILT: Final = {"vv": 0.45, "vh": 0.075}
_WATER: Final = {"vv": 0.012, "vh": 0.0022}


@dataclass(frozen=True, slots=True)
class Track:
    """One relative orbit of Sentinel-1A: `look` is the azimuth it looks to (right of the flight), degrees."""

    direction: Direction
    relative: int
    phase: int
    second: int
    look: float
    incidence: float


TRACKS: Final = (
    Track("ascending", 128, 3, 10 * 3600 + 57 * 60 + 14, 77.0, 38.5),
    Track("descending", 62, 10, 22 * 3600 + 41 * 60 + 52, 283.0, 35.5),
)


@dataclass(frozen=True, slots=True)
class Pass:
    """Sentinel-1A on one track on one day (UTC)."""

    day: date
    track: Track

    @property
    def start(self) -> datetime:
        """First line."""
        return datetime(self.day.year, self.day.month, self.day.day, tzinfo=UTC) + timedelta(
            seconds=self.track.second
        )

    @property
    def absolute(self) -> int:
        """Orbit since launch; relative = (absolute - 73) mod 175 + 1, as for the real Sentinel-1A."""
        near = 53_498 + round((self.day - date(2024, 4, 19)).days * 175 / 12)
        return near + (self.track.relative - 1 - near + 73 + 87) % 175 - 87

    @property
    def id(self) -> str:
        """Item id, in the manner of terrain-corrected products made of GRD."""
        stop = self.start + timedelta(seconds=25)
        return (
            f"S1A_IW_GRDH_1SDV_{self.start:%Y%m%dT%H%M%S}_{stop:%Y%m%dT%H%M%S}_"
            f"{self.absolute:06d}_{self.absolute * 8 % 0xFFFFFF:06X}_rtc"
        )


@dataclass(frozen=True, slots=True)
class RadarScene:
    """Gamma naught, linear, shape (rows, columns), `NODATA` in radar shadow."""

    vv: Float
    vh: Float


def passes(start: date, end: date, *, every: int = REPEAT_DAYS) -> list[Pass]:
    """Passes of both tracks in time, each track every `every` days (a multiple of twelve)."""
    days = (start + timedelta(days=number) for number in range((end - start).days + 1))
    return [
        Pass(day, track) for day in days for track in TRACKS if (day.toordinal() - track.phase) % every == 0
    ]


def soil_moisture(world: World, day: date) -> float:
    """Volumetric moisture of the topsoil over the piece, m³/m³: the month's mean plus the last rains.

    Rain falls on one day in four and fades by 30 % a day (antecedent precipitation index).
    """
    wet = 0.06 + 0.26 * (1 - DRYNESS_BY_MONTH[day.month - 1] - events.drying(world.events, day))
    index = 0.0
    for back in range(10):
        rng = np.random.default_rng([world.seed, 13, day.toordinal() - back])
        rain = rng.gamma(1.2, 0.06) if rng.random() < 0.25 else 0.0
        index += rain * 0.7**back
    return float(np.clip(wet + index, 0.04, 0.42))


def local_incidence(land: Landscape, track: Track) -> Float:
    """Angle between the beam and the normal of the ground, degrees, shape (rows, columns)."""
    z, look = np.radians(track.incidence), np.radians(track.look)
    # The satellite stands opposite to where it looks; `aspect_*` point downhill.
    toward = -(np.sin(look) * land.aspect_east + np.cos(look) * land.aspect_north)
    cosine = (np.cos(z) + np.sin(z) * toward) / np.sqrt(1 + land.slope**2)
    return np.asarray(np.degrees(np.arccos(np.clip(cosine, -1, 1))), np.float32)


def without_speckle(world: World, overpass: Pass) -> RadarScene:
    """Gamma naught of the ground on the day of a pass, before speckle."""
    land, day, track = world.land, overpass.day, overpass.track
    state = standing(world, day)
    kinds = crops.VARIANTS
    cover = np.array([kind.cover for kind in kinds], np.float32)[state.variant] * state.stand
    # Dead leaves hold little water and are nearly transparent.
    wet_leaf = state.lai * (1 - 0.65 * state.brown) * cover
    leaf = np.maximum(wet_leaf[land.segment] * (1 + world.leaf_texture), 0)
    moisture = soil_moisture(world, day) + 0.05 * world.soil_texture
    water = events.standing_water(world.events, day)
    angle = local_incidence(land, track)
    cosine = np.cos(np.radians(np.clip(angle, 20, 70)))
    usage = land.use[land.segment]
    hidden = (angle > _SHADOW) | (angle < _LAYOVER)
    found: dict[str, Float] = {}
    for name in ("vv", "vh"):
        through = np.exp(-2 * _B[name] * leaf / cosine)
        soil = 10 ** ((_C[name] + _D[name] * np.clip(moisture, 0.02, 0.5)) / 10)
        sigma = _A[name] * cosine * (1 - through) + soil * through
        gamma = sigma / cosine
        gamma = np.where(usage == USES.index("village"), 0.5 * gamma + 0.5 * _BUILT[name], gamma)
        gamma = np.where(usage == USES.index("river"), 0.4 * gamma + 0.6 * _WATER[name], gamma)
        if water is not None:
            gamma = gamma + water * (_WATER[name] - gamma)
        found[name] = np.where(hidden, NODATA, gamma).astype(np.float32)
    return RadarScene(found["vv"], found["vh"])


def render(world: World, overpass: Pass) -> RadarScene:
    """The scene of a pass with speckle: gamma-distributed, mean 1, `LOOKS` looks, the two channels apart."""
    clean = without_speckle(world, overpass)
    number = 0 if overpass.track.direction == "ascending" else 1
    rng = np.random.default_rng([world.seed, 14, overpass.day.toordinal(), number])
    noisy = []
    for band in (clean.vv, clean.vh):
        speckle = rng.gamma(LOOKS, 1 / LOOKS, band.shape)
        noisy.append(_rounded(np.where(band == NODATA, NODATA, band * speckle).astype(np.float32)))
    return RadarScene(*noisy)


def _rounded(values: Float) -> Float:
    """To 12 bits of mantissa (0.01 dB or better): what lies below speckle need not be stored."""
    bits = np.ascontiguousarray(values).view(np.uint32)
    kept = (bits + np.uint32(1 << 10)) & np.uint32(0xFFFFF800)
    return np.asarray(kept.view(np.float32))
