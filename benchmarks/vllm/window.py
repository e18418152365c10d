"""Request length grows eightfold in the middle of a batch: how soon the engine holds as much as it can run, and no more."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.report import Row, Scale, at_most, median, told
from benchmarks.vllm.cell import SLOTS, Fixed, cell, chat

SHORT = (20, 60)
"""Tokens of an answer, drawn evenly; its prompt is about as long as the mean. Answers of one length would all be in step."""
TIMES = 8
ROWS = (2_000, 320)
FEWEST = 100
"""Long rows, also of a quick run: the engine must get full of them."""
CACHE = {"kv_cache_memory_bytes": 16 * 2**20, "block_size": 32}
"""16,384 tokens: the slots are what limits the short ones, and memory the long ones."""
FIXED = (16, 20, 24, 28, 32, 36, 40)
"""Numbers of long requests in the engine that are tried one after another."""
FIXED_ROWS = 200
MOST_PREEMPTED = 0.01
MOST_FAILED = 0.05
"""A random model writes a NUL character now and then, which is no answer."""
STEP_S = 0.25
NEAR = 0.2
MEAN_S = 3.0
"""Answers of such different lengths fill one cache with now more and now fewer of them."""
WITHIN_S = 10.0
SPANS = """
    SELECT extract(epoch FROM a.created_at)::float8 - a.engine_s, extract(epoch FROM a.created_at)::float8, a.input_tokens,
        a.output_tokens, row_number() OVER (PARTITION BY a.job_id ORDER BY a.created_at) = 1
    FROM attempts a JOIN jobs j ON j.id = a.job_id WHERE j.batch_id > 0 ORDER BY 1
"""
FAULTS = "SELECT outcome, fault_code, fault_message, output_tokens, count(*) FROM attempts WHERE outcome <> 'succeeded' GROUP BY 1, 2, 3, 4"

Span = tuple[float, float, int, int, bool]
"""When a request went into the engine and was recorded, its tokens, and whether it is a row's first: a wrong answer is asked for again."""


def rows_of(short: int, long: int) -> list[dict[str, Any]]:
    """Short ones first, then those of eight times the prompt and the answer."""
    dice = random.Random(9)
    lengths = [dice.randint(*SHORT) for _ in range(short)] + [TIMES * dice.randint(*SHORT) for _ in range(long)]
    text = "{}: where is my order, and when does it come? Look it up in the list of all that was sent this week."
    made = [chat(number, most=lengths[number], text=text.format(number)) for number in range(short)]
    grown = [" ".join([text.format(number)] * TIMES) for number in range(short, short + long)]
    return made + [chat(short + at, most=lengths[short + at], text=words) for at, words in enumerate(grown)]


