"""Rounds to medians, ranges and ratios; those to Markdown and JSON. Measures nothing."""

import json
import statistics

from rig import TARGET

SCENARIOS = {
    "admitted": "a valid key → 200",
    "missing": "no key → 401, connection kept",
    "forged": "a forged key → 401, connection kept",
}
# What ratios are to: bare pingora doing as little as it can of the same.
BASE = {"admitted": "pingora", "missing": "pingora-401", "forged": "pingora-401"}
FIGURES = ("per_second", "cpu_us", "busy", "others_busy", "p50_ms", "p90_ms", "p99_ms", "max_ms")
# A proxy less busy than this was not what held the load back.
SATURATED = 0.85
# The kernel's own work for the network is among this; more is somebody else's.
OTHERS = 0.25


def spread(values):
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}


def summary(result):
    """{scenario: {contestant: {figure: {median, min, max}, "cpu_ratio": {other: {median, min, max}}}}}."""
    out = {}
    for scenario in SCENARIOS:
        rounds = [samples[scenario] for samples in result["rounds"] if scenario in samples]
        for name in (name for name in result["contestants"] if rounds and name in rounds[0]):
            one = {figure: spread([samples[name][figure] for samples in rounds]) for figure in FIGURES}
            one["cpu_ratio"] = {
                other: spread([samples[name]["cpu_us"] / samples[other]["cpu_us"] for samples in rounds])
                for other in rounds[0] if all(samples[other]["cpu_us"] for samples in rounds)
            }
            out.setdefault(scenario, {})[name] = one
    return out


def markdown(result):
    machine, settings = result["machine"], result["settings"]
    lines = [
        f"{machine['cpu']}, {machine['cpus']} CPUs{', SHA extensions' if machine['sha_extensions'] else ''}, "
        f"{machine['memory_gib']} GiB, {machine['system']}, Linux {machine['kernel']}; {result['when']}"
        + (f", keygate {result['revision']}" if result["revision"] else "") + ".",
        f"{settings['rounds']} shuffled rounds of {settings['seconds']} s each; {settings['connections']} keep-alive "
        f"connections, {settings['keys']} keys in turn; one worker on one CPU, load and upstream on another.",
        "Medians, in brackets the smallest and largest round. Ratio: of CPU per request to bare pingora, by round.",
    ]
    if any(one.get("flipped_case_admitted") for one in result["contestants"].values()):
        loose = [one["label"] for one in result["contestants"].values() if one.get("flipped_case_admitted")]
        lines.append(f"A key with the case of one letter changed is admitted by: {', '.join(loose)}.")
    lines += [f"Without {name}: {why}." for name, why in result["absent"].items()]
    for scenario, heading in SCENARIOS.items():
        if scenario in result["summary"]:
            lines += ["", *table(result, scenario, heading)]
    if result["problems"]:
        lines += ["", "**Not to be relied on:**", *(f"- {problem}" for problem in result["problems"])]
    return "\n".join(lines)


def table(result, scenario, heading):
    rows = result["summary"][scenario]
    base = BASE[scenario]
    yield f"| {heading} | requests/s | CPU µs/request | ratio | core busy | p50 ms | p99 ms |"
    yield "|---|---|---|---|---|---|---|"
    idle, others = False, 0.0
    for name, row in rows.items():
        ratio = ranged(row["cpu_ratio"][base], "{:.2f}") if base in row["cpu_ratio"] else "–"
        busy = row["busy"]["median"]
        mark = "" if busy >= SATURATED else "*"
        idle, others = idle or bool(mark), max(others, row["others_busy"]["median"])
        yield (f"| {result['contestants'][name]['label']} | {row['per_second']['median']:,.0f} | "
               f"{ranged(row['cpu_us'], '{:.1f}')} | {ratio} | {busy:.0%}{mark} | {row['p50_ms']['median']:.2f} | "
               f"{row['p99_ms']['median']:.2f} |")
    if idle:
        yield ""
        yield ("\\* Its CPU was not full: load, upstream or other work held it back. Requests/s and latencies then say "
               "little; CPU per request stands.")
    if others > OTHERS:
        yield ""
        yield f"**Something else used up to {others:.0%} of the proxies' CPU meanwhile.**"


def ranged(figure, form):
    return f"{form.format(figure['median'])} ({form.format(figure['min'])}–{form.format(figure['max'])})"


def save(result, name):
    """Writes target/bench/<name>.json and returns its path."""
    path = TARGET / "bench" / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n")
    return path
