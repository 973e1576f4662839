"""What is wanted of each product of Sentinel-2, and how far it is fetched: what describes it first, then a
look through SCL, then the bands.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from eo_pipeline.acquire.estimate import wanted_bytes
from eo_pipeline.acquire.folders import ProductFolder, check_names, is_complete
from eo_pipeline.acquire.ledger import Ledger
from eo_pipeline.acquire.products import LEVEL1C_METADATA, METADATA, Archive, Product
from eo_pipeline.acquire.screening import Region, screen_file
from eo_pipeline.errors import ArchiveError
from eo_pipeline.season_source import LEVEL1C_BANDS, SCL

#: Says why the offset of a fetched product is not proven (empty where it is), given its folder and source.
Prover = Callable[[Path, str], str]


class QuarantinedError(ArchiveError):
    """A product that came whole and must not be used: its numbers cannot be told with certainty."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """A product that is there (`reason` empty) or was left out; `blocked` in percent over the region."""

    bytes: int
    blocked: float | None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Errand:
    """One product to bring from an archive into its own `folder`.

    `part`: it is a part of an observation, and what it does not show lies in another part. `on_sizes` is told
    how many bytes are to come, once the source has told the sizes.
    """

    archive: Archive
    product: Product
    ledger: Ledger
    folder: Path
    observation: str
    part: bool
    on_sizes: Callable[[int], None]

    @property
    def work(self) -> ProductFolder:
        """The folder to bring files into; refused where a name leads out of it."""
        check_names(self.product)
        return ProductFolder(self.archive, self.product, self.ledger, self.folder)


class Wanted(Protocol):
    """What is wanted of each product, and how it comes. `region` is the ground that counts; a product of
    which more than `max_cloud` percent are hidden is left out.
    """

    @property
    def region(self) -> Region: ...
    @property
    def max_cloud(self) -> float: ...

    def there(self, folder: Path) -> int | None:
        """Bytes of a whole product in its folder; None where it is not whole, or not what is wanted."""
        ...

    def bytes(self, product: Product) -> int:
        """How many bytes it will be, as far as the source tells."""
        ...

    def bring(self, errand: Errand) -> Outcome:
        """Fetch one product, as far as it is worth it; every file is tried even where one before it failed,
        so that the next call has less to do.

        Raises
        ------
        ArchiveError
            A file cannot be had; which one and why.
        QuarantinedError
            Everything is there, and its numbers are doubted.
        """
        ...


@dataclass(frozen=True, slots=True)
class WantedBands:
    """See `Wanted`: whole rasters of Sentinel-2, `bands` beside SCL.

    `prove` is asked before a product is called whole; None believes all.
    """

    bands: tuple[str, ...]
    region: Region
    max_cloud: float
    prove: Prover | None = None

    def first(self, product: Product) -> tuple[str, ...]:
        """Keys of what describes a product; the manifest first, because it proves the others."""
        if product.name.endswith(".SAFE"):
            return ("manifest", *(key for key in METADATA if key != "manifest"), SCL)
        return ("item", SCL)

    def there(self, folder: Path) -> int | None:
        """See `Wanted.there`."""
        return is_complete(folder, self.bands)

    def bytes(self, product: Product) -> int:
        """See `Wanted.bytes`."""
        return wanted_bytes(product, (*self.first(product), *self.bands))

    def bring(self, errand: Errand) -> Outcome:
        """See `Wanted.bring`: what describes a product and its SCL first, the bands if these are worth it."""
        work = errand.work
        work.describe(self.first(errand.product))
        screening = screen_file(work.path_of(SCL), self.region)
        if errand.part:
            screening = screening.of_part()
        if reason := screening.reason(self.max_cloud, self.region.what):
            return Outcome(work.bytes, screening.share, reason)
        work.bands(self.bands, errand.on_sizes)
        if self.prove is not None and (doubt := self.prove(errand.folder, errand.archive.name)):
            raise QuarantinedError(doubt)
        work.mark(errand.observation)
        return Outcome(work.bytes, screening.share)


@dataclass(frozen=True, slots=True)
class WantedLevel1C:
    """See `Wanted`: what s2cloudless looks at of a Level-1C product. Nothing is screened again: who asks
    names the observations whose Level 2A is used.
    """

    region: Region

    @property
    def max_cloud(self) -> float:
        """No limit."""
        return 100.0

    def there(self, folder: Path) -> int | None:
        """See `Wanted.there`."""
        return is_complete(folder, LEVEL1C_BANDS)

    def bytes(self, product: Product) -> int:
        """See `Wanted.bytes`."""
        return wanted_bytes(product, (*LEVEL1C_METADATA, *LEVEL1C_BANDS))

    def bring(self, errand: Errand) -> Outcome:
        """See `Wanted.bring`."""
        work = errand.work
        work.describe(LEVEL1C_METADATA)
        work.bands(LEVEL1C_BANDS, errand.on_sizes)
        work.mark(errand.observation)
        return Outcome(work.bytes, None)
