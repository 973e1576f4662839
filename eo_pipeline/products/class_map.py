"""A class map on disk, as samples are drawn from it and judged on it: codes, names, areas, and the class at a
point.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from eo_pipeline.errors import SampleError, SourceError
from eo_pipeline.grid import Grid, cut
from eo_pipeline.products.samples import LabelledShape
from eo_pipeline.products.sampling import code_counts
from eo_pipeline.products.zonal import LON_LAT, PixelAreas, ZoneIndex, ZoneUnit, class_counts, zone_layers

#: GDAL metadata item of our own maps with the names of the codes, as JSON.
NAMES_TAG: Final = "CLASS_NAMES"
_CODES: Final = 256
_BLOCK: Final = 2048


@dataclass(frozen=True, slots=True)
class ClassMap:
    """`codes` uint8 [y, x] on `grid`; `nodata` is no class, or None where every code is one; `names` of the
    codes that occur.
    """

    path: Path
    grid: Grid
    codes: NDArray[np.uint8]
    nodata: int | None
    names: Mapping[int, str]

    def at(self, path: Path, shapes: Sequence[LabelledShape]) -> tuple[str | None, ...]:
        """Class of the pixel under each sample, None where the map has none; a polygon counts by its
        representative point.

        Raises
        ------
        SampleError
            A sample lies outside the map; names `path`, the row and the place.
        """
        from pyproj import Transformer

        points = [shape.geometry.representative_point() for shape in shapes]
        change = Transformer.from_crs(LON_LAT, self.grid.crs, always_xy=True)
        x, y = change.transform([point.x for point in points], [point.y for point in points])
        a, b, c, d, e, f = (~self.grid.affine)[:6]
        place = np.stack([a * np.array(x) + b * np.array(y) + c, d * np.array(x) + e * np.array(y) + f])
        here = np.isfinite(place).all(axis=0)
        col, row = np.floor(np.where(here, place, -1)).astype(np.int64)
        here &= (row >= 0) & (row < self.grid.height) & (col >= 0) & (col < self.grid.width)
        if not here.all():
            lost = int(np.flatnonzero(~here)[0])
            raise SampleError(
                f"{path}, row {shapes[lost].row}: longitude {points[lost].x:.5f}, latitude "
                f"{points[lost].y:.5f} lies outside {self.path} ({(~here).sum()} sample(s) in all). Correct "
                "the coordinates (longitude first), or give the map that the sample is of."
            )
        codes = self.codes[row, col].tolist()
        return tuple(None if code == self.nodata else self.names[code] for code in codes)

    def hectares(self, units: Sequence[ZoneUnit] = ()) -> tuple[dict[str, float], NDArray[np.float64]]:
        """Area of each class in the whole map, and of the classes (in the order of `names`) in each unit:
        [unit, class].
        """
        pixel, index = PixelAreas(self.grid), ZoneIndex(units)
        whole, parts = np.zeros(_CODES), np.zeros((len(units), _CODES))
        position = {unit.code: number for number, unit in enumerate(units)}
        for block in cut("map", self.grid, size=_BLOCK):
            codes, area = self.codes[block.slices], pixel.ha(*block.slices)
            whole += np.bincount(codes.ravel(), weights=area.ravel(), minlength=_CODES)
            near = index.near(block.grid(self.grid))
            for layer in zone_layers(near, block.grid(self.grid)):
                found = class_counts(
                    codes, layer.labels, n_zones=len(layer.units), n_classes=_CODES, area_ha=area
                )
                for unit, row in zip(layer.units, found.area_ha, strict=True):
                    parts[position[unit.code]] += row
        order = list(self.names)
        return {name: float(whole[code]) for code, name in self.names.items()}, parts[:, order]


def read_class_map(path: Path, names: Mapping[int, str] | None = None) -> ClassMap:
    """Read a raster of one band with class codes 0 ... 255.

    Parameters
    ----------
    names
        Of the codes; where they say none, those of its tag `NAMES_TAG`, else the codes themselves.

    Raises
    ------
    SourceError
        No such raster, several bands, no CRS, numbers that are no codes, or nothing but nodata.
    """
    import rasterio
    from rasterio.errors import RasterioError

    try:
        with rasterio.open(path) as raster:
            if raster.count != 1 or raster.crs is None:
                raise SourceError(
                    f"{path} has {raster.count} band(s) and the CRS {raster.crs}; a class map has one band "
                    "with class codes, and a CRS."
                )
            data, nodata, tag = raster.read(1), raster.nodata, raster.tags().get(NAMES_TAG, "{}")
            transform = (
                raster.transform.a, raster.transform.b, raster.transform.c,
                raster.transform.d, raster.transform.e, raster.transform.f,
            )  # fmt: skip
            grid = Grid(raster.crs.to_wkt(), transform, raster.width, raster.height)
    except RasterioError as error:
        raise SourceError(f"{path} cannot be read as a raster ({error}). Give a GeoTIFF.") from error
    codes, blank = _codes(path, data, nodata)
    present = np.flatnonzero(code_counts(codes).sum(axis=0))
    found = [int(code) for code in present if code != blank]
    if not found:
        raise SourceError(f"{path} holds nothing but nodata ({blank}). Give a map that shows classes.")
    known = {int(code): str(name) for code, name in json.loads(tag).items()} | dict(names or {})
    told = {code: known.get(code, str(code)) for code in found}
    if len(set(told.values())) < len(told):
        raise SourceError(f"{path}: two codes have one name in {told}. Give each class a name of its own.")
    return ClassMap(path, grid, codes, blank, told)


def _codes(
    path: Path, data: NDArray[np.generic], nodata: float | None
) -> tuple[NDArray[np.uint8], int | None]:
    """Codes as uint8, and the one that means nothing: where the raster's nodata is no code, one that is
    free.
    """
    if data.dtype == np.uint8:
        return data.astype(np.uint8, copy=False), None if nodata is None else int(nodata)
    numbers = np.asarray(data, dtype=np.float64)
    blank = np.isnan(numbers) if nodata is None else np.isnan(numbers) | (numbers == nodata)
    known = numbers[~blank]
    if known.size and (known.min() < 0 or known.max() >= _CODES or (known != np.floor(known)).any()):
        raise SourceError(
            f"{path} holds numbers from {known.min():g} to {known.max():g}; class codes are whole "
            "numbers from 0 to 255. Give a class map."
        )
    free = next((code for code in range(_CODES - 1, -1, -1) if not (known == code).any()), None)
    if not blank.any():
        return numbers.astype(np.uint8), None
    if free is None:
        raise SourceError(f"{path} uses all codes from 0 to 255, and nodata too. Merge some of its classes.")
    return np.where(blank, free, numbers).astype(np.uint8), free


def parse_names(text: str) -> dict[int, str]:
    """Names of codes as a user writes them.

    Raises
    ------
    SampleError
        Not of the form `1=wheat,2=maize`.

    >>> parse_names("1=wheat, 2=maize")
    {1: 'wheat', 2: 'maize'}
    """
    out: dict[int, str] = {}
    for part in text.split(","):
        code, _, name = (piece.strip() for piece in part.partition("="))
        if not code.isdigit() or not name:
            raise SampleError(f"--classes {text!r}: write code=name pairs like 1=wheat,2=maize.")
        out[int(code)] = name
    return out
