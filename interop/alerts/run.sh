#!/usr/bin/env bash
# Prometheus's own tool reads the example alert rules, and plays series that make each of them fire.
set -euo pipefail
cd "$(dirname "$0")"

promtool check rules ../../crates/{tower-entra-auth,entra-oauth-proxy}/docs/prometheus/alerts.yml
promtool test rules alerts_test.yml proxy_alerts_test.yml
