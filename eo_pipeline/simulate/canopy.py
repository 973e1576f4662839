"""Canopy reflectance in Sentinel-2 bands: PROSPECT-D leaves in a 4SAIL canopy (`prosail`) above any ground.

4SAIL is run once a node without ground; its transmittances are kept, so that soil, film, straw or water is
put below a canopy afterwards and exactly (Verhoef et al. 2007, 10.1109/TGRS.2007.895844).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float32]

#: Sentinel-2A bands: centre and width in nm (ESA, Sentinel-2 user guide, MSI spatial and spectral
#: resolution), native pixel in m. A response is modelled as a Gaussian whose full width at half maximum is
#: the band's width.
BANDS: Final = {
    "B02": (492.4, 66.0, 10),
    "B03": (559.8, 36.0, 10),
    "B04": (664.6, 31.0, 10),
    "B05": (704.1, 15.0, 20),
    "B06": (740.5, 15.0, 20),
    "B07": (782.8, 20.0, 20),
    "B08": (832.8, 106.0, 10),
    "B8A": (864.7, 21.0, 20),
    "B11": (1613.7, 91.0, 20),
    "B12": (2202.4, 175.0, 20),
}
BAND_NAMES: Final = tuple(BANDS)
COARSE: Final = tuple(index for index, (_, _, metres) in enumerate(BANDS.values()) if metres == 20)
FINE: Final = tuple(index for index, (_, _, metres) in enumerate(BANDS.values()) if metres == 10)

LEAF_ANGLES: Final = (35.0, 50.0, 65.0)
LAI: Final = (0.0, 0.1, 0.3, 0.6, 1.0, 1.5, 2.2, 3.0, 4.0, 5.5, 7.0)
CAB: Final = (2.0, 10.0, 22.0, 34.0, 48.0, 65.0)
BROWN: Final = (0.0, 0.3, 1.0)
SUN_ZENITH: Final = (12.0, 25.0, 38.0, 50.0, 60.0, 68.0)

#: What lies under or beside a canopy, reflectance per band of `BANDS`. Typical values after spectral
#: libraries in round numbers (our assumption); soil comes from PROSAIL's own dry and wet spectra, see `soil`.
SURFACES: Final = {
    "film": (0.27, 0.30, 0.33, 0.34, 0.35, 0.36, 0.37, 0.38, 0.37, 0.32),
    "shed_plastic": (0.31, 0.33, 0.34, 0.36, 0.38, 0.39, 0.40, 0.40, 0.33, 0.26),
    "straw": (0.11, 0.16, 0.21, 0.24, 0.27, 0.29, 0.31, 0.32, 0.36, 0.27),
    "built": (0.13, 0.15, 0.18, 0.19, 0.20, 0.21, 0.22, 0.23, 0.26, 0.25),
    "water": (0.07, 0.09, 0.08, 0.07, 0.05, 0.05, 0.04, 0.04, 0.02, 0.01),
    "snow": (0.80, 0.79, 0.78, 0.77, 0.76, 0.75, 0.73, 0.72, 0.12, 0.08),
    "yellow_petals": (0.06, 0.27, 0.26, 0.34, 0.43, 0.46, 0.47, 0.48, 0.26, 0.13),
    "white_petals": (0.34, 0.39, 0.41, 0.44, 0.49, 0.51, 0.51, 0.51, 0.29, 0.17),
    "blue_petals": (0.17, 0.14, 0.10, 0.22, 0.39, 0.43, 0.44, 0.45, 0.27, 0.14),
}

# PROSPECT-D: mesophyll structure, dry matter (g/cm²), equivalent water of a green leaf (cm), carotenoids per
# chlorophyll; hot spot, view zenith and relative azimuth. Middle values of Jacquemoud et al. 2009 for crops.
_N, _DRY, _WATER, _CAR_PER_CAB = 1.5, 0.006, 0.016, 0.22
_HOTSPOT, _VIEW_ZENITH, _AZIMUTH = 0.05, 5.0, 95.0
_PARTS: Final = ("rso", "tss", "tsd", "tdo", "too", "tsstoo", "rdd")


@dataclass(frozen=True, slots=True)
class CanopyTable:
    """4SAIL terms, shape (leaf angle, LAI, chlorophyll, brown, sun zenith, term, band), float32."""

    terms: Float

    def reflectance(
        self,
        lai: Float,
        cab: Float,
        brown: Float,
        *,
        leaf_angle: Float,
        sun_zenith: float,
        ground: Float,
    ) -> Float:
        """Bidirectional reflectance factors, 0-1, of n canopies above their grounds, shape (n, bands).

        Parameters
        ----------
        lai, cab, brown, leaf_angle : shape (n,)
            Leaf area (m²/m²), chlorophyll (µg/cm²), share of brown pigment, mean leaf inclination (degrees).
            Values outside the table are taken at its edge; the nearest tabulated leaf angle is used.
        sun_zenith : float
            Degrees.
        ground : shape (n, bands)
            Lambertian reflectance of what lies below.
        """
        sun, sun_weight = _bracket(np.array([sun_zenith], np.float32), SUN_ZENITH)
        at_sun = (1 - sun_weight[0]) * self.terms[:, :, :, :, sun[0]]
        at_sun = at_sun + sun_weight[0] * self.terms[:, :, :, :, sun[0] + 1]
        angle = np.abs(np.asarray(leaf_angle)[:, None] - np.array(LEAF_ANGLES)).argmin(1)
        axes = (_bracket(lai, LAI), _bracket(cab, CAB), _bracket(brown, BROWN))
        terms = np.zeros((len(lai), len(_PARTS), len(BANDS)), np.float32)
        for corner in np.ndindex(2, 2, 2):
            weight = np.ones(len(lai), np.float32)
            for step, (_, upper) in zip(corner, axes, strict=True):
                weight = weight * (upper if step else 1 - upper)
            place = [low + step for step, (low, _) in zip(corner, axes, strict=True)]
            terms += weight[:, None, None] * at_sun[angle, place[0], place[1], place[2]]
        rso, tss, tsd, tdo, too, tsstoo, rdd = np.moveaxis(terms, 1, 0)
        # Verhoef et al. 2007, surface reflectance of a canopy above a Lambertian ground.
        several = ((tss + tsd) * tdo + (tsd + tss * ground * rdd) * too) * ground / (1 - ground * rdd)
        return np.asarray(rso + tsstoo * ground + several, np.float32)


def _bracket(values: Float, nodes: tuple[float, ...]) -> tuple[NDArray[np.intp], Float]:
    """Lower node and the weight of the upper one."""
    grid = np.array(nodes, np.float32)
    clipped = np.clip(values, grid[0], grid[-1])
    low = np.clip(np.searchsorted(grid, clipped, side="right") - 1, 0, len(grid) - 2)
    return low, np.asarray((clipped - grid[low]) / (grid[low + 1] - grid[low]), np.float32)


def band_responses() -> NDArray[np.float64]:
    """Weights of the wavelengths 400-2500 nm (step 1 nm) in each band, rows sum to 1, shape (bands, 2101)."""
    wavelength = np.arange(400, 2501)
    rows = []
    for centre, width, _ in BANDS.values():
        weight = np.exp(-4 * np.log(2) * ((wavelength - centre) / width) ** 2)
        weight[np.abs(wavelength - centre) > 1.2 * width] = 0
        rows.append(weight / weight.sum())
    return np.array(rows)


@lru_cache(maxsize=1)
def canopy_table() -> CanopyTable:
    """Run PROSPECT-D and 4SAIL at every node (about two seconds; once a process)."""
    from prosail import run_prospect
    from prosail.FourSAIL import foursail

    response = band_responses()
    used = response.sum(0) > 0
    response = response[:, used]
    bare = np.zeros(int(used.sum()))
    shape = (len(LEAF_ANGLES), len(LAI), len(CAB), len(BROWN), len(SUN_ZENITH), len(_PARTS), len(BANDS))
    terms = np.zeros(shape, np.float32)
    # Without leaves the sky, sun and view paths are open.
    terms[:, 0, ..., _PARTS.index("tss"), :] = 1
    terms[:, 0, ..., _PARTS.index("too"), :] = 1
    terms[:, 0, ..., _PARTS.index("tsstoo"), :] = 1
    order = ("tss", "too", "tsstoo", "rdd", "tdd", "rsd", "tsd", "rdo", "tdo", "rso")
    for c, cab in enumerate(CAB):
        for b, brown in enumerate(BROWN):
            water = _WATER * (1 - 0.75 * brown)
            leaf = run_prospect(
                _N, cab, _CAR_PER_CAB * cab, brown, water, _DRY, ant=0.0, prospect_version="D"
            )
            reflected, transmitted = leaf[1][used], leaf[2][used]
            for a, angle in enumerate(LEAF_ANGLES):
                for k, lai in enumerate(LAI[1:], 1):
                    for s, zenith in enumerate(SUN_ZENITH):
                        out = foursail(
                            reflected,
                            transmitted,
                            angle,
                            0.0,
                            2,
                            lai,
                            _HOTSPOT,
                            zenith,
                            _VIEW_ZENITH,
                            _AZIMUTH,
                            bare,
                        )
                        found = dict(zip(order, out, strict=False))
                        for p, part in enumerate(_PARTS):
                            value = np.broadcast_to(found[part], bare.shape)
                            terms[a, k, c, b, s, p] = response @ value
    terms.flags.writeable = False
    return CanopyTable(terms)


@lru_cache(maxsize=1)
def _soil_spectra() -> tuple[Float, Float]:
    from prosail import spectral_lib

    response = band_responses()
    # Loess is calcareous and yellow: bright, with less blue than the library's soil.
    tint = np.array([0.82, 0.93, 1.0, 1.02, 1.03, 1.03, 1.02, 1.02, 1.0, 0.98])
    dry = (response @ spectral_lib.soil.rsoil1) * tint
    wet = (response @ spectral_lib.soil.rsoil2) * tint
    return dry.astype(np.float32), wet.astype(np.float32)


def soil(brightness: Float, dryness: Float) -> Float:
    """Loess reflectance, shape (n, bands), by PROSAIL's soil model.

    brightness · (dryness · dry + (1 - dryness) · wet)
    """
    dry, wet = _soil_spectra()
    mix = dryness[:, None] * dry + (1 - dryness[:, None]) * wet
    return np.asarray(brightness[:, None] * mix, np.float32)


def surface(name: str) -> Float:
    """Reflectance of one of `SURFACES`, shape (bands,)."""
    return np.array(SURFACES[name], np.float32)
