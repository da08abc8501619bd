#!/usr/bin/env bash
# Plays whole sign-ins in headless Chromium. Then checks the pages of the proxy and of the development
# tenant: with axe-core, narrow and wide, light and dark, and with the keyboard alone. Then signs in
# with the Swagger UI of the example openapi.
# usage: run.sh, with ARTIFACTS=DIRECTORY for the screenshots (default: a new temporary directory)
set -euo pipefail
cd "$(dirname "$0")"

work=$(mktemp -d)
trap '[ -z "${hold:-}" ] || exec {hold}>&-; [ -z "${openapi:-}" ] || kill "$openapi" 2>/dev/null || :; rm -rf "$work"' EXIT
screenshots=${ARTIFACTS:-$(mktemp -d -t pages.XXXXXX)}
mkdir -p "$screenshots"

. ../programs interop-pages openapi

# The server ends when its standard input ends, so at the latest with this script.
mkfifo "$work/input"
"$programs/interop-pages" <"$work/input" >"$work/settings" &
exec {hold}>"$work/input"
until grep -q '^LONG_SCOPES=' "$work/settings"; do
  kill -0 $! 2>/dev/null || { echo "the server did not start" >&2; exit 1; }
  sleep 0.1
done
set -a
. "$work/settings"
set +a

"$programs/openapi" >"$work/openapi" 2>"$work/openapi.log" &
openapi=$!
until OPENAPI_URL=$(sed -n 's|^Swagger UI  \(.*\)/swagger-ui/$|\1|p' "$work/openapi") && [ -n "$OPENAPI_URL" ]; do
  kill -0 "$openapi" 2>/dev/null || { echo "the example did not start" >&2; exit 1; }
  sleep 0.1
done
export OPENAPI_URL

python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --retries 10 --disable-pip-version-check -r requirements.txt
cp package.json package-lock.json "$work"
npm ci --prefix "$work" --ignore-scripts --no-audit --no-fund --loglevel=error --fetch-retries=5 >/dev/null

export NO_PROXY='*' no_proxy='*'
mkdir "$work/chain"
"$work/venv/bin/python" -B chain.py "$work/chain"
"$work/venv/bin/python" -B pages.py "$work/node_modules/axe-core/axe.min.js" "$screenshots" "$work/profile"
echo "screenshots: $screenshots"
