"""Slope and aspect of the ground, from a digital elevation model brought onto a tile's grid."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eo_pipeline.errors import SourceError
from eo_pipeline.grid import Grid


@dataclass(frozen=True, slots=True)
class Terrain:
    """Ground of a grid, float32 (height, width), NaN where the model has no height.

    `elevation` in metres; `slope` in degrees from the horizontal; `aspect` is the direction the ground falls
    to, in degrees clockwise from north, NaN on level ground.
    """

    elevation: NDArray[np.float32]
    slope: NDArray[np.float32]
    aspect: NDArray[np.float32]


def slope_and_aspect(
    elevation: NDArray[Any], *, pixel: tuple[float, float]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Slope and aspect by Horn's weighted differences over a pixel's eight neighbours.

    Parameters
    ----------
    elevation : array of float, (height, width)
        Metres; rows run south, columns east. NaN where unknown.
    pixel : (float, float)
        Width and height of a pixel in metres.

    Returns
    -------
    slope, aspect : array of float32, (height, width)
        Degrees; see `Terrain`. The outermost pixels repeat the edge and are less exact; pixels beside an
        unknown height are NaN.

    References
    ----------
    Horn, B. K. P. (1981): Hill shading and the reflectance map. Proceedings of the IEEE 69 (1), 14-47.

    Examples
    --------
    Ground that rises by one metre a metre to the east falls to the west:

    >>> east = np.tile(np.arange(5.0), (5, 1))
    >>> slope, aspect = slope_and_aspect(east, pixel=(1.0, 1.0))
    >>> float(slope[2, 2]), float(aspect[2, 2])
    (45.0, 270.0)
    """
    padded = np.pad(elevation.astype(np.float64), 1, mode="edge")
    north, middle, south = padded[:-2], padded[1:-1], padded[2:]
    # Horn 1981, section on estimation of slope: weights 1, 2, 1 across the direction of the difference
    east_side = north[:, 2:] + 2 * middle[:, 2:] + south[:, 2:]
    west_side = north[:, :-2] + 2 * middle[:, :-2] + south[:, :-2]
    south_side = south[:, :-2] + 2 * south[:, 1:-1] + south[:, 2:]
    north_side = north[:, :-2] + 2 * north[:, 1:-1] + north[:, 2:]
    to_east = (east_side - west_side) / (8 * pixel[0])
    to_north = (north_side - south_side) / (8 * pixel[1])
    to_east[np.isnan(elevation)] = np.nan
    slope = np.degrees(np.arctan(np.hypot(to_east, to_north)))
    aspect = np.degrees(np.arctan2(-to_east, -to_north)) % 360.0
    aspect[slope == 0] = np.nan
    return slope.astype(np.float32), aspect.astype(np.float32)


def read_terrain(dem: Path | str, grid: Grid) -> Terrain:
    """Terrain of a grid in metres (UTM), from an elevation model in any CRS.

    Heights are brought onto the grid by cubic convolution, one pixel beyond its edge, and slope is taken
    there; Copernicus DEM has no nodata value, and the sea lies at 0.

    Parameters
    ----------
    dem : Path or str
        A raster of heights in metres, or a VRT of several.
    grid : Grid
        Where terrain is wanted.

    Raises
    ------
    SourceError
        The model cannot be read, has no CRS, or does not reach the grid.
    """
    import rasterio
    from affine import Affine
    from rasterio.enums import Resampling
    from rasterio.errors import RasterioError
    from rasterio.vrt import WarpedVRT
    from rasterio.warp import transform_bounds

    wide = Affine(*grid.transform) @ Affine.translation(-1, -1)
    try:
        with rasterio.Env(), rasterio.open(dem) as raster:
            if raster.crs is None:
                raise SourceError(
                    f"{dem} has no coordinate reference system. Give it one: gdal_edit.py -a_srs EPSG:4326 …"
                )
            west, south, east, north = transform_bounds(grid.crs, raster.crs, *grid.bounds)
            left, bottom, right, top = raster.bounds
            if west >= right or east <= left or south >= top or north <= bottom:
                raise SourceError(
                    f"{dem} covers {left:g} {bottom:g} to {right:g} {top:g}, the grid lies at {west:g} "
                    f"{south:g} to {east:g} {north:g}. Fetch the elevation model of the region."
                )
            with WarpedVRT(
                raster,
                crs=grid.crs,
                transform=wide,
                width=grid.width + 2,
                height=grid.height + 2,
                resampling=Resampling.cubic,
                nodata=float("nan"),
                dtype="float32",
            ) as warped:
                heights = warped.read(1).astype(np.float32)
    except RasterioError as error:
        raise SourceError(f"{dem} cannot be read as an elevation model ({error}). Fetch it again.") from error
    slope, aspect = slope_and_aspect(heights, pixel=(abs(grid.transform[0]), abs(grid.transform[4])))
    inner = (slice(1, -1), slice(1, -1))
    return Terrain(heights[inner], slope[inner], aspect[inner])
