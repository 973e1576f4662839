"""Prediction intervals from errors on held out years (or farms), without an assumption on their shape."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from models.conformal import COVERAGE

Float = NDArray[np.float64]


def group_quantile(scores: Float, groups: NDArray[np.int64], *, coverage: float = COVERAGE) -> float:
    """The score that a new group's members stay below in `coverage` of cases.

    Errors of one year are alike (a drought is everywhere), so years and not rows are exchangeable. The plain
    quantile of all scores would hold too little of a new year; the one that is proven for exchangeable groups
    (Lee, Barber & Willett 2023, arXiv 2306.06342: each of K groups weighs 1/(K+1), infinity the rest) holds
    too much where years are much alike. The level is therefore taken between the two, so that in leaving out
    each group in turn the others' quantile holds `coverage` of it on average.

    Parameters
    ----------
    scores : (n,) float
        Sizes of errors on rows whose group was held out, in units of their expected size.
    groups : (n,) int
        Year or farm of each row.

    Returns
    -------
    float
        The largest score where there are too few groups for more.

    Examples
    --------
    >>> round(group_quantile(np.arange(1.0, 100.0), np.arange(99)), 1)
    90.0
    """
    order = np.argsort(scores)
    s, group = scores[order], np.unique(groups, return_inverse=True)[1][order]
    count = np.bincount(group)
    k = len(count)
    weight = 1.0 / count[group]
    least, most = coverage, min(1.0, coverage * (k + 1) / k)
    total = np.cumsum(weight) / k
    if k < 2:
        return float(s[-1])
    levels = np.linspace(least, most, 41)
    held = np.zeros(len(levels))
    # With one row a group leaving one out is the textbook's conformal quantile; no search is needed.
    if len(s) == k:
        return float(s[min(len(s) - 1, int(np.ceil(coverage * (k + 1) - 1e-9)) - 1)])
    for one in range(k):
        mine = group == one
        others = np.cumsum(weight[~mine]) / (k - 1)
        cut = s[~mine][np.minimum(np.searchsorted(others, levels - 1e-12), len(others) - 1)]
        held += np.searchsorted(s[mine], cut, side="right") / count[one]
    enough = np.flatnonzero(held / k >= coverage)
    level = levels[enough[0]] if len(enough) else most
    return float(s[min(len(s) - 1, int(np.searchsorted(total, level - 1e-12)))])
