"""What is true of the twin's disasters: outlines, severity, dates and losses, and the terrain they act on."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from eo_pipeline.simulate import crops, events
from eo_pipeline.simulate.landscape import EPSG, Landscape
from eo_pipeline.simulate.scenes import World
from eo_pipeline.simulate.truth import HA_PER_PIXEL, write_raster, write_table
from eo_pipeline.simulate.vectors import to_lonlat, write_geojson

#: Share of yield lost from which a field counts as affected 受灾, damaged 成灾, destroyed 绝收.
GRADES: Final = {"affected": 0.10, "damaged": 0.30, "destroyed": 0.80}
#: Severity from which a place is inside an event's outline.
OUTLINE: Final = 0.10
NO_DATE: Final = 0


def write_events(world: World, year: int, folder: Path) -> None:
    """Write events.geojson, event_severity.tif, event_summary.tif and losses.csv of a harvest year.

    `event_severity.tif` has one band an event, 0-1, described by its id. `event_summary.tif` (int32) tells
    for every pixel the hazard that took most of its field's yield (codes of `events.RESPONSE`, 0 none), its
    first day as yyyymmdd (0 none), and the loss by all events together in thousandths of the yield.
    """
    land = world.land
    own = [event for event in world.events if event.year == year]
    write_geojson(
        folder / "events.geojson",
        [_feature(world, event) for event in own],
        season=year,
        grades=GRADES,
        outline_severity=OUTLINE,
    )
    if own:
        write_raster(
            folder / "event_severity.tif",
            np.stack([event.severity for event in own]),
            land.grid,
            nodata=float("nan"),
            names=[event.id for event in own],
        )
    write_raster(
        folder / "event_summary.tif",
        _summary(land, own),
        land.grid,
        nodata=-1,
        names=("hazard code", "first day yyyymmdd", "loss of yield in thousandths"),
    )
    head = ("parcel", "crop", "event", "hazard", "start", "end", "severity", "harm", "loss_share")
    write_table(folder / "losses.csv", head, _losses(world, own))


def _summary(land: Landscape, own: Sequence[events.Event]) -> NDArray[np.int32]:
    count = len(land.use)
    hazard, day, worst = np.zeros(count, np.int32), np.full(count, NO_DATE, np.int32), np.zeros(count)
    for event in own:
        here = event.loss > np.maximum(worst, 0.005)
        worst[here] = event.loss[here]
        hazard[here] = events.RESPONSE[event.kind].code
        day[here] = int(f"{event.start:%Y%m%d}")
    loss = events.yield_loss(own, own[0].year, count) if own else np.zeros(count)
    table = np.stack([hazard, day, np.rint(1000 * loss).astype(np.int32)])
    return np.asarray(table[:, land.segment], np.int32)


def _losses(world: World, own: Sequence[events.Event]) -> Iterable[Sequence[object]]:
    """One line for every field and event that took at least half a percent of its yield."""
    land = world.land
    for event in own:
        names = [crops.NAME[int(code)] for code in world.plan[event.year].code]
        severity = np.bincount(land.segment.ravel(), event.severity.ravel(), minlength=len(land.use))
        for index, parcel in enumerate(land.parcel_ids):
            if event.loss[index] >= 0.005:
                yield (
                    parcel,
                    names[index],
                    event.id,
                    event.kind,
                    event.start.isoformat(),
                    event.end.isoformat(),
                    f"{severity[index] / land.pixels[index]:.4f}",
                    f"{event.harm[index]:.4f}",
                    f"{event.loss[index]:.4f}",
                )


def _feature(world: World, event: events.Event) -> dict[str, Any]:
    """Outline of the hazard with its dates and the areas of fields by grade of loss."""
    import shapely
    from rasterio.features import shapes
    from rasterio.transform import Affine

    land = world.land
    inside = (event.severity >= OUTLINE).astype(np.uint8)
    parts = [
        shapely.geometry.shape(geometry)
        for geometry, _ in shapes(inside, mask=inside > 0, transform=Affine(*land.grid.transform))
    ]
    outline = shapely.transform(shapely.union_all(parts), to_lonlat)
    area = land.pixels * HA_PER_PIXEL
    graded = {
        f"{name}_ha": round(float(area[event.loss >= limit].sum()), 2) for name, limit in GRADES.items()
    }
    hit = event.loss >= GRADES["affected"]
    names = sorted({crops.NAME[int(code)] for code in world.plan[event.year].code[hit]})
    return {
        "type": "Feature",
        "properties": {
            "id": event.id,
            "hazard": event.kind,
            "zh": events.RESPONSE[event.kind].zh,
            "code": events.RESPONSE[event.kind].code,
            "season": event.year,
            "start": event.start.isoformat(),
            "end": event.end.isoformat(),
            "crops": names,
            "max_severity": round(float(event.severity.max()), 4),
            **graded,
        },
        "geometry": shapely.geometry.mapping(outline),
    }


def write_dem(land: Landscape, path: Path) -> None:
    """Write the terrain: float32, metres above sea level, on the piece's 10 m grid."""
    names = (f"elevation (m), EPSG:{EPSG}",)
    write_raster(path, land.elevation[None], land.grid, nodata=-32768, names=names)
