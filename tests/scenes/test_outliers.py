"""Shadow and cloud found by neighbours in time: made-up series with known truth, and the TUM wheat fields."""

from __future__ import annotations

import json
import logging
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pytest
import rasterio
from hypothesis import given, settings
from hypothesis import strategies as st

from eo_pipeline.scenes.outliers import ShadowRule, can_test, shadow_outliers
from eo_pipeline.scenes.verdicts import scene_verdicts, verdict_of_counts

BANDS = ("B02", "B03", "B04", "B08", "B11", "B12")
#: A winter cereal from tillering through its green peak and ripening to stubble, one row a date, ten days
#: apart.
SEASON = np.array(
    [
        [0.056, 0.086, 0.093, 0.22, 0.18, 0.12],
        [0.056, 0.088, 0.085, 0.25, 0.19, 0.12],
        [0.050, 0.080, 0.070, 0.33, 0.20, 0.12],
        [0.036, 0.063, 0.054, 0.36, 0.17, 0.10],
        [0.033, 0.056, 0.045, 0.40, 0.15, 0.08],
        [0.036, 0.057, 0.042, 0.42, 0.14, 0.07],
        [0.040, 0.062, 0.050, 0.36, 0.14, 0.07],
        [0.040, 0.067, 0.065, 0.27, 0.15, 0.08],
        [0.087, 0.119, 0.156, 0.26, 0.28, 0.19],
        [0.095, 0.130, 0.175, 0.25, 0.31, 0.24],
        [0.090, 0.128, 0.170, 0.24, 0.32, 0.25],
    ],
    dtype=np.float32,
)
DATES = tuple(date(2018, 3, 10) + timedelta(days=10 * i) for i in range(len(SEASON)))
SHADOW = np.array([0.55, 0.45, 0.40, 0.35, 0.28, 0.25], dtype=np.float32)
FIELDS = ("Baumacker", "D2", "Viehhausen1")


def pixel(series: np.ndarray) -> np.ndarray:
    return series.astype(np.float32)[:, :, None, None]


def rejected_dates(series: np.ndarray) -> list[int]:
    return np.flatnonzero(shadow_outliers(pixel(series), BANDS, DATES)[:, 0, 0]).tolist()


def test_ripening_and_harvest_are_no_shadow() -> None:
    assert rejected_dates(SEASON) == []


@pytest.mark.parametrize("i", range(len(SEASON)))
def test_one_shadow_is_found_wherever_it_falls(i: int) -> None:
    series = SEASON.copy()
    series[i] *= SHADOW
    assert rejected_dates(series) == [i]


@pytest.mark.parametrize("i", range(len(SEASON) - 1))
def test_two_shadows_in_a_row_do_not_vouch_for_each_other(i: int) -> None:
    series = SEASON.copy()
    series[i : i + 2] *= SHADOW
    assert rejected_dates(series) == [i, i + 1]


@pytest.mark.parametrize("i", range(len(SEASON)))
def test_cloud_is_found_and_spares_its_neighbours(i: int) -> None:
    series = SEASON.copy()
    series[i] = 0.4 * series[i] + 0.6 * 0.7
    assert rejected_dates(series) == [i]


def test_film_laid_for_good_is_no_cloud() -> None:
    # Film mulch is bright and white, but it stays: the later side shows it too.
    series = np.repeat([[0.08, 0.11, 0.15, 0.22, 0.28, 0.22]], len(SEASON), axis=0)
    series[5:] = [0.19, 0.22, 0.25, 0.32, 0.33, 0.26]
    assert rejected_dates(series) == []


def test_mowing_is_no_shadow() -> None:
    # Alfalfa cut: near infrared halves, red and shortwave rise.
    series = np.repeat([[0.03, 0.06, 0.04, 0.45, 0.16, 0.08]], len(SEASON), axis=0)
    series[5] = [0.06, 0.09, 0.10, 0.22, 0.24, 0.16]
    assert rejected_dates(series) == []


