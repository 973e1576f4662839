"""A buyer finds a product, sees where it comes from, and places an order without paying."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import Page

from tests.e2e.conftest import PHONE

pytestmark = pytest.mark.e2e


def test_a_buyer_places_an_order(open_page: Callable[..., Page], size: dict[str, int]) -> None:
    # given: a product with an orchard behind it
    page = open_page("/shop/?kind=apple", viewport=size)
    page.locator("main a[href*='/shop/p/']").first.click()
    page.wait_for_load_state("networkidle")
    assert page.locator("#origin").count() == 1
    name = page.inner_text("h1").strip()
    # when: two boxes go into the cart and the form is filled
    page.fill("input[name=quantity]", "2")
    page.click("text=加入购物车")
    page.wait_for_load_state("networkidle")
    assert name in page.inner_text("main")
    page.goto("/shop/checkout/")
    page.fill("input[name=name]", "示例·张小果")
    page.fill("input[name=phone]", "13800000000")
    page.fill("textarea[name=address]", "甘肃省平凉市崆峒区示例路 1 号")
    for box in page.locator("main form input[type=checkbox]").all():
        box.check()
    page.click("text=提交订单")
    page.wait_for_load_state("networkidle")
    # then
    assert "/shop/orders/" in page.url
    shown = page.inner_text("main")
    assert "待付款" in shown
    assert name in shown


def test_the_form_keeps_what_was_typed(open_page: Callable[..., Page]) -> None:
    # given: a cart
    page = open_page("/shop/", viewport=PHONE)
    page.locator("main a[href*='/shop/p/']").first.click()
    page.wait_for_load_state("networkidle")
    page.click("text=加入购物车")
    page.wait_for_load_state("networkidle")
    # when: the phone number is wrong
    page.goto("/shop/checkout/")
    page.fill("input[name=name]", "示例·李小牛")
    page.fill("input[name=phone]", "123")
    page.fill("textarea[name=address]", "甘肃省平凉市静宁县示例村")
    page.click("text=提交订单")
    page.wait_for_load_state("networkidle")
    # then: nothing is lost, and the field says what is wrong
    assert page.input_value("input[name=name]") == "示例·李小牛"
    assert page.input_value("input[name=phone]") == "123"
    assert page.locator("#id_phone_error").count() == 1


def test_the_shop_works_without_javascript(open_page: Callable[..., Page]) -> None:
    page = open_page("/shop/", viewport=PHONE, java_script_enabled=False)
    page.locator("main a[href*='/shop/p/']").first.click()
    page.click("text=加入购物车")
    page.goto("/shop/cart/")
    assert page.locator("input[name=quantity]").count() == 1


def test_the_orchards_season_curve_is_labelled(open_page: Callable[..., Page]) -> None:
    # given: the orchards whose parcels the simulated run has seen
    page = open_page("/farms/")
    links = page.eval_on_selector_all(
        "main a[href*='/farms/orchards/']", "all => all.map(a => a.getAttribute('href'))"
    )
    with_curve = 0
    for link in dict.fromkeys(links):
        page.goto(link)
        if page.locator("main svg.season-curve").count():
            with_curve += 1
            text = page.inner_text("main")
            assert "监测值" in text
            assert "非质量认证" in text
            assert "模拟数据" in text
    assert with_curve >= 1
