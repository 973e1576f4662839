"""How fast a block is mapped, beside the bare network, and what OpenVINO makes of it: speed, labels, memory.

    .venv/bin/python benchmarks/classify.py [--side 512] [--rounds 3] [--folder DIR]

A cube of 36 dekads and 10 bands is made up, a fifth of it clouds and a fifth of its pixels mixed from two
crops; a network of the shipped shape is trained on other pixels. Everything runs on one thread, in turns,
and processor time is counted, so that a busy machine falsifies little. The bars stand beside the figures;
`--side 2048` is the block that the bar of memory means (3 GB of memory and disk). Nothing is asserted.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import shutil
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from telling import machine

from eo_pipeline.cube.store import Layout, TileStore
from eo_pipeline.grid import BLOCK, INGEST_BLOCK, Block, Grid, TimeStep
from eo_pipeline.products.classify import (
    CLASS_NODATA,
    CROP_TYPE,
    DOUBT_NODATA,
    DOUBTS,
    Runtime,
    classify_block,
)
from models import runtime
from models.crop_type import CropTypeModel
from models.training import TrainingSettings

STEPS, BANDS, CLASSES = 36, tuple(f"B{n:02d}" for n in range(1, 11)), tuple("abcdefgh")
SAMPLES, PATCH = 2000, 16
BARS = {
    "block": ">= 0.70 of the bare network",
    "int8": ">= 3 × eager PyTorch fp32",
    "labels": ">= 99.5 %",
    "memory": "<= 2 GiB at 2048²",
}


class Fields:
    """Series of made-up crops: each class and band has a season of its own, each field its deviation."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        shape = np.random.default_rng(0)
        day = np.linspace(0, 1, STEPS)[None, :, None]
        peak, width = (shape.uniform(*ends, (len(CLASSES), 1, 1)) for ends in ((0.3, 0.7), (0.1, 0.25)))
        height = shape.uniform(-0.25, 0.35, (len(CLASSES), 1, len(BANDS)))
        self.curves = 0.3 + height * np.exp(-(((day - peak) / width) ** 2))

    def series(self, codes: NDArray[np.integer]) -> NDArray[np.float32]:
        """(n, STEPS, bands) of class codes (n,)."""
        field = self.rng.normal(1, 0.1, (len(codes), 1, len(BANDS)))
        noise = self.rng.normal(0, 0.03, (len(codes), STEPS, len(BANDS)))
        return (self.curves[codes] * field + noise).astype(np.float32)


def make_model(folder: Path) -> None:
    """A network of the shipped shape, and what `export` makes of it."""
    fields = Fields(1)
    codes = fields.rng.integers(0, len(CLASSES), SAMPLES)
    X = fields.series(codes)
    X[fields.rng.random((SAMPLES, STEPS)) < 0.2] = np.nan
    model = CropTypeModel.fit(
        X, np.array(CLASSES)[codes], channels=BANDS, settings=TrainingSettings(epochs=20), threads=1
    )
    model.save(folder)
    runtime.export(folder, X)


