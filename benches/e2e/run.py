#!/usr/bin/env python3
"""keygate side by side with bare pingora, nginx, nginx + Lua, haproxy and Envoy: same keys, upstream and load.

Each round measures every contestant at every scenario (a valid key, no key, a forged key) once, in an order shuffled
anew; rounds repeat, so that a noisy minute touches all alike. Every proxy has one worker and one CPU to itself; wrk
(64 keep-alive connections, 10,000 keys in turn) and the upstream have another. CPU time is the proxy's user and
system time, all processes and threads, from before the load until a second after it, so that work put off is charged
too. Ratios are formed within a round, then their median is taken.

Needs target/release/keygate and the examples make_keys and bare_pingora. Prints Markdown; writes JSON to
target/bench/e2e.json. Peers come from prepare.sh; one that is missing is named and left out. Exit code 1 when it cannot
run, a contestant answers wrongly, or a load had failures (they are listed); 2 for usage.
"""

import argparse
import datetime
import json
import os
import pathlib
import platform
import random
import re
import subprocess
import sys
import time

import report
from answers import check
from contestants import Envoy, Keygate, all_contestants, first_line
from rig import TARGET, BenchError, Key, Rig, find, made_up_keys, note


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15, help="rounds (default 15)")
    parser.add_argument("--seconds", type=int, default=5, help="load per measurement, whole seconds (default 5)")
    parser.add_argument("--settle", type=float, default=1.2, help="seconds after a load that still count (default 1.2)")
    parser.add_argument("--connections", type=int, default=64, help="keep-alive connections (default 64)")
    parser.add_argument("--keys", type=int, default=10_000, help="API keys (default 10000)")
    parser.add_argument("--only", help="contestants, by name, with commas between")
    parser.add_argument("--scenarios", default="admitted,missing,forged", help="which, with commas between")
    parser.add_argument("--seed", type=int, default=1, help="of the shuffling (default 1)")
    add_common(parser)
    options = parser.parse_args()
    if min(options.rounds, options.seconds, options.connections, options.keys) < 1:
        parser.error("--rounds, --seconds, --connections and --keys are at least 1")
    return options


def add_common(parser):
    """Options that instructions.py has too."""
    release = TARGET / "release"
    parser.add_argument("--keygate", type=pathlib.Path, default=release / "keygate", help="the binary")
    parser.add_argument("--examples", type=pathlib.Path, default=release / "examples", help="directory of the examples")
    parser.add_argument("--proxy-cpu", type=int, help="CPU of the proxies (default: the first)")
    parser.add_argument("--load-cpu", type=int, help="CPU of load and upstream (default: the second)")
    parser.add_argument("--dir", type=pathlib.Path, help="where the temporary directory is made")
    parser.add_argument("--keep", action="store_true", help="leave the temporary directory behind")


def choose(options):
    """The contestants that take part, and {name: why not} of those that cannot."""
    everyone = all_contestants(options.keygate.resolve(), options.examples.resolve())
    if options.only:
        wanted = options.only.split(",")
        unknown = set(wanted) - {one.name for one in everyone}
        if unknown:
            raise BenchError(f"no such contestant: {', '.join(sorted(unknown))}; "
                             f"there are {', '.join(one.name for one in everyone)}")
        everyone = [one for one in everyone if one.name in wanted]
    absent = {one.name: why for one in everyone if (why := one.unavailable())}
    for name, why in absent.items():
        note(f"without {name}: {why}")
    return [one for one in everyone if one.name not in absent], absent


def prepare_keys(rig, contestants, options, count):
    """Keys out of keygate's own store if it takes part; else of the same form, made here."""
    keygate = next((one for one in contestants if isinstance(one, Keygate)), None)
    began = time.monotonic()
    if keygate is None:
        rig.shared_secret, rig.keys = made_up_keys(count)
    else:
        helper = options.examples.resolve() / "make_keys"
        if not helper.exists():
            raise BenchError(f"{helper} is not there: cargo build --release --examples")
        rig.shared_secret, pairs = keygate.make_keys(rig, helper, count)
        rig.keys = [Key(*pair) for pair in pairs]
    if len(rig.keys) != count:
        raise BenchError(f"{len(rig.keys)} keys were made where {count} were wanted")
    rig.write_key_files()
    note(f"{count} keys made in {time.monotonic() - began:.1f} s")


