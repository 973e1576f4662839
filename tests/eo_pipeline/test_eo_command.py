"""The `eo` command: what it prints, and bad input: one paragraph, exit code 2, nothing left behind."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from seasons import CLASSIFY, TinySeason, lonlat, make_season, write_raster

from eo_pipeline import cli
from eo_pipeline.cli_telling import print_rows


@pytest.fixture
def season(tmp_path: Path) -> TinySeason:
    return make_season(tmp_path, size=16, dates=6)


def eo(*arguments: object, monkeypatch: pytest.MonkeyPatch) -> int:
    """Run the command in this process; its exit code."""
    monkeypatch.setattr(sys, "argv", ["eo", *map(str, arguments)])
    monkeypatch.delenv("EO_DEBUG", raising=False)
    with pytest.raises(SystemExit) as stop:
        cli.main()
    return int(stop.value.code or 0)


def test_help_comes_fast_and_without_heavy_imports() -> None:
    code = (
        "import sys; sys.argv = ['eo', '--help']\n"
        "from eo_pipeline import cli\n"
        "try: cli.main()\n"
        "except SystemExit: pass\n"
        "print([m for m in ('torch', 'numpy', 'rasterio', 'distributed', 'zarr') if m in sys.modules])"
    )
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert output.strip().endswith("[]")
    for verb in ("plan", "run", "classify", "area", "growth", "report", "verify", "simulate", "train"):
        assert f" {verb} " in output
    assert "eo run examples/cbers-bahia.toml" in output


def test_plan_says_what_a_run_will_do(
    season: TinySeason, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert eo("plan", season.toml, "--json", "--block", 16, monkeypatch=monkeypatch) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["blocks"] == 1
    assert facts["scenes"] == 6
    assert facts["bands"] == ["B02", "B04", "B08"]
    assert facts["steps"] == 18
    counts = {stage: (row["to_do"], row["all"]) for stage, row in facts["tasks"].items()}
    assert counts["ingest"] == (18, 18)  # a block and dekad each
    assert (counts["screen"], counts["train"]) == ((1, 1), (0, 0))
    parts = [*(row["seconds"] for row in facts["tasks"].values()), facts["publish_seconds"]]
    assert facts["estimated_seconds_without_training"] == pytest.approx(sum(parts), abs=0.5)
    assert facts["memory_per_worker_bytes"] > 0
    assert not (season.root / "runs").exists()  # a plan makes nothing

    assert eo("run", season.toml, "--workers", 0, "--json", monkeypatch=monkeypatch) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["run"] == str(season.root / "runs/tiny-2026")
    assert result["simulated"] is True
    assert eo("plan", season.toml, monkeypatch=monkeypatch) == 0
    assert "模拟数据" in capsys.readouterr().out

    assert eo("verify", result["run"], monkeypatch=monkeypatch) == 0
    assert "is whole" in capsys.readouterr().out
    assert eo("report", result["run"], "--json", monkeypatch=monkeypatch) == 0
    assert json.loads(capsys.readouterr().out)["changed"] is False
    assert eo("growth", season.toml, "--workers", 0, "--json", monkeypatch=monkeypatch) == 0
    shares = json.loads(capsys.readouterr().out)
    assert sum(row["value"] for row in shares) == pytest.approx(100)
    assert shares[0]["se"] is None  # JSON has no NaN


def test_a_report_that_was_changed_is_noticed(
    season: TinySeason, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert eo("run", season.toml, "--workers", 0, "--json", monkeypatch=monkeypatch) == 0
    page = season.root / "runs/tiny-2026/report.html"
    page.write_bytes(page.read_bytes()[:-1] + b" ")
    capsys.readouterr()
    for verb in ("verify", "report"):
        assert eo(verb, page.parent, monkeypatch=monkeypatch) == 2
        assert "report.html is damaged" in capsys.readouterr().err


def refused(season: TinySeason, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> str:
    """The message of `eo run`, after checking that it is one paragraph and that no run folder is left."""
    assert eo("run", season.toml, "--workers", 0, monkeypatch=monkeypatch) == 2
    captured = capsys.readouterr()
    message = next(line for line in captured.err.splitlines() if line.startswith("Error: "))
    assert "Traceback" not in captured.err
    assert captured.out == ""
    runs = season.root / "runs"
    assert not runs.exists() or [path.name for path in runs.iterdir()] == [".work"]
    return message


def test_a_raster_of_another_crs(season: TinySeason, monkeypatch, capsys) -> None:
    odd = season.scenes / f"S2_{season.dates[2]:%Y%m%d}.tif"
    write_raster(odd, np.ones((4, 16, 16), dtype=np.int16), crs="EPSG:4326")
    message = refused(season, monkeypatch, capsys)
    assert str(odd) in message and "gdalwarp" in message
    assert not (season.root / "runs").exists()


def test_a_raster_of_another_size(season: TinySeason, monkeypatch, capsys) -> None:
    odd = season.scenes / f"S2_{season.dates[2]:%Y%m%d}.tif"
    write_raster(odd, np.ones((4, 17, 16), dtype=np.int16))
    assert str(odd) in refused(season, monkeypatch, capsys)


def test_a_raster_of_another_band_count(season: TinySeason, monkeypatch, capsys) -> None:
    odd = season.scenes / f"S2_{season.dates[2]:%Y%m%d}.tif"
    write_raster(odd, np.ones((2, 16, 16), dtype=np.int16))
    assert "has 2 band(s)" in refused(season, monkeypatch, capsys)


def test_a_season_file_with_a_wrong_key(season: TinySeason, monkeypatch, capsys) -> None:
    season.rewrite("scale =", "scal =")
    message = refused(season, monkeypatch, capsys)
    assert "[source] has the unknown key “scal”. Did you mean “scale”?" in message


def test_a_series_without_one_clear_view(season: TinySeason, monkeypatch, capsys) -> None:
    season.rewrite("clear = [4, 5]", "clear = [11]")
    message = refused(season, monkeypatch, capsys)
    assert "not one scene of tile all can be used (2026-03-05: no clear pixel)" in message
    assert "[[source.mask]] clear" in message


def with_sample(season: TinySeason, line: str) -> None:
    season.toml.write_text(season.toml.read_text() + CLASSIFY)
    path = season.root / "samples.csv"
    path.write_text(path.read_text() + line + "\n")


def test_a_sample_outside_the_image(season: TinySeason, monkeypatch, capsys) -> None:
    with_sample(season, "105.73000,35.52000,wheat,x")
    message = refused(season, monkeypatch, capsys)
    assert "samples.csv, row 81: the sample at longitude 105.73000, latitude 35.52000 lies outside" in message


def test_a_sample_of_an_unknown_class(season: TinySeason, monkeypatch, capsys) -> None:
    with_sample(season, "105.73,35.52,wheet,x")
    message = refused(season, monkeypatch, capsys)
    assert "samples.csv, row 81: 'wheet' is no class of the season. Did you mean “wheat”?" in message


def test_a_sample_with_an_empty_series(season: TinySeason, monkeypatch, capsys) -> None:
    for day in season.dates:
        path = season.scenes / f"S2_{day:%Y%m%d}.tif"
        import rasterio

        with rasterio.open(path, "r+") as raster:
            scl = raster.read(4)
            scl[3, 5] = 9
            raster.write(scl, 4)
    lon, lat = lonlat(3, 5)
    with_sample(season, f"{lon:.7f},{lat:.7f},wheat,x")
    assert "not one clear observation" in refused(season, monkeypatch, capsys)


def test_no_crop_map_no_area(season: TinySeason, monkeypatch, capsys) -> None:
    assert eo("area", season.toml, "--workers", 0, monkeypatch=monkeypatch) == 2
    assert "has no table [classify]" in capsys.readouterr().err


def test_a_folder_that_is_no_run_is_left_alone(season: TinySeason, monkeypatch, capsys) -> None:
    mine = season.root / "runs/tiny-2026"
    mine.mkdir(parents=True)
    (mine / "notes.txt").write_text("mine")
    assert eo("run", season.toml, "--workers", 0, monkeypatch=monkeypatch) == 2
    assert "is no run folder, so it is left alone" in capsys.readouterr().err
    assert (mine / "notes.txt").read_text() == "mine"


def test_stopped_by_hand(season: TinySeason, monkeypatch, capsys) -> None:
    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("eo_pipeline.plan.make_plan", stop)
    assert eo("run", season.toml, monkeypatch=monkeypatch) == 130
    assert "same command again to continue" in capsys.readouterr().err


def test_debug_shows_the_traceback(season: TinySeason, monkeypatch: pytest.MonkeyPatch) -> None:
    from eo_pipeline.errors import RunFolderError

    monkeypatch.setattr(sys, "argv", ["eo", "--debug", "verify", str(season.root)])
    monkeypatch.setenv("EO_DEBUG", "")
    with pytest.raises(RunFolderError):
        cli.main()


def test_wrong_options_are_clicks_own_error(monkeypatch, capsys) -> None:
    assert eo("run", monkeypatch=monkeypatch) == 2
    assert "Missing argument" in capsys.readouterr().err


def test_stage_dates_are_those_of_their_year(capsys: pytest.CaptureFixture[str]) -> None:
    nan = float("nan")
    row = {"unit_adcode": "parcel:1", "crop": "wheat", "class": "heading", "value": 61.0, "unit": "doy",
           "ci_low": nan, "ci_high": nan, "method": "whittaker NDVI"}  # fmt: skip
    for year, day in ((2027, "2 Mar"), (2028, "1 Mar")):
        print_rows([row], "Stage dates", year=year)
        assert day in capsys.readouterr().out
