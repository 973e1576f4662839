"""The crop map: a model trained on the season's samples, its accuracy by grouped folds, and the map block by
block.
"""

from __future__ import annotations

import functools
import json
import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Lock
from typing import TYPE_CHECKING, Any, Final

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
    from models.crop_type import CropTypeModel
    from models.evaluate import CrossValidation
    from models.training import TrainingSettings

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
#: Pixels a call of the model. A full batch always: the last bits of a probability may depend on its size, and
#: the map must not depend on how it was cut into blocks.
_BATCH: Final = 8192


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
    on_progress: Callable[[Progress], None] | None = None,
) -> Result:
    """Cross-validate and train; a task of the engine. Writes the model folder and the out-of-fold
    predictions.

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


@functools.lru_cache(maxsize=2)
def _load(folder: Folder, digest: str) -> CropTypeModel:
    """A model, kept by the worker from block to block; `digest` tells a new model in the same folder."""
    from models.crop_type import CropTypeModel
    from models.errors import ModelError as LoadError

    try:
        with folder.fetched() as path:
            return CropTypeModel.load(path)
    except LoadError as error:
        raise ModelError(str(error)) from error


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
) -> Result:
    """Map one block: `crop_type` (class codes, 0 nodata) and `DOUBTS` (255 nodata), all uint8.

    `confidence` is the calibrated probability of the class that was chosen, in percent; `set_size` the number
    of classes that may be the true one (`models.conformal`); `entropy` and `novelty` are percent of
    `Assessment`'s. A pixel without one clear view in
    the season, nor one pass of radar where `features` name it, gets no class.

    Returns
    -------
    dict
        `pixels`: pixels mapped, a class code.
    """
    network = _load(Folder.of(model), model_key)
    tile = TileStore(store)
    series = read_features(tile, block, features, bands, kept)  # (step, feature, y, x)
    flat = series.reshape(*series.shape[:2], -1)
    seen = np.flatnonzero(np.isfinite(flat).any(axis=(0, 1)))
    chosen = np.full(flat.shape[2], CLASS_NODATA, dtype=np.uint8)
    doubts = {name: np.full(flat.shape[2], DOUBT_NODATA, dtype=np.uint8) for name in DOUBTS}
    numbers = np.array([codes[str(name)] for name in network.classes], dtype=np.uint8)
    for first in range(0, len(seen), _BATCH):
        cells = seen[first : first + _BATCH]
        batch = np.zeros((_BATCH, *flat.shape[:2]), dtype=np.float32)
        batch[: len(cells)] = np.moveaxis(flat[:, :, cells], -1, 0)
        said = network.assess(batch, threads=1, device="cpu")
        n = len(cells)
        chosen[cells] = numbers[said.probabilities[:n].argmax(axis=1)]
        doubts[CONFIDENCE][cells] = _percent(said.probabilities[:n].max(axis=1))
        doubts[ENTROPY][cells] = _percent(said.entropy[:n])
        doubts[SET_SIZE][cells] = said.sets[:n].sum(axis=1)
        doubts[NOVELTY][cells] = _percent(said.novelty[:n])
    shape = (block.height, block.width)
    tile.write(CROP_TYPE, block, chosen.reshape(shape))
    for name, values in doubts.items():
        tile.write(name, block, values.reshape(shape))
    counts = np.bincount(chosen, minlength=256)
    return {"pixels": {str(code): int(counts[code]) for code in np.flatnonzero(counts)}}


def _percent(share: NDArray[np.float32]) -> NDArray[np.uint8]:
    return np.asarray(np.rint(share * 100), dtype=np.uint8)


def read_out_of_fold(path: Place) -> dict[str, NDArray[Any]]:
    """What `train_map` kept of the folds: truth, predicted, groups, shape_ids."""
    document = json.loads(read_file(path))
    return {name: np.array(values) for name, values in document.items()}
