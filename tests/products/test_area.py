"""Areas and accuracies: the paper's own figures, and intervals that keep what they promise in simulation."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from eo_pipeline.errors import SampleError
from eo_pipeline.products.area import (
    adjusted_count,
    adjusted_counts,
    olofsson_2014,
    olofsson_accuracy,
    pixel_count,
    synthetic_units,
)

#: Olofsson et al. 2014, table 8: deforestation, forest gain, stable forest, stable non-forest; pixels of 0.09
#: ha.
PAPER = np.array([[66, 0, 5, 4], [0, 55, 8, 12], [1, 0, 153, 11], [2, 1, 9, 313]])
PAPER_HA = np.array([200_000, 150_000, 3_200_000, 6_450_000]) * 0.09
NAMES = ("deforestation", "gain", "forest", "other")

#: A map of 100 000 pixels of 0.01 ha with truth known everywhere: rows mapped, columns true.
TRUTH = np.array([[26_000, 3_000, 1_000], [2_500, 16_000, 1_500], [1_500, 3_500, 45_000]])
TRUE_HA = TRUTH.sum(axis=0) * 0.01
MAPPED_HA = TRUTH.sum(axis=1) * 0.01
CROPS = ("wheat", "maize", "other")


def test_the_papers_areas_and_errors() -> None:
    got = olofsson_2014(PAPER, PAPER_HA, NAMES)
    assert got.area_ha[0] == pytest.approx(21_158, abs=1)
    assert got.se_ha[0] == pytest.approx(3_142, abs=1)
    assert (got.ci_high_ha - got.area_ha)[0] == pytest.approx(6_158, abs=1)
    assert got.area_ha.sum() == pytest.approx(PAPER_HA.sum())
    assert (got.n_samples, got.method) == (640, "olofsson_2014")


def test_the_papers_accuracies() -> None:
    got = olofsson_accuracy(PAPER, PAPER_HA, NAMES)
    assert got.overall == pytest.approx(0.947, abs=5e-4)
    assert 1.96 * got.overall_se == pytest.approx(0.018, abs=1e-3)
    np.testing.assert_allclose(got.users, [0.88, 0.73, 0.93, 0.96], atol=0.005)
    np.testing.assert_allclose(1.96 * got.users_se, [0.07, 0.10, 0.04, 0.02], atol=0.006)
    np.testing.assert_allclose(got.producers, [0.75, 0.85, 0.93, 0.96], atol=0.006)
    assert 1.96 * got.producers_se[0] == pytest.approx(0.21, abs=0.005)


def stratified_samples(rng: np.random.Generator, n: tuple[int, ...], repetitions: int) -> np.ndarray:
    """Counts [repetition, mapped, true] of stratified random samples from `TRUTH`, without replacement."""
    return np.stack(
        [rng.multivariate_hypergeometric(TRUTH[i], n[i], size=repetitions) for i in range(3)], axis=1
    )


def test_the_stratified_estimator_is_unbiased_and_its_interval_covers() -> None:
    samples = stratified_samples(np.random.default_rng(7), (100, 80, 120), 2000)
    got = [olofsson_2014(n, MAPPED_HA, CROPS) for n in samples]
    area = np.array([g.area_ha for g in got])
    np.testing.assert_allclose(area.mean(axis=0), TRUE_HA, rtol=0.01)
    # The pixel count is off by more than that: the estimator is needed.
    assert (np.abs(MAPPED_HA - TRUE_HA) / TRUE_HA).max() > 0.05
    covered = [(g.ci_low_ha <= TRUE_HA) & (g.ci_high_ha >= TRUE_HA) for g in got]
    coverage = np.mean(covered, axis=0)
    assert ((coverage > 0.93) & (coverage < 0.97)).all(), coverage
    # The standard error is the spread that is really there.
    np.testing.assert_allclose(np.mean([g.se_ha for g in got], axis=0), area.std(axis=0), rtol=0.05)


def test_standard_errors_of_accuracies_are_the_spread_that_is_there() -> None:
    samples = stratified_samples(np.random.default_rng(8), (150, 120, 180), 2000)
    got = [olofsson_accuracy(n, MAPPED_HA, CROPS) for n in samples]
    for value, error in (("overall", "overall_se"), ("users", "users_se"), ("producers", "producers_se")):
        spread = np.std([getattr(g, value) for g in got], axis=0)
        np.testing.assert_allclose(np.mean([getattr(g, error) for g in got], axis=0), spread, rtol=0.06)
    np.testing.assert_allclose(
        np.mean([g.producers for g in got], axis=0), np.diag(TRUTH) / TRUTH.sum(axis=0), rtol=0.01
    )


def test_full_agreement_is_not_taken_for_no_error() -> None:
    got = olofsson_2014(np.diag([20, 20, 20]), MAPPED_HA, CROPS)
    assert (got.se_ha == 0).all()
    assert (got.ci_low_ha < got.area_ha).all() and (got.ci_high_ha > got.area_ha).all()


def test_a_class_that_the_map_misses_is_estimated_all_the_same() -> None:
    counts = np.array([[45, 0, 5], [0, 0, 0], [0, 4, 46]])
    got = olofsson_2014(counts, np.array([100.0, 0.0, 100.0]), ("wheat", "flax", "other"))
    np.testing.assert_allclose(got.area_ha, [90, 8, 102])
    assert np.isnan(olofsson_accuracy(counts, np.array([100.0, 0, 100]), ("w", "f", "o")).users[1])


@pytest.mark.parametrize(
    ("counts", "area", "message"),
    [
        ([[1, 0], [0, 30]], [10, 10], "'a' .* holds 1 reference point"),
        ([[5, 0, 1], [0, 30, 1]], [10, 10], "square table"),
        ([[5, 0], [0, 30]], [0, 0], "sum to 0"),
    ],
)
def test_samples_that_cannot_carry_an_estimate_are_refused(counts: list, area: list, message: str) -> None:
    with pytest.raises(SampleError, match=message):
        olofsson_2014(np.array(counts), np.array(area, float), ("a", "b"))


def test_a_pixel_count_claims_no_error() -> None:
    got = pixel_count(CROPS, MAPPED_HA)
    np.testing.assert_array_equal(got.area_ha, MAPPED_HA)
    assert np.isnan(got.se_ha).all() and np.isnan(got.ci_low_ha).all()


@given(arrays(np.float64, (4, 3), elements=st.floats(0, 1e5)))
@settings(max_examples=50)
def test_units_add_up_to_the_region(unit_area: np.ndarray) -> None:
    if unit_area.sum() == 0:
        return
    counts = np.array([[80, 12, 8], [9, 60, 11], [3, 7, 90]])
    region = olofsson_2014(counts, unit_area.sum(axis=0), CROPS)
    units = synthetic_units(counts, unit_area, CROPS)
    np.testing.assert_allclose(sum(u.area_ha for u in units), region.area_ha, rtol=1e-9, atol=1e-9)


def test_unit_intervals_cover_where_units_differ_in_their_errors() -> None:
    rng = np.random.default_rng(11)
    base = TRUTH / TRUTH.sum(axis=1, keepdims=True)
    unit_area = rng.uniform(100, 400, (20, 3))
    covered, narrow = [], []
    for _ in range(200):
        rates = np.stack([[rng.dirichlet(60 * row) for row in base] for _ in range(20)])
        truth = np.einsum("ui,uij->uj", unit_area, rates)
        drawn = np.stack([[rng.multinomial(20, row) for row in unit] for unit in rates])
        honest = synthetic_units(drawn.sum(axis=0), unit_area, CROPS, unit_counts=drawn)
        plain = synthetic_units(drawn.sum(axis=0), unit_area, CROPS)
        for sets, estimates in ((covered, honest), (narrow, plain)):
            low, high = (np.array([getattr(e, k) for e in estimates]) for k in ("ci_low_ha", "ci_high_ha"))
            sets.append((low <= truth) & (high >= truth))
    assert 0.93 < np.mean(covered) < 0.99  # on the wide side by intent
    assert np.mean(narrow) < 0.6  # what the sampling error alone would claim


CONFUSION = np.array([[0.90, 0.06, 0.04], [0.08, 0.86, 0.06], [0.02, 0.03, 0.95]])  # true in rows


def out_of_fold(rng: np.random.Generator, groups: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Predictions of `groups` fields of 8 samples each; fields differ in how well they are known."""
    true = np.repeat(np.arange(groups) % 3, 8)
    rates = np.stack([rng.dirichlet(40 * CONFUSION[k]) for k in np.arange(groups) % 3])
    predicted = (
        rng.random(groups * 8)[:, None] > np.cumsum(rates, axis=1)[np.repeat(np.arange(groups), 8)]
    ).sum(1)
    return true, predicted.clip(0, 2), np.repeat(np.arange(groups), 8)


