"""Drawing samples: chances, allocation, repeatability, and the refusal of what is no probability sample."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eo_pipeline.errors import NotAProbabilitySampleError, SampleError
from eo_pipeline.grid import Grid
from eo_pipeline.products.sampling import (
    allocate,
    draw,
    near_crops,
    require_probability_sample,
    sample_size,
)

GRID = Grid("EPSG:32648", (10, 0, 531_000, 0, -10, 3_950_000), 40, 30)
MAP = np.where(np.arange(1200).reshape(30, 40) % 10 < 7, 1, 2).astype(np.uint8)
MAP[:5] = 0


@given(
    st.lists(st.integers(1, 5000), min_size=1, max_size=8),
    st.integers(1, 800),
    st.integers(0, 40),
    st.sampled_from(["proportional", "equal", "neyman"]),
)
@settings(max_examples=200)
def test_allocation_uses_all_points_and_keeps_its_limits(
    population: list[int], n: int, least: int, rule: str
) -> None:
    minimum = sum(min(p, least) for p in population)
    if n > sum(population) or minimum > n:
        with pytest.raises(SampleError):
            allocate(
                population, n, allocation=rule, min_per_class=least, user_accuracy=[0.9] * len(population)
            )
        return
    got = allocate(population, n, allocation=rule, min_per_class=least, user_accuracy=[0.9] * len(population))
    assert sum(got) == n
    assert all(min(p, least) <= g <= p for g, p in zip(got, population, strict=True))


def test_the_three_rules_by_hand() -> None:
    population = (9000, 1000)
    assert allocate(population, 100, allocation="proportional", min_per_class=0) == (90, 10)
    assert allocate(population, 100, allocation="equal", min_per_class=0) == (50, 50)
    # Standard deviations 0.3 and 0.5: 9000 * 0.3 to 1000 * 0.5.
    got = allocate(population, 100, allocation="neyman", min_per_class=0, user_accuracy=[0.9, 0.5])
    assert got == (84, 16)
    assert allocate(population, 100, min_per_class=30) == (66, 34)


def test_sample_size_of_the_paper() -> None:
    assert sample_size([0.02, 0.015, 0.32, 0.645], [0.7, 0.6, 0.9, 0.95], target_se=0.01) == 641


def test_a_draw_is_repeatable_inside_its_strata_and_without_doubles() -> None:
    first, again, other = draw(MAP, 120, seed=1), draw(MAP, 120, seed=1), draw(MAP, 120, seed=2)
    np.testing.assert_array_equal(first.row, again.row)
    assert first.frame_hash == again.frame_hash == other.frame_hash
    assert not np.array_equal(first.row, other.row)
    np.testing.assert_array_equal(MAP[first.row, first.col], first.stratum)
    assert len({*zip(first.row.tolist(), first.col.tolist(), strict=True)}) == 120
    assert first.strata == (1, 2) and sum(first.allocated) == 120
    assert first.inclusion_probability[2] == first.allocated[1] / first.population[1]


def test_another_map_is_another_frame() -> None:
    changed = MAP.copy()
    changed[10, 10] = 2 if changed[10, 10] == 1 else 1
    assert draw(MAP, 80).frame_hash != draw(changed, 80).frame_hash
    assert draw(MAP, 80, grid=GRID).frame_hash != draw(MAP, 80).frame_hash


def test_every_pixel_of_a_stratum_has_the_same_chance() -> None:
    small = np.array([[1, 1, 1, 1, 2, 2]], dtype=np.uint8)
    hits = np.zeros(6)
    for seed in range(3000):
        sample = draw(small, 3, allocation="equal", min_per_class=0, seed=seed)
        np.add.at(hits, sample.col, 1)
    chance = draw(small, 3, allocation="equal", min_per_class=0).inclusion_probability
    expected = np.array([chance[1]] * 4 + [chance[2]] * 2)
    np.testing.assert_allclose(hits / 3000, expected, atol=0.035)


def test_an_empty_map_is_refused() -> None:
    with pytest.raises(SampleError, match="nothing to draw from"):
        draw(np.zeros((3, 3), np.uint8), 2)


@pytest.mark.parametrize("design", ["convenience", "purposive", "", None, "training"])
def test_other_samples_are_refused(design: str | None) -> None:
    with pytest.raises(NotAProbabilitySampleError, match="stratified_random"):
        require_probability_sample(design)


def test_probability_designs_pass() -> None:
    assert require_probability_sample("stratified_random") == "stratified_random"
    assert require_probability_sample(draw(MAP, 80)) == "stratified_random"


def test_land_near_crops_becomes_a_stratum_of_its_own() -> None:
    field = np.full((9, 9), 2, np.uint8)
    field[4, 4], field[0] = 1, 0
    got = near_crops(field, [1], pixels=2, nodata=0, code=9)
    expected = field.copy()
    expected[2:7, 2:7] = 9
    expected[4, 4] = 1
    np.testing.assert_array_equal(got, expected)
    # crops by the edge reach no further than the map, and nodata stays
    field[1, 0] = 1
    assert (near_crops(field, [1], pixels=1, nodata=0, code=9)[0] == 0).all()


def test_a_map_without_nodata_is_drawn_from_whole() -> None:
    got = draw(MAP, 120, nodata=None, min_per_class=10)
    assert got.strata == (0, 1, 2) and sum(got.population) == MAP.size
