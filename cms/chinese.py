"""Cutting Chinese into words, so that PostgreSQL can search them; the farming vocabulary and its synonyms.

PostgreSQL takes 静宁苹果今日开园 for one word. The index holds the text cut by jieba in search mode (long
words also as their parts) plus every single character, so that a query of one character finds something too.
The vocabulary is data: `cms/data/words.txt` (one word a line) and `cms/data/synonyms.txt` (names of one
thing, a line each, separated by spaces).
"""

from __future__ import annotations

import re
import threading
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Final

from django.conf import settings

if TYPE_CHECKING:
    import jieba

_DATA: Final = Path(__file__).resolve().parent / "data"
#: What is a word at all: Chinese characters, or Latin letters and digits with the signs inside 80# and PM2.5.
_RUN: Final = re.compile(r"[㐀-䶿一-鿿豈-﫿]+|[a-z0-9]+(?:\.[0-9]+)?")
_CHINESE: Final = re.compile(r"[㐀-䶿一-鿿豈-﫿]")
#: Characters and words that occur everywhere and say nothing; in a query they would only exclude.
_STOP: Final = frozenset(
    re.findall(
        r"\S+",
        """的 了 和 与 及 或 在 是 有 吗 呢 啊 吧 什么 怎么 怎么办 如何 怎样 哪里
        多少 几 个 我 我们 你 请问 一下 可以 能 要 时候""",
    )
)
_lock = threading.Lock()


def _lines(name: str) -> list[str]:
    text = (_DATA / name).read_text(encoding="utf-8")
    return [line.strip() for line in text.splitlines() if line.strip() and not line.startswith("#")]


@lru_cache(maxsize=1)
def _build() -> jieba.Tokenizer:
    import jieba  # 0.5 s and about 100 MB: only for processes that index or search

    jieba.setLogLevel("WARNING")
    tokenizer = jieba.Tokenizer()
    # By default jieba keeps its compiled dictionary in the shared /tmp, where anyone may put a file.
    cache = Path(settings.VAR_DIR) / "jieba"
    cache.mkdir(parents=True, exist_ok=True)
    tokenizer.tmp_dir = str(cache)
    tokenizer.initialize()
    for word in {*_lines("words.txt"), *(name for row in _lines("synonyms.txt") for name in row.split())}:
        tokenizer.add_word(word.lower())
    return tokenizer


def tokenizer() -> jieba.Tokenizer:
    """The tokenizer with our vocabulary; built once a process, also when two requests ask at once."""
    with _lock:
        return _build()


def words(text: str) -> list[str]:
    """Words of a text in order, long words followed by nothing and preceded by their parts (search mode).

    Examples
    --------
    >>> words("静宁苹果 PM2.5")
    ['静宁', '苹果', 'pm2.5']
    """
    cut = tokenizer()
    found: list[str] = []
    for run in _RUN.findall(text.lower()):
        found += [run] if run.isascii() else [word for word in cut.cut_for_search(run) if word.strip()]
    return found


def segment_for_index(text: str) -> str:
    """A text as the index keeps it: its words, then each Chinese character once, separated by spaces."""
    cut = words(text)
    characters = dict.fromkeys(_CHINESE.findall(text))
    return " ".join([*cut, *(character for character in characters if character not in cut)])


def query_words(query: str, *, limit: int = 8) -> list[str]:
    """Words to look for: no stop words, none that the others spell out together, each once, at most `limit`.

    Examples
    --------
    >>> query_words("苹果怎么套袋")
    ['苹果', '套袋']
    """
    cut = list(dict.fromkeys(words(query)))
    kept = [word for word in cut if word not in _STOP] or cut
    # 全膜双垄沟播 comes with 全膜, 双垄, 沟播: all parts must occur, the whole need not.
    parts = [word for word in kept if not _spelled_by(word, [other for other in kept if other != word])]
    # 晚疫病 comes with 疫病: the shorter one adds nothing.
    parts = [word for word in parts if not any(word != other and word in other for other in parts)]
    return (parts or kept)[:limit]


def _spelled_by(word: str, others: list[str]) -> bool:
    """Whether a word is a chain of at least two of the others, each of two characters or more."""
    pieces = [other for other in others if len(other) > 1 and other in word]
    reach = {0}
    for start in range(len(word)):
        if start in reach:
            reach.update(start + len(piece) for piece in pieces if word.startswith(piece, start))
    return len(word) in reach


@lru_cache(maxsize=1)
def _synonyms() -> dict[str, tuple[str, ...]]:
    table: dict[str, tuple[str, ...]] = {}
    for row in _lines("synonyms.txt"):
        names = tuple(row.lower().split())
        for name in names:
            table[name] = names
    return table


def names_of(word: str) -> tuple[str, ...]:
    """A word and its other names, the word itself first: 洋芋 → 洋芋, 马铃薯, 土豆."""
    names = _synonyms().get(word, ())
    return (word, *(name for name in names if name != word))
