"""The land of the twin: loess hills, terraced parcels along the contours, villages, woods, townships.

Only shapes and heights live here; what grows on a parcel is drawn in `calendar`. Everything is synthetic.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from eo_pipeline.simulate import crops

Float = NDArray[np.float32]
Ints = NDArray[np.int32]

EPSG: Final = 32648
PIXEL_M: Final = 10.0
#: Upper left corner of the 5 km piece: 105.65 E 35.45 N, on the 20 m grid of Sentinel-2 tile 48SWE (499980,
#: 4000020).
WEST: Final = 558_800.0
NORTH: Final = 3_923_100.0
_TILE_WEST, _TILE_NORTH = 499_980.0, 4_000_020.0
WEST_M: Final = _TILE_WEST + 20 * round((WEST - _TILE_WEST) / 20)
NORTH_M: Final = _TILE_NORTH - 20 * round((_TILE_NORTH - NORTH) / 20)

COUNTY: Final = ("620826", "静宁县（示范片）")
#: Four townships of Jingning lend code and name to the quarters of the piece; the outlines are invented
#: (示意).
TOWNSHIPS: Final = (
    ("620826105", "甘沟镇"),
    ("620826100", "城关镇"),
    ("620826103", "李店镇"),
    ("620826101", "威戎镇"),
)
USES: Final = ("field", "village", "wood", "grass", "gully", "river")
MIN_PARCEL_PX, MAX_PARCEL_PX = 20, 300  # 0.2 and 3 ha


@dataclass(frozen=True, slots=True)
class Grid:
    """A north-up square of `size` × `size` pixels of 10 m in EPSG:32648."""

    size: int
    west: float = WEST_M
    north: float = NORTH_M

    @property
    def transform(self) -> tuple[float, float, float, float, float, float]:
        """Affine coefficients a, b, c, d, e, f (column and row to metres)."""
        return (PIXEL_M, 0.0, self.west, 0.0, -PIXEL_M, self.north)


@dataclass(frozen=True, slots=True)
class Landscape:
    """Rasters (rows from the north) and one entry a segment in the per-segment arrays.

    `segment` holds 0 … n-1 for every pixel; the first `n_parcels` segments are parcels, numbered from the
    north-west; the others are land without a crop. `use` indexes `USES`; `township` indexes `TOWNSHIPS`.
    """

    grid: Grid
    elevation: Float
    slope: Float
    aspect_east: Float
    aspect_north: Float
    segment: Ints
    n_parcels: int
    use: NDArray[np.int8]
    pixels: Ints
    height: Float
    mean_slope: Float
    x: Float
    y: Float
    township: NDArray[np.int8]

    @property
    def parcel_ids(self) -> list[str]:
        """Ids of the parcels, in segment order."""
        return [f"{COUNTY[0]}-P{number:04d}" for number in range(1, self.n_parcels + 1)]


def smooth_noise(size: int, scale_px: float, rng: np.random.Generator) -> Float:
    """Stationary Gaussian noise of variance 1, smoothed with a Gaussian of `scale_px`, shape (size, size).

    Drawn on a larger torus so that the field neither wraps nor depends on the crop.
    """
    from scipy import fft

    total = fft.next_fast_len(int(size + 6 * scale_px), real=True)
    white = rng.standard_normal((total, total), dtype=np.float32)
    row = np.fft.fftfreq(total)[:, None]
    column = np.fft.rfftfreq(total)[None, :]
    kernel = np.exp(-2 * (np.pi * scale_px) ** 2 * (row**2 + column**2)).astype(np.float32)
    field = fft.irfft2(fft.rfft2(white) * kernel, s=(total, total))[:size, :size]
    # A Gaussian of standard deviation s leaves white noise with the standard deviation 1 / (2 sqrt(pi) s).
    return np.asarray(field * (2 * np.sqrt(np.pi) * scale_px), dtype=np.float32)


def build(size_km: float, *, seed: int) -> Landscape:
    """Make the land.

    Parameters
    ----------
    size_km
        Side of the piece, a multiple of 0.02 km.
    seed
        The same seed and size give the same land.
    """
    size = round(size_km * 1000 / PIXEL_M)
    rng = np.random.default_rng([seed, 1])
    elevation, river_m, relief = _terrain(size, rng)
    south_rise, east_rise = (np.asarray(g, np.float32) for g in np.gradient(elevation, PIXEL_M))
    slope = np.hypot(south_rise, east_rise).astype(np.float32)
    use_raster = _land_use(size, river_m, relief, slope, rng)
    labels, use = _segments(elevation, slope, use_raster, rng)
    return _assemble(
        Grid(size), elevation, slope, facing=(-east_rise, south_rise), labels=labels, use=use, rng=rng
    )


def _terrain(size: int, rng: np.random.Generator) -> tuple[Float, Float, Float]:
    """Elevation (m), distance to the river (m), and the relief noise whose zero lines are the gullies."""
    rows, columns = np.mgrid[0:size, 0:size].astype(np.float32) * PIXEL_M
    length = size * PIXEL_M
    course = 0.2 * length + 0.05 * length * np.sin(2 * np.pi * rows / 3600 + rng.uniform(0, 6.28))
    river = np.abs(columns - course)
    hill = np.clip((river - 220) / 900, 0, 1)
    hill = hill * hill * (3 - 2 * hill)
    # |noise| has rounded tops and sharp zero lines: the 梁峁 hills and their gullies.
    relief = smooth_noise(size, 36, rng)
    detail = smooth_noise(size, 13, rng)
    elevation = 1595 + 0.004 * (length - rows) + 0.012 * river
    elevation = elevation + hill * (35 + 105 * np.abs(relief) + 14 * np.abs(detail))
    return (
        elevation.astype(np.float32),
        river.astype(np.float32),
        np.where(hill > 0.35, relief, 9).astype(np.float32),
    )


def _land_use(
    size: int, river: Float, relief: Float, slope: Float, rng: np.random.Generator
) -> NDArray[np.int8]:
    """Index into `USES` for every pixel."""
    use = np.zeros((size, size), np.int8)
    woodiness = smooth_noise(size, 16, rng) + 2.2 * (slope - 0.25)
    use[woodiness > 1.35] = USES.index("wood")
    use[(slope > 0.5) & (use == 0)] = USES.index("grass")
    gully = np.abs(relief) < 0.09 + 0.03 * smooth_noise(size, 8, rng)
    use[gully] = USES.index("gully")
    use[gully & (np.abs(relief) > 0.055)] = USES.index("grass")
    # Villages: on gentle ground above the river, each a warped disc.
    rough = smooth_noise(size, 5, rng)
    rows, columns = np.mgrid[0:size, 0:size].astype(np.float32)
    sites = np.argwhere((slope < 0.2) & (river > 90) & (use == 0))
    count = max(1, round(0.5 * (size * PIXEL_M / 1000) ** 2))
    for row, column in sites[rng.choice(len(sites), min(count, len(sites)), replace=False)]:
        radius = rng.uniform(5, 12)
        use[np.hypot(rows - row, 0.8 * (columns - column)) + 2.2 * rough < radius] = USES.index("village")
    use[river < 22 + 5 * rough] = USES.index("river")
    return use


def _segments(
    elevation: Float, slope: Float, use_raster: NDArray[np.int8], rng: np.random.Generator
) -> tuple[Ints, NDArray[np.int8]]:
    """Cut every use into segments, fields along the contours; labels (any order) and the use of each."""
    size = elevation.shape[0]
    labels = np.full((size, size), -1, np.int32)
    use: list[int] = []
    warp = [18 * smooth_noise(size, 7, rng) for _ in range(2)]
    rows, columns = np.mgrid[0:size, 0:size].astype(np.float32) * PIXEL_M
    for index, name in enumerate(USES):
        mask = use_raster == index
        if not mask.any():
            continue
        field = name == "field"
        # Height counts like distance: a cell then reaches far along the contour and little across it.
        stretch = 11.0 if field else 2.0
        points = np.column_stack(
            [(columns + warp[0])[mask], (rows + warp[1])[mask], stretch * elevation[mask]]
        ).astype(np.float32)
        target = np.where(slope[mask] < 0.08, 110.0, 62.0) if field else np.full(len(points), 260.0)
        cells = _voronoi(points, 1 / target, rng)
        grid = np.full((size, size), -1, np.int32)
        grid[mask] = cells
        grid = _connected(grid)
        grid = _merge_small(grid, MIN_PARCEL_PX if field else 6)
        if field:
            grid = _split_large(grid)
        inside = grid >= 0
        labels[inside] = grid[inside] + len(use)
        found = int(grid.max()) + 1
        sizes = np.bincount(grid[inside], minlength=found)
        # A scrap that touched no other field is grown over.
        scrap = sizes < MIN_PARCEL_PX if field else np.zeros(found, bool)
        use += [USES.index("grass") if small else index for small in scrap]
    return labels, np.asarray(use, np.int8)


def _voronoi(points: Float, density: NDArray[np.float64], rng: np.random.Generator) -> Ints:
    """Nearest-seed cells of about 1/density points each, evened out by three Lloyd steps."""
    from scipy.spatial import cKDTree

    count = max(1, round(float(density.sum())))
    chosen = rng.choice(len(points), min(count, len(points)), replace=False, p=density / density.sum())
    seeds = points[np.sort(chosen)].astype(np.float64)
    for _ in range(3):
        cells = cKDTree(seeds).query(points)[1]
        sizes = np.maximum(np.bincount(cells, minlength=len(seeds)), 1)
        for axis in range(points.shape[1]):
            seeds[:, axis] = np.bincount(cells, points[:, axis], minlength=len(seeds)) / sizes
    return np.asarray(cKDTree(seeds).query(points)[1], np.int32)


def _connected(grid: Ints) -> Ints:
    """Give every 4-connected part of a label its own number from 0; -1 stays outside."""
    size = grid.shape[0]
    index = np.arange(size * size).reshape(size, size)
    across = (grid[:, 1:] == grid[:, :-1]) & (grid[:, 1:] >= 0)
    down = (grid[1:] == grid[:-1]) & (grid[1:] >= 0)
    first = np.concatenate([index[:, :-1][across], index[:-1][down]])
    second = np.concatenate([index[:, 1:][across], index[1:][down]])
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    graph = coo_array((np.ones(len(first), np.int8), (first, second)), shape=(size * size, size * size))
    part = connected_components(graph, directed=False)[1].reshape(size, size)
    out = np.full_like(grid, -1)
    inside = grid >= 0
    out[inside] = np.unique(part[inside], return_inverse=True)[1]
    return out


def _merge_small(grid: Ints, least: int) -> Ints:
    """Join every segment below `least` pixels to the neighbour with the longest common border."""
    for _ in range(12):
        count = int(grid.max()) + 1
        sizes = np.bincount(grid[grid >= 0], minlength=count)
        pairs = np.concatenate(
            [
                np.column_stack([grid[:, 1:].ravel(), grid[:, :-1].ravel()]),
                np.column_stack([grid[1:].ravel(), grid[:-1].ravel()]),
            ]
        )
        pairs = pairs[(pairs[:, 0] != pairs[:, 1]) & (pairs.min(1) >= 0)]
        pairs = np.concatenate([pairs, pairs[:, ::-1]])
        pairs = pairs[sizes[pairs[:, 0]] < least]
        if not len(pairs):
            break
        border, length = np.unique(pairs, axis=0, return_counts=True)
        order = np.lexsort((border[:, 1], -length, border[:, 0]))
        border = border[order]
        source, first = np.unique(border[:, 0], return_index=True)
        target = np.arange(count)
        taken = np.zeros(count, bool)
        for small, large in zip(source, border[first, 1], strict=True):
            if not taken[small]:
                target[small] = target[large]
                taken[large] = True
        inside = grid >= 0
        grid[inside] = target[grid[inside]]
        grid = _connected(grid)
    return grid


def _split_large(grid: Ints) -> Ints:
    """Halve fields above `MAX_PARCEL_PX` across their longer axis until none is left."""
    for _ in range(6):
        sizes = np.bincount(grid[grid >= 0])
        large = np.flatnonzero(sizes > MAX_PARCEL_PX)
        if not len(large):
            break
        following = int(grid.max()) + 1
        for label in large:
            where = np.argwhere(grid == label)
            centred = where - where.mean(0)
            along = centred @ np.linalg.eigh(np.cov(centred.T))[1][:, -1]
            half = where[along > np.median(along)]
            grid[half[:, 0], half[:, 1]] = following
            following += 1
        grid = _merge_small(_connected(grid), MIN_PARCEL_PX)
    return grid


def _assemble(
    grid: Grid,
    elevation: Float,
    slope: Float,
    *,
    facing: tuple[Float, Float],
    labels: Ints,
    use: NDArray[np.int8],
    rng: np.random.Generator,
) -> Landscape:
    """Number parcels first and from the north-west, and describe every segment."""
    count = len(use)
    flat = labels.ravel()
    first_pixel = np.full(count, flat.size)
    np.minimum.at(first_pixel, flat, np.arange(flat.size))
    order = np.lexsort((first_pixel, use != USES.index("field")))
    rank = np.empty(count, np.int32)
    rank[order] = np.arange(count, dtype=np.int32)
    segment, use = rank[labels], use[order]
    flat = segment.ravel()
    pixels = np.bincount(flat, minlength=count)

    def mean(values: NDArray[np.floating]) -> Float:
        return np.asarray(np.bincount(flat, values.ravel(), minlength=count) / pixels, np.float32)

    rows, columns = np.mgrid[0 : grid.size, 0 : grid.size].astype(np.float32)
    x, y = mean(columns), mean(rows)
    length = float(grid.size)
    turn = 0.06 * length * np.stack([np.sin(y / length * 7 + rng.uniform(0, 6)), np.cos(x / length * 7)])
    township = 2 * (y + turn[1] > 0.5 * length) + (x + turn[0] > 0.52 * length)
    return Landscape(
        grid=grid,
        elevation=elevation,
        slope=slope,
        aspect_east=facing[0],
        aspect_north=facing[1],
        segment=segment,
        n_parcels=int(np.sum(use == USES.index("field"))),
        use=use,
        pixels=pixels.astype(np.int32),
        height=mean(elevation),
        mean_slope=mean(slope),
        x=x,
        y=y,
        township=township.astype(np.int8),
    )


def fixed_variants(land: Landscape) -> Ints:
    """Variant index of segments whose cover never changes; -1 on parcels."""
    table = np.array([-1] + [crops.VARIANT[name] for name in USES[1:]], np.int32)
    return table[land.use]
