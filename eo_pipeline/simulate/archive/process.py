"""The archive in a process of its own, for readers that stop every thread of theirs while they wait.

GDAL as rasterio calls it opens an address without letting other threads of the process run, so an archive in
one of them would never answer. The child ends with its parent: it waits for the end of its standard input.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import ProxyHandler, Request, build_opener

from eo_pipeline.errors import ArchiveError
from eo_pipeline.simulate.archive.faults import Faults, faults_document, faults_from

_WAIT_S = 20.0


class RemoteArchive:
    """An archive in another process, with the same face as `server.Archive`."""

    def __init__(self, facts: dict[str, Any]) -> None:
        self.url, self.user, self.password = str(facts["url"]), str(facts["user"]), str(facts["password"])
        self.folder = Path(facts["folder"])
        self._opener = build_opener(ProxyHandler({}))

    def stats(self) -> dict[str, Any]:
        """See `server.Archive.stats`."""
        found: dict[str, Any] = self._ask("_stats")
        return found

    @property
    def faults(self) -> Faults:
        """The faults in force."""
        return faults_from(self._ask("_faults"))

    def set_faults(self, faults: Faults) -> None:
        """See `server.Archive.set_faults`."""
        self._ask("_faults", faults_document(faults))

    def refresh(self) -> None:
        """See `server.Archive.refresh`."""
        self._ask("_refresh", {})

    def _ask(self, path: str, document: Any = None) -> Any:
        body = None if document is None else json.dumps(document).encode()
        request = Request(f"{self.url}/{path}", data=body)  # noqa: S310 - an address of this machine
        try:
            with self._opener.open(request, timeout=_WAIT_S) as answer:
                return json.load(answer)
        except HTTPError as error:
            raise ArchiveError(str(json.load(error).get("detail", error))) from error
        except OSError as error:
            raise ArchiveError(f"The archive at {self.url} does not answer any more ({error}).") from error


@contextmanager
def serve_process(
    folder: Path | str, *, faults: Faults | None = None, **options: Any
) -> Iterator[RemoteArchive]:
    """`server.serve` in a process of its own; the same options.

    Raises
    ------
    ArchiveError
        As `server.serve`.
    """
    given = {name: str(value) if isinstance(value, Path) else value for name, value in options.items()}
    order = {"folder": str(folder), "faults": faults_document(faults or Faults()), "options": given}
    child = subprocess.Popen(
        [sys.executable, "-m", "eo_pipeline.simulate.archive"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[3],
    )
    assert child.stdin is not None and child.stdout is not None
    try:
        child.stdin.write(json.dumps(order).encode() + b"\n")
        child.stdin.flush()
        facts = json.loads(child.stdout.readline() or b'{"error": "The archive ended before it answered."}')
        if "error" in facts:
            raise ArchiveError(facts["error"])
        yield RemoteArchive(facts)
    finally:
        child.stdin.close()
        try:
            child.wait(_WAIT_S)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
        child.stdout.close()


def main() -> None:
    """The child: serve what standard input orders until it ends."""
    from eo_pipeline.simulate.archive.server import serve

    order = json.loads(sys.stdin.readline())
    try:
        with serve(Path(order["folder"]), faults=faults_from(order["faults"]), **order["options"]) as archive:
            facts = {
                "url": archive.url,
                "user": archive.user,
                "password": archive.password,
                "folder": str(archive.folder),
            }
            print(json.dumps(facts), flush=True)
            watcher = threading.Thread(target=sys.stdin.read, daemon=True)
            watcher.start()
            watcher.join()
    except ArchiveError as error:
        print(json.dumps({"error": str(error)}), flush=True)
    except TypeError as error:
        print(json.dumps({"error": f"An option is not known: {error}"}), flush=True)
