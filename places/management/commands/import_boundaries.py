"""`manage.py import_boundaries FILE`: takes official outlines over, all or none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from places.boundaries import DATUMS
from places.errors import PlacesError
from places.models import Unit
from places.services import import_boundaries


class Command(BaseCommand):
    help = (
        "Import outlines of administrative units from GeoPackage, GeoJSON or Shapefile (.zip too). "
        "Invalid polygons are repaired and named, former codes are mapped (620824 → 620881), and "
        "everything is stored as WGS 84 degrees."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("file", type=Path)
        parser.add_argument("--level", choices=Unit.Level.values, default=Unit.Level.COUNTY.value)
        parser.add_argument(
            "--code-field", default="", help="field with the 6 or 9 digit code (default: the usual names)"
        )
        parser.add_argument(
            "--name-field", default="", help="field with the name; needed only for new townships"
        )
        parser.add_argument(
            "--datum",
            choices=DATUMS,
            default="file",
            help="gcj02 for AMap and DataV files, whatever they claim",
        )
        parser.add_argument("--where", default="", help="OGR SQL condition that leaves rows out")
        parser.add_argument("--layer", default="", help="layer of a GeoPackage with several")
        parser.add_argument("--schematic", action="store_true", help="mark the outlines as 示意")
        parser.add_argument("--dry-run", action="store_true", help="check and report, change nothing")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            rows = import_boundaries(
                path=options["file"],
                level=options["level"],
                code_field=options["code_field"],
                name_field=options["name_field"],
                datum=options["datum"],
                where=options["where"],
                layer=options["layer"],
                is_schematic=options["schematic"],
                dry_run=options["dry_run"],
            )
        except PlacesError as error:
            raise CommandError(str(error), returncode=2) from error
        for row in rows:
            boundary = row.boundary
            code = (
                boundary.code
                if boundary.code == boundary.file_code
                else f"{boundary.file_code} → {boundary.code}"
            )
            state = "new" if row.created else "changed" if row.changed else "unchanged"
            repaired = f"  repaired: {boundary.repaired}" if boundary.repaired else ""
            self.stdout.write(f"{code}  {boundary.name}  {boundary.area_km2:,.1f} km²  {state}{repaired}")
        total = sum(row.boundary.area_km2 for row in rows)
        repaired_count = sum(bool(row.boundary.repaired) for row in rows)
        end = "; dry run, nothing was changed" if options["dry_run"] else ""
        self.stdout.write(f"{len(rows)} unit(s), {total:,.1f} km², {repaired_count} repaired{end}")
