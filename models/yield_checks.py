"""What is wrong with yields and features before anything is learned from them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from models.errors import YieldTableError

Float = NDArray[np.float64]

#: A gap this wide between neighbouring yields parts two units of measure (kg/mu and kg/ha: 15).
_GAP: Final = 5.0
#: One value in so many units of a year, and in such a share of them, is no measurement.
_SAME: Final = 5
_SAME_SHARE: Final = 0.8
#: Beyond this correlation with the yield a feature is taken for the yield, and beyond the second it is (last
#: year's yield may come near, and may be asked for by name).
_COPY: Final = 0.98
_SELF: Final = 0.9999
_YIELD_NAME: Final = re.compile(r"yield|production|output_t|ertrag|rendement|产量|单产|总产", re.IGNORECASE)


def check_target(
    path: Path, name: str, unit: NDArray[np.str_], year: Float | None, y: Float
) -> tuple[NDArray[np.bool_], list[str]]:
    """Rows that can be learned from, and notes on the others.

    Raises
    ------
    YieldTableError
        Yields all alike, or of two units of measure.
    """
    kept, notes = np.ones(len(y), dtype=bool), []
    if year is not None:
        for one in np.unique(year):
            here = year == one
            values, count = np.unique(y[here], return_counts=True)
            if count.max() >= max(_SAME, _SAME_SHARE * here.sum()):
                filler = here & (y == values[count.argmax()])
                kept &= ~filler
                share = "all " if filler.sum() == here.sum() else ""
                notes.append(
                    f"{one:.0f} was left out: {share}{int(filler.sum())} units have {name} = "
                    f"{y[filler][0]:g}, which is a filler and no measurement."
                )
    if not kept.any() or np.ptp(y[kept]) == 0:
        raise YieldTableError(
            f"{path}: {name} is the same in all rows ({y[0]:g}). Nothing can be learned from a yield that "
            "never "
            "varies; check the column."
        )
    _one_measure(path, name, unit, y, kept)
    if year is not None:
        flat = [
            str(one)
            for one in np.unique(unit[kept])
            if (own := y[kept & (unit == one)]).size >= 4 and np.ptp(own) == 0
        ]
        if flat:
            notes.append(
                f"{len(flat)} units have the same {name} in every year ({', '.join(flat[:5])}"
                f"{' …' if len(flat) > 5 else ''}): copied figures make intervals too narrow."
            )
        years = np.unique(year[kept])
        lost = sorted(set(range(int(years[0]), int(years[-1]) + 1)) - set(years.astype(int).tolist()))
        if lost:
            shown = ", ".join(map(str, lost[:8])) + (" …" if len(lost) > 8 else "")
            notes.append(f"no yields of {shown}: the years beside them stand for the trend.")
    return kept, notes


def _one_measure(path: Path, name: str, unit: NDArray[np.str_], y: Float, kept: NDArray[np.bool_]) -> None:
    """Refuse yields that fall into two heaps a factor apart, or one far above all others."""
    if (y[kept] <= 0).any():
        return  # anomalies, or failures of harvest: no factor can be told
    rows = np.flatnonzero(kept)
    order = rows[np.argsort(y[rows])]
    ratio = y[order[1:]] / y[order[:-1]]
    if not len(ratio) or ratio.max() < _GAP:
        return
    cut = int(ratio.argmax()) + 1
    if cut == 1:  # one failed harvest below all others is possible
        return
    low, high = order[:cut], order[cut:]
    odd = high if len(high) <= len(low) else low
    raise YieldTableError(
        f"{path}: {name} seems to mix units of measure: {len(low)} values are {y[low[0]]:g} … "
        f"{y[low[-1]]:g} and "
        f"{len(high)} are {y[high[0]]:g} … {y[high[-1]]:g} (such as {unit[odd[0]]}: {y[odd[0]]:g}). Bring "
        "all into "
        "one unit (1 kg/mu = 15 kg/ha), or mend the wrong value."
    )


def left_out_features(
    path: Path, names: Sequence[str], X: Float, y: Float, *, named: Sequence[str] | None
) -> tuple[set[int], list[str]]:
    """Features that are the yield in another guise, or say nothing; with notes.

    Raises
    ------
    YieldTableError
        A feature that was asked for by name is a copy of the yield.
    """
    out: set[int] = set()
    copies, empty = [], []
    for i, name in enumerate(names):
        seen = np.isfinite(X[:, i])
        x = X[seen, i]
        if len(x) < max(3, 0.5 * len(y)) or np.ptp(x) == 0:
            out.add(i)
            empty.append(name)
        elif named is None and _YIELD_NAME.search(name):
            out.add(i)
            copies.append(name)
        elif len(x) >= 10 and np.ptp(y[seen]) > 0:
            alike = abs(float(np.corrcoef(x, y[seen])[0, 1]))
            if named is not None and alike > _SELF:
                raise YieldTableError(
                    f"{path}: feature {name!r} is the yield itself (correlation {alike:.5f}), which nobody "
                    "knows "
                    "before the harvest. Take it out of --features."
                )
            if named is None and alike > _COPY:
                out.add(i)
                copies.append(name)
    notes = []
    if copies:
        notes.append(
            f"not learned from, because they are yields themselves: {', '.join(copies[:6])}"
            f"{' …' if len(copies) > 6 else ''}."
        )
    if empty:
        notes.append(
            f"not learned from, because constant or empty in half the rows: {', '.join(empty[:6])}"
            f"{' …' if len(empty) > 6 else ''}."
        )
    return out, notes
