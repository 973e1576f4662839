"""What a STAC search asks for, and which items answer it. No HTTP here."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import shapely
import shapely.geometry

from eo_pipeline.simulate.archive.catalogue import Record

_TESTS: Final[Mapping[str, Callable[[Any, Any], bool]]] = {
    "eq": lambda a, b: bool(a == b),
    "neq": lambda a, b: bool(a != b),
    "lt": lambda a, b: bool(a < b),
    "lte": lambda a, b: bool(a <= b),
    "gt": lambda a, b: bool(a > b),
    "gte": lambda a, b: bool(a >= b),
    "startsWith": lambda a, b: str(a).startswith(str(b)),
    "endsWith": lambda a, b: str(a).endswith(str(b)),
    "contains": lambda a, b: str(b) in str(a),
    "in": lambda a, b: a in b,
}
_FOREVER: Final = datetime(9999, 12, 31, tzinfo=UTC), datetime(1, 1, 1, tzinfo=UTC)


class SearchError(ValueError):
    """A search that cannot be read."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A search, read. `after` is the place the last page ended at."""

    area: Any
    start: datetime
    end: datetime
    collections: tuple[str, ...]
    ids: tuple[str, ...]
    limit: int
    tests: tuple[tuple[str, str, Any], ...]
    order: tuple[tuple[str, bool], ...]
    after: str

    def wants(self, record: Record, item: Mapping[str, Any]) -> bool:
        """Whether an item answers the search."""
        if self.ids and item["id"] not in self.ids:
            return False
        moment = datetime.fromisoformat(item["properties"]["datetime"])
        if not self.start <= moment <= self.end:
            return False
        for name, operator, value in self.tests:
            found = item["properties"].get(name)
            try:
                if found is None or not _TESTS[operator](found, value):
                    return False
            except TypeError:
                return False
        return self.area is None or bool(self.area.intersects(record.footprint))


def read_search(given: Mapping[str, Any], *, largest_page: int) -> Asked:
    """A search of STAC's API from JSON.

    Raises
    ------
    SearchError
        Names the field that is wrong.
    """
    if given.get("bbox") and given.get("intersects"):
        raise SearchError("Expected bbox OR intersects, not both")
    try:
        limit = int(given.get("limit", 10))
    except (TypeError, ValueError) as error:
        raise SearchError("Invalid limit, must be a number") from error
    if not 1 <= limit <= 10_000:
        raise SearchError("Invalid limit, must be between 1 and 10000")
    start, end = read_interval(given.get("datetime"))
    area = None
    if given.get("bbox"):
        area = _box(given["bbox"])
    elif given.get("intersects"):
        try:
            area = shapely.geometry.shape(given["intersects"])
        except Exception as error:  # shapely raises of every kind on what is no geometry
            raise SearchError(f"Invalid intersects geometry: {error}") from error
    tests = []
    for name, wanted in (given.get("query") or {}).items():
        if not isinstance(wanted, Mapping) or (unknown := [o for o in wanted if o not in _TESTS]):
            raise SearchError(
                f"Invalid query of {name}: {unknown if isinstance(wanted, Mapping) else wanted}"
            )
        tests += [(name, operator, value) for operator, value in wanted.items()]
    order = []
    for part in given.get("sortby") or [{"field": "properties.datetime", "direction": "desc"}]:
        if not isinstance(part, Mapping) or not part.get("field"):
            raise SearchError("Invalid sortby")
        order.append((str(part["field"]), part.get("direction") == "desc"))
    return Asked(
        area=area,
        start=start,
        end=end,
        collections=tuple(given.get("collections") or ()),
        ids=tuple(given.get("ids") or ()),
        limit=min(limit, largest_page),
        tests=tuple(tests),
        order=tuple(order),
        after=str(given.get("next") or ""),
    )


def _box(values: Any) -> Any:
    try:
        west, south, *middle, east, north = (float(value) for value in values)
        if len(middle) not in (0, 2) or not all(map(math.isfinite, (west, south, east, north))):
            raise ValueError(values)
        if len(middle) == 2:  # with heights: west, south, low, east, north, high
            east, north = middle[1], east
    except (TypeError, ValueError) as error:
        raise SearchError("Invalid bbox, must have 4 or 6 numbers") from error
    if south > north:
        raise SearchError("Invalid bbox, SW latitude must be less than NE latitude")
    if west > east:  # over the date line
        return shapely.union(shapely.box(west, south, 180, north), shapely.box(-180, south, east, north))
    return shapely.box(west, south, east, north)


def read_interval(given: Any) -> tuple[datetime, datetime]:
    """Start and end of "datetime": a time, or two with a slash, either open as ".." or empty.

    >>> start, end = read_interval("2024-06-01T00:00:00Z/..")
    >>> start.isoformat(), end.year
    ('2024-06-01T00:00:00+00:00', 9999)
    """
    if not given:
        return _FOREVER[1], _FOREVER[0]
    parts = str(given).split("/")
    if len(parts) == 1:
        moment = _time(parts[0])
        return moment, moment + timedelta(microseconds=999)  # written to milliseconds
    if len(parts) != 2 or all(part in ("", "..") for part in parts):
        raise SearchError("Invalid datetime")
    start = _FOREVER[1] if parts[0] in ("", "..") else _time(parts[0])
    end = _FOREVER[0] if parts[1] in ("", "..") else _time(parts[1])
    if end < start:
        raise SearchError("Invalid datetime, the end lies before the start")
    return start, end


def _time(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise SearchError(f"Invalid datetime, {text!r} is no RFC 3339 time") from error
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def page_of(found: list[dict[str, Any]], asked: Asked) -> tuple[list[dict[str, Any]], str]:
    """The page after `asked.after`, and where it ends ("" where nothing follows)."""
    rows = sorted(found, key=lambda item: (str(item["id"]), str(item["collection"])))
    for field, down in reversed(asked.order):
        rows.sort(key=lambda item, field=field: _sortable(item, field), reverse=down)  # type: ignore[misc]
    marks = [f"{item['properties']['datetime']},{item['id']},{item['collection']}" for item in rows]
    first = 0
    if asked.after:
        if asked.after not in marks:
            return [], ""
        first = marks.index(asked.after) + 1
    last = first + asked.limit
    return rows[first:last], marks[last - 1] if last < len(rows) else ""


def _sortable(item: Mapping[str, Any], field: str) -> tuple[bool, Any]:
    name = field.removeprefix("properties.")
    value = item.get(name) if name in ("id", "collection") else item["properties"].get(name)
    return value is None, value if value is not None else 0
