"""Stock below zero is impossible by every path, and the ledger always explains what is there."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
from django.db import DatabaseError, IntegrityError, connection, transaction
from django.db.models import Sum
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shop import services
from shop.errors import OutOfStockError, QuantityError, ShopError
from shop.models import Cart, Checkout, Order, OrderLine, Product, Sku, StockMovement
from shop.services import orders as order_service
from shop.states import OrderStatus

pytestmark = pytest.mark.django_db


def _moved(sku: Sku) -> int:
    return StockMovement.objects.filter(sku=sku).aggregate(all=Sum("quantity"))["all"] or 0


def test_raw_sql_below_zero_is_refused_by_the_database(sku: Sku) -> None:
    with pytest.raises(IntegrityError, match="sku_stock_not_below_zero"), transaction.atomic():
        connection.cursor().execute("update shop_sku set stock = -1 where id = %s", [sku.pk])
    sku.refresh_from_db()
    assert sku.stock == 10


@pytest.mark.parametrize("statement", ["update {} set quantity = 5", "delete from {}"])
def test_the_ledger_refuses_change_and_removal(sku: Sku, statement: str) -> None:
    with pytest.raises(DatabaseError, match="append-only"), transaction.atomic():
        connection.cursor().execute(statement.format("shop_stockmovement"))
    assert list(StockMovement.objects.values_list("quantity", "reason")) == [(10, "receive")]


def test_saving_an_old_copy_leaves_the_stock_alone(sku: Sku, cart: Cart, place: Any) -> None:
    old = Sku.objects.get(pk=sku.pk)
    services.add_to_cart(cart=cart, sku_id=sku.pk, quantity=4)
    place(cart)
    old.price_fen = 7000
    old.save()
    sku.refresh_from_db()
    assert (sku.stock, sku.price_fen) == (6, 7000)
    with pytest.raises(ValueError, match=r"shop\.services"):
        old.save(update_fields=["stock"])


@pytest.mark.parametrize("quantity", [0, -3])
def test_receiving_nothing_is_refused(sku: Sku, quantity: int) -> None:
    with pytest.raises(QuantityError):
        services.receive_stock(sku=sku, quantity=quantity)
    assert _moved(sku) == 10


def test_a_correction_has_a_reason_and_leaves_no_debt(sku: Sku) -> None:
    for change, note in ((-11, "盘点"), (0, "盘点"), (-1, " ")):
        with pytest.raises(QuantityError):
            services.correct_stock(sku=sku, change=change, note=note)
    services.correct_stock(sku=sku, change=-10, note="盘点少十箱")
    sku.refresh_from_db()
    assert (sku.stock, _moved(sku)) == (0, 0)


def test_an_order_takes_exactly_what_is_there_and_not_one_more(sku: Sku, cart: Cart, place: Any) -> None:
    services.add_to_cart(cart=cart, sku_id=sku.pk, quantity=10)
    place(cart)
    sku.refresh_from_db()
    assert sku.stock == 0
    with pytest.raises(OutOfStockError):
        services.add_to_cart(cart=cart, sku_id=sku.pk, quantity=1)


def test_somebody_quicker_between_check_and_take(
    sku: Sku, cart: Cart, place: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rival buys after our lines were read and before our stock is taken: we are refused whole."""
    services.add_to_cart(cart=cart, sku_id=sku.pk, quantity=6)
    rival = Cart.objects.create()
    services.add_to_cart(cart=rival, sku_id=sku.pk, quantity=5)
    take = order_service._take_stock
    went = []

    def rival_first(lines: list[object]) -> None:
        if not went:
            went.append(True)
            place(rival)
        take(lines)  # type: ignore[arg-type]

    monkeypatch.setattr(order_service, "_take_stock", rival_first)
    with pytest.raises(OutOfStockError) as refused, transaction.atomic():
        place(cart)
    assert [(s.wanted, s.left) for s in refused.value.shortages] == [(6, 5)]
    assert cart.lines.get().quantity == 6
    sku.refresh_from_db()
    # Refused whole: in this single connection the rival's order is rolled back with ours.
    assert (sku.stock, Order.objects.count(), Checkout.objects.count()) == (10, 0, 0)


events = st.tuples(st.sampled_from(["receive", "correct", "order", "cancel", "expire"]), st.integers(1, 7))


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=st.lists(events, max_size=14))
def test_any_series_of_events_keeps_stock_and_ledger_equal(
    steps: list[tuple[str, int]], product: Product, make: Any, place: Any
) -> None:
    with transaction.atomic():
        sku = make.sku(product, code="T-PROPERTY", stock=5)
        for name, number in steps:
            # A refused event must leave nothing behind, so each is its own savepoint.
            with suppress(ShopError), transaction.atomic():
                _happen(name, number, sku=sku, place=place)
            sku.refresh_from_db()
            assert sku.stock == _moved(sku)
            assert sku.stock >= 0
        held = OrderLine.objects.filter(sku=sku, order__status=OrderStatus.PENDING_PAYMENT)
        ordered = -(
            StockMovement.objects.filter(sku=sku, order__isnull=False).aggregate(n=Sum("quantity"))["n"] or 0
        )
        assert ordered == (held.aggregate(n=Sum("quantity"))["n"] or 0)
        transaction.set_rollback(True)


def _happen(name: str, number: int, *, sku: Sku, place: Any) -> None:
    pending = Order.objects.filter(status=OrderStatus.PENDING_PAYMENT, lines__sku=sku).first()
    if name == "receive":
        services.receive_stock(sku=sku, quantity=number)
    elif name == "correct":
        services.correct_stock(sku=sku, change=-number, note="盘点")
    elif name == "order":
        cart = Cart.objects.create()
        services.add_to_cart(cart=cart, sku_id=sku.pk, quantity=number)
        place(cart)
    elif name == "cancel" and pending:
        services.cancel_order(order=pending)
    elif name == "expire" and pending:
        services.expire_orders(now=pending.expires_at)
