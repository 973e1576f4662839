#!/usr/bin/env bash
# Serve the site on loopback by granian, the server of production.
set -euo pipefail
cd "$(dirname "$0")/.."
export DJANGO_SETTINGS_MODULE=${DJANGO_SETTINGS_MODULE:-config.settings.development}
.venv/bin/python manage.py compilemessages -l en -v 0
.venv/bin/python manage.py collectstatic --noinput -v 0
exec .venv/bin/granian --interface wsgi --host 127.0.0.1 --port "${PORT:-8000}" --workers 2 --no-ws config.wsgi:application
