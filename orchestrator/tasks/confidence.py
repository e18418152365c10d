"""How sure an answer's values are: by the probabilities of the tokens they were written with, and by how their page was read. Pure.

The confidence of a value is the geometric mean of its tokens' probabilities, exp(mean of their log probabilities): the inverse of
perplexity as Jelinek et al. have it ("Perplexity, a measure of the difficulty of speech recognition tasks", 1977), over the value alone.
"""

from __future__ import annotations

import json
import math
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate
from typing import Any, Final

from orchestrator.tasks.checks import escaped

MOST_VALUES: Final = 5_000
"""Of one answer that are looked at."""

Span = tuple[int, int]


def confidences(answer: str, tokens: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """By JSON pointer, the confidence of each value of an answer; `tokens` are OpenAI's `logprobs.content`.

    Empty where the tokens are not those of the answer: a tokenizer's signs need not be characters.
    """
    texts = [one.get("token") if isinstance(one.get("token"), str) else "" for one in tokens]
    if "".join(map(str, texts)) != answer:
        return {}
    ends = list(accumulate(map(len, map(str, texts))))
    logs = [_log(one) for one in tokens]
    return {pointer: _sure(span, ends, logs) for pointer, span in spans(answer).items()}


def spans(answer: str) -> dict[str, Span]:
    """By JSON pointer, where each value that is no object or list stands in the text of an answer; only those that are found for sure."""
    try:
        value = json.loads(answer)
    except (ValueError, RecursionError):
        return {}
    found: dict[str, Span] = {}
    cursor = 0
    for pointer, keys, one in _leaves(value, "", ()):
        if len(found) >= MOST_VALUES:
            break
        place: Span | None = None
        for text in (*keys, one):
            place = _next(answer, text, cursor)
            if place is None:
                return found  # whatever follows would be sought in the wrong place
            cursor = place[1]
        if place is not None:
            found[pointer] = place
    return found


def _leaves(value: Any, here: str, keys: tuple[str, ...]) -> Iterator[tuple[str, tuple[str, ...], Any]]:
    """Each value with its pointer and the keys that come before it since the last one, in the order of the text."""
    if isinstance(value, dict):
        for name, one in value.items():
            for found in _leaves(one, f"{here}/{escaped(name)}", (*keys, name)):
                yield found
                keys = ()
    elif isinstance(value, list):
        for number, one in enumerate(value):
            for found in _leaves(one, f"{here}/{number}", keys):
                yield found
                keys = ()
    else:
        yield here, keys, value


def _next(answer: str, value: Any, start: int) -> Span | None:
    """Where a value is written next; None where it is written in another way than usual, such as a number with an exponent."""
    forms = {json.dumps(value, ensure_ascii=plain) for plain in (True, False)}
    places = [(at, at + len(form)) for form in forms if (at := answer.find(form, start)) >= 0]
    return min(places, default=None)


def _log(token: Mapping[str, Any]) -> float:
    value = token.get("logprob")
    return float(value) if isinstance(value, (int, float)) and math.isfinite(value) and value <= 0 else 0.0


def _sure(span: Span, ends: Sequence[int], logs: Sequence[float]) -> float:
    first, last = bisect_right(ends, span[0]), bisect_right(ends, span[1] - 1)
    within = logs[first : last + 1]
    return round(math.exp(sum(within) / len(within)), 4)
