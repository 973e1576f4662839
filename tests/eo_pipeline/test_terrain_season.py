"""An elevation model in a season: from `[source.terrain]` to the cube, the crop map, and rasters."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
import rasterio
from command import good, refused
from loopback_s3 import ENVIRONMENT, make_bucket, s3_server
from rasterio.transform import from_origin
from seasons import ORIGIN, PIXEL, TOML, TinySeason, lonlat, make_season, map_of, scene, write_raster

from eo_pipeline.cube.gaps import FILLED
from eo_pipeline.cube.store import NODATA, TileStore
from eo_pipeline.engine import Engine
from eo_pipeline.errors import SeasonFileError
from eo_pipeline.plan import make_plan
from eo_pipeline.run import SeasonRun
from eo_pipeline.season import read_season
from eo_pipeline.storage import Folder

SIZE = 48
MASK = '[[source.mask]]\nband = "SCL"\nclear = [4, 5]\n'
STORE = "runs/.work/tiny-2026/cube/all.zarr"


def write_dem(path: Path, heights: np.ndarray, *, west: float = ORIGIN[0]) -> Path:
    """Heights on the season's own grid, from its top."""
    path.parent.mkdir(exist_ok=True)
    with rasterio.open(
        path, "w", driver="GTiff", width=heights.shape[1], height=heights.shape[0], count=1, dtype="float32",
        crs="EPSG:32648", transform=from_origin(west, ORIGIN[1], PIXEL, PIXEL), nodata=-32768,
    ) as raster:  # fmt: skip
        raster.write(heights.astype(np.float32), 1)
    return path


def make(root: Path, dem: str = "dem/*.tif") -> TinySeason:
    """A season over ground that rises to the east by 2 m a pixel, in two files; two columns have none."""
    season = make_season(root, size=SIZE, dates=6)
    season.rewrite(MASK, f'{MASK}\n[source.terrain]\ndem = "{dem}"\n')
    plane = np.tile(1500 + 2.0 * np.arange(SIZE), (SIZE, 1))
    write_dem(root / "dem/west.tif", plane[:, :30])
    write_dem(root / "dem/east.tif", plane[:, 30:46], west=ORIGIN[0] + 30 * PIXEL)
    return season


@pytest.fixture(scope="module")
def season(tmp_path_factory: pytest.TempPathFactory) -> TinySeason:
    made = make(tmp_path_factory.mktemp("season"))
    good("ingest", made.toml, "--workers", 0, "--block", 32, "--json")
    return made


@pytest.fixture(scope="module")
def store(season: TinySeason) -> TileStore:
    return TileStore(season.root / STORE)


def test_the_cube_holds_height_slope_and_aspect(store: TileStore) -> None:
    heights, slope, aspect = (store.read(name) for name in ("elevation", "slope", "aspect"))
    assert heights[0, :46].tolist() == [1500 + 2 * n for n in range(46)]
    assert (heights[:, 46:] == NODATA).all()
    # two metres on ten; the ground falls to the west, also over the seam of the files
    assert (slope[1:-1, 1:45] == round(100 * np.degrees(np.arctan(0.2)))).all()
    assert (aspect[1:-1, 1:45] == 2700).all()


def test_plan_ingest_and_info_tell_of_it(tmp_path: Path) -> None:
    season = make(tmp_path)
    plan = json.loads(good("plan", season.toml, "--json"))
    plain = json.loads(good("plan", make_season(tmp_path / "plain", size=SIZE, dates=6).toml, "--json"))
    assert plan["tasks"]["terrain"]["to_do"] == 1 and plain["tasks"]["terrain"]["all"] == 0
    assert plan["disk_bytes"] - plain["disk_bytes"] == SIZE * SIZE * 6
    assert plan["tiles"][0]["dem_reach"] == pytest.approx(46 / 48) and plain["tiles"][0]["dem_reach"] is None
    assert "The elevation model reaches 96% of all" in good("plan", season.toml)
    facts = json.loads(good("ingest", season.toml, "--workers", 0, "--json"))["terrain"]
    assert facts == {"all": {"low_m": 1500.0, "high_m": 1590.0, "missing_share": round(2 / 48, 4)}}
    assert "Terrain: 1500 to 1590 m, 4.2% of the tile" in good("ingest", season.toml, "--workers", 0)
    (tile,) = json.loads(good("cube", "info", season.toml, "--json"))["tiles"]
    assert tile["terrain"] == {
        "low_m": 1500.0, "high_m": 1590.0, "slope_deg": 11.31, "missing_share": 0.0417,
    }  # fmt: skip
    assert {"elevation", "slope", "aspect"} <= set(tile["arrays"])
    assert "Terrain: 1500 to 1590 m" in good("cube", "info", season.toml)
    good("run", season.toml, "--workers", 0, "--json")
    folder = season.root / "runs/tiny-2026"
    inputs = json.loads((folder / "run.json").read_text())["inputs"]
    assert [row["path"] for row in inputs if row["role"] == "dem"] == ["east.tif", "west.tif"]
    assert "高程模型" in (folder / "report.html").read_text()


