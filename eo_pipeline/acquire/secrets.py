"""Keeping secrets out of messages, logs and pickles."""

from __future__ import annotations

import logging
import re
from typing import Any, Final, NoReturn

_NAMES: Final = (
    r"sig|signature|token|access_token|refresh_token|id_token|password|passwd|pwd|totp|secret|client_secret|"
    r"key|api_?key|subscription-key|code|x-amz-signature|x-amz-credential|x-amz-security-token|skoid|sktid|"
    r"awsaccesskeyid|authorization"
)
# an address within another one, as GDAL takes it, is quoted: sig%3Dabc%26se%3D2026
_IN_QUERY: Final = re.compile(
    rf"(?i)((?:(?<![\w-])|(?<=%26)|(?<=%3F))(?:{_NAMES})(?:=|%3D))(?:(?!%26)[^&\s\"'<>])+"
)
_IN_JSON: Final = re.compile(rf"(?i)(\"(?:{_NAMES})\"\s*:\s*)\"[^\"]*\"")
_BEARER: Final = re.compile(r"(?i)\b(bearer|basic)\s+[A-Za-z0-9._~+/=-]{8,}")
_USERINFO: Final = re.compile(r"(?i)\b([a-z][a-z0-9+.-]*://)[^/\s@]+@")

HIDDEN: Final = "***"


def redact(text: str) -> str:
    """The text without signatures, tokens and passwords in URLs, forms, JSON and headers.

    >>> redact("https://a.example/b04.tif?sig=abc%2B&se=2026")
    'https://a.example/b04.tif?sig=***&se=2026'
    """
    text = _IN_QUERY.sub(rf"\1{HIDDEN}", text)
    # "code" in JSON is an archive's own error code (DAT-ZIP-604), not a secret
    text = _IN_JSON.sub(
        lambda found: found[0] if '"code"' in found[1].lower() else f'{found[1]}"{HIDDEN}"', text
    )
    return _USERINFO.sub(rf"\1{HIDDEN}@", _BEARER.sub(rf"\1 {HIDDEN}", text))


class _Redacting(logging.Filter):
    """urllib3 writes whole addresses to its debug log; signed ones carry the signature."""

    def filter(self, record: logging.LogRecord) -> bool:
        if isinstance(record.args, tuple):
            record.args = tuple(redact(a) if isinstance(a, str) else a for a in record.args)
        if isinstance(record.msg, str):
            record.msg = redact(record.msg)
        return True


_redacting: Final = _Redacting()


def guard_logs() -> None:
    """Hide secrets in what urllib3 logs; may be called again."""
    for name in ("urllib3.connectionpool", "urllib3.util.retry", "urllib3.poolmanager"):
        logger = logging.getLogger(name)
        if _redacting not in logger.filters:
            logger.addFilter(_redacting)


class Unpicklable:
    """Holds secrets or a session: never written to a pickle, so never sent to a worker by accident."""

    __slots__ = ()

    def __reduce_ex__(self, protocol: Any) -> NoReturn:
        raise TypeError(
            f"{type(self).__name__} holds secrets and is not pickled. Send the paths of what was fetched to "
            "workers, or let each make its own from the environment."
        )

    def __reduce__(self) -> NoReturn:
        self.__reduce_ex__(0)
