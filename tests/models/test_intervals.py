"""Intervals hold what they promise, whether years are alike or not."""

from __future__ import annotations

import numpy as np
import pytest

from models.intervals import group_quantile


@pytest.mark.parametrize("share", [0.0, 0.5, 0.9])
def test_a_new_year_is_held_nine_times_in_ten(share: float) -> None:
    """`share` of the variance is common to a year; coverage over many histories of 13 years is 90 ± 4 %."""
    rng = np.random.default_rng(int(100 * share))
    held = []
    for _ in range(300):
        year = rng.normal(0, np.sqrt(share), (14, 1)) + rng.normal(0, np.sqrt(1 - share), (14, 40))
        scores = np.abs(year)
        cut = group_quantile(scores[:13].ravel(), np.repeat(np.arange(13), 40))
        held.append((scores[13] <= cut).mean())
    assert 0.86 <= np.mean(held) <= 0.94


def test_one_row_a_group_is_the_textbooks_quantile() -> None:
    scores = np.random.default_rng(0).permutation(np.arange(1.0, 30.0))
    assert group_quantile(scores, np.arange(29)) == 27.0  # the 27th of 29: ceil(0.9 · 30)
    assert group_quantile(scores[:5], np.arange(5)) == scores[:5].max()
    assert group_quantile(np.array([3.0, 1.0]), np.array([7, 7])) == 3.0
