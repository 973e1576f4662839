"""Training of the temporal ensemble: batches, augmentation, optimiser. Fixed seeds give the same weights.

All members are trained in one pass over batches of their own samples; what a member holds out (for
calibration) it never sees.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - as everywhere in the field

from models.layers import NetworkShape, Scaling, TemporalEnsemble, fill_gaps

#: Called with the step done and the number of steps.
Progress = Callable[[int, int], None]

#: With fewer samples than two batches the batch is halved, so that batch statistics still vary.
_SMALLEST_BATCH: Final = 8


@dataclass(frozen=True)
class TrainingSettings:
    """How the network is trained. One setting serves every data set; none was tuned on a test fold.

    Attributes
    ----------
    epochs, min_steps : int
        Passes over the samples, and the least number of optimiser steps whatever the number of samples.
    batch_size : int
        Samples a step and member.
    learning_rate, weight_decay : float
        Peak of the one-cycle schedule (Smith & Topin 2018, arXiv 1708.07120) and AdamW's decay.
    mixup : float
        Parameter of the beta distribution of mixup (Zhang et al. 2018, arXiv 1710.09412); 0, the default, for
        none: it gained nothing on our samples and made confidence worse before calibration.
    noise : float
        Largest noise on a value, in standard deviations of its channel; half as much on a whole channel.
    shift : int
        Largest shift of a series in dates, for models that are to serve seasons that start earlier or later;
        none by default, since it blurs dates that tell crops of one season apart.
    gaps : float
        Mean share of dates removed from a series: clouds of another year fall on other dates.
    balance : float
        Exponent of inverse class frequency in the loss: 0 none, 1 full.
    """

    epochs: int = 30
    min_steps: int = 300
    batch_size: int = 128
    learning_rate: float = 6e-3
    weight_decay: float = 2e-2
    mixup: float = 0.0
    noise: float = 0.1
    shift: int = 0
    gaps: float = 0.1
    balance: float = 0.25

    def as_dict(self) -> dict[str, Any]:
        """Plain values for the card."""
        return asdict(self)


def train_ensemble(
    X: NDArray[np.float32],
    codes: NDArray[np.int64],
    *,
    shape: NetworkShape,
    settings: TrainingSettings,
    seed: int,
    held_out: NDArray[np.bool_] | None = None,
    device: torch.device | None = None,
    progress: Progress | None = None,
) -> TemporalEnsemble:
    """Train an ensemble.

    Parameters
    ----------
    X : (n, t, c) float32
        Series, NaN where nothing was observed.
    codes : (n,) int64
        Class of each sample, 0 … classes-1.
    shape, settings
        Sizes of the network and how it is trained.
    seed : int
        The same seed, data, thread count and machine give the same weights on the CPU.
    held_out : (n, members) bool, optional
        Samples each member may not see.
    device : torch.device, optional
        Where to train; the CPU by default.
    progress : callable, optional
        Called with (step, steps).

    Returns
    -------
    TemporalEnsemble
        In evaluation mode, on the CPU, temperature 1, with the training samples' class shares as prior.
    """
    device = device or torch.device("cpu")
    with _own_random_state(seed, device):
        network = TemporalEnsemble(shape, Scaling.of(X)).to(device)
        counts = np.bincount(codes, minlength=shape.classes).astype(np.float32)
        network.prior.copy_(torch.from_numpy(counts / counts.sum()))
        weights = torch.from_numpy((counts.mean() / np.maximum(counts, 1.0)) ** settings.balance).to(device)
        with torch.no_grad():
            filled, observed = network.prepare(torch.from_numpy(X).to(device))
        y = F.one_hot(torch.from_numpy(codes), shape.classes).to(device, torch.float32)
        pools = _pools(len(X), shape.members, held_out)
        batch = _batch_size(max(len(pool) for pool in pools), settings.batch_size)
        per_epoch = max(1, max(len(pool) for pool in pools) // batch)
        steps = max(settings.epochs * per_epoch, settings.min_steps)
        optimiser = torch.optim.AdamW(
            network.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay
        )
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimiser, settings.learning_rate, total_steps=steps, pct_start=0.2
        )
        rng = np.random.default_rng(seed)
        network.train()
        for step, rows in enumerate(_batches(pools, batch=batch, steps=steps, rng=rng)):
            chosen = torch.from_numpy(rows).to(device)
            series, seen, target = augment(
                filled[chosen], observed[chosen], y[chosen], settings=settings, rng=rng
            )
            log_p = F.log_softmax(network.members_logits(series, seen), dim=2)
            # Summed over members, so that each has the gradient it would have on its own.
            loss = -(target * weights * log_p).sum(dim=2).mean(dim=0).sum()
            optimiser.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            schedule.step()
            if progress is not None:
                progress(step + 1, steps)
    return network.cpu().eval()


def augment(
    series: Tensor, observed: Tensor, target: Tensor, *, settings: TrainingSettings, rng: np.random.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """Vary scaled series (n, m, t, c) as seasons and sensors vary them; shares and targets go along.

    A shift in time, noise on values and on whole channels, mixup with another sample of the batch, and gaps
    filled as in use.
    """
    n, m, t, c = series.shape
    device = series.device

    def draw(values: NDArray[Any]) -> Tensor:
        return torch.from_numpy(values).to(device)

    if settings.shift:
        shift = draw(rng.integers(-settings.shift, settings.shift + 1, (n, m, 1)))
        index = (torch.arange(t, device=device) + shift).clamp(0, t - 1)
        series = series.gather(2, index[..., None].expand(n, m, t, c))
        observed = observed.gather(2, index)
    if settings.noise:
        level = settings.noise * rng.random((n, m, 1, 1), dtype=np.float32)
        jitter = level * rng.standard_normal((n, m, t, c), dtype=np.float32)
        jitter += 0.5 * settings.noise * rng.standard_normal((n, m, 1, c), dtype=np.float32)
        series = series + draw(jitter)
    if settings.mixup and n > 1:
        share = rng.beta(settings.mixup, settings.mixup, (n, m)).astype(np.float32)
        kept = draw(np.maximum(share, 1.0 - share))
        series = torch.lerp(series.roll(1, 0), series, kept[..., None, None])
        target = torch.lerp(target.roll(1, 0), target, kept[..., None])
        observed = torch.lerp(observed.roll(1, 0), observed, kept[..., None])
    if settings.gaps and t > 2:
        rate = 2.0 * settings.gaps * rng.random((n, m, 1), dtype=np.float32)
        lost = rng.random((n, m, t), dtype=np.float32) < rate
        lost[lost.all(axis=2)] = False
        seen = draw(~lost)
        flat = fill_gaps(series.reshape(n * m, t, c), seen.reshape(n * m, t, 1), series.new_zeros(c))
        series = flat.reshape(n, m, t, c)
        observed = observed * seen
    return series, observed, target


def _pools(n: int, members: int, held_out: NDArray[np.bool_] | None) -> list[NDArray[np.int64]]:
    """The rows each member may learn from."""
    if held_out is None:
        return [np.arange(n)] * members
    return [np.flatnonzero(~held_out[:, member]) for member in range(members)]


def _batch_size(n: int, largest: int) -> int:
    """The batch for `n` samples: halved until there are two batches in them."""
    batch = largest
    while batch > _SMALLEST_BATCH and 2 * batch > n:
        batch //= 2
    return min(batch, n)


def _batches(
    pools: list[NDArray[np.int64]], *, batch: int, steps: int, rng: np.random.Generator
) -> Iterator[NDArray[np.int64]]:
    """Rows (batch, members) of each step; each member goes through its pool in an order of its own."""
    longest = max(len(pool) for pool in pools)
    per_epoch = max(1, longest // batch)
    for epoch in range(math.ceil(steps / per_epoch)):
        order = np.stack([np.resize(rng.permutation(pool), max(longest, batch)) for pool in pools], axis=1)
        for i in range(min(per_epoch, steps - epoch * per_epoch)):
            yield order[i * batch : (i + 1) * batch]


@contextmanager
def _own_random_state(seed: int, device: torch.device) -> Iterator[None]:
    """Torch's global generator seeded inside, and outside as it was."""
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed)
        yield
