"""How much a process grows from some lines to a hundred thousand."""

from __future__ import annotations

import subprocess
import sys
from textwrap import dedent

from tests.stack import ROOT

MEASURE = """
from itertools import cycle, islice
from resource import RUSAGE_SELF, getrusage
from tests.delivery.lines import SCHEMA, invoices
some = list(invoices(300))
lines = lambda many: islice(cycle(some), many)
{setup}
assert count(3_000) == 3_000
before = getrusage(RUSAGE_SELF).ru_maxrss
assert count(100_000) == 100_000
print(getrusage(RUSAGE_SELF).ru_maxrss - before)
"""


def grown(setup: str) -> int:
    """By how many KiB the most memory that a process ever had is higher after 100,000 lines than after 3,000.

    `setup` defines `count`, which takes that many of `lines` and says how many they were.
    """
    code = MEASURE.format(setup=dedent(setup))
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return int(done.stdout)
