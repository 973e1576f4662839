"""DHuS: OpenSearch and OData v1 as sentinelsat asks them; everything with user name and password."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, unquote
from xml.sax.saxutils import escape

from eo_pipeline.simulate.archive.catalogue import Record
from eo_pipeline.simulate.archive.cdse import find_node, node_children
from eo_pipeline.simulate.archive.dhus_query import QueryError, read_query
from eo_pipeline.simulate.archive.holdings import LABEL, Holdings, Route
from eo_pipeline.simulate.archive.http import Answer, Request, file_answer, iso, reply, text

_ROOT: Final = "/dhus"
_PAGE: Final = 100
_PLATFORMS: Final[Mapping[str, str]] = {"sentinel-2-l2a": "Sentinel-2", "sentinel-1-grd": "Sentinel-1"}
#: Which sort of element each field of an OpenSearch entry stands in.
_SORTS: Final[Mapping[type, str]] = {datetime: "date", int: "int", float: "double", str: "str"}


class Dhus:
    """See the module."""

    def __init__(self, holdings: Holdings) -> None:
        self._held = holdings

    def route(self, request: Request) -> Route | None:
        """How a request is answered; None where it is none of this service's."""
        if not request.path.startswith(_ROOT + "/"):
            return None
        rest = unquote(request.path.removeprefix(_ROOT))
        if request.basic != (self._held.user, self._held.password):
            return Route("metadata", "", "dhus", _unauthorised)
        key = f"{request.path}?{request.query}"
        if rest == "/search":
            return Route("metadata", key, "dhus", lambda: self._search(request))
        if rest == "/api/stub/version":
            return Route("metadata", key, "dhus", lambda: reply({"value": "2.4.1"}))
        if rest.startswith("/odata/v1/Products("):
            data = (
                rest.endswith("/$value")
                and "/Attributes(" not in rest
                and not rest.endswith("/Online/$value")
            )
            return Route(
                "data" if data else "metadata",
                request.path if data else key,
                "dhus",
                lambda: self._product(request, rest.removeprefix("/odata/v1")),
            )
        return Route("metadata", key, "dhus", lambda: _error(f"Not found: {rest}", 404))

    def _records(self) -> list[Record]:
        return [record for record in self._held.catalogue.records if record.collection in _PLATFORMS]

    # ---- OpenSearch
    def _search(self, request: Request) -> Answer:
        given = request.parameters
        as_json = given.get("format") == "json"
        try:
            test = read_query(given.get("q", "*"))
            rows, start = int(given.get("rows", "10")), int(given.get("start", "0"))
            if not (0 <= rows <= _PAGE and start >= 0):
                raise QueryError(f"rows must be 0 to {_PAGE}, start 0 or more")
            found = [(record, self._fields(record)) for record in self._records()]
            found = [(record, fields) for record, fields in found if test(fields, record.footprint)]
            for name, down in reversed(_order(given.get("orderby", "ingestiondate desc"))):
                found.sort(key=lambda pair, name=name: pair[1].get(name, ""), reverse=down)  # type: ignore[misc]
        except (QueryError, ValueError, TypeError) as error:
            if as_json:  # with status 200, as there
                words = {"code": "400", "message": str(error)}
                return reply({"feed": {**_XMLNS, "error": words}})
            return _error(str(error), 400)
        page = [self._entry(record, fields, request) for record, fields in found[start : start + rows]]
        feed = _feed(request=request, given=given, page=page, total=len(found), rows=rows, start=start)
        if as_json:
            return reply({"feed": feed})
        return text(_as_xml(feed), type="application/xml;charset=utf-8")

    def _fields(self, record: Record) -> dict[str, Any]:
        """What a product can be searched by."""
        fields: dict[str, Any] = {
            "beginposition": record.start,
            "endposition": record.stop,
            "ingestiondate": record.published,
            "orbitnumber": record.absolute_orbit,
            "relativeorbitnumber": record.orbit,
            "footprint": record.footprint.wkt,
            "format": "SAFE",
            "platformname": _PLATFORMS[record.collection],
            "filename": record.name,
            "identifier": record.name.removesuffix(".SAFE"),
            "uuid": record.id,
            "orbitdirection": record.direction,
            "platformserialidentifier": f"Sentinel-{record.platform[1:]}",
        }
        if record.collection == "sentinel-2-l2a":
            return fields | {
                "instrumentshortname": "MSI",
                "instrumentname": "Multi-Spectral Instrument",
                "producttype": "S2MSI2A",
                "processinglevel": "Level-2A",
                "processingbaseline": record.baseline,
                "cloudcoverpercentage": record.cloud,
                "tileid": record.tile,
                "hv_order_tileid": record.tile[3:] + record.tile[2] + record.tile[:2],
                "s2datatakeid": record.identifiers["datatake"],
                "datastripidentifier": record.identifiers["datastrip"],
                "granuleidentifier": record.identifiers["granule"],
                "generationdate": record.made,
            }
        return fields | {
            "instrumentshortname": "SAR-C SAR",
            "producttype": "GRD",
            "sensoroperationalmode": record.identifiers["mode"],
            "polarisationmode": " ".join(record.polarisations),
            "swathidentifier": record.identifiers["mode"],
            "productclass": "S",
        }

    def _entry(self, record: Record, fields: Mapping[str, Any], request: Request) -> dict[str, Any]:
        here = f"{request.base}{_ROOT}/odata/v1/Products('{record.id}')"
        size = f"{self._held.workshop.digest(record).size / 2**20:.2f} MB"
        begin = iso(record.start, 3)
        told: dict[str, Any] = {
            "title": record.name.removesuffix(".SAFE"),
            "link": [
                {"href": f"{here}/$value"},
                {"rel": "alternative", "href": f"{here}/"},
                {"rel": "icon", "href": f"{here}/Products('Quicklook')/$value"},
            ],
            "id": record.id,
            "summary": f"Date: {begin}, Instrument: {fields['instrumentshortname']}, Satellite: "
            f"{fields['platformname']}, Size: {size}. {LABEL}",
            "ondemand": "false",
        }
        sorts: dict[str, list[dict[str, str]]] = {"date": [], "int": [], "double": [], "str": []}
        for name, value in {**fields, "gmlfootprint": _gml(record.footprint), "size": size}.items():
            content = iso(value, 3) if isinstance(value, datetime) else str(value)
            sorts[_SORTS[type(value)]].append({"name": name, "content": content})
        # made of XML there: of one element no list is made
        return told | {sort: rows[0] if len(rows) == 1 else rows for sort, rows in sorts.items() if rows}

    # ---- OData
    def _product(self, request: Request, rest: str) -> Answer:  # noqa: PLR0911 - one a path
        match = re.fullmatch(r"/Products\('([^']*)'\)((?:/Nodes\('[^']*'\))*)(/.*)?", rest)
        if not match:
            return _error("Unable to parse the request", 400)
        record = next((r for r in self._records() if r.id == match[1]), None)
        if record is None:
            return _error(f"Invalid key ({match[1]}) to access Products", 404, "InvalidKeyException : ")
        names, ending = re.findall(r"/Nodes\('([^']*)'\)", match[2]), match[3] or ""
        here = f"{request.base}{_ROOT}/odata/v1/Products('{record.id}')"
        if ending == "/$value":
            return self._bytes(record, names)
        if not names and ending in ("", "/"):
            return reply(
                {"d": self._facts(record, here, "Attributes" in request.parameters.get("$expand", ""))}
            )
        if ending == "/Online/$value":
            return text("false" if self._offline(record) else "true", type="text/plain")
        if attribute := re.fullmatch(r"/Attributes\('(\w+)'\)/Value/\$value", ending):
            values = _attributes(record)
            if attribute[1] not in values:
                return _error("Invalid key to access Attributes", 404, "InvalidKeyException : ")
            return text(str(values[attribute[1]]), type="text/plain")
        place = find_node(record, names)
        if place is None:
            return _error(f"Invalid key ({names[-1]}) to access Nodes", 404, "InvalidKeyException : ")
        address = here + "".join(f"/Nodes('{quote(name)}')" for name in names)
        if ending == "/Nodes":
            children = [record.path] if not names else node_children(place)
            rows = [_node(child, f"{address}/Nodes('{quote(child.name)}')") for child in children]
            return reply({"d": {"results": rows}})
        if ending == "":
            return reply({"d": _node(place, address)})
        return _error("Unable to parse the request", 400)

    def _offline(self, record: Record) -> bool:
        return self._held.offline(record)

    def _facts(self, record: Record, here: str, full: bool) -> dict[str, Any]:
        digest = self._held.workshop.digest(record)
        fault = self._held.faults.draw("facts", f"{_ROOT}/Products({record.id})")
        value = digest.md5[::-1] if fault == "checksum-wrong" else digest.md5
        checksum = {"__metadata": {"type": "DHuS.Checksum"}, "Algorithm": "MD5", "Value": value}
        if fault == "checksum-missing":
            checksum |= {"Algorithm": None, "Value": None}  # type: ignore[dict-item]
        attributes: dict[str, Any] = {"__deferred": {"uri": f"{here}/Attributes"}}
        if full:
            attributes = {
                "results": [
                    {
                        "__metadata": {"id": f"{here}/Attributes('{quote(name)}')", "type": "DHuS.Attribute"},
                        "Id": name,
                        "Name": name,
                        "ContentType": "text/plain",
                        "ContentLength": str(len(str(value))),
                        "Value": str(value),
                        "Category": "product",
                    }
                    for name, value in _attributes(record).items()
                ]
            }
        return {
            "__metadata": {
                "id": here,
                "uri": here,
                "type": "DHuS.Product",
                "content_type": "application/octet-stream",
                "media_src": f"{here}/$value",
                "edit_media": f"{here}/$value",
            },
            "Id": record.id,
            "Name": record.name.removesuffix(".SAFE"),
            "ContentType": "application/octet-stream",
            "ContentLength": str(digest.size),
            "ChildrenNumber": "1",
            "Value": None,
            "CreationDate": _date(record.published),
            "IngestionDate": _date(record.published),
            "ModificationDate": _date(record.published),
            "EvictionDate": None,
            "Online": not (self._offline(record) or fault == "evicted"),
            "OnDemand": False,
            "ContentDate": {
                "__metadata": {"type": "DHuS.TimeRange"},
                "Start": _date(record.start),
                "End": _date(record.stop),
            },
            "Checksum": checksum,
            "ContentGeometry": _gml(record.footprint),
            "Products": {"__deferred": {"uri": f"{here}/Products"}},
            "Class": {"__deferred": {"uri": f"{here}/Class"}},
            "Nodes": {"__deferred": {"uri": f"{here}/Nodes"}},
            "Attributes": attributes,
        }

    def _bytes(self, record: Record, names: list[str]) -> Answer:
        if self._offline(record):
            # the first requests start its retrieval, more than the quota allows are refused
            said = f"Product {record.id} is not online: its retrieval has been triggered"
            return text(f"<html><body><h1>202</h1><p>{said}</p></body></html>", 202, cause_message=said)
        if not names:
            path = self._held.workshop.zip(record)
            name = record.name.removesuffix(".SAFE") + ".zip"
            return file_answer(path, name=name, etag=f'"{self._held.workshop.digest(record).md5}"')
        place = find_node(record, names)
        if place is None or not place.is_file():
            return _error(f"Invalid key ({names[-1]}) to access Nodes", 404, "InvalidKeyException : ")
        return file_answer(place, name=place.name)


