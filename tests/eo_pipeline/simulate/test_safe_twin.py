"""The twin as SAFE products: names, metadata, georeference, numbers, tiles, orbits, baselines."""

from __future__ import annotations

import csv
import hashlib
import json
import re
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import numpy as np
import pytest
import rasterio

from eo_pipeline.season import read_season
from eo_pipeline.simulate import calendar, canopy, landscape, orbits, safe, scenes, twin
from eo_pipeline.simulate.twin import SimulationError, TwinOptions

SMALL = TwinOptions(size_km=0.6, seasons=1, year=2022, seed=5, every=20, format="safe")
NAME = re.compile(
    r"S2[AB]_MSIL2A_(?P<sensed>\d{8}T\d{6})_N(?P<baseline>\d{4})_R(?P<orbit>\d{3})_T(?P<tile>48SW[DE])_"
    r"\d{8}T\d{6}\.SAFE"
)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("safe") / "twin"
    twin.simulate(out, SMALL)
    return out


def products(made: Path, *, tile: str = "", orbit: str = "", baseline: str = "") -> list[Path]:
    found = []
    for path in sorted((made / "archive").glob("*.SAFE")):
        match = NAME.fullmatch(path.name)
        assert match, path.name
        if tile in match["tile"] and orbit in match["orbit"] and baseline in match["baseline"]:
            found.append(path)
    return found


def image(product: Path, band: str, metres: int) -> Path:
    return next(product.glob(f"GRANULE/*/IMG_DATA/R{metres}m/T*_{band}_{metres}m.jp2"))


def text(product: Path, tag: str) -> str:
    found = ET.parse(product / "MTD_MSIL2A.xml").find(f".//{tag}")
    assert found is not None and found.text is not None, tag
    return found.text


@pytest.fixture(scope="module")
def world() -> scenes.World:
    """The world of `SMALL`, without its events, on the ground where the tiles meet."""
    land = landscape.build(SMALL.size_km, seed=SMALL.seed)
    plan = calendar.rotate(land, range(2021, 2024), seed=SMALL.seed)
    return scenes.make_world(land, plan, seed=SMALL.seed)


def test_names_say_what_the_metadata_say(made: Path) -> None:
    found = products(made)
    assert len(found) > 15
    for product in found:
        match = NAME.fullmatch(product.name)
        assert match and text(product, "PRODUCT_URI") == product.name
        assert text(product, "PROCESSING_BASELINE").replace(".", "") == match["baseline"]
        assert int(text(product, "SENSING_ORBIT_NUMBER")) == int(match["orbit"])
        start = re.sub(r"[-:]|\.\d+Z", "", text(product, "PRODUCT_START_TIME"))
        assert start == match["sensed"]
        assert text(product, "SPACECRAFT_NAME") == f"Sentinel-2{product.name[2]}"
        listed = [item.text for item in ET.parse(product / "MTD_MSIL2A.xml").iter("IMAGE_FILE")]
        stored = {p.relative_to(product).with_suffix("").as_posix() for p in product.rglob("*.jp2")}
        assert len(listed) == 11 and set(listed) == stored


def test_baselines_change_with_the_day_and_only_the_new_one_has_an_offset(made: Path) -> None:
    old, new = products(made, baseline="0214"), products(made, baseline="0510")
    assert old and new
    assert max(p.name[11:19] for p in old) < "20220125" <= min(p.name[11:19] for p in new)
    for product in old:
        assert not list(ET.parse(product / "MTD_MSIL2A.xml").iter("BOA_ADD_OFFSET"))
    for product in new:
        values = [item.text for item in ET.parse(product / "MTD_MSIL2A.xml").iter("BOA_ADD_OFFSET")]
        assert values == ["-1000"] * 13


def test_dn_is_the_simulated_reflectance(made: Path) -> None:
    """DN → reflectance by the product's own metadata gives the rendered scene, to the last digit."""
    land = landscape.build(SMALL.size_km, seed=SMALL.seed)
    plan = calendar.rotate(land, range(2021, 2024), seed=SMALL.seed)
    bare = scenes.make_world(land, plan, seed=SMALL.seed)
    from dataclasses import replace

    from eo_pipeline.simulate import events

    whole = replace(bare, events=events.typical(land, plan, [2022], seed=SMALL.seed))
    checked = set()
    for product in products(made, tile="48SWE", orbit="018"):
        baseline = text(product, "PROCESSING_BASELINE")
        if baseline in checked:
            continue
        checked.add(baseline)
        day = date(int(product.name[11:15]), int(product.name[15:17]), int(product.name[17:19]))
        scene = scenes.render(whole, day)
        offset = -1000 if baseline == "05.10" else 0
        for band, metres in (("B04", 10), ("B08", 10), ("B11", 20), ("SCL", 20)):
            with rasterio.open(image(product, band, metres)) as source:
                dn = source.read(1)
            step = metres // 10
            if band == "SCL":
                assert (dn == scene.scl[::2, ::2]).all()
                continue
            assert dn.dtype == np.uint16 and dn.min() >= 1
            expected = scene.reflectance[canopy.BAND_NAMES.index(band), ::step, ::step] / 10_000
            value = (dn.astype(float) + offset) / float(text(product, "BOA_QUANTIFICATION_VALUE"))
            assert value == pytest.approx(expected, abs=1e-9)
    assert checked == {"02.14", "05.10"}


