"""What was found, screened out, fetched and failed: one SQLite file beside the products.

Several processes may write it at once. A row never says done before the file has its final name, and what it
calls done is believed only while a file of that size lies there.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Literal, get_args

from eo_pipeline.errors import ArchiveError

State = Literal["found", "screened-out", "fetching", "done", "failed", "quarantined", "missing"]
STATES: Final[tuple[str, ...]] = get_args(State)
FILE: Final = "ledger.sqlite"
_VERSION: Final = 1
_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS products (
    collection TEXT NOT NULL, observation TEXT NOT NULL, tile TEXT NOT NULL, sensed TEXT NOT NULL,
    name TEXT NOT NULL, source TEXT NOT NULL, state TEXT NOT NULL, reason TEXT NOT NULL DEFAULT '',
    blocked REAL, region TEXT NOT NULL DEFAULT '', bytes INTEGER NOT NULL DEFAULT 0,
    found TEXT NOT NULL, changed TEXT NOT NULL,
    PRIMARY KEY (collection, observation)
);
CREATE TABLE IF NOT EXISTS files (
    path TEXT PRIMARY KEY, key TEXT NOT NULL, source TEXT NOT NULL, state TEXT NOT NULL,
    size INTEGER, blake3 TEXT NOT NULL DEFAULT '', proof TEXT NOT NULL DEFAULT '',
    reason TEXT NOT NULL DEFAULT '', changed TEXT NOT NULL
);
"""
_SELECT: Final = (
    "SELECT collection, observation, tile, sensed, name, source, state, reason, blocked, bytes, region "
    "FROM products WHERE {} ORDER BY tile, sensed, observation"
)


@dataclass(frozen=True, slots=True)
class ProductRow:
    """One observation. `blocked` is the share of the cropland in view that cloud, shadow or nodata hides,
    in percent; `region` says in whose view (`Region.token`)."""

    collection: str
    observation: str
    tile: str
    sensed: str
    name: str
    source: str
    state: State
    reason: str
    blocked: float | None
    bytes: int
    region: str = ""


@dataclass(frozen=True, slots=True)
class FileRow:
    """One file by its path below the root. `proof` says by what it was found whole."""

    path: str
    key: str
    source: str
    state: State
    size: int | None
    blake3: str
    proof: str
    reason: str


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


