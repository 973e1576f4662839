"""Figures and reasons as the report words them."""

from __future__ import annotations

from datetime import date
from typing import Final

import numpy as np

#: 1 ha = 15 mu (亩).
MU_PER_HA: Final = 15.0


def reason_zh(reason: str) -> str:
    """A rejection's reason in Chinese; an unknown one as it is.

    >>> reason_zh("no clear pixel")
    '没有无云像元'
    """
    for english, chinese in (
        ("shadow or cloud missed by the mask in ", "掩膜漏判的云或云影，占无云像元 "),
        ("no clear pixel", "没有无云像元"),
        ("clear in ", "无云面积只有 "),
    ):
        if reason.startswith(english):
            rest = reason.removeprefix(english)
            figure = rest.removesuffix(" of the clear pixels").removesuffix(" of the area only")
            return chinese + figure.replace(" %", "%")
    return reason


def mu(hectares: float) -> str:
    """Hectares as mu for reading: from a hundred thousand mu on in 万亩.

    >>> mu(20.0), mu(27_466.7)
    ('300', '41.2 万')
    """
    value, unit = mu_parts(hectares)
    return f"{value} 万" if unit == "万亩" else value


def mu_parts(hectares: float) -> tuple[str, str]:
    """Figure and unit."""
    amount = float(hectares) * MU_PER_HA
    if not np.isfinite(amount):
        return "—", "亩"
    if amount >= 100_000:
        return f"{amount / 10_000:.1f}", "万亩"
    return (f"{amount:,.0f}" if amount >= 100 else f"{amount:.1f}"), "亩"


def interval(low: float, high: float) -> str:
    """An interval of hectares, in mu."""
    return f"{mu(low)} – {mu(high)}" if np.isfinite(low) and np.isfinite(high) else "—"


def with_se(value: float | None, se: float | None) -> str:
    """A share, and half its 95 % interval from the standard error, in percent."""
    if value is None:
        return "—"
    return f"{100 * value:.1f}%" + (f" ± {196 * se:.1f}" if se is not None else "")


def month_day(day_of_year: float) -> str:
    """Day of a year without a leap day, as a farmer says it.

    >>> month_day(108)
    '4月18日'
    """
    day = date.fromordinal(date(2025, 1, 1).toordinal() + max(0, round(day_of_year) - 1))
    return f"{day.month}月{day.day}日"
