"""Commands of the models: `eo train` and `eo evaluate crop-type`; `eo models` is in `cli_registry`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from eo_pipeline.cli_registry import models_app
from eo_pipeline.cli_telling import print_json
from eo_pipeline.errors import EOPipelineError
from models.errors import ModelError, SampleFileError

if TYPE_CHECKING:
    from rich.table import Table

    from models.card import ModelCard
    from models.evaluate import Accuracy, CrossValidation
    from models.samples import Samples

evaluate_app = typer.Typer(
    name="evaluate",
    help="Measure a product on data anyone can bring, beside a simple baseline.",
    no_args_is_help=True,
)

_TRAIN_EPILOG = """Examples:

eo train samples.npz --out models/wheat

eo train matogrosso.npz --table matogrosso_samples.csv --group-km 1 --out models/matogrosso --json"""

_EVALUATE_EPILOG = """Examples:

eo evaluate crop-type --train county_a.npz --test county_b.npz --json

eo evaluate crop-type --train samples.npz --folds 5

eo evaluate crop-type --train samples.npz --table places.csv --group-km 5 --folds 5 --json"""

SeedOption = Annotated[int, typer.Option("--seed", help="The same seed gives the same model.")]
ThreadsOption = Annotated[
    int | None, typer.Option("--threads", min=1, help="Processor threads; all of them by default.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON and nothing else.")]
TableOption = Annotated[
    Path | None,
    typer.Option("--table", help="CSV with lon and lat of each sample, to keep neighbours on one side."),
]
GroupKmOption = Annotated[
    float | None, typer.Option("--group-km", help="Side of the squares that stay whole, km; with --table.")
]


def register(app: typer.Typer) -> None:
    """Add the models' commands to the `eo` command."""
    app.command("train", epilog=_TRAIN_EPILOG)(train)
    app.add_typer(evaluate_app, name="evaluate")
    app.add_typer(models_app, name="models")


