"""Where a job stands among those of its lane: the same prefix together, and of those the longest answer first. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from orchestrator.requests import Features

UNTOLD_TOKENS: Final = 1_024
"""What an answer is expected to have at most where the request does not say: models' usual limit."""
LEAST_SEEN: Final = 20
"""So many finished jobs of a task must be known before its lengths count."""
_LENGTHS: Final = 2**20


@dataclass(frozen=True, slots=True)
class Learnt:
    """How many tokens the answers of one task have had on one model: a line over the length of the prompt, by least squares."""

    intercept: float
    slope: float
    """Tokens of the answer for each token of the prompt; 0 where all prompts were equally long."""

    def expected(self, input_tokens: int) -> float:
        """Output tokens for a prompt of so many."""
        return self.intercept + self.slope * input_tokens


Lengths = Mapping[tuple[str, str], Learnt]
"""By task and model."""


def run_order(features: Features, learnt: Learnt | None = None) -> int:
    """A job's place in its lane: the prefix's hash stands above, the expected length of the answer below and reversed.

    The length is what the task's finished jobs tell, never above what the request allows; without them it is what the request
    allows. A short job that runs last ends soon; a long one would keep an engine nearly empty until it is done.
    """
    asked = UNTOLD_TOKENS if features.max_output_tokens is None else features.max_output_tokens
    told = asked if learnt is None else min(asked, max(1, round(learnt.expected(features.input_tokens))))
    longest = min(told, _LENGTHS - 1)
    return features.prefix_hash * _LENGTHS + (_LENGTHS - 1 - longest)
