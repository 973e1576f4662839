"""Models of crop type and yield: arrays in, probabilities and intervals out. Nothing of pipeline or site.

The public names are handed on when first asked for, because torch takes seconds to import.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from models.errors import ModelError, ModelFileError, SeriesError

if TYPE_CHECKING:
    from models.baseline import TreeBaseline
    from models.crop_type import CropTypeModel
    from models.evaluate import cross_validate, evaluate_split, square_groups
    from models.yield_model import YieldModel

__all__ = [
    "CropTypeModel",
    "ModelError",
    "ModelFileError",
    "SeriesError",
    "TreeBaseline",
    "YieldModel",
    "cross_validate",
    "evaluate_split",
    "square_groups",
]

_HOME = {
    "CropTypeModel": "models.crop_type",
    "TreeBaseline": "models.baseline",
    "YieldModel": "models.yield_model",
    "cross_validate": "models.evaluate",
    "evaluate_split": "models.evaluate",
    "square_groups": "models.evaluate",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'models' has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)
