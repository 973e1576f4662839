"""The offset rule: real metadata, every combination of sources, and pixels that contradict."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny_safe import REFLECTANCE, TinySafe, earth_search_item, write_cogs

from eo_pipeline.errors import RadiometryError, SourceError
from eo_pipeline.scenes.items import load_item, read_item
from eo_pipeline.scenes.radiometry import (
    DarkTargets,
    OffsetProof,
    count_dark,
    judge_dark,
    prove_offset,
    to_reflectance,
    weigh,
)
from eo_pipeline.scenes.sentinel2 import read_product

SAFES = "safe-metadata/sentinel2"
SHIFTED = DarkTargets(share=0.001, darkest=1150, count=5000, below=3, clear=9000)
UNSHIFTED = DarkTargets(share=0.9, darkest=180, count=5000, below=8000, clear=9000)
UNCLEAR = DarkTargets(share=0.0, darkest=float("nan"), count=0, below=0, clear=120)


def said(proof: OffsetProof) -> tuple[int | None, int | None, int | None, int | None]:
    return proof.metadata, proof.name, proof.provider, proof.pixels


# ---- golden: real metadata ------------------------------------------------------------------------------
@pytest.mark.realdata
@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("S2A_MSIL2A_20180721T053721_N0212_R062_T43MDV_20201011T181419.SAFE", 0),
        ("esa_S2B_MSIL2A_20210122T133229_N0214_R081_T22HBD_20210122T155500.SAFE", 0),
        ("S2A_MSIL2A_20230821T221941_N0509_R029_T01KAB_20230822T021825.SAFE", -1000),
    ],
)
def test_real_safe_metadata(shared_data: Path, name: str, expected: int) -> None:
    product = read_product(shared_data / SAFES / name)
    proof = prove_offset(product, pixels=False)
    assert said(proof) == (expected, expected, expected, None)
    assert (proof.verdict, proof.offset) == ("proven", expected)
    # pixels that say otherwise put it in quarantine
    other = UNSHIFTED if expected else SHIFTED
    assert weigh(product, other).verdict == "quarantined"


@pytest.mark.realdata
def test_real_metadata_of_baseline_0301(shared_data: Path, tmp_path: Path) -> None:
    # only L1C metadata of 03.01 is at hand; with the words of L2A put in, everything else is as ESA wrote it
    name = "S2A_MSIL1C_20210908T042701_N0301_R133_T46RER_20210908T070248.SAFE"
    text = (shared_data / SAFES / name / "MTD_MSIL1C.xml").read_text()
    text = text.replace("MSIL1C", "MSIL2A").replace("Level-1C", "Level-2A")
    text = text.replace("<QUANTIFICATION_VALUE", "<BOA_QUANTIFICATION_VALUE")
    text = text.replace("</QUANTIFICATION_VALUE>", "</BOA_QUANTIFICATION_VALUE>")
    folder = tmp_path / name.replace("L1C", "L2A")
    folder.mkdir()
    (folder / "MTD_MSIL2A.xml").write_text(text)
    product = read_product(folder)
    assert (product.baseline, product.tile, product.offsets) == ("03.01", "46RER", {})
    proof = prove_offset(product, pixels=False)
    assert said(proof) == (0, 0, 0, None)
    assert (proof.verdict, proof.offset) == ("proven", 0)


@pytest.mark.realdata
def test_real_items_of_planetary_computer_are_raw(shared_data: Path) -> None:
    items = json.loads((shared_data / "api-answers/planetary_computer/sentinel-2-l2a-pc.json").read_text())
    proofs = [weigh(read_item(item), None) for item in items]
    assert {said(proof) for proof in proofs} == {(None, -1000, -1000, None)}
    assert {(proof.verdict, proof.offset) for proof in proofs} == {("proven", -1000)}
    file = "S2B_MSIL2A_20190629T212529_R043_T06VVN_20201006T080531_raster_ext.json"
    old = read_item(load_item(shared_data / "api-answers/stac_items_odc" / file))
    assert said(weigh(old, None)) == (None, 0, 0, None)
    assert weigh(old, None).proven


@pytest.mark.realdata
def test_real_cogs_of_earth_search(shared_data: Path) -> None:
    # a desert: hardly any dark ground, so the pixels say nothing, and need not before 04.00
    proof = prove_offset(read_product(shared_data / "s2-cog-29RKH"))
    assert said(proof) == (None, 0, 0, None)
    assert (proof.verdict, proof.offset) == ("proven", 0)
    assert proof.dark is not None
    assert proof.dark.clear > 200_000


@pytest.mark.realdata
def test_items_of_unknown_makers_are_not_believed(shared_data: Path) -> None:
    folder = shared_data / "api-answers/stactools_sentinel2_expected_items"
    for file in sorted(folder.glob("*L2A*.json")):
        product = read_item(load_item(file))
        assert weigh(product, None).verdict == "quarantined"  # one source at most, whatever it advertises
        if product.name_baseline:
            pixels = SHIFTED if product.name_baseline >= "04.00" else UNSHIFTED
            assert weigh(product, pixels).proven


# ---- the rule --------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("baseline", "applied", "pixels", "verdict", "offset"),
    [
        ("02.14", None, UNSHIFTED, "proven", 0),
        ("02.14", False, None, "proven", 0),
        ("05.10", True, UNSHIFTED, "proven", 0),
        ("05.10", False, SHIFTED, "proven", -1000),
        ("05.10", False, UNSHIFTED, "quarantined", 0),  # earth-search#71: taken away, flag says not
        ("05.10", True, SHIFTED, "quarantined", 0),
        ("05.10", True, None, "quarantined", 0),  # the flag alone is not believed
        ("05.10", False, UNCLEAR, "quarantined", 0),
        ("02.14", False, SHIFTED, "quarantined", 0),
    ],
)
def test_earth_search_flags(
    baseline: str, applied: bool | None, pixels: DarkTargets | None, verdict: str, offset: int
) -> None:
    tiny = TinySafe(baseline=baseline)
    item = earth_search_item(tiny, applied=applied)
    item["properties"]["earthsearch:payload_id"] = "roda-sentinel2"
    proof = weigh(read_item(item), pixels)
    assert (proof.verdict, proof.offset) == (verdict, offset)


def test_earth_search_collection_1_is_raw() -> None:
    item = earth_search_item(TinySafe(), applied=None, collection="sentinel-2-c1-l2a")
    proof = weigh(read_item(item), None)
    assert said(proof) == (None, -1000, -1000, None)
    assert (proof.verdict, proof.offset) == ("proven", -1000)


def test_an_old_day_reprocessed_is_shifted(tmp_path: Path) -> None:
    tiny = TinySafe(sensed="20180601T033541", made="20230315T224658", baseline="05.00")
    proof = prove_offset(read_product(tiny.write(tmp_path)))
    assert said(proof) == (-1000, -1000, -1000, -1000)
    assert (proof.verdict, proof.offset) == ("proven", -1000)


@pytest.mark.parametrize("baseline", ["02.14", "03.01", "05.10"])
def test_a_product_whose_four_sources_agree(tmp_path: Path, baseline: str) -> None:
    tiny = TinySafe(baseline=baseline)
    product = read_product(tiny.write(tmp_path))
    proof = prove_offset(product)
    expected = -1000 if baseline >= "04.00" else 0
    assert said(proof) == (expected,) * 4
    assert proof.require(product.name) == expected
    assert proof.reason == "metadata, name, provider, pixels agree."


@pytest.mark.parametrize(
    ("tiny", "reason"),
    [
        (TinySafe(shift=0), r"pixels say \+0"),  # someone took the offset away
        (TinySafe(baseline="02.14", shift=1000), r"pixels say -1000"),
        (TinySafe(offset=""), r"metadata says \+0, but baseline 05\.10 in the name says -1000"),
        (TinySafe(baseline="02.14", offset="-1000"), r"metadata says -1000, but baseline 02\.14"),
        (TinySafe(offset="-700"), r"metadata says -700"),
    ],
)
def test_sources_that_disagree_put_a_scene_in_quarantine(tmp_path: Path, tiny: TinySafe, reason: str) -> None:
    product = read_product(tiny.write(tmp_path))
    proof = prove_offset(product)
    assert proof.verdict == "quarantined"
    with pytest.raises(RadiometryError, match=reason):
        proof.require(product.name)


def test_offsets_that_differ_between_bands(tmp_path: Path) -> None:
    product = read_product(TinySafe(bands=()).write(tmp_path))
    assert product.offsets is not None
    product = replace(product, offsets={**product.offsets, "B11": -900.0})
    proof = weigh(product, SHIFTED)
    assert proof.verdict == "quarantined"
    assert "differs from band to band (-1000, -900)" in proof.reason


def test_a_baseline_that_differs_between_name_and_metadata(tmp_path: Path) -> None:
    product = replace(read_product(TinySafe(bands=()).write(tmp_path)), offsets=None, baseline="02.14")
    assert "the name says baseline 05.10, the metadata 02.14" in weigh(product, None).reason


# ---- the pixels ------------------------------------------------------------------------------------------
def test_harmonised_cogs_are_seen(tmp_path: Path) -> None:
    tiny = TinySafe(shift=0)
    taken = read_product(write_cogs(tiny, tmp_path, earth_search_item(tiny, applied=True)))
    proof = prove_offset(taken)
    assert said(proof) == (None, -1000, 0, 0)
    assert (proof.verdict, proof.offset) == ("proven", 0)
    lying = replace(taken, applied=False)
    assert prove_offset(lying).verdict == "quarantined"


def test_a_clouded_scene_says_nothing(tmp_path: Path) -> None:
    proof = prove_offset(read_product(TinySafe(scl=9).write(tmp_path)))
    assert proof.pixels is None
    assert proof.dark is not None
    assert (proof.dark.clear, proof.dark.count) == (0, 0)
    assert proof.proven  # the three others agree


def test_bright_ground_proves_nothing() -> None:
    desert = DarkTargets(share=0.0, darkest=1100, count=20, below=0, clear=9000)
    haze = DarkTargets(share=0.0, darkest=2100, count=5000, below=0, clear=9000)
    assert judge_dark(desert) is judge_dark(haze) is None
    assert judge_dark(replace_below(desert, 300)) == 0


def replace_below(dark: DarkTargets, below: int) -> DarkTargets:
    return replace(dark, below=below)


def test_a_product_without_scl_or_dark_bands_leaves_the_pixels_silent(tmp_path: Path) -> None:
    product = read_product(TinySafe(bands=("B04", "B08")).write(tmp_path))
    proof = prove_offset(product)
    assert (proof.pixels, proof.dark, proof.verdict) == (None, None, "proven")


def test_a_damaged_jp2_is_named(tmp_path: Path) -> None:
    folder = TinySafe().write(tmp_path)
    file = next(folder.rglob("*_B04_10m.jp2"))
    file.write_bytes(file.read_bytes()[:300])
    with pytest.raises(SourceError, match=r"B04_10m\.jp2 cannot be read.*fetch it again"):
        prove_offset(read_product(folder))


def test_reduced_pictures_keep_the_proof() -> None:
    # a raster of 3000 pixels is read at a quarter; the picture is the same, the proof too
    rng = np.random.default_rng(3)
    scl = np.full((700, 700), 4)
    scl[:, 350:] = 9
    numbers = np.stack(
        [REFLECTANCE[band] * 10_000 + 1000 + rng.normal(0, 30, scl.shape) for band in ("B02", "B04", "B12")]
    ).astype(np.uint16)
    numbers[:, :, 350:] = 9000
    dark = count_dark(numbers, scl)
    assert dark.count == dark.clear == 698 * 348  # one class around, the outermost pixels left out
    assert 1100 < dark.darkest < 1200
    assert judge_dark(dark) == -1000


@given(
    shift=st.sampled_from([0, 1000]),
    green=st.floats(0.02, 0.06),
    noise=st.floats(5, 60),
    seed=st.integers(0, 2**16),
)
def test_the_pixels_are_right_about_any_vegetated_scene(
    shift: int, green: float, noise: float, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    scl = rng.choice([4, 5], (60, 60), p=[0.9, 0.1]).repeat(3, 0).repeat(3, 1)
    levels = np.array([green, green * 1.3, 0.09])[:, None, None]
    bright = np.where(scl == 4, levels, 0.2) * 10_000
    numbers = np.clip(bright + rng.normal(0, noise, bright.shape) + shift, 1, None).astype(np.uint16)
    assert judge_dark(count_dark(numbers, scl)) == -shift


@given(values=st.lists(st.integers(0, 20_000), min_size=1, max_size=50), offset=st.sampled_from([0, -1000]))
def test_reflectance_is_the_formula(values: list[int], offset: int) -> None:
    numbers = np.array(values, dtype=np.uint16)
    found = to_reflectance(numbers, offset=offset)
    assert found.dtype == np.float32
    for number, value in zip(values, found.tolist(), strict=True):
        if number == 0:
            assert np.isnan(value)
        else:
            assert value == pytest.approx((number + offset) / 10_000, abs=1e-6)
