"""Sentinel-1: tables and calibration, real GRD by its control points, and the preference for RTC."""

from __future__ import annotations

import json
import shutil
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
import rasterio
from pyproj import Transformer
from rasterio.control import GroundControlPoint
from rasterio.crs import CRS
from rasterio.transform import from_origin

from eo_pipeline.errors import SourceError
from eo_pipeline.grid import Grid
from eo_pipeline.scenes.calibration import LookUpTable, calibrate, read_calibration, read_noise
from eo_pipeline.scenes.sentinel1 import (
    backscatter,
    by_direction,
    prefer_corrected,
    read_radar,
    to_decibel,
)

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
    assert to_decibel(power)[0].tolist() == pytest.approx([0.0, -20.0])
    assert to_decibel(power)[1, 1] == pytest.approx(-10.0, abs=0.02)


@pytest.mark.parametrize("old", [True, False])
def test_noise_is_taken_away_and_leaves_nothing_negative(old: bool) -> None:
    table = LookUpTable(np.array([0.0, 99.0]), np.array([0.0, 99.0]), np.full((2, 2), 100.0))
    noise = read_noise(noise_xml(2500.0, old=old), "made.xml")
    power = calibrate(np.array([[100, 40, 0]], dtype=np.uint16), table, noise=noise)
    assert power[0, :2].tolist() == pytest.approx([0.75, 0.0])
    assert np.isnan(power[0, 2])
    assert to_decibel(power)[0, 1] == -50.0


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


# ---- GRD on a grid ---------------------------------------------------------------------------------------
def _grid(left: float, top: float, size: int, pixel: float, epsg: int) -> Grid:
    numbers = (pixel, 0.0, left, 0.0, -pixel, top)
    return Grid(CRS.from_epsg(epsg).to_wkt(), numbers, size, size)


def write_grd(root: Path, *, size: int = 200, direction: str = "Ascending") -> Path:
    """A GRD product whose image is turned by 10° on the ground, 20 m a pixel, over 500000/3950000 in 32648.

    Its numbers grow with the easting, A is 400 everywhere: power = (DN / 400)².
    """
    place = root / f"{NAME}.SAFE"
    for folder in ("measurement", "annotation/calibration"):
        (place / folder).mkdir(parents=True)
    turn = np.radians(10.0)
    rows, cols = np.mgrid[0:size, 0:size] + 0.5
    east = 500_000 + 20 * (cols * np.cos(turn) + rows * np.sin(turn))
    north = 3_950_000 + 20 * (cols * np.sin(turn) - rows * np.cos(turn))
    degrees = Transformer.from_crs(32648, 4326, always_xy=True)
    points = []
    for row in range(0, size + 1, 20):
        for col in range(0, size + 1, 20):
            x = 500_000 + 20 * (col * np.cos(turn) + row * np.sin(turn))
            y = 3_950_000 + 20 * (col * np.sin(turn) - row * np.cos(turn))
            lon, lat = degrees.transform(x, y)
            points.append(GroundControlPoint(row=row, col=col, x=lon, y=lat, z=0.0))
    numbers = ((east - 499_000) / 10).astype(np.uint16)
    assert north.shape == numbers.shape
    low = NAME.lower().replace("s1a_iw_grdh_1sdv", "s1a-iw-grd-vv").replace("_", "-")[:-5]
    options = {"driver": "GTiff", "width": size, "height": size, "count": 1, "dtype": "uint16"}
    with rasterio.open(place / "measurement" / f"{low}-001.tiff", "w", **options) as raster:
        raster.gcps = (points, CRS.from_epsg(4326))
        raster.write(numbers, 1)
    calibration = calibration_xml([0, size], [0, size], [[400.0] * 2] * 2)
    (place / "annotation/calibration" / f"calibration-{low}-001.xml").write_bytes(calibration)
    (place / "annotation" / f"{low}-001.xml").write_text(
        f"<product><pass>{direction}</pass><numberOfLines>{size}</numberOfLines>"
        f"<numberOfSamples>{size}</numberOfSamples></product>"
    )
    return place


def test_grd_is_placed_by_its_control_points(tmp_path: Path) -> None:
    radar = read_radar(write_grd(tmp_path))
    assert (radar.corrected, radar.direction, radar.orbit) == (False, "ascending", 165)
    assert radar.sensed == datetime(2026, 6, 1, 10, 40, 42, tzinfo=UTC)
    grid = _grid(501_500.0, 3_949_000.0, 60, 10.0, 32648)
    found = backscatter(radar, "vv", grid)
    assert found.dtype == np.float32
    eastings = 501_500.0 + 10 * (np.arange(60) + 0.5)
    expected = 20 * np.log10((eastings - 499_000) / 10 / 400)
    assert np.allclose(found, expected[None, :], atol=0.06)  # a pixel aside would be 0.07 dB
    sigma = backscatter(radar, "vv", grid, quantity="sigmaNought")
    assert np.allclose(found - sigma, 20 * np.log10(2), atol=1e-3)


