"""Parts of a raster that lies elsewhere: no more bytes than needed, and every one of them right."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest
import rasterio
import rasterio.shutil
from loopback import Handler, Site, cut, other, status
from rasterio.transform import from_origin
from rasterio.windows import Window

from eo_pipeline.acquire.checks import DamagedError
from eo_pipeline.acquire.pacing import watched
from eo_pipeline.acquire.parts import Copy, Part, read_part
from eo_pipeline.acquire.transport import AnswerError, Transport
from eo_pipeline.errors import ArchiveError

SIDE, BLOCK = 1500, 256
WINDOW = Window(512, 768, 512, 256)  # two blocks


@pytest.fixture(scope="module")
def values() -> np.ndarray:
    return np.random.default_rng(4).gamma(4.4, 0.02, (SIDE, SIDE)).astype(np.float32)


@pytest.fixture(scope="module")
def cog(values: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("cog") / "vv.tif"
    with rasterio.MemoryFile() as memory:
        with memory.open(
            driver="GTiff", width=SIDE, height=SIDE, count=1, dtype="float32", crs="EPSG:32648",
            transform=from_origin(400_000, 3_900_000, 10, 10), nodata=-32768,
        ) as plain:  # fmt: skip
            plain.write(values, 1)
        with memory.open() as plain:
            rasterio.shutil.copy(
                plain, path, driver="COG", COMPRESS="DEFLATE", PREDICTOR="YES", BLOCKSIZE=str(BLOCK)
            )
    return path.read_bytes()


@pytest.fixture
def shown(site: Site, cog: bytes) -> Site:
    site.files["/vv.tif"] = cog
    return site


def copy_of(site: Site, transport: Transport, path: Path) -> Copy:
    return Copy(lambda a, b: read_part(transport, f"{site.url}/vv.tif", a, b), path, "vv.tif")


def window_through(copy: Copy, window: Window = WINDOW) -> np.ndarray:
    with copy.opened() as raster:
        copy.bring(raster, window)
        return raster.read(1, window=window)


def seen_in(values: np.ndarray, window: Window = WINDOW) -> np.ndarray:
    rows, columns = window.toslices()
    return values[rows, columns]


def test_a_window_costs_its_blocks_and_the_head(
    shown: Site, transport: Transport, values: np.ndarray, tmp_path: Path
) -> None:
    np.testing.assert_array_equal(window_through(copy_of(shown, transport, tmp_path / "c")), seen_in(values))
    whole = len(shown.files["/vv.tif"])
    assert (tmp_path / "c").stat().st_size == whole
    blocks = 2 * BLOCK * BLOCK * 4
    assert shown.sent < 2 * (1 << 16) + 1.2 * blocks < whole / 5
    assert len(shown.seen) == 4  # the head in one piece and in two, two neighbours in one request


def test_what_is_there_is_not_fetched_again_and_a_new_file_is_not_mixed_with_the_old(
    shown: Site, transport: Transport, values: np.ndarray, tmp_path: Path
) -> None:
    window_through(copy_of(shown, transport, tmp_path / "c"))
    shown.seen.clear()
    shown.sent = 0
    wider = Window(512, 768, 768, 256)
    found = window_through(copy_of(shown, transport, tmp_path / "c"), wider)
    np.testing.assert_array_equal(found, seen_in(values, wider))
    assert len(shown.seen) == 4 and shown.sent < 2 * (1 << 16) + 1.2 * BLOCK * BLOCK * 4
    # the source makes the file anew: the old copy's blocks count no more
    path = tmp_path / "new.tif"
    path.write_bytes(shown.files["/vv.tif"])
    with rasterio.open(path, "r+", IGNORE_COG_LAYOUT_BREAK="YES") as raster:
        raster.write(values[:BLOCK, :BLOCK] * 2, 1, window=Window(512, 768, BLOCK, BLOCK))
    shown.files["/vv.tif"] = path.read_bytes()
    again = window_through(copy_of(shown, transport, tmp_path / "c"))
    np.testing.assert_array_equal(again[:, :BLOCK], values[:BLOCK, :BLOCK] * 2)


def test_wrong_bytes_are_fetched_again(
    shown: Site, transport: Transport, values: np.ndarray, tmp_path: Path
) -> None:
    right = shown.files["/vv.tif"]
    # the fourth request is for the blocks; the head is asked for in three
    wrong = bytearray(right)
    with rasterio.MemoryFile(right) as memory, memory.open() as raster:
        offset = int(raster.get_tag_item("BLOCK_OFFSET_2_3", "TIFF", bidx=1))
    wrong[offset + 40_000] ^= 0xFF

    def damaged(handler: Handler) -> bool:
        if not handler.headers["Range"].startswith(f"bytes={offset}-"):
            return False
        return serve_range(handler, bytes(wrong))

    shown.trouble["/vv.tif"] = [damaged] * 4
    np.testing.assert_array_equal(window_through(copy_of(shown, transport, tmp_path / "c")), seen_in(values))
    assert len(shown.seen) == 5
    shown.always["/vv.tif"] = damaged
    with pytest.raises(DamagedError, match=r"vv.tif: 1 blocks came damaged 4 times"):
        window_through(copy_of(shown, transport, tmp_path / "d"))


def serve_range(handler: Handler, whole: bytes) -> bool:
    """A part of another file, with the right file's ETag left out."""
    start, stop = map(int, handler.headers["Range"].removeprefix("bytes=").split("-"))
    part = whole[start : stop + 1]
    told = f"bytes {start}-{start + len(part) - 1}/{len(whole)}"
    return handler.answer(206, part, Content_Range=told)


