"""The home page: what matters today, first and large."""

from __future__ import annotations

from typing import Any, ClassVar

from django.conf import settings
from django.db import models
from django.http import HttpRequest
from wagtail.admin.panels import FieldPanel

from cms import selectors
from cms.models.base import BasePage


class HomePage(BasePage):
    """One a language, straight below the tree's root."""

    headline = models.CharField(
        "大标题", max_length=40, help_text="一句话说这个网站给平凉人做什么，不超过 20 个字。"
    )

    content_panels = [*BasePage.content_panels[:1], FieldPanel("headline"), *BasePage.content_panels[1:]]

    parent_page_types: ClassVar[list[str]] = ["wagtailcore.Page"]
    subpage_types: ClassVar[list[str]] = ["cms.ServiceIndexPage", "cms.StandardPage"]
    max_count = len(settings.LANGUAGES)

    class Meta:
        verbose_name = verbose_name_plural = "首页"

    def get_context(self, request: HttpRequest, *args: Any, **kwargs: Any) -> dict[str, Any]:
        context: dict[str, Any] = super().get_context(request, *args, **kwargs)
        context["warnings"] = selectors.current_warnings()
        context["advisories"] = selectors.advisories_in_season(self.locale, limit=3)
        context["figures"] = selectors.latest_crop_figures()
        context["news"] = selectors.latest_news(self.locale, limit=4)
        return context
