"""How fast scenes become a cube, against the limit of the machine and against other libraries.

    .venv/bin/python benchmarks/ingest.py [--quick] [--only safe cog …] [--json FILE]

Everything is measured in one run, ours and the other alternating, so that a busy machine slows both; what is
told are medians, their spread, and ratios, of the clock and of the processors' time: where they differ,
other programs were running. Nothing is asserted.

- safe, cog: mask and ingest, against merely decoding the same files and writing as many bytes, on the same
  cores; "with codec" also compresses what is written.
- composite: median of 36 dates, against numbagg.
- scaling: the same SAFE ingest with one worker and with all.
- cube: COGs to gap-filled Zarr, against odc-stac + xarray + dask (benchmarks/peer_odc.py).
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from made_scenes import Made, items_of, make
from rich.console import Console
from telling import machine, table

from eo_pipeline.acquire.sources.base import Scene
from eo_pipeline.cluster import SINGLE_THREAD
from eo_pipeline.cube.composite import CLEAR, Views, compose
from eo_pipeline.cube.gaps import FILLED, GapRule, fill_block, require_filled
from eo_pipeline.cube.ingest import ingest_step, screen_block
from eo_pipeline.cube.medians import median_of_numbers
from eo_pipeline.cube.store import NODATA, Layout, TileStore
from eo_pipeline.grid import BLOCK, INGEST_BLOCK, Grid, TimeStep, cut, dekads
from eo_pipeline.memory import keep_freed_memory
from eo_pipeline.scenes.clouds import mask_scene
from eo_pipeline.season_source import SCL_CLEAR, SENTINEL2_BANDS, MaskRule

PARTS = ("safe", "cog", "composite", "scaling", "cube")
CLOUDS = SimpleNamespace(clear=SCL_CLEAR, buffer_m=60.0, project_shadow=True)
SCL_RULE = (MaskRule("SCL", tuple(float(code) for code in SCL_CLEAR)),)
MAX_GAP = 60


class Rounds:
    """Seconds of things measured in turn: by the clock, and of the processors where work tells them."""

    def __init__(self) -> None:
        self.seconds: dict[str, list[float]] = {}
        self.cpu: dict[str, list[float]] = {}

    def time(self, name: str, work: Callable[[], Any]) -> None:
        start = time.perf_counter()
        cpu = work()
        self.seconds.setdefault(name, []).append(time.perf_counter() - start)
        if isinstance(cpu, float):
            self.cpu.setdefault(name, []).append(cpu)

    def median(self, name: str) -> float:
        return statistics.median(self.seconds[name])

    def spread(self, name: str) -> str:
        values = self.seconds[name]
        return f"{min(values):.2f}–{max(values):.2f}"

    def ratio(self, of: str, to: str) -> float:
        """Median over the rounds of `of` ÷ `to`: neighbours in time, so that a busy machine cancels."""
        return statistics.median(a / b for a, b in zip(self.seconds[of], self.seconds[to], strict=True))

    def cpu_ratio(self, of: str, to: str) -> float:
        """The same of processor time: what would be without other programs on the machine."""
        return statistics.median(a / b for a, b in zip(self.cpu[of], self.cpu[to], strict=True))


# ---- what runs in workers -------------------------------------------------------------------------------
def call(job: tuple[Callable[..., Any], dict[str, Any]]) -> float:
    """Do a task; returns the processor's seconds it took."""
    function, arguments = job
    start = time.process_time()
    function(**arguments)
    return time.process_time() - start


def warm(job: tuple[Callable[..., Any], dict[str, Any]] | None) -> None:
    """Import, compile and allocate before anything is measured."""
    if job is not None:
        call(job)


def rss(_: int) -> tuple[int, int]:
    """The worker and its peak memory; `ru_maxrss` would start from that of the parent."""
    time.sleep(0.05)
    lines = Path("/proc/self/status").read_text().splitlines()
    return os.getpid(), next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))


