"""Builds a small, real run folder: COGs, tables and a sealed run.json.

Its values are known, so tests can name them.
"""

from __future__ import annotations

import json
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import rasterio
from rasterio.transform import from_origin

from eo_pipeline.publish import contract

#: Upper left corner in EPSG:32648, in Jingning (about 105.65 E 35.45 N).
WEST, NORTH, PIXEL = 558_800.0, 3_923_100.0, 10.0
CROPS = (
    contract.MapClass(1, "winter_wheat", "冬小麦", "winter wheat", "#DDCC77"),
    contract.MapClass(2, "spring_maize", "春玉米", "spring maize", "#CC6677"),
    contract.MapClass(3, "apple", "苹果", "apple", "#882255"),
    contract.MapClass(4, "other", "其他", "other", "#DDDDDD"),
)
GROWTH = tuple(
    contract.MapClass(code, name, zh, name, colour)
    for code, (name, zh, colour) in enumerate(
        (("poor", "差", "#8c510a"), ("fair", "较差", "#d8b365"), ("normal", "持平", "#f5f5f5"),
         ("good", "较好", "#5ab4ac"), ("very_good", "好", "#01665e"),
         ("not_monitorable", "不可监测", "#8f8a7c")),
        start=1,
    )
)  # fmt: skip
UNITS = ("region", "620826", "620826100", "620826101", "620822")
SHARES = {"poor": 5.0, "fair": 15.0, "normal": 50.0, "good": 20.0, "very_good": 10.0}


def dates_of(year: int) -> list[str]:
    """Ten-day steps of a season that starts in September of the year before."""
    return [(date(year - 1, 9, 1) + timedelta(days=10 * step)).isoformat() for step in range(42)]


