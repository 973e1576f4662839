"""The table of estimates, its CSV, and the decisions of reviewers."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.core.paginator import Paginator
from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect, StreamingHttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.http import url_has_allowed_host_and_scheme
from django.utils.translation import gettext as _
from django.utils.translation import ngettext
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST, require_safe

from accounts.roles import can_see_unaccepted
from monitoring import labels, selectors
from monitoring.errors import ReviewError
from monitoring.export import csv_lines
from monitoring.forms import read_area_unit, read_seen
from monitoring.models import Estimate, Review, Run
from monitoring.services import review

GROUPS_A_PAGE = 30
_FILTERS = ("run", "product", "crop", "unit", "state")


@require_safe
@never_cache
def estimates_page(request: HttpRequest) -> HttpResponse:
    """Groups of estimates with intervals; staff accept or return them here."""
    runs = list(selectors.visible_runs(request.user))
    run = selectors.find_run(request.user, request.GET.get("run", ""))
    chosen = {name: request.GET.get(name, "") for name in _FILTERS}
    chosen["product"] = chosen["product"] or "area"
    rows = _filtered(request, run, chosen)
    page = Paginator(_ordered_keys(rows, run), GROUPS_A_PAGE).get_page(request.GET.get("page"))
    groups = _groups(request, rows, list(page.object_list), run, chosen["product"])
    return render(
        request,
        "monitoring/estimates.html",
        {
            "run": run,
            "runs": runs,
            "groups": groups,
            "page_obj": page,
            "chosen": chosen,
            "area_unit": read_area_unit(request.GET),
            "options": _options(request, run, chosen["product"]),
            "states": [state for state in Estimate.State if state != Estimate.State.SUPERSEDED],
            "reasons": [reason for reason in Review.Reason if reason != Review.Reason.NONE],
            "is_staff": can_see_unaccepted(request.user),
            "any_reviewable": any(group.reviewable for group in groups),
            "csv_query": urlencode({name: value for name, value in chosen.items() if value}),
            "last_year": any(group.last_year is not None for group in groups),
        },
    )


def _filtered(request: HttpRequest, run: Run | None, chosen: dict[str, str]) -> QuerySet[Estimate]:
    rows = selectors.visible_estimates(request.user).filter(run=run, product=chosen["product"])
    if chosen["crop"]:
        rows = rows.filter(crop=chosen["crop"])
    if chosen["state"] and can_see_unaccepted(request.user):
        rows = rows.filter(state=chosen["state"])
    if chosen["unit"] == "parcels":
        return rows.filter(unit_adcode__startswith="parcel:")
    if chosen["unit"]:
        return rows.filter(unit_adcode=chosen["unit"])
    # Hundreds of parcels would hide the townships: they are asked for by name, unless there is nothing else.
    units = rows.exclude(unit_adcode__startswith="parcel:")
    return units if units.exists() else rows


def _ordered_keys(rows: QuerySet[Estimate], run: Run | None) -> list[tuple[str, str]]:
    """(crop, unit) of each group: the whole before counties before townships, crops in the order of
    the map's legend.
    """
    place = {item["name"]: number for number, item in enumerate(run.crops)} if run else {}
    keys = rows.order_by().values_list("crop", "unit_adcode").distinct()
    return sorted(keys, key=lambda key: (selectors.unit_order(key[1]), place.get(key[0], len(place)), key[0]))


def _groups(
    request: HttpRequest, rows: QuerySet[Estimate], keys: list[tuple[str, str]], run: Run | None, product: str
) -> list[selectors.Group]:
    if not keys or run is None:
        return []
    wanted = Q()
    for crop, unit in keys:
        wanted |= Q(crop=crop, unit_adcode=unit)
    ordered = (
        rows.filter(wanted)
        .order_by("unit_adcode", "crop", "method", "class_name")
        .prefetch_related("reviews__user")
    )
    groups = selectors.group_estimates(request.user, list(ordered))
    order = {key: number for number, key in enumerate(keys)}
    groups.sort(key=lambda group: order[group.crop, group.unit_adcode])
    return selectors.with_last_year(request.user, groups, run, product)


def _options(request: HttpRequest, run: Run | None, product: str) -> dict[str, Any]:
    """What the filters offer: only what the reader would find."""
    seen = selectors.visible_estimates(request.user).filter(run=run)
    units: dict[str, str] = {}
    for row in seen.filter(product=product).order_by("unit_adcode").distinct("unit_adcode"):
        if not row.unit_adcode.startswith("parcel:"):
            units[row.unit_adcode] = selectors.unit_label(row)
    crops = seen.filter(product=product).order_by("crop").values_list("crop", flat=True).distinct()
    products = set(seen.order_by().values_list("product", flat=True).distinct()) | {product}
    return {
        "products": [
            (name, labels.product_label(name))
            for name in dict.fromkeys([*labels.PRODUCTS, *sorted(products)])
            if name in products
        ],
        "crops": [(name, labels.crop_label(run.crops, name)) for name in crops] if run else [],
        "units": list(units.items()),
        "parcels": seen.filter(product=product, unit_adcode__startswith="parcel:").exists(),
    }


@require_safe
@never_cache
def estimates_csv(request: HttpRequest) -> StreamingHttpResponse:
    """The filtered rows, visible ones only, as CSV."""
    run = selectors.find_run(request.user, request.GET.get("run", ""))
    chosen = {name: request.GET.get(name, "") for name in _FILTERS}
    chosen["product"] = chosen["product"] or "area"
    rows = _filtered(request, run, chosen).order_by("unit_adcode", "crop", "class_name", "method")
    response = StreamingHttpResponse(
        csv_lines(rows.iterator(chunk_size=500)), content_type="text/csv; charset=utf-8"
    )
    name = f"{run.run_id if run else 'none'}-{chosen['product']}.csv"
    response.headers["Content-Disposition"] = f"attachment; filename*=UTF-8''{urlencode({'': name})[1:]}"
    return response


@require_POST
@login_required
def review_estimates(request: HttpRequest) -> HttpResponseRedirect:
    """Accept or return what the form shows, all or none, and go back to where it was."""
    decision = Review.Decision.ACCEPT if request.POST.get("decision") == "accept" else Review.Decision.RETURN
    try:
        rows = review(
            user=request.user,  # type: ignore[arg-type]  # login_required: not anonymous
            seen=read_seen(request.POST),
            decision=decision,
            reason=request.POST.get("reason", "") if decision == Review.Decision.RETURN else "",
            comment=request.POST.get("comment", "").strip(),
        )
    except ReviewError as error:
        messages.error(request, str(error))
    else:
        text = (
            ngettext(
                "已通过 %(count)d 条结果，公众现在可以看到。",
                "已通过 %(count)d 条结果，公众现在可以看到。",
                len(rows),
            )
            if decision == Review.Decision.ACCEPT
            else _("已退回 %(count)d 条结果。")
        )
        messages.success(request, text % {"count": len(rows)})
    back = request.POST.get("next", "")
    if not url_has_allowed_host_and_scheme(
        back, allowed_hosts={request.get_host()}, require_https=request.is_secure()
    ):
        back = reverse("monitoring:estimates")
    return redirect(back)
