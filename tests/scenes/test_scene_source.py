"""Products on disk as scenes of tiles: grids, ownership, proofs, and what is left out."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from datetime import date
from pathlib import Path

import numpy as np
import pytest
from pyproj import Transformer
from tiny_safe import REFLECTANCE, TinySafe, earth_search_item, write_cogs, write_jp2, zip_safe

from eo_pipeline.acquire.sources.base import Asset, BlockReader, Tile, scene_token
from eo_pipeline.acquire.sources.folder import FolderSource
from eo_pipeline.errors import SourceError
from eo_pipeline.grid import Block
from eo_pipeline.scenes import proofs
from eo_pipeline.scenes.placing import Place, aligned, cover
from eo_pipeline.scenes.sentinel2 import read_product
from eo_pipeline.scenes.source import SentinelSource, open_source
from eo_pipeline.season import Season, read_season

TOML = """\
[season]
id = "made-2026"
title = "Made"
start = 2026-05-01
end = 2026-06-30

[region]
name = "Made"
bbox = [{west}, {south}, {east}, {north}]

[source]
kind = "folder"
layout = "safe"
root = "products"
bands = ["B04", "B08", "B11"]
{more}

[output]
root = "runs"
"""


def season_of(
    folder: Path,
    *,
    bounds: tuple[float, float, float, float] = (600_100.0, 3_948_000.0, 602_000.0, 3_949_500.0),
    more: str = "",
) -> Season:
    """A season whose region is a rectangle of UTM metres in zone 48, well within the bbox it gets."""
    turn = Transformer.from_crs(32648, 4326, always_xy=True)
    left, bottom, right, top = bounds
    lons, lats = turn.transform([left, right, left, right], [bottom, bottom, top, top])
    (folder / "products").mkdir(exist_ok=True)
    text = TOML.format(west=min(lons), south=min(lats), east=max(lons), north=max(lats), more=more)
    (folder / "season.toml").write_text(text)
    return read_season(folder / "season.toml")


def read(tile: Tile, band: str, scene: int = 0) -> np.ndarray:
    block = Block(tile.name, 0, 0, tile.grid.height, tile.grid.width)
    with BlockReader(block) as reader:
        return reader.read(tile.scenes[scene].asset(band))


def test_a_product_becomes_a_scene_with_reflectance(tmp_path: Path) -> None:
    season = season_of(tmp_path)
    tiny = TinySafe()
    tiny.write(season.source.root)
    (tile,) = open_source(season).tiles()
    (scene,) = tile.scenes
    assert (tile.name, scene.date, scene.name) == ("48SXE", date(2026, 6, 1), tiny.name)
    assert scene.sun == (21.5, 135.25)
    assert [asset.band for asset in scene.assets] == ["B04", "B08", "B11", "SCL"]
    scales = {a.band: (a.zoom, a.scale, a.offset, a.nodata) for a in scene.assets}
    assert scales == {
        "B04": (1, 1e-4, -0.1, 0.0),
        "B08": (1, 1e-4, -0.1, 0.0),
        "B11": (2, 1e-4, -0.1, 0.0),
        "SCL": (2, 1.0, 0.0, None),
    }
    for band in ("B04", "B08", "B11"):
        assert np.nanmean(read(tile, band)) == pytest.approx(REFLECTANCE[band], abs=5e-4)
    assert set(np.unique(read(tile, "SCL")).tolist()) <= {0.0, 4.0}


def test_values_are_the_same_from_either_baseline(tmp_path: Path) -> None:
    season = season_of(tmp_path)
    TinySafe().write(season.source.root)
    TinySafe(baseline="02.14", sensed="20260606T033541").write(season.source.root)
    (tile,) = open_source(season).tiles()
    new, old = read(tile, "B08", 0), read(tile, "B08", 1)
    assert [scene.asset("B08").offset for scene in tile.scenes] == [-0.1, 0.0]
    assert np.allclose(new, old, atol=1e-6, equal_nan=True)


def test_the_grid_covers_the_region_in_whole_internal_tiles(tmp_path: Path) -> None:
    season = season_of(tmp_path, bounds=(601_400.0, 3_948_000.0, 602_000.0, 3_948_500.0))
    tiny = TinySafe(size=512)
    write_cogs(tiny, season.source.root, earth_search_item(tiny, applied=False))
    (tile,) = open_source(season).tiles()
    # internal tiles of 64 pixels at 20 m are 128 at 10 m; columns 140-200 lie in the second, rows 152-202 too
    assert tile.grid.transform == (10.0, 0.0, 601_280.0, 0.0, -10.0, 3_948_740.0)
    assert tile.grid.shape == (128, 128)
    assert tile.owned is None
    asset = tile.scenes[0].asset("B11")
    assert asset.corner == (128, 128)
    values = read(tile, "B08")
    expected = (tiny.numbers("B08")[128:256, 128:256].astype(np.float32) - 1000) / 10_000
    assert np.allclose(values, expected, atol=1e-6)
    swir = tiny.numbers("B11").repeat(2, 0).repeat(2, 1)[128:256, 128:256].astype(np.float32)
    assert np.allclose(read(tile, "B11"), (swir - 1000) / 10_000, atol=1e-6)


def test_overlapping_tiles_own_each_pixel_once(tmp_path: Path) -> None:
    # 48SWE reaches 9.8 km over x = 600000 into the square of 48SXE
    season = season_of(tmp_path, bounds=(598_800.0, 3_947_000.0, 601_200.0, 3_949_800.0))
    TinySafe(tile="48SWE", left=598_740.0, size=384).write(season.source.root)
    TinySafe(tile="48SXE", left=600_000.0, size=384).write(season.source.root)
    west, east = open_source(season).tiles()
    assert (west.name, east.name) == ("48SWE", "48SXE")
    assert west.owned is not None
    assert (west.owned[1], west.owned[3]) == (0, (600_000 - 598_740) // 10)
    owners: dict[tuple[int, int], str] = {}
    for tile in (west, east):
        top, left, bottom, right = tile.owned or (0, 0, tile.grid.height, tile.grid.width)
        for row in range(top, bottom):
            for col in range(left, right):
                x = tile.grid.transform[2] + 10 * col
                y = tile.grid.transform[5] - 10 * row
                assert (int(x), int(y)) not in owners, "two tiles own one pixel"
                owners[int(x), int(y)] = tile.name
    for x in range(598_800, 601_200, 10):  # and none of the region is without owner
        for y in range(3_947_020, 3_949_800, 10):
            assert owners[x, y] == ("48SWE" if x < 600_000 else "48SXE")


def test_a_square_is_inside_its_tile_by_two_pixels(tmp_path: Path) -> None:
    # 4000020 is the tile's upper edge, 4000000 its square's: the first two rows belong to 48SXF
    season = season_of(tmp_path, bounds=(600_100.0, 3_998_000.0, 602_000.0, 4_000_015.0))
    TinySafe(top=4_000_020.0).write(season.source.root)
    (tile,) = open_source(season).tiles()
    assert tile.grid.transform[5] == 4_000_020.0
    assert tile.owned == (2, 0, tile.grid.height, tile.grid.width)


def test_real_products_are_cut_at_2048_pixels() -> None:
    places = tuple(
        Place(band, "", 0, 0, 10980, 10980, zoom, (1024 * zoom, 1024 * zoom))
        for band, zoom in (("B04", 1), ("B11", 2), ("SCL", 2))
    )
    assert aligned((2100, 5000, 4096, 7000), places, cover(places)) == (2048, 4096, 4096, 8192)
    # the last column of internal tiles is cut off by the raster's edge
    assert aligned((0, 10300, 10, 10500), places, cover(places)) == (0, 10240, 2048, 10980)


def test_zips_and_cogs_are_found_beside_folders(tmp_path: Path) -> None:
    season = season_of(tmp_path)
    root = season.source.root / "2026"
    root.mkdir()
    radar = root / "S1A_IW_GRDH_1SDV_20260601T104042_20260601T104107_022812_02792A_rtc"
    radar.mkdir()
    (radar / "item.json").write_text(json.dumps({"id": radar.name, "properties": {"platform": "s1a"}}))
    TinySafe(sensed="20260601T033541").write(root)
    zip_safe(TinySafe(sensed="20260611T033541").write(root))
    cog = TinySafe(sensed="20260621T033541", shift=0)
    write_cogs(cog, root / "earth-search", earth_search_item(cog, applied=True))
    source = SentinelSource(season)
    (tile,) = source.tiles()
    assert source.skipped == ()  # radar is none of its business
    assert [scene.date.day for scene in tile.scenes] == [1, 11, 21]
    assert [scene.asset("B04").offset for scene in tile.scenes] == [-0.1, -0.1, 0.0]
    first, second, third = (read(tile, "B08", number) for number in range(3))
    assert np.allclose(first, second, atol=1e-6, equal_nan=True)
    assert np.allclose(first, third, atol=1e-6, equal_nan=True)


def test_the_newest_processing_of_an_observation_is_used(tmp_path: Path) -> None:
    season = season_of(tmp_path)
    TinySafe(baseline="05.09", made="20260601T060000").write(season.source.root)
    newest = TinySafe(baseline="05.10", made="20260701T060000")
    newest.write(season.source.root)
    source = SentinelSource(season)
    (tile,) = source.tiles()
    assert [scene.name for scene in tile.scenes] == [newest.name]
    (skipped,) = source.skipped
    assert "N0509" in skipped.name
    assert newest.name in skipped.reason


def test_an_older_processing_steps_in_for_a_damaged_one(tmp_path: Path) -> None:
    season = season_of(tmp_path)
    older = TinySafe(baseline="05.09")
    older.write(season.source.root)
    newest = TinySafe(baseline="05.10").write(season.source.root)
    next(newest.rglob("*_B08_10m.jp2")).write_bytes(b"no JP2")
    source = SentinelSource(season)
    assert [scene.name for scene in source.tiles()[0].scenes] == [older.name]
    assert "B08_10m.jp2 cannot be read" in source.skipped[0].reason


def test_what_cannot_be_used_is_skipped_and_told(tmp_path: Path) -> None:
    season = season_of(tmp_path, more="max_cloud = 80")
    root = season.source.root
    good = TinySafe()
    good.write(root)
    TinySafe(sensed="20260603T033541", shift=0).write(root)  # quarantine
    TinySafe(sensed="20260605T033541", bands=("B04", "B08", "SCL")).write(root)  # no B11
    TinySafe(sensed="20260607T033541", cloud=97.0).write(root)
    shutil.rmtree(TinySafe(sensed="20260609T033541").write(root) / "GRANULE")
    (TinySafe(sensed="20260611T033541").write(root) / "MTD_MSIL2A.xml").unlink()
    (root / f"{TinySafe(sensed='20260613T033541').name}.zip").write_bytes(b"PK")
    moved = TinySafe(sensed="20260615T033541").write(root)  # resampled: half a pixel aside
    write_jp2(next(moved.rglob("*_B08_10m.jp2")), good.numbers("B08"), 32648, 600_005.0, 3_950_020.0, 10)
    TinySafe(sensed="20260801T033541").write(root)  # another season: not a word of it
    TinySafe(tile="48SYE", sensed="20260617T033541").write(root)  # another tile
    source = SentinelSource(season)
    (tile,) = source.tiles()
    assert [scene.name for scene in tile.scenes] == [good.name]
    reasons = {item.name[11:19]: item.reason for item in source.skipped}
    assert set(reasons) == {f"202606{day:02d}" for day in (3, 5, 7, 9, 11, 13, 15)}
    for day, words in {
        3: "quarantine", 5: "no raster of B11", 7: "97 % cloud", 9: "no raster of B04",
        11: "neither MTD_MSIL2A.xml", 13: "no whole zip", 15: "beside the pixel grid",
    }.items():  # fmt: skip
        assert words in reasons[f"202606{day:02d}"]


def test_nothing_left_is_an_error_that_tells_why(tmp_path: Path) -> None:
    season = season_of(tmp_path)
    with pytest.raises(SourceError, match=r"no Sentinel-2 product of the season.*eo fetch"):
        SentinelSource(season).tiles()
    TinySafe(shift=0).write(season.source.root)
    with pytest.raises(SourceError, match=r"none of 1 products of the season can be used:\n.*quarantine"):
        SentinelSource(season).tiles()


def test_tiles_named_but_not_touched_are_refused(tmp_path: Path) -> None:
    season = season_of(tmp_path, more='tiles = ["47SPT"]')
    with pytest.raises(SourceError, match=r"tiles 48SXE, but \[source\] tiles names 47SPT"):
        SentinelSource(season).tiles()


def test_a_region_elsewhere_in_the_tile_leaves_nothing(tmp_path: Path) -> None:
    season = season_of(tmp_path, bounds=(650_000.0, 3_948_000.0, 652_000.0, 3_949_500.0))
    TinySafe().write(season.source.root)
    with pytest.raises(SourceError, match="hold nothing of the region within tile 48SXE"):
        SentinelSource(season).tiles()


def test_units_give_the_region(tmp_path: Path) -> None:
    turn = Transformer.from_crs(32648, 4326, always_xy=True)
    corners = [(601_400, 3_948_500), (602_000, 3_948_500), (602_000, 3_948_000), (601_400, 3_948_500)]
    ring = [list(turn.transform(*corner)) for corner in corners]
    feature = {
        "type": "Feature",
        "properties": {"code": "1"},
        "geometry": {"type": "Polygon", "coordinates": [ring]},
    }
    (tmp_path / "units.geojson").write_text(json.dumps({"type": "FeatureCollection", "features": [feature]}))
    season = season_of(tmp_path)
    text = season.path.read_text()
    season.path.write_text(text.replace("[region]\n", '[region]\nunits = "units.geojson"\n'))
    season = read_season(season.path)
    tiny = TinySafe(size=512)
    write_cogs(tiny, season.source.root, earth_search_item(tiny, applied=False))
    (tile,) = open_source(season).tiles()
    assert tile.grid.transform[2] == 601_280.0
    assert tile.grid.shape == (128, 128)


def test_proofs_are_kept_until_a_file_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    season = season_of(tmp_path)
    folder = TinySafe().write(season.source.root)
    first = SentinelSource(season).tiles()
    kept = json.loads((season.source.root / ".proofs.json").read_text())
    assert list(kept["proofs"]) == [folder.name]
    assert kept["proofs"][folder.name]["proof"]["offset"] == -1000

    def never(*_: object, **__: object) -> None:
        raise AssertionError("the pixels were read again")

    monkeypatch.setattr(proofs, "prove_offset", never)
    assert SentinelSource(season).tiles() == first
    monkeypatch.undo()
    # a file that was exchanged is proven anew, and its numbers are no longer shifted
    shutil.rmtree(folder)
    TinySafe(shift=0).write(season.source.root)
    with pytest.raises(SourceError, match="quarantine"):
        SentinelSource(season).tiles()
    (season.source.root / ".proofs.json").write_text("{ broken")
    with pytest.raises(SourceError, match="quarantine"):
        SentinelSource(season).tiles()


def test_products_given_are_read_where_they_are(tmp_path: Path) -> None:
    season = season_of(tmp_path)
    tiny = TinySafe(shift=0)
    elsewhere = write_cogs(tiny, tmp_path / "mirror", earth_search_item(tiny, applied=True))
    source = open_source(season, products=[read_product(elsewhere)])
    (tile,) = source.tiles()
    assert tile.scenes[0].asset("B08").path == str(elsewhere / "B08.tif")
    assert np.nanmean(read(tile, "B08")) == pytest.approx(REFLECTANCE["B08"], abs=5e-4)


def test_stacks_of_rasters_keep_their_own_source(tmp_path: Path) -> None:
    season = season_of(tmp_path)
    assert isinstance(open_source(season), SentinelSource)
    text = (
        season.path.read_text()
        .replace('layout = "safe"\n', "")
        .replace('bands = ["B04", "B08", "B11"]', "pattern = '(?P<date>.*)'\nbands = { B04 = 1 }")
    )
    season.path.write_text(text)
    assert isinstance(open_source(read_season(season.path)), FolderSource)


@pytest.mark.realdata
def test_real_cogs_reduced_tenfold_become_a_tile(shared_data: Path, tmp_path: Path) -> None:
    season = season_of(tmp_path)
    text = season.path.read_text().replace("2026-05-01", "2020-02-01").replace("2026-06-30", "2020-03-01")
    lines = [line for line in text.splitlines() if not line.startswith("bbox")]
    season.path.write_text("\n".join(lines))
    season = read_season(season.path)
    shutil.copytree(shared_data / "s2-cog-29RKH", season.source.root / "S2A_29RKH_20200219_0_L2A")
    (tile,) = open_source(season).tiles()
    assert tile.name == "29RKH"
    assert tile.grid.transform[0] == 100.0
    assert tile.scenes[0].date == date(2020, 2, 19)
    assert {a.band: (a.zoom, a.offset) for a in tile.scenes[0].assets} == {
        "B04": (1, 0.0), "B08": (1, 0.0), "B11": (2, 0.0), "SCL": (2, 0.0),
    }  # fmt: skip
    red = read(tile, "B04")
    assert 0.2 < np.nanmedian(red) < 0.5  # bright desert


def test_tokens_follow_zips_and_windows(tmp_path: Path) -> None:
    season = season_of(tmp_path)
    archive = zip_safe(TinySafe().write(season.source.root))
    scene = open_source(season).tiles()[0].scenes[0]
    before = scene_token(scene)
    assert scene_token(open_source(season).tiles()[0].scenes[0]) == before
    archive.touch()
    assert scene_token(scene) != before
    moved = replace(scene, assets=tuple(replace(asset, corner=(7, 7)) for asset in scene.assets))
    assert scene_token(moved) != scene_token(scene)
    # shadow is looked for along the sun, which the metadata tells: these may be fetched anew
    assert scene.sun is not None and scene_token(replace(scene, sun=None)) != scene_token(scene)
    remote = replace(scene, assets=(replace(scene.assets[0], path="https://example.org/B04.tif"),))
    signed = replace(remote.assets[0], path="https://example.org/B04.tif?sig=1#stac=https://example.org")
    assert scene_token(replace(remote, assets=(signed,))) == scene_token(remote)


def test_a_block_beyond_a_raster_is_empty(tmp_path: Path) -> None:
    path = tmp_path / "B04.jp2"
    write_jp2(path, TinySafe().numbers("B04"), 32648, 600_000.0, 3_950_020.0, 10)
    asset = Asset("B04", str(path), 1, 1e-4, -0.1, 0.0, corner=(0, 0))
    for block in (Block("t", 0, 300, 64, 64), Block("t", 300, 0, 64, 64)):
        with BlockReader(block) as reader:
            assert np.isnan(reader.read(asset)).all()
    with BlockReader(Block("t", 0, 0, 64, 64)) as reader:
        assert np.isnan(reader.read(replace(asset, corner=(-100, -100)))).all()


def test_a_tile_on_the_date_line(tmp_path: Path) -> None:
    season = season_of(tmp_path)
    turn = Transformer.from_crs(32701, 4326, always_xy=True)
    (west, east), (south, north) = turn.transform([185_500, 186_500], [8_128_500, 8_129_500])
    assert -180 < west < -179
    text = season.path.read_text()
    start = text.index("bbox")
    line = text[start : text.index("\n", start)]
    season.path.write_text(text.replace(line, f"bbox = [{west}, {south}, {east}, {north}]"))
    season = read_season(season.path)
    TinySafe(tile="01KAB", epsg=32701, left=184_960.0, top=8_130_000.0).write(season.source.root)
    (tile,) = open_source(season).tiles()
    assert tile.name == "01KAB"
    assert tile.grid.bounds[0] <= 185_500
    assert tile.grid.bounds[2] >= 186_500
    assert np.nanmean(read(tile, "B08")) == pytest.approx(REFLECTANCE["B08"], abs=5e-4)


def test_a_half_empty_tile_is_half_nan(tmp_path: Path) -> None:
    season = season_of(tmp_path)
    folder = TinySafe().write(season.source.root)
    for band in ("B04", "B08", "B11"):
        path = next(folder.rglob(f"*_{band}_*.jp2"))
        metres = 10 if band in ("B04", "B08") else 20
        numbers = TinySafe().numbers(band)
        numbers[numbers.shape[0] // 2 :] = 0
        write_jp2(path, numbers, 32648, 600_000.0, 3_950_020.0, metres)
    (tile,) = open_source(season).tiles()
    for band in ("B04", "B11"):
        values = read(tile, band)
        assert np.isnan(values[128 - tile.scenes[0].asset("B04").corner[0] :]).all()
        assert np.nanmean(values) == pytest.approx(REFLECTANCE[band], abs=5e-4)
