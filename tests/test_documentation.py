"""What the README files and docs/ say of the `eo` command is true of the program beside them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import typer

from eo_pipeline.acquire.credentials import VARIABLES
from eo_pipeline.cli import app
from eo_pipeline.season import read_season
from eo_pipeline.season_source import KINDS
from eo_pipeline.simulate.archive import KINDS as FAULTS

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", ROOT / "README.zh-CN.md", *sorted((ROOT / "docs").glob("*.md"))]
IMAGERY = (ROOT / "docs" / "imagery.md").read_text(encoding="utf-8")
#: `eo` at the begin of a code span, of a line or after the environment's folder, then its words.
CALL = re.compile(r"(?:`|^|\.venv/bin/|\$ )eo((?: +[a-z][a-z-]*)+)(?=[ `\n,]|$)", re.MULTILINE)


def calls(page: Path) -> list[tuple[str, ...]]:
    return [tuple(found[1].split()) for found in CALL.finditer(page.read_text(encoding="utf-8"))]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_that_is_named_exists(page: Path) -> None:
    unknown = []
    for words in calls(page):
        command: Any = typer.main.get_command(app)
        for word in words:
            if not (known := getattr(command, "commands", None)):
                break  # what follows are arguments
            if (command := known.get(word)) is None:
                unknown.append(" ".join(words))
                break
    assert unknown == []
    assert ("run",) in calls(page)


def test_every_command_is_named_in_both_languages() -> None:
    top: Any = typer.main.get_command(app)
    expected = set(top.commands) - {"answer-sample"}  # the demo's own step
    assert len(expected) > 15
    for page in PAGES[:2]:
        text = page.read_text(encoding="utf-8")
        assert {name for name in expected if f"eo {name}" not in text} == set(), page.name


def test_every_fault_source_and_variable_is_told() -> None:
    assert [kind for kind in FAULTS if f"`{kind}`" not in IMAGERY] == []
    assert [kind for kind in KINDS if f"`{kind}`" not in IMAGERY and f'"{kind}"' not in IMAGERY] == []
    names = {name for needed, optional in VARIABLES.values() for name in (*needed, *optional)}
    prose = IMAGERY.replace("`EO_DHUS_USERNAME`, `_PASSWORD`", "`EO_DHUS_USERNAME`, `EO_DHUS_PASSWORD`")
    assert {name for name in names if name not in prose} == set()


def test_the_season_file_of_the_manual_is_one(tmp_path: Path) -> None:
    # given: the example, its optional lines taken in too
    example = IMAGERY.split("```toml\n")[1].split("```")[0]
    lines = [re.sub(r"^# (?=(tiles|bands) = )", "", line) for line in example.splitlines()]
    season = tmp_path / "season.toml"
    season.write_text(
        '[season]\nid = "x"\ntitle = "x"\nstart = 2026-05-01\nend = 2026-05-31\n'
        '[region]\nname = "x"\nbbox = [105.3, 35.0, 106.1, 35.8]\n[output]\nroot = "runs"\n'
        + "\n".join(lines),
        encoding="utf-8",
    )
    # when
    source = read_season(season).source
    # then
    assert source.sentinel is not None
    assert source.sentinel.providers == ("cdse", "earth-search", "planetary-computer")
    assert source.sentinel.tiles == ("48SWE",)
    assert (source.sentinel.max_cloud, source.sentinel.buffer_m) == (70.0, 60.0)
    assert tuple(source.bands) == ("B04", "B08", "SCL")
