"""The API against its own OpenAPI document, by schemathesis, for longer than a test may: requests made up until something breaks."""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Final

import httpx2

from benchmarks.report import Row, Scale, at_least, at_most, told
from benchmarks.service.ours import service
from benchmarks.stack import fleet
from tests.contract.fuzzing import Fuzzed, fuzz

EXAMPLES: Final = 50
"""Of each operation; schemathesis makes up many more for the edges of every field."""
SCENARIOS: Final = 400
"""Operations one after the other, along the document's links."""
LEAST_CASES: Final = 5_000
SEED: Final = 11
SCOPES: Final = ("--scope", "submit", "--scope", "read", "--scope", "admin")


def measure(scale: Scale) -> list[Row]:
    with service(fleet()) as ours, tempfile.TemporaryDirectory() as folder:
        key = json.loads(ours.stack.run_once("keys", "create", "--name", "bench-fuzz", *SCOPES, "--json"))["key"]
        headers = {"Authorization": f"Bearer {key}"}
        with httpx2.Client(base_url=ours.target.url, headers=headers, timeout=60) as http:
            alone = ("--phases", "examples,coverage,fuzzing", "--max-examples", str(scale.of(EXAMPLES)))
            along = ("--phases", "stateful", "--max-examples", str(scale.of(SCENARIOS)))
            runs = [
                fuzz(http, Path(folder) / str(number), *options, seed=SEED)
                for number, options in enumerate((alone, along))
            ]
    return rows(runs, scale)


def rows(runs: list[Fuzzed], scale: Scale) -> list[Row]:
    failures = [one for run in runs for one in run.failures]
    for run in runs:
        if run.failures or run.errors:
            sys.stderr.write(run.output)
    cases = sum(run.cases for run in runs)
    errors = [one for one in failures if "ST101" in one]
    others = [one for one in failures if "ST101" not in one]
    operations = runs[0].told["operations"]
    shape = f"{operations['tested']} of {operations['total']} operations, seed {SEED}"
    least = LEAST_CASES if not scale.quick else 1
    return [
        at_least("requests that schemathesis made up", cases, least, "requests", note=shape),
        at_most("of them with a server error", len(errors), 0, "kinds", note="; ".join(errors)),
        at_most("of them with any other breach of the document", len(others), 0, "kinds", note="; ".join(others)),
        at_most("what kept schemathesis from its work", sum(len(run.errors) for run in runs), 0, "errors"),
        told("links of the document that were followed", runs[1].links, "links"),
    ]
