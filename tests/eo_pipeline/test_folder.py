"""The folder source: layouts, dates, and rasters that do not fit, refused before a pixel is read."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import numpy as np
import pytest
from seasons import TinySeason, make_season, write_raster

from eo_pipeline.acquire.sources.base import BlockReader, scene_token
from eo_pipeline.acquire.sources.folder import FolderSource
from eo_pipeline.errors import SourceError
from eo_pipeline.grid import cut
from eo_pipeline.season import read_season


@pytest.fixture
def season(tmp_path: Path) -> TinySeason:
    return make_season(tmp_path, size=16, dates=4)


def tiles(season: TinySeason) -> tuple:
    return FolderSource(read_season(season.toml)).tiles()


def refused(season: TinySeason) -> str:
    with pytest.raises(SourceError) as error:
        tiles(season)
    return str(error.value)


def test_one_tile_with_a_scene_a_date(season: TinySeason) -> None:
    (tile,) = tiles(season)
    assert tile.name == "all"
    assert tuple(scene.date for scene in tile.scenes) == season.dates
    assert [asset.band for asset in tile.scenes[0].assets] == ["B02", "B04", "B08", "SCL"]
    assert tile.grid.shape == (16, 16)
    # a mask holds codes: no scale, no nodata
    assert tile.scenes[0].asset("SCL").scale == 1.0
    assert tile.scenes[0].asset("B04").scale == 0.0001


def test_values_are_scaled_and_nodata_is_nan(season: TinySeason) -> None:
    name = f"S2_{season.dates[0]:%Y%m%d}.tif"
    bands = np.full((4, 16, 16), 1234, dtype=np.int16)
    bands[1, 0, 0] = -32768
    write_raster(season.scenes / name, bands)
    (tile,) = tiles(season)
    (block,) = cut("all", tile.grid, size=16)
    with BlockReader(block) as reader:
        red = reader.read(tile.scenes[0].asset("B04"))
        scl = reader.read(tile.scenes[0].asset("SCL"))
    assert red.dtype == np.float32
    assert np.isnan(red[0, 0])
    assert np.allclose(red[1:], 0.1234)
    assert (scl == 1234).all()


def test_scenes_outside_the_season_are_left_out(season: TinySeason) -> None:
    season.rewrite("start = 2026-03-01", "start = 2026-03-10")
    (tile,) = tiles(season)
    assert tuple(scene.date for scene in tile.scenes) == season.dates[1:]


def test_token_changes_with_the_file(season: TinySeason) -> None:
    (tile,) = tiles(season)
    before = scene_token(tile.scenes[0])
    assert scene_token(tile.scenes[0]) == before
    write_raster(season.scenes / f"S2_{season.dates[0]:%Y%m%d}.tif", np.ones((4, 16, 16), dtype=np.int16))
    assert scene_token(tile.scenes[0]) != before


def test_another_crs(season: TinySeason) -> None:
    odd = season.scenes / f"S2_{season.dates[2]:%Y%m%d}.tif"
    write_raster(odd, np.ones((4, 16, 16), dtype=np.int16), crs="EPSG:32647")
    message = refused(season)
    assert str(odd) in message
    assert "EPSG:32647" in message and "EPSG:32648" in message and "gdalwarp" in message


def test_another_size(season: TinySeason) -> None:
    odd = season.scenes / f"S2_{season.dates[0]:%Y%m%d}.tif"
    write_raster(odd, np.ones((4, 16, 15), dtype=np.int16))
    message = refused(season)
    assert str(odd) in message
    assert "15 × 16 pixels" in message and "16 × 16" in message


def test_another_place(season: TinySeason) -> None:
    odd = season.scenes / f"S2_{season.dates[1]:%Y%m%d}.tif"
    write_raster(odd, np.ones((4, 16, 16), dtype=np.int16), origin=(300_010.0, 3_900_000.0))
    assert str(odd) in refused(season)


def test_too_few_bands(season: TinySeason) -> None:
    odd = season.scenes / f"S2_{season.dates[3]:%Y%m%d}.tif"
    write_raster(odd, np.ones((3, 16, 16), dtype=np.int16))
    message = refused(season)
    assert str(odd) in message
    assert "has 3 band(s)" in message and "SCL is band 4" in message


def test_not_a_raster(season: TinySeason) -> None:
    odd = season.scenes / "S2_20260401.tif"
    odd.write_text("<html>503</html>")
    message = refused(season)
    assert str(odd) in message and "Fetch it again" in message


def test_nothing_matches(season: TinySeason) -> None:
    season.rewrite("'S2_", "'S3_")
    message = refused(season)
    assert "S3_" in message and "'S2_20260305.tif' does not match" in message


def test_no_date_in_the_season(season: TinySeason) -> None:
    season.rewrite("start = 2026-03-01", "start = 2026-08-01")
    message = refused(season)
    assert "2026-03-05 to 2026-04-04" in message


def test_a_date_that_is_none(season: TinySeason) -> None:
    season.rewrite('date_format = "%Y%m%d"', 'date_format = "%d%m%Y"')
    assert "'20260305' is not a date of the form '%d%m%Y'" in refused(season)


def test_two_rasters_of_one_day(season: TinySeason) -> None:
    write_raster(season.scenes / "S2_20260305b.tif", np.ones((4, 16, 16), dtype=np.int16))
    season.rewrite("\\d{8})\\.tif", "\\d{8})b?\\.tif")
    message = refused(season)
    assert "S2_20260305.tif" in message and "S2_20260305b.tif" in message and "2026-03-05" in message


def test_dates_from_a_table(season: TinySeason) -> None:
    season.rewrite("'S2_(?P<date>\\d{8})\\.tif'", "'S2_\\d{8}\\.tif'\ndates_table = \"dates.csv\"")
    table = season.root / "dates.csv"
    rows = [f"S2_{day:%Y%m%d}.tif,{day:%Y%m}{number + 1:02d}" for number, day in enumerate(season.dates)]
    table.write_text("file,date\n" + "\n".join(rows) + "\n")
    (tile,) = tiles(season)
    assert [scene.date.day for scene in tile.scenes] == [1, 2, 3, 4]
    table.write_text("file,date\n" + "\n".join(rows[1:]) + "\n")
    assert "has no row for S2_20260305.tif" in refused(season)


def test_tiles_have_grids_of_their_own(season: TinySeason) -> None:
    for name, size in (("east", 8), ("west", 12)):
        write_raster(season.scenes / f"{name}_20260401.tif", np.ones((4, size, size), dtype=np.int16))
    season.rewrite("S2_(?P<date>", "(?P<tile>east|west)_(?P<date>")
    found = tiles(season)
    assert [(tile.name, tile.grid.shape) for tile in found] == [("east", (8, 8)), ("west", (12, 12))]


CUBE = """
pattern = '(?P<band>NDVI|EVI)\\.tif'
layout = "dates"
dates = [2026-04-01, 2026-04-11, 2026-04-21]
scale = 0.0001
"""


def as_cube(season: TinySeason, bands: int = 3) -> None:
    text = season.toml.read_text()
    first, last = text.index("pattern ="), text.index("[[classes]]")
    season.toml.write_text(text[:first] + CUBE + text[last:])
    for name in ("NDVI", "EVI"):
        cube = np.arange(bands)[:, None, None] + np.zeros((bands, 16, 16))
        write_raster(season.scenes / f"{name}.tif", (1000 * cube).astype(np.int16))


def test_layout_of_dates(season: TinySeason) -> None:
    as_cube(season)
    (tile,) = tiles(season)
    assert [scene.date for scene in tile.scenes] == [date(2026, 4, 1), date(2026, 4, 11), date(2026, 4, 21)]
    assert [asset.band for asset in tile.scenes[0].assets] == ["EVI", "NDVI"]
    (block,) = cut("all", tile.grid, size=16)
    with BlockReader(block) as reader:
        assert np.allclose(reader.read(tile.scenes[2].asset("NDVI")), 0.2)


def test_layout_of_dates_with_another_number_of_bands(season: TinySeason) -> None:
    as_cube(season, bands=4)
    message = refused(season)
    assert "has 4 band(s), but 3 dates" in message
