"""Sentinel-1 GRD seen on a tile's grid: calibrated, and placed by range and Doppler with each pixel's height.

A pixel of the tile is looked up where the annotation says that its ground was seen, so it is the same
whatever blocks are asked for. How bright a slope is stays as it was measured: facing the radar it is brighter
than in the terrain-corrected product.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

import numpy as np
from numba import njit
from numpy.typing import NDArray

from eo_pipeline.cube.terrain import mosaic
from eo_pipeline.cube.warped import CELL, Warped, by_cells
from eo_pipeline.errors import SourceError
from eo_pipeline.grid import Block, Grid
from eo_pipeline.scenes.calibration import LookUpTable, calibrate, read_calibration, read_noise
from eo_pipeline.scenes.range_doppler import Float, Geometry, read_geometry, to_degrees, undulation, upright
from eo_pipeline.scenes.sentinel1 import Radar

#: What is left of a measured pixel's power when its noise is taken away: at least −50 dB, as 0 means nothing.
_LEAST: Final = 1e-5


class GroundRange:
    """One polarisation of a GRD product seen on a tile's grid: gamma nought of the ellipsoid, linear.

    With an elevation model a pixel lies where it belongs, and nowhere where the model has no height. Without
    one the heights are those of the annotation, some 15 km apart: ground that is 100 m higher than those tell
    lies 130 m too near to the satellite.
    """

    def __init__(self, radar: Radar, polarisation: str, grid: Grid, dem: Sequence[Path] = ()) -> None:
        self.radar, self.polarisation, self.grid, self.dem = radar, polarisation, grid, dem
        self._stack = ExitStack()
        self._geometry: Geometry
        self._table: LookUpTable
        self._noise: LookUpTable | None = None
        self._raster: Any = None
        self._heights: Warped | None = None
        self._step = (1.0, 1.0)
        self._finer = 1

    def __enter__(self) -> GroundRange:
        """Read the annotation and open the rasters.

        Raises
        ------
        SourceError
            One is missing or damaged, or they do not belong together.
        """
        import rasterio
        from rasterio.errors import RasterioError

        path = self.radar.files[self.polarisation]
        self._geometry = read_geometry(*self._annotated("annotation", self.radar.annotation))
        self._table = read_calibration(*self._annotated("calibration annotation", self.radar.calibration))
        if self.polarisation in self.radar.noise:
            self._noise = read_noise(*self._annotated("noise annotation", self.radar.noise))
        with ExitStack() as stack:
            stack.enter_context(rasterio.Env(GDAL_PAM_ENABLED="NO"))
            try:
                self._raster = stack.enter_context(rasterio.open(path))
            except RasterioError as error:
                raise _damaged(path, error) from error
            lines, pixels = self._geometry.shape
            self._step = lines / self._raster.height, pixels / self._raster.width
            if abs(self._step[0] / self._step[1] - 1) > 0.01:
                raise SourceError(
                    f"{path} has {self._raster.height} × {self._raster.width} pixels, its annotation tells "
                    f"of {lines} × {pixels}: they do not belong together. Fetch the product again."
                )
            if self.dem:
                model = Warped(mosaic(self.dem), self.grid, name=str(self.dem[0]))
                self._heights = stack.enter_context(model)
            self._stack = stack.pop_all()
        width, row = self.grid.width, np.array([self.grid.height / 2])
        ends = upright(*self._lonlat(np.array([0.0, width]), row))[0, :, :3]
        pixel_m = float(np.linalg.norm(ends[1] - ends[0])) / width
        self._finer = max(1, round(pixel_m / (self._geometry.pixel_m * self._step[1])))
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    @property
    def shape(self) -> tuple[int, int]:
        """Lines and pixels of the image."""
        return self._raster.height, self._raster.width

    def _annotated(self, what: str, files: Mapping[str, str]) -> tuple[bytes, str]:
        name = self.polarisation
        if name not in files:
            raise SourceError(f"{self.radar.path} has no {what} of {name.upper()}. Fetch the product again.")
        return Path(files[name]).read_bytes(), files[name]

    def read(self, block: Block, rows: slice) -> NDArray[np.float32]:
        """Some rows of the block, float32, NaN where nothing was measured."""
        return by_cells(self._cell, block, rows, max(1, CELL // self._finer))

    def _lonlat(self, columns: Float, rows: Float) -> tuple[Float, Float]:
        a, b, c, d, e, f = self.grid.transform
        x, y = np.meshgrid(columns, rows)
        lon, lat = to_degrees(self.grid.crs).transform(a * x + b * y + c, d * x + e * y + f)
        return np.asarray(lon), np.asarray(lat)

    def _cell(self, row: int, col: int) -> NDArray[np.float32]:
        side, finer = max(1, CELL // self._finer), self._finer
        height, width = min(side, self.grid.height - row), min(side, self.grid.width - col)
        lon, lat = self._lonlat(np.array([col, col + width], float), np.array([row, row + height], float))
        corners = upright(lon, lat)
        if self._heights is None:
            heights = _between(self._geometry.ground_heights(corners), height, width)
        else:
            window = Block("", row, col, height, width)
            heights = self._heights.read(window, slice(0, height)) + _between(
                undulation(lon, lat), height, width
            )
        fine = heights.repeat(finer, axis=0).repeat(finer, axis=1)
        lines, pixels = self._geometry.find(corners, np.ascontiguousarray(fine, dtype=np.float64))
        out = np.full((height, width), np.nan, dtype=np.float32)
        places = [(a + 0.5) / step - 0.5 for a, step in zip((lines, pixels), self._step, strict=True)]
        (top, bottom), (left, right) = map(_reach, places, self.shape)
        if bottom > top and right > left:
            power = self.power(top, left, bottom, right)
            _sample(power, places[0] - top, places[1] - left, finer, out)
        return out

    def power(self, top: int, left: int, bottom: int, right: int) -> NDArray[np.float32]:
        """Calibrated power of a window of the image."""
        from rasterio.errors import RasterioError
        from rasterio.windows import Window

        try:
            numbers = self._raster.read(1, window=Window(left, top, right - left, bottom - top))
        except RasterioError as error:
            raise _damaged(self.radar.files[self.polarisation], error) from error
        power = calibrate(numbers, self._table, noise=self._noise, row=top, col=left, step=self._step)
        return np.maximum(power, np.float32(_LEAST))  # NaN stays


def _between(corners: Float, height: int, width: int) -> Float:
    """Bilinear values at a window's pixels, from those at its corners."""
    down, right = ((np.arange(size) + 0.5) / size for size in (height, width))
    upper, lower = (row[0] + (row[1] - row[0]) * right for row in corners)
    found: Float = upper + (lower - upper) * down[:, None]
    return found


