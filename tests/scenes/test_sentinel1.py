"""Sentinel-1: tables and calibration, products on disk, and the preference for RTC."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path

import numpy as np
import pytest
import rasterio
from rasterio.transform import from_origin

from eo_pipeline.errors import SourceError
from eo_pipeline.scenes.calibration import LookUpTable, calibrate, read_calibration, read_noise
from eo_pipeline.scenes.sentinel1 import day_of, prefer_corrected, read_radar

NAME = "S1A_IW_GRDH_1SDV_20260601T104042_20260601T104107_022812_02792A_FD5B"


def calibration_xml(lines: list[int], pixels: list[int], gamma: list[list[float]]) -> bytes:
    vectors = "".join(
        f"<calibrationVector><line>{line}</line><pixel>{' '.join(map(str, pixels))}</pixel>"
        f"<sigmaNought>{' '.join(str(v * 2) for v in row)}</sigmaNought>"
        f"<gamma>{' '.join(map(str, row))}</gamma></calibrationVector>"
        for line, row in zip(lines, gamma, strict=True)
    )
    return f"<calibration><calibrationVectorList>{vectors}</calibrationVectorList></calibration>".encode()


def noise_xml(value: float, *, old: bool) -> bytes:
    vector, lut = ("noiseVector", "noiseLut") if old else ("noiseRangeVector", "noiseRangeLut")
    rows = "".join(
        f"<{vector}><line>{line}</line><pixel>0 99</pixel><{lut}>{value} {value}</{lut}></{vector}>"
        for line in (0, 99)
    )
    return f"<noise><{vector}List>{rows}</{vector}List></noise>".encode()


# ---- tables and calibration ------------------------------------------------------------------------------
def test_tables_are_bilinear_between_their_knots() -> None:
    table = read_calibration(calibration_xml([0, 10], [0, 20], [[100, 300], [200, 400]]), "made.xml")
    found = table.at(np.array([-3, 0, 5, 10, 12]), np.array([0, 5, 10, 20, 40]))
    expected = np.array(
        [
            [100, 150, 200, 300, 300],
            [100, 150, 200, 300, 300],
            [150, 200, 250, 350, 350],
            [200, 250, 300, 400, 400],
            [200, 250, 300, 400, 400],
        ]
    )
    assert np.allclose(found, expected)
    sigma = read_calibration(
        calibration_xml([0, 10], [0, 20], [[100, 300], [200, 400]]), "made.xml", "sigmaNought"
    )
    assert np.allclose(sigma.values, 2 * table.values)


def test_numbers_become_power() -> None:
    table = LookUpTable(np.array([0.0, 99.0]), np.array([0.0, 99.0]), np.full((2, 2), 500.0))
    numbers = np.array([[500, 50], [0, 158]], dtype=np.uint16)
    power = calibrate(numbers, table)
    assert power.dtype == np.float32
    assert power[0].tolist() == pytest.approx([1.0, 0.01])
    assert np.isnan(power[1, 0])


@pytest.mark.parametrize("old", [True, False])
def test_noise_is_taken_away_and_leaves_nothing_negative(old: bool) -> None:
    table = LookUpTable(np.array([0.0, 99.0]), np.array([0.0, 99.0]), np.full((2, 2), 100.0))
    noise = read_noise(noise_xml(2500.0, old=old), "made.xml")
    power = calibrate(np.array([[100, 40, 0]], dtype=np.uint16), table, noise=noise)
    assert power[0, :2].tolist() == pytest.approx([0.75, 0.0])
    assert np.isnan(power[0, 2])


def test_a_window_is_calibrated_like_the_whole() -> None:
    rng = np.random.default_rng(5)
    gamma = [[300.0, 350.0, 500.0], [310.0, 380.0, 480.0]]
    table = read_calibration(calibration_xml([0, 80], [0, 30, 99], gamma), "made.xml")
    numbers = rng.integers(1, 900, (90, 100)).astype(np.uint16)
    whole = calibrate(numbers, table)
    part = calibrate(numbers[20:60, 33:77], table, row=20, col=33)
    assert np.array_equal(part, whole[20:60, 33:77])


def test_broken_tables_are_refused() -> None:
    with pytest.raises(SourceError, match="no whole table of gamma"):
        read_calibration(b"<calibration/>", "made.xml")
    with pytest.raises(SourceError, match="no whole table of gamma"):
        read_calibration(calibration_xml([0], [0, 5, 9], [[1.0, 2.0]]), "made.xml")
    with pytest.raises(SourceError, match="no whole XML"):
        read_calibration(b"<calibration>", "made.xml")


# ---- RTC -------------------------------------------------------------------------------------------------
def write_rtc(root: Path, *, direction: str = "ascending") -> Path:
    place = root / f"{NAME[:-5]}_rtc"
    place.mkdir()
    item = {
        "id": place.name,
        "collection": "sentinel-1-rtc",
        "properties": {
            "datetime": "2026-06-01T10:40:54Z", "sat:orbit_state": direction, "sat:relative_orbit": 165,
        },
        "assets": {"vv": {"href": "https://example.org/iw-vv.rtc.tiff"}},
    }  # fmt: skip
    (place / "item.json").write_text(json.dumps(item))
    values = np.full((60, 60), 0.1, dtype=np.float32)
    values[:, 30:] = 0.01
    values[:10] = -32768
    options = {
        "driver": "GTiff", "width": 60, "height": 60, "count": 1, "dtype": "float32", "nodata": -32768,
        "crs": "EPSG:32648", "transform": from_origin(501_500.0, 3_949_000.0, 10.0, 10.0),
    }  # fmt: skip
    with rasterio.open(place / "iw-vv.rtc.tiff", "w", **options) as raster:
        raster.write(values, 1)
    return place


def test_the_corrected_product_is_preferred(tmp_path: Path) -> None:
    corrected = read_radar(write_rtc(tmp_path))
    assert (corrected.corrected, corrected.direction, corrected.orbit) == (True, "ascending", 165)
    raw = replace(corrected, name=f"{NAME}.SAFE", corrected=False)
    assert raw.observation == corrected.observation == ("S1A", "20260601T104042")
    assert prefer_corrected([raw, corrected]) == prefer_corrected([corrected, raw]) == (corrected,)
    assert prefer_corrected([raw]) == (raw,)


def test_what_is_no_product_is_named(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"neither item\.json nor measurement"):
        read_radar(tmp_path)
    place = tmp_path / f"{NAME}.SAFE"
    (place / "measurement").mkdir(parents=True)
    with pytest.raises(SourceError, match="has no annotation, so it has no place on earth"):
        read_radar(place)
    assert day_of(place.name) == date(2026, 6, 1)
    assert day_of("mine") is None


# ---- real ------------------------------------------------------------------------------------------------
@pytest.mark.realdata
def test_the_recorded_item_of_planetary_computer(shared_data: Path, tmp_path: Path) -> None:
    items = json.loads((shared_data / "api-answers/planetary_computer/sentinel-1-rtc-pc.json").read_text())
    (tmp_path / "item.json").write_text(json.dumps(items[0]))
    radar = read_radar(tmp_path)
    assert (radar.direction, radar.orbit, radar.corrected) == ("descending", 51, True)
    assert radar.sensed == datetime(2024, 4, 19, 4, 59, 4, tzinfo=UTC)
    assert sorted(radar.files) == ["vh", "vv"]
    assert radar.files["vv"].startswith("https://sentinel1euwestrtc.blob.core.windows.net/")


@pytest.mark.realdata
def test_real_annotation_tells_orbit_and_direction(shared_data: Path, tmp_path: Path) -> None:
    name = "S1B_IW_GRDH_1SDV_20210401T052623_20210401T052648_026269_032297_ECC8.SAFE"
    place = tmp_path / name
    shutil.copytree(shared_data / "safe-metadata/sentinel1" / name, place)
    (place / "measurement").mkdir()
    (place / "measurement" / "s1b-iw-grd-vv-20210401t052623-20210401t052648-026269-032297-001.tiff").touch()
    radar = read_radar(place)
    assert (radar.direction, radar.orbit) == ("descending", 168)
    (place / "manifest.safe").unlink()
    assert read_radar(place).orbit == 168  # the same from the absolute orbit in the name


@pytest.mark.realdata
def test_real_grd_without_its_annotation_is_refused(shared_data: Path, tmp_path: Path) -> None:
    found = sorted((shared_data / "s1-grd-chips/GRD/2018").rglob("S1A_IW_*"))[0]
    place = tmp_path / f"{found.name}.SAFE"
    shutil.copytree(found, place)
    with pytest.raises(SourceError, match="has no annotation, so it has no place on earth"):
        read_radar(place)
