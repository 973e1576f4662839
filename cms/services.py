"""Writes of the information service: the sample pages. Editors write through Wagtail's admin."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.core.files.base import ContentFile
from django.db import transaction
from django.utils import timezone
from wagtail.images import get_image_model
from wagtail.models import Locale, Page

from cms.demo import en, zh
from cms.demo.figure import film_cross_section
from cms.models import (
    AdvisoryIndexPage,
    AdvisoryPage,
    BasePage,
    HomePage,
    NewsIndexPage,
    NewsPage,
    ServiceIndexPage,
    StandardPage,
    Subject,
    WarningNotice,
)
from places.models import Unit

#: Sample articles were "checked" when they were published; the next check is due after this many days.
REVIEW_DAYS = 330
FILM_TITLE = "全膜双垄沟播断面示意（示例）"


@dataclass(frozen=True, slots=True)
class DemoReport:
    """What `load_demo_content` did: pages made, and pages that were there and were left as they are."""

    made: int
    kept: int


@transaction.atomic
def load_demo_content(*, reset: bool = False) -> DemoReport:
    """Put the sample pages into the tree, in Chinese and English.

    Pages that exist stay as they are, for an editor may have changed them.

    Parameters
    ----------
    reset
        Write the sample text over existing sample pages as well.
    """
    writer = _Writer(reset=reset)
    home = _home()
    sections = writer.sections(home, zh.SECTIONS)
    for row in zh.ADVISORIES:
        page = writer.page(AdvisoryPage, sections["advisories"], row, _advisory_fields(row))
        if page is not None:
            page.subjects.set(Subject.objects.filter(code__in=row["subjects"]))
            page.counties.set(Unit.objects.filter(adcode__in=row["counties"]))
            writer.publish(page)
    for row in zh.NEWS:
        writer.publish(writer.page(NewsPage, sections["news"], row, _news_fields(row)))
    for row in zh.STANDARD:
        page = writer.page(StandardPage, home, row, {"body": _body(row["body"]), "show_in_menus": True})
        writer.publish(page)
    _load_warning(sections["advisories"])
    _load_english(writer, home)
    return DemoReport(made=writer.made, kept=writer.kept)


def _home() -> HomePage:
    home: HomePage | None = HomePage.objects.filter(locale=Locale.get_default()).first()
    if home is None:
        raise HomePage.DoesNotExist(
            "There is no home page in the default language. Run `manage.py migrate`; a site whose tree was "
            "built by hand needs a page of type 首页 (cms.HomePage) below the root first."
        )
    return home


class _Writer:
    """Makes pages that are missing and counts."""

    def __init__(self, *, reset: bool) -> None:
        self.reset = reset
        self.made = self.kept = 0

    def sections(self, home: Page, texts: Mapping[str, Mapping[str, str]]) -> dict[str, Page]:
        """信息服务 with its two lists."""
        found: dict[str, Page] = {}
        for slug, model, parent in (
            ("info", ServiceIndexPage, None),
            ("advisories", AdvisoryIndexPage, "info"),
            ("news", NewsIndexPage, "info"),
        ):
            below = found[parent] if parent else home
            row = {"slug": slug, **texts[slug]}
            page = self.page(model, below, row, {"show_in_menus": True, "is_example": False})
            self.publish(page)
            found[slug] = page or Page.objects.child_of(below).get(slug=slug)
        return found

    def page(
        self, model: type[BasePage], parent: Page, row: Mapping[str, Any], fields: Mapping[str, Any]
    ) -> Any:
        """The page to fill, unpublished yet; None where it exists and is to stay."""
        values = {
            "title": row["title"],
            "introduction": row["introduction"],
            "is_example": True,
            "locale": parent.locale,
            **fields,
        }
        existing = model.objects.child_of(parent).filter(slug=row["slug"]).first()
        if existing is None:
            self.made += 1
            return parent.add_child(instance=model(slug=row["slug"], live=False, **values))
        if not self.reset:
            self.kept += 1
            return None
        for name, value in values.items():
            setattr(existing, name, value)
        self.made += 1
        return existing

    @staticmethod
    def publish(page: Any) -> None:
        if page is not None:
            page.save_revision().publish()


def _advisory_fields(row: Mapping[str, Any]) -> dict[str, Any]:
    day = timezone.localdate() - timedelta(days=row["days_ago"])
    first, last = row["months"] or (None, None)
    return {
        "stage": row["stage"],
        "from_month": first,
        "to_month": last,
        "published_on": day,
        "reviewed_on": day,
        "review_on": day + timedelta(days=REVIEW_DAYS),
        "author": zh.AUTHOR,
        "source": zh.SOURCE,
        "body": _body(row["body"]),
    }


def _news_fields(row: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "published_on": timezone.localdate() - timedelta(days=row["days_ago"]),
        "source": row["source"],
        "body": _body(row["body"]),
    }


def _body(blocks: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Stream data with the drawing put in where an article wants it."""
    return [
        {"type": "figure", "value": _film_figure()} if block["type"] == "figure" else dict(block)
        for block in blocks
    ]


