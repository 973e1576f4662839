"""Samples: read, placed in the cube, refused where they are wrong, and grouped for honest folds."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from seasons import CLASSIFY, lonlat, make_season

from eo_pipeline.engine import Engine
from eo_pipeline.errors import NotAProbabilitySampleError, SampleError
from eo_pipeline.plan import make_plan
from eo_pipeline.products.samples import (
    group_samples,
    place,
    read_shapes,
    samples_from_cube,
    samples_from_npz,
)
from eo_pipeline.run import SeasonRun
from eo_pipeline.season import ClassifySpec, read_season

CLASSES = ("wheat", "maize")


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> SeasonRun:
    """A season with its cube made, in blocks of 24."""
    season = make_season(tmp_path_factory.mktemp("season"), classify=True)
    job = SeasonRun(make_plan(read_season(season.toml), block=24), Engine(workers=0))
    _ = job.verdicts
    return job


def take(job: SeasonRun, spec: ClassifySpec):
    return samples_from_cube(
        spec,
        CLASSES,
        [tile.layout for tile in job.plan.tiles],
        [job.stages.store(tile) for tile in job.plan.tiles],
        [job.kept[tile.name] for tile in job.plan.tiles],
    )


def spec_of(job: SeasonRun, **changes: object) -> ClassifySpec:
    spec = job.plan.season.classify
    assert spec is not None
    return replace(spec, **changes)


def write_csv(path: Path, rows: list[tuple[int, int, str]]) -> Path:
    lines = ["lon,lat,label"]
    for row, col, label in rows:
        lon, lat = lonlat(row, col)
        lines.append(f"{lon:.8f},{lat:.8f},{label}")
    path.write_text("\n".join(lines) + "\n")
    return path


def test_a_points_series_is_that_of_its_pixel(job: SeasonRun, tmp_path: Path) -> None:
    cells = [(0, 0), (23, 24), (63, 63), (40, 7)]
    path = write_csv(tmp_path / "s.csv", [(r, c, "wheat") for r, c in cells])
    samples = take(job, spec_of(job, samples=path))
    from eo_pipeline.cube.store import TileStore, decode

    cube = decode(TileStore(job.stages.store(job.plan.tiles[0])).read("reflectance"))
    assert samples.X.shape == (4, 18, 3)
    for number, (row, col) in enumerate(cells):
        np.testing.assert_array_equal(samples.X[number, :, 0], cube[:, 1, row, col])
        red, nir = cube[:, 1, row, col], cube[:, 2, row, col]
        np.testing.assert_allclose(samples.X[number, :, 2], (nir - red) / (nir + red), rtol=1e-5)
    # the first rows are under cloud on the third date
    assert np.isnan(samples.X[0, 2]).all() and not np.isnan(samples.X[2, 2]).any()


def test_a_polygon_gives_pixels_inside_of_it_and_stays_one_group(job: SeasonRun, tmp_path: Path) -> None:
    (x0, y0), (x1, y1) = lonlat(8, 8), lonlat(15, 15)
    ring = [[x0, y0], [x1, y0], [x1, y1], [x0, y1], [x0, y0]]
    tiny = [[x0, y0], [x0 + 1e-6, y0], [x0, y0 - 1e-6], [x0, y0]]
    features = [
        {
            "type": "Feature",
            "properties": {"label": "wheat"},
            "geometry": {"type": "Polygon", "coordinates": [r]},
        }
        for r in (ring, tiny)
    ]
    path = tmp_path / "s.geojson"
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    shapes = read_shapes(path)
    placed = place(path, shapes, [tile.layout for tile in job.plan.tiles])
    inside = [(p.row, p.col) for p in placed if p.shape == 0]
    assert len(inside) == 16
    assert all(8 <= row <= 15 and 8 <= col <= 15 for row, col in inside)
    # smaller than a pixel: the one it lies in
    assert [(p.row, p.col) for p in placed if p.shape == 1] == [(8, 8)]
    samples = take(job, spec_of(job, samples=path))
    assert len(set(samples.groups[samples.shape_ids == 0])) == 1


def test_a_label_is_missing(tmp_path: Path) -> None:
    path = tmp_path / "s.csv"
    path.write_text("lon,lat,crop\n105,35,wheat\n")
    with pytest.raises(SampleError, match="the first line must name lon, lat and label"):
        read_shapes(path)
    path.write_text("lon,lat,label\nabc,35,wheat\n")
    with pytest.raises(SampleError, match="row 1: 'abc', '35' are not degrees"):
        read_shapes(path)
    path.write_text("lon,lat,label\n")
    with pytest.raises(SampleError, match="holds no sample"):
        read_shapes(path)


def npz(path: Path, **arrays: object) -> Path:
    np.savez(path, **arrays)
    return path


def npz_spec(job: SeasonRun, path: Path) -> ClassifySpec:
    return spec_of(job, samples=path, npz_bands=("EVI", "NDVI"), features=("NDVI",))


def test_npz_takes_the_named_channels_and_drops_what_is_unphysical(job: SeasonRun, tmp_path: Path) -> None:
    X = np.full((4, 6, 2), 0.5, dtype=np.float32)
    X[0, 0] = (-1.6, 1.2)
    path = npz(tmp_path / "s.npz", X=X, y=np.array(["wheat", "maize"] * 2))
    spec = npz_spec(job, path)
    both = samples_from_npz(spec, CLASSES, steps=6, features=("NDVI", "EVI"))
    assert both.X.shape == (4, 6, 2)
    assert np.isnan(both.X[0, 0]).all()
    assert np.isnan(both.X).sum() == 2
    assert len(set(both.groups)) == 4  # nothing says that any belong together


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"y": np.array(["wheat", "rye"])}, "row 2: 'rye' is no class"),
        ({"X": np.zeros((2, 5, 2))}, "5 steps, but the season has 6"),
        ({"X": np.zeros((2, 6, 3))}, "3 channels, but .* names 2"),
        ({"X": np.full((2, 6, 2), np.nan)}, "row 1: its series holds not one number"),
        ({"X": np.zeros((2, 6))}, r"\(n, t, c\)"),
    ],
)
def test_a_wrong_npz_is_refused(job: SeasonRun, tmp_path: Path, change: dict, message: str) -> None:
    good = {"X": np.zeros((2, 6, 2)), "y": np.array(["wheat", "maize"])}
    path = npz(tmp_path / "s.npz", **{**good, **change})
    with pytest.raises(SampleError, match=message):
        samples_from_npz(npz_spec(job, path), CLASSES, steps=6, features=("NDVI",))


@settings(deadline=None, max_examples=50)
@given(
    st.lists(
        st.tuples(st.floats(105, 106), st.floats(35, 36), st.sampled_from(["", "a", "b"])),
        min_size=1,
        max_size=30,
    )
)
def test_neither_a_square_nor_a_group_is_split(rows: list[tuple[float, float, str]]) -> None:
    lon, lat = np.array([r[0] for r in rows]), np.array([r[1] for r in rows])
    given_groups = [r[2] for r in rows]
    groups = group_samples(lon, lat, given_groups, side_km=5.0)
    for name in ("a", "b"):
        members = {int(g) for g, own in zip(groups, given_groups, strict=True) if own == name}
        assert len(members) <= 1
    squares = group_samples(lon, lat, [""] * len(rows), side_km=5.0)
    for square in set(squares.tolist()):
        assert len(set(groups[squares == square].tolist())) == 1
    # points of one square are near each other
    for square in set(squares.tolist()):
        own = squares == square
        assert np.ptp(lat[own]) * 111.2 <= 5.0 + 1e-6


def test_an_area_needs_a_probability_sample(tmp_path: Path) -> None:
    season = make_season(tmp_path, size=16, dates=4, classify=True)
    season.rewrite("[growth]", '[area]\nreference = "samples.csv"\ndesign = "purposive"\n\n[growth]')
    job = SeasonRun(make_plan(read_season(season.toml)), Engine(workers=0))
    with pytest.raises(NotAProbabilitySampleError, match="purposive"):
        _ = job.reference
    assert CLASSIFY
