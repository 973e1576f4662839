"""What a climatology is made of: a season's cube, or the rasters of a run folder where only that is left."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from eo_pipeline.cube.indices import INDICES, band_of, feature_series, missing_for
from eo_pipeline.cube.store import NODATA, TileStore, encode, grid_of
from eo_pipeline.errors import CubeError
from eo_pipeline.grid import Block, Grid
from eo_pipeline.storage import Place


class PastSeason(Protocol):
    """A season of one tile: its dates, and the values of an index in a block."""

    @property
    def label(self) -> str:
        """Its name in the store: “2025”, “jingning-2025”."""
        ...

    @property
    def dates(self) -> Sequence[date]:
        """One a step."""
        ...

    @property
    def grid(self) -> Grid:
        """Of the whole tile."""
        ...

    def read(self, index: str, block: Block) -> NDArray[np.int16]:
        """Values × 10 000 of a block, int16 (step, y, x); `NODATA` where the step was not seen."""
        ...


@dataclass(frozen=True, slots=True)
class CubeSeason:
    """A season's cube: an index as it was seen, so a dekad under cloud counts as no season there.

    `kept` says of every step whether its verdict keeps it; empty keeps all.
    """

    label: str
    store: Place
    kept: tuple[bool, ...] = ()

    @property
    def dates(self) -> tuple[date, ...]:
        return tuple(step.day for step in TileStore(self.store).steps)

    @property
    def grid(self) -> Grid:
        return grid_of(TileStore(self.store))

    def read(self, index: str, block: Block) -> NDArray[np.int16]:
        tile = TileStore(self.store)
        known = tuple(tile.group.attrs["bands"])
        if why := missing_for(index, known):
            raise CubeError(f"{self.store} cannot give {index}: {why}. Leave the index or the season out.")
        needed = (index,) if index in known else tuple(str(band_of(b, known)) for b in INDICES[index].bands)
        values = tile.read_clear(block, self.kept, bands=needed)
        return encode(feature_series(values, needed, (index,))[:, 0])


@dataclass(frozen=True, slots=True)
class RasterSeason:
    """A season of which only a run folder is left: a raster an index with one band a date.

    These are smoothed curves without a record of which dekads were seen: all that are not nodata count, save
    dates in `unseen`. `rasters` are pairs of index and path.
    """

    label: str
    rasters: tuple[tuple[str, Path], ...]
    dates: tuple[date, ...]
    unseen: tuple[date, ...] = ()

    @property
    def grid(self) -> Grid:
        import rasterio

        with rasterio.Env(), rasterio.open(self.rasters[0][1]) as raster:
            place = tuple(float(v) for v in tuple(raster.transform)[:6])
            return Grid(raster.crs.to_wkt(), place, raster.width, raster.height)  # type: ignore[arg-type]

    def read(self, index: str, block: Block) -> NDArray[np.int16]:
        import rasterio
        from rasterio.errors import RasterioError

        path = dict(self.rasters).get(index)
        if path is None:
            held = ", ".join(name for name, _ in self.rasters)
            raise CubeError(f"Season {self.label} has no raster of {index}, only of {held}; leave one out.")
        try:
            with rasterio.Env(), rasterio.open(path) as raster:
                if raster.count != len(self.dates) or raster.dtypes[0] != "int16":
                    raise CubeError(
                        f"{path} has {raster.count} bands of {raster.dtypes[0]} for {len(self.dates)} dates; "
                        "it must hold one band of int16 × 10 000 for each date."
                    )
                numbers: NDArray[np.int16] = raster.read(window=block.window)
                nodata = raster.nodata
        except RasterioError as error:
            raise CubeError(f"{path} cannot be read ({error}). Make the run folder anew.") from error
        if nodata is not None and nodata != NODATA:
            numbers[numbers == nodata] = NODATA
        numbers[[day in self.unseen for day in self.dates]] = NODATA
        return numbers
