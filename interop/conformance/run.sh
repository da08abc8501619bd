#!/usr/bin/env bash
# Runs MCP's conformance suite against the proxy as an authorization server, for each version of the
# specification, as a public client. It fails if a check fails, or if the checks are not exactly the
# expected ones. The Python packages are Node 22, which the suite needs.
set -euo pipefail
cd "$(dirname "$0")"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

. ../programs interop-mcp-clients

python3 -m venv "$work/venv"
PATH=$work/venv/bin:$PATH
export PYTHONDONTWRITEBYTECODE=1
pip install --quiet --retries 10 --disable-pip-version-check -r requirements.txt
# `latest` of this package is older than the pinned version.
cp package.json package-lock.json "$work"
(cd "$work" && npm ci --ignore-scripts --loglevel=error --fetch-retries=5 --no-audit --no-fund >/dev/null)

python conformance.py "$programs" "$work"
