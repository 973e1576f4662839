"""The season file: what is read from it, and how every wrong line is refused."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest
from seasons import CLASSIFY, TOML

from eo_pipeline.errors import SeasonFileError
from eo_pipeline.season import read_season

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "scenes").mkdir()
    (tmp_path / "samples.csv").write_text("lon,lat,label\n")
    return tmp_path


def write(folder: Path, text: str) -> Path:
    path = folder / "season.toml"
    path.write_text(text)
    return path


def test_reads_a_season_with_paths_relative_to_the_file(folder: Path) -> None:
    season = read_season(write(folder, TOML + CLASSIFY))
    assert (season.id, season.start, season.end, season.step) == (
        "tiny-2026",
        date(2026, 3, 1),
        date(2026, 8, 31),
        "dekad",
    )
    assert season.source.root == folder / "scenes"
    assert dict(season.source.bands) == {"B02": 1, "B04": 2, "B08": 3, "SCL": 4}
    assert season.source.masks[0].clear == (4.0, 5.0)
    assert [c.name for c in season.classes] == ["wheat", "maize"]
    assert season.classify is not None and season.classify.features == ("B04", "B08", "NDVI")
    assert season.growth.indices == ("NDVI",)
    assert season.output_root == folder / "runs"


def test_defaults(folder: Path) -> None:
    season = read_season(write(folder, TOML.replace("simulated = true\n", "")))
    assert season.simulated is False
    assert season.classify is None
    assert season.area.confidence == 0.95
    assert season.growth.baseline == ()


@pytest.mark.parametrize("name", ["cbers-bahia", "tum-wheat"])
def test_examples_are_valid_season_files(name: str, shared_data: Path) -> None:
    season = read_season(ROOT / "examples" / f"{name}.toml")
    assert season.id == name
    assert season.source.root.is_relative_to(shared_data.resolve())


@pytest.mark.parametrize(
    ("old", "new", "parts"),
    [
        ("step =", "stepp =", ["[season]", "“stepp”", "Did you mean “step”?"]),
        ("[growth]", "[grwth]", ["“grwth”", "Did you mean “growth”?"]),
        ("scale = 0.0001", "skale = 0.0001", ["[source]", "“skale”", "“scale”"]),
        ('step = "dekad"', 'step = "dekade"', ["[season] step", "'dekade'", "“dekad”", "native"]),
        ('id = "tiny-2026"', 'id = "Tiny 2026"', ["[season] id", "'Tiny 2026'"]),
        ("start = 2026-03-01", 'start = "2026-03-01"', ["[season] start", "without quotes"]),
        ("end = 2026-08-31", "end = 2025-08-31", ["[season] end", "before start"]),
        ("scale = 0.0001", 'scale = "1e-4"', ["[source] scale", "not a number"]),
        ("scale = 0.0001", "scale = true", ["[source] scale", "not a number"]),
        ('root = "scenes"', 'root = "scenez"', ["[source] root", "scenez", "relative to the season file"]),
        ("(?P<date>", "(?P<day>", ["[source] pattern", "“day”", "date, tile, band"]),
        ("\\d{8})", "\\d{8}", ["[source] pattern", "not a regular expression"]),
        ('band = "SCL"', 'band = "SLC"', ["[source.mask #1] band", "Did you mean “SCL”?"]),
        ("B02 = 1", "B02 = 0", ["[source] bands", "B02 = 0"]),
        ("code = 2", "code = 1", ["[classes #2] code", "taken"]),
        ('colour = "#CC6677"', 'colour = "red"', ["[classes #2] colour", "#DDCC77"]),
        ('samples = "samples.csv"', 'samples = "nowhere.csv"', ["[classify] samples", "nowhere.csv"]),
        ("folds = 3", "folds = 1", ["[classify] folds", "2 to 20"]),
        ("group_km = 0", "group_km = nan", ["[classify] group_km", "nan", "0.0 to 1000.0"]),
        ('root = "scenes"', 'root = "~nobody-at-all/x"', ["[source] root", "no such user"]),
        ("folds = 3", 'runtime = "torsh"', ["[classify] runtime", "Did you mean “torch”?", "auto, openvino"]),
        ('name = "Tiny"', "", ["[region] name is missing"]),
    ],
)
def test_a_wrong_line_names_file_table_key_and_cure(
    folder: Path, old: str, new: str, parts: list[str]
) -> None:
    text = TOML + CLASSIFY
    assert old in text
    path = write(folder, text.replace(old, new))
    with pytest.raises(SeasonFileError) as error:
        read_season(path)
    message = str(error.value)
    for part in [str(path), *parts]:
        assert part in message


def test_no_toml_and_no_file(folder: Path) -> None:
    with pytest.raises(SeasonFileError, match="not valid TOML"):
        read_season(write(folder, "[season\n"))
    with pytest.raises(SeasonFileError, match=r"absent\.toml does not exist"):
        read_season(folder / "absent.toml")


def test_npz_samples_need_their_channels_named(folder: Path) -> None:
    (folder / "samples.npz").write_bytes(b"")
    text = (TOML + CLASSIFY).replace("samples.csv", "samples.npz")
    with pytest.raises(SeasonFileError, match="npz_bands is missing"):
        read_season(write(folder, text))
    with pytest.raises(SeasonFileError, match="features names B04, which is not in npz_bands"):
        read_season(write(folder, text.replace("folds", 'npz_bands = ["NDVI"]\nfolds')))
