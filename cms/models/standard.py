"""A plain page for what changes rarely: about, how the data are made, accessibility, privacy."""

from __future__ import annotations

from typing import ClassVar

from django.utils.translation import gettext_lazy as _
from wagtail.admin.panels import FieldPanel
from wagtail.fields import StreamField

from cms.blocks import BodyBlock
from cms.models.base import BasePage


class StandardPage(BasePage):
    """Text and nothing else. Dated or seasonal content belongs into news and advisories."""

    body = StreamField(BodyBlock(), verbose_name="正文", blank=True)

    content_panels = [*BasePage.content_panels, FieldPanel("body")]

    parent_page_types: ClassVar[list[str]] = ["cms.HomePage"]
    subpage_types: ClassVar[list[str]] = []
    kind_label = _("说明")

    class Meta:
        verbose_name = verbose_name_plural = "说明页"
