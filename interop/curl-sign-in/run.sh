#!/usr/bin/env bash
# Runs what the proxy's documentation does by hand, and compares the answers with those that stand there.
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

# Blocks of commands (1.bash, 2.bash, …), and what each prints, if it is said (1.text, …), with the
# port that is free here.
sed "s/8080/$port/g" "$document" | awk -v work="$work" '
  /^```bash$/ { file = work "/" ++count ".bash"; next }
  /^```text$/ { file = work "/" count ".text"; next }
  /^```/ { file = ""; next }
  file { print > file }
  END { print count > (work "/count") }
'

# All in one shell, as somebody would paste them there.
export NO_PROXY='*' TMPDIR=$work
set +eu
for ((number = 1; number <= $(cat "$work/count"); number++)); do
  . "$work/$number.bash" >"$work/output" 2>&1
  [ -f "$work/$number.text" ] || continue
  output=$(tr -d '\r' <"$work/output")
  # As a pattern: all of it to the letter, but for what may be anything.
  pattern=$(sed 's/[][\\*?(){}|!+@]/\\&/g; s/…/*/g' "$work/$number.text")
  if [[ $output != $pattern ]]; then
    printf 'FAILED  %s\n\nexpected:\n%s\n\nprinted:\n%s\n' "$document: $number. commands" \
      "$(cat "$work/$number.text")" "$output" >&2
    exit 1
  fi
done
printf 'ok      %s: %s blocks of commands\n' "$(basename "$document")" "$((number - 1))"
