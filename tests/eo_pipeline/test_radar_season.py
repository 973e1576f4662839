"""Sentinel-1 in a season: from `[source.radar]` to the cube, and from there to table, picture and raster."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from datetime import date
from pathlib import Path

import numpy as np
import pytest
import rasterio
from command import eo, good
from rasterio.transform import from_origin
from seasons import ORIGIN, PIXEL, TOML, TinySeason, lonlat, make_season, map_of

from eo_pipeline.cube.radar import BACKSCATTER, COUNT
from eo_pipeline.cube.store import NODATA, TileStore
from eo_pipeline.engine import Engine, Progress
from eo_pipeline.errors import SeasonFileError, SourceError
from eo_pipeline.plan import make_plan
from eo_pipeline.run import SeasonRun
from eo_pipeline.season import read_season

SIZE = 48
RADAR = '[[source.mask]]\nband = "SCL"\nclear = [4, 5]\n\n[source.radar]\nroot = "radar"\n'
#: Day, direction, power of VV; VH is a fifth of it.
PASSES = (
    (date(2026, 3, 6), "ascending", 0.08),
    (date(2026, 3, 8), "descending", 0.05),
    (date(2026, 3, 9), "ascending", 0.04),
    (date(2026, 4, 2), "ascending", 0.10),
)


def write_rtc(
    root: Path,
    day: date,
    direction: str,
    power: float | np.ndarray,
    *,
    west: float = ORIGIN[0],
    border: int = 5,
) -> Path:
    """A folder of terrain-corrected rasters of one power, or one a pixel, with its item."""
    folder = root / f"S1A_IW_GRDH_1SDV_{day:%Y%m%d}T104042_{day:%Y%m%d}T104107_022812_02792A_rtc"
    folder.mkdir(parents=True)
    for name, value in (("vv", power), ("vh", power / 5)):
        values = np.broadcast_to(value, (SIZE, SIZE)).astype(np.float32)
        values[:border] = -32768
        with rasterio.open(
            folder / f"{name}.tif", "w", driver="GTiff", width=SIZE, height=SIZE, count=1, dtype="float32",
            crs="EPSG:32648", transform=from_origin(west, ORIGIN[1], PIXEL, PIXEL), nodata=-32768,
        ) as raster:  # fmt: skip
            raster.write(values, 1)
    aside = round((west - ORIGIN[0]) / PIXEL)
    (x0, y1), (x1, y0) = lonlat(0, aside), lonlat(SIZE, aside + SIZE)
    ring = [[x0, y0], [x1, y0], [x1, y1], [x0, y1], [x0, y0]]
    item = {
        "id": folder.name,
        "collection": "sentinel-1-rtc",
        "geometry": {"type": "Polygon", "coordinates": [ring]},
        "properties": {"datetime": f"{day}T10:40:54Z", "sat:orbit_state": direction},
        "assets": {name: {"href": f"./{name}.tif"} for name in ("vv", "vh")},
    }
    (folder / "item.json").write_text(json.dumps(item))
    return folder


def make(root: Path, *, size: int = SIZE) -> TinySeason:
    season = make_season(root, size=size, dates=6)
    season.rewrite('[[source.mask]]\nband = "SCL"\nclear = [4, 5]\n', RADAR)
    for item in PASSES:
        write_rtc(root / "radar", *item)
    return season


def ingest(
    season: TinySeason, *, block: int | None = None, out: Path | None = None
) -> tuple[TileStore, dict[str, Progress]]:
    told: dict[str, Progress] = {}
    document = read_season(season.toml)
    document = replace(document, output_root=out) if out else document
    with Engine(workers=0, on_progress=lambda p: told.__setitem__(p.stage, p)) as engine:
        job = SeasonRun(make_plan(document, block=block), engine)
        with job.alone():
            _ = job.cube
    return TileStore(job.stages.store(job.plan.tiles[0])), told


@pytest.fixture(scope="module")
def season(tmp_path_factory: pytest.TempPathFactory) -> TinySeason:
    return make(tmp_path_factory.mktemp("season"))


@pytest.fixture(scope="module")
def cube(season: TinySeason) -> TileStore:
    return ingest(season)[0]


def test_passes_are_averaged_by_dekad_and_direction(cube: TileStore) -> None:
    values, counts = cube.read(BACKSCATTER), cube.read(COUNT)
    seen = values[:, :, 10:, :]
    # the mean of 0.08 and 0.04 is 0.06; channels VV and VH ascending, VV and VH descending
    expected = [round(1000 * np.log10(power)) for power in (0.06, 0.012, 0.05, 0.01)]
    assert [np.unique(channel).tolist() for channel in seen[0]] == [[number] for number in expected]
    assert np.unique(seen[3, 0]).tolist() == [-1000] and (seen[3, 2:] == NODATA).all()
    assert (counts[0, 0, 10:] == 2).all() and (counts[0, 1, 10:] == 1).all()
    assert (values[:, :, :4] == NODATA).all() and not counts[:, :, :4].any()
    assert (seen[[1, 2, *range(4, 18)]] == NODATA).all()


@pytest.mark.parametrize("block", [16, 23])
def test_blocks_of_any_size_give_the_same_backscatter(
    season: TinySeason, cube: TileStore, tmp_path: Path, block: int
) -> None:
    other, told = ingest(season, block=block, out=tmp_path)
    assert told["radar"].total == 18 * 9
    for name in (BACKSCATTER, COUNT):
        np.testing.assert_array_equal(other.read(name), cube.read(name))


def test_a_new_pass_touches_its_dekad_alone(tmp_path: Path) -> None:
    season = make(tmp_path)
    ingest(season)
    _, told = ingest(season)
    assert (told["radar"].total, told["radar"].skipped) == (18, 18)
    write_rtc(tmp_path / "radar", date(2026, 4, 9), "ascending", 0.02)
    plan = json.loads(good("plan", season.toml, "--json"))
    assert plan["tasks"]["radar"]["to_do"] == 1
    assert plan["tasks"]["ingest"]["to_do"] == plan["tasks"]["screen"]["to_do"] == 0
    assert plan["tiles"][0]["radar"] == {"ascending": 4, "descending": 1}
    store, told = ingest(season)
    assert (told["radar"].skipped, told["ingest"].skipped, told["screen"].skipped) == (17, 18, 1)
    assert np.unique(store.read(BACKSCATTER)[3, 0, 10:]).tolist() == [round(1000 * np.log10(0.06))]
    # and when a pass goes away its dekad goes back, with a killed run's mark wiped
    shutil.rmtree(next((tmp_path / "radar").glob("*20260402*")))
    store.begin([5])
    store, _ = ingest(season)
    assert np.unique(store.read(BACKSCATTER)[3, 0, 10:]).tolist() == [round(1000 * np.log10(0.02))]
    assert store.record().updating == ()


def test_what_cannot_be_used_is_left_out_and_told(tmp_path: Path) -> None:
    season = make(tmp_path)
    radar = tmp_path / "radar"
    decibel = write_rtc(radar, date(2026, 5, 2), "ascending", -11.0)
    sideways = write_rtc(radar, date(2026, 5, 3), "", 0.1)
    cut = write_rtc(radar, date(2026, 5, 4), "ascending", 0.1) / "vh.tif"
    cut.write_bytes(cut.read_bytes()[:900])
    write_rtc(radar, date(2026, 5, 5), "ascending", 0.1, west=ORIGIN[0] - 200_000)
    shutil.copytree(next(radar.glob("*20260306*")), radar / "again")
    facts = json.loads(good("ingest", season.toml, "--workers", 0, "--json"))
    reasons = {item["name"]: item["reason"] for item in facts["skipped"]}
    assert len(reasons) == 4
    assert "holds decibel" in reasons[decibel.name]
    assert "sat:orbit_state" in reasons[sideways.name]
    assert "vh.tif cannot be read" in reasons[cut.parent.name]
    assert facts["radar"] == {"all": {"ascending": 3, "descending": 1}}
    text = good("plan", season.toml)
    assert "radar ↑ ↓" in text and "3 1" in text and f"Left out: {decibel.name}" in text


def test_the_run_folder_names_the_radar_that_went_in(season: TinySeason, cube: TileStore) -> None:
    good("run", season.toml, "--workers", 0, "--json")
    inputs = json.loads((season.root / "runs/tiny-2026/run.json").read_text())["inputs"]
    files = [row for row in inputs if row["role"] == "radar"]
    assert len(files) == 8 and all(len(row["sha256"]) == 64 for row in files)


# ---- looking into it -------------------------------------------------------------------------------------
def test_info_plot_and_export_show_both_directions(
    season: TinySeason, cube: TileStore, tmp_path: Path
) -> None:
    (tile,) = json.loads(good("cube", "info", season.toml, "--json"))["tiles"]
    assert tile["dekads"][0]["radar"] == {"ascending": 1.0, "descending": 1.0}
    assert tile["dekads"][3]["radar"] == {"ascending": 1.0, "descending": 0.0}
    assert "S1 descending" in good("cube", "info", season.toml)
    where = ",".join(map(str, lonlat(20, 30)))
    for feature, value in (("VV_ASC", -12.22), ("VH_DESC", -20.0)):
        out = tmp_path / f"{feature}.svg"
        told = good("cube", "plot", season.toml, "--point", where, "--index", feature, "--out", out, "--json")
        first = json.loads(told)["curve"][0]
        assert first["value"] == pytest.approx(value, abs=0.006)
        assert first["views"] == (2 if feature == "VV_ASC" else 1)
        assert "<svg" in out.read_text()
    picture = tmp_path / "radar.png"
    good("cube", "plot", season.toml, "--date", "2026-03-05", "--colours", "descending", "--out", picture)
    assert picture.stat().st_size > 5000
    raster = tmp_path / "vh.tif"
    good("cube", "export", season.toml, "--index", "VH_ASC", "--out", raster)
    with rasterio.open(raster) as source:
        assert source.count == 18 and source.scales[0] == 0.01 and source.nodata == NODATA
        assert (source.read(1)[10:] == round(1000 * np.log10(0.012))).all()
    code, _, err = eo("cube", "export", season.toml, "--index", "VV_UP", "--out", tmp_path / "x.tif")
    assert code == 2 and "VV_ASC, VH_ASC, VV_DESC, VH_DESC" in err


def test_a_cube_without_radar_says_how_to_get_it(tmp_path: Path) -> None:
    season = make_season(tmp_path, size=16, dates=2)
    _, told = ingest(season)
    assert "radar" not in told
    assert "S1" not in good("cube", "info", season.toml)
    code, _, err = eo(
        "cube", "plot", season.toml, "--date", "2026-03-05", "--colours", "ascending", "--out", "x.png"
    )
    assert code == 2 and "[source.radar]" in err


# ---- the crop map ----------------------------------------------------------------------------------------
@pytest.mark.slow
def test_a_map_may_be_made_of_radar(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two crops that differ in VH alone, twice as bright or not; VV is the same everywhere."""
    from models.training import TrainingSettings

    monkeypatch.setattr("eo_pipeline.products.classify._SETTINGS", TrainingSettings(epochs=1, min_steps=25))
    season = make_season(tmp_path, size=SIZE, dates=6, classify=True)
    season.rewrite('[[source.mask]]\nband = "SCL"\nclear = [4, 5]\n', RADAR)
    season.rewrite('features = ["B04", "B08", "NDVI"]', 'features = ["VH_DESC", "B02"]')
    season.rewrite("folds = 3", "folds = 2")
    rng = np.random.default_rng(2)
    for n in range(6):
        power = np.where(season.classes == 1, 0.05, 0.1) * rng.gamma(50, 1 / 50, season.classes.shape)
        write_rtc(tmp_path / "radar", date(2026, 4 + n // 3, 4 + 10 * (n % 3)), "descending", power, border=0)

    job, mapped = map_of(season, tmp_path / "a")
    assert (mapped == season.classes).mean() > 0.98
    np.testing.assert_array_equal(map_of(season, tmp_path / "b", block=23)[1], mapped)
    assert job.stages.left()["train"][0] == []
    # a pass more, and the model is trained again; the optical cube is as it was
    write_rtc(tmp_path / "radar", date(2026, 6, 5), "descending", 0.1, border=0)
    left = SeasonRun(make_plan(job.plan.season), Engine(workers=0)).stages.left()
    counts = [len(left[name][0]) for name in ("radar", "train", "classify", "ingest", "screen")]
    assert counts == [1, 1, 1, 0, 0]
    season.rewrite('[source.radar]\nroot = "radar"\n', "")
    with pytest.raises(SeasonFileError, match=r"\[classify\] features names VH_DESC.*\[source.radar\]"):
        make_plan(read_season(season.toml))


# ---- wrong lines -----------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("radar", "old", "new", "parts"),
    [
        ('rot = "radar"', "", "", ["[source.radar]", "“rot”", "Did you mean “root”?"]),
        ("", "", "", ["[source.radar] root", "missing"]),
        ('root = "radarr"', "", "", ["[source.radar] root", "radarr", "does not exist"]),
        ('kind = "cdse"\nroot = "radar"', "", "", ["[source.radar] kind", "planetary-computer"]),
        ('url = "http://x"\nroot = "radar"', "", "", ["[source.radar] url", "planetary-computer"]),
        ('root = "radar"', 'step = "dekad"', 'step = "native"', ["[season] step", "[source.radar]", "dekad"]),
    ],
)
def test_wrong_lines_are_refused(tmp_path: Path, radar: str, old: str, new: str, parts: list[str]) -> None:
    for name in ("scenes", "radar"):
        (tmp_path / name).mkdir()
    text = TOML.replace("clear = [4, 5]\n", f"clear = [4, 5]\n\n[source.radar]\n{radar}\n")
    path = tmp_path / "season.toml"
    path.write_text(text.replace(old, new))
    with pytest.raises(SeasonFileError) as caught:
        read_season(path)
    for part in (str(path), *parts):
        assert part in str(caught.value)


def test_radar_of_another_time_is_refused(tmp_path: Path) -> None:
    season = make_season(tmp_path, size=16, dates=2)
    season.rewrite('[[source.mask]]\nband = "SCL"\nclear = [4, 5]\n', RADAR)
    write_rtc(tmp_path / "radar", date(2025, 3, 6), "ascending", 0.1)
    with pytest.raises(SourceError, match="no Sentinel-1 product of the season 2026-03-01 to 2026-08-31"):
        make_plan(read_season(season.toml))
    # what is to be fetched need not be there yet; the plan says what brings it
    season.rewrite('root = "radar"', 'kind = "planetary-computer"\nroot = "elsewhere"')
    with pytest.raises(SourceError, match=r"elsewhere: no Sentinel-1 product.*Run `eo fetch`"):
        make_plan(read_season(season.toml))
