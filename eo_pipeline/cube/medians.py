"""Medians of int16 with gaps (`NODATA`), a few hundred pixels at a time.

A sorting network's lanes then stay in the processor's nearest cache, and its comparisons become vector
instructions. Numba's cache looks at a function's own file only: after a change here, touch `composite.py`,
which has these compiled in.
"""

from __future__ import annotations

import functools
from typing import Final

import numpy as np
from numba import njit
from numpy.typing import NDArray

NODATA: Final = -32768
#: Pixels sorted side by side.
LANES: Final = 256
#: Stands for a missing value while sorting: it goes last, and the count keeps it from being picked.
LAST: Final = 32767
#: So many different counts in a run of pixels are each picked in a pass over all of it; with more, each pixel
#: looks for its own two values.
_PASSES: Final = 6


@functools.cache
def sorting_network(count: int) -> NDArray[np.int64]:
    """Comparators (low, high) that sort `count` values: Batcher's odd-even merge sort, int64 [m, 2].

    References
    ----------
    Batcher, K. E. (1968). Sorting networks and their applications. AFIPS Spring Joint Computer Conference 32,
    307-314. doi:10.1145/1468075.1468121. Non-powers of two as in Knuth, The Art of Computer Programming 3,
    algorithm 5.2.2M.

    Examples
    --------
    >>> sorting_network(3).tolist(), len(sorting_network(36))
    ([[0, 2], [0, 1], [1, 2]], 241)
    """
    pairs: list[tuple[int, int]] = []
    top = 1
    while top * 2 < count:
        top *= 2
    p = top if count > 1 else 0
    while p > 0:
        q, r, d = top, 0, p
        while True:
            pairs += [(i, i + d) for i in range(count - d) if i & p == r]
            if q == p:
                break
            d, q, r = q - p, q // 2, p
        p //= 2
    return np.array(pairs, dtype=np.int64).reshape(-1, 2)


def median_of_numbers(numbers: NDArray[np.int16]) -> NDArray[np.int16]:
    """Median over the first axis, `NODATA` left out; `NODATA` where nothing is left.

    Even counts take the mean of the two in the middle, halves to the even number as `np.rint` does.

    >>> median_of_numbers(np.array([[1], [-32768], [4], [2]], dtype=np.int16)).tolist()
    [2]
    >>> median_of_numbers(np.array([[1], [4]], dtype=np.int16)).tolist()  # 2.5
    [2]
    """
    shape = numbers.shape[1:]
    flat = np.ascontiguousarray(numbers).reshape(numbers.shape[0], -1)
    out = np.empty(flat.shape[1], dtype=np.int16)
    _median_of_columns(flat, sorting_network(len(flat)), out)
    return out.reshape(shape)


@njit(nogil=True, cache=True)
def sort_lanes(lanes: NDArray[np.int16], network: NDArray[np.int64]) -> None:
    """Sort the columns of `lanes` [t, n]."""
    for k in range(network.shape[0]):
        low, high = lanes[network[k, 0]], lanes[network[k, 1]]
        for x in range(LANES):
            a, b = low[x], high[x]
            low[x] = min(a, b)
            high[x] = max(a, b)


@njit(nogil=True, cache=True)
def pick_middle(
    lanes: NDArray[np.int16], counts: NDArray[np.int16], length: int, out: NDArray[np.int16]
) -> None:
    """The middle of the first `counts` values of each sorted column; a half goes to the even number."""
    fewest, most = counts[0], counts[0]
    for x in range(length):
        fewest, most = min(fewest, counts[x]), max(most, counts[x])
    if most - fewest <= _PASSES:
        out[:length] = NODATA
        for count in range(max(fewest, 1), most + 1):
            low, high = lanes[(count - 1) >> 1], lanes[count >> 1]
            for x in range(length):
                total = np.int32(low[x]) + np.int32(high[x])
                half = total >> 1
                middle = np.int16(half + (total & half & 1))
                out[x] = middle if counts[x] == count else out[x]
    else:
        for x in range(length):
            count = counts[x]
            if count == 0:
                out[x] = NODATA
            else:
                total = np.int32(lanes[(count - 1) >> 1, x]) + np.int32(lanes[count >> 1, x])
                half = total >> 1
                out[x] = np.int16(half + (total & half & 1))


@njit(nogil=True, cache=True)
def _median_of_columns(
    numbers: NDArray[np.int16], network: NDArray[np.int64], out: NDArray[np.int16]
) -> None:
    t, n = numbers.shape
    lanes = np.full((t, LANES), np.int16(LAST), dtype=np.int16)
    counts = np.zeros(LANES, dtype=np.int16)
    for first in range(0, n, LANES):
        length = min(LANES, n - first)
        counts[:] = 0
        for i in range(t):
            line, lane = numbers[i, first : first + length], lanes[i]
            for x in range(length):
                value = line[x]
                missing = value == NODATA
                lane[x] = np.int16(LAST) if missing else value
                counts[x] += np.int16(0) if missing else np.int16(1)
        sort_lanes(lanes, network)
        pick_middle(lanes, counts, length, out[first : first + length])
