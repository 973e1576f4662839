"""Zones, pixel areas and sums over them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from pyproj import CRS, Transformer
from shapely.geometry import box

from eo_pipeline.errors import SourceError
from eo_pipeline.grid import Grid, cut
from eo_pipeline.products.zonal import (
    PixelAreas,
    ZoneIndex,
    ZoneUnit,
    class_counts,
    pixel_area_ha,
    read_units,
    unit_area_ha,
    zone_layers,
    zone_means,
    zone_quantiles,
)

UTM = Grid("EPSG:32648", (10, 0, 531_000, 0, -10, 3_950_000), 60, 40)
MERCATOR = Grid("EPSG:3857", (10, 0, 11_870_000, 0, -10, 4_220_000), 60, 40)
DEGREES = Grid("EPSG:4326", (1e-4, 0, 106.0, 0, -1e-4, 35.5), 60, 40)
ALBERS = Grid(
    "+proj=aea +lat_1=-2 +lat_2=-22 +lat_0=-12 +lon_0=-54 +ellps=GRS80", (64, 0, 0, 0, -64, 0), 60, 40
)


def exact_ha(grid: Grid, row: int, col: int) -> float:
    crs = CRS.from_user_input(grid.crs)
    x = [grid.transform[2] + grid.transform[0] * (col + i) for i in (0, 1, 1, 0)]
    y = [grid.transform[5] + grid.transform[4] * (row + i) for i in (0, 0, 1, 1)]
    lon, lat = Transformer.from_crs(crs, crs.geodetic_crs, always_xy=True).transform(x, y)
    return abs(crs.get_geod().polygon_area_perimeter(lon, lat)[0]) / 1e4


@pytest.mark.parametrize(
    "grid", [UTM, MERCATOR, DEGREES, ALBERS], ids=["utm", "mercator", "degrees", "albers"]
)
def test_pixel_area_is_that_on_the_ellipsoid(grid: Grid) -> None:
    area = pixel_area_ha(grid)
    assert area.shape == grid.shape
    for row, col in [(0, 0), (39, 59), (13, 31), (20, 7)]:
        assert area[row, col] == pytest.approx(exact_ha(grid, row, col), rel=2e-6)


@pytest.mark.realdata
def test_fields_of_bavaria_have_their_declared_area(shared_data: Path) -> None:
    path = shared_data / "bavaria-s2-fields" / "dev_fields.geojson"
    fields = read_units(path, code_field="id")
    declared = np.array(
        [item["properties"]["declared_ha"] for item in json.loads(path.read_text())["features"]]
    )
    measured = np.array([unit_area_ha(field) for field in fields])
    assert measured.sum() == pytest.approx(declared.sum(), rel=0.01)
    assert np.median(np.abs(measured / declared - 1)) < 0.01
    # and counted in pixels of Sentinel-2, whose borders are ragged, as a whole
    change = Transformer.from_crs("OGC:CRS84", "EPSG:32632", always_xy=True)
    bounds = np.array([field.geometry.bounds for field in fields])
    left, low = change.transform(bounds[:, 0].min(), bounds[:, 1].min())
    right, high = change.transform(bounds[:, 2].max(), bounds[:, 3].max())
    grid = Grid(
        "EPSG:32632",
        (10, 0, left - 500, 0, -10, high + 500),
        int(right - left + 1000) // 10,
        int(high - low + 1000) // 10,
    )
    pixel = PixelAreas(grid)
    index, counted = ZoneIndex(fields), 0.0
    for block in cut("bavaria", grid, size=2048):
        area = pixel.ha(*block.slices)
        for layer in zone_layers(index.near(block.grid(grid)), block.grid(grid)):
            counted += float(area[layer.labels > 0].sum())
    assert counted == pytest.approx(declared.sum(), rel=0.01)


def test_a_units_area_is_the_same_in_any_crs_and_leaves_holes_out() -> None:
    ring = box(106.0, 35.0, 106.1, 35.1) - box(106.02, 35.02, 106.04, 35.04)
    degrees = unit_area_ha(ZoneUnit("a", "a", ring))
    assert degrees == pytest.approx(0.96 * unit_area_ha(ZoneUnit("a", "a", ring.envelope)), rel=1e-3)
    fine = shapely.segmentize(ring, 0.001)
    change = Transformer.from_crs("OGC:CRS84", "EPSG:3857", always_xy=True)
    moved = shapely.transform(fine, lambda xy: np.column_stack(change.transform(xy[:, 0], xy[:, 1])))
    assert unit_area_ha(ZoneUnit("a", "a", moved, crs="EPSG:3857")) == pytest.approx(degrees, rel=1e-5)


def test_web_mercator_is_not_taken_at_its_nominal_size() -> None:
    # cos^2 of 35.4 degrees north
    assert pixel_area_ha(MERCATOR).mean() == pytest.approx(0.01 * 0.664, rel=5e-3)


def test_an_equal_area_projection_gives_its_nominal_size() -> None:
    np.testing.assert_allclose(pixel_area_ha(ALBERS), 0.4096, rtol=1e-6)


def test_a_tile_of_110_km_is_measured_as_well() -> None:
    tile = Grid("EPSG:32648", (10, 0, 499_980, 0, -10, 4_000_020), 10_980, 10_980)
    areas = PixelAreas(tile)
    for row, col in [(5_000, 7_777), (10_979, 3)]:
        got = areas.ha(slice(row, row + 1), slice(col, col + 1))
        assert got[0, 0] == pytest.approx(exact_ha(tile, row, col), rel=2e-6)


def test_a_block_has_the_areas_of_its_tile() -> None:
    areas = PixelAreas(UTM)
    whole = areas.ha()
    for block in cut("t", UTM, size=17):
        np.testing.assert_array_equal(areas.ha(*block.slices), whole[block.slices])


def test_a_raster_without_a_place_on_earth_is_refused() -> None:
    local = Grid('LOCAL_CS["plan",UNIT["metre",1]]', (1, 0, 0, 0, -1, 0), 3, 3)
    with pytest.raises(SourceError, match="not tied to the earth"):
        pixel_area_ha(local)


def square(code: str, left: float, top: float, side: float) -> ZoneUnit:
    """A square in the grid's own CRS, `left` and `top` in pixels."""
    x, y = 531_000 + 10 * left, 3_950_000 - 10 * top
    return ZoneUnit(code, code, box(x, y - 10 * side, x + 10 * side, y), crs="EPSG:32648")


