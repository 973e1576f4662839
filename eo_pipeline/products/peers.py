"""Growth of parcels among their peers: the rank of each among the parcels of its crop in its township.

It needs no history, and so works in a first season.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from eo_pipeline.cube.store import SCALE
from eo_pipeline.products.curves import REGION, Sums, Zone
from eo_pipeline.products.growth import growing_period
from eo_pipeline.products.thresholds import thresholds
from eo_pipeline.products.zonal import ZoneUnit
from eo_pipeline.season import Season


@dataclass(frozen=True, slots=True)
class Rank:
    """A parcel among `peers` of its crop in a unit, itself one of them: percentile 0-100, 50 the middle."""

    parcel: str
    crop: int
    unit: str
    percentile: float
    peers: int


def peer_ranks(
    season: Season, sums: Mapping[Zone, Sums], units: Sequence[ZoneUnit], parcels: Sequence[ZoneUnit]
) -> list[Rank]:
    """Rank parcels by the mean of their season curve over their crop's growing period.

    Peers are the parcels of the same crop in the smallest unit around the parcel, or in the whole region
    where these are fewer than `growth.min_peers`; with fewer there too a parcel has no rank. A parcel without
    a clear view in the period is neither ranked nor a peer.
    """
    index = season.growth.index
    crops = {item.code for item in season.classes if item.crop} if season.classify else {0}
    periods = _periods(season, sums)
    at = _unit_of(units, parcels)
    found: dict[int, list[tuple[str, float]]] = {}
    for zone, item in sums.items():
        crop = item.crop if season.classify else 0
        if zone.scope != "parcel" or crop not in crops or crop not in periods:
            continue
        number, period = item.indices.index(index), periods[crop]
        total, count = item.smoothed[number, period].sum(axis=0)
        if count and item.observed[number, period, 1].any():
            found.setdefault(crop, []).append((zone.code, float(total / count / SCALE)))

    least = int(thresholds()["growth.min_peers"].value)
    ranks: list[Rank] = []
    for crop, rows in sorted(found.items()):
        groups: dict[str, list[float]] = {}
        for code, value in rows:
            groups.setdefault(at.get(code, REGION), []).append(value)
        everywhere = np.sort([value for _, value in rows])
        sorted_groups = {unit: np.sort(values) for unit, values in groups.items()}
        for code, value in rows:
            unit = at.get(code, REGION)
            peers = sorted_groups[unit]
            if unit == REGION or peers.size < least:
                unit, peers = REGION, everywhere
            if peers.size >= least:
                ranks.append(Rank(code, crop, unit, _percentile(peers, value), int(peers.size)))
    return ranks


def _percentile(peers: NDArray[np.float64], value: float) -> float:
    """Middle rank of a value among sorted ones that hold it, in percent.

    >>> [_percentile(np.array([1.0, 2.0, 2.0, 3.0]), value) for value in (1.0, 2.0, 3.0)]
    [12.5, 50.0, 87.5]
    """
    low, high = np.searchsorted(peers, value, "left"), np.searchsorted(peers, value, "right")
    return float(50.0 * (low + high) / peers.size)


def _periods(season: Season, sums: Mapping[Zone, Sums]) -> dict[int, NDArray[np.bool_]]:
    """By crop, 0 without a crop map, the dates on which it is judged."""
    index = season.growth.index
    periods = {}
    for zone, item in sums.items():
        if zone.scope == "class":
            period = growing_period(item.median(index).astype(np.float32))
            if period.any():
                periods[zone.crop if season.classify else 0] = period
    return periods


def _unit_of(units: Sequence[ZoneUnit], parcels: Sequence[ZoneUnit]) -> dict[str, str]:
    """Code of the smallest unit around a point of each parcel; parcels outside of all are left out."""
    from rasterio.warp import transform
    from shapely import STRtree
    from shapely.geometry import Point

    found: dict[str, str] = {}
    if not units:
        return found
    crs = units[0].crs
    tree = STRtree([unit.geometry for unit in units])
    for parcel in parcels:
        inside = parcel.geometry.representative_point()
        if parcel.crs != crs:
            xs, ys = transform(parcel.crs, crs, [inside.x], [inside.y])
            inside = Point(xs[0], ys[0])
        around = [units[i] for i in tree.query(inside, predicate="within")]
        if around:
            found[parcel.code] = min(around, key=lambda unit: unit.geometry.area).code
    return found
