"""The tiny twin in SAFE form that all drills share."""

from __future__ import annotations

from pathlib import Path

import pytest
from drilling import Twin, outline

from eo_pipeline.simulate import twin as simulator


@pytest.fixture(scope="session")
def twin(tmp_path_factory: pytest.TempPathFactory) -> Twin:
    """36 products of 18 overpasses over 600 m × 600 m where tiles 48SWE and 48SWD overlap."""
    folder = tmp_path_factory.mktemp("twin") / "safe"
    options = simulator.TwinOptions(size_km=0.6, seasons=1, format="safe", every=20)
    simulator.simulate(folder, options)
    return Twin(Path(folder), outline(folder))
