"""From the clear observations of a step to one value a pixel: median, count, and days since the last clear
view.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

import numpy as np
from numpy.typing import NDArray

from eo_pipeline.grid import TimeStep


def median_of_clear(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Median over the first axis, NaN left out; NaN where nothing is left. Even counts take the mean of two.

    Sorting once and picking beats `np.nanmedian` six to twelve times at the few observations of a dekad.

    >>> median_of_clear(np.array([[1.0], [np.nan], [4.0], [2.0]], dtype=np.float32)).tolist()
    [2.0]
    """
    if values.shape[0] == 1:
        only: NDArray[np.float32] = values[0].copy()
        return only
    ordered = np.sort(values, axis=0)  # NaN sorts last
    count = (~np.isnan(values)).sum(axis=0)
    low, high = np.maximum(count - 1, 0) // 2, count // 2
    high = np.minimum(high, values.shape[0] - 1)
    lower = np.take_along_axis(ordered, low[None], axis=0)[0]
    upper = np.take_along_axis(ordered, high[None], axis=0)[0]
    middle: NDArray[np.float32] = np.where(count > 0, (lower + upper) / np.float32(2), np.nan).astype(
        np.float32
    )
    return middle


def age_of_steps(
    clear: NDArray[np.bool_], dates: Sequence[date], steps: Sequence[TimeStep]
) -> NDArray[np.int16]:
    """Days from the last clear view up to the end of each step; −1 before the first.

    Parameters
    ----------
    clear : bool array (date, y, x)
    dates : rising, one for each entry of `clear`
    steps : the cube's steps, rising
    """
    shape = clear.shape[1:]
    ages = np.full((len(steps), *shape), -1, dtype=np.int16)
    last = np.full(shape, -1, dtype=np.int64)
    number = 0
    for position, step in enumerate(steps):
        while number < len(dates) and dates[number] <= step.end:
            last[clear[number]] = dates[number].toordinal()
            number += 1
        seen = last >= 0
        ages[position][seen] = np.minimum(step.end.toordinal() - last[seen], np.iinfo(np.int16).max)
    return ages
