"""What the drills share: season files over the twin, `eo` as a process, digests of what came out."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import Any

from eo_pipeline.assemble import assemble
from eo_pipeline.engine import Engine, Progress
from eo_pipeline.plan import make_plan
from eo_pipeline.run import SeasonRun
from eo_pipeline.season import read_season

ROOT = Path(__file__).resolve().parents[2]
START, END = date(2026, 3, 21), date(2026, 9, 10)


@dataclass(frozen=True, slots=True)
class Twin:
    """The twin's folder, and its outline (west, south, east, north in degrees)."""

    folder: Path
    bbox: tuple[float, float, float, float]

    @property
    def products(self) -> Path:
        return self.folder / "archive"

    def names(self, start: date = START, end: date = END) -> list[str]:
        """Sentinel-2 products of a period."""
        first, last = f"{start:%Y%m%d}", f"{end:%Y%m%d}"
        return sorted(p.name for p in self.products.glob("S2*.SAFE") if first <= p.name[11:19] <= last)

    def take(self, folder: Path, names: Sequence[str] | None = None) -> Path:
        """A folder of (hard links to) products, to be damaged at will; change files by replacing them."""
        for name in names if names is not None else self.names():
            shutil.copytree(self.products / name, folder / name, copy_function=os.link)
        return folder

    def season(
        self, folder: Path, source: str, *, identity: str = "drill", start: date = START, end: date = END,
        region: str = "", more: str = "",
    ) -> Path:  # fmt: skip
        """A season file over the twin's ground; `source` are the lines of [source]."""
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / "season.toml"
        path.write_text(
            f"""[season]
id = "{identity}"
title = "Drill"
start = {start}
end = {end}
simulated = true

[region]
name = "piece"
{region or f"bbox = {json.dumps(self.bbox)}"}

[source]
{source}
{more}
[growth]
index = "NDVI"

[output]
root = "runs"
""",
            encoding="utf-8",
        )
        return path

    @property
    def units(self) -> str:
        """Line of [region] that names the twin's units."""
        return f'units = "{self.folder / "2026/units.geojson"}"'

    def mapping(self, folder: Path) -> str:
        """[[classes]], [classify] and [area] of the twin's own season file, with few features and folds.

        One orbit does not see the west of the piece and the other only through clouds: `folder` gets the
        samples of the eastern half.
        """
        own = self.folder / "2026"
        samples = json.loads((own / "samples.geojson").read_text(encoding="utf-8"))
        middle = (self.bbox[0] + self.bbox[2]) / 2
        samples["features"] = [f for f in samples["features"] if f["geometry"]["coordinates"][0] > middle]
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "samples.geojson").write_text(json.dumps(samples), encoding="utf-8")
        text = (own / "season.toml").read_text(encoding="utf-8")
        text = text[text.index("[[classes]]") : text.index("[growth]")]
        text = text.replace('"reference.geojson"', f'"{own}/reference.geojson"')
        for key, value in (("features", '["B04", "B08", "NDVI"]'), ("folds", "2"), ("group_km", "0")):
            text = re.sub(rf"(?m)^{key} = .*$", f"{key} = {value}", text)
        return text


def outline(folder: Path) -> tuple[float, float, float, float]:
    """West, south, east, north of a twin's units, in degrees."""
    outlines = json.loads((folder / "2026/units.geojson").read_text(encoding="utf-8"))
    points = [point for item in outlines["features"] for point in _points(item["geometry"]["coordinates"])]
    west, south = (min(point[axis] for point in points) for axis in (0, 1))
    east, north = (max(point[axis] for point in points) for axis in (0, 1))
    return west, south, east, north


def _points(nested: list[Any]) -> list[list[float]]:
    if isinstance(nested[0], int | float):
        return [nested]
    return [point for part in nested for point in _points(part)]


def replaced(path: Path, old: str, new: str) -> None:
    """Change a text file that may be a hard link: the other names keep the old text."""
    text = path.read_text(encoding="utf-8")
    assert text.count(old) > 0, f"{path} holds no {old!r}"
    path.unlink()
    path.write_text(text.replace(old, new), encoding="utf-8")


