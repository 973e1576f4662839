"""A season from rasters to a sealed run folder: what is in it, and that it does not depend on how it was
made.
"""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import rasterio
from seasons import TinySeason, make_season

from eo_pipeline.assemble import assemble
from eo_pipeline.engine import Engine, Progress
from eo_pipeline.errors import DiskFullError, EngineError
from eo_pipeline.plan import make_plan
from eo_pipeline.publish.contract import read_estimates, read_series, verify
from eo_pipeline.run import SeasonRun
from eo_pipeline.season import read_season

ROOT = Path(__file__).resolve().parents[2]


def run(
    season: TinySeason, *, block: int = 512, out: Path | None = None, **engine: object
) -> tuple[Path, list[Progress]]:
    """Run a season in this process; its folder and what was told of progress."""
    told: list[Progress] = []
    document = read_season(season.toml)
    if out:
        document = replace(document, output_root=out)
    with Engine(workers=0, on_progress=told.append, **engine) as one:
        job = SeasonRun(make_plan(document, block=block), one)
        with job.alone():
            assemble(job)
    return job.plan.folder, told


def products(folder: Path) -> dict[str, str]:
    """Digests of everything but run.json, the catalog and the report, which carry time and timings."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if (path.is_file() and path.suffix in (".tif", ".parquet")) or path.name == "accuracy.json"
    }


@pytest.fixture(scope="module")
def season(tmp_path_factory: pytest.TempPathFactory) -> TinySeason:
    return make_season(tmp_path_factory.mktemp("season"))


@pytest.fixture(scope="module")
def folder(season: TinySeason) -> Path:
    return run(season)[0]


def test_the_folder_is_whole_and_says_what_went_in(season: TinySeason, folder: Path) -> None:
    manifest = verify(folder)
    assert manifest.run_id == "tiny-2026"
    assert manifest.simulated is True
    assert [raster.kind for raster in manifest.rasters] == ["growth", "growth_anomaly", "index"]
    rasters = [row for row in manifest.inputs if row["role"] == "raster"]
    assert len(rasters) == len(season.dates)
    first = season.scenes / rasters[0]["path"]
    assert rasters[0]["sha256"] == hashlib.sha256(first.read_bytes()).hexdigest()
    scenes = [row for row in manifest.inputs if row["role"] == "scene"]
    assert [row["date"] for row in scenes] == [day.isoformat() for day in season.dates]
    assert not any(row["rejected"] for row in scenes)
    # rows 0-20 of 64 lie under cloud on every fourth date
    assert scenes[2]["clear_share"] == pytest.approx(43 / 64, abs=1e-4)
    assert str(ROOT) not in (folder / "run.json").read_text()


def test_the_smoothed_index_is_near_the_truth(season: TinySeason, folder: Path) -> None:
    with rasterio.open(folder / "index/all/ndvi.tif") as raster:
        assert raster.crs.to_epsg() == 32648
        assert raster.count == 18
        assert raster.descriptions[0] == "2026-03-05"
        assert raster.overviews(1) == []  # smaller than one tile of the file
        ndvi = raster.read() / 10_000
    # wheat peaks on the 7th date: red 0.04, near infrared 0.50
    peak = 0.46 / 0.54
    assert ndvi[6][season.classes == 1].mean() == pytest.approx(peak, abs=0.02)
    assert ndvi[11][season.classes == 2].mean() == pytest.approx(peak, abs=0.02)
    assert ndvi[6][season.classes == 1].min() > ndvi[6][season.classes == 2].max()


def test_curves_and_shares(season: TinySeason, folder: Path) -> None:
    series = read_series(folder)
    assert set(zip(series.scope, series.scope_id, strict=True)) == {("unit", "region")}
    assert len(series) == 18
    with rasterio.open(folder / "index/all/ndvi.tif") as raster:
        means = raster.read().reshape(18, -1).mean(axis=1) / 10_000
    np.testing.assert_allclose(series.smoothed, means, atol=1e-6)
    assert series.clear_share.iloc[2] == pytest.approx(43 / 64, abs=1e-4)
    assert (series.p25 <= series.p75).all()

    growth = read_estimates(folder).query("product == 'growth'")
    assert growth.value.sum() == pytest.approx(100.0)
    assert set(growth.method) == {"peers"}


def test_again_skips_everything_and_gives_the_same_bytes(season: TinySeason, folder: Path) -> None:
    before = products(folder)
    again, told = run(season)
    assert again == folder
    assert {p.stage for p in told} == {"screen", "ingest", "index", "curves", "growth"}
    assert all(p.skipped == p.total == p.done for p in told)
    assert products(folder) == before


def test_a_repeated_run_seals_the_same_folder(season: TinySeason, folder: Path) -> None:
    sealed = (folder / "run.json").read_bytes()
    again, _ = run(season)
    assert (again / "run.json").read_bytes() == sealed


@pytest.mark.parametrize("block", [23, 32])
def test_blocks_of_any_size_give_the_same_products(
    season: TinySeason, folder: Path, tmp_path: Path, block: int
) -> None:
    other, told = run(season, block=block, out=tmp_path)
    assert told[-1].total == (9 if block == 23 else 4)
    assert products(other) == products(folder)


def test_a_changed_scene_reaches_the_products(tmp_path: Path) -> None:
    season = make_season(tmp_path, size=16, dates=8)
    folder, _ = run(season)
    before = products(folder)
    from seasons import scene, write_raster

    rng = np.random.default_rng(99)
    changed = scene(season.classes, 12, rng=rng)
    write_raster(season.scenes / f"S2_{season.dates[5]:%Y%m%d}.tif", changed)
    folder, told = run(season)
    # its own dekad is composed anew and no other; everything made of the season's curve is made again
    last = {p.stage: p for p in told}
    assert (last["ingest"].total, last["ingest"].skipped) == (18, 17)
    assert all(p.skipped == 0 for stage, p in last.items() if stage != "ingest")
    assert products(folder)["index/all/ndvi.tif"] != before["index/all/ndvi.tif"]


def test_a_lost_cube_is_made_again(tmp_path: Path) -> None:
    import shutil

    season = make_season(tmp_path, size=16, dates=8)
    folder, _ = run(season)
    before = products(folder)
    shutil.rmtree(season.root / "runs/.work/tiny-2026/cube")
    folder, told = run(season)
    assert products(folder) == before
    assert {p.stage for p in told if p.skipped == 0} >= {"ingest", "index", "growth"}


def test_the_last_run_stays_until_the_next_is_complete(
    season: TinySeason, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = (folder / "run.json").read_bytes()

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("eo_pipeline.assemble.seal", full)
    with pytest.raises(DiskFullError, match="No space"):
        run(season)
    assert (folder / "run.json").read_bytes() == before
    verify(folder)
    assert sorted(path.name for path in folder.parent.iterdir()) == [".work", "tiny-2026"]


def test_a_run_whose_lock_was_lost_at_the_end_replaces_nothing(tmp_path: Path) -> None:
    season = make_season(tmp_path, size=16, dates=8)
    folder, _ = run(season)
    before = (folder / "run.json").read_bytes()
    season.rewrite('title = "Tiny 2026"', 'title = "New"')
    with Engine(workers=0) as engine:
        job = SeasonRun(make_plan(read_season(season.toml)), engine)
        with pytest.raises(EngineError, match="was lost"), job.alone():
            job.estimates  # noqa: B018 - every task is done
            assert engine.hold is not None
            engine.hold._lost.set()  # as the thread that renews it does
            assemble(job)
    assert (folder / "run.json").read_bytes() == before
    assert not job.plan.partial.exists()


def test_growth_against_last_year(tmp_path: Path) -> None:
    last, this = make_season(tmp_path / "a"), make_season(tmp_path / "b")
    last.rewrite("tiny-2026", "tiny-2025")
    earlier, _ = run(last, out=tmp_path / "runs")
    # the same images twice, but a patch that does worse this year
    for number, day in enumerate(this.dates):
        path = this.scenes / f"S2_{day:%Y%m%d}.tif"
        with rasterio.open(path, "r+") as raster:
            nir = raster.read(3)
            nir[40:, 40:] = 2000 + (nir[40:, 40:] - 2000) * 0.25
            raster.write(nir, 3)
        assert number < 18
    this.rewrite('index = "NDVI"', f'index = "NDVI"\nbaseline = ["{earlier}"]')
    # both seasons are of one calendar year here; the comparison is by calendar
    folder, _ = run(this, out=tmp_path / "runs")
    with rasterio.open(folder / "growth/all/growth.tif") as raster:
        classes = raster.read(1)
        assert "last_year" in raster.descriptions[0]
    assert (classes[:40] == 3).all()
    assert np.isin(classes[40:, 40:], (1, 2)).all()
    with rasterio.open(folder / "growth/all/anomaly.tif") as raster:
        anomaly = raster.read(1) / 10
    assert np.abs(anomaly[:40]).max() < 0.1
    assert set(read_estimates(folder).query("product == 'growth'").method) == {"last_year"}


# ---- killed, and on other machines
# --------------------------------------------------------------------------
def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}


@pytest.mark.slow
def test_killed_at_any_moment_it_goes_on_and_ends_with_the_same_bytes(
    season: TinySeason, folder: Path, tmp_path: Path
) -> None:
    command = [sys.executable, "-m", "eo_pipeline.cli", "run", str(season.toml), "--out", str(tmp_path)]
    command += ["--block", "16", "--workers", "0", "--json"]
    markers = tmp_path / ".work/tiny-2026/tasks"
    for stage, wanted in (("screen", 3), ("ingest", 5), ("index", 9)):
        process = subprocess.Popen(
            command, env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        deadline = time.monotonic() + 100
        while len(list((markers / stage).rglob("*.json"))) < wanted and process.poll() is None:
            assert time.monotonic() < deadline
            time.sleep(0.001)
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert not (tmp_path / "tiny-2026").exists()
    done = len(list(markers.rglob("*.json")))
    again, told = run(season, block=16, out=tmp_path)
    assert sum({p.stage: p.skipped for p in told}.values()) == done
    assert products(again) == products(folder)
    verify(again)


@contextmanager
def cluster(folder: Path) -> Iterator[str]:
    """A Dask scheduler and one worker of their own, on loopback."""
    address = folder / "scheduler.json"
    dask = str(Path(sys.executable).with_name("dask"))
    common = {"env": environment(), "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    scheduler = subprocess.Popen(
        [
            dask,
            "scheduler",
            "--host",
            "127.0.0.1",
            "--port",
            "0",
            "--no-dashboard",
            "--scheduler-file",
            str(address),
        ],
        **common,
    )
    worker = subprocess.Popen(
        [
            dask,
            "worker",
            "--scheduler-file",
            str(address),
            "--nthreads",
            "1",
            "--no-dashboard",
            "--local-directory",
            str(folder / "space"),
        ],
        **common,
    )
    try:
        deadline = time.monotonic() + 60
        while not address.is_file() or not address.read_text().strip():
            assert time.monotonic() < deadline
            time.sleep(0.1)
        import json

        yield json.loads(address.read_text())["address"]
    finally:
        for process in (worker, scheduler):
            process.terminate()
            process.wait(timeout=30)


@pytest.mark.slow
def test_an_existing_cluster_gives_the_same(season: TinySeason, folder: Path, tmp_path: Path) -> None:
    with cluster(tmp_path) as address:
        document = replace(read_season(season.toml), output_root=tmp_path / "runs")
        with Engine(scheduler=address) as engine:
            job = SeasonRun(make_plan(document, block=32), engine)
            assemble(job)
    assert products(job.plan.folder) == products(folder)


def test_a_run_killed_before_its_commit_is_finished_by_the_next(tmp_path: Path) -> None:
    from eo_pipeline.cube.store import TileStore
    from eo_pipeline.errors import CubeError

    season = make_season(tmp_path, size=16, dates=8)
    run(season)
    store = TileStore(season.root / "runs/.work/tiny-2026/cube/all.zarr")
    store.begin([3])  # as a run leaves it that is killed between its last task and the commit
    with pytest.raises(CubeError, match="is being updated"):
        store.require_whole()
    run(season)
    store.require_whole()


def test_drafts_of_a_killed_run_are_swept_wherever_they_lie(tmp_path: Path) -> None:
    season = make_season(tmp_path, size=16, dates=8)
    run(season)
    work = season.root / "runs/.work/tiny-2026"
    # a kill after the cube's commit leaves drafts in it that no update would look for; zarr names its own
    growth = work / "cube/all.zarr/growth"
    drafts = [work / ".checksums.json.1.0.partial", growth / "c/0/.0.1.0.partial", growth / "zarr.5f.partial"]
    for draft in drafts:
        draft.write_text("{")
    (work / ".model-x").mkdir()
    run(season)
    assert not [path for path in (*drafts, work / ".model-x") if path.exists()]
