"""From a map to a drawn sample, its answered sheet, and areas with intervals: `eo sample`, `eo evaluate
area`.
"""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pyogrio
import pytest
import rasterio
import shapely
from command import good, refused
from numpy.typing import NDArray
from pyproj import Transformer
from rasterio.transform import from_origin

NAMES = {1: "wheat", 2: "maize", 3: "flax", 4: "other"}
CLASSES = "1=wheat,2=maize,3=flax,4=other"
SIZE = 240
LEFT, TOP = 600_000.0, 3_900_000.0


def write_map(path: Path, codes: NDArray[np.generic], **profile: object) -> Path:
    profile = {"dtype": "uint8", "crs": "EPSG:32648", "nodata": 0, "count": 1} | profile
    with rasterio.open(
        path, "w", driver="GTiff", height=codes.shape[-2], width=codes.shape[-1],
        transform=from_origin(LEFT, TOP, 10, 10), **profile,
    ) as raster:  # fmt: skip
        raster.write(codes if codes.ndim == 3 else codes[None])
    return path


@pytest.fixture(scope="module")
def land(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, NDArray[np.uint8]]:
    """Fields with truth known everywhere, this year's map of them, and an older one; 3 rows are nodata."""
    folder, rng = tmp_path_factory.mktemp("land"), np.random.default_rng(5)
    fields = rng.choice([1, 2, 3, 4], size=(40, 40), p=[0.27, 0.2, 0.03, 0.5])
    truth = np.kron(fields, np.ones((6, 6))).astype(np.uint8)
    wrong = np.array([[0.9, 0.05, 0.01, 0.04], [0.05, 0.85, 0.01, 0.09], [0.05, 0.1, 0.8, 0.05],
                      [0.02, 0.03, 0.005, 0.945]])  # fmt: skip
    chance = rng.random(truth.shape)
    mapped = (1 + (chance[..., None] > np.cumsum(wrong, axis=1)[truth - 1]).sum(axis=-1)).clip(1, 4)
    older = np.where(rng.random(truth.shape) < 0.15, rng.choice([1, 2, 4], size=truth.shape), mapped)
    for name, codes in (("map", mapped), ("older", older)):
        codes[:3] = 0
        write_map(folder / f"{name}.tif", codes.astype(np.uint8))
    truth[:3] = 0
    return folder, truth


def answer(sheet: Path, truth: NDArray[np.uint8], out: Path) -> Path:
    """What stands at each point of a sheet, noted into a copy of it."""
    with sheet.open(encoding="utf-8-sig", newline="") as stream:
        rows = list(csv.DictReader(stream))
    for row in rows:
        row["label"] = NAMES[int(truth[int(row["row"]), int(row["col"])])]
    with out.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return out


def write_units(path: Path) -> Path:
    """Two counties: 40 % and 60 % of the land."""
    change = Transformer.from_crs("EPSG:32648", "OGC:CRS84", always_xy=True)
    boxes = [
        shapely.transform(
            shapely.segmentize(shapely.box(LEFT + a, TOP - 2400, LEFT + b, TOP), 100),
            lambda xy: np.column_stack(change.transform(xy[:, 0], xy[:, 1])),
        )
        for a, b in ((0, 960), (960, 2400))
    ]
    features = [
        {"type": "Feature", "properties": {"code": code}, "geometry": json.loads(shapely.to_geojson(box))}
        for code, box in zip(("620825", "620826"), boxes, strict=True)
    ]
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    return path


def true_ha(truth: NDArray[np.uint8]) -> dict[str, float]:
    return {name: float((truth == code).sum()) / 100 for code, name in NAMES.items()}


def holds(rows: list[dict], truth: dict[str, float]) -> list[bool]:
    return [row["ci_low_ha"] <= truth[row["class"]] <= row["ci_high_ha"] for row in rows]


