"""Pixel counts, and counts corrected by the model's own errors: their intervals keep what they promise."""

from __future__ import annotations

import numpy as np
import pytest

from eo_pipeline.errors import SampleError
from eo_pipeline.products.area import adjusted_count, adjusted_counts, pixel_count

#: A map of 100 000 pixels of 0.01 ha with truth known everywhere: rows mapped, columns true.
TRUTH = np.array([[26_000, 3_000, 1_000], [2_500, 16_000, 1_500], [1_500, 3_500, 45_000]])
MAPPED_HA = TRUTH.sum(axis=1) * 0.01
CROPS = ("wheat", "maize", "other")


def test_a_pixel_count_claims_no_error() -> None:
    got = pixel_count(CROPS, MAPPED_HA)
    np.testing.assert_array_equal(got.area_ha, MAPPED_HA)
    assert np.isnan(got.se_ha).all() and np.isnan(got.ci_low_ha).all()


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
