"""Sentinel-1 from an archive onto the disk and into a season: the same as if the products had lain there."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import numpy as np
import pytest
import rasterio
from drilling import Twin, digests, environment, eo, leftovers, run

from eo_pipeline.acquire.completeness import Completeness
from eo_pipeline.acquire.fetch import Fetcher, FetchOptions
from eo_pipeline.acquire.ledger import Ledger
from eo_pipeline.acquire.pacing import Limits
from eo_pipeline.acquire.radar import COLLECTION
from eo_pipeline.acquire.season_fetch import radar_fetcher
from eo_pipeline.acquire.sources.registry import open_radar
from eo_pipeline.acquire.transport import Transport
from eo_pipeline.cli_fetch import tell_missing
from eo_pipeline.cube.radar import BACKSCATTER, COUNT
from eo_pipeline.cube.store import TileStore
from eo_pipeline.plan import make_plan
from eo_pipeline.season import Season, read_season
from eo_pipeline.simulate.archive import KINDS, Archive, Faults, serve
from eo_pipeline.simulate.archive.faults import Scripted

START, END = date(2026, 5, 1), date(2026, 7, 31)
QUICK = FetchOptions(workers=4, margin_bytes=1, idle_rounds=3, round_wait_s=0.05)
LIMITS = Limits(
    connect_timeout=2.0, read_timeout=0.4, stall_s=0.5, stall_bytes=64, backoff_s=0.01, backoff_cap_s=0.1,
    retry_after_cap_s=0.2,
)  # fmt: skip


@pytest.fixture(scope="module")
def archive(twin: Twin) -> Iterator[Archive]:
    with serve(twin.products) as running:
        yield running


def season_of(twin: Twin, folder: Path, url: str, *, bbox: tuple[float, ...] | None = None) -> Path:
    """Sentinel-2 lies in the twin's folder, Sentinel-1 is fetched."""
    return twin.season(
        folder,
        f'kind = "folder"\nlayout = "safe"\nroot = "{twin.products}"',
        start=START,
        end=END,
        region=f"bbox = {json.dumps(bbox)}" if bbox else "",
        more=f'[source.radar]\nkind = "planetary-computer"\nroot = "radar"\nurl = "{url}/pc/api/stac/v1"\n',
    )


def fetch(file: Path, *, options: FetchOptions = QUICK) -> Completeness:
    season = read_season(file)
    return radar_of(season, options).run()


def radar_of(season: Season, options: FetchOptions = QUICK) -> Fetcher:
    return radar_fetcher(season, open_radar(season, transport=Transport(limits=LIMITS)), options=options)


def passes(root: Path) -> dict[str, np.ndarray]:
    """Pixels of every raster of whole products, by product and polarisation."""
    found = {}
    for mark in sorted(root.glob(f"{COLLECTION}/*/*/.complete")):
        for name in ("vv", "vh"):
            with rasterio.open(mark.parent / f"{name}.tif") as raster:
                found[f"{mark.parent.name}/{name}"] = raster.read(1)
    return found


def of_twin(twin: Twin) -> dict[str, np.ndarray]:
    found = {}
    for folder in sorted((twin.products / COLLECTION).iterdir()):
        if f"{START:%Y%m%d}" <= folder.name[17:25] <= f"{END:%Y%m%d}":
            for name in ("vv", "vh"):
                with rasterio.open(folder / f"{name}.tif") as raster:
                    found[f"{folder.name}/{name}"] = raster.read(1)
    return found


def assert_same(one: dict[str, np.ndarray], two: dict[str, np.ndarray]) -> None:
    assert one.keys() == two.keys() and len(one) >= 12
    for name, pixels in one.items():
        np.testing.assert_array_equal(pixels, two[name], err_msg=name)


