"""User names, passwords and keys of the sources: from the environment, else from the system's keyring."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from eo_pipeline.acquire.secrets import HIDDEN, Unpicklable
from eo_pipeline.errors import ArchiveError

#: The name everything is kept under in the keyring.
SERVICE: Final = "pingliang-eo"

#: Variables of each source: those it cannot do without, then those it may have.
VARIABLES: Final[Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]]] = {
    "cdse": (("EO_CDSE_USERNAME", "EO_CDSE_PASSWORD"), ("EO_CDSE_TOTP_SECRET",)),
    "cdse-s3": (("EO_CDSE_S3_KEY", "EO_CDSE_S3_SECRET"), ()),
    "dhus": (("EO_DHUS_USERNAME", "EO_DHUS_PASSWORD"), ()),
    "stac": (("EO_STAC_TOKEN",), ()),
    "planetary-computer": (("EO_PC_SUBSCRIPTION_KEY",), ()),
}


class NoAccountError(ArchiveError):
    """A source gives no files without credentials, and none are set."""


@dataclass(frozen=True, slots=True, repr=False)
class Credentials(Unpicklable):
    """What one source asks for; the secrets are read from the fields and shown nowhere."""

    source: str
    username: str
    secret: str
    totp_secret: str | None
    origin: str

    def __repr__(self) -> str:
        return f"Credentials({self.source}, {self.username or HIDDEN}, {HIDDEN}, from {self.origin})"


def find(source: str, environment: Mapping[str, str] | None = None) -> Credentials | None:
    """The credentials of a source, or None where they are nowhere.

    Parameters
    ----------
    source : str
        A key of `VARIABLES`. For sources with one secret (a token) `username` is empty.
    environment : Mapping, optional
        Instead of the process's own.
    """
    needed, optional = VARIABLES[source]
    given = os.environ if environment is None else environment
    values: dict[str, str] = {}
    origins: set[str] = set()
    for name in (*needed, *optional):
        if value := given.get(name, "").strip():
            values[name] = value
            origins.add("environment")
        elif value := _kept(name):
            values[name] = value
            origins.add("keyring")
    if any(name not in values for name in needed):
        return None
    username = values[needed[0]] if len(needed) == 2 else ""
    totp = values.get(optional[0]) if optional else None
    return Credentials(source, username, values[needed[-1]], totp, " and ".join(sorted(origins)))


def require(source: str, environment: Mapping[str, str] | None = None) -> Credentials:
    """The credentials of a source.

    Raises
    ------
    NoAccountError
        They are neither in the environment nor in the keyring; the message names both ways.
    """
    found = find(source, environment)
    if found is None:
        raise NoAccountError(f"Source {source} has no credentials. {how(source)}")
    return found


def how(source: str) -> str:
    """Both ways to give the credentials of a source."""
    needed, optional = VARIABLES[source]
    export = " and ".join(needed)
    extra = f" (and {optional[0]} where the account has a second factor)" if optional else ""
    keep = "; ".join(f"keyring set {SERVICE} {name}" for name in needed)
    return f"Set {export} in the environment{extra}, or keep them in the system's keyring: {keep}."


def status(source: str, environment: Mapping[str, str] | None = None) -> str:
    """One line for `eo sources`: where they come from, or how to give them; no secret in it."""
    found = find(source, environment)
    if found is None:
        return f"missing. {how(source)}"
    return f"{found.username or 'token'} (from {found.origin})"


def _kept(name: str) -> str:
    """A value of the keyring, empty where there is none or no keyring on this machine."""
    try:
        import keyring

        return (keyring.get_password(SERVICE, name) or "").strip()
    except Exception:  # every backend fails in its own way: locked, no D-Bus, not installed
        return ""
