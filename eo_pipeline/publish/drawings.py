"""Maps and charts of the report as inline SVG: text stays text, and nothing but the browser's fonts is
needed.

A map is a paletted PNG inside its SVG, with scale bar and north arrow drawn on top. Charts are 360 units
wide, so that they are read on a phone as they are.
"""

from __future__ import annotations

import base64
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from html import escape
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from eo_pipeline.publish.contract import MapClass, palette

Colours = Mapping[int, tuple[int, int, int]]

#: Longest side of a map's picture in pixels.
MAP_PIXELS: Final = 1000
#: Width of a map in SVG units.
MAP_WIDTH: Final = 560
CHART_WIDTH: Final = 360
CHART_HEIGHT: Final = 210
_INK, _INK_2, _HAIRLINE, _BAND, _LEAF = "#1f2421", "#55605a", "#e4e0d5", "#d5d1c4", "#2f6b3a"


@dataclass(frozen=True, slots=True)
class CurvePoints:
    """One curve of series.parquet: values by date, NaN where unknown."""

    dates: tuple[date, ...]
    observed: NDArray[np.float64]
    smoothed: NDArray[np.float64]
    p25: NDArray[np.float64]
    p75: NDArray[np.float64]


def rgb(colour: str) -> tuple[int, int, int]:
    """`#rrggbb` as three numbers."""
    red, green, blue = bytes.fromhex(colour.removeprefix("#"))
    return red, green, blue


def class_colours(classes: Sequence[MapClass]) -> dict[int, tuple[int, int, int]]:
    """Colour by code."""
    return {item.code: rgb(item.colour) for item in classes}


def ramp_colours(stops: Sequence[tuple[int, str]]) -> dict[int, tuple[int, int, int]]:
    """Colours of 0-100 along a ramp."""
    at = [stop for stop, _ in stops]
    channels = [np.interp(np.arange(101), at, [rgb(c)[i] for _, c in stops]).round() for i in range(3)]
    return {v: (int(channels[0][v]), int(channels[1][v]), int(channels[2][v])) for v in range(101)}