def only_decode(*, scenes: Sequence[Scene], grid: Grid, written: Sequence[int], out: Path) -> None:
    """The limit: decode every file of a step, and write so many bytes in one move each."""
    import rasterio

    buffers: dict[tuple[Any, ...], np.ndarray] = {}
    for scene in scenes:
        for asset in scene.assets:
            with rasterio.Env(), rasterio.open(asset.path) as raster:
                shape = (raster.height, raster.width, raster.dtypes[0])
                if shape not in buffers:
                    buffers[shape] = np.empty(shape[:2], dtype=shape[2])
                raster.read(1, out=buffers[shape])
    for number, size in enumerate(written):
        partial = out.with_name(f"{out.name}-{number}.partial")
        partial.write_bytes(bytes(size))
        partial.replace(out.with_name(f"{out.name}-{number}"))


def decode_and_encode(*, scenes: Sequence[Scene], grid: Grid, number: int, store: Path, block: Any) -> None:
    """The limit with the codec: decode every file of a step, compress and write arrays like a composite."""
    import rasterio

    first = np.empty((len(SENTINEL2_BANDS), block.height, block.width), dtype=np.int16)
    for scene in scenes:
        for place, asset in enumerate(scene.assets):
            with rasterio.Env(), rasterio.open(asset.path) as raster:
                values = raster.read(1)
            if scene is scenes[0] and asset.band != "SCL":
                zoom = asset.zoom
                first[place] = values.repeat(zoom, axis=0).repeat(zoom, axis=1) if zoom > 1 else values
    tile = TileStore(store)
    tile.write("reflectance", block, first, step=number)
    tile.write("clear_count", block, (first[0] & 1).astype(np.uint8), step=number)
    tile.write("seen_day", block, first[0] & 1, step=number)


# ---- one season of made scenes --------------------------------------------------------------------------
class Case:
    """Made scenes with the tasks that turn them into a cube."""

    def __init__(self, made: Made, folder: Path) -> None:
        self.made, self.folder = made, folder
        self.steps = dekads(made.scenes[0].date, made.scenes[-1].date)
        self.layout = Layout("48SXD", made.grid, SENTINEL2_BANDS, self.steps, INGEST_BLOCK, BLOCK)
        self.blocks = tuple(cut("48SXD", made.grid, size=INGEST_BLOCK))
        self.product_blocks = tuple(cut("48SXD", made.grid, size=BLOCK))

    def scenes_of(self, step: TimeStep) -> list[Scene]:
        return [scene for scene in self.made.scenes if step.holds(scene.date)]

    def mask_file(self, scene: Scene) -> Path:
        return self.folder / "masks" / f"{scene.name}.npz"

    def new_store(self, name: str = "cube") -> TileStore:
        tile = TileStore(self.folder / f"{name}.zarr")
        tile.create(self.layout)
        return tile

    def masks(self) -> list[Any]:
        return [
            (
                mask_scene,
                {
                    "scene": scene,
                    "grid": self.made.grid,
                    "owned": None,
                    "clouds": CLOUDS,
                    "mask_file": self.mask_file(scene),
                },
            )
            for scene in self.made.scenes
        ]

    def ingest(self, *, masked: bool) -> list[Any]:
        return [
            (
                ingest_step,
                {
                    "block": block,
                    "number": number,
                    "step": step,
                    "scenes": tuple(self.scenes_of(step)),
                    "mask_files": tuple(map(self.mask_file, self.scenes_of(step))) if masked else (),
                    "bands": SENTINEL2_BANDS,
                    "masks": () if masked else SCL_RULE,
                    "owned": None,
                    "store": self.folder / "cube.zarr",
                },
            )
            for number, step in enumerate(self.steps)
            for block in self.blocks
        ]

    def finish(self, *, tested: tuple[str, ...] | None) -> tuple[list[Any], list[Any]]:
        """Screening and gap filling."""
        store = self.folder / "cube.zarr"
        common = {"store": store, "bands": SENTINEL2_BANDS}
        screen = [
            (screen_block, common | {"block": b, "steps": self.steps, "tested": tested})
            for b in self.product_blocks
        ]
        rule = GapRule(max_gap=MAX_GAP)
        fill = [
            (fill_block, common | {"block": b, "dates": self.layout.dates, "rule": rule})
            for b in self.product_blocks
        ]
        return screen, fill

    def written(self) -> list[list[int]]:
        """Bytes of each step's shards, as our cube has them."""
        sizes = []
        for number in range(len(self.steps)):
            files = [
                path
                for name in ("reflectance", "clear_count", "seen_day")
                for path in (self.folder / "cube.zarr" / name / "c" / str(number)).rglob("*")
                if path.is_file()
            ]
            sizes.append([path.stat().st_size for path in files])
        return sizes

    def limit(self, sizes: list[list[int]]) -> list[Any]:
        (self.folder / "limit").mkdir(exist_ok=True)
        return [
            (
                only_decode,
                {
                    "scenes": self.scenes_of(step),
                    "grid": self.made.grid,
                    "written": sizes[number],
                    "out": self.folder / "limit" / str(number),
                },
            )
            for number, step in enumerate(self.steps)
        ]

    def limit_with_codec(self) -> list[Any]:
        store = self.folder / "codec.zarr"
        return [
            (
                decode_and_encode,
                {
                    "scenes": self.scenes_of(step),
                    "grid": self.made.grid,
                    "number": number,
                    "store": store,
                    "block": self.blocks[0],
                },
            )
            for number, step in enumerate(self.steps)
        ]


