"""Every notebook runs from top to bottom on a fresh run folder, and is stored without output."""

from __future__ import annotations

from pathlib import Path

import nbformat
import pytest
from made_run import make_run
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

FOLDER = Path(__file__).resolve().parents[1] / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
#: What a notebook must have printed when it came to its end.
SAYS = {
    "01_from_cube_to_county_table": ("by hand",),
    "02_from_search_to_cube": ("模拟数据", "logged in", " 0 failed", "truncated", "quarantined", "by hand"),
}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    make_run(folder)
    return folder


def execute(path: Path, run: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Run a notebook on a run folder; the text it printed."""
    monkeypatch.setenv("EO_RUN", str(run))
    monkeypatch.setenv("PYTHONPATH", str(FOLDER.parent))
    notebook = nbformat.read(path, as_version=4)
    NotebookClient(
        notebook, timeout=120, kernel_name="python3", resources={"metadata": {"path": FOLDER}}
    ).execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    assert any("image/png" in output.get("data", {}) for output in outputs), "no plot was drawn"
    return "".join(output.get("text", "") for output in outputs)


def test_of_each_notebook_we_know_what_it_says() -> None:
    assert {path.stem for path in NOTEBOOKS} == set(SAYS)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_is_stored_without_output(path: Path) -> None:
    for cell in nbformat.read(path, as_version=4).cells:
        if cell.cell_type == "code":
            assert cell.outputs == [] and cell.execution_count is None


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_runs(path: Path, run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = execute(path, run, monkeypatch)
    assert [phrase for phrase in SAYS[path.stem] if phrase not in text] == []


def test_the_number_by_hand_would_catch_a_wrong_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # given: a sealed run whose pixel counts are 1 % too high
    import pandas as pd

    from eo_pipeline.publish.contract import seal

    manifest = make_run(tmp_path)
    table = pd.read_parquet(tmp_path / "estimates.parquet")
    table.loc[table["method"] == "pixel_count", "value"] *= 1.01
    table.to_parquet(tmp_path / "estimates.parquet")
    seal(tmp_path, manifest)
    # when, then
    with pytest.raises(CellExecutionError, match="does not follow from the map"):
        execute(FOLDER / "01_from_cube_to_county_table.ipynb", tmp_path, monkeypatch)
