"""Windows of rasters at two providers: what the first cannot give is read at the second, or left out."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from drilling import Twin, digests, eo

from eo_pipeline.acquire.ledger import Ledger
from eo_pipeline.acquire.screening import read_region
from eo_pipeline.remote import acquire
from eo_pipeline.season import read_season
from eo_pipeline.simulate.archive import Faults, serve
from eo_pipeline.simulate.archive.faults import Scripted

START, END = date(2026, 5, 1), date(2026, 7, 31)  # eight products of four days
#: Of the overpasses of 17 June and 26 May in the northern tile, at Earth Search and Planetary Computer.
JUNE = r"/cogs/.*/S2A_T48SWE_20260617T.*"
MAY = r"/cogs/.*/S2A_T48SWE_20260526T.*"
MAY_THERE = r"/blob/.*/S2A_MSIL2A_20260526T.*_T48SWE_.*"


def season_of(twin: Twin, folder: Path, url: str, *, read: str = "windows") -> Path:
    source = f'''kind = "earth-search-c1"
url = "{url}/stac/v1"
root = "data"
max_cloud = 100
read = "{read}"
fallback = ["planetary-computer"]'''
    return twin.season(folder, source, start=START, end=END)


def ran(file: Path, second: str, *, workers: int = 0) -> tuple[list[dict[str, Any]], str]:
    """Inputs of the run folder, and what the command said."""
    fallback = {"EO_PLANETARY_COMPUTER_URL": f"{second}/pc/api/stac/v1"}
    done = eo("run", file, "--workers", workers, "--json", **fallback)
    return json.loads((file.parent / "runs/drill/run.json").read_text())["inputs"], done.stderr


def served_by(inputs: Sequence[dict[str, Any]], host: str) -> list[str]:
    """Rasters that a provider served."""
    return [row["path"] for row in inputs if row["role"] == "remote" and f"/{host}/" in row["path"]]


def test_what_another_season_left_out_for_clouds_is_read(twin: Twin, tmp_path: Path) -> None:
    with serve(twin.products) as archive:
        season = read_season(season_of(twin, tmp_path, archive.url))
        whole = acquire(season, fetch=False)
        assert whole is not None and len({item.name for item in whole}) == 8
        keys = {"/".join(item.observation) for item in whole}
        for region, left in (("another", 8), (read_region(season.region).token, 0)):
            with Ledger(season.source.root) as ledger:
                for key in keys:
                    ledger.put_product(
                        "sentinel-2-l2a", key, tile=key[-5:], sensed="2026-06-01T03:35:00", name="n",
                        source="s", state="screened-out", blocked=100.0, region=region,
                    )  # fmt: skip
            sentinel = replace(season.source.sentinel, max_cloud=60.0)  # type: ignore[type-var]
            strict = replace(season, source=replace(season.source, sentinel=sentinel))
            found = acquire(strict, fetch=False)
            assert found is not None and len({item.name for item in found}) == left


def broken(path: str, *before: str) -> Faults:
    """One raster that is gone, after some answers, as often as anybody asks."""
    return Faults(script=(Scripted(path, (*before, *["404"] * 10_000)),))


@pytest.fixture(scope="module")
def calm(twin: Twin, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The products where nothing goes wrong, made of files that were fetched."""
    folder = tmp_path_factory.mktemp("calm")
    with serve(twin.products) as first, serve(twin.products) as second:
        inputs, _ = ran(season_of(twin, folder, first.url, read="download"), second.url)
    assert len([row for row in inputs if row["role"] == "raster"]) == 8 * 11
    return digests(folder / "runs/drill")


@pytest.mark.slow
def test_a_scene_the_first_provider_cannot_open_is_read_at_the_second(
    twin: Twin, calm: dict[str, str], tmp_path: Path
) -> None:
    with serve(twin.products, faults=broken(f"{JUNE}B04")) as first, serve(twin.products) as second:
        one, other = (archive.url.split("/")[2] for archive in (first, second))
        inputs, _ = ran(season_of(twin, tmp_path, first.url), second.url)
        assert first.stats()["faults"]["404"] >= 1
    assert len([row for row in inputs if row["role"] == "scene"]) == 8
    moved = served_by(inputs, other)
    assert len(moved) == 11 and all("S2A_MSIL2A_20260617T033539_N0510_R118_T48SWE" in p for p in moved)
    assert len(served_by(inputs, one)) == 7 * 11
    # the copies lie in two places, and the products are the same
    assert digests(tmp_path / "runs/drill") == calm


@pytest.mark.slow
def test_a_scene_that_cannot_be_read_any_more_is_read_at_the_second_in_the_same_run(
    twin: Twin, calm: dict[str, str], tmp_path: Path
) -> None:
    # found at the first when the run is planned, gone when a worker reads
    with (
        serve(twin.products, faults=broken(f"{JUNE}B11", "ok")) as first,
        serve(twin.products) as second,
    ):
        inputs, said = ran(season_of(twin, tmp_path, first.url), second.url, workers=1)
        moved = served_by(inputs, second.url.split("/")[2])
    assert len(moved) == 11 and "B11.tif cannot be read" in said and "Another source's copy" in said
    assert digests(tmp_path / "runs/drill") == calm


@pytest.mark.slow
def test_a_scene_that_can_be_read_nowhere_any_more_is_left_out_and_told(twin: Twin, tmp_path: Path) -> None:
    with (
        serve(twin.products, faults=broken(f"{MAY}B08", "ok")) as first,
        serve(twin.products, faults=broken(f"{MAY_THERE}B11", "ok")) as second,
    ):
        inputs, said = ran(season_of(twin, tmp_path, first.url), second.url, workers=1)
        hosts = [archive.url.split("/")[2] for archive in (first, second)]
        assert [len(served_by(inputs, host)) for host in hosts] == [7 * 11, 0]
    assert said.count("cannot be read") == 2
    skipped = [row for row in inputs if row["role"] == "skipped"]
    assert [(row["provider"], row["date"], row["tile"]) for row in skipped] == [
        ("earth-search-c1", "2026-05-26", "48SWE"), ("planetary-computer", "2026-05-26", "48SWE"),
    ]  # fmt: skip
    assert "B08.tif cannot be read" in skipped[0]["reason"] and "404" in skipped[0]["reason"]
    assert len([row for row in inputs if row["role"] == "scene"]) == 7
