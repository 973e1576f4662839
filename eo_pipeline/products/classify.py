"""The crop map: a model trained on the season's samples, its accuracy by grouped folds, and the map block by
block.
"""

from __future__ import annotations

import functools
import json
import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from eo_pipeline.cube.features import read_features
from eo_pipeline.cube.store import Layout, TileStore
from eo_pipeline.engine import Progress, Result, holding, read_file, write_atomic
from eo_pipeline.errors import ModelError, SampleError
from eo_pipeline.grid import Block
from eo_pipeline.products.samples import Samples, samples_from_cube, samples_from_npz
from eo_pipeline.season import Season
from eo_pipeline.storage import Folder, Place

if TYPE_CHECKING:
    from models.crop_type import Assessment, CropTypeModel
    from models.evaluate import CrossValidation
    from models.training import TrainingSettings

Runtime = Literal["openvino", "torch"]
Assess = Callable[[NDArray[np.float32]], "Assessment"]

CROP_TYPE: Final = "crop_type"
CONFIDENCE: Final = "confidence"
ENTROPY: Final = "entropy"
SET_SIZE: Final = "set_size"
NOVELTY: Final = "novelty"
#: What is told of every pixel beside its class, uint8 with 255 where nothing is.
DOUBTS: Final = (CONFIDENCE, ENTROPY, SET_SIZE, NOVELTY)
#: No statement: outside the image, or without one clear view in the season.
CLASS_NODATA: Final = 0
DOUBT_NODATA: Final = 255

#: Threads of a training. The weights depend on their number, so it is the same on every machine; the cores
#: beyond it train other folds.
_THREADS: Final = 1
#: Fewer samples are trained fold after fold: starting a process would take longer.
_SAMPLES_FOR_PROCESSES: Final = 400
#: How models are trained; None takes the models' own settings.
_SETTINGS: TrainingSettings | None = None
#: Side of the windows a block is read in: all features of a larger one would not fit a worker's memory.
_WINDOW: Final = 512
#: Pixels a call of the model. A full batch always: the last bits of a probability may depend on its size, and
#: the map must not depend on how it was cut into blocks.
_BATCH: Final = 8192
#: More than single precision's last bits move a share by (5e-7 was seen, of novelty 2e-4).
_LAST_BITS: Final = 1e-5
_LAST_BITS_NOVELTY: Final = 5e-4


def training_samples(
    season: Season, layouts: Sequence[Layout], stores: Sequence[Place], kept: Sequence[Sequence[bool]]
) -> Samples:
    """The samples of the season as training arrays, in the model's channel order."""
    spec = season.classify
    assert spec is not None
    classes = [item.name for item in season.classes]
    if spec.samples.suffix.lower() == ".npz":
        steps = len(layouts[0].steps)
        return samples_from_npz(spec, classes, steps=steps, features=spec.features)
    return samples_from_cube(spec, classes, layouts, stores, kept)


