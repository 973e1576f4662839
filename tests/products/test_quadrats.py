"""Ground quadrats: drawn with equal chance in strata, and their estimates cover in 2,000 samples of a known
map and truth whose errors go by fields, not by pixels.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import shapely
from numpy.typing import NDArray
from pyproj import Transformer

from eo_pipeline.errors import SampleError
from eo_pipeline.grid import Grid
from eo_pipeline.products.area import Ratio
from eo_pipeline.products.class_map import ClassMap
from eo_pipeline.products.quadrats import Surveyed, draw_quadrats, quadrat_estimates
from eo_pipeline.products.zonal import ZoneUnit, pixels_of, unit_area_ha

SAMPLES = 2000
CROPS = ("wheat", "maize", "other")


def land(rng: np.random.Generator, squares: int) -> NDArray[np.float64]:
    """Hectares [square, mapped, true] of squares of 100 ha, in which 60 fields are mapped right or wrong as
    a whole; the share of crops and the share of errors differ from square to square.
    """
    crops = rng.beta(1.2, 1.2, squares)
    wheat = rng.beta(4, 3, squares)
    true = np.stack([crops * wheat, crops * (1 - wheat), 1 - crops], axis=1)
    rates = np.array([[0.88, 0.07, 0.05], [0.06, 0.86, 0.08], [0.03, 0.04, 0.93]])  # true, mapped
    fields = np.stack([rng.multinomial(60, share) for share in true])
    errors = np.stack([[rng.dirichlet(8 * row) for row in rates] for _ in range(squares)])
    mapped = np.array([[rng.multinomial(n, e) for n, e in zip(*pair, strict=True)] for pair in zip(fields, errors, strict=True)])  # fmt: skip  # noqa: E501
    return np.swapaxes(mapped, 1, 2) * (100 / 60)


def test_estimates_are_unbiased_and_intervals_cover() -> None:
    # given: 600 squares in three strata by what the map shows, of which 12, 14 and 14 are drawn
    rng = np.random.default_rng(9)
    squares = land(rng, 600)
    shown = squares[:, :2].sum(axis=(1, 2)) / 100
    stratum = np.searchsorted([1 / 3, 2 / 3], shown)
    drawn = [
        np.stack([rng.choice(np.flatnonzero(stratum == s), n, replace=False) for _ in range(SAMPLES)])
        for s, n in enumerate((12, 14, 14))
    ]
    matrix = squares.sum(axis=0)
    # when
    got = quadrat_estimates(
        Surveyed(
            CROPS,
            squares[np.concatenate(drawn, axis=1)],
            np.repeat([0, 1, 2], [12, 14, 14]),
            np.bincount(stratum).astype(float),
            matrix.sum(axis=1),
        )
    )
    # then
    area, accuracy, right = got.area, got.accuracy, np.diag(matrix)
    for name, found, true in (
        ("area", Ratio(area.area_ha, area.se_ha, area.ci_low_ha, area.ci_high_ha), matrix.sum(axis=0)),
        ("overall", accuracy.overall, right.sum() / matrix.sum()),
        ("users", accuracy.users, right / matrix.sum(axis=1)),
        ("producers", accuracy.producers, right / matrix.sum(axis=0)),
    ):
        np.testing.assert_allclose(found.value.mean(axis=0), true, rtol=0.01, err_msg=name)
        coverage = np.mean((found.low <= true) & (true <= found.high), axis=0)
        assert np.all((coverage > 0.925) & (coverage < 0.975)), (name, coverage)
    # as many pixels drawn one by one would claim a fraction of the error that is there
    share = matrix.sum(axis=0)[0] / matrix.sum()
    naive = 60_000 * (share * (1 - share) / (40 * 10_000)) ** 0.5
    assert naive < 0.2 * area.area_ha[:, 0].std()


def made_map() -> ClassMap:
    """40 × 30 km in pixels of 100 m; crops to the east, nodata in a corner."""
    codes = np.full((300, 400), 2, np.uint8)
    codes[:, 150:300] = np.where(np.random.default_rng(0).random((300, 150)) < 0.5, 1, 2)
    codes[:, 300:] = 1
    codes[:25, :25] = 0
    grid = Grid("EPSG:32648", (100, 0, 600_000, 0, -100, 3_950_000), 400, 300)
    return ClassMap(Path("map.tif"), grid, codes, 0, {1: "wheat", 2: "other"})


def test_squares_are_drawn_by_strata_and_lie_on_the_grid() -> None:
    got = draw_quadrats(made_map(), [1], 40, side_m=1000)
    assert got.strata == ("few_crops", "some_crops", "most_crops")
    # 2 × 2 squares show nothing, and those cut by the nodata's edge show something
    assert sum(got.population) == 30 * 40 - 4 and sum(got.drawn) == 40
    assert np.bincount(got.stratum).tolist() == list(got.drawn)
    assert got.drawn == (15, 15, 10)
    for polygon in got.polygons:
        unit = ZoneUnit("q", "q", polygon)
        assert unit_area_ha(unit) == pytest.approx(100, rel=3e-3)
        rows, cols, inside = next(pixels_of([unit], made_map().grid))
        assert inside.sum() == 100
        at = np.argwhere(inside)
        assert (rows.start + at[:, 0].min()) % 10 == 0 and (cols.start + at[:, 1].min()) % 10 == 0
    again, other = draw_quadrats(made_map(), [1], 40), draw_quadrats(made_map(), [1], 40, seed=1)
    assert again.polygons == got.polygons != other.polygons


def test_every_square_of_a_stratum_has_the_same_chance() -> None:
    found, change = made_map(), Transformer.from_crs("OGC:CRS84", "EPSG:32648", always_xy=True)
    hits = np.zeros((30, 40))
    for seed in range(80):
        got = draw_quadrats(found, [1], 120, seed=seed)
        few = np.flatnonzero(got.stratum == 0)
        middle = shapely.get_coordinates(shapely.centroid([got.polygons[number] for number in few]))
        x, y = change.transform(middle[:, 0], middle[:, 1])
        row, col = np.floor((3_950_000 - y) / 1000).astype(int), np.floor((x - 600_000) / 1000).astype(int)
        np.add.at(hits, (row, col), 1)
    chance = got.drawn[0] / got.population[0]
    drawn = hits / 80
    drawn = np.sort(drawn, axis=None)[-got.population[0] :]
    assert drawn.mean() == pytest.approx(chance, rel=1e-6)
    # 80 draws know a chance of 0.1 to 0.034; none of 446 squares is further off than 4.5 times that
    assert np.abs(drawn - chance).max() < 0.15


def test_more_squares_than_there_are_is_refused() -> None:
    with pytest.raises(SampleError, match="1196 squares of 1000 m"):
        draw_quadrats(made_map(), [1], 2000)
