"""Tables of yields: read from CSV, checked at the door, one row a unit and year (or a field).

A table may be wide (one row a unit and year, features as columns) or long (one row a unit, year and date,
told by `time`), which is brought into the wide form by dekads. What looks wrong is refused with row and cure;
what can be left out is left out and noted.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from models.errors import YieldTableError
from models.yield_checks import check_target, left_out_features

if TYPE_CHECKING:
    import pandas as pd

Float = NDArray[np.float64]
Int = NDArray[np.int64]

_MISSING: Final = ("", "NA", "N/A", "NaN", "nan", "null", "None", "-", "--", "—", "/")
_TRUE: Final = frozenset({"true", "1", "1.0", "yes", "y", "t", "是"})
#: A name that ends in a number of one to three digits after letters or a sign: ndvi_07, rain-d12, lst m5.
_NUMBERED: Final = re.compile(r"^(.*?[A-Za-z_\-\s.])(\d{1,3})$")


@dataclass(frozen=True)
class Columns:
    """Which column means what.

    Attributes
    ----------
    unit : tuple of str
        County, prefecture or field; several columns are taken together (state and county).
    target, year, time, only : str, optional
        Yield; harvest year; date of a long table; a yes/no column, rows of "no" are not used.
    features : tuple of str, optional
        The columns to learn from; by default every column of numbers that is none of the others.
    """

    unit: tuple[str, ...]
    target: str | None = None
    year: str | None = None
    time: str | None = None
    only: str | None = None
    features: tuple[str, ...] | None = None


@dataclass(frozen=True)
class YieldTable:
    """A checked table, rows as in the file (a long one: in order of first appearance).

    Attributes
    ----------
    keys : DataFrame
        The key columns as text, one row each.
    unit : (n,) str
    year : (n,) float, or None
        None for fields of one season.
    y : (n,) float, or None
    X : (n, p) float
        NaN where nothing was observed.
    features, steps : tuple
        Name of each feature, and the number of its date within the season; -1 for what has no date.
    step_names : tuple of str
        The dates in order: "-10-1" is the first dekad of October of the year before the harvest.
    notes : tuple of str
        What was left out, and why; for the user and the card.
    """

    path: Path
    keys: pd.DataFrame
    unit: NDArray[np.str_]
    year: Float | None
    y: Float | None
    X: Float
    features: tuple[str, ...]
    steps: tuple[int, ...]
    step_names: tuple[str, ...]
    notes: tuple[str, ...] = ()

    def rows(self, chosen: NDArray[np.bool_]) -> YieldTable:
        """The chosen rows only."""
        return replace(
            self,
            keys=self.keys[chosen],
            unit=self.unit[chosen],
            year=None if self.year is None else self.year[chosen],
            y=None if self.y is None else self.y[chosen],
            X=self.X[chosen],
        )

    def until(self, step: str | int) -> YieldTable:
        """Without the features of dates after a step: what was known then.

        Raises
        ------
        YieldTableError
            No such date.
        """
        if isinstance(step, str):
            if step not in self.step_names:
                raise YieldTableError(
                    f"{self.path} has no date {step!r} in its season. "
                    + (
                        f"Its dates are {', '.join(self.step_names)}."
                        if self.step_names
                        else "None of its features has a date: give --time for a long table, or number the "
                        "columns (ndvi_01, ndvi_02, …)."
                    )
                )
            step = self.step_names.index(step)
        kept = [i for i, own in enumerate(self.steps) if own <= step]
        return replace(
            self,
            X=self.X[:, kept],
            features=tuple(self.features[i] for i in kept),
            steps=tuple(self.steps[i] for i in kept),
        )


def read_yield_table(
    path: Path | str, columns: Columns, *, wanted: Sequence[str] | None = None
) -> YieldTable:
    """Read and check a table.

    Parameters
    ----------
    path : Path
        CSV with a header; UTF-8 (with or without mark) or GB 18030.
    columns : Columns
        Which column means what; `target` None where yields are to be predicted.
    wanted : sequence of str, optional
        The features a model needs, in its order: the table must have those that have no date, and what it
        lacks of dates not yet come is NaN.

    Raises
    ------
    YieldTableError
        Not readable, a column missing, a number that is none, two rows of one unit and year, dates outside
        their season, yields of mixed units, or nothing left.
    """
    path = Path(path)
    frame = _read(path)
    _need(path, frame, columns)
    notes: list[str] = []
    frame = _chosen(path, frame, columns, notes)
    unit = frame[list(columns.unit)].agg(" ".join, axis=1).str.strip()
    if (unit == "").any():
        raise YieldTableError(
            f"{path}, row {_row(frame, unit == '')}: {' '.join(columns.unit)} is empty. Name the unit, or "
            "remove it."
        )
    frame = frame.assign(**{"": unit})  # no column of a file has an empty name: see _read
    year = _years(path, frame, columns.year)
    if columns.time is not None:
        wide, steps, step_names, frame = _pivot(path, frame, columns, year, notes=notes, wanted=wanted)
        year = _years(path, frame, columns.year)
    else:
        wide = _numbers(path, frame, columns, notes, wanted)
        steps, step_names = _numbered(list(wide.columns))
        _no_doubles(path, frame, columns, year)
    y = None
    if columns.target is not None:
        y = np.asarray(_number(path, frame, columns.target), np.float64)
    keys = [*columns.unit, *([columns.year] if columns.year else [])]
    table = YieldTable(
        path=path,
        keys=frame[keys].reset_index(drop=True),
        unit=frame[""].to_numpy(str),
        year=year,
        y=y,
        X=wide.to_numpy(np.float64),
        features=tuple(wide.columns),
        steps=steps,
        step_names=step_names,
        notes=tuple(notes),
    )
    if wanted is not None:
        return _matched(table, wanted, long=columns.time is not None)
    return _checked(table, columns) if y is not None else table


def _read(path: Path) -> pd.DataFrame:
    import pandas as pd

    for encoding in ("utf-8-sig", "gb18030"):
        try:
            frame = pd.read_csv(
                path, dtype=str, na_values=list(_MISSING), keep_default_na=False, encoding=encoding
            )
            break
        except UnicodeDecodeError:
            continue
        except FileNotFoundError as error:
            raise YieldTableError(
                f"{path} is not there. Check the path; a table of yields is a CSV."
            ) from error
        except (OSError, ValueError) as error:  # pandas' parser errors are ValueErrors
            why = str(error).strip().splitlines()
            raise YieldTableError(
                f"{path} cannot be read as a CSV table "
                f"({why[0].rstrip('.') if why else type(error).__name__}). "
                "Save it as CSV with one header line and as many fields in every row."
            ) from error
    else:
        raise YieldTableError(f"{path} is neither UTF-8 nor GB 18030. Save the table as CSV in UTF-8.")
    if frame.empty:
        raise YieldTableError(f"{path} has a header and no row. Give a table with one row a unit and year.")
    frame.columns = [str(name).strip() or f"column {i + 1}" for i, name in enumerate(frame.columns)]
    return frame


def _need(path: Path, frame: pd.DataFrame, columns: Columns) -> None:
    roles = [
        ("--target", columns.target),
        *(("--unit", name) for name in columns.unit),
        ("--year", columns.year),
        ("--time", columns.time),
        ("--only", columns.only),
        *(("--features", name) for name in columns.features or ()),
    ]
    for option, name in roles:
        if name is not None and name not in frame.columns:
            raise YieldTableError(
                f"{path} has no column {name!r} ({option}). Its columns are {', '.join(frame.columns[:40])}."
            )
    names = [name for _, name in roles if name is not None]
    for name in names:
        if names.count(name) > 1:
            raise YieldTableError(
                f"{path}: column {name!r} was named for two things. Name a column of its own for each of "
                "--target, --unit, --year, --time and --features."
            )


def _chosen(path: Path, frame: pd.DataFrame, columns: Columns, notes: list[str]) -> pd.DataFrame:
    """Rows to be used, of a training table those with a yield."""
    if columns.only is not None:
        said = frame[columns.only].fillna("").str.strip().str.lower().isin(_TRUE)
        if not said.any():
            raise YieldTableError(
                f"{path}: no row has a yes in {columns.only!r} (true, yes, 1). Leave --only out, or name "
                "another "
                "column."
            )
        if not said.all():
            notes.append(f"{int((~said).sum())} of {len(said)} rows were left out: {columns.only} says no.")
        frame = frame[said]
    if columns.target is not None:
        known = frame[columns.target].notna()
        if not known.any():
            raise YieldTableError(f"{path}: column {columns.target!r} is empty. Nothing can be learned.")
        if not known.all():
            notes.append(f"{int((~known).sum())} of {len(known)} rows were left out: no yield.")
        frame = frame[known]
    keyed = list(columns.unit)
    return frame.assign(**{name: frame[name].fillna("").str.strip() for name in keyed})


def _years(path: Path, frame: pd.DataFrame, name: str | None) -> Float | None:
    import pandas as pd

    if name is None:
        return None
    years = pd.to_numeric(frame[name], errors="coerce")
    bad = years.isna() | (years % 1 != 0) | (years < 1850) | (years > 2200)
    if bad.any():
        raise YieldTableError(
            f"{path}, row {_row(frame, bad)}: {name} is {frame[name][bad].iloc[0]!r}; a harvest year such "
            "as 2014 is "
            "needed. A date belongs into --time, and 2013/14 is the year of its harvest, 2014."
        )
    return years.to_numpy(np.float64)


def _number(path: Path, frame: pd.DataFrame, name: str) -> pd.Series[float]:
    """A column of numbers, NaN where empty."""
    import pandas as pd

    values = pd.to_numeric(frame[name], errors="coerce")
    bad = (values.isna() & frame[name].notna()) | np.isinf(values)
    if bad.any():
        raise YieldTableError(
            f"{path}, row {_row(frame, bad)}: {name} is {frame[name][bad].iloc[0]!r}, which is no number. "
            "Write "
            "plain numbers (1234.5), and leave empty what is not known."
        )
    return values


def _numbers(
    path: Path, frame: pd.DataFrame, columns: Columns, notes: list[str], wanted: Sequence[str] | None
) -> pd.DataFrame:
    """The features as numbers: those named or wanted, or every column that holds numbers alone."""
    import pandas as pd

    named = columns.features
    if wanted is not None:
        stems = {_stem(name) for name in wanted} if columns.time else set()
        named = tuple(name for name in frame.columns if name in stems or name in wanted)
    if named is not None:
        return pd.DataFrame({name: _number(path, frame, name) for name in named}, frame.index)
    own = {"", columns.target, columns.year, columns.time, columns.only, *columns.unit}
    found, text = {}, []
    for name in frame.columns:
        if name in own:
            continue
        values = pd.to_numeric(frame[name], errors="coerce")
        if (values.isna() & frame[name].notna()).any():
            text.append(name)
        elif values.notna().any():
            found[name] = values.replace([np.inf, -np.inf], np.nan)
    if text:
        notes.append(f"not learned from, because not numbers: {', '.join(text)}.")
    return pd.DataFrame(found, frame.index)


def _numbered(names: list[str]) -> tuple[tuple[int, ...], tuple[str, ...]]:
    """Dates of the columns of a wide table: ndvi_01, ndvi_02 … in the table's own order."""
    parts = [_NUMBERED.match(name) for name in names]
    stems = [part[1] for part in parts if part]
    dated = [part is not None and stems.count(part[1]) >= 3 for part in parts]
    labels = list(dict.fromkeys(part[2] for part, d in zip(parts, dated, strict=True) if part and d))
    steps = tuple(labels.index(part[2]) if part and d else -1 for part, d in zip(parts, dated, strict=True))
    return steps, tuple(labels)


