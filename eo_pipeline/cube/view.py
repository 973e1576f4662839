"""A cube seen from outside a run: what is in it, and values of a place.

Nothing here changes a cube. Reading is done within `TileStore.reading`, so that no half-updated dekad is
taken for one.
"""

from __future__ import annotations

import difflib
import functools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from eo_pipeline.cube.gaps import FILLED
from eo_pipeline.cube.indices import INDICES, band_of, feature_series, missing_for
from eo_pipeline.cube.ingest import judge_steps, tested_bands
from eo_pipeline.cube.radar import BACKSCATTER, CHANNELS, COUNT, DB_SCALE, ORBITS
from eo_pipeline.cube.smoothing import array_of
from eo_pipeline.cube.store import NODATA, SCALE, TileStore, decode, encode, grid_of
from eo_pipeline.cube.terrain import GROUND
from eo_pipeline.errors import CubeError, StorageError
from eo_pipeline.grid import Block, Grid, TimeStep, cut
from eo_pipeline.scenes.verdicts import SceneVerdict
from eo_pipeline.storage import Folder, Place

#: What a run says of its season, in its work folder: whether it is `simulated`.
SEASON: Final = "season.json"
#: Arrays [step, y, x] that can be exported by their name, with the value that means nothing.
PLAIN: Final = {"clear_count": None, "age_days": -1, "seen_day": -1}


