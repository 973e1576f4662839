"""Is a scene worth its bytes? How much of the cropland in it cloud, shadow and nodata hide, by its SCL."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from eo_pipeline.errors import ArchiveError, SeasonFileError
from eo_pipeline.mgrs import tiles_over
from eo_pipeline.season import RegionSpec, Season

#: SCL classes that hide the ground: no data, defective, shadow, medium and high cloud, cirrus.
BLOCKED: Final = (0, 1, 3, 8, 9, 10)
_NODATA: Final = 0
_MASKS_KEPT: Final = 16


@dataclass(frozen=True, slots=True)
class Screening:
    """What SCL says of the region's ground in one scene: `pixels` of 20 m, and how many are hidden."""

    pixels: int
    nodata: int
    blocked: int

    @property
    def share(self) -> float:
        """Hidden share in percent; 100 where nothing of the region lies in the scene."""
        return 100.0 * self.blocked / self.pixels if self.pixels else 100.0

    def of_part(self) -> Screening:
        """The same for a part of an observation: what lies in the other part is no loss of this one."""
        return replace(self, pixels=self.pixels - self.nodata, nodata=0, blocked=self.blocked - self.nodata)

    def reason(self, max_cloud: float, what: str) -> str:
        """Why a scene is left out, for ledger and table; empty where it is kept."""
        if not self.pixels:
            return f"none of the {what} lies in it"
        if self.nodata == self.pixels:
            return f"no data over the {what}"
        if self.share > max_cloud:
            return f"{self.share:.0f} % cloud, shadow or no data over the {what} (limit {max_cloud:g} %)"
        return ""


def screen(scl: NDArray[np.uint8], inside: NDArray[np.bool_], blocked: Sequence[int] = BLOCKED) -> Screening:
    """Count hidden pixels.

    Parameters
    ----------
    scl : (y, x) uint8
        Scene classification; 0 is nodata.
    inside : (y, x) bool
        Pixels that count.
    """
    counts = np.bincount(scl[inside].ravel(), minlength=256)
    return Screening(int(counts.sum()), int(counts[_NODATA]), int(counts[list(blocked)].sum()))


@dataclass(slots=True)
class Region:
    """The ground that counts: polygons in longitude and latitude, and what they are.

    `shapes` are shapely polygons; parcels where the season names them, else units, else its bbox.
    """

    what: Literal["parcels", "units", "region"]
    shapes: NDArray[Any]
    _masks: dict[tuple[Any, ...], NDArray[np.bool_]] = field(default_factory=dict, repr=False)

    @property
    def token(self) -> str:
        """Another for every other region: what was screened with one says nothing of another."""
        import hashlib

        import shapely

        return hashlib.sha256(b"".join(shapely.to_wkb(self.shapes))).hexdigest()[:16]

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        """West, south, east and north in degrees."""
        import shapely

        west, south, east, north = map(float, shapely.total_bounds(self.shapes))
        return west, south, east, north

    @property
    def wkt(self) -> str:
        """One geometry around it all, for a search; never smaller than the region."""
        import shapely

        whole = shapely.union_all(shapely.envelope(self.shapes) if self.what == "parcels" else self.shapes)
        if self.what == "parcels" or shapely.get_num_coordinates(whole) > 500:
            whole = shapely.convex_hull(whole)
        return str(whole.wkt)

    def inside(self, crs: Any, transform: Any, shape: tuple[int, int]) -> NDArray[np.bool_]:
        """Pixels of a grid that the region touches, (y, x); kept for the next scene of the tile."""
        import shapely
        from pyproj import Transformer
        from rasterio.features import rasterize

        key = (str(crs), tuple(transform)[:6], shape)
        if key in self._masks:
            return self._masks[key]
        to_grid = Transformer.from_crs("EPSG:4326", crs.to_wkt(), always_xy=True)
        moved = shapely.transform(self.shapes, lambda xy: np.column_stack(to_grid.transform(*xy.T)))
        height, width = shape
        corners = [transform * corner for corner in ((0, 0), (width, 0), (0, height), (width, height))]
        x, y = zip(*corners, strict=True)
        near = moved[shapely.intersects(moved, shapely.box(min(x), min(y), max(x), max(y)))]
        mask = np.zeros(shape, dtype=bool)
        if near.size:
            # a terrace narrower than a pixel counts too, so every pixel that is touched does
            mask = rasterize(
                list(near), out_shape=shape, transform=transform, all_touched=True, dtype="uint8"
            ).astype(bool)
        for oldest in list(self._masks)[: 1 - _MASKS_KEPT]:
            self._masks.pop(oldest, None)  # another thread may have been faster
        self._masks[key] = mask
        return mask


