"""Mirrors that still speak DHuS (OpenSearch and OData v1), searched through sentinelsat.

Of sentinelsat only the search is used, over our own transport: its session has no timeouts, its limit setters
are swapped, its details fail where a product has no checksum, and its download appends whole files to partial
ones where a server ignores the range.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from sentinelsat import SentinelAPI  # type: ignore[import-untyped]
from sentinelsat.exceptions import (  # type: ignore[import-untyped]
    QuerySyntaxError,
    SentinelAPIError,
)

from eo_pipeline.acquire.checks import usable
from eo_pipeline.acquire.products import Collection, Health, Product, Query, RemoteFile
from eo_pipeline.acquire.sources import nodes
from eo_pipeline.acquire.sources.catalogue import (
    Asked,
    Window,
    direction_of,
    in_order,
    plain_area,
    read_name,
    size_of,
    windows,
)
from eo_pipeline.acquire.transport import AnswerError, Auth, Transport
from eo_pipeline.errors import ArchiveError

_COLLECTIONS: Final[Mapping[str, tuple[str, str]]] = {
    "sentinel-2-l2a": ("Sentinel-2", "S2MSI2A"),
    "sentinel-1-grd": ("Sentinel-1", "GRD"),
}
_KEPT: Final = (
    "processingbaseline", "producttype", "processinglevel", "platformserialidentifier", "s2datatakeid",
    "datastripidentifier", "granuleidentifier", "ingestiondate", "orbitnumber", "size",
)  # fmt: skip
#: How long a product that was online is taken to stay so.
_ONLINE_S: Final = 600.0


class _Session:
    """What sentinelsat calls its session: `get` through the transport, and nothing else."""

    def __init__(self, transport: Transport, auth: Auth | None) -> None:
        self._transport, self._auth = transport, auth

    def get(self, url: str, *, params: Mapping[str, Any] | None = None) -> Any:
        """See `Transport.get`."""
        return self._transport.get(url, params=params, auth=self._auth)


class DhusArchive:
    """See `Archive`.

    Parameters
    ----------
    transport
        The shared transport.
    url
        Root of the service, the part before "search" and "odata/v1".
    auth
        User name and password.
    credentials
        What `eo sources` says of them.
    details
        Ask for each product whether it is online, its size and its checksum; one small request each, since
        the search does not tell.
    """

    def __init__(
        self,
        transport: Transport,
        *,
        url: str,
        auth: Auth | None = None,
        credentials: str = "none",
        name: str = "dhus",
        details: bool = True,
    ) -> None:
        if not url.startswith(("http://", "https://")):
            raise ArchiveError(f"{name}: {url!r} is no web address; correct [source] url.")
        self._transport, self._auth, self._name = transport, auth, name
        self._url = url.rstrip("/") + "/"
        self._credentials, self._details = credentials, details
        self._api = SentinelAPI(None, None, api_url=self._url, show_progressbars=False)
        self._api.session = _Session(transport, auth)
        # it warns of long queries and tells counts; both are said by our own messages
        self._api.logger.setLevel(logging.ERROR)
        self._lock = threading.Lock()
        self._online: dict[str, float] = {}
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
        asked = Asked(query)
        found = (product for product in in_order(self._batches(query)) if asked.wants(product))
        return (self._detailed(product) for product in found) if self._details else found

    def files(self, product: Product, keys: Sequence[str]) -> tuple[RemoteFile, ...]:
        """See `Archive.files`; also refuses products that are not online."""
        if not product.online:
            raise ArchiveError(self._offline(product.name))
        zipped = nodes.whole(product, f"{self._product(product.id)}/$value")
        return self._nodes.files(product, keys, {"product": zipped})

    def open(self, file: RemoteFile) -> str:
        """See `Archive.open`: there is no reading in windows here."""
        raise nodes.no_windows(self._name, file)

    def fetch(self, file: RemoteFile, target: Path) -> None:
        """See `Archive.fetch`; looks first whether the product is online.

        For an offline product DHuS answers 202 with a page about it, which is not to become the file.
        """
        product_id = file.href.partition("Products('")[2].partition("'")[0]
        if not self._is_online(product_id):
            raise ArchiveError(self._offline(file.path))
        try:
            self._transport.download(
                file.href, target, size=file.size, checksums=file.checksums, auth=self._auth
            )
        except AnswerError as error:
            self._online.pop(product_id, None)
            raise self._told(error) from error

    def check(self) -> Health:
        """See `Archive.check`: counts products, without listing any."""
        try:
            count = self._count(platformname="Sentinel-2")
        except Exception as error:  # whatever it is, it is the answer
            return Health(self._name, "dhus", self._url, self._credentials, False, str(error))
        said = f"answers; {count} products of Sentinel-2"
        return Health(self._name, "dhus", self._url, self._credentials, True, said)

    # ---- search
    def _batches(self, query: Query) -> Iterator[list[Product]]:
        area = plain_area(query.geometry, longest=30)  # DHuS cuts long queries off
        for window in windows(query, months=1):
            for rows in self._complete(query, window, area):
                yield [
                    product_of_row(row, source=self._name, collection=query.collection)
                    for row in rows.values()
                ]

    def _complete(self, query: Query, window: Window, area: str) -> Iterator[Mapping[str, Mapping[str, Any]]]:
        """Rows of a window; asked again in halves where a page border lost one."""
        platform, kind = _COLLECTIONS[query.collection]
        asked: dict[str, Any] = {
            "area": area,
            # begin positions have milliseconds: a whole second of overlap, and what comes twice is dropped
            "date": (window.start, window.end),
            "platformname": platform,
            "producttype": kind,
        }
        if query.max_cloud is not None and query.collection == "sentinel-2-l2a":
            asked["cloudcoverpercentage"] = (0, query.max_cloud)
        with self._translated():
            rows: Mapping[str, Mapping[str, Any]] = self._api.query(**asked, order_by="beginposition")
        if len(rows) <= self._api.page_size or len(rows) >= (told := self._count(**asked)):
            yield rows
        elif window.whole:
            raise ArchiveError(
                f"{self._name} tells of {told} products and delivers {len(rows)}. Try again later."
            )
        else:
            for half in window.halves():
                yield from self._complete(query, half, area)

    def _count(self, **asked: Any) -> int:
        with self._translated():
            return int(self._api.count(**asked))

    def _translated(self) -> _Translated:
        return _Translated(self)

    def _detailed(self, product: Product) -> Product:
        """A product with what only OData tells: online or not, exact size, checksum."""
        facts = self._facts(product.id)
        checksum = facts.get("Checksum") or {}
        online = facts.get("Online") is not False
        if online:
            self._remember(product.id)
        values = {name: getattr(product, name) for name in Product.__dataclass_fields__}
        return Product(
            **values
            | {
                "size": size_of(facts.get("ContentLength")) or product.size,
                "online": online,
                "checksums": usable({str(checksum.get("Algorithm") or ""): str(checksum.get("Value") or "")}),
            }
        )

    def _facts(self, product_id: str) -> Mapping[str, Any]:
        answer = self._json(f"{self._product(product_id)}?$format=json")
        facts = answer.get("d") if isinstance(answer, Mapping) else None
        if not isinstance(facts, Mapping):
            raise ArchiveError(
                f"{self._name} does not describe product {product_id}: {str(answer)[:200]!r}. "
                "Check that [source] url names the root of a DHuS."
            )
        return facts

    def _is_online(self, product_id: str) -> bool:
        with self._lock:
            if time.monotonic() < self._online.get(product_id, 0.0):
                return True
        online = self._facts(product_id).get("Online") is not False
        if online:
            self._remember(product_id)
        return online

    def _remember(self, product_id: str) -> None:
        with self._lock:
            self._online[product_id] = time.monotonic() + _ONLINE_S

    def _offline(self, what: str) -> str:
        return (
            f"{self._name}: {what} is offline (in the long-term archive). Order it at {self._url}, or let "
            "another provider serve it ([source] fallback)."
        )

    # ---- nodes
    def _listed(self, address: str) -> object:
        answer = self._json(f"{address}/Nodes?$format=json")
        told = answer.get("d") if isinstance(answer, Mapping) else None
        return told.get("results", answer) if isinstance(told, Mapping) else answer

    def _product(self, product_id: str) -> str:
        return f"{self._url}odata/v1/Products('{quote(product_id)}')"

    def _node(self, product: Product, parts: Sequence[str]) -> str:
        path = "/".join(f"Nodes('{quote(part)}')" for part in (product.name, *parts))
        return f"{self._product(product.id)}/{path}"

    def _json(self, url: str) -> Any:
        try:
            return self._transport.json(url, auth=self._auth)
        except AnswerError as error:
            raise self._told(error) from error

    def _told(self, error: AnswerError) -> ArchiveError:
        """An error status in the words of this source."""
        if error.status == 401:
            return AnswerError(
                f"{self._name} ({self._url}) refuses user name and password. Correct EO_DHUS_USERNAME and "
                "EO_DHUS_PASSWORD, or the keyring.",
                status=401, body=error.body, host=error.host,
            )  # fmt: skip
        if error.status == 202:  # its retrieval has begun
            return ArchiveError(self._offline("the product"))
        if error.status in (403, 503) and ("quota" in error.body.lower() or "flows" in error.body.lower()):
            return ArchiveError(
                f"{self._name} lets this account have no more for now ({error.body}). Go on later, or let "
                "another provider serve it ([source] fallback)."
            )
        return error


class _Translated:
    """Turns sentinelsat's errors into ours."""

    def __init__(self, archive: DhusArchive) -> None:
        self._archive = archive

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        archive = self._archive
        if isinstance(error, AnswerError):
            raise archive._told(error) from error
        if isinstance(error, QuerySyntaxError):
            raise ArchiveError(
                f"{archive.name} does not understand the query: {error.msg}. It may be another version of "
                "DHuS; take another source."
            ) from error
        if isinstance(error, SentinelAPIError):
            raise ArchiveError(
                f"{archive.name} ({archive._url}) does not answer as a DHuS does: {str(error)[:200]}. "
                "Check [source] url: it is the part before “search” and “odata/v1”."
            ) from error
        if isinstance(error, ValueError | KeyError | TypeError):
            raise ArchiveError(
                f"{archive.name} answers what sentinelsat cannot read ({type(error).__name__}: {error}). "
                "Take another source, and report it."
            ) from error


