"""Calibration: how far a stated confidence can be believed, and temperature scaling that mends it.

Pure numpy; probabilities are (n, k) with rows that sum to 1.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from models.conformal import COVERAGE, set_threshold

#: Bins of the expected calibration error, as in Guo et al. 2017.
ECE_BINS: Final = 15

#: A probability below this is cut off before its logarithm is taken.
_TINY: Final = 1e-12


@dataclass(frozen=True)
class Calibration:
    """What was done to the confidences of a model.

    Attributes
    ----------
    method : str
        "temperature", or "none" when there were too few samples to hold any out.
    temperature : float
        Divisor of the logarithms; above 1 makes the model humbler, below 1 surer.
    n_held_out : int
        Samples it was fitted on; none of them was seen by the members that predicted it.
    ece_before, ece_after : float
        Expected calibration error of these samples without and with it; NaN without samples.
    set_coverage : float
        Share of conformal sets that are to hold the true class.
    set_threshold : float
        Probability from which a class is in the set; 0, which takes every class, without samples.
    """

    method: str = "none"
    temperature: float = 1.0
    n_held_out: int = 0
    ece_before: float = float("nan")
    ece_after: float = float("nan")
    set_coverage: float = COVERAGE
    set_threshold: float = 0.0

    def as_dict(self) -> dict[str, Any]:
        """Plain values for the card; a missing figure is None, since JSON has no NaN."""
        return {k: None if isinstance(v, float) and np.isnan(v) else v for k, v in asdict(self).items()}


def calibrate(log_probabilities: NDArray[np.floating], codes: NDArray[np.integer]) -> Calibration:
    """Fit a temperature to held-out predictions and say what it does to the calibration error."""
    if len(codes) == 0:
        return Calibration()
    temperature = fit_temperature(log_probabilities, codes)
    before = apply_temperature(log_probabilities, 1.0)
    after = apply_temperature(log_probabilities, temperature)
    return Calibration(
        method="temperature",
        temperature=temperature,
        n_held_out=len(codes),
        ece_before=expected_calibration_error(before, codes),
        ece_after=expected_calibration_error(after, codes),
        set_threshold=set_threshold(after, codes),
    )


def fit_temperature(log_probabilities: NDArray[np.floating], codes: NDArray[np.integer]) -> float:
    """The temperature with the least negative log likelihood (Guo et al. 2017, arXiv 1706.04599, eq. 9).

    Parameters
    ----------
    log_probabilities : (n, k)
        Logits or log probabilities of samples the model did not learn from.
    codes : (n,) int
        Their true classes.

    Returns
    -------
    float
        Between 0.05 and 20.
    """
    from scipy.optimize import minimize_scalar  # a worker that only predicts does without

    n, k = log_probabilities.shape
    # Where every held-out sample is right, plain likelihood asks for certainty. One more sample, of which
    # every class has its share, keeps confidence below what n samples can prove (Platt 1999 smooths so too).
    target = np.full((n, k), 1.0 / k / (n + 1.0))
    target[np.arange(n), codes] += n / (n + 1.0)

    def loss(log_temperature: float) -> float:
        probabilities = apply_temperature(log_probabilities, float(np.exp(log_temperature)))
        return float(-(target * np.log(np.maximum(probabilities, _TINY))).sum() / n)

    found = minimize_scalar(loss, bounds=(np.log(0.05), np.log(20.0)), method="bounded")
    return float(np.exp(found.x))


def softmax(logits: NDArray[np.floating]) -> NDArray[np.float64]:
    """Probabilities of logits, over the last axis."""
    shifted = np.asarray(logits, dtype=np.float64)
    shifted = np.exp(shifted - shifted.max(axis=-1, keepdims=True))
    return np.asarray(shifted / shifted.sum(axis=-1, keepdims=True))


def entropy(probabilities: NDArray[np.floating]) -> NDArray[np.float32]:
    """Shannon entropy of each row (n, k) as a share of the largest possible, log k.

    Examples
    --------
    >>> entropy(np.array([[1.0, 0.0], [0.5, 0.5]])).tolist()
    [0.0, 1.0]
    """
    p = np.asarray(probabilities, dtype=np.float64)
    bits = -(p * np.log(np.maximum(p, _TINY))).sum(axis=-1) / np.log(p.shape[-1])
    return np.asarray(np.clip(bits, 0.0, 1.0), dtype=np.float32)


def apply_temperature(log_probabilities: NDArray[np.floating], temperature: float) -> NDArray[np.float64]:
    """Softmax of log probabilities (n, k) divided by the temperature."""
    return softmax(np.asarray(log_probabilities, dtype=np.float64) / temperature)


def expected_calibration_error(
    probabilities: NDArray[np.floating], codes: NDArray[np.integer], *, bins: int = ECE_BINS
) -> float:
    """Mean distance of confidence and accuracy over bins of equal width (Guo et al. 2017, eq. 3).

    Parameters
    ----------
    probabilities : (n, k)
        Predicted probabilities; the largest of a row is its confidence.
    codes : (n,) int
        True classes; -1 for a class the model does not know.

    Examples
    --------
    >>> p = np.array([[0.9, 0.1], [0.9, 0.1]])
    >>> round(expected_calibration_error(p, np.array([0, 1])), 3)
    0.4
    """
    if len(codes) == 0:
        return float("nan")
    confidence = probabilities.max(axis=1)
    right = probabilities.argmax(axis=1) == codes
    number = np.minimum((confidence * bins).astype(int), bins - 1)
    gap = np.bincount(number, weights=confidence - right, minlength=bins)
    # |mean confidence - accuracy| · share of the bin = |sum of differences| / n
    return float(np.abs(gap).sum() / len(codes))
