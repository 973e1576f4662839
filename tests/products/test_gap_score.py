"""Gaps of an index: what is left out, what is scored, and a real patch where a line must be beaten."""

from __future__ import annotations

import json
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pytest
import rasterio

from eo_pipeline.errors import SourceError
from eo_pipeline.products.gap_score import Stack, read_stack, score_gaps
from tests.command import good, refused

DAYS = tuple(date(2025, 1, 5) + timedelta(days=10 * i) for i in range(30))


def straight(noise: float = 0.0) -> Stack:
    """40 × 40 pixels on a straight line through the year."""
    line = np.linspace(0.2, 0.8, 30, dtype=np.float32)[:, None, None]
    noisy = line + np.random.default_rng(1).normal(0, noise, (30, 40, 40))
    return Stack(noisy.astype(np.float32), DAYS)


def test_a_line_is_found_by_both_and_the_mean_is_off() -> None:
    score = score_gaps(straight(), months=(4, 6))
    assert score.dates == 9 and score.values == 9 * 1600  # 5 April to 24 June
    assert score.rmse["linear"] == pytest.approx(0, abs=1e-6) and score.rmse["ours"] < 1e-4
    assert score.rmse["mean"] > 0.05
    assert list(score.by_gap) == ["16-30"]  # 20 days between the views beside one of ten days


def test_noise_of_a_line_is_known_to_the_last_digit() -> None:
    """Between two noisy values the line errs by √(1 + 1/2) of the noise; more views tell more."""
    for blocks in (False, True):
        score = score_gaps(straight(0.02), blocks=blocks)
        if not blocks:
            assert score.rmse["linear"] == pytest.approx(0.02 * np.sqrt(1.5), rel=0.02)
        assert 0.02 < score.rmse["ours"] < score.rmse["linear"]
        assert score.interval[0] < score.below_linear < score.interval[1]
    assert score.dates == 28
    assert set(score.by_gap) == {"16-30", "31-60"}  # of blocks, neighbours may be out too
    assert 0.9 < score.values / (1600 * 28) < 1.1  # a fifth, five times


def test_cloudy_dates_and_values_beyond_the_first_and_last_view_are_not_scored() -> None:
    stack = straight()
    stack.values[10, :5] = np.nan  # 12.5 % cloud
    stack.values[:3, 0, 0] = np.nan
    score = score_gaps(stack)
    assert score.dates == 27
    # of the pixel in the corner two inner dates were not seen, and nothing comes before its first
    assert score.values == 27 * 1600 - 3
    with pytest.raises(SourceError, match=r"Only 3 clear dates.*--clear"):
        score_gaps(stack, months=(7, 7))


def test_a_raster_of_dates_is_read_and_other_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "ndvi.tif"
    with rasterio.open(
        path, "w", driver="GTiff", width=40, height=40, count=30, dtype="int16", nodata=-32768
    ) as raster:
        raster.write(np.rint(straight().values * 10_000).astype(np.int16))
        raster.scales = (0.0001,) * 30
        for band, day in enumerate(DAYS, start=1):
            raster.set_band_description(band, day.isoformat())
    stack = read_stack(path)
    assert stack.dates == DAYS
    np.testing.assert_allclose(stack.values, straight().values, atol=6e-5)

    with rasterio.open(path, "r+") as raster:
        raster.scales = (1.0,) * 30
    assert "reach 8000" in refused("evaluate", "growth", path)
    with rasterio.open(path, "r+") as raster:
        raster.set_band_description(1, "NDVI")
    assert "'NDVI' is no date" in refused("evaluate", "growth", path)
    np.savez(tmp_path / "bare.npz", NDVI=straight().values)
    assert "has no CLM, timestamps" in refused("evaluate", "growth", tmp_path / "bare.npz")
    clouds = np.zeros((30, 40, 39))
    np.savez(tmp_path / "odd.npz", NDVI=straight().values, CLM=clouds, timestamps=[str(d) for d in DAYS])
    assert "shapes do not fit: NDVI (30, 40, 40), CLM (30, 40, 39)" in refused(
        "evaluate", "growth", tmp_path / "odd.npz"
    )
    (tmp_path / "no.npz").write_bytes(b"no")
    assert "cannot be read as npz" in refused("evaluate", "growth", tmp_path / "no.npz")
    assert "like 4-10" in refused("evaluate", "growth", path, "--months", "0-13")


@pytest.mark.realdata
def test_real_gaps_of_the_growing_season_are_filled_a_tenth_better_than_by_a_line(
    shared_data: Path, tmp_path: Path
) -> None:
    with np.load(shared_data / "eolearn-testpatch" / "patch.npz", allow_pickle=False) as patch:
        part = {name: patch[name][:, ::3, ::3] for name in ("NDVI", "CLM", "IS_VALID")}
        np.savez(tmp_path / "part.npz", timestamps=patch["timestamps"], **part)
    told = json.loads(good("evaluate", "growth", tmp_path / "part.npz", "--json"))
    for kind in ("dates", "blocks"):
        assert told[kind]["below_linear"] >= 0.10, told[kind]
        assert told[kind]["below_linear_95"][0] > 0
        assert told[kind]["rmse"]["mean"] > told[kind]["rmse"]["linear"]
    assert told["dates"]["dates"] == 20 and told["dates_all_year"]["dates"] == 29
