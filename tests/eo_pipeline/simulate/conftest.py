"""One small piece of land for the twin's tests: 2 km, four harvest years, made once."""

from __future__ import annotations

import pytest

from eo_pipeline.simulate import calendar, landscape, scenes


@pytest.fixture(scope="session")
def land() -> landscape.Landscape:
    return landscape.build(2.0, seed=7)


@pytest.fixture(scope="session")
def world(land: landscape.Landscape) -> scenes.World:
    plan = calendar.rotate(land, range(2024, 2028), seed=7)
    return scenes.make_world(land, plan, seed=7)
