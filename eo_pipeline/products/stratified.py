"""Areas and accuracies from a stratified random sample: of the region (Stehman 2014, and Olofsson 2014 where
the strata are the map's classes), and of its units (model-assisted).

Everything follows from counts of points by stratum, mapped class and reference class. Leading axes are
samples, so that thousands of simulated ones are judged in one call.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from eo_pipeline.errors import SampleError
from eo_pipeline.products.area import AreaEstimates, Floats, MapAccuracy, Method, Ratio, z_quantile

Bools = NDArray[np.bool_]

#: Points of the region that a unit's own points weigh against when the spread of its errors is told.
_BORROWED: Final = 20.0
#: Said wherever intervals of this module are printed.
INTERVAL_METHOD: Final = (
    "Wilson's interval in each stratum, joined by recovered variances (Zou et al. 2009; Donner & Zou 2012)"
)


@dataclass(frozen=True, slots=True)
class Stratified:
    """What a sample tells of the region: the areas of the classes, and how good the map is."""

    area: AreaEstimates
    accuracy: MapAccuracy


def stehman_2014(
    counts: NDArray[np.int64],
    stratum_ha: Floats,
    labels: Sequence[str],
    *,
    strata: Sequence[str] | None = None,
    confidence: float = 0.95,
    method: Method = "stehman_2014",
) -> Stratified:
    """Areas and accuracies from a stratified random sample whose strata may be any: those of an older map,
    say.

    Parameters
    ----------
    counts : int [..., stratum, mapped class, reference class]
        Points. Mapped and reference classes stand in the order of `labels`; further mapped classes, like land
        that the map leaves blank, follow after them and are never right.
    stratum_ha : float64 [stratum]
        Areas of the strata.
    labels
        Class names.
    strata
        Names of the strata for messages; their numbers by default.
    confidence
        Of the intervals.

    Returns
    -------
    Stratified
        Estimates: Stehman 2014, eq. 2 with the indicators of eq. 12 (overall), 14 (area) and 16 (cell), and
        the ratios of eq. 27 for user's and producer's accuracy. Standard errors: eq. 25 and 28, the
        finite-population term left out. Intervals do not come from them, because a normal interval does not
        cover where a class is rare or a map nearly right (Brown et al. 2001): each stratum has Wilson's, and
        what they deviate is added up in squares (MOVER, Zou et al. 2009); of ratios by its form of Fieller's
        theorem (Donner & Zou 2012). In one stratum that is Wilson's interval itself.

    Raises
    ------
    SampleError
        Tables that do not fit, or a stratum with fewer than two points.

    References
    ----------
    Stehman, S. V. (2014). Estimating area and map accuracy for stratified random sampling when the strata are
    different from the map classes. International Journal of Remote Sensing 35, 4923-4939.
    doi:10.1080/01431161.2014.930207

    Zou, G. Y., Huang, W., Zhang, X. (2009). A note on confidence interval estimation for a linear function of
    binomial proportions. Computational Statistics & Data Analysis 53, 1080-1085.
    doi:10.1016/j.csda.2008.09.033

    Donner, A., Zou, G. Y. (2012). Closed-form confidence intervals for functions of the normal mean and
    standard deviation. Statistical Methods in Medical Research 21, 347-359. doi:10.1177/0962280210383082

    Brown, L. D., Cai, T. T., DasGupta, A. (2001). Interval estimation for a binomial proportion. Statistical
    Science 16, 101-133. doi:10.1214/ss/1009213286

    Examples
    --------
    Half of a region is drawn as "crop" on an older map; 45 of 50 points there are crop still.

    >>> n = np.zeros((2, 2, 2), dtype=int)
    >>> n[0] = [[44, 4], [1, 1]]; n[1] = [[2, 1], [1, 46]]
    >>> got = stehman_2014(n, np.array([500.0, 500.0]), ["crop", "other"])
    >>> got.area.area_ha.tolist(), round(float(got.accuracy.overall.value), 2)
    ([480.0, 520.0], 0.93)
    """
    n, area, total = _checked(counts, stratum_ha, labels, strata)
    size = len(labels)
    weight = area / total
    points = n.sum(axis=(-2, -1))  # [..., stratum]
    z = z_quantile(0.5 + confidence / 2)
    right = np.diagonal(n, axis1=-2, axis2=-1)  # [..., stratum, class]
    mapped, truly = n.sum(axis=-1)[..., :size], n.sum(axis=-2)
    shares = _total(truly, points, weight, z)
    overall = _total(right.sum(axis=-1, keepdims=True), points, weight, z)
    # Where a stratum has no point mapped as a class, none can be right there, and so on.
    here, elsewhere = mapped > 0, mapped < points[..., None]
    users = _ratio(right, mapped - right, points, weight, z, possible=(here, here))
    producers = _ratio(right, truly - right, points, weight, z, possible=(here, elsewhere))
    drawn = int(n.sum(axis=(-3, -2, -1)).flat[0])
    return Stratified(
        AreaEstimates(
            tuple(labels),
            total * shares.value,
            total * shares.se,
            total * shares.low,
            total * shares.high,
            method,
            drawn,
            confidence,
        ),
        MapAccuracy(
            tuple(labels),
            Ratio(*(part[..., 0] for part in (overall.value, overall.se, overall.low, overall.high))),
            users,
            producers,
            np.einsum("h,...hij->...ij", weight, n / np.maximum(points, 1)[..., None, None]),
            drawn,
            confidence,
        ),
    )


def olofsson_2014(
    counts: NDArray[np.int64], mapped_ha: Floats, labels: Sequence[str], *, confidence: float = 0.95
) -> Stratified:
    """`stehman_2014` where the strata are the map's classes: Olofsson et al. 2014, eq. 1-11.

    Parameters
    ----------
    counts : int [..., mapped class, reference class]
        Points, both axes in the order of `labels`.
    mapped_ha : float64 [mapped class]
        Mapped areas.

    References
    ----------
    Olofsson, P. et al. (2014). Good practices for estimating area and assessing accuracy of land change.
    Remote Sensing of Environment 148, 42-57. doi:10.1016/j.rse.2014.02.015

    Examples
    --------
    The paper's own example (table 8): 21,158 ± 6158 ha of deforestation.

    >>> n = np.array([[66, 0, 5, 4], [0, 55, 8, 12], [1, 0, 153, 11], [2, 1, 9, 313]])
    >>> mapped = np.array([200_000, 150_000, 3_200_000, 6_450_000]) * 0.09
    >>> got = olofsson_2014(n, mapped, ["deforestation", "gain", "forest", "other"]).area
    >>> f"{got.area_ha[0]:.0f} ± {1.96 * got.se_ha[0]:.0f}"
    '21158 ± 6158'
    """
    n = np.asarray(counts, dtype=np.int64)
    size = len(labels)
    if n.shape[-2:] != (size, size):
        raise SampleError(
            f"counts {n.shape} do not fit {size} classes; give a square table, map classes in rows, "
            "reference classes in columns."
        )
    by_stratum = np.zeros((*n.shape[:-2], size, size, size), dtype=np.int64)
    each = np.arange(size)
    by_stratum[..., each, each, :] = n
    return stehman_2014(
        by_stratum, mapped_ha, labels, strata=labels, confidence=confidence, method="olofsson_2014"
    )


def model_assisted(
    counts: NDArray[np.int64],
    unit_counts: NDArray[np.int64],
    stratum_ha: Floats,
    unit_ha: Floats,
    labels: Sequence[str],
    *,
    confidence: float = 0.95,
) -> tuple[AreaEstimates, ...]:
    """Areas of units (counties) from the region's sample and the map of each unit.

    The map of a unit, corrected by the region's rates of error, is taken as a model; the unit's own points
    then correct the model. So the estimate is unbiased whatever the errors of the unit are (a synthetic one
    is not), and units that tile the region add up to its map corrected by the sample: to `olofsson_2014`
    itself where the strata are the map's classes.

    Parameters
    ----------
    counts : int [..., stratum, mapped class, reference class]
        Points of the region, as in `stehman_2014`.
    unit_counts : int [..., unit, stratum, mapped class, reference class]
        Those of them that lie in each unit. Units may overlap (a township and its county) or have none.
    stratum_ha : float64 [stratum]
        Of the region.
    unit_ha : float64 [unit, mapped class]
        Mapped areas.

    Returns
    -------
    tuple of AreaEstimates
        One a unit, method "model_assisted". With P_gk the share of reference class k in mapped class g over
        the region, A_ug the unit's mapped area, and w the area a point stands for: sum_g A_ug P_gk + sum over
        the unit's points of w (y_k - P_gk), the regression estimator of a domain (Särndal et al. 1992,
        eq. 10.5.6; Rao & Molina 2015, 2.5). Its variance is that of the residuals. As a unit's few points
        cannot tell it, their mean square is drawn towards the region's, which weighs as `_BORROWED` points.
        `n_samples` are the unit's own. Normal interval, within 0 and the unit's area.

    References
    ----------
    Särndal, C.-E., Swensson, B., Wretman, J. (1992). Model Assisted Survey Sampling. Springer, chapter 10.

    Rao, J. N. K., Molina, I. (2015). Small Area Estimation, 2nd ed. Wiley. doi:10.1002/9781118735855
    """
    n, area, _ = _checked(counts, stratum_ha, labels, None)
    own, mapped = np.asarray(unit_counts, dtype=np.float64), np.asarray(unit_ha, dtype=np.float64)
    if own.shape != (*n.shape[:-3], len(mapped), *n.shape[-3:]) or mapped.shape[1:] != (n.shape[-2],):
        raise SampleError(
            f"counts of units {own.shape} and their areas {mapped.shape} do not fit the region's counts "
            f"{n.shape}; give a table and a row of mapped areas a unit."
        )
    points = n.sum(axis=(-2, -1))
    each = area / np.maximum(points, 1)  # w, ha a point stands for [..., stratum]
    cells = np.einsum("...h,...hgk->...gk", each, n)
    sampled = cells.sum(axis=-1, keepdims=True)  # [..., g, 1]
    share = np.divide(cells, sampled, out=np.zeros_like(cells), where=sampled > 0)  # P_gk
    unseen = np.zeros(share.shape[-2:])
    np.fill_diagonal(unseen, 1.0)  # a mapped class without any point is taken at its word
    share = np.where(sampled > 0, share, unseen)

    model = np.einsum("ug,...gk->...uk", mapped, share)
    truly, seen = own.sum(axis=-2), own.sum(axis=-1)  # [..., u, h, k], [..., u, h, g]
    expected = np.einsum("...uhg,...gk->...uhk", seen, share)
    value = model + np.einsum("...h,...uhk->...uk", each, truly - expected)

    # Sum of squared residuals: (1 - P)^2 where the point is of the class, P^2 where it is not.
    square = share**2
    own_square = np.einsum("...uhgk,...gk->...uhk", own, 1 - 2 * share) + np.einsum(
        "...uhg,...gk->...uhk", seen, square
    )
    all_seen = n.sum(axis=-1)
    region_square = np.einsum("...hgk,...gk->...hk", n, 1 - 2 * share) + np.einsum(
        "...hg,...gk->...hk", all_seen, square
    )
    # Half a point of each kind more: where no error was seen, none may have been met by chance.
    region_mean = (region_square + 0.5) / np.maximum(points + 0.5, 1)[..., None]
    own_points = seen.sum(axis=-1)  # [..., u, h]
    borrowed = own_square + _BORROWED * region_mean[..., None, :, :]
    mean_square = borrowed / (own_points + _BORROWED)[..., None]
    part = _stratum_share(n, mapped, each, area)  # of each stratum that lies in the unit [..., u, h]
    freedom = np.maximum(points - 1, 1)[..., None, :, None]
    variance = ((area**2)[:, None] * part[..., None] * mean_square / freedom).sum(axis=-2)
    se = np.sqrt(variance)
    half = z_quantile(0.5 + confidence / 2) * se
    limit = mapped.sum(axis=1)[:, None]
    value = np.clip(value, 0, limit)
    low, high = np.clip(value - half, 0, limit), np.clip(value + half, 0, limit)
    drawn = own.sum(axis=(-3, -2, -1)).reshape(-1, len(mapped))[0]
    return tuple(
        AreaEstimates(
            tuple(labels),
            value[..., u, :],
            se[..., u, :],
            low[..., u, :],
            high[..., u, :],
            "model_assisted",
            int(drawn[u]),
            confidence,
        )
        for u in range(len(mapped))
    )


def _stratum_share(n: Floats, mapped: Floats, each: Floats, area: Floats) -> Floats:
    """Share of each stratum that lies in each unit, told by the unit's map: [..., unit, stratum]."""
    cells = each[..., None] * n.sum(axis=-1)  # ha by stratum and mapped class [..., h, g]
    column = cells.sum(axis=-2, keepdims=True)
    of_class = np.divide(cells, column, out=np.zeros_like(cells), where=column > 0)
    found = np.einsum("ug,...hg->...uh", mapped, of_class)
    return np.asarray(np.clip(found / np.maximum(area, 1e-300), 0, 1))