def test_centres_decide_and_neighbours_share_no_pixel() -> None:
    (layer,) = zone_layers([square("a", 0, 0, 4.4), square("b", 4.4, 0, 4.4)], UTM)
    assert [unit.code for unit in layer.units] == ["a", "b"]
    assert (layer.labels == 1).sum() == 16 and (layer.labels == 2).sum() == 5 * 4
    assert layer.labels[0].tolist()[:10] == [1] * 4 + [2] * 5 + [0]


def test_a_township_in_its_county_gets_a_layer_of_its_own() -> None:
    layers = zone_layers([square("county", 0, 0, 20), square("town", 5, 5, 6), square("next", 20, 0, 5)], UTM)
    assert [[u.code for u in layer.units] for layer in layers] == [["county", "next"], ["town"]]
    assert (layers[0].labels == 1).sum() == 400 and (layers[1].labels == 1).sum() == 36


def test_a_unit_off_the_grid_or_between_centres_is_kept_without_pixels() -> None:
    (layer,) = zone_layers(
        [square("far", 500, 0, 5), square("tiny", 2.6, 2.6, 0.2), square("in", 1, 1, 3)], UTM
    )
    assert [u.code for u in layer.units] == ["far", "tiny", "in"]
    assert np.bincount(layer.labels.ravel(), minlength=4).tolist()[1:] == [0, 0, 9]


