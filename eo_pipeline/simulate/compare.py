"""How a run's estimates compare with the simulated truth: area, map accuracy, growth and stage dates.

Only a simulated season can be judged so: truth is known at every pixel.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from eo_pipeline.errors import EOPipelineError, RunFolderError
from eo_pipeline.publish import contract
from eo_pipeline.simulate import crops
from eo_pipeline.simulate.landscape import COUNTY

if TYPE_CHECKING:
    import pandas as pd

    Frame = pd.DataFrame

#: What a stage of the run is called in stages.csv of the truth, by crop.
_TRUE_STAGE: Final[Mapping[tuple[str, str], str]] = {
    ("winter_wheat", "heading"): "heading",
    ("spring_maize", "heading"): "tasselling",
    ("millet_buckwheat", "heading"): "heading",
}


class TruthError(EOPipelineError):
    """A truth folder that is incomplete or does not belong to the run."""


@dataclass(frozen=True, slots=True)
class AreaRow:
    """One estimate of a crop's area in a unit, ha; `covered` None without an interval."""

    unit: str
    crop: str
    method: str
    true_ha: float
    estimate_ha: float
    ci_low: float | None
    ci_high: float | None
    covered: bool | None


@dataclass(frozen=True, slots=True)
class MapAccuracy:
    """The crop map against the truth of every pixel; F1 by class, None where neither has the class."""

    overall_accuracy: float
    macro_f1: float
    per_class_f1: dict[str, float | None]
    pixels: int


@dataclass(frozen=True, slots=True)
class GrowthRow:
    """Growth of a crop where map and truth agree on the crop, over pixels.

    `rank_correlation` of the run's index anomaly with the true change of leaf area (Spearman); means in
    percent; `same_side` is the share of pixels, truly off by 10 % or more, whose anomaly has the right sign.
    """

    crop: str
    true_mean: float
    anomaly_mean: float
    rank_correlation: float
    same_side: float
    pixels: int


@dataclass(frozen=True, slots=True)
class StageRow:
    """Stage dates of parcels against the truth, in days; parcels that the run and the truth both date."""

    crop: str
    stage: str
    mean_error: float
    mean_absolute_error: float
    parcels: int


@dataclass(frozen=True, slots=True)
class Comparison:
    """Everything `eo compare-truth` shows."""

    run_id: str
    area: tuple[AreaRow, ...]
    coverage: float | None
    map: MapAccuracy | None
    growth: tuple[GrowthRow, ...]
    stages: tuple[StageRow, ...]
    simulated: bool = True


def compare(run: Path, truth: Path) -> Comparison:
    """Hold a run folder against the truth folder of its season.

    Raises
    ------
    RunFolderError
        The run folder is damaged, or was not made of simulated data.
    TruthError
        The truth folder is incomplete, or lies on another grid than the run's map.
    """
    manifest = contract.read_manifest(run)
    if not manifest.simulated:
        raise RunFolderError(
            f"{run} was not made of simulated data; only a simulated season has a known truth."
        )
    for name in ("crop_type.tif", "vigour.tif", "area.csv", "stages.csv"):
        if not (truth / name).is_file():
            raise TruthError(
                f"{truth}: {name} is missing. Give DIR/<year>/truth of the season that the run is made of."
            )
    estimates = contract.read_estimates(run)
    area = _area(estimates, truth)
    judged = [row.covered for row in area if row.covered is not None]
    codes = {item.name: item.code for item in manifest.crops}
    wanted = [item for item in manifest.rasters if item.kind in ("crop_type", "growth_anomaly")]
    layers = {item.kind: _read_on_grid(run / item.path, truth / "crop_type.tif") for item in wanted}
    true_map = _names_to_codes(_read(truth / "crop_type.tif")[0], codes)
    seen = layers.get("crop_type")
    anomaly = layers.get("growth_anomaly")
    return Comparison(
        run_id=manifest.run_id,
        area=area,
        coverage=sum(judged) / len(judged) if judged else None,
        map=None if seen is None else _accuracy(seen, true_map, codes),
        growth=() if seen is None or anomaly is None else _growth(seen, true_map, anomaly, truth, codes),
        stages=_stages(estimates, truth),
    )


def _read(path: Path, band: int = 1) -> tuple[NDArray[Any], tuple[Any, ...]]:
    import rasterio

    with rasterio.open(path) as source:
        masked = source.read(band, masked=True)
        if masked.dtype.kind == "f":
            data = masked.filled(np.nan)
        elif source.nodata is not None and masked.dtype.itemsize > 1:
            data = masked.astype(np.float32).filled(np.nan)
        else:
            data = masked.filled(0)
        return data, (source.crs, source.shape, source.transform.to_gdal())


