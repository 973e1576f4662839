#!/usr/bin/env bash
# All static checks; runs every one of them and fails at the end if one failed, so that one round shows all there is to mend.
set -uo pipefail
cd "$(dirname "$0")/.."
failed=()
check() { # check NAME COMMAND...
  local name=$1; shift
  local out; if out=$("$@" 2>&1); then echo "ok    $name"; else echo "FAIL  $name"; echo "$out" | tail -60; failed+=("$name"); fi
}
B=.venv/bin
check "ruff"            $B/ruff check .
check "ruff format"     $B/ruff format --check .
check "mypy"            $B/mypy
check "djLint"          $B/djlint --lint --quiet .
check "import-linter"   $B/lint-imports
check "migrations"      $B/python manage.py makemigrations --check --dry-run
check "system check"    $B/python manage.py check
[ ${#failed[@]} = 0 ] || { echo "make check: ${failed[*]} failed" >&2; exit 1; }
