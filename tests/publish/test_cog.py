"""COGs of a run: valid, whole, with the right overviews, colours and words."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import rasterio
from rio_cogeo.cogeo import cog_validate
from small_disk import room_of, small_disk

from eo_pipeline.errors import DiskFullError
from eo_pipeline.grid import Grid
from eo_pipeline.publish.catalog import write_cog

GRID = Grid("EPSG:32648", (10, 0, 531_000, 0, -10, 3_950_000), 700, 600)


def test_a_class_map_is_a_valid_cog_with_colours_and_nearest_overviews(tmp_path: Path) -> None:
    classes = np.tile(np.array([[1, 7], [7, 1]], dtype=np.uint8), (300, 350))
    path = write_cog(
        tmp_path / "crop_type" / "t" / "crop_type.tif",
        classes,
        GRID,
        nodata=0,
        colour_table={1: "#DDCC77", 7: "#44AA99"},
        metadata={"simulated": "yes", "title": "冬小麦"},
    )
    valid, errors, warnings = cog_validate(path, strict=True)
    assert valid, (errors, warnings)
    with rasterio.open(path) as dataset:
        assert dataset.crs.to_epsg() == 32648 and dataset.nodata == 0
        assert dataset.overviews(1)
        assert dataset.colormap(1)[1] == (221, 204, 119, 255)
        assert dataset.tags()["title"] == "冬小麦"
        np.testing.assert_array_equal(dataset.read(1), classes)
        # An average of 1 and 7 would be a class nobody mapped.
        assert set(np.unique(dataset.read(1, out_shape=(300, 350)))) <= {1, 7}


def test_measured_values_have_average_overviews_without_nodata(tmp_path: Path) -> None:
    values = np.full((2, 600, 700), 1000, dtype=np.int16)
    values[:, ::2] = 3000
    values[:, :, ::2] = -32768
    path = write_cog(
        tmp_path / "ndvi.tif",
        values,
        GRID,
        nodata=-32768,
        band_descriptions=("2026-04-05", "2026-04-15"),
        scale=0.0001,
        unit="NDVI",
    )
    assert cog_validate(path, strict=True)[0]
    with rasterio.open(path) as dataset:
        assert dataset.descriptions == ("2026-04-05", "2026-04-15")
        assert dataset.scales == (0.0001, 0.0001) and dataset.units == ("NDVI", "NDVI")
        np.testing.assert_array_equal(dataset.read(), values)
        assert (dataset.read(1, out_shape=(300, 350)) == 2000).all()


def test_the_same_array_gives_the_same_bytes(tmp_path: Path) -> None:
    array = np.random.default_rng(0).integers(0, 100, (600, 700)).astype(np.uint8)
    first = write_cog(tmp_path / "a.tif", array, GRID, nodata=255)
    second = write_cog(tmp_path / "b.tif", array, GRID, nodata=255)
    assert first.read_bytes() == second.read_bytes()


def test_what_lies_elsewhere_is_read_by_parts_and_gives_the_same_bytes(tmp_path: Path) -> None:
    grid = Grid("EPSG:32648", (10, 0, 500_000, 0, -10, 4_000_000), 2100, 1030)
    array = np.random.default_rng(1).integers(-100, 100, (3, 1030, 2100)).astype(np.int16)
    asked: list[tuple[int, int]] = []

    class Elsewhere:
        shape, dtype = array.shape, array.dtype

        def __getitem__(self, window: tuple[object, slice, slice]) -> np.ndarray:
            asked.append((window[1].stop - window[1].start, window[2].stop - window[2].start))
            return array[window]

    first = write_cog(tmp_path / "a.tif", Elsewhere(), grid, nodata=-1)
    second = write_cog(tmp_path / "b.tif", array, grid, nodata=-1)
    assert first.read_bytes() == second.read_bytes()
    assert max(asked) == (512, 2048) and len(asked) == 6
    with rasterio.open(first) as dataset:
        np.testing.assert_array_equal(dataset.read(), array)


def test_a_crs_without_a_code_is_kept(tmp_path: Path) -> None:
    wkt = rasterio.CRS.from_proj4(
        "+proj=aea +lat_1=-2 +lat_2=-22 +lat_0=-12 +lon_0=-54 +ellps=GRS80"
    ).to_wkt()
    grid = Grid(wkt, (64, 0, 0, 0, -64, 0), 20, 10)
    path = write_cog(tmp_path / "a.tif", np.zeros((10, 20), np.uint8), grid, nodata=None)
    with rasterio.open(path) as dataset:
        assert dataset.crs.to_epsg() is None and "Albers" in dataset.crs.to_wkt()


def test_a_full_disk_leaves_the_old_file_or_the_whole_new_one(tmp_path: Path) -> None:
    old = np.zeros((600, 700), np.int16)
    new = np.random.default_rng(2).integers(0, 200, (2, 600, 700)).astype(np.int16)
    told = whole = 0
    with small_disk(tmp_path / "disk", kilobytes=5000) as disk:
        path = write_cog(disk / "a.tif", old, GRID, nodata=-1)
        before = path.read_bytes()
        for kilobytes in range(0, 4000, 100):
            with room_of(disk, kilobytes):
                try:
                    write_cog(path, new, GRID, nodata=-1, band_descriptions=("a", "b"))
                except DiskFullError as error:
                    assert str(path) in str(error) and "The disk may be full" in str(error)
                    assert path.read_bytes() == before
                    told += 1
                else:
                    with rasterio.open(path) as dataset:
                        np.testing.assert_array_equal(dataset.read(), new)
                        assert dataset.read(out_shape=(2, 300, 350)).max() > 0
                    path.write_bytes(before)
                    whole += 1
            assert {item.name for item in disk.iterdir()} == {"a.tif"}
    assert told > 10 and whole > 3


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda path: os.truncate(path, path.stat().st_size // 2), "cannot be written"),
        (lambda path: os.truncate(path, path.stat().st_size - 400), "cannot be written"),
        (lambda path: os.truncate(path, 100), "cannot be written"),
        (lambda path: os.truncate(path, 0), "cannot be written"),
        (lambda path: rewrite(path, lambda pixels: pixels.__setitem__((0, 599, 699), 77)), "pixels"),
        (lambda path: rewrite(path, lambda _: None, descriptions=("a", "c")), "description"),
    ],
)
def test_what_was_stored_otherwise_than_given_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: Callable[[Path], None], reason: str
) -> None:
    from rasterio import shutil

    copy = shutil.copy

    def lossy(source: object, target: Path, **options: object) -> None:
        copy(source, target, **options)
        damage(target)

    monkeypatch.setattr(shutil, "copy", lossy)
    array = np.random.default_rng(3).integers(0, 100, (2, 600, 700)).astype(np.uint8)
    with pytest.raises(DiskFullError, match=reason):
        write_cog(tmp_path / "a.tif", array, GRID, nodata=255, band_descriptions=("a", "b"))
    assert list(tmp_path.iterdir()) == []


def test_an_overview_with_a_hole_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from rasterio import shutil

    def holed(source: rasterio.DatasetReader, target: Path, **_: object) -> None:
        profile = source.profile | {"sparse_ok": True}
        with rasterio.open(target, "w", **profile) as out:
            out.write(source.read())
        with rasterio.open(target, "r+", SPARSE_OK=True) as out:
            out.build_overviews([2])  # of an image that is all nodata at one corner: no tile is stored there

    monkeypatch.setattr(shutil, "copy", holed)
    array = np.ones((600, 700), np.uint8)
    array[:512, :512] = 0
    with rasterio.Env(SPARSE_OK_OVERVIEW="YES"), pytest.raises(DiskFullError, match="overviews"):
        write_cog(tmp_path / "a.tif", array, GRID, nodata=0)
    assert list(tmp_path.iterdir()) == []


def rewrite(path: Path, change: Callable[[np.ndarray], object], **said: object) -> None:
    """Change pixels or texts of a raster in place."""
    with rasterio.open(path, "r+", IGNORE_COG_LAYOUT_BREAK="YES") as dataset:
        pixels = dataset.read()
        change(pixels)
        dataset.write(pixels)
        for name, value in said.items():
            setattr(dataset, name, value)


@pytest.mark.parametrize(
    ("array", "options", "message"),
    [
        (np.zeros((5, 5), np.uint8), {}, "the grid"),
        (np.zeros((2, 600, 700), np.uint8), {"band_descriptions": ("one",)}, "1 descriptions for 2"),
        (np.zeros((600, 700), np.int16), {"colour_table": {1: "#000000"}}, "one band of uint8"),
    ],
)
def test_what_does_not_fit_is_refused(tmp_path: Path, array: np.ndarray, options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        write_cog(tmp_path / "a.tif", array, GRID, nodata=0, **options)
    assert list(tmp_path.iterdir()) == []
