#!/usr/bin/env bash
# The proof that a fresh machine is enough: bootstraps a minimal Debian into a directory, puts Rust and a clone of the
# last commit into it, and runs there what a newcomer runs, as root and without a terminal.
#
#   .ci/bare-machine.sh                     make demo, the curl lines that it prints, make test
#   .ci/bare-machine.sh demo|test|lint      only that
#   .ci/bare-machine.sh 'some command'      that command, in the clone
#
# Wants root, debootstrap, git, curl and procps. The Debian mirror is the host's; crates, npm and Python packages come as
# the host gets them. The directory (BARE_DIR, default /var/tmp/keygate-bare) must not exist or be one that this script
# made; it is removed at the end unless BARE_KEEP=1. BARE_PATIENCE (3600) seconds are the most that the demo may take to
# start.
set -euo pipefail

self=$(readlink -f "$0")
repository=$(dirname "$(dirname "$self")")
root=$(readlink -m "${BARE_DIR:-/var/tmp/keygate-bare}")
suite=${BARE_SUITE:-bookworm}
patience=${BARE_PATIENCE:-3600}
clone=/src/keygate

fail() {
  echo "bare-machine.sh: $*" >&2
  exit 1
}

say() {
  echo "bare-machine.sh: $* ($((SECONDS / 60)) min $((SECONDS % 60)) s)" >&2
}

# --- Outside: make the machine ------------------------------------------------------------------------------

