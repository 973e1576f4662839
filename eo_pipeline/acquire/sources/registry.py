"""From names in a season file to archives: addresses, credentials, and one shared token a process.

Addresses come from the season file, else from the environment (EO_CDSE_URL, EO_EARTH_SEARCH_URL,
EO_EARTH_SEARCH_C1_URL, EO_PLANETARY_COMPUTER_URL), else they are the public ones.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, cast
from urllib.parse import urlsplit

from eo_pipeline.acquire import credentials
from eo_pipeline.acquire.products import Archive, Query
from eo_pipeline.acquire.screening import read_region, tiles_of
from eo_pipeline.acquire.sources.cdse import CdseAddresses, CdseArchive, Route, SearchBy
from eo_pipeline.acquire.sources.sas import SasTokens
from eo_pipeline.acquire.sources.stac import PRESETS, StacArchive
from eo_pipeline.acquire.transport import Basic, Bearer, KeycloakToken, Transport
from eo_pipeline.errors import ArchiveError, SeasonFileError
from eo_pipeline.season import Season
from eo_pipeline.season_source import RadarSpec, TerrainSpec


@dataclass(frozen=True, slots=True)
class KnownSource:
    """A source a season file can name. `credentials` is a key of `credentials.VARIABLES`, or empty."""

    name: str
    about: str
    address: str
    collections: tuple[str, ...]
    credentials: str


_KNOWN: Final = (
    KnownSource(
        "cdse",
        "Copernicus Data Space: everything, from its origin; searching is free, files need a free account",
        CdseAddresses().catalogue,
        ("sentinel-2-l2a", "sentinel-2-l1c", "sentinel-1-grd"),
        "cdse",
    ),
    KnownSource(
        "earth-search",
        "Element 84 on AWS: cloud-optimised rasters and elevation without an account",
        PRESETS["earth-search"].url,
        ("sentinel-2-l2a", "cop-dem-glo-30"),
        "",
    ),
    KnownSource(
        "earth-search-c1",
        "Element 84 on AWS: Collection 1 (baseline 05.00 and later) only; has gaps",
        PRESETS["earth-search-c1"].url,
        ("sentinel-2-l2a",),
        "",
    ),
    KnownSource(
        "planetary-computer",
        "Microsoft: cloud-optimised rasters, terrain-corrected radar, elevation; signed without an account",
        PRESETS["planetary-computer"].url,
        ("sentinel-2-l2a", "sentinel-1-rtc", "cop-dem-glo-30"),
        "planetary-computer",
    ),
    KnownSource("stac", "any other STAC API, by [source] url", "", ("sentinel-2-l2a",), "stac"),
    KnownSource(
        "dhus", "a mirror that speaks DHuS, by [source] url", "", ("sentinel-2-l2a", "sentinel-1-grd"), "dhus"
    ),
)

#: Tokens by transport, address and account. Each is a session at the provider, which allows few.
_tokens: dict[tuple[int, str, str, str], KeycloakToken] = {}
_tokens_lock = threading.Lock()


def known_sources() -> tuple[KnownSource, ...]:
    """All sources a season file can name, in the order `eo sources` shows them."""
    return _KNOWN


def open_archives(
    season: Season, *, transport: Transport, environment: Mapping[str, str] | None = None
) -> tuple[Archive, ...]:
    """The archives a season is fetched from, in the order they are tried; none for a folder of rasters.

    `[source] url` is the address of the first: of a STAC API its landing page, of a DHuS its root, of the
    others the base below which their services lie as `eo archive` lays them out.

    Raises
    ------
    ArchiveError
        An address that is none, or a setting of the environment that is not understood.
    """
    spec = season.source.sentinel
    if spec is None:
        return ()
    return tuple(
        open_archive(name, transport=transport, url="" if position else spec.url, environment=environment)
        for position, name in enumerate(spec.providers)
    )


def open_radar(
    season: Season, *, transport: Transport, environment: Mapping[str, str] | None = None
) -> tuple[Archive, ...]:
    """The archive a season's Sentinel-1 is fetched from; none for a folder, or without `[source.radar]`.

    Raises
    ------
    ArchiveError
        As `open_archives`.
    """
    return _beside(season.source.radar, transport, environment)


def open_terrain(
    season: Season, *, transport: Transport, environment: Mapping[str, str] | None = None
) -> tuple[Archive, ...]:
    """The archive a season's elevation model is fetched from; none for files, or without `[source.terrain]`.

    Raises
    ------
    ArchiveError
        As `open_archives`.
    """
    return _beside(season.source.terrain, transport, environment)


def _beside(
    spec: RadarSpec | TerrainSpec | None, transport: Transport, environment: Mapping[str, str] | None
) -> tuple[Archive, ...]:
    if spec is None or not spec.provider:
        return ()
    return (open_archive(spec.provider, transport=transport, url=spec.url, environment=environment),)


def open_archive(
    name: str, *, transport: Transport, url: str = "", environment: Mapping[str, str] | None = None
) -> Archive:
    """One archive by its name; `url` instead of the environment's and the public address.

    Raises
    ------
    ArchiveError
        No such source, or no address for it.
    """
    given = os.environ if environment is None else environment
    names = tuple(source.name for source in _KNOWN)
    if name not in names:
        raise ArchiveError(f"No source is called {name!r}; there are {', '.join(names)}.")
    address = (url or given.get(f"EO_{name.upper().replace('-', '_')}_URL", "")).strip().rstrip("/")
    if "@" in address.partition("://")[2].partition("/")[0]:
        raise ArchiveError(
            f"The address of source {name} holds a user name or password, which messages would show; leave "
            "them out. `eo sources` says how to give them."
        )
    if address and urlsplit(address).scheme not in ("http", "https"):
        raise ArchiveError(f"{address!r} of source {name} is no web address; it begins with https://.")
    if name == "cdse":
        return _cdse(address, transport, given)
    if name == "dhus":
        return _dhus(address, transport, given)
    return _stac(name, address, transport, given)


def season_query(season: Season) -> Query:
    """What a season asks of its archives: Sentinel-2 over its region, in its period.

    Raises
    ------
    SeasonFileError
        The season reads a folder of rasters, or names no region.
    """
    spec = season.source.sentinel
    if spec is None or not spec.providers:
        raise SeasonFileError(
            f"{season.path}: [source] names a folder; there is nothing to search. Set kind to cdse, "
            "earth-search, planetary-computer, stac or dhus."
        )
    return Query(
        "sentinel-2-l2a",
        read_region(season.region).wkt,
        season.start,
        season.end,
        tiles_of(season),
        spec.max_cloud if spec.max_cloud < 100 else None,
    )


def _cdse(url: str, transport: Transport, given: Mapping[str, str]) -> CdseArchive:
    addresses = CdseAddresses.below(url) if url else CdseAddresses()
    account = credentials.find("cdse", given)
    keys = credentials.find("cdse-s3", given)
    token = None
    if account is not None:
        key = (id(transport), addresses.token, account.username, account.secret)
        with _tokens_lock:
            if key not in _tokens:
                _tokens[key] = KeycloakToken(
                    addresses.token,
                    account.username,
                    account.secret,
                    account.totp_secret,
                    transport=transport,
                    hosts=(_host(addresses.download),),
                )
            token = _tokens[key]
    return CdseArchive(
        transport,
        auth=token,
        how_to_log_in=credentials.how("cdse"),
        credentials=credentials.status("cdse", given),
        addresses=addresses,
        search_by=cast(SearchBy, _choice(given, "EO_CDSE_SEARCH", ("odata", "stac"))),
        route=cast(Route, _choice(given, "EO_CDSE_ROUTE", ("https", "s3"))),
        s3_keys=(keys.username, keys.secret) if keys else None,
    )


def _dhus(url: str, transport: Transport, given: Mapping[str, str]) -> Archive:
    from eo_pipeline.acquire.sources.dhus import DhusArchive  # sentinelsat is seldom needed and slow to load

    if not url:
        raise ArchiveError("Source dhus needs the address of its mirror: set [source] url, or EO_DHUS_URL.")
    account = credentials.find("dhus", given)
    auth = Basic(account.username, account.secret, (_host(url),)) if account else None
    return DhusArchive(transport, url=url, auth=auth, credentials=credentials.status("dhus", given))


def _stac(name: str, url: str, transport: Transport, given: Mapping[str, str]) -> StacArchive:
    if name == "stac":
        if not url:
            raise ArchiveError("Source stac needs the address of its API: set [source] url, or EO_STAC_URL.")
        token = credentials.find("stac", given)
        return StacArchive(
            transport,
            preset=name,
            url=url,
            auth=Bearer(token.secret, (_host(url),)) if token else None,
            credentials=credentials.status("stac", given)
            if token
            else "none; EO_STAC_TOKEN where one is needed",
        )
    root, base = _stac_root(url) if url else ("", "")
    if name != "planetary-computer":
        return StacArchive(transport, preset=name, url=root or None)
    key = credentials.find("planetary-computer", given)
    service = f"{base}/api/sas/v1" if base else PRESETS[name].sas
    sas = SasTokens(transport, service, hosts=(_host(base),) if base else (), key=key.secret if key else None)
    said = credentials.status("planetary-computer", given) if key else "none needed"
    return StacArchive(transport, preset=name, url=root or None, sas=sas, credentials=said)


def _stac_root(url: str) -> tuple[str, str]:
    """Landing page and base of an address that may be either."""
    for ending in ("/api/stac/v1", "/stac/v1"):
        if url.endswith(ending):
            return url, url.removesuffix(ending)
    if url.endswith("/v1"):
        return url, url.removesuffix("/v1")
    return f"{url}/stac/v1", url


def _host(url: str) -> str:
    return (urlsplit(url).hostname or "").lower()


def _choice(given: Mapping[str, str], name: str, accepted: tuple[str, ...]) -> str:
    value = given.get(name, "").strip().lower() or accepted[0]
    if value not in accepted:
        raise ArchiveError(f"{name}={value!r} is not understood; set it to {' or '.join(accepted)}.")
    return value
