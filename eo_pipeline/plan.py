"""What a run will do, as frozen data, before it touches a pixel: tiles, blocks, steps, bands, memory and
disk.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from eo_pipeline.acquire.heights import elevation_model
from eo_pipeline.acquire.sources.base import Scene, Tile, scene_token
from eo_pipeline.cube.climatology import Climatology, dekad_of_year, in_last_year, store_of
from eo_pipeline.cube.gaps import fill_bytes
from eo_pipeline.cube.indices import missing_for
from eo_pipeline.cube.ingest import ingest_bytes, screen_bytes, tested_bands
from eo_pipeline.cube.passes import find_passes
from eo_pipeline.cube.radar import CHANNELS, RadarPass, radar_bytes
from eo_pipeline.cube.store import Layout
from eo_pipeline.cube.terrain import GROUND, TERRAIN, reach_of, terrain_bytes
from eo_pipeline.engine import digest_of
from eo_pipeline.errors import CubeError, SeasonFileError, SourceError
from eo_pipeline.grid import (
    BLOCK,
    INGEST_BLOCK,
    SMALL_BLOCK,
    SMALL_TILE,
    Block,
    TimeStep,
    cut,
    dekads,
    native_steps,
)
from eo_pipeline.products.classify import runtime_of
from eo_pipeline.products.disaster_map import disaster_bytes
from eo_pipeline.products.growth_map import growth_bytes
from eo_pipeline.products.thresholds import thresholds
from eo_pipeline.scenes.clouds import mask_bytes
from eo_pipeline.scenes.sentinel2 import Sentinel2Product
from eo_pipeline.scenes.source import SentinelSource, SkippedProduct, open_source
from eo_pipeline.season import Season
from eo_pipeline.storage import Folder

#: A worker before it reads anything: Python, numpy, numba, GDAL.
WORKER_BYTES: Final = 415_000_000
#: What mapping adds to that: torch, and the network's activations of one batch.
_MODEL_BYTES: Final = 600_000_000


@dataclass(frozen=True, slots=True)
class TilePlan:
    """A tile, its cube's layout and its blocks: `ingest_blocks` as scenes are read, `blocks` as products are
    made. `tokens` change when a scene's files change. `passes` are those of Sentinel-1. `usual` is the
    climatology that growth is held against, `dem_reach` the share of the tile that lies within the elevation
    model.
    """

    tile: Tile
    layout: Layout
    ingest_blocks: tuple[Block, ...]
    blocks: tuple[Block, ...]
    tokens: tuple[str, ...]
    passes: tuple[RadarPass, ...] = ()
    usual: Climatology | None = None
    dem_reach: float | None = None

    @property
    def name(self) -> str:
        """The tile's name."""
        return self.tile.name

    def scenes_of(self, step: TimeStep) -> tuple[int, ...]:
        """Numbers of the tile's scenes that belong to one step."""
        return tuple(n for n, scene in enumerate(self.tile.scenes) if step.holds(scene.date))

    def owned_pixels(self, block: Block) -> int:
        """Pixels of a block that are the tile's own; the others belong to its neighbours."""
        if self.tile.owned is None:
            return block.height * block.width
        top, left, bottom, right = self.tile.owned
        rows = min(bottom, block.row + block.height) - max(top, block.row)
        cols = min(right, block.col + block.width) - max(left, block.col)
        return max(0, rows) * max(0, cols)

    def passes_of(self, step: TimeStep) -> tuple[RadarPass, ...]:
        """The passes of Sentinel-1 that belong to one step."""
        return tuple(item for item in self.passes if step.holds(item.date))