def pool_of(workers: int, case: Case) -> ProcessPoolExecutor:
    """Workers that have done one small step already."""
    small = case.ingest(masked=False)[0]
    before = {name: os.environ.get(name) for name in SINGLE_THREAD}
    os.environ.update(SINGLE_THREAD)  # as the engine's workers are: GDAL would decode a JP2 on every core
    try:
        pool = ProcessPoolExecutor(
            workers, mp_context=get_context("spawn"), initializer=warm, initargs=(small,)
        )
        list(pool.map(rss, range(4 * workers)))
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
    return pool


def do(pool: ProcessPoolExecutor, jobs: Sequence[Any]) -> float:
    """Do tasks in the pool; returns the processors' seconds."""
    return float(sum(pool.map(call, jobs)))


def run_ours(pool: ProcessPoolExecutor, case: Case) -> float:
    """Masks, then composites: the two stages that read scenes."""
    return do(pool, case.masks()) + do(pool, case.ingest(masked=True))


# ---- the parts ------------------------------------------------------------------------------------------
def against_the_limit(kind: str, case: Case, options: argparse.Namespace) -> dict[str, Any]:
    """Ingest ÷ decoding and writing."""
    case.new_store()
    case.new_store("codec")
    rounds = Rounds()
    with pool_of(options.workers, case) as pool:
        run_ours(pool, case)
        sizes = case.written()
        for _ in range(options.rounds):
            rounds.time("ours", lambda: run_ours(pool, case))
            rounds.time("limit", lambda: do(pool, case.limit(sizes)))
            rounds.time("codec", lambda: do(pool, case.limit_with_codec()))
    scenes, side = len(case.made.scenes), case.made.grid.width
    work = scenes * side * side / 1e6
    return {
        "part": kind,
        "what": f"{scenes} dates, {side}², {len(case.steps)} dekads, {case.made.bytes / 1e6:.0f} MB in "
        f"({case.made.bits_per_pixel:.1f} bit/px), {sum(map(sum, sizes)) / 1e6:.0f} MB out",
        "ours_s": rounds.median("ours"),
        "ours_spread": rounds.spread("ours"),
        "limit_s": rounds.median("limit"),
        "limit_spread": rounds.spread("limit"),
        "codec_s": rounds.median("codec"),
        "mpx_dates": work,
        "mpx_dates_per_s": work / rounds.median("ours"),
        "share_of_limit": rounds.ratio("limit", "ours"),
        "share_of_limit_cpu": rounds.cpu_ratio("limit", "ours"),
        "share_of_limit_with_codec": rounds.ratio("codec", "ours"),
        "ours_cpu_s": statistics.median(rounds.cpu["ours"]),
        "rounds": rounds.seconds,
    }


