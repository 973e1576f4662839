"""Estimates from stratified samples: the papers' own figures, and intervals that keep what they promise in
2,000 samples of a known map and truth.
"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from eo_pipeline.errors import SampleError
from eo_pipeline.products.area import AreaEstimates, Ratio
from eo_pipeline.products.stratified import model_assisted, olofsson_2014, stehman_2014

Floats = NDArray[np.float64]

SAMPLES = 2000
#: Olofsson et al. 2014, table 8: deforestation, forest gain, stable forest, stable non-forest; pixels of 0.09
#: ha.
PAPER = np.array([[66, 0, 5, 4], [0, 55, 8, 12], [1, 0, 153, 11], [2, 1, 9, 313]])
PAPER_HA = np.array([200_000, 150_000, 3_200_000, 6_450_000]) * 0.09
NAMES = ("deforestation", "gain", "forest", "other")

#: Stehman 2014, table 2: stratum, mapped and reference class of 40 points, ten in each stratum.
STEHMAN_MAPPED = "AAAAAAABBB" + "ABBBBBBBBB" + "BBCCCCCCBB" + "DDDDDDDDDD"
STEHMAN_TRUE = "AAAAACBABC" + "ABBBBBAABB" + "CCCCCDDBBA" + "DDDDDDDCCB"

#: Wheat, maize, flax (2 % of the land) and the rest: how a map is wrong, rows mapped, columns true.
CROPS = ("wheat", "maize", "flax", "other")
CONFUSION = np.array(
    [[0.88, 0.05, 0.02, 0.05], [0.05, 0.83, 0.02, 0.10], [0.05, 0.08, 0.80, 0.07], [0.02, 0.02, 0.005, 0.955]]
)
MAPPED_HA = np.array([18_000.0, 12_000.0, 2_000.0, 68_000.0])


def test_the_figures_of_olofsson_2014() -> None:
    got = olofsson_2014(PAPER, PAPER_HA, NAMES)
    assert got.area.area_ha[0] == pytest.approx(21_158, abs=1)
    assert got.area.se_ha[0] == pytest.approx(3_142, abs=1)
    assert 1.96 * got.area.se_ha[0] == pytest.approx(6_158, abs=1)
    assert got.area.area_ha.sum() == pytest.approx(PAPER_HA.sum())
    assert (got.area.n_samples, got.area.method) == (640, "olofsson_2014")
    accuracy = got.accuracy
    assert accuracy.overall.value == pytest.approx(0.947, abs=5e-4)
    assert 1.96 * accuracy.overall.se == pytest.approx(0.018, abs=1e-3)
    np.testing.assert_allclose(accuracy.users.value, [0.88, 0.73, 0.93, 0.96], atol=0.005)
    np.testing.assert_allclose(1.96 * accuracy.users.se, [0.07, 0.10, 0.04, 0.02], atol=0.006)
    np.testing.assert_allclose(accuracy.producers.value, [0.75, 0.85, 0.93, 0.96], atol=0.006)
    assert 1.96 * accuracy.producers.se[0] == pytest.approx(0.21, abs=0.005)


def test_the_figures_of_stehman_2014() -> None:
    # given
    counts = np.zeros((4, 4, 4), dtype=np.int64)
    for number, (mapped, true) in enumerate(zip(STEHMAN_MAPPED, STEHMAN_TRUE, strict=True)):
        counts[number // 10, "ABCD".index(mapped), "ABCD".index(true)] += 1
    # when
    got = stehman_2014(counts, np.array([40_000.0, 30_000.0, 20_000.0, 10_000.0]), tuple("ABCD"))
    # then: pages 4932 to 4936
    np.testing.assert_allclose(got.area.area_ha[[0, 2]] / 100_000, [0.35, 0.20], atol=1e-9)
    np.testing.assert_allclose(got.area.se_ha[[0, 2]] / 100_000, [0.082, 0.064], atol=5e-4)
    assert got.accuracy.overall.value == pytest.approx(0.63)
    assert got.accuracy.overall.se == pytest.approx(0.085, abs=5e-4)
    assert got.accuracy.users.value[1] == pytest.approx(0.574, abs=5e-4)
    assert got.accuracy.users.se[1] == pytest.approx(0.125, abs=5e-4)
    assert got.accuracy.producers.value[1] == pytest.approx(0.794, abs=5e-4)
    assert got.accuracy.producers.se[1] == pytest.approx(0.1166, abs=5e-4)
    assert got.accuracy.proportions[1, 2] == pytest.approx(0.08)
    assert got.area.method == "stehman_2014"


def test_in_one_stratum_the_interval_is_wilsons() -> None:
    got = olofsson_2014(np.array([[45, 5], [0, 0]]), np.array([10.0, 0.0]), ("crop", "other")).accuracy
    # Wilson's interval of 45 of 50
    for low, high in ((got.users.low[0], got.users.high[0]), (got.overall.low, got.overall.high)):
        assert (low, high) == (pytest.approx(0.7864, abs=5e-5), pytest.approx(0.9565, abs=5e-5))
    assert np.isnan(got.users.value[1]) and np.isnan(got.users.low[1])


def of_own_strata() -> tuple[Floats, Floats]:
    """Strata are the classes of the map: shares [stratum, mapped, true] within each stratum, and hectares."""
    cells = np.zeros((4, 4, 4))
    cells[range(4), range(4)] = CONFUSION
    return cells, MAPPED_HA


def with_a_buffer() -> tuple[Floats, Floats]:
    """The same map; other land near the crops, where they are missed, is a stratum of its own."""
    cells = np.zeros((5, 4, 4))
    cells[range(3), range(3)] = CONFUSION[:3]
    cells[3, 3] = 0.06, 0.06, 0.018, 0.862
    cells[4, 3] = 0.006, 0.006, 0.0003, 0.9877
    return cells, np.append(MAPPED_HA[:3], [18_000.0, 50_000.0])


def of_an_older_map() -> tuple[Floats, Floats]:
    """Strata of last year's map: crops have changed since, and this year's map is wrong in its own way."""
    changed = np.array(
        [[0.75, 0.15, 0.03, 0.07], [0.2, 0.65, 0.03, 0.12], [0.1, 0.1, 0.7, 0.1], [0.02, 0.03, 0.01, 0.94]]
    )
    joint = CONFUSION * MAPPED_HA[:, None]
    return np.einsum("hk,gk->hgk", changed, joint / joint.sum(axis=0)), MAPPED_HA


def drawn(cells: Floats, points: tuple[int, ...], rng: np.random.Generator) -> NDArray[np.int64]:
    """Points of `SAMPLES` samples: [sample, stratum, *the cells' further axes]."""
    strata = [
        rng.multinomial(n, part.ravel() / part.sum(), size=SAMPLES).reshape(SAMPLES, *part.shape)
        for n, part in zip(points, cells, strict=True)
    ]
    return np.stack(strata, axis=1)


def covers(found: Ratio, truth: Floats, where: str) -> list[float]:
    """Coverage of each class; 2,000 samples know one of 95 % to half a point."""
    coverage = np.atleast_1d(np.mean((found.low <= truth) & (truth <= found.high), axis=0))
    rare = np.arange(coverage.size) == 2  # flax, of which a sample meets a few missed points
    low, high = np.where(rare, 0.925, 0.93), np.where(rare, 0.985, 0.975)
    assert ((coverage > low) & (coverage < high)).all(), (where, coverage)
    return list(coverage)


@pytest.mark.parametrize(
    ("population", "points"),
    [
        (of_own_strata, (200, 200, 100, 700)),
        (with_a_buffer, (200, 200, 100, 450, 250)),
        (of_an_older_map, (200, 200, 100, 700)),
    ],
)
def test_estimates_are_unbiased_and_intervals_cover(population, points: tuple[int, ...]) -> None:
    # given
    cells, hectares = population()
    samples = drawn(cells, points, np.random.default_rng(7))
    matrix = np.einsum("h,hgk->gk", hectares, cells)
    true_ha, right = matrix.sum(axis=0), np.diag(matrix)
    # when
    got = stehman_2014(samples, hectares, CROPS)
    # then
    area, accuracy = got.area, got.accuracy
    truth = {
        "area": (Ratio(area.area_ha, area.se_ha, area.ci_low_ha, area.ci_high_ha), true_ha),
        "overall": (accuracy.overall, np.asarray(right.sum() / matrix.sum())),
        "users": (accuracy.users, right / matrix.sum(axis=1)),
        "producers": (accuracy.producers, right / true_ha),
    }
    mean = []
    for name, (found, true) in truth.items():
        bias = np.abs(found.value.mean(axis=0) / true - 1)
        # a ratio is biased where few points carry it (Cochran 1977, 6.8): flax, missed 4 times in a sample
        assert (bias < np.where((name == "producers") & (np.arange(bias.size) == 2), 0.015, 0.01)).all(), name
        # the standard error is the spread that is there, also where a class is rare
        np.testing.assert_allclose(found.se.mean(axis=0), found.value.std(axis=0), rtol=0.08, err_msg=name)
        mean += covers(found, true, name)
    assert 0.94 < np.mean(mean) < 0.96
    # and the region by the method of its units, which uses the map of this year as well
    whole = model_assisted(samples, samples[:, None], hectares, matrix.sum(axis=1)[None], CROPS)[0]
    np.testing.assert_allclose(whole.area_ha.mean(axis=0), true_ha, rtol=0.01)
    covers(Ratio(whole.area_ha, whole.se_ha, whole.ci_low_ha, whole.ci_high_ha), true_ha, "assisted")
    assert (whole.se_ha.mean(axis=0) < 1.05 * area.se_ha.mean(axis=0)).all()
    # the map's own count is off by more: the estimate is needed
    assert (np.abs(matrix.sum(axis=1) - true_ha) / true_ha).max() > 0.05


def test_normal_intervals_would_not_cover_a_rare_class() -> None:
    """Why intervals are not the estimate ± 1.96 standard errors: 50 points in each stratum of an old map."""
    cells, hectares = of_an_older_map()
    got = stehman_2014(drawn(cells, (50, 50, 50, 50), np.random.default_rng(3)), hectares, CROPS)
    flax = np.einsum("h,hgk->k", hectares, cells)[2]
    area, se = got.area.area_ha[:, 2], got.area.se_ha[:, 2]
    plain = np.mean((area - 1.96 * se <= flax) & (flax <= area + 1.96 * se))
    ours = np.mean((got.area.ci_low_ha[:, 2] <= flax) & (flax <= got.area.ci_high_ha[:, 2]))
    assert plain < 0.85 and 0.91 < ours < 0.97


def of_counties(cells: Floats, rng: np.random.Generator, *, differ: float) -> Floats:
    """Seven counties with 8 to 25 % of each stratum, whose maps err differently: [stratum, unit, mapped,
    true].
    """
    shares = np.array([0.25, 0.2, 0.15, 0.12, 0.1, 0.1, 0.08])
    out = np.zeros((len(cells), 7, *cells.shape[1:]))
    for h, stratum in enumerate(cells):
        for g in np.flatnonzero(stratum.sum(axis=1)):
            rates = rng.dirichlet(differ * stratum[g] / stratum[g].sum(), size=7)
            out[h, :, g] = rng.permutation(shares)[:, None] * stratum[g].sum() * rates
    return out


@pytest.mark.parametrize("population", [of_own_strata, of_an_older_map])
def test_counties_are_unbiased_and_their_intervals_cover(population) -> None:
    # given
    cells, hectares = population()
    rng = np.random.default_rng(11)
    by_unit = of_counties(cells, rng, differ=100)
    samples = drawn(by_unit, (250, 250, 150, 550), rng)
    unit_matrix = np.einsum("h,hugk->ugk", hectares / by_unit.sum(axis=(1, 2, 3)), by_unit)
    truth = unit_matrix.sum(axis=1)
    # when
    got = model_assisted(
        samples.sum(axis=2), np.moveaxis(samples, 2, 1), hectares, unit_matrix.sum(axis=2), CROPS
    )
    # then
    area, se, low, high = (
        np.stack([getattr(unit, name) for unit in got], axis=1)
        for name in ("area_ha", "se_ha", "ci_low_ha", "ci_high_ha")
    )
    common = [0, 1, 3]
    np.testing.assert_allclose(area.mean(axis=0)[:, common], truth[:, common], rtol=0.01)
    # 0.5 % to 4 % of a county, of which a sample meets a few points
    np.testing.assert_allclose(area.mean(axis=0)[:, 2], truth[:, 2], rtol=0.03)
    coverage = np.mean((low <= truth) & (truth <= high), axis=0)
    assert np.all((coverage[:, common].mean(axis=0) > 0.93) & (coverage[:, common].mean(axis=0) < 0.97)), (
        coverage
    )
    assert np.all((coverage[:, common] > 0.90) & (coverage[:, common] < 0.99)), coverage
    assert 0.90 < coverage[:, 2].mean() < 0.985, coverage
    # the error told is near the spread that is there
    assert 0.85 < np.median(se.mean(axis=0) / area.std(axis=0)) < 1.15
    # what a synthetic estimate (the region's errors on the unit's map) would be off by
    rates = np.einsum("hugk->gk", unit_matrix[None]) / unit_matrix.sum(axis=(0, 2))[:, None]
    synthetic = np.einsum("ug,gk->uk", unit_matrix.sum(axis=2), rates)
    assert np.abs(synthetic / truth - 1)[:, :2].max() > 0.03


@given(arrays(np.float64, (4, 3), elements=st.floats(1e3, 1e5)), st.integers(0, 2**32 - 1))
@settings(max_examples=50, deadline=None)
def test_units_add_up_to_the_region(unit_ha: Floats, seed: int) -> None:
    counts = np.array([[80, 12, 8], [9, 60, 11], [3, 7, 90]])
    cells = np.zeros((3, 3, 3), dtype=np.int64)
    cells[range(3), range(3)] = counts
    rng = np.random.default_rng(seed)
    own = rng.multinomial(cells, [0.25] * 4)
    region = olofsson_2014(counts, unit_ha.sum(axis=0), ("a", "b", "c")).area
    units = model_assisted(cells, np.moveaxis(own, -1, 0), unit_ha.sum(axis=0), unit_ha, ("a", "b", "c"))
    if all((unit.area_ha > 0).all() and (unit.area_ha < a.sum()).all() for unit, a in zip(units, unit_ha, strict=True)):  # fmt: skip  # noqa: E501
        np.testing.assert_allclose(sum(unit.area_ha for unit in units), region.area_ha, rtol=1e-9)
    assert sum(unit.n_samples for unit in units) == 280
    for unit in units:
        assert (unit.ci_low_ha <= unit.area_ha).all() and (unit.area_ha <= unit.ci_high_ha).all()


def test_a_unit_without_points_has_its_map_corrected_and_a_wide_interval() -> None:
    cells = np.zeros((2, 2, 2), dtype=np.int64)
    cells[0, 0], cells[1, 1] = [90, 10], [5, 95]
    hectares, unit_ha = np.array([1000.0, 1000.0]), np.array([[100.0, 100.0]])
    without, with_own = (
        model_assisted(cells, own, hectares, unit_ha, ("crop", "other"))[0]
        for own in (np.zeros((1, 2, 2, 2), dtype=np.int64), (cells // 10)[None])
    )
    np.testing.assert_allclose(without.area_ha, [95, 105])
    assert without.n_samples == 0 and with_own.n_samples == 19
    # a tenth of 1000 ha, 10 ha a point, residuals of (0.9 * 0.1) and (0.05 * 0.95) with what is borrowed
    assert without.se_ha[0] == pytest.approx(12.2, abs=0.1)


def test_full_agreement_is_not_taken_for_no_error() -> None:
    got = olofsson_2014(np.diag([20, 20, 20]), np.array([300.0, 200.0, 500.0]), ("a", "b", "c"))
    assert (got.area.se_ha == 0).all()
    assert (got.area.ci_low_ha < got.area.area_ha - 1).all() and (
        got.area.ci_high_ha > got.area.area_ha + 1
    ).all()
    for found in (got.accuracy.users, got.accuracy.producers):
        assert (found.value == 1).all() and (found.high == 1).all() and (found.low < 0.93).all()


def test_one_class_alone_and_a_class_that_the_map_misses() -> None:
    one = olofsson_2014(np.array([[50]]), np.array([80.0]), ("crop",))
    assert one.area.area_ha.tolist() == [80] and one.accuracy.overall.low == pytest.approx(0.929, abs=1e-3)
    counts = np.array([[45, 0, 5], [0, 0, 0], [0, 4, 46]])
    got = olofsson_2014(counts, np.array([100.0, 0.0, 100.0]), ("wheat", "flax", "other"))
    np.testing.assert_allclose(got.area.area_ha, [90, 8, 102])
    assert np.isnan(got.accuracy.users.value[1]) and got.accuracy.producers.value[1] == 0


@pytest.mark.parametrize(
    ("counts", "area", "message"),
    [
        ([[1, 0], [0, 30]], [10, 10], "'a' .* holds 1 reference point"),
        ([[5, 0, 1], [0, 30, 1]], [10, 10], "square table"),
        ([[5, 0], [0, 30]], [0, 0], "sum to 0"),
    ],
)
def test_samples_that_cannot_carry_an_estimate_are_refused(counts: list, area: list, message: str) -> None:
    with pytest.raises(SampleError, match=message):
        olofsson_2014(np.array(counts), np.array(area, float), ("a", "b"))


def test_a_table_of_units_that_does_not_fit_is_refused() -> None:
    cells = np.full((2, 2, 2), 9)
    with pytest.raises(SampleError, match="do not fit the region's counts"):
        model_assisted(cells, cells[None], np.array([1.0, 1.0]), np.ones((2, 2)), ("a", "b"))
    assert isinstance(
        model_assisted(cells, cells[None], np.ones(2), np.ones((1, 2)), ("a", "b"))[0], AreaEstimates
    )
