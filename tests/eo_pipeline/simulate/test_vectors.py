"""Vector files: outlines that cover the piece, samples that say how they were drawn."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import shapely
from pyproj import Transformer
from shapely.geometry import shape

from eo_pipeline.simulate import crops, vectors
from eo_pipeline.simulate.scenes import World


def read(path: Path) -> dict:
    return json.loads(path.read_text(encoding="utf-8"))


def in_metres(feature: dict) -> shapely.Geometry:
    move = Transformer.from_crs(4326, 32648, always_xy=True)
    return shapely.transform(shape(feature["geometry"]), lambda xy: np.column_stack(move.transform(*xy.T)))


def test_townships_tile_the_county(world: World, tmp_path: Path) -> None:
    vectors.write_units(world.land, tmp_path / "units.geojson")
    document = read(tmp_path / "units.geojson")
    county, *towns = document["features"]
    assert county["properties"]["code"] == "620826" and county["properties"]["name"] == "静宁县（示范片）"
    assert {t["properties"]["code"] for t in towns} == {"620826100", "620826101", "620826103", "620826105"}
    whole = in_metres(county)
    assert whole.area == pytest.approx(4e6, rel=1e-6)
    assert sum(in_metres(t).area for t in towns) == pytest.approx(whole.area, rel=1e-4)
    assert shapely.union_all([in_metres(t).buffer(0.1) for t in towns]).covers(whole.buffer(-1))


def test_parcels_are_valid_and_hide_the_truth(world: World, tmp_path: Path) -> None:
    vectors.write_parcels(world.land, tmp_path / "parcels.geojson")
    features = read(tmp_path / "parcels.geojson")["features"]
    assert [f["properties"]["id"] for f in features] == world.land.parcel_ids
    assert set(features[0]["properties"]) == {"id", "township", "area_ha", "elevation_m"}
    outlines = [in_metres(f) for f in features]
    assert all(o.is_valid and not o.is_empty for o in outlines)
    areas = np.array([o.area / 10_000 for o in outlines])
    stated = np.array([f["properties"]["area_ha"] for f in features])
    assert areas.sum() == pytest.approx(stated.sum(), rel=0.005)
    assert np.median(np.abs(areas / stated - 1)) < 0.05


def test_samples_are_spread_grouped_and_honest_about_noise(world: World, tmp_path: Path) -> None:
    counts = vectors.write_samples(world, 2026, tmp_path / "samples.geojson")
    document = read(tmp_path / "samples.geojson")
    features = document["features"]
    assert document["sampling_design"] == "purposive" and document["label_noise"] == 0.025
    assert sum(counts.values()) == len(features)
    assert set(counts) == set(crops.CODE) and counts["apple"] >= 80
    groups = [f["properties"]["group"] for f in features]
    assert len(set(groups)) == len(features) and set(groups) & set(world.land.parcel_ids)
    # how many labels are wrong, against the truth at the point
    move = Transformer.from_crs(4326, 32648, always_xy=True)
    x, y = np.array([move.transform(*f["geometry"]["coordinates"]) for f in features]).T
    rows = ((world.land.grid.north - y) // 10).astype(int)
    columns = ((x - world.land.grid.west) // 10).astype(int)
    true = world.plan[2026].code[world.land.segment[rows, columns]]
    wrong = np.mean(
        [crops.NAME[int(t)] != f["properties"]["label"] for t, f in zip(true, features, strict=True)]
    )
    assert 0 < wrong < 0.06
    west = np.mean(columns < world.land.grid.size / 2)
    assert 0.25 < west < 0.75


def test_reference_points_are_a_simple_random_sample(world: World, tmp_path: Path) -> None:
    vectors.write_reference(world, 2026, tmp_path / "a.geojson")
    features = read(tmp_path / "a.geojson")["features"]
    xy = {tuple(f["geometry"]["coordinates"]) for f in features}
    assert len(xy) == len(features) == 1000  # drawn without replacement
    share = np.mean([f["properties"]["label"] == "apple" for f in features])
    true = np.mean(world.plan[2026].code[world.land.segment] == crops.CODE["apple"])
    assert abs(share - true) < 4 * np.sqrt(true * (1 - true) / 1000)