def product_of_row(row: Mapping[str, Any], *, source: str, collection: Collection) -> Product:
    """A row of sentinelsat's answer as a product; `gmlfootprint` and others may be missing.

    Raises
    ------
    ArchiveError
        The row lacks its id, name or time.
    """
    try:
        identifier, product_id = str(row["identifier"]), str(row["uuid"])
        begin = row["beginposition"]
    except KeyError as error:
        raise ArchiveError(
            f"{source} lists a product without {error}: {str(dict(row))[:200]!r}. Take another source."
        ) from error
    if not isinstance(begin, datetime):
        raise ArchiveError(f"{source} tells the time {begin!r} of {identifier}, which cannot be read.")
    told = read_name(identifier)
    orbit = row.get("relativeorbitnumber")
    cloud = row.get("cloudcoverpercentage")
    return Product(
        source=source,
        id=product_id,
        name=str(row.get("filename") or f"{identifier}.SAFE"),
        collection=collection,
        tile=told.tile or str(row.get("tileid") or ""),
        sensed=begin.replace(tzinfo=UTC) if begin.tzinfo is None else begin.astimezone(UTC),
        footprint=str(row.get("footprint") or ""),
        baseline=told.baseline or str(row.get("processingbaseline") or ""),
        orbit=told.orbit if told.orbit is not None else (int(orbit) if orbit is not None else None),
        direction=direction_of(row.get("orbitdirection")),
        cloud_cover=None if cloud is None else float(cloud),
        size=None,  # told as "110.44 MB" only
        properties={key: str(row[key]) for key in _KEPT if row.get(key) is not None},
    )
