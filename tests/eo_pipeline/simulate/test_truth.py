"""Truth adds up, and the surveyor answers from it."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import rasterio

from eo_pipeline.errors import SampleError
from eo_pipeline.simulate import crops, truth, vectors
from eo_pipeline.simulate.scenes import World


@pytest.fixture(scope="module")
def folder(world: World, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("season") / "truth"
    truth.write_truth(world, 2026, path)
    return path


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def test_areas_add_up_to_the_piece(folder: Path, world: World) -> None:
    area = rows(folder / "area.csv")
    county = sum(float(r["area_ha"]) for r in area if r["unit"] == "620826")
    towns = sum(float(r["area_ha"]) for r in area if r["unit"] != "620826")
    assert county == pytest.approx(400.0, abs=0.01)  # 2 km × 2 km
    assert towns == pytest.approx(county, abs=0.05)
    assert len({r["unit"] for r in area}) == 5
    codes = rasterio.open(folder / "crop_type.tif").read(1)
    for r in area:
        if r["unit"] == "620826":
            assert int(r["pixels"]) == (codes == crops.CODE[r["crop"]]).sum()


def test_rasters_are_labelled_and_on_the_grid(folder: Path, world: World) -> None:
    for name in ("crop_type.tif", "vigour.tif"):
        with rasterio.open(folder / name) as source:
            assert "模拟数据" in source.tags()["SIMULATED"]
            assert source.crs.to_epsg() == 32648 and source.transform.to_gdal()[1] == 10
            assert source.shape == world.land.segment.shape
    with rasterio.open(folder / "crop_type.tif") as source:
        assert source.colormap(1)[1] == (0xDD, 0xCC, 0x77, 255)


def test_growth_shares_sum_to_100(folder: Path) -> None:
    sums: dict[tuple[str, str], float] = {}
    for r in rows(folder / "growth.csv"):
        sums[r["unit"], r["crop"]] = sums.get((r["unit"], r["crop"]), 0) + float(r["percent"])
    assert len(sums) > 20
    assert list(sums.values()) == pytest.approx([100.0] * len(sums), abs=0.01)


def test_growth_is_against_last_years_mean_of_the_crop(world: World) -> None:
    growth = truth.growth_percent(world, 2026)
    code, before = (world.plan[y].code[world.land.segment] for y in (2026, 2025))
    wheat = crops.CODE["winter_wheat"]
    mean = world.pixel_vigour(2025)[before == wheat].mean()
    expected = 100 * (world.pixel_vigour(2026)[code == wheat] / mean - 1)
    assert growth[code == wheat] == pytest.approx(expected, abs=1e-3)
    assert np.isnan(growth[code == crops.CODE["other"]]).all()


def test_yields_follow_vigour_within_plausible_limits(world: World) -> None:
    kg, cropping = truth.yields(world, 2026), world.plan[2026]
    for name, (_, low, high) in crops.YIELD_KG_PER_MU.items():
        here = cropping.code == crops.CODE[name]
        assert low <= kg[here].min() and kg[here].max() <= high
        assert np.corrcoef(kg[here], cropping.vigour[here])[0, 1] > 0.7
    assert np.isnan(kg[cropping.code == crops.CODE["other"]]).all()


def test_every_parcel_has_one_row(folder: Path, world: World) -> None:
    table = rows(folder / "yield.csv")
    assert [r["parcel"] for r in table] == world.land.parcel_ids
    assert {r["crop"] for r in table} == set(crops.CODE)
    stages = {(r["parcel"], r["stage"]): r["date"] for r in rows(folder / "stages.csv")}
    wheat = next(r["parcel"] for r in table if r["crop"] == "winter_wheat")
    assert (
        stages[wheat, "sowing"]
        < "2025-10-31"
        < stages[wheat, "heading"]
        < stages[wheat, "harvest"]
        < "2026-08"
    )


def test_the_surveyor_answers_from_the_truth(folder: Path, world: World, tmp_path: Path) -> None:
    vectors.write_reference(world, 2026, tmp_path / "reference.geojson")
    given = json.loads((tmp_path / "reference.geojson").read_text(encoding="utf-8"))
    assert given["sampling_design"] == "simple_random" and given["simulated"] is True
    design = {
        **given,
        "features": [{**f, "properties": {"id": f["properties"]["id"]}} for f in given["features"]],
    }
    (tmp_path / "design.geojson").write_text(json.dumps(design), encoding="utf-8")

    count = truth.answer_sample(tmp_path / "design.geojson", folder, tmp_path / "answer.geojson")
    answered = json.loads((tmp_path / "answer.geojson").read_text(encoding="utf-8"))
    assert count == len(given["features"]) == 1000
    assert [f["properties"] for f in answered["features"]] == [f["properties"] for f in given["features"]]
    assert answered["sampling_design"] == "simple_random"

    truth.answer_sample(tmp_path / "design.geojson", folder, tmp_path / "wrong.geojson", error=0.3)
    wrong = json.loads((tmp_path / "wrong.geojson").read_text(encoding="utf-8"))
    differ = np.mean(
        [a["properties"]["label"] != b["properties"]["label"]
         for a, b in zip(answered["features"], wrong["features"], strict=True)]
    )  # fmt: skip
    assert differ == pytest.approx(0.3, abs=0.07)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("not json", "cannot be read as GeoJSON points"),
        ('{"type":"FeatureCollection","features":[]}', "holds no points"),
        (
            '{"features":[{"geometry":{"type":"Point","coordinates":[100.0,35.0]},"properties":{}}]}',
            "lies outside",
        ),
    ],
)
def test_a_bad_design_is_refused_and_nothing_is_written(
    folder: Path, tmp_path: Path, text: str, says: str
) -> None:
    (tmp_path / "design.geojson").write_text(text, encoding="utf-8")
    with pytest.raises(SampleError, match=says):
        truth.answer_sample(tmp_path / "design.geojson", folder, tmp_path / "out.geojson")
    assert [p.name for p in tmp_path.iterdir()] == ["design.geojson"]
