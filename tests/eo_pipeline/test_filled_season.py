"""Gaps of the cube's bands filled where the season asks for it: [cube] fill, from plan to raster."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import rasterio
from command import good, refused
from seasons import TOML, TinySeason, lonlat, make_season

from eo_pipeline.cube.export import quicklook
from eo_pipeline.cube.gaps import FILLED, GapRule, fill_gaps
from eo_pipeline.cube.store import NODATA, TileStore
from eo_pipeline.cube.view import CubeView
from eo_pipeline.engine import Engine, Progress
from eo_pipeline.errors import SeasonFileError
from eo_pipeline.plan import make_plan
from eo_pipeline.run import SeasonRun
from eo_pipeline.season import read_season

SIZE = 48
FILL = '[cube]\nfill = "linear"\nmax_gap = 25\n\n[output]\n'
STORE = "runs/.work/tiny-2026/cube/all.zarr"


def make(root: Path, fill: str = FILL) -> TinySeason:
    season = make_season(root, size=SIZE)
    season.rewrite("[output]\n", fill)
    return season


def stop_at(stage: str) -> Callable[[Progress], None]:
    """Ctrl-C when a stage begins."""

    def tell(progress: Progress) -> None:
        if progress.stage == stage:
            raise KeyboardInterrupt

    return tell


def tasks(season: TinySeason) -> dict[str, dict[str, int]]:
    found: dict[str, dict[str, int]] = json.loads(good("plan", season.toml, "--json"))["tasks"]
    return found


@pytest.fixture(scope="module")
def season(tmp_path_factory: pytest.TempPathFactory) -> TinySeason:
    made = make(tmp_path_factory.mktemp("season"))
    good("ingest", made.toml, "--workers", 0, "--block", 32, "--json")
    return made


@pytest.fixture(scope="module")
def store(season: TinySeason) -> TileStore:
    return TileStore(season.root / STORE)


def believed(store: TileStore) -> np.ndarray:
    """The cube's bands, int16 [step, band, y, x], as products may use them."""
    numbers = store.read("reflectance")
    return np.where((store.read("usable") == 1)[:, None], numbers, np.int16(NODATA))


def test_gaps_are_filled_by_the_seasons_rule(store: TileStore) -> None:
    seen, filled = believed(store), store.read(FILLED)
    steps = [step.day for step in store.steps]
    expected = fill_gaps(seen.reshape(len(steps), -1), steps, rule=GapRule("linear", 25))
    np.testing.assert_array_equal(filled, expected.reshape(seen.shape))
    # the clouds of every fourth date hide a third of the rows; the third date lies between two clear ones
    hidden = seen[2, 1, :16] == NODATA
    assert hidden.all() and (filled[2, 1, :16] != NODATA).all()
    np.testing.assert_array_equal(filled[seen != NODATA], seen[seen != NODATA])


def test_ingest_plan_and_info_tell_of_it(tmp_path: Path) -> None:
    season = make(tmp_path)
    plain = json.loads(good("plan", make_season(tmp_path / "plain", size=SIZE).toml, "--json"))
    plan = json.loads(good("plan", season.toml, "--json"))
    assert plan["tasks"]["fill"]["to_do"] == 1 and plain["tasks"]["fill"]["all"] == 0
    assert plan["disk_bytes"] - plain["disk_bytes"] == SIZE * SIZE * 18 * 3 * 2
    counts = json.loads(good("ingest", season.toml, "--workers", 0, "--json"))["filled"]["all"]
    store = TileStore(season.root / STORE)
    seen, filled = believed(store) != NODATA, store.read(FILLED) != NODATA
    assert counts == {
        "seen": seen.sum(),
        "filled": (filled & ~seen).sum(),
        "left": (~filled).sum(),
    }
    assert counts["filled"] > 0
    (tile,) = json.loads(good("cube", "info", season.toml, "--json"))["tiles"]
    assert [row["filled"] for row in tile["dekads"]] == [
        pytest.approx(share, abs=1e-4) for share in filled[:, 0].mean(axis=(1, 2))
    ]
    assert " filled " in good("cube", "info", season.toml)
    assert "filled" in good("ingest", season.toml, "--workers", 0)


