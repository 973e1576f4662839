"""The accounts of one fetch: where every observation stands, how many bytes came and are to come."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, date

from eo_pipeline.acquire.completeness import Completeness, SceneReport, SourceReport, by_dekad
from eo_pipeline.acquire.ledger import Ledger, State
from eo_pipeline.acquire.observations import Observation
from eo_pipeline.acquire.products import Product, Query


@dataclass(frozen=True, slots=True)
class FetchProgress:
    """How far it is. Bytes are those of this run; the total is estimated until all sizes are known."""

    bytes_done: int
    bytes_total: int
    bytes_per_s: float
    eta_s: float | None
    scenes_done: int
    scenes_total: int
    message: str


#: States an observation does not leave in this run.
ENDED: Collection[State] = ("done", "screened-out", "quarantined")


class Accounts:
    """Reports by key of the observation, kept in the ledger too; threads share it.

    Parameters
    ----------
    query
        What is fetched.
    region
        In whose view scenes are screened (`Region.token`).
    """

    def __init__(self, query: Query, region: str) -> None:
        self._query, self._region = query, region
        self._lock = threading.Lock()
        self._reports: dict[str, SceneReport] = {}
        self._left: dict[str, int] = {}
        self._done = 0
        self._began = time.monotonic()
        self.notes: list[str] = []

    def report(self, key: str) -> SceneReport:
        """Where an observation stands."""
        return self._reports[key]

    def knows(self, key: str) -> bool:
        """Whether it is accounted for."""
        return key in self._reports

    def count_of(self, state: State) -> int:
        """Number of observations in a state."""
        with self._lock:
            return sum(report.state == state for report in self._reports.values())

    def fresh(self, item: Observation, product: Product, state: State, reason: str) -> SceneReport:
        """A report on an observation by one of its products."""
        sensed = product.sensed.astimezone(UTC).date()
        return SceneReport(
            product.group, sensed, product.name, product.source, state, reason, observation=item.key
        )

    def put(self, ledger: Ledger, item: Observation, report: SceneReport, *, keep: bool = True) -> None:
        """Note where an observation stands; in the ledger too, unless `keep` is False."""
        self._reports[item.key] = report
        if not keep:
            return
        state: State = "found" if report.state == "missing" else report.state
        ledger.put_product(
            self._query.collection, item.key, tile=report.tile,
            sensed=item.best.sensed.astimezone(UTC).isoformat(timespec="seconds"),
            name=report.name, source=report.source, state=state, reason=report.reason,
            blocked=report.blocked, region=self._region, bytes=report.bytes,
        )  # fmt: skip

    def change(self, ledger: Ledger, item: Observation, state: State, reason: str) -> None:
        """Note another state of an observation, by the product that was reported last."""
        self.put(ledger, item, replace(self._reports[item.key], state=state, reason=reason))

    def keep_only(self, keys: Collection[str]) -> None:
        """Forget what is no observation any more: a later answer showed that it has two parts."""
        with self._lock:
            for key in set(self._reports) - set(keys):
                del self._reports[key]
                self._left.pop(key, None)

    # ---- bytes
    @property
    def bytes_done(self) -> int:
        """Bytes that came in this run."""
        return max(0, self._done)

    def left(self, key: str) -> int:
        """Bytes of an observation that are still to come."""
        return self._left.get(key, 0)

    @property
    def all_left(self) -> int:
        """Bytes of all that are still to come."""
        with self._lock:
            return sum(self._left.values())

    def set_left(self, key: str, count: int) -> None:
        """Say how many bytes of an observation are to come."""
        with self._lock:
            self._left[key] = count

    def count(self, key: str, count: int) -> None:
        """Bytes that have come; negative where a file starts again."""
        with self._lock:
            self._done += count
            self._left[key] = max(0, self._left.get(key, 0) - count)

    def progress(self) -> FetchProgress:
        """How far it is."""
        with self._lock:
            done, left = self._done, sum(self._left.values())
            states = [report.state for report in self._reports.values()]
        rate = done / max(1e-6, time.monotonic() - self._began)
        finished = sum(state in ENDED for state in states)
        return FetchProgress(
            bytes_done=done,
            bytes_total=done + left,
            bytes_per_s=rate,
            eta_s=left / rate if rate > 1 else None,
            scenes_done=finished,
            scenes_total=len(states),
            message=f"{finished} of {len(states)} scenes",
        )

    # ---- the end
    def known(self, ledger: Ledger) -> Iterator[SceneReport]:
        """What the ledger has of the period and tiles; what was left out for another region is none of it."""
        query = self._query
        for row in ledger.products(query.collection):
            day = date.fromisoformat(row.sensed[:10])
            if row.state == "screened-out" and row.blocked is not None and row.region != self._region:
                continue
            within = query.timeless or query.start <= day <= query.end
            if within and (not query.tiles or row.tile in query.tiles):
                yield SceneReport(
                    row.tile, day, row.name, row.source, row.state, row.reason, row.blocked, row.bytes,
                    row.observation,
                )  # fmt: skip

    def completeness(
        self,
        ledger: Ledger,
        there: Callable[[SceneReport], bool],
        notes: list[str],
        sources: tuple[SourceReport, ...],
    ) -> Completeness:
        """The outcome: this run's observations, and those of earlier ones that no source lists now.

        Parameters
        ----------
        there
            Whether a product that an earlier run brought lies on the disk still.
        """
        reports = dict(self._reports)
        names = {(report.tile, report.name) for report in reports.values()}
        for known in self.known(ledger):
            told = known.observation in reports or (known.tile, known.name) in names
            if not told and (known.state in ("screened-out", "quarantined") or
                             (known.state == "done" and there(known))):  # fmt: skip
                reports[known.observation] = known
        scenes = tuple(sorted(reports.values(), key=lambda s: (s.tile, s.day, s.name)))
        query = self._query
        return Completeness(
            query.collection,
            scenes,
            () if query.timeless else by_dekad(scenes, query.start, query.end, query.tiles),
            self.bytes_done,
            (*notes, *self.notes),
            sources,
        )
