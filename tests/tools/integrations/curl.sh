#!/bin/sh
# An integration of a shell, curl and openssl. All that it is given is its bundle, in KEYGATE_BUNDLE.
set -eu

# member NAME: a member of the bundle, in JSON's own spelling.
member() {
  printf %s "$KEYGATE_BUNDLE" | openssl base64 -d -A | sed -E 's/.*"'"$1"'":"(([^"\\]|\\.)*)".*/\1/'
}

# text NAME: a text in the last answer.
text() {
  printf %s "$answer" | sed -E 's/.*"'"$1"'":"(([^"\\]|\\.)*)".*/\1/'
}

base64url() {
  openssl base64 -A | tr '+/' '-_' | tr -d '='
}

# ask STEP PATH CURL-OPTION…: asks, keeps the answer, and says how it went.
ask() {
  step=$1 path=$2
  shift 2
  answer=$(curl -sS --noproxy '*' -w '\n%{http_code}' "$@" "$(member url)$path")
  status=$(printf %s "$answer" | tail -n 1)
  answer=$(printf %s "$answer" | head -n 1)
  if [ "$status" != 200 ]; then
    echo "$step $status $(text name): $(text message)"
    exit 1
  fi
}

get() {
  bearer="Authorization: Bearer $(text access_token)"
  echo "get $(curl -sS --noproxy '*' -o /dev/null -w '%{http_code}' -H "$bearer" "$(member url)$1")"
}

header=$(printf '{"alg":"HS256","typ":"JWT"}' | base64url)
claims=$(printf '{"iat":%s,"jti":"%s","appname":"%s","appkey":"%s","shortname":"%s"}' \
  "$(date +%s)" "$(openssl rand -hex 16)" "$(member appname)" "$(member appkey)" "$(member shortname)" | base64url)
signature=$(printf %s "$header.$claims" | openssl dgst -sha256 -hmac "$(member sharedsecret)" -binary | base64url)

ask exchange /api/v1/auth/token -H 'Content-Type: application/json' -d "{\"jwt\":\"$header.$claims.$signature\"}"
echo "exchange $status $(text scope)"
get /x
ask refresh /api/auth/bearer/refresh -d "refresh_token=$(text refresh_token)"
echo "refresh $status $(text scope)"
get /x
