#!/usr/bin/env bash
# All tests, on every core; tests that share something expensive stay together (xdist_group).
#   scripts/test.sh [pytest arguments]     with arguments one plain pytest run of just those
set -euo pipefail
cd "$(dirname "$0")/.."
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}
.venv/bin/python manage.py compilemessages -l en -v 0 2>/dev/null
[ $# = 0 ] || exec .venv/bin/python -m pytest "$@"
workers=$(python3 -c 'import os; print(min(4, len(os.sched_getaffinity(0))))')
echo "==> $workers test processes"
exec .venv/bin/python -m pytest -n "$workers" --dist loadgroup -q
