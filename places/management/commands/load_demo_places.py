"""`manage.py load_demo_places`: the prefecture, its counties and demo townships with schematic outlines."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand

from places.models import Unit
from places.services import load_demo_places


class Command(BaseCommand):
    help = "Load the prefecture, 7 counties and demo townships. Their outlines are 示意; official ones stay."

    def handle(self, *args: Any, **options: Any) -> None:
        units = load_demo_places()
        count = {level: sum(unit.level == level for unit in units) for level in Unit.Level.values}
        schematic = sum(unit.schematic for unit in units)
        self.stdout.write(
            f"places: {count['prefecture']} prefecture, {count['county']} counties, {count['township']} "
            f"townships; {schematic} outlines are schematic (示意)"
        )
