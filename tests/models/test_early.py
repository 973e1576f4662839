"""From when a crop is separable: on series that part at known dates, and on real fields."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from command import good, refused

from models.early import separability
from models.errors import SeriesError


def series() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Wheat leaves the others at step 1, maize and potato part at step 3 of 5; four samples a field."""
    rng = np.random.default_rng(1)
    y = np.repeat(["wheat", "maize", "potato"], 40)
    X = rng.normal(0, 0.05, (120, 5, 1))
    X[y == "wheat", 1:] += 0.6
    X[y == "maize", 3:] += 0.4
    return X.astype(np.float32), y, np.arange(120) // 4


def test_each_class_is_separable_from_where_it_parts() -> None:
    X, y, groups = series()
    got = separability(X, y, groups=groups, folds=3, threads=1)
    assert dict(zip(got.labels, got.first, strict=True)) == {"maize": 3, "potato": 3, "wheat": 1}
    k = got.labels.index("wheat")
    assert got.f1[0, k] < 0.6 < 0.95 < got.f1[1, k]
    assert got.overall[0] < 0.5 and got.overall[2] == pytest.approx(0.67, abs=0.12) and got.overall[-1] > 0.95
    # what happens later says nothing of what could be told before
    cut = separability(X[:, :2], y, groups=groups, folds=3, threads=1)
    np.testing.assert_array_equal(cut.f1, got.f1[:2])
    assert dict(zip(cut.labels, cut.first, strict=True)) == {"maize": None, "potato": None, "wheat": 1}
    with pytest.raises(SeriesError, match="F1 asked for is 80"):
        separability(X, y, threshold=80)


@pytest.mark.realdata
def test_crops_of_bavaria_are_told_by_early_summer(shared_data: Path, tmp_path: Path) -> None:
    # given: declared fields of 2018 at 14 half-month dates from 15 February to 30 August
    with np.load(shared_data / "bavaria-s2-fields" / "dev.npz") as fields:
        keep = np.isin(fields["group"], ["winter_wheat", "maize", "other"])
        samples = {"X": fields["X"][keep], "y": fields["group"][keep]}
        days = fields["dates"].tolist()
    np.savez(tmp_path / "fields.npz", **samples, dates=np.array(days))
    np.savez(tmp_path / "bare.npz", **samples)
    # when
    options = ("--folds", 3, "--threads", 1)
    facts = json.loads(good("evaluate", "early", "--train", tmp_path / "fields.npz", *options, "--json"))
    # then: maize is bare when all else is green, wheat turns yellow before the meadows
    first = facts["separable_from"]
    assert (
        "2018-04-30" <= first["maize"] <= "2018-07-15"
        and "2018-05-15" <= first["winter_wheat"] <= "2018-08-15"
    )
    assert facts["dates"] == days and facts["overall_accuracy"][-1] > facts["overall_accuracy"][0] + 0.1
    bare = ("evaluate", "early", "--train", tmp_path / "bare.npz", *options)
    assert "Give each" in refused(*bare, "--dates", "2018-02-15")
