"""Digests, manifests, zips and raster headers; the manifest is that of a real product."""

from __future__ import annotations

import hashlib
import zipfile
from pathlib import Path

import numpy as np
import pytest
import rasterio
import rasterio.shutil
from blake3 import blake3

from eo_pipeline.acquire.checks import (
    DamagedError,
    Entry,
    check_content,
    check_digest,
    check_frame,
    check_zip,
    multihash,
    outside_blocks,
    read_manifest,
    usable,
    verify,
)

CONTENT = b"one band of one scene" * 1000


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "b.bin"
    path.write_bytes(CONTENT)
    return path


def sums(content: bytes) -> dict[str, str]:
    return {
        "md5": hashlib.md5(content).hexdigest(),
        "sha256": hashlib.sha256(content).hexdigest(),
        "sha3-256": hashlib.sha3_256(content).hexdigest(),
        "blake3": blake3(content).hexdigest(),
    }


@pytest.mark.parametrize("algorithm", ["md5", "sha256", "sha3-256", "blake3"])
def test_each_digest_is_checked(file: Path, algorithm: str) -> None:
    assert check_digest(file, {algorithm.upper(): sums(CONTENT)[algorithm].upper()}) == algorithm
    with pytest.raises(DamagedError, match=algorithm):
        check_digest(file, {algorithm: sums(b"else")[algorithm]})


def test_empty_and_unknown_checksums_say_nothing(file: Path) -> None:
    assert usable({"MD5": "", "BLAKE3": "zz", "CRC32": "12345678", "sha256": "ab"}) == {}
    assert check_digest(file, {"MD5": ""}) == ""


@pytest.mark.parametrize(
    ("head", "algorithm"),
    [("d50110", "md5"), ("1220", "sha256"), ("1620", "sha3-256"), ("1e20", "blake3")],
)
def test_multihashes_are_read(head: str, algorithm: str) -> None:
    assert multihash(head + sums(CONTENT)[algorithm]) == {algorithm: sums(CONTENT)[algorithm]}
    assert multihash(head + "00") == {}
    assert multihash("") == {}


@pytest.mark.realdata
def test_a_real_manifest_names_files_sizes_and_digests(shared_data: Path) -> None:
    folder = shared_data / "safe-metadata" / "sentinel2"
    product = folder / "S2A_MSIL2A_20230821T221941_N0509_R029_T01KAB_20230822T021825.SAFE"
    entries = read_manifest(product / "manifest.safe")
    bands = [path for path in entries if path.endswith("_B04_10m.jp2")]
    assert len(bands) == 1 and bands[0].startswith("GRANULE/L2A_T01KAB_")
    assert all(entry.checksums for path, entry in entries.items() if path.endswith(".jp2"))
    # the metadata that lies beside it is the one it lists
    proven = 0
    for name in ("MTD_MSIL2A.xml", *(p for p in entries if p.endswith("MTD_TL.xml"))):
        entry = entries[name]
        if (product / name).stat().st_size == entry.size:
            assert verify(product / name, entry=entry).means.startswith("manifest ")
            proven += 1
    older = folder / "esa_S2B_MSIL2A_20210122T133229_N0214_R081_T22HBD_20210122T155500.SAFE"
    assert any(entry.checksums for entry in read_manifest(older / "manifest.safe").values())
    assert proven >= 1


@pytest.mark.realdata
def test_a_real_cell_of_heights_is_proven_and_lies_where_its_item_says(shared_data: Path) -> None:
    name = "Copernicus_DSM_COG_10_N00_00_E006_00_DEM"
    path = shared_data / f"cop-dem/30m/{name}/{name}.tif"
    assert check_content(path) == "pixels"
    place = [0.0002777777777777778, 0.0, 5.999861111111, 0.0, -0.0002777777777777778, 1.000138888889]
    told = {"proj:epsg": 4326, "proj:shape": [3600, 3600], "proj:transform": place}
    with rasterio.open(path) as raster:
        check_frame(raster, told, name)  # rounded as makers do
        check_frame(raster, {}, name)
        for wrong in (
            {"proj:epsg": 32648},
            {"proj:shape": [3600, 2400]},
            {"proj:transform": [*place[:2], 6.999861111111, *place[3:]]},
        ):
            with pytest.raises(DamagedError, match=f"{name} has {next(iter(wrong))} .* its item says"):
                check_frame(raster, told | wrong, name)


