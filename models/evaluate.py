"""How good a model is, measured on samples it never saw; the tree baseline always beside it.

Splits keep groups whole (a field, a square of ground, a year), because neighbours look alike: with pixels of
one field on both sides of a split, any model seems good.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from multiprocessing import get_context
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from models.baseline import TreeBaseline
from models.calibration import expected_calibration_error
from models.conformal import in_set, set_threshold
from models.crop_type import CropTypeModel
from models.errors import SeriesError
from models.groups import grouped_folds, square_groups
from models.series import Codes, LabelledSeries, check_classes, check_labelled
from models.training import TrainingSettings

__all__ = [
    "Accuracy",
    "CrossValidation",
    "Evaluation",
    "check_pair",
    "cross_validate",
    "evaluate_split",
    "grouped_folds",
    "measure",
    "square_groups",
]

#: Called with the work done and the whole of it (optimiser steps over all folds).
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Accuracy:
    """Figures of one set of predictions.

    Attributes
    ----------
    overall_accuracy : float
        Share of samples predicted right.
    macro_f1 : float
        Mean F1 of the classes that occur in the truth or the predictions.
    per_class_f1 : dict
        F1 of each of them, by label as text.
    ece : float
        Expected calibration error, 15 bins.
    confusion : (k, k) int64
        Counts, rows true, columns predicted, in the order of `labels`.
    labels : tuple
        All classes, sorted.
    n : int
        Samples.
    """

    overall_accuracy: float
    macro_f1: float
    per_class_f1: dict[str, float]
    ece: float
    confusion: NDArray[np.int64]
    labels: tuple[Any, ...]
    n: int

    def as_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        return {
            "overall_accuracy": self.overall_accuracy,
            "macro_f1": self.macro_f1,
            "per_class_f1": dict(self.per_class_f1),
            "ece": self.ece,
            "confusion": self.confusion.tolist(),
            "labels": list(self.labels),
            "n": self.n,
        }


@dataclass(frozen=True)
class Evaluation:
    """The model's figures on a test set, and the baseline's on the same."""

    model: Accuracy
    baseline: Accuracy
    probabilities: NDArray[np.float32]
    baseline_probabilities: NDArray[np.float32]

    def as_dict(self) -> dict[str, Any]:
        """The model's figures, with the baseline's under `baseline`."""
        return self.model.as_dict() | {"baseline": self.baseline.as_dict()}


@dataclass(frozen=True)
class CrossValidation:
    """Out-of-fold predictions: each sample predicted by a model that saw nothing of its group.

    Attributes
    ----------
    model, baseline : Accuracy
        Over all samples at once.
    folds, baseline_folds : tuple of Accuracy
        Of each fold.
    probabilities, baseline_probabilities : (n, k) float32
        Out-of-fold probabilities in the order of `labels`.
    predictions : (n,)
        Out-of-fold labels of the model.
    fold : (n,) int64
        The fold in which a sample was predicted.
    labels : tuple
        All classes, sorted.
    n_groups : int
        Number of groups that were kept whole.
    set_threshold : float
        Probability from which a class is in the conformal set, by all samples (`models.conformal`).
    set_coverage, set_size : float
        Share of sets that held the true class, and classes a set, where the threshold of each fold came from
        the other folds.
    """

    model: Accuracy
    baseline: Accuracy
    folds: tuple[Accuracy, ...]
    baseline_folds: tuple[Accuracy, ...]
    probabilities: NDArray[np.float32]
    baseline_probabilities: NDArray[np.float32]
    predictions: NDArray[Any]
    fold: Codes
    labels: tuple[Any, ...]
    n_groups: int
    set_threshold: float
    set_coverage: float
    set_size: float

    def as_dict(self) -> dict[str, Any]:
        """The model's figures, with `baseline`, `folds`, `n_groups`, and those of the conformal sets."""
        return self.model.as_dict() | {
            "baseline": self.baseline.as_dict(),
            "n_groups": self.n_groups,
            "set_threshold": self.set_threshold,
            "set_coverage": self.set_coverage,
            "set_size": self.set_size,
            "folds": [
                {
                    "n": model.n,
                    "overall_accuracy": model.overall_accuracy,
                    "macro_f1": model.macro_f1,
                    "baseline": {
                        "overall_accuracy": tree.overall_accuracy,
                        "macro_f1": tree.macro_f1,
                    },
                }
                for model, tree in zip(self.folds, self.baseline_folds, strict=True)
            ],
        }


