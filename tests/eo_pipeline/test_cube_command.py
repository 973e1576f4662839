"""`eo cube`: facts, pictures and rasters of a real little season, and errors that say what to do."""

from __future__ import annotations

import json
import shutil
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pytest
import rasterio
from command import good, refused
from seasons import NODATA, TinySeason, lonlat, make_season

from eo_pipeline.cube.export import quicklook
from eo_pipeline.cube.store import TileStore
from eo_pipeline.cube.view import CubeView
from eo_pipeline.grid import dekads


@pytest.fixture(scope="module")
def season(tmp_path_factory: pytest.TempPathFactory) -> TinySeason:
    """A season whose run is done, on blocks smaller than the tile."""
    made = make_season(tmp_path_factory.mktemp("season"))
    good("run", made.toml, "--workers", 0, "--block", 32, "--json")
    return made


@pytest.fixture(scope="module")
def store(season: TinySeason) -> Path:
    return season.root / "runs" / ".work" / "tiny-2026" / "cube" / "all.zarr"


def red(season: TinySeason, number: int) -> np.ndarray:
    """Red of one date as it lies on disk, int16."""
    with rasterio.open(sorted(season.scenes.glob("*.tif"))[number]) as raster:
        return np.asarray(raster.read(2))


# ---- info -----------------------------------------------------------------------------------------------
def test_info_tells_every_dekad(season: TinySeason, store: Path) -> None:
    document = json.loads(good("cube", "info", season.toml, "--json"))
    assert document["simulated"] is True
    (tile,) = document["tiles"]
    assert tile["bands"] == ["B02", "B04", "B08"] and tile["size"] == [64, 64]
    assert tile["crs"] == "EPSG:32648" and tile["pixel_m"] == 10
    assert {"reflectance", "clear_count", "usable", "age_days", "index_NDVI"} <= set(tile["arrays"])
    assert tile["bytes"] == sum(f.stat().st_size for f in store.rglob("*") if f.is_file()) > 10_000
    by_start = {row["start"]: row for row in tile["dekads"]}
    assert len(by_start) == 18
    clear, cloudy = by_start["2026-03-01"], by_start["2026-03-21"]
    assert (clear["clear"], clear["state"], clear["age_days"]) == (1.0, "whole", 5.0)
    assert cloudy["clear"] == pytest.approx(43 / 64, abs=1e-3)  # a third of the rows lie under cloud
    assert cloudy["state"] == "whole"
    text = good("cube", "info", season.toml)
    assert "模拟数据" in text and "2026-03-21 – 2026-03-31" in text and "67%" in text


def test_info_sees_an_update_and_an_unscreened_cube(season: TinySeason, store: Path, tmp_path: Path) -> None:
    copy = tmp_path / "all.zarr"
    shutil.copytree(store, copy)
    TileStore(copy).begin([3])
    (tile,) = json.loads(good("cube", "info", copy, "--json"))["tiles"]
    states = [row["state"] for row in tile["dekads"]]
    assert states[3] == "updating" and set(states) == {"updating", "not screened"}
    assert "is being updated" in refused(
        "cube", "export", copy, "--index", "NDVI", "--out", tmp_path / "x.tif"
    )
    assert not list(tmp_path.glob("*.tif")) and not list(tmp_path.glob(".*partial*"))


