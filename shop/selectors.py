"""Every read of the showroom: what is for sale, what is in a cart, who may see an order."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import groupby
from typing import Final, Literal

from django.contrib.auth.models import AnonymousUser
from django.db.models import F, Min, Prefetch, Q, QuerySet
from django.db.models.expressions import OrderBy

from accounts.models import User
from accounts.roles import SELLER, has_role
from farms.models import Batch
from shop.models import Cart, CartLine, Order, Product, Seller, Sku
from shop.money import total_fen
from shop.search import matches

Sort = Literal["new", "price", "-price", "unit"]
Access = Literal["buyer", "link", "seller"]

#: Orders of the list; what is sold out comes last. None knows who is looking (E-Commerce Law art. 18).
SORTS: Final[Mapping[str, tuple[str | OrderBy, ...]]] = {
    "new": ("-created_at", "pk"),
    "price": (F("lowest_price_fen").asc(nulls_last=True), "pk"),
    "-price": (F("lowest_price_fen").desc(nulls_last=True), "pk"),
    "unit": (F("lowest_price_per_kg").asc(nulls_last=True), "pk"),
}

_SKU_FOR_SALE: Final = Q(active=True) & (Q(batch__isnull=True) | Q(batch__state=Batch.State.RELEASED))


def is_for_sale(sku: Sku) -> bool:
    """Whether a SKU may be ordered, stock apart: shown, its seller open, its batch released."""
    return (
        sku.active
        and sku.product.published
        and sku.product.seller.active
        and (sku.batch is None or sku.batch.is_released)
    )


def skus_for_sale() -> QuerySet[Sku]:
    """SKUs that may be ordered, cheapest first, with their origin."""
    return (
        Sku.objects.filter(_SKU_FOR_SALE)
        .select_related("batch__orchard__township", "batch__orchard__grower")
        .order_by("price_fen", "pk")
    )


def shown_products() -> QuerySet[Product]:
    """Products with something for sale, with their SKUs as `for_sale`."""
    return (
        Product.objects.filter(published=True, seller__active=True)
        .filter(pk__in=Sku.objects.filter(_SKU_FOR_SALE).values("product_id"))
        .select_related("county", "seller__grower", "image")
        .prefetch_related(Prefetch("skus", queryset=skus_for_sale(), to_attr="for_sale"))
    )


def showroom(
    *, county: str = "", kind: str = "", grade: str = "", query: str = "", sort: str = "new"
) -> QuerySet[Product]:
    """Products of the list.

    Parameters
    ----------
    county
        Six-digit code of the county of origin; empty for all.
    kind, grade
        Kind of produce and grade of one of its SKUs; empty for all.
    query
        Words to find; see `shop.search`.
    sort
        A key of `SORTS`.
    """
    products = shown_products()
    if county:
        products = products.filter(county_id=county)
    if kind:
        products = products.filter(kind=kind)
    if grade:
        products = products.filter(pk__in=Sku.objects.filter(_SKU_FOR_SALE, grade=grade).values("product_id"))
    if query:
        products = products.filter(pk__in=Product.objects.filter(matches(query)).values("pk"))
    on_sale = (
        Q(skus__active=True)
        & Q(skus__stock__gt=0)
        & (Q(skus__batch__isnull=True) | Q(skus__batch__state=Batch.State.RELEASED))
    )
    if sort in ("price", "-price"):
        products = products.annotate(lowest_price_fen=Min("skus__price_fen", filter=on_sale))
    elif sort == "unit":
        products = products.annotate(
            lowest_price_per_kg=Min(F("skus__price_fen") * 1000.0 / F("skus__net_weight_g"), filter=on_sale)
        )
    return products.order_by(*SORTS[sort])


def grades_for_sale(*, kind: str = "") -> list[str]:
    """Grades that something shown is sold in, for the filter."""
    skus = Sku.objects.filter(_SKU_FOR_SALE, product__published=True, product__seller__active=True)
    if kind:
        skus = skus.filter(product__kind=kind)
    return sorted(set(skus.values_list("grade", flat=True)))


def counties_of_origin() -> list[tuple[str, str, str]]:
    """Code, name and English name of counties with something published."""
    rows = Product.objects.filter(published=True, seller__active=True).values_list(
        "county_id", "county__name", "county__name_en"
    )
    return sorted(set(rows))


@dataclass(frozen=True, slots=True)
class CartGroup:
    """Lines of a cart that become one order."""

    seller: Seller
    lines: tuple[CartLine, ...]
    total_fen: int


@dataclass(frozen=True, slots=True)
class CartContent:
    """A cart as a page shows it."""

    groups: tuple[CartGroup, ...]
    total_fen: int
    packs: int

    @property
    def lines(self) -> tuple[CartLine, ...]:
        return tuple(line for group in self.groups for line in group.lines)

    @property
    def has_fresh(self) -> bool:
        """Whether something in it can't be returned without a reason."""
        return any(line.sku.product.fresh for line in self.lines)

    @property
    def problems(self) -> tuple[CartLine, ...]:
        """Lines that an order would be refused for."""
        return tuple(
            line for line in self.lines if not is_for_sale(line.sku) or line.quantity > line.sku.stock
        )


