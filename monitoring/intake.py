"""Reads a run folder into plain checked data.

What comes from outside is not trusted because it parsed; writes nothing.
"""

from __future__ import annotations

import itertools
import json
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from eo_pipeline.errors import RunFolderError
from eo_pipeline.publish import contract
from monitoring.errors import RunImportError

if TYPE_CHECKING:
    import pandas as pd

CURE: Final = "Run `eo run` again with the program version of this site; nothing was imported."
#: A raster with more pixels on a side is slow to show without overviews (rio-tiler issue 819), so it must
#: have them.
NEEDS_OVERVIEWS: Final = 1024
_RUN_ID: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,79}")
_COLOUR: Final = re.compile(r"#[0-9a-fA-F]{6}")
_KIND: Final = re.compile(r"[a-z_]{1,20}")
_TEXT_LIMITS: Final = {"product": 20, "crop": 40, "class": 40, "unit_adcode": 80, "unit": 20, "method": 60}
_KEY: Final = ["product", "crop", "class", "unit_adcode", "period_start", "period_end", "method"]


@dataclass(frozen=True, slots=True)
class RasterIntake:
    """A raster and its bounds: west, south, east, north in WGS 84 degrees."""

    raster: contract.Raster
    bounds: tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class RunIntake:
    """A run folder as the database takes it."""

    manifest: contract.RunManifest
    document: dict[str, Any]
    digest: str
    season_start: date
    season_end: date
    created_at: datetime
    rasters: tuple[RasterIntake, ...]
    estimates: tuple[dict[str, Any], ...]
    series: tuple[dict[str, Any], ...]


def verify_folder(folder: Path) -> str:
    """Check every file against run.json and return the run's digest.

    Raises
    ------
    RunImportError
        Damaged, incomplete, of another version, or not a run folder.
    """
    if not folder.is_dir():
        raise RunImportError(f"{folder} is not a folder. Give the run folder that `eo run` printed.")
    try:
        contract.verify(folder)
    except RunFolderError as error:
        raise RunImportError(str(error)) from error
    except (KeyError, TypeError, ValueError, OSError) as error:
        raise RunImportError(f"{folder} cannot be read as a run folder ({error!r}). {CURE}") from error
    document = json.loads((folder / contract.MANIFEST).read_bytes())
    digest: str = document["digest"]
    return digest


def read_run(folder: Path) -> RunIntake:
    """Read a verified run folder; see `RunIntake`.

    Raises
    ------
    RunImportError
        Names the first value that is not acceptable.
    """
    digest = verify_folder(folder)
    manifest = contract.read_manifest(folder)
    document = json.loads((folder / contract.MANIFEST).read_bytes())
    if not _RUN_ID.fullmatch(manifest.run_id):
        raise RunImportError(
            f"{folder}/run.json: run_id {manifest.run_id!r} must be small letters, digits and hyphens. {CURE}"
        )
    season_start = _date(folder, "season.start", manifest.season.get("start"))
    season_end = _date(folder, "season.end", manifest.season.get("end"))
    if season_start >= season_end:
        raise RunImportError(
            f"{folder}/run.json: the season ends ({season_end}) before it starts ({season_start}). {CURE}"
        )
    try:
        created_at = datetime.fromisoformat(manifest.created_at)
    except ValueError as error:
        raise RunImportError(
            f"{folder}/run.json: created_at {manifest.created_at!r} is no time. {CURE}"
        ) from error
    if created_at.tzinfo is None:
        raise RunImportError(
            f"{folder}/run.json: created_at {manifest.created_at!r} has no time zone. {CURE}"
        )
    for item in (*manifest.crops, *(entry for raster in manifest.rasters for entry in raster.classes)):
        if not _COLOUR.fullmatch(item.colour):
            raise RunImportError(
                f"{folder}/run.json: class {item.name!r} has the colour {item.colour!r}; expected "
                f"#rrggbb. {CURE}"
            )
    return RunIntake(
        manifest=manifest,
        document=document,
        digest=digest,
        season_start=season_start,
        season_end=season_end,
        created_at=created_at,
        rasters=tuple(_raster(folder, raster) for raster in manifest.rasters),
        estimates=tuple(_estimates(folder, manifest.run_id)),
        series=tuple(_series(folder, manifest.run_id)),
    )


def _date(folder: Path, name: str, value: Any) -> date:
    try:
        return date.fromisoformat(str(value)[:10])
    except ValueError as error:
        raise RunImportError(
            f"{folder}: {name} is {value!r}; expected a date like 2026-04-18. {CURE}"
        ) from error