def composite(options: argparse.Namespace) -> dict[str, Any]:
    """Median of 36 dates with 40 % missing, each on all cores."""
    import numbagg

    side = min(options.side, 1024)
    rng = np.random.default_rng(0)
    numbers = rng.integers(0, 6000, (36, side, side), dtype=np.int16)
    numbers[rng.random(numbers.shape, dtype=np.float32) < 0.4] = NODATA
    floats = np.where(numbers == NODATA, np.float32(np.nan), numbers.astype(np.float32))
    last = np.ascontiguousarray(np.moveaxis(floats, 0, -1))
    rows = np.array_split(np.arange(side), options.workers)
    threads = ThreadPoolExecutor(options.workers)

    def ours() -> list[np.ndarray]:
        return list(threads.map(lambda r: median_of_numbers(numbers[:, r[0] : r[-1] + 1]), rows))

    works: dict[str, Callable[[], Any]] = {
        "ours": ours,
        "numbagg, axis 0": lambda: numbagg.nanmedian(floats, axis=0),
        "numbagg, last axis": lambda: numbagg.nanmedian(last, axis=-1),
    }
    results = {name: work() for name, work in works.items()}  # compiles
    expected = np.rint(results["numbagg, axis 0"])
    got = np.concatenate(results["ours"]).astype(np.float32)
    agree = bool((np.where(got == NODATA, np.nan, got) == expected)[np.isfinite(expected)].all())
    rounds = Rounds()
    for _ in range(options.rounds):
        for name, work in works.items():
            rounds.time(name, work)
    best = min(("numbagg, axis 0", "numbagg, last axis"), key=rounds.median)
    codes = np.full((36, 512, 512), CLEAR, dtype=np.uint8)
    codes[rng.random(codes.shape) < 0.4] = 0
    stack = rng.integers(500, 3000, (36, len(SENTINEL2_BANDS), 512, 512), dtype=np.int16)
    small = np.ascontiguousarray(stack[:2, :, :8, :8])
    compose(Views.of(small, SENTINEL2_BANDS), codes[:2, :8, :8], [0, 1])
    views, days = Views.of(stack, SENTINEL2_BANDS), [n % 10 for n in range(36)]
    rounds.time("compose", lambda: compose(views, codes, days))
    mpx = side * side / 1e6
    return {
        "part": "composite",
        "what": f"36 dates, {side}², 40 % missing, {options.workers} threads",
        "equal": agree,
        "best_numbagg": best,
        "mpx_per_s": {name: mpx / rounds.median(name) for name in works},
        "compose_one_core_mpx_bands_per_s": 0.262 * len(SENTINEL2_BANDS) / rounds.median("compose"),
        "times_numbagg": rounds.ratio(best, "ours"),
        "rounds": rounds.seconds,
    }


def scaling(case: Case, options: argparse.Namespace) -> dict[str, Any]:
    """One worker and all of them."""
    case.new_store()
    rounds = Rounds()
    with pool_of(1, case) as one, pool_of(options.workers, case) as many:
        for _ in range(max(2, options.rounds - 1)):
            rounds.time("one", lambda: run_ours(one, case))
            rounds.time("many", lambda: run_ours(many, case))
    return {
        "part": "scaling",
        "what": f"SAFE ingest of {len(case.made.scenes)} dates, 1 and {options.workers} workers",
        "one_s": rounds.median("one"),
        "many_s": rounds.median("many"),
        "times": rounds.ratio("one", "many"),
        "rounds": rounds.seconds,
    }


