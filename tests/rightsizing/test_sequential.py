"""A watch demotes a good specialist as seldom as it promises, and a bad one soon, however long it was good."""

from __future__ import annotations

import itertools
import json
import math
import random
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.rightsizing.simulated_audits import Runs
from orchestrator.errors import Broken, InvalidRequest
from orchestrator.rightsizing.guarantees.sequential import ODDS, Watch, factors, unopened

DELTA = 0.05


def watched(rights: list[bool], target: float = 0.95) -> Watch:
    watch = Watch(target, DELTA)
    for right in rights:
        watch.add(right)
    return watch


@pytest.mark.parametrize("target", [0.5, 0.9, 0.98])
def test_at_exactly_the_target_the_evidence_is_a_fair_game(target: float) -> None:
    """Not simulated: the mean over every sequence of eight audits is 1, and below 1 at a better quality."""
    for quality, fair in ((target, True), (target + 0.5 * (1 - target), False)):
        mean = sum(
            quality ** sum(rights) * (1 - quality) ** (8 - sum(rights)) * watched(list(rights), target).e_value
            for rights in itertools.product((True, False), repeat=8)
        )
        assert (mean == pytest.approx(1.0, abs=1e-12)) if fair else mean < 1.0


def test_false_demotions_are_as_seldom_as_promised() -> None:
    runs, target, draw = 400, 0.95, np.random.default_rng(1)
    made, demoted = Runs(target, runs), np.zeros(runs, dtype=bool)
    for _ in range(5_000):
        made.add(draw.random(runs) < target)
        demoted |= made.e_values >= 1 / DELTA
    made.check()  # these are the steps of the watch itself
    assert demoted.mean() <= DELTA + 3 * math.sqrt(DELTA * (1 - DELTA) / runs)


def test_a_test_that_counts_errors_only_would_demote_many_more() -> None:
    """So many looks at a plain bound find something: the test above can fail."""
    draw, target = np.random.default_rng(2), 0.95
    rights = (draw.random((400, 5_000)) < target).cumsum(axis=1)
    seen = np.arange(1, 5_001)
    low = rights < target * seen - 1.645 * np.sqrt(seen * target * (1 - target))
    assert low[:, 100:].any(axis=1).mean() > 0.3


@pytest.mark.parametrize(
    "target, to, most",
    [(0.97, 0.90, 430), (0.95, 0.90, 950), (0.97, 0.49, 60), (0.95, 0.0, 10)],
)
def test_a_fall_after_2000_good_audits_is_noticed_in_time(target: float, to: float, most: int) -> None:
    draw = random.Random(3)
    took = []
    for _ in range(20):
        watch = watched([draw.random() < 0.98 for _ in range(2_000)], target)
        assert not watch.demotes
        while not watch.demotes:
            watch.add(draw.random() < to)
        took.append(watch.seen - 2_000)
    assert sorted(took)[17] <= most


def test_a_fall_is_noticed_after_100000_good_audits_too() -> None:
    watch = watched([True] * 100_000)
    assert math.isfinite(watch.e_value)
    for _ in range(10):
        watch.add(False)
    assert watch.demotes


def test_what_is_opened_adds_up_to_no_more_than_the_capital() -> None:
    opened = [unopened(at) - unopened(at + 1) for at in range(200_000)]
    assert min(opened) > 0.0
    assert sum(opened) + unopened(200_000) == pytest.approx(1.0)
    assert unopened(0) == 1.0


def test_a_right_answer_lowers_the_evidence_and_a_wrong_one_raises_it() -> None:
    for target in (0.01, 0.3, 0.95, 0.999):
        assert all(factor < 1 for factor in factors(target, right=True))
        assert all(factor > 1 for factor in factors(target, right=False))


def test_once_demoted_it_stays_so() -> None:
    watch = watched([False] * 20)
    assert watch.demotes
    for _ in range(2_000):
        watch.add(True)
    assert watch.demotes
    assert watch.e_value < 1 / DELTA < watch.peak


def test_ten_thousand_wrong_answers_do_not_overflow() -> None:
    watch = watched([False] * 10_000)
    assert math.isfinite(watch.e_value)
    assert Watch.from_dict(json.loads(json.dumps(watch.as_dict()))) == watch


@given(st.lists(st.booleans(), max_size=60), st.lists(st.booleans(), max_size=20), st.floats(0.5, 0.99))
def test_a_watch_that_was_stored_goes_on_as_if_it_had_not_been(
    before: list[bool], after: list[bool], target: float
) -> None:
    watch = watched(before, target)
    read = Watch.from_dict(json.loads(json.dumps(watch.as_dict())))
    assert read == watch
    for right in after:
        assert read.add(right) == watch.add(right)
    assert (read.seen, read.wrong) == (len(before) + len(after), [*before, *after].count(False))


def test_it_tells_how_it_stands() -> None:
    told = watched([True] * 98 + [False] * 2).told
    assert "2 of 100 audits are wrong" in told
    assert "95%" in told


@pytest.mark.parametrize(
    "change",
    [
        {"format": 2},
        {"capitals": [1.0]},
        {"capitals": [math.nan] * len(ODDS)},
        {"capitals": [-1.0] * len(ODDS)},
        {"capitals": "12345"[: len(ODDS) - 1]},
        {"seen": -1},
        {"wrong": 7},
        {"target": 1.5},
        {"delta": None},
        {"peak": "high"},
    ],
)
def test_a_stored_watch_that_is_damaged_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(Broken, match="Promote the task again"):
        Watch.from_dict({**watched([True] * 5).as_dict(), **change})


def test_a_stored_watch_without_its_parts_is_refused() -> None:
    with pytest.raises(Broken, match="Promote the task again"):
        Watch.from_dict({})


@pytest.mark.parametrize("target, delta, remedy", [(98.0, DELTA, "0.98"), (0.98, 5.0, "0.05"), (0.98, 0.0, "0.05")])
def test_percentages_are_refused_with_a_remedy(target: float, delta: float, remedy: str) -> None:
    with pytest.raises(InvalidRequest, match=f"Use {remedy}"):
        Watch(target, delta)
