"""The archive as CDSE: search, nodes, bytes, tokens, limits; shapes as recorded from the real one."""

from __future__ import annotations

import hashlib
import json
import threading
import time
import zipfile
from pathlib import Path
from typing import Any
from urllib.parse import quote

import blake3
import pyotp
import pytest
import requests

from eo_pipeline.simulate.archive import Archive, serve

HERE = "POLYGON((105.6 35.2,105.7 35.2,105.7 35.3,105.6 35.3,105.6 35.2))"
ELSEWHERE = "POLYGON((100 30,101 30,101 31,100 31,100 30))"
TOKEN = "/auth/realms/CDSE/protocol/openid-connect/token"


def intersects(wkt: str) -> str:
    return f"OData.CSC.Intersects(area=geography'SRID=4326;{wkt}')"


def attribute(kind: str, name: str, operator: str, value: str) -> str:
    inner = f"OData.CSC.{kind}Attribute"
    return f"Attributes/{inner}/any(att:att/Name eq '{name}' and att/{inner}/Value {operator} {value})"


def search(archive: Archive, filter: str = "", **more: Any) -> dict[str, Any]:
    given = {"$filter": filter, "$count": "True", "$top": 1000, "$expand": "Attributes"}
    given |= {f"${name}": value for name, value in more.items()}
    answer = requests.get(f"{archive.url}/odata/v1/Products", params=given)
    assert answer.status_code == 200, answer.text
    return answer.json()


def grant(archive: Archive, **form: str) -> requests.Response:
    given = {"client_id": "cdse-public", "grant_type": "password", "username": "demo", "password": "demo"}
    return requests.post(archive.url + TOKEN, data=given | form)


def bearer(archive: Archive) -> dict[str, str]:
    return {"Authorization": f"Bearer {grant(archive).json()['access_token']}"}


def nodes(archive: Archive, product: dict[str, Any], *path: str) -> str:
    parts = "".join(f"/Nodes({part})" for part in (product["Name"], *path))
    return f"{archive.url}/odata/v1/Products({product['Id']}){parts}"


