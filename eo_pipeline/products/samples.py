"""Labelled samples: read from a file, checked, placed in the cube, and given the groups that keep folds
apart.

A sample is a point or a polygon with `label` (GeoJSON, GPKG, CSV) and then takes its series from the cube,
or a row of an .npz that brings its series along.
"""

from __future__ import annotations

import csv
import difflib
import math
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TextIO

import numpy as np
from numpy.typing import NDArray

from eo_pipeline.cube.features import read_features
from eo_pipeline.cube.indices import within_range
from eo_pipeline.cube.store import Layout, TileStore
from eo_pipeline.errors import SampleError
from eo_pipeline.grid import Block, cut
from eo_pipeline.season import ClassifySpec
from eo_pipeline.storage import Place

#: Pixels taken of one polygon at most, evenly spread: a large field must not outvote a small one.
PIXELS_OF_POLYGON: Final = 16
_KM_OF_DEGREE: Final = 111.195


@dataclass(frozen=True, slots=True)
class LabelledShape:
    """A sample as its file gives it; `row` is its place there, from 1, for messages; `fields` are all its
    columns as text.
    """

    row: int
    label: str
    group: str
    geometry: Any
    stratum: str = ""
    fields: Mapping[str, str] = field(default_factory=dict, compare=False)


@dataclass(frozen=True, slots=True)
class Samples:
    """Training arrays.

    `X` float32 (n, step, feature) with NaN, `labels` class names, `groups` whose members stay on one side of
    a split, `shape_ids` the sample each series belongs to (several of one polygon).
    """

    X: NDArray[np.float32]
    labels: NDArray[np.str_]
    groups: NDArray[np.int64]
    shape_ids: NDArray[np.int64]


def read_shapes(path: Path, *, label: str = "label") -> tuple[LabelledShape, ...]:
    """Points and polygons in longitude and latitude (WGS 84), with their class in the column `label`.

    Raises
    ------
    SampleError
        The file cannot be read, is empty, or lacks the column `label`.
    """
    read = _read_csv if path.suffix.lower() == ".csv" else _read_vector
    shapes = read(path, label)
    if not shapes:
        raise SampleError(f"{path} holds no sample; give at least one for each class.")
    return tuple(shapes)


def _read_csv(path: Path, label: str = "label") -> list[LabelledShape]:
    from shapely.geometry import Point

    shapes = []
    with _opened(path) as stream:
        reader = csv.DictReader(stream)
        names = list(reader.fieldnames or ())
        lon = next((name for name in ("lon", "longitude", "x") if name in names), None)
        lat = next((name for name in ("lat", "latitude", "y") if name in names), None)
        if lon is None or lat is None or label not in names:
            raise SampleError(
                f"{path}: the first line must name lon, lat and {label}; it names "
                f"{', '.join(names) or 'nothing'}."
            )
        for number, row in enumerate(reader, 1):
            try:
                point = Point(float(row[lon]), float(row[lat]))
            except (TypeError, ValueError):
                raise SampleError(
                    f"{path}, row {number}: {row[lon]!r}, {row[lat]!r} are not degrees; write numbers like "
                    "105.73."
                ) from None
            shapes.append(_shape(number, row, label, point))
    return shapes


@contextmanager
def _opened(path: Path) -> Iterator[TextIO]:
    """A text file in UTF-8, its faults told."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            yield stream
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise SampleError(f"{path} cannot be read ({error}). Save it as CSV in UTF-8 again.") from error


def _shape(number: int, row: Mapping[str | Any, Any], label: str, geometry: Any) -> LabelledShape:
    """A sample of a row of any file."""
    texts = {str(name): _text(value) for name, value in row.items() if name is not None}
    return LabelledShape(
        number, texts[label], texts.get("group", ""), geometry, texts.get("stratum", ""), texts
    )


def _text(value: Any) -> str:
    """A cell as text: nothing for a missing one, whole floats without their `.0`."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value).strip()


