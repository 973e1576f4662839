"""Answered reference samples: read, checked against their design, and laid on a map as counts.

What is drawn and handed out is made in `sampling` and `sheets`; what the counts tell, in `stratified`.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from eo_pipeline.errors import SampleError
from eo_pipeline.products.area import Method
from eo_pipeline.products.samples import LabelledShape, read_shapes
from eo_pipeline.products.sampling import require_probability_sample

#: Mapped class of points where the map shows nothing.
NO_DATA: Final = "(no data)"


@dataclass(frozen=True, slots=True)
class Stratum:
    """A stratum as drawn: its area, and how many points were drawn in it."""

    name: str
    area_ha: float
    points: int


@dataclass(frozen=True, slots=True)
class Answers:
    """A reference sample as its file gives it.

    `points` have an answer; `unanswered` more have none. `strata` are those of the design, none where the
    file does not tell them.
    """

    path: Path
    design: str
    points: tuple[LabelledShape, ...]
    unanswered: int
    strata: tuple[Stratum, ...]

    def label_names(self) -> tuple[str, ...]:
        """The answers that occur, sorted."""
        return tuple(sorted({point.label for point in self.points}))

    def named(self, names: Mapping[int, str]) -> Answers:
        """The same, where answers and strata are written as class codes: as the names of these."""
        if any(point.label in names.values() for point in self.points):
            return self
        known = {str(code): name for code, name in names.items()}
        points = tuple(
            replace(p, label=known.get(p.label, p.label), stratum=known.get(p.stratum, p.stratum))
            for p in self.points
        )
        strata = tuple(replace(item, name=known.get(item.name, item.name)) for item in self.strata)
        return replace(self, points=points, strata=strata)


def read_answers(
    path: Path, *, design: str | None = None, presumed: str | None = None, label: str = "label"
) -> Answers:
    """Read an answered sheet, or any probability sample with its answers.

    Parameters
    ----------
    path
        GeoJSON, GPKG or CSV of points or polygons. Columns: `label` (empty where nobody answered), `stratum`
        for a stratified sample, and what `eo sample draw` writes beside them (`stratum_ha`, `stratum_points`,
        `sampling_design`).
    design
        Its design, where the file does not say it; where it does, both must agree.
    presumed
        Its design where neither says it.
    label
        Name of the column with the answers.

    Raises
    ------
    NotAProbabilitySampleError
        No design that gives every pixel a known chance.
    SampleError
        Unreadable, contradicting itself, or not one answer.
    """
    shapes = read_shapes(path, label=label)
    told = {shape.fields.get("sampling_design", "") for shape in shapes} - {""}
    if not told and path.suffix.lower() in (".geojson", ".json"):
        told = {str(json.loads(path.read_text(encoding="utf-8")).get("sampling_design", ""))} - {""}
    if design and told - {design}:
        raise SampleError(
            f"{path} says that it was drawn as {', '.join(sorted(told))}, and you say {design}. Name the "
            "design it was really drawn by."
        )
    if len(told) > 1:
        raise SampleError(f"{path} mixes samples of the designs {', '.join(sorted(told))}. Give each alone.")
    name = require_probability_sample(design or next(iter(told), presumed), where=str(path))
    strata = _strata(path, shapes) if name == "stratified_random" else ()
    double = [
        key for key, n in Counter(shape.fields.get("id", "") for shape in shapes).items() if key and n > 1
    ]
    if double:
        raise SampleError(
            f"{path}: the point {double[0]!r} occurs more than once ({len(double)} such id(s)). Keep one "
            "answer a point."
        )
    answered = tuple(shape for shape in shapes if shape.label)
    if not answered:
        raise SampleError(f"{path}: not one of its {len(shapes)} points has a {label}. Have them answered.")
    drawn = sum(stratum.points for stratum in strata) or len(shapes)
    return Answers(path, name, answered, drawn - len(answered), strata)


def _strata(path: Path, shapes: Sequence[LabelledShape]) -> tuple[Stratum, ...]:
    """The strata that the rows of a sheet tell; none where they do not."""
    found: dict[str, Stratum] = {}
    for shape in shapes:
        text, count = shape.fields.get("stratum_ha", ""), shape.fields.get("stratum_points", "")
        if not shape.stratum or not text:
            if found:
                raise SampleError(
                    f"{path}, row {shape.row}: its stratum or the area of it (stratum_ha) is empty, and "
                    "other rows have them. Only points that were drawn belong into the file: remove the row."
                )
            continue
        try:
            area, points = float(text), int(float(count or 0))
        except ValueError:
            raise SampleError(
                f"{path}, row {shape.row}: stratum_ha = {text!r}, stratum_points = {count!r} are no numbers. "
                "Leave these columns as they were drawn."
            ) from None
        known = found.setdefault(shape.stratum, Stratum(shape.stratum, area, points))
        if not np.isclose(known.area_ha, area, rtol=1e-6) or known.points != points or area <= 0:
            raise SampleError(
                f"{path}, row {shape.row}: the stratum {shape.stratum!r} has {area} ha and {points} points "
                f"there, and {known.area_ha} ha and {known.points} points above. Give the points of one "
                "drawing, and leave these columns as they were drawn."
            )
    rows = Counter(shape.stratum for shape in shapes)
    for stratum in found.values():
        if stratum.points and rows[stratum.name] > stratum.points:
            raise SampleError(
                f"{path}: {stratum.points} points were drawn in the stratum {stratum.name!r}, and it holds "
                f"{rows[stratum.name]}. Points that were added by hand have no known chance: remove them."
            )
    return tuple(
        stratum if stratum.points else replace(stratum, points=rows[stratum.name])
        for stratum in found.values()
    )


@dataclass(frozen=True, slots=True)
class Reference:
    """Reference points laid on a map, ready for `stratified`.

    Attributes
    ----------
    labels
        Classes; `mapped` may be one more, `NO_DATA`.
    strata, stratum_ha
        Names and areas.
    stratum, mapped, true
        Of each point, int64: positions in `strata`, `labels` and `labels`.
    lon, lat
        Of each point, degrees; points outside the frame are left out.
    method
        "olofsson_2014" where strata are the map's classes, else "stehman_2014".
    notes
        What a reader of the numbers should know.
    """

    labels: tuple[str, ...]
    strata: tuple[str, ...]
    stratum_ha: NDArray[np.float64]
    stratum: NDArray[np.int64]
    mapped: NDArray[np.int64]
    true: NDArray[np.int64]
    lon: NDArray[np.float64]
    lat: NDArray[np.float64]
    design: str
    method: Method
    notes: tuple[str, ...]

    def counts(self, member: NDArray[np.bool_] | None = None) -> NDArray[np.int64]:
        """Points [stratum, mapped class, reference class]; of those that `member` [point] says, if given."""
        shape = (len(self.strata), len(self.labels) + 1, len(self.labels))
        out = np.zeros(shape, dtype=np.int64)
        keep = slice(None) if member is None else member
        np.add.at(out, (self.stratum[keep], self.mapped[keep], self.true[keep]), 1)
        return out


def lay_on_map(
    answers: Answers,
    mapped: Sequence[str | None],
    labels: Sequence[str],
    mapped_ha: Mapping[str, float],
    *,
    drawn_from: tuple[Sequence[str | None], Mapping[str, float]] | None = None,
) -> Reference:
    """Give each answered point its stratum, its mapped and its true class.

    A simple random sample is stratified afterwards by the class mapped now. A stratified one has the strata
    that its sheet tells, or those of `drawn_from`; else its strata must be the classes of this very map.

    Parameters
    ----------
    mapped
        Class at each answered point, None where the map has none.
    labels
        Classes of map and answers.
    mapped_ha
        Areas of the map's classes.
    drawn_from
        Class of each answered point in the map that the sample was drawn from, and the areas there.

    Raises
    ------
    SampleError
        Strata that do not agree with the map, or are not told.
    """
    if not any(hectares > 0 for hectares in mapped_ha.values()):
        raise SampleError("the map shows no class anywhere; check the class map.")
    classes = {name: hectares for name, hectares in mapped_ha.items() if hectares > 0}
    names: list[str | None] = list(mapped)
    areas: Mapping[str, float] = classes
    if answers.design == "stratified_random" and drawn_from is not None:
        names, areas = _strata_of_old(answers, *drawn_from)
    elif answers.design == "stratified_random" and answers.strata:
        names = [point.stratum for point in answers.points]
        areas = {stratum.name: stratum.area_ha for stratum in answers.strata}
    elif answers.design == "stratified_random":
        _check_own_strata(answers, mapped)
    keep = np.array([name is not None for name in names])
    if not keep.any():
        raise SampleError(
            f"{answers.path}: no point lies where the map shows a class. Give the map it is of."
        )
    notes = _notes(
        answers, int((~keep).sum()), [name for name in answers.label_names() if name not in classes]
    )
    position = {label: number for number, label in enumerate(labels)}
    index = [int(i) for i in np.flatnonzero(keep)]
    strata = list(areas)
    stratum = np.array([strata.index(str(names[i])) for i in index])
    seen = np.array([position[str(mapped[i])] if mapped[i] is not None else len(labels) for i in index])
    centres = [answers.points[i].geometry.representative_point() for i in index]
    own = all(strata[s] == mapped[i] for s, i in zip(stratum, index, strict=True))
    hectares = np.array([areas[name] for name in strata])
    strata, hectares, stratum, joined = _pooled(strata, hectares, stratum)
    return Reference(
        labels=tuple(labels),
        strata=tuple(strata),
        stratum_ha=hectares,
        stratum=stratum,
        mapped=seen,
        true=np.array([position[answers.points[i].label] for i in index]),
        lon=np.array([centre.x for centre in centres]),
        lat=np.array([centre.y for centre in centres]),
        design=answers.design,
        method="olofsson_2014" if own and not joined else "stehman_2014",
        notes=(*notes, *joined),
    )


def _check_own_strata(answers: Answers, mapped: Sequence[str | None]) -> None:
    """Refuse a stratified sample whose strata are not told, and are not the map's classes."""
    for point, now in zip(answers.points, mapped, strict=True):
        if point.stratum != now:
            was = f"drawn in the stratum {point.stratum!r}" if point.stratum else "drawn in no stratum"
            raise SampleError(
                f"{answers.path}, row {point.row}: the point was {was}, but the map shows {now or 'nothing'} "
                "there now. A sample of an older map needs the areas of its strata: give the sheet as `eo "
                "sample draw` wrote it, with stratum and stratum_ha, or the map it was drawn from (--strata)."
            )


