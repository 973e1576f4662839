"""Search over pages: every word, then any word; excerpts with the found words marked."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from django.conf import settings
from django.utils.html import escape
from django.utils.module_loading import import_string
from django.utils.safestring import SafeString, mark_safe
from wagtail.models import Locale, Page
from wagtail.search.query import And, Or, PlainText, SearchQuery

from cms.chinese import names_of, query_words

#: A query is cut here: nobody types more, and each word costs the database a condition.
MAX_QUERY: Final = 100
EXCERPT: Final = 90


@dataclass(frozen=True, slots=True)
class PageSearch:
    """Outcome of a search.

    Attributes
    ----------
    query
        What was looked for, cleaned and cut to `MAX_QUERY` characters.
    words
        The words it was cut into.
    results
        Wagtail search results (sliceable, counts itself), best first; an empty list where nothing was found.
    loose
        Whether no page holds every word, so that these hold only some.
    shortened
        Whether the query was cut.
    """

    query: str
    words: tuple[str, ...]
    results: Any
    loose: bool = False
    shortened: bool = False


@dataclass(frozen=True, slots=True)
class OtherHit:
    """Something outside the page tree: a product, an orchard."""

    title: str
    url: str
    text: str


@dataclass(frozen=True, slots=True)
class OtherHits:
    """The first hits of one kind, how many there are, and where the rest is."""

    title: str
    hits: tuple[OtherHit, ...]
    more_url: str
    count: int


def search_elsewhere(query: str, words: tuple[str, ...]) -> list[OtherHits]:
    """Hits of the rooms that `settings.SEARCH_PROVIDERS` names; empty kinds are left out."""
    if not words:
        return []
    found = (import_string(name)(query, words) for name in settings.SEARCH_PROVIDERS)
    return [hits for hits in found if hits.count]


def clean_query(raw: str) -> tuple[str, bool]:
    """A query without control characters (PostgreSQL refuses NUL), full-width forms folded, cut to length."""
    folded = unicodedata.normalize("NFKC", raw)
    visible = "".join(" " if unicodedata.category(char)[0] in "CZ" else char for char in folded)
    collapsed = " ".join(visible.split())
    return collapsed[:MAX_QUERY], len(collapsed) > MAX_QUERY


def search_pages(raw: str, *, locale: Locale) -> PageSearch:
    """Live public pages of a language that hold all words of a query, else any of them."""
    query, shortened = clean_query(raw)
    wanted = tuple(query_words(query))
    if not wanted:
        return PageSearch(query=query, words=(), results=[], shortened=shortened)
    pages = Page.objects.live().public().filter(locale=locale, depth__gt=2)
    every = pages.search(_combined(wanted, every=True))
    if every.count() or len(wanted) == 1:
        return PageSearch(query=query, words=wanted, results=every, shortened=shortened)
    some = pages.search(_combined(wanted, every=False))
    return PageSearch(query=query, words=wanted, results=some, loose=True, shortened=shortened)


def _combined(wanted: Sequence[str], *, every: bool) -> SearchQuery:
    """All or any of the words, each under all its names."""
    groups: list[SearchQuery] = []
    for word in wanted:
        names = [_all_parts(name) for name in names_of(word)]
        groups.append(names[0] if len(names) == 1 else Or(names))
    if len(groups) == 1:
        return groups[0]
    return And(groups) if every else Or(groups)


def _all_parts(name: str) -> PlainText:
    """A name is found by itself; one the dictionary does not hold in one piece, by all its parts."""
    return PlainText(" ".join(query_words(name)) or name, operator="and")


def marked_names(wanted: Sequence[str]) -> list[str]:
    """Words to mark in titles and excerpts: those asked for and their other names, longest first."""
    names = {name for word in wanted for name in names_of(word)}
    return sorted(names, key=lambda name: (-len(name), name))


def highlight(text: str, names: Sequence[str]) -> SafeString:
    """A text with every name inside <mark>; everything else is escaped."""
    if not names:
        return mark_safe(escape(text))  # noqa: S308
    pattern = re.compile("|".join(re.escape(name) for name in names), re.IGNORECASE)
    parts: list[str] = []
    end = 0
    for match in pattern.finditer(text):
        parts += [escape(text[end : match.start()]), f"<mark>{escape(match.group())}</mark>"]
        end = match.end()
    return mark_safe("".join([*parts, escape(text[end:])]))  # noqa: S308 - every piece is escaped above


def excerpt(text: str, names: Sequence[str], *, length: int = EXCERPT) -> SafeString:
    """The part of a text around the first name found, names marked; the beginning where none occurs."""
    flat = " ".join(text.split())
    first = min((at for at in (flat.lower().find(name) for name in names) if at >= 0), default=0)
    start = max(0, first - length // 3)
    piece = flat[start : start + length]
    before = "…" if start else ""
    after = "…" if start + length < len(flat) else ""
    return mark_safe(before + highlight(piece, names) + after)  # noqa: S308
