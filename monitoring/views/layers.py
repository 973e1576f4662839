"""What the map fetches: raster tiles, outlines, parcels. Each checks for itself what the reader may see."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import morecantile
from django.contrib.gis.db.models.functions import AsGeoJSON
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseNotModified, JsonResponse
from django.utils.cache import patch_cache_control
from django.utils.http import parse_etags
from django.views.decorators.http import require_safe

from accounts.roles import can_see_unaccepted
from monitoring import labels, selectors
from monitoring.models import Run
from monitoring.rasters import MAX_ZOOM, PALETTE_VERSION, TileFormat, render_tile
from places.models import Unit

_TMS = morecantile.tms.get("WebMercatorQuad")
_CONTENT_TYPES: dict[str, str] = {"png": "image/png", "webp": "image/webp"}
_PUBLIC_SECONDS, _STAFF_SECONDS = 3600, 60


@require_safe
def tile(  # noqa: PLR0917 - the address gives them
    request: HttpRequest, key: str, kind: str, z: int, x: int, y: int, fmt: str
) -> HttpResponse:
    """A raster tile.

    The address holds the run's digest, so its content never changes; the right to see it may.
    """
    if fmt not in _CONTENT_TYPES or kind not in labels.LAYERS:
        raise Http404("no such layer")
    if z > MAX_ZOOM or x >= 2**z or y >= 2**z:
        raise Http404("no such tile")
    run = _run(request, key)
    if kind not in selectors.visible_layers(request.user, run):
        raise Http404("no such layer")
    etag = (
        '"'
        + hashlib.sha256(f"{PALETTE_VERSION} {run.digest} {kind} {z} {x} {y} {fmt}".encode()).hexdigest()[:32]
        + '"'
    )
    wanted = parse_etags(request.headers.get("If-None-Match", ""))
    response: HttpResponse
    if etag in wanted or "*" in wanted:
        response = HttpResponseNotModified()
    else:
        bounds = _TMS.bounds(x, y, z)
        rasters = selectors.rasters_of(run, kind, (bounds.left, bounds.bottom, bounds.right, bounds.top))
        image_format: TileFormat = "webp" if fmt == "webp" else "png"
        body = render_tile(rasters, kind, z=z, x=x, y=y, fmt=image_format)
        response = HttpResponse(body, content_type=_CONTENT_TYPES[fmt])
    response.headers["ETag"] = etag
    _cache(response, request)
    return response


@require_safe
def outlines(request: HttpRequest) -> JsonResponse:
    """Prefecture, counties and townships as GeoJSON, with the review state of a run's numbers where
    one is given.
    """
    run = selectors.find_run(request.user, request.GET.get("run", ""))
    staff = can_see_unaccepted(request.user)
    states = selectors.unit_states(request.user, run) if run and staff else {}
    features = []
    units = Unit.objects.exclude(outline=None).annotate(geojson=AsGeoJSON("outline", precision=5))
    for unit in units.order_by("level", "adcode"):
        state = states.get(unit.adcode)
        features.append(
            {
                "type": "Feature",
                "properties": {
                    "code": unit.adcode,
                    "name": unit.name,
                    "level": unit.level,
                    "schematic": unit.schematic,
                    "state": state.state if state else "none",
                    "label": _label_point(unit, run),
                },
                "geometry": json.loads(unit.geojson),
            }
        )
    return _geojson(features, request)


def _label_point(unit: Unit, run: Run | None) -> list[float]:
    """Where a unit's name stands: a township's in its part of the run's image, where that is all one
    sees of it.
    """
    outline = unit.outline
    assert outline is not None
    if unit.level == Unit.Level.TOWNSHIP and run and run.extent and outline.intersects(run.extent):
        part = outline.intersection(run.extent)
        if part.area > 0.02 * run.extent.area:
            return list(part.point_on_surface.coords)
    return list(outline.point_on_surface.coords)


@require_safe
def parcels(request: HttpRequest, key: str) -> JsonResponse:
    """Outlines of the parcels a run has curves of."""
    run = _run(request, key)
    rows = selectors.parcels_in(run).annotate(geojson=AsGeoJSON("outline", precision=6))
    features = [
        {
            "type": "Feature",
            "properties": {"code": parcel.code, "name": str(parcel), "crop": parcel.crop},
            "geometry": json.loads(parcel.geojson),
        }
        for parcel in rows
    ]
    return _geojson(features, request)


def _run(request: HttpRequest, key: str) -> Run:
    run = selectors.find_run(request.user, key) if key else None
    if run is None:
        raise Http404("no such run")
    return run


def _geojson(features: list[dict[str, Any]], request: HttpRequest) -> JsonResponse:
    response = JsonResponse({"type": "FeatureCollection", "features": features})
    response.headers["Content-Type"] = "application/geo+json"
    patch_cache_control(response, private=True, max_age=0 if can_see_unaccepted(request.user) else 300)
    return response


def _cache(response: HttpResponse, request: HttpRequest) -> None:
    """Staff tiles stay in their own browser; public ones may be kept for an hour, then their right is
    asked again.
    """
    if can_see_unaccepted(request.user):
        patch_cache_control(response, private=True, max_age=_STAFF_SECONDS)
    else:
        patch_cache_control(response, public=True, max_age=_PUBLIC_SECONDS)
