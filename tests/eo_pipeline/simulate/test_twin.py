"""The whole folder: readable, repeatable to the byte, never half-made, never over something else."""

from __future__ import annotations

import csv
import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
import rasterio

from eo_pipeline.season import read_season
from eo_pipeline.simulate import canopy, scenes, twin
from eo_pipeline.simulate.twin import SimulationError, TwinOptions

SMALL = TwinOptions(size_km=0.8, seasons=2, year=2026, seed=5)


def digests(folder: Path) -> dict[str, str]:
    files = (p for p in sorted(folder.rglob("*")) if p.is_file())
    return {p.relative_to(folder).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("a") / "twin"
    twin.simulate(out, SMALL)
    return out


def test_the_same_seed_makes_the_same_bytes(made: Path, tmp_path: Path) -> None:
    twin.simulate(tmp_path / "again", SMALL, workers=1)
    assert digests(tmp_path / "again") == digests(made)
    assert len(digests(made)) > 100


def test_season_files_are_read_by_the_pipeline(made: Path) -> None:
    first = read_season(made / "2025" / "season.toml")
    assert first.simulated and first.id == "jingning-2025" and first.growth.baseline == ()
    assert first.output_root == (made / "runs").resolve()
    assert [c.code for c in first.classes] == list(range(1, 11)) and not first.classes[-1].crop
    assert first.source.bands == {name: i for i, name in enumerate((*canopy.BAND_NAMES, "SCL"), 1)}
    assert first.source.masks[0].clear == (4, 5, 6, 7)
    assert first.area.reference is not None and first.area.design == "simple_random"
    (made / "runs" / "jingning-2025").mkdir(parents=True)  # what eo run would leave
    try:
        second = read_season(made / "2026" / "season.toml")
        assert second.growth.baseline == ((made / "runs" / "jingning-2025").resolve(),)
    finally:
        (made / "runs" / "jingning-2025").rmdir()
        (made / "runs").rmdir()


def test_scenes_are_labelled_tiled_and_counted(made: Path) -> None:
    with (made / "2026" / "acquisitions.csv").open(encoding="utf-8") as stream:
        table = list(csv.DictReader(stream))
    kept = {row["date"].replace("-", "") for row in table if row["kept"] == "yes"}
    files = sorted((made / "2026" / "scenes").iterdir())
    assert {f.name for f in files} == {f"S2_{day}.tif" for day in kept}
    assert len(table) == 85 and 40 <= len(kept) <= 75
    with rasterio.open(files[0]) as source:
        assert source.count == 11 and source.dtypes[0] == "int16" and source.nodata == scenes.NODATA
        assert source.descriptions == (*canopy.BAND_NAMES, "SCL")
        assert "模拟数据" in source.tags()["SIMULATED"]
        assert source.shape == (80, 80)
    # bounds of SCL's errors over the season: it misses some, and not most
    cloudy = [row for row in table if row["kept"] == "yes" and float(row["cloud"]) > 0.05]
    missed = np.mean([float(row["scl_missed"]) for row in cloudy])
    assert 0.05 < missed < 0.4
    false = [float(row["scl_false"]) for row in table if row["kept"] == "yes"]
    assert np.mean(false) < 0.06  # bright roofs and film


def test_overlapping_autumns_are_the_same_scenes(made: Path) -> None:
    shared = {p.name for p in (made / "2025" / "scenes").iterdir()} & {
        p.name for p in (made / "2026" / "scenes").iterdir()
    }
    assert 5 <= len(shared) <= 12
    for name in shared:
        assert (made / "2025" / "scenes" / name).read_bytes() == (
            made / "2026" / "scenes" / name
        ).read_bytes()


def test_what_stands_is_kept_and_moves_with_its_folder(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(twin, "_make", lambda *args: pytest.fail("made again"))
    summary = twin.simulate(made, SMALL)
    assert summary.kept and summary.seasons[1] == str(made / "2026" / "season.toml")
    assert str(made) not in (made / "twin.json").read_text(encoding="utf-8")


def test_a_foreign_folder_is_not_touched(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(SimulationError, match="did not make"):
        twin.simulate(tmp_path, SMALL)
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.txt"]


def test_runs_of_an_older_twin_are_not_lost_unasked(made: Path, tmp_path: Path) -> None:
    out = tmp_path / "twin"
    (out / "runs").mkdir(parents=True)
    (out / "twin.json").write_text(
        json.dumps({"options": {}, "code": "old", "summary": {}}), encoding="utf-8"
    )
    with pytest.raises(SimulationError, match="runs made of it"):
        twin.simulate(out, SMALL)
    assert (out / "runs").is_dir()


def test_the_working_folder_is_never_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "inner").mkdir()
    monkeypatch.chdir(tmp_path / "inner")
    with pytest.raises(SimulationError, match="not replaced"):
        twin.simulate(tmp_path, SMALL, force=True)


def test_a_failure_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*args: object, **options: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(scenes, "write_scene", broken)
    with pytest.raises(OSError, match="disk full"):
        twin.simulate(tmp_path / "twin", SMALL)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "options", [{"size_km": 0.3}, {"size_km": 1.234567}, {"seasons": 0}, {"year": 1999}, {"seed": -1}]
)
def test_bad_options_are_named(options: dict[str, float]) -> None:
    with pytest.raises(SimulationError, match=f"--{next(iter(options)).replace('_', '-')}"):
        TwinOptions(**options)  # type: ignore[arg-type]
