#!/usr/bin/env bash
# The private PostgreSQL + PostGIS cluster of this checkout: var/postgres, a loopback port of its own, a password of its own.
#   scripts/postgres.sh start | stop | status | destroy
# The address is written to var/postgres/url (mode 600), where config/settings reads it unless DATABASE_URL is set.
set -euo pipefail
cd "$(dirname "$0")/.."
ROOT=$PWD/var/postgres
BIN=$(ls -d /usr/lib/postgresql/*/bin 2>/dev/null | sort -V | tail -1)
[ -n "$BIN" ] || { echo "postgres: no PostgreSQL server found under /usr/lib/postgresql; run scripts/setup.sh" >&2; exit 2; }

# PostgreSQL refuses to run as root: then its own user runs it, in a folder which that user can reach.
as_server() { if [ "$(id -u)" = 0 ]; then su -s /bin/sh postgres -c "$1"; else sh -c "$1"; fi; }
home_of_cluster() {
  if [ -s "$ROOT/home" ]; then cat "$ROOT/home"; return; fi
  if [ "$(id -u)" = 0 ] && ! su -s /bin/sh postgres -c "test -x '$ROOT'" 2>/dev/null; then
    echo "/var/tmp/pingliang-postgres-$(echo -n "$ROOT" | sha256sum | cut -c1-12)"
  else
    echo "$ROOT"
  fi
}

start() {
  mkdir -p "$ROOT"; chmod 755 "$PWD/var" "$ROOT"
  exec 9>"$ROOT/.lock"; flock 9          # two `make` at once start one server
  HOME_DIR=$(home_of_cluster); DATA=$HOME_DIR/data
  # A server that inherited the lock's descriptor would hold it for ever: 9>&- closes it.
  if [ ! -s "$ROOT/url" ] || [ ! -s "$DATA/PG_VERSION" ]; then
    echo "==> PostgreSQL: a new private cluster in $HOME_DIR"
    rm -rf "$DATA"; mkdir -p "$HOME_DIR"; echo "$HOME_DIR" >"$ROOT/home"
    [ "$(id -u)" != 0 ] || chown postgres: "$HOME_DIR"
    password=$(head -c 24 /dev/urandom | base64 | tr -dc 'A-Za-z0-9' | head -c 28)
    as_server "umask 077; printf %s '$password' >'$HOME_DIR/.pw' && '$BIN/initdb' -D '$DATA' -U pingliang -A scram-sha-256 --pwfile='$HOME_DIR/.pw' -E UTF8 --locale=C.UTF-8 --no-sync >'$HOME_DIR/initdb.log' 2>&1; r=\$?; rm -f '$HOME_DIR/.pw'; exit \$r" 9>&- ||
      { cat "$HOME_DIR/initdb.log" >&2; exit 2; }
    port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
    (umask 077; echo "postgis://pingliang:$password@127.0.0.1:$port/pingliang" >"$ROOT/url.new")
  else
    cp -p "$ROOT/url" "$ROOT/url.new"
  fi
  url=$(cat "$ROOT/url.new"); port=${url##*:}; port=${port%%/*}
  # asked at its port: after a crash the number in its pid file may be another process's
  if ! "$BIN/pg_isready" -q -h 127.0.0.1 -p "$port"; then
    as_server "'$BIN/pg_ctl' -D '$DATA' -s -w -t 60 -l '$HOME_DIR/server.log' -o \"-p $port -c listen_addresses=127.0.0.1 -c unix_socket_directories='' -c max_connections=100 -c shared_buffers=256MB\" start" 9>&- ||
      { echo "postgres: the server did not start; its log: $HOME_DIR/server.log" >&2; tail -5 "$HOME_DIR/server.log" >&2; exit 2; }
  fi
  psql="$BIN/psql -qAtX ${url/postgis:/postgresql:}"
  admin=${psql%/pingliang}/postgres
  [ "$($admin -c "select 1 from pg_database where datname='pingliang'")" = 1 ] || $admin -c 'create database pingliang'
  $psql -c 'set client_min_messages=warning; create extension if not exists postgis'
  mv "$ROOT/url.new" "$ROOT/url"
}
stop() {
  [ -s "$ROOT/home" ] || return 0
  DATA=$(cat "$ROOT/home")/data
  ! as_server "'$BIN/pg_ctl' -D '$DATA' status >/dev/null 2>&1" || as_server "'$BIN/pg_ctl' -D '$DATA' -s -m fast stop"
}
case ${1:-} in
  start) start ;;
  stop) stop ;;
  status) [ -s "$ROOT/home" ] && as_server "'$BIN/pg_ctl' -D '$(cat "$ROOT/home")/data' status" ;;
  destroy) stop; [ ! -s "$ROOT/home" ] || rm -rf "$(cat "$ROOT/home")/data"; rm -rf "$ROOT" ;;
  *) sed -n '2,4p' "$0"; exit 2 ;;
esac
