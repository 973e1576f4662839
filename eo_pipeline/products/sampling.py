"""Probability samples for areas and accuracies: how many points, in which strata, drawn how.

A design can be drawn again from its seed, and says of which map it was drawn. A sample that was not drawn at
random with known chances is refused by `require_probability_sample`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from eo_pipeline.errors import NotAProbabilitySampleError, SampleError
from eo_pipeline.grid import Grid

Allocation = Literal["proportional", "equal", "neyman"]

#: User's accuracy expected of a class of which nobody says another.
EXPECTED_ACCURACY: Final = 0.8
#: Squares in which every parcel is surveyed; see `quadrats`.
QUADRATS: Final = "stratified_quadrats"
#: Designs with known inclusion probabilities for which the estimators of `area` hold.
PROBABILITY_DESIGNS: Final = ("stratified_random", "simple_random")


@dataclass(frozen=True, slots=True)
class SampleDesign:
    """A drawn sample. Arrays have one entry a point.

    Attributes
    ----------
    strata
        Class codes of the map, ascending; `population` pixels and `allocated` points of each.
    row, col, stratum
        Pixel of the map and its class code.
    frame_hash
        SHA-256 of the map drawn from: the same seed on another map is another sample.
    """

    design: str
    allocation: Allocation
    seed: int
    frame_hash: str
    strata: tuple[int, ...]
    population: tuple[int, ...]
    allocated: tuple[int, ...]
    row: NDArray[np.int64]
    col: NDArray[np.int64]
    stratum: NDArray[np.int64]

    @property
    def inclusion_probability(self) -> dict[int, float]:
        """Chance of each pixel of a stratum to be drawn."""
        return {s: n / p for s, n, p in zip(self.strata, self.allocated, self.population, strict=True)}


def require_probability_sample(
    design: SampleDesign | str | None, *, where: str = "the reference sample"
) -> str:
    """The design's name if it is a probability design.

    Raises
    ------
    NotAProbabilitySampleError
        Any other: training samples, points along roads, expert picks have unknown chances, and an interval
        computed from them would be false.
    """
    name = design.design if isinstance(design, SampleDesign) else design
    if name in PROBABILITY_DESIGNS:
        return str(name)
    told = f"was drawn as {name!r}" if name else "does not say how it was drawn"
    raise NotAProbabilitySampleError(
        f"{where} {told}; design-based areas and intervals need one of {', '.join(PROBABILITY_DESIGNS)}. "
        "Draw a random sample (eo sample draw) and have it answered, or, if this is one, name its design "
        "([area] design in a season file, --design); training points and picked places have no known "
        "chance, and of them only a model-based count is published, marked so."
    )


def sample_size(weights: Sequence[float], user_accuracy: Sequence[float], *, target_se: float) -> int:
    """Points needed for overall accuracy with a standard error of `target_se`.

    Olofsson et al. 2014, eq. 13: n = (sum W_i S_i / S(O))^2 with S_i = sqrt(U_i (1 - U_i)), the
    finite-population term left out.

    >>> sample_size([0.02, 0.015, 0.320, 0.645], [0.7, 0.6, 0.9, 0.95], target_se=0.01)
    641
    """
    accuracy = np.asarray(user_accuracy, dtype=np.float64)
    spread = float(np.sum(np.asarray(weights) * np.sqrt(accuracy * (1 - accuracy))))
    return round((spread / target_se) ** 2)


def allocate(
    population: Sequence[int],
    n: int,
    *,
    allocation: Allocation = "proportional",
    min_per_class: int = 30,
    user_accuracy: Sequence[float] | None = None,
) -> tuple[int, ...]:
    """Share `n` points out over strata of `population` pixels.

    Each stratum gets at least `min_per_class` (or all its pixels), the rest follows the rule: by area
    (`proportional`), the same for each (`equal`), or by area times the standard deviation expected from
    `user_accuracy` (`neyman`).

    Raises
    ------
    SampleError
        The minima alone exceed `n`, or the strata hold fewer pixels than `n`.
    """
    pixels = np.asarray(population, dtype=np.int64)
    least = np.minimum(pixels, min_per_class)
    if n > pixels.sum():
        raise SampleError(f"{n} points were asked of a map of {pixels.sum()} pixels. Ask for fewer.")
    if least.sum() > n:
        raise SampleError(
            f"{len(pixels)} classes with at least {min_per_class} points each need {least.sum()} points, but "
            f"{n} were asked. Ask for more points or a smaller minimum."
        )
    size: NDArray[np.float64] = pixels.astype(np.float64)
    if allocation == "equal":
        size = np.ones(len(pixels))
    elif allocation == "neyman":
        if user_accuracy is None:
            raise SampleError("Neyman allocation needs the user's accuracy expected of each class.")
        expected = np.asarray(user_accuracy, dtype=np.float64)
        size = pixels.astype(np.float64) * np.sqrt(expected * (1 - expected))
    out = least.copy()
    while (left := n - int(out.sum())) > 0:  # a full stratum hands its part on to the others
        open_ = out < pixels
        share = np.where(open_, np.maximum(size, 1e-12), 0)
        exact = left * share / share.sum()
        extra = np.floor(exact).astype(np.int64)
        # Largest remainders take what rounding down left over.
        order = np.argsort(-np.where(open_, exact - extra, -1.0), kind="stable")
        extra[order[: left - int(extra.sum())]] += 1
        out += np.minimum(extra, pixels - out)
    return tuple(int(v) for v in out)


def draw(
    class_map: NDArray[np.uint8],
    n: int,
    *,
    allocation: Allocation = "proportional",
    min_per_class: int = 30,
    seed: int = 42,
    nodata: int | None = 0,
    user_accuracy: Mapping[int, float] | None = None,
    grid: Grid | None = None,
) -> SampleDesign:
    """Draw a stratified random sample of pixels, the map's codes being the strata.

    Within a stratum every pixel has the same chance, without replacement. The order of the points is random,
    so that a part of them, taken from the front, is a random sample too.

    Parameters
    ----------
    class_map : uint8 [y, x]
        The published map, or strata made of it (`near_crops`). Pixels of `nodata` are no part of the frame.
    user_accuracy
        By class code, for `neyman`; classes left out are expected at `EXPECTED_ACCURACY`.
    grid
        Goes into the frame's hash, so that the same codes elsewhere are another frame.
    """
    counts = code_counts(class_map)
    if nodata is not None:
        counts[:, nodata] = 0
    population = counts.sum(axis=0)
    codes = np.flatnonzero(population)
    if not codes.size:
        raise SampleError(
            "the map holds no pixel but nodata; there is nothing to draw from. Check the class map."
        )
    accuracy = [(user_accuracy or {}).get(int(code), EXPECTED_ACCURACY) for code in codes]
    allocated = allocate(
        population[codes].tolist(),
        n,
        allocation=allocation,
        min_per_class=min_per_class,
        user_accuracy=accuracy,
    )
    rng = np.random.default_rng(seed)
    places = [
        _places(class_map, counts[:, code], int(code), rng.choice(population[code], size=size, replace=False))
        for code, size in zip(codes, allocated, strict=True)
    ]
    order = rng.permutation(n)
    row, col = np.concatenate(places, axis=1)[:, order]
    frame = hashlib.sha256(repr((class_map.shape, grid)).encode() + np.ascontiguousarray(class_map).tobytes())
    return SampleDesign(
        design="stratified_random",
        allocation=allocation,
        seed=seed,
        frame_hash=frame.hexdigest(),
        strata=tuple(int(code) for code in codes),
        population=tuple(int(p) for p in population[codes]),
        allocated=allocated,
        row=row,
        col=col,
        stratum=class_map[row, col].astype(np.int64),
    )


def code_counts(class_map: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Pixels of each code in each row, [y, 256]; row by row, as numpy would make 8 bytes of every pixel."""
    return np.stack([np.bincount(row, minlength=256) for row in class_map])


