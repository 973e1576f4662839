"""Faults: which requests they befall, what they are on the wire, and a drill that comes through them all."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest
import requests

from eo_pipeline.acquire.products import Product, Query
from eo_pipeline.acquire.sources.registry import open_archive
from eo_pipeline.acquire.transport import Limits, Transport
from eo_pipeline.cli_archive import greeting
from eo_pipeline.errors import ArchiveError
from eo_pipeline.season import read_season
from eo_pipeline.simulate.archive import KINDS, Archive, Faults, Scripted, serve, serve_process
from eo_pipeline.simulate.archive.faults import FaultBox, faults_document, faults_from, read_options

AREA = "POLYGON((105.6 35.2,105.7 35.2,105.7 35.3,105.6 35.3,105.6 35.2))"
ACCOUNT = {
    f"EO_{service}_{what}": "demo" for service in ("CDSE", "DHUS") for what in ("USERNAME", "PASSWORD")
}
FORM = {"client_id": "cdse-public", "grant_type": "password", "username": "demo", "password": "demo"}


# ---- which requests
def drawn(box: FaultBox, keys: list[str], times: int = 20) -> dict[str, list[str]]:
    return {key: [box.draw("data", key) for _ in range(times)] for key in keys}


def test_the_same_seed_gives_the_same_faults_in_any_order() -> None:
    keys = [f"/file/{n}" for n in range(30)]
    faults = Faults(rates={"500": 0.2, "truncated": 0.2}, seed=3)
    first = drawn(FaultBox(faults), keys)
    assert drawn(FaultBox(faults), keys[::-1]) == first
    assert drawn(FaultBox(Faults(rates=faults.rates, seed=4)), keys) != first
    told = [kind for kinds in first.values() for kind in kinds]
    assert 0.15 < told.count("500") / len(told) < 0.25 and 0.1 < told.count("truncated") / len(told) < 0.2


def test_no_path_fails_for_ever() -> None:
    box = FaultBox(Faults(rates={"500": 0.99}, in_a_row=3))
    kinds = [box.draw("data", "/file") for _ in range(400)]
    runs = "".join("x" if kind else " " for kind in kinds).split()
    assert max(map(len, runs)) == 3
    always = FaultBox(Faults(rates={"500": 1.0}))
    assert {always.draw("data", "/file") for _ in range(20)} == {"500"}


def test_a_file_is_missing_once() -> None:
    box = FaultBox(Faults(rates={"404": 1.0}))
    assert [box.draw("data", "/a") for _ in range(3)] == ["404", "", ""]
    assert box.draw("data", "/b") == "404"


def test_searches_and_files_are_aimed_at_apart() -> None:
    box = FaultBox(Faults(metadata={"500": 1.0}, data={"corrupt": 1.0}))
    assert box.draw("metadata", "/search") == "500" and box.draw("data", "/file") == "corrupt"
    assert box.draw("token", "/token") == ""
    # a search is never corrupt, a file told of has other faults than one sent
    box.set(Faults(rates={"corrupt": 1.0, "evicted": 1.0}))
    assert box.draw("metadata", "/search") == "" and box.draw("facts", "/product") == "evicted"
    assert box.counts() == {"500": 1, "corrupt": 1, "evicted": 1}


def test_a_script_comes_before_chance() -> None:
    box = FaultBox(Faults(rates={"500": 1.0}, script=(Scripted("B04", ("503", "ok", "truncated")),)))
    assert [box.draw("data", "/x_B04.jp2") for _ in range(4)] == ["503", "", "truncated", "500"]
    assert box.draw("data", "/x_B03.jp2") == "500"


@pytest.mark.parametrize(
    "make",
    [
        lambda: Faults(rates={"418": 0.1}),
        lambda: Faults(data={"500": 1.5}),
        lambda: Faults(script=(Scripted("(", ("500",)),)),
        lambda: Faults(script=(Scripted("x", ("huh",)),)),
        lambda: Faults(in_a_row=0),
        lambda: faults_from({"rate": {}}),
        lambda: faults_from([1]),
        lambda: faults_from({"script": [{"path": "x"}]}),
        lambda: read_options(["500"]),
        lambda: read_options(["all:500=0.1"]),
    ],
)
def test_faults_that_are_none_are_refused(make: Callable[[], object]) -> None:
    with pytest.raises(ArchiveError):
        make()


def test_faults_go_through_json_and_options() -> None:
    faults = Faults(
        rates={"500": 0.1}, data={"corrupt": 1}, script=(Scripted("x", ("ok",)),), offline=("S2A_x",), seed=9
    )
    assert faults_from(json.loads(json.dumps(faults_document(faults)))) == faults
    assert read_options(["503=0.1", "data:all=0.2"]) == {
        "rates": {"503": 0.1},
        "metadata": {},
        "data": dict.fromkeys(KINDS, 0.2),
    }


# ---- on the wire
class Reader:
    """One file of one product at CDSE, read with plain requests."""

    def __init__(self, archive: Archive, folder: Path) -> None:
        self.archive = archive
        rows = requests.get(f"{archive.url}/odata/v1/Products").json()["value"]
        self.row = min(rows, key=lambda row: row["Name"])
        self.bytes = (folder / self.row["Name"] / "MTD_MSIL2A.xml").read_bytes()
        self.url = (
            f"{archive.url}/odata/v1/Products({self.row['Id']})/Nodes({self.row['Name']})"
            "/Nodes(MTD_MSIL2A.xml)/$value"
        )
        self.login()

    def login(self) -> None:
        answer = requests.post(
            f"{self.archive.url}/auth/realms/CDSE/protocol/openid-connect/token", data=FORM
        ).json()
        self.token = {"Authorization": f"Bearer {answer['access_token']}"}

    def get(self, **headers: str) -> requests.Response:
        return requests.get(self.url, headers=self.token | headers, timeout=5)

    def hit(self, kind: str, **more: Any) -> None:
        self.archive.set_faults(Faults(script=(Scripted("MTD_MSIL2A", (kind,)),), **more))


def test_each_fault_is_what_it_is_called(few: Path) -> None:
    with serve(few) as archive:
        reader = Reader(archive, few)
        for kind, status, words in (
            ("401-604", 401, "DAT-ZIP-604"),
            ("401-609", 401, "DAT-ZIP-609"),
            ("403", 403, "Forbidden"),
            ("404", 404, "Not Found"),
            ("429", 429, "Max session number 4 exceeded"),
            ("500", 500, "Internal"),
            ("503", 503, "Unavailable"),
        ):
            reader.hit(kind)
            answer = reader.get()
            assert (answer.status_code, words in answer.text) == (status, True), kind
            assert reader.get().content == reader.bytes
        reader.hit("429", retry_after_s=7)
        assert reader.get().headers["Retry-After"] == "7"

        reader.hit("truncated")
        with pytest.raises(requests.exceptions.ChunkedEncodingError, match="IncompleteRead"):
            reader.get()
        reader.hit("truncated")
        half = requests.get(reader.url, headers=reader.token, stream=True)
        assert int(half.headers["Content-Length"]) == len(reader.bytes)
        got = half.raw.read(len(reader.bytes) // 2, decode_content=False)
        assert got == reader.bytes[: len(reader.bytes) // 2]

        reader.hit("stalled", stall_s=30)
        start = time.monotonic()
        with pytest.raises(requests.exceptions.ConnectionError):
            requests.get(reader.url, headers=reader.token, timeout=0.5)
        assert 0.4 < time.monotonic() - start < 5

        reader.hit("corrupt")
        wrong = reader.get()
        assert wrong.status_code == 200 and len(wrong.content) == len(reader.bytes)
        assert wrong.content != reader.bytes

        reader.hit("range-ignored")
        answer = reader.get(Range="bytes=100-")
        assert answer.status_code == 200 and answer.content == reader.bytes
        assert reader.get(Range="bytes=100-").status_code == 206

        reader.hit("token-expired")
        with pytest.raises(requests.exceptions.ChunkedEncodingError):
            reader.get()
        answer = reader.get()
        assert answer.status_code == 401 and answer.json()["detail"]["code"] == "DAT-ZIP-109"
        reader.login()
        assert reader.get().content == reader.bytes
        counted = archive.stats()["faults"]
        assert counted["token-expired"] == 1 and counted["truncated"] == 2 and counted["429"] == 2


def test_what_is_told_of_a_product_can_be_wrong(few: Path) -> None:
    with serve(few) as archive:

        def told(**rates: float) -> dict[str, Any]:
            archive.set_faults(Faults(rates={k.replace("_", "-"): v for k, v in rates.items()}))
            rows = requests.get(f"{archive.url}/odata/v1/Products?$orderby=Name").json()["value"]
            return dict(rows[0])

        right = told()
        wrong = told(checksum_wrong=1.0)
        assert {*wrong["Checksum"][0]} == {*right["Checksum"][0]} and wrong["Checksum"] != right["Checksum"]
        assert len(wrong["Checksum"][0]["Value"]) == 32
        missing = told(checksum_missing=1.0)
        assert missing["Checksum"] == [] and missing["ContentLength"] == 0
        gone = told(evicted=1.0)
        assert gone["Online"] is False and gone["EvictionDate"] < "9999" and right["Online"] is True


def test_signed_addresses_expire_in_mid_download(few: Path) -> None:
    with serve(few, faults=Faults(script=(Scripted("/blob/", ("token-expired",)),))) as archive:
        found = requests.get(f"{archive.url}/pc/api/stac/v1/search?limit=1").json()["features"][0]
        href = found["assets"]["granule-metadata"]["href"]
        sign = f"{archive.url}/pc/api/sas/v1/sign"
        signed = requests.get(sign, params={"href": href}).json()["href"]
        with pytest.raises(requests.exceptions.ChunkedEncodingError):
            requests.get(signed)
        assert requests.get(signed).status_code == 403
        assert requests.get(requests.get(sign, params={"href": href}).json()["href"]).status_code == 200


def test_faults_are_switched_and_counted_over_http(few: Path) -> None:
    with serve(few) as archive:
        url = f"{archive.url}/odata/v1/Products"
        order = requests.post(f"{archive.url}/_faults", json={"metadata": {"500": 1.0}})
        assert order.json()["metadata"] == {"500": 1.0} == archive.faults.metadata
        assert requests.get(url).status_code == 500
        assert requests.post(f"{archive.url}/_faults", json={"metadata": {"5": 1.0}}).status_code == 422
        requests.post(f"{archive.url}/_faults", json={})
        assert requests.get(url).status_code == 200
        stats = requests.get(f"{archive.url}/_stats").json()
        assert stats["faults"] == {"500": 1} and stats["requests"]["cdse metadata"] == 2
        assert stats["statuses"]["500"] == 1


# ---- the drill
def fetch_all(url: str, out: Path, *, source: str, keys: tuple[str, ...]) -> dict[str, bytes]:
    """Search and fetch as the pipeline does; of what a source refuses outright, once more."""
    limits = Limits(
        read_timeout=0.3, stall_s=0.3, stall_bytes=1, attempts=12, backoff_s=0.01, backoff_cap_s=0.05
    )
    archive = open_archive(
        source,
        transport=Transport(limits=limits),
        url=url,
        environment=ACCOUNT | ({"EO_CDSE_SEARCH": "stac"} if url.endswith("/cdse") else {}),
    )
    query = Query("sentinel-2-l2a", AREA, date(2021, 9, 1), date(2022, 12, 31))

    def patiently(what: Callable[[], Any]) -> Any:
        for _ in range(8):
            try:
                return what()
            except ArchiveError as error:
                last = error
        raise last

    products: list[Product] = patiently(lambda: list(archive.search(query)))
    found = {}
    for product in products:
        # told to be evicted although it is not: asked again it is there
        for file in patiently(lambda p=product: archive.files(p, keys)):
            target = out / product.name / file.path
            patiently(lambda f=file, t=target: archive.fetch(f, t))
            found[f"{product.name}/{file.path}"] = target.read_bytes()
    assert not [path for path in out.rglob("*") if ".partial" in path.name or path.suffix == ".lock"]
    return found


@pytest.mark.parametrize(
    ("source", "place", "most"),
    [
        ("cdse", "", 6),
        ("cdse", "/cdse", 6),
        ("planetary-computer", "/pc/api/stac/v1", 6),
        ("dhus", "/dhus", 6),
    ],
)
def test_a_season_comes_through_every_fault_whole(
    few: Path, tmp_path: Path, source: str, place: str, most: int
) -> None:
    keys = ("MTD_MSIL2A", "SCL", "B04", "B08", "B11", "manifest")
    with serve(few) as archive:
        right = fetch_all(archive.url + place, tmp_path / "right", source=source, keys=keys)
    assert len(right) == 3 * len(keys)
    if source != "planetary-computer":
        for path, content in right.items():
            assert content == (few / path).read_bytes()
    # wrong bytes show only where a checksum is told, and none of these tells one of a single file
    kinds = [kind for kind in KINDS if kind not in ("corrupt", "evicted")]
    # a search that is refused is not tried again: who is refused has to change something
    faults = Faults.all(0.1, kinds=kinds, metadata={"403": 0.0}, seed=11, retry_after_s=0.01, stall_s=20)
    with serve(few, faults=faults) as archive:
        drill = fetch_all(archive.url + place, tmp_path / "drill", source=source, keys=keys)
        stats = archive.stats()
    assert drill == right
    assert sum(stats["faults"].values()) >= most and len(stats["faults"]) >= 4, stats["faults"]


def test_cut_bodies_are_resumed_and_not_sent_twice(few: Path, tmp_path: Path) -> None:
    with serve(few, faults=Faults(data={"truncated": 0.5}, seed=2)) as archive:
        found = fetch_all(archive.url, tmp_path, source="cdse", keys=("B02", "B08"))
        assert archive.stats()["bytes"] == sum(map(len, found.values()))
        assert archive.stats()["statuses"]["206"] > 0


# ---- the server itself
def test_it_listens_on_this_machine_only(few: Path, tmp_path: Path) -> None:
    for host in ("0.0.0.0", "192.168.1.1", "example.org"):
        with pytest.raises(ArchiveError, match="this machine only"), serve(few, host=host):
            pass
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(ArchiveError, match="cannot listen"), serve(few, port=taken.getsockname()[1]):
            pass
    with pytest.raises(ArchiveError, match="is no folder"), serve(tmp_path / "none"):
        pass


def test_a_folder_without_products_or_with_a_broken_one_is_refused(few: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(ArchiveError, match="holds no Sentinel product"), serve(tmp_path / "empty"):
        pass
    broken = next(few.iterdir()) / "MTD_MSIL2A.xml"
    broken.write_text(broken.read_text()[:200])
    with pytest.raises(ArchiveError, match=r"cannot be served: MTD_MSIL2A\.xml"), serve(few):
        pass


def test_products_that_come_later_are_found(few: Path, tmp_path: Path) -> None:
    name = sorted(path.name for path in few.iterdir())[0]
    (few / name).rename(tmp_path / name)
    with serve(few) as archive:
        url = f"{archive.url}/odata/v1/Products?$count=true"
        assert requests.get(url).json()["@odata.count"] == 2
        (tmp_path / name).rename(few / name)
        archive.refresh()
        assert requests.get(url).json()["@odata.count"] == 3


def test_connections_are_kept_and_used_again(few: Path) -> None:
    with serve(few) as archive, requests.Session() as session:
        for _ in range(5):
            session.get(f"{archive.url}/stac/v1")
            session.post(f"{archive.url}/stac/v1/search", json={})
        pools = session.get_adapter(archive.url).poolmanager.pools  # type: ignore[attr-defined]
        (pool,) = (pools[key] for key in pools.keys())  # noqa: SIM118 - it is no mapping
        assert pool.num_connections == 1 and pool.num_requests == 10


def test_its_own_process_has_the_same_face_and_ends_with_its_parent(few: Path) -> None:
    with serve_process(few, faults=Faults(metadata={"500": 1.0}), connections=2) as archive:
        assert requests.get(f"{archive.url}/stac/v1").status_code == 500
        archive.set_faults(Faults())
        assert archive.faults == Faults() and archive.stats()["faults"] == {"500": 1}
        assert requests.get(f"{archive.url}/stac/v1").status_code == 200
        url = archive.url
    with pytest.raises(requests.ConnectionError):
        requests.get(url)
    with (
        pytest.raises(ArchiveError, match="is no folder"),
        serve_process(few / "nothing"),
    ):
        pass
    with pytest.raises(ArchiveError, match="option is not known"), serve_process(few, huh=1):
        pass


def test_the_command_serves_until_it_is_stopped(few: Path) -> None:
    code = (
        "import typer; from eo_pipeline import cli_archive; app = typer.Typer(); "
        "app.callback()(lambda: None); cli_archive.register(app); app()"
    )
    order = [
        sys.executable,
        "-u",
        "-c",
        code,
        "archive",
        str(few),
        "--port",
        "0",
        "--fault",
        "metadata:503=1",
    ]
    # a process started in the background of a shell inherits that Ctrl-C is ignored
    heard = ["env", "--default-signal=INT", *order]
    with subprocess.Popen(heard, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None and child.stderr is not None
        first = child.stdout.readline()
        assert "模拟数据 / simulated" in first and "this machine only" in first
        url = next(word for word in first.split() if word.startswith("http://127.0.0.1:"))
        assert json.load(urlopen(f"{url}/"))["products"] == 3
        assert requests.get(f"{url}/odata/v1/Products").status_code == 503
        child.send_signal(signal.SIGINT)
        rest, errors = child.stdout.read(), child.stderr.read()
    assert child.returncode == 0, errors
    for kind in ("cdse", "earth-search", "planetary-computer", "dhus"):
        assert f'kind = "{kind}"' in rest
    assert "Stopped." in rest
    bad = subprocess.run([*order[:-1], "nothing=1"], check=False, capture_output=True, text=True, timeout=60)
    assert bad.returncode == 2 and "No fault is called 'nothing'" in bad.stderr


def test_what_the_command_prints_is_a_source_of_a_season_file(tmp_path: Path) -> None:
    text = greeting("http://127.0.0.1:8870", user="a", password="b", folder=tmp_path)
    tables = text.split("[source]")[1:]
    kinds = []
    for number, table in enumerate(tables):
        path = tmp_path / f"{number}.toml"
        head = '[season]\nid = "a"\ntitle = "a"\nstart = 2022-01-01\nend = 2022-12-31\n[region]\nname = "a"\n'
        path.write_text(f'{head}bbox = [105, 35, 106, 36]\n[output]\nroot = "runs"\n[source]{table}')
        source = read_season(path).source
        assert source.sentinel is not None and source.sentinel.url.startswith("http://127.0.0.1:8870")
        kinds.append(source.kind)
    assert kinds == ["cdse", "earth-search", "planetary-computer", "dhus", "cdse"]
