#!/usr/bin/env bash
# Runs the curl commands of the proxy's documentation, and compares their output with the documented
# one.
set -euo pipefail
cd "$(dirname "$0")/../.."

document=$PWD/crates/entra-oauth-proxy/docs/curl.md
work=$(mktemp -d)
server=
trap '[ -z "$server" ] || kill "$server"; rm -rf "$work"' EXIT

. interop/programs mcp_with_entra
: >"$work/served"
LISTEN=127.0.0.1:0 "$programs/mcp_with_entra" >"$work/served" &
server=$!
until grep -q '^Serving' "$work/served"; do
  kill -0 "$server" 2>/dev/null || { echo "the server did not start" >&2; exit 1; }
  sleep 0.1
done
port=$(sed -n 's/^MCP server .*:\([0-9]*\)\/mcp$/\1/p' "$work/served")

# Writes each block of commands to a file (1.bash, 2.bash, …), and its documented output, if any, to
# another (1.text, …). Replaces the port 8080 with the server's port.
sed "s/8080/$port/g" "$document" | awk -v work="$work" '
  /^```bash$/ { file = work "/" ++count ".bash"; next }
  /^```text$/ { file = work "/" count ".text"; next }
  /^```/ { file = ""; next }
  file { print > file }
  END { print count > (work "/count") }
'

# Runs all blocks in one shell, as a user would paste them.
export NO_PROXY='*' TMPDIR=$work
set +eu
for ((number = 1; number <= $(cat "$work/count"); number++)); do
  . "$work/$number.bash" >"$work/output" 2>&1
  [ -f "$work/$number.text" ] || continue
  output=$(tr -d '\r' <"$work/output")
  # Turns the documented output into a pattern: `…` matches any text, all else only itself.
  pattern=$(sed 's/[][\\*?(){}|!+@]/\\&/g; s/…/*/g' "$work/$number.text")
  if [[ $output != $pattern ]]; then
    printf 'FAILED  %s\n\nexpected:\n%s\n\nprinted:\n%s\n' "$document: $number. commands" \
      "$(cat "$work/$number.text")" "$output" >&2
    exit 1
  fi
done
printf 'ok      %s: %s blocks of commands\n' "$(basename "$document")" "$((number - 1))"