def cube(case: Case, options: argparse.Namespace) -> dict[str, Any]:
    """From COGs to a gap-filled cube, ours and the peer's."""
    side, scenes = case.made.grid.width, case.made.scenes
    first = case.steps[0].day
    step_of = {scene.name: next(s for s in case.steps if s.holds(scene.date)) for scene in scenes}
    left, bottom, right, top = case.made.grid.bounds
    request = case.folder / "peer.json"
    request.write_text(
        json.dumps(
            {
                "items": [item.to_dict() for item in items_of(scenes, side)],
                "dekads": [(step_of[scene.name].day - first).days for scene in scenes],
                "bbox": [left, bottom, right, top],
                "side": side,
                "bands": SENTINEL2_BANDS,
                "scale": scenes[0].assets[0].scale,
                "offset": scenes[0].assets[0].offset,
                "max_gap": MAX_GAP,
            }
        )
    )
    out = case.folder / "peer.zarr"
    chunk = min(options.peer_chunk, side)
    command = [sys.executable, str(Path(__file__).with_name("peer_odc.py")), str(request), "--out", str(out)]
    command += ["--chunk", str(chunk), "--threads", str(options.workers)]
    rounds, peaks = Rounds(), {"ours": 0, "whole": 0, "peer": 0}
    case.new_store()
    with pool_of(options.workers, case) as pool:

        def ours(*, masked: bool, tested: tuple[str, ...] | None) -> float:
            require_filled(case.new_store(), case.layout)
            stages = [case.masks() if masked else [], case.ingest(masked=masked), *case.finish(tested=tested)]
            return sum(do(pool, jobs) for jobs in stages)

        ours(masked=False, tested=())
        for _ in range(options.peer_rounds):
            rounds.time("ours", lambda: ours(masked=False, tested=()))
            peaks["ours"] = max(peaks["ours"], sum(dict(pool.map(rss, range(16))).values()))
            told = subprocess.run(command, capture_output=True, text=True, check=False)
            if told.returncode:
                raise SystemExit(f"peer_odc.py failed:\n{told.stderr[-3000:]}")
            answer = json.loads(told.stdout.strip().splitlines()[-1])
            rounds.seconds.setdefault("peer", []).append(answer["seconds"])
            rounds.cpu.setdefault("peer", []).append(answer["cpu_seconds"])
            peaks["peer"] = max(peaks["peer"], answer["peak_bytes"])
        agreement = _agreement(case, out)
        rounds.time("whole", lambda: ours(masked=True, tested=None))
        peaks["whole"] = sum(dict(pool.map(rss, range(16))).values())
        screened = Rounds()
        screened.time("screen", lambda: do(pool, case.finish(tested=None)[0]))
    work = len(scenes) * side * side / 1e6
    return {
        "part": "cube",
        "what": f"{len(scenes)} dates, {side}², ten bands, SCL, {len(case.steps)} dekads, gaps filled, Zarr",
        "ours_mpx_dates_per_s": work / rounds.median("ours"),
        "whole_mpx_dates_per_s": work / rounds.median("whole"),
        "peer_mpx_dates_per_s": work / rounds.median("peer"),
        "ours_spread": rounds.spread("ours"),
        "peer_spread": rounds.spread("peer"),
        "peer_chunk": chunk,
        "peak_gb": {name: value / 1e9 for name, value in peaks.items()},
        "agreement": agreement,
        "times_peer": rounds.ratio("peer", "ours"),
        "times_peer_cpu": rounds.cpu_ratio("peer", "ours"),
        "screen_mpx_steps_per_s": len(case.steps) * side * side / 1e6 / screened.median("screen"),
        "rounds": rounds.seconds,
    }


