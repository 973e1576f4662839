"""The staff interface: the bureau keeps products, orders are for looking, sellers stay outside."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client

from shop import services
from shop.models import Cart, Sku, StockMovement

pytestmark = pytest.mark.django_db


@pytest.fixture
def bureau(make_user: Any) -> Client:
    client = Client()
    client.force_login(make_user("bureau"))
    return client


@pytest.mark.parametrize("model", ["shop/product", "shop/sku", "shop/seller", "farms/grower", "farms/batch"])
def test_the_bureau_lists_and_adds(bureau: Client, sku: Sku, model: str) -> None:
    assert bureau.get(f"/admin/snippets/{model}/").status_code == 200
    assert bureau.get(f"/admin/snippets/{model}/add/").status_code == 200


def test_editing_a_grade_leaves_its_stock_alone(bureau: Client, sku: Sku, cart: Cart, place: Any) -> None:
    path = f"/admin/snippets/shop/sku/edit/{sku.pk}/"
    page = bureau.get(path).content.decode()
    assert 'name="stock"' not in page
    services.add_to_cart(cart=cart, sku_id=sku.pk, quantity=4)
    place(cart)
    fields = {
        "product": sku.product_id, "code": sku.code, "grade": "80#", "pack": "5 公斤箱装",
        "net_weight_g": 5000, "price_fen": 7100, "batch": sku.batch_id, "low_stock": 10,
        "active": "on", "stock": 999,
    }  # fmt: skip
    assert bureau.post(path, fields).status_code == 302
    sku.refresh_from_db()
    assert (sku.price_fen, sku.stock) == (7100, 6)
    assert StockMovement.objects.filter(sku=sku).count() == 2


def test_orders_are_for_looking_and_show_no_address(bureau: Client, sku: Sku, cart: Cart, place: Any) -> None:
    services.add_to_cart(cart=cart, sku_id=sku.pk, quantity=1)
    (order,) = place(cart)
    listed = bureau.get("/admin/snippets/shop/order/").content.decode()
    seen = bureau.get(f"/admin/snippets/shop/order/inspect/{order.pk}/").content.decode()
    assert order.number in listed
    assert "138****1234" in listed
    for page in (listed, seen):
        assert "13800001234" not in page
        assert "示例路" not in page
    for path in ("add/", f"edit/{order.pk}/", f"delete/{order.pk}/"):
        assert bureau.get(f"/admin/snippets/shop/order/{path}").status_code in (302, 403, 404)


@pytest.mark.parametrize("role", ["seller", "county", ""])
def test_others_do_not_get_in(sku: Sku, make_user: Any, role: str) -> None:
    client = Client()
    client.force_login(make_user(role))
    assert client.get("/admin/snippets/shop/product/").status_code == 302
