"""The climatology: what is usual in a dekad, whatever the seasons' order, blocks and accidents."""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pytest
import rasterio
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from eo_pipeline.cube.climatology import (
    DEKADS,
    STATISTICS,
    Climatology,
    add_season_block,
    by_dekad,
    dekad_of_year,
    statistics_of,
)
from eo_pipeline.cube.past_seasons import CubeSeason, RasterSeason
from eo_pipeline.cube.store import NODATA, Layout, TileStore, decode
from eo_pipeline.errors import CubeError
from eo_pipeline.grid import Block, Grid, cut, dekads

GRID = Grid("EPSG:32648", (10.0, 0.0, 500_000.0, 0.0, -10.0, 4_000_000.0), 37, 29)
WHOLE = Block("t", 0, 0, 29, 37)


@dataclass(frozen=True)
class Known:
    """A season whose values are known: an array [step, y, x] an index."""

    label: str
    dates: tuple[date, ...]
    values: dict[str, np.ndarray] = field(hash=False)
    grid: Grid = GRID

    def read(self, index: str, block: Block) -> np.ndarray:
        rows, cols = block.slices
        return self.values[index][:, rows, cols].copy()


def season(year: int, *, start: tuple[int, int] = (3, 1), end: tuple[int, int] = (9, 30)) -> Known:
    """A season with a random value, or a cloud, a pixel and dekad."""
    rng = np.random.default_rng(year)
    dates = tuple(step.day for step in dekads(date(year, *start), date(year, *end)))
    values = rng.integers(-2000, 9000, (len(dates), *GRID.shape)).astype(np.int16)
    values[rng.random(values.shape) < 0.4] = NODATA
    return Known(str(year), dates, {"NDVI": values})


def make(path: Path, seasons: Sequence[Known], *, block: int = 16) -> Climatology:
    made = Climatology(path)
    made.create("t", GRID, ["NDVI"], block=block)
    for item in seasons:
        made.add(item)
    return made


def arrays_of(made: Climatology) -> dict[str, np.ndarray]:
    return {name: TileStore(made.path).read(f"NDVI_{name}") for name in (*STATISTICS, "count")}


def assert_same(one: Climatology, other: Climatology) -> None:
    for name, values in arrays_of(one).items():
        np.testing.assert_array_equal(values, arrays_of(other)[name], err_msg=name)


SEASONS = [season(year) for year in (2021, 2022, 2023, 2024, 2025)]


@settings(deadline=None, max_examples=40)
@given(
    arrays(
        np.int16,
        st.tuples(st.integers(1, 9), st.integers(1, 6)),
        elements=st.one_of(st.just(NODATA), st.integers(-3000, 9000)),
    )
)
def test_statistics_are_numpys(values: np.ndarray) -> None:
    floats = np.where(values == NODATA, np.nan, values.astype(float))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = [np.rint(np.nanquantile(floats, q, axis=0)) for q in (0.5, 0.25, 0.75, 0, 1)]
    found = statistics_of(values)
    for got, want in zip(found[:5], expected, strict=True):
        np.testing.assert_array_equal(got, np.where(np.isnan(want), NODATA, want))
    np.testing.assert_array_equal(found[5], np.isfinite(floats).sum(axis=0))


def test_dekads_are_counted_alike_in_leap_years() -> None:
    for year in (2023, 2024):
        days = [date(year, 1, 1) + timedelta(days=n) for n in range(366 if year == 2024 else 365)]
        counted = [dekad_of_year(day) for day in days]
        assert sorted(set(counted)) == list(range(DEKADS)) and counted == sorted(counted)
        assert [step.start for step in dekads(days[0], days[-1])] == [
            days[counted.index(dekad)] for dekad in range(DEKADS)
        ]


