"""Which crop stands on which parcel in which year, on what days it passes its stages, and how vigorous it is.

`Cropping` is one harvest year of every segment; `field_state` joins two harvest years into what stands on the
land on a given day. The tables are in `crops`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from typing import Final

import numpy as np
from numpy.typing import NDArray

from eo_pipeline.simulate import crops
from eo_pipeline.simulate.landscape import Landscape, fixed_variants, smooth_noise

Float = NDArray[np.float32]
Ints = NDArray[np.int32]

_STAGES: Final = max(len(variant.stages) for variant in crops.VARIANTS)
_NEVER: Final = np.float32(1e6)


@dataclass(frozen=True, slots=True)
class Cropping:
    """One harvest year; `days` count from 1 January of `year` and are `_NEVER` past a variant's last stage.

    `variant` (n,) indexes `crops.VARIANTS`; `days` (n, stages); `vigour` (n,) multiplies leaf area, 1 is
    normal.
    """

    year: int
    variant: Ints
    days: Float
    vigour: Float

    @property
    def code(self) -> NDArray[np.uint8]:
        """Class code of every segment."""
        return np.asarray(np.array(crops.VARIANT_CODE, np.uint8)[self.variant])

    @property
    def last_day(self) -> Float:
        """Day of the last stage (harvest; 31 December of a perennial)."""
        return np.asarray(np.where(self.days < _NEVER, self.days, -_NEVER).max(1), np.float32)

    def stage_day(self, name: str) -> Float:
        """Day of the stage `name` on every segment, NaN where its crop has none of that name."""
        out = np.full(len(self.variant), np.nan, np.float32)
        for index, variant in enumerate(crops.VARIANTS):
            for place, stage in enumerate(variant.stages):
                if stage.name == name:
                    here = self.variant == index
                    out[here] = self.days[here, place]
        return out


@dataclass(frozen=True, slots=True)
class FieldState:
    """What stands on every segment on one day, each (n,).

    `straw` and `film` are shares of the ground; `stand` is the share of the field without gaps; `variant` is
    the crop that stands or stood last.
    """

    variant: Ints
    lai: Float
    cab: Float
    brown: Float
    flower: Float
    film: Float
    straw: Float
    stand: Float


def rotate(land: Landscape, years: Sequence[int], *, seed: int) -> dict[int, Cropping]:
    """Crops of consecutive harvest years with their stage days and vigour.

    Orchards, alfalfa, sheds and abandoned terraces stay; annual crops follow `crops.ROTATION`, weighed by how
    well a crop suits height and slope.
    """
    rng = np.random.default_rng([seed, 2])
    suit = _suitability(land, rng)
    fixed = fixed_variants(land)
    variant = _first_year(land, suit, rng)
    persistent = rng.normal(0, 0.08, len(land.use)).astype(np.float32)
    previous: Cropping | None = None
    plan: dict[int, Cropping] = {}
    for year in years:
        if previous is not None:
            variant = _next_year(variant, suit, rng)
        every = fixed.copy()
        every[: land.n_parcels] = variant
        days = _stage_days(land, every, year, seed=seed)
        vigour = _vigour(land, every, year, persistent, seed=seed)
        current = Cropping(year, every, days, vigour)
        if previous is not None:
            plan[previous.year] = _cut_short(previous, current)
        plan[year] = previous = current
    return plan


def _suitability(land: Landscape, rng: np.random.Generator) -> dict[str, Float]:
    """How well each crop suits each parcel (relative weight); neighbours tend to grow the same."""
    parcels = slice(0, land.n_parcels)
    height, slope = land.height[parcels], land.mean_slope[parcels]
    high = (height - 1700) / 100
    valley = (slope < 0.06) & (height < 1650)
    flat = np.exp(-3 * slope)
    fit = {
        "winter_wheat": 0.4 + flat,
        "spring_maize": 0.4 + flat,
        "potato": np.exp(0.5 * high),
        "apple": np.exp(-((high / 1.1) ** 2)) + 0.05,
        "rapeseed": 0.5 + flat,
        "flax": np.exp(0.4 * high),
        "millet_buckwheat": np.exp(0.4 * high),
        "alfalfa": 0.4 + 4 * slope,
        "vegetables": np.where(valley, 4.0, 0.08),
    }
    rows = np.clip(land.y[parcels].astype(int), 0, land.grid.size - 1)
    columns = np.clip(land.x[parcels].astype(int), 0, land.grid.size - 1)
    clustered: dict[str, Float] = {}
    for name, weight in fit.items():
        field = smooth_noise(land.grid.size, 14, rng)[rows, columns]
        clustered[name] = (weight * np.exp((1.5 if name == "apple" else 0.8) * field)).astype(np.float32)
    return clustered


def _draw(weights: Float, names: Sequence[str], rng: np.random.Generator) -> NDArray[np.str_]:
    cumulated = np.cumsum(weights, 1)
    pick = (rng.random(len(weights))[:, None] * cumulated[:, -1:] > cumulated).sum(1)
    return np.asarray(np.array(names)[np.minimum(pick, len(names) - 1)])


def _variants_of(names: NDArray[np.str_], rng: np.random.Generator) -> Ints:
    out = np.zeros(len(names), np.int32)
    for name in np.unique(names):
        options = [i for i, v in enumerate(crops.VARIANTS) if v.crop == name and v.share > 0]
        share = np.array([crops.VARIANTS[i].share for i in options])
        here = names == name
        out[here] = rng.choice(options, int(here.sum()), p=share / share.sum())
    return out


def _first_year(land: Landscape, suit: Mapping[str, Float], rng: np.random.Generator) -> Ints:
    names = list(crops.INITIAL_SHARE)
    weights = np.stack([suit[name] for name in names], 1).astype(np.float64)
    area = land.pixels[: land.n_parcels] / land.pixels[: land.n_parcels].sum()
    wanted = np.array(list(crops.INITIAL_SHARE.values()))
    # Scale the crops' weights until the expected areas are the wanted ones.
    for _ in range(60):
        chance = weights / weights.sum(1, keepdims=True)
        weights *= wanted / np.maximum(area @ chance, 1e-9)
    variant = _variants_of(_draw(weights.astype(np.float32), names, rng), rng)
    given_up = rng.random(land.n_parcels) < 0.01 + 0.1 * land.mean_slope[: land.n_parcels]
    variant[given_up] = crops.VARIANT["abandoned"]
    return variant


def _next_year(variant: Ints, suit: Mapping[str, Float], rng: np.random.Generator) -> Ints:
    out = variant.copy()
    for crop, followers in crops.ROTATION.items():
        here = np.flatnonzero(
            np.isin(variant, [i for i, v in enumerate(crops.VARIANTS) if v.crop == crop and not v.perennial])
        )
        if not len(here):
            continue
        names = list(followers)
        # Suitability bends the rotation (square root) and does not overrule it.
        weights = np.stack([followers[name] * np.sqrt(suit[name][here]) for name in names], 1)
        out[here] = _variants_of(_draw(weights.astype(np.float32), names, rng), rng)
    return out


def _stage_days(land: Landscape, variant: Ints, year: int, *, seed: int) -> Float:
    """Days of the stages, later with height, each parcel and year with its own delay."""
    rng = np.random.default_rng([seed, 3, year])
    days = np.full((len(variant), _STAGES), _NEVER, np.float32)
    own = np.clip(rng.normal(0, 6.0, len(variant)), -14, 14)
    season = np.clip(rng.normal(0, 3.0, len(crops.VARIANTS)), -6, 6)
    new_year = date(year, 1, 1).toordinal()
    for index, kind in enumerate(crops.VARIANTS):
        here = np.flatnonzero(variant == index)
        if not len(here):
            continue
        height = (land.height[here] - crops.REFERENCE_ELEVATION_M) / 100
        count = len(kind.stages)
        for place, stage in enumerate(kind.stages):
            day = date(year + stage.year, stage.month, stage.day).toordinal() - new_year
            # Sowing differs from field to field; what is perennial answers to the weather alone.
            luck = own[here] * (0.4 if kind.perennial else 1.0)
            delay = stage.per_100m * height + luck + season[index]
            # A perennial's year begins and ends with the calendar's, so that years join.
            ends = kind.perennial and place in (0, count - 1)
            days[here, place] = day + (0 if ends else delay)
        days[here, :count] = np.maximum.accumulate(days[here, :count], 1)
    return days


def _cut_short(earlier: Cropping, later: Cropping) -> Cropping:
    """Harvest in time: a crop leaves the field three days before the next one is sown."""
    annual = np.array([not variant.perennial for variant in crops.VARIANTS])
    both = annual[earlier.variant] & annual[later.variant]
    offset = date(later.year, 1, 1).toordinal() - date(earlier.year, 1, 1).toordinal()
    limit = np.where(both, later.days[:, 0] + offset - 3, _NEVER)
    days = np.where(earlier.days < _NEVER, np.minimum(earlier.days, limit[:, None]), _NEVER)
    return replace(earlier, days=days.astype(np.float32))


def _vigour(land: Landscape, variant: Ints, year: int, persistent: Float, *, seed: int) -> Float:
    """Leaf area relative to normal: soil of the parcel, weather of the year by crop, showers, management."""
    rng = np.random.default_rng([seed, 4, year])
    by_class = 1 + 0.08 * np.clip(rng.standard_normal(len(crops.CLASSES) + 1), -1.6, 1.6)
    rows = np.clip(land.y.astype(int), 0, land.grid.size - 1)
    columns = np.clip(land.x.astype(int), 0, land.grid.size - 1)
    showers = 0.07 * smooth_noise(land.grid.size, 60, rng)[rows, columns]
    own = rng.normal(0, 0.11, len(variant))
    weather = by_class[np.array(crops.VARIANT_CODE)[variant]]
    return np.asarray(np.clip(weather * (1 + persistent + showers + own), 0.45, 1.5), np.float32)


def _values(field: str) -> Float:
    table = np.zeros((len(crops.VARIANTS), _STAGES), np.float32)
    for index, variant in enumerate(crops.VARIANTS):
        for place, stage in enumerate(variant.stages):
            table[index, place] = getattr(stage, field)
    return table


_LAI, _CAB, _BROWN, _FLOWER = (_values(name) for name in ("lai", "cab", "brown", "flower"))
_PERENNIAL = np.array([variant.perennial for variant in crops.VARIANTS])


def field_state(plan: Mapping[int, Cropping], day: date) -> FieldState:
    """What stands on every segment on `day`; `plan` must hold the harvest years of that day and of the next.

    Between two stages every quantity is linear in time. Vigour acts on leaf area, and weakly on chlorophyll.
    """
    current = standing_crop(plan[day.year], day)
    coming = standing_crop(plan[day.year + 1], day)
    sown = coming.straw >= 0  # `standing_crop` marks "not there" with straw -1
    here = current.straw >= 0

    def chosen(name: str) -> Float:
        now, later = getattr(current, name), getattr(coming, name)
        return np.where(sown & ~here, later, np.where(here, now, 0)).astype(np.float32)

    lai, cab, brown, flower = chosen("lai"), chosen("cab"), chosen("brown"), chosen("flower")
    bare = ~(here | sown)
    straw, since = _stubble(plan, day, bare)
    weeds = np.where(bare & (since > 18), 0.22 * _warmth(day) * np.clip((since - 18) / 40, 0, 1), 0)
    return FieldState(
        variant=np.where(sown & ~here, coming.variant, current.variant).astype(np.int32),
        lai=(lai + weeds).astype(np.float32),
        cab=np.where(bare, 34, cab).astype(np.float32),
        brown=np.where(bare, 0.1, brown).astype(np.float32),
        flower=flower,
        film=np.maximum(_film(plan[day.year], day), _film(plan[day.year + 1], day)),
        straw=straw,
        stand=np.where(bare, 1, chosen("stand")).astype(np.float32),
    )


def standing_crop(cropping: Cropping, day: date) -> FieldState:
    """State of one harvest year's crop; straw is -1 where it does not stand on `day`."""
    now = np.float32(day.toordinal() - date(cropping.year, 1, 1).toordinal())
    days, variant = cropping.days, cropping.variant
    count = (days <= now).sum(1)
    low = np.clip(count - 1, 0, _STAGES - 2)
    n = np.arange(len(variant))
    start, end = days[n, low], days[n, low + 1]
    weight = np.clip((now - start) / np.maximum(end - start, 0.5), 0, 1)
    inside = (count > 0) & (now < cropping.last_day + np.where(_PERENNIAL[variant], 1, 0))
    weight = np.where(end < _NEVER, weight, 0)

    def between(table: Float) -> Float:
        return np.asarray((1 - weight) * table[variant, low] + weight * table[variant, low + 1], np.float32)

    vigour = cropping.vigour
    return FieldState(
        variant=variant,
        lai=between(_LAI) * vigour,
        cab=between(_CAB) * vigour ** np.float32(0.5),
        brown=between(_BROWN),
        flower=between(_FLOWER),
        film=np.zeros(len(variant), np.float32),
        straw=np.where(inside, 0, -1).astype(np.float32),
        # A weak stand also has gaps (缺苗断垄).
        stand=np.clip(1 - 0.5 * (1 - vigour), 0.65, 1).astype(np.float32),
    )


