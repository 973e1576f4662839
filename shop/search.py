"""Finding products by Chinese words: each word of the query must occur, by whatever name."""

from __future__ import annotations

import re
from functools import reduce
from typing import Final

from django.db.models import Q

#: Names of one thing; a word of a row finds all of the row.
SYNONYMS: Final = (
    ("马铃薯", "洋芋", "土豆"),
    ("牛肉", "红牛"),
    ("苹果", "金果", "平果"),
    ("蜂蜜", "蜜"),
)
_FIELDS: Final = (
    "name",
    "name_en",
    "summary",
    "description",
    "county__name",
    "seller__grower__name",
    "skus__grade",
    "skus__batch__orchard__variety",
)
#: Longer queries are cut: nobody types them, and each word costs a condition.
MAX_WORDS: Final = 8


def words_of(query: str) -> list[str]:
    """Words of a query without stop characters, in their order, each once.

    Examples
    --------
    >>> words_of("静宁苹果  80#")
    ['静宁', '苹果', '80#']
    """
    import jieba  # 1 s and 100 MB on first use: only for those who search

    jieba.setLogLevel("WARNING")
    words: list[str] = []
    for part in re.split(r"[\s,，。、]+", query.strip().lower()):
        # jieba splits "80#"; Latin letters and digits stay whole.
        for piece in re.findall(r"[a-z0-9#.+-]+|[^\sa-z0-9#.+-]+", part):
            words += [piece] if piece.isascii() else [word for word in jieba.cut(piece) if word.strip()]
    return list(dict.fromkeys(words))[:MAX_WORDS]


def matches(query: str) -> Q:
    """Condition on products: every word of the query, or another name of it, occurs somewhere."""

    def any_field(word: str) -> Q:
        names = next((row for row in SYNONYMS if word in row), (word,))
        return reduce(
            lambda a, b: a | b,
            (Q(**{f"{field}__icontains": name}) for field in _FIELDS for name in names),
            Q(),
        )

    return reduce(lambda a, b: a & b, (any_field(word) for word in words_of(query)), Q())
