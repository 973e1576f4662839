"""GeoTIFFs that are whole: what was written is read back before it takes its name.

GDAL says nothing of writes that fail while it closes a file, so a full disk leaves a file that opens, and
lacks pixels.
"""

from __future__ import annotations

import glob
import os
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from eo_pipeline.disk import disk_full, is_full, sync_file, sync_folder
from eo_pipeline.errors import StorageError

if TYPE_CHECKING:
    from rasterio.io import DatasetReader, DatasetWriter
    from rasterio.windows import Window

#: Rows and columns read or written at a time: whole tiles of a file and whole blocks of a cube.
_PART: Final = (512, 2048)
#: Bytes of decoded blocks GDAL keeps: a row of a tile's blocks in all dates. With less it decodes them again
#: for every band.
_CACHE: Final = 512_000_000


class _DamagedError(Exception):
    """What was read back is not what was written."""


def windows(height: int, width: int) -> Iterator[Window]:
    """The parts of a raster, row after row: a season of a tile of 110 km takes 9 GB."""
    from rasterio.windows import Window

    for top in range(0, height, _PART[0]):
        for left in range(0, width, _PART[1]):
            yield Window(left, top, min(_PART[1], width - left), min(_PART[0], height - top))


def write_raster(
    path: Path,
    parts: Iterable[tuple[Window, NDArray[Any]]],
    *,
    describe: Callable[[DatasetWriter], object] = lambda _: None,
    cog: Mapping[str, Any] | None = None,
    **profile: Any,
) -> Path:
    """Write a GeoTIFF by parts; it appears whole or not at all, and an existing one is replaced.

    Parameters
    ----------
    path
        Target; its folder is made.
    parts : of [band, y, x]
        Windows that cover the raster, and their pixels, in the raster's own data type.
    describe
        Gives the open raster its colours and texts.
    cog
        Options of GDAL's driver of that name, to make it a Cloud Optimized GeoTIFF; None for a plain one.
    profile
        Size, data type, CRS and the like, as `rasterio.open` takes them.

    Returns
    -------
    Path
        `path`.

    Raises
    ------
    DiskFullError
        There was no room, or what was read back is not what was written.
    StorageError
        It cannot be written.
    """
    import rasterio
    from rasterio._err import CPLE_BaseError
    from rasterio.errors import RasterioError
    from rasterio.shutil import copy

    ending = f".{os.getpid()}.partial"
    plain, done = (path.with_name(f".{path.name}.{form}{ending}") for form in ("plain", "cog"))
    sums: list[tuple[Window, int]] = []
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with (
            rasterio.Env(GDAL_CACHEMAX=_CACHE),
            rasterio.open(plain, "w", driver="GTiff", **profile) as dataset,
        ):
            describe(dataset)
            said = _said(dataset)
            for window, part in parts:
                sums.append((window, _sum(part)))
                dataset.write(part, window=window)
        if cog is None:
            done = plain
        else:
            with rasterio.Env(GDAL_CACHEMAX=_CACHE), rasterio.open(plain) as dataset:
                copy(dataset, done, driver="COG", **cog)
        sync_file(done)
        _check(done, sums, said)
        done.replace(path)
        sync_folder(path.parent)
    except (RasterioError, CPLE_BaseError, _DamagedError) as error:
        raise disk_full(path, error.__cause__ or error) from error
    except OSError as error:
        if is_full(error):
            raise disk_full(path, error.strerror) from error
        raise StorageError(
            f"{path} cannot be written ({error.strerror or error}). See whether you may write there, or name "
            "another place."
        ) from error
    finally:
        # GDAL has files of its own beside its targets
        for left in path.parent.glob(f".{glob.escape(path.name)}.*{ending}*"):
            left.unlink(missing_ok=True)
    return path


def _sum(part: NDArray[Any]) -> int:
    return zlib.crc32(np.ascontiguousarray(part).data)


def _said(dataset: DatasetReader | DatasetWriter) -> tuple[object, ...]:
    """What a raster tells of itself, as far as GDAL gives it back to the letter."""
    return (
        dataset.shape,
        dataset.dtypes,
        dataset.transform,
        str(dataset.nodatavals),  # NaN is not equal to itself
        dataset.descriptions,
        dataset.scales,
        dataset.units,
    )


def _check(path: Path, sums: Iterable[tuple[Window, int]], said: tuple[object, ...]) -> None:
    """Read a file back: its pixels, what it tells of itself, and every tile of its overviews."""
    import rasterio

    with rasterio.open(path) as dataset:
        if _said(dataset) != said:
            raise _DamagedError("its description was not stored")
        for window, expected in sums:
            if _sum(dataset.read(window=window)) != expected:
                raise _DamagedError("not all of its pixels were stored")
        overviews = len(dataset.overviews(1))
        for level in range(overviews):
            _check_overview(path, dataset, level)


def _check_overview(path: Path, whole: DatasetReader, level: int) -> None:
    import rasterio

    with rasterio.open(path, overview_level=level) as dataset:
        # a tile without a place in the file reads as nodata, and nothing is said
        for (row, col), _ in dataset.block_windows(1):
            if whole.get_tag_item(f"BLOCK_OFFSET_{col}_{row}", "TIFF", bidx=1, ovr=level) is None:
                raise _DamagedError("not all of its overviews were stored")
        for window in windows(*dataset.shape):
            dataset.read(window=window)
