"""The run folder: rasters, tables, accuracy, catalog and report, sealed, and put in place at the very end."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from eo_pipeline.acquire.sources.base import file_of
from eo_pipeline.acquire.windows import address, is_remote
from eo_pipeline.assemble_disaster import write_disasters
from eo_pipeline.cube.smoothing import array_of
from eo_pipeline.cube.store import NODATA, SCALE, TileStore
from eo_pipeline.disk import double_folder, replace_folder, restore_folder, telling_full
from eo_pipeline.engine import code_digest, read_file, write_atomic
from eo_pipeline.errors import EngineError, RunFolderError
from eo_pipeline.grid import Block
from eo_pipeline.products.classify import (
    CLASS_NODATA,
    CONFIDENCE,
    CROP_TYPE,
    DOUBT_NODATA,
    ENTROPY,
    NOVELTY,
    SET_SIZE,
    card_of,
)
from eo_pipeline.products.growth_map import ANOMALY, ANOMALY_SCALE, GROWTH
from eo_pipeline.publish.catalog import write_cog
from eo_pipeline.publish.contract import (
    ESTIMATE_COLUMNS,
    SERIES_COLUMNS,
    MapClass,
    Raster,
    RunManifest,
    palette,
    read_manifest,
    seal,
    sha256_file,
    verify,
)
from eo_pipeline.run import SeasonRun
from eo_pipeline.run_disaster import season_weather
from eo_pipeline.scenes.source import SkippedProduct
from eo_pipeline.storage import Folder

if TYPE_CHECKING:
    from eo_pipeline.plan import TilePlan


#: Title, description and unit of the rasters that tell how far the crop map can be believed.
_DOUBTS: Final = {
    CONFIDENCE: ("Confidence of the crop type", "calibrated probability of the class", "percent"),
    ENTROPY: ("Entropy of the crop type", "entropy of the probabilities; 100 % is no idea", "percent"),
    SET_SIZE: ("Possible crop types", "classes that may be the true one; 0: none fits well", "classes"),
    NOVELTY: ("Novelty", "share of known samples that are more familiar", "percent"),
}


def assemble(run: SeasonRun) -> RunManifest:
    """Do all stages, write the run folder beside its final place, and move it there.

    An older finished run of the same id stays until the new one is complete, and is then replaced. Whatever
    fails before leaves it as it was.

    Raises
    ------
    DiskFullError
        There is no room for the run folder.
    """
    plan = run.plan
    partial, folder = plan.partial, plan.folder
    restore_folder(folder)
    if folder.exists() and not (folder / "run.json").is_file():
        raise EngineError(
            f"{folder} exists and is no run folder, so it is left alone. Move it away, or choose another "
            "[output] root."
        )
    # everything that can be refused is refused before a file is written, and what is quickly read first
    _ = season_weather(plan)
    _ = run.filled
    estimates, series, accuracy = run.estimates, run.series, run.accuracy()
    shutil.rmtree(partial, ignore_errors=True)
    try:
        with telling_full(folder):
            partial.mkdir(parents=True)
            with run.timed("publish"):
                manifest = _fill(run, partial, estimates, series, accuracy)
            sealed = seal(partial, manifest)
            verify(partial)
            if run.engine.hold is not None:
                run.engine.hold.check()  # the products took hours, and another run may be making them now
            replace_folder(partial, folder)
    except BaseException:
        restore_folder(folder)
        shutil.rmtree(partial, ignore_errors=True)
        raise
    return sealed


def _fill(
    run: SeasonRun,
    folder: Path,
    estimates: Sequence[Mapping[str, Any]],
    series: Sequence[Mapping[str, Any]],
    accuracy: Mapping[str, Any],
) -> RunManifest:
    from eo_pipeline.publish.catalog import write_catalog
    from eo_pipeline.publish.report import write_report

    season = run.plan.season
    rasters = tuple(raster for tile in run.plan.tiles for raster in _rasters(run, folder, tile))
    rasters += write_disasters(run, folder)
    period = {"period_start": season.start.isoformat(), "period_end": season.end.isoformat()}
    identity = {"run_id": season.id}
    _write_table(
        folder / "estimates.parquet", [{**row, **period, **identity} for row in estimates], ESTIMATE_COLUMNS
    )
    _write_table(folder / "series.parquet", [{**row, **identity} for row in series], SERIES_COLUMNS)
    text = json.dumps(accuracy, ensure_ascii=False, indent=1, sort_keys=True, allow_nan=False)
    (folder / "accuracy.json").write_text(text + "\n", encoding="utf-8")
    manifest = RunManifest(
        run_id=season.id,
        title=season.title,
        season={"start": season.start.isoformat(), "end": season.end.isoformat(), "step": season.step},
        region={"name": season.region.name, "units": {unit.code: unit.name for unit in run.stages.units}},
        simulated=season.simulated,
        created_at=datetime.now(UTC).isoformat(timespec="seconds"),
        code=code_identity(),
        config=_plain(season.document),
        inputs=_inputs(run),
        models=_models(run),
        seeds={"classify": season.classify.seed} if season.classify else {},
        timings=dict(run.timings),
        crops=_crops(run),
        rasters=rasters,
    )
    manifest = _dated_as_before(manifest, run.plan.folder)
    write_catalog(folder, manifest)
    write_report(folder, manifest)
    return manifest


def _dated_as_before(manifest: RunManifest, folder: Path) -> RunManifest:
    """Keep date, timings and commit of an earlier run in `folder` where nothing behind the products changed.

    So a repeated run ends with the same bytes, and whoever has taken the folder in need not do so again.
    """
    try:
        before = read_manifest(folder)
    except RunFolderError:
        return manifest
    # through JSON, as the earlier one was read
    now, then = (
        json.loads(json.dumps([m.config, m.inputs, m.models, m.seeds, m.region, m.code["source_sha256"]]))
        for m in (manifest, before)
    )
    if now != then:
        return manifest
    return replace(manifest, created_at=before.created_at, timings=before.timings, code=before.code)


def _crops(run: SeasonRun) -> tuple[MapClass, ...]:
    return tuple(MapClass(c.code, c.name, c.zh, c.en, c.colour) for c in run.plan.season.classes)


@dataclass(frozen=True, slots=True)
class _Stored:
    """An array of a tile's cube, read by parts."""

    store: TileStore
    name: str
    tile: str

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.store.array(self.name).shape)

    @property
    def dtype(self) -> np.dtype[Any]:
        dtype: np.dtype[Any] = self.store.array(self.name).dtype
        return dtype

    def __getitem__(self, window: tuple[Any, slice, slice]) -> NDArray[Any]:
        _, rows, cols = window
        block = Block(self.tile, rows.start, cols.start, rows.stop - rows.start, cols.stop - cols.start)
        return self.store.read(self.name, block)


