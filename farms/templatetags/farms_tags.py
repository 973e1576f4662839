"""Tags of the farms room, used by the showroom's pages too."""

from __future__ import annotations

import datetime as dt

from django import template
from django.utils.safestring import SafeString

from farms.models import in_language
from monitoring.charts import season_curve_svg
from monitoring.curves import Curve
from places.models import Unit

register = template.Library()

#: In the drawing's own units: text of 12 then stays readable on a phone 360 px wide.
CHART_WIDTH, CHART_HEIGHT = 400, 270


@register.simple_tag
def season_chart(curve: Curve, title: str = "") -> SafeString:
    """The season curve as an SVG that grows with its box."""
    return season_curve_svg(curve, width=CHART_WIDTH, height=CHART_HEIGHT, title=title)


@register.filter
def place_name(unit: Unit | None) -> str:
    """A unit's name in the language of the page; nothing for no unit."""
    return in_language(unit.name, unit.name_en) if unit else ""


@register.filter
def scene_dates(curve: Curve) -> list[dt.date]:
    """Dates on which the parcel was seen without cloud."""
    return [point.day for point in curve.points if point.observed is not None]
