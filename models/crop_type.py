"""The crop type model: what grew, from a season's series, with probabilities that can be believed."""

from __future__ import annotations

import copy
import functools
import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import safetensors.torch
import torch
from numpy.typing import ArrayLike, NDArray
from safetensors import SafetensorError

from models.calibration import Calibration, calibrate, entropy, softmax
from models.card import CARD, WEIGHTS, ModelCard, code_version, read_folder, write_folder
from models.conformal import in_set
from models.errors import ModelError, ModelFileError, SeriesError
from models.groups import split_groups
from models.layers import NetworkShape, TemporalEnsemble
from models.novelty import learn
from models.series import LabelledSeries, check_classes, check_labelled, check_names, check_series
from models.training import Progress, TrainingSettings, train_ensemble

KIND: Final = "temporal-ensemble"

#: Series a pass of the network; the activations of so many stay in the processor's cache.
PREDICT_BATCH: Final = 512

#: Each half of the ensemble holds out one of so many parts of the samples, to be calibrated on.
CALIBRATION_PARTS: Final = 6


@dataclass(frozen=True)
class Assessment:
    """What the model says of n series, and how far to believe it.

    Attributes
    ----------
    probabilities : (n, k) float32
        Calibrated; rows sum to 1.
    sets : (n, k) bool
        The classes that may be the true one, see `models.conformal`; no class where none fits well.
    entropy : (n,) float32
        Of the probabilities, as a share of the largest possible: 0 sure, 1 no idea.
    novelty : (n,) float32
        Share of held-out training samples that are more familiar, see `models.novelty`: 1 is like nothing
        the model has learnt.
    """

    probabilities: NDArray[np.float32]
    sets: NDArray[np.bool_]
    entropy: NDArray[np.float32]
    novelty: NDArray[np.float32]


