"""The tiles of Sentinel-2: names, places and the 100 km squares of MGRS they stand on.

A Sentinel-2 tile is 109.8 km wide and reaches over its square to the right and below, so that neighbours
overlap. The square itself lies in one tile only; it decides which tile owns a pixel.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Any, Final

from eo_pipeline.errors import SourceError

#: Side of a Sentinel-2 tile and of a square of MGRS, metres.
TILE_METRES: Final = 109_800
SQUARE_METRES: Final = 100_000

_BANDS: Final = "CDEFGHJKLMNPQRSTUVWX"
_ROWS: Final = "ABCDEFGHJKLMNPQRSTUV"
_COLUMNS: Final = ("ABCDEFGH", "JKLMNPQR", "STUVWXYZ")  # zones 1, 4, … · 2, 5, … · 3, 6, …
_NAME: Final = re.compile(r"(\d{1,2})([C-HJ-NP-X])([A-HJ-NP-Z])([A-HJ-NP-V])")
#: Zones that are wider or narrower than 6°: Norway and Svalbard (DMA TM 8358.1, chapter 2).
_WIDENED: Final = {
    (31, "V"): (0.0, 3.0),
    (32, "V"): (3.0, 12.0),
    (31, "X"): (0.0, 9.0),
    (32, "X"): None,
    (33, "X"): (9.0, 21.0),
    (34, "X"): None,
    (35, "X"): (21.0, 33.0),
    (36, "X"): None,
    (37, "X"): (33.0, 42.0),
}


@dataclass(frozen=True, slots=True)
class TileFrame:
    """Where the tile `name` lies: its UTM zone as an EPSG code, and its upper left corner in metres.

    `square` is the tile's own 100 km square: left, bottom, right, top in metres. Each pixel belongs to the
    tile in whose square it lies.
    """

    name: str
    epsg: int
    ulx: int
    uly: int
    square: tuple[int, int, int, int]

    @property
    def bounds(self) -> tuple[int, int, int, int]:
        """Left, bottom, right, top of the whole tile, metres."""
        return self.ulx, self.uly - TILE_METRES, self.ulx + TILE_METRES, self.uly


def tile_frame(name: str) -> TileFrame:
    """The frame of a tile by its name, with or without the leading T.

    ESA lays tiles on multiples of 60 m from the equator and from the false easting's origin, outward from
    the square's upper left corner.

    Raises
    ------
    SourceError
        The name is no MGRS tile.

    Examples
    --------
    >>> frame = tile_frame("48SXE")
    >>> frame.epsg, frame.ulx, frame.uly, frame.square
    (32648, 600000, 4000020, (600000, 3900000, 700000, 4000000))
    """
    match = _NAME.fullmatch(name.removeprefix("T"))
    if not match or not 1 <= int(match[1]) <= 60:
        raise SourceError(f"{name!r} is no MGRS tile; write it like 48SXD (zone, latitude band, square).")
    zone, band = int(match[1]), match[2]
    columns = _COLUMNS[(zone - 1) % 3]
    if match[3] not in columns:
        raise SourceError(
            f"{name}: zone {zone} has no column {match[3]}; its squares begin with {columns[0]} to "
            f"{columns[-1]}. Correct the tile's name."
        )
    left = (columns.index(match[3]) + 1) * SQUARE_METRES
    cycle = (_ROWS.index(match[4]) - (5 if zone % 2 == 0 else 0)) % 20 * SQUARE_METRES
    south, north = _latitudes(band)
    # rows repeat every 2000 km; the latitude band says which repetition, and is shorter than that
    low, high = _northing(south) - (SQUARE_METRES if band != "N" else 0), _northing(north)
    bottom = cycle + math.ceil((low - cycle) / 2_000_000) * 2_000_000
    if bottom >= high:
        raise SourceError(f"{name}: band {band} of zone {zone} has no row {match[4]}. Correct the name.")
    false = 10_000_000 if band < "N" else 0
    epsg = (32700 if band < "N" else 32600) + zone
    top = bottom + SQUARE_METRES
    uly = math.ceil(top / 60) * 60 + false
    square = (left, bottom + false, left + SQUARE_METRES, top + false)
    return TileFrame(f"{zone:02d}{match[2]}{match[3]}{match[4]}", epsg, left // 60 * 60, uly, square)


def tiles_over(geometry_wkt: str) -> tuple[str, ...]:
    """The tiles whose own squares a polygon in longitude and latitude touches, by name.

    Longitudes may run beyond ±180 where a polygon lies over the date line. A square that a latitude band
    cuts in two bears the name of the band its centre lies in.

    Raises
    ------
    SourceError
        The geometry is empty, no polygon, or lies wholly beyond 84° N or 80° S, where Sentinel-2 has no
        tiles of UTM.

    Examples
    --------
    >>> tiles_over("POLYGON((105.6 35.2, 106.1 35.2, 106.1 35.7, 105.6 35.7, 105.6 35.2))")
    ('48SWD', '48SWE', '48SXD', '48SXE')
    """
    import shapely
    from shapely.affinity import translate
    from shapely.errors import ShapelyError

    try:
        geometry = shapely.from_wkt(geometry_wkt)
    except ShapelyError as error:
        raise SourceError(f"{geometry_wkt[:80]!r} is no WKT ({error}). Give a polygon as WKT.") from error
    if geometry is None or geometry.is_empty:
        raise SourceError("The region is empty; give a polygon in degrees of longitude and latitude.")
    west, south, east, north = geometry.bounds
    if south < -90 or north > 90 or west < -360 or east > 360:
        raise SourceError(
            f"The region reaches from {west:g} {south:g} to {east:g} {north:g}, which are no degrees of "
            "longitude and latitude. Convert it to EPSG:4326."
        )
    if not shapely.is_valid(geometry):
        geometry = shapely.make_valid(geometry)
    if south >= 84 or north <= -80:
        raise SourceError(
            f"The region lies at latitudes {south:g} to {north:g}. Sentinel-2 has tiles from 80° S to 84° N "
            "only (the polar caps lie on the UPS grid, which is not supported)."
        )
    names: set[str] = set()
    for turn in (-360.0, 0.0, 360.0):
        turned = translate(geometry, xoff=turn)
        if turned.bounds[2] >= -180 and turned.bounds[0] <= 180:
            names |= _of_world(turned)
    if not names:
        raise SourceError("The region touches no tile of Sentinel-2; check its coordinates.")
    return tuple(sorted(names))


def cut_at_date_line(geometry: Any) -> Any:
    """A footprint whose corners jump over ±180° as two polygons, one on either side.

    Sentinel-2 footprints are never wider than 10°, so a wider one runs over the date line.
    """
    import shapely

    west, _, east, _ = geometry.bounds
    if east - west <= 180:
        return geometry
    turned = shapely.transform(geometry, lambda xy: xy + (xy[:, :1] < 0) * (360.0, 0.0))
    turned = shapely.make_valid(turned)
    right = shapely.intersection(turned, shapely.box(180, -90, 360, 90))
    left = shapely.intersection(turned, shapely.box(0, -90, 180, 90))
    right = shapely.transform(right, lambda xy: xy - (360.0, 0.0))
    parts = [g for g in (*shapely.get_parts(left), *shapely.get_parts(right)) if g.geom_type == "Polygon"]
    return shapely.MultiPolygon(parts)


def _of_world(geometry: Any) -> set[str]:
    import shapely
    from pyproj import Transformer

    west, south, east, north = geometry.bounds
    names: set[str] = set()
    for band in _BANDS:
        low, high = _latitudes(band)
        if high < south or low > north:
            continue
        for zone in range(1, 61):
            span = _longitudes(zone, band)
            if span is None or span[1] < west or span[0] > east:
                continue
            cell = shapely.box(span[0], low, span[1], high)
            part = shapely.intersection(geometry, cell)
            # a touch of the cell's edge belongs to the neighbour, unless the region is itself a line
            if part.is_empty or shapely.get_dimensions(part) < shapely.get_dimensions(geometry):
                continue
            epsg = (32700 if band < "N" else 32600) + zone
            to_metres = Transformer.from_crs(4326, epsg, always_xy=True)
            to_degrees = Transformer.from_crs(epsg, 4326, always_xy=True)
            fine = shapely.segmentize(part, 0.1)  # a parallel is a curve in UTM

            def projected(xy: Any, transformer: Any = to_metres) -> Any:
                import numpy as np

                return np.column_stack(transformer.transform(xy[:, 0], xy[:, 1]))

            metres = shapely.transform(fine, projected)
            names |= _squares(metres, zone, band, to_degrees)
    return names


def _squares(metres: Any, zone: int, band: str, to_degrees: Any) -> set[str]:
    import shapely

    left, bottom, right, top = metres.bounds
    false = 10_000_000 if band < "N" else 0
    found: set[str] = set()
    for column in range(int(left // SQUARE_METRES), int(right // SQUARE_METRES) + 1):
        for row in range(int(bottom // SQUARE_METRES), int(top // SQUARE_METRES) + 1):
            x, y = column * SQUARE_METRES, row * SQUARE_METRES
            square = shapely.box(x, y, x + SQUARE_METRES, y + SQUARE_METRES)
            inside = shapely.intersection(square, metres)
            if not 1 <= column <= 8 or inside.is_empty:
                continue
            if shapely.get_dimensions(inside) < shapely.get_dimensions(metres):
                continue
            _, latitude = to_degrees.transform(x + SQUARE_METRES / 2, y + SQUARE_METRES / 2)
            named = _band_of(latitude)
            if (named < "N") != (band < "N"):
                named = band  # the equator parts two grids, not one
            letter = _ROWS[((y - false) // SQUARE_METRES + (5 if zone % 2 == 0 else 0)) % 20]
            found.add(f"{zone:02d}{named}{_COLUMNS[(zone - 1) % 3][column - 1]}{letter}")
    return found


def _latitudes(band: str) -> tuple[float, float]:
    south = -80.0 + 8.0 * _BANDS.index(band)
    return south, 84.0 if band == "X" else south + 8.0


def _band_of(latitude: float) -> str:
    return _BANDS[min(19, max(0, int((latitude + 80) // 8)))]


def _longitudes(zone: int, band: str) -> tuple[float, float] | None:
    return _WIDENED.get((zone, band), (-186.0 + 6 * zone, -180.0 + 6 * zone))


def _northing(latitude: float) -> float:
    """Metres from the equator along a meridian of WGS 84, to a kilometre (series in the flattening)."""
    phi = math.radians(latitude)
    return 6_367_449.1 * phi * 0.9996 - 16_038.5 * 0.9996 * math.sin(2 * phi) + 16.8 * math.sin(4 * phi)