def _film_figure() -> dict[str, Any]:
    images = get_image_model().objects
    image = images.filter(title=FILM_TITLE).first()
    if image is None:
        image = images.create(
            title=FILM_TITLE, file=ContentFile(film_cross_section(), "full-film-ridges.png")
        )
    return {
        "image": image.pk,
        "alt": "地面断面：宽而低的大垄和窄而高的小垄相间，蓝线表示地膜盖满地面，玉米种在两垄之间的沟里。",
        "caption": "全膜双垄沟播断面示意。大垄宽 70 厘米，小垄宽 40 厘米；蓝线是地膜。本站自绘。",
        "is_map": False,
        "map_approval_number": "",
    }


def _load_warning(advisories: Page) -> None:
    """The sample warning, issued anew at every load, because an expired one is not shown."""
    now = timezone.now()
    row = zh.WARNING
    WarningNotice.objects.update_or_create(
        title=row["title"],
        is_example=True,
        defaults={
            "kind": WarningNotice.Kind.BUREAU,
            "severity": WarningNotice.Severity.NONE,
            "text": row["text"],
            "title_en": row["title_en"],
            "text_en": row["text_en"],
            "issuer": row["issuer"],
            "issued_at": now,
            "expires_at": now + timedelta(days=3),
            "link": Page.objects.child_of(advisories).filter(slug=row["link"]).first(),
        },
    )


def _load_english(writer: _Writer, home: HomePage) -> None:
    """Translations as Wagtail's editor makes them: a copy in the other language's tree, then its text."""
    locale, _ = Locale.objects.get_or_create(language_code="en")
    _translate(writer, home, locale, en.HOME)
    info = Page.objects.child_of(home).get(slug="info")
    _translate(writer, info.specific, locale, en.SECTIONS["info"])
    for slug in ("advisories", "news"):
        _translate(writer, Page.objects.child_of(info).get(slug=slug).specific, locale, en.SECTIONS[slug])
    parents = {"advisories": en.ADVISORIES, "news": en.NEWS}
    for slug, rows in parents.items():
        section = Page.objects.child_of(info).get(slug=slug)
        for page_slug, row in rows.items():
            source = Page.objects.child_of(section).get(slug=page_slug).specific
            extra = {"author": en.AUTHOR, "source": en.SOURCE} if slug == "advisories" else {}
            _translate(writer, source, locale, {**extra, **row})
    for page_slug, row in en.STANDARD.items():
        _translate(writer, Page.objects.child_of(home).get(slug=page_slug).specific, locale, row)


def _translate(writer: _Writer, source: Any, locale: Locale, texts: Mapping[str, Any]) -> None:
    target = source.get_translation_or_none(locale)
    if target is not None and not writer.reset:
        writer.kept += 1
        return
    page = target or source.copy_for_translation(locale)
    for name, value in texts.items():
        setattr(page, name, _body(value) if name == "body" else value)
    page.draft_title = page.title
    writer.made += 1
    writer.publish(page)
