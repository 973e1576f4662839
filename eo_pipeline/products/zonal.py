"""Sums over zones: which unit a pixel belongs to, how large it is on the ground, and what lies in it.

Everything summed here is additive: results of blocks may be added up and give the same as the whole image.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

import numpy as np
from numpy.typing import NDArray

from eo_pipeline.errors import SourceError
from eo_pipeline.grid import Block, Grid

if TYPE_CHECKING:
    from pyproj import Transformer
    from shapely.geometry.base import BaseGeometry

#: Longitude and latitude on WGS84, in this order: what GeoJSON holds.
LON_LAT: Final = "OGC:CRS84"
#: Said wherever an area is printed.
AREA_METHOD: Final = (
    "geodesic: area of the pixel on the ellipsoid of its CRS (Karney 2013), "
    "interpolated between 33 x 33 nodes"
)
_NODES: Final = 33


@dataclass(frozen=True, slots=True)
class ZoneUnit:
    """An administrative unit or parcel: `code` (adcode or parcel id), `name`, and its polygon in `crs`."""

    code: str
    name: str
    geometry: BaseGeometry
    crs: str = LON_LAT


@dataclass(frozen=True, slots=True)
class ZoneLayer:
    """Units that share no pixel. `labels` int32 [y, x]: 0 outside, k for `units[k - 1]`."""

    labels: NDArray[np.int32]
    units: tuple[ZoneUnit, ...]


@dataclass(frozen=True, slots=True)
class ZoneCounts:
    """Pixels (int64) and hectares (float64) by zone and class code, both [zone, class]."""

    pixels: NDArray[np.int64]
    area_ha: NDArray[np.float64]

    def __add__(self, other: ZoneCounts) -> ZoneCounts:
        return ZoneCounts(self.pixels + other.pixels, self.area_ha + other.area_ha)


@dataclass(frozen=True, slots=True)
class ZoneSums:
    """Sum of finite values and their number by date and zone, both [t, zone]."""

    total: NDArray[np.float64]
    count: NDArray[np.int64]

    def __add__(self, other: ZoneSums) -> ZoneSums:
        return ZoneSums(self.total + other.total, self.count + other.count)

    @property
    def mean(self) -> NDArray[np.float64]:
        """Mean of the finite values, NaN where there is none."""
        with np.errstate(invalid="ignore"):
            return np.where(self.count > 0, self.total / np.maximum(self.count, 1), np.nan)


def read_units(path: Path, *, code_field: str = "code", name_field: str = "name") -> tuple[ZoneUnit, ...]:
    """Polygons of a GeoJSON, GeoPackage or Shapefile, in their own CRS, invalid ones repaired.

    Raises
    ------
    SourceError
        No such file, no polygon, a missing field, or two polygons of one code.
    """
    import pyogrio.raw
    import shapely

    try:
        meta, _, geometries, columns = pyogrio.raw.read(path)
    except Exception as error:
        raise SourceError(
            f"{path} cannot be read as polygons: {error}. Give GeoJSON, GPKG or SHP."
        ) from error
    fields = list(meta["fields"])
    if code_field not in fields:
        raise SourceError(
            f"{path} has no field {code_field!r}; its fields are {fields}. Add it, or name the field to use."
        )
    codes = [_text(value) for value in columns[fields.index(code_field)]]
    names = [_text(v) for v in columns[fields.index(name_field)]] if name_field in fields else codes
    if double := {code for code in codes if codes.count(code) > 1}:
        raise SourceError(f"{path}: the code {min(double)!r} stands on several polygons; make codes unique.")
    shapes = [shapely.make_valid(shape) for shape in shapely.from_wkb(geometries)]
    wrong = next((c for c, s in zip(codes, shapes, strict=True) if s is None or s.area == 0), None)
    if not shapes or wrong is not None:
        raise SourceError(f"{path}: {wrong or 'the file'} holds no polygon. Give polygons with an area.")
    crs = meta["crs"] or LON_LAT
    crs = LON_LAT if crs in ("EPSG:4326", "EPSG:4490") else crs
    return tuple(ZoneUnit(*item, crs=crs) for item in zip(codes, names, shapes, strict=True))


def _text(value: Any) -> str:
    """A field's value as a code: whole floats lose their `.0`."""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def inside(unit: ZoneUnit, lon: NDArray[np.float64], lat: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which points, in degrees, lie in a unit."""
    import shapely

    x, y = _transformer(LON_LAT, unit.crs).transform(lon, lat)
    return np.asarray(shapely.contains_xy(unit.geometry, x, y), dtype=np.bool_)


