"""What a season's indices and weather say of a yield's departure from its baseline.

Inputs are departures as well: each feature without its unit's own line through the years
(Frisch-Waugh-Lovell: a greening trend beside a yield trend is no forecast), scaled. All units are pooled. Two
models: ridge regression, and an ensemble of small networks in PyTorch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from models.yield_trend import Curves, unit_trend

Float = NDArray[np.float64]
Int = NDArray[np.int64]

#: Penalties of ridge, as shares of the features' total variance; the inner validation takes one.
RIDGE: Final = (0.01, 0.03, 0.1, 0.3, 1.0)

#: A departure is cut off here (standard deviations): a season outside all that was seen is not extrapolated.
_LIMIT: Final = 4.0


@dataclass(frozen=True)
class Scaler:
    """Turns features into scaled departures. `curves` are the features' own lines, `scale` (p,) the scatter
    about them; a feature without scatter is 0 throughout.
    """

    curves: Curves
    scale: Float

    @classmethod
    def of(cls, unit: Int, year: Float, X: Float, *, units: int) -> Scaler:
        """Learn from rows (n, p) with NaN where nothing was observed; no unit is -1 here."""
        curves = unit_trend(unit, year, X, units=units)
        rest = X - curves.at(unit, year)
        seen = np.isfinite(rest)
        count = np.maximum(seen.sum(axis=0), 1)
        variance = np.where(seen, rest**2, 0.0).sum(axis=0) / count
        size = np.abs(np.where(np.isfinite(X), X, 0.0)).max(axis=0)
        scale = np.where(variance > (1e-9 * size) ** 2, np.sqrt(variance), np.inf)
        return cls(curves, scale)

    def __call__(self, unit: Int, year: Float, X: Float) -> Float:
        """Departures (n, p); 0, as usual, where nothing was observed."""
        z = (X - self.curves.at(unit, year)) / self.scale
        return np.clip(np.nan_to_num(z, nan=0.0), -_LIMIT, _LIMIT)


def fit_ridge(Z: Float, r: Float, penalties: Sequence[float] = RIDGE) -> Float:
    """Coefficients (len(penalties), p) of ridge regression without intercept (departures have none).

    Solved in the smaller of the two spaces, rows or features.
    """
    n, p = Z.shape
    total = max(float((Z * Z).sum()), 1e-12)
    if n >= p:
        values, vectors = np.linalg.eigh(Z.T @ Z)
        right = vectors.T @ (Z.T @ r)
        return np.stack([vectors @ (right / (np.maximum(values, 0) + a * total)) for a in penalties])
    values, vectors = np.linalg.eigh(Z @ Z.T)
    right = vectors.T @ r
    return np.stack([Z.T @ (vectors @ (right / (np.maximum(values, 0) + a * total))) for a in penalties])
