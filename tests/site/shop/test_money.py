"""Arithmetic of prices: exact in fen, rounded once and half up."""

from __future__ import annotations

from decimal import ROUND_HALF_UP, Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shop.money import line_total_fen, total_fen, unit_price_fen, yuan
from shop.privacy import mask_address, mask_name, mask_phone

fens = st.integers(1, 10**7)
grams = st.integers(1, 10**6)


@given(price=fens, weight=grams)
def test_unit_price_is_the_exact_quotient_rounded_half_up(price: int, weight: int) -> None:
    exact = (Decimal(price) * 500 / Decimal(weight)).quantize(Decimal(1), ROUND_HALF_UP)
    assert unit_price_fen(price_fen=price, net_weight_g=weight) == exact


@given(price=fens, weight=grams, factor=st.integers(1, 50))
def test_the_same_goods_in_a_larger_pack_at_the_same_rate_cost_the_same_a_jin(
    price: int, weight: int, factor: int
) -> None:
    one = unit_price_fen(price_fen=price, net_weight_g=weight)
    assert unit_price_fen(price_fen=price * factor, net_weight_g=weight * factor) == one


@given(lines=st.lists(st.tuples(fens, st.integers(1, 999)), max_size=30))
def test_a_sum_is_the_sum_of_its_lines_in_any_order_and_grouping(lines: list[tuple[int, int]]) -> None:
    whole = total_fen(lines)
    assert whole == sum(line_total_fen(price_fen=price, quantity=quantity) for price, quantity in lines)
    assert whole == total_fen(reversed(lines))
    middle = len(lines) // 2
    assert whole == total_fen(lines[:middle]) + total_fen(lines[middle:])


@given(fen=st.integers(-(10**9), 10**9))
def test_yuan_reads_back_as_the_same_fen(fen: int) -> None:
    assert Decimal(yuan(fen).replace(",", "")) * 100 == fen


@pytest.mark.parametrize("weight", [0, -5])
def test_a_weight_of_nothing_is_refused(weight: int) -> None:
    with pytest.raises(ValueError, match="above 0 g"):
        unit_price_fen(price_fen=100, net_weight_g=weight)


@given(digits=st.from_regex(r"1[3-9][0-9]{9}", fullmatch=True))
def test_a_masked_phone_keeps_seven_digits_at_most(digits: str) -> None:
    masked = mask_phone(digits)
    assert sum(character.isdigit() for character in masked) == 7
    assert digits[3:7] not in masked.replace(digits[:3], "", 1)[:-4]


def test_masks_hide_who_and_where() -> None:
    assert mask_name("示例买家") == "示**"
    assert mask_name("") == ""
    assert mask_phone("12345") == "****"
    assert "示例路" not in mask_address("甘肃省静宁县城关镇示例路 1 号")
