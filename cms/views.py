"""Views that are not Wagtail pages: search."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render


def search(request: HttpRequest) -> HttpResponse:
    """Pages that hold the words asked for, best first."""
    return render(request, "cms/search.html", {"query": request.GET.get("q", "").strip()})
