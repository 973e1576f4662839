"""An ensemble of small networks on departures of yield, trained for many folds side by side in PyTorch.

A table of yields is small and a network of it smaller still, so time goes into starting operations and not
into sums: all members of all folds take each step together, as one batched product.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float64]

MEMBERS: Final = 5
_HIDDEN: Final = 12
_STEPS: Final = 240
_BATCH: Final = 512
#: Rows a member draws at most; more change little where years are few.
_MOST_ROWS: Final = 8192
_RATE: Final = 1e-2
_DECAY: Final = 3e-2
_DROPOUT: Final = 0.2

#: Leading components the networks see, and rows needed for each.
_COMPONENTS: Final = 12
_ROWS_A_COMPONENT: Final = 6


@dataclass(frozen=True)
class Network:
    """A trained ensemble: components of the inputs, then `MEMBERS` networks of one hidden layer.

    Attributes
    ----------
    components : (p, k) float
        Directions of most variance, each scaled to variance 1.
    w1, b1, w2, b2 : float32
        (m, k, h), (m, 1, h), (m, h, 1), (m, 1, 1).
    scale : float
        Standard deviation of the departures of yield.
    """

    components: Float
    w1: NDArray[np.float32]
    b1: NDArray[np.float32]
    w2: NDArray[np.float32]
    b2: NDArray[np.float32]
    scale: float

    def predict(self, Z: Float) -> Float:
        """Mean of the members' departures (n,)."""
        x = (Z @ self.components).astype(np.float32)
        hidden = np.maximum(x[None] @ self.w1 + self.b1, 0.0)
        out = (hidden @ self.w2 + self.b2)[..., 0].mean(axis=0)
        return np.asarray(out, np.float64) * self.scale


def fit_networks(folds: list[tuple[Float, Float]], *, seed: int) -> list[Network]:
    """Train an ensemble for every fold.

    Parameters
    ----------
    folds : list of ((n, p), (n,))
        Scaled departures of the features and departures of yield; n may differ.
    seed : int
        Same folds and seed, same networks.

    Each member sees a bootstrap of the rows (Breiman 1996) and starts from weights of its own
    (Lakshminarayanan et al. 2017, arXiv 1612.01474).
    """
    import torch  # who only predicts does without

    rng = np.random.default_rng(seed)
    parts = [_components(Z) for Z, _ in folds]
    k = max(part.shape[1] for part in parts)
    parts = [np.pad(part, ((0, 0), (0, k - part.shape[1]))) for part in parts]
    scales = [max(float(r.std()), 1e-12) for _, r in folds]
    rows = min(max(len(r) for _, r in folds), _MOST_ROWS)
    inputs = torch.empty(len(folds), MEMBERS, rows, k)
    target = torch.empty(len(folds), MEMBERS, rows)
    for i, ((Z, r), part, scale) in enumerate(zip(folds, parts, scales, strict=True)):
        drawn = rng.integers(0, len(r), (MEMBERS, rows))
        inputs[i] = torch.from_numpy((Z @ part).astype(np.float32)[drawn])
        target[i] = torch.from_numpy((r / scale).astype(np.float32)[drawn])
    inputs, target = inputs.flatten(0, 1), target.flatten(0, 1)
    count = len(folds) * MEMBERS
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        # folds start alike, so that they differ by what they saw
        start = torch.randn(MEMBERS, k, _HIDDEN) * (2.0 / k) ** 0.5
        w1 = start.repeat(len(folds), 1, 1).requires_grad_()
        b1 = torch.zeros(count, 1, _HIDDEN, requires_grad=True)
        w2 = torch.zeros(count, _HIDDEN, 1, requires_grad=True)
        b2 = torch.zeros(count, 1, 1, requires_grad=True)
        optimiser = torch.optim.AdamW(
            [{"params": [w1, w2], "weight_decay": _DECAY}, {"params": [b1, b2], "weight_decay": 0.0}],
            lr=_RATE,
        )
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, _RATE, total_steps=_STEPS)
        parts_of_rows = max(1, rows // _BATCH)
        batches = list(zip(inputs.chunk(parts_of_rows, 1), target.chunk(parts_of_rows, 1), strict=True))
        for step in range(_STEPS):
            x, y = batches[step % len(batches)]
            hidden = torch.relu(torch.bmm(x, w1) + b1)
            hidden = torch.nn.functional.dropout(hidden, _DROPOUT)
            out = (torch.bmm(hidden, w2) + b2)[..., 0]
            loss = ((out - y) ** 2).mean(dim=1).sum()
            optimiser.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            schedule.step()
    trained = [
        value.detach().numpy().reshape(len(folds), MEMBERS, *value.shape[1:]) for value in (w1, b1, w2, b2)
    ]
    return [
        Network(part, *(value[i].copy() for value in trained), scale=scale)  # type: ignore[misc]
        for i, (part, scale) in enumerate(zip(parts, scales, strict=True))
    ]


def _components(Z: Float) -> Float:
    """Directions (p, k) of most variance, scaled to variance 1; no more than the rows can bear."""
    n, p = Z.shape
    k = max(1, min(p, _COMPONENTS, n // _ROWS_A_COMPONENT))
    values, vectors = np.linalg.eigh(Z.T @ Z / n)
    order = np.argsort(values)[::-1][:k]
    # The sign of a direction is arbitrary: its largest part is made positive, so that folds agree.
    lead = vectors[np.abs(vectors[:, order]).argmax(axis=0), order]
    return np.asarray(vectors[:, order] * np.sign(lead) / np.sqrt(np.maximum(values[order], 1e-6)))
