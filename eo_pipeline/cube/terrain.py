"""The ground of a tile: height, slope and aspect from an elevation model, as arrays of its cube.

They do not change with time. As features of a crop map they stand beside each step that was seen.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final
from xml.sax.saxutils import escape

import numpy as np
from numpy.typing import NDArray

from eo_pipeline.cube.store import NODATA, Layout, TileStore
from eo_pipeline.cube.warped import CELL, Warped
from eo_pipeline.engine import Result
from eo_pipeline.errors import SourceError
from eo_pipeline.grid import Block, Grid
from eo_pipeline.storage import Place

#: Arrays [y, x] int16, by what their numbers are multiplied with: metres; degrees from the horizontal;
#: degrees clockwise from north to which the ground falls.
GROUND: Final[Mapping[str, int]] = {"elevation": 1, "slope": 100, "aspect": 10}
#: `aspect` of level ground, which faces nowhere.
LEVEL: Final = -1
#: Features made of them: metres, degrees, and how far the ground faces north and east (cosine and sine of
#: the aspect; 0 on level ground).
TERRAIN: Final = ("ELEVATION", "SLOPE", "ASPECT_N", "ASPECT_E")


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
        Degrees from the horizontal; direction the ground falls to, clockwise from north, NaN on level
        ground. The outermost pixels repeat the edge and are less exact; pixels beside an
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


# ---- elevation models -----------------------------------------------------------------------------------
def mosaic(dem: Sequence[Path]) -> str:
    """Several rasters as one that GDAL opens: a virtual raster, as text. Where they overlap the last counts.

    Raises
    ------
    SourceError
        One cannot be read, has no CRS, or does not fit the others: another CRS, pixel size or nodata.
    """
    import rasterio
    from rasterio.errors import RasterioError

    if len(dem) == 1:
        return str(dem[0])
    parts, first = [], None
    for path in dem:
        try:
            with rasterio.Env(), rasterio.open(path) as raster:
                parts.append((path, raster.bounds, raster.shape))
                like = raster.crs, *raster.res, raster.nodata
        except RasterioError as error:
            raise _unreadable(path, error) from error
        if like[0] is None:
            raise SourceError(
                f"{path} has no coordinate reference system. Add it with `gdal_edit.py -a_srs`."
            )
        first = first or like
        usual, own = (math.nan if item[3] is None else item[3] for item in (first, like))
        same = like[0] == first[0] and (usual == own or (math.isnan(usual) and math.isnan(own)))
        if not (same and np.allclose(like[1:3], first[1:3], rtol=1e-6)):
            raise SourceError(
                f"{path} does not fit {dem[0]}: CRS, pixel size and nodata must be the same. Bring the "
                "elevation model into one file with gdalwarp, and name that."
            )
    assert first is not None
    crs, wide, high, nodata = first
    left, top = min(box.left for _, box, _ in parts), max(box.top for _, box, _ in parts)
    width = round((max(box.right for _, box, _ in parts) - left) / wide)
    height = round((top - min(box.bottom for _, box, _ in parts)) / high)
    sources = []
    for path, box, (rows, cols) in parts:
        x, y = (box.left - left) / wide, (top - box.top) / high
        if max(abs(x - round(x)), abs(y - round(y))) > 0.05:
            raise SourceError(
                f"{path} lies between the pixels of {dem[0]}. Bring the elevation model into one file with "
                "gdalwarp, and name that."
            )
        frame = f'<SrcRect xOff="0" yOff="0" xSize="{cols}" ySize="{rows}"/>'
        frame += f'<DstRect xOff="{round(x)}" yOff="{round(y)}" xSize="{cols}" ySize="{rows}"/>'
        void = "" if nodata is None else f"<NODATA>{nodata!r}</NODATA>"
        sources.append(
            f"<ComplexSource><SourceFilename>{escape(str(path))}</SourceFilename><SourceBand>1</SourceBand>"
            f"{frame}{void}</ComplexSource>"
        )
    # between files there may be nothing, also where they name no value for that
    gap = "-9999" if nodata is None else repr(nodata)
    return (
        f'<VRTDataset rasterXSize="{width}" rasterYSize="{height}"><SRS>{escape(crs.to_wkt())}</SRS>'
        f"<GeoTransform>{left!r}, {wide!r}, 0, {top!r}, 0, {-high!r}</GeoTransform>"
        f'<VRTRasterBand dataType="Float32" band="1"><NoDataValue>{gap}</NoDataValue>{"".join(sources)}'
        "</VRTRasterBand></VRTDataset>"
    )


def reach_of(dem: Sequence[Path], grid: Grid) -> float:
    """Share of a tile that lies within the frames of an elevation model's files; reads their headers.

    Raises
    ------
    SourceError
        A file cannot be read or does not fit the others, none reaches the tile, or the tile's grid is not in
        metres, so that a slope would mean nothing.
    """
    import rasterio
    import shapely
    from pyproj import CRS
    from rasterio.errors import RasterioError
    from rasterio.warp import transform_geom

    axes = CRS.from_user_input(grid.crs).axis_info
    if not axes or axes[0].unit_name != "metre":
        raise SourceError(
            f"The images' grid is in {axes[0].unit_name if axes else 'unknown units'}, not in metres; slope "
            "cannot be told on it. Leave [source.terrain] out."
        )
    mosaic(dem)
    frames = []
    for path in dem:
        try:
            with rasterio.Env(), rasterio.open(path) as raster:
                if raster.crs is None:
                    raise SourceError(
                        f"{path} has no coordinate reference system. Add it with `gdal_edit.py -a_srs`."
                    )
                frames.append(shapely.box(*raster.bounds))
                crs = raster.crs
        except RasterioError as error:
            raise _unreadable(path, error) from error
    outline = shapely.segmentize(shapely.box(*grid.bounds), (grid.bounds[2] - grid.bounds[0]) / 20)
    tile = shapely.geometry.shape(transform_geom(grid.crs, crs, shapely.geometry.mapping(outline)))
    share = float(shapely.area(shapely.intersection(shapely.union_all(frames), tile)) / shapely.area(tile))
    if share <= 0:
        west, south, east, north = tile.bounds
        raise SourceError(
            f"{dem[0]}{f' and {len(dem) - 1} more' if len(dem) > 1 else ''} does not reach the tile, which "
            f"lies at {west:g} {south:g} to {east:g} {north:g} in its coordinates. Fetch the elevation model "
            "of the region."
        )
    return min(1.0, round(share, 6))


def _unreadable(path: Path, error: Exception) -> SourceError:
    return SourceError(f"{path} cannot be read as an elevation model ({error}). Fetch it again.")


# ---- the task -------------------------------------------------------------------------------------------
def require_ground(tile: TileStore, layout: Layout) -> None:
    """Make the arrays if they are not there."""
    for name in GROUND:
        tile.require(layout, name, "int16", NODATA)


def terrain_bytes(block: Block) -> int:
    """Memory `terrain_block` needs at most: heights and their differences in double precision, and what GDAL
    warps a cell with.
    """
    return (block.height + 2) * (block.width + 2) * 100 + CELL * CELL * 8 + 64_000_000


def terrain_block(*, block: Block, grid: Grid, dem: Sequence[Path], store: Place) -> Result:
    """Bring an elevation model onto one block, take slope and aspect there, and write the three arrays.

    Heights are brought over bilinearly (averaged where the model is finer), one pixel beyond the block, so
    that slopes do not depend on how the tile is cut; pixels beside an unknown height have no slope.

    Parameters
    ----------
    grid
        The tile's, in metres.
    dem
        Files of heights in metres, in any CRS.

    Returns
    -------
    dict
        `missing`: pixels without a height; `low`, `high`: metres, None where there is none.
    """
    a, b, c, d, e, f = grid.transform
    wide = Grid(grid.crs, (a, b, c - a - b, d, e, f - d - e), grid.width + 2, grid.height + 2)
    around = Block(block.tile, block.row, block.col, block.height + 2, block.width + 2)
    with Warped(mosaic(dem), wide, name=str(dem[0])) as raster:
        heights = raster.read(around, slice(0, around.height))
    slope, aspect = slope_and_aspect(heights, pixel=(abs(a), abs(e)))
    known = np.isfinite(heights[1:-1, 1:-1])
    tile = TileStore(store)
    for name, values in (("elevation", heights), ("slope", slope), ("aspect", aspect)):
        tile.write(name, block, _numbers(values[1:-1, 1:-1], name, level=slope[1:-1, 1:-1] == 0))
    inside = heights[1:-1, 1:-1][known]
    return {
        "missing": int((~known).sum()),
        "low": round(float(inside.min()), 1) if inside.size else None,
        "high": round(float(inside.max()), 1) if inside.size else None,
    }


def _numbers(values: NDArray[np.float32], name: str, *, level: NDArray[np.bool_]) -> NDArray[np.int16]:
    known = np.isfinite(values)
    out = np.full(values.shape, NODATA, dtype=np.int16)
    numbers = np.rint(values[known] * GROUND[name])
    # 359.96 degrees are north again
    out[known] = numbers % (360 * GROUND[name]) if name == "aspect" else numbers
    if name == "aspect":
        out[level] = LEVEL
    return out


def read_terrain(tile: TileStore, block: Block, feature: str) -> NDArray[np.float32]:
    """A feature of `TERRAIN` of one block, float32 [y, x], NaN where it is unknown."""
    name = "aspect" if feature.startswith("ASPECT") else feature.lower()
    numbers = tile.read(name, block)
    values: NDArray[np.float32] = numbers.astype(np.float32) / np.float32(GROUND[name])
    if name == "aspect":
        turn = np.cos if feature == "ASPECT_N" else np.sin
        values = np.where(numbers == LEVEL, np.float32(0), turn(np.radians(values)).astype(np.float32))
    values[numbers == NODATA] = np.nan
    return values
