"""`python -m eo_pipeline.simulate.archive`: the child of `serve_process`. Users take `eo archive`."""

from __future__ import annotations

from eo_pipeline.simulate.archive.process import main

main()
