"""Ingest and screening on real chips: what the masks of three wheat fields missed is found in the cube."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rasterio

from eo_pipeline.cube.ingest import ingest_step, judge_scenes, judge_steps, screen_block
from eo_pipeline.cube.store import TileStore
from eo_pipeline.plan import make_plan
from eo_pipeline.season import read_season

pytestmark = pytest.mark.realdata
EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


def test_dates_of_tum_wheat_that_the_mask_calls_clear(shared_data: Path, tmp_path: Path) -> None:
    season = read_season(EXAMPLES / "tum-wheat.toml")
    plan = make_plan(season)
    missed, kept = set(), {}
    for item in plan.tiles:
        tile, steps = item.tile, item.layout.steps
        store = TileStore(tmp_path / f"{tile.name}.zarr")
        store.create(item.layout)
        counts = []
        for block in item.blocks:
            for number, step in enumerate(steps):
                ingest_step(
                    block=block,
                    number=number,
                    step=step,
                    scenes=[scene for scene in tile.scenes if step.holds(scene.date)],
                    mask_files=(),
                    bands=plan.bands,
                    masks=season.source.masks,
                    owned=tile.owned,
                    store=store.path,
                )
            counts.append(screen_block(block=block, store=store.path, bands=plan.bands, steps=steps))
        verdicts = judge_scenes(tile.scenes, steps, judge_steps(steps, counts, tested=True))
        missed |= {(tile.name, str(v.date)) for v in verdicts if v.rejected and "missed" in v.reason}
        assert all(v.reason == "no clear pixel" for v in verdicts if v.rejected and "missed" not in v.reason)
        kept[tile.name] = sum(not v.rejected for v in verdicts)
        if tile.name == "Baumacker":
            # NDVI of one date by hand, as the products will read it
            number = [str(step.day) for step in steps].index("2018-05-12")
            believed = [not v.rejected for v in judge_steps(steps, counts, tested=True)]
            values = store.read_clear(item.blocks[0], believed, bands=("B04", "B08"))[number]
            with rasterio.open(season.source.root / "Baumacker_2018-05-12.tif") as raster:
                rows, cols = item.blocks[0].slices
                red, nir = raster.read(6)[rows, cols], raster.read(10)[rows, cols]
            seen = np.isfinite(values[0])
            assert seen.mean() > 0.5  # the field; the chip is nodata around it
            np.testing.assert_allclose(values[:, seen], np.stack([red, nir])[:, seen], atol=0.51e-4)
    assert missed == {("Baumacker", "2018-07-26"), ("Viehhausen1", "2018-03-08")}
    assert kept["Baumacker"] == 13
