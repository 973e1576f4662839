"""CDSE's OData: search without an account, bytes of products and of their single files with a token."""

from __future__ import annotations

import hashlib
import json
import re
import uuid
from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, unquote, urlencode

import shapely.geometry

from eo_pipeline.simulate.archive.catalogue import Record
from eo_pipeline.simulate.archive.holdings import LABEL, Holdings, Route
from eo_pipeline.simulate.archive.http import Answer, Request, file_answer, iso, reply
from eo_pipeline.simulate.archive.odata import FilterError, read_filter, sort_key

TOKEN_PATH: Final = "/auth/realms/CDSE/protocol/openid-connect/token"  # noqa: S105 - an address
_ROOT: Final = "/odata/v1"
_COLLECTIONS: Final[Mapping[str, str]] = {
    "sentinel-2-l2a": "SENTINEL-2", "sentinel-2-l1c": "SENTINEL-2", "sentinel-1-grd": "SENTINEL-1",
}  # fmt: skip
_FAR: Final = "9999-12-31T23:59:59.999999Z"
#: What the download service says of each token it does not accept.
_DENIED: Final[Mapping[str, tuple[str, str]]] = {
    "none": ("DAT-ZIP-604", "Access token not found or invalid"),
    "expired": ("DAT-ZIP-109", "Expired signature! Token has expired"),
    "audience": ("DAT-ZIP-609", "Invalid audience of the access token"),
}


