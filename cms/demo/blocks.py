"""Short spellings of StreamField blocks, so that the sample articles read as articles."""

from __future__ import annotations

from typing import Any

Block = dict[str, Any]


def heading(text: str) -> Block:
    return {"type": "heading", "value": text}


def paragraph(*texts: str) -> Block:
    return {"type": "paragraph", "value": "".join(f"<p>{text}</p>" for text in texts)}


def do_dont(do: list[str], dont: list[str]) -> Block:
    return {"type": "do_dont", "value": {"do": do, "dont": dont}}


def steps(*pairs: tuple[str, str]) -> Block:
    return {"type": "steps", "value": {"steps": [{"title": title, "text": text} for title, text in pairs]}}


def callout(kind: str, heading: str, text: str) -> Block:
    return {"type": "callout", "value": {"kind": kind, "heading": heading, "text": text}}


def table(caption: str, headings: list[str], rows: list[list[str]]) -> Block:
    columns = [{"type": "text", "heading": text} for text in headings]
    return {
        "type": "table",
        "value": {"columns": columns, "rows": [{"values": row} for row in rows], "caption": caption},
    }


#: Stands for the drawing that the command makes and uploads; see `cms.demo.figure`.
FILM_FIGURE: Block = {"type": "figure", "value": "film"}
