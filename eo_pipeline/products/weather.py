"""Daily weather of stations or grid cells: read from CSV, NetCDF or Zarr, units checked, gaps told.

Temperatures become °C, rain mm a day. A unit that is declared is converted; one that is not is believed to be
°C or mm only where the numbers are those of the place and month. What was not measured stays NaN.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from eo_pipeline.errors import WeatherError

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr

Float = NDArray[np.float64]

VARIABLES: Final = ("tmin", "tmax", "rain")
#: What each variable is called in files.
_NAMES: Final[Mapping[str, tuple[str, ...]]] = {
    "tmin": ("tmin", "t2m_min", "mn2t", "tasmin", "2m_temperature_min", "temperature_2m_min"),
    "tmax": ("tmax", "t2m_max", "mx2t", "tasmax", "2m_temperature_max", "temperature_2m_max"),
    "rain": ("rain", "precip", "precipitation", "tp", "pr", "total_precipitation", "total_precipitation_sum"),
}
#: Air temperature at 2 m more often than once a day.
_HOURLY: Final = ("t2m", "2m_temperature", "temperature_2m", "tas")
_HEIGHTS: Final = ("elevation", "altitude", "orography", "height", "z")
#: Unit → (factor, addition) to °C or mm a day.
_TEMPERATURE: Final[Mapping[str, tuple[float, float]]] = {
    "c": (1, 0), "°c": (1, 0), "degc": (1, 0), "celsius": (1, 0), "degree_celsius": (1, 0),
    "degrees_celsius": (1, 0), "k": (1, -273.15), "kelvin": (1, -273.15), "f": (5 / 9, -160 / 9),
    "°f": (5 / 9, -160 / 9), "degf": (5 / 9, -160 / 9), "fahrenheit": (5 / 9, -160 / 9),
    "degree_fahrenheit": (5 / 9, -160 / 9), "degrees_fahrenheit": (5 / 9, -160 / 9),
}  # fmt: skip
_RAIN: Final[Mapping[str, tuple[float, float]]] = {
    "mm": (1, 0), "mm/day": (1, 0), "mm/d": (1, 0), "mm day-1": (1, 0), "mm d-1": (1, 0), "kg m-2": (1, 0),
    "kg m**-2": (1, 0), "m": (1000, 0), "m/day": (1000, 0), "cm": (10, 0), "in": (25.4, 0), "inch": (25.4, 0),
    "kg m-2 s-1": (86_400, 0), "kg m**-2 s**-1": (86_400, 0),
}  # fmt: skip
#: No month's mean lies farther from the rough guess of `_expected`, °C.
_FAR: Final = 25.0
_GRAVITY: Final = 9.80665


@dataclass(frozen=True, slots=True)
class Site:
    """A station, or the middle of a grid cell; `elevation_m` is NaN where the file does not tell it."""

    id: str
    lon: float
    lat: float
    elevation_m: float


@dataclass(frozen=True, slots=True)
class Gap:
    """Days of a site on which a variable was not measured: how many, and the longest row of them."""

    site: str
    variable: str
    days: int
    longest: int
    first: date


@dataclass(frozen=True, slots=True)
class Weather:
    """Daily values [site, day], NaN where not measured; None where the file has no such variable.

    `days` follow each other without a hole. `units` says how each variable was told and what was done.
    """

    source: str
    sites: tuple[Site, ...]
    days: NDArray[np.datetime64]
    tmin: Float | None
    tmax: Float | None
    rain: Float | None
    units: Mapping[str, str]

    def values(self, name: str) -> Float:
        """A variable that must be there.

        Raises
        ------
        WeatherError
            The file has no such variable.
        """
        found: Float | None = getattr(self, name)
        if found is None:
            raise WeatherError(
                f"{self.source} holds no {name}; accepted names are {', '.join(_NAMES[name])}. Add it."
            )
        return found

    @property
    def gaps(self) -> tuple[Gap, ...]:
        """Every site and variable with a day missing."""
        found = []
        for name in VARIABLES:
            values = getattr(self, name)
            if values is None:
                continue
            for site, row in zip(self.sites, values, strict=True):
                lost = ~np.isfinite(row)
                if lost.any():
                    first = self.days[np.argmax(lost)].astype("datetime64[D]").item()
                    found.append(Gap(site.id, name, int(lost.sum()), _longest(lost), first))
        return tuple(found)


def _longest(lost: NDArray[np.bool_]) -> int:
    edges = np.diff(np.concatenate([[0], lost.astype(np.int8), [0]]))
    return int((np.flatnonzero(edges == -1) - np.flatnonzero(edges == 1)).max())


def read_weather(path: Path, *, bbox: tuple[float, float, float, float] | None = None) -> Weather:
    """Read a weather file.

    Parameters
    ----------
    path
        `.csv` of stations (columns `station, lon, lat, elevation, date` and any of tmin, tmax, rain, each
        with its unit: `tmin_c`, `tmax (degF)`, `rain [mm]`), or NetCDF (`.nc`) or a Zarr folder with time,
        latitude and longitude (ERA5-Land, CHIRPS).
    bbox
        West, south, east, north in degrees: cells of a grid within it, and one around it.

    Raises
    ------
    WeatherError
        The file cannot be read, has an unknown unit, numbers that are not of their unit, a date twice, or
        nothing in `bbox`. Names the place and the cure.
    """
    if not path.exists():
        raise WeatherError(f"{path} does not exist. Give a CSV of stations, a NetCDF file or a Zarr folder.")
    if path.suffix.lower() in (".csv", ".txt"):
        found = _read_stations(path)
    elif path.suffix.lower() in (".nc", ".nc4", ".zarr") or path.is_dir():
        found = _read_grid(path, bbox)
    else:
        raise WeatherError(
            f"{path}: the ending {path.suffix or '(none)'} is not known; accepted are .csv, .nc and .zarr."
        )
    _check_numbers(found)
    return found


# ---- units --------------------------------------------------------------------------------------------
def _convert(values: Float, name: str, unit: str | None, where: str) -> tuple[Float, str]:
    """Values in °C or mm a day, and what was done."""
    known = _RAIN if name == "rain" else _TEMPERATURE
    target = "mm" if name == "rain" else "°C"
    if not unit:
        if name == "rain":
            raise WeatherError(
                f"{where}: {name} has no unit. Give it one, like rain_mm in a CSV or the attribute units in "
                f"a NetCDF file; accepted: {', '.join(known)}."
            )
        return values, f"{target}, not declared but plausible"
    found = known.get(unit.strip().lower().replace(" **", "**"))
    if found is None:
        raise WeatherError(
            f"{where}: the unit “{unit}” of {name} is not known; accepted: {', '.join(known)}."
        )
    factor, addition = found
    done = f"declared {unit}" + ("" if (factor, addition) == (1, 0) else f", converted to {target}")
    return values * factor + addition, done


def _expected(site: Site, month: int) -> float:
    """Mean temperature of a month, rough to 10 °C: by latitude, height and time of the year."""
    away = max(abs(site.lat) - 10, 0.0)
    height = 0.0 if math.isnan(site.elevation_m) else site.elevation_m
    wave = -math.cos(2 * math.pi * (month - 0.7) / 12) * (1 if site.lat >= 0 else -1)
    return 27 - 0.5 * away - 0.0055 * height + 0.37 * abs(site.lat) * wave


def _check_numbers(found: Weather) -> None:
    """Refuse numbers that are not of their unit."""
    months = found.days.astype("datetime64[M]").astype(int) % 12 + 1
    for name in ("tmin", "tmax"):
        values = getattr(found, name)
        if values is None:
            continue
        for site, row in zip(found.sites, values, strict=True):
            for month in np.unique(months):
                own = row[(months == month) & np.isfinite(row)]
                if own.size == 0:
                    continue
                mean, guess = float(own.mean()), _expected(site, int(month))
                if abs(mean - guess) > _FAR or own.min() < -65 or own.max() > 55:
                    raise WeatherError(
                        f"{found.source}, {site.id}: {name} has a mean of {mean:.1f} in month {month}, where "
                        f"about {guess:.0f} °C is usual ({found.units[name]}). {_guess_unit(mean, guess)} "
                        "Correct the unit in the file."
                    )
    if found.tmin is not None and found.tmax is not None:
        with np.errstate(invalid="ignore"):
            wrong = np.argwhere(found.tmin > found.tmax + 0.05)
        if wrong.size:
            number, day = (int(v) for v in wrong[0])
            raise WeatherError(
                f"{found.source}, {found.sites[number].id}: on {found.days[day]} tmin "
                f"({found.tmin[number, day]:.1f}) is above tmax ({found.tmax[number, day]:.1f}). Correct the "
                "row, or leave the day out."
            )
    if found.rain is not None:
        known = found.rain[np.isfinite(found.rain)]
        if known.size and (known.min() < -0.01 or known.max() > 2000):
            raise WeatherError(
                f"{found.source}: rain of {known.min():.4g} to {known.max():.4g} mm a day cannot be "
                f"({found.units['rain']}). Correct its unit, and mark what was not measured as missing."
            )


def _guess_unit(mean: float, guess: float) -> str:
    if abs(mean - 273.15 - guess) < _FAR:
        return "The numbers look like Kelvin."
    if abs((mean - 32) / 1.8 - guess) < _FAR:
        return "The numbers look like degrees Fahrenheit."
    return "They are of no unit that is known here, or of another place."


# ---- stations -----------------------------------------------------------------------------------------
def _read_stations(path: Path) -> Weather:
    import pandas as pd

    try:
        table = pd.read_csv(path, dtype=str, encoding="utf-8-sig")
    except (OSError, ValueError) as error:
        raise WeatherError(f"{path} cannot be read as CSV: {error}. Save it as UTF-8 text.") from error
    table.columns = [str(name).strip() for name in table.columns]
    columns = {name: _column(path, table, name) for name in ("station", "lon", "lat", "elevation", "date")}
    for name in ("station", "lon", "lat", "date"):
        if columns[name] is None:
            raise WeatherError(
                f"{path}: the column {name} is missing; it has {', '.join(map(str, table.columns))}. "
                "Accepted: station, lon, lat, elevation, date, tmin, tmax, rain."
            )
    if table.empty:
        raise WeatherError(f"{path} holds no row below its head.")
    days = pd.to_datetime(table[columns["date"]], format="ISO8601", errors="coerce")
    if days.isna().any():
        row = int(days.isna().to_numpy().argmax())
        raise WeatherError(
            f"{path}, row {row + 2}: the date {table[columns['date']].iloc[row]!r} is not like 2026-04-15."
        )
    table = table.assign(day=days.dt.normalize(), site=table[columns["station"]].astype(str))
    twice = table.duplicated(["site", "day"])
    if twice.any():
        row = int(twice.to_numpy().argmax())
        raise WeatherError(
            f"{path}, row {row + 2}: {table['site'].iloc[row]} has {table['day'].iloc[row]:%Y-%m-%d} twice. "
            "Keep one row a station and day."
        )
    all_days = table["day"].to_numpy().astype("datetime64[D]")
    order = np.arange(all_days.min(), all_days.max() + 1)
    names = list(dict.fromkeys(table["site"]))
    sites = tuple(_station(path, table[table["site"] == name], name, columns) for name in names)
    place = table["site"].map({name: number for number, name in enumerate(names)}).to_numpy()
    when = (all_days - order[0]).astype(int)
    values: dict[str, Float | None] = dict.fromkeys(VARIABLES)
    units = {}
    for name in VARIABLES:
        column = _column(path, table, name)
        if column is None:
            continue
        numbers, units[name] = _convert(_numbers(path, table, column), name, _unit_of(column), str(path))
        whole = np.full((len(names), len(order)), np.nan)
        whole[place, when] = numbers
        values[name] = whole
    if not units:
        raise WeatherError(f"{path} holds none of tmin, tmax and rain.")
    return Weather(str(path), sites, order, values["tmin"], values["tmax"], values["rain"], units)


def _column(path: Path, table: pd.DataFrame, name: str) -> str | None:
    """The column of a variable: its name, with or without a unit behind it."""
    accepted = _NAMES.get(name, (name,))
    found = [
        column
        for column in table.columns
        if column.lower() in accepted or re.split(r"[_ ]*[\[(]", column.lower())[0] in accepted
        or re.sub(r"_(c|f|k|mm|m|in|degc|degf)$", "", column.lower()) in accepted
    ]  # fmt: skip
    if len(found) > 1:
        raise WeatherError(f"{path} has {name} twice ({', '.join(found)}). Keep one of them.")
    return found[0] if found else None


def _unit_of(column: str) -> str | None:
    found = re.search(r"[\[(](.+)[\])]$", column) or re.search(r"_(c|f|k|mm|m|in|degc|degf)$", column.lower())
    return found[1] if found else None


def _numbers(path: Path, table: pd.DataFrame, column: str) -> Float:
    import pandas as pd

    text = table[column].fillna("").str.strip()
    numbers = pd.to_numeric(text, errors="coerce")
    wrong = (numbers.isna() & ~text.str.lower().isin(("", "nan", "na", "null", "-"))).to_numpy()
    if wrong.any():
        row = int(wrong.argmax())
        raise WeatherError(
            f"{path}, row {row + 2}: {column} = {text.iloc[row]!r} is no number. Leave the field empty where "
            "nothing was measured."
        )
    values: Float = numbers.to_numpy(dtype=np.float64, copy=True)
    # what weather services write for “not measured”
    values[np.isin(values, (-9999, -999, 999_999, 99_999, 32_766))] = np.nan
    return values


def _station(path: Path, rows: pd.DataFrame, name: str, columns: Mapping[str, str | None]) -> Site:
    found = []
    for key, low, high in (("lon", -180, 180), ("lat", -90, 90), ("elevation", -430, 9000)):
        column = columns[key]
        numbers = np.unique(_numbers(path, rows, column)) if column else np.array([np.nan])
        value = float(numbers[0])
        if len(numbers) > 1 or (not low <= value <= high and not (key == "elevation" and math.isnan(value))):
            raise WeatherError(
                f"{path}, {name}: {key} = {', '.join(f'{v:g}' for v in numbers[:3])}; a station has one, "
                f"between {low} and {high}."
            )
        found.append(value)
    return Site(name, *found)


# ---- grids --------------------------------------------------------------------------------------------
def _read_grid(path: Path, bbox: tuple[float, float, float, float] | None) -> Weather:
    import xarray as xr

    engine = "zarr"
    if path.is_file():
        with path.open("rb") as stream:
            engine = "scipy" if stream.read(3) == b"CDF" else "h5netcdf"  # the classic format, or NetCDF-4
    try:
        with xr.open_dataset(path, engine=engine) as data:
            return _of_grid(path, data, bbox)
    except (OSError, ValueError, KeyError, IndexError, TypeError) as error:
        form = "Zarr" if engine == "zarr" else "NetCDF"
        raise WeatherError(f"{path} cannot be read as {form}: {error}. Get the file again.") from error


def _axis(path: Path, data: xr.Dataset, names: Sequence[str]) -> str:
    for name in names:
        if name in data.coords:
            return name
    raise WeatherError(
        f"{path} has no coordinate {names[0]} (also accepted: {', '.join(names[1:])}); it has "
        f"{', '.join(map(str, data.coords))}."
    )


def _of_grid(path: Path, data: xr.Dataset, bbox: tuple[float, float, float, float] | None) -> Weather:
    time = _axis(path, data, ("time", "valid_time"))
    y = _axis(path, data, ("latitude", "lat", "y"))
    x = _axis(path, data, ("longitude", "lon", "x"))
    data = data.assign_coords({x: (data[x] + 180) % 360 - 180}).sortby(x)
    if bbox is not None:
        step_x = float(np.abs(np.diff(data[x])).max()) if data.sizes[x] > 1 else 1.0
        step_y = float(np.abs(np.diff(data[y])).max()) if data.sizes[y] > 1 else 1.0
        west, south, east, north = bbox
        data = data.isel(
            {
                x: np.flatnonzero((data[x] >= west - step_x) & (data[x] <= east + step_x)),
                y: np.flatnonzero((data[y] >= south - step_y) & (data[y] <= north + step_y)),
            }
        )
        if 0 in (data.sizes[x], data.sizes[y]):
            raise WeatherError(f"{path} has no cell in {west:g}, {south:g}, {east:g}, {north:g} (degrees).")
    if not np.issubdtype(data[time].dtype, np.datetime64):
        raise WeatherError(f"{path}: {time} is no calendar time ({data[time].dtype}); it needs units like "
                           "“days since 2000-01-01”.")  # fmt: skip
    stamps = data[time].to_numpy()
    if len(np.unique(stamps)) != len(stamps):
        raise WeatherError(f"{path} has a time twice. Keep each once.")
    data = data.sortby(time)
    lat, lon = (a.ravel() for a in np.meshgrid(data[y].to_numpy(), data[x].to_numpy(), indexing="ij"))
    heights = _heights(data, y, x)
    sites = tuple(
        Site(f"{a:.3f}N {o:.3f}E", float(o), float(a), float(h))
        for a, o, h in zip(lat, lon, heights, strict=True)
    )
    stamps = data[time].to_numpy().astype("datetime64[s]")
    daily = len(stamps) < 2 or np.median(np.diff(stamps)) >= np.timedelta64(1, "D")
    shift = np.timedelta64(0 if daily else round(float(np.mean(lon)) / 15), "h")
    day = (stamps + shift).astype("datetime64[D]")
    order = np.arange(day.min(), day.max() + 1)
    values: dict[str, Float | None] = dict.fromkeys(VARIABLES)
    units: dict[str, str] = {}
    for name in VARIABLES:
        source = next(
            (n for n in (*_NAMES[name], *(() if daily or name == "rain" else _HOURLY)) if n in data), None
        )
        if source is None:
            continue
        array = data[source].transpose(y, x, time, ...)
        numbers = array.to_numpy().reshape(len(sites), len(stamps)).astype(np.float64)
        numbers, units[name] = _convert(numbers, name, array.attrs.get("units"), f"{path}, {source}")
        if not daily and name == "rain":
            numbers, how = _since_last(numbers, stamps)
            units[name] += how
        values[name] = _by_day(numbers, day, order, name)
    if not units:
        raise WeatherError(
            f"{path} holds {', '.join(map(str, data.data_vars))}, none of which is known. Accepted: "
            + "; ".join(f"{name}: {', '.join(_NAMES[name])}" for name in VARIABLES) + "."
        )  # fmt: skip
    if not daily:  # the record begins and ends within a day
        whole = [np.isfinite(row).any(axis=0) for row in values.values() if row is not None]
        kept = np.flatnonzero(np.any(whole, axis=0))
        if kept.size == 0:
            raise WeatherError(f"{path} holds not one whole day.")
        inner = slice(kept[0], kept[-1] + 1)
        order = order[inner]
        values = {name: None if row is None else row[:, inner] for name, row in values.items()}
    return Weather(str(path), sites, order, values["tmin"], values["tmax"], values["rain"], units)


def _heights(data: xr.Dataset, y: str, x: str) -> Float:
    name = next((n for n in _HEIGHTS if n in data and {y, x} <= set(data[n].dims)), None)
    if name is None:
        return np.full(data.sizes[y] * data.sizes[x], np.nan)
    array = data[name]
    array = array.isel({dim: 0 for dim in array.dims if dim not in (y, x)}).transpose(y, x)
    values: Float = array.to_numpy().astype(np.float64).ravel()
    # ERA5 tells the geopotential, m² s⁻²
    return values / _GRAVITY if "-2" in str(array.attrs.get("units", "")) else values


def _since_last(numbers: Float, stamps: NDArray[np.datetime64]) -> tuple[Float, str]:
    """Rain of each step. ERA5-Land adds up from 00 UTC on: the value of 00 UTC is the whole day before."""
    hour = (stamps - stamps.astype("datetime64[D]")).astype("timedelta64[h]").astype(int)
    change = np.diff(numbers, axis=1)
    within = hour[1:] != 1  # at 01 UTC it begins anew
    with np.errstate(invalid="ignore"):
        falls = np.nanmean(change[:, within] < -1e-6) if within.any() else 1.0
    wet = np.nansum(numbers[:, 1:], axis=1).max(initial=0) > 0
    if falls > 0.001 or not wet:
        return numbers, ", added up by day"
    steps = np.concatenate(
        [np.full((len(numbers), 1), np.nan), np.where(within, change, numbers[:, 1:])], axis=1
    )
    if hour[0] == 1:
        steps[:, 0] = numbers[:, 0]
    return np.maximum(steps, 0), ", told as sums since 00 UTC and taken apart"


def _by_day(numbers: Float, day: NDArray[Any], order: NDArray[Any], name: str) -> Float:
    """Minimum, maximum or sum of each day; NaN where a step of it is missing."""
    out = np.full((len(numbers), len(order)), np.nan)
    found, start, count = np.unique(day, return_index=True, return_counts=True)
    whole = int(np.median(count))
    gather = {"tmin": np.minimum, "tmax": np.maximum, "rain": np.add}[name]
    sums = gather.reduceat(numbers, start, axis=1)
    sums[:, count < whole] = np.nan
    out[:, (found - order[0]).astype(int)] = sums
    return out
