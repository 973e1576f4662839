"""The run folder is refused whole when a single byte is wrong."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import pandas as pd
import pytest

from eo_pipeline.errors import RunFolderError
from eo_pipeline.publish import contract


@pytest.fixture
def run_folder(tmp_path: Path) -> Path:
    folder = tmp_path / "runs" / "tiny-2026"
    (folder / "crop_type" / "whole").mkdir(parents=True)
    (folder / "crop_type" / "whole" / "crop_type.tif").write_bytes(bytes(range(256)))
    for name in ("catalog.json", "accuracy.json", "report.html"):
        (folder / name).write_text("{}")
    columns = {name: pd.Series(dtype=kind) for name, kind in contract.ESTIMATE_COLUMNS.items()}
    pd.DataFrame(columns).to_parquet(folder / "estimates.parquet")
    columns = {name: pd.Series(dtype=kind) for name, kind in contract.SERIES_COLUMNS.items()}
    pd.DataFrame(columns).to_parquet(folder / "series.parquet")
    wheat = contract.MapClass(1, "winter_wheat", "冬小麦", "winter wheat", "#DDCC77")
    raster = contract.Raster(
        "crop_type", "whole", "crop_type/whole/crop_type.tif", "作物分布", classes=(wheat,)
    )
    manifest = contract.RunManifest(
        run_id="tiny-2026",
        title="小样",
        season={"start": "2025-09-01", "end": "2026-10-31"},
        region={"name": "小样"},
        simulated=True,
        created_at="2026-11-22T00:00:00+00:00",
        code={"version": "0"},
        config={},
        inputs=[],
        models=[],
        seeds={"seed": 42},
        timings={"ingest": 1.5},
        crops=(wheat,),
        rasters=(raster,),
    )
    contract.seal(folder, manifest)
    return folder


def test_a_sealed_folder_reads_back_as_it_was_written(run_folder: Path) -> None:
    manifest = contract.verify(run_folder)

    assert manifest.run_id == "tiny-2026"
    assert manifest.crops == (contract.MapClass(1, "winter_wheat", "冬小麦", "winter wheat", "#DDCC77"),)
    assert manifest.rasters[0].classes == manifest.crops
    assert manifest.files["crop_type/whole/crop_type.tif"].bytes == 256
    assert set(manifest.files) >= set(contract.REQUIRED_FILES)


def test_one_flipped_bit_anywhere_is_found(run_folder: Path, tmp_path: Path) -> None:
    draw = random.Random(42)
    files = [path.relative_to(run_folder) for path in run_folder.rglob("*") if path.is_file()]
    assert Path("run.json") in files
    for name in files:
        for _ in range(12):
            # given: a copy with one bit of one file flipped
            copy = tmp_path / "copy"
            shutil.copytree(run_folder, copy)
            content = bytearray((copy / name).read_bytes())
            position = draw.randrange(len(content))
            content[position] ^= 1 << draw.randrange(8)
            (copy / name).write_bytes(content)
            # then: refused, and the file is named
            with pytest.raises(RunFolderError, match=name.name):
                contract.verify(copy)
            shutil.rmtree(copy)


@pytest.mark.parametrize("lost", ["estimates.parquet", "crop_type/whole/crop_type.tif", "run.json"])
def test_a_missing_file_is_named(run_folder: Path, lost: str) -> None:
    (run_folder / lost).unlink()
    with pytest.raises(RunFolderError, match=Path(lost).name):
        contract.verify(run_folder)


def test_a_foreign_file_is_named(run_folder: Path) -> None:
    (run_folder / "notes.txt").write_text("added later")
    with pytest.raises(RunFolderError, match=r"notes\.txt is not listed"):
        contract.verify(run_folder)


def test_a_truncated_file_is_found(run_folder: Path) -> None:
    path = run_folder / "series.parquet"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(RunFolderError, match=r"series\.parquet is damaged"):
        contract.verify(run_folder)


def test_tables_of_other_columns_are_refused(run_folder: Path) -> None:
    manifest = contract.read_manifest(run_folder)
    pd.DataFrame({"crop": ["winter_wheat"]}).to_parquet(run_folder / "estimates.parquet")
    contract.seal(run_folder, manifest)
    with pytest.raises(RunFolderError, match="expected"):
        contract.verify(run_folder)


def test_another_format_version_is_refused(run_folder: Path) -> None:
    manifest = contract.read_manifest(run_folder)
    shallow = {name: getattr(manifest, name) for name in contract.RunManifest.__dataclass_fields__}
    contract.seal(run_folder, contract.RunManifest(**{**shallow, "format_version": 99}))
    with pytest.raises(RunFolderError, match="format version 99"):
        contract.verify(run_folder)


def test_a_folder_without_manifest_is_not_a_run(tmp_path: Path) -> None:
    with pytest.raises(RunFolderError, match="not a run folder"):
        contract.verify(tmp_path)
