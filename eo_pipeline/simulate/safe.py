"""Scenes of the twin as Sentinel-2 L2A products in SAFE folders: JP2 rasters on the tiles' own grid.

A product's raster is a window of its tile: as large as the piece, not as the tile.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from eo_pipeline.simulate import canopy, safe_xml, sky
from eo_pipeline.simulate.landscape import EPSG, PIXEL_M, Grid
from eo_pipeline.simulate.orbits import TILES, Bools, MgrsTile, Overpass, offset_of
from eo_pipeline.simulate.scenes import Scene

NODATA: Final = 0
SATURATED: Final = 65_535
QUANTIFICATION: Final = 10_000


def digital_numbers(reflectance: NDArray[np.int16], seen: Bools, *, baseline: str) -> NDArray[np.uint16]:
    """DN of reflectance × 10 000 (…, rows, columns): 0 where nothing was seen, 1 or more elsewhere.

    reflectance = (DN + BOA_ADD_OFFSET) / 10 000, see `orbits.offset_of`.
    """
    dn = np.clip(reflectance.astype(np.int32) - offset_of(baseline), 1, SATURATED - 1)
    return np.where(seen, dn, NODATA).astype(np.uint16)


def write_products(
    scene: Scene, overpass: Overpass, grid: Grid, folder: Path, *, baseline: str
) -> tuple[str, ...]:
    """Write the scene once for each tile that the overpass saw anything of; names of the products.

    Where the tiles overlap they hold the same numbers: it is the same ground in the same second.
    """
    return tuple(
        _write(scene, overpass, tile, grid, folder, baseline=baseline, seen=seen)
        for tile, seen in tiles_seen(overpass, grid)
    )


def tiles_seen(overpass: Overpass, grid: Grid) -> Iterator[tuple[MgrsTile, Bools]]:
    """The tiles that an overpass saw anything of, each with the pixels of the piece that it saw."""
    seen = overpass.seen(grid)
    for tile in TILES:
        top, bottom = tile.window(grid)
        if bottom > top and seen[top:bottom].any():
            yield tile, seen


def _write(
    scene: Scene, overpass: Overpass, tile: MgrsTile, grid: Grid, folder: Path, *, baseline: str, seen: Bools
) -> str:
    top, bottom = tile.window(grid)
    seen = seen[top:bottom]
    scl = np.where(seen, scene.scl[top:bottom], 0).astype(np.uint8)[::2, ::2]
    facts = product_facts(overpass, tile, grid, scl, baseline=baseline)
    root = folder / facts.name
    dn = digital_numbers(scene.reflectance[:, top:bottom], seen, baseline=baseline)
    files: dict[str, str] = {}
    for band, metres, stem in safe_xml.images(facts):
        path = f"{stem}.jp2"
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        step = metres // 10
        data = scl if band == "SCL" else dn[canopy.BAND_NAMES.index(band), ::step, ::step]
        write_jp2(root / path, data, facts.west, facts.north, metres)
        files[f"IMG_DATA_Band_{band}_{metres}m_Tile1_Data"] = path
    texts = {
        "S2_Level-2A_Product_Metadata": ("MTD_MSIL2A.xml", safe_xml.product_xml(facts)),
        "S2_Level-2A_Tile1_Metadata": (f"GRANULE/{facts.granule}/MTD_TL.xml", safe_xml.tile_xml(facts)),
    }
    write_texts(root, facts, texts, files)
    return facts.name


def write_texts(
    root: Path, facts: safe_xml.ProductFacts, texts: Mapping[str, tuple[str, str]], files: Mapping[str, str]
) -> None:
    """Write the metadata (`texts`: path and text by data object), and the manifest of them and of `files`."""
    for path, text in texts.values():
        (root / path).write_text(text, encoding="utf-8")
    listed = {key: path for key, (path, _) in texts.items()} | dict(files)
    # The ground segment went over from MD5 to SHA3-256 with the newer baselines.
    algorithm = "SHA3-256" if offset_of(facts.baseline) else "MD5"
    manifest = safe_xml.manifest_xml(root, listed, algorithm=algorithm, level=facts.level)
    (root / "manifest.safe").write_text(manifest, encoding="utf-8")


def product_facts(
    overpass: Overpass, tile: MgrsTile, grid: Grid, scl: NDArray[np.uint8], *, baseline: str
) -> safe_xml.ProductFacts:
    """What the metadata of a tile's L2A product say; `scl` is its scene classification at 20 m."""
    top, bottom = tile.window(grid)
    sun = sky.sun_position(overpass.day)
    return safe_xml.ProductFacts(
        overpass=overpass,
        tile=tile,
        baseline=baseline,
        west=round(grid.west),
        north=round(grid.north - top * PIXEL_M),
        rows=bottom - top,
        columns=grid.size,
        sun=(sun.zenith, sun.azimuth),
        footprint=_footprint(overpass, grid, top, bottom),
        shares=_shares(scl),
    )


def write_jp2(path: Path, data: NDArray[Any], west: int, north: int, metres: int) -> None:
    """One lossless JP2 with georeference; internal tiles of 1024 pixels, as in real products."""
    import rasterio
    import rasterio.shutil
    from rasterio.transform import Affine

    rows, columns = data.shape
    profile = {
        "driver": "GTiff",
        "width": columns,
        "height": rows,
        "count": 1,
        "dtype": data.dtype.name,
        "crs": f"EPSG:{EPSG}",
        "transform": Affine(metres, 0, west, 0, -metres, north),
    }
    # A side-car .aux.xml would be a file that no manifest lists. Encoded in a copy, which, other than
    # writing, leaves other threads running.
    with rasterio.Env(GDAL_PAM_ENABLED="NO", GDAL_NUM_THREADS="1"), rasterio.MemoryFile() as memory:
        with memory.open(**profile) as target:
            target.write(data, 1)
            target.update_tags(SIMULATED=safe_xml.NOTE)
        with memory.open() as source:
            rasterio.shutil.copy(
                source,
                path,
                driver="JP2OpenJPEG",
                QUALITY="100",
                REVERSIBLE="YES",
                BLOCKXSIZE="1024",
                BLOCKYSIZE="1024",
                WRITE_METADATA="YES",
            )


def _shares(scl: NDArray[np.uint8]) -> list[float]:
    """Percent of nodata, and of every other class among the rest."""
    counts = np.bincount(scl.ravel(), minlength=12)
    valid = max(int(counts[1:].sum()), 1)
    return [100 * float(counts[0]) / scl.size, *(100 * float(count) / valid for count in counts[1:])]


def _footprint(overpass: Overpass, grid: Grid, top: int, bottom: int) -> list[tuple[float, float]]:
    """(lat, lon) of the corners of what was seen in the rows, from the north-west, closed."""
    from pyproj import Transformer

    left = [overpass.first_column(grid, row) for row in (top, bottom)]
    corners = [(left[0], top), (grid.size, top), (grid.size, bottom), (left[1], bottom), (left[0], top)]
    x = [grid.west + column * PIXEL_M for column, _ in corners]
    y = [grid.north - row * PIXEL_M for _, row in corners]
    lon, lat = Transformer.from_crs(EPSG, 4326, always_xy=True).transform(x, y)
    return list(zip(lat, lon, strict=True))
