"""The part of OData's query language that CDSE speaks: `$filter` and `$orderby` on its entries."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Final

import shapely

Entry = Mapping[str, Any]
Test = Callable[[Entry, Any], bool]

_TOKEN: Final = re.compile(
    r"\s*(?:(?P<text>'(?:[^']|'')*')|(?P<time>\d{4}-\d\d-\d\dT[\d:.]+(?:Z|[+-]\d\d:\d\d))"
    r"|(?P<number>-?\d+(?:\.\d+)?)|(?P<word>[A-Za-z_@][\w./]*)|(?P<mark>[():,=]))"
)
_COMPARE: Final[Mapping[str, Callable[[Any, Any], bool]]] = {
    "eq": lambda a, b: bool(a == b),
    "ne": lambda a, b: bool(a != b),
    "gt": lambda a, b: bool(a > b),
    "ge": lambda a, b: bool(a >= b),
    "lt": lambda a, b: bool(a < b),
    "le": lambda a, b: bool(a <= b),
}
_TEXT_TESTS: Final[Mapping[str, Callable[[str, str], bool]]] = {
    "contains": lambda a, b: b in a,
    "startswith": lambda a, b: a.startswith(b),
    "endswith": lambda a, b: a.endswith(b),
}
_PATHS: Final = (
    "Collection/Name", "Name", "Id", "Online", "ContentLength", "PublicationDate", "OriginDate",
    "ModificationDate", "EvictionDate", "ContentDate/Start", "ContentDate/End",
)  # fmt: skip
#: What the value of an attribute of each type is.
_KINDS: Final[Mapping[str, type | tuple[type, ...]]] = {
    "String": str, "Double": (int, float), "Integer": int, "DateTimeOffset": datetime, "Boolean": bool,
}  # fmt: skip


class FilterError(ValueError):
    """A query that is none."""


def read_filter(text: str) -> Test:
    """A `$filter` as a test of an entry and its footprint.

    Raises
    ------
    FilterError
        Says where it cannot be read.
    """
    parser = _Parser(text)
    test = parser.either()
    parser.end()
    return test


def sort_key(text: str) -> list[tuple[Callable[[Entry], Any], bool]]:
    """`$orderby` as keys and whether each goes down.

    Raises
    ------
    FilterError
        An unknown field or direction.
    """
    keys = []
    for part in text.split(","):
        match = re.fullmatch(r"\s*([\w/]+)(?:\s+(asc|desc))?\s*", part)
        if not match or match[1] not in _PATHS:
            raise FilterError(f"Invalid orderby: {part.strip()!r}")
        keys.append((_getter(match[1]), match[2] == "desc"))
    return keys


def _getter(path: str) -> Callable[[Entry], Any]:
    def get(entry: Entry) -> Any:
        value: Any = entry
        for name in path.split("/"):
            value = value[name]
        return _value(value)

    return get


def _value(value: Any) -> Any:
    """Times as times, everything else as it is."""
    if isinstance(value, str) and re.match(r"\d{4}-\d\d-\d\dT", value):
        return read_time(value)
    return value


def read_time(text: str) -> datetime:
    """A time of the query language; the year 9999 included."""
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


class _Parser:
    """Recursive descent: or, and, not, then what tests one thing."""

    def __init__(self, text: str) -> None:
        self.tokens: list[tuple[str, str]] = []
        place = 0
        while place < len(text.rstrip()):
            match = _TOKEN.match(text, place)
            if not match or match.end() == place:
                raise FilterError(f"Invalid filter at {text[place : place + 30]!r}")
            self.tokens.append((match.lastgroup or "", match[match.lastgroup or 0]))
            place = match.end()
        self.place = 0

    # ---- tokens
    def peek(self, ahead: int = 0) -> tuple[str, str]:
        place = self.place + ahead
        return self.tokens[place] if place < len(self.tokens) else ("end", "")

    def take(self, *wanted: str) -> str:
        kind, value = self.peek()
        if wanted and value not in wanted and kind not in wanted:
            raise FilterError(f"Invalid filter: {' or '.join(wanted)} expected, {value or 'the end'!r} found")
        self.place += 1
        return value

    def end(self) -> None:
        if self.peek()[0] != "end":
            raise FilterError(f"Invalid filter: {self.peek()[1]!r} is too much")

    # ---- expressions
    def either(self) -> Test:
        tests = [self.both()]
        while self.peek() == ("word", "or"):
            self.take()
            tests.append(self.both())
        return tests[0] if len(tests) == 1 else lambda entry, place: any(t(entry, place) for t in tests)

    def both(self) -> Test:
        tests = [self.one()]
        while self.peek() == ("word", "and"):
            self.take()
            tests.append(self.one())
        return tests[0] if len(tests) == 1 else lambda entry, place: all(t(entry, place) for t in tests)

    def one(self) -> Test:
        kind, value = self.peek()
        if (kind, value) == ("word", "not"):
            self.take()
            inner = self.one()
            return lambda entry, place: not inner(entry, place)
        if value == "(":
            self.take()
            inner = self.either()
            self.take(")")
            return inner
        if kind != "word":
            raise FilterError(f"Invalid filter: {value or 'the end'!r} is no test")
        if value in _TEXT_TESTS:
            return self.text_test()
        if value == "OData.CSC.Intersects":
            return self.intersects()
        if value.startswith("Attributes/"):
            return self.attribute()
        return self.comparison()

    def text_test(self) -> Test:
        test = _TEXT_TESTS[self.take()]
        self.take("(")
        get = _getter(self.path())
        self.take(",")
        part = self.literal()
        self.take(")")
        return lambda entry, place: test(str(get(entry)), str(part))

    def intersects(self) -> Test:
        self.take()
        for mark in ("(", "area", "=", "geography"):
            self.take(mark)
        text = _unquoted(self.take("text"))
        self.take(")")
        match = re.fullmatch(r"SRID=(\d+);(.+)", text)
        if not match or match[1] != "4326":
            raise FilterError("Invalid geometry: SRID=4326;WKT expected")
        try:
            area = shapely.from_wkt(match[2])
        except shapely.errors.GEOSException as error:
            raise FilterError(f"Invalid geometry: {error}") from error
        if area is None or area.is_empty or not area.is_valid:
            raise FilterError(f"Invalid geometry: {shapely.is_valid_reason(area)}")
        shapely.prepare(area)
        return lambda entry, place: bool(area.intersects(place))

    def attribute(self) -> Test:
        match = re.fullmatch(r"Attributes/OData\.CSC\.(\w+)Attribute/any", self.take())
        if not match or match[1] not in _KINDS:
            raise FilterError("Invalid filter: Attributes/OData.CSC.<Type>Attribute/any expected")
        self.take("(")
        variable = self.take("word")
        self.take(":")
        self.take(f"{variable}/Name")
        self.take("eq")
        name = self.literal()
        self.take("and")
        found = re.fullmatch(rf"{re.escape(variable)}/OData\.CSC\.(\w+)Attribute/Value", self.take("word"))
        if not found:
            raise FilterError("Invalid filter: the attribute's Value expected")
        compare = _COMPARE[self.take(*_COMPARE)]
        wanted = self.literal()
        self.take(")")
        kind = match[1]

        def test(entry: Entry, place: Any) -> bool:
            del place
            for item in entry["Attributes"]:
                # an attribute asked for as another type than its own is not found, as there
                if item["Name"] == name and item["ValueType"] == kind:
                    try:
                        return compare(_value(item["Value"]), wanted)
                    except TypeError:
                        return False
            return False

        return test

    def comparison(self) -> Test:
        get = _getter(self.path())
        compare = _COMPARE[self.take(*_COMPARE)]
        wanted = self.literal()

        def test(entry: Entry, place: Any) -> bool:
            del place
            try:
                return compare(get(entry), wanted)
            except TypeError:
                return False

        return test

    def path(self) -> str:
        path = self.take("word")
        if path not in _PATHS:
            raise FilterError(f"Invalid field: {path}")
        return path

    def literal(self) -> Any:
        kind, value = self.peek()
        self.take()
        if kind == "text":
            return _unquoted(value)
        if kind == "number":
            return float(value)
        if kind == "time":
            try:
                return read_time(value)
            except ValueError as error:
                raise FilterError(f"Invalid time: {value}") from error
        if value in ("true", "false"):
            return value == "true"
        raise FilterError(f"Invalid value: {value or 'the end'!r}")


def _unquoted(text: str) -> str:
    return text[1:-1].replace("''", "'")
