"""The yield model: a baseline through the years, a model of what departs from it, and an honest interval.

Everything that is chosen (baseline, model of the departures, its weight, the width of the interval) is chosen
by leaving out each training year in turn; with fields of one season, each part of the fields. What does not
gain there is not used, and the model is then published as its baseline.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from models.conformal import COVERAGE
from models.errors import YieldTableError
from models.intervals import group_quantile
from models.yield_residuals import RIDGE, Scaler, fit_ridge
from models.yield_table import YieldTable
from models.yield_trend import BASELINES, Curves, unit_trend

Float = NDArray[np.float64]
Int = NDArray[np.int64]
#: Called with the part done and the number of parts.
Progress = Callable[[int, int], None]

#: Years (or fields) a model needs at least: each is left out, and a line goes through the others.
MIN_YEARS: Final = 5
MIN_FIELDS: Final = 8
#: Parts into which fields of one season are divided to be left out.
FIELD_PARTS: Final = 10

#: What another baseline must gain on the trend to be taken (share of the RMSE), both where years are left out
#: and where years are forecast from those before them: a curve that fills gaps well may run off at its ends.
_BASELINE_GAIN: Final = 0.05
#: Years before a forecast that helps to choose a baseline, and forecasts there must be.
_BEFORE: Final = 4
_FORECASTS: Final = 3
#: What a model of departures must gain on the baseline where years are left out, and how many standard errors
#: of the years' gains that must be: one good year does not make a model.
_GAIN: Final = 0.02
_SURE: Final = 1.0
#: Parts into which training years are divided to choose and calibrate by; up to so many, each is left out
#: alone.
YEAR_PARTS: Final = 14
#: A unit's own spread counts as much as this many years of all units' spread.
_SPREAD_YEARS: Final = 6.0


@dataclass(frozen=True)
class Rows:
    """Rows as the model sees them: codes of units, years, features, yields, and what is left out together."""

    unit: Int
    year: Float
    X: Float
    y: Float
    group: Int
    units: int

    def take(self, chosen: NDArray[np.bool_]) -> Rows:
        """The chosen rows; codes keep their meaning."""
        return Rows(
            self.unit[chosen],
            self.year[chosen],
            self.X[chosen],
            self.y[chosen],
            self.group[chosen],
            self.units,
        )


@dataclass(frozen=True)
class Departures:
    """A fitted model of departures from the baseline; `weight` (0-1) is how far it is believed."""

    kind: str
    scaler: Scaler
    weight: float
    #: (p,) of ridge, or a network.
    core: Any

    def predict(self, unit: Int, year: Float, X: Float) -> Float:
        """Expected departure (n,)."""
        Z = self.scaler(unit, year, X)
        raw = Z @ self.core if isinstance(self.core, np.ndarray) else self.core.predict(Z)
        return np.asarray(self.weight * raw, np.float64)


@dataclass(frozen=True)
class Prediction:
    """Yields with their interval, and what the trend alone would say; all (n,).

    `known` says whether the unit was seen in training; others get the curve of all units and a wider
    interval.
    """

    value: Float
    low: Float
    high: Float
    trend: Float
    known: NDArray[np.bool_]


@dataclass(frozen=True)
class Fitted:
    """A recipe fitted to rows.

    Attributes
    ----------
    baseline : str
        Name among `BASELINES`.
    curves, trend : Curves
        Of the baseline, and of the trend it is held against.
    departures : Departures, optional
        None where nothing gained.
    quantile : float
        Half the interval in units of a row's expected error.
    spread : (units + 1,) float
        Expected error of each unit; the last is for a unit that was never seen.
    years : (3,) float
        Number, mean and sum of squares of the training years: an error grows with distance from them.
    positive : bool
        Whether yields are never below 0, so intervals are not either.
    choice : dict
        RMSE of every candidate on years that were left out of training.
    """

    baseline: str
    curves: Curves
    trend: Curves
    departures: Departures | None
    quantile: float
    spread: Float
    years: Float
    positive: bool
    choice: dict[str, float] = field(default_factory=dict)

    @property
    def published(self) -> str:
        """What the prediction is made by: "trend" where nothing beat it."""
        return self.baseline if self.departures is None else f"{self.baseline} + {self.departures.kind}"

    def predict(self, unit: Int, year: Float, X: Float) -> Prediction:
        """Predict rows; `unit` -1 was never seen."""
        value = self.curves.at(unit, year)[:, 0]
        if self.departures is not None:
            value = value + self.departures.predict(unit, year, X)
        half = self.quantile * self.spread[unit] * _reach(year, self.years)
        low, high = value - half, value + half
        if self.positive:
            value, low, high = (np.maximum(part, 0.0) for part in (value, low, high))
        return Prediction(value, low, high, self.trend.at(unit, year)[:, 0], unit >= 0)


def rows_of(table: YieldTable, units: list[str] | None = None) -> tuple[Rows, list[str]]:
    """A table as rows, and the names of its units.

    Fields of one season (no year) are one unit in one year; what is left out together is then a name of the
    unit column, so fields of one farm stay together.
    """
    names, codes = np.unique(table.unit, return_inverse=True)
    n = len(codes)
    y = np.full(n, np.nan) if table.y is None else table.y
    if table.year is None:
        zero = np.zeros(n, dtype=np.int64)
        return Rows(zero, np.zeros(n), table.X, y, codes.astype(np.int64), 1), ["all"]
    if units is None:
        units = [str(name) for name in names]
        unit = codes.astype(np.int64)
    else:
        place = {name: i for i, name in enumerate(units)}
        unit = np.array([place.get(str(name), -1) for name in names], dtype=np.int64)[codes]
    return Rows(unit, table.year, table.X, y, table.year.astype(np.int64), len(units)), units


def check_enough(rows: Rows, where: object, *, spare: int = 0) -> None:
    """Refuse too few years or fields; `spare` are held out on top of it.

    Raises
    ------
    YieldTableError
        Too few.
    """
    fields = np.ptp(rows.year) == 0
    found, need, what = len(np.unique(rows.group)), MIN_YEARS + spare, "years"
    if fields:
        need, what = MIN_FIELDS + spare, "fields or farms"
    if found < need:
        raise YieldTableError(
            f"{where} has yields of {found} {what}; at least {need} are needed, because each is left out "
            "in turn to "
            f"see what the others say of it. Add {what}"
            + (
                ", or use the mean."
                if fields
                else ", or leave --year out if the rows are fields of one season."
            )
        )


def leave_out(group: Int, *, seed: int, parts: int) -> list[NDArray[np.bool_]]:
    """Rows left out by turns: one year (or farm) at a time, or by `parts` where there are more of them."""
    names, code = np.unique(group, return_inverse=True)
    if len(names) > parts:
        code = (np.random.default_rng(seed).permutation(len(names)) % parts)[code]
    return [code == one for one in range(int(code.max()) + 1)]


def fit_yields(rows: Rows, *, seed: int = 42, network: bool = True, trend_only: bool = False) -> Fitted:
    """Choose, fit and calibrate; nothing but `rows` is seen.

    Parameters
    ----------
    rows : Rows
        Training rows.
    seed : int
        Of the networks, and of the parts into which fields are divided.
    network : bool
        Whether the networks are among the candidates.
    trend_only : bool
        Choose nothing: the trend and its interval, for a model that has lost to it.
    """
    fields = bool(np.ptp(rows.year) == 0)
    folds = leave_out(rows.group, seed=seed, parts=FIELD_PARTS if fields else YEAR_PARTS)
    first = "mean" if fields else "trend"
    errors = _left_out_errors(rows, folds, [first] if fields or trend_only else list(BASELINES))
    baseline = first if fields or trend_only else _choose_baseline(rows, errors)
    said_of = {} if trend_only else _departures(rows, folds, baseline, seed=seed, network=network)
    error, best, weight = errors[baseline], "", 0.0
    for name, said in said_of.items():
        own = _weight(errors[baseline], said)
        errors[f"{baseline} + {name}"] = left = errors[baseline] - own * said
        if _rmse(left) < _rmse(error):
            error, best, weight = left, name, own
    departures = None
    if best and _gains(error, errors[baseline], rows.group):
        departures = _fit_departures(best, rows, baseline, weight=weight, seed=seed)
    else:
        error = errors[baseline]
    curves = _curves(baseline, rows)
    quantile, spread = _interval(rows, error, curves)
    return Fitted(
        baseline="trend" if fields else baseline,
        curves=curves,
        trend=curves if fields else unit_trend(rows.unit, rows.year, rows.y[:, None], units=rows.units),
        departures=departures,
        quantile=quantile,
        spread=spread,
        years=_year_sums(rows.year),
        positive=bool((rows.y >= 0).all()),
        choice={name: _rmse(values) for name, values in errors.items()},
    )


def _curves(name: str, rows: Rows) -> Curves:
    return BASELINES[name](rows.unit, rows.year, rows.y[:, None], units=rows.units)


def _left_out_errors(rows: Rows, folds: list[NDArray[np.bool_]], names: list[str]) -> dict[str, Float]:
    """Truth minus what each baseline says of rows left out."""
    errors = {name: np.empty(len(rows.y)) for name in names}
    for held in folds:
        others = rows.take(~held)
        for name in names:
            said = _curves(name, others).at(rows.unit[held], rows.year[held])[:, 0]
            errors[name][held] = rows.y[held] - said
    return errors


def _choose_baseline(rows: Rows, errors: dict[str, Float]) -> str:
    """The trend, unless another is clearly better at gaps and at forecasts."""
    best = min(errors, key=lambda name: _rmse(errors[name]))
    years = np.unique(rows.year)[_BEFORE:]
    if _rmse(errors[best]) >= (1 - _BASELINE_GAIN) * _rmse(errors["trend"]) or len(years) < _FORECASTS:
        return "trend"
    ahead: dict[str, list[Float]] = {"trend": [], best: []}
    for one in years:
        before, now = rows.take(rows.year < one), rows.take(rows.year == one)
        for name, found in ahead.items():
            found.append(now.y - _curves(name, before).at(now.unit, now.year)[:, 0])
    forecast = {name: _rmse(np.concatenate(found)) for name, found in ahead.items()}
    return best if forecast[best] < (1 - _BASELINE_GAIN) * forecast["trend"] else "trend"


def _gains(error: Float, other: Float, group: Int) -> bool:
    """Whether errors are smaller than others' by more than chance, year for year (or farm for farm)."""
    code = np.unique(group, return_inverse=True)[1]
    gain = np.bincount(code, other**2 - error**2) / np.bincount(code)
    certain = gain.mean() > _SURE * gain.std(ddof=1) / np.sqrt(len(gain))
    return bool(certain and _rmse(error) < (1 - _GAIN) * _rmse(other))


