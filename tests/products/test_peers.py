"""Ranks of parcels among those of their crop in their township."""

from __future__ import annotations

from datetime import date

import numpy as np
import pytest
from shapely.geometry import box

from eo_pipeline.products.curves import BINS, REGION, Sums, Zone
from eo_pipeline.products.estimates import curve_estimates
from eo_pipeline.products.peers import peer_ranks
from eo_pipeline.products.zonal import ZoneUnit
from eo_pipeline.season import Season, read_season
from tests.seasons import make_season

DATES = tuple(date(2026, month, 15) for month in (3, 4, 5, 6, 7))
SHAPE = np.array([0.2, 0.5, 0.8, 0.6, 0.2])


@pytest.fixture(scope="module")
def season(tmp_path_factory: pytest.TempPathFactory) -> Season:
    return read_season(make_season(tmp_path_factory.mktemp("season")).toml)


def curve(level: float, *, scope: str = "parcel", crop: int = 0, seen: bool = True) -> Sums:
    sums = Sums(DATES, ("NDVI",), BINS[scope], pixels=4, area_ha=0.04)
    values = np.rint(SHAPE * level * 10_000).astype(np.int64)
    sums.smoothed[0] = np.stack([values * 4, np.full(5, 4)], axis=1)
    sums.observed[0] = sums.smoothed[0]
    if not seen:  # in the growing period
        sums.observed[0, 1:4] = 0
    for t, value in enumerate(values):
        sums.histogram[0, t, (value + 10_000) * BINS[scope] // 20_000] = 4
    sums.classes[crop] = 4
    return sums


def test_a_parcel_is_ranked_in_its_township_or_where_these_are_few_in_the_region(season: Season) -> None:
    # given 12 parcels in a township (and in its county), 4 in another, 1 outside, and one nobody saw
    crop = next(item.code for item in season.classes if item.crop) if season.classify else 0
    names = [f"a{i}" for i in range(12)] + [f"b{i}" for i in range(4)] + ["out", "dark"]
    xs = [i * 0.05 for i in range(12)] + [1.1 + i * 0.05 for i in range(4)] + [5.0, 0.9]
    parcels = [ZoneUnit(n, n, box(x, 0.1, x + 0.01, 0.11)) for n, x in zip(names, xs, strict=True)]
    units = [
        ZoneUnit("620800", "county", box(0, 0, 2, 1)),
        ZoneUnit("A", "A", box(0, 0, 1, 1)),
        ZoneUnit("B", "B", box(1, 0, 2, 1)),
    ]
    levels = [0.80 + 0.01 * i for i in range(12)] + [0.5, 0.6, 0.7, 1.0] + [0.4, 1.2]
    sums = {
        Zone("parcel", name, 0): curve(level, crop=crop, seen=name != "dark")
        for name, level in zip(names, levels, strict=True)
    }
    sums[Zone("class", REGION, crop)] = curve(0.85, scope="class", crop=crop)
    # when they are ranked
    ranks = {rank.parcel: rank for rank in peer_ranks(season, sums, units, parcels)}
    # then those of A among its 12, the others among all 17; what was not seen has no rank and is no peer
    assert set(ranks) == set(names) - {"dark"}
    assert [ranks[f"a{i}"].percentile for i in (0, 11)] == pytest.approx([100 * 0.5 / 12, 100 * 11.5 / 12])
    assert (ranks["a0"].unit, ranks["a0"].peers) == ("A", 12)
    assert (ranks["b3"].unit, ranks["b3"].peers) == (REGION, 17)
    assert ranks["b3"].percentile == pytest.approx(100 * 16.5 / 17)
    assert ranks["out"].percentile == pytest.approx(100 * 0.5 / 17)
    rows = [row for row in curve_estimates(season, sums, units, parcels) if row["product"] == "growth_peers"]
    assert len(rows) == 17 and rows[0]["unit_adcode"] == "parcel:a0" and rows[0]["method"] == "peers in A"
    # and with fewer than ten of a crop there is none
    few = {zone: item for zone, item in sums.items() if zone.code in ("a0", "a1", REGION)}
    assert peer_ranks(season, few, units, parcels) == []
