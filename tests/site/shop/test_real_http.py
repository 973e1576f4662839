"""Many buyers at once, through the real pages of a real server with several processes."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.db.models import Sum

from shop.models import Checkout, Order, Sku, StockMovement

# One server for the three: they stay in one process of a parallel run.
pytestmark = pytest.mark.xdist_group("shop_http")

BUYERS = 20
STOCK = 5


def _all_at_once(actions: list[Callable[[], tuple[str, str]]]) -> list[tuple[str, str]]:
    """Run every action in a thread of its own; none starts before all are ready."""
    barrier = threading.Barrier(len(actions))

    def act(action: Callable[[], tuple[str, str]]) -> tuple[str, str]:
        barrier.wait(timeout=60)
        return action()

    with ThreadPoolExecutor(len(actions)) as pool:
        return list(pool.map(act, actions))


def _submits(buyers: list[Any]) -> list[Callable[[], tuple[str, str]]]:
    """Each buyer's checkout, filled in and ready to be sent."""
    forms = [buyer.checkout_fields() for buyer in buyers]
    return [
        lambda buyer=buyer, form=form: buyer.post("/shop/checkout/", form)
        for buyer, form in zip(buyers, forms, strict=True)
    ]


def test_twenty_buyers_for_five_boxes(committed: None, make: Any, new_buyer: Callable[[], Any]) -> None:
    # given: five boxes, and twenty buyers who each have one in the cart and the form filled in
    product = make.product(make.seller())
    sku = make.sku(product, stock=STOCK)
    buyers = [new_buyer() for _ in range(BUYERS)]
    with ThreadPoolExecutor(4) as pool:
        carts = list(pool.map(lambda buyer: buyer.fill_cart("red-fuji"), buyers))
    assert all("加入购物车" in page or "购物车" in page for page in carts)

    # when: all press the button
    answers = _all_at_once(_submits(buyers))

    # then: exactly five orders, fifteen plain refusals, nothing sold twice
    placed = [page for path, page in answers if path.startswith("/shop/orders/")]
    refused = [page for path, page in answers if path == "/shop/checkout/"]
    assert (len(placed), len(refused)) == (STOCK, BUYERS - STOCK)
    assert all("待付款" in page and "本演示不收款" in page for page in placed)
    assert all("静宁红富士 80# · 5 公斤箱装”已售完" in page for page in refused)
    assert all('value="示例买家"' in page for page in refused), "what was typed was lost"
    sku.refresh_from_db()
    assert sku.stock == 0
    assert Order.objects.filter(lines__sku=sku).count() == STOCK
    assert Checkout.objects.filter(orders__lines__sku=sku).count() == Checkout.objects.count() == STOCK
    moved = StockMovement.objects.filter(sku=sku)
    assert moved.aggregate(all=Sum("quantity"))["all"] == 0
    assert Counter(moved.values_list("reason", "quantity")) == {("receive", 5): 1, ("order", -1): STOCK}

    # and: those who were refused still have their cart
    assert all("静宁红富士" in buyer.get("/shop/cart/")[1] for buyer in buyers[:3] if _was_refused(buyer))


def _was_refused(buyer: Any) -> bool:
    return "购物车是空的" not in buyer.get("/shop/cart/")[1]


def test_carts_in_opposite_order_do_not_wait_for_each_other(
    committed: None, make: Any, new_buyer: Callable[[], Any]
) -> None:
    seller = make.seller(2)
    skus = [
        make.sku(make.product(seller, slug=slug, name=slug), code=f"T-{slug.upper()}", stock=4)
        for slug in ("aa", "bb")
    ]
    buyers = [new_buyer() for _ in range(8)]
    for number, buyer in enumerate(buyers):
        for slug in ("aa", "bb") if number % 2 else ("bb", "aa"):
            buyer.fill_cart(slug)
    answers = _all_at_once(_submits(buyers))
    assert sum(path.startswith("/shop/orders/") for path, _page in answers) == 4
    assert list(Sku.objects.filter(pk__in=[sku.pk for sku in skus]).values_list("stock", flat=True)) == [0, 0]


def test_a_form_sent_six_times_at_once_makes_one_order(
    committed: None, make: Any, new_buyer: Callable[[], Any]
) -> None:
    sku = make.sku(make.product(make.seller(3), slug="cc"), code="T-CC", stock=9)
    buyer = new_buyer()
    buyer.fill_cart("cc", quantity=2)
    form = buyer.checkout_fields()
    answers = _all_at_once([lambda: buyer.post("/shop/checkout/", form)] * 6)
    order = Order.objects.get(lines__sku=sku)
    assert {path for path, _page in answers} == {f"/shop/orders/{order.number}/"}
    sku.refresh_from_db()
    assert (sku.stock, order.total_fen) == (7, 13600)
