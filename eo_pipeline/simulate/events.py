"""Disasters of the twin: late frost, hail, drought and flood, where they strike and what they do to crops.

An event has a hazard (severity of every pixel) and, apart from it, the harm done to every field. Dates,
strengths and losses are our assumption in round numbers, made to be graded and not to be typical of a year.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from eo_pipeline.simulate import crops
from eo_pipeline.simulate.calendar import Cropping, FieldState, standing_crop
from eo_pipeline.simulate.landscape import PIXEL_M, USES, Landscape, smooth_noise

Float = NDArray[np.float32]
Kind = Literal["drought", "frost", "hail", "flood"]
Choice = Literal["none", "typical"]


#: First day, last day, severity of every pixel.
Drawn = tuple[date, date, Float]


@dataclass(frozen=True, slots=True)
class Response:
    """What harm 1 does to a canopy: share of leaf area lost, brown pigment gained, chlorophyll lost.

    It comes over `onset_days` (0: over the whole event) and goes back by `recovery` (0-1) within
    `recovery_days` after the end.
    """

    code: int
    zh: str
    leaf: float
    brown: float
    cab: float
    onset_days: int
    recovery: float
    recovery_days: int


RESPONSE: Final[Mapping[str, Response]] = {
    "drought": Response(1, "干旱", 0.60, 0.30, 0.30, 0, 0.30, 30),
    "frost": Response(2, "霜冻", 0.45, 0.40, 0.25, 4, 0.60, 40),
    "hail": Response(3, "冰雹", 0.75, 0.30, 0.10, 1, 0.35, 40),
    "flood": Response(4, "洪涝", 0.70, 0.45, 0.35, 6, 0.10, 40),
}
#: How much of the severity a crop feels, and the share of the yield that harm 1 takes.
_FELT: Final[Mapping[str, Mapping[str, float]]] = {
    "drought": {
        "winter_wheat": 0.7, "spring_maize": 0.95, "potato": 0.85, "apple": 0.55, "rapeseed": 0.5,
        "flax": 0.8, "millet_buckwheat": 0.55, "alfalfa": 0.75, "vegetables": 0.35,
    },
    "frost": {"winter_wheat": 0.9, "apple": 1.0},
    "hail": {
        "winter_wheat": 0.9, "spring_maize": 0.95, "potato": 0.85, "apple": 1.0, "rapeseed": 0.9,
        "flax": 0.9, "millet_buckwheat": 0.8, "alfalfa": 0.7, "vegetables": 0.9,
    },
    "flood": {
        "winter_wheat": 0.9, "spring_maize": 0.8, "potato": 1.0, "apple": 0.6, "rapeseed": 0.9,
        "flax": 0.9, "millet_buckwheat": 0.9, "alfalfa": 0.8, "vegetables": 1.0,
    },
}  # fmt: skip
_YIELD_LOSS: Final = {"drought": 0.75, "frost": 0.95, "hail": 0.90, "flood": 0.95}
#: Frost harms at these stages, and less and less within about ten days of them.
_FROST_STAGE: Final = {"apple": "full_bloom", "winter_wheat": "jointing"}
#: Days that water stands after a flood, going down.
_PONDING_DAYS: Final = 8


@dataclass(frozen=True, slots=True)
class Event:
    """One disaster of a harvest year, from `start` to `end`.

    `severity` 0-1 is the hazard of every pixel, whatever grows there; `harm` and `loss` belong to segments:
    how hard the canopy is hit, and the share of the yield that is lost (0-1).
    """

    id: str
    kind: Kind
    year: int
    start: date
    end: date
    severity: Float
    harm: Float
    loss: Float


def typical(
    land: Landscape, plan: Mapping[int, Cropping], years: Sequence[int], *, seed: int
) -> tuple[Event, ...]:
    """Frost, hail and flood in every season, and drought in the last one and every second before it."""
    found: list[Event] = []
    for year in years:
        rng = np.random.default_rng([seed, 12, year])
        drawn: dict[Kind, Drawn] = {
            "frost": _frost(land, plan[year], rng),
            "hail": _hail(land, year, rng),
            "flood": _flood(land, year, rng),
            "drought": _drought(land, year, rng),
        }
        if (years[-1] - year) % 2:
            del drawn["drought"]
        found += [_event(land, plan[year], kind, what) for kind, what in drawn.items()]
    return tuple(sorted(found, key=lambda event: (event.start, event.id)))


def _scaled(field: Float) -> Float:
    """To 0-1 between its 5th and 95th percentile."""
    low, high = np.percentile(field, (5, 95))
    return np.asarray(np.clip((field - low) / max(float(high - low), 1e-3), 0, 1), np.float32)


def _frost(land: Landscape, cropping: Cropping, rng: np.random.Generator) -> Drawn:
    """Radiation frost in the night of mean apple bloom: cold air lies on low and flat ground."""
    bloom = cropping.stage_day("full_bloom")[cropping.code == crops.CODE["apple"]]
    day = float(np.nanmedian(bloom)) if np.isfinite(bloom).any() else 111.0
    start = date(cropping.year, 1, 1) + timedelta(days=round(day))
    cold = 0.95 - 1.4 * _scaled(land.elevation) + 0.12 * smooth_noise(land.grid.size, 12, rng)
    return start, start + timedelta(days=1), np.clip(rng.uniform(0.8, 1.0) * cold, 0, 1).astype(np.float32)


def _hail(land: Landscape, year: int, rng: np.random.Generator) -> Drawn:
    """A swath from the north-west, a fifth of the piece wide, that begins and ends inside or near it."""
    size = land.grid.size
    rows, columns = np.mgrid[0:size, 0:size].astype(np.float32) / size
    heading = np.radians(rng.uniform(25, 60))
    row, column = rng.uniform(0.35, 0.65, 2)
    along = (columns - column) * np.cos(heading) + (rows - row) * np.sin(heading)
    across = -(columns - column) * np.sin(heading) + (rows - row) * np.cos(heading)
    width, length = rng.uniform(0.09, 0.13), rng.uniform(0.30, 0.45)
    core = np.exp(-((across / width) ** 2) - (along / length) ** 4)
    severity = rng.uniform(0.85, 1.0) * core * (1 + 0.15 * smooth_noise(size, 8, rng))
    start = date(year, 6, 25) + timedelta(days=int(rng.integers(0, 25)))
    return start, start, np.where(severity < 0.08, 0, np.clip(severity, 0, 1)).astype(np.float32)


def _drought(land: Landscape, year: int, rng: np.random.Generator) -> Drawn:
    """Dry from June to early August, worst on slopes that face south."""
    south = _scaled(-land.aspect_north)
    patchy = 0.10 * smooth_noise(land.grid.size, 40, rng)
    dry = rng.uniform(0.4, 0.6) * (0.55 + 0.3 * south + 0.15 * _scaled(land.elevation) + patchy)
    return date(year, 6, 8), date(year, 8, 6), np.clip(dry, 0, 1).astype(np.float32)


def _flood(land: Landscape, year: int, rng: np.random.Generator) -> Drawn:
    """The river rises by 2 to 3 m after a cloudburst in August: severity grows with depth."""
    from scipy.ndimage import distance_transform_edt

    start = date(year, 8, 14) + timedelta(days=int(rng.integers(0, 16)))
    level = rng.uniform(2.0, 3.0)
    river = land.use[land.segment] == USES.index("river")
    severity = np.zeros(river.shape, np.float32)
    if river.any():
        away, nearest = distance_transform_edt(~river, return_indices=True)
        above = land.elevation - land.elevation[tuple(nearest)]
        depth = np.where(away * PIXEL_M < 400, level - np.maximum(above, 0) - 0.004 * away * PIXEL_M, 0)
        severity = np.clip(depth / 1.5, 0, 1).astype(np.float32)
    return start, start + timedelta(days=5), severity


def _event(land: Landscape, cropping: Cropping, kind: Kind, drawn: Drawn) -> Event:
    """Harm and loss of every field: the mean severity on it, as far as its crop stands and feels it."""
    start, end, severity = drawn
    mean = np.bincount(land.segment.ravel(), severity.ravel(), minlength=len(land.use)) / land.pixels
    felt = np.zeros(len(crops.CLASSES) + 1)
    for name, share in _FELT[kind].items():
        felt[crops.CODE[name]] = share
    new_year = date(cropping.year, 1, 1).toordinal()
    first, last = start.toordinal() - new_year, end.toordinal() - new_year
    exposed = (cropping.days[:, 0] <= first) & (cropping.last_day > first)
    weight = exposed * felt[cropping.code] * (np.arange(len(mean)) < land.n_parcels)
    weight[cropping.variant == crops.VARIANT["vegetables_shed"]] = 0
    if kind == "frost":
        near = np.zeros(len(mean))
        for crop, stage in _FROST_STAGE.items():
            here = cropping.code == crops.CODE[crop]
            near[here] = np.exp(-(((cropping.stage_day(stage)[here] - first) / 10) ** 2))
        weight *= near
    elif kind == "drought":
        weight *= np.clip((np.minimum(cropping.last_day, last) - first) / (last - first), 0, 1)
    harm = np.clip(mean * weight, 0, 1).astype(np.float32)
    loss = (_YIELD_LOSS[kind] * harm).astype(np.float32)
    return Event(f"{kind}-{cropping.year}", kind, cropping.year, start, end, severity, harm, loss)


def strength(event: Event, day: date) -> float:
    """How much of an event's effect on canopies shows on `day`, 0-1."""
    answer = RESPONSE[event.kind]
    since = (day - event.start).days
    if since < 0:
        return 0.0
    onset = answer.onset_days or (event.end - event.start).days
    healed = answer.recovery * min(max((day - event.end).days / answer.recovery_days, 0.0), 1.0)
    return min((since + 1) / onset, 1.0) * (1 - healed)