def test_a_manifest_that_leads_out_of_its_folder_is_not_followed(tmp_path: Path) -> None:
    path = tmp_path / "manifest.safe"
    path.write_text(
        '<x><byteStream size="3"><fileLocation href="../../etc/passwd"/></byteStream>'
        f'<byteStream size="5"><fileLocation href="./a/b.jp2"/><checksum checksumName="SHA3-256">{"A" * 64}'
        "</checksum></byteStream></x>"
    )
    assert read_manifest(path) == {"a/b.jp2": Entry("a/b.jp2", 5, {"sha3-256": "a" * 64})}
    path.write_text(path.read_text()[:80])
    with pytest.raises(DamagedError, match="no manifest"):
        read_manifest(path)


def test_the_verdict_says_what_proved_the_file(file: Path) -> None:
    known = sums(CONTENT)
    entry = Entry("b.bin", len(CONTENT), {"md5": known["md5"]})
    assert verify(file, size=len(CONTENT), checksums=known, entry=entry).means == "blake3"
    assert verify(file, size=0, checksums={"MD5": ""}, entry=entry).means == "manifest md5"
    assert verify(file, size=len(CONTENT)).means == "size"
    assert verify(file).digests["blake3"] == known["blake3"]
    with pytest.raises(DamagedError, match="the manifest says"):
        verify(file, entry=Entry("b.bin", None, {"md5": "0" * 32}))
    with pytest.raises(DamagedError, match=f"{len(CONTENT)} bytes, the source says 7"):
        verify(file, size=7)


@pytest.mark.parametrize(("suffix", "driver"), [(".jp2", "JP2OpenJPEG"), (".tif", "GTiff")])
def test_a_raster_that_was_cut_off_is_found_without_any_digest(
    tmp_path: Path, suffix: str, driver: str
) -> None:
    path = tmp_path / f"b{suffix}"
    pixels = np.random.default_rng(1).integers(0, 4000, (256, 256), dtype=np.uint16)
    options = {"QUALITY": "100", "REVERSIBLE": "YES"} if driver != "GTiff" else {}
    with rasterio.open(
        path, "w", driver=driver, width=256, height=256, count=1, dtype="uint16", **options
    ) as sink:
        sink.write(pixels, 1)
    assert check_content(path) == "header"
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 3])
    with pytest.raises(DamagedError, match="cannot be decoded"):
        check_content(path)
    path.write_bytes(b"")
    with pytest.raises(DamagedError, match="is empty"):
        check_content(path)


def test_one_wrong_byte_in_a_compressed_raster_is_found_without_any_digest(tmp_path: Path) -> None:
    plain, path = tmp_path / "plain.tif", tmp_path / "b.tif"
    pixels = np.random.default_rng(1).integers(0, 4000, (700, 700), dtype=np.uint16)
    with rasterio.open(plain, "w", driver="GTiff", width=700, height=700, count=1, dtype="uint16") as sink:
        sink.write(pixels, 1)
    options = {"COMPRESS": "DEFLATE", "PREDICTOR": "YES", "BLOCKSIZE": "256"}
    rasterio.shutil.copy(plain, path, driver="COG", **options)
    assert check_content(path) == "pixels"
    whole = path.read_bytes()
    (_, first), *others = outside_blocks(path)  # the directories, and nothing else
    assert others == []
    places = [*range(len(whole) // 20, len(whole) - 100, len(whole) // 20), *range(first - 4, first + 8)]
    for place in (*places, len(whole) - 1):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0xFF]) + whole[place + 1 :])
        with pytest.raises(DamagedError, match="cannot be decoded"):
            check_content(path)


def test_zips_are_read_through(tmp_path: Path) -> None:
    path = tmp_path / "p.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.SAFE/b.jp2", CONTENT)
    check_zip(path)
    content = bytearray(path.read_bytes())
    content[200] ^= 1
    path.write_bytes(content)
    with pytest.raises(DamagedError, match=r"b.jp2 in it is damaged"):
        check_zip(path)
    path.write_bytes(content[:500])
    with pytest.raises(DamagedError, match="no whole zip"):
        check_zip(path)


@pytest.mark.parametrize("name", ["a.xml", "manifest.safe", "item.json"])
def test_text_that_was_cut_off_is_found(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_text('{"a": [1, 2]}' if name.endswith("json") else "<a><b/></a>")
    assert check_content(path) == "header"
    path.write_text(path.read_text()[:-3])
    with pytest.raises(DamagedError, match="no whole"):
        check_content(path)