def measure(path: Path, scale: Scale) -> list[Row]:
    short, long = scale.of(ROWS[0]), max(FEWEST, scale.of(ROWS[1]))
    with cell(path, **CACHE) as ours:
        ours.keep_file_order(True)
        run = ours.run(rows_of(short, long))
        with ours.stack.connect() as connection:
            spans: list[Span] = connection.execute(SPANS).fetchall()
            faults = connection.execute(FAULTS).fetchall()
        report = ours.end_worker()
        tried = fixed_values(Fixed(ours.stack, path, **CACHE), rows_of(0, min(FIXED_ROWS, long)))
    failed = short + long - run.succeeded
    assert failed <= MOST_FAILED * (short + long), f"{failed} rows have no answer: {faults}"
    grown = spans[short:]  # in file order, as they went in
    holds = runs_at_once(grown, report["kv_blocks"], report["kv_block_tokens"])
    best = best_of(tried)
    change = grown[0][0]
    fed = max(enters for enters, _, _, _, first in grown if first)  # from then on it only drains
    rate = sum(recorded <= fed for _, recorded, _, _, _ in grown) / (fed - change)
    held = outstanding(spans, change, fed)
    after = settled(held, best)
    before = median(outstanding(spans, spans[SLOTS][0], change))
    shape = f"{short} rows of {SHORT[0]} to {SHORT[1]} tokens, then {long} of {TIMES} times the prompt and answer; in the engine by attempts: "
    shape += f"{before:.0f} before, then every 2 s {', '.join(f'{value:.0f}' for value in held[:: int(2 / STEP_S)])}"
    late = fed - change if after is None else after
    note = "" if after is not None else f"NOT within the {fed - change:.0f} s that long rows came in; "
    return [
        Row("from a change of length x 8 to outstanding work within 20% of the best fixed value", float(f"{late:.3g}"), "s",
            f"<= {WITHIN_S:g}", after is not None and after <= WITHIN_S, note=note + shape),
        told("best fixed value", best, "requests",
             note=f"vLLM alone with so many of the long requests in it; the fastest that preempts under 1%: {told_of(tried)}; its {report['kv_blocks']} blocks "
             f"of {report['kv_block_tokens']} tokens hold {holds:.1f} at all points of their lives"),
        told("outstanding in the second half of the long rows, median", median(held[len(held) // 2 :]), "requests",
             note=f"{rate:.3g}/s submitted, run and recorded"),
        at_most("preempted, of all requests", report["preemptions"] / max(1, report["requests"]), MOST_PREEMPTED, "of 1",
                note=f"{report['preemptions']} of {report['requests']}, as vLLM counts them; change of length included"),
    ]  # fmt: skip


def fixed_values(peer: Fixed, rows: list[dict[str, Any]]) -> dict[int, tuple[float, float]]:
    """Of each number of requests that the engine may hold: how many it ends in a second, and the share that it preempts."""
    found: dict[int, list[tuple[float, float]]] = {value: [] for value in FIXED}
    for values in (FIXED, FIXED[::-1]):  # there and back, so that a machine that slows down slows all alike
        for value in values:
            found[value].append(peer.run(rows, value))
    return {value: (median([rate for rate, _ in runs]), max(lost for _, lost in runs)) for value, runs in found.items()}


def best_of(tried: Mapping[int, tuple[float, float]]) -> int:
    """The fastest of those that preempt next to nothing; the smallest, should all preempt."""
    calm = {value: rate for value, (rate, preempted) in tried.items() if preempted < MOST_PREEMPTED}
    return max(calm, key=calm.__getitem__) if calm else min(tried)


def told_of(tried: Mapping[int, tuple[float, float]]) -> str:
    return ", ".join(f"{value}: {rate:.3g}/s and {preempted:.1%}" for value, (rate, preempted) in tried.items())


def runs_at_once(spans: Sequence[Span], blocks: int, block_tokens: int) -> float:
    """Requests of these kinds that the cache holds when they stand at all points of their answers."""
    taken = [-(-(read + token) // block_tokens) for _, _, read, written, _ in spans for token in range(1, written + 1)]
    return min(SLOTS, blocks / (sum(taken) / len(taken)))


def outstanding(spans: Sequence[Span], begin: float, end: float) -> list[float]:
    """Requests in the engine from `begin` to `end`, each the mean of a step."""
    found = []
    for step in range(max(1, int((end - begin) / STEP_S))):
        low = begin + step * STEP_S
        inside = sum(max(0.0, min(leaves, low + STEP_S) - max(enters, low)) for enters, leaves, _, _, _ in spans)
        found.append(inside / STEP_S)
    return found


def settled(held: Sequence[float], best: float) -> float | None:
    """Seconds until what is held stays near the best, looked at as the mean of some seconds; None if it never does."""
    wide = int(MEAN_S / STEP_S)
    means = [sum(held[at : at + wide]) / wide for at in range(len(held) - wide + 1)]
    far = [at for at, mean in enumerate(means) if abs(mean - best) > NEAR * best]
    first = far[-1] + 1 if far else 0
    return first * STEP_S if first < len(means) else None
