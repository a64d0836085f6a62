"""What the benches stand on: a temporary directory, processes that end with it, ports, CPU accounts, keys, load.

No proxy is known here (contestants.py) and nothing is judged (run.py, instructions.py). Everything listens on
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

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
TARGET = pathlib.Path(os.environ.get("CARGO_TARGET_DIR") or ROOT / "target").resolve()
TICKS = os.sysconf("SC_CLK_TCK")

# What the upstream answers: 102 bytes.
BODY = '{"id":42,"name":"widget","colour":"blue","stock":1700,"tags":["small","light"],"updated":"2026-01-31"}'
# The path of the load, and one whose answer tells what the upstream was sent.
PATH = "/v1/things/42"
SEEN_PATH = "/seen"


class BenchError(Exception):
    """Something is not as it must be; the message says what."""


def find(program):
    """The path of a program, daemons' directories included; None if it is not there."""
    return shutil.which(program, path=os.environ.get("PATH", "") + ":/usr/local/sbin:/usr/sbin:/sbin")


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


def made_up_keys(count):
    """Keys of keygate's form with a shared secret of their own, for runs without keygate: (secret, keys)."""
    letters = string.digits + string.ascii_letters
    draw = lambda alphabet, n: "".join(secrets.choice(alphabet) for _ in range(n))
    secret = "kgs_1_" + draw(letters, 43)
    keys = []
    for _ in range(count):
        key_id = draw(string.digits + string.ascii_lowercase, 12)
        signed = f"kg_1_{key_id}_{draw(letters, 43)}"
        mac = hmac.new(secret.encode(), signed.encode(), hashlib.sha256).hexdigest()[:40]
        keys.append(Key(key_id, f"{signed}_{mac}"))
    return secret, keys


class Process:
    """A child in a process group of its own, on one CPU, with its output in a file."""

    def __init__(self, rig, name, argv, *, cpu, stdout=None, cwd=None):
        self.name = name
        self.log = rig.dir / f"{name}.log"

        def before_exec():
            os.sched_setaffinity(0, {cpu})
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

    def __init__(self, *, parent=None, proxy_cpu=None, load_cpu=None, keep=False):
        cpus = sorted(os.sched_getaffinity(0))
        if len(cpus) < 2:
            note("one CPU only: proxy, load and upstream share it, and the figures say little")
        self.proxy_cpu = cpus[0] if proxy_cpu is None else proxy_cpu
        self.load_cpu = cpus[min(1, len(cpus) - 1)] if load_cpu is None else load_cpu
        self.parent, self.keep = parent, keep
        self.processes, self.keys, self.shared_secret = [], [], None
        # How instructions.py has proxies started: words before the command, a call between fork and exec, and nginx
        # without its master.
        self.wrapper, self.before_exec, self.single_process = [], None, False

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
        """Seconds that the proxies' CPU was not idle so far, whoever used it."""
        for line in pathlib.Path("/proc/stat").read_text().splitlines():
            if line.startswith(f"cpu{self.proxy_cpu} "):
                user, nice, system, _idle, _iowait, *rest = (int(word) for word in line.split()[1:9])
                return (user + nice + system + sum(rest)) / TICKS
        return 0.0

    def run(self, argv, timeout, **options):
        """A command that must succeed; returns its standard output."""
        done = subprocess.run([str(word) for word in argv], stdin=subprocess.DEVNULL, capture_output=True, text=True,
                              timeout=timeout, **options)
        if done.returncode != 0:
            raise BenchError(f"{argv[0]} exited with {done.returncode}:\n{done.stderr.strip()[-2000:]}")
        return done.stdout

    def start_upstream(self):
        """nginx that answers by itself. It is on the load's CPU and costs each contestant the same."""
        nginx = find("nginx")
        if nginx is None:
            raise BenchError("nginx, which is the upstream, is missing: run benches/e2e/prepare.sh")
        self.upstream_port = self.free_port()
        user = "user root;" if os.geteuid() == 0 else ""
        conf = self.write("upstream/nginx.conf", f"""
            daemon off; worker_processes 1; pid nginx.pid; error_log stderr crit; {user}
            events {{ worker_connections 4096; }}
            http {{
                access_log off; default_type application/json; {nginx_temporary_paths()}
                keepalive_timeout 1h; keepalive_requests 1000000000; tcp_nodelay on;
                server {{
                    listen 127.0.0.1:{self.upstream_port} backlog=4096;
                    location / {{ return 200 '{BODY}'; }}
                    location = {SEEN_PATH} {{
                        return 200 'id=$http_x_keygate_key_id;key=$http_x_api_key;authorization=$http_authorization\n';
                    }}
                }}
            }}""")
        self.upstream = Process(self, "upstream", [nginx, "-p", conf.parent, "-e", "stderr", "-c", conf],
                                cpu=self.load_cpu)
        self.upstream.wait_for_port(self.upstream_port, 10)

    def write_key_files(self):
        """One header value a line, as load.lua reads them."""
        self.key_files = {
            "admitted": self.write("load-admitted", "".join(f"{key.encoded}\n" for key in self.keys)),
            "missing": self.write("load-missing", "\n"),
            "forged": self.write("load-forged", "".join(f"{key.forged()}\n" for key in self.keys)),
        }

    def load(self, port, scenario, *, seconds, connections, prefix=()):
        """Runs wrk; returns load.lua's figures. `seconds` must be whole."""
        wrk = find("wrk")
        if wrk is None:
            raise BenchError("wrk is missing: run benches/e2e/prepare.sh")
        argv = [*prefix, wrk, "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "5s", "-s", HERE / "load.lua",
                f"http://127.0.0.1:{port}{PATH}", "--", self.key_files[scenario]]
        out = self.run(argv, seconds + 30, preexec_fn=lambda: os.sched_setaffinity(0, {self.load_cpu}))
        for line in out.splitlines():
            if line.startswith("wrk-json "):
                return json.loads(line.removeprefix("wrk-json "))
        raise BenchError(f"wrk said nothing that can be read:\n{out[-2000:]}")


def nginx_temporary_paths():
    """nginx makes these directories at its start, below its prefix instead of below /var."""
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    return " ".join(f"{kind}_temp_path tmp-{kind};" for kind in kinds)
