"""Season curves of units, parcels and classes, summed over blocks.

A block hands on whole-number sums and histograms, so that the curves do not depend on how a tile was cut.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from eo_pipeline.cube.smoothing import array_of, observed_index
from eo_pipeline.cube.store import NODATA, SCALE, TileStore, encode
from eo_pipeline.engine import Result, read_file, write_atomic
from eo_pipeline.grid import Block, Grid
from eo_pipeline.products.zonal import PixelAreas, ZoneUnit, zone_layers
from eo_pipeline.storage import Place

#: Bins of an index from −1 to 1, by scope; quantiles are interpolated within a bin. Parcels are many and
#: small.
BINS: Final = {"class": 400, "unit": 400, "parcel": 100}
#: The unit of a season without unit polygons: everything the images cover.
REGION: Final = "region"
_TABLES: Final = ("smoothed", "observed", "histogram", "classes")


@dataclass(frozen=True, slots=True)
class Zone:
    """Whose curve it is: scope "class" (whole image), "unit" or "parcel", its code, and the class of its
    pixels.

    Class 0 means no class. A parcel's pixels stay together, whatever their classes: its crop is their
    majority.
    """

    scope: str
    code: str
    crop: int


@dataclass(slots=True)
class Sums:
    """What is added up for one zone: pixels, hectares, and for each index and date sums, counts, a
    histogram.
    """

    dates: tuple[date, ...]
    indices: tuple[str, ...]
    bins: int
    pixels: int = 0
    area_ha: float = 0.0
    smoothed: NDArray[np.int64] = field(init=False)
    observed: NDArray[np.int64] = field(init=False)
    histogram: NDArray[np.uint32] = field(init=False)
    classes: NDArray[np.uint32] = field(init=False)

    def __post_init__(self) -> None:
        shape = (len(self.indices), len(self.dates), 2)  # sum (× 10 000) and count
        self.smoothed = np.zeros(shape, dtype=np.int64)
        self.observed = np.zeros(shape, dtype=np.int64)
        # four bytes a count: of a county's parcels they are nearly all that its memory is full of
        self.histogram = np.zeros((*shape[:2], self.bins), dtype=np.uint32)
        self.classes = np.zeros(256, dtype=np.uint32)  # pixels by class code

    def add(self, other: Sums) -> None:
        """Add another's sums, date by date; its dates must be among these."""
        self.pixels += other.pixels
        self.area_ha += other.area_ha
        at = [self.dates.index(day) for day in other.dates]
        self.smoothed[:, at] += other.smoothed
        self.observed[:, at] += other.observed
        self.histogram[:, at] += other.histogram
        self.classes += other.classes

    @property
    def crop(self) -> int:
        """The class most of its pixels are of; 0 where none has one."""
        return int(np.argmax(self.classes[1:])) + 1 if self.classes[1:].any() else 0

    def median(self, index: str) -> NDArray[np.float64]:
        """Median of the smoothed pixels on each date; NaN before the first and after the last clear view."""
        number = self.indices.index(index)
        return np.where(self._seen(number), _quantile(self.histogram[number], 0.5), np.nan)

    def _seen(self, number: int) -> NDArray[np.bool_]:
        """Dates from the first to the last clear view: beyond, the smoother only holds its curve level."""
        days = np.flatnonzero(self.observed[number, :, 1])
        inside = np.zeros(len(self.dates), dtype=np.bool_)
        if days.size:
            inside[days[0] : days[-1] + 1] = True
        return inside

    def curve(self, index: str) -> Curve:
        """Means and quartiles of one index; the smoothed ones are NaN before the first and after the last
        view.
        """
        number = self.indices.index(index)
        inside = self._seen(number)
        low, high = (
            np.where(inside, _quantile(self.histogram[number], share), np.nan) for share in (0.25, 0.75)
        )
        share = self.observed[number, :, 1] / max(1, self.pixels)
        return Curve(
            self.dates,
            _mean(self.observed[number]),
            np.where(inside, _mean(self.smoothed[number]), np.nan),
            low,
            high,
            share.astype(np.float64),
        )


@dataclass(frozen=True, slots=True)
class Curve:
    """A season curve: mean of the clear views, mean and quartiles of the smoothed pixels, share seen
    clear.
    """

    dates: tuple[date, ...]
    observed: NDArray[np.float64]
    smoothed: NDArray[np.float64]
    p25: NDArray[np.float64]
    p75: NDArray[np.float64]
    clear_share: NDArray[np.float64]


