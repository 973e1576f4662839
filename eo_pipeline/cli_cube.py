"""`eo cube`: what a season cube holds, as table, picture and raster, and the climatology of several."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from eo_pipeline.cli_telling import print_json, say_terrain
from eo_pipeline.errors import CubeError, EOPipelineError

if TYPE_CHECKING:
    from eo_pipeline.cube.view import CubeView
    from eo_pipeline.season import Season

cube_app = typer.Typer(
    name="cube",
    help="""
Look into a season cube: `info`, `plot`, `export`; and build a `climatology` of several seasons.

CUBE is a season file, whose cubes `eo ingest` or `eo run` has made, or the .zarr of one tile: a path or
s3://….

**Examples**

    eo cube info examples/jingning.toml

    eo cube plot season.toml --date 2026-05-15 --out may.png

    eo cube plot season.toml --point 105.73,35.52 --index NDVI --out field.svg

    eo cube export season.toml --index NDVI --out ndvi.tif

    eo cube climatology build var/climatology runs/jingning-2024 runs/jingning-2025 season.toml
""",
    no_args_is_help=True,
    rich_markup_mode="markdown",
)
Cube = Annotated[
    str,
    typer.Argument(help="A season file, or the .zarr of a tile's cube: a path or s3://….", metavar="CUBE"),
]
TileName = Annotated[
    str, typer.Option("--tile", help="One of the season's tiles; needed where it has several.")
]
Simulated = Annotated[
    bool,
    typer.Option("--simulated", help="Label as 模拟数据; known by itself for season files and their runs."),
]
Point = Annotated[str, typer.Option("--point", help="Longitude and latitude, like 105.73,35.52.")]
Filled = Annotated[
    bool, typer.Option("--filled", help="With gaps filled, where the season's [cube] fill asks for it.")
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, and nothing else, on stdout.")]
Box = Annotated[
    str, typer.Option("--bbox", help="West,south,east,north in degrees, instead of the whole tile.")
]


def register(app: typer.Typer) -> None:
    """Add `eo cube` to the `eo` command."""
    from eo_pipeline.cli_climatology import climatology_app

    cube_app.add_typer(climatology_app)
    app.add_typer(cube_app)


# ---- commands -------------------------------------------------------------------------------------------
@cube_app.command()
def info(cube: Cube, *, tile: TileName = "", simulated: Simulated = False, as_json: Json = False) -> None:
    """Tiles, grid, bands, size on the disk, and of each dekad its clear share, age and state.

    Shares are of the pixels that any dekad saw; "usable" are clear views that their neighbours in time do not
    contradict.

    Example: eo cube info examples/jingning.toml --json
    """
    with told():
        views, made_up = views_of(cube, tile)
        documents = [_info(view) for view in views]
    if as_json:
        print_json({"simulated": made_up or simulated, "tiles": documents})
        return
    for document in documents:
        _print_info(document, simulated=made_up or simulated)


@cube_app.command()
def plot(
    cube: Cube,
    *,
    out: Annotated[Path, typer.Option("--out", help="Picture to write: .png or .svg.")],
    day: Annotated[
        str,
        typer.Option(
            "--date", help="Any day of a dekad, like 2026-05-15: its picture and the season's views."
        ),
    ] = "",
    point: Point = "",
    feature: Annotated[str, typer.Option("--index", help="Index or band of the curve.")] = "NDVI",
    colours: Annotated[
        str,
        typer.Option(
            "--colours", help="true, false (infrared, red, green), ascending or descending (radar)."
        ),
    ] = "true",
    climatology: Annotated[
        Path | None, typer.Option("--climatology", help="Draw what is usual behind the curve.")
    ] = None,
    filled: Filled = False,
    bbox: Box = "",
    tile: TileName = "",
    simulated: Simulated = False,
    as_json: Annotated[bool, typer.Option("--json", help="With --point: print the curve, too.")] = False,
) -> None:
    """Draw a dekad (--date) or the season's curve of a place (--point).

    Examples:

        eo cube plot season.toml --date 2026-05-15 --colours false --out may.png

        eo cube plot season.toml --point 105.73,35.52 --index EVI --out field.svg
    """
    with told():
        if bool(day) == bool(point):
            raise CubeError("Say what to draw: either --date with a day of a dekad, or --point LON,LAT.")
        from eo_pipeline.cube import plots
        from eo_pipeline.cube.export import COLOURS
        from eo_pipeline.storage import require_local

        require_local(out)
        if colours not in COLOURS:
            raise CubeError(f"--colours {colours!r} is not accepted; give one of {', '.join(COLOURS)}.")

        views, made_up = views_of(cube, tile)
        label = made_up or simulated
        if day:
            view = _one(views)
            _check_filled(view, filled, *COLOURS[colours])
            plots.plot_dekad(
                view, view.step(_day(day)), out, colours=colours, filled=filled,
                window=view.window(_box(bbox)), simulated=label,
            )  # fmt: skip
            rows = []
        else:
            lon, lat = numbers_of(point, 2, "--point", "LON,LAT, like 105.73,35.52")
            view, place = _at(views, lon, lat)
            view.require_feature(feature)
            _check_filled(view, filled, feature)
            normals = _normals(climatology, view, feature, place) if climatology else None
            plots.plot_curve(
                view, feature, place, out, filled=filled, where=f"{lon:.5f}°E {lat:.5f}°N", normals=normals,
                simulated=label,
            )  # fmt: skip
            rows = plots.curve_facts(view, feature, place, filled=filled)
    if as_json:
        print_json({"picture": str(out), "simulated": label, "tile": view.name, "curve": rows})
        return
    typer.echo(f"{out}" + ("  模拟数据" if label else ""))


@cube_app.command()
def export(
    cube: Cube,
    *,
    out: Annotated[Path, typer.Option("--out", help="GeoTIFF to write; it appears whole or not at all.")],
    day: Annotated[str, typer.Option("--date", help="Any day of a dekad: its bands.")] = "",
    feature: Annotated[
        str,
        typer.Option(
            "--index",
            help="Index, band, VV_ASC … VH_DESC, clear_count, age_days: all dekads; or elevation, slope, …",
        ),
    ] = "",
    bands: Annotated[str, typer.Option("--bands", help="With --date: some bands, like B04,B08.")] = "",
    smoothed: Annotated[bool, typer.Option("--smoothed", help="With --index: the smoothed curve.")] = False,
    filled: Filled = False,
    bbox: Box = "",
    form: Annotated[str, typer.Option("--format", help="cog (with overviews), or gtiff (plain).")] = "cog",
    tile: TileName = "",
    simulated: Simulated = False,
) -> None:
    """Write a dekad, or a band or index of the season, as GeoTIFF: int16 × 10 000 (radar: decibel × 100;
    elevation in metres, slope in degrees × 100, aspect in degrees × 10), nodata −32768.

    Dates are in the bands' descriptions, the scale in the file, so that QGIS shows true values.

    Examples:

        eo cube export season.toml --date 2026-05-15 --bands B04,B03,B02 --out may.tif

        eo cube export season.toml --index NDVI --smoothed --bbox 105.6,35.4,105.8,35.6 --out ndvi.tif
    """
    with told():
        if bool(day) == bool(feature):
            raise CubeError("Say what to export: either --date with a day of a dekad, or --index NAME.")
        if form not in ("cog", "gtiff"):
            raise CubeError(f"--format {form!r} is not accepted; give cog or gtiff.")
        if (smoothed and not feature) or (bands and not day):
            raise CubeError("--smoothed goes with --index, and --bands with --date.")
        if smoothed and filled:
            raise CubeError("--smoothed has no gaps to fill; give either --smoothed or --filled.")
        from eo_pipeline.cube.export import export_dekad, export_series
        from eo_pipeline.cube.terrain import GROUND
        from eo_pipeline.cube.view import PLAIN
        from eo_pipeline.storage import require_local

        require_local(out)
        views, made_up = views_of(cube, tile)
        view = _one(views)
        window = view.window(_box(bbox))
        tags = {"NOTE": "模拟数据 simulated data"} if made_up or simulated else {}
        kind: Any = form
        _check_filled(view, filled, feature)
        if day:
            chosen = tuple(name.strip() for name in bands.split(",") if name.strip())
            for name in chosen:
                view.require_feature(name)
                if name not in view.bands:
                    raise CubeError(f"{name} is no band; --bands takes some of {', '.join(view.bands)}.")
            export_dekad(
                view, view.step(_day(day)), out, bands=chosen, filled=filled, window=window, form=kind,
                tags=tags,
            )  # fmt: skip
        else:
            view.require_feature(feature)
            if smoothed and feature in (*PLAIN, *GROUND):
                raise CubeError(f"{feature} has no smoothed curve; leave --smoothed out.")
            export_series(
                view, feature, out, smoothed=smoothed, filled=filled, window=window, form=kind, tags=tags
            )
    typer.echo(f"{out}" + ("  模拟数据" if made_up or simulated else ""))


# ---- what the arguments mean ----------------------------------------------------------------------------
@contextmanager
def told() -> Iterator[None]:
    """Print an error a user can mend, and leave with 2."""
    try:
        yield
    except EOPipelineError as error:
        typer.secho(f"Error: {error}", fg="red", err=True)
        raise typer.Exit(2) from error


def _check_filled(view: CubeView, filled: bool, *features: str) -> None:
    """Refuse --filled where the cube, or one of the features, has nothing filled."""
    if not filled:
        return
    from eo_pipeline.cube.radar import CHANNELS
    from eo_pipeline.cube.terrain import GROUND
    from eo_pipeline.cube.view import PLAIN

    for name in features:
        if name in (*PLAIN, *CHANNELS, *GROUND):
            raise CubeError(f"{name} is never filled, only bands and their indices are; leave --filled out.")
    view.require_filled()


def views_of(cube: str, tile: str) -> tuple[list[CubeView], bool]:
    """The cubes at a path or s3:// URL, and whether they are known to be simulated."""
    from eo_pipeline.cube.view import CubeView
    from eo_pipeline.storage import Folder

    if "://" in cube:
        view = CubeView(Folder.of(cube))
        return [view], view.simulated
    path = Path(cube)
    if path.suffix == ".zarr" or (path / "zarr.json").is_file():
        view = CubeView(path)
        return [view], view.simulated or _simulated_beside(path)
    season = season_of(path)
    cubes = season.work / "cube"
    names = [name.removesuffix(".zarr") for name in cubes.folders() if name.endswith(".zarr")]
    if not names:
        raise CubeError(
            f"The season {season.id} has no cube yet (looked in {cubes}). `eo ingest {path}` makes "
            "it, and `eo run` does with all that follows."
        )
    if tile and tile not in names:
        raise CubeError(f"The season {season.id} has no tile {tile}; it has {', '.join(names)}.")
    views = [CubeView(cubes / f"{name}.zarr") for name in names if tile in ("", name)]
    return views, season.simulated or views[0].simulated


