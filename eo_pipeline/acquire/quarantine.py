"""Products whose offset is not proven, set aside: `<root>/.quarantine/<collection>/<tile>/<source>/<name>`.

Nothing reads them but people (`eo inspect`). While one lies there that source is not asked for it again, and
its place among the products is free for another source's copy. Remove the folder, and it is fetched and
judged anew.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Final

from eo_pipeline.acquire.download import write_whole
from eo_pipeline.acquire.products import Product
from eo_pipeline.errors import ArchiveError

FOLDER: Final = ".quarantine"
_REASON: Final = ".reason"


def place_of(root: Path, product: Product) -> Path:
    """Where a source's copy of a product lies when it is set aside."""
    return root / FOLDER / product.collection / product.group / product.source / product.name


def reason_of(root: Path, product: Product) -> str:
    """Why a source's copy of a product was set aside; empty where it was not."""
    try:
        return (place_of(root, product) / _REASON).read_text(encoding="utf-8")
    except OSError:
        return ""


def set_aside(root: Path, product: Product, folder: Path, reason: str) -> None:
    """Move a product out of the way, with the reason beside its files.

    Raises
    ------
    ArchiveError
        It cannot be moved.
    """
    place = place_of(root, product)
    try:
        write_whole(folder / _REASON, reason)
        place.parent.mkdir(parents=True, exist_ok=True)
        if place.exists():  # another process was first, or a copy without its reason
            shutil.rmtree(place)
        folder.rename(place)
    except OSError as error:
        raise ArchiveError(
            f"{folder} cannot be moved to {place}: {error.strerror or error}. {reason}"
        ) from None
