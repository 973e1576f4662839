"""The fast runtime: it says what PyTorch says, the same bytes in any company, and refuses what is not its."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from models import runtime
from models.crop_type import CropTypeModel
from models.errors import ModelError, ModelFileError
from models.runtime import FAST, FastModel, export
from models.training import TrainingSettings
from tests.models.conftest import Season, make_season

pytestmark = pytest.mark.skipif(not runtime.available(), reason="OpenVINO is not installed")


@pytest.fixture(scope="module")
def folder(season: Season, brief: TrainingSettings, tmp_path_factory: pytest.TempPathFactory) -> Path:
    model = CropTypeModel.fit(season.X, season.y, groups=season.groups, settings=brief)
    folder = model.save(tmp_path_factory.mktemp("runtime") / "model")
    export(folder, season.X)
    return folder


@pytest.fixture
def fresh() -> np.ndarray:
    """Series no training saw, one of them empty, one of one channel only, one that is not a number."""
    X = make_season(n=1200, seed=5).X
    X[7] = np.nan
    X[8, :, 1] = np.nan
    X[9, 3] = np.inf
    return X


def test_preparation_is_the_networks_own(folder: Path, fresh: np.ndarray) -> None:
    network = CropTypeModel.load(folder).network
    fresh[11, 2:9, 0] = np.nan  # a gap in one channel alone
    anomaly, share = (part.numpy() for part in network.prepare(torch.from_numpy(fresh)))
    for rows, features, seen in runtime._batches(network, fresh):
        found = features[: len(seen)].transpose(0, 2, 1)
        np.testing.assert_allclose(found[:, :, :-1], anomaly[rows], atol=2e-5)
        np.testing.assert_allclose(found[:, :, -1], share[rows], atol=1e-6)
        assert seen.tolist() == np.isfinite(fresh[rows]).any(axis=(1, 2)).tolist()


@pytest.mark.parametrize(
    ("precision", "labels", "close"), [("int8", 0.995, 0.1), ("bf16", 0.998, 0.03), ("fp32", 1.0, 1e-4)]
)
def test_every_precision_says_what_pytorch_says(
    folder: Path, fresh: np.ndarray, precision: runtime.Precision, labels: float, close: float
) -> None:
    model = CropTypeModel.load(folder)
    told = model.assess(fresh, threads=1, device="cpu")
    said = FastModel(model, precision, runtime.read_export(folder).ranges).assess(fresh)
    assert np.mean(said.probabilities.argmax(axis=1) == told.probabilities.argmax(axis=1)) >= labels
    assert np.abs(said.probabilities - told.probabilities).max() <= close
    assert np.abs(said.entropy - told.entropy).max() <= 2 * close
    assert np.abs(said.novelty - told.novelty).mean() <= close
    assert np.mean(said.sets == told.sets) >= 1 - close
    np.testing.assert_allclose(said.probabilities.sum(axis=1), 1, atol=1e-5)
    assert said.probabilities[7].tolist() == told.probabilities[7].tolist()
    assert said.novelty[7] == 1


def test_the_same_bytes_in_any_company(folder: Path, fresh: np.ndarray) -> None:
    fast = FastModel.load(folder)
    whole = fast.assess(fresh)
    order = np.random.default_rng(0).permutation(len(fresh))
    torch.set_num_threads(2)
    others = [FastModel.load(folder).assess(fresh[part]) for part in np.array_split(order, [1, 300, 813])]
    for name in ("probabilities", "sets", "entropy", "novelty"):
        apart = np.concatenate([getattr(other, name) for other in others])
        assert apart.tobytes() == getattr(whole, name)[order].tobytes(), name


def test_the_choice_is_written_with_its_reasons(folder: Path, season: Season) -> None:
    body = json.loads((folder / FAST).read_text())
    assert body["agreement"][body["precision"]] >= runtime.LEAST_AGREEMENT
    assert body["samples"] == len(season.X)
    assert 0 < body["differences"]["probability"] < 0.2
    before = (folder / FAST).read_bytes()
    export(folder, season.X)
    assert (folder / FAST).read_bytes() == before
    assert sorted(path.name for path in folder.iterdir()) == ["card.json", FAST, "weights.safetensors"]


def test_a_precision_that_changes_the_map_is_passed_over(
    folder: Path, season: Season, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = CropTypeModel.load(folder).save(tmp_path / "model")
    whole = runtime._ranges
    # ranges a thousandth as wide leave nothing of the activations
    monkeypatch.setattr(runtime, "_ranges", lambda *given: tuple(v / 1000 for v in whole(*given)))
    chosen = export(other, season.X)
    assert chosen.agreement["int8"] < runtime.LEAST_AGREEMENT
    assert chosen.precision != "int8"
    assert FastModel.load(other).precision == chosen.precision


def test_what_does_not_belong_together_is_refused(
    folder: Path, season: Season, brief: TrainingSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = CropTypeModel.load(folder)
    other = model.save(tmp_path / "model")
    with pytest.raises(ModelFileError, match=r"fast\.json is not there.*make setup"):
        FastModel.load(other)
    text = (folder / FAST).read_text()
    (other / FAST).write_text(text.replace('"samples": 1', '"samples": 2'))
    with pytest.raises(ModelFileError, match="checksum does not agree"):
        FastModel.load(other)
    for damage in ("", "[]", "{}", text[:-40]):
        (other / FAST).write_text(damage)
        with pytest.raises(ModelFileError, match=r"fast\.json is damaged"):
            FastModel.load(other)
    second = CropTypeModel.fit(season.X, season.y, settings=brief, seed=3).save(tmp_path / "second")
    (second / FAST).write_text(text)
    with pytest.raises(ModelFileError, match="belongs to other weights"):
        FastModel.load(second)
    with pytest.raises(ModelError, match="dates"):
        export(folder, season.X[:, :5])
    monkeypatch.setattr(runtime, "_processor", lambda: ("FP32",))
    with pytest.raises(ModelFileError, match="another kind of processor"):
        FastModel.load(folder)
    monkeypatch.undo()
    monkeypatch.setattr(runtime, "available", lambda: False)
    with pytest.raises(ModelError, match="OpenVINO is not installed"):
        FastModel.load(folder)
