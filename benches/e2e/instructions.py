#!/usr/bin/env python3
"""User instructions, allocations and system calls per request: figures that a noisy machine does not move.

Instructions: the proxy runs under valgrind's callgrind and 16 connections send, after a warm-up, N and then 2N
requests, each one when all have their answer to the last; the difference of the two counts by N is what a request costs
under load. The same of one connection alone, whose proxy waits in the kernel between any two steps, as a second figure.
It is counted of the one thread that requests cost most. "All threads", in the JSON alone, has what is done by the second too, like writing last logins, some fifty
times too often, since callgrind is that much slower than the machine. Only a few keys are used, in turn: later sights.
callgrind knows no SHA extensions, so what hashes (a forged key, nginx with Lua) counts far more than the processor
spends.

Allocations: calls of the allocator in that thread, from the same counts (callgrind.py); not of Envoy, whose binary does
not name its allocator. Caddy, which does not run under
valgrind, tells its own, all threads together.

System calls: counted by the kernel (perf) over all threads while wrk sends, at native speed with 64 connections; with
strace where perf cannot, which slows the proxy and lets it batch more.

Needs what run.py needs. Prints Markdown; writes target/bench/instructions.md and .json.
"""

import argparse
import contextlib
import re
import signal
import socket
import statistics
import subprocess
import sys
import time

import report
from callgrind import Callgrind
from columns import COLUMNS
from rig import BenchError, Rig, find, note
from run import about, add_common, choose, configured, prepare_keys

WARM_UP = 300
# The keys of one connection.
FEW = 16
KINDS = ("instructions", "alone", "allocations", "syscalls")


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=256, help="N (default 256)")
    parser.add_argument("--at-once", type=int, default=16, help="connections that instructions are counted with "
                        "(default 16)")
    parser.add_argument("--repeats", type=int, default=3, help="times that N and 2N are sent; medians (default 3)")
    parser.add_argument("--seconds", type=int, default=2, help="load for counting system calls (default 2)")
    parser.add_argument("--connections", type=int, default=64, help="of that load (default 64)")
    parser.add_argument("--keys", type=int, default=1000, help="API keys (default 1000)")
    parser.add_argument("--skip", choices=("callgrind", "syscalls"), help="leave one of the two out")
    add_common(parser, "instructions", "get,fields,post-1k,post-64k,missing,forged,stale,log")
    return parser.parse_args()


@contextlib.contextmanager
def running(rig, contestant):
    contestant.start(rig)
    try:
        yield contestant
    finally:
        gentle = contestant.process.stop(60)
    if not gentle:
        raise BenchError(f"{contestant.tag} did not end by itself within a minute of SIGTERM")


class Connections:
    """So many connections, and the requests of a column, ready to be sent in turn."""

    def __init__(self, rig, port, column, count):
        self.status = b"HTTP/1.1 %d " % column.status
        self.requests = []
        for key in column.values(rig)[:FEW]:
            fields = {"Host": f"127.0.0.1:{port}", "Accept-Encoding": "identity"} | dict(column.fields)
            fields |= {"Content-Length": column.body} if column.body else {}
            fields |= {"X-API-Key": key} if key else {}
            head = f"{column.method} {column.path} HTTP/1.1\r\n" + "".join(f"{n}: {v}\r\n" for n, v in fields.items())
            self.requests.append(head.encode() + b"\r\n" + b"x" * column.body)
        self.sockets = [socket.create_connection(("127.0.0.1", port), timeout=60) for _ in range(count)]
        for connection in self.sockets:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def send(self, count):
        for first in range(0, count, len(self.sockets)):
            busy = self.sockets[:count - first]
            for number, connection in enumerate(busy):
                connection.sendall(self.requests[(first + number) % len(self.requests)])
            for connection in busy:
                self.take(connection)

    def take(self, connection):
        """An answer, to its end."""
        answer, length = b"", None
        while length is None or len(answer) < length:
            more = connection.recv(65536)
            if not more:
                raise BenchError(f"closed after {answer!r}")
            answer += more
            head, end, _ = answer.partition(b"\r\n\r\n")
            if end:
                found = re.search(rb"\r\ncontent-length: *(\d+)", head, re.IGNORECASE)
                if found is None:
                    raise BenchError(f"an answer without a length: {head!r}")
                length = len(head) + 4 + int(found.group(1))
        if not answer.startswith(self.status) or len(answer) != length:
            raise BenchError(f"answered {answer!r} where {self.status!r} was expected")

    def close(self):
        for connection in self.sockets:
            connection.close()
        # What the closing costs is done before the next, or the end.
        time.sleep(0.5)


def median(samples):
    return {what: statistics.median(sample[what] for sample in samples) for what in samples[0]} | {"samples": samples}


def by_callgrind(rig, callgrind, contestant, column, connections, options):
    """{"worker": instructions, "allocations", "all_threads": instructions} per request."""
    load = Connections(rig, contestant.port, column, connections)

    def counted(requests):
        load.send(requests)
        return callgrind.take(contestant.process)

    counted(WARM_UP)
    samples = []
    for _ in range(options.repeats):
        once, twice = counted(options.requests), counted(2 * options.requests)

        def slope(thread, what):
            before = getattr(once[thread], what) if thread in once else 0
            return (getattr(twice[thread], what) - before) / options.requests

        worker = max(twice, key=lambda thread: slope(thread, "instructions"))
        samples.append({"worker": slope(worker, "instructions"), "allocations": slope(worker, "allocations"),
                        "all_threads": sum(slope(thread, "instructions") for thread in twice)})
    load.close()
    if not any(sample["worker"] for sample in samples):
        raise BenchError(f"callgrind counted nothing of {contestant.tag}")
    return median(samples)


