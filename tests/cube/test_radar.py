"""Sentinel-1 composites: power is averaged, directions stay apart, other grids come to the tile's."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from pathlib import Path

import numpy as np
import pytest
import rasterio
from rasterio.transform import from_origin

from eo_pipeline.cube.radar import (
    BACKSCATTER,
    CHANNELS,
    COUNT,
    RadarPass,
    db_to_power,
    passes_by_step,
    power_to_db,
    radar_step,
    require_radar,
    speckle_db,
)
from eo_pipeline.cube.store import NODATA, Layout, TileStore
from eo_pipeline.errors import CubeError, SourceError
from eo_pipeline.grid import Grid, cut, dekads

GRID = Grid("EPSG:32648", (10.0, 0.0, 500_000.0, 0.0, -10.0, 4_000_000.0), 60, 45)
STEPS = dekads(date(2026, 5, 1), date(2026, 5, 20))


def write(path: Path, power: np.ndarray, *, pixel: float = 10, nodata: float | None = None) -> str:
    with rasterio.open(
        path, "w", driver="GTiff", width=power.shape[1], height=power.shape[0], count=1, dtype="float32",
        crs=GRID.crs, transform=from_origin(500_000, 4_000_000, pixel, pixel), nodata=nodata,
    ) as raster:  # fmt: skip
        raster.write(power.astype(np.float32), 1)
    return str(path)


def new_store(path: Path, block: int = 64) -> TileStore:
    layout = Layout("t", GRID, ("B04",), STEPS, block)
    tile = TileStore(path)
    tile.create(layout)
    require_radar(tile, layout)
    return tile


def compose(tile: TileStore, passes: list[RadarPass], *, block: int = 64, owned: object = None) -> list[dict]:
    return [
        radar_step(
            block=piece, grid=GRID, number=0, step=STEPS[0], passes=passes, owned=owned, store=tile.path
        )
        for piece in cut("t", GRID, size=block)
    ]


@pytest.fixture
def passes(tmp_path: Path) -> list[RadarPass]:
    """Three ascending days, the last of two slices that overlap, and one descending one without VH."""
    rng = np.random.default_rng(5)
    made = []
    for n, day in enumerate((1, 5, 9, 9)):
        power = rng.gamma(4.4, 0.05 / 4.4, (2, *GRID.shape))
        if n == 0:
            power[:, :10] = 0  # the scene's border
        if n == 1:
            power[:, :, :7] = np.nan
        if n == 2:
            power[:, 30:] = 0
        if n == 3:
            power[:, :20] = 0
        files = [write(tmp_path / f"{n}{name}.tif", power[k]) for k, name in enumerate(("vv", "vh"))]
        made.append(RadarPass("ascending", date(2026, 5, day), *files))
    power = np.full(GRID.shape, 0.02)
    power[40:] = -9999
    made.append(RadarPass("descending", date(2026, 5, 3), write(tmp_path / "d.tif", power, nodata=-9999), ""))
    return made


def by_hand(passes: list[RadarPass]) -> tuple[np.ndarray, np.ndarray]:
    """Mean power of ascending VV and passes a pixel, in double precision."""
    days: dict[date, list[np.ndarray]] = {}
    for item in passes:
        if item.direction == "ascending":
            with rasterio.open(item.vv) as raster:
                values = raster.read(1).astype(float)
            days.setdefault(item.date, []).append(np.where(values > 0, values, np.nan))
    with np.errstate(all="ignore"):
        daily = np.stack([np.nanmean(np.stack(items), axis=0) for items in days.values()])
        return np.nanmean(daily, axis=0), np.isfinite(daily).sum(axis=0)


@pytest.mark.filterwarnings("ignore:Mean of empty slice")
def test_power_is_averaged_by_pass_and_directions_stay_apart(tmp_path: Path, passes: list[RadarPass]) -> None:
    tile = new_store(tmp_path / "t.zarr")
    result = compose(tile, passes)[0]
    found, count = tile.read(BACKSCATTER)[0], tile.read(COUNT)[0]
    mean, days = by_hand(passes)
    np.testing.assert_array_equal(count[0], days)
    assert set(np.unique(days)) == {1, 2, 3}
    assert np.abs(found[0] - 1000 * np.log10(mean)).max() <= 0.51
    # the mean of decibels would lie lower: speckle of a few looks pulls it down by half a decibel
    assert (found[2][:40] == round(1000 * np.log10(0.02))).all()
    assert (found[2][40:] == NODATA).all() and (found[3] == NODATA).all()
    assert (count[1][:40] == 1).all() and not count[1][40:].any()
    assert result["passes"] == {"ascending": 3, "descending": 1}
    assert result["seen"] == {
        "VV_ASC": found[0].size, "VH_ASC": found[0].size, "VV_DESC": 40 * 60, "VH_DESC": 0
    }  # fmt: skip
    assert tuple(result["seen"]) == CHANNELS
    assert (tile.read(BACKSCATTER)[1] == NODATA).all()  # the other dekad is untouched


@pytest.mark.parametrize("block", [16, 23, 45])
def test_blocked_is_whole(tmp_path: Path, passes: list[RadarPass], block: int) -> None:
    whole, parts = new_store(tmp_path / "w.zarr"), new_store(tmp_path / "p.zarr", block)
    owned = (5, 8, 40, 55)
    compose(whole, passes, owned=owned)
    compose(parts, passes, block=block, owned=owned)
    for name in (BACKSCATTER, COUNT):
        np.testing.assert_array_equal(whole.read(name), parts.read(name))
    outside = np.ones(GRID.shape, dtype=bool)
    outside[5:40, 8:55] = False
    assert (whole.read(BACKSCATTER)[:, :, outside] == NODATA).all()
    assert not whole.read(COUNT)[:, :, outside].any()


def test_an_emptied_step_is_emptied(tmp_path: Path, passes: list[RadarPass]) -> None:
    tile = new_store(tmp_path / "t.zarr")
    compose(tile, passes)
    assert compose(tile, [])[0]["passes"] == {"ascending": 0, "descending": 0}
    assert (tile.read(BACKSCATTER) == NODATA).all() and not tile.read(COUNT).any()


def test_finer_pixels_are_averaged_in_power(tmp_path: Path) -> None:
    power = np.full((90, 120), 0.01)
    power[::2, ::2] = 0.09  # every cell of 2 × 2 has a mean of 0.03
    item = RadarPass("descending", date(2026, 5, 3), write(tmp_path / "fine.tif", power, pixel=5), "")
    tile = new_store(tmp_path / "t.zarr")
    compose(tile, [item])
    assert (tile.read(BACKSCATTER)[0, 2] == round(1000 * np.log10(0.03))).all()


def test_another_crs_is_warped_to_the_tile(tmp_path: Path) -> None:
    """A plane in longitude and latitude at about 10 m: a ramp in dB-free power comes out as that ramp."""
    from pyproj import Transformer

    change = Transformer.from_crs(32648, 4326, always_xy=True)
    west, north = change.transform(499_800, 4_000_200)
    size = 1e-4
    lon = west + size * (np.arange(120) + 0.5)
    power = np.broadcast_to(0.01 + (lon - west) * 10, (120, 120)).copy()
    power[60:] *= np.random.default_rng(1).gamma(4, 0.25, (60, 120))
    path = tmp_path / "geo.tif"
    with rasterio.open(
        path, "w", driver="GTiff", width=120, height=120, count=1, dtype="float32", crs="EPSG:4326",
        transform=from_origin(west, north, size, size), nodata=float("nan"),
    ) as raster:  # fmt: skip
        raster.write(power.astype(np.float32), 1)
    tile = new_store(tmp_path / "t.zarr")
    compose(tile, [RadarPass("ascending", date(2026, 5, 2), str(path), "")])
    x = 500_000 + 10 * (np.arange(60) + 0.5)
    truth = 0.01 + (change.transform(x, np.full(60, 3_999_775.0))[0] - west) * 10
    np.testing.assert_allclose(db_to_power(tile.read(BACKSCATTER)[0, 0, 22]), truth, rtol=3e-3)
    parts = new_store(tmp_path / "p.zarr", 17)
    compose(parts, [RadarPass("ascending", date(2026, 5, 2), str(path), "")], block=17)
    np.testing.assert_array_equal(parts.read(BACKSCATTER), tile.read(BACKSCATTER))


def test_decibels_and_speckle() -> None:
    power = np.array([1e-9, 0.01, 3.0], dtype=np.float32)
    assert power_to_db(power).tolist() == [-5000, -2000, 477]
    np.testing.assert_allclose(db_to_power(power_to_db(power))[1:], power[1:], rtol=2e-3)
    assert np.isnan(db_to_power(np.array([NODATA], dtype=np.int16))[0])
    rng = np.random.default_rng(0)
    for passes in (2, 6):
        means = rng.gamma(4.4, 1 / 4.4, (passes, 20_000)).mean(axis=0)
        expected = speckle_db(np.array([passes], dtype=np.uint8))[0]
        assert 10 * np.log10(means).std() == pytest.approx(expected, rel=0.12)
    assert np.isnan(speckle_db(np.zeros(1, dtype=np.uint8))[0])


def test_passes_go_to_their_steps(passes: list[RadarPass]) -> None:
    late = replace(passes[0], date=date(2026, 5, 11))
    outside = replace(passes[0], date=date(2026, 8, 1))
    found = passes_by_step([*passes, late, outside], STEPS)
    assert {n: len(items) for n, items in found.items()} == {0: 5, 1: 1}


def test_bad_input_is_refused(tmp_path: Path, passes: list[RadarPass]) -> None:
    tile = new_store(tmp_path / "t.zarr")
    with pytest.raises(CubeError, match="pass of 2026-06-01"):
        compose(tile, [replace(passes[0], date=date(2026, 6, 1))])
    with pytest.raises(CubeError, match="direction “sideways”"):
        compose(tile, [replace(passes[0], direction="sideways")])  # type: ignore[arg-type]
    with pytest.raises(SourceError, match=r"nowhere\.tif: cannot be read"):
        compose(tile, [replace(passes[0], vv=str(tmp_path / "nowhere.tif"))])
    bare = tmp_path / "bare.tif"
    with (
        pytest.warns(rasterio.errors.NotGeoreferencedWarning),
        rasterio.open(bare, "w", driver="GTiff", width=4, height=4, count=1, dtype="float32") as raster,
    ):
        raster.write(np.ones((4, 4), dtype=np.float32), 1)
    with pytest.raises(SourceError, match="does not say where on earth"):
        compose(tile, [replace(passes[0], vv=str(bare))])
    assert (tile.read(BACKSCATTER) == NODATA).all()
