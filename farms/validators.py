"""Checks of numbers that growers are known by."""

from __future__ import annotations

import re
from typing import Final

from django.core.exceptions import ValidationError
from django.utils.translation import gettext as _

#: GB 32100-2015, table 2: the 31 characters of a code (no I, O, S, V, Z) in the order of their values.
CREDIT_CODE_CHARACTERS: Final = "0123456789ABCDEFGHJKLMNPQRTUWXY"
_VALUES: Final = {character: value for value, character in enumerate(CREDIT_CODE_CHARACTERS)}
_SHAPE: Final = re.compile(rf"[{CREDIT_CODE_CHARACTERS}]{{2}}\d{{6}}[{CREDIT_CODE_CHARACTERS}]{{10}}")


def credit_code_check_character(body: str) -> str:
    """Eighteenth character of a unified social credit code (统一社会信用代码).

    GB 32100-2015, section 5: ``C18 = 31 - mod(sum(C_i * 3**(i - 1) mod 31), 31)``, where 31 is written as 0.

    Parameters
    ----------
    body
        The first 17 characters, upper case.

    Examples
    --------
    >>> credit_code_check_character("91440300192203821")
    '6'
    """
    if len(body) != 17 or any(character not in _VALUES for character in body):
        raise ValueError(f"the first 17 characters of a credit code are needed, not {body!r}")
    total = sum(_VALUES[character] * pow(3, place, 31) for place, character in enumerate(body))
    return CREDIT_CODE_CHARACTERS[-total % 31]


def validate_credit_code(value: str) -> None:
    """Refuse a code of wrong shape or with a check character that does not fit.

    Raises
    ------
    ValidationError
        Code ``shape`` or ``check_character``; the message names the cure.
    """
    if not _SHAPE.fullmatch(value):
        raise ValidationError(
            _("统一社会信用代码应为 18 位数字或大写字母（没有 I、O、S、V、Z）；请对照营业执照重填。"),
            code="shape",
        )
    if credit_code_check_character(value[:17]) != value[17]:
        raise ValidationError(
            _("统一社会信用代码的校验位不符，可能有一位输错；请对照营业执照逐位核对。"),
            code="check_character",
        )
