"""Opening booths and putting products and grades on show."""

from __future__ import annotations

from typing import Any

from django.db import transaction

from accounts.models import User
from farms.models import Batch, Grower
from shop.models import Product, Seller, Sku
from shop.services.stock import receive_stock


@transaction.atomic
def open_booth(*, grower: Grower, members: tuple[User, ...] = (), **fields: Any) -> Seller:
    """Let a grower sell; `fields` are those of `Seller` (licence, exemption, telephone).

    Raises
    ------
    ValidationError
        Neither a licence nor the reason why none is needed; nothing is written.
    """
    seller = Seller(grower=grower, **fields)
    seller.full_clean()
    seller.save(force_insert=True)
    seller.members.set(members)
    return seller


@transaction.atomic
def create_product(*, seller: Seller, slug: str, name: str, kind: str, **fields: Any) -> Product:
    """Enter a product of a seller; its origin is the grower's county. It is shown once `published`.

    Raises
    ------
    ValidationError
        A field that does not hold, among them a GI badge without its certificate number.
    """
    product = Product(seller=seller, slug=slug, name=name, kind=kind, county=seller.grower.county, **fields)
    product.full_clean()
    product.save(force_insert=True)
    return product


@transaction.atomic
def add_sku(
    *, product: Product, code: str, batch: Batch | None, stock: int = 0, by: User | None = None, **fields: Any
) -> Sku:
    """Enter a grade in its pack, with the first goods brought into stock.

    Raises
    ------
    ValidationError
        A field that does not hold, or a batch of another grower; nothing is written.
    """
    sku = Sku(product=product, code=code, batch=batch, **fields)
    sku.full_clean()
    sku.save(force_insert=True)
    if stock:
        receive_stock(sku=sku, quantity=stock, by=by)
        sku.refresh_from_db(fields=["stock"])
    return sku
