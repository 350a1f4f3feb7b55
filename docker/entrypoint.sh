#!/bin/sh
# tuner, with the database's password from a secret file: neither `docker inspect` nor a URL shows it.
set -eu
if [ -n "${TUNER_DB_PASSWORD_FILE:-}" ]; then
    PGPASSWORD=$(cat "$TUNER_DB_PASSWORD_FILE")
    export PGPASSWORD
fi
case "${1:-}" in
worker | tune | dashboard | train | final) printf '%s\n' "$@" >/tmp/tuner-command ;; # for the health check
esac
exec tuner "$@"
