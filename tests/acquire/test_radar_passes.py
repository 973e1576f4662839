"""How much of a Sentinel-1 pass is fetched, by a real item of Planetary Computer; and that a cut is whole."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import rasterio
import shapely
from rasterio.transform import from_origin
from rasterio.windows import Window
from small_disk import room_of, small_disk

from eo_pipeline.acquire import radar
from eo_pipeline.acquire.products import Product
from eo_pipeline.acquire.radar import WantedPasses
from eo_pipeline.acquire.screening import Region
from eo_pipeline.acquire.sources.stac_items import product_of_item
from eo_pipeline.errors import DiskFullError


@pytest.fixture
def product(shared_data: Path) -> Product:
    items = json.loads((shared_data / "api-answers/planetary_computer/sentinel-1-rtc-pc.json").read_text())
    return product_of_item(items[0], source="planetary-computer", collection="sentinel-1-rtc")


def wanted(shape: shapely.Geometry) -> WantedPasses:
    return WantedPasses(Region("region", np.array([shape], dtype=object)))


@pytest.mark.realdata
def test_the_estimate_is_the_share_of_the_pass_over_the_region(product: Product) -> None:
    whole = shapely.from_wkt(product.footprint)
    assert wanted(whole).bytes(product) == product.size == 838_784_900 + 840_640_984
    middle = whole.centroid
    piece = wanted(shapely.box(middle.x - 0.35, middle.y - 0.3, middle.x + 0.35, middle.y + 0.3))
    assert 0.2 < piece.bytes(product) / product.size < 0.27
    # where the source tells no sizes, pixels are counted
    untold = replace(product, files=tuple(replace(file, size=None) for file in product.files))
    assert 0.7 < piece.bytes(untold) / piece.bytes(product) < 1.4
    assert wanted(shapely.box(0, 0, 1, 1)).bytes(product) == 0


@pytest.mark.realdata
def test_a_footprint_that_crosses_itself_is_no_obstacle(product: Product) -> None:
    bow = "POLYGON ((14 30, 16 31, 16 30, 14 31, 14 30))"
    assert wanted(shapely.box(14.5, 30.2, 15.5, 30.8)).bytes(replace(product, footprint=bow)) > 0


@pytest.mark.realdata
def test_passes_are_filed_by_direction(product: Product) -> None:
    assert (product.tile, product.group) == ("", "descending")


def test_a_cut_that_does_not_fit_on_the_disk_is_told_and_not_left_behind(tmp_path: Path) -> None:
    sigma = np.random.default_rng(4).gamma(4, 0.02, (1024, 1024)).astype(np.float32)
    profile = {"driver": "GTiff", "width": 1024, "height": 1024, "count": 1, "dtype": "float32",
               "crs": "EPSG:32648", "transform": from_origin(531_000, 3_950_000, 10, 10), "nodata": np.nan,
               "tiled": True, "blockxsize": 512, "blockysize": 512}  # fmt: skip
    with rasterio.open(tmp_path / "whole.tif", "w", **profile) as raster:
        raster.write(sigma, 1)
    window = Window(512, 0, 512, 1024)
    stripes = [Window(512, row, 512, 512) for row in (0, 512)]
    told = 0
    with (
        small_disk(tmp_path / "disk", kilobytes=4000) as disk,
        rasterio.open(tmp_path / "whole.tif") as raster,
    ):
        draft = disk / "vv.tif.partial"
        for kilobytes in range(0, 3000, 200):
            with room_of(disk, kilobytes):
                try:
                    seen = radar._write(raster, window, stripes, draft, "0 0 1 1")
                except DiskFullError as error:
                    assert str(draft) in str(error)
                    told += 1
                else:
                    assert seen
                    with rasterio.open(draft) as cut:
                        np.testing.assert_array_equal(cut.read(1), sigma[:, 512:])
                        assert cut.tags()["CUT_TO"] == "0 0 1 1"
                    draft.unlink()
            assert list(disk.iterdir()) == []
    assert 5 < told < 14
