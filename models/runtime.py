"""The fast runtime: a trained network run by OpenVINO in int8 or bf16 on a processor, from the same weights.

`export` chooses the precision once, on the training samples, and writes the choice into the model folder as
`fast.json`; `FastModel` builds the network anew from the folder's weights wherever it is loaded, so the two
never part. Activations are quantised to 8 bits over ranges measured on the training samples, weights over
their own range in each output channel (Jacob et al. 2018, arXiv 1712.05877, section 2; symmetric as in Nagel
et al. 2021, arXiv 2106.08295, section 2.2). OpenVINO is optional; nothing here is imported without it being
asked for.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from importlib import metadata, util
from pathlib import Path
from threading import Lock
from typing import Any, Final, Literal

import numpy as np
import torch
from numba import njit
from numpy.typing import ArrayLike, NDArray
from torch import nn

from models.calibration import entropy
from models.card import WEIGHTS
from models.conformal import in_set
from models.crop_type import Assessment, CropTypeModel
from models.errors import ModelError, ModelFileError
from models.exported import CURE, FAST, Export, Precision, digest, read_export, write_export
from models.layers import MemberConvolution, TemporalEnsemble
from models.novelty import share_nearer

#: Series a pass. One size always, filled up where fewer are left: the last bits of a sum depend on it.
BATCH: Final = 512
#: Share of training samples that must keep their class for a precision to be chosen.
LEAST_AGREEMENT: Final = 0.995
#: Share of activations within the range of the 8 bits; what is beyond is cut off.
_WITHIN: Final = 99.99
#: Samples a measurement takes at most: ranges and agreement stand still long before.
_SAMPLES: Final = 20_000


def available() -> bool:
    """Whether OpenVINO is installed."""
    return util.find_spec("openvino") is not None


def export(folder: Path | str, X: ArrayLike) -> Export:
    """Choose the precision of a saved model and write `fast.json` beside its weights.

    Parameters
    ----------
    folder : Path
        Model folder written by `CropTypeModel.save`.
    X : (n, t, c) array_like
        The training series; never those of a test.

    Raises
    ------
    ModelError
        OpenVINO is not installed, or the series are not the model's.
    ModelFileError
        The folder is damaged or cannot be written.
    """
    folder = Path(folder)
    model = CropTypeModel.load(folder)
    series = model.check(X)
    series = series[:: -(-len(series) // _SAMPLES)]
    told = model.assess(series, device="cpu")
    ranges = _ranges(model.network, series)
    tried: dict[str, float] = {}
    for precision in _possible():
        fast = FastModel(model, precision, ranges)
        said = fast.assess(series)
        same = said.probabilities.argmax(axis=1) == told.probabilities.argmax(axis=1)
        tried[precision] = round(float(same.mean()), 6)
        if tried[precision] >= LEAST_AGREEMENT:
            break
    else:
        raise ModelError(
            f"OpenVINO agrees with PyTorch on {tried} of the training samples, less than {LEAST_AGREEMENT}, "
            "even at full precision. Use the runtime “torch”, and report this with the model's card.json."
        )
    chosen = Export(
        precision=precision,
        agreement=tried,
        differences={
            "probability": round(float(np.abs(said.probabilities - told.probabilities).max()), 6),
            "novelty": round(float(np.abs(said.novelty - told.novelty).max()), 6),
        },
        samples=len(series),
        ranges=ranges,
        processor=_processor(),
        openvino=metadata.version("openvino"),
        weights_sha256=digest((folder / WEIGHTS).read_bytes()),
    )
    write_export(folder, chosen)
    return chosen


class FastModel:
    """A crop type model that assesses series by OpenVINO; made by `load`."""

    def __init__(self, model: CropTypeModel, precision: Precision, ranges: tuple[float, ...]) -> None:
        self.model, self.precision = model, precision
        self._ranges = ranges if precision == "int8" else None
        self._lock = Lock()

    @property
    def classes(self) -> NDArray[Any]:
        """Class labels in the order of the probabilities' columns."""
        return self.model.classes

    @classmethod
    def load(cls, folder: Path | str) -> FastModel:
        """Read a model folder in which `export` has left its choice.

        Raises
        ------
        ModelFileError
            A file is missing or damaged, or the choice was made for other weights, another kind of processor
            or another version of OpenVINO.
        """
        folder = Path(folder)
        model, chosen = CropTypeModel.load(folder), read_export(folder)
        for what, then, now in (
            ("kind of processor", ", ".join(chosen.processor), ", ".join(_processor())),
            ("version of OpenVINO", chosen.openvino, metadata.version("openvino")),
        ):
            if then != now:
                raise ModelFileError(
                    f"{folder / FAST} was made for another {what} ({then}; here it is {now}), where the last "
                    "bits of a map would be others. Train the model again here, or use the runtime “torch”."
                )
        return cls(model, chosen.precision, chosen.ranges)

    def assess(self, X: ArrayLike) -> Assessment:
        """As `CropTypeModel.assess`, on one processor thread. The same series give the same bytes, in
        whatever company they come.
        """
        series = self.model.check(X)
        n, k = len(series), len(self.model.card.classes)
        probabilities, distance = np.empty((n, k), dtype=np.float32), np.empty(n, dtype=np.float32)
        seen = np.empty(n, dtype=np.bool_)
        network = self.model.network
        for rows, features, found in _batches(network, series):
            seen[rows] = found
            with self._lock:
                said = self._request.infer([features], share_inputs=True)
                probabilities[rows], distance[rows] = said[0][: len(found)], said[1][: len(found)]
        probabilities[~seen] = network.prior.numpy()
        novelty = share_nearer(torch.from_numpy(distance), network.novelty_levels).numpy()
        novelty[~seen] = 1.0
        threshold = float(self.model.card.calibration.get("set_threshold", 0.0))
        return Assessment(probabilities, in_set(probabilities, threshold), entropy(probabilities), novelty)

    @cached_property
    def _request(self) -> Any:
        graph = _Graph(self.model.network, self._ranges)
        return _compiled(graph.model(), "fp32" if self.precision == "fp32" else "bf16")