def _mean(sums: NDArray[np.int64]) -> NDArray[np.float64]:
    total, count = sums[:, 0], sums[:, 1]
    means: NDArray[np.float64] = np.where(count > 0, total / np.maximum(count, 1) / SCALE, np.nan)
    return np.round(means, 6)


def _quantile(histogram: NDArray[np.uint32], share: float) -> NDArray[np.float64]:
    """The value below which `share` of a histogram lies, by linear interpolation in its bin; NaN if empty."""
    total = histogram.sum(axis=1)
    edges = np.linspace(-1.0, 1.0, histogram.shape[1] + 1)
    result = np.full(len(histogram), np.nan)
    for number in np.flatnonzero(total):
        cumulated = np.concatenate([[0], np.cumsum(histogram[number])])
        result[number] = np.interp(share * total[number], cumulated, edges)
    return np.round(result, 6)


def curves_block(
    *,
    block: Block,
    grid: Grid,
    store: Place,
    kept: Sequence[bool],
    bands: Sequence[str],
    dates: Sequence[date],
    indices: Sequence[str],
    zones: Sequence[tuple[str, Sequence[ZoneUnit]]],
    class_map: str | None,
    output: Place,
) -> Result:
    """Sum one block's curves by unit or parcel and class, and keep them in `output`.

    Parameters
    ----------
    zones : (scope, units) pairs; the scope "class" has no units and is one zone, `REGION`, of the whole
    image. class_map : array of the class map, None where the season makes none.

    Returns
    -------
    dict
        `zones`: number of zones met.
    """
    tile = TileStore(store)
    reflectance = tile.read_clear(block, kept)
    smoothed = {index: tile.read(array_of(index), block) for index in indices}
    covered = np.any([(values != NODATA).any(axis=0) for values in smoothed.values()], axis=0)
    classes = tile.read(class_map, block) if class_map else np.zeros(covered.shape, dtype=np.uint8)
    area = PixelAreas(grid).ha(*block.slices)
    observed = {index: encode(observed_index(reflectance, bands, index)) for index in indices}
    del reflectance

    found: dict[Zone, Sums] = {}
    for scope, units in zones:
        for labels, codes in _layers(units, block.grid(grid), covered):
            by_class = np.zeros_like(classes) if scope == "parcel" else classes
            key = labels.astype(np.int64) * 256 + by_class
            key[(labels == 0) | ~covered] = 0
            keys, inverse = np.unique(key, return_inverse=True)
            groups = _Groups(inverse.ravel(), len(keys))
            tables = [
                (
                    groups.sums(smoothed[i]),
                    groups.sums(observed[i]),
                    groups.histogram(smoothed[i], BINS[scope]),
                )
                for i in indices
            ]
            pixels, hectares, members = groups.pixels(), groups.weights(area), groups.classes(classes)
            for place, value in enumerate(keys):
                if value < 256:  # label 0: no unit, or nothing seen
                    continue
                sums = Sums(
                    tuple(dates), tuple(indices), BINS[scope], int(pixels[place]), float(hectares[place])
                )
                sums.classes[:] = members[place]
                for number, (smooth_table, seen_table, histogram) in enumerate(tables):
                    sums.smoothed[number] = smooth_table[:, place]
                    sums.observed[number] = seen_table[:, place]
                    sums.histogram[number] = histogram[:, place]
                found[Zone(scope, codes[value // 256 - 1], int(value % 256))] = sums
    _save(output, found)
    return {"zones": len(found)}


def _layers(
    units: Sequence[ZoneUnit], grid: Grid, covered: NDArray[np.bool_]
) -> Iterator[tuple[NDArray[np.int32], tuple[str, ...]]]:
    if not units:
        yield covered.astype(np.int32), (REGION,)
        return
    for layer in zone_layers(units, grid):
        yield layer.labels, tuple(unit.code for unit in layer.units)


class _Groups:
    """Counts and sums of pixels by the group each belongs to."""

    def __init__(self, group: NDArray[np.int64], count: int) -> None:
        self.group, self.count = group, count

    def pixels(self) -> NDArray[np.int64]:
        return np.bincount(self.group, minlength=self.count).astype(np.int64)

    def weights(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        total: NDArray[np.float64] = np.bincount(
            self.group, weights=values.ravel(), minlength=self.count
        ).astype(np.float64)
        return total

    def sums(self, values: NDArray[np.int16]) -> NDArray[np.int64]:
        """Sum and count of what is not nodata: int64 (step, group, 2)."""
        result = np.zeros((len(values), self.count, 2), dtype=np.int64)
        for number, image in enumerate(values):
            flat = image.ravel()
            known = flat != NODATA
            members = self.group[known]
            # exact: a float64 holds whole numbers up to 2^53
            result[number, :, 0] = np.bincount(members, weights=flat[known], minlength=self.count)
            result[number, :, 1] = np.bincount(members, minlength=self.count)
        return result

    def classes(self, classes: NDArray[np.uint8]) -> NDArray[np.uint32]:
        """uint32 (group, 256): pixels by class code."""
        counts = np.bincount(self.group * 256 + classes.ravel(), minlength=self.count * 256)
        return counts.reshape(self.count, 256).astype(np.uint32)

    def histogram(self, values: NDArray[np.int16], bins: int) -> NDArray[np.uint32]:
        """uint32 (step, group, bin)."""
        result = np.zeros((len(values), self.count, bins), dtype=np.uint32)
        for number, image in enumerate(values):
            flat = image.ravel()
            known = flat != NODATA
            place = np.clip((flat[known].astype(np.int64) + SCALE) * bins // (2 * SCALE), 0, bins - 1)
            counts = np.bincount(self.group[known] * bins + place, minlength=self.count * bins)
            result[number] = counts.reshape(self.count, bins)
        return result


def _save(path: Place, found: Mapping[Zone, Sums]) -> None:
    arrays: dict[str, Any] = {
        "scope": np.array([zone.scope for zone in found], dtype=str),
        "code": np.array([zone.code for zone in found], dtype=str),
        "crop": np.array([zone.crop for zone in found], dtype=np.int64),
        "pixels": np.array([sums.pixels for sums in found.values()], dtype=np.int64),
        "area_ha": np.array([sums.area_ha for sums in found.values()], dtype=np.float64),
    }
    for scope in sorted({zone.scope for zone in found}):  # one shape a scope; sets differ by process
        members = [sums for zone, sums in found.items() if zone.scope == scope]
        for name in _TABLES:
            arrays[f"{scope}_{name}"] = np.stack([getattr(sums, name) for sums in members])
    content = io.BytesIO()
    np.savez_compressed(content, **arrays)
    write_atomic(path, content.getvalue())


def read_sums(path: Place, *, dates: Sequence[date], indices: Sequence[str]) -> dict[Zone, Sums]:
    """What `curves_block` kept of a block."""
    found: dict[Zone, Sums] = {}
    with np.load(io.BytesIO(read_file(path))) as document:
        arrays = {name: document[name] for name in document.files}
    taken: dict[str, int] = {}
    names = zip(arrays["scope"], arrays["code"], arrays["crop"], strict=True)
    for number, (scope, code, crop) in enumerate(names):
        place = taken.get(scope, 0)
        taken[scope] = place + 1
        sums = Sums(
            tuple(dates),
            tuple(indices),
            BINS[scope],
            int(arrays["pixels"][number]),
            float(arrays["area_ha"][number]),
        )
        for name in _TABLES:
            setattr(sums, name, arrays[f"{scope}_{name}"][place])
        found[Zone(str(scope), str(code), int(crop))] = sums
    return found


def merge(parts: Iterable[Mapping[Zone, Sums]], dates: Iterable[date]) -> dict[Zone, Sums]:
    """Sums of blocks, and of tiles with dates of their own, as sums of the whole on all `dates`.

    Parts are taken one by one, so that they need not all be in memory.
    """
    days = tuple(sorted(set(dates)))
    merged: dict[Zone, Sums] = {}
    for part in parts:
        for zone, sums in part.items():
            if zone not in merged:
                merged[zone] = Sums(days, sums.indices, sums.bins)
            merged[zone].add(sums)
    return {zone: merged[zone] for zone in sorted(merged, key=lambda z: (z.scope, z.code, z.crop))}


def total(parts: Sequence[Sums]) -> Sums:
    """Several zones' sums as one."""
    whole = Sums(parts[0].dates, parts[0].indices, parts[0].bins)
    for part in parts:
        whole.add(part)
    return whole
