#!/usr/bin/env bash
# The main job on the embedded default: a simulated season of a piece of Jingning, from pixels to the site.
# Each step says what it made; what is there already is kept, so a second run is quick.
set -euo pipefail
cd "$(dirname "$0")/.."
export DJANGO_SETTINGS_MODULE=config.settings.development
PY=.venv/bin/python
EO=.venv/bin/eo
SITE="$PY scripts/site_commands.py"
DEMO=var/demo
YEAR=2026
say() { printf '\n\033[1m==> %s\033[0m\n' "$*"; }

say "Database"
$SITE "migrate -v 0" load_demo_places load_demo_users

say "Simulated seasons 模拟数据: 5 km × 5 km of Jingning, $((YEAR - 1)) and $YEAR"
# Kept where it was made by the same program and options; --force, because an older twin of this demo may go.
$EO simulate --out $DEMO/twin --size-km 5 --seasons 2 --year $YEAR --seed 42 --force

say "The pipeline: last year, then this year"
$EO run $DEMO/twin/$((YEAR - 1))/season.toml
$EO run $DEMO/twin/$YEAR/season.toml

say "Estimates against the simulated truth"
$EO compare-truth $DEMO/twin/runs/jingning-$YEAR $DEMO/twin/$YEAR/truth

say "The site"
$SITE \
  "import_run --new-version $DEMO/twin/runs/jingning-$((YEAR - 1)) --parcels $DEMO/twin/$((YEAR - 1))/parcels.geojson" \
  "import_run --new-version $DEMO/twin/runs/jingning-$YEAR --parcels $DEMO/twin/$YEAR/parcels.geojson" \
  load_demo_review load_demo_content load_demo_farms load_demo_shop

if [ "${SERVE:-1}" = 0 ]; then
  say "Made. Serve it with: make serve"
  exit 0
fi
say "http://127.0.0.1:${PORT:-8000}/   (Ctrl-C ends it)"
exec scripts/serve.sh
