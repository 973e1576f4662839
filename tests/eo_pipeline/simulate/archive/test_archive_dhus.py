"""The archive as a DHuS, asked by the real sentinelsat."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import pytest
import requests
from sentinelsat import SentinelAPI, make_path_filter
from sentinelsat.exceptions import InvalidKeyError, LTATriggered, QuerySyntaxError, UnauthorizedError

from eo_pipeline.simulate.archive import Archive, Faults, Scripted, serve

HERE = "POLYGON((105.6 35.2,105.7 35.2,105.7 35.3,105.6 35.3,105.6 35.2))"


def client(archive: Archive, password: str = "demo") -> SentinelAPI:
    return SentinelAPI("demo", password, f"{archive.url}/dhus", show_progressbars=False)


@pytest.fixture(scope="module")
def api(archive: Archive) -> Iterator[SentinelAPI]:
    yield client(archive)


def titles(found: dict[str, dict[str, Any]]) -> set[str]:
    return {row["title"] + ".SAFE" for row in found.values()}


def test_queries_find_what_they_ask_for(api: SentinelAPI, names: list[str]) -> None:
    every = api.query(HERE, platformname="Sentinel-2", producttype="S2MSI2A")
    assert titles(every) == set(names) and api.count(HERE, platformname="Sentinel-2") == len(names)
    assert api.count("POLYGON((0 0,1 0,1 1,0 1,0 0))") == 0
    year = api.query(date=("20220101", date(2022, 12, 31)), platformname="Sentinel-2")
    assert titles(year) == {name for name in names if name[11:15] == "2022"}
    clear = api.query(platformname="Sentinel-2", cloudcoverpercentage=(0, 5))
    assert titles(clear) == {
        row["title"] + ".SAFE" for row in every.values() if row["cloudcoverpercentage"] <= 5
    }
    assert 0 < len(clear) < len(every)
    orbits = api.query(raw="relativeorbitnumber:18 AND NOT tileid:48SWE")
    assert titles(orbits) == {n for n in names if "_R018_" in n and "_T48SWE_" not in n}
    assert titles(api.query(raw=f"filename:{names[0][:30]}*")) == {
        n for n in names if n[:30] == names[0][:30]
    }
    assert titles(api.query(identifier={names[0][:-5], names[1][:-5]})) == {*names[:2]}
    radar = api.query(producttype="GRD")  # a single entry is no list there
    assert len(radar) == 1
    rising = api.query(platformname="Sentinel-2", order_by="+beginposition", limit=4)
    assert [row["title"][11:26] for row in rising.values()] == [name[11:26] for name in names[:4]]


def test_pages_are_read_to_the_end(archive: Archive, names: list[str]) -> None:
    api = client(archive)
    api.page_size = 7
    assert titles(api.query(platformname="Sentinel-2", order_by="beginposition")) == set(names)


def test_a_query_or_key_that_is_none_is_told(api: SentinelAPI, archive: Archive) -> None:
    with pytest.raises(QuerySyntaxError, match="undefined field xxx"):
        api.query(raw="xxx:yyy")
    with pytest.raises(InvalidKeyError, match="to access Products"):
        api.get_product_odata("98ca202b-2155-4181-be88-000000000000")
    with pytest.raises(UnauthorizedError):
        client(archive, "wrong").query(platformname="Sentinel-2")


def test_a_product_is_downloaded_whole_and_checked(
    api: SentinelAPI, names: list[str], tmp_path: Path
) -> None:
    (uuid,) = api.query(identifier=names[-1][:-5])
    facts = api.get_product_odata(uuid, full=True)
    assert facts["title"] == names[-1][:-5] and facts["Online"] and facts["Filename"] == names[-1]
    assert facts["Tile Identifier"] == names[-1][39:44] and len(facts["md5"]) == 32
    assert api.is_online(uuid)
    done = api.download(uuid, str(tmp_path))
    assert Path(done["path"]).name == names[-1][:-5] + ".zip"
    assert Path(done["path"]).stat().st_size == facts["size"]


def test_single_files_are_downloaded_and_checked(
    api: SentinelAPI, names: list[str], products: Path, tmp_path: Path
) -> None:
    (uuid,) = api.query(identifier=names[-1][:-5])
    api.download(uuid, str(tmp_path), nodefilter=make_path_filter("*_SCL_20m.jp2"))
    (got,) = tmp_path.rglob("*_SCL_20m.jp2")
    assert got.read_bytes() == (products / got.relative_to(tmp_path)).read_bytes()


def test_an_offline_product_is_not_sent(few: Path) -> None:
    name = sorted(path.name for path in few.iterdir())[0]
    with serve(few, faults=Faults(offline=(name,))) as archive:
        api = client(archive)
        (uuid,) = api.query(identifier=name[:-5])
        assert not api.is_online(uuid)
        with pytest.raises(LTATriggered):
            api.download(uuid, str(few))
        address = f"{archive.url}/dhus/odata/v1/Products('{uuid}')/$value"
        assert requests.get(address, auth=("demo", "demo")).status_code == 202


def test_too_many_flows_are_told_as_there(few: Path) -> None:
    with serve(few, faults=Faults(script=(Scripted(r"\$value", ("429",)),))) as archive:
        uuid = next(iter(client(archive).query(platformname="Sentinel-2")))
        address = f"{archive.url}/dhus/odata/v1/Products('{uuid}')/$value"
        answer = requests.get(address, auth=("demo", "demo"))
        assert answer.status_code == 403 and "concurrent flows" in answer.headers["cause-message"]
        assert requests.get(address, auth=("demo", "demo")).status_code == 200


def test_opensearch_answers_in_xml_too(archive: Archive, names: list[str]) -> None:
    from xml.etree import ElementTree

    answer = requests.get(
        f"{archive.url}/dhus/search?q=platformname:Sentinel-2&rows=3", auth=("demo", "demo")
    )
    root = ElementTree.fromstring(answer.content)
    atom = "{http://www.w3.org/2005/Atom}"
    assert len(root.findall(f"{atom}entry")) == 3
    total = root.findtext("{http://a9.com/-/spec/opensearch/1.1/}totalResults")
    assert total == str(len(names))


@pytest.mark.realdata
def test_answers_have_the_shape_of_recorded_ones(archive: Archive, shared_data: Path) -> None:
    import yaml

    folder = shared_data / "api-answers/dhus_vcr"

    def recorded(name: str) -> dict[str, Any]:
        cassette = yaml.safe_load((folder / name).read_text())
        document: dict[str, Any] = json.loads(cassette["interactions"][0]["response"]["body"]["string"])
        return document

    real = recorded("test_s2_cloudcover.yaml")["feed"]
    ours = requests.get(
        f"{archive.url}/dhus/search?format=json&rows=100&q=platformname:Sentinel-2", auth=("demo", "demo")
    ).json()["feed"]
    assert {*real} == {*ours}
    a, b = real["entry"][0], ours["entry"][0]
    assert {*a} <= {*b} | {"double"}
    for sort in ("date", "int"):
        assert {row["name"] for row in a[sort]} - {row["name"] for row in b[sort]} <= {"datatakesensingstart"}
    texts = {row["name"] for row in a["str"]} - {row["name"] for row in b["str"]}
    assert texts <= {"sensoroperationalmode", "level1cpdiidentifier", "platformidentifier"}, texts

    product = recorded("test_get_product_odata_full.yaml")["d"]
    listed = ours["entry"][0]["id"]
    facts = requests.get(
        f"{archive.url}/dhus/odata/v1/Products('{listed}')?$format=json&$expand=Attributes",
        auth=("demo", "demo"),
    ).json()["d"]
    assert {*product} == {*facts}
    assert {*product["Checksum"]} == {*facts["Checksum"]}
