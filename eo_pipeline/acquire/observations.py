"""Which products show the same: an observation, its parts, and who serves it. Nothing here asks a source.

An observation is what one satellite saw of one tile in one pass. Where a data strip ends within the tile, it
comes as two products, each half empty: two parts, of which both are used. Processings of one part, and its
copies at several sources, are rivals, of which one is used.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Protocol

import shapely

from eo_pipeline.acquire.products import Archive, Product

#: Strips that begin that close are one: baselines differ by a second or two about it, and the shortest strip
#: is longer (a tile takes 15 s).
_SAME_STRIP_S: Final = 5.0
#: Share of a footprint that another must cover to make it superfluous, and to be taken for the same part
#: where nobody tells the strip: strips overlap by a few kilometres.
_COVERED: Final = 0.95
_ALIKE: Final = 0.5


class Shown(Protocol):
    """What tells parts apart; see `Product` and `scenes.sentinel2.Sentinel2Product`."""

    @property
    def name(self) -> str: ...
    @property
    def baseline(self) -> str: ...
    @property
    def strip(self) -> str: ...
    @property
    def footprint(self) -> str: ...


def same_part(better: Shown, other: Shown) -> bool:
    """Whether two products of one observation show the same part of it, so that the second adds nothing.

    The data strip tells, else the footprint. A newer processing may be cut anew and cover what was two parts.

    Parameters
    ----------
    better, other
        The first is the one to be preferred.
    """
    if better.name.removesuffix(".SAFE") == other.name.removesuffix(".SAFE"):
        return True
    told = bool(better.strip and other.strip)
    if told and _seconds(better.strip, other.strip) <= _SAME_STRIP_S:
        return True
    if told and better.baseline == other.baseline:
        return False
    one, two = _area(better.footprint), _area(other.footprint)
    if one is None or two is None:
        return not told
    common = shapely.area(shapely.intersection(one, two))
    if common >= _COVERED * shapely.area(two):
        return True
    return not told and bool(common >= _ALIKE * min(shapely.area(one), shapely.area(two)))


def _seconds(one: str, two: str) -> float:
    first, second = (datetime.strptime(text, "%Y%m%dT%H%M%S") for text in (one, two))
    return abs((first - second).total_seconds())


def _area(footprint: str) -> shapely.Geometry | None:
    try:
        area = shapely.make_valid(shapely.from_wkt(footprint)) if footprint else None
    except shapely.errors.GEOSException:
        return None
    return area if area is not None and shapely.area(area) > 0 else None


@dataclass(frozen=True, slots=True)
class Candidate:
    """A product and the archive that serves it."""

    archive: Archive
    product: Product


@dataclass(frozen=True, slots=True)
class Observation:
    """What was observed once, or a part of it, with all products of it, the best first.

    `key` names it in the ledger; `whole` is the key of the observation it is a part of, empty where it is no
    part.
    """

    key: str
    candidates: tuple[Candidate, ...]
    whole: str = ""

    @property
    def best(self) -> Product:
        """The product to be preferred."""
        return self.candidates[0].product


def choose(found: Sequence[Candidate]) -> tuple[Observation, ...]:
    """One observation for all products that show the same, by time and tile; one for each part of it.

    The newest processing baseline goes first, then the order in which the sources are named.
    """
    groups: dict[tuple[str, str, str], list[Candidate]] = {}
    for candidate in found:
        groups.setdefault(candidate.product.observation, []).append(candidate)
    observations: list[Observation] = []
    for names, group in groups.items():
        parts: list[list[Candidate]] = []
        # sorted keeps the order of the sources among equals
        for candidate in sorted(group, key=_baseline, reverse=True):
            own = next((part for part in parts if same_part(part[0].product, candidate.product)), None)
            if own is None:
                parts.append([candidate])
            else:
                own.append(candidate)
        key = "/".join(names)
        if len(parts) == 1:
            observations.append(Observation(key, tuple(parts[0])))
            continue
        for part in parts:
            best = part[0].product
            observations.append(Observation(f"{key}/{best.strip or best.name}", tuple(part), key))
    return tuple(sorted(observations, key=lambda o: (o.best.sensed, o.best.tile, o.key)))


def _baseline(candidate: Candidate) -> tuple[int, ...]:
    parts = candidate.product.baseline.split(".")
    return tuple(int(part) for part in parts) if all(part.isdigit() for part in parts) else (0,)
