"""Crop areas with their errors: from a probability sample, and, where there is none, from the model's own
errors.

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

Method = Literal["pixel_count", "olofsson_2014", "synthetic_olofsson_2014", "adjusted_count_model_based"]
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
class MapAccuracy:
    """Accuracies of a map, area-weighted, with standard errors; [class] arrays, NaN where undefined."""

    labels: tuple[str, ...]
    overall: float
    overall_se: float
    users: Floats
    users_se: Floats
    producers: Floats
    producers_se: Floats
    proportions: Floats
    n_samples: int


def pixel_count(labels: Sequence[str], mapped_area_ha: Floats, *, confidence: float = 0.95) -> AreaEstimates:
    """The map's own areas, without an error: a count says nothing of how often the map is wrong."""
    area = np.asarray(mapped_area_ha, dtype=np.float64)
    unknown = np.full(area.shape, np.nan)
    return AreaEstimates(tuple(labels), area, unknown, unknown, unknown, "pixel_count", 0, confidence)


def olofsson_2014(
    counts: NDArray[np.int64],
    mapped_area_ha: Floats,
    labels: Sequence[str],
    *,
    confidence: float = 0.95,
) -> AreaEstimates:
    """Areas from a stratified random sample whose strata are the map's classes.

    Parameters
    ----------
    counts : int [map class, reference class]
        n_ij, sample points by mapped class i and reference class j. Rows may be strata that are no class of
        the reference and the other way round; both axes carry `labels` in one order.
    mapped_area_ha : float64 [map class]
        Area of each stratum.
    labels
        Class names.
    confidence
        Of the interval; normal quantile, as in the paper.

    Returns
    -------
    AreaEstimates
        Olofsson et al. 2014, eq. 9 (proportion), eq. 10 (standard error), eq. 11 (area). Where all points of
        all strata agree, eq. 10 gives 0, which is no knowledge of 0 error: there the interval (and it alone)
        is taken from counts with half a point added to either side (Jeffreys).

    Raises
    ------
    SampleError
        A mapped class with fewer than two points.

    References
    ----------
    Olofsson, P. et al. (2014). Good practices for estimating area and assessing accuracy of land change.
    Remote Sensing of Environment 148, 42-57. doi:10.1016/j.rse.2014.02.015

    Examples
    --------
    The paper's own example (table 8): 21,158 ± 6158 ha of deforestation.

    >>> n = np.array([[66, 0, 5, 4], [0, 55, 8, 12], [1, 0, 153, 11], [2, 1, 9, 313]])
    >>> mapped = np.array([200_000, 150_000, 3_200_000, 6_450_000]) * 0.09
    >>> got = olofsson_2014(n, mapped, ["deforestation", "gain", "forest", "other"])
    >>> f"{got.area_ha[0]:.0f} ± {got.ci_high_ha[0] - got.area_ha[0]:.0f}"
    '21158 ± 6158'
    """
    n, area, total = _checked(counts, mapped_area_ha, labels)
    weight = area / total
    share = _row_shares(n)
    proportion = weight @ share  # eq. 9
    n_rows = np.maximum(n.sum(axis=1), 2)
    variance = (weight[:, None] ** 2 * share * (1 - share) / (n_rows - 1)[:, None]).sum(axis=0)  # eq. 10
    smoothed = (n + 0.5) / (n.sum(axis=1, keepdims=True) + 1)
    floor = (weight[:, None] ** 2 * smoothed * (1 - smoothed) / n_rows[:, None]).sum(axis=0)
    spread = np.sqrt(np.where(variance > 0, variance, floor))
    return _with_interval(
        labels,
        total * proportion,  # eq. 11
        total * np.sqrt(variance),
        total * spread,
        method="olofsson_2014",
        n_samples=int(n.sum()),
        confidence=confidence,
        limit=total,
    )


def olofsson_accuracy(
    counts: NDArray[np.int64], mapped_area_ha: Floats, labels: Sequence[str]
) -> MapAccuracy:
    """Overall, user's and producer's accuracy with standard errors (Olofsson et al. 2014, eq. 1-7).

    Parameters as in `olofsson_2014`. The diagonal must mean agreement: strata are the map's classes.
    """
    n, area, total = _checked(counts, mapped_area_ha, labels)
    weight = area / total
    share = _row_shares(n)
    n_rows = n.sum(axis=1)
    freedom = np.maximum(n_rows - 1, 1)
    proportions = weight[:, None] * share  # eq. 4
    columns = proportions.sum(axis=0)
    users = np.where(n_rows > 0, np.diag(share), np.nan)  # eq. 2
    with np.errstate(invalid="ignore", divide="ignore"):
        producers = np.diag(proportions) / columns  # eq. 3
    user_variance = users * (1 - users) / freedom  # eq. 6
    overall_variance = float(np.nansum(weight**2 * user_variance))  # eq. 5

    # eq. 7; N_i. is the stratum's area here, which the ratio leaves without consequence.
    within = share * (1 - share) / freedom[:, None]
    omitted = (area[:, None] ** 2 * within).sum(axis=0) - area**2 * np.diag(within)
    own = area**2 * (1 - producers) ** 2 * np.nan_to_num(user_variance)
    with np.errstate(invalid="ignore", divide="ignore"):
        producer_variance = (own + producers**2 * omitted) / (total * columns) ** 2
    return MapAccuracy(
        tuple(labels),
        float(np.trace(proportions)),  # eq. 1
        float(np.sqrt(overall_variance)),
        users,
        np.sqrt(user_variance),
        producers,
        np.sqrt(producer_variance),
        proportions,
        int(n.sum()),
    )