def unit_area_ha(unit: ZoneUnit) -> float:
    """Geodesic area of a unit's polygon on WGS 84, hectares (Karney 2013), whatever its CRS."""
    import shapely
    from pyproj import Geod

    change = _transformer(unit.crs, LON_LAT)
    polygon = shapely.transform(
        unit.geometry, lambda xy: np.column_stack(change.transform(xy[:, 0], xy[:, 1]))
    )
    return abs(Geod(ellps="WGS84").geometry_area_perimeter(shapely.normalize(polygon))[0]) / 10_000


class ZoneIndex:
    """Finds among many polygons those that may lie on a grid: a task is handed only what its block needs."""

    def __init__(self, units: Sequence[ZoneUnit]) -> None:
        import shapely

        self.units = tuple(units)
        self._boxes = shapely.bounds([unit.geometry for unit in units])  # float64 [unit, 4]
        self._crs = np.array([unit.crs for unit in units], dtype=object)

    def near(self, grid: Grid) -> tuple[ZoneUnit, ...]:
        """Units whose bounding box meets the grid's, in their order."""
        if not self.units:
            return ()
        hits = np.zeros(len(self.units), dtype=np.bool_)
        corners = [grid.affine @ place for place in product((0, grid.width), (0, grid.height))]
        (left, right), (low, high) = [(min(values), max(values)) for values in zip(*corners, strict=True)]
        for crs in set(self._crs):
            box = _transformer(grid.crs, crs).transform_bounds(left, low, right, high)
            spare = 0.01 * max(box[2] - box[0], box[3] - box[1])  # its edges are curves there
            apart = (
                (self._boxes[:, 0] > box[2] + spare)
                | (self._boxes[:, 2] < box[0] - spare)
                | (self._boxes[:, 1] > box[3] + spare)
                | (self._boxes[:, 3] < box[1] - spare)
            )
            hits |= (self._crs == crs) & ~apart
        return tuple(self.units[number] for number in np.flatnonzero(hits))


def zone_layers(units: Sequence[ZoneUnit], grid: Grid) -> tuple[ZoneLayer, ...]:
    """Burn units on a grid by the pixel-centre rule, each into the first layer where it meets no other.

    Units of several levels may be given together: a township and its county come to lie in different layers.
    A unit without a pixel centre inside stays in its layer without pixels, so that it is not lost silently.
    """
    labels: list[NDArray[np.int32]] = []
    members: list[list[ZoneUnit]] = []
    for unit, (rows, cols, mask) in zip(units, pixels_of(units, grid), strict=True):
        for layer, own in zip(labels, members, strict=True):
            window = layer[rows, cols]
            if not np.any(window[mask]):
                own.append(unit)
                window[mask] = len(own)
                break
        else:
            layer = np.zeros(grid.shape, dtype=np.int32)
            layer[rows, cols][mask] = 1
            labels.append(layer)
            members.append([unit])
    return tuple(ZoneLayer(layer, tuple(own)) for layer, own in zip(labels, members, strict=True))


@lru_cache(maxsize=32)
def _transformer(source: str, target: str) -> Transformer:
    """Making one takes 3 ms: too long for each of thousands of parcels."""
    from pyproj import Transformer

    return Transformer.from_crs(source, target, always_xy=True)


def pixels_of(units: Sequence[ZoneUnit], grid: Grid) -> Iterator[tuple[slice, slice, NDArray[np.bool_]]]:
    """Of each unit the window of the grid that its bounding box touches, and the pixels in there whose centre
    lies in it.

    All are burnt in one go, where each takes a tenth of the time; those that share a pixel, alone as well.
    """
    shapes = _on_grid(units, grid)
    windows = _windows(shapes, grid)
    here = [
        number
        for number, (rows, cols) in enumerate(windows)
        if rows.stop > rows.start and cols.stop > cols.start
    ]
    numbers = _burnt([(shapes[number], number + 1) for number in here], grid)
    times = _burnt([(shapes[number], 1) for number in here], grid, add=True)
    for number, (rows, cols) in enumerate(windows):
        if not (times[rows, cols] > 1).any():
            yield rows, cols, numbers[rows, cols] == number + 1
        else:
            window = Block("", rows.start, cols.start, rows.stop - rows.start, cols.stop - cols.start)
            yield rows, cols, _burnt([(shapes[number], 1)], window.grid(grid)) == 1


