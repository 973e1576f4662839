"""`eo train` and `eo evaluate crop-type`: what they print, what they write, and what they refuse."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import typer
from typer.testing import CliRunner, Result

from eo_pipeline import cli_models
from models import runtime
from models.crop_type import CropTypeModel
from models.training import TrainingSettings


@pytest.fixture(autouse=True)
def _brief(monkeypatch: pytest.MonkeyPatch) -> None:
    """The commands as they are, with fewer steps of training."""
    from models import crop_type

    torch.set_num_threads(1)
    monkeypatch.setattr(
        crop_type, "TrainingSettings", lambda: TrainingSettings(epochs=5, min_steps=50, batch_size=32)
    )


def arrays(*, n: int = 90, seed: int = 0) -> dict[str, np.ndarray]:
    """Early and late peaks, with gaps, in fields of two."""
    rng = np.random.default_rng(seed)
    y = np.array(["wheat", "maize", "potato"])[(np.arange(n) // 2) % 3]
    peak = np.select([y == "wheat", y == "maize"], [3, 8], 5.5)[:, None]
    X = np.exp(-0.5 * (np.arange(12) - peak) ** 2)[:, :, None] + rng.normal(0, 0.1, (n, 12, 2))
    X[rng.random((n, 12)) < 0.1] = np.nan
    return {"X": X.astype(np.float32), "y": y, "groups": np.arange(n) // 2}


def save(path: Path, **changes: np.ndarray | None) -> Path:
    content = {k: v for k, v in (arrays() | changes).items() if v is not None}
    np.savez_compressed(path, **content)
    return path


def eo(*args: object) -> Result:
    app = typer.Typer()
    cli_models.register(app)
    return CliRunner().invoke(app, [str(a) for a in args], env={"COLUMNS": "200"})


def test_evaluate_prints_json_and_nothing_else(tmp_path: Path) -> None:
    train, test = save(tmp_path / "a.npz"), save(tmp_path / "b.npz", **arrays(seed=1))
    result = eo("evaluate", "crop-type", "--train", train, "--test", test, "--json")
    assert result.exit_code == 0, result.output
    figures = json.loads(result.stdout)
    assert result.stderr == ""
    for part in (figures, figures["baseline"]):
        assert part["overall_accuracy"] >= 0.9
        assert 0.9 <= part["macro_f1"] <= 1
        assert sorted(part["per_class_f1"]) == ["maize", "potato", "wheat"]
        assert 0 <= part["ece"] <= 1
        assert np.sum(part["confusion"]) == part["n"] == 90
    assert figures["overall_accuracy"] == pytest.approx(np.trace(figures["confusion"]) / 90)
    assert eo("evaluate", "crop-type", "--train", train, "--test", test, "--json").stdout == result.stdout


def test_evaluate_by_folds_keeps_squares_whole(tmp_path: Path) -> None:
    data = arrays()
    train = save(tmp_path / "a.npz", y=None, label=data["y"], groups=None, bands=np.array(["NDVI", "EVI"]))
    table = tmp_path / "places.csv"
    rows = [f"{105.7 + 0.1 * (i // 2)},35.5" for i in range(90)]
    table.write_text("longitude,latitude\n" + "\n".join(rows), encoding="utf-8")
    result = eo(
        *(
            "evaluate",
            "crop-type",
            "--train",
            train,
            "--folds",
            3,
            "--table",
            table,
            "--group-km",
            1,
            "--json",
        )
    )
    figures = json.loads(result.stdout)
    assert figures["n_groups"] == 45
    assert [fold["n"] for fold in figures["folds"]] == [30, 30, 30]
    assert figures["overall_accuracy"] >= 0.9
    # for people: the same as a table
    shown = eo("evaluate", "crop-type", "--train", train, "--folds", 3)
    assert shown.exit_code == 0
    assert "tree baseline" in shown.stdout
    assert "F1 potato" in shown.stdout


def test_train_writes_a_model_that_predicts(tmp_path: Path) -> None:
    samples = save(tmp_path / "a.npz")
    out = tmp_path / "models" / "m"
    result = eo(
        "train", samples, "--out", out, "--channels", "NDVI, EVI", "--folds", 2, "--seed", 7, "--json"
    )
    assert result.exit_code == 0, result.output
    card = json.loads(result.stdout)["card"]
    assert card["channels"] == ["NDVI", "EVI"]
    assert card["data"]["description"] == "a.npz"
    assert card["training"]["seed"] == 7
    assert card["metrics"]["cross_validation"]["overall_accuracy"] >= 0.9
    assert card["metrics"]["cross_validation"]["grouped"] is True
    model = CropTypeModel.load(out)
    test = arrays(seed=3)
    assert (model.predict(test["X"]) == test["y"]).mean() >= 0.9
    if runtime.available():
        fast = runtime.FastModel.load(out)
        labels = fast.classes[fast.assess(test["X"]).probabilities.argmax(axis=1)]
        assert np.mean(labels == model.predict(test["X"])) >= 0.98
    # without --json: the table, and the model is replaced
    shown = eo("train", samples, "--out", out, "--folds", 0)
    assert shown.exit_code == 0
    assert "3 classes from 90 samples" in shown.stdout
    assert CropTypeModel.load(out).channels == ("c0", "c1")


def test_help_has_examples() -> None:
    for command in (("train",), ("evaluate", "crop-type")):
        shown = eo(*command, "--help")
        assert shown.exit_code == 0
        assert "Examples" in shown.stdout
        assert f"eo {' '.join(command)} " in shown.stdout


def _text(path: Path) -> Path:
    path.write_text("X,y\n1,2\n", encoding="utf-8")
    return path


def _cut(path: Path) -> Path:
    save(path)
    path.write_bytes(path.read_bytes()[:2000])
    return path


def _flipped(path: Path) -> Path:
    save(path)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(bytes(data))
    return path


def _single(path: Path) -> Path:
    with path.open("wb") as handle:
        np.save(handle, arrays()["X"])
    return path


def _empty_row(path: Path) -> Path:
    X = arrays()["X"]
    X[5] = np.nan
    return save(path, X=X)


BAD: dict[str, tuple[Callable[[Path], Path], str]] = {
    "not there": (lambda p: p, "is not there"),
    "not an npz": (_text, "cannot be read as an npz"),
    "cut off": (_cut, "cannot be read as an npz"),
    "flipped byte": (_flipped, "cannot be read as an npz"),
    "single array": (_single, "single array"),
    "no y": (lambda p: save(p, y=None), "holds no y; its keys are X, groups"),
    "no X": (lambda p: save(p, X=None), "holds no X"),
    "objects": (lambda p: save(p, y=arrays()["y"].astype(object)), "y.astype(str)"),
    "two dimensions": (lambda p: save(p, X=arrays()["X"][:, :, 0]), r"shape (90, 12); three are needed"),
    "too few labels": (lambda p: save(p, y=arrays()["y"][1:]), "y has shape (89,), but X holds 90"),
    "too few groups": (lambda p: save(p, groups=np.arange(3)), "groups has shape (3,)"),
    "empty series": (_empty_row, "1 series hold no observation at all (rows 5)"),
    "one class": (lambda p: save(p, y=np.full(90, "wheat")), "all 90 samples are of one class (wheat)"),
    "channel names": (lambda p: save(p, channels=np.array(["NDVI"])), "1 channels are named (NDVI)"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_samples_exit_with_2_and_leave_nothing(case: str, tmp_path: Path) -> None:
    make, message = BAD[case]
    path = make(tmp_path / "bad.npz")
    good = save(tmp_path / "good.npz")
    before = sorted(tmp_path.iterdir())
    out = tmp_path / "out" / "model"
    for args in (
        ("train", path, "--out", out),
        ("evaluate", "crop-type", "--train", path, "--test", good, "--json"),
    ):
        result = eo(*args)
        assert result.exit_code == 2
        assert result.stdout == ""
        assert message in result.stderr
        assert result.stderr.count("\n") == 1  # one paragraph, no traceback
        assert str(path) in result.stderr
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"y": np.where(arrays()["y"] == "maize", "rice", arrays()["y"])},
            "does not know: rice (known: maize",
        ),
        ({"X": arrays()["X"][:, :9]}, "12 dates × 2 channels, the test series 9 × 2"),
        ({"X": arrays()["X"][:, :, :1]}, "12 dates × 2 channels, the test series 12 × 1"),
        ({"y": np.arange(90) % 3}, "training labels are text"),
    ],
)
def test_a_test_file_that_does_not_fit(tmp_path: Path, changes: dict[str, np.ndarray], message: str) -> None:
    train, test = save(tmp_path / "a.npz"), save(tmp_path / "b.npz", **changes)
    result = eo("evaluate", "crop-type", "--train", train, "--test", test, "--json")
    assert result.exit_code == 2
    assert result.stdout == ""
    assert message in result.stderr
    assert str(train) in result.stderr
    assert str(test) in result.stderr


def test_options_that_contradict(tmp_path: Path) -> None:
    train = save(tmp_path / "a.npz")
    table = tmp_path / "places.csv"
    table.write_text("x,y\n1,2\n", encoding="utf-8")
    for args, message in (
        (("--train", train), "exactly one of them"),
        (("--train", train, "--test", train, "--folds", 3), "exactly one of them"),
        (("--train", train, "--folds", 60), "at most 30 folds"),
        (("--train", train, "--folds", 3, "--table", table), "or neither"),
        (("--train", train, "--folds", 3, "--table", table, "--group-km", 1), "no columns lon and lat"),
    ):
        result = eo("evaluate", "crop-type", *args)
        assert result.exit_code == 2
        assert message in result.stderr


def test_train_leaves_a_folder_of_something_else_alone(tmp_path: Path) -> None:
    home = tmp_path / "photos"
    home.mkdir()
    (home / "one.jpg").write_bytes(b"x")
    result = eo("train", save(tmp_path / "a.npz"), "--out", home)
    assert result.exit_code == 2
    assert "left alone" in result.stderr
    assert [p.name for p in home.iterdir()] == ["one.jpg"]
