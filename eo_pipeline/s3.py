"""The connection to S3-compatible storage, and what its errors mean; `storage` is what others use."""

from __future__ import annotations

import functools
import os
import socket
from datetime import timedelta
from typing import Any, Final

from eo_pipeline.errors import StorageError

#: Where S3 credentials can come from; with none of these a request would look for the metadata service of
#: a cloud machine, and hang for minutes where there is none.
_CREDENTIALS: Final = (
    "AWS_ACCESS_KEY_ID",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "AWS_METADATA_ENDPOINT",
    "AWS_SKIP_SIGNATURE",
)
#: What decides which server is talked to, and as whom: a change opens a new connection.
_CONNECTION: Final = (
    *_CREDENTIALS,
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_ENDPOINT_URL",
    "AWS_ENDPOINT_URL_S3",
    "AWS_REGION",
    "AWS_DEFAULT_REGION",
)


def endpoint() -> str | None:
    """Address of the server; None for Amazon's."""
    return os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL") or None


def connect(bucket: str, prefix: str = "") -> Any:
    """A client of a bucket, opened once a process and environment.

    Its configuration is the environment's, so pickling it takes no secret along.

    Raises
    ------
    StorageError
        There are no credentials.
    """
    return _connect(bucket, prefix, tuple(os.environ.get(name) for name in _CONNECTION))


@functools.lru_cache(maxsize=64)
def _connect(bucket: str, prefix: str, environment: tuple[str | None, ...]) -> Any:
    if not any(environment[: len(_CREDENTIALS)]):
        raise StorageError(
            f"s3://{bucket}: no credentials on {socket.gethostname()}. Set AWS_ACCESS_KEY_ID and "
            "AWS_SECRET_ACCESS_KEY (and AWS_ENDPOINT_URL where the server is not Amazon's); on a cloud "
            "machine with a role, AWS_METADATA_ENDPOINT; for a public bucket, AWS_SKIP_SIGNATURE=true."
        )
    from obstore.store import S3Store

    plain = (endpoint() or "").startswith("http://")
    return S3Store(
        bucket,
        prefix=prefix or None,
        client_options={"allow_http": True} if plain else {},
        retry_config={"max_retries": 5, "retry_timeout": timedelta(seconds=60)},
    )


def meaning(reason: str, bucket: str) -> str:
    """What a client's error says of the server, and what to do.

    >>> meaning("400 Bad Request: <Code>ExpiredToken</Code>", "crops")
    'Amazon S3 says that the key has expired. Set a fresh AWS_SESSION_TOKEN with its keys'
    """
    server, lower = endpoint() or "Amazon S3", reason.lower()
    if "nosuchbucket" in lower:
        return f"{server} has no bucket “{bucket}”. Create it, or correct the name"
    if "expiredtoken" in lower:
        return f"{server} says that the key has expired. Set a fresh AWS_SESSION_TOKEN with its keys"
    if "signaturedoesnotmatch" in lower or "invalidaccesskeyid" in lower or "401 " in lower:
        return f"{server} does not accept the key. Check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
    if "accessdenied" in lower or "403 " in lower or "permission" in lower:
        return f"{server} does not allow it. Check the key's rights on bucket “{bucket}”"
    if "scheme is not allowed" in lower or "error sending request" in lower or "connect" in lower:
        return f"{server} does not answer. Check AWS_ENDPOINT_URL and the network"
    return f"{server} answered: {reason.partition('Debug source')[0].strip()[:300]}"
