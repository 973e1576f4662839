"""Products in an S3-compatible store (CDSE's `eodata`): what lies below a product's folder, and its bytes.

Through obstore. Only reading; the stores of runs and cubes are elsewhere.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

from eo_pipeline.acquire.checks import DamagedError, check_digest
from eo_pipeline.acquire.download import beside, locked
from eo_pipeline.acquire.pacing import Backoff, tell
from eo_pipeline.acquire.products import RemoteFile
from eo_pipeline.acquire.secrets import Unpicklable
from eo_pipeline.disk import sync_folder
from eo_pipeline.errors import ArchiveError

if TYPE_CHECKING:
    from obstore import GetOptions

    from eo_pipeline.acquire.transport import Transport

_CHUNK: Final = 1 << 20


class Bucket(Unpicklable):
    """One bucket of an S3-compatible service, read with keys.

    Parameters
    ----------
    name
        The bucket ("eodata").
    transport
        Whose limits (tries, timeouts, bandwidth) hold here too.
    endpoint
        Address of the service; buckets are addressed by path.
    keys
        Access key and secret.
    source
        How messages call the archive.
    """

    def __init__(
        self, name: str, transport: Transport, *, endpoint: str, keys: tuple[str, str], source: str
    ) -> None:
        from obstore.store import S3Store

        limits = transport.limits
        self._source, self._transport = source, transport
        self._endpoint = endpoint
        self._store = S3Store(
            name,
            endpoint=endpoint,
            access_key_id=keys[0],
            secret_access_key=keys[1],
            region="default",
            virtual_hosted_style_request=False,
            client_options={
                "allow_http": endpoint.startswith("http://"),
                "connect_timeout": f"{limits.connect_timeout:g} seconds",
                "timeout": f"{max(limits.read_timeout, 1) * 10:g} seconds",
            },
            retry_config={"max_retries": 2},
        )

    def listing(self, prefix: str) -> list[tuple[str, int | None]]:
        """Path below `prefix` and size of everything there."""
        prefix = prefix.strip("/") + "/"
        with self._told(prefix):
            pages = self._store.list(prefix)
            rows = [row for page in pages for row in page]
        found: list[tuple[str, int | None]] = [
            (str(row["path"]).removeprefix(prefix), int(row["size"])) for row in rows
        ]
        return sorted(found)

    def check(self) -> str:
        """Whether the keys are taken, in words; one small request, never an error."""
        try:
            with self._told(""):
                self._store.list_with_delimiter()
        except ArchiveError as error:
            return f"S3 does not: {error}"
        return "S3 answers"

    def download(self, file: RemoteFile, target: Path) -> None:
        """Bring `file` (href s3://bucket/key) to `target`: resumed, checked, then renamed."""
        key = file.href.removeprefix("s3://").partition("/")[2]
        target.parent.mkdir(parents=True, exist_ok=True)
        with locked(target):
            if self._there(file, target):
                return
            backoff = Backoff(self._transport.limits)
            tell(_length(beside(target, ".partial")))
            while True:
                before = _length(beside(target, ".partial"))
                try:
                    with self._told(key):
                        self._continue(key, file, target)
                    break
                except _BrokenError as error:
                    if _length(beside(target, ".partial")) > before:
                        backoff.progress()
                    if not backoff.again():
                        raise ArchiveError(str(error)) from error
            self._finish(file, target)

    def _there(self, file: RemoteFile, target: Path) -> bool:
        if not target.is_file():
            return False
        if file.size is not None and target.stat().st_size == file.size:
            try:
                check_digest(target, file.checksums)
            except DamagedError:
                pass
            else:
                tell(file.size)
                return True
        target.unlink()
        return False

    def _continue(self, key: str, file: RemoteFile, target: Path) -> None:
        partial, sidecar = beside(target, ".partial"), beside(target, ".partial.json")
        meta = self._store.head(key)
        size, etag = int(meta["size"]), str(meta.get("e_tag") or "")
        if file.size is not None and size != file.size:
            raise DamagedError(
                f"{self._source}: {key} has {size} bytes now, the listing said {file.size}. Search again."
            )
        origin = {"address": file.href, "etag": etag, "modified": "", "length": size}
        have = _length(partial)
        if have and (not etag or _read(sidecar) != origin or have > size):
            partial.unlink()  # of another file, or of an older one in this place
            tell(-have)
            have = 0
        draft = beside(sidecar, f".{os.getpid()}")
        draft.write_text(json.dumps(origin), encoding="utf-8")
        draft.replace(sidecar)
        if have < size:
            options: GetOptions = {"range": {"offset": have}} if have else {}
            if etag:
                options["if_match"] = etag
            answer = self._store.get(key, options=options)
            bucket = self._transport.bucket
            with partial.open("ab") as out:
                for piece in answer.stream(min_chunk_size=bucket.chunk(_CHUNK)):
                    data = bytes(piece)
                    out.write(data)
                    tell(len(data))
                    bucket.take(len(data))
        elif not partial.exists():
            partial.touch()
        if (have := _length(partial)) != size:
            raise _BrokenError(f"{self._source}: {key} ended after {have} of {size} bytes; go on later.")

    def _finish(self, file: RemoteFile, target: Path) -> None:
        partial = beside(target, ".partial")
        try:
            check_digest(partial, file.checksums)
        except DamagedError:
            tell(-_length(partial))
            partial.unlink()
            raise
        with partial.open("rb") as done:
            os.fsync(done.fileno())
        beside(target, ".partial.json").unlink(missing_ok=True)  # before: see `download`
        partial.replace(target)
        sync_folder(target.parent)

    @contextmanager
    def _told(self, what: str) -> Iterator[None]:
        """Obstore's errors as ours, without its debug text."""
        from obstore import exceptions

        where = f"{self._source}: s3://…/{what} at {self._endpoint}"
        try:
            yield
        except (exceptions.PermissionDeniedError, exceptions.UnauthenticatedError) as error:
            raise ArchiveError(
                f"{where}: the keys are refused. Make new ones at "
                "https://eodata-s3keysmanager.dataspace.copernicus.eu; set EO_CDSE_S3_KEY, EO_CDSE_S3_SECRET."
            ) from error
        except (exceptions.NotFoundError, FileNotFoundError) as error:
            raise ArchiveError(f"{where} does not exist; search again, or use the https route.") from error
        except (exceptions.BaseError, OSError) as error:
            if isinstance(error, OSError) and error.errno:
                raise
            text = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
            if re.search(r"\b40[13]\b", text):  # not within a time or a number
                raise ArchiveError(f"{where}: the keys are refused ({text}). Make new ones.") from error
            raise _BrokenError(f"{where} does not answer: {text}. Go on later.") from error


class _BrokenError(ArchiveError):
    """Something that may go well the next time."""


def _length(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _read(path: Path) -> object:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
