"""Surface water of image files: reads Sentinel-1 and Sentinel-2 images by parts, and writes the map.

Parts are read with a margin, so a map does not depend on how an image is cut.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from eo_pipeline.errors import SourceError
from eo_pipeline.grid import Grid
from eo_pipeline.products import water
from eo_pipeline.products.water import HALO, OPTICAL, RADAR, Float, OpticalRule, RadarRule
from eo_pipeline.products.zonal import PixelAreas
from eo_pipeline.rasters import windows, write_raster

if TYPE_CHECKING:
    from rasterio.io import DatasetReader
    from rasterio.windows import Window

#: Values of the map: land, water, and not seen.
LAND, WATER, UNSEEN = 0, 1, 255
#: Bands of a Level-1C product in order.
_L1C: Final = (*("B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B09", "B10", "B11", "B12"),)
_COLOURS: Final = {"B02": "blue", "B03": "green", "B04": "red", "B08": "nir", "B11": "swir16"}
#: Tiles that limits are found on: their side, and how many at most.
_TILE, _TILES = 128, 256
#: Counts a unit of reflectance in Sentinel-2 products, and what was added to them since baseline 04.00.
_SCALE, _OFFSET = 10_000.0, 1000.0


@dataclass(frozen=True, slots=True)
class WaterMap:
    """What was mapped: areas in km² (None without a CRS) and pixels, the limits used, and remarks.

    `otsu` is the baseline's cut of the green/short-wave infrared index and the area it would give; None
    without an optical image.
    """

    path: Path
    water_km2: float | None
    land_km2: float | None
    unseen_km2: float | None
    pixels: Mapping[str, int]
    radar: RadarRule | None
    optical: OpticalRule | None
    otsu: Mapping[str, float | None] | None
    notes: tuple[str, ...]


def map_water(*, s1: Path | None, s2: Path | None, out: Path, baseline: Path | None = None) -> WaterMap:
    """Map the open water that one or two images of the same place show.

    Parameters
    ----------
    s1
        VV and VH in dB, as the first two bands or by the bands' descriptions.
    s2
        Reflectance 0-1 or its counts × 10 000: 13 bands in the order of Level-1C, or named by the bands'
        descriptions. Where both are given the map lies on this one's grid.
    out
        GeoTIFF to write (cloud optimised, uint8: 0 land, 1 water, 255 not seen).
    baseline
        GeoTIFF of the Otsu cut of the optical index, in the same values.

    Raises
    ------
    SourceError
        No image; one that cannot be read, lacks a band, is not in dB, or lies elsewhere than the other.
    """
    if s1 is None and s2 is None:
        raise SourceError(
            "No image was given. Name a Sentinel-1 image (--s1), a Sentinel-2 image (--s2), or both."
        )
    if baseline is not None and s2 is None:
        raise SourceError(
            "The baseline is a cut of an optical index: give --s2 too, or leave --baseline out."
        )
    _check_targets(out, baseline, (s1, s2))
    from rasterio.errors import NotGeoreferencedWarning

    with ExitStack() as stack:
        stack.enter_context(warnings.catch_warnings())
        warnings.simplefilter("ignore", NotGeoreferencedWarning)  # it is told in the notes
        radar = stack.enter_context(_Image(s1)) if s1 else None
        optical = stack.enter_context(_Image(s2)) if s2 else None
        if radar:
            radar.as_radar()
        if optical:
            optical.as_optical()
        if radar and optical:
            radar.lay_on(optical)
        return _map(radar, optical, out, baseline)


def _check_targets(out: Path, baseline: Path | None, inputs: Sequence[Path | None]) -> None:
    taken = {item.resolve() for item in inputs if item}
    for target in (out, baseline):
        if target is None:
            continue
        if target.resolve() in taken:
            raise SourceError(f"{target} is given twice. Give what is written a name of its own.")
        taken.add(target.resolve())
        if target.is_dir():
            raise SourceError(f"{target} is a folder. Name the file to write in it, like {target}/water.tif.")


class _Image:
    """One image that is read by windows of a grid."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.notes: list[str] = []
        self._bands: dict[str, int] = {}
        self._scale = 1.0
        self._offset = 0.0
        self._stack = ExitStack()

    def __enter__(self) -> _Image:
        import rasterio
        from rasterio.errors import RasterioError

        try:
            self.data: DatasetReader = self._stack.enter_context(rasterio.open(self.path))
        except RasterioError as error:
            raise SourceError(f"{self.path} cannot be read as an image: {error}. Give a GeoTIFF.") from error
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @property
    def grid(self) -> Grid:
        """Its grid; the CRS is empty where it has none."""
        crs = self.data.crs.to_wkt() if self.data.crs else ""
        return Grid(crs, tuple(self.data.transform)[:6], self.data.width, self.data.height)

    def as_radar(self) -> None:
        """Find its bands, and make sure that they are decibels."""
        named = self._named(RADAR)
        if not named and self.data.count < 2:
            raise SourceError(
                f"{self.path} has {self.data.count} band; a Sentinel-1 image needs VV and VH, in this "
                "order or named by the bands' descriptions."
            )
        self._bands = named or {"VV": 1, "VH": 2}
        middle: dict[str, float] = {}
        for name, number in self._bands.items():
            values = self._overview(number)
            values = values[np.isfinite(values) & (values != 0)]
            if values.size == 0:
                raise SourceError(f"{self.path}, band {number} ({name}): not one pixel was measured.")
            middle[name] = float(np.median(values))
            if np.mean(values > 0) > 0.5:
                raise SourceError(
                    f"{self.path}, band {number} ({name}): most values are above 0 (median "
                    f"{middle[name]:.4g}), so they are no decibels of land or water. Bring them into dB: "
                    "10 · log10 of calibrated backscatter."
                )
        if middle["VH"] > middle["VV"] + 1:
            raise SourceError(
                f"{self.path}: band {self._bands['VH']} is brighter (median {middle['VH']:.1f} dB) than band "
                f"{self._bands['VV']} ({middle['VV']:.1f} dB), so they are not VV and VH in this order. Name "
                "the bands in the file, or exchange them."
            )

    def as_optical(self) -> None:
        """Find its bands, and what their numbers mean."""
        named = self._named(OPTICAL)
        if named:
            self._bands = named
        elif self.data.count == len(_L1C):
            self._bands = {name: _L1C.index(name) + 1 for name in OPTICAL}
        else:
            raise SourceError(
                f"{self.path} has {self.data.count} bands, whose descriptions do not name "
                f"{', '.join(OPTICAL)}. Give 13 bands in the order of Level-1C ({', '.join(_L1C)}), or name "
                "the bands in the file (gdal_edit.py, or rasterio's descriptions)."
            )
        green = self._overview(self._bands["B03"])
        seen = green[np.isfinite(green) & (green > 0)]
        if seen.size == 0:
            raise SourceError(f"{self.path}, band {self._bands['B03']} (B03): not one pixel was measured.")
        if np.median(seen) > 2:
            self._scale = 1 / _SCALE
            # the ground is never seen in B10: what is left there of clear pixels is what was added
            cirrus = self._named(("B10",)).get("B10", 11 if self.data.count == len(_L1C) else 0)
            if cirrus:
                values = self._overview(cirrus)
                values = values[np.isfinite(values) & (values > 0)]
                if values.size and _OFFSET * 0.9 < np.percentile(values, 5) < _OFFSET * 1.3:
                    self._offset = -_OFFSET / _SCALE
                    self.notes.append(
                        f"{self.path.name}: 1000 was taken from its numbers, which were added since "
                        "processing baseline 04.00 (as its band B10 shows)."
                    )

    def _named(self, wanted: Sequence[str]) -> dict[str, int]:
        """Numbers of bands by their descriptions; empty where one is not named."""
        found: dict[str, int] = {}
        for number, text in enumerate(self.data.descriptions, 1):
            words = re.split(r"[^A-Za-z0-9]+", (text or "").strip().upper())
            for name in wanted:
                short = re.sub(r"^B0", "B", name)
                if {name, short, _COLOURS.get(name, name).upper()} & set(words):
                    found.setdefault(name, number)
        return found if len(found) == len(wanted) else {}

    def _overview(self, number: int) -> Float:
        """A band at no more than 512 pixels a side."""
        shape = tuple(min(512, side) for side in self.data.shape)
        return self._pixels(number, out_shape=shape)

    def _pixels(self, numbers: int | list[int], **how: Any) -> Float:
        from rasterio.errors import RasterioError

        try:
            masked = self.data.read(numbers, masked=True, **how)
        except RasterioError as error:
            raise SourceError(f"{self.path} is damaged: {error}. Get the file again.") from error
        values: Float = masked.astype(np.float32).filled(np.nan)
        return values

    def lay_on(self, other: _Image) -> None:
        """Read this image on another's grid from now on."""
        import rasterio
        from rasterio.enums import Resampling
        from rasterio.vrt import WarpedVRT
        from rasterio.warp import transform_bounds

        mine, theirs = self.grid, other.grid
        alike = mine.shape == theirs.shape and np.allclose(
            mine.transform, theirs.transform, rtol=1e-9, atol=0
        )
        if alike and self.data.crs == other.data.crs:
            return
        if not (mine.crs and theirs.crs):
            lost = self.path if not mine.crs else other.path
            raise SourceError(
                f"{lost} has no coordinate reference system and lies on another grid than the other image, "
                "so that the two cannot be laid on each other. Assign it its own (gdal_edit.py -a_srs)."
            )
        west, south, east, north = transform_bounds(self.data.crs, other.data.crs, *mine.bounds)
        left, bottom, right, top = theirs.bounds
        if west >= right or east <= left or south >= top or north <= bottom:
            raise SourceError(
                f"{self.path} and {other.path} show different places: not one pixel is common to them. Give "
                "two images of the same place."
            )
        self.data = self._stack.enter_context(
            WarpedVRT(
                self.data,
                crs=other.data.crs,
                transform=other.data.transform,
                width=other.data.width,
                height=other.data.height,
                resampling=Resampling.bilinear,
                dtype="float32",
                nodata=float("nan"),
                src_nodata=self.data.nodata if self.data.nodata is not None else float("nan"),
            )
        )
        self.notes.append(f"{self.path.name} was warped to the grid of {other.path.name}.")
        assert isinstance(self.data, rasterio.vrt.WarpedVRT)

    def read(self, window: Window) -> dict[str, Float]:
        """Its bands in a window: decibels or reflectance, float32 [y, x], NaN where nothing was measured."""
        values = self._pixels(list(self._bands.values()), window=window)
        values[:, ~np.isfinite(values).all(axis=0) | (values == 0).all(axis=0)] = np.nan
        if "B03" in self._bands:
            values = values * np.float32(self._scale) + np.float32(self._offset)
        return dict(zip(self._bands, values, strict=True))


