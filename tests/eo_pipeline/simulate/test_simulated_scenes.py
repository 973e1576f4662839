"""Scenes: plausible spectra, clouds and shadows where they belong, stated errors of SCL."""

from __future__ import annotations

import itertools
from datetime import date, timedelta

import numpy as np
import pytest

from eo_pipeline.simulate import canopy, crops, scenes, sky
from eo_pipeline.simulate.calendar import field_state
from eo_pipeline.simulate.scenes import World

B = {name: index for index, name in enumerate(canopy.BAND_NAMES)}


def spectra(world: World, day: date) -> np.ndarray:
    state = field_state(world.plan, day)
    return scenes.segment_reflectance(world, state, sun_zenith=30.0, dryness=0.7)


def ndvi(r: np.ndarray) -> np.ndarray:
    return (r[..., B["B08"]] - r[..., B["B04"]]) / (r[..., B["B08"]] + r[..., B["B04"]])


def test_wheat_is_green_in_may_and_maize_in_august(world: World) -> None:
    code = world.plan[2026].code
    wheat, maize = code == crops.CODE["winter_wheat"], code == crops.CODE["spring_maize"]
    may, august = ndvi(spectra(world, date(2026, 5, 18))), ndvi(spectra(world, date(2026, 8, 5)))
    assert may[wheat].mean() > 0.75 and may[maize].mean() < 0.3
    assert august[maize].mean() > 0.75 and august[wheat].mean() < 0.35


def test_ripe_wheat_is_straw(world: World) -> None:
    """The day before harvest, a field is as dry as its stubble: NDVI 0.15-0.4, red above green."""
    cropping = world.plan[2026]
    wheat = np.flatnonzero(cropping.code == crops.CODE["winter_wheat"])[:5]
    for field in wheat:
        day = date(2026, 1, 1) + timedelta(days=int(cropping.last_day[field]) - 1)
        ripe = spectra(world, day)[field]
        assert 0.15 < ndvi(ripe) < 0.42 and ripe[B["B04"]] > ripe[B["B03"]]


def test_film_brightens_april(world: World) -> None:
    code = world.plan[2026].code
    april = spectra(world, date(2026, 4, 10))
    maize = april[code == crops.CODE["spring_maize"]][:, B["B02"]]
    potato = april[code == crops.CODE["potato"]][:, B["B02"]]  # bare soil then
    assert np.median(maize) > 1.25 * np.median(potato)


def test_rapeseed_blooms_yellow(world: World) -> None:
    """NDYI = (green - blue) / (green + blue) of rapeseed in bloom stands out (Sulik and Long 2016)."""
    code = world.plan[2026].code
    may = spectra(world, date(2026, 5, 6))
    ndyi = (may[:, B["B03"]] - may[:, B["B02"]]) / (may[:, B["B03"]] + may[:, B["B02"]])
    rape, wheat = code == crops.CODE["rapeseed"], code == crops.CODE["winter_wheat"]
    assert ndyi[rape].mean() > ndyi[wheat].mean() + 0.1


def test_apple_differs_from_wheat_and_from_bare_land(world: World) -> None:
    code = world.plan[2026].code
    apple = code == crops.CODE["apple"]
    days = [date(2026, 5, 15), date(2026, 7, 25), date(2026, 10, 5)]
    curve = [ndvi(spectra(world, day))[apple].mean() for day in days]
    assert 0.3 < curve[0] < curve[1] and curve[2] > 0.5
    wheat = ndvi(spectra(world, days[0]))[code == crops.CODE["winter_wheat"]].mean()
    assert curve[0] < wheat - 0.1


def test_a_clear_scene_shows_the_land(world: World) -> None:
    day = next(
        d
        for d in scenes.acquisition_days(date(2026, 4, 1), date(2026, 9, 30))
        if sky.cloud_cover(d, seed=7) == 0
    )
    scene = scenes.render(world, day)
    image = scene.reflectance / 10_000
    assert scene.reflectance.dtype == np.int16 and image.min() > 0 and image.max() < 0.8
    means = np.array([image[b][world.land.segment == 3].mean() for b in range(10)])
    truth = spectra(world, day)[3]
    assert means == pytest.approx(truth, abs=0.09)  # light on slopes, haze, blur and calibration are left
    # 20 m bands are 20 m
    coarse = scene.reflectance[B["B11"]]
    assert (coarse[::2, ::2] == coarse[1::2, 1::2]).all()
    assert (scene.reflectance[B["B04"]][::2, ::2] != scene.reflectance[B["B04"]][1::2, 1::2]).mean() > 0.9


def test_banks_run_along_fields_only(world: World) -> None:
    land = world.land
    field = land.segment < land.n_parcels
    assert world.bund[field].mean() > 0.03 and world.bund.max() <= 0.6
    far = ~field
    for axis in (0, 1):
        for step in (1, -1):
            far &= ~np.roll(field, step, axis)
    far[[0, -1]] = far[:, [0, -1]] = False  # what lies beyond the piece is unknown
    assert far.sum() > 500 and (world.bund[far] == 0).all()
    inner = np.zeros(field.shape, bool)
    inner[1:-1, 1:-1] = (land.segment[1:-1, 1:-1] == land.segment[:-2, 1:-1]) & (
        land.segment[1:-1, 1:-1] == land.segment[2:, 1:-1]
    )
    inner[:, 1:-1] &= (land.segment[:, 1:-1] == land.segment[:, :-2]) & (
        land.segment[:, 1:-1] == land.segment[:, 2:]
    )
    inner[:, [0, -1]] = False
    assert (world.bund[inner] == 0).all()


