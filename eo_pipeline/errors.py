"""The pipeline's errors: one root, each with a message that names what is wrong, where, and the cure."""

from __future__ import annotations


class EOPipelineError(Exception):
    """Root of every error a user can cause and mend. The `eo` command prints it and exits with 2."""


class SeasonFileError(EOPipelineError):
    """A season file with a wrong key, value or path."""


class SourceError(EOPipelineError):
    """Rasters that cannot be read as one stack: another CRS, size, band count or date."""


class RemoteReadError(SourceError):
    """Rasters that are read in windows and cannot be read any more: the reason of each, by its address."""

    def __init__(self, reasons: dict[str, str]) -> None:
        super().__init__(reasons)
        self.reasons = reasons

    def __str__(self) -> str:
        first, *others = self.reasons.values()
        return f"{first} Other rasters that cannot be read: {len(others)}." if others else first


class ArchiveError(EOPipelineError):
    """An archive that refuses, does not answer, or sends something else than was asked for."""


class RadiometryError(EOPipelineError):
    """A scene whose numbers cannot be turned into reflectance with certainty; it is quarantined."""


class CubeError(EOPipelineError):
    """A season cube that is missing, damaged, or in the middle of an update."""


class StorageError(EOPipelineError):
    """A folder or bucket that cannot be reached, read or written."""


class DiskFullError(StorageError):
    """No room on a disk. What was written before is kept."""


class WeatherError(EOPipelineError):
    """Weather of an unknown unit, of numbers that are not of their unit, or that lacks what is asked."""


class SampleError(EOPipelineError):
    """Samples outside the image, of an unknown class, or without a single observation."""


class NotAProbabilitySampleError(SampleError):
    """A design-based estimate was asked of a sample that was not drawn at random with known chances."""


class ModelError(EOPipelineError):
    """A model folder that is damaged or does not fit the cube it is asked to classify."""


class RunFolderError(EOPipelineError):
    """A run folder that is damaged, incomplete or of another version."""


class EngineError(EOPipelineError):
    """A block that failed, or a machine too small for it. What was done before is kept, and is not done
    again.
    """


def told_by(name: str, error: object) -> str:
    """What a source of imagery says, with its name before it, once.

    >>> told_by("cdse", "cdse: no such file"), told_by("cdse", "the host is down")
    ('cdse: no such file', 'cdse: the host is down')
    """
    text = str(error)
    return text if text.startswith((f"{name}: ", f"{name} ", f"{name}, ")) else f"{name}: {text}"
