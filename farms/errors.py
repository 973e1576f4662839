"""What the farms room refuses, each with a sentence for the person in front of the screen."""

from __future__ import annotations


class FarmsError(Exception):
    """Root of everything this app refuses; `str()` is a Chinese sentence fit to be shown."""


class BatchStateError(FarmsError):
    """A batch was to go from one state to another that does not follow it."""


class CertificateMissingError(FarmsError):
    """A batch of a firm or co-op was to be released without its pledge certificate number."""


class OriginMismatchError(FarmsError):
    """A batch, orchard and grower that do not belong together."""