def _hit(event: Event, cropping: Cropping, day: date) -> Float | None:
    """Harm that shows on `day` on every segment whose crop of that harvest year still stands."""
    shown = strength(event, day)
    if shown == 0:
        return None
    now = day.toordinal() - date(cropping.year, 1, 1).toordinal()
    return np.where(now <= cropping.last_day, event.harm * np.float32(shown), 0).astype(np.float32)


def damaged(
    state: FieldState, plan: Mapping[int, Cropping], events: Sequence[Event], day: date
) -> FieldState:
    """The state of the fields after what events have done to them until `day`."""
    for event in events:
        harm = _hit(event, plan[event.year], day)
        if harm is None:
            continue
        answer = RESPONSE[event.kind]
        state = replace(
            state,
            lai=state.lai * (1 - np.float32(answer.leaf) * harm),
            cab=state.cab * (1 - np.float32(answer.cab) * harm),
            brown=np.minimum(state.brown + np.float32(answer.brown) * harm, 1),
            flower=state.flower * (1 - harm) if event.kind in ("frost", "hail") else state.flower,
        )
    return state


def leaf_share(plan: Mapping[int, Cropping], events: Sequence[Event], year: int) -> Float:
    """Leaf area left by the events of a harvest year, as a share of the season's mean without them, (n,)."""
    cropping = plan[year]
    own = [event for event in events if event.year == year]
    if not own:
        return np.ones(len(cropping.variant), np.float32)
    whole, left = np.full(len(cropping.variant), 1e-6), np.full(len(cropping.variant), 1e-6)
    for number in range(0, 426, 6):
        day = date(year - 1, 9, 1) + timedelta(days=number)
        state = standing_crop(cropping, day)
        lai = np.where(state.straw >= 0, state.lai, 0)
        whole += lai
        for event in own:
            if (harm := _hit(event, cropping, day)) is not None:
                lai = lai * (1 - RESPONSE[event.kind].leaf * harm)
        left += lai
    return np.asarray(left / whole, np.float32)


def yield_loss(events: Sequence[Event], year: int, count: int) -> Float:
    """Share of the yield that the events of a harvest year took together, shape (count,)."""
    kept = np.ones(count, np.float32)
    for event in events:
        if event.year == year:
            kept = kept * (1 - event.loss)
    return np.asarray(1 - kept, np.float32)


def standing_water(events: Sequence[Event], day: date) -> Float | None:
    """Share of every pixel under flood water on `day`; None on most days."""
    for event in events:
        gone = (day - event.end).days
        if event.kind == "flood" and event.start <= day and gone < _PONDING_DAYS:
            left = 1 - max(gone, 0) / _PONDING_DAYS
            return np.asarray(np.clip(event.severity * 1.3 * left, 0, 0.95), np.float32)
    return None


def drying(events: Sequence[Event], day: date) -> float:
    """By how much the topsoil is drier (share of dry soil) on `day` because of a drought."""
    return sum(
        0.22 * float(event.severity.mean()) * strength(event, day)
        for event in events
        if event.kind == "drought" and event.start <= day <= event.end
    )
