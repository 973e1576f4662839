"""A small HTTP server on loopback whose answers a test writes, and recorded exchanges for it."""

from __future__ import annotations

import gzip
import json
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit


@dataclass
class Asked:
    """One request as the server saw it."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Answer:
    body: Any = b""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)

    def data(self) -> bytes:
        return self.body if isinstance(self.body, bytes) else json.dumps(self.body).encode()


class Loopback:
    """`answer(request)` gives the answers; `asked` keeps the requests. Ranges are served."""

    def __init__(self) -> None:
        self.answer: Callable[[Asked], Answer] = lambda asked: Answer(status=404)
        self.asked: list[Asked] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _serve(self) -> None:
                parts = urlsplit(self.path)
                length = int(self.headers.get("Content-Length") or 0)
                asked = Asked(
                    self.command,
                    parts.path,
                    {key: values[0] for key, values in parse_qs(parts.query).items()},
                    dict(self.headers),
                    self.rfile.read(length),
                )
                outer.asked.append(asked)
                answer = outer.answer(asked)
                data, status, extra = answer.data(), answer.status, {}
                if status == 200 and (span := asked.headers.get("Range")):
                    first, _, last = span.removeprefix("bytes=").partition("-")
                    end = min(int(last), len(data) - 1) if last else len(data) - 1
                    extra = {"Content-Range": f"bytes {first}-{end}/{len(data)}"}
                    data, status = data[int(first) : end + 1], 206
                self.send_response(status)
                headers = (
                    {"Content-Type": "application/json", "Accept-Ranges": "bytes"} | answer.headers | extra
                )
                for key, value in headers.items():
                    self.send_header(key, value)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(data)

            do_GET = do_POST = do_HEAD = _serve  # noqa: N815 - the names http.server calls

            def log_message(self, *args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def paths(self) -> list[str]:
        return [asked.path for asked in self.asked]


def key_of_exchange(method: str, uri: str) -> tuple[str, str]:
    path = urlsplit(uri).path
    return method, "/" + path.split("/", 2)[2] if path.count("/") > 1 else path


def recorded(response: dict[str, Any]) -> Answer:
    body = response["body"]["string"]
    data = body.encode() if isinstance(body, str) else bytes(body)
    if data[:2] == b"\x1f\x8b":
        data = gzip.decompress(data)
    kept = {"content-type", "cause-message"}
    headers = {k.title(): v[0] for k, v in response["headers"].items() if k.lower() in kept}
    return Answer(data, response["status"]["code"], {k: " ".join(v.split()) for k, v in headers.items()})
