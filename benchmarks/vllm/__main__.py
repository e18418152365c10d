"""`python -m benchmarks.vllm [--quick] [NAME ...]`: the real vLLM's figures into build/bench/vllm.json; code 1 if a target is missed."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks import books, report, specialist
from benchmarks.report import Row, Scale
from benchmarks.vllm import cancel, forms, interactive, killed, order, throughput, window
from benchmarks.weights import tiny

PARTS: dict[str, Callable[[Path, Scale], list[Row]]] = {
    "throughput": throughput.measure,
    "prefixes": order.prefixes,
    "tail": order.tail,
    "window": window.measure,
    "interactive": lambda _, scale: interactive.measure(scale),
    "forms": forms.measure,
    "killed": killed.measure,
    "cancel": cancel.measure,
    "books": lambda _, scale: books.measure(scale),
    "specialist": lambda _, scale: specialist.measure(scale),
}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.vllm", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"some of {', '.join(PARTS)}; all of them by default")
    parser.add_argument(
        "--quick", action="store_true", help="a tenth of the size: shows that it works, and measures little"
    )
    given = parser.parse_args()
    if unknown := set(given.names) - set(PARTS):
        parser.error(f"no part is called {', '.join(sorted(unknown))}. There are: {', '.join(PARTS)}.")
    for key in [key for key in os.environ if key.startswith("RIGHTSIZE_")]:
        del os.environ[key]
    os.environ["HF_HUB_OFFLINE"] = "1"
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: sys.exit(143))
    scale, path = Scale(quick=given.quick), tiny.folder("chat")
    rows: list[Row] = []
    for name in given.names or PARTS:
        started = time.monotonic()
        found = PARTS[name](path, scale)
        report.show(name, found, time.monotonic() - started)
        rows += found
        report.write("vllm", rows, scale)  # what is measured stays, whatever becomes of the rest
    return 1 if any(row.holds is False for row in rows) and not scale.quick else 0


if __name__ == "__main__":
    sys.exit(main())
