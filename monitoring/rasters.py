"""Pixels of imported runs: datasets kept open, tiles with palette, the season of one pixel."""

from __future__ import annotations

import io
import os
import threading
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from functools import cache
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt
import rasterio
from PIL import Image
from rasterio.warp import transform
from rasterio.windows import Window
from rio_tiler.errors import TileOutsideBounds
from rio_tiler.io import Reader

from monitoring.curves import CurvePoint
from monitoring.labels import CONFIDENCE_RAMP, GROWTH, NOT_MONITORABLE_CODE, NOT_MONITORABLE_COLOUR
from monitoring.models import Run, RunRaster

TileFormat = Literal["png", "webp"]
TILE_SIZE: Final = 256
MAX_ZOOM: Final = 18
#: Part of every tile's ETag; raise it when colours or hatching change.
PALETTE_VERSION: Final = 1
_OPEN_A_THREAD: Final = 16
_HATCH: Final = 8  # divides 256, so that the hatching runs on from tile to tile

Lut = npt.NDArray[np.uint8]

_local = threading.local()


def open_raster(path: str) -> Any:
    """A dataset of this thread, kept open (opening costs more than a tile): at most 16, least used closed
    first.

    A dataset must not be shared between threads or carried over a fork, so each has its own.
    """
    if getattr(_local, "pid", None) != os.getpid():
        _local.pid, _local.open = os.getpid(), OrderedDict()
    datasets: OrderedDict[str, Any] = _local.open
    if path in datasets:
        datasets.move_to_end(path)
        return datasets[path]
    dataset = rasterio.open(path)
    datasets[path] = dataset
    if len(datasets) > _OPEN_A_THREAD:
        datasets.popitem(last=False)[1].close()
    return dataset


def _rgba(colour: str, alpha: int = 255) -> tuple[int, int, int, int]:
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16), alpha


def palette(kind: str, classes: Iterable[dict[str, Any]]) -> Lut:
    """Colours of a raster's 256 values, (256, 4) uint8; values without a class are transparent.

    The run's own classes count; a growth raster without them gets LOOK's growth colours. Confidence is a
    ramp of 0–100 per cent, 255 is nodata.
    """
    lut = np.zeros((256, 4), np.uint8)
    if kind == "confidence":
        stops = [stop for stop, _ in CONFIDENCE_RAMP]
        for channel in range(3):
            lut[:101, channel] = np.interp(
                np.arange(101), stops, [_rgba(c)[channel] for _, c in CONFIDENCE_RAMP]
            )
        lut[:101, 3] = 255
        return lut
    entries = [(int(item["code"]), str(item["colour"])) for item in classes]
    if not entries and kind == "growth":
        entries = [(item.code, item.colour) for item in GROWTH]
    if kind == "growth":
        entries.append((NOT_MONITORABLE_CODE, NOT_MONITORABLE_COLOUR))
    for code, colour in entries:
        if 0 < code < 256:
            lut[code] = _rgba(colour)
    return lut


def render_tile(rasters: Iterable[RunRaster], kind: str, *, z: int, x: int, y: int, fmt: TileFormat) -> bytes:
    """One 256 × 256 web mercator tile of a class raster, nearest neighbour, as PNG or lossless WebP.

    Rasters of one kind lie side by side (MGRS tiles, chips); where they overlap the first one counts. Outside
    all of them the tile is transparent.
    """
    values = np.zeros((TILE_SIZE, TILE_SIZE), np.uint8)
    known = np.zeros((TILE_SIZE, TILE_SIZE), bool)
    classes: list[dict[str, Any]] = []
    for raster in rasters:
        classes = classes or raster.classes
        try:
            with Reader(None, dataset=open_raster(str(raster.run.path / raster.path))) as reader:
                image = reader.tile(x, y, z, tilesize=TILE_SIZE, indexes=1, resampling_method="nearest")
        except TileOutsideBounds:
            continue
        valid = ~np.ma.getmaskarray(image.array)[0] & ~known
        values[valid] = image.array.data[0][valid]
        known |= valid
        if known.all():
            break
    if not known.any():
        return _empty(fmt)
    colours = palette(kind, classes)[values]
    colours[~known] = 0
    if kind == "growth":
        _hatch(colours, values == NOT_MONITORABLE_CODE)
    return _encode(colours, fmt)


