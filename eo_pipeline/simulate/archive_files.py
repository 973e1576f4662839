"""The archive of a safe twin: every product of all seasons once, and the overpasses of each season."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from pathlib import Path
from typing import TypeVar

from eo_pipeline.simulate import grd, level1c, orbits, radar, radar_item, safe, scenes, sky
from eo_pipeline.simulate.orbits import Baseline, Overpass
from eo_pipeline.simulate.scenes import World

Row = dict[str, str]
Window = tuple[date, date]
Progress = Callable[[int, int, str], None]
Item = TypeVar("Item")

#: What a safe twin's acquisitions.csv tells beyond a stack's.
MORE_COLUMNS = ("platform", "relative_orbit", "baseline", "products")


def write_archive(
    world: World,
    folder: Path,
    windows: dict[int, Window],
    *,
    baseline: Baseline,
    every: int,
    with_level1c: bool,
    with_grd: bool,
    progress: Progress,
    workers: int,
) -> dict[int, list[Row]]:
    """Write the products of both missions below `folder`; the rows of acquisitions.csv by season."""
    ordered = [windows[year] for year in sorted(windows)]
    optical = _within(
        ordered, orbits.overpasses(ordered[0][0], ordered[-1][1], every=every), lambda item: item.day
    )
    # Sentinel-1 comes every 12 days; thinned out with Sentinel-2 where fewer scenes are asked for.
    pause = radar.REPEAT_DAYS * max(1, round(every / 10))
    radars = _within(ordered, radar.passes(ordered[0][0], ordered[-1][1], every=pause), lambda item: item.day)
    (folder / radar_item.COLLECTION).mkdir(parents=True)

    def see(overpass: Overpass) -> Row:
        own = orbits.baseline_of(overpass.day, baseline, ordered)
        return _optical(world, overpass, folder, own, with_level1c=with_level1c)

    def sound(overpass: radar.Pass) -> str:
        scene = radar.render(world, overpass)
        if with_grd:
            grd.write_grd(scene, overpass, world.land, folder / grd.COLLECTION)
        return radar_item.write_radar(scene, overpass, world.land.grid, folder / radar_item.COLLECTION)

    records: dict[int, list[Row]] = {year: [] for year in windows}
    total = len(optical) + len(radars)
    with ThreadPoolExecutor(max_workers=max(1, workers)) as pool:
        done = 0
        for overpass, row in zip(optical, pool.map(see, optical), strict=True):
            for year, (start, end) in windows.items():
                if start <= overpass.day <= end:
                    records[year].append(row)
            done += 1
            progress(done, total, f"Sentinel-2 {overpass.day}")
        for name in pool.map(sound, radars):
            done += 1
            progress(done, total, f"Sentinel-1 {name[17:25]}")
    return records


def _within(windows: Sequence[Window], items: Iterable[Item], day_of: Callable[[Item], date]) -> list[Item]:
    """Those of some season."""
    return [item for item in items if any(start <= day_of(item) <= end for start, end in windows)]


def _optical(world: World, overpass: Overpass, folder: Path, baseline: str, *, with_level1c: bool) -> Row:
    day = overpass.day
    row = {
        "date": day.isoformat(),
        "kept": "no",
        "platform": f"S2{overpass.satellite}",
        "relative_orbit": str(overpass.swath.relative),
        "baseline": baseline,
    }
    if sky.cloud_cover(day, seed=world.seed) >= 1:
        return {**row, "cloud": "1.0000"}
    scene = scenes.render(world, day)
    quality = {name: f"{value:.4f}" for name, value in scene.quality().items()}
    row |= quality | {"sun_zenith": f"{scene.sun_zenith:.2f}"}
    if float(quality["cloud"]) > scenes.MOST_CLOUD:
        return row
    names = safe.write_products(scene, overpass, world.land.grid, folder, baseline=baseline)
    if with_level1c:
        level1c.write_products(scene, overpass, world.land.grid, folder, baseline=baseline)
    return {**row, "kept": "yes", "products": " ".join(names)}
