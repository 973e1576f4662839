"""The stages of a run as tasks; nothing is done here."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from eo_pipeline.cube.gaps import fill_block
from eo_pipeline.cube.ingest import ingest_step, screen_block
from eo_pipeline.cube.radar import radar_step
from eo_pipeline.cube.smoothing import smooth_block
from eo_pipeline.cube.store import TileStore
from eo_pipeline.cube.terrain import terrain_block
from eo_pipeline.engine import Progress, Result, Task, done_results
from eo_pipeline.grid import Block, TimeStep
from eo_pipeline.plan import TilePlan
from eo_pipeline.products.classify import CROP_TYPE, classify_block, train_map
from eo_pipeline.products.curves import curves_block
from eo_pipeline.products.disaster_map import disaster_block
from eo_pipeline.products.growth_map import Baseline, growth_block
from eo_pipeline.products.zonal import ZoneIndex, ZoneUnit, read_units
from eo_pipeline.scenes.clouds import mask_scene
from eo_pipeline.stage_keys import StageKeys

#: In the order they run.
STAGES: Final = (
    "mask", "ingest", "radar", "terrain", "screen", "fill", "index", "train", "classify", "curves", "growth",
    "disaster",
)  # fmt: skip
#: Stages of a season with samples only.
_MAPPED = ("train", "classify")


#: To place a pass of GRD takes as long as to read so many that are terrain-corrected.
_GRD: Final = 4
#: By tile, which of its steps take part.
Kept = Mapping[str, Sequence[bool]]


@dataclass(frozen=True)
class Stages(StageKeys):
    """Tasks of every stage of one plan."""

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

        def arguments(tile: TilePlan, step: TimeStep) -> tuple[int, Mapping[str, Any]]:
            numbers = tile.scenes_of(step)
            return len(numbers), {
                "scenes": tuple(tile.tile.scenes[n] for n in numbers),
                "mask_files": tuple(self.mask_file(tile, n) for n in numbers) if masked else (),
                "bands": self.plan.bands,
                "masks": self.plan.season.source.masks,
            }

        return self._step_tasks("ingest", ingest_step, self.ingest_key, arguments)

    def radar(self) -> list[Task]:
        """One task a block and step: the step's backscatter of either direction, from the step's own passes.

        None where the season has no Sentinel-1.
        """
        if self.plan.season.source.radar is None:
            return []

        def arguments(tile: TilePlan, step: TimeStep) -> tuple[int, Mapping[str, Any]]:
            passes = tile.passes_of(step)
            read = sum(_GRD if item.grd else 1 for item in passes)
            return read, {"grid": tile.tile.grid, "passes": passes}

        return self._step_tasks("radar", radar_step, self.radar_key, arguments)

    def _step_tasks(
        self,
        stage: str,
        function: Callable[..., Result],
        key: Callable[[TilePlan, Block, TimeStep], str],
        arguments: Callable[[TilePlan, TimeStep], tuple[int, Mapping[str, Any]]],
    ) -> list[Task]:
        """`arguments` tells, of a step, how many rasters it reads, and what else its function takes."""
        tasks = []
        for tile in self.plan.tiles:
            for position, step in enumerate(tile.layout.steps):
                rasters, own = arguments(tile, step)
                for block in tile.ingest_blocks:
                    name = f"{step.start:%Y%m%d}-{block.id}"
                    common = {
                        "block": block,
                        "number": position,
                        "step": step,
                        "owned": tile.tile.owned,
                        "store": self.store(tile),
                    }
                    marker = self.marker(stage, tile.name, name)
                    # a step without rasters, or a block of which the tile owns nothing, costs next to nothing
                    read = rasters if tile.owned_pixels(block) else 0
                    weight = block.height * block.width * (read + 0.1)
                    tasks.append(
                        Task(
                            stage,
                            tile.name,
                            name,
                            key(tile, block, step),
                            marker,
                            function,
                            common | dict(own),
                            weight,
                        )
                    )
        return tasks

    def terrain(self) -> list[Task]:
        """One task a block: height, slope and aspect. None where the season names no elevation model."""
        if not self.plan.dem:
            return []

        def arguments(tile: TilePlan, block: Block) -> Mapping[str, Any]:
            return {"block": block, "grid": tile.tile.grid, "dem": self.plan.dem, "store": self.store(tile)}

        return self._tasks("terrain", terrain_block, self.terrain_key, arguments)

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
            return {**self._series(tile, block, kept), "rule": self.gap_rule}

        return self._tasks("fill", fill_block, self.fill_key, arguments)

    def index(self, kept: Kept | None = None) -> list[Task]:
        """One task a block: smoothed indices. `kept` says of each tile's steps which take part."""

        def arguments(tile: TilePlan, block: Block) -> Mapping[str, Any]:
            return {**self._series(tile, block, kept), "indices": self.plan.season.growth.indices}

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
            "runtime": self.runtime,
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
                "runtime": self.runtime,
            }

        return self._tasks("classify", classify_block, self.classify_key, arguments)

    def curves(self, kept: Kept | None = None) -> list[Task]:
        """One task a block: sums of units, parcels and classes."""

        def arguments(tile: TilePlan, block: Block) -> Mapping[str, Any]:
            return {
                **self._series(tile, block, kept),
                "grid": tile.tile.grid,
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

    def disaster(
        self,
        medians: Mapping[str, Mapping[int, Sequence[float]]] | None = None,
        kept: Kept | None = None,
    ) -> list[Task]:
        """One task a block: what fell suddenly, and new water. None where the season asks for no
        disasters.
        """
        season = self.plan.season
        if season.disaster is None:
            return []

        def arguments(tile: TilePlan, block: Block) -> Mapping[str, Any]:
            return {
                **self._series(tile, block, kept),
                "index": season.growth.index,
                "medians": (medians or {}).get(tile.name, {}),
                "mapped": season.classify is not None,
                "radar": season.source.radar is not None,
            }

        return self._tasks("disaster", disaster_block, self.disaster_key, arguments)

    def _series(self, tile: TilePlan, block: Block, kept: Kept | None) -> dict[str, Any]:
        """What tasks take that read the bands of all steps that take part."""
        return {
            "block": block,
            "store": self.store(tile),
            "kept": (kept or {}).get(tile.name, ()),
            "bands": self.plan.bands,
            "dates": tile.layout.dates,
        }

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
