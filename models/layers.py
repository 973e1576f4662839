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
from torch.nn import functional as F  # noqa: N812 - as everywhere in the field

from models.errors import SeriesError
from models.novelty import LEVELS, Familiar, distances, share_nearer

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
    width: int = 32
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
        for hidden, width in ((64, 32), (48, 32), (32, 32), (24, 16), (16, 16), (8, 8)):
            shape = replace(default, hidden=hidden, width=width)
            if shape.parameters <= MAX_PARAMETERS:
                return shape
        raise SeriesError(
            f"Series of {steps} dates × {channels} channels and {classes} classes need a network of more "
            "than "
            f"{MAX_PARAMETERS:,} parameters. Composite the series to dekads or use fewer channels."
        )

    @property
    def features(self) -> int:
        """Input features a date: the channels' anomalies and the observed share."""
        return self.channels + 1

    @property
    def stride(self) -> int:
        """Dates averaged into one after the first convolution: long series are halved."""
        return 2 if self.steps >= 16 else 1

    @property
    def pooled_steps(self) -> int:
        """Dates left after that."""
        return math.ceil(self.steps / self.stride)

    @property
    def parts(self) -> int:
        """Parts of the season in this network."""
        return min(self.bins, self.pooled_steps)

    @property
    def parameters(self) -> int:
        """Number of trainable parameters."""
        convolutions = self.features * self.width * self.kernel + 2 * self.width
        convolutions += (self.depth - 1) * (self.width**2 * self.kernel + 2 * self.width)
        hidden = (self.width * self.parts + self.steps * self.channels + 2) * self.hidden
        return self.members * (convolutions + hidden + (self.hidden + 1) * self.classes)


@dataclass(frozen=True)
class Scaling:
    """Statistics of the training series, per channel and per date and channel.

    Attributes
    ----------
    low, high, mean : (c,) float32
        Limits to which values are cut, and the mean of what is left.
    date_mean, date_std : (t, c) float32
        Mean and standard deviation of each date over the (gap-filled) training series.
    """

    low: NDArray[np.float32]
    high: NDArray[np.float32]
    mean: NDArray[np.float32]
    date_mean: NDArray[np.float32]
    date_std: NDArray[np.float32]

    @classmethod
    def of(cls, X: NDArray[np.float32]) -> Scaling:
        """Measure the scaling of training series (n, t, c); a channel that was never observed gets 0 and "
        "1."""
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
            date_mean=filled.mean(axis=0).astype(np.float32),
            # A date on which all series agree must not blow a small deviation up to a large feature.
            date_std=np.maximum(_usable(filled.std(axis=0)), 0.1 * std),
        )


class MemberLinear(nn.Module):
    """One linear layer a member: (n, members or 1, inputs) to (n, members, outputs)."""

    def __init__(self, members: int, inputs: int, outputs: int) -> None:
        super().__init__()
        bound = 1.0 / math.sqrt(inputs)
        self.weight = nn.Parameter(torch.empty(members, inputs, outputs).uniform_(-bound, bound))

    def forward(self, x: Tensor) -> Tensor:
        """Multiply; an input that all members share is multiplied in one go."""
        members, inputs, outputs = self.weight.shape
        if x.shape[1] == 1:
            together = self.weight.transpose(0, 1).reshape(inputs, members * outputs)
            return (x[:, 0] @ together).reshape(len(x), members, outputs)
        return torch.bmm(x.transpose(0, 1), self.weight).transpose(0, 1)