def test_only_a_changed_model_is_read_again(tmp_path: Path) -> None:
    season = make(tmp_path)
    good("run", season.toml, "--workers", 0, "--json")
    tasks = json.loads(good("plan", season.toml, "--json"))["tasks"]
    assert all(count["to_do"] == 0 for count in tasks.values())
    path = write_dem(tmp_path / "dem/west.tif", np.full((SIZE, 30), 1200.0))
    os.utime(path, (1, 1))
    tasks = json.loads(good("plan", season.toml, "--json"))["tasks"]
    assert {name for name, count in tasks.items() if count["to_do"]} == {"terrain"}
    good("ingest", season.toml, "--workers", 0, "--json")
    assert (TileStore(season.root / STORE).read("elevation")[:, :29] == 1200).all()


def test_terrain_is_exported_by_its_name(season: TinySeason, store: TileStore, tmp_path: Path) -> None:
    out = tmp_path / "out.tif"
    for name, scale in (("elevation", 1.0), ("slope", 0.01), ("aspect", 0.1)):
        good("cube", "export", season.toml, "--index", name, "--out", out)
        with rasterio.open(out) as raster:
            assert (raster.count, raster.nodata, raster.descriptions) == (1, NODATA, (name,))
            assert raster.scales[0] == pytest.approx(scale)
            np.testing.assert_array_equal(raster.read(1), store.read(name))
    where = ",".join(map(str, lonlat(5, 5)))
    no = tmp_path / "no.svg"
    for arguments, part in (
        (("plot", "--point", where, "--index", "slope"), "slope is no curve"),
        (("export", "--index", "slope", "--smoothed"), "slope has no smoothed curve"),
        (("export", "--index", "slope", "--filled"), "slope is never filled"),
        (("export", "--index", "Elevation"), "Did you mean elevation?"),
    ):
        verb, *rest = arguments
        assert part in refused("cube", verb, season.toml, *rest, "--out", no)
        assert not no.exists()


def test_a_cube_without_a_model_has_no_terrain(tmp_path: Path) -> None:
    season = make_season(tmp_path, size=16, dates=2)
    facts = json.loads(good("ingest", season.toml, "--workers", 0, "--json"))
    assert facts["terrain"] == {}
    assert "Terrain" not in good("cube", "info", season.toml)
    error = refused("cube", "export", season.toml, "--index", "elevation", "--out", tmp_path / "x.tif")
    assert "has no elevation" in error


