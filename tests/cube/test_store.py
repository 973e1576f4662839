"""The store's files: cut as the blocks are, replaced whole, and marked while they are being updated."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import time
from datetime import date
from pathlib import Path

import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from obstore.store import MemoryStore
from zarr.storage import ObjectStore

from eo_pipeline.cube.shards import chunk_of, read_shards, shard_side, use_fast_reading, write_shards
from eo_pipeline.cube.store import NODATA, Layout, TileStore, make_array, open_group
from eo_pipeline.errors import CubeError
from eo_pipeline.grid import Block, Grid, cut, dekads

STEPS = dekads(date(2026, 5, 1), date(2026, 6, 10))
GRID = Grid("EPSG:32648", (10.0, 0.0, 500_000.0, 0.0, -10.0, 4_000_000.0), 90, 70)


def store_of(path: Path, block: int, product_block: int = 0, grid: Grid = GRID) -> tuple[TileStore, Layout]:
    layout = Layout("48SXD", grid, ("B04", "B08"), STEPS, block, product_block)
    store = TileStore(path)
    store.create(layout)
    return store, layout


# ---- cutting ----
@given(st.integers(1, 4096), st.integers(1, 12_000))
def test_chunks_divide_shards_and_shards_cover_blocks(block: int, extent: int) -> None:
    side = shard_side(block, extent)
    chunk = chunk_of(side)
    assert side % chunk == 0 and side >= min(block, extent)
    assert side == block or block > extent
    if block in (256, 512, 600, 1024, 2048):
        assert chunk <= 256


def test_one_block_is_one_shard(tmp_path: Path) -> None:
    store, _ = store_of(tmp_path / "t.zarr", 2048, 512, Grid(GRID.crs, GRID.transform, 10_980, 10_980))
    assert store.array("reflectance").shards == (1, 2, 2048, 2048)
    assert store.array("reflectance").chunks == (1, 1, 256, 256)
    assert store.array("clear_count").shards == (1, 2048, 2048)
    assert store.array("usable").shards == (4, 512, 512) and store.array("usable").chunks == (1, 256, 256)


@settings(deadline=None, max_examples=25)
@given(st.data())
def test_zarr_reads_what_was_written(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    # given any cut, and numbers some blocks of which are empty
    height, width = data.draw(st.integers(1, 80)), data.draw(st.integers(1, 80))
    size, other = data.draw(st.integers(3, 90)), data.draw(st.integers(3, 90))
    grid = Grid(GRID.crs, GRID.transform, width, height)
    store, layout = store_of(tmp_path_factory.mktemp("s") / "t.zarr", size, other, grid)
    store.require(layout, "crop_type", "uint8", 255)
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    cube = rng.integers(-2000, 9000, (4, 2, height, width)).astype(np.int16)
    cube[rng.random(4) < 0.4] = NODATA
    crops = rng.integers(0, 5, (height, width)).astype(np.uint8)
    usable = rng.integers(0, 2, (4, height, width)).astype(np.uint8)
    # when it is written block by block
    for block in cut("t", grid, size=size):
        for step in data.draw(st.permutations(range(4))):
            store.write("reflectance", block, cube[step][:, *block.slices], step=step)
    for block in cut("t", grid, size=other):
        store.write("crop_type", block, crops[block.slices])
        store.write("usable", block, usable[:, *block.slices])
    # then zarr alone reads the same, with either pipeline
    for pipeline in ("zarr.core.codec_pipeline.BatchedCodecPipeline", zarr.config.get("codec_pipeline.path")):
        with zarr.config.set({"codec_pipeline.path": pipeline}):
            group = zarr.open_group(str(store.path), mode="r")
            np.testing.assert_array_equal(group["reflectance"][:], cube)
            np.testing.assert_array_equal(group["crop_type"][:], crops)
            np.testing.assert_array_equal(group["usable"][:], usable)


def test_a_shard_reaches_the_disk_before_it_takes_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # given a store, and a power cut that may come at any moment
    store, _ = store_of(tmp_path / "t.zarr", 32)
    shard, synced = tmp_path / "t.zarr/reflectance/c/0/0/0/0", list[tuple[int, bool]]()
    monkeypatch.setattr("os.fsync", lambda file: synced.append((os.fstat(file).st_size, shard.exists())))
    # when a block is written
    store.write("reflectance", Block("t", 0, 0, 32, 32), np.ones((2, 32, 32), dtype=np.int16), step=0)
    # then its bytes are told to the disk while the name is still free
    assert synced == [(shard.stat().st_size, False)]


@pytest.mark.parametrize("left", [0, 10, -3])
def test_a_damaged_file_on_the_disk_is_told_with_its_cure(tmp_path: Path, left: int) -> None:
    store, _ = store_of(tmp_path / "t.zarr", 32)
    block = Block("t", 0, 0, 32, 32)
    store.write("reflectance", block, np.ones((2, 32, 32), dtype=np.int16), step=0)
    shard = tmp_path / "t.zarr/reflectance/c/0/0/0/0"
    shard.write_bytes(shard.read_bytes()[:left] + b"abc" * (left < 0))
    with pytest.raises(CubeError, match=r"t\.zarr/reflectance holds a damaged file .* Remove the folder"):
        store.read("reflectance", block)


def test_whatever_is_read_on_the_disk_is_read_by_zarrs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, _ = store_of(tmp_path / "t.zarr", 32)
    cube = np.arange(4 * 2 * 70 * 90, dtype=np.int16).reshape(4, 2, 70, 90)
    for block in cut("t", GRID, size=32):
        for step in range(4):
            store.write("reflectance", block, cube[step][:, *block.slices], step=step)
    # zarr's own way would be right, and four times as slow
    monkeypatch.setattr("zarr.core.codec_pipeline.BatchedCodecPipeline.read", None)
    block = Block("t", 30, 40, 20, 10)
    part = cube[..., *block.slices]
    np.testing.assert_array_equal(store.read("reflectance"), cube)
    np.testing.assert_array_equal(store.read("reflectance", block), part)
    np.testing.assert_array_equal(store.read("reflectance", block, 2), part[2])
    np.testing.assert_array_equal(store.read("reflectance", block, slice(1, 3), 1), part[1:3, 1])
    np.testing.assert_array_equal(store.read_bands(("B08",), ("B04", "B08"), block), part[:, 1:])


@settings(deadline=None, max_examples=40)
@given(st.data())
def test_any_part_is_read_from_an_object_store_as_zarr_reads_it(data: st.DataObject) -> None:
    # given an array of three by three shards, some empty and some with empty chunks
    use_fast_reading()
    memory = MemoryStore()
    side = data.draw(st.sampled_from([8, 64, 300]))
    extent = data.draw(st.integers(2 * side + 1, 3 * side))
    group = zarr.open_group(ObjectStore(memory), mode="w", zarr_format=3)
    shape, shard = (3, 4, extent, extent), (data.draw(st.sampled_from([1, 3])), 4, side, side)
    make_array(group, "a", shape=shape, shard=shard, dtype="int16", fill=NODATA)
    array = group["a"]
    values = np.random.default_rng(data.draw(st.integers(0, 99))).integers(0, 99, shape).astype(np.int16)
    values[1, 2], values[:, :, :side, :side] = NODATA, NODATA
    assert write_shards(array, values, (0, 0, 0, 0))

    # when any part of it is read
    def span(size: int) -> slice:
        first = data.draw(st.integers(0, size - 1))
        return slice(first, data.draw(st.integers(first + 1, size)))

    several = st.lists(st.integers(0, 3), min_size=1, max_size=4, unique=True)
    bands = data.draw(st.one_of(st.just(slice(None)), several))
    steps = data.draw(st.one_of(st.just(slice(None)), st.builds(span, st.just(3))))
    where = (steps, bands, span(extent), span(extent))
    found = read_shards(array, where)
    # then it is what was written, as zarr reads it too
    np.testing.assert_array_equal(found, values[:, bands][steps][..., *where[2:]])
    np.testing.assert_array_equal(array[:], values)


def test_a_damaged_shard_is_named_and_not_decoded() -> None:
    use_fast_reading()
    memory = MemoryStore()
    group = zarr.open_group(ObjectStore(memory), mode="w", zarr_format=3)
    make_array(group, "a", shape=(2, 600, 600), shard=(2, 600, 600), dtype="int16", fill=NODATA)
    array, pixel = group["a"], ([0], slice(5, 6), slice(5, 6))
    values = np.arange(2 * 600 * 600, dtype=np.int16).reshape(2, 600, 600)
    assert write_shards(array, values, (0, 0, 0))
    whole = bytes(memory.get("a/c/0/0/0").bytes())
    assert read_shards(array, pixel).item() == values[0, 5, 5]
    # its index, its end, the head of its first chunk, and another shard's bytes under its index
    for damaged in (
        whole[:-9] + b"x" + whole[-8:], whole[-20:], whole[:4] + b"x" + whole[5:], whole[7:]
    ):  # fmt: skip
        memory.put("a/c/0/0/0", damaged)
        for where in (pixel, (slice(None),) * 3):
            with pytest.raises(CubeError, match=r"a/c/0/0/0 was replaced while it was read, or is damaged"):
                read_shards(array, where)


def test_a_block_across_shards_is_mixed_in(tmp_path: Path) -> None:
    store, _ = store_of(tmp_path / "t.zarr", 32)
    values = np.arange(2 * 40 * 50, dtype=np.int16).reshape(2, 40, 50)
    store.write("reflectance", Block("t", 10, 20, 40, 50), values, step=1)
    found = store.read("reflectance")
    np.testing.assert_array_equal(found[1, :, 10:50, 20:70], values)
    assert (found != NODATA).sum() == values.size - (values == NODATA).sum()


def test_a_part_that_is_not_whole_shards_is_left_alone(tmp_path: Path) -> None:
    store, _ = store_of(tmp_path / "t.zarr", 32)
    array = store.array("clear_count")
    assert not write_shards(array, np.ones((1, 32, 31), dtype=np.uint8), (0, 0, 0))
    assert not write_shards(array, np.ones((1, 32, 32), dtype=np.uint8), (0, 1, 0))
    assert not store.read("clear_count").any()
    assert write_shards(array, np.ones((1, 6, 26), dtype=np.uint8), (0, 64, 64))
    assert store.read("clear_count").sum() == 6 * 26


def test_an_array_that_was_never_made_is_named(tmp_path: Path) -> None:
    store, _ = store_of(tmp_path / "t.zarr", 32)
    with pytest.raises(CubeError, match=r"t\.zarr has no array index_NDVI"):
        store.read("index_NDVI")


# ---- killed in the middle ----
def test_every_way_of_writing_replaces_the_file(tmp_path: Path) -> None:
    """A file rewritten in place is one that a killed process leaves half."""
    store, _ = store_of(tmp_path / "t.zarr", 32)
    path = store.path / "clear_count/c/0/0/0"
    block, ones = Block("t", 0, 0, 32, 32), np.ones((32, 32), dtype=np.uint8)
    store.write("clear_count", block, ones, step=0)
    ways = (
        lambda: store.write("clear_count", block, ones * 2, step=0),
        lambda: store.write("clear_count", Block("t", 0, 0, 5, 5), ones[:5, :5] * 3, step=0),
        lambda: open_group(store.path, "r+")["clear_count"].__setitem__((0, slice(32), slice(32)), 4),
    )
    for way in ways:
        before = path.read_bytes()
        with path.open("rb") as held:
            way()
            assert held.read() == before  # a reader that had it open still has the old shard
        assert path.read_bytes() != before
    assert (store.read("clear_count", block)[0] == 4).all()


def _write_for_ever(path: Path) -> None:
    store = TileStore(path)
    block, side = Block("t", 0, 0, 512, 512), (2, 512, 512)
    rng = np.random.default_rng(os.getpid())
    noise = rng.integers(0, 4, side).astype(np.int16)  # so that a shard is some hundred KB
    for number in range(10_000):
        store.write("reflectance", block, noise + np.int16(10 * (number % 3000)), step=0)


def test_a_killed_write_leaves_the_old_shard_or_the_new(tmp_path: Path) -> None:
    grid = Grid(GRID.crs, GRID.transform, 512, 512)
    store, _ = store_of(tmp_path / "t.zarr", 512, grid=grid)
    context = multiprocessing.get_context("fork")
    left, seen = 0, set()
    for trial in range(12):
        before = store.read("reflectance")[0]
        process = context.Process(target=_write_for_ever, args=(store.path,))
        process.start()
        while (store.read("reflectance")[0] == before).all() and process.is_alive():
            time.sleep(0.005)
        time.sleep(0.003 + 0.0037 * trial)
        assert process.pid is not None
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        found = TileStore(store.path).read("reflectance")[0].astype(int)
        # all pixels are of one write: tens of one number, and units below 4
        assert len(np.unique(found // 10)) == 1 and found.min() >= 0 and (found % 10 < 4).all()
        seen.add(int(found[0, 0, 0] // 10))
        left += len(list(store.path.rglob("*.partial")))
        store.begin([0])
        store.begin([0])  # what the killed one left is swept away by the next run
        store.commit([0])
        assert not list(store.path.rglob("*.partial"))
    assert len(seen) > 1


# ---- updates ----
def test_a_reader_is_refused_while_steps_are_updated(tmp_path: Path) -> None:
    # given an update of two dekads by one process
    writer, _ = store_of(tmp_path / "t.zarr", 32)
    reader = TileStore(writer.path)
    with reader.reading():
        pass
    assert writer.begin([1, 2]) == (1, 2)
    # then another one is told which
    with (
        pytest.raises(CubeError, match=r"dekad 2026-05-11 to 2026-05-20 and 1 more is being updated"),
        reader.reading(),
    ):
        raise AssertionError("not reached")
    writer.commit([1])
    with pytest.raises(CubeError, match="dekad 2026-05-21 to 2026-05-31 is being updated"):
        reader.require_whole()
    writer.commit([2])
    assert reader.require_whole().updating == ()


def test_an_update_that_begins_while_one_reads_is_noticed(tmp_path: Path) -> None:
    writer, _ = store_of(tmp_path / "t.zarr", 32)
    reader = TileStore(writer.path)
    with pytest.raises(CubeError, match="updated while it was read"), reader.reading():
        writer.begin([0])
        writer.commit([0])


def test_a_run_that_was_killed_is_finished_by_the_next(tmp_path: Path) -> None:
    writer, _ = store_of(tmp_path / "t.zarr", 32)
    writer.begin([3])
    again = TileStore(writer.path)  # the process is gone; a new one begins with another step
    assert again.begin([0]) == (0, 3)
    again.commit([0])
    assert again.record().updating == (3,)
    again.commit([3])
    again.require_whole()


def test_a_new_store_knows_of_no_update(tmp_path: Path) -> None:
    store, layout = store_of(tmp_path / "t.zarr", 32)
    store.begin([0])
    store.create(layout)
    assert store.record().updating == () and store.matches(layout)


def test_a_damaged_record_is_refused(tmp_path: Path) -> None:
    store, _ = store_of(tmp_path / "t.zarr", 32)
    store.begin([0])
    record = store.path / "updates.json"
    assert json.loads(record.read_text()) == {"opened": 1, "updating": [0]}
    record.write_text("{")
    with pytest.raises(CubeError, match=r"updates\.json is damaged"):
        store.require_whole()
