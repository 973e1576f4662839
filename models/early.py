"""From when in a season a crop can be told from the others: the rule for its first area of the year.

A season's samples are cut off after each date, as if the rest had not happened yet, and predicted out of
fold by the tree baseline, which needs no training worth the name; the network is not worse.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from models.baseline import TreeBaseline
from models.errors import SeriesError
from models.evaluate import measure
from models.groups import grouped_folds
from models.series import check_classes, check_labelled

#: F1 from which a crop counts as told apart.
SEPARABLE_F1: Final = 0.8
_TREES: Final = 100


@dataclass(frozen=True)
class Separability:
    """How well each class is told apart with what was seen up to each date.

    Attributes
    ----------
    labels : tuple of str
        Classes.
    f1 : (t, k) float64
        Out-of-fold F1 after each date, NaN where a class is neither true nor predicted.
    overall : (t,) float64
        Overall accuracy.
    first : tuple of int or None
        Of each class, the first date from which its F1 is never again below `threshold`; None if there is
        no such date.
    threshold : float
    """

    labels: tuple[str, ...]
    f1: NDArray[np.float64]
    overall: NDArray[np.float64]
    first: tuple[int | None, ...]
    threshold: float


def separability(
    X: ArrayLike,
    y: ArrayLike,
    *,
    groups: ArrayLike | None = None,
    folds: int = 5,
    seed: int = 42,
    threshold: float = SEPARABLE_F1,
    threads: int | None = None,
) -> Separability:
    """Tell from which date on each class is separable.

    Parameters
    ----------
    X, y, groups
        As in `CropTypeModel.fit`: (n, t, c) series of a whole season, labels, and what stays on one side.
    folds, seed
        Of the cross-validation; the same split at every date.
    threshold : float
        F1 that is asked for.

    Raises
    ------
    SeriesError
        Bad samples, fewer groups than folds, or a threshold that is no share.
    """
    if not 0 < threshold <= 1:
        raise SeriesError(f"The F1 asked for is {threshold}; give a share above 0, like 0.8.")
    data = check_labelled(X, y, groups)
    check_classes(data.y)
    splits = grouped_folds(data.y, data.groups, folds=folds, seed=seed)
    labels = np.unique(data.y)
    steps = data.X.shape[1]
    f1, overall = np.full((steps, len(labels)), np.nan), np.zeros(steps)
    for step in range(steps):
        seen = data.X[:, : step + 1]
        probabilities = np.zeros((len(data.y), len(labels)), dtype=np.float32)
        for train, test in splits:
            tree = TreeBaseline.fit(seen[train], data.y[train], seed=seed, trees=_TREES, threads=threads)
            columns = np.searchsorted(labels, tree.classes)
            probabilities[np.ix_(test, columns)] = tree.predict_proba(seen[test])
        found = measure(data.y, probabilities, labels)
        overall[step] = found.overall_accuracy
        f1[step] = [found.per_class_f1.get(str(label), np.nan) for label in labels]
    return Separability(
        labels=tuple(str(label) for label in labels),
        f1=f1,
        overall=overall,
        first=tuple(first_lasting(f1[:, k], threshold) for k in range(len(labels))),
        threshold=threshold,
    )


def first_lasting(f1: NDArray[Any], threshold: float) -> int | None:
    """First place from which values are never again below a threshold, None where the last one is.

    >>> first_lasting(np.array([0.2, 0.9, 0.7, 0.8, 0.9]), 0.8), first_lasting(np.array([0.9, 0.1]), 0.8)
    (3, None)
    """
    below = np.flatnonzero(~(np.asarray(f1) >= threshold))
    first = int(below[-1]) + 1 if below.size else 0
    return first if first < len(f1) else None
