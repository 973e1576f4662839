"""A cube seen from outside a run: what is in it, values of a place, and rasters for other programs.

Nothing here changes a cube. Reading is done within `TileStore.reading`, so that no half-updated dekad is
taken for one.
"""

from __future__ import annotations

import difflib
import functools
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from eo_pipeline.cube.climatology import grid_of
from eo_pipeline.cube.indices import INDICES, band_of, feature_series, missing_for
from eo_pipeline.cube.ingest import judge_steps, tested_bands
from eo_pipeline.cube.radar import BACKSCATTER, CHANNELS, COUNT, DB_SCALE, ORBITS
from eo_pipeline.cube.smoothing import array_of
from eo_pipeline.cube.store import NODATA, SCALE, TileStore, encode
from eo_pipeline.errors import CubeError, StorageError
from eo_pipeline.grid import Block, Grid, TimeStep, cut
from eo_pipeline.scenes.verdicts import SceneVerdict
from eo_pipeline.storage import Folder, Place

Format = Literal["cog", "gtiff"]
#: Arrays [step, y, x] that can be exported by their name, with the value that means nothing.
PLAIN: Final = {"clear_count": None, "age_days": -1, "seen_day": -1}
#: Red, green and blue of a picture; of radar VV, VH and VV of one direction.
COLOURS: Final = {
    "true": ("B04", "B03", "B02"),
    "false": ("B08", "B04", "B03"),
    "ascending": ("VV_ASC", "VH_ASC", "VV_ASC"),
    "descending": ("VV_DESC", "VH_DESC", "VV_DESC"),
}
#: Decibel from which on VV and VH are drawn, and over how many.
_DARK_DB: Final = {"VV": -20.0, "VH": -27.0}
_SPAN_DB: Final = 20.0


@dataclass(frozen=True, slots=True)
class StepFacts:
    """One dekad of a tile. Shares are of the pixels any dekad saw; `age` is the median age there, in days.

    `state` is "whole", "updating", "empty" (no clear view), "rejected" or "not screened". `radar` is the
    share that Sentinel-1 saw by direction, of the pixels it saw in any dekad; empty where the cube has none.
    """

    start: date
    end: date
    clear: float
    believed: float
    age: float | None
    state: str
    reason: str
    radar: Mapping[str, float] = field(default_factory=dict)


