"""Runs proxies under valgrind's callgrind and reads what it counted: instructions and allocations, by thread.

Allocations are calls of a function that allocates, from one that does not: of the C library, and of mimalloc under
Rust. What a proxy takes out of pools of its own is none.
"""

import collections
import re

import no_auxv
from rig import BenchError, find, note

ALLOCATES = re.compile(
    r"(mi_)?(z|c|m|re)alloc(_aligned)?|mi_(re)?z?alloc\w*|(posix_)?memalign|aligned_alloc|mi_\w*alloc\w*|mi_new\w*|"
    r"operator new\S*.*|__libc_(m|c|re)alloc")
# fn=(12) name, where (12) alone says the name that came with it first.
FUNCTION = re.compile(r"^(c?fn)=\((\d+)\)(?: (.*))?$")


class Count:
    """Of one thread, since it was last asked."""

    def __init__(self, text):
        totals = re.findall(r"^(?:totals|summary): (\d+)", text, re.MULTILINE)
        self.instructions = max(map(int, totals), default=0)
        self.allocations = sum(allocations(text).values())


def allocations(text):
    """{function: calls from outside of the allocator} of a callgrind file."""
    names, calls = {}, collections.Counter()
    caller = callee = False
    for line in text.splitlines():
        if line.startswith("calls="):
            if callee and not caller:
                calls[callee] += int(line[len("calls="):].split()[0])
        elif found := FUNCTION.match(line):
            kind, number, name = found.groups()
            if name:
                # Recursion is numbered: name'2.
                name = name.partition("'")[0]
                names[number] = name if ALLOCATES.fullmatch(name) else ""
            if kind == "fn":
                caller = names[number]
            else:
                callee = names[number]
    return calls


class Callgrind:
    """As a context manager: what the rig starts meanwhile runs under callgrind."""

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
        """{thread: Count} since the last time."""
        for old in self.rig.dir.glob(self.out.name + ".[0-9]*"):
            old.unlink()
        self.rig.run([find("vgdb"), f"--pid={process.pid}", f"--vgdb-prefix={self.fifos}", "--wait=20", "dump"], 60)
        return {path.name.rpartition("-")[2]: Count(path.read_text(errors="replace"))
                for path in self.rig.dir.glob(self.out.name + ".[0-9]*-[0-9]*")}
