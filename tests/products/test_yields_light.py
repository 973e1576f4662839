"""Yield from light: factors by hand, holes, counties drawn together, fields that sum to their county."""

from __future__ import annotations

import numpy as np
import pytest

from eo_pipeline.errors import SampleError
from eo_pipeline.products.yields import (
    CropLight,
    absorbed_share,
    field_yields,
    fit_counties,
    gross_production,
    light_use_yield,
    warmth_factor,
    water_factor,
)

WHEAT = CropLight.of("winter_wheat")


def test_factors_by_hand() -> None:
    assert absorbed_share([0.1, 0.5, 0.9]) == pytest.approx([0.0, 0.452, 0.948])
    assert warmth_factor([-5, 0, 20, 35, 50], WHEAT) == pytest.approx([0, 0, 1, 0, 0])
    # (10 · -25) / (10 · -25 - 10²)
    assert warmth_factor(10.0, WHEAT) == pytest.approx(250 / 350)
    assert water_factor([-1, 0, 0.5, 2]) == pytest.approx([0.5, 0.5, 0.75, 1.0])


def test_a_season_by_hand_and_with_holes() -> None:
    weather = {
        "temperature": np.full(6, 20.0),
        "radiation": np.full(6, 20.0),
        "wetness": np.ones(6),
        "days": np.full(6, 10.0),
    }
    ndvi = np.array([0.4, 0.5, 0.6, 0.7, 0.8, 0.8])
    whole = gross_production(ndvi, **weather, crop=WHEAT)
    by_hand = 2.14 * 0.48 * 20 * 10 * (1.24 * ndvi - 0.168).sum()
    assert whole == pytest.approx(by_hand)
    assert light_use_yield(whole, WHEAT) == pytest.approx(
        by_hand * 0.47 / 0.45 * 0.85 * 0.40 / 0.87 / 1.5  # 1 g/m² is 1/1.5 kg/mu
    )
    holed = np.stack([ndvi, ndvi, ndvi])
    holed[1, [2, 5]] = np.nan  # on a straight line and at the end
    holed[2, 1:5] = np.nan
    got = gross_production(holed, **weather, crop=WHEAT)
    assert got[:2].tolist() == pytest.approx([float(whole)] * 2)
    assert np.isnan(got[2])
    dry = gross_production(ndvi, **weather | {"wetness": np.zeros(6)}, crop=WHEAT)
    assert dry == pytest.approx(whole / 2)


def test_counties_are_fitted_with_shrinkage() -> None:
    rng = np.random.default_rng(0)
    true = np.exp(rng.normal(0.2, 0.15, 12))
    unit = np.repeat(np.arange(12), 8)
    light = rng.uniform(200, 400, 96)
    yields = light * true[unit] * np.exp(rng.normal(0, 0.1, 96))
    fit = fit_counties(light, yields, unit)
    got = np.array([fit.factors[str(i)] for i in range(12)])
    assert np.abs(np.log(got / true)).max() < 0.1
    assert fit.pooled == pytest.approx(np.exp(np.log(true).mean()), rel=0.05)
    assert 0.13 < fit.half_width < 0.21  # 1.645 · 0.1
    assert fit.apply([100.0, 100.0], ["0", "new"]) == pytest.approx([100 * got[0], 100 * fit.pooled])
    # where counties do not differ, one factor serves them all
    alike = fit_counties(light, light * np.exp(rng.normal(0, 0.1, 96)), unit)
    assert np.ptp(list(alike.factors.values())) < 0.1
    with pytest.raises(SampleError, match="2 rows have both a yield and light"):
        fit_counties([1.0, 2.0, np.nan], [1.0, 2.0, 3.0], ["a", "a", "b"])


def test_fields_share_out_the_yield_of_their_county() -> None:
    light = np.array([100.0, 200.0, np.nan, 300.0])
    area = np.array([1.0, 2.0, 1.0, 1.0])
    got = field_yields(light, area, county=250.0, low=220.0, high=280.0, half_width=np.log(1.1))
    assert np.isnan(got.value[2])
    seen = np.isfinite(light)
    assert np.average(got.value[seen], weights=area[seen]) == pytest.approx(250.0)
    assert got.value[3] == pytest.approx(3 * got.value[0])
    assert got.low[1] == pytest.approx(got.value[1] * (1 - np.hypot(0.12, 1 - 1 / 1.1)))
    assert got.high[1] == pytest.approx(got.value[1] * (1 + np.hypot(0.12, 0.1)))
    with pytest.raises(SampleError, match="None of the fields"):
        field_yields([np.nan], [1.0], county=250.0, low=220.0, high=280.0, half_width=0.1)
    with pytest.raises(
        SampleError, match=r"light use is known of 'rice' \(known: potato, spring_maize, winter"
    ):
        CropLight.of("rice")
