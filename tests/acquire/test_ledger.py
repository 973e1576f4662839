"""The ledger never says more than what lies on the disk, and several processes may write it."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from eo_pipeline.acquire.ledger import Ledger
from eo_pipeline.errors import ArchiveError

WHAT = {"tile": "48SWE", "sensed": "2026-05-01T03:35:41+00:00", "name": "S2A.SAFE", "source": "cdse"}


def test_a_file_is_done_only_under_its_final_name(tmp_path: Path) -> None:
    with Ledger(tmp_path) as ledger:
        with pytest.raises(ArchiveError, match="vanished"):
            ledger.put_file("a/b.jp2", key="B04", source="cdse", state="done", size=3)
        assert ledger.file("a/b.jp2") is None
        (tmp_path / "a").mkdir()
        (tmp_path / "a" / "b.jp2").write_bytes(b"abc")
        ledger.put_file("a/b.jp2", key="B04", source="cdse", state="done", size=3, proof="md5")
        row = ledger.has("a/b.jp2")
        assert row is not None and (row.size, row.proof) == (3, "md5")
        (tmp_path / "a" / "b.jp2").write_bytes(b"ab")
        assert ledger.has("a/b.jp2") is None
        (tmp_path / "a" / "b.jp2").unlink()
        assert ledger.has("a/b.jp2") is None and ledger.brought == 1


def test_an_observation_keeps_its_last_state_and_its_screening(tmp_path: Path) -> None:
    with Ledger(tmp_path) as ledger:
        ledger.put_product("sentinel-2-l2a", "o", **WHAT, state="screened-out", reason="cloud", blocked=93.0)
        ledger.put_product("sentinel-2-l2a", "o", **WHAT, state="fetching")
    with Ledger(tmp_path) as ledger:
        (row,) = ledger.products("sentinel-2-l2a")
        assert (row.state, row.reason, row.blocked) == ("fetching", "", 93.0)
        assert ledger.product("sentinel-2-l2a", "other") is None


def test_processes_write_at_once(tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path\n"
        "from eo_pipeline.acquire.ledger import Ledger\n"
        "with Ledger(Path(sys.argv[1])) as ledger:\n"
        "    for n in range(40):\n"
        "        ledger.put_file(f'{sys.argv[2]}/{n}', key='B04', source='x', state='fetching')\n"
    )
    processes = [
        subprocess.Popen([sys.executable, "-c", script, str(tmp_path), name]) for name in ("a", "b", "c")
    ]
    assert [process.wait(timeout=60) for process in processes] == [0, 0, 0]
    count = sqlite3.connect(tmp_path / "ledger.sqlite").execute("SELECT count(*) FROM files").fetchone()[0]
    assert count == 120


def test_something_else_under_its_name_is_told(tmp_path: Path) -> None:
    (tmp_path / "ledger.sqlite").write_bytes(b"no database at all" * 100)
    with pytest.raises(ArchiveError, match="cannot be used as a ledger"):
        Ledger(tmp_path)


def test_a_damaged_one_is_told(tmp_path: Path) -> None:
    with Ledger(tmp_path) as ledger:
        for number in range(100):
            ledger.put_file(f"48SWE/{number:05d}/B04.jp2", key="B04", source="x", state="fetching")
    path = tmp_path / "ledger.sqlite"
    content = bytearray(path.read_bytes())
    for page in range(4 * 4096, len(content), 4096):  # the first hold the tables' names
        content[page : page + 64] = b"\xff" * 64
    path.write_bytes(content)
    with Ledger(tmp_path) as ledger:
        for use in (
            lambda: ledger.file("48SWE/00050/B04.jp2"),
            lambda: ledger.put_file("48SWE/00050/B04.jp2", key="B04", source="x", state="failed"),
        ):
            with pytest.raises(ArchiveError, match=r"malformed\. Move it away and run `eo fetch` again"):
                use()
