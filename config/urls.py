"""One line a room; each app keeps its own paths. Wagtail's pages come last because they take everything left.

Every public address carries its language: none for Chinese, `/en/` for English. So a page has one content per
address, links can be shared in either language, and no cookie decides what is shown.
"""

from __future__ import annotations

from django.conf import settings
from django.conf.urls.i18n import i18n_patterns
from django.urls import URLPattern, include, path, re_path
from django.views.static import serve
from wagtail import urls as wagtail_urls
from wagtail.admin import urls as wagtailadmin_urls
from wagtail.documents import urls as wagtaildocs_urls

from config.views import display


def _media() -> list[URLPattern]:
    """Uploaded files, where no web server in front of us hands them out."""
    if not settings.SERVE_MEDIA:
        return []
    prefix = settings.MEDIA_URL.lstrip("/")
    return [re_path(rf"^{prefix}(?P<path>.*)$", serve, {"document_root": settings.MEDIA_ROOT})]


urlpatterns = [
    path("display/", display, name="display"),
    path("admin/", include(wagtailadmin_urls)),
    path("documents/", include(wagtaildocs_urls)),
    *_media(),
    *i18n_patterns(
        path("accounts/", include("accounts.urls")),
        path("monitoring/", include("monitoring.urls")),
        path("farms/", include("farms.urls")),
        path("shop/", include("shop.urls")),
        path("search/", include("cms.urls")),
        path("", include(wagtail_urls)),
        prefix_default_language=False,
    ),
]