class Cdse:
    """See the module."""

    def __init__(self, holdings: Holdings) -> None:
        self._held = holdings

    def route(self, request: Request) -> Route | None:  # noqa: PLR0911 - one a path
        """How a request is answered; None where it is none of this service's."""
        if request.path == TOKEN_PATH:
            return Route("token", request.path, "cdse", lambda: self._held.tokens.answer(request))
        if not request.path.startswith(_ROOT + "/"):
            return None
        rest = request.path.removeprefix(_ROOT)
        if rest == "/Products":
            key = f"{request.path}?{request.query}"
            return Route("metadata", key, "cdse", lambda: self._search(request))
        if rest == "/Products/OData.CSC.FilterList" and request.method == "POST":
            key = f"{request.path}#{hashlib.sha256(request.body).hexdigest()[:12]}"
            return Route("metadata", key, "cdse", lambda: self._by_names(request))
        if match := re.fullmatch(r"/Attributes\(([\w-]+)\)", rest):
            return Route("metadata", request.path, "cdse", lambda: self._attribute_names(match[1]))
        if rest == "/DeletedProducts":
            empty = {"@odata.context": "$metadata#DeletedProducts", "value": []}
            return Route("metadata", request.path, "cdse", lambda: reply(empty))
        if rest.startswith("/Products("):
            data = rest.endswith(("/$value", "/$zip"))
            return Route(
                "data" if data else "metadata", request.path, "cdse", lambda: self._product(request, rest)
            )
        return None

    # ---- search
    def _listed(self) -> list[Record]:
        return [record for record in self._held.catalogue.records if record.collection in _COLLECTIONS]

    def _search(self, request: Request) -> Answer:
        given = {unquote(name): value for name, value in request.parameters.items()}
        top, problem = _whole(given, "$top", min(20, self._held.page_limit), self._held.page_limit)
        skip, other = _whole(given, "$skip", 0, self._held.skip_limit)
        if problem or other:
            return reply({"detail": [item for item in (problem, other) if item]}, 422)
        entries = [(record, self._entry(record)) for record in self._listed()]
        try:
            if given.get("$filter"):
                test = read_filter(given["$filter"])
                entries = [(r, entry) for r, entry in entries if test(entry, r.footprint)]
            # without an order there is none to rely on; here it is that of publication
            for get, down in reversed(sort_key(given.get("$orderby") or "PublicationDate asc")):
                entries.sort(key=lambda pair, get=get: get(pair[1]), reverse=down)  # type: ignore[misc]
        except FilterError as error:
            return reply({"detail": {"code": "CAT-ODATA-400", "message": str(error)}}, 400)
        expanded = {word for word in given.get("$expand", "").split(",") if word}
        document: dict[str, Any] = {"@odata.context": _context(expanded)}
        if given.get("$count", "").lower() == "true":
            document["@odata.count"] = len(entries)
        page = entries[skip : skip + top]
        document["value"] = [self._told(record, entry, expanded, request) for record, entry in page]
        # the next page is not told where it would lie beyond what may be skipped
        if skip + top < len(entries) and skip + top <= self._held.skip_limit:
            query = urlencode({**given, "$top": top, "$skip": skip + top})
            document["@odata.nextLink"] = f"{request.base}{_ROOT}/Products?{query}"
        return reply(document)

    def _by_names(self, request: Request) -> Answer:
        try:
            names = {str(item["Name"]) for item in json.loads(request.body)["FilterProducts"]}
        except (ValueError, KeyError, TypeError):
            return reply({"detail": [{"type": "missing", "loc": ["body", "FilterProducts"]}]}, 422)
        found = [record for record in self._listed() if record.name in names]
        rows = [self._told(record, self._entry(record), set(), request) for record in found]
        return reply({"@odata.context": "$metadata#Products", "value": rows})

    def _attribute_names(self, collection: str) -> Answer:
        names: dict[str, str] = {}
        for record in self._listed():
            if _COLLECTIONS[record.collection] == collection:
                names |= {a["Name"]: a["ValueType"] for a in _attributes(record)}
        if not names:
            return reply({"detail": {"message": f"Collection not found: {collection}"}}, 404)
        return reply([{"Name": name, "ValueType": kind} for name, kind in sorted(names.items())])

    def _entry(self, record: Record) -> dict[str, Any]:
        """An entry as far as it can be filtered by."""
        published = iso(record.published)
        return {
            "@odata.mediaContentType": "application/octet-stream",
            "Id": record.id,
            "Name": record.name,
            "ContentType": "application/octet-stream",
            "ContentLength": 0,
            "OriginDate": iso(record.published - timedelta(minutes=31)),
            "PublicationDate": published,
            "ModificationDate": published,
            "Online": not self._held.offline(record),
            "EvictionDate": _FAR,
            "S3Path": s3_path(record),
            "Checksum": [],
            "ContentDate": {"Start": iso(record.start), "End": iso(record.stop)},
            "Footprint": f"geography'SRID=4326;{record.footprint.wkt}'",
            "GeoFootprint": shapely.geometry.mapping(record.footprint),
            "Collection": {"Name": _COLLECTIONS[record.collection]},
            "Attributes": _attributes(record),
        }

    def _told(
        self, record: Record, entry: dict[str, Any], expanded: set[str], request: Request
    ) -> dict[str, Any]:
        """An entry as it is sent: with size and checksums, and with what is wrong about it."""
        told = {name: value for name, value in entry.items() if name not in ("Collection", "Attributes")}
        digest = self._held.workshop.digest(record)
        fault = self._held.faults.draw("facts", f"{_ROOT}/Products({record.id})")
        told["ContentLength"] = digest.size
        pairs = {"MD5": digest.md5, "BLAKE3": digest.blake3}
        if fault == "checksum-wrong":
            pairs = {name: digits[::-1] for name, digits in pairs.items()}
        if fault == "checksum-missing":  # the same products have no size there
            pairs, told["ContentLength"] = {}, 0
        if fault == "evicted":
            told["Online"], told["EvictionDate"] = False, iso(record.published + timedelta(days=30))
        told["Checksum"] = [
            {"Value": value, "Algorithm": name, "ChecksumDate": iso(record.published + timedelta(seconds=5))}
            for name, value in pairs.items()
        ]
        if "Attributes" in expanded:
            told["Attributes"] = entry["Attributes"]
        if "Assets" in expanded:
            told["Assets"] = []
        return told

    # ---- products
    def _product(self, request: Request, rest: str) -> Answer:  # noqa: PLR0911 - one a path
        match = re.fullmatch(r"/Products\(([^)]*)\)((?:/Nodes\([^/]*\))*)(/Nodes|/\$value|/\$zip)?", rest)
        if not match or any(mark in unquote(rest) for mark in "'\""):
            return refused("DAT-ZIP-104", "Malformed OData request path", 400)
        try:
            product_id = str(uuid.UUID(match[1]))
        except ValueError:
            return refused("DAT-ZIP-111", "Product ID is not a valid UUID", 422)
        names = [unquote(name) for name in re.findall(r"/Nodes\(([^/]*)\)", match[2])]
        record = self._held.catalogue.get(product_id)
        if record is None or record.collection not in _COLLECTIONS:
            return refused("DAT-ZIP-113", "Product not found", 404)
        if match[3] in ("/$value", "/$zip"):
            return self._bytes(request, record, names, match[3])
        if match[3] is None and not names:
            expanded = set(request.parameters.get("$expand", "").split(","))
            entry = self._told(record, self._entry(record), expanded, request)
            return reply({"@odata.context": "$metadata#Products/$entity", **entry})
        place = find_node(record, names)
        if place is None:
            return refused("DAT-ZIP-114", "Requested node was not found", 404)
        here = f"{request.base}{_ROOT}/Products({record.id}){match[2]}"
        if match[3] is None:
            return reply({"result": [_node(place, here)]})
        children = [record.path] if not names else node_children(place)
        return reply({"result": [_node(c, f"{here}/Nodes({quote(c.name)})") for c in children]})

    def _bytes(self, request: Request, record: Record, names: Sequence[str], ending: str) -> Answer:
        if (denied := _DENIED.get(self._held.tokens.state(request.bearer))) is not None:
            return refused(*denied, 401)
        if self._held.offline(record):
            return refused("DAT-ZIP-404", "Product is offline; it is not available for download", 404)
        if not names:
            name = record.name.removesuffix(".SAFE") + ".zip"
            return file_answer(
                self._held.workshop.zip(record), name=name, etag=f'"{self._held.workshop.digest(record).md5}"'
            )
        place = find_node(record, names)
        if place is None or not place.is_file() or ending == "/$zip":
            return refused("DAT-ZIP-114", "Requested node was not found or is no file", 404)
        return file_answer(place)


