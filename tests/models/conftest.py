"""Made-up seasons on which a network trains in a second, and the real samples."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from models.training import TrainingSettings


@dataclass(frozen=True)
class Season:
    """Labelled series: wheat peaks early, maize late, orchards are green all along."""

    X: NDArray[np.float32]
    y: NDArray[np.str_]
    groups: NDArray[np.int64]


def make_season(*, n: int = 150, steps: int = 18, noise: float = 0.06, seed: int = 0) -> Season:
    """Three crops in two channels with noise, fields of three samples, and a fifth of the dates clouded."""
    rng = np.random.default_rng(seed)
    groups = np.repeat(np.arange(n // 3), 3)
    y = np.array(["orchard", "maize", "wheat"])[groups % 3]
    peak = np.select([y == "wheat", y == "maize"], [0.3, 0.65], 0.5)[:, None] * steps
    width = np.where(y == "orchard", 0.5, 0.12)[:, None] * steps
    ndvi = 0.15 + 0.6 * np.exp(-(((np.arange(steps) - peak) / width) ** 2))
    red = 0.3 - 0.3 * ndvi
    X = np.stack([ndvi, red], axis=2) + rng.normal(0, noise, (n, steps, 2))
    X[rng.random((n, steps)) < 0.2] = np.nan
    return Season(X=X.astype(np.float32), y=y, groups=groups)


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    """Networks this small gain nothing from threads, and lose much where tests run side by side."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def season() -> Season:
    return make_season()


@pytest.fixture(scope="session")
def brief() -> TrainingSettings:
    """Training short enough for tests; the real settings are tested on real data."""
    return TrainingSettings(epochs=5, min_steps=50, batch_size=32)


@pytest.fixture(scope="session")
def matogrosso(shared_data: Path) -> Season:
    """MODIS series of nine classes; samples within 1 km are a group."""
    folder = shared_data / "matogrosso-modis"
    return _real(folder / "matogrosso.npz", folder / "matogrosso_samples.csv", km=1.0)


@pytest.fixture(scope="session")
def bahia(shared_data: Path) -> Season:
    """CBERS-4 series of four classes; samples within 5 km are a group."""
    folder = shared_data / "cbers-bahia"
    return _real(folder / "cbers_bahia.npz", folder / "cbers_bahia_samples.csv", km=5.0)


def _real(npz: Path, table: Path, *, km: float) -> Season:
    from models.samples import read_samples

    data = read_samples(npz, table=table, group_km=km).data
    return Season(X=data.X, y=data.y, groups=data.groups)
