"""A yield model in a folder: fitted from a table, saved with its card, loaded, asked about another table."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from models.card import CARD, WEIGHTS, ModelCard, code_version, read_folder, write_folder
from models.conformal import COVERAGE
from models.errors import ModelFileError
from models.yield_network import Network
from models.yield_residuals import Scaler
from models.yield_table import Columns, YieldTable, read_yield_table
from models.yield_trend import Curves
from models.yields import Departures, Fitted, Prediction, check_enough, fit_yields, rows_of

KIND: Final = "yield"

#: Years beyond the training years after which a prediction is noted as far.
_FAR_YEARS: Final = 5

Arrays = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class YieldModel:
    """A fitted recipe, the names of its units in the order of their codes, and its card."""

    fitted: Fitted
    units: tuple[str, ...]
    card: ModelCard

    @property
    def columns(self) -> Columns:
        """Which column of a table means what, as in training."""
        own = self.card.data
        return Columns(unit=tuple(own["unit"]), year=own["year"], time=own["time"])

    @classmethod
    def fit(
        cls,
        table: YieldTable,
        columns: Columns,
        *,
        seed: int = 42,
        trend_only: bool = False,
        description: str = "",
    ) -> YieldModel:
        """Fit to all rows of a table.

        Parameters
        ----------
        table : YieldTable
            With yields.
        columns : Columns
            As it was read; kept in the card.
        seed : int
            Same table and seed, same model.
        trend_only : bool
            For a model that lost to the trend: the trend is published in its place.
        description : str
            Where the yields come from, for the card.

        Raises
        ------
        YieldTableError
            Too few years or fields.
        """
        rows, units = rows_of(table)
        check_enough(rows, table.path)
        fitted = fit_yields(rows, seed=seed, trend_only=trend_only)
        digest = hashlib.sha256(rows.X.tobytes() + rows.y.tobytes() + "\n".join(table.unit).encode())
        card = ModelCard(
            kind=KIND,
            classes=(),
            channels=table.features,
            times=table.step_names,
            shape={
                "baseline": fitted.baseline,
                "departures": None if fitted.departures is None else fitted.departures.kind,
                "published": fitted.published,
                "positive": fitted.positive,
                "units": units,
            },
            training={"seed": seed, "left_out_rmse": fitted.choice},
            data={
                "description": description or table.path.name,
                "rows": len(rows.y),
                "units": len(np.unique(table.unit)),
                "years": [] if table.year is None else np.unique(rows.year).astype(int).tolist(),
                "target": columns.target,
                "unit": list(columns.unit),
                "year": columns.year,
                "time": columns.time,
                "notes": list(table.notes),
                "sha256": digest.hexdigest(),
            },
            calibration={
                "coverage": COVERAGE,
                "quantile": fitted.quantile,
                "groups": len(np.unique(rows.group)),
            },
            parameters=sum(array.size for array in _arrays(fitted).values()),
            code=code_version(),
            libraries={"numpy": np.__version__},
        )
        return cls(fitted, tuple(units), card)

    def read(self, path: Path | str) -> YieldTable:
        """Read a table to be predicted, with the columns and features of the training.

        Raises
        ------
        YieldTableError
            A column is missing, or a value is none.
        """
        return read_yield_table(path, self.columns, wanted=self.card.channels)

    def predict(self, table: YieldTable) -> tuple[Prediction, tuple[str, ...]]:
        """Yields of a table's rows, and notes: units never seen, features missing, years far off."""
        rows, _ = rows_of(table, list(self.units))
        said = self.fitted.predict(rows.unit, rows.year, rows.X)
        notes = list(table.notes)
        if not said.known.all():
            names = sorted(set(table.unit[~said.known].tolist()))
            notes.append(
                f"{len(names)} units were never seen in training ({', '.join(names[:5])}"
                f"{' …' if len(names) > 5 else ''}): they get the curve of all units and a wider interval."
            )
        if self.fitted.departures is not None and rows.X.shape[1]:
            used = np.isfinite(self.fitted.departures.scaler.scale)
            empty = ~np.isfinite(rows.X[:, used]).any(axis=1)
            if empty.any():
                notes.append(f"{int(empty.sum())} rows have no observation at all: they get the baseline.")
        years = self.card.data["years"]
        if years:
            far = (rows.year > years[-1] + _FAR_YEARS) | (rows.year < years[0] - _FAR_YEARS)
            if far.any():
                notes.append(
                    f"{int(far.sum())} rows are more than {_FAR_YEARS} years from the training years "
                    f"({years[0]}-{years[-1]}): a line that far is a guess."
                )
            seen = np.isin(rows.year, years) & said.known
            if seen.any():
                notes.append(
                    f"{int(seen.sum())} rows are of years the model learned from; they test nothing."
                )
        return said, tuple(notes)

    def with_metrics(self, **metrics: Any) -> YieldModel:
        """The same model with figures added to its card."""
        return replace(self, card=replace(self.card, metrics=self.card.metrics | metrics))

    def save(self, folder: Path | str) -> Path:
        """Write `weights.safetensors` and `card.json` into `folder`, whole or not at all.

        Raises
        ------
        ModelFileError
            The folder exists and is no model folder, or cannot be written.
        """
        arrays = {name: np.ascontiguousarray(array) for name, array in _arrays(self.fitted).items()}
        return write_folder(Path(folder), self.card, save(arrays))

    @classmethod
    def load(cls, folder: Path | str) -> YieldModel:
        """Read a model folder written by `save`.

        Raises
        ------
        ModelFileError
            A file is missing, damaged, of another version or kind.
        """
        folder = Path(folder)
        card, weights = read_folder(folder)
        if card.kind != KIND:
            raise ModelFileError(
                f"{folder / CARD} is the card of a {card.kind!r} model; a yield model is needed. Give the "
                "folder "
                "that `eo yield train --out` wrote."
            )
        try:
            return cls(_fitted(load(weights), card.shape), tuple(card.shape["units"]), card)
        except (SafetensorError, KeyError, TypeError, ValueError) as error:
            raise ModelFileError(
                f"{folder / WEIGHTS} does not fit {CARD} ({error}). Copy the model folder again whole, or "
                "train "
                "the model again with `eo yield train`."
            ) from error