def _read_vector(path: Path, label: str) -> list[LabelledShape]:
    import pyogrio
    import shapely
    from pyogrio.errors import DataSourceError

    try:
        meta, _, wkb, columns = pyogrio.raw.read(path)
    except (DataSourceError, OSError, ValueError) as error:
        raise SampleError(
            f"{path} cannot be read as vector data ({error}). Save it as GeoJSON again."
        ) from error
    fields = {name: columns[number] for number, name in enumerate(meta["fields"])}
    if label not in fields:
        raise SampleError(f"{path}: the samples have no property “{label}”; add the class's name to each.")
    geometries = shapely.from_wkb(wkb)
    if meta["crs"]:
        geometries = _to_lonlat(geometries, meta["crs"])
    shapes = []
    for number, geometry in enumerate(geometries, 1):
        if geometry is None or geometry.is_empty:
            raise SampleError(f"{path}, feature {number} has no geometry; draw it or remove the feature.")
        row = {name: column[number - 1] for name, column in fields.items()}
        shapes.append(_shape(number, row, label, geometry))
    return shapes


def _to_lonlat(geometries: Any, crs: str) -> Any:
    import shapely
    from pyproj import CRS, Transformer

    if CRS.from_user_input(crs).equals(CRS.from_epsg(4326), ignore_axis_order=True):
        return geometries
    change = Transformer.from_crs(crs, 4326, always_xy=True)
    return shapely.transform(geometries, lambda xy: np.column_stack(change.transform(xy[:, 0], xy[:, 1])))


def check_labels(path: Path, shapes: Sequence[LabelledShape], classes: Sequence[str]) -> None:
    """Refuse a label that is no class of the season."""
    for shape in shapes:
        _check_label(path, shape.row, shape.label, classes)


def _check_label(path: Path, row: int, label: str, classes: Sequence[str]) -> None:
    if label not in classes:
        near = difflib.get_close_matches(label, classes, n=1)
        hint = f" Did you mean “{near[0]}”?" if near else ""
        raise SampleError(
            f"{path}, row {row}: {label!r} is no class of the season.{hint} "
            f"Classes: {', '.join(classes)}. Correct the label, or add a [[classes]] table."
        )


@dataclass(frozen=True, slots=True)
class PlacedPixel:
    """A pixel of the cube that belongs to a sample."""

    shape: int
    tile: int
    row: int
    col: int


def place(
    path: Path, shapes: Sequence[LabelledShape], layouts: Sequence[Layout], *, one_pixel: bool = False
) -> tuple[PlacedPixel, ...]:
    """The pixels of each sample: that under a point; up to `PIXELS_OF_POLYGON` with their centre in a
    polygon.

    With `one_pixel` a polygon stands for the pixel under its representative point.

    Raises
    ------
    SampleError
        A sample lies outside every tile; names its row and coordinates.
    """
    import shapely
    from pyproj import Transformer

    changes = [Transformer.from_crs(4326, layout.grid.crs, always_xy=True) for layout in layouts]
    placed: list[PlacedPixel] = []
    for number, shape in enumerate(shapes):
        for tile, (layout, change) in enumerate(zip(layouts, changes, strict=True)):
            local = shapely.transform(
                shape.geometry, lambda xy, c=change: np.column_stack(c.transform(xy[:, 0], xy[:, 1]))
            )
            cells = _cells(local.representative_point() if one_pixel else local, layout)
            if cells:
                placed += [PlacedPixel(number, tile, row, col) for row, col in cells]
                break
        else:
            where = shape.geometry.representative_point()
            raise SampleError(
                f"{path}, row {shape.row}: the sample at longitude {where.x:.5f}, latitude {where.y:.5f} "
                "lies outside "
                "the image. Remove it, correct its coordinates (longitude first), or add the tile it lies in."
            )
    return tuple(placed)


