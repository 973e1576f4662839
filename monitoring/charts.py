"""Charts made on the server as SVG: readable at 360 px, without script, without inline style (the CSP
forbids it).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import date
from typing import Final

from django.utils.html import escape
from django.utils.safestring import SafeString, mark_safe
from django.utils.translation import gettext

from monitoring.curves import Curve, CurvePoint

# Tokens of frontend/css/tokens.css: as attributes, so that the chart also looks right where no sheet of
# ours is linked.
INK: Final = "#1f2421"
INK_2: Final = "#55605a"
HAIRLINE: Final = "#e4e0d5"
LEAF: Final = "#2f6b3a"
LEAF_SOFT: Final = "#dfeee0"
BAND: Final = "#dcd9d0"
CARD: Final = "#ffffff"

_LEFT, _RIGHT, _TOP, _BOTTOM = 34, 10, 54, 26
_FONT = 12

Scale = Callable[[float], float]


def season_curve_svg(curve: Curve, *, width: int = 360, height: int = 260, title: str = "") -> SafeString:
    """Draw a season curve: this year thick, last year thin and dashed, earlier years as a grey band.

    Parameters
    ----------
    width, height
        Size of the drawing in its own units; text is 12 of them, so 360 is right for a phone. The picture
        grows with its box.
    title
        Heading inside the picture; the default names index, crop and place.
    """
    drawn = [point for point in curve.points if point.smoothed is not None or point.observed is not None]
    heading = title or _heading(curve, drawn)
    if not drawn:
        return _frame(
            width,
            height,
            heading,
            gettext("没有可画的观测。"),
            [_text(width / 2, height / 2, gettext("整季没有晴空观测"))],
        )
    first, last = drawn[0].day, drawn[-1].day
    low, high = _range(curve)
    span = max((last - first).days, 1)

    def x(day: date) -> float:
        return _LEFT + (day - first).days / span * (width - _LEFT - _RIGHT)

    def y(value: float) -> float:
        return _TOP + (high - value) / (high - low) * (height - _TOP - _BOTTOM)

    parts = [*_y_axis(low, high, y, width), *_x_axis(first, last, x, height)]
    if curve.band:
        upper = [(x(p.day), y(p.high)) for p in curve.band if first <= p.day <= last]
        lower = [(x(p.day), y(p.low)) for p in curve.band if first <= p.day <= last]
        parts.append(_polygon(upper, lower, BAND, "curve__band"))
    for run in _pieces(curve.points, lambda p: p.p25 is not None and p.p75 is not None):
        upper = [(x(p.day), y(p.p75)) for p in run if p.p75 is not None]
        lower = [(x(p.day), y(p.p25)) for p in run if p.p25 is not None]
        parts.append(_polygon(upper, lower, LEAF_SOFT, "curve__spread"))
    within = [point for point in curve.last_year if first <= point.day <= last]
    for run in _pieces(within, lambda p: p.smoothed is not None):
        parts.append(
            _line(((x(p.day), y(p.smoothed or 0)) for p in run), INK_2, 1.25, "curve__last", dash="4 3")
        )
    for run in _pieces(curve.points, lambda p: p.smoothed is not None):
        parts.append(_line(((x(p.day), y(p.smoothed or 0)) for p in run), LEAF, 2.75, "curve__this"))
    parts += [
        f'<circle class="curve__seen" cx="{x(p.day):.1f}" cy="{y(p.observed):.1f}" r="2" '
        f'fill="{CARD}" stroke="{LEAF}"/>'
        for p in curve.points
        if p.observed is not None
    ]
    parts += _key(curve, bool(within))
    return _frame(width, height, heading, _describe(curve, drawn), parts)


def _heading(curve: Curve, drawn: Sequence[CurvePoint]) -> str:
    """Index, crop, place and the years the season lies in."""
    years = sorted({point.day.year for point in drawn})
    season = f"{years[0]}–{years[-1]}" if len(years) > 1 else str(years[0]) if years else ""
    return " · ".join(part for part in (curve.index, curve.crop, curve.label, season) if part)


def _range(curve: Curve) -> tuple[float, float]:
    """A vegetation index is shown from 0 to 1 unless a value lies outside."""
    values = [
        v
        for p in (*curve.points, *curve.last_year)
        for v in (p.observed, p.smoothed, p.p25, p.p75)
        if v is not None
    ]
    values += [v for p in curve.band for v in (p.low, p.high)]
    low, high = min(0.0, *values), max(1.0, *values)
    return (-0.2 if -0.2 <= low < 0 else low), high


def _y_axis(low: float, high: float, y: Scale, width: int) -> list[str]:
    ticks = (
        [low + (high - low) * step / 4 for step in range(5)]
        if (low, high) != (0.0, 1.0)
        else [0, 0.25, 0.5, 0.75, 1]
    )
    parts = []
    for tick in ticks:
        parts.append(_line([(_LEFT, y(tick)), (width - _RIGHT, y(tick))], HAIRLINE, 1, "curve__grid"))
        parts.append(
            _text(
                _LEFT - 5, y(tick) + 4, f"{tick:.2g}" if tick not in (0, 1) else f"{tick:.0f}", anchor="end"
            )
        )
    return parts


def _x_axis(first: date, last: date, x: Callable[[date], float], height: int) -> list[str]:
    """Months, as many as fit: every one, every second or every third."""
    months = (last.year - first.year) * 12 + last.month - first.month
    step = next(s for s in (1, 2, 3, 6, 12) if s == 12 or months / s <= 6)
    parts = []
    for count in range(months + 1):
        month = (first.month - 1 + count) % 12 + 1
        day = date(first.year + (first.month - 1 + count) // 12, month, 1)
        if day < first or day > last or count % step:
            continue
        parts.append(
            _line([(x(day), height - _BOTTOM), (x(day), height - _BOTTOM + 4)], INK_2, 1, "curve__tick")
        )
        parts.append(_text(x(day), height - _BOTTOM + 18, gettext("%(month)d月") % {"month": month}))
    return parts


def _key(curve: Curve, has_last_year: bool) -> list[str]:
    """What each line means, above the drawing; words and shapes, never colour alone."""
    items = [(gettext("本季"), f'<path d="M0 0h18" stroke="{LEAF}" stroke-width="2.75"/>')]
    if any(point.observed is not None for point in curve.points):
        items.append((gettext("观测"), f'<circle cx="9" r="2.5" fill="{CARD}" stroke="{LEAF}"/>'))
    if has_last_year:
        items.append(
            (
                gettext("去年"),
                f'<path d="M0 0h18" stroke="{INK_2}" stroke-width="1.25" stroke-dasharray="4 3"/>',
            )
        )
    if curve.band:
        label = gettext("近%(n)d年范围") % {"n": curve.band_seasons}
        items.append((label, f'<path d="M0-5h18v10H0z" fill="{BAND}"/>'))
    if any(point.p25 is not None for point in curve.points):
        items.append((gettext("中间一半"), f'<path d="M0-5h18v10H0z" fill="{LEAF_SOFT}"/>'))
    parts, at = [], float(_LEFT)
    for label, mark in items:
        parts.append(f'<g transform="translate({at:.0f} 38)">{mark}</g>')
        parts.append(_text(at + 22, 42, label, anchor="start"))
        at += 22 + 10 + sum(_FONT if ord(letter) > 0x2E7F else 6.6 for letter in label)
    return parts


def _describe(curve: Curve, drawn: Sequence[CurvePoint]) -> str:
    smoothed = [point for point in drawn if point.smoothed is not None]
    if not smoothed:
        return gettext("只有单次观测，没有平滑曲线。")
    peak = max(smoothed, key=lambda point: point.smoothed or 0.0)
    return gettext("%(first)s 至 %(last)s，共 %(count)d 次晴空观测；最高 %(value).2f，出现在 %(peak)s。") % {
        "first": drawn[0].day.isoformat(),
        "last": drawn[-1].day.isoformat(),
        "count": sum(point.observed is not None for point in curve.points),
        "value": peak.smoothed,
        "peak": peak.day.isoformat(),
    }


def _pieces(points: Iterable[CurvePoint], usable: Callable[[CurvePoint], bool]) -> list[list[CurvePoint]]:
    """Runs of usable points: a gap in the data is a gap in the line."""
    runs: list[list[CurvePoint]] = [[]]
    for point in points:
        if usable(point):
            runs[-1].append(point)
        elif runs[-1]:
            runs.append([])
    return [run for run in runs if len(run) > 1]


def _line(
    points: Iterable[tuple[float, float]], colour: str, stroke: float, name: str, dash: str = ""
) -> str:
    path = " ".join(f"{px:.1f},{py:.1f}" for px, py in points)
    dashes = f' stroke-dasharray="{dash}"' if dash else ""
    return (
        f'<polyline class="{name}" points="{path}" fill="none" stroke="{colour}" stroke-width="{stroke}" '
        f'stroke-linejoin="round"{dashes}/>'
    )


def _polygon(
    upper: Sequence[tuple[float, float]], lower: Sequence[tuple[float, float]], colour: str, name: str
) -> str:
    path = " ".join(f"{px:.1f},{py:.1f}" for px, py in (*upper, *reversed(lower)))
    return f'<polygon class="{name}" points="{path}" fill="{colour}"/>'


def _text(
    x: float, y: float, text: str, *, anchor: str = "middle", size: int = _FONT, colour: str = INK_2
) -> str:
    place = f'x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"'
    return f'<text {place} font-size="{size}" fill="{colour}">{escape(text)}</text>'


def _frame(width: int, height: int, heading: str, description: str, parts: Sequence[str]) -> SafeString:
    """The svg element; everything that is not ours in it has been escaped."""
    head = (
        f'<svg class="season-curve" viewBox="0 0 {width} {height}" role="img" xmlns="http://www.w3.org/2000/svg">'
        f"<title>{escape(heading)}</title><desc>{escape(description)}</desc>"
        f'<rect width="{width}" height="{height}" fill="{CARD}"/>'
        f'<text x="{_LEFT}" y="20" font-size="13" font-weight="600" fill="{INK}">{escape(heading)}</text>'
    )
    return mark_safe(head + "".join(parts) + "</svg>")  # noqa: S308 - every text is escaped above
