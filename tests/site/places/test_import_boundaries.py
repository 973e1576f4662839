"""`manage.py import_boundaries`: formats, repair, datum, former codes, and everything it refuses."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path
from typing import Any

import pyogrio.raw
import pytest
import shapely
from django.contrib.gis.geos import Point
from django.core.management import CommandError, call_command

from places.boundaries import read_boundaries
from places.datum import wgs84_to_gcj02
from places.models import Unit
from places.selectors import county_code_of, find_unit

pytestmark = pytest.mark.django_db


@pytest.fixture
def units(db: None) -> None:
    call_command("load_demo_places", stdout=io.StringIO())


def square(lon: float, lat: float, half: float = 0.1) -> dict[str, Any]:
    ring = [
        [lon - half, lat - half],
        [lon + half, lat - half],
        [lon + half, lat + half],
        [lon - half, lat + half],
    ]
    return {"type": "Polygon", "coordinates": [[*ring, ring[0]]]}


def geojson(path: Path, rows: list[tuple[dict[str, Any], Any]]) -> Path:
    features = [
        {"type": "Feature", "properties": properties, "geometry": shape} for properties, shape in rows
    ]
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    return path


def run(*arguments: object) -> str:
    out = io.StringIO()
    call_command("import_boundaries", *[str(argument) for argument in arguments], stdout=out)
    return out.getvalue()


def snapshot() -> list[tuple[Any, ...]]:
    return [
        (u.adcode, u.name, u.schematic, u.source, u.outline.wkt if u.outline else None)
        for u in Unit.objects.all()
    ]


def refused(*arguments: object) -> str:
    before = snapshot()
    with pytest.raises(CommandError) as caught:
        run(*arguments)
    assert caught.value.returncode == 2
    assert snapshot() == before  # nothing half-imported
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_demo_places_are_marked_schematic_and_loaded_once(units: None) -> None:
    call_command("load_demo_places", stdout=io.StringIO())
    assert Unit.objects.filter(level="county").count() == 7
    assert Unit.objects.filter(level="prefecture").get().name == "平凉市"
    assert not Unit.objects.filter(schematic=False).exists()
    assert Unit.objects.get(pk="620881").former_codes == ["620824"]
    assert Unit.objects.get(pk="620826").outline.contains(Point(105.668, 35.429, srid=4326))


def test_a_county_is_replaced_and_running_again_changes_nothing(units: None, tmp_path: Path) -> None:
    path = geojson(
        tmp_path / "counties.geojson", [({"adcode": 620802, "name": "崆峒区"}, square(106.7, 35.5))]
    )
    assert "changed" in run(path)
    unit = Unit.objects.get(pk="620802")
    assert not unit.schematic
    assert unit.outline.extent == pytest.approx((106.6, 35.4, 106.8, 35.6))
    before = snapshot()
    assert "unchanged" in run(path)
    assert snapshot() == before
    # the schematic loader leaves an official outline alone
    call_command("load_demo_places", stdout=io.StringIO())
    assert snapshot() == before


def test_dry_run_and_schematic_mark(units: None, tmp_path: Path) -> None:
    path = geojson(tmp_path / "counties.geojson", [({"adcode": "620802"}, square(106.7, 35.5))])
    before = snapshot()
    assert "dry run" in run(path, "--dry-run")
    assert snapshot() == before
    run(path, "--schematic")
    assert Unit.objects.get(pk="620802").schematic


def test_an_invalid_polygon_is_repaired_and_named(units: None, tmp_path: Path) -> None:
    bow = [[106.6, 35.4], [106.8, 35.6], [106.8, 35.4], [106.6, 35.6], [106.6, 35.4]]
    path = geojson(
        tmp_path / "bow.geojson", [({"adcode": "620802"}, {"type": "Polygon", "coordinates": [bow]})]
    )
    answer = run(path)
    assert "repaired: Self-intersection" in answer
    assert "1 repaired" in answer
    outline = Unit.objects.get(pk="620802").outline
    assert outline.valid
    assert outline.area == pytest.approx(0.02)  # both halves of the bow tie are kept


def test_gcj02_is_converted_only_when_told(units: None, tmp_path: Path) -> None:
    corners = [(106.6, 35.4), (106.8, 35.4), (106.8, 35.6), (106.6, 35.6), (106.6, 35.4)]
    shifted = [[float(v) for v in wgs84_to_gcj02(*corner)] for corner in corners]
    path = geojson(
        tmp_path / "amap.geojson", [({"adcode": "620802"}, {"type": "Polygon", "coordinates": [shifted]})]
    )
    run(path, "--datum", "gcj02")
    assert Unit.objects.get(pk="620802").outline.extent == pytest.approx((106.6, 35.4, 106.8, 35.6), abs=1e-8)
    run(path)
    assert Unit.objects.get(pk="620802").outline.extent[0] > 106.603  # some 390 m off, as the file is


def test_former_code_of_huating_is_mapped(units: None, tmp_path: Path) -> None:
    path = geojson(tmp_path / "old.geojson", [({"adcode": "620824", "name": "华亭县"}, square(106.6, 35.2))])
    assert "620824 → 620881" in run(path)
    unit = Unit.objects.get(pk="620881")
    assert (unit.name, unit.former_codes) == ("华亭市", ["620824"])
    assert find_unit("620824") == unit
    assert find_unit("999999") is None


@pytest.mark.parametrize("suffix", [".gpkg", ".shp", ".zip"])
def test_projected_files_of_each_format(units: None, tmp_path: Path, suffix: str) -> None:
    # 3° Gauss-Krüger, central meridian 108° E, CGCS2000
    polygon = shapely.box(400_000, 3_900_000, 410_000, 3_910_000)
    path = tmp_path / ("units" + (".shp" if suffix == ".zip" else suffix))
    import numpy as np

    pyogrio.raw.write(
        path,
        geometry=np.array([shapely.to_wkb(polygon)], dtype=object),
        field_data=[np.array(["620821"], dtype=object), np.array(["泾川县"], dtype=object)],
        fields=["code", "name"],
        crs="EPSG:4545",
        geometry_type="Polygon",
        encoding="UTF-8" if suffix != ".gpkg" else None,
    )
    if suffix == ".zip":
        with zipfile.ZipFile(tmp_path / "units.zip", "w") as archive:
            for part in tmp_path.glob("units.*"):
                if part.suffix != ".zip":
                    archive.write(part, part.name)
        path = tmp_path / "units.zip"
    answer = run(path)
    assert "100.0 km²" in answer  # 10 km × 10 km, 0.02 % scale error at most here
    west, south, east, north = Unit.objects.get(pk="620821").outline.extent
    assert 106.8 < west < east < 107.1
    assert 35.2 < south < north < 35.4


def test_new_townships_are_created_below_their_county(units: None, tmp_path: Path) -> None:
    rows = [({"code": "620826216000", "name": "新店乡"}, square(105.6, 35.6, 0.02))]
    answer = run(geojson(tmp_path / "t.geojson", rows), "--level", "township")
    assert "new" in answer
    unit = Unit.objects.get(pk="620826216")
    assert (unit.name, unit.parent_id, unit.level, county_code_of(unit)) == (
        "新店乡",
        "620826",
        "township",
        "620826",
    )
    nameless = geojson(tmp_path / "n.geojson", [({"code": "620826224"}, square(105.6, 35.6, 0.02))])
    assert "--name-field" in refused(nameless, "--level", "township")


def test_a_file_without_polygons_is_refused(units: None, tmp_path: Path) -> None:
    points = geojson(
        tmp_path / "points.geojson", [({"adcode": "620802"}, {"type": "Point", "coordinates": [106, 35]})]
    )
    message = refused(points)
    assert "points.geojson" in message
    assert "Polygon" in message
    assert "holds no feature" in refused(geojson(tmp_path / "empty.geojson", []))
    nothing = geojson(tmp_path / "null.geojson", [({"adcode": "620802"}, None)])
    assert "null.geojson" in refused(nothing)


def test_unknown_codes_are_refused_whole(units: None, tmp_path: Path) -> None:
    rows = [
        ({"adcode": "620802"}, square(106.7, 35.5)),
        ({"adcode": "620102", "name": "城关区"}, square(103.8, 36.0)),
    ]
    path = geojson(tmp_path / "two.geojson", rows)
    message = refused(path)
    assert "620102 城关区" in message
    assert "--where" in message
    assert "1 unit(s)" in run(path, "--where", "adcode = '620802'")


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([({"adcode": "6208"}, square(106.7, 35.5))], "'6208' is not one of 6 digits"),
        ([({"adcode": None}, square(106.7, 35.5)), ({"adcode": "620802"}, square(106.7, 35.5))], "feature 1"),
        (
            [({"adcode": "620802"}, square(106.7, 35.5)), ({"adcode": "620802"}, square(106.9, 35.5))],
            "comes twice",
        ),
        (
            [({"adcode": "620881"}, square(106.6, 35.2)), ({"adcode": "620824"}, square(106.6, 35.1))],
            "comes twice",
        ),
        ([({"what": "620802"}, square(106.7, 35.5))], "--code-field"),
        ([({"adcode": "620802"}, square(35.5, 80.0))], "not in China"),
    ],
)
def test_bad_rows_are_named(units: None, tmp_path: Path, rows: list[Any], said: str) -> None:
    assert said in refused(geojson(tmp_path / "bad.geojson", rows))


def test_unreadable_files_are_refused(units: None, tmp_path: Path) -> None:
    assert "does not exist" in refused(tmp_path / "nowhere.gpkg")
    broken = tmp_path / "broken.gpkg"
    broken.write_bytes(b"not a database")
    assert "cannot be read" in refused(broken)


def test_a_field_can_be_named(units: None, tmp_path: Path) -> None:
    path = geojson(tmp_path / "x.geojson", [({"stat_id": 620802.0}, square(106.7, 35.5))])
    assert "1 unit(s)" in run(path, "--code-field", "STAT_ID")


@pytest.mark.realdata
def test_real_county_file_has_three_invalid_polygons_and_the_listed_areas(
    units: None, shared_data: Path
) -> None:
    path = shared_data / "pingliang-boundaries" / "620800_counties_datav_gcj02.geojson"
    # SOURCE.txt gives the areas of the coordinates as they stand, i.e. not converted from GCJ-02.
    as_they_stand = {boundary.code: boundary for boundary in read_boundaries(path, datum="wgs84")}
    listed = {"620802": 1938.0, "620821": 1469.7, "620822": 1968.0, "620823": 857.3, "620825": 1510.3,
              "620826": 2187.9, "620881": 1197.6}  # fmt: skip
    assert {code for code, boundary in as_they_stand.items() if boundary.repaired} == {
        "620802",
        "620825",
        "620826",
    }
    for code, area in listed.items():
        assert as_they_stand[code].area_km2 == pytest.approx(area, rel=0.001)
    # Converted, the areas are those of the domain's table.
    answer = run(path, "--datum", "gcj02")
    assert "3 repaired" in answer
    converted = {"620802": 1936, "620821": 1468, "620822": 1966, "620823": 855, "620825": 1508,
                 "620826": 2186, "620881": 1197}  # fmt: skip
    found = {boundary.code: boundary.area_km2 for boundary in read_boundaries(path, datum="gcj02")}
    for code, area in converted.items():
        assert found[code] == pytest.approx(area, rel=0.001)
    assert all(unit.outline.valid and not unit.schematic for unit in Unit.objects.filter(level="county"))


@pytest.mark.realdata
def test_real_file_of_2015_maps_the_former_code(units: None, shared_data: Path) -> None:
    answer = run(shared_data / "pingliang-boundaries" / "620800_counties_2015_coarse.geojson")
    assert "620824 → 620881" in answer
    assert Unit.objects.get(pk="620881").schematic is False