def _cells(geometry: Any, layout: Layout) -> list[tuple[int, int]]:
    """Rows and columns of the pixels whose centre a polygon covers, or of the pixel under a point."""
    import shapely

    inverse = ~layout.grid.affine
    if geometry.geom_type != "Point":
        left, bottom, right, top = geometry.bounds
        corners = [inverse @ xy for xy in ((left, bottom), (left, top), (right, bottom), (right, top))]
        cols, rows = zip(*corners, strict=True)
        r0, r1 = max(0, math.floor(min(rows))), min(layout.grid.height, math.ceil(max(rows)))
        c0, c1 = max(0, math.floor(min(cols))), min(layout.grid.width, math.ceil(max(cols)))
        if r0 < r1 and c0 < c1:
            rr, cc = np.mgrid[r0:r1, c0:c1].reshape(2, -1)
            a, b, c, d, e, f = layout.grid.transform
            x, y = c + a * (cc + 0.5) + b * (rr + 0.5), f + d * (cc + 0.5) + e * (rr + 0.5)
            inside = np.flatnonzero(shapely.contains_xy(geometry, x, y))
            if inside.size:
                spread = (
                    np.linspace(0, inside.size - 1, min(inside.size, PIXELS_OF_POLYGON)).round().astype(int)
                )
                return [(int(rr[i]), int(cc[i])) for i in inside[np.unique(spread)]]
        geometry = geometry.representative_point()
    col, row = inverse @ (geometry.x, geometry.y)
    row, col = math.floor(row), math.floor(col)
    if 0 <= row < layout.grid.height and 0 <= col < layout.grid.width:
        return [(row, col)]
    return []


def values_at(
    placed: Sequence[PlacedPixel], layouts: Sequence[Layout], stores: Sequence[Place], name: str
) -> list[NDArray[Any]]:
    """What the array `name` holds at each placed pixel (its leading axes), reading each block once."""
    return _at(placed, layouts, stores, lambda store, block, number: store.read(name, block))


