"""A season of Sentinel-2 products over two overlapping tiles, from SAFE folders to the sealed run folder."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from drilling import Twin, digests, eo, leftovers, replaced, run

from eo_pipeline.cube.store import NODATA, TileStore
from eo_pipeline.publish.contract import verify
from eo_pipeline.simulate import calendar, canopy, events, landscape, orbits, scenes

TILES = ("48SWD", "48SWE")
SIDE = 60  # pixels of the piece


def season(twin: Twin, folder: Path, products: Path) -> Path:
    source = f'kind = "folder"\nlayout = "safe"\nroot = "{products}"'
    return twin.season(folder, source, region=twin.units)


@pytest.fixture(scope="module")
def toml(twin: Twin, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return season(twin, tmp_path_factory.mktemp("season"), twin.products)


@pytest.fixture(scope="module")
def folder(toml: Path) -> Path:
    return run(toml, block=2048)[0]


def inputs(folder: Path, role: str) -> list[dict[str, Any]]:
    rows = json.loads((folder / "run.json").read_text(encoding="utf-8"))["inputs"]
    return [row for row in rows if row["role"] == role]


def cube(folder: Path, tile: str) -> TileStore:
    return TileStore(folder.parent / ".work" / folder.name / "cube" / f"{tile}.zarr")


# ---- the same whatever the cut
@pytest.mark.parametrize("block", [512, 37, 16])
def test_blocks_of_any_size_give_the_same_products(
    folder: Path, toml: Path, tmp_path: Path, block: int
) -> None:
    other, told = run(toml, block=block, out=tmp_path)
    assert told["index"].total == {512: 2, 37: 6, 16: 24}[block]
    assert len(digests(folder)) == 9
    assert digests(other) == digests(folder)
    assert leftovers(tmp_path) == []


@pytest.mark.slow
def test_two_workers_give_the_same_as_one(folder: Path, toml: Path, tmp_path: Path) -> None:
    for workers in (1, 2):
        other, _ = run(toml, block=16, out=tmp_path / str(workers), workers=workers)
        assert digests(other) == digests(folder)


# ---- two tiles
def test_every_place_is_counted_once(twin: Twin, tmp_path: Path) -> None:
    """Both tiles' products show the ground south of their border; taken for clear everywhere, it is once
    in the cubes."""
    more = (
        "[source.clouds]\nclear = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]\nbuffer_m = 0\nproject_shadow = false"
    )
    source = f'kind = "folder"\nlayout = "safe"\nroot = "{twin.products}"'
    made, _ = run(twin.season(tmp_path, source, region=twin.units, more=more))
    places: list[tuple[float, float]] = []
    for tile in TILES:
        store = cube(made, tile)
        step = next(n for n, item in enumerate(store.steps) if item.holds(date(2026, 9, 3)))
        rows, columns = np.nonzero(np.asarray(store.array("reflectance")[step, 0]) != NODATA)
        with rasterio.open(made / f"index/{tile}/ndvi.tif") as raster:
            x, y = raster.xy(rows, columns)
        places += zip(np.round(x).tolist(), np.round(y).tolist(), strict=True)
    assert len(places) == len(set(places)) == SIDE * SIDE
    grid = orbits.straddling(SIDE)
    assert set(places) == {
        (grid.west + 10 * column + 5, grid.north - 10 * row - 5)
        for row in range(SIDE)
        for column in range(SIDE)
    }


# ---- numbers
@pytest.fixture(scope="module")
def world() -> scenes.World:
    """The twin's world, made anew."""
    land = landscape.build(0.6, seed=42)
    land = replace(land, grid=orbits.straddling(land.grid.size))
    plan = calendar.rotate(land, range(2025, 2028), seed=42)
    made = scenes.make_world(land, plan, seed=42)
    return replace(made, events=events.typical(land, plan, (2026,), seed=42))


@pytest.mark.parametrize("day", [date(2026, 6, 17), date(2026, 9, 3)])
def test_the_cube_holds_the_reflectance_that_was_simulated(
    folder: Path, world: scenes.World, day: date
) -> None:
    """A dekad of one scene: its composite is that scene, offset and quantification undone."""
    scene = scenes.render(world, day)
    grid = world.land.grid
    compared = 0
    for tile in TILES:
        store = cube(folder, tile)
        with rasterio.open(folder / f"index/{tile}/ndvi.tif") as raster:
            left, top = raster.transform.c, raster.transform.f
            height, width = raster.shape
        step = next(n for n, item in enumerate(store.steps) if item.holds(day))
        bands = list(store.group.attrs["bands"])
        reflectance = np.asarray(store.array("reflectance")[step])
        row, column = round((grid.north - top) / 10), round((left - grid.west) / 10)
        assert row >= 0 and row + height <= SIDE
        for number, band in enumerate(bands):
            found = reflectance[number]
            truth = scene.reflectance[canopy.BAND_NAMES.index(band)]
            truth = truth[row : row + height, column : column + width]
            seen = found != NODATA
            compared += int(seen.sum())
            assert np.abs(found[seen].astype(int) - truth[seen]).max() <= 1, (tile, band)
    assert compared > 10 * 1000