def season_of(path: Path) -> Season:
    from eo_pipeline.season import read_season

    if path.is_dir():
        raise CubeError(
            f"{path} is a folder, but no .zarr. Give a season file or the .zarr of a tile's cube."
        )
    return read_season(path)


def _simulated_beside(store: Path) -> bool:
    """Whether the run folder beside a run's work folder says that its data is simulated."""
    work = store.resolve().parent.parent
    try:
        document = json.loads((work.parent.parent / work.name / "run.json").read_bytes())
    except (OSError, ValueError):
        return False
    return bool(document.get("simulated"))


def _one(views: Sequence[CubeView]) -> CubeView:
    if len(views) > 1:
        raise CubeError(f"The season has the tiles {', '.join(v.name for v in views)}; name one with --tile.")
    return views[0]


def _at(views: Sequence[CubeView], lon: float, lat: float) -> tuple[CubeView, tuple[int, int]]:
    """The tile a point lies in, and its row and column; of several the first that saw it."""
    found, errors = [], []
    for view in views:
        try:
            found.append((view, view.pixel(lon, lat)))
        except CubeError as error:
            errors.append(error)
    if not found:
        raise errors[0]
    from eo_pipeline.grid import Block

    for view, (row, col) in found:
        if view.tile.read("clear_count", Block(view.name, row, col, 1, 1)).any():
            return view, (row, col)
    return found[0]


