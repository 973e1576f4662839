"""Disasters: they strike where and when they say, harm what stands there, and the truth counts the loss."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pytest
import rasterio

from eo_pipeline.simulate import canopy, crops, event_truth, events, landscape, scenes, truth
from eo_pipeline.simulate.scenes import World


@pytest.fixture(scope="module")
def struck(world: World) -> World:
    return replace(world, events=events.typical(world.land, world.plan, [2025, 2026], seed=7))


def of(world: World, kind: str, year: int = 2026) -> events.Event:
    return next(event for event in world.events if event.kind == kind and event.year == year)


def test_every_season_has_its_events_and_drought_comes_every_second_year(struck: World) -> None:
    assert [(e.kind, e.year) for e in struck.events] == [
        ("frost", 2025),
        ("hail", 2025),
        ("flood", 2025),
        ("frost", 2026),
        ("drought", 2026),
        ("hail", 2026),
        ("flood", 2026),
    ]
    for event in struck.events:
        assert event.start.year == event.end.year == event.year and event.start <= event.end
        assert event.severity.min() >= 0 and 0.3 < event.severity.max() <= 1
        assert (event.harm[struck.land.n_parcels :] == 0).all()  # only fields lose a harvest
        assert 0 < event.loss.max() < 1 and (event.loss[event.harm == 0] == 0).all()


def test_losses_are_graded(struck: World) -> None:
    for kind in ("frost", "hail", "flood"):
        loss = of(struck, kind).loss
        shares = [(loss > limit).sum() for limit in (0.05, 0.2, 0.4)]
        assert shares[0] > shares[1] > shares[2] > 0, kind


def test_hazards_lie_where_they_belong(struck: World) -> None:
    land = struck.land
    frost, flood, hail = (
        of(struck, "frost").severity,
        of(struck, "flood").severity,
        of(struck, "hail").severity,
    )
    low = land.elevation < np.percentile(land.elevation, 25)
    assert frost[low].mean() > frost[~low].mean() + 0.2
    river = land.use[land.segment] == landscape.USES.index("river")
    assert flood[river].mean() > 0.9 and flood[land.elevation > np.percentile(land.elevation, 60)].max() == 0
    rows, columns = np.nonzero(hail > 0.3)
    spread = np.linalg.eigvalsh(np.cov(rows, columns)) ** 0.5
    assert spread[1] > 1.5 * spread[0]  # a swath
    south = of(struck, "drought").severity[land.aspect_north < -0.2].mean()
    assert south > of(struck, "drought").severity[land.aspect_north > 0.2].mean() + 0.05


def test_frost_harms_apple_in_bloom_and_wheat_at_jointing_only(struck: World) -> None:
    frost, code = of(struck, "frost"), struck.plan[2026].code
    hit = {crops.NAME[int(c)] for c in np.unique(code[frost.loss > 0.05])}
    assert hit == {"apple", "winter_wheat"}


def test_canopies_lose_leaves_after_the_date_and_only_then(struck: World, world: World) -> None:
    hail = of(struck, "hail")
    hurt = int(np.argmax(hail.harm))
    before = hail.start - timedelta(days=1)
    # what drought has done until then is in both
    calm = replace(struck, events=tuple(e for e in struck.events if e is not hail))
    for day, least, most in ((before, 1.0, 1.0), (hail.start + timedelta(days=3), 0.2, 0.75)):
        ratio = scenes.standing(struck, day).lai[hurt] / scenes.standing(calm, day).lai[hurt]
        assert least - 1e-6 <= ratio <= most + 1e-6
    spared = np.flatnonzero((hail.harm == 0) & (struck.plan[2026].last_day > 250))
    day = hail.start + timedelta(days=3)
    assert (scenes.standing(struck, day).lai[spared] == scenes.standing(calm, day).lai[spared]).all()


def test_scenes_show_the_harm(struck: World, world: World) -> None:
    hail = of(struck, "hail")
    day = hail.start + timedelta(days=4)
    calm = replace(struck, events=tuple(e for e in struck.events if e is not hail))
    red, near = (canopy.BAND_NAMES.index(name) for name in ("B04", "B08"))

    def ndvi(some: World) -> np.ndarray:
        image = scenes.true_reflectance(some, day)
        return (image[near] - image[red]) / (image[near] + image[red])

    drop = ndvi(calm) - ndvi(struck)
    harm = hail.harm[struck.land.segment]
    assert drop[harm > 0.5].mean() > 0.08 > 0.01 > abs(drop[harm == 0].mean())
    assert np.corrcoef(drop.ravel(), harm.ravel())[0, 1] > 0.7


def test_flood_water_stands_and_goes(struck: World, world: World) -> None:
    flood = of(struck, "flood")
    near = canopy.BAND_NAMES.index("B11")
    deep = (flood.severity > 0.9) & (world.land.use[world.land.segment] == 0)
    assert deep.sum() > 20
    wet = scenes.true_reflectance(struck, flood.start + timedelta(days=1))[near][deep].mean()
    dry = scenes.true_reflectance(world, flood.start + timedelta(days=1))[near][deep].mean()
    assert wet < 0.35 * dry
    assert events.standing_water(struck.events, flood.end + timedelta(days=9)) is None
    assert events.standing_water(struck.events, flood.start - timedelta(days=1)) is None


def test_yields_are_after_the_loss(struck: World, world: World) -> None:
    calm, hit = truth.yields(world, 2026), truth.yields(struck, 2026)
    loss = events.yield_loss(struck.events, 2026, len(calm))
    has = np.isfinite(calm)
    assert hit[has] == pytest.approx(calm[has] * (1 - loss[has]), rel=1e-5)
    assert (
        loss.max() > 0.5
        and (truth.yields(struck, 2024)[has] == truth.yields(world, 2024)[has])[has[has]].all()
    )


def test_growth_counts_the_leaf_area_that_was_lost(struck: World, world: World) -> None:
    share = events.leaf_share(struck.plan, struck.events, 2026)
    assert 0.3 < share.min() < 0.8 and share.max() <= 1
    untouched = np.ones(len(share), bool)
    for event in struck.events:
        if event.year == 2026:
            untouched &= event.harm == 0
    assert untouched.any() and share[untouched] == pytest.approx(1)
    assert (events.leaf_share(struck.plan, struck.events, 2024) == 1).all()
    ratio = struck.pixel_vigour(2026) / world.pixel_vigour(2026)
    assert ratio == pytest.approx(share[world.land.segment], rel=1e-4)


def test_truth_layers_agree_with_each_other(struck: World, tmp_path: Path) -> None:
    event_truth.write_events(struck, 2026, tmp_path)
    document = json.loads((tmp_path / "events.geojson").read_text(encoding="utf-8"))
    assert document["simulated"] is True
    found = {item["properties"]["hazard"]: item["properties"] for item in document["features"]}
    assert set(found) == set(events.RESPONSE)
    for kind, properties in found.items():
        loss = of(struck, kind).loss
        for name, limit in (("affected", 0.1), ("damaged", 0.3), ("destroyed", 0.8)):
            area = struck.land.pixels[loss >= limit].sum() * 0.01
            assert properties[f"{name}_ha"] == pytest.approx(area, abs=0.01)
        assert properties["affected_ha"] >= properties["damaged_ha"] >= properties["destroyed_ha"]
        assert properties["start"] == of(struck, kind).start.isoformat()
    with rasterio.open(tmp_path / "event_severity.tif") as source:
        assert source.descriptions == tuple(e.id for e in struck.events if e.year == 2026)
        assert (source.read(source.descriptions.index("hail-2026") + 1) == of(struck, "hail").severity).all()
    with rasterio.open(tmp_path / "event_summary.tif") as source:
        hazard, day, thousandths = source.read()
    assert set(np.unique(hazard)) == {0, 1, 2, 3, 4}
    hail_days = set(np.unique(day[hazard == 3]))
    assert hail_days == {int(f"{of(struck, 'hail').start:%Y%m%d}")}
    assert ((day == 0) == (hazard == 0)).all()
    expected = events.yield_loss(struck.events, 2026, len(struck.land.use))[struck.land.segment]
    assert thousandths == pytest.approx(1000 * expected, abs=0.51)
    with (tmp_path / "losses.csv").open(encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    parcels = struck.land.parcel_ids
    for row in rows[:50]:
        event = next(e for e in struck.events if e.id == row["event"])
        assert float(row["loss_share"]) == pytest.approx(event.loss[parcels.index(row["parcel"])], abs=1e-4)


def test_without_events_nothing_changes(world: World) -> None:
    day = date(2026, 7, 20)
    none = replace(world, events=())
    assert (scenes.render(world, day).reflectance == scenes.render(none, day).reflectance).all()
    assert events.drying((), day) == 0 and events.standing_water((), day) is None
