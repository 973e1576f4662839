"""A season fetched through every fault there is: it ends whole, and byte for byte the same."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from drilling import Twin, environment, fetched, leftovers

from eo_pipeline.acquire.completeness import Completeness
from eo_pipeline.acquire.fetch import FetchOptions
from eo_pipeline.acquire.pacing import Limits
from eo_pipeline.acquire.products import Archive as Source
from eo_pipeline.acquire.products import Product, Query
from eo_pipeline.acquire.season_fetch import scene_fetcher
from eo_pipeline.acquire.sources.registry import open_archive
from eo_pipeline.acquire.transport import Transport
from eo_pipeline.season import read_season
from eo_pipeline.simulate.archive import KINDS, Faults, serve

START, END = date(2026, 5, 1), date(2026, 7, 31)  # eight products
QUICK = FetchOptions(workers=4, margin_bytes=1, idle_rounds=3, round_wait_s=0.05)
LIMITS = Limits(
    connect_timeout=2.0, read_timeout=0.4, stall_s=0.5, stall_bytes=64, backoff_s=0.01, backoff_cap_s=0.1,
    retry_after_cap_s=0.2,
)  # fmt: skip
BELOW = {"cdse": "", "dhus": "/dhus", "earth-search": "/stac/v1", "planetary-computer": "/pc/api/stac/v1"}
#: Faults that cost no bytes: what an answer tells of a product.
FACTS = ("checksum-wrong", "checksum-missing", "evicted")


def source(kind: str, url: str, transport: Transport) -> Source:
    return open_archive(kind, transport=transport, url=f"{url}{BELOW[kind]}", environment=environment())


def same(root: Path) -> dict[str, str]:
    """Digests of what came, less what holds the archive's own address."""
    return {path: digest for path, digest in fetched(root).items() if not path.endswith("item.json")}


def fetch(twin: Twin, folder: Path, sources: Sequence[Source]) -> tuple[Path, Completeness]:
    file = twin.season(folder, 'kind = "cdse"\nroot = "data"\nmax_cloud = 100', start=START, end=END)
    season = read_season(file)
    return season.source.root, scene_fetcher(season, sources, options=QUICK).run()


@pytest.fixture(scope="module")
def calm(twin: Twin, tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, str]]:
    """What each kind of archive gives on a good day."""
    found = {}
    with serve(twin.products) as archive:
        for kind in BELOW:
            one = source(kind, archive.url, Transport(limits=LIMITS))
            root, result = fetch(twin, tmp_path_factory.mktemp(kind), [one])
            assert result.complete and result.count("done") == 8
            found[kind] = same(root)
    assert found["cdse"] == found["dhus"]  # the same products by two protocols
    assert len(found["cdse"]) == 8 * 14
    return found


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in FACTS])
def test_each_fault(twin: Twin, calm: dict[str, dict[str, str]], tmp_path: Path, kind: str) -> None:
    faults = Faults.all(0.1, kinds=[kind], seed=7, retry_after_s=0.05, stall_s=1.0)
    with serve(twin.products, faults=faults, connections=3) as archive:
        root, result = fetch(twin, tmp_path, [source("cdse", archive.url, Transport(limits=LIMITS))])
        befell = archive.stats()["faults"]
    assert result.complete, (befell, [s.reason for s in result.scenes if s.state != "done"])
    assert result.count("done") == 8
    assert same(root) == calm["cdse"]
    assert befell.get(kind, 0) >= 5, befell
    assert leftovers(root) == []


@pytest.mark.parametrize("kind", ["cdse", "dhus", "earth-search", "planetary-computer"])
def test_all_faults_at_once(twin: Twin, calm: dict[str, dict[str, str]], tmp_path: Path, kind: str) -> None:
    kinds = [one for one in KINDS if one not in FACTS]
    # a search that is refused is not asked again: who gives the command does that
    faults = Faults.all(0.02, kinds=kinds, seed=11, retry_after_s=0.05, stall_s=1.0, metadata={"403": 0.0})
    with serve(twin.products, faults=faults) as archive:
        root, result = fetch(twin, tmp_path, [source(kind, archive.url, Transport(limits=LIMITS))])
        befell = archive.stats()["faults"]
    assert result.complete, (befell, [s.reason for s in result.scenes if s.state != "done"])
    assert same(root) == calm[kind]
    assert sum(befell.values()) >= 10 and len(befell) >= 5, befell
    assert leftovers(root) == []


@pytest.mark.parametrize("kind", ["earth-search", "planetary-computer"])
def test_wrong_bytes_are_found_where_no_checksum_is_told(
    twin: Twin, calm: dict[str, dict[str, str]], tmp_path: Path, kind: str
) -> None:
    """Many of these rasters are small, so that the wrong byte lies in the header; GDAL reads most of them."""
    with serve(twin.products, faults=Faults.all(0.1, kinds=["corrupt"], seed=2)) as archive:
        root, result = fetch(twin, tmp_path, [source(kind, archive.url, Transport(limits=LIMITS))])
        befell = archive.stats()["faults"]
    assert result.complete and result.count("done") == 8
    assert same(root) == calm[kind]
    assert befell["corrupt"] >= 10, befell
    assert leftovers(root) == []


