"""Fixtures of the download tests: loopback sites and a transport in a hurry."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import loopback
import pytest

from eo_pipeline.acquire.pacing import Limits
from eo_pipeline.acquire.transport import Transport


@pytest.fixture
def make_site() -> Iterator[Callable[[], loopback.Site]]:
    servers = []

    def make() -> loopback.Site:
        site = loopback.Site()
        servers.append(loopback.start(site))
        return site

    yield make
    for one in servers:
        one.shutdown()
        one.server_close()


@pytest.fixture
def site(make_site: Callable[[], loopback.Site]) -> loopback.Site:
    return make_site()


@pytest.fixture
def limits() -> Limits:
    return Limits(
        connect_timeout=2, read_timeout=0.5, stall_s=1.0, stall_bytes=512, attempts=6, backoff_s=0.01,
        backoff_cap_s=0.05, retry_after_cap_s=1.0,
    )  # fmt: skip


@pytest.fixture
def transport(limits: Limits) -> Transport:
    return Transport(limits=limits)
