"""What a disaster leaves in a season's cube: sudden losses of canopy, and water where none was before.

Functions on arrays. They tell of damage seen by satellites; whether weather made it is another question, and
is answered apart (see `disaster_events`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from eo_pipeline.products.thresholds import thresholds

Float = NDArray[np.float32]

#: Loss of a pixel that cannot be judged: not seen before and after, or no crop stands on it.
UNJUDGED: Final = 255
#: Steps before and after a day that views are looked for in, and views that are averaged.
_REACH, _VIEWS = 4, 2
#: Steps whose backscatter is the reference of the one after them.
_BEFORE: Final = 6
#: Pixels that a flood's mixed edge may be wide.
EDGE: Final = 6


@dataclass(frozen=True, slots=True)
class Drop:
    """Of each pixel, uint8 [y, x]: the step its canopy was first seen to be less, counted from 1 (0: never),
    the loss in percent, and the first and last step it could be judged on (0: never).
    """

    step: NDArray[np.uint8]
    loss: NDArray[np.uint8]
    first: NDArray[np.uint8]
    last: NDArray[np.uint8]

    @classmethod
    def none(cls, shape: tuple[int, ...]) -> Drop:
        """Nothing could be judged."""
        empty = np.zeros(shape, dtype=np.uint8)
        return cls(empty, empty.copy(), empty.copy(), empty.copy())


def canopy_loss(seen: Float, expected: Float) -> Float:
    """Share of the leaf area that is missing, 0-1, from a vegetation index and what it should be.

    By the saturation of the index with leaf area, NDVI = N∞ + (Ns − N∞) exp(−k LAI) (Baret & Guyot 1991,
    eq. 1), of which the ratio of two leaf areas does not hang on k. NaN where no leaf was expected.

    >>> [f"{loss:.2f}" for loss in canopy_loss(np.float32([0.85, 0.55]), np.float32([0.85, 0.85]))]
    ['0.00', '0.67']
    """
    table = thresholds()
    full, bare = table["disaster.full"].value, table["disaster.bare"].value
    with np.errstate(divide="ignore", invalid="ignore"):
        leaf = [
            np.log((full - np.clip(value, bare, full - 0.02)) / (full - bare)) for value in (seen, expected)
        ]
        loss: Float = np.clip(1 - leaf[0] / leaf[1], 0, 1).astype(np.float32)
    return loss


def standing_steps(median: Float) -> NDArray[np.bool_]:
    """Steps on which a crop stands and is not being harvested: its median curve is out of the lowest quarter
    of its range, and does not fall by a fifth within two steps. All False where it is unknown.

    >>> standing_steps(np.float32([0.2, 0.4, 0.7, 0.8, 0.7, 0.4, 0.2])).tolist()
    [False, True, True, True, False, False, False]
    """
    if not np.isfinite(median).any():
        return np.zeros(median.shape, dtype=bool)
    low, high = float(np.nanmin(median)), float(np.nanmax(median))
    padded = np.pad(median, 1, mode="edge")
    standing: NDArray[np.bool_] = median >= low + 0.25 * (high - low)
    return standing & (padded[2:] >= 0.8 * padded[:-2])


def sudden_drop(
    observed: Float,
    crops: NDArray[np.uint8],
    medians: Mapping[int, NDArray[np.float32]],
    periods: Mapping[int, NDArray[np.bool_]],
    *,
    window: Sequence[int],
) -> Drop:
    """The largest sudden fall of each pixel's index beside its peers, within some steps.

    The mean of a pixel's first two clear views from a step on is held against what the two views before it
    and its crop's median curve let expect (see `_expected`): so what all fields of a crop do together is no
    fall, nor is a field that is late. A view spoilt by a cloud is none either: both views after must be
    lower.

    Parameters
    ----------
    observed : float32 [t, y, x]
        Index as it was seen, NaN where it was not.
    crops : uint8 [y, x]
    medians, periods : by crop code, [t]
        The crop's median curve, and the steps on which it stands (`standing_steps`).
    window
        Numbers of the steps a fall may begin with.
    """
    least = np.float32(thresholds()["disaster.min_fall"].value)
    drop = Drop.none(crops.shape)
    step, loss, first, last = (item.ravel() for item in (drop.step, drop.loss, drop.first, drop.last))
    best = np.full(crops.size, least, dtype=np.float32)
    for code, median in medians.items():
        here = np.flatnonzero(crops.ravel() == code)
        if not here.size or not periods[code].any():
            continue
        known = np.flatnonzero(np.isfinite(median))
        curve = np.interp(np.arange(len(median)), known, median[known])
        own = observed.reshape(len(observed), -1)[:, here]
        own = np.where(periods[code][:, None], own, np.float32(np.nan))
        for number in window:
            before = _gather(own, curve, range(number - 1, max(-1, number - 1 - _REACH), -1))
            after = _gather(own, curve, range(number, min(number + _REACH, len(own))))
            judged = np.isfinite(before.mean) & (after.count == _VIEWS)
            place = here[judged]
            first[place[first[place] == 0]] = number + 1
            last[place] = number + 1
            should = _expected(curve, before, after)
            fall = should - after.mean
            both = should - after.usual - after.highest >= least / 2
            more = judged & both & (fall > best[here])
            place = here[more]
            best[place], step[place] = fall[more], number + 1
            share = canopy_loss(after.mean[more], should[more])
            loss[place] = np.rint(100 * np.nan_to_num(share)).astype(np.uint8)
    return drop


@dataclass(frozen=True, slots=True)
class _Views:
    """Of some pixels, the means of two views, of their steps and of the peers' curve on them; the highest
    departure from that curve; and how many views there were.
    """

    mean: Float
    step: Float
    usual: Float
    highest: Float
    count: NDArray[np.uint8]


def _gather(values: Float, curve: NDArray[np.float64], steps: Sequence[int]) -> _Views:
    """The first two views of each pixel among some steps of [t, pixel]."""
    shape = values.shape[1:]
    total, where, usual = (np.zeros(shape, np.float32) for _ in range(3))
    highest, count = np.full(shape, -np.inf, np.float32), np.zeros(shape, np.uint8)
    for number in steps:
        layer = values[number]
        take = np.isfinite(layer) & (count < _VIEWS)
        total[take] += layer[take]
        where[take] += number
        usual[take] += np.float32(curve[number])
        count[take] += 1
        highest[take] = np.maximum(highest[take], layer[take] - np.float32(curve[number]))
    seen = np.where(count > 0, count, np.nan).astype(np.float32)
    return _Views(total / seen, where / seen, usual / seen, highest, count)


def _expected(curve: NDArray[np.float64], before: _Views, after: _Views) -> Float:
    """What the views after should show, from those before: the lower of two guesses.

    A field keeps its distance to its peers' curve; or it is a field like them that began later, and goes on
    along their curve from where it stands.
    """
    numbers = np.arange(len(curve))
    kept = after.usual + before.mean - before.usual
    # where the curve was as low on its way to the peak
    peak = int(np.argmax(curve))
    foot = peak - int(np.argmin(curve[peak::-1]))
    way = np.maximum.accumulate(curve[foot : peak + 1])
    way = way + 1e-6 * np.arange(len(way))
    begun = np.interp(before.mean, way, numbers[foot : peak + 1])
    late = np.interp(begun + after.step - before.step, numbers, curve)
    rising = (before.step < peak) & (begun < before.step)
    return np.where(rising, np.minimum(kept, late), kept).astype(np.float32)


def new_water(vv: Float, vh: Float, *, window: Sequence[int]) -> NDArray[np.uint8]:
    """The first step on which a pixel is water and was none before, counted from 1; 0: never.

    A step is held against the median of the last six of the same direction of flight, so slopes and rough
    fields are their own reference. Water makes both polarisations darker than land of this image can be.

    Parameters
    ----------
    vv, vh : float32 [t, y, x]
        Backscatter of one direction of flight with its speckle calmed, dB, NaN where there was no pass.
    """
    from scipy.ndimage import binary_dilation

    table = thresholds()
    fall, slight = table["flood.fall"].value, table["flood.slight_fall"].value
    dark = table["flood.vv"].value, table["flood.vh"].value
    out = np.zeros(vv.shape[1:], dtype=np.uint8)
    for number in window:
        if number == 0 or not np.isfinite(vv[number]).any():
            continue
        first = max(0, number - _BEFORE)
        change = np.zeros(out.shape, np.float32)
        water = np.ones(out.shape, dtype=bool)
        for channel, limit in zip((vv, vh), dark, strict=True):
            usual = _median(channel[first:number])
            water &= (channel[number] < limit) & (usual > limit)
            change += (channel[number] - usual) / 2
        water &= change < -fall
        # the shallow edge of a flood is a mixture: beside sure water less will do
        water = binary_dilation(water, iterations=EDGE, mask=water | (change < -slight))
        out[(out == 0) & water] = number + 1
    return out


def _median(values: Float) -> Float:
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a pixel never seen is NaN
        found: Float = np.nanmedian(values, axis=0).astype(np.float32)
    return found
