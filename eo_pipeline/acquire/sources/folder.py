"""The folder source: any stack of rasters on disk, described by the season file.

Layout "bands": a raster is one date and its bands are spectral bands. Layout "dates": a raster is one band
(or index) and its bands are dates. All checks here need the rasters' headers only.
"""

from __future__ import annotations

import csv
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Any, Final

from eo_pipeline.acquire.sources.base import Asset, Scene, Tile
from eo_pipeline.errors import SourceError
from eo_pipeline.grid import Grid
from eo_pipeline.season import Season

#: The tile of a source whose pattern has no group `tile`.
ONLY_TILE: Final = "all"


@dataclass(frozen=True, slots=True)
class _Header:
    """What a raster says of itself without giving pixels."""

    path: Path
    crs: str
    crs_name: str
    grid: Grid
    count: int
    nodata: float | None


@dataclass(frozen=True, slots=True)
class _Found:
    """A raster whose name matched: its header and the groups of the pattern."""

    header: _Header
    groups: dict[str, str | None]

    @property
    def tile(self) -> str:
        return self.groups.get("tile") or ONLY_TILE


@dataclass(frozen=True, slots=True)
class FolderSource:
    """Rasters below `season.source.root` whose path full-matches the pattern."""

    season: Season

    def tiles(self) -> tuple[Tile, ...]:
        """See `SceneSource.tiles`."""
        found = list(self._find())
        by_tile: dict[str, list[_Found]] = defaultdict(list)
        for item in found:
            by_tile[item.tile].append(item)
        tiles = []
        for name in sorted(by_tile):
            _check_one_grid(name, [item.header for item in by_tile[name]])
            scenes = self._scenes(name, by_tile[name])
            tiles.append(
                Tile(name, by_tile[name][0].header.grid, tuple(sorted(scenes, key=lambda s: s.date)))
            )
        return self._in_season(tiles)

    def _find(self) -> Iterator[_Found]:
        root, spec = self.season.source.root, self.season.source
        if not root.is_dir():
            raise SourceError(f"{root} is not a folder. [source] root must name the folder of the rasters.")
        pattern = re.compile(spec.pattern)
        names = sorted(path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file())
        matches = [(name, match) for name in names if (match := pattern.fullmatch(name))]
        if not matches:
            example = f"For example {names[0]!r} does not match." if names else "The folder is empty."
            raise SourceError(
                f"No raster below {root} matches the pattern {spec.pattern!r}. {example} "
                "Correct [source] pattern: it must match the whole path below root."
            )
        for name, match in matches:
            groups = match.groupdict()
            # other bands of a band-per-file source, and other variables of a cube, are left alone
            if spec.bands and "band" in groups and groups["band"] not in spec.bands:
                continue
            if (tile := groups.get("tile")) and not re.fullmatch(r"[\w.-]+", tile):
                raise SourceError(
                    f"{root / name}: the pattern takes {tile!r} for the tile; use letters, digits, _ . -"
                )
            yield _Found(_header(root / name), groups)

    def _scenes(self, tile: str, found: Sequence[_Found]) -> list[Scene]:
        if self.season.source.layout == "dates":
            return self._scenes_of_cubes(tile, found)
        return self._scenes_of_dates(tile, found)

    def _scenes_of_dates(self, tile: str, found: Sequence[_Found]) -> list[Scene]:
        spec = self.season.source
        table = _file_dates(spec.dates_table, spec.date_format) if spec.dates_table else None
        assets: dict[date, dict[str, tuple[Asset, Path]]] = defaultdict(dict)
        for item in found:
            path = item.header.path
            if table is None:
                day = _parse_date(path, str(item.groups["date"]), spec.date_format)
            else:
                name = path.relative_to(spec.root).as_posix()
                if name not in table:
                    raise SourceError(
                        f"{spec.dates_table} has no row for {name}; add it, or move the file away."
                    )
                day = table[name]
            band = item.groups.get("band")
            wanted = {band: spec.bands[band]} if band else spec.bands
            for name, index in wanted.items():
                if index > item.header.count:
                    raise SourceError(
                        f"{path} has {item.header.count} band(s), but [source] bands says that {name} is "
                        "band "
                        f"{index}. Correct the number, or replace the file by a complete one."
                    )
                if name in assets[day]:
                    raise SourceError(
                        f"{path} and {assets[day][name][1]} both give {name} of tile {tile} on {day}. "
                        "Keep one of them, or let the pattern match one of them only."
                    )
                assets[day][name] = (self._asset(name, item.header, index), path)
        for day, bands in assets.items():
            if lost := [name for name in spec.bands if name not in bands]:
                raise SourceError(
                    f"{next(iter(bands.values()))[1]}: tile {tile} has no {lost[0]} on {day}. "
                    "Fetch the missing file, or move the others of that day away."
                )
        return [
            Scene(tile, day, tuple(bands[name][0] for name in spec.bands)) for day, bands in assets.items()
        ]

    def _scenes_of_cubes(self, tile: str, found: Sequence[_Found]) -> list[Scene]:
        spec = self.season.source
        dates = spec.dates or tuple(_table_column(spec.dates_table, spec.date_format))
        if len(set(dates)) != len(dates):
            raise SourceError(f"{spec.dates_table} lists a date twice; a cube's dates must differ.")
        by_band: dict[str, _Header] = {}
        for item in found:
            name, header = str(item.groups["band"]), item.header
            if header.count != len(dates):
                raise SourceError(
                    f"{header.path} has {header.count} band(s), but {len(dates)} dates are given in "
                    "[source] dates. "
                    "Give one date for each band, or replace the file by a complete one."
                )
            if name in by_band:
                raise SourceError(
                    f"{header.path} and {by_band[name].path} both give {name} of tile {tile}. Keep one of "
                    "them."
                )
            by_band[name] = header
        if lost := [rule.band for rule in spec.masks if rule.band not in by_band]:
            raise SourceError(f"{spec.root}: no raster gives the mask band {lost[0]} of tile {tile}.")
        return [
            Scene(tile, day, tuple(self._asset(name, by_band[name], number) for name in sorted(by_band)))
            for number, day in enumerate(dates, 1)
        ]

    def _asset(self, band: str, header: _Header, index: int) -> Asset:
        spec = self.season.source
        nodata = spec.nodata if spec.nodata is not None else header.nodata
        if band in spec.mask_bands:  # a mask holds codes, not measurements
            return Asset(band, str(header.path), index, 1.0, 0.0, None)
        return Asset(band, str(header.path), index, spec.scale, spec.offset, nodata)

    def _in_season(self, tiles: Sequence[Tile]) -> tuple[Tile, ...]:
        season, kept = self.season, []
        for tile in tiles:
            scenes = tuple(scene for scene in tile.scenes if season.start <= scene.date <= season.end)
            if scenes:
                kept.append(Tile(tile.name, tile.grid, scenes))
        if not kept:
            days = [scene.date for tile in tiles for scene in tile.scenes]
            raise SourceError(
                f"{season.source.root}: no raster lies in the season {season.start} to {season.end}; "
                f"those found are of {min(days)} to {max(days)}. Correct the dates of [season] or [source]."
            )
        bands = {tile.name: tuple(asset.band for asset in tile.scenes[0].assets) for tile in kept}
        if len(set(bands.values())) > 1:
            first, other = kept[0].name, next(n for n, b in bands.items() if b != bands[kept[0].name])
            raise SourceError(
                f"{season.source.root}: tile {other} has the bands {', '.join(bands[other])}, but tile "
                f"{first} has "
                f"{', '.join(bands[first])}. All tiles of a season need the same bands."
            )
        return tuple(kept)


