"""The season files in examples/ and every kind of archive, against an archive on this machine.

Of an example only its address, folders, ground and period are changed; what it says of bands, clouds,
products and fallbacks stays.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import pytest
import rasterio
from drilling import END, ROOT, START, Twin, environment, eo, fetched, leftovers, run

from eo_pipeline.acquire.season_fetch import scene_fetcher
from eo_pipeline.acquire.sources.registry import open_archives, season_query
from eo_pipeline.acquire.transport import Transport
from eo_pipeline.publish.contract import verify
from eo_pipeline.season import read_season
from eo_pipeline.simulate.archive import Archive, Faults, serve

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def archive(twin: Twin) -> Iterator[Archive]:
    with serve(twin.products) as running:
        yield running


def example(twin: Twin, name: str, folder: Path, url: str, **changes: str) -> Path:
    """A copy of an example, moved to the twin's ground and period and to this archive."""
    text = (ROOT / "examples" / f"{name}.toml").read_text(encoding="utf-8")
    given = {
        "start": str(START), "end": str(END), "bbox": json.dumps(twin.bbox),
        "root": '"scenes"',
    }  # fmt: skip
    for key, value in (given | changes).items():
        # of two keys `root` the first is that of [source]
        text, count = re.subn(rf"(?m)^{key} = .*$", f"{key} = {value}", text, count=1)
        assert count == 1, key
    text, count = re.subn(r"(?m)^(kind = .*)$", rf'\1\nurl = "{url}"', text)
    assert count == 1
    text, count = re.subn(r'(?m)^root = "../runs"$', 'root = "runs"', text)
    assert count == 1
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.toml"
    path.write_text(text, encoding="utf-8")
    return path


def fallbacks(archive: Archive) -> dict[str, str]:
    """The sources that examples fall back to are this archive's own."""
    return {
        "EO_EARTH_SEARCH_URL": f"{archive.url}/stac/v1",
        "EO_PLANETARY_COMPUTER_URL": f"{archive.url}/pc/api/stac/v1",
    }


def told(archive: Archive, *arguments: Any) -> Any:
    return json.loads(eo(*arguments, "--json", **fallbacks(archive)).stdout)


def skipped(folder: Path, reason: str) -> list[str]:
    """Day and tile of what a run left out for a reason."""
    inputs = json.loads((folder / "run.json").read_text(encoding="utf-8"))["inputs"]
    rows = [row for row in inputs if row["role"] == "skipped" and reason in row["reason"]]
    return sorted(f"{row['path'][11:19]}-{row['path'][39:44]}" for row in rows)


CLOUDY = ["20260526-48SWD", "20260526-48SWE", "20260816-48SWD", "20260816-48SWE"]


def test_jingning_by_download(twin: Twin, archive: Archive, tmp_path: Path) -> None:
    season = example(twin, "jingning", tmp_path, f"{archive.url}/stac/v1")
    found = told(archive, "search", season)
    assert (len(found["products"]), found["failures"]) == (14, [])
    dry = told(archive, "fetch", season, "--dry-run")
    assert (dry["plan"]["scenes"], dry["plan"]["to_fetch"], dry["plan"]["fits"]) == (14, 14, True)
    assert not (tmp_path / "scenes/sentinel-2-l2a").exists()
    result = told(archive, "fetch", season)
    assert result["complete"] is True
    assert result["counts"] == {"done": 10, "screened-out": 4}
    sent = archive.stats()["bytes"]
    facts = told(archive, "run", season, "--workers", 0)
    assert archive.stats()["bytes"] == sent  # nothing is fetched twice
    folder = Path(facts["run"])
    assert verify(folder).simulated  # by the products' own word: the season file says nothing
    # what was left out for clouds lies there without bands, and clouds are the reason that is told
    assert skipped(folder, "cloud, shadow or no data over the region (limit 70 %)") == CLOUDY
    assert skipped(folder, "no raster of") == []
    assert leftovers(tmp_path) == []


def test_jingning_by_windows(twin: Twin, archive: Archive, tmp_path: Path) -> None:
    season = example(twin, "jingning", tmp_path, f"{archive.url}/stac/v1")
    text = season.read_text(encoding="utf-8")
    season.write_text(text.replace("max_cloud", 'read = "windows"\nmax_cloud'), encoding="utf-8")
    facts = told(archive, "run", season, "--workers", 0)
    assert verify(Path(facts["run"])).simulated
    assert not list((tmp_path / "scenes").rglob("B0*"))  # what describes the scenes was fetched, no band
    assert len(list((tmp_path / "scenes").rglob("*SCL*.tif"))) == 14
    inputs = json.loads((Path(facts["run"]) / "run.json").read_text(encoding="utf-8"))["inputs"]
    remote = [row["path"] for row in inputs if row["role"] == "remote"]
    assert remote and all(path.startswith(archive.url) for path in remote)
    plan = told(archive, "plan", season)
    assert [tile["name"] for tile in plan["tiles"]] == ["48SWD", "48SWE"]


