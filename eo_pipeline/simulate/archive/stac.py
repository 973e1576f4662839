"""STAC APIs: Earth Search (/stac/v1), Planetary Computer (/pc/api, with its signatures), CDSE (/cdse).

Below /cdse all services of CDSE lie once more, with CDSE's own STAC API beside them.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qs, unquote, urlencode, urlsplit

from eo_pipeline.simulate.archive import stac_items
from eo_pipeline.simulate.archive.catalogue import Record
from eo_pipeline.simulate.archive.cdse import Cdse
from eo_pipeline.simulate.archive.files import members
from eo_pipeline.simulate.archive.holdings import LABEL, Holdings, Route
from eo_pipeline.simulate.archive.http import Answer, Request, file_answer, reply, text
from eo_pipeline.simulate.archive.stac_search import Asked, SearchError, page_of, read_search

_GEO: Final = "application/geo+json"
_CONFORMS: Final = (
    "https://api.stacspec.org/v1.0.0/core",
    "https://api.stacspec.org/v1.0.0/collections",
    "https://api.stacspec.org/v1.0.0/ogcapi-features",
    "https://api.stacspec.org/v1.0.0/item-search",
    "https://api.stacspec.org/v1.0.0/item-search#query",
    "https://api.stacspec.org/v1.0.0/item-search#sort",
    "http://www.opengis.net/spec/ogcapi-features-1/1.0/conf/core",
    "http://www.opengis.net/spec/ogcapi-features-1/1.0/conf/oas30",
    "http://www.opengis.net/spec/ogcapi-features-1/1.0/conf/geojson",
)
_S2_ACCOUNT, _S2_CONTAINER = "sentinel2l2a01", "sentinel2-l2"
_S1_ACCOUNT, _S1_CONTAINER = "sentinel1euwestrtc", "sentinel1-grd-rtc"
_DEM_ACCOUNT, _DEM_CONTAINER = "elevationeuwest", "copernicus-dem"
_DEM: Final = "cop-dem-glo-30"


@dataclass(frozen=True, slots=True)
class _Flavour:
    """One API: where it lies, what it is called, its collections as pairs of a record and its item."""

    prefix: str
    title: str
    collections: Mapping[str, str]
    items: Callable[[str, str], list[tuple[Record, dict[str, Any]]]]
    largest_page: int


class Stac:
    """See the module."""

    def __init__(self, holdings: Holdings) -> None:
        self._held = holdings
        self._cdse = Cdse(holdings)
        self._flavours = (
            _Flavour(
                "/stac/v1",
                "Earth Search by Element 84",
                {
                    "sentinel-2-l2a": "Sentinel-2 Level-2A, the offset of baseline 04.00 taken off",
                    "sentinel-2-c1-l2a": "Sentinel-2 Collection 1 Level-2A, numbers as made",
                    "sentinel-1-grd": "Sentinel-1 Level-1C Ground Range Detected (GRD)",
                    _DEM: "Copernicus DEM GLO-30",
                },
                self._earth_search,
                500,
            ),
            _Flavour(
                "/pc/api/stac/v1",
                "Microsoft Planetary Computer STAC API",
                {
                    "sentinel-2-l2a": "Sentinel-2 Level-2A",
                    "sentinel-1-rtc": "Sentinel 1 Radiometrically Terrain Corrected (RTC)",
                    _DEM: "Copernicus DEM GLO-30",
                },
                self._planetary,
                1000,
            ),
            _Flavour(
                "/cdse/stac/v1",
                "Copernicus Data Space Ecosystem (CDSE) STAC catalogue",
                {"sentinel-2-l2a": "Sentinel-2 Level-2A", "sentinel-1-grd": "Sentinel-1 Level-1 GRD"},
                self._of_cdse,
                1000,
            ),
        )

    def route(self, request: Request) -> Route | None:
        """How a request is answered; None where it is none of this service's."""
        for flavour in self._flavours:
            if request.path == flavour.prefix or request.path.startswith(flavour.prefix + "/"):
                return Route(
                    "metadata",
                    _key(request),
                    "open",
                    lambda flavour=flavour: self._api(flavour, request),  # type: ignore[misc]
                )
        if request.path.startswith("/cdse/"):
            return self._cdse.route(request.below("/cdse"))
        if request.path.startswith("/pc/api/sas/v1/"):
            return Route("token", request.path, "open", lambda: self._sign(request))
        if request.path.startswith("/cogs/"):
            return Route("data", request.path, "open", lambda: self._earth_search_file(request))
        if request.path.startswith("/blob/"):
            return Route("data", request.path, "sas", lambda: self._blob(request))
        return None

    # ---- the API
    def _api(self, flavour: _Flavour, request: Request) -> Answer:  # noqa: PLR0911 - one a path
        api = request.base + flavour.prefix
        rest = unquote(request.path.removeprefix(flavour.prefix)).rstrip("/")
        if rest == "":
            return reply(self._landing(flavour, api))
        if rest == "/conformance":
            return reply({"conformsTo": list(_CONFORMS)})
        if rest == "/collections":
            rows = [self._collection(flavour, api, name) for name in flavour.collections]
            return reply({"collections": rows, "links": [{"rel": "root", "href": api}]})
        if rest == "/search":
            return self._search(flavour, request, api, f"{api}/search")
        match = re.fullmatch(r"/collections/([\w-]+)(/items)?(?:/([^/]+))?", rest)
        if not match or match[1] not in flavour.collections or (match[3] and not match[2]):
            return _not_found(rest)
        if match[2] is None:
            return reply(self._collection(flavour, api, match[1]))
        if match[3] is None:
            return self._search(flavour, request, api, api + rest, collection=match[1])
        for _, item in flavour.items(match[1], request.base):
            if item["id"] == match[3]:
                return reply(item, type=_GEO)
        return _not_found(match[3])

    def _landing(self, flavour: _Flavour, api: str) -> dict[str, Any]:
        children = [
            {"rel": "child", "type": "application/json", "href": f"{api}/collections/{name}", "title": words}
            for name, words in flavour.collections.items()
        ]
        return {
            "type": "Catalog",
            "stac_version": "1.0.0",
            "id": flavour.prefix.strip("/").replace("/", "-"),
            "title": f"{flavour.title} ({LABEL})",
            "description": f"{LABEL}: products made by eo simulate, served on this machine",
            "conformsTo": list(_CONFORMS),
            "links": [
                {"rel": "self", "type": "application/json", "href": api},
                {"rel": "root", "type": "application/json", "href": api},
                {"rel": "conformance", "type": "application/json", "href": f"{api}/conformance"},
                {"rel": "data", "type": "application/json", "href": f"{api}/collections"},
                {"rel": "search", "type": _GEO, "href": f"{api}/search", "method": "GET"},
                {"rel": "search", "type": _GEO, "href": f"{api}/search", "method": "POST"},
                *children,
            ],
        }

    def _collection(self, flavour: _Flavour, api: str, name: str) -> dict[str, Any]:
        here = f"{api}/collections/{name}"
        records = [record for record, _ in flavour.items(name, "")]
        boxes = [record.footprint.bounds for record in records] or [(-180.0, -90.0, 180.0, 90.0)]
        west, south, east, north = zip(*boxes, strict=True)
        times = [f"{record.start:%Y-%m-%dT%H:%M:%SZ}" for record in records]
        return {
            "type": "Collection",
            "stac_version": "1.0.0",
            "id": name,
            "title": flavour.collections[name],
            "description": f"{flavour.collections[name]} ({LABEL})",
            "license": "proprietary",
            "extent": {
                "spatial": {"bbox": [[min(west), min(south), max(east), max(north)]]},
                "temporal": {"interval": [[min(times, default=None), max(times, default=None)]]},
            },
            "links": [
                {"rel": "self", "type": "application/json", "href": here},
                {"rel": "parent", "type": "application/json", "href": api},
                {"rel": "root", "type": "application/json", "href": api},
                {"rel": "items", "type": _GEO, "href": f"{here}/items"},
            ],
        }

    def _search(
        self, flavour: _Flavour, request: Request, api: str, here: str, *, collection: str = ""
    ) -> Answer:
        try:
            given = _given(request)
            asked = read_search(given, largest_page=flavour.largest_page)
        except SearchError as error:
            return reply({"code": "BadRequest", "description": str(error)}, 400)
        wanted = [collection] if collection else list(asked.collections or flavour.collections)
        rows = [
            pair
            for name in wanted
            if name in flavour.collections
            for pair in flavour.items(name, request.base)
        ]
        found = [item for record, item in rows if asked.wants(record, item)]
        page, token = page_of(found, asked)
        document = _page(
            page,
            matched=len(found),
            asked=asked,
            given=given,
            token=token,
            method=request.method,
            here=here,
            api=api,
        )
        return reply(document, type=_GEO)

    # ---- items
    def _optical(self) -> tuple[Record, ...]:
        return self._held.catalogue.of("sentinel-2-l2a")

    def _earth_search(self, collection: str, base: str) -> list[tuple[Record, dict[str, Any]]]:
        api, cogs = f"{base}/stac/v1", f"{base}/cogs/{collection}"
        if collection == _DEM:
            cells = self._held.catalogue.of(_DEM)
            return [(r, stac_items.cell_item(r, f"{cogs}/{r.name}/{r.name}.tif", api=api)) for r in cells]
        if collection == "sentinel-1-grd":
            return [
                (record, self._radar_item(record, base, api))
                for record in self._held.catalogue.of("sentinel-1-grd")
            ]
        return [
            (record, stac_items.earth_search_item(record, name, base=cogs, api=api, collection=collection))
            for name, record in self._named(collection).items()
        ]

    def _named(self, collection: str) -> dict[str, Record]:
        """Optical products by the ids Earth Search gives them."""
        if collection == "sentinel-2-c1-l2a":
            return {stac_items.collection1_id(r): r for r in self._optical() if r.baseline >= "05.00"}
        counted: defaultdict[str, int] = defaultdict(int)
        named = {}
        for record in sorted(self._optical(), key=lambda r: (r.sensed, r.made)):
            first = stac_items.earth_search_id(record)
            named[stac_items.earth_search_id(record, counted[first])] = record
            counted[first] += 1
        return named

    def _radar_item(self, record: Record, base: str, api: str) -> dict[str, Any]:
        # there as everywhere only in a bucket that bills the reader
        return stac_items.cdse_item(record, download=f"{base}/odata/v1", api=api, sizes=_sizes(record))

    def _planetary(self, collection: str, base: str) -> list[tuple[Record, dict[str, Any]]]:
        api = f"{base}/pc/api/stac/v1"
        if collection == _DEM:
            place = f"{base}/blob/{_DEM_ACCOUNT}/{_DEM_CONTAINER}/COP30_hh"
            cells = self._held.catalogue.of(_DEM)
            return [(r, stac_items.cell_item(r, f"{place}/{r.name}.tif", api=api)) for r in cells]
        if collection == "sentinel-1-rtc":
            place = f"{base}/blob/{_S1_ACCOUNT}/{_S1_CONTAINER}"
            records = self._held.catalogue.of("sentinel-1-rtc")
            return [(r, stac_items.planetary_radar_item(r, base=place, api=api)) for r in records]
        place = f"{base}/blob/{_S2_ACCOUNT}/{_S2_CONTAINER}"
        return [(r, stac_items.planetary_item(r, base=place, api=api)) for r in self._optical()]

    def _of_cdse(self, collection: str, base: str) -> list[tuple[Record, dict[str, Any]]]:
        api, download = f"{base}/cdse/stac/v1", f"{base}/cdse/odata/v1"
        records = self._held.catalogue.of(collection)  # type: ignore[arg-type]
        return [(r, stac_items.cdse_item(r, download=download, api=api, sizes=_sizes(r))) for r in records]

    # ---- files
    def _earth_search_file(self, request: Request) -> Answer:
        parts = unquote(request.path).split("/")[2:]
        collection, name, file = parts[0], parts[-2] if len(parts) > 2 else "", parts[-1]
        if collection == _DEM and (cell := self._cell(file)):
            return cell
        record = self._named(collection).get(name)
        if (
            record is None
            or unquote(request.path) != f"/cogs/{collection}/{stac_items.place_of(record, name)}/{file}"
        ):
            return text("<Error><Code>NoSuchKey</Code></Error>", 404, type="application/xml")
        known = {
            "granule_metadata.xml": f"GRANULE/{record.granule}/MTD_TL.xml",
            "product_metadata.xml": "MTD_MSIL2A.xml",
        }
        if file in known and (path := record.path / known[file]).is_file():
            return file_answer(path)
        band = record.band(file.removesuffix(".tif")) if file.endswith(".tif") else None
        if band is None:
            return text("<Error><Code>NoSuchKey</Code></Error>", 404, type="application/xml")
        moved = collection == "sentinel-2-l2a" and record.has_offset and band.name in stac_items.BANDS
        return self._raster(record.path / band.path, band.name, harmonised=moved)

    def _raster(self, source: Path, band: str, *, harmonised: bool) -> Answer:
        return _made(self._held.workshop.cog(source, harmonised=harmonised, categorical=band == "SCL"))

    def _cell(self, file: str) -> Answer | None:
        record = next((r for r in self._held.catalogue.of(_DEM) if f"{r.name}.tif" == file), None)
        return _made(self._held.workshop.cell(record)) if record else None

    def _sign(self, request: Request) -> Answer:
        rest = request.path.removeprefix("/pc/api/sas/v1/")
        if rest == "sign":
            href = request.parameters.get("href", "")
            match = re.match(r"/blob/(\w+)/([\w-]+)/", urlsplit(href).path)
            if not match:
                return reply({"detail": "Not a blob storage address"}, 400)
            token, until = self._held.signatures.sign(match[1], match[2])
            joint = "&" if urlsplit(href).query else "?"
            return reply({"msft:expiry": until, "href": f"{href}{joint}{token}"})
        match = re.fullmatch(r"token/(\w+)/([\w-]+)", rest)
        if not match or (match[1], match[2]) not in (
            (_S2_ACCOUNT, _S2_CONTAINER),
            (_S1_ACCOUNT, _S1_CONTAINER),
            (_DEM_ACCOUNT, _DEM_CONTAINER),
        ):
            return reply({"detail": "Not Found"}, 404)
        token, until = self._held.signatures.sign(match[1], match[2])
        return reply({"msft:expiry": until, "token": token})

    def _blob(self, request: Request) -> Answer:
        account, container, *parts = unquote(request.path).split("/")[2:]
        if not parts or not self._held.signatures.good(request.query, account, container):
            return text(
                '<?xml version="1.0" encoding="utf-8"?><Error><Code>AuthenticationFailed</Code><Message>'
                "Server failed to authenticate the request. Make sure the value of Authorization header is "
                "formed correctly including the signature.</Message></Error>",
                403,
                type="application/xml",
            )
        path = self._blob_file(account, parts)
        return path or text("<Error><Code>BlobNotFound</Code></Error>", 404, type="application/xml")

    def _blob_file(self, account: str, parts: list[str]) -> Answer | None:
        if account == _DEM_ACCOUNT:
            return self._cell(parts[-1])
        if account == _S1_ACCOUNT:
            record = self._held.catalogue.get(parts[0]) or next(
                (r for r in self._held.catalogue.of("sentinel-1-rtc") if r.path.name == parts[0]), None
            )
            inner = "/".join(parts[1:])
        else:
            place = next((n for n, part in enumerate(parts) if part.endswith(".SAFE")), -1)
            record = next((r for r in self._optical() if place >= 0 and r.name == parts[place]), None)
            inner = "/".join(parts[place + 1 :])
        if record is None:
            return None
        band = next((b for b in record.bands if b.path.removesuffix(".jp2") + ".tif" == inner), None)
        if band is not None:
            return self._raster(record.path / band.path, band.name, harmonised=False)
        # compared with what is there and never joined, so that no ".." leads out
        found = next(
            (p for p in members(record.path) if p.relative_to(record.path).as_posix() == inner), None
        )
        return file_answer(found) if found else None


