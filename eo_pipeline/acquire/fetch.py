"""Products of a season from archives onto the disk: searched, screened, fetched, proven, accounted for.

On disk: `<root>/<collection>/<tile>/<product>/<path>`; a product is whole when `.complete` lies in its
folder, which is written last. What is there is not fetched again, whoever stopped the run before.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from pathlib import Path

from eo_pipeline.acquire import estimate
from eo_pipeline.acquire.accounts import ENDED, Accounts, FetchProgress
from eo_pipeline.acquire.answers import AnswerError
from eo_pipeline.acquire.completeness import Completeness
from eo_pipeline.acquire.credentials import NoAccountError
from eo_pipeline.acquire.ledger import Ledger, State
from eo_pipeline.acquire.observations import Candidate, Observation, choose
from eo_pipeline.acquire.pacing import StoppedError, watched
from eo_pipeline.acquire.products import Archive, Product, Query
from eo_pipeline.acquire.quarantine import reason_of, set_aside
from eo_pipeline.acquire.searching import Search
from eo_pipeline.acquire.wanted import Errand, QuarantinedError, Wanted
from eo_pipeline.disk import free_bytes
from eo_pipeline.errors import ArchiveError, DiskFullError, SourceError, told_by


@dataclass(frozen=True, slots=True)
class FetchOptions:
    """How to fetch.

    `workers` products come at once. `max_bytes` ends a run early: what was begun is finished, the rest stays
    missing. `margin_bytes` of disk are left free. A round that brought nothing is repeated `idle_rounds`
    times after `round_wait_s` seconds; rounds that bring something go on until nothing is missing. A source
    that refuses the account `refusals` times in a row is left alone for the rest of the run. Fetching begins
    when all sources have answered the search, or `patience_s` seconds after the first that did; what the
    others have is added when they answer, for which the end waits as long again.
    """

    workers: int = 4
    max_bytes: int | None = None
    margin_bytes: int = 1 << 30
    idle_rounds: int = 2
    round_wait_s: float = 5.0
    refusals: int = 8
    patience_s: float = 10.0


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


class Fetcher:
    """Fetches the products of a region and period from archives, tried in the order given.

    Parameters
    ----------
    archives
        Where to ask; the first is preferred, the others serve what it cannot.
    root
        Folder of the collections and of the ledger.
    query
        What is asked for.
    wanted
        What is wanted of each product found, and how it comes. One that is doubted is put into quarantine,
        and the next source's copy is tried.
    only
        Whether a product that was found is asked for at all.
    needed
        Whether a season cannot do without: then a run of which nothing can come, as no source has an
        account, is an error.
    """

    def __init__(
        self,
        archives: Sequence[Archive],
        *,
        root: Path,
        query: Query,
        wanted: Wanted,
        options: FetchOptions | None = None,
        only: Callable[[Product], bool] = lambda product: True,
        needed: bool = True,
    ) -> None:
        self._archives, self._root = tuple(archives), root
        self._query, self._wanted, self._only = query, wanted, only
        self._region_token = wanted.region.token
        self._options = options or FetchOptions()
        self._accounts = Accounts(query, self._region_token)
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._needed = needed
        self._refused: dict[str, int] = {}
        self._closed: set[str] = set()

    # ---- search ----------------------------------------------------------------------------------------
    def _search(self) -> Search:
        """Ask every source; one that fails is noted, and only where all fail it is an error."""
        search = Search(self._archives, self._query, self._stop)
        try:
            search.wait(self._options.patience_s)
        except BaseException:
            self._stop.set()
            raise
        if failure := search.failure():
            with Ledger(self._root) as ledger:
                if not any(row.state == "done" for row in self._accounts.known(ledger)):
                    raise ArchiveError(f"No source could be searched. {failure}")
            self._accounts.notes.append("no source could be searched; going on with what was fetched before")
        return search

    # ---- plan ------------------------------------------------------------------------------------------
    def plan(self, *, bytes_per_s: float | None = None) -> FetchPlan:
        """What `run` would fetch, without fetching; asks the sources for lists of products only.

        Raises
        ------
        ArchiveError
            No source answers, and nothing was fetched before.
        """
        search = self._search()
        observations = self._observations(search)
        with Ledger(self._root) as ledger:
            for item in observations:
                self._begin(ledger, item, keep=False)
            completeness = self._completeness(ledger, search)
        self._stop.set()  # who has not answered yet need not any more
        accounts = self._accounts
        need = [o for o in observations if accounts.report(o.key).state == "missing"]
        size = sum(accounts.left(o.key) for o in need)
        connections = min(self._options.workers, estimate.QUOTA_CONNECTIONS)
        rate = bytes_per_s or estimate.QUOTA_BYTES_PER_S * connections
        return FetchPlan(
            scenes=len(observations),
            there=completeness.count("done"),
            screened_out=completeness.count("screened-out"),
            to_fetch=len(need),
            bytes=size,
            seconds=size / rate,
            bytes_per_s=rate,
            free_bytes=free_bytes(self._root),
            completeness=completeness,
        )

    def _begin(self, ledger: Ledger, item: Observation, *, keep: bool = True) -> None:
        """Where an observation stands before anything is fetched."""
        product, collection = item.best, self._query.collection
        if item.whole and keep:
            ledger.drop_product(collection, item.whole)
        row = ledger.product(collection, item.key)
        report = self._accounts.fresh(item, product, "missing", "not fetched yet")
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
        doubts = self._doubts(item)
        if report.state == "missing" and len(doubts) == len(item.candidates):
            report = replace(report, state="quarantined", reason=" | ".join(doubts))
        missing = report.state == "missing"
        self._accounts.set_left(item.key, self._wanted.bytes(product) if missing else 0)
        self._accounts.put(ledger, item, report, keep=keep)

    def _complete(self, item: Observation, known: str) -> tuple[str, int] | None:
        """Name and bytes of a whole product of this observation on disk, if there is one."""
        for product in (c.product for c in item.candidates):
            for name in dict.fromkeys((known, product.name)):
                size = self._wanted.there(self._folder(product.group, name)) if name else None
                if size is not None:
                    return name, size
        return None

    def _doubts(self, item: Observation) -> list[str]:
        """Why copies of an observation lie in quarantine."""
        found = ((c, reason_of(self._root, c.product)) for c in item.candidates)
        return [told_by(candidate.archive.name, reason) for candidate, reason in found if reason]

    def _folder(self, group: str, name: str) -> Path:
        return self._root / self._query.collection / group / name

    # ---- run -------------------------------------------------------------------------------------------
    def run(self, on_progress: Callable[[FetchProgress], None] | None = None) -> Completeness:
        """Fetch what is missing.

        Raises
        ------
        ArchiveError
            No source answers, the disk has no room, or no source has an account. Scenes that fail are
            reported, not raised.
        """
        accounts, options = self._accounts, self._options
        search = self._search()
        try:
            with Ledger(self._root) as ledger:
                answers, observations = search.answers, self._take(ledger, search)
                estimate.check_room(self._root, accounts.all_left, options.margin_bytes, options.max_bytes)
                idle = 0
                while True:
                    todo = [o for o in observations if accounts.report(o.key).state not in ENDED]
                    todo = [o for o in todo if self._serving(o)] if not self._capped() else []
                    before = ledger.brought
                    self._round(ledger, todo, on_progress)
                    failed = any(accounts.report(o.key).state == "failed" for o in todo)
                    idle = 0 if ledger.brought > before else idle + 1
                    again = failed and idle <= options.idle_rounds
                    if not again and not self._capped():
                        search.wait(options.patience_s)  # the last chance of who was late
                    if search.answers > answers:
                        answers, observations, idle = search.answers, self._take(ledger, search), 0
                    elif not again or self._stop.wait(options.round_wait_s if idle else 0):
                        break
                return self._completeness(ledger, search)
        finally:
            self._stop.set()

    def _observations(self, search: Search) -> tuple[Observation, ...]:
        return choose([candidate for candidate in search.found() if self._only(candidate.product)])

    def _take(self, ledger: Ledger, search: Search) -> tuple[Observation, ...]:
        """The observations by all answers so far; those that are new are accounted for."""
        observations = self._observations(search)
        self._accounts.keep_only({item.key for item in observations})
        for item in observations:
            if not self._accounts.knows(item.key) or self._accounts.report(item.key).state == "quarantined":
                self._begin(ledger, item)
        return observations

    def _capped(self) -> bool:
        cap = self._options.max_bytes
        return cap is not None and self._accounts.bytes_done >= cap

    def _serving(self, item: Observation) -> tuple[Candidate, ...]:
        """Who may be asked for an observation: not those that refuse, nor those whose copy is doubted."""
        limit = self._options.refusals
        return tuple(
            c
            for c in item.candidates
            if self._refused.get(c.archive.name, 0) < limit and not reason_of(self._root, c.product)
        )

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
                            state = self._accounts.report(item.key).state
                            self._accounts.change(ledger, item, state, "the cap of bytes was reached")
                        queue.clear()
                        break
                    running.add(pool.submit(self._one, ledger, queue.pop()))
                done, running = wait(running, timeout=0.25, return_when=FIRST_COMPLETED)
                for future in done:
                    future.result()
                if on_progress is not None:
                    on_progress(self._accounts.progress())
        except BaseException:
            self._stop.set()  # transfers end at their next piece and keep what they have
            raise
        finally:
            pool.shutdown(wait=True, cancel_futures=True)

    def _one(self, ledger: Ledger, item: Observation) -> None:
        """One observation from the first archive that can serve it."""
        accounts, faults = self._accounts, []
        with watched(lambda count: accounts.count(item.key, count), self._stop):
            for candidate in self._serving(item):
                archive, product = candidate.archive, candidate.product
                report = accounts.fresh(item, product, "fetching", "")
                accounts.put(ledger, item, report)
                estimate.check_room(self._root, accounts.left(item.key), self._options.margin_bytes, None)
                folder = self._folder(product.group, product.name)
                try:
                    errand = Errand(
                        archive,
                        product,
                        ledger,
                        folder,
                        observation=item.key,
                        part=bool(item.whole),
                        on_sizes=lambda left: accounts.set_left(item.key, left),
                    )
                    outcome = self._wanted.bring(errand)
                except (StoppedError, DiskFullError):
                    accounts.change(ledger, item, "missing", "stopped before its end")
                    raise
                except QuarantinedError as error:
                    set_aside(self._root, product, folder, str(error))
                    continue
                except (ArchiveError, SourceError) as error:
                    self._blame(archive, error)
                    if self._without_account(archive, error):
                        accounts.change(ledger, item, "missing", str(error))
                        raise
                    faults.append(told_by(archive.name, error))
                    continue
                self._refused[archive.name] = 0
                state: State = "screened-out" if outcome.reason else "done"
                report = replace(
                    report, state=state, reason=outcome.reason, blocked=outcome.blocked, bytes=outcome.bytes
                )
                accounts.set_left(item.key, 0)
                accounts.put(ledger, item, report)
                return
        doubts = self._doubts(item)
        if len(doubts) == len(item.candidates):
            accounts.set_left(item.key, 0)
            accounts.change(ledger, item, "quarantined", " | ".join(doubts))
        else:
            reasons = [*doubts, *faults] if faults else [*doubts, "every other source refuses this account"]
            accounts.change(ledger, item, "failed", " | ".join(reasons))

    def _without_account(self, archive: Archive, error: Exception) -> bool:
        """Whether an error shows that no source gives files, and nothing of the season is here."""
        if not isinstance(error, NoAccountError):
            return False
        with self._lock:
            self._closed.add(archive.name)
            closed = self._closed >= {one.name for one in self._archives}
        return closed and self._needed and not self._accounts.count_of("done")

    def _blame(self, archive: Archive, error: Exception) -> None:
        """Count refusals in a row; a source that always refuses is not asked for every scene."""
        if not (isinstance(error, AnswerError) and error.refused):
            return
        with self._lock:
            count = self._refused[archive.name] = self._refused.get(archive.name, 0) + 1
            if count == self._options.refusals:
                self._accounts.notes.append(
                    f"{archive.name} refused {count} times in a row and was left alone: {error}"
                )

    def _completeness(self, ledger: Ledger, search: Search) -> Completeness:
        return self._accounts.completeness(
            ledger,
            lambda scene: self._wanted.there(self._folder(scene.tile, scene.name)) is not None,
            search.notes(),
            search.reports(),
        )
