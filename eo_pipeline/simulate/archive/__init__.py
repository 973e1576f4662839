"""An archive on this machine: serves a folder of products with the protocols and faults of real ones."""

from __future__ import annotations

from eo_pipeline.simulate.archive.faults import KINDS, Faults, Scripted
from eo_pipeline.simulate.archive.process import RemoteArchive, serve_process
from eo_pipeline.simulate.archive.server import Archive, serve

__all__ = ["KINDS", "Archive", "Faults", "RemoteArchive", "Scripted", "serve", "serve_process"]
