"""Faults on demand: which answer goes wrong, and how; the same seed gives the same drill.

Whether the n-th request to a path goes wrong depends on the seed, the kind, the path and n alone, so threads
that overtake each other change nothing. Nothing here touches a socket; `server` and the protocols act on what
`FaultBox` says.
"""

from __future__ import annotations

import hashlib
import math
import re
import threading
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Final, Literal, get_args

from eo_pipeline.errors import ArchiveError

Kind = Literal[
    "401-604", "401-609", "token-expired", "403", "404", "429", "500", "503",
    "truncated", "stalled", "corrupt", "range-ignored",
    "checksum-wrong", "checksum-missing", "evicted",
]  # fmt: skip
#: What a request is for. "facts" is no request: what an answer tells of one product.
Target = Literal["token", "metadata", "data", "facts"]
KINDS: Final[tuple[str, ...]] = get_args(Kind)

_STATUS: Final = ("500", "503", "429", "403", "404")
_BODY: Final = ("truncated", "stalled", "corrupt", "range-ignored")
#: Which faults can befall what, in the order they are drawn.
_FITTING: Final[Mapping[str, tuple[str, ...]]] = {
    "token": ("500", "503", "429"),
    "metadata": ("500", "503", "429", "403", "404", "truncated", "stalled"),
    "data": ("401-604", "401-609", "token-expired", *_STATUS, *_BODY),
    "facts": ("checksum-wrong", "checksum-missing", "evicted"),
}


@dataclass(frozen=True, slots=True)
class Scripted:
    """The first requests whose path matches the pattern `path` (anywhere in it) go wrong as listed.

    "ok" stands for a request that goes well.
    """

    path: str
    kinds: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Faults:
    """What goes wrong, and how often.

    Attributes
    ----------
    rates
        Probability (0 to 1) by kind, for requests of every sort the kind can befall.
    metadata, data
        The same for one sort only: searches and listings, or bytes of files. Wins over `rates`.
    script
        Requests that go wrong without chance.
    offline
        Names (or parts of names) of products that lie in the long-term archive.
    seed
        The same seed gives the same faults.
    in_a_row
        After that many faults one after the other the next request to a path is served, unless the rate
        is 1.
    retry_after_s
        What half of the answers 503 and all of 429 say in Retry-After; 0 for saying nothing.
    stall_s
        How long a stalled body stays silent before the connection is closed.
    """

    rates: Mapping[str, float] = field(default_factory=dict)
    metadata: Mapping[str, float] = field(default_factory=dict)
    data: Mapping[str, float] = field(default_factory=dict)
    script: tuple[Scripted, ...] = ()
    offline: tuple[str, ...] = ()
    seed: int = 0
    in_a_row: int = 3
    retry_after_s: float = 1.0
    stall_s: float = 30.0

    def __post_init__(self) -> None:
        for name in ("rates", "metadata", "data"):
            for kind, rate in getattr(self, name).items():
                if kind not in KINDS:
                    raise ArchiveError(f"No fault is called {kind!r}; there are {', '.join(KINDS)}.")
                if isinstance(rate, bool) or not isinstance(rate, int | float) or not 0 <= rate <= 1:
                    raise ArchiveError(f"The rate of fault {kind} is {rate!r}; give a number from 0 to 1.")
        for scripted in self.script:
            if unknown := [kind for kind in scripted.kinds if kind != "ok" and kind not in KINDS]:
                raise ArchiveError(f"No fault is called {unknown[0]!r}; there are ok, {', '.join(KINDS)}.")
            try:
                re.compile(scripted.path)
            except re.error as error:
                raise ArchiveError(f"The path {scripted.path!r} is no pattern: {error}.") from error
        if self.in_a_row < 1:
            raise ArchiveError(f"in_a_row is {self.in_a_row}; give 1 or more.")
        for name in ("retry_after_s", "stall_s"):
            value = getattr(self, name)
            if not math.isfinite(value) or value < 0:
                raise ArchiveError(f"{name} is {value!r}; give seconds, 0 or more.")

    @classmethod
    def all(cls, rate: float, *, kinds: Iterable[str] = KINDS, **options: Any) -> Faults:
        """Every kind (or `kinds`) at one rate."""
        return cls(rates=dict.fromkeys(kinds, rate), **options)


