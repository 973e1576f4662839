"""Searches at several sources: a dead one holds nobody up, one that refuses is named, no network is told."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from loopback import Handler, Site, status
from shelf import Shelf, day, safe, stock
from test_fetch import QUICK, MakeSite, fetcher

from eo_pipeline.acquire.answers import HostNotFoundError, unreached
from eo_pipeline.acquire.auth import KeycloakToken
from eo_pipeline.acquire.products import Product, Query
from eo_pipeline.acquire.sources.cdse import CdseAddresses, CdseArchive
from eo_pipeline.acquire.transport import AnswerError, Limits, Transport
from eo_pipeline.errors import ArchiveError

PATIENT = replace(QUICK, patience_s=0.2)


class Asking(Shelf):
    """A shelf whose search asks the site first, as archives do."""

    def search(self, query: Query) -> Iterator[Product]:
        self.transport.get(f"{self.url}/{self.name}/search", auth=self.auth)
        return super().search(query)


def test_a_source_that_stays_silent_holds_nobody_up(
    site: Site, make_site: MakeSite, transport: Transport, tmp_path: Path
) -> None:
    events: list[str] = []
    over = threading.Event()
    dead = make_site()

    def silent(handler: Handler) -> bool:
        events.append("fallback is asked")
        over.wait(30)
        events.append("fallback gives up")
        return handler.answer(503)

    dead.always["/mirror/search"] = silent
    shelf = Asking("cdse", site.url, transport)
    stock(shelf, site, count=2)
    site.files["/cdse/search"] = b"{}"
    fallback = Asking("mirror", dead.url, Transport(limits=Limits(read_timeout=30, attempts=1)))
    for product in shelf.products:
        for file in product.files:
            path = urlsplit(file.href).path
            site.trouble[path] = [lambda handler: events.append("a file comes") or False]
    try:
        result = fetcher(tmp_path, shelf, fallback, options=PATIENT).run()
        assert result.count("done") == 2
        # every file came while the fallback was still silent, and the end did not wait for it either
        assert events == ["fallback is asked", *["a file comes"] * 12]
        (note,) = result.notes
        assert note.startswith("mirror has not answered yet; what it may have is not counted.")
        assert [(s.name, s.state) for s in result.sources] == [("cdse", "answered"), ("mirror", "silent")]
        assert fetcher(tmp_path, shelf, fallback, options=PATIENT).plan().there == 2
    finally:
        over.set()


def test_what_a_late_source_has_is_added_when_it_answers(
    site: Site, make_site: MakeSite, transport: Transport, tmp_path: Path
) -> None:
    late = make_site()
    begun = threading.Event()

    def answer(handler: Handler) -> bool:
        begun.wait(30)  # until the first file of the other source was asked for
        return handler.answer(200, b"{}")

    late.always["/mirror/search"] = answer
    shelf, mirror = Asking("cdse", site.url, transport), Asking("mirror", late.url, transport)
    site.files["/cdse/search"] = b"{}"
    stock(shelf, site, count=1)
    for number, sensed in enumerate((day(5, 1), day(5, 21))):
        name, files = safe(sensed, seed=number)
        mirror.add(late, name, files, sensed)
    path = urlsplit(shelf.products[0].files[0].href).path
    site.trouble[path] = [lambda handler: begun.set() or False]
    result = fetcher(tmp_path, shelf, mirror, options=PATIENT).run()
    assert [(s.state, s.source) for s in result.scenes] == [("done", "cdse"), ("done", "mirror")]
    assert result.notes == () and result.complete


def test_a_search_that_is_refused_is_asked_once_more_with_a_new_token(
    site: Site, tmp_path: Path, transport: Transport
) -> None:
    tokens = iter(range(100))
    site.always["/token"] = lambda handler: handler.answer(
        200, json.dumps({"access_token": f"t{next(tokens)}", "expires_in": 600}).encode()
    )
    site.files["/cdse/search"] = b"{}"
    site.always["/cdse/search"] = lambda handler: (
        handler.headers["Authorization"] == "Bearer t0" and handler.answer(403, b"not yours")
    )
    auth = KeycloakToken(f"{site.url}/token", "user", "word", transport=transport, hosts=(site.host,))
    shelf = Asking("cdse", site.url, transport, auth=auth)
    stock(shelf, site, count=1)
    assert fetcher(tmp_path, shelf).run().complete
    assert [one.headers["Authorization"] for one in site.requests("/cdse/search")] == [
        "Bearer t0", "Bearer t1",
    ]  # fmt: skip
    # every token may be a session at the provider: what fails otherwise is asked again with the same
    site.trouble["/late"] = [status(403), status(500), status(503)]
    site.trouble["/moved"] = [status(401), status(302, Location="/late")]
    site.files["/late"] = b"{}"
    for path, used in (("/late", ["t1", "t2", "t2", "t2"]), ("/moved", ["t2", "t3"])):
        transport.get(f"{site.url}{path}", auth=auth)
        assert [one.headers["Authorization"][7:] for one in site.requests(path)] == used
    assert site.requests("/late")[-1].headers["Authorization"] == "Bearer t3"


def test_a_source_that_refuses_the_search_is_named_and_the_others_go_on(
    site: Site, transport: Transport, tmp_path: Path
) -> None:
    shelf, mirror = (Asking(name, site.url, transport) for name in ("cdse", "mirror"))
    for one in (shelf, mirror):
        stock(one, site, count=1)
    site.always["/cdse/search"] = status(403, b"terms not accepted")
    site.files["/mirror/search"] = b"{}"
    result = fetcher(tmp_path, shelf, mirror).run()
    assert [(s.state, s.source) for s in result.scenes] == [("done", "mirror")]
    assert len(site.requests("/cdse/search")) == 2
    refused, answered = result.sources
    assert (refused.name, refused.state, answered.state) == ("cdse", "refused", "answered")
    assert "terms not accepted" in refused.reason
    assert result.notes[0].startswith("a source refuses the search and is left alone: cdse: 127.0.0.1")
    assert result.as_dict()["sources"][0]["state"] == "refused"
    # signed addresses are signed anew instead, and a file that is refused is not asked for twice
    with pytest.raises(AnswerError):
        transport.download(f"{site.url}/cdse/search", tmp_path / "file")
    assert len(site.requests("/cdse/search")) == 3


def test_a_source_whose_answer_cannot_be_read_is_named_and_the_others_go_on(
    site: Site, transport: Transport, tmp_path: Path
) -> None:
    # an entry of CDSE that lacks what every entry has
    site.files["/odata/v1/Products"] = b'{"@odata.count": 1, "value": [{"Name": "S2A"}]}'
    odd = CdseArchive(transport, addresses=CdseAddresses.below(site.url))
    mirror = Shelf("mirror", site.url, transport)
    stock(mirror, site, count=1)
    result = fetcher(tmp_path, odd, mirror).run()  # type: ignore[arg-type]
    assert [(s.state, s.source) for s in result.scenes] == [("done", "mirror")]
    failed, _ = result.sources
    assert (failed.name, failed.state) == ("cdse", "failed")
    assert failed.reason.startswith("cdse answers what cannot be read (KeyError: 'Id'). Take another source")
    with pytest.raises(ArchiveError, match=r"No source could be searched\. cdse answers what cannot be read"):
        fetcher(tmp_path / "empty", odd).run()  # type: ignore[arg-type]


# ---- words
def test_without_network_a_search_ends_soon_and_says_so(tmp_path: Path) -> None:
    transport = Transport(limits=Limits(backoff_s=0.01))
    shelves = [Asking(name, f"https://{name}.invalid", transport) for name in ("cdse", "mirror")]
    with pytest.raises(ArchiveError) as caught:
        fetcher(tmp_path, *shelves).run()
    assert str(caught.value) == (
        "No source could be searched. cdse.invalid, mirror.invalid cannot be found. This machine seems to be "
        "without network or name service. Check the connection, a proxy that may be needed (HTTPS_PROXY), "
        "and the addresses of the sources."
    )


def test_a_name_that_leads_nowhere_is_tried_three_times_a_host_that_was_met_as_often_as_others() -> None:
    transport = Transport(limits=Limits(attempts=6, backoff_s=0.01, backoff_cap_s=0.01))
    error: BaseException | None = None
    try:
        transport.session.get("https://nowhere.invalid/a", stream=True)
    except OSError as caught:
        error = caught
    assert error is not None
    assert isinstance(unreached("https://nowhere.invalid/a", error, 3), HostNotFoundError)
    assert transport.tries("https://nowhere.invalid/a", error) == 3
    transport._met.add("nowhere.invalid")
    assert transport.tries("https://nowhere.invalid/a", error) is None
    assert transport.tries("https://nowhere.invalid/a", TimeoutError("slow")) is None


def test_names_and_objects_of_libraries_are_not_shown(transport: Transport) -> None:
    with pytest.raises(ArchiveError) as caught:
        transport.get("http://127.0.0.1:9/a")
    assert str(caught.value) == (
        "127.0.0.1:9 gave no whole answer in 6 tries for http://127.0.0.1:9/a: it turns connections away, as "
        "if nothing ran there. Check the network and go on later; what has arrived is kept."
    )
    slow = Transport(limits=Limits(attempts=1, read_timeout=0.2))
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        pytest.raises(ArchiveError, match="it fell silent") as caught,
    ):
        slow.get(f"http://127.0.0.1:{server.getsockname()[1]}/a")
    assert "Pool" not in str(caught.value)


def test_a_source_is_named_once(site: Site, transport: Transport, tmp_path: Path) -> None:
    shelf = Shelf("cdse", site.url, transport)
    stock(shelf, site, count=1)
    product = shelf.products[0]
    shelf.products[0] = replace(product, files=tuple(f for f in product.files if f.key != "B08"))
    (scene,) = fetcher(tmp_path, shelf).run().scenes
    assert scene.reason == f"cdse: {product.name} has no file ['B08']"
    shelf.broken = "cdse: the catalogue is down"
    with pytest.raises(ArchiveError, match=r"^No source could be searched\. cdse: the catalogue is down$"):
        fetcher(tmp_path / "b", shelf).run()
