"""The model card and the model folder: `weights.safetensors` + `card.json`, written whole or not at all.

The card carries the SHA-256 of the weights and of itself, so a folder in which a byte has changed is refused.
Nothing in it depends on when or where it was written: the same training gives the same bytes.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from dataclasses import asdict, dataclass, field
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any, Final

from models.errors import ModelFileError

CARD: Final = "card.json"
WEIGHTS: Final = "weights.safetensors"
FORMAT_VERSION: Final = 2


@dataclass(frozen=True)
class ModelCard:
    """What a model is, what it was made of, and how good it is.

    Attributes
    ----------
    kind : str
        Class of the model, "temporal-ensemble".
    classes : tuple of str or int
        In the order of the columns of `predict_proba`.
    channels, times : tuple of str
        Names of the channels and dates of a series, in order.
    shape : dict
        Sizes of the network.
    training : dict
        Settings and seeds.
    data : dict
        Description of the training samples: number, per class, groups, missing share, checksum.
    calibration : dict
        Temperature, calibration error before and after, and threshold of the conformal sets.
    metrics : dict
        Figures of a cross-validation or an independent test, named by whoever measured them.
    parameters : int
        Trainable parameters.
    code : str
        Version of this package and a digest of the source it was trained with.
    libraries : dict
        Versions of torch and numpy.
    """

    kind: str
    classes: tuple[str, ...] | tuple[int, ...]
    channels: tuple[str, ...]
    times: tuple[str, ...]
    shape: dict[str, Any]
    training: dict[str, Any]
    data: dict[str, Any]
    calibration: dict[str, Any]
    parameters: int
    code: str
    libraries: dict[str, str]
    metrics: dict[str, Any] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        return asdict(self) | {k: list(getattr(self, k)) for k in ("classes", "channels", "times")}


def check_target(folder: Path) -> None:
    """Refuse a place where a model may not be written, before hours are spent on making it.

    Raises
    ------
    ModelFileError
        The path exists and is neither a model folder nor an empty one.
    """
    if folder.exists() and not _may_replace(folder):
        raise ModelFileError(
            f"{folder} exists and is not a model folder (it holds no {CARD}), so it is left alone. Choose "
            "another --out, or remove it yourself."
        )


def write_folder(folder: Path, card: ModelCard, weights: bytes) -> Path:
    """Write a model folder atomically; an older model of the same name is replaced whole.

    Raises
    ------
    ModelFileError
        The folder exists and is not a model folder, or cannot be written.
    """
    folder = Path(folder).absolute()
    check_target(folder)
    body = {"format": FORMAT_VERSION} | card.as_dict() | {"weights_sha256": _digest(weights)}
    body["card_sha256"] = _digest(_canonical(body))
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        fresh = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    except OSError as error:
        raise ModelFileError(
            f"{folder}: the model cannot be written there ({error.strerror}). Choose another folder."
        ) from error
    try:
        (fresh / WEIGHTS).write_bytes(weights)
        (fresh / CARD).write_text(json.dumps(body, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        # mkdtemp makes folders for the owner alone; a model is read by the service's user as well.
        fresh.chmod(0o777 & ~_umask())
        _swap(fresh, folder)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    return folder


def read_folder(folder: Path) -> tuple[ModelCard, bytes]:
    """Read and verify a model folder.

    Raises
    ------
    ModelFileError
        A file is missing, damaged, or of another version.
    """
    folder = Path(folder)
    body = _read_card(folder / CARD)
    stated = body.pop("card_sha256", None)
    if body.get("format") != FORMAT_VERSION:
        raise ModelFileError(
            f"{folder / CARD} has format {body.get('format')!r}; this version reads {FORMAT_VERSION}. Train "
            "the model again with `eo train`, or use the version of the software that wrote it."
        )
    if stated != _digest(_canonical(body)):
        raise ModelFileError(
            f"{folder / CARD} is not as it was written: its checksum does not agree. Copy the model folder "
            "again from where it came, or train it again with `eo train`."
        )
    try:
        weights = (folder / WEIGHTS).read_bytes()
    except OSError as error:
        raise ModelFileError(
            f"{folder / WEIGHTS} cannot be read ({error.strerror}). A model folder needs both {CARD} and "
            f"{WEIGHTS}; copy it again whole."
        ) from error
    if _digest(weights) != body.pop("weights_sha256", None):
        raise ModelFileError(
            f"{folder / WEIGHTS} is damaged: its SHA-256 is not the one in {CARD}. Copy the model folder "
            "again "
            "from where it came, or train it again with `eo train`."
        )
    del body["format"]
    for name in ("classes", "channels", "times"):
        body[name] = tuple(body[name])
    return ModelCard(**body), weights


@cache
def code_version() -> str:
    """Version of the package and a digest of the source of `models`: what a model was trained with."""
    try:
        version = metadata.version("smart-pingliang-agriculture")
    except metadata.PackageNotFoundError:
        version = "0.1.0"
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return f"{version}+{digest.hexdigest()[:12]}"


def _read_card(path: Path) -> dict[str, Any]:
    try:
        body = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ModelFileError(
            f"{path} is not there, so {path.parent} is not a model folder. Give the folder that `eo train "
            "--out` wrote."
        ) from error
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ModelFileError(
            f"{path} cannot be read as a model card ({error}). Copy the model folder again from where it "
            "came, "
            "or train it again with `eo train`."
        ) from error
    if not isinstance(body, dict):
        raise ModelFileError(f"{path} is not a model card: it holds no JSON object. Copy the folder again.")
    return body


def _may_replace(folder: Path) -> bool:
    return folder.is_dir() and ((folder / CARD).is_file() or not any(folder.iterdir()))


def _swap(fresh: Path, folder: Path) -> None:
    """Put `fresh` in the place of `folder`; whatever fails, one whole folder stays."""
    if not folder.exists():
        fresh.replace(folder)
        return
    aside = Path(tempfile.mkdtemp(prefix=f".{folder.name}-old-", dir=folder.parent))
    folder.replace(aside / "old")
    try:
        fresh.replace(folder)
    except OSError:
        (aside / "old").replace(folder)
        raise
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _canonical(body: dict[str, Any]) -> bytes:
    return json.dumps(body, sort_keys=True, ensure_ascii=False, separators=(",", ":")).encode()


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