def _header(path: Path) -> _Header:
    import rasterio
    from rasterio.errors import RasterioError

    try:
        with rasterio.Env(), rasterio.open(path) as raster:
            crs, transform = raster.crs, raster.transform
            if crs is None:
                raise SourceError(
                    f"{path} has no coordinate reference system. Give it one: gdal_edit.py -a_srs EPSG:… "
                    f"{path.name}"
                )
            name = f"EPSG:{code}" if (code := crs.to_epsg()) else crs.to_wkt()[:60] + "…"
            numbers: Any = tuple(transform)[:6]
            return _Header(
                path=path,
                crs=crs.to_wkt(),
                crs_name=name,
                grid=Grid(crs.to_wkt(), numbers, raster.width, raster.height),
                count=raster.count,
                nodata=raster.nodata,
            )
    except RasterioError as error:
        raise SourceError(
            f"{path} is not a raster that GDAL can read ({error}). Fetch it again or move it away."
        ) from error


def _check_one_grid(tile: str, headers: Sequence[_Header]) -> None:
    """All rasters of a tile on one grid; the odd one out is named, against the majority."""

    def of_grid(header: _Header) -> tuple[object, ...]:
        # a thousandth of a pixel is rounding of the writer, not another grid
        a, b, c, d, e, f = header.grid.transform
        place = (round(c / a, 3), round(f / e, 3)) if a and e else (c, f)
        return header.crs, header.grid.width, header.grid.height, round(a, 9), b, d, round(e, 9), place

    usual = Counter(map(of_grid, headers)).most_common(1)[0][0]
    good = next(header for header in headers if of_grid(header) == usual)
    for header in headers:
        if of_grid(header) == usual:
            continue
        if header.crs != good.crs:
            raise SourceError(
                f"{header.path} is in {header.crs_name}, but the other rasters of tile {tile} (like "
                f"{good.path.name}) "
                f"are in {good.crs_name}. Reproject it onto their grid: gdalwarp -t_srs {good.crs_name} …, "
                "or move it away."
            )
        if header.grid.shape != good.grid.shape:
            raise SourceError(
                f"{header.path} has {header.grid.width} × {header.grid.height} pixels, but the other "
                f"rasters of tile {tile} "
                f"(like {good.path.name}) have {good.grid.width} × {good.grid.height}. Cut it to their "
                "extent, or move it away."
            )
        raise SourceError(
            f"{header.path} lies at {header.grid.transform}, but the other rasters of tile {tile} (like "
            f"{good.path.name}) "
            f"lie at {good.grid.transform}. Bring it onto their grid: gdalwarp -te … -ts …, or move it away."
        )


def _parse_date(path: Path, text: str, date_format: str) -> date:
    try:
        return datetime.strptime(text, date_format).date()
    except ValueError as error:
        raise SourceError(
            f"{path}: {text!r} is not a date of the form {date_format!r}. Correct [source] date_format or "
            "pattern."
        ) from error


def _rows(table: Path, needed: tuple[str, ...]) -> Iterator[dict[str, str]]:
    with table.open(encoding="utf-8-sig", newline="") as stream:
        reader = csv.DictReader(stream)
        if lost := [name for name in needed if name not in (reader.fieldnames or ())]:
            raise SourceError(
                f"{table} has no column “{lost[0]}”; its first line must name {', '.join(needed)}."
            )
        yield from reader


def _table_column(table: Path | None, date_format: str) -> list[date]:
    assert table is not None  # season.py lets no cube through without dates or a table
    return [_parse_date(table, row["date"].strip(), date_format) for row in _rows(table, ("date",))]


def _file_dates(table: Path, date_format: str) -> dict[str, date]:
    return {
        row["file"].strip(): _parse_date(table, row["date"].strip(), date_format)
        for row in _rows(table, ("file", "date"))
    }
