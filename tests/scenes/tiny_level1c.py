"""Tiny Level-1C products in the real format for the tests, and the L2A product of the same observation."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tiny_safe import TinySafe, write_jp2

from eo_pipeline.scenes.sentinel2 import BAND_IDS, NATIVE_METRES

#: Reflectance at the top of the atmosphere over vegetation, and of a thick cloud: bright, and high enough
#: above the water vapour to show in B10.
GROUND = {
    "B01": 0.13, "B02": 0.10, "B03": 0.09, "B04": 0.06, "B05": 0.10, "B06": 0.22, "B07": 0.29, "B08": 0.33,
    "B8A": 0.36, "B09": 0.12, "B10": 0.002, "B11": 0.18, "B12": 0.09,
}  # fmt: skip
CLOUD = {
    "B01": 0.55, "B02": 0.55, "B03": 0.55, "B04": 0.55, "B05": 0.57, "B06": 0.60, "B07": 0.61, "B08": 0.62,
    "B8A": 0.63, "B09": 0.40, "B10": 0.03, "B11": 0.45, "B12": 0.35,
}  # fmt: skip
#: Rows and columns of 10 m: 960 m a side, in whole pixels of 60 m and whole cells of 160 m.
PLACE = (slice(96, 192), slice(48, 144))


def opacity(size: int, place: tuple[slice, slice] = PLACE) -> NDArray[np.float64]:
    """How much cloud there is, 0-1, [row, column] of 10 m."""
    found = np.zeros((size, size))
    found[place] = 1.0
    return found


@dataclass
class CloudySafe(TinySafe):
    """An L2A product with a cloud in its bands that its SCL calls vegetation."""

    def numbers(self, band: str) -> NDArray[np.uint16]:
        found = super().numbers(band)
        if band != "SCL":
            zoom = self.size // found.shape[0]
            rows, columns = (slice(side.start // zoom, side.stop // zoom) for side in PLACE)
            found[rows, columns] += np.uint16(4000)
        return found


@dataclass
class TinyLevel1C(TinySafe):
    """The L1C product of a `TinySafe`: 13 bands over `size` pixels of 10 m, a multiple of 48.

    `cloud_share` is how much cloud each pixel of 10 m holds; `empty` how many of its first rows hold nothing.
    """

    size: int = 288
    made: str = "20260601T053000"
    bands: tuple[str, ...] = BAND_IDS
    cloud_share: NDArray[np.float64] = field(default_factory=lambda: opacity(288))
    empty: int = 0

    @property
    def name(self) -> str:
        return super().name.replace("MSIL2A", "MSIL1C")

    def numbers(self, band: str) -> NDArray[np.uint16]:
        zoom = NATIVE_METRES[band] // 10
        side = self.size // zoom
        share = self.cloud_share.reshape(side, zoom, side, zoom).mean(axis=(1, 3))
        reflectance = GROUND[band] + (CLOUD[band] - GROUND[band]) * share
        noise = np.random.default_rng(self.seed).normal(0.0, 5.0, share.shape)
        shift = (1000 if self.shifted else 0) if self.shift is None else self.shift
        found = np.clip(np.round(reflectance * 10_000 + noise), 1, 20_000).astype(np.uint16) + np.uint16(
            shift
        )
        found[: self.empty // zoom] = 0
        return found

    def write(self, root: Path) -> Path:
        folder = root / self.name
        granule = folder / "GRANULE" / f"L1C_T{self.tile}_A001234_{self.sensed}"
        (granule / "IMG_DATA").mkdir(parents=True)
        for band in self.bands:
            path = granule / "IMG_DATA" / f"T{self.tile}_{self.sensed}_{band}.jp2"
            write_jp2(path, self.numbers(band), self.epsg, self.left, self.top, NATIVE_METRES[band])
        (folder / "MTD_MSIL1C.xml").write_text(self.product_xml())
        (granule / "MTD_TL.xml").write_text(self.granule_xml().replace("Level-2A", "Level-1C"))
        return folder

    def product_xml(self) -> str:
        told = super().product_xml()
        changes: list[tuple[str, Any]] = [
            ("BOA_ADD_OFFSET_VALUES_LIST", "Radiometric_Offset_List"), ("BOA_ADD_OFFSET", "RADIO_ADD_OFFSET"),
            ("BOA_QUANTIFICATION_VALUE", "QUANTIFICATION_VALUE"), ("Level-2A", "Level-1C"),
            ("<QUANTIFICATION_VALUES_LIST>", ""), ("</QUANTIFICATION_VALUES_LIST>", ""),
        ]  # fmt: skip
        for old, new in changes:
            told = told.replace(old, new)
        return told
