#!/usr/bin/env bash
# Runs MCP clients of other projects against a server behind the proxy. Each signs in, calls a tool,
# refreshes, and is refused after revocation. The Python packages include Node 22, so the version of
# the machine's Node does not matter.
# usage: run.sh [CLIENT...], such as rmcp, mcp, fastmcp, mcp-typescript
set -euo pipefail
cd "$(dirname "$0")"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

. ../programs interop-mcp-clients rmcp_client

python3 -m venv "$work/venv"
PATH=$work/venv/bin:$PATH
export PYTHONDONTWRITEBYTECODE=1
pip install --quiet --retries 10 --disable-pip-version-check -r requirements.txt
cp package.json package-lock.json clients/typescript_sdk.mjs "$work"
(cd "$work" && npm ci --loglevel=error --fetch-retries=5 --no-audit --no-fund >/dev/null)

python play.py "$programs" "$work/node_modules" "$@"