def _raster(folder: Path, raster: contract.Raster) -> RasterIntake:
    import rasterio
    from rasterio.warp import transform_bounds

    path = folder / raster.path
    if not _KIND.fullmatch(raster.kind):
        raise RunImportError(
            f"{folder}/run.json: raster kind {raster.kind!r} of {raster.path} is not a name. {CURE}"
        )
    try:
        with rasterio.open(path) as image:
            if image.crs is None:
                raise RunImportError(f"{path} has no coordinate system. {CURE}")
            if max(image.width, image.height) > NEEDS_OVERVIEWS and not image.overviews(1):
                raise RunImportError(
                    f"{path} is {image.width} × {image.height} pixels without overviews, so the map "
                    f"would be slow. {CURE}"
                )
            if raster.dates and len(raster.dates) != image.count:
                raise RunImportError(
                    f"{path} has {image.count} bands, run.json gives it {len(raster.dates)} dates. {CURE}"
                )
            bounds = transform_bounds(image.crs, "EPSG:4326", *image.bounds, densify_pts=21)
    except rasterio.errors.RasterioError as error:
        raise RunImportError(f"{path} cannot be opened as a raster: {error}. {CURE}") from error
    return RasterIntake(raster, bounds)


def _estimates(folder: Path, run_id: str) -> Iterator[dict[str, Any]]:
    """Rows of estimates.parquet: dates as dates, NaN as None, keys unique."""
    path = folder / "estimates.parquet"
    table = contract.read_estimates(folder)
    _same_run(path, table, run_id)
    if (twice := table.duplicated(_KEY)).any():
        row = table.loc[twice, _KEY].iloc[0].to_dict()
        raise RunImportError(
            f"{path}: two rows for {row}. One estimate a product, crop, class, unit and method. {CURE}"
        )
    for number, row in enumerate(table.to_dict("records")):
        where = f"{path}, row {number}"
        for name, limit in _TEXT_LIMITS.items():
            if len(row[name]) > limit:
                raise RunImportError(
                    f"{where}: {name} is longer than {limit} characters: {row[name]!r}. {CURE}"
                )
        yield {
            "product": row["product"],
            "crop": row["crop"],
            "class_name": row["class"],
            "unit_adcode": row["unit_adcode"],
            "period_start": _date(path, f"row {number}, period_start", row["period_start"]),
            "period_end": _date(path, f"row {number}, period_end", row["period_end"]),
            "unit": row["unit"],
            "method": row["method"],
            "n_samples": int(row["n_samples"]),
            **{
                name: _number(where, name, row[name])
                for name in ("value", "se", "ci_low", "ci_high", "monitorable_share")
            },
        }


def _series(folder: Path, run_id: str) -> Iterator[dict[str, Any]]:
    """One entry a curve; points sorted by date, each [date, observed, smoothed, p25, p75, clear_share]."""
    path = folder / "series.parquet"
    table = contract.read_series(folder)
    _same_run(path, table, run_id)
    key, columns = (
        ["scope", "scope_id", "crop", "index"],
        ["observed", "smoothed", "p25", "p75", "clear_share"],
    )
    # plain tuples: a season has a hundred thousand points, and pandas takes its time over each group
    rows = table[[*key, "date", *columns]].sort_values([*key, "date"]).itertuples(index=False, name=None)
    for (scope, scope_id, crop, index), points in itertools.groupby(rows, key=lambda row: row[:4]):
        where = f"{path}, {scope} {scope_id} {index}"
        if len(str(scope)) > 10 or len(str(scope_id)) > 80 or len(str(crop)) > 40 or len(str(index)) > 20:
            raise RunImportError(f"{where}: a name is too long. {CURE}")
        curve = [
            [_date(path, where, day).isoformat(), *(_number(where, "a point", value) for value in values)]
            for _, _, _, _, day, *values in points
        ]
        if len({point[0] for point in curve}) < len(curve):
            raise RunImportError(f"{where}: a date comes twice. {CURE}")
        yield {"scope": scope, "scope_id": scope_id, "crop": crop, "index": index, "points": curve}


def _same_run(path: Path, table: pd.DataFrame, run_id: str) -> None:
    if others := sorted(set(table["run_id"]) - {run_id}):
        raise RunImportError(f"{path}: rows of run {others[0]!r} in a folder of run {run_id!r}. {CURE}")


def _number(where: str, name: str, value: float) -> float | None:
    if math.isnan(value):
        return None
    if math.isinf(value):
        raise RunImportError(f"{where}: {name} is infinite. {CURE}")
    return round(value, 6)
