"""What no fetch can mend ends with one error that says what to do, and leaves nothing half-written."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import pytest
from drilling import Twin, eo, leftovers

from eo_pipeline.simulate.archive import Archive, serve

START, END = date(2026, 6, 1), date(2026, 7, 31)  # four products
#: An empty variable is none.
NO_ACCOUNT = {f"EO_{name}_{what}": "" for name in ("CDSE", "DHUS") for what in ("USERNAME", "PASSWORD")}
FAR = "bbox = [30.0, -10.0, 30.1, -9.9]"


@pytest.fixture(scope="module")
def archive(twin: Twin) -> Iterator[Archive]:
    with serve(twin.products) as running:
        yield running


def season_of(twin: Twin, folder: Path, url: str, *, region: str = "", more: str = "") -> Path:
    source = f'kind = "cdse"\nurl = "{url}"\nroot = "data"\n{more}'
    return twin.season(folder, source, start=START, end=END, region=region)


@pytest.mark.parametrize("command", ["fetch", "run", "ingest"])
def test_without_an_account_one_error_names_the_variables(
    twin: Twin, archive: Archive, tmp_path: Path, command: str
) -> None:
    file = season_of(twin, tmp_path, archive.url)
    done = eo(command, file, "--json", code=2, **NO_ACCOUNT)
    assert done.stdout == ""
    error = done.stderr.strip()
    assert error.startswith("Error: cdse: downloading needs an account") and "\n" not in error
    assert "Set EO_CDSE_USERNAME and EO_CDSE_PASSWORD in the environment" in error
    assert "Traceback" not in error
    # but for the ledger nothing was written, neither data nor a run
    assert {path.name.partition("-")[0] for path in tmp_path.rglob("*") if path.is_file()} == {
        "ledger.sqlite", "season.toml"
    }  # fmt: skip
    # with the account the same command goes on
    if command == "fetch":
        assert json.loads(eo("fetch", file, "--json").stdout)["counts"] == {"done": 4}
        # what is here needs none
        assert json.loads(eo("fetch", file, "--json", **NO_ACCOUNT).stdout)["complete"]


def test_without_an_account_another_source_is_enough(twin: Twin, archive: Archive, tmp_path: Path) -> None:
    file = season_of(twin, tmp_path, archive.url, more='fallback = ["planetary-computer"]')
    there = {"EO_PLANETARY_COMPUTER_URL": f"{archive.url}/pc/api/stac/v1"} | NO_ACCOUNT
    told = json.loads(eo("fetch", file, "--json", **there).stdout)
    assert told["counts"] == {"done": 4}
    assert {scene["source"] for scene in told["scenes"]} == {"planetary-computer"}
    assert leftovers(tmp_path) == []


def test_a_region_outside_every_tile_is_refused(twin: Twin, archive: Archive, tmp_path: Path) -> None:
    file = season_of(twin, tmp_path, archive.url, region=FAR)
    for more in ((), ("--dry-run",)):
        done = eo("fetch", file, *more, code=2)
        assert "no source has a Sentinel-2 product of 2026-06-01 to 2026-07-31 over [region] 'piece'" in (
            done.stderr
        )
        assert "from 30.00 to 30.10 degrees east and from -10.00 to -9.90 north" in done.stderr
        assert done.stdout == ""
    lying = twin.season(
        tmp_path / "lying",
        f'kind = "folder"\nlayout = "safe"\nroot = "{twin.products}"',
        start=START,
        end=END,
        region=FAR,
    )
    for command, season in (("plan", file), ("run", file), ("plan", lying), ("run", lying)):
        error = eo(command, season, code=2).stderr
        assert "no Sentinel-2 product of the season 2026-06-01 to 2026-07-31 and its region" in error
        assert "[region]" in error and "Traceback" not in error
    assert not (tmp_path / "runs").exists() and not (tmp_path / "lying/runs").exists()
