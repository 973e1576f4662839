"""Radar of the twin: the water-cloud model, slopes, water and speckle."""

from __future__ import annotations

import itertools
from dataclasses import replace
from datetime import date, timedelta

import numpy as np
import pytest

from eo_pipeline.simulate import crops, events, landscape, radar
from eo_pipeline.simulate.scenes import World

UP, DOWN = radar.TRACKS


def db(values: np.ndarray) -> float:
    return float(10 * np.log10(values.mean()))


def test_vegetation_raises_vh(world: World) -> None:
    maize = world.plan[2026].code[world.land.segment] == crops.CODE["spring_maize"]
    june, august = (
        radar.without_speckle(world, radar.Pass(date(2026, m, d), UP)) for m, d in ((5, 10), (8, 5))
    )
    assert db(august.vh[maize]) > db(june.vh[maize]) + 2
    for scene in (june, august):
        assert -14 < db(scene.vv[maize]) < -6 and -22 < db(scene.vh[maize]) < -12


def test_wet_soil_is_bright_where_it_is_bare(world: World) -> None:
    days = [date(2026, 3, 1) + timedelta(days=k) for k in range(60)]
    moisture = [radar.soil_moisture(world, day) for day in days]
    assert 0.04 <= min(moisture) < max(moisture) <= 0.42 and max(moisture) > min(moisture) + 0.05
    wet, dry = days[int(np.argmax(moisture))], days[int(np.argmin(moisture))]
    bare = world.plan[2026].code[world.land.segment] == crops.CODE["potato"]  # not yet sown
    brighter = [db(radar.without_speckle(world, radar.Pass(day, UP)).vv[bare]) for day in (wet, dry)]
    assert brighter[0] - brighter[1] == pytest.approx(24 * (max(moisture) - min(moisture)), rel=0.35)


def test_slopes_toward_the_radar_are_seen_steeply(world: World) -> None:
    up, down = radar.local_incidence(world.land, UP), radar.local_incidence(world.land, DOWN)
    flat = world.land.slope < 0.02
    assert up[flat].mean() == pytest.approx(UP.incidence, abs=1.5)
    west = (world.land.aspect_east < -0.2) & (abs(world.land.aspect_north) < 0.1)
    # ascending, it looks to the east: slopes that face west face it
    assert up[west].mean() < UP.incidence - 8 and down[west].mean() > DOWN.incidence + 8


def test_speckle_has_the_stated_looks_and_no_bias(world: World) -> None:
    overpass = radar.Pass(date(2026, 6, 11), DOWN)
    clean, noisy = radar.without_speckle(world, overpass), radar.render(world, overpass)
    for name in ("vv", "vh"):
        ratio = getattr(noisy, name) / getattr(clean, name)
        assert ratio.mean() == pytest.approx(1, abs=0.01)
        assert 1 / ratio.var() == pytest.approx(radar.LOOKS, rel=0.05)
    other = noisy.vv / clean.vv, noisy.vh / clean.vh
    assert abs(np.corrcoef(other[0].ravel(), other[1].ravel())[0, 1]) < 0.02
    again = radar.render(world, overpass)
    assert (again.vv == noisy.vv).all()
    assert (radar.render(world, radar.Pass(overpass.day, UP)).vv != noisy.vv).mean() > 0.99


def test_flood_is_dark(world: World) -> None:
    struck = replace(world, events=events.typical(world.land, world.plan, [2026], seed=7))
    flood = next(e for e in struck.events if e.kind == "flood")
    deep = (flood.severity > 0.9) & (world.land.use[world.land.segment] == landscape.USES.index("field"))
    overpass = radar.Pass(flood.start + timedelta(days=1), UP)
    wet, dry = radar.without_speckle(struck, overpass), radar.without_speckle(world, overpass)
    assert db(wet.vv[deep]) < db(dry.vv[deep]) - 5


def test_rounding_is_finer_than_a_hundredth_of_a_decibel() -> None:
    values = np.geomspace(1e-4, 10, 5000).astype(np.float32)
    assert abs(10 * np.log10(radar._rounded(values) / values)).max() < 0.002
    nodata = np.array([radar.NODATA], np.float32)
    assert radar._rounded(nodata)[0] == radar.NODATA


def test_passes_come_every_twelve_days_in_each_direction() -> None:
    found = radar.passes(date(2025, 9, 1), date(2026, 10, 31))
    for track in radar.TRACKS:
        days = [item.day for item in found if item.track == track]
        steps = {later - day for day, later in itertools.pairwise(days)}
        assert steps == {timedelta(days=12)} and len(days) > 34
    assert all((item.absolute - 73) % 175 + 1 == item.track.relative for item in found)
    assert len({item.id for item in found}) == len(found)
