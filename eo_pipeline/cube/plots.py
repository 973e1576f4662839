"""Pictures of a cube: a dekad with the season's clear views below, and the curve of a place.

Matplotlib into PNG or SVG, without a display. Simulated seasons are labelled 模拟数据 in the picture itself.
"""

from __future__ import annotations

import os
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from eo_pipeline.cube.export import COLOURS, quicklook
from eo_pipeline.cube.radar import CHANNELS
from eo_pipeline.cube.series import smooth
from eo_pipeline.cube.store import NODATA
from eo_pipeline.cube.terrain import GROUND
from eo_pipeline.cube.view import PLAIN, CubeView, scale_of
from eo_pipeline.errors import CubeError
from eo_pipeline.grid import Block

if TYPE_CHECKING:
    from collections.abc import Iterator

    from eo_pipeline.cube.climatology import Normals

#: Fonts with Chinese characters, the first one installed is used.
FONTS: Final = ("Noto Sans CJK SC", "Source Han Sans SC", "WenQuanYi Zen Hei", "Microsoft YaHei", "SimHei")
FORMATS: Final = (".png", ".svg")
_LEAF, _INK, _BAND, _GREY = "#2f6b3a", "#1f2421", "#d5d1c4", "#9aa39d"
_SIMULATED: Final = "模拟数据 · simulated data"


@contextmanager
def _figure(out: Path, width: float, height: float) -> Iterator[Any]:
    """A figure that becomes a file when all went well; whole or not at all."""
    if out.suffix.lower() not in FORMATS:
        raise CubeError(f"{out.name}: a picture is written as {' or '.join(FORMATS)}; give it such a name.")
    import matplotlib as mpl
    from matplotlib import font_manager
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    installed = {font.name for font in font_manager.fontManager.ttflist}
    family = [*[name for name in FONTS if name in installed][:1], "DejaVu Sans"]
    partial = out.with_name(f".{out.stem}.{os.getpid()}.partial{out.suffix}")
    settings: Any = {
        "font.family": family, "svg.fonttype": "path", "svg.hashsalt": "eo", "axes.unicode_minus": False,
        "axes.edgecolor": _GREY, "text.color": _INK, "axes.labelcolor": _INK, "font.size": 9,
    }  # fmt: skip
    with mpl.rc_context(settings):
        figure = Figure(figsize=(width, height), layout="constrained")
        FigureCanvasAgg(figure)
        yield figure
        try:
            out.parent.mkdir(parents=True, exist_ok=True)
            metadata = {"Date": None} if out.suffix.lower() == ".svg" else {}
            figure.savefig(partial, dpi=150, metadata=metadata)
            partial.replace(out)
        except OSError as error:
            raise CubeError(f"{out} cannot be written: {error.strerror}. Give another --out.") from error
        finally:
            partial.unlink(missing_ok=True)


def plot_dekad(
    view: CubeView,
    number: int,
    out: Path,
    *,
    colours: str = "true",
    filled: bool = False,
    window: Block | None = None,
    simulated: bool = False,
) -> Path:
    """A dekad in true or false colour, its gaps `filled` if so wished, or as radar saw it in one direction,
    and below it the share of clear pixels of every dekad.

    Raises
    ------
    CubeError
        The cube lacks a band of the picture, or `out` is neither PNG nor SVG.
    """
    bands = COLOURS[colours]
    radar = bands[0] in CHANNELS
    if radar and not view.channels:
        raise CubeError(
            f"{view.path.name} holds no Sentinel-1. Add [source.radar] to its season and run `eo ingest`."
        )
    if not radar and (lost := [band for band in bands if band not in view.bands]):
        grey = "false" if colours == "true" else "true"
        raise CubeError(
            f"{view.path.name} has no {' and '.join(lost)} for a {colours}-colour picture; it holds "
            f"{', '.join(view.bands)}. Try --colours {grey}, or `eo cube export`."
        )
    with view.tile.reading():
        picture, grid = quicklook(view, number, bands, filled=filled, window=window)
        facts = view.facts()
    step, fact = view.steps[number], facts[number]
    left, bottom, right, top = (v / 1000 for v in grid.bounds)
    ratio = (top - bottom) / (right - left)
    with _figure(out, 7.0, min(12.0, 1.9 + 6.2 * ratio)) as figure:
        image, strip = figure.subplots(2, 1, height_ratios=(max(1.2, 6.2 * ratio), 1.1))
        image.set_facecolor("#efefef")
        image.imshow(picture, extent=(left, right, bottom, top), interpolation="nearest")
        image.set_xlabel("km")
        image.ticklabel_format(style="plain", useOffset=False)
        what = "" if radar else " colour"
        title = f"{view.name} · {step.start} – {step.end} · {colours}{what} ({'/'.join(bands)})"
        state = "" if fact.state == "whole" else f" · {fact.state}"
        share = f"可用 {fact.believed:.0%} usable{state}"
        if radar:
            share = f"雷达 {fact.radar[colours]:.0%} seen by radar"
        elif filled:
            share += f" · 补缺后 {fact.filled:.0%} with gaps filled"
        image.set_title(f"{title}\n{share}", fontsize=9, loc="left")
        days = [item.start for item in facts]
        width = [(item.end - item.start).days + 1 for item in facts]
        common = {"width": width, "align": "edge", "edgecolor": "white", "linewidth": 0.5}
        strip.bar(days, [item.clear for item in facts], color=_BAND, label="无云 clear", **common)
        shade = [_LEAF if n == number else "#8fb596" for n in range(len(facts))]
        strip.bar(days, [item.believed for item in facts], color=shade, label="可用 usable", **common)
        strip.set_ylim(0, 1)
        strip.set_yticks((0, 0.5, 1), ("0", "50 %", "100 %"))
        _dates(strip)
        strip.legend(loc="upper right", fontsize=7, ncols=2, frameon=False)
        if simulated:
            _label(figure, image)
    return out


