"""The tiny twin in SAFE form that all drills share."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from drilling import Twin

from eo_pipeline.simulate import twin as simulator


@pytest.fixture(scope="session")
def twin(tmp_path_factory: pytest.TempPathFactory) -> Twin:
    """36 products of 18 overpasses over 600 m × 600 m where tiles 48SWE and 48SWD overlap."""
    folder = tmp_path_factory.mktemp("twin") / "safe"
    options = simulator.TwinOptions(size_km=0.6, seasons=1, format="safe", every=20)
    simulator.simulate(folder, options)
    outlines = json.loads((folder / "2026/units.geojson").read_text(encoding="utf-8"))
    points = [point for item in outlines["features"] for point in _points(item["geometry"]["coordinates"])]
    west, south = (min(point[axis] for point in points) for axis in (0, 1))
    east, north = (max(point[axis] for point in points) for axis in (0, 1))
    return Twin(Path(folder), (west, south, east, north))


def _points(nested: list) -> list[list[float]]:
    if isinstance(nested[0], int | float):
        return [nested]
    return [point for part in nested for point in _points(part)]
