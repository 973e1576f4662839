"""Rasters of any grid seen on a tile's grid, the same to the last digit whatever blocks are asked for."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from eo_pipeline.errors import SourceError
from eo_pipeline.grid import Block, Grid

#: Side of the cells of the tile that are warped at a time: bounds the float copies whatever the block's size.
CELL: Final = 256


class Warped:
    """A raster seen on a tile's grid: bilinear, or the average where its pixels are finer.

    GDAL's warper weighs by where its window begins, to the last digit of a float. So it is asked for cells of
    the tile that are the same whatever the blocks, and a block is put together from those.
    """

    def __init__(self, path: str, grid: Grid, *, nodata: float | None = None, name: str = "") -> None:
        """`nodata` is what means nothing where the raster names no such value; `name` is told in errors."""
        self.path, self.grid, self.nodata, self.name = path, grid, nodata, name or path
        self._stack = ExitStack()
        self._view: Any = None

    def __enter__(self) -> Warped:
        import rasterio
        from rasterio.enums import Resampling
        from rasterio.errors import RasterioError
        from rasterio.vrt import WarpedVRT

        try:
            self._stack.enter_context(rasterio.Env())
            raster = self._stack.enter_context(rasterio.open(self.path))
            if raster.crs is None:
                raise SourceError(
                    f"{self.name} does not say where on earth it lies. Give a raster that has a coordinate "
                    "reference system (`gdal_edit.py -a_srs` adds one that is known)."
                )
            fine = _pixel_m(raster) < 0.75 * abs(self.grid.transform[0])
            self._view = self._stack.enter_context(
                WarpedVRT(
                    raster,
                    crs=self.grid.crs,
                    transform=self.grid.affine,
                    width=self.grid.width,
                    height=self.grid.height,
                    resampling=Resampling.average if fine else Resampling.bilinear,
                    # what means nothing must not be mixed in
                    src_nodata=self.nodata if raster.nodata is None else raster.nodata,
                    nodata=np.nan,
                    dtype="float32",
                    warp_mem_limit=32,
                )
            )
        except RasterioError as error:
            self._stack.close()
            raise _unreadable(self.name, error) from error
        except SourceError:
            self._stack.close()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def read(self, block: Block, rows: slice) -> NDArray[np.float32]:
        """Some rows of the block, float32, NaN where the raster holds nothing."""
        return by_cells(self._cell, block, rows)

    def _cell(self, row: int, col: int) -> NDArray[np.float32]:
        from rasterio.errors import RasterioError
        from rasterio.windows import Window

        window = Window(col, row, min(CELL, self.grid.width - col), min(CELL, self.grid.height - row))
        try:
            values: NDArray[np.float32] = self._view.read(1, window=window)
        except RasterioError as error:
            raise _unreadable(self.name, error) from error
        return values


def by_cells(
    cell: Callable[[int, int], NDArray[np.float32]], block: Block, rows: slice, side: int = CELL
) -> NDArray[np.float32]:
    """Some rows of a block out of the tile's cells: `cell` gives the one that begins at a row and column."""
    top, left = block.row + rows.start, block.col
    bottom, right = block.row + rows.stop, block.col + block.width
    out = np.empty((bottom - top, right - left), dtype=np.float32)
    for row in range(top - top % side, bottom, side):
        for col in range(left - left % side, right, side):
            y0, y1 = max(row, top), min(row + side, bottom)
            x0, x1 = max(col, left), min(col + side, right)
            out[y0 - top : y1 - top, x0 - left : x1 - left] = cell(row, col)[
                y0 - row : y1 - row, x0 - col : x1 - col
            ]
    return out


def _pixel_m(raster: Any) -> float:
    """Metres of a raster's pixel, nearly enough to tell finer from coarser."""
    size = abs(float(raster.transform.a))
    return size * 111_000 if raster.crs.is_geographic else size


def _unreadable(path: str, error: Exception) -> SourceError:
    return SourceError(
        f"{path}: cannot be read ({error}). The file is damaged or was changed during the run: "
        "fetch it again."
    )
