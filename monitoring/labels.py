"""Words and colours of products, classes, stages and methods.

Palettes are those of LOOK.md; units are 亩 and ha.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any, Final

from django.utils.functional import Promise
from django.utils.translation import get_language, gettext
from django.utils.translation import gettext_lazy as _

from eo_pipeline.publish.contract import palette

#: 1 ha = 15 亩.
MU_PER_HA: Final = 15.0


@dataclass(frozen=True, slots=True)
class GrowthClass:
    """A growth class: its code in the growth raster, its name in estimates, and how it is shown."""

    code: int
    name: str
    label: str | Promise
    colour: str


_PALETTE: Final = palette()
_GROWTH_LABELS: Final[Mapping[str, str | Promise]] = {
    "poor": _("差"),
    "fair": _("较差"),
    "normal": _("持平"),
    "good": _("较好"),
    "very_good": _("好"),
}
NOT_MONITORABLE: Final = "not_monitorable"
#: Growth 差 → 好; colours are those of the pipeline's one palette.
GROWTH: Final = tuple(
    GrowthClass(item.code, item.name, _GROWTH_LABELS[item.name], item.colour)
    for item in _PALETTE.growth
    if item.name != NOT_MONITORABLE
)
GROWTH_BY_NAME: Final = {item.name: item for item in GROWTH}
NOT_MONITORABLE_CODE: Final = next(item.code for item in _PALETTE.growth if item.name == NOT_MONITORABLE)
#: Hatching must be seen on paper and on white, so it is darker than the class's own grey.
NOT_MONITORABLE_COLOUR: Final = "#8f8a7c"

PRODUCTS: Final[Mapping[str, str | Promise]] = {
    "area": _("种植面积"),
    "growth": _("长势"),
    "growth_peers": _("长势位次"),
    "stage": _("生育期"),
}
STAGES: Final[Mapping[str, str | Promise]] = {
    "green_up": _("返青"),
    "heading": _("抽穗"),
    "peak": _("长势最旺"),
    "senescence": _("成熟变黄"),
}
METHODS: Final[Mapping[str, str | Promise]] = {
    "olofsson_2014": _("抽样校正（Olofsson 2014）"),
    "stehman_2014": _("抽样校正（Stehman 2014）"),
    "model_assisted": _("模型辅助估计（样点修正）"),
    "adjusted_count_model_based": _("误差校正（模型推断，非概率抽样）"),
    "pixel_count": _("像元统计（未校正）"),
}
#: The method that gives a group's headline number, best first; methods not listed come between.
METHOD_ORDER: Final = (
    "olofsson_2014", "model_assisted", "stehman_2014", "adjusted_count_model_based", "", "pixel_count",
)  # fmt: skip

LAYERS: Final[Mapping[str, str | Promise]] = {
    "crop_type": _("作物分布"),
    "growth": _("长势"),
    "confidence": _("识别信心"),
}
#: A raster is public once a number of this product has been accepted.
LAYER_PRODUCT: Final = {"crop_type": "area", "confidence": "area", "growth": "growth"}

#: Confidence of the map, stops (per cent, colour) of a ramp; dark = doubtful.
CONFIDENCE_RAMP: Final = _PALETTE.confidence


def product_label(product: str) -> str:
    """A product's name, the code itself where it has none."""
    return str(PRODUCTS.get(product, product))


def method_label(method: str) -> str:
    """A method's name, the code itself where it has none."""
    return str(METHODS.get(method, method))


def class_label(product: str, class_name: str) -> str:
    """A growth class's or stage's name."""
    if product == "growth" and class_name in GROWTH_BY_NAME:
        return str(GROWTH_BY_NAME[class_name].label)
    return str(STAGES.get(class_name, class_name))


def crop_label(crops: list[dict[str, Any]], name: str) -> str:
    """A crop's name in the language of the page, from the run's own class list."""
    if not name:
        return gettext("全部作物")
    for crop in crops:
        if crop["name"] == name:
            return str(crop["zh"] if (get_language() or "zh").startswith("zh") else crop["en"])
    return name


def method_rank(method: str) -> int:
    """Place of a method in `METHOD_ORDER`."""
    return METHOD_ORDER.index(method) if method in METHOD_ORDER else METHOD_ORDER.index("")


def format_area(hectares: float | None, unit: str = "mu") -> str:
    """An area as farmers (亩, 万亩) or statisticians (公顷) read it.

    Examples
    --------
    >>> format_area(1234.5, "ha"), format_area(10.04, "mu"), format_area(20000.0, "mu")
    ('1,234.5 公顷', '151 亩', '30.0 万亩')
    """
    if hectares is None:
        return "—"
    if unit == "ha":
        return gettext("%(number)s 公顷") % {"number": f"{hectares:,.1f}"}
    mu = hectares * MU_PER_HA
    if abs(mu) >= 100_000:
        return gettext("%(number)s 万亩") % {"number": f"{mu / 10_000:,.1f}"}
    return gettext("%(number)s 亩") % {"number": f"{mu:,.0f}"}


def format_day(day_of_year: float | None, year: int) -> str:
    """A day of the year as a date, 4月18日.

    Examples
    --------
    >>> format_day(108, 2026)
    '4月18日'
    """
    if day_of_year is None:
        return "—"
    day = date(year, 1, 1) + timedelta(days=round(day_of_year) - 1)
    return gettext("%(month)d月%(day)d日") % {"month": day.month, "day": day.day}
