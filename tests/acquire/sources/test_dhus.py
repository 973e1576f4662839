"""The DHuS archive against recorded answers of a real one, and a small one on loopback."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from source_server import Answer, Asked, Loopback, recorded

from eo_pipeline.acquire.auth import Basic
from eo_pipeline.acquire.products import Product, Query
from eo_pipeline.acquire.sources.dhus import DhusArchive, product_of_row
from eo_pipeline.acquire.transport import Transport
from eo_pipeline.errors import ArchiveError

SQUARE = "POLYGON ((105 35, 106 35, 106 36, 105 36, 105 35))"
QUERY = Query("sentinel-2-l2a", SQUARE, date(2024, 6, 1), date(2024, 6, 30))
AMAZON = "POLYGON ((-66.2695 -8.0592, -66.2695 0.7031, -57.3047 0.7031, -57.3047 -8.0592, -66.2695 -8.0592))"
NAME = "S2A_MSIL2A_20240601T033541_N0510_R061_T48SWE_20240601T081234"
UUID = "bf652bc4-299c-4c39-9238-ee5a3fdc0d3e"


def archive(server: Loopback, transport: Transport, **options: Any) -> DhusArchive:
    return DhusArchive(transport, url=f"{server.url}/apihub", **options)


# ---- recorded answers
@pytest.mark.realdata
def test_recorded_search(replay: Callable[[Path], Loopback], quick: Transport, shared_data: Path) -> None:
    # given the answer to a search of December 2018 with 10 % cloud at most
    server = replay(shared_data / "api-answers" / "dhus_vcr" / "test_s2_cloudcover.yaml")
    query = Query("sentinel-2-l2a", AMAZON, date(2018, 12, 12), date(2018, 12, 28), max_cloud=10.0)
    source = archive(server, quick, details=False)
    # when
    found = list(source.search(query))
    # then of five only one is L2A
    assert [(p.id, p.tile, p.cloud_cover) for p in found] == [
        ("b508a8cd-c7d6-4a4d-9286-6d9463926554", "20MRV", 0.0)
    ]
    assert found[0].name == "S2A_MSIL2A_20181217T142741_N0211_R053_T20MRV_20181217T164546.SAFE"
    assert (found[0].baseline, found[0].orbit, found[0].direction) == ("02.11", 53, "descending")
    assert (found[0].size, dict(found[0].checksums)) == (None, {})
    assert found[0].footprint.startswith("POLYGON ((-60.293915 -4.518322782233481,")
    asked = server.asked[0].query
    assert asked["orderby"] == "beginposition asc"
    assert 'platformname:"Sentinel-2"' in asked["q"] or "platformname:Sentinel-2" in asked["q"]
    assert "cloudcoverpercentage:[0 TO 10.0]" in asked["q"].replace('"', "")
    assert "beginPosition:[2018-12-12T00:00:00Z TO 2018-12-29T00:00:00Z]" in asked["q"].replace('"', "")


@pytest.mark.realdata
def test_recorded_page_of_100(
    replay: Callable[[Path], Loopback], quick: Transport, shared_data: Path
) -> None:
    # given 100 products of 2015: 89 of Sentinel-2 before there was an L2A, 11 of Sentinel-1
    server = replay(shared_data / "api-answers" / "dhus_vcr" / "products_fixture.yaml")
    query = Query("sentinel-2-l2a", AMAZON, date(2015, 12, 19), date(2015, 12, 28))
    source = archive(server, quick, details=False)
    # when
    assert list(source.search(query)) == []
    rows = source._api.query(platformname="Sentinel-2")
    found = [product_of_row(r, source="dhus", collection="sentinel-2-l2a") for r in rows.values()]
    # then
    assert len(found) == 100
    product = next(p for p in found if p.id == "bd1204f7-71ba-4b67-a5f4-df16fbb10138")
    assert (product.tile, product.baseline, product.orbit) == ("20MNC", "02.01", 53)
    assert product.sensed == datetime(2015, 12, 23, 14, 29, 42, 30000, tzinfo=UTC)
    assert product.cloud_cover == pytest.approx(34.0)


@pytest.mark.realdata
def test_recorded_wrong_credentials(
    replay: Callable[[Path], Loopback], quick: Transport, shared_data: Path
) -> None:
    server = replay(shared_data / "api-answers" / "dhus_vcr" / "test_SentinelAPI_wrong_credentials.yaml")
    source = archive(server, quick, auth=Basic("user", "hidden-word", ("127.0.0.1",)))
    with pytest.raises(ArchiveError, match="EO_DHUS_USERNAME") as error:
        list(source.search(QUERY))
    assert "hidden-word" not in str(error.value)
    assert server.asked[0].headers["Authorization"].startswith("Basic ")
    assert source.check().reachable is False


@pytest.mark.realdata
def test_recorded_invalid_query_and_unknown_product(
    replay: Callable[[Path], Loopback], quick: Transport, shared_data: Path, tmp_path: Path
) -> None:
    folder = shared_data / "api-answers" / "dhus_vcr"
    server = replay(folder / "test_invalid_query.yaml")
    with pytest.raises(ArchiveError, match="undefined field xxx"):
        list(archive(server, quick).search(QUERY))
    # the answer to an id that does not exist
    missing = yaml.safe_load((folder / "test_is_online.yaml").read_text())["interactions"][0]["response"]
    server.answer = lambda asked: recorded(missing)
    with pytest.raises(ArchiveError, match="Invalid key"):
        archive(server, quick).fetch(file_of(server), tmp_path / "x")


@pytest.mark.realdata
def test_recorded_offline_product(
    replay: Callable[[Path], Loopback], quick: Transport, shared_data: Path, tmp_path: Path
) -> None:
    # given a product whose description says it is not online
    server = replay(shared_data / "api-answers" / "dhus_vcr" / "test_get_product_odata_full.yaml")
    source = archive(server, quick)
    product = source._detailed(product_of_row(row(0), source="dhus", collection="sentinel-2-l2a"))
    # then
    assert not product.online
    assert (product.size, dict(product.checksums)) == (700011, {"md5": "098645497fa5ab932ed2df98426e5b58"})
    with pytest.raises(ArchiveError, match="is offline"):
        source.files(product, ("SCL",))
    with pytest.raises(ArchiveError, match="is offline"):
        source.fetch(file_of(server, "11af8bd9-24d0-4401-9789-b7b73786e122"), tmp_path / "x.jp2")
    assert list(tmp_path.iterdir()) == []


def file_of(server: Loopback, product_id: str = UUID) -> Any:
    from eo_pipeline.acquire.products import RemoteFile

    return RemoteFile(
        "SCL", "x.jp2", f"{server.url}/apihub/odata/v1/Products('{product_id}')/Nodes('x')/$value"
    )


# ---- a DHuS on loopback
def row(number: int, **changes: Any) -> dict[str, Any]:
    begin = datetime(2024, 6, 1, 3, 35, 41, tzinfo=UTC) + timedelta(hours=number)
    identifier = f"S2A_MSIL2A_{begin:%Y%m%dT%H%M%S}_N0510_R061_T48SWE_20240601T{number:06d}"
    product_id = "11af8bd9-24d0-4401-9789-b7b73786e122" if number == 0 else f"id-{number:04d}"
    return {
        "identifier": identifier,
        "uuid": product_id,
        "beginposition": begin.replace(tzinfo=None),
    } | changes


class Dhus:
    """OpenSearch with 100 rows a page, OData with products and nodes, and its long-term archive."""

    def __init__(self, count: int, *, lost: int = 0) -> None:
        self.rows = [row(n) for n in range(count)]
        self.lost = lost
        self.offline: set[str] = set()
        self.quota = False
        self.content = {"MTD_MSIL2A.xml": b"<xml/>", "T48SWE_20240601T033541_SCL_20m.jp2": b"S" * 70_000}

    def __call__(self, asked: Asked) -> Answer:
        if asked.path == "/apihub/search":
            return self._search(asked)
        if match := re.fullmatch(r"/apihub/odata/v1/Products\('([^']+)'\)(.*)", asked.path):
            return self._odata(match[1], match[2])
        return Answer(status=404)

    def _search(self, asked: Asked) -> Answer:
        low, high = re.search(r'beginPosition:\["?(\S+?)"? TO "?(\S+?)"?\]', asked.query["q"]).groups()  # type: ignore[union-attr]
        low, high = (datetime.fromisoformat(t.rstrip("Z")) for t in (low, high))
        rows = [r for r in self.rows if low <= r["beginposition"] <= high]
        start, size = int(asked.query["start"]), int(asked.query["rows"])
        page = rows[start : start + size]
        if start and self.lost:  # a page border shows one product twice
            page = [rows[start - 1], *page[:-1]]
        entries: Any = [_entry(r) for r in page]
        feed: dict[str, Any] = {"opensearch:totalResults": str(len(rows))}
        if entries:
            feed["entry"] = entries if len(entries) > 1 else entries[0]  # of one it makes no list
        return Answer({"feed": feed})

    def _odata(self, product_id: str, rest: str) -> Answer:
        online = product_id not in self.offline
        nodes = re.findall(r"Nodes\('([^']+)'\)", rest)
        if not rest:
            facts: dict[str, Any] = {"Id": product_id, "ContentLength": "0", "Online": online}
            if product_id != "id-0001":  # the second has no checksum at all
                facts["Checksum"] = {"Algorithm": "MD5", "Value": "0f" * 16}
            return Answer({"d": facts})
        if rest.endswith("/$value"):
            if not online:
                return Answer(b"<html>retrieval triggered</html>", 202)
            if self.quota:
                return Answer(b"Maximum number of 2 concurrent flows achieved by the user", 403)
            return Answer(self.content[nodes[-1]])
        folders: dict[tuple[str, ...], list[tuple[str, int]]] = {
            (): [("MTD_MSIL2A.xml", 6), ("GRANULE", 0)],
            ("GRANULE",): [("L2A_T48SWE_A1", 0)],
            ("GRANULE", "L2A_T48SWE_A1", "IMG_DATA", "R20m"): [
                ("T48SWE_20240601T033541_SCL_20m.jp2", 70_000)
            ],
        }
        rows = folders[tuple(nodes[1:])]
        return Answer({"d": {"results": [{"Name": n, "ContentLength": str(s)} for n, s in rows]}})


def _entry(r: dict[str, Any]) -> dict[str, Any]:
    begin = r["beginposition"].strftime("%Y-%m-%dT%H:%M:%S.024Z")
    return {
        "id": r["uuid"],
        "title": r["identifier"],
        "link": [{"href": "http://elsewhere.example/x"}],
        "date": [{"name": "beginposition", "content": begin}],
        "str": [  # no gmlfootprint
            {"name": "identifier", "content": r["identifier"]},
            {"name": "uuid", "content": r["uuid"]},
            {"name": "footprint", "content": SQUARE},
            {"name": "size", "content": "1.05 GB"},
        ],
        "double": {"name": "cloudcoverpercentage", "content": "34.0"},
    }


def test_pages_details_and_missing_checksum(server: Loopback, quick: Transport) -> None:
    dhus = server.answer = Dhus(3)
    dhus.offline = {"id-0002"}
    found = list(archive(server, quick).search(QUERY))
    assert [(p.id, p.online, dict(p.checksums), p.size) for p in found] == [
        ("11af8bd9-24d0-4401-9789-b7b73786e122", True, {"md5": "0f" * 16}, None),
        ("id-0001", True, {}, None),
        ("id-0002", False, {"md5": "0f" * 16}, None),
    ]
    assert found[0].footprint == SQUARE


def test_one_product_is_no_list_there(server: Loopback, quick: Transport) -> None:
    server.answer = Dhus(1)
    assert len(list(archive(server, quick, details=False).search(QUERY))) == 1


@pytest.mark.parametrize("lost", [0, 1])
def test_250_products_whole_and_in_order(server: Loopback, quick: Transport, lost: int) -> None:
    server.answer = Dhus(250, lost=lost)
    found = list(archive(server, quick, details=False).search(QUERY))
    assert len(found) == 250
    assert [p.sensed for p in found] == sorted(p.sensed for p in found)


def test_nodes_and_bytes(server: Loopback, quick: Transport, tmp_path: Path) -> None:
    # given
    dhus = server.answer = Dhus(1)
    source = archive(server, quick)
    product = Product(
        "dhus", UUID, f"{NAME}.SAFE", "sentinel-2-l2a", "48SWE", datetime(2024, 6, 1, tzinfo=UTC), SQUARE
    )
    # when
    scl, metadata, whole = source.files(product, ("SCL", "MTD_MSIL2A", "product"))
    source.fetch(scl, tmp_path / "SCL.jp2")
    # then names stand in quotes, unlike at CDSE
    root = f"{server.url}/apihub/odata/v1/Products('{UUID}')"
    assert metadata.href == f"{root}/Nodes('{NAME}.SAFE')/Nodes('MTD_MSIL2A.xml')/$value"
    assert (whole.href, whole.path) == (f"{root}/$value", f"{NAME}.zip")
    assert (scl.size, scl.path) == (
        70_000, "GRANULE/L2A_T48SWE_A1/IMG_DATA/R20m/T48SWE_20240601T033541_SCL_20m.jp2",
    )  # fmt: skip
    content = (tmp_path / "SCL.jp2").read_bytes()
    assert hashlib.md5(content).hexdigest() == hashlib.md5(b"S" * 70_000).hexdigest()
    # when the account has its flows in use
    dhus.quota = True
    with pytest.raises(ArchiveError, match="concurrent flows"):
        source.fetch(metadata, tmp_path / "MTD.xml")
    # when the product went offline meanwhile, its 202 does not become the file
    dhus.quota, dhus.offline = False, {UUID}
    with pytest.raises(ArchiveError, match="offline"):
        source.fetch(metadata, tmp_path / "MTD.xml")
    assert not (tmp_path / "MTD.xml").exists()
    # even where it was online a moment ago and its size is unknown
    dhus.offline = set()
    source.fetch(metadata, tmp_path / "MTD.xml")
    dhus.offline = {UUID}
    with pytest.raises(ArchiveError, match="offline"):
        source.fetch(whole, tmp_path / "whole.zip")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["MTD.xml", "SCL.jp2"]


def test_no_dhus_at_all(server: Loopback, quick: Transport) -> None:
    server.answer = lambda asked: Answer(b"<html>moved</html>")
    with pytest.raises(ArchiveError, match="does not answer as a DHuS does"):
        list(archive(server, quick).search(QUERY))
    with pytest.raises(ArchiveError, match="no web address"):
        DhusArchive(quick, url="dhus.example")
    with pytest.raises(ArchiveError, match="serves whole files"):
        archive(server, quick).open(file_of(server))


def test_check(server: Loopback, quick: Transport) -> None:
    def count(asked: Asked) -> Answer:
        assert asked.query["rows"] == "0"
        return Answer({"feed": {"opensearch:totalResults": "1234"}})

    server.answer = count
    health = archive(server, quick).check()
    assert (health.reachable, health.message) == (True, "answers; 1234 products of Sentinel-2")