def faults_from(document: Any) -> Faults:
    """Faults from JSON: the fields of `Faults`, scripts as [{"path": …, "kinds": […]}].

    Raises
    ------
    ArchiveError
        An unknown key, kind or rate.
    """
    if not isinstance(document, dict):
        raise ArchiveError('Faults are given as a JSON object, like {"rates": {"503": 0.1}}.')
    known = {item.name for item in fields(Faults)}
    if unknown := sorted(set(document) - known):
        raise ArchiveError(f"Faults have no key {unknown[0]!r}; there are {', '.join(sorted(known))}.")
    values = dict(document)
    try:
        values["script"] = tuple(
            Scripted(str(item["path"]), tuple(map(str, item["kinds"]))) for item in document.get("script", ())
        )
        values["offline"] = tuple(map(str, document.get("offline", ())))
        return Faults(**values)
    except (TypeError, KeyError, AttributeError) as error:
        raise ArchiveError(f"Faults cannot be read ({type(error).__name__}: {error}).") from error


def faults_document(faults: Faults) -> dict[str, Any]:
    """Faults as JSON; `faults_from` reads it."""
    return asdict(faults)


def read_options(texts: Iterable[str]) -> dict[str, dict[str, float]]:
    """Options like "503=0.1", "data:truncated=0.2", "metadata:500=0.1", "all=0.1" as arguments of `Faults`.

    Raises
    ------
    ArchiveError
        Names the option that is not understood.
    """
    found: dict[str, dict[str, float]] = {"rates": {}, "metadata": {}, "data": {}}
    for text in texts:
        match = re.fullmatch(r"(?:(metadata|data):)?([\w-]+)=([\d.]+)", text.strip())
        if not match:
            raise ArchiveError(f"--fault {text!r} is not understood; write KIND=P, like 503=0.1.")
        try:
            rate = float(match[3])
        except ValueError:
            raise ArchiveError(f"--fault {text!r}: {match[3]!r} is no number.") from None
        kinds = KINDS if match[2] == "all" else (match[2],)
        found[match[1] or "rates"] |= dict.fromkeys(kinds, rate)
    return found


class FaultBox:
    """Draws the faults and counts them; shared by all threads of a server."""

    def __init__(self, faults: Faults) -> None:
        self._lock = threading.Lock()
        self._counts: Counter[str] = Counter()
        self.set(faults)

    def set(self, faults: Faults) -> None:
        """Take other faults from now on; scripts and draws start anew, counts go on."""
        with self._lock:
            self.faults = faults
            self._asked: Counter[str] = Counter()
            self._row: Counter[str] = Counter()
            self._scripted: Counter[tuple[int, str]] = Counter()
            self._missed: set[str] = set()

    def counts(self) -> dict[str, int]:
        """Faults so far, by kind."""
        with self._lock:
            return dict(sorted(self._counts.items()))

    def note(self, kind: str) -> None:
        """Count a fault that happened by itself: a limit that was passed."""
        with self._lock:
            self._counts[kind] += 1

    def draw(self, target: Target, key: str, *, fitting: Iterable[str] | None = None) -> str:
        """The kind of fault that befalls this request, or "".

        Parameters
        ----------
        target
            What the request is for.
        key
            Its path; without signatures, ranges and the like.
        fitting
            Kinds the protocol knows, where it does not know all of the target's.
        """
        kinds = [kind for kind in _FITTING[target] if fitting is None or kind in fitting]
        with self._lock:
            kind = self._by_script(key, kinds)
            if kind is None:
                kind = self._by_chance(target, key, kinds)
            row = f"{target} {key}"
            self._row[row] = self._row[row] + 1 if kind else 0
            if kind:
                self._counts[kind] += 1
            return kind

    def _by_script(self, key: str, kinds: list[str]) -> str | None:
        for number, scripted in enumerate(self.faults.script):
            if not re.search(scripted.path, key):
                continue
            place = self._scripted[number, key]
            if place < len(scripted.kinds) and scripted.kinds[place] in (*kinds, "ok"):
                self._scripted[number, key] += 1
                return "" if scripted.kinds[place] == "ok" else scripted.kinds[place]
        return None

    def _by_chance(self, target: str, key: str, kinds: list[str]) -> str:
        given = {"metadata": self.faults.metadata, "data": self.faults.data}.get(target, {})
        row = f"{target} {key}"
        number = self._asked[row]
        self._asked[row] += 1
        for kind in kinds:
            rate = given.get(kind, self.faults.rates.get(kind, 0.0))
            if rate <= 0 or (rate < 1 and self._row[row] >= self.faults.in_a_row):
                continue
            if kind == "404":  # transient there: gone once, found again
                if key in self._missed:
                    continue
                if self._chance(kind, key, number) < rate:
                    self._missed.add(key)
                    return kind
            elif self._chance(kind, key, number) < rate:
                return kind
        return ""

    def _chance(self, kind: str, key: str, number: int) -> float:
        text = f"{self.faults.seed}|{kind}|{key}|{number}".encode()
        return int.from_bytes(hashlib.sha256(text).digest()[:8], "big") / 2**64

    def is_offline(self, name: str) -> bool:
        """Whether a product lies in the long-term archive by `Faults.offline`."""
        return any(part in name for part in self.faults.offline)
