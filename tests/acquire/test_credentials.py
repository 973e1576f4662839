"""Credentials come from the environment or the keyring, and are shown nowhere."""

from __future__ import annotations

import pickle
from collections.abc import Iterator

import keyring
import keyring.backend
import pytest

from eo_pipeline.acquire import credentials
from eo_pipeline.errors import ArchiveError

GIVEN = {"EO_CDSE_USERNAME": "me@example.org", "EO_CDSE_PASSWORD": "hidden-word"}


class MemoryKeyring(keyring.backend.KeyringBackend):
    """A keyring that ends with the test."""

    priority = 1  # type: ignore[assignment]

    def __init__(self) -> None:
        super().__init__()
        self.kept: dict[tuple[str, str], str] = {}

    def get_password(self, service: str, username: str) -> str | None:
        return self.kept.get((service, username))

    def set_password(self, service: str, username: str, password: str) -> None:
        self.kept[service, username] = password


@pytest.fixture(autouse=True)
def ring() -> Iterator[MemoryKeyring]:
    before = keyring.get_keyring()
    ours = MemoryKeyring()
    keyring.set_keyring(ours)
    yield ours
    keyring.set_keyring(before)


def test_the_environment_is_read_and_the_secret_is_hidden() -> None:
    found = credentials.require("cdse", GIVEN | {"EO_CDSE_TOTP_SECRET": "OTHERSECRET"})
    assert (found.username, found.secret, found.totp_secret) == (
        "me@example.org",
        "hidden-word",
        "OTHERSECRET",
    )
    shown = f"{found!r} {found} {credentials.status('cdse', GIVEN)}"
    assert "hidden-word" not in shown and "OTHERSECRET" not in shown
    assert "me@example.org (from environment)" in shown
    with pytest.raises(TypeError, match="not pickled"):
        pickle.dumps(found)


def test_the_keyring_fills_what_the_environment_lacks(ring: MemoryKeyring) -> None:
    keyring.set_password("pingliang-eo", "EO_CDSE_PASSWORD", "from-ring")
    found = credentials.require("cdse", {"EO_CDSE_USERNAME": "me"})
    assert (found.username, found.secret, found.origin) == ("me", "from-ring", "environment and keyring")


def test_missing_credentials_name_both_ways() -> None:
    for source, variable in (
        ("cdse", "EO_CDSE_PASSWORD"),
        ("dhus", "EO_DHUS_PASSWORD"),
        ("stac", "EO_STAC_TOKEN"),
    ):
        with pytest.raises(ArchiveError, match="has no credentials") as caught:
            credentials.require(source, {})
        assert variable in str(caught.value) and f"keyring set pingliang-eo {variable}" in str(caught.value)
    assert credentials.find("cdse", {"EO_CDSE_USERNAME": "me"}) is None


def test_a_keyring_that_fails_is_no_keyring(ring: MemoryKeyring, monkeypatch: pytest.MonkeyPatch) -> None:
    def locked(*_: str) -> str:
        raise RuntimeError("locked")

    monkeypatch.setattr(ring, "get_password", locked)
    assert credentials.find("dhus", {}) is None


def test_a_token_alone_is_enough_for_stac() -> None:
    found = credentials.require("stac", {"EO_STAC_TOKEN": " t0ken "})
    assert (found.username, found.secret) == ("", "t0ken")