# ---- what cannot be used
def _falsify(product: Path) -> None:
    xml = product / "MTD_MSIL2A.xml"
    replaced(xml, ">-1000</BOA_ADD_OFFSET>", ">0</BOA_ADD_OFFSET>")


def _image(product: Path, band: str) -> Path:
    return next(product.glob(f"GRANULE/*/IMG_DATA/R*/*_{band}_*.jp2"))


def _cut(product: Path) -> None:
    path = _image(product, "B04")
    body = path.read_bytes()
    path.unlink()
    path.write_bytes(body[: len(body) * 2 // 3])


def _garbage(product: Path) -> None:
    path = _image(product, "B11")
    path.unlink()
    path.write_bytes(b"\0" * 4096)


def _missing(product: Path) -> None:
    _image(product, "B08").unlink()


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (_falsify, "BOA_ADD_OFFSET in the metadata says +0, but baseline 05.10 in the name says -1000"),
        (_cut, "B04"),
        (_garbage, "B11"),
        (_missing, "B08"),
    ],
)
def test_what_cannot_be_used_is_left_out_and_told(
    twin: Twin, folder: Path, tmp_path: Path, damage: Callable[[Path], None], told: str
) -> None:
    products = twin.take(tmp_path / "products")
    (victim,) = products.glob("*20260617*T48SWE*")
    damage(victim)
    other, _ = run(season(twin, tmp_path, products))
    verify(other)
    (row,) = inputs(other, "skipped")
    assert row["path"] == victim.name
    assert told in row["reason"], row
    assert victim.name in (other / "report.html").read_text(encoding="utf-8")
    used = {item["name"] for item in inputs(other, "scene")}
    assert used == {item["name"] for item in inputs(folder, "scene")} - {victim.name}
    # the tile beside it is as it was
    assert digests(other)["index/48SWD/ndvi.tif"] == digests(folder)["index/48SWD/ndvi.tif"]
    assert digests(other)["index/48SWE/ndvi.tif"] != digests(folder)["index/48SWE/ndvi.tif"]


def _over_the_date_line(product: Path) -> None:
    head = product / "MTD_MSIL2A.xml"
    corners = re.search(r"<EXT_POS_LIST>(.*?)</EXT_POS_LIST>", head.read_text(encoding="utf-8"))
    assert corners is not None
    replaced(head, corners[1], "-16.5 179.6 -16.5 -179.4 -17.4 -179.4 -17.4 179.6 -16.5 179.6 ")


def _in_crs(product: Path) -> None:
    replaced(next(product.glob("GRANULE/*/MTD_TL.xml")), ">EPSG:32648<", ">EPSG:99999<")


def test_a_season_goes_on_without_all_of_these(twin: Twin, folder: Path, tmp_path: Path) -> None:
    products = twin.take(tmp_path / "products")
    damages = {
        "20260617": (
            _over_the_date_line,
            "the footprint, -180.00 -17.40 to 180.00 -16.50, does not touch tile 48SWE",
        ),
        "20260508": (_in_crs, "the CRS EPSG:99999 is not that of tile 48SWE, which is EPSG:32648"),
        "20260727": (_cut, "B04"),
        "20260903": (_missing, "B08"),
    }
    expected = {}
    for day, (damage, told) in damages.items():
        (victim,) = products.glob(f"*_{day}*T48SWE*")
        damage(victim)
        expected[victim.name] = told
    other, _ = run(season(twin, tmp_path, products))
    verify(other)
    rows = {row["path"]: row["reason"] for row in inputs(other, "skipped")}
    assert rows.keys() == expected.keys()
    report = (other / "report.html").read_text(encoding="utf-8")
    for name, told in expected.items():
        assert told in rows[name] and name in report, (name, rows[name])
    used = {item["name"] for item in inputs(other, "scene")}
    assert used == {item["name"] for item in inputs(folder, "scene")} - expected.keys()
    assert digests(other)["index/48SWD/ndvi.tif"] == digests(folder)["index/48SWD/ndvi.tif"]


# ---- what comes later
def test_a_product_that_comes_later_touches_its_dekad_alone(twin: Twin, folder: Path, tmp_path: Path) -> None:
    names = twin.names()
    (late,) = [name for name in names if "20260727" in name and "T48SWE" in name]
    products = twin.take(tmp_path / "products", [name for name in names if name != late])
    file = season(twin, tmp_path, products)
    _, first = run(file)
    assert first["ingest"].skipped == 0
    twin.take(products, [late])
    other, told = run(file)
    assert (told["mask"].total, told["mask"].skipped) == (14, 13)
    assert (told["ingest"].total, told["ingest"].skipped) == (34, 33)
    assert digests(other) == digests(folder)
    # and by the command, which finds nothing left to do
    facts = json.loads(eo("ingest", file, "--workers", 0, "--json").stdout)
    assert sorted(facts["cubes"]) == list(TILES)
    assert facts["skipped"] == []
    seen = [step["date"] for step in facts["steps"]["48SWE"] if step["clear_share"] > 0]
    assert len(seen) == 6