def test_rasters_lie_on_the_tiles_own_grid(made: Path) -> None:
    for tile, north in (("48SWE", 4_000_020), ("48SWD", 3_900_000)):
        product = products(made, tile=tile)[0]
        document = ET.parse(next(product.glob("GRANULE/*/MTD_TL.xml")))
        for band, metres in (("B02", 10), ("B12", 20), ("SCL", 20)):
            with rasterio.open(image(product, band, metres)) as source:
                assert source.driver == "JP2OpenJPEG" and source.crs.to_epsg() == 32648
                t = source.transform
                assert (t.a, t.b, t.d, t.e) == (metres, 0, 0, -metres)
                assert (t.c - 499_980) % 20 == 0 and (north - t.f) % 20 == 0 and north >= t.f
                place = document.find(f".//Geoposition[@resolution='{metres}']")
                size = document.find(f".//Size[@resolution='{metres}']")
                assert place is not None and size is not None
                assert (place.findtext("ULX"), place.findtext("ULY")) == (f"{t.c:.0f}", f"{t.f:.0f}")
                assert (size.findtext("NROWS"), size.findtext("NCOLS")) == (
                    str(source.height),
                    str(source.width),
                )
                assert source.tags(ns="IMAGE_STRUCTURE")["COMPRESSION_REVERSIBILITY"] == "LOSSLESS"
                assert "模拟数据" in source.tags()["SIMULATED"]
    assert not list(made.rglob("*.aux.xml"))


def test_both_tiles_hold_the_same_numbers_where_they_overlap(made: Path) -> None:
    pairs = 0
    for south in products(made, tile="48SWD"):
        north = next(p for p in products(made, tile="48SWE") if p.name[:37] == south.name[:37])
        for band, metres in (("B03", 10), ("B8A", 20)):
            with (
                rasterio.open(image(north, band, metres)) as a,
                rasterio.open(image(south, band, metres)) as b,
            ):
                rows = round((a.transform.f - b.transform.f) / metres)
                assert 0 < rows < a.height and b.transform.f == 3_900_000
                assert (a.read(1)[rows:] == b.read(1)).all()
        pairs += 1
    assert pairs > 6


def test_one_orbit_sees_a_part_only_and_the_edge_is_slanted(made: Path) -> None:
    whole, part = products(made, tile="48SWE", orbit="018"), products(made, tile="48SWE", orbit="118")
    assert {p.name[11:19] for p in whole}.isdisjoint(p.name[11:19] for p in part)
    with rasterio.open(image(whole[0], "B02", 10)) as source:
        assert (source.read(1) > 0).all()
    with rasterio.open(image(part[0], "B02", 10)) as source:
        seen = source.read(1) > 0
    with rasterio.open(image(part[0], "SCL", 20)) as source:
        assert ((source.read(1) > 0).repeat(2, 0).repeat(2, 1) == seen).all()
    assert 0.5 < seen.mean() < 0.75
    first = seen.argmax(1)
    assert first[0] > first[-1] > 0  # it runs to the south-south-west
    nodata = float(
        ET.parse(next(part[0].glob("GRANULE/*/MTD_TL.xml"))).findtext(".//NODATA_PIXEL_PERCENTAGE", "0")
    )
    assert nodata == pytest.approx(100 * (1 - seen.mean()), abs=0.01)


def test_footprints_are_where_the_pixels_are(made: Path) -> None:
    import shapely
    from rasterio.warp import transform

    for product in (products(made, orbit="018")[0], products(made, orbit="118", tile="48SWE")[0]):
        numbers = [float(v) for v in text(product, "EXT_POS_LIST").split()]
        ring = list(zip(numbers[1::2], numbers[::2], strict=True))
        assert ring[0] == ring[-1]
        with rasterio.open(image(product, "B02", 10)) as source:
            seen = source.read(1) > 0
            x, y = transform("EPSG:4326", source.crs, *zip(*ring, strict=True))
            area = shapely.Polygon(zip(x, y, strict=True)).area
            assert area == pytest.approx(seen.sum() * 100, rel=0.02)
            assert max(y) == pytest.approx(source.bounds.top, abs=0.1)


