"""`manage.py expire_orders`: close unpaid orders past their time; for a timer, every minute."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand

from shop.services import expire_orders


class Command(BaseCommand):
    help = "Close unpaid orders past their time and give the goods back. Safe at any time, and twice."

    def handle(self, *args: Any, **options: Any) -> None:
        closed = expire_orders()
        self.stdout.write(f"expire_orders: {len(closed)} closed{': ' + ', '.join(closed) if closed else ''}")
