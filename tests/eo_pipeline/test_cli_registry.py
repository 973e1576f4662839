"""`eo models list` and `compare`: what they tell of model folders, and of damaged ones."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import typer
from typer.testing import CliRunner, Result

from eo_pipeline import cli_models
from models import runtime
from models.crop_type import CropTypeModel
from models.training import TrainingSettings


def eo(*args: object) -> Result:
    app = typer.Typer()
    cli_models.register(app)
    return CliRunner().invoke(app, ["models", *map(str, args)], env={"COLUMNS": "200"})


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two models of two and three classes, one of them ready for OpenVINO; a cube, which holds none."""
    shelf = tmp_path_factory.mktemp("shelf")
    rng = np.random.default_rng(0)
    settings = TrainingSettings(epochs=1, min_steps=25)
    for name, classes in (("two", ["maize", "wheat"]), ("deep/three", ["maize", "potato", "wheat"])):
        y = np.repeat(classes, 20)
        X = rng.normal(0, 0.1, (len(y), 8, 2)) + np.repeat(np.arange(len(classes)), 20)[:, None, None]
        model = CropTypeModel.fit(X, y, channels=["NDVI", "EVI"], settings=settings, threads=1)
        figures = {"overall_accuracy": 0.9 + len(classes) / 100, "macro_f1": 0.8, "ece": 0.05}
        figures["per_class_f1"] = dict.fromkeys(classes, 0.8)
        model.with_metrics(cross_validation=figures).save(shelf / name)
    if runtime.available():
        runtime.export(shelf / "two", X[:40, :, :])
    shutil.copytree(shelf / "two", shelf / "cube.zarr" / "two")
    return shelf


def test_the_list_finds_models_and_tells_their_figures(shelf: Path) -> None:
    found = json.loads(eo("list", shelf, shelf / "two", "--json").stdout)
    assert found["damaged"] == {}
    three, two = found["models"]
    assert [three["model"], two["model"]] == [str(shelf / "deep/three"), str(shelf / "two")]
    assert two["classes"] == ["maize", "wheat"]
    assert (two["overall_accuracy"], three["overall_accuracy"]) == (0.92, 0.93)
    assert (two["dates"], two["channels"], two["samples"]) == (8, ["NDVI", "EVI"], 40)
    assert three["openvino"] is None
    assert two["openvino"] in ("int8", "bf16", "fp32") or not runtime.available()
    shown = eo("list", shelf)
    assert shown.exit_code == 0
    assert "0.92" in shown.stdout
    assert "8 × 2" in shown.stdout


def test_compare_tells_what_differs_and_what_cannot_be_compared(shelf: Path) -> None:
    told = json.loads(eo("compare", shelf / "two", shelf / "deep/three", "--json").stdout)
    assert told["same_samples"] is False
    assert told["differing"]["data.samples"] == {"a": 40, "b": 60}
    assert told["differing"]["overall accuracy"] == {"a": 0.92, "b": 0.93}
    assert "training.seed" not in told["differing"]
    assert told["f1"]["potato"] == {"a": None, "b": 0.8}
    shown = eo("compare", shelf / "two", shelf / "deep/three").stdout
    assert "+0.01" in shown
    assert "They were trained on different samples" in shown
    assert "+20" in shown
    same = eo("compare", shelf / "two", shelf / "cube.zarr/two")
    assert same.exit_code == 0
    assert "different samples" not in same.stdout


def test_a_damaged_model_is_named_and_the_others_are_listed(shelf: Path, tmp_path: Path) -> None:
    shutil.copytree(shelf / "deep", tmp_path / "deep")
    bad = shutil.copytree(shelf / "two", tmp_path / "bad")
    text = (bad / "card.json").read_text()
    for damage, why in (
        (text.replace("0.92", "0.99"), "checksum does not agree"),
        ("{", "cannot be read as a model card"),
        ("[]", "holds no JSON object"),
        ("{}", "has format None"),
    ):
        (bad / "card.json").write_text(damage)
        for arguments in (("list", tmp_path, "--json"), ("compare", bad, tmp_path / "deep/three")):
            result = eo(*arguments)
            assert result.exit_code == 2
            assert why in result.stderr
            assert str(bad / "card.json") in result.stderr
        found = json.loads(eo("list", tmp_path, "--json").stdout)
        assert [item["model"] for item in found["models"]] == [str(tmp_path / "deep/three")]
        assert list(found["damaged"]) == [str(bad)]
    (bad / "card.json").write_text(text)
    (bad / "fast.json").write_text("{}")
    assert "fast.json is damaged" in eo("compare", bad, bad).stderr
    (bad / "weights.safetensors").write_bytes(b"")
    assert "weights.safetensors is damaged" in eo("list", bad).stderr


def test_places_without_models(tmp_path: Path) -> None:
    empty = eo("list", tmp_path)
    assert empty.exit_code == 0
    assert f"No model in {tmp_path}" in empty.stdout
    assert json.loads(eo("list", tmp_path, "--json").stdout) == {"models": [], "damaged": {}}
    gone = eo("list", tmp_path / "gone")
    assert gone.exit_code == 2
    assert "is not a folder" in gone.stderr
    assert "not a model folder" in eo("compare", tmp_path, tmp_path).stderr
    for command in ("list", "compare"):
        assert f"eo models {command}" in eo(command, "--help").stdout
