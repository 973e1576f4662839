"""What services share that keep whole SAFE products and show their folders as OData nodes: CDSE, DHuS."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence

from eo_pipeline.acquire.products import Product, Query, RemoteFile
from eo_pipeline.acquire.sources.catalogue import Entry, find_files, in_wanted_order, size_of
from eo_pipeline.errors import ArchiveError


class Nodes:
    """The files of products by the folders a service lists; each folder is asked for once.

    Parameters
    ----------
    source
        How messages call the service.
    address
        Where a node lies, by its path below the SAFE folder in parts.
    listed
        The rows of a folder at its address, or whatever else came.
    """

    def __init__(
        self,
        source: str,
        address: Callable[[Product, Sequence[str]], str],
        listed: Callable[[str], object],
    ) -> None:
        self._source, self._address, self._listed = source, address, listed
        self._known: dict[tuple[str, tuple[str, ...]], list[Entry]] = {}
        self._lock = threading.Lock()

    def files(
        self, product: Product, keys: Sequence[str], offered: Mapping[str, RemoteFile]
    ) -> tuple[RemoteFile, ...]:
        """The files that `keys` name, in that order; those that are not among `offered` are looked for.

        Raises
        ------
        ArchiveError
            The product has no such file, or a folder cannot be listed.
        """
        found = dict(offered)
        if missing := [key for key in keys if key not in found]:
            for key, (path, size) in find_files(missing, lambda p: self._entries(product, p)).items():
                href = self._address(product, path.split("/")) + "/$value"
                found[key] = RemoteFile(key, path, href, size)
        return in_wanted_order(product, keys, found)

    def _entries(self, product: Product, parts: tuple[str, ...]) -> list[Entry]:
        with self._lock:
            known = self._known.get((product.id, parts))
        if known is not None:
            return known
        rows = self._listed(self._address(product, parts))
        if not isinstance(rows, list) or not all(isinstance(row, Mapping) and "Name" in row for row in rows):
            raise ArchiveError(
                f"{self._source}: the folder {'/'.join(parts) or '.'} of {product.name} cannot be listed; "
                f"the answer was {str(rows)[:200]!r}. Try again later, or take another source."
            )
        entries = [(str(row["Name"]), size_of(row.get("ContentLength"))) for row in rows]
        with self._lock:
            self._known[product.id, parts] = entries
        return entries


def whole(product: Product, href: str) -> RemoteFile:
    """The whole product as one zip."""
    name = product.name.removesuffix(".SAFE") + ".zip"
    return RemoteFile("product", name, href, product.size, product.checksums)


def no_windows(source: str, file: RemoteFile) -> ArchiveError:
    """What to tell who wants windows of a raster here."""
    return ArchiveError(f'{source} serves whole files only ({file.path}): set [source] read = "download".')


def require(source: str, query: Query, collections: Iterable[str]) -> None:
    """Refuse a collection that the service has not.

    Raises
    ------
    ArchiveError
        It has not.
    """
    if query.collection not in (having := tuple(collections)):
        raise ArchiveError(
            f"{source} has no {query.collection}; it has {', '.join(having)}. Take planetary-computer for it."
        )
