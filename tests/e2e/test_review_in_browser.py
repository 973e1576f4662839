"""The bureau accepts an estimate in the browser, and the public page then shows it."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import Page

from tests.e2e.conftest import DESKTOP, PHONE, LiveSite, accessibility_problems, sign_in

pytestmark = pytest.mark.e2e

ESTIMATES = "/monitoring/estimates/?product=area"


def _rows(page: Page) -> dict[tuple[str, str], str]:
    """Shown rows by (unit, crop), each with its area."""
    shown = page.eval_on_selector_all(
        "table.estimates tbody tr",
        "rows => rows.map(row => [row.querySelector('th').innerText, ...[...row.querySelectorAll('td')]"
        ".filter(cell => cell.dataset.label).slice(0, 2).map(cell => cell.innerText)])",
    )
    return {(unit.strip(), crop.strip()): area.strip() for unit, crop, area in shown}


def _next_pending(page: Page) -> tuple[str, str, str]:
    """Unit, crop and unit code of the first township row that waits for a decision."""
    page.goto(f"{ESTIMATES}&state=draft")
    row = page.locator("table.estimates tbody tr").first
    unit = row.locator("th").inner_text().strip()
    crop = row.locator("td[data-label]").first.inner_text().strip()
    code = page.locator("#filter-unit option", has_text=unit).first.get_attribute("value")
    assert code
    return unit, crop, code


def test_an_accepted_estimate_appears_on_the_public_page(
    live_site: LiveSite, open_page: Callable[..., Page]
) -> None:
    # given: a township's number that waits for the bureau, and a visitor who cannot see it
    bureau = open_page("/")
    sign_in(bureau, live_site, "bureau-demo")
    unit, crop, code = _next_pending(bureau)
    visitor = open_page(f"{ESTIMATES}&unit={code}")
    assert (unit, crop) not in _rows(visitor)
    # when: the bureau accepts it
    bureau.goto(f"{ESTIMATES}&unit={code}&state=draft")
    row = bureau.locator("table.estimates tbody tr", has=bureau.locator(f"td:text-is('{crop}')"))
    shown = row.locator("td.num").first.inner_text().strip()
    row.locator("button[value=accept]").click()
    bureau.wait_for_load_state("networkidle")
    assert bureau.locator("[role=status] .notice").count() == 1
    # then: the visitor sees the same number, labelled as simulated
    visitor.reload()
    assert _rows(visitor)[(unit, crop)] == shown
    assert visitor.locator("text=模拟数据").count() >= 1


def test_county_staff_see_no_buttons_outside_their_county(
    live_site: LiveSite, open_page: Callable[..., Page]
) -> None:
    page = open_page("/")
    sign_in(page, live_site, "county-zhuanglang")
    page.goto(ESTIMATES)
    assert page.locator("button[value=accept]").count() == 0


def test_the_season_curve_of_a_clicked_place(open_page: Callable[..., Page]) -> None:
    # given
    page = open_page("/monitoring/")
    page.wait_for_function("document.querySelector('.maplibregl-canvas') !== null")
    page.wait_for_timeout(1500)
    # when: the middle of the map is clicked
    with page.expect_response(lambda response: "/monitoring/curve/" in response.url) as answer:
        page.locator(".maplibregl-canvas").click()
    # then
    assert answer.value.status == 200
    page.wait_for_selector(".portal svg.chart, .portal svg[role=img]")


@pytest.mark.parametrize("viewport", [PHONE, DESKTOP], ids=["phone", "desktop"])
def test_map_tiles_are_drawn(open_page: Callable[..., Page], viewport: dict[str, int]) -> None:
    page = open_page("/monitoring/", viewport=viewport)
    with page.expect_response(
        lambda response: "/monitoring/tiles/" in response.url and response.status == 200
    ) as answer:
        page.reload()
    assert answer.value.headers["content-type"].startswith("image/")


def test_review_page_passes_axe(live_site: LiveSite, open_page: Callable[..., Page]) -> None:
    page = open_page("/")
    sign_in(page, live_site, "bureau-demo")
    page.goto(ESTIMATES)
    assert accessibility_problems(page) == []
