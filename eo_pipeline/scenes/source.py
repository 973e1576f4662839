"""Sentinel-2 products as a source of scenes: found, proven, placed on the grid of their tiles.

What cannot be used is left out and told in `SentinelSource.skipped`; an error is raised only where nothing is
left. Pixels are read for the proof of the offset alone, and its outcome is kept beside the products.
"""

from __future__ import annotations

import os
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any, Final

from eo_pipeline.acquire.folders import COMPLETE
from eo_pipeline.acquire.ledger import ProductRow, not_brought
from eo_pipeline.acquire.observations import same_part
from eo_pipeline.acquire.sources.base import Asset, Scene, SceneSource, Tile
from eo_pipeline.acquire.sources.folder import FolderSource
from eo_pipeline.acquire.windows import address
from eo_pipeline.errors import EOPipelineError, SourceError
from eo_pipeline.grid import Grid
from eo_pipeline.mgrs import TileFrame, tile_frame, tiles_over
from eo_pipeline.scenes import cloudless
from eo_pipeline.scenes.level1c import Level1C, Level1CFolder
from eo_pipeline.scenes.placing import (
    Place,
    aligned,
    cover,
    is_empty,
    meet,
    place_bands,
    square_of,
    window_of,
)
from eo_pipeline.scenes.proofs import ProofCache
from eo_pipeline.scenes.radiometry import OffsetProof
from eo_pipeline.scenes.sentinel2 import (
    LEVEL1C_FILE,
    METADATA_FILES,
    Sentinel2Product,
    item_file,
    read_name,
    read_product,
)
from eo_pipeline.season import Season
from eo_pipeline.season_source import SCL

#: Products of other kinds that may lie in the same folder: Sentinel-1, elevation models.
_OTHERS: Final = re.compile(r"S1[A-Z]_|S[35][A-Z_]|Copernicus_DSM")
_COLLECTION: Final = "sentinel-2-l2a"
#: Threads that prove products, and products after which the proofs are written down.
_MOST_THREADS: Final = 4
_SAVED_AFTER: Final = 25


@dataclass(frozen=True, slots=True)
class SkippedProduct:
    """A product that is not used, and why. What else is known of it: `tile`, `date` of sensing, `provider`.

    `state` is the ledger's ("screened-out", "failed", "quarantined", "found") where the product was not
    brought to the disk at all; empty where it lies there.
    """

    name: str
    path: str
    reason: str
    tile: str = ""
    date: date | None = None
    provider: str = ""
    state: str = ""


@dataclass(frozen=True, slots=True)
class _Usable:
    """A product that may be used: its rasters' places on a grid of `pixel` metres, its proven offset, and the
    L1C product its clouds are looked for in.
    """

    product: Sentinel2Product
    places: tuple[Place, ...]
    pixel: float
    proof: OffsetProof
    level1c: Level1C | None


