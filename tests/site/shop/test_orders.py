"""Placing, submitting twice, cancelling and expiring orders."""

from __future__ import annotations

import datetime as dt
import uuid
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from farms.services import recall_batch
from shop import services
from shop.errors import (
    EmptyCartError,
    NotForSaleError,
    OrderStateError,
    OutOfStockError,
    PriceChangedError,
    QuantityError,
)
from shop.models import Cart, Checkout, Order, OrderLine, Product, Sku, StockMovement
from shop.states import FOLLOWS, OrderStatus

pytestmark = pytest.mark.django_db


def _nothing_happened(cart: Cart, sku: Sku, *, stock: int, in_cart: int) -> None:
    sku.refresh_from_db()
    assert (Order.objects.count(), Checkout.objects.count(), OrderLine.objects.count()) == (0, 0, 0)
    assert not StockMovement.objects.filter(order__isnull=False).exists()
    assert sku.stock == stock
    assert cart.lines.get(sku=sku).quantity == in_cart


def test_an_order_keeps_what_was_true_when_it_was_placed(cart: Cart, sku: Sku, place: Any) -> None:
    services.add_to_cart(cart=cart, sku_id=sku.pk, quantity=3)
    now = timezone.now()
    (order,) = place(cart, now=now)
    Sku.objects.filter(pk=sku.pk).update(price_fen=9900, grade="70#")
    Product.objects.update(name="改名")
    line = order.lines.get()
    assert (line.product_name, line.sku_label, line.price_fen) == ("静宁红富士", "80# · 5 公斤箱装", 6800)
    assert (line.batch_id, line.net_weight_g, line.quantity) == (sku.batch_id, 5000, 3)
    assert (order.total_fen, order.status) == (20400, OrderStatus.PENDING_PAYMENT)
    assert order.expires_at - now == dt.timedelta(minutes=30)
    assert order.number.startswith(timezone.localdate(now).strftime("%Y%m%d"))
    assert len(order.token) == 22
    assert not cart.lines.exists()
    assert list(order.movements.values_list("quantity", "reason")) == [(-3, "order")]


def test_one_order_a_seller_and_the_sums_add_up(cart: Cart, make: Any, place: Any) -> None:
    skus = []
    for number in (1, 2):
        product = make.product(make.seller(number), slug=f"p{number}")
        skus += [make.sku(product, code=f"T-{number}-{i}", price_fen=100 * number + i) for i in (1, 2)]
    # In another order than that of the sellers, so the grouping has work to do.
    for sku in (skus[2], skus[0], skus[3], skus[1]):
        services.add_to_cart(cart=cart, sku_id=sku.pk, quantity=2)
    orders = place(cart)
    assert [order.total_fen for order in orders] == [2 * (101 + 102), 2 * (201 + 202)]
    assert len({order.seller_id for order in orders}) == 2
    assert len({order.checkout_id for order in orders}) == 1


def test_one_short_line_refuses_the_whole_order_and_names_it(
    cart: Cart, product: Product, make: Any, place: Any
) -> None:
    plenty = make.sku(product, code="T-A", stock=9)
    scarce = make.sku(product, code="T-B", grade="85#", stock=5)
    gone = make.sku(product, code="T-C", grade="90#", stock=1)
    for sku, quantity in ((plenty, 2), (scarce, 4), (gone, 1)):
        services.add_to_cart(cart=cart, sku_id=sku.pk, quantity=quantity)
    services.correct_stock(sku=scarce, change=-3, note="门店卖出")
    services.correct_stock(sku=gone, change=-1, note="门店卖出")
    with pytest.raises(OutOfStockError) as refused:
        place(cart)
    assert [(s.sku_id, s.wanted, s.left) for s in refused.value.shortages] == [
        (scarce.pk, 4, 2),
        (gone.pk, 1, 0),
    ]
    assert "85#" in str(refused.value)
    assert "只剩 2 件" in str(refused.value)
    assert "已售完" in str(refused.value)
    plenty.refresh_from_db()
    assert (plenty.stock, cart.lines.count(), Order.objects.count(), Checkout.objects.count()) == (9, 3, 0, 0)


def test_the_same_form_twice_makes_one_order(cart: Cart, sku: Sku, place: Any) -> None:
    services.add_to_cart(cart=cart, sku_id=sku.pk, quantity=2)
    key = uuid.uuid4()
    first = place(cart, key=key)
    again = place(cart, key=key, seen_total_fen=13600)
    sku.refresh_from_db()
    assert [order.pk for order in again] == [order.pk for order in first]
    assert (Order.objects.count(), sku.stock) == (1, 8)


def test_a_key_of_somebody_else_shows_nothing(cart: Cart, sku: Sku, place: Any) -> None:
    services.add_to_cart(cart=cart, sku_id=sku.pk, quantity=2)
    key = uuid.uuid4()
    place(cart, key=key)
    stranger = Cart.objects.create()
    services.add_to_cart(cart=stranger, sku_id=sku.pk, quantity=1)
    with pytest.raises(OrderStateError):
        place(stranger, key=key)
    assert Order.objects.count() == 1


def test_a_refused_form_may_be_sent_again(cart: Cart, sku: Sku, place: Any) -> None:
    services.add_to_cart(cart=cart, sku_id=sku.pk, quantity=8)
    services.correct_stock(sku=sku, change=-5, note="盘点")
    key = uuid.uuid4()
    with pytest.raises(OutOfStockError):
        place(cart, key=key)
    services.receive_stock(sku=sku, quantity=5)
    assert len(place(cart, key=key)) == 1