def _departures(
    rows: Rows, folds: list[NDArray[np.bool_]], baseline: str, *, seed: int, network: bool
) -> dict[str, Float]:
    """What each model of departures says of the rows left out, by its name."""
    if not rows.X.shape[1] or np.isinf(Scaler.of(rows.unit, rows.year, rows.X, units=rows.units).scale).all():
        return {}  # nothing varies from year to year
    inputs = [_inputs(rows.take(~held), baseline) for held in folds]
    said = {f"ridge {penalty:g}": np.zeros(len(rows.y)) for penalty in RIDGE}
    seen = [
        scaler(rows.unit[h], rows.year[h], rows.X[h]) for h, (scaler, _, _) in zip(folds, inputs, strict=True)
    ]
    for held, Z, (_, ours, r) in zip(folds, seen, inputs, strict=True):
        for penalty, coefficients in zip(RIDGE, fit_ridge(ours, r), strict=True):
            said[f"ridge {penalty:g}"][held] = Z @ coefficients
    if network:
        from models.yield_network import fit_networks

        said["network"] = np.zeros(len(rows.y))
        nets = fit_networks([(ours, r) for _, ours, r in inputs], seed=seed)
        for held, Z, net in zip(folds, seen, nets, strict=True):
            said["network"][held] = net.predict(Z)
    return said


