"""The run folder: the only thing that crosses from the pipeline to the site (DESIGN 2.6).

Dataclasses, column lists and validation. No heavy import at module level: the site imports this file and no
other of `eo_pipeline`.

A run folder holds::

    catalog.json           static STAC 1.1 catalog, linking one item a product and tile
    run.json               `RunManifest`: configuration, code, inputs, models, seeds, timings, and the size
                           and SHA-256 of every file
    <product>/<tile>/*.tif COG with overviews and colour table, beside its STAC item
    estimates.parquet      one row an estimate, `ESTIMATE_COLUMNS`
    series.parquet         curves, `SERIES_COLUMNS`
    disaster/events.json   records of disasters, where the season asks for them, beside pictures of each
    accuracy.json          cross-validated and, where there is one, independent accuracy
    report.html            the same for people
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from eo_pipeline.disk import write_file
from eo_pipeline.errors import RunFolderError

if TYPE_CHECKING:
    import pandas as pd

FORMAT_VERSION: Final = 1
MANIFEST: Final = "run.json"
#: What a folder must hold beside its products.
REQUIRED_FILES: Final = (
    "catalog.json",
    "estimates.parquet",
    "series.parquet",
    "accuracy.json",
    "report.html",
)

#: `estimates.parquet`, in this order. `class` is "" for a crop's area, a growth class for growth shares
#: (poor, fair, normal, good, very_good), a stage name for stage dates, hazard and grade for disasters
#: (hail_damaged). `unit_adcode` is a unit's code or `parcel:<id>`. Dates are ISO strings, missing numbers
#: NaN.
ESTIMATE_COLUMNS: Final = {
    "product": "str",
    "crop": "str",
    "class": "str",
    "unit_adcode": "str",
    "period_start": "str",
    "period_end": "str",
    "value": "float64",
    "unit": "str",
    "se": "float64",
    "ci_low": "float64",
    "ci_high": "float64",
    "method": "str",
    "n_samples": "int64",
    "monitorable_share": "float64",
    "run_id": "str",
}

#: `series.parquet`: one row a curve point. `scope` is unit, parcel or class; `observed` is NaN on a date
#: without a clear view; `smoothed`, `p25` and `p75` describe the smoothed curves of the scope's pixels.
SERIES_COLUMNS: Final = {
    "scope": "str",
    "scope_id": "str",
    "crop": "str",
    "index": "str",
    "date": "str",
    "observed": "float64",
    "smoothed": "float64",
    "p25": "float64",
    "p75": "float64",
    "clear_share": "float64",
    "run_id": "str",
}


@dataclass(frozen=True, slots=True)
class MapClass:
    """One value of a class map."""

    code: int
    name: str
    zh: str
    en: str
    colour: str


@dataclass(frozen=True, slots=True)
class Raster:
    """One COG of a run.

    `kind` is crop_type, confidence, entropy, set_size, novelty, growth, growth_anomaly, disaster or index. An
    `index` raster has one band a date (`dates`), int16 × 10 000, nodata −32768: the smoothed curve of every
    pixel.
    """

    kind: str
    tile: str
    path: str
    title: str
    dates: tuple[str, ...] = ()
    scale: float = 1.0
    unit: str = ""
    classes: tuple[MapClass, ...] = ()


@dataclass(frozen=True, slots=True)
class Palette:
    """The one palette of rasters, legends, charts and reports (`palette.json` beside this file).

    `crops` and `growth` in code order; `confidence` are stops (percent, colour) of a ramp, dark = doubtful.
    """

    crops: tuple[MapClass, ...]
    growth: tuple[MapClass, ...]
    confidence: tuple[tuple[int, str], ...]


@cache
def palette() -> Palette:
    """Read the palette.

    >>> palette().growth[0].zh, palette().growth[0].colour
    ('差', '#8C510A')
    """
    document = json.loads(Path(__file__).with_name("palette.json").read_text(encoding="utf-8"))
    return Palette(
        crops=tuple(MapClass(**item) for item in document["crops"]),
        growth=tuple(MapClass(**item) for item in document["growth"]),
        confidence=tuple((int(stop), str(colour)) for stop, colour in document["confidence"]),
    )


@dataclass(frozen=True, slots=True)
class FileEntry:
    """Size and SHA-256 of a file of the folder."""

    bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class RunManifest:
    """What run.json says. `simulated` marks data of the twin: it is shown as 模拟数据 wherever it appears."""

    run_id: str
    title: str
    season: dict[str, Any]
    region: dict[str, Any]
    simulated: bool
    created_at: str
    code: dict[str, Any]
    config: dict[str, Any]
    inputs: list[dict[str, Any]]
    models: list[dict[str, Any]]
    seeds: dict[str, int]
    timings: dict[str, float]
    crops: tuple[MapClass, ...]
    rasters: tuple[Raster, ...]
    files: dict[str, FileEntry] = field(default_factory=dict)
    format_version: int = FORMAT_VERSION


def sha256_file(path: Path) -> str:
    """Hex SHA-256 of a file, read in pieces."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _files_of(folder: Path) -> Iterator[tuple[str, Path]]:
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path != folder / MANIFEST:
            yield path.relative_to(folder).as_posix(), path


