"""The archive: its services under one address, limits, counts; and `serve`, which runs it."""

from __future__ import annotations

import ipaddress
import json
import tempfile
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from eo_pipeline.errors import ArchiveError
from eo_pipeline.simulate.archive import cdse
from eo_pipeline.simulate.archive.catalogue import Catalogue
from eo_pipeline.simulate.archive.dhus import Dhus
from eo_pipeline.simulate.archive.faults import FaultBox, Faults, faults_document, faults_from
from eo_pipeline.simulate.archive.files import Workshop
from eo_pipeline.simulate.archive.holdings import LABEL, Holdings, Route
from eo_pipeline.simulate.archive.http import Answer, Request, reply
from eo_pipeline.simulate.archive.stac import Stac
from eo_pipeline.simulate.archive.tokens import Signatures, Tokens
from eo_pipeline.simulate.archive.wire import Handler, Server, Session

_SESSIONS: Final = ("cdse", "dhus")


class Archive:
    """A running archive; made by `serve`.

    Attributes
    ----------
    url
        Base of all its services, http://127.0.0.1:PORT.
    user, password
        The one account, for CDSE and DHuS.
    folder
        What it serves.
    """

    def __init__(
        self, server: Server, holdings: Holdings, *, connections: int, bytes_per_s: float | None
    ) -> None:
        self.held, self.speed = holdings, bytes_per_s
        self._connections = connections
        self.url = f"http://{server.server_address[0]!s}:{server.server_address[1]}"
        self.user, self.password = holdings.user, holdings.password
        self.folder = holdings.catalogue.folder
        self._services = (cdse.Cdse(holdings), Stac(holdings), Dhus(holdings))
        self._lock = threading.Lock()
        self._counts: Counter[str] = Counter()
        self._statuses: Counter[int] = Counter()
        self._paths: Counter[str] = Counter()
        self._bytes = 0
        self._open = self._most = 0
        self._stopping = threading.Event()

    # ---- for tests and the command
    def stats(self) -> dict[str, Any]:
        """What was asked and answered so far; also at GET /_stats.

        `requests` by what they were for, `statuses`, `faults` by kind, `bytes` of files sent, `downloads`
        (how often the bytes of each path were sent whole or in part), `concurrent` (most downloads at one
        time), `tokens` granted by grant, `sessions` open, `signatures` given.
        """
        tokens, faults = dict(self.held.tokens.granted), self.held.faults.counts()
        with self._lock:
            return {
                "requests": dict(sorted(self._counts.items())),
                "statuses": {str(status): count for status, count in sorted(self._statuses.items())},
                "faults": faults,
                "bytes": self._bytes,
                "downloads": dict(sorted(self._paths.items())),
                "concurrent": self._most,
                "tokens": tokens,
                "sessions": self.held.tokens.sessions,
                "signatures": self.held.signatures.granted,
            }

    def set_faults(self, faults: Faults) -> None:
        """Take other faults from the next request on; also by POST /_faults."""
        self.held.faults.set(faults)

    @property
    def faults(self) -> Faults:
        """The faults in force."""
        return self.held.faults.faults

    def refresh(self) -> None:
        """Look for products that came into the folder; also by POST /_refresh."""
        self.held.catalogue.refresh()

    def wait(self) -> None:
        """Until it is stopped."""
        self._stopping.wait()

    def stop(self) -> None:
        """Let `wait` return and stalled answers end."""
        self._stopping.set()

    def stopping(self) -> bool:
        """Whether it is about to stop."""
        return self._stopping.is_set()

    # ---- requests
    def route(self, request: Request) -> Route:
        """Who answers a request."""
        if request.path.startswith("/_"):
            return Route("metadata", "", "open", lambda: self._own(request))
        for service in self._services:
            if (route := service.route(request)) is not None:
                return route
        if request.path == "/":
            return Route("metadata", "", "open", lambda: reply(self._addresses()))
        return Route("metadata", "", "open", lambda: reply({"detail": "Not Found"}, 404))

    def _own(self, request: Request) -> Answer:
        if request.path == "/_stats":
            return reply(self.stats())
        if request.path == "/_faults":
            if request.method == "POST":
                try:
                    self.set_faults(faults_from(json.loads(request.body or b"{}")))
                except (ArchiveError, ValueError) as error:
                    return reply({"detail": str(error)}, 422)
            return reply(faults_document(self.faults))
        if request.path == "/_refresh" and request.method == "POST":
            try:
                self.refresh()
            except ArchiveError as error:
                return reply({"detail": str(error)}, 409)
            return reply({"products": len(self.held.catalogue.records)})
        return reply({"detail": "Not Found"}, 404)

    def _addresses(self) -> dict[str, Any]:
        return {
            "title": f"{LABEL}: {self.folder.name}",
            "products": len(self.held.catalogue.records),
            "cdse": f"{self.url}/odata/v1",
            "token": f"{self.url}{cdse.TOKEN_PATH}",
            "earth-search": f"{self.url}/stac/v1",
            "planetary-computer": f"{self.url}/pc/api/stac/v1",
            "cdse-stac": f"{self.url}/cdse/stac/v1",
            "dhus": f"{self.url}/dhus",
            "faults": f"{self.url}/_faults",
            "stats": f"{self.url}/_stats",
        }

    @contextmanager
    def session(self, route: Route) -> Iterator[Session]:
        """A place among the downloads at one time."""
        with self._lock:
            self._counts[f"{route.realm} {route.target}" if route.key else "own"] += 1
            counted = route.target == "data" and route.realm in _SESSIONS
            free = not counted or self._open < self._connections
            if counted and free:
                self._open += 1
                self._most = max(self._most, self._open)
        session = Session(free, self._closed if counted and free else None)
        try:
            yield session
        finally:
            session.end()

    def _closed(self) -> None:
        """One download has ended."""
        with self._lock:
            self._open -= 1

    def count_status(self, status: int) -> None:
        """Count an answer."""
        with self._lock:
            self._statuses[status] += 1

    def count_bytes(self, key: str, count: int, *, begun: bool = False) -> None:
        """Count bytes of a file that were sent."""
        with self._lock:
            self._bytes += count
            if begun:
                self._paths[key] += 1


