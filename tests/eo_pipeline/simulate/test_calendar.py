"""Crops, their years and their stages."""

from __future__ import annotations

from datetime import date, timedelta

import numpy as np
import pytest

from eo_pipeline.simulate import calendar, crops
from eo_pipeline.simulate.scenes import World


def test_stage_tables_run_forward() -> None:
    for variant in crops.VARIANTS:
        days = [date(2026 + s.year, s.month, s.day) for s in variant.stages]
        assert days == sorted(days) and len(set(days)) == len(days), variant.name
        assert sum(v.share for v in crops.VARIANTS if v.crop == variant.crop) in (0, pytest.approx(1)), (
            variant.crop
        )


def test_every_parcel_has_one_class_and_rotation_is_followed(world: World) -> None:
    n = world.land.n_parcels
    for year in (2024, 2025, 2026):
        before, after = world.plan[year].code[:n], world.plan[year + 1].code[:n]
        assert set(before) <= set(crops.NAME)
        for crop, followers in crops.ROTATION.items():
            here = before == crops.CODE[crop]
            if crop == "vegetables":  # sheds stay
                continue
            assert {crops.NAME[int(c)] for c in after[here]} <= set(followers)
        for crop in ("apple", "alfalfa", "other"):
            assert ((before == crops.CODE[crop]) == (after == crops.CODE[crop])).all()


def test_all_ten_classes_grow(world: World) -> None:
    assert set(world.plan[2026].code) == set(crops.NAME)


def test_stages_come_later_with_height(world: World) -> None:
    cropping = world.plan[2026]
    days, height = cropping.stage_day("heading"), world.land.height
    here = (cropping.code == crops.CODE["winter_wheat"]) & np.isfinite(days)
    slope = np.polyfit(height[here] / 100, days[here], 1)[0]
    assert 2.0 <= slope <= 5.0  # days per 100 m, of which 3.5 are meant and the rest is the fields' own luck
    sowing = cropping.stage_day("sowing")
    assert np.polyfit(height[here] / 100, sowing[here], 1)[0] < 0  # and winter wheat is sown earlier up there


def test_without_luck_heading_is_monotone_in_height(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same crop on the same day of luck: every metre up is later."""

    class NoLuck:
        def normal(self, mean: float, sd: float, size: int) -> np.ndarray:
            return np.full(size, mean)

    monkeypatch.setattr(calendar.np.random, "default_rng", lambda seed: NoLuck())
    variant = np.full(len(world.land.use), crops.VARIANT["winter_wheat"], np.int32)
    days = calendar._stage_days(world.land, variant, 2026, seed=1)
    order = np.argsort(world.land.height)
    heading = [s.name for s in crops.VARIANTS[0].stages].index("heading")
    assert (np.diff(days[order, heading]) >= 0).all()
    assert days[order, heading][-1] > days[order, heading][0]


def test_stage_days_rise_and_no_two_crops_share_a_field(world: World) -> None:
    for year in (2025, 2026):
        now, following = world.plan[year], world.plan[year + 1]
        known = now.days < calendar._NEVER
        assert (np.diff(now.days, axis=1)[known[:, 1:]] >= 0).all()
        annual = ~calendar._PERENNIAL[now.variant] & ~calendar._PERENNIAL[following.variant]
        gap = following.days[:, 0] + 365 - now.last_day
        assert (gap[annual] >= 2.5).all()


def test_leaf_area_tells_the_seasons(world: World) -> None:
    code = world.plan[2026].code
    wheat, maize = code == crops.CODE["winter_wheat"], code == crops.CODE["spring_maize"]
    may, august = (calendar.field_state(world.plan, date(2026, m, 20)).lai for m in (5, 8))
    assert may[wheat].mean() > 3 and may[maize].mean() < 0.5
    assert august[maize].mean() > 3 and august[wheat].mean() < 0.5


def test_alfalfa_is_cut_three_times(world: World) -> None:
    field = np.flatnonzero(world.plan[2026].code == crops.CODE["alfalfa"])[0]
    days = [date(2026, 4, 15) + timedelta(days=k) for k in range(170)]
    lai = np.array([calendar.field_state(world.plan, day).lai[field] for day in days])
    drops = lai[3:] - lai[:-3] < -1.0
    assert np.sum(drops[1:] & ~drops[:-1]) == 3


def test_film_lies_before_maize_and_straw_after_wheat(world: World) -> None:
    code = world.plan[2026].code
    maize, wheat = code == crops.CODE["spring_maize"], code == crops.CODE["winter_wheat"]
    april = calendar.field_state(world.plan, date(2026, 4, 10))
    under_film = np.array([v.film is not None for v in crops.VARIANTS])[world.plan[2026].variant]
    assert (april.film[maize & under_film] > 0.3).all() and (april.film[~under_film] == 0).all()
    assert 0.8 < np.mean(under_film[maize]) < 1
    late_july = calendar.field_state(world.plan, date(2026, 8, 1))
    assert np.mean(late_july.straw[wheat] > 0.1) > 0.8


def test_rotation_is_repeatable(world: World) -> None:
    again = calendar.rotate(world.land, range(2024, 2028), seed=7)
    for year, cropping in world.plan.items():
        assert (again[year].variant == cropping.variant).all()
        assert (again[year].days == cropping.days).all() and (again[year].vigour == cropping.vigour).all()
