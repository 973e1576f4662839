"""Reads of administrative units."""

from __future__ import annotations

from places.facts import PREFECTURE_CODE, current_code
from places.models import Unit


def find_unit(code: str) -> Unit | None:
    """The unit of a code of today or a former one (620824 → Huating 620881)."""
    return (
        Unit.objects.filter(adcode=current_code(code)).first()
        or Unit.objects.filter(former_codes__contains=[code]).first()
    )


def county_code_of(unit: Unit | None) -> str:
    """Code of the county a unit lies in; the prefecture's code for the prefecture itself and for no unit."""
    if unit is None or unit.level == Unit.Level.PREFECTURE:
        return PREFECTURE_CODE
    return unit.adcode[:6]


def counties() -> list[Unit]:
    """The county-level units, by code."""
    return list(Unit.objects.filter(level=Unit.Level.COUNTY))
