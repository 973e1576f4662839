"""Crop areas with their errors: what estimates are, the pixel count, and, where there is no probability
sample (see `stratified`), the count corrected by the model's own errors.

Counting the pixels of a map is biased by the map's confusions, so the count is only ever published beside an
estimate that takes them into account. All areas in hectares.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from eo_pipeline.errors import SampleError

Method = Literal[
    "pixel_count",
    "olofsson_2014",
    "stehman_2014",
    "model_assisted",
    "quadrat_difference",
    "adjusted_count_model_based",
]
Floats = NDArray[np.float64]

BOOTSTRAP: Final = 1000


@dataclass(frozen=True, slots=True)
class AreaEstimates:
    """Areas by class, float64 [class]; standard errors and bounds are NaN where the method has none."""

    labels: tuple[str, ...]
    area_ha: Floats
    se_ha: Floats
    ci_low_ha: Floats
    ci_high_ha: Floats
    method: Method
    n_samples: int
    confidence: float


@dataclass(frozen=True, slots=True)
class Ratio:
    """Shares or accuracies, float64, with standard errors and the bounds of their intervals; NaN where there
    is nothing to judge.
    """

    value: Floats
    se: Floats
    low: Floats
    high: Floats


@dataclass(frozen=True, slots=True)
class MapAccuracy:
    """Accuracies of a map, area-weighted: of the whole, and user's and producer's by class [class].

    `proportions` of the area [mapped class, reference class] are the error matrix.
    """

    labels: tuple[str, ...]
    overall: Ratio
    users: Ratio
    producers: Ratio
    proportions: Floats
    n_samples: int
    confidence: float


def pixel_count(labels: Sequence[str], mapped_area_ha: Floats, *, confidence: float = 0.95) -> AreaEstimates:
    """The map's own areas, without an error: a count says nothing of how often the map is wrong."""
    area = np.asarray(mapped_area_ha, dtype=np.float64)
    unknown = np.full(area.shape, np.nan)
    return AreaEstimates(tuple(labels), area, unknown, unknown, unknown, "pixel_count", 0, confidence)


def adjusted_count(
    true: NDArray[np.int64],
    predicted: NDArray[np.int64],
    mapped_area_ha: Floats,
    labels: Sequence[str],
    *,
    groups: NDArray[np.int64] | None = None,
    confidence: float = 0.95,
    repetitions: int = BOOTSTRAP,
    seed: int = 42,
) -> AreaEstimates:
    """Areas corrected by the model's confusions where there is no probability sample: model-based, and said
    so.

    `adjusted_counts` for one region.
    """
    area = np.asarray(mapped_area_ha, dtype=np.float64)
    return adjusted_counts(
        true,
        predicted,
        area[None],
        labels,
        groups=groups,
        confidence=confidence,
        repetitions=repetitions,
        seed=seed,
    )[0]


