"""An observation that a data strip's end splits into two products: both go into the cube, once each."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from test_scene_source import season_of
from tiny_safe import REFLECTANCE, TinySafe

from eo_pipeline.cube.store import TileStore
from eo_pipeline.engine import Engine
from eo_pipeline.plan import Plan, make_plan
from eo_pipeline.run import SeasonRun
from eo_pipeline.season import Season

FIRST, SECOND = "20260601T034520", "20260601T034809"
#: Row of 10 m where the first strip ends; the second begins 32 rows above it.
END, BEGIN = 144, 112


@dataclass
class Half(TinySafe):
    """A part of an observation: what lies outside `rows` was not seen."""

    strip: str = FIRST
    rows: tuple[int, int] = (0, END)

    def numbers(self, band: str) -> NDArray[np.uint16]:
        found = super().numbers(band)
        zoom = self.size // len(found)
        outside = np.ones(len(found), dtype=bool)
        outside[self.rows[0] // zoom : self.rows[1] // zoom] = False
        found[outside] = 0
        return found

    def product_xml(self) -> str:
        name = f"S2A_OPER_MSI_L2A_DS_2APS_20260601T060000_S{self.strip}_N05.10"
        listed = f'<Granule datastripIdentifier="{name}" granuleIdentifier="x"/>'
        north, south = (35.7 - 0.1 * row / self.size for row in self.rows)
        outline = f"{north} 106.1 {north} 106.2 {south} 106.2 {south} 106.1 {north} 106.1 "
        told = super().product_xml()
        told = told.replace("</Product_Info>", f"<Granule_List>{listed}</Granule_List></Product_Info>")
        return re.sub("<EXT_POS_LIST>.*?</EXT_POS_LIST>", f"<EXT_POS_LIST>{outline}</EXT_POS_LIST>", told)


def halves(**more: object) -> tuple[Half, Half]:
    first = Half(strip=FIRST, rows=(16, END), seed=1, **more)  # type: ignore[arg-type]
    second = Half(
        strip=SECOND, rows=(BEGIN, 256), seed=2, made="20260601T061500", **more  # type: ignore[arg-type]
    )  # fmt: skip
    return first, second


def cube_of(season: Season) -> tuple[TileStore, Plan]:
    with Engine(workers=0) as engine:
        job = SeasonRun(make_plan(season), engine)
        with job.alone():
            _ = job.cube
    return TileStore(job.stages.store(job.plan.tiles[0])), job.plan


def test_both_halves_are_composed_and_where_both_saw_it_counts_two_views(tmp_path: Path) -> None:
    season = season_of(tmp_path)
    for half in halves():
        half.write(season.source.root)
    store, plan = cube_of(season)
    (tile,) = plan.tiles
    assert [scene.name for scene in tile.tile.scenes] == [half.name for half in halves()]
    assert plan.skipped == ()
    (step,) = [n for n, step in enumerate(tile.layout.steps) if tile.scenes_of(step)]
    assert len(tile.scenes_of(tile.layout.steps[step])) == 2
    top = round((3_950_020.0 - tile.tile.grid.bounds[3]) / 10)  # rows of the product above the cube
    count = store.read("clear_count")[step]
    rows = np.arange(len(count)) + top
    inside = rows < 256
    upper, lower = rows < BEGIN, (rows >= END) & inside
    both = (rows >= BEGIN) & (rows < END)
    assert upper.any() and lower.any() and both.any()
    assert (count[upper & (rows >= 16)] == 1).all() and (count[lower] == 1).all() and (count[both] == 2).all()
    red = store.read("reflectance")[step, list(plan.bands).index("B04")] / 10_000
    for part in (upper & (rows >= 16), both, lower):
        assert np.mean(red[part]) == pytest.approx(REFLECTANCE["B04"], abs=1e-3)


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_the_half_that_comes_later_costs_its_dekad_and_gives_the_same_cube(
    tmp_path: Path, order: tuple[int, int]
) -> None:
    whole = season_of(tmp_path)
    for half in halves():
        half.write(whole.source.root)
    expected = cube_of(whole)[0].read("reflectance")
    (tmp_path / "b").mkdir()
    season = season_of(tmp_path / "b")
    for number in order:
        halves()[number].write(season.source.root)
        store, _ = cube_of(season)
    np.testing.assert_array_equal(store.read("reflectance"), expected)


def test_a_newer_processing_of_one_half_takes_its_place_alone(tmp_path: Path) -> None:
    season = season_of(tmp_path)
    old = halves(baseline="05.09")
    for half in old:
        half.write(season.source.root)
    newer = halves()[1]
    newer.write(season.source.root)
    _, plan = cube_of(season)
    assert {scene.name for scene in plan.tiles[0].tile.scenes} == {old[0].name, newer.name}
    (left,) = plan.skipped
    assert left.name == old[1].name and newer.name in left.reason