def numbers_of(text: str, count: int, option: str, form: str) -> list[float]:
    try:
        values = [float(part) for part in text.split(",")]
    except ValueError:
        values = []
    if len(values) != count:
        raise CubeError(f"{option} {text!r} must be {form}.")
    return values


def _box(text: str) -> list[float] | None:
    return numbers_of(text, 4, "--bbox", "WEST,SOUTH,EAST,NORTH in degrees") if text else None


def _day(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise CubeError(f"--date {text!r} is not a day; write it like 2026-05-15.") from None


def _normals(folder: Path, view: CubeView, feature: str, place: tuple[int, int]) -> Any:
    from eo_pipeline.cube.climatology import store_of
    from eo_pipeline.grid import Block

    store = store_of(folder, view.name, view.grid)
    with store.reading():
        return store.read(feature, Block(view.name, *place, 1, 1), [step.day for step in view.steps])


# ---- telling --------------------------------------------------------------------------------------------
def _info(view: CubeView) -> dict[str, Any]:
    facts = view.facts()
    return {
        "tile": view.name,
        "path": str(view.path),
        "crs": _crs_name(view.grid.crs),
        "pixel_m": abs(view.grid.transform[0]),
        "size": [view.grid.width, view.grid.height],
        "bounds_lonlat": [round(value, 5) for value in view.lonlat_bounds],
        "bands": list(view.bands),
        "arrays": list(view.arrays),
        "bytes": view.bytes,
        "terrain": view.terrain() if view.ground else None,
        "attributes": {
            name: value for name, value in view.attributes.items() if name not in ("steps", "crs")
        },
        "dekads": [
            {
                "start": fact.start.isoformat(),
                "end": fact.end.isoformat(),
                "clear": round(fact.clear, 4),
                "usable": round(fact.believed, 4),
                "age_days": fact.age,
                "state": fact.state,
                "reason": fact.reason,
            }
            | ({} if fact.filled is None else {"filled": round(fact.filled, 4)})
            | ({"radar": {name: round(share, 4) for name, share in fact.radar.items()}} if fact.radar else {})
            for fact in facts
        ],
    }


def _crs_name(wkt: str) -> str:
    from pyproj import CRS

    crs = CRS.from_user_input(wkt)
    code = crs.to_epsg()
    return f"EPSG:{code}" if code else str(crs.name)


def _print_info(document: Mapping[str, Any], *, simulated: bool) -> None:
    width, height = document["size"]
    title = f"Tile {document['tile']}" + ("  模拟数据 simulated data" if simulated else "")
    typer.echo(title)
    typer.echo(
        f"  {width} × {height} pixels of {document['pixel_m']:g} m, {document['crs']}, "
        f"{document['bytes'] / 1e6:.1f} MB at {document['path']}"
    )
    typer.echo(f"  bands {', '.join(document['bands'])}")
    typer.echo(f"  arrays {', '.join(document['arrays'])}")
    say_terrain(document["terrain"])
    rows = [
        (
            f"{fact['start']} – {fact['end']}",
            f"{fact['clear']:.0%}",
            f"{fact['usable']:.0%}",
            *([f"{fact['filled']:.0%}"] if "filled" in fact else []),
            "—" if fact["age_days"] is None else f"{fact['age_days']:.0f}",
            *(f"{share:.0%}" for share in fact.get("radar", {}).values()),
            fact["state"] + (f": {fact['reason']}" if fact["reason"] else ""),
        )
        for fact in document["dekads"]
    ]
    radar = [f"S1 {name}" for name in document["dekads"][0].get("radar", {})]
    filled = ["filled"] if "filled" in document["dekads"][0] else []
    print_table("", ("dekad 旬", "clear", "usable", *filled, "age, days", *radar, "state"), rows)


def cell(value: object) -> str:
    return "—" if value is None else f"{value:.3f}" if isinstance(value, float) else str(value)


def print_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title=title or None, title_justify="left")
    for number, column in enumerate(columns):
        table.add_column(column, justify="left" if number in (0, len(columns) - 1) else "right")
    for row in rows:
        table.add_row(*row)
    Console().print(table)