@dataclass(frozen=True, slots=True)
class Plan:
    """A run before it starts. `bands` are the cube's; `features` and `indices` are made of them.

    `skipped` are products that were found and are not used: quarantined, unreadable, or an older processing
    of one that is. `dem` are the files of the elevation model.
    """

    season: Season
    tiles: tuple[TilePlan, ...]
    bands: tuple[str, ...]
    steps: tuple[TimeStep, ...]
    skipped: tuple[SkippedProduct, ...]
    dem: tuple[Path, ...] = ()

    @property
    def work(self) -> Folder:
        """Where the season's cube, models and task markers live between runs."""
        return self.season.work

    @property
    def folder(self) -> Path:
        """The run folder."""
        return self.season.output_root / self.season.id

    @property
    def partial(self) -> Path:
        """Where the run folder is made; it takes its name when it is complete."""
        return self.season.output_root / f".{self.season.id}.partial"

    @property
    def blocks(self) -> int:
        """Blocks of all tiles that products are made of."""
        return sum(len(item.blocks) for item in self.tiles)

    @property
    def pixels(self) -> int:
        """Pixels of all tiles."""
        return sum(item.tile.grid.width * item.tile.grid.height for item in self.tiles)

    @property
    def scenes(self) -> int:
        """Scenes of all tiles."""
        return sum(len(item.tile.scenes) for item in self.tiles)

    @property
    def clouds(self) -> dict[str, Any] | None:
        """How clouds are found: `detector`, `threshold`, the number of `scenes` of its own, and the names of
        those that have SCL alone, for want of a Level-1C product. None where SCL is what is asked for.
        """
        spec = self.season.source.sentinel
        if spec is None or spec.detector == "scl":
            return None
        alone = [scene.name for scene in scenes_of(self) if not scene.level1c]
        return {
            "detector": spec.detector,
            "threshold": spec.threshold,
            "scenes": self.scenes - len(alone),
            "scl_alone": alone,
        }

    @property
    def passes(self) -> dict[str, Any] | None:
        """Where Sentinel-1 comes from: the number of terrain-corrected passes (`rtc`) and of others (`grd`),
        and whether an elevation model says where the latter lie (`grd_on_dem`). None without Sentinel-1.
        """
        if self.season.source.radar is None:
            return None
        used = {item.token: item.grd for tile in self.tiles for item in tile.passes}
        grd = sum(product is not None for product in used.values())
        on_dem = bool(grd and self.season.source.terrain)
        return {"rtc": len(used) - grd, "grd": grd, "grd_on_dem": on_dem}

    @property
    def task_bytes(self) -> int:
        """Memory the largest task of the run needs beside the program itself."""
        return max(_tile_bytes(item, self) for item in self.tiles)

    @property
    def worker_bytes(self) -> int:
        """Memory a worker needs: its largest task and the program."""
        return self.task_bytes + WORKER_BYTES

    @property
    def disk_bytes(self) -> int:
        """Disk the cube and the products need at most, uncompressed."""
        per_pixel = len(self.steps) * (2 * len(self.bands) + 3)
        per_pixel += len(self.steps) * 2 * 3 * len(self.season.growth.indices) + 10
        if self.season.source.radar:
            per_pixel += len(self.steps) * (2 * len(CHANNELS) + 2)
        if self.dem:
            per_pixel += 2 * len(GROUND)
        if self.season.disaster:
            per_pixel += 12
        if self.season.fill:
            per_pixel += len(self.steps) * 2 * len(self.bands)
        return self.pixels * per_pixel


def make_plan(
    season: Season,
    *,
    block: int | None = None,
    products: Sequence[Sentinel2Product] | None = None,
    unread: Mapping[str, str] | None = None,
) -> Plan:
    """Look at the source's headers and lay out the run.

    Parameters
    ----------
    block : int, optional
        Side of a block in pixels, instead of what suits the images.
    products : sequence of Sentinel2Product, optional
        What an archive holds, where the season reads windows of it.
    unread : mapping, optional
        Rasters of it that can be read no more, by address, and why: other copies are taken, or none.

    Raises
    ------
    SourceError
        Rasters that do not fit together.
    SeasonFileError
        Features or indices that the bands cannot give, or a climatology growth cannot be held against.
    """
    source = open_source(season, products=products, unread=unread)
    tiles = source.tiles()
    masks = season.source.mask_bands
    bands = tuple(asset.band for asset in tiles[0].scenes[0].assets if asset.band not in masks)
    if not bands:
        raise SourceError(
            f"{season.source.root}: every band found is a mask; nothing is left to measure with."
        )
    _check_features(season, bands)
    # a matter of the images alone, never of the machine: another machine continues with the same blocks
    largest = max(max(tile.grid.shape) for tile in tiles)
    usual = SMALL_BLOCK if largest <= SMALL_TILE else BLOCK
    reading = block or (usual if season.source.sentinel is None else max(usual, INGEST_BLOCK))
    making = min(block or usual, BLOCK)
    if season.step == "dekad":
        steps = dekads(season.start, season.end)
    else:
        steps = native_steps([scene.date for tile in tiles for scene in tile.scenes])
    radar = find_passes(season, tiles)
    dem = elevation_model(season)
    plans = []
    for tile in tiles:
        own = steps if season.step == "dekad" else native_steps([scene.date for scene in tile.scenes])
        layout = Layout(tile.name, tile.grid, bands, own, reading, making)
        plans.append(
            TilePlan(
                tile,
                layout,
                tuple(cut(tile.name, tile.grid, size=reading)),
                tuple(cut(tile.name, tile.grid, size=making)),
                tuple(map(scene_token, tile.scenes)),
                radar.passes[tile.name],
                _usual(season, layout),
                reach_of(dem, tile.grid) if dem else None,
            )
        )
    if season.classify and len({item.layout.steps for item in plans}) > 1:
        raise SeasonFileError(
            f"{season.path}: [classify] needs the same dates in every tile, but with step “native” they "
            "differ. "
            'Set [season] step = "dekad".'
        )
    skipped = (*(source.skipped if isinstance(source, SentinelSource) else ()), *radar.skipped)
    if radar.simulated or (isinstance(source, SentinelSource) and source.simulated):
        # products that are no observations make no real season, whatever its file says
        season = replace(season, simulated=True)
    return Plan(season, tuple(plans), bands, steps, skipped, dem)