def run(
    toml: Path, *, block: int | None = None, out: Path | None = None, workers: int = 0
) -> tuple[Path, dict[str, Progress]]:
    """Run a season in this process; its folder, and the last that was told of each stage."""
    season = read_season(toml)
    if out is not None:
        season = replace(season, output_root=out)
    told: dict[str, Progress] = {}

    def tell(progress: Progress) -> None:
        told[progress.stage] = progress

    with Engine(workers=workers, on_progress=tell) as engine:
        job = SeasonRun(make_plan(season, block=block), engine)
        with job.alone():
            assemble(job)
    return job.plan.folder, told


def digests(folder: Path) -> dict[str, str]:
    """Digests of everything but run.json, the catalog and the report, which carry time and timings."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if (path.is_file() and path.suffix in (".tif", ".parquet")) or path.name == "accuracy.json"
    }


def contents(folder: Path) -> dict[str, str]:
    """Every text file of a run folder, without what must differ between two runs of the same season.

    That is the time the run took place (`created_at` in run.json, `created` in the catalog's items, the
    report's date), how long its stages took (`timings` in run.json, their sum in the report), size and digest
    of the files that tell of these, and run.json's digest of itself.
    """
    found = {}
    for path in sorted(folder.rglob("*")):
        if not path.is_file() or path.suffix in (".tif", ".parquet"):
            continue
        text = path.read_text(encoding="utf-8")
        name = path.relative_to(folder).as_posix()
        if name == "run.json":
            document = json.loads(text)
            document["timings"] = sorted(document["timings"])
            del document["created_at"], document["digest"]
            document["files"] = {
                file: entry if not file.endswith((".json", ".html")) or file == "accuracy.json" else None
                for file, entry in document["files"].items()
            }
            text = json.dumps(document, sort_keys=True)
        elif name == "report.html":
            text, dates = re.subn(r"(?<=生成于 )[\d-]{10}", "", text)
            text, times = re.subn(r"\d+ 秒", "", text)
            assert (dates, times) == (1, 1)
        elif name != "accuracy.json":
            text = re.sub(r'"created": "[^"]*"', "", text)
        found[name] = text
    return found


def whole_files(work: Path, data: Path) -> dict[str, str]:
    """Digests of what a run has made so far under final names: cube, masks, sums, and fetched files.

    A mask is named by the time of its scene's files too, which is left out of its name here.
    """
    found = {}
    for folder in (work / "cube", work / "mask", work / "curves", data / "sentinel-2-l2a"):
        for path in folder.rglob("*"):
            name = path.relative_to(folder.parent).as_posix()
            if "/." in name or ".jp2." in name or ".xml." in name or path.name == "updates.json":
                continue  # drafts and locks, and what says which steps are being written
            if path.is_file():
                name = re.sub(r"^(mask/.*/\d{8})-\w+", r"\1", name)
                found[name] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


def quick_training() -> None:
    """Train with few steps in this process: the drills are about bytes, not about the map's accuracy."""
    from eo_pipeline.products import classify
    from models.training import TrainingSettings

    classify._SETTINGS = TrainingSettings(epochs=1, min_steps=40)


def fetched(root: Path) -> dict[str, str]:
    """Digests of the files of whole products below [source] root, by path."""
    found = {}
    for mark in sorted((root / "sentinel-2-l2a").glob("*/*/.complete")):
        for file in json.loads(mark.read_text(encoding="utf-8"))["files"]:
            path = mark.parent / file["path"]
            found[path.relative_to(root).as_posix()] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


def leftovers(*folders: Path) -> list[str]:
    """Files that were begun and not ended."""
    return sorted(
        str(path)
        for folder in folders
        for path in folder.rglob("*")
        if ".partial" in path.name or path.suffix in (".tmp", ".zip")
    )


def environment(**more: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("EO_")}
    accounts = {f"EO_{name}_{what}": "demo" for name in ("CDSE", "DHUS") for what in ("USERNAME", "PASSWORD")}
    return kept | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"} | accounts | more


def eo(*arguments: Any, code: int = 0, **more: str) -> subprocess.CompletedProcess[str]:
    """The `eo` command as a process of its own; `more` are variables of its environment."""
    command = [sys.executable, "-m", "eo_pipeline.cli", *map(str, arguments)]
    done = subprocess.run(
        command, env=environment(**more), capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == code, f"{command}: {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done