class SentinelSource:
    """Products below `season.source.root`, or those given, as scenes of their tiles.

    Parameters
    ----------
    season : Season
        With `season.source.sentinel`.
    products : sequence of Sentinel2Product, optional
        Products that are read where they are (windows of an archive's rasters) instead of those on disk.
    unread : mapping, optional
        Rasters among them that can be read no more, by address, and why; their products are not used.
    """

    def __init__(
        self,
        season: Season,
        *,
        products: Sequence[Sentinel2Product] | None = None,
        unread: Mapping[str, str] | None = None,
    ) -> None:
        if season.source.sentinel is None:
            raise SourceError(f'{season.path}: [source] is no source of Sentinel-2; set layout = "safe".')
        self.season = season
        self._given = None if products is None else tuple(products)
        self._unread = unread or {}
        self._tiles: tuple[Tile, ...] | None = None
        self._skipped: list[SkippedProduct] = []
        #: Whether one of the products says of itself that it is simulated; known once `tiles` was called.
        self.simulated = False

    @property
    def skipped(self) -> tuple[SkippedProduct, ...]:
        """Products of the season that are not used, with the reason; complete once `tiles` was called."""
        return tuple(self._skipped)

    def tiles(self) -> tuple[Tile, ...]:
        """See `SceneSource.tiles`."""
        if self._tiles is None:
            self._skipped.clear()
            self._tiles = self._find_tiles()
        return self._tiles

    # ---- from products to tiles ------------------------------------------------------------------------
    def _find_tiles(self) -> tuple[Tile, ...]:
        region = region_of(self.season)
        wanted = self._wanted(region)
        usable = self._usable(wanted)
        self.simulated = any(item.product.simulated for item in usable)
        tiles = []
        for name in sorted({item.product.tile for item in usable}):
            own = [item for item in usable if item.product.tile == name]
            if tile := self._tile(tile_frame(name), own, region):
                tiles.append(tile)
        if not tiles:
            raise SourceError(self._nothing_left())
        return tuple(tiles)

    def _wanted(self, region: Any) -> tuple[str, ...]:
        assert self.season.source.sentinel is not None
        touched = tiles_over(region.wkt) if region is not None else ()
        named = self.season.source.sentinel.tiles
        if named and touched and not set(named) & set(touched):
            raise SourceError(
                f"{self.season.path}: the region lies in the tiles {', '.join(touched)}, but [source] tiles "
                f"names {', '.join(named)}. Correct [source] tiles, or leave it out."
            )
        return named or touched

    def _usable(self, wanted: Sequence[str]) -> list[_Usable]:
        cache, level1c = ProofCache.open(self.season.source.root), self._level1c()
        rows = [r for r in not_brought(self.season.source.root, _COLLECTION) if self._asks_for(r, wanted)]
        by_observation: dict[tuple[str, str, str], list[Sentinel2Product]] = defaultdict(list)
        for product in self._products(wanted, rows):
            by_observation[product.observation].append(product)
        usable: list[_Usable] = []
        # a proof waits for the decoding of JP2, which runs outside Python: threads share the cores
        with ThreadPoolExecutor(max_workers=min(_MOST_THREADS, os.cpu_count() or 1)) as pool:
            judged = pool.map(lambda rivals: self._best(rivals, cache, level1c), by_observation.values())
            for number, (winners, skipped) in enumerate(judged, 1):
                self._skipped.extend(skipped)
                usable.extend(winners)
                if number % _SAVED_AFTER == 0:
                    cache.save()
        cache.save()
        if level1c is not None:
            self._skipped += [
                SkippedProduct(path.name, str(path), reason)
                for path, reason in sorted(level1c.refused.items())
            ]
        self._tell_of(rows, usable)
        return sorted(usable, key=lambda item: (item.product.sensed, item.product.name))

    def _level1c(self) -> Level1CFolder | None:
        """The folder clouds are looked for in, where the season says so."""
        spec = self.season.source.sentinel
        if spec is None or spec.l1c is None:
            return None
        cloudless.package_version()  # refused here, and not by the first worker
        return Level1CFolder(find_products(spec.l1c) if spec.l1c.is_dir() else ())

    def _best(
        self, rivals: list[Sentinel2Product], cache: ProofCache, level1c: Level1CFolder | None
    ) -> tuple[list[_Usable], list[SkippedProduct]]:
        """Of several processings of each part of an observation the newest that can be used, and why not the
        others.
        """
        winners: list[_Usable] = []
        skipped = []
        # products that were given come in the order of their sources, which sorted keeps among equals
        rivals.sort(
            key=lambda p: (p.name_baseline or p.baseline, p.made, self._given is None and p.path),
            reverse=True,
        )
        for product in rivals:
            if winner := next((w.product for w in winners if same_part(w.product, product)), None):
                if self._given is not None and winner.name == product.name:
                    continue  # the same product at another source
                reason = (
                    f"the same observation as {winner.name}, which is of a newer processing or was found "
                    "first."
                )
            else:
                try:
                    winners.append(self._use(product, cache, level1c))
                    continue
                except EOPipelineError as error:
                    reason = str(error)
            skipped.append(_skipped(product, reason))
        return winners, skipped

    def _asks_for(self, row: ProductRow, wanted: Sequence[str]) -> bool:
        """Whether an observation of the ledger is one of this season."""
        day = date.fromisoformat(row.sensed[:10])
        return self.season.start <= day <= self.season.end and (not wanted or row.tile in wanted)

    def _tell_of(self, rows: Sequence[ProductRow], usable: Sequence[_Usable]) -> None:
        """Name what fetching left out or could not bring, unless it lies there all the same."""
        told = {Path(item.path).name for item in self._skipped} | {item.name for item in self._skipped}
        told |= {Path(item.product.path).name for item in usable} | {item.product.name for item in usable}
        used = {"/".join(item.product.observation) for item in usable}
        for row in rows:
            if row.name not in told and row.observation not in used:
                day = date.fromisoformat(row.sensed[:10])
                reason = row.reason or "not fetched yet"
                self._skipped.append(
                    SkippedProduct(row.name, "", reason, row.tile, day, row.source, row.state)
                )

    def _products(self, wanted: Sequence[str], rows: Sequence[ProductRow]) -> Iterator[Sentinel2Product]:
        season, spec = self.season, self.season.source.sentinel
        assert spec is not None
        found = self._given if self._given is not None else self._on_disk(wanted)
        cloudy = {(row.tile, row.name): row.reason for row in rows if row.state == "screened-out"}
        for product in found:
            if wanted and product.tile not in wanted:
                continue
            if not season.start <= product.sensed.date() <= season.end:
                continue
            if product.cloud_cover is not None and product.cloud_cover > spec.max_cloud:
                self._skip(
                    product,
                    f"{product.cloud_cover:.0f} % cloud, more than [source] max_cloud = {spec.max_cloud:g}.",
                )
                continue
            folder = Path(product.path)
            folder = folder if folder.is_dir() else folder.parent
            reason = cloudy.get((folder.parent.name, folder.name)) if self._given is None else None
            if reason and not (folder / COMPLETE).is_file():
                self._skip(product, reason)  # it lies there without its bands, and that is as it should be
                continue
            yield product

    def _on_disk(self, wanted: Sequence[str]) -> Iterator[Sentinel2Product]:
        root, spec = self.season.source.root, self.season.source.sentinel
        assert spec is not None
        if not root.is_dir():
            raise SourceError(
                f"{root} is not a folder. [source] root must name the folder of the products; `eo fetch` "
                "fills it."
            )
        for path in find_products(root):
            named = read_name(path.name.removesuffix(".zip"))
            if named and named.level == "L1C" and spec.l1c is not None:
                continue  # they lie where clouds are looked for in them
            if named and (
                (wanted and named.tile not in wanted)
                or not self.season.start <= named.sensed.date() <= self.season.end
            ):
                continue
            try:
                yield read_product(path)
            except SourceError as error:
                tile, day = (named.tile, named.sensed.date()) if named else ("", None)
                self._skipped.append(SkippedProduct(path.name, str(path), str(error), tile, day))

    def _use(self, product: Sentinel2Product, cache: ProofCache, level1c: Level1CFolder | None) -> _Usable:
        bands = tuple(self.season.source.bands)
        for place in (address(product.band(band).path) for band in bands):
            if place in self._unread:
                raise SourceError(self._unread[place])
        places, pixel = place_bands(product, bands)
        proof = cache.prove(product)
        proof.require(product.name)
        found = level1c.of(product, pixel=pixel) if level1c is not None else None
        return _Usable(product, places, pixel, proof, found)

    def _skip(self, product: Sentinel2Product, reason: str) -> None:
        self._skipped.append(_skipped(product, reason))

    def _tile(self, frame: TileFrame, own: Sequence[_Usable], region: Any) -> Tile | None:
        pixel = Counter(item.pixel for item in own).most_common(1)[0][0]
        for item in own:
            if item.pixel != pixel:
                self._skip(
                    item.product,
                    f"its pixels are {item.pixel:g} m wide, those of the other products of tile {frame.name} "
                    f"{pixel:g} m. Keep products of one kind in a folder.",
                )
        kept = [item for item in own if item.pixel == pixel]
        square = square_of(frame, pixel)
        target = square if region is None else meet(square, window_of(region, frame, pixel))
        covered = cover([place for item in kept for place in item.places])
        window = meet(target, covered)
        if is_empty(window):
            for item in kept:
                self._skip(item.product, f"its rasters hold nothing of the region within tile {frame.name}.")
            return None
        window = aligned(window, kept[0].places, covered)
        top, left, bottom, right = window
        wkt = kept[0].product.grid.crs
        grid = Grid(
            wkt,
            (pixel, 0.0, frame.ulx + left * pixel, 0.0, -pixel, frame.uly - top * pixel),
            right - left,
            bottom - top,
        )
        owned = tuple(side - (top, left)[i % 2] for i, side in enumerate(meet(square, window)))
        whole = owned == (0, 0, grid.height, grid.width)
        scenes = tuple(_scene(item, self.season, (top, left)) for item in kept)
        return Tile(
            frame.name,
            grid,
            tuple(sorted(scenes, key=lambda scene: (scene.date, scene.name))),
            None if whole else (owned[0], owned[1], owned[2], owned[3]),
        )

    def _nothing_left(self) -> str:
        where = self.season.source.root if self._given is None else "the archive"
        if not self._skipped:
            return (
                f"{where}: no Sentinel-2 product of the season {self.season.start} to {self.season.end} and "
                "its region. Fetch it with `eo fetch`, or correct [season], [region] or [source] root."
            )
        told = "\n".join(f"  {item.name}: {item.reason}" for item in self._skipped[:10])
        more = f"\n  and {len(self._skipped) - 10} more" if len(self._skipped) > 10 else ""
        return f"{where}: none of {len(self._skipped)} products of the season can be used:\n{told}{more}"


