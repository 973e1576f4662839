"""The disasters of a season: from the damage in the cubes to events, their evidence and their areas."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from eo_pipeline.cube.radar import BACKSCATTER, CHANNELS, DB_SCALE
from eo_pipeline.cube.smoothing import array_of
from eo_pipeline.cube.store import NODATA, TileStore
from eo_pipeline.grid import Block, Grid, TimeStep
from eo_pipeline.products.classify import CROP_TYPE
from eo_pipeline.products.curves import REGION
from eo_pipeline.products.disaster import UNJUDGED, Drop, canopy_loss
from eo_pipeline.products.disaster_events import (
    CELL,
    GRADES,
    INTERVAL_METHOD,
    Counts,
    Event,
    Hazard,
    Losses,
    Place,
    bounds_of,
    find_places,
    join_tiles,
)
from eo_pipeline.products.disaster_map import FLOOD_STEP, HAZARDS, event_array, read_drop
from eo_pipeline.products.thresholds import thresholds
from eo_pipeline.products.zonal import PixelAreas, ZoneUnit, zone_layers

#: The watch a hazard's loss is read from.
_WATCH: Final[Mapping[Hazard, str]] = {"frost": "spring", "hail": "summer", "flood": "summer"}
#: Crops that late frost harms, as they are named in season files; others stand for no evidence of it.
FROST_CROPS: Final = ("apple", "winter_wheat")
#: Crops that tell nothing of hail: mown several times a year, or under cover.
NO_WITNESS: Final = ("alfalfa", "vegetables")
#: A crop whose index rises by more while an event comes to be seen is still growing.
_RISE: Final = 0.15
#: Judged pixels from which a crop's share counts.
_COUNTS: Final = 50


@dataclass(frozen=True, slots=True)
class TileDamage:
    """One tile whose cube holds damage."""

    name: str
    grid: Grid
    blocks: tuple[Block, ...]
    steps: tuple[TimeStep, ...]
    store: TileStore
    medians: Mapping[int, Sequence[float]]
    radar: bool


@dataclass(slots=True)
class _Sums:
    """What is added up of one event over its blocks."""

    losses: Losses
    by_crop: dict[int, list[int]]  # fallen and judged pixels
    vh: dict[bool, list[float]]  # inside and around: sum and count of the change of VH
    later: NDArray[np.float64]  # [step, 2]: sum and count of the loss of canopy
    pixels: int = 0
    water: int = 0


def find_disasters(
    tiles: Sequence[TileDamage],
    *,
    hazards: Sequence[Hazard],
    crops: Mapping[int, str],
    units: Sequence[ZoneUnit],
    index: str,
) -> list[Event]:
    """Find the events of a season, and write each pixel's event number to the cubes.

    Floods first: what is under new water fell because of it. What else fell in summer is hail, where more
    than one crop did and the loss does not grow afterwards; and what fell in spring is frost, where the crops
    that feel it did. A fall that nobody can tell from a harvest, as of one crop alone, is no event.

    Parameters
    ----------
    crops : names of crop codes.
    units : counties; the whole region is always told.
    """
    grids = {tile.name: tile.grid for tile in tiles}
    found: list[tuple[Hazard, tuple[Place, ...]]] = []
    taken: list[Place] = []
    for hazard in ("flood", "frost", "hail"):
        if hazard not in hazards:
            continue
        places = [place for tile in tiles for place in _places(tile, hazard, taken)]
        groups = join_tiles(places, grids)
        found += [(hazard, group) for group in groups]
        if hazard == "flood":
            taken = places
    events: list[Event] = []
    for hazard, group in found:
        sums = _add_up(tiles, hazard, group, crops=crops, units=units, index=index)
        if not _believed(hazard, sums, group, crops=crops, medians=tiles[0].medians):
            continue
        number = 1 + sum(event.hazard == hazard for event in events)
        events.append(_event(hazard, group, sums, number=number, steps=tiles[0].steps, crops=crops))
    _write_numbers(tiles, events)
    return events


# ---- pixels of an event -------------------------------------------------------------------------------
def _fallen(tile: TileDamage, hazard: Hazard, block: Block) -> Drop:
    """What the hazard's watch found in a block; falls below the lowest grade are none."""
    drop = read_drop(tile.store, _WATCH[hazard], block)
    drop.step[drop.loss < round(thresholds()["disaster.affected"].value)] = 0
    return drop


