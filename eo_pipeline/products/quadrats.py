"""Ground quadrats: squares of a map drawn at random, in which every parcel is surveyed, and the areas and
accuracies that they tell.

A quadrat is one draw, however many pixels it holds: its pixels err together, so errors are those of a cluster
sample.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from eo_pipeline.errors import SampleError
from eo_pipeline.grid import Block
from eo_pipeline.products.area import AreaEstimates, Floats, MapAccuracy, Ratio, t_quantile
from eo_pipeline.products.class_map import ClassMap
from eo_pipeline.products.samples import LabelledShape, read_shapes
from eo_pipeline.products.sampling import QUADRATS, allocate
from eo_pipeline.products.stratified import Stratified
from eo_pipeline.products.zonal import LON_LAT, PixelAreas, ZoneIndex, ZoneUnit, pixels_of, zone_layers

#: Strata by the share of a quadrat that the map gives to crops: up to these limits.
STRATA: Final = (("few_crops", 1 / 3), ("some_crops", 2 / 3), ("most_crops", 1.0))
#: Share of a quadrat that may lie under no parcel, its borders being drawn by hand.
_UNLABELLED: Final = 0.05


@dataclass(frozen=True, slots=True)
class Quadrats:
    """Drawn quadrats.

    Attributes
    ----------
    strata, population, drawn
        Names of the strata, how many squares each has, and how many of them were drawn.
    stratum : int64 [quadrat]
        Position in `strata`.
    polygons
        In degrees, one a quadrat.
    ids
        What parcels and messages call them.
    """

    strata: tuple[str, ...]
    population: tuple[int, ...]
    drawn: tuple[int, ...]
    stratum: NDArray[np.int64]
    polygons: tuple[Any, ...]
    ids: tuple[str, ...]

    def rows(self) -> list[dict[str, Any]]:
        """The columns of a sheet."""
        return [
            {
                "id": name,
                "stratum": self.strata[at],
                "stratum_squares": self.population[at],
                "stratum_drawn": self.drawn[at],
                "inclusion_probability": self.drawn[at] / self.population[at],
                "sampling_design": QUADRATS,
                "note": None,
            }
            for name, at in zip(self.ids, self.stratum.tolist(), strict=True)
        ]


def draw_quadrats(
    found: ClassMap, crops: Sequence[int], n: int, *, side_m: float = 1000.0, seed: int = 42
) -> Quadrats:
    """Draw quadrats of a map, stratified by how much of them is cropped.

    The map is cut into squares from its upper left corner; those that show a class anywhere are the frame.
    Within a stratum each has the same chance (NY/T 4619-2025: squares of 1 km or more, strata of a grid,
    equal chance within them, 30 or more of a province or less).

    Parameters
    ----------
    crops
        Codes of the classes that are crops.
    n
        Quadrats, shared out by the strata's number of squares, at least two in each.

    Raises
    ------
    SampleError
        Fewer squares than asked for.
    """
    pixel_m = 100 * math.sqrt(float(PixelAreas(found.grid).ha(slice(0, 1), slice(0, 1))[0, 0]))
    side = math.ceil(side_m / pixel_m - 1e-3)
    known = np.ones(found.codes.shape, np.bool_) if found.nodata is None else found.codes != found.nodata
    area, crop = _squares(known, side), _squares(np.isin(found.codes, crops) & known, side)
    rows, cols = np.nonzero(area)
    stratum = np.searchsorted([limit for _, limit in STRATA[:-1]], crop[rows, cols] / area[rows, cols])
    present, population = np.unique(stratum, return_counts=True)
    if n > rows.size:
        raise SampleError(
            f"{n} quadrats were asked, and {found.path} has {rows.size} squares of {side * pixel_m:.0f} m. "
            "Ask for fewer, or draw points (eo sample draw)."
        )
    drawn = allocate(population.tolist(), n, min_per_class=2)
    rng = np.random.default_rng(seed)
    chosen = np.concatenate(
        [
            rng.choice(np.flatnonzero(stratum == code), size=count, replace=False)
            for code, count in zip(present, drawn, strict=True)
        ]
    )
    chosen = rng.permutation(chosen)
    return Quadrats(
        strata=tuple(STRATA[code][0] for code in present),
        population=tuple(int(count) for count in population),
        drawn=drawn,
        stratum=np.searchsorted(present, stratum[chosen]).astype(np.int64),
        polygons=_polygons(found, rows[chosen] * side, cols[chosen] * side, side),
        ids=tuple(f"q{number:03d}" for number in range(1, n + 1)),
    )


def _squares(mask: NDArray[np.bool_], side: int) -> NDArray[np.int64]:
    """Pixels of a mask in each square of `side` pixels; those at the edges are cut."""
    height, width = mask.shape
    down = np.add.reduceat(mask, np.arange(0, height, side), axis=0, dtype=np.int64)
    return np.asarray(np.add.reduceat(down, np.arange(0, width, side), axis=1))


def _polygons(found: ClassMap, row: NDArray[np.int64], col: NDArray[np.int64], side: int) -> tuple[Any, ...]:
    """Squares of pixels in degrees, their edges in four pieces as they are no straight lines there."""
    import shapely
    from pyproj import Transformer

    a, b, c, d, e, f = found.grid.transform
    change = Transformer.from_crs(found.grid.crs, LON_LAT, always_xy=True)
    turn = np.array([[0, 0], [0, 1], [1, 1], [1, 0], [0, 0]], dtype=np.float64)
    ring = np.concatenate([np.linspace(p, q, 5)[:-1] for p, q in pairwise(turn)])
    out = []
    for top, left in zip(row.tolist(), col.tolist(), strict=True):
        rr, cc = top + side * ring[:, 0], left + side * ring[:, 1]
        out.append(
            shapely.Polygon(np.column_stack(change.transform(a * cc + b * rr + c, d * cc + e * rr + f)))
        )
    return tuple(out)


def read_quadrats(path: Path) -> Quadrats:
    """Read a sheet of quadrats back.

    Raises
    ------
    SampleError
        It is none, or contradicts itself.
    """
    shapes = read_shapes(path, label="stratum")
    strata: dict[str, tuple[int, int]] = {}
    for shape in shapes:
        try:
            told = int(shape.fields["stratum_squares"]), int(shape.fields["stratum_drawn"])
        except (KeyError, ValueError):
            raise SampleError(
                f"{path}, row {shape.row}: stratum_squares and stratum_drawn are missing or no numbers. Give "
                "the sheet as eo sample quadrats wrote it."
            ) from None
        if strata.setdefault(shape.label, told) != told:
            raise SampleError(
                f"{path}, row {shape.row}: the stratum {shape.label!r} has other numbers of squares above. "
                "Give the quadrats of one drawing."
            )
    names = list(strata)
    return Quadrats(
        strata=tuple(names),
        population=tuple(squares for squares, _ in strata.values()),
        drawn=tuple(drawn for _, drawn in strata.values()),
        stratum=np.array([names.index(shape.label) for shape in shapes]),
        polygons=tuple(shape.geometry for shape in shapes),
        ids=tuple(shape.fields.get("id", "") or str(shape.row) for shape in shapes),
    )


@dataclass(frozen=True, slots=True)
class Surveyed:
    """What surveyed quadrats tell: `hectares` by mapped and true class [..., quadrat, mapped, true], the
    stratum of each, the squares of each stratum, and the map's own areas [class].
    """

    labels: tuple[str, ...]
    hectares: Floats
    stratum: NDArray[np.int64]
    population: Floats
    mapped_ha: Floats
    notes: tuple[str, ...] = ()


def survey(
    found: ClassMap, quadrats: Quadrats, parcels: Sequence[LabelledShape], path: Path, *, rest: str | None
) -> Surveyed:
    """Lay the parcels that were drawn in the quadrats on the map.

    Parameters
    ----------
    parcels, path
        Polygons with their class, and their file; where two overlap, the first counts.
    rest
        Class of what lies in a quadrat under no parcel. Without it, a quadrat must be covered but for 5 %,
        and what is left there takes the class that the map gives it.

    Raises
    ------
    SampleError
        A quadrat that is not covered, or too few that were surveyed.
    """
    answers = {parcel.label for parcel in parcels if parcel.label} | ({rest} if rest else set())
    labels = tuple(dict.fromkeys((*found.names.values(), *sorted(answers))))
    position = {label: number for number, label in enumerate(labels)}
    of_code = np.full(256, -1)
    for code, name in found.names.items():
        of_code[code] = position[name]
    areas = PixelAreas(found.grid)
    index = ZoneIndex([ZoneUnit(str(p.row), p.label, p.geometry) for p in parcels if p.label])
    tables, kept = [], []
    for number, polygon in enumerate(quadrats.polygons):
        rows, cols, within = next(pixels_of([ZoneUnit(quadrats.ids[number], "", polygon)], found.grid))
        mapped = np.where(within, of_code[found.codes[rows, cols]], -1)
        true = np.full(mapped.shape, -1)
        block = Block("", rows.start, cols.start, *mapped.shape)
        for layer in zone_layers(index.near(block.grid(found.grid)), block.grid(found.grid)):
            codes = np.array([-1, *(position[unit.name] for unit in layer.units)])
            true = np.where(true < 0, codes[layer.labels], true)
        known = mapped >= 0
        bare = known & (true < 0)
        if not known.any() or (bare[known].all() and rest is None):
            continue  # outside the map, or nobody was there
        if rest is not None:
            true = np.where(bare, position[rest], true)
        elif bare.sum() > _UNLABELLED * known.sum():
            raise SampleError(
                f"{path}: {bare.sum() / known.sum():.0%} of the quadrat {quadrats.ids[number]!r} lies under "
                "no parcel. Draw every parcel of it, or name the class of what is left (--rest other)."
            )
        true = np.where(true < 0, mapped, true)
        table = np.zeros((len(labels), len(labels)))
        np.add.at(table, (mapped[known], true[known]), areas.ha(rows, cols)[known])
        tables.append(table)
        kept.append(number)
    stratum = quadrats.stratum[kept]
    counts = np.bincount(stratum, minlength=len(quadrats.strata))
    if (counts < 2).any():
        poor = quadrats.strata[int(np.argmin(counts))]
        raise SampleError(
            f"{path}: parcels lie in {counts.min()} quadrat(s) of the stratum {poor!r}; at least 2 are "
            "needed for an error. Survey more of them."
        )
    left = sum(quadrats.drawn) - len(kept)
    notes = (f"{left} of {sum(quadrats.drawn)} quadrats were not surveyed",) if left else ()
    mapped_ha, _ = found.hectares()
    return Surveyed(
        labels,
        np.stack(tables),
        stratum,
        np.array(quadrats.population, dtype=np.float64),
        np.array([mapped_ha.get(label, 0.0) for label in labels]),
        notes,
    )


def quadrat_estimates(found: Surveyed, *, confidence: float = 0.95) -> Stratified:
    """Areas and accuracies from surveyed quadrats.

    Areas by the difference estimator: the map's area, and what it is wrong by in the quadrats, each standing
    for the squares of its stratum (Särndal et al. 1992, eq. 6.3.4 and 6.3.6; a quadrat is one draw, so its
    parcels' errors need not be independent). Accuracies are ratios of two such totals, their errors those of
    the linearised ratio (eq. 5.6.10) and their intervals made on the logit scale (Korn & Graubard 1998). All
    intervals use Student's t with Satterthwaite's degrees of freedom. Leading axes of `hectares` are samples.

    References
    ----------
    Korn, E. L., Graubard, B. I. (1998). Confidence intervals for proportions with small expected number of
    positive counts estimated from survey data. Survey Methodology 24, 193-201.
    """
    m = found.hectares
    right = np.diagonal(m, axis1=-2, axis2=-1)  # [..., quadrat, class]
    mapped, truly = m.sum(axis=-1), m.sum(axis=-2)
    p = 0.5 + confidence / 2
    off, variance, freedom = _totals(truly - mapped, found)
    se, value = np.sqrt(variance), found.mapped_ha + off
    half = t_quantile(p, freedom) * se
    whole = float(found.mapped_ha.sum())
    n = m.shape[-3]
    overall = _accuracy(right.sum(axis=-1, keepdims=True), m.sum(axis=(-2, -1))[..., None], found, p)
    matrix, _, _ = _totals(m.reshape(*m.shape[:-2], -1), found)
    proportions = matrix.reshape(*matrix.shape[:-1], *m.shape[-2:])
    return Stratified(
        AreaEstimates(
            found.labels,
            np.clip(value, 0, whole),
            se,
            np.clip(value - half, 0, whole),
            np.clip(value + half, 0, whole),
            "quadrat_difference",
            n,
            confidence,
        ),
        MapAccuracy(
            found.labels,
            Ratio(*(part[..., 0] for part in (overall.value, overall.se, overall.low, overall.high))),
            _accuracy(right, mapped, found, p),
            _accuracy(right, truly, found, p),
            proportions / proportions.sum(axis=(-2, -1), keepdims=True),
            n,
            confidence,
        ),
    )


def _totals(values: Floats, found: Surveyed) -> tuple[Floats, Floats, Floats]:
    """Totals of what quadrats hold [..., quadrat, item], their variances, and the degrees of freedom."""
    total = variance = np.zeros(values.shape[:-2] + values.shape[-1:])
    weight = np.zeros_like(total)
    for stratum, squares in enumerate(found.population):
        own = values[..., found.stratum == stratum, :]
        n = own.shape[-2]
        part = squares**2 * (1 - n / squares) * own.var(axis=-2, ddof=1) / n
        total = total + squares * own.mean(axis=-2)
        variance = variance + part
        weight = weight + part**2 / (n - 1)
    freedom = np.divide(variance**2, weight, out=np.ones_like(weight), where=weight > 0)
    return total, variance, freedom


def _accuracy(part: Floats, whole: Floats, found: Surveyed, p: float) -> Ratio:
    """Ratio of two totals; without an interval where not one quadrat knows of an error, or of a class."""
    top, bottom = _totals(part, found)[0], _totals(whole, found)[0]
    with np.errstate(invalid="ignore", divide="ignore"):
        value = top / bottom
        _, variance, freedom = _totals(part - value[..., None, :] * whole, found)
        se = np.sqrt(variance) / bottom
        logit = np.log(value / (1 - value))
        half = t_quantile(p, freedom) * se / (value * (1 - value))
        low, high = 1 / (1 + np.exp(-(logit - half))), 1 / (1 + np.exp(-(logit + half)))
    known = np.isfinite(half)
    return Ratio(value, se, np.where(known, low, np.nan), np.where(known, high, np.nan))
