"""Whether a file is the one the archive meant: digests, multihashes, SAFE manifests, zips, raster headers."""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, Final, Literal
from xml.etree import ElementTree

from eo_pipeline.errors import ArchiveError

_CHUNK: Final = 1 << 20
_MANIFEST_LIMIT: Final = 32 << 20

#: Multicodec numbers of the digests archives use, as unsigned varints in hexadecimal, and their length.
#: https://github.com/multiformats/multicodec/blob/master/table.csv
_MULTIHASH: Final = {"d501": ("md5", 16), "12": ("sha256", 32), "16": ("sha3-256", 32), "1e": ("blake3", 32)}

#: Any one digest proves a file; the fastest is taken first.
ALGORITHMS: Final = ("blake3", "md5", "sha256", "sha3-256")
_LENGTHS: Final = {"blake3": 64, "md5": 32, "sha256": 64, "sha3-256": 64}

#: How GDAL's driver tells, within the first bytes of a COG, that each block stands between its size and its
#: last four bytes once more. https://gdal.org/en/stable/drivers/raster/cog.html#file-format-details
_FRAMED: Final = (
    b"BLOCK_LEADER=SIZE_AS_UINT4",
    b"BLOCK_TRAILER=LAST_4_BYTES_REPEATED",
    b"KNOWN_INCOMPATIBLE_EDITION=NO",
)
_GHOST: Final = 512
#: Bytes between two blocks that are no directory.
_BETWEEN: Final = 16

Means = Literal["checksum", "manifest", "zip-crc", "pixels", "header", "size"]


class DamagedError(ArchiveError):
    """A file that is not what its source says it is."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """By what a file was found whole, in words for the ledger: "md5", "manifest md5", "header and size"."""

    means: str
    digests: Mapping[str, str] = field(default_factory=dict)


def _algorithm(name: str) -> str:
    plain = name.strip().lower().replace("_", "-")
    return {"sha-256": "sha256", "sha2-256": "sha256", "sha3": "sha3-256", "sha3256": "sha3-256",
            "sha-3-256": "sha3-256", "md-5": "md5"}.get(plain, plain)  # fmt: skip


def usable(checksums: Mapping[str, str]) -> dict[str, str]:
    """The checksums that can be checked: known algorithm, a digest of its length, in lower case.

    Archives send empty values and placeholders; these say nothing and are dropped.

    >>> usable({"MD5": "D41D8CD98F00B204E9800998ECF8427E", "BLAKE3": "", "CRC": "12"})
    {'md5': 'd41d8cd98f00b204e9800998ecf8427e'}
    """
    found = {}
    for name, value in checksums.items():
        algorithm, digest = _algorithm(name), (value or "").strip().lower()
        if len(digest) == _LENGTHS.get(algorithm) and set(digest) <= set("0123456789abcdef"):
            found[algorithm] = digest
    return found


def multihash(text: str) -> dict[str, str]:
    """A multihash in hexadecimal (STAC `file:checksum`) as checksums; empty where it is of no known kind.

    >>> multihash("d50110d41d8cd98f00b204e9800998ecf8427e")
    {'md5': 'd41d8cd98f00b204e9800998ecf8427e'}
    """
    plain = (text or "").strip().lower()
    for prefix, (algorithm, length) in _MULTIHASH.items():
        head = f"{prefix}{length:02x}"
        if plain.startswith(head) and len(plain) == len(head) + 2 * length:
            return usable({algorithm: plain[len(head) :]})
    return {}


def _hasher(algorithm: str) -> Any:
    if algorithm == "blake3":
        from blake3 import blake3

        return blake3()
    if algorithm == "md5":
        return hashlib.md5(usedforsecurity=False)
    return hashlib.new(algorithm.replace("-", "_"))


def digests(path: Path, algorithms: Iterable[str], tick: Callable[[], None] | None = None) -> dict[str, str]:
    """Digests of a file in hexadecimal, read once in pieces; `tick` is called between them."""
    hashers = {_algorithm(name): _hasher(_algorithm(name)) for name in algorithms}
    with path.open("rb") as stream:
        while piece := stream.read(_CHUNK):
            for hasher in hashers.values():
                hasher.update(piece)
            if tick is not None:
                tick()
    return {name: hasher.hexdigest() for name, hasher in hashers.items()}


def check_digest(path: Path, checksums: Mapping[str, str]) -> str:
    """Check a file against what is known of it; returns the algorithm used, or "" where nothing is known.

    Raises
    ------
    DamagedError
        The digest is another.
    """
    known = usable(checksums)
    for algorithm in ALGORITHMS:
        if algorithm in known:
            found = digests(path, [algorithm])[algorithm]
            if found != known[algorithm]:
                raise DamagedError(
                    f"{path.name}: {algorithm} is {found}, the source says {known[algorithm]}. "
                    "It is fetched again."
                )
            return algorithm
    return ""


@dataclass(frozen=True, slots=True)
class Entry:
    """What a SAFE manifest says of one file; `path` is below the product's folder."""

    path: str
    size: int | None
    checksums: Mapping[str, str]


