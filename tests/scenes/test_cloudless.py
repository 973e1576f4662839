"""Clouds by s2cloudless: the model itself on Level-1C products beside a season, and what is in its way."""

from __future__ import annotations

import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from s2cloudless import S2PixelCloudDetector
from test_scene_source import season_of
from tiny_level1c import CLOUD, GROUND, PLACE, CloudySafe, TinyLevel1C, opacity
from tiny_safe import TinySafe, zip_safe
from typer.testing import CliRunner

from eo_pipeline import cli
from eo_pipeline.acquire.sources.base import scene_token
from eo_pipeline.cube.store import NODATA, TileStore
from eo_pipeline.errors import SeasonFileError, SourceError
from eo_pipeline.grid import Block
from eo_pipeline.plan import make_plan
from eo_pipeline.scenes import cloudless
from eo_pipeline.scenes.cloudless import MODEL_BANDS, CloudsFound, find_clouds
from eo_pipeline.scenes.clouds import (
    CLEAR,
    FOUND,
    NO_DATA,
    UNUSABLE,
    SceneMask,
    dilate,
    mask_bytes,
    mask_of,
    mask_scene,
)
from eo_pipeline.scenes.level1c import datatake_of, offset_of, open_level1c
from eo_pipeline.scenes.sentinel2 import read_product
from eo_pipeline.scenes.source import SentinelSource
from eo_pipeline.season import Season, read_season
from eo_pipeline.stages import Stages

CLOUDS = '[source.clouds]\ndetector = "s2cloudless"\nl1c = "level1c"\n'


def cloudy_season(folder: Path, *, clouds: str = CLOUDS) -> Season:
    """A season with one cloudy scene whose SCL sees vegetation everywhere, and an empty folder for L1C."""
    (folder / "level1c").mkdir(parents=True, exist_ok=True)
    season = season_of(folder, more=clouds)
    CloudySafe().write(season.source.root)
    return season


def sees(season: Season) -> CloudsFound:
    """What the model sees of the only scene, on pixels of 10 m."""
    (tile,) = SentinelSource(season).tiles()
    spec = season.source.sentinel
    assert spec is not None
    rows, columns = (np.arange(side) + 0.5 for side in tile.grid.shape)
    return find_clouds(
        tile.scenes[0].level1c, rows=rows, columns=columns, pixel_m=10.0, threshold=spec.threshold
    )


def mask(season: Season, target: Path, number: int = 0) -> tuple[dict[str, Any], NDArray[np.uint8]]:
    """The mask of a scene on pixels of 10 m, and what was told of it."""
    (tile,) = SentinelSource(season).tiles()
    assert season.source.sentinel is not None
    told = mask_scene(
        scene=tile.scenes[number], grid=tile.grid, owned=None, clouds=season.source.sentinel, mask_file=target
    )
    return told, SceneMask.read(target, Block(tile.name, 0, 0, *tile.grid.shape))


