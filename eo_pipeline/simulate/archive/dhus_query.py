"""The query language of DHuS's OpenSearch: field:value, ranges, AND, OR, NOT, brackets, footprints."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import shapely

Fields = Mapping[str, Any]
Test = Callable[[Fields, Any], bool]

_TOKEN: Final = re.compile(
    r"\s*(?:(?P<mark>[()])|(?P<word>AND|OR|NOT|&&|\|\|)(?=[\s(])|(?P<field>\w+):|"
    r'(?P<range>[\[{].*?\sTO\s.*?[\]}])|"(?P<quoted>[^"]*)"|(?P<plain>[^\s()":\[\]{}][^\s()"]*))'
)
_FIELDS: Final = frozenset(
    {
        "beginposition", "endposition", "ingestiondate", "generationdate", "orbitnumber",
        "relativeorbitnumber",
        "footprint", "format", "platformname", "filename", "identifier", "uuid", "orbitdirection",
        "platformserialidentifier", "instrumentshortname", "instrumentname", "producttype", "processinglevel",
        "processingbaseline", "cloudcoverpercentage", "tileid", "hv_order_tileid", "s2datatakeid",
        "datastripidentifier", "granuleidentifier", "sensoroperationalmode", "polarisationmode",
        "swathidentifier", "productclass", "date", "creationdate", "size", "lastorbitnumber",
        "lastrelativeorbitnumber", "timeliness", "collection",
    }
)  # fmt: skip
_UNITS: Final = {
    "MINUTE": 1 / 1440,
    "HOUR": 1 / 24,
    "DAY": 1.0,
    "WEEK": 7.0,
    "MONTH": 30.4375,
    "YEAR": 365.25,
}


class QueryError(ValueError):
    """A query that cannot be read."""


def read_query(text: str) -> Test:
    """A query as a test of a product's fields and its footprint.

    Raises
    ------
    QueryError
        In the words of the service where they are known.
    """
    parser = _Parser(text)
    test = parser.either()
    if parser.peek()[0] != "end":
        raise QueryError(f"Cannot parse '{text}'")
    return test


class _Parser:
    def __init__(self, text: str) -> None:
        self.text = text
        self.tokens: list[tuple[str, str]] = []
        place = 0
        while text[place:].strip():
            match = _TOKEN.match(text, place)
            if not match or match.end() == place:
                raise QueryError(f"Cannot parse '{text}': at '{text[place : place + 20]}'")
            kind = match.lastgroup or ""
            self.tokens.append((kind, match[kind]))
            place = match.end()
        self.place = 0

    def peek(self) -> tuple[str, str]:
        return self.tokens[self.place] if self.place < len(self.tokens) else ("end", "")

    def take(self) -> tuple[str, str]:
        token = self.peek()
        self.place += 1
        return token

    def either(self) -> Test:
        tests = [self.both()]
        while self.peek() in (("word", "OR"), ("word", "||")):
            self.take()
            tests.append(self.both())
        return tests[0] if len(tests) == 1 else lambda f, place: any(test(f, place) for test in tests)

    def both(self) -> Test:
        tests = [self.one()]
        while True:
            kind, value = self.peek()
            if (kind, value) in (("word", "AND"), ("word", "&&")):
                self.take()
            elif kind in ("end",) or value == ")" or (kind == "word" and value != "NOT"):
                break
            tests.append(self.one())  # what stands side by side must all be true
        return tests[0] if len(tests) == 1 else lambda f, place: all(test(f, place) for test in tests)

    def one(self) -> Test:
        kind, value = self.take()
        if (kind, value) == ("word", "NOT"):
            inner = self.one()
            return lambda f, place: not inner(f, place)
        if value == "(" and kind == "mark":
            inner = self.either()
            if self.take() != ("mark", ")"):
                raise QueryError(f"Cannot parse '{self.text}': a bracket is open")
            return inner
        if kind == "field":
            return self.field(value.lower())
        if kind in ("plain", "quoted"):  # anywhere in what identifies a product
            wanted = value.lower()
            return lambda f, place: fnmatch.fnmatchcase(str(f["filename"]).lower(), f"*{wanted.strip('*')}*")
        raise QueryError(f"Cannot parse '{self.text}'")

    def field(self, name: str) -> Test:
        if name not in _FIELDS:
            raise QueryError(f"undefined field {name}")
        kind, value = self.take()
        if name == "footprint" and kind == "quoted":
            return _footprint(value)
        if kind == "range":
            return _range(name, value)
        if kind not in ("plain", "quoted"):
            raise QueryError(f"Cannot parse '{self.text}': {name} has no value")
        return _equal(name, value)


def _footprint(value: str) -> Test:
    match = re.fullmatch(r"\s*(Intersects|Contains|IsWithin)\s*\((.+)\)\s*", value, re.I)
    if not match:
        raise QueryError(f"Cannot parse the footprint '{value[:60]}'")
    try:
        area = shapely.from_wkt(match[2])
    except shapely.errors.GEOSException as error:
        raise QueryError(f"Cannot parse the geometry: {error}") from error
    if area is None or not area.is_valid:
        raise QueryError("Invalid geometry: self-intersection or empty")
    relation = match[1].lower()
    if relation == "contains":
        return lambda f, place: bool(place.contains(area))
    if relation == "iswithin":
        return lambda f, place: bool(place.within(area))
    return lambda f, place: bool(place.intersects(area))


def _range(name: str, value: str) -> Test:
    match = re.fullmatch(r"([\[{])\s*(.*?)\s+TO\s+(.*?)\s*([\]}])", value)
    if not match:
        raise QueryError(f"Cannot parse the range '{value}'")
    low, high = (bound.strip('"') for bound in (match[2], match[3]))
    open_low, open_high = match[1] == "{", match[4] == "}"

    def test(fields: Fields, place: Any) -> bool:
        del place
        found = fields.get(name)
        if found is None:
            return False
        if low != "*" and (found < (least := _like(found, low)) or (open_low and found == least)):
            return False
        return high == "*" or not (found > (most := _like(found, high)) or (open_high and found == most))

    return test


def _equal(name: str, value: str) -> Test:
    def test(fields: Fields, place: Any) -> bool:
        del place
        found = fields.get(name)
        if found is None:
            return False
        if isinstance(found, str):
            return fnmatch.fnmatchcase(found.lower(), value.lower())
        return bool(found == _like(found, value))

    return test


def _like(found: Any, text: str) -> Any:
    """A bound as the same kind of thing as what was found."""
    try:
        if isinstance(found, datetime):
            return read_moment(text)
        if isinstance(found, int | float):
            return float(text)
    except ValueError as error:
        raise QueryError(f"Invalid value: '{text}'") from error
    return text


def read_moment(text: str) -> datetime:
    """A time of the query language: ISO or NOW, with -2DAYS or +1MONTH, /DAY.

    >>> read_moment("2024-06-01T00:00:00Z-1DAY").isoformat()
    '2024-05-31T00:00:00+00:00'
    """
    match = re.fullmatch(r"(NOW|\d{4}-\d\d-\d\dT[\d:.]+Z?)((?:[+-]\d+[A-Z]+|/[A-Z]+)*)", text)
    if not match:
        raise ValueError(text)
    moment = datetime.now(UTC) if match[1] == "NOW" else datetime.fromisoformat(match[1])
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    for step in re.findall(r"[+-]\d+[A-Z]+|/[A-Z]+", match[2]):
        unit = re.sub(r"[^A-Z]", "", step).removesuffix("S")
        if unit not in _UNITS:
            raise ValueError(text)
        if step.startswith("/"):
            moment = moment.replace(
                minute=0, second=0, microsecond=0, hour=0 if unit != "HOUR" else moment.hour
            )
        else:
            moment += timedelta(days=int(re.sub(r"[A-Z]", "", step)) * _UNITS[unit])
    return moment
