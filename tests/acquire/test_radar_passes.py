"""How much of a Sentinel-1 pass is fetched, by a real item of Planetary Computer."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import shapely

from eo_pipeline.acquire.products import Product
from eo_pipeline.acquire.radar import WantedPasses
from eo_pipeline.acquire.screening import Region
from eo_pipeline.acquire.sources.stac_items import product_of_item


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
