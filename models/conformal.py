"""Conformal sets: all classes a series may belong to, so that the true one is among them as often as asked.

Split conformal prediction with the least ambiguous sets (Sadinle, Lei & Wasserman 2019, doi
10.1080/01621459.2017.1395341, eq. 5): a class is in the set when its probability reaches a threshold that was
measured on samples the model did not learn from. An empty set says that no class fits well; two classes or
more say between which the model hesitates.

The coverage holds for series like those held out. It is a mean over all of them: not of each class, and not
of a region or year that none of them is from.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray

#: Share of sets that are to hold the true class.
COVERAGE: Final = 0.90


def set_threshold(
    probabilities: NDArray[np.floating], codes: NDArray[np.integer], *, coverage: float = COVERAGE
) -> float:
    """The probability from which a class is in the set.

    Parameters
    ----------
    probabilities : (n, k)
        Of samples the model did not learn from.
    codes : (n,) int
        Their true classes.
    coverage : float
        Share of sets that are to hold the true class, at least, for samples like these.

    Returns
    -------
    float
        0, which takes every class, where there are too few samples to promise the coverage.

    Examples
    --------
    >>> p = np.array([[0.9, 0.1], [0.8, 0.2], [0.3, 0.7], [0.6, 0.4]])
    >>> round(set_threshold(p, np.array([0, 0, 1, 1]), coverage=0.75), 2)
    0.4
    >>> set_threshold(p, np.array([0, 0, 1, 1]), coverage=0.95)
    0.0
    """
    n = len(codes)
    rank = math.ceil((n + 1) * coverage)
    if rank > n:
        return 0.0
    true = np.sort(probabilities[np.arange(n), codes])[::-1]
    return float(true[rank - 1])


def in_set(probabilities: NDArray[np.floating], threshold: float) -> NDArray[np.bool_]:
    """(n, k) which classes are in the set of each sample."""
    return np.asarray(probabilities >= threshold)
