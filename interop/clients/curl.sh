#!/usr/bin/env bash
# Checks the responses that curl receives, over HTTP/1.1 and HTTP/2.
# usage: curl.sh, with the server's settings in the environment (see run.sh)
set -euo pipefail

failures=0

# check WHAT EXPECTED CURL-ARGUMENTS...: checks that each line of EXPECTED is a line of the
# response.
check() {
  local what=$1 expected=$2 answer line
  shift 2
  if ! answer=$(curl --silent --show-error --include --noproxy '*' --max-time 20 "$@" 2>&1 | tr -d '\r'); then
    answer+=$'\n(curl failed)'
  fi
  while IFS= read -r line; do
    if ! grep --quiet --fixed-strings --line-regexp --ignore-case -e "$line" <<<"$answer"; then
      printf 'FAILED  %s: no line "%s" in\n%s\n' "$what" "$line" "$answer"
      failures=$((failures + 1))
      return
    fi
  done <<<"$expected"
  printf 'ok      %s\n' "$what"
}

insufficient="www-authenticate: Bearer error=\"insufficient_scope\", scope=\"api://$API_ID/Reports.Write\", error_description=\"missing_scope\""
expired='www-authenticate: Bearer error="invalid_token", error_description="expired"'
good="authorization: Bearer $GOOD_TOKEN"
body=$(mktemp)
trap 'rm -f "$body"' EXIT
head -c 1048576 /dev/zero >"$body"

# Prints the expected status line as curl prints it. HTTP/2 has no reason phrase.
status() {
  if [ "$version" = 1.1 ]; then printf 'HTTP/1.1 %s' "$1"; else printf 'HTTP/2 %s ' "${1%% *}"; fi
}

for version in 1.1 2; do
  if [ "$version" = 1.1 ]; then http=--http1.1; else http=--http2-prior-knowledge; fi
  h() { local what=$1 expected=$2; shift 2; check "HTTP/$version  $what" "$expected" "$http" "$@"; }

  h 'a good token' "$(status '200 OK')" --oauth2-bearer "$GOOD_TOKEN" "$API_URL/me"
  h 'no token: the bare challenge' "$(status '401 Unauthorized')"$'\nwww-authenticate: Bearer' "$API_URL/me"
  h 'another scheme' "$(status '401 Unauthorized')"$'\nwww-authenticate: Bearer' --basic --user ada:secret "$API_URL/me"
  h 'an expired token' "$(status '401 Unauthorized')"$'\n'"$expired"$'\nexpired' --oauth2-bearer "$EXPIRED_TOKEN" "$API_URL/me"
  h 'two tokens' "$(status '401 Unauthorized')"$'\nseveral_authorizations' -H "$good" -H "$good" "$API_URL/me"
  h 'a missing scope' "$(status '403 Forbidden')"$'\n'"$insufficient"$'\nmissing_scope' -H "$good" "$API_URL/reports"
  h 'a missing scope, as JSON' \
    "$(status '403 Forbidden')"$'\ncontent-type: application/problem+json\n{"type":"about:blank","title":"Forbidden","status":403,"code":"missing_scope"}' \
    -H "$good" -H 'accept: application/json' "$API_URL/reports"
  h 'a rubbish Accept header' "$(status '403 Forbidden')"$'\nmissing_scope' -H "$good" -H 'accept: ;;q=,/"' "$API_URL/reports"
  h 'HEAD' "$(status '403 Forbidden')"$'\n'"$insufficient"$'\ncontent-length: 14' --head -H "$good" "$API_URL/reports"
  h 'a browser'"'"'s preflight' "$(status '200 OK')"$'\naccess-control-allow-origin: *' -X OPTIONS \
    -H 'origin: https://app.example' -H 'access-control-request-method: POST' \
    -H 'access-control-request-headers: authorization' "$API_URL/account"
  h 'OPTIONS that is no preflight' "$(status '401 Unauthorized')" -X OPTIONS "$API_URL/account"
  h 'headers with _ for -' "$(status '401 Unauthorized')" -X OPTIONS \
    -H 'origin: https://app.example' -H 'access_control_request_method: POST' "$API_URL/account"
  h 'an open path' "$(status '200 OK')"$'\nok' "$API_URL/healthz?x=/me#/me"
  h 'an open prefix' "$(status '200 OK')"$'\nasset' "$API_URL/assets/app.js"
  for path in '/assets/../me' '/assets/%2e%2e/me' '/assets%2F..%2Fme' '/assets//me' '/assets/x;y' '//healthz' \
    '/healthz;x' '/healthz/' '/HEALTHZ' '/me?/healthz'; do
    h "not open: $path" "$(status '401 Unauthorized')" --path-as-is "$API_URL$path"
  done
done

# The server refuses the request before curl sends the body. With a body that curl sends and the
# server does not read, this would test curl, not the response: curl may report an error if the
# stream or the connection ends while it sends.
check 'HTTP/1.1  a body that waits to be wanted' $'HTTP/1.1 401 Unauthorized\nexpired' --http1.1 \
  --oauth2-bearer "$EXPIRED_TOKEN" -H 'expect: 100-continue' --data-binary "@$body" "$API_URL/account"

exit $((failures > 0))
