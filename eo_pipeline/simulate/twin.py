"""`eo simulate`: land, crops, scenes, samples and truth written as season folders that `eo run` reads.

The folder appears whole or not at all; what is there already and of the same options and code is kept.
"""

from __future__ import annotations

import csv
import hashlib
import json
import os
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, fields, replace
from datetime import date
from pathlib import Path
from typing import Any, Final, Literal

from eo_pipeline.errors import EOPipelineError
from eo_pipeline.simulate import (
    archive_files,
    calendar,
    canopy,
    event_truth,
    events,
    landscape,
    orbits,
    scenes,
    sky,
    truth,
    vectors,
)
from eo_pipeline.simulate.season_files import readme, season_toml, season_window

MARKER: Final = "twin.json"
#: Step of a run's progress: done, total, what is being made.
Progress = Callable[[int, int, str], None]


_CHOICES: Final = {
    "format": ("stack", "safe"),
    "baseline": ("mixed", orbits.OLD_BASELINE, orbits.NEW_BASELINE),
    "events": ("", "none", "typical"),
}


class SimulationError(EOPipelineError):
    """Options the twin cannot be made of, or a folder that may not be replaced."""


@dataclass(frozen=True, slots=True)
class TwinOptions:
    """What decides the bytes of a twin. `runs` is where the season files send `eo run`'s output.

    `format` is "stack", one GeoTIFF a date, or "safe", products as archives deliver them; `baseline` is
    theirs. `level1c` adds Level 1C to Sentinel-2, `grd` GRD to the terrain-corrected products of Sentinel-1.
    `events` empty means none in a stack and typical ones in safe format. `every` is the days between two
    overpasses of one orbit.
    """

    size_km: float = 5.0
    seasons: int = 2
    year: int = 2026
    seed: int = 42
    runs: str = "../runs"
    format: Literal["stack", "safe"] = "stack"
    baseline: orbits.Baseline = "mixed"
    events: Literal["", "none", "typical"] = ""
    every: int = 5
    level1c: bool = False
    grd: bool = False

    def __post_init__(self) -> None:
        for name, accepted in _CHOICES.items():
            if getattr(self, name) not in accepted:
                raise SimulationError(
                    f"--{name} {getattr(self, name)!r}: give one of {', '.join(filter(None, accepted))}."
                )
        if self.every not in range(5, 65, 5):
            raise SimulationError(f"--every {self.every}: give days, 5 to 60, a multiple of 5.")
        if self.format == "stack" and self.baseline != "mixed":
            raise SimulationError(
                f"--baseline {self.baseline} needs --format safe: a stack holds plain reflectance."
            )
        if self.format == "stack" and (self.level1c or self.grd):
            wanted = "--level1c" if self.level1c else "--grd"
            raise SimulationError(f"{wanted} needs --format safe: a stack holds no products.")
        if not 0.6 <= self.size_km <= 10 or abs(self.size_km * 50 - round(self.size_km * 50)) > 1e-6:
            raise SimulationError(
                f"--size-km {self.size_km}: give 0.6 to 10 km, a multiple of 0.02 km (two pixels)."
            )
        if not 1 <= self.seasons <= 6:
            raise SimulationError(f"--seasons {self.seasons}: give 1 to 6.")
        if not 2016 <= self.year <= 2100:
            raise SimulationError(
                f"--year {self.year}: give the harvest year of the last season, 2016 to 2100."
            )
        if not 0 <= self.seed < 2**31:
            raise SimulationError(f"--seed {self.seed}: give a whole number from 0 to 2147483647.")

    @property
    def years(self) -> list[int]:
        """Harvest years of the seasons, oldest first."""
        return list(range(self.year - self.seasons + 1, self.year + 1))

    @property
    def has_events(self) -> bool:
        """Whether disasters strike."""
        return (self.events or ("typical" if self.format == "safe" else "none")) == "typical"

    def told(self) -> dict[str, Any]:
        """The options as they are written down: the newer ones only where they differ from a plain stack."""
        chosen = replace(self, events="typical" if self.has_events else "")
        plain = {field.name: field.default for field in fields(self)}
        newer = ("format", "baseline", "events", "every", "level1c", "grd")
        return {
            name: value
            for name, value in asdict(chosen).items()
            if name not in newer or value != plain[name] or (name == "baseline" and self.format == "safe")
        }