def _on_grid(units: Sequence[ZoneUnit], grid: Grid) -> NDArray[np.object_]:
    """The units' polygons in the grid's CRS."""
    import shapely

    shapes = np.array([unit.geometry for unit in units], dtype=object)
    for crs in {unit.crs for unit in units}:
        own = [unit.crs == crs for unit in units]
        to_grid = _transformer(crs, grid.crs)
        shapes[own] = shapely.transform(shapes[own], to_grid.transform, interleaved=False)
    return shapes


def _windows(shapes: NDArray[np.object_], grid: Grid) -> list[tuple[slice, slice]]:
    """Rows and columns of the grid that the bounding box of each shape touches; empty where none."""
    import shapely

    left, low, right, high = shapely.bounds(shapes).T
    x, y = np.stack([left, left, right, right]), np.stack([low, high, low, high])
    a, b, c, d, e, f = (~grid.affine)[:6]
    ends = []
    for places, side in ((d * x + e * y + f, grid.height), (a * x + b * y + c, grid.width)):
        first, last = np.floor(places.min(axis=0)), np.ceil(places.max(axis=0)) + 1
        ends.append([slice(*pair) for pair in np.clip([first, last], 0, side).astype(np.int64).T.tolist()])
    return list(zip(*ends, strict=True))


def _burnt(shapes: Sequence[tuple[Any, int]], grid: Grid, *, add: bool = False) -> NDArray[np.int32]:
    """Numbers of the shapes at the pixels whose centre they hold, 0 elsewhere; where shapes meet the last
    one's, or with `add` the sum.
    """
    from rasterio.enums import MergeAlg
    from rasterio.features import rasterize

    if not shapes:
        return np.zeros(grid.shape, dtype=np.int32)
    merge = MergeAlg.add if add else MergeAlg.replace
    burnt: NDArray[np.int32] = rasterize(
        shapes, out_shape=grid.shape, transform=grid.affine, fill=0, dtype="int32", merge_alg=merge
    )
    return burnt


class PixelAreas:
    """Ground area of every pixel of a grid, in hectares, for any CRS.

    A pixel of Web Mercator at 35 degrees north covers two thirds of its nominal area, one of UTM 0.08 % more
    or less, one of an equal-area projection exactly its own: each is measured on the ellipsoid (Karney 2013,
    doi:10.1007/s00190-012-0578-z, as in PROJ) at 33 x 33 nodes and interpolated linearly between them.
    Relative error below 1e-5 for a tile of 110 km. The nodes belong to the tile, so blocks get the same
    pixels' areas as the whole.
    """

    def __init__(self, grid: Grid) -> None:
        self.grid = grid
        self._rows = np.linspace(0, max(grid.height - 1, 1), _NODES)
        self._cols = np.linspace(0, max(grid.width - 1, 1), _NODES)
        self._ha = self._measure()

    def _measure(self) -> NDArray[np.float64]:
        from pyproj import CRS, Transformer

        crs = CRS.from_user_input(self.grid.crs)
        geod = crs.get_geod()
        if geod is None or crs.geodetic_crs is None:
            raise SourceError(
                f"the raster's CRS ({crs.name}) is not tied to the earth, so that no area can be measured. "
                "Assign the raster its true CRS (gdal_edit.py -a_srs)."
            )
        to_degrees = Transformer.from_crs(crs, crs.geodetic_crs, always_xy=True)
        row, col = np.meshgrid(self._rows, self._cols, indexing="ij")
        corner_col = col[..., None] + np.array([0, 1, 1, 0])
        corner_row = row[..., None] + np.array([0, 0, 1, 1])
        a, b, c, d, e, f = self.grid.transform
        lon, lat = to_degrees.transform(
            a * corner_col + b * corner_row + c, d * corner_col + e * corner_row + f
        )
        square_metres = [
            abs(geod.polygon_area_perimeter(x, y)[0])
            for x, y in zip(lon.reshape(-1, 4), lat.reshape(-1, 4), strict=True)
        ]
        if not np.all(np.isfinite(square_metres)):
            raise SourceError(
                f"the raster reaches beyond where its CRS ({crs.name}) can be turned into degrees; check its "
                "transform."
            )
        return np.array(square_metres).reshape(row.shape) / 10_000.0

    def ha(self, rows: slice = slice(None), cols: slice = slice(None)) -> NDArray[np.float64]:
        """Hectares of the pixels in a window, float64 [y, x]."""
        row = np.arange(*rows.indices(self.grid.height))
        col = np.arange(*cols.indices(self.grid.width))
        at_cols = np.stack([np.interp(col, self._cols, line) for line in self._ha])
        step = self._rows[1] - self._rows[0]
        lower = np.minimum((row / step).astype(np.int64), _NODES - 2)
        weight = (row / step - lower)[:, None]
        return cast("NDArray[np.float64]", at_cols[lower] * (1 - weight) + at_cols[lower + 1] * weight)


