"""`python -m benchmarks.documents [--quick] [NAME ...]`: figures of documents into build/bench/documents.json; code 1 if a target is missed.

DOCUMENTS=DIR in the environment names a folder of documents (`collection.py` says of which form); without it they are made here.
With names, only those arms are measured, and the rows of the others stay as they were: each says when it was measured, and on which commit.
"""

from __future__ import annotations

import argparse
import importlib
import os
import signal
import sys
import time
from typing import Final

from benchmarks import report
from benchmarks.report import Scale
from benchmarks.service.figures import Figures

ARMS: Final = ("text", "scans", "invoices", "nasty", "speed", "eyes", "forms", "second_run", "folder")
"""Each a module of this package with `measure(scale)`, in the order in which they run."""
ROUNDS: Final = 5


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.documents", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"some of {', '.join(ARMS)}; all of them by default")
    parser.add_argument(
        "--quick", action="store_true", help="fewer and smaller: shows that it works, and measures little"
    )
    given = parser.parse_args()
    if unknown := set(given.names) - set(ARMS):
        parser.error(f"no arm is called {', '.join(sorted(unknown))}. There are: {', '.join(ARMS)}.")
    for key in [key for key in os.environ if key.startswith("RIGHTSIZE_")]:
        del os.environ[key]  # a benchmark runs on its own servers and settings
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: sys.exit(143))  # so that what was started is stopped, as with Ctrl-C
    scale = Scale(quick=given.quick, rounds=2 if given.quick else ROUNDS)
    figures, missed = Figures.read(scale, ARMS, name="documents"), False
    for name in given.names or ARMS:
        started = time.monotonic()
        found = importlib.import_module(f"benchmarks.documents.{name}").measure(scale)
        took_s = time.monotonic() - started
        report.show(name, found, took_s)
        figures.measured(name, found, took_s)  # what is measured stays, whatever becomes of the rest
        missed = missed or any(row.holds is False for row in found)
    print(*figures.told(given.names or ARMS), sep="\n")
    return 1 if missed and not scale.quick else 0


if __name__ == "__main__":
    sys.exit(main())
