"""Reading Sentinel-2 products: real metadata of every baseline, real items, and broken ones."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
import rasterio
import shapely
from tiny_safe import TinySafe, earth_search_item, write_cogs, zip_safe

from eo_pipeline.errors import SourceError
from eo_pipeline.scenes.items import load_item, provider_of, read_item
from eo_pipeline.scenes.safe_xml import parse_xml
from eo_pipeline.scenes.sentinel2 import read_name, read_product

SAFES = "safe-metadata/sentinel2"


# ---- real metadata ---------------------------------------------------------------------------------------
@pytest.mark.realdata
def test_real_metadata_of_baseline_0509(shared_data: Path) -> None:
    name = "S2A_MSIL2A_20230821T221941_N0509_R029_T01KAB_20230822T021825.SAFE"
    product = read_product(shared_data / SAFES / name)
    assert (product.name, product.provider, product.platform) == (name, "safe", "S2A")
    assert product.sensed == datetime(2023, 8, 21, 22, 19, 41, 24000, tzinfo=UTC)
    assert (product.baseline, product.name_baseline) == ("05.09", "05.09")
    assert (product.orbit, product.direction, product.tile) == (29, "descending", "01KAB")
    assert product.grid.transform == (10.0, 0.0, 99960.0, 0.0, -10.0, 8200000.0)
    assert product.grid.shape == (10980, 10980)
    assert "UTM zone 1S" in product.grid.crs
    assert product.quantification == 10_000
    assert product.offsets is not None
    assert set(product.offsets) >= {"B01", "B8A", "B12"}
    assert set(product.offsets.values()) == {-1000.0}
    assert product.special == {"NODATA": 0, "SATURATED": 65535}
    assert product.cloud_cover == pytest.approx(59.050727)
    assert product.empty_share == 0.0
    assert product.sun == (pytest.approx(38.4174390061789), pytest.approx(43.3009058473725))
    # the tile lies over the date line: two polygons, together as large as the tile's 1.1° square
    footprint = shapely.from_wkt(product.footprint)
    assert footprint.geom_type == "MultiPolygon"
    assert footprint.bounds == (-180.0, pytest.approx(-17.2548501440442), 180.0, pytest.approx(-16.2477629))
    assert sum(part.area for part in footprint.geoms) == pytest.approx(1.03, abs=0.03)


@pytest.mark.realdata
@pytest.mark.parametrize(
    ("name", "baseline", "tile", "cloud", "sun"),
    [
        (
            "S2A_MSIL2A_20180721T053721_N0212_R062_T43MDV_20201011T181419.SAFE",
            "02.12",
            "43MDV",
            99.999999,
            None,
        ),
        (
            "esa_S2B_MSIL2A_20210122T133229_N0214_R081_T22HBD_20210122T155500.SAFE",
            "02.14",
            "22HBD",
            0.447807,
            (32.3712311857264, 64.9495240978383),
        ),
    ],
)
def test_real_metadata_before_the_offset(
    shared_data: Path, name: str, baseline: str, tile: str, cloud: float, sun: tuple[float, float] | None
) -> None:
    product = read_product(shared_data / SAFES / name)
    assert (product.baseline, product.name_baseline, product.tile) == (baseline, baseline, tile)
    assert product.offsets == {}
    assert product.cloud_cover == pytest.approx(cloud)
    assert product.sun == (None if sun is None else pytest.approx(sun))


@pytest.mark.realdata
@pytest.mark.parametrize(
    "name",
    [
        "sentinel2/S2A_MSIL1C_20210908T042701_N0301_R133_T46RER_20210908T070248.SAFE",  # 03.01
        "sentinel2_with_jp2/S2A_MSIL1C_20180101T105441_N0206_R051_T31TDH_20180101T124911.SAFE",
    ],
)
def test_level_1c_is_refused_with_the_cure(shared_data: Path, name: str) -> None:
    with pytest.raises(SourceError, match=r"L1C.*Fetch the L2A product of the same observation"):
        read_product(shared_data / "safe-metadata" / name)


@pytest.mark.realdata
def test_real_cogs_with_their_item(shared_data: Path) -> None:
    product = read_product(shared_data / "s2-cog-29RKH")
    assert product.name == "S2A_MSIL2A_20200219T112111_N0214_R037_T29RKH_20200219T123947.SAFE"
    assert product.provider == "earth-search"
    assert (product.baseline, product.tile, product.orbit) == ("02.14", "29RKH", 37)
    # the item's datetime is 11:34, of the tile's middle; observations are told apart by the datatake
    assert product.sensed == datetime(2020, 2, 19, 11, 21, 11, tzinfo=UTC)
    assert (product.applied, product.advertised, product.offsets) == (False, 0.0, None)
    assert product.grid.transform == (10.0, 0.0, 199980.0, 0.0, -10.0, 2800020.0)
    assert product.sun == (pytest.approx(90 - 48.293248430895), pytest.approx(147.671041914385))
    assert {name: files[0].metres for name, files in product.bands.items()} == {
        "B01": 60, "B02": 10, "B03": 10, "B04": 10, "B05": 20, "B06": 20, "B07": 20, "B08": 10, "B8A": 20,
        "B09": 60, "B11": 20, "B12": 20, "SCL": 20,
    }  # fmt: skip
    for files in product.bands.values():
        assert Path(files[0].path).is_file()


@pytest.mark.realdata
def test_recorded_items_of_planetary_computer(shared_data: Path) -> None:
    items = json.loads((shared_data / "api-answers/planetary_computer/sentinel-2-l2a-pc.json").read_text())
    products = [read_item(item) for item in items]
    assert [p.tile for p in products] == ["47XML", "47XMJ", "46XES", "46XER"]
    assert {p.provider for p in products} == {"planetary-computer"}
    assert {(p.baseline, p.name_baseline, p.direction, p.orbit) for p in products} == {
        ("05.10", "05.10", "ascending", 122)
    }
    first = products[0]
    assert first.name == "S2B_MSIL2A_20240419T095549_N0510_R122_T47XML_20240419T123458.SAFE"
    assert first.band("B04").path.startswith("https://sentinel2l2a01.blob.core.windows.net/")
    assert first.band("B04").path.endswith("_B04_10m.tif")
    assert first.grid.transform == (10.0, 0.0, 399960.0, 0.0, -10.0, 9100020.0)
    assert first.sun == (pytest.approx(75.1644683744649), pytest.approx(247.347032627282))
    assert first.empty_share == pytest.approx(27.370414)
    assert (first.advertised, first.applied) == (None, None)


@pytest.mark.realdata
def test_a_recorded_item_of_the_old_earth_search(shared_data: Path) -> None:
    item = load_item(shared_data / "api-answers/stac_items_odc/S2A_28QCH_20200714_0_L2A.json")
    product = read_item(item)
    assert product.provider == "earth-search-v0"
    assert (product.tile, product.name_baseline, product.cloud_cover) == ("28QCH", "02.14", 2.36)


@pytest.mark.realdata
def test_items_made_by_stactools_have_every_band_at_its_finest(shared_data: Path) -> None:
    folder = shared_data / "api-answers/stactools_sentinel2_expected_items"
    found = {}
    for file in sorted(folder.glob("*L2A*.json")):
        product = read_item(load_item(file))
        found[product.tile] = (product.baseline, product.advertised)
        assert [product.band(b).metres for b in ("B02", "B8A", "SCL")] == [10, 20, 20]
    assert found["01KAB"] == ("05.09", -0.1)
    assert found["34LBQ"] == ("04.00", -0.7)  # an item can advertise anything
    assert found["22HBD"] == ("02.14", 0.0)
    for file in sorted(folder.glob("*L1C*.json")):
        with pytest.raises(SourceError, match="L1C"):
            read_item(load_item(file))


def test_an_item_of_the_cdse_catalogue() -> None:
    bands = {"B02_10m": 10, "B02_20m": 20, "B05_20m": 20, "SCL_20m": 20, "TCI_10m": 10}
    href = "s3://eodata/Sentinel-2/MSI/L2A/2026/06/01/X.SAFE/GRANULE/G/IMG_DATA/R{0}m/T48SXE_{1}.jp2"
    item = {
        "type": "Feature",
        "stac_version": "1.1.0",
        "id": "S2A_MSIL2A_20260601T033541_N0511_R061_T48SXE_20260601T060000",
        "collection": "sentinel-2-l2a",
        "geometry": None,
        "properties": {
            "datetime": "2026-06-01T03:35:41.024Z", "platform": "sentinel-2a", "proj:code": "EPSG:32648",
            "grid:code": "MGRS-48SXE", "processing:version": "05.11", "sat:relative_orbit": 61,
            "sat:orbit_state": "descending", "eo:cloud_cover": 3.5,
        },
        "assets": {
            key: {"href": href.format(metres, key), "raster:scale": 0.0001, "raster:offset": -0.1}
            for key, metres in bands.items()
        },
    }  # fmt: skip
    product = read_item(item)
    assert (product.provider, product.baseline, product.orbit) == ("cdse", "05.11", 61)
    assert product.advertised == -0.1
    assert [f.metres for f in product.bands["B02"]] == [10, 20]
    assert product.band("B02").path.startswith("s3://eodata/Sentinel-2/MSI/L2A/2026/06/01/X.SAFE/")
    assert set(product.bands) == {"B02", "B05", "SCL"}


def test_providers_are_told_apart() -> None:
    item = earth_search_item(TinySafe(), applied=True)
    assert provider_of(item) == "earth-search"
    assert provider_of({**item, "collection": "sentinel-2-c1-l2a"}) == "earth-search-c1"
    assert provider_of({"assets": {}, "properties": {}}) == ""


# ---- products on disk ---------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def safe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return TinySafe().write(tmp_path_factory.mktemp("safe"))


def test_a_safe_folder(safe: Path) -> None:
    product = read_product(safe)
    assert product.tile == "48SXE"
    assert product.grid.transform == (10.0, 0.0, 600_000.0, 0.0, -10.0, 3_950_020.0)
    assert product.sun == (21.5, 135.25)
    assert product.empty_share == 6.25
    assert product.observation == ("S2A", "20260601T0335", "48SXE")
    assert product.made == "20260601T060000"
    assert [product.band(b).metres for b in ("B04", "B8A", "SCL")] == [10, 20, 20]
    assert read_product(safe / "MTD_MSIL2A.xml") == product


def test_a_zip_of_it_reads_the_same(tmp_path: Path) -> None:
    folder = TinySafe(bands=("B04", "SCL")).write(tmp_path)
    with rasterio.open(read_product(folder).band("B04").path) as raster:
        expected = raster.read(1)
    product = read_product(zip_safe(folder))
    assert (product.tile, product.baseline, product.sun) == ("48SXE", "05.10", (21.5, 135.25))
    assert product.band("B04").path.startswith("/vsizip/")
    with rasterio.open(product.band("B04").path) as raster:
        assert (raster.read(1) == expected).all()


def test_a_folder_of_cogs(tmp_path: Path) -> None:
    tiny = TinySafe(bands=("B02", "B04", "B12", "SCL"))
    folder = write_cogs(tiny, tmp_path, earth_search_item(tiny, applied=True))
    product = read_product(folder)
    assert (product.name, product.applied, product.offsets) == (tiny.name, True, None)
    assert sorted(product.bands) == ["B02", "B04", "B12", "SCL"]
    # ESA's own metadata beside the item is asked as well
    (folder / "MTD_MSIL2A.xml").write_text(tiny.product_xml())
    again = read_product(folder)
    assert again.provider == "earth-search"
    assert again.offsets is not None
    assert set(again.offsets.values()) == {-1000.0}


def test_a_missing_band_is_named(tmp_path: Path) -> None:
    product = read_product(TinySafe(bands=("B04", "SCL")).write(tmp_path))
    with pytest.raises(SourceError, match=r"no raster of B11; it holds B04, SCL\. Fetch B11"):
        product.band("B11")


def test_metadata_of_the_old_name(tmp_path: Path) -> None:
    folder = TinySafe(baseline="02.12", bands=("B04",)).write(tmp_path)
    (folder / "MTD_MSIL2A.xml").rename(folder / "MTD_MSIL2a.xml")
    assert read_product(folder).offsets == {}


@pytest.mark.parametrize(
    ("file", "old", "new", "message"),
    [
        ("MTD_TL.xml", "EPSG:32648", "EPSG:4326", r"CRS EPSG:4326 is not that of tile 48SXE.*EPSG:32648"),
        ("MTD_TL.xml", "<ULX>600000</ULX>", "<ULX>west</ULX>", "ULX = 'west' is no number"),
        ("MTD_MSIL2A.xml", "Level-2A<", "Level-1C<", "Fetch the L2A product"),
        ("MTD_MSIL2A.xml", "</n1:Level-2A_User_Product>", "", "no whole XML document"),
        ("MTD_MSIL2A.xml", "BOA_QUANTIFICATION_VALUE", "OTHER", "no BOA_QUANTIFICATION_VALUE"),
        ("MTD_MSIL2A.xml", ">10000<", ">0<", "BOA_QUANTIFICATION_VALUE = 0"),
        ("MTD_MSIL2A.xml", 'band_id="12"', 'band_id="77"', "BOA_ADD_OFFSET cannot be read"),
        ("MTD_MSIL2A.xml", "2026-06-01T", "yesterday", "is no time"),
    ],
)
def test_damaged_metadata_is_refused(tmp_path: Path, file: str, old: str, new: str, message: str) -> None:
    folder = TinySafe(bands=("B04",)).write(tmp_path)
    path = next(folder.rglob(file))
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(SourceError, match=message):
        read_product(folder)


def test_entities_are_not_followed(tmp_path: Path) -> None:
    secret = tmp_path / "secret.txt"
    secret.write_text("S2A")
    bomb = f'<!DOCTYPE a [<!ENTITY x SYSTEM "{secret}">]><a>&x;</a>'
    with pytest.raises(SourceError, match="document type or entities"):
        parse_xml(bomb.encode(), "made.xml")
    lol = '<!DOCTYPE a [<!ENTITY x "lol"><!ENTITY y "&x;&x;&x;">]><a>&y;</a>'
    with pytest.raises(SourceError, match="document type or entities"):
        parse_xml(lol.encode(), "made.xml")


def test_what_is_no_product_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="does not exist"):
        read_product(tmp_path / "nothing.SAFE")
    with pytest.raises(SourceError, match=r"neither MTD_MSIL2A\.xml nor a STAC item"):
        read_product(tmp_path)
    broken = tmp_path / "broken.zip"
    broken.write_bytes(b"PK\x03\x04 and then nothing")
    with pytest.raises(SourceError, match="no whole zip file"):
        read_product(broken)
    (tmp_path / "item.json").write_text('{"type": "Feature"}')
    with pytest.raises(SourceError, match="neither assets nor properties"):
        read_product(tmp_path)


def test_names_tell_baseline_and_time() -> None:
    named = read_name("S2B_MSIL2A_20200914T231559_N0500_R087_T01VCG_20230315T224658.SAFE")
    assert named is not None
    assert (named.baseline, named.orbit, named.tile, named.made) == ("05.00", 87, "01VCG", "20230315T224658")
    planetary = read_name("S2B_MSIL2A_20240419T095549_R122_T47XML_20240419T123458")
    assert planetary is not None
    assert planetary.baseline == ""
    assert read_name("S1A_IW_GRDH_1SDV_20180716T004042_20180716T004107_022812_02792A_FD5B") is None


def test_newer_processing_of_one_observation_shares_its_key(safe: Path) -> None:
    product = read_product(safe)
    renamed = replace(product, name=product.name.replace("N0510", "N0511"))
    assert renamed.observation == product.observation
    assert renamed.name_baseline == "05.11"


def test_what_fetch_left_is_read(tmp_path: Path) -> None:
    tiny = TinySafe(bands=("B04", "SCL"))
    item = earth_search_item(tiny, applied=None, collection="")
    few = {"id": item["id"], "properties": item["properties"]}
    folder = write_cogs(tiny, tmp_path, few)
    product = read_product(folder)
    assert (product.provider, sorted(product.bands)) == ("", ["B04", "SCL"])
    (folder / ".complete").write_text(json.dumps({"source": "earth-search-c1", "files": []}))
    assert read_product(folder).provider == "earth-search-c1"
    (folder / ".complete").write_text(json.dumps({"source": "stac", "files": []}))
    assert read_product(folder).provider == ""


def test_an_asset_is_the_band_it_says() -> None:
    item = earth_search_item(TinySafe(), applied=True)
    item["assets"]["nir"]["eo:bands"] = [{"name": "B8A"}]
    del item["assets"]["nir08"]
    product = read_item(item)
    assert "B08" not in product.bands
    assert product.band("B8A").path.endswith("B08.tif")
