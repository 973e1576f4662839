"""Yield from light on the twin: what its fields reflect against what they bore."""

from __future__ import annotations

from datetime import date, timedelta

import numpy as np
import pytest

from eo_pipeline.products.yields import (
    CropLight,
    field_yields,
    fit_counties,
    gross_production,
    light_use_yield,
)
from eo_pipeline.simulate import canopy, crops, scenes, truth
from eo_pipeline.simulate.scenes import World


@pytest.mark.parametrize(
    ("crop", "start", "dekads"), [("winter_wheat", (3, 5), 12), ("spring_maize", (5, 15), 13)]
)
def test_light_tells_fields_apart(world: World, crop: str, start: tuple[int, int], dekads: int) -> None:
    year = 2026
    fields = np.flatnonzero(world.plan[year].code[: world.land.n_parcels] == crops.CODE[crop])
    days = [date(year, *start) + timedelta(days=10 * i) for i in range(dekads)]
    red, nir = canopy.BAND_NAMES.index("B04"), canopy.BAND_NAMES.index("B08")
    segment, pixels = world.land.segment.ravel(), world.land.pixels
    ndvi = np.empty((len(fields), dekads))
    for i, day in enumerate(days):
        image = scenes.true_reflectance(world, day)
        index = (image[nir] - image[red]) / (image[nir] + image[red])
        ndvi[:, i] = (np.bincount(segment, index.ravel()) / pixels)[fields]
    ndvi[np.random.default_rng(0).random(ndvi.shape) < 0.25] = np.nan  # clouds
    yearly = np.array([(day - date(year, 7, 15)).days for day in days]) / 365 * 2 * np.pi
    light = light_use_yield(
        gross_production(
            ndvi,
            temperature=8 + 13 * np.cos(yearly),
            radiation=16 + 6 * np.cos(yearly),
            wetness=np.full(dekads, 0.7),
            days=np.full(dekads, 10),
            crop=CropLight.of(crop),
        ),
        CropLight.of(crop),
    )
    bore = truth.yields(world, year)[fields].astype(float)
    # textbook constants alone are of the right size
    assert 0.5 < np.nanmean(light) / bore.mean() < 2
    township = world.land.township[fields]
    train = np.arange(len(fields)) % 2 == 0
    fit = fit_counties(light[train], bore[train], township[train])
    said = fit.apply(light, township)
    test = ~train & np.isfinite(said)
    assert test.sum() > 15
    assert np.corrcoef(said[test], bore[test])[0, 1] > 0.6
    rmse = np.sqrt(np.mean((said - bore)[test] ** 2))
    assert rmse < 0.9 * np.sqrt(np.mean((bore[test] - bore[train].mean()) ** 2))
    # shared out by light, the county's yield is kept, and nine fields in ten lie within their interval
    area = pixels[fields].astype(float)
    mean = float(np.average(bore, weights=area))
    shared = field_yields(light, area, county=mean, low=mean, high=mean, half_width=fit.half_width)
    good = np.isfinite(shared.value)
    assert np.average(shared.value[good], weights=area[good]) == pytest.approx(mean)
    assert 0.84 <= ((bore >= shared.low) & (bore <= shared.high))[good].mean() <= 0.98
