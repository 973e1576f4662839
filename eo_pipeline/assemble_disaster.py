"""Disasters in a run folder: maps of each hazard, the records of events, and pictures before and after."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

import numpy as np
from numpy.typing import NDArray

from eo_pipeline.cube.indices import band_of
from eo_pipeline.cube.store import NODATA, SCALE, TileStore
from eo_pipeline.grid import Block
from eo_pipeline.products.disaster_events import CODES, ZH, Event, Hazard, Place
from eo_pipeline.products.disaster_map import event_array
from eo_pipeline.products.disaster_season import lonlat_bbox
from eo_pipeline.publish.catalog import write_cog
from eo_pipeline.publish.contract import MapClass, Raster

if TYPE_CHECKING:
    from eo_pipeline.plan import TilePlan
    from eo_pipeline.run import SeasonRun

#: File of the events' records.
EVENTS: Final = "disaster/events.json"
#: Colours of the hazards: Paul Tol, vibrant scheme.
_COLOURS: Final = {"drought": "#EE7733", "frost": "#33BBEE", "hail": "#CC3311", "flood": "#0077BB"}
#: Pixels around an event in its pictures, their longest side, and steps looked through for a clear view.
_MARGIN, _LONGEST, _STEPS = 30, 1024, 4
#: Natural colour, if the bands are there.
_PICTURE: Final = ("B04", "B03", "B02")


@dataclass(frozen=True, slots=True)
class _Hit:
    """Code of a hazard where its events struck, read by parts."""

    store: TileStore
    hazard: Hazard
    tile: str

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.store.array(event_array(self.hazard)).shape)

    @property
    def dtype(self) -> np.dtype[Any]:
        return np.dtype("uint8")

    def __getitem__(self, window: tuple[Any, ...]) -> NDArray[np.uint8]:
        rows, cols = window[-2:]
        block = Block(self.tile, rows.start, cols.start, rows.stop - rows.start, cols.stop - cols.start)
        struck = self.store.read(event_array(self.hazard), block) > 0
        return np.where(struck, CODES[self.hazard], 0).astype(np.uint8)


def write_disasters(run: SeasonRun, folder: Path) -> tuple[Raster, ...]:
    """Write what a season asks for of disasters; nothing where it asks for none.

    `disaster/events.json` holds a record an event; `disaster/<tile>/<hazard>.tif` the hazard's code where its
    events struck, 0 elsewhere; `disaster/<tile>/<event>_before.tif` and `_after.tif` what was to be seen.
    """
    spec = run.plan.season.disaster
    if spec is None:
        return ()
    season = run.plan.season
    tags = {"RUN_ID": season.id, "SIMULATED": "yes" if season.simulated else "no"}
    rasters = []
    for tile in run.plan.tiles:
        store = TileStore(run.stages.store(tile))
        for hazard in cast(tuple[Hazard, ...], spec.hazards):
            path = f"disaster/{tile.name}/{hazard}.tif"
            name = MapClass(CODES[hazard], hazard, ZH[hazard], hazard, _COLOURS[hazard])
            write_cog(
                folder / path,
                _Hit(store, hazard, tile.name),
                tile.tile.grid,
                nodata=None,
                colour_table={0: "#FFFFFF", name.code: name.colour},
                band_descriptions=(f"{hazard}, first judgement from afar",),
                metadata=tags,
            )
            day = tile.layout.dates[-1].isoformat()
            title = f"Struck by {hazard}"
            rasters.append(Raster("disaster", tile.name, path, title, (day,), classes=(name,)))
    grids = {tile.name: tile.tile.grid for tile in run.plan.tiles}
    records = []
    for event in run.events:
        chips = _chips(run, folder, event, tags)
        records.append(replace(event, chips=chips).record(lonlat_bbox(event, grids)))
    document = {"run_id": season.id, "simulated": season.simulated, "events": records}
    text = json.dumps(document, ensure_ascii=False, indent=1, sort_keys=True)
    (folder / "disaster").mkdir(exist_ok=True)
    (folder / EVENTS).write_text(text + "\n", encoding="utf-8")
    return tuple(rasters)


def _chips(run: SeasonRun, folder: Path, event: Event, tags: dict[str, str]) -> dict[str, str]:
    """Paths of pictures of the event's largest place: the clearest of the steps before and of those after."""
    place = max(event.places, key=lambda item: int(item.cells.sum()))
    tile = next(item for item in run.plan.tiles if item.name == place.tile)
    store = TileStore(run.stages.store(tile))
    block = _window(place, tile)
    found = {}
    earlier = range(max(0, place.first - _STEPS), place.first)
    later = range(place.last, min(place.last + _STEPS, len(tile.layout.steps)))
    bands = [name for name in (band_of(band, run.plan.bands) for band in _PICTURE) if name]
    for when, steps in (("before", earlier), ("after", later)):
        step = _clearest(store, block, steps)
        if step is None or not bands:
            continue
        path = f"disaster/{tile.name}/{event.id}_{when}.tif"
        values = store.read_bands(bands, run.plan.bands, block, slice(step, step + 1))[0]
        write_cog(
            folder / path,
            values,
            block.grid(tile.tile.grid),
            nodata=NODATA,
            band_descriptions=tuple(bands),
            metadata=tags | {"DATE": tile.layout.dates[step].isoformat()},
            scale=1 / SCALE,
        )
        found[when] = path
    return found


def _window(place: Place, tile: TilePlan) -> Block:
    """An event's pixels and some around them, no longer than a picture may be."""
    top, left, bottom, right = place.window
    height, width = tile.tile.grid.shape

    def side(low: int, high: int, end: int) -> tuple[int, int]:
        low, high = max(0, low - _MARGIN), min(end, high + _MARGIN)
        if high - low > _LONGEST:
            low = (low + high - _LONGEST) // 2
            high = low + _LONGEST
        return low, high - low

    (row, rows), (col, cols) = side(top, bottom, height), side(left, right, width)
    return Block(tile.name, row, col, rows, cols)


def _clearest(store: TileStore, block: Block, steps: Sequence[int]) -> int | None:
    """The step that shows most of a block; None where none shows anything."""
    seen = {step: int((store.read("clear_count", block, step) > 0).sum()) for step in steps}
    best = max(seen, key=lambda step: seen[step], default=None)
    return best if best is not None and seen[best] else None
