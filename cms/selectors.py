"""Reads of the information service. Nothing here writes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from django.db.models import F, Q, QuerySet
from django.utils import timezone

from monitoring import labels
from monitoring.selectors import PUBLIC, accepted_estimates, group_estimates, unit_order

if TYPE_CHECKING:
    from wagtail.models import Locale, Page

    from cms.models import AdvisoryIndexPage, AdvisoryPage, NewsIndexPage, NewsPage, WarningNotice
    from monitoring.models import Run
    from monitoring.selectors import Group


def current_warnings(at: datetime | None = None) -> QuerySet[WarningNotice]:
    """Warnings in force, the gravest first."""
    from cms.models import WarningNotice

    return WarningNotice.objects.current(at).select_related("link")


def advisories_below(index: AdvisoryIndexPage) -> QuerySet[AdvisoryPage]:
    """Live advisories of a list, newest first, with what a list entry shows."""
    from cms.models import AdvisoryPage

    advisories: QuerySet[AdvisoryPage] = (
        AdvisoryPage.objects.child_of(index)
        .live()
        .public()
        .prefetch_related("subjects", "counties")
        .order_by("-published_on", "-pk")
    )
    return advisories


def in_season(advisories: QuerySet[AdvisoryPage], *, month: int) -> QuerySet[AdvisoryPage]:
    """Those that are for a month (1-12); a season may run over the turn of the year."""
    within = Q(from_month__lte=F("to_month")) & Q(from_month__lte=month, to_month__gte=month)
    over_new_year = Q(from_month__gt=F("to_month")) & (Q(from_month__lte=month) | Q(to_month__gte=month))
    return advisories.filter(within | over_new_year)


def advisories_in_season(locale: Locale, *, limit: int, month: int | None = None) -> Sequence[AdvisoryPage]:
    """Advice for a month (this one) in a language: of each crop first the one with the shortest season.

    A short season is the most pressing; a second article on a crop comes after the first of all others.
    """
    from cms.models import AdvisoryPage

    advisories = (
        AdvisoryPage.objects.filter(locale=locale).live().public().prefetch_related("subjects", "counties")
    )
    pages = list(in_season(advisories, month=month or timezone.localdate().month))
    pages.sort(key=lambda page: (page.season_months, -page.published_on.toordinal(), page.pk))
    seen: Counter[object] = Counter()
    ranked: list[tuple[int, AdvisoryPage]] = []
    for page in pages:
        codes = [subject.code for subject in page.subjects.all()] or [page.pk]
        ranked.append((max(seen[code] for code in codes), page))
        seen.update(codes)
    ranked.sort(key=lambda pair: pair[0])  # stable: within a round the order above stays
    return [page for _, page in ranked[:limit]]


def news_below(index: NewsIndexPage) -> QuerySet[NewsPage]:
    """Live news of a list, newest first."""
    from cms.models import NewsPage

    news: QuerySet[NewsPage] = (
        NewsPage.objects.child_of(index).live().public().order_by("-published_on", "-pk")
    )
    return news


def latest_news(locale: Locale, *, limit: int) -> QuerySet[NewsPage]:
    """The newest news in a language."""
    from cms.models import NewsPage

    news: QuerySet[NewsPage] = (
        NewsPage.objects.filter(locale=locale).live().public().order_by("-published_on", "-pk")
    )
    return news[:limit]


def newest_below(section: Page, *, limit: int) -> Sequence[Any]:
    """The newest entries of a section, whatever its type."""
    from cms.models import AdvisoryIndexPage, NewsIndexPage

    if isinstance(section, AdvisoryIndexPage):
        return list(advisories_below(section)[:limit])
    if isinstance(section, NewsIndexPage):
        return list(news_below(section)[:limit])
    return []


@dataclass(frozen=True, slots=True)
class CropFigure:
    """An accepted area of one crop, ready to print, with its growth where that is accepted too."""

    crop: str
    area: str
    low: str
    high: str
    growth: Group | None


@dataclass(frozen=True, slots=True)
class CropFigures:
    """The newest accepted areas: of which run, where, and how the number was made."""

    run: Run
    place: str
    method: str
    figures: tuple[CropFigure, ...]


def latest_crop_figures(*, limit: int = 4) -> CropFigures | None:
    """Accepted crop areas of the newest season over its widest unit, largest first.

    None as long as the bureau has accepted nothing.
    """
    areas = [row for row in accepted_estimates(product="area") if row.crop and row.value is not None]
    if not areas:
        return None
    newest = max(areas, key=lambda row: (row.run.season_end, row.run.imported_at)).run
    areas = [row for row in areas if row.run_id == newest.pk]
    widest = min({row.unit_adcode for row in areas}, key=unit_order)
    groups = group_estimates(PUBLIC, [row for row in areas if row.unit_adcode == widest])
    growth = {
        group.crop: group
        for group in group_estimates(PUBLIC, list(accepted_estimates(product="growth", unit_adcode=widest)))
        if group.run.pk == newest.pk
    }
    groups.sort(key=lambda group: -(group.headline.value or 0.0))
    figures = tuple(
        CropFigure(
            crop=group.crop_label,
            area=labels.format_area(group.headline.value),
            low=labels.format_area(group.headline.ci_low),
            high=labels.format_area(group.headline.ci_high),
            growth=growth.get(group.crop),
        )
        for group in groups[:limit]
    )
    return CropFigures(
        run=newest,
        place=groups[0].unit_label,
        method=labels.method_label(groups[0].headline.method),
        figures=figures,
    )