@dataclass(frozen=True, slots=True)
class TwinSummary:
    """What was made: season files, oldest first, and counts for the reader."""

    folder: str
    seasons: tuple[str, ...]
    parcels: int
    scenes: dict[str, int]
    samples: dict[str, int]
    area_ha: float
    bytes: int
    kept: bool = False


def simulate(
    out: Path,
    options: TwinOptions,
    *,
    force: bool = False,
    progress: Progress | None = None,
    workers: int = 2,
) -> TwinSummary:
    """Make the twin in `out`.

    Raises
    ------
    SimulationError
        `out` holds something else, or an older twin with runs in it, and `force` is not given.
    """
    out = out.absolute()
    marker = {"options": options.told(), "code": code_digest()}
    if (kept := _standing(out, marker)) is not None:
        return kept
    _may_replace(out, force=force)
    partial = out.with_name(f".{out.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        partial.mkdir(parents=True)
        summary = _make(partial, out, options, progress or (lambda done, total, what: None), workers)
        # Paths are stored relative, so that the folder may be moved and its bytes name no machine.
        stored = asdict(summary) | {
            "folder": ".",
            "seasons": [f"{year}/season.toml" for year in options.years],
        }
        document = {**marker, "simulated": True, "note": scenes.SIMULATED_TAG, "summary": stored}
        (partial / MARKER).write_text(
            json.dumps(document, ensure_ascii=False, indent=1) + "\n", encoding="utf-8"
        )
        if out.exists():
            shutil.rmtree(out)
        partial.replace(out)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    return summary


def code_digest() -> str:
    """SHA-256 over the twin's own source: a twin of other code is made again."""
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("*.py")):
        if path.name != "compare.py":  # judges a run, makes nothing
            digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()


def _standing(out: Path, marker: dict[str, Any]) -> TwinSummary | None:
    """The summary of what stands in `out` if it is this very twin."""
    try:
        document = json.loads((out / MARKER).read_text(encoding="utf-8"))
        stored = document["summary"]
        seasons = tuple(str(out / name) for name in stored["seasons"])
        summary = TwinSummary(**{**stored, "folder": str(out), "seasons": seasons, "kept": True})
        same = all(document[key] == json.loads(json.dumps(marker[key])) for key in marker)
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return summary if same and all(Path(season).is_file() for season in summary.seasons) else None


def _may_replace(out: Path, *, force: bool) -> None:
    if out.exists() and not out.is_dir():
        raise SimulationError(f"{out} is a file; give --out a folder.")
    if not out.exists() or not any(out.iterdir()):
        return
    here = Path.cwd()
    if out in (here, Path.home(), *here.parents) or (out / ".git").exists():
        raise SimulationError(
            f"{out} is not replaced, with --force or without: give --out a folder of its own."
        )
    if force:
        return
    if not (out / MARKER).is_file():
        raise SimulationError(
            f"{out} holds files that eo simulate did not make. Give another --out, or --force to replace it."
        )
    if (out / "runs").exists():
        raise SimulationError(
            f"{out} holds a twin of other options or older code, and runs made of it in {out / 'runs'}. "
            "Give another --out, or --force to replace both."
        )


