"""Products whose offset is not proven: set aside, and had from the next source."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from loopback import Site, status
from shelf import Shelf, day, safe, stock
from test_fetch import fetcher

from eo_pipeline.acquire.ledger import Ledger, not_brought
from eo_pipeline.acquire.transport import Transport


@pytest.fixture
def shelves(site: Site, transport: Transport) -> tuple[Shelf, Shelf]:
    """Two sources of the same two products; that of the first day differs in its metadata."""
    first, second = Shelf("cdse", site.url, transport), Shelf("mirror", site.url, transport)
    for number, one in enumerate((first, second)):
        for seed, sensed in enumerate((day(5, 1), day(5, 5))):
            name, files = safe(sensed, seed=seed)
            if number == 0 and seed == 0:
                files["MTD_MSIL2A.xml"] = b"<product><baseline>false</baseline></product>"
                del files["manifest.safe"]
                files["manifest.safe"] = (
                    b'<x><byteStream><fileLocation href="./MTD_MSIL2A.xml"/></byteStream></x>'
                )
            one.add(site, name, files, sensed)
    return first, second


def doubting(folder: Path, source: str) -> str:
    """Proves a product by a word in its metadata."""
    return "its sources disagree." if "false" in (folder / "MTD_MSIL2A.xml").read_text() else ""


def test_the_next_sources_copy_takes_the_place_of_one_that_is_doubted(
    shelves: tuple[Shelf, Shelf], site: Site, tmp_path: Path
) -> None:
    first, second = shelves
    result = fetcher(tmp_path, first, second, prove=doubting).run()
    assert [(scene.state, scene.source) for scene in result.scenes] == [("done", "mirror"), ("done", "cdse")]
    name = first.products[0].name
    there = tmp_path / "sentinel-2-l2a/48SWE" / name
    assert "05.10" in (there / "MTD_MSIL2A.xml").read_text()
    assert json.loads((there / ".complete").read_text())["source"] == "mirror"
    aside = tmp_path / ".quarantine/sentinel-2-l2a/48SWE/cdse" / name
    assert (aside / ".reason").read_text() == "its sources disagree."
    assert not (aside / ".complete").exists()
    # it is not asked for again
    site.seen.clear()
    assert fetcher(tmp_path, first, second, prove=doubting).run().complete
    assert not site.seen


def test_where_every_copy_is_doubted_the_report_says_quarantined(
    shelves: tuple[Shelf, Shelf], site: Site, tmp_path: Path
) -> None:
    first, second = shelves
    result = fetcher(tmp_path, first, prove=doubting).run()
    assert [scene.state for scene in result.scenes] == ["quarantined", "done"]
    assert result.scenes[0].reason == "cdse: its sources disagree."
    assert (result.dekads[0].quarantined, result.dekads[0].usable) == (1, 1)
    assert result.as_dict()["counts"] == {"done": 1, "quarantined": 1}
    assert not list((tmp_path / "sentinel-2-l2a").rglob("*false*"))
    (row,) = not_brought(tmp_path, "sentinel-2-l2a")
    assert (row.state, row.reason, row.source) == ("quarantined", "cdse: its sources disagree.", "cdse")
    # nothing is fetched twice, and the plan knows
    site.seen.clear()
    again = fetcher(tmp_path, first, prove=doubting).run()
    assert again.count("quarantined") == 1 and not site.seen
    assert fetcher(tmp_path, first, prove=doubting).plan().to_fetch == 0
    # another source is asked as soon as there is one; one whose copy is doubted too, named as well
    two = fetcher(tmp_path, first, second, prove=lambda folder, source: "hazy." if source == "mirror" else "")
    assert two.run().scenes[0].reason == "cdse: its sources disagree. | mirror: hazy."
    # and who removes it has it judged anew
    shutil.rmtree(tmp_path / ".quarantine")
    assert fetcher(tmp_path, first, prove=lambda folder, source: "").run().count("done") == 2


def test_a_doubted_copy_and_a_source_that_fails_is_a_failure_that_is_tried_again(
    shelves: tuple[Shelf, Shelf], site: Site, tmp_path: Path
) -> None:
    first, second = shelves
    bad = next(file for file in second.products[0].files if file.key == "B08")
    site.always[urlsplit(bad.href).path] = status(422, b"no such node")
    result = fetcher(tmp_path, first, second, prove=doubting).run()
    assert result.scenes[0].state == "failed"
    assert result.scenes[0].reason.startswith("cdse: its sources disagree. | mirror: 127.0.0.1")
    site.always.clear()
    site.seen.clear()
    assert fetcher(tmp_path, first, second, prove=doubting).run().complete
    assert {urlsplit(one.path).path.split("/")[1] for one in site.seen} == {"mirror"}


def test_a_product_is_proven_before_it_is_called_whole(
    site: Site, transport: Transport, tmp_path: Path
) -> None:
    shelf = Shelf("cdse", site.url, transport)
    stock(shelf, site, count=1)
    seen = []

    def prove(folder: Path, source: str) -> str:
        with Ledger(tmp_path) as ledger:
            (row,) = ledger.products("sentinel-2-l2a")
        seen.append((source, (folder / ".complete").exists(), row.state, len(list(folder.rglob("*.jp2")))))
        return ""

    assert fetcher(tmp_path, shelf, prove=prove).run().complete
    assert seen == [("cdse", False, "fetching", 3)]
    # whoever was killed before the mark was written proves again
    next(tmp_path.rglob(".complete")).unlink()
    assert fetcher(tmp_path, shelf, prove=prove).run().complete and len(seen) == 2
