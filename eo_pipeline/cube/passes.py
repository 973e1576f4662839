"""Sentinel-1 products of a season as passes over its tiles; what cannot be used is left out and told.

A pass is taken from its terrain-corrected product (RTC) where there is one that can be used, else from GRD.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path

import numpy as np

from eo_pipeline.acquire.ledger import not_brought
from eo_pipeline.acquire.radar import COLLECTION
from eo_pipeline.acquire.sources.base import Tile, file_of, stamp
from eo_pipeline.cube.ground_range import GroundRange
from eo_pipeline.cube.radar import RadarPass
from eo_pipeline.engine import digest_of
from eo_pipeline.errors import SourceError
from eo_pipeline.grid import Grid
from eo_pipeline.scenes.sentinel1 import Radar, day_of, find_radar, prefer_corrected, read_radar
from eo_pipeline.scenes.source import SkippedProduct
from eo_pipeline.season import Season

_POLARISATIONS = ("vv", "vh")
#: What to do without products: by whether an archive is named.
_CURES = {
    True: "Run `eo fetch` with the season file,",
    False: 'Put products there (RTC or GRD), set kind = "planetary-computer" and run `eo fetch`,',
}
#: Side of the window in a raster's middle that tells power from decibel.
_PROBE = 64


@dataclass(frozen=True, slots=True)
class RadarFound:
    """Passes of each tile by time; products of the season that are not used; whether any is simulated."""

    passes: Mapping[str, tuple[RadarPass, ...]]
    skipped: tuple[SkippedProduct, ...] = ()
    simulated: bool = False


def find_passes(season: Season, tiles: tuple[Tile, ...]) -> RadarFound:
    """Look for the season's Sentinel-1 below `[source.radar] root`.

    Reads items, annotation and headers, and of each raster's pixels a small window.

    Raises
    ------
    SourceError
        No product of the season can be used.
    """
    spec = season.source.radar
    if spec is None:
        return RadarFound({tile.name: () for tile in tiles})
    products: list[Radar] = []
    skipped: list[SkippedProduct] = []
    there: set[str] = set()
    for place in find_radar(spec.root) if spec.root.is_dir() else ():
        if not season.start <= (day_of(place.name) or season.start) <= season.end:
            continue
        try:
            product = read_radar(place)
            if season.start <= product.sensed.date() <= season.end:
                there.add(product.name)
                _require_fit(product, tiles[0].grid)
                products.append(product)
        except SourceError as error:
            skipped.append(SkippedProduct(place.name, str(place), str(error)))
    chosen = prefer_corrected(products)
    corrected = {item.observation for item in chosen if item.corrected}
    for item in products:
        if item not in chosen:
            reason = "the same observation as another Sentinel-1 product."
            if not item.corrected and item.observation in corrected:
                reason = "GRD is not needed, as the terrain-corrected product of the same pass is there."
            skipped.append(SkippedProduct(item.name, item.path, reason))
    skipped += _not_brought(season, spec.root, there)
    dem = season.source.terrain.dem if season.source.terrain else ()
    passes: dict[str, list[RadarPass]] = {tile.name: [] for tile in tiles}
    used: list[Radar] = []
    for product in chosen:
        over = [tile.name for tile in tiles if _touches(product, tile)]
        for name in over:
            passes[name].append(_pass(product, dem))
        if over:
            used.append(product)
    if not used:
        told = "".join(f"\n  {item.name}: {item.reason}" for item in skipped[:10])
        raise SourceError(
            f"{spec.root}: no Sentinel-1 product of the season {season.start} to {season.end} over its tiles "
            f"can be used. {_CURES[bool(spec.provider)]} or leave [source.radar] out.{told}"
        )
    return RadarFound(
        {name: tuple(items) for name, items in passes.items()},
        tuple(skipped),
        any(product.simulated for product in used),
    )


def _not_brought(season: Season, root: Path, there: set[str]) -> list[SkippedProduct]:
    """Passes of the season that fetching left out or could not bring; `there` are those on disk."""
    found = []
    for row in not_brought(root, COLLECTION):
        day = date.fromisoformat(row.sensed[:10])
        if season.start <= day <= season.end and row.name not in there:
            reason = row.reason or "not fetched yet"
            found.append(SkippedProduct(row.name, "", reason, row.tile, day, row.source, row.state))
    return found


def _pass(product: Radar, dem: tuple[Path, ...]) -> RadarPass:
    assert product.direction
    vv, vh = (product.files.get(name, "") for name in _POLARISATIONS)
    made = RadarPass(product.direction, product.sensed.date(), vv, vh)
    if not product.corrected:
        made = replace(made, grd=product, dem=dem)
    files = map(stamp, [*made.all_files, *map(str, made.dem)])
    stamps = [(item.path, item.bytes, item.mtime_ns) for item in files]
    return replace(made, token=digest_of(made.direction, made.date, stamps))


def _touches(product: Radar, tile: Tile) -> bool:
    """Whether a product may show something of a tile; one that does not tell its footprint may."""
    import shapely
    from rasterio.warp import transform_bounds

    if not product.footprint:
        return True
    west, south, east, north = transform_bounds(tile.grid.crs, "EPSG:4326", *tile.grid.bounds, densify_pts=21)
    east += 360 if east < west else 0  # the tile lies over the date line
    footprint = shapely.from_wkt(product.footprint)
    boxes = [shapely.box(west + turn, south, east + turn, north) for turn in (-360, 0, 360)]
    return bool(shapely.intersects(footprint, boxes).any())


def _require_fit(product: Radar, grid: Grid) -> None:
    """Refuse a product that cannot be used."""
    if not product.direction:
        if product.corrected:
            raise SourceError("its item does not tell ascending from descending (sat:orbit_state); add it.")
        raise SourceError("its annotation does not tell ascending from descending. Fetch it again.")
    names = [name for name in _POLARISATIONS if name in product.files]
    if not names:
        raise SourceError(f"it has neither VV nor VH, only {', '.join(sorted(product.files)).upper()}.")
    for name in names:
        if product.corrected:
            if reason := _unreadable(product.files[name]):
                raise SourceError(reason)
            continue
        with GroundRange(product, name, grid) as image:
            height, width = image.shape
            image.power(height - 1, width - 1, height, width)


def _unreadable(path: str) -> str:
    """Why a raster on disk is not linear power on the ground; its header, its middle and its last pixel."""
    import rasterio
    from rasterio.errors import RasterioError
    from rasterio.windows import Window

    name = Path(path).name
    if file_of(path) is None:
        return f"{name} is not in its folder. Fetch it."
    try:
        with rasterio.open(path) as raster:
            if raster.crs is None:
                return f"{name} has no coordinate reference system. Fetch it again."
            height, width = raster.shape
            raster.read(1, window=Window(width - 1, height - 1, 1, 1))
            top, left = max(0, (height - _PROBE) // 2), max(0, (width - _PROBE) // 2)
            middle = raster.read(1, window=Window(left, top, min(_PROBE, width), min(_PROBE, height)))
            nodata = raster.nodata
    except RasterioError as error:
        return f"{name} cannot be read ({error}). It is damaged: fetch it again."
    seen = np.isfinite(middle) & (middle != 0)
    if nodata is not None:
        seen &= middle != nodata
    if seen.any() and (middle[seen] < 0).mean() > 0.5:
        return f"{name} holds decibel, as most of its values are negative; linear power is wanted."
    return ""