def synthetic_units(
    counts: NDArray[np.int64],
    unit_area_ha: Floats,
    labels: Sequence[str],
    *,
    unit_counts: NDArray[np.int64] | None = None,
    confidence: float = 0.95,
) -> tuple[AreaEstimates, ...]:
    """Areas of units too small for a sample of their own: the map of the unit, corrected by the region's
    errors.

    Synthetic estimator: A_uk = sum_i A_ui n_ik / n_i. Its sums over units equal `olofsson_2014` of the
    region. It rests on the map erring in a unit as in the region; where `unit_counts` tell how far units
    differ, that spread (method of moments) widens the interval, otherwise the interval holds the sampling
    error alone.

    Parameters
    ----------
    counts : int [map class, reference class]
        Of the region.
    unit_area_ha : float64 [unit, map class]
        Mapped areas of the units.
    unit_counts : int [unit, map class, reference class], optional
        The same points by unit.
    """
    unit_area = np.asarray(unit_area_ha, dtype=np.float64)
    n, _, _ = _checked(counts, unit_area.sum(axis=0), labels)
    share = _row_shares(n)
    n_rows = np.maximum(n.sum(axis=1), 2)
    variance = share * (1 - share) / (n_rows - 1)[:, None]
    smoothed = (n + 0.5) / (n.sum(axis=1, keepdims=True) + 1)
    variance = np.where(variance > 0, variance, smoothed * (1 - smoothed) / n_rows[:, None])
    if unit_counts is not None:
        variance = variance + _between_units(np.asarray(unit_counts, dtype=np.float64), share)
    out = []
    for area in unit_area:
        se = np.sqrt((area[:, None] ** 2 * variance).sum(axis=0))
        out.append(
            _with_interval(
                labels,
                area @ share,
                se,
                se,
                method="synthetic_olofsson_2014",
                n_samples=int(n.sum()),
                confidence=confidence,
                limit=float(area.sum()),
            )
        )
    return tuple(out)


def _between_units(unit_counts: Floats, share: Floats) -> Floats:
    """Variance of the units' true error rates about the region's, [map class, reference class], at least 0.

    Spread of the units' rates about the region's less what sampling alone would make, units weighted by their
    points (method of moments). It is taken one standard error up: estimated from few units it is as often too
    small as too large, and too small means intervals that do not cover.
    """
    points = unit_counts.sum(axis=2, keepdims=True)
    with np.errstate(invalid="ignore", divide="ignore"):
        rates = np.where(points > 0, unit_counts / points, 0.0)
    total = np.maximum(points.sum(axis=0), 1)
    spread = (points * (rates - share) ** 2).sum(axis=0)
    units = (points > 0).sum(axis=0)
    spread = spread * (1 + np.sqrt(2 / np.maximum(units - 1, 1)))
    expected = np.maximum(units - 1, 0) * share * (1 - share)
    weight = np.maximum(total - (points**2).sum(axis=0) / total, 1.0)
    return np.where(units > 1, np.maximum((spread - expected) / weight, 0.0), 0.0)


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
    stretch = _t_quantile(0.5 + confidence / 2, fewest - 1) * (fewest / (fewest - 1)) ** 0.5
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


def _checked(
    counts: NDArray[np.int64], mapped_area_ha: Floats, labels: Sequence[str]
) -> tuple[Floats, Floats, float]:
    """Counts and areas of fitting shape, and the total area."""
    n, area = np.asarray(counts, dtype=np.float64), np.asarray(mapped_area_ha, dtype=np.float64)
    size = len(labels)
    if n.shape != (size, size) or area.shape != (size,):
        raise SampleError(
            f"counts {n.shape} and areas {area.shape} do not fit {size} classes; give a square table, map "
            "classes in rows, reference classes in columns."
        )
    for label, points, hectares in zip(labels, n.sum(axis=1), area, strict=True):
        if hectares > 0 and points < 2:
            raise SampleError(
                f"the mapped class {label!r} ({hectares:.0f} ha) holds {points:.0f} reference point(s); "
                "at least 2 are needed for an error, 50 or more for a useful one. Draw more points in it."
            )
    if area.sum() <= 0:
        raise SampleError("the mapped areas sum to 0; check the class map.")
    return n, area, float(area.sum())


def _row_shares(n: Floats) -> Floats:
    """n_ij / n_i., 0 in rows without points."""
    return np.asarray(n / np.maximum(n.sum(axis=1, keepdims=True), 1e-300))


def _with_interval(
    labels: Sequence[str],
    area: Floats,
    se: Floats,
    spread: Floats,
    *,
    method: Method,
    n_samples: int,
    confidence: float,
    limit: float,
) -> AreaEstimates:
    """Normal interval from `spread`, kept within 0 and the whole area."""
    half = _z_quantile(0.5 + confidence / 2) * spread
    low, high = np.clip(area - half, 0, limit), np.clip(area + half, 0, limit)
    return AreaEstimates(tuple(labels), area, se, low, high, method, n_samples, confidence)


def _z_quantile(p: float) -> float:
    from scipy.special import ndtri

    return float(ndtri(p))


def _t_quantile(p: float, freedom: int) -> float:
    from scipy.special import stdtrit

    return float(stdtrit(max(freedom, 1), p))
