"""Rasters and catalog of a run folder: Cloud Optimized GeoTIFFs and the static STAC 1.1 that lists them.

Nothing here knows how a product was made; it is handed arrays, grids and words.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from eo_pipeline.grid import Grid

if TYPE_CHECKING:
    import rasterio

#: Tile side inside the file: a map viewer's tile, so that one request reads one block.
BLOCK_SIZE: Final = 256


def write_cog(
    path: Path,
    array: NDArray[Any],
    grid: Grid,
    *,
    nodata: float | None,
    colour_table: Mapping[int, str] | None = None,
    band_descriptions: Sequence[str] = (),
    metadata: Mapping[str, str] | None = None,
    scale: float = 1.0,
    unit: str = "",
    categorical: bool | None = None,
) -> Path:
    """Write a Cloud Optimized GeoTIFF with overviews; the file appears whole or not at all.

    Parameters
    ----------
    path
        Target; its folder is made. An existing file is replaced.
    array : [y, x] or [band, y, x]
        Any GDAL data type.
    nodata
        Value that means nothing; left out of the averages of the overviews.
    colour_table
        Class code to `#rrggbb`; makes the file categorical. Only for one band of uint8.
    band_descriptions
        One text a band, e.g. ISO dates.
    metadata
        Tags of the file; keys and values are texts.
    scale, unit
        True value = stored value × `scale`, in `unit`; stored in the file, so that QGIS shows the true value.
    categorical
        Overviews by nearest (classes) instead of average. Default: whether there is a colour table.

    Returns
    -------
    Path
        `path`.
    """
    import rasterio
    from rasterio.shutil import copy

    bands = array[np.newaxis] if array.ndim == 2 else array
    if bands.ndim != 3 or bands.shape[1:] != grid.shape:
        raise ValueError(
            f"{path.name}: the array has shape {array.shape}, the grid {grid.shape}; "
            "give [y, x] or [band, y, x]."
        )
    if band_descriptions and len(band_descriptions) != len(bands):
        raise ValueError(f"{path.name}: {len(band_descriptions)} descriptions for {len(bands)} bands.")
    if colour_table and (len(bands) != 1 or bands.dtype != np.uint8):
        raise ValueError(
            f"{path.name}: a colour table needs one band of uint8, not {bands.shape} {bands.dtype}."
        )
    classes = bool(colour_table) if categorical is None else categorical

    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    profile = {
        "driver": "GTiff",
        "width": grid.width,
        "height": grid.height,
        "count": len(bands),
        "dtype": bands.dtype.name,
        "crs": grid.crs,
        "transform": grid.affine,
        "nodata": nodata,
    }
    try:
        with rasterio.MemoryFile() as memory:
            with memory.open(**profile) as dataset:
                dataset.write(bands)
                _describe(
                    dataset,
                    colour_table=colour_table,
                    band_descriptions=band_descriptions,
                    metadata=metadata,
                    scale=scale,
                    unit=unit,
                )
            with memory.open() as dataset:
                copy(
                    dataset,
                    partial,
                    driver="COG",
                    BLOCKSIZE=BLOCK_SIZE,
                    COMPRESS="DEFLATE",
                    # Horizontal differencing helps measured values and spoils class codes.
                    PREDICTOR="NO" if classes else "YES",
                    OVERVIEWS="AUTO",
                    OVERVIEW_RESAMPLING="NEAREST" if classes else "AVERAGE",
                    BIGTIFF="IF_SAFER",
                    NUM_THREADS="1",
                )
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    return path


def _describe(
    dataset: rasterio.io.DatasetWriter,
    *,
    colour_table: Mapping[int, str] | None,
    band_descriptions: Sequence[str],
    metadata: Mapping[str, str] | None,
    scale: float,
    unit: str,
) -> None:
    """Colours, texts and scale of an open raster."""
    if colour_table:
        dataset.write_colormap(1, {code: hex_to_rgba(colour) for code, colour in colour_table.items()})
    for band, text in enumerate(band_descriptions, start=1):
        dataset.set_band_description(band, text)
    if metadata:
        dataset.update_tags(**metadata)
    if scale != 1.0:
        dataset.scales = (scale,) * dataset.count
    if unit:
        dataset.units = (unit,) * dataset.count


def hex_to_rgba(colour: str) -> tuple[int, int, int, int]:
    """Opaque RGBA of `#rrggbb`.

    >>> hex_to_rgba("#DDCC77")
    (221, 204, 119, 255)
    """
    red, green, blue = bytes.fromhex(colour.removeprefix("#"))
    return red, green, blue, 255