def _make(partial: Path, out: Path, options: TwinOptions, progress: Progress, workers: int) -> TwinSummary:
    years = options.years
    land = landscape.build(options.size_km, seed=options.seed)
    if options.format == "safe":
        land = replace(land, grid=orbits.straddling(land.grid.size))
    # One harvest year before, for the first autumn and for growth, and one after, for the last autumn's
    # sowing.
    plan = calendar.rotate(land, range(years[0] - 1, years[-1] + 2), seed=options.seed)
    world = scenes.make_world(land, plan, seed=options.seed)
    if options.has_events:
        world = replace(world, events=events.typical(land, plan, years, seed=options.seed))
    canopy.canopy_table()
    samples: dict[str, int] = {}
    safe = options.format == "safe"
    for year in years:
        (partial / str(year) / ("" if safe else "scenes")).mkdir(parents=True)
    if safe:
        event_truth.write_dem(land, partial / "dem.tif")
        records = archive_files.write_archive(
            world,
            partial / "archive",
            {year: season_window(year) for year in years},
            baseline=options.baseline,
            every=options.every,
            with_level1c=options.level1c,
            with_grd=options.grd,
            progress=progress,
            workers=workers,
        )
    else:
        records = _scenes(world, partial, options, progress, workers)
    _write_records(partial, records, more=archive_files.MORE_COLUMNS if safe else ())
    for number, year in enumerate(years):
        folder = partial / str(year)
        vectors.write_units(land, folder / "units.geojson")
        vectors.write_parcels(land, folder / "parcels.geojson")
        samples = vectors.write_samples(world, year, folder / "samples.geojson")
        vectors.write_reference(world, year, folder / "reference.geojson")
        truth.write_truth(world, year, folder / "truth")
        if options.has_events:
            event_truth.write_events(world, year, folder / "truth")
        before = f"jingning-{year - 1}" if number else None
        (folder / "season.toml").write_text(
            season_toml(year, options.runs, baseline=before, safe=safe), encoding="utf-8"
        )
    (partial / "README.md").write_text(readme(options.told()), encoding="utf-8")
    held = {path.stat().st_ino: path.stat().st_size for path in partial.rglob("*") if path.is_file()}
    return TwinSummary(
        folder=str(out),
        seasons=tuple(str(out / str(year) / "season.toml") for year in years),
        parcels=land.n_parcels,
        scenes={str(year): sum(1 for row in records[year] if row["kept"] == "yes") for year in years},
        samples=samples,
        area_ha=round(land.grid.size**2 * truth.HA_PER_PIXEL, 2),
        bytes=sum(held.values()),
    )


def _scenes(
    world: scenes.World, partial: Path, options: TwinOptions, progress: Progress, workers: int
) -> dict[int, list[dict[str, str]]]:
    """Write every acquisition once; a scene of two seasons is one file with two names where that works."""
    wanted: dict[date, list[int]] = {}
    years = options.years
    for year in years:
        for day in scenes.acquisition_days(*season_window(year), every=options.every):
            wanted.setdefault(day, []).append(year)

    def one(day: date) -> tuple[date, dict[str, str]]:
        row = {"date": day.isoformat(), "kept": "no"}
        if sky.cloud_cover(day, seed=world.seed) >= 1:
            return day, {**row, "cloud": "1.0000"}
        scene = scenes.render(world, day)
        quality = {name: f"{value:.4f}" for name, value in scene.quality().items()}
        row |= quality | {"sun_zenith": f"{scene.sun_zenith:.2f}"}
        if float(quality["cloud"]) > scenes.MOST_CLOUD:
            return day, row
        first, *others = (partial / str(year) / "scenes" / f"S2_{day:%Y%m%d}.tif" for year in wanted[day])
        scenes.write_scene(scene, world.land.grid, first)
        for other in others:
            try:
                os.link(first, other)
            except OSError:
                shutil.copyfile(first, other)
        return day, {**row, "kept": "yes"}

    records: dict[int, list[dict[str, str]]] = {year: [] for year in years}
    with ThreadPoolExecutor(max_workers=max(1, workers)) as pool:
        for done, (day, row) in enumerate(pool.map(one, sorted(wanted)), 1):
            for year in wanted[day]:
                records[year].append(row)
            progress(done, len(wanted), f"scene {day}")
    return records


def _write_records(partial: Path, records: dict[int, list[dict[str, str]]], *, more: tuple[str, ...]) -> None:
    """Write acquisitions.csv of every season."""
    head = ("date", "kept", "cloud", "shadow", "snow", "scl_clear", "scl_missed", "scl_false", "sun_zenith")
    for year, rows in records.items():
        with (partial / str(year) / "acquisitions.csv").open("w", encoding="utf-8", newline="") as stream:
            writer = csv.DictWriter(stream, head + more, restval="", lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)
