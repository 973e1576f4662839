"""Commands of yields: `eo yield train`, `eo yield predict` and `eo evaluate yield`."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from eo_pipeline.cli_models import JsonOption, SeedOption, evaluate_app, step_bar, told
from eo_pipeline.cli_telling import print_json
from eo_pipeline.errors import StorageError

if TYPE_CHECKING:
    from models.yield_evaluate import YieldEvaluation
    from models.yield_table import Columns, YieldTable
    from models.yields import Prediction

yield_app = typer.Typer(
    name="yield",
    help="Yields of counties or fields from tables: trend, model, and an interval that holds 90 %.",
    no_args_is_help=True,
)

_TRAIN_EPILOG = """Examples:

eo yield train counties.csv --target yield_kg_mu --unit county --year year --out models/wheat-yield

eo yield train monthly.csv --target yield --unit city --year harvest_year --time date --until 04-3 --out
models/april

eo yield train fields.csv --target yield_t_ha --unit farm --out models/fields --json"""

_PREDICT_EPILOG = """Examples:

eo yield predict models/wheat-yield counties_2026.csv --out forecast.csv

eo yield predict models/fields fields_2026.csv --out fields_forecast.csv --json"""

_EVALUATE_EPILOG = """Examples:

eo evaluate yield counties.csv --target yield_kg_mu --unit county --year year --json

eo evaluate yield soybean.csv --target yield_bu_ac --unit state_fips,county_fips --year year

eo evaluate yield monthly.csv --target yield --unit city --year harvest_year --time date --vintages

eo evaluate yield fields.csv --target yield_t_ha --field farm"""

Table = Annotated[Path, typer.Argument(help="CSV with a header.", metavar="TABLE.csv")]
Target = Annotated[str, typer.Option("--target", help="Column of the yield; one unit of measure throughout.")]
Unit = Annotated[
    str,
    typer.Option(
        "--unit", "--field", help="Column of the county or field; several make one unit: state,county."
    ),
]
Year = Annotated[
    str | None,
    typer.Option("--year", help="Column of the harvest year; left out for fields of one season."),
]
Time = Annotated[
    str | None,
    typer.Option("--time", help="Column of dates, where a unit has a row for each date of a season."),
]
Features = Annotated[
    str | None,
    typer.Option("--features", help="Columns to learn from: ndvi_07,rain_05. All numbers by default."),
]
Only = Annotated[
    str | None, typer.Option("--only", help="Yes/no column; rows of no are left out (label_verified).")
]
Until = Annotated[
    str | None,
    typer.Option("--until", help="Use what is known at this date of the season: 05-1 is early May."),
]


def register(app: typer.Typer) -> None:
    """Add the yields' commands to the `eo` command; `eo evaluate` has its word already."""
    app.add_typer(yield_app, name="yield")


@yield_app.command("train", epilog=_TRAIN_EPILOG)
def train(
    table: Table,
    *,
    target: Target,
    unit: Unit,
    out: Annotated[
        Path, typer.Option("--out", help="Model folder to write; it appears whole or not at all.")
    ],
    year: Year = None,
    time: Time = None,
    features: Features = None,
    only: Only = None,
    until: Until = None,
    evaluate: Annotated[
        bool,
        typer.Option("--evaluate/--no-evaluate", help="Measure it first, each year left out, for its card."),
    ] = True,
    description: Annotated[
        str, typer.Option("--description", help="Where the yields come from, for the card.")
    ] = "",
    seed: SeedOption = 42,
    as_json: JsonOption = False,
) -> None:
    """Train a yield model on a table; one that loses to the trend is published as the trend."""
    with told():
        from models.card import check_target
        from models.yield_evaluate import evaluate_yields, forecast_yields
        from models.yield_model import YieldModel

        check_target(out)
        columns = _columns(target, unit, year, time, features, only)
        read = _read(table, columns, until)
        measured = ahead = None
        if evaluate:
            with step_bar("each year left out", quiet=as_json) as step:
                measured = evaluate_yields(read, seed=seed, progress=step)
            with step_bar("each year from those before", quiet=as_json) as step:
                ahead = forecast_yields(read, seed=seed, progress=step)
        model = YieldModel.fit(
            read,
            columns,
            seed=seed,
            trend_only=measured is not None and measured.lost,
            description=description,
        )
        if measured is not None:
            model = model.with_metrics(left_out=measured.as_dict(), forecast=ahead and ahead.as_dict())
        model.save(out)
    if as_json:
        print_json({"model": str(out), "card": model.card.as_dict()})
        return
    console = _console()
    _say_notes(read.notes)
    if measured is not None:
        console.print(_scores_table(f"Yields of {table.name}", measured, ahead))
    data = model.card.data
    console.print(
        f"{out}: {model.fitted.published}, from {data['rows']} rows of {data['units']} units, interval ± "
        f"{model.fitted.quantile:.2f} expected errors",
        highlight=False,
        soft_wrap=True,
    )


