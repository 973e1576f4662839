"""How well a map of water or of damage agrees with a reference raster on the same grid."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from eo_pipeline.errors import SourceError
from eo_pipeline.grid import Grid
from eo_pipeline.products.zonal import PixelAreas

if TYPE_CHECKING:
    from rasterio.io import DatasetReader


@dataclass(frozen=True, slots=True)
class Agreement:
    """Pixels of one class: in both rasters, in the map alone, in the reference alone, in neither.

    Areas in km² are None without a CRS. Ratios without a pixel to divide by are NaN.
    """

    both: int
    map_only: int
    reference_only: int
    neither: int
    map_km2: float | None
    reference_km2: float | None

    @property
    def iou(self) -> float:
        """Intersection over union."""
        return _ratio(self.both, self.both + self.map_only + self.reference_only)

    @property
    def precision(self) -> float:
        """Share of the map's class that the reference confirms."""
        return _ratio(self.both, self.both + self.map_only)

    @property
    def recall(self) -> float:
        """Share of the reference's class that the map finds."""
        return _ratio(self.both, self.both + self.reference_only)

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall."""
        return _ratio(2 * self.both, 2 * self.both + self.map_only + self.reference_only)

    @property
    def accuracy(self) -> float:
        """Share of pixels on which both agree."""
        total = self.both + self.map_only + self.reference_only + self.neither
        return _ratio(self.both + self.neither, total)

    def as_dict(self) -> dict[str, Any]:
        """For machines, ratios by six digits."""
        ratios = {
            name: round(getattr(self, name), 6) for name in ("iou", "precision", "recall", "f1", "accuracy")
        }
        counts = {name: getattr(self, name) for name in ("both", "map_only", "reference_only", "neither")}
        return ratios | counts | {"map_km2": self.map_km2, "reference_km2": self.reference_km2}


@dataclass(frozen=True, slots=True)
class Compared:
    """Two rasters held against each other: pixels the reference tells of, and of these the unseen ones.

    `unseen` are pixels where the map says nothing and the reference does: they count as none of the map's
    classes, so that a map does not gain by staying silent.
    """

    pixels: int
    unseen: int
    classes: Mapping[int, Agreement]
    whole: Agreement
    events: Mapping[int, tuple[int, int]]


def _ratio(part: int, whole: int) -> float:
    return part / whole if whole else float("nan")


def compare(predicted: Path, reference: Path, *, within: Path | None = None, smallest: int = 0) -> Compared:
    """Compare a map with a reference: every class above 0, and all of them taken as one.

    Parameters
    ----------
    predicted, reference
        GeoTIFFs of whole numbers on one grid. 0 is none of the classes. A pixel is left out where the
        reference is its nodata or below 0.
    within
        GeoTIFF on the same grid; only pixels above 0 count, e.g. cropland.
    smallest
        Events are patches of one class in the reference of at least this many pixels; 0 counts none. A patch
        is found where the map has its class on at least a tenth of it.

    Raises
    ------
    SourceError
        A raster that cannot be read, lies on another grid, or leaves no pixel to compare.
    """
    with ExitStack() as stack:
        truth = stack.enter_context(_open(reference))
        found = stack.enter_context(_open(predicted))
        _require_same_grid(predicted, found, reference, truth)
        expected, told = _classes(truth, reference)
        mapped, seen = _classes(found, predicted)
        if within is not None:
            mask = stack.enter_context(_open(within))
            _require_same_grid(within, mask, reference, truth)
            inside, known = _classes(mask, within)
            told &= known & (inside > 0)
        grid = Grid(
            truth.crs.to_wkt() if truth.crs else "", tuple(truth.transform)[:6], truth.width, truth.height
        )
    if not told.any():
        raise SourceError(
            f"{reference} tells of not one pixel; there is nothing to compare {predicted} with."
        )
    hectares = PixelAreas(grid).ha() if grid.crs else None
    unseen = int((told & ~seen).sum())
    mapped = np.where(seen, mapped, 0)
    codes = sorted({int(v) for part in (mapped, expected) for v in np.unique(part[told])} - {0})
    return Compared(
        pixels=int(told.sum()),
        unseen=unseen,
        classes={code: _agreement(mapped == code, expected == code, told, hectares) for code in codes},
        whole=_agreement(mapped > 0, expected > 0, told, hectares),
        events={code: _found(mapped == code, (expected == code) & told, smallest) for code in codes}
        if smallest
        else {},
    )


def _open(path: Path) -> DatasetReader:
    import rasterio
    from rasterio.errors import RasterioError

    try:
        return rasterio.open(path)
    except RasterioError as error:
        raise SourceError(f"{path} cannot be read as a raster: {error}. Give a GeoTIFF.") from error


def _require_same_grid(one: Path, first: DatasetReader, other: Path, second: DatasetReader) -> None:
    same = first.shape == second.shape and np.allclose(
        tuple(first.transform)[:6], tuple(second.transform)[:6], rtol=1e-9, atol=0
    )
    if not same or (first.crs and second.crs and first.crs != second.crs):
        raise SourceError(
            f"{one} ({first.height} × {first.width} pixels) and {other} ({second.height} × {second.width}) "
            "lie on different grids; they are compared pixel by pixel. Bring one onto the other's grid "
            "(gdalwarp -te … -tr …)."
        )


def _classes(raster: DatasetReader, path: Path) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Codes of the first band, and where it says something."""
    from rasterio.errors import RasterioError

    try:
        values = raster.read(1)
    except RasterioError as error:
        raise SourceError(f"{path} is damaged: {error}. Get the file again.") from error
    known = np.isfinite(values)
    if raster.nodata is not None and np.isfinite(raster.nodata):
        known &= values != raster.nodata
    numbers = np.where(known, values, 0)
    if not np.array_equal(numbers, np.rint(numbers)):
        raise SourceError(
            f"{path} holds fractions like {float(numbers[numbers != np.rint(numbers)][0]):.4g}; a map of "
            "classes holds whole numbers. Give the map, not a probability."
        )
    codes = numbers.astype(np.int64)
    return codes, known & (codes >= 0)


def _agreement(
    mapped: NDArray[np.bool_],
    expected: NDArray[np.bool_],
    told: NDArray[np.bool_],
    hectares: NDArray[np.float64] | None,
) -> Agreement:
    mapped, expected = mapped & told, expected & told

    def km2(where: NDArray[np.bool_]) -> float | None:
        return None if hectares is None else round(float(hectares[where].sum()) / 100, 6)

    return Agreement(
        both=int((mapped & expected).sum()),
        map_only=int((mapped & ~expected).sum()),
        reference_only=int((expected & ~mapped).sum()),
        neither=int((told & ~mapped & ~expected).sum()),
        map_km2=km2(mapped),
        reference_km2=km2(expected),
    )


def _found(mapped: NDArray[np.bool_], expected: NDArray[np.bool_], smallest: int) -> tuple[int, int]:
    """Patches of the reference that the map has, and all of them."""
    from scipy.ndimage import label

    patches, count = label(expected, structure=np.ones((3, 3)))
    sizes = np.bincount(patches.ravel(), minlength=count + 1)[1:]
    hits = np.bincount(patches[mapped], minlength=count + 1)[1:]
    counted = sizes >= smallest
    return int((counted & (hits >= 0.1 * sizes)).sum()), int(counted.sum())