# ---- the crop map ----------------------------------------------------------------------------------------
@pytest.mark.slow
def test_a_map_may_be_made_of_the_ground(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two crops that look alike, one of them on terraces 80 m above the other."""
    from models.training import TrainingSettings

    monkeypatch.setattr("eo_pipeline.products.classify._SETTINGS", TrainingSettings(epochs=1, min_steps=25))
    season = make_season(tmp_path, size=SIZE, dates=6, classify=True)
    rng = np.random.default_rng(1)
    for step, day in enumerate(season.dates):
        alike = scene(np.ones_like(season.classes), step, rng=rng)
        if step == 3:
            alike[3] = 9
        alike[3, :3] = 9  # the first rows are never seen
        write_raster(season.scenes / f"S2_{day:%Y%m%d}.tif", alike)
    samples = tmp_path / "samples.csv"
    lines = samples.read_text().splitlines()
    edge = lonlat(4, 0)[1]
    samples.write_text("\n".join([lines[0], *(x for x in lines[1:] if float(x.split(",")[1]) < edge)]) + "\n")
    season.rewrite(MASK, f'{MASK}\n[source.terrain]\ndem = "dem/dem.tif"\n')
    season.rewrite(
        'features = ["B04", "B08", "NDVI"]', 'features = ["NDVI", "ELEVATION", "SLOPE", "ASPECT_N"]'
    )
    season.rewrite("folds = 3", "folds = 2")
    write_dem(tmp_path / "dem/dem.tif", 1500 + 80.0 * (season.classes == 1))

    job, mapped = map_of(season, tmp_path / "a")
    assert (mapped[3:] == season.classes[3:]).mean() > 0.98
    # ground alone is no view: what no image shows gets no class
    assert (mapped[:3] == 0).all()
    np.testing.assert_array_equal(map_of(season, tmp_path / "b", block=23)[1], mapped)
    assert job.stages.left()["train"][0] == []
    write_dem(tmp_path / "dem/dem.tif", 1500 + 90.0 * (season.classes == 1))
    os.utime(tmp_path / "dem/dem.tif", (1, 1))
    left = SeasonRun(make_plan(job.plan.season), Engine(workers=0)).stages.left()
    counts = [len(left[name][0]) for name in ("terrain", "train", "classify", "ingest", "screen")]
    assert counts == [1, 1, 1, 0, 0]
    season.rewrite('[source.terrain]\ndem = "dem/dem.tif"\n', "")
    with pytest.raises(SeasonFileError, match=r"\[classify\] features names ELEVATION.*\[source.terrain\]"):
        make_plan(read_season(season.toml))


def test_the_ground_alone_makes_no_map(tmp_path: Path) -> None:
    season = make_season(tmp_path, size=16, dates=2, classify=True)
    season.rewrite(MASK, f'{MASK}\n[source.terrain]\ndem = "dem/dem.tif"\n')
    write_dem(tmp_path / "dem/dem.tif", np.full((16, 16), 1500.0))
    season.rewrite('features = ["B04", "B08", "NDVI"]', 'features = ["SLOPE", "ELEVATION"]')
    with pytest.raises(SeasonFileError, match="the ground alone, which is the same all year"):
        make_plan(read_season(season.toml))


# ---- wrong lines -----------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("line", "parts"),
    [
        ('den = "dem.tif"', ["[source.terrain]", "“den”", "Did you mean “dem”?"]),
        ("", ["[source.terrain] dem", "missing"]),
        ('dem = "den.tif"', ["[source.terrain] dem", "den.tif", "does not exist"]),
        ('dem = "scenes/*.tiff"', ["[source.terrain] dem", "scenes/*.tiff", "no file below"]),
        ('dem = "scenes/**.tif"', ["[source.terrain] dem", "scenes/**.tif", "no pattern"]),
    ],
)
def test_wrong_lines_are_refused(tmp_path: Path, line: str, parts: list[str]) -> None:
    (tmp_path / "scenes").mkdir()
    path = tmp_path / "season.toml"
    path.write_text(TOML.replace(MASK, f"{MASK}\n[source.terrain]\n{line}\n"))
    with pytest.raises(SeasonFileError) as caught:
        read_season(path)
    for part in (str(path), *parts):
        assert part in str(caught.value)


def test_a_model_of_elsewhere_is_refused_before_anything_is_done(tmp_path: Path) -> None:
    season = make(tmp_path, "dem/far.tif")
    write_dem(tmp_path / "dem/far.tif", np.full((16, 16), 1500.0), west=ORIGIN[0] + 50_000)
    assert "far.tif does not reach the tile" in refused("run", season.toml)
    (tmp_path / "dem/far.tif").write_bytes(b"nothing")
    assert "far.tif cannot be read as an elevation model" in refused("plan", season.toml)
    assert not (season.root / "runs").exists()


# ---- the twin --------------------------------------------------------------------------------------------
@pytest.mark.slow
def test_the_twins_ground_comes_into_both_of_its_tiles(tmp_path: Path) -> None:
    from eo_pipeline.simulate import twin
    from eo_pipeline.simulate.twin import TwinOptions

    twin.simulate(tmp_path, TwinOptions(size_km=0.6, seasons=1, seed=5, format="safe", every=60))
    toml = tmp_path / "2026/season.toml"
    facts = json.loads(good("ingest", toml, "--workers", 0, "--json"))
    assert sorted(facts["terrain"]) == ["48SWD", "48SWE"]
    with rasterio.open(tmp_path / "dem.tif") as raster:
        dem, place = raster.read(1), raster.transform
    for name, store in facts["cubes"].items():
        tile = TileStore(Path(store))
        x, y = tile.group.attrs["transform"][2], tile.group.attrs["transform"][5]
        heights = tile.read("elevation")
        row, col = round((place.f - y) / 10), round((x - place.c) / 10)
        rows, cols = np.mgrid[: heights.shape[0], : heights.shape[1]]
        # the cube lies on the twin's own pixels
        inside = (rows + row >= 0) & (rows + row < dem.shape[0])
        inside &= (cols + col >= 0) & (cols + col < dem.shape[1])
        assert inside.sum() > 500, name
        expected = np.rint(dem[(rows + row)[inside], (cols + col)[inside]])
        np.testing.assert_array_equal(heights[inside], expected)
        assert facts["terrain"][name]["missing_share"] == round(1 - float(inside.mean()), 4)


@pytest.mark.slow
def test_in_a_bucket_terrain_and_fill_are_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers of their own that write to S3, and this process that writes to a folder."""
    season = make(tmp_path)
    season.rewrite("[output]\n", '[cube]\nfill = "linear"\n\n[output]\n')
    good("ingest", season.toml, "--workers", 0, "--json")
    local = TileStore(season.root / STORE)
    with s3_server(tmp_path / "server.log") as endpoint:
        for name, value in (ENVIRONMENT | {"AWS_ENDPOINT_URL": endpoint}).items():
            monkeypatch.setenv(name, value)
        make_bucket(endpoint, "crops")
        good("ingest", season.toml, "--workers", 2, "--block", 32, "--work", "s3://crops/kept", "--json")
        remote = TileStore(Folder.of("s3://crops/kept/tiny-2026/cube/all.zarr"))
        for name in ("elevation", "slope", "aspect", FILLED):
            np.testing.assert_array_equal(remote.read(name), local.read(name), err_msg=name)
        good("cube", "export", remote.path.url, "--index", "slope", "--out", tmp_path / "slope.tif")
        # without the key the array goes, there too
        season.rewrite('[cube]\nfill = "linear"\n\n', "")
        good("ingest", season.toml, "--workers", 0, "--block", 32, "--work", "s3://crops/kept", "--json")
        assert FILLED not in TileStore(remote.path).group
