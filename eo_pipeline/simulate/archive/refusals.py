"""How each service words the faults that are an answer of their own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from eo_pipeline.simulate.archive.cdse import refused
from eo_pipeline.simulate.archive.faults import KINDS, Faults
from eo_pipeline.simulate.archive.holdings import Route
from eo_pipeline.simulate.archive.http import Answer, reply, text

_FLOWS: Final = "Maximum number of 4 concurrent flows achieved by the user"
_TOKENS: Final = ("401-604", "401-609", "token-expired")
#: Kinds that can befall each service: only CDSE has tokens, signatures expire like them.
_FITTING: Final[Mapping[str, tuple[str, ...]]] = {
    "cdse": KINDS,
    "open": tuple(kind for kind in KINDS if kind not in _TOKENS),
    "sas": tuple(kind for kind in KINDS if kind not in _TOKENS[:2]),
    "dhus": tuple(kind for kind in KINDS if kind not in _TOKENS),
}


def fitting(route: Route) -> tuple[str, ...]:
    """Kinds that can befall a request; DHuS counts flows of files only, never searches."""
    kinds = _FITTING[route.realm]
    if route.realm == "dhus" and route.target != "data":
        return tuple(kind for kind in kinds if kind != "429")
    return kinds


def refusal(kind: str, route: Route, faults: Faults) -> Answer | None:  # noqa: PLR0911 - one a kind
    """The answer of a fault; None where the request is answered and only its body goes wrong."""
    wait = {"Retry-After": f"{faults.retry_after_s:g}"} if faults.retry_after_s else {}
    if kind == "401-604":
        return refused("DAT-ZIP-604", "Access token not found or invalid", 401)
    if kind == "401-609":
        return refused("DAT-ZIP-609", "Invalid audience of the access token", 401)
    if kind == "429":
        if route.realm == "dhus":  # which says it in its own way
            return text(
                f"<html><body><h1>HTTP Status 403</h1><p>{_FLOWS}</p></body></html>",
                403,
                cause_message=_FLOWS,
            )
        said = {"detail": {"code": "DAT-ZIP-115", "message": "Max session number 4 exceeded."}}
        return _with(reply(said, 429), wait)
    if kind == "403":
        return text("<html><head><title>403 Forbidden</title></head><body>Request blocked</body></html>", 403)
    if kind == "404":
        return reply({"detail": {"message": "Not Found"}}, 404)
    if kind == "500":
        return text("Internal Server Error", 500, type="text/plain")
    if kind == "503":
        # half of these answers tell when to come back; which half follows from the path
        told = wait if sum(route.key.encode()) % 2 else {}
        return _with(text("<html><body><h1>503 Service Unavailable</h1></body></html>", 503), told)
    return None


def _with(answer: Answer, headers: Mapping[str, str]) -> Answer:
    return Answer(answer.status, {**answer.headers, **headers}, answer.body)
