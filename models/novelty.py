"""Novelty: how far a series lies from all that the model has learnt, whatever class it is given.

A network is as sure of what it has never seen as of what it knows. What it saw of a series on the way to its
answer, the units of the hidden layer, tells more: the Mahalanobis distance to the nearest class (Lee et al.
2018, arXiv 1807.03888, eq. 2), here within each member of the ensemble, with covariances shrunk by Ledoit &
Wolf 2004 (doi 10.1016/S0047-259X(03)00096-4). The distance is told as the share of held-out training samples
that lie nearer.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

#: Knots of the distances' distribution: one a percent.
LEVELS: Final = 101
#: A hidden unit that is nearly always silent must not make a rare spark a world away.
_LEAST_SPREAD: Final = 0.1


@dataclass(frozen=True)
class Familiar:
    """What is known to each member.

    Attributes
    ----------
    whiten : (m, h, h) float32
        Makes the hidden units' spread within classes equal in all directions.
    centres : (m, k, h) float32
        Mean of each class after that.
    levels : (101,) float32
        Distances below which 0, 1, … 100 % of held-out training samples lie.
    """

    whiten: NDArray[np.float32]
    centres: NDArray[np.float32]
    levels: NDArray[np.float32]


def distances(hidden: Tensor, whiten: Tensor, centres: Tensor) -> Tensor:
    """Squared distance of hidden units (n, m, h) to the nearest class, in each member (n, m)."""
    white = torch.einsum("nmh,mhg->nmg", hidden, whiten)
    crossed = torch.einsum("nmg,mkg->nmk", white, centres)
    squares = (white**2).sum(dim=2, keepdim=True) - 2 * crossed + (centres**2).sum(dim=2)
    return squares.amin(dim=2).clamp(min=0.0)


def share_nearer(distance: Tensor, levels: Tensor) -> Tensor:
    """Share (n,) of held-out samples nearer than `distance` (n,): 1 is beyond all of them."""
    above = torch.searchsorted(levels, distance.contiguous(), right=True)
    low = levels[(above - 1).clamp(0, LEVELS - 1)]
    high = levels[above.clamp(max=LEVELS - 1)]
    within = ((distance - low) / (high - low).clamp(min=1e-12)).clamp(0.0, 1.0)
    return ((above - 1 + within) / (LEVELS - 1)).clamp(0.0, 1.0)


def learn(
    hidden: NDArray[np.float32], codes: NDArray[np.int64], classes: int, held_out: NDArray[np.bool_] | None
) -> Familiar:
    """Measure what is familiar.

    Parameters
    ----------
    hidden : (n, m, h) float32
        Hidden units of the training samples.
    codes : (n,) int64
        Their classes.
    classes : int
        Number of classes.
    held_out : (n, m) bool, optional
        Samples a member did not learn from: they make the levels. None: all samples make them, which says a
        little too seldom that something is new.
    """
    n, m, h = hidden.shape
    whiten = np.empty((m, h, h), dtype=np.float32)
    centres = np.empty((m, classes, h), dtype=np.float32)
    for member in range(m):
        seen = np.ones(n, dtype=bool) if held_out is None else ~held_out[:, member]
        whiten[member], centres[member] = _classes_of(hidden[seen, member], codes[seen], classes)
    with torch.inference_mode():
        squares = distances(*(torch.from_numpy(part) for part in (hidden, whiten, centres))).numpy()
    if held_out is None:
        unseen = squares.mean(axis=1)
    else:
        rows = held_out.any(axis=1)
        unseen = (squares * held_out)[rows].sum(axis=1) / held_out[rows].sum(axis=1)
    levels = np.quantile(unseen, np.linspace(0.0, 1.0, LEVELS)).astype(np.float32)
    return Familiar(whiten, centres, np.maximum.accumulate(levels))


def _classes_of(
    hidden: NDArray[np.float32], codes: NDArray[np.int64], classes: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Whitening matrix (h, h) and whitened class means (k, h) of one member's samples (n, h)."""
    from sklearn.covariance import ledoit_wolf  # a worker that only predicts does without

    values = hidden.astype(np.float64)
    counts = np.bincount(codes, minlength=classes)
    sums = np.zeros((classes, values.shape[1]))
    np.add.at(sums, codes, values)
    means = np.where(counts[:, None] > 0, sums / np.maximum(counts, 1)[:, None], np.inf)
    inside = values - means[codes]
    spread = np.maximum(inside.std(axis=0), _LEAST_SPREAD * max(float(inside.std()), 1e-6))
    covariance, _ = ledoit_wolf(inside / spread, assume_centered=True)
    size, axes = np.linalg.eigh(covariance)
    matrix = (axes / np.sqrt(np.maximum(size, 1e-6))) / spread[:, None]
    known = counts > 0
    centres = np.full_like(means, 1e6)  # a class this member saw nothing of is near to nothing
    centres[known] = means[known] @ matrix
    return matrix.astype(np.float32), centres.astype(np.float32)
