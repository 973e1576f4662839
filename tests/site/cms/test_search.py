"""The search page over the sample site: Chinese words, other names, odd input, highlighting, paging."""

from __future__ import annotations

import re

import pytest
from django.test import Client
from wagtail.models import Locale, Page

from cms.chinese import segment_for_index
from cms.models import AdvisoryPage, NewsPage
from cms.search import clean_query, excerpt, highlight, search_pages
from places.models import Unit

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("demo_site")]


def found(query: str, language: str = "zh-hans") -> list[str]:
    locale = Locale.objects.get(language_code=language)
    return [page.slug for page in search_pages(query, locale=locale).results]


@pytest.mark.parametrize(
    ("query", "slug"),
    [
        ("小麦", "wheat-overwintering"),
        ("静宁苹果", "apple-bloom-frost"),
        ("条锈病", "wheat-stripe-rust"),
        ("苹果 霜冻", "apple-bloom-frost"),
        ("全膜双垄沟播", "maize-full-film"),
        ("合格证怎么开", "pledge-certificate"),
        ("洋芋 晚疫病", "potato-late-blight"),  # 洋芋 = 马铃薯
        ("苞谷 地膜", "maize-full-film"),  # 苞谷 = 玉米
        ("打霜", "apple-bloom-frost"),  # 打霜 = 霜冻
        ("牛 冬天", "cattle-winter-barn"),  # one character; 冬天 = 过冬
        ("ＦＵＪＩ", "apple-colour-harvest"),  # full-width letters; fuji = 富士
    ],
)
def test_farmers_queries_find_the_right_page(query: str, slug: str) -> None:
    assert slug in found(query)[:5]


def test_the_page_about_it_comes_first() -> None:
    assert found("小麦条锈病")[0] == "wheat-stripe-rust"
    assert found("苹果套袋")[0] == "apple-bagging"


def test_all_words_first_then_any() -> None:
    locale = Locale.get_default()
    strict = search_pages("苹果 套袋", locale=locale)
    assert not strict.loose
    loose = search_pages("苹果 量子", locale=locale)
    assert loose.loose
    assert len(loose.results) > 0


def test_each_language_finds_its_own_pages() -> None:
    assert found("frost", "en")[0] == "apple-bloom-frost"
    assert found("霜冻", "en") == []
    english = Page.objects.get(slug="apple-bloom-frost", locale__language_code="en")
    assert english.pk not in {page.pk for page in search_pages("霜冻", locale=Locale.get_default()).results}


def test_drafts_are_not_found() -> None:
    page = NewsPage.objects.get(slug="winter-training", locale=Locale.get_default())
    assert "winter-training" in found("冬季果树修剪培训")
    page.unpublish()
    assert "winter-training" not in found("冬季果树修剪培训")


def test_a_changed_article_is_found_by_its_new_words_and_county() -> None:
    page = AdvisoryPage.objects.get(slug="maize-silage", locale=Locale.get_default())
    assert "maize-silage" not in found("灵台")
    page.counties.add(Unit.objects.get(adcode="620822"))
    page.introduction = "乳线到一半时收，先看含水量，再定哪天下地收割机。"
    page.save_revision().publish()
    assert "maize-silage" in found("灵台")
    assert "maize-silage" in found("收割机")


@pytest.mark.parametrize(
    "query",
    [
        "",
        "   ",
        "!!!",
        "' OR 1=1 --",
        "\x00小麦\x00",
        "%",
        "\\",
        "& | ! ( )",
        ":*",
        "<script>",
        "小" * 500,
        "🍎",
    ],
)
def test_odd_input_is_answered(client: Client, query: str) -> None:
    response = client.get("/search/", {"q": query})
    assert response.status_code == 200
    assert b"<script" not in response.content


def test_long_query_is_cut_and_says_so(client: Client) -> None:
    assert clean_query("苹" * 101) == ("苹" * 100, True)
    response = client.get("/search/", {"q": "苹果" * 60})
    assert "只用了前 100 个字" in response.content.decode()


def test_nothing_found_offers_words_that_find_something(client: Client) -> None:
    text = client.get("/search/", {"q": "量子力学"}).content.decode()
    assert "没有找到" in text
    words = re.findall(r'<li><a href="\?q=[^"]*">([^<]+)</a></li>', text)
    assert len(words) >= 4
    for word in words:
        assert found(word), f"the suggestion {word} finds nothing"


def test_results_mark_the_words(client: Client) -> None:
    text = client.get("/search/", {"q": "洋芋"}).content.decode()
    assert "<mark>马铃薯</mark>" in text


def test_highlight_escapes_what_it_marks() -> None:
    assert highlight("<b>小麦</b>", ["小麦"]) == "&lt;b&gt;<mark>小麦</mark>&lt;/b&gt;"
    assert highlight("a&b", []) == "a&amp;b"
    assert highlight("小麦小", ["小麦", "小"]) == "<mark>小麦</mark><mark>小</mark>"


def test_excerpt_shows_the_surroundings_of_the_first_word() -> None:
    text = "甲" * 100 + "霜冻" + "乙" * 100
    piece = excerpt(text, ["霜冻"], length=30)
    assert piece.startswith("…")
    assert piece.endswith("…")
    assert "甲<mark>霜冻</mark>乙" in piece


def test_paging_keeps_the_query_and_forgives_wrong_numbers(client: Client) -> None:
    for number in ("1", "99999", "x", "-1"):
        response = client.get("/search/", {"q": "苹果", "page": number})
        assert response.status_code == 200
        assert response.context["page_obj"].paginator.count >= 6


def test_index_field_is_the_segmented_text() -> None:
    page = AdvisoryPage.objects.get(slug="apple-bagging", locale=Locale.get_default())
    assert page.segmented_title == segment_for_index(page.title)
    assert {"静宁", "套袋", "苹果"} <= set(page.segmented_text.split())
