"""Bytes before they come: how large the wanted files of a product will be, and whether the disk has room."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from eo_pipeline.acquire.products import Product
from eo_pipeline.disk import free_bytes
from eo_pipeline.errors import DiskFullError

#: What CDSE's quota allows one connection of a general user, and how many of them.
QUOTA_BYTES_PER_S: Final = 20e6
QUOTA_CONNECTIONS: Final = 4

#: Share of a Level-2A SAFE product's bytes that a file takes: the mean of the manifests of two real products,
#: S2B_…_N0214_R081_T22HBD (982 MB) and S2A_…_N0509_R029_T01KAB (1021 MB). Only an estimate; the source's own
#: sizes replace it.
_SHARES: Final[Mapping[str, float]] = {
    "B02": 0.123, "B03": 0.121, "B04": 0.117, "B08": 0.117,
    "B05": 0.032, "B06": 0.032, "B07": 0.032, "B8A": 0.031, "B11": 0.029, "B12": 0.029,
    "SCL": 0.001, "MTD_TL": 0.0006,
}  # fmt: skip
#: The same of Level 1C, by the manifest of S2A_…_N0301_R133_T46RER (199 MB): what s2cloudless looks at.
_LEVEL1C_SHARES: Final[Mapping[str, float]] = {
    "B01": 0.006, "B02": 0.147, "B04": 0.147, "B05": 0.043, "B08": 0.149, "B8A": 0.044, "B09": 0.006,
    "B10": 0.003, "B11": 0.041, "B12": 0.040, "MTD_TL": 0.001,
}  # fmt: skip
#: Size of a whole product where the source tells none, from the same two.
_TYPICAL_BYTES: Final = 1_000_000_000


def wanted_bytes(product: Product, keys: Sequence[str]) -> int:
    """Bytes of the files that `keys` name: the source's figures where it gives them, else typical shares.

    The shares stand for a product of `product.size`, or of 1 GB where that is unknown too.
    """
    known = {file.key: file.size for file in product.files if file.size}
    whole = product.size or _TYPICAL_BYTES
    shares = _LEVEL1C_SHARES if product.collection == "sentinel-2-l1c" else _SHARES
    return sum(known.get(key) or int(whole * shares.get(key, 0.0001)) for key in keys)


def check_room(folder: Path, need: int, margin: int, cap: int | None) -> None:
    """Refuse to begin what cannot end.

    Raises
    ------
    DiskFullError
        The disk has less than `need` (or `cap`, if that is less) and `margin` bytes.
    """
    need = need if cap is None else min(need, cap)
    free = free_bytes(folder)
    if need and free < need + margin:
        raise DiskFullError(
            f"The disk of {folder} has {free / 1e9:.1f} GB free; about {need / 1e9:.1f} GB are to come and "
            f"{margin / 1e9:.1f} GB are kept free. Make room, name another [source] root, shorten the "
            "season, "
            "or fetch a part with --max-gb. What has arrived is kept."
        )
