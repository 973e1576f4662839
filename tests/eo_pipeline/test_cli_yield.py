"""`eo yield` and `eo evaluate yield`: what they print, what they write, and what they refuse."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from tests.command import eo, good, refused


@pytest.fixture(autouse=True)
def _brief(monkeypatch: pytest.MonkeyPatch) -> None:
    """The commands as they are, with fewer steps of the networks."""
    from models import yield_network

    torch.set_num_threads(1)
    monkeypatch.setattr(yield_network, "_STEPS", 12)


COLUMNS = ("--target", "kg_mu", "--unit", "county", "--year", "year")


def frame(years: int = 9) -> pd.DataFrame:
    """Six counties, in which nine parts in ten of a year's departure are told by NDVI of July."""
    rng = np.random.default_rng(4)
    rows = pd.DataFrame(
        [(f"县{u}", 2010 + t) for u in range(6) for t in range(years)], columns=["county", "year"]
    )
    t = rows["year"] - 2010
    rows["ndvi_06"] = rng.normal(0.5, 0.05, len(rows)).round(4)
    rows["ndvi_07"] = (0.7 + rng.normal(0, 0.05, years)[t] + rng.normal(0, 0.02, len(rows))).round(4)
    rows["ndvi_08"] = rng.normal(0.6, 0.05, len(rows)).round(4)
    rows["kg_mu"] = (300 + 4 * t + 600 * (rows["ndvi_07"] - 0.7) + rng.normal(0, 6, len(rows))).round(1)
    return rows


def save(path: Path, table: pd.DataFrame) -> Path:
    table.to_csv(path, index=False)
    return path


def test_train_predict_and_evaluate(tmp_path: Path) -> None:
    table = save(tmp_path / "counties.csv", frame())
    known = frame().query("year < 2018")
    model = tmp_path / "models" / "wheat"
    card = json.loads(
        good("yield", "train", save(tmp_path / "a.csv", known), *COLUMNS, "--out", model, "--json")
    )["card"]
    assert card["kind"] == "yield"
    assert card["data"]["years"] == list(range(2010, 2018))
    assert card["channels"] == ["ndvi_06", "ndvi_07", "ndvi_08"]
    left_out = card["metrics"]["left_out"]
    assert left_out["n"] == 48
    assert left_out["skill"] > 0.3
    assert left_out["rmse"] < left_out["baselines"]["trend"]["rmse"]
    assert card["metrics"]["forecast"]["n"] == 18
    # the year that nobody has seen
    last = frame().query("year == 2018")
    coming = last.drop(columns="kg_mu").assign(remark="旱")
    out = tmp_path / "deep" / "forecast.csv"
    said = json.loads(
        good("yield", "predict", model, save(tmp_path / "new.csv", coming), "--out", out, "--json")
    )
    assert said["rows"] == 6
    assert said["published"] == card["shape"]["published"] != "trend"
    written = pd.read_csv(out)
    assert list(written.columns) == ["county", "year", "prediction", "pi_low", "pi_high", "trend"]
    assert written["county"].tolist() == last["county"].tolist()
    truth = last["kg_mu"].to_numpy()
    assert np.abs(written["prediction"] - truth).mean() < np.abs(written["trend"] - truth).mean()
    assert ((written["pi_low"] < written["prediction"]) & (written["prediction"] < written["pi_high"])).all()
    # a county nobody has seen is said in the table, too; the columns stay where they are
    save(tmp_path / "new.csv", coming.assign(county=["新县", *coming["county"][1:]]))
    _, _, told = eo("yield", "predict", model, tmp_path / "new.csv", "--out", out)
    assert "1 units were never seen in training (新县)" in told
    written = pd.read_csv(out)
    assert list(written.columns)[2:] == ["prediction", "pi_low", "pi_high", "trend", "note"]
    assert written["note"].fillna("").tolist() == ["unit never seen", *[""] * 5]
    assert sorted(p.name for p in out.parent.iterdir()) == ["forecast.csv"]
    # for people
    code, shown, noted = eo("evaluate", "yield", save(table, frame(7)), *COLUMNS, "--vintages")
    assert code == 0
    assert noted.strip() == ""
    for word in ("model", "trend", "robust", "mean", "yields within 90 %", "2014", "Known until", "08"):
        assert word in shown


