"""Answered samples: read from every form of file, held against their design and a map, refused by name."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from eo_pipeline.errors import NotAProbabilitySampleError, SampleError
from eo_pipeline.products.answers import NO_DATA, Answers, lay_on_map, read_answers

HEAD = "id,lon,lat,stratum,stratum_ha,stratum_points,sampling_design,label"
CLASSES = ("wheat", "maize")


def sheet(path: Path, *changes: tuple[str, str], head: str = HEAD) -> Path:
    """Six points in two strata, all answered."""
    rows = [
        f"{number},105.{number},35.5,{stratum},{hectares},3,stratified_random,{label}"
        for number, (stratum, hectares, label) in enumerate(
            [("wheat", 60, "wheat")] * 2 + [("wheat", 60, "maize")] + [("maize", 40, "maize")] * 3, 1
        )
    ]
    text = "\n".join([head, *rows]) + "\n"
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    path.write_text(text, encoding="utf-8")
    return path


def test_a_sheet_tells_its_design_and_its_strata(tmp_path: Path) -> None:
    got = read_answers(sheet(tmp_path / "s.csv", ("3,35.5,wheat,60,3,stratified_random,maize", "3,35.5,wheat,60,3,stratified_random,")))  # fmt: skip  # noqa: E501
    assert got.design == "stratified_random" and got.unanswered == 1 and len(got.points) == 5
    assert [(item.name, item.area_ha, item.points) for item in got.strata] == [
        ("wheat", 60, 3),
        ("maize", 40, 3),
    ]
    assert got.label_names() == ("maize", "wheat")


def test_rows_that_were_removed_count_as_unanswered(tmp_path: Path) -> None:
    got = read_answers(sheet(tmp_path / "s.csv", ("4,105.4,35.5,maize,40,3,stratified_random,maize\n", "")))
    assert got.unanswered == 1


@pytest.mark.parametrize("design", ["", "purposive", "stratified_random"])
def test_a_geojson_says_its_design_once_for_all_points(tmp_path: Path, design: str) -> None:
    path = tmp_path / "points.geojson"
    points = [
        {
            "type": "Feature",
            "properties": {"label": "wheat", "stratum": "wheat"},
            "geometry": {"type": "Point", "coordinates": [105.5, 35.5]},
        }
    ]
    path.write_text(json.dumps({"type": "FeatureCollection", "sampling_design": design, "features": points}))
    if design == "stratified_random":
        assert read_answers(path).design == design
        return
    with pytest.raises(NotAProbabilitySampleError, match="does not say how" if not design else "purposive"):
        read_answers(path)
    with pytest.raises(NotAProbabilitySampleError, match="purposive"):
        read_answers(path, presumed="purposive", design=design or None)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ([("6,105.6,35.5,maize,40", "6,105.6,35.5,maize,41")], r"row 6: the stratum 'maize' has 41\.0 ha"),
        ([("6,105.6,35.5,maize,40", "6,105.6,35.5,,")], "row 6: its stratum or the area"),
        ([("6,105.6,35.5,maize,40", "6,105.6,35.5,maize,forty")], "'forty'.* are no numbers"),
        ([("6,105.6", "5,105.6")], "'5' occurs more than once"),
        ([(",40,3,", ",40,2,")], "2 points were drawn in the stratum 'maize', and it holds 3"),
        ([("random,wheat", "random,"), ("random,maize", "random,")], "not one of its 6 points has a label"),
        ([("3,stratified_random,wheat", "3,simple_random,wheat")], "mixes samples"),
        ([("label", "answer")], "must name lon, lat and label"),
        ([("105.6", "east")], "row 6: 'east'"),
    ],
)
def test_sheets_that_contradict_themselves_are_refused(tmp_path: Path, changes: list, message: str) -> None:
    with pytest.raises(SampleError, match=message):
        read_answers(sheet(tmp_path / "s.csv", *changes))


def test_another_design_or_a_damaged_file_is_refused(tmp_path: Path) -> None:
    path = sheet(tmp_path / "s.csv")
    with pytest.raises(SampleError, match="you say simple_random"):
        read_answers(path, design="simple_random")
    path.write_bytes(b"lon,lat,label\n105,35,\xb6\xac\xd0\xa1\xc2\xf3\n")  # GBK
    with pytest.raises(SampleError, match="CSV in UTF-8"):
        read_answers(path)
    with pytest.raises(SampleError, match=r"cannot be read"):
        read_answers(tmp_path / "none.csv")


def read(tmp_path: Path, *changes: tuple[str, str]) -> Answers:
    return read_answers(sheet(tmp_path / "s.csv", *changes))


def test_strata_of_an_older_map_are_kept_apart_from_the_classes_now(tmp_path: Path) -> None:
    now = ["wheat", "wheat", "maize", "maize", None, "wheat"]
    got = lay_on_map(read(tmp_path), now, CLASSES, {"wheat": 50.0, "maize": 45.0})
    assert got.method == "stehman_2014" and got.strata == CLASSES
    assert got.stratum_ha.tolist() == [60, 40]
    counts = got.counts()
    assert counts[0].tolist() == [[2, 0], [0, 1], [0, 0]]
    assert counts[1].tolist() == [[0, 1], [0, 1], [0, 1]]  # the last row is NO_DATA
    assert NO_DATA not in got.labels
    east = got.counts(got.lon > 105.35)
    assert east.sum() == 3 and east[0].sum() == 0


def test_where_strata_are_the_classes_the_method_is_olofssons(tmp_path: Path) -> None:
    now = ["wheat"] * 3 + ["maize"] * 3
    assert lay_on_map(read(tmp_path), now, CLASSES, {"wheat": 60.0, "maize": 40.0}).method == "olofsson_2014"
    # without their areas, strata must be what the map shows
    bare = read(tmp_path, ("stratum_ha", "x"), ("stratum_points", "y"))
    assert bare.strata == ()
    got = lay_on_map(bare, now, CLASSES, {"wheat": 61.0, "maize": 39.0})
    assert got.stratum_ha.tolist() == [61, 39]
    with pytest.raises(SampleError, match=r"row 3: the point was drawn in the stratum 'wheat', but .* maize"):
        lay_on_map(bare, ["wheat", "wheat", "maize", *["maize"] * 3], CLASSES, {"wheat": 60.0, "maize": 40.0})
    # or those of the map it was drawn from
    old = (now, {"wheat": 70.0, "maize": 30.0})
    got = lay_on_map(bare, now[::-1], CLASSES, {"wheat": 60.0, "maize": 40.0}, drawn_from=old)
    assert got.method == "stehman_2014" and got.stratum_ha.tolist() == [70, 30]
    with pytest.raises(SampleError, match="row 1: the map given for the strata shows maize"):
        lay_on_map(bare, now, CLASSES, {"wheat": 60.0, "maize": 40.0}, drawn_from=(now[::-1], old[1]))


def test_a_simple_random_sample_is_stratified_by_the_map_and_leaves_out_what_it_does_not_show(
    tmp_path: Path,
) -> None:
    answers = read(tmp_path, ("stratified_random", "simple_random"))
    now = ["wheat", "wheat", "maize", "maize", None, "maize"]
    got = lay_on_map(answers, now, CLASSES, {"wheat": 50.0, "maize": 45.0})
    assert got.method == "olofsson_2014" and got.stratum_ha.tolist() == [50, 45]
    assert len(got.true) == 5 and any(
        "1 points lie where the map shows nothing" in note for note in got.notes
    )
    with pytest.raises(SampleError, match="no point lies where"):
        lay_on_map(answers, [None] * 6, CLASSES, {"wheat": 50.0})


def test_strata_too_poor_for_an_error_are_joined_and_said(tmp_path: Path) -> None:
    answers = read(tmp_path, ("stratified_random", "simple_random"))
    now = ["wheat"] * 5 + ["maize"]
    got = lay_on_map(answers, now, (*CLASSES, "flax"), {"wheat": 50.0, "maize": 45.0, "flax": 2.0})
    assert got.strata == ("wheat+maize+flax",) or got.strata == ("wheat", "maize+flax")
    assert got.stratum_ha.sum() == pytest.approx(97)
    assert got.counts().sum() == 6 and (got.counts().sum(axis=(1, 2)) >= 2).all()
    assert any("'flax' has 0 answered point(s) and was joined" in note for note in got.notes)
    assert got.method == "stehman_2014"


def test_one_class_only_is_flagged(tmp_path: Path) -> None:
    answers = read(tmp_path, ("random,maize", "random,wheat"))
    got = lay_on_map(answers, ["wheat"] * 6, ("wheat",), {"wheat": 100.0})
    assert any("every answer is 'wheat'" in note for note in got.notes)
    assert np.array_equal(got.true, np.zeros(6))
