"""How good yields are: each year left out in turn, the whole recipe never having seen it; and year after
year.

Leaving a year out uses the years after it, as a statistician does who fills a gap. A forecast has only the
years before; so both are measured, and every figure stands beside the trend's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from models.yield_table import YieldTable
from models.yield_trend import BASELINES
from models.yields import (
    FIELD_PARTS,
    MIN_YEARS,
    Fitted,
    Prediction,
    Progress,
    Rows,
    check_enough,
    fit_yields,
    leave_out,
    rows_of,
)

Float = NDArray[np.float64]

#: Dates through the season at which a forecast is measured, at most.
VINTAGES: Final = 8


@dataclass(frozen=True)
class Scores:
    """Figures over rows that were left out.

    Attributes
    ----------
    n : int
    rmse, mae, bias : float
        In units of the yield; bias is prediction minus truth.
    r2 : float
        1 - squares of errors over squares about the mean; NaN without spread.
    baselines : dict
        RMSE of each baseline on the same rows, trained on the same years.
    skill : float
        1 - rmse / the trend's.
    coverage, width : float
        Share of yields within their interval, and its mean width.
    """

    n: int
    rmse: float
    mae: float
    bias: float
    r2: float
    baselines: dict[str, float]
    skill: float
    coverage: float
    width: float

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "n": self.n,
            "rmse": self.rmse,
            "mae": self.mae,
            "bias": self.bias,
            "r2": self.r2,
            "skill": self.skill,
            "coverage": self.coverage,
            "width": self.width,
            "baselines": {name: {"rmse": value} for name, value in self.baselines.items()},
        }


@dataclass(frozen=True)
class YieldEvaluation:
    """What was measured.

    `folds` has a name, scores and what was published for every year (or part of the fields) left out.
    """

    scores: Scores
    folds: tuple[tuple[str, Scores, str], ...]
    published: tuple[str, ...]

    @property
    def lost(self) -> bool:
        """Whether the trend was better: such a model is published as the trend."""
        return self.scores.skill < 0

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return self.scores.as_dict() | {
            "published_as": "trend" if self.lost or set(self.published) == {"trend"} else "model",
            "published": sorted(set(self.published)),
            "folds": [
                {"fold": name, "published": published} | scores.as_dict()
                for name, scores, published in self.folds
            ],
        }


def evaluate_yields(
    table: YieldTable, *, seed: int = 42, network: bool = True, progress: Progress | None = None
) -> YieldEvaluation:
    """Leave each year (or each tenth of the fields) out of everything and predict it.

    Raises
    ------
    YieldTableError
        Too few years or fields.
    """
    rows, _ = rows_of(table)
    check_enough(rows, table.path, spare=1)
    held = leave_out(rows.group, seed=seed, parts=FIELD_PARTS if table.year is None else len(rows.y))
    return _measure(rows, [(~h, h) for h in held], seed=seed, network=network, progress=progress)


def forecast_yields(
    table: YieldTable, *, seed: int = 42, network: bool = True, progress: Progress | None = None
) -> YieldEvaluation | None:
    """Predict each year from the years before it alone; None where there are too few, or no years."""
    rows, _ = rows_of(table)
    years = np.unique(rows.year)
    if table.year is None or len(years) <= MIN_YEARS:
        return None
    parts = [(rows.year < one, rows.year == one) for one in years[MIN_YEARS:]]
    return _measure(rows, parts, seed=seed, network=network, progress=progress)


def vintages(
    table: YieldTable, *, seed: int = 42, network: bool = True, progress: Progress | None = None
) -> list[tuple[str, YieldEvaluation]]:
    """`evaluate_yields` with what was known at dates through the season, the last of them its end."""
    steps = sorted({step for step in table.steps if step >= 0})
    if len(steps) > VINTAGES:
        steps = [steps[i] for i in np.linspace(0, len(steps) - 1, VINTAGES).round().astype(int)]

    def tell(i: int) -> Progress | None:
        if progress is None:
            return None
        return lambda done, total: progress(i * total + done, len(steps) * total)

    return [
        (
            table.step_names[step],
            evaluate_yields(table.until(step), seed=seed, network=network, progress=tell(i)),
        )
        for i, step in enumerate(steps)
    ]


def _measure(
    rows: Rows,
    parts: Sequence[tuple[NDArray[np.bool_], NDArray[np.bool_]]],
    *,
    seed: int,
    network: bool,
    progress: Progress | None,
) -> YieldEvaluation:
    fields = bool(np.ptp(rows.year) == 0)
    n = len(rows.y)
    value, low, high, trend = (np.full(n, np.nan) for _ in range(4))
    others = {name: np.full(n, np.nan) for name in BASELINES if not fields or name == "mean"}
    fitted: list[Fitted] = []
    for i, (train, test) in enumerate(parts):
        learned = rows.take(train)
        known = np.bincount(learned.unit, minlength=rows.units) > 0
        unit = np.where(known[rows.unit[test]], rows.unit[test], -1)
        fit = fit_yields(learned, seed=seed, network=network)
        fitted.append(fit)
        said: Prediction = fit.predict(unit, rows.year[test], rows.X[test])
        value[test], low[test], high[test], trend[test] = said.value, said.low, said.high, said.trend
        for name, values in others.items():
            curves = BASELINES[name](learned.unit, learned.year, learned.y[:, None], units=rows.units)
            values[test] = curves.at(unit, rows.year[test])[:, 0]
        if progress is not None:
            progress(i + 1, len(parts))
    others["trend"] = trend
    tested = np.logical_or.reduce([test for _, test in parts])

    def scores(chosen: NDArray[np.bool_]) -> Scores:
        return _scores(rows.y, value=value, low=low, high=high, others=others, chosen=chosen)

    names = [f"part {i + 1}" if fields else f"{rows.year[test][0]:.0f}" for i, (_, test) in enumerate(parts)]
    return YieldEvaluation(
        scores=scores(tested),
        folds=tuple(
            (name, scores(test), fit.published)
            for name, (_, test), fit in zip(names, parts, fitted, strict=True)
        ),
        published=tuple(fit.published for fit in fitted),
    )


def _scores(
    y: Float, *, value: Float, low: Float, high: Float, others: dict[str, Float], chosen: NDArray[np.bool_]
) -> Scores:
    y, value, low, high = (part[chosen] for part in (y, value, low, high))
    error = value - y
    rmse = _rmse(error)
    baselines = {name: _rmse(values[chosen] - y) for name, values in others.items()}
    about = float(((y - y.mean()) ** 2).sum())
    return Scores(
        n=len(y),
        rmse=rmse,
        mae=float(np.abs(error).mean()),
        bias=float(error.mean()),
        r2=1 - float((error**2).sum()) / about if about > 0 else float("nan"),
        baselines=baselines,
        skill=1 - rmse / baselines["trend"] if baselines["trend"] > 0 else 0.0,
        coverage=float(((y >= low) & (y <= high)).mean()),
        width=float((high - low).mean()),
    )


def _rmse(error: Float) -> float:
    return float(np.sqrt(np.mean(error**2)))