@contextmanager
def serve(
    folder: Path | str,
    *,
    faults: Faults | None = None,
    port: int = 0,
    host: str = "127.0.0.1",
    user: str = "demo",
    password: str = "demo",  # noqa: S107 - of an archive on this machine
    totp_secret: str | None = None,
    token_s: float = 600.0,
    refresh_s: float = 3600.0,
    signature_s: float = 3600.0,
    connections: int = 4,
    sessions: int = 100,
    bytes_per_s: float | None = None,
    page_limit: int = 1000,
    skip_limit: int = 10_000,
    cache: Path | None = None,
) -> Iterator[Archive]:
    """Serve the products below a folder on this machine until the block ends.

    Parameters
    ----------
    folder
        Where the `*.SAFE` products lie, at any depth.
    faults
        What goes wrong; nothing by default.
    port
        0 for any that is free.
    host
        A loopback address; every other is refused.
    user, password, totp_secret
        The one account, of CDSE and DHuS; the second factor is CDSE's.
    token_s, refresh_s, signature_s
        Seconds that access tokens, refresh tokens and signatures of addresses live.
    connections
        Downloads at one time by CDSE or DHuS; the next one is answered 429.
    sessions
        Logins by password at one time.
    bytes_per_s
        How fast each connection sends; None for as fast as it can.
    page_limit, skip_limit
        Bounds of OData's `$top` and `$skip`.
    cache
        Where rasters and zips made on demand are kept; by default as long as the archive runs.

    Raises
    ------
    ArchiveError
        No products, another host than this one, or the port is taken.
    """
    if not _loopback(host):
        raise ArchiveError(
            f"The archive is for this machine only and does not listen on {host}. Take 127.0.0.1."
        )
    box = FaultBox(faults or Faults())
    catalogue = Catalogue(Path(folder))
    with tempfile.TemporaryDirectory(prefix="eo-archive-") as scratch:
        holdings = Holdings(
            catalogue=catalogue,
            workshop=Workshop(Path(cache) if cache else Path(scratch)),
            tokens=Tokens(
                user, password, totp_secret=totp_secret, life_s=token_s, refresh_life_s=refresh_s,
                sessions=sessions,
            ),
            signatures=Signatures(life_s=signature_s),
            faults=box,
            user=user,
            password=password,
            page_limit=page_limit,
            skip_limit=skip_limit,
        )  # fmt: skip
        try:
            server = Server((host, port), Handler)
        except (OSError, OverflowError) as error:
            raise ArchiveError(
                f"The archive cannot listen on {host}:{port} ({error}). Give another --port, or 0 for any."
            ) from error
        archive = server.desk = Archive(server, holdings, connections=connections, bytes_per_s=bytes_per_s)
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), name="eo-archive", daemon=True)
        thread.start()
        try:
            yield archive
        finally:
            archive.stop()
            server.shutdown()
            server.server_close()
            thread.join()


def _loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
