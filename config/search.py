"""What the search page finds besides pages; here because `cms` may not know `shop`."""

from __future__ import annotations

from functools import reduce
from operator import or_
from typing import Any

from django.db.models import Q
from django.urls import reverse
from django.utils.http import urlencode
from django.utils.translation import get_language, gettext

from cms.chinese import names_of
from cms.search import OtherHit, OtherHits
from farms.selectors import orchards
from shop.selectors import showroom

LIMIT = 4
ORCHARD_FIELDS = ("name", "name_en", "variety", "grower__name", "grower__county__name", "township__name")


def _named(thing: Any) -> str:
    """A record's name in the reader's language."""
    english = not (get_language() or "zh").startswith("zh")
    return str((english and thing.name_en) or thing.name)


def products(query: str, words: tuple[str, ...]) -> OtherHits:
    """Products of the showroom, found as the showroom itself finds them."""
    found = showroom(query=query)
    return OtherHits(
        title=gettext("网上展厅"),
        hits=tuple(
            OtherHit(
                title=_named(product),
                url=reverse("shop:product", args=[product.slug]),
                text=f"{_named(product.county)} · {_named(product.seller.grower)}",
            )
            for product in found[:LIMIT]
        ),
        more_url=f"{reverse('shop:showroom')}?{urlencode({'q': query})}",
        count=found.count(),
    )


def orchards_of_farms(query: str, words: tuple[str, ...]) -> OtherHits:
    """Orchards whose name, variety, grower or place holds every word."""
    wanted = Q()
    for word in words:
        wanted &= reduce(
            or_, (Q(**{f"{field}__icontains": name}) for field in ORCHARD_FIELDS for name in names_of(word))
        )
    found = orchards().filter(wanted)
    return OtherHits(
        title=gettext("果园"),
        hits=tuple(
            OtherHit(
                title=_named(orchard),
                url=reverse("farms:orchard", args=[orchard.code]),
                text=_named(orchard.grower),
            )
            for orchard in found[:LIMIT]
        ),
        more_url=reverse("farms:index"),
        count=found.count(),
    )
