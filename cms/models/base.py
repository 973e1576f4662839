"""What every page type shares: lead, mark of sample content, segmented text for search."""

from __future__ import annotations

from typing import Any, ClassVar

from django.db import models
from django.utils.functional import cached_property
from django.utils.translation import gettext_lazy as _
from wagtail.admin.panels import FieldPanel
from wagtail.models import Page
from wagtail.search import index

from cms.chinese import segment_for_index
from cms.text import plain_text


class BasePage(Page):
    """Abstract parent of all pages of the site."""

    introduction = models.CharField(
        "导语",
        max_length=200,
        blank=True,
        help_text="一两句话说清这一页讲什么、给谁看；列表和搜索结果里也显示它。",
    )
    is_example = models.BooleanField("示例内容", default=False, help_text="演示用的文章，页面上标“示例”。")

    content_panels = [*Page.content_panels, FieldPanel("introduction")]
    settings_panels = [*Page.settings_panels, FieldPanel("is_example")]
    # PostgreSQL sees a Chinese sentence as one word; these two fields hold it cut into words (cms.chinese).
    search_fields = [
        *Page.search_fields,
        index.SearchField("segmented_title", boost=4),
        index.SearchField("segmented_text"),
    ]

    #: What a search result says this page is; None keeps the type out of the results.
    kind_label: ClassVar[Any] = None

    class Meta:
        abstract = True

    def save(self, *args: Any, **kwargs: Any) -> Any:
        """Save; what was cut into words before is cut anew."""
        self.forget_words()
        return super().save(*args, **kwargs)

    def forget_words(self) -> None:
        """Drop the segmented texts of this object."""
        for name in ("segmented_title", "segmented_text"):
            self.__dict__.pop(name, None)

    # Cached, because the indexer asks for each field five times.
    @cached_property
    def segmented_title(self) -> str:
        """The title cut into words."""
        return segment_for_index(self.title)

    @cached_property
    def segmented_text(self) -> str:
        """Everything else a reader can see, cut into words."""
        return segment_for_index(self.text_for_search())

    def text_for_search(self) -> str:
        """What the index holds besides the title; types add names that the text itself may lack."""
        return self.readable_text()

    def readable_text(self) -> str:
        """Plain text of the page as a reader meets it, without its title."""
        parts = [self.introduction]
        body = getattr(self, "body", None)
        if body is not None:
            parts.append(plain_text(body))
        return "\n".join(part for part in parts if part)

    @property
    def description(self) -> str:
        """What the page's meta element tells other search engines."""
        return self.search_description or self.introduction

    @property
    def kind(self) -> Any:
        """Name of the page's kind in the reader's language."""
        return self.kind_label or _("页面")