def _sizes(record: Record) -> dict[str, int]:
    return {path.relative_to(record.path).as_posix(): path.stat().st_size for path in members(record.path)}


def _made(path: Path) -> Answer:
    # the same wherever and whenever it was made
    return file_answer(path, etag=f'"{hashlib.md5(path.name.encode(), usedforsecurity=False).hexdigest()}"')


def _not_found(what: str) -> Answer:
    return reply({"code": "NotFoundError", "description": f"{what} not found"}, 404)


def _key(request: Request) -> str:
    body = f"#{hashlib.sha256(request.body).hexdigest()[:12]}" if request.body else ""
    return f"{request.path}?{request.query}{body}"


def _given(request: Request) -> dict[str, Any]:
    """A search as JSON, whether it came so or as a query."""
    if request.method == "POST":
        try:
            document = json.loads(request.body or b"{}")
        except ValueError as error:
            raise SearchError(f"The body is no JSON: {error}") from error
        if not isinstance(document, dict):
            raise SearchError("The body is no JSON object")
        return document
    given: dict[str, Any] = {name: values[-1] for name, values in parse_qs(request.query).items()}
    for name in ("collections", "ids"):
        if name in given:
            given[name] = given[name].split(",")
    for name in ("intersects", "query"):
        if name in given:
            try:
                given[name] = json.loads(given[name])
            except ValueError as error:
                raise SearchError(f"{name} is no JSON: {error}") from error
    if "bbox" in given:
        given["bbox"] = given["bbox"].split(",")
    if "sortby" in given:
        given["sortby"] = [
            {"field": part.lstrip("+- "), "direction": "desc" if part.startswith("-") else "asc"}
            for part in given["sortby"].split(",")
        ]
    return given


