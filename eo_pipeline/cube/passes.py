"""Sentinel-1 products of a season as passes over its tiles; what cannot be used is left out and told.

Only terrain-corrected products (RTC) go into a cube. GRD leaves the terrain in, and on loess hills a slope
changes the backscatter more than any crop.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import numpy as np

from eo_pipeline.acquire.ledger import not_brought
from eo_pipeline.acquire.radar import COLLECTION
from eo_pipeline.acquire.sources.base import Tile, file_of, stamp
from eo_pipeline.cube.radar import RadarPass
from eo_pipeline.engine import digest_of
from eo_pipeline.errors import SourceError
from eo_pipeline.scenes.sentinel1 import Radar, find_radar, prefer_corrected, read_radar
from eo_pipeline.scenes.source import SkippedProduct
from eo_pipeline.season import Season

_POLARISATIONS = ("vv", "vh")
#: What to do without products: by whether an archive is named.
_CURES = {
    True: "Run `eo fetch` with the season file,",
    False: 'Put terrain-corrected ones (RTC) there, set kind = "planetary-computer" and run `eo fetch`,',
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

    Reads items and headers, and of each raster's pixels a small window.

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
    for place in find_radar(spec.root) if spec.root.is_dir() else ():
        try:
            product = read_radar(place)
        except SourceError as error:
            skipped.append(SkippedProduct(place.name, str(place), str(error)))
            continue
        if season.start <= product.sensed.date() <= season.end:
            products.append(product)
    chosen = prefer_corrected(products)
    skipped += [
        SkippedProduct(item.name, item.path, "the same observation as another Sentinel-1 product.")
        for item in products
        if item not in chosen
    ]
    skipped += _not_brought(season, spec.root, {item.name for item in products})
    passes: dict[str, list[RadarPass]] = {tile.name: [] for tile in tiles}
    used: list[Radar] = []
    for product in chosen:
        if reason := _unfit(product):
            skipped.append(SkippedProduct(product.name, product.path, reason))
            continue
        over = [tile.name for tile in tiles if _touches(product, tile)]
        for name in over:
            passes[name].append(_pass(product))
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


def _pass(product: Radar) -> RadarPass:
    files = [product.files.get(name, "") for name in _POLARISATIONS]
    stamps = [(item.path, item.bytes, item.mtime_ns) for item in map(stamp, filter(None, files))]
    assert product.direction
    token = digest_of(product.direction, product.sensed.date(), stamps)
    return RadarPass(product.direction, product.sensed.date(), files[0], files[1], token)


def _touches(product: Radar, tile: Tile) -> bool:
    """Whether a product may show something of a tile; one that does not tell its footprint may."""
    import shapely
    from rasterio.warp import transform_bounds

    if not product.footprint:
        return True
    bounds = transform_bounds(tile.grid.crs, "EPSG:4326", *tile.grid.bounds, densify_pts=21)
    return bool(shapely.intersects(shapely.from_wkt(product.footprint), shapely.box(*bounds)))


def _unfit(product: Radar) -> str:
    """Why a product cannot be used; empty where it can."""
    if not product.corrected:
        return (
            "it is GRD without terrain correction: slopes would show more than crops. Fetch the "
            "terrain-corrected product (RTC) of the same pass."
        )
    if not product.direction:
        return "its item does not tell ascending from descending (sat:orbit_state); add it."
    files = [product.files[name] for name in _POLARISATIONS if name in product.files]
    if not files:
        return f"it has neither VV nor VH, only {', '.join(sorted(product.files)).upper()}."
    return next((reason for path in files if (reason := _unreadable(path))), "")


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
