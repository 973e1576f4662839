"""STAC archives against recorded answers of Earth Search and Planetary Computer, and an API on loopback."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from rasterio.transform import from_origin
from source_server import Answer, Asked, Loopback

from eo_pipeline.acquire.auth import Bearer
from eo_pipeline.acquire.products import Query
from eo_pipeline.acquire.sources.cdse import CdseAddresses, CdseArchive
from eo_pipeline.acquire.sources.sas import SasTokens
from eo_pipeline.acquire.sources.stac import StacArchive
from eo_pipeline.acquire.sources.stac_items import product_of_item
from eo_pipeline.acquire.transport import Transport
from eo_pipeline.errors import ArchiveError

SQUARE = "POLYGON ((105 35, 106 35, 106 36, 105 36, 105 35))"
QUERY = Query("sentinel-2-l2a", SQUARE, date(2024, 6, 1), date(2024, 6, 30))


def landing(url: str, *, methods: tuple[str, ...] = ("GET", "POST"), query: bool = True) -> dict[str, Any]:
    core = "https://api.stacspec.org/v1.0.0"
    return {
        "type": "Catalog",
        "id": "loopback",
        "title": "Loopback API",
        "description": "of a test",
        "stac_version": "1.0.0",
        "conformsTo": [f"{core}/core", f"{core}/item-search"] + [f"{core}/item-search#query"] * query,
        "links": [
            {"rel": "self", "href": url, "type": "application/json"},
            {"rel": "root", "href": url, "type": "application/json"},
            *(
                {"rel": "search", "href": f"{url}/search", "type": "application/geo+json", "method": m}
                for m in methods
            ),
        ],
    }


def item(url: str, number: int, taken: datetime, **changes: Any) -> dict[str, Any]:
    stamp = taken.strftime("%Y%m%dT%H%M%S")
    name = f"S2A_48SWE_{number:05d}_0_L2A"
    return {
        "type": "Feature",
        "stac_version": "1.0.0",
        "id": name,
        "collection": "sentinel-2-l2a",
        "geometry": {
            "type": "Polygon",
            "coordinates": [[[105, 35], [106, 35], [106, 36], [105, 36], [105, 35]]],
        },
        "properties": {
            "datetime": (taken + timedelta(minutes=6)).strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
            "s2:product_uri": f"S2A_MSIL2A_{stamp}_N0510_R061_T48SWE_{stamp}.SAFE",
            "s2:processing_baseline": "05.10",
            "grid:code": "MGRS-48SWE",
            "eo:cloud_cover": 12.5,
        },
        "links": [{"rel": "self", "href": f"{url}/stac/v1/collections/sentinel-2-l2a/items/{name}"}],
        "assets": {
            "red": {"href": f"{url}/files/{name}/B04.tif", "type": "image/tiff; application=geotiff"},
            "scl": {"href": f"{url}/files/{name}/SCL.tif", "type": "image/tiff; application=geotiff"},
        },
    } | changes


class Api:
    """Item search with pages: `next` links, numberMatched, and what a test makes of it."""

    def __init__(self, url: str, items: list[dict[str, Any]], *, overlap: int = 0, post: bool = True) -> None:
        self.url, self.items, self.overlap, self.post = url, items, overlap, post
        self.limits: list[int] = []
        self.bodies: list[dict[str, Any]] = []

    def __call__(self, asked: Asked) -> Answer:
        if asked.path.endswith("/search"):
            if asked.method == "POST" and not self.post:
                return Answer({"code": "Unavailable"}, 502)
            body = asked.json if asked.method == "POST" else dict(asked.query)
            return self._page(asked.method, body)
        if match := re.search(r"/items/(.+)$", asked.path):
            return Answer(next(i for i in self.items if i["id"] == match[1]))
        return Answer(landing(f"{self.url}/stac/v1"))

    def _page(self, method: str, body: dict[str, Any]) -> Answer:
        self.bodies.append(body)
        limit, at = int(body["limit"]), int(body.get("at", 0))
        self.limits.append(limit)
        low, high = (datetime.fromisoformat(t.replace("Z", "+00:00")) for t in body["datetime"].split("/"))
        rows = [i for i in self.items if low <= _taken(i) <= high]
        rows.sort(key=_taken, reverse=True)  # newest first, as most APIs do
        page = rows[at : at + limit]
        answer: dict[str, Any] = {"type": "FeatureCollection", "numberMatched": len(rows), "features": page}
        after = at + limit - self.overlap
        if at + limit < len(rows):
            link: dict[str, Any] = {"rel": "next", "method": method, "href": f"{self.url}/stac/v1/search"}
            if method == "POST":
                link["body"] = body | {"at": after}
            else:
                from urllib.parse import urlencode

                link["href"] += "?" + urlencode(body | {"at": after})
            answer["links"] = [link]
        return Answer(answer)


def _taken(row: dict[str, Any]) -> datetime:
    return datetime.fromisoformat(row["properties"]["datetime"].replace("Z", "+00:00"))


def archive(server: Loopback, transport: Transport, **options: Any) -> StacArchive:
    return StacArchive(transport, url=f"{server.url}/stac/v1", **options)


# ---- recorded answers
@pytest.mark.realdata
def test_recorded_earth_search(
    replay: Callable[[Path], Loopback], quick: Transport, shared_data: Path
) -> None:
    # given the recorded pages, whose links lead back to this server
    server = replay(shared_data / "api-answers" / "earth_search_vcr" / "test_multiple_collections.yaml")
    recorded = server.answer

    def answer(asked: Asked) -> Answer:
        if asked.method == "GET":
            return Answer(landing(f"{server.url}/v1"))
        found = recorded(asked)
        body = found.data().replace(b"https://earth-search.aws.element84.com", server.url.encode())
        return Answer(body, found.status)

    server.answer = answer
    query = Query("sentinel-2-l2a", "POINT (-105.1019 40.1672)", date(2023, 10, 8), date(2023, 10, 8))
    # when
    (product,) = StacArchive(quick, url=f"{server.url}/v1").search(query)
    # then the Landsat item of the recording is none of it
    assert product.id == product.name == "S2A_13TDE_20231008_0_L2A"
    assert (product.tile, product.baseline, product.orbit) == ("13TDE", "05.09", 141)
    assert product.sensed == datetime(2023, 10, 8, 17, 52, 31, tzinfo=UTC)  # the data take, not the granule
    assert product.cloud_cover == pytest.approx(0.000299)
    keys = [
        "B01",
        "B02",
        "B03",
        "B04",
        "B05",
        "B06",
        "B07",
        "B08",
        "B09",
        "B11",
        "B12",
        "B8A",
        "MTD_TL",
        "SCL",
        "item",
    ]
    assert [file.key for file in product.files] == keys
    folder = "https://sentinel-cogs.s3.us-west-2.amazonaws.com/sentinel-s2-l2a-cogs/13/T/DE/2023/10"
    by_key = {file.key: file for file in product.files}
    assert by_key["B8A"].href == f"{folder}/S2A_13TDE_20231008_0_L2A/B8A.tif"
    assert (by_key["B8A"].path, by_key["MTD_TL"].path) == ("B8A.tif", "MTD_TL.xml")
    assert by_key["item"].path == "item.json"
    assert product.properties["earthsearch:boa_offset_applied"] is True
    assert product.properties["raster:bands"]["B04"] == {"scale": 0.0001, "offset": -0.1, "nodata": 0}
    assert product.properties["raster:bands"]["SCL"] == {"nodata": 0}
    assert product.properties["view:sun_elevation"] == pytest.approx(42.6190810694869)
    assert product.properties["proj:epsg"] == 32613


@pytest.mark.realdata
def test_recorded_planetary_computer(shared_data: Path) -> None:
    folder = shared_data / "api-answers" / "planetary_computer"
    read = lambda name: json.loads((folder / name).read_text())  # noqa: E731
    # Sentinel-2
    product = product_of_item(read("sentinel-2-l2a-pc.json")[0], source="pc", collection="sentinel-2-l2a")
    assert product.id == "S2B_MSIL2A_20240419T095549_R122_T47XML_20240419T123458"
    assert (product.tile, product.baseline, product.orbit) == ("47XML", "05.10", 122)
    assert (product.direction, product.cloud_cover) == ("ascending", 0.219774)
    assert product.observation == ("S2B", "20240419T0955", "47XML")
    files = {file.key: file for file in product.files}
    assert files["B04"].href.endswith("/IMG_DATA/R10m/T47XML_20240419T095549_B04_10m.tif")
    assert files["SCL"].href.endswith("/IMG_DATA/R20m/T47XML_20240419T095549_SCL_20m.tif")
    assert files["MTD_MSIL2A"].href.endswith(".SAFE/MTD_MSIL2A.xml")
    assert files["MTD_TL"].href.endswith("/MTD_TL.xml")
    assert files["manifest"].path == "manifest.safe"
    # Sentinel-1, terrain corrected: sizes are told; 32 bare figures are no multihash
    radar = product_of_item(read("sentinel-1-rtc-pc.json")[0], source="pc", collection="sentinel-1-rtc")
    assert (radar.direction, radar.orbit, radar.tile, radar.baseline) == ("descending", 51, "", "")
    assert radar.sensed == datetime(2024, 4, 19, 4, 59, 4, tzinfo=UTC)
    assert [(f.key, f.path, f.size, dict(f.checksums)) for f in radar.files if f.key != "item"] == [
        ("vh", "vh.tif", 838784900, {}),
        ("vv", "vv.tif", 840640984, {}),
    ]
    assert radar.size == 838784900 + 840640984
    # elevation
    dem = product_of_item(read("cop-dem-glo-30-pc.json")[0], source="pc", collection="cop-dem-glo-30")
    assert [(f.key, f.path) for f in dem.files] == [("DEM", "DEM.tif"), ("item", "item.json")]
    assert (dem.tile, dem.group) == ("S90W180", "S90W180")
    # a bucket that bills nobody
    moved = {"data": {"href": f"s3://copernicus-dem-30m/{dem.name}/{dem.name}.tif"}}
    dem = product_of_item(
        read("cop-dem-glo-30-pc.json")[0] | {"assets": moved}, source="es", collection="cop-dem-glo-30"
    )
    address = f"https://copernicus-dem-30m.s3.eu-central-1.amazonaws.com/{dem.name}/{dem.name}.tif"
    assert dem.files[0].href == address


@pytest.mark.realdata
def test_items_of_other_makers(shared_data: Path) -> None:
    folder = shared_data / "api-answers"
    old = json.loads((folder / "stac_items_odc" / "S2A_28QCH_20200714_0_L2A.json").read_text())
    product = product_of_item(old, source="x", collection="sentinel-2-l2a")
    assert (product.tile, product.baseline, product.orbit) == ("28QCH", "02.14", 123)
    assert {f.key for f in product.files} >= {"B02", "B8A", "SCL"}
    name = "S2A_MSIL2A_20230625T234621_N0509_R073_T01WCP_20230626T022157.json"
    local = json.loads((folder / "stactools_sentinel2_expected_items" / name).read_text())
    local["links"] = [{"rel": "self", "href": "https://a.example/S2/item.json"}]
    product = product_of_item(local, source="x", collection="sentinel-2-l2a")
    assert (product.tile, product.baseline, product.direction) == ("01WCP", "05.09", "descending")
    hrefs = {f.key: f.href for f in product.files}
    assert hrefs["B04"].startswith("https://a.example/S2/GRANULE/")
    assert hrefs["B04"].endswith("/R10m/T01WCP_20230625T234621_B04_10m.jp2")
    assert hrefs["B12"].endswith("/R20m/T01WCP_20230625T234621_B12_20m.jp2")


def test_bands_are_found_by_what_they_hold() -> None:
    row = item("https://a.example", 1, datetime(2024, 6, 1, 3, tzinfo=UTC))
    tif, red = {"type": "image/tiff"}, [{"common_name": "red"}]
    multihash = "d50110" + "ab" * 16
    row["assets"] = {
        "rot_20m": {"href": "https://a.example/r20.tif", "gsd": 20, "eo:bands": red, **tif},
        "rot": {"href": "https://a.example/r10.tif", "gsd": 10, "eo:bands": red, **tif},
        "kante": {"href": "https://a.example/e.tif", "eo:bands": [{"common_name": "rededge"}], **tif},
        "farbe": {"href": "https://a.example/v.tif", "eo:bands": [{"name": "B04"}, {"name": "B03"}], **tif},
        "nir": {"href": "https://a.example/n.tif", "bands": [{"name": "B8A"}], **tif},
        "swir16": {"href": "s3://bills/the/reader.tif", **tif},
        "blue": {"href": "https://a.example/b.tif", "file:size": 9, "file:checksum": multihash, **tif},
    }  # fmt: skip
    product = product_of_item(row, source="x", collection="sentinel-2-l2a")
    found = {f.key: f for f in product.files}
    assert {key: f.href.rsplit("/", 1)[1] for key, f in found.items() if key != "item"} == {
        "B02": "b.tif", "B04": "r10.tif", "B8A": "n.tif",
    }  # fmt: skip
    assert (found["B02"].size, dict(found["B02"].checksums)) == (9, {"md5": "ab" * 16})
    with pytest.raises(ArchiveError, match="without 'id'"):
        product_of_item({"properties": {}}, source="x", collection="sentinel-2-l2a")


# ---- search
def test_250_items_come_in_order_and_once(server: Loopback, quick: Transport) -> None:
    # given pages that overlap by three
    first = datetime(2024, 6, 1, 3, tzinfo=UTC)
    items = [item(server.url, n, first + timedelta(hours=n)) for n in range(250)]
    api = server.answer = Api(server.url, items, overlap=3)
    # when a page of 500 is asked for
    found = list(archive(server, quick, page=500).search(QUERY))
    # then
    assert [p.id for p in found] == [i["id"] for i in items]
    assert set(api.limits) == {100}
    assert api.bodies[0]["datetime"] == "2024-06-01T00:00:00.000Z/2024-07-01T00:30:00.000Z"
    assert api.bodies[0]["intersects"]["coordinates"][0][0] == [105.0, 35.0]


def test_granule_after_midnight_belongs_to_the_day_of_its_data_take(
    server: Loopback, quick: Transport
) -> None:
    # given a data take that starts at 23:58 on the last day asked for; its granule has the next day's date
    row = item(server.url, 1, datetime(2024, 6, 30, 23, 58, tzinfo=UTC))
    assert row["properties"]["datetime"].startswith("2024-07-01T00:04")
    server.answer = Api(server.url, [row])
    source = archive(server, quick)
    # then it is found once
    assert [p.sensed.day for p in source.search(QUERY)] == [30]
    july = Query("sentinel-2-l2a", SQUARE, date(2024, 7, 1), date(2024, 7, 31))
    assert list(source.search(july)) == []
    both = Query("sentinel-2-l2a", SQUARE, date(2024, 6, 1), date(2024, 7, 31))
    assert len(list(source.search(both))) == 1


def test_search_falls_back_to_get(server: Loopback, quick: Transport) -> None:
    first = datetime(2024, 6, 1, 3, tzinfo=UTC)
    items = [item(server.url, n, first + timedelta(days=n)) for n in range(5)]
    server.answer = Api(server.url, items, post=False)
    source = archive(server, quick, page=2)
    assert len(list(source.search(QUERY))) == 5
    posts = sum(asked.method == "POST" for asked in server.asked)
    assert len(list(source.search(QUERY))) == 5
    assert sum(asked.method == "POST" for asked in server.asked) == posts  # it remembers


def test_clouds_tiles_and_place_are_looked_at_again(server: Loopback, quick: Transport) -> None:
    first = datetime(2024, 6, 1, 3, tzinfo=UTC)
    rows = [item(server.url, n, first + timedelta(days=n)) for n in range(4)]
    rows[1]["properties"]["eo:cloud_cover"] = 99.0
    rows[2]["properties"]["grid:code"] = "MGRS-48SXE"
    rows[3]["geometry"] = {"type": "Point", "coordinates": [0, 0]}
    api = server.answer = Api(server.url, rows)
    query = Query("sentinel-2-l2a", SQUARE, date(2024, 6, 1), date(2024, 6, 30), ("48SWE",), 50.0)
    assert [p.id for p in archive(server, quick).search(query)] == [rows[0]["id"]]
    assert api.bodies[0]["query"] == {"eo:cloud_cover": {"lte": 50.0}}


def test_api_that_keeps_items_back_or_is_none(server: Loopback, quick: Transport) -> None:
    first = datetime(2024, 6, 1, 3, tzinfo=UTC)
    api = Api(server.url, [item(server.url, 1, first)])

    def short(asked: Asked) -> Answer:
        answer = api(asked)
        if asked.path.endswith("/search"):
            answer.body["numberMatched"] = 3
        return answer

    server.answer = short
    with pytest.raises(ArchiveError, match="tells of 3 items and delivers 1"):
        list(archive(server, quick).search(QUERY))
    server.answer = lambda asked: Answer({"hello": "world"})
    with pytest.raises(ArchiveError, match="is no STAC API"):
        list(archive(server, quick).search(QUERY))
    server.answer = lambda asked: Answer(b"<html>sign in</html>")
    with pytest.raises(ArchiveError, match="is no STAC API"):
        list(archive(server, quick).search(QUERY))


def test_pages_without_end_are_left(server: Loopback, quick: Transport) -> None:
    page = {
        "type": "FeatureCollection",
        "features": [item(server.url, 1, datetime(2024, 6, 1, 3, tzinfo=UTC))],
        "links": [{"rel": "next", "method": "GET", "href": f"{server.url}/stac/v1/search"}],
    }
    server.answer = lambda asked: Answer(
        page if asked.path.endswith("search") else landing(f"{server.url}/stac/v1")
    )
    with pytest.raises(ArchiveError, match="without end"):
        list(archive(server, quick).search(QUERY))


def test_what_a_preset_has_not(quick: Transport) -> None:
    query = Query("sentinel-1-rtc", SQUARE, date(2024, 6, 1), date(2024, 6, 2))
    with pytest.raises(ArchiveError, match="has no sentinel-1-rtc"):
        StacArchive(quick, preset="earth-search").search(query)
    with pytest.raises(ArchiveError, match="set \\[source\\] url"):
        StacArchive(quick, preset="stac")


# ---- files
def test_item_is_a_file_with_the_same_bytes_each_time(
    server: Loopback, quick: Transport, tmp_path: Path
) -> None:
    row = item(server.url, 1, datetime(2024, 6, 1, 3, tzinfo=UTC))
    server.answer = Api(server.url, [row])
    source = archive(server, quick)
    (product,) = source.search(QUERY)
    (file,) = source.files(product, ("item",))
    source.fetch(file, tmp_path / "item.json")
    first = (tmp_path / "item.json").read_bytes()
    assert json.loads(first) == row
    source.fetch(file, tmp_path / "item.json")
    assert (tmp_path / "item.json").read_bytes() == first
    assert [p.name for p in tmp_path.iterdir()] == ["item.json"]
    # a product that comes out of a ledger, without its files
    bare = replace(product, files=())
    assert source.files(bare, ("SCL", "item")) == source.files(product, ("SCL", "item"))
    with pytest.raises(ArchiveError, match="has no file B8A; it has B04, SCL, item"):
        source.files(product, ("SCL", "B8A"))


def test_token_goes_to_the_api_only(
    server: Loopback, quick: Transport, raster: bytes, tmp_path: Path
) -> None:
    row = item(server.url, 1, datetime(2024, 6, 1, 3, tzinfo=UTC))
    api = Api(server.url, [row])
    server.answer = lambda asked: api(asked) if "/stac/" in asked.path else Answer(raster)
    port = server.url.rsplit(":", 1)[1]
    source = archive(server, quick, auth=Bearer("mine", ("127.0.0.1:1",)))
    (product,) = source.search(QUERY)
    source.fetch(source.files(product, ("SCL",))[0], tmp_path / "SCL.tif")
    assert all("Authorization" not in asked.headers for asked in server.asked)
    source = archive(server, quick, auth=Bearer("mine", (f"127.0.0.1:{port}",)))
    list(source.search(QUERY))
    assert server.asked[-1].headers["Authorization"] == "Bearer mine"


@pytest.fixture
def raster(tmp_path: Path) -> bytes:
    path = tmp_path / "made.tif"
    options = {"driver": "COG", "dtype": "uint16", "count": 1, "crs": "EPSG:32648", "blocksize": 128}
    with rasterio.open(
        path, "w", width=512, height=512, transform=from_origin(399960, 3900000, 10, 10), **options
    ) as out:
        out.write(np.arange(512 * 512, dtype="uint16").reshape(1, 512, 512))
    return path.read_bytes()


class Signing:
    """Planetary Computer's storage and signing service: signatures end when the test says so."""

    def __init__(self, url: str, data: bytes, *, life_s: float = 3600.0) -> None:
        self.url, self.data, self.life_s = url, data, life_s
        self.good, self.signed = 0, 0

    def __call__(self, asked: Asked) -> Answer:
        if asked.path == "/api/sas/v1/sign":
            self.signed += 1
            self.good = self.signed
            until = datetime.now(UTC) + timedelta(seconds=self.life_s)
            href = f"{asked.query['href']}?st=2024&sp=rl&sig=s{self.signed}%2B"
            return Answer({"msft:expiry": until.strftime("%Y-%m-%dT%H:%M:%S.%fZ"), "href": href})
        if asked.query.get("sig") != f"s{self.good}+":
            return Answer(b"<Error>AuthenticationFailed</Error>", 403)
        return Answer(self.data)


