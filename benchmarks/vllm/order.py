"""What the order of rows is worth: shared prefixes together against file order, longest first against unsorted."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

from benchmarks.report import Row, Scale, at_least, median, spread, told
from benchmarks.vllm.cell import Ours, RunBatch, cell, chat

PREFIXES = 40
ROWS = 2_000
PAIRS = 3


def prefixed(count: int) -> list[dict[str, Any]]:
    """Rows of 40 long system prompts, shuffled."""
    dice = random.Random(5)
    words = [
        "the",
        "rules",
        "of",
        "this",
        "house",
        "say",
        "that",
        "every",
        "order",
        "is",
        "looked",
        "at",
        "with",
        "care",
        "before",
        "it",
        "leaves",
    ]
    systems = [f"{number}: " + " ".join(dice.choices(words, k=400)) for number in range(PREFIXES)]
    rows = [chat(number, most=8, system=systems[number % PREFIXES]) for number in range(count)]
    dice.shuffle(rows)
    return rows


def prefixes(path: Path, scale: Scale) -> list[Row]:
    rows = prefixed(scale.of(ROWS))
    # A cache that holds a few of the prefixes: one that holds all would hide what the order is worth.
    room = {"kv_cache_memory_bytes": 40 * 2**20}
    with cell(path, **room) as ours:
        peer = RunBatch(ours.stack, path, **room)
        ratios, mine, theirs = [], [], []
        for number in range(PAIRS):
            arms: list[tuple[list[Any], Ours | RunBatch]] = [(mine, ours), (theirs, peer)]
            for found, arm in arms if number % 2 == 0 else reversed(arms):
                found.append(arm.run(rows))
            ratios.append(mine[-1].per_second / theirs[-1].per_second)
    hits = [median([run.told["hit_rate"] for run in runs]) for runs in (mine, theirs)]
    return [
        at_least(f"{PREFIXES} shared prefixes shuffled, times run_batch in file order", median(ratios), 1.0, "x",
                 baseline=median([run.per_second for run in theirs]), note=f"{len(rows)} rows; {spread(ratios)}"),
        told("share of the prompt found in the cache", hits[0], "", note=f"run_batch {hits[1]:.3f}; both with 40 MiB of cache"),
    ]  # fmt: skip
