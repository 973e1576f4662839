"""The twin as Sentinel-1 GRD: read by our own reader, it lies in place and differs by the slopes alone."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from pathlib import Path

import numpy as np
import pytest
import rasterio
from pyproj import CRS

from eo_pipeline.acquire.checks import read_manifest, verify
from eo_pipeline.cube.ground_range import GroundRange
from eo_pipeline.grid import Block, Grid, cut
from eo_pipeline.scenes.sentinel1 import prefer_corrected, read_radar
from eo_pipeline.simulate import calendar, grd, landscape, orbits, radar, radar_item, scenes
from eo_pipeline.simulate.archive.catalogue import Catalogue
from eo_pipeline.simulate.twin import SimulationError, TwinOptions


@pytest.fixture(scope="module")
def world() -> scenes.World:
    land = landscape.build(2.0, seed=42)
    land = replace(land, grid=orbits.straddling(land.grid.size))
    return scenes.make_world(land, calendar.rotate(land, range(2025, 2028), seed=42), seed=42)


@pytest.fixture(scope="module", params=["ascending", "descending"])
def overpass(request: pytest.FixtureRequest) -> radar.Pass:
    found = radar.passes(date(2026, 6, 1), date(2026, 6, 30))
    return next(item for item in found if item.track.direction == request.param)


@pytest.fixture(scope="module")
def folder(world: scenes.World, overpass: radar.Pass, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """GRD and RTC of one pass without speckle, and the elevation model."""
    out = tmp_path_factory.mktemp("grd")
    scene = radar.without_speckle(world, overpass)
    grd.write_grd(scene, overpass, world.land, out / grd.COLLECTION)
    radar_item.write_radar(scene, overpass, world.land.grid, out / radar_item.COLLECTION)
    grid = grid_of(world)
    options = {"driver": "GTiff", "width": grid.width, "height": grid.height, "count": 1, "dtype": "float32"}
    with rasterio.open(out / "dem.tif", "w", crs=grid.crs, transform=grid.affine, **options) as raster:
        raster.write(world.land.elevation, 1)
    return out


def grid_of(world: scenes.World, pixel: float = 10.0) -> Grid:
    """The piece in pixels of some size."""
    land = world.land.grid
    side = round(land.size * 10 / pixel)
    place = (pixel, 0.0, land.west, 0.0, -pixel, land.north)
    return Grid(CRS.from_epsg(landscape.EPSG).to_wkt(), place, side, side)


def read(folder: Path, name: str, grid: Grid, *, on_dem: bool) -> np.ndarray:
    """Decibel on a grid."""
    product = read_radar(next((folder / grd.COLLECTION).iterdir()))
    whole = Block("", 0, 0, grid.height, grid.width)
    with GroundRange(product, name, grid, (folder / "dem.tif",) if on_dem else ()) as image:
        return 10 * np.log10(image.read(whole, slice(0, grid.height)))


def slope_brightness(world: scenes.World, overpass: radar.Pass) -> np.ndarray:
    """How much brighter the image shows each pixel than the terrain-corrected product, decibel."""
    local = radar.local_incidence(world.land, overpass.track)
    flat = np.tan(np.radians(overpass.track.incidence))
    return 10 * np.log10(flat / np.tan(np.radians(np.clip(local, 5, 80))))


def test_it_is_whole_and_the_archive_takes_it(folder: Path, overpass: radar.Pass) -> None:
    (place,) = (folder / grd.COLLECTION).iterdir()
    entries = read_manifest(place / "manifest.safe")
    assert len(entries) == 8
    for path, entry in entries.items():
        assert verify(place / path, entry=entry).means == "manifest md5"
    by_collection = {record.collection: record for record in Catalogue(folder).records}
    one, other = by_collection["sentinel-1-grd"], by_collection["sentinel-1-rtc"]
    assert (one.orbit, one.direction) == (other.orbit, other.direction) == (
        overpass.track.relative, overpass.track.direction.upper(),
    )  # fmt: skip
    assert one.footprint.contains(other.footprint)
    told = read_radar(place)
    assert (told.corrected, told.direction, told.simulated) == (False, overpass.track.direction, True)
    assert told.orbit == overpass.track.relative
    assert sorted(told.files) == sorted(told.noise) == sorted(told.annotation) == ["vh", "vv"]
    corrected = read_radar(next((folder / radar_item.COLLECTION).iterdir()))
    assert prefer_corrected([told, corrected]) == (corrected,)


def test_with_the_heights_each_pixel_lies_in_place(
    folder: Path, overpass: radar.Pass, world: scenes.World
) -> None:
    scene, bright = radar.without_speckle(world, overpass), slope_brightness(world, overpass)
    assert bright.std() > 0.5  # there is terrain to be seen
    for name, gamma in (("vv", scene.vv), ("vh", scene.vh)):
        truth = 10 * np.log10(np.where(gamma == radar.NODATA, np.nan, gamma)) + bright
        measured = read(folder, name, grid_of(world), on_dem=True)
        known = np.isfinite(measured) & np.isfinite(truth)
        assert known.mean() > 0.99
        # nearest in the image and bilinear out of it: edges of fields are soft, and no more
        assert np.sqrt(((measured - truth)[known] ** 2).mean()) < 0.35
        assert np.corrcoef(measured[known], truth[known])[0, 1] > 0.99
        for aside in ((0, 1), (1, 0), (0, -1), (-1, 0)):  # a pixel to any side fits worse
            moved = np.roll(measured, aside, axis=(0, 1))
            assert np.nanmean((moved - truth) ** 2) > 2 * np.nanmean((measured - truth) ** 2)


def test_without_them_hills_lie_aside(folder: Path, overpass: radar.Pass, world: scenes.World) -> None:
    scene, bright = radar.without_speckle(world, overpass), slope_brightness(world, overpass)
    truth = 10 * np.log10(np.where(scene.vv == radar.NODATA, np.nan, scene.vv)) + bright
    measured = read(folder, "vv", grid_of(world), on_dem=False)
    known = np.isfinite(measured) & np.isfinite(truth)
    assert np.corrcoef(measured[known], truth[known])[0, 1] < 0.9
    # where the land is as high as the annotation tells, it lies in place all the same
    level = known & (np.abs(world.land.elevation - world.land.elevation.mean()) < 4)
    assert level.sum() > 500
    assert np.corrcoef(measured[level], truth[level])[0, 1] > 0.97


def test_any_block_gives_the_same_and_coarse_pixels_the_mean(folder: Path, world: scenes.World) -> None:
    grid = grid_of(world)
    whole = read(folder, "vv", grid, on_dem=True)
    product = read_radar(next((folder / grd.COLLECTION).iterdir()))
    with GroundRange(product, "vv", grid, (folder / "dem.tif",)) as image:
        for block in cut("t", grid, size=77):
            part = 10 * np.log10(image.read(block, slice(3, block.height)))
            rows, cols = (
                slice(block.row + 3, block.row + block.height),
                slice(block.col, block.col + block.width),
            )
            np.testing.assert_array_equal(part, whole[rows, cols])
    coarse = read(folder, "vv", grid_of(world, 40.0), on_dem=True)
    mean = 10 * np.log10((10 ** (whole / 10)).reshape(50, 4, 50, 4).mean(axis=(1, 3)))
    assert np.nanstd(coarse - mean) < 0.35 and abs(np.nanmean(coarse - mean)) < 0.05


def test_a_stack_has_no_grd() -> None:
    with pytest.raises(SimulationError, match="--grd needs --format safe"):
        TwinOptions(grd=True)
