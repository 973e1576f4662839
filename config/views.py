"""Site-wide views that belong to no room: the display preference."""

from __future__ import annotations

from django.conf import settings
from django.http import HttpRequest, HttpResponseRedirect
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.http import require_safe

ELDER_COOKIE = "elder"
YEAR_SECONDS = 365 * 24 * 3600


@require_safe
def display(request: HttpRequest) -> HttpResponseRedirect:
    """Switch the elder mode (large type and targets) on or off and go back to the page one came from.

    A plain link, so that it works without JavaScript and without a session; the cookie holds nothing but the
    wish itself.
    """
    target = request.GET.get("next", "/")
    if not url_has_allowed_host_and_scheme(target, allowed_hosts=None):
        target = "/"
    response = HttpResponseRedirect(target)
    if request.GET.get("elder") == "1":
        response.set_cookie(
            ELDER_COOKIE, "1", max_age=YEAR_SECONDS, samesite="Lax", secure=settings.SESSION_COOKIE_SECURE
        )
    else:
        response.delete_cookie(ELDER_COOKIE, samesite="Lax")
    return response
