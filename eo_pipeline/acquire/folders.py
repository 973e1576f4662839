"""One product's folder: its files brought into it, the whole zip where a source has no single ones, and the
mark that it is whole.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import zipfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, Final

from eo_pipeline.acquire.checks import DamagedError, Entry, Verdict, check_zip, read_manifest, verify
from eo_pipeline.acquire.download import beside, drop_lock, write_whole
from eo_pipeline.acquire.ledger import Ledger
from eo_pipeline.acquire.products import METADATA, Archive, Product, RemoteFile
from eo_pipeline.disk import sync_file, sync_folder
from eo_pipeline.errors import ArchiveError

COMPLETE: Final = ".complete"
#: The process that writes a draft stands in its name.
_DRAFT: Final = re.compile(r"\.(\d+)(?:\.[0-9a-f]{8})?\.partial$")
_ITEM: Final = "item"
_TRIES: Final = 2


def is_complete(folder: Path, keys: Sequence[str]) -> int | None:
    """Bytes of a whole product with these files, or None: no mark, another set of files, a file changed."""
    mark = read_mark(folder)
    if mark is None or not set(keys) <= {file["key"] for file in mark["files"]}:
        return None
    return sum(int(file["size"]) for file in mark["files"])


def read_mark(folder: Path) -> dict[str, Any] | None:
    """What the mark of a whole product says; None where there is none, or a file changed since."""
    try:
        mark: dict[str, Any] = json.loads((folder / COMPLETE).read_text(encoding="utf-8"))
        if all((folder / file["path"]).stat().st_size == int(file["size"]) for file in mark["files"]):
            return mark
    except (OSError, ValueError, KeyError, TypeError):
        pass
    return None


def write_mark(
    folder: Path,
    product: Product,
    files: Iterable[Mapping[str, Any]],
    *,
    observation: str,
    source: str,
    **more: Any,
) -> None:
    """Say that a product is whole; last of all, when everything before is safe on the disk."""
    sweep(folder)
    document = {
        "product": product.name,
        "observation": observation,
        "source": source,
        "sensed": product.sensed.isoformat(),
        "baseline": product.baseline,
        "files": sorted(files, key=lambda file: str(file["path"])),
        **more,
    }
    write_whole(folder / COMPLETE, json.dumps(document, indent=1, ensure_ascii=False))


class ProductFolder:
    """One product on its way into its folder. Every file is tried even where one before it failed."""

    def __init__(self, archive: Archive, product: Product, ledger: Ledger, folder: Path) -> None:
        self._archive, self._product, self._ledger, self._folder = archive, product, ledger, folder
        self._entries: dict[str, Entry] = {}
        self._files: dict[str, dict[str, Any]] = {}

    @property
    def bytes(self) -> int:
        return sum(file["size"] for file in self._files.values())

    def path_of(self, key: str) -> Path:
        return self._folder / str(self._files[key]["path"])

    def describe(self, keys: Sequence[str]) -> None:
        """Metadata and SCL. A source without SAFE folders may have no file for its item: then it is written
        here.
        """
        try:
            files = self._archive.files(self._product, keys)
        except ArchiveError:
            if _ITEM not in keys:
                if self._unpack_whole(keys):
                    return
                raise
            files = self._archive.files(self._product, [key for key in keys if key != _ITEM])
            self._write_item()
        self._all(files)
        if _ITEM in keys:
            self._extra()

    def _extra(self) -> None:
        """The product's own metadata, where a source of single rasters serves them: they prove the offset."""
        from eo_pipeline.acquire.transport import AnswerError

        for key in METADATA:
            try:
                files = self._archive.files(self._product, [key])
            except ArchiveError:
                continue
            if any(file.href.startswith("s3:") for file in files):
                continue  # the requester would pay
            try:
                self._all(files)
            except AnswerError as error:
                if error.status not in (403, 404):
                    raise

    def bands(self, keys: Sequence[str], on_sizes: Callable[[int], None]) -> None:
        missing = [key for key in keys if key not in self._files]
        if not missing:
            return
        try:
            files = self._archive.files(self._product, missing)
        except ArchiveError:
            if self._unpack_whole(missing):
                return
            raise
        on_sizes(sum(file.size or 0 for file in files if not self._ledger.has(self._place(file))))
        self._all(files)

    def _all(self, files: Sequence[RemoteFile]) -> None:
        from eo_pipeline.acquire.pacing import StoppedError

        first: ArchiveError | None = None
        for file in files:
            try:
                self._one(file)
            except StoppedError:
                raise
            except ArchiveError as error:
                self._ledger.put_file(
                    self._place(file),
                    key=file.key,
                    source=self._archive.name,
                    state="failed",
                    reason=str(error),
                )
                first = first or error
        if first is not None:
            raise first

    def _place(self, file: RemoteFile) -> str:
        """Path below the root, as the ledger writes it."""
        inside = _safe(file.path)
        return (self._folder / inside).relative_to(self._ledger.root).as_posix()

    def _one(self, file: RemoteFile) -> None:
        place = self._place(file)
        target = self._ledger.root / place
        row = self._ledger.has(place)
        if row is None:
            verdict = self._fetch(file, target)
            self._ledger.put_file(
                place, key=file.key, source=self._archive.name, state="done",
                size=target.stat().st_size, blake3=verdict.digests["blake3"], proof=verdict.means,
            )  # fmt: skip
            row = self._ledger.has(place)
            if row is None:
                raise ArchiveError(f"{target} changed while it was fetched; run `eo fetch` again.")
        if file.key == "manifest":
            self._entries = read_manifest(target)
        self._files[file.key] = {
            "key": file.key, "path": file.path, "size": row.size, "blake3": row.blake3, "proof": row.proof
        }  # fmt: skip

    def _fetch(self, file: RemoteFile, target: Path) -> Verdict:
        """Bring one file and hold it against what source and manifest say; a damaged one is thrown away."""
        place = self._place(file)
        self._ledger.put_file(place, key=file.key, source=self._archive.name, state="fetching")
        entry = self._entries.get(file.path)
        for attempt in range(_TRIES):
            self._archive.fetch(file, target)
            try:
                verdict = verify(target, size=file.size, checksums=file.checksums, entry=entry)
                if file.key == "manifest":
                    read_manifest(target)
                return verdict
            except DamagedError as error:
                target.unlink(missing_ok=True)
                if attempt == _TRIES - 1:
                    raise DamagedError(f"{self._product.name}: {error}") from None
        raise AssertionError("unreachable")

    # ---- sources that are different --------------------------------------------------------------------
    def _write_item(self) -> None:
        """What the source said of the item, beside its rasters."""
        text = json.dumps(
            {"id": self._product.id, "properties": dict(self._product.properties)}, default=str,
            ensure_ascii=False, sort_keys=True,
        )  # fmt: skip
        write_whole(self._folder / "item.json", text)
        self._adopt(_ITEM, "item.json", proof="written here")

    def _unpack_whole(self, keys: Sequence[str]) -> bool:
        """Sources without single files: the whole zip, of which what is wanted is unpacked."""
        from eo_pipeline.acquire.sources.catalogue import key_of

        try:
            (whole,) = self._archive.files(self._product, ["product"])
        except (ArchiveError, ValueError):
            return False
        packed = beside(self._folder, ".zip")
        self._archive.fetch(whole, packed)
        try:
            check_zip(packed)
        except DamagedError:
            packed.unlink(missing_ok=True)
            raise
        with zipfile.ZipFile(packed) as archive:
            for member in archive.infolist():
                inside = _safe(member.filename, single=False)
                parts = PurePosixPath(inside).parts[1:]  # the first is the product's own folder
                key = key_of("/".join(parts)) if parts and not member.is_dir() else None
                if key is None:
                    continue
                target = self._folder.joinpath(*parts)
                target.parent.mkdir(parents=True, exist_ok=True)
                draft = beside(target, f".{os.getpid()}.partial")
                with archive.open(member) as source, draft.open("wb") as sink:
                    shutil.copyfileobj(source, sink)
                sync_file(draft)
                draft.replace(target)
                sync_folder(target.parent)
                self._adopt(key, "/".join(parts), proof="zip-crc")
        if lost := [key for key in keys if key not in self._files]:
            raise ArchiveError(f"{self._archive.name}: {self._product.name} holds no {', '.join(lost)}.")
        packed.unlink(missing_ok=True)
        return True

    def _adopt(self, key: str, path: str, *, proof: str) -> None:
        """Enter a file that lies in the folder already."""
        target = self._folder / path
        digest = verify(target).digests["blake3"]
        place = target.relative_to(self._ledger.root).as_posix()
        size = target.stat().st_size
        self._ledger.put_file(
            place, key=key, source=self._archive.name, state="done", size=size, blake3=digest, proof=proof
        )
        self._files[key] = {"key": key, "path": path, "size": size, "blake3": digest, "proof": proof}

    def mark(self, observation: str) -> None:
        write_mark(
            self._folder,
            self._product,
            self._files.values(),
            observation=observation,
            source=self._archive.name,
        )


def check_names(product: Product) -> None:
    """A name from outside becomes a folder: it may not lead anywhere else.

    Raises
    ------
    ArchiveError
        It does.
    """
    _safe(product.name, single=True)
    _safe(product.group, single=True)


def _safe(path: str, *, single: bool = False) -> str:
    """A path from outside that stays below the folder it is put in."""
    parts = PurePosixPath(path).parts
    wrong = not parts or path.startswith("/") or ".." in parts or "\\" in path or "\0" in path
    if wrong or (single and len(parts) != 1):
        raise ArchiveError(
            f"The source names a file {path!r}, which leads out of its folder; it is not used."
        )
    return path


def sweep(folder: Path) -> None:
    """Remove the drafts and locks that killed processes left."""
    for lock in folder.rglob("*.lock"):
        drop_lock(lock)
    for left in folder.rglob("*.partial"):
        if writer := _DRAFT.search(left.name):
            try:
                os.kill(int(writer[1]), 0)
            except ProcessLookupError:
                left.unlink(missing_ok=True)
            except PermissionError:
                pass  # its number belongs to somebody else's process by now, or it is somebody else's draft
