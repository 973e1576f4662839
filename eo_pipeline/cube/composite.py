"""From the observations of a step to one value a pixel, in int16 (value × 10 000, `NODATA` = nothing).

Observations of one step are held against each other first: of two views of a pixel a few days apart the
brighter, whiter one is cloud and the one darker in every band is shadow, whatever their masks say. The median
is taken of what is left.
"""

# ruff: noqa: PLR0917 - compiled functions are called with positional arguments
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numba import njit
from numpy.typing import NDArray

from eo_pipeline.cube.medians import (
    LANES,
    LAST,
    NODATA,
    median_of_numbers,
    pick_middle,
    sort_lanes,
    sorting_network,
)
from eo_pipeline.grid import TimeStep
from eo_pipeline.scenes.outliers import NEAR_INFRARED, SHORTWAVE_INFRARED, VISIBLE, StepRule, can_test

__all__ = [
    "CLEAR",
    "NODATA",
    "SUSPECT",
    "Composite",
    "Views",
    "age_of_seen",
    "compose",
    "median_of_numbers",
    "sorting_network",
]

#: Codes of a pixel's mask: 0 or 3 = not usable, 1 = clear, 2 = suspect: usable unless dark in the infrared.
CLEAR: Final = 1
SUSPECT: Final = 2


@dataclass(frozen=True, slots=True)
class Composite:
    """One step of one block.

    Attributes
    ----------
    reflectance : int16 [band, y, x]
    clear_count : uint8 [y, x]
        Observations the median was taken of.
    seen_day : int16 [y, x]
        Day of the last of them, from the step's start; −1 where there is none.
    usable, dropped : tuple of int
        A scene: pixels that went into the median, and pixels that another view of the step outvoted.
    """

    reflectance: NDArray[np.int16]
    clear_count: NDArray[np.uint8]
    seen_day: NDArray[np.int16]
    usable: tuple[int, ...]
    dropped: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Views:
    """Reflectance × 10 000 of a step's scenes, each band at its own pixel size.

    Attributes
    ----------
    bands
        Names.
    fine : int16 [scene, band, y, x]
        Bands on the grid itself.
    coarse : int16 [scene, band, y, x]
        Bands of pixels `zoom` times as large, that need not begin at the grid's corner: the grid's first
        pixel lies `start` rows and columns (of the grid) within the first coarse one.
    places
        For each band the stack it lies in (0 `fine`, 1 `coarse`) and its place there.
    """

    bands: tuple[str, ...]
    fine: NDArray[np.int16]
    coarse: NDArray[np.int16]
    places: tuple[tuple[int, int], ...]
    zoom: int = 1
    start: tuple[int, int] = (0, 0)

    @classmethod
    def of(cls, numbers: NDArray[np.int16], bands: Sequence[str]) -> Views:
        """All bands on the grid: `numbers` int16 [scene, band, y, x]."""
        none = np.empty((len(numbers), 0, 1, 1), dtype=np.int16)
        return cls(
            tuple(bands), np.ascontiguousarray(numbers), none, tuple((0, n) for n in range(len(bands)))
        )


def compose(
    views: Views,
    codes: NDArray[np.uint8],
    days: Sequence[int],
    *,
    rule: StepRule | None = None,
) -> Composite:
    """Compose one step from the observations that fell into it.

    Parameters
    ----------
    views
        Reflectance × 10 000. An observation that lacks one band counts as none. Without a near infrared band
        a suspect pixel cannot be cleared, and is not used; without that and a visible band views are not held
        against each other.
    codes : uint8 [scene, y, x]
        `CLEAR`, `SUSPECT`, or anything else for not usable.
    days
        Day of each scene from the step's start, 0 for the first.
    """
    rule = rule or StepRule()
    bands = views.bands
    scenes, height, width = codes.shape
    given = {len(views.fine), len(views.coarse), len(days)}
    if given != {scenes} or len(views.places) != len(bands):
        raise ValueError(
            f"There are {scenes} masks, {len(views.fine)} and {len(views.coarse)} views, {len(days)} days, "
            f"{len(bands)} bands and {len(views.places)} places; give each scene a mask and a day, and each "
            "band a place."
        )
    reflectance = np.empty((len(bands), height, width), dtype=np.int16)
    clear_count = np.zeros((height, width), dtype=np.uint8)
    seen_day = np.full((height, width), -1, dtype=np.int16)
    usable, dropped = np.zeros(scenes, dtype=np.int64), np.zeros(scenes, dtype=np.int64)
    if not scenes:
        reflectance[:] = NODATA
        return Composite(reflectance, clear_count, seen_day, (), ())
    visible = [bands.index(b) for b in VISIBLE if b in bands] if can_test(bands) else []
    near = [i for i, b in enumerate(bands) if b in NEAR_INFRARED]
    short = [i for i, b in enumerate(bands) if b in SHORTWAVE_INFRARED]
    _compose(
        (views.fine, views.coarse),
        np.array(views.places, dtype=np.int64),
        (views.zoom, *views.start),
        np.ascontiguousarray(codes),
        np.array(days, dtype=np.int16),
        np.array(visible, dtype=np.int64),
        (np.array(near, dtype=np.int64), np.array(short, dtype=np.int64)),
        rule.numbers,
        sorting_network(scenes),
        (reflectance, clear_count, seen_day),
        usable,
        dropped,
    )
    counts = tuple(usable.tolist()), tuple(dropped.tolist())
    return Composite(reflectance, clear_count, seen_day, *counts)