def signed_archive(server: Loopback, transport: Transport) -> StacArchive:
    sas = SasTokens(transport, f"{server.url}/api/sas/v1", hosts=("127.0.0.1",))
    return StacArchive(transport, preset="planetary-computer", url=f"{server.url}/stac/v1", sas=sas)


def test_the_path_of_a_window_names_its_source_and_holds_no_signature(
    server: Loopback, quick: Transport, raster: bytes
) -> None:
    service = server.answer = Signing(server.url, raster)
    source = signed_archive(server, quick)
    product = product_of_item(
        item(server.url, 1, datetime(2024, 6, 1, 3, tzinfo=UTC)), source="pc", collection="sentinel-2-l2a"
    )
    (file,) = source.files(product, ("B04",))
    assert source.open(file) == f"{file.href}#planetary-computer={server.url}/stac/v1"
    assert service.signed == 0
    with pytest.raises(ArchiveError, match="is no web address"):
        source.open(replace(file, href="s3://bucket/B04.tif"))


def test_signature_that_ended_is_made_anew_once(
    server: Loopback, quick: Transport, raster: bytes, tmp_path: Path
) -> None:
    service = server.answer = Signing(server.url, raster)
    source = signed_archive(server, quick)
    product = product_of_item(
        item(server.url, 1, datetime(2024, 6, 1, 3, tzinfo=UTC)), source="pc", collection="sentinel-2-l2a"
    )
    (file,) = source.files(product, ("B04",))
    source.fetch(file, tmp_path / "one.tif")
    service.good = -1  # whatever was signed is refused now
    source.fetch(file, tmp_path / "two.tif")
    assert (tmp_path / "two.tif").read_bytes() == raster
    assert service.signed == 2
    # an account that may not read at all is told so, and not asked for ever
    server.answer = lambda asked: service(asked) if "sas" in asked.path else Answer(b"no", 403)
    with pytest.raises(ArchiveError, match="403") as error:
        source.fetch(file, tmp_path / "three.tif")
    assert "sig=s" not in str(error.value)
    assert service.signed == 3