class MemberConvolution(nn.Module):
    """Convolution in time, batch normalisation and ReLU of each member.

    Series are images of height 1 with the channels last in memory, which is how grouped convolutions run
    fastest on a CPU (2× here). In use the normalisation is folded into the weights.
    """

    def __init__(self, members: int, inputs: int, outputs: int, kernel: int) -> None:
        super().__init__()
        self.members, self.inputs = members, inputs
        self.convolution = nn.Conv2d(
            members * inputs, members * outputs, (1, kernel), padding="same", groups=members, bias=False
        )
        self.norm = nn.BatchNorm2d(members * outputs)

    def forward(self, x: Tensor) -> Tensor:
        """(n, members·inputs or inputs, 1, t) to (n, members·outputs, 1, t); inputs alone are shared."""
        groups = 1 if x.shape[1] == self.inputs else self.members
        weight, norm = self.convolution.weight, self.norm
        if self.training:
            return F.relu(norm(F.conv2d(x, weight, padding="same", groups=groups)), inplace=True)
        assert norm.running_mean is not None
        assert norm.running_var is not None
        gain = norm.weight * torch.rsqrt(norm.running_var + norm.eps)
        folded = (weight * gain[:, None, None, None]).contiguous(memory_format=torch.channels_last)
        bias = norm.bias - norm.running_mean * gain
        return F.relu(F.conv2d(x, folded, bias, padding="same", groups=groups), inplace=True)


