"""Pages of the farms room: growers and orchards of a county, and one orchard."""

from __future__ import annotations

from django.core.paginator import Paginator
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.translation import get_language
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET

from farms import selectors

ORCHARDS_A_PAGE = 12


@require_GET
def index(request: HttpRequest) -> HttpResponse:
    """Orchards and growers, all or those of one county."""
    english = (get_language() or "").startswith("en")
    counties = [
        (code, name_en if english and name_en else name)
        for code, name, name_en in selectors.counties_with_growers()
    ]
    county = request.GET.get("county", "")
    if county not in dict(counties):
        county = ""  # an old or mistyped link shows all, not an error
    page = Paginator(selectors.orchards(county=county), ORCHARDS_A_PAGE).get_page(request.GET.get("page"))
    context = {
        "counties": counties,
        "county": county,
        "page_obj": page,
        "growers": selectors.growers(county=county),
    }
    return render(request, "farms/index.html", context)


@require_GET
def orchard(request: HttpRequest, code: str) -> HttpResponse:
    """Facts, season curve and batches of one orchard."""
    found = selectors.orchard_by_code(code)
    if found is None:
        raise Http404(_("没有编号为 %(code)s 的果园。") % {"code": code})
    context = {"orchard": found, "curve": selectors.orchard_curve(found)}
    return render(request, "farms/orchard.html", context)
