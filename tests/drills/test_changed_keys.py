"""A changed line of the season file, or a changed file, repeats what depends on it and nothing else."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import pytest
from drilling import Twin, quick_training, run
from typer.testing import CliRunner

from eo_pipeline.cli import app
from eo_pipeline.stages import STAGES

# one process: what its fixtures make takes most of the time
pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("changed_keys")]

BLOCK = 32  # six blocks in two tiles
MAPPING = ("train", "classify", "curves", "growth")
SERIES = ("screen", "index", *MAPPING)
START, END = date(2026, 5, 1), date(2026, 7, 31)  # eight products


@dataclass(frozen=True)
class Done:
    """A season that was run to its end, with the plan that says so."""

    toml: Path
    tasks: dict[str, int]

    @property
    def folder(self) -> Path:
        return self.toml.parent


def to_do(toml: Path) -> dict[str, int]:
    """Tasks to do of each stage, as `eo plan` tells them."""
    answer = CliRunner().invoke(app, ["plan", str(toml), "--block", str(BLOCK), "--json"])
    assert answer.exit_code == 0, answer.output
    return {stage: item["to_do"] for stage, item in json.loads(answer.stdout)["tasks"].items()}


@pytest.fixture(scope="module")
def done(twin: Twin, tmp_path_factory: pytest.TempPathFactory) -> Done:
    folder = tmp_path_factory.mktemp("season")
    shutil.copy(twin.folder / "2026/units.geojson", folder)
    for name in ("radar", "passes"):
        shutil.copytree(twin.products / "sentinel-1-rtc", folder / name)
    source = f'kind = "folder"\nlayout = "safe"\nroot = "{twin.products}"\nmax_cloud = 100'
    more = '[source.clouds]\nbuffer_m = 60\n\n[source.radar]\nroot = "radar"\n\n' + twin.mapping(folder)
    toml = twin.season(folder, source, start=START, end=END, region='units = "units.geojson"', more=more)
    toml.write_text(toml.read_text().replace('index = "NDVI"', 'index = "NDVI"\nindices = ["NDVI", "EVI"]'))
    shutil.copy(re.search(r'reference = "(.*)"', toml.read_text())[1], folder / "points.geojson")  # type: ignore[index]
    toml.write_text(re.sub(r'reference = ".*"', 'reference = "points.geojson"', toml.read_text()))
    before = to_do(toml)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("eo_pipeline.products.classify._SETTINGS", None)  # and back at the end
        quick_training()
        made, _ = run(toml, block=BLOCK)
    shutil.copytree(made, folder / "earlier")
    assert set(to_do(toml).values()) == {0}
    return Done(toml, before)


def line(old: str, new: str) -> Callable[[Path], None]:
    """Change the season file."""

    def change(toml: Path) -> None:
        text = toml.read_text()
        assert text.count(old) == 1, old
        toml.write_text(text.replace(old, new))

    return change


def touched(name: str) -> Callable[[Path], None]:
    """Add white space to a file beside the season file."""

    def change(toml: Path) -> None:
        path = toml.parent / name
        path.write_text(path.read_text() + "\n")

    return change


CHANGES: dict[str, tuple[Callable[[Path], None], dict[str, int | None]]] = {
    # what no pixel depends on
    "season.title": (line('title = "Drill"', 'title = "Another"'), {}),
    "season.simulated": (line("simulated = true", "simulated = false"), {}),
    "classes.zh": (line('zh = "苹果"', 'zh = "苹果园"'), {}),
    "classes.colour": (line('colour = "#882255"', 'colour = "#882256"'), {}),
    "area.confidence": (line("confidence = 0.95", "confidence = 0.9"), {}),
    "area.reference": (touched("points.geojson"), {}),
    "output.root": (line('root = "runs"', 'root = "runs/../runs"'), {}),
    # which scenes there are: a season without that of 26 May, in both tiles
    "source.max_cloud, none above": (line("max_cloud = 100", "max_cloud = 99"), {}),
    "source.max_cloud": (line("max_cloud = 100", "max_cloud = 20"), {"ingest": 6, **dict.fromkeys(SERIES)}),
    # what is clear in them
    "clouds.buffer_m": (
        line("buffer_m = 60", "buffer_m = 100"), dict.fromkeys(("mask", "ingest", *SERIES)),
    ),
    # seven of the nine dekads have a pass
    "radar.root": (line('root = "radar"', 'root = "passes"'), {"radar": 7 * 6}),
    # the map
    "classify.samples": (touched("samples.geojson"), dict.fromkeys(MAPPING)),
    "classify.features": (line('["B04", "B08", "NDVI"]', '["B04", "B08"]'), dict.fromkeys(MAPPING)),
    "classify.seed": (line("seed = 42", "seed = 43"), dict.fromkeys(MAPPING)),
    "classes.code": (line("code = 10\n", "code = 11\n"), dict.fromkeys(MAPPING[1:])),
    # tables and growth
    "region.units": (touched("units.geojson"), dict.fromkeys(("curves", "growth"))),
    "growth.indices": (
        line('["NDVI", "EVI"]', '["NDVI", "EVI", "NDWI"]'), dict.fromkeys(("index", "curves", "growth")),
    ),
    "growth.index": (line('index = "NDVI"', 'index = "EVI"'), {"growth": None}),
    "growth.baseline": (line('index = "NDVI"', 'index = "NDVI"\nbaseline = ["earlier"]'), {"growth": None}),
    "classes.crop": (line("#DDDDDD\"\ncrop = false", "#DDDDDD\"\ncrop = true"), {"growth": None}),
}  # fmt: skip


@pytest.mark.parametrize("key", CHANGES)
def test_a_change_repeats_the_stages_that_depend_on_it(done: Done, key: str) -> None:
    change, expected = CHANGES[key]
    kept = {path: (path.read_bytes(), path.stat()) for path in done.folder.glob("*.*") if path.is_file()}
    try:
        change(done.toml)
        found = to_do(done.toml)
    finally:
        for path, (content, status) in kept.items():
            path.write_bytes(content)
            os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    # None stands for all tasks of the stage
    wanted = {stage: expected.get(stage, 0) for stage in STAGES}
    assert found == {
        stage: done.tasks[stage] if number is None else number for stage, number in wanted.items()
    }
