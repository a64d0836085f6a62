#!/usr/bin/env bash
# Runs a command on a machine that keeps its memory: .ci/own-memory.sh COMMAND…
#
# A virtual machine may give memory that is free for some seconds back to its host (virtio-balloon's free page reporting)
# and pays for each page when it is next used: 9 µs instead of 2 where this was measured, and its core does nothing else
# meanwhile. Attacks on a gateway take a gigabyte within seconds, so tests that time who is served beside them would time the
# host. Where it may (as root), this turns reporting off until the command has ended, and has the free memory backed once.
# Elsewhere it just runs the command.
set -euo pipefail

order=/sys/module/page_reporting/parameters/page_reporting_order
[ -e $order ] || exec "$@"
if ! [ -w $order ]; then
  echo "own-memory.sh: this machine gives free memory back to its host, and only root may stop it: times may be the host's" >&2
  exec "$@"
fi

before=$(cat $order)
trap 'echo "$before" > $order' EXIT
# Blocks as large as this do not exist, so none is reported.
echo 11 > $order

# All but what programs may need meanwhile.
python3 - <<'PYTHON' || echo "own-memory.sh: not all of it could be had" >&2
available = next(line for line in open("/proc/meminfo") if line.startswith("MemAvailable:"))
gibibytes = int(available.split()[1]) // (1 << 20)
held = [b"\1" * (1 << 30) for _ in range(gibibytes - 2)]
PYTHON

"$@"