def train_map(
    *,
    season: Season,
    layouts: Sequence[Layout],
    stores: Sequence[Place],
    kept: Sequence[Sequence[bool]],
    model: Place,
    out_of_fold: Place,
    runtime: Runtime = "torch",
    on_progress: Callable[[Progress], None] | None = None,
) -> Result:
    """Cross-validate and train; a task of the engine. Writes the model folder, for OpenVINO too where that
    is the runtime, and the out-of-fold predictions.

    Returns
    -------
    dict
        `accuracy`: what accuracy.json says of the cross-validation.
    """
    spec = season.classify
    assert spec is not None
    samples = training_samples(season, layouts, stores, kept)
    present = sorted(set(samples.labels.tolist()))
    if len(present) < 2:
        raise SampleError(
            f"{spec.samples}: all samples are {present[0]}; a map needs samples of two classes at least."
        )
    wide = spec.samples.suffix.lower() == ".npz" and len(spec.npz_bands) > len(spec.features)
    steps = _Steps(on_progress, (2 if wide else 1) * spec.folds + 1)
    times = [day.isoformat() for day in layouts[0].dates]
    with ThreadPoolExecutor(1) as beside:
        # the map's own model is trained while the folds' processes leave a core idle
        fitting = beside.submit(_fitted, season, samples, times, steps) if _folds_apart(samples) else None
        validation = _validated(season, samples, steps)
        network = fitting.result() if fitting else _fitted(season, samples, times, steps)
    accuracy: dict[str, Any] = {"cross_validation": describe_validation(validation, season, spec.features)}
    if wide:
        # the samples know more bands than the cube: what the samples alone allow is told beside the map's
        # figure
        classes = [item.name for item in season.classes]
        everything = samples_from_npz(spec, classes, steps=len(layouts[0].steps), features=spec.npz_bands)
        accuracy["cross_validation_all_channels"] = describe_validation(
            _validated(season, everything, steps), season, spec.npz_bands
        )
    network = network.with_set_threshold(validation.set_threshold)
    with holding(), Folder.of(model).filling() as folder:
        network.with_metrics(cross_validation=accuracy["cross_validation"]["model"]).save(folder)
        if runtime == "openvino":
            _export(folder, samples.X)
    _save_out_of_fold(out_of_fold, samples, validation)
    return {
        "accuracy": accuracy,
        "samples": len(samples.labels),
        "shapes": len(set(samples.shape_ids.tolist())),
    }


class _Steps:
    """Trainings done, of all that are to do, told as progress of the stage; parts may run side by side."""

    def __init__(self, tell: Callable[[Progress], None] | None, trainings: int) -> None:
        self.tell, self.trainings = tell, trainings
        self.done: list[float] = []
        self.lock = Lock()

    def part(self, trainings: int) -> Callable[[int, int], None]:
        """Progress of the next `trainings` trainings, which count their steps together."""
        with self.lock:
            number = len(self.done)
            self.done.append(0.0)

        def report(step: int, steps: int) -> None:
            with self.lock:
                self.done[number] = trainings * step / max(1, steps)
                total = int(100 * sum(self.done))
            if self.tell is not None:
                self.tell(Progress("train", total, 100 * self.trainings, 0))

        return report


def _folds_apart(samples: Samples) -> bool:
    """Whether the folds are trained in processes of their own."""
    return len(samples.labels) >= _SAMPLES_FOR_PROCESSES and len(os.sched_getaffinity(0)) > 1


def _validated(season: Season, samples: Samples, steps: _Steps) -> CrossValidation:
    from models.errors import ModelError as TrainingError
    from models.evaluate import cross_validate

    spec = season.classify
    assert spec is not None
    try:
        return cross_validate(
            samples.X,
            samples.labels,
            groups=samples.groups,
            folds=spec.folds,
            seed=spec.seed,
            settings=_SETTINGS,
            threads=_THREADS,
            workers=len(os.sched_getaffinity(0)) if _folds_apart(samples) else 1,
            progress=steps.part(spec.folds),
        )
    except TrainingError as error:
        raise SampleError(
            f"{spec.samples} cannot be used with folds = {spec.folds}, group_km = {spec.group_km:g}: {error}"
        ) from error


def _fitted(season: Season, samples: Samples, times: Sequence[str], steps: _Steps) -> CropTypeModel:
    from models.crop_type import CropTypeModel
    from models.errors import ModelError as TrainingError

    spec = season.classify
    assert spec is not None
    try:
        return CropTypeModel.fit(
            samples.X,
            samples.labels,
            groups=samples.groups,
            channels=spec.features,
            times=times,
            seed=spec.seed,
            settings=_SETTINGS,
            progress=steps.part(1),
            description=f"{season.id}: {spec.samples.name}",
            threads=_THREADS,
        )
    except TrainingError as error:
        raise SampleError(f"{spec.samples}: {error}") from error


