"""`python -m benchmarks.rightsizing [--quick] [NAME ...]`: right-sizing's figures into build/bench/rightsizing.json; code 1 if a target is missed.

With names, only those arms are measured, and the rows of the others stay as they were: each says when it was measured, and on which
commit. Data sets are read from the folder that the environment variable DATA names; an arm whose data is missing says so in its row.
"""

from __future__ import annotations

import argparse
import importlib
import os
import signal
import sys
import time
from collections.abc import Mapping
from typing import Final

from benchmarks import report
from benchmarks.report import Scale
from benchmarks.service.figures import Figures

ARMS: Final[Mapping[str, str]] = {
    "simulated_certificates": "benchmarks.rightsizing.simulated_certificates",
    "simulated_audits": "benchmarks.rightsizing.simulated_audits",
    "specialist": "benchmarks.rightsizing.specialist",
    "routing": "benchmarks.rightsizing.routing",
    "submit_path": "benchmarks.rightsizing.submit_path",
    "loop": "benchmarks.rightsizing.loop",
}
"""Each a module with `measure(scale)`, imported when its turn comes, in the order in which they run."""
ROUNDS: Final = 5


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.rightsizing", description=__doc__)
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
    figures, missed = Figures.read(scale, list(ARMS), name="rightsizing"), False
    for name in given.names or ARMS:
        started = time.monotonic()
        found = importlib.import_module(ARMS[name]).measure(scale)
        took_s = time.monotonic() - started
        report.show(name, found, took_s)
        figures.measured(name, found, took_s)  # what is measured stays, whatever becomes of the rest
        missed = missed or any(row.holds is False for row in found)
    print(*figures.told(given.names or list(ARMS)), sep="\n")
    return 1 if missed and not scale.quick else 0


if __name__ == "__main__":
    sys.exit(main())
