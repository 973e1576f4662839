"""Command `eo evaluate growth`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from eo_pipeline.cli_telling import print_json, print_table, say

_EPILOG = """Examples:

eo evaluate growth patch.npz --json

eo evaluate growth runs/wheat/index/48SXD/NDVI.tif --months 3-7"""


def register(_app: typer.Typer) -> None:
    """Add the command to `eo evaluate`."""
    from eo_pipeline.cli_models import evaluate_app

    evaluate_app.command("growth", epilog=_EPILOG)(evaluate_growth)


def evaluate_growth(
    stack: Annotated[
        Path,
        typer.Argument(
            help="npz with the index [t, y, x], CLM (0 clear) and timestamps; or GeoTIFF, a band a date.",
            metavar="STACK",
        ),
    ],
    *,
    index: Annotated[str, typer.Option("--index", help="Name of the index.")] = "NDVI",
    months: Annotated[
        str, typer.Option("--months", help="First and last month of the growing season.")
    ] = "4-10",
    clear: Annotated[
        float, typer.Option("--clear", min=0.01, max=1.0, help="Least clear share of a date left out.")
    ] = 0.95,
    seed: Annotated[int, typer.Option("--seed", help="Draws the blocks and the interval.")] = 42,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, and nothing else, on stdout.")] = False,
) -> None:
    """Leave clear views out and measure how the season's smoother finds them, beside a straight line.

    Once whole dates are left out, once blocks of pixels; in the growing season, and the year round.
    """
    from eo_pipeline.products.gap_score import read_stack, score_gaps

    season = _months(months)
    read = read_stack(stack, index=index)
    found = {
        name: score_gaps(read, index=index, clear_share=clear, months=span, blocks=blocks, seed=seed)
        for name, span, blocks in (
            ("dates", season, False),
            ("blocks", season, True),
            ("dates_all_year", (1, 12), False),
            ("blocks_all_year", (1, 12), True),
        )
    }
    if as_json:
        told = {
            "stack": str(stack),
            "index": index,
            "months": list(season),
            "clear_share": clear,
            "seed": seed,
        }
        print_json(told | {name: item.as_dict() for name, item in found.items()})
        return
    print_table(
        f"Gaps of {index} filled, RMSE",
        ("left out", "dates", "values", "ours", "linear", "mean", "better by", "95 %"),
        [
            (
                name.replace("_", " "),
                item.dates,
                f"{item.values:,}",
                *(f"{item.rmse[method]:.4f}" for method in ("ours", "linear", "mean")),
                f"{item.below_linear:.1%}",
                f"{100 * item.interval[0]:.0f} to {100 * item.interval[1]:.0f} %",
            )
            for name, item in found.items()
        ],
    )
    for days, row in found["dates"].by_gap.items():
        say(
            f"Gap of {days} days: ours {row['ours']:.4f}, linear {row['linear']:.4f}, "
            f"{int(row['values']):,} values"
        )


def _months(text: str) -> tuple[int, int]:
    first, _, last = text.partition("-")
    if not (first.isdigit() and last.isdigit() and 1 <= int(first) <= 12 and 1 <= int(last) <= 12):
        raise typer.BadParameter(
            f"{text!r}: give the first and the last month, like 4-10.", param_hint="--months"
        )
    return int(first), int(last)
