"""Augmentation and batches: what they may change, and what never leaks."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from models.training import TrainingSettings, _batches, _pools, augment

OFF = TrainingSettings(mixup=0.0, noise=0.0, shift=0, gaps=0.0)


def batch(n: int = 6, m: int = 2, t: int = 10, c: int = 3) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    series = torch.arange(n * m * t * c, dtype=torch.float32).reshape(n, m, t, c)
    target = torch.eye(4)[torch.arange(n * m) % 4].reshape(n, m, 4)
    return series, torch.ones(n, m, t), target


def test_nothing_asked_changes_nothing() -> None:
    series, observed, target = batch()
    out = augment(series, observed, target, settings=OFF, rng=np.random.default_rng(0))
    for before, after in zip((series, observed, target), out, strict=True):
        assert torch.equal(before, after)


def test_a_shift_moves_values_and_gaps_together() -> None:
    series, observed, target = batch()
    observed[:, :, 4] = 0.0
    settings = TrainingSettings(mixup=0.0, noise=0.0, shift=2, gaps=0.0)
    moved, seen, _ = augment(series, observed, target, settings=settings, rng=np.random.default_rng(0))
    shifts = set()
    for i in range(6):
        for m in range(2):
            gap = int(torch.argmin(seen[i, m]))
            shifts.add(4 - gap)
            # the value of the missing date went along
            assert torch.equal(moved[i, m, gap], series[i, m, 4])
    assert shifts <= {-2, -1, 0, 1, 2}
    assert len(shifts) > 1


def test_mixup_keeps_most_of_the_sample_and_targets_that_sum_to_one() -> None:
    series, observed, target = batch()
    settings = TrainingSettings(mixup=0.5, noise=0.0, shift=0, gaps=0.0)
    mixed, _, blend = augment(series, observed, target, settings=settings, rng=np.random.default_rng(1))
    kept = (blend * target).sum(dim=2)
    assert ((kept >= 0.5) & (kept <= 1.0)).all()
    torch.testing.assert_close(blend.sum(dim=2), torch.ones(6, 2))
    expected = kept[..., None, None] * series + (1 - kept)[..., None, None] * series.roll(1, 0)
    torch.testing.assert_close(mixed, expected)


def test_gaps_are_filled_along_the_line_and_marked() -> None:
    # given series that are straight lines in time, so that filling inside restores them
    t = torch.arange(20, dtype=torch.float32)
    series = (t * 2.0).reshape(1, 1, 20, 1).expand(40, 2, 20, 1).contiguous()
    settings = TrainingSettings(mixup=0.0, noise=0.0, shift=0, gaps=0.3)
    filled, seen, _ = augment(
        series, torch.ones(40, 2, 20), torch.ones(40, 2, 1), settings=settings, rng=np.random.default_rng(2)
    )
    assert 0.2 < 1 - seen.mean() < 0.4
    first, last = seen.argmax(dim=2), 19 - seen.flip(2).argmax(dim=2)
    inside = (t >= first[..., None]) & (t <= last[..., None])
    torch.testing.assert_close(filled[..., 0][inside], series[..., 0][inside])


def test_noise_has_the_size_that_was_asked() -> None:
    settings = TrainingSettings(mixup=0.0, noise=0.2, shift=0, gaps=0.0)
    zero = torch.zeros(200, 2, 30, 4)
    noisy, _, _ = augment(
        zero, torch.ones(200, 2, 30), torch.ones(200, 2, 1), settings=settings, rng=np.random.default_rng(3)
    )
    # uniform level up to 0.2 on values, 0.1 on whole channels: variance 0.2²/3 + 0.1²
    assert float(noisy.std()) == pytest.approx((0.04 / 3 + 0.01) ** 0.5, rel=0.05)


def test_a_member_never_sees_what_it_holds_out() -> None:
    held = np.zeros((50, 3), dtype=bool)
    held[:10, 0] = held[20:45, 1] = True
    pools = _pools(50, 3, held)
    drawn = np.concatenate(list(_batches(pools, batch=8, steps=60, rng=np.random.default_rng(0))))
    assert drawn.shape == (60 * 8, 3)
    for member in range(3):
        assert set(drawn[:, member]) == set(np.flatnonzero(~held[:, member]))