# ---- plot -----------------------------------------------------------------------------------------------
def test_a_dekad_and_a_curve_are_drawn(season: TinySeason, store: Path, tmp_path: Path) -> None:
    false = ("--colours", "false")
    message = refused(
        "cube", "plot", season.toml, "--date", "2026-05-15", "--out", tmp_path / "a.png", *false
    )
    assert "has no B03" in message  # the tiny season has no green
    lon, lat = lonlat(20, 30)
    told = good(
        "cube", "plot", season.toml, "--point", f"{lon},{lat}", "--out", tmp_path / "curve.svg", "--json"
    )
    document = json.loads(told)
    assert document["simulated"] is True and len(document["curve"]) == 18
    assert "<svg" in (tmp_path / "curve.svg").read_text()
    with rasterio.open(sorted(season.scenes.glob("*.tif"))[3]) as raster:
        numbers = raster.read()[:, 20, 30].astype(float)
    ndvi = (numbers[2] - numbers[1]) / (numbers[2] + numbers[1])
    at = next(row for row in document["curve"] if row["date"].startswith("2026-04-0"))
    assert at["value"] == pytest.approx(ndvi, abs=1e-4) and at["views"] == 1
    cloudy = json.loads(
        good(
            "cube",
            "plot",
            store,
            "--point",
            ",".join(map(str, lonlat(2, 2))),
            "--out",
            tmp_path / "c.png",
            "--json",
        )
    )
    assert cloudy["simulated"] is True  # known from the run folder beside
    assert cloudy["curve"][2]["value"] is None and cloudy["curve"][2]["views"] == 0
    assert cloudy["curve"][2]["smoothed"] is not None
    with pytest.warns(rasterio.errors.NotGeoreferencedWarning), rasterio.open(tmp_path / "c.png") as picture:
        assert picture.width > 900 and len(np.unique(picture.read(1))) > 20


