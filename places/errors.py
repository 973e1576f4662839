"""Errors of `places`: one root, each message names the file, what is wrong and the cure."""

from __future__ import annotations


class PlacesError(Exception):
    """Root of what a user can cause and mend."""


class BoundaryFileError(PlacesError):
    """A boundary file that cannot be taken over: unreadable, without polygons, unknown codes."""