@dataclass(frozen=True, slots=True)
class StepFacts:
    """One dekad of a tile. Shares are of the pixels any dekad saw; `age` is the median age there, in days.

    `state` is "whole", "updating", "empty" (no clear view), "rejected" or "not screened". `radar` is the
    share that Sentinel-1 saw by direction, of the pixels it saw in any dekad; empty where the cube has none.
    `filled` is the share with a value after filling; None where the cube is not filled.
    """

    start: date
    end: date
    clear: float
    believed: float
    age: float | None
    state: str
    reason: str
    radar: Mapping[str, float] = field(default_factory=dict)
    filled: float | None = None


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

    @property
    def ground(self) -> tuple[str, ...]:
        """Arrays of the terrain; none where the season has no elevation model."""
        return tuple(GROUND) if all(name in self.arrays for name in GROUND) else ()

    @functools.cached_property
    def bytes(self) -> int:
        """What it takes on the disk."""
        return self.path.bytes_of()

    @property
    def simulated(self) -> bool:
        """Whether the run that made it says that its data is simulated."""
        try:
            return bool(json.loads(self.path.parent.parent.read(SEASON))["simulated"])
        except (OSError, ValueError, KeyError, TypeError, StorageError):
            return False

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
        if name in (*PLAIN, *self.channels, *self.ground) or not missing_for(name, self.bands):
            return name
        indices = (n for n in INDICES if not missing_for(n, self.bands))
        known = [*self.bands, *indices, *self.channels, *self.ground, *PLAIN]
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
    def require_filled(self) -> None:
        """Raise a CubeError where the cube has no filled bands."""
        if FILLED not in self.arrays:
            raise CubeError(
                f'{self.path.name} has no filled bands. Set [cube] fill = "linear" in its season and run '
                "`eo ingest`, or leave --filled out."
            )

    def dekad(
        self, number: int, bands: Sequence[str], block: Block, *, filled: bool = False
    ) -> NDArray[np.int16]:
        """Believed reflectance of one step, int16 × 10 000 [band, y, x], gaps filled if so wished; of radar
        decibel × 100.
        """
        if bands and set(bands) <= set(CHANNELS):
            radar: NDArray[np.int16] = self.tile.read(BACKSCATTER, block, number)
            return radar[[CHANNELS.index(band) for band in bands]]
        numbers: NDArray[np.int16] = self._steps(bands, block, slice(number, number + 1), filled=filled)[0]
        return numbers

    def _steps(self, bands: Sequence[str], block: Block, steps: slice, *, filled: bool) -> NDArray[np.int16]:
        """Believed or filled reflectance of some steps, int16 × 10 000 [step, band, y, x]."""
        if filled:
            return self.tile.read_bands(bands, self.bands, block, steps, name=FILLED)
        numbers = self.tile.read_bands(bands, self.bands, block, steps)
        # before the screening nothing is rejected yet
        believed = self.tile.read("usable" if self.kept else "clear_count", block, steps) > 0
        if self.kept:
            believed &= np.array(self.kept)[steps, None, None]
        numbers[np.broadcast_to(~believed[:, None], numbers.shape)] = NODATA
        return numbers

    def series(
        self, feature: str, block: Block, *, smoothed: bool = False, filled: bool = False
    ) -> NDArray[Any]:
        """A band or an index of all steps, int16 × 10 000 [step, y, x]; of radar decibel × 100; clear counts
        and ages as they are. `filled`: of the bands with their gaps filled. Terrain is one step alone.
        """
        if feature in PLAIN:
            return self.tile.read(feature, block)
        if feature in GROUND:
            return self.tile.read(feature, block)[None]
        if feature in CHANNELS and not smoothed:
            return self.tile.read(BACKSCATTER, block, slice(None), CHANNELS.index(feature))
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
        numbers = self._steps(needed, block, slice(None), filled=filled)
        if feature in self.bands:
            return numbers[:, 0]
        return encode(feature_series(decode(numbers), needed, (feature,))[:, 0])

    def views(self, feature: str, block: Block) -> NDArray[np.uint8]:
        """Clear views behind each step of a feature, or passes of its direction, uint8 [step, y, x]."""
        if feature not in CHANNELS:
            return self.tile.read("clear_count", block)
        return self.tile.read(COUNT, block, slice(None), CHANNELS.index(feature) // 2)

    def terrain(self) -> dict[str, float | None]:
        """Lowest and highest metre, median slope in degrees, and the share of the tile without a height;
        reads the terrain block by block.
        """
        slopes = np.zeros(90 * GROUND["slope"] + 1, dtype=np.int64)
        low, high, missing = [], [], 0
        for block in self.blocks:
            heights, slope = self.tile.read("elevation", block), self.tile.read("slope", block)
            known = heights != NODATA
            missing += int((~known).sum())
            if known.any():
                low.append(float(heights[known].min()))
                high.append(float(heights[known].max()))
            slopes += np.bincount(slope[slope != NODATA], minlength=len(slopes))
        median = _median(slopes)
        return {
            "low_m": min(low, default=None),
            "high_m": max(high, default=None),
            "slope_deg": None if median is None else median / GROUND["slope"],
            "missing_share": round(missing / (self.grid.height * self.grid.width), 4),
        }

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
        """Each step's share of clear pixels, age and state; reads counts, ages and one filled band, block by
        block.
        """
        n = len(self.steps)
        clear, believed, filled = (np.zeros(n, dtype=np.int64) for _ in range(3))
        ages = np.zeros((n, 401), dtype=np.int64)
        covered = 0
        for block in self.blocks:
            seen = self.tile.read("clear_count", block) > 0
            covered += int(seen.any(axis=0).sum())
            clear += seen.sum(axis=(1, 2))
            believed += (self.tile.read("usable", block) == 1).sum(axis=(1, 2))
            if FILLED in self.arrays:
                filled += (self.tile.read(FILLED, block, slice(None), 0) != NODATA).sum(axis=(1, 2))
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
                    float(filled[number] / max(1, covered)) if FILLED in self.arrays else None,
                )
            )
        return tuple(facts)


def scale_of(feature: str) -> int:
    """What the numbers of a feature are multiplied with."""
    return DB_SCALE if feature in CHANNELS else GROUND.get(feature, SCALE)


def _median(counted: NDArray[np.int64]) -> float | None:
    total = int(counted.sum())
    return float(np.searchsorted(np.cumsum(counted), (total + 1) // 2)) if total else None
