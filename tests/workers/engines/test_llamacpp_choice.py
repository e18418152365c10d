"""What one answer of llama.cpp says of tokens, event by event."""

from __future__ import annotations

from typing import Any

from workers.engines._llamacpp.answer import Choice
from workers.engines.answer_body import Read
from workers.engines.assembly import CHAT
from workers.engines.growing import Totals
from workers.engines.llamacpp import furthest_read


def event(prompt: int, cached: int, written: int) -> dict[str, Any]:
    return {"timings": {"prompt_n": prompt, "cache_n": cached, "predicted_n": written}}


def test_a_prompt_counts_by_the_answer_that_has_read_most_of_it() -> None:
    totals = Totals()
    first, second = Choice(CHAT, 0, totals), Choice(CHAT, 1, totals)
    assert furthest_read([[first, second]]) == Read(0, 0)
    second.hear(event(34, 0, 1))
    first.hear(event(0, 33, 0))  # it has found the cache, and read nothing yet
    assert furthest_read([[first, second]]) == Read(34, 0)
    first.hear(event(1, 33, 1))
    assert furthest_read([[first], [second]]) == Read(68, 33)
