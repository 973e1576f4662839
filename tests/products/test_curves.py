"""Sums of curves in their files: the same bytes from every process."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import date
from pathlib import Path

from eo_pipeline.products.curves import BINS, Sums, Zone, _save, read_sums

DATES, INDICES = (date(2026, 5, 1), date(2026, 5, 11)), ("NDVI",)


def save(path: Path) -> None:
    zones = (Zone("unit", "620826", 1), Zone("parcel", "p1", 0), Zone("class", "", 2))
    _save(path, {zone: Sums(DATES, INDICES, BINS[zone.scope], pixels=3) for zone in zones})


def test_a_file_does_not_depend_on_the_process_that_writes_it(tmp_path: Path) -> None:
    # sets of texts come in another order in each process
    files = [tmp_path / f"{seed}.npz" for seed in range(4)]
    for seed, path in enumerate(files):
        environment = os.environ | {"PYTHONHASHSEED": str(seed)}
        subprocess.run([sys.executable, __file__, str(path)], env=environment, check=True)
    assert len({path.read_bytes() for path in files}) == 1
    assert len(read_sums(files[0], dates=DATES, indices=INDICES)) == 3
    assert [path.name for path in sorted(tmp_path.iterdir())] == [path.name for path in files]


if __name__ == "__main__":
    save(Path(sys.argv[1]))
