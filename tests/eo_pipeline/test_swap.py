"""A new run folder takes an old one's place: at whatever step it is killed, a whole folder is there."""

from __future__ import annotations

import os
import shutil
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from seasons import make_season
from test_run import run

from eo_pipeline import assemble, disk
from eo_pipeline.errors import DiskFullError
from eo_pipeline.publish.contract import seal, verify


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """An old run folder, and a new one of the same season by another title."""
    season = make_season(tmp_path_factory.mktemp("season"), size=16, dates=8)
    old, _ = run(season)
    season.rewrite('title = "Tiny 2026"', 'title = "New"')
    new, _ = run(season, out=tmp_path_factory.mktemp("new"))
    return old, new


def killed_at_each_step(made: tuple[Path, Path], root: Path) -> Iterator[tuple[Path, bool]]:
    """Replace the old folder by the new one in a process that is killed before its first, second, … change.

    Gives the folder's name, and whether the process was killed; ends when it was not.
    """
    for step in range(1000):
        folder, fresh = root / str(step) / "tiny-2026", root / str(step) / ".tiny-2026.partial"
        shutil.copytree(made[0], folder)
        shutil.copytree(made[1], fresh)
        child = os.fork()
        if child == 0:
            left = [step]

            def watch(event: str, _: Any, left: list[int] = left) -> None:
                if event in ("os.rename", "os.remove", "os.rmdir", "shutil.rmtree", "ctypes.dlsym"):
                    left[0] -= 1
                    if left[0] < 0:
                        os.kill(os.getpid(), signal.SIGKILL)

            sys.addaudithook(watch)
            try:
                disk.replace_folder(fresh, folder)
            finally:
                os._exit(0)
        killed = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
        yield folder, killed
        if not killed:
            return


def test_a_kill_at_any_step_leaves_a_whole_folder(made: tuple[Path, Path], tmp_path: Path) -> None:
    titles = [verify(folder).title for folder, _ in killed_at_each_step(made, tmp_path)]
    assert titles[0] == "Tiny 2026"
    assert titles[1:] == ["New"] * (len(titles) - 1)
    assert len(titles) > 10  # the old folder's files are removed one by one


def test_where_folders_cannot_be_swapped_the_next_run_finds_the_old_one(
    made: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(disk, "_swap", lambda *_: False)  # as on a network file system
    there, titles = [], []
    for folder, _ in killed_at_each_step(made, tmp_path):
        there.append(folder.exists())
        disk.restore_folder(folder)
        titles.append(verify(folder).title)
        assert {path.name for path in folder.parent.iterdir()} <= {folder.name, ".tiny-2026.partial"}
    assert there[:4] == [True, False, True, True]  # the one step that leaves none
    assert titles[:2] == ["Tiny 2026"] * 2
    assert titles[2:] == ["New"] * (len(titles) - 2)


def test_a_run_that_fails_has_put_back_what_a_kill_had_left_aside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    season = make_season(tmp_path, size=16, dates=8)
    folder, _ = run(season)
    before = (folder / "run.json").read_bytes()
    folder.rename(disk._aside(folder))

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(assemble, "seal", full)
    with pytest.raises(DiskFullError, match="No space"):
        run(season)
    assert verify(folder).title == "Tiny 2026"
    monkeypatch.setattr(assemble, "seal", seal)
    run(season)
    assert (folder / "run.json").read_bytes() == before
    assert sorted(path.name for path in folder.parent.iterdir()) == [".work", "tiny-2026"]


def test_a_report_is_made_anew_or_not_at_all(made: tuple[Path, Path], tmp_path: Path) -> None:
    """By a process that is killed before its first, fourth, … change."""
    changed = []
    for step in range(0, 1000, 3):
        folder = tmp_path / str(step) / "tiny-2026"
        shutil.copytree(made[0], folder)
        manifest = verify(folder)
        (folder / "report.html").write_text("as an older program made it")
        seal(folder, manifest)
        child = os.fork()
        if child == 0:
            left = [step]

            def watch(event: str, _: Any, left: list[int] = left) -> None:
                if event in ("os.link", "os.rename", "os.remove", "os.rmdir", "ctypes.dlsym"):
                    left[0] -= 1
                    if left[0] < 0:
                        os.kill(os.getpid(), signal.SIGKILL)

            sys.addaudithook(watch)
            try:
                assemble.rebuild_report(folder)
            finally:
                os._exit(0)
        killed = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
        verify(folder)
        changed.append((folder / "report.html").read_bytes() == (made[0] / "report.html").read_bytes())
        if not killed:
            break
    assert changed[-1] and changed == sorted(changed)
    assert 2 < changed.index(True) < len(changed) - 2
    # where nothing has changed the folder is left alone, and nothing is left beside it
    inode = folder.stat().st_ino
    assert not assemble.rebuild_report(folder) and folder.stat().st_ino == inode
    assert [path.name for path in folder.parent.iterdir()] == ["tiny-2026"]
