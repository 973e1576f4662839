"""Folders, local and in S3-compatible storage: the same words do the same, and failures say what to do."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from loopback_s3 import ENVIRONMENT, SECRET, make_bucket, s3_server

from eo_pipeline.errors import StorageError
from eo_pipeline.storage import Folder


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with s3_server(tmp_path_factory.mktemp("s3") / "server.log") as url:
        make_bucket(url, "crops")
        yield url


@pytest.fixture
def s3(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> str:
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
    return endpoint


@pytest.fixture(params=["local", "s3"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Folder]:
    if request.param == "local":
        yield Folder.of(tmp_path / "work")
        return
    request.getfixturevalue("s3")
    found = Folder.of(f"s3://crops/{tmp_path.name}/work")
    yield found
    found.delete_tree()


def test_files_are_written_listed_read_and_removed(folder: Folder) -> None:
    folder.write("tasks/screen/b1.json", b"one")
    folder.write("tasks/screen/b2.json", b"two")
    folder.write("tasks-of-others/b3.json", b"three")
    folder.write("tasks/screen/b2.json", b"two again")
    assert folder.read("tasks/screen/b2.json") == b"two again"
    assert folder.names() == ["tasks-of-others/b3.json", "tasks/screen/b1.json", "tasks/screen/b2.json"]
    assert folder.names("tasks") == ["tasks/screen/b1.json", "tasks/screen/b2.json"]
    assert (folder / "tasks").names("screen") == ["screen/b1.json", "screen/b2.json"]
    assert folder.names("none") == []
    assert folder.read_many(["tasks/screen/b1.json", "none.json"]) == {"tasks/screen/b1.json": b"one"}
    assert folder.exists("tasks/screen/b1.json")
    assert not folder.exists("tasks/screen")
    folder.delete("tasks/screen/b1.json")
    folder.delete("tasks/screen/b1.json")
    assert not folder.exists("tasks/screen/b1.json")
    with pytest.raises(FileNotFoundError):
        folder.read("tasks/screen/b1.json")
    folder.delete_tree("tasks")
    assert folder.names() == ["tasks-of-others/b3.json"]
    folder.delete_tree()
    assert folder.names() == []


def test_of_several_first_writers_one_wins(folder: Folder) -> None:
    with ThreadPoolExecutor(8) as pool:
        won = list(pool.map(lambda number: folder.write_new("lock", b"%d" % number), range(8)))
    assert won.count(True) == 1
    assert folder.read("lock") == b"%d" % won.index(True)


def test_zarr_arrays_read_back(folder: Folder) -> None:
    import zarr

    values = np.arange(12, dtype=np.int16).reshape(3, 4)
    group = zarr.open_group(folder.zarr_store("cube/t.zarr"), mode="w", zarr_format=3)
    group.create_array("reflectance", shape=(3, 4), dtype="int16", chunks=(2, 2))[...] = values
    again = zarr.open_group(folder.zarr_store("cube/t.zarr", read_only=True), mode="r")
    assert np.array_equal(again["reflectance"][...], values)
    assert "cube/t.zarr/zarr.json" in folder.names("cube")


def test_gdal_reads_from_it(folder: Folder, tmp_path: Path) -> None:
    import rasterio

    made = tmp_path / "made.tif"
    values = np.arange(64, dtype=np.uint16).reshape(1, 8, 8)
    profile = {"driver": "GTiff", "width": 8, "height": 8, "count": 1, "dtype": "uint16", "crs": "EPSG:32648"}
    profile["transform"] = rasterio.transform.from_origin(0, 0, 10, 10)
    with rasterio.open(made, "w", **profile) as raster:
        raster.write(values)
    folder.write("scenes/made.tif", made.read_bytes())
    with (
        rasterio.Env(**folder.gdal_options()),
        rasterio.open(folder.gdal_path("scenes/made.tif")) as raster,
    ):
        assert np.array_equal(raster.read(), values)


def test_a_pickled_folder_takes_no_secret_along(s3: str) -> None:
    folder = Folder.of("s3://crops/season")
    folder.write("secretless", b"x")  # the connection exists
    for thing in (folder, folder.zarr_store("cube")):
        assert SECRET.encode() not in pickle.dumps(thing)
    assert pickle.loads(pickle.dumps(folder)) == folder
    assert SECRET not in repr(folder)
    code = "import pickle, sys; print(pickle.loads(sys.stdin.buffer.read()).read('secretless').decode())"
    done = subprocess.run(
        [sys.executable, "-c", code],
        input=pickle.dumps(folder),
        capture_output=True,
        timeout=60,
        check=True,
    )
    assert done.stdout == b"x\n"


def test_names_joined_parents_and_kinds() -> None:
    folder = Folder.of("s3://crops//season/") / "tasks"
    assert folder.url == "s3://crops/season/tasks"
    assert (folder.bucket, folder.prefix) == ("crops", "season/tasks")
    assert folder.parent / folder.name == folder
    assert folder.local_path is None and Folder.of("x").local_path == Path.cwd() / "x"
    assert Folder.of("/data/a/../b").url == "/data/b"
    assert Folder.of("/data").gdal_path("a.tif") == "/data/a.tif"
    assert folder.gdal_path("a.tif") == "/vsis3/crops/season/tasks/a.tif"


@pytest.mark.parametrize("where", ["s3://", "s3:///x", "gs://bucket/x", "s3://crops/../x"])
def test_a_place_that_is_none_is_refused(where: str) -> None:
    with pytest.raises(StorageError, match="s3://"):
        Folder.of(where)


@pytest.mark.parametrize("name", ["", "/etc/passwd", "../x", "a//b", "a/../../b"])
def test_a_name_does_not_leave_its_folder(tmp_path: Path, name: str) -> None:
    with pytest.raises(StorageError, match="no name within a folder"):
        Folder.of(tmp_path).write(name, b"")


def test_failures_say_what_to_do(s3: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(StorageError, match=r"no bucket “nobody”. Create it"):
        Folder.of("s3://nobody/x").check()
    with pytest.raises(StorageError, match="no bucket “nobody”"):
        Folder.of("s3://nobody/x").names()
    with pytest.raises(StorageError, match="no bucket “nobody”"):
        Folder.of("s3://nobody/x").exists("y")
    Folder.of("s3://crops/x").check()
    assert Folder.of("s3://crops/x").names() == []
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    started = time.monotonic()
    with pytest.raises(StorageError, match=r"http://127.0.0.1:9 does not answer. Check AWS_ENDPOINT_URL"):
        Folder.of("s3://crops/x").read("y")
    assert time.monotonic() - started < 60
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    with pytest.raises(StorageError, match=r"no credentials on \S+\. Set AWS_ACCESS_KEY_ID"):
        Folder.of("s3://crops/x").read("y")


def test_a_wrong_key_is_told(s3: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import threading
    from http.server import BaseHTTPRequestHandler, HTTPServer

    class Refusing(BaseHTTPRequestHandler):
        """Answers as S3 does to a key it does not know (moto checks none)."""

        def do_GET(self) -> None:
            body = b"<Error><Code>InvalidAccessKeyId</Code><Message>unknown</Message></Error>"
            self.send_response(403)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *arguments: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Refusing) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.server_port}")
        with pytest.raises(StorageError, match=r"does not accept the key\. Check AWS_ACCESS_KEY_ID") as error:
            Folder.of("s3://crops/x").read("y")
        server.shutdown()
    assert SECRET not in str(error.value)


def test_a_local_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="cannot be written"):
        Folder.of(tmp_path / "file" / "below").check()


WRITER = """
import sys
from eo_pipeline.storage import Folder
folder = Folder.of(sys.argv[1])
print("go", flush=True)
number = 0
while True:
    number += 1
    folder.write("state", (b"%d " % number) * 200_000)
"""


def test_a_killed_writer_leaves_the_old_file_or_the_new(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    for _ in range(5):
        process = subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path)], stdout=subprocess.PIPE)
        assert process.stdout is not None and process.stdout.readline() == b"go\n"
        while not (tmp_path / "state").exists():
            time.sleep(0.001)
        time.sleep(rng.uniform(0, 0.05))
        process.kill()
        process.wait()
        process.stdout.close()
        words = (tmp_path / "state").read_bytes().split()
        assert len(words) == 200_000 and len(set(words)) == 1
    folder = Folder.of(tmp_path)
    assert folder.names() == ["state"]
    folder.sweep(older_than=0)
    assert [path.name for path in tmp_path.iterdir()] == ["state"]