def age_of_seen(
    seen_day: NDArray[np.int16], usable: NDArray[np.bool_], steps: Sequence[TimeStep]
) -> NDArray[np.int16]:
    """Days from the last believed view up to the end of each step; −1 before the first.

    Parameters
    ----------
    seen_day : int16 [step, y, x]
        Day of each step's last clear view, from the step's start; −1 none.
    usable : bool [step, y, x]
        Where that view is believed.
    steps
        The cube's steps, rising.
    """
    ages = np.empty(seen_day.shape, dtype=np.int16)
    starts = np.array([step.start.toordinal() for step in steps], dtype=np.int64)
    ends = np.array([step.end.toordinal() for step in steps], dtype=np.int64)
    _ages(seen_day, usable, starts, ends, ages)
    return ages


@njit(nogil=True, cache=True)
def _ages(
    seen_day: NDArray[np.int16],
    usable: NDArray[np.bool_],
    starts: NDArray[np.int64],
    ends: NDArray[np.int64],
    ages: NDArray[np.int16],
) -> None:
    steps, height, width = seen_day.shape
    last = np.empty(width, dtype=np.int64)
    for y in range(height):
        last[:] = -1
        for t in range(steps):
            for x in range(width):
                if usable[t, y, x] and seen_day[t, y, x] >= 0:
                    last[x] = starts[t] + seen_day[t, y, x]
                ages[t, y, x] = -1 if last[x] < 0 else min(ends[t] - last[x], 32767)


@njit(nogil=True, cache=True)
def _none(flags: NDArray[np.int16]) -> bool:
    """Whether no lane is set; between views that agree it is so after the first band."""
    some = np.int16(0)
    for x in range(LANES):
        some |= flags[x]
    return bool(some == 0)


@njit(nogil=True, cache=True)
def _brighter(
    one: NDArray[np.int16],
    other: NDArray[np.int16],
    visible: NDArray[np.int64],
    rise: int,
    whiteness: int,
    hit: NDArray[np.int16],
) -> None:
    """Keep `hit` where `one` [band, x] is brighter and whiter than `other` in the visible bands."""
    for k in range(visible.size):
        first, second = one[visible[k]], other[visible[k]]
        for x in range(LANES):
            high = np.int32(first[x]) - np.int32(second[x]) >= np.int32(rise)
            hit[x] &= np.int16(1) if high else np.int16(0)
        if _none(hit):
            return
    blue, red = visible[0], visible[-1]  # they run from blue to red
    for x in range(LANES):
        rise_blue = np.int32(one[blue, x]) - np.int32(other[blue, x])
        rise_red = np.int32(one[red, x]) - np.int32(other[red, x])
        white = rise_blue * np.int32(100) >= rise_red * np.int32(whiteness)
        hit[x] &= np.int16(1) if white else np.int16(0)


@njit(nogil=True, cache=True)
def _darker(
    one: NDArray[np.int16],
    other: NDArray[np.int16],
    bands: NDArray[np.int64],
    percent: int,
    hit: NDArray[np.int16],
) -> None:
    """Keep `hit` where `one` [band, x] is below that share of `other` in all of `bands`."""
    share = np.int32(percent)
    for k in range(bands.size):
        first, second = one[bands[k]], other[bands[k]]
        for x in range(LANES):
            low = np.int32(first[x]) * np.int32(100) < np.int32(second[x]) * share
            hit[x] &= np.int16(1) if low else np.int16(0)
        if _none(hit):
            return


