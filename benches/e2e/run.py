#!/usr/bin/env python3
"""keygate side by side with bare pingora, nginx, nginx + Lua, haproxy, Envoy and Caddy: same keys, upstream and load.

Columns (columns.py) say what is sent: GET, GET with 12 more header fields, POST of 1 and 64 KiB, and what is refused
with 401: no key, a forged one, one from before the shared secret was regenerated; GET with the access log on; GET and
no key with two workers. Each round measures every contestant at every column once, in an order shuffled anew; rounds
repeat, so that a noisy minute touches all alike. Columns of two workers have rounds of their own, after the others.

Every proxy has a CPU for each worker; wrk (64 keep-alive connections, 10,000 keys in turn; fewer with bodies, 4 MiB of
them in all) and the upstream have another, or share them where there is no other. CPU time is the proxy's user and
system time, all processes and threads, from before the load until a second after it, so that work put off is charged
too. Ratios are formed within a round, then their median is taken.

Needs target/release/keygate and the examples make_keys and bare_pingora. Prints Markdown, which it writes to
target/bench/e2e.md too; the figures of all rounds to e2e.json. Peers come from prepare.sh; one that is missing is named
and left out. Exit code 1 when it cannot run, a contestant answers wrongly, or a load had failures (they are listed); 2
for usage.
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

import columns
import report
from answers import check
from contestants import Keygate, first_line
from peers import all_contestants
from rig import TARGET, BenchError, Key, Rig, find, made_up_keys, missing_lua, note

STALE_KEYS = 1000


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="rounds (default 5)")
    parser.add_argument("--seconds", type=int, default=2, help="load per measurement, whole seconds (default 2)")
    parser.add_argument("--settle", type=float, default=1.2, help="seconds after a load that still count (default 1.2)")
    parser.add_argument("--connections", type=int, default=64, help="keep-alive connections (default 64)")
    parser.add_argument("--keys", type=int, default=10_000, help="API keys (default 10000)")
    parser.add_argument("--seed", type=int, default=1, help="of the shuffling (default 1)")
    add_common(parser, "e2e", "all")
    options = parser.parse_args()
    if min(options.rounds, options.seconds, options.connections, options.keys) < 1:
        parser.error("--rounds, --seconds, --connections and --keys are at least 1")
    return options


def add_common(parser, out, default_columns):
    """Options that instructions.py has too."""
    release = TARGET / "release"
    parser.add_argument("--only", default="all", help="contestants, by name, with commas between (default: all)")
    parser.add_argument("--columns", default=default_columns, help="which, with commas between (default: %(default)s); "
                        f"there are {', '.join(column.name for column in columns.COLUMNS)}")
    parser.add_argument("--keygate", type=pathlib.Path, default=release / "keygate", help="the binary")
    parser.add_argument("--examples", type=pathlib.Path, default=release / "examples", help="directory of the examples")
    parser.add_argument("--dir", type=pathlib.Path, help="where the temporary directory is made")
    parser.add_argument("--keep", action="store_true", help="leave the temporary directory behind")
    parser.add_argument("--out", default=out, help="name of the files in target/bench (default: %(default)s)")


def choose(options):
    """(names of contestants that take part, {name: why not} of those that cannot, columns)."""
    everyone = all_contestants(options.keygate.resolve(), options.examples.resolve())
    names = [one.name for one in everyone]
    wanted = names if options.only == "all" else options.only.split(",")
    if unknown := set(wanted) - set(names):
        raise BenchError(f"no such contestant: {', '.join(sorted(unknown))}; there are {', '.join(names)}")
    absent = {one.name: why for one in everyone if one.name in wanted and (why := one.unavailable())}
    try:
        every = ",".join(column.name for column in columns.COLUMNS)
        asked = columns.chosen(every if options.columns == "all" else options.columns)
    except ValueError as error:
        raise BenchError(str(error)) from error
    if missing_lua():
        without = [column.name for column in asked if column.body]
        absent.update((name, "the upstream cannot read bodies without nginx's Lua module") for name in without)
        asked = [column for column in asked if not column.body]
    for name, why in absent.items():
        note(f"without {name}: {why}")
    taking_part = [name for name in names if name in wanted and name not in absent]
    if not taking_part or not asked:
        raise BenchError("nothing to measure")
    return taking_part, absent, asked


def configured(options, names, asked):
    """The contestants as these columns, which all have as many workers, want them."""
    binaries = options.keygate.resolve(), options.examples.resolve()
    both = [one for log in (False, True) for one in all_contestants(*binaries, workers=asked[0].workers, log=log)]
    return [one for one in both if one.name in names and any(one.takes(column) for column in asked)]


def prepare_keys(rig, options, names, asked):
    """Keys out of keygate's own store if it takes part; else of the same form, made here."""
    keygate = next((one for one in all_contestants(options.keygate.resolve(), options.examples.resolve())
                    if one.name in names and isinstance(one, Keygate)), None)
    began = time.monotonic()
    stale = min(options.keys, STALE_KEYS)
    if keygate is None:
        _, rig.stale_keys = made_up_keys(stale, 1)
        rig.shared_secret, rig.keys = made_up_keys(options.keys, 2)
    else:
        helper = options.examples.resolve() / "make_keys"
        if not helper.exists():
            raise BenchError(f"{helper} is not there: cargo build --release --examples")
        rig.shared_secret, *pairs = keygate.make_keys(rig, helper, options.keys, stale)
        rig.keys, rig.stale_keys = ([Key(*pair) for pair in some] for some in pairs)
    if (len(rig.keys), len(rig.stale_keys)) != (options.keys, stale):
        raise BenchError(f"{len(rig.keys)} keys were made where {options.keys} were wanted")
    rig.write_load_files(asked)
    note(f"{options.keys} keys made in {time.monotonic() - began:.1f} s")