def test_units_in_degrees_land_where_they_belong() -> None:
    to_degrees = Transformer.from_crs("EPSG:32648", "OGC:CRS84", always_xy=True)
    left, bottom = to_degrees.transform(531_100, 3_949_700)
    right, top = to_degrees.transform(531_300, 3_949_900)
    (layer,) = zone_layers([ZoneUnit("x", "x", box(left, bottom, right, top))], UTM)
    rows, cols = np.nonzero(layer.labels)
    assert (rows.min(), rows.max(), cols.min(), cols.max()) == (10, 29, 10, 29)


@given(st.integers(0, 25), st.integers(0, 2**32 - 1))
@settings(max_examples=40, deadline=None)
def test_units_burnt_together_lie_as_if_each_was_burnt_alone(count: int, seed: int) -> None:
    # given squares of which some meet, some share an edge that runs through centres, some lie outside
    rng = np.random.default_rng(seed)
    units = [
        square(str(n), *rng.choice([rng.uniform(-9, 65), 4.5 * rng.integers(0, 9)], 2), rng.uniform(0.3, 9))
        for n in range(count)
    ]
    layers = zone_layers(units, UTM)
    # when each is burnt alone and put into the first layer where it meets no other
    expected: list[dict[str, set[int]]] = []
    for unit in units:
        (alone,) = zone_layers([unit], UTM)
        own = set(np.flatnonzero(alone.labels).tolist())
        free = [layer for layer in expected if not any(own & taken for taken in layer.values())]
        if not free:
            expected.append({})
        (free[0] if free else expected[-1])[unit.code] = own
    # then the layers are these
    found = [
        {unit.code: set(np.flatnonzero(layer.labels == n).tolist()) for n, unit in enumerate(layer.units, 1)}
        for layer in layers
    ]
    assert found == expected and [list(layer) for layer in found] == [list(layer) for layer in expected]


@given(st.integers(5, 41), st.integers(0, 2**32 - 1), st.sampled_from([UTM, MERCATOR, DEGREES]))
@settings(max_examples=25, deadline=None)
def test_only_units_without_a_pixel_in_a_block_are_not_near_it(size: int, seed: int, grid: Grid) -> None:
    rng = np.random.default_rng(seed)
    a, _, x, _, e, y = grid.transform
    units = []
    for number in range(12):
        col, row = rng.uniform(-20, 70), rng.uniform(-20, 50)
        width, height = rng.uniform(0.5, 25, 2)
        shape = box(x + a * col, y + e * (row + height), x + a * (col + width), y + e * row)
        crs = grid.crs
        if number % 2 and crs != "EPSG:4326":  # half of them in degrees
            change = Transformer.from_crs(crs, "OGC:CRS84", always_xy=True).transform
            shape, crs = shapely.transform(shape, change, interleaved=False), "OGC:CRS84"
        units.append(ZoneUnit(str(number), "", shape, crs))
    index = ZoneIndex(units)
    found = []
    for block in cut("t", grid, size=size):
        own = block.grid(grid)
        near = index.near(own)
        found.append(len(near))

        def pixels(chosen: Sequence[ZoneUnit], own: Grid = own) -> dict[str, list[int]]:
            layers = zone_layers(chosen, own)
            return {
                unit.code: places
                for layer in layers
                for number, unit in enumerate(layer.units, 1)
                if (places := np.flatnonzero(layer.labels == number).tolist())
            }

        assert pixels(near) == pixels(units)
    assert min(found) < len(units)  # and it does leave some out


def test_without_units_none_are_near() -> None:
    assert ZoneIndex(()).near(UTM) == ()


