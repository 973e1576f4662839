"""The crop map of a season: trained, mapped, measured, and the same however it was cut and wherever it was
made.
"""

from __future__ import annotations

import functools
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import rasterio
from seasons import TinySeason, make_season

from eo_pipeline.assemble import assemble
from eo_pipeline.engine import Engine
from eo_pipeline.errors import ModelError
from eo_pipeline.plan import make_plan
from eo_pipeline.products import classify
from eo_pipeline.products.classify import runtime_of
from eo_pipeline.publish.contract import read_estimates, read_manifest, read_series, verify
from eo_pipeline.run import SeasonRun
from eo_pipeline.season import read_season
from models.crop_type import CropTypeModel
from models.training import TrainingSettings

pytestmark = pytest.mark.slow


def run(season: TinySeason, *, block: int, out: Path) -> SeasonRun:
    document = replace(read_season(season.toml), output_root=out)
    job = SeasonRun(make_plan(document, block=block), Engine(workers=0))
    assemble(job)
    return job


@pytest.fixture(scope="module")
def season(tmp_path_factory: pytest.TempPathFactory) -> TinySeason:
    season = make_season(tmp_path_factory.mktemp("season"), classify=True)
    season.rewrite("folds = 3", "folds = 2")
    reference = ["lon,lat,label,stratum"]
    from seasons import lonlat

    rng = np.random.default_rng(3)
    for _ in range(60):
        row, col = (int(v) for v in rng.integers(0, 64, 2))
        lon, lat = lonlat(row, col)
        reference.append(f"{lon:.8f},{lat:.8f},{('wheat', 'maize')[season.classes[row, col] - 1]},")
    (season.root / "reference.csv").write_text("\n".join(reference) + "\n")
    season.rewrite("[growth]", '[area]\nreference = "reference.csv"\ndesign = "simple_random"\n\n[growth]')
    return season


@pytest.fixture(scope="module", autouse=True)
def quick_training() -> object:
    """A season this easy needs no long training."""
    from models.training import TrainingSettings

    patch = pytest.MonkeyPatch()
    quick = TrainingSettings(epochs=1, min_steps=25)
    patch.setattr("eo_pipeline.products.classify._SETTINGS", quick)
    yield
    patch.undo()


@pytest.fixture(scope="module")
def job(season: TinySeason, tmp_path_factory: pytest.TempPathFactory) -> SeasonRun:
    return run(season, block=512, out=tmp_path_factory.mktemp("whole"))


def test_the_map_is_right_and_says_how_sure_it_is(season: TinySeason, job: SeasonRun) -> None:
    verify(job.plan.folder)
    with rasterio.open(job.plan.folder / "crop_type/all/crop_type.tif") as raster:
        mapped = raster.read(1)
        assert raster.nodata == 0
        assert raster.colormap(1)[1] == (0xDD, 0xCC, 0x77, 255)
    assert (mapped == season.classes).mean() > 0.99
    with rasterio.open(job.plan.folder / "crop_type/all/confidence.tif") as raster:
        confidence = raster.read(1)
        assert raster.nodata == 255
    assert confidence.min() >= 50 and confidence.max() <= 100


def test_accuracy_is_told_with_the_baseline_beside_it(job: SeasonRun) -> None:
    accuracy = json.loads((job.plan.folder / "accuracy.json").read_text())
    folds = accuracy["cross_validation"]
    assert folds["channels"] == ["B04", "B08", "NDVI"]
    assert len(folds["folds"]) == 2
    for who in ("model", "baseline"):
        assert folds[who]["overall_accuracy"] > 0.95
        assert np.sum(folds[who]["confusion"]) == 80
    reference = accuracy["reference"]
    assert reference["design"] == "simple_random" and reference["n"] == 60
    assert reference["overall_accuracy"] > 0.95


def test_areas_stand_beside_their_counts(season: TinySeason, job: SeasonRun) -> None:
    table = read_estimates(job.plan.folder).query("product == 'area'").set_index(["method", "crop"])
    assert set(table.index.levels[0]) == {"pixel_count", "olofsson_2014"}
    # 64 × 64 pixels of 10 m; a UTM pixel is 0.1 % off its nominal size at most
    total = table.loc["pixel_count"].value.sum()
    assert total == pytest.approx(40.96, rel=2e-3)
    assert table.loc["olofsson_2014"].value.sum() == pytest.approx(total, rel=1e-4)
    truth = (season.classes == 1).mean() * total
    wheat = table.loc["olofsson_2014", "wheat"]
    assert wheat.ci_low <= truth <= wheat.ci_high
    assert wheat.n_samples == 60


