"""Baselines of yield: lines found again, slopes drawn together, and what a unit never seen gets."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.yield_trend import BASELINES, unit_levelling, unit_line, unit_mean, unit_robust, unit_trend


def panel(units: int, years: int) -> tuple[np.ndarray, np.ndarray]:
    return np.repeat(np.arange(units), years), np.tile(np.arange(2000.0, 2000.0 + years), units)


def test_exact_lines_are_found_and_continued() -> None:
    unit, year = panel(4, 8)
    y = (100.0 * unit + (1.0 + unit) * (year - 2003))[:, None]
    ahead = np.full(4, 2015.0)
    expected = 100.0 * np.arange(4) + (1.0 + np.arange(4)) * 12
    for name in ("trend", "robust", "line", "levelling"):
        curves = BASELINES[name](unit, year, y, units=4)
        assert np.allclose(curves.at(np.arange(4), ahead)[:, 0], expected), name
    assert np.allclose(
        unit_mean(unit, year, y, units=4).at(np.arange(4), ahead)[:, 0], y.reshape(4, 8).mean(1)
    )


def test_a_unit_never_seen_gets_the_mean_curve_and_a_short_one_the_common_slope() -> None:
    unit, year = panel(3, 6)
    y = (10.0 * unit + 2.0 * (year - year.mean()))[:, None]
    keep = (unit != 2) | (year < 2002)  # two years of unit 2; nothing of unit 3
    curves = unit_line(unit[keep], year[keep], y[keep], units=4)
    said = curves.at(np.array([2, 3, -1]), np.full(3, 2010.0))[:, 0]
    assert said[0] == pytest.approx(20 + 2 * (2010 - year.mean()))
    assert said[1] == said[2] == pytest.approx(10 + 2 * (2010 - year.mean()))
    assert curves.spread[0] == pytest.approx(np.std([0, 10, 20]))


def test_slopes_that_differ_by_chance_alone_are_drawn_together() -> None:
    rng = np.random.default_rng(1)
    unit, year = panel(200, 10)
    noise = rng.normal(0, 5, len(unit))
    same = unit_trend(unit, year, (0.5 * (year - 2000) + noise)[:, None], units=200).slope[:, 0]
    own = unit_line(unit, year, (0.5 * (year - 2000) + noise)[:, None], units=200).slope[:, 0]
    assert same.std() < 0.3 * own.std()
    assert same.mean() == pytest.approx(0.5, abs=0.1)
    # where they truly differ they keep most of it
    true = rng.normal(0, 5, 200)
    kept = unit_trend(unit, year, (true[unit] * (year - 2000) + noise)[:, None], units=200).slope[:, 0]
    assert np.corrcoef(kept, true)[0, 1] > 0.98
    assert kept.std() == pytest.approx(true.std(), rel=0.1)


def test_one_bad_year_moves_no_robust_line() -> None:
    unit, year = panel(3, 9)
    y = (5.0 * unit + 1.5 * (year - 2000))[:, None]
    y[year == 2008] = -1000.0
    said = unit_robust(unit, year, y, units=3).at(np.arange(3), np.full(3, 2004.0))[:, 0]
    assert np.allclose(said, 5.0 * np.arange(3) + 6.0)
    assert abs(unit_trend(unit, year, y, units=3).at(np.array([0]), np.array([2004.0]))[0, 0] - 6) > 50


def test_yields_that_level_off_are_followed_and_straight_ones_are_not_bent() -> None:
    rng = np.random.default_rng(2)
    unit, year = panel(12, 12)
    curve = 6.0 - 2.0 * np.exp(-(year - 2000) / 5.5) + 0.1 * unit
    y = (curve + rng.normal(0, 0.05, len(unit)))[:, None]
    levelling = unit_levelling(unit, year, y, units=12)
    ahead = levelling.at(np.arange(12), np.full(12, 2014.0))[:, 0]
    truth = 6.0 - 2.0 * np.exp(-14 / 5.5) + 0.1 * np.arange(12)
    assert np.abs(ahead - truth).max() < 0.15
    assert (
        np.abs(unit_trend(unit, year, y, units=12).at(np.arange(12), np.full(12, 2014.0))[:, 0] - truth).min()
        > 0.3
    )
    straight = (0.1 * year + rng.normal(0, 0.2, 12)[(year - 2000).astype(int)])[:, None]
    line = unit_trend(unit, year, straight, units=12).at(unit, year)
    assert np.abs(unit_levelling(unit, year, straight, units=12).at(unit, year) - line).max() < 0.2


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.floats(-1000, 1000), st.floats(0.01, 100))
def test_baselines_follow_shift_and_scale_and_bear_holes(seed: int, shift: float, scale: float) -> None:
    rng = np.random.default_rng(seed)
    unit, year = panel(5, 7)
    y = rng.normal(50, 5, (35, 2))
    y[rng.random((35, 2)) < 0.2] = np.nan
    for name, fit in BASELINES.items():
        plain = fit(unit, year, y, units=6).at(np.arange(-1, 6), np.full(7, 2009.0))
        moved = fit(unit, year, shift + scale * y, units=6).at(np.arange(-1, 6), np.full(7, 2009.0))
        assert np.isfinite(plain).all(), name
        assert np.allclose(moved, shift + scale * plain, rtol=1e-6, atol=1e-6 * (1 + abs(shift) + scale)), (
            name
        )
