"""Outlines of our own making for a site that has not been given official ones yet (示意, never 勘定).

Each county is the set of points nearer to its centre than to any other, where distance is measured in
half-widths of the county's extent and stretched until the area is the listed one; so neighbours share
borders by construction. Only facts (centroid, extent, area) go in, no boundary file. The result is the
same on every machine.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Final

import numpy as np
import numpy.typing as npt
import shapely
from shapely.geometry import LineString, MultiPolygon, Polygon
from shapely.ops import linemerge, polygonize, unary_union

from places.facts import COUNTIES, TOWNSHIPS, County

KM_PER_DEGREE: Final = 111.2
MIDDLE_LATITUDE: Final = 35.3
_CELL_KM: Final = 0.75
_EXPONENT: Final = 2.6  # of the super-ellipse: 2 is an ellipse, larger fills the extent's corners
_CLOSING_KM: Final = 9.0  # gaps narrower than twice this belong to the nearest county
_AREA_TOLERANCE: Final = 0.004
_STEPS: Final = 60

Array = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Outline:
    """One schematic outline: a unit's code and its polygon in WGS 84 degrees."""

    code: str
    polygon: MultiPolygon


def to_km(lon: Array, lat: Array) -> tuple[Array, Array]:
    """Degrees → kilometres on a plane that keeps areas within 1 % over the prefecture."""
    return lon * KM_PER_DEGREE * np.cos(np.radians(MIDDLE_LATITUDE)), lat * KM_PER_DEGREE


def to_degrees(x: Array, y: Array) -> tuple[Array, Array]:
    """Inverse of `to_km`."""
    return x / (KM_PER_DEGREE * np.cos(np.radians(MIDDLE_LATITUDE))), y / KM_PER_DEGREE


@cache
def county_outlines(counties: tuple[County, ...] = COUNTIES) -> tuple[Outline, ...]:
    """Schematic counties that share borders and have about the listed areas; computed once a process
    (0.5 s).
    """
    x, y, labels = _allocate(counties)
    return tuple(
        Outline(counties[index].code, _in_degrees(polygon))
        for index, polygon in _smooth_partition(x, y, labels)
    )


def prefecture_outline(counties: Sequence[Outline]) -> MultiPolygon:
    """The union of the counties."""
    return _multi(unary_union([outline.polygon for outline in counties]))


def township_outlines(counties: Sequence[Outline]) -> list[Outline]:
    """Voronoi cells of the demo townships' seats inside each county; together they fill it."""
    outlines = []
    for county in counties:
        members = [township for township in TOWNSHIPS if township.code.startswith(county.code)]
        if not members:
            continue
        seats = shapely.multipoints([township.seat for township in members])
        cells = shapely.get_parts(shapely.voronoi_polygons(seats, extend_to=county.polygon.buffer(1.0)))
        for township in members:
            cell = next(cell for cell in cells if cell.covers(shapely.Point(township.seat)))
            outlines.append(Outline(township.code, _multi(cell.intersection(county.polygon))))
    return outlines


def _allocate(counties: tuple[County, ...]) -> tuple[Array, Array, npt.NDArray[np.int16]]:
    """Grid nodes (km) and, for each cell, the county's index or −1."""
    west = min(county.extent[0] for county in counties) - 0.15
    south = min(county.extent[1] for county in counties) - 0.15
    east = max(county.extent[2] for county in counties) + 0.15
    north = max(county.extent[3] for county in counties) + 0.15
    (x0, x1), (y0, y1) = to_km(np.array([west, east]), np.array([south, north]))
    x, y = np.arange(x0, x1, _CELL_KM), np.arange(y0, y1, _CELL_KM)
    grid_x, grid_y = np.meshgrid(x[:-1] + _CELL_KM / 2, y[:-1] + _CELL_KM / 2)
    # Borders that follow no ruler: a slow, fixed wave of ± 3 km. It makes the sheet look like land, not
    # like tiles.
    grid_x, grid_y = (
        grid_x + 2.0 * np.sin(grid_y / 5.1 + 0.4) + 1.1 * np.sin(grid_y / 2.3 + grid_x / 7.0),
        grid_y + 2.0 * np.sin(grid_x / 5.7 + 1.9) + 1.1 * np.sin(grid_x / 2.6 - grid_y / 6.0),
    )
    distances = np.stack([_distance(county, grid_x, grid_y) for county in counties])
    target = np.array([county.area_km2 for county in counties]) / _CELL_KM**2
    stretch = np.ones(len(counties))
    labels = np.full(grid_x.shape, -1, np.int16)
    for _ in range(_STEPS):
        scaled = distances / stretch[:, None, None]
        nearest = scaled.argmin(axis=0)
        inside = _close(scaled.min(axis=0) <= 1.0, round(_CLOSING_KM / _CELL_KM))
        labels = np.where(inside, nearest, -1).astype(np.int16)
        counts = np.array([max(int((labels == index).sum()), 1) for index in range(len(counties))])
        if np.abs(counts / target - 1).max() < _AREA_TOLERANCE:
            break
        stretch *= (target / counts) ** 0.25
    return x, y, labels


