"""Weather files: units converted or refused, gaps told, and what is made of daily values."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from scipy import stats

from eo_pipeline.errors import WeatherError
from eo_pipeline.products.climate import degree_days, monthly_totals, night_minimum, spi
from eo_pipeline.products.weather import Site, read_weather
from tests.command import eo, good, refused

PINGLIANG = {"lon": 106.67, "lat": 35.55, "elevation": 1348}


def daily(start: str, end: str, seed: int = 0) -> pd.DataFrame:
    """Weather like that of the city of Pingliang: °C and mm."""
    days = pd.date_range(start, end)
    rng = np.random.default_rng(seed)
    mean = 8.5 - 13 * np.cos(2 * np.pi * (days.dayofyear - 20) / 365) + rng.normal(0, 3, len(days))
    wet = rng.random(len(days)) < 0.25
    rain = np.where(wet, rng.gamma(0.8, 6, len(days)), 0)
    return pd.DataFrame({"date": days.strftime("%Y-%m-%d"), "tmin": mean - 6, "tmax": mean + 6, "rain": rain})


def station(path: Path, table: pd.DataFrame, **names: str) -> Path:
    table.assign(station="53915", **PINGLIANG).rename(columns=names).to_csv(path, index=False)
    return path


def test_units_are_converted_or_refused(tmp_path: Path) -> None:
    true = daily("2026-01-01", "2026-12-31")
    plain = read_weather(station(tmp_path / "c.csv", true, rain="rain_mm"))
    np.testing.assert_allclose(plain.values("tmin")[0], true["tmin"])
    assert plain.units["tmin"] == "°C, not declared but plausible"
    assert plain.sites == (Site("53915", 106.67, 35.55, 1348.0),)
    # declared: converted
    hot = true.assign(tmin=true["tmin"] * 1.8 + 32, tmax=true["tmax"] + 273.15, rain=true["rain"] / 1000)
    turned = read_weather(
        station(tmp_path / "f.csv", hot, tmin="Tmin (degF)", tmax="tmax_k", rain="rain [m]")
    )
    for name in ("tmin", "tmax", "rain"):
        np.testing.assert_allclose(turned.values(name)[0], true[name], atol=1e-9)
    assert turned.units["tmin"] == "declared degF, converted to °C"
    # not declared, or declared wrongly: refused in any season
    for months in (("2026-01-01", "2026-02-28"), ("2026-04-01", "2026-04-30"), ("2026-07-01", "2026-08-31")):
        part = daily(*months)
        fahrenheit = part.assign(tmin=part["tmin"] * 1.8 + 32, tmax=part["tmax"] * 1.8 + 32)
        for names in ({}, {"tmin": "tmin_c", "tmax": "tmax_c"}):
            path = station(tmp_path / "w.csv", fahrenheit.drop(columns="rain"), **names)
            assert "look like degrees Fahrenheit" in refused("weather", path)
    kelvin = true.assign(tmin=true["tmin"] + 273.15).drop(columns=["rain", "tmax"])
    assert "look like Kelvin" in refused("weather", station(tmp_path / "k.csv", kelvin))
    assert "rain has no unit" in refused("weather", station(tmp_path / "r.csv", true))
    assert "unit “furlong” of rain is not known" in refused(
        "weather", station(tmp_path / "u.csv", true, rain="rain (furlong)")
    )


def test_what_else_is_refused(tmp_path: Path) -> None:
    table = daily("2026-04-01", "2026-04-30").drop(columns="rain")
    path = tmp_path / "w.csv"
    assert "does not exist" in refused("weather", path)
    assert "has 2026-04-30 twice" in refused("weather", station(path, pd.concat([table, table[-1:]])))
    text = table.astype(object)
    text.loc[4, "tmin"] = "cold"
    assert "row 6: tmin = 'cold' is no number" in refused("weather", station(path, text))
    text.loc[4, "tmin"], text.loc[7, "date"] = 3, "April"
    assert "row 9: the date 'April'" in refused("weather", station(path, text))
    swapped = table.rename(columns={"tmin": "tmax", "tmax": "tmin"})
    assert "is above tmax" in refused("weather", station(path, swapped))
    assert "the column date is missing" in refused("weather", station(path, table, date="when"))
    assert "none of tmin, tmax and rain" in refused("weather", station(path, table, tmin="a", tmax="b"))
    broken = tmp_path / "w.nc"
    broken.write_bytes(b"CDF?")
    assert "cannot be read as NetCDF" in refused("weather", broken)
    sheet = tmp_path / "w.xls"
    sheet.write_text("")
    assert "the ending .xls is not known" in refused("weather", sheet)


def test_gaps_are_told_and_nothing_is_filled(tmp_path: Path) -> None:
    table = daily("1996-01-01", "2026-06-30").astype({"rain": object})
    lost = table["date"].between("2026-05-03", "2026-05-09")
    table.loc[table["date"] == "2026-04-11", "rain"] = -9999
    path = station(tmp_path / "w.csv", table[~lost], rain="rain_mm")
    facts = json.loads(good("weather", path, "--json"))
    gaps = {gap["variable"]: gap for gap in facts["gaps"]}
    assert gaps["tmin"] | {"days": 7, "longest": 7, "first": "2026-05-03"} == gaps["tmin"]
    assert gaps["rain"] | {"days": 8, "longest": 7, "first": "2026-04-11"} == gaps["rain"]
    index = {row["month"]: row for row in facts["spi"]}
    assert index["2026-05"]["spi_1"] is None and index["2026-04"]["spi_1"] is None
    assert index["2026-06"]["spi_1"] is not None and index["2026-06"]["spi_3"] is None
    assert index["2026-03"]["spi_3"] is not None
    code, out, err = eo("weather", path)
    assert code == 0 and "rain lacks 8 days, 7 in a row" in err and "unknown" in out
    short = station(tmp_path / "short.csv", daily("2020-01-01", "2026-06-30"), rain="rain_mm")
    assert any("needs 20 years" in note for note in json.loads(good("weather", short, "--json"))["notes"])


def test_grids_of_era5_land_and_chirps(tmp_path: Path) -> None:
    # ERA5-Land by hours: Kelvin, metres summed up since 00 UTC, geopotential
    hours = pd.date_range("2026-04-10T00", "2026-04-20T00", freq="h")
    shape = (len(hours), 2, 3)
    wave = 280 + 6 * np.cos(2 * np.pi * (hours.hour.to_numpy() - 7) / 24)  # warmest at 15 h local time
    fallen = np.random.default_rng(3).gamma(0.3, 0.0004, shape)
    fallen[0] = 0
    begun = np.zeros(shape)
    total = np.zeros(shape[1:])
    for number, hour in enumerate(hours.hour):
        total = fallen[number] if hour == 1 else total + fallen[number]
        begun[number] = total
    dims, warmth = ("valid_time", "latitude", "longitude"), np.broadcast_to(wave[:, None, None], shape)
    data = xr.Dataset(
        {
            "t2m": (dims, warmth, {"units": "K"}),
            "tp": (dims, begun, {"units": "m"}),
            "z": (("latitude", "longitude"), np.full(shape[1:], 1300 * 9.80665), {"units": "m**2 s**-2"}),
        },
        coords={"valid_time": hours, "latitude": [35.6, 35.5], "longitude": [106.5, 106.6, 106.7]},
    )  # fmt: skip
    data.to_netcdf(tmp_path / "era5.nc", engine="h5netcdf")
    data.to_netcdf(tmp_path / "classic.nc", engine="scipy")
    found = read_weather(tmp_path / "era5.nc")
    np.testing.assert_allclose(
        read_weather(tmp_path / "classic.nc").values("rain"), found.values("rain"), atol=1e-6
    )
    assert len(found.sites) == 6 and found.sites[0].elevation_m == pytest.approx(1300)
    assert str(found.days[0]) == "2026-04-11" and str(found.days[-1]) == "2026-04-19"
    np.testing.assert_allclose(found.values("tmin"), 280 - 6 - 273.15, atol=1e-6)
    np.testing.assert_allclose(found.values("tmax"), 280 + 6 - 273.15, atol=1e-6)
    assert "taken apart" in found.units["rain"]
    local = (hours + pd.Timedelta(hours=7)).strftime("%Y-%m-%d") == "2026-04-12"
    np.testing.assert_allclose(
        found.values("rain")[:, 1], 1000 * fallen[local].sum(axis=0).ravel(), rtol=1e-6
    )
    # CHIRPS by days in Zarr, and a box of it
    days = pd.date_range("2026-04-01", "2026-04-30")
    rain = np.random.default_rng(4).gamma(0.5, 4, (30, 20, 20)).astype(np.float32)
    chirps = xr.Dataset(
        {"precip": (("time", "latitude", "longitude"), rain, {"units": "mm/day"})},
        coords={"time": days, "latitude": 34 + 0.1 * np.arange(20), "longitude": 106 + 0.1 * np.arange(20)},
    )
    chirps.to_zarr(tmp_path / "chirps.zarr", zarr_format=3)
    found = read_weather(tmp_path / "chirps.zarr", bbox=(106.51, 34.51, 106.69, 34.69))
    assert len(found.sites) in (9, 16) and found.tmin is None
    facts = json.loads(
        good("weather", tmp_path / "chirps.zarr", "--bbox", "106.51,34.51,106.69,34.69", "--json")
    )
    assert facts["gaps"] == [] and facts["from"] == "2026-04-01"
    assert "no cell in 120" in refused("weather", tmp_path / "chirps.zarr", "--bbox", "120,30,121,31")
    chirps["precip"].attrs["units"] = "mm/month"
    chirps.to_zarr(tmp_path / "month.zarr", zarr_format=3)
    assert "unit “mm/month” of rain is not known" in refused("weather", tmp_path / "month.zarr")


def test_spi_is_standard_normal_and_agrees_with_maximum_likelihood() -> None:
    months = np.arange("1981-01", "2021-01", dtype="datetime64[M]")
    rng = np.random.default_rng(6)
    totals = rng.gamma(2.0, 20, (20, len(months)))
    totals[:, months.astype(int) % 12 == 0] *= rng.random((20, 40)) > 0.3  # dry Januaries
    for scale in (1, 3):
        index = spi(months, totals, scale=scale)
        assert np.isnan(index[:, : scale - 1]).all()
        known = index[:, 12:]
        assert abs(known.mean()) < 0.05 and known.std() == pytest.approx(1, abs=0.05)
    july = totals[0, 6::12]
    shape, _, width = stats.gamma.fit(july, floc=0)
    expected = stats.norm.ppf(stats.gamma.cdf(july, shape, scale=width))
    np.testing.assert_allclose(spi(months, totals[:1], scale=1)[0, 6::12], expected, atol=0.05)
    january = totals[0, ::12]
    dry = float((january == 0).mean())
    assert spi(months, totals[:1], scale=1)[0, ::12][january == 0] == pytest.approx(stats.norm.ppf(dry))
    found, sums = monthly_totals(
        np.arange("2026-01-01", "2026-03-31", dtype="datetime64[D]"), np.ones((1, 89))
    )
    assert [str(month) for month in found] == ["2026-01", "2026-02", "2026-03"]
    assert sums[0, :2].tolist() == [31, 28] and np.isnan(sums[0, 2])


def test_heat_sums_bridge_short_holes_only() -> None:
    tmin, tmax = np.full((2, 12), 8.0), np.full((2, 12), 18.0)
    tmin[0, 3:5] = np.nan
    tmax[1, 3:8] = np.nan
    sums, bridged = degree_days(tmin, tmax, base=10)
    assert bridged.tolist() == [2, 0]
    assert sums[0].tolist() == list(range(3, 37, 3))
    assert sums[1, 2] == 9 and np.isnan(sums[1, 3:]).all()


def test_minimum_of_a_night_follows_the_ground() -> None:
    rng = np.random.default_rng(8)
    sites = [
        Site(str(n), 106 + 0.2 * rng.random(), 35.4 + 0.2 * rng.random(), float(rng.uniform(1200, 2000)))
        for n in range(12)
    ]
    truth = np.array([12 - 9.0 * site.elevation_m / 1000 for site in sites])
    lon, lat = np.meshgrid(np.linspace(106, 106.2, 20), np.linspace(35.4, 35.6, 20))
    ground = rng.uniform(1200, 2000, lon.shape)
    found = night_minimum(sites, truth + rng.normal(0, 0.3, 12), lon=lon, lat=lat, elevation=ground)
    assert found.fitted and found.lapse == pytest.approx(-9, abs=1)
    assert found.stations == 12 and 0.1 < found.error < 0.8
    assert np.sqrt(np.mean((found.tmin - (12 - 9.0 * ground / 1000)) ** 2)) < 0.5
    # few stations: the table's lapse rate and error
    one = night_minimum(
        sites[:1], truth[:1], lon=lon, lat=lat, elevation=np.full(lon.shape, sites[0].elevation_m)
    )
    np.testing.assert_allclose(one.tmin, truth[0], atol=1e-5)
    assert (one.lapse, one.error, one.fitted) == (-6.5, 1.5, False)
    with pytest.raises(WeatherError, match="No station measured"):
        night_minimum(sites, np.full(12, np.nan), lon=lon, lat=lat, elevation=ground)
    with pytest.raises(WeatherError, match="does not tell its height"):
        night_minimum([Site("x", 106, 35, np.nan)], np.zeros(1), lon=lon, lat=lat, elevation=ground)