def test_a_sample_is_designed_drawn_answered_and_judged(land, tmp_path: Path) -> None:
    # given: a design of 600 points with a stratum of its own near crops
    folder, truth = land
    plan = json.loads(
        good("sample", "design", folder / "map.tif", "--target-se", "0.01", "--allocation", "neyman",
             "--accuracy", "wheat=0.9", "--classes", CLASSES, "--json")
    )  # fmt: skip
    assert plan["points"] == sum(row["points"] for row in plan["strata"])
    assert plan["expected_overall_se"] == pytest.approx(0.01, rel=0.05)
    # when: it is drawn
    options = ("--points", 600, "--crops", "wheat,maize,flax", "--buffer-m", 10, "--classes", CLASSES)
    out = tmp_path / "sample"
    record = json.loads(good("sample", "draw", folder / "map.tif", *options, "--out", out, "--json"))
    # then: all that is needed lies in the folder
    assert sorted(path.name for path in out.iterdir()) == [
        "design.json", "sample.csv", "sample.geojson", "sample.gpkg", "strata.tif",
    ]  # fmt: skip
    assert [row["stratum"] for row in record["strata"]] == ["wheat", "maize", "flax", "other", "near_crops"]
    assert record["labels"] == list(NAMES.values())
    meta, _, points, columns = pyogrio.raw.read(out / "sample.gpkg")
    table = dict(zip(meta["fields"], columns, strict=True))
    assert len(points) == 600 and set(table["sampling_design"]) == {"stratified_random"}
    # a point is the centre of its pixel
    x, y = Transformer.from_crs(4326, 32648, always_xy=True).transform(
        *shapely.get_coordinates(shapely.from_wkb(points)).T
    )
    np.testing.assert_allclose(x, LEFT + 10 * (table["col"] + 0.5), atol=0.01)
    np.testing.assert_allclose(y, TOP - 10 * (table["row"] + 0.5), atol=0.01)
    chance = {row["stratum"]: row["points"] / row["pixels"] for row in record["strata"]}
    np.testing.assert_allclose(table["inclusion_probability"], [chance[s] for s in table["stratum"]])
    # drawn again it is the same; another drawing does not replace it, as it may have been answered
    before = (out / "sample.csv").read_bytes()
    good("sample", "draw", folder / "map.tif", *options, "--out", out)
    said = refused("sample", "draw", folder / "map.tif", *options, "--seed", 7, "--out", out)
    assert "another drawn sample" in said and (out / "sample.csv").read_bytes() == before
    assert "not one of its 600 points has a label" in refused(
        "evaluate", "area", folder / "map.tif", out / "sample.geojson", "--classes", CLASSES
    )

    # when: it is answered, and judges this map, with counties
    sheet = answer(out / "sample.csv", truth, tmp_path / "answered.csv")
    units = write_units(tmp_path / "units.geojson")
    command = ("evaluate", "area", folder / "map.tif", sheet, "--classes", CLASSES, "--units", units)
    facts = json.loads(good(*command, "--json"))
    # then
    assert facts["accuracy"]["method"].startswith("stehman_2014") and facts["accuracy"]["n"] == 600
    assert sum(row["area_ha"] for row in facts["areas"]) == pytest.approx(568.8, rel=2e-3)
    assert all(holds(facts["areas"], true_ha(truth)))
    counties = {code: [row for row in facts["units"] if row["unit"] == code] for code in ("620825", "620826")}
    assert sum(holds(counties["620825"], true_ha(truth[:, :96]))) >= 3
    assert sum(holds(counties["620826"], true_ha(truth[:, 96:]))) >= 3
    assert sum(rows[0]["n_samples"] for rows in counties.values()) == 600
    # counties add up to the region by their own method
    for k, row in enumerate(facts["areas_model_assisted"]):
        assert sum(rows[k]["area_ha"] for rows in counties.values()) == pytest.approx(
            row["area_ha"], rel=1e-3
        )
        assert row["se_ha"] < 1.1 * facts["areas"][k]["se_ha"]
    assert sum(holds(facts["areas_model_assisted"], true_ha(truth))) >= 3
    assert all(row["method"] == "model_assisted" and row["cv"] > 0 for row in facts["units"])
    low, high = facts["accuracy"]["overall_interval"]
    mapped = rasterio.open(folder / "map.tif").read(1)
    assert low < (mapped == truth)[truth > 0].mean() < high
    assert "near_crops" in {row["stratum"] for row in facts["strata"]}
    text = good(*command)
    assert "Units (model_assisted)" in text and "Overall accuracy: 0." in text

    # when: the same answers judge another map of the same land
    other = json.loads(good("evaluate", "area", folder / "older.tif", sheet, "--classes", CLASSES, "--json"))
    assert [row["area_ha"] for row in other["areas"]] == [row["area_ha"] for row in facts["areas"]]
    assert other["accuracy"]["overall_accuracy"] < facts["accuracy"]["overall_accuracy"] - 0.05


