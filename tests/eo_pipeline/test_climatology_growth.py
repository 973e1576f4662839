"""Growth against a climatology of past seasons: [growth] climatology, from the plan to the report."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import rasterio
from command import good, refused
from seasons import TOML, TinySeason, make_season

from eo_pipeline.cube.climatology import Climatology
from eo_pipeline.errors import SeasonFileError
from eo_pipeline.publish.contract import read_estimates, read_manifest
from eo_pipeline.season import read_season

SIZE = 48
YEARS = {2022: 0.94, 2023: 1.0, 2024: 1.03, 2025: 0.98}
LINE = 'index = "NDVI"\nclimatology = "../climatology"\n'


def of_year(root: Path, year: int, vigour: float) -> TinySeason:
    """The tiny season in another year, every pixel greener or less by a factor."""
    season = make_season(root / str(year), size=SIZE)
    for day in season.dates:
        path = season.scenes / f"S2_{day:%Y%m%d}.tif"
        with rasterio.open(path, "r+") as raster:
            raster.write((2000 + (raster.read(3) - 2000) * vigour).astype(np.int16), 3)
        path.rename(season.scenes / f"S2_{year}{day:%m%d}.tif")
    text = season.toml.read_text()
    season.toml.write_text(text.replace("2026", str(year)))
    return season


@pytest.fixture(scope="module")
def past(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with four seasons, and the climatology of three; the fourth can be added."""
    root = tmp_path_factory.mktemp("past")
    for year, vigour in YEARS.items():
        good("ingest", of_year(root, year, vigour).toml, "--workers", 0, "--json")
    seasons = [root / str(year) / "season.toml" for year in YEARS]
    good("cube", "climatology", "build", root / "climatology", *seasons[:3])
    return root


@pytest.fixture
def this(past: Path, tmp_path: Path) -> TinySeason:
    """A season like the others, but a patch that does much worse; with a climatology of its own to change."""
    shutil.copytree(past / "climatology", tmp_path / "climatology")
    season = make_season(tmp_path / "2026", size=SIZE)
    for day in season.dates:
        with rasterio.open(season.scenes / f"S2_{day:%Y%m%d}.tif", "r+") as raster:
            nir = raster.read(3)
            nir[32:, 32:] = 2000 + (nir[32:, 32:] - 2000) * 0.5
            raster.write(nir, 3)
    season.rewrite('index = "NDVI"\n', LINE)
    return season


def test_each_pixel_is_held_against_its_own_past(this: TinySeason) -> None:
    plan = json.loads(good("plan", this.toml, "--json"))
    assert plan["tasks"]["growth"]["to_do"] == 1
    good("run", this.toml, "--workers", 0, "--json")
    folder = this.root / "runs/tiny-2026"
    with rasterio.open(folder / "growth/all/growth.tif") as raster:
        classes = raster.read(1)
        assert "climatology" in raster.descriptions[0]
    with rasterio.open(folder / "growth/all/anomaly.tif") as raster:
        anomaly = raster.read(1) / 10
    # 2026 is as 2023, the middle of the three
    assert (classes[:32] == 3).mean() > 0.99 and np.abs(np.median(anomaly[:32])) < 1
    assert np.isin(classes[34:, 34:], (1, 2)).mean() > 0.99 and np.median(anomaly[34:, 34:]) < -8
    table = read_estimates(folder).query("product == 'growth'")
    assert set(table.method) == {"climatology"} and table.value.sum() == pytest.approx(100)
    manifest = read_manifest(folder)
    (row,) = [item for item in manifest.inputs if item["role"] == "climatology"]
    assert row["path"] == "climatology/all.zarr" and len(row["sha256"]) == 64
    assert row["seasons"] == ["tiny-2022", "tiny-2023", "tiny-2024"]
    page = (folder / "report.html").read_text()
    assert "与历年同旬的中位水平相比" in page and "历年同期库" in page and "试行" in page


def test_a_season_more_makes_growth_anew_and_nothing_else(this: TinySeason, past: Path) -> None:
    good("growth", this.toml, "--workers", 0, "--json")
    climatology = this.root.parent / "climatology"
    good("cube", "climatology", "build", climatology, past / "2025/season.toml")
    tasks = json.loads(good("plan", this.toml, "--json"))["tasks"]
    assert {name for name, count in tasks.items() if count["to_do"]} == {"growth"}
    # also one tile's store may be named
    this.rewrite("../climatology", "../climatology/all.zarr")
    rows = json.loads(good("growth", this.toml, "--workers", 0, "--json"))
    assert {row["method"] for row in rows} == {"climatology"}


def test_blocks_of_any_size_give_the_same_growth(this: TinySeason, tmp_path: Path) -> None:
    found = []
    for block in (16, 48):
        out = tmp_path / str(block)
        good("run", this.toml, "--workers", 0, "--block", block, "--out", out, "--json")
        with rasterio.open(out / "tiny-2026/growth/all/growth.tif") as raster:
            found.append(raster.read(1))
    np.testing.assert_array_equal(*found)


