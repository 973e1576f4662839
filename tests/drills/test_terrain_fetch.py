"""An elevation model from an archive onto the disk and into a season's cube."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from datetime import date
from pathlib import Path

import numpy as np
import pytest
import rasterio
from command import good, refused
from drilling import Twin, environment, leftovers
from rasterio.transform import from_origin

from eo_pipeline.acquire.completeness import Completeness
from eo_pipeline.acquire.fetch import FetchOptions
from eo_pipeline.acquire.heights import cells_of, elevation_model
from eo_pipeline.acquire.ledger import Ledger
from eo_pipeline.acquire.pacing import Limits
from eo_pipeline.acquire.screening import read_region
from eo_pipeline.acquire.season_fetch import terrain_fetcher
from eo_pipeline.acquire.sources.registry import open_terrain
from eo_pipeline.acquire.transport import Transport
from eo_pipeline.cube.store import NODATA, TileStore
from eo_pipeline.cube.terrain import mosaic
from eo_pipeline.errors import SeasonFileError, SourceError
from eo_pipeline.season import read_season
from eo_pipeline.simulate.archive import Faults, serve
from eo_pipeline.simulate.archive.faults import Scripted

CELL = "Copernicus_DSM_COG_10_N35_00_E105_00_DEM"
QUICK = FetchOptions(margin_bytes=1, idle_rounds=1, round_wait_s=0.05)
LIMITS = Limits(backoff_s=0.01, backoff_cap_s=0.1, retry_after_cap_s=0.2)


def season_of(
    twin: Twin, folder: Path, url: str, *, kind: str = "earth-search", bbox: tuple[float, ...] | None = None
) -> Path:
    """Sentinel-2 lies in the twin's folder, the elevation model is fetched."""
    api = "stac/v1" if kind == "earth-search" else "pc/api/stac/v1"
    return twin.season(
        folder,
        f'kind = "folder"\nlayout = "safe"\nroot = "{twin.products}"',
        start=date(2026, 6, 1),
        end=date(2026, 7, 31),
        region=f"bbox = {json.dumps(bbox)}" if bbox else "",
        more=f'[source.terrain]\nkind = "{kind}"\nroot = "heights"\nurl = "{url}/{api}"\n',
    )


def fetch(file: Path) -> Completeness:
    season = read_season(file)
    archives = open_terrain(season, transport=Transport(limits=LIMITS))
    return terrain_fetcher(season, archives, options=QUICK).run()


def test_what_is_fetched_is_checked_told_and_in_the_cube(twin: Twin, tmp_path: Path) -> None:
    bad = (Scripted(f"/{CELL}\\.tif", ("truncated", "corrupt", "503")),)
    with serve(twin.products, faults=Faults(script=bad)) as archive:
        file = season_of(twin, tmp_path, archive.url)
        assert "Run `eo fetch`" in refused("plan", file)
        assert "earth-search: answers" in good("sources", file)
        dry = json.loads(good("fetch", file, "--dry-run", "--json"))["terrain"]
        assert (dry["plan"]["to_fetch"], dry["plan"]["there"], dry["dekads"]) == (1, 0, [])
        assert dry["plan"]["bytes"] > 1e6 and not list(tmp_path.rglob("*.tif"))
        assert fetch(file).complete
        assert archive.stats()["faults"] == {"truncated": 1, "corrupt": 1, "503": 1}
        sent = archive.stats()["bytes"]
        told = good("fetch", file)
        assert "1 cells of the elevation model here, 0 failed" in told and "N35E105 here" in told
        dry = json.loads(good("fetch", file, "--dry-run", "--json"))["terrain"]
        assert (dry["plan"]["to_fetch"], dry["plan"]["there"], dry["plan"]["bytes"]) == (0, 1, 0)
        facts = json.loads(good("ingest", file, "--workers", 0, "--json"))  # it fetches first
        assert archive.stats()["bytes"] == sent  # nothing is fetched twice
        (dem,) = elevation_model(read_season(file))
        # a file that was changed comes again
        dem.write_bytes(dem.read_bytes()[:-1])
        result = fetch(file)
        assert result.complete and result.fetched_bytes == dem.stat().st_size
    with Ledger(tmp_path / "heights") as ledger:
        (row,) = ledger.products("cop-dem-glo-30")
        assert (row.tile, row.name, row.state, row.source) == ("N35E105", CELL, "done", "earth-search")
        known = ledger.file(dem.relative_to(ledger.root).as_posix())
        assert known is not None and known.proof == "pixels"
    assert leftovers(tmp_path) == []

    # the twin's heights, averaged to a second of arc and back: on slopes that is not the same to the metre
    with rasterio.open(twin.folder / "dem.tif") as raster:
        own, place = raster.read(1), raster.transform
    assert sorted(facts["terrain"]) == ["48SWD", "48SWE"]
    for store in facts["cubes"].values():
        tile = TileStore(Path(store))
        x, y = tile.group.attrs["transform"][2], tile.group.attrs["transform"][5]
        heights, slopes = tile.read("elevation"), tile.read("slope")
        row0, col0 = round((y - place.f) / -10), round((x - place.c) / 10)
        inside = heights[8:-8, 8:-8] != NODATA
        rows, cols = np.nonzero(inside)
        rows, cols = rows + 8 + row0, cols + 8 + col0
        known_here = (rows >= 0) & (rows < own.shape[0]) & (cols >= 0) & (cols < own.shape[1])
        difference = heights[8:-8, 8:-8][inside][known_here] - own[rows[known_here], cols[known_here]]
        assert known_here.sum() > 500 and abs(difference.mean()) < 0.5 and np.abs(difference).max() < 12
        assert 2 < slopes[slopes != NODATA].mean() / 100 < 40


