"""Names, phones and addresses as lists may show them (PIPL: only what the reader needs)."""

from __future__ import annotations

HIDDEN = "****"


def mask_phone(phone: str) -> str:
    """First three and last four digits.

    Examples
    --------
    >>> mask_phone("13800001234"), mask_phone("0933-8600000")
    ('138****1234', '093****0000')
    """
    return f"{phone[:3]}{HIDDEN}{phone[-4:]}" if len(phone) >= 8 else HIDDEN


def mask_name(name: str) -> str:
    """Family name only, as far as the first character is one.

    Examples
    --------
    >>> mask_name("示例买家")
    '示**'
    """
    return f"{name[:1]}**" if name else ""


def mask_address(address: str) -> str:
    """The first six characters, about as far as the county.

    Examples
    --------
    >>> mask_address("甘肃省静宁县城关镇示例路 1 号")
    '甘肃省静宁县****'
    """
    return f"{address[:6]}{HIDDEN}"
