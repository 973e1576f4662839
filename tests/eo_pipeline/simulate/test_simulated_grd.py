"""The twin as Sentinel-1 GRD: read by our own reader, it lies in place and differs by the terrain alone."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import numpy as np
import pytest
from pyproj import CRS

from eo_pipeline.acquire.checks import read_manifest, verify
from eo_pipeline.grid import Grid
from eo_pipeline.scenes.sentinel1 import POLARISATIONS, backscatter, prefer_corrected, read_radar
from eo_pipeline.simulate import calendar, grd, landscape, orbits, radar, radar_item, scenes
from eo_pipeline.simulate.archive.catalogue import Catalogue
from eo_pipeline.simulate.twin import SimulationError, TwinOptions


@pytest.fixture(scope="module")
def world() -> scenes.World:
    from dataclasses import replace

    land = landscape.build(2.0, seed=42)
    land = replace(land, grid=orbits.straddling(land.grid.size))
    return scenes.make_world(land, calendar.rotate(land, range(2025, 2028), seed=42), seed=42)


@pytest.fixture(scope="module", params=["ascending", "descending"])
def overpass(request: pytest.FixtureRequest) -> radar.Pass:
    found = radar.passes(date(2026, 6, 1), date(2026, 6, 30))
    return next(item for item in found if item.track.direction == request.param)


@pytest.fixture(scope="module")
def folder(world: scenes.World, overpass: radar.Pass, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """GRD and RTC of one pass without speckle."""
    out = tmp_path_factory.mktemp("grd")
    scene = radar.without_speckle(world, overpass)
    grd.write_grd(scene, overpass, world.land, out / grd.COLLECTION)
    radar_item.write_radar(scene, overpass, world.land.grid, out / radar_item.COLLECTION)
    return out


def grid_of(world: scenes.World, margin: int = 5) -> Grid:
    """The piece without its edge, where the image is warped into nothing."""
    land = world.land.grid
    side = land.size - 2 * margin
    return Grid(
        CRS.from_epsg(landscape.EPSG).to_wkt(),
        (10.0, 0.0, land.west + 10.0 * margin, 0.0, -10.0, land.north - 10.0 * margin),
        side,
        side,
    )


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
    assert (told.corrected, told.direction) == (False, overpass.track.direction)
    assert told.orbit == overpass.track.relative
    assert sorted(told.files) == sorted(told.noise) == ["vh", "vv"]


def test_it_differs_from_the_terrain_corrected_product_by_the_terrain(
    folder: Path, overpass: radar.Pass, world: scenes.World
) -> None:
    grid = grid_of(world)
    products = [
        read_radar(next((folder / name).iterdir())) for name in (grd.COLLECTION, radar_item.COLLECTION)
    ]
    raw, corrected = products
    local = radar.local_incidence(world.land, overpass.track)[5:-5, 5:-5]
    expected = 10 * np.log10(
        np.tan(np.radians(overpass.track.incidence)) / np.tan(np.radians(np.clip(local, 5, 80)))
    )
    for name in ("vv", "vh"):
        measured = backscatter(raw, name, grid, denoise=True)
        truth = backscatter(corrected, name, grid)
        difference = measured - truth
        known = np.isfinite(difference)
        assert known.mean() > 0.95
        # the image was resampled twice, to nearest and bilinear: fields' edges are soft, the mean is right
        assert abs(np.median((difference - expected)[known])) < 0.15
        assert np.corrcoef(difference[known], expected[known])[0, 1] > 0.6
    assert expected.std() > 0.5  # there is terrain to be seen
    assert [item.corrected for item in prefer_corrected(products)] == [True]
    assert set(raw.files) <= set(POLARISATIONS)


def test_a_stack_has_no_grd() -> None:
    with pytest.raises(SimulationError, match="--grd needs --format safe"):
        TwinOptions(grd=True)