def open_source(
    season: Season,
    *,
    products: Sequence[Sentinel2Product] | None = None,
    unread: Mapping[str, str] | None = None,
) -> SceneSource:
    """The source of scenes a season names: stacks of rasters, or Sentinel-2 products.

    Parameters
    ----------
    season : Season
        A checked season file.
    products : sequence of Sentinel2Product, optional
        For a season that reads windows of an archive: what was found there (`items.read_remote`).
    unread : mapping, optional
        See `SentinelSource`.

    Raises
    ------
    SourceError
        The season reads windows, but no products were given.
    """
    spec = season.source.sentinel
    if spec is None:
        return FolderSource(season)
    if spec.windows and products is None:
        raise SourceError(
            f'{season.path}: [source] read = "windows" needs the products of a search; none were given.'
        )
    return SentinelSource(season, products=products, unread=unread)


def find_products(root: Path) -> tuple[Path, ...]:
    """SAFE folders, zips, and folders of COGs with their item below a folder, by path.

    Nothing is looked for inside a product, nor in hidden folders; Sentinel-1 and elevation models are passed
    over.
    """
    found: list[Path] = []
    waiting = [root]
    while waiting:
        folder = waiting.pop()
        heads = (folder / name for name in (*METADATA_FILES, LEVEL1C_FILE))
        # a SAFE folder without its metadata is told, not passed over
        if folder.suffix == ".SAFE" or any(head.is_file() for head in heads) or item_file(folder):
            found.append(folder)
            continue
        for entry in folder.iterdir():
            if entry.name.startswith(".") or _OTHERS.match(entry.name):
                continue
            if entry.is_dir():
                waiting.append(entry)
            elif entry.suffix.lower() == ".zip":
                found.append(entry)
    return tuple(sorted(found))