def _distance(county: County, x: Array, y: Array) -> Array:
    """Super-elliptic distance from the county's centre; 1 on a curve about as wide as its extent."""
    west, south, east, north = county.extent
    (x0, x1), (y0, y1) = to_km(np.array([west, east]), np.array([south, north]))
    centre_x, centre_y = to_km(np.array(county.centroid[0]), np.array(county.centroid[1]))
    # The centroid need not lie in the middle of the extent: each side has its own half-width.
    half_x = np.where(x < centre_x, centre_x - x0, x1 - centre_x)
    half_y = np.where(y < centre_y, centre_y - y0, y1 - centre_y)
    distance: Array = (
        np.abs((x - centre_x) / half_x) ** _EXPONENT + np.abs((y - centre_y) / half_y) ** _EXPONENT
    ) ** (1 / _EXPONENT)
    return distance


def _close(mask: npt.NDArray[np.bool_], radius: int) -> npt.NDArray[np.bool_]:
    """Morphological closing by a disc: fills gaps narrower than the disc, keeps the outer edge."""
    from scipy.ndimage import distance_transform_edt

    padded = np.pad(mask, radius + 1)
    grown = distance_transform_edt(~padded) <= radius
    closed: npt.NDArray[np.bool_] = distance_transform_edt(grown) > radius
    return closed[radius + 1 : -radius - 1, radius + 1 : -radius - 1] | mask


def _smooth_partition(x: Array, y: Array, labels: npt.NDArray[np.int16]) -> list[tuple[int, MultiPolygon]]:
    """Cells of a label grid → polygons whose common borders are smoothed once, so they stay common."""
    arcs = _arcs(x, y, labels)
    faces = list(polygonize(unary_union([_chaikin(arc) for arc in arcs])))
    parts: dict[int, list[Polygon]] = {}
    for face in faces:
        point = face.representative_point()
        row = int((point.y - y[0]) // _CELL_KM)
        column = int((point.x - x[0]) // _CELL_KM)
        label = int(labels[row, column])
        if label >= 0:
            parts.setdefault(label, []).append(face)
    return [(label, _multi(unary_union(parts[label]))) for label in sorted(parts)]


def _arcs(x: Array, y: Array, labels: npt.NDArray[np.int16]) -> list[LineString]:
    """Borders between cells of different labels, merged from node to node."""
    framed = np.pad(labels, 1, constant_values=-1)
    edges = []
    rows, columns = np.nonzero(framed[1:-1, 1:] != framed[1:-1, :-1])  # vertical edges, left of column
    edges += [((x[c], y[r]), (x[c], y[r + 1])) for r, c in zip(rows, columns, strict=True)]
    rows, columns = np.nonzero(framed[1:, 1:-1] != framed[:-1, 1:-1])  # horizontal edges, below row
    edges += [((x[c], y[r]), (x[c + 1], y[r])) for r, c in zip(rows, columns, strict=True)]
    merged = linemerge([LineString(edge) for edge in edges])
    return list(merged.geoms) if hasattr(merged, "geoms") else [merged]


def _chaikin(arc: LineString, rounds: int = 3) -> LineString:
    """Corner cutting with fixed ends; the staircase of the grid is taken out first."""
    closed = arc.is_ring
    simple = arc.simplify(_CELL_KM * 0.9)
    points = np.asarray(simple.coords)
    for _ in range(rounds):
        start, end = points[:-1], points[1:]
        cut = np.stack([0.75 * start + 0.25 * end, 0.25 * start + 0.75 * end], axis=1).reshape(-1, 2)
        points = np.vstack([cut, cut[:1]]) if closed else np.vstack([points[:1], cut[1:-1], points[-1:]])
    return LineString(points)


def _in_degrees(polygon: MultiPolygon) -> MultiPolygon:
    def convert(points: Array) -> Array:
        return np.stack(to_degrees(points[:, 0], points[:, 1]), axis=1).round(6)

    return _multi(shapely.transform(polygon, convert))


def _multi(geometry: shapely.Geometry) -> MultiPolygon:
    polygons = [part for part in shapely.get_parts(geometry) if part.geom_type == "Polygon"]
    return MultiPolygon(polygons)