def _hatch(colours: npt.NDArray[np.uint8], where: npt.NDArray[np.bool_]) -> None:
    """Grey diagonals on pixels that could not be monitored: never taken for a class."""
    rows, columns = np.indices(where.shape)
    colours[where & ((rows + columns) % _HATCH >= _HATCH // 4)] = 0


@cache
def _empty(fmt: TileFormat) -> bytes:
    return _encode(np.zeros((TILE_SIZE, TILE_SIZE, 4), np.uint8), fmt)


def _encode(colours: npt.NDArray[np.uint8], fmt: TileFormat) -> bytes:
    stream = io.BytesIO()
    image = Image.fromarray(colours)
    if fmt == "webp":
        image.save(stream, "WEBP", lossless=True, quality=0, method=0, exact=False)
    else:
        image.save(stream, "PNG", compress_level=1)
    return stream.getvalue()


@dataclass(frozen=True, slots=True)
class PixelFacts:
    """What the maps say at a point; None where a raster does not reach or has no value."""

    crop_code: int | None
    confidence: int | None
    growth_code: int | None


def pixel_value(raster: RunRaster, lon: float, lat: float) -> npt.NDArray[Any] | None:
    """All bands at a point (WGS 84 degrees), shape (bands,); None outside."""
    dataset = open_raster(str(raster.run.path / raster.path))
    xs, ys = transform("EPSG:4326", dataset.crs, [lon], [lat])
    row, column = dataset.index(xs[0], ys[0])
    if not (0 <= row < dataset.height and 0 <= column < dataset.width):
        return None
    values: npt.NDArray[Any] = dataset.read(window=Window(column, row, 1, 1))[:, 0, 0]
    return values


def _first_value(run: Run, kind: str, lon: float, lat: float, nodata: int) -> int | None:
    for raster in run.rasters.filter(kind=kind, west__lte=lon, east__gte=lon, south__lte=lat, north__gte=lat):
        raster.run = run
        value = pixel_value(raster, lon, lat)
        if value is not None and int(value[0]) != nodata:
            return int(value[0])
    return None


def pixel_facts(run: Run, lon: float, lat: float, *, kinds: Iterable[str]) -> PixelFacts:
    """Crop, confidence and growth at a point, of the `kinds` the reader may see."""
    kinds = set(kinds)
    return PixelFacts(
        crop_code=_first_value(run, "crop_type", lon, lat, 0) if "crop_type" in kinds else None,
        confidence=_first_value(run, "confidence", lon, lat, 255) if "confidence" in kinds else None,
        growth_code=_first_value(run, "growth", lon, lat, 0) if "growth" in kinds else None,
    )


def pixel_points(run: Run, lon: float, lat: float) -> tuple[CurvePoint, ...]:
    """The smoothed index curve of the pixel at a point; empty outside the run or where nothing was seen."""
    rasters = run.rasters.filter(kind="index", west__lte=lon, east__gte=lon, south__lte=lat, north__gte=lat)
    for raster in rasters:
        raster.run = run
        values = pixel_value(raster, lon, lat)
        if values is None:
            continue
        nodata = open_raster(str(run.path / raster.path)).nodata
        # The contract's int16 × 10 000; a run that states another scale is believed.
        scale = raster.scale if raster.scale != 1.0 else 1e-4
        points = tuple(
            CurvePoint(
                date.fromisoformat(day), None, None if value == nodata else round(float(value) * scale, 4)
            )
            for day, value in zip(raster.dates, values, strict=True)
        )
        if any(point.smoothed is not None for point in points):
            return points
    return ()