def test_strata_may_be_told_by_the_map_they_come_from(land, tmp_path: Path) -> None:
    # given: bare points with codes for labels and strata, drawn from the older map
    folder, truth = land
    older = rasterio.open(folder / "older.tif").read(1)
    rng, change = np.random.default_rng(8), Transformer.from_crs(32648, 4326, always_xy=True)
    lines = ["lon,lat,stratum,class"]
    for code in NAMES:
        rows, cols = np.nonzero(older == code)
        for at in rng.choice(rows.size, 60, replace=False):
            lon, lat = change.transform(LEFT + 10 * (cols[at] + 0.5), TOP - 10 * (rows[at] + 0.5))
            lines.append(f"{lon:.8f},{lat:.8f},{code},{truth[rows[at], cols[at]]}")
    bare = tmp_path / "bare.csv"
    bare.write_text("\n".join(lines) + "\n")
    command = ("evaluate", "area", folder / "map.tif", bare, "--label", "class")
    # then: a sample that does not say how it was drawn is none
    assert "does not say how it was drawn" in refused(*command)
    assert "was drawn as 'roadside'" in refused(*command, "--design", "roadside")
    assert "areas of its strata" in refused(*command, "--design", "stratified_random")
    facts = json.loads(
        good(*command, "--design", "stratified_random", "--strata", folder / "older.tif", "--json")
    )
    assert facts["accuracy"]["method"].startswith("stehman_2014")
    assert [row["class"] for row in facts["areas"]] == ["1", "2", "3", "4"]
    assert sum(holds(facts["areas"], {str(k): true_ha(truth)[name] for k, name in NAMES.items()})) >= 3
    named = good(
        *command, "--design", "stratified_random", "--strata", folder / "older.tif", "--classes", CLASSES
    )
    assert "wheat" in named


def test_a_map_of_one_class_and_a_class_that_it_misses_are_told(land, tmp_path: Path) -> None:
    _, truth = land
    whole = write_map(tmp_path / "one.tif", np.where(truth > 0, 2, 0).astype(np.int16), dtype="int16")
    change = Transformer.from_crs(32648, 4326, always_xy=True)
    rng = np.random.default_rng(1)
    lines = ["lon,lat,label,sampling_design"]
    for row, col in rng.integers(3, SIZE, (80, 2)):
        lon, lat = change.transform(LEFT + 10 * (col + 0.5), TOP - 10 * (row + 0.5))
        lines.append(f"{lon:.8f},{lat:.8f},{NAMES[int(truth[row, col])]},simple_random")
    sample = tmp_path / "sample.csv"
    sample.write_text("\n".join(lines) + "\n")
    facts = json.loads(good("evaluate", "area", whole, sample, "--classes", "2=maize", "--json"))
    assert {"wheat", "other"} <= set(facts["not_mapped"])
    assert any("the map does not show: " in note for note in facts["accuracy"]["notes"])
    assert facts["accuracy"]["users_accuracy"][0] == pytest.approx(facts["accuracy"]["overall_accuracy"])
    assert facts["accuracy"]["users_accuracy"][1] is None
    rows = {row["class"]: row for row in facts["areas"]}
    assert rows["wheat"]["pixel_count_ha"] == 0 and rows["wheat"]["ci_low_ha"] < true_ha(truth)["wheat"]
    # and answers that know one class alone
    sample.write_text("\n".join([lines[0], *(line.rsplit(",", 2)[0] + ",maize,simple_random" for line in lines[1:])]))  # fmt: skip  # noqa: E501
    one = json.loads(good("evaluate", "area", whole, sample, "--classes", "2=maize", "--json"))
    assert one["areas"][0]["ci_low_ha"] < one["areas"][0]["area_ha"]
    assert any("every answer is 'maize'" in note for note in one["accuracy"]["notes"])


def test_what_is_no_map_and_options_that_do_not_fit_are_refused(land, tmp_path: Path) -> None:
    folder, _ = land
    band = np.ones((2, 4, 4))
    assert "2 band(s)" in refused(
        "sample", "design", write_map(tmp_path / "two.tif", band, count=2), "--points", 9
    )
    index = write_map(tmp_path / "ndvi.tif", np.full((4, 4), 0.4), dtype="float32")
    assert "class codes are whole numbers" in refused("sample", "design", index, "--points", 9)
    empty = write_map(tmp_path / "empty.tif", np.zeros((4, 4)))
    assert "nothing but nodata" in refused("sample", "design", empty, "--points", 9)
    assert "cannot be read as a raster" in refused("sample", "design", tmp_path / "none.tif", "--points", 9)
    for options, said in (
        ((), "either --points or --target-se"),
        (("--points", 50, "--allocation", "random"), "accepted are proportional, equal, neyman"),
        (("--target-se", 0.9), "between 0 and 0.5"),
        (("--points", 50), "at least 30 points each need 120"),
        (("--points", 500, "--buffer-m", 20), "--buffer-m needs --crops"),
        (("--points", 500, "--buffer-m", 20, "--crops", "rice"), "'rice' is none"),
        (("--points", 500, "--buffer-m", 2, "--crops", "1"), "a pixel is 10 m wide"),
        (("--points", 500, "--accuracy", "1=2"), "a number between 0 and 1"),
        (("--points", 500, "--classes", "wheat"), "write code=name pairs"),
        (("--points", 500, "--classes", "1=a,2=a"), "two codes have one name"),
    ):
        assert said in refused("sample", "design", folder / "map.tif", *options), options
    far = tmp_path / "far.csv"
    far.write_text("lon,lat,label\n10.0,50.0,1\n")
    said = refused("evaluate", "area", folder / "map.tif", far, "--design", "simple_random")
    assert "row 1: longitude 10.00000" in said and "outside" in said


