"""The land: every pixel in one segment, parcels of 0.2-3 ha along the contours."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from eo_pipeline.simulate import landscape


def test_pixel_grid_is_that_of_sentinel_2(land: landscape.Landscape) -> None:
    _, _, west, _, _, north = land.grid.transform
    assert (west - 499_980) % 20 == 0
    assert (4_000_020 - north) % 20 == 0


def test_segments_partition_the_piece(land: landscape.Landscape) -> None:
    counts = np.bincount(land.segment.ravel(), minlength=len(land.use))
    assert land.segment.min() == 0
    assert (counts == land.pixels).all() and counts.min() > 0
    assert counts.sum() == land.grid.size**2
    assert set(land.use[: land.n_parcels]) == {0}
    assert 0 not in set(land.use[land.n_parcels :])
    assert len(set(land.parcel_ids)) == land.n_parcels
    assert land.parcel_ids[0] == "620826-P0001"


def test_parcels_are_connected_and_of_terrace_size(land: landscape.Landscape) -> None:
    pixels = land.pixels[: land.n_parcels]
    assert pixels.min() >= 20  # 0.2 ha
    assert pixels.max() <= 320
    assert 0.4 <= np.median(pixels) / 100 <= 1.2
    for parcel in range(0, land.n_parcels, 7):
        assert ndimage.label(land.segment == parcel)[1] == 1


def test_parcels_on_slopes_follow_the_contour(land: landscape.Landscape) -> None:
    """Within a terrace heights differ less than among as many pixels in a square on the same slope."""
    narrower = []
    for parcel in range(land.n_parcels):
        here = land.segment == parcel
        slope, area = land.mean_slope[parcel], land.pixels[parcel]
        if slope > 0.2:
            square = slope * np.sqrt(area) * 10 / np.sqrt(12)  # standard deviation of height on that square
            narrower.append(land.elevation[here].std() / square)
    assert len(narrower) > 50
    assert np.median(narrower) < 0.75


def test_the_seed_decides(land: landscape.Landscape) -> None:
    again, other = landscape.build(2.0, seed=7), landscape.build(2.0, seed=8)
    assert (again.segment == land.segment).all() and (again.elevation == land.elevation).all()
    assert (other.elevation != land.elevation).any()


@pytest.mark.parametrize("scale", [3, 20])
def test_smooth_noise_has_unit_variance(scale: float) -> None:
    field = landscape.smooth_noise(600, scale, np.random.default_rng(1))
    assert field.std() == pytest.approx(1, abs=0.12)
    # neighbours resemble each other: exp(-d² / 4 s²) at distance d
    assert np.corrcoef(field[:, :-1].ravel(), field[:, 1:].ravel())[0, 1] == pytest.approx(
        np.exp(-1 / (4 * scale**2)), abs=0.01
    )
