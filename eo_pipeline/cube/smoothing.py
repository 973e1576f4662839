"""The smoothed curve of an index for every pixel, as a task: cube in, `index_<NAME>[step, y, x]` out."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

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
            fitted[:, first : first + _CHUNK] = smooth(flat[:, first : first + _CHUNK], dates)
        tile.write(array_of(index), block, encode(fitted.reshape(shape)))
        curves[index] = int(np.isfinite(fitted[0]).sum())
    return {"curves": curves}
