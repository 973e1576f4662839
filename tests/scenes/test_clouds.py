"""Masks of single scenes: classes, buffers, where shadows may fall, and the file they are kept in."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path

import numpy as np
import pytest
import rasterio
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.transform import from_origin
from scipy.ndimage import distance_transform_edt

from eo_pipeline.acquire.sources.base import Asset, Scene
from eo_pipeline.errors import SourceError
from eo_pipeline.grid import Block, Grid
from eo_pipeline.scenes.clouds import SceneMask, dilate, mask_of, mask_scene, shadow_zone


@dataclass(frozen=True)
class Rule:
    clear: tuple[int, ...] = (4, 5, 6, 7)
    buffer_m: float = 60.0
    project_shadow: bool = True


RULE = Rule()


# ---- widening ----
@settings(deadline=None, max_examples=60)
@given(
    st.integers(0, 2**32 - 1), st.integers(1, 40), st.integers(1, 40), st.floats(0, 12), st.floats(0.002, 0.3)
)
def test_dilation_is_a_euclidean_disk(
    seed: int, height: int, width: int, radius: float, share: float
) -> None:
    mask = np.random.default_rng(seed).random((height, width)) < share
    expected = distance_transform_edt(~mask) <= radius if mask.any() else mask
    np.testing.assert_array_equal(dilate(mask, radius), expected)


# ---- shadow ----
@pytest.mark.parametrize(
    ("azimuth", "down", "right"),
    [
        (180, -1, 0),
        (0, 1, 0),
        (90, 0, -1),
        (270, 0, 1),
        (135, -1, -1),
        (150, -0.866, -0.5),
        (110, -0.342, -0.94),
    ],
)
def test_shadow_falls_away_from_the_sun(azimuth: float, down: float, right: float) -> None:
    casting = np.zeros((401, 401), dtype=bool)
    casting[200, 200] = True
    zone = shadow_zone(casting, sun=(40.0, azimuth), pixel_m=20.0)
    rows, cols = np.nonzero(zone)
    rows, cols = rows - 200, cols - 200
    length = np.hypot(rows, cols)
    # 200 m and 4 km high, in pixels of 20 m
    assert length.min() == pytest.approx(10 * np.tan(np.radians(40)), abs=1.5)
    assert length.max() == pytest.approx(200 * np.tan(np.radians(40)), abs=1.5)
    norm = np.hypot(down, right)
    across = rows * (right / norm) - cols * (down / norm)
    along = rows * (down / norm) + cols * (right / norm)
    assert np.abs(across).max() <= 1.0 and along.min() > 0
    # one pixel a step along the steeper axis, without gaps
    major = rows if abs(down) >= abs(right) else cols
    assert len(set(major.tolist())) == len(major) == np.ptp(major) + 1


def test_of_two_clouds_in_line_the_nearer_does_not_hide_the_farther() -> None:
    casting = np.zeros((1, 100), dtype=bool)
    casting[0, 5] = casting[0, 14] = True
    zone = shadow_zone(casting, sun=(45.0, 270.0), pixel_m=20.0)
    alone = shadow_zone(casting & (np.arange(100) == 5), sun=(45.0, 270.0), pixel_m=20.0)
    assert alone[0, 15:24].all() and zone[0, 15:24].all()


@settings(deadline=None, max_examples=200)
@given(
    st.tuples(st.integers(1, 60), st.integers(1, 60)),
    st.floats(1, 79),
    st.floats(0, 360),
    st.tuples(st.integers(-300_000, 300_000), st.integers(-300_000, 300_000)),
)
def test_no_direction_reaches_outside_the_image(
    shape: tuple[int, int], zenith: float, azimuth: float, origin: tuple[int, int]
) -> None:
    import numba

    assert numba.config.BOUNDSCHECK  # type: ignore[attr-defined] # an index outside raises: see conftest
    casting = np.ones(shape, dtype=bool)
    zone = shadow_zone(casting, sun=(zenith, azimuth), pixel_m=20.0, origin=origin)
    assert zone.shape == shape


def scene_classes(seed: int, shape: tuple[int, int]) -> np.ndarray:
    rng = np.random.default_rng(seed)
    classes = rng.choice(np.array([2, 4, 4, 5, 6, 7, 11], dtype=np.uint8), shape)
    for _ in range(6):
        y, x = rng.integers(0, shape[0]), rng.integers(0, shape[1])
        classes[y : y + 5, x : x + 7] = rng.choice([0, 1, 3, 8, 9, 10])
    return classes


def test_codes() -> None:
    classes = np.full((300, 300), 4, dtype=np.uint8)
    classes[100, 100] = 9
    classes[50, 50] = 3
    classes[0, :10] = 0
    classes[20, 20] = 11
    codes = mask_of(classes, rule=RULE, pixel_m=20.0, sun=(45.0, 180.0))
    assert (codes[0, :10] == 3).all()
    assert codes[20, 20] == 0 and codes[20, 21] == 1  # snow is not clear, and has no buffer
    assert codes[100, 103] == 0 and codes[100, 104] == 1 and codes[102, 102] == 0 and codes[103, 103] == 1
    assert codes[50, 53] == 0  # shadow is widened as cloud is
    # the sun stands in the south: shadow to the north, from 10 pixels on, as wide as the widened cloud
    assert (codes[:87, 97:104] == 2)[60:].all() and codes[80, 96] == 1 and codes[120, 100] == 1
    # class 3 casts nothing
    assert codes[30, 50] == 1
    # what the season calls clear has no buffer and casts no shadow
    generous = mask_of(classes, rule=Rule(clear=(3, 4, 9)), pixel_m=20.0, sun=(45.0, 180.0))
    assert generous[100, 100] == 1 and generous[80, 100] == 1 and generous[50, 50] == 1


@pytest.mark.parametrize("sun", [None, (85.0, 180.0)])
def test_without_a_usable_sun_nothing_is_suspect(sun: tuple[float, float] | None) -> None:
    classes = scene_classes(1, (80, 90))
    codes = mask_of(classes, rule=RULE, pixel_m=20.0, sun=sun)
    off = mask_of(classes, rule=Rule(project_shadow=False), pixel_m=20.0, sun=(40.0, 140.0))
    assert set(np.unique(codes)) <= {0, 1, 3}
    np.testing.assert_array_equal(codes, off)


@settings(deadline=None, max_examples=30)
@given(
    st.integers(0, 2**32 - 1),
    st.floats(5, 40),
    st.floats(0, 360),
    st.integers(-300_000, 300_000),
    st.integers(0, 99_999),
)
def test_a_piece_with_enough_around_it_gives_what_the_whole_gives(
    seed: int, zenith: float, azimuth: float, row: int, col: int
) -> None:
    # given a scene of coarse pixels, so that a shadow is at most 4000 m · tan 40° = 34 pixels of 100 m long
    classes = scene_classes(seed, (140, 130))
    options = {"rule": Rule(buffer_m=250.0), "pixel_m": 100.0, "sun": (zenith, azimuth)}
    whole = mask_of(classes, **options, origin=(row, col))
    # when its quarters are masked with 40 pixels around them, and put together
    around, stitched = 40, np.empty_like(whole)
    for top in (0, 70):
        for left in (0, 65):
            y, x = max(0, top - around), max(0, left - around)
            part = classes[y : top + 70 + around, x : left + 65 + around]
            codes = mask_of(part, **options, origin=(row + y, col + x))
            stitched[top : top + 70, left : left + 65] = codes[top - y :, left - x :][:70, :65]
    # then no seam is left
    np.testing.assert_array_equal(stitched, whole)


# ---- the file ----
@settings(deadline=None, max_examples=40)
@given(st.data())
def test_any_block_reads_its_own_codes(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    zoom = data.draw(st.sampled_from([1, 2]))
    shift = data.draw(st.tuples(st.integers(0, zoom - 1), st.integers(0, zoom - 1)))
    height, width = data.draw(st.integers(1, 700)), data.draw(st.integers(1, 90))
    shape = -(-(height + shift[0]) // zoom), -(-(width + shift[1]) // zoom)
    codes = np.random.default_rng(0).integers(0, 4, shape).astype(np.uint8)
    path = tmp_path_factory.mktemp("mask") / "m.mask"
    SceneMask(shape, zoom, shift).write(path, codes)
    row, col = data.draw(st.integers(0, height - 1)), data.draw(st.integers(0, width - 1))
    block = Block(
        "t", row, col, data.draw(st.integers(1, height - row)), data.draw(st.integers(1, width - col))
    )
    full = codes.repeat(zoom, axis=0).repeat(zoom, axis=1)[shift[0] :, shift[1] :][:height, :width]
    np.testing.assert_array_equal(SceneMask.read(path, block), full[block.slices])


@pytest.mark.parametrize("content", [None, b"", b"PNG\n{}\n", b'EOMASK1\n{"shape"', b"EOMASK1\n{}\n"])
def test_a_damaged_mask_file_is_refused(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "m.mask"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(SourceError, match=r"m\.mask is no readable cloud mask"):
        SceneMask.read(path, Block("t", 0, 0, 4, 4))


def test_a_truncated_mask_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "m.mask"
    SceneMask((40, 40), 1, (0, 0)).write(
        path, np.random.default_rng(0).integers(0, 4, (40, 40)).astype("uint8")
    )
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(SourceError, match="no readable cloud mask"):
        SceneMask.read(path, Block("t", 0, 0, 40, 40))


# ---- the task ----
GRID = Grid("EPSG:32648", (10.0, 0.0, 500_000.0, 0.0, -10.0, 4_000_000.0), 90, 70)


def write_scl(path: Path, classes: np.ndarray) -> Scene:
    with rasterio.open(
        path, "w", driver="GTiff", width=classes.shape[1], height=classes.shape[0], count=1, dtype="uint8",
        crs=GRID.crs, transform=from_origin(500_000, 4_000_000, 20, 20),
    ) as raster:  # fmt: skip
        raster.write(classes, 1)
    asset = Asset("SCL", str(path), 1, 1.0, 0.0, 0.0, zoom=2)
    return Scene("48SXD", date(2026, 5, 3), (asset,), "S2A_TEST", (35.0, 140.0))


def test_a_scene_becomes_a_mask_with_its_counts(tmp_path: Path) -> None:
    classes = scene_classes(3, (35, 45))
    scene, path = write_scl(tmp_path / "scl.tif", classes), tmp_path / "masks" / "m.mask"
    result = mask_scene(scene=scene, grid=GRID, owned=(0, 0, 70, 60), clouds=RULE, mask_file=path)
    codes = mask_of(classes, rule=RULE, pixel_m=20.0, sun=(35.0, 140.0), origin=(-200_000, 25_000))
    np.testing.assert_array_equal(
        SceneMask.read(path, Block("48SXD", 0, 0, 70, 90)), codes.repeat(2, axis=0).repeat(2, axis=1)
    )
    inside = codes[:, :30]
    names = ("unusable", "clear", "suspect", "no_data")
    assert [result[name] for name in names] == [int((inside == n).sum()) for n in range(4)]
    assert result["pixels"] == inside.size and result["projected"] is True
    assert [item.name for item in path.parent.iterdir()] == ["m.mask"]


def test_a_grid_within_a_larger_raster_takes_its_own_part(tmp_path: Path) -> None:
    scene = write_scl(tmp_path / "scl.tif", scene_classes(4, (35, 45)))
    cut = replace(scene, assets=(replace(scene.assets[0], corner=(11, 20)),))
    grid = Grid(GRID.crs, (10.0, 0.0, 500_200.0, 0.0, -10.0, 3_999_890.0), 31, 41)
    mask_scene(
        scene=cut,
        grid=grid,
        owned=None,
        clouds=Rule(buffer_m=0, project_shadow=False),
        mask_file=tmp_path / "c",
    )
    mask_scene(
        scene=scene,
        grid=GRID,
        owned=None,
        clouds=Rule(buffer_m=0, project_shadow=False),
        mask_file=tmp_path / "w",
    )
    whole = SceneMask.read(tmp_path / "w", Block("t", 0, 0, 70, 90))
    np.testing.assert_array_equal(
        SceneMask.read(tmp_path / "c", Block("t", 0, 0, 41, 31)), whole[11:52, 20:51]
    )


def test_a_scene_without_classification_is_refused(tmp_path: Path) -> None:
    scene = replace(write_scl(tmp_path / "s.tif", scene_classes(1, (35, 45))), assets=())
    with pytest.raises(SourceError, match="no band SCL"):
        mask_scene(scene=scene, grid=GRID, owned=None, clouds=RULE, mask_file=tmp_path / "m.mask")
    assert not (tmp_path / "m.mask").exists()
