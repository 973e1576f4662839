"""Views that are not Wagtail pages: search."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from django.core.paginator import Paginator
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.safestring import SafeString
from django.utils.translation import get_language
from django.views.decorators.http import require_safe
from wagtail.models import Locale

from cms.models import BasePage
from cms.search import excerpt, highlight, marked_names, search_elsewhere, search_pages

PAGE_SIZE = 10
#: Offered where there is nothing to show; each finds something in the sample content.
SUGGESTIONS = {
    "zh": ("苹果 清园", "小麦 越冬", "洋芋 晚疫病", "玉米 覆膜", "犊牛", "合格证"),
    "en": ("apple", "frost", "certificate"),
}


@dataclass(frozen=True, slots=True)
class Hit:
    """One result as the page shows it."""

    title: SafeString
    url: str
    kind: Any
    text: SafeString
    dated: Any
    is_example: bool


def _hits(pages: Any, names: list[str], request: HttpRequest) -> Iterator[Hit]:
    for found in pages:
        page = found.specific
        if not isinstance(page, BasePage):
            continue
        yield Hit(
            title=highlight(page.title, names),
            url=page.get_url(request) or "",
            kind=page.kind,
            text=excerpt(page.readable_text(), names),
            dated=getattr(page, "dated", None),
            is_example=page.is_example,
        )


@require_safe
def search(request: HttpRequest) -> HttpResponse:
    """Pages that hold the words asked for, best first."""
    found = search_pages(request.GET.get("q", ""), locale=Locale.get_active())
    page_obj = Paginator(found.results, PAGE_SIZE).get_page(request.GET.get("page"))
    names = marked_names(found.words)
    return render(
        request,
        "cms/search.html",
        {
            "search": found,
            "search_query": found.query,
            "page_obj": page_obj,
            "hits": list(_hits(page_obj, names, request)),
            "elsewhere": search_elsewhere(found.query, found.words) if page_obj.number == 1 else [],
            "suggestions": SUGGESTIONS["zh" if (get_language() or "zh").startswith("zh") else "en"],
        },
    )