def adjusted_counts(
    true: NDArray[np.int64],
    predicted: NDArray[np.int64],
    unit_area_ha: Floats,
    labels: Sequence[str],
    *,
    groups: NDArray[np.int64] | None = None,
    confidence: float = 0.95,
    repetitions: int = BOOTSTRAP,
    seed: int = 42,
) -> tuple[AreaEstimates, ...]:
    """Adjusted counts of several units.

    From out-of-fold predictions of grouped folds, P(predicted j | true k) is estimated; the mapped shares are
    q_j = sum_k P(j | k) pi_k, and the true shares pi are found by least squares with pi >= 0 and sum 1
    (Forman 2008, adjusted count, for many classes). The standard error is that of a cluster bootstrap: whole
    groups are drawn anew, because pixels of one field err together.

    Parameters
    ----------
    true, predicted : int [sample]
        Positions in `labels`. Predictions must be out of fold, else the errors are too small.
    unit_area_ha : float64 [unit, class]
        Mapped areas.
    groups : int [sample], optional
        Field or block of each sample; each sample for itself by default.
    repetitions, seed
        Of the bootstrap.

    Returns
    -------
    tuple of AreaEstimates
        Method "adjusted_count_model_based". It assumes that the samples of a class show the errors that the
        model makes on that class in the region, which no random draw guarantees; it is no design-based
        estimate.

    Raises
    ------
    SampleError
        A class without a sample, or samples of different lengths.

    References
    ----------
    Forman, G. (2008). Quantifying counts and costs via classification. Data Mining and Knowledge Discovery
    17, 164-206. doi:10.1007/s10618-008-0097-y
    """
    true, predicted = np.asarray(true), np.asarray(predicted)
    unit_area = np.asarray(unit_area_ha, dtype=np.float64)
    size = len(labels)
    if true.shape != predicted.shape or unit_area.shape[1:] != (size,):
        raise SampleError(
            f"{true.size} true and {predicted.size} predicted labels, {unit_area.shape} areas and {size} "
            "classes do not fit together; give one prediction a sample and one area a class."
        )
    if lost := [label for k, label in enumerate(labels) if not (true == k).any()]:
        raise SampleError(
            f"class {lost[0]!r} has no sample, so its confusions are unknown. "
            "Add samples of it or leave it out."
        )
    group = np.arange(true.size) if groups is None else np.unique(groups, return_inverse=True)[1]
    n_groups = int(group.max()) + 1
    tables = np.bincount((group * size + true) * size + predicted, minlength=n_groups * size * size)
    tables = tables.reshape(n_groups, size, size).astype(np.float64)

    rng = np.random.default_rng(seed)
    times = rng.multinomial(n_groups, np.full(n_groups, 1 / n_groups), size=repetitions).astype(np.float64)
    drawn = np.einsum("bg,gkj->bkj", times, tables)
    whole = tables.sum(axis=0)
    # A class that a repetition left without a sample keeps its confusions of the whole.
    drawn = np.where(drawn.sum(axis=2, keepdims=True) > 0, drawn, whole)

    # Few groups make intervals too short: by what Student's t is to the normal, and by the (m - 1)/m of a
    # variance around its own mean, m being the groups of the class that has the fewest.
    groups_of = np.maximum((tables.sum(axis=2) > 0).sum(axis=0), 2)
    fewest = int(groups_of.min())
    stretch = t_quantile(0.5 + confidence / 2, fewest - 1) * (fewest / (fewest - 1)) ** 0.5
    # A class never confused in the samples is not known to be never confused: half an error in m + 1 groups.
    rare = 0.5 / (groups_of + 1)
    least = np.sqrt(rare * (1 - rare) / groups_of)
    out = []
    for area in unit_area:
        total = float(area.sum())
        shares = area / total if total > 0 else np.zeros(size)
        estimate = _invert(_row_shares(whole), shares)
        repeated = np.stack([_invert(_row_shares(table), shares) for table in drawn])
        se = repeated.std(axis=0, ddof=1)
        half = stretch * np.where(se > 1e-9, se, least * np.maximum(estimate, shares))
        out.append(
            AreaEstimates(
                tuple(labels),
                total * estimate,
                total * se,
                total * np.clip(estimate - half, 0, 1),
                total * np.clip(estimate + half, 0, 1),
                "adjusted_count_model_based",
                int(true.size),
                confidence,
            )
        )
    return tuple(out)


def _invert(confusion: Floats, mapped: Floats) -> Floats:
    """Shares pi >= 0 of sum 1 for which pi @ confusion comes nearest to `mapped` (least squares)."""
    from scipy.optimize import nnls

    size = mapped.size
    heavy = 1e3  # the sum is not a measurement but a fact
    system = np.vstack([confusion.T, np.full((1, size), heavy)])
    solution: Floats = nnls(system, np.append(mapped, heavy * mapped.sum()))[0]
    total = solution.sum()
    return solution / total * mapped.sum() if total > 0 else mapped


def _row_shares(n: Floats) -> Floats:
    """n_ij / n_i., 0 in rows without points."""
    return np.asarray(n / np.maximum(n.sum(axis=1, keepdims=True), 1e-300))


def z_quantile(p: float) -> float:
    """Quantile of the normal distribution."""
    from scipy.special import ndtri

    return float(ndtri(p))


def t_quantile(p: float, freedom: float | Floats) -> Floats:
    """Quantile of Student's t for degrees of freedom of at least 1."""
    from scipy.special import stdtrit

    return np.asarray(stdtrit(np.maximum(freedom, 1), p), dtype=np.float64)
