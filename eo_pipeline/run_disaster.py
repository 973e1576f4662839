"""The disasters of a run: its cubes handed to the search for events, and each held against the weather."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any, Final, cast

import numpy as np

from eo_pipeline.cube.store import NODATA, TileStore
from eo_pipeline.errors import WeatherError
from eo_pipeline.products.climate import hours_below, night_minimum
from eo_pipeline.products.disaster_events import Event, Hazard
from eo_pipeline.products.disaster_map import require_damage
from eo_pipeline.products.disaster_season import (
    FROST_CROPS,
    TileDamage,
    find_disasters,
    lonlat_bbox,
    with_hazard,
)
from eo_pipeline.products.growth_map import WHOLE
from eo_pipeline.products.thresholds import Threshold, thresholds
from eo_pipeline.products.weather import Weather, read_weather

if TYPE_CHECKING:
    from eo_pipeline.plan import Plan
    from eo_pipeline.run import SeasonRun

#: Rain of one day from which it is 暴雨 (GB/T 28592), and days before a flood's window that count.
_RAINSTORM_MM: Final = 50.0
_BEFORE: Final = timedelta(days=3)


def season_weather(plan: Plan) -> Weather | None:
    """The weather of a season's disasters; None where it names none.

    Raises
    ------
    WeatherError
        It cannot be read, or has a unit that cannot be true.
    """
    spec = plan.season.disaster
    if spec is None or spec.weather is None:
        return None
    return read_weather(spec.weather, bbox=plan.season.region.bbox)


def season_events(run: SeasonRun) -> list[Event]:
    """Find the events of a season; writes their maps to its cubes. None where it asks for none.

    Raises
    ------
    WeatherError
        The season's weather cannot be read, or has a unit that cannot be true.
    """
    plan, stages, spec = run.plan, run.stages, run.plan.season.disaster
    if spec is None:
        return []
    weather = season_weather(plan)
    medians = run.medians
    for tile in plan.tiles:
        require_damage(TileStore(stages.store(tile)), tile.layout)
    with run.timed("disaster"):
        run.engine.run("disaster", stages.disaster(medians, run.kept), task_bytes=plan.worker_bytes)
    tiles = [
        TileDamage(
            tile.name,
            tile.tile.grid,
            tile.blocks,
            tile.layout.steps,
            TileStore(stages.store(tile)),
            medians[tile.name],
            plan.season.source.radar is not None,
        )
        for tile in plan.tiles
    ]
    crops = {item.code: item.name for item in plan.season.classes if item.crop}
    events = find_disasters(
        tiles,
        hazards=cast(tuple[Hazard, ...], spec.hazards),
        crops=crops if plan.season.classify else {WHOLE: ""},
        units=stages.units,
        index=plan.season.growth.index,
    )
    grids = {tile.name: tile.grid for tile in tiles}
    terrain = plan.season.source.terrain is not None
    return [
        with_hazard(event, _evidence(event, weather, lonlat_bbox(event, grids), tiles, terrain=terrain))
        for event in events
    ]


def _evidence(
    event: Event,
    weather: Weather | None,
    bbox: tuple[float, float, float, float],
    tiles: Sequence[TileDamage],
    *,
    terrain: bool,
) -> dict[str, Any]:
    """What the weather tells of an event; says so where it tells nothing."""
    if event.hazard == "hail":
        return {"weather": "no record of hail is read; compare warnings, radar and reports"}
    if weather is None:
        return {"weather": "none given: set [disaster] weather"}
    try:
        if event.hazard == "frost":
            return _frost(event, weather, bbox, _height(event, tiles) if terrain else None)
        return _rain(event, weather)
    except WeatherError as error:
        return {"weather": str(error)}


def _days(weather: Weather, first: date, last: date) -> np.ndarray[Any, np.dtype[np.intp]]:
    found = np.flatnonzero((weather.days >= np.datetime64(first)) & (weather.days <= np.datetime64(last)))
    if not found.size:
        raise WeatherError(
            f"{weather.source} goes from {weather.days[0]} to {weather.days[-1]}: not one day of {first} "
            f"to {last} is in it."
        )
    return found


def _frost(
    event: Event, weather: Weather, bbox: tuple[float, float, float, float], height: float | None
) -> dict[str, Any]:
    """The coldest night of the event's window at its middle, at the mean height of its pixels."""
    tmin = weather.values("tmin")
    days = _days(weather, event.start, event.end)
    lon, lat = np.array([(bbox[0] + bbox[2]) / 2]), np.array([(bbox[1] + bbox[3]) / 2])
    heights = [site.elevation_m for site in weather.sites]
    ground = np.array([float(np.nanmean(heights)) if height is None else height])
    nights = {}
    lacking = 0
    for day in days.tolist():
        if not np.isfinite(tmin[:, day]).any():
            lacking += 1
            continue
        nights[day] = night_minimum(weather.sites, tmin[:, day], lon=lon, lat=lat, elevation=ground)
    if not nights:
        raise WeatherError(f"{weather.source}: no site measured a minimum from {event.start} to {event.end}.")
    coldest = min(nights, key=lambda day: float(nights[day].tmin[0]))
    night = nights[coldest]
    value = float(night.tmin[0])
    limits = {name: thresholds()[f"frost.{name}"] for name in FROST_CROPS}
    highest = max(limits.values(), key=lambda row: row.value)
    hours = None
    if weather.tmax is not None and np.isfinite(weather.tmax[:, coldest]).any():
        top = np.array([float(np.nanmean(weather.tmax[:, coldest]))])
        hours = round(float(hours_below(highest.value, np.array([value]), np.maximum(top, value))[0]), 1)
    return {
        "weather": weather.source.rpartition("/")[2],
        "coldest_night": str(weather.days[coldest]),
        "tmin_c": round(value, 1),
        "tmin_error_c": round(night.error, 1),
        "stations": night.stations,
        "lapse_c_per_km": round(night.lapse, 1),
        "hours_below_limit": hours,
        "days_without_data": lacking,
        "limits": {name: _limit(row) for name, row in limits.items()},
        "supported": bool(value - 1.96 * night.error <= highest.value),
    }


