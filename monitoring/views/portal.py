"""The map page and the season curve of a point or parcel.

Both work without script: the map only adds to them.
"""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from accounts.roles import can_see_unaccepted
from monitoring import labels, selectors
from monitoring.charts import season_curve_svg
from monitoring.forms import PointError, read_area_unit, read_point
from monitoring.models import Review, Run, Series
from monitoring.rasters import PixelFacts, pixel_facts
from places.models import Unit

PARCELS_IN_LIST = 500


@require_safe
@never_cache
def map_page(request: HttpRequest) -> HttpResponse:
    """Map, layers, legend with areas, and the numbers of one unit."""
    run = selectors.find_run(request.user, request.GET.get("run", ""))
    context: dict[str, Any] = {
        "run": run,
        "runs": list(selectors.visible_runs(request.user)),
        "is_staff": can_see_unaccepted(request.user),
        "area_unit": read_area_unit(request.GET),
        "map_approval": settings.MAP_APPROVAL_NUMBER,
        "outlines_schematic": Unit.objects.filter(schematic=True).exclude(outline=None).exists(),
    }
    if run is not None:
        layers = selectors.visible_layers(request.user, run)
        layer = request.GET.get("layer", "")
        layer = layer if layer in (*layers, "none") else (layers[0] if layers else "none")
        units = _units(request, run)
        unit = request.GET.get("unit", "")
        unit = unit if unit in dict(units) else (units[0][0] if units else "")
        groups = _area_groups(request, run, unit)
        context |= {
            "layers": [(name, labels.LAYERS[name]) for name in layers] + [("none", _("只看界线"))],
            "layer": layer,
            "units": units,
            "unit": unit,
            "unit_name": dict(units).get(unit, ""),
            "legend": _legend(run, groups),
            # What one click may decide: groups of this unit that are not accepted yet.
            "open_groups": [group for group in groups if group.reviewable and group.state != "accepted"],
            "growth_legend": labels.GROWTH,
            "confidence_legend": labels.CONFIDENCE_RAMP,
            "growth": _growth(request, run, unit),
            "dates": selectors.image_dates(run),
            "parcels": selectors.parcel_choices(run, limit=PARCELS_IN_LIST),
            "states": selectors.unit_states(request.user, run),
            "reasons": [reason for reason in Review.Reason if reason != Review.Reason.NONE],
            "map_config": _map_config(run, layers, layer),
        }
    else:
        context["map_config"] = _map_config(None, [], "none")
    return render(request, "monitoring/map.html", context)


def _units(request: HttpRequest, run: Run) -> list[tuple[str, str]]:
    """Units the run has numbers of: the whole first, then counties, then townships."""
    rows = (
        selectors.visible_estimates(request.user)
        .filter(run=run)
        .exclude(unit_adcode__startswith="parcel:")
        .order_by("unit_adcode")
        .distinct("unit_adcode")
    )
    found = [(row.unit_adcode, selectors.unit_label(row)) for row in rows]
    return sorted(found, key=lambda item: selectors.unit_order(item[0]))


def _area_groups(request: HttpRequest, run: Run, unit: str) -> list[selectors.Group]:
    rows = selectors.visible_estimates(request.user).filter(run=run, product="area", unit_adcode=unit)
    groups = selectors.group_estimates(request.user, list(rows))
    return selectors.with_last_year(request.user, groups, run, "area")


def _legend(run: Run, groups: list[selectors.Group]) -> list[dict[str, Any]]:
    """The map's classes with the area of each, largest first; a class without a visible number says so."""
    by_crop = {group.crop: group for group in groups}
    classes = [
        {"name": item["name"], "label": labels.crop_label(run.crops, item["name"]), "colour": item["colour"],
         "group": by_crop.get(item["name"])}
        for item in run.crops
    ]  # fmt: skip
    return sorted(classes, key=lambda item: -(item["group"].headline.value or 0.0) if item["group"] else 1.0)


def _growth(request: HttpRequest, run: Run, unit: str) -> list[selectors.Group]:
    rows = selectors.visible_estimates(request.user).filter(run=run, product="growth", unit_adcode=unit)
    return selectors.group_estimates(request.user, list(rows))