def read_manifest(path: Path) -> dict[str, Entry]:
    """Files of a product by their path, from its manifest.safe.

    Raises
    ------
    DamagedError
        It is no manifest: truncated, not XML, or without a single file.
    """
    try:
        if path.stat().st_size > _MANIFEST_LIMIT:
            raise DamagedError(f"{path} is too large for a manifest; fetch it again.")
        root = ElementTree.fromstring(path.read_bytes())  # noqa: S314
    except (OSError, ElementTree.ParseError) as error:
        raise DamagedError(f"{path} is no manifest of a SAFE product ({error}); fetch it again.") from None
    entries: dict[str, Entry] = {}
    for stream in root.iter("byteStream"):
        place, check = stream.find("fileLocation"), stream.find("checksum")
        href = place.get("href", "") if place is not None else ""
        parts = PurePosixPath(href.replace("\\", "/").removeprefix("./"))
        if not href or parts.is_absolute() or ".." in parts.parts:
            continue
        known: dict[str, str] = {}
        if check is not None and check.text:
            known = usable({check.get("checksumName", "MD5"): check.text})
        size = stream.get("size", "")
        entries[str(parts)] = Entry(str(parts), int(size) if size.isdigit() else None, known)
    if not entries:
        raise DamagedError(f"{path} names no file; it is not the manifest of a SAFE product.")
    return entries


