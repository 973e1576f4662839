"""The staff menu leads to the review table; runs and the review log can be looked through in the
admin, not changed.
"""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest
from django.urls import reverse
from django.utils.translation import gettext_lazy as _
from wagtail import hooks
from wagtail.admin.menu import MenuItem
from wagtail.admin.viewsets.base import ViewSetGroup
from wagtail.admin.viewsets.model import ModelViewSet
from wagtail.permission_policies import ModelPermissionPolicy
from wagtail.permissions import register_permission_policy

from accounts.roles import BUREAU, can_see_unaccepted, has_role
from monitoring.models import Review, Run


class LookOnlyPolicy(ModelPermissionPolicy):
    """The bureau may look; nobody adds, changes or deletes here, because services do."""

    def user_has_permission(self, user: Any, action: str) -> bool:
        return action == "view" and has_role(user, BUREAU)

    def user_has_any_permission(self, user: Any, actions: Any) -> bool:
        return any(self.user_has_permission(user, action) for action in actions)

    def user_has_permission_for_instance(self, user: Any, action: str, instance: Any) -> bool:
        return self.user_has_permission(user, action)


for _model in (Run, Review):
    register_permission_policy(_model, LookOnlyPolicy(_model))


class LookOnlyViewSet(ModelViewSet):
    """A list with filters and an inspect page."""

    add_to_admin_menu = False
    inspect_view_enabled = True
    copy_view_enabled = False


class RunViewSet(LookOnlyViewSet):
    model = Run
    name = "monitoring_runs"
    icon = "site"
    menu_label = _("监测运行")
    form_fields = ["title"]
    list_display = ["title", "run_id", "version", "simulated", "season_end", "imported_at", "current"]
    list_filter = ["simulated", "current"]
    search_fields = ["title", "run_id"]
    inspect_view_fields = [
        "run_id",
        "version",
        "title",
        "simulated",
        "season_start",
        "season_end",
        "digest",
        "folder",
    ]


class ReviewViewSet(LookOnlyViewSet):
    model = Review
    name = "monitoring_reviews"
    icon = "history"
    menu_label = _("审核记录")
    form_fields = ["decision"]
    list_display = ["estimate", "decision", "reason", "user", "decided_at"]
    list_filter = ["decision", "reason", "user"]
    inspect_view_fields = ["estimate", "decision", "reason", "comment", "state_before", "user", "decided_at"]


class MonitoringGroup(ViewSetGroup):
    menu_label = _("农情监测")
    menu_icon = "site"
    menu_order = 120
    items = (RunViewSet(), ReviewViewSet())


@hooks.register("register_admin_viewset")
def register_viewsets() -> MonitoringGroup:
    return MonitoringGroup()


class ReviewMenuItem(MenuItem):
    """Shown to those who decide on numbers."""

    def is_shown(self, request: HttpRequest) -> bool:
        return can_see_unaccepted(request.user)


@hooks.register("register_admin_menu_item")
def register_review_menu_item() -> ReviewMenuItem:
    return ReviewMenuItem(_("审核监测结果"), reverse("monitoring:estimates"), icon_name="tasks", order=110)
