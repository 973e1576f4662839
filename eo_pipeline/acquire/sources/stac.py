"""STAC APIs: Earth Search, Planetary Computer, and any other, through pystac-client over our own transport.

Items are described, not interpreted: scale and offset are kept in `Product.properties` as the provider tells
them and in `item.json`; whether they are true is found out in `scenes/radiometry.py`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, Final, Literal
from urllib.parse import urlsplit

import pystac
import pystac_client
import shapely
import shapely.geometry
from pystac_client.exceptions import APIError
from pystac_client.stac_api_io import StacApiIO

from eo_pipeline.acquire.answers import AnswerError, HostNotFoundError
from eo_pipeline.acquire.download import write_whole
from eo_pipeline.acquire.parts import Part, read_part
from eo_pipeline.acquire.products import Health, Product, Query, RemoteFile
from eo_pipeline.acquire.sources.catalogue import (
    Asked,
    Window,
    in_order,
    in_wanted_order,
    plain_area,
    windows,
)
from eo_pipeline.acquire.sources.sas import SasAuth, SasTokens
from eo_pipeline.acquire.sources.stac_items import product_of_item
from eo_pipeline.acquire.transport import Auth, Transport
from eo_pipeline.acquire.windows import remote_path
from eo_pipeline.errors import ArchiveError

Method = Literal["POST", "GET"]

#: Items of one page. Earth Search fails above some hundred, and its answers are bounded in bytes.
PAGE: Final = 100


@dataclass(frozen=True, slots=True)
class StacPreset:
    """A STAC API that is known by name: its address, what its collections are called, whether it signs."""

    url: str
    collections: Mapping[str, str] = field(default_factory=dict)
    sas: str = ""


PRESETS: Final[Mapping[str, StacPreset]] = {
    "earth-search": StacPreset(
        "https://earth-search.aws.element84.com/v1",
        {name: name for name in ("sentinel-2-l2a", "cop-dem-glo-30")},
    ),
    "earth-search-c1": StacPreset(
        "https://earth-search.aws.element84.com/v1", {"sentinel-2-l2a": "sentinel-2-c1-l2a"}
    ),
    "planetary-computer": StacPreset(
        "https://planetarycomputer.microsoft.com/api/stac/v1",
        {name: name for name in ("sentinel-2-l2a", "sentinel-1-rtc", "cop-dem-glo-30")},
        sas="https://planetarycomputer.microsoft.com/api/sas/v1",
    ),
}


class _TransportIO(StacApiIO):
    """pystac-client's requests through our transport: its timeouts, tries, limits and messages."""

    def __init__(self, transport: Transport, auth: Auth | None) -> None:
        super().__init__(max_retries=None)
        self.session = transport.session
        self._transport, self._auth = transport, auth
        self.attempts: int | None = None

    def update(self, *args: Any, **kwargs: Any) -> None:
        """Nothing: headers and parameters of the shared session are nobody's to change."""

    def request(
        self,
        href: str,
        method: str | None = None,
        headers: dict[str, str] | None = None,
        parameters: dict[str, Any] | None = None,
    ) -> str:
        """See `StacApiIO.request`; raises `ArchiveError` instead of pystac-client's errors."""
        if (method or "GET").upper() == "POST":
            answer = self._transport.post(
                href, json=parameters, headers=headers, auth=self._auth, attempts=self.attempts
            )
        else:
            answer = self._transport.get(href, params=parameters, headers=headers, auth=self._auth)
        return answer.content.decode("utf-8")


