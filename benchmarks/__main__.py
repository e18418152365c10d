"""`python -m benchmarks [--quick] [NAME ...]`: run benchmarks one after another; code 1 if a target is missed."""

from __future__ import annotations

import argparse
import importlib
import os
import signal
import sys
import time

from benchmarks import report

NAMES = ("throughput", "cpu", "latency", "assign", "ingest", "chaos", "books")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"some of {', '.join(NAMES)}; all of them by default")
    parser.add_argument(
        "--quick", action="store_true", help="a tenth of the size: shows that it works, and measures little"
    )
    given = parser.parse_args()
    if unknown := set(given.names) - set(NAMES):
        parser.error(f"no benchmark is called {', '.join(sorted(unknown))}. There are: {', '.join(NAMES)}.")
    for key in [key for key in os.environ if key.startswith("RIGHTSIZE_")]:
        del os.environ[key]  # a benchmark runs on its own servers and settings
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: sys.exit(143))  # so that what was started is stopped, as with Ctrl-C
    scale = report.Scale(quick=given.quick)
    missed = 0
    for name in given.names or NAMES:
        started = time.monotonic()
        rows = importlib.import_module(f"benchmarks.{name}").measure(scale)
        report.write(name, rows, scale)
        report.show(name, rows, time.monotonic() - started)
        missed += sum(row.holds is False for row in rows)
    return 1 if missed and not scale.quick else 0


if __name__ == "__main__":
    sys.exit(main())
