#!/usr/bin/env bash
# Runs the tests under cargo-nextest, or under cargo test where it is not installed. Arguments are passed on.
set -euo pipefail
cd "$(dirname "$0")/.."

if cargo nextest --version >/dev/null 2>&1; then
  profile=default
  [ -z "${CI:-}" ] || profile=ci
  machine=()
  # These tests time those who do nothing wrong.
  [ -z "${KEYGATE_TEST_LONG:-}" ] || profile=long machine=(.ci/own-memory.sh)
  exec "${machine[@]}" cargo nextest run --locked --profile "$profile" "$@"
fi

cat >&2 <<'TEXT'
test.sh: cargo-nextest is not installed, so cargo test runs the tests, one at a time and without nextest's deadlines.
         `cargo install --locked cargo-nextest` brings it (some minutes, once).
TEXT
exec cargo test --locked --lib --bins --tests "$@" -- --test-threads=1
