"""Events of a season: places where damage comes together, their records, and areas by county and crop.

An event keeps hazard and damage apart. Damage is what satellites saw; hazard is what weather or water tells
of the same place and time, and stays empty where nothing tells it. All are judged from afar (遥感初判) until
somebody has been there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from eo_pipeline.grid import Block, Grid
from eo_pipeline.products.curves import REGION
from eo_pipeline.products.disaster import UNJUDGED
from eo_pipeline.products.thresholds import thresholds

Hazard = Literal["drought", "frost", "hail", "flood"]
#: Codes of hazards in rasters.
CODES: Final[Mapping[Hazard, int]] = {"drought": 1, "frost": 2, "hail": 3, "flood": 4}
ZH: Final[Mapping[Hazard, str]] = {"drought": "干旱", "frost": "霜冻", "hail": "冰雹", "flood": "洪涝"}
#: Grades of loss, the lowest first; each holds the next.
GRADES: Final = {"affected": "受灾", "damaged": "成灾", "destroyed": "绝收"}
STATUS: Final = "遥感初判"
INTERVAL_METHOD: Final = "loss of canopy ± its error"
#: Pixels a side of the cells events are looked for in, and cells a side of their surroundings.
CELL: Final = 10
_AROUND: Final = 5
#: Steps on which one day's damage is first seen.
_TOGETHER: Final = 3
#: More than this in one season are no events any more.
_MOST: Final = 250


@dataclass(frozen=True, slots=True, eq=False)
class Place:
    """Cells of one tile that an event covers, bool [row, column], and the steps its damage was first seen
    on.
    """

    tile: str
    cells: NDArray[np.bool_]
    first: int
    last: int

    def mask(self, block: Block) -> NDArray[np.bool_]:
        """The event's cells on the pixels of a block."""
        return _on_pixels(self.cells, block)

    def rim(self, block: Block) -> NDArray[np.bool_]:
        """Pixels of a block beside the event, as near as its edge is sure."""
        from scipy.ndimage import binary_dilation

        wide = binary_dilation(self.cells, structure=np.ones((3, 3)), iterations=_AROUND // 2)
        return _on_pixels(wide & ~self.cells, block)

    @property
    def window(self) -> tuple[int, int, int, int]:
        """First row and column, end row and column, in pixels."""
        rows, cols = np.flatnonzero(self.cells.any(axis=1)), np.flatnonzero(self.cells.any(axis=0))
        return (
            int(rows[0]) * CELL, int(cols[0]) * CELL, (int(rows[-1]) + 1) * CELL, (int(cols[-1]) + 1) * CELL,
        )  # fmt: skip

    def touches(self, block: Block) -> bool:
        """Whether a block holds any of its cells' surroundings."""
        (top, left, bottom, right), near = self.window, CELL * (_AROUND // 2)
        return (
            block.row < bottom + near and block.row + block.height > top - near
            and block.col < right + near and block.col + block.width > left - near
        )  # fmt: skip


def _on_pixels(cells: NDArray[np.bool_], block: Block) -> NDArray[np.bool_]:
    rows = (block.row + np.arange(block.height)) // CELL
    cols = (block.col + np.arange(block.width)) // CELL
    found: NDArray[np.bool_] = cells[np.ix_(rows, cols)]
    return found


@dataclass(slots=True)
class Counts:
    """Pixels by cell of one tile and step: fallen, and judged; int32 [step, row, column]."""

    fallen: NDArray[np.int32]
    judged: NDArray[np.int32]

    @classmethod
    def of(cls, grid: Grid, steps: int) -> Counts:
        """No pixel yet."""
        shape = -(-grid.height // CELL), -(-grid.width // CELL)
        return cls(np.zeros((steps, *shape), np.int32), np.zeros((steps, *shape), np.int32))

    def add(
        self, block: Block, step: NDArray[np.uint8], first: NDArray[np.uint8], last: NDArray[np.uint8]
    ) -> None:
        """Count a block's pixels: the step they fell on, and those they were judged on, from 1 (0: none)."""
        shape = self.judged.shape[1:]
        rows = (block.row + np.arange(block.height)) // CELL
        cols = (block.col + np.arange(block.width)) // CELL
        key = rows[:, None] * shape[1] + cols
        for number in range(1, int(last.max(initial=0)) + 1):
            judged = (first > 0) & (first <= number) & (number <= last)
            for counted, here in ((self.judged, judged), (self.fallen, step == number)):
                found = np.bincount(key[here], minlength=shape[0] * shape[1])
                counted[number - 1] += found.reshape(shape).astype(np.int32)


def find_places(tile: str, counts: Counts, *, cell_ha: float, share: float | None = None) -> list[Place]:
    """Places where the pixels of a neighbourhood fell together, within three steps of each other.

    A step at a time, the largest patch first; what it explains is taken away and the next is looked for.
    Clouds make the same day be seen on one step here and on a later one there, hence three. A place reaches
    from its core as far as three quarters of the share that makes a core.

    Parameters
    ----------
    cell_ha
        Hectares of a whole cell.
    share : float, optional
        Of the judged pixels around, how many must have fallen; the table's by default.
    """
    from scipy.ndimage import binary_dilation, label

    table = thresholds()
    needed = table["disaster.min_share"].value if share is None else share
    smallest = table["disaster.min_area"].value / cell_ha * CELL**2
    left = counts.fallen.copy()
    places: list[Place] = []
    while len(places) < _MOST:
        best: tuple[float, int, NDArray[np.bool_]] | None = None
        for step in np.flatnonzero(left.any(axis=(1, 2))).tolist():
            together = left[step : step + _TOGETHER].sum(axis=0)
            near, judged = _around(together), _around(counts.judged[step : step + _TOGETHER].max(axis=0))
            wide = (near >= 0.75 * needed * judged) & (near > 0)
            patches, number = label(wide, structure=np.ones((3, 3)))
            if number == 0:
                continue
            size = np.bincount(patches.ravel(), weights=together.ravel(), minlength=number + 1)[1:]
            core = np.bincount(patches[near >= needed * judged], minlength=number + 1)[1:]
            size[core == 0] = 0
            if (top := float(size.max())) >= smallest and (best is None or top > best[0]):
                best = top, step, patches == int(size.argmax()) + 1
        if best is None:
            break
        _, step, cells = best
        # the mean over its surroundings hides an event's rim
        cells = binary_dilation(cells, iterations=2, mask=together > 0)
        places.append(Place(tile, cells, step, min(step + _TOGETHER, len(left)) - 1))
        left[max(0, step - 1) : step + _TOGETHER + 1, binary_dilation(cells, iterations=2)] = 0
    return places


def _around(values: NDArray[np.int32]) -> NDArray[np.float64]:
    """Sum over the cells within 250 m."""
    from scipy.ndimage import uniform_filter

    sums: NDArray[np.float64] = (
        uniform_filter(values.astype(np.float64), _AROUND, mode="constant") * _AROUND**2
    )
    return np.where(sums < 0.5, 0, sums)


# ---- areas --------------------------------------------------------------------------------------------
@dataclass(frozen=True, slots=True)
class Area:
    """Hectares of one grade of loss in one unit and crop, and between what they lie."""

    unit: str
    crop: str
    grade: str
    ha: float
    low_ha: float
    high_ha: float


@dataclass(slots=True)
class Losses:
    """Hectares of an event by unit and crop code and whole percent of loss; 255 is not judged."""

    table: dict[tuple[str, int], NDArray[np.float64]] = field(default_factory=dict)

    def add(self, unit: str, crop: int, loss: NDArray[np.uint8], ha: NDArray[np.float64]) -> None:
        """Add pixels of a block."""
        found = np.bincount(loss, weights=ha, minlength=256)
        key = unit, crop
        self.table[key] = self.table.get(key, np.zeros(256)) + found

    def areas(self, names: Mapping[int, str]) -> list[Area]:
        """Areas by grade, nested; a grade's interval is that between its limit plus and minus the error.

        Pixels that nobody could judge may have lost everything: they count in the upper end. So do pixels
        without a loss, the rim of the event among them, in that of the lowest grade.
        """
        table = thresholds()
        error = round(table["disaster.loss_error"].value)
        rows = []
        for (unit, crop), ha in sorted(self.table.items()):
            for grade in GRADES:
                limit = round(table[f"disaster.{grade}"].value)
                rows.append(
                    Area(
                        unit,
                        names[crop],
                        grade,
                        ha=float(ha[limit:101].sum()),
                        low_ha=float(ha[min(limit + error, 100) : 101].sum()),
                        high_ha=float(ha[max(limit - error, 0) : 101].sum() + ha[UNJUDGED]),
                    )
                )
        return rows


# ---- records ------------------------------------------------------------------------------------------
@dataclass(frozen=True, slots=True)
class Event:
    """One event: where and when, hazard and damage apart.

    `hazard_evidence` is what weather or water tells, `damage` what canopies tell; either may be empty.
    `chips` are rasters before and after, by their paths in the run folder.
    """

    id: str
    hazard: Hazard
    places: tuple[Place, ...]
    start: date
    end: date
    hazard_evidence: Mapping[str, Any]
    damage: Mapping[str, Any]
    areas: Sequence[Area]
    chips: Mapping[str, str] = field(default_factory=dict)

    @property
    def totals(self) -> dict[str, Area]:
        """By grade, all crops of the whole region."""
        found = {}
        for grade in GRADES:
            rows = [row for row in self.areas if row.grade == grade and row.unit == REGION]
            sums = (sum(getattr(row, name) for row in rows) for name in ("ha", "low_ha", "high_ha"))
            found[grade] = Area(REGION, "", grade, *sums)
        return found

    def record(self, bbox: Sequence[float]) -> dict[str, Any]:
        """The event for JSON; `bbox` in degrees."""
        total = {
            grade: {
                "zh": GRADES[grade],
                "ha": round(area.ha, 2),
                "low_ha": round(area.low_ha, 2),
                "high_ha": round(area.high_ha, 2),
            }
            for grade, area in self.totals.items()
        }
        return {
            "id": self.id,
            "hazard": self.hazard,
            "zh": ZH[self.hazard],
            "code": CODES[self.hazard],
            "tiles": [place.tile for place in self.places],
            "bbox": [round(float(value), 6) for value in bbox],
            "start": self.start.isoformat(),
            "end": self.end.isoformat(),
            "hazard_evidence": dict(self.hazard_evidence),
            "damage": dict(self.damage),
            "areas": total,
            "by_unit": [
                {
                    "unit": row.unit,
                    "crop": row.crop,
                    "grade": row.grade,
                    "ha": round(row.ha, 2),
                    "low_ha": round(row.low_ha, 2),
                    "high_ha": round(row.high_ha, 2),
                }
                for row in self.areas
            ],
            "interval_method": INTERVAL_METHOD,
            "chips": dict(self.chips),
            "status": STATUS,
            "trial": sorted(
                key
                for key, row in thresholds().items()
                if key.startswith(("disaster.", "flood.", "frost.")) and row.on_trial
            ),
        }


def join_tiles(places: Sequence[Place], grids: Mapping[str, Grid]) -> list[tuple[Place, ...]]:
    """Places of several tiles that are one event: of one time, and no more than 300 m apart."""
    groups: list[list[Place]] = []
    for place in places:
        near = [group for group in groups if any(_one_event(place, other, grids) for other in group)]
        joined = [place, *(item for group in near for item in group)]
        groups = [group for group in groups if group not in near] + [joined]
    return [tuple(group) for group in groups]


def _one_event(one: Place, other: Place, grids: Mapping[str, Grid]) -> bool:
    if one.tile == other.tile or grids[one.tile].crs != grids[other.tile].crs:
        return False
    if one.first > other.last or other.first > one.last:
        return False
    (a, b, c, d), (e, f, g, h) = (bounds_of(place, grids[place.tile]) for place in (one, other))
    return a - 300 <= g and e - 300 <= c and b - 300 <= h and f - 300 <= d


def bounds_of(place: Place, grid: Grid) -> tuple[float, float, float, float]:
    """West, south, east, north of a place in its tile's CRS."""
    top, left, bottom, right = place.window
    bottom, right = min(bottom, grid.height), min(right, grid.width)
    x0, y0 = grid.affine @ (left, top)
    x1, y1 = grid.affine @ (right, bottom)
    return min(x0, x1), min(y0, y1), max(x0, x1), max(y0, y1)