def _at(
    placed: Sequence[PlacedPixel],
    layouts: Sequence[Layout],
    stores: Sequence[Place],
    read: Callable[[TileStore, Block, int], NDArray[Any]],
) -> list[NDArray[Any]]:
    """What `read` gives of each placed pixel's block (and the number of its tile), at that pixel."""
    found: dict[int, NDArray[Any]] = {}
    by_block: dict[tuple[int, int, int], list[int]] = defaultdict(list)
    for number, pixel in enumerate(placed):
        size = layouts[pixel.tile].product_block
        by_block[pixel.tile, pixel.row // size, pixel.col // size].append(number)
    for (tile, *_), numbers in sorted(by_block.items()):
        layout, first = layouts[tile], placed[numbers[0]]
        block = _block_at(layout, first.row, first.col)
        values = read(TileStore(stores[tile]), block, tile)
        for number in numbers:
            pixel = placed[number]
            found[number] = values[..., pixel.row - block.row, pixel.col - block.col].copy()
    return [found[number] for number in range(len(placed))]


def _block_at(layout: Layout, row: int, col: int) -> Block:
    return next(
        block
        for block in cut(layout.tile, layout.grid, size=layout.product_block)
        if block.row <= row < block.row + block.height and block.col <= col < block.col + block.width
    )


def samples_from_cube(
    spec: ClassifySpec,
    classes: Sequence[str],
    layouts: Sequence[Layout],
    stores: Sequence[Place],
    kept: Sequence[Sequence[bool]],
) -> Samples:
    """Training arrays of points and polygons, their series read from the cube's steps that are `kept`."""
    shapes = read_shapes(spec.samples)
    check_labels(spec.samples, shapes, classes)
    placed = place(spec.samples, shapes, layouts)

    def read(store: TileStore, block: Block, tile: int) -> NDArray[Any]:
        return read_features(store, block, spec.features, layouts[tile].bands, kept[tile])

    X = np.stack(_at(placed, layouts, stores, read))  # (n, step, feature)
    ids = np.array([pixel.shape for pixel in placed])
    keep = np.isfinite(X).any(axis=(1, 2))
    if lost := sorted(set(range(len(shapes))) - set(ids[keep].tolist())):
        shape = shapes[lost[0]]
        raise SampleError(
            f"{spec.samples}, row {shape.row}: its series holds not one clear observation "
            f"({len(lost)} sample(s) in all). Remove it, or add scenes that see it."
        )
    points = [shape.geometry.representative_point() for shape in shapes]
    groups = group_samples(
        np.array([point.x for point in points]),
        np.array([point.y for point in points]),
        [shape.group for shape in shapes],
        side_km=spec.group_km,
    )
    labels = np.array([shape.label for shape in shapes])
    return Samples(X[keep], labels[ids[keep]], groups[ids[keep]], ids[keep])


def samples_from_npz(
    spec: ClassifySpec, classes: Sequence[str], *, steps: int, features: Sequence[str]
) -> Samples:
    """Training arrays of an .npz: `X` (n, step, channel) and `y` (or `label`), optionally `groups`.

    Raises
    ------
    SampleError
        Missing keys, another number of steps or channels, an unknown class, or a series without any number.
    """
    path = spec.samples
    try:
        with np.load(path, allow_pickle=False) as document:
            arrays = {name: document[name] for name in document.files}
    except (OSError, ValueError) as error:
        raise SampleError(
            f"{path} cannot be read ({error}). Save it with numpy.savez, without objects."
        ) from error
    target = next((name for name in ("y", "label", "labels") if name in arrays), None)
    if "X" not in arrays or target is None:
        raise SampleError(f"{path} must hold X (n, steps, channels) and y; it holds {', '.join(arrays)}.")
    X, labels = np.asarray(arrays["X"], dtype=np.float32), np.asarray(arrays[target]).astype(str)
    if X.ndim != 3 or len(labels) != len(X):
        raise SampleError(
            f"{path}: X has the shape {X.shape} and y {labels.shape}; they must be (n, t, c) and (n,)."
        )
    if X.shape[1] != steps:
        raise SampleError(
            f"{path}: its series have {X.shape[1]} steps, but the season has {steps}. "
            "Give samples of the same dates, or correct [source] dates and [season] start and end."
        )
    if X.shape[2] != len(spec.npz_bands):
        raise SampleError(
            f"{path}: X has {X.shape[2]} channels, but [classify] npz_bands names {len(spec.npz_bands)}. "
            "Name each."
        )
    for row, label in enumerate(labels, 1):
        _check_label(path, row, str(label), classes)
    columns = [within_range(name, X[:, :, spec.npz_bands.index(name)]) for name in features]
    chosen = np.stack(columns, axis=2)
    empty = np.flatnonzero(~np.isfinite(chosen).any(axis=(1, 2)))
    if empty.size:
        raise SampleError(
            f"{path}, row {empty[0] + 1}: its series holds not one number ({empty.size} row(s) in all). "
            "Remove it."
        )
    given = [str(item) for item in arrays["groups"]] if "groups" in arrays else [""] * len(X)
    if spec.sample_table:
        table = _read_csv(spec.sample_table)
        if len(table) != len(X):
            raise SampleError(
                f"{spec.sample_table} has {len(table)} rows, but {path} has {len(X)} series. One a row."
            )
        lon = np.array([item.geometry.x for item in table])
        lat = np.array([item.geometry.y for item in table])
        groups = group_samples(lon, lat, given, side_km=spec.group_km)
    else:
        groups = group_samples(None, None, given, side_km=0.0)
    return Samples(chosen, labels, groups, np.arange(len(X)))


def group_samples(
    lon: NDArray[np.float64] | None,
    lat: NDArray[np.float64] | None,
    given: Sequence[str],
    *,
    side_km: float,
) -> NDArray[np.int64]:
    """Numbers that keep together what must not be split: a given group, and the samples of one square.

    A group that reaches into two squares joins them, so that neither rule is broken by the other.

    >>> import numpy as np
    >>> group_samples(np.array([105.0, 105.01, 106.0]), np.array([35.0, 35.0, 35.0]), ["", "", ""],
    side_km=10) array([0, 0, 1])
    """
    count = len(given)
    parent = list(range(count))

    def root(i: int) -> int:
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = parent[i]
        return i

    keys: Mapping[object, list[int]] = defaultdict(list)
    for number in range(count):
        if given[number]:
            keys["given", given[number]].append(number)
        if lon is not None and lat is not None and side_km > 0:
            keys["square", *_square(float(lon[number]), float(lat[number]), side_km)].append(number)
    for members in keys.values():
        for other in members[1:]:
            a, b = root(members[0]), root(other)
            parent[max(a, b)] = min(a, b)
    _, groups = np.unique([root(number) for number in range(count)], return_inverse=True)
    return groups.astype(np.int64)


def _square(lon: float, lat: float, side_km: float) -> tuple[int, int]:
    row = math.floor(lat * _KM_OF_DEGREE / side_km)
    middle = math.radians((row + 0.5) * side_km / _KM_OF_DEGREE)
    return row, math.floor(lon * _KM_OF_DEGREE * math.cos(middle) / side_km)
