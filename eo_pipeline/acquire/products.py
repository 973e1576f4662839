"""What archives hold: products of a satellite, and the files of a product.

Plain data without I/O. Sources fill it (`acquire/sources/`), `acquire/fetch.py` turns it into files on disk,
and `scenes/` reads those.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from pathlib import Path
from typing import Any, Final, Literal, Protocol

Collection = Literal["sentinel-2-l2a", "sentinel-2-l1c", "sentinel-1-grd", "sentinel-1-rtc", "cop-dem-glo-30"]
Direction = Literal["ascending", "descending", ""]

#: Keys of the files that are no bands.
METADATA: Final = ("MTD_MSIL2A", "MTD_TL", "manifest")
LEVEL1C_METADATA: Final = ("manifest", "MTD_MSIL1C", "MTD_TL")
#: What sources call the identifier of the data strip.
_STRIPS: Final = ("datastripId", "s2:datastrip_id", "eopf:datastrip_id", "datastripidentifier")


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """One file of a product at a source.

    `key` says what it is: a band ("B04", "SCL", "vv"), metadata ("MTD_MSIL2A", "MTD_MSIL1C", "MTD_TL",
    "manifest", "item"), an annotation ("schema-calibration-vv"), or "product" for the whole as one zip.
    `path` is its place below the product's own folder, with forward slashes. `checksums` maps an algorithm in
    lower case (md5, sha256, sha3-256, blake3) to the digest in hexadecimal; empty where the source tells
    none.
    """

    key: str
    path: str
    href: str
    size: int | None = None
    checksums: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Product:
    """One observation as a source offers it.

    `name` is its folder on disk: "S2A_MSIL2A_….SAFE", or the item's id where the source serves single
    rasters. `tile` is the MGRS tile ("48SXD"), of an elevation model the cell ("N35E105"), empty for
    Sentinel-1. `sensed` is in UTC. `footprint` is WKT in longitude and latitude. `baseline` ("05.10") and
    `direction` are empty where unknown. `properties` are the source's own words: what the proof of the offset
    and the record of a run are made of.
    """

    source: str
    id: str
    name: str
    collection: Collection
    tile: str
    sensed: datetime
    footprint: str
    baseline: str = ""
    orbit: int | None = None
    direction: Direction = ""
    cloud_cover: float | None = None
    size: int | None = None
    online: bool = True
    checksums: Mapping[str, str] = field(default_factory=dict)
    properties: Mapping[str, Any] = field(default_factory=dict)
    files: tuple[RemoteFile, ...] = ()

    @property
    def observation(self) -> tuple[str, str, str]:
        """What was observed, whoever serves it: platform, minute of sensing and tile.

        Two products of one observation (reprocessed, or at two providers) share it, and so do its parts
        where a data strip ends within the tile; see `observations.same_part`.
        """
        platform = self.name[:3].upper()
        return platform, self.sensed.strftime("%Y%m%dT%H%M"), self.tile

    @property
    def group(self) -> str:
        """What it is counted and filed under: its tile, or the direction of its orbit where it has none."""
        return self.tile or self.direction or "none"

    @property
    def strip(self) -> str:
        """When the data strip began that it is cut from; empty where its source does not tell."""
        return strip_in(self.properties)


def strip_in(properties: Mapping[str, Any]) -> str:
    """When the data strip began, by what a source tells of a product; see `strip_of`."""
    return next((strip_of(str(properties[key])) for key in _STRIPS if key in properties), "")


def strip_of(identifier: str) -> str:
    """When a data strip began, in UTC, by its identifier; empty where that is none.

    >>> strip_of("S2B_OPER_MSI_L2A_DS_VGS2_20210122T155500_S20210122T133224_N02.14")
    '20210122T133224'
    """
    found = re.search(r"_DS_.+_S(\d{8}T\d{6})(?:_|$)", identifier)
    return found[1] if found else ""


@dataclass(frozen=True, slots=True)
class Query:
    """What is asked of a source: products of `collection` that touch `geometry` and were sensed in a period.

    `geometry` is WKT in longitude and latitude; `start` and `end` are days, both included. `tiles` keeps only
    those MGRS tiles, `max_cloud` (percent, by the provider's own figure) only clearer products.
    """

    collection: Collection
    geometry: str
    start: date
    end: date
    tiles: tuple[str, ...] = ()
    max_cloud: float | None = None

    @property
    def timeless(self) -> bool:
        """Whether it asks for what does not change with the season, so that its period says nothing."""
        return self.collection == "cop-dem-glo-30"


@dataclass(frozen=True, slots=True)
class Health:
    """What `eo sources` shows of a source: is it set up, does it answer, and what to do if not."""

    name: str
    kind: str
    address: str
    credentials: str
    reachable: bool | None
    message: str


class Archive(Protocol):
    """A source of products. One class each in `acquire/sources/`; all share one `Transport`."""

    @property
    def name(self) -> str:
        """How season files, ledger and messages call it."""
        ...

    @property
    def windows(self) -> bool:
        """Whether `open` gives paths: its rasters can be read in windows, without a download."""
        ...

    def search(self, query: Query) -> Iterator[Product]:
        """Products that answer the query, by time of sensing and then by name; lazily, page after page.

        Raises
        ------
        ArchiveError
            The source refuses or does not answer; the message names it and what to do.
        """
        ...

    def files(self, product: Product, keys: Sequence[str]) -> tuple[RemoteFile, ...]:
        """The files of a product that `keys` name, in that order (the issue calls them assets).

        Raises
        ------
        ArchiveError
            The product has no such file.
        """
        ...

    def open(self, file: RemoteFile) -> str:
        """The path `windows.Raster` reads windows of, without a download.

        Raises
        ------
        ArchiveError
            The source serves whole files only.
        """
        ...

    def fetch(self, file: RemoteFile, target: Path) -> None:
        """Bring one file's bytes to `target` through the shared transport: resumed, checked, atomic."""
        ...

    def check(self) -> Health:
        """Whether it is set up and answers; one small request, never an error."""
        ...
