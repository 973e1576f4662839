"""`eo inspect`: what it prints, and how it leaves."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import typer
from tiny_level1c import TinyLevel1C
from tiny_safe import TinySafe, earth_search_item, write_cogs, zip_safe
from typer.testing import CliRunner, Result

from eo_pipeline.cli_inspect import register
from eo_pipeline.scenes.sentinel2 import BAND_IDS

app = typer.Typer()
register(app)


@app.callback()
def _many() -> None:
    """More than one command, so that `inspect` is named."""


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["inspect", *arguments])


def test_a_proven_scene(tmp_path: Path) -> None:
    folder = TinySafe().write(tmp_path)
    told = run(str(folder))
    assert told.exit_code == 0
    for text in (
        folder.name, "48SXE  EPSG:32648", "baseline     05.10", "12.5 % cloud", "orbit 61 descending",
        "metadata   -1000", "name       -1000   (baseline 05.10)", "provider   -1000", "pixels     -1000",
        "proven       reflectance = (DN -1000) / 10000", "B11 20", "sun 21.5° from the zenith",
        "metadata, name, provider, pixels agree.", "POLYGON ((106.1",
    ):  # fmt: skip
        assert text in told.stdout, text


def test_json_of_a_zip(tmp_path: Path) -> None:
    archive = zip_safe(TinySafe(baseline="02.14").write(tmp_path))
    told = run(str(archive), "--json")
    assert told.exit_code == 0
    facts = json.loads(told.stdout)
    assert facts["offset"] == {
        "metadata": 0, "name": 0, "provider": 0, "pixels": 0, "advertised": None, "proven": 0,
        "verdict": "proven", "reason": "metadata, name, provider, pixels agree.",
    }  # fmt: skip
    assert (facts["baseline"], facts["crs"], facts["cloud_cover"]) == ("02.14", "EPSG:32648", 12.5)
    assert facts["bands"]["B8A"] == [20]
    assert facts["sun"] == {"zenith": 21.5, "azimuth": 135.25}
    assert facts["dark_targets"]["darkest"] < 400


def test_a_scene_in_quarantine_is_shown_and_leaves_with_3(tmp_path: Path) -> None:
    tiny = TinySafe(shift=0)
    folder = write_cogs(tiny, tmp_path, earth_search_item(tiny, applied=False))
    told = run(str(folder))
    assert told.exit_code == 3
    assert "quarantined" in told.stdout
    assert "boa_offset_applied = false" in told.stdout
    assert "the item shows -0.1, which is not believed" in told.stdout
    facts = json.loads(run(str(folder), "--json").stdout)
    assert facts["offset"]["proven"] is None
    assert (facts["offset"]["provider"], facts["offset"]["pixels"]) == (-1000, 0)


def test_a_clouded_scene_prints_numbers_json_knows(tmp_path: Path) -> None:
    folder = TinySafe(scl=9).write(tmp_path)
    facts = json.loads(run(str(folder), "--json").stdout)
    assert facts["dark_targets"]["darkest"] is None
    assert facts["offset"]["pixels"] is None


def test_what_cannot_be_read_leaves_with_2(tmp_path: Path) -> None:
    told = run(str(tmp_path / "nothing.SAFE"))
    assert told.exit_code == 2
    assert "does not exist" in told.stderr
    damaged = TinySafe().write(tmp_path)
    next(damaged.rglob("*_SCL_20m.jp2")).write_bytes(b"")
    told = run(str(damaged), "--json")
    assert (told.exit_code, told.stdout) == (2, "")
    assert "SCL_20m.jp2 cannot be read" in told.stderr


@pytest.mark.realdata
def test_real_cogs(shared_data: Path) -> None:
    told = run(str(shared_data / "s2-cog-29RKH"))
    assert told.exit_code == 0
    assert "files by earth-search" in told.stdout
    assert "name, provider agree." in told.stdout


# ---- Level-1C
def test_a_level_1c_product_says_what_it_is(tmp_path: Path) -> None:
    told = run(str(TinyLevel1C().write(tmp_path)))
    assert told.exit_code == 0
    for text in (
        TinyLevel1C().name, "level        1C", "48SXE  EPSG:32648", "baseline     05.10", "B10 60", "B08 10",
        "agreed       reflectance = (DN -1000) / 10000, by metadata and baseline",
    ):  # fmt: skip
        assert text in told.stdout, text
    archive = zip_safe(TinyLevel1C(baseline="02.14").write(tmp_path))
    facts = json.loads(run(str(archive), "--json").stdout)
    assert (facts["level"], facts["baseline"], facts["quantification"]) == ("L1C", "02.14", 10_000)
    assert facts["offset"] == {"proven": 0, "reason": ""}
    assert list(facts["bands"]) == sorted(BAND_IDS)


def test_a_level_1c_product_whose_offset_was_altered(tmp_path: Path) -> None:
    told = run(str(TinyLevel1C(offset="").write(tmp_path)))
    assert told.exit_code == 3
    assert "RADIO_ADD_OFFSET says +0, but baseline 05.10" in told.stdout
    facts = json.loads(run(str(tmp_path / TinyLevel1C().name), "--json").stdout)
    assert facts["offset"]["proven"] is None


@pytest.mark.realdata
def test_real_level_1c(shared_data: Path) -> None:
    name = "S2A_MSIL1C_20180101T105441_N0206_R051_T31TDH_20180101T124911.SAFE"
    told = run(str(shared_data / "safe-metadata/sentinel2_with_jp2" / name))
    assert told.exit_code == 0
    assert "31TDH  EPSG:32631  10980 × 10980 at 10 m" in told.stdout
    assert "bands (m)    B01 60\n" in told.stdout
    assert "reflectance = (DN +0) / 10000" in told.stdout
