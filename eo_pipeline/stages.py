"""The stages of a run as tasks with their keys; nothing is done here.

A key holds the keys it builds on, so a change anywhere reaches everything after it and nothing before.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from eo_pipeline.acquire.sources.base import stamp
from eo_pipeline.cube.gaps import GapRule, fill_block
from eo_pipeline.cube.ingest import ingest_step, screen_block
from eo_pipeline.cube.radar import CHANNELS, radar_step
from eo_pipeline.cube.smoothing import smooth_block
from eo_pipeline.cube.store import TileStore
from eo_pipeline.engine import Progress, Result, Task, done_results, task_key
from eo_pipeline.grid import Block, TimeStep
from eo_pipeline.plan import Plan, TilePlan
from eo_pipeline.products.classify import CROP_TYPE, classify_block, train_map
from eo_pipeline.products.curves import curves_block
from eo_pipeline.products.growth_map import Baseline, Usual, growth_block
from eo_pipeline.products.zonal import ZoneIndex, ZoneUnit, read_units
from eo_pipeline.publish.contract import MANIFEST
from eo_pipeline.scenes.cloudless import package_version
from eo_pipeline.scenes.clouds import mask_scene
from eo_pipeline.storage import Folder

#: In the order they run.
STAGES: Final = (
    "mask", "ingest", "radar", "screen", "fill", "index", "train", "classify", "curves", "growth",
)  # fmt: skip
#: Stages of a season with samples only.
_MAPPED = ("train", "classify")


#: By tile, which of its steps take part.
Kept = Mapping[str, Sequence[bool]]


@dataclass(frozen=True)
class Stages:
    """Tasks of every stage of one plan."""

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
        return task_key("train", stamps, repr(spec), classes, cubes, beside, dates, self.plan.bands)

    def classify_key(self, tile: TilePlan, block: Block) -> str:
        codes = {item.name: item.code for item in self.plan.season.classes}
        judged = self.judged_key(tile, block)
        return task_key("classify", judged, self._beside(tile), self.train_key, codes)

    def _beside(self, tile: TilePlan) -> str:
        """Key of what the map's features ask for beside the clear views."""
        spec = self.plan.season.classify
        asked = spec is not None and any(name in CHANNELS for name in spec.features)
        return self._radar_keys[tile.name] if asked else ""

    @functools.cached_property
    def _radar_keys(self) -> dict[str, str]:
        """By tile, the key of its backscatter."""
        return {
            tile.name: task_key(
                "backscatter",
                [
                    self.radar_key(tile, block, step)
                    for block in tile.ingest_blocks
                    for step in tile.layout.steps
                ],
            )
            for tile in self.plan.tiles
        }

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
        return {
            tile.name: task_key(
                "cube",
                [
                    self.ingest_key(tile, block, step)
                    for block in tile.ingest_blocks
                    for step in tile.layout.steps
                ],
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
    def _cloud_rule(self) -> list[str]:
        """What decides a mask beside the scene: the season's rule, and the model's version."""
        spec = self.plan.season.source.sentinel
        model = package_version() if spec is not None and spec.detector == "s2cloudless" else ""
        return [repr(spec), model]

    def _zone_stamps(self) -> list[Any]:
        region = self.plan.season.region
        files = [stamp(str(path)) for path in (region.units, region.parcels) if path]
        return [[(item.path, item.bytes, item.mtime_ns) for item in files], region.parcel_field]

    # ---- zones ------------------------------------------------------------------------------------------
    @functools.cached_property
    def units(self) -> tuple[ZoneUnit, ...]:
        """Administrative units; none means the whole image."""
        path = self.plan.season.region.units
        return read_units(path) if path else ()

    @functools.cached_property
    def parcels(self) -> tuple[ZoneUnit, ...]:
        """Parcels, if the season names any."""
        region = self.plan.season.region
        if region.parcels is None:
            return ()
        return read_units(region.parcels, code_field=region.parcel_field, name_field=region.parcel_field)

    def zones_of(self, tile: TilePlan, block: Block) -> tuple[tuple[str, Sequence[ZoneUnit]], ...]:
        """Scopes and their polygons that touch a block; "class" is the whole image."""
        grid = block.grid(tile.tile.grid)
        near = [(scope, index.near(grid)) for scope, index in self._indexes.items()]
        return (("class", ()), *((scope, units) for scope, units in near if units))

    @functools.cached_property
    def _indexes(self) -> dict[str, ZoneIndex]:
        return {"unit": ZoneIndex(self.units), "parcel": ZoneIndex(self.parcels)}

    # ---- tasks ------------------------------------------------------------------------------------------
    def mask(self) -> list[Task]:
        """One task a scene: which of its pixels are clear. None where the season's own rules say so."""
        if self.plan.season.source.sentinel is None:
            return []
        return [
            Task(
                "mask",
                tile.name,
                self.mask_name(tile, number),
                self.mask_key(tile, number),
                self.marker("mask", tile.name, self.mask_name(tile, number)),
                mask_scene,
                {
                    "scene": scene,
                    "grid": tile.tile.grid,
                    "owned": tile.tile.owned,
                    "clouds": self.plan.season.source.sentinel,
                    "mask_file": self.mask_file(tile, number),
                },
                float(tile.tile.grid.height * tile.tile.grid.width),
            )
            for tile in self.plan.tiles
            for number, scene in enumerate(tile.tile.scenes)
        ]

    def ingest(self) -> list[Task]:
        """One task a block and step: the step's composite of the block, from the step's own scenes."""
        masked = self.plan.season.source.sentinel is not None
        tasks = []
        for tile in self.plan.tiles:
            for position, step in enumerate(tile.layout.steps):
                numbers = tile.scenes_of(step)
                for block in tile.ingest_blocks:
                    name = f"{step.start:%Y%m%d}-{block.id}"
                    arguments = {
                        "block": block,
                        "number": position,
                        "step": step,
                        "scenes": tuple(tile.tile.scenes[n] for n in numbers),
                        "mask_files": tuple(self.mask_file(tile, n) for n in numbers) if masked else (),
                        "bands": self.plan.bands,
                        "masks": self.plan.season.source.masks,
                        "owned": tile.tile.owned,
                        "store": self.store(tile),
                    }
                    marker = self.marker("ingest", tile.name, name)
                    key = self.ingest_key(tile, block, step)
                    # a step without scenes, or a block of which the tile owns nothing, costs next to nothing
                    read = len(numbers) if tile.owned_pixels(block) else 0
                    weight = block.height * block.width * (read + 0.1)
                    tasks.append(Task("ingest", tile.name, name, key, marker, ingest_step, arguments, weight))
        return tasks

    def radar(self) -> list[Task]:
        """One task a block and step: the step's backscatter of either direction, from the step's own passes.

        None where the season has no Sentinel-1.
        """
        if self.plan.season.source.radar is None:
            return []
        tasks = []
        for tile in self.plan.tiles:
            for position, step in enumerate(tile.layout.steps):
                passes = tile.passes_of(step)
                for block in tile.ingest_blocks:
                    name = f"{step.start:%Y%m%d}-{block.id}"
                    arguments = {
                        "block": block,
                        "grid": tile.tile.grid,
                        "number": position,
                        "step": step,
                        "passes": passes,
                        "owned": tile.tile.owned,
                        "store": self.store(tile),
                    }
                    marker = self.marker("radar", tile.name, name)
                    key = self.radar_key(tile, block, step)
                    read = len(passes) if tile.owned_pixels(block) else 0
                    weight = block.height * block.width * (read + 0.1)
                    tasks.append(Task("radar", tile.name, name, key, marker, radar_step, arguments, weight))
        return tasks

    def screen(self) -> list[Task]:
        """One task a block: what the clear views of the season tell of each other."""

        def arguments(tile: TilePlan, block: Block) -> Mapping[str, Any]:
            return {
                "block": block,
                "store": self.store(tile),
                "bands": self.plan.bands,
                "steps": tile.layout.steps,
            }

        return self._tasks("screen", screen_block, self.screen_key, arguments)

    def fill(self, kept: Kept | None = None) -> list[Task]:
        """One task a block: its bands with their gaps filled. None where the season does not ask for it."""
        if self.gap_rule is None:
            return []

        def arguments(tile: TilePlan, block: Block) -> Mapping[str, Any]:
            return {
                "block": block,
                "store": self.store(tile),
                "kept": (kept or {}).get(tile.name, ()),
                "bands": self.plan.bands,
                "dates": tile.layout.dates,
                "rule": self.gap_rule,
            }

        return self._tasks("fill", fill_block, self.fill_key, arguments)

    def index(self, kept: Kept | None = None) -> list[Task]:
        """One task a block: smoothed indices. `kept` says of each tile's steps which take part."""

        def arguments(tile: TilePlan, block: Block) -> Mapping[str, Any]:
            return {
                "block": block,
                "store": self.store(tile),
                "kept": (kept or {}).get(tile.name, ()),
                "bands": self.plan.bands,
                "dates": tile.layout.dates,
                "indices": self.plan.season.growth.indices,
            }

        return self._tasks("index", smooth_block, self.index_key, arguments)

    def train(
        self, kept: Kept | None = None, on_progress: Callable[[Progress], None] | None = None
    ) -> list[Task]:
        """One task: the model and its accuracy. It runs in this process, where it can tell of its steps."""
        arguments = {
            "season": self.plan.season,
            "layouts": [tile.layout for tile in self.plan.tiles],
            "stores": [self.store(tile) for tile in self.plan.tiles],
            "kept": [(kept or {}).get(tile.name, ()) for tile in self.plan.tiles],
            "model": self.model,
            "out_of_fold": self.out_of_fold,
            "on_progress": on_progress,
        }
        marker = self.marker("train", "all", "model")
        return [Task("train", "all", "model", self.train_key, marker, train_map, arguments)]

    def classify(self, kept: Kept | None = None) -> list[Task]:
        """One task a block: class and confidence."""
        spec = self.plan.season.classify
        assert spec is not None
        codes = {item.name: item.code for item in self.plan.season.classes}

        def arguments(tile: TilePlan, block: Block) -> Mapping[str, Any]:
            return {
                "block": block,
                "store": self.store(tile),
                "kept": (kept or {}).get(tile.name, ()),
                "bands": self.plan.bands,
                "features": spec.features,
                "codes": codes,
                "model": self.model,
                "model_key": self.train_key,
            }

        return self._tasks("classify", classify_block, self.classify_key, arguments)

    def curves(self, kept: Kept | None = None) -> list[Task]:
        """One task a block: sums of units, parcels and classes."""

        def arguments(tile: TilePlan, block: Block) -> Mapping[str, Any]:
            return {
                "block": block,
                "grid": tile.tile.grid,
                "store": self.store(tile),
                "kept": (kept or {}).get(tile.name, ()),
                "bands": self.plan.bands,
                "dates": tile.layout.dates,
                "indices": self.plan.season.growth.indices,
                "zones": self.zones_of(tile, block),
                "class_map": CROP_TYPE if self.plan.season.classify else None,
                "output": self.sums_file(block),
            }

        return self._tasks("curves", curves_block, self.curves_key, arguments)

    def growth(
        self,
        medians: Mapping[str, Mapping[int, Sequence[float]]] | None = None,
        baselines: Mapping[str, Sequence[Baseline]] | None = None,
        kept: Kept | None = None,
    ) -> list[Task]:
        """One task a block: growth and anomaly. The arguments are by tile; without them only keys are
        right.
        """

        def arguments(tile: TilePlan, block: Block) -> Mapping[str, Any]:
            return {
                "block": block,
                "grid": tile.tile.grid,
                "store": self.store(tile),
                "kept": (kept or {}).get(tile.name, ()),
                "index": self.plan.season.growth.index,
                "dates": tile.layout.dates,
                "medians": (medians or {}).get(tile.name, {}),
                "baselines": (baselines or {}).get(tile.name, ()),
                "usual": self._usual[tile.name],
                "mapped": self.plan.season.classify is not None,
                "units": self.units,
            }

        return self._tasks("growth", growth_block, self.growth_key, arguments)

    def _tasks(
        self,
        stage: str,
        function: Callable[..., Result],
        key: Callable[[TilePlan, Block], str],
        arguments: Callable[[TilePlan, Block], Mapping[str, Any]],
    ) -> list[Task]:
        return [
            Task(
                stage,
                tile.name,
                block.id,
                key(tile, block),
                self.marker(stage, tile.name, block.id),
                function,
                arguments(tile, block),
                max(1.0, tile.owned_pixels(block)),
            )
            for tile in self.plan.tiles
            for block in tile.blocks
        ]

    # ---- what is left to do -----------------------------------------------------------------------------
    def of(self, stage: str) -> list[Task]:
        """Tasks of a stage by its name; none where the season has no such stage."""
        if stage in _MAPPED and self.plan.season.classify is None:
            return []
        tasks: list[Task] = getattr(self, stage)()
        return tasks

    def left(self) -> dict[str, tuple[list[Task], int]]:
        """(tasks to do, number of tasks in all) of each stage, as far as the markers tell."""
        stored = all(TileStore(self.store(tile)).matches(tile.layout) for tile in self.plan.tiles)
        found = {}
        for stage in STAGES:
            tasks = self.of(stage)
            # markers of an older cube do not count
            done = done_results(tasks) if stored or stage in ("mask", "train") else {}
            found[stage] = [task for number, task in enumerate(tasks) if number not in done], len(tasks)
        return found
