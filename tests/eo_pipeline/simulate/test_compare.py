"""A run against the truth: a perfect run is found perfect, a shifted one is found out. And the commands."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import rasterio
import typer
from typer.testing import CliRunner

from eo_pipeline import cli_simulate
from eo_pipeline.errors import RunFolderError
from eo_pipeline.publish import contract
from eo_pipeline.simulate import compare, crops, truth
from eo_pipeline.simulate.scenes import World

WHEAT = crops.CODE["winter_wheat"]


@pytest.fixture(scope="module")
def truth_folder(world: World, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("season") / "truth"
    truth.write_truth(world, 2026, path)
    return path


def write_run(folder: Path, truth_folder: Path, *, code_map: dict[int, int], bias_days: float = 0) -> Path:
    """A run whose map is the truth with some classes renamed, and whose areas are its pixels ± 5 %."""
    folder.mkdir()
    with rasterio.open(truth_folder / "crop_type.tif") as source:
        codes, profile = source.read(1), source.profile
    with rasterio.open(truth_folder / "vigour.tif") as source:
        growth = source.read(2)
    seen = codes.copy()
    for old, new in code_map.items():
        seen[codes == old] = new
    with rasterio.open(folder / "map.tif", "w", **profile) as target:
        target.write(seen, 1)
    tenths = np.where(np.isfinite(growth), growth * 3, -32768).astype(
        np.int16
    )  # 0.3 × the truth, percent × 10
    with rasterio.open(
        folder / "anomaly.tif", "w", **{**profile, "dtype": "int16", "nodata": -32768}
    ) as target:
        target.write(tenths, 1)
    rows: list[dict[str, Any]] = []

    def row(**values: object) -> None:
        empty = {
            c: "" if kind == "str" else (0 if kind == "int64" else np.nan)
            for c, kind in contract.ESTIMATE_COLUMNS.items()
        }
        rows.append({**empty, **values})

    for name, code in crops.CODE.items():
        ha = float((seen == code).sum()) / 100
        row(product="area", crop=name, unit_adcode="620826", value=ha, unit="ha", method="pixel_count")
        row(product="area", crop=name, unit_adcode="620826", value=ha, unit="ha", method="olofsson_2014",
            ci_low=0.95 * ha, ci_high=1.05 * ha)  # fmt: skip
    with (truth_folder / "stages.csv").open(encoding="utf-8", newline="") as stream:
        for item in csv.DictReader(stream):
            if item["crop"] == "winter_wheat" and item["stage"] == "heading":
                day = pd.Timestamp(item["date"]).day_of_year + bias_days
                row(
                    product="stage",
                    crop="winter_wheat",
                    unit_adcode=f"parcel:{item['parcel']}",
                    value=day,
                    unit="doy",
                )
                rows[-1]["class"] = "heading"
    pd.DataFrame(rows, columns=list(contract.ESTIMATE_COLUMNS)).astype(contract.ESTIMATE_COLUMNS).to_parquet(
        folder / "estimates.parquet"
    )
    classes = tuple(contract.MapClass(c.code, c.name, c.zh, c.en, c.colour) for c in crops.CLASSES)
    rasters = (
        contract.Raster("crop_type", "region", "map.tif", "map", classes=classes),
        contract.Raster("growth_anomaly", "region", "anomaly.tif", "anomaly", scale=0.1, unit="percent"),
    )
    manifest = contract.RunManifest(
        run_id="jingning-2026", title="t", season={}, region={}, simulated=True, created_at="", code={},
        config={}, inputs=[], models=[], seeds={}, timings={}, crops=classes, rasters=rasters,
    )  # fmt: skip
    contract.seal(folder, manifest)
    return folder


def test_a_perfect_run_is_found_perfect(truth_folder: Path, tmp_path: Path) -> None:
    found = compare.compare(write_run(tmp_path / "run", truth_folder, code_map={}), truth_folder)
    assert found.map is not None
    assert found.map.overall_accuracy == 1 and found.map.macro_f1 == 1 and found.map.pixels == 200 * 200
    assert found.coverage == 1 and all(r.estimate_ha == pytest.approx(r.true_ha) for r in found.area)
    assert len(found.area) == 20
    wheat = next(r for r in found.growth if r.crop == "winter_wheat")
    assert wheat.rank_correlation > 0.999 and wheat.same_side == 1
    assert wheat.anomaly_mean == pytest.approx(0.3 * wheat.true_mean, abs=0.06)
    assert {r.crop for r in found.growth} == set(crops.YIELD_KG_PER_MU)
    (stage,) = found.stages
    assert stage.mean_absolute_error == 0 and stage.parcels > 20


def test_a_wrong_run_is_found_out(truth_folder: Path, tmp_path: Path) -> None:
    """Every flax field called potato, and heading dated four days late."""
    flax, potato = crops.CODE["flax"], crops.CODE["potato"]
    run = write_run(tmp_path / "run", truth_folder, code_map={flax: potato}, bias_days=4)
    found = compare.compare(run, truth_folder)
    with rasterio.open(truth_folder / "crop_type.tif") as source:
        codes = source.read(1)
    n_flax, n_potato = int((codes == flax).sum()), int((codes == potato).sum())
    assert found.map is not None
    assert found.map.overall_accuracy == pytest.approx(1 - n_flax / codes.size)
    assert found.map.per_class_f1["flax"] == 0
    assert found.map.per_class_f1["potato"] == pytest.approx(2 * n_potato / (2 * n_potato + n_flax))
    covered = {r.crop: r.covered for r in found.area if r.method == "olofsson_2014"}
    assert covered["flax"] is False and covered["potato"] is False and covered["apple"] is True
    assert found.coverage == pytest.approx(0.8)
    assert found.stages[0].mean_error == pytest.approx(4)


def test_real_data_has_no_known_truth(truth_folder: Path, tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", truth_folder, code_map={})
    manifest = contract.read_manifest(run)
    (run / "run.json").unlink()
    contract.seal(run, contract.RunManifest(**{**contract._shallow(manifest), "simulated": False}))
    with pytest.raises(RunFolderError, match="not made of simulated data"):
        compare.compare(run, truth_folder)


def test_another_grid_is_refused(truth_folder: Path, tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", truth_folder, code_map={})
    moved = tmp_path / "moved"
    shutil.copytree(truth_folder, moved)
    with rasterio.open(moved / "crop_type.tif", "r+") as target:
        target.transform = rasterio.Affine(10, 0, 558_825, 0, -10, 3_923_100)
    with pytest.raises(compare.TruthError, match="does not lie on the grid"):
        compare.compare(run, moved)


@pytest.fixture
def app() -> typer.Typer:
    application = typer.Typer()
    cli_simulate.register(application)
    return application


def test_compare_truth_prints_tables_and_json(app: typer.Typer, truth_folder: Path, tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", truth_folder, code_map={})
    result = CliRunner().invoke(app, ["compare-truth", str(run), str(truth_folder), "--json"])
    document = json.loads(result.stdout)
    assert (
        result.exit_code == 0 and document["map"]["overall_accuracy"] == 1 and document["simulated"] is True
    )
    shown = CliRunner().invoke(app, ["compare-truth", str(run), str(truth_folder)])
    assert shown.exit_code == 0 and "overall accuracy 1.000" in shown.stdout and "模拟数据" in shown.stdout


def test_commands_refuse_with_2_and_say_why(app: typer.Typer, tmp_path: Path) -> None:
    def refused(*arguments: str) -> str:
        result = CliRunner().invoke(app, list(arguments))
        assert result.exit_code == 2, result.output
        return " ".join(result.output.split())

    assert "--size-km 99" in refused("simulate", "--out", str(tmp_path / "t"), "--size-km", "99")
    assert "is not a run folder" in refused("compare-truth", str(tmp_path), str(tmp_path))
    assert "is not a truth folder" in refused(
        "answer-sample", "x.geojson", str(tmp_path), "--out", str(tmp_path / "o")
    )
    assert list(tmp_path.iterdir()) == []


def test_simulate_prints_a_summary(app: typer.Typer, tmp_path: Path) -> None:
    out = tmp_path / "twin"
    arguments = ["simulate", "--out", str(out), "--size-km", "0.6", "--seasons", "1", "--seed", "3", "--json"]
    result = CliRunner().invoke(app, arguments)
    document = json.loads(result.stdout)
    assert result.exit_code == 0, result.output
    assert document["seasons"] == [str(out / "2026" / "season.toml")] and document["area_ha"] == 36.0
    assert json.loads(CliRunner().invoke(app, arguments).stdout)["kept"] is True