def _places(
    class_map: NDArray[np.uint8], in_row: NDArray[np.int64], code: int, ranks: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Rows and columns of the pixels of a code that have these ranks among all of them: [2, rank]."""
    before = np.cumsum(in_row) - in_row
    rows = np.searchsorted(np.cumsum(in_row), ranks, side="right")
    cols = np.empty_like(rows)
    for row in np.unique(rows):
        at = rows == row
        cols[at] = np.flatnonzero(class_map[row] == code)[ranks[at] - before[row]]
    return np.stack([rows, cols]).astype(np.int64)


def near_crops(
    class_map: NDArray[np.uint8], crops: Sequence[int], *, pixels: int, nodata: int | None, code: int
) -> NDArray[np.uint8]:
    """The map with a stratum of its own, `code`, for land that is no crop and lies within `pixels` (in a
    square) of one: there crops are missed most, and points there make their omission known cheaply.

    Olofsson et al. 2020, Remote Sensing of Environment 236, 111492. doi:10.1016/j.rse.2019.111492

    >>> near_crops(np.array([[1, 2, 2, 2]], np.uint8), [1], pixels=1, nodata=0, code=9).tolist()
    [[1, 9, 2, 2]]
    """
    from scipy.ndimage import maximum_filter

    crop = np.isin(class_map, crops)
    near = maximum_filter(crop.view(np.uint8), size=2 * pixels + 1, mode="constant").view(np.bool_) & ~crop
    if nodata is not None:
        near &= class_map != nodata
    return np.where(near, np.uint8(code), class_map)
