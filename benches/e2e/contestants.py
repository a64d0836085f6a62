"""Who is compared: keygate in both lanes, and bare pingora as the yardstick. The peers are in peers.py.

Each checks a key in X-API-Key, takes it off, names the key's id to the upstream in X-Keygate-Key-Id and keeps
connections alive on both sides. Bare pingora checks nothing: it is the yardstick, once forwarding and once refusing.
"""

import json
import re
import subprocess
import time

from rig import ROOT, BenchError, Process

POOL = 256


class Contestant:
    """One proxy with so many workers and its access log on or off. `name` is for the command line, `title` and `how`
    for tables, `tag` for its files."""

    name = title = how = ""
    checks_keys = True
    # Whether it runs under valgrind, and whether its binary says there which function is its allocator.
    callgrind = names_allocator = True
    process = port = None

    def __init__(self, binary=None, *, workers=1, log=False):
        self.binary, self.workers, self.log = binary, workers, log
        self.tag = self.name + (f"-{workers}" if workers > 1 else "") + ("-log" if log else "")

    def takes(self, column):
        """Whether it is measured at this column, as it is configured."""
        return column.workers == self.workers and column.log == self.log

    def unavailable(self):
        """Why it cannot take part, or None."""
        return None

    def version(self):
        return ""

    def label(self):
        """For people: `nginx 1.22.1, map`."""
        words = " ".join(filter(None, [self.title, self.version()]))
        return f"{words}, {self.how}" if self.how else words

    def start(self, rig):
        """Sets `process` and `port`; returns when it listens."""
        raise NotImplementedError

    def run(self, rig, argv, *, timeout=60):
        """With the access log on, standard output is its file."""
        stdout = None
        if self.log:
            self.access_log(rig).touch()
            stdout = open(self.access_log(rig), "ab")
        self.process = Process(rig, self.tag, [*rig.wrapper, *argv], cpus=rig.proxy_cpus, stdout=stdout)
        if self.port:
            self.process.wait_for_port(self.port, timeout)

    def access_log(self, rig):
        return rig.dir / f"{self.tag}.access"

    def before_round(self, rig):
        """Throws away what the access log has so far."""
        if self.log:
            with open(self.access_log(rig), "r+b") as log:
                log.truncate(0)

    def allocations(self):
        """Those that it counted itself so far, if it does."""
        return None


def first_line(argv, pattern):
    """What a program says of its version."""
    try:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=20, stdin=subprocess.DEVNULL)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    found = re.search(pattern, done.stdout + done.stderr)
    return found.group(1) if found else ""


class Keygate(Contestant):
    """All nodes of a run are on one store."""

    name, title, how = "keygate-express", "keygate", "express lane"
    express_lane = "true"

    def unavailable(self):
        return None if self.binary.exists() else f"no {self.binary.name} built: cargo build --release"

    def version(self):
        return first_line([self.binary, "--version"], r"(\d\S*)")

    def configure(self, rig):
        directory = rig.dir / "keygate"
        return rig.write(directory / f"{self.tag}.toml", f"""
            [server]
            listen = ["127.0.0.1:0"]
            threads = {self.workers}
            run_dir = "run-{self.tag}"
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
            access = "{'json' if self.log else 'off'}"
            level = "warn"
            """)

    def make_keys(self, rig, helper, count, stale):
        """A new store with these many keys in it: (shared secret, keys, stale keys), each key an id and its text."""
        config = self.configure(rig)
        command = [self.binary, "--config", config]
        rig.run([*command, "init"], 60)

        def make(number, name):
            lines = rig.run([helper, config, number, name], 1800).split()
            return list(zip(lines[::2], lines[1::2]))

        before = make(stale, "stale")
        rig.run([*command, "secret", "regenerate", "--yes", "--no-wait"], 60, statuses=(0, 1))
        now = make(count, "bench")
        shown = rig.run([*command, "--output", "json", "secret", "show"], 60)
        return json.loads(shown)["secret"], now, before

    def start(self, rig, timeout=120):
        self.port = None
        self.run(rig, [self.binary, "--config", self.configure(rig), "serve"])
        end = time.monotonic() + timeout
        while time.monotonic() < end:
            for line in self.process.log.read_text(errors="replace").splitlines(keepends=True):
                if line.startswith("{") and line.endswith("\n") and '"listening"' in line:
                    event = json.loads(line)
                    if event.get("event") == "listening":
                        self.port = int(event["server"][0].rpartition(":")[2])
                        return
            if not self.process.alive():
                raise BenchError(f"{self.tag} ended at its start:\n{self.process.tail()}")
            time.sleep(0.02)
        raise BenchError(f"{self.tag} was not ready within {timeout} s:\n{self.process.tail()}")


class KeygateGeneral(Keygate):
    """Everything through pingora-proxy."""

    name, how = "keygate-general", "general lane"
    express_lane = "false"


class BarePingora(Contestant):
    name, title, how = "pingora", "bare pingora", "no key check"
    checks_keys = False
    refuse = False

    def takes(self, column):
        return super().takes(column) and not column.log and column.admitted != self.refuse

    def unavailable(self):
        return None if self.binary.exists() else f"no {self.binary.name} built: cargo build --release --examples"

    def version(self):
        lock = (ROOT / "Cargo.lock").read_text()
        found = re.search(r'name = "pingora-proxy"\nversion = "([^"]+)"', lock)
        return found.group(1) if found else ""

    def start(self, rig):
        self.port = rig.free_port()
        upstream = "refuse" if self.refuse else f"127.0.0.1:{rig.upstream_port}"
        self.run(rig, [self.binary, f"127.0.0.1:{self.port}", upstream, self.workers])


class BarePingoraRefusing(BarePingora):
    name, title, how = "pingora-401", "bare pingora", "refuses all"
    refuse = True