def test_curves_and_stages_of_each_crop(job: SeasonRun) -> None:
    series = read_series(job.plan.folder)
    classes = series[series.scope == "class"]
    assert set(classes.scope_id) == {"wheat", "maize"}
    peak = classes.loc[classes.groupby("scope_id").smoothed.idxmax()].set_index("scope_id").date
    assert peak["wheat"] == "2026-05-05" and peak["maize"] == "2026-06-25"
    stages = read_estimates(job.plan.folder).query("product == 'stage'").set_index(["crop", "class"]).value
    assert stages["wheat", "peak"] == pytest.approx(125, abs=4)  # 5 May
    assert stages["wheat", "green_up"] < stages["wheat", "peak"] < stages["wheat", "senescence"]
    growth = read_estimates(job.plan.folder).query("product == 'growth'")
    assert growth.groupby("crop").value.sum().round(6).eq(100).all()


def test_cut_into_blocks_the_map_is_the_same(season: TinySeason, job: SeasonRun, tmp_path: Path) -> None:
    other = run(season, block=23, out=tmp_path)
    assert other.plan.blocks == 9
    for name in (
        "crop_type/all/crop_type.tif",
        "crop_type/all/confidence.tif",
        "growth/all/growth.tif",
        "growth/all/anomaly.tif",
        "accuracy.json",
        "series.parquet",
    ):
        assert (other.plan.folder / name).read_bytes() == (job.plan.folder / name).read_bytes(), name


def test_a_sample_more_trains_anew_and_keeps_the_cube(season: TinySeason, job: SeasonRun) -> None:
    left = job.stages.left()
    assert not any(tasks for tasks, _ in left.values())
    path = season.root / "samples.csv"
    text = path.read_text()
    try:
        path.write_text(text + text.splitlines()[1] + "\n")
        document = replace(read_season(season.toml), output_root=job.plan.season.output_root)
        again = SeasonRun(make_plan(document, block=512), Engine(workers=0)).stages.left()
    finally:
        path.write_text(text)
    assert again["ingest"][0] == again["index"][0] == []
    assert [len(again[stage][0]) for stage in ("train", "classify", "growth")] == [1, 1, 1]


def older_sample(season: TinySeason, rng: np.random.Generator) -> str:
    """A sheet drawn from a map of another year, 30 points in each of its classes, answered."""
    from seasons import lonlat

    older = np.where(rng.random(season.classes.shape) < 0.2, 3 - season.classes, season.classes)
    lines = ["id,lon,lat,stratum,stratum_ha,stratum_points,sampling_design,label"]
    for code, name in ((1, "wheat"), (2, "maize")):
        rows, cols = np.nonzero(older == code)
        for at in rng.choice(rows.size, 30, replace=False):
            lon, lat = lonlat(int(rows[at]), int(cols[at]))
            label = ("wheat", "maize")[season.classes[rows[at], cols[at]] - 1]
            lines.append(
                f"{len(lines)},{lon:.8f},{lat:.8f},{name},{rows.size / 100},30,stratified_random,{label}"
            )
    return "\n".join(lines) + "\n"


def test_a_sample_of_an_older_map_serves_region_and_units(season: TinySeason, job: SeasonRun) -> None:
    # given: two units, the left and the right half, and no word on the design but the sheet's own
    from seasons import lonlat

    def corner(row: int, col: int) -> list[float]:
        lon, lat = lonlat(row, col)
        return [lon - 0.00005, lat + 0.00005]

    features = [
        {
            "type": "Feature",
            "properties": {"code": code, "name": code},
            "geometry": {
                "type": "Polygon",
                "coordinates": [[corner(0, a), corner(0, b), corner(64, b), corner(64, a), corner(0, a)]],
            },
        }
        for code, a, b in (("west", 0, 32), ("east", 32, 64))
    ]
    (season.root / "units.geojson").write_text(
        json.dumps({"type": "FeatureCollection", "features": features})
    )
    (season.root / "older.csv").write_text(older_sample(season, np.random.default_rng(4)))
    text = season.toml.read_text()
    changed = text.replace('reference = "reference.csv"\ndesign = "simple_random"', 'reference = "older.csv"')
    other = season.root / "older.toml"
    other.write_text(changed.replace('name = "Tiny"', 'name = "Tiny"\nunits = "units.geojson"'))
    # when
    document = replace(read_season(other), output_root=job.plan.season.output_root)
    again = SeasonRun(make_plan(document, block=512), Engine(workers=0))
    rows = {(r["method"], r["unit_adcode"], r["crop"]): r for r in again.area.rows}
    # then
    truth = {"region": season.classes, "west": season.classes[:, :32], "east": season.classes[:, 32:]}
    for unit, classes in truth.items():
        method = "stehman_2014" if unit == "region" else "model_assisted"
        row = rows[method, unit, "wheat"]
        assert row["ci_low"] <= (classes == 1).sum() / 100 <= row["ci_high"]
        assert row["se"] > 0 and rows["pixel_count", unit, "wheat"]["value"] > 0
    assert rows["stehman_2014", "region", "maize"]["n_samples"] == 60
    halves = sum(rows["model_assisted", unit, "wheat"]["value"] for unit in ("west", "east"))
    assert rows["model_assisted", "region", "wheat"]["value"] == pytest.approx(halves, abs=1e-3)
    points = [rows["model_assisted", unit, "maize"]["n_samples"] for unit in ("west", "east")]
    assert sum(points) == 60 and min(points) > 15
    reference = again.accuracy()["reference"]
    assert reference["method"].startswith("stehman_2014") and reference["overall_accuracy"] > 0.9
    low, high = reference["overall_interval"]
    assert low < reference["overall_accuracy"] <= high


