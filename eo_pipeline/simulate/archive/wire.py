"""One connection: reads requests, sends answers and ranges of files, and breaks what is to go wrong."""

from __future__ import annotations

import select
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, suppress
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final, Protocol, cast
from urllib.parse import quote

from eo_pipeline.errors import ArchiveError
from eo_pipeline.simulate.archive import refusals
from eo_pipeline.simulate.archive.holdings import Holdings, Route
from eo_pipeline.simulate.archive.http import Answer, Content, Request, reply, wanted_range

_CHUNK: Final = 1 << 16
_LONGEST_BODY: Final = 16 << 20
_SILENCE_S: Final = 60.0


class Desk(Protocol):
    """Who answers: what `Archive` offers to its connections."""

    url: str
    held: Holdings
    speed: float | None

    def route(self, request: Request) -> Route: ...
    def session(self, route: Route) -> AbstractContextManager[Session]: ...
    def count_status(self, status: int) -> None: ...
    def count_bytes(self, key: str, count: int, *, begun: bool = False) -> None: ...
    def stopping(self) -> bool: ...


class Session:
    """One download; ends once, however it ends. `free`: there was a place for it."""

    def __init__(self, free: bool, closed: Callable[[], None] | None) -> None:
        self.free, self._closed = free, closed

    def end(self) -> None:
        """Give the place back. Before the last byte leaves: who has it may ask for the next at once."""
        closed, self._closed = self._closed, None
        if closed is not None:
            closed()


class Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128
    desk: Desk

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that go away are part of the game."""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version = "eo-archive/1"
    timeout = _SILENCE_S
    # answers leave at once, not when a packet is full
    disable_nagle_algorithm = True

    @property
    def desk(self) -> Desk:
        return cast(Server, self.server).desk

    def log_message(self, *_: Any) -> None:
        """Nothing: /_stats tells it."""

    def do_GET(self) -> None:
        self._serve()

    def do_HEAD(self) -> None:
        self._serve()

    def do_POST(self) -> None:
        self._serve()

    def _serve(self) -> None:
        try:
            self._one()
        except (ConnectionError, TimeoutError):
            self.close_connection = True

    def _one(self) -> None:
        length = self.headers.get("Content-Length", "0")
        if not length.isdigit() or int(length) > _LONGEST_BODY:
            self.close_connection = True
            self._send(reply({"detail": "Content Too Large"}, 413), None)
            return
        path, _, query = self.path.partition("?")
        request = Request(
            self.command,
            self.desk.url,
            path,
            query,
            {name.lower(): value for name, value in self.headers.items()},
            self.rfile.read(int(length)),
        )
        route = self.desk.route(request)
        with self.desk.session(route) as session:
            self._answer(request, route, session)

    def _answer(self, request: Request, route: Route, session: Session) -> None:
        box = self.desk.held.faults
        fault = ""
        if not session.free:
            box.note("429")
            fault = "429"
        elif route.key:
            fault = box.draw(route.target, route.key, fitting=refusals.fitting(route))
        try:
            answer = refusals.refusal(fault, route, box.faults) or route.answer()
        except ArchiveError as error:
            answer = reply({"detail": str(error)}, 500)
        if fault == "token-expired":
            fault = self._expire(request, route, answer)
        self._send(answer, request, fault=fault, session=session, key=route.key)

    def _expire(self, request: Request, route: Route, answer: Answer) -> str:
        """The token runs out while the bytes flow: they break off, and it opens nothing any more."""
        if answer.content is None:
            return ""
        if route.realm == "sas":
            self.desk.held.signatures.revoke(request.query)
        else:
            self.desk.held.tokens.revoke(request.bearer)
        return "truncated"

    # ---- sending
    def _send(
        self,
        answer: Answer,
        request: Request | None,
        *,
        fault: str = "",
        session: Session | None = None,
        key: str = "",
    ) -> None:
        if answer.content is not None and request is not None:
            self._send_content(answer, answer.content, request, fault=fault, session=session, key=key)
            return
        self.desk.count_status(answer.status)
        headers = {"Content-Length": str(len(answer.body)), "X-Simulated": "true", **answer.headers}
        self._head(answer.status, headers)
        if self.command == "HEAD":
            return
        if fault in ("truncated", "stalled"):
            self._break_off([answer.body], len(answer.body), fault, session)
            return
        if session is not None:
            session.end()
        self.wfile.write(answer.body)

    def _head(self, status: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()

    def _send_content(
        self,
        answer: Answer,
        content: Content,
        request: Request,
        *,
        fault: str,
        session: Session | None,
        key: str,
    ) -> None:
        size = content.size
        modified = format_datetime(content.modified, usegmt=True)
        headers = {
            "Content-Type": content.type, "ETag": content.etag, "Last-Modified": modified,
            "Accept-Ranges": "bytes", "X-Simulated": "true", **answer.headers,
        }  # fmt: skip
        if content.name:
            headers["Content-Disposition"] = f'attachment; filename="{quote(content.name)}"'
        status, first, last = 200, 0, size - 1
        asked = request.headers.get("range", "")
        if asked and fault != "range-ignored":
            condition = request.headers.get("if-range", "")
            wanted = wanted_range(asked, size) if condition in ("", content.etag, modified) else None
            if wanted == "unsatisfiable":
                self.desk.count_status(416)
                self._head(416, {**headers, "Content-Range": f"bytes */{size}", "Content-Length": "0"})
                return
            if wanted is not None:
                status, (first, last) = 206, wanted
                headers["Content-Range"] = f"bytes {first}-{last}/{size}"
        count = max(0, last - first + 1)
        headers["Content-Length"] = str(count)
        self.desk.count_status(status)
        self._head(status, headers)
        if self.command == "HEAD":
            return
        self.desk.count_bytes(key, 0, begun=True)
        pieces = _pieces(content, first, count)
        if fault == "corrupt":
            pieces = _corrupted(pieces)
        if fault in ("truncated", "stalled"):
            self._break_off(pieces, count, fault, session, key=key)
            return
        sent = 0
        for piece in pieces:
            sent += len(piece)
            if sent == count and session is not None:
                session.end()
            self._write(piece, key)

    def _write(self, piece: bytes, key: str) -> None:
        self.wfile.write(piece)
        self.desk.count_bytes(key, len(piece))
        if self.desk.speed:
            time.sleep(len(piece) / self.desk.speed)

    def _break_off(
        self, pieces: Any, count: int, fault: str, session: Session | None, *, key: str = ""
    ) -> None:
        """Send half of what was announced; then close, at once or after a silence."""
        left = count // 2
        for piece in pieces:
            if left <= 0:
                break
            self._write(piece[:left], key)
            left -= len(piece)
        if session is not None:
            session.end()
        self.close_connection = True
        if fault == "stalled":
            self._silence(self.desk.held.faults.faults.stall_s)

    def _silence(self, seconds: float) -> None:
        """Say nothing until the time is over, the client goes away or the archive stops."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0 and not self.desk.stopping():
            readable, _, _ = select.select([self.connection], [], [], min(left, 0.2))
            if readable:
                with suppress(OSError):
                    if self.connection.recv(1, socket.MSG_PEEK):
                        time.sleep(0.05)
                        continue
                return


def _pieces(content: Content, first: int, count: int) -> Iterator[bytes]:
    if isinstance(content.source, bytes):
        yield content.source[first : first + count]
        return
    with content.source.open("rb") as file:
        file.seek(first)
        while count > 0 and (piece := file.read(min(_CHUNK, count))):
            yield piece
            count -= len(piece)


def _corrupted(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """The same number of bytes, the middle one of each piece another."""
    for piece in pieces:
        middle = len(piece) // 2
        yield piece[:middle] + bytes([piece[middle] ^ 0xFF]) + piece[middle + 1 :] if piece else piece
