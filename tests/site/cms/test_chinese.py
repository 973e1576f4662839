"""Cutting Chinese into words; no database."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cms.chinese import names_of, query_words, segment_for_index, words


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("静宁苹果", ["静宁", "苹果"]),
        ("苹果怎么套袋？", ["苹果", "套袋"]),
        ("小麦条锈病", ["小麦", "条锈病"]),
        ("红富士80# PM2.5", ["红富士", "80", "pm2.5"]),
        ("的", ["的"]),  # only stop words: better than nothing
        ("!!! ——", []),
        ("", []),
    ],
)
def test_query_words(text: str, expected: list[str]) -> None:
    assert query_words(text) == expected


def test_query_words_are_limited() -> None:
    assert len(query_words("苹果小麦玉米土豆胡麻荞麦苜蓿蔬菜牛羊猪鸡", limit=8)) == 8


def test_index_holds_long_words_their_parts_and_single_characters() -> None:
    tokens = segment_for_index("全膜双垄沟播玉米").split()
    assert {"全膜", "双垄", "沟播", "玉米", "膜", "垄"} <= set(tokens)


def test_names_of_starts_with_the_word_itself() -> None:
    assert names_of("洋芋")[0] == "洋芋"
    assert {"马铃薯", "土豆"} <= set(names_of("洋芋"))
    assert names_of("卫星") == ("卫星",)


@given(st.text(max_size=60))
def test_words_of_a_query_occur_in_the_index_of_the_same_text(text: str) -> None:
    """Whatever is typed, a page with exactly that text is found by it."""
    tokens = set(segment_for_index(text).split())
    assert set(query_words(text)) <= tokens
    assert all(" " not in word for word in words(text))
