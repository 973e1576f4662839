"""What a model accepts: series, labels and groups, checked at the door and nowhere else.

Series are `X` (n, t, c) float32: n series of t dates and c channels (bands or indices, in the order of the
channels' names); NaN is "not observed" and nothing else is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from models.errors import SeriesError

Series = NDArray[np.float32]
Labels = NDArray[Any]
Codes = NDArray[np.int64]

#: How many row numbers an error message lists before it says "and N more".
LISTED: Final = 8


@dataclass(frozen=True)
class LabelledSeries:
    """Checked training or test data.

    Attributes
    ----------
    X : (n, t, c) float32
        Series, NaN where nothing was observed.
    y : (n,) str or int64
        Labels.
    groups : (n,) int64
        Number of the group (field, square, year) of each sample; samples of one group are never split.
    """

    X: Series
    y: Labels
    groups: Codes

    def take(self, rows: NDArray[np.intp]) -> LabelledSeries:
        """The chosen rows."""
        return LabelledSeries(self.X[rows], self.y[rows], self.groups[rows])


def check_labelled(
    X: ArrayLike, y: ArrayLike, groups: ArrayLike | None = None, *, where: str = "X"
) -> LabelledSeries:
    """Check training data whole and bring it into one form.

    Parameters
    ----------
    X, y, groups : array_like
        See `LabelledSeries`; without groups each sample is a group of its own.
    where : str
        Name of the data for messages, such as a file name.

    Raises
    ------
    SeriesError
        Wrong shape or type, infinite values, a series without one observation, a single class.
    """
    series = check_series(X, where=where)
    infinite = np.asarray(np.isinf(series).any(axis=(1, 2)))
    if infinite.any():
        raise SeriesError(
            f"{where}: {int(infinite.sum())} series hold infinite values (rows {list_rows(infinite)}). "
            "Only NaN stands for a missing observation; put NaN where the source divided by zero."
        )
    empty = empty_series(series)
    if empty.any():
        raise SeriesError(
            f"{where}: {int(empty.sum())} series hold no observation at all (rows {list_rows(empty)}): every "
            "value is NaN, so nothing can be learnt or tested from them. Remove these rows together with "
            "their labels, or widen the season so that each sample is seen at least once."
        )
    labels = check_labels(y, n=len(series), where=where)
    return LabelledSeries(X=series, y=labels, groups=check_groups(groups, n=len(series), where=where))


def check_series(X: ArrayLike, *, where: str = "X", may_be_none: bool = False) -> Series:
    """Return `X` as contiguous (n, t, c) float32, or say what is wrong with it.

    `may_be_none` lets n be 0, which a block of a map without a usable pixel has.
    """
    series = np.asarray(X)
    if series.dtype.kind not in "fiu":
        raise SeriesError(
            f"{where}: series must be numbers, not {series.dtype}. Save X as a float array with NaN where "
            "nothing was observed."
        )
    if series.ndim != 3:
        raise SeriesError(
            f"{where}: X has {series.ndim} dimension(s), shape {series.shape}; three are needed: (samples, "
            "dates, channels). A single channel is X[:, :, None]."
        )
    if 0 in (series.shape[1:] if may_be_none else series.shape):
        raise SeriesError(
            f"{where}: X has shape {series.shape}, so there is no sample, date or channel in it. Check the "
            "file and the season's dates and channels."
        )
    return np.ascontiguousarray(series, dtype=np.float32)


def check_labels(y: ArrayLike, *, n: int, where: str = "y") -> Labels:
    """Return labels as (n,) str or int64; empty and missing labels are refused."""
    labels = np.asarray(y)
    if labels.ndim != 1 or len(labels) != n:
        raise SeriesError(
            f"{where}: y has shape {labels.shape}, but X holds {n} series. One label per series is needed, "
            f"shape ({n},)."
        )
    if labels.dtype.kind == "O":
        wrong = np.array([not isinstance(v, str) for v in labels])
        if wrong.any():
            raise SeriesError(
                f"{where}: y holds values that are neither text nor whole numbers (rows {list_rows(wrong)}). "
                "Save the labels as a text or an integer array."
            )
        labels = labels.astype(str)
    if labels.dtype.kind in "SU":
        labels = labels.astype(str)
        blank = np.char.str_len(np.char.strip(labels)) == 0
        if blank.any():
            raise SeriesError(
                f"{where}: {int(blank.sum())} labels are empty (rows {list_rows(blank)}). Label these "
                "samples "
                "or remove them together with their series."
            )
        return labels
    whole = labels.dtype.kind in "iu" or (
        labels.dtype.kind == "f" and np.isfinite(labels).all() and (labels == np.round(labels)).all()
    )
    if not whole:
        raise SeriesError(
            f"{where}: y of type {labels.dtype} is neither text nor whole numbers. Save class names or class "
            "codes, one per series."
        )
    return labels.astype(np.int64)


def check_groups(groups: ArrayLike | None, *, n: int, where: str = "groups") -> Codes:
    """Return group numbers 0, 1, …; without groups each sample is a group of its own."""
    if groups is None:
        return np.arange(n, dtype=np.int64)
    values = np.asarray(groups)
    if values.ndim != 1 or len(values) != n:
        raise SeriesError(
            f"{where}: groups has shape {values.shape}, but X holds {n} series. Give one group (field, "
            "square "
            f"or year) per series, shape ({n},), or leave groups out."
        )
    if values.dtype.kind == "f" and np.isnan(values).any():
        raise SeriesError(
            f"{where}: groups holds NaN (rows {list_rows(np.isnan(values))}). Give these samples a group of "
            "their own."
        )
    if values.dtype.kind == "O":
        values = values.astype(str)
    return np.unique(values, return_inverse=True)[1].astype(np.int64)


def check_classes(y: Labels, *, where: str = "y") -> None:
    """Refuse labels of fewer than two classes: there is nothing to tell apart."""
    classes = np.unique(y)
    if len(classes) < 2:
        raise SeriesError(
            f"{where}: all {len(y)} samples are of one class ({classes[0]}), so there is nothing to tell "
            "apart. "
            "Add samples of at least one other class, for example 'other'."
        )


def check_names(names: Sequence[str] | None, *, n: int, kind: str, default: str) -> tuple[str, ...]:
    """Names of channels or dates: `n` different ones, or `default` + number when none are given."""
    if names is None:
        return tuple(f"{default}{i}" for i in range(n))
    given = tuple(str(name) for name in names)
    if len(given) != n:
        raise SeriesError(
            f"{len(given)} {kind} are named ({', '.join(given)}), but the series have {n}. Name each once, "
            "in "
            "the order of the array."
        )
    if len(set(given)) != n:
        raise SeriesError(f"{kind} are named twice: {', '.join(given)}. Each name may stand only once.")
    return given


def empty_series(X: Series) -> NDArray[np.bool_]:
    """(n,) True where a series has no finite value at all."""
    return np.asarray(~np.isfinite(X).any(axis=(1, 2)))


def list_rows(chosen: NDArray[np.bool_]) -> str:
    """The row numbers where `chosen` is true, shortened for a message."""
    rows = np.flatnonzero(chosen)
    text = ", ".join(str(row) for row in rows[:LISTED])
    return text + (f" and {len(rows) - LISTED} more" if len(rows) > LISTED else "")