@njit(nogil=True, cache=True)
def prepare(
    X: NDArray[np.float32],
    scaling: tuple[NDArray[np.float32], ...],
    features: NDArray[np.float32],
    seen: NDArray[np.bool_],
) -> None:
    """`TemporalEnsemble.prepare` into the first n of `features` (batch, c + 1, t): anomalies, and last the
    observed share. `scaling` is low, high, mean, date_mean and date_std; `seen` (n,) says which series have
    an observation at all.
    """
    low, high, mean, date_mean, date_std = scaling
    n, t, c = X.shape
    for i in range(n):
        seen[i] = False
        features[i, c] = 0.0
        for j in range(c):
            last = -1
            for s in range(t):
                value = X[i, s, j]
                if not np.isfinite(value):
                    continue
                value = min(max(value, low[j]), high[j])
                features[i, c, s] += np.float32(1.0)
                features[i, j, s] = value
                first = value if last < 0 else features[i, j, last]
                for between in range(last + 1, s):
                    weight = np.float32(between - last) / np.float32(s - last)
                    features[i, j, between] = first + (value - first) * weight
                last = s
            for s in range(last + 1, t):
                features[i, j, s] = features[i, j, last] if last >= 0 else mean[j]
            seen[i] |= last >= 0
            for s in range(t):
                features[i, j, s] = (features[i, j, s] - date_mean[s, j]) / date_std[s, j]
        for s in range(t):
            features[i, c, s] /= np.float32(c)


