"""Samples that belong together: squares of ground, and folds that keep them whole."""

from __future__ import annotations

import warnings
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from models.errors import SeriesError
from models.series import Codes

#: Kilometres in a degree of latitude, for squares of about the asked side.
KM_PER_DEGREE: Final = 111.32


def grouped_folds(y: NDArray[Any], groups: ArrayLike, *, folds: int, seed: int) -> list[tuple[Codes, Codes]]:
    """(train, test) rows of each fold; a group lies on one side only.

    Raises
    ------
    SeriesError
        Fewer than two folds, or fewer groups or samples than folds.
    """
    number = np.unique(np.asarray(groups), return_inverse=True)[1]
    n_groups, largest = int(number.max()) + 1, int(np.unique(y, return_counts=True)[1].max())
    if folds < 2:
        raise SeriesError(f"{folds} fold(s) were asked for; cross-validation needs at least 2.")
    if folds > min(n_groups, largest):
        raise SeriesError(
            f"{folds} folds were asked of {len(y)} samples in {n_groups} groups (largest class: {largest} "
            f"samples). Use at most {min(n_groups, largest)} folds, smaller groups, or more samples."
        )
    splits = split_groups(y, number, parts=folds, seed=seed)
    if any(len(test) == 0 or len(train) == 0 for train, test in splits):
        raise SeriesError(
            f"{folds} folds leave one of them empty, because a few groups hold most samples. Use fewer "
            "folds or "
            "smaller groups."
        )
    return splits


def split_groups(y: NDArray[Any], groups: Codes, *, parts: int, seed: int) -> list[tuple[Codes, Codes]]:
    """(others, part) rows of each of `parts` stratified parts of whole groups."""
    from sklearn.model_selection import StratifiedGroupKFold  # a worker that only predicts does without

    splitter = StratifiedGroupKFold(parts, shuffle=True, random_state=seed)
    with warnings.catch_warnings():
        # A class of fewer samples than parts is no mistake here: it is counted as wrong where it is unknown.
        warnings.filterwarnings("ignore", message="The least populated class", category=UserWarning)
        return list(splitter.split(np.zeros(len(y)), y, groups))


def square_groups(lon: ArrayLike, lat: ArrayLike, km: float) -> Codes:
    """Number the squares of ground in which places lie, so that neighbours share a group.

    Parameters
    ----------
    lon, lat : (n,) array_like
        Degrees.
    km : float
        Side of the squares in kilometres. Rows are `km` high; in each row columns are `km` wide at the row's
        middle latitude.

    Returns
    -------
    (n,) int64
        0, 1, … in no particular order. Places of one square are less than 1.5 `km` apart.
    """
    x, y = np.asarray(lon, dtype=np.float64), np.asarray(lat, dtype=np.float64)
    if not km > 0:
        raise SeriesError(f"The side of the squares is {km} km; it must be more than 0.")
    outside = ~(np.isfinite(x) & np.isfinite(y) & (np.abs(x) <= 360) & (np.abs(y) <= 90))
    if x.shape != y.shape or x.ndim != 1 or outside.any():
        raise SeriesError(
            "Longitudes and latitudes must be two lists of one length in degrees, |lat| ≤ 90"
            + (f"; rows {np.flatnonzero(outside)[:8].tolist()} are not." if outside.any() else ".")
        )
    row = np.floor(y * KM_PER_DEGREE / km)
    middle = np.clip((row + 0.5) * km / KM_PER_DEGREE, -90.0, 90.0)
    column = np.floor(x * KM_PER_DEGREE * np.cos(np.radians(middle)) / km)
    squares = np.stack([row, column], axis=1)
    return np.unique(squares, axis=0, return_inverse=True)[1].reshape(-1).astype(np.int64)