def test_either_runtime_makes_the_map_and_says_which(
    season: TinySeason, job: SeasonRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("openvino")
    assert job.stages.runtime == "torch"
    season.rewrite("folds = 2", 'folds = 2\nruntime = "openvino"')
    try:
        fast = run(season, block=512, out=tmp_path)
        assert fast.stages.runtime == "openvino"
        said = [read_manifest(each.plan.folder).models[0]["runtime"] for each in (fast, job)]
        assert [one["name"] for one in said] == ["openvino", "torch"]
        assert said[0]["agreement"][said[0]["precision"]] >= 0.995
        assert fast.stages.train_key != job.stages.train_key
        maps = [
            rasterio.open(each.plan.folder / "crop_type/all/crop_type.tif").read() for each in (fast, job)
        ]
        assert np.mean(maps[0] == maps[1]) >= 0.99
        # not installed: auto goes on with PyTorch, what was asked for by name is refused
        monkeypatch.setattr("eo_pipeline.products.classify.find_spec", lambda name: None)
        season.rewrite('runtime = "openvino"', 'runtime = "auto"')
        assert make_plan(read_season(season.toml)).season.classify.runtime == "auto"
        assert runtime_of(read_season(season.toml)) == "torch"
        season.rewrite('runtime = "auto"', 'runtime = "openvino"')
        with pytest.raises(ModelError, match=r"OpenVINO is not installed.*make setup"):
            make_plan(read_season(season.toml))
    finally:
        text = season.toml.read_text().splitlines()
        season.toml.write_text("\n".join(line for line in text if not line.startswith("runtime")) + "\n")


def test_each_pixel_of_a_map_is_what_twice_the_precision_gives() -> None:
    rng = np.random.default_rng(0)
    steps, classes = np.arange(18), 6
    peaks = np.exp(-(((steps[None] - 3 * np.arange(classes)[:, None]) / 3) ** 2))[:, :, None]
    labels = rng.integers(0, classes, 400 + 8192)
    X = (0.2 + 0.4 * peaks * np.linspace(0.5, 1.5, 6))[labels] + rng.normal(0, 0.08, (8592, 18, 6))
    X[rng.random((8592, 18)) < 0.2] = np.nan
    settings = TrainingSettings(epochs=5, min_steps=60)
    network = CropTypeModel.fit(X[:400], labels[:400], seed=1, settings=settings, threads=1)
    cells = X[400:].astype(np.float32)
    series = np.moveaxis(cells, 0, -1)[..., None]
    numbers = np.arange(1, classes + 1, dtype=np.uint8)
    twice = functools.partial(network.assess, threads=1, device="cpu", exact=True)
    exact = classify._map(series, twice, numbers)
    order = rng.permutation(len(cells))
    counted: list[int] = []

    class Counting(CropTypeModel):
        def assess(self, X, **how):  # type: ignore[no-untyped-def, override]
            counted.append(len(X) if how.get("exact") else 0)
            return super().assess(X, **how)

    counting = Counting(network.network, network.card)
    found = classify._map(series[:, :, order], functools.partial(classify._assessed, counting), numbers)
    for name, values in exact.items():
        np.testing.assert_array_equal(found[name], values[order])
    assert 0 < sum(counted) < 0.6 * len(cells)  # most are far from any rounding