def test_only_what_changed_is_filled_again(tmp_path: Path) -> None:
    season = make(tmp_path)
    good("run", season.toml, "--workers", 0, "--json")
    assert all(count["to_do"] == 0 for count in tasks(season).values())
    before = TileStore(season.root / STORE).read(FILLED)
    season.rewrite("max_gap = 25", "max_gap = 5")
    assert {name for name, count in tasks(season).items() if count["to_do"]} == {"fill"}
    good("ingest", season.toml, "--workers", 0, "--json")
    after = TileStore(season.root / STORE).read(FILLED)
    assert (after == NODATA).sum() > (before == NODATA).sum()
    np.testing.assert_array_equal(after, believed(TileStore(season.root / STORE)))


def test_a_run_stopped_before_filling_leaves_no_old_values(tmp_path: Path) -> None:
    season = make(tmp_path)
    good("ingest", season.toml, "--workers", 0, "--json")
    os.utime(sorted(season.scenes.iterdir())[5], (1, 1))
    job = SeasonRun(make_plan(read_season(season.toml)), Engine(workers=0))
    with job.alone():
        _ = job.verdicts  # and here it is killed
    out = tmp_path / "x.tif"
    export = ("cube", "export", season.toml, "--date", "2026-03-25", "--filled", "--out", out)
    assert "has no filled bands" in refused(*export)
    good("ingest", season.toml, "--workers", 0, "--json")
    good(*export)


def test_curves_smoothed_of_other_views_are_not_given_out(tmp_path: Path) -> None:
    season, out = make(tmp_path), tmp_path / "x.tif"
    export = ("cube", "export", season.toml, "--index", "NDVI", "--smoothed", "--out", out)
    good("ingest", season.toml, "--workers", 0, "--json")
    assert "has no smoothed NDVI" in refused(*export)  # and not a raster without pixels
    good("run", season.toml, "--workers", 0, "--json")
    good(*export)
    # a new view comes into the cube alone
    os.utime(sorted(season.scenes.iterdir())[5], (1, 1))
    good("ingest", season.toml, "--workers", 0, "--json")
    assert "has no smoothed NDVI" in refused(*export)
    # while curves are smoothed anew they are mixed
    job = SeasonRun(make_plan(read_season(season.toml)), Engine(workers=0, on_progress=stop_at("index")))
    with pytest.raises(KeyboardInterrupt), job.alone():
        _ = job.indices
    assert "is being updated" in refused(*export)
    good("run", season.toml, "--workers", 0, "--json")
    good(*export)


def test_readers_are_told_before_what_they_read_is_taken_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    season, told = make(tmp_path), list[tuple[int, ...]]()
    good("ingest", season.toml, "--workers", 0, "--json")
    os.utime(sorted(season.scenes.iterdir())[5], (1, 1))
    drop = SeasonRun._drop

    def watched(self: SeasonRun, *what: str) -> None:
        told.append(TileStore(season.root / STORE).record().updating)
        drop(self, *what)

    monkeypatch.setattr(SeasonRun, "_drop", watched)
    good("ingest", season.toml, "--workers", 0, "--json")
    assert told and all(told)


def test_while_filled_by_another_rule_a_cube_is_not_whole(tmp_path: Path) -> None:
    season = make(tmp_path)
    good("ingest", season.toml, "--workers", 0, "--json")
    season.rewrite('"linear"', '"smooth"')
    job = SeasonRun(make_plan(read_season(season.toml)), Engine(workers=0, on_progress=stop_at("fill")))
    with pytest.raises(KeyboardInterrupt), job.alone():
        _ = job.filled
    refusal = refused(
        "cube", "export", season.toml, "--index", "B04", "--filled", "--out", tmp_path / "x.tif"
    )
    assert "is being updated" in refusal
    good("ingest", season.toml, "--workers", 0, "--json")
    TileStore(season.root / STORE).require_whole()


