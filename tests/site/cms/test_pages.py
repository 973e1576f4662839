"""Pages as readers meet them: every type in both languages, the tree's rules, weight, hosts, elder mode."""

from __future__ import annotations

import gzip
import re
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path

import pytest
from django.conf import settings
from django.contrib.staticfiles import finders
from django.core.exceptions import ValidationError
from django.test import Client
from django.utils import timezone
from wagtail.models import Locale, Page

from accounts.models import User
from cms import selectors
from cms.blocks import FigureBlock
from cms.models import (
    AdvisoryIndexPage,
    AdvisoryPage,
    HomePage,
    NewsIndexPage,
    NewsPage,
    ServiceIndexPage,
    StandardPage,
    WarningNotice,
)
from cms.services import load_demo_content
from monitoring.models import Estimate, Run

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("demo_site")]
BUDGET = 60 * 1024
PAGE_TYPES = (
    HomePage,
    ServiceIndexPage,
    AdvisoryIndexPage,
    AdvisoryPage,
    NewsIndexPage,
    NewsPage,
    StandardPage,
)
PATHS = (
    "/",
    "/info/",
    "/info/advisories/",
    "/info/advisories/?season=now",
    "/info/advisories/?subject=apple",
    "/info/advisories/apple-bloom-frost/",
    "/info/news/",
    "/info/news/how-to-read-figures/",
    "/about/",
    "/data/",
    "/search/?q=apple",
    "/accounts/login/",
)


@pytest.mark.parametrize("path", [prefix + path for path in PATHS for prefix in ("", "/en")])
def test_every_page_renders_in_both_languages(client: Client, path: str) -> None:
    response = client.get(path)
    assert response.status_code == 200
    text = response.content.decode()
    assert f'<html lang="{"en" if path.startswith("/en") else "zh-Hans"}"' in text
    assert text.count("<h1") == 1
    # The content security policy forbids both, so a page that needs them would look broken.
    assert not re.search(r"<[^>]+\sstyle=", text)
    assert not re.search(r"<script(?![^>]*\bsrc=)", text)


@pytest.mark.parametrize("path", PATHS)
def test_a_page_stays_under_sixty_kilobytes_and_asks_no_foreign_host(client: Client, path: str) -> None:
    text = client.get(path).content.decode()
    weight = len(gzip.compress(text.encode(), 6))
    for asset in re.findall(r'<(?:link rel="stylesheet" href|script[^>]* src)="([^"]+)"', text):
        assert asset.startswith(settings.STATIC_URL), f"{path} loads {asset} from elsewhere"
        file = finders.find(asset.removeprefix(settings.STATIC_URL))
        assert file, f"{asset} is not there"
        weight += len(gzip.compress(Path(file).read_bytes(), 6))
    assert weight <= BUDGET, f"{path} weighs {weight / 1024:.1f} KB gzipped"
    hosts = re.findall(r'(?:src|srcset|href|action)="(?:https?:)?//([^/"]+)', text)
    assert hosts == []


def test_sheets_load_nothing_from_outside() -> None:
    for sheet in ("css/tokens.css", "css/site.css"):
        text = Path(finders.find(sheet)).read_text(encoding="utf-8")
        assert "@import" not in text
        assert "url(" not in text


def test_chinese_pages_speak_chinese(client: Client) -> None:
    """No English word but the language switch and symbols of measure."""
    allowed = {"English", "KB", "PM", "UTC", "Olofsson", "km"}
    for path in ("/", "/info/", "/info/advisories/apple-bloom-frost/", "/info/news/", "/accounts/login/"):
        text = re.sub(r"<(script|style)\b.*?</\1>", " ", client.get(path).content.decode(), flags=re.S)
        visible = re.sub(r"<[^>]+>", " ", text)
        words = set(re.findall(r"[A-Za-z]{2,}", re.sub(r"&\w+;", " ", visible))) - allowed
        assert not words, f"{path}: {sorted(words)}"


def test_language_switch_leads_to_the_same_page_or_home(client: Client) -> None:
    text = client.get("/info/advisories/apple-bloom-frost/").content.decode()
    assert 'href="/en/info/advisories/apple-bloom-frost/" lang="en"' in text
    untranslated = client.get("/info/advisories/apple-bagging/").content.decode()
    assert 'href="/en/" lang="en"' in untranslated
    search = client.get("/search/", {"q": "小麦"}).content.decode()
    assert 'href="/en/search/?q=%E5%B0%8F%E9%BA%A6" lang="en"' in search


def test_elder_mode_is_a_link_and_a_cookie(client: Client) -> None:
    page = client.get("/info/").content.decode()
    assert 'href="/display/?elder=1&amp;next=/info/"' in page
    assert 'class="elder"' not in page
    # when the link is followed
    response = client.get("/display/", {"elder": "1", "next": "/info/"})
    # then one comes back to the page in large type, on every later page too
    assert response.status_code == 302
    assert response["Location"] == "/info/"
    assert '<html lang="zh-Hans" class="elder">' in client.get("/info/").content.decode()
    client.get("/display/", {"elder": "0", "next": "/"})
    assert 'class="elder"' not in client.get("/").content.decode()


