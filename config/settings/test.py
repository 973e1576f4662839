"""Tests: the same PostgreSQL, a database of their own, plain static files."""

from __future__ import annotations

import tempfile
from pathlib import Path

from .base import *  # noqa: F403
from .base import DATABASES

SECRET_KEY = "only for tests"  # noqa: S105
DEBUG = False
DEMO = True
SERVE_MEDIA = True
ALLOWED_HOSTS = ["*"]
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"},
}
WHITENOISE_AUTOREFRESH = True
WHITENOISE_USE_FINDERS = True
_scratch = Path(tempfile.mkdtemp(prefix="pingliang-test-"))
MEDIA_ROOT = _scratch / "media"
RUNS_DIR = _scratch / "runs"
DEMO_USERS_FILE = _scratch / "demo_users.txt"
DATABASES["default"]["CONN_MAX_AGE"] = 0
DATABASES["default"].setdefault("OPTIONS", {})["options"] = "-c synchronous_commit=off"
