"""The temporal network: a small ensemble of convolutional networks run side by side as one.

Each member is a TempCNN (Pelletier, Webb & Petitjean 2019, doi 10.3390/rs11050523) with residual blocks and a
direct path from the series to the hidden layer. The members are held in grouped convolutions, so that an
ensemble costs one pass over the data; averaging their probabilities is a deep ensemble (Lakshminarayanan et
al. 2017, arXiv 1612.01474). Scaling, gap filling and the class prior live in the weights: the network takes
series as the cube holds them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from models.errors import SeriesError

#: A network may not have more parameters than this (DESIGN 2.7): it has to run on a county's office machine.
MAX_PARAMETERS: Final = 300_000

#: Values beyond the 1st and 99th percentile by more than this share of the range between them are cut off:
#: indices such as EVI run to unphysical values over haze and water, and one of them would own the scaling.
CLIP_MARGIN: Final = 0.25


@dataclass(frozen=True)
class NetworkShape:
    """Sizes of the network; with the weights it is all that is needed to build it again.

    Attributes
    ----------
    steps, channels, classes : int
        t and c of the series, and the number of classes.
    members : int
        Networks in the ensemble.
    width, kernel, depth : int
        Filters, filter length in dates, and number of convolutions of each member.
    bins : int
        Parts of the season over which features are averaged: coarse enough to forgive a shifted season, fine
        enough to tell a first crop from a second.
    hidden : int
        Units of the hidden layer of each member.
    dropout : float
        Share of features dropped while training.
    """

    steps: int
    channels: int
    classes: int
    members: int = 4
    width: int = 24
    kernel: int = 5
    depth: int = 3
    bins: int = 6
    hidden: int = 64
    dropout: float = 0.3

    @classmethod
    def fitting(cls, *, steps: int, channels: int, classes: int) -> NetworkShape:
        """The default shape, narrowed until it has no more than `MAX_PARAMETERS` parameters.

        Raises
        ------
        SeriesError
            Series so long that not even the narrowest network is small enough.
        """
        default = cls(steps=steps, channels=channels, classes=classes)
        for hidden, width in ((64, 24), (48, 24), (32, 24), (24, 16), (16, 16), (8, 8)):
            shape = replace(default, hidden=hidden, width=width)
            if shape.parameters <= MAX_PARAMETERS:
                return shape
        raise SeriesError(
            f"Series of {steps} dates × {channels} channels and {classes} classes need a network of more than "
            f"{MAX_PARAMETERS:,} parameters. Composite the series to dekads or use fewer channels."
        )

    @property
    def features(self) -> int:
        """Input features a date: scaled values, anomalies, differences, and the observed share."""
        return 3 * self.channels + 1

    @property
    def parameters(self) -> int:
        """Number of trainable parameters."""
        convolutions = self.features * self.width * self.kernel + 2 * self.width
        convolutions += (self.depth - 1) * (self.width**2 * self.kernel + 2 * self.width)
        hidden = (self.width * min(self.bins, self.steps) + self.steps * self.channels + 2) * self.hidden
        return self.members * (convolutions + hidden + (self.hidden + 1) * self.classes)


@dataclass(frozen=True)
class Scaling:
    """Statistics of the training series, per channel and per date and channel.

    Attributes
    ----------
    low, high, mean, std : (c,) float32
        Limits to which values are cut, then mean and standard deviation of what is left.
    date_mean, date_std : (t, c) float32
        Mean and standard deviation of each date over the (gap-filled) training series.
    """

    low: NDArray[np.float32]
    high: NDArray[np.float32]
    mean: NDArray[np.float32]
    std: NDArray[np.float32]
    date_mean: NDArray[np.float32]
    date_std: NDArray[np.float32]

    @classmethod
    def of(cls, X: NDArray[np.float32]) -> Scaling:
        """Measure the scaling of training series (n, t, c); a channel that was never observed gets 0 and 1."""
        flat = X.reshape(-1, X.shape[2]).astype(np.float64)
        seen = np.isfinite(flat).any(axis=0)
        flat = np.where(seen, flat, 0.0)
        first, last = np.nanpercentile(flat, [1, 99], axis=0)
        margin = CLIP_MARGIN * (last - first)
        low, high = (first - margin).astype(np.float32), (last + margin).astype(np.float32)
        clipped = np.clip(flat, low, high)
        mean, std = np.nanmean(clipped, axis=0).astype(np.float32), _usable(np.nanstd(clipped, axis=0))
        cut = torch.from_numpy(np.clip(X, low, high))
        filled = fill_gaps(cut, torch.isfinite(cut), torch.from_numpy(mean)).double().numpy()
        return cls(
            low=low,
            high=high,
            mean=mean,
            std=std,
            date_mean=filled.mean(axis=0).astype(np.float32),
            # A date on which all series agree must not blow a small deviation up to a large feature.
            date_std=np.maximum(_usable(filled.std(axis=0)), 0.1 * std),
        )


class TemporalEnsemble(nn.Module):
    """Series in, class logits of each member out.

    Parameters
    ----------
    shape : NetworkShape
        Sizes.
    scaling : Scaling, optional
        Statistics of the training series; None when weights are loaded afterwards.
    """

    def __init__(self, shape: NetworkShape, scaling: Scaling | None = None) -> None:
        super().__init__()
        self.shape = shape
        t, c, k, m = shape.steps, shape.channels, shape.classes, shape.members
        sizes = {
            "low": (c,),
            "high": (c,),
            "mean": (c,),
            "std": (c,),
            "date_mean": (t, c),
            "date_std": (t, c),
        }
        for name, size in sizes.items():
            value = torch.zeros(size) if scaling is None else torch.from_numpy(getattr(scaling, name).copy())
            self.register_buffer(name, value)
        self.register_buffer("prior", torch.full((k,), 1.0 / k))
        self.register_buffer("temperature", torch.ones(()))
        self.convolutions, self.norms = nn.ModuleList(), nn.ModuleList()
        features = shape.features
        for _ in range(shape.depth):
            self.convolutions.append(
                nn.Conv1d(m * features, m * shape.width, shape.kernel, padding="same", groups=m, bias=False)
            )
            self.norms.append(nn.BatchNorm1d(m * shape.width))
            features = shape.width
        bins = min(shape.bins, t)
        self.pool = nn.AdaptiveAvgPool1d(bins)
        self.hidden = nn.Conv1d(m * shape.width * bins, m * shape.hidden, 1, groups=m, bias=False)
        self.direct = nn.Conv1d(m * t * c, m * shape.hidden, 1, groups=m, bias=False)
        self.hidden_norm = nn.BatchNorm1d(m * shape.hidden)
        self.head = nn.Conv1d(m * shape.hidden, m * k, 1, groups=m)

    def prepare(self, X: Tensor) -> tuple[Tensor, Tensor]:
        """Cut, fill and scale series.

        Parameters
        ----------
        X : (n, t, c)
            Series, NaN (or infinite) where nothing was observed.

        Returns
        -------
        filled : (n, t, c)
            Scaled values, gaps filled in time.
        observed : (n, t)
            Share of channels observed on each date, 0 to 1.
        """
        observed = torch.isfinite(X)
        values = torch.minimum(torch.maximum(X, self.low), self.high)
        values = fill_gaps(values, observed, self.mean)
        return (values - self.mean) / self.std, observed.to(X.dtype).mean(dim=2)

    def members_logits(self, filled: Tensor, observed: Tensor) -> Tensor:
        """Logits (n, members, classes) of prepared series (n, members or 1, t, c) and (n, members or 1, t)."""
        n, m, (t, c) = len(filled), self.shape.members, filled.shape[2:]
        anomaly = (filled * self.std + self.mean - self.date_mean) / self.date_std
        slope = 2.0 * torch.diff(filled, dim=2, prepend=filled[:, :, :1])
        features = torch.cat([filled, anomaly, slope, observed[..., None]], dim=3).transpose(2, 3)
        h = features.expand(n, m, -1, t).reshape(n, -1, t)
        for i, (convolution, norm) in enumerate(zip(self.convolutions, self.norms, strict=True)):
            out = F.relu(norm(convolution(h)))
            out = F.dropout(out, self.shape.dropout if i else self.shape.dropout / 2, self.training)
            h = out + h if i else out
        direct = anomaly.reshape(n, -1, t * c).expand(n, m, t * c).reshape(n, -1, 1)
        hidden = self.hidden(self.pool(h).reshape(n, m, -1).reshape(n, -1, 1))
        hidden = hidden + self.direct(F.dropout(direct, self.shape.dropout, self.training))
        hidden = F.dropout(F.relu(self.hidden_norm(hidden)), self.shape.dropout, self.training)
        logits: Tensor = self.head(hidden).reshape(n, m, self.shape.classes)
        return logits

    def log_mean_probabilities(self, X: Tensor) -> Tensor:
        """Log of the members' mean probability (n, classes), before calibration."""
        filled, observed = self.prepare(X)
        logits = self.members_logits(filled[:, None], observed[:, None])
        return torch.logsumexp(F.log_softmax(logits, dim=2), dim=1) - math.log(self.shape.members)

    def forward(self, X: Tensor) -> Tensor:
        """Calibrated probabilities (n, classes) of raw series (n, t, c); the prior for an empty series."""
        probabilities = torch.softmax(self.log_mean_probabilities(X) / self.temperature, dim=1)
        empty = ~torch.isfinite(X).any(dim=2).any(dim=1, keepdim=True)
        return torch.where(empty, self.prior, probabilities)