def _rasters(run: SeasonRun, folder: Path, tile: TilePlan) -> list[Raster]:
    season, grid, name = run.plan.season, tile.tile.grid, tile.name
    store = TileStore(run.stages.store(tile))
    dates = tuple(day.isoformat() for day in tile.layout.dates)
    tags = {"RUN_ID": season.id, "SIMULATED": "yes" if season.simulated else "no"}
    rasters = []
    if season.classify:
        crops = _crops(run)
        path = f"{CROP_TYPE}/{name}/crop_type.tif"
        colours = {item.code: item.colour for item in crops}
        write_cog(
            folder / path,
            _Stored(store, CROP_TYPE, name),
            grid,
            nodata=CLASS_NODATA,
            colour_table=colours,
            band_descriptions=("crop type",),
            metadata=tags,
        )
        rasters.append(Raster("crop_type", name, path, "Crop type", dates[-1:], classes=crops))
        for doubt, (title, description, unit) in _DOUBTS.items():
            path = f"{CROP_TYPE}/{name}/{doubt}.tif"
            write_cog(
                folder / path,
                _Stored(store, doubt, name),
                grid,
                nodata=DOUBT_NODATA,
                band_descriptions=(description,),
                metadata=tags,
                unit=unit,
            )
            rasters.append(Raster(doubt, name, path, title, dates[-1:], unit=unit))
    path = f"{GROWTH}/{name}/growth.tif"
    write_cog(
        folder / path,
        _Stored(store, GROWTH, name),
        grid,
        nodata=0,
        colour_table={item.code: item.colour for item in palette().growth},
        band_descriptions=(f"growth, {run.growth_method}",),
        metadata=tags,
    )
    rasters.append(Raster("growth", name, path, "Growth", dates[-1:], classes=palette().growth))
    path = f"{GROWTH}/{name}/anomaly.tif"
    write_cog(
        folder / path,
        _Stored(store, ANOMALY, name),
        grid,
        nodata=NODATA,
        band_descriptions=(f"anomaly of {season.growth.index}, {run.growth_method}",),
        metadata=tags,
        scale=1 / ANOMALY_SCALE,
        unit="percent",
    )
    rasters.append(
        Raster(
            "growth_anomaly",
            name,
            path,
            "Growth anomaly",
            dates[-1:],
            scale=1 / ANOMALY_SCALE,
            unit="percent",
        )
    )
    for index in season.growth.indices:
        path = f"index/{name}/{index.lower()}.tif"
        write_cog(
            folder / path,
            _Stored(store, array_of(index), name),
            grid,
            nodata=NODATA,
            band_descriptions=dates,
            metadata=tags,
            scale=1 / SCALE,
        )
        rasters.append(Raster("index", name, path, f"{index}, smoothed", dates, scale=1 / SCALE))
    return rasters


