"""What `eo plan` says a run will take."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from seasons import make_season

from eo_pipeline.engine import Engine
from eo_pipeline.estimate import stage_seconds
from eo_pipeline.grid import Grid, cut
from eo_pipeline.plan import Plan, make_plan
from eo_pipeline.run import SeasonRun
from eo_pipeline.season import read_season
from eo_pipeline.stages import Stages


def seconds(plan: Plan, workers: int = 1) -> dict[str, float]:
    left = {stage: tasks for stage, (tasks, _) in Stages(plan).left().items()}
    return stage_seconds(plan, left, workers)


def larger(plan: Plan, side: int, names: tuple[str, ...], suffix: str = "") -> Plan:
    """The same scenes over larger tiles, of which nothing is done."""
    first = plan.tiles[0]
    grid = Grid(first.tile.grid.crs, first.tile.grid.transform, side, side)
    scenes = tuple(
        replace(scene, assets=tuple(replace(a, path=a.path + suffix) for a in scene.assets))
        for scene in first.tile.scenes
    )
    tiles = tuple(
        replace(
            first,
            tile=replace(first.tile, name=name, grid=grid, scenes=scenes),
            layout=replace(first.layout, tile=name, grid=grid),
            blocks=tuple(cut(name, grid, size=2048)),
            ingest_blocks=tuple(cut(name, grid, size=2048)),
        )
        for name in names
    )
    return replace(plan, tiles=tiles)


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    season = make_season(tmp_path_factory.mktemp("season"))
    return make_plan(read_season(season.toml))


def test_it_grows_with_pixels_and_tiles_and_shrinks_with_workers(plan: Plan) -> None:
    one = seconds(larger(plan, 8192, ("a",)))
    assert min(one.values()) > 0
    for name, value in seconds(larger(plan, 16384, ("a",))).items():
        assert value == pytest.approx(4 * one[name], rel=1e-6), name
    for name, value in seconds(larger(plan, 8192, ("a", "b", "c"))).items():
        assert value == pytest.approx(3 * one[name], rel=1e-6), name
    for name, value in seconds(larger(plan, 8192, ("a",)), workers=4).items():
        # the run folder is written by one process
        assert value == pytest.approx(one[name] / (1 if name == "publish" else 4), rel=1e-6), name


def test_jpeg_2000_takes_longer_to_read(plan: Plan) -> None:
    plain, packed = seconds(larger(plan, 8192, ("a",))), seconds(larger(plan, 8192, ("a",), ".jp2"))
    assert packed["ingest"] > 5 * plain["ingest"]
    assert packed["screen"] == plain["screen"]


def test_what_a_neighbour_owns_costs_next_to_nothing(plan: Plan) -> None:
    whole = larger(plan, 8192, ("a",))
    tile = replace(whole.tiles[0], tile=replace(whole.tiles[0].tile, owned=(0, 0, 8192, 2048)))
    part = seconds(replace(whole, tiles=(tile,)))
    for name, value in seconds(whole).items():
        if name != "publish":
            assert part[name] < 0.5 * value, name


def test_what_is_done_is_not_told_again(tmp_path: Path) -> None:
    season = make_season(tmp_path)
    job = SeasonRun(make_plan(read_season(season.toml)), Engine(workers=0))
    before = seconds(job.plan)
    with job.alone():
        _ = job.verdicts
    after = seconds(job.plan)
    assert set(before) - set(after) == {"ingest", "screen"}
    assert after["index"] == before["index"]