def describe_validation(
    validation: CrossValidation, season: Season, channels: Sequence[str]
) -> dict[str, Any]:
    """A cross-validation as accuracy.json tells it."""
    from models.conformal import COVERAGE

    spec = season.classify
    assert spec is not None
    return {
        "method": f"{spec.folds} folds, stratified, groups kept whole",
        "group_km": spec.group_km,
        "groups": validation.n_groups,
        "seed": spec.seed,
        "channels": list(channels),
        "conformal": {
            "coverage": COVERAGE,
            "held": validation.set_coverage,
            "size": validation.set_size,
            "method": "Sadinle et al. 2019; each fold's threshold from the other folds",
        },
        "model": validation.model.as_dict(),
        "baseline": validation.baseline.as_dict(),
        "folds": [
            {"model": ours.overall_accuracy, "baseline": trees.overall_accuracy, "n": ours.n}
            for ours, trees in zip(validation.folds, validation.baseline_folds, strict=True)
        ],
    }


def _save_out_of_fold(path: Place, samples: Samples, validation: CrossValidation) -> None:
    """Truth, prediction and group of every sample: what a model-based area estimate is made of."""
    document = {
        "truth": samples.labels.tolist(),
        "predicted": [str(name) for name in validation.predictions.tolist()],
        "groups": samples.groups.tolist(),
        "shape_ids": samples.shape_ids.tolist(),
    }
    write_atomic(path, json.dumps(document).encode())


def _export(folder: Path, X: NDArray[np.float32]) -> None:
    from models.errors import ModelError as ExportError
    from models.runtime import export

    try:
        export(folder, X)
    except ExportError as error:
        raise ModelError(str(error)) from error


def card_of(model: Folder, runtime: Runtime) -> dict[str, Any]:
    """The model's card for the record of a run, with what ran it, and what `models.runtime.export` chose."""
    chosen = json.loads(model.read("fast.json")) if runtime == "openvino" else {}
    card: dict[str, Any] = json.loads(model.read("card.json"))
    return card | {"runtime": {"name": runtime} | chosen}


def runtime_of(season: Season) -> Runtime:
    """What runs the network on each pixel here: as the season asks; "auto" is OpenVINO where it is installed.

    Raises
    ------
    ModelError
        The season asks for OpenVINO, which is not installed.
    """
    assert season.classify is not None
    asked, there = season.classify.runtime, find_spec("openvino") is not None
    if asked == "openvino" and not there:
        raise ModelError(
            f"{season.path}: [classify] runtime = “openvino”, but OpenVINO is not installed. Install it by "
            "`make setup`, or write “auto”: PyTorch makes the map then."
        )
    return "torch" if asked == "torch" or not there else "openvino"


@functools.lru_cache(maxsize=2)
def _load(folder: Folder, digest: str, runtime: Runtime) -> tuple[Assess, NDArray[Any]]:
    """What assesses series, and its classes; kept by the worker from block to block. `digest` tells a new
    model in the same folder.
    """
    from models.crop_type import CropTypeModel
    from models.errors import ModelError as LoadError

    try:
        with folder.fetched() as path:
            if runtime == "torch":
                model = CropTypeModel.load(path)
                return functools.partial(_assessed, model), model.classes
            from models.runtime import FastModel

            fast = FastModel.load(path)
            return fast.assess, fast.classes
    except LoadError as error:
        raise ModelError(str(error)) from error


def _assessed(model: CropTypeModel, batch: NDArray[np.float32]) -> Assessment:
    """What a model says of series, the same whichever others stand in the batch.

    The last bits of single precision depend on them. Where these could turn a rounded number of the map, and
    with it make a map of large blocks another than one of small ones, it is computed in twice the precision.
    """
    said = model.assess(batch, threads=1, device="cpu")
    top = np.partition(said.probabilities, -2, axis=1)[:, -2:]
    threshold = float(model.card.calibration["set_threshold"])
    close = (top[:, 1] - top[:, 0] < _LAST_BITS) | (np.abs(said.probabilities - threshold) < _LAST_BITS).any(
        axis=1
    )
    for share, bits in (
        (top[:, 1], _LAST_BITS), (said.entropy, _LAST_BITS), (said.novelty, _LAST_BITS_NOVELTY)
    ):  # fmt: skip
        close |= np.abs(share * 100 % 1 - 0.5) < 100 * bits
    if close.any():
        exact = model.assess(batch[close], threads=1, device="cpu", exact=True)
        for name in ("probabilities", "sets", "entropy", "novelty"):
            getattr(said, name)[close] = getattr(exact, name)
    return said


