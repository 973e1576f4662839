"""Placing, cancelling and expiring orders.

Each function is written as if it ran at the same time as itself: stock is taken by conditional UPDATEs in
order of primary key (so no two orders wait for each other), under a CHECK constraint of the database.
"""

from __future__ import annotations

import datetime as dt
import secrets
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Final

from django.db import transaction
from django.db.models import F
from django.utils import timezone
from django.utils.translation import gettext as _

from accounts.models import User
from shop.errors import (
    EmptyCartError,
    NotForSaleError,
    OrderStateError,
    OutOfStockError,
    PriceChangedError,
    Shortage,
)
from shop.models import Cart, CartLine, Checkout, Order, OrderLine, Sku, StockMovement
from shop.money import total_fen, yuan
from shop.selectors import is_for_sale
from shop.states import OrderStatus, may_follow

#: How long an unpaid order keeps its goods.
PAYMENT_WINDOW: Final = dt.timedelta(minutes=30)
# Crockford's base 32: no I, L, O, U, so a number survives being read out on the telephone.
_NUMBER_ALPHABET: Final = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"


@dataclass(frozen=True, slots=True)
class Contact:
    """Where an order goes."""

    name: str
    phone: str
    address: str
    note: str = ""


def _order_number(now: dt.datetime) -> str:
    # 2^40 a day: the unique constraint is there for the case nobody will see.
    return f"{timezone.localdate(now):%Y%m%d}" + "".join(secrets.choice(_NUMBER_ALPHABET) for _i in range(8))


@transaction.atomic
def place_orders(
    *,
    key: uuid.UUID,
    cart: Cart,
    contact: Contact,
    seen_total_fen: int,
    user: User | None = None,
    now: dt.datetime | None = None,
) -> tuple[Order, ...]:
    """Turn a cart into one order a seller, all or none, and take the goods out of stock.

    A second call with the same `key` makes nothing new and returns the orders of the first.

    Parameters
    ----------
    key
        Key of the checkout form; the same for every submit of it.
    contact
        Checked by the caller; consent to its processing was given now.
    seen_total_fen
        The sum the buyer saw, in fen. Another sum is refused, not silently charged.

    Raises
    ------
    EmptyCartError, NotForSaleError, PriceChangedError, OutOfStockError
        Nothing was placed, no stock moved, and the cart is as it was.
    """
    now = now or timezone.now()
    # Two submits at once: the second INSERT waits for the first transaction. If that one was rolled back, the
    # second takes its place.
    checkout, created = Checkout.objects.get_or_create(key=key, defaults={"cart": cart, "consent_at": now})
    if not created:
        if checkout.cart_id != cart.pk:
            raise OrderStateError(_("这张结算单已经提交过，请到订单页查看。"))
        return tuple(checkout.orders.order_by("pk"))

    Cart.objects.select_for_update().get(pk=cart.pk)  # two forms of one cart: one after the other
    lines = list(cart.lines.select_related("sku__product__seller__grower", "sku__batch").order_by("sku_id"))
    _check_lines(lines, seen_total_fen=seen_total_fen)
    _take_stock(lines)

    orders = []
    by_seller = sorted(lines, key=lambda line: (line.sku.product.seller_id, line.pk))
    for _seller_id, group in groupby(by_seller, key=lambda line: line.sku.product.seller_id):
        orders.append(
            _create_order(checkout=checkout, lines=list(group), contact=contact, user=user, now=now)
        )
    CartLine.objects.filter(pk__in=[line.pk for line in lines]).delete()
    return tuple(orders)


def _check_lines(lines: Sequence[CartLine], *, seen_total_fen: int) -> None:
    if not lines:
        raise EmptyCartError(_("购物车是空的，请先选购商品。"))
    gone = [str(line.sku) for line in lines if not is_for_sale(line.sku)]
    if gone:
        raise NotForSaleError(
            _("%(names)s现在不出售，请从购物车中移除后再下单。")
            % {"names": "、".join(f"“{name}”" for name in gone)}
        )
    due = total_fen((line.sku.price_fen, line.quantity) for line in lines)
    if due != seen_total_fen:
        raise PriceChangedError(
            _("合计已由 %(seen)s 元变为 %(due)s 元，请核对后再次提交。")
            % {"seen": yuan(seen_total_fen), "due": yuan(due)}
        )


