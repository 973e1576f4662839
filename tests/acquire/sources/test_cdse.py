"""The CDSE archive against recorded answers and against a catalogue on loopback with its rules."""

from __future__ import annotations

import json
import re
import threading
from datetime import UTC, date, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest
from source_server import Answer

from eo_pipeline.acquire.auth import KeycloakToken
from eo_pipeline.acquire.pacing import watched
from eo_pipeline.acquire.products import Product, Query, RemoteFile
from eo_pipeline.acquire.sources.cdse import CdseAddresses, CdseArchive, product_of
from eo_pipeline.errors import ArchiveError

SQUARE = "POLYGON ((105 35, 106 35, 106 36, 105 36, 105 35))"
QUERY = Query("sentinel-2-l2a", SQUARE, date(2024, 1, 1), date(2024, 12, 31))
NAME = "S2A_MSIL2A_20240601T033541_N0510_R061_T48SWE_20240601T081234.SAFE"
UUID = "11111111-2222-3333-4444-555555555555"


def entry(
    number: int, start: datetime, *, cloud: float = 10.0, orbit: Any = 61, **changes: Any
) -> dict[str, Any]:
    stamp = start.strftime("%Y%m%dT%H%M%S")
    name = f"S2A_MSIL2A_{stamp}_N0510_R{int(orbit):03d}_T48SWE_2024{number:04d}T000000.SAFE"
    return {
        "Id": f"id-{number:05d}",
        "Name": name,
        "ContentLength": 700_000_000 + number,
        "Online": True,
        "EvictionDate": "9999-12-31T23:59:59.999999Z",
        "S3Path": f"/eodata/Sentinel-2/MSI/L2A/2024/06/01/{name}",
        "ContentDate": {"Start": start.strftime("%Y-%m-%dT%H:%M:%S.%fZ")},
        "GeoFootprint": {
            "type": "Polygon",
            "coordinates": [[[105, 35], [106, 35], [106, 36], [105, 36], [105, 35]]],
        },
        "Attributes": [
            {"Name": "cloudCover", "Value": cloud},
            {"Name": "tileId", "Value": "48SWE"},
            {"Name": "relativeOrbitNumber", "Value": orbit},
        ],
        "Checksum": [],
    } | changes


class Catalogue:
    """OData search as CDSE does it: window, $top, $skip up to a limit, count; ties in an unstable order."""

    def __init__(
        self, entries: list[dict[str, Any]], *, skip_limit: int = 10_000, unstable: bool = False
    ) -> None:
        self.entries, self.skip_limit, self.unstable = entries, skip_limit, unstable
        self.skips: list[int] = []

    def __call__(self, asked: Any) -> Any:
        query = asked.query
        low, high = re.findall(r"ContentDate/Start (?:ge|lt) (\S+Z)", query["$filter"])
        low, high = (datetime.fromisoformat(t.replace("Z", "+00:00")) for t in (low, high))
        skip, top = int(query["$skip"]), int(query["$top"])
        self.skips.append(skip)
        if skip > self.skip_limit or top > 1000:
            return Answer({"detail": [{"type": "less_than_equal", "loc": ["query", "$skip"]}]}, 422)
        assert query["$orderby"] == "ContentDate/Start asc"
        assert query["$expand"] == "Attributes"
        rows = [
            e
            for e in self.entries
            if low <= datetime.fromisoformat(e["ContentDate"]["Start"][:-1] + "+00:00") < high
        ]
        rows.sort(key=lambda e: e["ContentDate"]["Start"])
        if self.unstable and skip:  # equal starts come the other way round on later pages
            rows = sorted(rows, key=lambda e: (e["ContentDate"]["Start"], -int(e["Id"][3:])))
        return Answer({"@odata.count": len(rows), "value": rows[skip : skip + top]})


def archive(server: Any, quick: Any, **options: Any) -> CdseArchive:
    return CdseArchive(quick, addresses=CdseAddresses.below(server.url), **options)


