"""Whether a scene, or a step of the cube, is kept: from the share of its clear pixels that were outliers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class SceneVerdict:
    """What was found of one scene over the area looked at.

    `clear_share` is the share of the area that the scene's own mask calls clear, `outlier_share` the share of
    those clear pixels that the test rejects. `reason` is empty for a scene that is kept.
    """

    date: date
    clear_share: float
    outlier_share: float
    rejected: bool
    reason: str


def scene_verdicts(
    outliers: NDArray[np.bool_],
    clear: NDArray[np.bool_],
    dates: Sequence[date],
    *,
    area: NDArray[np.bool_] | None = None,
    max_outlier_share: float = 0.5,
    min_clear_share: float = 0.0,
    tested: bool = True,
) -> tuple[SceneVerdict, ...]:
    """Whether each scene is kept over `area`.

    Parameters
    ----------
    outliers : bool [t, y, x]
        From `shadow_outliers`.
    clear : bool [t, y, x]
        Clear by the scene's own mask, before `outliers` is taken off.
    area : bool [y, x], optional
        Pixels that count (a field, a tile's part of the region); the whole image by default.
    max_outlier_share
        A scene with a larger share of its clear pixels rejected is dropped whole: what is left of it is
        penumbra.
    min_clear_share
        A scene with a smaller clear share is dropped.
    tested
        False where `can_test` refused the bands; said in `reason`, so that nobody takes silence for a pass.
    """
    inside = np.ones(clear.shape[1:], dtype=np.bool_) if area is None else area
    total = int(inside.sum())
    verdicts = []
    for day, bad, good in zip(dates, outliers, clear, strict=True):
        n_clear = int((good & inside).sum())
        n_bad = int((bad & good & inside).sum())
        verdicts.append(
            verdict_of_counts(
                day,
                total=total,
                clear=n_clear,
                outliers=n_bad,
                max_outlier_share=max_outlier_share,
                min_clear_share=min_clear_share,
                tested=tested,
            )
        )
    return tuple(verdicts)


def verdict_of_counts(
    day: date,
    *,
    total: int,
    clear: int,
    outliers: int,
    max_outlier_share: float = 0.5,
    min_clear_share: float = 0.0,
    tested: bool = True,
) -> SceneVerdict:
    """The verdict from pixel counts, which may have been summed over blocks.

    >>> verdict_of_counts(date(2018, 7, 26), total=100, clear=90, outliers=81).reason
    'shadow or cloud missed by the mask in 90 % of the clear pixels'
    """
    clear_share = clear / total if total else 0.0
    outlier_share = outliers / clear if clear else 0.0
    reason = "" if tested else "not tested: no visible and near infrared reflectance among the bands"
    rejected = False
    if clear == 0:
        rejected, reason = True, "no clear pixel"
    elif clear_share < min_clear_share:
        rejected, reason = True, f"clear in {clear_share:.0%} of the area only".replace("%", " %")
    elif outlier_share > max_outlier_share:
        rejected = True
        reason = f"shadow or cloud missed by the mask in {outlier_share:.0%} of the clear pixels".replace(
            "%", " %"
        )
    return SceneVerdict(day, clear_share, outlier_share, rejected, reason)
