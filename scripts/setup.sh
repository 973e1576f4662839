#!/usr/bin/env bash
# Everything the project needs on a fresh Debian 12 or Ubuntu machine. Safe to run again: what is there is left alone.
#   scripts/setup.sh            system packages, Python environment, browser libraries, database
set -euo pipefail
cd "$(dirname "$0")/.."
TORCH=torch==2.13.0
OPENVINO=openvino==2026.4.1
say() { printf '\033[1m==> %s\033[0m\n' "$*"; }

# 1. System packages -------------------------------------------------------------------------------------
missing() { # what is not installed yet, by what the project uses of it
  ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || echo postgresql
  ls /usr/share/postgresql/*/extension/postgis.control >/dev/null 2>&1 || echo postgis-extension
  ldconfig -p | grep 'libgdal\.so' >/dev/null || echo libgdal
  ldconfig -p | grep 'libgeos_c\.so' >/dev/null || echo libgeos-c1v5
  ldconfig -p | grep 'libproj\.so' >/dev/null || echo libproj
  ldconfig -p | grep 'libgomp\.so' >/dev/null || echo libgomp1
  command -v chromium >/dev/null || command -v chromium-browser >/dev/null || echo chromium
  fc-list 2>/dev/null | grep -i 'Noto Sans CJK' >/dev/null || echo fonts-noto-cjk
  command -v msgfmt >/dev/null || echo gettext
  command -v npm >/dev/null || echo npm
  python3 -c 'import ensurepip, venv' 2>/dev/null || echo python3-venv
  command -v fc-list >/dev/null || echo fontconfig
}
need=$(missing | sort -u | tr '\n' ' ')
if [ -n "${need// /}" ]; then
  say "System packages: $need"
  command -v apt-get >/dev/null || {
    echo "setup: this machine has no apt-get. Install by hand: PostgreSQL 15+ with PostGIS, GDAL, GEOS, PROJ, libgomp, Chromium, Noto CJK fonts, gettext, Node.js with npm, Python 3.11." >&2
    exit 2
  }
  SUDO=""
  if [ "$(id -u)" != 0 ]; then
    command -v sudo >/dev/null || { echo "setup: '$need' are missing and this user has no sudo. Ask an administrator to run scripts/setup.sh once." >&2; exit 2; }
    SUDO=sudo
  fi
  export DEBIAN_FRONTEND=noninteractive
  $SUDO apt-get update -qq
  pick() { apt-cache search --names-only "$1" | awk '{print $1}' | sort -V | tail -1; }
  names=()
  for item in $need; do
    case $item in
      postgis-extension) names+=("$(pick '^postgresql-[0-9]+-postgis-3$')") ;;
      libgdal) names+=("$(pick '^libgdal[0-9]+(t64)?$')") ;;
      libproj) names+=("$(pick '^libproj[0-9]+(t64)?$')") ;;
      libgeos-c1v5) names+=("$(pick '^libgeos-c1(v5|t64)$')") ;;
      npm) names+=(nodejs npm) ;;
      chromium) names+=("$(pick '^chromium$' | grep . || echo chromium-browser)") ;;
      *) names+=("$item") ;;
    esac
  done
  log=$(mktemp)
  $SUDO apt-get install -y -qq --no-install-recommends "${names[@]}" >"$log" 2>&1 || { tail -20 "$log" >&2; echo "setup: apt-get could not install: ${names[*]}" >&2; exit 2; }
  rm -f "$log"
fi

# 2. Python environment ----------------------------------------------------------------------------------
stamp=$(cat requirements.lock pyproject.toml <(echo "$TORCH $OPENVINO") | sha256sum | cut -d' ' -f1)
if [ "$(cat .venv/.stamp 2>/dev/null)" != "$stamp" ]; then
  UV=$(command -v uv || echo .tools/bin/uv)
  [ -x "$UV" ] || { say "uv"; python3 -m venv .tools && .tools/bin/python -m pip install -q uv; UV=.tools/bin/uv; }
  export UV_FIND_LINKS="${UV_FIND_LINKS:-${PIP_FIND_LINKS:-$(python3 -m pip config get global.find-links 2>/dev/null || true)}}"
  [ -n "$UV_FIND_LINKS" ] || unset UV_FIND_LINKS
  say "Python packages into .venv (about 2 GB; the first time takes a minute or two)"
  [ -x .venv/bin/python ] || "$UV" venv -q --python 3.11 .venv
  "$UV" pip install -q --python .venv/bin/python --require-hashes -r requirements.lock
  say "PyTorch, CPU build"
  if [ -n "${UV_FIND_LINKS:-}" ] && ls "$UV_FIND_LINKS"/torch-2.13.0* >/dev/null 2>&1; then
    "$UV" pip install -q --python .venv/bin/python "$TORCH"
  else
    "$UV" pip install -q --python .venv/bin/python --torch-backend cpu "$TORCH"
  fi
  # Optional: maps are made 4× as fast. Without its dependencies, which are numpy and a sender of telemetry.
  "$UV" pip install -q --python .venv/bin/python --no-deps "$OPENVINO" ||
    say "OpenVINO is not to be had here; PyTorch makes the maps"
  "$UV" pip install -q --python .venv/bin/python --no-deps --no-build-isolation -e .
  echo "$stamp" >.venv/.stamp
fi

# 3. Browser libraries, installed and never committed ----------------------------------------------------
stamp=$(sha256sum package-lock.json | cut -d' ' -f1)
if [ "$(cat frontend/vendor/.stamp 2>/dev/null)" != "$stamp" ]; then
  say "Browser libraries"
  npm ci --silent --no-audit --no-fund
  rm -rf frontend/vendor && mkdir -p frontend/vendor/maplibre frontend/vendor/axe
  cp node_modules/maplibre-gl/dist/maplibre-gl{,-shared,-worker}.mjs node_modules/maplibre-gl/dist/maplibre-gl.css frontend/vendor/maplibre/
  cp node_modules/axe-core/axe.min.js frontend/vendor/axe/
  echo "$stamp" >frontend/vendor/.stamp
fi

# 4. Database --------------------------------------------------------------------------------------------
[ -n "${DATABASE_URL:-}" ] || scripts/postgres.sh start
