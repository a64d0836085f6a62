#!/usr/bin/env bash
# Installs what is missing of the named groups, and nothing that is there: Debian's packages, and into target/tools
# what comes from the registries of Rust, npm and Python.
#
#   .ci/install.sh build          what compiling keygate needs
#   .ci/install.sh test           what the tests call: real clients and their libraries, real servers to stand in front
#                                 of, a real Prometheus, a real browser, a clock that can be set, and checkers of
#                                 accessibility and of the API (tests/tools)
#   .ci/install.sh fuzz           cargo-fuzz, into target/tools
#
# Runs as root, or with sudo. Where it may not install, it says which packages are wanted and fails.
set -euo pipefail
cd "$(dirname "$0")/.."

packages=()

# want PACKAGE COMMAND…: the package, unless all the commands are there.
want() {
  local package=$1 command
  shift
  for command in "$@"; do
    if ! command -v "$command" >/dev/null 2>&1; then
      packages+=("$package")
      return
    fi
  done
}

# want_file PACKAGE FILE: the package, unless the file is there.
want_file() {
  [ -e "$2" ] || packages+=("$1")
}

need_rust() {
  if ! command -v cargo >/dev/null 2>&1; then
    echo "install.sh: cargo was not found. keygate needs Rust $(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)" \
      "or newer, with rustfmt and clippy; install it with rustup and run this again." >&2
    exit 1
  fi
}

group_build() {
  need_rust
  # The C library's headers come with the compiler. CMake builds zlib-ng; the others (SQLite, mimalloc, zstd,
  # ring) need the compiler alone.
  want build-essential cc c++ make
  want cmake cmake
  # For cargo's own downloads.
  [ -e /etc/ssl/certs/ca-certificates.crt ] || packages+=(ca-certificates)
}

group_test() {
  group_build
  want curl curl
  want openssl openssl
  want sqlite3 sqlite3
  want nghttp2-client nghttp h2load
  want prometheus prometheus promtool
  # Where Prometheus listens.
  want iproute2 ss
  # Slow attacks by somebody else.
  want slowhttptest slowhttptest
  # For one process a clock of its own.
  want faketime faketime
  want python3 python3
  python3 -c 'import ensurepip, venv' >/dev/null 2>&1 || packages+=(python3-venv)
  want chromium chromium
  want chromium-driver chromedriver
  # Something to draw letters with: a browser without any measures and shows nothing.
  [ -d /usr/share/fonts/truetype ] || packages+=(fonts-dejavu-core)
  want nodejs node
  want npm npm
  # Upstreams that are not ours (tests/corpus/servers). Modules and servers are no commands of everybody's path.
  want_file nginx-light /usr/sbin/nginx
  want_file libnginx-mod-http-lua /usr/lib/nginx/modules/ngx_http_lua_module.so
  want_file apache2-bin /usr/sbin/apache2
  want_file haproxy /usr/sbin/haproxy
}

group_fuzz() {
  group_build
}

# installed DIRECTORY FILE: whether the tools in this directory are those that the file names. A virtual environment does
# not survive a move, so the place counts too. `note_installed` says so of what was put there.
installed() {
  [ "$(cat "$1/.installed" 2>/dev/null)" = "$(pwd)/$1 $(cat "$2")" ]
}

note_installed() {
  printf '%s\n' "$(pwd)/$1 $(cat "$2")" >"$1/.installed"
}

# The versions are in tests/tools; nothing of it is part of keygate.
install_test_tools() {
  local npm=target/tools/npm python=target/tools/python
  if ! installed "$npm" tests/tools/package-lock.json; then
    echo "install.sh: installing tests/tools/package.json" >&2
    rm -rf "$npm"
    mkdir -p "$npm"
    cp tests/tools/package.json tests/tools/package-lock.json "$npm/"
    (cd "$npm" && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error) >/dev/null
    note_installed "$npm" tests/tools/package-lock.json
  fi
  if ! installed "$python" tests/tools/requirements.txt; then
    echo "install.sh: installing tests/tools/requirements.txt" >&2
    rm -rf "$python"
    python3 -m venv "$python"
    "$python/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps --requirement tests/tools/requirements.txt
    note_installed "$python" tests/tools/requirements.txt
  fi
}

# Packages of servers start them when they are installed. Nothing here wants that: tests start their own.
without_services() {
  local policy=/usr/sbin/policy-rc.d status=0
  if [ -e "$policy" ]; then
    "$@"
    return
  fi
  trap '$sudo rm -f /usr/sbin/policy-rc.d' EXIT
  printf '#!/bin/sh\nexit 101\n' | $sudo tee "$policy" >/dev/null
  $sudo chmod 0755 "$policy"
  "$@" || status=$?
  $sudo rm -f "$policy"
  trap - EXIT
  return "$status"
}

install_packages() {
  [ ${#packages[@]} -gt 0 ] || return 0
  local list by_hand
  list=$(printf '%s\n' "${packages[@]}" | sort -u | paste -sd' ')
  by_hand="install.sh: missing: $list. Install them as root: apt-get install -y --no-install-recommends $list"

  sudo=""
  if ! command -v apt-get >/dev/null 2>&1; then
    echo "install.sh: missing: $list (names of Debian's packages; there is no apt-get here)" >&2
    exit 1
  fi
  if [ "$(id -u)" -ne 0 ]; then
    command -v sudo >/dev/null 2>&1 || { echo "$by_hand" >&2; exit 1; }
    # Without a terminal nobody can answer sudo's question.
    if [ -t 0 ]; then sudo="sudo"; else sudo="sudo -n"; fi
    $sudo true || { echo "$by_hand" >&2; exit 1; }
  fi

  echo "install.sh: installing $list" >&2
  local options=(-qq -y -o DPkg::Lock::Timeout=300 -o Acquire::Retries=3)
  # One source that does not answer must not stop the rest: whether the packages are to be had shows below.
  $sudo apt-get "${options[@]}" update >/dev/null || echo "install.sh: apt-get update had errors; going on" >&2
  # shellcheck disable=SC2086 # a list of words
  without_services $sudo env DEBIAN_FRONTEND=noninteractive \
    apt-get "${options[@]}" --no-install-recommends install $list >/dev/null </dev/null || { echo "$by_hand" >&2; exit 1; }
}

[ $# -gt 0 ] || { sed -n '2,11s/^# \{0,1\}//p' "$0" >&2; exit 2; }
fuzz=false
test=false
for group in "$@"; do
  case $group in
    build) group_build ;;
    test) group_test; test=true ;;
    fuzz) group_fuzz; fuzz=true ;;
    *) echo "install.sh: there is no group $group" >&2; exit 2 ;;
  esac
done
install_packages

if $fuzz && [ ! -x target/tools/bin/cargo-fuzz ]; then
  cargo install --locked --root target/tools cargo-fuzz@0.13.2
fi

if $test; then
  install_test_tools
fi
