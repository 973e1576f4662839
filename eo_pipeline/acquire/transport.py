"""The one way bytes come from archives: timeouts that work, tries with sense, limits, redirects, messages.

One `Transport` a process. Sources ask through `get`, `post`, `json` and `download`; libraries that want a
`requests.Session` get `session`, whose adapter holds the same promises.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.cookiejar import DefaultCookiePolicy
from pathlib import Path
from typing import Any, Final
from urllib.parse import urljoin, urlsplit

import requests
from requests.adapters import HTTPAdapter

from eo_pipeline.acquire.answers import BROKEN, AnswerError, not_found, refusal, unreached, words
from eo_pipeline.acquire.auth import Auth, Basic, Bearer, KeycloakToken, SigningAuth, allowed
from eo_pipeline.acquire.pacing import (
    MISSING,
    RETRIED,
    Backoff,
    Bucket,
    Limits,
    Slots,
    StoppedError,
    pause,
    retry_after,
    watched,
)
from eo_pipeline.acquire.secrets import Unpicklable, guard_logs, redact
from eo_pipeline.errors import ArchiveError

__all__ = [
    "AnswerError",
    "Auth",
    "Basic",
    "Bearer",
    "KeycloakToken",
    "Limits",
    "SigningAuth",
    "StoppedError",
    "Transport",
    "redact",
    "watched",
]

USER_AGENT: Final = "smart-pingliang-agriculture/0.1"
_CHUNK: Final = 1 << 18
_REDIRECTS: Final = 5
#: Tries where a host's name leads nowhere and it never answered before: a typing error, or no network.
_UNKNOWN_TRIES: Final = 3


class StalledError(requests.Timeout):
    """A body that drips slower than any working connection."""


def body(
    response: requests.Response, limits: Limits, *, decode: bool, chunk: int = _CHUNK
) -> Iterator[bytes]:
    """A body as it arrives, in pieces; it may neither fall silent nor drip.

    Raises
    ------
    requests.Timeout, urllib3.exceptions.HTTPError
        Too slow, or shorter than the answer's own Content-Length.
    """
    raw = response.raw
    spent, arrived = 0.0, 0
    while True:
        before = time.monotonic()
        # read1 returns with what one packet brought; read would wait for the whole piece, however slow
        piece: bytes = raw.read1(chunk, decode_content=decode)
        spent += time.monotonic() - before
        if not piece:
            return
        arrived += len(piece)
        if spent >= limits.stall_s:
            if arrived < limits.stall_bytes:
                raise StalledError(f"only {arrived} bytes in {spent:.0f} s")
            spent, arrived = 0.0, 0
        yield piece


class _Adapter(HTTPAdapter):
    """Gives every request timeouts; reads bodies that are not streamed under guard, and tries again."""

    def __init__(self, limits: Limits, slots: Slots) -> None:
        self._limits, self._slots = limits, slots
        super().__init__(pool_connections=32, pool_maxsize=max(16, limits.connections), max_retries=0)

    def send(  # noqa: PLR0917 - the signature of requests
        self,
        request: requests.PreparedRequest,
        stream: bool = False,
        timeout: Any = None,
        verify: bool | str = True,
        cert: Any = None,
        proxies: Mapping[str, str] | None = None,
    ) -> requests.Response:
        timeout = self._timeouts(timeout)

        def once() -> requests.Response:
            return super(_Adapter, self).send(
                request, stream=True, timeout=timeout, verify=verify, cert=cert, proxies=proxies  # type: ignore[arg-type]
            )  # fmt: skip

        if stream:
            return once()
        backoff = Backoff(self._limits)
        while True:
            try:
                with self._slots.of(urlsplit(request.url or "").netloc):
                    response = read(once(), self._limits)
            except requests.exceptions.SSLError:
                raise
            except BROKEN as error:
                if not backoff.again(tries=_UNKNOWN_TRIES if not_found(error) else None):
                    if isinstance(error, requests.RequestException):
                        raise
                    raise requests.ConnectionError(str(error), request=request) from error
                continue
            status, wait = response.status_code, retry_after(response.headers.get("Retry-After"))
            if (status in RETRIED or status == MISSING) and backoff.again(status, wait):
                continue
            return response

    def _timeouts(self, timeout: Any) -> tuple[float, float]:
        """Both timeouts, whatever the caller forgot to give."""
        connect, wait = timeout if isinstance(timeout, tuple) else (timeout, timeout)
        limits = self._limits
        return (
            limits.connect_timeout if connect is None else min(connect, limits.connect_timeout),
            limits.read_timeout if wait is None else wait,
        )


def read(response: requests.Response, limits: Limits) -> requests.Response:
    """Read the whole body under guard, so that `content`, `text` and `json()` work and the connection is
    free.
    """
    try:
        response._content = b"".join(body(response, limits, decode=True))
        response._content_consumed = True
    finally:
        response.close()
    return response


class _Session(requests.Session):
    """A session without cookies and .netrc: what is sent where is decided here alone."""

    def __init__(self, adapter: HTTPAdapter, user_agent: str) -> None:
        super().__init__()
        self.mount("https://", adapter)
        self.mount("http://", adapter)
        self.headers["User-Agent"] = user_agent
        self.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
        self.auth = _nothing  # without any, requests looks into ~/.netrc

    def rebuild_auth(self, prepared_request: requests.PreparedRequest, response: requests.Response) -> None:
        """Across a redirect to another host no credentials go along, and none are looked up."""
        before = response.request.url or ""
        if self.should_strip_auth(before, prepared_request.url or ""):
            prepared_request.headers.pop("Authorization", None)

    def __reduce__(self) -> Any:
        raise TypeError("The transport's session is not pickled; each process makes its own Transport.")


def _nothing(request: requests.PreparedRequest) -> requests.PreparedRequest:
    return request


class Transport(Unpicklable):
    """Requests to archives under common limits; safe to share between threads.

    Parameters
    ----------
    limits
        Timeouts, tries, connections per host and bandwidth.
    user_agent
        How the pipeline introduces itself.

    Attributes
    ----------
    session : requests.Session
        For libraries that make their requests themselves: same timeouts, tries and connection limits.
    """

    def __init__(self, *, limits: Limits | None = None, user_agent: str = USER_AGENT) -> None:
        guard_logs()
        self.limits = limits or Limits()
        self.bucket = Bucket(self.limits.bytes_per_s)
        self._slots = Slots(self.limits)
        self._met: set[str] = set()
        self.session: requests.Session = _Session(_Adapter(self.limits, self._slots), user_agent)

    def __repr__(self) -> str:
        return f"Transport({self.limits})"

    # ---- small answers ---------------------------------------------------------------------------------
    def get(
        self,
        url: str,
        *,
        params: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        auth: Auth | None = None,
        attempts: int | None = None,
    ) -> requests.Response:
        """GET a small answer, read whole.

        Raises
        ------
        AnswerError
            An error status that stayed; carries `status` and the archive's words.
        ArchiveError
            No answer, after `attempts` tries (the limits' by default).
        """
        return self._small("GET", url, auth=auth, attempts=attempts, params=params, headers=headers)

    def post(
        self,
        url: str,
        *,
        json: Any = None,
        data: Any = None,
        headers: Mapping[str, str] | None = None,
        auth: Auth | None = None,
        attempts: int | None = None,
    ) -> requests.Response:
        """POST a document or a form; tried again like `get`, so only for what may be asked twice."""
        return self._small("POST", url, auth=auth, attempts=attempts, json=json, data=data, headers=headers)

    def json(
        self,
        url: str,
        *,
        params: Mapping[str, Any] | None = None,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
        auth: Auth | None = None,
        attempts: int | None = None,
    ) -> Any:
        """The JSON document at `url`; with `body` it is posted as JSON.

        Raises
        ------
        ArchiveError
            As `get`, or the answer is no JSON.
        """
        if body is None:
            answer = self.get(url, params=params, headers=headers, auth=auth, attempts=attempts)
        else:
            answer = self.post(url, json=body, headers=headers, auth=auth, attempts=attempts)
        try:
            return answer.json()
        except ValueError:
            raise ArchiveError(
                f"{redact(answer.url)} answered with something else than JSON: {words(answer)[:120]!r}. "
                "Check the address; a proxy or a sign-in page may stand between."
            ) from None

    def _small(
        self, method: str, url: str, *, auth: Auth | None, attempts: int | None, **given: Any
    ) -> requests.Response:
        backoff, refused, renew = Backoff(self.limits, attempts), False, False
        while True:
            try:
                with self.opened(method, url, auth=auth, renew=renew, **given) as response:
                    return read(response, self.limits)
            except AnswerError as error:
                renew = False
                if error.status == 403 and not refused and not isinstance(auth, SigningAuth):
                    # a token that has lost its rights, or a firewall that errs: once more, with a new token
                    refused = renew = True
                    pause(self.limits.backoff_s)
                elif not backoff.again(error.status, error.retry_after):
                    raise
            except BROKEN as error:
                renew = False
                if not backoff.again(tries=self.tries(url, error)):
                    raise unreached(url, error, backoff.failures) from None

    def tries(self, url: str, error: BaseException) -> int | None:
        """How often a request that got no answer is tried at most, where that is less than usual."""
        strange = urlsplit(url).netloc not in self._met
        return _UNKNOWN_TRIES if strange and not_found(error) else None

    # ---- one request -----------------------------------------------------------------------------------
    @contextmanager
    def opened(
        self,
        method: str,
        url: str,
        *,
        auth: Auth | None = None,
        renew: bool = False,
        accept: tuple[int, ...] = (),
        **given: Any,
    ) -> Iterator[requests.Response]:
        """One request, its body still to be read, while a connection of that host is held.

        Redirects are followed by hand: each hop sees the Authorization only if the auth names its host. After
        a 401 the auth renews once, after a 403 a signing one signs once again. `renew`: it renews at once.

        Raises
        ------
        AnswerError
            A status of 400 and more that is not in `accept`.
        requests.RequestException
            No answer; the caller decides about another try.
        """
        renewed, signed_anew = renew, False
        start = url
        hops = 0
        while True:
            address = url
            if isinstance(auth, SigningAuth) and allowed(auth, url):
                address = auth.sign(url, refresh=signed_anew)
            headers = dict(given.get("headers") or {})
            if auth is not None and allowed(auth, address):
                headers.update(auth.headers(refresh=renew))
                renew = False  # once; a redirect may follow
            with self._slots.of(urlsplit(address).netloc):
                response = self._once(method, address, given | {"headers": headers})
                try:
                    status = response.status_code
                    if response.is_redirect:
                        url = urljoin(address, response.headers["Location"])
                        hops += 1
                        given = {key: value for key, value in given.items() if key != "params"}
                        if status == 303:
                            method, given = "GET", {"headers": given.get("headers")}
                        if hops > _REDIRECTS:
                            raise ArchiveError(f"{redact(start)} redirects without end; check the address.")
                        continue
                    if status < 400 or status in accept:
                        yield response
                        return
                    read(response, self.limits)
                finally:
                    response.close()
            if status == 401 and auth is not None and not renewed and allowed(auth, address):
                renewed = renew = True
                continue
            if status == 403 and isinstance(auth, SigningAuth) and not signed_anew and allowed(auth, url):
                signed_anew = True
                continue
            raise refusal(response, auth)

    def _once(self, method: str, url: str, given: dict[str, Any]) -> requests.Response:
        try:
            answer = self.session.request(method, url, stream=True, allow_redirects=False, **given)
            self._met.add(urlsplit(url).netloc)
            return answer
        except requests.exceptions.SSLError as error:
            raise ArchiveError(
                f"{urlsplit(url).netloc}: the certificate is not trusted ({redact(str(error))[:200]}). "
                "Behind a filtering proxy set REQUESTS_CA_BUNDLE to its certificate."
            ) from None
        except (requests.exceptions.InvalidURL, requests.exceptions.InvalidSchema,
                requests.exceptions.MissingSchema) as error:  # fmt: skip
            raise ArchiveError(f"{redact(str(error))}: correct the address of the source.") from None

    # ---- files -----------------------------------------------------------------------------------------
    def download(
        self,
        url: str,
        target: Path,
        *,
        size: int | None = None,
        checksums: Mapping[str, str] | None = None,
        auth: Auth | None = None,
        on_bytes: Callable[[int], None] | None = None,
    ) -> None:
        """Bring a file to `target`: resumed where an earlier call stopped, checked, then renamed.

        Parameters
        ----------
        size, checksums
            What the source says of the file; None, 0 and empty mean unknown.
        on_bytes
            Told of each piece that arrives; a negative number takes back what is thrown away.

        Raises
        ------
        ArchiveError
            The file cannot be had, or is not what the source says. What has arrived stays beside `target` as
            `.partial`, for the next call.
        """
        from eo_pipeline.acquire.download import Download

        Download(self, url, target, size=size, checksums=checksums or {}, auth=auth, on_bytes=on_bytes).run()