def _strata_of_old(
    answers: Answers, old: Sequence[str | None], old_ha: Mapping[str, float]
) -> tuple[list[str | None], Mapping[str, float]]:
    """Strata by the map that the sample was drawn from."""
    for point, was in zip(answers.points, old, strict=True):
        if was is None or (point.stratum and point.stratum != was):
            raise SampleError(
                f"{answers.path}, row {point.row}: the map given for the strata shows {was or 'nothing'} "
                f"there, and the point was drawn in {point.stratum or 'one of its classes'}. Give the map "
                "that the sample was drawn from."
            )
    return list(old), {name: hectares for name, hectares in old_ha.items() if hectares > 0}


def _notes(answers: Answers, outside: int, unmapped: Sequence[str]) -> tuple[str, ...]:
    notes = []
    if unmapped:
        notes.append(f"the answers know what the map does not show: {', '.join(unmapped)}; check these names")
    if answers.unanswered:
        drawn = answers.unanswered + len(answers.points)
        notes.append(
            f"{answers.unanswered} of {drawn} points have no answer; the rest of each stratum speaks for "
            "them, which holds if they were left out by chance"
        )
    if outside:
        notes.append(f"{outside} points lie where the map shows nothing, outside the frame")
    if len(answers.label_names()) == 1:
        notes.append(
            f"every answer is {answers.label_names()[0]!r}: such a sample says little of other classes"
        )
    return tuple(notes)


