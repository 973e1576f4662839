"""Windows of rasters at two providers: what the first cannot give is read at the second."""

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
#: One raster at Earth Search: of the overpass of 17 June in the northern tile, as often as anybody asks.
BROKEN = Scripted(r"/cogs/.*/S2A_T48SWE_20260617T\d+_L2A/B04\.tif", ("404",) * 10_000)


def season_of(twin: Twin, folder: Path, url: str) -> Path:
    source = f'''kind = "earth-search-c1"
url = "{url}/stac/v1"
root = "data"
max_cloud = 100
read = "windows"
fallback = ["planetary-computer"]'''
    return twin.season(folder, source, start=START, end=END)


def ran(file: Path, second: str, *, workers: int = 0, code: int = 0) -> tuple[list[dict[str, Any]], str]:
    """Inputs of the run folder, and what the command said."""
    fallback = {"EO_PLANETARY_COMPUTER_URL": f"{second}/pc/api/stac/v1", "GDAL_HTTP_MAX_RETRY": "1"}
    done = eo("run", file, "--workers", workers, "--json", code=code, **fallback)
    if code:
        return [], done.stderr
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


@pytest.mark.slow
def test_a_scene_the_first_provider_cannot_open_is_read_at_the_second(twin: Twin, tmp_path: Path) -> None:
    with serve(twin.products) as first, serve(twin.products) as second:
        calm, _ = ran(season_of(twin, tmp_path / "calm", first.url), second.url)
        assert len(served_by(calm, first.url.split("/")[2])) == 8 * 11
    with serve(twin.products, faults=Faults(script=(BROKEN,))) as first, serve(twin.products) as second:
        one, other = (archive.url.split("/")[2] for archive in (first, second))
        file = season_of(twin, tmp_path / "broken", first.url)
        inputs, _ = ran(file, second.url)
        assert first.stats()["faults"]["404"] >= 1
    assert len([row for row in inputs if row["role"] == "scene"]) == 8
    moved = served_by(inputs, other)
    assert len(moved) == 11 and all("S2A_MSIL2A_20260617T033539_N0510_R118_T48SWE" in p for p in moved)
    assert len(served_by(inputs, one)) == 7 * 11
    # the copies lie in two places, and the products are the same
    assert digests(tmp_path / "broken/runs/drill") == digests(tmp_path / "calm/runs/drill")


@pytest.mark.slow
def test_a_provider_that_dies_in_a_run_costs_the_run_and_the_next_one_goes_on_elsewhere(
    twin: Twin, tmp_path: Path
) -> None:
    with serve(twin.products) as first, serve(twin.products) as second:
        ran(season_of(twin, tmp_path / "calm", first.url), second.url)
    script = Scripted(r"/cogs/.*/B11\.tif", ("ok", "ok", *["404"] * 10_000))
    with serve(twin.products, faults=Faults(script=(script,))) as first, serve(twin.products) as second:
        file = season_of(twin, tmp_path / "dying", first.url)
        _, said = ran(file, second.url, workers=1, code=2)  # opened in the plan, read in a worker
        assert "B11.tif" in said and "cannot be read" in said
        assert not (tmp_path / "dying/runs/drill").exists()  # nothing half-made
        inputs, _ = ran(file, second.url)
        assert served_by(inputs, second.url.split("/")[2])
    assert digests(tmp_path / "dying/runs/drill") == digests(tmp_path / "calm/runs/drill")
