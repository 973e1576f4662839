"""GB 32100 check character against codes in public registers, and against every single mistake."""

from __future__ import annotations

import pytest
from django.core.exceptions import ValidationError
from hypothesis import given
from hypothesis import strategies as st

from farms.validators import CREDIT_CODE_CHARACTERS, credit_code_check_character, validate_credit_code

# Of well-known firms, as printed on their own public pages.
PUBLIC_CODES = ("914403001922038216", "9144030071526726XG", "91330100799655058B")
bodies = st.text(alphabet=CREDIT_CODE_CHARACTERS, min_size=17, max_size=17)


@pytest.mark.parametrize("code", PUBLIC_CODES)
def test_public_codes_hold(code: str) -> None:
    validate_credit_code(code)
    assert credit_code_check_character(code[:17]) == code[17]


@given(body=bodies, place=st.integers(0, 16), other=st.sampled_from(CREDIT_CODE_CHARACTERS))
def test_one_wrong_character_is_always_found(body: str, place: int, other: str) -> None:
    # 3 has order 30 modulo 31, so no weight is 0 and a single change always changes the sum.
    changed = body[:place] + other + body[place + 1 :]
    same = credit_code_check_character(changed) == credit_code_check_character(body)
    assert same == (changed == body)


@given(body=bodies, place=st.integers(0, 15))
def test_two_swapped_neighbours_are_always_found(body: str, place: int) -> None:
    swapped = body[:place] + body[place + 1] + body[place] + body[place + 2 :]
    same = credit_code_check_character(swapped) == credit_code_check_character(body)
    assert same == (swapped == body)


@pytest.mark.parametrize(
    ("value", "code"),
    [
        ("914403001922038217", "check_character"),
        ("91440300192203821", "shape"),
        ("9144030019220382166", "shape"),
        ("91440300I922038216", "shape"),
        ("9144O3001922038216", "shape"),
        ("9144030019220382 6", "shape"),
        ("91440300192203821g", "shape"),
    ],
)
def test_wrong_codes_are_refused_with_the_reason(value: str, code: str) -> None:
    with pytest.raises(ValidationError) as refused:
        validate_credit_code(value)
    assert refused.value.code == code
    assert "营业执照" in refused.value.message
