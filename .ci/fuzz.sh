#!/usr/bin/env bash
# Fuzzes each target for FUZZ_SECONDS (60). With arguments, only the targets that they name.
#
# libFuzzer's coverage instrumentation is a compiler option that only a nightly toolchain takes. Where none is
# installed, RUSTC_BOOTSTRAP=1 makes the default toolchain take it: for the fuzz build alone, in its own directory.
# keygate forbids unsafe code, so targets run without a sanitizer: faster, and panics are what is looked for.
set -euo pipefail
cd "$(dirname "$0")/.."
export PATH="$PWD/target/tools/bin:$PATH"

seconds=${FUZZ_SECONDS:-60}
export RUSTC_BOOTSTRAP=1
# tokio lets nobody say otherwise in which order `select!` looks at its branches: findings can be repeated.
export RUSTFLAGS="--cfg tokio_unstable"
# The same versions of dependencies as in the program.
cp Cargo.lock fuzz/Cargo.lock

# What each target starts from: the forms themselves, which chance would not find.
seeds() {
  local zeros
  zeros=$(printf '0%.0s' {1..43})
  case $1 in
    answer)
      # The first character says what is asked, and whether the server closes: see the target. So with trailers.
      printf '%s\n' \
        '0HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello' \
        '1HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: X-Hop\r\nX-Hop: 1\r\n\r\n' \
        '2HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n' \
        '3HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;a=b\r\nabc\r\n0\r\nX-Sum: 1\r\n\r\n' \
        '4HTTP/1.0 200 OK\r\nKeep-Alive: timeout=5\r\n\r\nuntil the end' \
        '5HTTP/1.1 304 Not Modified\r\nETag: "a"\r\nUpgrade: h2c\r\nDate: x\r\n\r\n' \
        '6HTTP/1.1 200 OK\nA: b\n c\r\nX : y\r\nContent-Length: 2, 2\r\nX-Request-Id: z\r\n\r\nokHTTP/1.1 200 OK\r\n\r\n'
      ;;
    encoded_key)
      printf 'kg_1_000000000000_%s_%s\n' "$zeros" "${zeros:3}"
      printf 'kg_4294967295_zzzzzzzzzzzz_%s_%s\n' "${zeros//0/z}" "${zeros:3}"
      printf 'kga_000000000000_%s\nkgs_1_%s\nkgo_000000000000_%s\n' "$zeros" "$zeros" "$zeros"
      ;;
    jwt)
      # The first character says what the rest is: see the target.
      printf '0%s.%s.%s\n' eyJhbGciOiJIUzI1NiJ9 e30 "${zeros}"
      printf '1\n1abcdefghi\n'
      printf '2{"iat":1800000000,"jti":"x","appname":"a","appkey":"kga_000000000000_%s","shortname":"b"}\n' "$zeros"
      printf '2{"iat":1.5e9,"exp":1,"nbf":0,"aud":[],"jti":"","appkey":"kga_000000000000_%s"}\n' "$zeros"
      printf '%s\n' '3{"alg":"HS256","kid":"x"}' '3{"alg":"HS256","crit":["b64"],"b64":false}' '3{"alg":"none"}'
      printf '4{"alg":"HS256"}\n'
      printf '5%s\n' "$(printf '{"url":"http://h","shortname":"a","appname":"a","sharedsecret":"kgs_1_%s","appkey":"kga_000000000000_%s"}' \
        "$zeros" "$zeros" | base64 -w0)"
      ;;
    framing)
      # The first two characters say where the body is cut: see the target.
      printf '%s\n' \
        '\x05\x013\r\nabc\r\n0\r\n\r\nGET' \
        '\x09\x093;a;b=c;d="e\\"f"\r\nabc\r\n00\r\nX-Sum: 1\r\nY:\r\n\r\n' \
        '\x02\x020A;x\r\n0123456789\r\n0;y\r\n\r\n'
      ;;
    headers)
      # \xfe stands for a field with a valid key.
      printf '%s\n' \
        'GET /a HTTP/1.1\r\nHost: h\r\n\xfe\r\n' \
        'POST /open/a?b HTTP/1.1\r\nHost: h:1\r\nContent-Length: 3\r\nX-Keygate-Role: ADMIN\r\n\r\nabcGET /b HTTP/1.1\r\nHost: g\r\n\xfe\r\n' \
        'PUT http://h/c HTTP/1.1\r\nHost: h\r\n\xfeTransfer-Encoding: chunked\r\n\r\n3;x\r\nabc\r\n0\r\nT: v\r\n\r\n' \
        'GET /open HTTP/1.1\r\nHost: h\r\nConnection: X-A, close\r\nX-A: b\r\nX-Forwarded-For: 192.0.2.1\r\nCookie: a=b; c=d\r\n\r\n' \
        'GET /open HTTP/1.1\r\nHost: h\r\nx_keygate_role: ADMIN\r\n\r\n' \
        'GET /open HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer x\r\nX-HTTP-Method-Override: PUT\r\nX-Real-IP: a\r\n\r\n'
      ;;
    lanes)
      # \xff begins a step, of which the next character says the kind: see the target.
      cat <<'EOF'