def plot_curve(
    view: CubeView,
    feature: str,
    place: tuple[int, int],
    out: Path,
    *,
    filled: bool = False,
    where: str = "",
    normals: Normals | None = None,
    simulated: bool = False,
) -> Path:
    """The season of one pixel: clear views, the smoothed curve, and what is usual where that is known.

    Parameters
    ----------
    place
        Row and column.
    filled
        Draw what gaps are filled with, too.
    where
        How the place is called in the title.
    normals
        Of this pixel and the cube's days, [day, 1, 1].
    """
    if feature in (*PLAIN, *GROUND):
        raise CubeError(f"{feature} is no curve; give a band or an index, or use `eo cube info`.")
    days, values, curve, counts = _curve(view, feature, place)
    gaps = _gaps(view, feature, place) if filled else None
    radar = feature in CHANNELS
    with _figure(out, 7.0, 3.6) as figure:
        axes, strip = figure.subplots(2, 1, sharex=True, height_ratios=(4, 0.8))
        if normals is not None:
            usual = [part[:, 0, 0] for part in (normals.low, normals.high, normals.p25, normals.p75)]
            axes.fill_between(days, usual[0], usual[1], color=_BAND, alpha=0.45, lw=0, label="历年范围 range")
            axes.fill_between(days, usual[2], usual[3], color=_BAND, lw=0, label="四分位 quartiles")
            axes.plot(days, normals.median[:, 0, 0], color=_GREY, lw=1, ls="--", label="常年 median")
        axes.plot(days, curve, color=_LEAF, lw=1.6, label="平滑曲线 smoothed")
        axes.plot(
            days, values, "o", color=_INK, ms=3.5, label="雷达 passes" if radar else "无云观测 clear views"
        )
        if gaps is not None:
            axes.plot(days, gaps, "o", mfc="none", mec=_LEAF, ms=3.5, label="补缺 filled")
        axes.set_ylabel(f"{feature}, dB" if radar else feature)
        axes.set_title(f"{feature} · {view.name} {where}".strip(), fontsize=9, loc="left")
        axes.grid(color="#e4e0d5", lw=0.6)
        axes.legend(fontsize=7, frameon=False)
        strip.bar(days, counts, width=8, color="#8fb596")
        strip.set_ylabel("次数\npasses" if radar else "次数\nviews", fontsize=7)
        strip.yaxis.get_major_locator().set_params(integer=True, nbins=2)
        _dates(strip)
        if simulated:
            _label(figure, axes)
    return out


def _dates(axes: Any) -> None:
    import matplotlib.dates

    ticks: Any = matplotlib.dates  # its classes carry no types
    locator = ticks.AutoDateLocator(minticks=4, maxticks=12)
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(ticks.ConciseDateFormatter(locator))


def _label(figure: Any, axes: Any) -> None:
    figure.suptitle(_SIMULATED, fontsize=10, color="#9a3324", x=0.99, ha="right", fontweight="bold")
    axes.text(
        0.5, 0.5, "模拟数据", transform=axes.transAxes, fontsize=34, color="#9a3324", alpha=0.18,
        ha="center", va="center", rotation=25,
    )  # fmt: skip


def curve_facts(
    view: CubeView, feature: str, place: tuple[int, int], *, filled: bool = False
) -> list[dict[str, Any]]:
    """The same curve as rows: date, value (None where not seen), smoothed value, number of clear views; with
    `filled` what a gap is filled with.
    """
    found = _curve(view, feature, place)
    gaps = _gaps(view, feature, place) if filled else found[1]
    return [
        {
            "date": day.isoformat(),
            "value": None if np.isnan(value) else round(float(value), 4),
            "smoothed": None if np.isnan(fitted) else round(float(fitted), 4),
            "views": int(count),
        }
        | ({"filled": None if np.isnan(gap) else round(float(gap), 4)} if filled else {})
        for day, value, fitted, count, gap in zip(*found, gaps, strict=True)
    ]


def _gaps(view: CubeView, feature: str, place: tuple[int, int]) -> Any:
    """What the gaps of one pixel are filled with, float32 [step]; NaN where it was seen."""
    with view.tile.reading():
        block = Block(view.name, *place, 1, 1)
        numbers = view.series(feature, block, filled=True)[:, 0, 0]
        seen = view.series(feature, block)[:, 0, 0] != NODATA
    values = numbers / np.float32(scale_of(feature))
    return np.where(seen | (numbers == NODATA), np.float32(np.nan), values)


def _curve(view: CubeView, feature: str, place: tuple[int, int]) -> tuple[list[date], Any, Any, Any]:
    """Days, values (NaN where not seen), smoothed values and numbers of views of one pixel."""
    with view.tile.reading():
        block = Block(view.name, *place, 1, 1)
        numbers = view.series(feature, block)[:, 0, 0]
        counts = view.views(feature, block)[:, 0, 0]
    days = [step.day for step in view.steps]
    scale = np.float32(scale_of(feature))
    values = np.where(numbers == NODATA, np.float32(np.nan), numbers / scale).astype(np.float32)
    return days, values, smooth(values[:, None], days)[:, 0], counts