def map_svg(
    path: Path,
    *,
    title: str,
    colours: Colours,
    nodata: int,
    hatched: int | None = None,
    ground: str = "#ffffff",
) -> tuple[str, str]:
    """A class raster as SVG, and the name of its CRS.

    Parameters
    ----------
    path
        COG of one band uint8.
    colours
        By value; values without one and `nodata` stay transparent.
    hatched
        Value drawn as stripes: it is no class but the lack of one.
    ground
        Colour under transparent pixels; not white where a class is.
    """
    import rasterio
    from rasterio.enums import Resampling

    from eo_pipeline.grid import Grid
    from eo_pipeline.products.zonal import PixelAreas

    with rasterio.open(path) as dataset:
        shrink = max(1.0, max(dataset.shape) / MAP_PIXELS)
        shape = (max(1, round(dataset.height / shrink)), max(1, round(dataset.width / shrink)))
        values = dataset.read(1, out_shape=shape, resampling=Resampling.nearest)
        grid = Grid(dataset.crs.to_wkt(), tuple(dataset.transform[:6]), dataset.width, dataset.height)
        crs = _crs_name(dataset.crs.to_wkt())
    middle = (slice(grid.height // 2, grid.height // 2 + 1), slice(grid.width // 2, grid.width // 2 + 1))
    pixel_metres = float(np.sqrt(PixelAreas(grid).ha(*middle)[0, 0] * 10_000))
    aspect = shape[0] / shape[1]
    width = MAP_WIDTH if aspect <= 1.2 else MAP_WIDTH * 1.2 / aspect
    height = width * aspect
    metres_per_unit = pixel_metres * grid.width / width

    picture = _png(_stripe(_enlarge(values), hatched, nodata), colours, nodata)
    x0 = (MAP_WIDTH - width) / 2
    frame = f'x="{x0:.1f}" y="0" width="{width:.1f}" height="{height:.1f}"'
    parts = [
        f'<svg class="map" viewBox="0 0 {MAP_WIDTH} {height + 34:.0f}" {_label(title)}>',
        f'<rect {frame} fill="{ground}"/>',
        f'<image {frame} href="data:image/png;base64,{picture}"/>',
        f'<rect {frame} fill="none" stroke="{_INK_2}"/>',
        _scale_bar(x0, height + 14, metres_per_unit, width),
        _north_arrow(x0 + width - 20, 14),
        "</svg>",
    ]
    return "".join(parts), crs


def _label(title: str) -> str:
    """What a screen reader says of a drawing."""
    return f'role="img" aria-label="{escape(title)}"'


def _text(x: float, y: float, text: str, *, anchor: str) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" font-size="12" text-anchor="{anchor}" fill="{_INK_2}">{text}</text>'
    )


def _crs_name(wkt: str) -> str:
    from pyproj import CRS

    crs = CRS.from_wkt(wkt)
    code = crs.to_authority()
    return f"{crs.name} ({':'.join(code)})" if code else str(crs.name)


def _enlarge(values: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Small chips drawn in larger pixels, so that stripes and edges stay crisp."""
    factor = max(1, min(24, MAP_PIXELS // (2 * max(values.shape))))
    return np.repeat(np.repeat(values, factor, axis=0), factor, axis=1)


def _stripe(values: NDArray[np.uint8], hatched: int | None, nodata: int) -> NDArray[np.uint8]:
    """Every second diagonal band of `hatched` left open."""
    if hatched is None:
        return values
    rows, cols = np.indices(values.shape)
    out = values.copy()
    out[(values == hatched) & ((rows + cols) % 6 >= 3)] = nodata
    return out


def _png(values: NDArray[np.uint8], colours: Colours, nodata: int) -> str:
    """Paletted PNG in base64, `nodata` and uncoloured values transparent."""
    import rasterio
    import rasterio.errors

    known = np.isin(values, list(colours))
    values = np.where(known, values, nodata).astype(np.uint8)
    table = dict.fromkeys(range(256), (255, 255, 255, 255)) | {v: (*c, 255) for v, c in colours.items()}
    table[nodata] = (255, 255, 255, 0)
    profile = {
        "driver": "PNG",
        "height": values.shape[0],
        "width": values.shape[1],
        "count": 1,
        "dtype": "uint8",
    }
    with warnings.catch_warnings(), rasterio.MemoryFile() as memory:
        warnings.simplefilter(
            "ignore", rasterio.errors.NotGeoreferencedWarning
        )  # a picture has no place on earth
        with rasterio.Env(GDAL_PAM_ENABLED="NO"), memory.open(**profile, nodata=nodata, ZLEVEL=9) as dataset:
            dataset.write(values, 1)
            dataset.write_colormap(1, table)
        return base64.b64encode(memory.read()).decode()


def _scale_bar(x: float, y: float, metres_per_unit: float, width: float) -> str:
    """A bar of a round length, at most a third of the map."""
    longest = metres_per_unit * width / 3
    power = 10.0 ** np.floor(np.log10(longest))
    metres = max(step * power for step in (1.0, 2.0, 5.0) if step * power <= longest)
    length = metres / metres_per_unit
    text = f"{metres / 1000:g} km" if metres >= 1000 else f"{metres:g} m"
    return (
        f'<path d="M{x + 1:.1f} {y - 5:.1f}v8h{length:.1f}v-8" fill="none" stroke="{_INK}" stroke-width="2"/>'
        f'<text x="{x + length + 10:.1f}" y="{y + 6:.1f}" font-size="16" fill="{_INK}">{text}</text>'
    )


def _north_arrow(x: float, y: float) -> str:
    return (
        f'<circle cx="{x}" cy="{y + 16}" r="24" fill="#ffffff" fill-opacity="0.85"/>'
        f'<path d="M{x} {y - 2}l7 18l-7-4l-7 4z" fill="{_INK}"/>'
        f'<text x="{x}" y="{y + 33}" font-size="15" text-anchor="middle" fill="{_INK}">北</text>'
    )


def swatch(colour: str, *, hatched: bool = False) -> str:
    """A legend's patch of colour."""
    stripes = (
        '<path d="M0 14L14 0M-7 14L7 0M7 14L21 0" stroke="#ffffff" stroke-width="3"/>' if hatched else ""
    )
    return (
        '<svg class="swatch" viewBox="0 0 14 14" width="14" height="14" aria-hidden="true">'
        f'<rect width="14" height="14" fill="{colour}"/>{stripes}'
        f'<rect x=".5" y=".5" width="13" height="13" fill="none" stroke="{_INK_2}" stroke-width=".6"/></svg>'
    )


def shares_svg(shares: Mapping[str, float], *, title: str) -> str:
    """Growth shares (percent by class name) as one bar of full width; the figures stand beside it as text."""
    parts, x = [], 0.0
    for item in palette().growth:
        share = shares.get(item.name, 0.0)
        if share > 0:
            parts.append(f'<rect x="{x:.2f}" y="0" width="{share:.2f}" height="10" fill="{item.colour}"/>')
            x += share
    return (
        f'<svg class="bar" viewBox="0 0 100 10" preserveAspectRatio="none" {_label(title)}>'
        + "".join(parts)
        + "</svg>"
    )


def curve_svg(points: CurvePoints, *, title: str, index: str) -> str:
    """Season curve: observed dots, smoothed line, band between the quartiles of the pixels' curves."""
    left, right, top, bottom = 34, 6, 22, 24
    first, last = points.dates[0].toordinal(), points.dates[-1].toordinal()
    # One axis for all curves of a report, so that they can be compared; wider only where an index needs it.
    top_value = np.nanmax(np.concatenate([points.smoothed, points.observed, points.p75, [1.0]]))
    high = float(np.ceil(top_value * 5 - 1e-6) / 5)
    low = min(0.0, float(np.floor(np.nanmin(np.concatenate([points.smoothed, points.p25, [0.0]])) * 5) / 5))

    def x_of(day: int) -> float:
        return left + (CHART_WIDTH - left - right) * (day - first) / max(1, last - first)

    def y_of(value: float) -> float:
        return top + (CHART_HEIGHT - top - bottom) * (high - value) / (high - low)

    xs = np.array([x_of(day.toordinal()) for day in points.dates])
    parts = [
        f'<svg class="curve" viewBox="0 0 {CHART_WIDTH} {CHART_HEIGHT}" {_label(title)}>',
        f'<text x="0" y="12" font-size="12" fill="{_INK_2}">{escape(index)}</text>',
    ]
    for value in np.arange(low, high + 0.01, 0.2):
        y = y_of(float(value))
        parts.append(f'<path d="M{left} {y:.1f}H{CHART_WIDTH - right}" stroke="{_HAIRLINE}"/>')
        parts.append(_text(left - 5, y + 4, f"{value:.1f}", anchor="end"))
    for day, text in month_ticks(points.dates[0], points.dates[-1]):
        x = x_of(day.toordinal())
        parts.append(f'<path d="M{x:.1f} {CHART_HEIGHT - bottom}v5" stroke="{_INK_2}"/>')
        parts.append(_text(x, CHART_HEIGHT - 5, text, anchor="middle"))
    for run in _runs(np.isfinite(points.p25) & np.isfinite(points.p75)):
        upper = [f"{xs[i]:.1f} {y_of(points.p75[i]):.1f}" for i in run]
        lower = [f"{xs[i]:.1f} {y_of(points.p25[i]):.1f}" for i in reversed(run)]
        parts.append(f'<path d="M{"L".join(upper + lower)}Z" fill="{_BAND}"/>')
    for run in _runs(np.isfinite(points.smoothed)):
        line = "L".join(f"{xs[i]:.1f} {y_of(points.smoothed[i]):.1f}" for i in run)
        stroke = f'fill="none" stroke="{_INK}" stroke-width="2.2" stroke-linejoin="round"'
        parts.append(f'<path d="M{line}" {stroke}/>')
    for i in np.flatnonzero(np.isfinite(points.observed)):
        parts.append(
            f'<circle cx="{xs[i]:.1f}" cy="{y_of(points.observed[i]):.1f}" r="2.6" fill="#ffffff" '
            f'stroke="{_LEAF}" stroke-width="1.6"/>'
        )
    return "".join(parts) + "</svg>"


def month_ticks(first: date, last: date) -> list[tuple[date, str]]:
    """First days of months, thinned to seven at most; January carries the year.

    >>> [text for _, text in month_ticks(date(2025, 11, 5), date(2026, 3, 2))]
    ['12月', '2026年', '2月', '3月']
    """
    months = []
    year, month = first.year, first.month
    while date(year, month, 1) <= last:
        if date(year, month, 1) >= first:
            months.append(date(year, month, 1))
        year, month = (year, month + 1) if month < 12 else (year + 1, 1)
    step = next(s for s in (1, 2, 3, 4, 6, 12) if len(months) <= 7 * s or s == 12)
    kept = [day for day in months if (day.month - 1) % step == 0]
    return [(day, f"{day.year}年" if day.month == 1 else f"{day.month}月") for day in kept]


def _runs(known: NDArray[np.bool_]) -> list[list[int]]:
    """Stretches of at least two known points in a row."""
    runs: list[list[int]] = []
    current: list[int] = []
    for i, there in enumerate([*known.tolist(), False]):
        if there:
            current.append(i)
        else:
            if len(current) > 1:
                runs.append(current)
            current = []
    return runs