def _read_on_grid(path: Path, reference: Path) -> NDArray[Any]:
    """A run's raster, on the truth's grid: the same pixels, perhaps a part of them; the rest is nodata."""
    import rasterio

    data, _ = _read(path)
    with rasterio.open(reference) as whole, rasterio.open(path) as part:
        a, b = whole.transform, part.transform
        row, column = round((b.f - a.f) / a.e), round((b.c - a.c) / a.a)
        fits = whole.crs == part.crs and a.a == b.a and a.e == b.e
        fits &= math.isclose(a.f + row * a.e, b.f) and math.isclose(a.c + column * a.a, b.c)
        fits &= row >= 0 and column >= 0
        fits &= row + part.height <= whole.height and column + part.width <= whole.width
        if not fits:
            raise TruthError(
                f"{path} does not lie on the grid of {reference}. Give the truth of the run's own season."
            )
        shape = whole.shape
    empty = np.nan if data.dtype.kind == "f" else 0
    out = np.full(shape, empty, data.dtype)
    out[row : row + data.shape[0], column : column + data.shape[1]] = data
    return out


def _names_to_codes(true_codes: NDArray[Any], codes: Mapping[str, int]) -> NDArray[np.uint8]:
    """The truth's codes as the run numbers its classes (0 where the run has no such class)."""
    table = np.zeros(256, np.uint8)
    for code, name in crops.NAME.items():
        table[code] = codes.get(name, 0)
    return np.asarray(table[true_codes])


def _number(value: Any) -> float | None:
    return None if value is None or math.isnan(float(value)) else float(value)


def _area(estimates: Frame, truth: Path) -> tuple[AreaRow, ...]:
    with (truth / "area.csv").open(encoding="utf-8", newline="") as stream:
        true = {(row["unit"], row["crop"]): float(row["area_ha"]) for row in csv.DictReader(stream)}
    rows = []
    for item in estimates[estimates["product"] == "area"].to_dict("records"):
        unit = str(item["unit_adcode"])
        # "region" is the run's word for all pixels, which is the whole piece here
        key = (COUNTY[0] if unit == "region" else unit, str(item["crop"]))
        if key not in true or item["unit"] != "ha":
            continue
        low, high = _number(item["ci_low"]), _number(item["ci_high"])
        covered = None if low is None or high is None else low <= true[key] <= high
        rows.append(
            AreaRow(unit, key[1], str(item["method"]), true[key], float(item["value"]), low, high, covered)
        )
    return tuple(rows)


def _accuracy(seen: NDArray[Any], true: NDArray[np.uint8], codes: Mapping[str, int]) -> MapAccuracy:
    here = (seen > 0) & (true > 0)
    if not here.any():
        raise TruthError(
            "The run's crop map and the truth have no pixel in common. Give the run's own season."
        )
    top = max(codes.values()) + 1
    matrix = np.bincount(true[here].astype(int) * top + seen[here].astype(int), minlength=top * top)
    matrix = matrix.reshape(top, top)
    scores: dict[str, float | None] = {}
    for name, code in codes.items():
        both = int(matrix[code].sum() + matrix[:, code].sum())
        scores[name] = 2 * int(matrix[code, code]) / both if both else None
    known = [score for score in scores.values() if score is not None]
    return MapAccuracy(
        overall_accuracy=float(np.trace(matrix) / matrix.sum()),
        macro_f1=sum(known) / len(known),
        per_class_f1=scores,
        pixels=int(matrix.sum()),
    )


def _growth(
    seen: NDArray[Any], true: NDArray[np.uint8], anomaly: NDArray[Any], truth: Path, codes: Mapping[str, int]
) -> tuple[GrowthRow, ...]:
    from scipy.stats import spearmanr

    change = _read(truth / "vigour.tif", 2)[0]
    # The anomaly raster holds percent × 10; ranks and signs do not care, the mean does.
    percent = anomaly / 10
    rows = []
    for name, code in codes.items():
        here = (seen == code) & (true == code) & np.isfinite(change) & np.isfinite(percent)
        if here.sum() < 30:
            continue
        t, a = change[here], percent[here]
        clear = np.abs(t) >= 10
        rows.append(
            GrowthRow(
                crop=name,
                true_mean=float(t.mean()),
                anomaly_mean=float(a.mean()),
                rank_correlation=float(spearmanr(t, a).statistic),
                same_side=float((np.sign(t[clear]) == np.sign(a[clear])).mean()) if clear.any() else math.nan,
                pixels=int(here.sum()),
            )
        )
    return tuple(rows)


