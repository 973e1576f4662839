"""A small finished run folder with every product: what catalog, report and notebook are tested on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from eo_pipeline.grid import Grid
from eo_pipeline.products.growth import GROWTH_NAMES, round_to_100
from eo_pipeline.products.zonal import pixel_area_ha
from eo_pipeline.publish.catalog import write_catalog, write_cog
from eo_pipeline.publish.contract import (
    ESTIMATE_COLUMNS,
    SERIES_COLUMNS,
    Raster,
    RunManifest,
    palette,
    seal,
)
from eo_pipeline.publish.report import write_report

RUN_ID = "test-2026"
UTM = "EPSG:32648"
SIZE = 120
DATES = tuple(day.date().isoformat() for day in pd.date_range("2025-09-05", "2026-10-25", freq="10D"))
CROPS = tuple(
    item for item in palette().crops if item.name in ("winter_wheat", "spring_maize", "apple", "other")
)
PEAKS = {"winter_wheat": 255, "spring_maize": 335, "apple": 310, "other": 330}


def class_map(rng: np.random.Generator) -> np.ndarray:
    """Fields of 10 x 12 pixels, terraced by a sine, with a strip of nodata."""
    fields = rng.choice([c.code for c in CROPS], (20, 20), p=[0.3, 0.3, 0.25, 0.15])
    rows, cols = np.indices((SIZE, SIZE))
    bent = (rows + 6 * np.sin(cols / 9)).astype(int).clip(0, SIZE - 1)
    classes = fields[bent // 10, cols // 12].astype(np.uint8)
    classes[:, :3] = 0
    return classes


def curve(name: str, factor: float = 1.0) -> np.ndarray:
    days = 10.0 * np.arange(len(DATES))
    return 0.16 + factor * 0.6 * np.exp(-(((days - PEAKS[name]) / 45) ** 2))


def estimate(**values: Any) -> dict[str, Any]:
    row: dict[str, Any] = dict.fromkeys(ESTIMATE_COLUMNS, "")
    row |= {c: float("nan") for c, kind in ESTIMATE_COLUMNS.items() if kind == "float64"}
    row |= {"n_samples": 0, "run_id": RUN_ID, "period_start": "2025-09-01", "period_end": "2026-10-31"}
    return row | values


def make_run(folder: Path, *, crs: str = UTM, simulated: bool = True, classified: bool = True) -> RunManifest:
    """Write a sealed run folder of one tile and give back its manifest."""
    rng = np.random.default_rng(1)
    grid = Grid(crs, (10, 0, 560_000, 0, -10, 3_920_000), SIZE, SIZE)
    classes = class_map(rng)
    confidence = rng.integers(55, 100, (SIZE, SIZE)).astype(np.uint8)
    confidence[classes == 0] = 255
    anomaly = rng.normal(2, 9, (SIZE, SIZE))
    growth = np.digitize(anomaly, [-15, -5, 5, 15]).astype(np.uint8) + 1
    growth[rng.random((SIZE, SIZE)) < 0.05] = 6
    growth[(classes == 0) | (classes == 10)] = 0
    stored = np.where((growth == 0) | (growth == 6), -32768, 10 * anomaly).astype(np.int16)
    index = np.full((len(DATES), SIZE, SIZE), -32768, dtype=np.int16)
    for item in CROPS:
        index[:, classes == item.code] = (10_000 * curve(item.name))[:, None]

    rasters = []

    def add(kind: str, path: str, array: np.ndarray, title: str, **options: Any) -> None:
        classes_of = options.pop("classes", ())
        scale = options.get("scale", 1.0)
        colours = {c.code: c.colour for c in classes_of}
        write_cog(folder / path, array, grid, colour_table=colours or None, **options)
        dates = DATES if kind == "index" else DATES[-1:]
        rasters.append(Raster(kind, "t1", path, title, dates, scale, options.get("unit", ""), classes_of))

    if classified:
        add("crop_type", "crop_type/t1/crop_type.tif", classes, "Crop type", nodata=0, classes=CROPS)
        add("confidence", "crop_type/t1/confidence.tif", confidence, "Confidence", nodata=255, unit="percent")
    add("growth", "growth/t1/growth.tif", growth, "Growth", nodata=0, classes=palette().growth)
    add(
        "growth_anomaly",
        "growth/t1/anomaly.tif",
        stored,
        "Growth anomaly",
        nodata=-32768,
        scale=0.1,
        unit="percent",
    )
    add(
        "index",
        "index/t1/ndvi.tif",
        index,
        "NDVI, smoothed",
        nodata=-32768,
        scale=1e-4,
        band_descriptions=DATES,
    )

    pixel_ha = pixel_area_ha(grid)
    rows = []
    for item in CROPS:
        hectares = float(pixel_ha[classes == item.code].sum())
        half = 0.08 * hectares
        common = {"product": "area", "crop": item.name, "unit_adcode": "region", "unit": "ha"}
        rows.append(estimate(**common, value=hectares, method="pixel_count"))
        rows.append(
            estimate(
                **common,
                value=0.97 * hectares,
                se=half / 2,
                ci_low=0.97 * hectares - half,
                ci_high=0.97 * hectares + half,
                method="adjusted_count_model_based",
                n_samples=320,
            )
        )
        if item.name == "other":
            continue
        counts = np.bincount(growth[classes == item.code], minlength=7)
        for name, share in zip(GROWTH_NAMES, round_to_100(counts[1:6].astype(float)), strict=True):
            rows.append(
                estimate(
                    product="growth",
                    crop=item.name,
                    unit_adcode="region",
                    unit="percent",
                    value=share,
                    method="peers",
                    monitorable_share=counts[1:6].sum() / counts[1:].sum(),
                    **{"class": name},
                )
            )
        for name, day in (("green_up", 90), ("heading", 140), ("senescence", 175)):
            rows.append(
                estimate(
                    product="stage",
                    crop=item.name,
                    unit_adcode="region",
                    unit="doy",
                    value=float(day),
                    method="whittaker NDVI",
                    **{"class": name},
                )
            )
    if not classified:
        rows = [row | {"crop": ""} for row in rows if row["product"] != "area"][:8]
    pd.DataFrame(rows, columns=list(ESTIMATE_COLUMNS)).astype(ESTIMATE_COLUMNS).to_parquet(
        folder / "estimates.parquet"
    )

    points = []
    for item in CROPS:
        smooth = curve(item.name)
        seen = rng.random(len(DATES)) < 0.6
        for number, day in enumerate(DATES):
            value = smooth[number]
            points.append(
                {
                    "scope": "class" if classified else "parcel",
                    "scope_id": item.name,
                    "crop": item.name if classified else "",
                    "index": "NDVI",
                    "date": day,
                    "observed": value + rng.normal(0, 0.02) if seen[number] else float("nan"),
                    "smoothed": value,
                    "p25": value - 0.04,
                    "p75": value + 0.04,
                    "clear_share": float(seen[number]) * 0.9,
                    "run_id": RUN_ID,
                }
            )
    pd.DataFrame(points, columns=list(SERIES_COLUMNS)).astype(SERIES_COLUMNS).to_parquet(
        folder / "series.parquet"
    )

    labels = [c.name for c in CROPS]
    confusion = (
        np.eye(len(labels), dtype=int) * 70 + rng.integers(0, 6, (len(labels), len(labels)))
    ).tolist()
    figures = {
        "overall_accuracy": 0.962,
        "macro_f1": 0.948,
        "per_class_f1": dict.fromkeys(labels, 0.95),
        "ece": 0.018,
        "confusion": confusion,
        "labels": labels,
        "n": int(np.sum(confusion)),
    }
    accuracy = {
        "run_id": RUN_ID,
        "cross_validation": {
            "method": "5 folds, stratified, groups kept whole",
            "group_km": 0.5,
            "groups": 60,
            "seed": 42,
            "channels": ["NDVI"],
            "model": figures,
            "baseline": figures | {"overall_accuracy": 0.941, "macro_f1": 0.92, "ece": 0.043},
            "folds": [{"model": 0.96, "baseline": 0.94, "n": 60}] * 5,
        }
        if classified
        else None,
        "reference": None,
    }
    (folder / "accuracy.json").write_text(json.dumps(accuracy), encoding="utf-8")
    scenes = [
        {
            "role": "scene",
            "tile": "t1",
            "date": day,
            "clear_share": 0.9,
            "outlier_share": 0.8 if number == 7 else 0.01,
            "rejected": number == 7,
            "reason": "shadow or cloud missed by the mask in 80 % of the clear pixels" if number == 7 else "",
        }
        for number, day in enumerate(DATES)
    ]
    manifest = RunManifest(
        run_id=RUN_ID,
        title="静宁县示范片 2026",
        season={"start": "2025-09-01", "end": "2026-10-31", "step": "dekad"},
        region={"name": "静宁县示范片（5 km × 5 km）"},
        simulated=simulated,
        created_at="2026-11-02T08:00:00+00:00",
        code={"version": "0.1.0", "commit": "0" * 40},
        config={"growth": {"index": "NDVI"}},
        inputs=[{"role": "raster", "path": "S2_20260405.tif", "bytes": 1, "sha256": "0" * 64}, *scenes],
        models=[{"kind": "temporal-ensemble", "parameters": 120_000, "data": {"samples": 640}}]
        if classified
        else [],
        seeds={"classify": 42},
        timings={"ingest": 1.5, "classify": 2.0},
        crops=CROPS if classified else (),
        rasters=tuple(rasters),
    )
    write_catalog(folder, manifest)
    write_report(folder, manifest)
    return seal(folder, manifest)
