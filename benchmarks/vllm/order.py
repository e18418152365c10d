"""What the order of rows is worth: shared prefixes together against file order, longest first against unsorted."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

from benchmarks.report import Row, Scale, at_least, at_most, median, spread, told
from benchmarks.vllm.cell import SLOTS, Ours, Run, RunBatch, cell, chat

PREFIXES = 40
ROWS = 2_000
PAIRS = 3
SKEWED = 2_000
FEWEST = 600
"""Rows of a quick run as well: several times what the engine holds, so that there is an order."""
LONGEST = 512
LAST = 0.05
RECORDED = """
    SELECT extract(epoch FROM a.created_at)::float8 FROM attempts a JOIN jobs j ON j.id = a.job_id
    WHERE a.outcome = 'succeeded' AND j.batch_id = (SELECT max(id) FROM batches) ORDER BY 1
"""


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


def skewed(count: int) -> list[dict[str, Any]]:
    """Rows of 1 to 512 tokens whose lengths are log-normal, as answers' are: half of them below 24, one in a hundred above 300."""
    dice = random.Random(11)
    return [chat(number, most=max(1, min(LONGEST, round(dice.lognormvariate(3.2, 1.1))))) for number in range(count)]


def tail(path: Path, scale: Scale) -> list[Row]:
    """The last rows with our order, against the same rows, worker and engine in the order of the file."""
    rows = skewed(max(FEWEST, scale.of(SKEWED)))
    last: dict[bool, list[float]] = {False: [], True: []}
    whole: dict[bool, list[float]] = {False: [], True: []}
    with cell(path) as ours:
        ours.run(rows[: len(rows) // 5])
        for number in range(PAIRS):
            for unsorted in (False, True) if number % 2 == 0 else (True, False):
                ours.keep_file_order(unsorted)
                run = ours.run(rows)
                last[unsorted].append(last_s(ours, run))
                whole[unsorted].append(run.seconds)
    ratios = [a / b for a, b in zip(last[False], last[True], strict=True)]
    wholes = [a / b for a, b in zip(whole[False], whole[True], strict=True)]
    lengths = sorted(row["body"]["max_tokens"] for row in rows)
    told_of = (
        f"{len(rows)} rows of {lengths[0]} to {lengths[-1]} tokens, log-normal: median {lengths[len(rows) // 2]}, "
    )
    told_of += f"99% below {lengths[int(0.99 * len(rows))]}; {SLOTS} slots"
    return [
        at_most("time of the last 5% of mixed rows, longest first, times that in file order", median(ratios), 0.85, "x",
                note=f"{told_of}; {PAIRS} alternating pairs; {spread(ratios)}"),
        told("last 5% in our order", median(last[False]), "s", note=f"{spread(last[False])}; in file order {median(last[True]):.3g} s, {spread(last[True])}"),
        told("the whole batch, longest first, times that in file order", median(wholes), "x", note=spread(wholes)),
    ]  # fmt: skip


def last_s(ours: Ours, run: Run) -> float:
    """Seconds from the moment that 95% of the rows were recorded to the last one."""
    with ours.stack.connect() as connection:
        times = [row[0] for row in connection.execute(RECORDED)]
    assert len(times) == run.rows, f"{run.rows - len(times)} rows have no answer"
    return float(times[-1] - times[int((1 - LAST) * len(times)) - 1])
