#!/usr/bin/env python3
"""User instructions and system calls per request: figures that a noisy machine does not move.

Instructions: the proxy runs under valgrind's callgrind and one connection sends, after a warm-up, N and then 2N
requests; the difference of the two counts by N is what a request costs. "Worker" is the one thread that requests cost
most: the figure to compare. "All threads" has the idle rate taken off, measured in a pause, but still counts work that
requests cause by the second, like writing last logins, some fifty times too often, since callgrind is that much slower
than the machine. Only a few keys are used, in turn: later sights. callgrind knows no SHA extensions, so what hashes (a
forged key) counts far more than the processor spends.

System calls: counted by the kernel (perf) over all threads while wrk sends, at native speed with 64 connections; with
strace where perf cannot, which slows the proxy and lets it batch more.

Needs what run.py needs. Prints Markdown; writes JSON to target/bench/instructions.json.
"""

import argparse
import contextlib
import datetime
import re
import signal
import statistics
import subprocess
import sys
import time

import no_auxv
import report
from answers import Client, expect
from rig import PATH, BenchError, Rig, find, note
from run import add_common, choose, machine, prepare_keys, revision

WARM_UP = 300


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=1000, help="N (default 1000)")
    parser.add_argument("--repeats", type=int, default=3, help="times that N and 2N are sent; medians (default 3)")
    parser.add_argument("--seconds", type=int, default=3, help="load for counting system calls (default 3)")
    parser.add_argument("--connections", type=int, default=64, help="of that load (default 64)")
    parser.add_argument("--idle", type=float, default=3, help="seconds that the idle rate is taken over (default 3)")
    parser.add_argument("--keys", type=int, default=1000, help="API keys (default 1000)")
    parser.add_argument("--only", default="keygate,keygate-log,pingora,pingora-401,nginx,haproxy",
                        help="contestants, by name, with commas between (default: %(default)s)")
    parser.add_argument("--scenarios", default="admitted,missing,forged", help="which, with commas between")
    parser.add_argument("--skip", choices=("instructions", "syscalls"), help="leave one of the two out")
    add_common(parser)
    return parser.parse_args()


@contextlib.contextmanager
def running(rig, contestant):
    contestant.start(rig)
    try:
        yield contestant
    finally:
        gentle = contestant.process.stop(60)
    if not gentle:
        raise BenchError(f"{contestant.name} did not end by itself within a minute of SIGTERM")


def send(client, rig, scenario, count):
    keys = rig.keys[:16]
    wanted = 200 if scenario == "admitted" else 401
    values = {"admitted": [key.encoded for key in keys], "missing": [None], "forged": [key.forged() for key in keys]}
    values = values[scenario]
    for number in range(count):
        expect(scenario, client.get(PATH, values[number % len(values)])[0], wanted)


class Callgrind:
    """Has proxies started under callgrind, and reads its counts."""

    def __init__(self, rig):
        self.rig, self.out, self.fifos = rig, rig.dir / "callgrind.out", rig.dir / "vgdb"

    def __enter__(self):
        self.rig.wrapper = [
            find("valgrind"), "--tool=callgrind", "--separate-threads=yes", f"--callgrind-out-file={self.out}",
            f"--log-file={self.out}.log", "--vgdb=yes", f"--vgdb-prefix={self.fifos}"]
        self.rig.before_exec, self.rig.single_process = no_auxv.install, True
        return self

    def __exit__(self, kind, error, _):
        self.rig.wrapper, self.rig.before_exec, self.rig.single_process = [], None, False
        log = self.out.with_name(self.out.name + ".log")
        if isinstance(error, BenchError) and log.exists():
            note(log.read_text(errors="replace")[-1500:])

    def take(self, process):
        """{thread: instructions} since the last time."""
        for old in self.rig.dir.glob(self.out.name + ".[0-9]*"):
            old.unlink()
        self.rig.run([find("vgdb"), f"--pid={process.pid}", f"--vgdb-prefix={self.fifos}", "--wait=20", "dump"], 60)
        counts = {}
        for path in self.rig.dir.glob(self.out.name + ".[0-9]*-[0-9]*"):
            found = re.findall(r"^(?:totals|summary): (\d+)", path.read_text(errors="replace"), re.MULTILINE)
            counts[path.name.rpartition("-")[2]] = max((int(total) for total in found), default=0)
        return counts


