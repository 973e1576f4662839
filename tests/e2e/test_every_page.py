"""Every public page at both widths: no console error, no foreign host, axe-clean, nothing cut off."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import Page

from tests.e2e.conftest import PHONE, accessibility_problems

pytestmark = pytest.mark.e2e

PAGES = [
    "/",
    "/en/",
    "/monitoring/",
    "/monitoring/estimates/",
    "/monitoring/estimates/?product=growth",
    "/shop/",
    "/shop/cart/",
    "/farms/",
    "/search/?q=小麦",
    "/accounts/login/",
]


@pytest.mark.parametrize("path", PAGES)
def test_page_is_accessible_and_fits(open_page: Callable[..., Page], size: dict[str, int], path: str) -> None:
    page = open_page(path, viewport=size)
    assert accessibility_problems(page) == []
    width = page.evaluate("document.documentElement.scrollWidth")
    assert width <= size["width"], f"{path} is {width} px wide on a screen of {size['width']} px"


@pytest.mark.parametrize("path", ["/", "/shop/", "/monitoring/estimates/"])
def test_page_is_accessible_in_elder_mode(open_page: Callable[..., Page], path: str) -> None:
    page = open_page("/", viewport=PHONE)
    page.goto("/display/?elder=1&next=/")
    page.goto(path)
    assert page.evaluate("document.documentElement.classList.contains('elder')")
    assert page.evaluate("parseFloat(getComputedStyle(document.body).fontSize)") >= 20
    assert accessibility_problems(page) == []


@pytest.mark.parametrize(("query", "expected"), [("小麦", "小麦"), ("静宁苹果", "苹果"), ("洋芋", "马铃薯")])
def test_search_finds_chinese_words(open_page: Callable[..., Page], query: str, expected: str) -> None:
    page = open_page("/")
    page.goto(f"/search/?q={query}")
    results = page.locator("main a").all_inner_texts()
    assert any(expected in text for text in results), results


def test_an_unknown_page_says_what_to_do(open_page: Callable[..., Page]) -> None:
    page = open_page("/")
    answer = page.request.get("/no-such-page/")
    assert answer.status == 404
    assert "没有这一页" in answer.text()