def _places(tile: TileDamage, hazard: Hazard, taken: Sequence[Place]) -> list[Place]:
    counts = Counts.of(tile.grid, len(tile.steps))
    for block in tile.blocks:
        if hazard == "flood":
            step = tile.store.read(FLOOD_STEP, block)
            always = np.ones_like(step)
            counts.add(block, step, always, always * len(tile.steps))
        else:
            drop = _fallen(tile, hazard, block)
            for place in taken:
                if place.tile == tile.name and place.touches(block):
                    struck = place.mask(block) & (drop.step > place.first)
                    drop.step[struck] = 0
            counts.add(block, drop.step, drop.first, drop.last)
    areas = PixelAreas(tile.grid)
    middle = slice(tile.grid.height // 2, tile.grid.height // 2 + 1), slice(0, 1)
    cell_ha = float(areas.ha(*middle)[0, 0]) * CELL**2
    share = thresholds()["disaster.flood_share"].value if hazard == "flood" else None
    return find_places(tile.name, counts, cell_ha=cell_ha, share=share)


def _inside(
    tile: TileDamage, hazard: Hazard, place: Place, block: Block
) -> tuple[NDArray[np.bool_], NDArray[np.bool_], NDArray[np.uint8]]:
    """The place's pixels in a block; those of them that were hit; and the loss of each (255: unknown)."""
    within = place.mask(block)
    drop = _fallen(tile, hazard, block)
    first, last = place.first + 1, place.last + 1  # as `step` counts, from 1
    at_once = (drop.step >= first) & (drop.step <= last)
    # that nothing fell is known where it could have been seen on every step of the event
    judged = (drop.first > 0) & (drop.first <= first) & (drop.last >= last)
    lost = np.where(at_once, drop.loss, np.where(judged, 0, UNJUDGED)).astype(np.uint8)
    hit = within & at_once
    if hazard == "flood":
        water = tile.store.read(FLOOD_STEP, block)
        hit |= within & (water > 0)
    return within, hit, lost


def _add_up(
    tiles: Sequence[TileDamage],
    hazard: Hazard,
    group: Sequence[Place],
    *,
    crops: Mapping[int, str],
    units: Sequence[ZoneUnit],
    index: str,
) -> _Sums:
    steps = len(tiles[0].steps)
    sums = _Sums(Losses(), {}, {True: [0.0, 0], False: [0.0, 0]}, np.zeros((steps, 2)))
    for place in group:
        tile = next(item for item in tiles if item.name == place.tile)
        areas = PixelAreas(tile.grid)
        for block in tile.blocks:
            if not place.touches(block):
                continue
            within, hit, lost = _inside(tile, hazard, place, block)
            rim = place.rim(block)
            lost[rim] = 0
            mapped = tile.store.read(CROP_TYPE, block)
            ha = areas.ha(*block.slices)
            sums.pixels += int(hit.sum())
            if hazard == "flood":
                sums.water += int((within & (tile.store.read(FLOOD_STEP, block) > 0)).sum())
            for code in crops:
                here = within & (mapped == code)
                both = sums.by_crop.setdefault(code, [0, 0])
                both[0] += int((here & hit).sum())
                both[1] += int((here & (lost != UNJUDGED)).sum())
                # what stands in a flood's cells and stayed dry was not struck
                struck = here & hit if hazard == "flood" else here | (rim & (mapped == code))
                for unit, labels in _labelled(units, block.grid(tile.grid)):
                    own = struck & labels
                    if own.any():
                        sums.losses.add(unit, code, lost[own], ha[own])
            _follow(tile, place, block, index, hit=hit, within=within, mapped=mapped, sums=sums)
    return sums


def _labelled(units: Sequence[ZoneUnit], grid: Grid) -> Iterable[tuple[str, NDArray[np.bool_]]]:
    yield REGION, np.ones(grid.shape, dtype=bool)
    for layer in zone_layers(units, grid) if units else ():
        for number, unit in enumerate(layer.units, 1):
            yield unit.code, layer.labels == number


def _follow(
    tile: TileDamage,
    place: Place,
    block: Block,
    index: str,
    *,
    hit: NDArray[np.bool_],
    within: NDArray[np.bool_],
    mapped: NDArray[np.uint8],
    sums: _Sums,
) -> None:
    """How VH changed inside and around, and how the loss of canopy went on."""
    before, after = max(0, place.first - 1), min(place.last + 1, len(tile.steps) - 1)
    if tile.radar:
        for channel in (n for n, name in enumerate(CHANNELS) if name.startswith("VH")):
            pair = [tile.store.read(BACKSCATTER, block, number, channel) for number in (before, after)]
            seen = (pair[0] != NODATA) & (pair[1] != NODATA) & (mapped > 0)
            change = (pair[1].astype(np.float64) - pair[0]) / DB_SCALE
            for inside, where in ((True, hit), (False, ~within)):
                sums.vh[inside][0] += float(change[seen & where].sum())
                sums.vh[inside][1] += int((seen & where).sum())
    curves = tile.store.read_values(array_of(index), block)
    for code, median in tile.medians.items():
        here = hit & (mapped == code)
        if not here.any():
            continue
        own = curves[:, here]
        usual = np.asarray(median, dtype=np.float32)[:, None]
        aside = own[before] - usual[before]
        for number in range(place.last, len(tile.steps)):
            lost = canopy_loss(own[number], np.broadcast_to(usual[number] + aside, own[number].shape))
            known = np.isfinite(lost)
            sums.later[number] += float(lost[known].sum()), int(known.sum())


# ---- what is believed, and told -----------------------------------------------------------------------
def _believed(
    hazard: Hazard,
    sums: _Sums,
    group: Sequence[Place],
    *,
    crops: Mapping[int, str],
    medians: Mapping[int, Sequence[float]],
) -> bool:
    if hazard == "flood":
        return sums.water > 0
    share = {code: hit / judged for code, (hit, judged) in sums.by_crop.items() if judged >= _COUNTS}
    if hazard == "frost":
        feel = [value for code, value in share.items() if crops[code] in FROST_CROPS]
        rest = [value for code, value in share.items() if crops[code] not in FROST_CROPS]
        return bool(feel) and max(feel) > 1.5 * max(rest, default=0.0)
    least = thresholds()["disaster.hail_share"].value
    if _goes_on(sums.later) or not share:
        return False
    if len(share) == 1:
        return next(iter(share.values())) >= 2 * least
    # a harvest is of one crop; hail asks no crop
    struck = {code: value for code, value in share.items() if crops[code] not in NO_WITNESS}
    if not struck or np.median(list(struck.values())) < least:
        return False
    # fields that are shooting up lag behind for many reasons; a canopy that is there does not
    before, after = min(place.first for place in group) - 1, max(place.last for place in group) + 1
    full = [
        value
        for code, value in struck.items()
        if sums.by_crop[code][1] >= 4 * _COUNTS
        and medians[code][min(after, len(medians[code]) - 1)] - medians[code][max(0, before)] <= _RISE
    ]
    return bool(full) and min(full) >= 2 / 3 * least


def _goes_on(later: NDArray[np.float64]) -> bool:
    """Whether a loss is half as large again a month after: hail strikes once and then heals, drought goes
    on.
    """
    seen = np.flatnonzero(later[:, 1])
    if seen.size < 2:
        return False
    course = later[seen, 0] / later[seen, 1]
    return bool(course[min(3, len(course) - 1)] > 1.5 * course[0])


def _event(
    hazard: Hazard,
    group: tuple[Place, ...],
    sums: _Sums,
    *,
    number: int,
    steps: Sequence[TimeStep],
    crops: Mapping[int, str],
) -> Event:
    first, last = min(place.first for place in group), max(place.last for place in group)
    start, end = steps[max(0, first - 1)].start, steps[last].end
    (inside, n_in), (around, n_out) = sums.vh[True], sums.vh[False]
    radar: dict[str, Any] = {}
    if n_in and n_out:
        change = inside / n_in - around / n_out
        confirms = hazard != "flood" and change <= thresholds()["disaster.vh_confirms"].value
        radar = {"vh_change_db": round(change, 2)} | (
            {} if hazard == "flood" else {"confirmed_by_radar": bool(confirms)}
        )
    course = [
        {"date": steps[n].day.isoformat(), "mean_canopy_loss": round(float(total / count), 3)}
        for n, (total, count) in enumerate(sums.later)
        if count
    ]
    evidence: dict[str, Any] = {}
    if hazard == "flood":
        evidence = {"new_water_pixels": sums.water, "seen_by": "Sentinel-1, same direction of flight"}
    damage = {
        "pixels": sums.pixels,
        "hit_share_by_crop": {
            crops[code]: round(hit / judged, 3)
            for code, (hit, judged) in sorted(sums.by_crop.items())
            if judged
        },
        "course": course,
    } | radar
    identity = f"{hazard}-{end.year}-{number}"
    return Event(identity, hazard, group, start, end, evidence, damage, sums.losses.areas(crops))


def _write_numbers(tiles: Sequence[TileDamage], events: Sequence[Event]) -> None:
    for tile in tiles:
        for block in tile.blocks:
            numbers = {name: np.zeros((block.height, block.width), dtype=np.uint8) for name in HAZARDS}
            for number, event in enumerate(events, 1):
                for place in event.places:
                    if place.tile == tile.name and place.touches(block):
                        _, hit, _ = _inside(tile, event.hazard, place, block)
                        numbers[event.hazard][hit] = number
            for name, values in numbers.items():
                tile.store.write(event_array(name), block, values)


def with_hazard(event: Event, evidence: Mapping[str, Any]) -> Event:
    """An event with more evidence of its hazard."""
    return replace(event, hazard_evidence=dict(event.hazard_evidence) | dict(evidence))


def lonlat_bbox(event: Event, grids: Mapping[str, Grid]) -> tuple[float, float, float, float]:
    """West, south, east, north of an event, degrees."""
    from rasterio.warp import transform_bounds

    boxes = np.array(
        [
            transform_bounds(grids[place.tile].crs, "EPSG:4326", *bounds_of(place, grids[place.tile]))
            for place in event.places
        ]
    )
    low, high = boxes.min(axis=0), boxes.max(axis=0)
    return float(low[0]), float(low[1]), float(high[2]), float(high[3])


def disaster_rows(events: Sequence[Event]) -> list[dict[str, Any]]:
    """Rows of the table of estimates: hectares by hazard, grade, unit and crop, all events of a hazard."""
    total: dict[tuple[str, str, str, str], NDArray[np.float64]] = {}
    for event in events:
        for row in event.areas:
            key = row.unit, row.crop, event.hazard, row.grade
            total[key] = total.get(key, np.zeros(3)) + np.array([row.ha, row.low_ha, row.high_ha])
    order = {name: number for number, name in enumerate(GRADES)}
    return [
        {
            "product": "disaster",
            "crop": crop,
            "class": f"{hazard}_{grade}",
            "unit_adcode": unit,
            "value": round(float(ha), 4),
            "unit": "ha",
            "se": float("nan"),
            "ci_low": round(float(low), 4),
            "ci_high": round(float(high), 4),
            "method": INTERVAL_METHOD,
            "n_samples": 0,
            "monitorable_share": float("nan"),
        }
        for (unit, crop, hazard, grade), (ha, low, high) in sorted(
            total.items(), key=lambda item: (item[0][:3], order[item[0][3]])
        )
    ]