def test_evaluate_prints_json_of_fields_and_counties(tmp_path: Path) -> None:
    fields = frame(10).drop(columns="year").assign(farm=[f"f{i}" for i in range(60)])
    found = json.loads(
        good(
            "evaluate",
            "yield",
            save(tmp_path / "f.csv", fields),
            "--target",
            "kg_mu",
            "--field",
            "farm",
            "--json",
        )
    )
    assert found["n"] == 60
    assert found["forecast"] is None
    assert found["baselines"]["mean"]["rmse"] == found["baselines"]["trend"]["rmse"]
    assert found["skill"] > 0.3
    assert len(found["folds"]) == 10
    # yields alone, a missing year, a filler year, and a county that copies its figure
    bare = frame()[["county", "year", "kg_mu"]].query("year != 2012").reset_index(drop=True)
    bare.loc[bare["county"] == "县2", "kg_mu"] = 333.0
    bare.loc[bare["year"] == 2015, "kg_mu"] = 0.0
    table = save(tmp_path / "bare.csv", bare)
    found = json.loads(good("evaluate", "yield", table, *COLUMNS, "--json"))
    assert [fold["fold"] for fold in found["folds"]] == [
        "2010",
        "2011",
        "2013",
        "2014",
        "2016",
        "2017",
        "2018",
    ]
    notes = " ".join(found["notes"])
    assert "2015 was left out: all 6 units have kg_mu = 0" in notes
    assert "no yields of 2012, 2015" in notes
    assert "1 units have the same kg_mu in every year (县2)" in notes


def test_long_tables_are_read_by_dates(tmp_path: Path) -> None:
    wide = frame()
    rows = [
        (
            row.county,
            row.year,
            f"{row.year - (month > 9)}-{month:02d}-{11 if month > 9 else 1}",
            value,
            row.kg_mu,
        )
        for row in wide.itertuples()
        for month, value in ((11, row.ndvi_06), (6, row.ndvi_07), (7, row.ndvi_08))
    ]
    table = save(
        tmp_path / "long.csv", pd.DataFrame(rows, columns=["county", "year", "day", "ndvi", "kg_mu"])
    )
    model = tmp_path / "m"
    options = (*COLUMNS, "--time", "day", "--no-evaluate", "--json")
    card = json.loads(good("yield", "train", table, *options, "--out", model))["card"]
    assert card["channels"] == ["ndvi -11-2", "ndvi 06-1", "ndvi 07-1"]
    assert card["data"]["rows"] == 54
    early = json.loads(good("yield", "train", table, *options, "--until", "-11-2", "--out", model))["card"]
    assert early["channels"] == ["ndvi -11-2"]
    told = refused("yield", "train", table, *options, "--until", "12-1", "--out", model)
    assert "has no date '12-1' in its season. Its dates are -11-2, 06-1, 07-1" in told
    # a season that is not over yet, and dates that are crossed
    good("yield", "train", table, *options, "--out", model)
    begun = pd.DataFrame([("县1", 2019, "2018-11-15", 0.5)], columns=["county", "year", "day", "ndvi"])
    said = json.loads(
        good(
            "yield", "predict", model, save(tmp_path / "b.csv", begun), "--out", tmp_path / "o.csv", "--json"
        )
    )
    assert any("2 features of dates the table does not have" in note for note in said["notes"])
    crossed = pd.read_csv(table, dtype=str)
    crossed.loc[4, "day"] = "2019-06-01"
    told = refused("evaluate", "yield", save(tmp_path / "c.csv", crossed), *COLUMNS, "--time", "day")
    assert "row 6: 2019-06-01 does not lie in the season of 2011" in told


def _change(**columns: object) -> Callable[[Path], Path]:
    return lambda path: save(path, frame().assign(**columns))


def _cell(row: int, name: str, value: object) -> Callable[[Path], Path]:
    def change(path: Path) -> Path:
        table = frame().astype(object)
        table.loc[row, name] = value
        return save(path, table)

    return change


