"""The committed drawings are those that the code draws."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import pytest

from shop.illustrations import draw, names
from shop.models import Illustration

FOLDER = Path(__file__).resolve().parents[3] / "frontend" / "img" / "shop"


def test_there_is_a_drawing_for_every_choice() -> None:
    assert set(names()) == set(Illustration.values)
    assert {path.stem for path in FOLDER.glob("*.svg")} == set(names())


@pytest.mark.parametrize("name", names())
def test_drawing_is_the_committed_one_and_plain_svg(name: str) -> None:
    text = draw(name)
    assert (FOLDER / f"{name}.svg").read_text(encoding="utf-8") == text
    root = ElementTree.fromstring(text)
    assert root.attrib["viewBox"] == "0 0 400 300"
    assert "style" not in text
    assert "<script" not in text
    assert len(text) < 10_000
