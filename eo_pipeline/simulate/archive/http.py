"""Requests and answers as plain data, between the socket (`server`) and the protocols."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Literal
from urllib.parse import parse_qsl

Realm = Literal["cdse", "open", "sas", "dhus"]


@dataclass(frozen=True, slots=True)
class Request:
    """One request. `path` is as sent, percent-encoded, without the query; header names are in lower case."""

    method: str
    base: str
    path: str
    query: str
    headers: Mapping[str, str]
    body: bytes = b""

    @property
    def parameters(self) -> dict[str, str]:
        """The query, decoded; of several values of one name the last."""
        return dict(parse_qsl(self.query, keep_blank_values=True))

    @property
    def form(self) -> dict[str, str]:
        """The body of a form."""
        return dict(parse_qsl(self.body.decode("utf-8", "replace"), keep_blank_values=True))

    @property
    def bearer(self) -> str:
        """The token, or ""."""
        kind, _, token = self.headers.get("authorization", "").partition(" ")
        return token.strip() if kind.lower() == "bearer" else ""

    @property
    def basic(self) -> tuple[str, str] | None:
        """User name and password, or None."""
        kind, _, pair = self.headers.get("authorization", "").partition(" ")
        if kind.lower() != "basic":
            return None
        try:
            user, _, password = base64.b64decode(pair, validate=True).decode("utf-8").partition(":")
        except ValueError:
            return None
        return user, password

    def below(self, prefix: str) -> Request:
        """The same request as a service below `prefix` sees it."""
        return Request(
            self.method,
            self.base + prefix,
            self.path.removeprefix(prefix) or "/",
            self.query,
            self.headers,
            self.body,
        )


@dataclass(frozen=True, slots=True)
class Content:
    """Bytes of a file to send: a path or bytes, with what tells its state."""

    source: Path | bytes
    type: str
    etag: str
    modified: datetime
    name: str = ""

    @property
    def size(self) -> int:
        """Bytes in all."""
        return len(self.source) if isinstance(self.source, bytes) else self.source.stat().st_size


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer: a status with a small body, or a file of which a range may be wanted."""

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    content: Content | None = None


def reply(document: Any, status: int = 200, *, type: str = "application/json", **headers: str) -> Answer:
    """An answer in JSON. Underscores in names of `headers` become hyphens."""
    body = json.dumps(document, ensure_ascii=False, default=str).encode("utf-8")
    return Answer(
        status, {"Content-Type": type, **{k.replace("_", "-"): v for k, v in headers.items()}}, body
    )


def text(body: str, status: int = 200, *, type: str = "text/html;charset=utf-8", **headers: str) -> Answer:
    """An answer in words. Underscores in names of `headers` become hyphens."""
    return Answer(
        status, {"Content-Type": type, **{k.replace("_", "-"): v for k, v in headers.items()}}, body.encode()
    )


_TYPES: Final = {
    ".jp2": "image/jp2", ".tif": "image/tiff", ".tiff": "image/tiff", ".xml": "application/xml",
    ".zip": "application/zip", ".json": "application/json", ".safe": "application/xml",
}  # fmt: skip


def file_answer(path: Path, *, name: str = "", etag: str = "") -> Answer:
    """A file; its ETag changes with its size and time, unless another is given."""
    status = path.stat()
    return Answer(
        content=Content(
            path,
            _TYPES.get(path.suffix.lower(), "application/octet-stream"),
            etag or f'"{status.st_size:x}-{status.st_mtime_ns:x}"',
            datetime.fromtimestamp(int(status.st_mtime), UTC),
            name,
        )
    )


def wanted_range(header: str, size: int) -> tuple[int, int] | Literal["unsatisfiable"] | None:
    """First and last byte a Range header wants of `size` bytes; None for the whole.

    >>> wanted_range("bytes=10-", 100), wanted_range("bytes=-10", 100), wanted_range("bytes=5-7", 100)
    ((10, 99), (90, 99), (5, 7))
    >>> wanted_range("bytes=100-", 100)
    'unsatisfiable'
    """
    match = re.fullmatch(r"bytes=(\d*)-(\d*)", header.strip())
    if not match or not (match[1] or match[2]):
        return None  # several ranges, another unit: the whole may be sent
    if not match[1]:
        count = int(match[2])
        return (max(0, size - count), size - 1) if count and size else "unsatisfiable"
    first = int(match[1])
    last = min(int(match[2]) if match[2] else size - 1, size - 1)
    if match[2] and int(match[2]) < first:
        return None
    return (first, last) if first < size else "unsatisfiable"


def iso(moment: datetime, digits: int = 6) -> str:
    """A time as the services write it: 2024-04-19T03:35:49.024000Z."""
    moment = moment.astimezone(UTC)
    if digits == 0:
        return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond:06d}"[:digits] + "Z"
