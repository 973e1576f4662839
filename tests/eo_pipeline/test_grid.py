"""Blocks and steps."""

from __future__ import annotations

import itertools
from datetime import date, timedelta

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from eo_pipeline.grid import Grid, cut, dekads, native_steps


@settings(deadline=None)
@given(st.integers(1, 120), st.integers(1, 120), st.integers(4, 90))
def test_every_pixel_lies_in_exactly_one_block(width: int, height: int, size: int) -> None:
    grid = Grid("EPSG:32648", (10, 0, 0, 0, -10, 0), width, height)
    seen = np.zeros((height, width), dtype=int)
    ids = []
    for block in cut("t", grid, size=size):
        assert block.height <= size and block.width <= size
        seen[block.slices] += 1
        ids.append(block.id)
    assert (seen == 1).all()
    assert len(set(ids)) == len(ids)


def test_a_blocks_grid_lies_where_the_block_does() -> None:
    grid = Grid("EPSG:32648", (10, 0, 300_000, 0, -10, 3_900_000), 100, 80)
    block = list(cut("t", grid, size=32))[5]
    assert (block.row, block.col, block.height, block.width) == (32, 32, 32, 32)
    own = block.grid(grid)
    assert own.transform == (10, 0, 300_320, 0, -10, 3_899_680)
    assert own.shape == (32, 32)
    assert grid.bounds == (300_000, 3_899_200, 301_000, 3_900_000)


@settings(deadline=None)
@given(st.dates(date(2000, 1, 1), date(2099, 1, 1)), st.integers(0, 800))
def test_dekads_cover_each_day_of_the_season_once(start: date, length: int) -> None:
    end = start + timedelta(days=length)
    steps = dekads(start, end)
    for day in (start, end, start + timedelta(days=length // 2)):
        assert sum(step.holds(day) for step in steps) == 1
    for before, after in itertools.pairwise(steps):
        assert after.start - before.end == timedelta(days=1)
    assert all(step.start <= step.day <= step.end for step in steps)


def test_three_dekads_a_month() -> None:
    steps = dekads(date(2026, 1, 1), date(2026, 12, 31))
    assert len(steps) == 36
    assert [step.end.day for step in steps[3:6]] == [10, 20, 28]


def test_native_steps_are_sorted_and_single() -> None:
    days = [date(2026, 5, 2), date(2026, 4, 1), date(2026, 5, 2)]
    assert [step.start for step in native_steps(days)] == [date(2026, 4, 1), date(2026, 5, 2)]