def test_an_unfit_climatology_is_refused_before_anything_is_done(
    this: TinySeason, past: Path, tmp_path: Path
) -> None:
    store = this.root.parent / "climatology/all.zarr"
    good("ingest", this.toml, "--workers", 0, "--json")
    good("cube", "climatology", "build", store.parent, this.toml)
    assert "tiny-2026 (2026-03-05 to 2026-08-26), which is this very season" in refused("plan", this.toml)
    few = tmp_path / "few"
    good("cube", "climatology", "build", few, past / "2022/season.toml", past / "2023/season.toml")
    this.rewrite("../climatology", "../few")
    assert "holds 2 season(s); 3 at least" in refused("run", this.toml)
    this.rewrite('index = "NDVI"', 'index = "EVI"')
    assert "holds NDVI, not EVI" in refused("run", this.toml)
    this.rewrite('index = "EVI"', 'index = "NDVI"')
    this.rewrite("../few", "scenes")
    assert "holds no climatology" in refused("run", this.toml)
    half = Climatology(tmp_path / "half/all.zarr")
    shutil.copytree(past / "climatology", half.path.parent)
    half.tile.begin([3])
    this.rewrite('climatology = "scenes"', 'climatology = "../half"')
    assert "a season is being added" in refused("plan", this.toml)
    other = make_season(tmp_path / "other", size=32)
    other.rewrite('index = "NDVI"\n', f'index = "NDVI"\nclimatology = "{past / "climatology"}"\n')
    error = refused("run", other.toml)
    assert "lies on another grid than tile all of this season" in error and str(other.toml) in error
    assert not (other.root / "runs").exists()


def test_growth_is_held_against_one_thing(tmp_path: Path) -> None:
    (tmp_path / "scenes").mkdir()
    path = tmp_path / "season.toml"
    path.write_text(TOML.replace('index = "NDVI"', 'baseline = ["scenes"]\nclimatology = "scenes"'))
    with pytest.raises(SeasonFileError, match=r"\[growth\] climatology and baseline are both given"):
        read_season(path)
    path.write_text(TOML.replace('index = "NDVI"', 'climatology = "nowhere"'))
    with pytest.raises(SeasonFileError, match=r"\[growth\] climatology.*nowhere does not exist"):
        read_season(path)


# ---- the twin --------------------------------------------------------------------------------------------
def judged_on_the_twin(season: Path) -> np.ndarray:
    """Growth classes of a season of the twin against the climatology beside it."""
    season.write_text(
        season.read_text().replace('index = "NDVI"\n', 'index = "NDVI"\nclimatology = "../../usual"\n')
    )
    good("run", season, "--workers", 0, "--json")
    with rasterio.open(next(season.parents[1].glob("runs/*-2026/growth/*/growth.tif"))) as raster:
        return np.asarray(raster.read(1))


@pytest.mark.slow
def test_what_frost_and_hail_of_the_twin_hit_grows_worse_than_usual(tmp_path: Path) -> None:
    """One landscape twice, with and without the disasters of 2026; what is usual are three calm seasons."""
    from eo_pipeline.simulate import crops, twin
    from eo_pipeline.simulate.twin import TwinOptions

    for name, events in (("calm", "none"), ("struck", "typical")):
        twin.simulate(tmp_path / name, TwinOptions(size_km=1.0, seasons=4, seed=5, events=events))
    past = [tmp_path / "calm" / str(year) / "season.toml" for year in (2023, 2024, 2025)]
    calm, struck = (tmp_path / name / "2026/season.toml" for name in ("calm", "struck"))
    for path in (*past, calm, struck):
        # no map is needed: the whole image is judged by one calendar
        text = re.sub(r"\[classify\].*?\n\n", "", path.read_text(), flags=re.DOTALL)
        path.write_text(re.sub(r"\nbaseline = .*", "", text))
    for path in past:
        good("ingest", path, "--workers", 0, "--json")
    good("cube", "climatology", "build", tmp_path / "usual", *past)
    before, after = judged_on_the_twin(calm), judged_on_the_twin(struck)
    with rasterio.open(struck.parent / "truth/event_summary.tif") as raster:
        hazard, loss = raster.read(1), raster.read(3)
    with rasterio.open(struck.parent / "truth/crop_type.tif") as raster:
        apple = raster.read(1) == crops.CODE["apple"]
    judged = (before >= 1) & (before <= 5) & (after >= 1) & (after <= 5)

    def worse(classes: np.ndarray, where: np.ndarray) -> float:
        assert (where & judged).sum() > 50
        return float((classes[where & judged] <= 2).mean())

    frost, hail, drought = (apple & (hazard == code) for code in (2, 3, 1))
    assert worse(after, frost) > 0.35 > 0.15 > worse(before, frost)
    assert worse(after, hail) > max(0.7, worse(before, hail) + 0.25)
    # orchards of the same season that the frost spared, and ground that nothing hit
    assert worse(after, drought) < 0.2
    assert worse(after, loss == 0) < 0.1
    assert (before[loss == 0] == after[loss == 0]).mean() > 0.95
    hit = judged & (loss >= 300)
    assert after[hit].mean() < before[hit].mean() - 0.1
