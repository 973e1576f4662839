"""COGs of a run: valid, whole, with the right overviews, colours and words."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rasterio
from rio_cogeo.cogeo import cog_validate

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


def test_a_failed_write_leaves_the_old_file_and_no_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_cog(tmp_path / "a.tif", np.zeros((600, 700), np.uint8), GRID, nodata=0)
    before = path.read_bytes()

    def broken(*args: object, **options: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr("rasterio.shutil.copy", broken)
    with pytest.raises(OSError, match="disk full"):
        write_cog(path, np.ones((600, 700), np.uint8), GRID, nodata=0)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["a.tif"]


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
