"""The curve drawing: lines where values are, gaps where they are not, words for readers, nothing inline."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from datetime import date, timedelta

import pytest

from monitoring.charts import season_curve_svg
from monitoring.curves import Curve, CurvePoint, band_of, moved, points_of

SVG = "{http://www.w3.org/2000/svg}"


def season(year: int, lift: float = 0.0, count: int = 42) -> tuple[CurvePoint, ...]:
    return tuple(
        CurvePoint(
            date(year, 9, 1) + timedelta(days=10 * step), None if step % 5 else 0.4, 0.3 + lift + step / 100
        )
        for step in range(count)
    )


def curve(points: tuple[CurvePoint, ...], **more: object) -> Curve:
    return Curve("P-001", "冬小麦", "NDVI", "k", "静宁 2026", True, points, **more)  # type: ignore[arg-type]


def elements(svg: str, name: str) -> list[ET.Element]:
    return [e for e in ET.fromstring(svg).iter() if e.get("class") == name]


def test_the_line_goes_where_the_values_are() -> None:
    svg = season_curve_svg(curve(season(2025)), width=360, height=260)
    line = elements(svg, "curve__this")
    assert len(line) == 1
    pairs = [tuple(map(float, pair.split(","))) for pair in line[0].get("points", "").split()]
    assert len(pairs) == 42
    # left edge 34, right edge 350; 0…1 from 234 up to 54
    assert pairs[0] == pytest.approx((34.0, 54 + (1 - 0.3) * 180), abs=0.1)
    assert pairs[-1] == pytest.approx((350.0, 54 + (1 - 0.71) * 180), abs=0.1)
    assert len(elements(svg, "curve__seen")) == 9


def test_a_gap_in_the_data_is_a_gap_in_the_line() -> None:
    points = list(season(2025))
    points[20] = CurvePoint(points[20].day, None, None)
    assert len(elements(season_curve_svg(curve(tuple(points))), "curve__this")) == 2


def test_last_year_and_band_are_drawn_and_named() -> None:
    earlier = [moved(season(2025 - back, 0.05 * back), back) for back in (1, 2, 3)]
    band = band_of([point.day for point in season(2025)], earlier)
    svg = season_curve_svg(curve(season(2025), last_year=earlier[0], band=band, band_seasons=3))
    assert len(elements(svg, "curve__last")) == 1
    assert elements(svg, "curve__last")[0].get("stroke-dasharray")
    assert len(elements(svg, "curve__band")) == 1
    for word in ("本季", "去年", "近3年范围"):
        assert word in svg


def test_band_needs_three_seasons_and_is_the_range() -> None:
    days = [point.day for point in season(2025)]
    seasons = [moved(season(2025 - back, 0.1 * back), back) for back in (1, 2, 3)]
    assert band_of(days, seasons[:2]) == ()
    band = band_of(days, seasons)
    assert (band[0].low, band[0].high) == pytest.approx((0.4, 0.6))
    assert {point.day for point in band} <= set(days)


def test_readers_hear_what_others_see() -> None:
    root = ET.fromstring(season_curve_svg(curve(season(2025))))
    assert root.get("role") == "img"
    assert root.find(f"{SVG}title").text == "NDVI · 冬小麦 · P-001 · 2025–2026"  # type: ignore[union-attr]
    description = root.find(f"{SVG}desc").text or ""  # type: ignore[union-attr]
    assert "共 9 次晴空观测" in description
    assert "最高 0.71" in description


def test_text_is_escaped_and_nothing_is_inline() -> None:
    svg = season_curve_svg(curve(season(2025)), title='<script>alert("x")</script>')
    assert "<script" not in svg
    assert not re.search(r"\sstyle=", svg)
    ET.fromstring(svg)


def test_a_season_without_a_view_is_said() -> None:
    svg = season_curve_svg(curve(()))
    assert "整季没有晴空观测" in svg
    ET.fromstring(svg)


def test_values_outside_0_to_1_stay_inside_the_frame() -> None:
    points = tuple(CurvePoint(p.day, -0.1, 1.2) for p in season(2025))
    svg = season_curve_svg(curve(points), height=260)
    heights = [
        float(pair.split(",")[1])
        for e in elements(svg, "curve__this")
        for pair in e.get("points", "").split()
    ]
    assert all(54 <= y <= 234 for y in heights)


def test_29_february_moves_to_28() -> None:
    points = points_of([["2024-02-29", None, 0.5, None, None, 0.0]])
    assert moved(points, 1)[0].day == date(2025, 2, 28)
