"""`manage.py load_demo_shop`: sample booths, products and stock, marked 示例."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError

from shop import demo


class Command(BaseCommand):
    help = "Load sample booths, products, grades and stock of the sample growers; may be run again."

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            loaded = demo.load()
        except LookupError as error:
            raise CommandError(str(error), returncode=2) from error
        self.stdout.write(
            f"shop: {loaded.sellers} sellers, {loaded.products} products in {loaded.skus} grades and packs, "
            "all marked 示例; nothing is charged or sent"
        )
