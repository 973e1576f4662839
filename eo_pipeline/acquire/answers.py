"""What to tell of an answer that is an error, or of none: who, why, and what to do. Nothing is asked here."""

from __future__ import annotations

import json as jsonlib
import socket
from collections.abc import Iterator
from typing import Final
from urllib.parse import urlsplit

import requests
import urllib3

from eo_pipeline.acquire.auth import Auth
from eo_pipeline.acquire.pacing import retry_after
from eo_pipeline.acquire.secrets import redact
from eo_pipeline.errors import ArchiveError

_QUOTED: Final = 400
#: What may happen on the way and may go well the next time.
BROKEN: Final = (
    requests.ConnectionError,
    requests.Timeout,
    requests.exceptions.ChunkedEncodingError,
    requests.exceptions.ContentDecodingError,
    urllib3.exceptions.HTTPError,
    ConnectionError,
    TimeoutError,
)


class AnswerError(ArchiveError):
    """An archive answered with an error status. `body` is the begin of its own words, secrets hidden."""

    retry_after: float | None = None

    def __init__(self, message: str, *, status: int = 0, body: str = "", host: str = "") -> None:
        super().__init__(message)
        self.status, self.body, self.host = status, body, host

    @property
    def refused(self) -> bool:
        """Whether the archive refuses this account, which no further try changes."""
        return self.status in (401, 403)


def words(response: requests.Response) -> str:
    """The begin of an error answer: the archive's own code and message where it sends JSON."""
    text = response.text.strip()
    try:
        document = jsonlib.loads(text)
    except ValueError:
        return redact(" ".join(text.split())[:_QUOTED])
    detail = document.get("detail", document) if isinstance(document, dict) else document
    if isinstance(detail, dict):
        code = detail.get("code") or detail.get("error")
        said = detail.get("message") or detail.get("error_description") or detail.get("description")
        if isinstance(code, str) and isinstance(said, str):
            return redact(f"{code}: {said}"[:_QUOTED])
    return redact(jsonlib.dumps(detail, ensure_ascii=False)[:_QUOTED])


def refusal(response: requests.Response, auth: Auth | None) -> AnswerError:
    """What to tell of an error status: where, the archive's words, and the cure."""
    status, said = response.status_code, words(response)
    parts = urlsplit(response.url)
    cures = {
        401: "Set user name and password or token of this source (eo sources shows which)."
        if auth is None
        else "The account was refused even with a new token; check it with eo sources.",
        403: "Sign in at the provider's site once and accept its terms; if that is done, the account lacks "
        "the right, or a firewall turns this address away. It is not tried again.",
        404: "The file is not there; search again, or let another source serve it.",
        429: "Too many sessions or requests; end other downloads of this account and go on later.",
    }
    cure = cures.get(
        status, "The archive is in trouble; go on later." if status >= 500 else "Check the query."
    )
    error = AnswerError(
        f"{parts.netloc} answers {status} for {redact(response.url)}"
        f"{f' with “{said}”' if said else ''}. {cure}",
        status=status, body=said, host=parts.netloc,
    )  # fmt: skip
    error.retry_after = retry_after(response.headers.get("Retry-After"))
    return error


class HostNotFoundError(ArchiveError):
    """No name service knows the host, or none can be asked: most often there is no network at all."""

    def __init__(self, host: str) -> None:
        super().__init__(f"{host} cannot be found. {NO_NETWORK}")
        self.host = host


NO_NETWORK: Final = (
    "This machine seems to be without network or name service. Check the connection, a proxy that may be "
    "needed (HTTPS_PROXY), and the addresses of the sources."
)


def unreached(url: str, error: BaseException, tries: int) -> ArchiveError:
    """What to tell where no whole answer came."""
    host = urlsplit(url).netloc
    if not_found(error):
        return HostNotFoundError(host)
    return ArchiveError(
        f"{host} gave no whole answer in {tries} tries for {redact(url)}: {_why(error)}. Check the network "
        "and go on later; what has arrived is kept."
    )


def not_found(error: BaseException) -> bool:
    """Whether a request failed because its host's name leads nowhere."""
    kinds = (urllib3.exceptions.NameResolutionError, socket.gaierror)
    return any(isinstance(cause, kinds) for cause in _causes(error))


def _why(error: BaseException) -> str:
    """The cause in plain words, without the libraries' own."""
    causes = list(_causes(error))
    for kind, words in _WORDS:
        if any(isinstance(cause, kind) for cause in causes):
            return words
    text = redact(str(error))
    # our own words are short and plain; those of urllib3 show its objects
    return type(causes[-1]).__name__ if "Pool(" in text or "object at" in text else text[:300]


def _causes(error: BaseException) -> Iterator[BaseException]:
    """An error and what lies below it: requests and urllib3 wrap theirs in arguments and reasons."""
    waiting: list[object] = [error]
    seen: set[int] = set()
    while waiting:
        one = waiting.pop(0)
        if isinstance(one, BaseException) and id(one) not in seen:
            seen.add(id(one))
            yield one
            waiting += [*one.args, getattr(one, "reason", None), one.__cause__, one.__context__]


_WORDS: Final[tuple[tuple[type[BaseException], str], ...]] = (
    (requests.exceptions.ProxyError, "the proxy (HTTPS_PROXY) lets no request through"),
    (ConnectionRefusedError, "it turns connections away, as if nothing ran there"),
    (requests.exceptions.ConnectTimeout, "it does not answer a call"),
    (urllib3.exceptions.ConnectTimeoutError, "it does not answer a call"),
    (requests.exceptions.ReadTimeout, "it fell silent"),
    (urllib3.exceptions.ReadTimeoutError, "it fell silent"),
    (urllib3.exceptions.IncompleteRead, "it ended the answer early"),
    (ConnectionResetError, "it broke the connection off"),
    (BrokenPipeError, "it broke the connection off"),
    (urllib3.exceptions.ProtocolError, "it broke the connection off"),
)
