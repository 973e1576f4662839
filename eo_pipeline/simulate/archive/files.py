"""Files that are made of products on demand, each once: zips with their digests, cloud-optimised rasters."""

from __future__ import annotations

import hashlib
import io
import os
import threading
import zipfile
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Final, cast

from eo_pipeline.errors import ArchiveError
from eo_pipeline.simulate.archive.catalogue import CELL_PIXEL, Record

_CHUNK: Final = 1 << 20
#: Members get this time, so that the same product gives the same zip anywhere.
_ZIP_TIME: Final = (2020, 1, 1, 0, 0, 0)
OFFSET: Final = 1000


@dataclass(frozen=True, slots=True)
class Digest:
    """Size and digests of a whole product as one zip."""

    size: int
    md5: str
    blake3: str


class _Sink(io.RawIOBase):
    """Where a zip is written that nobody keeps: counts and hashes."""

    def __init__(self) -> None:
        from blake3 import blake3

        self.size = 0
        self.md5, self.blake3 = hashlib.md5(usedforsecurity=False), blake3()

    def writable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return False

    def write(self, data: Any) -> int:
        self.size += len(data)
        self.md5.update(data)
        self.blake3.update(data)
        return len(data)


class _Through:
    """A file that cannot be sought in, so that it holds the same bytes as what `_Sink` hashed."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream

    def write(self, data: Any) -> int:
        return self._stream.write(data)

    def flush(self) -> None:
        self._stream.flush()


class Workshop:
    """Makes files below a cache folder; safe to share between threads and processes.

    Parameters
    ----------
    folder
        Where they are kept.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._locks: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)
        self._guard = threading.Lock()
        self._digests: dict[str, Digest] = {}
        # two at a time: more would only fight for memory and cores with who reads them
        self._slots = threading.BoundedSemaphore(2)

    def _lock(self, name: str) -> threading.Lock:
        with self._guard:
            return self._locks[name]

    def digest(self, record: Record) -> Digest:
        """Size and digests of the product's zip; made once, without writing it."""
        key = f"{record.id}-{state_of(record.path)}"
        with self._lock(key):
            if key not in self._digests:
                sink = _Sink()
                write_zip(record.path, cast(BinaryIO, sink))
                self._digests[key] = Digest(sink.size, sink.md5.hexdigest(), sink.blake3.hexdigest())
            return self._digests[key]

    def zip(self, record: Record) -> Path:
        """The whole product as a zip file."""

        def make(draft: Path) -> None:
            with draft.open("wb") as stream:
                write_zip(record.path, cast(BinaryIO, _Through(stream)))

        return self._make(f"{record.name}-{state_of(record.path)}.zip", make)

    def cog(self, source: Path, *, harmonised: bool, categorical: bool) -> Path:
        """A JP2 (or GeoTIFF) as a cloud-optimised GeoTIFF.

        Parameters
        ----------
        source
            The product's raster.
        harmonised
            Subtract the offset of baseline 04.00; 0 stays nodata, everything else becomes 1 at least.
        categorical
            Its numbers are classes: overviews take the nearest one, others the average.
        """
        state = source.stat()
        facts = f"{source}|{state.st_size}|{state.st_mtime_ns}|{harmonised}"
        name = hashlib.sha256(facts.encode()).hexdigest()[:24]

        def make(draft: Path) -> None:
            with self._slots:
                _write_cog(source, draft, harmonised=harmonised, categorical=categorical)

        return self._make(f"{source.stem}-{name}.tif", make)

    def cell(self, record: Record) -> Path:
        """A cell of the elevation model as a cloud-optimised GeoTIFF; void where its file has no heights."""
        state = record.path.stat()

        def make(draft: Path) -> None:
            with self._slots:
                _write_cell(record, draft)

        return self._make(f"{record.name}-{state.st_size}-{state.st_mtime_ns}.tif", make)

    def _make(self, name: str, make: Any) -> Path:
        target = self.folder / name
        with self._lock(name):
            if not target.is_file():
                self.folder.mkdir(parents=True, exist_ok=True)
                draft = self.folder / f".{os.getpid()}-{threading.get_ident()}-{name}"
                try:
                    make(draft)
                    draft.replace(target)
                finally:
                    draft.unlink(missing_ok=True)
        return target


