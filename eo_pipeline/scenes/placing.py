"""Where a product's rasters lie on the pixel grid of their tile, and windows of that grid.

A window is first row, first column, end row and end column, in pixels counted from the upper left corner of
the whole Sentinel-2 tile.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from eo_pipeline.acquire.sources.base import READ_OPTIONS
from eo_pipeline.acquire.windows import Raster, address
from eo_pipeline.errors import SourceError
from eo_pipeline.mgrs import TileFrame, tile_frame
from eo_pipeline.scenes.sentinel2 import Sentinel2Product

if TYPE_CHECKING:
    from rasterio.io import DatasetReader

Window = tuple[int, int, int, int]

#: Internal tiles larger than this are no tiles (a large raster in one piece, or in lines).
_LARGEST_UNIT: Final = 4096


@dataclass(frozen=True, slots=True)
class Place:
    """A band's raster on the pixel grid of its tile: first row and column, size, and how many grid pixels
    one of its own is wide. `unit` is the size of its internal tiles in grid pixels; 1 where it has none.
    """

    band: str
    path: str
    row: int
    col: int
    height: int
    width: int
    zoom: int
    unit: tuple[int, int]


def place_bands(product: Sentinel2Product, bands: Sequence[str]) -> tuple[tuple[Place, ...], float]:
    """Where the rasters of bands lie on the tile's grid, and that grid's pixel in metres (10; more in
    reduced copies).

    Only headers are read.

    Raises
    ------
    SourceError
        A band is missing, a raster is damaged, in another CRS, or beside the tile's pixel grid.
    """
    import rasterio

    frame = tile_frame(product.tile)
    places: list[Place] = []
    pixel = 0.0
    for name in bands:
        file = product.band(name)
        with rasterio.Env(**READ_OPTIONS, GDAL_PAM_ENABLED="NO"), Raster(file.path) as raster:
            own = 10.0 * raster.data.transform.a / file.metres
            pixel = pixel or own
            if abs(own - pixel) > 1e-6 * pixel:
                raise SourceError(
                    f"{address(file.path)} has pixels of {raster.data.transform.a:g} m, which does not fit "
                    f"the other bands of {product.name}. Fetch it again."
                )
            places.append(_place(raster.data, name, file.path, frame, pixel))
    return tuple(places), pixel


def _place(raster: DatasetReader, band: str, path: str, frame: TileFrame, pixel: float) -> Place:
    a, b, left, d, e, top = tuple(raster.transform)[:6]
    epsg = raster.crs.to_epsg() if raster.crs else None
    if epsg != frame.epsg:
        known = f"EPSG:{epsg}" if epsg else "unknown"
        raise SourceError(
            f"{address(path)}: its CRS is {known}, that of tile {frame.name} EPSG:{frame.epsg}. "
            "Fetch it again."
        )
    zoom = a / pixel
    row, col = (frame.uly - top) / pixel, (left - frame.ulx) / pixel
    if b or d or a != -e or abs(zoom - round(zoom)) > 1e-6 or max(_beside(row), _beside(col)) > 1e-3:
        raise SourceError(
            f"{address(path)} lies at {left:g}, {top:g} with pixels of {a:g} m, beside the pixel grid of "
            f"tile {frame.name} (from {frame.ulx}, {frame.uly} in steps of {pixel:g} m). It was resampled: "
            "fetch it again."
        )
    units = [int(side) * round(zoom) for side in raster.block_shapes[0]]
    unit_y, unit_x = (side if side <= _LARGEST_UNIT else 1 for side in units)
    return Place(
        band,
        path,
        round(row),
        round(col),
        raster.height * round(zoom),
        raster.width * round(zoom),
        round(zoom),
        (unit_y, unit_x),
    )


def meet(one: Window, other: Window) -> Window:
    return max(one[0], other[0]), max(one[1], other[1]), min(one[2], other[2]), min(one[3], other[3])


def is_empty(window: Window) -> bool:
    return window[2] <= window[0] or window[3] <= window[1]


def cover(places: Iterable[Place]) -> Window:
    """The smallest window that holds all rasters."""
    listed = list(places)
    return (
        min(p.row for p in listed),
        min(p.col for p in listed),
        max(p.row + p.height for p in listed),
        max(p.col + p.width for p in listed),
    )


def square_of(frame: TileFrame, pixel: float) -> Window:
    left, bottom, right, top = frame.square
    return (
        round((frame.uly - top) / pixel),
        round((left - frame.ulx) / pixel),
        round((frame.uly - bottom) / pixel),
        round((right - frame.ulx) / pixel),
    )


def window_of(region: Any, frame: TileFrame, pixel: float) -> Window:
    """The window a region takes within the tile's square; empty where it does not reach it."""
    import numpy as np
    import shapely
    from pyproj import Transformer

    to_degrees = Transformer.from_crs(frame.epsg, 4326, always_xy=True)
    to_metres = Transformer.from_crs(4326, frame.epsg, always_xy=True)
    square = shapely.segmentize(shapely.box(*frame.square), 5000.0)
    around = shapely.transform(square, lambda xy: np.column_stack(to_degrees.transform(xy[:, 0], xy[:, 1])))
    west, _, east, _ = around.bounds
    if east - west > 180:  # the square lies over the date line
        around = shapely.transform(around, lambda xy: xy + (xy[:, :1] < 0) * (360.0, 0.0))
        if region.bounds[0] < 0:
            region = shapely.transform(region, lambda xy: xy + (xy[:, :1] < 0) * (360.0, 0.0))
    near = shapely.intersection(region, shapely.make_valid(around))
    if near.is_empty:
        return 0, 0, 0, 0
    fine = shapely.segmentize(near, 0.02)
    metres = shapely.transform(fine, lambda xy: np.column_stack(to_metres.transform(xy[:, 0], xy[:, 1])))
    left, bottom, right, top = metres.bounds
    return (
        math.floor((frame.uly - top) / pixel),
        math.floor((left - frame.ulx) / pixel),
        math.ceil((frame.uly - bottom) / pixel),
        math.ceil((right - frame.ulx) / pixel),
    )


def aligned(window: Window, places: Sequence[Place], covered: Window) -> Window:
    """The window widened to whole internal tiles of the rasters, within what they cover."""
    unit_y = math.lcm(*(place.unit[0] for place in places))
    unit_x = math.lcm(*(place.unit[1] for place in places))
    row, col = places[0].row, places[0].col
    widened = (
        row + (window[0] - row) // unit_y * unit_y,
        col + (window[1] - col) // unit_x * unit_x,
        row - (row - window[2]) // unit_y * unit_y,
        col - (col - window[3]) // unit_x * unit_x,
    )
    return meet(widened, covered)


def _beside(place: float) -> float:
    return abs(place - round(place))
