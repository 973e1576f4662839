"""Products of a season from archives onto the disk: searched, screened, fetched, proven, accounted for.

On disk: `<root>/<collection>/<tile>/<product>/<path>`; a product is whole when `.complete` lies in its
folder, which is written last. What is there is not fetched again, whoever stopped the run before.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from datetime import UTC, date
from pathlib import Path

from eo_pipeline.acquire import estimate
from eo_pipeline.acquire.completeness import Completeness, SceneReport, by_dekad
from eo_pipeline.acquire.folders import Wanted, bring, is_complete
from eo_pipeline.acquire.ledger import Ledger, State
from eo_pipeline.acquire.pacing import StoppedError, watched
from eo_pipeline.acquire.products import Archive, Collection, Product, Query
from eo_pipeline.acquire.screening import Region, read_region
from eo_pipeline.acquire.transport import AnswerError
from eo_pipeline.errors import ArchiveError, SeasonFileError
from eo_pipeline.season import SCL, Season


@dataclass(frozen=True, slots=True)
class FetchOptions:
    """How to fetch.

    `workers` products come at once. `max_bytes` ends a run early: what was begun is finished, the rest stays
    missing. `margin_bytes` of disk are left free. A round that brought nothing is repeated `idle_rounds`
    times after `round_wait_s` seconds; rounds that bring something go on until nothing is missing. A source
    that refuses the account `refusals` times in a row is left alone for the rest of the run.
    """

    workers: int = 4
    max_bytes: int | None = None
    margin_bytes: int = 1 << 30
    idle_rounds: int = 2
    round_wait_s: float = 5.0
    refusals: int = 8


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


@dataclass(frozen=True, slots=True)
class FetchPlan:
    """What a fetch would do. `seconds` is at `bytes_per_s`: the limit given, or what a quota allows."""

    scenes: int
    there: int
    screened_out: int
    to_fetch: int
    bytes: int
    seconds: float
    bytes_per_s: float
    free_bytes: int
    completeness: Completeness

    @property
    def fits(self) -> bool:
        """Whether the disk has room."""
        return self.bytes < self.free_bytes


@dataclass(frozen=True, slots=True)
class Candidate:
    """A product and the archive that serves it."""

    archive: Archive
    product: Product


@dataclass(frozen=True, slots=True)
class Observation:
    """What was observed once, with all products of it, the best first."""

    key: str
    candidates: tuple[Candidate, ...]

    @property
    def best(self) -> Product:
        return self.candidates[0].product


def choose(found: Sequence[Candidate]) -> tuple[Observation, ...]:
    """One observation for all products that show the same, by time and tile.

    The newest processing baseline goes first, then the order in which the sources are named.
    """
    groups: dict[tuple[str, str, str], list[Candidate]] = {}
    for candidate in found:
        groups.setdefault(candidate.product.observation, []).append(candidate)
    observations = [
        # sorted keeps the order of the sources among equals
        Observation("/".join(key), tuple(sorted(group, key=_baseline, reverse=True)))
        for key, group in groups.items()
    ]
    return tuple(sorted(observations, key=lambda o: (o.best.sensed, o.best.tile, o.key)))


def _baseline(candidate: Candidate) -> tuple[int, ...]:
    parts = candidate.product.baseline.split(".")
    return tuple(int(part) for part in parts) if all(part.isdigit() for part in parts) else (0,)


class Fetcher:
    """Fetches the products of a region and period from archives, tried in the order given.

    Parameters
    ----------
    archives
        Where to ask; the first is preferred, the others serve what it cannot.
    root
        Folder of the collections and of the ledger.
    region
        The ground that counts in screening, and the area of the search.
    bands
        Keys of the bands to fetch, without SCL; empty to fetch what describes a scene only.
    max_cloud
        Highest hidden share in percent, by the provider's figure first and by SCL over the region then.
    """

    def __init__(
        self,
        archives: Sequence[Archive],
        *,
        root: Path,
        region: Region,
        start: date,
        end: date,
        bands: Sequence[str],
        tiles: Sequence[str] = (),
        max_cloud: float = 100.0,
        collection: Collection = "sentinel-2-l2a",
        options: FetchOptions | None = None,
    ) -> None:
        self._archives, self._root = tuple(archives), root
        self._region_token = region.token
        self._query = Query(collection, region.wkt, start, end, tuple(tiles))
        self._wanted = Wanted(tuple(b for b in bands if b != SCL), region, max_cloud)
        self._options = options or FetchOptions()
        self._notes: list[str] = []
        self._reports: dict[str, SceneReport] = {}
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._refused: dict[str, int] = {}
        self._done_bytes = 0
        self._left_bytes: dict[str, int] = {}
        self._began = time.monotonic()

    # ---- search ----------------------------------------------------------------------------------------
    def search(self) -> tuple[Observation, ...]:
        """Ask every source; one that fails is noted, and only where all fail it is an error.

        Raises
        ------
        ArchiveError
            No source answered, and nothing was fetched before.
        """
        found: list[Candidate] = []
        failures: list[str] = []
        # at the same time: one that is down is given up after minutes, which add up
        pool = ThreadPoolExecutor(max(1, len(self._archives)), thread_name_prefix="eo-search")
        try:
            asked = [pool.submit(self._ask, archive) for archive in self._archives]
            for archive, answer in zip(self._archives, asked, strict=True):
                try:
                    found += [Candidate(archive, product) for product in answer.result()]
                except StoppedError:
                    raise
                except ArchiveError as error:
                    failures.append(f"{archive.name}: {error}")
        except BaseException:
            self._stop.set()
            raise
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
        self._notes += [f"search failed at {failure}" for failure in failures]
        if self._archives and len(failures) == len(self._archives):
            with Ledger(self._root) as ledger:
                if not any(row.state == "done" for row in self._known(ledger)):
                    raise ArchiveError(f"No source could be searched. {' '.join(failures)}")
            self._notes.append("no source could be searched; going on with what was fetched before")
        return choose(found)

    def _ask(self, archive: Archive) -> list[Product]:
        with watched(lambda count: None, self._stop):
            return list(archive.search(self._query))

    def _known(self, ledger: Ledger) -> Iterator[SceneReport]:
        """What the ledger has of the period and tiles."""
        query = self._query
        for row in ledger.products(query.collection):
            day = date.fromisoformat(row.sensed[:10])
            if query.start <= day <= query.end and (not query.tiles or row.tile in query.tiles):
                yield SceneReport(
                    row.tile, day, row.name, row.source, row.state, row.reason, row.blocked, row.bytes,
                    row.observation,
                )  # fmt: skip

    # ---- plan ------------------------------------------------------------------------------------------
    def plan(self, *, bytes_per_s: float | None = None) -> FetchPlan:
        """What `run` would fetch, without fetching; asks the sources for lists of products only."""
        observations = self.search()
        with Ledger(self._root) as ledger:
            for item in observations:
                self._begin(ledger, item, keep=False)
            completeness = self._completeness(ledger)
        need = [o for o in observations if self._reports[o.key].state == "missing"]
        size = sum(self._left_bytes[o.key] for o in need)
        rate = bytes_per_s or estimate.QUOTA_BYTES_PER_S * self._options.workers
        return FetchPlan(
            scenes=len(observations),
            there=completeness.count("done"),
            screened_out=completeness.count("screened-out"),
            to_fetch=len(need),
            bytes=size,
            seconds=size / rate,
            bytes_per_s=rate,
            free_bytes=estimate.free_bytes(self._root),
            completeness=completeness,
        )

    def _begin(self, ledger: Ledger, item: Observation, *, keep: bool = True) -> None:
        """Where an observation stands before anything is fetched."""
        product, collection = item.best, self._query.collection
        row = ledger.product(collection, item.key)
        report = self._report(item, product, "missing", "not fetched yet")
        before = self._complete(item, row.name if row else "")
        cloud = product.cloud_cover
        if before is not None:
            name, size = before
            source = row.source if row and row.name == name else product.source
            share = row.blocked if row else None
            report = replace(
                report, state="done", reason="", name=name, bytes=size, blocked=share, source=source
            )
        elif cloud is not None and cloud > self._wanted.max_cloud:
            reason = f"{cloud:.0f} % cloud by the provider's figure (limit {self._wanted.max_cloud:g} %)"
            report = replace(report, state="screened-out", reason=reason)
        elif (
            row
            and row.blocked is not None
            and row.region == self._region_token
            and row.name in {c.product.name for c in item.candidates}
        ):
            # screened before, maybe with another limit
            report = replace(report, blocked=row.blocked, name=row.name)
            if row.state == "screened-out" and row.blocked > self._wanted.max_cloud:
                report = replace(report, state="screened-out", reason=row.reason)
        self._left_bytes[item.key] = (
            estimate.wanted_bytes(product, self._wanted.keys(product)) if report.state == "missing" else 0
        )
        self._set(ledger, item, report, keep=keep)

    def _complete(self, item: Observation, known: str) -> tuple[str, int] | None:
        """Name and bytes of a whole product of this observation on disk, if there is one."""
        for product in (c.product for c in item.candidates):
            for name in dict.fromkeys((known, product.name)):
                size = is_complete(self._folder(product.tile, name), self._wanted.bands) if name else None
                if size is not None:
                    return name, size
        return None

    def _folder(self, tile: str, name: str) -> Path:
        return self._root / self._query.collection / (tile or "none") / name

    # ---- run -------------------------------------------------------------------------------------------
    def run(self, on_progress: Callable[[FetchProgress], None] | None = None) -> Completeness:
        """Fetch what is missing.

        Raises
        ------
        ArchiveError
            No source answers, or the disk has no room. Scenes that fail are reported, not raised.
        """
        observations = self.search()
        with Ledger(self._root) as ledger:
            for item in observations:
                self._begin(ledger, item)
            estimate.check_room(
                self._root,
                sum(self._left_bytes.values()),
                self._options.margin_bytes,
                self._options.max_bytes,
            )
            idle = 0
            while True:
                todo = [o for o in observations if self._reports[o.key].state in ("missing", "failed")]
                todo = [o for o in todo if self._serving(o)] if not self._capped() else []
                if not todo:
                    break
                before = ledger.done_files()
                self._round(ledger, todo, on_progress)
                failed = any(self._reports[o.key].state == "failed" for o in todo)
                idle = 0 if ledger.done_files() > before else idle + 1
                if not failed or idle > self._options.idle_rounds:
                    break
                if self._stop.wait(self._options.round_wait_s if idle else 0):
                    break
            return self._completeness(ledger)

    def _capped(self) -> bool:
        cap = self._options.max_bytes
        return cap is not None and self._done_bytes >= cap

    def _serving(self, item: Observation) -> tuple[Candidate, ...]:
        limit = self._options.refusals
        return tuple(c for c in item.candidates if self._refused.get(c.archive.name, 0) < limit)

    def _round(
        self,
        ledger: Ledger,
        todo: Sequence[Observation],
        on_progress: Callable[[FetchProgress], None] | None,
    ) -> None:
        """Every observation of `todo` once, some at a time; the first error that is not its own ends it."""
        pool = ThreadPoolExecutor(self._options.workers, thread_name_prefix="eo-fetch")
        queue, running = list(reversed(todo)), set[Future[None]]()
        try:
            while queue or running:
                while queue and len(running) < self._options.workers:
                    if self._capped():
                        for item in queue:
                            report = replace(self._reports[item.key], reason="the cap of bytes was reached")
                            self._set(ledger, item, report)
                        queue.clear()
                        break
                    running.add(pool.submit(self._one, ledger, queue.pop()))
                done, running = wait(running, timeout=0.25, return_when=FIRST_COMPLETED)
                for future in done:
                    future.result()
                if on_progress is not None:
                    on_progress(self._progress())
        except BaseException:
            self._stop.set()  # transfers end at their next piece and keep what they have
            raise
        finally:
            pool.shutdown(wait=True, cancel_futures=True)

    def _one(self, ledger: Ledger, item: Observation) -> None:
        """One observation from the first archive that can serve it."""
        from eo_pipeline.acquire.download import DiskFullError

        reasons = []
        with watched(lambda count: self._count(item, count), self._stop):
            for candidate in self._serving(item):
                archive, product = candidate.archive, candidate.product
                report = self._report(item, product, "fetching", "")
                self._set(ledger, item, report)
                estimate.check_room(self._root, self._left_bytes[item.key], self._options.margin_bytes, None)
                try:
                    outcome = bring(
                        archive,
                        product,
                        self._wanted,
                        ledger,
                        self._folder(product.tile, product.name),
                        observation=item.key,
                        on_sizes=lambda left: self._resize(item, left),
                    )
                except (StoppedError, DiskFullError):
                    self._set(ledger, item, replace(report, state="missing", reason="stopped before its end"))
                    raise
                except ArchiveError as error:
                    self._blame(archive, error)
                    reasons.append(f"{archive.name}: {error}")
                    continue
                self._refused[archive.name] = 0
                state: State = "screened-out" if outcome.reason else "done"
                report = replace(
                    report, state=state, reason=outcome.reason, blocked=outcome.blocked, bytes=outcome.bytes
                )
                self._left_bytes[item.key] = 0
                self._set(ledger, item, report)
                return
        reason = " | ".join(reasons) or "every source that has it refuses this account"
        self._set(ledger, item, replace(self._reports[item.key], state="failed", reason=reason))

    def _blame(self, archive: Archive, error: ArchiveError) -> None:
        """Count refusals in a row; a source that always refuses is not asked for every scene."""
        if not (isinstance(error, AnswerError) and error.refused):
            return
        with self._lock:
            count = self._refused[archive.name] = self._refused.get(archive.name, 0) + 1
            if count == self._options.refusals:
                self._notes.append(
                    f"{archive.name} refused {count} times in a row and was left alone: {error}"
                )

    # ---- accounts --------------------------------------------------------------------------------------
    def _report(self, item: Observation, product: Product, state: State, reason: str) -> SceneReport:
        sensed = product.sensed.astimezone(UTC).date()
        return SceneReport(
            product.tile, sensed, product.name, product.source, state, reason, observation=item.key
        )

    def _set(self, ledger: Ledger, item: Observation, report: SceneReport, *, keep: bool = True) -> None:
        self._reports[item.key] = report
        if keep:
            state: State = "found" if report.state == "missing" else report.state
            ledger.put_product(
                self._query.collection, item.key, tile=report.tile,
                sensed=item.best.sensed.astimezone(UTC).isoformat(timespec="seconds"),
                name=report.name, source=report.source, state=state, reason=report.reason,
                blocked=report.blocked, region=self._region_token, bytes=report.bytes,
            )  # fmt: skip

    def _count(self, item: Observation, count: int) -> None:
        with self._lock:
            self._done_bytes += count
            left = self._left_bytes.get(item.key, 0) - count
            self._left_bytes[item.key] = max(0, left)

    def _resize(self, item: Observation, left: int) -> None:
        with self._lock:
            self._left_bytes[item.key] = left

    def _progress(self) -> FetchProgress:
        with self._lock:
            done, left = self._done_bytes, sum(self._left_bytes.values())
            states = [report.state for report in self._reports.values()]
        rate = done / max(1e-6, time.monotonic() - self._began)
        finished = sum(state in ("done", "screened-out") for state in states)
        return FetchProgress(
            bytes_done=done,
            bytes_total=done + left,
            bytes_per_s=rate,
            eta_s=left / rate if rate > 1 else None,
            scenes_done=finished,
            scenes_total=len(states),
            message=f"{finished} of {len(states)} scenes",
        )

    def _completeness(self, ledger: Ledger) -> Completeness:
        reports = dict(self._reports)
        for known in self._known(ledger):
            if known.observation not in reports and known.state in ("done", "screened-out"):
                folder = self._folder(known.tile, known.name)
                if known.state == "screened-out" or is_complete(folder, self._wanted.bands) is not None:
                    reports[known.observation] = known
        scenes = tuple(sorted(reports.values(), key=lambda s: (s.tile, s.day, s.name)))
        query = self._query
        return Completeness(
            scenes,
            by_dekad(scenes, query.start, query.end, query.tiles),
            max(0, self._done_bytes),
            tuple(self._notes),
        )


# ---- seasons -------------------------------------------------------------------------------------------
def _fetcher(season: Season, archives: Sequence[Archive], options: FetchOptions | None) -> Fetcher:
    spec = season.source.sentinel
    if spec is None or not spec.providers:
        raise SeasonFileError(
            f"{season.path}: [source] names a folder; there is nothing to fetch. Set kind to cdse, "
            "earth-search, planetary-computer, stac or dhus."
        )
    return Fetcher(
        archives,
        root=season.source.root,
        region=read_region(season.region),
        start=season.start,
        end=season.end,
        bands=() if spec.windows else tuple(season.source.bands),
        tiles=spec.tiles,
        max_cloud=spec.max_cloud,
        options=options,
    )


def fetch_season(
    season: Season,
    archives: Sequence[Archive],
    *,
    on_progress: Callable[[FetchProgress], None] | None = None,
    options: FetchOptions | None = None,
) -> Completeness:
    """Bring the products of a season to `[source] root`; what lies there already is left as it is.

    Where the season reads windows from the provider only what describes the scenes is fetched.

    Raises
    ------
    ArchiveError
        No source answers, or the disk has no room.
    SeasonFileError
        The season names no archive, or no region.
    """
    return _fetcher(season, archives, options).run(on_progress)


def plan_season(
    season: Season,
    archives: Sequence[Archive],
    *,
    bytes_per_s: float | None = None,
    options: FetchOptions | None = None,
) -> FetchPlan:
    """What `fetch_season` would do: scenes, bytes, hours and room on the disk."""
    return _fetcher(season, archives, options).plan(bytes_per_s=bytes_per_s)
