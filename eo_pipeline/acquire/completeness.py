"""What a season has of each tile and dekad, what it lacks, and why. Plain data; the command prints it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime
from typing import Any, Literal

from eo_pipeline.acquire.ledger import State
from eo_pipeline.acquire.products import Collection
from eo_pipeline.grid import TimeStep, dekads


@dataclass(frozen=True, slots=True)
class SourceReport:
    """How a source answered a search: it refused (this account, or everybody), failed, or is still silent;
    `reason` says why in the first two cases.
    """

    name: str
    state: Literal["answered", "refused", "failed", "silent"]
    products: int = 0
    reason: str = ""


@dataclass(frozen=True, slots=True)
class SceneReport:
    """One observation and what became of it. `blocked` is in percent of the cropland in view."""

    tile: str
    day: date
    name: str
    source: str
    state: State
    reason: str = ""
    blocked: float | None = None
    bytes: int = 0
    observation: str = ""


@dataclass(frozen=True, slots=True)
class DekadReport:
    """One dekad of one tile, in numbers of scenes. `missing` were found and not tried yet."""

    tile: str
    start: date
    found: int
    usable: int
    screened_out: int
    failed: int
    quarantined: int
    missing: int
    reasons: tuple[str, ...]

    @property
    def empty(self) -> bool:
        """Nothing usable: the cube fills this dekad from its neighbours."""
        return self.usable == 0

    @property
    def ahead(self) -> bool:
        """It has not begun yet, and nothing is there to be found."""
        return not self.found and self.start > datetime.now(UTC).date()

    @property
    def full(self) -> bool:
        """Something usable, and nothing that was found is wanting but for clouds."""
        return not self.empty and not (self.failed or self.quarantined or self.missing)


@dataclass(frozen=True, slots=True)
class Completeness:
    """The outcome of a fetch of products of one `collection`.

    `fetched_bytes` came in this run; `notes` are things a user should know, like a source that did not
    answer; `sources` says how each answered the search.
    """

    collection: Collection
    scenes: tuple[SceneReport, ...]
    dekads: tuple[DekadReport, ...]
    fetched_bytes: int = 0
    notes: tuple[str, ...] = ()
    sources: tuple[SourceReport, ...] = ()

    def count(self, state: State) -> int:
        """Number of scenes in a state."""
        return sum(scene.state == state for scene in self.scenes)

    @property
    def complete(self) -> bool:
        """Whether every scene found is either there or was left out on purpose (clouds, quarantine)."""
        return all(scene.state in ("done", "screened-out", "quarantined") for scene in self.scenes)

    @property
    def empty_dekads(self) -> tuple[DekadReport, ...]:
        """Dekads without a usable scene."""
        return tuple(dekad for dekad in self.dekads if dekad.empty)

    def as_dict(self) -> dict[str, Any]:
        """For JSON and run.json."""
        scenes = [asdict(scene) | {"day": scene.day.isoformat()} for scene in self.scenes]
        rows = [asdict(row) | {"start": row.start.isoformat(), "empty": row.empty} for row in self.dekads]
        return {
            "collection": self.collection,
            "complete": self.complete,
            "counts": dict(sorted(Counter(scene.state for scene in self.scenes).items())),
            "fetched_bytes": self.fetched_bytes,
            "notes": list(self.notes),
            "sources": [asdict(source) for source in self.sources],
            "dekads": rows,
            "scenes": scenes,
        }


def by_dekad(
    scenes: Sequence[SceneReport], start: date, end: date, tiles: Sequence[str] = ()
) -> tuple[DekadReport, ...]:
    """Scenes counted per tile and dekad, every dekad of the season named even where nothing was found."""
    names = sorted({*tiles, *(scene.tile for scene in scenes)})
    steps = dekads(start, end)
    return tuple(_row(tile, step, scenes) for tile in names for step in steps)


def _row(tile: str, step: TimeStep, scenes: Sequence[SceneReport]) -> DekadReport:
    mine = [scene for scene in scenes if scene.tile == tile and step.holds(scene.day)]
    states = Counter(scene.state for scene in mine)
    reasons = tuple(f"{scene.day} {scene.reason}" for scene in mine if scene.state != "done" and scene.reason)
    if not mine:
        ahead = step.start > datetime.now(UTC).date()
        reasons = ("yet to come",) if ahead else ("no scene at any source",)
    left = states["missing"] + states["found"] + states["fetching"]
    return DekadReport(
        tile=tile,
        start=step.start,
        found=len(mine),
        usable=states["done"],
        screened_out=states["screened-out"],
        failed=states["failed"],
        quarantined=states["quarantined"],
        missing=left,
        reasons=reasons,
    )