def cart_content(cart: Cart | None) -> CartContent:
    """Lines of a cart by seller, with their sums; an empty content for no cart."""
    if cart is None:
        return CartContent(groups=(), total_fen=0, packs=0)
    lines = cart.lines.select_related(
        "sku__product__seller__grower", "sku__product__image", "sku__batch"
    ).order_by("sku__product__seller_id", "pk")
    groups = tuple(
        CartGroup(seller=seller, lines=tuple(group), total_fen=0)
        for seller, group in groupby(lines, key=lambda line: line.sku.product.seller)
    )
    groups = tuple(
        CartGroup(
            seller=group.seller,
            lines=group.lines,
            total_fen=total_fen((line.sku.price_fen, line.quantity) for line in group.lines),
        )
        for group in groups
    )
    return CartContent(
        groups=groups,
        total_fen=sum(group.total_fen for group in groups),
        packs=sum(line.quantity for group in groups for line in group.lines),
    )


def order_by_number(number: str) -> Order | None:
    """An order with what its page shows, or None."""
    return (
        Order.objects.filter(number=number)
        .select_related("seller__grower", "checkout")
        .prefetch_related("lines__batch__orchard", "lines__sku__product")
        .first()
    )


def order_access(
    order: Order, *, user: User | AnonymousUser, held_token: str = "", link_token: str = ""
) -> Access | None:
    """How somebody may see an order, or None: then the page must answer as if there were none.

    Parameters
    ----------
    held_token
        Token that the visitor's own session holds for this order.
    link_token
        Token from the address (`?t=`): good for looking, not for changing.
    """
    if user.is_authenticated and order.user_id == user.pk:
        return "buyer"
    if held_token and secrets.compare_digest(held_token.encode(), order.token.encode()):
        return "buyer"
    if link_token and secrets.compare_digest(link_token.encode(), order.token.encode()):
        return "link"
    if user.is_authenticated and has_role(user, SELLER) and order.seller.members.filter(pk=user.pk).exists():
        return "seller"
    return None


def sellers_of(user: User) -> QuerySet[Seller]:
    """Booths a user works for; all of them for a superuser."""
    sellers = Seller.objects.select_related("grower")
    return sellers if user.is_superuser else sellers.filter(members=user)


def orders_of_sellers(user: User) -> QuerySet[Order]:
    """Orders of the user's own booths, newest first."""
    return (
        Order.objects.filter(seller__in=sellers_of(user))
        .select_related("seller__grower")
        .prefetch_related("lines")
        .order_by("-created_at", "-pk")
    )


def stock_of_sellers(user: User) -> QuerySet[Sku]:
    """SKUs of the user's own booths, the scarcest first."""
    return (
        Sku.objects.filter(product__seller__in=sellers_of(user))
        .select_related("product__seller__grower", "batch")
        .order_by("stock", "code")
    )
