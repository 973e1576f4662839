"""The memory of a worker that the plan tells before a run, and what workers take."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import rasterio
from drilling import quick_training
from seasons import TinySeason, make_season, write_raster
from typer.testing import CliRunner

from eo_pipeline.cli import app
from eo_pipeline.plan import WORKER_BYTES
from eo_pipeline.runlog import read_log

pytestmark = pytest.mark.slow

BANDS = ("B02", "B04", "B08", "B03", "B05", "B06", "B07", "B8A", "B11", "B12")


def year_of_ten_bands(root: Path, *, size: int, classify: bool) -> TinySeason:
    """36 dekads, eight of them seen; read in blocks of 1024, products made in blocks of 512."""
    season = make_season(root, size=size, width=512, dates=8, classify=classify)
    for path in season.scenes.iterdir():
        with rasterio.open(path) as raster:
            blue, red, nir, scl = raster.read()
        write_raster(path, np.stack([blue, red, nir] * 3 + [blue, scl]))
    names = ", ".join(f"{name} = {number}" for number, name in enumerate((*BANDS, "SCL"), 1))
    season.rewrite("B02 = 1, B04 = 2, B08 = 3, SCL = 4", names)
    season.rewrite("2026-03-01", "2026-01-01")
    season.rewrite("2026-08-31", "2026-12-31")
    return season


def eo(*words: object) -> dict:
    answer = CliRunner().invoke(app, [*map(str, words), "--block", "1024", "--workers", "1", "--json"])
    assert answer.exit_code == 0, answer.output
    return dict(json.loads(answer.stdout))


@pytest.mark.parametrize(
    ("size", "indices", "classify"),
    [
        (1024, ["NDVI", "NDMI", "NDRE", "NDWI", "EVI", "SAVI"], False),
        (512, ["NDVI"], True),
    ],
    ids=["six-indices", "map"],
)
def test_no_worker_takes_more_than_the_plan_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int, indices: list[str], classify: bool
) -> None:
    monkeypatch.setattr("eo_pipeline.products.classify._SETTINGS", None)  # and back at the end
    quick_training()
    season = year_of_ten_bands(tmp_path, size=size, classify=classify)
    season.rewrite('index = "NDVI"', f'index = "NDVI"\nindices = {json.dumps(indices)}')
    planned = eo("plan", season.toml)["memory_per_worker_bytes"]
    made = eo("run", season.toml)
    assert made["worker_memory"]["planned_bytes"] == planned > 3 * WORKER_BYTES  # most of it the blocks'
    events = read_log(tmp_path / "runs/.work/tiny-2026")
    peaks = {
        event["stage"]: event["peak_bytes"]
        for event in events
        if event["event"] == "stage_done" and "peak_bytes" in event
    }
    print({stage: f"{peak / 1e6:.0f} MB" for stage, peak in peaks.items()}, f"of {planned / 1e6:.0f} MB")
    stages = {"screen", "ingest", "index", "curves", "growth"} | ({"classify"} if classify else set())
    assert set(peaks) - {"train"} == stages
    assert max(peaks.values()) == made["worker_memory"]["peak_bytes"]
    assert max(peaks.values()) <= planned < 4 * max(peaks.values())
