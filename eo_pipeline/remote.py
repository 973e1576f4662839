"""From an archive to what a run may read: products fetched to disk, or read where they lie."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING

from eo_pipeline.acquire.accounts import FetchProgress
from eo_pipeline.acquire.completeness import Completeness
from eo_pipeline.acquire.fetch import FetchOptions
from eo_pipeline.acquire.ledger import not_brought
from eo_pipeline.acquire.observations import Observation, choose
from eo_pipeline.acquire.products import Archive, Query
from eo_pipeline.acquire.screening import read_region, tiles_of
from eo_pipeline.acquire.searching import Search
from eo_pipeline.acquire.season_fetch import level1c_fetcher, radar_fetcher, scene_fetcher, terrain_fetcher
from eo_pipeline.acquire.sources.registry import open_archives, open_radar, open_terrain
from eo_pipeline.acquire.transport import Transport
from eo_pipeline.errors import ArchiveError, RemoteReadError, told_by
from eo_pipeline.plan import make_plan
from eo_pipeline.run import SeasonRun
from eo_pipeline.scenes.items import read_remote
from eo_pipeline.scenes.proofs import prover
from eo_pipeline.season import Season

if TYPE_CHECKING:
    from eo_pipeline.scenes.sentinel2 import Sentinel2Product


def acquire(
    season: Season,
    *,
    fetch: bool,
    on_progress: Callable[[FetchProgress], None] | None = None,
    on_result: Callable[[Completeness], None] | None = None,
    on_note: Callable[[str], None] = lambda note: None,
) -> tuple[Sentinel2Product, ...] | None:
    """Bring a season's products to disk, or find those that are read in windows.

    Parameters
    ----------
    fetch : bool
        Ask the archive for what is new; False takes what is on disk.
    on_result : callable, optional
        Told what came and what did not, of Sentinel-2, its Level 1C, Sentinel-1 and the elevation model, each
        where an archive is named for it; a scene that could not be had is no error.
    on_note : callable, optional
        Told, in a line each, where products are read in windows if not at the first source.

    Returns
    -------
    tuple of Sentinel2Product, or None
        Products to read where they are, with `read = "windows"`; of one that several sources hold all
        copies, in the order the sources are tried. None where the run reads [source] root.

    Raises
    ------
    ArchiveError
        No source answers, or none can be read in windows.
    """
    spec = season.source.sentinel
    windows = spec is not None and spec.windows
    if not (fetch or windows):
        return None
    with ExitStack() as stack:
        transport = Transport()
        stack.callback(transport.session.close)
        archives = open_archives(season, transport=transport)
        results: list[Completeness] = []
        if fetch and archives:
            prove = prover(season.source.root)
            results.append(scene_fetcher(season, archives, prove=prove).run(on_progress))
            if level1c := level1c_fetcher(season, archives, results[0]):
                results.append(level1c.run(on_progress))
        if fetch and (radar := open_radar(season, transport=transport)):
            results.append(radar_fetcher(season, radar).run(on_progress))
        if fetch and (terrain := open_terrain(season, transport=transport)):
            results.append(terrain_fetcher(season, terrain).run(on_progress))
        if on_result is not None:
            for result in results:
                on_result(result)
        return _where_they_are(season, archives, on_note) if windows else None


def with_other_copies(
    job: SeasonRun,
    products: Sequence[Sentinel2Product],
    *,
    block: int | None = None,
    on_note: Callable[[str], None] = lambda note: None,
) -> SeasonRun:
    """Make the cube of a season that is read in windows, whatever its sources do meanwhile.

    Of a scene that can be read no more another source's copy is taken. Where there is none, it is left out
    and reported. What was made of the other scenes stays.

    Parameters
    ----------
    job : SeasonRun
        Alone on its work folder.
    products, block
        What its plan was made of.
    on_note : callable, optional
        Told of each such scene.

    Returns
    -------
    SeasonRun
        `job`, or one of a newer plan.
    """
    unread: dict[str, str] = {}
    while True:
        try:
            _ = job.cube
            return job
        except RemoteReadError as error:
            unread |= error.reasons
            for reason in error.reasons.values():
                on_note(f"{reason} Another source's copy of the scene is read, or it is left out.")
        plan = make_plan(job.plan.season, block=block, products=products, unread=unread)
        job = SeasonRun(plan, job.engine, job.timings)


def _where_they_are(
    season: Season, archives: Sequence[Archive], on_note: Callable[[str], None]
) -> tuple[Sentinel2Product, ...]:
    """What the archives hold, less what the screening of its scene classification left out."""
    spec, region = season.source.sentinel, read_region(season.region)
    assert spec is not None
    readable = [archive for archive in archives if archive.windows]
    whole = ", ".join(archive.name for archive in archives if not archive.windows)
    if not readable:
        raise ArchiveError(
            f'{season.path}: [source] read = "windows", but {whole} can only be fetched whole. Name a source '
            'of COGs (earth-search, planetary-computer, stac) in [source] fallback, or set read = "download".'
        )
    query = Query("sentinel-2-l2a", region.wkt, season.start, season.end, tiles_of(season))
    stop = threading.Event()
    search = Search(readable, query, stop)
    try:
        search.wait(FetchOptions().patience_s)
    finally:
        stop.set()
    if failure := search.failure():
        beside = f" {whole} can only be fetched whole." if whole else ""
        raise ArchiveError(f"No source that can be read in windows could be searched. {failure}{beside}")
    for note in search.notes():
        on_note(note)
    # other seasons write into the same ledger, of other regions and with other limits
    cloudy = {
        row.observation
        for row in not_brought(season.source.root, query.collection)
        if row.blocked is not None and row.blocked > spec.max_cloud and row.region == region.token
    }
    found: list[Sentinel2Product] = []
    first: Counter[str] = Counter()
    for item in choose(search.found()):
        if item.key not in cloudy:
            copies, faults = _copies(item, tuple(season.source.bands))
            found += copies
            if copies:
                first[copies[0].provider] += 1
            else:
                on_note(f"{item.best.name} cannot be read in windows anywhere: {' | '.join(faults)}")
    others = ", ".join(f"{count} at {name}" for name, count in first.items() if name != archives[0].name)
    if others:
        why = " can only be fetched whole" if not archives[0].windows else " does not serve them all"
        on_note(f"{archives[0].name}{why}; scenes read in windows elsewhere: {others}")
    return tuple(found)


def _copies(item: Observation, bands: Sequence[str]) -> tuple[list[Sentinel2Product], list[str]]:
    """The copies of an observation that can be read in windows, and why others cannot."""
    copies, faults = [], []
    for candidate in item.candidates:
        archive, product = candidate.archive, candidate.product
        try:
            files = archive.files(product, bands)
            copies.append(read_remote(product, {file.key: archive.open(file) for file in files}))
        except ArchiveError as error:
            faults.append(told_by(archive.name, error))
    return copies, faults
