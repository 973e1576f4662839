"""The table of thresholds: every limit a product applies, with the standard it comes from and who verified
it.

The table (`thresholds.csv`, beside this file) is data under version control. A row without `verified_by` is
on trial (试行) and is shown so wherever a product is published.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Final

TABLE: Final = Path(__file__).with_name("thresholds.csv")


@dataclass(frozen=True, slots=True)
class Threshold:
    """One limit. `standard` and `clause` are empty where no standard sets it."""

    key: str
    value: float
    unit: str
    standard: str
    clause: str
    verified_by: str
    verified_on: str
    note: str

    @property
    def on_trial(self) -> bool:
        """Whether nobody has verified the value yet (试行)."""
        return not (self.verified_by and self.verified_on)


@cache
def thresholds() -> Mapping[str, Threshold]:
    """All thresholds by key.

    >>> thresholds()["growth.good"].value, thresholds()["growth.good"].on_trial
    (5.0, True)
    """
    with TABLE.open(encoding="utf-8", newline="") as stream:
        rows = [
            Threshold(value=float(row.pop("value")), **{key: text.strip() for key, text in row.items()})
            for row in csv.DictReader(stream)
        ]
    return MappingProxyType({row.key: row for row in rows})


def any_on_trial(prefix: str) -> bool:
    """Whether a product's thresholds (all keys that begin with `prefix`) hold one that nobody verified."""
    return any(row.on_trial for key, row in thresholds().items() if key.startswith(prefix))