class ItemSearch:
    """Items of a STAC API for a place and a window of time, complete and each once.

    Parameters
    ----------
    transport
        The shared transport.
    url
        The API's landing page.
    source
        How messages call it.
    auth
        A token for the API's own host.
    page
        Items of one page.
    """

    def __init__(
        self, transport: Transport, url: str, *, source: str, auth: Auth | None = None, page: int = PAGE
    ) -> None:
        self._io = _TransportIO(transport, auth)
        self._url, self._source, self._page = url, source, page
        self._client: pystac_client.Client | None = None
        self._method: Method = "POST"

    def items(
        self, collection: str, area: str, window: Window | None, *, max_cloud: float | None = None
    ) -> list[dict[str, Any]]:
        """Items of `collection` that touch `area` (WKT); their order is the API's own.

        Raises
        ------
        ArchiveError
            The API cannot be searched, or keeps back items it tells of.
        """
        asked: dict[str, Any] = {
            "collections": [collection],
            "intersects": shapely.geometry.mapping(shapely.from_wkt(area)),
            "limit": self._page,
        }
        if window is not None:
            # STAC's intervals include their end; an item on it comes twice and is dropped later
            asked["datetime"] = f"{_iso(window.start)}/{_iso(window.end)}"
        if max_cloud is not None and self._open().conforms_to("QUERY"):
            asked["query"] = {"eo:cloud_cover": {"lte": max_cloud}}
        rows, told, pages = self._pages(asked)
        unique = {str(item.get("id")): item for item in rows}
        if told is None or len(unique) >= told or (pages <= 1 and len(rows) == told):
            # some heed no collection
            return [item for item in unique.values() if item.get("collection") in (None, collection)]
        if pages <= 1 or window is None or window.whole:
            raise ArchiveError(
                f"{self._source} tells of {told} items and delivers {len(unique)}. Try again later; if it "
                "stays so, search a shorter [season] or another provider."
            )
        return [
            item
            for half in window.halves()
            for item in self.items(collection, area, half, max_cloud=max_cloud)
        ]

    def landing(self) -> str:
        """The API's own title; one small request."""
        client = self._open()
        return str(client.title or client.id)

    def _open(self) -> pystac_client.Client:
        if self._client is None:
            try:
                self._client = pystac_client.Client.open(self._url, stac_io=self._io)
            except ArchiveError:
                raise
            except Exception as error:  # pystac raises KeyError and ValueError on what is no catalogue
                raise ArchiveError(
                    f"{self._url} is no STAC API ({type(error).__name__}: {error}). Correct [source] url: it "
                    "must name the landing page."
                ) from error
        return self._client

    def _pages(self, asked: Mapping[str, Any]) -> tuple[list[dict[str, Any]], int | None, int]:
        """Items, their number by the API's own account, and the number of pages."""
        if self._method == "GET":
            return self._read(asked, "GET")
        self._io.attempts = 3  # a search by POST is sometimes out of order while GET works
        try:
            return self._read(asked, "POST")
        except ArchiveError as error:
            if isinstance(error, HostNotFoundError) or (isinstance(error, AnswerError) and error.refused):
                raise
            try:
                found = self._read(asked, "GET")
            except ArchiveError:
                raise error from None
            self._method = "GET"
            return found
        finally:
            self._io.attempts = None

    def _read(self, asked: Mapping[str, Any], method: Method) -> tuple[list[dict[str, Any]], int | None, int]:
        rows: list[dict[str, Any]] = []
        seen: set[str] = set()
        told: int | None = None
        pages = 0
        try:
            search = self._open().search(method=method, **asked)
            for page in search.pages_as_dicts():
                if pages == 0:
                    told = _matched(page)
                pages += 1
                names = {str(item.get("id")) for item in page["features"]}
                if names <= seen:
                    raise ArchiveError(
                        f"{self._source} repeats its pages without end. Search another provider."
                    )
                seen |= names
                rows += page["features"]
        except ArchiveError:
            raise
        except (
            APIError,
            pystac.errors.STACError,
            NotImplementedError,
            ValueError,
            KeyError,
            TypeError,
        ) as error:
            raise ArchiveError(
                f"{self._source} ({self._url}) cannot be searched: {type(error).__name__}: "
                f"{str(error)[:200]}. It must be a STAC API with item search."
            ) from error
        return rows, told, pages


def _matched(page: Mapping[str, Any]) -> int | None:
    told = page.get("numberMatched", (page.get("context") or {}).get("matched"))
    return told if isinstance(told, int) else None


def _iso(moment: Any) -> str:
    return str(moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03d}Z")


