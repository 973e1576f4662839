"""Yield from light: what a canopy absorbed, what it made of it, and what of that is harvested.

The light use efficiency model (Monteith 1972; CASA: Potter et al. 1993) on arrays of dekads: no files, no
weather service. Its constants are textbook values on trial (`thresholds.csv`, light_use.*); a fit to county
yields scales them, so that only the differences between fields and years rest on the light.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from eo_pipeline.errors import SampleError
from eo_pipeline.products.thresholds import thresholds
from models.intervals import group_quantile

Float = NDArray[np.float64]

#: Share of the sun's energy in 400-700 nm.
PAR_SHARE: Final = 0.48
#: Share of gross production that stays after respiration (Waring et al. 1998), and of carbon in dry matter.
NET_SHARE: Final = 0.47
CARBON_SHARE: Final = 0.45
#: Dekads with a view that a season needs.
MIN_DEKADS: Final = 3
#: g/m² to kg/mu: 1 mu is 10 000 / 15 m².
_KG_PER_MU: Final = 10_000 / 15 / 1000


@dataclass(frozen=True)
class CropLight:
    """Constants of a crop.

    Attributes
    ----------
    eps_max : float
        Most carbon made of light absorbed, g C per MJ.
    t_min, t_opt, t_max : float
        Temperatures of no, best and no growth, °C.
    harvestable, harvest_index, moisture : float
        Share of dry matter above the ground (or in tubers), share of that which is harvested, and water in
        the harvest as it is weighed.
    """

    eps_max: float
    t_min: float
    t_opt: float
    t_max: float
    harvest_index: float
    moisture: float
    harvestable: float

    @classmethod
    def of(cls, crop: str) -> CropLight:
        """Constants of a crop from the table of thresholds.

        >>> CropLight.of("winter_wheat").moisture
        0.13

        Raises
        ------
        SampleError
            The table has no such crop.
        """
        prefix = f"light_use.{crop}."
        own = {k.removeprefix(prefix): v.value for k, v in thresholds().items() if k.startswith(prefix)}
        if not own:
            known = sorted({k.split(".")[1] for k in thresholds() if k.startswith("light_use.")})
            raise SampleError(
                f"No light use is known of {crop!r} (known: {', '.join(known)}). Add its rows "
                f"light_use.{crop}.… to "
                "thresholds.csv."
            )
        return cls(**own)


def absorbed_share(ndvi: ArrayLike) -> Float:
    """Share of the light for photosynthesis that a canopy absorbs, 0-0.95.

    1.24 · NDVI - 0.168 (Sims et al. 2005, as in EC-LUE: Yuan et al. 2007, eq. 3).
    """
    return np.asarray(np.clip(1.24 * np.asarray(ndvi, np.float64) - 0.168, 0.0, 0.95))


def warmth_factor(temperature: ArrayLike, crop: CropLight) -> Float:
    """How far warmth lets a crop use light, 0-1 (Raich et al. 1991, eq. 8; also EC-LUE)."""
    t = np.asarray(temperature, np.float64)
    inside = np.minimum((t - crop.t_min) * (t - crop.t_max), 0.0)
    return np.asarray(inside / np.minimum(inside - (t - crop.t_opt) ** 2, -1e-9))


def water_factor(wetness: ArrayLike) -> Float:
    """How far water lets a crop use light, 0.5-1: 0.5 + 0.5 · E / E0 (Potter et al. 1993, eq. 8).

    `wetness` is actual by potential evapotranspiration, 0-1.
    """
    return np.asarray(0.5 + 0.5 * np.clip(np.asarray(wetness, np.float64), 0.0, 1.0))


def gross_production(
    ndvi: ArrayLike,
    *,
    temperature: ArrayLike,
    radiation: ArrayLike,
    wetness: ArrayLike,
    days: ArrayLike,
    crop: CropLight,
) -> Float:
    """Carbon made from light over the dekads given, g C/m².

    Parameters
    ----------
    ndvi : (..., d)
        Of fields or pixels by dekad, NaN where nothing was seen: filled in a straight line, at the ends by
        the nearest view. Fewer than `MIN_DEKADS` views give NaN.
    temperature, radiation, wetness : (d,) or (..., d)
        Mean °C, MJ/m² a day of global radiation, and actual by potential evapotranspiration.
    days : (d,)
        Days of each dekad that lie in the season.
    crop : CropLight

    Returns
    -------
    (...) float
        GPP = Σ eps_max · f(T) · f(W) · fAPAR · PAR · days.
    """
    seen = _filled(np.asarray(ndvi, np.float64))
    par = PAR_SHARE * np.asarray(radiation, np.float64) * np.asarray(days, np.float64)
    use = crop.eps_max * warmth_factor(temperature, crop) * water_factor(wetness)
    return np.asarray((absorbed_share(seen) * use * par).sum(axis=-1))


def light_use_yield(production: ArrayLike, crop: CropLight) -> Float:
    """Yield in kg/mu at the moisture of the harvest, from gross production in g C/m²."""
    dry = np.asarray(production, np.float64) * NET_SHARE / CARBON_SHARE
    harvest = dry * crop.harvestable * crop.harvest_index / (1 - crop.moisture)
    return np.asarray(harvest * _KG_PER_MU)


@dataclass(frozen=True)
class CountyFit:
    """What light says of a yield is multiplied by, county by county.

    Attributes
    ----------
    factors : dict
        Factor of each county of the fit.
    pooled : float
        For a county that was not in it.
    half_width : float
        Nine logs of yield in ten are no further from the fit (conformal quantile of its rows).
    """

    factors: dict[str, float]
    pooled: float
    half_width: float

    def apply(self, light: ArrayLike, unit: ArrayLike) -> Float:
        """Yields (n,) of rows from what light says of them (n,) and their counties (n,)."""
        factor = [self.factors.get(str(name), self.pooled) for name in np.asarray(unit).tolist()]
        return np.asarray(np.asarray(light, np.float64) * np.array(factor))


def fit_counties(light: ArrayLike, yields: ArrayLike, unit: ArrayLike) -> CountyFit:
    """Scale light to yields, each county's factor drawn towards all counties'.

    The log of yield by light is a county's own mean about a common one: a county with n rows counts by
    tau² / (tau² + sigma² / n), tau² and sigma² by analysis of variance (Efron & Morris 1975).

    Parameters
    ----------
    light, yields : (n,)
        What light says and what was harvested, in one unit of measure; rows with NaN or 0 are left out.
    unit : (n,)
        County of each row.

    Raises
    ------
    SampleError
        Fewer than three rows.
    """
    x, y = np.asarray(light, np.float64), np.asarray(yields, np.float64)
    name = np.asarray(unit).astype(str)
    good = np.isfinite(x) & np.isfinite(y) & (x > 0) & (y > 0)
    if good.sum() < 3:
        raise SampleError(
            f"{int(good.sum())} rows have both a yield and light above 0; at least 3 are needed to fit "
            "counties. Give "
            "yields of more years, counties or fields."
        )
    ratio = np.log(y[good] / x[good])
    names, code = np.unique(name[good], return_inverse=True)
    count = np.bincount(code)
    means = np.bincount(code, ratio) / count
    within = float(((ratio - means[code]) ** 2).sum() / max(len(ratio) - len(names), 1))
    common = float(np.average(means, weights=count))
    spare = count.sum() - (count**2).sum() / count.sum()
    between = float((count * (means - common) ** 2).sum()) - (len(names) - 1) * within
    tau2 = max(between / spare, 0.0) if spare > 0 else 0.0
    weight = tau2 / (tau2 + within / count) if tau2 > 0 else np.zeros(len(names))
    own = common + weight * (means - common)
    return CountyFit(
        factors={str(one): float(np.exp(value)) for one, value in zip(names, own, strict=True)},
        pooled=float(np.exp(common)),
        half_width=group_quantile(np.abs(ratio - own[code]), np.arange(len(ratio))),
    )


@dataclass(frozen=True)
class FieldYields:
    """Yields of fields with a 90 % interval, (n,), in the unit of the county's yield; NaN without light."""

    value: Float
    low: Float
    high: Float