def test_adjusted_count_undoes_the_confusions_and_its_interval_covers() -> None:
    rng = np.random.default_rng(5)
    shares = np.array([0.10, 0.30, 0.60])
    mapped = 1000 * shares @ CONFUSION
    got = [
        adjusted_count(*(a := out_of_fold(rng, 90))[:2], mapped, CROPS, groups=a[2], repetitions=150, seed=i)
        for i in range(400)
    ]
    mean = np.mean([g.area_ha for g in got], axis=0)
    np.testing.assert_allclose(mean, 1000 * shares, rtol=0.02)
    assert np.abs(mapped - 1000 * shares).max() > 20  # what a pixel count would be off by
    coverage = np.mean(
        [(g.ci_low_ha <= 1000 * shares) & (g.ci_high_ha >= 1000 * shares) for g in got], axis=0
    )
    assert 0.93 < coverage.mean() < 0.97, coverage
    # 400 repetitions know the coverage of one class to +-0.011 only.
    assert ((coverage > 0.91) & (coverage < 0.98)).all(), coverage
    assert got[0].method == "adjusted_count_model_based"


def test_adjusted_count_of_a_perfect_model_is_the_count_and_claims_no_certainty() -> None:
    true = np.repeat([0, 1, 2], 30)
    got = adjusted_count(true, true, MAPPED_HA, CROPS, repetitions=50)
    np.testing.assert_allclose(got.area_ha, MAPPED_HA, rtol=1e-6)
    # Thirty samples without a mistake do not prove that there is none.
    assert (got.ci_high_ha - got.ci_low_ha > 0.02 * MAPPED_HA).all()


def test_adjusted_count_is_repeatable_and_never_negative() -> None:
    rng = np.random.default_rng(0)
    true, predicted, groups = out_of_fold(rng, 30)
    units = np.array([[0.0, 10, 990], [1000, 0, 0], [0, 0, 0]])
    first = adjusted_counts(true, predicted, units, CROPS, groups=groups, repetitions=100)
    second = adjusted_counts(true, predicted, units, CROPS, groups=groups, repetitions=100)
    for a, b, area in zip(first, second, units, strict=True):
        np.testing.assert_array_equal(a.ci_high_ha, b.ci_high_ha)
        assert (a.area_ha >= 0).all() and a.area_ha.sum() == pytest.approx(area.sum())
        assert (a.ci_low_ha <= a.area_ha + 1e-9).all() and (a.ci_high_ha >= a.area_ha - 1e-9).all()


def test_adjusted_count_names_the_class_without_samples() -> None:
    with pytest.raises(SampleError, match="'other' has no sample"):
        adjusted_count(np.array([0, 1]), np.array([0, 1]), MAPPED_HA, CROPS)
