"""What `eo` prints of a plan, of accuracy and of estimates, and its progress on the error stream."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from rich.table import Column

    from eo_pipeline.engine import Progress
    from eo_pipeline.plan import Plan, TilePlan


def plan_facts(found: Plan, workers: int | None) -> dict[str, Any]:
    from eo_pipeline.cluster import fitting_workers
    from eo_pipeline.estimate import stage_seconds
    from eo_pipeline.stages import Stages

    count = min(fitting_workers(workers, found.worker_bytes), found.blocks)
    left = Stages(found).left()
    seconds = stage_seconds(found, {stage: tasks for stage, (tasks, _) in left.items()}, count)
    return {
        "season": found.season.id,
        "title": found.season.title,
        "simulated": found.season.simulated,
        "tiles": [
            {
                "name": item.name,
                "width": item.tile.grid.width,
                "height": item.tile.grid.height,
                "blocks": len(item.blocks),
                "scenes": len(item.tile.scenes),
                "first": item.tile.scenes[0].date.isoformat(),
                "last": item.tile.scenes[-1].date.isoformat(),
                "radar": radar_facts(item),
                "dem_reach": item.dem_reach,
            }
            for item in found.tiles
        ],
        "blocks": found.blocks,
        "skipped": [{"name": item.name, "reason": item.reason} for item in found.skipped],
        "scenes": found.scenes,
        "pixels": found.pixels,
        "bands": list(found.bands),
        "steps": len(found.steps),
        "step": found.season.step,
        "clouds": found.clouds,
        "passes": found.passes,
        "workers": count,
        "memory_per_worker_bytes": found.worker_bytes,
        "disk_bytes": found.disk_bytes,
        "estimated_seconds_without_training": round(sum(seconds.values()), 1),
        "tasks": {
            stage: {"to_do": len(todo), "all": total, "seconds": round(seconds.get(stage, 0.0), 1)}
            for stage, (todo, total) in left.items()
        },
        "publish_seconds": round(seconds["publish"], 1),
        "work": str(found.work),
        "run": str(found.folder),
    }


def radar_facts(tile: TilePlan) -> dict[str, int]:
    """Rasters of Sentinel-1 by direction."""
    return dict(sorted(Counter(item.direction for item in tile.passes).items()))


def print_plan(facts: Mapping[str, Any]) -> None:
    say(f"{facts['title']} ({facts['season']})" + ("  模拟数据 simulated data" if facts["simulated"] else ""))
    radar = any(tile["radar"] for tile in facts["tiles"])
    print_table(
        "Tiles",
        ("tile", "pixels", "blocks", "scenes", "from", "to", *(["radar ↑ ↓"] if radar else [])),
        [
            (
                *(
                    t["name"],
                    f"{t['width']} × {t['height']}",
                    t["blocks"],
                    t["scenes"],
                    t["first"],
                    t["last"],
                ),
                *(
                    [" ".join(str(t["radar"].get(n, 0)) for n in ("ascending", "descending"))]
                    if radar
                    else []
                ),
            )
            for t in facts["tiles"]
        ],
    )
    for tile in facts["tiles"]:
        if tile["dem_reach"] is not None and tile["dem_reach"] < 1:
            say(
                f"The elevation model reaches {tile['dem_reach']:.0%} of {tile['name']}; "
                "the rest gets no terrain."
            )
    for item in facts["skipped"]:
        say(f"Left out: {item['name']}: {item['reason']}")
    print_table(
        "Tasks",
        ("stage", "to do", "done before", "about"),
        [
            (stage, n["to_do"], n["all"] - n["to_do"], minutes(n["seconds"]) if n["seconds"] else "")
            for stage, n in facts["tasks"].items()
            if n["all"]
        ]
        + [("publish", "", "", minutes(facts["publish_seconds"]))],
    )
    say(f"Bands: {', '.join(facts['bands'])}; {facts['steps']} steps ({facts['step']})")
    say_clouds(facts["clouds"])
    say_passes(facts["passes"])
    say(
        f"Memory: {facts['memory_per_worker_bytes'] / 1e9:.2f} GB a worker, {facts['workers']} worker(s); "
        f"disk: at most {facts['disk_bytes'] / 1e9:.2f} GB"
    )
    total = minutes(facts["estimated_seconds_without_training"])
    say(f"Time: about {total}, and training where a map is made; less on faster cores")
    say(f"Work folder: {facts['work']}")
    say(f"Run folder: {facts['run']}")


def print_cubes(facts: Mapping[str, Any]) -> None:
    """What `eo ingest` made, a tile at a time."""
    for name, steps in facts["steps"].items():
        seen = sum(not step["rejected"] for step in steps)
        say(f"Cube of {name}: {seen} of {len(steps)} steps seen; {facts['cubes'][name]}")
        if radar := facts["radar"].get(name):
            say("  Sentinel-1: " + ", ".join(f"{n} {direction}" for direction, n in radar.items()))
        say_terrain(facts["terrain"].get(name))
        if filled := facts["filled"].get(name):
            total = max(1, sum(filled.values()))
            say("  Values of bands: " + ", ".join(f"{n / total:.0%} {what}" for what, n in filled.items()))
    say_clouds(facts["clouds"])
    say_passes(facts["passes"])
    for item in facts["skipped"]:
        say(f"Left out: {item['name']}: {item['reason']}")


def say_clouds(facts: Mapping[str, Any] | None) -> None:
    if facts is None:
        return
    alone: Sequence[str] = facts["scl_alone"]
    say(
        f"Clouds: by SCL and {facts['detector']} (above {facts['threshold']:g}) in {facts['scenes']} scenes; "
        f"by SCL alone, for want of a Level-1C product, in {len(alone)}"
    )
    for name in alone[:5]:
        say(f"  {name}")
    if len(alone) > 5:
        say(f"  and {len(alone) - 5} more")


def say_passes(facts: Mapping[str, Any] | None) -> None:
    """A line on Sentinel-1 where some of it is not terrain-corrected."""
    if facts and facts["grd"]:
        place = "placed by the elevation model" if facts["grd_on_dem"] else "without terrain correction"
        say(
            f"Sentinel-1: {facts['rtc']} passes terrain-corrected (RTC); {facts['grd']} GRD, {place}, slopes "
            "that face the radar too bright"
        )


def say_terrain(facts: Mapping[str, float | None] | None) -> None:
    """A line on a tile's ground."""
    if not facts:
        return
    low, high, missing = facts["low_m"], facts["high_m"], facts["missing_share"] or 0.0
    heights = "no height at all" if low is None or high is None else f"{low:.0f} to {high:.0f} m"
    say(f"  Terrain: {heights}" + (f", {missing:.1%} of the tile without a height" if missing else ""))