def _arrays(fitted: Fitted) -> Arrays:
    """Every number of a model by a name."""
    out = _of_curves("curves", fitted.curves) | _of_curves("trend", fitted.trend)
    out |= {"quantile": np.array([fitted.quantile]), "spread": fitted.spread, "years": fitted.years}
    if fitted.departures is not None:
        own = fitted.departures
        out |= _of_curves("features", own.scaler.curves)
        out |= {"scale": own.scaler.scale, "weight": np.array([own.weight])}
        if isinstance(own.core, Network):
            out |= {f"network.{f.name}": np.atleast_1d(getattr(own.core, f.name)) for f in fields(Network)}
        else:
            out["ridge"] = own.core
    return out


def _of_curves(name: str, curves: Curves) -> Arrays:
    return {f"{name}.{f.name}": np.atleast_1d(np.float64(getattr(curves, f.name))) for f in fields(Curves)}


def _fitted(arrays: Mapping[str, NDArray[Any]], shape: Mapping[str, Any]) -> Fitted:
    departures = None
    if shape["departures"] is not None:
        core: Any = arrays.get("ridge")
        if shape["departures"] == "network":
            parts: dict[str, Any] = {f.name: arrays[f"network.{f.name}"] for f in fields(Network)}
            core = Network(**parts | {"scale": float(parts["scale"][0])})
        scaler = Scaler(_curves("features", arrays), arrays["scale"])
        departures = Departures(shape["departures"], scaler, float(arrays["weight"][0]), core)
    return Fitted(
        baseline=shape["baseline"],
        curves=_curves("curves", arrays),
        trend=_curves("trend", arrays),
        departures=departures,
        quantile=float(arrays["quantile"][0]),
        spread=arrays["spread"],
        years=arrays["years"],
        positive=shape["positive"],
    )


def _curves(name: str, arrays: Mapping[str, NDArray[Any]]) -> Curves:
    parts: dict[str, Any] = {f.name: arrays[f"{name}.{f.name}"] for f in fields(Curves)}
    for one in ("centre", "first", "decay"):
        parts[one] = float(parts[one][0])
    return Curves(**parts)
