"""What the staff interface shows of the information service: warnings and the list of crops."""

from __future__ import annotations

from wagtail.snippets.models import register_snippet
from wagtail.snippets.views.snippets import SnippetViewSet, SnippetViewSetGroup

from cms.models import Subject, WarningNotice


class WarningViewSet(SnippetViewSet):
    model = WarningNotice
    icon = "warning"
    menu_label = "预警与提醒"
    list_display = ["title", "kind", "severity", "issuer", "issued_at", "expires_at"]
    list_filter = ["kind", "severity"]
    inspect_view_enabled = True


class SubjectViewSet(SnippetViewSet):
    model = Subject
    icon = "tag"
    menu_label = "作物与畜禽"
    list_display = ["name", "name_en", "code", "order"]


class InformationGroup(SnippetViewSetGroup):
    items = (WarningViewSet, SubjectViewSet)
    menu_label = "信息服务"
    menu_icon = "info-circle"
    menu_order = 250


register_snippet(InformationGroup)
