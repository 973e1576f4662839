"""The search page, below /search/. Everything else of this room is a Wagtail page."""

from __future__ import annotations

from django.urls import path

from cms.views import search

app_name = "cms"
urlpatterns = [path("", search, name="search")]
