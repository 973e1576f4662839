"""Rows of estimates.parquet and series.parquet from sums: areas, growth shares, stage dates and curves."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from eo_pipeline.cube.phenology import stage_dates
from eo_pipeline.products.answers import Reference
from eo_pipeline.products.area import AreaEstimates, MapAccuracy, adjusted_counts, pixel_count
from eo_pipeline.products.area_facts import sample_estimates
from eo_pipeline.products.curves import REGION, Sums, Zone, total
from eo_pipeline.products.growth import GROWTH_NAMES, growth_shares
from eo_pipeline.products.growth_map import WHOLE
from eo_pipeline.products.peers import peer_ranks
from eo_pipeline.products.zonal import ZoneUnit
from eo_pipeline.season import ClassSpec, Season

Row = dict[str, Any]
#: Index whose peak shows heading best: it saturates later than NDVI.
_RED_EDGE: Final = "NDRE"


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
    zones: Sequence[ZoneUnit] = (),
) -> AreaResult:
    """Area of every class in every unit: the pixel count, and the estimate that knows of the map's errors.

    With a probability sample of reference points: Stehman 2014 (or Olofsson 2014, where the strata are the
    map's classes) for the region, and the model-assisted estimate for its units, whose polygons are `zones`,
    and for the region if it is another there. Without one: the adjusted count from the out-of-fold
    predictions, which is model-based and says so.
    """
    labels = tuple(item.name for item in season.classes)
    units, hectares, pixels = area_table(sums, season.classes)
    confidence = season.area.confidence
    rows: list[Row] = []
    for unit, area, count in zip(units, hectares, pixels, strict=True):
        rows += _area_rows(unit, pixel_count(labels, area, confidence=confidence), n=int(count.sum()))

    if reference is not None:
        polygons = {unit.code: unit for unit in zones}
        found = sample_estimates(
            reference,
            hectares[0].tolist(),
            [polygons[unit] for unit in units[1:]],
            hectares[1:],
            confidence=confidence,
        )
        if found.assisted is not None:
            rows += _area_rows(units[0], found.assisted, n=found.assisted.n_samples)
        for unit, estimate in zip(units, (found.region.area, *found.units), strict=True):
            rows += _area_rows(unit, estimate, n=estimate.n_samples)
        return AreaResult(rows, found.region.accuracy)

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


def curve_estimates(
    season: Season, sums: Mapping[Zone, Sums], units: Sequence[ZoneUnit], parcels: Sequence[ZoneUnit]
) -> list[Row]:
    """What the season curves tell: ranks of parcels among their peers, and stage dates."""
    return [*peer_estimates(season, sums, units, parcels), *stage_estimates(season, sums)]


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


def peer_estimates(
    season: Season, sums: Mapping[Zone, Sums], units: Sequence[ZoneUnit], parcels: Sequence[ZoneUnit]
) -> list[Row]:
    """Percentile of each parcel among its peers; the method says where they are, `n_samples` how many."""
    names = {item.code: item.name for item in season.classes}
    return [
        _row(
            "growth_peers",
            names.get(rank.crop, ""),
            "",
            f"parcel:{rank.parcel}",
            rank.percentile,
            unit="percent",
            method=f"peers in {rank.unit}",
            n=rank.peers,
        )
        for rank in peer_ranks(season, sums, units, parcels)
    ]


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
