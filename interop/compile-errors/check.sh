#!/usr/bin/env bash
# Checks that each program in src/bin fails to compile, and that the compiler prints each text after
# `//~`.
set -euo pipefail
cd "$(dirname "$0")"

failures=0
for program in src/bin/*.rs; do
  name=$(basename "$program" .rs)
  if message=$(cargo check --locked --quiet --color never --bin "$name" 2>&1); then
    printf 'FAILED  %s compiles\n' "$name"
    failures=$((failures + 1))
    continue
  fi
  said=yes
  while IFS= read -r text; do
    if ! grep --quiet --fixed-strings -e "$text" <<<"$message"; then
      printf 'FAILED  %s: no "%s" in\n%s\n' "$name" "$text" "$message"
      said=no
    fi
  done < <(sed -n 's|^//~ ||p' "$program")
  if [ "$said" = yes ]; then printf 'ok      %s\n' "$name"; else failures=$((failures + 1)); fi
done
exit $((failures > 0))
