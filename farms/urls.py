"""Addresses of the farms room."""

from __future__ import annotations

from django.urls import URLPattern

app_name = "farms"
urlpatterns: list[URLPattern] = []
