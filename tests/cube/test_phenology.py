"""Stage dates: made-up curves with known dates, and the TUM wheat fields before their harvest."""

from __future__ import annotations

import csv
import json
import logging
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pytest
import rasterio

from eo_pipeline.cube.phenology import Stages, stage_dates
from eo_pipeline.cube.smoothing import smooth_index
from eo_pipeline.scenes.clouds import scene_verdicts, shadow_outliers

START = date(2025, 9, 1)


def dekads(n: int) -> list[date]:
    return [START + timedelta(days=10 * i) for i in range(n)]


def bell(n: int, peak_day: float, width: float, *, low: float = 0.15, high: float = 0.75) -> np.ndarray:
    days = 10.0 * np.arange(n)
    return (low + (high - low) * np.exp(-(((days - peak_day) / width) ** 2))).astype(np.float32)


def day(value: date | None) -> int:
    assert value is not None
    return (value - START).days


def test_the_stages_of_a_bell_are_where_its_equation_has_them() -> None:
    stages = stage_dates(bell(40, 203.0, 45.0), dekads(40))
    # low + amplitude * exp(-(x/45)^2) = share of the amplitude
    assert day(stages.peak) == 203
    assert day(stages.green_up) == pytest.approx(203 - 45 * np.sqrt(np.log(1 / 0.20)), abs=1.5)
    assert day(stages.heading) == pytest.approx(203 - 45 * np.sqrt(np.log(1 / 0.95)), abs=1.5)
    assert day(stages.senescence) == pytest.approx(203 + 45 * np.sqrt(np.log(1 / 0.50)), abs=1.5)


def test_a_day_between_two_dates_is_found() -> None:
    assert day(stage_dates(bell(40, 207.0, 45.0), dekads(40)).peak) == 207


def test_winter_wheat_greens_up_in_spring_and_not_in_autumn() -> None:
    autumn = bell(40, 70.0, 25.0, low=0.0, high=0.2)
    spring = bell(40, 255.0, 40.0, low=0.15, high=0.8)
    stages = stage_dates(autumn + spring, dekads(40))
    assert 175 < day(stages.green_up) < 225
    assert day(stages.green_up) < day(stages.heading) < day(stages.senescence)


def test_the_window_chooses_the_crop_of_two() -> None:
    curve = np.maximum(bell(42, 120.0, 30.0, high=0.7), bell(42, 310.0, 30.0, high=0.8))
    window = (START + timedelta(days=60), START + timedelta(days=200))
    assert day(stage_dates(curve, dekads(42)).peak) == 310
    assert day(stage_dates(curve, dekads(42), window=window).peak) == 120


def test_heading_is_read_from_the_red_edge_where_it_is_given() -> None:
    curve, red_edge = bell(40, 203.0, 45.0), bell(40, 215.0, 45.0)
    plain, better = stage_dates(curve, dekads(40)), stage_dates(curve, dekads(40), heading_curve=red_edge)
    assert day(better.heading) - day(plain.heading) == pytest.approx(12, abs=2)
    assert better.peak == plain.peak


@pytest.mark.parametrize(
    "curve",
    [
        np.full(20, 0.2, np.float32),
        np.full(20, np.nan, np.float32),
        bell(20, 100.0, 30.0, low=0.15, high=0.25),
        np.linspace(0.1, 0.8, 20, dtype=np.float32),
        np.linspace(0.8, 0.1, 20, dtype=np.float32),
    ],
    ids=["bare", "unknown", "small", "still rising", "only falling"],
)
def test_without_a_season_there_are_no_dates(curve: np.ndarray) -> None:
    assert stage_dates(curve, dekads(20)) == Stages()


def test_a_crop_still_green_has_no_senescence_yet() -> None:
    curve = bell(40, 203.0, 45.0)[:22]  # until a week after the peak
    stages = stage_dates(curve, dekads(22))
    assert stages.senescence is None and stages.green_up is not None


def test_a_series_that_begins_green_has_no_green_up() -> None:
    curve = np.concatenate([np.full(4, 0.70), [0.74, 0.75, 0.74], np.linspace(0.7, 0.2, 8)]).astype(
        np.float32
    )
    stages = stage_dates(curve, dekads(15))
    assert stages.green_up is None and stages.heading is None and stages.senescence is not None


def test_one_value_too_many_is_refused() -> None:
    with pytest.raises(ValueError, match="one date a value"):
        stage_dates(np.zeros(3, np.float32), dekads(4))


BANDS = ("B02", "B03", "B04", "B05", "B08", "B11", "B12")


@pytest.mark.realdata
@pytest.mark.parametrize("field", ["Baumacker", "D2", "Viehhausen1"])
def test_tum_wheat_stages_follow_each_other_before_harvest(shared_data: Path, field: str) -> None:
    folder = shared_data / "tum-wheat-2018"
    names = json.loads((folder / "bands.json").read_text())
    paths = sorted((folder / "s2_10m").glob(f"{field}_*.tif"))
    logging.getLogger("rasterio").setLevel(logging.ERROR)
    chips = np.stack([rasterio.open(path).read() for path in paths])
    dates = [date.fromisoformat(path.stem[-10:]) for path in paths]
    clear = (chips[:, names.index("dataMask")] > 0) & (chips[:, names.index("CLM")] == 0)
    bands = np.where(clear[:, None], chips[:, [names.index(b) for b in BANDS]], np.nan).astype(np.float32)
    outliers = shadow_outliers(bands, BANDS, dates)
    kept = [not v.rejected for v in scene_verdicts(outliers, clear, dates, area=clear.any(axis=0))]
    bands[np.broadcast_to(outliers[:, None], bands.shape)] = np.nan
    bands, seen = bands[kept], [d for d, k in zip(dates, kept, strict=True) if k]

    def curve(a: str, b: str) -> np.ndarray:
        first, second = bands[:, BANDS.index(a)], bands[:, BANDS.index(b)]
        mean = np.nanmean(((first - second) / (first + second))[:, clear.any(axis=0)], axis=1)
        return smooth_index(mean[:, None], seen)[:, 0]

    stages = stage_dates(curve("B08", "B04"), seen, heading_curve=curve("B08", "B05"))
    assert stages.green_up is not None and stages.heading is not None and stages.senescence is not None
    assert stages.green_up < stages.heading < stages.senescence
    assert date(2018, 5, 1) < stages.heading < date(2018, 6, 10)
    with (folder / "fields.csv").open(encoding="utf-8") as stream:
        harvest = next(row["Ernte"] for row in csv.DictReader(stream) if row["Name"] == field)
    if harvest:
        assert stages.senescence < date.fromisoformat(harvest)