@pytest.mark.parametrize(
    "target", ["https://example.com/", "//example.com", "javascript:alert(1)", "\\\\example.com"]
)
def test_elder_mode_leads_nowhere_else(client: Client, target: str) -> None:
    assert client.get("/display/", {"elder": "1", "next": target})["Location"] == "/"


def test_missing_page_says_what_to_do(client: Client) -> None:
    response = client.get("/no-such-page/")
    assert response.status_code == 404
    text = response.content.decode()
    assert "没有这一页" in text
    assert 'name="q"' in text


def test_samples_are_marked(client: Client) -> None:
    assert AdvisoryPage.objects.filter(is_example=False).count() == 0
    assert NewsPage.objects.filter(is_example=False).count() == 0
    assert ">示例</span>" in client.get("/info/news/site-opens/").content.decode()


def test_loading_again_changes_nothing_and_keeps_edits() -> None:
    page = NewsPage.objects.get(slug="site-opens", locale=Locale.get_default())
    page.title = "编辑改过的标题"
    page.save_revision().publish()
    before = Page.objects.count()
    report = load_demo_content()
    assert report.made == 0
    assert report.kept == before - 2  # all but the root and the Chinese home page, which migrations made
    assert Page.objects.count() == before
    page.refresh_from_db()
    assert page.title == "编辑改过的标题"


def test_page_tree_rules() -> None:
    allowed = {
        (Page, HomePage),
        (HomePage, ServiceIndexPage),
        (HomePage, StandardPage),
        (ServiceIndexPage, AdvisoryIndexPage),
        (ServiceIndexPage, NewsIndexPage),
        (AdvisoryIndexPage, AdvisoryPage),
        (NewsIndexPage, NewsPage),
    }
    types = [
        HomePage,
        ServiceIndexPage,
        AdvisoryIndexPage,
        AdvisoryPage,
        NewsIndexPage,
        NewsPage,
        StandardPage,
    ]
    for parent in [Page, *types]:
        for child in types:
            fits = child in parent.allowed_subpage_models() and parent in child.allowed_parent_page_models()
            assert fits == ((parent, child) in allowed), f"{child.__name__} below {parent.__name__}"


def test_season_may_run_over_the_turn_of_the_year() -> None:
    pages = AdvisoryPage.objects.filter(locale=Locale.get_default())
    slugs = {
        month: {page.slug for page in selectors.in_season(pages, month=month)} for month in (1, 4, 7, 11, 12)
    }
    assert "wheat-overwintering" in slugs[1] & slugs[11] & slugs[12]
    assert "wheat-overwintering" not in slugs[4] | slugs[7]
    assert "apple-bloom-frost" in slugs[4]
    assert "apple-bloom-frost" not in slugs[1] | slugs[7]


def test_home_page_offers_different_crops_first() -> None:
    pages = selectors.advisories_in_season(Locale.get_default(), limit=3, month=11)
    assert [page.subjects.first().code for page in pages] == ["apple", "winter_wheat", "cattle"]


def test_advisory_dates_and_months_are_checked() -> None:
    page = AdvisoryPage.objects.get(slug="apple-bagging", locale=Locale.get_default())
    page.to_month = None
    with pytest.raises(ValidationError, match="起止月份"):
        page.full_clean()
    page.to_month = 6
    page.review_on = page.reviewed_on
    with pytest.raises(ValidationError, match="晚于"):
        page.full_clean()


def test_overdue_review_is_said_on_the_page(client: Client) -> None:
    path = "/info/advisories/apple-bagging/"
    assert "已过复核日期" not in client.get(path).content.decode()
    page = AdvisoryPage.objects.get(slug="apple-bagging", locale=Locale.get_default())
    page.reviewed_on = timezone.localdate() - timedelta(days=400)
    page.review_on = timezone.localdate() - timedelta(days=1)
    page.save_revision().publish()
    assert "已过复核日期" in client.get(path).content.decode()


def test_expired_and_future_warnings_are_not_shown(client: Client) -> None:
    now = timezone.now()
    WarningNotice.objects.all().delete()
    common = {"kind": "relayed", "severity": 3, "text": "后半夜有霜冻。", "issuer": "静宁县气象台"}
    hour = timedelta(hours=1)
    WarningNotice.objects.create(title="旧的", issued_at=now - 2 * hour, expires_at=now - hour, **common)
    WarningNotice.objects.create(title="还没到", issued_at=now + hour, expires_at=now + 2 * hour, **common)
    assert "warning-bar" not in client.get("/").content.decode()
    WarningNotice.objects.create(title="霜冻橙色预警", issued_at=now - hour, expires_at=now + hour, **common)
    text = client.get("/").content.decode()
    assert "warning-bar--orange" in text
    assert "霜冻橙色预警" in text
    assert "静宁县气象台" in text
    assert "旧的" not in text