def test_another_sum_than_the_one_seen_is_refused(cart: Cart, sku: Sku, place: Any) -> None:
    services.add_to_cart(cart=cart, sku_id=sku.pk, quantity=1)
    Sku.objects.filter(pk=sku.pk).update(price_fen=7000)
    with pytest.raises(PriceChangedError, match=r"68\.00 元变为 70\.00 元"):
        place(cart, seen_total_fen=6800)
    _nothing_happened(cart, sku, stock=10, in_cart=1)


def test_a_recalled_batch_is_not_sold(cart: Cart, sku: Sku, place: Any) -> None:
    services.add_to_cart(cart=cart, sku_id=sku.pk, quantity=1)
    recall_batch(batch=sku.batch, reason="标签错误")
    with pytest.raises(NotForSaleError, match="静宁红富士"):
        place(cart)
    _nothing_happened(cart, sku, stock=10, in_cart=1)
    with pytest.raises(NotForSaleError):
        services.add_to_cart(cart=cart, sku_id=sku.pk, quantity=1)


@pytest.mark.parametrize("changes", [{"active": False}, {"published": False}, {"seller_open": False}])
def test_what_is_off_sale_is_not_sold(cart: Cart, sku: Sku, place: Any, changes: dict[str, bool]) -> None:
    services.add_to_cart(cart=cart, sku_id=sku.pk, quantity=1)
    if "active" in changes:
        Sku.objects.filter(pk=sku.pk).update(active=False)
    elif "published" in changes:
        Product.objects.update(published=False)
    else:
        type(sku.product.seller).objects.update(active=False)
    with pytest.raises(NotForSaleError):
        place(cart)
    _nothing_happened(cart, sku, stock=10, in_cart=1)


def test_an_empty_cart_makes_no_order(cart: Cart, place: Any) -> None:
    with pytest.raises(EmptyCartError):
        place(cart)
    assert Checkout.objects.count() == 0


@pytest.mark.parametrize("quantity", [0, -1, 1000, 9999])
def test_quantities_outside_the_range_are_refused(cart: Cart, sku: Sku, quantity: int) -> None:
    with pytest.raises(QuantityError, match="1 到 999"):
        services.add_to_cart(cart=cart, sku_id=sku.pk, quantity=quantity)
    assert not cart.lines.exists()


def test_cancelling_gives_back_once(cart: Cart, sku: Sku, place: Any) -> None:
    services.add_to_cart(cart=cart, sku_id=sku.pk, quantity=4)
    (order,) = place(cart)
    services.cancel_order(order=order)
    with pytest.raises(OrderStateError, match="已取消"):
        services.cancel_order(order=order)
    sku.refresh_from_db()
    assert sku.stock == 10
    assert services.expire_orders(now=order.expires_at) == []


def test_expiry_returns_stock_once_and_only_when_due(
    cart: Cart, sku: Sku, place: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    services.add_to_cart(cart=cart, sku_id=sku.pk, quantity=4)
    (order,) = place(cart)
    assert services.expire_orders(now=order.expires_at - dt.timedelta(seconds=1)) == []
    Order.objects.update(expires_at=timezone.now() - dt.timedelta(seconds=1))
    call_command("expire_orders")
    call_command("expire_orders")
    assert capsys.readouterr().out.splitlines() == [
        f"expire_orders: 1 closed: {order.number}",
        "expire_orders: 0 closed",
    ]
    sku.refresh_from_db()
    order.refresh_from_db()
    assert (sku.stock, order.status) == (10, OrderStatus.EXPIRED)
    assert list(order.movements.values_list("quantity", "reason")) == [(-4, "order"), (4, "expire")]
    assert order.closed_at is not None
    with pytest.raises(OrderStateError):
        services.cancel_order(order=order)


def test_every_state_is_in_the_table() -> None:
    assert set(FOLLOWS) == set(OrderStatus)


def test_placing_costs_a_fixed_number_of_queries_and_one_a_line(cart: Cart, make: Any, place: Any) -> None:
    product = make.product(make.seller())
    counts = {}
    for lines in (1, 5, 20):
        for number in range(lines):
            sku = make.sku(product, code=f"T-{lines}-{number}")
            services.add_to_cart(cart=cart, sku_id=sku.pk, quantity=1)
        with CaptureQueriesContext(connection) as queries:
            place(cart, seen_total_fen=6800 * lines)
        counts[lines] = len(queries)
    # One conditional UPDATE a line; all else is independent of the number of lines.
    assert counts[5] - counts[1] == 4
    assert counts[20] - counts[1] == 19
    assert counts[1] <= 20


def test_signing_in_brings_the_guest_cart_along(cart: Cart, sku: Sku, product: Product, make: Any) -> None:
    from accounts.models import User

    user = User.objects.create_user("buyer")
    own = Cart.objects.create(user=user)
    other = make.sku(product, code="T-OTHER")
    services.add_to_cart(cart=own, sku_id=sku.pk, quantity=5)
    services.add_to_cart(cart=cart, sku_id=sku.pk, quantity=2)
    services.add_to_cart(cart=cart, sku_id=other.pk, quantity=3)
    merged = services.merge_carts(guest=cart, user=user)
    assert merged == own
    assert dict(own.lines.values_list("sku_id", "quantity")) == {sku.pk: 5, other.pk: 3}
    assert not Cart.objects.filter(pk=cart.pk).exists()