def field_yields(
    light: ArrayLike,
    area: ArrayLike,
    *,
    county: float,
    low: float,
    high: float,
    half_width: float,
) -> FieldYields:
    """Share a county's yield out to its fields by their light.

    The mean of the fields, weighted by area, is the county's yield, so maps and tables agree. A field's
    interval is the county's and the fields' own (`CountyFit.half_width`) together.
    """
    x, weight = np.asarray(light, np.float64), np.asarray(area, np.float64)
    seen = np.isfinite(x) & (weight > 0)
    if not seen.any() or not np.average(x[seen], weights=weight[seen]) > 0:
        raise SampleError(
            "None of the fields has both an area and a season of light. Check that the map of parcels lies "
            "over the "
            "cube, and that the season has clear dekads."
        )
    value = np.where(seen, county * x / np.average(x[seen], weights=weight[seen]), np.nan)
    return FieldYields(
        value=value,
        low=np.maximum(value * (1 - np.hypot(1 - low / county, 1 - np.exp(-half_width))), 0.0),
        high=value * (1 + np.hypot(high / county - 1, np.exp(half_width) - 1)),
    )


def _filled(ndvi: Float) -> Float:
    """Series (..., d) without holes; NaN throughout where there is too little to fill from."""
    flat = ndvi.reshape(-1, ndvi.shape[-1]).copy()
    step = np.arange(flat.shape[1])
    seen = np.isfinite(flat)
    for row, here in zip(flat, seen, strict=True):
        if here.sum() < min(MIN_DEKADS, len(step)):
            row[:] = np.nan
        elif not here.all():
            row[~here] = np.interp(step[~here], step[here], row[here])
    return flat.reshape(ndvi.shape)
