"""Tokens of archives: who may see them, how long they live, one for the whole process."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final, Protocol, runtime_checkable
from urllib.parse import urlsplit

from eo_pipeline.acquire.secrets import HIDDEN, Unpicklable, redact
from eo_pipeline.errors import ArchiveError

if TYPE_CHECKING:
    from eo_pipeline.acquire.transport import Transport

#: A token is renewed after this share of its life, so that none expires between two requests.
_RENEWED_AT: Final = 0.8
_TOTP_PERIOD_S: Final = 30.0


class Auth(Protocol):
    """What makes a request an authorised one."""

    @property
    def hosts(self) -> tuple[str, ...]:
        """Hosts that may see it: a name (any port) or name:port. Nobody else ever does."""
        ...

    def headers(self, *, refresh: bool = False) -> Mapping[str, str]:
        """Headers for one request; `refresh` after a 401: what was given before is not accepted."""
        ...


@runtime_checkable
class SigningAuth(Auth, Protocol):
    """An archive whose addresses carry a signature that expires (SAS)."""

    def sign(self, url: str, *, refresh: bool = False) -> str:
        """The address with a valid signature; `refresh` after a 403: make a new one."""
        ...


def allowed(auth: Auth, url: str) -> bool:
    """Whether `url` may see what `auth` holds: one of its hosts, over TLS or on this machine."""
    parts = urlsplit(url)
    host, port = (parts.hostname or "").lower(), parts.port
    local = host in {"localhost", "::1"} or host.startswith("127.")
    if parts.scheme != "https" and not local:
        return False
    names = {name.lower() for name in auth.hosts}
    return host in names or (port is not None and f"{host}:{port}" in names)


class Bearer(Unpicklable):
    """A token that was given to the user and does not change."""

    def __init__(self, token: str, hosts: tuple[str, ...]) -> None:
        self._token, self._hosts = token, hosts

    def __repr__(self) -> str:
        return f"Bearer({HIDDEN}, hosts={self._hosts})"

    @property
    def hosts(self) -> tuple[str, ...]:
        return self._hosts

    def headers(self, *, refresh: bool = False) -> Mapping[str, str]:
        del refresh  # there is no other
        return {"Authorization": f"Bearer {self._token}"}


class Basic(Unpicklable):
    """User name and password with each request, as DHuS wants them."""

    def __init__(self, username: str, password: str, hosts: tuple[str, ...]) -> None:
        self._username, self._password, self._hosts = username, password, hosts

    def __repr__(self) -> str:
        return f"Basic({self._username!r}, {HIDDEN}, hosts={self._hosts})"

    @property
    def hosts(self) -> tuple[str, ...]:
        return self._hosts

    def headers(self, *, refresh: bool = False) -> Mapping[str, str]:
        from base64 import b64encode

        del refresh
        pair = f"{self._username}:{self._password}".encode()
        return {"Authorization": f"Basic {b64encode(pair).decode('ascii')}"}


class KeycloakToken(Unpicklable):
    """An OpenID Connect token by password, renewed by its refresh token; one for the whole process.

    Every token asked for by password is a session at the provider, and their number is limited: so all
    threads share this object, one of them renews and the others wait for it. After 80 % of its life it is
    renewed; the password is used again only where the refresh token has expired or is refused.

    Parameters
    ----------
    address
        The token endpoint.
    hosts
        Hosts that may see the token (the download hosts).
    totp_secret
        Base32 secret of the second factor, where the account has one.
    """

    def __init__(
        self,
        address: str,
        username: str,
        password: str,
        totp_secret: str | None = None,
        client_id: str = "cdse-public",
        *,
        transport: Transport,
        hosts: tuple[str, ...] = (),
    ) -> None:
        self._address, self._username, self._password = address, username, password
        self._totp_secret, self._client_id, self._transport = totp_secret, client_id, transport
        self._hosts = hosts
        self._lock = threading.Lock()
        self._access = ""
        self._refresh = ""
        self._renew_at = self._dead_at = self._refresh_dead_at = 0.0
        self._last_code = ""
        self._seen = threading.local()

    def __repr__(self) -> str:
        return f"KeycloakToken({self._username!r} at {redact(self._address)}, {HIDDEN})"

    @property
    def hosts(self) -> tuple[str, ...]:
        return self._hosts

    def headers(self, *, refresh: bool = False) -> Mapping[str, str]:
        """The Authorization header with a token that still lives.

        Raises
        ------
        ArchiveError
            The provider refuses user name and password, or does not answer.
        """
        with self._lock:
            # of many threads whose token was refused one renews it; the rest find another than they used
            refused = refresh and getattr(self._seen, "access", "") == self._access
            if refused or not self._access or time.monotonic() >= self._renew_at:
                self._renew(forced=refused)
            access = self._access
        self._seen.access = access
        return {"Authorization": f"Bearer {access}"}

    def _renew(self, *, forced: bool) -> None:
        from eo_pipeline.acquire.transport import AnswerError

        if self._refresh and time.monotonic() < self._refresh_dead_at:
            try:
                self._ask({"grant_type": "refresh_token", "refresh_token": self._refresh})
                return
            except AnswerError as error:
                if error.status not in (400, 401, 403):
                    if not forced and time.monotonic() < self._dead_at:
                        return  # the old one still serves; the next request tries again
                    raise
            except ArchiveError:
                if not forced and time.monotonic() < self._dead_at:
                    return
                raise
        self._refresh = ""
        form = {"grant_type": "password", "username": self._username, "password": self._password}
        if self._totp_secret:
            form["totp"] = self._code(self._totp_secret)
        try:
            self._ask(form)
        except AnswerError as error:
            if error.status not in (400, 401):
                raise
            factor = (
                ", EO_CDSE_TOTP_SECRET"
                if self._totp_secret
                else " (an account with a second factor needs EO_CDSE_TOTP_SECRET)"
            )
            raise ArchiveError(
                f"{urlsplit(self._address).hostname} refuses to sign in {self._username!r}: "
                f"{error.body or error.status}. Correct user name and password: EO_CDSE_USERNAME, "
                f"EO_CDSE_PASSWORD{factor}, or the keyring."
            ) from None

    def _code(self, secret: str) -> str:
        """A one-time code that was not used before: providers take each once."""
        import binascii

        import pyotp

        from eo_pipeline.acquire.pacing import pause

        try:
            clock = pyotp.TOTP(secret.replace(" ", ""))
            code = clock.now()
            if code == self._last_code:
                pause(_TOTP_PERIOD_S - time.time() % _TOTP_PERIOD_S + 0.1)
                code = clock.now()
        except (binascii.Error, ValueError) as error:
            raise ArchiveError(
                f"EO_CDSE_TOTP_SECRET is no base32 secret ({error}); copy the text shown beside the QR code."
            ) from None
        self._last_code = code
        return code

    def _ask(self, form: dict[str, str]) -> None:
        asked = time.monotonic()
        answer = self._transport.post(self._address, data=form | {"client_id": self._client_id})
        try:
            document = answer.json()
            access = str(document["access_token"])
            life = float(document.get("expires_in", 600))
            refresh_life = float(document.get("refresh_expires_in", 0) or 0)
        except (ValueError, KeyError, TypeError, AttributeError):
            raise ArchiveError(
                f"{redact(self._address)} answered without an access token. Correct the token address."
            ) from None
        self._access = access
        self._refresh = str(document.get("refresh_token") or "")
        self._renew_at, self._dead_at = asked + _RENEWED_AT * life, asked + life
        # no life given: usable until it is refused
        self._refresh_dead_at = asked + refresh_life if refresh_life else float("inf")