def measure(rig, contestant, scenario, options):
    contestant.before_round()
    before, in_use = contestant.process.cpu_seconds(), rig.cpu_in_use()
    load = rig.load(contestant.port, scenario, seconds=options.seconds, connections=options.connections)
    time.sleep(options.settle)
    cpu, in_use = contestant.process.cpu_seconds() - before, rig.cpu_in_use() - in_use
    if not contestant.process.alive():
        raise BenchError(f"{contestant.name} ended under load:\n{contestant.process.tail()}")
    unexpected = load["above_399"] if scenario == "admitted" else load["requests"] - load["above_399"]
    if not load["requests"]:
        raise BenchError(f"{contestant.name} answered nothing under load:\n{contestant.process.tail()}")
    seconds = load["duration_us"] / 1e6
    return {
        "requests": load["requests"],
        "per_second": load["requests"] / seconds,
        "cpu_us": cpu / load["requests"] * 1e6,
        "busy": cpu / seconds,
        "others_busy": max(0.0, in_use - cpu) / (seconds + options.settle),
        "p50_ms": load["p50_us"] / 1e3,
        "p90_ms": load["p90_us"] / 1e3,
        "p99_ms": load["p99_us"] / 1e3,
        "max_ms": load["max_us"] / 1e3,
        "failed": load["failed"],
        "unexpected": unexpected,
    }


def machine():
    def read(path, pattern):
        try:
            found = re.search(pattern, pathlib.Path(path).read_text())
        except OSError:
            return ""
        return found.group(1).strip() if found else ""

    kib = read("/proc/meminfo", r"MemTotal:\s+(\d+)")
    return {
        "cpu": read("/proc/cpuinfo", r"model name\s*:\s*(.+)") or platform.machine(),
        "cpus": os.cpu_count(),
        "sha_extensions": bool(read("/proc/cpuinfo", r"flags\s*:.*\b(sha_ni|sha2)\b")),
        "memory_gib": round(int(kib or 0) / 2**20, 1),
        "kernel": platform.release(),
        "system": read("/etc/os-release", r'PRETTY_NAME="([^"]+)"'),
    }


def revision():
    try:
        done = subprocess.run(["git", "describe", "--always", "--dirty"], capture_output=True, text=True, timeout=10,
                              cwd=pathlib.Path(__file__).parent)
        return done.stdout.strip()
    except (OSError, subprocess.TimeoutExpired):
        return ""


def main():
    options = arguments()
    scenarios = options.scenarios.split(",")
    if set(scenarios) - {"admitted", "missing", "forged"}:
        raise BenchError("scenarios are admitted, missing, forged")
    contestants, absent = choose(options)
    if not contestants:
        raise BenchError("nobody to measure")
    rounds, answers, problems = [], {}, []
    with Rig(parent=options.dir, proxy_cpu=options.proxy_cpu, load_cpu=options.load_cpu, keep=options.keep) as rig:
        rig.start_upstream()
        prepare_keys(rig, contestants, options, options.keys)
        for contestant in contestants:
            contestant.start(rig)
            answers[contestant.name] = check(contestant, rig)
        note("all answer right: " + ", ".join(one.name for one in contestants))
        pairs = [(one, scenario) for one in contestants for scenario in scenarios if scenario in one.scenarios]
        each = options.seconds + options.settle
        note(f"{len(pairs)} measurements a round, {options.rounds} rounds: "
             f"about {len(pairs) * (each * options.rounds + 2) / 60:.0f} minutes")
        for contestant, scenario in pairs:
            contestant.before_round()
            rig.load(contestant.port, scenario, seconds=2, connections=options.connections)
        order = random.Random(options.seed)
        for number in range(1, options.rounds + 1):
            order.shuffle(pairs)
            samples = {}
            for contestant, scenario in pairs:
                sample = measure(rig, contestant, scenario, options)
                samples.setdefault(scenario, {})[contestant.name] = sample
                if sample["failed"] or sample["unexpected"]:
                    problems.append(f"round {number}, {contestant.name}, {scenario}: {sample['failed']} failed, "
                                    f"{sample['unexpected']} answered otherwise, of {sample['requests']}")
            rounds.append(samples)
            note(f"round {number} of {options.rounds}: " + ", ".join(
                f"{name} {sample['cpu_us']:.1f} µs" for name, sample in samples.get("admitted", {}).items()))
    result = {
        "when": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "revision": revision(),
        "machine": machine(),
        "settings": {name: getattr(options, name) for name in ("rounds", "seconds", "settle", "connections", "keys")},
        "contestants": {one.name: {"label": one.label(), **answers[one.name]}
                        for one in contestants},
        "load": {"wrk": first_line([find("wrk"), "-v"], r"wrk (?:debian/)?(\S+)")},
        "absent": absent,
        "problems": problems,
        "rounds": rounds,
    }
    result["summary"] = report.summary(result)
    path = report.save(result, "e2e")
    print(report.markdown(result))
    note(f"written to {path}")
    for problem in problems:
        note(problem)
    return 1 if problems else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except BenchError as error:
        sys.exit(f"bench: {error}")
    except KeyboardInterrupt:
        sys.exit(130)
