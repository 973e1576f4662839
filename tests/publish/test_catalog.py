"""The static STAC catalog of a run, read back by pystac and held against the schemas that pystac ships."""

from __future__ import annotations

import json
import shutil
from itertools import pairwise
from pathlib import Path

import pystac
import pytest
from made_run import CROPS, DATES, RUN_ID, make_run
from pyproj import Transformer
from pystac.validation.stac_validator import JsonSchemaSTACValidator

from eo_pipeline.publish.contract import sha256_file, verify

ALBERS = "+proj=aea +lat_1=-2 +lat_2=-22 +lat_0=-12 +lon_0=-54 +x_0=560000 +y_0=3920000 +ellps=GRS80"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    make_run(folder)
    return folder


def test_every_document_is_valid_stac_1_1(run: Path) -> None:
    documents = [run / "catalog.json", *sorted(run.glob("*/*/*.json"))]
    assert len(documents) == 4
    for path in documents:
        document = json.loads(path.read_text(encoding="utf-8"))
        assert document["stac_version"] == "1.1.0"
        kind = pystac.STACObjectType.CATALOG if path.name == "catalog.json" else pystac.STACObjectType.ITEM
        JsonSchemaSTACValidator().validate_core(document, kind, "1.1.0")


def test_the_validator_would_complain(run: Path) -> None:
    document = json.loads((run / "growth" / "t1" / "growth-t1.json").read_text(encoding="utf-8"))
    del document["bbox"]
    with pytest.raises(pystac.errors.STACValidationError):
        JsonSchemaSTACValidator().validate_core(document, pystac.STACObjectType.ITEM, "1.1.0")


def test_pystac_reads_products_and_their_words(run: Path) -> None:
    catalog = pystac.Catalog.from_file(run / "catalog.json")
    items = {item.id: item for item in catalog.get_items(recursive=True)}
    assert set(items) == {f"{RUN_ID}-{product}-t1" for product in ("crop_type", "growth", "index")}
    crop = items[f"{RUN_ID}-crop_type-t1"]
    assert set(crop.assets) == {"crop_type", "confidence"}
    classes = crop.assets["crop_type"].extra_fields["classification:classes"]
    assert [(c["value"], c["name"], c["color_hint"]) for c in classes] == [
        (c.code, c.name, c.colour[1:]) for c in CROPS
    ]
    assert crop.properties["keywords"] == ["模拟数据", "simulated"] and "模拟数据" in catalog.description
    assert crop.properties["start_datetime"] == "2025-09-01T00:00:00Z" and crop.datetime is None


def test_geometry_is_in_degrees_and_projection_in_metres(run: Path) -> None:
    item = pystac.Item.from_file(run / "crop_type" / "t1" / "crop_type-t1.json")
    assert item.properties["proj:code"] == "EPSG:32648"
    assert item.properties["proj:shape"] == [120, 120]
    assert item.properties["proj:transform"][:6] == [10.0, 0.0, 560_000.0, 0.0, -10.0, 3_920_000.0]
    to_degrees = Transformer.from_crs("EPSG:32648", "OGC:CRS84", always_xy=True)
    x, y = to_degrees.transform(
        [560_000, 560_000, 561_200, 561_200], [3_918_800, 3_920_000, 3_918_800, 3_920_000]
    )
    assert item.bbox == pytest.approx([min(x), min(y), max(x), max(y)], abs=1e-6)
    ring = item.geometry["coordinates"][0]
    assert ring[0] == ring[-1]
    area = sum(a[0] * b[1] - b[0] * a[1] for a, b in pairwise(ring))
    assert area > 0, "counter-clockwise, as GeoJSON asks"


def test_assets_carry_scale_nodata_dates_and_checksum(run: Path) -> None:
    item = pystac.Item.from_file(run / "index" / "t1" / "index-t1.json")
    asset = item.assets["ndvi"]
    bands = asset.extra_fields["bands"]
    assert [band["name"] for band in bands] == list(DATES)
    assert bands[0] | {"name": ""} == {
        "name": "",
        "data_type": "int16",
        "nodata": -32768,
        "raster:scale": 1e-4,
        "raster:offset": 0.0,
    }
    path = run / "index" / "t1" / "ndvi.tif"
    assert asset.extra_fields["file:checksum"] == "1220" + sha256_file(path)
    assert asset.extra_fields["file:size"] == path.stat().st_size
    assert asset.media_type == pystac.MediaType.COG


def test_links_are_relative_and_survive_a_move(run: Path, tmp_path: Path) -> None:
    moved = tmp_path / "elsewhere"
    shutil.copytree(run, moved)
    assert str(run) not in "".join(p.read_text(encoding="utf-8") for p in moved.rglob("*.json"))
    catalog = pystac.Catalog.from_file(moved / "catalog.json")
    for item in catalog.get_items(recursive=True):
        for asset in item.get_assets().values():
            assert (
                asset.get_absolute_href().startswith(str(moved)) and Path(asset.get_absolute_href()).is_file()
            )
    related = [link for link in catalog.links if link.rel == "related"]
    assert {Path(link.get_absolute_href()).name for link in related} == {
        "estimates.parquet",
        "series.parquet",
        "accuracy.json",
        "report.html",
    }
    assert all(Path(link.get_absolute_href()).is_file() for link in related)
    verify(moved)


def test_a_crs_without_a_code_is_spelled_out(tmp_path: Path) -> None:
    make_run(tmp_path, crs=ALBERS, simulated=False)
    item = pystac.Item.from_file(tmp_path / "growth" / "t1" / "growth-t1.json")
    assert item.properties["proj:code"] is None
    assert "Albers" in item.properties["proj:wkt2"]
    assert item.properties["proj:projjson"]["type"] == "ProjectedCRS"
    assert item.bbox[0] == pytest.approx(-54, abs=0.1) and item.bbox[1] == pytest.approx(-12, abs=0.1)
    assert item.properties["keywords"] == []
