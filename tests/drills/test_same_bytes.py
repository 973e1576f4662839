"""Whatever the blocks, the workers and the hosts: the same rasters and tables, the same report.

The piece is a strip 520 pixels wide, so that blocks of 512 cut it: once images on one grid, once products of
two tiles that overlap, both with a crop map.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from dask_hosts import Cluster
from drilling import ROOT, Twin, contents, digests, leftovers, outline, quick_training
from seasons import make_season

from eo_pipeline.assemble import assemble
from eo_pipeline.engine import Engine
from eo_pipeline.plan import make_plan
from eo_pipeline.run import SeasonRun
from eo_pipeline.runlog import read_log
from eo_pipeline.season import read_season
from eo_pipeline.simulate import twin as simulator

# one process: what its fixtures make takes most of the time
pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("same_bytes")]

WIDTH = 520
START, END = date(2025, 9, 1), date(2025, 11, 20)
#: Blocks products are made of: of 2048 there are none, they are cut to 512; 187 divides neither side.
BLOCKS = {"stack": {2048: 2, 512: 2, 187: 3}, "safe": {2048: 6, 512: 6, 187: 15}}


@dataclass
class Engines:
    """One engine of a kind for all runs, started when the first needs it."""

    folder: Path
    stack: ExitStack
    known: dict[str, Engine] = field(default_factory=dict)
    cluster: Cluster | None = None

    def __getitem__(self, kind: str) -> Engine:
        if kind not in self.known:
            self.known[kind] = self.stack.enter_context(getattr(self, f"_{kind.replace(' ', '_')}")())
        return self.known[kind]

    def _one_worker(self) -> Engine:
        return Engine(workers=1)

    def _four_workers(self) -> Engine:
        return Engine(workers=4)

    def _one_host(self) -> Engine:
        self.cluster = Cluster(self.folder / "hosts", ROOT)
        self.stack.callback(self.cluster.close)
        self.cluster.worker("one")
        return Engine(scheduler=self.cluster.address, log=self.folder / "hosts")

    def _two_hosts(self) -> Engine:
        """The same cluster with a worker more."""
        engine = self["one host"]
        self.cluster.worker("two")
        engine._connect(1, 0).wait_for_workers(2, timeout=120)
        return engine


@pytest.fixture(scope="module")
def engines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engines]:
    with ExitStack() as stack, pytest.MonkeyPatch.context() as patch:
        patch.setattr("eo_pipeline.products.classify._SETTINGS", None)  # and back at the end
        quick_training()
        yield Engines(tmp_path_factory.mktemp("engines"), stack)


@pytest.fixture(scope="module")
def season(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """The kind of a season, and its file."""
    folder = tmp_path_factory.mktemp(request.param)
    if request.param == "stack":
        return "stack", make_season(folder, size=90, width=WIDTH, dates=8, classify=True).toml
    options = simulator.TwinOptions(size_km=WIDTH / 100, seasons=1, format="safe", every=60)
    simulator.simulate(folder / "twin", options)
    twin = Twin(folder / "twin", outline(folder / "twin"))
    more = twin.mapping(folder).replace(f"{twin.folder}/2026/reference", "reference")
    for name, source in (("samples", folder), ("reference", twin.folder / "2026")):
        points = json.loads((source / f"{name}.geojson").read_text(encoding="utf-8"))
        points["features"] = some(points["features"])
        (folder / f"{name}.geojson").write_text(json.dumps(points), encoding="utf-8")
    source = f'kind = "folder"\nlayout = "safe"\nroot = "{twin.products}"'
    return "safe", twin.season(folder, source, start=START, end=END, region=twin.units, more=more)


def some(features: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """At most eight points of a class: training is not what is looked at here."""
    found: list[dict[str, Any]] = []
    for item in features:
        label = item["properties"]["label"]
        if sum(other["properties"]["label"] == label for other in found) < 8:
            found.append(item)
    return found


def run(season: tuple[str, Path], engine: Engine, block: int, out: Path) -> Path:
    """A run by an engine; its folder."""
    kind, toml = season
    job = SeasonRun(make_plan(replace(read_season(toml), output_root=out), block=block), engine)
    assert job.plan.blocks == BLOCKS[kind][block]
    with job.alone():
        assemble(job)
    return job.plan.folder


@pytest.fixture(scope="module")
def whole(season: tuple[str, Path], engines: Engines, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run in one process, of whole blocks."""
    return run(season, Engine(workers=0), 2048, tmp_path_factory.mktemp("whole"))


@pytest.mark.parametrize(
    ("season", "kind", "block"),
    [
        ("stack", "one worker", 512),
        ("stack", "four workers", 2048),
        ("stack", "four workers", 187),
        ("stack", "one host", 512),
        ("stack", "two hosts", 187),
        ("safe", "one worker", 512),
        ("safe", "four workers", 187),
        ("safe", "two hosts", 512),
    ],
    indirect=["season"],
    scope="module",
)
def test_blocks_workers_and_hosts_give_the_same(
    season: tuple[str, Path], whole: Path, engines: Engines, tmp_path: Path, kind: str, block: int
) -> None:
    other = run(season, engines[kind], block, tmp_path)
    tables = json.loads((whole / "run.json").read_text(encoding="utf-8"))["files"]
    assert set(digests(other)) == {name for name in tables if not name.endswith((".json", ".html"))} | {
        "accuracy.json"
    }
    assert digests(other) == digests(whole)
    assert contents(other) == contents(whole)
    assert leftovers(tmp_path) == []
    if kind == "two hosts":
        done = [event["worker"] for event in read_log(engines.folder / "hosts") if event["event"] == "task"]
        assert len(set(done)) == 2