def _canonical(document: dict[str, Any]) -> bytes:
    return (json.dumps(document, ensure_ascii=False, indent=1, sort_keys=True) + "\n").encode()


def seal(folder: Path, manifest: RunManifest) -> RunManifest:
    """Write run.json with the size and SHA-256 of every file in `folder`, and with a digest of itself.

    The last step of a run: a folder without run.json is not a run.
    """
    files = {name: FileEntry(path.stat().st_size, sha256_file(path)) for name, path in _files_of(folder)}
    sealed = RunManifest(**{**_shallow(manifest), "files": files})
    document = asdict(sealed)
    document["digest"] = hashlib.sha256(_canonical(document)).hexdigest()
    write_file(folder / MANIFEST, _canonical(document))
    return sealed


def _shallow(manifest: RunManifest) -> dict[str, Any]:
    return {name: getattr(manifest, name) for name in RunManifest.__dataclass_fields__}


def read_manifest(folder: Path) -> RunManifest:
    """Read run.json and check it against its own digest; the other files are not looked at.

    Raises
    ------
    RunFolderError
        No run.json, unreadable, altered, or of another format version.
    """
    path = folder / MANIFEST
    if not path.is_file():
        raise RunFolderError(
            f"{folder} is not a run folder: it has no {MANIFEST}. Give the folder that `eo run` printed."
        )
    raw = path.read_bytes()
    damaged = (
        f"{path} is damaged: its content does not match its own digest. "
        "Copy the run folder again, or run `eo run` again."
    )
    try:
        document = json.loads(raw)
        digest = document.pop("digest")
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise RunFolderError(damaged) from error
    if (
        hashlib.sha256(_canonical(document)).hexdigest() != digest
        or _canonical({**document, "digest": digest}) != raw
    ):
        raise RunFolderError(damaged)
    if document.get("format_version") != FORMAT_VERSION:
        raise RunFolderError(
            f"{path} has format version {document.get('format_version')}; "
            f"this program reads {FORMAT_VERSION}. "
            "Use the program version that wrote it, or run the season again."
        )
    document["crops"] = tuple(MapClass(**item) for item in document["crops"])
    document["rasters"] = tuple(
        Raster(
            **{
                **item,
                "dates": tuple(item["dates"]),
                "classes": tuple(MapClass(**c) for c in item["classes"]),
            }
        )
        for item in document["rasters"]
    )
    document["files"] = {name: FileEntry(**entry) for name, entry in document["files"].items()}
    return RunManifest(**document)


def verify(folder: Path) -> RunManifest:
    """Check a run folder whole: run.json, size and SHA-256 of every file, no file too many, the columns.

    Raises
    ------
    RunFolderError
        Names the first file that is wrong and what to do; nothing of the folder may be used then.
    """
    manifest = read_manifest(folder)
    cure = "Copy the run folder again, or run `eo run` again; nothing was taken from it."
    found = dict(_files_of(folder))
    listed = set(manifest.files)
    if lost := sorted((listed | set(REQUIRED_FILES)) - set(found)):
        raise RunFolderError(f"{folder}: {lost[0]} is missing ({len(lost)} file(s) in all). {cure}")
    if extra := sorted(set(found) - listed):
        raise RunFolderError(
            f"{folder}: {extra[0]} is not listed in {MANIFEST} ({len(extra)} file(s) in all). {cure}"
        )
    for name, entry in manifest.files.items():
        if found[name].stat().st_size != entry.bytes or sha256_file(found[name]) != entry.sha256:
            raise RunFolderError(
                f"{found[name]} is damaged: its SHA-256 is not the one in {MANIFEST}. {cure}"
            )
    for raster in manifest.rasters:
        if raster.path not in listed:
            raise RunFolderError(
                f"{folder}: {MANIFEST} names the raster {raster.path}, which is not in the folder. {cure}"
            )
    read_estimates(folder)
    read_series(folder)
    return manifest


def read_estimates(folder: Path) -> pd.DataFrame:
    """estimates.parquet with `ESTIMATE_COLUMNS`; a table of other columns is refused."""
    return _read_table(folder / "estimates.parquet", ESTIMATE_COLUMNS)


def read_series(folder: Path) -> pd.DataFrame:
    """series.parquet with `SERIES_COLUMNS`; a table of other columns is refused."""
    return _read_table(folder / "series.parquet", SERIES_COLUMNS)


def _read_table(path: Path, columns: dict[str, str]) -> pd.DataFrame:
    import pandas as pd

    try:
        table = pd.read_parquet(path)
    except (OSError, ValueError) as error:
        raise RunFolderError(f"{path} cannot be read as Parquet: {error}. Run `eo run` again.") from error
    if list(table.columns) != list(columns):
        raise RunFolderError(
            f"{path} has the columns {list(table.columns)}; expected {list(columns)}. Run `eo run` again."
        )
    return table.astype(columns)