def _check_features(season: Season, bands: tuple[str, ...]) -> None:
    if season.classify:
        runtime_of(season)
    asked = [("growth", name) for name in season.growth.indices]
    asked += [("classify", name) for name in (season.classify.features if season.classify else ())]
    if season.classify and set(season.classify.features) <= set(TERRAIN):
        raise SeasonFileError(
            f"{season.path}: [classify] features names the ground alone, which is the same all year. Add "
            "bands, indices or channels of radar."
        )
    for table, name in asked:
        if table == "classify" and name in CHANNELS:
            if season.source.radar is None:
                raise SeasonFileError(
                    f"{season.path}: [classify] features names {name}, but the season has no Sentinel-1. "
                    "Add the table [source.radar], or leave the name out."
                )
            continue
        if table == "classify" and name in TERRAIN:
            if season.source.terrain is None:
                raise SeasonFileError(
                    f"{season.path}: [classify] features names {name}, but the season has no elevation "
                    "model. Add the table [source.terrain], or leave the name out."
                )
            continue
        if why := missing_for(name, bands):
            raise SeasonFileError(
                f"{season.path}: [{table}] asks for {name}, but {why}. The source gives {', '.join(bands)}: "
                "add the band to [source] bands, or leave the name out."
            )


def _usual(season: Season, layout: Layout) -> Climatology | None:
    """The climatology of a tile, if the season names one: of its grid and index, and of other seasons."""
    folder, index = season.growth.climatology, season.growth.index
    if folder is None:
        return None

    def fail(why: str) -> SeasonFileError:
        return SeasonFileError(f"{season.path}: [growth] climatology: {why}")

    try:
        store = store_of(folder, layout.tile, layout.grid)
    except CubeError as error:
        raise fail(str(error)) from error
    if index not in store.indices:
        raise fail(
            f"{store.path} holds {', '.join(store.indices)}, not {index}, which growth is judged by. "
            f"Build one with --index {index}, or set [growth] index."
        )
    least = int(thresholds()["growth.min_seasons"].value)
    if (count := len(store.seasons)) < least:
        raise fail(
            f"{store.path} holds {count} season(s); {least} at least make what is usual. Add past ones with "
            "`eo cube climatology build`, or compare with [growth] baseline."
        )
    days = [layout.dates[number] for number in in_last_year(layout.dates)]
    own = {(day.year, dekad_of_year(day)) for day in days}
    for entry in store.seasons:
        if own & set(entry.dekads):
            raise fail(
                f"{store.path} holds {entry.label} ({entry.start} to {entry.end}), which is this very season "
                "or overlaps it: it would be compared with itself. Build one without it."
            )
    return store


def _tile_bytes(item: TilePlan, plan: Plan) -> int:
    reading, making = (
        max(blocks, key=lambda block: block.height * block.width)
        for blocks in (item.ingest_blocks, item.blocks)
    )
    pixels = making.height * making.width
    busiest = max(len(item.scenes_of(step)) for step in item.layout.steps)
    features = len(plan.season.classify.features) if plan.season.classify else 0
    steps, bands = len(item.layout.steps), len(plan.bands)
    return max(
        mask_bytes(item.tile.grid, level1c=any(scene.level1c for scene in item.tile.scenes))
        if plan.season.source.sentinel
        else 0,
        ingest_bytes(busiest, bands, reading),
        radar_bytes(reading) if plan.season.source.radar else 0,
        terrain_bytes(making) if plan.dem else 0,
        screen_bytes(steps, len(tested_bands(plan.bands)), making),
        fill_bytes(steps, making) if plan.season.fill else 0,
        growth_bytes(steps, making) if item.usual else 0,
        disaster_bytes(steps, making) if plan.season.disaster else 0,
        # reflectance as int16 and float32, every index observed and smoothed, one in double precision
        pixels * steps * (6 * bands + 4 * len(plan.season.growth.indices) + 24),
        pixels * steps * (6 * bands + 8 * features) + _MODEL_BYTES if features else 0,
    )


def plan_digest(plan: Plan) -> str:
    """A hash of everything that decides the cube."""
    return digest_of([[item.name, item.tokens] for item in plan.tiles], plan.bands)


def scenes_of(plan: Plan) -> tuple[Scene, ...]:
    """All scenes, tile by tile."""
    return tuple(scene for item in plan.tiles for scene in item.tile.scenes)