def test_killed_in_the_middle_it_goes_on_also_signed(twin: Twin, tmp_path: Path) -> None:
    stalled = (Scripted(f"/{CELL}\\.tif", ("stalled",) * 1000),)
    made = tmp_path / "made"
    with serve(twin.products, faults=Faults(script=stalled, stall_s=60.0), cache=made) as archive:
        port = int(archive.url.rpartition(":")[2])
        file = season_of(twin, tmp_path, archive.url, kind="planetary-computer")
        command = [sys.executable, "-m", "eo_pipeline.cli", "fetch", str(file), "--json"]
        process = subprocess.Popen(command, env=environment(), stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + 60
        while process.poll() is None and time.monotonic() < deadline:
            if any(path.stat().st_size for path in (tmp_path / "heights").rglob("*.partial")):
                break
            time.sleep(0.02)
        assert process.poll() is None, "it ended before it could be killed"
        process.kill()
        process.wait()
    (half,) = (path for path in (tmp_path / "heights").rglob("*.partial"))
    begun = half.stat().st_size
    assert begun > 0 and not list((tmp_path / "heights").rglob("*.tif"))
    with serve(twin.products, port=port, cache=made) as archive:
        result = fetch(file)
        stats = archive.stats()
    assert stats["signatures"] > 0 and result.complete and leftovers(tmp_path) == []
    (dem,) = elevation_model(read_season(file))
    # what had come was kept; without a checksum, what is no pixels is asked for once more
    assert 0 <= stats["bytes"] - (dem.stat().st_size - begun) < 4096


def test_seasons_share_a_folder_and_take_their_own_cells(twin: Twin, tmp_path: Path) -> None:
    # ground that rises to the east over the border of two cells
    products = tmp_path / "twin/archive"
    name = twin.names()[0]
    shutil.copytree(twin.products / name, products / name)
    plane = np.tile(np.arange(720, dtype=np.float32), (360, 1))
    with rasterio.open(
        tmp_path / "twin/dem.tif", "w", driver="GTiff", width=720, height=360, count=1, dtype="float32",
        crs="EPSG:4326", transform=from_origin(105.9, 35.3, 1 / 3600, 1 / 3600), nodata=-32768,
    ) as raster:  # fmt: skip
        raster.write(plane, 1)
    wide = (105.95, 35.22, 106.05, 35.28)
    with serve(products) as archive:
        both = season_of(twin, tmp_path / "a", archive.url, bbox=wide)
        assert [scene.tile for scene in fetch(both).scenes] == ["N35E105", "N35E106"]
        west = season_of(twin, tmp_path / "a", archive.url, bbox=(105.95, 35.22, 105.96, 35.28))
        again = fetch(west)
        assert again.fetched_bytes == 0 and [scene.tile for scene in again.scenes] == ["N35E105"]
        assert len(elevation_model(read_season(west))) == 1
        cells = elevation_model(read_season(season_of(twin, tmp_path / "a", archive.url, bbox=wide)))
        with rasterio.open(mosaic(cells)) as raster:
            row, _ = raster.index(106.0, 35.25)
            _, left = raster.index(105.96, 35.25)
            heights = raster.read(1)[row, left : left + 200]
        assert np.diff(heights) == pytest.approx(1.0, abs=1e-3)  # no seam
        # an archive that has none of it says so, and the season cannot be planned
        far = season_of(twin, tmp_path / "b", archive.url, bbox=(100.1, 30.1, 100.2, 30.2))
        assert fetch(far).scenes == ()
        with pytest.raises(SourceError, match="no cell of the elevation model"):
            elevation_model(read_season(far))
    prefecture = read_region(read_season("examples/pingliang.toml").region)
    assert cells_of(prefecture) == (
        "N34E105", "N34E106", "N34E107", "N35E105", "N35E106", "N35E107",
    )  # fmt: skip
    text = both.read_text(encoding="utf-8")
    for old, new, part in (
        ('root = "heights"\n', "", "root"),
        ('root = "heights"', 'dem = "x.tif"', 'dem is for kind = "file"'),
        ('kind = "earth-search"\nroot = "heights"', 'dem = "season.toml"', "url is for kind"),
    ):
        assert old in text
        both.write_text(text.replace(old, new), encoding="utf-8")
        with pytest.raises(SeasonFileError, match=part):
            read_season(both)
