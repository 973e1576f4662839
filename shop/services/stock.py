"""Goods that come in, and what a count of the store puts right. Orders take and give back in `orders`."""

from __future__ import annotations

from django.db import transaction
from django.db.models import F
from django.utils.translation import gettext as _

from accounts.models import User
from shop.errors import QuantityError
from shop.models import Sku, StockMovement


@transaction.atomic
def receive_stock(*, sku: Sku, quantity: int, by: User | None = None, note: str = "") -> StockMovement:
    """Bring packs into stock.

    Raises
    ------
    QuantityError
        A quantity below 1.
    """
    if quantity < 1:
        raise QuantityError(_("入库数量应为正整数，不能是 %(given)s。") % {"given": quantity})
    Sku.objects.filter(pk=sku.pk).update(stock=F("stock") + quantity)
    return StockMovement.objects.create(
        sku=sku, quantity=quantity, reason=StockMovement.Reason.RECEIVE, by=by, note=note
    )


@transaction.atomic
def correct_stock(*, sku: Sku, change: int, note: str, by: User | None = None) -> StockMovement:
    """Put right what a count of the store found, up or down, with the reason in words.

    Raises
    ------
    QuantityError
        A change of 0, or one that would leave less than nothing.
    """
    if change == 0 or not note.strip():
        raise QuantityError(_("盘点更正须有不为 0 的数量和说明。"))
    if not Sku.objects.filter(pk=sku.pk, stock__gte=-change).update(stock=F("stock") + change):
        raise QuantityError(_("“%(name)s”的库存不够减 %(change)d 件。") % {"name": sku, "change": -change})
    return StockMovement.objects.create(
        sku=sku, quantity=change, reason=StockMovement.Reason.CORRECT, by=by, note=note.strip()
    )
