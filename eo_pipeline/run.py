"""A season from plan to run folder: the stages in order, what they found, and the folder that is handed
on.
"""

from __future__ import annotations

import functools
import json
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np

from eo_pipeline.cube.gaps import FILLED, require_filled
from eo_pipeline.cube.ingest import judge_steps, tested_bands
from eo_pipeline.cube.radar import require_radar
from eo_pipeline.cube.smoothing import array_of
from eo_pipeline.cube.store import NODATA, TileStore
from eo_pipeline.cube.terrain import require_ground
from eo_pipeline.cube.view import SEASON
from eo_pipeline.engine import Engine, Result, Task, done_results, forget, locked
from eo_pipeline.errors import RunFolderError, SourceError
from eo_pipeline.plan import Plan, TilePlan
from eo_pipeline.products.answers import Reference, lay_on_map, read_answers
from eo_pipeline.products.area_facts import accuracy_facts
from eo_pipeline.products.classify import (
    CLASS_NODATA,
    CROP_TYPE,
    DOUBT_NODATA,
    DOUBTS,
    read_out_of_fold,
)
from eo_pipeline.products.curves import Sums, Zone, merge, read_sums
from eo_pipeline.products.disaster_events import Event
from eo_pipeline.products.disaster_season import disaster_rows
from eo_pipeline.products.estimates import (
    AreaResult,
    Row,
    area_estimates,
    area_table,
    curve_estimates,
    growth_estimates,
    series_rows,
)
from eo_pipeline.products.growth_map import ANOMALY, GROWTH, WHOLE, Baseline
from eo_pipeline.products.samples import check_labels, place, values_at
from eo_pipeline.publish.contract import read_manifest, read_series
from eo_pipeline.run_disaster import season_events
from eo_pipeline.scenes.clouds import SceneVerdict
from eo_pipeline.stages import STAGES, Stages
from eo_pipeline.storage import Folder


@dataclass(frozen=True, slots=True)
class Cube:
    """What the tasks told that made the cube, in the order of `Stages.ingest`, `screen` and `terrain`."""

    ingested: list[Result]
    screened: list[Result]
    ground: list[Result]


