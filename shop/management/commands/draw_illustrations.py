"""`manage.py draw_illustrations`: write the drawings of produce to frontend/img/shop again."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand

from shop.illustrations import draw_all


class Command(BaseCommand):
    help = "Write the drawings of produce (shop/illustrations.py) to frontend/img/shop; commit them."

    def handle(self, *args: Any, **options: Any) -> None:
        for path in draw_all(settings.BASE_DIR / "frontend" / "img" / "shop"):
            self.stdout.write(path.name)
