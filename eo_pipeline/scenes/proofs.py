"""Proofs of offsets, kept beside the products: a proof reads pixels, and a season has hundreds of them."""

from __future__ import annotations

import json
import logging
import tempfile
import threading
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from eo_pipeline.acquire.sources.base import file_of
from eo_pipeline.acquire.wanted import Prover
from eo_pipeline.acquire.windows import address
from eo_pipeline.scenes.radiometry import DarkTargets, OffsetProof, prove_offset
from eo_pipeline.scenes.sentinel2 import ARCHIVES, Sentinel2Product, read_product

#: Raised whenever the rules of a proof change: older proofs are then made again.
RULES: Final = 1
_FILE: Final = ".proofs.json"
_log = logging.getLogger(__name__)


@dataclass(slots=True)
class ProofCache:
    """Proofs by product, valid as long as the files they were made of are the same; threads may share it."""

    root: Path
    known: dict[str, Any] = field(default_factory=dict)
    made: dict[str, Any] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    @classmethod
    def open(cls, root: Path) -> ProofCache:
        """Read what is kept below `root`; an unreadable file counts as empty, it is only a cache."""
        return cls(root, _read(root / _FILE))

    def prove(self, product: Sentinel2Product) -> OffsetProof:
        """See `radiometry.prove_offset`; read from the cache where nothing has changed."""
        key, stamps = self._key(product), _stamps(product)
        entry = self.known.get(key)
        if entry is not None and entry.get("stamps") == stamps:
            return _proof(entry["proof"])
        proof = prove_offset(product)
        with self._lock:
            self.known[key] = self.made[key] = {"stamps": stamps, "proof": asdict(proof)}
        return proof

    def save(self) -> None:
        """Add the new proofs to the file, atomically.

        Two processes may do so at once: what one of them loses is proven again.
        """
        with self._lock:
            made, self.made = self.made, {}
        if not made:
            return
        target = self.root / _FILE
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            document = {"rules": RULES, "proofs": {**_read(target), **made}}
            with tempfile.NamedTemporaryFile(
                "w", encoding="utf-8", dir=self.root, prefix=".proofs.", suffix=".partial", delete=False
            ) as stream:
                json.dump(document, stream)
            Path(stream.name).replace(target)
        except OSError as error:  # a folder one may not write to is no reason to fail
            _log.info("proofs of offsets are not kept: %s", error)

    def _key(self, product: Sentinel2Product) -> str:
        path = Path(product.path)
        return path.relative_to(self.root).as_posix() if path.is_relative_to(self.root) else product.path


def prover(root: Path) -> Prover:
    """What `eo fetch` asks before it calls a product below `root` whole: why its offset is not proven.

    What is proven here is not proven again when the products are read.
    """
    cache = ProofCache.open(root)

    def prove(folder: Path, source: str) -> str:
        proof = cache.prove(read_product(folder, provider=source if source in ARCHIVES else ""))
        cache.save()
        return "" if proof.proven else proof.reason

    return prove


def _read(file: Path) -> dict[str, Any]:
    try:
        document = json.loads(file.read_text(encoding="utf-8"))
        if document["rules"] == RULES and isinstance(document["proofs"], dict):
            return dict(document["proofs"])
    except (OSError, ValueError, KeyError, TypeError):
        pass
    return {}


def _stamps(product: Sentinel2Product) -> list[list[Any]]:
    """What a proof is made of: sizes and times of files, and what was read in the metadata."""
    facts: list[list[Any]] = [
        [
            product.name,
            product.provider,
            product.baseline,
            product.applied,
            sorted((product.offsets or {}).items()) if product.offsets is not None else None,
        ]
    ]
    for band in ("B02", "B04", "B12", "SCL"):
        for file in product.bands.get(band, ())[:1]:
            path = address(file.path)
            place = file_of(file.path)
            if place is None or not place.is_file():
                facts.append([path])
            else:
                status = place.stat()
                facts.append([path, status.st_size, status.st_mtime_ns])
    # as JSON gives it back
    return list(json.loads(json.dumps(facts)))


def _proof(values: dict[str, Any]) -> OffsetProof:
    dark = values.get("dark")
    return OffsetProof(**{**values, "dark": DarkTargets(**dark) if dark else None})