def test_manifests_vouch_for_every_file(made: Path) -> None:
    for product in (products(made, baseline="0214")[0], products(made, baseline="0510")[0]):
        listed = {}
        for item in ET.parse(product / "manifest.safe").iter("byteStream"):
            place, checksum = item.find("fileLocation"), item.find("checksum")
            assert place is not None and checksum is not None and checksum.text
            path = product / place.attrib["href"]
            name = {"MD5": "md5", "SHA3-256": "sha3_256"}[checksum.attrib["checksumName"]]
            assert hashlib.new(name, path.read_bytes()).hexdigest() == checksum.text.lower()
            assert path.stat().st_size == int(item.attrib["size"])
            listed[path] = name
        there = {p for p in product.rglob("*") if p.is_file() and p.name != "manifest.safe"}
        assert {p.resolve() for p in listed} == {p.resolve() for p in there}
        assert set(listed.values()) == {"md5" if "N0214" in product.name else "sha3_256"}
        for document in (product / "manifest.safe", product / "MTD_MSIL2A.xml"):
            assert "模拟数据" in document.read_text(encoding="utf-8")


def tags(path: Path) -> list[str]:
    """Element names in the order of the document, each run of one name once."""
    names = [element.tag.rsplit("}", 1)[-1] for element in ET.parse(path).iter()]
    return list(dict.fromkeys(names))


@pytest.mark.realdata
@pytest.mark.parametrize(
    ("baseline", "sample"),
    [
        ("0214", "esa_S2B_MSIL2A_20210122T133229_N0214_R081_T22HBD_20210122T155500.SAFE"),
        ("0510", "S2A_MSIL2A_20230821T221941_N0509_R029_T01KAB_20230822T021825.SAFE"),
    ],
)
def test_elements_are_those_of_real_products_in_their_order(
    made: Path, shared_data: Path, baseline: str, sample: str
) -> None:
    ours, real = products(made, baseline=baseline)[0], shared_data / "safe-metadata" / "sentinel2" / sample
    for pattern in ("MTD_MSIL2A.xml", "GRANULE/*/MTD_TL.xml", "manifest.safe"):
        mine, theirs = tags(next(ours.glob(pattern))), tags(next(real.glob(pattern)))
        assert [name for name in theirs if name in mine] == mine, pattern


def test_radar_comes_in_both_directions_with_items(made: Path) -> None:
    folders = sorted((made / "archive" / "sentinel-1-rtc").iterdir())
    states = set()
    for folder in folders:
        item = json.loads((folder / "item.json").read_text(encoding="utf-8"))
        assert item["id"] == folder.name and item["collection"] == "sentinel-1-rtc"
        assert item["properties"]["simulated"] is True
        assert (item["properties"]["sat:absolute_orbit"] - 73) % 175 + 1 == item["properties"][
            "sat:relative_orbit"
        ]
        states.add(item["properties"]["sat:orbit_state"])
        for name in ("vv", "vh"):
            asset = item["assets"][name]
            data = (folder / asset["href"]).read_bytes()
            assert len(data) == asset["file:size"]
            assert hashlib.md5(data).hexdigest() == asset["file:checksum"]
    assert states == {"ascending", "descending"} and len(folders) > 15
    with rasterio.open(folders[0] / "vv.tif") as source:
        assert source.nodata == -32768 and source.dtypes == ("float32",) and source.crs.to_epsg() == 32648
        assert source.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"


