"""The structured log of a season's runs: `log.jsonl` in its work folder, one JSON object a line.

Written by the coordinating process alone. A local log is appended to; in S3, which cannot append, each run
has an object of its own, written anew from time to time. `read_log` gives both back the same way.
"""

from __future__ import annotations

import json
import os
import threading
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Literal, Self

from eo_pipeline.disk import is_full
from eo_pipeline.errors import StorageError
from eo_pipeline.storage import Folder

LOG: Final = "log.jsonl"
Level = Literal["info", "warning", "error"]
#: How long lines of a remote log may wait before they are sent.
_SEND_SECONDS: Final = 20.0


class RunLog:
    """Appends events to a season's log.

    Each line holds `time` (UTC, ISO 8601), `level`, `event`, and what the event tells: `stage`, `tile`,
    `block`, `seconds`, `worker`, `peak_bytes`, `skipped`, …

    Parameters
    ----------
    folder : Folder or Path
        The work folder.
    """

    def __init__(self, folder: Folder | Path) -> None:
        self.folder = Folder.of(folder)
        self._mutex = threading.Lock()
        self._lines: list[bytes] = []
        self._sent = time.monotonic()
        self._file = -1
        self._name = f"log-{datetime.now(UTC):%Y%m%dT%H%M%S}-{os.getpid()}.jsonl"
        if (path := self.folder.local_path) is not None:
            path.mkdir(parents=True, exist_ok=True)
            self._file = os.open(path / LOG, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
            size = os.fstat(self._file).st_size
            if size and os.pread(self._file, 1, size - 1) != b"\n":
                os.write(self._file, b"\n")  # the last run was cut off in the middle of a line

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def write(self, event: str, *, level: Level = "info", **facts: Any) -> None:
        """Append one event; facts that are None are left out."""
        document = {
            "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "level": level,
            "event": event,
        }
        document |= {name: value for name, value in facts.items() if value is not None}
        line = json.dumps(document, ensure_ascii=False, default=str).encode() + b"\n"
        with self._mutex:
            if self._file >= 0:
                try:
                    os.write(self._file, line)  # one call: lines of two processes do not mix
                except OSError as error:
                    if not is_full(error):  # a log is no reason to stop a run
                        raise
                return
            self._lines.append(line)
            if level == "info" and time.monotonic() - self._sent < _SEND_SECONDS:
                return
            self._send()

    def close(self) -> None:
        """Send what waits, and close the file."""
        with self._mutex:
            if self._file >= 0:
                os.close(self._file)
                self._file = -1
            elif self._lines:
                self._send()

    def _send(self) -> None:
        self._sent = time.monotonic()
        if self.folder.remote:
            try:
                self.folder.write(self._name, b"".join(self._lines))
            except StorageError:
                return  # the lines stay and go with the next; a log is no reason to stop a run


def read_log(folder: Folder | Path) -> list[dict[str, Any]]:
    """Every event of a season's runs, in the order written; lines cut off by a kill are left out."""
    place = Folder.of(folder)
    if place.remote:
        names = [n for n in place.names() if n.startswith("log-") and "/" not in n]
    else:
        names = [LOG] if place.exists(LOG) else []
    events = []
    for name in names:
        for line in place.read(name).splitlines():
            try:
                event = json.loads(line)
            except ValueError:
                continue
            if isinstance(event, dict):
                events.append(event)
    return events