def region_of(season: Season) -> Any:
    """The season's region in longitude and latitude as a shapely geometry; None where it names none.

    Raises
    ------
    SourceError
        The units cannot be read, or hold no polygon.
    """
    import pyogrio.raw
    import shapely
    from pyproj import Transformer

    region = season.region
    if region.units is None:
        return None if region.bbox is None else shapely.box(*region.bbox)
    try:
        meta, _, geometries, _ = pyogrio.raw.read(region.units, columns=[])
    except Exception as error:
        raise SourceError(
            f"{region.units} cannot be read as polygons: {error}. Give GeoJSON, GPKG or SHP."
        ) from error
    shapes = [shapely.make_valid(shape) for shape in shapely.from_wkb(geometries) if shape is not None]
    if not shapes or not any(shape.area for shape in shapes):
        raise SourceError(f"{region.units} holds no polygon. Give polygons with an area.")
    union = shapely.union_all(shapes)
    crs = meta["crs"]
    if crs and crs not in ("EPSG:4326", "EPSG:4490"):
        import numpy as np

        turn = Transformer.from_crs(crs, 4326, always_xy=True)
        union = shapely.transform(
            shapely.segmentize(union, _step(union)),
            lambda xy: np.column_stack(turn.transform(xy[:, 0], xy[:, 1])),
        )
    return union


def _skipped(product: Sentinel2Product, reason: str) -> SkippedProduct:
    return SkippedProduct(
        product.name, product.path, reason, product.tile, product.sensed.date(), product.provider
    )


def _scene(item: _Usable, season: Season, corner: tuple[int, int]) -> Scene:
    product = item.product
    assets = []
    for place in item.places:
        is_mask = place.band == SCL
        assets.append(
            Asset(
                band=place.band,
                path=place.path,
                index=1,
                scale=1.0 if is_mask else 1.0 / product.quantification,
                offset=0.0 if is_mask else item.proof.offset / product.quantification,
                nodata=None if is_mask else float(product.nodata),
                corner=(corner[0] - place.row, corner[1] - place.col),
                zoom=place.zoom,
            )
        )
    level1c = () if item.level1c is None else _level1c_assets(item.level1c, corner)
    return Scene(product.tile, product.sensed.date(), tuple(assets), product.name, product.sun, level1c)


def _level1c_assets(found: Level1C, corner: tuple[int, int]) -> tuple[Asset, ...]:
    product = found.product
    return tuple(
        Asset(
            band=place.band,
            path=place.path,
            index=1,
            scale=1.0 / product.quantification,
            offset=found.offset / product.quantification,
            nodata=float(product.nodata),
            corner=(corner[0] - place.row, corner[1] - place.col),
            zoom=place.zoom,
        )
        for place in found.places
    )


def _step(geometry: Any) -> float:
    """A fiftieth of a geometry's extent, in its own units."""
    west, south, east, north = geometry.bounds
    return float(max(east - west, north - south)) / 50 or 1.0