class CubeView:
    """A tile's cube that somebody looks at."""

    def __init__(self, path: Place) -> None:
        self.path = Folder.of(path)
        if not self.path.exists("zarr.json"):
            raise CubeError(
                f"There is no cube at {path} yet. `eo ingest SEASON.toml` makes it, and `eo run` does with "
                "all that follows."
            )
        self.tile = TileStore(self.path)
        attributes = self.tile.group.attrs.asdict()
        if "bands" not in attributes or "steps" not in attributes:
            raise CubeError(f"{path} is a Zarr group, but no season cube. Give the .zarr of a tile's cube.")
        self.attributes: dict[str, Any] = attributes
        self.grid: Grid = grid_of(self.tile)
        self.name = str(attributes["tile"])
        self.bands: tuple[str, ...] = tuple(attributes["bands"])
        self.steps: tuple[TimeStep, ...] = self.tile.steps

    @property
    def blocks(self) -> tuple[Block, ...]:
        """Blocks that products are made in."""
        size = int(self.attributes.get("product_block") or self.attributes["block"])
        return tuple(cut(self.name, self.grid, size=size))

    @functools.cached_property
    def arrays(self) -> tuple[str, ...]:
        """Names of its arrays."""
        return tuple(name for name in self.path.folders() if (self.path / name).exists("zarr.json"))

    @property
    def channels(self) -> tuple[str, ...]:
        """Channels of Sentinel-1; none where the cube has no backscatter."""
        return CHANNELS if BACKSCATTER in self.arrays else ()

    @functools.cached_property
    def bytes(self) -> int:
        """What it takes on the disk."""
        return self.path.bytes_of()

    @functools.cached_property
    def verdicts(self) -> tuple[SceneVerdict, ...]:
        """Of each step, as the last screening found it; none where a block was not screened yet."""
        names = [f"{block.id}.json" for block in self.blocks]
        try:
            found = (self.path.parent.parent / "tasks" / "screen" / self.name).read_many(names)
            counts = [json.loads(found[name])["result"] for name in names]
            return judge_steps(self.steps, counts, tested=bool(tested_bands(self.bands)))
        except (OSError, ValueError, KeyError, IndexError, StorageError):
            return ()

    @property
    def kept(self) -> tuple[bool, ...]:
        """Which steps their verdicts keep; empty where there are none, which keeps all."""
        return tuple(not verdict.rejected for verdict in self.verdicts)

    # ---- what is asked for ------------------------------------------------------------------------------
    def step(self, day: date) -> int:
        """The number of the dekad a day lies in."""
        for number, step in enumerate(self.steps):
            if step.holds(day):
                return number
        raise CubeError(
            f"{day} lies outside the season of {self.path.name}: {self.steps[0].start} to "
            f"{self.steps[-1].end}. Give a day of it."
        )

    def require_feature(self, name: str) -> str:
        """A band, an index or an array that this cube can give, by its name."""
        if name in PLAIN or name in self.channels or not missing_for(name, self.bands):
            return name
        indices = (n for n in INDICES if not missing_for(n, self.bands))
        known = [*self.bands, *indices, *self.channels, *PLAIN]
        if name in INDICES:
            raise CubeError(f"{self.path.name} cannot give {name}: {missing_for(name, self.bands)}.")
        near = difflib.get_close_matches(name, known, n=1, cutoff=0.3)
        lower = {item.lower(): item for item in known}
        hint = lower.get(name.lower()) or (near[0] if near else "")
        raise CubeError(
            f"{self.path.name} has no {name}." + (f" Did you mean {hint}?" if hint else "")
            + f" It can give {', '.join(known)}."
        )  # fmt: skip

    def pixel(self, x: float, y: float, *, lonlat: bool = True) -> tuple[int, int]:
        """Row and column of a place, in longitude and latitude or in the cube's own CRS."""
        east, north = x, y
        if lonlat:
            from pyproj import Transformer

            east, north = Transformer.from_crs(4326, self.grid.crs, always_xy=True).transform(x, y)
        col, row = ~self.grid.affine @ (east, north) if np.isfinite([east, north]).all() else (-1, -1)
        row, col = int(np.floor(row)), int(np.floor(col))
        if not (0 <= row < self.grid.height and 0 <= col < self.grid.width):
            west, south, right, top = self.lonlat_bounds
            raise CubeError(
                f"The point {x:g}, {y:g} lies outside tile {self.name}: longitude {west:.4f} to {right:.4f}, "
                f"latitude {south:.4f} to {top:.4f}."
            )
        return row, col

    @functools.cached_property
    def lonlat_bounds(self) -> tuple[float, float, float, float]:
        """West, south, east, north in degrees."""
        from rasterio.warp import transform_bounds

        west, south, east, north = transform_bounds(self.grid.crs, "EPSG:4326", *self.grid.bounds)
        return float(west), float(south), float(east), float(north)

    def window(self, bbox: Sequence[float] | None) -> Block:
        """The pixels of a box (west, south, east, north in degrees); all of the tile without one."""
        if bbox is None:
            return Block(self.name, 0, 0, self.grid.height, self.grid.width)
        from rasterio.warp import transform_bounds

        west, south, east, north = bbox
        if not (west < east and south < north):
            raise CubeError(f"The box {west:g},{south:g},{east:g},{north:g} must be west,south,east,north.")
        left, bottom, right, top = transform_bounds("EPSG:4326", self.grid.crs, *bbox)
        x0, y0 = ~self.grid.affine @ (left, top)
        x1, y1 = ~self.grid.affine @ (right, bottom)
        row, col = max(0, int(np.floor(y0))), max(0, int(np.floor(x0)))
        end, last = min(self.grid.height, int(np.ceil(y1))), min(self.grid.width, int(np.ceil(x1)))
        if row >= end or col >= last:
            bounds = ", ".join(f"{v:.4f}" for v in self.lonlat_bounds)
            raise CubeError(f"The box lies outside tile {self.name}, which covers {bounds}.")
        return Block(self.name, row, col, end - row, last - col)

    # ---- pixels -----------------------------------------------------------------------------------------
    def dekad(self, number: int, bands: Sequence[str], block: Block) -> NDArray[np.int16]:
        """Believed reflectance of one step, int16 × 10 000 [band, y, x]; of radar decibel × 100."""
        rows, cols = block.slices
        if bands and set(bands) <= set(CHANNELS):
            radar = self.tile.array(BACKSCATTER)
            return np.stack([np.asarray(radar[number, CHANNELS.index(b), rows, cols]) for b in bands])
        array = self.tile.array("reflectance")
        numbers = np.stack([np.asarray(array[number, self.bands.index(b), rows, cols]) for b in bands])
        numbers[:, ~self._believed(number, block)] = NODATA
        return numbers

    def _believed(self, number: int, block: Block) -> NDArray[np.bool_]:
        rows, cols = block.slices
        if self.kept and not self.kept[number]:
            return np.zeros((block.height, block.width), dtype=np.bool_)
        # before the screening nothing is rejected yet
        name = "usable" if self.kept else "clear_count"
        believed: NDArray[np.bool_] = np.asarray(self.tile.array(name)[number, rows, cols]) > 0
        return believed

    def series(self, feature: str, block: Block, *, smoothed: bool = False) -> NDArray[Any]:
        """A band or an index of all steps, int16 × 10 000 [step, y, x]; of radar decibel × 100; clear counts
        and ages as they are.
        """
        if feature in PLAIN:
            return self.tile.read(feature, block)
        if feature in CHANNELS and not smoothed:
            rows, cols = block.slices
            return np.asarray(self.tile.array(BACKSCATTER)[:, CHANNELS.index(feature), rows, cols])
        if smoothed:
            if array_of(feature) not in self.arrays:
                have = [name.removeprefix("index_") for name in self.arrays if name.startswith("index_")]
                raise CubeError(
                    f"{self.path.name} has no smoothed {feature}"
                    + (f", only {', '.join(have)}" if have else "")
                    + ". Name it in [growth] indices and run `eo run`, or leave --smoothed out."
                )
            return self.tile.read(array_of(feature), block)
        needed = (feature,) if feature in self.bands else tuple(
            str(band_of(band, self.bands)) for band in INDICES[feature].bands
        )  # fmt: skip
        out = np.empty((len(self.steps), block.height, block.width), dtype=np.int16)
        for number in range(len(self.steps)):
            numbers = self.dekad(number, needed, block)
            if feature in self.bands:
                out[number] = numbers[0]
                continue
            values = np.where(numbers == NODATA, np.float32(np.nan), numbers / np.float32(SCALE))
            out[number] = encode(feature_series(values[None].astype(np.float32), needed, (feature,))[0, 0])
        return out

    def views(self, feature: str, block: Block) -> NDArray[np.uint8]:
        """Clear views behind each step of a feature, or passes of its direction, uint8 [step, y, x]."""
        if feature not in CHANNELS:
            return self.tile.read("clear_count", block)
        rows, cols = block.slices
        orbit = CHANNELS.index(feature) // 2
        return np.asarray(self.tile.array(COUNT)[:, orbit, rows, cols], dtype=np.uint8)

    def _radar_shares(self) -> list[dict[str, float]]:
        """By step, the share that each direction saw of what radar ever saw."""
        if not self.channels:
            return [{} for _ in self.steps]
        seen, covered = np.zeros((len(self.steps), len(ORBITS)), dtype=np.int64), 0
        for block in self.blocks:
            counts = self.tile.read(COUNT, block) > 0
            seen += counts.sum(axis=(2, 3))
            covered += int(counts.any(axis=(0, 1)).sum())
        shares = seen / max(1, covered)
        return [dict(zip(ORBITS, map(float, row), strict=True)) for row in shares]

    def facts(self) -> tuple[StepFacts, ...]:
        """Each step's share of clear pixels, age and state; reads counts and ages, block by block."""
        n = len(self.steps)
        clear, believed = np.zeros(n, dtype=np.int64), np.zeros(n, dtype=np.int64)
        ages = np.zeros((n, 401), dtype=np.int64)
        covered = 0
        for block in self.blocks:
            seen = self.tile.read("clear_count", block) > 0
            covered += int(seen.any(axis=0).sum())
            clear += seen.sum(axis=(1, 2))
            believed += (self.tile.read("usable", block) == 1).sum(axis=(1, 2))
            age = self.tile.read("age_days", block)
            for number in range(n):
                counted = np.bincount(np.minimum(age[number][age[number] >= 0], 400), minlength=401)
                ages[number] += counted
        updating = self.tile.record().updating
        radar = self._radar_shares()
        facts = []
        for number, step in enumerate(self.steps):
            verdict = self.verdicts[number] if self.verdicts else None
            state = "whole" if verdict else "not screened"
            if verdict and verdict.rejected and clear[number]:
                state = "rejected"
            if not clear[number]:
                state = "empty"
            if number in updating:
                state = "updating"
            facts.append(
                StepFacts(
                    step.start,
                    step.end,
                    float(clear[number] / covered) if covered else 0.0,
                    float(believed[number] / covered) if covered else 0.0,
                    _median(ages[number]),
                    state,
                    verdict.reason if verdict and state == "rejected" else "",
                    radar[number],
                )
            )
        return tuple(facts)


