"""Signatures of Planetary Computer: its files are in Azure storage and open only with a short-lived token."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import urlencode, urlsplit

from eo_pipeline.acquire.secrets import Unpicklable
from eo_pipeline.acquire.sources.catalogue import read_time
from eo_pipeline.acquire.transport import AnswerError, Transport
from eo_pipeline.errors import ArchiveError

_BLOBS: Final = ".blob.core.windows.net"
#: A signature is renewed when this share of its life is over, at the latest five minutes before its end.
_SHARE: Final = 0.8
_MARGIN_S: Final = 300.0


class SasTokens(Unpicklable):
    """Signs addresses; one token per storage container, shared by all threads until shortly before its end.

    Parameters
    ----------
    transport
        The shared transport.
    address
        The signing service, ".../api/sas/v1".
    hosts
        Further hosts whose addresses need a signature (a mirror, the loopback archive). They are signed one
        by one, since only Azure's names tell account and container.
    key
        Subscription key, which raises the service's limits.
    """

    def __init__(
        self, transport: Transport, address: str, *, hosts: tuple[str, ...] = (), key: str | None = None
    ) -> None:
        self._transport, self._address, self._hosts = transport, address.rstrip("/"), hosts
        self._headers = {"Ocp-Apim-Subscription-Key": key} if key else None
        self._lock = threading.Lock()
        self._kept: dict[str, tuple[float, str]] = {}

    def __repr__(self) -> str:
        return f"SasTokens({self._address})"

    def needed(self, href: str) -> bool:
        """Whether an address opens only with a signature."""
        host = (urlsplit(href).hostname or "").lower()
        return host.endswith(_BLOBS) or host in self._hosts

    def sign(self, href: str, *, refresh: bool = False) -> str:
        """The address with a signature that is good for a while; `refresh`: the last one was refused.

        Raises
        ------
        ArchiveError
            The service does not sign it.
        """
        parts = urlsplit(href)
        if "sig=" in parts.query or not self.needed(href):
            return href
        host = (parts.hostname or "").lower()
        container = parts.path.strip("/").partition("/")[0]
        whole = not host.endswith(_BLOBS)
        name = href if whole else f"token/{host.removesuffix(_BLOBS)}/{container}"
        with self._lock:  # others that want the same wait for this one answer
            until, value = self._kept.get(name, (0.0, ""))
            if refresh or time.monotonic() >= until:
                request = f"sign?{urlencode({'href': href})}" if whole else name
                until, value = self._ask(request, "href" if whole else "token")
                self._kept[name] = until, value
        if whole:
            return value
        return f"{href}{'&' if parts.query else '?'}{value}"

    def _ask(self, request: str, field: str) -> tuple[float, str]:
        url = f"{self._address}/{request}"
        try:
            answer = self._transport.json(url, headers=self._headers)
        except AnswerError as error:
            if error.refused:
                raise ArchiveError(
                    f"{urlsplit(url).netloc} signs this address for registered users only "
                    f"({error.body or error.status}). Set EO_PC_SUBSCRIPTION_KEY, or take another source."
                ) from error
            raise
        if not isinstance(answer, Mapping) or not answer.get(field):
            raise ArchiveError(
                f"{urlsplit(url).netloc} signs no address: {str(answer)[:120]!r}. Check [source] url."
            )
        return time.monotonic() + _usable_s(answer), str(answer[field])


def _usable_s(answer: Mapping[str, Any]) -> float:
    """Seconds for which a signature may be used."""
    if not (told := answer.get("msft:expiry")):
        return 60.0
    left = (read_time(str(told), source="the signing service") - datetime.now(UTC)).total_seconds()
    return max(left * _SHARE, left - _MARGIN_S)


class SasAuth:
    """The signatures as the transport's auth for one host; the token service itself is asked without."""

    def __init__(self, tokens: SasTokens, host: str) -> None:
        self._tokens, self._hosts = tokens, (host,)

    @property
    def hosts(self) -> tuple[str, ...]:
        """See `Auth.hosts`."""
        return self._hosts

    def headers(self, *, refresh: bool = False) -> Mapping[str, str]:
        """See `Auth.headers`: everything is in the address."""
        del refresh
        return {}

    def sign(self, url: str, *, refresh: bool = False) -> str:
        """See `SigningAuth.sign`."""
        return self._tokens.sign(url, refresh=refresh)
