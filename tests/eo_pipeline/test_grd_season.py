"""A season whose Sentinel-1 is GRD: from `eo simulate`'s products to cube, plan and run folder."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from datetime import date
from pathlib import Path

import numpy as np
import pytest
import rasterio
from command import good
from seasons import ORIGIN, TinySeason, make_season

from eo_pipeline.cube.radar import BACKSCATTER, COUNT, db_to_power
from eo_pipeline.cube.store import NODATA, TileStore
from eo_pipeline.engine import Engine
from eo_pipeline.plan import make_plan
from eo_pipeline.run import SeasonRun
from eo_pipeline.season import read_season
from eo_pipeline.simulate import grd, landscape, radar, radar_item

SIZE = 96
#: Ascending, descending, ascending again in the dekad of the first.
DAYS = (date(2026, 3, 3), date(2026, 3, 10), date(2026, 3, 15))
TABLES = '\n[source.radar]\nroot = "radar"\n\n[source.terrain]\ndem = "dem.tif"\n'


@pytest.fixture(scope="module")
def land() -> landscape.Landscape:
    made = landscape.build(1.0, seed=3)
    return replace(made, grid=landscape.Grid(made.grid.size, west=ORIGIN[0], north=ORIGIN[1]))


def scene(land: landscape.Landscape, number: int) -> radar.RadarScene:
    """Fields of one power each, VH a fifth of VV."""
    power = 0.03 + 0.1 * np.random.default_rng(number).random(land.segment.max() + 1)
    vv = power[land.segment].astype(np.float32)
    return radar.RadarScene(vv, vv / 5)


@pytest.fixture(scope="module")
def made(land: landscape.Landscape, tmp_path_factory: pytest.TempPathFactory) -> dict[str, TinySeason]:
    """One season from GRD, and one from the terrain-corrected products of the same passes."""
    found = {}
    for kind in ("grd", "rtc"):
        root = tmp_path_factory.mktemp(kind)
        season = make_season(root, size=SIZE, dates=2)
        season.rewrite("clear = [4, 5]\n", "clear = [4, 5]\n" + TABLES)
        season.rewrite("end = 2026-08-31", "end = 2026-03-31")
        for number, overpass in enumerate(passes()):
            if kind == "grd":
                grd.write_grd(scene(land, number), overpass, land, root / "radar")
            else:
                radar_item.write_radar(scene(land, number), overpass, land.grid, root / "radar")
        options = {"driver": "GTiff", "width": 100, "height": 100, "count": 1, "dtype": "float32"}
        place = {"crs": "EPSG:32648", "transform": rasterio.Affine(*land.grid.transform)}
        with rasterio.open(root / "dem.tif", "w", **options, **place) as raster:
            raster.write(land.elevation, 1)
        found[kind] = season
    return found


def passes() -> list[radar.Pass]:
    return [radar.Pass(day, radar.TRACKS[number % 2]) for number, day in enumerate(DAYS)]


def ingest(
    season: TinySeason, *, block: int | None = None, out: Path | None = None
) -> tuple[TileStore, SeasonRun]:
    document = read_season(season.toml)
    document = replace(document, output_root=out) if out else document
    with Engine(workers=0) as engine:
        job = SeasonRun(make_plan(document, block=block), engine)
        with job.alone():
            _ = job.cube
    return TileStore(job.stages.store(job.plan.tiles[0])), job


def test_a_season_of_grd_agrees_with_that_of_the_corrected_products(
    made: dict[str, TinySeason], land: landscape.Landscape, tmp_path: Path
) -> None:
    store, job = ingest(made["grd"])
    corrected, other = ingest(made["rtc"])
    assert job.plan.passes == {"rtc": 0, "grd": 3, "grd_on_dem": True}
    assert other.plan.passes == {"rtc": 3, "grd": 0, "grd_on_dem": False}
    values, truth = (db_to_power(item.read(BACKSCATTER)) for item in (store, corrected))
    np.testing.assert_array_equal(store.read(COUNT), corrected.read(COUNT))
    assert store.read(COUNT)[:2].max(axis=(2, 3)).tolist() == [[1, 1], [1, 0]]
    inner = land.segment[:SIZE, :SIZE]
    fields = [number for number in range(inner.max() + 1) if (inner == number).sum() >= 40]
    for step, channel, track in ((0, 0, 0), (0, 1, 0), (0, 2, 1), (0, 3, 1), (1, 0, 0), (1, 1, 0)):
        overpass = radar.TRACKS[track]
        local = np.radians(radar.local_incidence(land, overpass)[:SIZE, :SIZE])
        bright = np.tan(np.radians(overpass.incidence)) / np.tan(local)
        wanted, found = truth[step, channel] * bright, values[step, channel]
        assert np.isfinite(found).mean() > 0.99
        pairs = np.array(
            [[np.nanmean(image[inner == number]) for image in (wanted, found)] for number in fields]
        )
        error = 10 * np.log10(pairs[:, 1] / pairs[:, 0])
        # whole fields with their soft edges; a field differs from the next by 2 dB
        assert np.sqrt((error**2).mean()) < 0.35 and abs(error.mean()) < 0.1
        assert np.corrcoef(np.log10(pairs.T))[0, 1] > 0.98
    # whatever the blocks
    for size in (37, 512):
        again, _ = ingest(made["grd"], block=size, out=tmp_path / str(size))
        for name in (BACKSCATTER, COUNT):
            np.testing.assert_array_equal(again.read(name), store.read(name))


def test_the_plan_and_the_run_folder_tell_what_is_grd(
    made: dict[str, TinySeason], land: landscape.Landscape
) -> None:
    season = made["grd"]
    assert "3 GRD, placed by the elevation model" in good("plan", season.toml)
    good("ingest", season.toml)
    # the corrected product of one pass comes, too: it alone is used, and its dekad alone is made again
    radar_item.write_radar(scene(land, 0), passes()[0], land.grid, season.root / "radar")
    facts = json.loads(good("plan", season.toml, "--json"))
    assert facts["passes"] == {"rtc": 1, "grd": 2, "grd_on_dem": True}
    assert facts["tiles"][0]["radar"] == {"ascending": 2, "descending": 1}
    assert facts["tasks"]["radar"]["to_do"] == 1
    (left,) = facts["skipped"]
    assert "20260303" in left["name"] and "GRD is not needed" in left["reason"]
    good("run", season.toml, "--workers", 0, "--json")
    folder = season.root / "runs/tiny-2026"
    inputs = json.loads((folder / "run.json").read_text())["inputs"]
    assert {"role": "passes", "rtc": 1, "grd": 2, "grd_on_dem": True} in inputs
    files = [row["path"] for row in inputs if row["role"] == "radar"]
    # of GRD the image, its annotation, calibration and noise, in two polarisations
    assert len(files) == 2 + 2 * 8 and sum("/calibration/noise-" in name for name in files) == 4
    assert "地形校正产品（RTC）1 景，GRD 2 景（按高程模型定位" in (folder / "report.html").read_text()
    # without an elevation model it says so, and all dekads with GRD are made again
    season.rewrite('[source.terrain]\ndem = "dem.tif"\n', "")
    facts = json.loads(good("plan", season.toml, "--json"))
    assert facts["passes"] == {"rtc": 1, "grd": 2, "grd_on_dem": False}
    assert facts["tasks"]["radar"]["to_do"] == 2
    assert "2 GRD, without terrain correction" in good("plan", season.toml)


def test_what_is_damaged_is_left_out_and_the_rest_goes_on(
    made: dict[str, TinySeason], land: landscape.Landscape, tmp_path: Path
) -> None:
    season = TinySeason(tmp_path / "season", made["rtc"].classes, made["rtc"].dates)
    shutil.copytree(made["rtc"].root, season.root, ignore=shutil.ignore_patterns("runs", "radar"))
    root = season.root / "radar"
    broken: dict[str, Path] = {}
    for number, what in enumerate(
        ("good", "annotation", "calibration", "noise", "image", "HH", "sideways", "far")
    ):
        overpass = radar.Pass(date(2026, 3, 1 + number), radar.TRACKS[0])
        where = land
        if what == "far":
            where = replace(land, grid=landscape.Grid(100, west=ORIGIN[0] + 90_000, north=ORIGIN[1]))
        broken[what] = root / grd.write_grd(scene(land, number), overpass, where, root)
    shutil.rmtree(broken["annotation"] / "annotation")
    for file in (broken["calibration"] / "annotation/calibration").glob("calibration-*-vh-*"):
        file.unlink()
    cut = next((broken["noise"] / "annotation/calibration").glob("noise-*-vv-*"))
    cut.write_bytes(cut.read_bytes()[:200])
    image = next((broken["image"] / "measurement").glob("*-vv-*"))
    image.write_bytes(image.read_bytes()[:-4000])
    for file in sorted(broken["HH"].rglob("*-v[vh]-*")):
        file.rename(file.with_name(file.name.replace("-vv-", "-hh-").replace("-vh-", "-hv-")))
    for file in (broken["sideways"] / "annotation").glob("*.xml"):
        file.write_text(file.read_text().replace("<pass>Ascending</pass>", ""))
    facts = json.loads(good("ingest", season.toml, "--workers", 0, "--json"))
    assert facts["passes"] == {"rtc": 0, "grd": 1, "grd_on_dem": True}
    reasons = {item["name"]: item["reason"] for item in facts["skipped"]}
    for what, told in (
        ("annotation", "has no annotation"),
        ("calibration", "no calibration annotation of VH"),
        ("noise", "is no whole XML document"),
        ("image", "It is damaged"),
        ("HH", "neither VV nor VH, only HH, HV"),
        ("sideways", "ascending from descending"),
    ):
        assert told in reasons.pop(broken[what].name), what
    assert not reasons  # what shows another place is no fault
    store, _ = ingest(season)
    assert (store.read(BACKSCATTER)[0, :2] != NODATA).mean() > 0.9