def _total(k: Floats, points: Floats, weight: Floats, z: float) -> Ratio:
    """Share of the region that has a property, from `k` points of `points` in each stratum: [..., class]."""
    m, w = np.maximum(points, 1)[..., None], weight[:, None]
    p = k / m
    value = (w * p).sum(axis=-2)
    se = np.sqrt((w**2 * p * (1 - p) / np.maximum(m - 1, 1)).sum(axis=-2))  # eq. 25
    down, up = _wilson(k, m, z)
    low = value - np.sqrt((w**2 * down**2).sum(axis=-2))
    high = value + np.sqrt((w**2 * up**2).sum(axis=-2))
    return Ratio(value, se, np.clip(low, 0, 1), np.clip(high, 0, 1))


def _ratio(
    a: Floats, b: Floats, points: Floats, weight: Floats, z: float, *, possible: tuple[Bools, Bools]
) -> Ratio:
    """A / (A + B), A and B being the areas of which `a` and `b` points were met: [..., class].

    In strata where `possible` says no, there is nothing of A or B for certain.
    The limits o of the odds A / B are where the limits of A - o B, found by recovered variances, are 0: a
    quadratic in o.
    """
    m, w = np.maximum(points, 1)[..., None], weight[:, None]
    pa, pb = a / m, b / m
    total_a, total_b = (w * pa).sum(axis=-2), (w * pb).sum(axis=-2)
    with np.errstate(invalid="ignore", divide="ignore"):
        value = total_a / (total_a + total_b)
    r = value[..., None, :]
    mean = (1 - r) * pa - r * pb
    spread = ((1 - r) ** 2 * pa + r**2 * pb - mean**2) / np.maximum(m - 1, 1)
    with np.errstate(invalid="ignore", divide="ignore"):
        se = np.sqrt((w**2 * spread).sum(axis=-2)) / (total_a + total_b)  # eq. 28

    a_down, a_up = (part * possible[0] for part in _wilson(a, m, z))
    b_down, b_up = (part * possible[1] for part in _wilson(b, m, z))
    rest = m - a - b
    tie = np.sqrt((a + 0.5) * (b + 0.5) / ((a + 0.5 + rest) * (b + 0.5 + rest)))  # minus their correlation
    less_a, more_a, less_b, more_b = ((w**2 * off**2).sum(axis=-2) for off in (a_down, a_up, b_down, b_up))
    product = total_a * total_b
    low = _odds(total_a**2 - less_a, total_b**2 - more_b, product + (w**2 * tie * a_down * b_up).sum(axis=-2))
    high = _odds(
        total_b**2 - less_b, total_a**2 - more_a, product + (w**2 * tie * b_down * a_up).sum(axis=-2)
    )
    known = np.isfinite(value)
    return Ratio(
        value,
        se,
        np.where(known, low / (1 + low), np.nan),
        np.where(known, 1 / (1 + high), np.nan),
    )