def _page(
    page: list[dict[str, Any]],
    *,
    matched: int,
    asked: Asked,
    given: Mapping[str, Any],
    token: str,
    method: str,
    here: str,
    api: str,
) -> dict[str, Any]:
    links: list[dict[str, Any]] = [{"rel": "root", "type": "application/json", "href": api}]
    if token:
        following = {**given, "next": token, "limit": asked.limit}
        link = {"rel": "next", "title": "Next page of Items", "method": method, "type": _GEO}
        if method == "POST":
            links.append({**link, "href": here, "merge": False, "body": following})
        else:
            flat = {
                name: json.dumps(value) if isinstance(value, dict)
                else ",".join(map(_flat, value)) if isinstance(value, list) else str(value)
                for name, value in following.items()
            }  # fmt: skip
            links.append({**link, "href": f"{here}?{urlencode(flat)}"})
    return {
        "type": "FeatureCollection",
        "stac_version": "1.0.0",
        "stac_extensions": [],
        "context": {"limit": asked.limit, "matched": matched, "returned": len(page)},
        "numberMatched": matched,
        "numberReturned": len(page),
        "features": page,
        "links": links,
    }


def _flat(value: Any) -> str:
    if isinstance(value, dict):  # an entry of sortby
        return ("-" if value.get("direction") == "desc" else "+") + str(value["field"])
    return str(value)
