"""Tiles of Sentinel-2 against real geopositions, and the squares that own pixels."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import shapely
import shapely.geometry
from hypothesis import given
from hypothesis import strategies as st

from eo_pipeline.errors import SourceError
from eo_pipeline.mgrs import tile_frame, tiles_over

#: ULX and ULY in the metadata of real products.
REAL = {
    "47XML": (32647, 399960, 9100020),
    "01KAB": (32701, 99960, 8200000),
    "60CWS": (32760, 499980, 1200040),
    "34LBP": (32734, 199980, 8900020),
    "22HBD": (32722, 199980, 5900020),
    "46RER": (32646, 499980, 3100020),
    "29RKH": (32629, 199980, 2800020),
    "28QCH": (32628, 300000, 2300040),
    "06VVN": (32606, 399960, 6800040),
    "35MNM": (32735, 499980, 9200020),
    "07HFE": (32707, 600000, 6500020),
    "01WCS": (32601, 300000, 7700040),
    "33XWJ": (32633, 499980, 8900040),
    "01CCV": (32701, 300000, 2000020),
    "34VEL": (32634, 499980, 6600000),
}


@pytest.mark.parametrize(("name", "place"), REAL.items())
def test_tiles_lie_where_real_products_lie(name: str, place: tuple[int, int, int]) -> None:
    frame = tile_frame(name)
    assert (frame.epsg, frame.ulx, frame.uly) == place


@pytest.mark.parametrize("name", REAL)
def test_a_tile_holds_its_square(name: str) -> None:
    frame = tile_frame(name)
    assert shapely.box(*frame.bounds).covers(shapely.box(*frame.square))
    assert frame.square[2] - frame.square[0] == frame.square[3] - frame.square[1] == 100_000
    assert all((frame.ulx - side) % 10 == 0 for side in frame.square[::2])


@pytest.mark.parametrize("name", ["48SXZ", "48IXD", "61SXD", "00SXD", "48SAD", "XD", "48NXV"])
def test_names_of_no_tile_are_refused(name: str) -> None:
    with pytest.raises(SourceError, match=r"MGRS tile|column|no row"):
        tile_frame(name)


@pytest.mark.realdata
@pytest.mark.parametrize("file", ["620800_counties_datav_gcj02", "620800_counties_2015_coarse"])
def test_pingliang_lies_in_six_tiles(shared_data: Path, file: str) -> None:
    document = json.loads((shared_data / "pingliang-boundaries" / f"{file}.geojson").read_text())
    shapes = [shapely.make_valid(shapely.geometry.shape(f["geometry"])) for f in document["features"]]
    found = tiles_over(shapely.union_all(shapes).wkt)
    assert found == ("48SWD", "48SWE", "48SXD", "48SXE", "48SYD", "48SYE")


def test_a_region_over_the_date_line_has_tiles_on_both_sides() -> None:
    expected = ("01KAB", "01KBB", "60KYG", "60KZG")
    assert tiles_over(shapely.box(179.5, -17, 180.5, -16.5).wkt) == expected
    assert tiles_over(shapely.box(-180.5, -17, -179.5, -16.5).wkt) == expected
    both = shapely.MultiPolygon([shapely.box(179.5, -17, 180, -16.5), shapely.box(-180, -17, -179.5, -16.5)])
    assert tiles_over(both.wkt) == expected


def test_bergen_lies_in_the_widened_zone() -> None:
    # 5.3° E would be zone 31, but zone 32 reaches to 3° E over south-west Norway
    assert tiles_over(shapely.box(5.2, 60.3, 5.5, 60.5).wkt) == ("32VKM", "32VKN", "32VLM", "32VLN")


@pytest.mark.parametrize(
    ("wkt", "message"),
    [
        (shapely.box(0, 85, 10, 88).wkt, "UPS"),
        (shapely.box(0, -89, 10, -82).wkt, "UPS"),
        ("POLYGON EMPTY", "empty"),
        ("POLYGON((1 2", "no WKT"),
        (shapely.box(600_000, 3_900_000, 610_000, 3_910_000).wkt, "EPSG:4326"),
    ],
)
def test_regions_outside_all_tiles_are_refused(wkt: str, message: str) -> None:
    with pytest.raises(SourceError, match=message):
        tiles_over(wkt)


@given(
    lon=st.floats(-179.9, 179.9).filter(lambda x: abs(x / 6 - round(x / 6)) > 0.01),
    lat=st.floats(-79.5, 71.5).filter(lambda y: abs(y / 8 - round(y / 8)) > 0.01),
)
def test_every_place_lies_in_the_square_of_its_one_tile(lon: float, lat: float) -> None:
    from pyproj import Transformer

    place = shapely.box(lon, lat, lon + 1e-6, lat + 1e-6)
    names = tiles_over(place.wkt)
    for name in names:
        frame = tile_frame(name)
        x, y = Transformer.from_crs(4326, frame.epsg, always_xy=True).transform(lon, lat)
        left, bottom, right, top = frame.square
        assert left - 1 <= x <= right + 1
        assert bottom - 1 <= y <= top + 1
    assert len(names) == 1 or len({tile_frame(name).square for name in names}) == len(names)