def read_region(spec: RegionSpec) -> Region:
    """The region of a season.

    Raises
    ------
    SeasonFileError
        It names neither polygons nor a bbox, or polygons that cannot be read.
    """
    import shapely

    path = spec.parcels or spec.units
    if path is not None:
        return Region("parcels" if spec.parcels else "units", _read_shapes(path))
    if spec.bbox is not None:
        return Region("region", np.array([shapely.box(*spec.bbox)], dtype=object))
    raise SeasonFileError(
        "[region] says nowhere where the season lies; give bbox = [west, south, east, "
        "north], units or parcels."
    )


def tiles_of(season: Season) -> tuple[str, ...]:
    """The MGRS tiles a season is made of: those it names, else those whose own squares its units or its bbox
    touch; empty where it names neither, and all count.

    Products reach 10 km beyond their square. What only that rim shows is its neighbour's, and not asked for.

    Raises
    ------
    SeasonFileError
        The units cannot be read.
    SourceError
        The region lies where Sentinel-2 has no tiles.
    """
    import shapely

    spec, region = season.source.sentinel, season.region
    if spec is not None and spec.tiles:
        return spec.tiles
    if region.units is None and region.bbox is None:
        return ()
    shapes = read_region(replace(region, parcels=None)).shapes
    return tiles_over(str(shapely.union_all(shapes).wkt))


def _read_shapes(path: Path) -> NDArray[Any]:
    import pyogrio.raw
    import shapely
    from pyproj import CRS, Transformer

    try:
        meta, _, geometries, _ = pyogrio.raw.read(path, columns=[])
    except Exception as error:
        raise SeasonFileError(
            f"{path} cannot be read as polygons: {error}. Give GeoJSON, GPKG or SHP."
        ) from error
    shapes = shapely.make_valid(shapely.force_2d(shapely.from_wkb(geometries)))
    shapes = shapes[~(shapely.is_missing(shapes) | shapely.is_empty(shapes)) & (shapely.area(shapes) > 0)]
    if not shapes.size:
        raise SeasonFileError(f"{path} holds no polygon with an area; give the region's polygons.")
    crs = CRS.from_user_input(meta["crs"] or "EPSG:4326")
    if not crs.is_geographic:
        back = Transformer.from_crs(crs, "EPSG:4326", always_xy=True)
        shapes = shapely.transform(shapes, lambda xy: np.column_stack(back.transform(*xy.T)))
    found: NDArray[Any] = np.asarray(shapes, dtype=object)
    return found


def screen_file(path: Path, region: Region) -> Screening:
    """Screen a scene by its SCL raster.

    Raises
    ------
    ArchiveError
        It cannot be read, or says not where it lies.
    """
    import rasterio
    from rasterio.errors import RasterioError

    try:
        with rasterio.Env(), rasterio.open(path) as raster:
            if raster.crs is None:
                raise ArchiveError(f"{path} has no CRS; it cannot be laid over the region. Fetch it again.")
            inside = region.inside(raster.crs, raster.transform, (raster.height, raster.width))
            scl = raster.read(1)
    except RasterioError as error:
        raise ArchiveError(f"{path} cannot be read ({error}). Remove it and run `eo fetch` again.") from None
    return screen(scl, inside)
