"""The models' errors: one root, each with a message that names what is wrong, where, and the cure.

`models` knows nothing of the pipeline, so this root is its own; the pipeline and the `eo` command turn it
into theirs at the door.
"""

from __future__ import annotations


class ModelError(Exception):
    """Root of every error a user of `models` can cause and mend."""


class SeriesError(ModelError, ValueError):
    """Series, labels or groups of a wrong shape, type or content."""


class ModelFileError(ModelError):
    """A model folder that is missing, damaged, of another version, or not a model folder at all."""


class SampleFileError(ModelError):
    """A samples file that cannot be read, lacks a key, or does not fit its table."""


class YieldTableError(ModelError):
    """A table of yields that cannot be read, lacks a column, or holds what no yield can be."""
