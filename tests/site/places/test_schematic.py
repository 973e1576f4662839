"""Schematic outlines: the listed areas, shared borders, centres inside; townships fill their county."""

from __future__ import annotations

import itertools

import pytest
import shapely
from pyproj import Geod

from places.facts import COUNTIES, TOWNSHIPS, current_code
from places.schematic import Outline, county_outlines, prefecture_outline, township_outlines

GEOD = Geod(ellps="WGS84")
NEIGHBOURS = {
    ("620802", "620821"), ("620802", "620823"), ("620802", "620881"), ("620821", "620822"), ("620821",
    "620823"),
    ("620822", "620823"), ("620823", "620881"), ("620825", "620826"), ("620825", "620881"),
}  # fmt: skip


def area_km2(outline: shapely.Geometry) -> float:
    return abs(GEOD.geometry_area_perimeter(outline)[0]) / 1e6


@pytest.fixture(scope="module")
def counties() -> tuple[Outline, ...]:
    return county_outlines()


def test_counties_have_about_the_listed_areas(counties: tuple[Outline, ...]) -> None:
    listed = {county.code: county.area_km2 for county in COUNTIES}
    for outline in counties:
        assert area_km2(outline.polygon) == pytest.approx(listed[outline.code], rel=0.02)


def test_counties_are_valid_whole_and_hold_their_centre(counties: tuple[Outline, ...]) -> None:
    centres = {county.code: county.centroid for county in COUNTIES}
    assert len(counties) == 7
    for outline in counties:
        assert outline.polygon.is_valid
        assert len(outline.polygon.geoms) == 1
        assert outline.polygon.covers(shapely.Point(centres[outline.code]))


def test_neighbours_share_borders_and_nothing_overlaps(counties: tuple[Outline, ...]) -> None:
    sharing = set()
    for one, other in itertools.combinations(counties, 2):
        common = one.polygon.intersection(other.polygon)
        assert common.area == 0
        if common.length > 0.02:
            sharing.add(tuple(sorted((one.code, other.code))))
    assert sharing == NEIGHBOURS
    whole = prefecture_outline(counties)
    assert len(whole.geoms) == 1
    assert area_km2(whole) == pytest.approx(sum(county.area_km2 for county in COUNTIES), rel=0.01)


def test_townships_fill_their_county(counties: tuple[Outline, ...]) -> None:
    townships = township_outlines(counties)
    assert {outline.code for outline in townships} == {township.code for township in TOWNSHIPS}
    for county in counties:
        members = [outline.polygon for outline in townships if outline.code.startswith(county.code)]
        assert len(members) >= 4
        assert sum(member.area for member in members) == pytest.approx(county.polygon.area, rel=1e-9)


def test_the_result_is_the_same_every_time(counties: tuple[Outline, ...]) -> None:
    assert [outline.polygon.wkt for outline in county_outlines.__wrapped__()] == [
        outline.polygon.wkt for outline in counties
    ]


def test_former_codes_lead_to_those_of_today() -> None:
    assert current_code("620824") == "620881"
    assert current_code("620824101") == "620881101"
    assert current_code("620802") == "620802"
