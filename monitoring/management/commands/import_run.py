"""`manage.py import_run PATH`: takes run folders in, whole or not at all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from monitoring.errors import MonitoringError
from monitoring.services import import_parcels, import_run


class Command(BaseCommand):
    help = (
        "Import run folders that `eo run` has made: checksums are verified, a damaged folder is refused "
        "whole, importing the same folder again changes nothing."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("path", type=Path, nargs="+", help="run folder(s)")
        parser.add_argument(
            "--new-version",
            action="store_true",
            help="the run id has accepted numbers: import other content as a new version beside them",
        )
        parser.add_argument("--parcels", type=Path, help="vector file with the outlines of the run's parcels")
        parser.add_argument(
            "--id-field", default="id", help="field of --parcels with the parcel code (default: id)"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            simulated = False
            for path in options["path"]:
                imported = import_run(path=path, new_version=options["new_version"])
                simulated = simulated or imported.run.simulated
                state = "imported" if imported.created else "already imported"
                self.stdout.write(
                    f"{imported.run.run_id} version {imported.run.version}: {state}; "
                    f"{imported.estimates} estimates, "
                    f"{imported.series} curves{', simulated data' if imported.run.simulated else ''}"
                )
            if options["parcels"]:
                count = import_parcels(
                    path=options["parcels"], id_field=options["id_field"], simulated=simulated
                )
                self.stdout.write(f"{count} parcel outlines imported")
        except MonitoringError as error:
            raise CommandError(str(error), returncode=2) from error