class StacArchive:
    """See `Archive`. Cloud-optimised rasters can be read in windows or fetched.

    Parameters
    ----------
    transport
        The shared transport.
    preset
        A key of `PRESETS`, or "stac" for any other API, which then needs `url`.
    url
        The API's landing page, instead of the preset's.
    auth
        A token for the API's and the files' hosts.
    sas
        What signs addresses, instead of the preset's own.
    credentials
        What `eo sources` says of them.
    """

    def __init__(
        self,
        transport: Transport,
        *,
        preset: str = "earth-search",
        url: str | None = None,
        auth: Auth | None = None,
        sas: SasTokens | None = None,
        credentials: str = "none needed",
        name: str | None = None,
        page: int = PAGE,
    ) -> None:
        known = PRESETS.get(preset, StacPreset(""))
        address = url or known.url
        if not address:
            raise ArchiveError(
                f"Source {preset} needs the address of its STAC API: set [source] url. Known by name: "
                f"{', '.join(PRESETS)}."
            )
        self._transport, self._auth, self._name = transport, auth, name or preset
        self._credentials = credentials
        self._preset, self._url = known, address.rstrip("/")
        self._sas = sas or (SasTokens(transport, known.sas) if known.sas else None)
        self._search = ItemSearch(transport, self._url, source=self._name, auth=auth, page=min(page, PAGE))

    @property
    def name(self) -> str:
        """See `Archive.name`."""
        return self._name

    @property
    def windows(self) -> bool:
        """See `Archive.windows`."""
        return True

    def search(self, query: Query) -> Iterator[Product]:
        """See `Archive.search`."""
        collection = self._collection(query)
        asked = Asked(query)
        return (p for p in in_order(self._batches(query, collection)) if asked.wants(p))

    def files(self, product: Product, keys: Sequence[str]) -> tuple[RemoteFile, ...]:
        """See `Archive.files`."""
        found = product.files or self._anew(product)
        return in_wanted_order(product, keys, {file.key: file for file in found})

    def open(self, file: RemoteFile) -> str:
        """See `Archive.open`."""
        if not file.href.startswith(("http://", "https://")):
            raise ArchiveError(
                f'{self._name}: {file.href} is no web address; set [source] read = "download".'
            )
        return remote_path(file.href, self._name, self._url)

    def fetch(self, file: RemoteFile, target: Path) -> None:
        """See `Archive.fetch`; of the key "item" it is the item as JSON with sorted keys."""
        if file.key == "item":
            _write(self._item(file.href), target)
            return
        auth = self._auth_for(file)
        self._transport.download(file.href, target, size=file.size, checksums=file.checksums, auth=auth)

    def part(self, file: RemoteFile, start: int, stop: int) -> Part:
        """Bytes `start` to `stop` (not included) of a file; see `read_part`."""
        return read_part(self._transport, file.href, start, stop, auth=self._auth_for(file))

    def _auth_for(self, file: RemoteFile) -> Auth | None:
        if self._sas and self._sas.needed(file.href):
            return SasAuth(self._sas, (urlsplit(file.href).hostname or "").lower())
        return self._auth

    def check(self) -> Health:
        """See `Archive.check`: reads the landing page."""
        credentials = self._credentials
        try:
            title = self._search.landing()
        except Exception as error:  # whatever it is, it is the answer
            return Health(self._name, "stac", self._url, credentials, reachable=False, message=str(error))
        return Health(self._name, "stac", self._url, credentials, True, f"answers as “{title}”")

    def _collection(self, query: Query) -> str:
        if not self._preset.collections:
            return query.collection
        if query.collection not in self._preset.collections:
            raise ArchiveError(
                f"{self._name} has no {query.collection}; it has {', '.join(self._preset.collections)}. "
                "Take planetary-computer or cdse for it."
            )
        return self._preset.collections[query.collection]

    def _batches(self, query: Query, collection: str) -> Iterator[list[Product]]:
        area = plain_area(query.geometry)
        # a granule's time may lie some minutes after the start of its data take, by which it belongs to a day
        periods: Any = [None] if query.timeless else _later(windows(query, months=1))
        max_cloud = query.max_cloud if query.collection == "sentinel-2-l2a" else None
        for window in periods:
            items = self._search.items(collection, area, window, max_cloud=max_cloud)
            yield [product_of_item(i, source=self._name, collection=query.collection) for i in items]

    def _anew(self, product: Product) -> tuple[RemoteFile, ...]:
        """The files of a product that comes out of a ledger."""
        href = product.properties.get("self")
        if not href:
            return ()
        item = self._item(str(href))
        return product_of_item(item, source=self._name, collection=product.collection).files

    def _item(self, href: str) -> Mapping[str, Any]:
        item = self._transport.json(href, auth=self._auth)
        if not isinstance(item, Mapping) or item.get("type") != "Feature":
            raise ArchiveError(f"{self._name}: {href} is no STAC item any more; search again.")
        return item


def _later(periods: Iterable[Window]) -> Iterator[Window]:
    """The same windows, each ending half an hour later; what comes twice is dropped."""
    for window in periods:
        yield Window(window.start, window.end + timedelta(minutes=30))


def _write(item: Mapping[str, Any], target: Path) -> None:
    """A JSON document; the same item gives the same bytes."""
    write_whole(target, json.dumps(item, sort_keys=True, indent=1, ensure_ascii=False) + "\n")
