"""The tree baseline the network has to beat: a random forest on the series as they are."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.ensemble import RandomForestClassifier

from models.errors import SeriesError
from models.series import check_classes, check_labelled, check_series, empty_series


class TreeBaseline:
    """A random forest of 300 trees with the interface of `CropTypeModel`.

    Every date of every channel is one feature; NaN goes through the trees as a value of its own (each split
    learns which side missing values belong to).
    """

    def __init__(self, forest: RandomForestClassifier, *, steps: int, channels: int) -> None:
        self._forest = forest
        self._steps, self._channels = steps, channels
        # Shares of the training samples, for a series that says nothing.
        self._prior: NDArray[np.float32] = np.zeros(0, dtype=np.float32)

    @property
    def classes(self) -> NDArray[Any]:
        """Class labels in the order of the columns of `predict_proba`."""
        return np.asarray(self._forest.classes_)

    @classmethod
    def fit(
        cls,
        X: ArrayLike,
        y: ArrayLike,
        *,
        groups: ArrayLike | None = None,
        seed: int = 42,
        trees: int = 300,
        threads: int | None = None,
    ) -> TreeBaseline:
        """Grow the forest; parameters and errors as in `CropTypeModel.fit`."""
        data = check_labelled(X, y, groups)
        check_classes(data.y)
        n, t, c = data.X.shape
        forest = RandomForestClassifier(trees, n_jobs=threads or -1, random_state=seed)
        forest.fit(data.X.reshape(n, -1), data.y)
        baseline = cls(forest, steps=t, channels=c)
        baseline._prior = (np.unique(data.y, return_counts=True)[1] / n).astype(np.float32)
        return baseline

    def predict_proba(self, X: ArrayLike) -> NDArray[np.float32]:
        """Share of the trees' votes for each class, (n, k) float32; the prior for an empty series."""
        series = check_series(X)
        if series.shape[1:] != (self._steps, self._channels):
            raise SeriesError(
                f"The series have {series.shape[1]} dates × {series.shape[2]} channels; the baseline was "
                "trained "
                f"on {self._steps} × {self._channels}. Give the same dates and channels."
            )
        series = np.where(np.isfinite(series), series, np.nan)
        proba: NDArray[np.float32] = self._forest.predict_proba(series.reshape(len(series), -1))
        proba = proba.astype(np.float32)
        proba[empty_series(series)] = self._prior
        return proba

    def predict(self, X: ArrayLike) -> NDArray[Any]:
        """The class with most votes, (n,)."""
        return np.asarray(self.classes[self.predict_proba(X).argmax(axis=1)])