def fields_of(truth: NDArray[np.uint8], path: Path, *, skip: str = "none", pixel: float = 50) -> Path:
    """Every field of the land as a polygon with its crop, but those of the class `skip`."""
    from rasterio.features import shapes

    change = Transformer.from_crs("EPSG:32648", "OGC:CRS84", always_xy=True)
    features = []
    for geometry, code in shapes(truth, transform=from_origin(LEFT, TOP, pixel, pixel)):
        if code and NAMES[int(code)] != skip:
            ring = shapely.transform(
                shapely.segmentize(shapely.geometry.shape(geometry), 200),
                lambda xy: np.column_stack(change.transform(xy[:, 0], xy[:, 1])),
            )
            features.append({"type": "Feature", "properties": {"label": NAMES[int(code)]},
                             "geometry": json.loads(shapely.to_geojson(ring))})  # fmt: skip
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    return path


def test_ground_quadrats_are_drawn_surveyed_and_judged(land, tmp_path: Path) -> None:
    # given: the same land in pixels of 50 m, 12 x 12 km
    folder, truth = land
    codes = rasterio.open(folder / "map.tif").read(1)
    with rasterio.open(
        tmp_path / "map.tif", "w", driver="GTiff", height=SIZE, width=SIZE, count=1, dtype="uint8", nodata=0,
        crs="EPSG:32648", transform=from_origin(LEFT, TOP, 50, 50),
    ) as raster:  # fmt: skip
        raster.write(codes, 1)
    # when
    out = tmp_path / "quadrats"
    draw = ("sample", "quadrats", tmp_path / "map.tif", "--crops", "wheat,maize", "--classes", CLASSES,
            "--quadrats", 30, "--out", out)  # fmt: skip
    record = json.loads(good(*draw, "--json"))
    # then
    assert sum(row["drawn"] for row in record["strata"]) == 30
    assert sum(row["squares"] for row in record["strata"]) == 144
    assert "another drawn sample" in refused(*draw, "--seed", 3)
    assert "eo evaluate area" in good(*draw)
    # when: every parcel is drawn
    parcels = fields_of(truth, tmp_path / "parcels.geojson")
    judge = ("evaluate", "area", tmp_path / "map.tif", parcels, "--classes", CLASSES,
             "--quadrats", out / "quadrats.gpkg")  # fmt: skip
    facts = json.loads(good(*judge, "--json"))
    # then: 25 times the hectares of the land in pixels of 10 m
    assert sum(holds(facts["areas"], {k: 25 * v for k, v in true_ha(truth).items()})) >= 3
    assert facts["accuracy"]["n"] == 30 and facts["areas"][0]["method"] == "quadrat_difference"
    mapped = codes[truth > 0]
    assert facts["accuracy"]["overall_accuracy"] == pytest.approx(
        (mapped == truth[truth > 0]).mean(), abs=0.02
    )
    assert "quadrat_difference" in good(*judge)
    # when: other land was not drawn
    bare = fields_of(truth, tmp_path / "crops.geojson", skip="other")
    judge = (*judge[:3], bare, *judge[4:])
    said = refused(*judge)
    assert "lies under no parcel" in said and "'q0" in said
    rest = json.loads(good(*judge, "--rest", "other", "--json"))
    assert [row["area_ha"] for row in rest["areas"]] == [row["area_ha"] for row in facts["areas"]]
    # and what does not fit is refused
    assert "too few for counties" in refused(*judge, "--units", parcels)
    assert "as eo sample quadrats wrote it" in refused(*judge[:-1], sheet_of_points(tmp_path))
    assert "--rest is for --quadrats" in refused(
        "evaluate", "area", tmp_path / "map.tif", bare, "--rest", "other"
    )


def sheet_of_points(folder: Path) -> Path:
    path = folder / "points.csv"
    path.write_text("lon,lat,stratum\n106.1,35.2,wheat\n")
    return path