def test_short_signatures_are_renewed_before_they_end(server: Loopback, quick: Transport) -> None:
    service = server.answer = Signing(server.url, b"", life_s=1.0)
    tokens = SasTokens(quick, f"{server.url}/api/sas/v1", hosts=("127.0.0.1",))
    signed = [tokens.sign(f"{server.url}/a.tif") for _ in range(2)]
    assert signed[0] == signed[1]
    time.sleep(0.85)  # of its second 0.8 may be used
    assert tokens.sign(f"{server.url}/a.tif") != signed[0]
    assert service.signed == 2


def test_one_token_serves_a_container(server: Loopback, quick: Transport) -> None:
    # given the account's token service
    until = (datetime.now(UTC) + timedelta(hours=1)).strftime("%Y-%m-%dT%H:%M:%SZ")
    server.answer = lambda asked: Answer({"msft:expiry": until, "token": f"se=1&sig={len(server.asked)}"})
    tokens = SasTokens(quick, f"{server.url}/api/sas/v1", key="mine")
    blob = "https://sentinel2l2a01.blob.core.windows.net/sentinel2-l2/48/S/WE"
    # when eight threads ask at once
    with ThreadPoolExecutor(8) as pool:
        signed = list(pool.map(tokens.sign, [f"{blob}/{name}.tif" for name in ("B02", "B03") * 4]))[:2]
    # then
    assert signed == [f"{blob}/B02.tif?se=1&sig=1", f"{blob}/B03.tif?se=1&sig=1"]
    assert server.paths() == ["/api/sas/v1/token/sentinel2l2a01/sentinel2-l2"]
    assert server.asked[0].headers["Ocp-Apim-Subscription-Key"] == "mine"
    assert tokens.sign(signed[0]) == signed[0]
    assert tokens.sign("https://elsewhere.example/a.tif") == "https://elsewhere.example/a.tif"
    other = "https://elevationeuwest.blob.core.windows.net/copernicus-dem/a.tif"
    assert tokens.sign(other).endswith("sig=2")
    # and what needs an account is told so
    server.answer = lambda asked: Answer({"detail": "subscription key required"}, 401)
    with pytest.raises(ArchiveError, match="EO_PC_SUBSCRIPTION_KEY"):
        tokens.sign("https://sentinel1euwestrtc.blob.core.windows.net/sentinel1-grd-rtc/a.tif")


