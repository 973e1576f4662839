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
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from eo_pipeline.acquire.windows import Raster, address, is_remote
from eo_pipeline.errors import SourceError
from eo_pipeline.grid import Block, Grid

# GDAL tells of oddities in tags that do not matter here (extra samples, datum names). Without any handler
# they would stand in the midst of a command's own messages; a program that sets up logging still gets them.
logging.getLogger("rasterio").addHandler(logging.NullHandler())


#: How GDAL reads: it looks for no files beside a raster. A worker reads each window once, so the cache of
#: decoded blocks (5 % of the memory by default) is small.
READ_OPTIONS: Final[dict[str, Any]] = {
    "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",
    "GDAL_CACHEMAX": 64_000_000,  # rasterio takes it as a number of bytes
}


@dataclass(frozen=True, slots=True)
class Asset:
    """One band of one scene: a raster, the 1-based band in it, and what turns its numbers into values.

    value = DN · `scale` + `offset`; a DN equal to `nodata`, and NaN, mean "nothing measured".

    Where the raster is larger than the tile's grid, `corner` is the row and column, in pixels of the grid,
    at which the grid's upper left pixel lies in the raster. Where the raster's pixels are larger, `zoom` is
    how many times (2 for a 20 m band on the 10 m grid): each is repeated, none is interpolated.
    """

    band: str
    path: str
    index: int
    scale: float
    offset: float
    nodata: float | None
    corner: tuple[int, int] = (0, 0)
    zoom: int = 1


@dataclass(frozen=True, slots=True)
class Scene:
    """One observation of a tile: everything acquired there on one day.

    `name` is the product's where an archive gave it one; `sun` is the sun's zenith and azimuth in degrees
    (azimuth clockwise from north), where the product tells them. `level1c` are bands of top-of-atmosphere
    reflectance of the same observation, where clouds are looked for in them as well.
    """

    tile: str
    date: date
    assets: tuple[Asset, ...]
    name: str = ""
    sun: tuple[float, float] | None = None
    level1c: tuple[Asset, ...] = ()

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
    """One grid of the source and its scenes, by date.

    `owned` is the window (first row, first column, end row, end column) of the pixels that are this tile's
    own where it overlaps its neighbours; None where all are. Pixels outside stay nodata, so that sums over
    tiles count every place once.
    """

    name: str
    grid: Grid
    scenes: tuple[Scene, ...]
    owned: tuple[int, int, int, int] | None = None


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


def file_of(path: str) -> Path | None:
    """The file on disk behind a raster's path; None where it lies elsewhere.

    >>> file_of("/vsizip//data/S2A.zip/S2A.SAFE/B04.jp2")
    PosixPath('/data/S2A.zip')
    >>> file_of("https://example.org/B04.tif") is None
    True
    """
    if path.startswith("/vsizip/"):
        return Path(path.removeprefix("/vsizip/").partition(".zip/")[0] + ".zip")
    return None if is_remote(path) else Path(path)


def stamp(path: str) -> FileStamp:
    """Size and modification time of a file, or of the zip it lies in.

    A raster that is read from an archive in windows is known by its address alone, without the signature:
    archives put other pixels under another address.
    """
    file = file_of(path)
    if file is None:
        return FileStamp(address(path), 0, 0)
    try:
        status = file.stat()
    except OSError as error:
        raise SourceError(
            f"{path} cannot be read: {error.strerror}. Put it back or run `eo plan` again."
        ) from error
    return FileStamp(path, status.st_size, status.st_mtime_ns)


def scene_token(scene: Scene) -> str:
    """A hash that changes whenever a file of the scene, how it is read, or where the sun stood, changes."""
    looked_into = (*scene.paths, *(asset.path for asset in scene.level1c))
    stamps = [(item.path, item.bytes, item.mtime_ns) for item in map(stamp, looked_into)]
    reading = [
        (a.band, address(a.path), a.index, a.scale, a.offset, a.nodata, a.corner, a.zoom)
        for a in (*scene.assets, *scene.level1c)
    ]
    facts = [scene.date.isoformat(), stamps, reading, scene.sun]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()


class BlockReader:
    """Reads bands of many scenes in one block, keeping the last few rasters open.

    A raster that holds several wanted bands is then opened once, and one whose bands lie interleaved is
    decoded once (GDAL keeps the blocks). GDAL datasets are not shared between threads: one reader a task.
    """

    _KEPT_OPEN: Final = 16

    def __init__(self, block: Block) -> None:
        self.block = block
        self._open: dict[str, Raster] = {}
        self._stack = ExitStack()

    def __enter__(self) -> BlockReader:
        import rasterio

        # inside an Env GDAL's warnings go to logging; outside they go straight to stderr
        self._stack.enter_context(rasterio.Env(**READ_OPTIONS))
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
        self._stack.close()

    def close(self) -> None:
        """Close the rasters that are open."""
        for raster in self._open.values():
            raster.close()
        self._open.clear()

    def _raster(self, path: str) -> Raster:
        if path in self._open:
            self._open[path] = self._open.pop(path)  # the last used goes last
        else:
            if len(self._open) >= self._KEPT_OPEN:
                self._open.pop(next(iter(self._open))).close()
            self._open[path] = Raster(path)
        return self._open[path]

    def numbers(self, asset: Asset) -> NDArray[Any]:
        """Raw numbers of the block as the raster holds them, (height, width); 20 m pixels repeated.

        Beyond the raster's edge (a block may reach over it where tiles are smaller than a block) the numbers
        are the asset's nodata value, or 0.
        """
        from rasterio.windows import Window

        row, col = asset.corner[0] + self.block.row, asset.corner[1] + self.block.col
        zoom = asset.zoom
        top, left = row // zoom, col // zoom
        bottom, right = -(-(row + self.block.height) // zoom), -(-(col + self.block.width) // zoom)
        raster = self._raster(asset.path)
        height, width = raster.data.shape
        inside = Window.from_slices(
            (min(max(0, top), height), min(max(0, bottom), height)),
            (min(max(0, left), width), min(max(0, right), width)),
        )
        found = raster.read(asset.index, window=inside)
        if found.shape != (bottom - top, right - left):
            whole = np.full((bottom - top, right - left), asset.nodata or 0, dtype=found.dtype)
            y, x = max(0, -top), max(0, -left)
            whole[y : y + found.shape[0], x : x + found.shape[1]] = found
            found = whole
        if zoom > 1:
            found = found.repeat(zoom, axis=0).repeat(zoom, axis=1)
            y, x = row - top * zoom, col - left * zoom
            found = found[y : y + self.block.height, x : x + self.block.width]
        return found

    def read(self, asset: Asset) -> NDArray[np.float32]:
        """Values of the block, float32 (height, width), NaN where nothing was measured."""
        numbers = self.numbers(asset)
        values: NDArray[np.float32] = numbers.astype(np.float32)
        if asset.nodata is not None:
            values[numbers == asset.nodata] = np.nan
        if asset.scale != 1.0 or asset.offset != 0.0:
            values *= np.float32(asset.scale)
            values += np.float32(asset.offset)
        return values