def _pooled(
    strata: list[str], hectares: NDArray[np.float64], stratum: NDArray[np.int64]
) -> tuple[list[str], NDArray[np.float64], NDArray[np.int64], tuple[str, ...]]:
    """Join strata with fewer than two points to the smallest other, as no error is known of them alone."""
    joined: list[str] = []
    while len(strata) > 1:
        points = np.bincount(stratum, minlength=len(strata))
        poor = np.flatnonzero(points < 2)
        if not poor.size:
            break
        lost = int(poor[np.argmin(hectares[poor])])
        others = [int(i) for i in poor if i != lost] or [i for i in range(len(strata)) if i != lost]
        target = min(others, key=lambda i: float(hectares[i]))
        joined.append(
            f"the stratum {strata[lost]!r} has {points[lost]} answered point(s) and was joined to "
            f"{strata[target]!r}"
        )
        strata = [f"{name}+{strata[lost]}" if i == target else name for i, name in enumerate(strata)]
        hectares = hectares.copy()
        hectares[target] += hectares[lost]
        stratum = np.where(stratum == lost, target, stratum)
        strata = [name for i, name in enumerate(strata) if i != lost]
        hectares = np.delete(hectares, lost)
        stratum = np.where(stratum > lost, stratum - 1, stratum)
    return strata, hectares, stratum, tuple(joined)
