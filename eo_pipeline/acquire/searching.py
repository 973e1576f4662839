"""A search at every source, all at the same time: none waits for another, and a dead one holds nobody up."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from typing import Final

from eo_pipeline.acquire.answers import NO_NETWORK, AnswerError, HostNotFoundError
from eo_pipeline.acquire.completeness import SourceReport
from eo_pipeline.acquire.observations import Candidate
from eo_pipeline.acquire.pacing import StoppedError, watched
from eo_pipeline.acquire.products import Archive, Product, Query
from eo_pipeline.acquire.secrets import redact
from eo_pipeline.errors import ArchiveError, told_by

#: How often a wait looks whether it was interrupted.
_TICK_S: Final = 0.5


class Search:
    """One query, put to all archives at once.

    Parameters
    ----------
    archives
        In the order they are preferred.
    stop
        Ends the search where it is set.
    """

    def __init__(self, archives: Sequence[Archive], query: Query, stop: threading.Event) -> None:
        self._archives, self._query, self._stop = tuple(archives), query, stop
        self._changed = threading.Condition()
        self._answers: dict[int, list[Product] | BaseException] = {}
        self._first_at: float | None = None
        for number in range(len(self._archives)):
            # daemons: one that hangs in a dead connection does not keep the program from ending
            threading.Thread(
                target=self._ask, args=(number,), name=f"eo-search-{number}", daemon=True
            ).start()

    def _ask(self, number: int) -> None:
        answer: list[Product] | BaseException
        try:
            with watched(lambda count: None, self._stop):
                answer = list(self._archives[number].search(self._query))
        except (AttributeError, LookupError, TypeError, ValueError) as error:
            # an answer of another form than any before: of this source nothing, the others go on
            answer = ArchiveError(
                f"{self._archives[number].name} answers what cannot be read ({type(error).__name__}: "
                f"{redact(str(error))[:200]}). Take another source, and report it."
            )
            answer.__cause__ = error
        except BaseException as error:
            answer = error
        with self._changed:
            self._answers[number] = answer
            if isinstance(answer, list) and self._first_at is None:
                self._first_at = time.monotonic()
            self._changed.notify_all()

    @property
    def answers(self) -> int:
        """How many sources have answered, or failed."""
        return len(self._answers)

    def wait(self, patience_s: float) -> None:
        """Wait until all sources have answered, or for so long since the first that did (or since now, where
        that is later back).
        """
        begun = time.monotonic()
        with self._changed:
            while len(self._answers) < len(self._archives) and not self._stop.is_set():
                left = _TICK_S
                if self._first_at is not None:
                    left = max(self._first_at, begun) + patience_s - time.monotonic()
                    if left <= 0:
                        return
                self._changed.wait(min(left, _TICK_S))

    def found(self) -> list[Candidate]:
        """What those that have answered hold, in the order of the archives."""
        return [
            Candidate(archive, product)
            for number, archive in enumerate(self._archives)
            for product in self._products(number)
        ]

    def _products(self, number: int) -> list[Product]:
        answer = self._answers.get(number, [])
        if isinstance(answer, list):
            return answer
        if isinstance(answer, StoppedError) or not isinstance(answer, ArchiveError):
            raise answer
        return []

    def reports(self) -> tuple[SourceReport, ...]:
        """How each archive answered, in their order."""
        reports = []
        for number, archive in enumerate(self._archives):
            answer = self._answers.get(number)
            if answer is None:
                reports.append(SourceReport(archive.name, "silent"))
            elif isinstance(answer, list):
                reports.append(SourceReport(archive.name, "answered", len(answer)))
            else:
                refused = isinstance(answer, AnswerError) and answer.refused
                reason = told_by(archive.name, answer)
                reports.append(SourceReport(archive.name, "refused" if refused else "failed", 0, reason))
        return tuple(reports)

    def notes(self) -> list[str]:
        """What a user should know of sources that gave no answer."""
        words = {
            "refused": "a source refuses the search and is left alone: {reason}",
            "failed": "a search failed: {reason}",
            "silent": "{name} has not answered yet; what it may have is not counted. Give the command again "
            "later, or take it out of [source] fallback.",
        }
        return [
            words[report.state].format(name=report.name, reason=report.reason)
            for report in self.reports()
            if report.state != "answered"
        ]

    @property
    def errors(self) -> list[tuple[str, ArchiveError]]:
        """The sources that failed, and how."""
        named = ((archive.name, self._answers.get(n)) for n, archive in enumerate(self._archives))
        return [(name, answer) for name, answer in named if isinstance(answer, ArchiveError)]

    def failure(self) -> str:
        """Why there is nothing to go on with; empty where a source has answered, or may do so yet."""
        errors = self.errors
        return why_none(errors) if errors and len(errors) == len(self._archives) else ""


def why_none(errors: Sequence[tuple[str, ArchiveError]]) -> str:
    """Why no source answered, in one paragraph; that there is no network is said once."""
    hosts = dict.fromkeys(error.host for _, error in errors if isinstance(error, HostNotFoundError))
    if errors and all(isinstance(error, HostNotFoundError) for _, error in errors):
        return f"{', '.join(hosts)} cannot be found. {NO_NETWORK}"
    return " ".join(told_by(name, error) for name, error in errors)
