"""Surface water of one image: how likely each pixel is open water, from Sentinel-1, Sentinel-2 or both.

Functions on arrays; files are read and written by `water_map`. Evidence is a log-odds a pixel: above 0 is
water. Where an image shows both water and land it is divided by its own values; where it does not, by fixed
limits of the table of thresholds, since a histogram with one peak has no place to be cut.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from eo_pipeline.products.thresholds import thresholds

Float = NDArray[np.float32]

#: Bands of Sentinel-2 that are looked at.
OPTICAL: Final = ("B02", "B03", "B04", "B08", "B11")
#: Bands of Sentinel-1.
RADAR: Final = ("VV", "VH")
#: Pixels around a block that its own pixels' evidence rests on.
HALO: Final = 3
_BINS: Final = 256
#: Ashman et al. 1994, eq. 1: two normal distributions are apart from D = 2 on.
_APART: Final = 2.0
#: A class with a smaller share of a tile is no second peak.
_SHARE: Final = 0.10


@dataclass(frozen=True, slots=True)
class Peaks:
    """Two normal distributions that make up a histogram: the low one and the high one.

    `share` is that of the low one.
    """

    share: float
    low: float
    low_sd: float
    high: float
    high_sd: float

    @property
    def apart(self) -> float:
        """Ashman's D: distance of the means by their spread."""
        return float(np.sqrt(2) * (self.high - self.low) / np.hypot(self.low_sd, self.high_sd))

    @property
    def two(self) -> bool:
        """Whether these are two classes and not one that was cut in half."""
        return self.apart > _APART and _SHARE < self.share < 1 - _SHARE


@dataclass(frozen=True, slots=True)
class RadarRule:
    """Backscatter of water and of land by polarisation, dB; `prior` is the water's share of the image.

    `adapted` says whether it is the image's own, or the table's.
    """

    peaks: Mapping[str, Peaks]
    prior: float
    adapted: bool


@dataclass(frozen=True, slots=True)
class OpticalRule:
    """Wetness from which a pixel is water; `adapted` as in `RadarRule`."""

    limit: float
    adapted: bool


def otsu(values: Float) -> float:
    """The cut that leaves the least variance within both sides (Otsu 1979, eq. 18); NaN without values.

    >>> 0.2 < otsu(np.array([0.1, 0.12, 0.11, 0.9, 0.88], dtype=np.float32)) < 0.88
    True
    """
    counts, centres = _histogram(values)
    total = counts.sum()
    if total == 0:
        return float("nan")
    below = np.cumsum(counts) / total
    mean = np.cumsum(counts * centres) / total
    with np.errstate(divide="ignore", invalid="ignore"):
        between = (mean[-1] * below - mean) ** 2 / (below * (1 - below))
    between[~np.isfinite(between)] = -1
    best = np.flatnonzero(between >= between.max() * (1 - 1e-12))
    return float(centres[best].mean() + (centres[1] - centres[0]) / 2)


def two_peaks(values: Float) -> Peaks | None:
    """Two normal distributions fitted to a histogram; None where there are too few values.

    The start is the minimum error cut of Kittler & Illingworth 1986 (eq. 15). Each side of it is a
    distribution without its tail, so the fit is finished by expectation maximisation.
    """
    counts, centres = _histogram(values)
    if counts.sum() < 100 or centres[1] == centres[0]:
        return None
    cut = _minimum_error(counts, centres)
    low = np.where(np.arange(_BINS) <= cut, 1.0, 0.0)
    floor = 2 * (centres[1] - centres[0])
    peaks = None
    for _ in range(60):
        peaks = _moments(counts, centres, low, floor)
        if peaks is None:
            return None
        a = np.log(peaks.share) - np.log(peaks.low_sd) - 0.5 * ((centres - peaks.low) / peaks.low_sd) ** 2
        b = (
            np.log(1 - peaks.share) - np.log(peaks.high_sd)
            - 0.5 * ((centres - peaks.high) / peaks.high_sd) ** 2
        )  # fmt: skip
        low = 1 / (1 + np.exp(np.clip(b - a, -50, 50)))
    return peaks


