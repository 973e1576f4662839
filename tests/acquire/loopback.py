"""A small file server on loopback that goes wrong on demand; a real one, on a real socket."""

from __future__ import annotations

import hashlib
import re
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

Trouble = Callable[["Handler"], bool]


@dataclass
class Seen:
    """One request as it came in."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes = b""


@dataclass
class Site:
    """Files by path; `trouble[path]` are taken one a request, then it serves properly."""

    files: dict[str, bytes] = field(default_factory=dict)
    trouble: dict[str, list[Trouble]] = field(default_factory=lambda: defaultdict(list))
    always: dict[str, Trouble] = field(default_factory=dict)
    seen: list[Seen] = field(default_factory=list)
    etags: bool = True
    ranges: bool = True
    pace: float = 0.0
    url: str = ""
    busy: int = 0
    most: int = 0
    sent: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def requests(self, path: str) -> list[Seen]:
        return [one for one in self.seen if urlsplit(one.path).path == path]

    @property
    def host(self) -> str:
        return urlsplit(self.url).netloc


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    site: Site

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        site, path = self.site, urlsplit(self.path).path
        length = int(self.headers.get("Content-Length") or 0)
        self.body = self.rfile.read(length)
        with site.lock:
            site.seen.append(Seen(self.command, self.path, dict(self.headers), self.body))
            site.busy += 1
            site.most = max(site.most, site.busy)
            trouble = site.trouble[path].pop(0) if site.trouble[path] else site.always.get(path)
        try:
            if trouble is not None and trouble(self):
                return
            self.serve(path)
        except (BrokenPipeError, ConnectionResetError):
            pass
        finally:
            with site.lock:
                site.busy -= 1

    def do_POST(self) -> None:
        self.do_GET()

    def answer(self, status: int, body: bytes = b"", **headers: str) -> bool:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
        return True

    def serve(self, path: str, *, cut: int | None = None, content: bytes | None = None) -> bool:
        site = self.site
        whole = site.files.get(path) if content is None else content
        if whole is None:
            return self.answer(404, b'{"detail": "no such file"}')
        start, stop, status = 0, len(whole), 200
        etag = f'"{hashlib.sha256(whole).hexdigest()[:16]}"'
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if asked and site.ranges and self.headers.get("If-Range", etag) == etag:
            start, status = int(asked[1]), 206
            if start >= len(whole):
                return self.answer(416, Content_Range=f"bytes */{len(whole)}")
            stop = min(stop, int(asked[2]) + 1) if asked[2] else stop
        part = whole[start:stop]
        self.send_response(status)
        if site.etags:
            self.send_header("ETag", etag)
        if status == 206:
            self.send_header("Content-Range", f"bytes {start}-{stop - 1}/{len(whole)}")
        self.send_header("Content-Length", str(len(part)))
        self.end_headers()
        if cut is not None:
            part = part[:cut]
            self.close_connection = True
        for at in range(0, len(part), 16_384):
            piece = part[at : at + 16_384]
            self.wfile.write(piece)
            with site.lock:
                site.sent += len(piece)
            if site.pace:
                time.sleep(site.pace)
        return True


def status(code: int, body: bytes = b"", **headers: str) -> Trouble:
    return lambda handler: handler.answer(code, body, **headers)


def cut(after: int) -> Trouble:
    """End the connection after so many bytes of the body."""
    return lambda handler: handler.serve(urlsplit(handler.path).path, cut=after)


def other(content: bytes) -> Trouble:
    """Serve something else under the same path."""
    return lambda handler: handler.serve("", content=content)


def stall(seconds: float, after: int = 0) -> Trouble:
    """Announce everything, send a little, fall silent."""

    def act(handler: Handler) -> bool:
        whole = handler.site.files[urlsplit(handler.path).path]
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(whole)))
        handler.end_headers()
        handler.wfile.write(whole[:after])
        handler.wfile.flush()
        time.sleep(seconds)
        handler.close_connection = True
        return True

    return act


def drip(seconds: float) -> Trouble:
    """A byte every 50 ms: no read ever times out, nothing ever gets done."""

    def act(handler: Handler) -> bool:
        whole = handler.site.files[urlsplit(handler.path).path]
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(whole)))
        handler.end_headers()
        end = time.monotonic() + seconds
        for byte in whole:
            handler.wfile.write(bytes([byte]))
            handler.wfile.flush()
            time.sleep(0.05)
            if time.monotonic() > end:
                break
        handler.close_connection = True
        return True

    return act


def start(site: Site) -> ThreadingHTTPServer:
    handler = type("SiteHandler", (Handler,), {"site": site})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    site.url = f"http://127.0.0.1:{server.server_address[1]}"
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    return server
