"""Growers, orchards and batches in the staff interface."""

from __future__ import annotations

from wagtail.snippets.models import register_snippet
from wagtail.snippets.views.snippets import SnippetViewSet, SnippetViewSetGroup

from farms.models import Batch, Grower, Orchard


class GrowerViewSet(SnippetViewSet):
    model = Grower
    icon = "group"
    menu_label = "生产主体"
    list_display = ["code", "name", "kind", "county", "sample"]
    list_filter = ["kind", "county"]
    search_fields = ["code", "name", "credit_code"]


class OrchardViewSet(SnippetViewSet):
    model = Orchard
    icon = "site"
    menu_label = "果园"
    list_display = ["code", "name", "grower", "township", "area_mu", "parcel_code"]
    list_filter = ["grower"]
    search_fields = ["code", "name", "parcel_code"]


class BatchViewSet(SnippetViewSet):
    model = Batch
    icon = "list-ul"
    menu_label = "批次"
    list_display = ["code", "grower", "orchard", "kind", "harvest_date", "quantity_kg", "state"]
    list_filter = ["kind", "state", "grower"]
    search_fields = ["code", "pledge_certificate"]


class FarmsGroup(SnippetViewSetGroup):
    items = (GrowerViewSet, OrchardViewSet, BatchViewSet)
    menu_label = "果园与批次"
    menu_icon = "site"
    menu_order = 260


register_snippet(FarmsGroup)
