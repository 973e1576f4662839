"""The yield model: what it gains, what it must not see, and when it steps back behind the trend."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from models.errors import YieldTableError
from models.yield_evaluate import evaluate_yields, forecast_yields, vintages
from models.yield_model import YieldModel
from models.yield_network import fit_networks
from models.yield_table import Columns, YieldTable, read_yield_table
from models.yields import fit_yields, rows_of

COLUMNS = Columns(unit=("county",), target="yield", year="year")


def counties(
    folder: Path, *, effect: float, units: int = 10, years: int = 14, seed: int = 0, name: str = "t.csv"
) -> YieldTable:
    """Counties with a trend, in which rain of the second month moves yields by `effect`."""
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(
        [(f"县{u}", 2005 + t) for u in range(units) for t in range(years)], columns=["county", "year"]
    )
    u, t = frame.index // years, frame.index % years
    for month in (1, 2, 3):
        common = rng.normal(0, 1, years)[t]
        frame[f"rain_{month:02d}"] = common + rng.normal(0, 0.6, len(frame)) + 0.1 * u
    slope = rng.normal(4, 1, units)[u]
    frame["yield"] = (
        300 + 10 * u + slope * t + effect * (frame["rain_02"] - 0.1 * u) + rng.normal(0, 8, len(frame))
    )
    frame.to_csv(folder / name, index=False)
    return read_yield_table(folder / name, COLUMNS)


def test_a_model_that_knows_more_beats_the_trend_and_says_by_how_much(tmp_path: Path) -> None:
    table = counties(tmp_path, effect=25)
    found = evaluate_yields(table, network=False)
    scores = found.scores
    assert scores.n == 140
    assert scores.baselines["trend"] > 22
    assert scores.rmse < 13
    assert scores.skill == pytest.approx(1 - scores.rmse / scores.baselines["trend"])
    assert scores.skill > 0.4
    assert 0.84 <= scores.coverage <= 0.98
    assert not found.lost
    assert all("ridge" in one for one in found.published)
    assert [name for name, _, _ in found.folds] == [str(year) for year in range(2005, 2019)]
    ahead = forecast_yields(table, network=False)
    assert ahead is not None
    assert ahead.scores.n == 90
    assert ahead.scores.skill > 0.25
    # what is known after the first month says nothing, after the second all there is
    first, second, third = vintages(table, network=False)
    assert [first[0], second[0], third[0]] == ["01", "02", "03"]
    assert first[1].scores.skill < 0.1
    assert second[1].scores.skill > 0.4
    assert third[1].scores.rmse == scores.rmse


def test_features_that_say_nothing_leave_the_trend(tmp_path: Path) -> None:
    for seed in range(3):
        found = evaluate_yields(counties(tmp_path, effect=0, seed=seed), network=False)
        assert found.published.count("trend") >= 11
        assert found.scores.rmse <= 1.03 * found.scores.baselines["trend"]


def test_nothing_of_a_held_out_year_is_seen(tmp_path: Path) -> None:
    """Whatever the yields of a year are, what is said of it is the same."""
    before = evaluate_yields(counties(tmp_path, effect=25), network=False)
    table = counties(tmp_path, effect=25)
    assert table.y is not None
    assert table.year is not None
    table.y[table.year == 2011] += 500.0
    after = evaluate_yields(table, network=False)
    moved = {name: s for name, s, _ in after.folds}["2011"]
    old = {name: s for name, s, _ in before.folds}["2011"]
    assert moved.bias == pytest.approx(old.bias - 500)
    assert moved.width == old.width
    # the years learned from it do change
    assert after.folds[0][1].rmse > before.folds[0][1].rmse


def test_the_network_learns_what_no_line_can(tmp_path: Path) -> None:
    """Rain helps up to a point: a hump, of which ridge sees nothing."""
    table = counties(tmp_path, effect=0, years=11)
    assert table.y is not None
    table.y[:] -= 25 * np.abs(table.X[:, 1] - np.median(table.X[:, 1]))
    rows, _ = rows_of(table)
    fit = fit_yields(rows)
    assert fit.published == "trend + network"
    assert fit.choice["trend + network"] < 0.85 * min(v for k, v in fit.choice.items() if "ridge" in k)
    small = [(table.X[:40], rows.y[:40]), (table.X[40:70], rows.y[40:70])]
    once, again = fit_networks(small, seed=3), fit_networks(small, seed=3)
    assert np.array_equal(once[1].predict(table.X), again[1].predict(table.X))


def test_a_saved_model_says_the_same_and_tells_what_it_does_not_know(tmp_path: Path) -> None:
    table = counties(tmp_path, effect=25)
    model = YieldModel.fit(table, COLUMNS)
    folder = model.save(tmp_path / "model")
    loaded = YieldModel.load(folder)
    new = tmp_path / "new.csv"
    new.write_text(
        "county,year,rain_03,rain_02,rain_01\n县3,2019,0,1.5,0\n县3,2019,,,\n".replace(
            "县3,2019,,,", "县4,2030,,,"
        )
        + "别县,2019,0,1.5,0\n县5,2010,0,0,0\n",
        encoding="utf-8",
    )
    said, notes = loaded.predict(loaded.read(new))
    same, _ = model.predict(model.read(new))
    assert np.array_equal(said.value, same.value)
    assert np.array_equal(said.low, same.low)
    assert said.known.tolist() == [True, True, False, True]
    assert said.value[0] > said.trend[0] + 15  # 1.2 more rain than usual, 25 each
    assert said.value[1] == pytest.approx(said.trend[1])  # nothing seen: as usual
    assert (said.high - said.low)[2] > 1.5 * (said.high - said.low)[0]
    text = " ".join(notes)
    assert "1 units were never seen in training (别县)" in text
    assert "1 rows have no observation at all" in text
    assert "1 rows are more than 5 years from the training years (2005-2018)" in text
    assert "1 rows are of years the model learned from" in text
    assert loaded.card.data["years"] == list(range(2005, 2019))
    # the trend alone, for a model that lost
    trend = YieldModel.fit(table, COLUMNS, trend_only=True)
    assert trend.fitted.published == "trend"
    lone, _ = trend.predict(trend.read(new))
    assert np.array_equal(lone.value, lone.trend)


def test_fields_of_one_season_stand_beside_their_mean(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    frame = pd.DataFrame({"farm": [f"f{i // 3}" for i in range(90)], "ndvi": rng.normal(0.6, 0.1, 90)})
    frame["t_ha"] = (
        6 + 8 * (frame["ndvi"] - 0.6) + np.repeat(rng.normal(0, 0.2, 30), 3) + rng.normal(0, 0.3, 90)
    )
    frame.to_csv(tmp_path / "fields.csv", index=False)
    columns = Columns(unit=("farm",), target="t_ha")
    table = read_yield_table(tmp_path / "fields.csv", columns)
    found = evaluate_yields(table, network=False)
    assert set(found.scores.baselines) == {"mean", "trend"}
    assert found.scores.baselines["mean"] == found.scores.baselines["trend"] > 0.75
    assert found.scores.rmse < 0.45
    assert 0.84 <= found.scores.coverage <= 0.96
    assert forecast_yields(table) is None
    model = YieldModel.fit(table, columns)
    (tmp_path / "new.csv").write_text("farm,ndvi\nnew,0.7\nf1,0.5\n", encoding="utf-8")
    said, notes = model.predict(model.read(tmp_path / "new.csv"))
    assert said.value == pytest.approx([6.8, 5.2], abs=0.2)
    assert np.allclose(said.trend, table.y.mean() if table.y is not None else 0)
    assert said.known.all()
    assert notes == ()


def test_too_few_years_or_fields_are_refused(tmp_path: Path) -> None:
    with pytest.raises(YieldTableError, match=r"has yields of 4 years; at least 5 are needed"):
        YieldModel.fit(counties(tmp_path, effect=0, years=4), COLUMNS)
    with pytest.raises(YieldTableError, match=r"5 years; at least 6 are needed.*--year"):
        evaluate_yields(counties(tmp_path, effect=0, years=5))


@pytest.mark.realdata
def test_henan_wheat_by_years_left_out(shared_data: Path) -> None:
    """Seven prefectures whose labels are verified, monthly weather and MODIS, 2003-2014."""
    table = read_yield_table(
        shared_data / "henan-wheat-yield" / "dev_monthly_2003_2014.csv",
        Columns(
            unit=("city",),
            target="official_yield_t_ha",
            year="harvest_year",
            time="date",
            only="label_verified",
        ),
    )
    assert table.X.shape == (84, 104)
    assert not any("yield" in name for name in table.features)
    found = evaluate_yields(table, network=False)
    assert found.scores.rmse <= found.scores.baselines["trend"]
    assert found.scores.skill > 0.2
    assert 0.86 <= found.scores.coverage <= 0.94
    ahead = forecast_yields(table, network=False)
    assert ahead is not None
    assert ahead.scores.rmse < ahead.scores.baselines["trend"]


@pytest.mark.realdata
def test_us_soybean_by_years_left_out(shared_data: Path) -> None:
    """19,120 county yields of 13 years and no weather: nothing beats the trend, and that is what is said."""
    table = read_yield_table(
        shared_data / "us-soybean-county-yield" / "yield_final.csv",
        Columns(unit=("state_fips", "county_fips"), target="yield_bu_ac", year="year"),
    )
    assert any("2016 was left out: all 1834 units have yield_bu_ac = 0" in note for note in table.notes)
    found = evaluate_yields(table)
    assert found.scores.n == 19120
    assert set(found.published) == {"trend"}
    assert found.scores.rmse == found.scores.baselines["trend"] < found.scores.baselines["line"]
    assert found.scores.rmse == pytest.approx(7.26, abs=0.02)
    assert 0.86 <= found.scores.coverage <= 0.94