def by_itself(rig, contestant, column, options):
    """{"allocations"} per request, as the contestant counts them; None if it does not."""
    load = Connections(rig, contestant.port, column, options.at_once)

    def counted(requests):
        before = contestant.allocations()
        load.send(requests)
        return contestant.allocations() - before

    load.send(WARM_UP)
    samples = []
    for _ in range(options.repeats):
        once, twice = counted(options.requests), counted(2 * options.requests)
        samples.append({"allocations": (twice - once) / options.requests})
    load.close()
    return median(samples)


def system_calls(rig, contestant, column, options):
    """{"per_request": calls, "with": "perf" or "strace"}."""
    def load(seconds, prefix=()):
        return rig.load(contestant.port, column, seconds=seconds, connections=options.connections,
                        prefix=prefix)["requests"]

    load(1)
    pids = ",".join(map(str, contestant.process.family()))
    if find("perf"):
        out = rig.dir / "perf.csv"
        try:
            requests = load(options.seconds, [find("perf"), "stat", "-e", "raw_syscalls:sys_enter", "-x", ",",
                                              "-o", out, "-p", pids, "--"])
            found = re.search(r"^(\d+),", out.read_text(), re.MULTILINE)
            if found:
                return {"per_request": int(found.group(1)) / requests, "with": "perf"}
        except BenchError as error:
            note(f"perf cannot count: {str(error).splitlines()[-1]}")
    if not find("strace"):
        return None
    out = rig.dir / "strace.txt"
    tracer = subprocess.Popen([find("strace"), "-c", "-f", "-o", out, *(f"-p{pid}" for pid in pids.split(","))],
                              stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        time.sleep(0.5)
        requests = load(options.seconds)
    finally:
        tracer.send_signal(signal.SIGINT)
        tracer.wait(30)
    found = re.search(r"^100\.00\s+\S+\s+(?:\d+\s+)?(\d+)(?:\s+\d+)?\s+total$", out.read_text(), re.MULTILINE)
    return {"per_request": int(found.group(1)) / requests, "with": "strace"} if found else None


def figures_of(rig, contestant, columns, options):
    """{column: {kind: …}} of one contestant, started once for system calls and once to be looked into."""
    columns = [column for column in columns if contestant.takes(column)]
    figures = {column.name: {} for column in columns}
    if options.skip != "syscalls":
        with running(rig, contestant):
            for column in columns:
                figures[column.name]["syscalls"] = system_calls(rig, contestant, column, options)
    if options.skip == "callgrind":
        return figures
    if contestant.callgrind and find("valgrind"):
        with Callgrind(rig) as callgrind, running(rig, contestant):
            for column in columns:
                for kind, connections in (("instructions", options.at_once), ("alone", 1)):
                    row = by_callgrind(rig, callgrind, contestant, column, connections, options)
                    if not contestant.names_allocator:
                        row["allocations"] = None
                    figures[column.name][kind] = row
    elif not contestant.callgrind:
        rig.telling = True
        with running(rig, contestant):
            for column in columns:
                figures[column.name]["itself"] = by_itself(rig, contestant, column, options)
        rig.telling = False
    return figures


def cell(kind, row):
    """What a table says of one contestant at one column."""
    if kind == "syscalls":
        calls = row.get("syscalls")
        return f"{calls['per_request']:.2f}{' (strace)' if calls['with'] == 'strace' else ''}" if calls else "–"
    if kind in ("instructions", "alone"):
        return f"{row[kind]['worker']:,.0f}" if kind in row else "–"
    counts = row.get("instructions") or row.get("itself")
    return f"{round(counts['allocations'], 1) + 0.0:.1f}" if counts and counts["allocations"] is not None else "–"


def markdown(result):
    settings = result["settings"]
    yield report.headline(result)
    yield (f"Instructions and allocations: slope over {settings['requests']} requests of {settings['at_once']} connections, or "
           f"of one alone. System calls: {settings['connections']} connections.")
    yield from (f"Without {name}: {why}." for name, why in result["absent"].items())
    columns = [column for column in COLUMNS if any(column.name in rows for rows in result["figures"].values())]
    headings = {"instructions": "user instructions", "alone": "user instructions, one connection alone",
                "allocations": "allocations", "syscalls": "system calls"}
    for kind in KINDS:
        yield ""
        yield from report.matrix(headings[kind], result, columns, lambda name, column: cell(
            kind, result["figures"][name].get(column.name, {})))


def main():
    options = arguments()
    names, absent, asked = choose(options)
    if options.skip != "callgrind" and not find("valgrind"):
        note("valgrind is missing: no instructions are counted")
    result = about(options, absent, ("requests", "at_once", "repeats", "seconds", "connections", "keys"))
    result["figures"] = {}
    began = time.monotonic()
    with Rig(parent=options.dir, keep=options.keep) as rig:
        rig.start_upstream()
        prepare_keys(rig, options, names, asked)
        for workers in sorted({column.workers for column in asked}):
            group = [column for column in asked if column.workers == workers]
            rig.give_workers(workers)
            for contestant in configured(options, names, group):
                rows = figures_of(rig, contestant, group, options)
                result["contestants"].setdefault(contestant.name, {"label": contestant.label()})
                result["figures"].setdefault(contestant.name, {}).update(rows)
                note(f"{contestant.tag}, {time.monotonic() - began:.0f} s: " + "; ".join(
                    f"{column} " + " ".join(cell(kind, row) for kind in KINDS) for column, row in rows.items()))
    report.save(result, "\n".join(markdown(result)), options.out)
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except BenchError as error:
        sys.exit(f"bench: {error}")
    except KeyboardInterrupt:
        sys.exit(130)