def code(answer: requests.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["detail"]["code"]


def one(archive: Archive, name: str) -> dict[str, Any]:
    return search(archive, f"Name eq '{name}'")["value"][0]


# ---- search
def test_filters_find_what_they_ask_for(archive: Archive, names: list[str]) -> None:
    def found(filter: str) -> set[str]:
        answer = search(archive, filter)
        assert answer["@odata.count"] == len(answer["value"])
        return {entry["Name"] for entry in answer["value"]}

    every = set(names)
    optical = "Collection/Name eq 'SENTINEL-2'"
    assert found(optical) == every
    assert found(f"{optical} and {intersects(HERE)}") == every
    assert found(f"{optical} and {intersects(ELSEWHERE)}") == set()
    assert len(found("Collection/Name eq 'SENTINEL-1'")) == 1
    north = {name for name in names if "_T48SWE_" in name}
    assert 0 < len(north) < len(every)
    assert found(f"{optical} and {attribute('String', 'tileId', 'eq', chr(39) + '48SWE' + chr(39))}") == north
    either = " or ".join(attribute("String", "tileId", "eq", f"'{tile}'") for tile in ("48SWE", "48SWD"))
    assert found(f"{optical} and ({either})") == every
    late = {name for name in names if name[11:26] >= "20220101T000000"}
    assert 0 < len(late) < len(every)
    assert found(f"{optical} and ContentDate/Start ge 2022-01-01T00:00:00.000Z") == late
    assert found(f"{optical} and ContentDate/Start lt 2022-01-01T00:00:00.000Z") == every - late
    assert found(f"{optical} and not (ContentDate/Start lt 2022-01-01T00:00:00.000Z)") == late
    assert found(f"contains(Name,'_N0510_') and {optical}") == {n for n in names if "_N0510_" in n}
    assert found(f"startswith(Name,'S2') and endswith(Name,'{names[0][-12:]}')") == {
        name for name in names if name.endswith(names[0][-12:])
    }
    cloudy = {e["Name"]: cover(e) for e in search(archive, optical)["value"]}
    assert max(cloudy.values()) > 5
    few = found(f"{optical} and {attribute('Double', 'cloudCover', 'le', '5.00')}")
    assert few == {name for name, value in cloudy.items() if value <= 5} and 0 < len(few) < len(every)
    # an attribute asked for as a type that is not its own is not found, as there
    orbit = {name for name in names if "_R018_" in name}
    assert found(attribute("Integer", "relativeOrbitNumber", "eq", "18")) == orbit
    assert found(attribute("String", "relativeOrbitNumber", "eq", "'18'")) == set()


def cover(entry: dict[str, Any]) -> float:
    return next(float(item["Value"]) for item in entry["Attributes"] if item["Name"] == "cloudCover")


@pytest.mark.parametrize(
    "filter",
    [
        "Name eq",
        "Nothing eq 'a'",
        "Name eq 'a' und Name eq 'b'",
        "(Name eq 'a'",
        "OData.CSC.Intersects(area=geography'SRID=4326;POLYGON((0 0,1 1,0 1,1 0,0 0))')",
        "OData.CSC.Intersects(area=geography'SRID=4326;POLYGON((0 0,1 1')",
    ],
)
def test_a_filter_that_is_none_is_refused(archive: Archive, filter: str) -> None:
    answer = requests.get(f"{archive.url}/odata/v1/Products", params={"$filter": filter})
    assert answer.status_code == 400 and "Invalid" in answer.json()["detail"]["message"]


def test_order_and_pages(products: Path, names: list[str]) -> None:
    with serve(products, skip_limit=8, page_limit=6) as archive:
        url = f"{archive.url}/odata/v1/Products?$filter=Collection/Name eq 'SENTINEL-2'"
        first = requests.get(f"{url}&$orderby=ContentDate/Start desc&$top=4&$count=true").json()
        assert first["@odata.count"] == len(names) > 12
        seen = [entry["Name"] for entry in first["value"]]
        while "@odata.nextLink" in first:
            first = requests.get(first["@odata.nextLink"]).json()
            seen += [entry["Name"] for entry in first["value"]]
        # told no further than may be skipped: skip 0, 4 and 8
        assert (
            len(seen) == 12
            and [name[11:26] for name in seen] == sorted((name[11:26] for name in names), reverse=True)[:12]
        )
        for query, bound in (("$skip=9", 8), ("$top=7", 6)):
            answer = requests.get(f"{archive.url}/odata/v1/Products?{query}")
            assert answer.status_code == 422
            detail = answer.json()["detail"][0]
            assert detail["type"] == "less_than_equal" and detail["ctx"] == {"le": bound}


def test_products_are_found_by_their_names(archive: Archive, names: list[str]) -> None:
    body = {"FilterProducts": [{"Name": names[0]}, {"Name": names[3]}, {"Name": "S2A_nothing"}]}
    answer = requests.post(f"{archive.url}/odata/v1/Products/OData.CSC.FilterList", json=body)
    assert {entry["Name"] for entry in answer.json()["value"]} == {names[0], names[3]}


@pytest.mark.realdata
def test_entries_have_the_shape_of_recorded_ones(archive: Archive, shared_data: Path) -> None:
    recorded = json.loads(
        (shared_data / "api-answers/eodag_provider_responses/cop_dataspace_search.json").read_text()
    )
    ours = search(archive, "Collection/Name eq 'SENTINEL-2'", expand="Attributes,Assets", top=2)
    assert ours["@odata.context"] == recorded["@odata.context"]
    assert {*recorded} <= {*ours}
    real, made = recorded["value"][0], ours["value"][0]
    assert {*real} == {*made}
    for name, value in real.items():
        assert type(made[name]) is type(value), name
    assert {*real["Checksum"][0]} == {*made["Checksum"][0]}
    assert [c["Algorithm"] for c in real["Checksum"]] == [c["Algorithm"] for c in made["Checksum"]]
    kinds = {a["Name"]: (a["@odata.type"], a["ValueType"]) for a in made["Attributes"]}
    for item in real["Attributes"]:
        assert kinds[item["Name"]] == (item["@odata.type"], item["ValueType"]), item["Name"]


# ---- bytes
def test_nodes_are_listed_without_and_read_with_a_token(
    archive: Archive, names: list[str], products: Path
) -> None:
    product = one(archive, names[-1])
    top = requests.get(nodes(archive, product) + "/Nodes").json()["result"]
    assert {row["Name"] for row in top} == {"GRANULE", "MTD_MSIL2A.xml", "manifest.safe"}
    granule = requests.get(nodes(archive, product, "GRANULE") + "/Nodes").json()["result"][0]["Name"]
    listing = nodes(archive, product, "GRANULE", granule, "IMG_DATA", "R10m") + "/Nodes"
    bands = requests.get(listing).json()["result"]
    row = next(row for row in bands if "_B04_" in row["Name"])
    file = products / names[-1] / "GRANULE" / granule / "IMG_DATA/R10m" / row["Name"]
    assert row["ContentLength"] == file.stat().st_size and row["ChildrenNumber"] == 0
    assert {*row} == {"Id", "Name", "ContentLength", "ChildrenNumber", "Nodes"}
    address = row["Nodes"]["uri"].removesuffix("/Nodes") + "/$value"
    assert code(requests.get(address)) == (401, "DAT-ZIP-604")
    answer = requests.get(address, headers=bearer(archive))
    assert answer.status_code == 200 and answer.content == file.read_bytes()


def test_addresses_that_are_none_are_told_as_there(archive: Archive, names: list[str]) -> None:
    product, token = one(archive, names[0]), bearer(archive)

    def get(path: str) -> tuple[int, str]:
        return code(requests.get(f"{archive.url}/odata/v1/Products{path}", headers=token))

    assert get(f"('{product['Id']}')/$value") == (400, "DAT-ZIP-104")
    assert get(f"({product['Id']})/Nodes('{product['Name']}')/Nodes") == (400, "DAT-ZIP-104")
    assert get("(12)/$value") == (422, "DAT-ZIP-111")
    assert get("(00000000-0000-4000-8000-000000000000)/$value")[0] == 404
    for path in ("..", "%2e%2e", "manifest.safe)/Nodes(x", "../../x", "%2Fetc%2Fpasswd"):
        assert get(f"({product['Id']})/Nodes({product['Name']})/Nodes({path})/$value")[0] in (400, 404)


def test_ranges(archive: Archive, names: list[str], products: Path) -> None:
    product, token = one(archive, names[0]), bearer(archive)
    address = nodes(archive, product, "MTD_MSIL2A.xml") + "/$value"
    whole = (products / names[0] / "MTD_MSIL2A.xml").read_bytes()
    first = requests.get(address, headers=token)
    assert first.headers["Accept-Ranges"] == "bytes" and first.headers["Last-Modified"].endswith("GMT")
    etag = first.headers["ETag"]

    def part(wanted: str, condition: str = "") -> requests.Response:
        more = {"Range": wanted} | ({"If-Range": condition} if condition else {})
        return requests.get(address, headers=token | more)

    rest = part("bytes=100-", etag)
    assert rest.status_code == 206 and rest.content == whole[100:]
    assert rest.headers["Content-Range"] == f"bytes 100-{len(whole) - 1}/{len(whole)}"
    assert part("bytes=-7").content == whole[-7:] and part("bytes=5-9").content == whole[5:10]
    other = part("bytes=100-", '"other"')
    assert other.status_code == 200 and other.content == whole
    beyond = part(f"bytes={len(whole)}-")
    assert beyond.status_code == 416 and beyond.headers["Content-Range"] == f"bytes */{len(whole)}"
    assert requests.head(address, headers=token).headers["Content-Length"] == str(len(whole))


def test_a_whole_product_has_the_size_and_checksums_it_was_told_to_have(
    archive: Archive, names: list[str], products: Path, tmp_path: Path
) -> None:
    product = one(archive, names[2])
    answer = requests.get(f"{archive.url}/odata/v1/Products({product['Id']})/$value", headers=bearer(archive))
    told = {item["Algorithm"]: item["Value"] for item in product["Checksum"]}
    assert len(answer.content) == product["ContentLength"]
    assert hashlib.md5(answer.content).hexdigest() == told["MD5"]
    assert blake3.blake3(answer.content).hexdigest() == told["BLAKE3"]
    (tmp_path / "product.zip").write_bytes(answer.content)
    with zipfile.ZipFile(tmp_path / "product.zip") as stream:
        assert stream.testzip() is None
        for path in (products / names[2]).rglob("*"):
            if path.is_file():
                assert stream.read(f"{names[2]}/{path.relative_to(products / names[2])}") == path.read_bytes()
    # with another archive of the same folder too: what was begun there can go on here
    with serve(products) as second:
        assert one(second, names[2])["Checksum"] == product["Checksum"]


# ---- tokens
def test_tokens_are_granted_renewed_and_expire(products: Path, names: list[str]) -> None:
    with serve(products, token_s=0.4) as archive:
        address = nodes(archive, one(archive, names[0]), "manifest.safe") + "/$value"
        answer = grant(archive).json()
        assert answer["token_type"] == "Bearer" and answer["expires_in"] == 0.4
        assert answer["refresh_expires_in"] == 3600

        def read(token: str) -> requests.Response:
            return requests.get(address, headers={"Authorization": f"Bearer {token}"})

        assert read(answer["access_token"]).status_code == 200
        time.sleep(0.5)
        assert code(read(answer["access_token"])) == (401, "DAT-ZIP-109")
        renewed = grant(archive, grant_type="refresh_token", refresh_token=answer["refresh_token"]).json()
        assert read(renewed["access_token"]).status_code == 200
        again = grant(archive, grant_type="refresh_token", refresh_token=answer["refresh_token"])
        assert again.status_code == 400 and again.json()["error"] == "invalid_grant"
        assert archive.stats()["tokens"] == {"password": 1, "refresh_token": 1, "client_credentials": 0}
        assert archive.stats()["sessions"] == 1
        machine = grant(archive, grant_type="client_credentials", client_id="sh-1", client_secret="x").json()
        assert code(read(machine["access_token"])) == (401, "DAT-ZIP-609")


def test_wrong_passwords_and_too_many_sessions_are_refused(products: Path) -> None:
    with serve(products, sessions=2, user="a", password="b") as archive:
        assert grant(archive).json()["error"] == "invalid_grant"
        assert [grant(archive, username="a", password="b").status_code for _ in range(3)] == [200, 200, 403]


def test_a_second_factor_is_taken_once(products: Path) -> None:
    secret = pyotp.random_base32()
    with serve(products, totp_secret=secret) as archive:
        assert grant(archive).status_code == 401
        now = pyotp.TOTP(secret).now()
        assert grant(archive, totp=now).status_code == 200
        assert grant(archive, totp=now).status_code == 401


# ---- limits
def test_a_download_too_many_is_turned_away(products: Path, names: list[str]) -> None:
    with serve(products, connections=2, bytes_per_s=40_000) as archive:
        product, token = one(archive, names[-1]), bearer(archive)
        address = f"{archive.url}/odata/v1/Products({product['Id']})/$value"
        held = [requests.get(address, headers=token, stream=True) for _ in range(2)]
        assert [answer.status_code for answer in held] == [200, 200]
        third = requests.get(address, headers=token)
        assert third.status_code == 429
        assert third.json()["detail"]["message"] == "Max session number 4 exceeded."
        threads = [threading.Thread(target=lambda a=answer: a.content) for answer in held]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert requests.get(address, headers=token).status_code == 200
        assert archive.stats()["concurrent"] == 2 and archive.stats()["faults"] == {"429": 1}


def test_one_after_the_other_is_never_too_many(products: Path, names: list[str]) -> None:
    with serve(products, connections=1) as archive:
        product, token = one(archive, names[-1]), bearer(archive)
        address = nodes(archive, product, "manifest.safe") + "/$value"
        # a new connection each, opened the moment the last byte of the one before is there
        assert {requests.get(address, headers=token).status_code for _ in range(40)} == {200}


def test_a_radar_product_is_searched_and_read(archive: Archive) -> None:
    product_type = attribute("String", "productType", "eq", "'IW_GRDH_1S'")
    (entry,) = search(archive, f"Collection/Name eq 'SENTINEL-1' and {product_type}")["value"]
    values = {item["Name"]: item["Value"] for item in entry["Attributes"]}
    assert values["relativeOrbitNumber"] == 62 and values["orbitDirection"] == "ASCENDING"
    assert values["polarisationChannels"] == "VV&VH" and values["orbitNumber"] == 41784
    listed = requests.get(nodes(archive, entry, "measurement") + "/Nodes").json()["result"]
    assert [row["Name"][:13] for row in listed] == ["s1a-iw-grd-vh", "s1a-iw-grd-vv"]
    answer = requests.get(
        nodes(archive, entry, "measurement", quote(listed[0]["Name"])) + "/$value", headers=bearer(archive)
    )
    assert len(answer.content) == listed[0]["ContentLength"]
