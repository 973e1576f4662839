"""Scenes to cube: one step from its own scenes, whatever the blocks; and what the season contradicts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pytest
import rasterio
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.transform import from_origin

from eo_pipeline.acquire.sources.base import Asset, Scene
from eo_pipeline.cube.ingest import ingest_step, judge_scenes, judge_steps, screen_block, to_reflectance
from eo_pipeline.cube.store import NODATA, Layout, TileStore
from eo_pipeline.errors import CubeError, SourceError
from eo_pipeline.grid import Block, Grid, TimeStep, cut, dekads
from eo_pipeline.scenes.clouds import SceneMask
from eo_pipeline.scenes.outliers import shadow_outliers
from eo_pipeline.season_source import MaskRule

GRID = Grid("EPSG:32648", (10.0, 0.0, 500_000.0, 0.0, -10.0, 4_000_000.0), 90, 71)
BANDS = ("B02", "B04", "B08", "B11")
#: Metres of a pixel; B11 has pixels of 20 m.
ZOOM = {"B02": 1, "B04": 1, "B08": 1, "B11": 2}
STEPS = dekads(date(2026, 5, 1), date(2026, 5, 31))
DATES = (date(2026, 5, 2), date(2026, 5, 7), date(2026, 5, 9), date(2026, 5, 22))
RULES = (MaskRule("SCL", (4.0, 5.0)),)
OFFSET = -0.1  # baseline 04.00 and later: DN 1000 is reflectance 0


def write(path: Path, values: np.ndarray, pixel: int) -> None:
    with rasterio.open(
        path, "w", driver="GTiff", width=values.shape[1], height=values.shape[0], count=1, dtype=values.dtype,
        crs=GRID.crs, transform=from_origin(500_000, 4_000_000, pixel, pixel),
    ) as raster:  # fmt: skip
        raster.write(values, 1)


def make_scene(folder: Path, day: date, seed: int) -> tuple[Scene, Path, np.ndarray, np.ndarray]:
    """A scene's files, its mask file, and by hand its reflectance × 10 000 [band, y, x] and codes [y, x]."""
    rng = np.random.default_rng(seed)
    assets, planes = [], []
    for band, zoom in ZOOM.items():
        shape = -(-GRID.height // zoom), -(-GRID.width // zoom)
        numbers = rng.integers(1200, 6000, shape).astype(np.uint16)
        numbers[rng.random(shape) < 0.03] = 0
        numbers[rng.random(shape) < 0.01] = 65535
        path = folder / f"{day}_{band}.tif"
        write(path, numbers, 10 * zoom)
        assets.append(Asset(band, str(path), 1, 1e-4, OFFSET, 0.0, zoom=zoom))
        values = np.where(numbers == 0, NODATA, np.minimum(numbers.astype(int) - 1000, 32767))
        planes.append(values.repeat(zoom, axis=0).repeat(zoom, axis=1)[: GRID.height, : GRID.width])
    shape = -(-GRID.height // 2), -(-GRID.width // 2)
    codes = rng.choice(np.array([0, 1, 1, 1, 2, 3], dtype=np.uint8), shape)
    mask = folder / f"{day}.mask"
    SceneMask(shape, 2, (0, 0)).write(mask, codes)
    write(folder / f"{day}_SCL.tif", np.where(codes == 1, 4, 8).astype(np.uint8), 20)
    assets.append(Asset("SCL", str(folder / f"{day}_SCL.tif"), 1, 1.0, 0.0, 0.0, zoom=2))
    codes = codes.repeat(2, axis=0).repeat(2, axis=1)[: GRID.height, : GRID.width]
    return Scene("t", day, tuple(assets)), mask, np.stack(planes), codes


Made = list[tuple[Scene, Path, np.ndarray, np.ndarray]]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    folder = tmp_path_factory.mktemp("scenes")
    return [make_scene(folder, day, seed) for seed, day in enumerate(DATES)]


def layout(block: int, product_block: int = 0) -> Layout:
    return Layout("t", GRID, BANDS, STEPS, block, product_block)


def new_store(path: Path, item: Layout) -> Path:
    TileStore(path).create(item)
    return path


def ingest(
    made: Made, store: Path, *, block: int, owned: object = None, steps: Sequence[int] = (0, 1, 2)
) -> list[dict]:
    results = []
    for number in steps:
        chosen = [item for item in made if STEPS[number].holds(item[0].date)]
        results += [
            ingest_step(
                block=piece,
                number=number,
                step=STEPS[number],
                scenes=[item[0] for item in chosen],
                mask_files=[item[1] for item in chosen],
                bands=BANDS,
                masks=(),
                owned=owned,
                store=store,
            )
            for piece in cut("t", GRID, size=block)
        ]
    return results


def arrays_of(store: Path) -> dict[str, np.ndarray]:
    return {name: TileStore(store).read(name) for name in ("reflectance", "clear_count", "seen_day")}


@pytest.fixture(scope="module")
def whole(made: Made, tmp_path_factory: pytest.TempPathFactory) -> dict[str, np.ndarray]:
    store = new_store(tmp_path_factory.mktemp("whole") / "t.zarr", layout(2048))
    ingest(made, store, block=2048)
    return arrays_of(store)


def test_a_step_with_one_scene_holds_its_numbers(made: Made, whole: dict[str, np.ndarray]) -> None:
    _, _, numbers, codes = made[3]
    dark = (numbers[2] < 1500) & (numbers[3] < 1200)
    usable = ((codes == 1) | ((codes == 2) & ~dark)) & (numbers != NODATA).all(axis=0)
    assert 0.4 < usable.mean() < 0.9
    np.testing.assert_array_equal(whole["reflectance"][2], np.where(usable, numbers, NODATA))
    np.testing.assert_array_equal(whole["clear_count"][2], usable)
    np.testing.assert_array_equal(whole["seen_day"][2], np.where(usable, 1, -1))
    assert 32767 in whole["reflectance"][2]  # a saturated number is cut, not wrapped


def test_a_step_without_scenes_is_empty(whole: dict[str, np.ndarray]) -> None:
    assert (whole["reflectance"][1] == NODATA).all()
    assert not whole["clear_count"][1].any() and (whole["seen_day"][1] == -1).all()


def test_several_scenes_give_their_median(made: Made, whole: dict[str, np.ndarray]) -> None:
    count = whole["clear_count"][0]
    assert set(np.unique(count)) == {0, 1, 2, 3}
    everywhere = np.ones(count.shape, dtype=bool)
    for item in made[:3]:
        everywhere &= (item[3] == 1) & (item[2] != NODATA).all(axis=0)
    three = np.stack([item[2] for item in made[:3]])[:, :, everywhere & (count == 3)]
    assert three.shape[-1] > 100
    np.testing.assert_array_equal(
        whole["reflectance"][0][:, everywhere & (count == 3)], np.median(three, axis=0).astype(int)
    )


@pytest.mark.parametrize("block", [512, 64, 32, 31, 17])
def test_blocked_is_whole(made: Made, whole: dict[str, np.ndarray], tmp_path: Path, block: int) -> None:
    store = new_store(tmp_path / "t.zarr", layout(block))
    ingest(made, store, block=block)
    for name, values in arrays_of(store).items():
        np.testing.assert_array_equal(values, whole[name], err_msg=name)


def test_files_of_a_repetition_are_the_same_bytes(made: Made, tmp_path: Path) -> None:
    stores = [new_store(tmp_path / name, layout(64)) for name in ("a.zarr", "b.zarr")]
    for store in (*stores, stores[1]):
        ingest(made, store, block=64)
    files = [
        {str(p.relative_to(store)): p.read_bytes() for p in store.rglob("*") if p.is_file()}
        for store in stores
    ]
    assert files[0] == files[1] and len(files[0]) > 8


def test_a_dekad_does_not_change_when_another_does(made: Made, tmp_path: Path) -> None:
    # given a cube
    store = new_store(tmp_path / "t.zarr", layout(64))
    ingest(made, store, block=64)
    before = {p: p.read_bytes() for p in store.rglob("c/*/**/*") if p.is_file()}
    # when the last scene is exchanged, and only its step is done again
    folder = tmp_path / "later"
    folder.mkdir()
    ingest([*made[:3], make_scene(folder, DATES[3], 99)], store, block=64, steps=[2])
    # then only files of that step are others
    changed = {p.relative_to(store).parts[2] for p, content in before.items() if p.read_bytes() != content}
    assert changed == {"2"}


def test_a_step_emptied_leaves_nothing_of_before(made: Made, tmp_path: Path) -> None:
    store = new_store(tmp_path / "t.zarr", layout(64))
    ingest(made, store, block=64)
    ingest(made[:3], store, block=64, steps=[2])
    assert (arrays_of(store)["reflectance"][2] == NODATA).all()
    assert not [path for path in (store / "reflectance/c/2").rglob("*") if path.is_file()]


@pytest.mark.parametrize("owned", [(0, 0, 71, 90), (10, 21, 50, 77), (0, 0, 33, 90), (70, 0, 71, 1)])
def test_outside_of_what_the_tile_owns_is_nothing(
    made: Made, whole: dict[str, np.ndarray], tmp_path: Path, owned: tuple[int, int, int, int]
) -> None:
    store = new_store(tmp_path / "t.zarr", layout(32))
    results = ingest(made, store, block=32, owned=owned)
    inside = np.zeros(GRID.shape, dtype=bool)
    inside[owned[0] : owned[2], owned[1] : owned[3]] = True
    found = arrays_of(store)
    np.testing.assert_array_equal(found["reflectance"], np.where(inside, whole["reflectance"], NODATA))
    np.testing.assert_array_equal(found["clear_count"], np.where(inside, whole["clear_count"], 0))
    np.testing.assert_array_equal(found["seen_day"], np.where(inside, whole["seen_day"], -1))
    assert sum(result["clear"] for result in results) == (found["clear_count"] > 0).sum()
    counted = sum(scene["usable"] for result in results for scene in result["scenes"])
    assert counted == found["clear_count"].sum()


def test_a_scene_without_a_usable_pixel_is_not_opened(made: Made, tmp_path: Path) -> None:
    scene, _, _, _ = made[3]
    gone = replace(scene, assets=tuple(replace(a, path=str(tmp_path / "gone.tif")) for a in scene.assets))
    mask = tmp_path / "cloudy.mask"
    SceneMask((36, 45), 2, (0, 0)).write(mask, np.zeros((36, 45), dtype=np.uint8))
    store = new_store(tmp_path / "t.zarr", layout(2048))
    options = {"block": Block("t", 0, 0, 71, 90), "number": 2, "step": STEPS[2], "bands": BANDS, "masks": ()}
    result = ingest_step(scenes=[gone], mask_files=[mask], owned=None, store=store, **options)
    assert result == {"clear": 0, "scenes": [{"date": "2026-05-22", "usable": 0, "outvoted": 0}]}
    # a file that is wanted and gone is an error that names it
    SceneMask((36, 45), 2, (0, 0)).write(mask, np.ones((36, 45), dtype=np.uint8))
    with pytest.raises(SourceError, match=r"gone\.tif"):
        ingest_step(scenes=[gone], mask_files=[mask], owned=None, store=store, **options)


def test_a_raster_stack_is_masked_by_its_own_bands(made: Made, tmp_path: Path) -> None:
    store = new_store(tmp_path / "t.zarr", layout(2048))
    ingest_step(
        block=Block("t", 0, 0, 71, 90), number=2, step=STEPS[2], scenes=[made[3][0]], mask_files=(),
        bands=BANDS, masks=RULES, owned=None, store=store,
    )  # fmt: skip
    _, _, numbers, codes = made[3]
    usable = (codes == 1) & (numbers != NODATA).all(axis=0)
    np.testing.assert_array_equal(arrays_of(store)["reflectance"][2], np.where(usable, numbers, NODATA))


def test_scenes_of_another_step_and_masks_that_do_not_match_are_refused(made: Made, tmp_path: Path) -> None:
    store = new_store(tmp_path / "t.zarr", layout(2048))
    options = {"block": Block("t", 0, 0, 71, 90), "bands": BANDS, "masks": (), "owned": None, "store": store}
    with pytest.raises(CubeError, match="was given a scene of 2026-05-22"):
        ingest_step(number=0, step=STEPS[0], scenes=[made[3][0]], mask_files=[made[3][1]], **options)
    scenes = [item[0] for item in made[:2]]
    with pytest.raises(CubeError, match="2 scenes and 1 masks"):
        ingest_step(number=0, step=STEPS[0], scenes=scenes, mask_files=[made[0][1]], **options)


# ---- numbers ----
def asset(scale: float, offset: float, nodata: float | None, zoom: int = 1) -> Asset:
    return Asset("B", "", 1, scale, offset, nodata, zoom=zoom)


@settings(deadline=None, max_examples=60)
@given(
    st.sampled_from(["uint8", "uint16", "int16", "float32", "float64"]),
    st.sampled_from([(1e-4, 0.0), (1e-4, -0.1), (1.0, 0.0), (2.75e-5, -0.2), (1e-3, 0.0)]),
    st.sampled_from([None, 0.0, -9999.0]),
    st.integers(0, 2**32 - 1),
)
def test_numbers_become_reflectance_as_the_reader_says_it(
    dtype: str, reading: tuple[float, float], nodata: float | None, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    if dtype.startswith("float"):
        numbers = rng.uniform(-1, 4, (5, 9)).astype(dtype)
        numbers[0, :3] = np.nan, 0.0, -9999.0
    else:
        info = np.iinfo(dtype)
        numbers = rng.integers(info.min, info.max + 1, (5, 9)).astype(dtype)
        numbers[0, :2] = 0, info.max
    out = np.empty((5, 9), dtype=np.int16)
    to_reflectance(numbers, asset(*reading, nodata), out)
    exact = (numbers.astype(float) * reading[0] + reading[1]) * 10_000
    missing = np.isnan(exact) | (numbers == nodata if nodata is not None else False)
    expected = np.rint(np.clip(np.where(missing, 0, exact), -32767, 32767))
    assert (out[missing] == NODATA).all() and (out[~missing] != NODATA).all()
    # single precision may fall to the other side of a half
    error = np.abs(out[~missing] - expected[~missing])
    assert error.max(initial=0) <= (0 if dtype.endswith("int16") and reading[0] == 1e-4 else 1)


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 4), st.integers(0, 3), st.integers(0, 3), st.integers(1, 30), st.integers(1, 30))
def test_coarse_pixels_are_repeated(zoom: int, y: int, x: int, height: int, width: int) -> None:
    y, x = y % zoom, x % zoom
    numbers = np.random.default_rng(0).integers(1, 9999, (40, 40)).astype(np.uint16)
    out = np.empty((height, width), dtype=np.int16)
    to_reflectance(numbers, asset(1e-4, 0.0, 0.0, zoom), out, start=(y, x))
    np.testing.assert_array_equal(out, numbers.repeat(zoom, 0).repeat(zoom, 1)[y : y + height, x : x + width])


# ---- the season ----
NATIVE = tuple(TimeStep(d, d) for d in (date(2026, 4, 1) + timedelta(days=10 * i) for i in range(6)))
SIX = ("B02", "B03", "B04", "B08", "B11", "B12")


@pytest.fixture
def season(tmp_path: Path) -> tuple[Path, np.ndarray]:
    """A store of six dates, the fourth of which is shadow nearly everywhere, and its reflectance."""
    rng = np.random.default_rng(5)
    ground = np.array([560, 880, 850, 2500, 1900, 1200])[None, :, None, None]
    numbers = np.rint(ground * rng.uniform(0.95, 1.05, (6, 6, 40, 50))).astype(np.int16)
    shaded = np.zeros((40, 50), dtype=bool)
    shaded[:, :45] = True
    numbers[3][:, shaded] = numbers[3][:, shaded] * 0.35
    numbers[1, :, :4] = NODATA
    grid = replace(GRID, height=40, width=50)
    store = new_store(tmp_path / "s.zarr", Layout("t", grid, SIX, NATIVE, 64, 16))
    tile = TileStore(store)
    for n in range(6):
        seen = (numbers[n] != NODATA).all(axis=0)
        block = Block("t", 0, 0, 40, 50)
        tile.write("reflectance", block, numbers[n], step=n)
        tile.write("clear_count", block, seen.astype(np.uint8), step=n)
        tile.write("seen_day", block, np.where(seen, 0, -1).astype(np.int16), step=n)
    return store, numbers


def test_what_the_season_contradicts_is_not_believed(season: tuple[Path, np.ndarray]) -> None:
    store, numbers = season
    tile, grid = TileStore(store), replace(GRID, height=40, width=50)
    counts = [
        screen_block(block=block, store=store, bands=SIX, steps=NATIVE) for block in cut("t", grid, size=16)
    ]
    # the same test on the whole image
    values = np.where(numbers == NODATA, np.nan, numbers / 10_000).astype(np.float32)
    clear = (numbers != NODATA).all(axis=1)
    outliers = shadow_outliers(values, SIX, [step.day for step in NATIVE])
    np.testing.assert_array_equal(tile.read("usable"), clear & ~outliers)
    assert [sum(c["outliers"][n] for c in counts) for n in range(6)] == [0, 0, 0, 40 * 45, 0, 0]
    verdicts = judge_steps(NATIVE, counts, tested=True)
    assert [v.rejected for v in verdicts] == [False, False, False, True, False, False]
    assert verdicts[3].reason == "shadow or cloud missed by the mask in 90 % of the clear pixels"
    assert verdicts[1].clear_share == pytest.approx(0.9)
    scenes = [Scene("t", step.start, ()) for step in NATIVE]
    assert judge_scenes(scenes, NATIVE, verdicts) == verdicts

    block = Block("t", 16, 32, 16, 16)
    kept = [not v.rejected for v in verdicts]
    believed = tile.read_clear(block, kept)
    expected = np.where((clear & ~outliers)[:, None], values, np.nan)
    expected[3] = np.nan
    np.testing.assert_array_equal(believed, expected[:, :, 16:32, 32:48])
    np.testing.assert_array_equal(tile.read_clear(block, bands=("B08", "B02"))[3], np.where(
        (clear & ~outliers)[3], values[3], np.nan)[[3, 0], 16:32, 32:48])  # fmt: skip
    # the last columns are believed on the rejected date, until the verdict
    ages, judged = tile.read("age_days", block), tile.read_ages(block, kept)
    assert ages[:, 0, 0].tolist() == [0, 0, 0, 10, 0, 0]
    assert ages[:, 0, 15].tolist() == [0, 0, 0, 0, 0, 0]
    assert judged[:, 0, 15].tolist() == [0, 0, 0, 10, 0, 0]
    top = tile.read("age_days", Block("t", 0, 0, 16, 16))
    assert top[:, 0, 0].tolist() == [0, 10, 0, 10, 0, 0]


def test_without_bands_to_test_everything_seen_is_believed(season: tuple[Path, np.ndarray]) -> None:
    store, numbers = season
    block = Block("t", 0, 0, 16, 16)
    counts = screen_block(block=block, store=store, bands=SIX, steps=NATIVE, tested=())
    assert counts["outliers"] == [0] * 6
    clear = (numbers != NODATA).all(axis=1)[:, :16, :16]
    np.testing.assert_array_equal(TileStore(store).read("usable", block), clear)
    (verdict, *_) = judge_steps(NATIVE, [counts], tested=False)
    assert not verdict.rejected and verdict.reason.startswith("not tested")
