"""`manage.py load_demo_farms`: sample growers, orchards and batches, marked 示例."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError

from farms import demo


class Command(BaseCommand):
    help = "Load sample growers, orchards on apple parcels of imported runs, batches; may be run again."

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            loaded = demo.load()
        except LookupError as error:
            raise CommandError(str(error), returncode=2) from error
        self.stdout.write(
            f"farms: {loaded.growers} growers, {loaded.orchards} orchards ({loaded.linked} on a parcel), "
            f"{loaded.batches} batches, all marked 示例"
        )
        if not loaded.linked:
            self.stdout.write("farms: no imported run has apple parcels yet; run import_run, then this again")