def measure(y: ArrayLike, probabilities: NDArray[np.floating], labels: ArrayLike) -> Accuracy:
    """Accuracy of probabilities (n, k) in the order of `labels` against true labels (n,).

    Raises
    ------
    SeriesError
        A true label that is not among `labels`, or no sample.
    """
    names, truth = np.asarray(labels), np.asarray(y)
    unknown = sorted(set(truth.tolist()) - set(names.tolist()))
    if unknown or len(truth) == 0:
        raise SeriesError(
            f"Test labels {', '.join(map(str, unknown))} are not among the classes "
            f"{', '.join(map(str, names))}."
            if unknown
            else "There is no sample to measure accuracy on."
        )
    order = np.argsort(names)
    codes = order[np.searchsorted(names, truth, sorter=order)]
    predicted = probabilities.argmax(axis=1)
    k = len(names)
    confusion = np.bincount(codes * k + predicted, minlength=k * k).reshape(k, k)
    right = np.diag(confusion)
    present = confusion.sum(axis=0) + confusion.sum(axis=1)
    f1 = np.divide(2.0 * right, present, out=np.zeros(k), where=present > 0)
    occurs = present > 0
    return Accuracy(
        overall_accuracy=float(right.sum() / len(codes)),
        macro_f1=float(f1[occurs].mean()),
        per_class_f1={str(name): float(f) for name, f, o in zip(names, f1, occurs, strict=True) if o},
        ece=expected_calibration_error(probabilities, codes),
        confusion=confusion.astype(np.int64),
        labels=tuple(names.tolist()),
        n=len(codes),
    )


def check_pair(train: LabelledSeries, test: LabelledSeries) -> None:
    """Refuse a training and a test set that do not belong together.

    Raises
    ------
    SeriesError
        A single class to train on, other dates or channels in the test set, or labels the training set does
        not know.
    """
    check_classes(train.y, where="training samples")
    if test.X.shape[1:] != train.X.shape[1:]:
        raise SeriesError(
            f"The training series have {train.X.shape[1]} dates × {train.X.shape[2]} channels, the test "
            "series "
            f"{test.X.shape[1]} × {test.X.shape[2]}. Both must be cut from the same dates and channels."
        )
    if (train.y.dtype.kind == "U") != (test.y.dtype.kind == "U"):
        raise SeriesError(
            f"The training labels are {_kind(train.y)}, the test labels {_kind(test.y)}. Save both in one "
            "form."
        )
    classes = np.unique(train.y)
    unknown = np.setdiff1d(test.y, classes)
    if len(unknown):
        raise SeriesError(
            f"The test set holds labels that the training set does not know: {', '.join(map(str, unknown))} "
            f"(known: {', '.join(map(str, classes))}). Rename them, or remove these samples from the test "
            "set."
        )


def evaluate_split(
    train: LabelledSeries,
    test: LabelledSeries,
    *,
    seed: int = 42,
    settings: TrainingSettings | None = None,
    threads: int | None = None,
    progress: Progress | None = None,
) -> Evaluation:
    """Train model and baseline on one set and measure both on another.

    Raises
    ------
    SeriesError
        The sets do not belong together: see `check_pair`.
    """
    check_pair(train, test)
    classes = np.unique(train.y)
    model = CropTypeModel.fit(
        train.X,
        train.y,
        groups=train.groups,
        seed=seed,
        settings=settings,
        threads=threads,
        progress=progress,
    )
    tree = TreeBaseline.fit(train.X, train.y, seed=seed, threads=threads)
    probabilities = model.predict_proba(test.X, threads=threads)
    baseline = tree.predict_proba(test.X)
    return Evaluation(
        model=measure(test.y, probabilities, classes),
        baseline=measure(test.y, baseline, classes),
        probabilities=probabilities,
        baseline_probabilities=baseline,
    )