def _reach(places: Float, size: int) -> tuple[int, int]:
    """First and end row (or column) of an image that places in it need; the same twice where none does."""
    known = places[np.isfinite(places) & (places > -1) & (places < size)]
    if not known.size:
        return 0, 0
    return max(0, int(np.floor(known.min()))), min(size, int(np.floor(known.max())) + 2)


@njit(nogil=True, cache=True)
def _sample(
    power: NDArray[np.float32], rows: Float, columns: Float, finer: int, out: NDArray[np.float32]
) -> None:  # pragma: no cover - compiled
    """Mean over `finer`² places a pixel of the power there, bilinear; NaN where less than half is known."""
    for y in range(out.shape[0]):
        for x in range(out.shape[1]):
            total, known = 0.0, 0.0
            for place in range(finer * finer):
                row = rows[y * finer + place // finer, x * finer + place % finer]
                column = columns[y * finer + place // finer, x * finer + place % finer]
                if not (-1 < row < power.shape[0] and -1 < column < power.shape[1]):  # NaN is neither
                    continue
                top, left = int(np.floor(row)), int(np.floor(column))
                for corner in range(4):
                    i, j = top + corner // 2, left + corner % 2
                    if 0 <= i < power.shape[0] and 0 <= j < power.shape[1] and np.isfinite(power[i, j]):
                        share = (1 - abs(row - i)) * (1 - abs(column - j))
                        total += share * power[i, j]
                        known += share
            if known >= 0.5 * finer * finer:
                out[y, x] = total / known


def _damaged(path: str, error: Exception) -> SourceError:
    return SourceError(f"{path} cannot be read ({error}). It is damaged: fetch it again.")
