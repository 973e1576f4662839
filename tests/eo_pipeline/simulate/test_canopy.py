"""Canopy reflectance against prosail's own result, and its limits."""

from __future__ import annotations

import numpy as np
import pytest

from eo_pipeline.simulate import canopy


def reflect(lai: float, cab: float = 48, brown: float = 0, *, ground: np.ndarray | None = None) -> np.ndarray:
    soil = canopy.soil(np.array([0.8], np.float32), np.array([0.7], np.float32)) if ground is None else ground
    one = np.ones(1, np.float32)
    return canopy.canopy_table().reflectance(
        lai * one, cab * one, brown * one, leaf_angle=50 * one, sun_zenith=38.0, ground=soil
    )[0]


def test_responses_are_normalised_and_centred() -> None:
    response, wavelength = canopy.band_responses(), np.arange(400, 2501)
    assert response.sum(1) == pytest.approx(np.ones(10))
    assert response @ wavelength == pytest.approx([b[0] for b in canopy.BANDS.values()], abs=0.5)


@pytest.mark.parametrize(("lai", "cab", "brown"), [(1.0, 48, 0.0), (4.0, 48, 0.0), (2.2, 22, 1.0)])
def test_table_agrees_with_prosail_at_a_node(lai: float, cab: float, brown: float) -> None:
    """Putting the soil below afterwards gives what prosail gives with the soil in it."""
    import prosail

    soil = 0.15 + 0.2 * np.arange(2101) / 2101
    spectrum = prosail.run_prosail(
        1.5, cab, 0.22 * cab, brown, 0.016 * (1 - 0.75 * brown), 0.006, lai, 50.0, 0.05, 38.0, 5.0, 95.0,
        prospect_version="D", rsoil0=soil,
    )  # fmt: skip
    response = canopy.band_responses()
    got = reflect(lai, cab, brown, ground=(response @ soil)[None].astype(np.float32))
    assert got == pytest.approx(response @ spectrum, abs=0.002)


def test_no_leaves_show_the_ground() -> None:
    ground = np.linspace(0.05, 0.5, 10, dtype=np.float32)[None]
    assert reflect(0.0, ground=ground) == pytest.approx(ground[0], abs=1e-6)


def test_everything_in_the_table_is_a_reflectance() -> None:
    terms = canopy.canopy_table().terms
    assert np.isfinite(terms).all() and terms.min() >= 0 and terms.max() <= 1
    rng = np.random.default_rng(0)
    n = 2000
    values = canopy.canopy_table().reflectance(
        rng.uniform(0, 9, n).astype(np.float32),
        rng.uniform(0, 80, n).astype(np.float32),
        rng.uniform(0, 1, n).astype(np.float32),
        leaf_angle=rng.uniform(30, 70, n).astype(np.float32),
        sun_zenith=30.0,
        ground=rng.uniform(0, 0.85, (n, 10)).astype(np.float32),
    )
    assert values.min() > 0 and values.max() < 1


def test_leaves_darken_red_and_brighten_infrared() -> None:
    bare, thin, dense = reflect(0.0), reflect(1.0), reflect(4.0)
    red, near, swir = (canopy.BAND_NAMES.index(b) for b in ("B04", "B08", "B11"))
    assert bare[red] > thin[red] > dense[red] and bare[near] < thin[near] < dense[near]
    assert bare[swir] > dense[swir]
    assert dense[red] < 0.05 and 0.35 < dense[near] < 0.6


def test_senescence_moves_towards_soil() -> None:
    red, near = canopy.BAND_NAMES.index("B04"), canopy.BAND_NAMES.index("B08")

    def ndvi(r: np.ndarray) -> float:
        return float((r[near] - r[red]) / (r[near] + r[red]))

    assert ndvi(reflect(3, 50, 0)) > 0.88 > ndvi(reflect(3, 20, 0.5)) > 0.7 > ndvi(reflect(3, 3, 1.0))


def test_wet_soil_is_darker() -> None:
    one = np.ones(1, np.float32)
    assert (canopy.soil(0.8 * one, 0.3 * one) < canopy.soil(0.8 * one, 0.9 * one)).all()
