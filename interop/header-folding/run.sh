#!/usr/bin/env bash
# Sends forged identity headers through the example reverse_proxy to PHP's own server and to
# lighttpd's CGI, with every separator that a header name can have.
set -euo pipefail
cd "$(dirname "$0")"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

. ../programs entra-dev-tenant reverse_proxy

# Debian installs lighttpd in a directory that only root has in PATH.
PATH=$PATH:/usr/sbin:/sbin timeout --kill-after=10 120 python3 -B folding.py "$programs" "$work"
