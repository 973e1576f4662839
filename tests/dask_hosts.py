"""A Dask cluster as on several hosts: a scheduler, and workers each in a folder of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

DASK = str(Path(sys.executable).with_name("dask"))


class Cluster:
    """Processes of one scheduler and its workers, ended with it."""

    def __init__(self, folder: Path, modules: Path) -> None:
        self.folder, self.modules = folder, modules
        self.processes: list[subprocess.Popen[bytes]] = []
        self.file = folder / "scheduler.json"
        folder.mkdir(parents=True)
        self.scheduler = self._start(
            "scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard", "--scheduler-file", self.file
        )
        deadline = time.monotonic() + 60
        while not self.file.is_file() or not self.file.read_text().strip():
            assert time.monotonic() < deadline
            time.sleep(0.05)
        self.address = str(json.loads(self.file.read_text())["address"])

    def worker(self, name: str, path: Path | None = None) -> subprocess.Popen[bytes]:
        """Start a worker under a nanny, as `dask worker` does, in a folder of its own as on another host.

        `path` is looked in first for modules, `self.modules` after that.
        """
        (self.folder / name).mkdir()
        return self._start(
            *("worker", "--scheduler-file", self.file, "--nthreads", "1", "--host", "127.0.0.1"),
            *("--no-dashboard", "--name", name, "--local-directory", self.folder / name / "space"),
            path=path,
            cwd=self.folder / name,
        )

    def _start(
        self, *words: object, path: Path | None = None, cwd: Path | None = None
    ) -> subprocess.Popen[bytes]:
        places = [*([str(path)] if path else []), str(self.modules)]
        process = subprocess.Popen(
            [DASK, *map(str, words)],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(places)},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            cwd=cwd,
        )
        self.processes.append(process)
        return process

    def close(self) -> None:
        """End all of it."""
        for process in self.processes:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