def _histogram(values: Float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    known = values[np.isfinite(values)]
    if known.size == 0:
        return np.zeros(_BINS), np.linspace(0, 1, _BINS)
    low, high = np.percentile(known, (0.1, 99.9))
    if high <= low:
        high = low + 1e-6
    counts, edges = np.histogram(np.clip(known, low, high), bins=_BINS, range=(float(low), float(high)))
    return counts.astype(np.float64), (edges[:-1] + edges[1:]) / 2


def _minimum_error(counts: NDArray[np.float64], centres: NDArray[np.float64]) -> int:
    share = np.cumsum(counts) / counts.sum()
    first = np.cumsum(counts * centres) / counts.sum()
    second = np.cumsum(counts * centres**2) / counts.sum()
    with np.errstate(divide="ignore", invalid="ignore"):
        low = second / share - (first / share) ** 2
        high = (second[-1] - second) / (1 - share) - ((first[-1] - first) / (1 - share)) ** 2
        error = share * np.log(low) + (1 - share) * np.log(high)
        error -= 2 * (share * np.log(share) + (1 - share) * np.log(1 - share))
    error[~np.isfinite(error) | (share < 0.01) | (share > 0.99)] = np.inf
    return int(np.argmin(error)) if np.isfinite(error).any() else int(np.searchsorted(share, 0.5))


def _moments(
    counts: NDArray[np.float64], centres: NDArray[np.float64], low: NDArray[np.float64], floor: float
) -> Peaks | None:
    left, right = counts * low, counts * (1 - low)
    if min(left.sum(), right.sum()) < 1e-3 * counts.sum():
        return None
    means = [float((part * centres).sum() / part.sum()) for part in (left, right)]
    spreads = [
        max(float(np.sqrt((part * (centres - mean) ** 2).sum() / part.sum())), floor)
        for part, mean in zip((left, right), means, strict=True)
    ]
    return Peaks(float(left.sum() / counts.sum()), means[0], spreads[0], means[1], spreads[1])


# ---- Sentinel-1 ---------------------------------------------------------------------------------------
def calm(decibel: Float) -> Float:
    """Backscatter with less speckle: the mean power of 3 × 3 pixels, in dB; NaN stays."""
    power = np.where(np.isfinite(decibel), 10 ** (decibel / np.float32(10)), 0)
    mean = _box(power.astype(np.float32)) / np.maximum(_box(np.isfinite(decibel)), np.float32(1e-6))
    with np.errstate(divide="ignore"):
        out: Float = np.where(np.isfinite(decibel), 10 * np.log10(mean), np.nan).astype(np.float32)
    return out


def _box(values: NDArray[np.generic]) -> Float:
    from scipy.ndimage import uniform_filter

    out: Float = uniform_filter(values.astype(np.float32), 3, mode="nearest")
    return out


def fit_radar(tiles: Sequence[Mapping[str, Float]]) -> RadarRule:
    """Backscatter of water and land, from the tiles of an image that show both.

    Parameters
    ----------
    tiles : of polarisation → float32 [y, x]
        Backscatter in dB with its speckle calmed, NaN where nothing was measured.

    Notes
    -----
    Tiles with two peaks instead of the whole image, as a little water in much land leaves no peak of its own
    (Martinis, Twele & Voigt 2009; Chini et al. 2017). The low peak must be as dark as water can be. The share
    of water in the image is then found by Saerens et al. 2002, eq. 2.4.
    """
    table = thresholds()
    found: dict[str, Peaks] = {}
    adapted = False
    for name in RADAR:
        key = f"water.{name.lower()}"
        spread = table[f"{key}_spread"].value
        fixed = Peaks(0.5, table[f"{key}_water"].value, spread, table[f"{key}_land"].value, spread)
        limit = (fixed.low + fixed.high) / 2
        both = [
            tile[name].ravel()
            for tile in tiles
            if (peaks := two_peaks(tile[name])) is not None and peaks.two and peaks.low < limit < peaks.high
        ]
        own = two_peaks(np.concatenate(both)) if both else None
        if own is not None and own.apart > _APART and own.low < limit < own.high:
            found[name], adapted = own, True
        else:
            found[name] = fixed
    rule = RadarRule(found, 0.5, adapted)
    evidence = [_radar_odds(tile, rule) for tile in tiles]
    return RadarRule(found, _share_of(evidence), adapted)


def radar_evidence(tile: Mapping[str, Float], rule: RadarRule) -> Float:
    """Log-odds of water from calmed backscatter, float32 [y, x], NaN where nothing was measured."""
    odds = _radar_odds(tile, rule) + np.float32(np.log(rule.prior / (1 - rule.prior)))
    return odds.astype(np.float32, copy=False)


def _radar_odds(tile: Mapping[str, Float], rule: RadarRule) -> Float:
    """Log of how much likelier the values are over water than over land.

    A value beyond a mean counts as the mean: a still darker lake is no less a lake because the land's spread
    is wider. Both polarisations share their speckle in part, so their sum is not taken whole.
    """
    total = np.zeros(tile[RADAR[0]].shape, np.float32)
    for name, peaks in rule.peaks.items():
        value = np.clip(tile[name], peaks.low, peaks.high)
        water = -0.5 * ((value - peaks.low) / peaks.low_sd) ** 2 - np.log(peaks.low_sd)
        land = -0.5 * ((value - peaks.high) / peaks.high_sd) ** 2 - np.log(peaks.high_sd)
        total += np.float32(0.7) * (water - land).astype(np.float32)
    return total


def _share_of(odds: Sequence[Float]) -> float:
    known = np.concatenate([item[np.isfinite(item)] for item in odds] or [np.zeros(0, np.float32)])
    if known.size == 0:
        return 0.5
    ratio = np.exp(np.clip(known, -30, 30).astype(np.float64))
    share = 0.1
    for _ in range(20):
        share = float(np.mean(share * ratio / (share * ratio + 1 - share)))
        share = min(max(share, 0.01), 0.5)
    return share


# ---- Sentinel-2 ---------------------------------------------------------------------------------------
def green_swir(bands: Mapping[str, Float]) -> Float:
    """(green − short-wave infrared) / their sum (Xu 2006, MNDWI), float32 [y, x]."""
    return _difference(bands["B03"], bands["B11"])


def wetness(bands: Mapping[str, Float]) -> Float:
    """Mean of MNDWI and of visible against infrared light, −1 to 1, float32 [y, x].

    The second is the test of Jones 2019 (green + red > near + short-wave infrared) as a difference by its
    sum: a shadow on leaves is dark in the short-wave infrared as water is, but not in the near one.
    """
    seen, unseen = bands["B03"] + bands["B04"], bands["B08"] + bands["B11"]
    mean: Float = (green_swir(bands) + _difference(seen, unseen)) / np.float32(2)
    return mean


def _difference(first: Float, second: Float) -> Float:
    # atmospheric correction leaves dark pixels at or below 0
    a, b = np.maximum(first, np.float32(1e-3)), np.maximum(second, np.float32(1e-3))
    ratio: Float = (a - b) / (a + b)
    return ratio


def hidden(bands: Mapping[str, Float]) -> NDArray[np.bool_]:
    """Where cloud or snow covers the ground: bright in blue and in the near infrared alike."""
    limit = np.float32(thresholds()["water.bright"].value)
    found: NDArray[np.bool_] = (bands["B02"] > limit) & (bands["B08"] > limit)
    return found


def fit_optical(tiles: Sequence[Float]) -> OpticalRule:
    """The wetness between land and water, from the tiles of an image that show both.

    `tiles` are of `wetness`, NaN where hidden. A limit outside the table's range is none of water, and the
    nearer end is taken.
    """
    table = thresholds()
    fixed = table["water.wetness"].value
    rails = table["water.wetness_low"].value, table["water.wetness_high"].value
    both = [
        tile.ravel()
        for tile in tiles
        if (peaks := two_peaks(tile)) is not None and peaks.two and peaks.low < fixed < peaks.high
    ]
    own = two_peaks(np.concatenate(both)) if both else None
    if own is None or not own.low < fixed < own.high:
        return OpticalRule(fixed, False)
    # a pixel half of water and half of land lies about halfway between them
    return OpticalRule(float(np.clip((own.low + own.high) / 2, *rails)), True)


def optical_evidence(bands: Mapping[str, Float], rule: OpticalRule) -> Float:
    """Log-odds of water from reflectance 0-1, float32 [y, x]; NaN where unknown or hidden."""
    odds = np.clip(25 * (wetness(bands) - np.float32(rule.limit)), -6, 6)
    # no open water is as bright in the infrared, whatever the ratios say
    odds = np.where(bands["B08"] > np.float32(thresholds()["water.infrared"].value), -6, odds)
    out: Float = np.where(hidden(bands), np.nan, odds).astype(np.float32)
    return out


# ---- both ---------------------------------------------------------------------------------------------
def decide(optical: Float | None, radar: Float | None) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Which pixels are water, and which are known at all.

    Radar weighs less where the optical image sees the ground, and alone decides where it does not: wind makes
    water bright and a smooth field is dark, while colour is mistaken for other reasons.
    """
    parts = [item for item in (optical, radar) if item is not None]
    if optical is not None and radar is not None:
        aside = np.where(np.isfinite(radar), np.clip(radar, -3, 3) / 2, 0)
        odds = np.where(np.isfinite(optical), optical + aside, radar)
    else:
        odds = parts[0]
    known: NDArray[np.bool_] = np.isfinite(odds)
    water = np.zeros(odds.shape, dtype=bool)
    if known.any():
        filled = np.where(known, np.clip(odds, -4, 4), 0).astype(np.float32)
        # half of the pixel's own and half of the ring's: specks go, a river one pixel wide stays
        water = known & (0.4375 * filled + 0.5625 * _box(filled) > 0)
    return water, known
