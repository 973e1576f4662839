"""A disk that gets full in the middle: one paragraph, exit code 2, nothing half-written; with room, the same
command ends with the same bytes.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import rasterio
from seasons import TinySeason, make_season
from small_disk import room_of, small_disk
from test_run import products

from eo_pipeline import cli
from eo_pipeline.publish.contract import verify


@pytest.fixture(scope="module")
def season(tmp_path_factory: pytest.TempPathFactory) -> TinySeason:
    """A season whose run is done where there is room."""
    made = make_season(tmp_path_factory.mktemp("season"), size=48)
    with pytest.MonkeyPatch.context() as patch:
        assert eo(patch, "run", made.toml, "--workers", 0, "--json") == 0
    return made


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    with small_disk(tmp_path / "disk", kilobytes=6000) as folder:
        yield folder


def eo(patch: pytest.MonkeyPatch, *arguments: object) -> int:
    """Run the command in this process; its exit code."""
    patch.setattr(sys, "argv", ["eo", *map(str, arguments)])
    patch.delenv("EO_DEBUG", raising=False)
    with pytest.raises(SystemExit) as stop:
        cli.main()
    return int(stop.value.code or 0)


def paragraph(capsys: pytest.CaptureFixture[str]) -> str:
    """What the command said of its end: one paragraph, and the cure in it."""
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("Error: ")]
    assert "The disk may be full" in line and " free. What was done before is kept" in line
    assert "give the same command again to continue" in line
    return line


def done(season: TinySeason) -> Path:
    return season.root / "runs" / "tiny-2026"


def test_a_run_folder_is_the_old_one_or_the_whole_new_one(
    season: TinySeason, disk: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    work = season.root / "runs" / ".work" / "tiny-2026"
    command = ("run", season.toml, "--out", disk, "--work", work, "--workers", 0, "--json")
    assert eo(monkeypatch, *command) == 0
    before = (disk / "tiny-2026" / "run.json").read_bytes()
    capsys.readouterr()
    codes, files = [], set()
    for kilobytes in (0, 10, 40, 80, 120, 160, 200, 240, 300, 400, 3000):
        with room_of(disk, kilobytes):
            codes.append(eo(monkeypatch, *command))
            if codes[-1]:
                files.add(Path(paragraph(capsys).split(" cannot be written")[0]).name)
        verify(disk / "tiny-2026")
        assert (disk / "tiny-2026" / "run.json").read_bytes() == before
        assert {path.name for path in disk.iterdir()} <= {"tiny-2026", ".work"}
        assert products(disk / "tiny-2026") == products(done(season))
    assert codes == sorted(codes, reverse=True) and codes.count(2) >= 5 and codes[-1] == 0
    assert len(files) > 2, files  # rasters, and what comes after them


def test_a_cube_goes_on_where_the_disk_was_full(
    season: TinySeason, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with small_disk(tmp_path / "disk", kilobytes=40) as disk:
        command = ("run", season.toml, "--out", tmp_path / "out", "--work", disk / "work", "--workers", 0)
        codes = []
        for kilobytes in (40, 80, 160, 240, 320, 400, 480, 560, 640, 4000):
            subprocess.run(["mount", "-o", f"remount,size={kilobytes}k", str(disk)], check=True)
            codes.append(eo(monkeypatch, *command, "--json"))
            if codes[-1]:
                assert str(disk) in paragraph(capsys)
                assert not (tmp_path / "out" / "tiny-2026").exists()
    assert codes == sorted(codes, reverse=True) and codes.count(2) >= 5 and codes[-1] == 0
    assert products(tmp_path / "out" / "tiny-2026") == products(done(season))


def test_a_work_folder_without_any_room_is_told(
    season: TinySeason, disk: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (disk / "work").mkdir()
    with room_of(disk, 0):
        assert eo(monkeypatch, "ingest", season.toml, "--out", disk, "--workers", 0) == 2
    assert str(disk) in paragraph(capsys)


@pytest.mark.parametrize("form", ["cog", "gtiff"])
def test_an_exported_raster_is_whole_or_not_there(
    season: TinySeason,
    disk: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    form: str,
) -> None:
    command = ("cube", "export", season.toml, "--index", "NDVI", "--format", form)
    whole = season.root / f"{form}.tif"
    assert eo(monkeypatch, *command, "--out", whole) == 0
    codes, target = [], disk / "ndvi.tif"
    for kilobytes in range(0, 600, 40):
        with room_of(disk, kilobytes):
            codes.append(eo(monkeypatch, *command, "--out", target))
            if codes[-1]:
                assert str(target) in paragraph(capsys)
                assert [path.name for path in disk.iterdir()] == ["ballast"]
            else:
                assert target.read_bytes() == whole.read_bytes()
                with rasterio.open(target) as raster:
                    assert raster.read().shape == (18, 48, 48)
                target.unlink()
    assert codes == sorted(codes, reverse=True) and codes.count(2) >= 2 and codes[-1] == 0


def test_a_report_that_does_not_fit_leaves_the_old_one(
    season: TinySeason, disk: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    work = season.root / "runs" / ".work" / "tiny-2026"
    assert eo(monkeypatch, "run", season.toml, "--out", disk, "--work", work, "--workers", 0, "--json") == 0
    folder = disk / "tiny-2026"
    before = (folder / "report.html").read_bytes()
    size = len(before) // 1024
    # as another program version would make it
    template = Path(cli.__file__).parent / "publish" / "report.html.j2"
    from eo_pipeline.publish import report

    other = disk.parent / "templates"
    other.mkdir()
    (other / "report.html.j2").write_text(template.read_text() + "\n<!-- new -->\n")
    for name in template.parent.glob("*.j2"):
        if name.name != template.name:
            (other / name.name).write_text(name.read_text())
    monkeypatch.setattr(report, "__file__", str(other / "report.py"))
    codes = []
    for kilobytes in range(0, 4 * size, 4):
        with room_of(disk, kilobytes):
            codes.append(eo(monkeypatch, "report", folder))
        verify(folder)
        assert {path.name for path in disk.iterdir()} <= {"tiny-2026", ".work"}
        if codes[-1] == 0:
            break
        paragraph(capsys)
        assert (folder / "report.html").read_bytes() == before
    assert codes[-1] == 0 and set(codes[:-1]) == {2} and len(codes) > size // 4
    assert (folder / "report.html").read_bytes() != before
