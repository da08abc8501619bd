#!/usr/bin/env bash
# Checks the example alert rules with Prometheus's own promtool, and tests them with series that
# make each fire.
set -euo pipefail
cd "$(dirname "$0")"

promtool check rules ../../crates/{tower-entra-auth,entra-oauth-proxy}/docs/prometheus/alerts.yml
promtool test rules alerts_test.yml proxy_alerts_test.yml