@dataclass(frozen=True, slots=True)
class _Job:
    """Images on one grid, and the limits found on them."""

    grid: Grid
    radar: _Image | None
    optical: _Image | None
    radar_rule: RadarRule | None
    optical_rule: OpticalRule | None
    otsu: float

    def part(self, window: Window) -> NDArray[np.uint8]:
        """The map of a window."""
        wide, inner = _with_margin(window, self.grid)
        by_radar = by_colour = None
        if self.radar and self.radar_rule:
            by_radar = water.radar_evidence(_calmed(self.radar, wide, self.grid), self.radar_rule)
        if self.optical and self.optical_rule:
            by_colour = water.optical_evidence(self.optical.read(wide), self.optical_rule)
        found, known = water.decide(by_colour, by_radar)
        values = np.where(known, np.where(found, WATER, LAND), UNSEEN).astype(np.uint8)
        return values[inner]

    def otsu_part(self, window: Window) -> NDArray[np.uint8]:
        """The baseline of a window."""
        assert self.optical is not None
        index = water.green_swir(self.optical.read(window))
        values = np.where(np.isfinite(index), np.where(index > self.otsu, WATER, LAND), UNSEEN)
        return values.astype(np.uint8)


def _prepare(radar: _Image | None, optical: _Image | None, grid: Grid) -> _Job:
    """Find the limits of both images on their tiles."""
    tiles = list(_tiles(*grid.shape))
    radar_rule = water.fit_radar([_calmed(radar, tile, grid) for tile in tiles]) if radar else None
    optical_rule, cut = None, float("nan")
    if optical:
        seen = [_masked(optical.read(tile)) for tile in tiles]
        optical_rule = water.fit_optical([water.wetness(bands) for bands in seen])
        cut = water.otsu(np.concatenate([water.green_swir(bands).ravel() for bands in seen]))
    return _Job(grid, radar, optical, radar_rule, optical_rule, cut)