def test_it_holds_the_seasons_that_were_seen(tmp_path: Path) -> None:
    made = make(tmp_path / "c.zarr", SEASONS)
    days = [date(2026, 5, 5), date(2026, 5, 28), date(2026, 12, 25)]
    found = made.read("NDVI", WHOLE, days)
    for number, day in enumerate(days[:2]):
        at = [
            s.values["NDVI"][[dekad_of_year(d) for d in s.dates].index(dekad_of_year(day))] for s in SEASONS
        ]
        stack = np.stack([decode(a) for a in at])
        np.testing.assert_array_equal(found.count[number], np.isfinite(stack).sum(axis=0))
        with np.errstate(all="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            np.testing.assert_allclose(found.median[number], np.nanmedian(stack, axis=0), atol=6e-5)
            np.testing.assert_allclose(found.low[number], np.nanmin(stack, axis=0), atol=6e-5)
            np.testing.assert_allclose(found.high[number], np.nanmax(stack, axis=0), atol=6e-5)
            np.testing.assert_allclose(found.p75[number], np.nanquantile(stack, 0.75, axis=0), atol=6e-5)
    assert np.isnan(found.median[2]).all() and not found.count[2].any()  # no season reaches December
    assert [entry.label for entry in made.seasons] == ["2021", "2022", "2023", "2024", "2025"]
    part = made.read("NDVI", Block("t", 3, 5, 7, 9), days)
    np.testing.assert_array_equal(part.median, found.median[:, 3:10, 5:14])


@pytest.mark.parametrize("block", [64, 11])
def test_blocks_and_order_do_not_matter(tmp_path: Path, block: int) -> None:
    assert_same(make(tmp_path / "a.zarr", SEASONS), make(tmp_path / "b.zarr", SEASONS[::-1], block=block))


def test_of_a_season_from_autumn_to_autumn_the_last_year_counts(tmp_path: Path) -> None:
    def cut_to(known: Known, first: date) -> Known:
        keep = [number for number, day in enumerate(known.dates) if day >= first]
        values = {"NDVI": known.values["NDVI"][keep]}
        return replace(known, dates=tuple(known.dates[n] for n in keep), values=values)

    seasons = []
    for year in (2024, 2025):
        rng = np.random.default_rng(year)
        days = tuple(step.day for step in dekads(date(year - 1, 9, 1), date(year, 10, 31)))
        values = rng.integers(-2000, 9000, (len(days), *GRID.shape)).astype(np.int16)
        seasons.append(Known(f"harvest-{year}", days, {"NDVI": values}))
    made = make(tmp_path / "c.zarr", seasons)
    assert [(entry.start, entry.end) for entry in made.seasons] == [
        ("2023-11-05", "2024-10-26"),
        ("2024-11-05", "2025-10-26"),
    ]
    assert_same(
        made, make(tmp_path / "d.zarr", [cut_to(s, date(s.dates[-1].year - 1, 11, 1)) for s in seasons])
    )
    assert (arrays_of(made)["count"] == 2).all()


def test_a_season_touches_only_its_dekads(tmp_path: Path) -> None:
    made = make(tmp_path / "c.zarr", SEASONS[:2])
    before = arrays_of(made)
    made.add(season(2023, start=(5, 1), end=(5, 31)))
    for name, values in arrays_of(made).items():
        changed = {int(d) for d in np.flatnonzero((values != before[name]).any(axis=(1, 2)))}
        assert changed == {12, 13, 14}, name


def test_a_season_given_again_takes_the_others_place(tmp_path: Path) -> None:
    made = make(tmp_path / "c.zarr", [*SEASONS[:2], season(2023)])
    shorter = season(2023, start=(4, 1), end=(6, 30))
    made.add(shorter)
    assert_same(made, make(tmp_path / "d.zarr", [*SEASONS[:2], shorter]))
    assert len(made.seasons) == 3


def test_what_is_killed_says_so_and_ends_with_the_same_bytes(tmp_path: Path) -> None:
    """Stopped after each number of blocks, then given again."""
    expected = make(tmp_path / "whole.zarr", SEASONS[:3])

    class Killed(BaseException):
        pass

    start = make(tmp_path / "start.zarr", SEASONS[:2])
    for done in range(len(start.blocks) + 1):
        shutil.copytree(start.path, tmp_path / f"{done}.zarr")
        made = Climatology(tmp_path / f"{done}.zarr")

        def dies(function: object, jobs: Sequence[dict], done: int = done) -> Iterator[dict]:
            for job in jobs[:done]:
                yield add_season_block(**job)
            raise Killed

        with pytest.raises(Killed):
            made.add(SEASONS[2], run=dies)
        fresh = Climatology(made.path)
        with pytest.raises(CubeError, match="a season is being added"), fresh.reading():
            pass
        assert [entry.label for entry in fresh.seasons] == ["2021", "2022"]
        fresh.add(SEASONS[2])
        with fresh.reading():
            assert_same(fresh, expected)


def test_a_killed_replacement_leaves_no_mixture(tmp_path: Path) -> None:
    made = make(tmp_path / "c.zarr", SEASONS[:3])
    other = replace(season(2030), label="2023", dates=SEASONS[2].dates)

    def dies(function: object, jobs: Sequence[dict]) -> Iterator[dict]:
        yield add_season_block(**jobs[0])
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        made.add(other, run=dies)
    # another season comes first: the half-written one must not count
    fresh = Climatology(made.path)
    fresh.add(SEASONS[3])
    assert_same(fresh, make(tmp_path / "d.zarr", [*SEASONS[:2], SEASONS[3]]))


def test_two_at_once_are_refused(tmp_path: Path) -> None:
    made = make(tmp_path / "c.zarr", SEASONS[:1])

    def meanwhile(function: object, jobs: Sequence[dict]) -> Iterator[dict]:
        with pytest.raises(CubeError, match="another process is adding a season"):
            Climatology(made.path).add(SEASONS[2])
        return (add_season_block(**job) for job in jobs)

    made.add(SEASONS[1], run=meanwhile)
    assert_same(made, make(tmp_path / "d.zarr", SEASONS[:2]))


def test_a_reader_notices_an_update(tmp_path: Path) -> None:
    made = make(tmp_path / "c.zarr", SEASONS[:1])
    with pytest.raises(CubeError, match="was updated while it was read"), made.reading():
        Climatology(made.path).add(SEASONS[1])


def test_bad_seasons_are_refused(tmp_path: Path) -> None:
    made = make(tmp_path / "c.zarr", SEASONS[:2])
    before = arrays_of(made)
    with pytest.raises(CubeError, match="both hold dekad 7 of 2022"):
        made.add(replace(season(2022), label="spring"))
    with pytest.raises(CubeError, match="another grid"):
        made.add(replace(SEASONS[2], grid=replace(GRID, width=38)))
    with pytest.raises(CubeError, match="label"):
        made.add(replace(SEASONS[2], label="../x"))
    with pytest.raises(CubeError, match="holds NDVI, not EVI"):
        made.read("EVI", WHOLE, [date(2026, 5, 1)])
    with pytest.raises(CubeError, match="there already"):
        made.create("t", GRID, ["NDVI"])
    with pytest.raises(CubeError, match="no climatology"):
        Climatology(tmp_path / "nothing.zarr").require_whole()
    made.require_whole()
    for name, values in arrays_of(made).items():
        np.testing.assert_array_equal(values, before[name])


def test_several_dates_of_a_dekad_give_their_median() -> None:
    days = [date(2025, 5, 2), date(2025, 5, 4), date(2025, 5, 9), date(2025, 5, 12)]
    numbers = np.array([10, 40, 20, 7], dtype=np.int16)[:, None, None]
    found = by_dekad(numbers, days)[:, 0, 0]
    assert found[12] == 20 and found[13] == 7 and (found != NODATA).sum() == 2


def test_seasons_of_cubes_leave_out_what_was_cloudy_or_not_believed(tmp_path: Path) -> None:
    steps = dekads(date(2024, 5, 1), date(2024, 5, 31))
    layout = Layout("t", GRID, ("B04", "B08"), steps, 64)
    tile = TileStore(tmp_path / "2024.zarr")
    tile.create(layout)
    red = np.full((3, 29, 37), 500, dtype=np.int16)
    near = np.broadcast_to(np.array([1500, 2000, 3000], dtype=np.int16)[:, None, None], red.shape)
    for n in range(3):
        tile.write("reflectance", WHOLE, np.stack([red[n], near[n]]), step=n)
    usable = np.ones((3, 29, 37), dtype=np.uint8)
    usable[1, :10] = 0
    tile.write("usable", WHOLE, usable)
    made = make(tmp_path / "c.zarr", [])
    made.add(CubeSeason("2024", tile.path, kept=(True, True, False)))
    found = made.read("NDVI", WHOLE, [step.day for step in steps])
    np.testing.assert_allclose(found.median[0], 0.5, atol=1e-4)
    assert np.isnan(found.median[1, :10]).all() and np.allclose(found.median[1, 10:], 0.6, atol=1e-4)
    assert not found.count[2].any()  # the step's verdict was no
    with pytest.raises(CubeError, match="cannot give EVI: EVI needs B02"):
        CubeSeason("2024", tile.path).read("EVI", WHOLE)


def test_seasons_of_run_folders(tmp_path: Path) -> None:
    known = season(2024, start=(5, 1), end=(6, 30))
    path = tmp_path / "ndvi.tif"
    with rasterio.open(
        path, "w", driver="GTiff", width=37, height=29, count=len(known.dates), dtype="int16", nodata=NODATA,
        crs=GRID.crs, transform=GRID.affine,
    ) as raster:  # fmt: skip
        raster.write(known.values["NDVI"])
    one = RasterSeason("2024", (("NDVI", path),), known.dates, unseen=(known.dates[1],))
    made = make(tmp_path / "c.zarr", [])
    made.add(one)
    without = known.values["NDVI"].copy()
    without[1] = NODATA
    assert_same(made, make(tmp_path / "d.zarr", [replace(known, values={"NDVI": without})], block=64))
    with pytest.raises(CubeError, match="for 2 dates"):
        replace(one, dates=known.dates[:2]).read("NDVI", next(iter(cut("t", GRID))))