class TemporalEnsemble(nn.Module):
    """Series in, class logits of each member out.

    Parameters
    ----------
    shape : NetworkShape
        Sizes.
    scaling : Scaling, optional
        Statistics of the training series; None when weights are loaded afterwards.
    """

    low: Tensor
    high: Tensor
    mean: Tensor
    date_mean: Tensor
    date_std: Tensor
    prior: Tensor
    temperature: Tensor
    novelty_whiten: Tensor
    novelty_centres: Tensor
    novelty_levels: Tensor
    parts: Tensor

    def __init__(self, shape: NetworkShape, scaling: Scaling | None = None) -> None:
        super().__init__()
        self.shape = shape
        t, c, k, m = shape.steps, shape.channels, shape.classes, shape.members
        for name, size in {
            "low": (c,),
            "high": (c,),
            "mean": (c,),
            "date_mean": (t, c),
            "date_std": (t, c),
        }.items():
            value = torch.zeros(size) if scaling is None else torch.from_numpy(getattr(scaling, name).copy())
            self.register_buffer(name, value)
        self.register_buffer("prior", torch.full((k,), 1.0 / k))
        self.register_buffer("temperature", torch.ones(()))
        self.register_buffer("novelty_whiten", torch.zeros(m, shape.hidden, shape.hidden))
        self.register_buffer("novelty_centres", torch.zeros(m, k, shape.hidden))
        self.register_buffer("novelty_levels", torch.zeros(LEVELS))
        self.blocks = nn.ModuleList(
            MemberConvolution(m, shape.width if i else shape.features, shape.width, shape.kernel)
            for i in range(shape.depth)
        )
        self.hidden = MemberLinear(m, shape.width * shape.parts, shape.hidden)
        self.direct = MemberLinear(m, t * c, shape.hidden)
        self.hidden_norm = nn.BatchNorm1d(m * shape.hidden)
        self.head = MemberLinear(m, shape.hidden, k)
        self.head_bias = nn.Parameter(torch.zeros(m, k))
        self.register_buffer("parts", _averaging(shape.pooled_steps, shape.parts), persistent=False)

    def prepare(self, X: Tensor) -> tuple[Tensor, Tensor]:
        """Cut, fill and scale series.

        Parameters
        ----------
        X : (n, t, c)
            Series, NaN (or infinite) where nothing was observed.

        Returns
        -------
        anomaly : (n, t, c)
            Difference from the training samples' mean of that date, in their standard deviations; gaps
            filled in time.
        observed : (n, t)
            Share of channels observed on each date, 0 to 1.
        """
        observed = torch.isfinite(X)
        share = observed.to(X.dtype).mean(dim=2)
        values = torch.minimum(torch.maximum(X, self.low), self.high)
        if bool(((share == 0) | (share == 1)).all()):
            # A cloud hides all channels: their gaps are one, and are looked up once.
            observed = observed[:, :, :1]
        values = fill_gaps(values, observed, self.mean)
        return (values - self.date_mean) / self.date_std, share

    def members_hidden(self, anomaly: Tensor, observed: Tensor) -> Tensor:
        """Hidden units (n, members, hidden) of prepared series (n, members or 1, t, c) and (n, members or 1,
        t).
        """
        n, own, t, c = anomaly.shape
        m, shape, drop = self.shape.members, self.shape, self.shape.dropout
        features = torch.cat([anomaly, observed[..., None]], dim=3).transpose(1, 2).reshape(n, 1, t, -1)
        h = features.permute(0, 3, 1, 2)
        for i, block in enumerate(self.blocks):
            # Whole filters are dropped: neighbouring dates say nearly the same.
            out = F.dropout2d(block(h), drop if i else drop / 2, self.training)
            h = h + out if i else out
            if i == 0 and shape.stride > 1:
                h = F.avg_pool2d(h, (1, shape.stride), ceil_mode=True, count_include_pad=False)
        pooled = (h[:, :, 0] @ self.parts).reshape(n, m, -1)
        direct = anomaly
        if self.training:
            kept = torch.rand(n, own, t, 1, device=anomaly.device) >= drop
            direct = anomaly * kept / (1.0 - drop)
        hidden = self.hidden(pooled) + self.direct(direct.reshape(n, own, t * c))
        return F.relu(self.hidden_norm(hidden.reshape(n, -1))).reshape(n, m, -1)

    def members_logits(self, anomaly: Tensor, observed: Tensor) -> Tensor:
        """Logits (n, members, classes) of prepared series."""
        return self._logits(self.members_hidden(anomaly, observed))

    def _logits(self, hidden: Tensor) -> Tensor:
        logits: Tensor = self.head(F.dropout(hidden, self.shape.dropout, self.training)) + self.head_bias
        return logits

    def forward(self, X: Tensor) -> Tensor:
        """Calibrated probabilities (n, classes) of raw series (n, t, c); the prior for an empty series."""
        return self._probabilities(X, self._hidden(X))

    def assess(self, X: Tensor) -> tuple[Tensor, Tensor]:
        """Probabilities (n, classes) as `forward` gives them, and novelty (n,), 0 to 1; 1 for an empty
        series.
        """
        hidden = self._hidden(X)
        distance = distances(hidden, self.novelty_whiten, self.novelty_centres).mean(dim=1)
        novelty = share_nearer(distance, self.novelty_levels)
        return self._probabilities(X, hidden), torch.where(_empty(X), 1.0, novelty)

    def members_answers(self, X: Tensor) -> tuple[Tensor, Tensor]:
        """Hidden units (n, members, hidden) and logits (n, members, classes) of raw series."""
        hidden = self._hidden(X)
        return hidden, self._logits(hidden)

    def learn_novelty(self, familiar: Familiar) -> None:
        """Take over what is familiar to the members."""
        self.novelty_whiten.copy_(torch.from_numpy(familiar.whiten))
        self.novelty_centres.copy_(torch.from_numpy(familiar.centres))
        self.novelty_levels.copy_(torch.from_numpy(familiar.levels))

    def _hidden(self, X: Tensor) -> Tensor:
        anomaly, observed = self.prepare(X)
        return self.members_hidden(anomaly[:, None], observed[:, None])

    def _probabilities(self, X: Tensor, hidden: Tensor) -> Tensor:
        """The members' mean probability, calibrated."""
        log_mean = torch.logsumexp(F.log_softmax(self._logits(hidden), dim=2), dim=1) - math.log(
            self.shape.members
        )
        probabilities = torch.softmax(log_mean / self.temperature, dim=1)
        return torch.where(_empty(X)[:, None], self.prior, probabilities)


def _empty(X: Tensor) -> Tensor:
    """(n,) series without one observation."""
    return ~torch.isfinite(X).any(dim=2).any(dim=1)


def _averaging(steps: int, parts: int) -> Tensor:
    """(steps, parts) matrix that averages dates over equal parts of the season, cut at fractions of a "
    "date."""
    edges = torch.linspace(0.0, float(steps), parts + 1)
    start = torch.arange(steps, dtype=torch.float32)[:, None]
    overlap = (torch.minimum(start + 1, edges[1:]) - torch.maximum(start, edges[:-1])).clamp(min=0.0)
    return overlap / overlap.sum(dim=0)


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