def accuracy_facts(accuracy: Mapping[str, Any]) -> dict[str, Any]:
    facts: dict[str, Any] = {}
    for name in ("cross_validation", "cross_validation_all_channels"):
        if found := accuracy.get(name):
            facts[name] = {
                who: {key: found[who][key] for key in ("overall_accuracy", "macro_f1", "ece")}
                for who in ("model", "baseline")
            } | {"channels": found["channels"], "groups": found["groups"]}
    if found := accuracy.get("reference"):
        facts["reference"] = {
            key: found[key]
            for key in ("design", "n", "agreement", "overall_accuracy", "overall_se")
            if key in found
        }
    return facts


def print_accuracy(accuracy: Mapping[str, Any]) -> None:
    facts = accuracy_facts(accuracy)
    rows = [
        (
            f"{'map' if name == 'cross_validation' else 'all channels of the samples'} "
            f"({len(item['channels'])})",
            who,
            f"{item[who]['overall_accuracy']:.3f}",
            f"{item[who]['macro_f1']:.3f}",
            f"{item[who]['ece']:.3f}",
        )
        for name, item in facts.items()
        if name != "reference"
        for who in ("model", "baseline")
    ]
    if rows:
        print_table("Accuracy by grouped folds", ("channels", "who", "overall", "macro F1", "ECE"), rows)
    if found := facts.get("reference"):
        overall = found.get("overall_accuracy", found["agreement"])
        say(f"Accuracy on the independent sample ({found['design']}, n = {found['n']}): {overall:.3f}")


def print_rows(rows: Sequence[Mapping[str, Any]], title: str, *, year: int = 2001) -> None:
    """Estimates as a table; days of the year are those of `year`."""

    def number(value: float) -> str:
        return "" if math.isnan(value) else f"{value:,.1f}"

    def value_of(row: Mapping[str, Any]) -> str:
        if row["unit"] == "doy":
            return (date(year, 1, 1) + timedelta(days=row["value"] - 1)).strftime("%-d %b")
        return f"{number(row['value'])} {row['unit']}"

    table = [
        {
            "unit": row["unit_adcode"],
            "crop": row["crop"],
            "class": row["class"],
            "value": value_of(row),
            "interval": f"{number(row['ci_low'])} – {number(row['ci_high'])}"
            if not math.isnan(row["ci_low"])
            else "",
            "method": row["method"],
        }
        for row in rows
    ]
    columns = [name for name in (table[0] if table else ()) if any(row[name] for row in table)]
    print_table(title, columns, [[row[name] for name in columns] for row in table])


def print_table(title: str, columns: Sequence[str | Column], rows: Sequence[Sequence[Any]]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table

    table = Table(*columns, title=title, title_justify="left", box=box.SIMPLE_HEAD)
    for row in rows:
        table.add_row(*map(str, row))
    Console().print(table)


def say(text: str) -> None:
    typer.echo(text)


@contextmanager
def progress_bars(quiet: bool) -> Iterator[Callable[[Progress], None] | None]:
    """A bar a stage on the error stream, moved by what the engine tells; None where `quiet`."""
    if quiet:
        yield None
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        TextColumn,
        TimeElapsedColumn,
    )
    from rich.progress import Progress as Bars

    columns = (
        TextColumn("{task.description:<9}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[note]}"),
    )
    with Bars(*columns, console=Console(stderr=True)) as bars:
        known: dict[str, Any] = {}

        def tell(progress: Progress) -> None:
            parts = [f"{minutes(progress.eta_seconds)} left"] if progress.eta_seconds else []
            parts += [f"{progress.skipped} done before"] if progress.skipped else []
            note = ", ".join(parts)
            if progress.stage not in known:
                known[progress.stage] = bars.add_task(progress.stage, total=progress.total, note=note)
            bars.update(known[progress.stage], completed=progress.done, total=progress.total, note=note)

        yield tell


def say_note(text: str) -> None:
    """Something a user should know, on the error stream."""
    typer.echo(f"Note: {text}", err=True)


def say_dashboard(address: str) -> None:
    """Where to look at the work of the processes, on the error stream."""
    typer.echo(f"Dask dashboard: {address}", err=True)


def minutes(seconds: float) -> str:
    """A duration for reading.

    >>> minutes(42), minutes(340), minutes(9000)
    ('42 s', '6 min', '2.5 h')
    """
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def print_json(value: Any) -> None:
    typer.echo(json.dumps(_without_nan(value), ensure_ascii=False, indent=1, default=str))


def _without_nan(value: Any) -> Any:
    """JSON has no NaN: null instead."""
    if isinstance(value, Mapping):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(item) for item in value]
    return None if isinstance(value, float) and math.isnan(value) else value
