"""Rounds to medians, ranges and ratios; those to Markdown and JSON. Measures nothing."""

import json
import statistics

from columns import COLUMNS
from rig import TARGET, note

FIGURES = ("per_second", "cpu_us", "busy", "others_busy", "p50_ms", "p90_ms", "p99_ms", "max_ms")
# A proxy less busy than this was not what held the load back.
SATURATED = 0.85
# The kernel's own work for the network is among this; more is somebody else's.
OTHERS = 0.25
# Whose ratios to all others have a table.
OURS = "keygate-express"


def spread(values):
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}


def summary(result):
    """{column: {contestant: {figure: {median, min, max}, "cpu_ratio": {other: {…}}, "log_ratio": {…}}}}."""
    out = {}
    for column in COLUMNS:
        rounds = [samples for samples in result["rounds"] if column.name in samples]
        for name in (name for name in result["contestants"] if rounds and name in rounds[0][column.name]):
            mine = [samples[column.name] for samples in rounds]
            one = {figure: spread([samples[name][figure] for samples in mine]) for figure in FIGURES}
            one["cpu_ratio"] = {
                other: spread([samples[name]["cpu_us"] / samples[other]["cpu_us"] for samples in mine])
                for other in mine[0] if all(samples[other]["cpu_us"] for samples in mine)
            }
            without = [samples.get(column.without_log, {}).get(name, {}).get("cpu_us") for samples in rounds]
            if all(without):
                one["log_ratio"] = spread([with_log[name]["cpu_us"] / before
                                           for with_log, before in zip(mine, without)])
            out.setdefault(column.name, {})[name] = one
    return out


def headline(result):
    """On which machine, when, of which revision."""
    machine = result["machine"]
    return (f"{machine['cpu']}, {machine['cpus']} CPUs{', SHA extensions' if machine['sha_extensions'] else ''}, "
            f"{machine['memory_gib']} GiB, {machine['system']}, Linux {machine['kernel']}; {result['when']}"
            + (f", keygate {result['revision']}" if result["revision"] else "") + ".")


def markdown(result):
    settings = result["settings"]
    lines = [
        headline(result),
        f"{settings['rounds']} shuffled rounds of {settings['seconds']} s each; {settings['connections']} keep-alive "
        f"connections, {settings['keys']} keys in turn; a CPU for each worker, another for load and upstream.",
        "Medians, in brackets the smallest and largest round. Ratios are of CPU per request, formed by round.",
    ]
    loose = [one["label"] for one in result["contestants"].values() if one.get("flipped_case_admitted")]
    if loose:
        lines.append(f"A key with the case of one letter changed is admitted by: {', '.join(loose)}.")
    lines += [f"Without {name}: {why}." for name, why in result["absent"].items()]
    columns = [column for column in COLUMNS if column.name in result["summary"]]
    lines += ["", *overview(result, columns)]
    if OURS in result["contestants"] and len(result["contestants"]) > 1:
        lines += ["", *to_others(result, columns)]
    for column in columns:
        lines += ["", *table(result, column)]
    lines += (line for remark in remarks(result, columns) for line in ("", remark))
    if result["problems"]:
        lines += ["", "**Not to be relied on:**", *(f"- {problem}" for problem in result["problems"])]
    return "\n".join(lines)


def matrix(heading, result, columns, cell, others=()):
    """Contestants down, columns across."""
    names = [name for name in result["contestants"] if name not in others]
    yield f"| {heading} | " + " | ".join(column.name for column in columns) + " |"
    yield "|---" * (len(columns) + 1) + "|"
    for name in names:
        cells = " | ".join(cell(name, column) for column in columns)
        yield f"| {result['contestants'][name]['label']} | {cells} |"


def overview(result, columns):
    def cell(name, column):
        row = result["summary"][column.name].get(name)
        return f"{row['cpu_us']['median']:.1f}" if row else "–"

    yield from matrix("CPU µs/request", result, columns, cell)


def to_others(result, columns):
    def cell(name, column):
        ratio = result["summary"][column.name].get(OURS, {}).get("cpu_ratio", {}).get(name)
        return ranged(ratio, "{:.2f}") if ratio else "–"

    yield from matrix("CPU of keygate's express lane to that of", result, columns, cell, others=(OURS,))


def held_back(result, column, row):
    """Whether something else than the proxy was the narrow place."""
    return column.name not in result["shared_cpus"] and row["busy"]["median"] < SATURATED


def table(result, column):
    ratio_to = "to without it" if column.log else "to bare pingora"
    yield f"| {column.heading} | requests/s | CPU µs/request | {ratio_to} | busy | p50 ms | p99 ms |"
    yield "|---|---|---|---|---|---|---|"
    for name, row in result["summary"][column.name].items():
        ratio = row.get("log_ratio") if column.log else row["cpu_ratio"].get(column.base)
        mark = "*" if held_back(result, column, row) else ""
        yield (f"| {result['contestants'][name]['label']} | {row['per_second']['median']:,.0f} | "
               f"{ranged(row['cpu_us'], '{:.1f}')} | {ranged(ratio, '{:.2f}') if ratio else '–'} | "
               f"{row['busy']['median']:.0%}{mark} | {row['p50_ms']['median']:.2f} | {row['p99_ms']['median']:.2f} |")


def remarks(result, columns):
    """What has to be known of the tables."""
    rows = [(column, row) for column in columns for row in result["summary"][column.name].values()]
    if any(held_back(result, column, row) for column, row in rows):
        yield ("\\* Its CPU was not full: load, upstream or other work held it back. Requests/s and latencies then say "
               "little; CPU per request stands.")
    if shared := ", ".join(result["shared_cpus"]):
        yield (f"{shared}: load and upstream shared the proxies' CPUs. Requests/s and latencies are of all of them "
               "together; CPU per request stands.")
    others = max(row["others_busy"]["median"] for _, row in rows)
    if others > OTHERS:
        yield f"**Something else used up to {others:.0%} of the proxies' CPU meanwhile.**"


def ranged(figure, form):
    return f"{form.format(figure['median'])} ({form.format(figure['min'])}–{form.format(figure['max'])})"


def save(result, text, name):
    """Prints the text, and writes target/bench/<name>.json and .md."""
    directory = TARGET / "bench"
    directory.mkdir(parents=True, exist_ok=True)
    (directory / f"{name}.json").write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n")
    (directory / f"{name}.md").write_text(text + "\n")
    print(text)
    note(f"written to {directory / name}.json and .md")
