"""Tokens and signatures the archive gives out: who may have one, how long it lives, when it was revoked."""

from __future__ import annotations

import hashlib
import hmac
import secrets
import threading
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final, Literal
from urllib.parse import parse_qs, urlencode

from eo_pipeline.simulate.archive.http import Answer, Request, reply

State = Literal["good", "none", "expired", "audience"]
_EXPIRED_KEPT_S: Final = 86_400.0


@dataclass(slots=True)
class _Session:
    refresh: str
    dead_at: float


class Tokens:
    """An OpenID Connect service: password and refresh grants, an optional second factor, a session limit.

    Parameters
    ----------
    user, password
        The one account.
    totp_secret
        Base32 secret of its second factor; None for none.
    life_s, refresh_life_s
        Seconds an access token and a refresh token live.
    sessions
        Sessions at the same time; each password grant opens one, which lasts while its refresh token does.
    """

    def __init__(
        self,
        user: str,
        password: str,
        *,
        totp_secret: str | None = None,
        life_s: float = 600.0,
        refresh_life_s: float = 3600.0,
        sessions: int = 100,
    ) -> None:
        self._account, self._totp = (user, password), totp_secret
        self._life, self._refresh_life, self._limit = life_s, refresh_life_s, sessions
        self._lock = threading.Lock()
        self._access: dict[str, tuple[float, str]] = {}  # end of life, and for whom it is
        self._sessions: dict[str, _Session] = {}
        self._used_codes: set[str] = set()
        self.granted = {"password": 0, "refresh_token": 0, "client_credentials": 0}

    @property
    def sessions(self) -> int:
        """Sessions that are open."""
        with self._lock:
            self._forget()
            return len(self._sessions)

    def answer(self, request: Request) -> Answer:
        """The answer of the token endpoint."""
        if request.method != "POST":
            return reply({"error": "RESTEASY003650: No resource method found, return 405"}, 405)
        form = request.form
        grant = form.get("grant_type", "")
        with self._lock:
            self._forget()
            if grant == "password":
                return self._by_password(form)
            if grant == "refresh_token":
                return self._by_refresh(form)
            if grant == "client_credentials":
                return self._grant("client_credentials", "sh", None)
        return _error("unsupported_grant_type", "Unsupported grant_type")

    def state(self, token: str) -> State:
        """What a token is worth for bytes of products."""
        with self._lock:
            until, audience = self._access.get(token, (0.0, ""))
            if not audience:
                return "none"
            if time.monotonic() >= until:
                return "expired"
            return "audience" if audience == "sh" else "good"

    def revoke(self, token: str) -> None:
        """Let a token expire now."""
        with self._lock:
            if token in self._access:
                self._access[token] = 0.0, self._access[token][1]

    def _forget(self) -> None:
        now = time.monotonic()
        for name in [name for name, session in self._sessions.items() if session.dead_at <= now]:
            del self._sessions[name]
        for token in [t for t, (until, _) in self._access.items() if 0 < until <= now - _EXPIRED_KEPT_S]:
            del self._access[token]

    def _by_password(self, form: dict[str, str]) -> Answer:
        if form.get("client_id") != "cdse-public":
            return _error("invalid_client", "Invalid client or Invalid client credentials", 401)
        given = form.get("username", ""), form.get("password", "")
        # compared whole and in constant time, as any service would
        right = hmac.compare_digest("\0".join(given).encode(), "\0".join(self._account).encode())
        if not right or not self._second_factor(form.get("totp", "")):
            return _error("invalid_grant", "Invalid user credentials", 401)
        if len(self._sessions) >= self._limit:
            return _error("access_denied", "There are too many sessions", 403)
        name = secrets.token_hex(8)
        self._sessions[name] = _Session("", 0.0)
        return self._grant("password", "cdse", name)

    def _second_factor(self, code: str) -> bool:
        if self._totp is None:
            return True
        import pyotp

        if code in self._used_codes or not pyotp.TOTP(self._totp).verify(code, valid_window=1):
            return False
        self._used_codes.add(code)
        return True

    def _by_refresh(self, form: dict[str, str]) -> Answer:
        given = form.get("refresh_token", "")
        for name, session in self._sessions.items():
            if given and hmac.compare_digest(session.refresh, given):
                return self._grant("refresh_token", "cdse", name)
        return _error("invalid_grant", "Token is not active")

    def _grant(self, grant: str, audience: str, session: str | None) -> Answer:
        now = time.monotonic()
        self.granted[grant] += 1
        access = secrets.token_urlsafe(48)
        self._access[access] = now + self._life, audience
        document = {
            "access_token": access,
            "expires_in": int(self._life) if self._life == int(self._life) else self._life,
            "token_type": "Bearer",
            "not-before-policy": 0,
            "scope": "AUDIENCE_PUBLIC openid email profile ondemand_processing user-context",
        }
        if session is not None:
            self._sessions[session] = _Session(secrets.token_urlsafe(48), now + self._refresh_life)
            document |= {
                "refresh_token": self._sessions[session].refresh,
                "refresh_expires_in": self._refresh_life,
                "session_state": session,
            }
        return reply(document, Cache_Control="no-store", Pragma="no-cache")


def _error(error: str, description: str, status: int = 400) -> Answer:
    return reply({"error": error, "error_description": description}, status)


class Signatures:
    """Shared access signatures of storage containers."""

    def __init__(self, *, life_s: float = 3600.0) -> None:
        self._life, self._key = life_s, secrets.token_bytes(32)
        self._lock = threading.Lock()
        self._revoked: set[str] = set()
        self.granted = 0

    def sign(self, account: str, container: str) -> tuple[str, str]:
        """A query that opens a container, and when it ends."""
        end = datetime.now(UTC) + timedelta(seconds=self._life)
        until = end.strftime("%Y-%m-%dT%H:%M:%S.") + f"{end.microsecond // 1000:03d}Z"
        with self._lock:
            self.granted += 1
        nonce = secrets.token_hex(8)  # two asked for in one moment are two, of which one can be revoked
        query = {"se": until, "sp": "rl", "sv": "2024-05-04", "sr": "c", "skoid": nonce}
        return urlencode(query | {"sig": self._digest(account, container, until, nonce)}), until

    def good(self, query: str, account: str, container: str) -> bool:
        """Whether a query opens a container now."""
        given = {name: values[-1] for name, values in parse_qs(query).items()}
        sig, until = given.get("sig", ""), given.get("se", "")
        right = self._digest(account, container, until, given.get("skoid", ""))
        with self._lock:
            if sig in self._revoked or not hmac.compare_digest(sig, right):
                return False
        return datetime.fromisoformat(until) > datetime.now(UTC)

    def revoke(self, query: str) -> None:
        """Let the signature of a query expire now."""
        with self._lock:
            self._revoked |= set(parse_qs(query).get("sig", ()))

    def _digest(self, *parts: str) -> str:
        return hmac.new(self._key, "\n".join(parts).encode(), hashlib.sha256).hexdigest()