def test_the_season_and_the_terrain_stand_beside_the_archive(made: Path) -> None:
    season = read_season(made / "2022" / "season.toml")
    assert season.simulated and season.source.layout == "safe" and season.source.sentinel is not None
    assert season.source.root == (made / "archive").resolve()
    with rasterio.open(made / "dem.tif") as dem, rasterio.open(made / "2022/truth/crop_type.tif") as crop:
        assert dem.transform == crop.transform and dem.shape == (60, 60) and dem.dtypes == ("float32",)
        assert 1500 < dem.read(1).min() < dem.read(1).max() < 2100
        assert dem.bounds.bottom < 3_900_000 < dem.bounds.top
    with (made / "2022" / "acquisitions.csv").open(encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    listed = {name for row in rows for name in row["products"].split()}
    assert listed == {p.name for p in products(made)}


def test_the_same_options_make_the_same_bytes(made: Path, tmp_path: Path) -> None:
    def digests(folder: Path) -> Iterator[tuple[str, str]]:
        for path in sorted(p for p in folder.rglob("*") if p.is_file()):
            yield path.relative_to(folder).as_posix(), hashlib.sha256(path.read_bytes()).hexdigest()

    twin.simulate(tmp_path / "again", SMALL, workers=1)
    assert dict(digests(tmp_path / "again")) == dict(digests(made))


def test_moving_the_piece_moves_coordinates_only(world: scenes.World) -> None:
    grid = orbits.straddling(60)
    assert grid.west == landscape.WEST_M and grid.north == 3_900_300
    assert orbits.TILES[0].window(grid) == (0, 60) and orbits.TILES[1].window(grid) == (30, 60)
    assert orbits.TILES[1].window(landscape.Grid(60)) == (0, 0)
    assert (landscape.build(0.6, seed=SMALL.seed).segment == world.land.segment).all()


def test_true_reflectance_is_what_a_clear_scene_shows(world: scenes.World) -> None:
    from eo_pipeline.simulate import sky

    day = next(
        d
        for d in scenes.acquisition_days(date(2022, 5, 1), date(2022, 9, 1))
        if not sky.cloud_cover(d, seed=5)
    )
    truth, seen = scenes.true_reflectance(world, day), scenes.render(world, day).reflectance / 10_000
    assert truth.shape == seen.shape and truth.dtype == np.float32
    # over the whole piece haze, calibration and blur leave little
    assert seen.mean((1, 2)) == pytest.approx(truth.mean((1, 2)), abs=0.03)
    correlation = np.corrcoef(truth[6].ravel(), seen[6].ravel())[0, 1]
    assert correlation > 0.9


def test_dn_of_nothing_is_zero_and_of_land_never() -> None:
    reflectance = np.array([[1, 5, 20_000, 30_000]], np.int16)
    seen = np.array([[True, False, True, True]])
    assert safe.digital_numbers(reflectance, seen, baseline="02.14").tolist() == [[1, 0, 20_000, 30_000]]
    assert safe.digital_numbers(reflectance, seen, baseline="05.10").tolist() == [[1001, 0, 21_000, 31_000]]


def test_orbit_numbers_follow_the_missions_rule() -> None:
    for item in orbits.overpasses(date(2021, 1, 1), date(2021, 12, 31)):
        shift = 2 if item.satellite == "A" else -27
        assert (item.absolute + shift) % 143 + 1 == item.swath.relative
    days = [item.day for item in orbits.overpasses(date(2021, 1, 1), date(2021, 3, 31))]
    assert len(set(days)) == len(days) == 36  # two orbits, every five days, never on one day


def test_baseline_mixed_falls_back_to_the_middle_of_the_oldest_season() -> None:
    windows = [(date(2024, 9, 1), date(2025, 10, 31)), (date(2025, 9, 1), date(2026, 10, 31))]
    assert orbits.baseline_of(date(2025, 1, 1), "mixed", windows) == "02.14"
    assert orbits.baseline_of(date(2025, 6, 1), "mixed", windows) == "05.10"
    real = [(date(2021, 9, 1), date(2022, 10, 31))]
    assert orbits.baseline_of(date(2022, 1, 24), "mixed", real) == "02.14"
    assert orbits.baseline_of(date(2022, 1, 25), "mixed", real) == "05.10"
    assert orbits.baseline_of(date(2022, 1, 24), "05.10", real) == "05.10"


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"format": "zip"}, "--format"),
        ({"baseline": "04.00", "format": "safe"}, "--baseline"),
        ({"baseline": "05.10"}, "--format safe"),
        ({"events": "many"}, "--events"),
        ({"every": 7}, "--every"),
    ],
)
def test_bad_options_are_named(options: dict[str, object], named: str) -> None:
    with pytest.raises(SimulationError, match=named):
        TwinOptions(**options)  # type: ignore[arg-type]


def test_the_pipelines_own_readers_prove_every_product(made: Path) -> None:
    """All four witnesses of the offset agree, pixels among them: the twin's land is dark enough."""
    from eo_pipeline.scenes.radiometry import prove_offset
    from eo_pipeline.scenes.sentinel1 import read_radar
    from eo_pipeline.scenes.sentinel2 import read_product

    for path in products(made):
        product = read_product(path)
        proof = prove_offset(product)
        assert proof.proven and proof.require(path.name) == (-1000 if "N0510" in path.name else 0)
        assert product.name == path.name and product.grid.transform[2] == landscape.WEST_M
    radars = [read_radar(path) for path in (made / "archive" / "sentinel-1-rtc").iterdir()]
    assert {item.direction for item in radars} == {"ascending", "descending"}
    assert all(item.corrected and set(item.files) == {"vv", "vh"} for item in radars)