def build_run(
    folder: Path,
    *,
    run_id: str = "demo-2026",
    year: int = 2026,
    size: int = 96,
    seed: int = 1,
    scale: float = 1.0,
) -> Path:
    """Write a run folder and seal it. `scale` multiplies the areas, so that two versions differ."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(seed)
    crop = fields(size, rng)
    growth = np.where(crop == 4, 6, 1 + (np.indices(crop.shape).sum(axis=0) // 16) % 5).astype(np.uint8)
    confidence = np.where(crop == 1, 90, 60).astype(np.uint8)
    dates = dates_of(year)
    index = curves(crop, len(dates), year, rng)
    _cog(folder / "crop_type/T1/crop_type.tif", crop[None], nodata=0)
    _cog(folder / "crop_type/T1/confidence.tif", confidence[None], nodata=255)
    _cog(folder / "growth/T1/growth.tif", growth[None], nodata=0)
    _cog(folder / "index/T1/ndvi.tif", index, nodata=-32768, descriptions=dates)
    estimates(run_id, year, scale).to_parquet(folder / "estimates.parquet", index=False)
    series(run_id, dates, index, crop).to_parquet(folder / "series.parquet", index=False)
    (folder / "catalog.json").write_text(json.dumps({"type": "Catalog", "id": run_id}))
    (folder / "accuracy.json").write_text(json.dumps({"overall_accuracy": 0.95}))
    (folder / "report.html").write_text("<!doctype html><title>report</title>")
    contract.seal(
        folder,
        contract.RunManifest(
            run_id=run_id,
            title=f"静宁示范片 {year}",
            season={"id": run_id, "start": f"{year - 1}-09-01", "end": f"{year}-10-31"},
            region={"name": "静宁县示范片"},
            simulated=True,
            created_at=f"{year}-11-01T08:00:00+08:00",
            code={"version": "test"},
            config={},
            inputs=[],
            models=[],
            seeds={"seed": seed},
            timings={},
            crops=CROPS,
            rasters=(
                contract.Raster("crop_type", "T1", "crop_type/T1/crop_type.tif", "作物", classes=CROPS),
                contract.Raster("confidence", "T1", "crop_type/T1/confidence.tif", "信心"),
                contract.Raster("growth", "T1", "growth/T1/growth.tif", "长势", classes=GROWTH),
                contract.Raster("index", "T1", "index/T1/ndvi.tif", "NDVI", dates=tuple(dates), scale=1e-4),
            ),
        ),
    )
    return folder


def fields(size: int, rng: np.random.Generator) -> np.ndarray:
    """Voronoi parcels with a crop each; the left upper 8 × 8 pixels are nodata (0), the pixel (10,
    10) is wheat.
    """
    seeds = rng.uniform(0, size, (max(size // 3, 12), 2))
    kinds = rng.choice([1, 2, 3, 4], len(seeds), p=[0.3, 0.35, 0.25, 0.1])
    rows, columns = np.indices((size, size))
    nearest = np.hypot(rows[..., None] - seeds[:, 0], columns[..., None] - seeds[:, 1]).argmin(axis=-1)
    crop = kinds[nearest].astype(np.uint8)
    crop[:8, :8] = 0
    crop[10, 10] = 1
    return crop


def curves(crop: np.ndarray, count: int, year: int, rng: np.random.Generator) -> np.ndarray:
    """NDVI × 10 000, one band a date, a peak by crop; the year moves the peak a little."""
    steps = np.arange(count)[:, None, None]
    peak = np.choose(crop, [0, 25, 32, 29, 30])[None] + (year - 2026) * 0.7
    values = 0.18 + 0.6 * np.exp(-(((steps - peak) / 5.5) ** 2)) + rng.normal(0, 0.01, (1, *crop.shape))
    scaled = np.round(values * 1e4).astype(np.int16)
    scaled[:, crop == 0] = -32768
    return scaled


def estimates(run_id: str, year: int, scale: float = 1.0) -> pd.DataFrame:
    rows: list[dict[str, Any]] = []
    base = {
        "period_start": f"{year - 1}-09-01",
        "period_end": f"{year}-10-31",
        "se": np.nan,
        "ci_low": np.nan,
        "ci_high": np.nan,
        "n_samples": 0,
        "monitorable_share": np.nan,
        "run_id": run_id,
    }
    for unit_number, unit in enumerate(UNITS):
        share = (1.0, 1.0, 0.4, 0.6, 0.5)[unit_number]
        for crop, hectares in (
            ("winter_wheat", 900.0),
            ("spring_maize", 800.0),
            ("apple", 600.0),
            ("other", 200.0),
        ):
            value = hectares * share * scale
            area = {**base, "product": "area", "crop": crop, "class": "", "unit_adcode": unit, "unit": "ha"}
            rows.append({**area, "value": value * 0.95, "method": "pixel_count"})
            rows.append(
                {**area, "value": value, "se": value * 0.02, "ci_low": value * 0.96, "ci_high": value * 1.04,
                 "n_samples": 400, "method": "adjusted_count_model_based"}
            )  # fmt: skip
            if crop != "other":
                rows += [
                    {**base, "product": "growth", "crop": crop, "class": name, "unit_adcode": unit,
                     "unit": "percent", "value": percent, "method": "anomaly", "monitorable_share": 0.93}
                    for name, percent in SHARES.items()
                ]  # fmt: skip
    rows += [
        {**base, "product": "stage", "crop": "winter_wheat", "class": name, "unit_adcode": unit,
         "unit": "doy", "value": day, "ci_low": day - 4, "ci_high": day + 4, "method": "curve"}
        for unit in ("620826", "parcel:P-001")
        for name, day in (("green_up", 75.0), ("heading", 135.0), ("senescence", 170.0))
    ]  # fmt: skip
    return pd.DataFrame(rows)[list(contract.ESTIMATE_COLUMNS)].astype(contract.ESTIMATE_COLUMNS)


def series(run_id: str, dates: list[str], index: np.ndarray, crop: np.ndarray) -> pd.DataFrame:
    rows = []
    for scope, scope_id, name, code in (
        ("parcel", "P-001", "winter_wheat", 1),
        ("parcel", "P-002", "apple", 3),
        ("unit", "620826", "winter_wheat", 1),
    ):
        pixels = index[:, crop == code] / 1e4
        for step, day in enumerate(dates):
            middle = float(np.median(pixels[step]))
            rows.append(
                {"scope": scope, "scope_id": scope_id, "crop": name, "index": "NDVI", "date": day,
                 "observed": np.nan if step % 4 == 2 else middle, "smoothed": middle,
                 "p25": float(np.quantile(pixels[step], 0.25)), "p75": float(np.quantile(pixels[step], 0.75)),
                 "clear_share": 0.0 if step % 4 == 2 else 1.0, "run_id": run_id}
            )  # fmt: skip
    return pd.DataFrame(rows)[list(contract.SERIES_COLUMNS)].astype(contract.SERIES_COLUMNS)


def _cog(path: Path, data: np.ndarray, *, nodata: int, descriptions: list[str] | None = None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    profile = {
        "driver": "COG", "count": data.shape[0], "height": data.shape[1], "width": data.shape[2],
        "dtype": data.dtype,
        "crs": "EPSG:32648", "transform": from_origin(WEST, NORTH, PIXEL, PIXEL), "nodata": nodata,
    }  # fmt: skip
    with rasterio.open(path, "w", **profile) as image:
        image.write(data)
        for band, text in enumerate(descriptions or [], start=1):
            image.set_band_description(band, text)


def parcels_file(path: Path) -> Path:
    """Two square parcels with the codes of the run's parcel curves."""
    from rasterio.warp import transform_geom

    def square(x: float, y: float) -> dict[str, Any]:
        ring = [[x, y], [x + 200, y], [x + 200, y + 200], [x, y + 200], [x, y]]
        return transform_geom("EPSG:32648", "EPSG:4326", {"type": "Polygon", "coordinates": [ring]})

    features = [
        {"type": "Feature", "properties": {"id": code, "name": f"示例地块 {code}", "crop": crop},
         "geometry": square(WEST + 300 + 250 * number, NORTH - 600)}
        for number, (code, crop) in enumerate((("P-001", "winter_wheat"), ("P-002", "apple")))
    ]  # fmt: skip
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    return path
