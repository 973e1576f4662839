"""Shared fixtures: where the real data lies, and a guard that keeps tests off the network.

Compiled functions check their indices under test, here and in every process a test starts: one that reaches
outside its arrays fails at once instead of now and then. They are kept in a cache of their own.

Bytecode is kept as well, whatever the caller's environment says: tests start dozens of processes, and most of
the time of a short one went into compiling the libraries it imports.
"""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# how long drawing an example takes tells of the machine's other work, and of nothing that is tested
settings.register_profile("unhurried", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("unhurried")

ROOT = Path(__file__).resolve().parents[1]
os.environ["NUMBA_BOUNDSCHECK"] = "1"
os.environ["NUMBA_CACHE_DIR"] = str(ROOT / "var" / "numba-checked")
sys.dont_write_bytecode, sys.pycache_prefix = False, str(ROOT / "var" / "bytecode")
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
os.environ["PYTHONPYCACHEPREFIX"] = sys.pycache_prefix


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of other people's measurements beside the project; without it the test is skipped."""
    folder = ROOT.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"real data not found: {folder} (tests marked realdata need it)")
    return folder


@pytest.fixture(autouse=True)
def _loopback_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """A test may talk to this machine and to nothing else."""
    connect = socket.socket.connect

    def guarded(self: socket.socket, address: object) -> None:
        if self.family in (socket.AF_INET, socket.AF_INET6):
            host = str(address[0])  # type: ignore[index]
            if not (host.startswith("127.") or host in ("localhost", "::1")):
                raise RuntimeError(f"a test tried to connect to {host}; tests may only use loopback")
        connect(self, address)  # type: ignore[arg-type]

    monkeypatch.setattr(socket.socket, "connect", guarded)