def test_rain_on_bare_soil_is_no_shadow() -> None:
    series = np.repeat([[0.10, 0.14, 0.18, 0.24, 0.32, 0.28]], len(SEASON), axis=0)
    series[[4, -1]] *= 0.68
    assert rejected_dates(series) == []


def test_values_under_the_mask_are_never_judged_nor_heard() -> None:
    series = SEASON.copy()
    series[4] = np.nan
    series[5] *= SHADOW
    assert rejected_dates(series) == [5]


def test_a_block_gives_what_the_whole_gives() -> None:
    rng = np.random.default_rng(1)
    cube = SEASON[:, :, None, None] * rng.uniform(0.15, 1.3, (len(SEASON), 1, 6, 7))
    cube = cube.astype(np.float32)
    cube[rng.random(cube.shape) < 0.02] = np.nan
    whole = shadow_outliers(cube, BANDS, DATES)
    parts = [shadow_outliers(cube[..., s], BANDS, DATES) for s in (slice(0, 3), slice(3, 7))]
    assert whole.any()
    np.testing.assert_array_equal(whole, np.concatenate(parts, axis=2))


def test_indices_alone_are_not_judged_and_the_verdict_says_so() -> None:
    cube = np.full((2, 2, 1, 1), 0.5, dtype=np.float32)
    assert not can_test(("NDVI", "EVI"))
    outliers = shadow_outliers(cube, ("NDVI", "EVI"), DATES[:2])
    assert not outliers.any()
    verdicts = scene_verdicts(outliers, np.ones((2, 1, 1), bool), DATES[:2], tested=False)
    assert [v.rejected for v in verdicts] == [False, False]
    assert verdicts[0].reason.startswith("not tested")


def test_dates_out_of_order_are_refused() -> None:
    with pytest.raises(ValueError, match="dates must ascend"):
        shadow_outliers(pixel(SEASON), BANDS, DATES[::-1])


def test_a_wrong_band_count_is_refused() -> None:
    with pytest.raises(ValueError, match="one name a band"):
        shadow_outliers(pixel(SEASON), BANDS[:-1], DATES)


def test_verdict_counts_within_the_area_only() -> None:
    outliers = np.zeros((1, 2, 2), bool)
    outliers[0, 0] = True
    area = np.array([[True, True], [False, False]])
    (verdict,) = scene_verdicts(outliers, np.ones((1, 2, 2), bool), DATES[:1], area=area)
    assert (verdict.clear_share, verdict.outlier_share, verdict.rejected) == (1.0, 1.0, True)


def test_a_scene_without_a_clear_pixel_is_rejected() -> None:
    verdict = verdict_of_counts(DATES[0], total=5, clear=0, outliers=0)
    assert verdict.rejected and verdict.reason == "no clear pixel"


def read_chips(folder: Path, field: str) -> tuple[np.ndarray, np.ndarray, list[date]]:
    """Reflectance [t, band, y, x] under the delivered mask, that mask, and the dates of a TUM field."""
    names = json.loads((folder / "bands.json").read_text())
    paths = sorted((folder / "s2_10m").glob(f"{field}_*.tif"))
    logging.getLogger("rasterio").setLevel(logging.ERROR)
    chips = np.stack([rasterio.open(path).read() for path in paths])
    clear = (chips[:, names.index("dataMask")] > 0) & (chips[:, names.index("CLM")] == 0)
    reflectance = chips[:, [names.index(b) for b in BANDS]].astype(np.float32)
    dates = [date.fromisoformat(path.stem[-10:]) for path in paths]
    return np.where(clear[:, None], reflectance, np.nan).astype(np.float32), clear, dates


@pytest.mark.realdata
@pytest.mark.parametrize(
    ("field", "missed_by_the_mask"),
    [("Baumacker", {date(2018, 7, 26)}), ("D2", set()), ("Viehhausen1", {date(2018, 3, 8)})],
)
def test_tum_wheat_scenes_that_the_mask_calls_clear(
    shared_data: Path, field: str, missed_by_the_mask: set[date]
) -> None:
    reflectance, clear, dates = read_chips(shared_data / "tum-wheat-2018", field)
    outliers = shadow_outliers(reflectance, BANDS, dates)
    verdicts = scene_verdicts(outliers, clear, dates, area=clear.any(axis=0))
    assert {v.date for v in verdicts if v.rejected and v.clear_share > 0.5} == missed_by_the_mask
    # Everything else that the mask calls clear is kept nearly whole; the shadow in the corner of 2018-06-16
    # goes.
    corner = {("Baumacker", date(2018, 6, 16))}
    for verdict in verdicts:
        if not verdict.rejected and (field, verdict.date) not in corner:
            assert verdict.outlier_share < 0.02, verdict


