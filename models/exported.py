"""What was chosen for the fast runtime, as `fast.json` keeps it in the model folder. Read without torch."""

from __future__ import annotations

import hashlib
import json
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, Literal

from models.card import WEIGHTS
from models.errors import ModelFileError

Precision = Literal["int8", "bf16", "fp32"]

FAST: Final = "fast.json"
CURE: Final = "Install it by `make setup` and train the model again, or use the runtime “torch”."
_AGAIN: Final = "Train the model again, or use the runtime “torch”."


@dataclass(frozen=True)
class Export:
    """What `export` chose, and why.

    Attributes
    ----------
    precision : str
        "int8", "bf16" or "fp32".
    agreement : dict
        Share of the training samples that got the class PyTorch gives them, of each precision tried.
    differences : dict
        Largest difference of a probability and of the novelty from PyTorch's, in the chosen precision.
    samples : int
        Training samples that were compared.
    ranges : tuple of float
        Largest activation at each point that is quantised.
    processor : tuple of str
        Kinds of arithmetic the processor has: on another kind the last bits would be others.
    openvino : str
        Version.
    weights_sha256 : str
        Of the weights it belongs to.
    """

    precision: Precision
    agreement: dict[str, float]
    differences: dict[str, float]
    samples: int
    ranges: tuple[float, ...]
    processor: tuple[str, ...]
    openvino: str
    weights_sha256: str


def read_export(folder: Path) -> Export:
    """What `export` chose for a model folder.

    Raises
    ------
    ModelFileError
        No choice was made, it is damaged, or it belongs to other weights.
    """
    path = folder / FAST
    try:
        body = json.loads(path.read_text(encoding="utf-8"))
        stated = body.pop("sha256")
        if stated != digest(_canonical(body)):
            raise ValueError("its checksum does not agree")
        body["ranges"], body["processor"] = tuple(body["ranges"]), tuple(body["processor"])
        chosen = Export(**body)
    except FileNotFoundError as error:
        raise ModelFileError(
            f"{path} is not there: the model was trained without OpenVINO. {CURE}"
        ) from error
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelFileError(f"{path} is damaged ({error}). {_AGAIN}") from error
    if chosen.weights_sha256 != digest((folder / WEIGHTS).read_bytes()):
        raise ModelFileError(f"{path} belongs to other weights than {WEIGHTS} beside it. {_AGAIN}")
    return chosen


def write_export(folder: Path, chosen: Export) -> None:
    """Write `fast.json` whole or not at all.

    Raises
    ------
    ModelFileError
        It cannot be written.
    """
    path = folder / FAST
    body = asdict(chosen)
    body["sha256"] = digest(_canonical(body))
    try:
        with tempfile.TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent) as space:
            fresh = Path(space, FAST)
            fresh.write_text(json.dumps(body, indent=2) + "\n", encoding="utf-8")
            fresh.replace(path)
    except OSError as error:
        raise ModelFileError(
            f"{path} cannot be written ({error.strerror}). Make room, or mend its rights."
        ) from error


def _canonical(body: dict[str, Any]) -> bytes:
    return json.dumps(body, sort_keys=True).encode()


def digest(data: bytes) -> str:
    """Hex SHA-256."""
    return hashlib.sha256(data).hexdigest()
