"""What a season wants of its archives: Sentinel-2 for `[source]`, Level 1C of the same scenes for
`[source.clouds]`, Sentinel-1 for `[source.radar]`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

from eo_pipeline.acquire.accounts import FetchProgress
from eo_pipeline.acquire.completeness import Completeness
from eo_pipeline.acquire.fetch import Fetcher, FetchOptions, FetchPlan
from eo_pipeline.acquire.products import Archive, Query
from eo_pipeline.acquire.radar import COLLECTION, WantedPasses
from eo_pipeline.acquire.screening import read_region
from eo_pipeline.acquire.wanted import Prover, WantedBands, WantedLevel1C
from eo_pipeline.errors import SeasonFileError
from eo_pipeline.season import Season
from eo_pipeline.season_source import SCL

Show = Callable[[FetchProgress], None]


def _fetcher(
    season: Season, archives: Sequence[Archive], options: FetchOptions | None, prove: Prover | None = None
) -> Fetcher:
    spec = season.source.sentinel
    if spec is None or not spec.providers:
        raise SeasonFileError(
            f"{season.path}: [source] names a folder; there is nothing to fetch. Set kind to cdse, "
            "earth-search, planetary-computer, stac or dhus."
        )
    region = read_region(season.region)
    bands = () if spec.windows else tuple(band for band in season.source.bands if band != SCL)
    # without bands there are no pixels to ask
    wanted = WantedBands(bands, region, spec.max_cloud, None if spec.windows else prove)
    query = Query("sentinel-2-l2a", region.wkt, season.start, season.end, spec.tiles)
    return Fetcher(archives, root=season.source.root, query=query, wanted=wanted, options=options)


def fetch_season(
    season: Season,
    archives: Sequence[Archive],
    *,
    prove: Prover | None = None,
    on_progress: Show | None = None,
    options: FetchOptions | None = None,
) -> Completeness:
    """Bring the products of a season to `[source] root`; what lies there already is left as it is.

    Where the season reads windows from the provider only what describes the scenes is fetched.

    Parameters
    ----------
    prove
        See `WantedBands`; `scenes.proofs.prover` makes one.

    Raises
    ------
    ArchiveError
        No source answers, or the disk has no room.
    SeasonFileError
        The season names no archive, or no region.
    """
    return _fetcher(season, archives, options, prove).run(on_progress)


def plan_season(
    season: Season,
    archives: Sequence[Archive],
    *,
    bytes_per_s: float | None = None,
    options: FetchOptions | None = None,
) -> FetchPlan:
    """What `fetch_season` would do: scenes, bytes, hours and room on the disk."""
    return _fetcher(season, archives, options).plan(bytes_per_s=bytes_per_s)


# ---- Level 1C --------------------------------------------------------------------------------------------
def fetch_level1c(
    season: Season,
    archives: Sequence[Archive],
    scenes: Completeness,
    *,
    on_progress: Show | None = None,
    options: FetchOptions | None = None,
) -> Completeness | None:
    """Bring the Level-1C products of the scenes that are used to `[source.clouds] l1c`.

    Parameters
    ----------
    scenes
        What `fetch_season` told: Level 1C is fetched of what is here.

    Returns
    -------
    Completeness or None
        None where the season does not ask for them, or no source of it has them.

    Raises
    ------
    ArchiveError
        No source answers, or the disk has no room.
    """
    fetcher = _level1c_fetcher(season, archives, scenes, ("done",), options)
    return None if fetcher is None else fetcher.run(on_progress)


def plan_level1c(
    season: Season,
    archives: Sequence[Archive],
    scenes: Completeness,
    *,
    bytes_per_s: float | None = None,
    options: FetchOptions | None = None,
) -> FetchPlan | None:
    """What `fetch_level1c` would do, if all `scenes` turned out to be used that are still to come."""
    fetcher = _level1c_fetcher(season, archives, scenes, ("done", "missing"), options)
    return None if fetcher is None else fetcher.plan(bytes_per_s=bytes_per_s)


def _level1c_fetcher(
    season: Season,
    archives: Sequence[Archive],
    scenes: Completeness,
    states: Collection[str],
    options: FetchOptions | None,
) -> Fetcher | None:
    spec = season.source.sentinel
    having = [archive for archive in archives if archive.name == "cdse"]
    if spec is None or spec.detector != "s2cloudless" or spec.l1c is None or not having:
        return None
    # of a split observation each part has a key of its own, below the whole one's
    used = {"/".join(s.observation.split("/")[:3]) for s in scenes.scenes if s.state in states}
    region = read_region(season.region)
    query = Query("sentinel-2-l1c", region.wkt, season.start, season.end, spec.tiles)
    return Fetcher(
        having,
        root=spec.l1c,
        query=query,
        wanted=WantedLevel1C(region),
        options=options,
        only=lambda product: "/".join(product.observation) in used,
    )


# ---- Sentinel-1 ------------------------------------------------------------------------------------------
def _radar_fetcher(season: Season, archives: Sequence[Archive], options: FetchOptions | None) -> Fetcher:
    spec, region = season.source.radar, read_region(season.region)
    assert spec is not None
    query = Query(COLLECTION, region.wkt, season.start, season.end)
    return Fetcher(archives, root=spec.root, query=query, wanted=WantedPasses(region), options=options)


def fetch_radar(
    season: Season,
    archives: Sequence[Archive],
    *,
    on_progress: Show | None = None,
    options: FetchOptions | None = None,
) -> Completeness:
    """Bring the Sentinel-1 passes of a season to `[source.radar] root`, cut to its region.

    Raises
    ------
    ArchiveError
        No source answers, or the disk has no room.
    SeasonFileError
        The season names no region.
    """
    return _radar_fetcher(season, archives, options).run(on_progress)


def plan_radar(
    season: Season,
    archives: Sequence[Archive],
    *,
    bytes_per_s: float | None = None,
    options: FetchOptions | None = None,
) -> FetchPlan:
    """What `fetch_radar` would do."""
    return _radar_fetcher(season, archives, options).plan(bytes_per_s=bytes_per_s)
