"""Areas, days and shares as the pages print them."""

from __future__ import annotations

from django import template
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _

from monitoring import labels
from monitoring.models import Estimate
from monitoring.selectors import Group

register = template.Library()


@register.filter
def area(hectares: float | None, unit: str = "mu") -> str:
    """Hectares as 亩, 万亩 or 公顷."""
    return labels.format_area(hectares, unit)


@register.filter
def half_width(row: Estimate, unit: str = "mu") -> str:
    """± half the width of a row's interval, in the unit of the page."""
    if row.ci_low is None or row.ci_high is None:
        return ""
    return "±" + labels.format_area((row.ci_high - row.ci_low) / 2, unit)


@register.filter
def interval(row: Estimate, unit: str = "mu") -> str:
    """A row's 95 % interval in the unit of the page; an em dash where there is none."""
    if row.ci_low is None or row.ci_high is None:
        return "—"
    if row.unit == "ha":
        return f"{labels.format_area(row.ci_low, unit)} – {labels.format_area(row.ci_high, unit)}"
    if row.unit == "doy":
        year = row.period_end.year
        return f"{labels.format_day(row.ci_low, year)} – {labels.format_day(row.ci_high, year)}"
    return f"{row.ci_low:,.1f} – {row.ci_high:,.1f}"


@register.filter
def stage_day(row: Estimate) -> str:
    """A stage date given as day of the year."""
    return labels.format_day(row.value, row.period_end.year)


@register.filter
def class_name(row: Estimate) -> str:
    """A growth class's or stage's name."""
    return labels.class_label(row.product, row.class_name)


@register.filter
def method(row: Estimate) -> str:
    """A method's name."""
    return labels.method_label(row.method)


@register.filter
def per_cent(share: float | None) -> str:
    """A share of 1 as per cent."""
    return "—" if share is None else f"{share * 100:.0f}%"


@register.simple_tag
def share_bar(group: Group) -> SafeString:
    """Growth classes as one bar, good to poor, made of SVG because the CSP forbids inline widths."""
    x = 0.0
    parts = []
    for share in group.shares:
        parts.append((f"{x:.2f}", f"{share.value:.2f}", share.colour))
        x += share.value
    bars = format_html_join("", '<rect x="{}" width="{}" height="10" fill="{}"/>', parts)
    spoken = "，".join(f"{share.label} {share.value:.0f}%" for share in group.shares)
    return format_html(
        '<svg class="share-bar" viewBox="0 0 100 10" preserveAspectRatio="none" role="img" '
        'aria-label="{}">{}</svg>',
        _("长势构成：%(shares)s") % {"shares": spoken},
        bars,
    )