def check_zip(path: Path) -> None:
    """Read a zip through and hold every member against its CRC.

    Raises
    ------
    DamagedError
        It is no zip, is cut off, or a member is damaged.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            wrong = archive.testzip()
    except (zipfile.BadZipFile, OSError, EOFError, NotImplementedError, RuntimeError) as error:
        raise DamagedError(f"{path.name} is no whole zip ({error}). It is fetched again.") from None
    if wrong is not None:
        raise DamagedError(f"{path.name}: {wrong} in it is damaged. It is fetched again.")


def check_content(path: Path) -> Means:
    """The last resort where nobody tells a digest: can the file be what its name says?

    XML must parse; JSON too; zips are read through. Of rasters the header is
    opened and the last pixels are decoded, which a file that was cut off does not survive. A GeoTIFF with
    DEFLATE, as archives have them, is unpacked whole ("pixels"): every block carries a checksum of its own.
    What lies outside the blocks nothing here proves; `Download` asks for it a second time.

    Raises
    ------
    DamagedError
        It cannot.
    """
    suffix = path.suffix.lower()
    if path.stat().st_size == 0:
        raise DamagedError(f"{path.name} is empty. It is fetched again.")
    if suffix == ".zip":
        check_zip(path)
        return "zip-crc"
    if suffix in (".xml", ".safe"):
        try:
            ElementTree.parse(path)  # noqa: S314
        except ElementTree.ParseError as error:
            raise DamagedError(f"{path.name} is no whole XML ({error}). It is fetched again.") from None
        return "header"
    if suffix == ".json":
        import json

        try:
            json.loads(path.read_bytes())
        except ValueError as error:
            raise DamagedError(f"{path.name} is no whole JSON ({error}). It is fetched again.") from None
        return "header"
    if suffix in (".jp2", ".tif", ".tiff"):
        return _check_raster(path)
    return "size"


def _check_raster(path: Path) -> Means:
    import zlib

    from rasterio.enums import Compression
    from rasterio.windows import Window

    try:
        with _opened(path) as raster:
            for row, col in ((0, 0), (raster.height - 1, raster.width - 1)):
                raster.read(1, window=Window(col, row, 1, 1))
            if raster.driver != "GTiff" or raster.compression != Compression.deflate:
                return "header"
            # GDAL ends where the pixels end, before the checksum of a block, and finds no wrong byte
            blocks = set(_blocks(raster))
        with path.open("rb") as file:
            head = file.read(_GHOST)
            framed = all(word in head for word in _FRAMED) and b"MASK_INTERLEAVED" not in head
            for offset, size in blocks:
                file.seek(offset - 4)
                before, block, after = file.read(4), file.read(size), file.read(4)
                zlib.decompress(block)
                if framed and (before != size.to_bytes(4, "little") or after != block[-4:]):
                    raise zlib.error(f"the block at {offset} is not between its size and its last bytes")
        return "pixels"
    except zlib.error as error:
        raise DamagedError(f"{path.name} cannot be decoded ({error}). It is fetched again.") from None


def check_frame(raster: Any, told: Mapping[str, Any], name: str) -> None:
    """Hold CRS, size and place of a raster against what its STAC item says of them (`told`, its properties).

    Raises
    ------
    DamagedError
        It is another raster; `name` is how the message calls it.
    """
    facts = {
        "proj:epsg": [raster.crs.to_epsg() if raster.crs else None],
        "proj:shape": list(raster.shape),
        "proj:transform": list(raster.transform)[:6],
    }
    for key, fact in facts.items():
        if (said := told.get(key)) is None:
            continue
        listed = list(said)[: len(fact)] if isinstance(said, list | tuple) else [said]
        # makers round; a tenth of a metre is nothing
        if listed != fact and not (key == "proj:transform" and _near(listed, fact)):
            raise DamagedError(
                f"{name} has {key} {fact if len(fact) > 1 else fact[0]}, its item says {said}. Fetch it "
                "again later."
            )


def _near(one: list[Any], two: list[float]) -> bool:
    return len(one) == len(two) and all(abs(a - b) < 1e-6 for a, b in zip(one, two, strict=True))


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """A raster; that it cannot be opened or read means that it is damaged."""
    import rasterio
    from rasterio.errors import RasterioError

    try:
        with rasterio.Env(), rasterio.open(path) as raster:
            yield raster
    except RasterioError as error:
        raise DamagedError(f"{path.name} cannot be decoded ({error}). It is fetched again.") from None


def outside_blocks(path: Path) -> list[tuple[int, int]]:
    """Begin and end of what in a GeoTIFF is no block of pixels: header and directories, wherever they lie.

    The few bytes between two blocks are not among them; `check_content` knows what must stand there.

    Raises
    ------
    DamagedError
        It cannot be opened.
    """
    with _opened(path) as raster:
        blocks = sorted(set(_blocks(raster))) if raster.driver == "GTiff" else []
    if not blocks:
        return []
    found, place = [], 0
    for offset, size in [*blocks, (path.stat().st_size, 0)]:
        if offset - place > _BETWEEN:
            found.append((place, offset))
        place = max(place, offset + size)
    return found


def _blocks(raster: Any) -> Iterator[tuple[int, int]]:
    """Offset and size of every block of a GeoTIFF that was written, overviews included."""
    for band in raster.indexes:
        height, width = raster.block_shapes[band - 1]
        for level, factor in enumerate((1, *raster.overviews(band))):
            overview = {"ovr": level - 1} if level else {}
            for row in range(-(-raster.height // (factor * height))):
                for column in range(-(-raster.width // (factor * width))):
                    found = [
                        raster.get_tag_item(f"BLOCK_{what}_{column}_{row}", "TIFF", bidx=band, **overview)
                        for what in ("OFFSET", "SIZE")
                    ]
                    if all(found):
                        yield int(found[0]), int(found[1])


def verify(
    path: Path,
    *,
    size: int | None = None,
    checksums: Mapping[str, str] | None = None,
    entry: Entry | None = None,
) -> Verdict:
    """Hold a file against all that is known of it and say what proved it.

    In this order: the source's checksum, the manifest's, the file's own structure; the size always.

    Parameters
    ----------
    size, checksums
        What the source says; None, 0 and empty mean unknown.
    entry
        What the product's manifest says.

    Raises
    ------
    DamagedError
        The file is not the one meant.
    """
    actual = path.stat().st_size
    for said, who in ((size, "the source"), (entry.size if entry else None, "the manifest")):
        if said and said != actual:
            raise DamagedError(f"{path.name} has {actual} bytes, {who} says {said}. It is fetched again.")
    known = usable(checksums or {})
    listed = usable(entry.checksums) if entry else {}
    chosen = next((a for a in ALGORITHMS if a in known), "")
    manifest = "" if chosen else next((a for a in ALGORITHMS if a in listed), "")
    found = digests(path, {"blake3", *([chosen] if chosen else []), *([manifest] if manifest else [])})
    for algorithm, wanted, who in ((chosen, known, "the source"), (manifest, listed, "the manifest")):
        if algorithm and found[algorithm] != wanted[algorithm]:
            raise DamagedError(
                f"{path.name}: {algorithm} is {found[algorithm]}, {who} says {wanted[algorithm]}. "
                "It is fetched again."
            )
    if chosen:
        return Verdict(chosen, found)
    if manifest:
        return Verdict(f"manifest {manifest}", found)
    means = check_content(path)
    sized = bool(size) or bool(entry and entry.size)
    return Verdict(f"{means} and size" if sized and means != "size" else means, found)
