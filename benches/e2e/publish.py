#!/usr/bin/env python3
"""Puts what run.py and instructions.py wrote (target/bench/e2e.md, instructions.md) into docs/performance.md, each
between the comments that bear its name. Only what is there: one of the two may be published without the other.
"""

import re
import sys

from rig import ROOT, TARGET

PAGE = ROOT / "docs/performance.md"


def main():
    page, published = PAGE.read_text(), []
    for name in ("e2e", "instructions"):
        source = TARGET / "bench" / f"{name}.md"
        if not source.exists():
            continue
        begin, end = f"<!-- {name} -->\n", f"<!-- /{name} -->\n"
        pattern = re.compile(re.escape(begin) + ".*?" + re.escape(end), re.DOTALL)
        # As a function: a replacement text would have its backslashes read.
        page, count = pattern.subn(lambda _: begin + source.read_text() + end, page)
        if count != 1:
            return f"{PAGE} has {count} places for {name}"
        published.append(str(source))
    if not published:
        return "nothing is measured yet: make bench-proxies"
    PAGE.write_text(page)
    print("published: " + ", ".join(published))
    return 0


if __name__ == "__main__":
    sys.exit(main())
