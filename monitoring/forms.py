"""What comes in with a request, checked: map and table choices, a point, a decision."""

from __future__ import annotations

import math
from dataclasses import dataclass

from django.http import QueryDict
from django.utils.translation import gettext as _

from monitoring.errors import MonitoringError, ReviewError
from monitoring.services import Seen

AREA_UNITS = ("mu", "ha")


class PointError(MonitoringError):
    """Coordinates that are no place."""


@dataclass(frozen=True, slots=True)
class Point:
    """Longitude and latitude, WGS 84 degrees."""

    lon: float
    lat: float


def read_point(data: QueryDict) -> Point | None:
    """`lon` and `lat` of a query; None where neither is given.

    Raises
    ------
    PointError
        Not numbers, or not on Earth.
    """
    texts = data.get("lon", "").strip(), data.get("lat", "").strip()
    if texts == ("", ""):
        return None
    try:
        lon, lat = (float(text) for text in texts)
    except ValueError:
        lon = lat = math.nan
    if not (-180 <= lon <= 180 and -85 <= lat <= 85):
        raise PointError(
            _("经纬度“%(lon)s, %(lat)s”不对。请填十进制度数，例如经度 105.68、纬度 35.43。")
            % {"lon": texts[0], "lat": texts[1]}
        )
    return Point(lon, lat)


def read_area_unit(data: QueryDict) -> str:
    """亩 unless 公顷 is asked for."""
    unit = data.get("area", "mu")
    return unit if unit in AREA_UNITS else "mu"


def read_seen(data: QueryDict) -> list[Seen]:
    """The estimates of a review form: values `seen` of the form "12:0,13:1".

    Raises
    ------
    ReviewError
        Not of that form.
    """
    try:
        pairs = [item.split(":") for value in data.getlist("seen") for item in value.split(",") if item]
        return [Seen(int(pk), int(version)) for pk, version in pairs]
    except ValueError as error:
        raise ReviewError(_("表单内容不完整。请刷新页面再试。")) from error
