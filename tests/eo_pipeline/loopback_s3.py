"""An S3-compatible server on loopback for tests: moto's, as a process of its own."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

SECRET = "a-secret-that-must-not-travel"
ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": "test-key",
    "AWS_SECRET_ACCESS_KEY": SECRET,
    "AWS_REGION": "us-east-1",
}


@contextmanager
def s3_server(log: Path) -> Iterator[str]:
    """A running server; gives its endpoint."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {name: value for name, value in os.environ.items() if name != "AWS_CA_BUNDLE"}
    with log.open("w") as stream:
        process = subprocess.Popen(
            [str(Path(sys.executable).with_name("moto_server")), "-H", "127.0.0.1", "-p", str(port)],
            stdout=subprocess.DEVNULL,
            stderr=stream,
            env=environment,
        )
    try:
        deadline = time.monotonic() + 60
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                break
            except OSError:
                assert time.monotonic() < deadline and process.poll() is None, log.read_text()
                time.sleep(0.05)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(timeout=30)


def make_bucket(endpoint: str, name: str) -> None:
    """Make a bucket; the server checks no signature."""
    with urllib.request.urlopen(urllib.request.Request(f"{endpoint}/{name}", method="PUT"), timeout=30):
        pass


@dataclass
class Gate:
    """A server that passes on to another until it is told to fail.

    Attributes
    ----------
    failing
        What it answers with: "gone" (nothing), "denied" or "no bucket"; empty to pass on.
    markers
        Task markers that are still passed on before it fails.
    """

    url: str = ""
    failing: str = ""
    markers: int = 0

    def fails(self, method: str, path: str) -> str:
        """How a request fails; empty where it passes."""
        if self.markers > 0:
            self.markers -= method == "PUT" and "/tasks/" in path
            return ""
        return self.failing


@contextmanager
def gate(endpoint: str) -> Iterator[Gate]:
    """A gate before a server, on loopback."""
    found = Gate()
    host = endpoint.removeprefix("http://")

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1  # head and body in one packet: of two the second would wait 40 ms

        def do_GET(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            if failing := found.fails(self.command, self.path):
                self.fail(failing)
                return
            connection = HTTPConnection(host)
            connection.request(self.command, self.path, body, dict(self.headers))
            answer = connection.getresponse()
            content = answer.read()
            self.send_response_only(answer.status)
            for name, value in answer.getheaders():
                if name.lower() not in ("connection", "transfer-encoding", "content-length"):
                    self.send_header(name, value)
            self.send_header("Content-Length", answer.getheader("Content-Length") or str(len(content)))
            self.end_headers()
            self.wfile.write(content)
            connection.close()

        do_PUT = do_POST = do_DELETE = do_HEAD = do_GET  # noqa: N815

        def fail(self, how: str) -> None:
            self.close_connection = True
            if how == "gone":
                return
            status, code = (404, "NoSuchBucket") if how == "no bucket" else (403, "AccessDenied")
            body = f"<Error><Code>{code}</Code></Error>".encode() if self.command != "HEAD" else b""
            self.send_response_only(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *arguments: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        found.url = f"http://127.0.0.1:{server.server_port}"
        yield found
        server.shutdown()