@njit(nogil=True, cache=True)
def _outvoted(
    numbers: NDArray[np.int16],
    visible: NDArray[np.int64],
    infrared: NDArray[np.int64],
    rule: tuple[int, int, int, int, int, int],
    ok: NDArray[np.int16],
    hit: NDArray[np.int16],
    out: NDArray[np.int16],
) -> None:
    """Take out of `ok` [scene, x] what another view of the step shows to be cloud, then what is shadow.

    `numbers` [scene, band, x] is one run of `LANES` pixels. `out` tells afterwards what was taken.
    """
    rise, whiteness, visible_share, infrared_share, _, _ = rule
    scenes = numbers.shape[0]
    out[:] = 0
    for test in range(2):  # clouds first: a cloud left in would make a good view look like shadow
        for i in range(scenes):
            for j in range(scenes):
                if i == j:
                    continue
                for x in range(LANES):
                    hit[x] = ok[i, x] & ok[j, x]
                if test == 0:
                    _brighter(numbers[i], numbers[j], visible, rise, whiteness, hit)
                else:
                    _darker(numbers[i], numbers[j], visible, visible_share, hit)
                    _darker(numbers[i], numbers[j], infrared, infrared_share, hit)
                for x in range(LANES):
                    out[i, x] |= hit[x]
        ok &= np.int16(1) - out