def _odds(first: Floats, second: Floats, cross: Floats) -> Floats:
    """Smaller positive root o of `second` o² - 2 `cross` o + `first` = 0."""
    first = np.maximum(first, 0)
    root = np.sqrt(np.maximum(cross**2 - first * second, 0))
    return np.asarray(np.divide(first, cross + root, out=np.zeros_like(first), where=cross + root > 0))


def _wilson(k: Floats, m: Floats, z: float) -> tuple[Floats, Floats]:
    """How far Wilson's limits of k / m lie below and above it."""
    p = k / m
    middle = (k + z**2 / 2) / (m + z**2)
    half = z / (m + z**2) * np.sqrt(k * (m - k) / m + z**2 / 4)
    return p - np.maximum(middle - half, 0), middle + half - p


def _checked(
    counts: NDArray[np.int64], stratum_ha: Floats, labels: Sequence[str], strata: Sequence[str] | None
) -> tuple[Floats, Floats, float]:
    """Counts and areas of fitting shape, and the total area."""
    n, area = np.asarray(counts, dtype=np.float64), np.asarray(stratum_ha, dtype=np.float64)
    size = len(labels)
    if n.ndim < 3 or n.shape[-3] != area.size or n.shape[-2] < size or n.shape[-1] != size:
        raise SampleError(
            f"counts {n.shape} and areas {area.shape} do not fit {size} classes; give a table of mapped by "
            "reference class for each stratum."
        )
    points = n.sum(axis=(-2, -1)).reshape(-1, area.size).min(axis=0)
    for number, (drawn, hectares) in enumerate(zip(points, area, strict=True)):
        if hectares > 0 and drawn < 2:
            name = strata[number] if strata else f"#{number + 1}"
            raise SampleError(
                f"the stratum {name!r} ({hectares:.0f} ha) holds {drawn:.0f} reference point(s); at least 2 "
                "are needed for an error, 50 or more for a useful one. Draw more points in it."
            )
    if area.sum() <= 0:
        raise SampleError("the areas of the strata sum to 0; check the class map.")
    return n, area, float(area.sum())
