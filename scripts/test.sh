#!/usr/bin/env bash
# All tests: first on every core, then those that drive the browser, which share one site and so one process.
#   scripts/test.sh [pytest arguments]     with arguments one plain pytest run of just those
set -euo pipefail
cd "$(dirname "$0")/.."
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}
.venv/bin/python manage.py compilemessages -l en -v 0 2>/dev/null
[ $# = 0 ] || exec .venv/bin/python -m pytest "$@"
workers=$(python3 -c 'import os; print(min(4, len(os.sched_getaffinity(0))))')
echo "==> $workers test processes"
# a new database each: a test that commits leaves the one it used without what the migrations put in
.venv/bin/python -m pytest -n "$workers" --dist loadgroup -q --create-db --ignore tests/e2e
echo "==> The browser's tests, which share one site"
exec .venv/bin/python -m pytest tests/e2e -q --create-db
