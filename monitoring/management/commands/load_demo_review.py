"""`manage.py load_demo_review`: the demo's reviewer decides, so that public pages have something to show."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from accounts.models import User
from accounts.roles import BUREAU
from monitoring.models import Estimate, Review
from monitoring.services import Seen, review


class Command(BaseCommand):
    help = (
        "Accept simulated estimates as the demo's reviewer: earlier seasons whole, the latest by county. "
        "Its townships and the parcels stay open, for a visitor to decide on. Real runs are never touched."
    )

    def handle(self, *args: Any, **options: Any) -> None:
        if not settings.DEMO:
            raise CommandError("load_demo_review decides on simulated runs and works only where DEMO is on.")
        reviewer = User.objects.filter(username="bureau-demo", groups__name=BUREAU).first()
        if reviewer is None:
            raise CommandError("There is no bureau-demo to decide. Run `manage.py load_demo_users` first.")
        rows = Estimate.objects.filter(run__simulated=True, run__current=True)
        latest = rows.order_by("-run__season_end").values_list("run__season_end", flat=True).first()
        undecided = rows.filter(state=Estimate.State.DRAFT, reviews=None).exclude(
            unit_adcode__startswith="parcel:"
        )
        chosen = [
            row
            for row in undecided.select_related("run", "place")
            if row.place is None or row.place.level == "county" or row.run.season_end != latest
        ]
        if chosen:
            review(
                user=reviewer,
                seen=[Seen(row.pk, row.row_version) for row in chosen],
                decision=Review.Decision.ACCEPT,
                comment="示例：模拟数据，演示自动通过",
            )
        self.stdout.write(f"{len(chosen)} simulated estimates accepted by {reviewer}, {rows.count()} in all")
