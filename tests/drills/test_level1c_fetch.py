"""Level 1C of the scenes that are used, from the archive on this machine to a mask by s2cloudless."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import pytest
from drilling import Twin, environment, eo, leftovers
from shapely import box

from eo_pipeline.acquire.fetch import FetchOptions
from eo_pipeline.acquire.pacing import Limits
from eo_pipeline.acquire.products import Query
from eo_pipeline.acquire.season_fetch import level1c_fetcher, scene_fetcher
from eo_pipeline.acquire.sources.registry import open_archive, open_archives
from eo_pipeline.acquire.transport import Transport
from eo_pipeline.plan import make_plan
from eo_pipeline.scenes.cloudless import MODEL_BANDS
from eo_pipeline.season import read_season
from eo_pipeline.simulate import twin as simulator
from eo_pipeline.simulate.archive import KINDS, Archive, Faults, serve

START, END = date(2026, 5, 1), date(2026, 7, 31)
QUICK = FetchOptions(workers=4, margin_bytes=1, idle_rounds=3, round_wait_s=0.05)
LIMITS = Limits(
    connect_timeout=2.0, read_timeout=0.4, stall_s=0.5, stall_bytes=64, backoff_s=0.01, backoff_cap_s=0.1,
    retry_after_cap_s=0.2,
)  # fmt: skip


@pytest.fixture(scope="module")
def both(twin: Twin, tmp_path_factory: pytest.TempPathFactory) -> Twin:
    """The twin of all drills, with Level 1C and GRD beside it."""
    folder = tmp_path_factory.mktemp("both") / "safe"
    options = simulator.TwinOptions(size_km=0.6, seasons=1, format="safe", every=20, level1c=True, grd=True)
    simulator.simulate(folder, options)
    return Twin(folder, twin.bbox)


@pytest.fixture(scope="module")
def archive(both: Twin) -> Iterator[Archive]:
    with serve(both.products) as running:
        yield running


def season_of(twin: Twin, folder: Path, url: str, *, max_cloud: int = 40) -> Path:
    return twin.season(
        folder,
        f'kind = "cdse"\nurl = "{url}"\nroot = "data"\nmax_cloud = {max_cloud}',
        start=START,
        end=END,
        more='[source.clouds]\ndetector = "s2cloudless"\nl1c = "level1c"\n',
    )


def takes(names: list[str]) -> set[tuple[str, str]]:
    """Datatake and tile of products, which a Level-1C and a Level-2A product of one scene share."""
    return {(name[11:26], name[38:44]) for name in names}


def test_level1c_comes_of_the_scenes_that_are_used_and_nothing_else(
    both: Twin, archive: Archive, tmp_path: Path
) -> None:
    file = season_of(both, tmp_path, archive.url)
    planned = json.loads(eo("fetch", file, "--dry-run", "--json").stdout)
    assert planned["level1c"]["plan"]["bytes"] > 0
    assert planned["level1c"]["plan"]["to_fetch"] <= planned["plan"]["to_fetch"]
    assert not (tmp_path / "level1c/sentinel-2-l1c").exists()

    told = json.loads(eo("fetch", file, "--json").stdout)
    used = [scene["name"] for scene in told["scenes"] if scene["state"] == "done"]
    left_out = [scene for scene in told["scenes"] if scene["state"] == "screened-out"]
    assert used and left_out and told["complete"]
    marks = sorted((tmp_path / "level1c").rglob(".complete"))
    assert takes([mark.parent.name for mark in marks]) == takes(used)
    for mark in marks:
        files = json.loads(mark.read_text())["files"]
        keys = {row["key"] for row in files}
        assert keys == {*MODEL_BANDS, "manifest", "MTD_MSIL1C", "MTD_TL"}
        assert {row["proof"] for row in files if row["key"] in MODEL_BANDS} <= {
            "manifest md5", "manifest sha3-256"
        }  # fmt: skip
        assert len(list(mark.parent.rglob("*.jp2"))) == 10
    assert leftovers(tmp_path) == []
    # nothing comes twice, and the table names what is here
    again = eo("fetch", file)
    assert f"{len(used)} Level-1C products here, 0 failed" in again.stdout  # none is left out for clouds
    assert f"{len(used)} scenes here" in again.stdout and "0.0 MB came" in again.stdout

    # every scene of the season has its own
    clouds = make_plan(read_season(file)).clouds
    assert clouds is not None and clouds["scenes"] == len(used) and clouds["scl_alone"] == []


def test_faults_are_waited_out(both: Twin, tmp_path: Path) -> None:
    kinds = [kind for kind in KINDS if kind not in ("checksum-wrong", "checksum-missing", "evicted", "403")]
    faults = Faults.all(0.02, kinds=kinds, seed=3, retry_after_s=0.05, stall_s=1.0)
    with serve(both.products, faults=faults) as running:
        season = read_season(season_of(both, tmp_path, running.url, max_cloud=100))
        archives = open_archives(season, transport=Transport(limits=LIMITS), environment=environment())
        scenes = scene_fetcher(season, archives, options=QUICK).run()
        fetcher = level1c_fetcher(season, archives, scenes, options=QUICK)
        assert fetcher is not None
        result = fetcher.run()
        befell = running.stats()["faults"]
    assert result.complete, (befell, [s.reason for s in result.scenes])
    assert result.count("done") == scenes.count("done") == 8
    assert len(befell) >= 4
    assert leftovers(tmp_path) == []


@pytest.mark.slow
def test_a_run_fetches_it_and_masks_by_it(both: Twin, archive: Archive, tmp_path: Path) -> None:
    file = season_of(both, tmp_path, archive.url)
    eo("run", file, "--workers", 0, "--json")
    inputs = json.loads((tmp_path / "runs/drill/run.json").read_text())["inputs"]
    (clouds,) = [row for row in inputs if row["role"] == "clouds"]
    assert clouds["detector"] == "s2cloudless" and clouds["scenes"] > 0 and clouds["scl_alone"] == 0
    assert len([row for row in inputs if row["role"] == "level1c"]) == 10 * clouds["scenes"]


def test_grd_is_found_at_cdse_and_not_needed_beside_corrected_products(
    both: Twin, archive: Archive, tmp_path: Path
) -> None:
    environ = environment()
    cdse = open_archive("cdse", transport=Transport(limits=LIMITS), url=archive.url, environment=environ)
    found = list(cdse.search(Query("sentinel-1-grd", box(*both.bbox).wkt, START, END)))
    lying = [
        p for p in (both.products / "sentinel-1-rtc").iterdir() if "20260501" <= p.name[17:25] <= "20260731"
    ]
    assert len(found) == len(lying) > 5
    (file,) = cdse.files(found[0], ["vv"])
    cdse.fetch(file, tmp_path / "vv.tiff")
    original = both.products / "sentinel-1-grd" / found[0].name / file.path
    assert (tmp_path / "vv.tiff").read_bytes() == original.read_bytes()
    season = both.season(
        tmp_path,
        f'kind = "folder"\nlayout = "safe"\nroot = "{both.products}"',
        start=START,
        end=END,
        more=f'[source.radar]\nroot = "{both.products}"\n',
    )
    plan = make_plan(read_season(season))
    used = {Path(item.vv).parent.name for tile in plan.tiles for item in tile.passes}
    assert used == {path.name for path in lying}
    told = [item.reason for item in plan.skipped if item.name.startswith("S1A")]
    assert len(told) == len(found) and all("GRD is not needed" in reason for reason in told)


def test_other_sources_leave_the_folder_to_its_owner(both: Twin, tmp_path: Path) -> None:
    (tmp_path / "level1c").mkdir()
    with serve(both.products) as running:
        text = season_of(both, tmp_path, running.url).read_text()
        file = tmp_path / "season.toml"
        file.write_text(
            text.replace('kind = "cdse"', 'kind = "planetary-computer"').replace(
                running.url, f"{running.url}/pc/api/stac/v1"
            )
        )
        told = json.loads(eo("fetch", file, "--json").stdout)
    assert told["counts"]["done"] and "level1c" not in told
    assert list((tmp_path / "level1c").iterdir()) == []
