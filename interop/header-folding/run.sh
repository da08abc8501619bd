#!/usr/bin/env bash
# Sends forged identity through the example reverse_proxy to PHP's own server and to lighttpd's CGI, in
# every spelling in which a header's name can be written.
set -euo pipefail
cd "$(dirname "$0")"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

cargo build --locked -q -p entra-dev-tenant
cargo build --locked -q -p reverse_proxy
target=$(cargo metadata --locked --format-version 1 --no-deps | python3 -c 'import json, sys; print(json.load(sys.stdin)["target_directory"])')

# Debian has lighttpd where only root looks.
PATH=$PATH:/usr/sbin:/sbin timeout --kill-after=10 120 python3 -B folding.py "$target/debug" "$work"