def _write_table(path: Path, rows: Sequence[Mapping[str, Any]], columns: Mapping[str, str]) -> None:
    import pandas as pd

    table = pd.DataFrame(list(rows), columns=list(columns)).astype(dict(columns))
    table.to_parquet(path, index=False, compression="zstd")


def _plain(value: Any) -> Any:
    """TOML values as JSON holds them."""
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return value.isoformat() if isinstance(value, date) else value


def _models(run: SeasonRun) -> list[dict[str, Any]]:
    return [] if run.training is None else [card_of(run.stages.model, run.stages.runtime)]


def _inputs(run: SeasonRun) -> list[dict[str, Any]]:
    """Every file that was read, with its SHA-256, and every scene, with what was found of it."""
    season = run.plan.season
    root = season.source.root
    sums = _Checksums(run.plan.work / "checksums.json")
    paths = {path for tile in run.plan.tiles for scene in tile.tile.scenes for path in scene.paths}
    files = sorted({file for path in paths if (file := file_of(path)) is not None})
    rows: list[dict[str, Any]] = [
        {"role": "raster", "path": file.relative_to(root).as_posix(), **sums.of(file)} for file in files
    ]
    looked_into = {
        file
        for tile in run.plan.tiles
        for scene in tile.tile.scenes
        for asset in scene.level1c
        if (file := file_of(asset.path)) is not None
    }
    if season.source.sentinel is not None and (folder := season.source.sentinel.l1c) is not None:
        rows += [
            {"role": "level1c", "path": file.relative_to(folder).as_posix(), **sums.of(file)}
            for file in sorted(looked_into)
        ]
    rows += [
        {"role": "remote", "path": place}
        for place in sorted({address(path) for path in paths if is_remote(path)})
    ]
    if season.source.radar:
        root = season.source.radar.root
        radar = {f for tile in run.plan.tiles for item in tile.passes for f in item.all_files}
        rows += [
            {"role": "radar", "path": file.relative_to(root).as_posix(), **sums.of(file)}
            for file in map(Path, sorted(radar))
        ]
    terrain = season.source.terrain
    below = terrain.root if terrain and terrain.provider else None
    rows += [
        {"role": "dem", "path": file.relative_to(below).as_posix() if below else file.name, **sums.of(file)}
        for file in run.plan.dem
    ]
    named = {
        "samples": season.classify.samples if season.classify else None,
        "sample_table": season.classify.sample_table if season.classify else None,
        "reference": season.area.reference,
        "units": season.region.units,
        "parcels": season.region.parcels,
        "weather": season.disaster.weather if season.disaster else None,
    }
    rows += [{"role": role, "path": path.name, **sums.of(path)} for role, path in named.items() if path]
    rows += [
        {"role": "baseline", "path": f"{folder.name}/run.json", **sums.of(folder / "run.json")}
        for folder in season.growth.baseline
    ]
    rows += [
        {
            "role": "climatology",
            "path": f"{store.path.parent.name}/{store.path.name}",
            "seasons": [entry.label for entry in store.seasons],
            **sums.of(store.path / "zarr.json"),
        }
        for tile in run.plan.tiles
        if (store := tile.usual) is not None
    ]
    sums.save()
    rows += [row for tile in run.plan.tiles for row in _scene_rows(run, tile)]
    if (clouds := run.plan.clouds) is not None:
        rows.append({"role": "clouds"} | clouds | {"scl_alone": len(clouds["scl_alone"])})
    if (passes := run.plan.passes) is not None:
        rows.append({"role": "passes"} | passes)
    rows += [_skipped_row(item) for item in run.plan.skipped]
    return rows


