"""Every read of the farms room. Held batches are nobody's business yet: nothing here shows them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.db.models import Count, Prefetch, QuerySet, Sum

from farms.models import Batch, Grower, Orchard

if TYPE_CHECKING:
    from monitoring.curves import Curve

PUBLIC_STATES = (Batch.State.RELEASED, Batch.State.RECALLED)


def growers(*, county: str = "") -> QuerySet[Grower]:
    """Growers with the number and area of their orchards; `county` is a six-digit code, empty for all."""
    found = Grower.objects.select_related("county", "township").annotate(
        orchard_count=Count("orchards"), orchard_area_mu=Sum("orchards__area_mu")
    )
    return found.filter(county_id=county) if county else found


def orchards(*, county: str = "") -> QuerySet[Orchard]:
    """Orchards with grower and township; `county` is a six-digit code, empty for all."""
    found = Orchard.objects.select_related("grower__county", "township")
    return found.filter(grower__county_id=county) if county else found


def counties_with_growers() -> list[tuple[str, str, str]]:
    """Code, name and English name of counties that have a grower, for the filter."""
    return list(
        Grower.objects.order_by("county_id")
        .values_list("county_id", "county__name", "county__name_en")
        .distinct()
    )


def orchard_by_code(code: str) -> Orchard | None:
    """An orchard with its public batches as `public_batches`, or None."""
    batches = Batch.objects.filter(state__in=PUBLIC_STATES).order_by("-harvest_date", "code")
    return (
        Orchard.objects.select_related("grower__county", "grower__township", "township")
        .prefetch_related(Prefetch("batches", queryset=batches, to_attr="public_batches"))
        .filter(code=code)
        .first()
    )


def orchard_curve(orchard: Orchard) -> Curve | None:
    """Season curve of the orchard's parcel from accepted runs; None without a parcel or such a run.

    The curve is evidence of how the trees grew (监测值), never a certificate of quality (非质量认证).
    """
    # The room below is asked only where a parcel is linked.
    from monitoring.selectors import parcel_curve

    return parcel_curve(orchard.parcel_code) if orchard.parcel_code else None