def refused(code: str, message: str, status: int) -> Answer:
    """An error as the download service words it."""
    request_id = str(uuid.uuid5(uuid.NAMESPACE_OID, code))
    return reply({"detail": {"code": code, "message": message}, "request_id": request_id}, status)


def find_node(record: Record, names: Sequence[str]) -> Path | None:
    """The file or folder of a product a path of node names leads to; None where there is none.

    Names are looked up and never joined to a path, so none leads out of the product.
    """
    if not names:
        return record.path
    if names[0] != record.name:
        return None
    place = record.path
    for name in names[1:]:
        found = next((child for child in node_children(place) if child.name == name), None)
        if found is None:
            return None
        place = found
    return place


def node_children(place: Path) -> list[Path]:
    """What lies in a folder, by name."""
    if not place.is_dir():
        return []
    return sorted(child for child in place.iterdir() if not child.name.startswith("."))


def _node(place: Path, address: str) -> dict[str, Any]:
    return {
        "Id": place.name,
        "Name": place.name,
        "ContentLength": place.stat().st_size if place.is_file() else 0,
        "ChildrenNumber": len(node_children(place)),
        "Nodes": {"uri": f"{address}/Nodes"},
    }


def _context(expanded: set[str]) -> str:
    inside = ",".join(f"{word}()" for word in ("Attributes", "Assets") if word in expanded)
    return f"$metadata#Products({inside})" if inside else "$metadata#Products"


def _whole(given: Mapping[str, str], name: str, default: int, highest: int) -> tuple[int, Any]:
    """A number of the query within its bounds, or what the service says of it."""
    text = given.get(name, str(default))
    where = {"loc": ["query", name], "input": text}
    if not re.fullmatch(r"-?\d+", text):
        return 0, {"type": "int_parsing", "msg": "Input should be a valid integer", **where}
    value = int(text)
    if value > highest:
        said = f"Input should be less than or equal to {highest}"
        return 0, {"type": "less_than_equal", "msg": said, "ctx": {"le": highest}, **where}
    if value < 0:
        said = "Input should be greater than or equal to 0"
        return 0, {"type": "greater_than_equal", "msg": said, "ctx": {"ge": 0}, **where}
    return value, None


def s3_path(record: Record) -> str:
    """Where a product lies in the object store."""
    day = f"{record.start:%Y/%m/%d}"
    if record.collection == "sentinel-1-grd":
        mode = record.identifiers["mode"]
        return f"/eodata/Sentinel-1/SAR/{mode}_GRDH_1S/{day}/{record.name}"
    level = "L1C" if record.collection == "sentinel-2-l1c" else "L2A"
    again = "_N0500" if record.baseline == "05.00" else ""
    return f"/eodata/Sentinel-2/MSI/{level}{again}/{day}/{record.name}"


def _attributes(record: Record) -> list[dict[str, Any]]:
    common: dict[str, Any] = {
        "origin": LABEL,
        "orbitNumber": record.absolute_orbit,
        "relativeOrbitNumber": record.orbit,
        "orbitDirection": record.direction,
        "processingDate": iso(record.made),
        "platformSerialIdentifier": record.platform[2],
        "beginningDateTime": iso(record.start),
        "endingDateTime": iso(record.stop),
    }
    kind = "S2MSI1C" if record.collection == "sentinel-2-l1c" else "S2MSI2A"
    if record.tile:
        own = {
            "tileId": record.tile,
            "cloudCover": record.cloud,
            "datastripId": record.identifiers["datastrip"],
            "productGroupId": record.identifiers["datatake"],
            "operationalMode": record.identifiers["datatake_type"],
            "processingLevel": kind,
            "processorVersion": record.baseline,
            "platformShortName": "SENTINEL-2",
            "instrumentShortName": "MSI",
            "productType": kind,
        }
    else:
        own = {
            "productType": record.identifiers["product_type"],
            "operationalMode": record.identifiers["mode"],
            "polarisationChannels": "&".join(record.polarisations),
            "swathIdentifier": record.identifiers["mode"],
            "timeliness": "Fast-24h",
            "platformShortName": "SENTINEL-1",
            "instrumentShortName": "SAR",
            "processingLevel": "LEVEL1",
        }
    return [_attribute(name, value) for name, value in (common | own).items()]


def _attribute(name: str, value: Any) -> dict[str, Any]:
    if isinstance(value, float):
        kind = "Double"
    elif isinstance(value, int):
        kind = "Integer"
    else:
        kind = "DateTimeOffset" if name.endswith(("Date", "DateTime")) else "String"
    return {
        "@odata.type": f"#OData.CSC.{kind}Attribute",
        "Name": name,
        "Value": value,
        "ValueType": kind,
    }