@dataclass
class SeasonRun:
    """One run of a plan. Each method does its stage and what that needs; what is done is not done again."""

    plan: Plan
    engine: Engine
    timings: dict[str, float] = field(default_factory=dict)
    _covered: dict[str, int] = field(default_factory=dict)

    @functools.cached_property
    def stages(self) -> Stages:
        """Tasks of the plan."""
        return Stages(self.plan)

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Hold the season's work folder; another `eo` for the same season is refused meanwhile."""
        with locked(self.plan.work) as hold:
            self.engine.hold = hold
            _sweep(self.plan.work)
            about = {"id": self.plan.season.id, "simulated": self.plan.season.simulated}
            self.plan.work.write(SEASON, json.dumps(about).encode())
            yield

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        """Note how long a stage took."""
        started = time.perf_counter()
        yield
        self.timings[stage] = round(time.perf_counter() - started, 3)

    def _run(self, stage: str, tasks: Sequence[Any]) -> list[Result]:
        with self.timed(stage):
            return self.engine.run(stage, tasks, task_bytes=self.plan.worker_bytes)

    # ---- stages -----------------------------------------------------------------------------------------
    @functools.cached_property
    def cube(self) -> Cube:
        """The season cube of every tile: one composite a step, each from the step's own scenes, and what of
        it is believed.
        """
        if masks := self.stages.mask():
            self._run("mask", masks)
        tasks, radar, terrain = self.stages.ingest(), self.stages.radar(), self.stages.terrain()
        for tile in self.plan.tiles:
            store = TileStore(self.stages.store(tile))
            if not store.matches(tile.layout):
                # markers of the old store must not vouch for the new one
                for stage in STAGES:
                    if stage not in ("mask", "train"):
                        self.plan.work.delete_tree(f"tasks/{stage}/{tile.name}")
                store.create(tile.layout)
            for name, dtype, fill in (
                (CROP_TYPE, "uint8", CLASS_NODATA),
                *((name, "uint8", DOUBT_NODATA) for name in DOUBTS),
                (GROWTH, "uint8", 0),
                (ANOMALY, "int16", NODATA),
            ):
                store.require(tile.layout, name, dtype, fill)
            if radar:
                require_radar(store, tile.layout)
            if terrain:
                require_ground(store, tile.layout)
        ground = self._run("terrain", terrain) if terrain else []
        screening = self.stages.screen()
        with self._updating([*tasks, *radar], screening):
            ingested = self._run("ingest", tasks)
            if radar:
                self._run("radar", radar)
            return Cube(ingested, self._run("screen", screening), ground)

    @functools.cached_property
    def terrain(self) -> dict[str, dict[str, float | None]]:
        """By tile, lowest and highest metre, and the share without a height; empty without a model."""
        found: dict[str, list[Result]] = {}
        for task, result in zip(self.stages.terrain(), self.cube.ground, strict=True):
            found.setdefault(task.tile, []).append(result)
        facts: dict[str, dict[str, float | None]] = {}
        for tile in self.plan.tiles:
            if results := found.get(tile.name):
                missing = sum(int(item["missing"]) for item in results)
                facts[tile.name] = {
                    "low_m": min((item["low"] for item in results if item["low"] is not None), default=None),
                    "high_m": max(
                        (item["high"] for item in results if item["high"] is not None), default=None
                    ),
                    "missing_share": round(missing / (tile.tile.grid.height * tile.tile.grid.width), 4),
                }
        return facts

    @functools.cached_property
    def clear_shares(self) -> dict[str, list[float]]:
        """By tile, the share of what was ever seen clear that each scene shows clear."""
        _ = self.verdicts
        counts = {tile.name: [0] * len(tile.tile.scenes) for tile in self.plan.tiles}
        steps = {tile.name: tile for tile in self.plan.tiles}
        for task, result in zip(self.stages.ingest(), self.cube.ingested, strict=True):
            numbers = steps[task.tile].scenes_of(task.arguments["step"])
            for number, found in zip(numbers, result["scenes"], strict=True):
                counts[task.tile][number] += int(found["usable"])
        return {
            name: [count / max(1, self._covered[name]) for count in pixels] for name, pixels in counts.items()
        }

    @contextmanager
    def _updating(self, tasks: Sequence[Task], screening: Sequence[Task]) -> Iterator[None]:
        """Tell readers of the cubes which steps are in the making, until all of their blocks are done."""
        changing: dict[str, set[int]] = {tile.name: set() for tile in self.plan.tiles}
        done = done_results(tasks)
        for number, task in enumerate(tasks):
            if number not in done:
                changing[task.tile].add(int(task.arguments["number"]))
        done = done_results(screening)
        for number, task in enumerate(screening):
            if number not in done and not changing[task.tile]:
                changing[task.tile].update(range(len(task.arguments["steps"])))
        stores = {tile.name: TileStore(self.stages.store(tile)) for tile in self.plan.tiles}
        for name, steps in changing.items():
            if steps:  # readers are told first
                stores[name].begin(sorted(steps))
                self._drop("fill", name, FILLED)
                self._drop("index", name, array_of(""))
        yield
        # every task is done now: also the steps that a run killed before its commit left open are whole
        for store in stores.values():
            store.commit(store.record().updating)

    @functools.cached_property
    def verdicts(self) -> dict[str, tuple[SceneVerdict, ...]]:
        """Of each tile's steps, by date: kept or rejected, and why."""
        by_tile: dict[str, list[Result]] = {}
        for task, result in zip(self.stages.screen(), self.cube.screened, strict=True):
            by_tile.setdefault(task.tile, []).append(result)
        self._covered = {name: sum(int(item["covered"]) for item in found) for name, found in by_tile.items()}
        tested = bool(tested_bands(self.plan.bands))
        verdicts = {
            tile.name: judge_steps(tile.layout.steps, by_tile[tile.name], tested=tested)
            for tile in self.plan.tiles
        }
        for tile in self.plan.tiles:
            if all(verdict.rejected for verdict in verdicts[tile.name]):
                raise SourceError(
                    f"{self.plan.season.source.root}: not one scene of tile {tile.name} can be used "
                    f"({verdicts[tile.name][0].date}: {verdicts[tile.name][0].reason}). Check "
                    "[[source.mask]] clear, [source] nodata, scale and offset."
                )
        return verdicts

    @functools.cached_property
    def kept(self) -> dict[str, tuple[bool, ...]]:
        """By tile, the steps that take part in the products."""
        return {name: tuple(not v.rejected for v in found) for name, found in self.verdicts.items()}

    @functools.cached_property
    def filled(self) -> dict[str, dict[str, int]]:
        """By tile, values of bands that were seen, were filled, and are left; empty where none are filled."""
        tasks = self.stages.fill(self.kept)
        for tile in self.plan.tiles:
            if tasks:
                require_filled(TileStore(self.stages.store(tile)), tile.layout)
            else:
                self._drop("fill", tile.name, FILLED)  # nothing would keep it up to date
        if not tasks:
            return {}
        with self._rewriting(tasks):
            results = self._run("fill", tasks)
        counts = {tile.name: dict.fromkeys(("seen", "filled", "left"), 0) for tile in self.plan.tiles}
        for task, result in zip(tasks, results, strict=True):
            for name in counts[task.tile]:
                counts[task.tile][name] += int(result[name])
        return counts

    @contextmanager
    def _rewriting(self, tasks: Sequence[Task]) -> Iterator[None]:
        """Tell readers of the cubes that all steps are in the making, until the tasks are done."""
        done = done_results(tasks)
        left = {task.tile for number, task in enumerate(tasks) if number not in done}
        stores = {tile.name: TileStore(self.stages.store(tile)) for tile in self.plan.tiles}
        for name in left:
            stores[name].begin(range(len(stores[name].steps)))
        yield
        for store in stores.values():
            store.commit(store.record().updating)

    def _drop(self, stage: str, tile: str, arrays: str) -> None:
        """Take what a stage made of other clear views out of a cube; `arrays` is how their names begin."""
        self.plan.work.delete_tree(f"tasks/{stage}/{tile}")
        cube = self.plan.work / "cube" / f"{tile}.zarr"
        for name in (name for name in cube.folders() if name.startswith(arrays)):
            cube.delete_tree(name)

    @functools.cached_property
    def indices(self) -> None:
        """Smoothed indices."""
        tasks = self.stages.index(self.kept)
        for tile in self.plan.tiles:
            store = TileStore(self.stages.store(tile))
            for index in self.plan.season.growth.indices:
                store.require(tile.layout, array_of(index), "int16", NODATA, steps=True)
        with self._rewriting(tasks):
            self._run("index", tasks)

    @functools.cached_property
    def training(self) -> Result | None:
        """Accuracy of the crop map's model; None where the season makes no map."""
        if self.plan.season.classify is None:
            return None
        kept = self.kept
        folds = self.stages.out_of_fold
        if not self.stages.model.exists("card.json") or not folds.parent.exists(folds.name):
            self.plan.work.delete_tree("tasks/train")
        with self.timed("train"):
            # in this process: one task, with threads of its own
            alone = Engine(workers=0)
            alone.hold = self.engine.hold
            return alone.run("train", self.stages.train(kept, on_progress=self.engine.tell))[0]

    @functools.cached_property
    def crop_map(self) -> None:
        """Class and confidence of every pixel."""
        if self.training is not None:
            self._run("classify", self.stages.classify(self.kept))

    @functools.cached_property
    def sums(self) -> dict[Zone, Sums]:
        """Curves and areas of classes, units and parcels."""
        _ = self.indices, self.crop_map
        tasks = self.stages.curves(self.kept)
        there = set(self.plan.work.names("curves"))
        for task in tasks:
            if f"curves/{task.tile}/{task.arguments['output'].name}" not in there:
                forget(task)
        self._run("curves", tasks)
        indices = self.plan.season.growth.indices
        parts = (
            read_sums(task.arguments["output"], dates=task.arguments["dates"], indices=indices)
            for task in tasks
        )
        return merge(parts, [day for tile in self.plan.tiles for day in tile.layout.dates])

    # ---- growth -----------------------------------------------------------------------------------------
    @functools.cached_property
    def medians(self) -> dict[str, dict[int, tuple[float, ...]]]:
        """By tile and crop code, the crop's median curve over all tiles, on the tile's dates."""
        season = self.plan.season
        codes = [item.code for item in season.classes if item.crop] if season.classify else [WHOLE]
        medians: dict[str, dict[int, tuple[float, ...]]] = {tile.name: {} for tile in self.plan.tiles}
        for zone, sums in self.sums.items():
            code = zone.crop if season.classify else WHOLE
            if zone.scope != "class" or code not in codes:
                continue
            curve = dict(zip(sums.dates, sums.median(season.growth.index).tolist(), strict=True))
            for tile in self.plan.tiles:
                medians[tile.name][code] = tuple(curve[day] for day in tile.layout.dates)
        return medians

    @property
    def growth_method(self) -> str:
        """What growth is held against."""
        if self.plan.season.growth.climatology:
            return "climatology"
        count = len(self.plan.season.growth.baseline)
        return "peers" if count == 0 else "last_year" if count == 1 else "baseline_mean"

    @functools.cached_property
    def growth_rows(self) -> list[Row]:
        """Growth shares by crop and unit; writes the growth maps."""
        baselines = {tile.name: self._baselines(tile) for tile in self.plan.tiles}
        results = self._run("growth", self.stages.growth(self.medians, baselines, self.kept))
        return growth_estimates(self.plan.season, results, method=self.growth_method)

    def _baselines(self, tile: TilePlan) -> tuple[Baseline, ...]:
        return tuple(_baseline(folder, tile, self.plan) for folder in self.plan.season.growth.baseline)

    @functools.cached_property
    def events(self) -> list[Event]:
        """Disasters of the season; writes their maps. None where it asks for none."""
        return season_events(self)

    # ---- area -------------------------------------------------------------------------------------------
    @functools.cached_property
    def reference(self) -> Reference | None:
        """The independent reference sample laid on the map; None where there is none."""
        season = self.plan.season
        path = season.area.reference
        if path is None or season.classify is None:
            return None
        answers = read_answers(path, design=season.area.design, presumed="stratified_random")
        _ = self.crop_map
        labels = [item.name for item in season.classes]
        check_labels(path, answers.points, labels)
        layouts = [tile.layout for tile in self.plan.tiles]
        stores = [self.stages.store(tile) for tile in self.plan.tiles]
        placed = place(path, answers.points, layouts, one_pixel=True)
        names = {item.code: item.name for item in season.classes}
        mapped = [names.get(int(code)) for code in values_at(placed, layouts, stores, CROP_TYPE)]
        hectares = area_table(self.sums, season.classes)[1][0]
        return lay_on_map(answers, mapped, labels, dict(zip(labels, hectares.tolist(), strict=True)))

    @functools.cached_property
    def area(self) -> AreaResult:
        """Areas by class and unit."""
        if self.plan.season.classify is None:
            return AreaResult([], None)
        reference, sums = self.reference, self.sums
        with self.timed("area"):
            folds = read_out_of_fold(self.stages.out_of_fold)
            return area_estimates(
                self.plan.season, sums, folds=folds, reference=reference, zones=self.stages.units
            )

    # ---- tables -----------------------------------------------------------------------------------------
    @functools.cached_property
    def estimates(self) -> list[Row]:
        """Every row of estimates.parquet, without run id and period."""
        of_curves = curve_estimates(self.plan.season, self.sums, self.stages.units, self.stages.parcels)
        return [*self.area.rows, *self.growth_rows, *of_curves, *disaster_rows(self.events)]

    @functools.cached_property
    def series(self) -> list[Row]:
        """Every row of series.parquet, without the run id."""
        return series_rows(self.plan.season, self.sums)

    def accuracy_of_training(self) -> dict[str, Any]:
        """The cross-validation alone, before anything is mapped."""
        return dict(self.training["accuracy"]) if self.training is not None else {}

    def class_pixels(self) -> dict[str, int]:
        """Pixels of the crop map by class, all tiles."""
        _ = self.crop_map
        results = self._run("classify", self.stages.classify(self.kept))
        return {
            item.name: sum(int(result["pixels"].get(str(item.code), 0)) for result in results)
            for item in self.plan.season.classes
        }

    def accuracy(self) -> dict[str, Any]:
        """What accuracy.json holds."""
        season = self.plan.season
        document: dict[str, Any] = {"run_id": season.id, "cross_validation": None, "reference": None}
        if self.training is not None:
            document |= self.training["accuracy"]
        if self.reference is not None and self.area.accuracy is not None:
            document["reference"] = accuracy_facts(self.reference, self.area.accuracy)
        return document