BAD: dict[str, tuple[Callable[[Path], Path], str]] = {
    "not there": (lambda p: p, "is not there"),
    "nothing in it": (lambda p: (p.write_text("") and p) or p, "cannot be read as a CSV"),
    "no row": (lambda p: save(p, frame()[:0]), "a header and no row"),
    "binary": (
        lambda p: (p.write_bytes(b"\xff\xfe\x00\x81\x00\x00\xff") and p) or p,
        "neither UTF-8 nor GB 18030",
    ),
    "no target": (lambda p: save(p, frame().drop(columns="kg_mu")), "has no column 'kg_mu' (--target)"),
    "no year": (lambda p: save(p, frame().drop(columns="year")), "has no column 'year' (--year)"),
    "double": (lambda p: save(p, pd.concat([frame(), frame()[3:4]])), "rows 5, 56 are all of '县0' in 2013"),
    "crossed": (_cell(2, "year", "2012-07-01"), "row 4: year is '2012-07-01'; a harvest year"),
    "text": (_cell(7, "kg_mu", "约300"), "row 9: kg_mu is '约300', which is no number"),
    "endless": (_cell(7, "kg_mu", "inf"), "row 9: kg_mu is 'inf', which is no number"),
    "nameless": (_cell(7, "county", ""), "row 9: county is empty"),
    "constant": (_change(kg_mu=300.0), "kg_mu is the same in all rows (300)"),
    "empty": (_change(kg_mu=""), "column 'kg_mu' is empty"),
    "two measures": (
        lambda p: save(p, frame().assign(kg_mu=lambda t: t["kg_mu"] * np.where(t["county"] == "县1", 15, 1))),
        "seems to mix units of measure",
    ),
    "one typing error": (_cell(7, "kg_mu", 32850), "1 are 32850 … 32850"),
    "few years": (lambda p: save(p, frame(4)), "has yields of 4 years; at least"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_tables_are_refused_in_one_paragraph_and_leave_nothing(case: str, tmp_path: Path) -> None:
    make, message = BAD[case]
    path = make(tmp_path / "bad.csv")
    before = sorted(tmp_path.iterdir())
    for command in (
        ("yield", "train", path, *COLUMNS, "--out", tmp_path / "m"),
        ("evaluate", "yield", path, *COLUMNS),
    ):
        told = refused(*command)
        assert message in told
        assert str(path) in told
        assert "Traceback" not in told
    assert sorted(tmp_path.iterdir()) == before


def test_what_predict_and_the_options_refuse(tmp_path: Path) -> None:
    table = save(tmp_path / "t.csv", frame())
    model = tmp_path / "m"
    good("yield", "train", table, *COLUMNS, "--out", model, "--no-evaluate")
    out = save(tmp_path / "out.csv", frame()[:1])
    kept = out.read_bytes()
    for changed, message in (
        (frame().drop(columns="ndvi_07"), "lacks 1 of the 3 features the model was trained on: ndvi_07"),
        (frame().drop(columns="county"), "has no column 'county' (--unit)"),
        (frame().astype(object).assign(ndvi_07="无"), "row 2: ndvi_07 is '无', which is no number"),
    ):
        told = refused("yield", "predict", model, save(tmp_path / "x.csv", changed), "--out", out)
        assert message in told
    assert "is not a model folder" in refused("yield", "predict", tmp_path, table, "--out", out)
    damaged = model / "weights.safetensors"
    damaged.write_bytes(damaged.read_bytes()[:-1] + b"\x00\x01")
    assert "is damaged" in refused("yield", "predict", model, table, "--out", out)
    assert "cannot be written" in refused(
        "yield", "train", table, *COLUMNS, "--out", out / "m", "--no-evaluate"
    )
    assert out.read_bytes() == kept
    assert "is the yield itself" in refused(
        "evaluate",
        "yield",
        save(tmp_path / "y.csv", frame().assign(copy=lambda t: 15 * t["kg_mu"])),
        *COLUMNS,
        "--features",
        "copy",
    )
    assert "named for two things" in refused("evaluate", "yield", table, *COLUMNS, "--features", "kg_mu")
    assert "no row has a yes" in refused("evaluate", "yield", table, *COLUMNS, "--only", "ndvi_06")
    for command in (("yield", "train"), ("yield", "predict"), ("evaluate", "yield")):
        shown = good(*command, "--help")
        assert "Examples" in shown
        assert f"eo {' '.join(command)} " in shown
