"""`python -m benchmarks.service [--quick] [NAME ...]`: the service's figures into build/bench/service.json; code 1 if a target is missed."""

from __future__ import annotations

import argparse
import importlib
import os
import signal
import sys
import time

from benchmarks import report
from benchmarks.report import Row, Scale

ARMS = ("chat", "latency", "stream", "batch_50k", "forecast", "budget_race", "fair_share")
"""Each a module of this package with `measure(scale)`, in the order in which they run."""
ROUNDS = 5


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.service", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"some of {', '.join(ARMS)}; all of them by default")
    parser.add_argument("--quick", action="store_true", help="short rounds: shows that it works, and measures little")
    given = parser.parse_args()
    if unknown := set(given.names) - set(ARMS):
        parser.error(f"no arm is called {', '.join(sorted(unknown))}. There are: {', '.join(ARMS)}.")
    for key in [key for key in os.environ if key.startswith("RIGHTSIZE_")]:
        del os.environ[key]  # a benchmark runs on its own servers and settings
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: sys.exit(143))  # so that what was started is stopped, as with Ctrl-C
    scale = Scale(quick=given.quick, rounds=3 if given.quick else ROUNDS)
    rows: list[Row] = []
    for name in given.names or ARMS:
        started = time.monotonic()
        found = importlib.import_module(f"benchmarks.service.{name}").measure(scale)
        report.show(name, found, time.monotonic() - started)
        rows += found
        report.write("service", rows, scale)  # what is measured stays, whatever becomes of the rest
    return 1 if any(row.holds is False for row in rows) and not scale.quick else 0


if __name__ == "__main__":
    sys.exit(main())
