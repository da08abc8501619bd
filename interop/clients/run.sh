#!/usr/bin/env bash
# Runs clients of other projects against a protected API: curl, and Microsoft's clients for Python.
set -euo pipefail
cd "$(dirname "$0")"

work=$(mktemp -d)
trap 'exec {hold}>&- || true; rm -rf "$work"' EXIT

. ../programs interop-clients

# The server ends when its standard input ends, so at the latest with this script.
mkfifo "$work/input"
"$programs/interop-clients" <"$work/input" >"$work/settings" &
exec {hold}>"$work/input"
until grep -q '^EXPIRED_TOKEN=' "$work/settings"; do
  kill -0 $! 2>/dev/null || { echo "the server did not start" >&2; exit 1; }
  sleep 0.1
done
set -a
. "$work/settings"
set +a

./curl.sh
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --retries 10 --disable-pip-version-check -r requirements.txt
"$work/venv/bin/python" claims_challenge.py