def by_the_package(share: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Cloud on pixels of 10 m as the package itself finds it, from the true reflectance of cells of 160 m."""
    side = len(share) // 16
    cells = share.reshape(side, 16, side, 16).mean(axis=(1, 3))
    pixels = np.stack([GROUND[b] + (CLOUD[b] - GROUND[b]) * cells for b in MODEL_BANDS], axis=-1)
    detector = S2PixelCloudDetector(threshold=0.4, average_over=1, dilation_size=1)
    found = detector.get_cloud_masks(pixels[None].astype(np.float32))[0] > 0
    return found.repeat(16, 0).repeat(16, 1)


# ---- the model
def test_a_cloud_that_scl_calls_vegetation_is_found_and_the_ground_stays_clear(tmp_path: Path) -> None:
    season = cloudy_season(tmp_path)
    TinyLevel1C().write(tmp_path / "level1c")
    told, codes = mask(season, tmp_path / "m.mask")
    found = sees(season).cloud
    expected = by_the_package(opacity(288))[:256, :256]
    assert expected[PLACE].all() and 0.2 < expected.mean() < 0.25
    # reduced pictures of a JP2 are a little blurred: some cells beside the edge of the cloud are hazy
    assert found[expected].all() and not found[~dilate(expected, 16)].any()
    classes = np.where(found, np.uint8(FOUND), np.uint8(4))[::2, ::2]
    classes[:8] = 0  # the first rows were not seen
    spec = season.source.sentinel
    assert spec is not None
    wanted = mask_of(classes, rule=spec, pixel_m=20.0, sun=(21.5, 135.25), origin=(-197_501, 30_000))
    assert set(np.unique(wanted).tolist()) == {0, 1, 2, 3}
    np.testing.assert_array_equal(codes, wanted.repeat(2, 0).repeat(2, 1))
    assert (codes[PLACE] == UNUSABLE).all()
    assert (codes[200:, 200:] == CLEAR).all()
    assert told["detector"] == "s2cloudless"
    assert told["found"] == int((classes == FOUND).sum())
    assert told["unseen"] == 0
    # and without it the cloud is clear ground
    told, codes = mask(cloudy_season(tmp_path, clouds=""), tmp_path / "m.mask")
    assert (told["detector"], told["unusable"]) == ("scl", 0)
    assert (codes[PLACE] == CLEAR).all()


def test_the_threshold_is_that_of_the_season(tmp_path: Path) -> None:
    thin = opacity(288) * 0.04
    found = {}
    for threshold in (0.0, 0.4, 0.99):
        season = cloudy_season(tmp_path, clouds=f"{CLOUDS}threshold = {threshold}\n")
        shutil.rmtree(tmp_path / "level1c")
        TinyLevel1C(cloud_share=thin).write(tmp_path / "level1c")
        found[threshold] = int(sees(season).cloud.sum())
    assert found[0.0] == 256 * 256  # every cell has some probability
    assert found[0.0] > found[0.4] >= found[0.99] == 0


@pytest.mark.parametrize("threshold", [0.12, 0.4, 0.7, 0.97])
def test_either_baseline_gives_the_same_clouds(tmp_path: Path, threshold: float) -> None:
    # from clear to thick over the width: each threshold cuts at another column
    share = np.linspace(-0.1, 0.4, 288).clip(0)[None].repeat(288, axis=0)
    found = []
    for baseline in ("05.10", "02.14"):
        folder = tmp_path / baseline
        season = cloudy_season(folder, clouds=f"{CLOUDS}threshold = {threshold}\n")
        tiny = TinyLevel1C(baseline=baseline, cloud_share=share)
        path = tiny.write(folder / "level1c")
        assert (int(tiny.numbers("B10").min()) > 1000) is (baseline == "05.10")
        found.append(sees(season).cloud)
        (scene,) = SentinelSource(season).tiles()[0].scenes
        assert {asset.offset for asset in scene.level1c} == {-0.1 if baseline == "05.10" else 0.0}
        assert [asset.band for asset in scene.level1c] == list(MODEL_BANDS)
        assert str(path) in scene.level1c[0].path
    assert 0 < found[0].mean() < 1
    np.testing.assert_array_equal(found[0], found[1])


def test_a_part_of_a_tile_is_seen_as_in_the_whole(tmp_path: Path) -> None:
    season = cloudy_season(tmp_path)
    TinyLevel1C().write(tmp_path / "level1c")
    (tile,) = SentinelSource(season).tiles()
    bands = tile.scenes[0].level1c
    options = {"pixel_m": 10.0, "threshold": 0.4}
    whole = find_clouds(bands, rows=np.arange(288) + 0.5, columns=np.arange(288) + 0.5, **options)
    assert 0.2 < whole.cloud.mean() < 0.25 and whole.seen.all()
    for top, left, bottom, right in [
        (90, 70, 140, 200),
        (0, 0, 20, 20),
        (171, 159, 172, 160),
        (100, 3, 288, 90),
    ]:
        part = find_clouds(
            bands, rows=np.arange(top, bottom) + 0.5, columns=np.arange(left, right) + 0.5, **options
        )
        np.testing.assert_array_equal(part.cloud, whole.cloud[top:bottom, left:right])
        np.testing.assert_array_equal(part.seen, whole.seen[top:bottom, left:right])


def test_a_zip_is_read_as_its_folder_is(tmp_path: Path) -> None:
    season = cloudy_season(tmp_path)
    folder = TinyLevel1C().write(tmp_path / "level1c")
    before = sees(season).cloud
    zip_safe(folder)
    np.testing.assert_array_equal(sees(season).cloud, before)


def test_no_data_stays_no_data_and_what_level_1c_lacks_is_left_to_scl(tmp_path: Path) -> None:
    season = cloudy_season(tmp_path)
    TinyLevel1C(cloud_share=np.ones((288, 288)), empty=96).write(tmp_path / "level1c")
    told, codes = mask(season, tmp_path / "m.mask")
    assert (codes[:16] == NO_DATA).all()  # the L2A product has nothing there
    assert (codes[16:80] != NO_DATA).all() and (codes[16:80] != UNUSABLE).all()
    assert (codes[112:] == UNUSABLE).all()
    # rows 16-96, and a cell beside the edge of what was seen, of 20 m each
    assert told["unseen"] == (112 - 16) // 2 * 128
    assert told["found"] > 0
    seen = sees(season)
    assert not seen.seen[:112].any() and seen.seen[112:].all()


# ---- which product
def test_products_that_do_not_fit_are_told_and_scl_stands_alone(tmp_path: Path) -> None:
    season = cloudy_season(tmp_path)
    folder = tmp_path / "level1c"
    TinyLevel1C(tile="48SYE").write(folder)  # another tile
    TinyLevel1C(sensed="20260604T033541").write(folder)  # another datatake
    TinyLevel1C(platform="S2B").write(folder)  # another satellite
    plan = make_plan(season)
    assert plan.skipped == ()
    assert plan.clouds is not None
    assert plan.clouds == {
        "detector": "s2cloudless", "threshold": 0.4, "scenes": 0, "scl_alone": [CloudySafe().name],
    }  # fmt: skip
    told, codes = mask(season, tmp_path / "m.mask")
    assert (told["detector"], told["unusable"]) == ("scl", 0)
    assert (codes[PLACE] == CLEAR).all()


@pytest.mark.parametrize(
    ("tiny", "words"),
    [
        (
            TinyLevel1C(bands=tuple(b for b in TinyLevel1C().bands if b != "B10")),
            "no raster of B10; s2cloudless",
        ),
        (
            TinyLevel1C(offset="", shift=0),
            r"RADIO_ADD_OFFSET says \+0, but baseline 05.10 in the name says -1000",
        ),
        (
            TinyLevel1C(baseline="02.14", offset="-1000"),
            "says -1000, but baseline 02.14 in the name says \\+0",
        ),
        (TinyLevel1C(left=600_005.0), "beside the pixel grid"),
    ],
)
def test_a_product_that_cannot_be_used_is_told(tmp_path: Path, tiny: TinyLevel1C, words: str) -> None:
    season = cloudy_season(tmp_path)
    path = tiny.write(tmp_path / "level1c")
    source = SentinelSource(season)
    (tile,) = source.tiles()
    assert tile.scenes[0].level1c == ()
    (skipped,) = source.skipped
    assert (skipped.name, skipped.path) == (tiny.name, str(path))
    with pytest.raises(SourceError, match=words):
        raise SourceError(skipped.reason)


def test_a_product_under_the_name_of_another_is_refused(tmp_path: Path) -> None:
    season = cloudy_season(tmp_path)
    for number, other in enumerate(
        (TinyLevel1C(tile="48SYE", left=700_000.0), TinyLevel1C(sensed="20260604T033541"))
    ):
        path = other.write(tmp_path / "level1c")
        path.rename(path.with_name(TinyLevel1C(made=f"20260601T05{number}000").name))
    TinyLevel1C(made="20260601T053000").write(tmp_path / "x")
    l2a = CloudySafe(sensed="20260601T033541", made="20260601T070000").write(tmp_path / "x")
    l2a.rename(tmp_path / "level1c" / TinyLevel1C(made="20260601T055500").name)
    source = SentinelSource(season)
    (tile,) = source.tiles()
    assert tile.scenes[0].level1c == ()
    reasons = sorted(item.reason for item in source.skipped)
    assert len(reasons) == 3
    assert sum("of another datatake or tile than S2A_MSIL2A_20260601T033541" in text for text in reasons) == 2
    assert sum("is a product of level L2A, where one of level L1C is needed" in text for text in reasons) == 1


def test_the_newest_that_can_be_used_is_used(tmp_path: Path) -> None:
    season = cloudy_season(tmp_path)
    old = TinyLevel1C(baseline="02.14", made="20260601T053000").write(tmp_path / "level1c")
    new = TinyLevel1C(baseline="05.10", made="20270101T000000").write(tmp_path / "level1c")
    source = SentinelSource(season)
    assert str(new) in source.tiles()[0].scenes[0].level1c[0].path
    assert source.skipped == ()
    next(new.rglob("*_B09.jp2")).write_bytes(b"no JP2")
    source = SentinelSource(season)
    assert str(old) in source.tiles()[0].scenes[0].level1c[0].path
    assert "B09.jp2 cannot be read" in source.skipped[0].reason


def test_level_1c_beside_level_2a_in_one_folder(tmp_path: Path) -> None:
    season = cloudy_season(tmp_path, clouds=CLOUDS.replace('"level1c"', '"products"'))
    TinyLevel1C().write(season.source.root)
    source = SentinelSource(season)
    assert len(source.tiles()[0].scenes[0].level1c) == 10
    assert source.skipped == ()
    # where it is not asked for it is told as before
    source = SentinelSource(cloudy_season(tmp_path, clouds=""))
    assert source.tiles()[0].scenes[0].level1c == ()
    assert "is a product of level L1C" in source.skipped[0].reason


def test_a_raster_that_breaks_after_the_plan_is_named(tmp_path: Path) -> None:
    season = cloudy_season(tmp_path)
    path = TinyLevel1C().write(tmp_path / "level1c")
    (tile,) = SentinelSource(season).tiles()
    next(path.rglob("*_B12.jp2")).write_bytes(b"")
    with pytest.raises(SourceError, match=r"B12.jp2 cannot be read.*or take it out of \[source.clouds\] l1c"):
        mask_scene(
            scene=tile.scenes[0], grid=tile.grid, owned=None, clouds=season.source.sentinel,  # type: ignore[arg-type]
            mask_file=tmp_path / "m.mask",
        )  # fmt: skip
    assert not (tmp_path / "m.mask").exists()


# ---- keys
def test_another_detector_threshold_or_level_1c_makes_masks_anew(tmp_path: Path) -> None:
    cloudy_season(tmp_path)

    def keys(clouds: str) -> tuple[str, str]:
        plan = make_plan(season_of(tmp_path, more=clouds))
        stages = Stages(plan)
        tile = plan.tiles[0]
        step = next(step for step in tile.layout.steps if tile.scenes_of(step))
        return stages.mask_key(tile, 0), stages.ingest_key(tile, tile.ingest_blocks[0], step)

    found = [keys(""), keys(CLOUDS)]
    TinyLevel1C().write(tmp_path / "level1c")
    found += [keys(CLOUDS), keys(f"{CLOUDS}threshold = 0.5\n")]
    assert keys(CLOUDS) == found[2]
    next((tmp_path / "level1c").rglob("*_B10.jp2")).touch()
    found.append(keys(CLOUDS))
    for number in range(2):
        assert len({item[number] for item in found}) == len(found)


def test_a_scene_is_known_by_its_level_1c_too(tmp_path: Path) -> None:
    season = cloudy_season(tmp_path)
    TinyLevel1C().write(tmp_path / "level1c")
    scene = SentinelSource(season).tiles()[0].scenes[0]
    assert scene_token(scene) != scene_token(replace(scene, level1c=()))


def test_the_plan_counts_the_memory_of_the_model(tmp_path: Path) -> None:
    season = cloudy_season(tmp_path)
    without = make_plan(season).task_bytes
    TinyLevel1C().write(tmp_path / "level1c")
    plan = make_plan(season)
    assert plan.task_bytes == mask_bytes(plan.tiles[0].tile.grid, level1c=True) > without
    assert plan.task_bytes > cloudless.WORKING_BYTES


# ---- the season file
@pytest.mark.parametrize(
    ("clouds", "words"),
    [
        (
            'detector = "s2clodless"\nl1c = "level1c"',
            "Did you mean “s2cloudless”? Accepted: scl, s2cloudless.",
        ),
        ('detector = "s2cloudless"', "[source.clouds] l1c must name the folder of Level-1C products"),
        ('detector = "s2cloudless"\nl1c = "season.toml"', "l1c must name the folder"),
        ('detector = "s2cloudless"\nl1c = "nowhere"', "nowhere does not exist"),
        ('l1c = "level1c"', 'l1c is for detector = "s2cloudless"'),
        ('detector = "scl"\nthreshold = 0.3', 'threshold is for detector = "s2cloudless"'),
        ('detector = "s2cloudless"\nl1c = "level1c"\nthreshold = 40', "accepted: 0.0 to 1.0"),
    ],
)
def test_a_season_file_that_asks_for_what_is_not_there(tmp_path: Path, clouds: str, words: str) -> None:
    season = cloudy_season(tmp_path, clouds="")
    text = season.path.read_text().replace("\n[output]", f"\n[source.clouds]\n{clouds}\n\n[output]")
    season.path.write_text(text)
    with pytest.raises(SeasonFileError) as refused:
        read_season(season.path)
    assert words in str(refused.value)
    assert str(season.path) in str(refused.value)


def test_without_the_package_the_cure_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    season = cloudy_season(tmp_path)
    TinyLevel1C().write(tmp_path / "level1c")
    monkeypatch.setattr(cloudless, "PACKAGE", "a-package-that-is-not-there")
    with pytest.raises(SourceError, match=r"is not installed. Run `make setup`.*or set detector = .scl."):
        make_plan(season)
    monkeypatch.undo()
    cloudless._detector.cache_clear()
    monkeypatch.setitem(sys.modules, "s2cloudless.cloud_detector", None)
    with pytest.raises(SourceError, match=r"cannot be loaded .*apt-get install libgomp1"):
        sees(season)


# ---- a season
def test_the_composite_of_a_season_does_not_hold_the_cloud(tmp_path: Path) -> None:
    """The same products with and without the detector: a clouded view with its L1C, a later one without."""
    composites, told = {}, {}
    for detector, clouds in (("scl", ""), ("s2cloudless", CLOUDS)):
        folder = tmp_path / detector
        season = cloudy_season(folder, clouds=clouds)
        TinyLevel1C().write(folder / "level1c")
        later = TinySafe(sensed="20260615T033541")
        later.write(season.source.root)
        text = season.path.read_text().replace('["B04", "B08", "B11"]', '["B02", "B03", "B04", "B08"]')
        season.path.write_text(text)
        done = CliRunner().invoke(cli.app, ["run", str(season.path), "--workers", "0"])
        assert done.exit_code == 0, done.output
        told[detector] = done.output
        store = TileStore(season.output_root / ".work" / season.id / "cube" / "48SXE.zarr")
        number = next(n for n, step in enumerate(store.steps) if step.start.isoformat() == "2026-06-01")
        composites[detector] = np.asarray(store.array("reflectance")[number])
    blue, _, _, infrared = composites["scl"]
    assert np.median(blue[PLACE]) == pytest.approx(4200, abs=20)  # a cloud, taken for ground
    blue, _, _, infrared = composites["s2cloudless"]
    assert (blue[PLACE] == NODATA).all()
    seen = blue != NODATA
    assert 0.5 < seen.mean() < 0.9
    assert np.median(blue[seen]) == pytest.approx(200, abs=5)
    assert blue[seen].max() < 500 and infrared[seen].max() < 3500
    np.testing.assert_array_equal(blue[seen], composites["scl"][0][seen])
    assert "Clouds:" not in told["scl"]
    assert "s2cloudless (above 0.4) in 1 scenes; by SCL alone, for want of a Level-1C product, in 1" in told[
        "s2cloudless"
    ].replace("\n", " ")
    assert later.name in told["s2cloudless"]
    run_folder = tmp_path / "s2cloudless/runs/made-2026"
    inputs = json.loads((run_folder / "run.json").read_text(encoding="utf-8"))["inputs"]
    scenes = {row["date"]: row["detector"] for row in inputs if row["role"] == "scene"}
    assert scenes == {"2026-06-01": "s2cloudless", "2026-06-15": "scl"}
    assert [row for row in inputs if row["role"] == "clouds"] == [
        {"role": "clouds", "detector": "s2cloudless", "threshold": 0.4, "scenes": 1, "scl_alone": 1}
    ]
    looked_into = [row for row in inputs if row["role"] == "level1c"]
    assert len(looked_into) == 10 and all(len(row["sha256"]) == 64 for row in looked_into)
    assert looked_into[0]["path"].startswith("S2A_MSIL1C_20260601T033541")
    page = (run_folder / "report.html").read_text(encoding="utf-8")
    assert "1 景用 SCL 与 s2cloudless（概率大于 0.4）；1 景缺 Level-1C 产品，仅用 SCL。" in page


# ---- real products
@pytest.mark.realdata
def test_real_level_1c_metadata(shared_data: Path) -> None:
    name = "S2A_MSIL1C_20210908T042701_N0301_R133_T46RER_20210908T070248.SAFE"
    product = read_product(shared_data / "safe-metadata/sentinel2" / name, level="L1C")
    assert (product.name, product.level, product.baseline, product.tile) == (name, "L1C", "03.01", "46RER")
    assert (product.quantification, product.offsets, product.nodata) == (10_000, {}, 0)
    assert offset_of(product) == 0
    assert product.sun is not None and product.grid.shape == (10980, 10980)
    assert datatake_of(name) == ("S2A", "20210908T042701", 133, "46RER")


@pytest.mark.realdata
def test_a_real_level_1c_product_without_its_bands_is_refused(shared_data: Path) -> None:
    name = "S2A_MSIL1C_20180101T105441_N0206_R051_T31TDH_20180101T124911.SAFE"
    path = shared_data / "safe-metadata/sentinel2_with_jp2" / name
    product = read_product(path, level="L1C")
    assert product.bands["B01"][0].metres == 60  # the only raster that was kept of it
    with pytest.raises(
        SourceError, match="no raster of B02, B04, B05, B08, B8A, B09, B10, B11, B12; s2cloud"
    ):
        open_level1c(path, like=replace(product, name=name.replace("1C", "2A")), pixel=10.0)
