"""What has to be added to a scene's numbers before they are reflectance, proven from four sources.

Since baseline 04.00 (January 2022) ESA adds 1000 to every number, so that dark ground need not be negative;
BOA_ADD_OFFSET = −1000 takes it away again. Some archives take it away themselves, and their items are wrong
about it often enough that no single source is believed:

1. BOA_ADD_OFFSET in the product's metadata,
2. the processing baseline in the product's name (the day of sensing says nothing: old years are reprocessed),
3. what the archive is known to do, or says it did,
4. the pixels: clear dark ground is close to 0, so it lies near 0 or near 1000.

reflectance = (DN + offset) / quantification.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from eo_pipeline.acquire.sources.base import READ_OPTIONS
from eo_pipeline.acquire.windows import Raster
from eo_pipeline.errors import RadiometryError
from eo_pipeline.scenes.sentinel2 import Sentinel2Product

Verdict = Literal["proven", "quarantined"]

#: What ESA adds since baseline 04.00, as BOA_ADD_OFFSET takes it away again.
SHIFT: Final = -1000
FIRST_SHIFTED: Final = "04.00"

#: What archives do with ESA's numbers. "flag" is told item by item in earthsearch:boa_offset_applied, which
#: is wrong both in known and in unknown places (cirrus-geo/cirrus-earth-search#33, Element84/earth-search#66
#: and #71): with a shifted baseline the pixels have to agree before it is believed.
PROVIDERS: Final = {
    "safe": "raw",
    "cdse": "raw",
    "dhus": "raw",
    "planetary-computer": "raw",
    "earth-search-c1": "raw",
    "earth-search": "flag",
}

#: Numbers below this on clear dark ground cannot have been shifted: −0.01 is as negative as an atmospheric
#: correction that works makes a surface.
DARK_LIMIT: Final = 900
#: Dark targets brighter than this (0.06 if shifted) prove nothing: haze, or a scene without dark ground.
DARK_HIGHEST: Final = 1600
#: Of the dark targets the darkest twentieth is looked at, band by band.
_DARK_QUANTILE: Final = 0.05
#: Fewer dark targets than this decide nothing.
FEWEST_DARK: Final = 200
#: Classes of SCL on clear ground; those of them that are dark in red, blue or short-wave infrared, which is
#: vegetation and water; and topographic shadow, asked only where there is too little of those (atmospheric
#: correction overdoes it there).
_CLEAR: Final = (2, 4, 5, 6, 7)
_DARK: Final = (4, 6)
_SHADOW: Final = 2
_BANDS: Final = ("B02", "B04", "B12")
#: Pixels a side that are read at most: from the reduced resolutions that JP2 and COG hold already.
_SIDE: Final = 700


@dataclass(frozen=True, slots=True)
class DarkTargets:
    """What the pixels tell.

    `share` is the share of clear land numbers below 1000, `darkest` the 5 % quantile of the dark targets in
    the darkest of B02, B04 and B12, `count` how many dark targets there are, `below` how many clear pixels
    hold a number below 900, `clear` how many clear pixels there are, all of them in the reduced picture that
    was read.
    """

    share: float
    darkest: float
    count: int
    below: int
    clear: int


@dataclass(frozen=True, slots=True)
class OffsetProof:
    """What each of the four sources says, and the verdict.

    `metadata` and `name` speak of ESA's own numbers; `provider` and `pixels` of the files at hand, which is
    the same unless the provider has taken the offset away. None is "says nothing". `offset` is what is to be
    added; in quarantine it means nothing.
    """

    metadata: int | None
    name: int | None
    provider: int | None
    pixels: int | None
    offset: int
    verdict: Verdict
    reason: str
    dark: DarkTargets | None = None

    @property
    def proven(self) -> bool:
        """Whether the scene may be used."""
        return self.verdict == "proven"

    def require(self, name: str) -> int:
        """The offset, if it is proven.

        Raises
        ------
        RadiometryError
            The scene is in quarantine; the message says why.
        """
        if not self.proven:
            raise RadiometryError(
                f"{name} is in quarantine: {self.reason} Leave it out, or fetch the observation from another "
                "provider."
            )
        return self.offset


def shifted(baseline: str) -> bool | None:
    """Whether ESA shifted the numbers of a baseline; None where the baseline is unknown.

    >>> shifted("05.09"), shifted("02.14"), shifted("")
    (True, False, None)
    """
    return baseline >= FIRST_SHIFTED if baseline else None


def prove_offset(product: Sentinel2Product, *, pixels: bool = True) -> OffsetProof:
    """Prove what has to be added to the numbers of a product.

    Sources that say nothing are passed over; those that speak must agree, and at least two must speak. With
    `pixels` False the pixels are not asked (for metadata without rasters).

    Raises
    ------
    SourceError
        A raster the pixel test needs is missing or damaged.
    """
    dark = dark_targets(product) if pixels else None
    return weigh(product, dark)


def weigh(product: Sentinel2Product, dark: DarkTargets | None) -> OffsetProof:
    """The verdict over a product, given what its pixels tell; see `prove_offset`."""
    said = _Said(
        metadata=_from_metadata(product),
        name=_shift_of(product.name_baseline),
        provider=_from_provider(product),
        pixels=None if dark is None else judge_dark(dark),
        taken=PROVIDERS.get(product.provider) == "flag" and product.applied is True,
    )
    doubt = _doubt(product, said, dark)
    agreed = "" if doubt else f"{', '.join(said.witnesses)} agree."
    return OffsetProof(
        said.metadata,
        said.name,
        said.provider,
        said.pixels,
        0 if doubt else said.at_hand[0],
        "quarantined" if doubt else "proven",
        doubt or agreed,
        dark,
    )


@dataclass(frozen=True, slots=True)
class _Said:
    """What the four sources say; `taken`: the provider says it took the offset away."""

    metadata: int | None
    name: int | None
    provider: int | None
    pixels: int | None
    taken: bool

    @property
    def esa(self) -> list[int]:
        """What is said of the numbers as ESA wrote them."""
        return [value for value in (self.metadata, self.name) if value is not None]

    @property
    def at_hand(self) -> list[int]:
        """What follows for the files at hand, a source each."""
        esa = [0] * len(self.esa) if self.taken else self.esa
        return [*esa, *(value for value in (self.provider, self.pixels) if value is not None)]

    @property
    def witnesses(self) -> list[str]:
        """The sources that say anything."""
        names = ("metadata", "name", "provider", "pixels")
        return [name for name in names if getattr(self, name) is not None]


def _doubt(product: Sentinel2Product, said: _Said, dark: DarkTargets | None) -> str:
    """Why the offset is not proven; empty where it is."""
    bands = sorted(set((product.offsets or {}).values()))
    named, baseline = product.name_baseline, product.baseline
    flagged = PROVIDERS.get(product.provider) == "flag"
    doubt = ""
    if len(bands) > 1:
        listed = ", ".join(f"{value:g}" for value in bands)
        doubt = f"BOA_ADD_OFFSET differs from band to band ({listed}), which no known baseline has."
    elif len(set(said.esa)) > 1:
        doubt = (
            f"BOA_ADD_OFFSET in the metadata says {said.metadata:+d}, but baseline {named} in the name says "
            f"{said.name:+d}."
        )
    elif named and baseline and shifted(named) != shifted(baseline):
        doubt = f"the name says baseline {named}, the metadata {baseline}."
    elif len(set(said.at_hand)) > 1:
        doubt = _quarrel(product, said, dark)
    elif len(said.at_hand) < 2:
        doubt = f"only {len(said.at_hand)} of the four sources says anything; two must, to be compared."
    elif flagged and SHIFT in said.esa and said.pixels is None:
        doubt = (
            f"{product.provider} says it {'applied' if said.taken else 'did not apply'} the offset and is "
            "known to be wrong about it, and the scene has too little clear dark ground to tell."
        )
    return doubt


def judge_dark(dark: DarkTargets) -> int | None:
    """What dark ground tells: 0 where its numbers are not shifted, −1000 where they are, None unknown.

    Numbers below 900 are only possible without the shift. That none are below shows the shift only where
    there is ground that is surely dark, and where it is not brighter than dark ground can be.
    """
    if dark.count < FEWEST_DARK:
        return 0 if dark.below >= max(FEWEST_DARK, 0.01 * dark.clear) else None
    if dark.darkest < DARK_LIMIT:
        return 0
    if dark.darkest <= DARK_HIGHEST and dark.share < 0.2:
        return SHIFT
    return None


def dark_targets(product: Sentinel2Product) -> DarkTargets | None:
    """Read what `judge_dark` needs, from the reduced resolutions of SCL and of B02, B04 and B12.

    None where the product lacks SCL, or all three of the others.

    Raises
    ------
    SourceError
        One of these rasters is damaged.
    """
    names = [name for name in _BANDS if product.bands.get(name)]
    if not names or not product.bands.get("SCL"):
        return None
    files = [product.band(name) for name in (*names, "SCL")]
    reduced = read_reduced([file.path for file in files], [file.metres for file in files])
    return count_dark(np.stack(reduced[:-1]), reduced[-1], nodata=product.nodata)


def count_dark(numbers: NDArray[Any], scl: NDArray[Any], *, nodata: int = 0) -> DarkTargets:
    """Count and measure dark targets.

    Parameters
    ----------
    numbers : array of int, (bands, height, width)
        Raw numbers of B02, B04 and B12, or of some of them.
    scl : array of int, (height, width)
        The scene classification.
    nodata : int
        The number of pixels where nothing was measured.
    """
    measured = (numbers != nodata).all(axis=0)
    # reduced classes of JP2 are wavelet averages: only the inside of an area of one class is what it says,
    # and beside empty pixels numbers are averages with 0
    inside = _uniform(scl) & _all_round(measured)
    if not inside.any():  # tiny rasters, read as they are
        inside = measured
    clear = inside & np.isin(scl, _CLEAR)
    land = numbers[:, clear & (scl != 6)]
    dark = clear & np.isin(scl, _DARK)
    if dark.sum() < FEWEST_DARK:
        dark |= clear & (scl == _SHADOW)
    count = int(dark.sum())
    return DarkTargets(
        share=float((land < -SHIFT).mean()) if land.size else 0.0,
        darkest=float(np.quantile(numbers[:, dark], _DARK_QUANTILE, axis=1).min()) if count else float("nan"),
        count=count,
        below=int((numbers[:, clear] < DARK_LIMIT).any(axis=0).sum()),
        clear=int(clear.sum()),
    )


def read_reduced(paths: list[str], metres: list[int]) -> list[NDArray[Any]]:
    """Rasters of one tile at one common reduced size, at most 700 pixels a side.

    Raises
    ------
    SourceError
        One of them cannot be read.
    """
    import rasterio

    found: list[NDArray[Any]] = []
    shape: tuple[int, int] | None = None
    for path, size in zip(paths, metres, strict=True):
        with rasterio.Env(**READ_OPTIONS, GDAL_PAM_ENABLED="NO"), Raster(path) as raster:
            if shape is None:
                height, width = (side * size / max(metres) for side in raster.data.shape)
                factor = 1
                while max(height, width) / factor > _SIDE:
                    factor *= 2
                shape = (max(1, round(height / factor)), max(1, round(width / factor)))
            found.append(raster.read(1, out_shape=shape))
    return found


def to_reflectance(
    numbers: NDArray[Any], *, offset: float, quantification: float = 10_000.0, nodata: int = 0
) -> NDArray[np.float32]:
    """Reflectance (0-1, float32) of raw numbers, NaN where nothing was measured.

    >>> to_reflectance(np.array([0, 1000, 3000], dtype=np.uint16), offset=-1000).tolist()
    [nan, 0.0, 0.20000000298023224]
    """
    values = (numbers.astype(np.float32) + np.float32(offset)) / np.float32(quantification)
    values[numbers == nodata] = np.nan
    return values


def _from_metadata(product: Sentinel2Product) -> int | None:
    if product.offsets is None:
        return None
    # metadata before 04.00 has no such list: nothing was added
    return round(next(iter(product.offsets.values()), 0.0))


def _shift_of(baseline: str) -> int | None:
    known = shifted(baseline)
    return None if known is None else SHIFT if known else 0


def _from_provider(product: Sentinel2Product) -> int | None:
    treatment = PROVIDERS.get(product.provider)
    baseline = product.baseline or product.name_baseline
    if treatment is None or (treatment == "flag" and product.applied is None):
        return None
    return 0 if treatment == "flag" and product.applied else _shift_of(baseline)


def _quarrel(product: Sentinel2Product, said: _Said, dark: DarkTargets | None) -> str:
    parts = []
    if said.esa:
        parts.append(f"ESA's metadata and name say {said.esa[0]:+d}")
    if said.provider is not None:
        applied = ", having applied it" if said.taken else ""
        parts.append(f"{product.provider} says {said.provider:+d}{applied}")
    if said.pixels is not None and dark is not None:
        parts.append(
            f"the pixels say {said.pixels:+d} (clear dark ground lies at {dark.darkest:.0f}, "
            f"{dark.share:.0%} of clear land numbers are below 1000)"
        )
    return "; ".join(parts) + "."


def _uniform(classes: NDArray[Any]) -> NDArray[np.bool_]:
    """Where a pixel and its eight neighbours hold the same value; False along the edge."""
    same = np.zeros(classes.shape, dtype=np.bool_)
    if min(classes.shape) < 3:
        return same
    centre = classes[1:-1, 1:-1]
    inner = np.ones(centre.shape, dtype=np.bool_)
    height, width = classes.shape
    for dy in range(3):
        for dx in range(3):
            inner &= classes[dy : height - 2 + dy, dx : width - 2 + dx] == centre
    same[1:-1, 1:-1] = inner
    return same


def _all_round(flags: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Where a pixel and its eight neighbours are set."""
    return flags & _uniform(flags)