def _skipped_row(item: SkippedProduct) -> dict[str, Any]:
    """A product that was found and not used, or could not be fetched (`state` is the ledger's then)."""
    row = {
        "role": "skipped",
        "path": item.name,
        "tile": item.tile,
        "date": item.date.isoformat() if item.date else "",
        "provider": item.provider,
        "state": item.state,
        "rejected": True,
        "reason": item.reason,
    }
    return {key: value for key, value in row.items() if value != ""}


def _scene_rows(run: SeasonRun, tile: TilePlan) -> list[dict[str, Any]]:
    """Every scene with the share of the tile that it shows clear, and the verdict on its step."""
    rows: list[dict[str, Any]] = [{} for _ in tile.tile.scenes]
    for step, verdict in zip(tile.layout.steps, run.verdicts[tile.name], strict=True):
        for number in tile.scenes_of(step):
            scene = tile.tile.scenes[number]
            rows[number] = {
                "role": "scene",
                "tile": tile.name,
                "date": scene.date.isoformat(),
                "clear_share": round(run.clear_shares[tile.name][number], 4),
                "outlier_share": round(verdict.outlier_share, 4),
                "rejected": verdict.rejected,
                "reason": verdict.reason,
            }
            if scene.name:
                rows[number]["name"] = scene.name
            if run.plan.clouds is not None:
                rows[number]["detector"] = run.plan.clouds["detector"] if scene.level1c else "scl"
    return [row for row in rows if row]


def rebuild_report(folder: Path) -> bool:
    """Check a run folder and make its report anew; True if the page changed, and the folder was sealed
    again: as a new one, so that whatever stops this leaves the old folder or the new one.
    """
    from eo_pipeline.publish.report import write_report

    whole = folder.resolve()
    restore_folder(whole)
    manifest = verify(whole)
    fresh = whole.with_name(f".{whole.name}.report.{os.getpid()}.partial")
    shutil.rmtree(fresh, ignore_errors=True)
    try:
        with telling_full(folder / "report.html"):
            double_folder(whole, fresh)
            page = write_report(fresh, manifest)
            if page.read_bytes() == (whole / page.name).read_bytes():
                return False
            seal(fresh, manifest)
            replace_folder(fresh, whole)
    finally:
        restore_folder(whole)
        shutil.rmtree(fresh, ignore_errors=True)
    return True


class _Checksums:
    """SHA-256 of input files, remembered by size and time: a year of imagery is not read twice for its
    sums.
    """

    def __init__(self, path: Folder) -> None:
        self.path = path
        try:
            self.known: dict[str, Any] = json.loads(read_file(path))
        except (OSError, ValueError):
            self.known = {}

    def of(self, path: Path) -> dict[str, Any]:
        status = path.stat()
        mark = [status.st_size, status.st_mtime_ns]
        entry = self.known.get(str(path))
        if entry is None or entry["mark"] != mark:
            entry = {"mark": mark, "sha256": sha256_file(path)}
            self.known[str(path)] = entry
        return {"bytes": status.st_size, "sha256": entry["sha256"]}

    def save(self) -> None:
        with telling_full(self.path.local_path):
            write_atomic(self.path, json.dumps(self.known).encode())


def code_identity() -> dict[str, Any]:
    """Version, commit (where this is a checkout) and digest of the source that made the products."""
    try:
        version = metadata.version("smart-pingliang-agriculture")
    except metadata.PackageNotFoundError:
        version = "0.1.0"
    here = Path(__file__).parent
    found = subprocess.run(
        ["git", "-C", str(here), "rev-parse", "HEAD"], capture_output=True, text=True, check=False
    )
    commit = found.stdout.strip() if found.returncode == 0 else "unknown"
    return {"version": version, "commit": commit, "source_sha256": code_digest()}