def _stubble(plan: Mapping[int, Cropping], day: date, bare: NDArray[np.bool_]) -> tuple[Float, Float]:
    """Share of straw on bare fields, and days since the last harvest (large where unknown)."""
    since = np.full(len(bare), 400.0, np.float32)
    for year in (day.year - 1, day.year):
        if year in plan:
            now = day.toordinal() - date(year, 1, 1).toordinal()
            gone = now - plan[year].last_day
            since = np.where((gone >= 0) & ~_PERENNIAL[plan[year].variant], np.minimum(since, gone), since)
    # Stubble is ploughed in over six weeks.
    straw = np.where(bare, 0.55 * np.clip(1 - since / 42, 0, 1), 0)
    return straw.astype(np.float32), since.astype(np.float32)


def _film(cropping: Cropping, day: date) -> Float:
    """Share of the ground brightened by plastic film; dust dulls it by 2 % in ten days."""
    out = np.zeros(len(cropping.variant), np.float32)
    jitter = 10 * (np.sin(np.arange(len(out)) * 12.9898) % 1) - 5
    for index, variant in enumerate(crops.VARIANTS):
        if variant.film is None:
            continue
        first, last, share = variant.film
        start = date(cropping.year + first[0], first[1], first[2]).toordinal() + jitter
        end = date(cropping.year + last[0], last[1], last[2]).toordinal()
        age = day.toordinal() - start
        here = (cropping.variant == index) & (age >= 0) & (day.toordinal() <= end)
        out[here] = share * (1 - 0.002 * np.clip(age[here], 0, 300))
    return out


def _warmth(day: date) -> float:
    """0 in winter to 1 at midsummer."""
    turn = 2 * np.pi * (day.timetuple().tm_yday - 205) / 365
    return float(np.clip(0.25 + 0.85 * np.cos(turn), 0, 1))