@yield_app.command("predict", epilog=_PREDICT_EPILOG)
def predict(
    model: Annotated[
        Path, typer.Argument(help="A model folder, as `eo yield train` wrote it.", metavar="MODEL")
    ],
    table: Table,
    *,
    out: Annotated[Path, typer.Option("--out", help="CSV to write; it appears whole or not at all.")],
    as_json: JsonOption = False,
) -> None:
    """Predict yields: the key columns, then prediction, pi_low, pi_high (90 %) and trend."""
    with told():
        from models.yield_model import YieldModel

        loaded = YieldModel.load(model)
        read = loaded.read(table)
        said, notes = loaded.predict(read)
        _write(out, read, said)
    summary = {
        "out": str(out),
        "rows": len(said.value),
        "published": loaded.fitted.published,
        "target": loaded.card.data["target"],
        "coverage": loaded.card.calibration["coverage"],
        "unknown_units": int((~said.known).sum()),
        "notes": list(notes),
    }
    if as_json:
        print_json(summary)
        return
    _say_notes(notes)
    typer.echo(f"{out}: {len(said.value)} rows of {summary['target']} by {summary['published']}")


@evaluate_app.command("yield", epilog=_EVALUATE_EPILOG)
def evaluate_yield(
    table: Table,
    *,
    target: Target,
    unit: Unit,
    year: Year = None,
    time: Time = None,
    features: Features = None,
    only: Only = None,
    until: Until = None,
    by_date: Annotated[
        bool,
        typer.Option("--vintages", help="Also with what was known at dates through the season."),
    ] = False,
    seed: SeedOption = 42,
    as_json: JsonOption = False,
) -> None:
    """Leave each year (or a tenth of the fields) out of everything, predict it, compare with the trend."""
    with told():
        from models.yield_evaluate import evaluate_yields, forecast_yields, vintages

        read = _read(table, _columns(target, unit, year, time, features, only), until)
        with step_bar("each year left out", quiet=as_json) as step:
            measured = evaluate_yields(read, seed=seed, progress=step)
        with step_bar("each year from those before", quiet=as_json) as step:
            ahead = forecast_yields(read, seed=seed, progress=step)
        through = []
        if by_date:
            with step_bar("dates through the season", quiet=as_json) as step:
                through = vintages(read, seed=seed, progress=step)
    if as_json:
        print_json(
            {"table": str(table), "target": target, "seed": seed, "notes": list(read.notes)}
            | measured.as_dict()
            | {
                "forecast": None if ahead is None else ahead.as_dict(),
                "vintages": [{"until": name} | one.as_dict() for name, one in through],
            }
        )
        return
    console = _console()
    _say_notes(read.notes)
    console.print(_scores_table(f"Yields of {table.name}, {target}", measured, ahead))
    console.print(_folds_table(measured))
    if through:
        console.print(_vintages_table(through))


def _columns(  # noqa: PLR0917 - one option each
    target: str, unit: str, year: str | None, time: str | None, features: str | None, only: str | None
) -> Columns:
    from models.yield_table import Columns

    def names(text: str) -> tuple[str, ...]:
        return tuple(name.strip() for name in text.split(",") if name.strip())

    return Columns(
        unit=names(unit),
        target=target,
        year=year,
        time=time,
        only=only,
        features=None if features is None else names(features),
    )


