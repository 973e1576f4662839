"""What shows the same and what does not: processings, copies, and the parts of a split data strip."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from loopback import Site
from shelf import SIDE, Shelf, day, jp2, safe
from test_fetch import contents, fetcher

from eo_pipeline.acquire.ledger import Ledger
from eo_pipeline.acquire.observations import Candidate, choose, same_part
from eo_pipeline.acquire.products import Product
from eo_pipeline.acquire.transport import Transport

NORTH = "POLYGON((105 35.24, 105.02 35.24, 105.02 35.25, 105 35.25, 105 35.24))"
SOUTH = "POLYGON((105 35.2, 105.02 35.2, 105.02 35.24, 105 35.24, 105 35.2))"
WHOLE = "POLYGON((105 35.2, 105.02 35.2, 105.02 35.25, 105 35.25, 105 35.2))"


def product(made: str, *, strip: str = "", footprint: str = "", baseline: str = "05.10") -> Product:
    number = baseline.replace(".", "")
    name = f"S2A_MSIL2A_20260501T033541_N{number}_R018_T48SWE_{made}.SAFE"
    told = {"datastripId": f"S2A_OPER_MSI_L2A_DS_2APS_{made}_S{strip}_N{baseline}"} if strip else {}
    return Product(
        "cdse", name, name, "sentinel-2-l2a", "48SWE", day(5, 1), footprint, baseline, properties=told
    )


FIRST, SECOND = "20260501T033544", "20260501T033731"


@pytest.mark.parametrize(
    ("better", "other", "same"),
    [
        # two strips of one processing are two parts, wherever they are said to lie
        (product("20260501T060000", strip=FIRST), product("20260501T063000", strip=SECOND), False),
        (
            product("20260501T060000", strip=FIRST, footprint=WHOLE),
            product("20260501T063000", strip=SECOND, footprint=WHOLE),
            False,
        ),
        # one strip processed twice is one part; its begin may differ by a second
        (
            product("20260801T060000", strip=FIRST),
            product("20260501T063000", strip="20260501T033545", baseline="04.00"),
            True,
        ),
        # the older processing had two parts, the newer is whole
        (
            product("20260801T060000", strip=FIRST, footprint=WHOLE),
            product("20260501T063000", strip=SECOND, footprint=SOUTH, baseline="04.00"),
            True,
        ),
        # the newer processing of one part says nothing of the other
        (
            product("20260801T060000", strip=FIRST, footprint=NORTH),
            product("20260501T063000", strip=SECOND, footprint=SOUTH, baseline="04.00"),
            False,
        ),
        # where no strip is told, the footprint decides; where nothing is told, they are one
        (product("20260501T060000", footprint=NORTH), product("20260501T063000", footprint=SOUTH), False),
        (product("20260501T060000", footprint=NORTH), product("20260501T063000", footprint=WHOLE), True),
        (product("20260501T060000", footprint=NORTH), product("20260501T063000", strip=SECOND), True),
        (product("20260501T060000"), product("20260501T063000"), True),
    ],
)
def test_parts_are_told_apart(better: Product, other: Product, same: bool) -> None:
    assert same_part(better, other) is same


def test_the_newest_processing_of_each_part_goes_first(site: Site, transport: Transport) -> None:
    shelf, mirror = (Shelf(name, site.url, transport) for name in ("cdse", "mirror"))
    old = [
        product("20260501T060000", strip=FIRST, footprint=NORTH, baseline="05.09"),
        product("20260501T063000", strip=SECOND, footprint=SOUTH, baseline="05.09"),
    ]
    new = product("20260801T060000", strip=SECOND, footprint=SOUTH)
    found = [*(Candidate(shelf, p) for p in (*old, new)), *(Candidate(mirror, p) for p in old)]
    north, south = choose(found)
    assert (north.key, south.key) == (f"S2A/20260501T0335/48SWE/{FIRST}", f"S2A/20260501T0335/48SWE/{SECOND}")
    assert north.whole == south.whole == "S2A/20260501T0335/48SWE"
    assert [(c.archive.name, c.product.baseline) for c in north.candidates] == [
        ("cdse", "05.09"), ("mirror", "05.09"),
    ]  # fmt: skip
    assert [(c.archive.name, c.product.baseline) for c in south.candidates] == [
        ("cdse", "05.10"), ("cdse", "05.09"), ("mirror", "05.09"),
    ]  # fmt: skip
    # a whole product is an observation by itself, with the key it always had
    (one,) = choose([Candidate(shelf, old[0])])
    assert (one.key, one.whole) == ("S2A/20260501T0335/48SWE", "")


def halves(site: Site, shelf: Shelf) -> list[Product]:
    """Both parts of one observation, each empty where the other is not: 16 rows and 48 rows of SCL."""
    made = []
    for number, (strip, rows, outline) in enumerate(
        ((FIRST, slice(16, SIDE), NORTH), (SECOND, slice(0, 16), SOUTH))
    ):
        name, files = safe(day(5, 1), seed=number)
        other = name.replace("_20260501T033541.SAFE", f"_20260501T0{6 + number}0000.SAFE")
        pixels = np.full((SIDE, SIDE), 4, dtype=np.uint8)
        pixels[rows] = 0
        (path,) = [path for path in files if "SCL" in path]
        files[path] = jp2(pixels)
        del files["manifest.safe"]
        files["manifest.safe"] = b'<x><byteStream><fileLocation href="./MTD_MSIL2A.xml"/></byteStream></x>'
        shelf.add(site, other, files, day(5, 1))
        told = {"datastripId": f"S2A_OPER_MSI_L2A_DS_2APS_20260501T060000_S{strip}_N05.10"}
        shelf.products[-1] = replace(shelf.products[-1], properties=told, footprint=outline)
        made.append(shelf.products[-1])
    return made


def test_both_parts_come_and_neither_is_left_out_for_what_the_other_shows(
    site: Site, transport: Transport, tmp_path: Path
) -> None:
    shelf = Shelf("cdse", site.url, transport)
    parts = halves(site, shelf)
    result = fetcher(tmp_path, shelf, max_cloud=30.0).run()
    assert sorted((scene.state, scene.name) for scene in result.scenes) == sorted(
        ("done", part.name) for part in parts
    )
    assert [scene.blocked for scene in result.scenes] == [0.0, 0.0]
    assert (result.dekads[0].found, result.dekads[0].usable) == (2, 2)
    assert {Path(path).parts[2] for path in contents(tmp_path) if "sentinel-2" in path} == {
        part.name for part in parts
    }


def test_a_part_that_is_published_later_does_not_pass_for_the_one_that_is_there(
    site: Site, transport: Transport, tmp_path: Path
) -> None:
    shelf = Shelf("cdse", site.url, transport)
    first, second = halves(site, shelf)
    shelf.products = [first]
    assert fetcher(tmp_path, shelf, max_cloud=100.0).run().count("done") == 1
    shelf.products = [second, first]
    site.seen.clear()
    result = fetcher(tmp_path, shelf, max_cloud=100.0).run()
    assert (len(result.scenes), result.count("done")) == (2, 2)
    assert all(second.name in one.path for one in site.seen)
    with Ledger(tmp_path) as ledger:
        keys = [row.observation for row in ledger.products("sentinel-2-l2a")]
    assert keys == [f"S2A/20260501T0335/48SWE/{FIRST}", f"S2A/20260501T0335/48SWE/{SECOND}"]