def _no_doubles(path: Path, frame: pd.DataFrame, columns: Columns, year: Float | None) -> None:
    if year is None:
        return  # several fields of one farm
    keys = frame[[""]].assign(year=year)
    double = keys.duplicated(keep=False)
    if double.any():
        first = keys[double].iloc[0]
        rows = [str(int(i) + 2) for i in frame.index[(keys == first).all(axis=1)][:4]]
        raise YieldTableError(
            f"{path}: rows {', '.join(rows)} are all of {first['']!r} in {first['year']:.0f}. A table has "
            "one row a "
            "unit and year: give --time where a season has several dates, name all columns that make a unit "
            "(--unit state,county), or remove the rows that are double."
        )


def _pivot(
    path: Path,
    frame: pd.DataFrame,
    columns: Columns,
    year: Float | None,
    *,
    notes: list[str],
    wanted: Sequence[str] | None,
) -> tuple[pd.DataFrame, tuple[int, ...], tuple[str, ...], pd.DataFrame]:
    """A long table as a wide one: features by dekad, and the frame's first row of each unit and year."""
    import pandas as pd

    assert columns.time is not None
    text = frame[columns.time]
    dates = pd.to_datetime(text, errors="coerce", format="ISO8601")
    if dates.isna().any():
        raise YieldTableError(
            f"{path}, row {_row(frame, dates.isna())}: {columns.time} is {text[dates.isna()].iloc[0]!r}; a "
            "date such "
            "as 2014-05-01 is needed."
        )
    calendar = dates.dt.year.to_numpy()
    harvest = np.full(len(frame), calendar.max()) if year is None else year.astype(np.int64)
    crossed = (harvest - calendar < 0) | (harvest - calendar > 1)
    if crossed.any():
        raise YieldTableError(
            f"{path}, row {_row(frame, pd.Series(crossed, frame.index))}: {text[crossed].iloc[0]} does not "
            "lie in the "
            f"season of {harvest[crossed][0]}, which ends in that year and began in it or the year before. "
            "The "
            "dates or the harvest years are crossed; mend them."
        )
    same = pd.DataFrame({"unit": frame[""], "date": dates}).duplicated(keep=False)
    if same.any():
        raise YieldTableError(
            f"{path}, row {_row(frame, same)}: {frame[''][same].iloc[0]!r} has two rows of "
            f"{text[same].iloc[0]}. "
            "Remove the one that is wrong."
        )
    numbers = _numbers(path, frame, columns, notes, wanted)
    season = [frame[""].to_numpy(), harvest]
    order = pd.MultiIndex.from_arrays(season).unique()
    first = frame[~pd.DataFrame({0: season[0], 1: season[1]}, frame.index).duplicated()]
    if columns.target is not None:
        target = _number(path, frame, columns.target)
        spread = target.groupby(season).transform("nunique") > 1
        if spread.any():
            raise YieldTableError(
                f"{path}, row {_row(frame, spread)}: {frame[''][spread].iloc[0]!r} has more than one "
                f"yield in {harvest[spread][0]}. A season has one yield, the same in all its rows."
            )
    dekad = np.minimum((dates.dt.day.to_numpy() - 1) // 10, 2) + 1
    stamps = (calendar - harvest) * 10000 + dates.dt.month.to_numpy() * 100 + dekad
    if wanted is not None:
        still = [name for name in numbers if name in wanted]
    else:  # one number a season: no date of its own
        most = numbers.groupby(season).nunique().max()
        still = [name for name in numbers if len(set(stamps)) > 1 and int(most[str(name)]) <= 1]
    wide = {name: numbers[name].groupby(season).first().reindex(order).to_numpy() for name in still}
    labels = sorted(set(stamps.tolist()))
    names = tuple(_stamp_name(stamp) for stamp in labels)
    steps = [-1] * len(wide)
    moving = numbers[[name for name in numbers if name not in still]]
    by_step = moving.groupby([*season, stamps]).mean()
    for step, stamp in enumerate(labels):
        part = by_step.xs(stamp, level=2).reindex(order)
        for name in map(str, moving):
            wide[f"{name} {names[step]}"] = part[name].to_numpy()
            steps.append(step)
    return pd.DataFrame(wide, index=first.index), tuple(steps), names, first


def _stamp_name(stamp: int) -> str:
    """The name of a dekad from (years after the harvest year) · 10000 + month · 100 + dekad.

    >>> _stamp_name(502), _stamp_name(-10000 + 1001)
    ('05-2', '-10-1')
    """
    before, rest = divmod(stamp, 10000)
    return f"{'-' * -before}{rest // 100:02d}-{rest % 100}"


def _matched(table: YieldTable, wanted: Sequence[str], *, long: bool) -> YieldTable:
    """The features a model needs, in its order; of a long table, dates not yet come are NaN."""
    place = {name: i for i, name in enumerate(table.features)}
    stems = {_stem(name) for name in table.features} if long else set()
    later = [name for name in wanted if name not in place and _stem(name) in stems]
    gone = [name for name in wanted if name not in place and name not in later]
    if gone:
        raise YieldTableError(
            f"{table.path} lacks {len(gone)} of the {len(wanted)} features the model was trained on: "
            f"{', '.join(gone[:8])}{' …' if len(gone) > 8 else ''}. Give a table with the same columns."
        )
    X = np.full((len(table.unit), len(wanted)), np.nan)
    for i, name in enumerate(wanted):
        if name in place:
            X[:, i] = table.X[:, place[name]]
    note = [f"{len(later)} features of dates the table does not have were taken as usual."] if later else []
    return replace(
        table,
        X=X,
        features=tuple(wanted),
        steps=tuple(table.steps[place[name]] if name in place else -1 for name in wanted),
        notes=(*table.notes, *note),
    )


def _stem(name: str) -> str:
    """The column of a feature of a long table: "ndvi" of "ndvi 05-1"."""
    return name.rsplit(" ", 1)[0]


def _checked(table: YieldTable, columns: Columns) -> YieldTable:
    """A training table without what must not be learned from; refused where its yields cannot be."""
    assert table.y is not None and columns.target is not None
    kept, notes = check_target(table.path, columns.target, table.unit, table.year, table.y)
    table = table.rows(kept)
    assert table.y is not None
    out, why = left_out_features(table.path, table.features, table.X, table.y, named=columns.features)
    keep = [i for i in range(len(table.features)) if i not in out]
    return replace(
        table,
        X=table.X[:, keep],
        features=tuple(table.features[i] for i in keep),
        steps=tuple(table.steps[i] for i in keep),
        notes=(*table.notes, *notes, *why),
    )


def _row(frame: pd.DataFrame, bad: pd.Series[bool]) -> int:
    """Number of the first bad row as a spreadsheet shows it: the header is row 1."""
    return int(frame.index[bad.to_numpy()][0]) + 2
