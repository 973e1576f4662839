"""GRD on a grid, placed by ESA's own annotation: an image whose numbers tell where each pixel lies in it."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import rasterio

from eo_pipeline.cube.ground_range import GroundRange
from eo_pipeline.errors import SourceError
from eo_pipeline.grid import Block, Grid
from eo_pipeline.scenes.range_doppler import read_geometry, undulation, upright
from eo_pipeline.scenes.sentinel1 import Radar, read_radar

pytestmark = pytest.mark.realdata
NAME = "S1B_IW_GRDH_1SDV_20210401T052623_20210401T052648_026269_032297_ECC8.SAFE"
#: The image is made at a tenth of its size.
SMALL = 10
GRID = Grid("EPSG:32633", (100.0, 0.0, 270_000.0, 0.0, -100.0, 5_220_000.0), 120, 90)


def tables(kind: str, names: tuple[str, ...], value: float) -> str:
    told = "".join(f"<{name}>{value} {value}</{name}>" for name in names)
    rows = "".join(f"<{kind}><line>{line}</line><pixel>0 25787</pixel>{told}</{kind}>" for line in (0, 16684))
    return f"<made>{rows}</made>"


@pytest.fixture(scope="module")
def product(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Radar:
    """Real annotation; VV tells an image's line in its numbers, VH its pixel; A is 10, noise 100."""
    place = tmp_path_factory.mktemp("grd") / NAME
    shutil.copytree(shared_data / "safe-metadata/sentinel1" / NAME, place)
    for folder in ("measurement", "annotation/calibration"):
        (place / folder).mkdir()
    height, width = 16685 // SMALL, 25788 // SMALL
    rows, cols = np.mgrid[:height, :width]
    for name, numbers in (("vv", 500 + rows), ("vh", 500 + cols)):
        options = {"driver": "GTiff", "width": width, "height": height, "count": 1, "dtype": "uint16"}
        points = [rasterio.control.GroundControlPoint(0, 0, 12.0, 47.0)]  # not what places it
        path = place / "measurement" / f"s1b-iw-grd-{name}-20210401.tiff"
        with rasterio.open(path, "w", gcps=points, crs="EPSG:4326", **options) as raster:
            raster.write(numbers.astype(np.uint16), 1)
        calibration = place / "annotation/calibration"
        (calibration / f"calibration-s1b-iw-grd-{name}-x.xml").write_text(
            tables("calibrationVector", ("gamma",), 10.0)
        )
        (calibration / f"noise-s1b-iw-grd-{name}-x.xml").write_text(
            tables("noiseRangeVector", ("noiseRangeLut",), 100.0)
        )
    return read_radar(place)


def dem(folder: Path) -> tuple[Path, np.ndarray]:
    """Heights above the sea on the grid's own pixels, 600 to 2600 m, without some."""
    heights = np.random.default_rng(3).uniform(600, 2600, GRID.shape).astype(np.float32)
    heights[:5] = -9999
    options = {"driver": "GTiff", "width": GRID.width, "height": GRID.height, "count": 1, "dtype": "float32"}
    with rasterio.open(
        folder / "dem.tif", "w", crs=GRID.crs, transform=GRID.affine, nodata=-9999, **options
    ) as raster:
        raster.write(heights, 1)
    return folder / "dem.tif", np.where(heights == -9999, np.nan, heights)


def test_numbers_come_from_the_line_and_pixel_of_each_height(product: Radar, tmp_path: Path) -> None:
    path, heights = dem(tmp_path)
    whole = Block("", 0, 0, *GRID.shape)
    told = []
    for name in ("vv", "vh"):
        with GroundRange(product, name, GRID, (path,)) as image:
            power = image.read(whole, slice(0, GRID.height))
            part = image.read(Block("", 30, 41, 50, 60), slice(7, 20))
        np.testing.assert_array_equal(part, power[37:50, 41:101])
        # (DN² − 100) / 10² is what was made of the number
        told.append(np.sqrt(power * 100 + 100) - 500)
    assert (np.isnan(told[0]) == np.isnan(heights)).all()
    geometry = read_geometry(Path(product.annotation["vv"]).read_bytes(), "real.xml")
    from pyproj import Transformer

    change = Transformer.from_crs(32633, 4326, always_xy=True)
    for y, x in ((20, 0), (45, 60), (89, 119)):
        lon, lat = change.transform(270_000 + 100 * (x + 0.5), 5_220_000 - 100 * (y + 0.5))
        height = heights[y, x] + undulation(lon, lat)
        corners = np.broadcast_to(upright(lon, lat), (2, 2, 6))
        line, pixel = geometry.find(corners, np.array([[float(height)]]))
        # 10 m: between the corners of so wide a window (12 km, where a whole image has 2.5 km) the earth
        # bulges by 4 m
        assert told[0][y, x] == pytest.approx((line[0, 0] + 0.5) / SMALL - 0.5, abs=0.12)
        assert told[1][y, x] == pytest.approx((pixel[0, 0] + 0.5) / SMALL - 0.5, abs=0.12)


def test_beyond_the_image_there_is_nothing(product: Radar) -> None:
    for aside in (-300_000, 300_000, -60_000):
        a, b, c, d, e, f = GRID.transform
        grid = replace(GRID, transform=(a, b, c + aside, d, e, f))
        with GroundRange(product, "vv", grid) as image:
            seen = np.isfinite(image.read(Block("", 0, 0, *grid.shape), slice(0, grid.height))).mean()
        assert seen == 0 if abs(aside) == 300_000 else 0 <= seen <= 1
    # a grid in degrees sees the same ground
    degrees = Grid("EPSG:4326", (0.001, 0.0, 12.1, 0.0, -0.001, 47.05), 50, 50)
    with GroundRange(product, "vv", degrees) as image:
        values = image.read(Block("", 0, 0, 50, 50), slice(0, 50))
    assert np.isfinite(values).all() and (np.diff(values, axis=0) > 0).all()  # it flies south


def test_what_is_missing_or_does_not_fit_is_named(product: Radar, tmp_path: Path) -> None:
    for part, told in (
        ("calibration", "no calibration annotation of VV"),
        ("annotation", "no annotation of VV"),
    ):
        with pytest.raises(SourceError, match=told), GroundRange(replace(product, **{part: {}}), "vv", GRID):
            pass
    # without noise vectors nothing is taken away
    with GroundRange(replace(product, noise={}), "vv", GRID) as image:
        assert image.power(3, 4, 4, 5)[0, 0] == pytest.approx(503**2 / 100)
    short = tmp_path / "short.tif"
    options = {"driver": "GTiff", "width": 900, "height": 100, "count": 1, "dtype": "uint16", "crs": GRID.crs}
    with rasterio.open(short, "w", transform=GRID.affine, **options) as raster:
        raster.write(np.zeros((100, 900), np.uint16), 1)
    other = replace(product, files={"vv": str(short)})
    with pytest.raises(SourceError, match="do not belong together"), GroundRange(other, "vv", GRID):
        pass
    short.write_bytes(b"II*")
    with pytest.raises(SourceError, match="It is damaged"), GroundRange(other, "vv", GRID):
        pass
