"""The archive as Earth Search, Planetary Computer and CDSE's STAC API, asked by pystac-client and GDAL."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pystac_client
import pytest
import rasterio
import requests
from numpy.typing import NDArray
from rio_cogeo.cogeo import cog_validate

from eo_pipeline.simulate.archive import Archive, RemoteArchive, serve, serve_process

BOX = [105.6, 35.2, 105.7, 35.3]


@pytest.fixture(scope="module")
def apart(products: Path) -> Iterator[RemoteArchive]:
    """In a process of its own: GDAL lets no thread of ours answer it."""
    with serve_process(products) as running:
        yield running


def items(api: str, **asked: Any) -> list[dict[str, Any]]:
    client = pystac_client.Client.open(api)
    return list(client.search(**asked).items_as_dicts())


def jp2(products: Path, name: str, band: str) -> NDArray[np.uint16]:
    path = next(products.glob(f"{name}/GRANULE/*/IMG_DATA/*/*_{band}_*.jp2"))
    with rasterio.open(path) as raster:
        numbers: NDArray[np.uint16] = raster.read(1)
        return numbers


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_pages_follow_each_other_to_the_end(archive: Archive, names: list[str], method: str) -> None:
    client = pystac_client.Client.open(f"{archive.url}/stac/v1")
    assert "模拟数据" in client.title
    search = client.search(
        collections=["sentinel-2-l2a"], bbox=BOX, limit=5, method=method, datetime="2021-09-01/2022-12-31"
    )
    pages = list(search.pages_as_dicts())
    assert search.matched() == len(names) and [len(page["features"]) for page in pages[:-1]] == [5] * (
        len(pages) - 1
    )
    found = [item["properties"]["s2:product_uri"] for page in pages for item in page["features"]]
    assert sorted(found) == sorted(names) and len(set(found)) == len(found)


def test_searches_find_what_they_ask_for(archive: Archive, names: list[str]) -> None:
    api = f"{archive.url}/stac/v1"
    s2 = {"collections": ["sentinel-2-l2a"]}
    every = items(api, **s2, bbox=BOX)
    assert items(api, **s2, bbox=[0, 0, 1, 1]) == []
    square = {
        "type": "Polygon",
        "coordinates": [[[105.6, 35.2], [105.7, 35.2], [105.7, 35.3], [105.6, 35.2]]],
    }
    assert len(items(api, **s2, intersects=square)) == len(every) == len(names)
    clear = items(api, **s2, query={"eo:cloud_cover": {"lte": 5}})
    assert {i["id"] for i in clear} == {i["id"] for i in every if i["properties"]["eo:cloud_cover"] <= 5}
    assert 0 < len(clear) < len(every)
    year = items(api, **s2, datetime="2022-01-01T00:00:00Z/2022-12-31T23:59:59Z")
    assert {i["properties"]["s2:product_uri"] for i in year} == {n for n in names if n[11:15] == "2022"}
    assert [i["id"] for i in items(api, ids=[every[3]["id"]], **s2)] == [every[3]["id"]]
    rising = items(api, **s2, sortby=["+properties.datetime"])
    times = [i["properties"]["datetime"] for i in rising]
    assert times == sorted(times) and [i["properties"]["datetime"] for i in every] == times[::-1]
    c1 = items(api, collections=["sentinel-2-c1-l2a"])
    assert {i["properties"]["s2:product_uri"] for i in c1} == {n for n in names if "_N0510_" in n}
    assert [i["id"][:10] for i in items(api, collections=["sentinel-1-grd"])] == ["S1A_IW_GRD"]
    one = requests.get(f"{api}/collections/sentinel-2-l2a/items/{every[0]['id']}").json()
    assert one == every[0]


@pytest.mark.parametrize(
    "body",
    [
        {"bbox": [1, 2, 3]},
        {"datetime": "yesterday"},
        {"limit": 0},
        {"intersects": {"type": "Polygon"}},
        {"query": {"eo:cloud_cover": {"near": 3}}},
        {"bbox": BOX, "intersects": {"type": "Point", "coordinates": [0, 0]}},
    ],
)
def test_a_search_that_is_none_is_refused(archive: Archive, body: dict[str, Any]) -> None:
    answer = requests.post(f"{archive.url}/stac/v1/search", json=body)
    assert answer.status_code == 400 and answer.json()["code"] == "BadRequest"


def test_l2a_has_the_offset_taken_off_and_collection_1_has_not(
    apart: RemoteArchive, names: list[str], products: Path
) -> None:
    api = f"{apart.url}/stac/v1"
    first = {i["properties"]["s2:product_uri"]: i for i in items(api, collections=["sentinel-2-l2a"])}
    second = {i["properties"]["s2:product_uri"]: i for i in items(api, collections=["sentinel-2-c1-l2a"])}
    old, new = (next(n for n in names[::-1] if part in n) for part in ("_N0214_", "_N0510_"))
    assert first[old]["properties"]["earthsearch:boa_offset_applied"] is False
    assert first[new]["properties"]["earthsearch:boa_offset_applied"] is True
    # raster:bands tells of the original: who trusts it beside the flag subtracts twice
    assert first[old]["assets"]["red"]["raster:bands"][0]["offset"] == 0
    assert first[new]["assets"]["red"]["raster:bands"][0]["offset"] == -0.1
    assert second[new]["assets"]["red"]["raster:bands"][0]["offset"] == -0.1

    def read(item: dict[str, Any], asset: str) -> NDArray[np.uint16]:
        with rasterio.open(f"/vsicurl/{item['assets'][asset]['href']}") as raster:
            assert list(raster.transform)[:6] == item["assets"][asset]["proj:transform"]
            assert list(raster.shape) == item["assets"][asset]["proj:shape"]
            assert raster.crs.to_epsg() == item["properties"]["proj:epsg"] and raster.nodata == 0
            assert "模拟数据" in raster.tags()["SIMULATED"]
            numbers: NDArray[np.uint16] = raster.read(1)
            return numbers

    for asset, band in (("red", "B04"), ("swir16", "B11")):
        raw = jp2(products, new, band).astype(int)
        assert raw[raw > 0].min() > 1000
        assert np.array_equal(read(first[new], asset), np.where(raw == 0, 0, np.maximum(raw - 1000, 1)))
        assert np.array_equal(read(second[new], asset), raw)
        assert np.array_equal(read(first[old], asset), jp2(products, old, band))
    assert np.array_equal(read(first[new], "scl"), jp2(products, new, "SCL"))


def test_rasters_are_cloud_optimised_and_the_same_each_time(
    archive: Archive, products: Path, tmp_path: Path
) -> None:
    item = items(f"{archive.url}/stac/v1", collections=["sentinel-2-l2a"], max_items=1)[0]
    answer = requests.get(item["assets"]["blue"]["href"])
    (tmp_path / "B02.tif").write_bytes(answer.content)
    valid, errors, _ = cog_validate(tmp_path / "B02.tif")
    assert valid, errors
    with serve(products) as second:
        other = requests.get(item["assets"]["blue"]["href"].replace(archive.url, second.url))
        assert other.content == answer.content and other.headers["ETag"] == answer.headers["ETag"]
    part = requests.get(item["assets"]["blue"]["href"], headers={"Range": "bytes=0-99"})
    assert part.status_code == 206 and part.content == answer.content[:100]
    xml = requests.get(item["assets"]["granule_metadata"]["href"])
    assert xml.status_code == 200 and b"Level-2A_Tile_ID" in xml.content
    assert requests.get(item["assets"]["blue"]["href"].replace("B02", "B99")).status_code == 404


def test_planetary_computer_wants_signatures(products: Path, names: list[str]) -> None:
    with serve(products, signature_s=0.6) as archive:
        sas = f"{archive.url}/pc/api/sas/v1"
        item = items(f"{archive.url}/pc/api/stac/v1", collections=["sentinel-2-l2a"], max_items=1)[0]
        name = item["properties"]["s2:product_uri"]
        assert item["id"] == "_".join(part for n, part in enumerate(name[:-5].split("_")) if n != 3)
        href = item["assets"]["product-metadata"]["href"]
        assert requests.get(href).status_code == 403
        signed = requests.get(f"{sas}/sign", params={"href": href}).json()
        assert {*signed} == {"href", "msft:expiry"}
        assert requests.get(signed["href"]).content == (products / name / "MTD_MSIL2A.xml").read_bytes()
        token = requests.get(f"{sas}/token/sentinel2l2a01/sentinel2-l2").json()["token"]
        band = requests.get(f"{item['assets']['B11']['href']}?{token}")
        assert band.status_code == 200 and band.headers["Content-Type"] == "image/tiff"
        # one container's signature opens no other
        radar = items(f"{archive.url}/pc/api/stac/v1", collections=["sentinel-1-rtc"], max_items=1)[0]
        assert requests.get(f"{radar['assets']['vv']['href']}?{token}").status_code == 403
        assert requests.get(f"{href}?{token[:-1]}0").status_code in (200, 403)
        forged = token.replace("se=2", "se=3")
        assert requests.get(f"{href}?{forged}").status_code == 403
        import time

        time.sleep(0.7)
        assert requests.get(signed["href"]).status_code == 403
        assert requests.get(f"{sas}/token/somebody/else").status_code == 404


def test_radar_is_served_as_it_lies_there(apart: RemoteArchive, products: Path) -> None:
    found = items(f"{apart.url}/pc/api/stac/v1", collections=["sentinel-1-rtc"], bbox=BOX)
    assert len(found) == len(list(products.glob("sentinel-1-rtc/*/item.json"))) > 3
    asset = found[0]["assets"]["vh"]
    signed = requests.get(f"{apart.url}/pc/api/sas/v1/sign", params={"href": asset["href"]}).json()["href"]
    content = requests.get(signed).content
    assert content == (products / "sentinel-1-rtc" / found[0]["id"] / "vh.tif").read_bytes()
    assert len(content) == asset["file:size"]


def test_cdse_items_name_the_same_files_as_its_nodes(
    archive: Archive, names: list[str], products: Path
) -> None:
    found = items(f"{archive.url}/cdse/stac/v1", collections=["sentinel-2-l2a"])
    item = next(i for i in found if i["id"] == names[-1].removesuffix(".SAFE"))
    asset = item["assets"]["B04_10m"]
    path = next(products.glob(f"{names[-1]}/GRANULE/*/IMG_DATA/R10m/*_B04_10m.jp2"))
    assert asset["href"].endswith(str(path.relative_to(products))) and asset["href"].startswith(
        "s3://eodata/"
    )
    assert asset["file:size"] == path.stat().st_size
    assert (asset["raster:scale"], asset["raster:offset"]) == (0.0001, -0.1)
    assert "raster:offset" not in item["assets"]["SCL_20m"]
    href = asset["alternate"]["https"]["href"]
    assert requests.get(href).status_code == 401
    form = {"client_id": "cdse-public", "grant_type": "password", "username": "demo", "password": "demo"}
    grant = requests.post(f"{archive.url}/cdse/auth/realms/CDSE/protocol/openid-connect/token", data=form)
    token = {"Authorization": f"Bearer {grant.json()['access_token']}"}
    assert requests.get(href, headers=token).content == path.read_bytes()
    radar = items(f"{archive.url}/cdse/stac/v1", collections=["sentinel-1-grd"])[0]
    assert {"vv", "vh", "schema-product-vv", "schema-calibration-vh", "schema-noise-vv"} <= {*radar["assets"]}


@pytest.mark.realdata
def test_items_have_the_shape_of_recorded_ones(archive: Archive, shared_data: Path) -> None:
    import yaml

    cassette = yaml.safe_load(
        (shared_data / "api-answers/earth_search_vcr/test_multiple_collections.yaml").read_text()
    )
    document = json.loads(cassette["interactions"][0]["response"]["body"]["string"])
    real = next(i for i in document["features"] if i["collection"] == "sentinel-2-l2a")
    ours = items(f"{archive.url}/stac/v1", collections=["sentinel-2-l2a"], datetime="2022-06-01/..")[0]
    missing = {*real["properties"]} - {*ours["properties"]}
    # what only the ground segment or the converter knows
    assert missing <= {"processing:software", "s2:reflectance_conversion_factor"}, missing
    made = {name for name in ours["assets"] if name != "product_metadata"}
    assert made <= {*real["assets"]}
    for name in ("blue", "rededge1", "swir22"):
        a, b = real["assets"][name], ours["assets"][name]
        assert {*a} == {*b}
        assert a["eo:bands"] == b["eo:bands"] and a["raster:bands"] == b["raster:bands"]
        assert (a["gsd"], a["title"], a["type"]) == (b["gsd"], b["title"], b["type"])
    assert {*ours["assets"]["scl"]} == {*real["assets"]["scl"]}

    recorded = json.loads(
        (shared_data / "api-answers/planetary_computer/sentinel-2-l2a-pc.json").read_text()
    )[0]
    mine = items(f"{archive.url}/pc/api/stac/v1", collections=["sentinel-2-l2a"], datetime="2022-06-01/..")[0]
    lost = {*recorded["properties"]} - {*mine["properties"]}
    assert lost <= {"s2:reflectance_conversion_factor"}, lost
    assert {*mine["assets"]} <= {*recorded["assets"]}
    for name in ("B04", "SCL", "B8A"):
        assert {*mine["assets"][name]} == {*recorded["assets"][name]}, name
        ending = recorded["assets"][name]["href"].split("/GRANULE/")[1].split("/", 1)[1]
        assert mine["assets"][name]["href"].split("/")[-3:-1] == ["IMG_DATA", ending.split("/")[1]]