def pixel_area_ha(grid: Grid) -> NDArray[np.float64]:
    """Hectares of every pixel of a grid, float64 [y, x]; see `PixelAreas` for the method."""
    return PixelAreas(grid).ha()


def class_counts(
    class_map: NDArray[np.uint8],
    labels: NDArray[np.int32],
    *,
    n_zones: int,
    n_classes: int,
    area_ha: NDArray[np.float64],
) -> ZoneCounts:
    """Pixels and hectares of each class code in each zone, in one pass.

    Parameters
    ----------
    class_map : uint8 [y, x]
        Class codes 0 ... `n_classes` - 1; code 0 is usually "no data" and is counted like any other.
    labels : int32 [y, x]
        From a `ZoneLayer`; 0 is left out.
    area_ha : float64 [y, x]
        From `PixelAreas`.
    """
    if class_map.size and int(class_map.max()) >= n_classes:
        raise ValueError(
            f"class_map holds the code {int(class_map.max())}; n_classes={n_classes} ends before it."
        )
    size = (n_zones + 1) * n_classes
    key = (labels.astype(np.int64) * n_classes + class_map).ravel()
    pixels = np.bincount(key, minlength=size).reshape(n_zones + 1, n_classes)
    area = np.bincount(key, weights=area_ha.ravel().astype(np.float64), minlength=size)
    hectares = area.reshape(n_zones + 1, n_classes).astype(np.float64)
    return ZoneCounts(pixels[1:].astype(np.int64), hectares[1:])


def zone_means(index: NDArray[np.float32], labels: NDArray[np.int32], *, n_zones: int) -> ZoneSums:
    """Sum and count of the finite values of `index` [t, y, x] in each zone; `.mean` divides them.

    To look at one crop only, set `labels` to 0 where the map says another.
    """
    flat = labels.ravel()
    total = np.empty((index.shape[0], n_zones))
    count = np.empty((index.shape[0], n_zones), dtype=np.int64)
    for t, image in enumerate(index):
        values = image.ravel()
        known = np.isfinite(values)
        zone = flat[known]
        total[t] = np.bincount(zone, weights=values[known], minlength=n_zones + 1)[1:]
        count[t] = np.bincount(zone, minlength=n_zones + 1)[1:]
    return ZoneSums(total, count)


def zone_quantiles(
    index: NDArray[np.float32],
    labels: NDArray[np.int32],
    *,
    n_zones: int,
    quantiles: Iterable[float] = (0.25, 0.75),
) -> NDArray[np.float32]:
    """Quantiles of the finite values of `index` [t, y, x] in each zone: float32 [quantile, t, zone].

    Quantiles are not additive: give the whole tile, not a block. NaN where a zone has no value.
    """
    levels = np.asarray(list(quantiles), dtype=np.float64)
    out = np.full((levels.size, index.shape[0], n_zones), np.nan, dtype=np.float32)
    flat = labels.ravel()
    order = np.argsort(flat, kind="stable")
    bounds = np.searchsorted(flat[order], np.arange(1, n_zones + 2))
    for t, image in enumerate(index):
        values = image.ravel()[order]
        for zone in range(n_zones):
            own = values[bounds[zone] : bounds[zone + 1]]
            own = own[np.isfinite(own)]
            if own.size:
                out[:, t, zone] = np.quantile(own, levels)
    return out
