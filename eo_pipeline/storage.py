"""Where a season's files live: a local folder, or a prefix in S3-compatible storage, behind one class.

A `Folder` is a place and nothing more: it holds no connection and no secret, so it can be compared, pickled
and sent to a worker. Endpoint, region and keys come from the environment of the process that uses it
(AWS_ENDPOINT_URL, AWS_REGION, AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, …).
"""

from __future__ import annotations

import os
import secrets
import shutil
import tempfile
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self
from urllib.parse import urlsplit

from eo_pipeline import s3
from eo_pipeline.disk import partial_of, write_file
from eo_pipeline.errors import StorageError

_S3: Final = "s3://"
#: Requests in flight when many small objects are read; a request waits on the network, not on a core.
_AT_ONCE: Final = 32
#: What a remote file that is read in parts is asked for at least, in bytes.
_BUFFER: Final = 1 << 16
#: A temporary file as old as this belongs to a writer that was killed.
_STALE_SECONDS: Final = 3600.0


@dataclass(frozen=True, slots=True, order=True)
class Folder:
    """A local folder or an S3 prefix.

    Names are relative and joined with "/". A `Folder` made by joining may also stand for a single file: then
    its `parent` and `name` say where that lies.

    Parameters
    ----------
    url : str
        An absolute local path, or "s3://bucket/prefix". Use `Folder.of` for anything else.

    Examples
    --------
    >>> Folder.of("s3://crops/2026") / "tasks" / "b1.json"
    Folder(url='s3://crops/2026/tasks/b1.json')
    >>> (Folder.of("s3://crops/2026") / "tasks").gdal_path("a.tif")
    '/vsis3/crops/2026/tasks/a.tif'
    """

    url: str

    @classmethod
    def of(cls, where: Folder | Path | str) -> Self:
        """A folder from a path (made absolute) or an s3:// URL.

        Raises
        ------
        StorageError
            A URL of another scheme, or without a bucket.
        """
        if isinstance(where, Folder):
            return cls(where.url)
        text = str(where)
        if text.startswith(_S3):
            bucket, _, prefix = text.removeprefix(_S3).partition("/")
            if len(bucket) < 3:
                raise StorageError(f"{text}: no bucket. Write s3://BUCKET or s3://BUCKET/FOLDER.")
            parts = [part for part in prefix.split("/") if part]
            if any(part in (".", "..") for part in parts):
                raise StorageError(f"{text}: . and .. are no names in a bucket. Write the folder's own path.")
            return cls(_S3 + "/".join([bucket, *parts]))
        if "://" in text:
            raise StorageError(
                f"{text}: storage of this kind is not supported. Give a local folder or s3://BUCKET/FOLDER "
                "(other S3-compatible servers by the variable AWS_ENDPOINT_URL)."
            )
        return cls(os.path.abspath(text))  # noqa: PTH100 - Path.absolute keeps "..", which would defeat ==

    # ---- names ------------------------------------------------------------------------------------------
    def __str__(self) -> str:
        return self.url

    def __truediv__(self, name: str) -> Self:
        return type(self)(f"{self.url.rstrip('/')}/{_checked(name)}")

    @property
    def remote(self) -> bool:
        """Whether it lies in S3-compatible storage."""
        return self.url.startswith(_S3)

    @property
    def name(self) -> str:
        """The last part of its name."""
        return self.url.rpartition("/")[2]

    @property
    def parent(self) -> Self:
        """The folder it lies in.

        Raises
        ------
        StorageError
            A bucket lies in no folder.
        """
        if self.remote and "/" not in self.url.removeprefix(_S3):
            raise StorageError(f"{self.url} is a bucket and lies in no folder.")
        return type(self)(self.url.rpartition("/")[0] or "/")

    @property
    def local_path(self) -> Path | None:
        """The path, None where it is remote."""
        return None if self.remote else Path(self.url)

    @property
    def bucket(self) -> str:
        """The bucket; empty for a local folder."""
        return self.url.removeprefix(_S3).partition("/")[0] if self.remote else ""

    @property
    def prefix(self) -> str:
        """The prefix within the bucket, without slashes at its ends; empty for a local folder."""
        return self.url.removeprefix(_S3).partition("/")[2] if self.remote else ""

    def _path(self, name: str) -> Path:
        return Path(self.url, _checked(name))

    def _key(self, name: str) -> str:
        return f"{self.prefix}/{_checked(name)}" if self.prefix else _checked(name)

    # ---- whole files ------------------------------------------------------------------------------------
    def read(self, name: str) -> bytes:
        """The content of a file.

        Raises
        ------
        FileNotFoundError
            There is no such file.
        StorageError
            The storage cannot be reached, or refuses.
        """
        if not self.remote:
            return self._path(name).read_bytes()
        with self.telling(name):
            return bytes(self._store().get(self._key(name)).bytes())

    def read_many(self, names: Iterable[str]) -> dict[str, bytes]:
        """The contents of those of the files that exist; many requests at once where it is remote."""

        def one(name: str) -> tuple[str, bytes | None]:
            try:
                return name, self.read(name)
            except FileNotFoundError:
                return name, None

        if not self.remote:
            found: Iterable[tuple[str, bytes | None]] = map(one, names)
        else:
            with ThreadPoolExecutor(_AT_ONCE) as pool:
                found = list(pool.map(one, names))
        return {name: content for name, content in found if content is not None}

    def write(self, name: str, content: bytes) -> None:
        """Write a file so that a reader sees the old or the new one whole, whenever the writer is killed."""
        if not self.remote:
            write_file(self._path(name), content)
            return
        with self.telling(name):
            # one PUT: S3 shows an object whole or not at all
            self._store().put(self._key(name), content, use_multipart=False)

    def write_new(self, name: str, content: bytes) -> bool:
        """Write a file only if there is none of that name; says whether it was written.

        Of several writers at the same time exactly one succeeds.
        """
        if not self.remote:
            path = self._path(name)
            partial = partial_of(path)
            try:
                partial.write_bytes(content)
                os.link(partial, path)
            except FileExistsError:
                return False
            finally:
                partial.unlink(missing_ok=True)
            return True
        from obstore.exceptions import AlreadyExistsError

        with self.telling(name):
            try:
                self._store().put(self._key(name), content, mode="create", use_multipart=False)
            except AlreadyExistsError:
                return False
        return True

    def exists(self, name: str) -> bool:
        """Whether there is such a file."""
        if not self.remote:
            return self._path(name).is_file()
        try:
            with self.telling(name):
                # not HEAD: its answer does not tell a file that is missing from a bucket that is
                self._store().get(self._key(name))
        except FileNotFoundError:
            return False
        return True

    def delete(self, name: str) -> None:
        """Remove a file; nothing happens where there is none."""
        if not self.remote:
            self._path(name).unlink(missing_ok=True)
            return
        with self.telling(name):
            self._store().delete(self._key(name))

    def delete_tree(self, name: str = "") -> None:
        """Remove everything below a name, or below the folder itself."""
        if not self.remote:
            shutil.rmtree(self._path(name) if name else self.url, ignore_errors=True)
            return
        where = self._key(name) if name else self.prefix
        with self.telling(name):
            store = self._store()
            for batch in store.list(where or None, chunk_size=1000):
                if paths := [item["path"] for item in batch]:
                    store.delete(paths)

    def names(self, prefix: str = "") -> list[str]:
        """Names of the files below a sub-folder, sorted and relative to this folder, in all depths.

        Files that are still being written are not among them.
        """
        if not self.remote:
            root = Path(self.url)
            start = self._path(prefix) if prefix else root
            return sorted(_files(start, len(str(root).rstrip("/")) + 1))
        where = self._key(prefix) if prefix else self.prefix
        cut = len(self.prefix) + 1 if self.prefix else 0
        with self.telling(prefix):
            # obstore lists by whole parts of a name: "a" does not find "ab/c"
            listed = self._store().list(where or None, chunk_size=1000)
            return sorted(item["path"][cut:] for batch in listed for item in batch)

    def folders(self) -> list[str]:
        """Names of the folders that lie directly in it, sorted."""
        if not self.remote:
            path = Path(self.url)
            return sorted(entry.name for entry in path.iterdir() if entry.is_dir()) if path.is_dir() else []
        with self.telling(""):
            found = self._store().list_with_delimiter(self.prefix or None)
        return sorted(name.rstrip("/").rpartition("/")[2] for name in found["common_prefixes"])

    def sweep(self, *, older_than: float = _STALE_SECONDS) -> int:
        """Remove what killed writers left in this very folder; gives the number of files. S3 has none."""
        if self.remote or not Path(self.url).is_dir():
            return 0
        swept = 0
        with os.scandir(self.url) as entries:
            for entry in entries:
                if _unfinished(entry.name):
                    try:
                        if time.time() - entry.stat().st_mtime > older_than:
                            os.unlink(entry.path)  # noqa: PTH108
                            swept += 1
                    except FileNotFoundError:  # its writer has just finished
                        continue
        return swept

    @contextmanager
    def open(self, name: str) -> Iterator[Any]:
        """A binary file to read parts of; in S3 a part is one request of its range. Raises as `read`."""
        if not self.remote:
            with self._path(name).open("rb") as stream:
                yield stream
            return
        import obstore

        with self.telling(name):
            yield obstore.open_reader(self._store(), self._key(name), buffer_size=_BUFFER)

    def bytes_of(self, prefix: str = "") -> int:
        """What the files below a sub-folder take, in bytes."""
        if not self.remote:
            return sum((Path(self.url) / name).stat().st_size for name in self.names(prefix))
        with self.telling(prefix):
            listed = self._store().list(self._key(prefix) if prefix else self.prefix or None)
            return sum(item["size"] for batch in listed for item in batch)

    # ---- whole folders, for libraries that know only paths ----------------------------------------------
    @contextmanager
    def filling(self) -> Iterator[Path]:
        """A local folder to write to: this one, or where it is remote one whose files are sent at the end."""
        if (path := self.local_path) is not None:
            yield path
            return
        with tempfile.TemporaryDirectory() as space:
            made = Path(space, self.name)
            yield made
            for name in Folder.of(made).names():
                self.write(name, (made / name).read_bytes())

    @contextmanager
    def fetched(self) -> Iterator[Path]:
        """A local folder to read from: this one, or where it is remote a copy that goes at the end."""
        if (path := self.local_path) is not None:
            yield path
            return
        with tempfile.TemporaryDirectory() as space:
            copy = Folder.of(Path(space, self.name))
            for name, content in self.read_many(self.names()).items():
                copy.write(name, content)
            yield Path(copy.url)

    # ---- other libraries --------------------------------------------------------------------------------
    def zarr_store(self, name: str = "", *, read_only: bool = False) -> Any:
        """A zarr v3 store below this folder: a LocalStore or an ObjectStore."""
        if not self.remote:
            from zarr.storage import LocalStore

            return LocalStore(self._path(name) if name else self.url, read_only=read_only)
        from zarr.storage import ObjectStore

        where = self / name if name else self
        return ObjectStore(s3.connect(where.bucket, where.prefix), read_only=read_only)

    def gdal_path(self, name: str = "") -> str:
        """The name by which GDAL opens a file: /vsis3/… or the path."""
        where = self / name if name else self
        return f"/vsis3/{where.url.removeprefix(_S3)}" if self.remote else where.url

    def gdal_options(self) -> dict[str, str]:
        """Options for `rasterio.Env` that go with `gdal_path`; GDAL takes keys from the environment."""
        if not self.remote:
            return {}
        options = {"GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR"}
        if endpoint := s3.endpoint():
            parts = urlsplit(endpoint)
            options |= {
                "AWS_S3_ENDPOINT": parts.netloc + parts.path.rstrip("/"),
                "AWS_HTTPS": "NO" if parts.scheme == "http" else "YES",
                "AWS_VIRTUAL_HOSTING": "FALSE",
            }
        return options

    # ---- S3 ---------------------------------------------------------------------------------------------
    def check(self) -> None:
        """Make sure that the place can be listed and written, before hours of work are given to it.

        Raises
        ------
        StorageError
            No bucket, wrong keys, no answer, or no permission; a local folder that cannot be made.
        """
        name = f".check-{secrets.token_hex(4)}"
        try:
            self.write(name, b"")
            self.delete(name)
        except OSError as error:
            raise StorageError(
                f"{self.url} cannot be written ({error}). Check its permissions, or choose another folder."
            ) from error

    def entry(self, name: str) -> tuple[Any, str]:
        """The obstore store and key of a remote file, for conditional writes."""
        return self._store(), self._key(name)

    def _store(self) -> Any:
        return s3.connect(self.bucket)

    @contextmanager
    def telling(self, name: str) -> Iterator[None]:
        """Turn the storage's errors into ones that say what to do; local ones are left alone."""
        if not self.remote:
            yield
            return
        from obstore.exceptions import BaseError

        try:
            yield
        except FileNotFoundError as error:
            if "NoSuchBucket" not in str(error):
                raise FileNotFoundError(f"{self.url}/{name}" if name else self.url) from None
            raise self._failure(name, str(error)) from error
        except (BaseError, PermissionError) as error:
            raise self._failure(name, str(error)) from error

    def _failure(self, name: str, reason: str) -> StorageError:
        where = f"{self.url}/{name}" if name else self.url
        return StorageError(f"{where}: {s3.meaning(reason, self.bucket)}. What was written before is kept.")


#: A file or folder, by its path or as a `Folder`.
Place = Path | Folder


def require_local(path: Path) -> Path:
    """The path, where it is one: what only a local folder can hold is refused a URL.

    Raises
    ------
    StorageError
        A URL; as a path it would name a folder "s3:" where the command runs.
    """
    if path.parts and path.parts[0].endswith(":"):
        raise StorageError(
            f"{path.parts[0]}//{'/'.join(path.parts[1:])}: this must be a local path. Only the work folder "
            "([output] work, --work) may lie in S3."
        )
    return path


def _checked(name: str) -> str:
    """A relative name without tricks."""
    parts = name.split("/")
    if not name or name.startswith("/") or any(part in ("", ".", "..") for part in parts):
        raise StorageError(f"“{name}” is no name within a folder. Give parts joined by /, not . or ..")
    return name


def _unfinished(name: str) -> bool:
    return name.startswith(".") and name.endswith(".partial")


def _files(start: Path, cut: int) -> Iterator[str]:
    if not start.is_dir():
        return
    for folder, _, names in os.walk(start):
        for name in names:
            if not _unfinished(name):
                yield os.path.join(folder, name)[cut:]  # noqa: PTH118 - 20 000 names at a time
