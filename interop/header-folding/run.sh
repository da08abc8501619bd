#!/usr/bin/env bash
# Sends forged identity through the example reverse_proxy to PHP's own server and to lighttpd's CGI, in
# every spelling in which a header's name can be written.
set -euo pipefail
cd "$(dirname "$0")"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

. ../programs entra-dev-tenant reverse_proxy

# Debian has lighttpd where only root looks.
PATH=$PATH:/usr/sbin:/sbin timeout --kill-after=10 120 python3 -B folding.py "$programs" "$work"