def test_a_grid_half_outside_or_wholly_outside(tmp_path: Path) -> None:
    radar = read_radar(write_grd(tmp_path))
    partly = backscatter(radar, "vv", _grid(499_000.0, 3_949_000.0, 200, 10.0, 32648))
    assert 0.2 < np.isnan(partly).mean() < 0.9
    assert np.isnan(backscatter(radar, "vv", _grid(700_000.0, 3_949_000.0, 20, 10.0, 32648))).all()


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    place = write_grd(tmp_path)
    radar = read_radar(place)
    grid = _grid(501_500.0, 3_949_000.0, 20, 10.0, 32648)
    with pytest.raises(SourceError, match="has no vh; it holds vv"):
        backscatter(radar, "vh", grid)
    with pytest.raises(SourceError, match="no noise annotation of vv"):
        backscatter(radar, "vv", grid, denoise=True)
    whole = Path(radar.files["vv"]).read_bytes()
    Path(radar.files["vv"]).write_bytes(b"II*")
    with pytest.raises(SourceError, match="damaged"):
        backscatter(radar, "vv", grid)
    Path(radar.files["vv"]).write_bytes(whole)
    shutil.rmtree(place / "annotation/calibration")
    with pytest.raises(SourceError, match="no calibration annotation of vv"):
        backscatter(read_radar(place), "vv", grid)
    with pytest.raises(SourceError, match=r"neither item\.json nor measurement"):
        read_radar(tmp_path)


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


def test_rtc_is_gamma_nought_already(tmp_path: Path) -> None:
    radar = read_radar(write_rtc(tmp_path))
    assert (radar.corrected, radar.direction, radar.orbit) == (True, "ascending", 165)
    found = backscatter(radar, "vv", _grid(501_500.0, 3_949_000.0, 60, 10.0, 32648))
    assert np.isnan(found[:10]).all()
    assert np.allclose(found[10:, :30], -10.0, atol=1e-4)
    assert np.allclose(found[10:, 30:], -20.0, atol=1e-4)


def test_power_is_averaged_not_decibels(tmp_path: Path) -> None:
    radar = read_radar(write_rtc(tmp_path))
    found = backscatter(radar, "vv", _grid(501_505.0, 3_949_000.0, 50, 10.0, 32648))
    # halfway between 0.1 and 0.01 lies 0.055 (−12.6 dB), not −15 dB
    assert found[30, 29] == pytest.approx(10 * np.log10(0.055), abs=0.01)


def test_the_corrected_product_is_preferred(tmp_path: Path) -> None:
    raw, corrected = read_radar(write_grd(tmp_path)), read_radar(write_rtc(tmp_path))
    assert raw.observation == corrected.observation
    assert prefer_corrected([raw, corrected]) == prefer_corrected([corrected, raw]) == (corrected,)
    assert prefer_corrected([raw]) == (raw,)


def test_orbits_are_kept_apart(tmp_path: Path) -> None:
    up = read_radar(write_rtc(tmp_path))
    (tmp_path / "other").mkdir()
    down = read_radar(write_rtc(tmp_path / "other", direction="descending"))
    assert by_direction([up, down]) == {"ascending": (up,), "descending": (down,)}


# ---- real ------------------------------------------------------------------------------------------------
@pytest.mark.realdata
def test_the_recorded_item_of_planetary_computer(shared_data: Path, tmp_path: Path) -> None:
    items = json.loads((shared_data / "api-answers/planetary_computer/sentinel-1-rtc-pc.json").read_text())
    (tmp_path / "item.json").write_text(json.dumps(items[0]))
    radar = read_radar(tmp_path)
    assert (radar.direction, radar.orbit, radar.corrected) == ("descending", 51, True)
    assert radar.sensed == datetime(2024, 4, 19, 4, 59, 4, tzinfo=UTC)
    assert sorted(radar.files) == ["vh", "vv"]
    assert radar.files["vv"].startswith("/vsicurl/https://sentinel1euwestrtc.blob.core.windows.net/")


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
def test_real_grd_is_placed_where_it_was_taken(shared_data: Path, tmp_path: Path) -> None:
    found = sorted((shared_data / "s1-grd-chips/GRD/2018").rglob("S1A_IW_*"))[0]
    place = tmp_path / f"{found.name}.SAFE"
    shutil.copytree(found, place)
    (place / "annotation/calibration").mkdir(parents=True)
    # a plausible constant: the real table was not recorded with the image
    constant = calibration_xml([0, 16000], [0, 26000], [[480.0] * 2] * 2)
    for name in ("vv", "vh"):
        (place / "annotation/calibration" / f"calibration-iw-{name}.xml").write_bytes(constant)
    radar = read_radar(place)
    x, y = Transformer.from_crs(4326, 32643, always_xy=True).transform(77.0, 10.2)  # Kerala, on land
    grid = _grid(x - 15_000, y + 15_000, 150, 200.0, 32643)
    vv, vh = backscatter(radar, "vv", grid), backscatter(radar, "vh", grid)
    assert np.isfinite(vv).all()
    assert np.isfinite(vh).all()
    assert -16 < np.median(vv) < -2
    assert 3 < np.median(vv - vh) < 10  # vegetated land scatters that much less across polarisations
    # where the image has no ground there is nothing
    x, y = Transformer.from_crs(4326, 32643, always_xy=True).transform(75.0, 10.2)
    assert np.isnan(backscatter(radar, "vv", _grid(x, y, 20, 200.0, 32643))).all()
    with rasterio.open(radar.files["vv"]) as raster:
        points, _ = raster.gcps
        numbers = raster.read(1)
    # the pixel at a control point holds what the image holds there
    point = next(p for p in points if 300 < p.row < 500 and 500 < p.col < 800)
    x, y = Transformer.from_crs(4326, 32643, always_xy=True).transform(point.x, point.y)
    here = backscatter(radar, "vv", _grid(x - 1000, y + 1000, 10, 200.0, 32643))
    row, col = int(point.row), int(point.col)
    around = numbers[row - 5 : row + 5, col - 5 : col + 5].astype(float)
    expected = 10 * np.log10((around**2).mean() / 480.0**2)
    assert 10 * np.log10((10 ** (here / 10)).mean()) == pytest.approx(expected, abs=1.0)
