"""What every place shares. Values that differ by machine come from the environment (see README)."""

from __future__ import annotations

import os
from pathlib import Path

import dj_database_url
from csp.constants import NONE, SELF
from django.core.exceptions import ImproperlyConfigured
from django.utils.translation import gettext_lazy as _

BASE_DIR = Path(__file__).resolve().parents[2]
VAR_DIR = Path(os.environ.get("PINGLIANG_VAR", BASE_DIR / "var"))


def _database_url() -> str:
    """`DATABASE_URL`, else the private cluster that scripts/postgres.sh keeps under var/postgres."""
    if url := os.environ.get("DATABASE_URL"):
        return url
    embedded = BASE_DIR / "var" / "postgres" / "url"
    if embedded.exists():
        return embedded.read_text().strip()
    raise ImproperlyConfigured(
        "No database is configured. Run `scripts/postgres.sh start` for the embedded PostgreSQL, "
        "or set DATABASE_URL=postgis://user:password@host:port/name."
    )


DATABASES = {"default": dj_database_url.parse(_database_url(), conn_max_age=60)}
DATABASES["default"]["ENGINE"] = "django.contrib.gis.db.backends.postgis"

INSTALLED_APPS = [
    "config",
    "places",
    "accounts",
    "notify",
    "monitoring",
    "farms",
    "cms",
    "shop",
    "wagtail.contrib.settings",
    "wagtail.contrib.simple_translation",
    "wagtail.contrib.typed_table_block",
    "wagtail.embeds",
    "wagtail.sites",
    "accounts.users.UsersAppConfig",  # wagtail.users with our own forms
    "wagtail.snippets",
    "wagtail.documents",
    "wagtail.images",
    "wagtail.search",
    "wagtail.locales",
    "wagtail.admin",
    "wagtail",
    "modelcluster",
    "taggit",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "whitenoise.runserver_nostatic",
    "django.contrib.staticfiles",
    "django.contrib.humanize",
    "django.contrib.gis",
    "django.contrib.postgres",
    "django_tasks",
]

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "csp.middleware.CSPMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.locale.LocaleMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]

ROOT_URLCONF = "config.urls"
WSGI_APPLICATION = "config.wsgi.application"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
AUTH_USER_MODEL = "accounts.User"
LOGIN_URL = "/accounts/login/"
LOGIN_REDIRECT_URL = "/"
LOGOUT_REDIRECT_URL = "/"
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in (
        "UserAttributeSimilarityValidator",
        "MinimumLengthValidator",
        "CommonPasswordValidator",
        "NumericPasswordValidator",
    )
]

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "frontend" / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.template.context_processors.i18n",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "wagtail.contrib.settings.context_processors.settings",
                "config.context.site",
            ],
        },
    }
]

LANGUAGE_CODE = "zh-hans"
LANGUAGES = WAGTAIL_CONTENT_LANGUAGES = [("zh-hans", _("简体中文")), ("en", _("English"))]
LOCALE_PATHS = [BASE_DIR / "locale"]
USE_I18N = WAGTAIL_I18N_ENABLED = True
TIME_ZONE = "Asia/Shanghai"
USE_TZ = True

STATIC_URL = "/static/"
STATIC_ROOT = VAR_DIR / "static"
STATICFILES_DIRS = [
    ("css", BASE_DIR / "frontend" / "css"),
    ("js", BASE_DIR / "frontend" / "js"),
    ("img", BASE_DIR / "frontend" / "img"),
    ("vendor", BASE_DIR / "frontend" / "vendor"),
]
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "whitenoise.storage.CompressedManifestStaticFilesStorage"},
}
WHITENOISE_MIMETYPES = {".mjs": "text/javascript"}
MEDIA_URL = "/media/"
MEDIA_ROOT = VAR_DIR / "media"
# Whether Django hands out uploaded files itself; on a public server the web server in front does.
SERVE_MEDIA = os.environ.get("SERVE_MEDIA") == "1"

CACHES = {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}}
if cache_url := os.environ.get("CACHE_URL"):
    CACHES["default"] = {"BACKEND": "django.core.cache.backends.redis.RedisCache", "LOCATION": cache_url}

TASKS = {"default": {"BACKEND": "django_tasks.backends.immediate.ImmediateBackend"}}

# No inline script or style on our own pages. Wagtail's admin needs both, so /admin/ is excluded here and is
# behind a login; MapLibre's worker is a module of ours.
CONTENT_SECURITY_POLICY = {
    "EXCLUDE_URL_PREFIXES": ["/admin/"],
    "DIRECTIVES": {
        "default-src": [SELF],
        "img-src": [SELF, "data:", "blob:"],
        "worker-src": [SELF, "blob:"],
        "object-src": [NONE],
        "base-uri": [SELF],
        "frame-ancestors": [SELF],
        "form-action": [SELF],
    },
}
# GeoDjango's GDAL (Debian's) opens no file and no address here: files from outside are read by pyogrio.
SILENCED_SYSTEM_CHECKS = ["gis.W001"]
SECURE_CONTENT_TYPE_NOSNIFF = True
X_FRAME_OPTIONS = "SAMEORIGIN"

WAGTAIL_SITE_NAME = "智慧平凉农业"
WAGTAILADMIN_BASE_URL = os.environ.get("SITE_URL", "http://127.0.0.1:8000")
WAGTAILSEARCH_BACKENDS = {"default": {"BACKEND": "wagtail.search.backends.database"}}
# What the search page shows beside pages: callables (query, words) -> cms.search.OtherHits.
SEARCH_PROVIDERS = ["config.search.products", "config.search.orchards_of_farms"]
WAGTAILDOCS_EXTENSIONS = ["csv", "docx", "pdf", "pptx", "txt", "xlsx", "zip"]
WAGTAIL_ENABLE_UPDATE_CHECK = False  # no foreign host is asked
WAGTAIL_GRAVATAR_PROVIDER_URL = None

# Run folders that `manage.py import_run` has taken in, and where uploaded boundaries are unpacked.
RUNS_DIR = Path(os.environ.get("RUNS_DIR", VAR_DIR / "imported_runs"))
# Official base map (天地图); without a key the map shows our own outlines.
TIANDITU_KEY = os.environ.get("TIANDITU_KEY", "")
# Names and passwords of the demo's invented people (manage.py load_demo_users).
DEMO_USERS_FILE = VAR_DIR / "demo_users.txt"
# Footer: filing numbers, shown only when given.
ICP_NUMBER = os.environ.get("ICP_NUMBER", "")
POLICE_NUMBER = os.environ.get("POLICE_NUMBER", "")
MAP_APPROVAL_NUMBER = os.environ.get("MAP_APPROVAL_NUMBER", "")
