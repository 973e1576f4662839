"""Two counties, a co-op and its orchard."""

from __future__ import annotations

from decimal import Decimal

import pytest

from farms.models import Grower, Orchard
from farms.services import register_grower, register_orchard
from places.models import Unit


@pytest.fixture
def jingning(db: None) -> Unit:
    return Unit.objects.get_or_create(adcode="620826", defaults={"name": "静宁县", "level": "county"})[0]


@pytest.fixture
def weirong(jingning: Unit) -> Unit:
    return Unit.objects.get_or_create(
        adcode="620826101", defaults={"name": "威戎镇", "level": "township", "parent": jingning}
    )[0]


@pytest.fixture
def zhuanglang(db: None) -> Unit:
    return Unit.objects.get_or_create(adcode="620825", defaults={"name": "庄浪县", "level": "county"})[0]


@pytest.fixture
def grower(jingning: Unit, weirong: Unit) -> Grower:
    return register_grower(
        code="T-C01",
        name="示例合作社",
        kind=Grower.Kind.COOP,
        credit_code="93620826DEMA00001C",
        county=jingning,
        township=weirong,
    )


@pytest.fixture
def orchard(grower: Grower, weirong: Unit) -> Orchard:
    return register_orchard(
        code="T-GY-01",
        name="示例果园",
        grower=grower,
        township=weirong,
        area_mu=Decimal("12.5"),
        variety="红富士",
        planting_year=2012,
    )