def _stages(estimates: Frame, truth: Path) -> tuple[StageRow, ...]:
    """Stage days of parcels whose crop the run has right."""
    from datetime import date

    true: dict[tuple[str, str, str], int] = {}
    with (truth / "stages.csv").open(encoding="utf-8", newline="") as stream:
        for row in csv.DictReader(stream):
            day = date.fromisoformat(row["date"]).timetuple().tm_yday
            true[row["parcel"], row["crop"], row["stage"]] = day
    errors: dict[tuple[str, str], list[float]] = {}
    for item in estimates[estimates["product"] == "stage"].to_dict("records"):
        unit, crop, stage = str(item["unit_adcode"]), str(item["crop"]), str(item["class"])
        name = _TRUE_STAGE.get((crop, stage))
        key = (unit.removeprefix("parcel:"), crop, name or "")
        if not unit.startswith("parcel:") or key not in true or math.isnan(float(item["value"])):
            continue
        error = float(item["value"]) - true[key]
        errors.setdefault((crop, stage), []).append(error)
    return tuple(
        StageRow(crop, stage, float(np.mean(values)), float(np.abs(values).mean()), len(values))
        for (crop, stage), values in sorted(errors.items())
    )


def as_document(comparison: Comparison) -> dict[str, Any]:
    """The comparison as JSON-ready values (NaN becomes None)."""

    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: plain(item) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [plain(item) for item in value]
        return None if isinstance(value, float) and math.isnan(value) else value

    document: dict[str, Any] = plain(asdict(comparison))
    return document


def show(comparison: Comparison) -> None:
    """Print the comparison as tables; areas of the whole piece only (`--json` has all)."""
    from rich.console import Console
    from rich.table import Table

    console = Console()
    console.print(f"[bold]{comparison.run_id}[/] against the simulated truth  模拟数据")
    units = {row.unit for row in comparison.area}
    if units:
        unit = next((name for name in ("region", COUNTY[0]) if name in units), min(units))
        table = Table(title=f"Area in {unit}, ha")
        for head in ("crop", "method"):
            table.add_column(head)
        for head in ("truth", "estimate", "error", "interval"):
            table.add_column(head, justify="right")
        table.add_column("covered")
        for row in (row for row in comparison.area if row.unit == unit):
            low, high = row.ci_low, row.ci_high
            error = f"{100 * (row.estimate_ha / row.true_ha - 1):+.1f} %" if row.true_ha else "–"
            interval = "" if low is None or high is None else f"{low:.1f} – {high:.1f}"
            covered = {True: "yes", False: "[red]no[/]", None: ""}[row.covered]
            table.add_row(
                row.crop, row.method, f"{row.true_ha:.1f}", f"{row.estimate_ha:.1f}", error, interval, covered
            )
        console.print(table)
    if comparison.coverage is not None:
        console.print(f"Intervals that hold the truth, all units: {comparison.coverage:.0%}")
    if comparison.map is not None:
        found = comparison.map
        console.print(
            f"Map against all {found.pixels} pixels: overall accuracy {found.overall_accuracy:.3f}, "
            f"macro-F1 {found.macro_f1:.3f}"
        )
        scores = ", ".join(
            f"{n} {'–' if s is None else format(s, '.2f')}" for n, s in found.per_class_f1.items()
        )
        console.print(f"  F1: {scores}")
    if comparison.growth:
        table = Table(title="Growth against last year, percent, where the crop is right")
        table.add_column("crop")
        for head in ("true leaf area", "index anomaly", "rank correlation", "right sign (true ≥ 10 %)"):
            table.add_column(head, justify="right")
        for item in comparison.growth:
            cells = (f"{item.true_mean:+.1f}", f"{item.anomaly_mean:+.1f}", f"{item.rank_correlation:.2f}")
            table.add_row(item.crop, *cells, f"{item.same_side:.0%}")
        console.print(table)
    for stage in comparison.stages:
        console.print(
            f"{stage.crop} {stage.stage}: mean error {stage.mean_error:+.1f} days, "
            f"mean absolute {stage.mean_absolute_error:.1f} ({stage.parcels} parcels)"
        )