class _Graph:
    """The network from prepared series on, as OpenVINO's operations, with normalisations folded in."""

    def __init__(self, network: TemporalEnsemble, ranges: tuple[float, ...] | None) -> None:
        self.network, self.ranges = network, ranges
        self.points: list[Any] = []

    def model(self, *, points: bool = False) -> Any:
        """Prepared series (BATCH, c + 1, t) in; probabilities (BATCH, k) and distances (BATCH,) out, or
        what is to be quantised where `points` are asked for.
        """
        import openvino as ov
        from openvino import opset13 as op

        net, shape = self.network, self.network.shape
        m, h, width, t = shape.members, shape.hidden, shape.width, shape.steps
        given = op.parameter([BATCH, shape.features, t], ov.Type.f32)
        features = self._narrow(given, signed=True)
        x = op.reshape(features, [BATCH, shape.features, 1, t], False)
        for i, block in enumerate(net.blocks):
            assert isinstance(block, MemberConvolution)
            weight, bias = _folded(block)
            out = op.relu(op.add(self._convolve(x, weight, 1 if i == 0 else m), bias))
            if i == 0 and shape.stride > 1:
                out = op.avg_pool(
                    out,
                    strides=[1, 2],
                    pads_begin=[0, 0],
                    pads_end=[0, 0],
                    kernel_shape=[1, 2],
                    exclude_pad=True,
                    rounding_type="ceil",
                )
            x = out if i == 0 else op.add(x, out)
            if i < shape.depth - 1:
                x = self._narrow(x)
        pooled = self._narrow(op.matmul(x, net.parts.numpy(), False, False))
        scale, shift = _normalisation(net.hidden_norm)
        gain = scale.reshape(m, 1, h)
        # (m, width · parts, h) → (m · h, width, 1, parts): a filter as wide as what is left of the season
        weight = (net.hidden.weight.detach().numpy() * gain).transpose(0, 2, 1)
        weight = weight.reshape(m * h, width, 1, shape.parts)
        deep = op.reshape(self._convolve(pooled, weight, m, same=False), [BATCH, m * h], False)
        # (m, t · c, h) → (m · h, (c + 1) · t), with nothing for the observed share
        straight = (net.direct.weight.detach().numpy() * gain).reshape(m, t, shape.channels, h)
        straight = np.pad(straight.transpose(0, 3, 2, 1), ((0, 0), (0, 0), (0, 1), (0, 0)))
        flat = op.reshape(features, [BATCH, shape.features * t], False)
        weight = straight.reshape(m * h, -1)
        direct = op.matmul(flat, self._narrow_weight(weight), False, True)
        hidden = op.relu(op.add(op.add(deep, direct), shift[None]))
        units = op.reshape(hidden, [BATCH, m, 1, h], False)
        if points:
            return ov.Model(self.points, [given], "points")
        return ov.Model([self._probabilities(units), self._distances(units)], [given], "ensemble")

    def _probabilities(self, units: Any) -> Any:
        from openvino import opset13 as op

        net = self.network
        logits = op.matmul(units, net.head.weight.detach().numpy()[None], False, False)
        logits = op.add(logits, net.head_bias.detach().numpy()[None, :, None, :])
        mean = op.reduce_mean(op.softmax(logits, 3), [1, 2], False)
        log_mean = op.log(op.maximum(mean, np.float32(1e-30)))
        return op.softmax(op.divide(log_mean, np.float32(net.temperature)), 1)

    def _distances(self, units: Any) -> Any:
        """`novelty.distances`, and their mean over the members."""
        from openvino import opset13 as op

        centres = self.network.novelty_centres.numpy()[None]
        white = op.matmul(units, self.network.novelty_whiten.numpy()[None], False, False)
        crossed = op.multiply(op.matmul(white, centres, False, True), np.float32(-2.0))
        squares = op.add(
            op.add(op.reduce_sum(op.multiply(white, white), [3], True), crossed),
            (centres**2).sum(axis=3)[:, :, None, :],
        )
        nearest = op.maximum(op.reduce_min(squares, [3], False), np.float32(0.0))
        return op.reduce_mean(nearest, [1, 2], False)

    def _convolve(self, x: Any, weight: NDArray[np.float32], groups: int, *, same: bool = True) -> Any:
        from openvino import opset13 as op

        pad = [0, (weight.shape[3] - 1) // 2] if same else [0, 0]
        end = [0, weight.shape[3] - 1 - pad[1]] if same else [0, 0]
        if groups == 1:
            return op.convolution(x, self._narrow_weight(weight), [1, 1], pad, end, [1, 1])
        grouped = weight.reshape(groups, -1, *weight.shape[1:])
        return op.group_convolution(x, self._narrow_weight(grouped), [1, 1], pad, end, [1, 1])

    def _narrow(self, x: Any, *, signed: bool = False) -> Any:
        """Activations on 256 levels up to the range of this point."""
        from openvino import opset13 as op

        self.points.append(x)
        if self.ranges is None:
            return x
        high = np.float32(self.ranges[len(self.points) - 1])
        low = -high if signed else np.float32(0.0)
        high = high * np.float32(127 / 128) if signed else high
        return op.fake_quantize(x, low, high, low, high, 256)

    def _narrow_weight(self, weight: NDArray[np.float32]) -> Any:
        """Weights on 255 levels, each output channel over its own range."""
        from openvino import opset13 as op

        constant = op.constant(np.ascontiguousarray(weight))
        if self.ranges is None:
            return constant
        lead = weight.ndim - 3 if weight.ndim > 2 else 1  # (out, …) or (groups, out, …)
        high = np.abs(weight).max(axis=tuple(range(lead, weight.ndim)), keepdims=True)
        high = np.maximum(high, np.float32(1e-6))
        return op.fake_quantize(constant, -high, high, -high, high, 255)


def _folded(block: MemberConvolution) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Filters (out, in, 1, kernel) and bias (1, out, 1, 1) of a convolution with its normalisation."""
    gain, shift = _normalisation(block.norm)
    weight = block.convolution.weight.detach().numpy()
    return weight * gain[:, None, None, None], shift[None, :, None, None]


def _normalisation(norm: nn.BatchNorm1d | nn.BatchNorm2d) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """What a normalisation multiplies each channel by, and what it adds."""
    assert norm.running_mean is not None
    assert norm.running_var is not None
    gain = norm.weight.detach() * torch.rsqrt(norm.running_var + norm.eps)
    return gain.numpy(), (norm.bias.detach() - norm.running_mean * gain).numpy()


def _ranges(network: TemporalEnsemble, series: NDArray[np.float32]) -> tuple[float, ...]:
    """Largest activation at each point to be quantised, but for a few in ten thousand."""
    request = _compiled(_Graph(network, None).model(points=True), "fp32")
    largest = np.zeros(0)
    for _, features, seen in _batches(network, series):
        said = request.infer([features])
        found = [np.percentile(np.abs(said[point][: len(seen)]), _WITHIN) for point in range(len(said))]
        largest = np.maximum(found, largest) if largest.size else np.array(found)
    return tuple(max(round(float(value), 6), 1e-6) for value in largest)


def _batches(
    network: TemporalEnsemble, series: NDArray[np.float32]
) -> Iterator[tuple[slice, NDArray[np.float32], NDArray[np.bool_]]]:
    """(rows, features of them and of what fills the batch up, whether anything was seen), one after other."""
    names = ("low", "high", "mean", "date_mean", "date_std")
    scaling = tuple(getattr(network, name).numpy() for name in names)
    features = np.zeros((BATCH, network.shape.features, network.shape.steps), dtype=np.float32)
    for start in range(0, len(series), BATCH):
        rows = slice(start, min(len(series), start + BATCH))
        seen = np.empty(rows.stop - start, dtype=np.bool_)
        prepare(series[rows], scaling, features, seen)
        yield rows, features, seen


def _compiled(model: Any, rest: Literal["bf16", "fp32"]) -> Any:
    """An inference request on one thread; what is not quantised is reckoned in `rest`."""
    import openvino as ov

    core = ov.Core()
    bf16 = rest == "bf16" and "BF16" in _processor()
    return core.compile_model(
        model,
        "CPU",
        {
            "INFERENCE_NUM_THREADS": 1,
            "NUM_STREAMS": 1,
            "ENABLE_CPU_PINNING": False,
            "INFERENCE_PRECISION_HINT": "bf16" if bf16 else "f32",
        },
    ).create_infer_request()


def _possible() -> tuple[Precision, ...]:
    """Precisions this processor has, fastest first."""
    kinds = _processor()
    needs: dict[Precision, str] = {"int8": "INT8", "bf16": "BF16", "fp32": "FP32"}
    return tuple(precision for precision, kind in needs.items() if kind in kinds)


def _processor() -> tuple[str, ...]:
    if not available():
        raise ModelError(f"OpenVINO is not installed. {CURE}")
    import openvino as ov

    kinds = ov.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    return tuple(sorted(set(kinds) & {"BF16", "FP16", "FP32", "INT8"}))