_XMLNS: Final = {
    "xmlns:opensearch": "http://a9.com/-/spec/opensearch/1.1/", "xmlns": "http://www.w3.org/2005/Atom",
}  # fmt: skip


def _order(given: str) -> list[tuple[str, bool]]:
    parts = [re.fullmatch(r"\s*(\w+)(?:\s+(asc|desc))?\s*", part) for part in given.split(",")]
    if None in parts:
        raise QueryError(f"orderby cannot be read: {given}")
    return [(part[1].lower(), part[2] == "desc") for part in parts if part]


def _feed(
    *,
    request: Request,
    given: Mapping[str, str],
    page: list[dict[str, Any]],
    total: int,
    rows: int,
    start: int,
) -> dict[str, Any]:
    q = given.get("q", "*")
    base = f"{request.base}{_ROOT}/search?q={q}"
    address: Callable[[int], str] = lambda place: f"{base}&start={place}&rows={rows}&format=json"  # noqa: E731
    links = [("self", start), ("first", 0), ("last", max(0, total - 1) // max(rows, 1) * max(rows, 1))]
    if start + rows < total:
        links.insert(2, ("next", start + rows))
    feed: dict[str, Any] = {
        **_XMLNS,
        "title": f"DHuS search results for: {q} ({LABEL})",
        "subtitle": f"Displaying {start} to {start + len(page) - 1} of {total} total results.",
        "updated": "2024-01-01T00:00:00.000Z",
        "author": {"name": f"eo archive ({LABEL})"},
        "id": base,
        "opensearch:totalResults": str(total),
        "opensearch:startIndex": str(start),
        "opensearch:itemsPerPage": str(rows),
        "opensearch:Query": {"role": "request", "searchTerms": q, "startPage": "1"},
        "link": [{"rel": rel, "type": "application/json", "href": address(place)} for rel, place in links],
    }
    if page:
        feed["entry"] = page[0] if len(page) == 1 else page
    return feed


def _as_xml(feed: Mapping[str, Any]) -> str:
    def attributes(values: Mapping[str, str]) -> str:
        return "".join(f' {name}="{escape(value, {chr(34): "&quot;"})}"' for name, value in values.items())

    def entry(values: Mapping[str, Any]) -> str:
        lines = [
            f"<{name}>{escape(values[name])}</{name}>" for name in ("title", "id", "summary", "ondemand")
        ]
        lines += [f"<link{attributes(link)}/>" for link in values["link"]]
        for sort in ("date", "int", "double", "str"):
            rows = values.get(sort, [])
            for row in rows if isinstance(rows, list) else [rows]:
                lines.append(f"<{sort}{attributes({'name': row['name']})}>{escape(row['content'])}</{sort}>")
        return "<entry>" + "".join(lines) + "</entry>"

    entries = feed.get("entry", [])
    rows = entries if isinstance(entries, list) else [entries]
    plain = ("title", "subtitle", "updated", "id", "opensearch:totalResults", "opensearch:startIndex",
             "opensearch:itemsPerPage")  # fmt: skip
    return (
        '<?xml version="1.0" encoding="utf-8"?>'
        f"<feed{attributes(_XMLNS)}>"
        + "".join(f"<{name}>{escape(feed[name])}</{name}>" for name in plain)
        + f"<author><name>{escape(feed['author']['name'])}</name></author>"
        + "".join(f"<link{attributes(link)}/>" for link in feed["link"])
        + "".join(entry(values) for values in rows)
        + "</feed>"
    )


def _attributes(record: Record) -> dict[str, Any]:
    facts: dict[str, Any] = {
        "Filename": record.name,
        "Identifier": record.name.removesuffix(".SAFE"),
        "Format": "SAFE",
        "Date": iso(record.start),
        "Satellite name": _PLATFORMS[record.collection],
        "Orbit number (start)": record.absolute_orbit,
        "Relative orbit (start)": record.orbit,
        "Pass direction": record.direction,
    }
    if record.collection == "sentinel-2-l2a":
        facts |= {
            "Cloud cover percentage": record.cloud,
            "Tile Identifier": record.tile,
            "Processing baseline": record.baseline,
            "Product type": "S2MSI2A",
        }
    return facts


def _node(place: Path, address: str) -> dict[str, Any]:
    folder = place.is_dir()
    return {
        "__metadata": {"id": address, "uri": address, "type": "DHuS.Node", "media_src": f"{address}/$value"},
        "Id": place.name,
        "Name": place.name,
        "ContentType": "Item" if folder else "application/octet-stream",
        "ContentLength": "0" if folder else str(place.stat().st_size),
        "ChildrenNumber": str(len(node_children(place))),
        "Value": None,
        "Nodes": {"__deferred": {"uri": f"{address}/Nodes"}},
        "Attributes": {"__deferred": {"uri": f"{address}/Attributes"}},
    }


def _date(moment: datetime) -> str:
    return f"/Date({round(moment.timestamp() * 1000)})/"


def _gml(shape: Any) -> str:
    """The footprint's outer ring, latitude first."""
    part = getattr(shape, "geoms", [shape])[0]
    points = " ".join(f"{y:.9g},{x:.9g}" for x, y in part.exterior.coords)
    return (
        '<gml:Polygon srsName="http://www.opengis.net/gml/srs/epsg.xml#4326" '
        'xmlns:gml="http://www.opengis.net/gml">\n   <gml:outerBoundaryIs>\n      <gml:LinearRing>\n'
        f"         <gml:coordinates>{points}</gml:coordinates>\n      </gml:LinearRing>\n"
        "   </gml:outerBoundaryIs>\n</gml:Polygon>"
    )


def _error(message: str, status: int, cause: str = "") -> Answer:
    return text(
        "<?xml version='1.0' encoding='UTF-8'?><error "
        'xmlns="http://schemas.microsoft.com/ado/2007/08/dataservices/metadata"><code/>'
        f'<message xml:lang="en">{escape(message)}</message></error>',
        status,
        type="application/xml",
        cause_message=_latin(f"{cause}{message}"),
    )


def _latin(words: str) -> str:
    """Words that may stand in a header."""
    return re.sub(r"[^\x20-\x7e]", "?", words)


def _unauthorised() -> Answer:
    return text(
        '<!doctype html><html lang="en"><head><title>HTTP Status 401 – Unauthorized</title></head><body>'
        "<h1>HTTP Status 401 – Unauthorized</h1><p><b>Message</b> Unauthorized</p></body></html>",
        401,
        WWW_Authenticate='Basic realm="dhus"',
    )
