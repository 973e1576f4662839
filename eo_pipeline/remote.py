"""From an archive to what a run may read: products fetched to disk, or read where they lie."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING

from eo_pipeline.acquire.completeness import Completeness
from eo_pipeline.acquire.fetch import FetchProgress, fetch_season
from eo_pipeline.acquire.ledger import Ledger
from eo_pipeline.acquire.products import Archive, Query
from eo_pipeline.acquire.screening import read_region
from eo_pipeline.acquire.sources.registry import open_archives
from eo_pipeline.acquire.transport import Transport
from eo_pipeline.scenes.items import read_remote
from eo_pipeline.season import Season

if TYPE_CHECKING:
    from eo_pipeline.scenes.sentinel2 import Sentinel2Product


def acquire(
    season: Season,
    *,
    fetch: bool,
    on_progress: Callable[[FetchProgress], None] | None = None,
    on_result: Callable[[Completeness], None] | None = None,
) -> tuple[Sentinel2Product, ...] | None:
    """Bring a season's products to disk, or find those that are read in windows.

    Parameters
    ----------
    fetch : bool
        Ask the archive for what is new; False takes what is on disk.
    on_result : callable, optional
        Told what came and what did not; a scene that could not be had is no error.

    Returns
    -------
    tuple of Sentinel2Product, or None
        Products to read where they are, with `read = "windows"`; None where the run reads [source] root.

    Raises
    ------
    ArchiveError
        No source answers.
    """
    spec = season.source.sentinel
    if spec is None or not spec.providers or not (fetch or spec.windows):
        return None
    with ExitStack() as stack:
        transport = Transport()
        stack.callback(transport.session.close)
        archives = open_archives(season, transport=transport)
        if fetch:
            result = fetch_season(season, archives, on_progress=on_progress)
            if on_result is not None:
                on_result(result)
        return _where_they_are(season, archives[:1]) if spec.windows else None


def _where_they_are(season: Season, archives: Sequence[Archive]) -> tuple[Sentinel2Product, ...]:
    """What the first archive holds, less what the screening of its scene classification left out."""
    spec, region = season.source.sentinel, read_region(season.region)
    assert spec is not None
    query = Query("sentinel-2-l2a", region.wkt, season.start, season.end, spec.tiles)
    with Ledger(season.source.root) as ledger:
        cloudy = {row.name for row in ledger.products(query.collection) if row.state == "screened-out"}
    found = []
    for archive in archives:
        for product in archive.search(query):
            if product.name in cloudy:
                continue
            files = archive.files(product, tuple(season.source.bands))
            found.append(read_remote(product, {file.key: archive.open(file) for file in files}))
    return tuple(found)
