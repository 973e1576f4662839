"""Run folders, units and people of every role."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import Group
from django.core.management import call_command

from accounts.models import User
from accounts.roles import BUREAU, COUNTY, EDITOR, SELLER
from monitoring.models import Estimate, Run

sys.path.insert(0, str(Path(__file__).parent))
from runfolder import build_run, parcels_file


@pytest.fixture(scope="session")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sound run folder; copy it before harming it."""
    return build_run(tmp_path_factory.mktemp("run") / "demo-2026")


@pytest.fixture
def units(db: None) -> None:
    call_command("load_demo_places", stdout=io.StringIO())


@pytest.fixture
def runs_dir(settings: Any, tmp_path: Path) -> Path:
    settings.RUNS_DIR = tmp_path / "runs"
    return settings.RUNS_DIR


@pytest.fixture
def imported(units: None, runs_dir: Path, run_folder: Path) -> Run:
    """The run, imported, everything still a draft."""
    from monitoring.services import import_run

    return import_run(path=run_folder).run


@pytest.fixture
def parcels(imported: Run, tmp_path: Path) -> int:
    from monitoring.services import import_parcels

    return import_parcels(path=parcels_file(tmp_path / "parcels.geojson"), simulated=True)


@pytest.fixture
def person(units: None) -> Callable[..., User]:
    """Makes a person of a role: `person("county", county="620826")`."""

    def make(role: str = "", county: str | None = None) -> User:
        user = User.objects.create_user(
            f"{role or 'visitor'}-{county or 'x'}", password="x", county_id=county
        )
        if role:
            user.groups.add(Group.objects.get_or_create(name=role)[0])
        return user

    return make


@pytest.fixture
def bureau(person: Callable[..., User]) -> User:
    return person(BUREAU)


@pytest.fixture
def county(person: Callable[..., User]) -> User:
    """Staff of Jingning."""
    return person(COUNTY, county="620826")


@pytest.fixture
def others(person: Callable[..., User]) -> dict[str, User]:
    """People who may not decide on Jingning."""
    return {
        "other county": person(COUNTY, county="620822"),
        "county staff without county": person(COUNTY),
        "editor": person(EDITOR),
        "seller": person(SELLER),
        "buyer": person(),
    }


@pytest.fixture
def wheat(imported: Run) -> Estimate:
    """Jingning's adjusted wheat area, a draft."""
    return Estimate.objects.get(
        run=imported,
        product="area",
        crop="winter_wheat",
        unit_adcode="620826",
        method="adjusted_count_model_based",
    )
