"""`eo cube climatology`: past seasons into what is usual, and a look at it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from eo_pipeline.cli_cube import (
    Json,
    Point,
    cell,
    numbers_of,
    print_table,
    season_of,
    told,
    views_of,
)
from eo_pipeline.cli_telling import print_json
from eo_pipeline.errors import CubeError

if TYPE_CHECKING:
    from eo_pipeline.cube.climatology import Climatology
    from eo_pipeline.cube.past_seasons import PastSeason
    from eo_pipeline.cube.view import CubeView
    from eo_pipeline.publish.contract import Raster

climatology_app = typer.Typer(
    name="climatology",
    help="What is usual: statistics of past seasons per pixel and dekad (历年同期).",
    no_args_is_help=True,
    rich_markup_mode="markdown",
)


@climatology_app.command("build")
def build(
    folder: Annotated[
        Path, typer.Argument(help="Folder of the climatology; a store a tile.", metavar="FOLDER")
    ],
    seasons: Annotated[
        list[str],
        typer.Argument(help="Past seasons: season files, .zarr of cubes, or run folders.", metavar="SEASON…"),
    ],
    *,
    indices: Annotated[
        list[str] | None,
        typer.Option("--index", help="Indices or bands to keep; those it has, else NDVI. Repeatable."),
    ] = None,
    tile: Annotated[str, typer.Option("--tile", help="Only this tile.")] = "",
    workers: Annotated[int, typer.Option("--workers", min=1, max=64, help="Processes.")] = 1,
    as_json: Json = False,
) -> None:
    """Add seasons to a climatology, which is made if it is not there.

    A dekad under cloud counts as no season. A season that is in it already is put in anew; no other season is
    read again.

    Example: eo cube climatology build var/climatology runs/jingning-2024 season-2025.toml
    """
    with told():
        from eo_pipeline.cube.climatology import Climatology
        from eo_pipeline.storage import require_local

        require_local(folder)
        stores = [store for store in map(Climatology, sorted(folder.glob("*.zarr"))) if store.exists]
        wanted = tuple(indices or (stores[0].indices if stores else ("NDVI",)))
        added: list[dict[str, Any]] = []
        for path in seasons:
            found = [(name, season) for name, season in _past(path, wanted) if tile in ("", name)]
            if not found:
                raise CubeError(f"{path} has no tile {tile}.")
            for name, season in found:
                store = Climatology(folder / f"{name}.zarr")
                if not store.exists:
                    store.create(name, season.grid, wanted)
                elif indices and set(wanted) != set(store.indices):
                    raise CubeError(
                        f"{store.path} was made of {', '.join(store.indices)}; --index must name the same. "
                        "For others build one in another folder."
                    )
                with _spread(workers) as run:
                    results = store.add(season, run=run)
                seen = {
                    index: sum(int(result["seen"][index]) for result in results) for index in store.indices
                }
                added.append({"tile": name, "season": season.label, "seen": seen})
    if as_json:
        print_json({"folder": str(folder), "added": added})
        return
    for row in added:
        counted = ", ".join(f"{name} {number:,}" for name, number in row["seen"].items())
        typer.echo(f"{folder}: tile {row['tile']}, season {row['season']} added ({counted} pixel dekads)")


@climatology_app.command("show")
def show(
    folder: Annotated[Path, typer.Argument(help="Folder of the climatology.", metavar="FOLDER")],
    *,
    point: Point = "",
    feature: Annotated[str, typer.Option("--index", help="Of which index.")] = "",
    as_json: Json = False,
) -> None:
    """Say which seasons it is made of; with --point, what is usual there.

    Example: eo cube climatology show var/climatology --point 105.73,35.52
    """
    with told():
        from eo_pipeline.cube.climatology import stores_of

        stores = stores_of(folder)
        facts = [
            {
                "tile": store.tile.group.attrs["tile"],
                "indices": list(store.indices),
                "seasons": [
                    {
                        "label": entry.label,
                        "start": entry.start,
                        "end": entry.end,
                        "dekads": len(entry.dekads),
                    }
                    for entry in store.seasons
                ],
                "bytes": sum(file.stat().st_size for file in store.path.rglob("*") if file.is_file()),
                "whole": not store.tile.record().updating,
            }
            for store in stores
        ]
        usual = _usual(stores, point, feature) if point else []
    if as_json:
        print_json({"folder": str(folder), "tiles": facts, "usual": usual})
        return
    for row in facts:
        size = f"{row['bytes'] / 1e6:.1f} MB" + ("" if row["whole"] else ", being updated")
        typer.echo(f"Tile {row['tile']}: {', '.join(row['indices'])}, {size}")
        for entry in row["seasons"]:
            typer.echo(f"  {entry['label']}: {entry['start']} to {entry['end']}, {entry['dekads']} dekads")
    if usual:
        columns = ("dekad", "seasons", "low", "p25", "median", "p75", "high")
        print_table("", columns, [[cell(row[name]) for name in columns] for row in usual if row["seasons"]])


# ---- seasons ----------------------------------------------------------------------------------------
def _past(season: str, indices: Sequence[str]) -> list[tuple[str, PastSeason]]:
    """The seasons at a path or URL, by tile."""
    from eo_pipeline.cube.past_seasons import CubeSeason

    path = Path(season)
    if path.is_dir() and (path / "run.json").is_file():
        return _past_run(path, indices)
    views, _ = views_of(season, "")
    label = season_of(path).id if path.is_file() else ""
    for view in views:
        view.tile.require_whole()
    return [(view.name, CubeSeason(label or _label_of(view), view.path, kept=view.kept)) for view in views]


def _label_of(view: CubeView) -> str:
    """A season's id where its cube lies in its work folder, <id>/cube/<tile>.zarr; else the year it ends
    in.
    """
    path = view.path.local_path
    cubes = view.path.parent if path is None else path.resolve().parent
    return cubes.parent.name if cubes.name == "cube" else str(view.steps[-1].end.year)


def _past_run(folder: Path, indices: Sequence[str]) -> list[tuple[str, PastSeason]]:
    from eo_pipeline.cube.past_seasons import RasterSeason
    from eo_pipeline.publish.contract import read_manifest

    manifest = read_manifest(folder)
    by_tile: dict[str, list[tuple[str, Raster]]] = {}
    for raster in manifest.rasters:
        index = raster.title.split(",")[0]  # “NDVI, smoothed”
        if raster.kind == "index" and index in indices:
            by_tile.setdefault(raster.tile, []).append((index, raster))
    if not by_tile:
        raise CubeError(f"{folder} holds no raster of {', '.join(indices)}; give the season's cube instead.")
    return [
        (
            name,
            RasterSeason(
                manifest.run_id,
                tuple((index, folder / raster.path) for index, raster in rasters),
                tuple(date.fromisoformat(day) for day in rasters[0][1].dates),
                unseen=_unseen(folder),
            ),
        )
        for name, rasters in by_tile.items()
    ]


def _unseen(folder: Path) -> tuple[date, ...]:
    """Dates that were cloudy in the whole run: its curves pass over them, but nobody saw anything."""
    from eo_pipeline.publish.contract import read_series

    table = read_series(folder)
    shares = table[table["scope"] == "class"].groupby("date")["clear_share"].max()
    return tuple(date.fromisoformat(str(day)) for day, share in shares.items() if share == 0)


@contextmanager
def _spread(workers: int) -> Iterator[Callable[..., Iterable[Any]] | None]:
    """Something that calls a function with each of some arguments, over processes; None for this one."""
    if workers == 1:
        yield None
        return
    from concurrent.futures import ProcessPoolExecutor
    from multiprocessing import get_context

    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:

        def run(function: Callable[..., Any], jobs: Sequence[Mapping[str, Any]]) -> Iterator[Any]:
            yield from [future.result() for future in [pool.submit(function, **job) for job in jobs]]

        yield run


def _usual(stores: Sequence[Climatology], point: str, feature: str) -> list[dict[str, Any]]:
    import numpy as np
    from pyproj import Transformer

    from eo_pipeline.cube.climatology import DEKADS
    from eo_pipeline.grid import Block

    lon, lat = numbers_of(point, 2, "--point", "LON,LAT, like 105.73,35.52")
    for store in stores:
        grid = store.grid
        place = Transformer.from_crs(4326, grid.crs, always_xy=True).transform(lon, lat)
        col, row = (int(np.floor(v)) for v in ~grid.affine @ place)
        if 0 <= row < grid.height and 0 <= col < grid.width:
            break
    else:
        raise CubeError(f"The point {lon:g}, {lat:g} lies outside every tile of the climatology.")
    days = [date(2025, n // 3 + 1, 1 + 10 * (n % 3)) for n in range(DEKADS)]
    with store.reading():
        found = store.read(feature or store.indices[0], Block("", row, col, 1, 1), days)
    rows = []
    for n, day in enumerate(days):
        row_: dict[str, Any] = {"dekad": f"{day:%m-%d}", "seasons": int(found.count[n, 0, 0])}
        for name in ("low", "p25", "median", "p75", "high"):
            value = float(getattr(found, name)[n, 0, 0])
            row_[name] = None if np.isnan(value) else round(value, 4)
        rows.append(row_)
    return rows