check_host() {
  [ "$(id -u)" -eq 0 ] || fail "needs root"
  local tool
  for tool in debootstrap git curl cargo rustc unshare pgrep; do
    command -v "$tool" >/dev/null 2>&1 || fail "needs $tool"
  done
  case $root/ in "$repository"/* | /) fail "BARE_DIR must be outside of the repository" ;; esac
  [ ! -e "$root" ] || [ -e "$root/.keygate-bare" ] || fail "$root exists and was not made by this script"
}

# The host's Debian sources, one line each: address, suite, component.
host_sources() {
  apt-get indextargets --format '$(ORIGIN)|$(REPO_URI)|$(RELEASE)|$(COMPONENT)' 'Created-By: Packages' |
    sed -n "s/^Debian|\(.*\)|\($suite[a-z-]*\)|\(.*\)\$/\1 \2 \3/p" | sort -u
}

bootstrap() {
  local sources mirror
  sources=$(host_sources)
  [ -n "$sources" ] || { apt-get -q update >/dev/null && sources=$(host_sources); }
  mirror=$(awk -v suite="$suite" '$2 == suite { print $1; exit }' <<<"$sources")
  [ -n "$mirror" ] || fail "the host has no source for Debian $suite"

  mkdir -p "$root"
  touch "$root/.keygate-bare"
  # make is what a newcomer must have, beside Rust, to type the first command.
  debootstrap --variant=minbase --include=make "$suite" "$root" "$mirror" >"$root/debootstrap.log" 2>&1 ||
    fail "debootstrap failed: $(tail -n 3 "$root/debootstrap.log")"

  sed 's/^/deb /' <<<"$sources" >"$root/etc/apt/sources.list"
  apt-config dump Acquire | grep -E '::(Check-|[a-z]*::?Proxy|Retries)' >"$root/etc/apt/apt.conf.d/00host" || true
  # How the host finds and trusts others.
  cp -L /etc/resolv.conf /etc/hosts "$root/etc/"
  if [ -e /etc/ssl/certs/ca-certificates.crt ]; then
    install -D -m 0644 /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/ca-certificates.crt"
  fi
  # What the bundle is made of when the package is installed.
  if [ -d /usr/local/share/ca-certificates ]; then
    mkdir -p "$root/usr/local/share"
    cp -rL /usr/local/share/ca-certificates "$root/usr/local/share/"
  fi
  local cargo_home=${CARGO_HOME:-$HOME/.cargo}
  mkdir -p "$root/opt/rust" "$root/root/.cargo"
  if [ -e "$cargo_home/config.toml" ]; then cp "$cargo_home/config.toml" "$root/root/.cargo/"; fi
  # Test tools come from npm's and Python's registries, as the host gets them.
  local file
  for file in /etc/npmrc "$HOME/.npmrc" /etc/pip.conf; do
    if [ -e "$file" ]; then install -D -m 0600 "$file" "$root/${file/#$HOME//root}"; fi
  done

  git -C "$repository" diff --quiet HEAD -- || say "note: changes that are not committed are not in the clone"
  mkdir -p "$root$(dirname "$clone")"
  git clone --quiet --no-hardlinks "$repository" "$root$clone"
}

# --- Inside a mount and process namespace of its own: whatever is mounted or started there ends with it ---------

enter() {
  mount --bind "$(rustc --print sysroot)" "$root/opt/rust"
  mount -o remount,bind,ro "$root/opt/rust"
  mount -t proc proc "$root/proc"
  mount --rbind /dev "$root/dev"
  mount -t tmpfs tmpfs "$root/dev/shm" 2>/dev/null || true
  local step
  for step in "$@"; do
    say "$step"
    case $step in
      demo) demo ;;
      test | lint) inside "make $step" ;;
      *) inside "$step" ;;
    esac
  done
}

# Runs a command line in the clone.
inside() {
  chroot "$root" /usr/bin/env -i HOME=/root TERM=dumb LANG=C.UTF-8 CI=true CARGO_INCREMENTAL=0 \
    PATH=/opt/rust/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    /bin/bash -euc "cd $clone; $1" </dev/null
}

# Starts the demo, waits for the lines that it prints, runs each of them, and ends it as a service manager would.
demo() {
  local log=$root/demo.log deadline=$((SECONDS + patience)) quiet=0 size=-1 line lines names failed=0
  (inside "exec make demo" >"$log" 2>&1) &
  local job=$!
  # All lines are there when some are and no more came for three seconds.
  while [ "$quiet" -lt 3 ]; do
    kill -0 "$job" 2>/dev/null || { tail -n 40 "$log" >&2; fail "make demo ended by itself"; }
    [ "$SECONDS" -lt "$deadline" ] || { tail -n 40 "$log" >&2; fail "make demo printed no curl line"; }
    sleep 1
    if [ -n "$(curl_lines "$log")" ] && [ "$(stat -c %s "$log")" -eq "$size" ]; then quiet=$((quiet + 1)); else quiet=0; fi
    size=$(stat -c %s "$log")
  done
  say "the demo runs; what it printed last:"
  tail -n 60 "$log"

  lines=$(curl_lines "$log")
  names=$(sed -n 's/^[[:space:]]*\([A-Z][A-Z_]*=.*\)$/\1/p' "$log")
  while IFS= read -r line; do
    printf '\n$ %s\n' "$line"
    bash -c "$names"$'\n'"$line" </dev/null || { echo "bare-machine.sh: this line failed" >&2; failed=1; }
  done <<<"$lines"
  echo

  local main
  main=$(pgrep -f -x '(.*/)?keygate demo' | head -n 1) || fail "no keygate demo is running"
  kill -TERM "$main"
  wait "$job" || true
  ! pgrep -f -x '(.*/)?keygate demo' >/dev/null || fail "the demo goes on after SIGTERM"
  [ "$failed" -eq 0 ] || fail "not every printed line worked"
  say "the demo has ended"
}

# The lines to paste that are curl commands. Those that give names to keys go before each of them.
curl_lines() {
  sed -n 's/^[[:space:]]*\$\{0,1\}[[:space:]]*\(curl .*\)$/\1/p' "$1"
}

if [ "${1:-}" = --inside ]; then
  shift
  enter "$@"
  exit
fi

check_host
rm -rf --one-file-system "$root"
[ "${BARE_KEEP:-}" = 1 ] || trap 'rm -rf --one-file-system "$root"' EXIT
say "bootstrapping Debian $suite into $root"
bootstrap
[ $# -gt 0 ] || set -- demo test
unshare --mount --mount-proc --pid --fork --kill-child -- "$self" --inside "$@"
say "done: $*"
