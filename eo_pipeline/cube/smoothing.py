"""The smoothed curve of an index for every pixel, as a task: cube in, `index_<NAME>[step, y, x]` out."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from typing import Final

import numpy as np
from numpy.typing import NDArray

from eo_pipeline.cube.indices import feature_series
from eo_pipeline.cube.series import smooth
from eo_pipeline.cube.store import TileStore, encode
from eo_pipeline.engine import Result
from eo_pipeline.grid import Block
from eo_pipeline.storage import Place

#: Pixels smoothed at a time: bounds the float copies whatever the block's size.
_CHUNK = 65_536
#: Indices of green canopy: haze, thin cloud and shadow that no mask knows of lower them, nothing raises them.
GREENNESS: Final = ("NDVI", "NDRE", "EVI", "SAVI")
#: Weight of their values under the curve, and their least scatter. Both were set on the fields of tum-wheat,
#: dates left out in turn.
BELOW: Final = 0.5
SCATTER: Final = 0.05


def array_of(index: str) -> str:
    """Name of the array an index is kept in.

    >>> array_of("NDVI")
    'index_NDVI'
    """
    return f"index_{index}"


def observed_index(reflectance: NDArray[np.float32], bands: Sequence[str], index: str) -> NDArray[np.float32]:
    """An index as it was seen, float32 (step, y, x), NaN where not clear or beyond what physics allows."""
    series: NDArray[np.float32] = feature_series(reflectance, bands, (index,))[:, 0]
    return series


def smooth_index(
    values: NDArray[np.float32], dates: Sequence[date], *, index: str = "NDVI"
) -> NDArray[np.float32]:
    """The season curve of an index, float32 [t, n] as `values`; of green canopy it leans to its upper side.

    `series.smooth` with what is known of indices; see `GREENNESS`.
    """
    if index in GREENNESS:
        return smooth(values, dates, lower_weight=BELOW, noise=SCATTER)
    return smooth(values, dates)


def smooth_block(
    *,
    block: Block,
    store: Place,
    kept: Sequence[bool],
    bands: Sequence[str],
    dates: Sequence[date],
    indices: Sequence[str],
) -> Result:
    """Smooth each index of one block over the steps that are `kept`, and write it.

    Returns
    -------
    dict
        `curves`: pixels that got a curve, an index.
    """
    tile = TileStore(store)
    reflectance = tile.read_clear(block, kept)
    curves: dict[str, int] = {}
    for index in indices:
        observed = observed_index(reflectance, bands, index)
        shape = observed.shape
        flat = observed.reshape(shape[0], -1)
        fitted = np.empty_like(flat)
        for first in range(0, flat.shape[1], _CHUNK):
            fitted[:, first : first + _CHUNK] = smooth_index(
                flat[:, first : first + _CHUNK], dates, index=index
            )
        tile.write(array_of(index), block, encode(fitted.reshape(shape)))
        curves[index] = int(np.isfinite(fitted[0]).sum())
    return {"curves": curves}