def test_a_head_that_is_another_each_time_is_not_believed(
    shown: Site, transport: Transport, tmp_path: Path
) -> None:
    count = iter(range(100))

    def changing(handler: Handler) -> bool:
        return serve_range(handler, bytes([next(count)]) + handler.site.files["/vv.tif"][1:])

    shown.always["/vv.tif"] = changing
    with pytest.raises(DamagedError, match="begins with other bytes each time"):
        window_through(copy_of(shown, transport, tmp_path / "c"))


def test_faults_on_the_way_are_waited_out(
    shown: Site, transport: Transport, values: np.ndarray, tmp_path: Path
) -> None:
    def whole(handler: Handler) -> bool:  # a server that heeds no Range
        return handler.answer(200, handler.site.files["/vv.tif"])

    shown.trouble["/vv.tif"] = [status(503), cut(3000), whole, status(500), cut(0)]
    np.testing.assert_array_equal(window_through(copy_of(shown, transport, tmp_path / "c")), seen_in(values))
    shown.always["/vv.tif"] = whole
    with pytest.raises(ArchiveError, match="instead of a part"):
        read_part(transport, f"{shown.url}/vv.tif", 0, 100)
    with pytest.raises(AnswerError, match="404"):
        read_part(transport, f"{shown.url}/none.tif", 0, 100)


def test_what_is_thrown_away_is_not_counted(
    shown: Site, transport: Transport, values: np.ndarray, tmp_path: Path
) -> None:
    def counted(copy: Path) -> int:
        told: list[int] = []
        with watched(told.append, threading.Event()):
            np.testing.assert_array_equal(window_through(copy_of(shown, transport, copy)), seen_in(values))
        return sum(told)

    calm = counted(tmp_path / "calm")
    blocks = 2 * BLOCK * BLOCK * 4
    assert 0.5 * blocks < calm - (1 << 16) < 1.2 * blocks  # the head once, although it is read twice
    wrong = (np.frombuffer(shown.files["/vv.tif"], dtype=np.uint8) ^ 0xFF).tobytes()

    def damaged(handler: Handler) -> bool:
        return serve_range(handler, wrong)

    shown.trouble["/vv.tif"] = [cut(30_000), damaged, cut(1), cut(20_000), damaged, cut(0)]
    assert counted(tmp_path / "stormy") == calm
    # where every try breaks, nothing is left to count
    shown.always["/vv.tif"] = cut(30_000)
    told: list[int] = []
    with watched(told.append, threading.Event()), pytest.raises(ArchiveError):
        read_part(transport, f"{shown.url}/vv.tif", 0, 50_000)
    assert max(told) > 0 and sum(told) == 0


def test_a_part_at_the_end_is_shorter(shown: Site, transport: Transport) -> None:
    whole = shown.files["/vv.tif"]
    part = read_part(transport, f"{shown.url}/vv.tif", len(whole) - 5, len(whole) + 5)
    assert part == Part(len(whole) - 5, whole[-5:], len(whole), part.etag)
    assert part.etag


# ---- whole files without a checksum
def test_a_wrong_byte_outside_the_pixels_of_a_download_is_found(
    shown: Site, transport: Transport, values: np.ndarray, tmp_path: Path
) -> None:
    right = shown.files["/vv.tif"]
    wrong = right.replace(b"WGS 84", b"WGS 85", 1)  # in the name of its CRS
    assert wrong != right
    url, target = f"{shown.url}/vv.tif", tmp_path / "vv.tif"

    def fetched() -> int:
        """Bring it; how often it was asked for."""
        shown.seen.clear()
        transport.download(url, target)
        assert target.read_bytes() == right
        target.unlink()
        return len(shown.seen)

    assert fetched() == 2
    shown.trouble["/vv.tif"] = [other(wrong)]
    assert fetched() == 2 + 3  # held against two answers, thrown away, fetched again
    part = lambda handler: serve_range(handler, wrong)  # noqa: E731
    shown.trouble["/vv.tif"] = [status(503), lambda handler: False, status(503), part]
    assert fetched() == 2 + 3  # the answer it is held against may be the wrong one
    shown.ranges = False
    assert fetched() == 2
    # a plain raster has its directory behind the pixels
    plain = tmp_path / "plain.tif"
    with rasterio.open(
        plain, "w", driver="GTiff", width=SIDE, height=SIDE, count=1, dtype="float32", compress="deflate"
    ) as raster:
        raster.write(values, 1)
        raster.update_tags(PLACE="far behind")
    shown.ranges, shown.files["/vv.tif"] = True, plain.read_bytes()
    right = shown.files["/vv.tif"]
    assert right.index(b"far behind") > len(right) // 2
    shown.trouble["/vv.tif"] = [other(right.replace(b"far behind", b"far before"))]
    assert fetched() > 4


def test_what_is_no_raster_is_refused(shown: Site, transport: Transport, tmp_path: Path) -> None:
    shown.files["/vv.tif"] = b"<html>sign in</html>" * 500
    with pytest.raises(DamagedError, match=r"vv\.tif cannot be read in parts"):
        window_through(copy_of(shown, transport, tmp_path / "c"))
