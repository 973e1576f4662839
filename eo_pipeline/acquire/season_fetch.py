"""What a season wants of its archives: Sentinel-2 for `[source]`, Level 1C of the same scenes for
`[source.clouds]`, Sentinel-1 for `[source.radar]`, heights for `[source.terrain]`. Each function makes a
`Fetcher`, to plan or to run.
"""

from __future__ import annotations

from collections.abc import Sequence

from eo_pipeline.acquire.completeness import Completeness
from eo_pipeline.acquire.fetch import Fetcher, FetchOptions
from eo_pipeline.acquire.heights import HEIGHTS, WantedCells, area_of, cells_of
from eo_pipeline.acquire.products import Archive, Query
from eo_pipeline.acquire.radar import COLLECTION, WantedPasses
from eo_pipeline.acquire.screening import read_region, tiles_of
from eo_pipeline.acquire.wanted import Prover, WantedBands, WantedLevel1C
from eo_pipeline.errors import SeasonFileError
from eo_pipeline.season import Season
from eo_pipeline.season_source import SCL


def scene_fetcher(
    season: Season,
    archives: Sequence[Archive],
    *,
    prove: Prover | None = None,
    options: FetchOptions | None = None,
) -> Fetcher:
    """Brings the scenes of a season to `[source] root`; what lies there already is left as it is.

    Where the season reads windows from the provider only what describes the scenes is fetched.

    Parameters
    ----------
    prove
        See `WantedBands`; `scenes.proofs.prover` makes one.

    Raises
    ------
    SeasonFileError
        The season names no archive, or no region.
    """
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
    query = Query("sentinel-2-l2a", region.wkt, season.start, season.end, tiles_of(season))
    return Fetcher(archives, root=season.source.root, query=query, wanted=wanted, options=options)


def level1c_fetcher(
    season: Season,
    archives: Sequence[Archive],
    scenes: Completeness,
    *,
    options: FetchOptions | None = None,
) -> Fetcher | None:
    """Brings the Level-1C products of scenes that are used, or may be, to `[source.clouds] l1c`.

    Parameters
    ----------
    scenes
        What `scene_fetcher` told: of those here, and to come, Level 1C is wanted.

    Returns
    -------
    Fetcher or None
        None where the season does not ask for Level 1C, or no source of it has that.
    """
    spec = season.source.sentinel
    having = [archive for archive in archives if archive.name == "cdse"]
    if spec is None or spec.detector != "s2cloudless" or spec.l1c is None or not having:
        return None
    # of a split observation each part has a key of its own, below the whole one's
    used = {"/".join(s.observation.split("/")[:3]) for s in scenes.scenes if s.state in ("done", "missing")}
    region = read_region(season.region)
    query = Query("sentinel-2-l1c", region.wkt, season.start, season.end, tiles_of(season))
    return Fetcher(
        having,
        root=spec.l1c,
        query=query,
        wanted=WantedLevel1C(region),
        options=options,
        only=lambda product: "/".join(product.observation) in used,
        needed=False,  # scenes without theirs keep SCL
    )


def radar_fetcher(
    season: Season, archives: Sequence[Archive], *, options: FetchOptions | None = None
) -> Fetcher:
    """Brings the Sentinel-1 passes of a season to `[source.radar] root`, cut to its region.

    Raises
    ------
    SeasonFileError
        The season names no `[source.radar]`, or no region.
    """
    spec, region = season.source.radar, read_region(season.region)
    if spec is None:
        raise SeasonFileError(f"{season.path} has no table [source.radar]; there is no Sentinel-1 to fetch.")
    query = Query(COLLECTION, region.wkt, season.start, season.end)
    return Fetcher(archives, root=spec.root, query=query, wanted=WantedPasses(region), options=options)


def terrain_fetcher(
    season: Season, archives: Sequence[Archive], *, options: FetchOptions | None = None
) -> Fetcher:
    """Brings the cells of the elevation model under a season's region to `[source.terrain] root`.

    Raises
    ------
    SeasonFileError
        The season's `[source.terrain]` names nothing to fetch, or it has no region.
    """
    spec, region = season.source.terrain, read_region(season.region)
    if spec is None or not spec.provider:
        raise SeasonFileError(
            f"{season.path}: [source.terrain] names no archive; there is no elevation model to fetch."
        )
    query = Query(HEIGHTS, area_of(region).wkt, season.start, season.end, cells_of(region))
    return Fetcher(archives, root=spec.root, query=query, wanted=WantedCells(region), options=options)
