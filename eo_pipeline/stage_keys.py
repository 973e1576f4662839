"""Where the stages of a run write, and the keys of their tasks.

A key holds the keys it builds on, so a change anywhere reaches everything after it and nothing before.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata
from typing import Any

from eo_pipeline.acquire.sources.base import stamp
from eo_pipeline.cube.gaps import GapRule
from eo_pipeline.cube.radar import CHANNELS
from eo_pipeline.cube.terrain import TERRAIN
from eo_pipeline.engine import task_key
from eo_pipeline.grid import Block, TimeStep
from eo_pipeline.plan import Plan, TilePlan
from eo_pipeline.products.classify import Runtime, runtime_of
from eo_pipeline.products.growth_map import Usual
from eo_pipeline.publish.contract import MANIFEST
from eo_pipeline.scenes.cloudless import package_version
from eo_pipeline.storage import Folder


@dataclass(frozen=True)
class StageKeys:
    """Folders and keys of one plan's tasks."""

    plan: Plan

    # ---- where things lie -------------------------------------------------------------------------------
    def store(self, tile: TilePlan) -> Folder:
        """The tile's cube."""
        return self.plan.work / "cube" / f"{tile.name}.zarr"

    def mask_name(self, tile: TilePlan, number: int) -> str:
        """The name of the mask of one scene of a tile."""
        return f"{tile.tile.scenes[number].date:%Y%m%d}-{tile.tokens[number][:12]}"

    def mask_file(self, tile: TilePlan, number: int) -> Folder:
        """Usable pixels of one scene of a tile."""
        return self.plan.work / "mask" / tile.name / f"{self.mask_name(tile, number)}.npz"

    def sums_file(self, block: Block) -> Folder:
        """Sums of the block's curves."""
        return self.plan.work / "curves" / block.tile / f"{block.id}.npz"

    @property
    def model(self) -> Folder:
        """The model folder."""
        return self.plan.work / "model"

    @property
    def out_of_fold(self) -> Folder:
        """Out-of-fold predictions of the samples."""
        return self.plan.work / "out_of_fold.json"

    def marker(self, stage: str, tile: str, block: str) -> Folder:
        """The file that says the task is done."""
        return self.plan.work / "tasks" / stage / tile / f"{block}.json"

    # ---- keys -------------------------------------------------------------------------------------------
    def mask_key(self, tile: TilePlan, number: int) -> str:
        grid = (tile.tile.grid, tile.tile.owned)
        return task_key("mask", tile.tokens[number], repr(grid), self._cloud_rule)

    def ingest_key(self, tile: TilePlan, block: Block, step: TimeStep) -> str:
        # of a step's own scenes alone: a new one touches its dekad and no other
        tokens = sorted(tile.tokens[number] for number in tile.scenes_of(step))
        where = (repr(block), repr(tile.tile.grid), tile.tile.owned)
        return task_key("ingest", where, (step.start, step.end), tokens, self.plan.bands, self._masks())

    def radar_key(self, tile: TilePlan, block: Block, step: TimeStep) -> str:
        # of a step's own passes alone, as with scenes
        tokens = sorted(item.token for item in tile.passes_of(step))
        where = (repr(block), repr(tile.tile.grid), tile.tile.owned)
        return task_key("radar", where, (step.start, step.end), tokens)

    def terrain_key(self, tile: TilePlan, block: Block) -> str:
        files = [stamp(str(path)) for path in self.plan.dem]
        stamps = [(item.path, item.bytes, item.mtime_ns) for item in files]
        return task_key("terrain", repr(block), repr(tile.tile.grid), stamps)

    def screen_key(self, tile: TilePlan, block: Block) -> str:
        return task_key("screen", block.id, block.height, block.width, self._cube_keys[tile.name])

    def judged_key(self, tile: TilePlan, block: Block) -> str:
        """Key of a block's usable reflectance: a step is judged over its whole tile, so on all its blocks."""
        return task_key("judged", block.id, block.height, block.width, self._tile_keys[tile.name])

    def fill_key(self, tile: TilePlan, block: Block) -> str:
        return task_key("fill", self.judged_key(tile, block), repr(self.gap_rule))

    def index_key(self, tile: TilePlan, block: Block) -> str:
        return task_key("index", self.judged_key(tile, block), self.plan.season.growth.indices)

    @functools.cached_property
    def train_key(self) -> str:
        season, spec = self.plan.season, self.plan.season.classify
        assert spec is not None
        files = [stamp(str(path)) for path in (spec.samples, spec.sample_table) if path]
        stamps = [(item.path, item.bytes, item.mtime_ns) for item in files]
        cubes = [] if spec.samples.suffix.lower() == ".npz" else list(self._tile_keys.values())
        classes = [item.name for item in season.classes]
        dates = self.plan.tiles[0].layout.dates
        beside = [] if not cubes else [self._beside(tile) for tile in self.plan.tiles]
        fast = metadata.version("openvino") if self.runtime == "openvino" else ""
        about = (repr(spec), self.runtime, fast, classes, cubes, beside, dates, self.plan.bands)
        return task_key("train", stamps, *about)

    @functools.cached_property
    def runtime(self) -> Runtime:
        """What runs the network on each pixel; training readies the model for it."""
        return runtime_of(self.plan.season)

    def classify_key(self, tile: TilePlan, block: Block) -> str:
        codes = {item.name: item.code for item in self.plan.season.classes}
        judged = self.judged_key(tile, block)
        return task_key("classify", judged, self._beside(tile), self.train_key, codes)

    def _beside(self, tile: TilePlan) -> str:
        """Key of what the map's features ask for beside the clear views."""
        spec = self.plan.season.classify
        asked = spec.features if spec else ()
        radar = self._radar_keys[tile.name] if any(name in CHANNELS for name in asked) else ""
        ground = any(name in TERRAIN for name in asked)
        heights = [self.terrain_key(tile, block) for block in tile.blocks] if ground else []
        return task_key("beside", radar, heights) if radar or heights else ""

    @functools.cached_property
    def _radar_keys(self) -> dict[str, str]:
        """By tile, the key of its backscatter."""
        return self._of_steps("backscatter", self.radar_key)

    def curves_key(self, tile: TilePlan, block: Block) -> str:
        mapped = self.classify_key(tile, block) if self.plan.season.classify else ""
        return task_key("curves", self.index_key(tile, block), mapped, self._zone_stamps())

    def growth_key(self, tile: TilePlan, block: Block) -> str:
        growth = self.plan.season.growth
        crops = [(item.code, item.name, item.crop) for item in self.plan.season.classes]
        earlier = [(str(path), stamp(str(path / MANIFEST)).mtime_ns) for path in growth.baseline]
        if usual := self._usual[tile.name]:
            earlier.append((str(usual.path), stamp(str(usual.path / "zarr.json")).mtime_ns))
        return task_key(
            "growth",
            self._all_curves,
            block.tile,
            block.id,
            growth.index,
            crops,
            earlier,
            usual and usual.state,
        )

    def disaster_key(self, tile: TilePlan, block: Block) -> str:
        # speckle is averaged over a block's edge, so backscatter of all blocks counts
        radar = self._radar_keys[tile.name] if self.plan.season.source.radar else ""
        crops = [(item.code, item.name, item.crop) for item in self.plan.season.classes]
        return task_key(
            "disaster", self._all_curves, block.tile, block.id, self.plan.season.growth.index, crops, radar
        )

    @functools.cached_property
    def _usual(self) -> dict[str, Usual | None]:
        """By tile, the climatology in the state it is in now."""
        return {
            tile.name: Usual(tile.usual.path, tile.usual.require_whole()) if tile.usual else None
            for tile in self.plan.tiles
        }

    @functools.cached_property
    def _all_curves(self) -> str:
        # a crop's median is that of all tiles, so every block depends on the curves of all
        keys = [self.curves_key(tile, block) for tile in self.plan.tiles for block in tile.blocks]
        return task_key("all-curves", keys)

    @functools.cached_property
    def _cube_keys(self) -> dict[str, str]:
        """By tile, the key of its composites."""
        return self._of_steps("cube", self.ingest_key)

    def _of_steps(self, name: str, key: Callable[[TilePlan, Block, TimeStep], str]) -> dict[str, str]:
        return {
            tile.name: task_key(
                name, [key(tile, block, step) for block in tile.ingest_blocks for step in tile.layout.steps]
            )
            for tile in self.plan.tiles
        }

    @functools.cached_property
    def _tile_keys(self) -> dict[str, str]:
        """By tile, the key of its screened cube."""
        return {
            tile.name: task_key("tile", [self.screen_key(tile, block) for block in tile.blocks])
            for tile in self.plan.tiles
        }

    @property
    def gap_rule(self) -> GapRule | None:
        """How the season fills gaps; None where it does not."""
        spec = self.plan.season.fill
        return GapRule(spec.method, spec.max_gap) if spec else None

    def _masks(self) -> list[Any]:
        source = self.plan.season.source
        return [[(rule.band, rule.clear) for rule in source.masks], self._cloud_rule]

    @functools.cached_property
    def _cloud_rule(self) -> list[Any]:
        """What decides a mask beside the scene: the season's rule, and the model's version.

        Not where scenes come from, nor which are taken: another source or `max_cloud` keeps the rest.
        """
        spec = self.plan.season.source.sentinel
        if spec is None:
            return []
        model = [spec.threshold, package_version()] if spec.detector == "s2cloudless" else []
        return [spec.clear, spec.buffer_m, spec.project_shadow, spec.detector, model]

    def _zone_stamps(self) -> list[Any]:
        region = self.plan.season.region
        files = [stamp(str(path)) for path in (region.units, region.parcels) if path]
        return [[(item.path, item.bytes, item.mtime_ns) for item in files], region.parcel_field]