def classify_block(
    *,
    block: Block,
    store: Place,
    kept: Sequence[bool],
    bands: Sequence[str],
    features: Sequence[str],
    codes: Mapping[str, int],
    model: Place,
    model_key: str,
    runtime: Runtime = "torch",
) -> Result:
    """Map one block: `crop_type` (class codes, 0 nodata) and `DOUBTS` (255 nodata), all uint8.

    `confidence` is the calibrated probability of the class that was chosen, in percent; `set_size` the number
    of classes that may be the true one (`models.conformal`); `entropy` and `novelty` are percent of
    `Assessment`'s. A pixel without one clear view in the season, nor one pass of radar where `features` name
    it, gets no class.

    Returns
    -------
    dict
        `pixels`: pixels mapped, a class code.
    """
    assess, classes = _load(Folder.of(model), model_key, runtime)
    numbers = np.array([codes[str(name)] for name in classes], dtype=np.uint8)
    tile = TileStore(store)
    shape = (block.height, block.width)
    maps = {name: np.full(shape, DOUBT_NODATA, dtype=np.uint8) for name in DOUBTS}
    maps[CROP_TYPE] = np.full(shape, CLASS_NODATA, dtype=np.uint8)
    for row in range(0, block.height, _WINDOW):
        for col in range(0, block.width, _WINDOW):
            height, width = min(_WINDOW, block.height - row), min(_WINDOW, block.width - col)
            window = Block(block.tile, block.row + row, block.col + col, height, width)
            series = read_features(tile, window, features, bands, kept)  # (step, feature, y, x)
            for name, values in _map(series, assess, numbers).items():
                maps[name][row : row + height, col : col + width] = values.reshape(height, width)
    for name, values in maps.items():
        tile.write(name, block, values)
    counts = np.bincount(maps[CROP_TYPE].ravel(), minlength=256)
    return {"pixels": {str(code): int(counts[code]) for code in np.flatnonzero(counts)}}


def _map(
    series: NDArray[np.float32], assess: Assess, numbers: NDArray[np.uint8]
) -> dict[str, NDArray[np.uint8]]:
    """`crop_type` and `DOUBTS` (pixels,) of series [step, feature, y, x]; `numbers` are class codes."""
    flat = series.reshape(*series.shape[:2], -1)
    seen = np.flatnonzero(np.isfinite(flat).any(axis=(0, 1)))
    maps = {name: np.full(flat.shape[2], DOUBT_NODATA, dtype=np.uint8) for name in DOUBTS}
    maps[CROP_TYPE] = np.full(flat.shape[2], CLASS_NODATA, dtype=np.uint8)
    for first in range(0, len(seen), _BATCH):
        cells = seen[first : first + _BATCH]
        batch = np.zeros((_BATCH, *flat.shape[:2]), dtype=np.float32)
        batch[: len(cells)] = np.moveaxis(flat[:, :, cells], -1, 0)
        said = assess(batch)
        n = len(cells)
        maps[CROP_TYPE][cells] = numbers[said.probabilities[:n].argmax(axis=1)]
        maps[CONFIDENCE][cells] = _percent(said.probabilities[:n].max(axis=1))
        maps[ENTROPY][cells] = _percent(said.entropy[:n])
        maps[SET_SIZE][cells] = said.sets[:n].sum(axis=1)
        maps[NOVELTY][cells] = _percent(said.novelty[:n])
    return maps


def _percent(share: NDArray[np.float32]) -> NDArray[np.uint8]:
    return np.asarray(np.rint(share * 100), dtype=np.uint8)


def read_out_of_fold(path: Place) -> dict[str, NDArray[Any]]:
    """What `train_map` kept of the folds: truth, predicted, groups, shape_ids."""
    document = json.loads(read_file(path))
    return {name: np.array(values) for name, values in document.items()}
