"""The ground of a tile: planes, a made mountain in several files, and a real island."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import date
from pathlib import Path

import numpy as np
import pytest
import rasterio
from hypothesis import given
from hypothesis import strategies as st
from rasterio.crs import CRS
from rasterio.transform import from_origin

from eo_pipeline.cube.store import NODATA, Layout, TileStore
from eo_pipeline.cube.terrain import (
    LEVEL,
    TERRAIN,
    mosaic,
    reach_of,
    read_terrain,
    require_ground,
    slope_and_aspect,
    terrain_block,
)
from eo_pipeline.errors import SourceError
from eo_pipeline.grid import Block, Grid, TimeStep, cut


@given(slope=st.floats(0.5, 60.0), aspect=st.floats(0.0, 359.9), pixel=st.sampled_from([10.0, 30.0]))
def test_a_plane_has_its_own_slope_and_aspect(slope: float, aspect: float, pixel: float) -> None:
    # ground falls towards `aspect`: east and north parts of the gradient point the other way
    rise = np.tan(np.radians(slope))
    east, north = -rise * np.sin(np.radians(aspect)), -rise * np.cos(np.radians(aspect))
    rows, cols = np.mgrid[0:7, 0:7] * pixel
    found, towards = slope_and_aspect(east * cols - north * rows, pixel=(pixel, pixel))
    inner = (slice(1, -1), slice(1, -1))
    assert np.allclose(found[inner], slope, atol=1e-3)
    turn = (towards[inner] - aspect + 180) % 360 - 180
    assert np.allclose(turn, 0.0, atol=1e-2)


def test_level_ground_faces_nowhere() -> None:
    slope, aspect = slope_and_aspect(np.full((4, 5), 1500.0), pixel=(10.0, 10.0))
    assert (slope == 0).all()
    assert np.isnan(aspect).all()


def test_unknown_heights_spoil_their_neighbours_only() -> None:
    heights = np.zeros((7, 7))
    heights[3, 3] = np.nan
    slope, _ = slope_and_aspect(heights, pixel=(10.0, 10.0))
    assert np.isnan(slope[2:5, 2:5]).all()
    assert np.isfinite(slope).sum() == 49 - 9


def test_pixels_may_be_longer_than_wide() -> None:
    heights = np.tile(np.arange(5.0)[:, None] * 20, (1, 5))  # falls 20 m a row to the north
    slope, aspect = slope_and_aspect(heights, pixel=(10.0, 20.0))
    assert slope[2, 2] == pytest.approx(45.0)
    assert aspect[2, 2] == pytest.approx(0.0)


def _grid(left: float, top: float, size: int = 120, pixel: float = 30.0, epsg: int = 32632) -> Grid:
    numbers = (pixel, 0.0, left, 0.0, -pixel, top)
    return Grid(CRS.from_epsg(epsg).to_wkt(), numbers, size, size)


def _write(
    path: Path,
    heights: np.ndarray,
    *,
    left: float = 500_000.0,
    top: float = 4_000_000.0,
    pixel: float = 25.0,
    crs: str | None = "EPSG:32632",
    nodata: float | None = None,
) -> Path:
    with rasterio.open(
        path, "w", driver="GTiff", width=heights.shape[1], height=heights.shape[0], count=1, dtype="float32",
        crs=crs, transform=from_origin(left, top, pixel, pixel), nodata=nodata,
    ) as raster:  # fmt: skip
        raster.write(heights.astype(np.float32), 1)
    return path


def _ground(
    dem: Sequence[Path], grid: Grid, folder: Path, *, block: int = 64
) -> tuple[dict[str, np.ndarray], list[dict]]:
    """The arrays of a tile, and what its tasks told."""
    tile = TileStore(folder / f"{block}.zarr")
    layout = Layout("t", grid, ("B04",), (TimeStep(date(2026, 5, 1), date(2026, 5, 10)),), block)
    tile.create(layout)
    require_ground(tile, layout)
    told = [
        terrain_block(block=piece, grid=grid, dem=dem, store=tile.path)
        for piece in cut("t", grid, size=block)
    ]
    return {name: tile.read(name) for name in ("elevation", "slope", "aspect")}, told


def test_a_model_on_another_grid_is_brought_over(tmp_path: Path) -> None:
    # a plane that rises to the east by 0.3 m a metre, at 25 m in the grid's own CRS but shifted
    cols = np.arange(300) * 25.0 + 12.5
    path = _write(tmp_path / "dem.tif", np.tile(0.3 * cols, (300, 1)))
    grid = _grid(501_000.0, 3_999_000.0, pixel=10.0)
    found, told = _ground([path], grid, tmp_path)
    assert found["elevation"][0].tolist() == [round(0.3 * (1005 + 10 * n)) for n in range(120)]
    assert np.abs(found["slope"] - 100 * np.degrees(np.arctan(0.3))).max() <= 2
    assert (found["aspect"] == 2700).all()
    assert {item["missing"] for item in told} == {0}
    assert min(item["low"] for item in told) == pytest.approx(0.3 * 1005, abs=0.06)
    assert reach_of([path], grid) == 1.0


def _mountain(size: int) -> np.ndarray:
    rows, cols = np.mgrid[0:size, 0:size] * (2 * np.pi / size)
    return 1700 + 150 * np.sin(2 * cols) * np.cos(3 * rows) + 40 * np.sin(7 * rows + cols)


def test_blocks_and_files_do_not_matter(tmp_path: Path) -> None:
    """One file or four, blocks of any size: the same ground, in another CRS too."""
    degrees = {"left": 105.0, "top": 36.0, "pixel": 1 / 3600, "crs": "EPSG:4326"}
    heights = _mountain(120)
    whole = _write(tmp_path / "whole.tif", heights, **degrees)
    parts = []
    for row in (0, 60):
        for col in (0, 60):
            own = degrees | {"left": 105 + col / 3600, "top": 36 - row / 3600}
            parts.append(
                _write(tmp_path / f"n{row}e{col}.tif", heights[row : row + 60, col : col + 60], **own)
            )
    from pyproj import Transformer

    x, y = Transformer.from_crs(4326, 32648, always_xy=True).transform(105.005, 35.995)
    grid = Grid("EPSG:32648", (10.0, 0.0, round(x), 0.0, -10.0, round(y)), 190, 170)
    assert reach_of(parts, grid) == 1.0
    expected, _ = _ground([whole], grid, tmp_path, block=190)
    assert np.ptp(expected["elevation"]) > 200 and (expected["elevation"] != NODATA).all()
    for block, dem in ((190, parts), (64, [whole]), (37, parts)):
        found, _ = _ground(dem, grid, tmp_path / str(block), block=block)
        for name, values in expected.items():
            np.testing.assert_array_equal(found[name], values, err_msg=f"{name} in blocks of {block}")


def test_what_the_model_does_not_hold_stays_unknown(tmp_path: Path) -> None:
    heights = np.full((60, 60), 1500.0)
    heights[20:24, 30:34] = -32768
    path = _write(tmp_path / "dem.tif", heights, pixel=10.0, nodata=-32768)
    # five columns of the tile lie east of the model
    grid = _grid(500_100.0, 3_999_900.0, size=55, pixel=10.0)
    found, told = _ground([path], grid, tmp_path)
    unknown = found["elevation"] == NODATA
    assert unknown[:, 50:].all() and unknown[10:14, 20:24].all() and unknown.sum() == 55 * 55 - 50 * 50 + 16
    assert sum(item["missing"] for item in told) == unknown.sum()
    assert (found["slope"] == NODATA).sum() > unknown.sum()
    assert (found["slope"][found["slope"] != NODATA] == 0).all()
    assert set(np.unique(found["aspect"])) == {NODATA, LEVEL}
    assert reach_of([path], grid) == pytest.approx(50 * 50 / 55**2, abs=1e-3)


def test_features_are_metres_degrees_and_directions(tmp_path: Path) -> None:
    rows, cols = np.mgrid[0:40, 0:40] * 10.0
    dem = 1500 + np.where(cols < 200, 0.2 * rows, 0.0)  # falls to the north in the west, level in the east
    path = _write(tmp_path / "dem.tif", dem, pixel=10.0)
    _ground([path], _grid(500_000.0, 4_000_000.0, size=40, pixel=10.0), tmp_path)
    tile = TileStore(tmp_path / "64.zarr")
    values = {name: read_terrain(tile, Block("t", 5, 5, 10, 30), name) for name in TERRAIN}
    assert values["ELEVATION"][0, 0] == pytest.approx(1510, abs=0.5)
    assert values["SLOPE"][3, 3] == pytest.approx(np.degrees(np.arctan(0.2)), abs=0.01)
    assert (values["ASPECT_N"][3, 3], values["ASPECT_E"][3, 3]) == (1.0, 0.0)
    assert (values["SLOPE"][3, 25], values["ASPECT_N"][3, 25], values["ASPECT_E"][3, 25]) == (0, 0, 0)


def test_void_may_be_written_as_not_a_number(tmp_path: Path) -> None:
    heights = np.full((60, 120), 1500.0)
    heights[10:20, 10:20] = np.nan
    grid = _grid(500_100.0, 3_999_900.0, size=60)
    halves = [
        _write(tmp_path / f"{n}.tif", half, left=500_000.0 + n * 60 * 25, nodata=math.nan)
        for n, half in enumerate(np.split(heights, 2, axis=1))
    ]
    (tmp_path / "one").mkdir()
    whole = _write(tmp_path / "one/dem.tif", heights, nodata=math.nan)
    found, _ = _ground(halves, grid, tmp_path)
    expected, _ = _ground([whole], grid, tmp_path / "one")
    assert (found["elevation"] == NODATA).any()
    np.testing.assert_array_equal(found["elevation"], expected["elevation"])


def test_an_unfit_model_is_refused(tmp_path: Path) -> None:
    heights = np.full((60, 60), 1500.0)
    path = _write(tmp_path / "dem.tif", heights)
    with pytest.raises(SourceError, match=r"dem\.tif does not reach the tile.*Fetch the elevation model"):
        reach_of([path], _grid(900_000.0, 3_999_000.0))
    here = _grid(500_100.0, 3_999_900.0)
    with pytest.raises(SourceError, match=r"nothing.tif cannot be read as an elevation model"):
        reach_of([tmp_path / "nothing.tif"], here)
    bare = _write(tmp_path / "bare.tif", heights, crs=None)
    with pytest.raises(SourceError, match=r"bare.tif has no coordinate reference system"):
        reach_of([bare], here)
    with pytest.raises(SourceError, match="in degree, not in metres"):
        reach_of([path], Grid("EPSG:4326", (0.001, 0, 9.0, 0, -0.001, 36.1), 40, 40))
    coarse = _write(tmp_path / "coarse.tif", heights, pixel=30.0)
    beside = _write(tmp_path / "beside.tif", heights, left=500_010.0)
    for other, why in ((coarse, "pixel size and nodata must be the same"), (beside, "between the pixels")):
        with pytest.raises(SourceError, match=f"{other.name}.*{why}"):
            mosaic([path, other])


@pytest.mark.realdata
def test_a_real_island_falls_to_the_sea_on_all_sides(shared_data: Path, tmp_path: Path) -> None:
    name = "Copernicus_DSM_COG_10_N00_00_E006_00_DEM"
    dem = shared_data / "cop-dem" / "30m" / name / f"{name}.tif"
    # São Tomé: its peak stands at 6.5417° E, 0.2692° N
    from pyproj import Transformer

    x, y = Transformer.from_crs(4326, 32632, always_xy=True).transform(6.541667, 0.269167)
    found, _ = _ground([dem], _grid(x - 3000, y + 3000, size=200), tmp_path)
    heights, slope = found["elevation"], found["slope"] / 100
    assert heights.max() == pytest.approx(1976, abs=15)
    assert 15 < np.median(slope) < 40
    assert slope.max() < 85
    peak = np.unravel_index(heights.argmax(), heights.shape)
    assert abs(peak[0] - 100) <= 2
    assert abs(peak[1] - 100) <= 2
    # around the peak the ground falls away from it, whichever side one stands on
    rows, cols = np.mgrid[0:200, 0:200]
    away = np.degrees(np.arctan2(cols - peak[1], -(rows - peak[0]))) % 360
    ring = (np.hypot(rows - peak[0], cols - peak[1]) > 3) & (np.hypot(rows - peak[0], cols - peak[1]) < 12)
    turn = np.abs((found["aspect"] / 10 - away + 180) % 360 - 180)[ring]
    assert (turn < 90).mean() > 0.75
