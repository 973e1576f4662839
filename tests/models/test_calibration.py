"""Confidence: the expected calibration error, and the temperature that mends it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from models.calibration import (
    Calibration,
    apply_temperature,
    calibrate,
    expected_calibration_error,
    fit_temperature,
)


def drawn(temperature: float, *, n: int = 20_000, k: int = 4) -> tuple[np.ndarray, np.ndarray]:
    """Logits that are too sure by a known factor: truth is drawn from the softmax of logits / temperature."""
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 2, (n, k))
    chances = apply_temperature(logits, temperature)
    codes = (chances.cumsum(axis=1) < rng.random((n, 1))).sum(axis=1)
    return logits, np.minimum(codes, k - 1)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.5])
def test_temperature_is_found_again(temperature: float) -> None:
    logits, codes = drawn(temperature)
    assert fit_temperature(logits, codes) == pytest.approx(temperature, rel=0.05)


def test_calibration_mends_an_overconfident_model() -> None:
    logits, codes = drawn(2.5)
    done = calibrate(logits, codes)
    assert done.ece_before > 0.2
    assert done.ece_after < 0.02
    assert done.n_held_out == 20_000
    # the ranking, and with it the accuracy, stays
    after = apply_temperature(logits, done.temperature)
    assert np.array_equal(after.argmax(axis=1), logits.argmax(axis=1))


def test_a_model_that_was_always_right_is_not_made_certain() -> None:
    # given 40 held-out samples, all predicted right at 70 %
    log_p = np.log(np.tile([0.7, 0.2, 0.1], (40, 1)))
    # when it is calibrated
    done = calibrate(log_p, np.zeros(40, dtype=int))
    # then it is surer than before, but not surer than 40 samples can prove
    confidence = apply_temperature(log_p, done.temperature)[0, 0]
    assert 0.97 < confidence < 0.995


def test_without_held_out_samples_nothing_is_changed() -> None:
    done = calibrate(np.zeros((0, 3)), np.zeros(0, dtype=int))
    assert done.temperature == 1.0
    assert done.method == "none"
    assert Calibration().as_dict()["ece_before"] is None


def test_ece_by_hand() -> None:
    # two bins: 0.95 (right, wrong) and 0.55 (right, right): (|0.95-0.5|·2 + |0.55-1|·2) / 4
    p = np.array([[0.95, 0.05], [0.95, 0.05], [0.55, 0.45], [0.55, 0.45]])
    assert expected_calibration_error(p, np.array([0, 1, 0, 0])) == pytest.approx(0.45)
    assert expected_calibration_error(np.eye(3), np.arange(3)) == 0.0
    assert np.isnan(expected_calibration_error(np.zeros((0, 3)), np.zeros(0, dtype=int)))


@given(
    weights=hnp.arrays(
        np.float64, st.tuples(st.integers(1, 40), st.integers(2, 5)), elements=st.floats(0.01, 1)
    ),
    data=st.data(),
)
def test_ece_lies_between_the_overall_gap_and_one(weights: np.ndarray, data: st.DataObject) -> None:
    p = weights / weights.sum(axis=1, keepdims=True)
    codes = data.draw(hnp.arrays(np.int64, len(p), elements=st.integers(0, p.shape[1] - 1)))
    ece = expected_calibration_error(p, codes)
    gap = abs(p.max(axis=1).mean() - (p.argmax(axis=1) == codes).mean())
    assert gap - 1e-9 <= ece <= 1.0
    # the order of samples and of classes does not matter
    order = data.draw(st.permutations(range(len(p))))
    assert expected_calibration_error(p[order], codes[order]) == pytest.approx(ece)
    columns = np.array(data.draw(st.permutations(range(p.shape[1]))))
    if len(np.unique(p)) == p.size:  # ties are broken by position
        assert expected_calibration_error(p[:, columns], np.argsort(columns)[codes]) == pytest.approx(ece)