def _map(radar: _Image | None, optical: _Image | None, out: Path, baseline: Path | None) -> WaterMap:
    base = optical or radar
    assert base is not None
    job = _prepare(radar, optical, base.grid)
    notes = [note for image in (radar, optical) if image for note in image.notes]
    areas = PixelAreas(job.grid) if job.grid.crs else None
    if areas is None:
        notes.append(f"{base.path.name} has no coordinate reference system, so that no area can be told.")
    for image, rule in ((radar, job.radar_rule), (optical, job.optical_rule)):
        if image and rule and not rule.adapted:
            notes.append(
                f"{image.path.name} does not show water beside land clearly enough to take limits from it; "
                "the table's, which are on trial (试行), were used."
            )
    count = _Count(areas)
    _write(out, count.counted((window, job.part(window)) for window in windows(*job.grid.shape)), job.grid)
    otsu = None
    if optical:
        simple = _Count(areas)
        parts = simple.counted((window, job.otsu_part(window)) for window in windows(*job.grid.shape))
        if baseline:
            _write(baseline, parts, job.grid)
        for _ in parts:
            pass
        otsu = {"limit": job.otsu, "water_km2": simple.km2(WATER)}
    return WaterMap(
        path=out,
        water_km2=count.km2(WATER),
        land_km2=count.km2(LAND),
        unseen_km2=count.km2(UNSEEN),
        pixels={"water": count.pixels[WATER], "land": count.pixels[LAND], "unseen": count.pixels[UNSEEN]},
        radar=job.radar_rule,
        optical=job.optical_rule,
        otsu=otsu,
        notes=tuple(notes),
    )


