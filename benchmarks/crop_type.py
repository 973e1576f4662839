"""The crop type network beside the tree baseline: accuracy on real samples, and speed of both.

    .venv/bin/python benchmarks/crop_type.py [--sets matogrosso bahia bahia-ndvi-evi] [--threads 2]

Accuracy is 5-fold, with the shipped settings: groups (places within one square) kept whole, and plain
stratified folds to compare with published figures. It needs the real data
in ../shared/data; speed needs none.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from models.baseline import TreeBaseline
from models.crop_type import CropTypeModel
from models.evaluate import CrossValidation, cross_validate
from models.samples import read_samples
from models.training import TrainingSettings

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


@dataclass(frozen=True)
class SampleSet:
    """Real samples, and the channels and squares they are tested with."""

    npz: str
    table: str
    group_km: float
    channels: tuple[str, ...] | None = None


SETS = {
    "matogrosso": SampleSet(
        "matogrosso-modis/matogrosso.npz", "matogrosso-modis/matogrosso_samples.csv", 1.0
    ),
    "bahia": SampleSet("cbers-bahia/cbers_bahia.npz", "cbers-bahia/cbers_bahia_samples.csv", 5.0),
    "bahia-ndvi-evi": SampleSet(
        "cbers-bahia/cbers_bahia.npz", "cbers-bahia/cbers_bahia_samples.csv", 5.0, ("NDVI", "EVI")
    ),
}


def accuracy(names: list[str], *, seed: int, threads: int, plain: bool, console: Console) -> Table:
    """Cross-validate each set by groups, and by plain folds too when asked."""
    table = Table(title=f"5-fold accuracy, seed {seed}")
    for column in ("set", "folds", "network OA", "F1", "ECE", "trees OA", "F1", "ECE", "s a fold"):
        table.add_column(column, justify="left" if column in ("set", "folds") else "right")
    for name in names:
        chosen = SETS[name]
        samples = read_samples(DATA / chosen.npz, table=DATA / chosen.table, group_km=chosen.group_km)
        X = samples.data.X
        if chosen.channels is not None:
            assert samples.channels is not None
            X = X[:, :, [samples.channels.index(channel) for channel in chosen.channels]]
        kinds: dict[str, NDArray[np.int64] | None] = {f"{chosen.group_km:g} km squares": samples.data.groups}
        if plain:
            kinds["plain"] = None
        for kind, groups in kinds.items():
            start = time.perf_counter()
            result = cross_validate(X, samples.data.y, groups=groups, seed=seed, threads=threads)
            row = [name, kind, *_figures(result), f"{(time.perf_counter() - start) / 5:.1f}"]
            table.add_row(*row)
            # Minutes pass between two rows; what is measured is told at once.
            console.print("measured:", *row, highlight=False)
    return table


def speed(*, threads: int, n: int = 2000, steps: int = 36, channels: int = 10, classes: int = 10) -> Table:
    """Time training and prediction of both on made-up series with a fifth of the dates clouded."""
    rng = np.random.default_rng(0)
    X = rng.random((n, steps, channels), dtype=np.float32)
    X[rng.random((n, steps)) < 0.2] = np.nan
    y = rng.integers(0, classes, n)
    many = np.tile(X, (8, 1, 1))
    start = time.perf_counter()
    model = CropTypeModel.fit(X, y, threads=threads)
    trained = time.perf_counter() - start
    start = time.perf_counter()
    tree = TreeBaseline.fit(X, y, threads=threads)
    grown = time.perf_counter() - start
    network_rate = max(_rate(lambda: model.predict_proba(many, threads=threads), len(many)) for _ in range(3))
    tree_rate = _rate(lambda: tree.predict_proba(many), len(many))
    table = Table(title=f"{steps} dates × {channels} channels, {threads} threads, 20 % of dates missing")
    for column in ("", f"train on {n:,}, s", "series/s", "against trees"):
        table.add_column(column, justify="right")
    table.add_row("network", f"{trained:.1f}", f"{network_rate:,.0f}", f"{network_rate / tree_rate:.2f} ×")
    table.add_row("trees", f"{grown:.1f}", f"{tree_rate:,.0f}", "1")
    table.caption = f"{model.card.parameters:,} parameters, {TrainingSettings().epochs} epochs"
    return table


def _rate(work, n: int) -> float:
    start = time.perf_counter()
    work()
    return n / (time.perf_counter() - start)


def _figures(result: CrossValidation) -> list[str]:
    return [
        f"{value:.4f}"
        for part in (result.model, result.baseline)
        for value in (part.overall_accuracy, part.macro_f1, part.ece)
    ]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sets", nargs="*", choices=SETS, default=list(SETS))
    parser.add_argument("--seed", type=int, default=42)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--no-plain", action="store_true", help="leave the plain stratified folds out")
    options = parser.parse_args()
    console = Console(width=140)
    console.print(speed(threads=options.threads))
    if not DATA.is_dir():
        console.print(f"No real data at {DATA}: accuracy was not measured.")
        return
    console.print(
        accuracy(
            options.sets,
            seed=options.seed,
            threads=options.threads,
            plain=not options.no_plain,
            console=console,
        )
    )


if __name__ == "__main__":
    main()
