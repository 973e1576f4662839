"""Growth classes, their references, and shares that sum to 100."""

from __future__ import annotations

from datetime import date, timedelta

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from eo_pipeline.products.growth import (
    NOT_MONITORABLE,
    align_baseline,
    assess_growth,
    growing_period,
    growth_shares,
    histogram_quantile,
    index_histogram,
    round_to_100,
    usual_spread,
)
from eo_pipeline.products.thresholds import any_on_trial, thresholds

MEDIAN = np.array([0.2, 0.3, 0.6, 0.8, 0.6, 0.2], dtype=np.float32)
PERIOD = growing_period(MEDIAN)


def scene(factors: list[float]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """One row of wheat pixels whose curves are the median times a factor; crop map; clear everywhere."""
    index = MEDIAN[:, None, None] * np.array(factors, dtype=np.float32)[None, None, :]
    return index, np.ones((1, len(factors)), np.uint8), np.ones(index.shape, bool)


def test_five_classes_against_peers() -> None:
    index, crops, clear = scene([0.80, 0.90, 1.00, 1.10, 1.20])
    growth = assess_growth(index, crops, references={1: MEDIAN}, periods={1: PERIOD}, clear=clear)
    assert growth.classes.tolist() == [[1, 2, 3, 4, 5]]
    np.testing.assert_allclose(growth.anomaly, [[-20, -10, 0, 10, 20]], atol=1e-3)


def test_a_baseline_is_taken_pixel_by_pixel() -> None:
    index, crops, clear = scene([1.0, 1.0])
    baseline = np.concatenate([index[:, :, :1] / 1.08, index[:, :, 1:] * 1.25], axis=2)
    growth = assess_growth(index, crops, references={1: baseline}, periods={1: PERIOD}, clear=clear)
    assert growth.classes.tolist() == [[4, 1]]
    np.testing.assert_allclose(growth.anomaly, [[8, -20]], atol=1e-3)


def test_what_was_not_seen_is_not_monitorable() -> None:
    index, crops, clear = scene([1.0, 1.0, 1.0])
    age = np.zeros(index.shape, np.int16)
    clear[PERIOD, 0, 0] = False
    age[:, 0, 1] = int(thresholds()["growth.max_age"].value) + 1
    growth = assess_growth(
        index, crops, references={1: MEDIAN}, periods={1: PERIOD}, clear=clear, age_days=age
    )
    assert growth.classes.tolist() == [[NOT_MONITORABLE, NOT_MONITORABLE, 3]]
    assert np.isnan(growth.anomaly[0, :2]).all()


def test_bare_ground_and_unknown_curves_are_not_monitorable_and_other_land_is_nothing() -> None:
    index, crops, clear = scene([1.0, 1.0, 1.0])
    index[:, 0, 0] = np.nan
    crops[0, 2] = 9
    bare = np.full(6, 0.1, np.float32)
    growth = assess_growth(index, crops, references={1: MEDIAN}, periods={1: PERIOD}, clear=clear)
    assert growth.classes.tolist() == [[NOT_MONITORABLE, 3, 0]]
    growth = assess_growth(index, crops, references={1: bare}, periods={1: PERIOD}, clear=clear)
    assert growth.classes.tolist() == [[NOT_MONITORABLE, NOT_MONITORABLE, 0]]


def test_the_growing_period_is_one_stretch_around_the_peak() -> None:
    median = np.array([0.6, 0.2, 0.2, 0.5, 0.8, np.nan, 0.7, 0.2], dtype=np.float32)
    assert growing_period(median).tolist() == [False, False, False, True, True, False, False, False]
    assert not growing_period(np.full(4, np.nan, np.float32)).any()


def test_the_median_of_blocks_is_that_of_the_whole() -> None:
    rng = np.random.default_rng(2)
    index = rng.uniform(-0.2, 0.95, (3, 50, 60)).astype(np.float32)
    index[rng.random(index.shape) < 0.2] = np.nan
    crops = rng.integers(1, 3, (50, 60)).astype(np.uint8)
    parts = sum(index_histogram(index[:, :, s], crops[:, s], [1, 2]) for s in (slice(0, 13), slice(13, 60)))
    assert isinstance(parts, np.ndarray)
    np.testing.assert_array_equal(parts, index_histogram(index, crops, [1, 2]))
    for q in (0.25, 0.5, 0.75):
        expected = [np.nanquantile(index[:, crops == code], q, axis=1) for code in (1, 2)]
        np.testing.assert_allclose(histogram_quantile(parts, q), expected, atol=0.003)
    assert np.isnan(histogram_quantile(np.zeros((1, 1, 750), np.int64), 0.5)).all()


def test_baseline_by_calendar_and_leap_day() -> None:
    dates = [date(2023, 2, 1) + timedelta(days=10 * i) for i in range(6)]
    curve = np.arange(6, dtype=np.float32)[:, None, None]
    same = [date(2024, 2, 1), date(2024, 2, 16), date(2024, 2, 29), date(2024, 6, 1)]
    got = align_baseline(curve, dates, same)[:, 0, 0]
    np.testing.assert_allclose(got[:3], [0, 1.5, 2.7], atol=1e-6)
    assert np.isnan(got[3])


def test_baseline_by_heat_sum_follows_an_early_spring() -> None:
    dates = [date(2025, 4, 1) + timedelta(days=10 * i) for i in range(4)]
    now = [d.replace(year=2026) for d in dates]
    curve = np.array([0.2, 0.4, 0.6, 0.8], dtype=np.float32)[:, None, None]
    gdd, warm = np.array([0.0, 100, 200, 300]), np.array([50.0, 150, 250, 350])
    got = align_baseline(curve, dates, now, gdd=gdd, target_gdd=warm)[:, 0, 0]
    np.testing.assert_allclose(got[:3], [0.3, 0.5, 0.7], atol=1e-6)
    assert np.isnan(got[3])
    with pytest.raises(ValueError, match="both seasons"):
        align_baseline(curve, dates, now, gdd=gdd)


@given(arrays(np.float64, 5, elements=st.floats(0, 1e7)))
@settings(max_examples=200)
def test_shares_sum_to_100_exactly_and_stay_close(parts: np.ndarray) -> None:
    if parts.sum() <= 0:
        with pytest.raises(ValueError, match="sum to 0"):
            round_to_100(parts)
        return
    shares = round_to_100(parts)
    assert sum(round(share * 10) for share in shares) == 1000
    np.testing.assert_allclose(shares, 100 * parts / parts.sum(), atol=0.1)


def test_shares_are_of_the_monitorable_area() -> None:
    shares = growth_shares(np.array([50.0, 2.0, 0.0, 4.0, 0.0, 2.0, 8.0]))
    assert shares.percent == {"poor": 25.0, "fair": 0.0, "normal": 50.0, "good": 0.0, "very_good": 25.0}
    assert (shares.monitorable_share, shares.monitorable_ha) == (0.5, 8.0)
    nothing = growth_shares(np.array([1.0, 0, 0, 0, 0, 0, 3.0]))
    assert nothing.percent == {} and nothing.monitorable_share == 0.0


def test_every_threshold_names_its_unit_and_unverified_ones_are_on_trial() -> None:
    for row in thresholds().values():
        assert row.unit and row.note, row.key
        assert row.on_trial == (row.verified_by == "" or row.verified_on == "")
    assert any_on_trial("growth.")


# ---- against a climatology -------------------------------------------------------------------------------
@pytest.mark.parametrize("n", [2, 3, 5, 10, 40])
def test_the_spread_of_few_seasons_is_on_average_that_of_many(n: int) -> None:
    """200 000 climatologies of n seasons with deviation 0.1: the estimate is right, whatever n."""
    draws = np.random.default_rng(n).normal(0.5, 0.1, (n, 200_000)).astype(np.float32)
    low, high = np.quantile(draws, (0.25, 0.75), axis=0).astype(np.float32)
    count = np.full(low.shape, n, np.uint8)
    expected = 0.1 * np.sqrt(1 + np.pi / 2 / n)
    assert usual_spread(low, high, count).mean() == pytest.approx(expected, rel=0.05)


def test_one_season_has_no_spread() -> None:
    one = np.array([0.5], np.float32)
    assert np.isnan(usual_spread(one, one, np.array([1], np.uint8))).all()
    assert np.isnan(usual_spread(one, one, np.array([0], np.uint8))).all()


def test_usual_seasons_fall_into_the_classes_as_often_as_they_should() -> None:
    """Of seasons drawn as the past ones were, half are normal, a quarter each better and worse."""
    rng = np.random.default_rng(3)
    past, now = rng.normal(0.6, 0.1, (30, 50_000)), rng.normal(0.6, 0.1, (1, 50_000)).astype(np.float32)
    low, usual, high = np.quantile(past, (0.25, 0.5, 0.75), axis=0).astype(np.float32)[:, None, None]
    spread = usual_spread(low, high, np.full(low.shape, 30, np.uint8))
    growth = assess_growth(
        now[None],
        np.ones(now.shape, np.uint8),
        references={1: usual},
        periods={1: np.ones(1, bool)},
        clear=np.ones((1, *now.shape), bool),
        spread=spread,
    )
    shares = np.bincount(growth.classes.ravel(), minlength=7)[1:6] / now.size
    np.testing.assert_allclose(shares, [0.05, 0.20, 0.50, 0.20, 0.05], atol=0.02)
    np.testing.assert_allclose(growth.anomaly, 100 * (now / usual[0] - 1), atol=1e-3)


def test_the_same_loss_counts_less_where_years_differ_more() -> None:
    index, crops, clear = scene([0.85, 0.85, 0.85, 0.85])
    usual = np.broadcast_to(MEDIAN[:, None, None], index.shape)
    spread = np.broadcast_to(np.array([0.001, 0.08, 0.3, np.nan], np.float32), index.shape)
    growth = assess_growth(
        index, crops, references={1: usual}, periods={1: PERIOD}, clear=clear, spread=spread
    )
    # the mean over the period falls from 0.667 to 0.567: by 3.3 of the least spread, 1.25, and 0.33
    assert growth.classes.tolist() == [[1, 2, 3, NOT_MONITORABLE]]
    np.testing.assert_allclose(growth.anomaly[0, :3], -15, atol=1e-3)
    assert np.isnan(growth.anomaly[0, 3])
