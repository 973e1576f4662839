"""Every write to `places`: demo units with schematic outlines, official boundaries. One transaction each."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import shapely
from django.contrib.gis.geos import GEOSGeometry, MultiPolygon
from django.db import transaction

from places import schematic
from places.boundaries import Boundary, Datum, Level, read_boundaries
from places.errors import BoundaryFileError
from places.facts import COUNTIES, PREFECTURE_CODE, PREFECTURE_NAME, PREFECTURE_NAME_EN, TOWNSHIPS
from places.models import Unit

SCHEMATIC_SOURCE = "自绘示意，依据各县中心点、四至和面积生成"


@dataclass(frozen=True, slots=True)
class ImportedBoundary:
    """What became of one row of a boundary file."""

    boundary: Boundary
    created: bool
    changed: bool


@transaction.atomic
def load_demo_places() -> list[Unit]:
    """Prefecture, 7 counties and demo townships with schematic outlines; official outlines are left alone."""
    counties = schematic.county_outlines()
    outlines = {
        outline.code: outline.polygon for outline in [*counties, *schematic.township_outlines(counties)]
    }
    outlines[PREFECTURE_CODE] = schematic.prefecture_outline(counties)
    rows = [
        (PREFECTURE_CODE, PREFECTURE_NAME, PREFECTURE_NAME_EN, Unit.Level.PREFECTURE, None, ()),
        *((c.code, c.name, c.name_en, Unit.Level.COUNTY, PREFECTURE_CODE, c.former_codes) for c in COUNTIES),
        *((t.code, t.name, t.name_en, Unit.Level.TOWNSHIP, t.code[:6], ()) for t in TOWNSHIPS),
    ]
    units = []
    for code, name, name_en, level, parent, former in rows:
        unit = Unit.objects.select_for_update().filter(adcode=code).first() or Unit(
            adcode=code, name=name, level=level
        )
        unit.name_en = unit.name_en or name_en
        unit.parent_id = unit.parent_id or parent
        unit.former_codes = sorted({*unit.former_codes, *former})
        if unit.schematic or unit.outline is None:
            unit.outline, unit.schematic, unit.source = _geos(outlines[code]), True, SCHEMATIC_SOURCE
        unit.save()
        units.append(unit)
    return units


@transaction.atomic
def import_boundaries(
    *,
    path: Path,
    level: Level = "county",
    code_field: str = "",
    name_field: str = "",
    datum: Datum = "file",
    where: str = "",
    layer: str = "",
    is_schematic: bool = False,
    dry_run: bool = False,
) -> list[ImportedBoundary]:
    """Take over the outlines of a file, all or none; running it again changes nothing.

    Townships that are new are created below their county. `dry_run` does everything and rolls back.

    Raises
    ------
    BoundaryFileError
        See `places.boundaries.read_boundaries`; also a code that is not of this prefecture.
    """
    boundaries = read_boundaries(
        path, level=level, code_field=code_field, name_field=name_field, datum=datum, where=where, layer=layer
    )
    _refuse_unknown(path, level, boundaries)
    imported = []
    for boundary in boundaries:
        unit = Unit.objects.select_for_update().filter(adcode=boundary.code).first()
        created = unit is None
        if unit is None:
            unit = Unit(adcode=boundary.code, name=boundary.name, level=level, parent_id=boundary.code[:6])
        outline = _geos(boundary.geometry)
        source = f"{path.name} ({datum})"
        changed = (
            created
            or unit.outline is None
            or not unit.outline.equals_exact(outline)
            or (unit.schematic, unit.source) != (is_schematic, source)
        )
        unit.outline, unit.schematic, unit.source = outline, is_schematic, source
        # A city that was a county keeps its former code for old ear tags and tables.
        former = boundary.file_code[: len(boundary.code)]
        if former != boundary.code and former not in unit.former_codes:
            unit.former_codes = sorted([*unit.former_codes, former])
        if changed:
            unit.save()
        imported.append(ImportedBoundary(boundary, created, changed))
    if dry_run:
        transaction.set_rollback(True)
    return imported


def _refuse_unknown(path: Path, level: Level, boundaries: Iterable[Boundary]) -> None:
    known = set(Unit.objects.filter(level=level).values_list("adcode", flat=True))
    counties = set(Unit.objects.filter(level=Unit.Level.COUNTY).values_list("adcode", flat=True))
    if not (counties if level == "township" else known):
        raise BoundaryFileError("The site has no units yet. Run `manage.py load_demo_places` first.")
    unknown, nameless = [], []
    for boundary in boundaries:
        if level == "township" and boundary.code not in known and boundary.code[:6] in counties:
            if not boundary.name:
                nameless.append(boundary.code)
        elif boundary.code not in known:
            unknown.append(f"{boundary.file_code} {boundary.name}".strip())
    if unknown:
        raise BoundaryFileError(
            f"{path}: {len(unknown)} unit(s) do not belong to this prefecture at level {level}, first "
            f"{unknown[0]}. Known are {', '.join(sorted(known))[:300] or '(none)'}. Leave the others out, "
            "e.g. --where \"adcode LIKE '6208%'\", or choose another --level or --code-field. Nothing was "
            "imported."
        )
    if nameless:
        raise BoundaryFileError(
            f"{path}: township {nameless[0]} is new and has no name. Say which field holds names with "
            "--name-field. Nothing was imported."
        )


def _geos(geometry: shapely.Geometry) -> MultiPolygon:
    """Shapely → GEOS as bytes: the two libraries are different builds and share no objects."""
    geos = GEOSGeometry(memoryview(shapely.to_wkb(geometry)), srid=4326)
    return geos if isinstance(geos, MultiPolygon) else MultiPolygon(geos, srid=4326)
