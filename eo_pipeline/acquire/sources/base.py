"""What every source of scenes hands on: tiles with their grid, and scenes whose bands are rasters one can
open.

A source only describes; `read_asset` is the one place where pixels are read. Scale and offset belong to the
asset and not to the source, because archives change them from scene to scene (baseline 04.00 of Sentinel-2).
"""

from __future__ import annotations

import hashlib
import json
import logging
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from eo_pipeline.errors import SourceError
from eo_pipeline.grid import Block, Grid

if TYPE_CHECKING:
    from rasterio.io import DatasetReader

# GDAL tells of oddities in tags that do not matter here (extra samples, datum names). Without any handler
# they would stand in the midst of a command's own messages; a program that sets up logging still gets them.
logging.getLogger("rasterio").addHandler(logging.NullHandler())


@dataclass(frozen=True, slots=True)
class Asset:
    """One band of one scene: a raster, the 1-based band in it, and what turns its numbers into values.

    value = DN · `scale` + `offset`; a DN equal to `nodata`, and NaN, mean "nothing measured".
    """

    band: str
    path: str
    index: int
    scale: float
    offset: float
    nodata: float | None


@dataclass(frozen=True, slots=True)
class Scene:
    """One observation of a tile: everything acquired there on one day."""

    tile: str
    date: date
    assets: tuple[Asset, ...]

    def asset(self, band: str) -> Asset:
        """The asset of a band; sources promise that every scene of a season has the same bands."""
        for asset in self.assets:
            if asset.band == band:
                return asset
        raise SourceError(
            f"Scene {self.date} of tile {self.tile} has no band {band}; correct [source] bands."
        )

    @property
    def paths(self) -> tuple[str, ...]:
        """The files it is read from, each once."""
        return tuple(sorted({asset.path for asset in self.assets}))


@dataclass(frozen=True, slots=True)
class Tile:
    """One grid of the source and its scenes, by date."""

    name: str
    grid: Grid
    scenes: tuple[Scene, ...]


@dataclass(frozen=True, slots=True)
class FileStamp:
    """Size and time of a file: enough to see that it was not exchanged since a task was done."""

    path: str
    bytes: int
    mtime_ns: int


class SceneSource(Protocol):
    """A place scenes come from: a folder today; CDSE, STAC and DHuS archives offer the same."""

    def tiles(self) -> tuple[Tile, ...]:
        """All tiles of the season with their scenes, checked as far as it goes without reading pixels.

        Raises
        ------
        SourceError
            Names the file that does not fit and what to do with it.
        """
        ...


def stamp(path: str) -> FileStamp:
    """Size and modification time of a file."""
    try:
        status = Path(path).stat()
    except OSError as error:
        raise SourceError(
            f"{path} cannot be read: {error.strerror}. Put it back or run `eo plan` again."
        ) from error
    return FileStamp(path, status.st_size, status.st_mtime_ns)


def scene_token(scene: Scene) -> str:
    """A hash that changes whenever a file of the scene, or how it is read, changes."""
    stamps = [(item.path, item.bytes, item.mtime_ns) for item in map(stamp, scene.paths)]
    reading = [(a.band, a.path, a.index, a.scale, a.offset, a.nodata) for a in scene.assets]
    return hashlib.sha256(json.dumps([scene.date.isoformat(), stamps, reading]).encode()).hexdigest()


class BlockReader:
    """Reads bands of many scenes in one block, keeping the last few rasters open.

    A raster that holds several wanted bands is then opened once, and one whose bands lie interleaved is
    decoded once (GDAL keeps the blocks). GDAL datasets are not shared between threads: one reader a task.
    """

    _KEPT_OPEN: Final = 16

    def __init__(self, block: Block) -> None:
        self.block = block
        self._open: dict[str, DatasetReader] = {}
        self._stack = ExitStack()

    def __enter__(self) -> BlockReader:
        import rasterio

        # inside an Env GDAL's warnings go to logging; outside they go straight to stderr
        self._stack.enter_context(rasterio.Env())
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
        self._stack.close()

    def close(self) -> None:
        """Close the rasters that are open."""
        for raster in self._open.values():
            raster.close()
        self._open.clear()

    def _raster(self, path: str) -> DatasetReader:
        import rasterio

        if path in self._open:
            self._open[path] = self._open.pop(path)  # the last used goes last
        else:
            if len(self._open) >= self._KEPT_OPEN:
                self._open.pop(next(iter(self._open))).close()
            self._open[path] = rasterio.open(path)
        return self._open[path]

    def read(self, asset: Asset) -> NDArray[np.float32]:
        """Values of the block, float32 (height, width), NaN where nothing was measured."""
        from rasterio.errors import RasterioError

        try:
            numbers = self._raster(asset.path).read(asset.index, window=self.block.window)
        except (RasterioError, IndexError) as error:
            raise SourceError(
                f"{asset.path}, band {asset.index}: cannot be read ({error}). "
                "The file is damaged or was changed during the run: fetch it again."
            ) from error
        values: NDArray[np.float32] = numbers.astype(np.float32)
        if asset.nodata is not None:
            values[numbers == asset.nodata] = np.nan
        if asset.scale != 1.0 or asset.offset != 0.0:
            values *= np.float32(asset.scale)
            values += np.float32(asset.offset)
        return values