class CropTypeModel:
    """A calibrated ensemble of temporal networks.

    Made by `fit` or `load`; never changed afterwards, except for the card's metrics.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> y = np.repeat(["maize", "wheat"], 40)
    >>> peak = np.where(y == "wheat", 4, 8)[:, None]
    >>> X = np.exp(-0.2 * (np.arange(12) - peak) ** 2) + rng.normal(0, 0.05, (80, 12))
    >>> model = CropTypeModel.fit(X[:, :, None], y, channels=["NDVI"])
    >>> [str(name) for name in model.predict(X[[0, 79]][:, :, None])]
    ['maize', 'wheat']
    """

    def __init__(self, network: TemporalEnsemble, card: ModelCard) -> None:
        self.network = network
        self.card = card

    @property
    def classes(self) -> NDArray[Any]:
        """Class labels in the order of the columns of `predict_proba`."""
        return np.array(self.card.classes)

    @property
    def channels(self) -> tuple[str, ...]:
        """Channel names in the order of the series' last axis."""
        return self.card.channels

    @property
    def times(self) -> tuple[str, ...]:
        """Names of the dates in the order of the series' middle axis."""
        return self.card.times

    @classmethod
    def fit(
        cls,
        X: ArrayLike,
        y: ArrayLike,
        *,
        groups: ArrayLike | None = None,
        channels: Sequence[str] | None = None,
        times: Sequence[str] | None = None,
        seed: int = 42,
        settings: TrainingSettings | None = None,
        description: str = "",
        threads: int | None = None,
        device: str | None = None,
        progress: Progress | None = None,
    ) -> CropTypeModel:
        """Train and calibrate a model.

        Parameters
        ----------
        X : (n, t, c) array_like
            Series; NaN where nothing was observed.
        y : (n,) array_like of str or int
            Class of each series.
        groups : (n,) array_like, optional
            Field or square of each series: calibration never holds out one half of a group.
        channels, times : sequence of str, optional
            Names of the channels and dates, kept in the card.
        seed : int
            Same seed, data and thread count: same weights (on the CPU).
        settings : TrainingSettings, optional
            How to train; the defaults serve every data set.
        description : str
            Where the samples come from, for the card.
        threads : int, optional
            Processor threads to use; torch's own setting by default.
        device : str, optional
            "cpu" or "cuda"; CUDA by default where there is one.
        progress : callable, optional
            Called with (step, steps) after each step.

        Returns
        -------
        CropTypeModel

        Raises
        ------
        SeriesError
            Wrong shapes or types, series without an observation, a single class.
        """
        data = check_labelled(X, y, groups)
        check_classes(data.y)
        _, t, c = data.X.shape
        names = check_names(channels, n=c, kind="channels", default="c")
        dates = check_names(times, n=t, kind="dates", default="t")
        classes, codes, order = _codes(data.y)
        shape = NetworkShape.fitting(steps=t, channels=c, classes=len(classes))
        settings = settings or TrainingSettings()
        held_out = _held_out(codes, data.groups, members=shape.members, seed=seed)
        with _threads(threads):
            network = train_ensemble(
                data.X,
                codes,
                shape=shape,
                settings=settings,
                seed=seed,
                held_out=held_out,
                device=_device(device),
                progress=progress,
            )
            calibration = _calibrate(network, data.X, codes, held_out)
        _reorder(network, order)
        card = ModelCard(
            kind=KIND,
            classes=tuple(classes.tolist()),
            channels=names,
            times=dates,
            shape=asdict(shape),
            training=settings.as_dict() | {"seed": seed},
            data=_describe(data, description),
            calibration=calibration.as_dict(),
            parameters=shape.parameters,
            code=code_version(),
            libraries={"torch": torch.__version__, "numpy": np.__version__},
        )
        return cls(network, card)

    def predict_proba(
        self, X: ArrayLike, *, threads: int | None = None, device: str | None = None
    ) -> NDArray[np.float32]:
        """Calibrated probabilities of each class.

        Parameters
        ----------
        X : (n, t, c) array_like
            Series with the dates and channels of the training; NaN where nothing was observed.
        threads, device
            As in `fit`.

        Returns
        -------
        (n, k) float32
            Rows sum to 1. A series without one observation gets the classes' shares of the training samples:
            nothing is known of it, and a map should leave it out.

        Raises
        ------
        SeriesError
            Another number of dates or channels than the model was trained on.
        """
        series = self.check(X)
        out = np.empty((len(series), len(self.card.classes)), dtype=np.float32)
        for rows, (p,) in self._passes(series, threads, device):
            out[rows] = p
        return out

    def assess(
        self, X: ArrayLike, *, threads: int | None = None, device: str | None = None, exact: bool = False
    ) -> Assessment:
        """All the model knows of each series: `predict_proba`, and how far to believe it.

        Parameters, and errors, as in `predict_proba`. With `exact` it is computed in twice the precision, so
        that what a series gets does not depend, in the last of single precision's bits, on which others stand
        beside it.
        """
        series = self.check(X)
        n = len(series)
        probabilities = np.empty((n, len(self.card.classes)), dtype=np.float32)
        novelty = np.empty(n, dtype=np.float32)
        for rows, (p, new) in self._passes(series, threads, device, whole=True, exact=exact):
            probabilities[rows], novelty[rows] = p, new
        return Assessment(
            probabilities,
            in_set(probabilities, float(self.card.calibration.get("set_threshold", 0.0))),
            entropy(probabilities),
            novelty,
        )

    def predict(self, X: ArrayLike, *, threads: int | None = None, device: str | None = None) -> NDArray[Any]:
        """The most probable class of each series, (n,) in the type of the training labels."""
        best = self.predict_proba(X, threads=threads, device=device).argmax(axis=1)
        return np.asarray(self.classes[best])

    def with_set_threshold(self, threshold: float) -> CropTypeModel:
        """The same model with the conformal threshold of a cross-validation.

        It fits better than the model's own, which half an ensemble made: a whole one is surer.
        """
        calibration = self.card.calibration | {"set_threshold": threshold}
        return CropTypeModel(self.network, replace(self.card, calibration=calibration))

    def with_metrics(self, **metrics: Any) -> CropTypeModel:
        """The same model with figures added to its card, such as those of a cross-validation."""
        return CropTypeModel(self.network, replace(self.card, metrics=self.card.metrics | metrics))

    def save(self, folder: Path | str) -> Path:
        """Write `weights.safetensors` and `card.json` into `folder`, whole or not at all.

        Raises
        ------
        ModelFileError
            The folder exists and is no model folder, or cannot be written.
        """
        weights = safetensors.torch.save(
            {name: value.detach().cpu().contiguous() for name, value in self.network.state_dict().items()}
        )
        return write_folder(Path(folder), self.card, weights)

    @classmethod
    def load(cls, folder: Path | str) -> CropTypeModel:
        """Read a model folder written by `save`.

        Raises
        ------
        ModelFileError
            A file is missing, damaged, of another version, or card and weights do not belong together.
        """
        folder = Path(folder)
        card, weights = read_folder(folder)
        if card.kind != KIND:
            raise ModelFileError(
                f"{folder / CARD} is the card of a {card.kind!r} model; a crop type model ({KIND!r}) is "
                "needed."
            )
        try:
            network = TemporalEnsemble(NetworkShape(**card.shape))
            network.load_state_dict(safetensors.torch.load(weights))
        except (SafetensorError, RuntimeError, TypeError) as error:
            raise ModelFileError(
                f"{folder / WEIGHTS} does not fit {CARD}: {str(error).splitlines()[0]} Copy the model folder "
                "again whole, or train the model again with `eo train`."
            ) from error
        return cls(network.eval(), card)

    @functools.cached_property
    def _double(self) -> TemporalEnsemble:
        """The network in twice the precision."""
        return copy.deepcopy(self.network).double()

    def _passes(
        self,
        series: NDArray[np.float32],
        threads: int | None,
        device: str | None,
        *,
        whole: bool = False,
        exact: bool = False,
    ) -> Iterator[tuple[slice, tuple[NDArray[np.float32], ...]]]:
        """(rows, what the network says of them), pass after pass."""
        target = _device(device)
        with _threads(threads), torch.inference_mode():
            network = (self._double if exact else self.network).to(target)
            for start in range(0, len(series), PREDICT_BATCH):
                rows = slice(start, start + PREDICT_BATCH)
                batch = torch.from_numpy(series[rows]).to(target, torch.float64 if exact else None)
                said = network.assess(batch) if whole else (network(batch),)
                yield rows, tuple(part.cpu().numpy() for part in said)

    def check(self, X: ArrayLike) -> NDArray[np.float32]:
        """Series as the network takes them; refused where they are not of the model's dates and channels."""
        series = check_series(X, may_be_none=True)
        t, c = len(self.times), len(self.channels)
        if series.shape[1:] != (t, c):
            raise SeriesError(
                f"The series have {series.shape[1]} dates × {series.shape[2]} channels; the model was "
                "trained "
                f"on {t} dates ({self.times[0]} … {self.times[-1]}) × {c} channels "
                f"({', '.join(self.channels)}). "
                "Give the same dates and channels in that order, or train a model on these."
            )
        return series