def _take_stock(lines: Sequence[CartLine]) -> None:
    """Take the goods of every line by one conditional UPDATE each; `lines` come in order of SKU.

    The condition and the subtraction are one statement, so nobody can come between check and take.
    """
    short: list[Shortage] = []
    for line in lines:
        taken = Sku.objects.filter(
            pk=line.sku_id, active=True, price_fen=line.sku.price_fen, stock__gte=line.quantity
        ).update(stock=F("stock") - line.quantity)
        if taken:
            continue
        current = Sku.objects.only("stock", "price_fen", "active").get(pk=line.sku_id)
        if not current.active:
            raise NotForSaleError(_("“%(name)s”现在不出售，请从购物车中移除后再下单。") % {"name": line.sku})
        if current.price_fen != line.sku.price_fen:
            raise PriceChangedError(_("“%(name)s”的价格刚刚变动，请核对后再次提交。") % {"name": line.sku})
        short.append(
            Shortage(sku_id=line.sku_id, name=str(line.sku), wanted=line.quantity, left=current.stock)
        )
    if short:
        raise OutOfStockError(short)


def _create_order(
    *, checkout: Checkout, lines: Sequence[CartLine], contact: Contact, user: User | None, now: dt.datetime
) -> Order:
    order = Order.objects.create(
        number=_order_number(now),
        checkout=checkout,
        seller=lines[0].sku.product.seller,
        user=user,
        contact_name=contact.name,
        phone=contact.phone,
        address=contact.address,
        note=contact.note,
        total_fen=total_fen((line.sku.price_fen, line.quantity) for line in lines),
        expires_at=now + PAYMENT_WINDOW,
    )
    OrderLine.objects.bulk_create(
        OrderLine(
            order=order,
            sku=line.sku,
            batch=line.sku.batch,
            # What was sold is kept in the language of the contract.
            product_name=line.sku.product.name,
            sku_label=f"{line.sku.grade} · {line.sku.pack}",
            net_weight_g=line.sku.net_weight_g,
            price_fen=line.sku.price_fen,
            quantity=line.quantity,
        )
        for line in lines
    )
    StockMovement.objects.bulk_create(
        StockMovement(sku=line.sku, quantity=-line.quantity, reason=StockMovement.Reason.ORDER, order=order)
        for line in lines
    )
    return order


def _close(order: Order, *, status: OrderStatus, reason: StockMovement.Reason, now: dt.datetime) -> None:
    """Close a locked pending order and give its goods back to stock, in order of SKU."""
    if not may_follow(order.status, status):
        raise OrderStateError(
            _("订单 %(number)s 现为“%(state)s”，不能再改。")
            % {"number": order.number, "state": order.get_status_display()}
        )
    lines = list(order.lines.order_by("sku_id"))
    for line in lines:
        Sku.objects.filter(pk=line.sku_id).update(stock=F("stock") + line.quantity)
    StockMovement.objects.bulk_create(
        StockMovement(sku_id=line.sku_id, quantity=line.quantity, reason=reason, order=order)
        for line in lines
    )
    order.status, order.closed_at = status, now
    order.save(update_fields=["status", "closed_at"])


@transaction.atomic
def cancel_order(*, order: Order, now: dt.datetime | None = None) -> Order:
    """Cancel an unpaid order for its buyer; its goods go back to stock.

    Raises
    ------
    OrderStateError
        The order is closed already.
    """
    locked = Order.objects.select_for_update().get(pk=order.pk)
    _close(
        locked, status=OrderStatus.CANCELLED, reason=StockMovement.Reason.CANCEL, now=now or timezone.now()
    )
    return locked


def expire_orders(*, now: dt.datetime | None = None) -> list[str]:
    """Close orders unpaid past their time and give the goods back; the numbers of those closed by this call.

    May run at any time and beside itself: an order that another run holds is left to it, and one that is
    closed is not touched again. Each order is its own transaction.
    """
    now = now or timezone.now()
    closed = []
    overdue = Order.objects.filter(status=OrderStatus.PENDING_PAYMENT, expires_at__lte=now)
    for order_id in list(overdue.order_by("pk").values_list("pk", flat=True)):
        with transaction.atomic():
            order = overdue.select_for_update(skip_locked=True).filter(pk=order_id).first()
            if order is not None:
                _close(order, status=OrderStatus.EXPIRED, reason=StockMovement.Reason.EXPIRE, now=now)
                closed.append(order.number)
    return closed
