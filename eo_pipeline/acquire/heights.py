"""Copernicus DEM GLO-30 onto the disk: the cells of one degree that a region lies in, each whole."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from eo_pipeline.acquire.checks import DamagedError, check_frame
from eo_pipeline.acquire.folders import is_complete
from eo_pipeline.acquire.products import Collection, Product
from eo_pipeline.acquire.screening import Region, read_region
from eo_pipeline.acquire.wanted import Errand, Outcome
from eo_pipeline.errors import SourceError
from eo_pipeline.season import Season

if TYPE_CHECKING:
    import shapely

HEIGHTS: Final[Collection] = "cop-dem-glo-30"
_KEY: Final = "DEM"
#: Ground that is taken along on all sides, in degrees (some 200 m): a slope asks the pixels around it.
_MARGIN: Final = 0.002
#: A cell of land, where its source tells no size: the real cell N00E006 takes four bytes a pixel of land.
_CELL_BYTES: Final = 50_000_000


@dataclass(frozen=True, slots=True)
class WantedCells:
    """See `Wanted`: cells of the elevation model."""

    region: Region

    @property
    def max_cloud(self) -> float:
        """No limit."""
        return 100.0

    def there(self, folder: Path) -> int | None:
        """See `Wanted.there`."""
        return is_complete(folder, (_KEY,))

    def bytes(self, product: Product) -> int:
        """See `Wanted.bytes`."""
        return product.size or _CELL_BYTES

    def bring(self, errand: Errand) -> Outcome:
        """See `Wanted.bring`."""
        import rasterio

        work, product = errand.work, errand.product
        work.bands((_KEY,), errand.on_sizes)
        path = work.path_of(_KEY)
        try:
            with rasterio.Env(), rasterio.open(path) as raster:
                check_frame(raster, product.properties, f"{product.name}: {path.name}")
        except DamagedError:
            path.unlink(missing_ok=True)
            raise
        work.mark(errand.observation)
        return Outcome(work.bytes, None)


def area_of(region: Region) -> shapely.Geometry:
    """The box of a region, a little larger."""
    import shapely

    west, south, east, north = region.bounds
    return shapely.box(west - _MARGIN, south - _MARGIN, east + _MARGIN, north + _MARGIN)


def cells_of(region: Region) -> tuple[str, ...]:
    """Names of the cells a region's box lies in, by their south-western corners: "N35E105"."""
    west, south, east, north = (math.floor(value) for value in area_of(region).bounds)
    return tuple(
        f"{'S' if lat < 0 else 'N'}{abs(lat):02d}{'W' if lon < 0 else 'E'}{abs(lon):03d}"
        for lat in range(south, north + 1)
        for lon in range(west, east + 1)
    )


def elevation_model(season: Season) -> tuple[Path, ...]:
    """The files of a season's elevation model: those it names, or the cells that were fetched for its region.

    Returns
    -------
    tuple of Path
        Empty where the season has none.

    Raises
    ------
    SourceError
        It is to be fetched, and nothing of it is here.
    """
    spec = season.source.terrain
    if spec is None or not spec.provider:
        return spec.dem if spec else ()
    folders = [
        folder
        for cell in cells_of(read_region(season.region))
        for folder in sorted((spec.root / HEIGHTS / cell).glob("*/"))
        if is_complete(folder, (_KEY,)) is not None
    ]
    if not folders:
        raise SourceError(
            f"{spec.root}: no cell of the elevation model under the season's region lies here. Run "
            "`eo fetch` with the season file, or leave [source.terrain] out."
        )
    return tuple(folder / f"{_KEY}.tif" for folder in folders)