def test_without_the_key_no_old_array_is_left_behind(tmp_path: Path) -> None:
    season = make(tmp_path)
    good("ingest", season.toml, "--workers", 0, "--json")
    first = TileStore(season.root / STORE).read(FILLED)
    season.rewrite(FILL, "[output]\n")
    good("ingest", season.toml, "--workers", 0, "--json")
    assert not (season.root / STORE / FILLED).exists()
    assert 'fill = "linear"' in refused(
        "cube", "export", season.toml, "--index", "B04", "--filled", "--out", tmp_path / "x.tif"
    )
    season.rewrite("[output]\n", FILL)
    assert tasks(season)["fill"]["to_do"] == 1
    good("ingest", season.toml, "--workers", 0, "--json")
    np.testing.assert_array_equal(TileStore(season.root / STORE).read(FILLED), first)


def test_filled_bands_and_indices_are_exported_and_drawn(
    season: TinySeason, store: TileStore, tmp_path: Path
) -> None:
    filled, out = store.read(FILLED), tmp_path / "out.tif"
    good("cube", "export", season.toml, "--date", "2026-03-25", "--filled", "--out", out)
    with rasterio.open(out) as raster:
        np.testing.assert_array_equal(raster.read(), filled[2])
    good("cube", "export", season.toml, "--index", "NDVI", "--filled", "--out", out)
    with rasterio.open(out) as raster:
        red, nir = filled[2, 1].astype(float), filled[2, 2].astype(float)
        np.testing.assert_allclose(raster.read(3), 10_000 * (nir - red) / (nir + red), atol=0.51)
    good("cube", "export", season.toml, "--index", "NDVI", "--out", out)
    with rasterio.open(out) as raster:
        assert (raster.read(3)[:15] == NODATA).all()
    where = ",".join(map(str, lonlat(5, 5)))
    told = good("cube", "plot", season.toml, "--point", where, "--index", "B08", "--filled", "--json",
                "--out", tmp_path / "field.svg")  # fmt: skip
    third = json.loads(told)["curve"][2]
    assert third["value"] is None and third["filled"] == pytest.approx(filled[2, 2, 5, 5] / 10_000)
    assert json.loads(told)["curve"][3]["filled"] is None
    view = CubeView(store.path)
    bands = ("B08", "B04", "B02")
    assert (quicklook(view, 2, bands)[0][:15, :, 3] == 0).all()
    assert (quicklook(view, 2, bands, filled=True)[0][..., 3] == 255).all()
    for arguments, part in (
        (("export", "--index", "clear_count"), "clear_count is never filled"),
        (("export", "--index", "NDVI", "--smoothed"), "either --smoothed or --filled"),
        (("plot", "--point", where, "--index", "VV_ASC"), "has no VV_ASC"),
    ):
        verb, *rest = arguments
        assert part in refused("cube", verb, season.toml, *rest, "--filled", "--out", tmp_path / "no.svg")
        assert not (tmp_path / "no.svg").exists()


@pytest.mark.parametrize(
    ("lines", "parts"),
    [
        ('fil = "linear"', ["[cube]", "“fil”", "Did you mean “fill”?"]),
        ('fill = "spline"', ["[cube] fill", "'spline'", "linear, whittaker, smooth"]),
        ("fill = true", ["[cube] fill"]),
        ('fill = "linear"\nmax_gap = 0', ["[cube] max_gap", "1 to 366"]),
        ("max_gap = 30", ["[cube] max_gap", 'fill = "linear"']),
    ],
)
def test_wrong_lines_are_refused(tmp_path: Path, lines: str, parts: list[str]) -> None:
    (tmp_path / "scenes").mkdir()
    path = tmp_path / "season.toml"
    path.write_text(TOML + f"\n[cube]\n{lines}\n")
    with pytest.raises(SeasonFileError) as caught:
        read_season(path)
    for part in (str(path), *parts):
        assert part in str(caught.value)
