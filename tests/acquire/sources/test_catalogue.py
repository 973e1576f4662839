"""Names, periods and places, and what the files of a SAFE product are."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st

from eo_pipeline.acquire.products import Product, Query
from eo_pipeline.acquire.sources.catalogue import (
    Asked,
    Window,
    find_files,
    footprint_of,
    in_order,
    key_of,
    plain_area,
    read_name,
    read_time,
    windows,
)
from eo_pipeline.errors import ArchiveError


@pytest.mark.parametrize(
    ("name", "level", "baseline", "orbit", "tile"),
    [
        ("S2A_MSIL2A_20231008T175231_N0509_R141_T13TDE_20231008T233154.SAFE", "L2A", "05.09", 141, "13TDE"),
        ("S2B_MSIL2A_20240419T095549_R122_T47XML_20240419T123458", "L2A", "", 122, "47XML"),
        ("S2A_MSIL1C_20200808T010311_N0500_R045_T54PXA_20230413T212505.SAFE", "L1C", "05.00", 45, "54PXA"),
        ("S1A_IW_GRDH_1SDV_20240419T045904_20240419T045916_053498_067DF2_DCEC.SAFE", "GRD", "", None, ""),
        ("S1A_IW_SLC__1SDV_20151219T093202_20151219T093229_009109_00D1A5_4D3B", "SLC", "", None, ""),
        ("S2A_13TDE_20231008_0_L2A", "", "", None, ""),
    ],
)
def test_names(name: str, level: str, baseline: str, orbit: int | None, tile: str) -> None:
    told = read_name(name)
    assert (told.level, told.baseline, told.orbit, told.tile) == (level, baseline, orbit, tile)


def test_times() -> None:
    expected = datetime(2024, 6, 1, 3, 35, 41, tzinfo=UTC)
    for text in ("2024-06-01T03:35:41Z", "2024-06-01 03:35:41+00:00", "2024-06-01T11:35:41+08:00"):
        assert read_time(text, source="x") == expected
    with pytest.raises(ArchiveError, match="x tells the time"):
        read_time("yesterday", source="x")


@given(
    start=st.dates(date(2015, 1, 1), date(2030, 1, 1)),
    days=st.integers(0, 1500),
    months=st.integers(1, 12),
)
def test_windows_make_up_the_period(start: date, days: int, months: int) -> None:
    end = start + timedelta(days=days)
    query = Query("sentinel-2-l2a", "POINT (0 0)", start, end)
    found = list(windows(query, months=months))
    assert found[0].start == datetime(start.year, start.month, start.day, tzinfo=UTC)
    assert found[-1].end == datetime(end.year, end.month, end.day, tzinfo=UTC) + timedelta(days=1)
    assert all(a.end == b.start for a, b in pairwise(found))
    assert all(w.end - w.start <= timedelta(days=31 * months) for w in found)


@given(st.integers(2, 10**10))
def test_halves_make_up_the_window(milliseconds: int) -> None:
    start = datetime(2024, 1, 1, tzinfo=UTC)
    window = Window(start, start + timedelta(milliseconds=milliseconds))
    left, right = window.halves()
    assert (left.start, left.end, right.end) == (window.start, right.start, window.end)
    assert left.start < left.end < right.end
    assert not window.whole


@given(st.lists(st.tuples(st.floats(-170, 170), st.floats(-80, 80)), min_size=3, max_size=90))
def test_plain_area_is_never_smaller(points: list[tuple[float, float]]) -> None:
    area = shapely.MultiPoint(points).buffer(0.5)
    plain = shapely.from_wkt(plain_area(area.wkt))
    assert plain.geom_type == "Polygon"
    assert len(plain.exterior.coords) <= 60
    assert plain.buffer(1e-5).covers(area)


@pytest.mark.parametrize("wkt", ["POLYGON EMPTY", "POLYGON ((0 0, 1"])
def test_area_that_is_none(wkt: str) -> None:
    with pytest.raises(ArchiveError, match=r"Correct \[region\]"):
        plain_area(wkt)


def product(name: str, sensed: datetime, footprint: str = "") -> Product:
    return Product("x", name, name, "sentinel-2-l2a", "48SWE", sensed, footprint)


def test_batches_that_overlap_by_minutes_are_put_in_order() -> None:
    noon = datetime(2024, 6, 1, 12, tzinfo=UTC)
    first = [product("b", noon), product("a", noon), product("c", noon + timedelta(minutes=50))]
    second = [product("c", noon + timedelta(minutes=50)), product("d", noon + timedelta(minutes=40))]
    assert [p.id for p in in_order([first, [], second])] == ["a", "b", "d", "c"]


def test_place_is_judged_by_the_area_itself() -> None:
    # an L-shaped area, whose hull holds a corner that is none of it
    area = "POLYGON ((0 0, 4 0, 4 1, 1 1, 1 4, 0 4, 0 0))"
    asked = Asked(Query("sentinel-2-l2a", area, date(2024, 6, 1), date(2024, 6, 30)))
    when = datetime(2024, 6, 5, tzinfo=UTC)
    assert asked.wants(product("in", when, "POLYGON ((3 0.5, 5 0.5, 5 2, 3 2, 3 0.5))"))
    assert not asked.wants(product("corner", when, "POLYGON ((2 2, 2.5 2, 2.5 2.5, 2 2))"))
    assert asked.wants(product("unknown", when))
    assert not asked.wants(product("late", datetime(2024, 7, 1, tzinfo=UTC)))


def test_a_footprint_over_the_date_line_does_not_span_the_world() -> None:
    ring = [[179.6, -16.5], [-179.4, -16.5], [-179.4, -17.4], [179.6, -17.4], [179.6, -16.5]]
    footprint = shapely.from_wkt(footprint_of({"type": "Polygon", "coordinates": [ring]}))
    assert footprint.geom_type == "MultiPolygon" and footprint.area == pytest.approx(0.9)
    assert footprint.intersects(shapely.Point(179.9, -17)) and footprint.intersects(
        shapely.Point(-179.9, -17)
    )
    assert not footprint.intersects(shapely.box(105, -18, 107, -16))


@pytest.mark.realdata
def test_files_of_real_products_have_their_keys(shared_data: Path) -> None:
    # given the files that real manifests list
    def keys(place: Path) -> list[str]:
        hrefs = re.findall(r'href="(?:\./)?([^"]+)"', (place / "manifest.safe").read_text())
        return sorted(key for href in set(hrefs) if (key := key_of(href)))

    radar = next((shared_data / "safe-metadata" / "sentinel1").glob("*.SAFE"))
    name = "S2A_MSIL2A_20230821T221941_N0509_R029_T01KAB_20230822T021825.SAFE"
    optical = shared_data / "safe-metadata" / "sentinel2" / name
    # then each is found once, bands at one resolution only
    assert keys(radar) == [
        "schema-calibration-vh", "schema-calibration-vv", "schema-noise-vh", "schema-noise-vv",
        "schema-product-vh", "schema-product-vv", "vh", "vv",
    ]  # fmt: skip
    assert keys(optical) == [
        "B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B09", "B11", "B12", "B8A", "MTD_MSIL2A",
        "MTD_TL", "SCL",
    ]  # fmt: skip


def test_radar_files_need_three_listings() -> None:
    asked: list[tuple[str, ...]] = []
    stem = "s1a-iw-grd-vv-20240601t224158-20240601t224223-054140-0695a0-001"
    tree = {
        ("measurement",): [(f"{stem}.tiff", 9), (f"{stem.replace('vv', 'vh')}.tiff", 8)],
        ("annotation",): [(f"{stem}.xml", 7), ("calibration", None)],
        ("annotation", "calibration"): [(f"calibration-{stem}.xml", 6), (f"noise-{stem}.xml", 5)],
    }

    def listing(parts: tuple[str, ...]) -> list[tuple[str, int | None]]:
        asked.append(parts)
        return tree[parts]

    keys = ("vv", "vh", "schema-product-vv", "schema-calibration-vv", "schema-noise-vv")
    found = find_files(keys, listing)
    assert {key: size for key, (_, size) in found.items()} == dict(zip(keys, (9, 8, 7, 6, 5), strict=True))
    assert found["schema-noise-vv"][0] == f"annotation/calibration/noise-{stem}.xml"
    assert len(asked) == 3
