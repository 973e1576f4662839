"""The Copernicus Data Space Ecosystem (CDSE): OData or STAC search, single files through Nodes or S3.

Its rules are met where they bite: `$skip` ends at 10 000, so long answers are cut into shorter periods;
several hundred products share one start, so an answer of several pages is counted and asked again in halves
where a page border lost one; the download host is addressed directly, since a redirect from the catalogue's
host loses the token.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Literal
from urllib.parse import quote, urlencode

from eo_pipeline.acquire.checks import usable
from eo_pipeline.acquire.credentials import NoAccountError
from eo_pipeline.acquire.products import Collection, Health, Product, Query, RemoteFile
from eo_pipeline.acquire.sources import nodes, s3
from eo_pipeline.acquire.sources.catalogue import (
    Asked,
    Window,
    direction_of,
    footprint_of,
    in_order,
    in_wanted_order,
    key_of,
    plain_area,
    read_name,
    read_time,
    size_of,
    windows,
)
from eo_pipeline.acquire.sources.stac import ItemSearch
from eo_pipeline.acquire.sources.stac_items import product_of_item
from eo_pipeline.acquire.transport import Auth, Transport
from eo_pipeline.errors import ArchiveError

SearchBy = Literal["odata", "stac"]
Route = Literal["https", "s3"]

#: Products of one answer, and the last `$skip` the catalogue accepts.
PAGE: Final = 1000
SKIP_LIMIT: Final = 10_000
#: What each collection is called there: its collection and product type.
_COLLECTIONS: Final[Mapping[str, tuple[str, str]]] = {
    "sentinel-2-l2a": ("SENTINEL-2", "S2MSI2A"),
    "sentinel-2-l1c": ("SENTINEL-2", "S2MSI1C"),
    "sentinel-1-grd": ("SENTINEL-1", "IW_GRDH_1S"),
}
#: Attributes that are kept in `Product.properties`.
_KEPT: Final = (
    "processorVersion", "productType", "origin", "datastripId", "productGroupId", "processingDate",
    "operationalMode", "orbitNumber", "relativeOrbitNumber", "platformShortName", "platformSerialIdentifier",
    "qualityStatus", "timeliness",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class CdseAddresses:
    """Where the services lie; the public ones where nothing else is said."""

    catalogue: str = "https://catalogue.dataspace.copernicus.eu/odata/v1"
    download: str = "https://download.dataspace.copernicus.eu/odata/v1"
    token: str = "https://identity.dataspace.copernicus.eu/auth/realms/CDSE/protocol/openid-connect/token"  # noqa: S105 - an address
    stac: str = "https://stac.dataspace.copernicus.eu/v1"
    s3: str = "https://eodata.dataspace.copernicus.eu"

    @classmethod
    def below(cls, base: str) -> CdseAddresses:
        """All services of one host, as `eo archive` and mirrors lay them out."""
        base = base.rstrip("/")
        return cls(
            catalogue=f"{base}/odata/v1",
            download=f"{base}/odata/v1",
            token=f"{base}/auth/realms/CDSE/protocol/openid-connect/token",
            stac=f"{base}/stac/v1",
            s3=base,
        )


class CdseArchive:
    """See `Archive`. Searching needs no account, bytes do.

    Parameters
    ----------
    transport
        The shared transport.
    auth
        The shared token; None where no account is set up, and then only searching works.
    how_to_log_in
        What a user is told who has no account set up.
    credentials
        What `eo sources` says of the account.
    search_by
        "odata" or "stac"; both give the same products.
    route
        How bytes come: "https" (Nodes, with the token) or "s3" (with `s3_keys`).
    s3_keys
        Access key and secret of the S3 service.
    orbits
        Keeps products of these relative orbits only; empty for all.
    page, skip_limit
        Products of one answer, and the last `$skip` there is.
    """

    def __init__(
        self,
        transport: Transport,
        *,
        auth: Auth | None = None,
        how_to_log_in: str = "Set EO_CDSE_USERNAME and EO_CDSE_PASSWORD.",
        credentials: str = "",
        addresses: CdseAddresses | None = None,
        search_by: SearchBy = "odata",
        route: Route = "https",
        s3_keys: tuple[str, str] | None = None,
        orbits: Sequence[int] = (),
        name: str = "cdse",
        page: int = PAGE,
        skip_limit: int = SKIP_LIMIT,
    ) -> None:
        if route == "s3" and s3_keys is None:
            raise ArchiveError(
                f"{name}: the S3 route needs keys; set EO_CDSE_S3_KEY and EO_CDSE_S3_SECRET, or use https."
            )
        self._transport, self._auth, self._how = transport, auth, how_to_log_in
        self._credentials = credentials or ("account given" if auth else f"missing. {how_to_log_in}")
        self._addresses = addresses or CdseAddresses()
        self._search_by, self._route, self._keys = search_by, route, s3_keys
        self._orbits, self._name = tuple(orbits), name
        self._page, self._skip_limit = page, skip_limit
        self._nodes = nodes.Nodes(name, self._node, self._listed)

    @property
    def name(self) -> str:
        """See `Archive.name`."""
        return self._name

    @property
    def windows(self) -> bool:
        """See `Archive.windows`."""
        return False

    def search(self, query: Query) -> Iterator[Product]:
        """See `Archive.search`."""
        nodes.require(self._name, query, _COLLECTIONS)
        asked = Asked(query, orbits=self._orbits)
        batches = self._stac_batches(query) if self._search_by == "stac" else self._odata_batches(query)
        return (product for product in in_order(batches) if asked.wants(product))

    def files(self, product: Product, keys: Sequence[str]) -> tuple[RemoteFile, ...]:
        """See `Archive.files`; also refuses products that are not online."""
        if not product.online:
            raise ArchiveError(
                f"{self._name}: {product.name} is offline (moved to the long-term archive). Order it in "
                "the Data Workspace of dataspace.copernicus.eu, or let another provider serve it ([source] "
                "fallback)."
            )
        if self._route == "s3":
            return in_wanted_order(product, keys, self._s3_files(product))
        zipped = nodes.whole(product, f"{self._addresses.download}/Products({product.id})/$value")
        if product.files:  # a STAC item: its size is that of these files
            zipped = replace(zipped, size=None)
        offered = {file.key: file for file in (*product.files, zipped)}
        return self._nodes.files(product, keys, offered)

    def open(self, file: RemoteFile) -> str:
        """See `Archive.open`: there is no reading in windows here."""
        raise nodes.no_windows(self._name, file)

    def fetch(self, file: RemoteFile, target: Path) -> None:
        """See `Archive.fetch`."""
        if file.href.startswith("s3://"):
            if self._keys is None:
                raise ArchiveError(
                    f"{self._name}: {file.path} lies in S3; set EO_CDSE_S3_KEY and its secret."
                )
            bucket = file.href.removeprefix("s3://").partition("/")[0]
            self._bucket(bucket, self._keys).download(file, target)
            return
        if self._auth is None:
            raise NoAccountError(
                f"{self._name}: downloading needs an account (free, at dataspace.copernicus.eu). {self._how}"
            )
        self._transport.download(file.href, target, size=file.size, checksums=file.checksums, auth=self._auth)

    def check(self) -> Health:
        """See `Archive.check`: asks for one product, and for a token and in S3 where these are set up."""
        address = self._addresses.catalogue
        credentials = self._credentials + ("; S3 keys given" if self._keys else "")
        try:
            self._transport.json(f"{address}/Products?{urlencode({'$top': 1})}")
        except Exception as error:  # whatever it is, it is the answer
            return Health(self._name, "cdse", address, credentials, reachable=False, message=str(error))
        said = ["answers"]
        if self._auth is not None:
            try:
                self._auth.headers()
                said.append("logged in")
            except Exception as error:
                said.append(f"does not log in: {error}")
        if self._keys is not None:
            said.append(self._bucket("eodata", self._keys).check())
        if len(said) == 1:
            said.append("can be searched only")
        return Health(self._name, "cdse", address, credentials, True, "; ".join(said))

    # ---- OData
    def _odata_batches(self, query: Query) -> Iterator[list[Product]]:
        area = plain_area(query.geometry)
        for window in windows(query, months=12):
            for entries in self._complete(query, window, area):
                yield [product_of(entry, source=self._name, collection=query.collection) for entry in entries]

    def _complete(self, query: Query, window: Window, area: str) -> Iterator[list[Mapping[str, Any]]]:
        """All entries of a window, in one or several lists that follow in time."""
        first = self._ask(query, window, area, skip=0)
        total = first.get("@odata.count")
        if total is None or int(total) <= self._skip_limit or window.whole:
            rows = list(first["value"])
            while rows and (total is None or len(rows) < int(total)) and len(rows) <= self._skip_limit:
                more = self._ask(query, window, area, skip=len(rows))["value"]
                if not more:
                    break
                rows += more
            unique = {str(entry["Id"]): entry for entry in rows}
            one_page = len(rows) == len(first["value"])
            if total is None or len(unique) >= int(total) or (one_page and len(rows) == int(total)):
                yield list(unique.values())
                return
            if one_page or window.whole:
                raise ArchiveError(
                    f"{self._name} tells of {total} products sensed from {window.start} to {window.end} and "
                    f"delivers {len(unique)}. Try again later; if it stays so, search a shorter [season]."
                )
            # products of one start came in another order on the next page: some twice, some not at all
        for half in window.halves():
            yield from self._complete(query, half, area)

    def _ask(self, query: Query, window: Window, area: str, *, skip: int) -> Mapping[str, Any]:
        parameters = {
            "$filter": filter_of(query, window, area),
            "$orderby": "ContentDate/Start asc",
            "$top": str(self._page),
            "$skip": str(skip),
            "$count": "True",
            "$expand": "Attributes",
        }
        answer = self._transport.json(
            f"{self._addresses.catalogue}/Products?{urlencode(parameters, quote_via=quote, safe='$(),/:')}"
        )
        if not isinstance(answer, Mapping) or not isinstance(answer.get("value"), list):
            raise ArchiveError(
                f"{self._name} answers a search with something else than a list of products: "
                f"{str(answer)[:200]!r}. Look at {self._addresses.catalogue} in a browser; try again later."
            )
        return answer

    def _listed(self, address: str) -> object:
        answer = self._transport.json(f"{address}/Nodes")
        return answer.get("result", answer) if isinstance(answer, Mapping) else answer

    def _node(self, product: Product, parts: Sequence[str]) -> str:
        # uuid and names stand without quotes: with them the service answers DAT-ZIP-104
        path = "/".join(f"Nodes({quote(part)})" for part in (product.name, *parts))
        return f"{self._addresses.download}/Products({product.id})/{path}"

    # ---- S3
    def _s3_files(self, product: Product) -> dict[str, RemoteFile]:
        bucket, _, prefix = str(product.properties.get("S3Path", "")).strip("/").partition("/")
        if not prefix or self._keys is None:
            raise ArchiveError(
                f"{self._name}: {product.name} tells no place in S3; use the https route for it."
            )
        files = {}
        for path, size in self._bucket(bucket, self._keys).listing(prefix):
            if key := key_of(path):
                files[key] = RemoteFile(key, path, f"s3://{bucket}/{prefix}/{path}", size)
        return files

    def _bucket(self, bucket: str, keys: tuple[str, str]) -> s3.Bucket:
        return s3.Bucket(bucket, self._transport, endpoint=self._addresses.s3, keys=keys, source=self._name)

    # ---- STAC
    def _stac_batches(self, query: Query) -> Iterator[list[Product]]:
        search = ItemSearch(self._transport, self._addresses.stac, source=self._name)
        for window in windows(query, months=1):
            items = search.items(query.collection, plain_area(query.geometry), window)
            yield [self._of_item(item, query.collection) for item in items]

    def _direct(self, href: str) -> str:
        """The address at the download host; items may name another, which redirects and loses the token."""
        place = href.find("/Products(")
        return self._addresses.download + href[place:] if place >= 0 else href

    def _of_item(self, item: Mapping[str, Any], collection: Collection) -> Product:
        found = product_of_item(item, source=self._name, collection=collection)
        hrefs = [file.href for file in found.files]
        ids = {match[1] for href in hrefs if (match := re.search(r"/Products\(([^)]+)\)", href))}
        place = next(
            (p for a in item["assets"].values() if (p := _s3_folder(a.get("href", ""), found.name))), ""
        )
        files = tuple(
            RemoteFile(
                file.key, _below(file.href) or file.path, self._direct(file.href), file.size, file.checksums
            )
            for file in found.files
            if file.key != "item"
        )
        name = found.name if found.name.endswith(".SAFE") else f"{found.name}.SAFE"
        properties = {**found.properties} | ({"S3Path": place} if place else {})
        return Product(
            source=self._name,
            id=ids.pop() if len(ids) == 1 else found.id,
            name=name,
            collection=collection,
            tile=found.tile,
            sensed=found.sensed,
            footprint=found.footprint,
            baseline=found.baseline,
            orbit=found.orbit,
            direction=found.direction,
            cloud_cover=found.cloud_cover,
            size=found.size,
            properties=properties,
            files=files,
        )


def _below(href: str) -> str:
    """The path below the SAFE folder that a Nodes address points to."""
    return "/".join(re.findall(r"Nodes\(([^)]+)\)", href)[1:])


def _s3_folder(href: str, name: str) -> str:
    """The product's folder of an s3:// address, as OData's S3Path gives it."""
    found = re.match(rf"s3:/(/.+?/{re.escape(name.removesuffix('.SAFE'))}\.SAFE)(/|$)", href)
    return found[1] if found else ""


def filter_of(query: Query, window: Window, area: str) -> str:
    """The `$filter` of a search. Tiles are left out, as many would make the address too long, and so is the
    relative orbit: its type differs from product to product.
    """
    collection, product_type = _COLLECTIONS[query.collection]
    parts = [
        f"Collection/Name eq '{collection}'",
        _attribute("String", "productType", "eq", f"'{product_type}'"),
        f"OData.CSC.Intersects(area=geography'SRID=4326;{_tight(area)}')",
        f"ContentDate/Start ge {_time(window.start)}",
        f"ContentDate/Start lt {_time(window.end)}",
    ]
    if query.max_cloud is not None and query.collection == "sentinel-2-l2a":
        parts.append(_attribute("Double", "cloudCover", "le", f"{query.max_cloud:.2f}"))
    return " and ".join(parts)


def _attribute(kind: str, name: str, operator: str, value: str) -> str:
    return (
        f"Attributes/OData.CSC.{kind}Attribute/any(att:att/Name eq '{name}' and "
        f"att/OData.CSC.{kind}Attribute/Value {operator} {value})"
    )


def _tight(wkt: str) -> str:
    return wkt.replace(" (", "(").replace(", ", ",")


def _time(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03d}Z"


def product_of(entry: Mapping[str, Any], *, source: str, collection: Collection) -> Product:
    """An entry of an OData answer as a product.

    An empty Checksum and a ContentLength of 0 mean "unknown", as they do there. A product whose eviction date
    has passed counts as offline.

    Raises
    ------
    ArchiveError
        The entry lacks what every product has.
    """
    try:
        name, start = str(entry["Name"]), str(entry["ContentDate"]["Start"])
        product_id = str(entry["Id"])
    except (KeyError, TypeError) as error:
        raise ArchiveError(
            f"{source} lists a product without {error}: {str(entry)[:200]!r}. Its answers have changed; "
            "please report it."
        ) from error
    attributes = {str(a.get("Name")): a.get("Value") for a in entry.get("Attributes") or ()}
    told = read_name(name)
    orbit = told.orbit if told.orbit is not None else size_of(attributes.get("relativeOrbitNumber"))
    cloud = attributes.get("cloudCover")
    properties: dict[str, Any] = {key: attributes[key] for key in _KEPT if key in attributes}
    properties |= {
        key: entry[key]
        for key in ("S3Path", "OriginDate", "PublicationDate", "ModificationDate", "EvictionDate")
        if entry.get(key)
    }
    return Product(
        source=source,
        id=product_id,
        name=name,
        collection=collection,
        tile=told.tile or str(attributes.get("tileId") or ""),
        sensed=read_time(start, source=source),
        footprint=footprint_of(entry.get("GeoFootprint")) or _wkt_of(entry.get("Footprint")),
        baseline=told.baseline or _baseline(attributes, collection),
        orbit=orbit,
        direction=direction_of(attributes.get("orbitDirection")),
        cloud_cover=None if cloud is None else float(cloud),
        size=size_of(entry.get("ContentLength")),
        online=_online(entry),
        checksums=usable(
            {str(c.get("Algorithm")): str(c.get("Value") or "") for c in entry.get("Checksum") or ()}
        ),
        properties=properties,
    )


def _baseline(attributes: Mapping[str, Any], collection: Collection) -> str:
    return str(attributes.get("processorVersion") or "") if collection == "sentinel-2-l2a" else ""


def _wkt_of(footprint: object) -> str:
    found = re.match(r"geography'SRID=4326;(.+)'$", str(footprint or ""))
    return found[1] if found else ""


def _online(entry: Mapping[str, Any]) -> bool:
    if entry.get("Online") is False:
        return False
    try:
        evicted = datetime.fromisoformat(str(entry.get("EvictionDate")).replace("Z", "+00:00"))
    except ValueError:
        return True
    return evicted > datetime.now(UTC)