class Ledger:
    """The ledger of one root folder; safe between threads and between processes.

    Raises
    ------
    ArchiveError
        The file is no ledger, or of a later version.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.path = root / FILE
        root.mkdir(parents=True, exist_ok=True)
        self._lock = threading.Lock()
        self._brought: set[str] = set()
        try:
            self._database = sqlite3.connect(
                self.path, timeout=60.0, isolation_level=None, check_same_thread=False
            )
            self._database.execute("PRAGMA busy_timeout = 60000")
            self._database.execute("PRAGMA journal_mode = WAL")
            self._database.execute("PRAGMA synchronous = FULL")
            version = self._database.execute("PRAGMA user_version").fetchone()[0]
            if version > _VERSION:
                raise ArchiveError(f"{self.path} was written by a later version; update this program.")
            self._database.executescript(_SCHEMA)
            self._database.execute(f"PRAGMA user_version = {_VERSION}")
        except sqlite3.Error as error:
            raise self._useless(error) from None

    def close(self) -> None:
        """Close the file; what was written stays."""
        self._database.close()

    def __enter__(self) -> Ledger:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _run(self, statement: str, values: tuple[object, ...] = ()) -> list[Any]:
        """Run a statement; the rows it gives."""
        try:
            with self._lock:
                return self._database.execute(statement, values).fetchall()
        except sqlite3.OperationalError as error:
            raise ArchiveError(
                f"{self.path} cannot be read or written: {error}. See whether the disk is full or another "
                "process holds it, then go on."
            ) from None
        except sqlite3.Error as error:
            raise self._useless(error) from None

    def _useless(self, error: sqlite3.Error) -> ArchiveError:
        return ArchiveError(
            f"{self.path} cannot be used as a ledger: {error}. Move it away and run `eo fetch` again; "
            "what lies on disk is found and checked."
        )

    def put_product(
        self,
        collection: str,
        observation: str,
        *,
        tile: str,
        sensed: str,
        name: str,
        source: str,
        state: State,
        reason: str = "",
        blocked: float | None = None,
        bytes: int = 0,
        region: str = "",
    ) -> None:
        """Write the state of an observation over what stood there."""
        now = _now()
        self._run(
            "INSERT INTO products VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?) "
            "ON CONFLICT (collection, observation) DO UPDATE SET "
            "name = excluded.name, source = excluded.source, state = excluded.state, "
            "reason = excluded.reason, "
            "blocked = coalesce(excluded.blocked, blocked), "
            "region = iif(excluded.blocked IS NULL, region, excluded.region), "
            "bytes = excluded.bytes, changed = excluded.changed",
            (
                collection,
                observation,
                tile,
                sensed,
                name,
                source,
                state,
                reason,
                blocked,
                region,
                bytes,
                now,
                now,
            ),
        )

    def put_file(
        self,
        path: str,
        *,
        key: str,
        source: str,
        state: State,
        size: int | None = None,
        blake3: str = "",
        proof: str = "",
        reason: str = "",
    ) -> None:
        """Write the state of a file. "done" is refused where it does not lie under its name with that size.

        Raises
        ------
        ArchiveError
            It is called done and is not there.
        """
        if state == "done" and (size is None or not _lies(self.root / path, size)):
            raise ArchiveError(f"{self.root / path} vanished while it was fetched; run `eo fetch` again.")
        self._run(
            "INSERT OR REPLACE INTO files VALUES (?,?,?,?,?,?,?,?,?)",
            (path, key, source, state, size, blake3, proof, reason, _now()),
        )
        if state == "done":
            self._brought.add(path)

    def drop_product(self, collection: str, observation: str) -> None:
        """Forget an observation: it turned out to be two parts, which are accounted for by themselves."""
        self._run("DELETE FROM products WHERE collection = ? AND observation = ?", (collection, observation))

    def product(self, collection: str, observation: str) -> ProductRow | None:
        """What is known of an observation."""
        rows = self._products("collection = ? AND observation = ?", (collection, observation))
        return next(rows, None)

    def products(self, collection: str) -> tuple[ProductRow, ...]:
        """All observations of a collection, by tile and time."""
        return tuple(self._products("collection = ?", (collection,)))

    def _products(self, where: str, values: tuple[object, ...]) -> Iterator[ProductRow]:
        return (ProductRow(*row) for row in self._run(_SELECT.format(where), values))

    def file(self, path: str) -> FileRow | None:
        """What is known of a file."""
        rows = self._run(
            "SELECT path, key, source, state, size, blake3, proof, reason FROM files WHERE path = ?", (path,)
        )
        return FileRow(*rows[0]) if rows else None

    def has(self, path: str) -> FileRow | None:
        """The row of a file that is done and still lies there with its size; else None."""
        row = self.file(path)
        if row is None or row.state != "done" or row.size is None:
            return None
        return row if _lies(self.root / path, row.size) else None

    @property
    def brought(self) -> int:
        """How many files were called done here, each counted once: whether a round of fetching got anywhere.
        What other processes bring meanwhile says nothing of that.
        """
        return len(self._brought)


def not_brought(root: Path, collection: str) -> tuple[ProductRow, ...]:
    """Observations below `root` that fetching left out for clouds, put into quarantine or could not bring.

    Looks and writes nothing; empty where nothing was fetched.
    """
    if not (root / FILE).is_file():
        return ()
    try:
        database = sqlite3.connect(f"{(root / FILE).resolve().as_uri()}?mode=ro", uri=True, timeout=60.0)
        try:
            rows = database.execute(
                _SELECT.format("collection = ? AND state != 'done'"), (collection,)
            ).fetchall()
        finally:
            database.close()
    except sqlite3.Error:  # a folder one may not write to, another's file: the products still speak
        return ()
    return tuple(ProductRow(*row) for row in rows)


def _lies(path: Path, size: int) -> bool:
    try:
        return path.is_file() and path.stat().st_size == size
    except OSError:
        return False
