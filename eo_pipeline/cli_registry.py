"""Commands on model folders: `eo models list` and `eo models compare`, by what their cards say."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from eo_pipeline.cli_telling import print_json, print_table
from models.card import CARD, ModelCard, read_folder
from models.errors import ModelError
from models.exported import FAST, Export, read_export

models_app = typer.Typer(
    name="models",
    help="What trained models there are, what they were made of, and how good they are.",
    no_args_is_help=True,
)

_LIST_EPILOG = """Examples:

eo models list

eo models list runs/work models/wheat --json"""

_COMPARE_EPILOG = """Examples:

eo models compare models/wheat-2025 models/wheat-2026

eo models compare old new --json"""

#: Figures of a cross-validation, as cards name them, with a table's words.
_FIGURES = {"overall_accuracy": "overall accuracy", "macro_f1": "macro F1", "ece": "calibration error (ECE)"}

JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON and nothing else.")]


@dataclass(frozen=True)
class Entry:
    """A model folder that is whole: its card, and what was chosen for the fast runtime."""

    folder: Path
    card: ModelCard
    fast: Export | None

    @classmethod
    def of(cls, folder: Path) -> Entry:
        """Read a model folder, weights included, and check every sum.

        Raises
        ------
        ModelFileError
            Something is missing or damaged.
        """
        card, _ = read_folder(folder)
        return cls(folder, card, read_export(folder) if (folder / FAST).exists() else None)

    @property
    def validation(self) -> dict[str, Any]:
        """Figures of the cross-validation; empty where there was none."""
        found = self.card.metrics.get("cross_validation")
        return found if isinstance(found, dict) else {}

    def as_dict(self) -> dict[str, Any]:
        """What the list says of it."""
        card = self.card
        return {
            "model": str(self.folder),
            "description": card.data.get("description", ""),
            "classes": list(card.classes),
            "dates": len(card.times),
            "channels": list(card.channels),
            "samples": card.data.get("samples"),
            "samples_sha256": card.data.get("sha256"),
            "parameters": card.parameters,
            "seed": card.training.get("seed"),
            **{name: self.validation.get(name) for name in _FIGURES},
            "openvino": self.fast.precision if self.fast else None,
            "code": card.code,
        }


def find_models(places: Sequence[Path]) -> Iterator[Path]:
    """Model folders in `places`, in order: a place itself, or folders below it that hold a card."""
    for place in places:
        if not place.is_dir():
            raise typer.BadParameter(
                f"{place} is not a folder. Name model folders, or folders in which to look for them.",
                param_hint="FOLDER",
            )
        for path, folders, files in os.walk(place):
            if CARD in files:
                folders.clear()  # nothing of a model is itself one
                yield Path(path)
            folders[:] = sorted(name for name in folders if _may_hold_models(name))


def _may_hold_models(name: str) -> bool:
    return not name.startswith(".") and not name.endswith(".zarr") and name != "node_modules"


@models_app.command("list", epilog=_LIST_EPILOG)
def list_models(
    folders: Annotated[
        list[Path] | None, typer.Argument(metavar="[FOLDER]...", help="Where to look; here by default.")
    ] = None,
    *,
    as_json: JsonOption = False,
) -> None:
    """List the models in folders and below, with the figures of their cross-validation.

    A folder that is damaged is named with what is wrong and the cure, and the command ends with 2.
    """
    entries: list[Entry] = []
    damaged: dict[str, str] = {}
    places = folders or [Path()]
    for folder in dict.fromkeys(find_models(places)):
        try:
            entries.append(Entry.of(folder))
        except ModelError as error:
            damaged[str(folder)] = str(error)
    if as_json:
        print_json({"models": [entry.as_dict() for entry in entries], "damaged": damaged})
    elif entries:
        from rich.table import Column

        figures = ("classes", "dates × channels", "samples", "OA", "F1", "ECE", "OpenVINO")
        columns: list[str | Column] = [Column("model", overflow="fold"), *figures]
        print_table("Models, accuracy by cross-validation", columns, [_row(entry) for entry in entries])
    elif not damaged:
        typer.echo(
            f"No model in {', '.join(map(str, places))}. `eo train SAMPLES.npz --out DIR` makes one; so does "
            "a run with [classify], in its work folder."
        )
    for message in damaged.values():
        typer.secho(f"Error: {message}", fg="red", err=True)
    if damaged:
        raise typer.Exit(2)


@models_app.command("compare", epilog=_COMPARE_EPILOG)
def compare(
    first: Annotated[Path, typer.Argument(metavar="A", help="Model folder.")],
    second: Annotated[Path, typer.Argument(metavar="B", help="Another one.")],
    *,
    as_json: JsonOption = False,
) -> None:
    """Hold two models side by side: what differs in data, classes, settings and figures."""
    try:
        one, two = Entry.of(first), Entry.of(second)
    except ModelError as error:
        typer.secho(f"Error: {error}", fg="red", err=True)
        raise typer.Exit(2) from error
    ours, theirs = facts_of(one), facts_of(two)
    names = list(dict.fromkeys([*ours, *theirs]))
    differing = {
        name: [ours.get(name), theirs.get(name)] for name in names if ours.get(name) != theirs.get(name)
    }
    fair = one.card.data.get("sha256") == two.card.data.get("sha256")
    if as_json:
        print_json(
            {
                "a": one.as_dict(),
                "b": two.as_dict(),
                "same_samples": fair,
                "differing": {name: {"a": a, "b": b} for name, (a, b) in differing.items()},
                "f1": _f1(one, two),
            }
        )
        return
    rows = [(name, _shown(a), _shown(b), _change(a, b)) for name, (a, b) in differing.items()]
    rows += [
        (f"F1 {label}", _shown(pair["a"]), _shown(pair["b"]), _change(pair["a"], pair["b"]))
        for label, pair in _f1(one, two).items()
    ]
    if not rows:
        typer.echo(f"{first} and {second} say the same of themselves.")
        return
    from rich.table import Column

    heads = ("", f"A {first}", f"B {second}", "B − A")
    print_table("What differs", [Column(head, overflow="fold") for head in heads], rows)
    if not fair:
        typer.echo(
            "They were trained on different samples: their cross-validations are not of one test. "
            "`eo evaluate crop-type --train … --test …` measures both on the same."
        )


def facts_of(entry: Entry) -> dict[str, Any]:
    """What a card says, flat: names as in the card, joined by a dot; without figures of single classes."""
    card, validation = entry.card, entry.validation
    facts: dict[str, Any] = {
        "classes": list(card.classes),
        "channels": list(card.channels),
        "times": list(card.times),
        "parameters": card.parameters,
        "code": card.code,
    }
    for part in ("data", "training", "shape", "calibration", "libraries"):
        facts |= {f"{part}.{key}": value for key, value in sorted(getattr(card, part).items())}
    facts |= {word: validation.get(name) for name, word in _FIGURES.items()}
    facts["OpenVINO"] = entry.fast.precision if entry.fast else None
    return facts


def _f1(one: Entry, two: Entry) -> dict[str, dict[str, float | None]]:
    """F1 of each class that either model was measured on."""
    ours, theirs = (entry.validation.get("per_class_f1", {}) for entry in (one, two))
    labels = list(dict.fromkeys([*ours, *theirs]))
    return {label: {"a": ours.get(label), "b": theirs.get(label)} for label in labels}


def _row(entry: Entry) -> list[Any]:
    card = entry.card
    figures = [_shown(entry.validation.get(name)) for name in _FIGURES]
    size = f"{len(card.times)} × {len(card.channels)}"
    fast = _shown(entry.fast.precision if entry.fast else None)
    return [str(entry.folder), len(card.classes), size, card.data.get("samples", "—"), *figures, fast]


def _shown(value: Any) -> str:
    if value is None:
        return "—"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, list):
        return f"{len(value)}: {', '.join(map(str, value))}"
    if isinstance(value, dict):
        return ", ".join(f"{key} {item}" for key, item in value.items())
    return str(value)


def _change(a: Any, b: Any) -> str:
    numbers = all(isinstance(value, int | float) and not isinstance(value, bool) for value in (a, b))
    return f"{b - a:+.4g}" if numbers else ""
