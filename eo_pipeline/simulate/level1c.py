"""Scenes of the twin as Sentinel-2 L1C products: what the satellite sees above the atmosphere, in 13 bands.

The delivered scene is put back under a molecular atmosphere. Aerosol is what the scene holds already; gases
are one number a band.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from eo_pipeline.simulate import canopy, safe, safe_xml
from eo_pipeline.simulate.landscape import Grid
from eo_pipeline.simulate.orbits import Bools, MgrsTile, Overpass
from eo_pipeline.simulate.safe_xml import ProductFacts
from eo_pipeline.simulate.scenes import Scene

Float = NDArray[np.float32]

#: Pixels of 10 m in one of 60 m: the raster begins and ends on the tile's grid of 60 m.
_COARSEST: Final = 6
#: Share of the light that ozone, oxygen and water vapour let through, down and up (our assumption, near clear
#: mid-latitude summers).
_GASES: Final[Mapping[str, float]] = {
    "B01": 0.99, "B02": 0.98, "B03": 0.93, "B04": 0.95, "B05": 0.95, "B06": 0.96, "B07": 0.98, "B08": 0.96,
    "B8A": 0.99, "B09": 0.35, "B10": 0.0, "B11": 0.97, "B12": 0.95,
}  # fmt: skip
#: The same of B09 above clouds, which most of the water lies under; and what of a cloud B10 shows.
_B09_OVER_CLOUD, _B10_OF_CLOUD, _B10_CLEAR = 0.80, 0.03, 0.0015
#: Bands of L1C that no scene holds, and the one whose ground is taken.
_LIKE: Final[Mapping[str, str]] = {"B01": "B02", "B09": "B8A", "B10": "B8A"}
#: Air pressure at 1700 m, as a share of that at the sea.
_PRESSURE: Final = 0.82


def write_products(
    scene: Scene, overpass: Overpass, grid: Grid, folder: Path, *, baseline: str
) -> tuple[str, ...]:
    """Write the L1C product of each tile that the overpass saw anything of; names of the products."""
    return tuple(
        _write(scene, overpass, tile, grid, folder, baseline=baseline, seen=seen)
        for tile, seen in safe.tiles_seen(overpass, grid)
    )


def _write(
    scene: Scene, overpass: Overpass, tile: MgrsTile, grid: Grid, folder: Path, *, baseline: str, seen: Bools
) -> str:
    top, bottom = tile.window(grid)
    scl = np.where(seen[top:bottom], scene.scl[top:bottom], 0).astype(np.uint8)[::2, ::2]
    facts = safe.product_facts(overpass, tile, grid, scl, baseline=baseline)
    above, left = (
        round(side / 10) % _COARSEST for side in (tile.north - facts.north, facts.west - tile.west)
    )
    sides = ((above, -(above + bottom - top) % _COARSEST), (left, -(left + grid.size) % _COARSEST))
    facts = replace(
        facts,
        level="L1C",
        west=facts.west - 10 * left,
        north=facts.north + 10 * above,
        rows=facts.rows + sum(sides[0]),
        columns=facts.columns + sum(sides[1]),
    )
    root = folder / facts.name
    inside = np.pad(seen[top:bottom], sides)
    cloud = np.pad(scene.cloud[top:bottom], sides)
    files: dict[str, str] = {}
    for band, metres, stem in safe_xml.images(facts):
        path = f"{stem}.jp2"
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        ground = scene.reflectance[canopy.BAND_NAMES.index(_LIKE.get(band, band)), top:bottom]
        image = seen_from_above(np.pad(ground / np.float32(10_000), sides), cloud, band, facts)
        step = metres // 10
        numbers = np.rint(_coarser(image, step) * 10_000).astype(np.int16)
        whole = _coarser(inside.astype(np.float32), step) == 1
        dn = safe.digital_numbers(numbers, whole, baseline=baseline)
        safe.write_jp2(root / path, dn, facts.west, facts.north, metres)
        files[f"IMG_DATA_Band_{band}_{metres}m_Tile1_Data"] = path
    texts = {
        "S2_Level-1C_Product_Metadata": ("MTD_MSIL1C.xml", safe_xml.product_xml(facts)),
        "S2_Level-1C_Tile1_Metadata": (f"GRANULE/{facts.granule}/MTD_TL.xml", safe_xml.tile_xml(facts)),
    }
    safe.write_texts(root, facts, texts, files)
    return facts.name


def seen_from_above(ground: Float, cloud: Float, band: str, facts: ProductFacts) -> Float:
    """Reflectance at the top of the atmosphere of a band, 0-1, (rows, columns).

    Parameters
    ----------
    ground
        Reflectance as delivered in Level 2A, clouds included.
    cloud
        Opacity of cloud, 0-1.

    References
    ----------
    Depth of the molecules: Hansen, J. E. & Travis, L. D. (1974). Light scattering in planetary atmospheres.
    Space Sci. Rev. 16, eq. 2.30. Light let through: Vermote, E. & Tanré, D. (1992). Analytical expressions
    for radiative properties of planar Rayleigh scattering media. JQSRT 47, 305-314. Light sent back: single
    scattering.
    """
    if band == "B10":
        return np.asarray(_B10_CLEAR + _B10_OF_CLOUD * cloud**2, np.float32)
    microns = {f"B{n.removeprefix('B').zfill(2)}": nm / 1000 for n, _, nm, _ in safe_xml.PHYSICAL}[band]
    depth = _PRESSURE * 0.008569 * microns**-4 * (1 + 0.0113 * microns**-2 + 0.00013 * microns**-4)
    swath = facts.overpass.swath
    sun, view = np.radians(facts.sun[0]), np.radians(swath.view_zenith)
    between = np.radians(facts.sun[1] - swath.view_azimuth)
    down, up = np.cos(sun), np.cos(view)
    turned = -down * up - np.sin(sun) * np.sin(view) * np.cos(between)
    path = depth * 0.75 * (1 + turned**2) / (4 * down * up)
    through = _let_through(depth, down) * _let_through(depth, up)
    gases = np.full_like(ground, _GASES[band])
    if band == "B09":
        gases += (_B09_OVER_CLOUD - gases) * cloud
    return np.asarray(np.clip(gases * (path + through * ground), 0.0, 2.0), np.float32)


def _let_through(depth: float, cosine: float) -> float:
    """Share of light that goes through molecules at an angle, scattered light included."""
    return float((2 / 3 + cosine + (2 / 3 - cosine) * np.exp(-depth / cosine)) / (4 / 3 + depth))


def _coarser(field: Float, step: int) -> Float:
    """Mean of `step` × `step` pixels."""
    rows, columns = field.shape
    blocks = field.reshape(rows // step, step, columns // step, step)
    return np.asarray(blocks.mean((1, 3)), np.float32)
