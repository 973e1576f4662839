"""The crop map of a season: trained, mapped, measured, and the same however it was cut and wherever it was
made.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import rasterio
from seasons import TinySeason, make_season

from eo_pipeline.assemble import assemble
from eo_pipeline.engine import Engine
from eo_pipeline.plan import make_plan
from eo_pipeline.publish.contract import read_estimates, read_series, verify
from eo_pipeline.run import SeasonRun
from eo_pipeline.season import read_season

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
