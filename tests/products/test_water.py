"""Surface water: real land with lakes laid on it, real Sentinel-1 over a coast, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import rasterio
from numpy.typing import NDArray
from rasterio.transform import from_origin
from scipy.ndimage import gaussian_filter

from eo_pipeline import rasters
from eo_pipeline.products.water import otsu, two_peaks
from tests.command import eo, good, refused

#: Top-of-atmosphere reflectance of a muddy river in the 13 bands.
MUD = [0.14, 0.14, 0.15, 0.16, 0.16, 0.12, 0.12, 0.11, 0.10, 0.03, 0.002, 0.03, 0.02]


def write(
    path: Path, bands: NDArray[np.generic], *, crs: str | None = "EPSG:32633", pixel: float = 10
) -> Path:
    """A GeoTIFF of any type, its corner always in the same place."""
    place = {"crs": crs, "transform": from_origin(500_000, 5_100_000, pixel, pixel)} if crs else {}
    height, width = bands.shape[1:]
    form = {"driver": "GTiff", "height": height, "width": width, "count": len(bands), "dtype": bands.dtype}
    with rasterio.open(path, "w", **form, **place) as raster:
        raster.write(bands)
    return path


def read(path: Path) -> NDArray[np.uint8]:
    with rasterio.open(path) as raster:
        values: NDArray[np.uint8] = raster.read(1)
    return values


def lake(shape: tuple[int, int], share: float, seed: int = 0) -> NDArray[np.float64]:
    """Cover of water, 0-1, in patches."""
    field = gaussian_filter(np.random.default_rng(seed).normal(size=shape), 10)
    return gaussian_filter((field > np.quantile(field, 1 - share)).astype(float), 0.7)


def radar(cover: NDArray[np.float64], *, looks: float = 4.4) -> NDArray[np.float32]:
    """VV and VH in dB: land, and water by its cover, under speckle."""
    rng = np.random.default_rng(5)
    ground = gaussian_filter(rng.normal(size=cover.shape), 4) * 8
    bands = []
    for land, wet in ((-10.5, -20.0), (-16.5, -27.0)):
        power = (1 - cover) * 10 ** ((land + ground) / 10) + cover * 10 ** (wet / 10)
        bands.append(10 * np.log10(power * rng.gamma(looks, 1 / looks, cover.shape)))
    return np.stack(bands).astype(np.float32)


def score(found: Path, cover: NDArray[np.float64], tmp_path: Path) -> dict[str, float]:
    reference = write(tmp_path / "reference.tif", (cover > 0.5).astype(np.int16)[None])
    answer: dict[str, float] = json.loads(good("evaluate", "water", found, reference, "--json"))
    return answer


def test_cuts_find_two_classes_and_know_one() -> None:
    rng = np.random.default_rng(1)
    both = np.concatenate([rng.normal(-20, 1.5, 2000), rng.normal(-10, 2, 6000)]).astype(np.float32)
    found = two_peaks(both)
    assert found is not None and found.two
    assert found.share == pytest.approx(0.25, abs=0.02)
    assert (found.low, found.high) == (pytest.approx(-20, abs=0.2), pytest.approx(-10, abs=0.2))
    assert -17.5 < otsu(both) < -13.5
    one = two_peaks(rng.normal(-10, 2, 8000).astype(np.float32))
    assert one is None or not one.two
    assert two_peaks(np.full(500, 3, np.float32)) is None or not two_peaks(np.full(500, 3, np.float32)).two  # type: ignore[union-attr]


@pytest.mark.realdata
def test_lakes_on_real_land_beside_otsu(shared_data: Path, tmp_path: Path) -> None:
    scenes = np.load(shared_data / "eolearn-testpatch" / "reference_scenes_13band.npz")["X"]
    for number, share in ((1, 0.0), (3, 0.02), (2, 0.2)):
        land = np.pad(np.moveaxis(scenes[number], -1, 0), ((0, 0), (0, 101), (0, 100)), mode="symmetric")
        cover = lake(land.shape[1:], share) if share else np.zeros(land.shape[1:])
        mixed = land * (1 - cover) + np.array(MUD)[:, None, None] * cover
        # the numbers of a product since baseline 04.00
        image = write(tmp_path / "s2.tif", np.rint(mixed * 10_000 + 1000).astype(np.uint16))
        out, simple = tmp_path / "water.tif", tmp_path / "otsu.tif"
        facts = json.loads(good("water", "--s2", image, "--out", out, "--baseline", simple, "--json"))
        assert any("1000 was taken" in note for note in facts["notes"])
        assert facts["water_km2"] == pytest.approx((read(out) == 1).sum() * 1e-4, rel=2e-3)
        assert facts["otsu"]["water_km2"] == pytest.approx((read(simple) == 1).sum() * 1e-4, rel=2e-3)
        ours, theirs = score(out, cover, tmp_path), score(simple, cover, tmp_path)
        if share == 0:  # there is no lake or river in this place
            assert facts["water_km2"] == 0
            assert facts["otsu"]["water_km2"] > 0.5
            assert not facts["optical"]["adapted"]
        else:
            assert ours["iou"] > 0.95
            assert ours["iou"] >= theirs["iou"]
        if share == 0.02:
            assert theirs["iou"] < 0.5


@pytest.mark.realdata
def test_real_radar_over_a_coast(shared_data: Path, tmp_path: Path) -> None:
    chips = shared_data / "s1-grd-chips" / "GRD" / "2018"
    bands = []
    for name in ("iw-vv.tiff", "iw-vh.tiff"):
        with rasterio.open(next(chips.rglob(name))) as raster:
            counts = raster.read(1).astype(np.float32)
        counts[counts == 0] = np.nan
        bands.append(20 * np.log10(counts) - 55)  # about what the calibration of such products takes off
    image = write(tmp_path / "s1.tif", np.stack(bands), crs=None)
    facts = json.loads(good("water", "--s1", image, "--out", tmp_path / "water.tif", "--json"))
    found = read(tmp_path / "water.tif")
    assert facts["water_km2"] is None
    assert any("no coordinate reference system" in note for note in facts["notes"])
    assert facts["radar"]["adapted"]
    assert (found[600:800, 1050:1230] == 1).mean() > 0.999  # the sea
    assert (found[60:800, :200] == 1).mean() < 0.002  # the Western Ghats
    assert (found[:, 1265:] == 255).all()


def test_both_images_and_any_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # given an optical image half under cloud, and a radar image on a grid of its own
    cover = lake((300, 260), 0.1)
    leaf = np.array([0.13, 0.10, 0.09, 0.06, 0.1, 0.3, 0.35, 0.38, 0.38, 0.1, 0.002, 0.18, 0.09])
    rng = np.random.default_rng(2)
    mixed = leaf[:, None, None] * (1 - cover) + np.array(MUD)[:, None, None] * cover
    mixed *= rng.normal(1, 0.04, mixed.shape)
    mixed[:, :, :130] = 0.5
    s2 = write(tmp_path / "s2.tif", mixed.astype(np.float32))
    s1 = write(tmp_path / "s1.tif", np.repeat(np.repeat(radar(cover), 2, 1), 2, 2), pixel=5)
    # when each is mapped alone and both together
    alone, radar_alone, both = (tmp_path / f"{name}.tif" for name in ("a", "r", "b"))
    good("water", "--s2", s2, "--out", alone)
    said = good("water", "--s1", write(tmp_path / "same.tif", radar(cover)), "--out", radar_alone)
    assert "km²" in said
    code, _, err = eo("water", "--s1", s1, "--s2", s2, "--out", both)
    assert code == 0 and "warped" in err
    # then clouds are seen as such, and through by radar
    assert (read(alone)[:, :128] == 255).all()
    clear = np.where(np.arange(260) >= 132, cover, 0)
    assert score(alone, clear, tmp_path)["iou"] > 0.95
    assert score(radar_alone, cover, tmp_path)["iou"] > 0.85
    assert score(both, cover, tmp_path)["iou"] > 0.9
    assert not (read(both) == 255).any()
    # and the map does not depend on how the image is cut
    monkeypatch.setattr(rasters, "_PART", (64, 96))
    good("water", "--s1", s1, "--s2", s2, "--out", tmp_path / "cut.tif")
    assert np.array_equal(read(tmp_path / "cut.tif"), read(both))


def test_what_is_refused(tmp_path: Path) -> None:
    cover = lake((80, 80), 0.3)
    decibel = radar(cover)
    s1 = write(tmp_path / "s1.tif", decibel)
    out = tmp_path / "out.tif"
    assert "No image was given" in refused("water", "--out", out)
    text = tmp_path / "text.tif"
    text.write_text("no image")
    assert "cannot be read as an image" in refused("water", "--s1", text, "--out", out)
    linear = write(tmp_path / "linear.tif", (10 ** (decibel / 10)).astype(np.float32))
    assert "10 · log10" in refused("water", "--s1", linear, "--out", out)
    turned = write(tmp_path / "turned.tif", decibel[::-1])
    assert "exchange them" in refused("water", "--s1", turned, "--out", out)
    assert "13 bands in the order of Level-1C" in refused("water", "--s2", s1, "--out", out)
    assert "needs VV and VH" in refused(
        "water", "--s1", write(tmp_path / "one.tif", decibel[:1]), "--out", out
    )
    s2 = write(tmp_path / "s2.tif", np.full((13, 80, 80), 0.1, np.float32))
    far = write(tmp_path / "far.tif", decibel, crs="EPSG:32650")
    assert "different places" in refused("water", "--s1", far, "--s2", s2, "--out", out)
    nowhere = write(tmp_path / "nowhere.tif", decibel[:, :70], crs=None)
    assert "cannot be laid on each other" in refused("water", "--s1", nowhere, "--s2", s2, "--out", out)
    assert "given twice" in refused("water", "--s1", s1, "--out", s1)
    assert "is a folder" in refused("water", "--s1", s1, "--out", tmp_path)
    assert not out.exists()
    # a damaged file leaves an older map as it was
    whole = good("water", "--s1", s1, "--out", out)
    before = out.read_bytes()
    big = write(tmp_path / "big.tif", np.repeat(np.repeat(decibel, 8, 1), 8, 2))
    cut = tmp_path / "cut.tif"
    cut.write_bytes(big.read_bytes()[: big.stat().st_size // 2])
    assert refused("water", "--s1", cut, "--out", out)
    assert out.read_bytes() == before and whole
    assert not list(tmp_path.glob(".*partial*"))


def test_evaluation_counts_by_hand(tmp_path: Path) -> None:
    truth = np.array([[1, 1, 0, 0], [1, 3, 0, -1], [0, 0, 3, 255]], np.int16)
    guess = np.array([[1, 0, 1, 0], [1, 3, 0, 1], [255, 0, 0, 1]], np.uint8)
    reference, predicted = tmp_path / "t.tif", tmp_path / "p.tif"
    write(reference, truth[None])
    write(predicted, guess[None])
    with rasterio.open(reference, "r+") as raster:
        raster.nodata = 255
    with rasterio.open(predicted, "r+") as raster:
        raster.nodata = 255
    facts = json.loads(good("evaluate", "water", predicted, reference, "--json", "--baseline", predicted))
    assert (facts["both"], facts["map_only"], facts["reference_only"], facts["neither"]) == (3, 1, 2, 4)
    assert facts["iou"] == 0.5 and facts["precision"] == 0.75 and facts["recall"] == 0.6
    assert facts["unseen"] == 1 and facts["map_km2"] == pytest.approx(4e-4, rel=1e-2)
    assert facts["baseline"]["iou"] == 0.5
    inside = write(tmp_path / "in.tif", np.array([[1, 1, 1, 0]] * 3, np.uint8)[None])
    facts = json.loads(
        good("evaluate", "disaster", predicted, reference, "--within", inside, "--smallest", 1, "--json")
    )
    assert facts["pixels"] == 9
    assert facts["hazards"]["drought"] | {"patches": 1, "patches_found": 1} == facts["hazards"]["drought"]
    assert facts["hazards"]["drought"]["false_alarm"] == pytest.approx(1 / 9, abs=1e-6)
    assert facts["hazards"]["hail"]["patches_found"] == 1
    assert facts["hazards"]["hail"]["iou"] == 0.5
    assert "False alarm: 11.11%" in good("evaluate", "disaster", predicted, reference, "--within", inside)
    other = write(tmp_path / "o.tif", guess[None, :2])
    assert "different grids" in refused("evaluate", "water", other, reference)
    share = write(tmp_path / "f.tif", np.full((1, 3, 4), 0.3, np.float32))
    assert "holds fractions" in refused("evaluate", "water", share, reference)
    empty = write(tmp_path / "e.tif", np.full((1, 3, 4), -1, np.int16))
    assert "not one pixel" in refused("evaluate", "water", predicted, empty)