# ---- the rule as sentences, date by date ----
def plainly(series: np.ndarray, days: list[int]) -> np.ndarray:
    """What `shadow_outliers` says of one pixel [t, band] of `BANDS`, without any short cut."""
    rule = ShadowRule()
    clear = np.isfinite(series).all(axis=1)
    seen = clear.copy()

    def beside(i: int, step: int, most: int) -> list[int]:
        order = range(i - 1, -1, -1) if step < 0 else range(i + 1, len(days))
        return [j for j in order if clear[j] and abs(days[j] - days[i]) <= rule.max_gap_days][:most]

    def is_cloud(i: int) -> bool:
        sides = [beside(i, -1, 3), beside(i, 1, 3)]
        if not any(sides):
            return False
        needed = rule.cloud_rise if all(sides) else rule.end_cloud_rise
        medians = [np.median(series[side, :3].astype(float), axis=0) for side in sides if side]
        rise = series[i, :3].astype(float) - np.max(medians, axis=0)
        return bool((rise >= needed).all() and rise[0] >= rule.cloud_whiteness * rise[2])

    def is_shadow(i: int) -> bool:
        sides = [beside(i, -1, 2), beside(i, 1, 2)]
        best = [
            max(side, key=lambda j: series[j, 3:].astype(float).sum()) if side else None for side in sides
        ]
        if best == [None, None]:
            return False
        before, after = best
        if before is None or after is None:
            expected = series[before if after is None else after].astype(float)
        else:
            span = days[after] - days[before]
            weight = 0.5 if span == 0 else (days[after] - days[i]) / span
            expected = weight * series[before].astype(float) + (1 - weight) * series[after].astype(float)
        end = rule.end_ratio if before is None or after is None else 1.0
        limits = np.array([rule.visible_ratio] * 3 + [rule.infrared_ratio * end] * 3)
        return bool((series[i] < limits * expected).all())

    for test in (is_cloud, is_shadow):
        for _ in range(3):
            hits = [i for i in np.flatnonzero(clear) if test(i)]
            if not hits:
                break
            clear[hits] = False
    return seen & ~clear


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 2**32 - 1), st.integers(1, 20), st.integers(1, 80))
def test_the_bounds_that_spare_work_change_nothing(seed: int, count: int, width: int) -> None:
    rng = np.random.default_rng(seed)
    ground = SEASON[rng.integers(0, len(SEASON), count)][:, :, None, None]
    values = ground * rng.uniform(0.9, 1.1, (count, 6, 1, width))
    values = np.where(rng.random((count, 1, 1, width)) < 0.15, values * SHADOW[:, None, None], values)
    values = np.where(rng.random((count, 1, 1, width)) < 0.15, values * 0.6 + 0.25, values)
    values = np.where(rng.random((count, 1, 1, width)) < 0.03, values - 0.12, values)
    numbers = np.rint(values * 10_000).astype(np.int16)
    numbers[rng.random(numbers.shape) < 0.02] = -32768
    days = sorted(rng.integers(0, 200, count).tolist())
    dates = [date(2026, 1, 1) + timedelta(days=day) for day in days]
    reflectance = numbers.astype(np.float32) / np.float32(10_000)
    reflectance[numbers == -32768] = np.nan
    found = shadow_outliers(numbers, BANDS, dates)
    np.testing.assert_array_equal(found, shadow_outliers(reflectance, BANDS, dates))
    for x in range(width):
        np.testing.assert_array_equal(found[:, 0, x], plainly(reflectance[:, :, 0, x], days))