# ---- recorded answers
@pytest.mark.realdata
def test_recorded_products_are_read(shared_data: Path) -> None:
    # given
    folder = shared_data / "api-answers" / "eodag_provider_responses"
    recorded = json.loads((folder / "cop_dataspace_search.json").read_text())
    # when
    first, second = (product_of(e, source="cdse", collection="sentinel-2-l2a") for e in recorded["value"])
    # then
    assert (first.id, first.name) == (
        "05edf2bb-d103-49f1-a677-9e474138d84f",
        "S2A_MSIL1C_20200808T010311_N0500_R045_T54PXA_20230413T212505.SAFE",
    )
    assert (first.tile, first.baseline, first.orbit, first.size) == ("54PXA", "05.00", 45, 224105657)
    assert first.sensed == datetime(2020, 8, 8, 1, 3, 11, 24000, tzinfo=UTC)
    assert first.cloud_cover == pytest.approx(95.136736479015)
    assert first.checksums == {
        "md5": "923ac4992d90b57d41e7ace4d9d90757",
        "blake3": "2f787caed527ffeb3245594a465abd127da5ee7eaeb974f9a9ab4342f2fba7cf",
    }
    assert first.online
    assert first.footprint.startswith("POLYGON ((142.352793016856 13.4758743606673")
    assert first.properties["S3Path"].endswith(f"/L1C_N0500/2020/08/08/{first.name}")
    assert (second.id, second.tile, second.size) == (
        "37fc6ed2-24b4-4b28-8df7-91444921f867",
        "55PBR",
        172342246,
    )
    assert first.observation == ("S2A", "20200808T0103", "54PXA")


# ---- entries
def test_unknown_size_checksum_and_eviction() -> None:
    start = datetime(2024, 6, 1, 3, 35, 41, tzinfo=UTC)
    vague = entry(1, start, ContentLength=0, Checksum=[{"Algorithm": "MD5", "Value": ""}], GeoFootprint=None)
    product = product_of(vague, source="cdse", collection="sentinel-2-l2a")
    assert (product.size, dict(product.checksums), product.footprint, product.online) == (None, {}, "", True)
    gone = entry(2, start, EvictionDate="2024-01-01T00:00:00.000Z")
    assert not product_of(gone, source="cdse", collection="sentinel-2-l2a").online
    assert not product_of(entry(3, start, Online=False), source="cdse", collection="sentinel-2-l2a").online
    with pytest.raises(ArchiveError, match="without 'ContentDate'"):
        product_of({"Id": "x", "Name": "y"}, source="cdse", collection="sentinel-2-l2a")


