"""Money in whole fen (分) and the arithmetic of prices. Pure; no rounding happens anywhere else."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

#: A jin (斤): the mass a unit price is quoted for.
UNIT_PRICE_GRAMS: Final = 500


def yuan(fen: int) -> str:
    """Fen as yuan with two decimals, without the sign.

    Examples
    --------
    >>> yuan(6800), yuan(5), yuan(123456789)
    ('68.00', '0.05', '1,234,567.89')
    """
    sign = "-" if fen < 0 else ""
    whole, rest = divmod(abs(fen), 100)
    return f"{sign}{whole:,}.{rest:02d}"


def line_total_fen(*, price_fen: int, quantity: int) -> int:
    """Price of a line: whole fen times whole packs, so nothing is rounded."""
    return price_fen * quantity


def total_fen(lines: Iterable[tuple[int, int]]) -> int:
    """Sum of (price in fen, quantity) pairs."""
    return sum(line_total_fen(price_fen=price, quantity=quantity) for price, quantity in lines)


def unit_price_fen(*, price_fen: int, net_weight_g: int) -> int:
    """Price of 500 g, rounded half up to the fen, as it must stand beside the price (明码标价).

    Examples
    --------
    >>> unit_price_fen(price_fen=6800, net_weight_g=5000)
    680
    """
    if net_weight_g <= 0:
        raise ValueError(f"net weight must be above 0 g, not {net_weight_g}")
    return (2 * price_fen * UNIT_PRICE_GRAMS + net_weight_g) // (2 * net_weight_g)