def make_cube(path: Path, side: int) -> None:
    """A tile of `side` × `side` pixels, written strip by strip."""
    first = date(2026, 1, 1)
    steps = tuple(TimeStep(first + timedelta(10 * n), first + timedelta(10 * n + 9)) for n in range(STEPS))
    grid = Grid("EPSG:32648", (10.0, 0.0, 0.0, 0.0, -10.0, 0.0), side, side)
    layout = Layout("t", grid, BANDS, steps, min(side, INGEST_BLOCK), min(side, BLOCK))
    tile = TileStore(path)
    tile.create(layout)
    for name, fill in {CROP_TYPE: CLASS_NODATA, **dict.fromkeys(DOUBTS, DOUBT_NODATA)}.items():
        tile.require(layout, name, "uint8", fill)
    fields = Fields(2)
    usable = np.ones((STEPS, side, side), dtype=np.uint8)
    values = np.empty((STEPS, len(BANDS), side, side), dtype=np.int16)
    for row in range(0, side, PATCH):
        codes = np.repeat(fields.rng.integers(0, len(CLASSES), -(-side // PATCH)), PATCH)[:side]
        for line in range(row, min(side, row + PATCH)):
            series = fields.series(codes)
            mixed = np.flatnonzero(fields.rng.random(side) < 0.2)
            share = fields.rng.uniform(0.2, 0.8, (len(mixed), 1, 1)).astype(np.float32)
            other = fields.series(fields.rng.integers(0, len(CLASSES), len(mixed)))
            series[mixed] = share * series[mixed] + (1 - share) * other
            values[:, :, line] = np.moveaxis(np.rint(series * 10_000), 0, -1)
        clouds = fields.rng.random((STEPS, 1, -(-side // PATCH))) < 0.2
        usable[:, row : row + PATCH] -= np.repeat(clouds, PATCH, axis=2)[:, :, :side]
    block = Block("t", 0, 0, side, side)
    for step in range(STEPS):
        tile.write("reflectance", block, values[step], step=step)
    tile.write("usable", block, usable)


def map_block(cube: Path, model: Path, side: int, name: Runtime) -> float:
    """Processor seconds of one block."""
    start = time.process_time()
    classify_block(
        block=Block("t", 0, 0, side, side),
        store=cube,
        kept=[True] * STEPS,
        bands=BANDS,
        features=BANDS,
        codes={label: n + 1 for n, label in enumerate(CLASSES)},
        model=model,
        model_key="benchmark",
        runtime=name,
    )
    return time.process_time() - start


def peak_of(cube: Path, model: Path, side: int, name: Runtime) -> float:
    """Largest memory, GiB, of a process that maps one block and nothing else."""
    fresh = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=fresh) as worker:
        return worker.submit(_peak, cube, model, side, name).result()


def _peak(cube: Path, model: Path, side: int, name: Runtime) -> float:
    map_block(cube, model, side, name)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def ways_of(model: CropTypeModel, ranges: tuple[float, ...]) -> dict[str, Callable[[NDArray[Any]], Any]]:
    """What is timed on series: both whole assessments, and the bare networks, to which data are ready."""
    fast = {name: runtime.FastModel(model, name, ranges) for name in runtime._possible()}
    shape = model.network.shape
    ready = np.zeros((runtime.BATCH, shape.features, shape.steps), dtype=np.float32)

    def eager(X: NDArray[np.float32]) -> None:
        with torch.inference_mode():
            for start in range(0, len(X), runtime.BATCH):
                model.network.assess(torch.from_numpy(X[start : start + runtime.BATCH]))

    def bare(name: str) -> Callable[[NDArray[Any]], None]:
        def run(X: NDArray[np.float32]) -> None:
            for _ in range(0, len(X), runtime.BATCH):
                fast[name]._request.infer([ready], share_inputs=True)

        return run

    ways: dict[str, Callable[[NDArray[Any]], Any]] = {
        "torch": lambda X: model.assess(X, threads=1, device="cpu"),
        "torch bare": eager,
    }
    for name, each in fast.items():
        ways |= {name: each.assess, f"{name} bare": bare(name)}
    return ways


def measure(side: int, rounds: int, folder: Path) -> tuple[dict[str, float], dict[str, Any]]:
    """Series/s of every way, and what else the bars ask."""
    model_folder, cube = folder / "model", folder / "cube.zarr"
    make_model(model_folder)
    make_cube(cube, side)
    chosen = runtime.read_export(model_folder)
    model = CropTypeModel.load(model_folder)
    ways = ways_of(model, chosen.ranges)
    fields = Fields(3)
    X = fields.series(fields.rng.integers(0, len(CLASSES), 16 * runtime.BATCH))
    X[fields.rng.random((len(X), STEPS)) < 0.2] = np.nan
    rates: dict[str, float] = {}
    maps: dict[Runtime, NDArray[np.uint8]] = {}
    tile = TileStore(cube)
    for number in range(rounds + 1):  # the first one warms up
        for name, way in ways.items():
            start = time.process_time()
            way(X)
            rate = len(X) / (time.process_time() - start)
            rates[name] = max(rates.get(name, 0.0), rate if number else 0.0)
        for of in ("torch", "openvino"):
            seconds = map_block(cube, model_folder, side, of)
            rates[f"block {of}"] = max(rates.get(f"block {of}", 0.0), side**2 / seconds if number else 0.0)
            maps[of] = tile.read(CROP_TYPE)
    found = {
        "chosen": chosen.precision,
        "labels": float(np.mean(maps["torch"] == maps["openvino"])),
        "memory": {of: peak_of(cube, model_folder, side, of) for of in ("torch", "openvino")},
    }
    return rates, found


def table(rates: dict[str, float], found: dict[str, Any], side: int) -> Table:
    """Figures beside their bars."""
    shown = Table(title=f"A block of {side}² pixels, {STEPS} dekads × {len(BANDS)} bands, one thread")
    for column, justify in (("", "left"), ("figure", "right"), ("bar", "left")):
        shown.add_column(column, justify=justify)
    for name, rate in rates.items():
        shown.add_row(f"{name}, series/s", f"{rate:,.0f}", "")
    shown.add_section()
    chosen = found["chosen"]
    for of, network in (("torch", "torch"), ("openvino", chosen)):
        share = rates[f"block {of}"] / rates[f"{network} bare"]
        shown.add_row(f"block / bare network, {of} ({network})", f"{share:.2f}", BARS["block"])
    for name in ("int8", "bf16", "fp32"):
        if name in rates:
            whole, bare = (rates[f"{name}{of}"] / rates[f"torch{of}"] for of in ("", " bare"))
            ratio = f"{whole:.1f} ×, bare {bare:.1f} ×"
            shown.add_row(f"OpenVINO {name} / PyTorch fp32", ratio, BARS["int8"] if name == "int8" else "")
    ratio = f"{rates['block openvino'] / rates['block torch']:.1f} ×"
    shown.add_row("block OpenVINO / block PyTorch", ratio, "")
    shown.add_row(f"equal labels, {chosen} and PyTorch", f"{found['labels']:.2%}", BARS["labels"])
    for of, peak in found["memory"].items():
        shown.add_row(f"peak memory of a worker, {of}", f"{peak:.2f} GiB", BARS["memory"])
    told = machine()
    shown.caption = f"{told['cpu']}, {told['cores']} cores, load {told['load']:.1f}"
    return shown


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--side", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=3, choices=range(1, 100), metavar="N")
    parser.add_argument("--folder", type=Path, help="where the cube is made; a temporary folder by default")
    options = parser.parse_args()
    torch.set_num_threads(1)
    folder = Path(tempfile.mkdtemp(prefix="classify-", dir=options.folder))
    try:
        Console(width=120).print(table(*measure(options.side, options.rounds, folder), options.side))
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