def scale_of(feature: str) -> int:
    """What the numbers of a feature are multiplied with."""
    return DB_SCALE if feature in CHANNELS else SCALE


def _median(counted: NDArray[np.int64]) -> float | None:
    total = int(counted.sum())
    return float(np.searchsorted(np.cumsum(counted), (total + 1) // 2)) if total else None


# ---- rasters --------------------------------------------------------------------------------------------
def export_dekad(
    view: CubeView,
    number: int,
    out: Path,
    *,
    bands: Sequence[str] = (),
    window: Block | None = None,
    form: Format = "cog",
    tags: dict[str, str] | None = None,
) -> Path:
    """Write one dekad's believed reflectance, a band each; the file appears whole or not at all."""
    chosen = tuple(bands) or view.bands
    step = view.steps[number]
    names = [f"{band} {step.start}/{step.end}" for band in chosen]
    return _write(
        view, out, names, lambda block: view.dekad(number, chosen, block), window=window, form=form, tags=tags
    )


def export_series(
    view: CubeView,
    feature: str,
    out: Path,
    *,
    smoothed: bool = False,
    window: Block | None = None,
    form: Format = "cog",
    tags: dict[str, str] | None = None,
) -> Path:
    """Write a band, an index, a radar channel, `clear_count` or `age_days`: a band a step, with its date."""
    names = [f"{feature} {step.day}" for step in view.steps]
    return _write(
        view,
        out,
        names,
        lambda block: view.series(feature, block, smoothed=smoothed),
        window=window,
        form=form,
        tags=tags,
        plain=feature if feature in PLAIN else "",
        scale=scale_of(feature),
    )


def _write(
    view: CubeView,
    out: Path,
    names: Sequence[str],
    read: Callable[[Block], NDArray[Any]],
    *,
    window: Block | None,
    form: Format,
    tags: dict[str, str] | None,
    plain: str = "",
    scale: int = SCALE,
) -> Path:
    import rasterio
    from rasterio.errors import RasterioError
    from rasterio.shutil import copy

    window = window or view.window(None)
    nodata = PLAIN[plain] if plain else NODATA
    here = window.grid(view.grid)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        raw = out.with_name(f".{out.name}.{os.getpid()}.raw.partial")
        done = out.with_name(f".{out.name}.{os.getpid()}.partial")
    except OSError as error:
        raise CubeError(f"{out.parent} cannot be made: {error.strerror}. Give another --out.") from error
    try:
        with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True):
            with view.tile.reading(), rasterio.open(
                raw, "w", driver="GTiff", width=here.width, height=here.height, count=len(names),
                dtype="uint8" if plain == "clear_count" else "int16", crs=here.crs, transform=here.affine,
                nodata=nodata, tiled=True, blockxsize=256, blockysize=256, compress="zstd", zstd_level=1,
                interleave="band", bigtiff="if_safer",
            ) as raster:  # fmt: skip
                for block in _pieces(view, window):
                    place = Block(
                        "", block.row - window.row, block.col - window.col, block.height, block.width
                    )
                    raster.write(read(block), window=place.window)
                raster.descriptions = tuple(names)
                if not plain:
                    raster.scales = (1 / scale,) * len(names)
                raster.update_tags(TILE=view.name, SOURCE="eo cube export", **(tags or {}))
            if form == "cog":
                copy(
                    raw, done, driver="COG", COMPRESS="DEFLATE", PREDICTOR="YES", BLOCKSIZE="512",
                    OVERVIEW_RESAMPLING="AVERAGE", NUM_THREADS="ALL_CPUS", BIGTIFF="IF_SAFER",
                )  # fmt: skip
                done.replace(out)
            else:
                raw.replace(out)
    except (RasterioError, OSError) as error:
        raise CubeError(
            f"{out} cannot be written ({error}). Is there room, and may you write there?"
        ) from error
    finally:
        for left in out.parent.glob(f".{out.name}.{os.getpid()}.*"):
            left.unlink(missing_ok=True)
    return out


def _pieces(view: CubeView, window: Block) -> Iterator[Block]:
    """The parts of the cube's blocks that lie in a window."""
    for block in view.blocks:
        row, col = max(block.row, window.row), max(block.col, window.col)
        end = min(block.row + block.height, window.row + window.height)
        last = min(block.col + block.width, window.col + window.width)
        if row < end and col < last:
            yield Block(view.name, row, col, end - row, last - col)


# ---- pictures -------------------------------------------------------------------------------------------
def quicklook(
    view: CubeView, number: int, colours: Sequence[str], *, window: Block | None = None, side: int = 900
) -> tuple[NDArray[np.uint8], Grid]:
    """A dekad as a picture: uint8 [y, x, 4] with 0 alpha where nothing is believed, and its grid.

    Every n-th pixel is taken, so that the longer side has at most `side` of them. Stretched together from 0
    to the 99th percentile (at least 0.3 for infrared, 0.15 for visible light), so that hues stay true; radar
    over 20 dB.
    """
    window = window or view.window(None)
    step = max(1, -(-max(window.height, window.width) // side))
    shape = -(-window.height // step), -(-window.width // step)
    numbers = np.full((len(colours), *shape), NODATA, dtype=np.int16)
    for block in _pieces(view, window):
        top, left = (block.row - window.row) % step, (block.col - window.col) % step
        y, x = -(-(block.row - window.row) // step), -(-(block.col - window.col) // step)
        part = view.dekad(number, colours, block)[:, (-top) % step :: step, (-left) % step :: step]
        numbers[:, y : y + part.shape[1], x : x + part.shape[2]] = part
    seen = (numbers != NODATA).all(axis=0)
    picture = np.zeros((*shape, 4), dtype=np.uint8)
    if seen.any():
        for place, band in enumerate(colours):
            if band in CHANNELS:
                light = np.clip((numbers[place] / DB_SCALE - _DARK_DB[band[:2]]) / _SPAN_DB, 0, 1)
                picture[..., place] = np.where(seen, np.rint(light * 255), 0)
                continue
            floor = 3000 if band in ("B08", "B8A", "B11", "B12") else 1500
            limit = max(float(np.percentile(numbers[place][seen], 99)), floor)
            light = np.clip(numbers[place] / limit, 0, 1) ** 0.8
            picture[..., place] = np.where(seen, np.rint(light * 255), 0)
        picture[..., 3] = np.where(seen, 255, 0)
    a, b, c, d, e, f = window.grid(view.grid).transform
    return picture, Grid(view.grid.crs, (a * step, b, c, d, e * step, f), shape[1], shape[0])
