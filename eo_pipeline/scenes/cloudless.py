"""Clouds by s2cloudless, Sinergise's model of what a cloud's ten bands look like from above the atmosphere.

The model was trained on Level-1C and asks for B10, the cirrus band, which Level-2A does not have: see
`level1c`. How it fares beside others: Skakun et al. 2022, Cloud Mask Intercomparison eXercise (CMIX).
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import metadata
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from eo_pipeline.acquire.sources.base import READ_OPTIONS, Asset
from eo_pipeline.errors import SourceError
from eo_pipeline.season_source import LEVEL1C_BANDS

if TYPE_CHECKING:
    from rasterio.io import DatasetReader
    from s2cloudless.cloud_detector import S2PixelCloudDetector

PACKAGE: Final = "s2cloudless"
#: In the order the model takes them (`s2cloudless.utils.MODEL_BANDS`).
MODEL_BANDS: Final = LEVEL1C_BANDS
#: Metres of a cell. Averaging and dilation of the package, a cell each, are meant for cells of this size.
CELL: Final = 160.0
#: Pixels read along the side of a cell, and averaged: a JP2's reduced picture lies beside its place by up to
#: half of one of its pixels, which is 20 m in place of 80 m.
_FINE: Final = 4
#: Cells around what is asked for that can reach into it: the edge of what was seen, averaging, dilation.
_MARGIN: Final = 3
#: Memory of the package with what it imports, and of a whole tile's cells, as measured.
WORKING_BYTES: Final = 420_000_000


@dataclass(frozen=True, slots=True)
class CloudsFound:
    """`cloud`: where the model sees cloud; `seen`: where it had all ten bands to look at; bool [y, x]."""

    cloud: NDArray[np.bool_]
    seen: NDArray[np.bool_]


def find_clouds(
    bands: Sequence[Asset],
    *,
    rows: NDArray[np.floating[Any]],
    columns: NDArray[np.floating[Any]],
    pixel_m: float,
    threshold: float,
) -> CloudsFound:
    """Where the model sees cloud.

    The bands are read at 40 m, from the reduced resolutions that JP2 holds, and averaged to 160 m.
    Probability is averaged over a cell and its four neighbours, cut at `threshold`, and cloud is widened by a
    cell, as the package does it.

    Parameters
    ----------
    bands
        Level-1C rasters of `MODEL_BANDS`, in this order, all of the same outline.
    rows, columns : float64 [y], [x]
        The centres of the wanted pixels, in pixels of the tile's grid.
    pixel_m
        Side of a pixel of the grid in metres.
    threshold
        Probability above which a cell is cloud.

    Raises
    ------
    SourceError
        A raster cannot be read, or the package is not there.
    """
    from scipy.ndimage import binary_erosion

    with _opened(bands[0]) as raster:
        y = _Axis.of(rows + bands[0].corner[0], raster.height * bands[0].zoom, pixel_m)
        x = _Axis.of(columns + bands[0].corner[1], raster.width * bands[0].zoom, pixel_m)
    seen = np.ones((y.stop - y.start, x.stop - x.start), dtype=np.bool_)
    layers: list[NDArray[np.float32]] = []
    for asset in bands:
        numbers = _numbers(asset, y, x)
        seen &= (numbers != asset.nodata).all(axis=(1, 3))
        values = numbers.mean(axis=(1, 3), dtype=np.float32) * np.float32(asset.scale)
        # darker than nothing, as the offset leaves some numbers, was not among what the model learned from
        layers.append(np.maximum(values + np.float32(asset.offset), 0.0))
    # beside empty pixels a cell's mean is one with 0
    seen = binary_erosion(seen, np.ones((3, 3)), border_value=1)
    cloud = _cloud(np.stack(layers, axis=-1), seen, threshold)
    inside = y.inside[:, None] & x.inside
    places = np.ix_(y.index, x.index)
    return CloudsFound(cloud[places] & inside, seen[places] & inside)


@contextmanager
def _opened(asset: Asset) -> Iterator[DatasetReader]:
    import rasterio
    from rasterio.errors import RasterioError

    try:
        with rasterio.Env(**READ_OPTIONS, GDAL_PAM_ENABLED="NO"), rasterio.open(asset.path) as raster:
            yield raster
    except RasterioError as error:
        raise SourceError(
            f"{asset.path} cannot be read ({error}). The file is damaged or incomplete: fetch the L1C "
            "product again, or take it out of [source.clouds] l1c."
        ) from error


def _numbers(asset: Asset, y: _Axis, x: _Axis) -> NDArray[Any]:
    """Numbers of the cells that are looked at, [cell, part, cell, part]."""
    from rasterio.enums import Resampling

    with _opened(asset) as raster:
        found: NDArray[Any] = raster.read(
            asset.index, out_shape=(y.cells * _FINE, x.cells * _FINE), resampling=Resampling.average
        )
    found = found[y.start * _FINE : y.stop * _FINE, x.start * _FINE : x.stop * _FINE]
    return found.reshape(y.stop - y.start, _FINE, x.stop - x.start, _FINE)


def _cloud(reflectance: NDArray[np.float32], seen: NDArray[np.bool_], threshold: float) -> NDArray[np.bool_]:
    """Cells of cloud, from reflectance [y, x, band]."""
    if not seen.any():
        return np.zeros(seen.shape, dtype=np.bool_)
    detector = _detector(threshold)
    probability = np.zeros(seen.shape, dtype=np.float32)
    # other tasks have the other cores
    found: Any = detector.get_cloud_probability_maps(reflectance[seen][None, None], num_threads=1)
    probability[seen] = found[0, 0]
    mask: NDArray[np.bool_] = detector.get_mask_from_prob(probability[None])[0] > 0
    return mask


@dataclass(frozen=True, slots=True)
class _Axis:
    """One direction of a raster in `cells`; those from `start` to `stop` are looked at. `index` is the cell
    of each wanted pixel, counted from `start`, where it is `inside` the raster.
    """

    cells: int
    start: int
    stop: int
    index: NDArray[np.int64]
    inside: NDArray[np.bool_]

    @classmethod
    def of(cls, places: NDArray[np.floating[Any]], size: int, pixel_m: float) -> _Axis:
        """Of a raster of `size` pixels of the grid, in which the wanted pixels' centres lie at `places`."""
        cells = max(1, round(size * pixel_m / CELL))
        index = np.floor(places * (cells / size)).astype(np.int64)
        inside = (index >= 0) & (index < cells)
        index = index.clip(0, cells - 1)
        start = max(0, int(index.min()) - _MARGIN)
        return cls(cells, start, min(cells, int(index.max()) + 1 + _MARGIN), index - start, inside)


# ---- the package ---------------------------------------------------------------------------------------
def package_version() -> str:
    """The version of the package, which brings the model with it.

    Raises
    ------
    SourceError
        It is not installed.
    """
    try:
        return metadata.version(PACKAGE)
    except metadata.PackageNotFoundError:
        raise SourceError(_absent("is not installed")) from None


@functools.cache
def _detector(threshold: float) -> S2PixelCloudDetector:
    try:
        from s2cloudless.cloud_detector import S2PixelCloudDetector
    except (ImportError, OSError) as error:  # OSError: LightGBM does not find libgomp
        raise SourceError(_absent(f"cannot be loaded ({error})")) from error
    return S2PixelCloudDetector(threshold=threshold)


def _absent(what: str) -> str:
    return (
        f'[source.clouds] detector = "{PACKAGE}" needs the Python package {PACKAGE}, which {what}. Run '
        f"`make setup`, or `uv pip install {PACKAGE}` into the environment of `eo` and of every worker (on "
        'Debian also `apt-get install libgomp1`); or set detector = "scl".'
    )