# ---- the way it goes
def test_what_is_fetched_is_what_the_archive_holds_and_comes_once(
    twin: Twin, archive: Archive, tmp_path: Path
) -> None:
    file = season_of(twin, tmp_path, archive.url)
    expected = of_twin(twin)
    count = len(expected) // 2
    before = archive.stats()["bytes"]
    season = read_season(file)
    plan = radar_of(season).plan()
    assert (plan.scenes, plan.there, plan.to_fetch, plan.fits) == (count, 0, count, True)
    assert plan.bytes > 0 and not (tmp_path / "radar" / COLLECTION).exists()
    result = fetch(file)
    assert result.complete and result.count("done") == count
    assert {row.tile for row in result.dekads} == {"ascending", "descending"}
    assert archive.stats()["bytes"] > before
    assert_same(passes(tmp_path / "radar"), expected)
    assert leftovers(tmp_path) == []

    item = json.loads(next((tmp_path / "radar").rglob("item.json")).read_text())
    assert item["assets"]["vv"]["href"] == "./vv.tif" and item["collection"] == COLLECTION
    assert item["properties"]["simulated"] and item["properties"]["sat:orbit_state"]
    assert item["links"][0]["href"].startswith(archive.url)
    with Ledger(tmp_path / "radar") as ledger:
        rows = ledger.products(COLLECTION)
        assert [row.state for row in rows] == ["done"] * count
        raster = next((tmp_path / "radar").rglob("vv.tif")).relative_to(tmp_path / "radar").as_posix()
        assert (known := ledger.file(raster)) is not None and known.proof == "pixels" and known.blake3

    again = fetch(file)
    assert again.complete and again.fetched_bytes == 0
    # a file that was changed comes again, and it alone
    changed = next((tmp_path / "radar").rglob("vh.tif"))
    changed.write_bytes(changed.read_bytes()[:-1])
    assert fetch(file).complete
    assert_same(passes(tmp_path / "radar"), expected)


def test_a_region_gets_its_piece_and_a_larger_one_the_rest(
    twin: Twin, archive: Archive, tmp_path: Path
) -> None:
    west, south, east, north = twin.bbox
    far = (west - 3.0, south, west - 2.9, north)
    with pytest.raises(StopIteration):
        next(iter(fetch(season_of(twin, tmp_path / "far", archive.url, bbox=far)).scenes))
    root = tmp_path / "radar"
    small = (west, south, west + (east - west) / 4, north)
    assert fetch(season_of(twin, tmp_path, archive.url, bbox=small)).complete
    marks = {path: path.read_text() for path in root.rglob(".complete")}
    larger = season_of(twin, tmp_path, archive.url)
    season = read_season(larger)
    plan = radar_of(season).plan()
    assert plan.to_fetch == plan.scenes == len(marks)
    assert fetch(larger).complete
    assert all(path.read_text() != text for path, text in marks.items())
    # and what was fetched for the larger one is enough for the smaller
    assert fetch(season_of(twin, tmp_path, archive.url, bbox=small)).fetched_bytes == 0
    areas = [json.loads(path.read_text())["area"] for path in marks]
    assert all(area[0] < west and area[2] > east for area in areas)


# ---- what goes wrong
@pytest.mark.parametrize("kind", ["token-expired", "403", "404", "429", "500", "503", "truncated", "stalled",
                                  "corrupt", "range-ignored"])  # fmt: skip
def test_each_fault(twin: Twin, tmp_path: Path, kind: str) -> None:
    assert kind in KINDS
    faults = Faults(data={kind: 0.15}, seed=5, retry_after_s=0.05, stall_s=1.0)
    with serve(twin.products, faults=faults) as archive:
        result = fetch(season_of(twin, tmp_path, archive.url))
        befell = archive.stats()["faults"]
    assert result.complete, (befell, [scene.reason for scene in result.scenes if scene.state != "done"])
    assert befell.get(kind, 0) >= 3, befell
    assert_same(passes(tmp_path / "radar"), of_twin(twin))
    assert leftovers(tmp_path) == []


def test_signatures_that_expire_are_asked_for_anew(twin: Twin, tmp_path: Path) -> None:
    with serve(twin.products, signature_s=0.2, bytes_per_s=60_000) as archive:
        result = fetch(season_of(twin, tmp_path, archive.url))
        signed = archive.stats()["signatures"]
    assert result.complete, [scene.reason for scene in result.scenes if scene.state != "done"]
    assert signed > len(of_twin(twin)), signed  # more than one a file
    assert_same(passes(tmp_path / "radar"), of_twin(twin))


