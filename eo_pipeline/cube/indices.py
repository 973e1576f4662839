"""Spectral indices by name: formula, bands, physical range and source, as a table.

Bands go by their Sentinel-2 names; `ALIASES` says what other sensors and common naming call the same light.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float32]

#: Sentinel-2 band → the same light under other names.
ALIASES: Final[Mapping[str, tuple[str, ...]]] = {
    "B02": ("blue", "BAND13"),
    "B03": ("green", "BAND14"),
    "B04": ("red", "BAND15"),
    "B05": ("rededge1",),
    "B08": ("nir", "nir08", "B8A", "BAND16"),
    "B11": ("swir16",),
    "B12": ("swir22",),
}


@dataclass(frozen=True, slots=True)
class Index:
    """A spectral index: its bands, its formula on reflectance 0–1, the range physics allows, and where it is
    from.
    """

    name: str
    bands: tuple[str, ...]
    formula: Callable[..., Values]
    low: float
    high: float
    source: str


def _difference(first: Values, second: Values) -> Values:
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio: Values = (first - second) / (first + second)
    return ratio


def _evi(nir: Values, red: Values, blue: Values) -> Values:
    with np.errstate(divide="ignore", invalid="ignore"):
        value: Values = np.float32(2.5) * (nir - red) / (nir + 6 * red - np.float32(7.5) * blue + 1)
    return value


def _savi(nir: Values, red: Values) -> Values:
    with np.errstate(divide="ignore", invalid="ignore"):
        value: Values = np.float32(1.5) * (nir - red) / (nir + red + np.float32(0.5))
    return value


INDICES: Final[Mapping[str, Index]] = {
    index.name: index
    for index in (
        Index("NDVI", ("B08", "B04"), _difference, -1, 1, "Tucker 1979"),
        Index("NDMI", ("B08", "B11"), _difference, -1, 1, "Gao 1996"),
        Index("NDRE", ("B08", "B05"), _difference, -1, 1, "Gitelson & Merzlyak 1994"),
        Index("NDWI", ("B03", "B08"), _difference, -1, 1, "McFeeters 1996"),
        Index("NDTI", ("B11", "B12"), _difference, -1, 1, "van Deventer 1997"),
        Index("EVI", ("B08", "B04", "B02"), _evi, -1, 1, "Huete 2002, eq. 1"),
        Index("SAVI", ("B08", "B04"), _savi, -1, 1, "Huete 1988, L = 0.5"),
    )
}


def band_of(wanted: str, bands: Sequence[str]) -> str | None:
    """The name `bands` uses for the light of the Sentinel-2 band `wanted`; None where it is not there.

    >>> band_of("B08", ("B04", "B8A"))
    'B8A'
    """
    return next((name for name in (wanted, *ALIASES.get(wanted, ())) if name in bands), None)


def missing_for(feature: str, bands: Sequence[str]) -> str:
    """Why a feature cannot be had from `bands`; empty where it can.

    >>> missing_for("NDVI", ("B04", "B08")), missing_for("NDMI", ("B04", "B08"))
    ('', 'NDMI needs B11')
    """
    if feature in bands:
        return ""
    if feature not in INDICES:
        return f"{feature} is neither a band nor a known index ({', '.join(INDICES)})"
    lost = [band for band in INDICES[feature].bands if band_of(band, bands) is None]
    return f"{feature} needs {' and '.join(lost)}" if lost else ""


def within_range(feature: str, values: Values) -> Values:
    """Values of an index outside what physics allows become NaN (EVI of real archives reaches −1.6); bands
    pass.

    The same rule is used on cubes and on samples, so that a model never meets in the map what it never saw.
    """
    if feature not in INDICES:
        return values
    index = INDICES[feature]
    with np.errstate(invalid="ignore"):
        return np.where((values >= index.low) & (values <= index.high), values, np.float32(np.nan))


def feature_series(values: Values, bands: Sequence[str], features: Iterable[str]) -> Values:
    """Features of a series: bands as they are, indices computed where the source does not bring them.

    Parameters
    ----------
    values : float32 array (step, band, …)
        Reflectance 0–1 (or an index the source delivers as a band), NaN where not clear.
    bands : names of the second axis.
    features : names of what is wanted.

    Returns
    -------
    float32 array (step, feature, …)
    """
    places = {name: number for number, name in enumerate(bands)}
    columns = []
    for feature in features:
        if feature in places:
            column = values[:, places[feature]]
        else:
            index = INDICES[feature]
            inputs = [values[:, places[str(band_of(band, bands))]] for band in index.bands]
            column = index.formula(*inputs)
        columns.append(within_range(feature, column))
    return np.stack(columns, axis=1).astype(np.float32, copy=False)
