"""The order within a lane: what shares a beginning together, then what is expected to take longest."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.hints import Hints, hints_from
from orchestrator.order import Learnt, run_order
from orchestrator.requests import CHAT, Features, features_of

RULES = {"role": "system", "content": "Rules."}
EXAMPLE = [{"role": "user", "content": "2 + 2?"}, {"role": "assistant", "content": "4"}]
ASK = {"role": "user", "content": "Where is my order?"}


def features(*messages: dict[str, Any], hints: Hints | None = None, **body: Any) -> Features:
    return features_of(CHAT, {"messages": list(messages), **body}, hints or Hints())


def prefix(*messages: dict[str, Any], **given: Any) -> int:
    return features(*messages, **given).prefix_hash


def test_the_same_prefix_goes_together_and_of_those_the_longest_answer_first() -> None:
    def place(system: str, most: int) -> int:
        return run_order(features({"role": "system", "content": system}, ASK, max_tokens=most))

    long, short, other = place("Rules.", 512), place("Rules.", 1), place("Other rules.", 512)
    assert long < short
    assert not long < other < short
    assert min(long, short, other) > -(2**63)
    assert max(long, short, other) < 2**63


def test_every_message_but_the_last_is_the_prefix_and_so_are_the_tasks_instructions() -> None:
    asked = {"role": "user", "content": "And 3 + 3?"}
    assert prefix(ASK) == prefix(asked) == 0
    assert prefix(RULES, ASK) == prefix(RULES, asked) != 0
    assert prefix(RULES, *EXAMPLE, ASK) == prefix(RULES, *EXAMPLE, asked) != prefix(RULES, asked)
    told = hints_from({"instructions": "Answer in one word."})
    assert prefix(ASK, hints=told) == prefix(asked, hints=told) != 0


@pytest.mark.parametrize(
    "learnt, most, expected",
    [
        (Learnt(8.0, 0.0), 512, 8),  # a task that answers in a word, whatever it may write
        (Learnt(900.0, 0.0), 512, 512),  # never above what the request allows
        (Learnt(-50.0, 0.5), 512, 1),
        (None, 512, 512),
        (Learnt(100.0, 0.0), None, 100),
        (None, None, 1_024),
    ],
)
def test_an_answer_is_expected_to_be_as_long_as_its_task_has_taught(
    learnt: Learnt | None, most: int | None, expected: int
) -> None:
    body = {} if most is None else {"max_tokens": most}
    assert run_order(features(ASK, **body), learnt) == 2**20 - 1 - expected


def test_a_longer_text_of_the_same_task_is_expected_to_take_longer() -> None:
    learnt = Learnt(10.0, 1.2)
    short = features({"role": "user", "content": "word " * 20}, max_tokens=2_000)
    long = features({"role": "user", "content": "word " * 900}, max_tokens=2_000)
    assert run_order(long, learnt) < run_order(short, learnt)