@njit(nogil=True, cache=True)
def _repeat(line: NDArray[np.int16], zoom: int, start: int, length: int, out: NDArray[np.int16]) -> None:
    """`length` grid pixels from the `start`-th on, of a line of coarse ones."""
    if zoom == 2 and start % 2 == 0:
        source, pairs = line[start // 2 :], out.view(np.uint32)
        for k in range((length + 1) // 2):  # one beyond an odd length at most, which is below `LANES`
            pairs[k] = np.uint32(np.uint16(source[k])) * np.uint32(0x10001)
    else:
        for x in range(length):
            out[x] = line[(start + x) // zoom]


@njit(nogil=True, cache=True)
def _gather(
    stacks: tuple[NDArray[np.int16], NDArray[np.int16]],
    places: NDArray[np.int64],
    coarse: tuple[int, int, int],
    where: tuple[int, int, int, int],
    run: NDArray[np.int16],
) -> None:
    """Fill `run` [band, x] with one scene's numbers of one run of pixels."""
    fine, large = stacks
    zoom, top, left = coarse
    i, y, first, length = where
    for band in range(run.shape[0]):
        group, k = places[band]
        if group == 0:
            source, target = fine[i, k, y, first : first + length], run[band]
            for x in range(length):
                target[x] = source[x]
        else:
            _repeat(large[i, k, (y + top) // zoom], zoom, first + left, length, run[band])


@njit(nogil=True, cache=True)
def _clear_lanes(
    run: NDArray[np.int16],
    line: NDArray[np.uint8],
    infrared: tuple[NDArray[np.int64], NDArray[np.int64]],
    rule: tuple[int, int, int, int, int, int],
    ok: NDArray[np.int16],
    dark: NDArray[np.int16],
) -> bool:
    """Fill `ok` with 1 where a scene's run of pixels is usable by its mask and numbers; whether any is."""
    near, short = infrared
    _, _, _, _, dark_near, dark_short = rule
    suspects = 0
    for x in range(line.size):
        ok[x] = np.int16(1) if (line[x] == CLEAR or line[x] == SUSPECT) else np.int16(0)
        dark[x] = np.int16(1) if line[x] == SUSPECT else np.int16(0)
        suspects += dark[x]
    ok[line.size :] = 0
    for band in range(run.shape[0]):
        values = run[band]
        for x in range(LANES):
            ok[x] &= np.int16(0) if values[x] == NODATA else np.int16(1)
    if suspects > 0:
        dark[line.size :] = 0
        for k in range(near.size + short.size):
            values = run[near[k] if k < near.size else short[k - near.size]]
            limit = np.int16(dark_near if k < near.size else dark_short)
            for x in range(LANES):
                dark[x] &= np.int16(1) if values[x] < limit else np.int16(0)
        for x in range(LANES):
            ok[x] &= np.int16(1) - dark[x]
    count = 0
    for x in range(LANES):
        count += ok[x]
    return count > 0


@njit(nogil=True, cache=True)
def _masked(line: NDArray[np.uint8]) -> bool:
    """Whether no pixel of the line can be used."""
    count = 0
    for x in range(line.size):
        count += 1 if (line[x] == CLEAR or line[x] == SUSPECT) else 0
    return count == 0


@njit(nogil=True, cache=True)
def _compose(
    stacks: tuple[NDArray[np.int16], NDArray[np.int16]],
    places: NDArray[np.int64],
    coarse: tuple[int, int, int],
    codes: NDArray[np.uint8],
    days: NDArray[np.int16],
    visible: NDArray[np.int64],
    infrared: tuple[NDArray[np.int64], NDArray[np.int64]],
    rule: tuple[int, int, int, int, int, int],
    network: NDArray[np.int64],
    outputs: tuple[NDArray[np.int16], NDArray[np.uint8], NDArray[np.int16]],
    usable: NDArray[np.int64],
    dropped: NDArray[np.int64],
) -> None:
    reflectance, clear_count, seen_day = outputs
    scenes, height, width = codes.shape
    bands = places.shape[0]
    all_infrared = np.concatenate(infrared)
    run = np.zeros((scenes, bands, LANES), dtype=np.int16)
    ok = np.zeros((scenes, LANES), dtype=np.int16)
    out = np.zeros((scenes, LANES), dtype=np.int16)
    hit = np.zeros(LANES, dtype=np.int16)
    counts = np.zeros(LANES, dtype=np.int16)
    lanes = np.full((scenes, LANES), np.int16(LAST), dtype=np.int16)
    for y in range(height):
        for first in range(0, width, LANES):
            length = min(LANES, width - first)
            views, one, other = 0, 0, 0
            for i in range(scenes):
                line = codes[i, y, first : first + length]
                if _masked(line):
                    ok[i] = 0
                    continue
                _gather(stacks, places, coarse, (i, y, first, length), run[i])
                if _clear_lanes(run[i], line, infrared, rule, ok[i], hit):
                    views, one, other = views + 1, other, i
            if views == 0:
                reflectance[:, y, first : first + length] = NODATA
                continue
            if views > 1 and visible.size > 0:
                _outvoted(run, visible, all_infrared, rule, ok, hit, out)
                for i in range(scenes):
                    dropped[i] += out[i].sum()
            _count(ok, days, counts, seen_day[y, first : first + length], usable)
            for x in range(length):
                clear_count[y, first + x] = counts[x]
            one = one if views == 2 else other  # with one view only, it stands for both
            for band in range(bands):
                target = reflectance[band, y, first : first + length]
                if views <= 2:  # the usual case: nothing to sort
                    _middle_of_two(run[one, band], run[other, band], ok[one], ok[other], target)
                else:
                    _middle_of_many(run[:, band], ok, network, lanes, counts, target)


@njit(nogil=True, cache=True)
def _middle_of_many(
    run: NDArray[np.int16],
    ok: NDArray[np.int16],
    network: NDArray[np.int64],
    lanes: NDArray[np.int16],
    counts: NDArray[np.int16],
    out: NDArray[np.int16],
) -> None:
    """The median of the usable views of `run` [scene, x]; `lanes` [scene, x] is room to sort in."""
    for i in range(run.shape[0]):
        values, views, lane = run[i], ok[i], lanes[i]
        for x in range(LANES):
            lane[x] = values[x] if views[x] else np.int16(LAST)
    sort_lanes(lanes, network)
    pick_middle(lanes, counts, out.size, out)


@njit(nogil=True, cache=True)
def _middle_of_two(
    one: NDArray[np.int16],
    other: NDArray[np.int16],
    ok: NDArray[np.int16],
    other_ok: NDArray[np.int16],
    out: NDArray[np.int16],
) -> None:
    """The mean of two views where both are usable (a half goes to the even number), else the usable one."""
    for x in range(out.size):
        a, b = one[x], other[x]
        odd = np.int16(a ^ b)
        low = np.int16(np.int16(a & b) + np.int16(odd >> 1))  # the mean, rounded down, without overflow
        mean = np.int16(low + np.int16(odd & low & np.int16(1)))
        single = a if ok[x] else (b if other_ok[x] else np.int16(NODATA))
        out[x] = mean if (ok[x] & other_ok[x]) else single


@njit(nogil=True, cache=True)
def _count(
    ok: NDArray[np.int16],
    days: NDArray[np.int16],
    counts: NDArray[np.int16],
    seen: NDArray[np.int16],
    usable: NDArray[np.int64],
) -> None:
    """Views a pixel, the day of the last of them, and pixels a scene."""
    counts[:] = 0
    for i in range(ok.shape[0]):
        views, day, total = ok[i], days[i], 0
        for x in range(seen.size):
            counts[x] += views[x]
            total += views[x]
            seen[x] = max(seen[x], day if views[x] else np.int16(-1))
        usable[i] += total
