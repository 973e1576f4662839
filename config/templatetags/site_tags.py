"""Small helpers of the base template: navigation, the other language, numbers as people read them."""

from __future__ import annotations

from decimal import Decimal, InvalidOperation
from typing import Any

from django import template
from django.conf import settings
from django.http import HttpRequest
from django.urls import translate_url
from django.utils import translation
from wagtail.models import Page, Site

register = template.Library()


@register.simple_tag(takes_context=True)
def language_url(context: dict[str, Any], language: str) -> str:
    """Address of the shown page in another language; that language's home where it is not translated."""
    request: HttpRequest | None = context.get("request")
    home = translated_home(language)
    if request is None:
        return home
    page = context.get("page")
    if isinstance(page, Page):
        # Only the prefix differs for our own views; a Wagtail page may have no translation at all.
        for other in page.get_translations().live().select_related("locale"):
            if other.locale.language_code == language:
                return other.get_url(request) or home
        return home
    if getattr(request, "resolver_match", None) is None:
        return home
    return translate_url(request.get_full_path(), language)


def translated_home(language: str) -> str:
    """Address of the home page in a language: the default one carries no prefix."""
    return "/" if language == settings.LANGUAGE_CODE else f"/{language}/"


@register.simple_tag(takes_context=True)
def section_url(context: dict[str, Any], slug: str) -> str:
    """Address of a live section below the home page of the shown language, or nothing where there is none.

    Sections keep one slug in all languages (`info`, `about`), so the navigation needs no look-up table.
    """
    request: HttpRequest | None = context.get("request")
    if request is None:
        return ""
    cache: dict[str, str] | None = getattr(request, "_section_urls", None)
    if cache is None:
        cache = _section_urls(request)
        request._section_urls = cache  # type: ignore[attr-defined]
    return cache.get(slug, "")


def _section_urls(request: HttpRequest) -> dict[str, str]:
    site = Site.find_for_request(request)
    if site is None:
        return {}
    home = site.root_page.localized
    # Two levels: 信息服务 itself and what lies in it. One query a page view.
    pages = Page.objects.live().public().descendant_of(home).filter(depth__lte=home.depth + 2)
    return {page.slug: page.get_url(request) or "" for page in pages.filter(show_in_menus=True)}


@register.filter
def grouped(value: object, places: int = 0) -> str:
    """A number with thousands separators and a fixed number of decimals: 412345.6 → 412,346."""
    try:
        number = Decimal(str(value))
    except (InvalidOperation, ValueError):
        return ""
    return f"{number:,.{places}f}" if number.is_finite() else ""


@register.filter
def wan(value: object, places: int = 1) -> str:
    """A number in units of ten thousand, as areas are read aloud in Chinese: 412000 → 41.2."""
    try:
        number = Decimal(str(value)) / 10_000
    except (InvalidOperation, ValueError):
        return ""
    return f"{number:,.{places}f}" if number.is_finite() else ""


@register.simple_tag
def other_languages() -> list[tuple[str, str]]:
    """Code and own name of every language but the one in use."""
    current = translation.get_language()
    return [(code, str(name)) for code, name in settings.LANGUAGES if code != current]