def _read(path: Path, columns: Columns, until: str | None) -> YieldTable:
    from models.yield_table import read_yield_table

    table = read_yield_table(path, columns)
    return table if until is None else table.until(until)


def _write(out: Path, table: YieldTable, said: Prediction) -> None:
    """Write the predictions under a name of their own, and give them theirs when they are whole."""
    frame = table.keys.assign(
        prediction=said.value.round(4),
        pi_low=said.low.round(4),
        pi_high=said.high.round(4),
        trend=said.trend.round(4),
    )
    if not said.known.all():
        frame["note"] = ["" if known else "unit never seen" for known in said.known]
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{out.name}-", dir=out.parent)
    except OSError as error:
        raise StorageError(f"{out} cannot be written ({error.strerror}). Choose another --out.") from error
    draft = Path(name)
    try:
        with os.fdopen(handle, "w", encoding="utf-8", newline="") as stream:
            frame.to_csv(stream, index=False)
        draft.chmod(0o644)
        draft.replace(out)
    except OSError as error:
        raise StorageError(
            f"{out} cannot be written ({error.strerror}). Make room, or choose another --out."
        ) from error
    finally:
        draft.unlink(missing_ok=True)


def _console() -> Any:
    from rich.console import Console

    return Console()


def _say_notes(notes: Sequence[str]) -> None:
    for note in notes:
        typer.secho(f"Note: {note}", fg="yellow", err=True)


def _scores_table(title: str, left_out: YieldEvaluation, ahead: YieldEvaluation | None) -> Any:
    """RMSE and skill of the model and of every baseline, years left out beside years forecast."""
    from rich.table import Table as Grid

    grid = Grid(title=title, title_justify="left")
    grid.add_column("")
    parts = [("each year left out" if ahead else "left out", left_out)]
    parts += [("from years before", ahead)] if ahead is not None else []
    for name, _ in parts:
        grid.add_column(f"RMSE, {name}", justify="right")
        grid.add_column("skill", justify="right")
    rows = {"model": [(one.scores.rmse, one.scores.skill) for _, one in parts]}
    for name in left_out.scores.baselines:
        rows[name] = [
            (rmse := one.scores.baselines[name], 1 - rmse / max(one.scores.baselines["trend"], 1e-12))
            for _, one in parts
        ]
    for name, cells in rows.items():
        grid.add_row(
            name, *(text for rmse, skill in cells for text in (f"{rmse:.4g}", f"{100 * skill:+.1f} %"))
        )
    grid.add_section()
    grid.add_row(
        "yields within 90 %", *(t for _, p in parts for t in (f"{100 * p.scores.coverage:.1f} %", ""))
    )
    grid.add_row("width of interval", *(t for _, p in parts for t in (f"{p.scores.width:.4g}", "")))
    verdict = (
        "The model lost to the trend: it is published as the trend."
        if left_out.lost
        else f"Published: {', '.join(sorted(set(left_out.published)))}."
    )
    grid.caption = f"{left_out.scores.n} yields. Skill is 1 - RMSE / RMSE of the trend. {verdict}"
    return grid


def _folds_table(evaluation: YieldEvaluation) -> Any:
    from rich.table import Table as Grid

    grid = Grid()
    for name in ("left out", "yields", "RMSE", "trend", "within 90 %"):
        grid.add_column(name, justify="right")
    grid.add_column("published")
    for name, scores, published in evaluation.folds:
        trend = scores.baselines["trend"]
        grid.add_row(
            name,
            str(scores.n),
            f"{scores.rmse:.4g}",
            f"{trend:.4g}",
            f"{100 * scores.coverage:.0f} %",
            published,
        )
    return grid


def _vintages_table(through: Sequence[tuple[str, YieldEvaluation]]) -> Any:
    from rich.table import Table as Grid

    grid = Grid(title="Known until", title_justify="left")
    for name in ("date", "RMSE", "skill", "within 90 %", "width"):
        grid.add_column(name, justify="right")
    for name, one in through:
        s = one.scores
        grid.add_row(
            name, f"{s.rmse:.4g}", f"{100 * s.skill:+.1f} %", f"{100 * s.coverage:.1f} %", f"{s.width:.4g}"
        )
    return grid
