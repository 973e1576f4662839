"""The two examples on real imagery, by the season files a reader of the README runs."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import date
from pathlib import Path

import numpy as np
import pytest
import rasterio

from eo_pipeline.assemble import assemble
from eo_pipeline.engine import Engine
from eo_pipeline.plan import make_plan
from eo_pipeline.publish.contract import read_estimates, read_series, verify
from eo_pipeline.run import SeasonRun
from eo_pipeline.season import read_season

pytestmark = pytest.mark.realdata
EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


def run(name: str, out: Path, *, folds: int | None = None) -> SeasonRun:
    season = replace(read_season(EXAMPLES / f"{name}.toml"), output_root=out)
    if folds:
        assert season.classify is not None
        season = replace(season, classify=replace(season.classify, folds=folds))
    job = SeasonRun(make_plan(season), Engine(workers=0))
    assemble(job)
    return job


# ---- three cereal fields of Sentinel-2 chips
# ----------------------------------------------------------------
@pytest.fixture(scope="module")
def wheat(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> SeasonRun:
    assert shared_data.is_dir()
    return run("tum-wheat", tmp_path_factory.mktemp("tum"))


def test_the_shadowed_image_is_rejected_though_its_mask_says_clear(wheat: SeasonRun) -> None:
    manifest = verify(wheat.plan.folder)
    scenes = [row for row in manifest.inputs if row["role"] == "scene"]
    shadowed = next(row for row in scenes if (row["tile"], row["date"]) == ("Baumacker", "2018-07-26"))
    assert shadowed["clear_share"] == 1.0
    assert shadowed["rejected"] is True
    assert "shadow or cloud missed by the mask" in shadowed["reason"]

    # the other rejections: images wholly masked by their own mask, and a deep shadow (near infrared 0.04
    # where the field shows 0.28 a month later)
    rejected = {(row["tile"], row["date"]): row["reason"] for row in scenes if row["rejected"]}
    missed = {key for key, reason in rejected.items() if "missed by the mask" in reason}
    assert missed == {("Baumacker", "2018-07-26"), ("Viehhausen1", "2018-03-08")}
    assert all(rejected[key] == "no clear pixel" for key in set(rejected) - missed)
    assert sum(not row["rejected"] for row in scenes if row["tile"] == "Baumacker") == 13


def test_each_field_has_its_curves(wheat: SeasonRun) -> None:
    series = read_series(wheat.plan.folder)
    fields = series[series.scope == "parcel"]
    assert set(fields.scope_id) == {"Baumacker", "D2", "Viehhausen1"}
    assert set(fields["index"]) == {"NDVI", "NDMI", "NDRE"}
    curve = fields[(fields.scope_id == "Baumacker") & (fields["index"] == "NDVI")].set_index("date")
    # mean NDVI of the chip's own pixels, computed here by hand
    with rasterio.open(wheat.plan.season.source.root / "Baumacker_2018-05-12.tif") as raster:
        inside = (raster.read(2) == 1) & (raster.read(1) == 0)
        red, nir = raster.read(6)[inside], raster.read(10)[inside]
    by_hand = np.mean((nir - red) / (nir + red))
    assert curve.observed["2018-05-12"] == pytest.approx(by_hand, abs=0.01)
    assert 0.7 < curve.observed["2018-05-12"] < 0.85  # a drought year
    assert np.abs(curve.observed - curve.smoothed).median() < 0.03
    # a shadow lowers no curve: the date is not observed
    assert "2018-07-26" not in curve.index or np.isnan(curve.observed["2018-07-26"])


def test_heading_and_senescence_fall_where_wheat_has_them(wheat: SeasonRun) -> None:
    stages = read_estimates(wheat.plan.folder).query("product == 'stage'")
    found = stages.set_index(["unit_adcode", "class"]).value
    # Bavaria 2018 was early: heading of winter wheat at the turn of May, harvest at the end of July; barley
    # (Viehhausen1) heads two to three weeks before wheat
    for field in ("Baumacker", "D2"):
        assert date(2018, 5, 10) <= _day(found[f"parcel:{field}", "heading"]) <= date(2018, 6, 15)
        assert date(2018, 6, 20) <= _day(found[f"parcel:{field}", "senescence"]) <= date(2018, 7, 25)
    assert _day(found["parcel:Viehhausen1", "heading"]) < _day(found["parcel:Baumacker", "heading"])


def _day(number: float) -> date:
    return date.fromordinal(date(2018, 1, 1).toordinal() + int(number) - 1)


# ---- a CBERS-4 cube and its 922 samples
# ---------------------------------------------------------------------
@pytest.fixture(scope="module")
def bahia(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> SeasonRun:
    """The whole example, with a training cut short: figures of accuracy are measured by `eo run`, not
    here.
    """
    from models.training import TrainingSettings

    assert shared_data.is_dir()
    with pytest.MonkeyPatch.context() as patch:
        quick = TrainingSettings(epochs=3, min_steps=40)
        patch.setattr("eo_pipeline.products.classify._SETTINGS", quick)
        return run("cbers-bahia", tmp_path_factory.mktemp("cbers"), folds=2)


@pytest.mark.slow
def test_a_real_cube_becomes_map_areas_and_growth(bahia: SeasonRun) -> None:
    manifest = verify(bahia.plan.folder)
    assert [raster.kind for raster in manifest.rasters] == [
        "crop_type",
        "confidence",
        "entropy",
        "set_size",
        "novelty",
        "growth",
        "growth_anomaly",
        "index",
    ]
    with rasterio.open(bahia.plan.folder / "crop_type/all/crop_type.tif") as raster:
        mapped = raster.read(1)
        assert mapped.shape == (600, 600)
        assert len(raster.overviews(1)) >= 1
    assert (mapped > 0).mean() > 0.999
    doubts = {}
    for name in ("confidence", "entropy", "set_size", "novelty"):
        with rasterio.open(bahia.plan.folder / f"crop_type/all/{name}.tif") as raster:
            doubts[name] = raster.read(1)
            assert ((doubts[name] == 255) == (mapped == 0)).all()
    inside = mapped > 0
    assert doubts["set_size"][inside].max() <= 4
    for name in ("entropy", "novelty"):
        assert doubts[name][inside].max() <= 100 and np.unique(doubts[name][inside]).size > 20
    # surer where one class is possible than where none fits well, or several do
    sure, open_ = doubts["set_size"] == 1, inside & (doubts["set_size"] != 1)
    assert sure.any() and open_.any()
    assert doubts["entropy"][sure].mean() < doubts["entropy"][open_].mean()

    areas = read_estimates(bahia.plan.folder).query("product == 'area'").set_index(["method", "crop"])
    counted, adjusted = areas.loc["pixel_count"], areas.loc["adjusted_count_model_based"]
    # an equal-area projection: every pixel is 63.998 m × 63.999 m; the count is the map's own
    for code, name in enumerate(("Cropland", "Pasture", "Cerrado", "Cerradao"), 1):
        expected = (mapped == code).sum() * 63.99808 * 63.99921 / 10_000
        assert counted.value[name] == pytest.approx(expected, rel=1e-3)
    assert adjusted.value.sum() == pytest.approx(counted.value.sum(), rel=1e-4)
    assert (adjusted.ci_low <= adjusted.value).all() and (adjusted.value <= adjusted.ci_high).all()
    assert (adjusted.ci_high - adjusted.ci_low).min() > 0

    growth = read_estimates(bahia.plan.folder).query("product == 'growth'")
    assert set(growth.crop) == {"Cropland", "Pasture"}
    assert growth.groupby("crop").value.sum().round(6).eq(100).all()

    accuracy = json.loads((bahia.plan.folder / "accuracy.json").read_text())
    assert accuracy["cross_validation"]["channels"] == ["NDVI", "EVI"]
    every = accuracy["cross_validation_all_channels"]
    assert len(every["channels"]) == 6
    assert every["model"]["n"] == 922 and every["groups"] == 682
    # a forest of trees gets 0.945 of five folds; two leave it half of the samples
    assert every["baseline"]["overall_accuracy"] > 0.90
