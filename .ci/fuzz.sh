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
# The same versions of dependencies as in the program.
cp Cargo.lock fuzz/Cargo.lock

# What each target starts from: the forms themselves, which chance would not find.
seeds() {
  local zeros
  zeros=$(printf '0%.0s' {1..43})
  case $1 in
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
    if [ "$target" = head ]; then printf '%b' "$seed"; else printf '%s' "$seed"; fi >"$corpus/seed-$number"
  done < <(seeds "$target")
  # Findings go to fuzz/artifacts/<target>, where cargo fuzz says how to repeat them.
  cargo fuzz run --sanitizer none --target-dir target/fuzz "$target" "$corpus" \
    -- -max_total_time="$seconds" -max_len=1024 -verbosity=0 -print_final_stats=1
done
