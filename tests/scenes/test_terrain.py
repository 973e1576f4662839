"""Slope and aspect: planes, a cone, and a real island."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rasterio
from hypothesis import given
from hypothesis import strategies as st
from rasterio.crs import CRS
from rasterio.transform import from_origin

from eo_pipeline.errors import SourceError
from eo_pipeline.grid import Grid
from eo_pipeline.scenes.terrain import read_terrain, slope_and_aspect


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


def test_a_model_on_another_grid_is_brought_over(tmp_path: Path) -> None:
    # a plane that rises to the east by 0.3 m a metre, at 25 m in the grid's own CRS but shifted
    path = tmp_path / "dem.tif"
    cols = np.arange(300) * 25.0 + 12.5
    heights = np.tile(0.3 * cols, (300, 1)).astype(np.float32)
    options = {
        "driver": "GTiff", "width": 300, "height": 300, "count": 1, "dtype": "float32", "crs": "EPSG:32632",
        "transform": from_origin(500_000.0, 4_000_000.0, 25.0, 25.0),
    }  # fmt: skip
    with rasterio.open(path, "w", **options) as raster:
        raster.write(heights, 1)
    terrain = read_terrain(path, _grid(501_000.0, 3_999_000.0, pixel=10.0))
    assert terrain.elevation[0, 0] == pytest.approx(0.3 * 1005.0, abs=0.05)
    assert np.allclose(terrain.slope, np.degrees(np.arctan(0.3)), atol=0.05)
    assert np.allclose(terrain.aspect, 270.0, atol=0.5)
    with pytest.raises(SourceError, match="Fetch the elevation model of the region"):
        read_terrain(path, _grid(900_000.0, 3_999_000.0))
    with pytest.raises(SourceError, match="cannot be read as an elevation model"):
        read_terrain(tmp_path / "nothing.tif", _grid(501_000.0, 3_999_000.0))


@pytest.mark.realdata
def test_a_real_island_falls_to_the_sea_on_all_sides(shared_data: Path) -> None:
    name = "Copernicus_DSM_COG_10_N00_00_E006_00_DEM"
    dem = shared_data / "cop-dem" / "30m" / name / f"{name}.tif"
    # São Tomé: its peak stands at 6.5417° E, 0.2692° N
    from pyproj import Transformer

    x, y = Transformer.from_crs(4326, 32632, always_xy=True).transform(6.541667, 0.269167)
    terrain = read_terrain(dem, _grid(x - 3000, y + 3000, size=200))
    assert np.nanmax(terrain.elevation) == pytest.approx(1976.4, abs=15)
    assert 15 < np.nanmedian(terrain.slope) < 40
    assert np.nanmax(terrain.slope) < 85
    peak = np.unravel_index(np.nanargmax(terrain.elevation), terrain.elevation.shape)
    assert abs(peak[0] - 100) <= 2
    assert abs(peak[1] - 100) <= 2
    # around the peak the ground falls away from it, whichever side one stands on
    rows, cols = np.mgrid[0:200, 0:200]
    away = np.degrees(np.arctan2(cols - peak[1], -(rows - peak[0]))) % 360
    ring = (np.hypot(rows - peak[0], cols - peak[1]) > 3) & (np.hypot(rows - peak[0], cols - peak[1]) < 12)
    turn = np.abs((terrain.aspect - away + 180) % 360 - 180)[ring]
    assert np.nanmean(turn < 90) > 0.75
