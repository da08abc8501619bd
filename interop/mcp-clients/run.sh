#!/usr/bin/env bash
# Runs MCP clients of other projects against a server behind the proxy, and compares what they do
# with the table in `docs/clients.md` of the proxy. The Python packages include Node 22, so the
# version of the machine's Node does not matter.
# usage: run.sh [--write] [CLIENT...], such as rmcp, mcp, fastmcp, typescript-1, typescript-2,
#   mcp-remote, inspector; --write updates the table
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
(cd "$work" && npm ci --ignore-scripts --loglevel=error --fetch-retries=5 --no-audit --no-fund >/dev/null)

python play.py "$programs" "$work/node_modules" "$@"
