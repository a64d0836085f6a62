#!/usr/bin/env bash
# What no compiler checks of the tracked files: where dependencies come from, that no credential was committed, that
# the scripts parse.
set -euo pipefail
cd "$(dirname "$0")/.."

status=0
fail() {
  echo "check-tree.sh: $1" >&2
  [ -z "${2:-}" ] || printf '%s\n' "$2" | sed 's/^/  /' >&2
  status=1
}

foreign=$(grep '^source = ' Cargo.lock | grep -v '/crates\.io-index"$' || true)
[ -z "$foreign" ] || fail "Cargo.lock has dependencies that are not from the Rust registry:" "$foreign"

if git rev-parse --is-inside-work-tree >/dev/null 2>&1; then
  # The rules of docs/credentials.md in one expression. The published vectors may stay, and so may placeholders whose
  # 43 characters are all the same.
  credential='(^|[^0-9A-Za-z_])k(gs_[1-9][0-9]{0,9}|g[ao]_[0-9a-z]{12}|g_[1-9][0-9]{0,9}_[0-9a-z]{12})_[0-9A-Za-z]{43}([^0-9A-Za-z]|$)'
  found=$(git grep -noIE "$credential" -- . ':!docs/test-vectors.*' | grep -vE '_([0-9A-Za-z])\1{42}' |
    cut -d: -f1,2 | sort -u || true)
  [ -z "$found" ] || fail "credentials in files (make them at run time, or put them into docs/test-vectors.json):" "$found"

  keys=$(git ls-files -- '*.key' '*.db' '*.db-wal' '*.pem' || true)
  [ -z "$keys" ] || fail "stores or key files are tracked:" "$keys"
fi

for script in .ci/run .ci/*.sh; do
  bash -n "$script" || fail "$script does not parse"
done
exit "$status"