# ---- CDSE by STAC
def test_cdse_searched_by_stac_gives_products_of_odata(server: Loopback, quick: Transport) -> None:
    # given an item as CDSE writes it
    name = "S2B_MSIL2A_20240606T033539_N0510_R061_T48SWE_20240606T072222"
    place = f"s3://eodata/Sentinel-2/MSI/L2A/2024/06/06/{name}.SAFE"
    nodes = f"https://zipper.example/odata/v1/Products(0b6c3e8a-1)/Nodes({name}.SAFE)"

    def asset(path: str) -> dict[str, Any]:
        inner = "".join(f"/Nodes({part})" for part in path.split("/"))
        return {
            "href": f"{place}/{path}",
            "type": "image/jp2" if path.endswith("jp2") else "application/xml",
            "file:size": 77,
            "file:checksum": "d50110" + "0f" * 16,
            "raster:offset": -0.1,
            "alternate": {"https": {"href": f"{nodes}{inner}/$value"}},
        }

    granule = "GRANULE/L2A_T48SWE_A037000_20240606T034018"
    row = item(server.url, 1, datetime(2024, 6, 6, 3, 35, 39, tzinfo=UTC), id=name)
    row["properties"] |= {"processing:version": "05.10", "sat:relative_orbit": 61}
    del row["properties"]["s2:product_uri"]
    row["assets"] = {
        "B04_10m": asset(f"{granule}/IMG_DATA/R10m/T48SWE_20240606T033539_B04_10m.jp2"),
        "B04_20m": asset(f"{granule}/IMG_DATA/R20m/T48SWE_20240606T033539_B04_20m.jp2"),
        "SCL_20m": asset(f"{granule}/IMG_DATA/R20m/T48SWE_20240606T033539_SCL_20m.jp2"),
        "product_metadata": asset("MTD_MSIL2A.xml"),
    }
    server.answer = Api(server.url, [row])
    # when
    source = CdseArchive(quick, addresses=CdseAddresses.below(server.url), search_by="stac")
    (product,) = source.search(QUERY)
    # then
    assert (product.id, product.name) == ("0b6c3e8a-1", f"{name}.SAFE")
    assert (product.baseline, product.orbit, product.tile) == ("05.10", 61, "48SWE")
    assert product.properties["S3Path"] == f"/eodata/Sentinel-2/MSI/L2A/2024/06/06/{name}.SAFE"
    b04, scl, metadata = source.files(product, ("B04", "SCL", "MTD_MSIL2A"))
    assert b04.path == f"{granule}/IMG_DATA/R10m/T48SWE_20240606T033539_B04_10m.jp2"
    assert scl.path.endswith("/R20m/T48SWE_20240606T033539_SCL_20m.jp2")
    assert metadata.href == (
        f"{server.url}/odata/v1/Products(0b6c3e8a-1)/Nodes({name}.SAFE)/Nodes(MTD_MSIL2A.xml)/$value"
    )
    assert metadata.path == "MTD_MSIL2A.xml"
    assert (b04.size, dict(b04.checksums)) == (77, {"md5": "0f" * 16})
    # the whole weighs more than what the item lists
    assert source.files(product, ("product",))[0].size is None


def test_check(server: Loopback, quick: Transport) -> None:
    server.answer = lambda asked: Answer(landing(f"{server.url}/stac/v1"))
    health = archive(server, quick).check()
    assert (health.reachable, health.message) == (True, "answers as “Loopback API”")
    server.answer = lambda asked: Answer(status=500)
    assert archive(server, quick).check().reachable is False