# ---- paging
def test_2500_products_are_paged_in_order(server: Any, quick: Any) -> None:
    # given 2,500 products, five of each start
    first = datetime(2024, 1, 1, tzinfo=UTC)
    entries = [entry(n, first + timedelta(minutes=n // 5)) for n in range(2500)]
    catalogue = server.answer = Catalogue(entries)
    # when
    found = list(archive(server, quick).search(QUERY))
    # then
    assert [p.id for p in found] == sorted(p.id for p in found)
    assert len(found) == 2500
    assert catalogue.skips == [0, 1000, 2000]


def test_period_is_split_where_skip_would_end(server: Any, quick: Any) -> None:
    # given 250 products and a catalogue that skips 50 at most
    first = datetime(2024, 1, 1, tzinfo=UTC)
    catalogue = server.answer = Catalogue(
        [entry(n, first + timedelta(hours=30 * n)) for n in range(250)], skip_limit=50
    )
    # when
    found = list(archive(server, quick, page=20, skip_limit=50).search(QUERY))
    # then
    assert [p.id for p in found] == [f"id-{n:05d}" for n in range(250)]
    assert max(catalogue.skips) <= 50


def test_products_lost_at_page_borders_are_asked_again(server: Any, quick: Any) -> None:
    # given twelve products of one start around the page border, in another order on each page
    first = datetime(2024, 3, 1, tzinfo=UTC)
    entries = [entry(n, first) for n in range(4)]
    entries += [entry(n, first + timedelta(days=1)) for n in range(4, 16)]
    entries += [entry(n, first + timedelta(days=2)) for n in range(16, 20)]
    server.answer = Catalogue(entries, unstable=True)
    # when
    found = list(archive(server, quick, page=13).search(QUERY))
    # then
    assert {p.id for p in found} == {e["Id"] for e in entries}
    assert len(found) == 20
    assert [p.sensed for p in found] == sorted(p.sensed for p in found)


def test_catalogue_that_keeps_products_back_is_an_error(server: Any, quick: Any) -> None:
    row = entry(1, datetime(2024, 3, 1, tzinfo=UTC))
    server.answer = lambda asked: Answer(
        {"@odata.count": 7, "value": [row] if asked.query["$skip"] == "0" else []}
    )
    with pytest.raises(ArchiveError, match=r"tells of 7 products .* delivers 1"):
        list(archive(server, quick).search(QUERY))


def test_search_is_filtered_here_too(server: Any, quick: Any) -> None:
    # given a catalogue that heeds no filter but time
    start = datetime(2024, 6, 1, 3, tzinfo=UTC)
    far = {"type": "Polygon", "coordinates": [[[0, 0], [1, 0], [1, 1], [0, 0]]]}
    server.answer = Catalogue([
        entry(1, start),
        entry(2, start, cloud=80.0),
        entry(3, start, orbit="104"),  # a string where others have a number
        entry(4, start, GeoFootprint=far),
        entry(5, start, Name=entry(5, start)["Name"].replace("48SWE", "48SWD")),
    ])  # fmt: skip
    query = Query("sentinel-2-l2a", SQUARE, date(2024, 6, 1), date(2024, 6, 30), ("48SWE",), 40.0)
    # when
    found = list(archive(server, quick, orbits=(61,)).search(query))
    # then
    assert [p.id for p in found] == ["id-00001"]
    asked = server.asked[0].query["$filter"]
    assert "Collection/Name eq 'SENTINEL-2'" in asked
    assert (
        "OData.CSC.Intersects(area=geography'SRID=4326;POLYGON((105 35,106 35,106 36,105 36,105 35))')"
        in asked
    )
    assert "Name eq 'cloudCover' and att/OData.CSC.DoubleAttribute/Value le 40.00" in asked
    assert "ContentDate/Start ge 2024-06-01T00:00:00.000Z" in asked
    assert "ContentDate/Start lt 2024-07-01T00:00:00.000Z" in asked
    assert "relativeOrbit" not in asked and "tileId" not in asked


def test_search_is_lazy(server: Any, quick: Any) -> None:
    first = datetime(2022, 6, 1, tzinfo=UTC)
    server.answer = Catalogue([entry(n, first + timedelta(days=300 * n)) for n in range(4)])
    query = Query("sentinel-2-l2a", SQUARE, date(2022, 1, 1), date(2025, 12, 31))
    found = archive(server, quick).search(query)
    assert server.asked == []
    assert next(found).id == "id-00000"
    assert len(server.asked) == 2  # the first year, and the second that shows the first is at an end


def test_other_collections_are_refused(server: Any, quick: Any) -> None:
    query = Query("sentinel-1-rtc", SQUARE, date(2024, 1, 1), date(2024, 1, 2))
    with pytest.raises(ArchiveError, match="Take planetary-computer"):
        archive(server, quick).search(query)


# ---- files
GRANULE = "L2A_T48SWE_A046709_20240601T034018"
TREE: dict[tuple[str, ...], list[tuple[str, int]]] = {
    (): [("GRANULE", 0), ("MTD_MSIL2A.xml", 54321), ("manifest.safe", 70000), ("INSPIRE.xml", 18000)],
    ("GRANULE",): [(GRANULE, 0)],
    ("GRANULE", GRANULE): [("IMG_DATA", 0), ("MTD_TL.xml", 600000)],
    ("GRANULE", GRANULE, "IMG_DATA", "R10m"): [
        (f"T48SWE_20240601T033541_{b}_10m.jp2", 100 + n)
        for n, b in enumerate(("AOT", "B02", "B03", "B04", "B08"))
    ],
    ("GRANULE", GRANULE, "IMG_DATA", "R20m"): [
        (f"T48SWE_20240601T033541_{b}_20m.jp2", 50 + n)
        for n, b in enumerate(("B02", "B04", "B05", "B8A", "B11", "SCL"))
    ],
}
PRODUCT = Product(
    "cdse", UUID, NAME, "sentinel-2-l2a", "48SWE", datetime(2024, 6, 1, 3, 35, 41, tzinfo=UTC), SQUARE,
    size=7, checksums={"md5": "098645497fa5ab932ed2df98426e5b58"},
)  # fmt: skip


class Nodes:
    """Nodes as CDSE lists and serves them, and its token service; quotes are refused."""

    def __init__(self) -> None:
        self.tokens = 0
        self.valid = ""

    def __call__(self, asked: Any) -> Any:
        if asked.path.endswith("/token"):
            self.tokens += 1
            self.valid = f"token-{self.tokens}"
            return Answer({"access_token": self.valid, "expires_in": 600})
        if "'" in asked.path or "%27" in asked.path:
            return Answer({"detail": {"code": "DAT-ZIP-104", "message": "Malformed OData request path"}}, 400)
        parts = tuple(re.findall(r"Nodes\(([^)]+)\)", asked.path))
        assert asked.path.startswith(f"/odata/v1/Products({UUID})/")
        if asked.path.endswith("/Nodes"):
            assert parts[0] == NAME
            rows = TREE[parts[1:]]
            return Answer({"result": [{"Id": n, "Name": n, "ContentLength": s} for n, s in rows]})
        if asked.headers.get("Authorization") != f"Bearer {self.valid}":
            return Answer({"detail": {"code": "DAT-ZIP-604", "message": "token not found"}}, 401)
        size = dict(TREE[parts[1:-1]])[parts[-1]]
        return Answer(parts[-1].encode().ljust(size, b"."))


def logged_in(server: Any, quick: Any) -> CdseArchive:
    token = KeycloakToken(
        CdseAddresses.below(server.url).token, "user", "secret", transport=quick, hosts=("127.0.0.1",)
    )
    return archive(server, quick, auth=token)


def test_bands_come_at_their_native_resolution(server: Any, quick: Any, tmp_path: Path) -> None:
    # given
    nodes = server.answer = Nodes()
    source = logged_in(server, quick)
    # when
    keys = ("SCL", "B04", "B8A", "B02", "MTD_MSIL2A", "MTD_TL", "manifest")
    files = source.files(PRODUCT, keys)
    # then
    assert [file.key for file in files] == list(keys)
    folder = f"GRANULE/{GRANULE}/IMG_DATA"
    assert [(file.path, file.size) for file in files] == [
        (f"{folder}/R20m/T48SWE_20240601T033541_SCL_20m.jp2", 55),
        (f"{folder}/R10m/T48SWE_20240601T033541_B04_10m.jp2", 103),
        (f"{folder}/R20m/T48SWE_20240601T033541_B8A_20m.jp2", 53),
        (f"{folder}/R10m/T48SWE_20240601T033541_B02_10m.jp2", 101),
        ("MTD_MSIL2A.xml", 54321),
        (f"GRANULE/{GRANULE}/MTD_TL.xml", 600000),
        ("manifest.safe", 70000),
    ]
    assert files[0].href == (
        f"{server.url}/odata/v1/Products({UUID})/Nodes({NAME})/Nodes(GRANULE)/Nodes({GRANULE})/Nodes(IMG_DATA)"
        "/Nodes(R20m)/Nodes(T48SWE_20240601T033541_SCL_20m.jp2)/$value"
    )
    listings = len(server.asked)
    assert listings == 5  # root, GRANULE, granule, R10m, R20m
    # when asked again and fetched
    source.files(PRODUCT, keys)
    source.fetch(files[1], tmp_path / "B04.jp2")
    # then the folders are known, and one token was enough after the first refusal
    assert len(server.asked) == listings + 2
    assert (tmp_path / "B04.jp2").read_bytes() == b"T48SWE_20240601T033541_B04_10m.jp2".ljust(103, b".")
    assert nodes.tokens == 1


@pytest.mark.parametrize("rows", [{"detail": "maintenance"}, {"result": [{"Id": "x"}]}, {"result": ["x"]}])
def test_folder_that_cannot_be_read_is_told(server: Any, quick: Any, rows: dict[str, Any]) -> None:
    server.answer = lambda asked: Answer(rows)
    with pytest.raises(ArchiveError, match=rf"cdse: the folder . of {NAME} cannot be listed; the answer was"):
        archive(server, quick).files(PRODUCT, ["manifest"])


def test_token_that_ends_early_is_renewed_once(server: Any, quick: Any, tmp_path: Path) -> None:
    nodes = server.answer = Nodes()
    source = logged_in(server, quick)
    first, second = source.files(PRODUCT, ("B02", "B03"))
    source.fetch(first, tmp_path / "one")
    nodes.valid = "ended"
    source.fetch(second, tmp_path / "two")
    assert nodes.tokens == 2
    assert (tmp_path / "two").stat().st_size == 102


def test_missing_band_names_what_there_is(server: Any, quick: Any) -> None:
    server.answer = Nodes()
    with pytest.raises(ArchiveError, match="has no file B12"):
        archive(server, quick).files(PRODUCT, ("B11", "B12"))


def test_whole_product_and_offline(server: Any, quick: Any) -> None:
    (whole,) = archive(server, quick).files(PRODUCT, ("product",))
    assert (whole.path, whole.size) == (NAME.replace(".SAFE", ".zip"), 7)
    assert whole.href == f"{server.url}/odata/v1/Products({UUID})/$value"
    assert dict(whole.checksums) == {"md5": "098645497fa5ab932ed2df98426e5b58"}
    values = {name: getattr(PRODUCT, name) for name in Product.__dataclass_fields__} | {"online": False}
    with pytest.raises(ArchiveError, match="is offline"):
        archive(server, quick).files(Product(**values), ("SCL",))


def test_without_account_bytes_are_refused_before_a_request(server: Any, quick: Any, tmp_path: Path) -> None:
    server.answer = Nodes()
    source = archive(server, quick)
    (file,) = source.files(PRODUCT, ("SCL",))
    before = len(server.asked)
    with pytest.raises(ArchiveError, match="EO_CDSE_USERNAME"):
        source.fetch(file, tmp_path / "SCL.jp2")
    assert len(server.asked) == before
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ArchiveError, match="download"):
        source.open(file)


# ---- S3
@pytest.fixture
def bucket() -> Any:
    """`eodata` with one product at a real S3 server on loopback."""
    import boto3
    from moto.server import ThreadedMotoServer

    running = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    running.start()
    host, port = running.get_host_and_port()
    url = f"http://{host}:{port}"
    client = boto3.client(
        "s3",
        endpoint_url=url,
        aws_access_key_id="key",
        aws_secret_access_key="secret",
        region_name="us-east-1",
    )
    client.create_bucket(Bucket="eodata")
    for parts, rows in TREE.items():
        for name, size in rows:
            if size:
                key = "/".join(("Sentinel-2/MSI/L2A/2024/06/01", NAME, *parts, name))
                client.put_object(Bucket="eodata", Key=key, Body=name.encode().ljust(size, b"."))
    yield url
    running.stop()


def test_s3_route(bucket: str, quick: Any, tmp_path: Path) -> None:
    # given
    addresses = CdseAddresses(s3=bucket)
    source = CdseArchive(quick, addresses=addresses, route="s3", s3_keys=("key", "secret"))
    values = {name: getattr(PRODUCT, name) for name in Product.__dataclass_fields__}
    product = Product(**values | {"properties": {"S3Path": f"/eodata/Sentinel-2/MSI/L2A/2024/06/01/{NAME}"}})
    # when
    scl, metadata = source.files(product, ("SCL", "MTD_MSIL2A"))
    target = tmp_path / "deep" / "MTD_MSIL2A.xml"
    source.fetch(scl, tmp_path / "SCL.jp2")
    source.fetch(metadata, target)
    # then
    assert scl.href == f"s3://eodata/Sentinel-2/MSI/L2A/2024/06/01/{NAME}/{scl.path}"
    assert (scl.size, metadata.size) == (55, 54321)
    assert (tmp_path / "SCL.jp2").read_bytes() == b"T48SWE_20240601T033541_SCL_20m.jp2".ljust(55, b".")
    assert target.read_bytes() == b"MTD_MSIL2A.xml".ljust(54321, b".")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["SCL.jp2", "deep"]


def test_s3_goes_on_where_it_stopped(bucket: str, quick: Any, tmp_path: Path) -> None:
    # given a part of the file, and whose bytes it holds
    from obstore.store import S3Store

    options: Any = {"allow_http": True}
    store = S3Store(
        "eodata",
        endpoint=bucket,
        access_key_id="key",
        secret_access_key="secret",
        region="default",
        virtual_hosted_style_request=False,
        client_options=options,
    )
    key = f"Sentinel-2/MSI/L2A/2024/06/01/{NAME}/MTD_MSIL2A.xml"
    origin = {
        "address": f"s3://eodata/{key}",
        "etag": store.head(key)["e_tag"],
        "modified": "",
        "length": 54321,
    }
    target = tmp_path / "MTD_MSIL2A.xml"
    (tmp_path / "MTD_MSIL2A.xml.partial").write_bytes(b"kept from the last run".ljust(54000, b"#"))
    (tmp_path / "MTD_MSIL2A.xml.partial.json").write_text(json.dumps(origin))
    source = CdseArchive(quick, addresses=CdseAddresses(s3=bucket), route="s3", s3_keys=("key", "secret"))
    file = RemoteFile("MTD_MSIL2A", "MTD_MSIL2A.xml", f"s3://eodata/{key}", 54321)
    # when
    told: list[int] = []
    with watched(told.append, threading.Event()):
        source.fetch(file, target)
    # then only the rest came
    assert sum(told) == 54321
    assert target.read_bytes() == b"kept from the last run".ljust(54000, b"#") + b"." * 321
    # when the part is of another version
    target.unlink()
    (tmp_path / "MTD_MSIL2A.xml.partial").write_bytes(b"old")
    (tmp_path / "MTD_MSIL2A.xml.partial.json").write_text(json.dumps(origin | {"etag": "another"}))
    source.fetch(file, target)
    assert target.read_bytes() == b"MTD_MSIL2A.xml".ljust(54321, b".")
    assert [p.name for p in tmp_path.iterdir()] == ["MTD_MSIL2A.xml"]
    # when it is not what was promised, or is not there
    wrong = RemoteFile("MTD_MSIL2A", "MTD_MSIL2A.xml", file.href, 54321, {"md5": "0" * 32})
    told.clear()
    with pytest.raises(ArchiveError, match="md5"), watched(told.append, threading.Event()):
        source.fetch(wrong, tmp_path / "wrong.xml")
    assert not (tmp_path / "wrong.xml").exists() and sum(told) == 0 and max(told) > 0
    missing = RemoteFile("MTD_TL", "MTD_TL.xml", file.href.replace("MSIL2A.xml", "TL.xml"))
    with pytest.raises(ArchiveError, match="does not exist"):
        source.fetch(missing, tmp_path / "missing.xml")


class _Cutting(BaseHTTPRequestHandler):
    """One object of a store that breaks off its first answers, more than obstore mends by itself."""

    protocol_version = "HTTP/1.1"
    body = bytes(range(256)) * 12_000
    cuts: ClassVar[list[int]] = []

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        asked = re.match(r"bytes=(\d+)-", self.headers.get("Range", ""))
        start, size = int(asked[1]) if asked else 0, len(self.body)
        self.send_response(206 if asked else 200)
        self.send_header("Content-Length", str(size - start))
        self.send_header("ETag", '"one"')
        self.send_header("Last-Modified", "Sat, 01 Jun 2024 08:00:00 GMT")
        if asked:
            self.send_header("Content-Range", f"bytes {start}-{size - 1}/{size}")
        self.end_headers()
        if self.command == "GET":
            stop = start + self.cuts.pop() if self.cuts else size
            self.close_connection = stop < size
            self.wfile.write(self.body[start:stop])

    do_HEAD = do_GET  # noqa: N815


def test_s3_that_breaks_off_goes_on_and_counts_once(quick: Any, tmp_path: Path) -> None:
    _Cutting.cuts = [400_000] * 5
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Cutting)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    addresses = CdseAddresses(s3=f"http://127.0.0.1:{server.server_port}")
    source = CdseArchive(quick, addresses=addresses, route="s3", s3_keys=("key", "secret"))
    told: list[int] = []
    try:
        with watched(told.append, threading.Event()):
            file = RemoteFile("B04", "B04.jp2", "s3://eodata/x/B04.jp2", len(_Cutting.body))
            source.fetch(file, tmp_path / "B04.jp2")
    finally:
        server.shutdown()
        server.server_close()
    assert (tmp_path / "B04.jp2").read_bytes() == _Cutting.body and not _Cutting.cuts
    assert sum(told) == len(_Cutting.body)


def test_s3_that_does_not_answer(quick: Any, tmp_path: Path) -> None:
    source = CdseArchive(
        quick, addresses=CdseAddresses(s3="http://127.0.0.1:9"), route="s3", s3_keys=("key", "hidden-word")
    )
    file = RemoteFile("SCL", "SCL.jp2", "s3://eodata/x/SCL.jp2", 5)
    with pytest.raises(ArchiveError, match="does not answer") as error:
        source.fetch(file, tmp_path / "SCL.jp2")
    assert "hidden-word" not in str(error.value)


def test_s3_needs_keys(quick: Any) -> None:
    with pytest.raises(ArchiveError, match="EO_CDSE_S3_KEY"):
        CdseArchive(quick, route="s3")


# ---- health
def test_check(server: Any, quick: Any, bucket: str) -> None:
    server.answer = lambda asked: Answer({"value": []})
    health = archive(server, quick).check()
    assert (health.reachable, health.message) == (True, "answers; can be searched only")
    assert health.credentials.startswith("missing.")
    server.answer = lambda asked: (
        Answer({"error": "invalid_grant"}, 401) if "token" in asked.path else Answer({"value": []})
    )
    health = logged_in(server, quick).check()
    assert health.reachable
    assert "does not log in" in health.message
    assert "secret" not in health.message
    # S3 is tried too, where keys are given
    keys = ("key", "hidden-word")
    addresses = CdseAddresses(catalogue=f"{server.url}/odata/v1", s3=bucket)
    health = CdseArchive(quick, addresses=addresses, s3_keys=keys).check()
    assert health.message == "answers; S3 answers"
    addresses = CdseAddresses(catalogue=f"{server.url}/odata/v1", s3="http://127.0.0.1:9")
    health = CdseArchive(quick, addresses=addresses, s3_keys=keys).check()
    assert "S3 does not: cdse" in health.message
    assert "hidden-word" not in health.message + health.credentials
    server.answer = lambda asked: Answer(status=503)
    assert archive(server, quick).check().reachable is False
