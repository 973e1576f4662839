"""The stages of a run as tasks with their keys; nothing is done here.

A key holds the keys it builds on, so a change anywhere reaches everything after it and nothing before.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from eo_pipeline.acquire.sources.base import stamp
from eo_pipeline.cube.smoothing import smooth_block
from eo_pipeline.cube.store import TileStore
from eo_pipeline.cube.two_pass import ingest_block, screen_block
from eo_pipeline.engine import Progress, Result, Task, done_result, task_key
from eo_pipeline.grid import Block
from eo_pipeline.plan import Plan, TilePlan
from eo_pipeline.products.classify import CROP_TYPE, classify_block, train_map
from eo_pipeline.products.curves import curves_block
from eo_pipeline.products.growth_map import Baseline, growth_block
from eo_pipeline.products.zonal import ZoneUnit, read_units
from eo_pipeline.publish.contract import MANIFEST

#: In the order they run.
STAGES: Final = ("screen", "ingest", "index", "train", "classify", "curves", "growth")


@dataclass(frozen=True)
class Stages:
    """Tasks of every stage of one plan."""

    plan: Plan

    # ---- where things lie -------------------------------------------------------------------------------
    def store(self, tile: TilePlan) -> Path:
        """The tile's cube."""
        return self.plan.work / "cube" / f"{tile.name}.zarr"

    def mask_file(self, block: Block) -> Path:
        """Usable pixels of the block's scenes."""
        return self.plan.work / "screen" / block.tile / f"{block.id}.npz"

    def sums_file(self, block: Block) -> Path:
        """Sums of the block's curves."""
        return self.plan.work / "curves" / block.tile / f"{block.id}.npz"

    @property
    def model(self) -> Path:
        """The model folder."""
        return self.plan.work / "model"

    @property
    def out_of_fold(self) -> Path:
        """Out-of-fold predictions of the samples."""
        return self.plan.work / "out_of_fold.json"

    def marker(self, stage: str, tile: str, block: str) -> Path:
        """The file that says the task is done."""
        return self.plan.work / "tasks" / stage / tile / f"{block}.json"

    # ---- keys -------------------------------------------------------------------------------------------
    def screen_key(self, tile: TilePlan, block: Block) -> str:
        return task_key(
            "screen", block.tile, block.id, block.height, block.width, self._tokens(tile), self._masks()
        )

    def ingest_key(self, tile: TilePlan, block: Block) -> str:
        # a scene is judged over its whole tile, so every block depends on the screening of all
        return task_key(
            "ingest", block.id, self._tile_key(tile), [(s.start, s.end) for s in tile.layout.steps]
        )

    def index_key(self, tile: TilePlan, block: Block) -> str:
        return task_key("index", self.ingest_key(tile, block), self.plan.season.growth.indices)

    @functools.cached_property
    def train_key(self) -> str:
        season, spec = self.plan.season, self.plan.season.classify
        assert spec is not None
        files = [stamp(str(path)) for path in (spec.samples, spec.sample_table) if path]
        stamps = [(item.path, item.bytes, item.mtime_ns) for item in files]
        cubes = [] if spec.samples.suffix.lower() == ".npz" else [self._tile_key(t) for t in self.plan.tiles]
        classes = [item.name for item in season.classes]
        dates = self.plan.tiles[0].layout.dates
        return task_key("train", stamps, repr(spec), classes, cubes, dates, self.plan.bands)

    def classify_key(self, tile: TilePlan, block: Block) -> str:
        codes = {item.name: item.code for item in self.plan.season.classes}
        return task_key("classify", self.ingest_key(tile, block), self.train_key, codes)

    def curves_key(self, tile: TilePlan, block: Block) -> str:
        mapped = self.classify_key(tile, block) if self.plan.season.classify else ""
        return task_key("curves", self.index_key(tile, block), mapped, self._zone_stamps())

    def growth_key(self, tile: TilePlan, block: Block) -> str:
        growth = self.plan.season.growth
        crops = [(item.code, item.name, item.crop) for item in self.plan.season.classes]
        earlier = [(str(path), stamp(str(path / MANIFEST)).mtime_ns) for path in growth.baseline]
        return task_key("growth", self._all_curves, block.tile, block.id, growth.index, crops, earlier)

    @functools.cached_property
    def _all_curves(self) -> str:
        # a crop's median is that of all tiles, so every block depends on the curves of all
        keys = [self.curves_key(tile, block) for tile in self.plan.tiles for block in tile.blocks]
        return task_key("all-curves", keys)

    @functools.cached_property
    def _tile_keys(self) -> dict[str, str]:
        return {
            tile.name: task_key("tile", [self.screen_key(tile, block) for block in tile.blocks])
            for tile in self.plan.tiles
        }

    def _tile_key(self, tile: TilePlan) -> str:
        return self._tile_keys[tile.name]

    def _tokens(self, tile: TilePlan) -> tuple[str, ...]:
        return tile.tokens

    def _masks(self) -> list[Any]:
        return [(rule.band, rule.clear) for rule in self.plan.season.source.masks]

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

    @property
    def zones(self) -> tuple[tuple[str, Sequence[ZoneUnit]], ...]:
        """Scopes and their polygons; "class" is the whole image."""
        scopes: list[tuple[str, Sequence[ZoneUnit]]] = [("class", ())]
        if self.units:
            scopes.append(("unit", self.units))
        if self.parcels:
            scopes.append(("parcel", self.parcels))
        return tuple(scopes)

    # ---- tasks ------------------------------------------------------------------------------------------
    def screen(self) -> list[Task]:
        """One task a block: usable pixels of every scene."""

        def arguments(tile: TilePlan, block: Block) -> Mapping[str, Any]:
            return {
                "block": block,
                "scenes": tile.tile.scenes,
                "bands": self.plan.bands,
                "masks": self.plan.season.source.masks,
                "mask_file": self.mask_file(block),
            }

        return self._tasks("screen", screen_block, self.screen_key, arguments)

    def ingest(self, kept: Mapping[str, Sequence[bool]] | None = None) -> list[Task]:
        """One task a block: the cube. `kept` says of each tile's scenes which take part."""

        def arguments(tile: TilePlan, block: Block) -> Mapping[str, Any]:
            return {
                "block": block,
                "scenes": tile.tile.scenes,
                "kept": tuple(kept[tile.name]) if kept else (),
                "bands": self.plan.bands,
                "steps": tile.layout.steps,
                "mask_file": self.mask_file(block),
                "store": self.store(tile),
            }

        return self._tasks("ingest", ingest_block, self.ingest_key, arguments)

    def index(self) -> list[Task]:
        """One task a block: smoothed indices."""

        def arguments(tile: TilePlan, block: Block) -> Mapping[str, Any]:
            return {
                "block": block,
                "store": self.store(tile),
                "bands": self.plan.bands,
                "dates": tile.layout.dates,
                "indices": self.plan.season.growth.indices,
            }

        return self._tasks("index", smooth_block, self.index_key, arguments)

    def train(self, on_progress: Callable[[Progress], None] | None = None) -> list[Task]:
        """One task: the model and its accuracy. It runs in this process, where it can tell of its steps."""
        arguments = {
            "season": self.plan.season,
            "layouts": [tile.layout for tile in self.plan.tiles],
            "stores": [self.store(tile) for tile in self.plan.tiles],
            "model": self.model,
            "out_of_fold": self.out_of_fold,
            "on_progress": on_progress,
        }
        marker = self.marker("train", "all", "model")
        return [Task("train", "all", "model", self.train_key, marker, train_map, arguments)]

    def classify(self) -> list[Task]:
        """One task a block: class and confidence."""
        spec = self.plan.season.classify
        assert spec is not None
        codes = {item.name: item.code for item in self.plan.season.classes}

        def arguments(tile: TilePlan, block: Block) -> Mapping[str, Any]:
            return {
                "block": block,
                "store": self.store(tile),
                "bands": self.plan.bands,
                "features": spec.features,
                "codes": codes,
                "model": self.model,
                "model_key": self.train_key,
            }

        return self._tasks("classify", classify_block, self.classify_key, arguments)

    def curves(self) -> list[Task]:
        """One task a block: sums of units, parcels and classes."""

        def arguments(tile: TilePlan, block: Block) -> Mapping[str, Any]:
            return {
                "block": block,
                "grid": tile.tile.grid,
                "store": self.store(tile),
                "bands": self.plan.bands,
                "dates": tile.layout.dates,
                "indices": self.plan.season.growth.indices,
                "zones": self.zones,
                "class_map": CROP_TYPE if self.plan.season.classify else None,
                "output": self.sums_file(block),
            }

        return self._tasks("curves", curves_block, self.curves_key, arguments)

    def growth(
        self,
        medians: Mapping[str, Mapping[int, Sequence[float]]] | None = None,
        baselines: Mapping[str, Sequence[Baseline]] | None = None,
    ) -> list[Task]:
        """One task a block: growth and anomaly. Both arguments are by tile; without them only keys are
        right.
        """

        def arguments(tile: TilePlan, block: Block) -> Mapping[str, Any]:
            return {
                "block": block,
                "grid": tile.tile.grid,
                "store": self.store(tile),
                "index": self.plan.season.growth.index,
                "dates": tile.layout.dates,
                "medians": (medians or {}).get(tile.name, {}),
                "baselines": (baselines or {}).get(tile.name, ()),
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
            )
            for tile in self.plan.tiles
            for block in tile.blocks
        ]

    # ---- what is left to do -----------------------------------------------------------------------------
    def of(self, stage: str) -> list[Task]:
        """Tasks of a stage by its name; none where the season has no such stage."""
        if stage in ("train", "classify") and self.plan.season.classify is None:
            return []
        tasks: list[Task] = getattr(self, stage)()
        return tasks

    def left(self) -> dict[str, tuple[int, int]]:
        """(tasks to do, tasks in all) of each stage, as far as the markers tell."""
        stored = all(TileStore(self.store(tile)).matches(tile.layout) for tile in self.plan.tiles)
        counts = {}
        for stage in STAGES:
            tasks = self.of(stage)
            done = [done_result(task.marker, task.key) is not None for task in tasks]
            lost = not stored and stage not in ("screen", "train")
            counts[stage] = (len(tasks) if lost else done.count(False), len(tasks))
        return counts
