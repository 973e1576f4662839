"""One value a pixel from the views of a step: the median, and what views of one step say of each other."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from eo_pipeline.cube.composite import NODATA, Views, compose, median_of_numbers, sorting_network

BANDS = ("B02", "B03", "B04", "B08", "B11", "B12")
BARE = np.array([1000, 1400, 1800, 2400, 3200, 2800])
GREEN = np.array([330, 560, 450, 4000, 1500, 800])
#: Share of light left in shadow: sky light is blue.
SHADOW = np.array([0.55, 0.45, 0.40, 0.35, 0.28, 0.25])
numbers_or_none = st.one_of(st.just(NODATA), st.integers(-32767, 32767))


def numpys(numbers: np.ndarray) -> np.ndarray:
    values = np.where(numbers == NODATA, np.nan, numbers.astype(float))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        middle = np.rint(np.nanmedian(values, axis=0))
    return np.where(np.isnan(middle), NODATA, middle).astype(np.int16)


# ---- median ----
@pytest.mark.parametrize("count", [*range(1, 41), 64, 100])
def test_the_network_sorts(count: int) -> None:
    values = np.random.default_rng(count).integers(0, 20, (count, 200))
    ordered = values.copy()
    for low, high in sorting_network(count):
        assert 0 <= low < high < count
        ordered[low], ordered[high] = (
            np.minimum(ordered[low], ordered[high]),
            np.maximum(ordered[low], ordered[high]),
        )
    np.testing.assert_array_equal(ordered, np.sort(values, axis=0))


@settings(deadline=None, max_examples=150)
@given(arrays(np.int16, st.tuples(st.integers(1, 9), st.integers(1, 7)), elements=numbers_or_none))
def test_median_is_numpys(numbers: np.ndarray) -> None:
    np.testing.assert_array_equal(median_of_numbers(numbers), numpys(numbers))


@settings(deadline=None, max_examples=25)
@given(st.integers(1, 40), st.integers(1, 700), st.integers(0, 2**32 - 1), st.floats(0, 1))
def test_median_of_long_rows_under_any_mask_is_numpys(count: int, width: int, seed: int, gaps: float) -> None:
    rng = np.random.default_rng(seed)
    numbers = rng.integers(-32767, 32768, (count, 2, width)).astype(np.int16)
    numbers[rng.random(numbers.shape) < gaps] = NODATA
    np.testing.assert_array_equal(median_of_numbers(numbers), numpys(numbers))


# ---- the whole composite against plain numpy ----
def plainly(numbers: np.ndarray, codes: np.ndarray, days: list[int]) -> tuple[np.ndarray, ...]:
    """The rules as sentences, pixel by pixel."""
    scenes, bands, height, width = numbers.shape
    out = np.full((bands, height, width), NODATA, dtype=np.int16)
    count, seen = np.zeros((height, width), dtype=np.uint8), np.full((height, width), -1, dtype=np.int16)
    for y, x in np.ndindex(height, width):
        views = numbers[:, :, y, x].astype(int)
        left = []
        for i in range(scenes):
            dark = views[i, 3] < 1500 and views[i, 4] < 1200 and views[i, 5] < 1200
            if (views[i] != NODATA).all() and (codes[i, y, x] == 1 or (codes[i, y, x] == 2 and not dark)):
                left.append(i)

        def is_cloud(i: int, j: int, views: np.ndarray = views) -> bool:
            rise = views[i, :3] - views[j, :3]
            return bool((rise >= 600).all() and rise[0] >= 0.75 * rise[2])

        def is_shadow(i: int, j: int, views: np.ndarray = views) -> bool:
            share = np.array([80, 80, 80, 62, 62, 62])
            return bool((views[i] * 100 < views[j] * share).all())

        for test in (is_cloud, is_shadow):
            left = [i for i in left if not any(test(i, j) for j in left if j != i)]
        count[y, x] = len(left)
        if left:
            out[:, y, x] = np.rint(np.median(views[left], axis=0))
            seen[y, x] = max(days[i] for i in left)
    return out, count, seen


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 2**32 - 1), st.integers(1, 5), st.integers(1, 3), st.integers(1, 300))
def test_a_composite_is_what_the_rules_say(seed: int, scenes: int, height: int, width: int) -> None:
    rng = np.random.default_rng(seed)
    ground = np.where(rng.random((1, height, width)) < 0.5, BARE[:, None, None], GREEN[:, None, None])
    numbers = ground[None] + rng.normal(0, 40, (scenes, 6, height, width))
    shaded = rng.random((scenes, 1, height, width)) < 0.25
    numbers = np.where(shaded, numbers * SHADOW[:, None, None], numbers)
    cloudy = rng.random((scenes, 1, height, width)) < 0.25
    numbers = np.where(cloudy, numbers * 0.6 + 3000, numbers)
    numbers = np.rint(numbers).astype(np.int16)
    numbers[rng.random(numbers.shape) < 0.01] = NODATA
    codes = rng.integers(0, 4, (scenes, height, width)).astype(np.uint8)
    days = sorted(rng.integers(0, 10, scenes).tolist())
    found = compose(Views.of(numbers, BANDS), codes, days)
    reflectance, count, seen = plainly(numbers, codes, days)
    np.testing.assert_array_equal(found.clear_count, count)
    np.testing.assert_array_equal(found.reflectance, reflectance)
    np.testing.assert_array_equal(found.seen_day, seen)
    assert sum(found.usable) == count.sum()


# ---- what views of one step say of each other ----
def two(first: np.ndarray, second: np.ndarray) -> list[int]:
    numbers = np.rint(np.stack([first, second])).astype(np.int16)[:, :, None, None]
    found = compose(Views.of(numbers, BANDS), np.ones((2, 1, 1), dtype=np.uint8), [1, 6])
    assert found.clear_count[0, 0] == sum(found.usable) == 2 - sum(found.dropped)
    return [n for n, lost in enumerate(found.dropped) if lost]


@pytest.mark.parametrize("ground", [BARE, GREEN])
def test_cloud_and_shadow_lose_against_the_clear_view(ground: np.ndarray) -> None:
    assert two(ground, ground * 0.5 + 3000) == [1]
    assert two(ground * 0.5 + 3000, ground) == [0]
    assert two(ground * SHADOW, ground) == [0]
    # of cloud and shadow the cloud goes, and what is left is left
    assert two(ground * SHADOW, ground * 0.5 + 3000) == [1]


def test_changes_of_the_ground_are_no_outliers() -> None:
    assert two(BARE, BARE * 0.68) == []  # rain
    assert two(GREEN, np.array([600, 900, 1000, 2200, 2400, 1600])) == []  # mown
    assert two(BARE, BARE * 1.2) == []  # drying
    assert two(GREEN, np.array([870, 1190, 1560, 2600, 2800, 1900])) == []  # ripened, straw-coloured


def test_indices_are_not_held_against_each_other() -> None:
    numbers = np.array([[100], [9000]], dtype=np.int16).reshape(2, 1, 1, 1)
    found = compose(Views.of(numbers, ("NDVI",)), np.ones((2, 1, 1), dtype=np.uint8), [0, 1])
    assert found.dropped == (0, 0) and found.reflectance.item() == 4550


@pytest.mark.parametrize(("values", "kept"), [(BARE * SHADOW, 0), (BARE, 1), (GREEN, 1), (GREEN * SHADOW, 0)])
def test_a_suspect_view_stays_unless_it_is_dark(values: np.ndarray, kept: int) -> None:
    numbers = np.rint(values).astype(np.int16)[None, :, None, None]
    found = compose(Views.of(numbers, BANDS), np.full((1, 1, 1), 2, dtype=np.uint8), [4])
    assert found.usable == (kept,) and found.seen_day.item() == (4 if kept else -1)


def test_without_infrared_a_suspect_view_cannot_be_cleared() -> None:
    numbers = np.full((1, 1, 1, 1), 3000, dtype=np.int16)
    found = compose(Views.of(numbers, ("B02",)), np.full((1, 1, 1), 2, dtype=np.uint8), [0])
    assert found.reflectance.item() == NODATA and found.usable == (0,)


def test_no_scene_is_an_empty_step() -> None:
    found = compose(
        Views.of(np.empty((0, 6, 2, 3), dtype=np.int16), BANDS), np.empty((0, 2, 3), dtype=np.uint8), []
    )
    assert (
        (found.reflectance == NODATA).all() and (found.seen_day == -1).all() and not found.clear_count.any()
    )


def test_shapes_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="give each scene a mask and a day"):
        compose(
            Views.of(np.zeros((1, 6, 2, 2), dtype=np.int16), BANDS), np.zeros((1, 2, 2), dtype=np.uint8), []
        )