def train(
    samples: Annotated[Path, typer.Argument(help="npz with X (n, t, c), y and optional groups, channels.")],
    *,
    out: Annotated[
        Path, typer.Option("--out", help="Model folder to write; it appears whole or not at all.")
    ],
    channels: Annotated[
        str | None, typer.Option("--channels", help="Names of the channels in order: B02,B03,NDVI.")
    ] = None,
    description: Annotated[
        str, typer.Option("--description", help="Where the samples come from, for the card.")
    ] = "",
    folds: Annotated[
        int, typer.Option("--folds", min=0, help="Cross-validation before the final training; 0 for none.")
    ] = 5,
    table: TableOption = None,
    group_km: GroupKmOption = None,
    seed: SeedOption = 42,
    threads: ThreadsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Train a crop type model from labelled series, cross-validate it, and write it with its card."""
    with told():
        from models.card import check_target
        from models.samples import read_samples
        from models.series import check_classes

        check_target(out)
        read = read_samples(samples, table=table, group_km=group_km)
        check_classes(read.data.y, where=str(samples))
        names = _channel_names(channels, read)
        if folds == 1:
            raise SampleFileError(
                "--folds 1 tests nothing: use 2 or more, or 0 to skip the cross-validation."
            )

        from models.crop_type import CropTypeModel
        from models.evaluate import cross_validate

        data = read.data
        validation = None
        if folds:
            with step_bar(f"cross-validation, {folds} folds", quiet=as_json) as step:
                validation = cross_validate(
                    data.X,
                    data.y,
                    groups=data.groups,
                    folds=folds,
                    seed=seed,
                    threads=threads,
                    progress=step,
                )
        with step_bar("training", quiet=as_json) as step:
            model = CropTypeModel.fit(
                data.X,
                data.y,
                channels=names,
                groups=data.groups,
                seed=seed,
                threads=threads,
                description=description or samples.name,
                progress=step,
            )
        if validation is not None:
            model = model.with_set_threshold(validation.set_threshold)
            model = model.with_metrics(cross_validation=_summary(validation, folds, read))
        model.save(out)
        if find_spec("openvino"):
            from models.runtime import export

            export(out, data.X)
    if as_json:
        print_json({"model": str(out), "card": model.card.as_dict()})
    else:
        _print_training(out, model.card, validation)


@evaluate_app.command("crop-type", epilog=_EVALUATE_EPILOG)
def evaluate_crop_type(
    *,
    train: Annotated[Path, typer.Option("--train", help="npz with X (n, t, c), y and optional groups.")],
    test: Annotated[
        Path | None, typer.Option("--test", help="npz of the same form that training never sees.")
    ] = None,
    folds: Annotated[
        int | None, typer.Option("--folds", min=2, help="Instead of --test: cross-validate --train.")
    ] = None,
    table: TableOption = None,
    group_km: GroupKmOption = None,
    seed: SeedOption = 42,
    threads: ThreadsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Train on one file, measure on another (or by folds); the tree baseline's figures stand beside."""
    with told():
        if (test is None) == (folds is None):
            raise SampleFileError(
                "Say what to measure on: either --test with a second npz, or --folds with a number of "
                "parts to "
                "cross-validate --train; exactly one of them."
            )
        from models.samples import read_samples
        from models.series import check_classes

        read = read_samples(train, table=table, group_km=group_km)
        check_classes(read.data.y, where=str(train))
        other = None if test is None else read_samples(test)
        if other is not None:
            _check_pair(read, other)

        from models.evaluate import Evaluation, cross_validate, evaluate_split

        result: CrossValidation | Evaluation
        with step_bar("training and testing", quiet=as_json) as step:
            if other is None:
                result = cross_validate(
                    read.data.X,
                    read.data.y,
                    groups=read.data.groups,
                    folds=folds or 0,
                    seed=seed,
                    threads=threads,
                    progress=step,
                )
            else:
                result = evaluate_split(read.data, other.data, seed=seed, threads=threads, progress=step)
    if as_json:
        print_json(
            result.as_dict()
            | {"train": str(train), "test": None if test is None else str(test), "seed": seed}
        )
        return
    where = f"{folds} folds of {train.name}" if test is None else f"{test.name}, trained on {train.name}"
    _console().print(_accuracy_table(f"Crop type on {where}", result.model, result.baseline))


@contextmanager
def told() -> Iterator[None]:
    """Print an error a user can mend, and leave with 2."""
    try:
        yield
    except (ModelError, EOPipelineError) as error:
        typer.secho(f"Error: {error}", fg="red", err=True)
        raise typer.Exit(2) from error


@contextmanager
def step_bar(label: str, *, quiet: bool) -> Iterator[Callable[[int, int], None]]:
    """A progress bar on the error stream, so that the answer alone is on the other."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True, disable=quiet) as bar:
        task = bar.add_task(label, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def _channel_names(channels: str | None, read: Samples) -> tuple[str, ...] | None:
    if channels is None:
        return read.channels
    from models.series import check_names

    given = [name.strip() for name in channels.split(",") if name.strip()]
    return check_names(given, n=read.data.X.shape[2], kind="channels", default="c")


def _check_pair(train: Samples, test: Samples) -> None:
    """Refuse two files that do not belong together before any training; messages name both."""
    from models.errors import SeriesError
    from models.evaluate import check_pair

    try:
        check_pair(train.data, test.data)
    except SeriesError as error:
        raise SampleFileError(f"{train.path} and {test.path} do not fit: {error}") from error
    if train.channels and test.channels and train.channels != test.channels:
        raise SampleFileError(
            f"{train.path} and {test.path} do not fit: their channels are {', '.join(train.channels)} and "
            f"{', '.join(test.channels)}. Bring both into one order."
        )


def _summary(validation: CrossValidation, folds: int, read: Samples) -> dict[str, Any]:
    """A cross-validation as the card keeps it."""
    return {"folds": folds, "grouped": read.grouped} | {
        key: value for key, value in validation.as_dict().items() if key != "folds"
    }


def _console() -> Any:
    from rich.console import Console

    return Console()


def _print_training(out: Path, card: ModelCard, validation: CrossValidation | None) -> None:
    console = _console()
    if validation is not None:
        title = f"Cross-validation, {len(validation.folds)} folds, {validation.n_groups} groups kept whole"
        console.print(_accuracy_table(title, validation.model, validation.baseline))
    console.print(
        f"{out}: {len(card.classes)} classes from {card.data['samples']} samples, {card.parameters:,} "
        "parameters, "
        f"temperature {card.calibration['temperature']:.2f}, seed {card.training['seed']}",
        highlight=False,
        soft_wrap=True,
    )


def _accuracy_table(title: str, model: Accuracy, baseline: Accuracy) -> Table:
    from rich.table import Table

    table = Table(title=title, title_justify="left")
    table.add_column("")
    table.add_column("network", justify="right")
    table.add_column("tree baseline", justify="right")
    rows = [
        ("overall accuracy", model.overall_accuracy, baseline.overall_accuracy),
        ("macro F1", model.macro_f1, baseline.macro_f1),
        ("calibration error (ECE)", model.ece, baseline.ece),
    ]
    for name, ours, trees in rows:
        table.add_row(name, f"{ours:.3f}", f"{trees:.3f}")
    table.add_section()
    for label, ours in model.per_class_f1.items():
        theirs = baseline.per_class_f1.get(label)  # none where the class is in neither truth nor prediction
        table.add_row(f"F1 {label}", f"{ours:.3f}", "—" if theirs is None else f"{theirs:.3f}")
    table.caption = f"{model.n} samples"
    return table
