"""Accuracy figures, splits that keep groups whole, and cross-validation."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import confusion_matrix, f1_score

from models.baseline import TreeBaseline
from models.errors import SeriesError
from models.evaluate import cross_validate, evaluate_split, grouped_folds, measure, square_groups
from models.series import check_labelled
from models.training import TrainingSettings
from tests.models.conftest import Season, make_season


def one_hot(codes: np.ndarray, k: int) -> np.ndarray:
    return np.eye(k)[codes]


def test_measure_by_hand() -> None:
    y = np.array(["a", "a", "a", "b", "b", "c"])
    predicted = np.array([0, 0, 1, 1, 1, 0])
    accuracy = measure(y, one_hot(predicted, 4), ["a", "b", "c", "d"])
    assert accuracy.overall_accuracy == pytest.approx(4 / 6)
    assert accuracy.confusion.tolist() == [[2, 1, 0, 0], [0, 2, 0, 0], [1, 0, 0, 0], [0, 0, 0, 0]]
    # "d" occurs nowhere, so it has no F1; "c" occurs and was never found
    assert accuracy.per_class_f1 == pytest.approx({"a": 4 / 6, "b": 4 / 5, "c": 0.0})
    assert accuracy.macro_f1 == pytest.approx((4 / 6 + 4 / 5) / 3)
    assert accuracy.ece == pytest.approx(2 / 6)
    assert json.loads(json.dumps(accuracy.as_dict()))["n"] == 6


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=60))
def test_measure_agrees_with_sklearn(pairs: list[tuple[int, int]]) -> None:
    truth, predicted = np.array(pairs).T
    accuracy = measure(truth, one_hot(predicted, 4), np.arange(4))
    assert accuracy.macro_f1 == pytest.approx(f1_score(truth, predicted, average="macro", zero_division=0))
    assert np.array_equal(accuracy.confusion, confusion_matrix(truth, predicted, labels=range(4)))


def test_renaming_classes_changes_no_figure() -> None:
    rng = np.random.default_rng(0)
    p = rng.dirichlet(np.ones(3), 200)
    y = rng.integers(0, 3, 200)
    plain = measure(y, p, np.arange(3))
    renamed = measure(np.array(["z", "a", "m"])[y], p, np.array(["z", "a", "m"]))
    assert (renamed.overall_accuracy, renamed.macro_f1, renamed.ece) == (
        plain.overall_accuracy,
        plain.macro_f1,
        plain.ece,
    )
    assert renamed.per_class_f1["z"] == plain.per_class_f1["0"]


def test_unknown_test_label_is_named() -> None:
    with pytest.raises(SeriesError, match="Test labels rice are not among the classes maize, wheat"):
        measure(np.array(["rice"]), np.array([[0.5, 0.5]]), ["maize", "wheat"])


places = st.lists(st.tuples(st.floats(100, 110), st.floats(-60, 60)), min_size=1, max_size=50)


@given(places, st.floats(0.5, 50))
def test_places_of_one_square_are_near_each_other(points: list[tuple[float, float]], km: float) -> None:
    lon, lat = np.array(points).T
    groups = square_groups(lon, lat, km)
    for group in np.unique(groups):
        inside = groups == group
        north = np.ptp(lat[inside]) * 111.32
        east = np.ptp(lon[inside]) * 111.32 * np.cos(np.radians(np.abs(lat[inside]).max()))
        assert max(north, east) <= km * 1.001
    # a place is in the same square whatever else is asked about

    twice = square_groups(np.r_[lon, lon], np.r_[lat, lat], km)
    assert np.array_equal(twice[: len(lon)], twice[len(lon) :])


def test_squares_of_pingliang() -> None:
    # 3 km along a parallel fall into different 1 km squares, 30 m into one
    lon = np.array([105.70, 105.7003, 105.7329])
    groups = square_groups(lon, np.full(3, 35.52), 1.0)
    assert groups[0] == groups[1] != groups[2]
    with pytest.raises(SeriesError, match=r"rows \[1\]"):
        square_groups([105.0, 105.0], [35.0, 95.0], 1.0)
    with pytest.raises(SeriesError, match="more than 0"):
        square_groups([105.0], [35.0], 0.0)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 6))
def test_no_group_lies_on_both_sides(seed: int, folds: int) -> None:
    rng = np.random.default_rng(seed)
    groups = rng.integers(0, 40, 200)
    y = rng.integers(0, 3, 200)
    splits = grouped_folds(y, groups, folds=folds, seed=seed)
    assert sorted(np.concatenate([test for _, test in splits])) == list(range(200))
    for train, test in splits:
        assert not set(groups[train]) & set(groups[test])
        assert len(train) + len(test) == 200


def test_too_few_groups_for_the_folds() -> None:
    y = np.array(["a", "b"] * 10)
    with pytest.raises(SeriesError, match=r"in 3 groups.*at most 3 folds"):
        grouped_folds(y, np.arange(20) % 3, folds=5, seed=0)
    with pytest.raises(SeriesError, match="at least 2"):
        grouped_folds(y, np.arange(20), folds=1, seed=0)


def test_cross_validation_predicts_each_sample_once(season: Season, brief: TrainingSettings) -> None:
    seen: list[tuple[int, int]] = []
    result = cross_validate(
        season.X,
        season.y,
        groups=season.groups,
        folds=3,
        seed=3,
        settings=brief,
        progress=lambda done, total: seen.append((done, total)),
    )
    np.testing.assert_allclose(result.probabilities.sum(axis=1), 1.0, atol=1e-5)
    assert result.labels == ("maize", "orchard", "wheat")
    assert result.model.overall_accuracy == pytest.approx((result.predictions == season.y).mean())
    assert result.model.overall_accuracy >= 0.95
    assert sum(fold.n for fold in result.folds) == len(season.y)
    assert sum(fold.confusion for fold in result.folds).tolist() == result.model.confusion.tolist()
    assert result.n_groups == 50
    assert seen[-1][0] == seen[-1][1] == 3 * 50
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    for fold in range(3):
        assert not set(season.groups[result.fold == fold]) & set(season.groups[result.fold != fold])


def test_folds_in_processes_give_the_same_numbers(season: Season, brief: TrainingSettings) -> None:
    options = {"groups": season.groups, "folds": 3, "seed": 3, "settings": brief, "threads": 1}
    seen: list[tuple[int, int]] = []
    alone = cross_validate(season.X, season.y, **options)
    together = cross_validate(
        season.X, season.y, workers=2, progress=lambda done, total: seen.append((done, total)), **options
    )
    assert np.array_equal(alone.probabilities, together.probabilities)
    assert np.array_equal(alone.baseline_probabilities, together.baseline_probabilities)
    assert seen == [(1, 3), (2, 3), (3, 3)]


def test_a_class_in_one_group_is_counted_as_wrong(brief: TrainingSettings) -> None:
    data = make_season(n=90)
    y = data.y.copy()
    y[data.groups == 7] = "flax"
    result = cross_validate(data.X, y, groups=data.groups, folds=3, settings=brief)
    flax = result.labels.index("flax")
    assert (result.probabilities[y == "flax", flax] == 0).all()
    assert result.model.per_class_f1["flax"] == 0.0


def test_split_evaluates_model_and_baseline_on_the_test_set(season: Season, brief: TrainingSettings) -> None:
    other = make_season(seed=8, n=60)
    result = evaluate_split(
        check_labelled(season.X, season.y), check_labelled(other.X, other.y), settings=brief
    )
    figures = result.as_dict()
    assert figures["n"] == figures["baseline"]["n"] == 60
    assert figures["overall_accuracy"] >= 0.95
    assert figures["baseline"]["overall_accuracy"] >= 0.9
    assert set(figures) >= {"overall_accuracy", "macro_f1", "per_class_f1", "ece", "baseline"}
    assert figures["overall_accuracy"] == pytest.approx(
        (np.array(figures["labels"])[result.probabilities.argmax(axis=1)] == other.y).mean()
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: check_labelled(s.X[:, 1:], s.y), "18 dates × 2 channels, the test series 17 × 2"),
        (lambda s: check_labelled(s.X, np.where(s.y == "wheat", "rye", s.y)), "does not know: rye"),
        (
            lambda s: check_labelled(s.X, np.unique(s.y, return_inverse=True)[1]),
            "text, the test labels whole",
        ),
    ],
)
def test_sets_that_do_not_belong_together(season: Season, change, message: str) -> None:
    with pytest.raises(SeriesError, match=message):
        evaluate_split(check_labelled(season.X, season.y), change(season))


def test_tree_baseline_has_the_same_interface(season: Season) -> None:
    tree = TreeBaseline.fit(season.X, season.y, seed=0, trees=60)
    test = make_season(seed=4)
    X = test.X.copy()
    X[0] = np.nan
    proba = tree.predict_proba(X)
    np.testing.assert_allclose(proba.sum(axis=1), 1.0, atol=1e-5)
    np.testing.assert_allclose(proba[0], [(season.y == c).mean() for c in tree.classes], atol=1e-6)
    assert (tree.predict(test.X) == test.y).mean() >= 0.95
    assert np.array_equal(TreeBaseline.fit(season.X, season.y, seed=0, trees=60).predict_proba(X), proba)
    with pytest.raises(SeriesError, match="trained on 18 × 2"):
        tree.predict_proba(X[:, :, :1])
