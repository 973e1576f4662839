"""A season from the shelf onto the disk, through everything that can go wrong."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import date
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pytest
from loopback import Handler, Site, other, status
from rasterio.crs import CRS
from rasterio.transform import from_origin
from shelf import Shelf, contents, day, fields, jp2, safe, scl, stock
from typer.testing import CliRunner

from eo_pipeline.acquire import estimate
from eo_pipeline.acquire import fetch as fetch_module
from eo_pipeline.acquire.accounts import FetchProgress
from eo_pipeline.acquire.download import beside, locked
from eo_pipeline.acquire.fetch import Fetcher, FetchOptions
from eo_pipeline.acquire.folders import sweep
from eo_pipeline.acquire.ledger import Ledger
from eo_pipeline.acquire.observations import Candidate, choose
from eo_pipeline.acquire.products import Product, Query, RemoteFile
from eo_pipeline.acquire.screening import Region, Screening, read_region, screen, screen_file
from eo_pipeline.acquire.season_fetch import scene_fetcher
from eo_pipeline.acquire.transport import Transport
from eo_pipeline.acquire.wanted import Prover, WantedBands
from eo_pipeline.errors import ArchiveError, DiskFullError, SeasonFileError
from eo_pipeline.season import RegionSpec, read_season

BANDS = ("B04", "B08")
QUICK = FetchOptions(workers=3, margin_bytes=1, idle_rounds=1, round_wait_s=0.01)
MakeSite = Callable[[], Site]


def fetcher(
    root: Path,
    *shelves: Shelf,
    options: FetchOptions = QUICK,
    region: Region | None = None,
    bands: tuple[str, ...] = BANDS,
    max_cloud: float = 60.0,
    prove: Prover | None = None,
) -> Fetcher:
    region = region or fields()
    query = Query("sentinel-2-l2a", region.wkt, date(2026, 5, 1), date(2026, 5, 31), ("48SWE",))
    wanted = WantedBands(bands, region, max_cloud, prove)
    return Fetcher(shelves, root=root, query=query, wanted=wanted, options=options)


@pytest.fixture
def shelf(site: Site, transport: Transport) -> Shelf:
    return Shelf("cdse", site.url, transport)


def expected(site: Site, shelf: Shelf, products: Sequence[Product]) -> dict[str, bytes]:
    return {
        f"sentinel-2-l2a/{p.tile}/{p.name}/{f.path}": site.files[urlsplit(f.href).path]
        for p in products
        for f in p.files
    }


def without_marks(found: dict[str, bytes]) -> dict[str, bytes]:
    return {path: body for path, body in found.items() if not path.endswith("/.complete")}


# ---- the way it goes
def test_a_season_lies_on_the_disk_byte_for_byte_and_is_not_fetched_twice(
    site: Site, shelf: Shelf, tmp_path: Path
) -> None:
    stock(shelf, site, count=3)
    steps: list[FetchProgress] = []
    result = fetcher(tmp_path, shelf).run(steps.append)
    assert result.complete and result.count("done") == 3
    assert without_marks(contents(tmp_path)) == expected(site, shelf, shelf.products)
    assert result.fetched_bytes == sum(f.size or 0 for p in shelf.products for f in p.files)
    assert steps[-1].scenes_done == steps[-1].scenes_total == 3
    assert steps[-1].bytes_done == steps[-1].bytes_total == result.fetched_bytes
    marks = list(tmp_path.rglob(".complete"))
    assert len(marks) == 3
    proofs = {file["proof"] for file in json.loads(marks[0].read_text())["files"]}
    assert proofs == {"md5"}

    site.seen.clear()
    again = fetcher(tmp_path, shelf).run()
    assert again.count("done") == 3 and again.fetched_bytes == 0 and not site.seen


def test_drafts_of_killed_processes_are_removed(
    site: Site, shelf: Shelf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stock(shelf, site, count=1)
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    ask = os.kill

    def no_root(pid: int, signal: int) -> None:
        if pid == 1:  # as the kernel answers whoever is not root
            raise PermissionError
        ask(pid, signal)

    monkeypatch.setattr(os, "kill", no_root)
    (product,) = shelf.products
    folder = tmp_path / "sentinel-2-l2a" / product.tile / product.name
    folder.mkdir(parents=True)
    (folder / f".complete.{gone.pid}.0011aabb.partial").touch()
    (folder / f"B04.jp2.partial.json.{gone.pid}.partial").touch()
    mine = folder / f".complete.{os.getpid()}.0011aabb.partial"
    others = folder / ".complete.1.0011aabb.partial"
    for draft in (mine, others):
        draft.touch()
    assert fetcher(tmp_path, shelf).run().complete
    assert sorted(folder.rglob("*.partial")) == sorted([mine, others])


def test_locks_that_nobody_holds_are_swept(tmp_path: Path) -> None:
    target = tmp_path / "granule/B04.jp2"
    target.parent.mkdir()
    with locked(target):
        (tmp_path / "manifest.safe.lock").touch()  # as a kill between two moves leaves it
        sweep(tmp_path)
        assert list(tmp_path.rglob("*.lock")) == [beside(target, ".lock")]
    assert list(tmp_path.rglob("*.lock")) == []


def test_killed_between_its_last_two_moves_a_download_leaves_nothing(
    site: Site, shelf: Shelf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stock(shelf, site, count=1)
    move = Path.replace

    def killed(self: Path, target: Path) -> Path:
        if target.suffix == ".jp2":
            move(self, target)
            raise SystemExit  # what comes after is not done
        return move(self, target)

    with monkeypatch.context() as patch, pytest.raises(SystemExit):
        patch.setattr(Path, "replace", killed)
        fetcher(tmp_path, shelf).run()
    assert fetcher(tmp_path, shelf).run().complete
    assert without_marks(contents(tmp_path)) == expected(site, shelf, shelf.products)


def test_the_scene_classification_comes_first_and_cloudy_bands_never(
    site: Site, shelf: Shelf, tmp_path: Path
) -> None:
    stock(shelf, site, count=3, cloudy=(1,))
    result = fetcher(tmp_path, shelf).run()
    assert [scene.state for scene in result.scenes] == ["done", "screened-out", "done"]
    left_out = result.scenes[1]
    assert left_out.blocked == 100.0
    assert left_out.reason == "100 % cloud, shadow or no data over the parcels (limit 60 %)"
    asked = [one.path for one in site.seen if left_out.name in one.path]
    assert not [path for path in asked if "B04" in path or "B08" in path]
    assert asked[0].endswith("manifest.safe") and asked[-1].endswith("SCL_20m.jp2")
    with Ledger(tmp_path) as ledger:
        row = ledger.product("sentinel-2-l2a", left_out.observation)
        assert row is not None and (row.state, row.reason) == ("screened-out", left_out.reason)
    # it is not asked for again, until the limit is another
    site.seen.clear()
    assert fetcher(tmp_path, shelf).run().count("screened-out") == 1 and not site.seen
    assert fetcher(tmp_path, shelf, max_cloud=100.0).run().count("done") == 3
    fetched_now = {Path(one.path).name.split("_")[-2] for one in site.seen}
    assert fetched_now == {"B04", "B08"}


def test_another_region_is_screened_anew(
    site: Site, shelf: Shelf, transport: Transport, tmp_path: Path
) -> None:
    name, files = safe(day(5, 1), cloudy=0.5)
    shelf.add(site, name, files, day(5, 1))
    north, south = fields(size=0.004), fields(north=35.2345, size=0.003)
    assert fetcher(tmp_path, shelf, region=north).run().count("screened-out") == 1
    # where no source lists it any more it is told of to those whose region was looked at, and to nobody else
    none = Shelf("none", site.url, transport)
    assert fetcher(tmp_path, none, region=north).run().count("screened-out") == 1
    assert fetcher(tmp_path, none, region=south).run().scenes == ()
    assert fetcher(tmp_path, shelf, region=south).run().count("done") == 1
    assert len([one for one in site.seen if "SCL" in one.path]) == 1


def test_scenes_cloudy_by_the_providers_figure_cost_no_request(
    site: Site, shelf: Shelf, tmp_path: Path
) -> None:
    stock(shelf, site, count=1)
    shelf.products[0] = replace(shelf.products[0], cloud_cover=97.0)
    result = fetcher(tmp_path, shelf).run()
    assert result.scenes[0].reason == "97 % cloud by the provider's figure (limit 60 %)"
    assert not site.seen and result.complete


def test_one_product_an_observation_newest_baseline_then_order_of_sources(
    site: Site, shelf: Shelf, transport: Transport, tmp_path: Path
) -> None:
    second = Shelf("mirror", site.url, transport)
    old_name, old = safe(day(5, 1), baseline="02.14", seed=1)
    new_name, new = safe(day(5, 1), baseline="05.10", seed=1)
    for one in (shelf, second):
        one.add(site, old_name, old, day(5, 1), baseline="02.14")
        one.add(site, new_name, new, day(5, 1), baseline="05.10")
    (observation,) = choose([Candidate(s, p) for s in (shelf, second) for p in s.products])
    order = [(c.archive.name, c.product.baseline) for c in observation.candidates]
    assert order == [("cdse", "05.10"), ("mirror", "05.10"), ("cdse", "02.14"), ("mirror", "02.14")]
    result = fetcher(tmp_path, shelf, second).run()
    assert [scene.name for scene in result.scenes] == [new_name]
    assert not [one for one in site.seen if "/mirror/" in one.path or old_name in one.path]


# ---- what goes wrong
def test_what_one_source_cannot_serve_comes_from_the_next(
    site: Site, shelf: Shelf, transport: Transport, tmp_path: Path
) -> None:
    second = Shelf("mirror", site.url, transport)
    for one in (shelf, second):
        stock(one, site, count=2)
    for product in shelf.products[:1]:
        for file in product.files:
            if file.key == "B08":
                site.always[urlsplit(file.href).path] = status(500, b"broken store")
    result = fetcher(tmp_path, shelf, second).run()
    assert result.complete
    assert [scene.source for scene in result.scenes] == ["mirror", "cdse"]
    assert without_marks(contents(tmp_path)) == expected(site, second, second.products)


def test_what_no_source_can_serve_is_reported_and_the_rest_is_there(
    site: Site, shelf: Shelf, tmp_path: Path
) -> None:
    stock(shelf, site, count=3)
    bad = next(file for file in shelf.products[1].files if file.key == "B04")
    site.always[urlsplit(bad.href).path] = other(site.files[urlsplit(bad.href).path][:-1] + b"?")
    result = fetcher(tmp_path, shelf).run()
    assert [scene.state for scene in result.scenes] == ["done", "failed", "done"]
    assert "cdse:" in result.scenes[1].reason and "md5" in result.scenes[1].reason
    assert not result.complete
    assert len(list(tmp_path.rglob(".complete"))) == 2
    # mended at the source: only the one file comes
    site.always.clear()
    site.seen.clear()
    assert fetcher(tmp_path, shelf).run().complete
    assert {urlsplit(one.path).path for one in site.seen} == {urlsplit(bad.href).path}


def test_what_another_process_brings_is_no_reason_to_ask_for_a_failed_file_at_once_again(
    site: Site, shelf: Shelf, tmp_path: Path
) -> None:
    stock(shelf, site, count=1)
    bad = next(file for file in shelf.products[0].files if file.key == "B04")
    path = urlsplit(bad.href).path
    (tmp_path / "theirs").write_bytes(b"x")
    others = iter(range(20))

    def refuse(handler: Handler) -> bool:
        number = next(others, None)
        if number is not None:
            with Ledger(tmp_path) as ledger:
                os.link(tmp_path / "theirs", tmp_path / f"theirs-{number}")
                ledger.put_file(f"theirs-{number}", key="B08", source="x", state="done", size=1)
        return handler.answer(422, b"no such node")

    site.always[path] = refuse
    assert fetcher(tmp_path, shelf).run().count("failed") == 1
    # once with the files that came, once more as something came, and the idle round
    assert len(site.requests(path)) == 3


def test_without_checksums_the_manifest_proves_and_finds_damage(
    site: Site, transport: Transport, tmp_path: Path
) -> None:
    shelf = Shelf("cdse", site.url, transport, checksums=False)
    stock(shelf, site, count=1)
    band = next(file for file in shelf.products[0].files if file.key == "B04")
    path = urlsplit(band.href).path
    site.trouble[path] = [other(site.files[path][:-1] + b"?")]
    assert fetcher(tmp_path, shelf).run().complete
    assert without_marks(contents(tmp_path)) == expected(site, shelf, shelf.products)
    assert len(site.requests(path)) == 2
    files = json.loads(next(tmp_path.rglob(".complete")).read_text())["files"]
    assert {f["key"]: f["proof"] for f in files} == {
        "manifest": "header and size", "MTD_MSIL2A": "manifest md5", "MTD_TL": "manifest md5",
        "SCL": "manifest md5", "B04": "manifest md5", "B08": "manifest md5",
    }  # fmt: skip


def test_a_source_that_refuses_the_account_is_left_alone(
    site: Site, shelf: Shelf, transport: Transport, tmp_path: Path
) -> None:
    stock(shelf, site, count=6)
    for path in site.files:
        site.always[path] = status(403, b"terms not accepted")
    options = replace(QUICK, workers=1, refusals=3)
    result = fetcher(tmp_path, shelf, options=options).run()
    assert result.count("failed") == 6
    assert {urlsplit(one.path).path.split("/")[2] for one in site.seen} == {
        p.name for p in shelf.products[:3]
    }
    assert "refused 3 times in a row" in result.notes[0] and "accept its terms" in result.notes[0]


def test_every_fault_at_random_ends_with_the_same_bytes(site: Site, shelf: Shelf, tmp_path: Path) -> None:
    stock(shelf, site, count=5)
    rng = random.Random(7)

    def trouble(handler: Handler) -> bool:
        path = urlsplit(handler.path).path
        with handler.site.lock:
            kind = rng.choice(("ok",) * 6 + ("401", "403", "404", "429", "500", "cut", "wrong", "200"))
        whole = handler.site.files[path]
        if kind.isdigit() and kind != "200":
            return handler.answer(int(kind), b"{}", Retry_After="0.01")
        if kind == "cut":
            return handler.serve(path, cut=len(whole) // 2)
        if kind == "wrong":
            return handler.serve("", content=whole[:-1] + b"?")
        if kind == "200":
            return handler.answer(200, whole)
        return False

    for path in site.files:
        site.always[path] = trouble
    result = fetcher(tmp_path, shelf, options=replace(QUICK, idle_rounds=6)).run()
    assert result.complete, [scene.reason for scene in result.scenes]
    assert without_marks(contents(tmp_path)) == expected(site, shelf, shelf.products)


def test_a_file_removed_or_changed_on_the_disk_is_noticed(site: Site, shelf: Shelf, tmp_path: Path) -> None:
    stock(shelf, site, count=2)
    fetcher(tmp_path, shelf).run()
    whole = contents(tmp_path)
    first, second = sorted(tmp_path.rglob("*_B04_10m.jp2"))
    first.unlink()
    second.write_bytes(b"short")
    site.seen.clear()
    assert fetcher(tmp_path, shelf).run().complete
    assert contents(tmp_path) == whole and len(site.seen) == 2


def test_a_lost_ledger_costs_no_download(site: Site, shelf: Shelf, tmp_path: Path) -> None:
    stock(shelf, site, count=2)
    fetcher(tmp_path, shelf).run()
    for path in tmp_path.glob("ledger.sqlite*"):
        path.unlink()
    site.seen.clear()
    assert fetcher(tmp_path, shelf).run().count("done") == 2 and not site.seen


def test_no_source_answers(site: Site, shelf: Shelf, transport: Transport, tmp_path: Path) -> None:
    stock(shelf, site, count=1)
    other_shelf = Shelf("mirror", site.url, transport)
    shelf.broken = "cdse is down"
    assert "cdse is down" in fetcher(tmp_path, shelf, other_shelf).run().notes[0]
    other_shelf.broken = "mirror is down too"
    with pytest.raises(ArchiveError, match=r"cdse is down.*mirror is down too"):
        fetcher(tmp_path, shelf, other_shelf).run()
    # what was fetched before is enough to go on
    shelf.broken = ""
    fetcher(tmp_path, shelf).run()
    shelf.broken = "cdse is down"
    result = fetcher(tmp_path, shelf, other_shelf).run()
    assert result.count("done") == 1 and "going on with what was fetched before" in result.notes[-1]


def test_names_that_lead_out_of_the_folder_are_refused(site: Site, shelf: Shelf, tmp_path: Path) -> None:
    stock(shelf, site, count=1)
    product = shelf.products[0]
    evil = tuple(replace(f, path="../../../evil") if f.key == "B04" else f for f in product.files)
    shelf.products[0] = replace(product, files=evil)
    result = fetcher(tmp_path / "root", shelf).run()
    assert "leads out of its folder" in result.scenes[0].reason
    assert not list(tmp_path.rglob("evil*"))


# ---- limits
def test_a_dry_run_tells_scenes_bytes_and_time_and_fetches_nothing(
    site: Site, shelf: Shelf, tmp_path: Path
) -> None:
    stock(shelf, site, count=3)
    shelf.products[2] = replace(shelf.products[2], cloud_cover=99.0)
    size = sum(f.size or 0 for p in shelf.products[:2] for f in p.files)
    plan = fetcher(tmp_path, shelf).plan(bytes_per_s=1000.0)
    assert (plan.scenes, plan.there, plan.screened_out, plan.to_fetch) == (3, 0, 1, 2)
    assert plan.bytes == size and plan.seconds == size / 1000
    assert plan.fits and not site.seen and not contents(tmp_path)
    many = fetcher(tmp_path, shelf, options=replace(QUICK, workers=16)).plan()
    assert many.bytes_per_s == 80e6  # four connections, however many products come at once
    fetcher(tmp_path, shelf).run()
    assert fetcher(tmp_path, shelf).plan().bytes == 0


def test_sizes_nobody_tells_are_estimated() -> None:
    product = Product("s", "i", "x.SAFE", "sentinel-2-l2a", "48SWE", day(5, 1), "", size=1_000_000_000)
    assert estimate.wanted_bytes(product, ["B04"]) == 117_000_000
    known = replace(product, files=(RemoteFile("B04", "p", "h", 7),))
    assert estimate.wanted_bytes(known, ["B04"]) == 7


@pytest.mark.realdata
@pytest.mark.parametrize(
    "name",
    [
        "esa_S2B_MSIL2A_20210122T133229_N0214_R081_T22HBD_20210122T155500.SAFE",
        "S2A_MSIL2A_20230821T221941_N0509_R029_T01KAB_20230822T021825.SAFE",
    ],
)
def test_the_estimate_is_near_what_real_products_weigh(shared_data: Path, name: str) -> None:
    from eo_pipeline.acquire.checks import read_manifest
    from eo_pipeline.acquire.sources.catalogue import key_of

    entries = read_manifest(shared_data / "safe-metadata" / "sentinel2" / name / "manifest.safe")
    sizes = {key_of(path): entry.size or 0 for path, entry in entries.items()}
    total = sum(entry.size or 0 for entry in entries.values())
    bands = ("B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B11", "B12", "SCL")
    product = Product("s", "i", "x.SAFE", "sentinel-2-l2a", "48SWE", day(5, 1), "", size=total)
    guess = estimate.wanted_bytes(product, bands)
    assert 0.95 < guess / sum(sizes[band] for band in bands) < 1.05


def test_a_disk_without_room_is_told_before_anything_comes(site: Site, shelf: Shelf, tmp_path: Path) -> None:
    stock(shelf, site, count=1)
    with pytest.raises(DiskFullError, match=r"GB free.*Make room"):
        fetcher(tmp_path, shelf, options=replace(QUICK, margin_bytes=1 << 60)).run()
    assert not site.seen


def test_a_cap_of_bytes_ends_the_run_and_the_next_goes_on(site: Site, shelf: Shelf, tmp_path: Path) -> None:
    stock(shelf, site, count=4)
    options = replace(QUICK, workers=1, max_bytes=1)
    result = fetcher(tmp_path, shelf, options=options).run()
    assert result.count("done") == 1 and result.count("missing") == 3
    assert result.scenes[-1].reason == "the cap of bytes was reached"
    assert fetcher(tmp_path, shelf).run().complete


# ---- accounts
def test_the_report_names_every_dekad_and_why(site: Site, shelf: Shelf, tmp_path: Path) -> None:
    stock(shelf, site, count=4, cloudy=(3,))  # 1, 5, 9 and 13 May
    bad = next(file for file in shelf.products[0].files if file.key == "B04")
    site.always[urlsplit(bad.href).path] = status(422, b"no such node")
    result = fetcher(tmp_path, shelf).run()
    rows = {str(row.start): row for row in result.dekads}
    assert list(rows) == ["2026-05-01", "2026-05-11", "2026-05-21"]
    first, second, third = rows.values()
    assert (first.found, first.usable, first.failed, first.empty) == (3, 2, 1, False)
    assert "no such node" in first.reasons[0]
    assert (second.found, second.screened_out, second.empty) == (1, 1, True)
    assert second.reasons == ("2026-05-13 100 % cloud, shadow or no data over the parcels (limit 60 %)",)
    assert third.reasons == ("no scene at any source",)
    assert [str(row.start) for row in result.empty_dekads] == ["2026-05-11", "2026-05-21"]
    assert json.dumps(result.as_dict(), allow_nan=False)


# ---- other kinds of sources
def test_rasters_of_a_stac_item_lie_under_its_id_with_the_item(
    site: Site, shelf: Shelf, tmp_path: Path
) -> None:
    files = {"SCL.tif": jp2(scl(0.0)), "B04.tif": jp2(np.ones((8, 8), np.uint16)), "item.json": b'{"id": 1}'}
    product = shelf.add(site, "S2A_48SWE_20260501_0_L2A", {}, day(5, 1))
    remote = []
    for path, body in files.items():
        site.files[f"/{path}"] = body
        remote.append(RemoteFile(path.split(".")[0], path, f"{site.url}/{path}"))
    shelf.products[0] = replace(product, files=tuple(remote))
    assert fetcher(tmp_path, shelf, bands=("B04",)).run().complete
    folder = tmp_path / "sentinel-2-l2a" / "48SWE" / product.name
    assert sorted(path.name for path in folder.iterdir()) == [".complete", "B04.tif", "SCL.tif", "item.json"]
    # a source that has no file of the item: what it said is written down
    shelf.products[0] = replace(product, files=tuple(remote[:2]), properties={"flag": True}, id="x")
    assert fetcher(tmp_path / "b", shelf, bands=("B04",)).run().complete
    item = json.loads(next((tmp_path / "b").rglob("item.json")).read_text())
    assert item == {"id": "x", "properties": {"flag": True}}


def test_a_source_of_whole_zips_is_unpacked(site: Site, shelf: Shelf, tmp_path: Path) -> None:
    name, files = safe(day(5, 1))
    shelf.add(site, name, files, day(5, 1), zipped=True)
    path = f"/cdse/{name}.zip"
    site.trouble[path] = [other(site.files[path][:-50])]  # an incomplete zip, and nobody tells a digest
    result = fetcher(tmp_path, shelf).run()
    assert result.complete
    folder = f"sentinel-2-l2a/48SWE/{name}"
    assert without_marks(contents(tmp_path)) == {f"{folder}/{p}": body for p, body in files.items()}


# ---- screening
def test_screening_counts_only_the_fields() -> None:
    pixels = scl(0.5)
    inside = np.zeros_like(pixels, dtype=bool)
    inside[30:34] = True  # 2 rows of cloud, 2 of vegetation
    pixels[33, :16] = 0
    found = screen(pixels, inside)
    assert found == Screening(4 * 64, 16, 2 * 64 + 16)
    assert found.share == 56.25
    assert "none of the units" in Screening(0, 0, 0).reason(100, "units")
    assert "no data over" in Screening(5, 5, 5).reason(100, "units")
    assert Screening(100, 0, 60).reason(60, "units") == ""


def test_fields_are_laid_on_the_scene_where_they_lie(tmp_path: Path) -> None:
    import shapely
    from pyproj import Transformer

    path = tmp_path / "scl.jp2"
    path.write_bytes(jp2(scl(0.5)))
    to_lonlat = Transformer.from_crs("EPSG:32648", "EPSG:4326", always_xy=True)
    x, y = 499_980.0 + 200, 3_900_000.0 - 600  # a field 200 m × 100 m, 2 pixel rows cloud, 3 clear
    corners = [to_lonlat.transform(x + a, y - b) for a, b in ((1, 1), (199, 1), (199, 99), (1, 99))]
    region = Region("parcels", np.array([shapely.Polygon(corners)], dtype=object))
    assert screen_file(path, region) == Screening(10 * 5, 0, 10 * 2)
    # of many grids the last masks are kept
    for column in range(40):
        region.inside(CRS.from_epsg(32648), from_origin(x - 20 * column, y, 20, 20), (64, 64))
    assert len(region._masks) == 16


def test_the_region_is_parcels_else_units_else_box(tmp_path: Path) -> None:
    box = (105.0, 35.0, 105.5, 35.5)
    assert read_region(RegionSpec("x", box, None, None, "id")).what == "region"
    path = tmp_path / "p.geojson"
    ring = [[105.0, 35.0], [105.1, 35.0], [105.1, 35.1], [105.0, 35.0]]
    path.write_text(
        json.dumps(
            {"type": "FeatureCollection", "features": [
                {"type": "Feature", "properties": {}, "geometry": {"type": "Polygon", "coordinates": [ring]}}
            ]}
        )
    )  # fmt: skip
    region = read_region(RegionSpec("x", box, path, path, "id"))
    assert region.what == "parcels" and len(region.shapes) == 1
    with pytest.raises(SeasonFileError, match="bbox"):
        read_region(RegionSpec("x", None, None, None, "id"))


# ---- processes
_RUN = """
import sys
from pathlib import Path
sys.path.insert(0, {here!r})
from shelf import Shelf, stock
from loopback import Site
from test_fetch import fetcher
from eo_pipeline.acquire.transport import Transport
shelf = Shelf("cdse", sys.argv[1], Transport())
stock(shelf, Site(), count=3)
sys.exit(0 if fetcher(Path(sys.argv[2]), shelf).run().complete else 1)
"""


def _start(site: Site, root: Path) -> subprocess.Popen[bytes]:
    script = _RUN.format(here=str(Path(__file__).parent))
    return subprocess.Popen([sys.executable, "-c", script, site.url, str(root)])


def test_a_fetch_that_is_killed_goes_on_and_ends_with_the_same_bytes(
    site: Site, shelf: Shelf, tmp_path: Path
) -> None:
    stock(shelf, site, count=3)
    site.pace = 0.05
    whole = expected(site, shelf, shelf.products)
    for amount in (60_000, 200_000):
        process = _start(site, tmp_path)
        site.sent, deadline = 0, time.monotonic() + 40
        while site.sent < amount and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.005)
        process.kill()
        process.wait()
        # whatever has its final name is whole
        for path, body in without_marks(contents(tmp_path)).items():
            if not path.endswith((".partial", ".json", ".lock")):
                assert body == whole[path]
    site.pace = 0.0
    assert fetcher(tmp_path, shelf).run().complete
    assert without_marks(contents(tmp_path)) == whole


def test_two_processes_fetch_one_season(site: Site, shelf: Shelf, tmp_path: Path) -> None:
    stock(shelf, site, count=3)
    site.pace = 0.01
    processes = [_start(site, tmp_path) for _ in range(2)]
    assert [process.wait(timeout=60) for process in processes] == [0, 0]
    assert without_marks(contents(tmp_path)) == expected(site, shelf, shelf.products)


# ---- season and command
@pytest.fixture
def season_file(tmp_path: Path) -> Path:
    path = tmp_path / "season.toml"
    path.write_text(
        '[season]\nid = "t-2026"\ntitle = "T"\nstart = 2026-05-01\nend = 2026-05-31\n'
        '[region]\nname = "T"\nbbox = [105.001, 35.2305, 105.013, 35.2425]\n'
        '[source]\nkind = "cdse"\nroot = "store"\nbands = ["B04", "B08"]\ntiles = ["48SWE"]\n'
        'max_cloud = 60.0\n[output]\nroot = "runs"\n'
    )
    return path


def test_a_season_file_is_fetched(site: Site, shelf: Shelf, season_file: Path) -> None:
    stock(shelf, site, count=2)
    assert scene_fetcher(read_season(season_file), [shelf], options=QUICK).run().complete
    root = season_file.parent / "store"
    assert without_marks(contents(root)) == expected(site, shelf, shelf.products)


def test_the_command_plans_fetches_and_tells_what_is_missing(
    site: Site, shelf: Shelf, season_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import typer

    from eo_pipeline import cli_fetch
    from eo_pipeline.acquire.sources import registry

    stock(shelf, site, count=4, cloudy=(3,))
    monkeypatch.setattr(registry, "open_archives", lambda season, *, transport: (shelf,))
    monkeypatch.setattr(fetch_module, "FetchOptions", partial(FetchOptions, round_wait_s=0.01))
    # the shelf's metadata tells nothing of an offset; what is doubted is the matter of test_quarantine
    monkeypatch.setattr("eo_pipeline.scenes.proofs.prover", lambda root: lambda folder, source: "")
    app = typer.Typer()
    cli_fetch.register(app)
    app.callback()(lambda: None)
    run = CliRunner().invoke

    planned = run(app, ["fetch", str(season_file), "--dry-run", "--max-mbps", "8"])
    assert planned.exit_code == 0, planned.output
    assert "4 scenes found; 0 are here" in planned.output and "4 to fetch" in planned.output
    assert "at 1.0 MB/s" in planned.output and not site.seen
    done = run(app, ["fetch", str(season_file)])
    assert done.exit_code == 0, done.output
    assert "3 scenes here, 1 left out for clouds, 0 failed, 0 quarantined, 0 not fetched" in done.output
    assert "48SWE: nothing usable in 2 dekads: 2026-05-11, 2026-05-21" in done.output
    document = json.loads(run(app, ["fetch", str(season_file), "--json"]).stdout)
    assert document["counts"] == {"done": 3, "screened-out": 1} and document["complete"] is True

    bad = next(file for file in shelf.products[0].files if file.key == "B04")
    next((season_file.parent / "store").rglob(Path(bad.path).name)).unlink()
    site.always[urlsplit(bad.href).path] = status(422, b"no such node")
    failed = run(app, ["fetch", str(season_file), "--json"])
    assert failed.exit_code == 1 and json.loads(failed.stdout)["counts"]["failed"] == 1
    shelf.broken = "cdse is down"
    # where the others have nothing the region is not to blame
    season_file.write_text(season_file.read_text().replace('"store"', '"other"'))
    both = (shelf, Shelf("mirror", site.url, shelf.transport))
    monkeypatch.setattr(registry, "open_archives", lambda season, *, transport: both)
    nothing = run(app, ["fetch", str(season_file)])
    assert nothing.exit_code == 2
    assert "Not every source answered: a search failed: cdse is down" in nothing.stderr
    assert "Correct its outline" not in nothing.stderr
    assert run(app, ["fetch", str(season_file.parent / "none.toml")]).exit_code == 2