def _inputs(rows: Rows, baseline: str) -> tuple[Scaler, Float, Float]:
    """Scaler, scaled departures of the features, and departures of yield of training rows."""
    scaler = Scaler.of(rows.unit, rows.year, rows.X, units=rows.units)
    r = rows.y - _curves(baseline, rows).at(rows.unit, rows.year)[:, 0]
    return scaler, scaler(rows.unit, rows.year, rows.X), r


def _fit_departures(name: str, rows: Rows, baseline: str, *, weight: float, seed: int) -> Departures:
    """The chosen model, fitted to all rows."""
    scaler, Z, r = _inputs(rows, baseline)
    if name == "network":
        from models.yield_network import fit_networks

        return Departures("network", scaler, weight, fit_networks([(Z, r)], seed=seed)[0])
    return Departures("ridge", scaler, weight, fit_ridge(Z, r, [float(name.split()[1])])[0])


def _weight(error: Float, said: Float) -> float:
    """How far a model of departures is believed: least squares on rows left out, between 0 and 1."""
    size = float(said @ said)
    return float(np.clip(error @ said / size, 0.0, 1.0)) if size > 0 else 0.0


def _interval(rows: Rows, error: Float, curves: Curves) -> tuple[float, Float]:
    """The quantile of the errors on rows left out, and the expected error of each unit.

    An error is measured by the unit's own spread, to which its own year does not count.
    """
    reach = np.empty(len(error))
    for one in np.unique(rows.group):
        held = rows.group == one
        reach[held] = _reach(rows.year[held], _year_sums(rows.year[~held]))
    square = (error / reach) ** 2
    pooled = float(square.mean())
    total = np.bincount(rows.unit, square, rows.units)
    count = np.bincount(rows.unit, minlength=rows.units)
    own = (total[rows.unit] - square + _SPREAD_YEARS * pooled) / (count[rows.unit] - 1 + _SPREAD_YEARS)
    spread = np.sqrt((total + _SPREAD_YEARS * pooled) / (count + _SPREAD_YEARS))
    never = np.sqrt(pooled + float(curves.spread[0]) ** 2)
    # A unit with one year is unknown when that year is left out.
    own = np.where(count[rows.unit] > 1, np.sqrt(own), never)
    spread = np.where(count > 0, spread, never)
    scores = np.abs(error) / (np.maximum(own, 1e-12) * reach)
    return group_quantile(scores, rows.group, coverage=COVERAGE), np.append(spread, never)


def _year_sums(year: Float) -> Float:
    years = np.unique(year)
    return np.array([len(years), years.mean(), ((years - years.mean()) ** 2).sum()])


def _reach(year: Float, sums: Float) -> Float:
    """How much an error grows with distance from the years learned from: √(1 + 1/n + (t - mean)² / Sxx)."""
    n, mean, sxx = sums
    far = (year - mean) ** 2 / sxx if sxx > 0 else np.zeros(len(year))
    return np.asarray(np.sqrt(1 + 1 / n + far))


def _rmse(error: Float) -> float:
    return float(np.sqrt(np.mean(error**2)))
