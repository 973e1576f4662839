"""Estimates as CSV that Excel opens in Chinese and that runs no formula."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator
from typing import Any, Final

from monitoring import labels
from monitoring.models import Estimate
from monitoring.selectors import unit_label

#: The columns of estimates.parquet, then what the site adds.
COLUMNS: Final = (
    "product", "crop", "class", "unit_adcode", "period_start", "period_end", "value", "unit", "se", "ci_low",
    "ci_high", "method", "n_samples", "monitorable_share", "run_id",
    "产品", "作物", "类别", "单元名称", "面积（亩）", "方法", "状态", "模拟数据",
)  # fmt: skip
_FORMULA_STARTS: Final = ("=", "+", "-", "@", "\t", "\r")


def safe_cell(value: Any) -> Any:
    """A text that a spreadsheet would take for a formula gets an apostrophe; numbers stay numbers.

    Examples
    --------
    >>> safe_cell("=1+1"), safe_cell(-1.5), safe_cell("冬小麦")
    ("'=1+1", -1.5, '冬小麦')
    """
    if isinstance(value, str) and value.startswith(_FORMULA_STARTS):
        return f"'{value}"
    return value


class _Echo:
    """What csv.writer writes to: hands each line back."""

    def write(self, line: str) -> str:
        return line


def csv_lines(rows: Iterable[Estimate]) -> Iterator[str]:
    """Lines of the file, the first with a byte-order mark so that Excel reads UTF-8."""
    writer = csv.writer(_Echo())
    yield "\ufeff" + writer.writerow(COLUMNS)
    for row in rows:
        cells = (
            row.product,
            row.crop,
            row.class_name,
            row.unit_adcode,
            row.period_start.isoformat(),
            row.period_end.isoformat(),
            row.value,
            row.unit,
            row.se,
            row.ci_low,
            row.ci_high,
            row.method,
            row.n_samples,
            row.monitorable_share,
            row.run.run_id,
            labels.product_label(row.product),
            labels.crop_label(row.run.crops, row.crop),
            labels.class_label(row.product, row.class_name),
            unit_label(row),
            round(row.value * labels.MU_PER_HA, 1) if row.unit == "ha" and row.value is not None else None,
            labels.method_label(row.method),
            str(Estimate.State(row.state).label),
            "是" if row.run.simulated else "否",
        )
        yield writer.writerow([safe_cell(cell) for cell in cells])