def _codes(y: NDArray[Any]) -> tuple[NDArray[Any], NDArray[np.int64], NDArray[np.int64]]:
    """Sorted classes; codes in the order of first appearance; and the output of each sorted class.

    Training by order of appearance makes the model the same whatever the classes are called.
    """
    classes, first, inverse = np.unique(y, return_index=True, return_inverse=True)
    rank = np.argsort(np.argsort(first))
    return classes, rank[inverse].astype(np.int64), rank.astype(np.int64)


def _reorder(network: TemporalEnsemble, order: NDArray[np.int64]) -> None:
    """Sort the network's outputs (and prior) so that column i is the i-th sorted class."""
    with torch.no_grad():
        index = torch.from_numpy(order)
        network.head.weight.copy_(network.head.weight[:, :, index].clone())
        network.head_bias.copy_(network.head_bias[:, index].clone())
        network.prior.copy_(network.prior[index].clone())


def _held_out(
    codes: NDArray[np.int64], groups: NDArray[np.int64], *, members: int, seed: int
) -> NDArray[np.bool_] | None:
    """(n, members) samples that each member may not see, or None where there are too few to spare any.

    Each half of the ensemble holds out another part of the groups; so all samples are learnt from, and what
    half an ensemble says of samples it never saw is there to calibrate the whole.
    """
    counts = np.bincount(codes)
    if members < 2 or len(np.unique(groups)) < CALIBRATION_PARTS or len(codes) < 10 * CALIBRATION_PARTS:
        return None
    parts = split_groups(codes, groups, parts=min(CALIBRATION_PARTS, int(counts.max())), seed=seed)
    held = np.zeros((len(codes), members), dtype=bool)
    for half, (_, rows) in zip(range(2), parts[:2], strict=True):
        # A class may lie in few groups; what would take most of it from a member stays in training.
        scarce = np.bincount(codes[rows], minlength=len(counts)) > counts / 3
        chosen = rows[~scarce[codes[rows]]]
        held[chosen, half * members // 2 : (half + 1) * members // 2] = True
    return held if held.any(axis=0).all() else None


def _calibrate(
    network: TemporalEnsemble,
    X: NDArray[np.float32],
    codes: NDArray[np.int64],
    held_out: NDArray[np.bool_] | None,
) -> Calibration:
    """Fit temperature, conformal threshold and novelty to what members make of samples they held out.

    The network gets temperature and novelty; the threshold stands in the card.
    """
    hidden = np.empty((len(X), network.shape.members, network.shape.hidden), dtype=np.float32)
    logits = np.empty((len(X), network.shape.members, network.shape.classes), dtype=np.float32)
    with torch.inference_mode():
        for start in range(0, len(X), PREDICT_BATCH):
            rows = slice(start, start + PREDICT_BATCH)
            hidden[rows], logits[rows] = (
                part.numpy() for part in network.members_answers(torch.from_numpy(X[rows]))
            )
    network.learn_novelty(learn(hidden, codes, network.shape.classes, held_out))
    if held_out is None:
        return Calibration()
    chosen = np.flatnonzero(held_out.any(axis=1))
    unseen = held_out[chosen][:, :, None]
    mean = (softmax(logits[chosen]) * unseen).sum(axis=1) / unseen.sum(axis=1)
    calibration = calibrate(np.log(np.maximum(mean, 1e-12)), codes[chosen])
    network.temperature.fill_(calibration.temperature)
    return calibration


def _describe(data: LabelledSeries, description: str) -> dict[str, Any]:
    """What the card says of the training samples; the checksum tells two data sets apart."""
    classes, counts = np.unique(data.y, return_counts=True)
    digest = hashlib.sha256(data.X.tobytes() + "\n".join(map(str, data.y)).encode())
    return {
        "description": description,
        "samples": len(data.y),
        "per_class": {str(name): int(n) for name, n in zip(classes, counts, strict=True)},
        "groups": len(np.unique(data.groups)),
        "missing_share": round(float(np.isnan(data.X).mean()), 6),
        "sha256": digest.hexdigest(),
    }


def _device(name: str | None) -> torch.device:
    if name is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise ModelError("device='cuda' was asked for, but no CUDA device is usable here. Leave device out.")
    return torch.device(name)


@contextmanager
def _threads(threads: int | None) -> Iterator[None]:
    """Torch at a number of threads inside, and as it was outside."""
    before = torch.get_num_threads()
    if threads is not None:
        torch.set_num_threads(max(1, threads))
    try:
        yield
    finally:
        torch.set_num_threads(before)
