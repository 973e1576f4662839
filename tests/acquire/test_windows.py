"""Windows of rasters at an archive, through the transport; against a real server that misbehaves."""

from __future__ import annotations

import json
import logging
import pickle
import re
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pytest
import rasterio
import rasterio.shutil
from loopback import Handler, Site, cut, status
from rasterio.transform import from_origin
from rasterio.vrt import WarpedVRT
from rasterio.windows import Window

from eo_pipeline.acquire import windows
from eo_pipeline.acquire.pacing import Limits
from eo_pipeline.acquire.sources.base import READ_OPTIONS
from eo_pipeline.acquire.transport import Transport
from eo_pipeline.acquire.windows import Raster, remote_path
from eo_pipeline.errors import RemoteReadError

SIDE, BLOCK = 1500, 256
CORNER = Window(512, 768, 512, 256)  # two blocks


@pytest.fixture(scope="module")
def values() -> np.ndarray:
    return np.random.default_rng(4).integers(1, 9000, (SIDE, SIDE), dtype=np.uint16)


@pytest.fixture(scope="module")
def cog(values: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("cog") / "B04.tif"
    with rasterio.MemoryFile() as memory:
        with memory.open(
            driver="GTiff", width=SIDE, height=SIDE, count=1, dtype="uint16", crs="EPSG:32648",
            transform=from_origin(400_000, 3_900_000, 10, 10), nodata=0,
        ) as plain:  # fmt: skip
            plain.write(values, 1)
        with memory.open() as plain:
            rasterio.shutil.copy(
                plain, path, driver="COG", COMPRESS="DEFLATE", PREDICTOR="YES", BLOCKSIZE=str(BLOCK)
            )
    return path.read_bytes()


@pytest.fixture
def shown(site: Site, cog: bytes, limits: Limits, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """The site as a source, asked by a process that has asked nothing before."""
    site.files["/B04.tif"] = cog
    unhurried = replace(limits, connections=2, read_timeout=10, stall_s=10)
    kinds = [Transport(limits=replace(unhurried, attempts=count)) for count in (2, limits.attempts)]
    monkeypatch.setattr(windows, "_transport", lambda patient: kinds[patient])
    for kept in (windows._archive, windows._head):
        kept.cache_clear()
    windows._failed.clear()
    with rasterio.Env(**READ_OPTIONS):
        yield site
    for kept in (windows._archive, windows._head):
        kept.cache_clear()


def path_of(site: Site, source: str = "earth-search") -> str:
    return remote_path(f"{site.url}/B04.tif", source, f"{site.url}/api/stac/v1")


def seen_in(values: np.ndarray, window: Window = CORNER) -> np.ndarray:
    rows, columns = window.toslices()
    return values[rows, columns]


def test_a_window_costs_its_blocks_and_the_head_once(
    shown: Site, cog: bytes, values: np.ndarray, tmp_path: Path
) -> None:
    with Raster(path_of(shown)) as raster:
        np.testing.assert_array_equal(raster.read(1, window=CORNER), seen_in(values))
        assert len(shown.seen) == 2  # the head, and both blocks in one
        assert shown.sent < (1 << 15) + 1.1 * 2 * 2 * BLOCK * BLOCK < len(cog) / 5
        # reduced, warped and read by another thread it is what a file on disk gives
        (tmp_path / "B04.tif").write_bytes(cog)
        with rasterio.open(tmp_path / "B04.tif") as file:
            np.testing.assert_array_equal(
                raster.read(1, out_shape=(94, 94)), file.read(1, out_shape=(94, 94))
            )
            with WarpedVRT(raster.data, crs="EPSG:4326") as one, WarpedVRT(file, crs="EPSG:4326") as other:
                np.testing.assert_array_equal(one.read(1), other.read(1))
        with ThreadPoolExecutor(1) as pool:
            found = pool.submit(raster.read, 1, window=Window(0, 0, 300, 300)).result()
        np.testing.assert_array_equal(found, values[:300, :300])
    shown.seen.clear()
    with Raster(path_of(shown)) as raster:
        assert raster.data.shape == (SIDE, SIDE)
        np.testing.assert_array_equal(raster.read(1, window=CORNER), seen_in(values))
    assert len(shown.seen) == 1


def test_connections_are_limited_and_trouble_is_waited_out(shown: Site, values: np.ndarray) -> None:
    def whole(handler: Handler) -> bool:  # a server that heeds no Range
        return handler.answer(200, handler.site.files["/B04.tif"])

    shown.trouble["/B04.tif"] = [status(503), cut(3000), whole, status(500), cut(0)]
    with Raster(path_of(shown)) as raster:
        np.testing.assert_array_equal(raster.read(1, window=CORNER), seen_in(values))
    assert shown.trouble["/B04.tif"] == []
    windows._head.cache_clear()
    while shown.busy:  # with what nobody reads any more
        time.sleep(0.01)
    shown.pace, shown.most = 0.002, 0

    def read(column: int) -> np.ndarray:
        with rasterio.Env(**READ_OPTIONS), Raster(path_of(shown)) as raster:
            return raster.read(1, window=Window(column * BLOCK, 0, BLOCK, 1024))

    with ThreadPoolExecutor(5) as pool:
        for column, found in enumerate(pool.map(read, range(5))):
            np.testing.assert_array_equal(found, values[:1024, column * BLOCK : (column + 1) * BLOCK])
    assert shown.most == 2


def test_what_can_be_read_no_more_is_told_and_other_versions_are_not_mixed(
    shown: Site, cog: bytes, values: np.ndarray
) -> None:
    where = f"{shown.url}/B04.tif"
    raster = Raster(path_of(shown))
    shown.always["/B04.tif"] = status(404, b"gone")
    with pytest.raises(RemoteReadError, match=r"B04\.tif cannot be read: .*404") as caught, raster:
        raster.read(1, window=CORNER)
    error = pickle.loads(pickle.dumps(caught.value))
    assert list(error.reasons) == [where] and str(error) == str(caught.value)
    with pytest.raises(RemoteReadError, match="404"):
        Raster(path_of(shown))
    del shown.always["/B04.tif"]
    raster = Raster(path_of(shown))
    shown.files["/B04.tif"] = cog[:-1] + bytes([cog[-1] ^ 1])  # as long as before
    with pytest.raises(RemoteReadError, match="changed at its source"), raster:
        raster.read(1, window=CORNER)
    with Raster(path_of(shown)) as raster:  # from now on it is the new one
        np.testing.assert_array_equal(raster.read(1, window=CORNER), seen_in(values))
    shown.files["/B04.tif"] = b"<html>sign in</html>" * 5000
    windows._head.cache_clear()
    with pytest.raises(RemoteReadError, match=r"B04\.tif cannot be read"):
        Raster(path_of(shown))


def test_a_source_that_is_down_is_not_waited_for_again_and_again(shown: Site, values: np.ndarray) -> None:
    shown.always["/B04.tif"] = status(503)
    asked = []
    for _ in range(5):
        shown.seen.clear()
        with pytest.raises(RemoteReadError, match="503"):
            Raster(path_of(shown))
        asked.append(len(shown.seen))
    assert asked == [6, 6, 6, 2, 2]
    del shown.always["/B04.tif"]
    for trouble in ([], [status(503)] * 4):  # it answers, and has all its tries again
        shown.trouble["/B04.tif"] = trouble
        with Raster(path_of(shown)) as raster:
            np.testing.assert_array_equal(raster.read(1, window=CORNER), seen_in(values))
        windows._head.cache_clear()


def test_a_signature_that_ends_in_mid_reading_is_made_anew_and_never_told(
    shown: Site, values: np.ndarray, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    given: dict[str, datetime] = {}

    def sign(handler: Handler) -> bool:
        href = parse_qs(urlsplit(handler.path).query)["href"][0]
        end = datetime.now(UTC) + timedelta(seconds=0.5)
        given[f"n{len(given)}"] = end
        answer = {"href": f"{href}?sig=n{len(given) - 1}", "msft:expiry": end.isoformat()}
        return handler.answer(200, json.dumps(answer).encode(), Content_Type="application/json")

    def guard(handler: Handler) -> bool:
        (name,) = parse_qs(urlsplit(handler.path).query).get("sig", [""])
        good = name in given and given[name] > datetime.now(UTC)
        return not good and handler.answer(403, b"expired")

    shown.always["/api/sas/v1/sign"], shown.always["/B04.tif"] = sign, guard
    with Raster(path_of(shown, "planetary-computer")) as raster:
        assert raster.data.name.endswith("/B04.tif")  # no signature in what messages show
        for row in range(0, 1024, BLOCK):
            window = Window(0, row, SIDE, BLOCK)
            np.testing.assert_array_equal(raster.read(1, window=window), seen_in(values, window))
            time.sleep(0.3)
        assert len(given) >= 2
        # or it is refused before its time
        given.update(dict.fromkeys(given, datetime.now(UTC)))
        window = Window(0, 1024, SIDE, BLOCK)
        np.testing.assert_array_equal(raster.read(1, window=window), seen_in(values, window))
    shown.always["/B04.tif"] = lambda handler: handler.answer(403, b"never")
    refused = pytest.raises(RemoteReadError, match=r"/B04\.tif cannot be read.*403")
    with refused as unread, Raster(path_of(shown, "planetary-computer")) as raster:
        raster.read(1, window=Window(512, 1152, BLOCK, BLOCK))
    assert not re.search(r"sig=n\d", str(unread.value) + caplog.text)
