"""Addresses of the farms room, below /farms/."""

from __future__ import annotations

from django.urls import path

from farms import views

app_name = "farms"
urlpatterns = [
    path("", views.index, name="index"),
    path("orchards/<slug:code>/", views.orchard, name="orchard"),
]
