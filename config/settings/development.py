"""The demo on one machine: 127.0.0.1 only, sample people and simulated data."""

from __future__ import annotations

from .base import *  # noqa: F403
from .base import VAR_DIR

DEBUG = False
ALLOWED_HOSTS = ["127.0.0.1", "localhost", "[::1]"]
DEMO = True
SERVE_MEDIA = True


def _secret_key() -> str:
    """One key a checkout, made on first use and kept in var/ (never committed)."""
    import secrets

    path = VAR_DIR / "secret_key"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(mode=0o600)
        path.write_text(secrets.token_urlsafe(48))
    return path.read_text()


SECRET_KEY = _secret_key()
