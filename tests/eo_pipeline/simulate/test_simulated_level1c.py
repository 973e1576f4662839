"""The twin as Level 1C: light above the atmosphere, and that our reader and s2cloudless take it as real."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from dataclasses import replace
from datetime import date
from pathlib import Path

import numpy as np
import pytest
import rasterio

from eo_pipeline.acquire.checks import read_manifest, verify
from eo_pipeline.scenes.cloudless import MODEL_BANDS, find_clouds
from eo_pipeline.scenes.level1c import Level1C, open_level1c
from eo_pipeline.scenes.sentinel2 import read_product
from eo_pipeline.scenes.source import _level1c_assets
from eo_pipeline.simulate import calendar, canopy, landscape, level1c, orbits, safe, scenes, sky
from eo_pipeline.simulate.twin import SimulationError, TwinOptions

TILE = orbits.TILES[0]


@pytest.fixture(scope="module")
def scene() -> tuple[scenes.Scene, orbits.Overpass, landscape.Grid]:
    """A tenth of it under thick cloud, 16 May 2026."""
    land = landscape.build(3.0, seed=42)
    land = replace(land, grid=orbits.straddling(land.grid.size))
    plan = calendar.rotate(land, range(2025, 2028), seed=42)
    world = scenes.make_world(land, plan, seed=42)
    day = date(2026, 5, 16)
    (overpass,) = [o for o in orbits.overpasses(day, day) if o.swath.edge is None]
    return scenes.render(world, day), overpass, land.grid


@pytest.fixture(scope="module", params=["02.14", "05.10"])
def made(
    scene: tuple[scenes.Scene, orbits.Overpass, landscape.Grid],
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[Path, Level1C]:
    folder = tmp_path_factory.mktemp("level1c")
    names = level1c.write_products(*scene, folder, baseline=request.param)
    first = safe.write_products(*scene, folder, baseline=request.param)
    path = next(folder / name for name in names if TILE.name in name)
    like = read_product(next(folder / name for name in first if TILE.name in name))
    return path, open_level1c(path, like=like, pixel=10.0)


def reflectance(product: Level1C, band: str) -> np.ndarray:
    place = next(place for place in product.places if place.band == band)
    with rasterio.open(place.path) as raster:
        numbers = raster.read(1).astype(float)
    return np.where(numbers == 0, np.nan, (numbers + product.offset) / product.product.quantification)


def test_the_product_is_whole_and_says_what_real_ones_say(made: tuple[Path, Level1C]) -> None:
    path, product = made
    entries = read_manifest(path / "manifest.safe")
    assert len(entries) == 15  # 13 bands and two files of metadata
    for place, entry in entries.items():
        assert verify(path / place, entry=entry).means.startswith("manifest")
    root = ET.parse(path / "MTD_MSIL1C.xml").getroot()
    assert root.tag.endswith("Level-1C_User_Product") and root.find(".//PRODUCT_TYPE").text == "S2MSI1C"
    new = "_N0510_" in path.name
    assert [e.text for e in root.iter("RADIO_ADD_OFFSET")] == (["-1000"] * 13 if new else [])
    assert product.offset == (-1000 if new else 0)
    assert not list(root.iter("BOA_ADD_OFFSET")) and not list(root.iter("Scene_Classification_ID"))
    assert len(product.places) == len(MODEL_BANDS)
    # the raster's edges lie on the tile's grid of 60 m, beyond the piece nothing was seen
    with rasterio.open(product.places[0].path) as raster:
        assert (raster.transform.c - TILE.west) % 60 == 0 and (TILE.north - raster.transform.f) % 60 == 0


def test_the_atmosphere_is_bright_in_blue_and_black_in_cirrus(
    made: tuple[Path, Level1C], scene: tuple[scenes.Scene, orbits.Overpass, landscape.Grid]
) -> None:
    _, product = made
    shown, _, grid = scene
    top, bottom = TILE.window(grid)
    assert (shown.cloud[top:bottom] < 0.01).mean() > 0.2
    ground = shown.reflectance[:, top:bottom] / 10_000
    dark = {n: np.percentile(ground[canopy.BAND_NAMES.index(n)], 5) for n in ("B02", "B04", "B8A")}
    above = {n: np.nanpercentile(reflectance(product, n), 5) for n in (*dark, "B10", "B01")}
    # molecules alone add 0.05 to 0.09 in blue, little in red, and nearly nothing beyond
    assert 0.03 < above["B02"] - dark["B02"] < 0.09
    assert -0.01 < above["B04"] - dark["B04"] < 0.025
    assert above["B01"] > above["B02"]
    assert above["B10"] < 0.003 and np.nanmax(reflectance(product, "B10")) > 0.015
    assert np.nanmedian(reflectance(product, "B09")) < 0.6 * np.nanmedian(reflectance(product, "B8A"))


def test_s2cloudless_finds_its_clouds(
    made: tuple[Path, Level1C], scene: tuple[scenes.Scene, orbits.Overpass, landscape.Grid]
) -> None:
    _, product = made
    shown, _, grid = scene
    top, bottom = TILE.window(grid)
    corner = (round((TILE.north - grid.north) / 10) + top, round((grid.west - TILE.west) / 10))
    found = find_clouds(
        _level1c_assets(product, corner),
        rows=np.arange(bottom - top) + 0.5,
        columns=np.arange(grid.size) + 0.5,
        pixel_m=10.0,
        threshold=0.4,
    )
    opacity = shown.cloud[top:bottom]
    assert (opacity > 0.4).mean() > 0.05
    assert found.cloud[opacity > sky.THICK].mean() > 0.9  # 0.98 as measured
    assert found.cloud[opacity < 0.01].mean() < 0.4  # 0.24: clouds are widened by cells of 160 m


def test_a_stack_has_no_level1c() -> None:
    with pytest.raises(SimulationError, match="--level1c needs --format safe"):
        TwinOptions(level1c=True)