@pytest.mark.parametrize("kind", FACTS)
def test_what_one_archive_cannot_give_the_other_does(
    twin: Twin, calm: dict[str, dict[str, str]], tmp_path: Path, kind: str
) -> None:
    with (
        serve(twin.products, faults=Faults(rates={kind: 0.5}, seed=3)) as first,
        serve(twin.products) as second,
    ):
        transport = Transport(limits=LIMITS)
        sources = [source("cdse", first.url, transport), source("dhus", second.url, transport)]
        root, result = fetch(twin, tmp_path, sources)
        befell = first.stats()["faults"]
    assert befell.get(kind, 0) >= 1, befell
    assert result.complete, [s.reason for s in result.scenes if s.state != "done"]
    assert same(root) == calm["cdse"]
    assert leftovers(root) == []


def test_evicted_products_come_from_the_other_archive(
    twin: Twin, calm: dict[str, dict[str, str]], tmp_path: Path
) -> None:
    gone = ("20260508T033539_N0510_R118_T48SWE", "20260617T033539_N0510_R118_T48SWD")
    with serve(twin.products, faults=Faults(offline=gone)) as first, serve(twin.products) as second:
        transport = Transport(limits=LIMITS)
        sources = [source("cdse", first.url, transport), source("dhus", second.url, transport)]
        root, result = fetch(twin, tmp_path, sources)
    assert result.complete, [s.reason for s in result.scenes if s.state != "done"]
    helped = sorted(scene.name[11:44] for scene in result.scenes if scene.source == "dhus")
    assert helped == sorted(gone)
    assert same(root) == calm["cdse"]
    assert leftovers(root) == []


def test_the_token_expires_again_and_again(
    twin: Twin, calm: dict[str, dict[str, str]], tmp_path: Path
) -> None:
    with serve(twin.products, token_s=0.3, refresh_s=1.0, bytes_per_s=60_000) as archive:
        root, result = fetch(twin, tmp_path, [source("cdse", archive.url, Transport(limits=LIMITS))])
        stats = archive.stats()
    assert result.complete
    assert same(root) == calm["cdse"]
    assert sum(stats["tokens"].values()) >= 3, stats
    assert leftovers(root) == []


class Meeting:
    """A source that answers a search when all are being asked."""

    def __init__(self, inner: Source, barrier: threading.Barrier) -> None:
        self._inner, self._barrier = inner, barrier

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def search(self, query: Query) -> Iterator[Product]:
        self._barrier.wait(timeout=20)
        return self._inner.search(query)


def test_all_sources_are_asked_at_the_same_time(
    twin: Twin, calm: dict[str, dict[str, str]], tmp_path: Path
) -> None:
    barrier = threading.Barrier(2)
    with serve(twin.products) as archive:
        transport = Transport(limits=LIMITS)
        pair = [Meeting(source(kind, archive.url, transport), barrier) for kind in ("cdse", "dhus")]
        root, result = fetch(twin, tmp_path, pair)
    assert result.complete and not barrier.broken
    assert {scene.source for scene in result.scenes} == {"cdse"}  # in the order that was given all the same
    assert same(root) == calm["cdse"]


def test_every_fault_at_ten_percent_at_once(
    twin: Twin, calm: dict[str, dict[str, str]], tmp_path: Path
) -> None:
    """Nearly every other answer goes wrong. What no try mends (wrong checksums, evicted products) comes from
    the second archive, which has all the other faults itself.
    """
    given = {"retry_after_s": 0.05, "stall_s": 1.0, "metadata": {"403": 0.0}}
    first_faults = Faults.all(0.1, seed=5, **given)
    second_faults = Faults.all(0.1, kinds=[one for one in KINDS if one not in FACTS], seed=6, **given)
    with (
        serve(twin.products, faults=first_faults) as first,
        serve(twin.products, faults=second_faults) as second,
    ):
        transport = Transport(limits=LIMITS)
        sources = [source("cdse", first.url, transport), source("dhus", second.url, transport)]
        root, result = fetch(twin, tmp_path, sources)
        befell = first.stats()["faults"]
    assert result.complete, (befell, [s.reason for s in result.scenes if s.state != "done"])
    assert result.count("done") == 8
    assert same(root) == calm["cdse"]
    # with this seed no product of eight lacks its checksum; that fault has a drill of its own
    assert set(befell) == set(KINDS) - {"checksum-missing"} and sum(befell.values()) > 100, befell
    assert leftovers(root) == []
