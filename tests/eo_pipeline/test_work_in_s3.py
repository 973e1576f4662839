"""Seasons whose work folder lies in S3-compatible storage: the same run folders as with a local one, whatever
happens meanwhile.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import rasterio
from command import good, refused
from loopback_s3 import ENVIRONMENT, SECRET, Gate, gate, make_bucket, s3_server
from seasons import TinySeason, lonlat, make_season
from test_run import ROOT, products

from eo_pipeline.assemble import assemble
from eo_pipeline.engine import Engine, Progress
from eo_pipeline.errors import EngineError, StorageError
from eo_pipeline.plan import make_plan
from eo_pipeline.publish.contract import verify
from eo_pipeline.run import SeasonRun
from eo_pipeline.season import read_season
from eo_pipeline.simulate import twin as simulator
from eo_pipeline.storage import Folder

pytestmark = pytest.mark.slow
SENTINEL = """\
[season]
id = "twin"
title = "Twin"
start = 2026-05-01
end = 2026-09-10
simulated = true

[region]
name = "piece"
units = "{root}/2026/units.geojson"

[source]
kind = "folder"
layout = "safe"
root = "{root}/archive"
max_cloud = 100

[growth]
index = "NDVI"

[output]
root = "runs"
work = "s3://crops/s3"
"""


@pytest.fixture(scope="module")
def storage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gate]:
    """A server with the bucket “crops”, behind a gate, as every process of these tests knows it."""
    from models.training import TrainingSettings

    patch = pytest.MonkeyPatch()
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        patch.delenv(name)
    with s3_server(tmp_path_factory.mktemp("s3") / "server.log") as url, gate(url) as found:
        make_bucket(url, "crops")
        for name, value in (ENVIRONMENT | {"AWS_ENDPOINT_URL": found.url}).items():
            patch.setenv(name, value)
        # seasons this easy need no long training
        quick = TrainingSettings(epochs=1, min_steps=25)
        patch.setattr("eo_pipeline.products.classify._SETTINGS", quick)
        yield found
        patch.undo()


def run(
    toml: Path, out: Path, work: Folder | None = None, *, block: int = 24, workers: int = 0
) -> tuple[Path, dict[str, Progress]]:
    """Run a season; its folder, and the last that was told of each stage."""
    season = replace(read_season(toml), output_root=out, work_root=work)
    told: dict[str, Progress] = {}

    def tell(progress: Progress) -> None:
        told[progress.stage] = progress

    planned = make_plan(season, block=block)
    with Engine(workers=workers, on_progress=tell, log=planned.work) as engine:
        job = SeasonRun(planned, engine)
        with job.alone():
            assemble(job)
    return job.plan.folder, told


@pytest.fixture(scope="module")
def season(tmp_path_factory: pytest.TempPathFactory) -> TinySeason:
    made = make_season(tmp_path_factory.mktemp("season"), size=48, dates=6, classify=True)
    made.rewrite("end = 2026-08-31", "end = 2026-04-30")
    return made


@pytest.fixture(scope="module")
def local(storage: Gate, season: TinySeason) -> Path:
    """The run folder of a run with a local work folder."""
    return run(season.toml, season.root / "runs")[0]


@pytest.fixture(scope="module")
def work(storage: Gate, season: TinySeason, local: Path) -> Folder:
    """A work folder in the bucket after a run by two processes; its products are those of the local one."""
    found = Folder.of("s3://crops/kept")
    folder, told = run(season.toml, season.root / "elsewhere", found, workers=2)
    assert all(item.skipped == 0 for item in told.values()) and told["ingest"].total == 24
    verify(folder)
    assert products(folder) == products(local) and len(products(local)) == 11
    assert [path.name for path in folder.parent.iterdir()] == [
        "tiny-2026"
    ]  # nothing of the work is kept here
    return found


# ---- the same products ----------------------------------------------------------------------------------
def test_a_second_run_does_no_task(season: TinySeason, local: Path, work: Folder) -> None:
    folder, told = run(season.toml, season.root / "elsewhere", work)
    assert sorted(told) == ["classify", "curves", "growth", "index", "ingest", "screen"]
    assert all(item.skipped == item.total for item in told.values())
    assert products(folder) == products(local)
    facts = json.loads(good("plan", season.toml, "--work", work, "--block", 24, "--json"))
    assert facts["work"] == "s3://crops/kept/tiny-2026"
    assert {stage: item["to_do"] for stage, item in facts["tasks"].items() if item["to_do"]} == {}
    assert facts["tasks"]["ingest"]["all"] == 24
    assert "s3://crops/kept/tiny-2026" in good("plan", season.toml, "--work", work, "--block", 24)
    events = (work / "tiny-2026").read_many(name for name in work.names() if "/log-" in name)
    assert SECRET.encode() not in b"".join(events.values())


def test_cubes_are_looked_into(season: TinySeason, local: Path, work: Folder, tmp_path: Path) -> None:
    here, there = local.parent / ".work/tiny-2026/cube/all.zarr", work / "tiny-2026" / "cube" / "all.zarr"
    at = ("--point", "{},{}".format(*lonlat(20, 30)), "--json")
    told, pixels = [], []
    for number, cube in enumerate((here, there)):
        out = tmp_path / str(number)
        info = json.loads(good("cube", "info", cube, "--json"))
        assert info["simulated"] is True  # nobody has to say so
        (facts,) = info["tiles"]
        good("cube", "export", cube, "--index", "NDVI", "--out", out / "ndvi.tif")
        good("cube", "export", cube, "--date", "2026-03-15", "--out", out / "dekad.tif")
        curve = json.loads(good("cube", "plot", cube, "--out", out / "curve.svg", *at))["curve"]
        good("cube", "climatology", "build", out / "usual", cube)
        usual = json.loads(good("cube", "climatology", "show", out / "usual", *at))
        told.append((facts | {"path": ""}, curve, usual["usual"], usual["tiles"]))
        for name in ("ndvi.tif", "dekad.tif"):
            with rasterio.open(out / name) as raster:
                pixels.append((raster.descriptions, raster.read()))
    assert told[0] == told[1]
    assert told[0][0]["dekads"][0]["clear"] == 1.0 and any(row["value"] for row in told[0][1])
    assert [row["label"] for row in told[1][3][0]["seasons"]] == ["tiny-2026"]
    for one, other in zip(pixels[:2], pixels[2:], strict=True):
        assert one[0] == other[0] and (one[1] == other[1]).all() and (one[1] != -32768).any()


# ---- killed, refused, broken off ------------------------------------------------------------------------
def test_a_sentinel_season_killed_in_the_middle_goes_on(storage: Gate, tmp_path: Path) -> None:
    twin = simulator.TwinOptions(size_km=0.6, seasons=1, format="safe", every=60)
    simulator.simulate(tmp_path / "safe", twin)
    toml = tmp_path / "season.toml"
    toml.write_text(SENTINEL.format(root=tmp_path / "safe"), encoding="utf-8")
    local, told = run(toml, tmp_path / "local", Folder.of(tmp_path / "work"), block=64)
    assert (told["mask"].total, told["ingest"].total) == (4, 26)
    work = read_season(toml).work
    markers = work / "tasks"
    process = subprocess.Popen(
        [sys.executable, "-m", "eo_pipeline.cli", "run", toml, "--workers", "2", "--block", "64", "--json"],
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    deadline = time.monotonic() + 200
    while len(markers.names("ingest")) < 5:
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.02)
    # another run meanwhile is refused, and told by whom
    with pytest.raises(EngineError, match=rf"s3/twin is in use by another .*:{process.pid}, since 2"):
        run(toml, tmp_path / "other", work.parent, block=64)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["local", "safe", "season.toml", "work"]
    done = markers.read_many(markers.names())
    assert len(markers.names("mask")) == 4 and 9 <= len(done) < 30
    # its lock ends with it: nobody has to wait
    folder, told = run(toml, tmp_path / "runs", work.parent, block=64)
    assert sum(item.skipped for item in told.values()) == len(done)
    assert markers.read_many(done) == done  # with their times: not one was done again
    assert products(folder) == products(local) and len(products(local)) == 9
    assert {name.partition("/")[0] for name in work.names()} >= {"cube", "curves", "mask", "tasks"}
    assert not work.exists("lock")
    found = json.loads(good("cube", "info", toml, "--json"))
    assert found["simulated"] and [tile["tile"] for tile in found["tiles"]] == ["48SWD", "48SWE"]


def test_storage_that_fails_in_the_middle(
    storage: Gate, season: TinySeason, local: Path, tmp_path: Path
) -> None:
    work, done = Folder.of("s3://crops/failing"), 0
    # while scenes are read, before the screening reads what was written, and after it
    for failing, markers, told in (
        ("gone", 10, r"does not answer\. Check AWS_ENDPOINT_URL and the network"),
        ("denied", 24, r"does not allow it\. Check the key's rights on bucket “crops”"),
        ("no bucket", 27, r"has no bucket “crops”\. Create it, or correct the name"),
    ):
        storage.failing, storage.markers = failing, markers - done
        try:
            with pytest.raises(StorageError, match=rf"s3://crops/.*{storage.url} {told}.*kept"):
                run(season.toml, tmp_path, work)
        finally:
            storage.failing = ""
        done = len((work / "tiny-2026" / "tasks").names())
        assert done == markers
        work.delete("tiny-2026/lock")  # it could not be given back, and its process, this one, lives
    assert not list(tmp_path.iterdir())
    folder, last = run(season.toml, tmp_path, work)
    assert sum(item.skipped for item in last.values()) == done
    assert products(folder) == products(local)


# ---- bad addresses --------------------------------------------------------------------------------------
def test_a_place_that_is_none_is_refused_before_anything_is_done(
    storage: Gate, season: TinySeason, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    once = ("run", season.toml, "--workers", 0)
    assert "no bucket. Write s3://BUCKET" in refused(*once, "--work", "s3://")
    assert "storage of this kind is not supported" in refused(*once, "--work", "gs://crops/x")
    assert "has no bucket “nobody”. Create it" in refused(*once, "--work", "s3://nobody/x")
    told = refused(*once, "--out", "s3://crops/runs")
    assert "s3://crops/runs: this must be a local path. Only the work folder" in told
    assert "must be a local path" in refused("cube", "climatology", "build", "s3://crops/usual", season.toml)
    assert "has no bucket “nobody”" in refused("cube", "info", "s3://nobody/all.zarr")
    assert "There is no cube at s3://crops/none.zarr" in refused("cube", "info", "s3://crops/none.zarr")
    toml = season.root / "bad.toml"
    for old, new, told in (
        (
            'root = "runs"',
            'root = "runs"\nwork = "ftp://crops"',
            "[output] work = 'ftp://crops': ftp://crops",
        ),
        ('root = "runs"', 'root = "s3://crops/runs"', "root = 's3://crops/runs' must be a local path"),
        ('root = "scenes"', 'root = "s3://crops/scenes"', "root = 's3://crops/scenes' must be a local path"),
    ):
        toml.write_text(season.toml.read_text().replace(old, new))
        assert told in refused("plan", toml)
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    assert re.search(
        r"no credentials on \S+\. Set AWS_ACCESS_KEY_ID", refused(*once, "--work", "s3://crops/x")
    )
    assert not list(tmp_path.iterdir())