def test_what_no_try_can_mend_is_told_and_the_rest_is_there(
    twin: Twin, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = sorted(of_twin(twin))
    bad = names[0].split("/")[0]
    script = (Scripted(f"{bad}/vv\\.tif", ("corrupt",) * 1000),)
    with serve(twin.products, faults=Faults(script=script)) as archive:
        file = season_of(twin, tmp_path, archive.url)
        result = fetch(file)
        assert [scene.name for scene in result.scenes if scene.state == "failed"] == [bad]
        (reason,) = [scene.reason for scene in result.scenes if scene.state == "failed"]
        assert "planetary-computer" in reason and "vv.tif" in reason and bad in reason
    tell_missing(result)
    told = capsys.readouterr().err
    assert f"1 of {len(result.scenes)} passes of Sentinel-1 could not be fetched" in told
    assert f"not fetched: {bad}" in told and "scene" not in told
    # a product that is not whole has no item, so that no season takes half of it
    assert not list((tmp_path / "radar").rglob(f"{bad}/item.json"))
    assert len(passes(tmp_path / "radar")) == len(names) - 2
    # and the plan, and with it run.json, names it as one that was not brought
    plan = make_plan(read_season(file))
    (left,) = [item for item in plan.skipped if item.name == bad]
    assert (left.state, left.provider) == ("failed", "planetary-computer")
    assert left.tile in ("ascending", "descending") and "vv.tif" in left.reason
    assert sum(len(tile.passes) for tile in plan.tiles) == 2 * (len(names) // 2 - 1)


def test_killed_in_the_middle_it_goes_on(twin: Twin, tmp_path: Path) -> None:
    expected = of_twin(twin)
    with serve(twin.products, bytes_per_s=150_000) as archive:
        port = int(archive.url.rpartition(":")[2])
        file = season_of(twin, tmp_path, archive.url)
        command = [sys.executable, "-m", "eo_pipeline.cli", "fetch", str(file), "--json", "--workers", "2"]
        for wanted in (1, 4):
            process = subprocess.Popen(command, env=environment(), stdout=subprocess.DEVNULL)
            deadline = time.monotonic() + 60
            while process.poll() is None and time.monotonic() < deadline:
                if len(list((tmp_path / "radar").rglob("vv.tif"))) >= wanted:
                    break
                time.sleep(0.005)
            assert process.poll() is None, "it was done before it could be killed"
            process.kill()
            process.wait()
        there = {path: path.stat().st_mtime_ns for path in (tmp_path / "radar").rglob(".complete")}
        assert len(there) < len(expected) // 2
    with serve(twin.products, port=port) as archive:
        assert fetch(file).complete
    assert {path: path.stat().st_mtime_ns for path in there} == there
    assert_same(passes(tmp_path / "radar"), expected)
    assert leftovers(tmp_path) == []


def test_killed_while_a_larger_region_comes_nothing_is_forgotten(twin: Twin, tmp_path: Path) -> None:
    west, south, east, north = twin.bbox
    third = (east - west) / 3
    root = tmp_path / "radar"
    stalled = (Scripted(r"/vv\.tif", ("stalled",) * 10_000),)  # which comes after VH
    with serve(twin.products) as archive:
        port = int(archive.url.rpartition(":")[2])
        assert fetch(season_of(twin, tmp_path, archive.url, bbox=(west, south, west + third, north))).complete
    first = {path: path.stat().st_mtime_ns for path in root.rglob("vh.tif")}
    with serve(twin.products, port=port, faults=Faults(script=stalled, stall_s=60.0)) as archive:
        file = season_of(twin, tmp_path, archive.url, bbox=(east - third, south, east, north))
        command = [sys.executable, "-m", "eo_pipeline.cli", "fetch", str(file), "--json", "--workers", "1"]
        process = subprocess.Popen(command, env=environment(), stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + 60
        cut: list[Path] = []
        while process.poll() is None and not cut and time.monotonic() < deadline:
            time.sleep(0.02)
            changed = [path for path, before in first.items() if path.stat().st_mtime_ns != before]
            with Ledger(root) as ledger:
                cut = [path for path in changed if ledger.has(path.relative_to(root).as_posix())]
        assert process.poll() is None, "it ended before it could be killed"
        process.kill()
        process.wait()
    (half,) = cut
    made = half.stat().st_mtime_ns
    with serve(twin.products, port=port) as archive:
        assert fetch(file).complete
    assert half.stat().st_mtime_ns == made  # what was whole is not fetched again
    for mark in root.rglob(".complete"):
        area = json.loads(mark.read_text())["area"]
        assert area[0] < west and area[2] > east, mark
    assert len(first) == len(list(root.rglob(".complete"))) == len(of_twin(twin)) // 2
    assert leftovers(tmp_path) == []


def test_two_at_once_share_the_work(twin: Twin, archive: Archive, tmp_path: Path) -> None:
    file = season_of(twin, tmp_path, archive.url)
    command = [sys.executable, "-m", "eo_pipeline.cli", "fetch", str(file), "--json"]
    both = [subprocess.Popen(command, env=environment(), stdout=subprocess.DEVNULL) for _ in range(2)]
    assert [process.wait(120) for process in both] == [0, 0]
    assert_same(passes(tmp_path / "radar"), of_twin(twin))
    assert leftovers(tmp_path) == []


# ---- a season of it
def backscatter(season: Season, tile: str) -> tuple[np.ndarray, np.ndarray]:
    store = TileStore(season.work / "cube" / f"{tile}.zarr")
    return store.read(BACKSCATTER), store.read(COUNT)


@pytest.mark.slow
def test_eo_run_fetches_it_and_makes_the_products_that_the_folder_gives(
    twin: Twin, archive: Archive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from models.training import TrainingSettings

    monkeypatch.setattr("eo_pipeline.products.classify._SETTINGS", TrainingSettings(epochs=1, min_steps=25))
    lines = (twin.folder / "2026/season.toml").read_text(encoding="utf-8")
    classes = lines[lines.index("[[classes]]") : lines.index("[classify]")]
    more = f"""{classes}
[classify]
samples = "{twin.folder}/2026/samples.geojson"
features = ["B04", "B08", "VV_ASC", "VH_DESC"]
folds = 2
group_km = 0.1
seed = 1
"""
    fetched = season_of(twin, tmp_path / "fetched", archive.url)
    fetched.write_text(fetched.read_text() + more)
    lying = tmp_path / "lying" / "season.toml"
    lying.parent.mkdir()
    text = re.sub(
        r"\[source.radar\]\nkind = .*\nroot = .*\nurl = .*\n",
        f'[source.radar]\nroot = "{twin.products / COLLECTION}"\n',
        fetched.read_text(),
    )
    assert text != fetched.read_text()
    lying.write_text(text)
    told = eo("sources", fetched)
    assert "planetary-computer: answers" in told.stdout
    planned = json.loads(eo("fetch", fetched, "--dry-run", "--json").stdout)
    assert planned["radar"]["plan"]["to_fetch"] == len(of_twin(twin)) // 2
    assert planned["radar"]["plan"]["hours"] > 0
    done = eo("ingest", fetched, "--workers", 0, "--json")  # it fetches first
    assert json.loads(done.stdout)["radar"]
    one, _ = run(fetched)
    two, _ = run(lying)
    assert digests(one) == digests(two) and len(digests(one)) >= 9
    for tile in ("48SWD", "48SWE"):
        for a, b in zip(
            backscatter(read_season(fetched), tile), backscatter(read_season(lying), tile), strict=True
        ):
            np.testing.assert_array_equal(a, b)
            assert a.any()
    inputs = json.loads((one / "run.json").read_text())["inputs"]
    assert len([row for row in inputs if row["role"] == "radar"]) == len(of_twin(twin))
    assert "Passes of Sentinel-1 per direction" in eo("fetch", fetched).stdout