def instructions(rig, contestant, scenario, options):
    with Callgrind(rig) as callgrind, running(rig, contestant):
        client = Client(contestant.port)

        def counted(requests, pause=0.0):
            began = time.monotonic()
            send(client, rig, scenario, requests)
            time.sleep(pause)
            counts = callgrind.take(contestant.process)
            return counts, sum(counts.values()), time.monotonic() - began

        counted(WARM_UP)
        samples = []
        for _ in range(options.repeats):
            _, still, still_seconds = counted(0, options.idle)
            once, once_sum, once_seconds = counted(options.requests)
            twice, twice_sum, twice_seconds = counted(2 * options.requests)
            busy = twice_sum - once_sum - still / still_seconds * (twice_seconds - once_seconds)
            samples.append({
                "worker": max((twice[thread] - once.get(thread, 0)) / options.requests for thread in twice),
                "all_threads": busy / options.requests,
                "idle_per_second": still / still_seconds,
            })
        client.connection.close()
        # What the closing costs is done before it ends.
        time.sleep(0.5)
    if not any(sample["worker"] for sample in samples):
        raise BenchError(f"callgrind counted nothing of {contestant.name}")
    return {what: statistics.median(sample[what] for sample in samples) for what in samples[0]} | {"samples": samples}


def system_calls(rig, contestant, scenario, options):
    """{"per_request": calls, "with": "perf" or "strace"}."""
    with running(rig, contestant):
        def load(prefix=()):
            return rig.load(contestant.port, scenario, seconds=options.seconds, connections=options.connections,
                            prefix=prefix)["requests"]

        load()
        pids = ",".join(map(str, contestant.process.family()))
        if find("perf"):
            out = rig.dir / "perf.csv"
            try:
                requests = load([find("perf"), "stat", "-e", "raw_syscalls:sys_enter", "-x", ",", "-o", out,
                                 "-p", pids, "--"])
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
            requests = load()
        finally:
            tracer.send_signal(signal.SIGINT)
            tracer.wait(30)
        found = re.search(r"^100\.00\s+\S+\s+(?:\d+\s+)?(\d+)(?:\s+\d+)?\s+total$", out.read_text(), re.MULTILINE)
        return {"per_request": int(found.group(1)) / requests, "with": "strace"} if found else None


def markdown(result):
    settings = result["settings"]
    yield f"{result['machine']['cpu']}; {result['when']}, keygate {result['revision'] or 'uncommitted'}."
    yield (f"Instructions: callgrind, slope over {settings['requests']} requests of one connection. System calls: "
           f"{settings['connections']} connections.")
    for scenario, heading in report.SCENARIOS.items():
        rows = [(name, of[scenario]) for name, of in result["figures"].items() if scenario in of]
        if not rows:
            continue
        base = dict(rows).get(report.BASE[scenario], {}).get("instructions")
        yield f"\n| {heading} | user instructions, worker | to bare pingora | all threads | system calls |"
        yield "|---|---|---|---|---|"
        for name, row in rows:
            count, calls = row.get("instructions"), row.get("syscalls")
            ratio = f"{count['worker'] / base['worker']:.2f}" if count and base else "–"
            cells = [f"{count['worker']:,.0f}", ratio, f"{count['all_threads']:,.0f}"] if count else ["–"] * 3
            how = " (strace)" if calls and calls["with"] == "strace" else ""
            cells.append(f"{calls['per_request']:.2f}{how}" if calls else "–")
            yield f"| {result['contestants'][name]['label']} | " + " | ".join(cells) + " |"


def main():
    options = arguments()
    contestants, absent = choose(options)
    count_instructions = options.skip != "instructions" and bool(find("valgrind"))
    if options.skip != "instructions" and not count_instructions:
        note("valgrind is missing: no instructions are counted")
    figures = {}
    with Rig(parent=options.dir, proxy_cpu=options.proxy_cpu, load_cpu=options.load_cpu, keep=options.keep) as rig:
        rig.start_upstream()
        prepare_keys(rig, contestants, options, options.keys)
        for contestant in contestants:
            for scenario in (one for one in options.scenarios.split(",") if one in contestant.scenarios):
                row = figures.setdefault(contestant.name, {}).setdefault(scenario, {})
                if options.skip != "syscalls":
                    row["syscalls"] = system_calls(rig, contestant, scenario, options)
                if count_instructions:
                    row["instructions"] = instructions(rig, contestant, scenario, options)
                note(f"{contestant.name}, {scenario}: " + ", ".join(
                    f"{what} {figure:.2f}" for part in row.values() if part for what, figure in part.items()
                    if isinstance(figure, float)))
    result = {
        "when": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "revision": revision(),
        "machine": machine(),
        "settings": {name: getattr(options, name)
                     for name in ("requests", "repeats", "seconds", "connections", "keys", "idle")},
        "contestants": {one.name: {"label": one.label()} for one in contestants},
        "absent": absent,
        "figures": figures,
    }
    path = report.save(result, "instructions")
    print("\n".join(markdown(result)))
    note(f"written to {path}")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except BenchError as error:
        sys.exit(f"bench: {error}")
    except KeyboardInterrupt:
        sys.exit(130)
