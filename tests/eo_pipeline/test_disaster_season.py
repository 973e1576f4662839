"""Disasters in a season: a swath of hail and a flooded valley, from rasters to records in a run folder."""

from __future__ import annotations

import json
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pytest
import rasterio
from command import good, refused
from numpy.typing import NDArray
from rasterio.transform import from_origin
from seasons import CLASSIFY, CLEAR, CLOUD, ORIGIN, PIXEL, TOML, lonlat, samples_csv, write_raster

from eo_pipeline.products.disaster import canopy_loss, new_water, standing_steps, sudden_drop
from eo_pipeline.publish.contract import read_estimates, verify

SIZE = 128
HAIL_STEP, FLOOD_STEP = 11, 14
#: Leaf area that hail takes.
LOSS = 0.6


def fields() -> NDArray[np.uint8]:
    """Two crops in fields of 8 × 8 pixels, in no order."""
    rng = np.random.default_rng(4)
    drawn = rng.integers(1, 3, (SIZE // 8, SIZE // 8))
    return np.repeat(np.repeat(drawn, 8, 0), 8, 1).astype(np.uint8)


def swath() -> NDArray[np.bool_]:
    rows, cols = np.mgrid[:SIZE, :SIZE]
    return (np.abs(rows - cols * 0.5 - 10) < 16) & (cols > 15) & (cols < 110)


def valley() -> NDArray[np.bool_]:
    rows, _ = np.mgrid[:SIZE, :SIZE]
    return rows > SIZE - 24


def ndvi(leaf: NDArray[np.float64]) -> NDArray[np.float64]:
    return 0.95 + (0.15 - 0.95) * np.exp(-0.6 * leaf)


def make(root: Path) -> Path:
    """Scenes of 18 dekads from March on, with hail, a flood, clouds and noise; passes of Sentinel-1."""
    rng = np.random.default_rng(11)
    classes = fields()
    late = np.repeat(np.repeat(rng.normal(0, 0.7, (SIZE // 8, SIZE // 8)), 8, 0), 8, 1)
    for step in range(18):
        day = date(2026, 3, 5) + timedelta(days=10 * step)
        peak = np.where(classes == 1, 9.0, 11.0) + late
        leaf = 3.2 * np.exp(-(((step - peak) / 5.5) ** 2))
        leaf = np.where(swath() & (step >= HAIL_STEP), leaf * (1 - LOSS), leaf)
        leaf = np.where(valley() & (step >= FLOOD_STEP), leaf * 0.3, leaf)
        index = ndvi(leaf) + rng.normal(0, 0.012, classes.shape)
        red = 0.06 + 0.08 * (1 - index)
        nir = red * (1 + index) / (1 - index)
        scl = np.full(classes.shape, CLEAR, dtype=np.int16)
        if step % 5 == 2:
            scl[:, step * 3 : step * 3 + 40] = CLOUD
        numbers = np.rint(np.stack([0.7 * red, red, nir]) * 10_000).astype(np.int16)
        write_raster(root / "scenes" / f"S2_{day:%Y%m%d}.tif", np.concatenate([numbers, scl[None]]))
        write_pass(root / "radar", day + timedelta(days=1), flooded=step == FLOOD_STEP, rng=rng)
    (root / "samples.csv").write_text(samples_csv(classes, rng))
    toml = TOML.replace(
        '[[source.mask]]\nband = "SCL"\nclear = [4, 5]\n',
        '[[source.mask]]\nband = "SCL"\nclear = [4, 5]\n\n[source.radar]\nroot = "radar"\n',
    )
    (root / "season.toml").write_text(toml + CLASSIFY + "\n[disaster]\n")
    return root / "season.toml"


def write_pass(root: Path, day: date, *, flooded: bool, rng: np.random.Generator) -> None:
    folder = root / f"S1A_IW_GRDH_1SDV_{day:%Y%m%d}T104042_{day:%Y%m%d}T104107_022812_02792A_rtc"
    folder.mkdir(parents=True)
    for name, land, water in (("vv", 0.08, 0.012), ("vh", 0.016, 0.0022)):
        power = np.full((SIZE, SIZE), land) * rng.gamma(4.4, 1 / 4.4, (SIZE, SIZE))
        if flooded:
            power[valley()] = (water * rng.gamma(4.4, 1 / 4.4, (SIZE, SIZE)))[valley()]
        with rasterio.open(
            folder / f"{name}.tif", "w", driver="GTiff", width=SIZE, height=SIZE, count=1, dtype="float32",
            crs="EPSG:32648", transform=from_origin(*ORIGIN, PIXEL, PIXEL), nodata=-32768,
        ) as raster:  # fmt: skip
            raster.write(power.astype(np.float32), 1)
    (x0, y1), (x1, y0) = lonlat(0, 0), lonlat(SIZE, SIZE)
    item = {
        "id": folder.name,
        "collection": "sentinel-1-rtc",
        "geometry": {"type": "Polygon", "coordinates": [[[x0, y0], [x1, y0], [x1, y1], [x0, y1], [x0, y0]]]},
        "properties": {"datetime": f"{day}T10:40:54Z", "sat:orbit_state": "ascending"},
        "assets": {name: {"href": f"./{name}.tif"} for name in ("vv", "vh")},
    }
    (folder / "item.json").write_text(json.dumps(item))


def truth_of(path: Path, mask: NDArray[np.bool_], code: int) -> Path:
    values = np.where(mask, code, 0).astype(np.int16)[None]
    write_raster(path, values)
    return path


def test_hail_and_flood_are_found_and_told(tmp_path: Path) -> None:
    toml = make(tmp_path)
    # when weather in Fahrenheit is named, nothing is made
    weather = tmp_path / "weather.csv"
    days = [date(2026, 6, 1) + timedelta(days=n) for n in range(90)]
    head = "station,lon,lat,elevation,date,tmin,tmax,rain_mm\n"
    storm = date(2026, 7, 23)
    rows = [(day, 15.0, 27.0, 88.0 if day == storm else 1.0) for day in days]
    hot = [f"53915,106.67,35.55,1348,{d},{a * 1.8 + 32},{b * 1.8 + 32},{r}\n" for d, a, b, r in rows]
    weather.write_text(head + "".join(hot))
    toml.write_text(toml.read_text() + 'weather = "weather.csv"\n')
    assert "look like degrees Fahrenheit" in refused("run", toml, "--workers", 0)
    assert not (tmp_path / "runs" / "tiny-2026").exists()
    # when it is right, with a day missing
    weather.write_text(
        head + "".join(f"53915,106.67,35.55,1348,{d},{a},{b},{r}\n" for d, a, b, r in rows if d.day != 25)
    )
    folder = Path(json.loads(good("run", toml, "--workers", 0, "--json"))["run"])
    verify(folder)
    document = json.loads((folder / "disaster" / "events.json").read_text(encoding="utf-8"))
    events = {event["hazard"]: event for event in document["events"]}
    assert sorted(event["hazard"] for event in document["events"]) == ["flood", "hail"]
    hail, flood = events["hail"], events["flood"]
    # then each is where and when it was
    day = date(2026, 3, 5) + timedelta(days=10 * HAIL_STEP)
    assert hail["start"] <= day.isoformat() <= hail["end"]
    assert hail["status"] == "遥感初判" and "disaster.affected" in hail["trial"]
    assert min(hail["damage"]["hit_share_by_crop"].values()) > 0.35
    for hazard, mask, code in (("hail", swath(), 3), ("flood", valley(), 4)):
        truth = truth_of(tmp_path / f"{hazard}.tif", mask, code)
        found = next((folder / "disaster").rglob(f"{hazard}.tif"))
        facts = json.loads(good("evaluate", "disaster", found, truth, "--json"))["hazards"][hazard]
        assert facts["false_alarm"] < 0.02
        assert facts["patches_found"] == facts["patches"] == 1
        assert facts["iou"] > (0.8 if hazard == "flood" else 0.6)
    # and areas are nested, with the true one in their interval
    area = hail["areas"]
    assert area["affected"]["ha"] >= area["damaged"]["ha"] >= area["destroyed"]["ha"]
    hectares = swath().sum() * PIXEL**2 / 1e4
    assert area["damaged"]["low_ha"] <= hectares <= area["damaged"]["high_ha"]
    assert area["destroyed"]["low_ha"] == 0
    # and what the weather tells stays apart from the damage
    assert flood["hazard_evidence"]["supported"] and flood["hazard_evidence"]["rain_mm"] == 88
    assert flood["hazard_evidence"]["days_without_data"] == 1
    assert "no record of hail" in hail["hazard_evidence"]["weather"]
    # and there are pictures and rows
    for when in ("before", "after"):
        with rasterio.open(folder / hail["chips"][when]) as picture:
            assert picture.count == 2 and (picture.read() != -32768).mean() > 0.5
    table = read_estimates(folder)
    table = table[table["product"] == "disaster"].set_index(["class", "crop", "unit_adcode"])
    total = sum(table.loc[("hail_damaged", crop, "region"), "value"] for crop in ("wheat", "maize"))
    assert total == pytest.approx(area["damaged"]["ha"], abs=0.02)
    # and a season without floods in its radar is told so
    toml.write_text(toml.read_text().replace('[source.radar]\nroot = "radar"\n', "").replace(
        "[disaster]\n", '[disaster]\nhazards = ["flood"]\n'))  # fmt: skip
    assert "needs Sentinel-1" in refused("plan", toml)
    toml.write_text(toml.read_text().replace('"flood"', '"fire"'))
    assert "accepted are flood, frost, hail" in refused("plan", toml)


def test_a_late_field_and_a_cloud_are_no_fall() -> None:
    steps = np.arange(20)
    median = ndvi(3 * np.exp(-(((steps - 10) / 4) ** 2))).astype(np.float32)
    late = ndvi(3 * np.exp(-(((steps - 11) / 4) ** 2)))
    clouded = median.copy()
    clouded[8] = 0.3
    hit = median.copy()
    hit[9:] = ndvi(0.5 * 3 * np.exp(-(((steps - 10) / 4) ** 2)))[9:]
    weak = median - 0.1
    series = np.stack([late, clouded, hit, weak], axis=1).astype(np.float32)[:, None]
    found = sudden_drop(
        series, np.ones((1, 4), np.uint8), {1: median}, {1: standing_steps(median)}, window=range(5, 15)
    )
    assert found.step.tolist() == [[0, 0, 10, 0]]
    assert found.loss[0, 2] == pytest.approx(50, abs=8)
    assert (found.first > 0).all() and (found.last >= found.first).all()
    assert canopy_loss(np.float32([0.55]), np.float32([0.55])).item() == 0


def test_new_water_is_new() -> None:
    shape = (8, 20, 20)
    vv, vh = np.full(shape, -10, np.float32), np.full(shape, -17, np.float32)
    vv[:, :5], vh[:, :5] = -20, -27  # a lake
    vv[6, 12:], vh[6, 12:] = -19, -26  # a flood
    vv[6, 10:12], vh[6, 10:12] = -12, -19  # its mixed edge
    vv[6, 6:8], vh[6, 6:8] = -12, -19  # wet ground apart from it
    found = new_water(vv, vh, window=range(1, 8))
    assert (found[10:] == 7).all() and (found[:10] == 0).all()
