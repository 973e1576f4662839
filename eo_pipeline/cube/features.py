"""What a crop map is made of, by name: bands and indices of the clear views, backscatter of Sentinel-1, and
the ground.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from eo_pipeline.cube.indices import INDICES, band_of, feature_series
from eo_pipeline.cube.radar import BACKSCATTER, CHANNELS, DB_SCALE
from eo_pipeline.cube.store import NODATA
from eo_pipeline.cube.terrain import TERRAIN, read_terrain

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from eo_pipeline.cube.store import TileStore
    from eo_pipeline.grid import Block


def read_features(
    tile: TileStore, block: Block, features: Sequence[str], bands: Sequence[str], kept: Sequence[bool] = ()
) -> NDArray[np.float32]:
    """Features of one block, float32 [step, feature, y, x], NaN where nothing was seen.

    Bands in reflectance 0–1, indices as they are, channels of radar in decibel. Features of the ground repeat
    at each step at which something else was seen, so that a gap is a gap in all of them.

    Parameters
    ----------
    bands
        The cube's.
    kept
        Of every step, whether the verdict on its clear views keeps it; radar sees through what they show.
    """
    optical = [name for name in features if name not in (*CHANNELS, *TERRAIN)]
    out = np.empty((len(tile.steps), len(features), block.height, block.width), dtype=np.float32)
    if optical:
        needed = [name for name in bands if name in _bands_of(optical, bands)]
        found = feature_series(tile.read_clear(block, kept, bands=needed), needed, optical)
        out[:, [name in optical for name in features]] = found
    for place, name in enumerate(features):
        if name in CHANNELS:
            numbers = tile.read(BACKSCATTER, block, slice(None), CHANNELS.index(name))
            decibel = numbers.astype(np.float32) / np.float32(DB_SCALE)
            out[:, place] = np.where(numbers == NODATA, np.float32(np.nan), decibel)
    if ground := [place for place, name in enumerate(features) if name in TERRAIN]:
        changing = [place for place in range(len(features)) if place not in ground]
        seen = np.isfinite(out[:, changing]).any(axis=1)
        for place in ground:
            out[:, place] = np.where(seen, read_terrain(tile, block, features[place]), np.float32(np.nan))
    return out


def _bands_of(features: Sequence[str], bands: Sequence[str]) -> set[str]:
    needed = set()
    for name in features:
        if name in bands:
            needed.add(name)
        else:
            needed |= {str(band_of(band, bands)) for band in INDICES[name].bands}
    return needed
