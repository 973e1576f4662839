"""Rows of estimates.parquet and series.parquet from sums: areas, growth shares, stage dates and curves."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from eo_pipeline.cube.phenology import stage_dates
from eo_pipeline.errors import SampleError
from eo_pipeline.products.area import (
    AreaEstimates,
    MapAccuracy,
    adjusted_counts,
    olofsson_2014,
    olofsson_accuracy,
    pixel_count,
    synthetic_units,
)
from eo_pipeline.products.curves import REGION, Sums, Zone, total
from eo_pipeline.products.growth import GROWTH_NAMES, growth_shares
from eo_pipeline.products.growth_map import WHOLE
from eo_pipeline.season import ClassSpec, Season

Row = dict[str, Any]
#: Index whose peak shows heading best: it saturates later than NDVI.
_RED_EDGE: Final = "NDRE"


@dataclass(frozen=True, slots=True)
class Reference:
    """Reference points on the map: mapped class (or stratum) and true class, as positions in the class
    list.
    """

    mapped: NDArray[np.int64]
    true: NDArray[np.int64]

    def counts(self, classes: int) -> NDArray[np.int64]:
        """n_ij, mapped class in rows."""
        return np.bincount(self.mapped * classes + self.true, minlength=classes**2).reshape(classes, classes)


@dataclass(frozen=True, slots=True)
class AreaResult:
    """Area rows, and the map's accuracy where there is a reference sample."""

    rows: list[Row]
    accuracy: MapAccuracy | None


def area_table(
    sums: Mapping[Zone, Sums], classes: Sequence[ClassSpec]
) -> tuple[tuple[str, ...], NDArray[np.float64], NDArray[np.int64]]:
    """Units (the whole region first), hectares [unit, class] and pixels [unit, class]."""
    units = [REGION, *dict.fromkeys(zone.code for zone in sums if zone.scope == "unit")]
    hectares = np.zeros((len(units), len(classes)))
    pixels = np.zeros((len(units), len(classes)), dtype=np.int64)
    place = {item.code: number for number, item in enumerate(classes)}
    for zone, item in sums.items():
        if zone.scope in ("class", "unit") and zone.crop in place:
            unit = 0 if zone.scope == "class" else units.index(zone.code, 1)
            hectares[unit, place[zone.crop]] += item.area_ha
            pixels[unit, place[zone.crop]] += item.pixels
    return tuple(units), hectares, pixels


def area_estimates(
    season: Season,
    sums: Mapping[Zone, Sums],
    *,
    folds: Mapping[str, NDArray[Any]],
    reference: Reference | None,
) -> AreaResult:
    """Area of every class in every unit: the pixel count, and the estimate that knows of the map's errors.

    With a probability sample of reference points: Olofsson 2014 for the region, and the synthetic estimator
    built on it for its units. Without one: the adjusted count from the out-of-fold predictions, which is
    model-based and says so.
    """
    labels = tuple(item.name for item in season.classes)
    units, hectares, pixels = area_table(sums, season.classes)
    confidence = season.area.confidence
    rows: list[Row] = []
    for unit, area, count in zip(units, hectares, pixels, strict=True):
        rows += _area_rows(unit, pixel_count(labels, area, confidence=confidence), n=int(count.sum()))

    if reference is not None:
        counts = reference.counts(len(labels))
        strata, areas = pool_strata(counts, hectares)
        estimates = [olofsson_2014(strata, areas[0], labels, confidence=confidence)]
        if len(units) > 1:
            estimates += synthetic_units(strata, areas[1:], labels, confidence=confidence)
        for unit, estimate in zip(units, estimates, strict=True):
            rows += _area_rows(unit, estimate, n=estimate.n_samples)
        pooled = not np.array_equal(strata, counts)
        return AreaResult(rows, None if pooled else olofsson_accuracy(counts, hectares[0], labels))

    known = [name for name in labels if name in set(folds["truth"].tolist())]
    place = {name: number for number, name in enumerate(known)}
    columns = [labels.index(name) for name in known]
    estimates = list(
        adjusted_counts(
            np.array([place[str(name)] for name in folds["truth"]]),
            np.array([place[str(name)] for name in folds["predicted"]]),
            hectares[:, columns],
            known,
            groups=folds["groups"],
            confidence=confidence,
            seed=season.classify.seed if season.classify else 0,
        )
    )
    for unit, estimate in zip(units, estimates, strict=True):
        rows += _area_rows(unit, estimate, n=estimate.n_samples)
    return AreaResult(rows, None)


