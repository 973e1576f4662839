"""What every template may ask of the site."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.http import HttpRequest

from config.views import ELDER_COOKIE


def site(request: HttpRequest) -> dict[str, Any]:
    """Names and filing numbers of the footer, the display wish, and whether this is the demo."""
    return {
        "SITE_NAME": settings.WAGTAIL_SITE_NAME,
        "DEMO": settings.DEMO,
        "ICP_NUMBER": settings.ICP_NUMBER,
        "POLICE_NUMBER": settings.POLICE_NUMBER,
        "MAP_APPROVAL_NUMBER": settings.MAP_APPROVAL_NUMBER,
        "elder": request.COOKIES.get(ELDER_COOKIE) == "1",
    }