def test_misplacement_moves_by_the_part_of_a_pixel() -> None:
    ramp = np.broadcast_to(np.arange(12, dtype=np.float32), (1, 12, 12))
    moved = scenes._misplaced(ramp, np.array([0.7, -0.25]))
    assert moved[0, 3, 2:-2] == pytest.approx(ramp[0, 3, 2:-2] + 0.25)
    assert scenes._misplaced(ramp, np.zeros(2)) == pytest.approx(ramp)


def test_scene_is_repeatable_and_independent_of_the_season(world: World) -> None:
    day = date(2025, 10, 8)
    first, again = scenes.render(world, day), scenes.render(world, day)
    assert (first.reflectance == again.reflectance).all() and (first.scl == again.scl).all()
    shared = set(scenes.acquisition_days(date(2024, 9, 1), date(2025, 10, 31))) & set(
        scenes.acquisition_days(date(2025, 9, 1), date(2026, 10, 31))
    )
    assert len(shared) == 12


def test_days_are_five_apart() -> None:
    days = scenes.acquisition_days(date(2025, 9, 1), date(2026, 10, 31))
    assert len(days) == 85
    assert {b - a for a, b in itertools.pairwise(days)} == {timedelta(days=5)}


def test_shadow_lies_away_from_the_sun() -> None:
    sun = sky.Sun(zenith=40.0, azimuth=150.0)  # in the south-east: shadows fall to the north-west
    clouds = sky.draw_clouds(400, cover=0.3, sun=sun, rng=np.random.default_rng(3))
    cloud, shadow = clouds.opacity > 0.5, clouds.shadow > 0.3

    def overlap(down: int, right: int) -> float:
        moved = np.roll(cloud, (down, right), (0, 1))[90:-90, 90:-90]
        return float(np.corrcoef(moved.ravel(), shadow[90:-90, 90:-90].ravel())[0, 1])

    # the base height is unknown here: somewhere along the sun's azimuth the two agree
    north_west = max(overlap(round(-0.866 * k), round(-0.5 * k)) for k in range(40, 90))
    south_east = max(overlap(round(0.866 * k), round(0.5 * k)) for k in range(40, 90))
    assert north_west > 0.75 > south_east


def test_sun_of_pingliang() -> None:
    june, december = sky.sun_position(date(2026, 6, 21)), sky.sun_position(date(2026, 12, 21))
    assert june.zenith == pytest.approx(20.7, abs=1.0) and december.zenith == pytest.approx(61.7, abs=1.0)
    assert 100 < june.azimuth < 180 and 140 < december.azimuth < 180


def test_cloud_follows_the_month() -> None:
    def mean(month: int) -> float:
        days = [date(2000, month, 1) + timedelta(days=k) for k in range(28)]
        return float(np.mean([sky.cloud_cover(d, seed=s) for d in days for s in range(40)]))

    for month in (1, 5, 9):
        assert mean(month) == pytest.approx(sky.CLOUD_BY_MONTH[month - 1], abs=0.05)


def test_scl_errs_as_often_as_stated(world: World) -> None:
    """Over many cloudy scenes the shares missed are those of the table, give or take what blurring adds."""
    bands = np.full((10, 400, 400), 0.1, np.float32)
    bands[B["B08"]] = 0.4
    snow = np.zeros((400, 400), bool)
    counts = np.zeros((3, 2))
    for seed in range(12):
        rng = np.random.default_rng(seed)
        clouds = sky.draw_clouds(400, cover=0.4, sun=sky.Sun(35.0, 150.0), rng=rng)
        clear = np.isin(sky.classify_scene(bands, clouds, snow, rng=rng), sky.SCL_CLEAR)
        # what is thin and in another cloud's shadow may be flagged as either
        lit = clouds.shadow == 0
        thin = (clouds.opacity > sky.THIN) & (clouds.opacity <= sky.THICK) & lit
        thick = clouds.opacity > sky.THICK
        dark = (clouds.shadow > sky.DARK) & (clouds.opacity <= sky.THIN)
        for row, here in enumerate((thin, thick, dark)):
            counts[row] += (clear & here).sum(), here.sum()
    missed = counts[:, 0] / counts[:, 1]
    assert missed[0] == pytest.approx(sky.MISSED_THIN, abs=0.12)
    assert missed[1] <= sky.MISSED_THICK + 0.05
    assert missed[2] == pytest.approx(sky.MISSED_SHADOW, abs=0.12)


def test_quality_counts_what_it_says(world: World) -> None:
    shape = (4, 4)
    cloud, shadow, scl = np.zeros(shape, np.float32), np.zeros(shape, np.float32), np.full(shape, 4, np.uint8)
    cloud[0] = 0.9
    scl[0, :2] = 9  # half of the cloud is seen
    scl[3, 0] = 8  # one clear pixel of twelve is taken for cloud
    scene = scenes.Scene(date(2026, 5, 1), np.zeros((10, 4, 4), np.int16), scl, cloud, shadow, 30.0)
    quality = scene.quality()
    assert quality["cloud"] == 0.25 and quality["scl_missed"] == 0.5
    assert quality["scl_false"] == pytest.approx(1 / 12) and quality["scl_clear"] == pytest.approx(13 / 16)