def cross_validate(
    X: ArrayLike,
    y: ArrayLike,
    *,
    groups: ArrayLike | None = None,
    folds: int = 5,
    seed: int = 42,
    settings: TrainingSettings | None = None,
    threads: int | None = None,
    workers: int = 1,
    progress: Progress | None = None,
) -> CrossValidation:
    """Predict every sample by a model (and a baseline) that saw nothing of its group.

    Parameters
    ----------
    X, y, groups
        As in `CropTypeModel.fit`.
    folds : int
        Number of parts; classes are spread over them as evenly as whole groups allow.
    seed : int
        Of the split and of every training.
    settings, threads
        As in `CropTypeModel.fit`; `threads` of each worker.
    workers : int
        Folds trained at the same time, each in a process of its own. The result does not depend on it.
    progress : callable, optional
        Called with (steps done, steps of all folds), or with (folds done, folds) where there are workers.

    Raises
    ------
    SeriesError
        Bad samples, or fewer groups (or samples of every class) than folds.
    """
    data = check_labelled(X, y, groups)
    check_classes(data.y)
    splits = grouped_folds(data.y, data.groups, folds=folds, seed=seed)
    labels = np.unique(data.y)
    shape = (len(data.y), len(labels))
    ours, trees = np.zeros(shape, dtype=np.float32), np.zeros(shape, dtype=np.float32)
    fold_of = np.zeros(len(data.y), dtype=np.int64)
    for number, (train, _) in enumerate(splits):
        check_classes(data.y[train], where=f"training part of fold {number + 1}")
    how = _Training(seed, settings, threads)
    for number, fold in _trained_folds(data, splits, how, workers=workers, progress=progress):
        test = splits[number][1]
        # A class whose groups all lie in this fold is unknown to its model: probability 0, counted as wrong.
        ours[np.ix_(test, np.searchsorted(labels, fold.classes))] = fold.model
        trees[np.ix_(test, np.searchsorted(labels, fold.baseline_classes))] = fold.baseline
        fold_of[test] = number
    tests = [test for _, test in splits]
    codes = np.searchsorted(labels, data.y)
    sets = np.zeros(shape, dtype=bool)
    for number, rows in enumerate(tests):
        others = fold_of != number
        sets[rows] = in_set(ours[rows], set_threshold(ours[others], codes[others]))
    return CrossValidation(
        model=measure(data.y, ours, labels),
        baseline=measure(data.y, trees, labels),
        folds=tuple(measure(data.y[rows], ours[rows], labels) for rows in tests),
        baseline_folds=tuple(measure(data.y[rows], trees[rows], labels) for rows in tests),
        probabilities=ours,
        baseline_probabilities=trees,
        predictions=labels[ours.argmax(axis=1)],
        fold=fold_of,
        labels=tuple(labels.tolist()),
        n_groups=len(np.unique(data.groups)),
        set_threshold=set_threshold(ours, codes),
        set_coverage=float(sets[np.arange(len(codes)), codes].mean()),
        set_size=float(sets.sum(axis=1).mean()),
    )


@dataclass(frozen=True)
class _Training:
    """How each fold is trained."""

    seed: int
    settings: TrainingSettings | None
    threads: int | None


@dataclass(frozen=True)
class _Fold:
    """Probabilities of one fold's test part, and the classes of their columns."""

    classes: NDArray[Any]
    model: NDArray[np.float32]
    baseline_classes: NDArray[Any]
    baseline: NDArray[np.float32]


def _trained_folds(
    data: LabelledSeries,
    splits: list[tuple[NDArray[np.intp], NDArray[np.intp]]],
    how: _Training,
    *,
    workers: int,
    progress: Progress | None,
) -> Iterator[tuple[int, _Fold]]:
    """(number, fold) as they are done; in processes of their own where `workers` allows more than one."""
    if min(workers, len(splits)) <= 1:
        for number, (train, test) in enumerate(splits):
            part = _part(progress, number, len(splits))
            yield number, _train_fold(data.take(train), data.X[test], how, part)
        return
    # Spawned, not forked: a fork after torch has started its threads may hang.
    with ProcessPoolExecutor(min(workers, len(splits)), mp_context=get_context("spawn")) as pool:
        waiting = {
            pool.submit(_train_fold, data.take(train), data.X[test], how): number
            for number, (train, test) in enumerate(splits)
        }
        for done, future in enumerate(as_completed(waiting), start=1):
            yield waiting[future], future.result()
            if progress is not None:
                progress(done, len(splits))


def _train_fold(
    train: LabelledSeries, test: NDArray[np.float32], how: _Training, progress: Progress | None = None
) -> _Fold:
    model = CropTypeModel.fit(
        train.X,
        train.y,
        settings=how.settings,
        groups=train.groups,
        seed=how.seed,
        threads=how.threads,
        progress=progress,
    )
    tree = TreeBaseline.fit(train.X, train.y, seed=how.seed, threads=how.threads)
    return _Fold(
        classes=model.classes,
        model=model.predict_proba(test, threads=how.threads),
        baseline_classes=tree.classes,
        baseline=tree.predict_proba(test),
    )


def _part(progress: Progress | None, number: int, parts: int) -> Progress | None:
    """Progress of one fold as progress of all."""
    if progress is None:
        return None
    report = progress
    return lambda step, steps: report(number * steps + step, parts * steps)


def _kind(y: NDArray[Any]) -> str:
    return "text" if y.dtype.kind == "U" else "whole numbers"
