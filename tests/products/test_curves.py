"""Sums of curves in their files: the same bytes from every process."""

from __future__ import annotations

import os
import subprocess
import sys
import weakref
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import numpy as np

from eo_pipeline.products.curves import BINS, Sums, Zone, _save, merge, read_sums

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


class Part(dict[Zone, Sums]):
    """A part that tells when it is gone."""


def test_parts_are_merged_one_by_one_on_the_dates_of_all_tiles() -> None:
    # given parts of two tiles with dates of their own; a third tile of another date shows nothing
    zone, left = Zone("parcel", "p1", 0), list[weakref.ref[Part]]()
    days, more = DATES, (date(2026, 5, 3), date(2026, 5, 21))

    def parts() -> Iterator[Part]:
        for dates in (days, days, more):
            assert sum(part() is not None for part in left) <= 1
            sums = Sums(dates, INDICES, BINS["parcel"], pixels=2, area_ha=0.25)
            sums.histogram[0, :, 70], sums.classes[4] = 2, 2
            sums.observed[0], sums.smoothed[0] = (8000, 2), (9000, 2)
            part = Part({zone: sums})
            left.append(weakref.ref(part))
            yield part
            del part, sums

    # when they are merged
    merged = merge(parts(), (*days, *more, date(2026, 6, 1)))
    # then the zone has all of them, and nothing on the third tile's date
    assert list(merged) == [zone] and len(left) == 3
    sums = merged[zone]
    assert sums.dates == tuple(sorted((*days, *more, date(2026, 6, 1))))
    assert (sums.pixels, sums.area_ha, sums.crop) == (6, 0.75, 4)
    assert sums.histogram[0, :, 70].tolist() == [4, 2, 4, 2, 0]
    np.testing.assert_array_equal(sums.curve("NDVI").observed, [0.4, 0.4, 0.4, 0.4, np.nan])
    np.testing.assert_allclose(sums.median("NDVI"), [0.41, 0.41, 0.41, 0.41, np.nan])


if __name__ == "__main__":
    save(Path(sys.argv[1]))
