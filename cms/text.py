"""Plain text out of StreamField values, for search and excerpts."""

from __future__ import annotations

import re
from html import unescape
from typing import Any

_TAG = re.compile(r"<[^>]+>")
_SPACE = re.compile(r"[ \t\r\f\v]+")


def plain_text(stream: Any) -> str:
    """All text of a StreamField value in reading order, without markup, one block a line."""
    lines = [" ".join(block.block.get_searchable_content(block.value)) for block in stream]
    return "\n".join(_SPACE.sub(" ", unescape(_TAG.sub(" ", line))).strip() for line in lines if line)