def test_pingliang(twin: Twin, archive: Archive, tmp_path: Path) -> None:
    season = example(twin, "pingliang", tmp_path, archive.url)
    result = told(archive, "fetch", season)
    assert result["complete"] is True and result["notes"] == []
    assert result["counts"] == {"done": 10, "screened-out": 4}
    assert {scene["source"] for scene in result["scenes"]} == {"cdse"}
    whole = {path: digest for path, digest in fetched(tmp_path / "scenes").items() if path.endswith(".jp2")}
    assert len(whole) == 10 * 11
    for path, digest in whole.items():
        original = twin.products / path.split("/", 2)[2]
        assert hashlib.sha256(original.read_bytes()).hexdigest() == digest
    facts = told(archive, "run", season, "--workers", 0)
    folder = Path(facts["run"])
    assert verify(folder).simulated  # by the products' own word: the season file says nothing
    assert skipped(folder, "(limit 80 %)") == CLOUDY
    assert skipped(folder, "quarantine") == []
    # a run of what was fetched is a run of the twin itself
    source = f'kind = "folder"\nlayout = "safe"\nroot = "{tmp_path}/whole"\nmax_cloud = 80'
    twin.take(tmp_path / "whole", sorted({path.split("/")[2] for path in whole}))
    more = season.read_text(encoding="utf-8").partition("[source.clouds]")[2].partition("[growth]")[0]
    other, _ = run(
        twin.season(tmp_path / "b", source, identity="pingliang-s2-2025", more=f"[source.clouds]{more}")
    )
    ndvi = "index/48SWE/ndvi.tif"
    with rasterio.open(folder / ndvi) as one, rasterio.open(other / ndvi) as two:
        assert (one.read() == two.read()).all()


@pytest.mark.parametrize(
    ("kind", "below", "found"),
    [
        ("planetary-computer", "/pc/api/stac/v1", 14),
        ("dhus", "/dhus", 14),
        ("cdse", "/cdse", 14),
        ("stac", "/stac/v1", 14),
        ("earth-search-c1", "/stac/v1", 12),  # Collection 1 begins with baseline 05.00
    ],
)
def test_every_kind_of_archive(
    twin: Twin, archive: Archive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    kind: str, below: str, found: int,
) -> None:  # fmt: skip
    for name, value in environment(EO_CDSE_SEARCH="stac").items():
        monkeypatch.setenv(name, value)
    file = twin.season(tmp_path, f'kind = "{kind}"\nurl = "{archive.url}{below}"\nroot = "data"')
    season = read_season(file)
    signed = archive.stats()["signatures"]
    (source,) = open_archives(season, transport=Transport())
    assert len(list(source.search(season_query(season)))) == found
    result = scene_fetcher(season, [source]).run()
    assert result.complete
    assert (result.count("done"), result.count("screened-out")) == (found - 3, 3)
    assert (archive.stats()["signatures"] > signed) == (kind == "planetary-computer")
    folder, _ = run(file)
    assert verify(folder).simulated  # by the products' own word: the season file says nothing
    assert leftovers(tmp_path) == []


def test_a_run_says_which_scenes_it_goes_on_without(twin: Twin, tmp_path: Path) -> None:
    gone = "20260617T033539_N0510_R118_T48SWE"
    with serve(twin.products, faults=Faults(offline=(gone,))) as archive:
        source = f'kind = "cdse"\nurl = "{archive.url}"\nroot = "data"'
        season = twin.season(tmp_path, source, start=date(2026, 6, 1), end=date(2026, 7, 31))
        done = eo("run", season, "--workers", 0, "--json")
        assert "1 of 4 scenes could not be fetched" in done.stderr
        assert f"not fetched: S2A_MSIL2A_{gone}" in done.stderr
        folder = Path(json.loads(done.stdout)["run"])
        assert verify(folder).simulated
        # the record and the report name it, with what the ledger says of it
        inputs = json.loads((folder / "run.json").read_text(encoding="utf-8"))["inputs"]
        (row,) = [row for row in inputs if row["role"] == "skipped" and row.get("state") == "failed"]
        assert gone in row["path"] and row["rejected"] is True
        assert (row["tile"], row["date"], row["provider"]) == ("48SWE", "2026-06-17", "cdse")
        assert "offline" in row["reason"] and "[source] fallback" in row["reason"]
        assert gone not in str([row for row in inputs if row["role"] == "scene"])
        assert row["path"] in (folder / "report.html").read_text(encoding="utf-8")
        eo("fetch", season, "--json", code=1)
