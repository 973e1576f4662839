"""Growth block by block: the references a season is held against, the map of one block, and its hectares by
unit.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from eo_pipeline.cube.climatology import Climatology
from eo_pipeline.cube.smoothing import array_of
from eo_pipeline.cube.store import NODATA, TileStore, decode
from eo_pipeline.engine import Result
from eo_pipeline.grid import Block, Grid
from eo_pipeline.products.classify import CLASS_NODATA, CROP_TYPE
from eo_pipeline.products.curves import REGION
from eo_pipeline.products.growth import align_baseline, assess_growth, growing_period, usual_spread
from eo_pipeline.products.zonal import PixelAreas, ZoneUnit, zone_layers
from eo_pipeline.storage import Place

GROWTH: Final = "growth"
ANOMALY: Final = "anomaly"
#: anomaly.tif holds percent × 10.
ANOMALY_SCALE: Final = 10
#: Code of everything seen, where the season makes no crop map.
WHOLE: Final = 1


@dataclass(frozen=True, slots=True)
class Baseline:
    """One earlier season over the same tile: its smoothed index, its crop map, and each crop's median curve.

    `medians` maps this season's class codes to the curve of that crop then, on `dates`.
    """

    index_path: Path
    class_path: Path | None
    dates: tuple[date, ...]
    codes: Mapping[int, int]
    medians: Mapping[int, tuple[float, ...]]


@dataclass(frozen=True, slots=True)
class Usual:
    """The climatology of a tile, and the state it must be in while a run reads it."""

    path: Path
    state: int

    def read(
        self, index: str, block: Block, dates: Sequence[date]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Median and spread of a block at the dekads of some days, float32 [day, y, x]."""
        store = Climatology(self.path)
        with store.reading(self.state):
            found = store.read(index, block, dates)
        return found.median, usual_spread(found.p25, found.p75, found.count)


def growth_bytes(steps: int, block: Block) -> int:
    """Memory `growth_block` needs at most against a climatology: curves, views and ages, the statistics and
    the spread, and one crop's values of them.
    """
    return block.height * block.width * steps * (4 + 3 + 5 * 6 + 4 + 4 * 4)


def growth_block(
    *,
    block: Block,
    grid: Grid,
    store: Place,
    kept: Sequence[bool],
    index: str,
    dates: Sequence[date],
    medians: Mapping[int, Sequence[float]],
    baselines: Sequence[Baseline],
    usual: Usual | None,
    mapped: bool,
    units: Sequence[ZoneUnit],
) -> Result:
    """Judge one block and write `growth` uint8 and `anomaly` int16 (percent × 10, nodata −32768).

    Parameters
    ----------
    medians : by crop code, the median curve of the crop over all tiles; says when it is judged and, without
        `baselines`, is what its pixels are held against (peers).
    baselines : earlier seasons; a pixel is held against its own curve then where it carried the same crop,
        else against that crop's median of the year. Several are averaged.
    usual : what is held against in place of both: the pixel's own past, whatever grew there.
    mapped : False where the season makes no crop map: everything seen is then one crop, `WHOLE`.

    Returns
    -------
    dict
        `area_ha`: [unit, crop code, hectares by growth code 0–6].
    """
    tile = TileStore(store)
    curves = tile.read_values(array_of(index), block)
    if mapped:
        crops: NDArray[np.uint8] = tile.read(CROP_TYPE, block)
    else:
        crops = np.where(np.isfinite(curves).any(axis=0), WHOLE, CLASS_NODATA).astype(np.uint8)
    periods = {code: growing_period(np.asarray(curve, dtype=np.float32)) for code, curve in medians.items()}
    spread = None
    if usual is not None:
        median, spread = usual.read(index, block, dates)
        references = dict.fromkeys(medians, median)
    else:
        references = {
            code: _reference(
                code, np.asarray(curve, dtype=np.float32), baselines, crops=crops, dates=dates, block=block
            )
            for code, curve in medians.items()
        }
    growth = assess_growth(
        curves,
        crops,
        references=references,
        periods=periods,
        clear=tile.read_usable(block, kept),
        age_days=tile.read_ages(block, kept),
        spread=spread,
    )
    tile.write(GROWTH, block, growth.classes)
    tenths = np.full(growth.anomaly.shape, NODATA, dtype=np.int16)
    known = np.isfinite(growth.anomaly)
    tenths[known] = np.rint(np.clip(growth.anomaly[known] * ANOMALY_SCALE, -32767, 32767)).astype(np.int16)
    tile.write(ANOMALY, block, tenths)
    return {"area_ha": _hectares(growth.classes, crops, tuple(medians), units=units, block=block, grid=grid)}


def _reference(
    code: int,
    median: NDArray[np.float32],
    baselines: Sequence[Baseline],
    *,
    crops: NDArray[np.uint8],
    dates: Sequence[date],
    block: Block,
) -> NDArray[np.float32]:
    if not baselines or not (crops == code).any():
        return median
    years = [_of_year(code, item, dates, block) for item in baselines]
    stack = np.stack(years)
    known = np.isfinite(stack)
    count = known.sum(axis=0)
    mean = np.where(known, stack, 0).sum(axis=0) / np.maximum(count, 1)
    result: NDArray[np.float32] = np.where(count > 0, mean, np.nan).astype(np.float32)
    return result


def _of_year(code: int, baseline: Baseline, dates: Sequence[date], block: Block) -> NDArray[np.float32]:
    """One earlier year's curves for a crop, at this season's dates: float32 (step, y, x)."""
    import rasterio

    with rasterio.open(baseline.index_path) as raster:
        then = decode(raster.read(window=block.window))
    if baseline.class_path is not None:
        with rasterio.open(baseline.class_path) as raster:
            same = raster.read(1, window=block.window) == baseline.codes.get(code, -1)
        # another crop stood here then: its curve says nothing of this one
        median = np.asarray(baseline.medians.get(code, (np.nan,) * len(baseline.dates)), dtype=np.float32)
        then = np.where(same[None], then, median[:, None, None])
    return align_baseline(then, baseline.dates, dates)


def _hectares(
    growth: NDArray[np.uint8],
    crops: NDArray[np.uint8],
    codes: Sequence[int],
    *,
    units: Sequence[ZoneUnit],
    block: Block,
    grid: Grid,
) -> list[list[Any]]:
    area = PixelAreas(grid).ha(*block.slices)
    rows: list[list[Any]] = []
    for names, labels in _labelled(units, block.grid(grid)):
        for code in codes:
            here = crops == code
            key = labels[here].astype(np.int64) * 7 + growth[here]
            table = np.bincount(key, weights=area[here], minlength=(len(names) + 1) * 7).reshape(-1, 7)[1:]
            rows += [
                [name, int(code), table[number].tolist()]
                for number, name in enumerate(names)
                if table[number].any()
            ]
    return rows


def _labelled(units: Sequence[ZoneUnit], grid: Grid) -> list[tuple[tuple[str, ...], NDArray[np.int32]]]:
    """The whole region, and the units: these may overlap or leave parts out, so neither follows from the
    other.
    """
    whole = ((REGION,), np.ones(grid.shape, dtype=np.int32))
    layers = zone_layers(units, grid) if units else ()
    return [whole, *((tuple(unit.code for unit in layer.units), layer.labels) for layer in layers)]