class _Count:
    """Pixels and hectares of each value of a map, counted while it is written."""

    def __init__(self, areas: PixelAreas | None) -> None:
        self.pixels = dict.fromkeys((LAND, WATER, UNSEEN), 0)
        self._areas = areas
        self._ha = dict.fromkeys((LAND, WATER, UNSEEN), 0.0)

    def counted(
        self, parts: Iterable[tuple[Window, NDArray[np.uint8]]]
    ) -> Iterator[tuple[Window, NDArray[np.uint8]]]:
        """The same parts as [band, y, x]."""
        for window, values in parts:
            hectares = self._areas.ha(*window.toslices()) if self._areas else None
            for code in self.pixels:
                here = values == code
                self.pixels[code] += int(here.sum())
                if hectares is not None:
                    self._ha[code] += float(hectares[here].sum())
            yield window, values[None]

    def km2(self, code: int) -> float | None:
        """None without a CRS."""
        return None if self._areas is None else round(self._ha[code] / 100, 6)


def _write(path: Path, parts: Iterator[tuple[Window, NDArray[np.uint8]]], grid: Grid) -> None:
    def describe(dataset: Any) -> None:
        dataset.write_colormap(1, {LAND: (230, 225, 215), WATER: (33, 102, 172), UNSEEN: (0, 0, 0, 0)})
        dataset.set_band_description(1, "0 land, 1 water, 255 not seen")

    write_raster(
        path,
        parts,
        describe=describe,
        cog={"COMPRESS": "DEFLATE", "OVERVIEW_RESAMPLING": "NEAREST"},
        width=grid.width,
        height=grid.height,
        count=1,
        dtype="uint8",
        crs=grid.crs or None,
        transform=grid.affine,
        nodata=UNSEEN,
    )


def _calmed(image: _Image, window: Window, grid: Grid) -> dict[str, Float]:
    wide, inner = _with_margin(window, grid)
    return {name: water.calm(values)[inner] for name, values in image.read(wide).items()}


def _masked(bands: Mapping[str, Float]) -> dict[str, Float]:
    """Reflectance without what clouds and snow hide."""
    covered = water.hidden(bands)
    return {name: np.where(covered, np.float32(np.nan), values) for name, values in bands.items()}


def _with_margin(window: Window, grid: Grid) -> tuple[Window, tuple[slice, slice]]:
    """A window with `HALO` pixels around it as far as the image goes, and where it lies in that."""
    from rasterio.windows import Window

    top, left = max(0, window.row_off - HALO), max(0, window.col_off - HALO)
    end = min(grid.height, window.row_off + window.height + HALO)
    last = min(grid.width, window.col_off + window.width + HALO)
    row, col = window.row_off - top, window.col_off - left
    inner = slice(row, row + window.height), slice(col, col + window.width)
    return Window(left, top, last - left, end - top), inner


def _tiles(height: int, width: int) -> Iterator[Window]:
    """Tiles spread evenly over an image; one of them where it is small."""
    from rasterio.windows import Window

    side = max(1, min(_TILE, height, width))
    rows = range(0, height - side + 1, side)
    cols = range(0, width - side + 1, side)
    places = [(row, col) for row in rows for col in cols]
    for row, col in places[:: max(1, -(-len(places) // _TILES))]:
        yield Window(col, row, side, side)