def fill_gaps(values: Tensor, observed: Tensor, otherwise: Tensor) -> Tensor:
    """Fill gaps by straight lines between the neighbours in time; ends are held level.

    Parameters
    ----------
    values : (n, t, c)
        Series.
    observed : (n, t, c) or (n, t, 1) bool
        Where values count.
    otherwise : (c,)
        Value of a channel that was never observed.

    Examples
    --------
    >>> x = torch.tensor([[[float("nan")], [1.0], [float("nan")], [3.0]]])
    >>> fill_gaps(x, torch.isfinite(x), torch.zeros(1)).flatten().tolist()
    [1.0, 1.0, 2.0, 3.0]
    """
    if bool(observed.all()):
        return values
    t = values.shape[1]
    number = torch.arange(t, device=values.device).view(1, t, 1)
    before = torch.cummax(torch.where(observed, number, -1), dim=1).values
    after = torch.where(observed, number, t).flip(1).cummin(dim=1).values.flip(1)
    left = torch.where(before < 0, after, before).clamp(max=t - 1)
    right = torch.where(after >= t, before, after).clamp(min=0)
    weight = (number - left) / (right - left).clamp(min=1)
    left_value = values.gather(1, left.expand_as(values))
    right_value = values.gather(1, right.expand_as(values))
    line = torch.lerp(left_value, right_value, weight.to(values.dtype).expand_as(values))
    never = ((before < 0) & (after >= t)).expand_as(values)
    return torch.where(never, otherwise, line)


def _usable(std: NDArray[np.float64]) -> NDArray[np.float32]:
    """Standard deviations that can be divided by: a constant channel gets 1."""
    return np.where(std > 1e-6, std, 1.0).astype(np.float32)