def _sweep(work: Folder) -> None:
    """Remove what runs that were killed had begun to write; whoever holds the lock is alone here.

    In S3 there is nothing of the kind: an object is there whole or not at all.
    """
    path = work.local_path
    if path is None:
        return
    for draft in path.rglob("*.partial"):
        if draft.is_file():  # a folder is a cube in the making, which is made anew
            draft.unlink(missing_ok=True)
    for draft in path.glob(".model-*"):
        shutil.rmtree(draft, ignore_errors=True)


def _baseline(folder: Path, tile: TilePlan, plan: Plan) -> Baseline:
    """An earlier run as a baseline for one tile; classes are matched by name, their codes may differ.

    Raises
    ------
    RunFolderError
        It is no run folder, or lacks the index or the tile.
    SourceError
        Its grid is another.
    """
    import rasterio

    manifest = read_manifest(folder)
    index = plan.season.growth.index
    rasters = [item for item in manifest.rasters if item.tile == tile.name]
    curves = next((r for r in rasters if r.kind == "index" and r.title.startswith(index)), None)
    if curves is None:
        raise RunFolderError(
            f"{folder} holds no {index} of tile {tile.name}, which [growth] baseline is to compare with. "
            "Run that season with the same index and tiles, or leave it out of baseline."
        )
    with rasterio.open(folder / curves.path) as raster:
        same = raster.shape == tile.tile.grid.shape and np.allclose(
            tuple(raster.transform)[:6], tile.tile.grid.transform, rtol=0, atol=1e-6
        )
    if not same:
        raise SourceError(
            f"{folder / curves.path} lies on another grid than tile {tile.name} of this season; growth "
            "compares pixel with pixel. Run the earlier season on the same grid, or leave it out of baseline."
        )
    classes = next((r for r in rasters if r.kind == "crop_type"), None)
    earlier = {item.name: item.code for item in manifest.crops}
    table = read_series(folder)
    table = table[(table["scope"] == "class") & (table["index"] == index)]
    medians: dict[int, tuple[float, ...]] = {}
    for item in plan.season.classes:
        own = table[table["scope_id"] == item.name].set_index("date")["smoothed"]
        if len(own):
            medians[item.code] = tuple(float(own.get(day, float("nan"))) for day in curves.dates)
    return Baseline(
        index_path=folder / curves.path,
        class_path=folder / classes.path if classes else None,
        dates=tuple(date.fromisoformat(day) for day in curves.dates),
        codes={item.code: earlier[item.name] for item in plan.season.classes if item.name in earlier},
        medians=medians,
    )