def test_quicklook_takes_the_same_pixels_from_any_blocks(store: Path, season: TinySeason) -> None:
    view = CubeView(store)
    picture, grid = quicklook(view, 2, ("B08", "B04", "B02"), side=20)
    assert picture.shape == (16, 16, 4) and grid.transform[0] == 40
    assert (picture[: 21 // 4 + 1, :, 3] == 0).all() and (picture[6:, :, 3] == 255).all()
    part, _ = quicklook(view, 2, ("B08", "B04", "B02"), side=900)
    whole = np.where(part[..., 3] > 0, 255, 0)
    np.testing.assert_array_equal(whole[::4, ::4], picture[..., 3])


def test_a_true_colour_picture(season: TinySeason, store: Path, tmp_path: Path) -> None:
    """With a green band: the red band stands in for it under another name."""
    copy = tmp_path / "all.zarr"
    shutil.copytree(store, copy)
    tile = TileStore(copy)
    tile.group.attrs["bands"] = ["B03", "B04", "B08"]
    out = tmp_path / "may.png"
    good("cube", "plot", copy, "--date", "2026-05-15", "--colours", "false", "--out", out, "--simulated")
    with pytest.warns(rasterio.errors.NotGeoreferencedWarning), rasterio.open(out) as picture:
        assert picture.height > 900 and len(np.unique(picture.read(2))) > 20


# ---- export ---------------------------------------------------------------------------------------------
def test_a_dekad_becomes_a_cog(season: TinySeason, tmp_path: Path) -> None:
    out = tmp_path / "d.tif"
    good("cube", "export", season.toml, "--date", "2026-03-22", "--bands", "B04,B08", "--out", out)
    with rasterio.open(out) as raster:
        assert raster.descriptions == ("B04 2026-03-21/2026-03-31", "B08 2026-03-21/2026-03-31")
        assert raster.nodata == NODATA and raster.scales == (1e-4, 1e-4) and raster.crs.to_epsg() == 32648
        assert "模拟数据" in raster.tags()["NOTE"]
        assert raster.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
        numbers = raster.read(1)
    assert (numbers[:21] == NODATA).all()
    np.testing.assert_array_equal(numbers[21:], red(season, 2)[21:])
    assert [path.name for path in tmp_path.iterdir()] == ["d.tif"]


def test_a_series_and_a_window(season: TinySeason, tmp_path: Path) -> None:
    west, north = lonlat(10, 12)
    east, south = lonlat(41, 50)
    box = f"{west},{south},{east},{north}"
    out = tmp_path / "n.tif"
    good("cube", "export", season.toml, "--index", "NDVI", "--bbox", box, "--format", "gtiff", "--out", out)
    view = CubeView(season.root / "runs" / ".work" / "tiny-2026" / "cube" / "all.zarr")
    window = view.window([float(v) for v in box.split(",")])
    # a box of degrees leans in the grid: the window holds it whole, with a pixel or two beside
    assert window.row in (9, 10) and window.col in (11, 12)
    assert window.row + window.height in (42, 43) and window.col + window.width in (51, 52)
    with rasterio.open(out) as raster:
        assert raster.count == 18 and raster.descriptions[0] == "NDVI 2026-03-05"
        assert raster.transform.c == 300_000 + 10 * window.col
        assert raster.transform.f == 3_900_000 - 10 * window.row
        np.testing.assert_array_equal(raster.read(), view.series("NDVI", window))
        numbers = raster.read(4)
    with rasterio.open(sorted(season.scenes.glob("*.tif"))[3]) as raster:
        _, r, n, _ = raster.read().astype(float)
    expected = np.rint((n - r) / (n + r) * 10_000)[window.slices]
    assert np.abs(numbers - expected).max() <= 1
    for name, dtype in (("clear_count", "uint8"), ("age_days", "int16")):
        good("cube", "export", season.toml, "--index", name, "--out", tmp_path / f"{name}.tif")
        with rasterio.open(tmp_path / f"{name}.tif") as raster:
            assert raster.dtypes[0] == dtype and raster.scales[0] == 1
    good("cube", "export", season.toml, "--index", "NDVI", "--smoothed", "--out", tmp_path / "s.tif")
    with rasterio.open(tmp_path / "s.tif") as raster:
        np.testing.assert_array_equal(raster.read(), view.tile.read("index_NDVI"))


# ---- climatology ----------------------------------------------------------------------------------------
def test_climatology_of_a_cube_and_of_its_run_folder(season: TinySeason, store: Path, tmp_path: Path) -> None:
    folder = tmp_path / "usual"
    told = json.loads(good("cube", "climatology", "build", folder, season.toml, "--json"))
    assert [row["season"] for row in told["added"]] == ["tiny-2026"]
    assert 0.8 * 18 * 4096 < told["added"][0]["seen"]["NDVI"] < 18 * 4096
    again = json.loads(good("cube", "climatology", "build", folder, store, "--json", "--workers", 2))
    assert again["added"] == told["added"]  # known by its work folder: put in anew, not twice
    shown = json.loads(
        good("cube", "climatology", "show", folder, "--point", ",".join(map(str, lonlat(40, 40))), "--json")
    )
    assert [row["label"] for row in shown["tiles"][0]["seasons"]] == ["tiny-2026"]
    assert [row["seasons"] for row in shown["usual"]] == [0] * 6 + [1] * 18 + [0] * 12
    first = shown["usual"][6]
    assert first["dekad"] == "03-01" and first["median"] == first["low"] == first["high"]
    assert "tiny-2026: 2026-03-05 to 2026-08-26, 18 dekads" in good("cube", "climatology", "show", folder)
    other = tmp_path / "of-run"
    run = season.root / "runs" / "tiny-2026"
    told = json.loads(good("cube", "climatology", "build", other, run, "--json"))
    assert told["added"][0]["seen"]["NDVI"] == 18 * 4096  # smoothed curves have no gaps
    good(
        "cube", "plot", season.toml, "--point", ",".join(map(str, lonlat(40, 40))), "--climatology", folder,
        "--out", tmp_path / "with.svg",
    )  # fmt: skip
    assert (tmp_path / "with.svg").stat().st_size > 5000
    assert "no raster of EVI" in refused(
        "cube", "climatology", "build", tmp_path / "e", run, "--index", "EVI"
    )
    assert "--index must name the same" in refused(
        "cube", "climatology", "build", folder, season.toml, "--index", "EVI"
    )
    # a store of other indices takes a run folder's rasters of these, and refuses one without before it begins
    two = tmp_path / "two"
    good("cube", "climatology", "build", two, season.toml, "--index", "NDVI", "--index", "EVI")
    lacking = refused("cube", "climatology", "build", two, run)
    assert "tiny-2026" in lacking and "EVI" in lacking
    (tile,) = json.loads(good("cube", "climatology", "show", two, "--json"))["tiles"]
    assert tile["whole"] and [entry["label"] for entry in tile["seasons"]] == ["tiny-2026"]
    assert "holds no climatology" in refused("cube", "climatology", "show", tmp_path)
    assert "outside every tile" in refused("cube", "climatology", "show", folder, "--point", "1,1")


def test_seasons_that_end_in_one_year_are_two_wherever_their_work_folder_lies(
    store: Path, tmp_path: Path
) -> None:
    work = tmp_path / "work"  # as [output] work names it
    stores = [work / name / "cube" / "all.zarr" for name in ("wheat-2026", "maize-2026")]
    for path, start in zip(stores, (date(2025, 9, 1), date(2026, 3, 1)), strict=True):
        shutil.copytree(store, path)
        document = json.loads((path / "zarr.json").read_text())
        days = [(step.start, step.end) for step in dekads(start, start + timedelta(days=175))]
        document["attributes"]["steps"] = [[str(first), str(last)] for first, last in days]
        assert len(days) == 18 and days[-1][1].year == 2026
        (path / "zarr.json").write_text(json.dumps(document))
    folder = tmp_path / "usual"
    told = json.loads(good("cube", "climatology", "build", folder, *stores, "--json"))
    assert [row["season"] for row in told["added"]] == ["wheat-2026", "maize-2026"]
    shown = json.loads(good("cube", "climatology", "show", folder, "--json"))
    assert [row["label"] for row in shown["tiles"][0]["seasons"]] == ["wheat-2026", "maize-2026"]
    # a cube that lies anywhere else is known by its year
    loose = tmp_path / "loose" / "all.zarr"
    shutil.copytree(store, loose)
    told = json.loads(good("cube", "climatology", "build", tmp_path / "other", loose, "--json"))
    assert [row["season"] for row in told["added"]] == ["2026"]


# ---- errors ---------------------------------------------------------------------------------------------
def test_errors_say_what_to_do(season: TinySeason, store: Path, tmp_path: Path) -> None:
    out = tmp_path / "x.png"
    fresh = make_season(tmp_path / "fresh", size=16, dates=2)
    assert "has no cube yet" in refused("cube", "info", fresh.toml)
    assert "`eo ingest" in refused("cube", "info", fresh.toml)
    assert "There is no cube at" in refused("cube", "info", tmp_path / "none.zarr")
    assert "no tile 48SXD; it has all" in refused("cube", "info", season.toml, "--tile", "48SXD")
    assert "no .zarr" in refused("cube", "info", tmp_path)
    assert "does not exist" in refused("cube", "info", tmp_path / "none.toml")
    outside = refused("cube", "plot", season.toml, "--date", "2027-01-01", "--out", out)
    assert "2027-01-01 lies outside the season" in outside and "2026-03-01 to 2026-08-31" in outside
    assert "write it like" in refused("cube", "plot", season.toml, "--date", "May", "--out", out)
    away = refused("cube", "plot", season.toml, "--point", "110,35", "--out", out)
    assert "lies outside tile all: longitude" in away
    assert "must be LON,LAT" in refused("cube", "plot", season.toml, "--point", "110", "--out", out)
    assert "either --date" in refused("cube", "plot", season.toml, "--out", out)
    at = ",".join(map(str, lonlat(1, 1)))
    wrong = refused("cube", "plot", season.toml, "--point", at, "--index", "NVDI", "--out", out)
    assert "Did you mean NDVI?" in wrong and "B02, B04, B08, NDVI" in wrong
    assert "Did you mean B04?" in refused(
        "cube", "export", store, "--index", "b04", "--out", tmp_path / "t.tif"
    )
    assert "NDMI needs B11" in refused(
        "cube", "export", store, "--index", "NDMI", "--out", tmp_path / "t.tif"
    )
    assert ".png or .svg" in refused("cube", "plot", season.toml, "--point", at, "--out", tmp_path / "x.gif")
    assert "no smoothed EVI, only NDVI" in refused(
        "cube", "export", store, "--index", "B04", "--smoothed", "--out", tmp_path / "t.tif"
    ).replace("B04", "EVI")
    assert "lies outside tile" in refused(
        "cube", "export", store, "--index", "NDVI", "--bbox", "1,1,2,2", "--out", tmp_path / "t.tif"
    )
    (tmp_path / "file").write_text("")
    unwritable = ("--out", tmp_path / "file" / "t.tif")
    assert "t.tif cannot be written (" in refused("cube", "export", store, "--index", "NDVI", *unwritable)
    assert not list(tmp_path.glob("*.tif")) and not out.exists()


def test_help_shows_examples() -> None:
    for command in ("info", "plot", "export"):
        assert "Example" in good("cube", command, "--help")
    assert date(2026, 5, 15).isoformat() in good("cube", "plot", "--help")