@given(st.integers(1, 41), st.integers(0, 2**32 - 1))
@settings(max_examples=25, deadline=None)
def test_sums_of_blocks_are_the_sums_of_the_whole(size: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    classes = rng.integers(0, 5, UTM.shape).astype(np.uint8)
    labels = rng.integers(0, 4, UTM.shape).astype(np.int32)
    index = rng.uniform(-1, 1, (3, *UTM.shape)).astype(np.float32)
    index[rng.random(index.shape) < 0.3] = np.nan
    areas = PixelAreas(UTM)
    whole = class_counts(classes, labels, n_zones=3, n_classes=5, area_ha=areas.ha())
    means = zone_means(index, labels, n_zones=3)
    counted, summed = None, None
    for block in cut("t", UTM, size=size):
        part = class_counts(
            classes[block.slices],
            labels[block.slices],
            n_zones=3,
            n_classes=5,
            area_ha=areas.ha(*block.slices),
        )
        counted = part if counted is None else counted + part
        mean = zone_means(index[:, *block.slices], labels[block.slices], n_zones=3)
        summed = mean if summed is None else summed + mean
    assert counted is not None and summed is not None
    np.testing.assert_array_equal(counted.pixels, whole.pixels)
    np.testing.assert_allclose(counted.area_ha, whole.area_ha, rtol=1e-12)
    np.testing.assert_array_equal(summed.count, means.count)
    np.testing.assert_allclose(summed.mean, means.mean, rtol=1e-9, atol=1e-12)
    assert whole.pixels.sum() == (labels > 0).sum()


def test_means_and_quantiles_by_hand() -> None:
    index = np.array([[[0.1, 0.2, 0.3], [0.5, np.nan, 0.9]]], dtype=np.float32)
    labels = np.array([[1, 1, 1], [2, 2, 0]], dtype=np.int32)
    np.testing.assert_allclose(zone_means(index, labels, n_zones=3).mean, [[0.2, 0.5, np.nan]], rtol=1e-6)
    np.testing.assert_allclose(
        zone_quantiles(index, labels, n_zones=3, quantiles=(0, 0.5)),
        [[[0.1, 0.5, np.nan]], [[0.2, 0.5, np.nan]]],
        rtol=1e-6,
    )


def test_a_code_beyond_the_classes_is_refused() -> None:
    with pytest.raises(ValueError, match="code 7"):
        class_counts(
            np.full((1, 1), 7, np.uint8),
            np.ones((1, 1), np.int32),
            n_zones=1,
            n_classes=5,
            area_ha=np.ones((1, 1)),
        )


def write_geojson(path: Path, features: list[dict[str, object]]) -> Path:
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    return path


def feature(geometry: object, **properties: object) -> dict[str, object]:
    return {"type": "Feature", "properties": properties, "geometry": geometry}


RING = {"type": "Polygon", "coordinates": [[[106, 35], [107, 35], [107, 36], [106, 36], [106, 35]]]}


def test_units_are_read_with_code_and_name_and_repaired(tmp_path: Path) -> None:
    bow = {"type": "Polygon", "coordinates": [[[0, 0], [1, 1], [1, 0], [0, 1], [0, 0]]]}
    path = write_geojson(
        tmp_path / "u.geojson", [feature(RING, code=620826, name="静宁县"), feature(bow, code=2, name="x")]
    )
    units = read_units(path)
    assert [(u.code, u.name) for u in units] == [("620826", "静宁县"), ("2", "x")]
    assert units[1].geometry.is_valid and units[1].geometry.area == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("features", "message"),
    [
        ([], "no polygon|cannot be read|no field"),
        ([feature(RING, name="x")], "no field 'code'"),
        ([feature(RING, code="1"), feature(RING, code="1")], "several polygons"),
        ([feature({"type": "Point", "coordinates": [1, 2]}, code="1")], "holds no polygon"),
    ],
)
def test_bad_unit_files_are_refused(tmp_path: Path, features: list[dict[str, object]], message: str) -> None:
    path = write_geojson(tmp_path / "u.geojson", features)
    with pytest.raises(SourceError, match=message):
        read_units(path)


def test_a_missing_unit_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="cannot be read"):
        read_units(tmp_path / "none.geojson")
