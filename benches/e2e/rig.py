"""What the benches stand on: a temporary directory, processes that end with it, ports, CPU accounts, keys, load.

No proxy is known here (contestants.py, peers.py) and nothing is judged (run.py, instructions.py). Everything listens on
loopback; every wait has an end; only processes that were started here are ever signalled.
"""

import dataclasses
import hashlib
import hmac
import json
import os
import pathlib
import secrets
import shutil
import signal
import socket
import string
import subprocess
import sys
import tempfile
import time

from columns import UPLOAD_PATH

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
TARGET = pathlib.Path(os.environ.get("CARGO_TARGET_DIR") or ROOT / "target").resolve()
NGINX_MODULES = pathlib.Path("/usr/lib/nginx/modules")
TICKS = os.sysconf("SC_CLK_TCK")

# What the upstream answers: 102 bytes.
BODY = '{"id":42,"name":"widget","colour":"blue","stock":1700,"tags":["small","light"],"updated":"2026-01-31"}'
# Where the answer tells what the upstream was sent.
SEEN_PATH = "/seen"
SEEN = {"id": "x_keygate_key_id", "key": "x_api_key", "authorization": "authorization",
        "first": "user_agent", "last": "sec_fetch_dest"}
# What lets the upstream read bodies to their end before it answers.
LUA_MODULES = ("ndk_http_module.so", "ngx_http_lua_module.so")


class BenchError(Exception):
    """Something is not as it must be; the message says what."""


def find(program):
    """The path of a program, daemons' directories included; None if it is not there."""
    return shutil.which(program, path=os.environ.get("PATH", "") + ":/usr/local/sbin:/usr/sbin:/sbin")


def missing_lua():
    """The modules of nginx that are not there."""
    return [module for module in LUA_MODULES if not (NGINX_MODULES / module).exists()]


def note(text):
    print(text, file=sys.stderr, flush=True)


@dataclasses.dataclass(frozen=True)
class Key:
    id: str
    encoded: str

    def forged(self):
        """The same key with its last digit changed: well-formed, and its MAC does not hold."""
        return self.encoded[:-1] + ("0" if self.encoded[-1] != "0" else "1")

    def flipped(self):
        """The same key with the case of one letter of its secret changed; None if it has no letter."""
        head, body, mac = self.encoded.rsplit("_", 2)
        for at, letter in enumerate(body):
            if letter.isalpha():
                return f"{head}_{body[:at]}{letter.swapcase()}{body[at + 1:]}_{mac}"
        return None


def made_up_keys(count, version):
    """Keys of keygate's form with a shared secret of their own, for runs without keygate: (secret, keys)."""
    letters = string.digits + string.ascii_letters
    draw = lambda alphabet, n: "".join(secrets.choice(alphabet) for _ in range(n))
    secret = f"kgs_{version}_" + draw(letters, 43)
    keys = []
    for _ in range(count):
        key_id = draw(string.digits + string.ascii_lowercase, 12)
        signed = f"kg_{version}_{key_id}_{draw(letters, 43)}"
        mac = hmac.new(secret.encode(), signed.encode(), hashlib.sha256).hexdigest()[:40]
        keys.append(Key(key_id, f"{signed}_{mac}"))
    return secret, keys


