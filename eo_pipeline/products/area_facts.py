"""What a reference sample tells of a map, put together: region and units, and their facts for JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from eo_pipeline.products.answers import Reference
from eo_pipeline.products.area import AreaEstimates, MapAccuracy, Ratio
from eo_pipeline.products.stratified import INTERVAL_METHOD, Stratified, model_assisted, stehman_2014
from eo_pipeline.products.zonal import ZoneUnit, inside

#: 亩 of a hectare.
MU_PER_HA: Final = 15


@dataclass(frozen=True, slots=True)
class SampleEstimates:
    """The region's estimates, and those of its units in their order.

    `assisted` is the region by the method of its units, so that these add up to it: None where the strata are
    the map's classes, as it is the same there.
    """

    region: Stratified
    assisted: AreaEstimates | None
    units: tuple[AreaEstimates, ...]


def sample_estimates(
    reference: Reference,
    mapped_ha: Sequence[float],
    units: Sequence[ZoneUnit],
    unit_ha: NDArray[np.float64],
    *,
    confidence: float,
) -> SampleEstimates:
    """Estimates of the region by `stehman_2014`, and of it and its units by `model_assisted`.

    Parameters
    ----------
    mapped_ha, unit_ha : float64 [class] and [unit, class]
        Mapped areas, classes in the order of `reference.labels`.
    """
    counts = reference.counts()
    region = stehman_2014(
        counts,
        reference.stratum_ha,
        reference.labels,
        strata=reference.strata,
        confidence=confidence,
        method=reference.method,
    )
    members = [inside(unit, reference.lon, reference.lat) for unit in units]
    whole, *parts = model_assisted(
        counts,
        np.stack([counts, *(reference.counts(member) for member in members)]),
        reference.stratum_ha,
        # what the map leaves blank has no area in it
        np.pad(np.vstack([np.asarray(mapped_ha)[None], unit_ha]), ((0, 0), (0, 1))),
        reference.labels,
        confidence=confidence,
    )
    own_strata = reference.method == "olofsson_2014"
    return SampleEstimates(region, None if own_strata else whole, tuple(parts))


def area_rows(
    estimate: AreaEstimates, mapped_ha: Sequence[float], *, unit: str | None = None
) -> list[dict[str, Any]]:
    """One row a class: pixel count and estimate, with standard error, interval, and coefficient of variation.

    Parameters
    ----------
    mapped_ha
        By class, in the order of the estimate.
    """
    table = zip(
        estimate.labels,
        mapped_ha,
        estimate.area_ha,
        estimate.se_ha,
        estimate.ci_low_ha,
        estimate.ci_high_ha,
        strict=True,
    )
    return [
        ({} if unit is None else {"unit": unit})
        | {
            "class": label,
            "pixel_count_ha": rounded(mapped, 4),
            "area_ha": rounded(area, 4),
            "se_ha": rounded(se, 4),
            "ci_low_ha": rounded(low, 4),
            "ci_high_ha": rounded(high, 4),
            "cv": rounded(se / area if area > 0 else np.nan),
            "area_mu": rounded(area * MU_PER_HA, 3),
            "method": estimate.method,
            "n_samples": estimate.n_samples,
        }
        for label, mapped, area, se, low, high in table
    ]


def accuracy_facts(reference: Reference, accuracy: MapAccuracy) -> dict[str, Any]:
    """Accuracy of a map on its reference sample: counts, plain agreement, and the area-weighted accuracies
    with standard errors and intervals.
    """
    counts = reference.counts().sum(axis=0)
    agreement = float(np.trace(counts) / max(1, counts.sum()))
    return {
        "design": reference.design,
        "n": int(counts.sum()),
        "labels": list(reference.labels),
        "confusion": counts[: len(reference.labels)].tolist(),
        "confusion_axes": "rows mapped class, columns reference class",
        "agreement": round(agreement, 6),
        **map_accuracy_facts(accuracy),
        "method": f"{reference.method}, area-weighted",
        "interval_method": INTERVAL_METHOD,
        "notes": list(reference.notes),
    }


def map_accuracy_facts(accuracy: MapAccuracy) -> dict[str, Any]:
    """The area-weighted accuracies alone."""
    overall = accuracy.overall
    return {
        "overall_accuracy": rounded(overall.value),
        "overall_se": rounded(overall.se),
        "overall_interval": [rounded(overall.low), rounded(overall.high)],
        **_by_class("users", accuracy.users),
        **_by_class("producers", accuracy.producers),
        "confidence": accuracy.confidence,
    }


def _by_class(name: str, found: Ratio) -> dict[str, Any]:
    return {
        f"{name}_accuracy": rounded(found.value),
        f"{name}_se": rounded(found.se),
        f"{name}_interval": [
            list(pair) for pair in zip(rounded(found.low), rounded(found.high), strict=True)
        ],
    }


def rounded(values: Any, digits: int = 6) -> Any:
    """Numbers as JSON has them: a number or a list of them, None for NaN.

    >>> rounded(np.array([0.12345678, np.nan])), rounded(np.array(0.5))
    ([0.123457, None], 0.5)
    """
    array = np.asarray(values, dtype=np.float64)
    if array.ndim:
        return [rounded(value, digits) for value in array]
    return round(float(array), digits) if np.isfinite(array) else None
