"""The cube's arithmetic: medians, ages, int16, and blocks of the store."""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from eo_pipeline.cube.composite import age_of_seen
from eo_pipeline.cube.indices import feature_series, missing_for, within_range
from eo_pipeline.cube.store import Layout, TileStore, decode, encode
from eo_pipeline.grid import Grid, TimeStep, cut, dekads


@given(arrays(np.float32, 20, elements=st.floats(-3.25, 3.25, width=32)))
def test_int16_holds_values_to_half_of_a_ten_thousandth(values: np.ndarray) -> None:
    assert np.abs(decode(encode(values)) - values).max() <= 0.5e-4 + 1e-6


def test_int16_keeps_nan_and_cuts_what_is_beyond() -> None:
    numbers = encode(np.array([np.nan, 9.0, -9.0, 0.0], dtype=np.float32))
    assert numbers.tolist() == [-32768, 32767, -32767, 0]
    assert np.isnan(decode(numbers)[0])


def test_age_counts_days_since_the_last_clear_view() -> None:
    steps = dekads(date(2026, 4, 1), date(2026, 4, 30))
    seen = np.full((3, 1, 3), -1, dtype=np.int16)
    seen[0, 0, 0], seen[1, 0, :2] = 3, 7  # the 4th and the 18th of April
    seen[2, 0, 1] = 5
    usable = seen >= 0
    usable[2, 0, 1] = False  # seen on the 26th, and not believed
    ages = age_of_seen(seen, usable, steps)
    assert ages[:, 0, 0].tolist() == [6, 2, 12]
    assert ages[:, 0, 1].tolist() == [-1, 2, 12]
    assert ages[:, 0, 2].tolist() == [-1, -1, -1]


def test_indices() -> None:
    values = np.array([[[0.1], [0.5]]], dtype=np.float32)  # (step, band, pixel): B04, B08
    series = feature_series(values, ("B04", "B08"), ("NDVI", "B04"))
    assert series.shape == (1, 2, 1)
    np.testing.assert_allclose(series[0, :, 0], [0.4 / 0.6, 0.1], rtol=1e-6)
    assert missing_for("EVI", ("B04", "B08")) == "EVI needs B02"
    assert "neither a band nor a known index" in missing_for("NDXX", ("B04",))


def test_what_physics_does_not_allow_is_no_observation() -> None:
    values = np.array([-1.6, -1.0, 0.3, 1.2], dtype=np.float32)
    assert np.isnan(within_range("EVI", values)).tolist() == [True, False, False, True]
    assert np.isnan(within_range("B04", values)).tolist() == [False] * 4
    # an index of dark water: the sum of the bands is 0 or less
    dark = np.array([[[0.0], [0.0]], [[0.02], [-0.01]]], dtype=np.float32)
    assert np.isnan(feature_series(dark, ("B04", "B08"), ("NDVI",))).all()


def layout(block: int) -> Layout:
    grid = Grid("EPSG:32648", (10, 0, 0, 0, -10, 0), 50, 33)
    steps = tuple(TimeStep(d, d) for d in (date(2026, 4, 1) + timedelta(days=5 * i) for i in range(3)))
    return Layout("t", grid, ("B04", "B08"), steps, block)


def test_blocks_of_any_size_hold_the_same_array(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    whole = rng.integers(-1000, 10_000, (3, 2, 33, 50)).astype(np.int16)
    for size in (7, 16, 64):
        item = layout(size)
        store = TileStore(tmp_path / f"{size}.zarr")
        assert not store.matches(item)
        store.create(item)
        for block in cut("t", item.grid, size=size):
            rows, cols = block.slices
            store.write("reflectance", block, whole[:, :, rows, cols])
        again = TileStore(tmp_path / f"{size}.zarr")
        assert again.matches(item)
        assert not again.matches(layout(size + 1))
        np.testing.assert_array_equal(again.read("reflectance"), whole)
        np.testing.assert_array_equal(again.read("reflectance", block), whole[:, :, rows, cols])
        assert (again.read("age_days") == -1).all()