class Process:
    """A child in a process group of its own, on some CPUs, with its output in a file."""

    def __init__(self, rig, name, argv, *, cpus, stdout=None, cwd=None):
        self.name = name
        self.log = rig.dir / f"{name}.log"

        def before_exec():
            os.sched_setaffinity(0, cpus)
            if rig.before_exec:
                rig.before_exec()

        # From its beginning: a second process of this name must not be taken for ready by what the first one said.
        with open(self.log, "wb") as log:
            self.popen = subprocess.Popen(
                [str(word) for word in argv], stdin=subprocess.DEVNULL, stdout=stdout or log, stderr=log,
                cwd=cwd or rig.dir, start_new_session=True, preexec_fn=before_exec)
        self.pid = self.popen.pid
        rig.processes.append(self)

    def alive(self):
        return self.popen.poll() is None

    def tail(self):
        text = self.log.read_text(errors="replace").strip()
        return "\n".join(text.splitlines()[-12:])

    def family(self):
        """Its pid and those of its descendants."""
        found, queue = [], [self.pid]
        while queue:
            pid = queue.pop()
            found.append(pid)
            for children in pathlib.Path(f"/proc/{pid}/task").glob("*/children"):
                try:
                    queue.extend(int(child) for child in children.read_text().split())
                except OSError:
                    pass
        return found

    def cpu_seconds(self):
        """User and system time of the whole family so far, ended threads included."""
        total = 0
        for pid in self.family():
            try:
                fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            total += int(fields[11]) + int(fields[12])
        return total / TICKS

    def wait_for_port(self, port, timeout):
        end = time.monotonic() + timeout
        while time.monotonic() < end:
            if not self.alive():
                raise BenchError(f"{self.name} ended at its start:\n{self.tail()}")
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                return
            except OSError:
                time.sleep(0.02)
        raise BenchError(f"{self.name} did not listen within {timeout} s:\n{self.tail()}")

    def stop(self, timeout=15):
        """SIGTERM, and again: a signal that arrives just before a wait for events is seen only after it. Then SIGKILL
        to its own group. Returns whether it ended by itself."""
        end = time.monotonic() + timeout
        while self.alive() and time.monotonic() < end:
            self.popen.terminate()
            try:
                self.popen.wait(min(3, timeout))
            except subprocess.TimeoutExpired:
                pass
        gentle = not self.alive()
        try:
            # Whatever of the group is left: none after a gentle end.
            os.killpg(self.pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            pass
        self.popen.wait(10)
        return gentle


class Rig:
    """The temporary directory and all that runs in it; as a context manager it leaves nothing behind."""

    def __init__(self, *, parent=None, keep=False):
        self.parent, self.keep = parent, keep
        self.processes, self.keys, self.stale_keys, self.shared_secret = [], [], [], None
        self.upstream = None
        # How instructions.py has proxies started: words before the command, a call between fork and exec, nginx without
        # its master, and what Caddy tells of itself.
        self.wrapper, self.before_exec, self.single_process, self.telling = [], None, False, False
        self.give_workers(1)

    def give_workers(self, workers):
        """Says who runs where, from now on: each worker of a proxy on a CPU, load and upstream on another if there is
        one, else on all."""
        cpus = sorted(os.sched_getaffinity(0))
        self.shared = len(cpus) <= workers
        self.proxy_cpus = set(cpus[:workers])
        self.load_cpus = set(cpus) if self.shared else {cpus[-1]}
        if self.shared:
            note(f"{len(cpus)} CPUs: load and upstream share them with proxies of {workers} workers")
        for pid in self.upstream.family() if self.upstream else ():
            os.sched_setaffinity(pid, self.load_cpus)

    def __enter__(self):
        signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended by SIGTERM"))
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="keygate-bench-", dir=self.parent))
        return self

    def __exit__(self, *_):
        for process in reversed(self.processes):
            process.stop()
        if self.keep:
            note(f"left behind as asked: {self.dir}")
        else:
            shutil.rmtree(self.dir, ignore_errors=True)

    def free_port(self):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            return probe.getsockname()[1]

    def write(self, name, text):
        path = self.dir / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(mode=0o600)
        path.write_text(text)
        return path

    def cpu_in_use(self):
        """Seconds that the proxies' CPUs were not idle so far, whoever used them."""
        total = 0
        for line in pathlib.Path("/proc/stat").read_text().splitlines():
            name, *words = line.split()
            if name.startswith("cpu") and name[3:].isdigit() and int(name[3:]) in self.proxy_cpus:
                user, nice, system, _idle, _iowait, *rest = (int(word) for word in words[:8])
                total += user + nice + system + sum(rest)
        return total / TICKS

    def run(self, argv, timeout, statuses=(0,), **options):
        """A command that must end with one of these; returns its standard output."""
        done = subprocess.run([str(word) for word in argv], stdin=subprocess.DEVNULL, capture_output=True, text=True,
                              timeout=timeout, **options)
        if done.returncode not in statuses:
            raise BenchError(f"{argv[0]} exited with {done.returncode}:\n{done.stderr.strip()[-2000:]}")
        return done.stdout

    def start_upstream(self):
        """nginx that answers by itself. It is not on the proxies' CPU and costs each contestant the same."""
        nginx = find("nginx")
        if nginx is None:
            raise BenchError("nginx, which is the upstream, is missing: run benches/e2e/prepare.sh")
        self.upstream_port = self.free_port()
        user = "user root;" if os.geteuid() == 0 else ""
        load = uploads = ""
        if not missing_lua():
            load = nginx_modules(LUA_MODULES)
            # Without Lua nginx would answer first and read the body afterwards.
            take = ('ngx.req.read_body() local body = ngx.req.get_body_data() '
                    'if not body or #body ~= tonumber(ngx.var.http_content_length or -1) '
                    'and not ngx.var.http_transfer_encoding then return ngx.exit(422) end '
                    f"local answer = '{BODY}' ngx.header.content_length = #answer ngx.print(answer)")
            uploads = f"location = {UPLOAD_PATH} {{ content_by_lua_block {{ {take} }} }}"
        said = ";".join(f"{name}=$http_{field}" for name, field in SEEN.items())
        conf = self.write("upstream/nginx.conf", f"""
            {load}
            daemon off; worker_processes 1; pid nginx.pid; error_log stderr crit; {user}
            events {{ worker_connections 4096; }}
            http {{
                access_log off; default_type application/json; {nginx_temporary_paths()}
                keepalive_timeout 1h; keepalive_requests 1000000000; tcp_nodelay on; client_body_buffer_size 128k;
                server {{
                    listen 127.0.0.1:{self.upstream_port} backlog=4096;
                    location / {{ return 200 '{BODY}'; }}
                    location = {SEEN_PATH} {{ return 200 '{said}\n'; }}
                    {uploads}
                }}
            }}""")
        self.upstream = Process(self, "upstream", [nginx, "-p", conf.parent, "-e", "stderr", "-c", conf],
                                cpus=self.load_cpus)
        self.upstream.wait_for_port(self.upstream_port, 10)

    def write_load_files(self, columns):
        """What load.lua reads: for each column one header value a line, and its fields."""
        for column in columns:
            self.write(f"load-{column.name}", "".join(f"{value or ''}\n" for value in column.values(self)))
            self.write(f"fields-{column.name}", "".join(f"{name}: {value}\n" for name, value in column.fields))

    def load(self, port, column, *, seconds, connections, prefix=()):
        """Runs wrk; returns load.lua's figures. `seconds` must be whole."""
        wrk = find("wrk")
        if wrk is None:
            raise BenchError("wrk is missing: run benches/e2e/prepare.sh")
        argv = [*prefix, wrk, "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "5s", "-s", HERE / "load.lua",
                f"http://127.0.0.1:{port}{column.path}", "--", self.dir / f"load-{column.name}", column.method,
                column.body, self.dir / f"fields-{column.name}"]
        out = self.run(argv, seconds + 30, preexec_fn=lambda: os.sched_setaffinity(0, self.load_cpus))
        for line in out.splitlines():
            if line.startswith("wrk-json "):
                return json.loads(line.removeprefix("wrk-json "))
        raise BenchError(f"wrk said nothing that can be read:\n{out[-2000:]}")


def nginx_modules(names):
    return " ".join(f"load_module {NGINX_MODULES / name};" for name in names)


def nginx_temporary_paths():
    """nginx makes these directories at its start, below its prefix instead of below /var."""
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    return " ".join(f"{kind}_temp_path tmp-{kind};" for kind in kinds)
