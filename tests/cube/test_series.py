"""The Whittaker smoother: what it must leave alone, what it must agree with, and what it does with gaps."""

from __future__ import annotations

from datetime import date, timedelta

import numpy as np
import pytest
import scipy.sparse
import scipy.sparse.linalg
from hypothesis import given, settings
from hypothesis import strategies as st

from eo_pipeline.cube.series import smooth

START = date(2025, 9, 1)
uneven_days = st.lists(st.integers(0, 400), min_size=4, max_size=30, unique=True).map(sorted)


def on(days: list[int]) -> list[date]:
    return [START + timedelta(days=d) for d in days]


def reference(y: np.ndarray, days: list[int], lam: float) -> np.ndarray:
    """The same minimum found the plain way: sparse matrices and a general solver."""
    time = np.array(days) / 10.0
    h = np.diff(time)
    span = (h[:-1] + h[1:]) / 2
    rows = np.arange(len(days) - 2)
    second = scipy.sparse.lil_matrix((len(days) - 2, len(days)))
    second[rows, rows] = 1 / (h[:-1] * span)
    second[rows, rows + 2] = 1 / (h[1:] * span)
    second[rows, rows + 1] = -1 / (h[:-1] * span) - 1 / (h[1:] * span)
    weights = scipy.sparse.diags(np.isfinite(y).astype(float))
    system = weights + lam * second.T @ scipy.sparse.diags(span) @ second
    return scipy.sparse.linalg.spsolve(system.tocsc(), weights @ np.nan_to_num(y))


@given(uneven_days, st.floats(-1, 1), st.floats(0.01, 1000), st.integers(0, 3))
@settings(max_examples=60, deadline=None)
def test_a_constant_stays(days: list[int], level: float, lam: float, robust: int) -> None:
    values = np.full((len(days), 2), level, dtype=np.float32)
    np.testing.assert_allclose(smooth(values, on(days), lam=lam, robust=robust), values, atol=1e-5)


@given(uneven_days, st.floats(-1, 1), st.floats(-0.01, 0.01), st.floats(0.01, 1000), st.data())
@settings(max_examples=60, deadline=None)
def test_a_straight_line_stays_and_gaps_are_filled_along_it(
    days: list[int], level: float, slope: float, lam: float, data: st.DataObject
) -> None:
    line = (level + slope * np.array(days, dtype=float)).astype(np.float32)[:, None]
    values = line.copy()
    inner = st.sets(st.integers(1, len(days) - 2), max_size=len(days) - 2)
    values[sorted(data.draw(inner))] = np.nan
    np.testing.assert_allclose(smooth(values, on(days), lam=lam), line, atol=2e-4)


@pytest.mark.parametrize("lam", [0.1, 2.0, 500.0])
def test_it_equals_a_general_sparse_solver(lam: float) -> None:
    rng = np.random.default_rng(3)
    days = sorted(rng.choice(365, 40, replace=False).tolist())
    y = (0.5 + 0.3 * np.sin(np.array(days) / 50) + rng.normal(0, 0.05, 40)).astype(np.float32)
    y[[3, 4, 5, 20]] = np.nan
    expected = reference(y, days, lam)
    np.testing.assert_allclose(smooth(y[:, None], on(days), lam=lam, robust=0)[:, 0], expected, atol=2e-6)


def test_on_even_dekads_it_is_the_smoother_of_the_paper() -> None:
    y = np.array([0.1, 0.2, 0.5, 0.3, 0.7, 0.6, 0.2], dtype=np.float32)
    difference = np.diff(np.eye(7), n=2, axis=0)
    expected = np.linalg.solve(np.eye(7) + 3.0 * difference.T @ difference, y)
    got = smooth(y[:, None], on([10 * i for i in range(7)]), lam=3.0, robust=0)[:, 0]
    np.testing.assert_allclose(got, expected, atol=1e-6)


def test_one_bad_date_hardly_moves_the_robust_curve() -> None:
    days = [10 * i for i in range(24)]
    truth = 0.2 + 0.6 * np.exp(-(((np.arange(24) - 12) / 5) ** 2))
    values = truth.astype(np.float32)[:, None].copy()
    values[9] = 0.05  # shadow that nobody masked; the truth is 0.62
    plain = smooth(values, on(days), robust=0)[:, 0]
    robust = smooth(values, on(days), robust=3)[:, 0]
    assert abs(plain[9] - truth[9]) > 0.15
    assert abs(robust[9] - truth[9]) < 0.05


def test_a_low_weight_below_gives_the_upper_envelope() -> None:
    rng = np.random.default_rng(0)
    values = (0.6 - np.abs(rng.normal(0, 0.08, (60, 1)))).astype(np.float32)
    days = on([5 * i for i in range(60)])
    assert (
        smooth(values, days, robust=4, lower_weight=0.05).mean()
        > smooth(values, days, robust=4).mean() + 0.02
    )


def test_a_value_within_the_told_noise_is_no_outlier() -> None:
    values = np.full((20, 1), 0.6, dtype=np.float32)
    values[10] = 0.45
    days = on([10 * i for i in range(20)])
    assert smooth(values, days)[10, 0] > 0.59
    assert smooth(values, days, noise=0.05)[10, 0] < 0.57


def test_gaps_at_the_ends_are_held_level() -> None:
    values = np.array([np.nan, np.nan, 0.2, 0.4, 0.6, np.nan], dtype=np.float32)[:, None]
    got = smooth(values, on([0, 10, 20, 30, 40, 80]))[:, 0]
    np.testing.assert_allclose(got, [0.2, 0.2, 0.2, 0.4, 0.6, 0.6], atol=1e-5)


@pytest.mark.parametrize("seen", [[], [2]])
def test_without_two_observations_there_is_no_curve(seen: list[int]) -> None:
    values = np.full((5, 2), np.nan, dtype=np.float32)
    values[seen, 0] = 0.4
    values[:, 1] = 0.3
    got = smooth(values, on([0, 10, 20, 30, 40]))
    assert np.isnan(got[:, 0]).all()
    np.testing.assert_allclose(got[:, 1], 0.3, atol=1e-6)


def test_columns_do_not_touch_each_other() -> None:
    rng = np.random.default_rng(5)
    values = rng.uniform(0, 1, (20, 30)).astype(np.float32)
    values[rng.random(values.shape) < 0.4] = np.nan
    days = on(sorted(rng.choice(300, 20, replace=False).tolist()))
    whole = smooth(values, days)
    parts = np.concatenate([smooth(values[:, :11], days), smooth(values[:, 11:], days)], axis=1)
    np.testing.assert_array_equal(whole, parts)


def test_two_images_of_one_day_are_accepted() -> None:
    got = smooth(np.array([[0.2], [0.3], [0.5]], dtype=np.float32), [START, START, START + timedelta(20)])
    assert np.isfinite(got).all()


def test_dates_out_of_order_are_refused() -> None:
    with pytest.raises(ValueError, match="ascend"):
        smooth(np.zeros((2, 1), dtype=np.float32), [START, START - timedelta(1)])