def test_only_weather_stations_give_colours() -> None:
    now = timezone.now()
    notice = WarningNotice(
        kind="bureau",
        severity=3,
        title="t",
        text="t",
        issuer="i",
        issued_at=now,
        expires_at=now + timedelta(hours=1),
    )
    with pytest.raises(ValidationError, match="颜色级别只用于"):
        notice.full_clean()


def test_a_map_needs_its_approval_number() -> None:
    block = FigureBlock()
    article = AdvisoryPage.objects.get(slug="maize-full-film", locale=Locale.get_default())
    raw = next(item["value"] for item in article.body.raw_data if item["type"] == "figure")
    plain = block.to_python(raw)
    assert block.clean(plain)["alt"].startswith("地面断面")
    with pytest.raises(ValidationError):
        block.clean(block.to_python({**raw, "is_map": True}))
    assert block.clean(block.to_python({**raw, "is_map": True, "map_approval_number": "甘S(2025)01号"}))


def test_figure_has_alternative_text_and_small_picture(client: Client) -> None:
    text = client.get("/info/advisories/maize-full-film/").content.decode()
    picture = re.search(r"<img alt=\"地面断面[^>]*>", text)
    assert picture
    assert ".webp" in picture.group()
    assert 'loading="lazy"' in picture.group()


def test_home_says_so_while_nothing_is_accepted(client: Client) -> None:
    assert selectors.latest_crop_figures() is None
    assert "还没有审核通过的监测结果" in client.get("/").content.decode()


def test_home_shows_accepted_areas_only(client: Client) -> None:
    now = timezone.now()
    run = Run.objects.create(
        run_id="jingning-2026",
        digest="d" * 64,
        title="静宁示范片 2026",
        simulated=True,
        season_start=date(2025, 9, 1),
        season_end=date(2026, 10, 31),
        region_name="静宁县示范片",
        manifest={
            "crops": [
                {
                    "code": 1,
                    "name": "winter_wheat",
                    "zh": "冬小麦",
                    "en": "winter wheat",
                    "colour": "#DDCC77",
                },
                {"code": 2, "name": "potato", "zh": "马铃薯", "en": "potato", "colour": "#AA4499"},
            ]
        },
        folder="x",
        created_at=now,
    )
    common = {
        "run": run,
        "product": "area",
        "unit_adcode": "region",
        "period_start": run.season_start,
        "period_end": run.season_end,
        "unit": "ha",
        "n_samples": 300,
    }
    wheat = {"crop": "winter_wheat", "state": "accepted", **common}
    Estimate.objects.create(
        value=100.0, ci_low=90.0, ci_high=110.0, method="adjusted_count_model_based", **wheat
    )
    Estimate.objects.create(value=120.0, method="pixel_count", **wheat)
    Estimate.objects.create(value=777.0, crop="potato", method="pixel_count", state="draft", **common)
    text = client.get("/").content.decode()
    # 100 ha = 1500 亩, 90 to 110 ha = 1350 to 1650 亩; the pixel count does not stand first
    assert "冬小麦" in text
    assert "1,500 亩" in text
    assert "95% 区间 1,350 亩 – 1,650 亩" in text
    assert "模拟数据" in text
    assert "1,800 亩" not in text
    assert "马铃薯</p>" not in text
    assert "winter wheat" in client.get("/en/").content.decode()


@pytest.mark.parametrize("language", ["zh-hans", "en"])
def test_editor_opens_every_page_type(client: Client, make_user: Callable[..., User], language: str) -> None:
    client.force_login(make_user("editor"))
    for model in (
        HomePage,
        ServiceIndexPage,
        AdvisoryIndexPage,
        AdvisoryPage,
        NewsIndexPage,
        NewsPage,
        StandardPage,
    ):
        page = model.objects.filter(locale__language_code=language).first()
        response = client.get(f"/admin/pages/{page.pk}/edit/")
        assert response.status_code == 200, model
        assert "保存草稿" in response.content.decode() or "发布" in response.content.decode()


def test_every_block_shows_editors_a_preview(client: Client, make_user: Callable[..., User]) -> None:
    client.force_login(make_user("editor"))
    for name, block in AdvisoryPage._meta.get_field("body").stream_block.child_blocks.items():
        assert block.meta.icon != "placeholder", name
        assert block.meta.group, name
        assert block.meta.description, name
        response = client.get("/admin/block-preview/", {"id": block.definition_prefix})
        assert response.status_code == 200, name
        shown = re.sub(r"<[^>]+>", " ", response.content.decode().split("<main>")[1].split("</main>")[0])
        assert shown.strip(), f"the preview of {name} is empty"