def measure(rig, contestant, column, options):
    contestant.before_round(rig)
    before, in_use = contestant.process.cpu_seconds(), rig.cpu_in_use()
    load = rig.load(contestant.port, column, seconds=options.seconds, connections=options.connections)
    time.sleep(options.settle)
    cpu, in_use = contestant.process.cpu_seconds() - before, rig.cpu_in_use() - in_use
    if not contestant.process.alive():
        raise BenchError(f"{contestant.tag} ended under load:\n{contestant.process.tail()}")
    if not load["requests"]:
        raise BenchError(f"{contestant.tag} answered nothing under load:\n{contestant.process.tail()}")
    if contestant.log and not contestant.access_log(rig).stat().st_size:
        raise BenchError(f"{contestant.tag} wrote no access log")
    seconds = load["duration_us"] / 1e6
    others = 0.0 if rig.shared else max(0.0, in_use - cpu) / (seconds + options.settle) / column.workers
    return {
        "requests": load["requests"],
        "per_second": load["requests"] / seconds,
        "cpu_us": cpu / load["requests"] * 1e6,
        "busy": cpu / seconds / column.workers,
        "others_busy": others,
        "p50_ms": load["p50_us"] / 1e3,
        "p90_ms": load["p90_us"] / 1e3,
        "p99_ms": load["p99_us"] / 1e3,
        "max_ms": load["max_us"] / 1e3,
        "failed": load["failed"],
        "unexpected": load["above_399"] if column.admitted else load["requests"] - load["above_399"],
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


def run_group(rig, contestants, asked, options, result):
    """Starts them, measures them at these columns, and ends them."""
    for contestant in contestants:
        contestant.start(rig)
        result["contestants"].setdefault(contestant.name, {"label": contestant.label()}).update(
            check(contestant, rig, asked))
    note("all answer right: " + ", ".join(one.tag for one in contestants))
    pairs = [(one, column) for column in asked for one in contestants if one.takes(column)]
    each = options.seconds + options.settle + 0.3
    note(f"{len(pairs)} measurements a round, {options.rounds} rounds: "
         f"about {len(pairs) * (each * options.rounds + 1.3) / 60:.0f} minutes")
    for contestant, column in pairs:
        rig.load(contestant.port, column, seconds=1, connections=options.connections)
    order = random.Random(options.seed)
    for number in range(1, options.rounds + 1):
        order.shuffle(pairs)
        samples = {}
        for contestant, column in pairs:
            sample = measure(rig, contestant, column, options)
            samples.setdefault(column.name, {})[contestant.name] = sample
            if sample["failed"] or sample["unexpected"]:
                result["problems"].append(
                    f"round {number}, {contestant.name}, {column.name}: {sample['failed']} failed, "
                    f"{sample['unexpected']} answered otherwise, of {sample['requests']}")
        result["rounds"].append(samples)
        first = asked[0].name
        note(f"round {number} of {options.rounds}, {first}: " + ", ".join(
            f"{name} {sample['cpu_us']:.1f} µs" for name, sample in samples[first].items()))
    for contestant in contestants:
        contestant.process.stop()


def about(options, absent, settings):
    """What a result says of its making."""
    return {
        "when": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "revision": revision(),
        "machine": machine(),
        "settings": {name: getattr(options, name) for name in settings},
        "load": {"wrk": first_line([find("wrk"), "-v"], r"wrk (?:debian/)?(\S+)")},
        "absent": absent,
        "contestants": {},
    }


def main():
    options = arguments()
    names, absent, asked = choose(options)
    result = about(options, absent, ("rounds", "seconds", "settle", "connections", "keys"))
    result |= {"shared_cpus": [], "problems": [], "rounds": []}
    with Rig(parent=options.dir, keep=options.keep) as rig:
        rig.start_upstream()
        prepare_keys(rig, options, names, asked)
        for workers in sorted({column.workers for column in asked}):
            group = [column for column in asked if column.workers == workers]
            rig.give_workers(workers)
            if rig.shared:
                result["shared_cpus"] += [column.name for column in group]
            run_group(rig, configured(options, names, group), group, options, result)
    result["summary"] = report.summary(result)
    report.save(result, report.markdown(result), options.out)
    for problem in result["problems"]:
        note(problem)
    return 1 if result["problems"] else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except BenchError as error:
        sys.exit(f"bench: {error}")
    except KeyboardInterrupt:
        sys.exit(130)