def pool_strata(
    counts: NDArray[np.int64], hectares: NDArray[np.float64]
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Join mapped classes with fewer than two points into one stratum, as no error is known of them alone.

    Any strata will do for the estimator; pooled ones keep the points' chances as they are.

    Parameters
    ----------
    counts : int [map class, reference class]
    hectares : float64 [unit, map class], the region first.

    Examples
    --------
    >>> n, area = pool_strata(np.array([[9, 1], [0, 1]]), np.array([[90.0, 10.0]]))
    >>> n.tolist(), area.tolist()
    ([[9, 2], [0, 0]], [[100.0, 0.0]])
    """
    counts, hectares = counts.copy(), hectares.copy()
    while True:
        points, area = counts.sum(axis=1), hectares[0]
        poor = np.flatnonzero((points < 2) & (area > 0))
        if not poor.size or np.count_nonzero(area) < 2:
            return counts, hectares
        # the smallest poor class joins the poor class, or else the class, next to it in size
        smallest = poor[np.argmin(area[poor])]
        others = [i for i in poor if i != smallest] or [i for i in np.flatnonzero(area > 0) if i != smallest]
        target = min(others, key=lambda i: float(area[i]))
        for table in (counts, hectares.T):
            table[target] += table[smallest]
            table[smallest] = 0


def _area_rows(unit: str, estimate: AreaEstimates, *, n: int) -> list[Row]:
    table = zip(
        estimate.labels,
        estimate.area_ha,
        estimate.se_ha,
        estimate.ci_low_ha,
        estimate.ci_high_ha,
        strict=True,
    )
    return [
        _row("area", crop, "", unit, area, unit="ha", method=estimate.method, n=n, se=se, low=low, high=high)
        for crop, area, se, low, high in table
    ]


def _row(
    product: str,
    crop: str,
    name: str,
    unit_adcode: str,
    value: float,
    *,
    unit: str,
    method: str,
    n: int,
    se: float = float("nan"),
    low: float = float("nan"),
    high: float = float("nan"),
    monitorable: float = float("nan"),
) -> Row:
    return {
        "product": product,
        "crop": crop,
        "class": name,
        "unit_adcode": unit_adcode,
        "value": round(float(value), 4),
        "unit": unit,
        "se": round(float(se), 4),
        "ci_low": round(float(low), 4),
        "ci_high": round(float(high), 4),
        "method": method,
        "n_samples": n,
        "monitorable_share": round(float(monitorable), 4),
    }


def growth_estimates(season: Season, results: Iterable[Mapping[str, Any]], *, method: str) -> list[Row]:
    """Shares of the growth classes by crop and unit; they sum to 100 of what could be judged."""
    names = {item.code: item.name for item in season.classes} if season.classify else {WHOLE: ""}
    hectares: dict[tuple[str, int], NDArray[np.float64]] = {}
    for result in results:
        for unit, code, row in result["area_ha"]:
            hectares[unit, code] = hectares.get((unit, code), np.zeros(7)) + np.array(row)
    rows: list[Row] = []
    for (unit, code), area in sorted(hectares.items()):
        shares = growth_shares(area)
        for name in GROWTH_NAMES:
            if shares.percent:
                rows.append(
                    _row(
                        "growth",
                        names[code],
                        name,
                        unit,
                        shares.percent[name],
                        unit="percent",
                        method=method,
                        n=0,
                        monitorable=shares.monitorable_share,
                    )
                )
    return rows


def stage_estimates(season: Season, sums: Mapping[Zone, Sums]) -> list[Row]:
    """Stage dates, as day of the year, of each parcel and of each crop in each unit."""
    crops = {item.code: item.name for item in season.classes if item.crop}
    rows: list[Row] = []
    for zone, item in sums.items():
        if zone.scope == "parcel":
            crop = item.crop
            if season.classify and crop not in crops:
                continue
            rows += _stage_rows(season, item, crops.get(crop, ""), f"parcel:{zone.code}")
        elif season.classify and zone.crop in crops:
            unit = REGION if zone.scope == "class" else zone.code
            rows += _stage_rows(season, item, crops[zone.crop], unit)
    return rows


def _stage_rows(season: Season, sums: Sums, crop: str, unit: str) -> list[Row]:
    curve = sums.curve(season.growth.index).smoothed
    days = sums.dates
    known = np.isfinite(curve)
    if known.sum() < 4:
        return []
    red_edge = None
    if _RED_EDGE in sums.indices:
        red_edge = sums.curve(_RED_EDGE).smoothed.astype(np.float32)
    stages = stage_dates(curve.astype(np.float32), days, heading_curve=red_edge)
    method = f"whittaker {season.growth.index}" + (f", heading {_RED_EDGE}" if red_edge is not None else "")
    found = {
        "green_up": stages.green_up,
        "peak": stages.peak,
        "heading": stages.heading,
        "senescence": stages.senescence,
    }
    return [
        _row("stage", crop, name, unit, _day_of_year(day), unit="doy", method=method, n=sums.pixels)
        for name, day in found.items()
        if day is not None
    ]


def _day_of_year(day: date) -> int:
    return day.timetuple().tm_yday


def series_rows(season: Season, sums: Mapping[Zone, Sums]) -> list[Row]:
    """Curves of units (all classes and each), of parcels, and of each class over the region."""
    names = {item.code: item.name for item in season.classes}
    rows: list[Row] = []
    regional = {zone: item for zone, item in sums.items() if zone.scope == "class"}
    for zone, item in sums.items():
        if zone.scope == "class" and zone.crop in names:
            rows += _curve_rows("class", names[zone.crop], names[zone.crop], item)
        elif zone.scope == "unit" and zone.crop in names:
            rows += _curve_rows("unit", zone.code, names[zone.crop], item)
        elif zone.scope == "parcel":
            rows += _curve_rows("parcel", zone.code, names.get(item.crop, ""), item)
    by_unit: dict[str, list[Sums]] = {}
    for zone, item in sums.items():
        if zone.scope == "unit":
            by_unit.setdefault(zone.code, []).append(item)
    if regional:
        by_unit[REGION] = list(regional.values())
        for zone, item in regional.items():
            if zone.crop in names:
                rows += _curve_rows("unit", REGION, names[zone.crop], item)
    for code, parts in by_unit.items():
        rows += _curve_rows("unit", code, "", total(parts))
    return rows


def _curve_rows(scope: str, code: str, crop: str, sums: Sums) -> list[Row]:
    rows = []
    for index in sums.indices:
        curve = sums.curve(index)
        for number, day in enumerate(curve.dates):
            if np.isnan(curve.smoothed[number]) and np.isnan(curve.observed[number]):
                continue
            rows.append(
                {
                    "scope": scope,
                    "scope_id": code,
                    "crop": crop,
                    "index": index,
                    "date": day.isoformat(),
                    "observed": curve.observed[number],
                    "smoothed": curve.smoothed[number],
                    "p25": curve.p25[number],
                    "p75": curve.p75[number],
                    "clear_share": round(float(curve.clear_share[number]), 4),
                }
            )
    return rows


def reference_from(
    season: Season,
    labels: Sequence[str],
    strata: Sequence[str],
    mapped: NDArray[np.uint8],
    rows: Sequence[int],
) -> Reference:
    """Reference points, checked against the design.

    A simple random sample is post-stratified by the class mapped now. A stratified one must have been drawn
    from this very map: `strata` must agree with it, else the chances of the points are not known.
    """
    names = [item.name for item in season.classes]
    place = {item.code: number for number, item in enumerate(season.classes)}
    seen = np.array([place.get(int(code), -1) for code in mapped])
    if season.area.design == "stratified_random":
        for number, row in enumerate(rows):
            now = names[seen[number]] if seen[number] >= 0 else "nothing"
            if strata[number] != now:
                raise SampleError(
                    f"{season.area.reference}, row {row}: the point was drawn in the stratum "
                    f"{strata[number]!r}, but the "
                    f"map shows {now} there now. A stratified sample holds for the map it was drawn from: "
                    "draw it anew."
                )
    keep = seen >= 0
    true = np.array([names.index(label) for label in labels])
    return Reference(seen[keep], true[keep])