def _map_config(run: Run | None, layers: list[str], layer: str) -> dict[str, Any]:
    """What the script needs, as JSON in the page."""
    query = f"?run={run.key}" if run else ""
    extent = run.extent.extent if run and run.extent else None
    return {
        "outlines": reverse("monitoring:outlines") + query,
        "parcels": reverse("monitoring:parcels", args=[run.key]) if run else None,
        "curve": reverse("monitoring:curve"),
        "run": run.key if run else None,
        "extent": list(extent) if extent else None,
        "layer": layer,
        # The tile address with MapLibre's own place holders; only layers that the reader may see are named.
        "tiles": {
            name: reverse("monitoring:tile", args=[run.key, name, 0, 0, 0, "webp"]).replace(
                "0/0/0.", "{z}/{x}/{y}."
            )
            for name in layers
        }
        if run
        else {},
        "text": {
            "loading": _("正在加载地图…"),
            "failed": _("地图没有加载出来。下面的表格和曲线不受影响；请刷新页面再试。"),
            "curve": _("正在读取曲线…"),
            "curve_failed": _("曲线没有读出来。请再点一次，或刷新页面。"),
            "no_webgl": _("这台设备不能显示交互地图。请看下面的表格，或用经纬度查曲线。"),
            "tile_failed": _("有图块没有加载出来，图上可能缺一块。"),
        },
    }


@require_safe
@never_cache
def curve_page(request: HttpRequest) -> HttpResponse:
    """The season curve of `lon`, `lat` or of `parcel`; `fragment=1` gives only the panel for the map."""
    run = selectors.find_run(request.user, request.GET.get("run", ""))
    context: dict[str, Any] = {"run": run, "parcel": request.GET.get("parcel", "").strip()}
    status = 200
    if run is None:
        context["problem"] = _("还没有可以查看的监测运行。")
        status = 404 if request.GET.get("run") else 200
    else:
        context["parcels"] = selectors.parcel_choices(run, limit=PARCELS_IN_LIST)
        try:
            point = read_point(request.GET)
        except PointError as error:
            context["problem"], status = str(error), 400
        else:
            context["point"] = point
            if context["parcel"]:
                status = _parcel(request, run, context)
            elif point is not None:
                _pixel(request, run, context)
    name = "monitoring/includes/curve_panel.html" if request.GET.get("fragment") else "monitoring/curve.html"
    return render(request, name, context, status=status)


def _parcel(request: HttpRequest, run: Run, context: dict[str, Any]) -> int:
    series = (
        Series.objects.filter(run=run, scope="parcel", scope_id=context["parcel"])
        .select_related("run")
        .order_by("index")
    )
    wanted = series.filter(index__iexact="NDVI").first() or series.first()
    if wanted is None:
        context["problem"] = _("这次运行里没有地块“%(code)s”的曲线。请从列表里选一个地块。") % {
            "code": context["parcel"]
        }
        return 404
    curve = selectors.series_curve(request.user, wanted, label=context["parcel"])
    context |= {"curve": curve, "svg": season_curve_svg(curve)}
    stages = selectors.visible_estimates(request.user).filter(
        run=run, product="stage", unit_adcode=f"parcel:{context['parcel']}"
    )
    context["stages"] = list(stages.exclude(value=None).order_by("value"))
    return 200


def _pixel(request: HttpRequest, run: Run, context: dict[str, Any]) -> None:
    point = context["point"]
    layers = selectors.visible_layers(request.user, run)
    curve = selectors.pixel_curve(request.user, run, point.lon, point.lat)
    context["facts"] = _facts(run, pixel_facts(run, point.lon, point.lat, kinds=layers))
    if curve is not None:
        context |= {"curve": curve, "svg": season_curve_svg(curve)}
    elif not selectors.is_near(run, point.lon, point.lat):
        context["problem"] = _("这个点在“%(region)s”的影像范围之外。请点图上有颜色的地方。") % {
            "region": run.region_name or run.title
        }
    else:
        context["problem"] = _("这个点整季没有可用的观测（云、影像缺失或不在耕地内）。")


def _facts(run: Run, facts: PixelFacts) -> list[tuple[str, str]]:
    """Crop, confidence and growth in words."""
    rows = []
    crop = next((item for item in run.crops if item["code"] == facts.crop_code), None)
    if crop is not None:
        rows.append((_("识别作物"), labels.crop_label(run.crops, crop["name"])))
    if facts.confidence is not None:
        rows.append((_("识别信心"), f"{facts.confidence}%"))
    growth = next((item for item in labels.GROWTH if item.code == facts.growth_code), None)
    if growth is not None:
        rows.append((_("长势"), str(growth.label)))
    elif facts.growth_code == labels.NOT_MONITORABLE_CODE:
        rows.append((_("长势"), _("不可监测（云或观测不足）")))
    return rows
