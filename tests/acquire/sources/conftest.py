"""Fixtures of the sources: a server on loopback, a transport that does not wait long, cassettes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml
from source_server import Answer, Asked, Loopback, key_of_exchange, recorded

from eo_pipeline.acquire.transport import Limits, Transport


@pytest.fixture
def server() -> Iterator[Loopback]:
    """A server that answers 404 until the test sets `answer`."""
    running = Loopback()
    yield running
    running.close()


@pytest.fixture
def quick() -> Transport:
    """A transport with short waits and few tries."""
    limits = Limits(attempts=3, backoff_s=0.01, backoff_cap_s=0.02, connect_timeout=2.0, read_timeout=5.0)
    return Transport(limits=limits)


@pytest.fixture
def replay(server: Loopback) -> Callable[[Path], Loopback]:
    """Serve the recorded exchanges of a VCR cassette, by method and path and in order."""

    def load(path: Path) -> Loopback:
        exchanges = yaml.safe_load(path.read_text(encoding="utf-8"))["interactions"]
        waiting = [
            (key_of_exchange(e["request"]["method"], e["request"]["uri"]), e["response"]) for e in exchanges
        ]

        def answer(asked: Asked) -> Answer:
            for number, (key, response) in enumerate(waiting):
                if key[0] == asked.method and asked.path.endswith(key[1]):
                    if sum(k == key for k, _ in waiting) > 1:  # the last one stays
                        waiting.pop(number)
                    return recorded(response)
            return Answer({"not": "recorded"}, 404)

        server.answer = answer
        return server

    return load
