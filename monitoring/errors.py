"""Errors of `monitoring`: one root, each message names what is wrong, where, and the cure."""

from __future__ import annotations


class MonitoringError(Exception):
    """Root of what a user can cause and mend."""


class RunImportError(MonitoringError):
    """A run folder, or a parcel file, that cannot be taken in. Nothing of it was."""


class ReviewError(MonitoringError):
    """A decision that cannot be made: no reason given, or nothing left to decide."""


class ReviewConflictError(ReviewError):
    """Another reviewer decided first; the form shows an older state."""