\xffcGET /a HTTP/1.1\r\nHost: h\r\n\xfe\r\n
\xffcGET /open/a HTTP/1.1\r\nHost: h\r\n\r\n\xffAHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello
\xffcHEAD /open HTTP/1.1\r\nHost: h\r\n\r\n\xffAHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n
\xffcPOST /a HTTP/1.1\r\nHost: h\r\n\xfeContent-Length: 5\r\n\r\nhel\xffclo\xffAHTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n
\xffcPUT /a HTTP/1.1\r\nHost: h\r\n\xfeTransfer-Encoding: chunked\r\n\r\n3;a=b\r\nabc\r\n\xffc4\r\ndefg\r\n0\r\nX-Sum: 1\r\n\r\n\xffAHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;x\r\nabc\r\n\xffa2\r\nde\r\n0\r\nX-Sum: 1\r\n\r\n
\xffcGET /open/1 HTTP/1.1\r\nHost: h\r\n\r\nGET /open/2 HTTP/1.1\r\nHost: h\r\n\r\n\xffcGET /3 HTTP/1.1\r\nHost: h\r\n\r\nGET /open/4 HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n\xffAHTTP/1.1 200 OK\r\n\r\nuntil\xffa the end\xffx\xffAHTTP/1.1 204 No Content\r\n\r\n
\xffcGET /open HTTP/1.1\r\nHost: h\r\n\r\n\xffAHTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n\xffaHTTP/1.1 304 Not Modified\r\nETag: \"a\"\r\nConnection: X-Hop\r\nX-Hop: 1\r\n\r\n
\xffcPOST /open HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\nabc\xffcdefghij\xffcGET /open/b HTTP/1.1\r\nHost: h\r\n\r\n\xffHHTTP/1.1 413 Too Large\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno\xffx
\xffcGET /open HTTP/1.1\r\nHost: h\r\n\r\n\xffe\xffAHTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc\xffp\xffadefghi
\xffcGET /open HTTP/1.1\r\nHost: h\r\n\r\n\xffcGET /open/2 HTTP/1.1\r\nHost: h\r\n\r\n\xffA\xffx\xffAHTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 1\r\n\r\na
\xffcGET /open/1 HTTP/1.1\r\nHost: h\r\n\r\n\xffcGET /open/2 HTTP/1.1\r\nHost: h\r\n\r\n\xffcPOST /open/3 HTTP/1.1\r\nHost: h\r\n\r\n\xffAHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\na\xffA\xffx\xffA\xffx
\xffcGET /open HTTP/1.1\r\nHost: h\r\n\r\n\xffAHTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc\xffz
\xffcGET /open HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n\xffcabc\xffAHTTP/1.1 200 OK\r\nContent-Length: 1\r\nKeep-Alive: timeout=5\r\nDate: x\r\nX-Request-Id: y\r\n\r\na
\xffcGET /open//a/../%2e HTTP/1.1\r\nHost: h\r\n\r\n\xffCGET /op\xffcen HTTP/1.0\r\nHost: h\r\nConnection: keep-alive\r\n\r\n
\xffcGET http://h/open HTTP/1.1\r\nHost: h\r\nUpgrade: h2c\r\nConnection: upgrade, X-A\r\nX-A: b\r\n\r\n\xfft\x03\xffg\x02\xffAHTTP/1.1 200 OK\r\nA: b\r\n c\r\nContent-Length: 2, 2\r\n\r\nok
\xffcGET /open HTTP/1.1\r\nHost: h\r\n\r\n\xffAHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nbad\xffcGET /open/2 HTTP/1.1\r\nHost: h\r\n\r\n
\xffcGET /open HTTP/1.1\r\nHost: h\r\n\r\n\xffcGET /open/2 HTTP/1.1\r\nHost: h\r\n\r\n\xffAHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok\xffaHTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nbad
\xffcPOST /open HTTP/1.1\r\nHost: h\r\nContent-Length: 5000\r\n\r\n\xffcPOST /open HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n2000\r\n
\xffcPOST /open HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n10\r\n0123456789abcdef\r\n0\r\nX-Sum: 1\r\n\r\nGET /open/2 HTTP/1.1\r\nHost: h\r\n\r\n\xffs\x06\xffAHTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\n01234567890123456789\xffAHTTP/1.1 200 OK\r\n\r\nuntil\xffx
\xffcPOST /open HTTP/1.1\r\nHost: h\r\nContent-Length: 40\r\n\r\n0123456789\xffc01234567890123456789\xffs\x03\xffHHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n\xffp\xffa2\r\nde\r\n0\r\n\r\n\xffc0123456789GET /open/2 HTTP/1.1\r\nHost: h\r\n\r\n
\xffcHEAD /open HTTP/1.1\r\nHost: h\r\n\r\n\xffcGET /open HTTP/1.1\r\nHost: h\r\n\r\n\xffAHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n
\xffcGET /open HTTP/1.1\r\nHost: h\r\n\r\n\xffcGET /open/2 HTTP/1.1\r\nHost: h\r\n\r\n\xffAHTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc\xffx
\xffcGET /open HTTP/1.1\r\nHost: h\r\n\r\n\xffcGET /open/2 HTTP/1.1\r\nHost: h\r\n\r\n\xffAHTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok
\xffcPOST /open HTTP/1.1\r\nHost: h\r\nContent-Length: 6\r\n\r\nabc\xffcdef\xffcGET /open/2 HTTP/1.1\r\nHost: h\r\n\r\n\xffHHTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 O\xffp\xffaK\r\nContent-Length: 2\r\n\r\nok
\xffcPOST /open HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\nabc\xffe\xffHHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok
\xffcGET /open HTTP/1.1\r\nHost: h\r\n\r\n\xffcPOST /open HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\nabc\xffcdef\xffr\xffA\xffHHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab\xffp\xffac\xffp\xffade
\xffCPOST /open HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n5\r\nde\xffe\xffHHTTP/1.1 100 Continue\r\n\r\n\xffaHTTP/1.1 413 No\r\nContent-Length: 0\r\n\r\n
\xffcGET /open HTTP/1.1\r\nHost: h\r\n\r\nPOST /open HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\nab\xffC\xffe\xffAHTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\na\xffabc
EOF
      ;;
    trailers) printf '%s\n' '0X-Sum: 1\r\n\r\n' '1X-Sum: 1\r\nHost: a\r\n\r\n' '2X:\r\nY: z\r\n\r\nGET /' '3\r\nHTTP/1.1 200' ;;
    path) printf '%s\n' / /a/b.c /a%20b/c /100%25/x /caf%c3%a9 /a/..b/...c "/a:b@c!\$&'()*+,=~" ;;
    head)
      printf '%s\n' \
        'GET / HTTP/1.1\r\nHost: a\r\n\r\n' \
        'POST /a?b HTTP/1.1\r\nHost: a:1\r\nContent-Length: 3\r\n\r\nabcGET' \
        'PUT http://a/b HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3;x\r\nabc\r\n0\r\nT: v\r\n\r\n' \
        'OPTIONS * HTTP/1.0\r\nConnection: keep-alive, x\r\nExpect: 100-continue\r\n\r\n' \
        'GET / HTTP/1.1\r\nHost: [::1]\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\r\n'
      ;;
  esac
}

targets=("$@")
if [ ${#targets[@]} -eq 0 ]; then
  for file in fuzz/fuzz_targets/*.rs; do
    targets+=("$(basename "$file" .rs)")
  done
fi
for target in "${targets[@]}"; do
  echo "fuzz.sh: $target for $seconds s"
  corpus=target/fuzz/corpus/$target
  mkdir -p "$corpus"
  number=0
  while IFS= read -r seed; do
    number=$((number + 1))
    # Some are written with escapes.
    case $target in
      answer | framing | head | headers | lanes | trailers) printf '%b' "$seed" ;;
      *) printf '%s' "$seed" ;;
    esac >"$corpus/seed-$number"
  done < <(seeds "$target")
  # Findings go to fuzz/artifacts/<target>, where cargo fuzz says how to repeat them.
  cargo fuzz run --sanitizer none --target-dir target/fuzz "$target" "$corpus" \
    -- -max_total_time="$seconds" -max_len=1024 -dict=fuzz/http.dict -verbosity=0 -print_final_stats=1
done