def _agreement(case: Case, out: Path) -> dict[str, float]:
    """How far both cubes are the same: pixels filled in both, and equal to 1/10 000 there."""
    import zarr

    ours = TileStore(case.folder / "cube.zarr").array(FILLED)
    theirs = zarr.open_group(str(out), mode="r")
    same, both, total = 0, 0, 0
    for number, band in enumerate(SENTINEL2_BANDS[::4]):
        a = np.asarray(ours[:, number * 4]).astype(np.int32)
        b = np.asarray(theirs[band][:]).astype(np.int32)
        valid = (a != NODATA) & (b != NODATA)
        total += int(((a != NODATA) | (b != NODATA)).sum())
        both += int(valid.sum())
        same += int((np.abs(a - b)[valid] <= 1).sum())
    return {"filled_in_both": both / total, "equal": same / both}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--side", type=int, default=2048, help="Pixels of 10 m a side (2048).")
    parser.add_argument("--dates", type=int, default=36, help="Dates of COGs (36).")
    parser.add_argument("--safe-dates", type=int, default=8, help="Dates of JP2 (8): these are slow to make.")
    parser.add_argument("--distinct", type=int, default=4, help="Dates encoded anew; others are links (4).")
    parser.add_argument("--rounds", type=int, default=3, help="Times each is measured (3).")
    parser.add_argument("--peer-rounds", type=int, default=2, help="Times the peer is measured (2).")
    parser.add_argument("--peer-chunk", type=int, default=1024, help="Chunk of the peer in pixels (1024).")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--only", nargs="*", choices=PARTS, default=list(PARTS))
    parser.add_argument("--quick", action="store_true", help="Small: under 40 s.")
    parser.add_argument("--folder", type=Path, help="Keep and reuse the inputs here.")
    parser.add_argument("--json", type=Path, help="Write the figures here, too.")
    options = parser.parse_args()
    if options.quick:
        options.side, options.dates, options.safe_dates, options.distinct = 1024, 12, 4, 2
        options.rounds = options.peer_rounds = 1
    keep_freed_memory()  # as the engine's workers are told to
    console = Console(width=140)
    folder = options.folder or Path(tempfile.mkdtemp(prefix="eo-ingest-"))
    results: list[dict[str, Any]] = []
    try:
        cases: dict[str, Case] = {}
        for kind, dates in (("safe", options.safe_dates), ("cog", options.dates)):
            start = time.perf_counter()
            made = make(
                folder / f"inputs-{options.side}", kind, side=options.side, dates=dates,
                distinct=min(options.distinct, dates), workers=options.workers,
            )  # fmt: skip
            (folder / f"work-{kind}").mkdir(exist_ok=True)
            cases[kind] = Case(made, folder / f"work-{kind}")
            console.print(f"made {kind}: {dates} dates in {time.perf_counter() - start:.1f} s", style="dim")
        parts: dict[str, Callable[[], dict[str, Any]]] = {
            "safe": lambda: against_the_limit("safe", cases["safe"], options),
            "cog": lambda: against_the_limit("cog", cases["cog"], options),
            "composite": lambda: composite(options),
            "scaling": lambda: scaling(cases["safe"], options),
            "cube": lambda: cube(cases["cog"], options),
        }
        for name in PARTS:
            if name in options.only:
                start = time.perf_counter()
                results.append(parts[name]())
                if options.json:  # after each part: a long run that is stopped has not been for nothing
                    document = {"machine": machine(), "results": results}
                    text = json.dumps(document, default=str, indent=2, ensure_ascii=False)
                    options.json.write_text(text, encoding="utf-8")
                console.print(f"measured {name} in {time.perf_counter() - start:.1f} s", style="dim")
    finally:
        if options.folder is None:
            shutil.rmtree(folder, ignore_errors=True)
    console.print(table(results))
    console.print(machine(), highlight=False)


if __name__ == "__main__":
    main()