def _limit(row: Threshold) -> dict[str, Any]:
    return {
        "value": row.value,
        "unit": row.unit,
        "standard": row.standard,
        "verified_by": row.verified_by,
        "on_trial": row.on_trial,
    }


def _height(event: Event, tiles: Sequence[TileDamage]) -> float | None:
    """Mean height of an event's cells, metres; None where the model does not reach."""
    total, count = 0.0, 0
    for place in event.places:
        tile = next(item for item in tiles if item.name == place.tile)
        for block in tile.blocks:
            if place.touches(block):
                heights = tile.store.read("elevation", block)
                known = place.mask(block) & (heights != NODATA)
                total += float(heights[known].sum())
                count += int(known.sum())
    return total / count if count else None


def _rain(event: Event, weather: Weather) -> dict[str, Any]:
    """The wettest day of any site in the event's window and the three days before."""
    rain = weather.values("rain")
    days = _days(weather, event.start - _BEFORE, event.end)
    window = rain[:, days]
    if not np.isfinite(window).any():
        raise WeatherError(
            f"{weather.source}: no site measured rain from {event.start - _BEFORE} to {event.end}."
        )
    site, day = np.unravel_index(int(np.nanargmax(window)), window.shape)
    most = float(window[site, day])
    return {
        "weather": weather.source.rpartition("/")[2],
        "wettest_day": str(weather.days[days[day]]),
        "rain_mm": round(most, 1),
        "site": weather.sites[int(site)].id,
        "limit_mm": _RAINSTORM_MM,
        "days_without_data": int((~np.isfinite(window).any(axis=0)).sum()),
        "supported": most >= _RAINSTORM_MM,
    }
