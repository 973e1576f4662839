"""Gap filling: values between clear views, silence over long gaps, and the task on a real store."""

from __future__ import annotations

from datetime import date, timedelta
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from eo_pipeline.cube.gaps import FILLED, GapRule, fill_block, fill_gaps, reach, require_filled
from eo_pipeline.cube.series import smooth
from eo_pipeline.cube.store import NODATA, Layout, TileStore, encode
from eo_pipeline.errors import CubeError
from eo_pipeline.grid import Grid, TimeStep, cut

DATES = [date(2026, 4, 5) + timedelta(days=10 * i) for i in range(12)]
NUMBERS = arrays(
    np.int16,
    st.tuples(st.just(12), st.integers(1, 7)),
    elements=st.one_of(st.just(NODATA), st.integers(-500, 9000)),
)


def by_hand(column: np.ndarray, max_gap: int) -> np.ndarray:
    out = column.astype(float)
    seen = np.flatnonzero(column != NODATA)
    for a, b in pairwise(seen):
        if (DATES[b] - DATES[a]).days <= max_gap:
            out[a : b + 1] = np.rint(np.interp(np.arange(a, b + 1), [a, b], [column[a], column[b]]))
    return out


@settings(deadline=None, max_examples=40)
@given(NUMBERS, st.sampled_from([20, 40, 90]))
def test_linear_is_numpys_and_never_crosses_a_long_gap(numbers: np.ndarray, max_gap: int) -> None:
    found = fill_gaps(numbers, DATES, rule=GapRule(max_gap=max_gap))
    expected = np.stack([by_hand(column, max_gap) for column in numbers.T], axis=1)
    assert np.abs(found - expected).max() <= 1  # a half may go either way
    np.testing.assert_array_equal(found == NODATA, expected == NODATA)
    values = np.where(numbers == NODATA, np.nan, numbers / 1e4).astype(np.float32)
    floats = fill_gaps(values, DATES, rule=GapRule(max_gap=max_gap))
    np.testing.assert_array_equal(np.isnan(floats), found == NODATA)
    np.testing.assert_allclose(floats[found != NODATA], found[found != NODATA] / 1e4, atol=6e-5)


@settings(deadline=None, max_examples=25)
@given(NUMBERS, st.sampled_from(["linear", "whittaker"]))
def test_what_was_seen_stays_and_filling_twice_is_filling_once(numbers: np.ndarray, method: str) -> None:
    rule = GapRule(method=method, max_gap=200)  # type: ignore[arg-type]
    once = fill_gaps(numbers, DATES, rule=rule)
    seen = numbers != NODATA
    np.testing.assert_array_equal(once[seen], numbers[seen])
    if method == "linear":
        np.testing.assert_array_equal(fill_gaps(once, DATES, rule=rule), once)


def test_smoothing_uses_the_robust_curve_and_leaves_long_gaps_open() -> None:
    days = np.arange(12)
    values = (0.2 + 0.5 * np.exp(-(((days - 6) / 3) ** 2))).astype(np.float32)[:, None].repeat(3, axis=1)
    values[4, 0] = np.nan
    values[5, 1] = 0.05  # a cloud's shadow that no mask caught
    values[3:9, 2] = np.nan  # 60 + 10 days from view to view
    curve = smooth(values, DATES)
    found = fill_gaps(values, DATES, rule=GapRule(method="smooth", max_gap=60))
    np.testing.assert_array_equal(found[:, :2], curve[:, :2])
    assert found[5, 1] > 0.4
    assert np.isnan(found[3:9, 2]).all() and np.isfinite(found[[0, 1, 2, 9, 10, 11], 2]).all()
    numbers = fill_gaps(encode(values), DATES, rule=GapRule(method="smooth", max_gap=60))
    np.testing.assert_allclose(numbers[:, :2] / 1e4, curve[:, :2], atol=2e-4)


def test_edges_are_held_only_so_long() -> None:
    seen = np.zeros((12, 1), dtype=bool)
    seen[[4, 5]] = True
    assert np.flatnonzero(reach(seen, DATES, max_gap=60)[:, 0]).tolist() == [4, 5]
    assert np.flatnonzero(reach(seen, DATES, max_gap=60, hold=20)[:, 0]).tolist() == [2, 3, 4, 5, 6, 7]
    numbers = np.full((12, 1), NODATA, dtype=np.int16)
    numbers[4], numbers[5] = 100, 200
    filled = fill_gaps(numbers, DATES, rule=GapRule(hold=20))[:, 0]
    assert filled.tolist() == [NODATA] * 2 + [100] * 3 + [200] * 3 + [NODATA] * 4


def test_a_column_with_one_view_keeps_it() -> None:
    numbers = np.full((12, 2), NODATA, dtype=np.int16)
    numbers[3, 0] = 1234
    for method in ("linear", "whittaker", "smooth"):
        found = fill_gaps(numbers, DATES, rule=GapRule(method=method))  # type: ignore[arg-type]
        np.testing.assert_array_equal(found, numbers)


def test_bad_input_is_refused() -> None:
    with pytest.raises(CubeError, match="accepted are linear, whittaker, smooth"):
        GapRule(method="spline")  # type: ignore[arg-type]
    with pytest.raises(CubeError, match="max_gap 0"):
        GapRule(max_gap=0)
    with pytest.raises(ValueError, match="one row a date"):
        fill_gaps(np.zeros((3, 2), dtype=np.int16), DATES)
    with pytest.raises(ValueError, match="ascend"):
        fill_gaps(np.zeros((12, 2), dtype=np.int16), DATES[::-1])
    with pytest.raises(ValueError, match="float64"):
        fill_gaps(np.zeros((12, 2)), DATES)


@pytest.mark.parametrize("size", [64, 16, 23])
def test_the_task_fills_what_is_believed(tmp_path: Path, size: int) -> None:
    rng = np.random.default_rng(3)
    grid = Grid("EPSG:32648", (10, 0, 0, 0, -10, 0), 40, 33)
    layout = Layout("t", grid, ("B04", "B08"), tuple(TimeStep(d, d) for d in DATES), 64, size)
    tile = TileStore(tmp_path / "t.zarr")
    tile.create(layout)
    require_filled(tile, layout)
    numbers = rng.integers(100, 5000, (12, 2, 33, 40)).astype(np.int16)
    usable = rng.random((12, 33, 40)) < 0.6
    kept = [True] * 12
    kept[7] = False
    for piece in cut("t", grid, size=64):
        rows, cols = piece.slices
        for step in range(12):
            tile.write("reflectance", piece, numbers[step][:, rows, cols], step=step)
    for piece in cut("t", grid, size=size):
        rows, cols = piece.slices
        tile.write("usable", piece, usable[:, rows, cols].astype(np.uint8))
    results = [
        fill_block(block=piece, store=tile.path, bands=layout.bands, dates=layout.dates, kept=kept)
        for piece in cut("t", grid, size=size)
    ]
    believed = usable & np.array(kept)[:, None, None]
    masked = np.where(believed[:, None], numbers, np.int16(NODATA))
    expected = fill_gaps(masked.reshape(12, -1), DATES).reshape(masked.shape)
    np.testing.assert_array_equal(TileStore(tile.path).read(FILLED), expected)
    assert sum(r["seen"] for r in results) == 2 * believed.sum()
    assert sum(r["left"] for r in results) == (expected == NODATA).sum()
    assert sum(r["filled"] for r in results) == ((expected != NODATA) & (masked == NODATA)).sum() > 0