def state_of(folder: Path) -> str:
    """A word that changes when a file of the product does."""
    facts = []
    for path in members(folder):
        status = path.stat()
        facts.append(f"{path.relative_to(folder)}|{status.st_size}|{status.st_mtime_ns}")
    return hashlib.sha256("\n".join(facts).encode()).hexdigest()[:16]


def members(folder: Path) -> list[Path]:
    """All files of a product, in one order."""
    return sorted(path for path in folder.rglob("*") if path.is_file())


def write_zip(folder: Path, stream: BinaryIO) -> None:
    """The product as a zip without compression (rasters are compressed already), the same bytes always."""
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED) as archive:
        for path in members(folder):
            info = zipfile.ZipInfo(f"{folder.name}/{path.relative_to(folder).as_posix()}", _ZIP_TIME)
            info.external_attr = 0o644 << 16
            info.file_size = path.stat().st_size
            with path.open("rb") as source, archive.open(info, "w") as target:
                while piece := source.read(_CHUNK):
                    target.write(piece)


def _write_cog(source: Path, target: Path, *, harmonised: bool, categorical: bool) -> None:
    import numpy as np
    import rasterio
    from rasterio.errors import RasterioError

    try:
        with rasterio.Env(GDAL_PAM_ENABLED="NO", GDAL_NUM_THREADS="1"), rasterio.MemoryFile() as memory:
            with rasterio.open(source) as raster:
                data, tags = raster.read(), raster.tags()
                profile = {
                    "driver": "GTiff", "width": raster.width, "height": raster.height, "count": raster.count,
                    "dtype": data.dtype.name, "crs": raster.crs, "transform": raster.transform, "nodata": 0,
                }  # fmt: skip
            if harmonised:
                moved = np.maximum(data.astype(np.int32) - OFFSET, 1)
                data = np.where(data == 0, 0, moved).astype(data.dtype)
            with memory.open(**profile) as plain:
                plain.write(data)
                # what says that it is simulated goes along
                plain.update_tags(**tags)
            _copy_cog(memory, target, block=512, resampling="NEAREST" if categorical else "AVERAGE")
    except RasterioError as error:
        raise ArchiveError(
            f"{source} cannot be made a cloud-optimised GeoTIFF ({error}). The raster is damaged: make the "
            "product again."
        ) from error


def _write_cell(record: Record, target: Path) -> None:
    import numpy as np
    import rasterio
    from rasterio.errors import RasterioError
    from rasterio.transform import from_origin
    from rasterio.warp import Resampling, reproject

    side = round(1 / CELL_PIXEL)
    try:
        with rasterio.Env(GDAL_PAM_ENABLED="NO", GDAL_NUM_THREADS="1"), rasterio.MemoryFile() as memory:
            with rasterio.open(record.path) as raster:
                heights = np.full((side, side), raster.nodata, dtype=np.float32)
                place = {"crs": "EPSG:4326", "transform": from_origin(*record.corner, CELL_PIXEL, CELL_PIXEL)}
                reproject(
                    rasterio.band(raster, 1), heights, dst_crs=place["crs"], dst_transform=place["transform"],
                    dst_nodata=raster.nodata, resampling=Resampling.average,
                )  # fmt: skip
                profile = {
                    "driver": "GTiff", "width": side, "height": side, "count": 1, "dtype": "float32",
                    "nodata": raster.nodata, "tiled": True, **place,
                }  # fmt: skip
                with memory.open(**profile) as plain:
                    plain.write(heights, 1)
                    plain.update_tags(**raster.tags())
            _copy_cog(memory, target, block=1024, resampling="AVERAGE")
    except RasterioError as error:
        raise ArchiveError(
            f"{record.path} cannot be made cells of an elevation model ({error}). Make it again."
        ) from error


def _copy_cog(memory: Any, target: Path, *, block: int, resampling: str) -> None:
    import rasterio.shutil

    with memory.open() as plain:
        rasterio.shutil.copy(
            plain, target, driver="COG", COMPRESS="DEFLATE", PREDICTOR="YES", BLOCKSIZE=str(block),
            OVERVIEWS="IGNORE_EXISTING", OVERVIEW_RESAMPLING=resampling,
        )  # fmt: skip
